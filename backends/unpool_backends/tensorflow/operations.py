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
from functools import partial
from typing import Any

import tensorflow as tf

from unpool import errors
from unpool.plan import Plan
from unpool.protocol import Duplicates
from unpool.sizes import LARGEST, Number
from unpool.taps import taps_of
from unpool_backends.tensorflow.asserts import after, compiles, known, require
from unpool_backends.tensorflow.bits import from_bits, to_bits, with_gradient_of
from unpool_backends.tensorflow.pooling import pool
from unpool_backends.tensorflow.sizes import Sizes, arange, as_shape, cast, of_gathering, of_unpooling, reshaped
from unpool_backends.tensorflow.window_path import Matches, serve, windows_per_cell

__all__ = ["gather", "pool", "scatter"]


def scatter(
    values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, given: Any = None, own: bool = False
) -> tuple[Any, Callable[[Any], Any]]:
    """Return the planes, and the function from gradients of the planes to gradients of the values.

    `given` has the entries of the user's size, if a run has rules to apply to them.  If `own`, a pooling by this plan
    found the indices; that they lie in their own windows is not checked again.
    """
    sizes = of_unpooling(values, indices, plan, given)
    targets = _Targets(after(sizes.checks, indices), sizes, plan, own)
    dtype = values.dtype
    values = tf.reshape(values if duplicates == "sum" else to_bits(values), targets.shape)

    def general() -> Any:
        checks = targets.good() if plan.validate else []
        if duplicates == "error":
            checks = checks + targets.once()
        flat = after(checks, targets.flat())
        if duplicates == "sum":
            # With indices of shape (n, 1), the first derivative would be sparse, and the second in forward mode fail.
            planes = tf.scatter_nd(tf.reshape(flat, [1, -1, 1]), tf.reshape(values, [1, -1]), targets.one_more())
        else:
            planes = _assign(values, tf.where(targets.last_of_all(), flat, targets.total), targets)
        return tf.reshape(planes[: targets.total], as_shape(targets.lead, sizes.cells, targets.trail))

    if targets.matches is None:
        planes = general()
    else:
        matches, adds = targets.matches, duplicates == "sum"
        alone = duplicates != "error" or targets.apart
        way = targets.inside if alone else targets.inside & targets.unrepeated()
        planes = matches.scatter(values, adds) if own else tf.cond(way, lambda: matches.scatter(values, adds), general)
    planes = tf.reshape(from_bits(planes, dtype), as_shape(*sizes.plane_shape))
    planes.set_shape(plan.plane_shape)
    return planes, lambda upstream: targets.take(upstream, duplicates)


def gather(grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
    sizes = of_gathering(grad, indices, plan)
    targets = _Targets(after(sizes.checks, indices), sizes, plan)
    checks = targets.good() if plan.validate else []
    if duplicates == "error":
        checks = checks + targets.once()
    grad = after(checks, grad)
    values, bits = targets.take(grad, duplicates), to_bits(grad)
    if bits is grad:
        return values
    return with_gradient_of(values, from_bits(targets.take(bits, duplicates), grad.dtype))


class _Targets:
    """The cells that the indices of a call name."""

    def __init__(self, indices: Any, sizes: Sizes, plan: Plan[Any], own: bool = False) -> None:
        self.indices, self.sizes, self.plan = indices, sizes, plan
        self.lead, self.trail = sizes.lead, sizes.trail
        self.shape = as_shape(self.lead, sizes.windows, self.trail)
        total = self.lead * sizes.cells * self.trail
        self.total = cast(total, tf.int64)
        # TensorFlow Lite has segment operations for int32 only.
        self.segments = tf.int32 if known(total) and total < LARGEST else tf.int64
        dtype = tf.int32 if indices.dtype == tf.int32 and sizes.small else tf.int64
        # uint64 indices from 2**63 on turn negative here, so they stay out of range.
        self.numbers = tf.reshape(tf.cast(indices, dtype), self.shape)
        self.apart = max(windows_per_cell(plan)) == 1
        self.matches = Matches(self.numbers, sizes, plan) if serve(plan) else None
        self.inside = None if self.matches is None or own else self.matches.inside()
        # XLA cannot differentiate a tf.cond if its arrays have sizes that are unknown while tracing.
        self.open = compiles() and not known(total)

    # These are methods, so that only the branch or the gradient that needs a tensor computes it.

    def valid(self) -> Any:
        return self.in_range() & self.own() if self.plan.validate == "windows" else self.in_range()

    def in_range(self) -> Any:
        return (self.numbers >= 0) & (tf.cast(self.numbers, tf.int64) < cast(self.sizes.cells, tf.int64))

    def own(self) -> Any:
        """Return a mask of the indices that are cells of their own windows."""
        sizes, dtype, corners = self.sizes, self.numbers.dtype, []
        for axis, windows in enumerate(sizes.pooled):
            shape = [1] * 5
            shape[1 + axis] = -1
            corner = arange(windows, dtype) * cast(self.plan.stride[axis], dtype) - cast(sizes.padding[axis], dtype)
            corners.append(reshaped(corner, *shape))
        numbers = tf.reshape(self.numbers, as_shape(self.lead, *sizes.pooled, self.trail))
        plane = [cast(size, dtype) for size in sizes.plane]
        _, inside = taps_of(numbers, plane, corners, self.plan)
        return tf.reshape(inside, self.shape)

    def flat(self) -> Any:
        """Return the positions of indices among all cells, in memory order; one past the end for a bad index."""
        return tf.where(self.valid(), self.flat_of_good(), self.total)

    def flat_of_good(self) -> Any:
        """Return the same for indices that are all in range."""
        plane = reshaped(arange(self.lead), -1, 1, 1) * cast(self.sizes.cells * self.trail, tf.int64)
        numbers, trail = tf.cast(self.numbers, tf.int64), cast(self.trail, tf.int64)
        return (numbers if known(self.trail) and self.trail == 1 else numbers * trail) + (plane + arange(self.trail))

    def one_more(self) -> Any:
        return tf.reshape(self.total + 1, [1])

    def order(self) -> Any:
        """Number the indices in row-major order, from 1."""
        return tf.reshape(tf.range(1, tf.size(self.numbers, tf.int64) + 1), self.shape)

    def last(self) -> Any:
        """Return a mask of the indices that no later index of their plane repeats."""
        if self.inside is None:
            return self.last_of_all()
        all_of_them = partial(tf.ones_like, self.numbers, tf.bool)
        return tf.cond(self.inside, all_of_them if self.apart else self.last_of_windows, self.last_of_all)

    def last_of_windows(self) -> Any:
        assert self.matches is not None
        order = self.order()
        owners = tf.reshape(self.matches.scatter(order, adds=False), [-1])
        return tf.equal(tf.gather(owners, self.flat()), order)

    def last_of_all(self) -> Any:
        order, cells = self._segments()
        owners = tf.math.unsorted_segment_max(order, cells, self.total + 1)
        return tf.reshape(tf.equal(tf.gather(owners, cells), order), self.shape)

    def _segments(self) -> tuple[Any, Any]:
        """Return the flat numbers of the indices, in row-major order, and the flat cells that they name."""
        order, cells = (tf.cast(tf.reshape(part, [-1]), self.segments) for part in (self.order(), self.flat()))
        return order, cells

    def unrepeated(self) -> Any:
        return tf.reduce_all(self.last() | ~self.valid())

    def take(self, planes: Any, duplicates: Duplicates) -> Any:
        """Return the value at each index; zero at a bad index, and at one that a later index overwrote."""
        cells = tf.reshape(planes, [-1])

        def at(flat: Any) -> Any:
            # With indices of a single dimension, or by tf.gather, the gradient would be sparse.
            return tf.gather_nd(cells, flat[..., tf.newaxis])

        def kept() -> Any:
            kept = self.valid() if duplicates == "sum" else self.valid() & self.last()
            return tf.where(kept, at(tf.where(kept, self.flat_of_good(), 0)), tf.zeros([], planes.dtype))

        if self.inside is None or self.open or not (self.apart or duplicates == "sum"):
            values = kept()
        else:
            values = tf.cond(self.inside, lambda: at(self.flat_of_good()), kept)
        values = tf.reshape(values, as_shape(*self.sizes.pooled_shape))
        values.set_shape(self.plan.pooled_shape)
        return values

    # Errors.

    def good(self) -> list[Any]:
        """Return the checks that all indices are in range, and in their own windows with ``validate="windows"``."""
        valid = self.valid()
        every = tf.reduce_all(valid)

        def bad(number: Number) -> Exception:
            return errors.bad_index(*first(number), self.plan.sized_by)

        def outside(number: Number) -> Exception:
            return errors.outside_window(*first(number), self.plan.window, self.plan.sized_by)

        def first(number: Number) -> tuple[list[int], int, list[int]]:
            where = self._first(~valid)
            plane = [number(size) for size in self.sizes.plane[3 - len(self.plan.spatial) :]]
            return self._position(where, number), self._shown(where, number), plane

        if self.plan.validate != "windows" or compiles():  # XLA drops asserts
            return require(every, bad)

        # Make a check for each text: which of them fits the first bad index is known only at run time.
        def first_in_range() -> Any:
            return tf.reshape(self.in_range(), [-1])[self._first(~valid)]

        true = tf.constant(True)
        checks = require(tf.cond(every, lambda: true, first_in_range), bad)
        return checks + require(tf.cond(every, lambda: true, lambda: ~first_in_range()), outside)

    def once(self) -> list[Any]:
        """Demand that no index repeats within a plane."""

        def repeated(number: Number) -> Exception:
            order, cells = self._segments()
            firsts = tf.gather(tf.math.unsorted_segment_min(order, cells, self.total + 1), cells)
            second = self._first((firsts < order) & tf.reshape(self.valid(), [-1]))
            first = tf.cast(firsts[second], tf.int64) - 1
            return errors.duplicate_index(
                self._position(first, number), self._position(second, number), self._shown(second, number)
            )

        return require(tf.reduce_all(self.last_of_all() | ~self.valid()), repeated)

    def _first(self, mask: Any) -> Any:
        """Return the flat position of the first True of a mask, in row-major order."""
        order = tf.reshape(self.order(), [-1])
        return tf.reduce_min(tf.where(tf.reshape(mask, [-1]), order, order.dtype.max)) - 1

    def _position(self, flat: Any, number: Number) -> list[int]:
        position: list[int] = []
        for size in reversed(self.sizes.pooled_shape):
            position.insert(0, number(flat % size))
            flat = flat // size
        return position

    def _shown(self, flat: Any, number: Number) -> int:
        return number(tf.reshape(self.indices, [-1])[flat])


def _assign(values: Any, flat: Any, targets: _Targets) -> Any:
    """Put each value at its position; only the position past the end may occur twice."""
    return tf.raw_ops.SparseToDense(
        sparse_indices=tf.reshape(flat, [-1, 1]),
        output_shape=targets.one_more(),
        sparse_values=tf.reshape(values, [-1]),
        default_value=tf.zeros([], values.dtype),
        validate_indices=False,
    )
