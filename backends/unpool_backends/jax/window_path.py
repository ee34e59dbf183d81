"""The window path: no scattering, every cell asks the windows that it lies in whether they name it.

Along each axis the plane, with the padding before it, is cut into blocks of a stride.  The cells of block ``b`` lie in
the windows ``b - q``, for ``q`` in ``0..Q-1`` with ``Q = ceil(span / stride)``; so a block is compared with Q windows,
in row-major order, and the last one that names a cell wins, or all of them are added up.  Windows that do not overlap
have Q = 1: one comparison and one selection, which XLA makes one pass over the output, and its transpose another.

It is exact if every index lies within its own window, which `inside` tells; where one does not, `operations` goes
another way.  Nothing here depends on an order of writing, so the result is the same on every device.

Arrays have six axes here: batch, channels, depth, height, width, channels, one of the two for channels being 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from unpool.plan import Plan
from unpool.sizes import LARGEST, taps_inside

# So many windows a cell may have to ask: at 3 x 3 a comparison each is still faster than scattering.
_MOST = 9
# Cells of a block along an axis whose size is a symbol: the plane may have far fewer.
_LONGEST = 1 << 12


class _Axis(NamedTuple):
    """One spatial axis of the plane, cut into blocks."""

    windows: Any
    size: Any
    stride: int
    padding: Any
    asked: int  # windows by a block

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
        step = span if isinstance(windows, int) and windows == 1 else stride  # there is no next one
        axes.append(_Axis(windows, size, step, padding - first * dilation, -(-span // step)))
    return axes


def serve(plan: Plan[Any]) -> bool:
    """Whether this way is one to go: blocks are compared with few windows, and hold few cells besides the plane's."""
    axes = _axes(plan)
    long = any(not isinstance(axis.size, int) and axis.stride > _LONGEST for axis in axes)
    return prod(axis.asked for axis in axes) <= _MOST and not long


def inside(numbers: Any, plan: Plan[Any]) -> Any:
    """Whether every index names a cell of its own window, or one between its cells, where a block looks as well."""
    right = numbers >= 0
    for axis, away in _away(numbers, plan):
        right &= (away >= 0) & (away < min(plan.dilation[axis] * (plan.kernel[axis] - 1) + 1, LARGEST))
    return jnp.all(right)


def own(numbers: Any, plan: Plan[Any]) -> Any:
    """Whether each index is a cell that its own window reads."""
    right = numbers >= 0
    for axis, away in _away(numbers, plan):
        dilation = plan.dilation[axis]
        right &= (away >= 0) & (lax.rem(away, jnp.full_like(away, dilation)) == 0)
        right &= lax.div(away, jnp.full_like(away, dilation)) < plan.kernel[axis]
    return right


def _away(numbers: Any, plan: Plan[Any]) -> Iterator[tuple[int, Any]]:
    """Yield each axis, and how far along it each index is from the corner of its own window."""
    rest = numbers
    for axis in (2, 1, 0):
        size = jnp.broadcast_to(_number(plan.plane[axis], numbers), rest.shape)
        corner = along(plan.pooled[axis], 2 + axis, 6, numbers.dtype) * plan.stride[axis]
        yield axis, lax.rem(rest, size) - (corner - _number(plan.padding[axis], numbers))
        rest = lax.div(rest, size)


def scatter(values: Any, numbers: Any, plan: Plan[Any], adds: bool) -> Any:
    """Put values, of the shape of the indices, into their cells."""
    axes = _axes(plan)
    cells, planes = _cells(axes, plan, numbers.dtype), None
    for named, given in zip(_asked(numbers, -1, axes), _asked(values, 0, axes), strict=True):
        found = jnp.where(named == cells, given, jnp.zeros((), values.dtype) if planes is None or adds else planes)
        planes = added(planes, found) if adds and planes is not None else found
    assert planes is not None
    batch, channels, *_, last = numbers.shape
    whole = planes.reshape(batch, channels, *[axis.blocks * axis.stride for axis in axes], last)
    return _part(whole, [(axis.padding, axis.size) for axis in axes])


def gather(planes: Any, numbers: Any, plan: Plan[Any]) -> Any:
    """Take each window's cell: the transpose of `scatter`, adding up."""
    axes = _axes(plan)
    batch, channels, *_, last = planes.shape
    whole = _padded(planes, 0, [(axis.padding, axis.blocks * axis.stride - axis.padding - axis.size) for axis in axes])
    whole = whole.reshape(batch, channels, *[size for axis in axes for size in (axis.blocks, axis.stride)], last)
    cells, values = _cells(axes, plan, numbers.dtype), None
    for order, named in zip(_orders(axes), _asked(numbers, -1, axes), strict=True):
        taken = jnp.where(named == cells, whole, jnp.zeros((), planes.dtype)).sum((3, 5, 7), dtype=planes.dtype)
        # The other way around: what a block has for its q-th window goes there.
        part = _padded(taken, 0, [(0, axis.asked - 1) for axis in axes])
        part = _part(part, [(q, axis.windows) for q, axis in zip(order, axes, strict=True)])
        values = part if values is None else values + part
    return values


def added(one: Any, other: Any) -> Any:
    """Add up as NumPy does: booleans, too."""
    return one | other if other.dtype == bool else one + other


def _orders(axes: list[_Axis]) -> list[tuple[int, ...]]:
    """The windows that a block asks, in row-major order."""
    return list(product(*[range(axis.asked - 1, -1, -1) for axis in axes]))


def _asked(array: Any, fill: int, axes: list[_Axis]) -> list[Any]:
    """For each order, the window that a block asks, or what names no cell; to be broadcast over the block's cells."""
    padded = _padded(array, fill, [(axis.asked - 1, axis.blocks - axis.windows) for axis in axes])
    if any(axis.asked > 1 for axis in axes):
        padded = lax.optimization_barrier(padded)  # or it would be padded again for every cell
    parts = [
        _part(padded, [(axis.asked - 1 - q, axis.blocks) for q, axis in zip(order, axes, strict=True)])
        for order in _orders(axes)
    ]
    return [jnp.expand_dims(part, (3, 5, 7)) for part in parts]


def _padded(array: Any, fill: int, pads: Sequence[tuple[Any, Any]]) -> Any:
    """Pad the spatial axes."""
    whole = (0, 0, 0)
    return lax.pad(array, jnp.asarray(fill, array.dtype), [whole, whole, *[(*pad, 0) for pad in pads], whole])


def _part(array: Any, parts: Sequence[tuple[Any, Any]]) -> Any:
    """Cut out so many of every spatial axis."""
    whole, last = [(0, size) for size in array.shape[:2]], (0, array.shape[-1])
    starts, counts = zip(*whole, *parts, last, strict=True)
    return lax.slice(array, starts, [start + count for start, count in zip(starts, counts, strict=True)])


def _cells(axes: list[_Axis], plan: Plan[Any], dtype: Any) -> Any:
    """The flat position of every cell of every block; what lies outside of the plane will be cut off."""
    cells: Any = 0
    for place, axis in enumerate(axes):
        block = along(axis.blocks, 2 + 2 * place, 9, dtype) * axis.stride
        cells = cells * _number(plan.plane[place], cells) + (
            block + along(axis.stride, 3 + 2 * place, 9, dtype) - jnp.asarray(axis.padding, dtype)
        )
    return cells


def along(size: Any, axis: int, ndim: int, dtype: Any) -> Any:
    """The coordinates along one of so many axes, to be broadcast."""
    shape = [1] * ndim
    shape[axis] = size
    return lax.broadcasted_iota(dtype, shape, axis)


def _number(size: Any, like: Any) -> Any:
    """A size to compute with, which may be a symbol."""
    return size if isinstance(size, int) and isinstance(like, int) else jnp.asarray(size, getattr(like, "dtype", None))
