"""Whether PyTorch traces the program that calls: then an integer may be a symbol, and nothing is remembered by it."""

from __future__ import annotations

from sys import modules


def traced() -> bool:
    """Ask a PyTorch that somebody imported; where every nanosecond counts, look for it in `modules` first."""
    try:
        return modules["torch"].compiler.is_compiling()  # type: ignore[no-any-return]
    except (KeyError, AttributeError):  # it is not there, or being imported
        return False
