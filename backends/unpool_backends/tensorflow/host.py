"""Eager tensors in the memory of the CPU, by the CPU's kernels: nothing is copied on the way in or out.

NumPy sees the memory of a tensor, read-only, and TensorFlow takes an array's over by DLPack.  It does not ask where
that memory lies, and ends the process at its first operation on a tensor that lies at no multiple of 64: so arrays are
made to, and never come from anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from unpool.backends import Duplicates
from unpool.plan import Plan
from unpool_backends.cpu import CPU

# What TensorFlow's kernels take for granted, on processors with the widest registers.
_KERNELS = CPU(alignment=64)


def serves(*tensors: Any) -> bool:
    """Whether these are tensors with values, in memory that NumPy can read."""
    return tf.executing_eagerly() and all(
        hasattr(tensor, "numpy") and tensor.device.endswith("device:CPU:0") for tensor in tensors
    )


def pool(cells: Any, plan: Plan) -> tuple[Any, Any]:
    # The gradient needs the indices, also where nobody asked for them.
    wanted = plan if plan.index_dtype is not None else replace(plan, index_dtype="int64")
    values, indices = _KERNELS.pool(np.asarray(cells), wanted, None)
    return _tensor(values), _tensor(indices)


def scatter(values: Any, indices: Any, plan: Plan, duplicates: Duplicates) -> Any:
    """Return the planes; None if there is a bad index and nobody wants to hear of it."""
    return _moved(_KERNELS.scatter, values, indices, plan, duplicates)


def gather(grad: Any, indices: Any, plan: Plan, duplicates: Duplicates) -> Any:
    """Return the values; None if there is a bad index and nobody wants to hear of it."""
    return _moved(_KERNELS.gather, grad, indices, plan, duplicates)


def _moved(kernel: Callable[..., Any], array: Any, indices: Any, plan: Plan, duplicates: Duplicates) -> Any:
    try:
        return _tensor(kernel(np.asarray(array), np.asarray(indices), plan, duplicates, None))
    except IndexError:
        if plan.validate:
            raise
    return None


def _tensor(array: Any) -> Any:
    """Give an array's memory to a tensor; nobody else may have the array."""
    if array.dtype.name == "bfloat16":  # which NumPy does not hand over
        words = tf.experimental.dlpack.from_dlpack(array.view(np.uint16).__dlpack__())
        return tf.bitcast(words, tf.bfloat16)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
