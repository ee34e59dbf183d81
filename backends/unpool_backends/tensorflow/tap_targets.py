"""The cells that taps name, without a scatter, a gather or a condition wherever the window path serves.

A tap names a cell of its own window, or it is bad.  So indices need no test first: a bad tap equals the number of no
tap, or that of one in the padding, which is cut off.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import tensorflow as tf

from unpool import errors
from unpool.protocol import Duplicates
from unpool.sizes import Number
from unpool.taps import cells_of
from unpool.windows import LARGEST
from unpool_backends.tensorflow.asserts import known, require
from unpool_backends.tensorflow.sizes import as_shape, cells_of_one
from unpool_backends.tensorflow.targets import Targets
from unpool_backends.tensorflow.window_path import windows_per_cell

# Taps of a window up to which a gradient selects among the slices of all taps; beyond, it gathers.
_SLICED = 64


class TapTargets(Targets):
    """The cells that the taps of a call name.  The conditions on plane indices (`inside`) are not needed."""

    def _numbers(self) -> Any:
        """Return the taps in a dtype that holds the numbers of all taps of a window: bytes if they are bytes."""
        given, most = self.indices.dtype, self.plan.taps - 1
        if given == tf.uint8 and most <= given.max:
            return tf.reshape(self.indices, self.shape)
        small = (given == tf.int32 or given.size < 4) and most <= LARGEST
        # uint64 taps from 2**63 on turn negative here, so they stay bad.
        return tf.reshape(tf.cast(self.indices, tf.int32 if small else tf.int64), self.shape)

    def valid(self) -> Any:
        mask = self._numbered()
        return mask & (self.cells() >= 0) if self._edges() else mask

    def every_valid(self) -> Any:
        """Return True if every tap is valid; only the windows at the edges can have taps in the padding."""
        every = tf.reduce_all(self._numbered())
        for windows_of in self._edges():
            every &= tf.reduce_all(self._cells(windows_of)[1])
        return every

    def _numbered(self) -> Any:
        """Return a mask of the indices that are numbers of taps."""
        taps, dtype = tf.reshape(self.indices, self.shape), self.indices.dtype
        mask = taps <= tf.constant(min(self.plan.taps - 1, dtype.max), dtype)
        return mask if dtype.is_unsigned else mask & (taps >= tf.constant(0, dtype))

    def _edges(self) -> list[list[slice]]:
        """Return slices of the windows, along all axes, that hold every window with a tap outside of the plane."""
        edges, sizes, plan = [], self.sizes, self.plan
        for axis, (size, windows, padding) in enumerate(zip(sizes.plane, sizes.pooled, sizes.padding, strict=True)):
            stride, span = plan.stride[axis], plan.dilation[axis] * (plan.kernel[axis] - 1) + 1
            if known(size, windows, padding):
                before, behind = min(windows, -(-padding // stride)), max(0, (size + padding - span) // stride + 1)
                parts = [slice(0, before)] * (before > 0) + [slice(behind, windows)] * (behind < windows)
            else:
                # A size that follows from the windows may still be less than they reach.
                inside = sizes.follows and known(padding) and padding == 0 and cells_of_one(axis, plan) >= span
                parts = [] if inside else [slice(None)]
            edges += [[part if axis == other else slice(None) for other in range(3)] for part in parts]
        return edges

    def cells(self) -> Any:
        """Return the cell of each tap in its plane; -1 for a bad one."""
        cells, inside = self._cells([slice(None)] * 3)
        return tf.reshape(tf.where(inside, cells, tf.constant(-1, cells.dtype)), self.shape)

    def _cells(self, windows_of: list[slice]) -> tuple[Any, Any]:
        small = self.sizes.small and self.numbers.dtype != tf.int64
        return self._converted(cells_of, tf.cast(self.numbers, tf.int32 if small else tf.int64), windows_of)

    def last(self) -> Any:
        """Return a mask of the taps whose cell no later window names."""
        if self.apart:
            return tf.ones(as_shape(*self._lying()), tf.bool)
        if self.matches is None:
            return self.last_of_all()
        return tf.reshape(~self._named_later(), self.shape)

    def _named_later(self) -> Any:
        """Compare the cells of the windows with those of all later windows that have common cells with them."""
        axes, windows = windows_per_cell(self.plan), [0, *self.sizes.pooled, 0]
        cells = tf.reshape(self.cells(), as_shape(*self._lying()))
        pads = [(0, 0), *[(count - 1, count - 1) for count in axes], (0, 0)]
        around = tf.pad(cells, pads, constant_values=-1)
        found = None
        for away in product(*[range(1 - count, count) for count in axes]):
            if away > (0, 0, 0):
                starts = [count - 1 + step for count, step in zip(axes, away, strict=True)]
                parts = [slice(start, start + size) for start, size in zip(starts, windows[1:-1], strict=True)]
                same = tf.equal(cells, around[:, parts[0], parts[1], parts[2]])
                found = same if found is None else found | same
        return found

    def _lying(self) -> list[Any]:
        return [self.lead, *self.sizes.pooled, self.trail]

    def taken(self, planes: Any, duplicates: Duplicates) -> Any:
        if self.matches is None or prod(axis.kernel for axis in self.matches.axes) > _SLICED:
            return super().taken(planes, duplicates)
        values = self.matches.gather(planes)
        if duplicates == "sum" or self.apart:
            return values
        return tf.where(self.last(), values, tf.zeros([], values.dtype))

    # Errors.

    def good(self) -> list[Any]:
        """Return the check that all taps are taps of their windows, inside the plane."""

        def bad(number: Number) -> Exception:
            return errors.bad_tap(*self._first_of(~self.valid(), number), self.plan.window, self.plan.sized_by)

        return require(self.every_valid(), bad)

    def once(self) -> list[Any]:
        """Demand that no two taps of a plane are at one cell."""
        if self.apart:
            return []

        def repeated(number: Number) -> Exception:
            first, second = self._repeated()
            return errors.duplicate_tap(self._position(first, number), self._position(second, number))

        return require(tf.reduce_all(self.last() | ~self.valid()), repeated)
