"""The bits of bfloat16 values.  XLA moves bfloat16 as float32, which sets a bit of signalling NaNs.

TensorFlow's own kernels keep the bits, and take up to half longer for integers, so only a graph for XLA has integers.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from unpool_backends.tensorflow.asserts import compiles


def to_bits(values: Any) -> Any:
    """Return integers with the bits of bfloat16 values in a graph for XLA; else return the values."""
    return tf.bitcast(values, tf.int16) if values.dtype == tf.bfloat16 and compiles() else values


def from_bits(bits: Any, dtype: tf.DType) -> Any:
    """Return the values of this dtype that `to_bits` had."""
    return bits if bits.dtype == dtype else tf.bitcast(bits, dtype)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def with_gradient_of(values: Any, exact: Any) -> tuple[Any, Any]:
    """Return the exact values, with the gradient of the others, which are equal up to bits of NaN."""
    return tf.identity(exact), lambda upstream: (upstream, None)
