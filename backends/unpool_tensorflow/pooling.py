"""Pooling by comparing: along one axis after the other, so a window of k x k takes 2 k comparisons.

Along an axis, the windows' first cells are compared with their second ones, and so on: what is greater takes the place
of what was found, and a NaN always does.  So the first of equal maxima stays, and the last NaN; and because the last
axis goes first, that is so in row-major order.  Each value carries its position in the plane along.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from unpool.plan import LARGEST, Plan
from unpool_tensorflow import order
from unpool_tensorflow.asserts import after
from unpool_tensorflow.sizes import Sizes, cast, count, known, multiplied, of_pooling, reshaped, shape

# Up to here a window's cells are sliced out one by one; a longer window is a loop in the graph.
_UNROLLED = 16


def pool(cells: Any, plan: Plan) -> tuple[Any, Any]:
    sizes = of_pooling(cells, plan)
    cells, dtype = after(sizes.checks, cells), cells.dtype
    lead = sizes.batch if plan.channels_last else sizes.batch * sizes.channels
    trail = sizes.channels if plan.channels_last else 1
    positions = tf.int32 if known(sizes.cells) and sizes.cells <= LARGEST else tf.int64
    words = order.words(cells)
    found = words, order.keys(words, dtype), None
    plane = list(sizes.plane)
    for axis in (2, 1, 0):
        around = multiplied([lead, *plane[:axis]]), multiplied([*plane[axis + 1 :], trail])
        stage = _Axis(axis, around, sizes, plan, positions, dtype)
        found = stage.pooled(*found)
        plane[axis] = sizes.pooled[axis]
    words, _, places = found
    values = tf.reshape(order.values(words, dtype), shape(*sizes.pooled_shape))
    indices = tf.cast(tf.reshape(places, shape(*sizes.pooled_shape)), plan.index_dtype or "int64")
    for tensor in (values, indices):
        tensor.set_shape(plan.pooled_shape)
    return values, indices


class _Axis:
    """Pools arrays of shape (before, size, behind) along the middle."""

    def __init__(self, axis: int, around: Any, sizes: Sizes, plan: Plan, positions: tf.DType, dtype: tf.DType) -> None:
        self.around, self.size, self.windows = around, sizes.plane[axis], sizes.pooled[axis]
        self.step = cast(multiplied(sizes.plane[axis + 1 :]), positions)
        self.kernel, self.stride, self.padding, self.dilation = (
            entry[axis] for entry in (plan.kernel, plan.stride, plan.padding, plan.dilation)
        )
        self.positions, self.dtype = positions, dtype
        end = (self.windows - 1) * self.stride - self.padding + (self.kernel - 1) * self.dilation + 1
        self.whole = self.padding == 0 and ((known(end, self.size) and end <= self.size) or not plan.ceil_mode)
        self.end = end

    def pooled(self, words: Any, keys: Any, places: Any) -> Any:
        lying = shape(self.around[0], self.size, self.around[1])
        arrays = [None if array is None else tf.reshape(array, lying) for array in (words, keys, places)]
        if self.kernel == self.stride == 1 and not self.padding:
            return arrays[0], arrays[1], self._place(arrays[2], count(self.size))
        starts = count(self.windows) * self.stride - self.padding
        if self.whole:
            first, found = 1, self._sliced(arrays, 0)
        else:
            # The first cell of a window that is not in the padding.
            first, found = 0, self._gathered(arrays, tf.where(starts < 0, starts % self.dilation, starts))
        if self.kernel <= _UNROLLED:
            padded = arrays if self.whole else self._padded(arrays)
            for tap in range(first, self.kernel):
                candidate = self._sliced(padded, tap, 0 if self.whole else self.padding)
                found = self._better(found, candidate, starts + tap * self.dilation)
            return found
        return self._loop(arrays, found, starts, first)

    def _loop(self, arrays: Any, found: Any, starts: Any, first: int) -> Any:
        last = cast(self.size - 1, tf.int64)

        def body(tap: Any, *found: Any) -> Any:
            cells = starts + tap * self.dilation
            candidate = self._gathered(arrays, tf.clip_by_value(cells, 0, last))
            return tap + 1, *self._better(found, candidate, cells)

        begin = tf.constant(first, tf.int64)
        _, *found = tf.while_loop(lambda tap, *_: tap < self.kernel, body, [begin, *found])
        return tuple(found)

    def _better(self, found: Any, candidate: Any, cells: Any) -> Any:
        """Put a candidate where it is greater, or a NaN."""
        greater = candidate[1] > found[1]
        nan = order.unordered(candidate[1], self.dtype)
        if nan is not None:
            greater |= nan
        if not self.whole:
            greater &= reshaped((cells >= 0) & (cells < cast(self.size, tf.int64)), 1, -1, 1)
        return tuple(tf.where(greater, new, old) for new, old in zip(candidate, found, strict=True))

    def _place(self, places: Any, cells: Any) -> Any:
        """Add the coordinates along this axis to the positions in the plane."""
        numbers = cells.astype(self.positions.as_numpy_dtype) if known(cells) else tf.cast(cells, self.positions)
        along = reshaped(numbers * self.step, 1, -1, 1)
        if places is None:
            cells = along.shape[1] if known(along) else tf.size(along, tf.int64)
            return tf.broadcast_to(along, shape(self.around[0], cells, self.around[1]))
        return places + along

    def _sliced(self, arrays: Any, tap: int, before: int = 0) -> Any:
        """The tap-th cell of every window, of arrays with so many cells put before them."""
        start = tap * self.dilation
        stop = start + (self.windows - 1) * self.stride + 1
        words, keys, places = (None if array is None else array[:, start : stop : self.stride] for array in arrays)
        cells = count(self.windows) * self.stride + (start - before)
        return words, keys, self._place(places, cells)

    def _gathered(self, arrays: Any, cells: Any) -> Any:
        words, keys, places = (None if array is None else tf.gather(array, cells, axis=1) for array in arrays)
        return words, keys, self._place(places, cells)

    def _padded(self, arrays: Any) -> Any:
        """Put cells on both sides that no window takes."""
        missing = self.end - self.size
        after = max(0, missing) if known(missing) else tf.maximum(missing, 0)
        pads = [(0, 0), (self.padding, after), (0, 0)]
        return [None if array is None else tf.pad(array, pads) for array in arrays]
