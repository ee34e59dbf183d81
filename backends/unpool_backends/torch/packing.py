"""A `Window` as the four lists of integers that an operator takes, since its arguments have simple types.

kernel_size    one entry per axis; `NO_KERNEL` in all of them for a call without a window
padding        one entry per axis: cells on both sides of the plane, or `SAME`, or `SAME_LOWER`
               two entries per axis: all cells before the plane, then all behind it, as in ONNX's `pads`
"""

from __future__ import annotations

from collections.abc import Sequence

from unpool.windows import Padding, Window, from_sides, sides


def pack(window: Window) -> tuple[list[int], ...]:
    """Return the lists ``kernel_size, stride, padding, dilation``.

    >>> pack(Window((3, 3), (2, 2), (1, (0, 1)), (1, 1)))[2]
    [1, 0, 1, 1]
    """
    pairs = list(map(sides, window.padding))  # a word twice
    count = 2 if any(isinstance(entry, tuple) for entry in window.padding) else 1
    padding = [pair[side] for side in range(count) for pair in pairs]
    return list(window.kernel), list(window.stride), padding, list(window.dilation)


def unpack(kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]) -> Window:
    """Return the window of these lists.

    >>> unpack([3, 3], [2, 2], [1, 0, 1, 1], [1, 1]).padding
    (1, (0, 1))
    """
    rank = len(kernel)
    entries: Sequence[Padding] = padding
    if len(padding) > rank:
        entries = list(map(from_sides, padding[:rank], padding[rank:], kernel))
    return Window(tuple(kernel), tuple(stride), tuple(entries), tuple(dilation))
