"""The operations that convert indices, for tensors, which do not follow the array API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from unpool import arithmetic
from unpool.sizes import Number
from unpool_backends.tensorflow.asserts import after, equal, larger, require
from unpool_backends.tensorflow.inputs import dense
from unpool_backends.tensorflow.sizes import inferred


class Arithmetic(arithmetic.Arithmetic):
    """Operations on eager tensors, and on tensors of a graph, whose sizes may be known only at run time."""

    def __init__(self, tensor: Any) -> None:
        """Ignore the tensor: the operations are the same for all."""

    def array(self, array: Any) -> Any:
        return dense("indices", array)

    def cast(self, array: Any, dtype: str) -> Any:
        return tf.cast(array, dtype)

    def along(self, size: Any, axis: int, ndim: int) -> Any:
        shape = [1] * ndim
        shape[axis] = -1
        return tf.reshape(tf.range(size, dtype=tf.int64), shape)

    def size(self, array: Any, axis: int) -> Any:
        return tf.shape(array, tf.int64)[axis]

    def number(self, entry: Any) -> Any:
        if isinstance(entry, int):
            return entry
        (known,) = inferred([entry])  # XLA drops the check of a size that only the run knows
        return tf.cast(entry, tf.int64) if known is None else known

    def equal(self, one: Any, other: Any) -> Any:
        return equal(one, other)

    def larger(self, one: Any, other: Any) -> Any:
        return larger(one, other)

    def at(self, array: Any, flat: Any) -> Any:
        return tf.reshape(array, [-1])[flat]

    def require(self, right: Any, result: Any, problem: Callable[[Number], Exception]) -> Any:
        return after(require(right, problem), result)

    def require_all(self, right: Any, result: Any, problem: Callable[[Number, Any], Exception]) -> Any:
        def first(number: Number) -> Exception:
            flat = tf.reshape(right, [-1])
            return problem(number, tf.reduce_min(tf.where(flat, tf.int64.max, tf.range(tf.size(flat, tf.int64)))))

        return self.require(tf.reduce_all(right), result, first)
