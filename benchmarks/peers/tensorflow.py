"""TensorFlow: `tf.nn.max_pool_with_argmax`, and the `tf.scatter_nd` recipe that people copy since 2016.  Channels last.

Indices are converted to positions in the whole array, which the recipe takes; the conversion is not timed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from math import prod
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf

from unpool import convert_indices
from unpool.bench.cases import Data
from unpool.bench.peers import Call

tf.config.threading.set_intra_op_parallelism_threads(int(os.environ["OMP_NUM_THREADS"]))
tf.config.threading.set_inter_op_parallelism_threads(1)


def calls(data: Data) -> dict[str, Call]:
    case, plane, values, indices = data
    if not case.last or case.out:
        return {}
    shape, size = plane.shape, prod(plane.shape)
    convention = {"output_size": shape, "data_format": "channels_last"}
    window = [1, *case.window[0], 1], [1, *case.window[1], 1]

    def recipe(values: tf.Tensor, flat: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.scatter_nd(flat, tf.reshape(values, [-1]), [size]), shape)

    def gather(gradient: tf.Tensor, flat: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tf.gather_nd(tf.reshape(gradient, [-1]), flat), values.shape)

    def pool(plane: tf.Tensor) -> Any:
        return tf.nn.max_pool_with_argmax(plane, *window, "VALID", output_dtype=case.index_dtype)

    def pool_gradient(plane: tf.Tensor, gradient: tf.Tensor, argmax: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.MaxPoolGradWithArgmax(
            input=plane, grad=gradient, argmax=argmax, ksize=window[0], strides=window[1], padding="VALID"
        )

    # XLA has no CPU kernel for these two operations.
    if case.operation in ("pool", "pool_backward") and (case.rank != 2 or case.ceil or any(case.window[2])):
        return {}
    if case.operation == "pool":
        return both(pool, [plane], lambda result: pooled(result, convention), xla=False)
    if case.operation == "pool_backward":
        argmax = convert_indices(indices, "plane", "tensorflow", **convention)
        return both(pool_gradient, [plane, values, argmax], xla=False)
    flat = convert_indices(indices, "plane", "tensorflow_batch", **convention).reshape(-1, 1)
    if case.operation == "unpool_backward":
        lacks = 'gradient of "last" (here that of "sum", a gather_nd)' if case.duplicates == "last" else ""
        return both(gather, [plane, flat], lacks=lacks)
    if case.overlaps and case.duplicates == "last":
        return {}  # scatter_nd adds repeated values
    return both(recipe, [values, flat])


def both(
    function: Callable[..., Any],
    arrays: list[Any],
    convert: Callable[[Any], Any] = lambda result: result.numpy(),
    lacks: str = "",
    xla: bool = True,
) -> dict[str, Call]:
    """Return calls of a function on the arrays: an eager one, and one compiled by XLA."""
    tensors = [tf.constant(array) for array in arrays]

    def call(function: Callable[..., Any]) -> Call:
        def run() -> Any:
            result = function(*tensors)
            tf.test.experimental.sync_devices()
            return result

        return Call(run, convert, lacks)

    calls = {"TensorFlow": call(function)}
    if xla:
        calls["TensorFlow XLA"] = call(tf.function(function, jit_compile=True))
    return calls


def pooled(result: Any, convention: dict[str, Any]) -> tuple[Any, Any]:
    values, argmax = (tensor.numpy() for tensor in result)
    return values, convert_indices(argmax, "tensorflow", "plane", **convention)
