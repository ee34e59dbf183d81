"""What the contract in docs/design.md says of a call: plain NumPy on arrays (samples, channels, windows or cells).

Nothing here comes from the library, or from the oracle of the other tests.  Indices are compared as the integers that
they are, at first; only those in range become int64.
"""

from typing import NamedTuple

import numpy as np


class Named(NamedTuple):
    """The cells that indices name, with 0 in the place of bad ones, and which are bad or in a foreign window."""

    cells: np.ndarray
    bad: np.ndarray
    foreign: np.ndarray | None


# --- indices ----------------------------------------------------------------------------------------------------------


def below(indices, limit):
    """Return the indices as int64 and True where they are 0..limit-1; the others become 0."""
    good = indices < np.uint64(limit) if indices.dtype.kind == "u" else (indices >= 0) & (indices < limit)
    return np.where(good, indices, 0).astype(np.int64), good


def name_cells(indices, geometry, by_taps, own_only):
    """Return the cell of each index; if `own_only`, a cell that its window does not read is foreign."""
    if not by_taps:
        cells, good = below(indices, geometry.cells)
        return Named(cells, ~good, foreign_cells(cells, geometry) if own_only else None)
    taps, good = below(indices, geometry.taps)
    cells, apart = np.zeros(indices.shape, np.int64), 1
    for axis, start, size in reversed([*zip(geometry.axes, geometry.starts, geometry.plane, strict=True)]):
        taps, tap = np.divmod(taps, axis.kernel)
        place = start + tap * axis.dilation
        good &= (place >= 0) & (place < size)
        cells += place * apart
        apart *= size
    return Named(np.where(good, cells, 0), ~good, None)


def foreign_cells(cells, geometry):
    foreign = np.zeros(cells.shape, bool)
    for axis, start, size in reversed([*zip(geometry.axes, geometry.starts, geometry.plane, strict=True)]):
        cells, place = np.divmod(cells, size)
        tap, rest = np.divmod(place - start, axis.dilation)
        foreign |= (rest != 0) | (tap < 0) | (tap >= axis.kernel)
    return foreign


def first(mask, channels_last):
    """Return (sample, channel, window) of the first True in row-major order of the user's array, or None."""
    ordered = mask.swapaxes(1, 2) if channels_last else mask
    flat = int(ordered.argmax()) if mask.size else 0
    if not mask.size or not ordered.flat[flat]:
        return None
    sample, one, other = map(int, np.unravel_index(flat, ordered.shape))
    return (sample, other, one) if channels_last else (sample, one, other)


def keys_of(cells, count):
    """Number the cells of all planes."""
    planes = np.arange(cells.shape[0] * cells.shape[1]).reshape(*cells.shape[:2], 1)
    return (planes * count + cells).reshape(-1)


def first_repeated(cells, count, channels_last):
    """Return the place of the first index whose cell an earlier one of its plane names, and that of the earliest."""
    keys = keys_of(cells, count)
    order = np.arange(keys.size)
    earliest = np.full(cells.shape[0] * cells.shape[1] * count, keys.size)
    np.minimum.at(earliest, keys, order)
    found = first((earliest[keys] != order).reshape(cells.shape), channels_last)
    if found is None:
        return None
    earlier = earliest[keys[np.ravel_multi_index(found, cells.shape)]]
    return found, tuple(map(int, np.unravel_index(earlier, cells.shape)))


# --- the three primitives ---------------------------------------------------------------------------------------------


def last_of(keys, total):
    """Return the order of the last index that names each cell; -1 if none does."""
    last = np.full(total, -1)
    np.maximum.at(last, keys, np.arange(keys.size))
    return last


@np.errstate(all="ignore")
def scatter(values, cells, count, adds):
    """Return planes: zero, then each value in its cell, in row-major order; later ones win, or are added."""
    total = values.shape[0] * values.shape[1] * count
    keys, values = keys_of(cells, count), values.reshape(-1)
    planes = np.zeros(total, values.dtype)
    if adds:
        np.add.at(planes, keys, values)
    else:
        last = last_of(keys, total)
        named = np.flatnonzero(last >= 0)
        planes[named] = values[last[named]]
    return planes.reshape(*cells.shape[:2], count)


def gather(planes, cells, keeps_all):
    """Return the value of each cell; unless `keeps_all`, zero where a later index names the same cell."""
    keys = keys_of(cells, planes.shape[2])
    found = planes.reshape(-1)[keys]
    if not keeps_all:
        found[last_of(keys, planes.size)[keys] != np.arange(keys.size)] = 0
    return found.reshape(cells.shape)


@np.errstate(invalid="ignore")  # of signalling NaN
def pool(planes, geometry):
    """Return the values of windows, their cells and their taps: the first of equal maxima, or the last NaN."""
    samples, channels, _ = planes.shape
    shape = samples, channels, geometry.windows
    compared = planes.astype(np.float64) if planes.dtype.kind in "fV" else planes  # bfloat16 is a "V"
    best, cells = np.zeros(shape, compared.dtype), np.full(shape, -1)
    taps = np.zeros(shape, np.int64)
    for tap, along in enumerate(np.ndindex(*geometry.kernel)):
        cell, inside = np.zeros(geometry.windows, np.int64), np.ones(geometry.windows, bool)
        for axis, start, size, number in zip(geometry.axes, geometry.starts, geometry.plane, along, strict=True):
            place = start + number * axis.dilation
            inside &= (place >= 0) & (place < size)
            cell = cell * size + place
        where = np.flatnonzero(inside)
        value, known = compared[..., cell[where]], best[..., where]
        wins = (cells[..., where] < 0) | (value != value) | ((value > known) & (known == known))
        best[..., where] = np.where(wins, value, known)
        cells[..., where] = np.where(wins, cell[where], cells[..., where])
        taps[..., where] = np.where(wins, tap, taps[..., where])
    return np.take_along_axis(planes, cells, 2), cells, taps
