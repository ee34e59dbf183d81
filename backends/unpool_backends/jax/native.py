"""Calls of the CPU kernels from compiled programs, by XLA's foreign function interface.

The handler is the C function ``unpool_xla_handler`` of ``cpu/xla.h``.  It gets the Plan as an attribute of 24 words, an
``unpool_call_1``, and the texts of errors with fields that it fills in.  The target's name has the version of these
words, because stored programs find it by name.
"""

from __future__ import annotations

from functools import cache
from threading import Lock
from typing import Any

import jax
import numpy as np

from unpool import errors
from unpool.plan import Plan
from unpool_backends.cpu import _kernels

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
    lower = jax.ffi.ffi_lowering(_TARGET)
    return lower(context, *operands, call=np.array(words, np.int64), **_texts(plan, duplicates, check))


def _texts(plan: Plan[int], duplicates: str, check: int) -> dict[str, str]:
    """Return the texts of the errors that a call may report."""
    position: Any = ("{position}",)
    first: Any = ("{first}",)
    value: Any = "{value}"
    found: dict[str, Exception] = {}
    if check != _DROP:
        found["bad"] = errors.bad_index(position, value, plan.spatial, plan.sized_by)
    if check == _IN_WINDOW:
        found["outside"] = errors.outside_window(position, value, plan.spatial, plan.window, plan.sized_by)
    if duplicates == "error":
        found["repeated"] = errors.duplicate_index(first, position, value)
    return {name: str(error) for name, error in found.items()}
