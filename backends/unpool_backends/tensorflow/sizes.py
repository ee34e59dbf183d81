"""The sizes of a call: integers where the plan has them, and scalar tensors where only a run will know.

The rules that the plan could not apply are applied here, when it runs: in the same words, by `asserts`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from unpool import errors
from unpool.arrays import Number
from unpool.plan import LARGEST, SAME, Plan, Window, bounds, default_size, padding_before, span, spatial_axes, unpool
from unpool_backends.tensorflow.asserts import require

# Larger tables are computed when the graph runs: constants make it, and what is saved, grow.
_CONSTANT = 2**15


class Sizes(NamedTuple):
    """What a Plan says, with every size there is, and what has to run before the arrays are touched."""

    lead: Any  # planes that lie one after the other, or samples
    trail: Any  # channels that lie side by side
    pooled: tuple[Any, ...]
    plane: tuple[Any, ...]
    padding: tuple[Any, ...]  # before the plane
    pooled_shape: list[Any]
    plane_shape: list[Any]
    checks: list[Any]

    @property
    def windows(self) -> Any:
        return prod(self.pooled)

    @property
    def cells(self) -> Any:
        return prod(self.plane)

    @property
    def small(self) -> bool:
        """Whether int32 is known to count the cells of a plane."""
        return known(self.cells) and bool(self.cells <= LARGEST)


def known(*sizes: Any) -> bool:
    return not any(isinstance(size, tf.Tensor) for size in sizes)


def as_shape(*sizes: Any) -> Any:
    """Return sizes as what TensorFlow takes for a shape, without an operation where they are known."""
    return list(sizes) if known(*sizes) else tf.stack([tf.cast(size, tf.int64) for size in sizes])


def long(*sizes: Any) -> Any:
    """The same where there must be a tensor of one dtype."""
    return tf.constant(sizes, tf.int64) if known(*sizes) else as_shape(*sizes)


def pairs(*sizes: tuple[Any, Any]) -> Any:
    """Return pairs of sizes as what TensorFlow takes for paddings, without an operation where they are known."""
    flat = [size for pair in sizes for size in pair]
    return list(sizes) if known(*flat) else tf.reshape(as_shape(*flat), [-1, 2])


def chosen(condition: Any, one: Any, other: Any) -> Any:
    return np.where(condition, one, other) if known(condition, one, other) else tf.where(condition, one, other)


def arange(size: Any, dtype: Any = tf.int64) -> Any:
    """Return 0, 1, ... as an array of NumPy's where they are few: a graph has a constant of it then."""
    if known(size) and size <= _CONSTANT:
        return np.arange(size, dtype=dtype.as_numpy_dtype)
    return tf.range(tf.cast(size, dtype), dtype=dtype)


def table(first: Any, sizes: list[Any]) -> Any:
    """Return what a table of these sizes starts from: NumPy's where they are small, as `count` does."""
    small = known(*sizes) and prod(sizes) <= _CONSTANT
    return first.reshape(1) if small else tf.constant(first, shape=[1])


def reshaped(array: Any, *sizes: int) -> Any:
    return array.reshape(sizes) if isinstance(array, np.ndarray) else tf.reshape(array, sizes)


def cast(size: Any, dtype: Any) -> Any:
    """Return a size as a number of a dtype, without an operation where it is known."""
    return np.asarray(size, dtype.as_numpy_dtype) if known(size) else tf.cast(size, dtype)


def settled(plan: Plan) -> Plan:
    """Return a plan with the sizes that TensorFlow knows already, though they were given as tensors."""
    given = plan.given
    if given is None or tf.executing_eagerly():
        return plan
    # What it knows of the sizes of a tensor, it knows of one of these sizes.
    inferred = tf.fill(tf.stack([1 if entry is None else _number(entry) for entry in given]), False).shape.as_list()
    sizes = tuple(None if entry is None else size for entry, size in zip(given, inferred, strict=True))
    rest = plan.channels_last, plan.validate, plan.values, plan.sized_by
    found = unpool(plan.pooled_shape, plan.window, sizes, *rest)
    return replace(found, given=given) if None in (*found.pooled_shape, *found.spatial) else found


def of_pooling(cells: Any, plan: Plan) -> Sizes:
    """Find the sizes of a pooling of these cells."""
    plane_shape, rank = _sizes_of(cells, plan.plane_shape), len(plan.spatial)
    window, axes = plan.window, spatial_axes(len(plan.plane_shape), rank, plan.channels_last)
    sizes = plane_shape[axes]
    checks = _not_empty("input", plane_shape, plan)
    pooled = list(plan.pooled_shape[axes])
    for axis in range(rank):
        if pooled[axis] is None:
            pooled[axis], more = _windows(axis, sizes[axis], plane_shape, window, plan.ceil_mode)
            checks += more
    if plan.cells is None:
        distance = span(sizes, window)
        if not known(distance):
            checks += require(distance <= LARGEST, lambda number: errors.window_too_large(window, number(distance)))
        if plan.index_dtype == "int32":
            count = prod(sizes)
            checks += require(count - 1 <= LARGEST, lambda number: errors.index_dtype_too_small(number(count)))
    pooled_shape = [*plane_shape[: axes.start], *pooled, *plane_shape[axes.stop :]]
    return _sizes(plan, pooled_shape, plane_shape, checks)


def of_unpooling(values: Any, indices: Any, plan: Plan) -> Sizes:
    """Find the sizes of an unpooling of these values."""
    pooled_shape, checks = _same_shape(values, indices, plan)
    checks += _not_empty(plan.values, pooled_shape, plan)
    rank, given = len(plan.spatial), plan.given
    axes = spatial_axes(len(pooled_shape), rank, plan.channels_last)
    sizes = list(plan.spatial)
    if given is not None:
        spatial = given[spatial_axes(len(given), rank, plan.channels_last)]
        sizes = [_number(entry) if size is None else size for size, entry in zip(sizes, spatial, strict=True)]
        if len(given) > rank:
            checks += _leading(plan.values, given, pooled_shape, plan, axes)
    return _bounded(plan, pooled_shape, sizes, given, axes, checks)


def of_gathering(grad: Any, indices: Any, plan: Plan) -> Sizes:
    """Find the sizes of a gradient of an unpooling of these indices."""
    pooled_shape = _sizes_of(indices, plan.pooled_shape)
    given = _sizes_of(grad, tuple(grad.shape.as_list()))
    axes = spatial_axes(len(pooled_shape), len(plan.spatial), plan.channels_last)
    checks = _not_empty("indices", pooled_shape, plan)
    checks += _leading("indices", tuple(given), pooled_shape, plan, axes)
    return _bounded(plan, pooled_shape, given[axes], tuple(given), axes, checks)


def _bounded(
    plan: Plan, pooled_shape: list[Any], sizes: list[Any], given: Any, axes: slice, checks: list[Any]
) -> Sizes:
    """Apply the rule of sizes to those that the plan did not know, and default to what follows from the windows."""
    window, pooled = plan.window, pooled_shape[axes]
    for axis, along in enumerate(zip(*window, strict=True)):
        default = default_size(pooled[axis], *along)
        size = default if sizes[axis] is None else sizes[axis]
        sizes[axis] = size
        if known(size, default):
            continue
        low, high = bounds(default, axis, window)
        low = _larger(1, low)

        def none(number: Number, axis: int = axis) -> Exception:
            shown = None if given is None else _shown(given, number)
            return errors.no_size(plan.sized_by, shown, axis, number(pooled[axis]), window)

        def wrong(number: Number, exact: bool, axis: int = axis, low: Any = low, high: Any = high) -> Exception:
            smallest = number(low)
            both = smallest, smallest if exact else number(high)
            if given is None:
                return errors.size_needed(plan.sized_by, axis, both, window)
            shown = _shown(given, number)
            return errors.size_out_of_range(plan.sized_by, shown, axis, number(pooled[axis]), both, window)

        checks += require(high >= low, none)
        right = (high < low) | ((low <= size) & (size <= high))
        # A run alone knows whether there is one right size or several, and each has a text.
        one = tf.equal(cast(low, tf.int64), cast(high, tf.int64))
        checks += require(right | ~one, partial(wrong, exact=True))
        checks += require(right | one, partial(wrong, exact=False))
    plane_shape = [*pooled_shape[: axes.start], *sizes, *pooled_shape[axes.stop :]]
    return _sizes(plan, pooled_shape, plane_shape, checks)


def _windows(axis: int, size: Any, shape: list[Any], window: Window, ceil_mode: bool) -> tuple[Any, list[Any]]:
    """Count the windows along an axis, as `unpool.plan` does."""
    kernel, stride, padding, dilation = along = tuple(entry[axis] for entry in window)
    checks: list[Any] = []
    if padding == SAME:
        count = (size + stride - 1) // stride
    else:
        room = size + 2 * padding - dilation * (kernel - 1) - 1
        count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
        if ceil_mode:
            count -= tf.cast((count - 1) * stride >= size + padding, tf.int64)

        def nothing(number: Number) -> Exception:
            return errors.pooled_to_nothing("input", tuple(map(number, shape)), axis, window)

        checks = require(count >= 1, nothing)
        count = tf.maximum(count, 0)  # or what counts to it might fail first, in words of its own
    padding = padding_before(size, count, *along)
    if dilation > 1 and not (known(padding) and padding == 0):
        # The first cell from 0 on of a window that starts in the padding is where it starts, modulo the dilation.
        starts = tf.range(count, dtype=tf.int64) * stride - padding
        stepped = (starts < 0) & (starts % dilation >= size)
        checks += require(
            ~tf.reduce_any(stepped), lambda number: errors.window_in_padding("input", number(size), axis, window)
        )
    return count, checks


def _same_shape(values: Any, indices: Any, plan: Plan) -> tuple[list[Any], list[Any]]:
    """Return the shape of values and indices, which is one."""
    shape = _sizes_of(values, plan.pooled_shape)
    if values.shape.is_fully_defined() and indices.shape.is_fully_defined():
        return shape, []
    ours, theirs = tf.shape(values, tf.int64), tf.shape(indices, tf.int64)
    rank = len(shape)

    def differ(number: Number) -> Exception:
        return errors.shapes_differ(
            "indices",
            [number(theirs[place]) for place in range(rank)],
            plan.values,
            [number(ours[place]) for place in range(rank)],
        )

    return shape, require(tf.reduce_all(tf.equal(ours, theirs)), differ)


def _not_empty(argument: str, shape: list[Any], plan: Plan) -> list[Any]:
    """Every dimension but the batch has an element."""
    checks = []
    for size in shape[len(shape) - len(plan.spatial) - 1 :]:
        if not known(size):
            checks += require(size >= 1, lambda number: errors.empty_dimension(argument, list(map(number, shape))))
    return checks


def _leading(argument: str, given: tuple[Any, ...], shape: list[Any], plan: Plan, axes: slice) -> list[Any]:
    """A size keeps the batch and channels of the arrays."""
    checks = []
    for place, (entry, size) in enumerate(zip(given, shape, strict=True)):
        if axes.start <= place < axes.stop or entry is None or known(entry, size):
            continue
        checks += require(
            tf.equal(cast(entry, tf.int64), cast(size, tf.int64)),
            lambda number: errors.wrong_leading(
                plan.sized_by,
                _shown(given, number),
                argument,
                tuple(map(number, shape)),
            ),
        )
    return checks


def _sizes(plan: Plan, pooled_shape: list[Any], plane_shape: list[Any], checks: list[Any]) -> Sizes:
    axes = spatial_axes(len(pooled_shape), len(plan.spatial), plan.channels_last)
    ones = (1,) * (3 - len(plan.spatial))
    padding = [
        padding_before(size, windows, *along)
        for size, windows, *along in zip(plane_shape[axes], pooled_shape[axes], *plan.window, strict=True)
    ]
    leading = pooled_shape[: axes.start] + pooled_shape[axes.stop :]
    samples, channels = prod(leading[:-1]), leading[-1]
    return Sizes(
        samples if plan.channels_last else samples * channels,
        channels if plan.channels_last else 1,
        (*ones, *pooled_shape[axes]),
        (*ones, *plane_shape[axes]),
        (*[0] * len(ones), *padding),
        pooled_shape,
        plane_shape,
        checks,
    )


def _sizes_of(tensor: Any, planned: tuple[int, ...]) -> list[Any]:
    """The shape of a tensor, as far as it is planned, and as the run has it elsewhere."""
    if None not in planned:
        return list(planned)
    found = tf.shape(tensor, tf.int64)
    return [found[place] if size is None else size for place, size in enumerate(planned)]


def _number(entry: Any) -> Any:
    return tf.cast(entry, tf.int64) if isinstance(entry, (tf.Tensor, tf.Variable)) else entry


def _shown(given: tuple[Any, ...], number: Number) -> tuple[Any, ...]:
    """Entries as the user gave them, for a message; a None is one."""
    return tuple(None if entry is None else number(_number(entry)) for entry in given)


def _larger(one: int, other: Any) -> Any:
    return max(one, other) if known(other) else tf.maximum(tf.constant(one, tf.int64), other)
