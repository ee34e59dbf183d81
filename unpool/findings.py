"""Turn the flat position of a bad or repeated index, as kernels report it, into the error that names it.

The indices may be an array of any library that has views and comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import add
from typing import Any

from unpool import errors
from unpool.dtypes import name
from unpool.plan import Plan
from unpool.taps import cells_of, windows_at


def error(
    bad: int,
    repeated: int,
    given: Any,
    read: Any,
    plan: Plan[int],
    *,
    touched: bool,
    origin: Sequence[int] | None = None,
) -> Exception:
    """Return the error of the bad index at flat position `bad`, or else of the one at `repeated`.

    Positions count in row-major order of the indices; one below 0 stands for no such index.  `given` are the user's
    indices, and `read` the integers that the kernel read.  `origin` is the place of a block's first index in the user's
    array.
    """

    def shown(position: tuple[int, ...]) -> tuple[int, ...]:
        return position if origin is None else tuple(map(add, origin, position))

    # Take the value from `read`: if it is a copy, `out` may have overwritten the user's indices.
    unsigned = name(given.dtype).startswith("u") and name(read.dtype) == "int64"
    indices = read.view("uint64") if unsigned else read
    position = _position(bad if bad >= 0 else repeated, indices.shape)
    value = int(indices[position])
    if bad >= 0:
        if plan.by_taps:
            return errors.bad_tap(shown(position), value, plan.spatial, plan.window, plan.sized_by, touched=touched)
        if plan.validate == "windows" and 0 <= value < plan.cells:
            return errors.outside_window(
                shown(position), value, plan.spatial, plan.window, plan.sized_by, touched=touched
            )
        return errors.bad_index(shown(position), value, plan.spatial, plan.sized_by, touched=touched)
    # The spatial axes are adjacent, before the channels or after them.
    rank = len(plan.spatial)
    axis = indices.ndim - rank - (1 if plan.channels_last else 0)
    before, behind = position[:axis], position[axis + rank :]
    plane = indices[before + (slice(None),) * rank + behind]
    if plan.by_taps:
        own = position[axis : axis + rank]
        windows = windows_at(_cell(value, own, plan), plan)
        # Another thread of the program may have written the indices since: then the loop finds none.
        first = next((window for window, tap in windows if window == own or int(plane[window]) == tap), own)
        return errors.duplicate_tap(shown(before + first + behind), shown(position), touched=touched)
    first = _position(int((plane == value).reshape(-1).argmax()), plane.shape)
    return errors.duplicate_index(shown(before + first + behind), shown(position), value, touched=touched)


def _cell(tap: int, window: tuple[int, ...], plan: Plan[int]) -> int:
    """Return the cell of a tap of a window."""
    places = (0,) * (3 - len(window)) + window
    along = zip(places, plan.stride, plan.padding, strict=True)
    cell, _ = cells_of(tap, plan.plane, [place * stride - padding for place, stride, padding in along], plan)
    return int(cell)


def _position(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    position: tuple[int, ...] = ()
    for size in reversed(shape):
        position = (flat % size, *position)
        flat //= size
    return position
