"""Detect frameworks that trace programs, and the symbols and proxies that they pass in place of values.

PyTorch traces through the code of unpool itself, so that code must not depend on caches of earlier calls.  Symbols of
PyTorch and JAX stand for sizes.  TensorFlow's autograph rewrites the functions that it traces, unless they are marked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from sys import modules
from typing import Any, TypeVar, cast

from unpool import errors

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

# The backend whose framework traces through unpool's code.
TRACER = "torch"


def traced() -> bool:
    """Return True while `torch.compile` or `torch.export` traces; False if PyTorch is not imported."""
    try:
        return modules["torch"].compiler.is_compiling()  # type: ignore[no-any-return]
    except (KeyError, AttributeError):  # PyTorch is not imported, or not completely
        return False


def is_traced_tensor(value: object) -> bool:
    """Return True for a tensor while PyTorch traces; a loop over the bases of its type could not be traced."""
    return "torch" in modules and traced() and isinstance(value, modules["torch"].Tensor)


def is_symbol(size: object) -> bool:
    """Return True if a size is a symbol of PyTorch or JAX, whose value is unknown until the program runs."""
    return type(size).__name__ in ("SymInt", "_DimExpr")


def is_unchecked(size: object) -> bool:
    """Return True for a symbol of JAX: programs with symbolic sizes do not check indices."""
    return type(size).__name__ == "_DimExpr"


def is_tracer(value: object) -> bool:
    """Return True for a tracer, which stands for an array in a program of JAX and has no value."""
    return any(cls.__name__ == "Tracer" and cls.__module__.startswith("jax.") for cls in type(value).__mro__)


def how_to_make_static(value: object) -> str | None:
    """Return how a traced value, or sequence of them, becomes known to the trace; None if no entry is traced."""
    if isinstance(value, (tuple, list)):
        return next(filter(None, map(how_to_make_static, value)), None)
    if is_tracer(value):
        return (
            "name it in `static_argnums` or `static_argnames` of jax.jit, or bind it with functools.partial, or make "
            "it with Python or NumPy, since jax.numpy traces constants"
        )
    traced_tensor = hasattr(value, "dtype") and not hasattr(value, "numpy")
    if traced_tensor and type(value).__module__.startswith("tensorflow."):
        return "pass integers of Python; tf.function traces a program for each"
    return None


def remembered(maxsize: int) -> Callable[[FunctionT], FunctionT]:
    """Cache a function as `functools.lru_cache` does, and call it uncached while PyTorch traces or passes symbols.

    Testing `sys.modules` first makes this free without PyTorch.
    """

    def decorate(function: FunctionT) -> FunctionT:
        kept = lru_cache(maxsize)(function)

        @wraps(function)
        def call(*arguments: Any) -> Any:
            if "torch" in modules and _intercepted():
                return function(*arguments)
            try:
                return kept(*arguments)
            except TypeError:  # PyTorch's symbols have no hash
                if not _has_symbols(arguments):
                    raise
            return function(*arguments)

        for name in ("cache_clear", "cache_info"):
            setattr(call, name, getattr(kept, name))
        return cast(FunctionT, call)

    return decorate


def refuse_recorded(argument: str, sizes: tuple[Any, ...]) -> None:
    """Refuse sizes that are tensors: `torch.jit.trace` makes them, and would keep those of its example for every call.

    Raises
    ------
    RuntimeError
        If the first size is a tensor.
    """
    if sizes and type(sizes[0]) is not int and isinstance(sizes[0], getattr(modules.get("torch"), "Tensor", ())):
        raise _recorded_sizes(argument)


def refuse_proxy(argument: str, array: object) -> None:
    """Refuse a proxy, which stands for a tensor while `torch.fx` traces.

    Raises
    ------
    TypeError
        If the array is one.
    """
    if any(cls.__module__ == "torch.fx.proxy" for cls in type(array).__mro__):
        raise _symbolic_array(argument, array)


def not_rewritten(function: Any) -> None:
    """Mark a function, or the objects of a class, so that TensorFlow's autograph does not rewrite what a call runs.

    The mark is the attribute that autograph sets on functions of its own making.  Without it, autograph rewrites our
    functions, and their results are the same.
    """
    function.autograph_info__ = None


def _intercepted() -> bool:
    """Return True while PyTorch traces, or while a dispatch mode is on, in which `make_fx` and AOTAutograd trace.

    PyTorch has no public function for dispatch modes.  If the private one is missing, symbols are still not cached:
    they have no hash.
    """
    try:
        torch = modules["torch"]
        return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0  # type: ignore[no-any-return]
    except (KeyError, AttributeError):
        return False


def _has_symbols(arguments: tuple[Any, ...]) -> bool:
    """Return True if an argument is a symbol, or a tuple that holds one."""
    return any(_has_symbols(entry) if isinstance(entry, tuple) else is_symbol(entry) for entry in arguments)


def _recorded_sizes(argument: str) -> RuntimeError:
    return RuntimeError(
        f"`{argument}` must be a tensor outside torch.jit.trace, got one that it traces: the trace would keep the "
        f"sizes of the example for every call; use torch.export or torch.compile, or torch.onnx.export with dynamo=True"
    )


def _symbolic_array(argument: str, value: object) -> TypeError:
    return TypeError(
        f"`{argument}` must be an array, got {errors.kind_of(value)}, which stands for one while torch.fx traces: use "
        f"the layers of unpool.torch, or call torch.fx.wrap with the function's name at the top of your module, and "
        f"call the function by that name"
    )
