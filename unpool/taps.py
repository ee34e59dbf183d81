"""Compute the tap of its own window that each index is, with arithmetic that every array library has.

The taps of a window are the cells that it reads, those in the padding included, numbered in row-major order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unpool.plan import Plan
from unpool.sizes import Window


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
