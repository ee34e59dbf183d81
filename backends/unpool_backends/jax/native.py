"""Calls of the CPU kernels from compiled programs, by XLA's foreign function interface.

The handler is the C function ``unpool_xla_handler`` of ``cpu/xla.h``.  It gets the Plan as an attribute of 24 words, an
``unpool_call_1``, and the texts of errors with fields that it fills in.  The target's name has the version of these
words, because stored programs find it by name.
"""

from __future__ import annotations

from functools import cache, partial
from threading import Lock
from typing import Any

import jax
import numpy as np
from jax.interpreters import mlir

from unpool import errors
from unpool.plan import Plan
from unpool_backends.cpu import _kernels
from unpool_backends.jax.indices import MOST_TAPS, dtype_of_cells, from_cells, in_mode, to_bytes, to_cells

SCATTER, GATHER, POOL = range(3)
_TARGET = "unpool_1"
_DUPLICATES = {"last": 0, "sum": 1, "error": 2}
_DROP, _IN_PLANE, _IN_WINDOW = range(3)
_lock = Lock()


def register() -> bool:
    """Register the handler; return False if XLA refuses it, and JAX's operations have to serve."""
    with _lock:
        return _register()


@cache
def _register() -> bool:
    try:
        # If a handler is refused before the CPU backend has started, the backend never starts.
        jax.local_devices(backend="cpu")
        jax.ffi.register_ffi_target(_TARGET, _kernels.xla_unpool_1, platform="cpu")
    except Exception:
        return False
    return True


def serves(context: Any) -> bool:
    """Return True if a program that is lowered here can call the kernels.

    An exported program must not: it may run where unpool is not installed.  Under automatic sharding, XLA would gather
    all shards on every device before the call.  These attributes are not public; without them, operations serve.
    """
    module = context.module_context
    exported = getattr(getattr(module, "lowering_parameters", None), "for_export", True)
    sharding: Any = getattr(module, "axis_context", None)
    if hasattr(sharding, "num_devices"):
        alone = sharding.num_devices == 1
    else:
        mesh = getattr(sharding, "mesh", None)
        alone = mesh is not None and set(getattr(sharding, "manual_axes", ())) == set(mesh.axis_names)
    return not exported and alone and register()


def call(
    context: Any, operation: int, *operands: Any, plan: Plan[int], duplicates: str = "last", own: bool = True
) -> Any:
    """Lower a call of the kernels; `own` indices are pooling's, and none of them can be bad."""
    check = _DROP if own or not plan.validate else _IN_WINDOW if plan.validate == "windows" else _IN_PLANE
    sizes = *plan.kernel, *plan.stride, *plan.padding, *plan.dilation, *plan.pooled, *plan.plane
    words = operation, *sizes, plan.channels, plan.channels_last, _DUPLICATES[duplicates], check, True
    attributes = {"call": np.array(words, np.int64), **_texts(plan, duplicates, check)}
    lower = partial(jax.ffi.ffi_lowering(_TARGET), **attributes)
    if not plan.by_taps:
        return lower(context, *operands)
    if operation == POOL:
        return _pool(lower, context, *operands, plan=plan)
    values, given = context.avals_in
    if _reads(given, plan):
        return lower(context, *operands)
    # Messages show the taps that were given.
    read = _type_read(given, plan)
    indices = _convert(partial(_to_read, plan=plan), context, given, read, operands[1])
    return lower(context.replace(avals_in=[values, read, given]), operands[0], indices, operands[1])


def _pool(lower: Any, context: Any, *operands: Any, plan: Plan[int]) -> Any:
    """Lower a pooling whose indices are taps."""
    values, *wanted = context.avals_out
    if not wanted or _reads(wanted[0], plan):
        return lower(context, *operands)
    read = _type_read(wanted[0], plan)
    found, indices = lower(context.replace(avals_out=[values, read]), *operands)
    return [found, _convert(partial(_from_read, plan=plan, dtype=wanted[0].dtype), context, read, wanted[0], indices)]


# The kernels read and write taps of one byte.  Others are converted to and from bytes, with 255 for a bad tap, or to
# and from positions in the plane, where windows have more taps.


def _reads(kind: Any, plan: Plan[int]) -> bool:
    return kind.dtype == np.uint8 and plan.taps_fit_byte


def _type_read(kind: Any, plan: Plan[int]) -> Any:
    """Return the type of the indices that the kernels read or write, for this type of taps."""
    return kind.update(dtype=np.dtype(np.uint8) if plan.taps <= MOST_TAPS else dtype_of_cells(plan), weak_type=False)


def _to_read(taps: Any, plan: Plan[int]) -> Any:
    return to_bytes(taps, plan) if plan.taps <= MOST_TAPS else to_cells(taps, plan)


def _from_read(indices: Any, plan: Plan[int], dtype: Any) -> Any:
    return indices.astype(dtype) if indices.dtype == np.uint8 else from_cells(indices, plan, dtype)


def _convert(function: Any, context: Any, given: Any, wanted: Any, array: Any) -> Any:
    """Lower a function of one array, of these types."""
    lower = mlir.lower_fun(partial(in_mode, function), multiple_results=False)
    (result,) = lower(context.replace(primitive=None, avals_in=[given], avals_out=[wanted]), array)
    return result


def _texts(plan: Plan[int], duplicates: str, check: int) -> dict[str, str]:
    """Return the texts of the errors that a call may report."""
    position: Any = ("{position}",)
    first: Any = ("{first}",)
    value: Any = "{value}"
    found: dict[str, Exception] = {}
    if plan.by_taps:
        if check != _DROP:
            found["bad"] = errors.bad_tap(position, value, plan.spatial, plan.window, plan.sized_by)
        if duplicates == "error":
            found["repeated"] = errors.duplicate_tap(first, position)
        return {name: str(error) for name, error in found.items()}
    if check != _DROP:
        found["bad"] = errors.bad_index(position, value, plan.spatial, plan.sized_by)
    if check == _IN_WINDOW:
        found["outside"] = errors.outside_window(position, value, plan.spatial, plan.window, plan.sized_by)
    if duplicates == "error":
        found["repeated"] = errors.duplicate_index(first, position, value)
    return {name: str(error) for name, error in found.items()}
