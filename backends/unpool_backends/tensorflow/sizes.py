"""The sizes of a call: integers if the plan has them, else scalar tensors, known only at run time.

`asserts.Asserts` applies the rules of `unpool.sizes` to these tensors, since the plan could not.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from unpool.plan import Plan, plan_unpooling
from unpool.sizes import (
    common_shape,
    count_windows,
    demand_elements,
    demand_leading,
    demand_size,
    demand_small_planes,
    spatial_axes,
)
from unpool.windows import LARGEST, default_size, padding_before
from unpool_backends.tensorflow.asserts import Asserts, known

# Larger tables are computed when the graph runs: as constants, they would enlarge the graph and the saved model.
_CONSTANT = 2**15


class Sizes(NamedTuple):
    """The sizes of a Plan, each a number or a tensor, and the checks to run before the arrays are touched."""

    lead: Any  # planes that lie one after the other, or samples
    trail: Any  # channels that lie side by side
    pooled: tuple[Any, ...]
    plane: tuple[Any, ...]
    padding: tuple[Any, ...]  # before the plane
    pooled_shape: list[Any]
    plane_shape: list[Any]
    checks: list[Any]
    follows: bool  # True if the size of the plane follows from the windows

    @property
    def windows(self) -> Any:
        return prod(self.pooled)

    @property
    def cells(self) -> Any:
        return prod(self.plane)

    @property
    def small(self) -> bool:
        """Return True if int32 counts the cells of a plane; False if their number is unknown."""
        return known(self.cells) and bool(self.cells <= LARGEST)


def as_shape(*sizes: Any) -> Any:
    """Return sizes as a shape for TensorFlow: a list if they are known, else a tensor."""
    return list(sizes) if known(*sizes) else tf.stack([tf.cast(size, tf.int64) for size in sizes])


def long(*sizes: Any) -> Any:
    """Return sizes as a tensor of int64."""
    return tf.constant(sizes, tf.int64) if known(*sizes) else as_shape(*sizes)


def pairs(*sizes: tuple[Any, Any]) -> Any:
    """Return pairs of sizes as paddings for TensorFlow: a list if they are known, else a tensor."""
    flat = [size for pair in sizes for size in pair]
    return list(sizes) if known(*flat) else tf.reshape(as_shape(*flat), [-1, 2])


def arange(size: Any, dtype: Any = tf.int64) -> Any:
    """Return 0, 1, ... as a NumPy array if they are few, which a graph stores as a constant; else as a tensor."""
    if known(size) and size <= _CONSTANT:
        return np.arange(size, dtype=dtype.as_numpy_dtype)
    return tf.range(tf.cast(size, dtype), dtype=dtype)


def table(first: Any, sizes: list[Any]) -> Any:
    """Return the first entry of a table of these sizes: as a NumPy array if the table is small, as `arange` does."""
    small = known(*sizes) and prod(sizes) <= _CONSTANT
    return first.reshape(1) if small else tf.constant(first, shape=[1])


def reshaped(array: Any, *sizes: int) -> Any:
    return array.reshape(sizes) if isinstance(array, np.ndarray) else tf.reshape(array, sizes)


def repeated(array: Any, count: Any) -> Any:
    """Repeat every entry of a short array: as a NumPy array if the result is small, as `arange` does."""
    small = isinstance(array, np.ndarray) and known(count) and array.size * count <= _CONSTANT
    return array.repeat(count) if small else tf.repeat(array, count)


def cast(size: Any, dtype: Any) -> Any:
    """Return a size as a number of a dtype: of NumPy if it is known, else a tensor."""
    return np.asarray(size, dtype.as_numpy_dtype) if known(size) else tf.cast(size, dtype)


def settled(plan: Plan[Any], given: Any) -> tuple[Plan[Any], Any]:
    """Return a plan with the given sizes that TensorFlow can infer, and `given` if a run must check some, else None."""
    if given is None or tf.executing_eagerly():
        return plan, given
    given = tuple([_number(entry) for entry in given])
    known = inferred([1 if entry is None else entry for entry in given])
    sizes = tuple([None if entry is None else size for entry, size in zip(given, known, strict=True)])
    rest = plan.channels_last, plan.validate, plan.values, plan.sized_by, plan.index_format
    found = plan_unpooling(plan.pooled_shape, plan.window, sizes, *rest)
    return found, given if None in (*found.pooled_shape, *found.spatial) else None


def inferred(sizes: list[Any]) -> list[int | None]:
    """Return the sizes that TensorFlow can infer while it traces, such as constants, and None for the others."""
    try:
        # TensorFlow infers the shape of this tensor as far as it can infer the sizes.
        found: list[int | None] = tf.fill(tf.stack(sizes), False).shape.as_list()
    except ValueError:  # a size is negative, which a rule refuses with a message of its own
        parts = [tf.fill([tf.maximum(size, 0), tf.maximum(-size, 0)], False).shape.as_list() for size in sizes]
        found = [None if None in part else part[0] - part[1] for part in parts]
    return found


def of_pooling(cells: Any, plan: Plan[Any]) -> Sizes:
    """Return the sizes of a pooling of these cells."""
    demand, rank = Asserts(), len(plan.spatial)
    plane_shape, axes = _sizes_of(cells, plan.plane_shape), _spatial(plan)
    sizes, pooled = plane_shape[axes], list(plan.pooled_shape[axes])
    demand_elements("input", plane_shape, rank, demand)
    for axis, count in enumerate(pooled):
        if count is None:
            count = count_windows(axis, plane_shape, sizes, plan.window, plan.ceil_mode, demand)
            pooled[axis] = tf.maximum(count, 0)  # a negative count could fail elsewhere before its check runs
    if plan.cells is None:
        demand_small_planes(sizes, plan.window, None if plan.by_taps else plan.index_dtype, demand)
    pooled_shape = [*plane_shape[: axes.start], *pooled, *plane_shape[axes.stop :]]
    return _sizes(plan, pooled_shape, plane_shape, demand.checks())


def of_unpooling(values: Any, indices: Any, plan: Plan[Any], given: Any) -> Sizes:
    """Return the sizes of an unpooling of these values; `given` has the user's size, if a run must check it."""
    demand, rank, axes = Asserts(), len(plan.spatial), _spatial(plan)
    pooled_shape = _sizes_of(values, plan.pooled_shape)
    if not (values.shape.is_fully_defined() and indices.shape.is_fully_defined()):
        ours, theirs = (_sizes_of(array, array.shape.as_list()) for array in (values, indices))
        common_shape("indices", theirs, plan.values, ours, demand)
    demand_elements(plan.values, pooled_shape, rank, demand)
    sizes: list[Any] = list(plan.spatial)
    if given is not None:
        given = tuple([_number(entry) for entry in given])
        spatial = given[spatial_axes(len(given), rank, plan.channels_last)]
        sizes = [entry if size is None else size for size, entry in zip(sizes, spatial, strict=True)]
        if len(given) > rank:
            demand_leading(plan.sized_by, given, plan.values, pooled_shape, axes, demand)
    follows = given is None and plan.sized_by == "output_size"
    return _bounded(plan, pooled_shape, sizes, given, demand, follows)


def of_gathering(grad: Any, indices: Any, plan: Plan[Any]) -> Sizes:
    """Return the sizes of a gradient of an unpooling of these indices."""
    demand, axes = Asserts(), _spatial(plan)
    pooled_shape = _sizes_of(indices, plan.pooled_shape)
    given = _sizes_of(grad, grad.shape.as_list())
    demand_elements("indices", pooled_shape, len(plan.spatial), demand)
    demand_leading(plan.sized_by, given, "indices", pooled_shape, axes, demand)
    return _bounded(plan, pooled_shape, given[axes], given, demand)


def _bounded(
    plan: Plan[Any], pooled_shape: list[Any], sizes: list[Any], given: Any, demand: Asserts, follows: bool = False
) -> Sizes:
    """Apply the rule of sizes to sizes that the plan does not have; a missing size is the default for the windows."""
    axes = _spatial(plan)
    for axis, windows in enumerate(pooled_shape[axes]):
        if sizes[axis] is None:
            sizes[axis] = default_size(windows, *plan.window.along(axis))
        if not known(sizes[axis], windows):
            demand_size(axis, windows, sizes[axis], plan.window, given, plan.sized_by, demand)
    plane_shape = [*pooled_shape[: axes.start], *sizes, *pooled_shape[axes.stop :]]
    return _sizes(plan, pooled_shape, plane_shape, demand.checks(), follows)


def _sizes(
    plan: Plan[Any], pooled_shape: list[Any], plane_shape: list[Any], checks: list[Any], follows: bool = False
) -> Sizes:
    axes = _spatial(plan)
    ones = (1,) * (3 - len(plan.spatial))
    padding: list[Any] = list(plan.padding[len(ones) :])
    for axis, (size, windows) in enumerate(zip(plane_shape[axes], pooled_shape[axes], strict=True)):
        if padding[axis] is None:  # it depends on a size that the plan does not have
            padding[axis] = padding_before(size, windows, *plan.window.along(axis))
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
        follows,
    )


def cells_of_one(axis: int, plan: Plan[Any]) -> int:
    """Return the default size of a plane of one window, along one of three axes; each further window adds a stride."""
    spatial = axis - 3 + len(plan.spatial)
    return 1 if spatial < 0 else int(default_size(1, *plan.window.along(spatial)))


def is_padded(axis: int, plan: Plan[Any]) -> bool:
    """Return True if there may be padding before or after the plane, along one of three axes."""
    spatial = axis - 3 + len(plan.spatial)
    return spatial >= 0 and plan.window.padding[spatial] != 0


def _spatial(plan: Plan[Any]) -> slice:
    return spatial_axes(len(plan.pooled_shape), len(plan.spatial), plan.channels_last)


def _sizes_of(tensor: Any, planned: Any) -> list[Any]:
    """Return the shape of a tensor: the sizes of the plan as numbers, the other sizes as tensors."""
    if None not in planned:
        return list(planned)
    found = tf.shape(tensor, tf.int64)
    return [found[place] if size is None else size for place, size in enumerate(planned)]


def _number(entry: Any) -> Any:
    return tf.cast(entry, tf.int64) if isinstance(entry, (tf.Tensor, tf.Variable)) else entry
