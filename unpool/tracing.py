"""Whether PyTorch traces the program that calls: then an integer may be a symbol, and nothing is remembered by it."""

from __future__ import annotations

from sys import modules


def traced() -> bool:
    """Ask a PyTorch that somebody imported; where every nanosecond counts, look for it in `modules` first."""
    compiler = getattr(modules.get("torch"), "compiler", None)  # None while it is being imported
    return compiler is not None and bool(compiler.is_compiling())
