"""Eager tensors in the memory of the CPU, lent to the CPU kernels.

NumPy reads the memory of a tensor without a copy, and TensorFlow takes over an array's memory by DLPack.  TensorFlow
does not check the address: its first operation on a tensor that lies at no multiple of 64 bytes ends the process.  So
results are allocated at such multiples, and no other arrays are handed over.
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

# The alignment that TensorFlow's kernels assume on processors with the widest registers, in bytes.
_ALIGNMENT = 64


def serves(*tensors: Any) -> bool:
    """Return True if these are tensors with values, in memory that NumPy can read."""
    return tf.executing_eagerly() and all(
        hasattr(tensor, "numpy") and tensor.device.endswith("device:CPU:0") for tensor in tensors
    )


def pool(cells: Any, plan: Plan[int]) -> tuple[Any, Any]:
    # The gradient needs the indices, even if the caller does not.
    return _LENDER.pool(cells, plan if plan.index_dtype is not None else replace(plan, index_dtype="int64"))


def scatter(values: Any, indices: Any, plan: Plan[int], duplicates: Duplicates) -> Any:
    """Return the planes; None if the plan drops bad indices, and an index is bad or repeated."""
    return (_LENDER if plan.validate else _QUIET_LENDER).scatter(values, indices, plan, duplicates)


def gather(grad: Any, indices: Any, plan: Plan[int], duplicates: Duplicates) -> Any:
    """Return the values; None as `scatter` does."""
    return (_LENDER if plan.validate else _QUIET_LENDER).gather(grad, indices, plan, duplicates)


def _tensor(array: Any, *given: Any) -> Any:
    """Hand an array's memory to a tensor; no other reference to the array may remain."""
    if array.dtype.name == "bfloat16":  # NumPy cannot export it by DLPack
        words = tf.experimental.dlpack.from_dlpack(array.view(np.uint16).__dlpack__())
        return tf.bitcast(words, tf.bfloat16)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


_KERNELS, _QUIET_KERNELS = CPU(_ALIGNMENT), CPU(_ALIGNMENT, quiet=True)
_LENDER = Lender(lambda: _KERNELS, np.asarray, _tensor)
_QUIET_LENDER = Lender(lambda: _QUIET_KERNELS, np.asarray, _tensor)
