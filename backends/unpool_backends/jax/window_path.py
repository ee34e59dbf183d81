"""The window path: unpooling without scattering.  Each cell compares its position with the windows that cover it.

Along each axis the plane, with the padding before it, is cut into blocks of a stride.  The cells of block ``b`` lie in
the windows ``b - q``, for ``q`` in ``0..Q-1`` with ``Q = ceil(span / stride)``.  So a block is compared with Q windows,
in row-major order.  The last window whose index is the cell wins, or the values of all such windows are added up.
Windows that do not overlap have Q = 1: one comparison and one selection, which XLA fuses into one pass over the output.
The transpose is another pass.

The window path is exact if every index lies in its own window, which `inside` tests.  Otherwise `operations` takes the
general path.  The result is the same on every device, since it does not depend on an order of writing.

Arrays have six axes here: batch, channels, depth, height, width, channels.  One of the two axes of channels is 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from unpool.plan import Plan
from unpool.windows import LARGEST, taps_inside

# With up to 3 x 3 windows per cell, comparing is still faster than scattering.
_MOST = 9
# In bytes: the number of a bad tap (`indices.to_bytes`), and of a cell that is no tap.
_NO_TAP, _NO_CELL = 255, 254
# The most cells of a block along an axis whose size is a symbol, since the plane may have far fewer.
_LONGEST = 1 << 12


class _Axis(NamedTuple):
    """One spatial axis of the plane, cut into blocks."""

    windows: Any
    size: Any
    stride: int
    padding: Any
    span: int  # from the first tap that may lie inside the plane to the last one
    first: int  # the first tap that may lie inside the plane

    @property
    def windows_per_cell(self) -> int:
        return -(-self.span // self.stride)

    @property
    def blocks(self) -> Any:
        return (self.padding + self.size + self.stride - 1) // self.stride


def _axes(plan: Plan[Any]) -> list[_Axis]:
    axes = []
    for windows, size, kernel, stride, padding, dilation in zip(
        plan.pooled, plan.plane, plan.kernel, plan.stride, plan.padding, plan.dilation, strict=True
    ):
        first, end = taps_inside(size, windows, kernel, stride, padding, dilation)
        span = dilation * (end - first - 1) + 1
        step = span if isinstance(windows, int) and windows == 1 else stride  # a single window has no next one
        axes.append(_Axis(windows, size, step, padding - first * dilation, span, first))
    return axes


def serve(plan: Plan[Any]) -> bool:
    """Return True if this path is fast: blocks compare with few windows, and few cells lie outside of the plane."""
    axes = _axes(plan)
    long = any(not isinstance(axis.size, int) and axis.stride > _LONGEST for axis in axes)
    return prod(axis.windows_per_cell for axis in axes) <= _MOST and not long


def apart(plan: Plan[Any]) -> bool:
    """Return True if no two windows have a cell in common."""
    return all(axis.windows_per_cell == 1 for axis in _axes(plan))


def inside(numbers: Any, plan: Plan[Any]) -> Any:
    """Return True if every index is a cell of its own window, or lies between two of them; blocks compare both."""
    right, axes = numbers >= 0, _axes(plan)
    for axis, away in _away(numbers, plan):
        start = axes[axis].first * plan.dilation[axis]
        right &= (away >= min(start, LARGEST)) & (away < min(start + axes[axis].span, LARGEST))
    return jnp.all(right)


def own(numbers: Any, plan: Plan[Any]) -> Any:
    """Return a mask of the indices that are cells of their own windows."""
    right = numbers >= 0
    for axis, away in _away(numbers, plan):
        dilation = plan.dilation[axis]
        right &= (away >= 0) & (lax.rem(away, jnp.full_like(away, dilation)) == 0)
        right &= lax.div(away, jnp.full_like(away, dilation)) < plan.kernel[axis]
    return right


def _away(numbers: Any, plan: Plan[Any]) -> Iterator[tuple[int, Any]]:
    """Yield each axis, and the distance along it of each index from the corner of its own window."""
    rest = numbers
    for axis in (2, 1, 0):
        size = jnp.broadcast_to(_number(plan.plane[axis], numbers), rest.shape)
        corner = along(plan.pooled[axis], 2 + axis, 6, numbers.dtype) * plan.stride[axis]
        yield axis, lax.rem(rest, size) - (corner - _number(plan.padding[axis], numbers))
        rest = lax.div(rest, size)


def scatter(values: Any, numbers: Any, plan: Plan[Any], adds: bool) -> Any:
    """Put values, of the shape of the indices, into their cells; `numbers` are cells, or bytes with a window's taps."""
    axes = _axes(plan)
    by_taps, planes = numbers.dtype == jnp.uint8, None
    cells = None if by_taps else _cells(axes, plan, numbers.dtype)
    neighbours = _neighbours(numbers, _NO_TAP if by_taps else -1, axes), _neighbours(values, 0, axes)
    for offsets, named, given in zip(_offsets(axes), *neighbours, strict=True):
        right = named == (_taps(axes, plan, offsets) if by_taps else cells)
        found = jnp.where(right, given, jnp.zeros((), values.dtype) if planes is None or adds else planes)
        planes = added(planes, found) if adds and planes is not None else found
    assert planes is not None
    batch, channels, *_, last = numbers.shape
    whole = planes.reshape(batch, channels, *[axis.blocks * axis.stride for axis in axes], last)
    return _part(whole, [(axis.padding, axis.size) for axis in axes])


def gather(planes: Any, numbers: Any, plan: Plan[Any], adds: bool) -> Any:
    """Take each window's cell, the transpose of `scatter`; zero if a later window has the cell, unless `adds`."""
    axes = _axes(plan)
    batch, channels, *_, last = planes.shape
    whole = _padded(planes, 0, [(axis.padding, axis.blocks * axis.stride - axis.padding - axis.size) for axis in axes])
    whole = whole.reshape(batch, channels, *[size for axis in axes for size in (axis.blocks, axis.stride)], last)
    cells, values, taken = _cells(axes, plan, numbers.dtype), None, None
    nothing = jnp.zeros((), planes.dtype)
    # The last window comes first, so that `taken` marks the cells that a later window has.
    for offsets, named in reversed(list(zip(_offsets(axes), _neighbours(numbers, -1, axes), strict=True))):
        found = named == cells
        free = found if adds or taken is None else found & ~taken
        taken = found if taken is None else taken | found
        # At most one cell of a block is taken, so that a sum of bits is that cell's.
        part = jnp.where(free, whole, nothing).sum((3, 5, 7), dtype=planes.dtype)
        # The transpose: the value that a block has for its q-th window goes to that window.
        part = _padded(part, 0, [(0, axis.windows_per_cell - 1 + axis.windows - axis.blocks) for axis in axes])
        part = _part(part, [(q, axis.windows) for q, axis in zip(offsets, axes, strict=True)])
        values = part if values is None else added(values, part)
    return values


def lasting(numbers: Any, plan: Plan[Any]) -> Any:
    """Return indices in their own windows, with -1 for each one that the index of a later window repeats."""
    axes = _axes(plan)
    reach = [axis.windows_per_cell - 1 for axis in axes]
    padded, hidden = _padded(numbers, -1, [(most, most) for most in reach]), jnp.zeros_like(numbers, bool)
    for offsets in product(*[range(-most, most + 1) for most in reach]):
        if offsets > (0, 0, 0):
            along = zip(reach, offsets, axes, strict=True)
            hidden |= numbers == _part(padded, [(most + offset, axis.windows) for most, offset, axis in along])
    return jnp.where(hidden, -1, numbers)


def added(one: Any, other: Any) -> Any:
    """Add two arrays as NumPy does, booleans by `|`."""
    return one | other if other.dtype == bool else one + other


def _offsets(axes: list[_Axis]) -> list[tuple[int, ...]]:
    """Return the offsets of the windows that a block is compared with, in row-major order."""
    return list(product(*[range(axis.windows_per_cell - 1, -1, -1) for axis in axes]))


def _neighbours(array: Any, fill: int, axes: list[_Axis]) -> list[Any]:
    """Return, for each offset, the window of every block, or a fill; it broadcasts over the cells of the block."""
    padded = _padded(array, fill, [(axis.windows_per_cell - 1, axis.blocks - axis.windows) for axis in axes])
    if any(axis.windows_per_cell > 1 for axis in axes):
        padded = lax.optimization_barrier(padded)  # or XLA would pad it again for every cell
    parts = [
        _part(padded, [(axis.windows_per_cell - 1 - q, axis.blocks) for q, axis in zip(offsets, axes, strict=True)])
        for offsets in _offsets(axes)
    ]
    return [jnp.expand_dims(part, (3, 5, 7)) for part in parts]


def _padded(array: Any, fill: int, pads: Sequence[tuple[Any, Any]]) -> Any:
    """Pad the spatial axes."""
    whole = (0, 0, 0)
    return lax.pad(array, jnp.asarray(fill, array.dtype), [whole, whole, *[(*pad, 0) for pad in pads], whole])


def _part(array: Any, parts: Sequence[tuple[Any, Any]]) -> Any:
    """Slice every spatial axis, each by its (start, count)."""
    whole, last = [(0, size) for size in array.shape[:2]], (0, array.shape[-1])
    starts, counts = zip(*whole, *parts, last, strict=True)
    return lax.slice(array, starts, [start + count for start, count in zip(starts, counts, strict=True)])


def _cells(axes: list[_Axis], plan: Plan[Any], dtype: Any) -> Any:
    """Return the flat position of every cell of every block; cells outside of the plane are cut off later."""
    cells: Any = 0
    for place, axis in enumerate(axes):
        block = along(axis.blocks, 2 + 2 * place, 9, dtype) * axis.stride
        cells = cells * _number(plan.plane[place], cells) + (
            block + along(axis.stride, 3 + 2 * place, 9, dtype) - jnp.asarray(axis.padding, dtype)
        )
    return cells


def _taps(axes: list[_Axis], plan: Plan[Any], offsets: tuple[int, ...]) -> Any:
    """Return the tap that every cell of a block is, of the window at these offsets; a number of no tap for none."""
    taps: Any = 0
    for place, (axis, q) in enumerate(zip(axes, offsets, strict=True)):
        away = np.arange(axis.stride) + q * axis.stride
        step = away // plan.dilation[place] + axis.first
        there = (away % plan.dilation[place] == 0) & (step < plan.kernel[place])
        # The number of no tap is negative, also with the number of any tap added.
        number = np.where(there, step * prod(plan.kernel[place + 1 :]), -plan.taps).astype("int32")
        taps = taps + number.reshape([-1 if 3 + 2 * place == axis else 1 for axis in range(9)])
    return jnp.where(taps < 0, _NO_CELL, taps).astype("uint8")


def along(size: Any, axis: int, ndim: int, dtype: Any) -> Any:
    """Return the coordinates along one of `ndim` axes, which broadcast along the others."""
    shape = [1] * ndim
    shape[axis] = size
    return lax.broadcasted_iota(dtype, shape, axis)


def _number(size: Any, like: Any) -> Any:
    """Return a size, which may be a symbol, as a number to compute with."""
    return size if isinstance(size, int) and isinstance(like, int) else jnp.asarray(size, getattr(like, "dtype", None))
