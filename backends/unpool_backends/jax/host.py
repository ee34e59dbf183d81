"""Arrays in the memory of the CPU, lent to the CPU's kernels.

NumPy sees the memory of a JAX array, read-only, and JAX takes an array's over where it lies at a multiple of 64; what
lies elsewhere it copies.  So arrays are made to.
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

_ALIGNMENT = 64


def has_values(array: Any) -> bool:
    """Return whether an array is more than a part of a program that is traced."""
    return not isinstance(array, jax.core.Tracer)


def serves(*arrays: Any) -> bool:
    """Return whether these are arrays with values, in memory that NumPy can read."""
    return all(has_values(array) and array.devices() == _first() for array in arrays)


def lender(plan: Plan[int]) -> Lender:
    """Return the kernels for a call: quiet ones where the plan lets a bad index be dropped."""
    return _LENDER if plan.validate else _QUIET_LENDER


@cache
def _first() -> frozenset[Any]:
    return frozenset(jax.local_devices(backend="cpu")[:1])


def _array(array: Any, *given: Any) -> Any:
    """Give an array's memory to JAX, committed to a device if what was given is; nobody else may have the array."""
    device = next((one.device for one in given if one.committed), None)
    kept = array.dtype == jax.dtypes.canonicalize_dtype(array.dtype)
    # What has 64 bits without JAX's 64-bit mode was made within it, and stays what it is.
    mode: AbstractContextManager[Any] = nullcontext() if kept else jax.enable_x64(True)
    with mode:
        return jax.device_put(array, device)


_KERNELS, _QUIET_KERNELS = CPU(_ALIGNMENT), CPU(_ALIGNMENT, quiet=True)
_LENDER = Lender(lambda: _KERNELS, np.asarray, _array)
_QUIET_LENDER = Lender(lambda: _QUIET_KERNELS, np.asarray, _array)
