"""The cells that the indices of a call name: their flat positions, repeats, and the values at them.

A bad index gets a cell past the end, which is cut off.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import tensorflow as tf

from unpool import errors
from unpool.plan import Plan
from unpool.protocol import Duplicates
from unpool.sizes import Number
from unpool.taps import taps_of
from unpool.windows import LARGEST
from unpool_backends.tensorflow.asserts import compiles, known, require
from unpool_backends.tensorflow.sizes import Sizes, arange, as_shape, cast, reshaped
from unpool_backends.tensorflow.window_path import Matches, serve, windows_per_cell


class Targets:
    """The cells that the indices of a call name."""

    def __init__(self, indices: Any, sizes: Sizes, plan: Plan[Any], own: bool = False) -> None:
        self.indices, self.sizes, self.plan = indices, sizes, plan
        self.lead, self.trail = sizes.lead, sizes.trail
        self.shape = as_shape(self.lead, sizes.windows, self.trail)
        total = self.lead * sizes.cells * self.trail
        self.total = cast(total, tf.int64)
        self.apart = max(windows_per_cell(plan)) == 1
        # TensorFlow Lite has segment operations for int32 only.
        self.segments = tf.int32 if known(total) and total < LARGEST else tf.int64
        self.numbers = self._numbers()
        self.matches = Matches(self.numbers, sizes, plan) if serve(plan) else None
        self.inside = None if self.matches is None or own else self.matches.inside()
        # XLA cannot differentiate a tf.cond if its arrays have sizes that are unknown while tracing.
        self.open = compiles() and not known(total)

    def _numbers(self) -> Any:
        """Return the indices in a dtype to compare them in, reshaped to three axes."""
        dtype = tf.int32 if self.indices.dtype == tf.int32 and self.sizes.small else tf.int64
        # uint64 indices from 2**63 on turn negative here, so they stay out of range.
        return tf.reshape(tf.cast(self.indices, dtype), self.shape)

    # These are methods, so that only the branch or the gradient that needs a tensor computes it.

    def valid(self) -> Any:
        return self.in_range() & self.own() if self.plan.validate == "windows" else self.in_range()

    def in_range(self) -> Any:
        return (self.numbers >= 0) & (tf.cast(self.numbers, tf.int64) < cast(self.sizes.cells, tf.int64))

    def own(self) -> Any:
        """Return a mask of the indices that are cells of their own windows."""
        _, inside = self._converted(taps_of, self.numbers)
        return tf.reshape(inside, self.shape)

    def cells(self) -> Any:
        """Return the cell of each index in its plane; that of a bad one is undefined."""
        return self.numbers

    def _converted(self, conversion: Any, numbers: Any, windows_of: Any = (slice(None),) * 3) -> tuple[Any, Any]:
        """Convert between taps and cells by a function of `unpool.taps`; `windows_of` is a slice of each axis."""
        sizes, dtype, corners = self.sizes, numbers.dtype, []
        for axis, windows in enumerate(sizes.pooled):
            shape = [1] * 5
            shape[1 + axis] = -1
            corner = arange(windows, dtype) * cast(self.plan.stride[axis], dtype) - cast(sizes.padding[axis], dtype)
            corners.append(reshaped(corner[windows_of[axis]], *shape))
        numbers = tf.reshape(numbers, as_shape(self.lead, *sizes.pooled, self.trail))
        plane = [cast(size, dtype) for size in sizes.plane]
        return conversion(numbers[:, *windows_of], plane, corners, self.plan)  # type: ignore[no-any-return]

    def flat(self) -> Any:
        """Return the positions of indices among all cells, in memory order; one past the end for a bad index."""
        return tf.where(self.valid(), self.flat_of_good(), self.total)

    def flat_of_good(self) -> Any:
        """Return the same for indices that are all in range."""
        plane = reshaped(arange(self.lead), -1, 1, 1) * cast(self.sizes.cells * self.trail, tf.int64)
        numbers, trail = tf.cast(self.cells(), tf.int64), cast(self.trail, tf.int64)
        return (numbers if known(self.trail) and self.trail == 1 else numbers * trail) + (plane + arange(self.trail))

    def one_more(self) -> Any:
        return tf.reshape(self.total + 1, [1])

    def order(self) -> Any:
        """Number the indices in row-major order, from 1."""
        return tf.reshape(tf.range(1, tf.size(self.indices, tf.int64) + 1), self.shape)

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
        values = tf.reshape(self.taken(planes, duplicates), as_shape(*self.sizes.pooled_shape))
        values.set_shape(self.plan.pooled_shape)
        return values

    def taken(self, planes: Any, duplicates: Duplicates) -> Any:
        cells = tf.reshape(planes, [-1])

        def at(flat: Any) -> Any:
            # With indices of a single dimension, or by tf.gather, the gradient would be sparse.
            return tf.gather_nd(cells, flat[..., tf.newaxis])

        def kept() -> Any:
            kept = self.valid() if duplicates == "sum" else self.valid() & self.last()
            return tf.where(kept, at(tf.where(kept, self.flat_of_good(), 0)), tf.zeros([], planes.dtype))

        if self.inside is None or self.open or not (self.apart or duplicates == "sum"):
            return kept()
        return tf.cond(self.inside, lambda: at(self.flat_of_good()), kept)

    # Errors.

    def good(self) -> list[Any]:
        """Return the checks that all indices are in range, and in their own windows with ``validate="windows"``."""
        valid = self.valid()
        every = tf.reduce_all(valid)

        def bad(number: Number) -> Exception:
            return errors.bad_index(*self._first_of(~valid, number), self.plan.sized_by)

        def outside(number: Number) -> Exception:
            return errors.outside_window(*self._first_of(~valid, number), self.plan.window, self.plan.sized_by)

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
            first, second = self._repeated()
            return errors.duplicate_index(
                self._position(first, number), self._position(second, number), self._shown(second, number)
            )

        return require(tf.reduce_all(self.last_of_all() | ~self.valid()), repeated)

    def _repeated(self) -> tuple[Any, Any]:
        """Return the flat positions of the first index that repeats an earlier one: of the earliest, and its own."""
        order, cells = self._segments()
        firsts = tf.gather(tf.math.unsorted_segment_min(order, cells, self.total + 1), cells)
        second = self._first((firsts < order) & tf.reshape(self.valid(), [-1]))
        return tf.cast(firsts[second], tf.int64) - 1, second

    def _first_of(self, mask: Any, number: Number) -> tuple[list[int], int, list[int]]:
        """Return the position and the value of the first index in a mask, and the sizes of the plane, for a message."""
        where = self._first(mask)
        plane = [number(size) for size in self.sizes.plane[3 - len(self.plan.spatial) :]]
        return self._position(where, number), self._shown(where, number), plane

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
