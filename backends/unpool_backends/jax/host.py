"""Arrays in the memory of the CPU, lent to the CPU kernels.

NumPy reads the memory of a JAX array without a copy.  JAX takes over the memory of a NumPy array that lies at a
multiple of 64 bytes, and copies any other.  So results are allocated at such addresses.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import jax
import numpy as np

from unpool.lending import Lender
from unpool.plan import Plan
from unpool_backends.cpu import CPU
from unpool_backends.jax import native

_ALIGNMENT = 64


def has_values(array: Any) -> bool:
    """Return True if an array has values, and False if it is traced."""
    return not isinstance(array, jax.core.Tracer)


def serves(*arrays: Any) -> bool:
    """Return True if these are arrays with values, in memory that NumPy can read.

    Constants of a trace have values, too, but may be arrays of NumPy, which have no device.
    """
    return all(isinstance(array, jax.Array) and has_values(array) and array.devices() == _first() for array in arrays)


def lender(plan: Plan[int]) -> Lender:
    """Return the lender for a call: a quiet one if the plan drops bad indices."""
    return _LENDER if plan.validate else _QUIET_LENDER


@cache
def _first() -> frozenset[Any]:
    native.register()  # a program that was stored by another process may be called before any is lowered here
    return frozenset(jax.local_devices(backend="cpu")[:1])


def _array(array: Any, *given: Any) -> Any:
    """Hand an array's memory to JAX, committed to a device if a given array is; no other reference may remain."""
    device = next((one.device for one in given if one.committed), None)
    kept = array.dtype == jax.dtypes.canonicalize_dtype(array.dtype)
    # A 64-bit array outside of JAX's 64-bit mode was made inside of it, and keeps its dtype.
    mode: AbstractContextManager[Any] = nullcontext() if kept else jax.enable_x64(True)
    with mode:
        return jax.device_put(array, device)


_KERNELS, _QUIET_KERNELS = CPU(_ALIGNMENT), CPU(_ALIGNMENT, quiet=True)
_LENDER = Lender(lambda: _KERNELS, np.asarray, _array)
_QUIET_LENDER = Lender(lambda: _QUIET_KERNELS, np.asarray, _array)
