"""Sort keys: integers that `>` compares in pooling's order of values, also on devices that flush denormals.

TensorFlow's threads round denormals to zero, and every comparison with NaN is false.  So floats are compared by their
bits.  The keys of negative floats count down from zero, which makes -0.0 and 0.0 equal.  Every NaN lies above infinity.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf


class _Bits(NamedTuple):
    word: tf.DType  # the integer of the float's size
    wide: tf.DType  # the dtype to compute in
    infinity: int


_FLOATS = {
    tf.float16: _Bits(tf.int16, tf.int32, 0x7C00),
    tf.bfloat16: _Bits(tf.int16, tf.int32, 0x7F80),
    tf.float32: _Bits(tf.int32, tf.int32, 0x7F800000),
    tf.float64: _Bits(tf.int64, tf.int64, 0x7FF0000000000000),
}


def keys(values: Any, dtype: tf.DType) -> Any:
    """Return the sort keys of values of this dtype, or of integers with their bits."""
    if dtype == tf.bool:
        return tf.cast(values, tf.uint8)
    if dtype not in _FLOATS:
        return values
    word, wide, infinity = _FLOATS[dtype]
    bits = tf.cast(values if values.dtype == word else tf.bitcast(values, word), wide)
    keys = tf.where(bits < 0, tf.constant(word.min, wide) - bits, bits)
    return tf.where(keys < -infinity, tf.constant(word.max, wide), keys)


def unordered(keys: Any, dtype: tf.DType) -> Any:
    """Return a mask of the keys of NaN, or None if the dtype has no NaN."""
    return keys > _FLOATS[dtype].infinity if dtype in _FLOATS else None
