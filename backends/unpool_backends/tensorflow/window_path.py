"""The window path: unpooling without scattering.  Each cell compares its position with the windows that cover it.

Along each axis the plane, with the padding before it, is cut into blocks of a stride.  The cells of block ``b`` lie in
the windows ``b - q``, for ``q`` in ``0..Q-1`` with ``Q = ceil(span / stride)``.  So a block is compared with Q windows,
in row-major order.  The last window whose index is the cell wins, or the values of all such windows are added up.
Windows that do not overlap have Q = 1: one comparison and one selection, which XLA fuses into one pass over the output.

The window path is exact if every index lies in its own window, which the same comparisons test (`Matches.inside`).
Otherwise `operations` takes the general path.  The result is the same on every device, since it does not depend on an
order of writing.
"""

from __future__ import annotations

from functools import reduce
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from unpool.plan import Plan
from unpool.windows import taps_inside
from unpool_backends.tensorflow.asserts import compiles, known
from unpool_backends.tensorflow.sizes import (
    Sizes,
    arange,
    as_shape,
    cast,
    cells_of_one,
    long,
    pairs,
    repeated,
    reshaped,
    table,
)

# With up to 3 x 3 windows per cell, comparing is still faster than scattering.
_MOST = 9
# If the number of windows is unknown, the stride is at most this many times a window's span.
_GAPS = 8
# The most cells of a block along an axis of unknown size, since the plane may have far fewer.
_LONGEST = 1 << 12
# Up to this size, an axis is reduced slice by slice, which TensorFlow runs faster than a reduction.
_FEW = 4
# Cells of a window up to which indices are compared tap by tap under XLA, which fuses this into one pass.
_UNROLLED = 64


def windows_per_cell(plan: Plan[Any]) -> tuple[int, ...]:
    """Return how many windows may cover a cell, along each axis."""
    return tuple(-(-span // stride) for span, stride in map(_step, range(3), [plan] * 3))


def serve(plan: Plan[Any]) -> bool:
    """Return True if this path is fast: blocks are compared with few windows, and are not mostly gaps."""
    if prod(windows_per_cell(plan)) > _MOST:
        return False
    for axis, (count, size) in enumerate(zip(plan.pooled, plan.plane, strict=True)):
        span, stride = _step(axis, plan)
        if (count is None and stride > _GAPS * span) or (size is None and stride > _LONGEST):
            return False
    return True


def _step(axis: int, plan: Plan[Any]) -> tuple[int, int]:
    """Return the span of a window along an axis, and the stride, which is the span if there is one window."""
    first, end = _taps(axis, plan)
    span = plan.dilation[axis] * (end - first - 1) + 1
    return span, span if plan.pooled[axis] == 1 else plan.stride[axis]


def _taps(axis: int, plan: Plan[Any]) -> tuple[int, int]:
    """Return the taps of a window that may lie inside the plane."""
    along = (plan.plane, plan.pooled, plan.kernel, plan.stride, plan.padding, plan.dilation)
    return taps_inside(*[entry[axis] for entry in along])


class _Axis(NamedTuple):
    """One axis of the plane, cut into blocks."""

    windows: Any
    blocks: Any
    size: Any
    step: Any  # between two cells along this axis, in the flat plane; or between two taps
    first: int  # tap that may lie inside the plane
    kernel: int
    stride: int
    padding: Any
    dilation: int
    windows_per_cell: int
    apart: bool  # True if the blocks are the windows, every cell of them a tap
    whole: bool  # True if such blocks make up the plane
    by_taps: bool

    @property
    def exact(self) -> bool:
        """Return True if the blocks, whose number is known, cover exactly the plane."""
        return bool(self.padding == 0 and self.blocks * self.stride == self.size)

    def offsets(self, q: int, dtype: Any) -> Any:
        """Return the distances of a block's cells from the corner of its q-th window, in the flat plane, or as taps."""
        if self.by_taps:
            taps = (arange(self.stride) + q * self.stride) // self.dilation + self.first
            return cast(taps * self.step, dtype)
        return (arange(self.stride, dtype) + cast(q * self.stride, dtype)) * cast(self.step, dtype)

    def mask(self, q: int) -> Any:
        """Return a mask of the blocks' cells that an index of an existing q-th window may name.

        Cells outside of the plane are left out, unless indices are taps: `Matches.scatter` cuts them off.
        """
        block, cell = reshaped(arange(self.blocks), -1, 1), arange(self.stride)
        window, offset, place = block - q, cell + q * self.stride, block * self.stride + cell - self.padding
        tap = (offset % self.dilation < 1) & (offset // self.dilation < self.kernel)
        mask = tap & (window >= 0) & (window < self.windows)
        if not self.by_taps:
            mask &= (place >= 0) & (place < self.size)
        return reshaped(mask, -1)


class Matches:
    """The matches of cells and windows: for each cell of each block, the windows whose index is the cell.

    `numbers` are indices of shape (lead, windows, trail): planes that lie together, or channel by channel.
    """

    def __init__(self, numbers: Any, sizes: Sizes, plan: Plan[Any]) -> None:
        self.numbers, self.dtype, self.lead, self.trail = numbers, numbers.dtype, sizes.lead, sizes.trail
        self.by_taps = plan.by_taps
        self.axes = []
        for axis, per_cell in enumerate(windows_per_cell(plan)):
            windows, size = sizes.pooled[axis], sizes.plane[axis]
            (first, end), (_, stride) = _taps(axis, plan), _step(axis, plan)
            kernel, padding = end - first, sizes.padding[axis] - first * plan.dilation[axis]
            # Windows lie side by side, or the axis is not pooled.
            apart = per_cell == 1 and kernel == stride
            simple = apart and known(padding) and padding == 0
            if known(size, windows):
                covered = size == windows * stride
            else:  # if no size was given, it follows from the windows
                covered = sizes.follows and not known(size) and cells_of_one(axis, plan) == stride
            step = prod((plan.kernel if plan.by_taps else sizes.plane)[axis + 1 :])
            rest = padding, plan.dilation[axis], per_cell, apart, bool(simple and covered), plan.by_taps
            self.axes.append(_Axis(windows, windows + per_cell - 1, size, step, first, kernel, stride, *rest))
        # The cells of all blocks, some of which may lie outside of the plane.
        self.cells = prod([axis.blocks * axis.stride for axis in self.axes])
        self.groups, self.tail = self._groups()
        self.orders = list(product(*[range(axis.windows_per_cell - 1, -1, -1) for axis in self.axes]))
        # Taps are compared once, by `scatter` alone.
        self.kept = None if compiles() or plan.by_taps else self._mismatched()

    def _mismatches(self) -> list[Any]:
        """Return the stored masks; under XLA, compute them again, which takes less time than reading them."""
        return self._mismatched() if self.kept is None else self.kept

    def _mismatched(self) -> list[Any]:
        """Return, for each of a block's windows in row-major order, a mask of the cells that are not its index."""
        offsets, masks = self._blocks(self._offsets()), None
        if not all(axis.apart if self.by_taps else axis.whole for axis in self.axes):
            masks = [[axis.mask(q) for q in range(axis.windows_per_cell)] for axis in self.axes]
        return [self._mismatched_by(order, self._neighbours(offsets, order), masks) for order in self.orders]

    def _offsets(self) -> Any:
        """Return the distance of each index from the corner of its window; a tap has that of its window alone."""
        if self.by_taps:  # TensorFlow Lite does not subtract bytes
            return tf.cast(self.numbers, tf.int32) if len(self.groups) > 2 else self.numbers
        return self.numbers - reshaped(self._corners(), 1, -1, 1)

    def _corners(self) -> Any:
        """Return the first cell of every window in the flat plane, also if it lies in the padding."""
        corners: Any = table(cast(0, self.dtype), [axis.windows for axis in self.axes])
        for axis in self.axes:
            along = arange(axis.windows, self.dtype) * cast(axis.stride, self.dtype) - cast(axis.padding, self.dtype)
            corners = reshaped(reshaped(corners, -1, 1) + along * cast(axis.step, self.dtype), -1)
        return corners

    def _blocks(self, array: Any) -> Any:
        """Pad with windows on both sides that match no cell, as many as a block is compared with."""
        if all(axis.windows_per_cell == 1 for axis in self.axes):
            return array
        windows = as_shape(self.lead, *[axis.windows for axis in self.axes], self.trail)
        pads = [(axis.windows_per_cell - 1, axis.windows_per_cell - 1) for axis in self.axes]
        # Any number serves.  TensorFlow Lite pads bytes with other numbers than 0 only.
        fill = int(array.dtype == tf.uint8)
        return tf.pad(tf.reshape(array, windows), [(0, 0), *pads, (0, 0)], constant_values=fill)

    def _neighbours(self, array: Any, order: tuple[int, ...]) -> Any:
        """Return the q-th window of each block, from the result of `_blocks`."""
        if all(axis.windows_per_cell == 1 for axis in self.axes):
            return array
        starts = [axis.windows_per_cell - 1 - q for q, axis in zip(order, self.axes, strict=True)]
        parts = [slice(start, start + axis.blocks) for start, axis in zip(starts, self.axes, strict=True)]
        return array[:, parts[0], parts[1], parts[2]]

    def _groups(self) -> tuple[list[tuple[Any, _Axis]], Any]:
        """Merge axes whose blocks are single cells into the next; return (blocks, axis) of the others, and the rest."""
        groups, outer = [], self.lead
        for axis in self.axes:
            outer = outer * axis.blocks
            if axis.stride > 1:
                groups.append((outer, axis))
                outer = 1
        return groups, outer * self.trail

    def _mismatched_by(self, order: tuple[int, ...], offsets: Any, masks: list[list[Any]] | None) -> Any:
        """Return a mask of the cells that are not the index of their block's q-th window; (lead, cells, trail).

        `masks` has `_Axis.mask` of each axis and q.  It is None if those are True everywhere.
        """
        named, wanted = cast(0, offsets.dtype), []
        for axis, q in zip(self.axes, order, strict=True):
            if axis.stride > 1:
                wanted.append(axis.offsets(q, offsets.dtype))
            elif q or (self.by_taps and axis.first):
                named = named + axis.offsets(q, offsets.dtype)[0]
        groups, tail = self.groups, self.tail
        while len(groups) > 2:  # comparisons broadcast along two axes, not along three
            (blocks, axis), (inner, following), *others = groups
            spread = tf.reshape(offsets, as_shape(blocks, 1, prod([inner, *[size for size, _ in others], tail])))
            offsets = spread - reshaped(wanted.pop(0), 1, -1, 1)
            groups = [(blocks * axis.stride * inner, following), *others]
        narrow = as_shape(*[size for blocks, _ in groups for size in (blocks, 1)], tail)
        if len(groups) == 2 and offsets.dtype == tf.uint8:  # TensorFlow Lite broadcasts bytes of four axes
            inner, axis = groups[1]
            offsets, narrow = self._repeated(offsets)[0], as_shape(-1, 1, inner, axis.stride * tail)
            named = named + reshaped(wanted[0], -1, 1, 1) + repeated(wanted[1], tail)
        else:
            for place, along in enumerate(wanted):
                named = named + reshaped(along, *[1] * (2 * place + 1), -1, *[1] * (2 * (len(wanted) - place) - 1))
        other = tf.reshape(differ(tf.reshape(offsets, narrow), named), as_shape(self.lead, self.cells, self.trail))
        if masks is None:
            return other
        mask: Any = table(np.asarray(True), [axis.blocks * axis.stride for axis in self.axes])
        for along, q in zip(masks, order, strict=True):
            mask = reshaped(reshaped(mask, -1, 1) & along[q], -1)
        return other | reshaped(~mask, 1, -1, 1)

    def inside(self) -> Any:
        """Return True if every index is a cell of its own window."""
        if compiles() and prod(axis.kernel for axis in self.axes) <= _UNROLLED:
            return self._inside_by_taps()
        missing = None
        for order, other in zip(self.orders, self._mismatches(), strict=True):
            tail = self.tail
            for inner, axis in reversed(self.groups):
                parts = tf.reshape(other, as_shape(-1, axis.stride, tail))
                if axis.stride <= _FEW:
                    other = reduce(tf.logical_and, tf.unstack(parts, axis.stride, axis=1))
                else:
                    other = tf.reduce_all(parts, 1)
                tail = tail * inner
            if any(axis.windows_per_cell > 1 for axis in self.axes):
                blocks = as_shape(self.lead, *[axis.blocks for axis in self.axes], self.trail)
                windows = long(self.lead, *[axis.windows for axis in self.axes], self.trail)
                other = tf.slice(tf.reshape(other, blocks), long(0, *order, 0), windows)
            missing = other if missing is None else missing & other
        return ~tf.reduce_any(missing)

    def _inside_by_taps(self) -> Any:
        """Return the same by comparing tap by tap, which XLA compiles to one pass over the indices."""
        offsets = self._offsets()
        found: Any = False
        for taps in product(*[range(axis.kernel) for axis in self.axes]):
            offset: Any = 0
            mask: Any = table(np.asarray(True), [axis.windows for axis in self.axes])
            for axis, tap in zip(self.axes, taps, strict=True):
                offset = offset + tap * axis.dilation * axis.step
                place = arange(axis.windows) * axis.stride + (tap * axis.dilation - axis.padding)
                mask = reshaped(reshaped(mask, -1, 1) & (place >= 0) & (place < axis.size), -1)
            named = tf.equal(offsets, cast(offset, self.dtype))
            if not (known(mask) and mask.all()):
                named &= reshaped(mask, 1, -1, 1)
            found |= named
        return tf.reduce_all(found)

    def scatter(self, values: Any, adds: bool) -> Any:
        """Put values, of the shape of the indices, into their cells; return planes of shape (lead, cells, trail)."""
        zero = tf.zeros([], values.dtype)
        if adds and (values.dtype.is_floating or values.dtype.is_complex):
            # A sum that starts at 0.0 is never -0.0.  `stop_gradient` keeps the derivative of a zero.
            values = values - tf.stop_gradient(tf.where(tf.equal(values, zero), values, zero))
        blocks, planes = self._blocks(values), None
        stride = self.groups[0][1].stride if self.groups else 1
        for order, other in zip(self.orders, self._mismatches(), strict=True):
            given, tail = self._repeated(self._neighbours(blocks, order))
            given, other = tf.reshape(given, as_shape(-1, 1, tail)), tf.reshape(other, as_shape(-1, stride, tail))
            # Not the sum of what is selected: a graph may reorder additions that follow each other.
            new = given if planes is None or not adds else added(planes, given)
            planes = tf.where(other, zero if planes is None else planes, new)
        return self._cropped(planes)

    def _repeated(self, array: Any) -> tuple[Any, Any]:
        """Repeat an entry of each window for its cells along all axes but the first; return the entries of a block.

        Then a selection broadcasts along one axis.  Along two, unpooling k2 takes twice as long channels first.
        """
        groups, tail = self.groups, self.tail
        for place in range(len(groups) - 1, 0, -1):
            blocks, axis = groups[place]
            count = prod([blocks for blocks, _ in groups[: place + 1]])
            # Not tf.tile, which lacks some dtypes.
            array = tf.reshape(array, as_shape(count, 1, tail))
            array = tf.broadcast_to(array, as_shape(count, axis.stride, tail))
            tail = blocks * axis.stride * tail
        return array, tail

    def gather(self, planes: Any) -> Any:
        """Return the value at each tap, of the shape of the taps; zero at one in the padding, and at no tap."""
        blocks, found, whole = self._uncropped(planes), tf.zeros([], planes.dtype), slice(None)
        for taps in product(*[range(axis.kernel) for axis in self.axes]):
            number, shape = 0, [self.lead]
            parts: list[Any] = [whole]
            for axis, tap in zip(self.axes, taps, strict=True):
                number += (axis.first + tap) * axis.step
                block, cell = divmod(tap * axis.dilation, axis.stride)
                part = whole if axis.windows_per_cell == 1 else slice(block, block + axis.windows)
                if part is whole and parts[-1] is whole:
                    shape[-1] = shape[-1] * axis.blocks
                else:
                    shape.append(axis.blocks)
                    parts.append(part)
                if axis.stride > 1:
                    shape.append(axis.stride)
                    parts.append(cell)
            taken = tf.reshape(blocks, as_shape(*shape, self.trail))[tuple(parts)]
            other = differ(self.numbers, cast(number, self.numbers.dtype))
            found = tf.where(other, found, tf.reshape(taken, tf.shape(self.numbers)))
        return found

    def _uncropped(self, planes: Any) -> Any:
        """Undo `_cropped`: return all cells of the blocks, with zeros outside of the plane."""
        taken, exact = self._covered()
        if exact:
            return planes
        planes = tf.reshape(planes, as_shape(self.lead, *[axis.size for axis in self.axes], self.trail))
        planes = planes[:, : taken[0], : taken[1], : taken[2]]
        behind = [axis.blocks * axis.stride - axis.padding - size for axis, size in zip(self.axes, taken, strict=True)]
        around = [(axis.padding, rest) for axis, rest in zip(self.axes, behind, strict=True)]
        return tf.pad(planes, pairs((0, 0), *around, (0, 0)))

    def _covered(self) -> tuple[list[Any], bool]:
        """Return the cells of the plane, along each axis, that blocks cover; True if blocks and plane are the same."""
        taken = []
        for axis in self.axes:
            size, there = axis.size, axis.blocks * axis.stride - axis.padding
            both = known(size, there)
            taken.append(min(size, there) if both else tf.minimum(cast(size, tf.int64), cast(there, tf.int64)))
        return taken, all(axis.whole or (known(axis.size, axis.blocks) and axis.exact) for axis in self.axes)

    def _cropped(self, planes: Any) -> Any:
        """Cut off the blocks' cells outside of the plane, and pad with zeros the cells that no block reaches."""
        taken, exact = self._covered()
        missing = [0 if axis.whole else axis.size - size for axis, size in zip(self.axes, taken, strict=True)]
        if not exact:
            blocks = [axis.blocks * axis.stride for axis in self.axes]
            planes = tf.reshape(planes, as_shape(self.lead, *blocks, self.trail))
            if not known(*blocks, *taken) or blocks != taken:
                parts = [slice(axis.padding, axis.padding + size) for axis, size in zip(self.axes, taken, strict=True)]
                # Not tf.slice, whose second derivative fails under XLA.
                planes = planes[:, parts[0], parts[1], parts[2]]
            if not known(*missing) or any(missing):
                planes = tf.pad(planes, pairs((0, 0), *[(0, rest) for rest in missing], (0, 0)))
        return tf.reshape(planes, as_shape(self.lead, prod([axis.size for axis in self.axes]), self.trail))


def differ(numbers: Any, named: Any) -> Any:
    """Compare numbers with those of cells.  For bytes, TensorFlow Lite has only `bitwise_xor`."""
    if numbers.dtype == tf.uint8:
        return tf.cast(tf.bitwise.bitwise_xor(numbers, named), tf.bool)
    return tf.not_equal(numbers, named)


def added(one: Any, other: Any) -> Any:
    """Add two tensors as NumPy does, booleans by `|`."""
    return one | other if other.dtype == tf.bool else one + other
