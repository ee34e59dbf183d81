"""A backend of a hundred lines, right or with planted bugs: tests/core/test_suite.py shows that the suite finds them.

An array carries the names of its flaws, and the backend computes on it accordingly.
"""

import numpy as np

from unpool import errors
from unpool.testing import Arrays


class Cells:
    """A NumPy array that NumPy does not see."""

    def __init__(self, array, flaws):
        self.array, self.flaws, self.shape, self.dtype = array, flaws, array.shape, array.dtype.name


class Backend:
    index_formats = ("plane", "window")

    def pool(self, input, plan, out):
        planes, cells = rows(input.array, plan.cells, plan), cells_of(plan)
        values = np.zeros((len(planes), plan.windows), planes.dtype)
        indices, filled = np.zeros(values.shape, "int64"), np.zeros(plan.windows, bool)
        for tap, cell in enumerate(cells.T):
            found = planes[:, cell]
            better = (found > values) | ~filled
            if "NaN" not in input.flaws:
                better |= found != found
            better &= cell >= 0
            values = np.where(better, found, values)
            indices = np.where(better, tap if plan.by_taps else cell, indices)
            filled |= cell >= 0
        taken = None if plan.index_dtype is None else indices.astype(plan.index_dtype)
        return tuple(delivered(part, plan.pooled_shape, plan, input.flaws) for part in (values, taken))

    def scatter(self, values, indices, plan, duplicates, out):
        targets, given = targets_of(indices, plan, duplicates), rows(values.array, plan.windows, plan)
        planes, every = np.zeros((len(given), plan.cells + 1), given.dtype), np.arange(len(given))
        order = range(plan.windows)
        for window in reversed(order) if "first" in values.flaws and duplicates == "last" else order:
            cell, value = targets[:, window], given[:, window]
            planes[every, cell] = planes[every, cell] + value if duplicates == "sum" else value
        return delivered(planes[:, : plan.cells], plan.plane_shape, plan, values.flaws)

    def gather(self, grad, indices, plan, duplicates, out):
        targets, planes = targets_of(indices, plan, duplicates), rows(grad.array, plan.cells, plan)
        padded, every = np.pad(planes, [(0, 0), (0, 1)]), np.arange(len(planes))
        winner = np.zeros(padded.shape, "int64")
        for window in range(plan.windows):
            winner[every, targets[:, window]] = window
        lost = (winner[every[:, None], targets] != np.arange(plan.windows)) & (duplicates == "last")
        taken = np.where(lost, planes.dtype.type(0), padded[every[:, None], targets])
        return delivered(taken, plan.pooled_shape, plan, grad.flaws)


BACKEND = Backend()


def rows(array, count, plan):
    """Return an array as a row of so many elements for each plane."""
    if plan.channels_last:
        array = array.reshape(plan.batch, count, plan.channels).swapaxes(1, 2)
    return array.reshape(plan.batch * plan.channels, count)


def delivered(rows, shape, plan, flaws):
    """Return rows as an array of a shape."""
    if rows is None:
        return None
    if plan.channels_last and "order" not in flaws:
        rows = rows.reshape(plan.batch, plan.channels, rows.shape[1]).swapaxes(1, 2)
    return Cells(rows.reshape(shape), flaws)


def cells_of(plan):
    """Return the cell of each tap of each window; -1 in the padding."""
    cells = np.zeros((1, 1), "int64")
    for axis in range(3):
        first = np.arange(plan.pooled[axis]) * plan.stride[axis] - plan.padding[axis]
        at = first[:, None] + np.arange(plan.kernel[axis]) * plan.dilation[axis]
        at = np.where((at >= 0) & (at < plan.plane[axis]), at, -1)
        before, along = cells[:, None, :, None], at[None, :, None, :]
        cells = np.where((before < 0) | (along < 0), -1, before * plan.plane[axis] + along)
        cells = cells.reshape(cells.shape[0] * cells.shape[1], -1)
    return cells


def targets_of(indices, plan, duplicates):
    """Return the cell that each index names, as rows; raise for the first bad index, or else the first repeated one."""
    given, flaws = rows(indices.array, plan.windows, plan), indices.flaws
    end = plan.taps if plan.by_taps else plan.cells
    good = (given >= 0) & (given < end)
    cells = np.where(good, given, 0).astype("int64")
    if plan.by_taps:
        cells = cells_of(plan)[np.arange(plan.windows), cells]
        good &= cells >= 0
    elif plan.validate == "windows":
        good &= (cells_of(plan) == cells[..., None]).any(-1)
    if "bounds" in flaws and not plan.by_taps:
        good |= given == end
        cells = np.where(given == end, end, cells)
    if duplicates == "error" and "before" in flaws:
        refuse_repeated(indices, cells, plan)
    if not good.all():
        at = tuple(map(int, np.argwhere(~delivered(good, indices.shape, plan, ()).array)[0]))
        index = int(indices.array[at])
        if plan.by_taps:
            raise errors.bad_tap(at, index, plan.spatial, plan.window, plan.sized_by)
        if plan.validate == "windows" and 0 <= index < plan.cells:
            raise errors.outside_window(at, index, plan.spatial, plan.window, plan.sized_by)
        raise errors.bad_index(at, index, plan.spatial, plan.sized_by)
    if duplicates == "error":
        refuse_repeated(indices, cells, plan)
    return cells


def refuse_repeated(indices, cells, plan):
    """Raise for the first index in row-major order whose cell an earlier one of its plane names."""
    planes = np.broadcast_to(np.arange(len(cells))[:, None], cells.shape)
    places = [delivered(part, indices.shape, plan, ()).array for part in (planes, cells)]
    seen = {}
    for at in np.ndindex(indices.shape):
        earlier = seen.setdefault((int(places[0][at]), int(places[1][at])), at)
        if earlier != at:
            raise (
                errors.duplicate_tap(earlier, at)
                if plan.by_taps
                else errors.duplicate_index(earlier, at, int(places[1][at]))
            )


class SoundArrays(Arrays):
    """The arrays of the backend without a bug."""

    flaws = frozenset()
    writes = False
    one_in = 16

    def asarray(self, array):
        return Cells(np.array(array, array.dtype.newbyteorder("="), order="C"), self.flaws)

    def tonumpy(self, array):
        return array.array

    def run(self, function, *arguments, **named):
        with np.errstate(all="ignore"):
            return super().run(function, *arguments, **named)


class BoundsArrays(SoundArrays):
    """An index that equals the number of cells is dropped in silence."""

    flaws = frozenset({"bounds"})


class FirstArrays(SoundArrays):
    """The first of repeated indices wins."""

    flaws = frozenset({"first"})


class NaNArrays(SoundArrays):
    """Pooling loses a NaN behind a number."""

    flaws = frozenset({"NaN"})


class OrderArrays(SoundArrays):
    """Results with the channels last have the cells of channels first."""

    flaws = frozenset({"order"})


class BeforeArrays(SoundArrays):
    """A repeated index is reported before a bad one."""

    flaws = frozenset({"before"})


class FlawedArrays(SoundArrays):
    """All five bugs at once."""

    flaws = frozenset({"bounds", "first", "NaN", "order", "before"})
