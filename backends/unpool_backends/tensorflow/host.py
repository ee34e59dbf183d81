"""Eager tensors in the memory of the CPU, lent to the CPU's kernels.

NumPy sees the memory of a tensor, read-only, and TensorFlow takes an array's over by DLPack.  It does not check where
that memory lies, and ends the process at its first operation on a tensor that lies at no multiple of 64.  So arrays are
made to, and never come from anywhere else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from unpool.lending import Lender
from unpool.plan import Plan
from unpool.protocol import Duplicates
from unpool_backends.cpu import CPU

# What TensorFlow's kernels take for granted, on processors with the widest registers.
_ALIGNMENT = 64


def serves(*tensors: Any) -> bool:
    """Return whether these are tensors with values, in memory that NumPy can read."""
    return tf.executing_eagerly() and all(
        hasattr(tensor, "numpy") and tensor.device.endswith("device:CPU:0") for tensor in tensors
    )


def pool(cells: Any, plan: Plan[int]) -> tuple[Any, Any]:
    # The gradient needs the indices, also where nobody asked for them.
    return _LENDER.pool(cells, plan if plan.index_dtype is not None else replace(plan, index_dtype="int64"))


def scatter(values: Any, indices: Any, plan: Plan[int], duplicates: Duplicates) -> Any:
    """Return the planes; None if the plan lets a bad index be dropped and there is one, or one that repeats."""
    return (_LENDER if plan.validate else _QUIET_LENDER).scatter(values, indices, plan, duplicates)


def gather(grad: Any, indices: Any, plan: Plan[int], duplicates: Duplicates) -> Any:
    """Return the values; None as `scatter` does."""
    return (_LENDER if plan.validate else _QUIET_LENDER).gather(grad, indices, plan, duplicates)


def _tensor(array: Any, *given: Any) -> Any:
    """Give an array's memory to a tensor; nobody else may have the array."""
    if array.dtype.name == "bfloat16":  # which NumPy does not hand over
        words = tf.experimental.dlpack.from_dlpack(array.view(np.uint16).__dlpack__())
        return tf.bitcast(words, tf.bfloat16)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


_KERNELS, _QUIET_KERNELS = CPU(_ALIGNMENT), CPU(_ALIGNMENT, quiet=True)
_LENDER = Lender(lambda: _KERNELS, np.asarray, _tensor)
_QUIET_LENDER = Lender(lambda: _QUIET_KERNELS, np.asarray, _tensor)
