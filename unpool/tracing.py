"""Whether PyTorch traces the program that calls: then an integer may be a symbol, and nothing is remembered by it.

`torch.jit.trace` has no symbols: it records the sizes of its example.
"""

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


def recorded(size: Any) -> bool:
    """Return whether a size is a tensor: `torch.jit.trace` makes them of the shapes of the tensors that it traces."""
    return isinstance(size, getattr(modules.get("torch"), "Tensor", ()))


def afresh(kept: Any) -> Callable[..., Any]:
    """Return a function of `functools.lru_cache`, or the one in it where an integer may be a symbol.

    To look for PyTorch first spares the others nearly all of the question.
    """
    function: Callable[..., Any] = kept.__wrapped__ if "torch" in modules and _symbolic() else kept
    return function


def _symbolic() -> bool:
    """Return whether PyTorch traces a program, or is in a dispatch mode: `make_fx` and AOTAutograd trace in one."""
    try:
        torch = modules["torch"]
        return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0  # type: ignore[no-any-return]
    except (KeyError, AttributeError):
        return False
