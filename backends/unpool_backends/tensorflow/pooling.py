"""Pooling by comparisons along one axis after the other, so that a window of k x k takes 2 k comparisons.

Along an axis, the first cells of all windows are compared with their second cells, and so on.  A greater value replaces
the value found so far, and a NaN always does.  So the first of equal maxima stays, and the last NaN.  The last axis
is pooled first, so this holds in row-major order.  Each value carries its place along: in the plane, or in the window.
"""

from __future__ import annotations

from math import prod
from typing import Any

import tensorflow as tf

from unpool.dtypes import index_dtype_of
from unpool.plan import Plan
from unpool.windows import LARGEST, taps_inside
from unpool_backends.tensorflow import sort_keys
from unpool_backends.tensorflow.asserts import after, compiles, known
from unpool_backends.tensorflow.bits import from_bits, to_bits
from unpool_backends.tensorflow.sizes import Sizes, arange, as_shape, cast, is_padded, of_pooling, pairs, reshaped

# Cells along an axis up to which a window's cells are sliced out one by one; a longer window is a loop in the graph.
_UNROLLED = 16
# If the number of windows is unknown, cells are sliced out only if the stride is at most this many times the kernel.
_GAPS = 8


def pool(cells: Any, plan: Plan[Any]) -> tuple[Any, Any]:
    sizes = of_pooling(cells, plan)
    cells, dtype = after(sizes.checks, cells), cells.dtype
    if plan.by_taps:
        # Not the dtype of the taps: tf.where takes ten times as long for bytes, and TensorFlow Lite does not add them.
        positions = tf.int32 if plan.taps - 1 <= LARGEST else tf.int64
    else:
        positions = tf.int32 if sizes.small else tf.int64
    cells = to_bits(cells)
    if _side_by_side(plan):
        values, places = _of_taps(_taps_first(cells, sizes, plan), plan, positions, dtype)
    else:
        values, places = _of_axes(cells, sizes, plan, positions, dtype)
    values = tf.reshape(from_bits(values, dtype), as_shape(*sizes.pooled_shape))
    index_dtype = plan.index_dtype or index_dtype_of(None, plan.index_format, plan.window)
    indices = tf.reshape(tf.cast(places, index_dtype), as_shape(*sizes.pooled_shape))
    if compiles():
        indices = _stored(indices)
    for tensor in (values, indices):
        tensor.set_shape(plan.pooled_shape)
    return values, indices


def _side_by_side(plan: Plan[Any]) -> bool:
    """Return True if the windows share no cell and leave none out, and their taps are few."""
    apart = plan.kernel == plan.stride and plan.dilation == (1, 1, 1)
    inside = not plan.ceil_mode and not any(is_padded(axis, plan) for axis in range(3))
    few = not compiles() and 1 < plan.taps <= _UNROLLED  # XLA would transpose
    return plan.by_taps and apart and inside and few


def _taps_first(cells: Any, sizes: Sizes, plan: Plan[Any]) -> Any:
    """Return the cells of all windows with an axis for each axis of the window, the last one first."""
    covered = [count * size for count, size in zip(sizes.pooled, plan.kernel, strict=True)]
    if not (known(*sizes.plane) and tuple(covered) == sizes.plane):
        cells = tf.reshape(cells, as_shape(sizes.lead, *sizes.plane, sizes.trail))
        cells = cells[:, : covered[0], : covered[1], : covered[2]]
    shape, blocks = [], sizes.lead
    for count, size in zip(sizes.pooled, plan.kernel, strict=True):
        blocks = blocks * count
        if size > 1:
            shape += [blocks, size]
            blocks = 1
    taps = list(range(len(shape) - 1, 0, -2))
    rest = [*range(0, len(shape), 2), len(shape)]
    return tf.transpose(tf.reshape(cells, as_shape(*shape, blocks * sizes.trail)), [*taps, *rest])


def _of_taps(cells: Any, plan: Plan[Any], positions: tf.DType, dtype: tf.DType) -> tuple[Any, Any]:
    """Return the maxima over the leading axes, which are the window's from the last to the first, and their taps."""
    keys, places = sort_keys.keys(cells, dtype), None
    for axis in (2, 1, 0):
        if plan.kernel[axis] == 1:
            continue
        step = prod(plan.kernel[axis + 1 :])
        arrays = (cells, keys) if places is None else (cells, keys, places)
        parts = [tf.unstack(array, plan.kernel[axis]) for array in arrays]
        cells, keys, places = parts[0][0], parts[1][0], 0 if places is None else parts[2][0]
        for tap in range(1, plan.kernel[axis]):
            greater = parts[1][tap] > sort_keys.ordered(keys, dtype)
            place = tf.constant(tap * step, positions)
            if len(parts) == 3:
                places = tf.where(greater, parts[2][tap] + place, places)
            else:  # arithmetic takes less time than a selection of two numbers
                places = tf.cast(greater, positions) if tap == step == 1 else tf.where(greater, place, places)
            keys, cells = tf.maximum(keys, parts[1][tap]), tf.where(greater, parts[0][tap], cells)
    return cells, places


def _of_axes(cells: Any, sizes: Sizes, plan: Plan[Any], positions: tf.DType, dtype: tf.DType) -> tuple[Any, Any]:
    """Return the maxima and their places, by slicing an axis after the other."""
    found, plane = (cells, None, None), list(sizes.plane)
    for axis in (2, 1, 0):
        around = prod([sizes.lead, *plane[:axis]]), prod([*plane[axis + 1 :], sizes.trail])
        found = _Axis(axis, around, sizes, plan, positions, dtype).pooled(*found)
        plane[axis] = sizes.pooled[axis]
    values, _, places = found
    return values, places


def _stored(indices: Any) -> Any:
    """Return the indices from a condition that is always true, which XLA does not fuse with their use.

    Otherwise XLA would pool again for every cell that is compared with an index.
    """
    first = tf.cast(tf.reshape(indices, [-1])[:1], tf.int64)
    return tf.cond(tf.reduce_all(first < tf.int64.max), lambda: indices, lambda: tf.zeros_like(indices))


class _Axis:
    """The pooling of arrays of shape (before, size, behind) along the middle axis."""

    def __init__(
        self, axis: int, around: Any, sizes: Sizes, plan: Plan[Any], positions: tf.DType, dtype: tf.DType
    ) -> None:
        self.around, self.size, self.windows = around, sizes.plane[axis], sizes.pooled[axis]
        self.by_taps = plan.by_taps
        self.step = cast(prod((plan.kernel if self.by_taps else sizes.plane)[axis + 1 :]), positions)
        kernel, self.stride, padding, self.dilation = (
            entry[axis] for entry in (plan.kernel, plan.stride, sizes.padding, plan.dilation)
        )
        first, end = taps_inside(self.size, self.windows, kernel, self.stride, padding, self.dilation)
        self.first, self.kernel, self.padding = first, end - first, padding - first * self.dilation
        inside = not plan.ceil_mode and not is_padded(axis, plan)
        unpadded = known(self.padding) and self.padding == 0
        self.every = self.kernel == self.stride == 1 and unpadded  # every cell is a window
        if known(self.windows) and self.windows == 1:
            self.stride = (self.kernel - 1) * self.dilation + 1  # a single window has no next one
        self.positions, self.dtype = positions, dtype
        # The end of the last window, counted from the start of the padding.
        self.end = (self.windows - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
        self.whole = unpadded and (inside or (known(self.end, self.size) and self.end <= self.size))

    def pooled(self, values: Any, keys: Any, places: Any) -> Any:
        """Pool values, with their keys and places; these are None before the first axis."""
        lying = as_shape(self.around[0], self.size, self.around[1])
        arrays = [None if array is None else tf.reshape(array, lying) for array in (values, keys, places)]
        if self.every:
            return self._full(*self._found(self._numbers(arange(self.size), 0), *arrays))
        starts = arange(self.windows) * self.stride - self.padding
        unrolled = self.kernel <= _UNROLLED and (known(self.windows) or self.stride <= _GAPS * self.kernel)
        blocks = self._blocks(arrays) if unrolled else []
        if unrolled:
            found = self._sliced(blocks, 0, starts)
            for tap in range(1, self.kernel):
                cells = starts + tap * self.dilation
                found = self._better(found, self._sliced(blocks, tap, cells), cells)
        else:
            found = self._loop(arrays, starts)
        return self._full(*found)

    def _loop(self, arrays: Any, starts: Any) -> Any:
        def gathered(cells: Any, tap: Any) -> Any:
            inside = cells if self.whole else tf.clip_by_value(cells, 0, cast(self.size - 1, tf.int64))
            parts = [None if array is None else tf.gather(array, inside, axis=1) for array in arrays]
            return self._found(self._numbers(cells, tap), *parts)

        def body(tap: Any, *found: Any) -> Any:
            cells = starts + tap * self.dilation
            return tap + 1, *self._better(found, gathered(cells, tap), cells)

        begin = [tf.constant(1, tf.int64), *self._full(*gathered(starts, 0))]
        # XLA cannot differentiate a loop without a maximum number of iterations.
        _, *found = tf.while_loop(
            lambda tap, *_: tap < self.kernel, body, begin, maximum_iterations=max(1, self.kernel - 1)
        )
        return found

    def _better(self, found: Any, candidate: Any, cells: Any) -> Any:
        """Replace the found values by the candidate's where these are greater, or NaN, or the first in the plane."""
        greater = candidate[1] > sort_keys.ordered(found[1], self.dtype)
        if not self.whole:
            greater |= reshaped((cells >= 0) & (cells < self.dilation), 1, -1, 1)
            greater &= reshaped((cells >= 0) & (cells < cast(self.size, tf.int64)), 1, -1, 1)
        values, keys, places = zip(candidate, found, strict=True)
        # Of two NaNs, either key does.  A maximum takes half as long as a selection.
        key = tf.maximum(*keys) if self.whole else tf.where(greater, *keys)
        return tf.where(greater, *values), key, self._chosen(greater, *places)

    def _chosen(self, greater: Any, new: Any, old: Any) -> Any:
        """Choose between places; a number stands for those of all windows."""
        if known(new, old) and new.size == old.size == 1:  # arithmetic takes less time than a selection of two numbers
            return tf.cast(greater, self.positions) * (new - old) + old
        return tf.where(greater, new, old)

    def _numbers(self, cells: Any, tap: Any) -> Any:
        """Return the coordinates of a tap of every window on this axis, in the plane or in the window."""
        return reshaped(cast(tap + self.first if self.by_taps else cells, self.positions), -1)

    def _found(self, numbers: Any, values: Any, keys: Any, places: Any) -> Any:
        """Return values, with their keys, made unless given, and places, plus the coordinates on this axis."""
        along = reshaped(numbers * self.step, 1, -1, 1)
        return (
            values,
            sort_keys.keys(values, self.dtype) if keys is None else keys,
            along if places is None else places + along,
        )

    def _full(self, values: Any, keys: Any, places: Any) -> Any:
        """Give every value a place of its own, if one place stands for all rows so far."""
        if known(places) or places.shape != values.shape or not places.shape.is_fully_defined():
            places = tf.broadcast_to(places, as_shape(self.around[0], self.windows, self.around[1]))
        return values, keys, places

    def _blocks(self, arrays: Any) -> Any:
        """Cut into blocks of one stride, with padding if necessary, because strided slices are slow in TensorFlow."""
        reach = self.size + self.padding
        if known(reach, self.end):
            reach = max(reach, self.end)
        else:
            reach = tf.maximum(cast(reach, tf.int64), cast(self.end, tf.int64))
        blocks = -(-reach // self.stride)
        behind = blocks * self.stride - self.size - self.padding
        cut = as_shape(self.around[0], blocks, self.stride, self.around[1])
        if known(self.padding, behind) and self.padding == behind == 0:
            return [None if array is None else tf.reshape(array, cut) for array in arrays]
        pads = pairs((0, 0), (self.padding, behind), (0, 0))
        return [None if array is None else tf.reshape(tf.pad(array, pads), cut) for array in arrays]

    def _sliced(self, blocks: Any, tap: int, cells: Any) -> Any:
        """Return the tap-th cell of every window."""
        block, cell = divmod(tap * self.dilation, self.stride)
        parts = [None if array is None else array[:, block : block + self.windows, cell] for array in blocks]
        return self._found(self._numbers(cells, tap), *parts)
