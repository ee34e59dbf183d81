"""The oracle: the contract in plain NumPy. It is slow, short, and independent of the library.

Every function copies its arrays to rows, one row for each plane, and works on all planes at once. A loop visits the
taps of a window, or the windows of a plane, in row-major order; "first" and "last" below refer to this order. Kernels,
strides and sizes are tuples with one entry for each axis.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Sizes = tuple[int, ...]
Padding = tuple[int | tuple[int, int] | str, ...]  # of each axis; a word is "same" or "same_lower"

quiet = np.errstate(all="ignore")  # sums overflow and NaNs are compared, on purpose


@quiet
def max_pool(
    x: Array,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    ceil_mode: bool = False,
    channels_last: bool = False,
) -> tuple[Array, Array]:
    """Return values and int64 indices; raise ValueError if a window reads only padding."""
    spatial = _spatial(x, len(kernel), channels_last)
    cells = _cells_read(spatial, kernel, stride, padding, dilation, ceil_mode)
    if (cells[:, :1] < 0).any():
        raise ValueError("a window reads nothing but padding")
    rows = _rows(x, len(kernel), channels_last)
    every = np.arange(len(rows))[:, np.newaxis]
    found = np.tile(cells[:, 0], (len(rows), 1))
    for cell in cells.T[1:]:  # of every window
        best, value = rows[every, found], rows[:, cell]
        better = (value > best) | (value != value)  # the first of equal maxima, the last NaN
        found = np.where((cell >= 0) & better, cell, found)
    along = zip(spatial, kernel, stride, padding, dilation, strict=True)
    pooled = tuple(len(_taps(*axis, ceil_mode)) for axis in along)
    values = rows[every, found].astype(x.dtype.newbyteorder("="))
    return _array(values, x, pooled, channels_last), _array(found, x, pooled, channels_last)


@quiet
def max_unpool(
    values: Array, indices: Array, plane_size: Sizes, duplicates: str = "last", channels_last: bool = False
) -> Array:
    """Return planes of zeros with each value written, or added, at its index. Every index must be in range."""
    rows, wanted = (_rows(array, len(plane_size), channels_last) for array in (values, indices))
    planes = np.zeros((len(rows), math.prod(plane_size)), rows.dtype)
    every = np.arange(len(rows))
    for i in range(rows.shape[1]):
        cell = wanted[:, i].astype(np.int64)
        planes[every, cell] = planes[every, cell] + rows[:, i] if duplicates == "sum" else rows[:, i]
    return _array(planes, values, plane_size, channels_last)


def max_pool_backward(grad: Array, indices: Array, plane_size: Sizes, channels_last: bool = False) -> Array:
    """Return planes of zeros with each value of the gradient added at its index."""
    return max_unpool(grad, indices, plane_size, "sum", channels_last)


def max_unpool_backward(
    grad: Array, indices: Array, rank: int, duplicates: str = "last", channels_last: bool = False
) -> Array:
    """Return the gradient of each value: that of its cell, or zero if a later value overwrote it."""
    rows, wanted = (_rows(array, rank, channels_last) for array in (grad, indices))
    values = np.zeros(wanted.shape, rows.dtype)
    winner = np.empty(rows.shape, np.int64)
    every = np.arange(len(rows))
    for i in range(wanted.shape[1]):
        winner[every, wanted[:, i].astype(np.int64)] = i
    for i in range(wanted.shape[1]):
        cell = wanted[:, i].astype(np.int64)
        kept = (winner[every, cell] == i) | (duplicates == "sum")
        values[kept, i] = rows[every, cell][kept]
    return _array(values, indices, _spatial(indices, rank, channels_last), channels_last)


def dropped(
    given: Array,
    indices: Array,
    kept: Array,
    plane_size: Sizes,
    duplicates: str,
    gathers: bool,
    channels_last: bool = False,
) -> Array:
    """Return the result without the indices that are not `kept`: they name an extra cell, which is cut off."""
    rank, cells, axis = len(plane_size), math.prod(plane_size), -2 if channels_last else -1
    wanted = np.where(kept, indices, indices.dtype.type(0)).astype(np.int64)
    wanted[~kept] = cells

    def flat(array: Array) -> Array:
        shape = array.shape[: -rank - 1] if channels_last else array.shape[:-rank]
        return array.reshape(*shape, -1, array.shape[-1]) if channels_last else array.reshape(*shape, -1)

    if gathers:
        planes = np.concatenate([flat(given), np.zeros_like(flat(given).take([0], axis))], axis)
        values = max_unpool_backward(planes, flat(wanted), 1, duplicates, channels_last)
        return values.reshape(indices.shape)
    planes = max_unpool(flat(given), flat(wanted), (cells + 1,), duplicates, channels_last).take(range(cells), axis)
    if channels_last:
        return planes.reshape(*indices.shape[: -rank - 1], *plane_size, indices.shape[-1])
    return planes.reshape(*indices.shape[:-rank], *plane_size)


def first_bad(indices: Array, cells: int) -> Sizes | None:
    """Return the first position in the array whose index is outside a plane of so many cells, or None."""
    return next((at for at in np.ndindex(indices.shape) if not 0 <= int(indices[at]) < cells), None)


def own(
    indices: Array,
    size: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    ceil_mode: bool = False,
    channels_last: bool = False,
) -> Array:
    """Return whether each index is a cell that its own window reads."""
    rows = _rows(indices, len(size), channels_last)
    cells = _cells_read(size, kernel, stride, padding, dilation, ceil_mode)
    found = (rows >= 0) & (rows[:, :, np.newaxis] == cells).any(axis=2)
    return _array(found, indices, _spatial(indices, len(size), channels_last), channels_last)


def taps(
    indices: Array,
    size: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    ceil_mode: bool = False,
    channels_last: bool = False,
) -> Array:
    """Return the number of each index among the taps of its own window; every index must be one of them."""
    rows = _rows(indices, len(size), channels_last)
    same = rows[:, :, np.newaxis] == _table(size, kernel, stride, padding, dilation, ceil_mode)
    assert same.any(axis=2).all()
    return _array(same.argmax(axis=2), indices, _spatial(indices, len(size), channels_last), channels_last)


def cells(
    taps: Array,
    size: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    ceil_mode: bool = False,
    channels_last: bool = False,
) -> Array:
    """Return the cell of each tap, or -1 if there is no such tap or it lies in the padding."""
    rows = _rows(taps, len(size), channels_last)
    table = _table(size, kernel, stride, padding, dilation, ceil_mode)
    is_tap = (rows >= 0) & (rows < table.shape[1])
    found = table[np.arange(len(table)), np.where(is_tap, rows, 0).astype(np.int64)]
    return _array(np.where(is_tap, found, -1), taps, _spatial(taps, len(size), channels_last), channels_last)


def first_repeated(indices: Array, rank: int, channels_last: bool = False) -> tuple[Sizes, Sizes] | None:
    """Return the earlier and the later position of the first repeated index, or None."""
    seen: dict[object, Sizes] = {}
    for at in np.ndindex(indices.shape):
        plane = (at[: -rank - 1], at[-1]) if channels_last else at[:-rank]
        earlier = seen.setdefault((plane, int(indices[at])), at)
        if earlier != at:
            return earlier, at
    return None


@cache
def _table(
    size: Sizes, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, ceil_mode: bool
) -> npt.NDArray[np.int64]:
    """Return the cell of each tap, or -1 in the padding: a row for each window, both in row-major order."""
    table = np.zeros((1, 1), np.int64)
    for axis in zip(size, kernel, stride, padding, dilation, strict=True):
        length, places = axis[0], np.array(_taps(*axis, ceil_mode), np.int64)
        # Each window so far, each window along this axis, each tap so far, each tap along this axis.
        before, along = table[:, np.newaxis, :, np.newaxis], places[np.newaxis, :, np.newaxis, :]
        inside = (before >= 0) & (along >= 0) & (along < length)
        table = np.where(inside, before * length + along, -1).reshape(len(table) * len(places), -1)
    return table


@cache
def _cells_read(*window: Any) -> npt.NDArray[np.int64]:
    """Return the cells that each window reads, in its order, and -1 behind the last one."""
    table = _table(*window)
    order = np.argsort(table < 0, axis=1, kind="stable")
    most = max(1, (table >= 0).sum(axis=1).max())
    return np.take_along_axis(table, order[:, :most], axis=1)


def _taps(
    size: int, kernel: int, stride: int, padding: int | tuple[int, int] | str, dilation: int, ceil_mode: bool
) -> list[list[int]]:
    """List the coordinates of the taps of each window along one axis; those in the padding are outside 0..size-1."""
    reach = dilation * (kernel - 1) + 1
    if isinstance(padding, str):  # "same" or "same_lower", as TensorFlow and ONNX define them
        count = math.ceil(size / stride)
        added = max(0, (count - 1) * stride + reach - size)
        first = -(added // 2 if padding == "same" else math.ceil(added / 2))
        starts = [first + i * stride for i in range(count)]
    else:
        before, after = padding if isinstance(padding, tuple) else (padding, padding)
        last = size + after - reach  # a window that starts here ends with the padding
        starts = list(range(-before, last + 1, stride))
        if ceil_mode:  # one window may stick out, if it starts in the input
            starts = [start for start in range(-before, last + stride, stride) if start < size]
    return [[start + j * dilation for j in range(kernel)] for start in starts]


def _spatial(array: Array, rank: int, channels_last: bool) -> Sizes:
    return array.shape[-rank - 1 : -1] if channels_last else array.shape[-rank:]


def _rows(array: Array, rank: int, channels_last: bool) -> Array:
    """Copy an array, (N, C, *spatial) or (C, *spatial) or channels last, to one row for each plane."""
    first = np.moveaxis(array, -1, -rank - 1) if channels_last else array
    return first.reshape(math.prod(first.shape[:-rank]), math.prod(first.shape[-rank:])).copy()


def _array(rows: Array, like: Array, spatial: Sizes, channels_last: bool) -> Array:
    """Return rows as a C-contiguous array with the batch, channels and data format of `like`."""
    rank = len(spatial)
    if channels_last:
        first = rows.reshape(*like.shape[: -rank - 1], like.shape[-1], *spatial)
        return np.ascontiguousarray(np.moveaxis(first, -rank - 1, -1))
    return rows.reshape(*like.shape[:-rank], *spatial)
