"""The arrays of a call as dense tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from unpool import errors


def dense(argument: str, array: Any) -> Any:
    """Return a dense tensor, the value of a variable, or a NumPy array as a constant; refuse all others."""
    if isinstance(array, tf.Variable):
        return array.value()
    if isinstance(array, np.ndarray):
        # A graph ignores the byte order, and would take the bytes for other numbers.
        return tf.convert_to_tensor(np.asarray(array, array.dtype.newbyteorder("=")))
    if not isinstance(array, tf.Tensor):
        convert = f"tf.convert_to_tensor({argument}), or a conversion such as tf.sparse.to_dense"
        raise errors.not_dense(argument, errors.kind_of(array), convert)
    return array
