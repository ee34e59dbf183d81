"""Arrays in the memory of the CPU, by the kernels of `unpool_backends.cpu`: nothing is copied on the way in or out.

NumPy sees the memory of a JAX array, read-only, and JAX takes an array's over where it lies at a multiple of 64: so
arrays are made to.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import jax
import numpy as np

from unpool.backends import Duplicates
from unpool.plan import Plan
from unpool_backends.cpu import CPU

# Less is copied.
_KERNELS = CPU(alignment=64)


def has_values(array: Any) -> bool:
    """Whether an array is more than a part of a program that is traced."""
    return not isinstance(array, jax.core.Tracer)


def serves(*arrays: Any) -> bool:
    """Whether these are arrays with values, in memory that NumPy can read."""
    return all(has_values(array) and array.devices() == _first() for array in arrays)


@cache
def _first() -> frozenset[Any]:
    return frozenset(jax.local_devices(backend="cpu")[:1])


def pool(cells: Any, plan: Plan) -> tuple[Any, Any]:
    values, indices = _KERNELS.pool(np.asarray(cells), plan, None)
    return _array(values, cells), None if indices is None else _array(indices, cells)


def scatter(values: Any, indices: Any, plan: Plan, duplicates: Duplicates) -> Any:
    planes = _KERNELS.scatter(np.asarray(values), np.asarray(indices), plan, duplicates, None)
    return _array(planes, values, indices)


def gather(grad: Any, indices: Any, plan: Plan, duplicates: Duplicates) -> Any:
    values = _KERNELS.gather(np.asarray(grad), np.asarray(indices), plan, duplicates, None)
    return _array(values, grad, indices)


def _array(array: Any, *like: Any) -> Any:
    """Give an array's memory to JAX, committed to a device if what was given is; nobody else may have the array."""
    device = next((given.device for given in like if given.committed), None)
    kept = array.dtype == jax.dtypes.canonicalize_dtype(array.dtype)
    # What has 64 bits without JAX's 64-bit mode was made within it, and stays what it is.
    mode: AbstractContextManager[Any] = nullcontext() if kept else jax.enable_x64(True)
    with mode:
        return jax.device_put(array, device)
