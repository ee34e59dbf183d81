"""Whether PyTorch traces the program that calls: then an integer may be a symbol, and nothing is remembered by it."""

from __future__ import annotations

from collections.abc import Callable
from sys import modules
from typing import Any


def traced() -> bool:
    """Ask a PyTorch that somebody imported."""
    try:
        return modules["torch"].compiler.is_compiling()  # type: ignore[no-any-return]
    except (KeyError, AttributeError):  # it is not there, or being imported
        return False


def afresh(kept: Any) -> Callable[..., Any]:
    """Return a function of `functools.lru_cache`, or the one in it where a program is traced.

    To look for PyTorch first spares the others nearly all of the question.
    """
    function: Callable[..., Any] = kept.__wrapped__ if "torch" in modules and traced() else kept
    return function
