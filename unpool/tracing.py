"""Whether PyTorch traces the program that calls: then an integer may be a symbol, and nothing is remembered by it.

`torch.jit.trace` has no symbols: it records the sizes of its example.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import modules
from typing import Any


def traced() -> bool:
    """Ask a PyTorch that somebody imported; `make_fx` and AOTAutograd trace within a dispatch mode."""
    try:
        torch = modules["torch"]
        return bool(torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack())
    except (KeyError, AttributeError):  # it is not there, or being imported
        return False


def recorded(array: Any) -> bool:
    """Return whether `torch.jit.trace` records what is done with a tensor of an imported PyTorch."""
    try:
        torch = modules["torch"]
        return bool(torch.jit.is_tracing()) and isinstance(array, torch.Tensor)
    except (KeyError, AttributeError):  # it is not there, or being imported
        return False


def afresh(kept: Any) -> Callable[..., Any]:
    """Return a function of `functools.lru_cache`, or the one in it where a program is traced.

    To look for PyTorch first spares the others nearly all of the question.
    """
    function: Callable[..., Any] = kept.__wrapped__ if "torch" in modules and traced() else kept
    return function
