"""Convert between cells of a plane and taps of windows, with arithmetic that every array library has.

The taps of a window are the cells that it reads, those in the padding included, numbered in row-major order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

from unpool.plan import Plan
from unpool.windows import Window


def taps_of(cells: Any, plane: Sequence[Any], corners: Sequence[Any], window: Window | Plan[Any]) -> tuple[Any, Any]:
    """Return (taps, inside): the tap of its own window that each cell is, and False where it is none of them.

    A tap is undefined where ``inside`` is False.  `corners` holds the first cell of each window along each axis of the
    plane, negative in the padding, in a shape that broadcasts with `cells`.

    >>> import numpy as np
    >>> taps, inside = taps_of(np.array([4, 3]), (6,), [np.array([3, 4])], Window((2,), (1,), (0,), (1,)))
    >>> taps[0].item(), inside.tolist()
    (1, [True, False])
    """
    coordinates = []
    rest = cells
    for size in reversed(plane[1:]):
        coordinates.append(rest % size)
        rest = rest // size
    coordinates.append(rest)  # outside 0..size-1 if the cell is outside the plane
    inside = (rest >= 0) & (rest < plane[0])
    taps = 0 * cells
    for coordinate, corner, kernel, dilation in zip(
        reversed(coordinates), corners, window.kernel, window.dilation, strict=True
    ):
        away = coordinate - corner
        step = away // dilation
        # `< 1` tests for zero, as remainders are not negative: `==` compares objects in a graph of TensorFlow 1.
        inside = inside & (away % dilation < 1) & (step >= 0) & (step < kernel)
        taps = taps * kernel + step
    return taps, inside


def cells_of(taps: Any, plane: Sequence[Any], corners: Sequence[Any], window: Window | Plan[Any]) -> tuple[Any, Any]:
    """Return (cells, inside): the cell of each tap, and False where there is no such tap or it lies in the padding.

    This is the inverse of `taps_of`.  The taps must have a signed dtype that holds every cell.

    >>> import numpy as np
    >>> cells, inside = cells_of(np.array([1, 0]), (6,), [np.array([3, -1])], Window((2,), (1,), (1,), (1,)))
    >>> cells[0].item(), inside.tolist()
    (4, [True, False])
    """
    inside = (taps >= 0) & (taps < prod(window.kernel))
    steps = []
    rest = taps
    for kernel in reversed(window.kernel):
        steps.append(rest % kernel)
        rest = rest // kernel
    cells = 0 * taps
    for step, size, corner, dilation in zip(reversed(steps), plane, corners, window.dilation, strict=True):
        at = corner + step * dilation
        inside = inside & (at >= 0) & (at < size)
        cells = cells * size + at
    return cells, inside


def windows_at(cell: int, plan: Plan[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield each window that has a tap at a cell, in row-major order, and the number of the tap.

    >>> from unpool.plan import plan_unpooling
    >>> list(windows_at(2, plan_unpooling((1, 2), Window((3,), (2,), (0,), (1,)), (5,), False)))
    [((0,), 2), ((1,), 0)]
    """
    along: list[list[tuple[int, int]]] = []
    for axis in (2, 1, 0):
        cell, at = divmod(cell, plan.plane[axis])
        at += plan.padding[axis]
        kernel, stride, dilation = plan.kernel[axis], plan.stride[axis], plan.dilation[axis]
        first = max(0, -(-(at - (kernel - 1) * dilation) // stride))
        windows = range(first, min(at // stride, plan.pooled[axis] - 1) + 1)
        steps = [(window, at - window * stride) for window in windows]
        along.insert(0, [(window, away // dilation) for window, away in steps if away % dilation == 0])
    for found in product(*along):
        tap = 0
        for kernel, (_, step) in zip(plan.kernel, found, strict=True):
            tap = tap * kernel + step
        yield tuple(window for window, _ in found)[3 - len(plan.spatial) :], tap
