"""The three primitives in TensorFlow's operations, for graphs, XLA, and devices other than the CPU.

Arrays are reshaped to three axes:

    channels first    (lead = planes, cells, trail = 1)
    channels last     (lead = samples, cells, trail = channels)

If all indices lie in their own windows, as pooling's do, a call takes the window path (`window_path`).  Otherwise it
takes the general path, where `tf.scatter_nd` adds values up.  If the last value wins, all others are left out first,
because writing a cell twice is undefined on a GPU.  A bad index gets a cell past the end, which is cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from unpool.plan import Plan
from unpool.protocol import Duplicates
from unpool_backends.tensorflow.asserts import after
from unpool_backends.tensorflow.bits import from_bits, to_bits, with_gradient_of
from unpool_backends.tensorflow.pooling import pool
from unpool_backends.tensorflow.sizes import Sizes, as_shape, of_gathering, of_unpooling
from unpool_backends.tensorflow.tap_targets import TapTargets
from unpool_backends.tensorflow.targets import Targets

__all__ = ["gather", "pool", "scatter"]


def scatter(
    values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, given: Any = None, own: bool = False
) -> tuple[Any, Callable[[Any], Any]]:
    """Return the planes, and the function from gradients of the planes to gradients of the values.

    `given` has the entries of the user's size, if a run has rules to apply to them.  If `own`, a pooling by this plan
    found the indices; that they lie in their own windows is not checked again.
    """
    sizes = of_unpooling(values, indices, plan, given)
    targets = _targets(after(sizes.checks, indices), sizes, plan, own)
    dtype = values.dtype
    values = tf.reshape(values if duplicates == "sum" else to_bits(values), targets.shape)

    def general() -> Any:
        flat = after(_checks(targets, plan, duplicates), targets.flat())
        if duplicates == "sum":
            # With indices of shape (n, 1), the first derivative would be sparse, and the second in forward mode fail.
            planes = tf.scatter_nd(tf.reshape(flat, [1, -1, 1]), tf.reshape(values, [1, -1]), targets.one_more())
        else:
            planes = _assign(values, tf.where(targets.last_of_all(), flat, targets.total), targets)
        return tf.reshape(planes[: targets.total], as_shape(targets.lead, sizes.cells, targets.trail))

    matches, adds = targets.matches, duplicates == "sum"
    if matches is None:
        planes = general()
    elif own or plan.by_taps:  # no tap leaves its window
        planes = matches.scatter(after([] if own else _checks(targets, plan, duplicates), values), adds)
    else:
        alone = duplicates != "error" or targets.apart
        way = targets.inside if alone else targets.inside & targets.unrepeated()
        planes = tf.cond(way, lambda: matches.scatter(values, adds), general)
    planes = tf.reshape(from_bits(planes, dtype), as_shape(*sizes.plane_shape))
    planes.set_shape(plan.plane_shape)
    return planes, lambda upstream: targets.take(upstream, duplicates)


def gather(grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
    sizes = of_gathering(grad, indices, plan)
    targets = _targets(after(sizes.checks, indices), sizes, plan)
    grad = after(_checks(targets, plan, duplicates), grad)
    values, bits = targets.take(grad, duplicates), to_bits(grad)
    if bits is grad:
        return values
    return with_gradient_of(values, from_bits(targets.take(bits, duplicates), grad.dtype))


def _targets(indices: Any, sizes: Sizes, plan: Plan[Any], own: bool = False) -> Targets:
    return (TapTargets if plan.by_taps else Targets)(indices, sizes, plan, own)


def _checks(targets: Targets, plan: Plan[Any], duplicates: Duplicates) -> list[Any]:
    """Return the checks of indices, which must run before the result is used."""
    checks = targets.good() if plan.validate else []
    return checks + targets.once() if duplicates == "error" else checks


def _assign(values: Any, flat: Any, targets: Targets) -> Any:
    """Put each value at its position; only the position past the end may occur twice."""
    return tf.raw_ops.SparseToDense(
        sparse_indices=tf.reshape(flat, [-1, 1]),
        output_shape=targets.one_more(),
        sparse_values=tf.reshape(values, [-1]),
        default_value=tf.zeros([], values.dtype),
        validate_indices=False,
    )
