"""Positions in a plane as positions in one of its blocks, and back, beside plain integers."""

from __future__ import annotations

import random
from math import prod

import numpy as np
import pytest
from unpool_backends.cpu import rebase

pytestmark = pytest.mark.once  # the kernels of the wheel are the same

# No cell of any plane, and what is left of it in 32 bits may be one.
NOWHERE = (-1, -5, -(2**31), -(2**63), -(2**63) + 3, 2**63 - 1)
# The largest sizes of planes: small ones, ones whose positions fit 32 bits, and ones whose positions do not.
SIZES = {"small": (4, 7, 9), "row": (1, 1, 2**31 - 1), "square": (1, 70000, 70000), "volume": (2000, 3000, 4000)}


def expected(position: int, plane: tuple, new_plane: tuple, origin: tuple) -> int:
    if not 0 <= position < prod(plane):
        return -1
    depth, rest = divmod(position, plane[1] * plane[2])
    cell = [at - first for at, first in zip((depth, *divmod(rest, plane[2])), origin, strict=True)]
    if not all(0 <= at < size for at, size in zip(cell, new_plane, strict=True)):
        return -1
    return (cell[0] * new_plane[1] + cell[1]) * new_plane[2] + cell[2]


def planes(kind: str, number: int, most: int) -> tuple[tuple, tuple, tuple]:
    """Return the sizes of a plane and of a block with at most so many cells, and the first cell of the block."""
    chosen = random.Random(f"{kind} {number}")
    while True:
        plane = tuple(chosen.randint(max(1, size // 2), size) for size in SIZES[kind])
        origin = tuple(chosen.choice([0, chosen.randrange(size)]) for size in plane)
        block = tuple(chosen.randint(1, size - first) for size, first in zip(plane, origin, strict=True))
        if prod(block) <= most:
            return plane, block, origin


def positions(plane: tuple, origin: tuple, new_plane: tuple, number: int) -> list[int]:
    """Return some positions in a plane, most of them near the other plane, and some outside."""
    chosen, cells = random.Random(number), prod(plane)
    starts = [max(0, first) for first in origin]
    ends = [min(*pair) for pair in zip(plane, (f + n for f, n in zip(origin, new_plane, strict=True)), strict=True)]
    near = []
    for _ in range(60):
        cell = [chosen.choice([s - 1, s, e - 1, e, chosen.randrange(s, e)]) for s, e in zip(starts, ends, strict=True)]
        near.append((cell[0] * plane[1] + cell[1]) * plane[2] + cell[2])
    return [*near, *[chosen.randrange(cells) for _ in range(20)], 0, cells - 1, cells, cells + 2**32, *NOWHERE]


@pytest.mark.parametrize("number", range(40))
@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_positions_are_those_of_plain_integers(dtype, kind, number):
    plane, block, origin = planes(kind, number, 2**62)
    back = tuple(-first for first in origin)
    for arguments in ((plane, block, origin), (block, plane, back)):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        given = [at for at in positions(arguments[0], arguments[2], arguments[1], number) if low <= at <= high]
        wanted = [expected(at, *arguments) for at in given]
        array = np.array(given, dtype)
        result = rebase(array, *arguments)
        assert result.dtype == ("int32" if prod(arguments[1]) <= 2**31 else "int64")
        assert result.tolist() == wanted
        assert array.tolist() == given
        if max(wanted) <= high:
            assert rebase(array, *arguments, array) is array
            assert array.tolist() == wanted


@pytest.mark.parametrize(
    ("plane", "block"),
    [
        # Rows, planes and volumes around 2**31 cells, and rows and planes of more than 2**32 around small blocks.
        ((1, 9, 2**31 - 1), (1, 8, 2**31 - 2)),
        ((1, 9, 2**31), (1, 8, 2**31 - 1)),
        ((1, 9, 2**31 + 1), (1, 1, 2**31 - 1)),
        ((2, 2**16, 2**16), (1, 2**16 - 1, 2**16 - 1)),
        ((2**31, 1, 1), (2**31 - 1, 1, 1)),
        ((1, 4, 2**33), (1, 2, 5)),
        ((3, 2**17, 2**17), (2, 3, 5)),
    ],
)
def test_sizes_at_the_edge_of_32_bits(plane, block):
    origin = tuple(int(size > 1) for size in plane)
    for arguments in ((plane, block, origin), (block, plane, tuple(-first for first in origin))):
        given = positions(arguments[0], arguments[2], arguments[1], 0)
        assert rebase(np.array(given), *arguments).tolist() == [expected(at, *arguments) for at in given]


@pytest.mark.parametrize("cells", [2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("divisor", [1, 2, 3, 7, 2**15 + 1, 46341, 2**20 - 1, 2**30, 2**30 + 1, 2**31 - 2, 2**31 - 1])
def test_quotients_are_exact_up_to_the_last_dividend(divisor, cells):
    """Where a row has so many columns, an error would show at its first and last one."""
    rows = cells // divisor
    arguments = (1, rows, divisor), (1, rows, 2 * divisor), (0, 0, 0)
    chosen = random.Random(divisor)
    ends = [1, rows, *[chosen.randint(1, rows) for _ in range(200)], *range(max(1, rows - 50), rows)]
    given = [row * divisor + step for row in ends for step in (-1, 0)]
    assert rebase(np.array(given), *arguments).tolist() == [expected(at, *arguments) for at in given]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "uint32", "uint64", ">i4", ">i8"])
def test_every_integer_dtype(dtype):
    plane, block, origin = (2, 6, 8), (1, 3, 4), (1, 2, 3)
    high = int(np.iinfo(dtype).max)
    given = [at for at in (0, 66, 67, 70, 71, 75, 90, 95, 96, high - 1, high) if at <= high]
    array = np.array(given, dtype)
    assert rebase(array, plane, block, origin).tolist() == [expected(at, plane, block, origin) for at in given]


@pytest.mark.parametrize("count", [0, 1, 1023, 1024, 1025, 5000])
def test_every_count(count):
    given = np.arange(count).reshape(count, 1)
    result = rebase(given, (1, 80, 80), (1, 40, 30), (0, 20, 10))
    assert result.shape == given.shape
    assert result[:, 0].tolist() == [expected(at, (1, 80, 80), (1, 40, 30), (0, 20, 10)) for at in range(count)]


@pytest.mark.parametrize("origin", [(0, 0, 3), (0, 0, 5), (0, 0, -4), (0, 2, 0), (0, -7, 1), (3, 0, 0), (-2, 0, 0)])
def test_planes_without_a_common_cell(origin):
    assert rebase(np.arange(-9, 27), (2, 2, 3), (1, 2, 3), origin).tolist() == [-1] * 36


def test_a_plane_without_cells():
    assert rebase(np.arange(-1, 3), (1, 2, 0), (1, 2, 3), (0, 0, 0)).tolist() == [-1] * 4
    assert rebase(np.arange(-1, 3), (1, 2, 3), (1, 0, 3), (0, 0, 0)).tolist() == [-1] * 4


def test_views_are_copied():
    given = np.arange(48).reshape(6, 8)[::2, ::3]
    assert rebase(given, (1, 6, 8), (1, 3, 4), (0, 0, 0)).tolist() == [[0, 3, -1], [8, 11, -1], [-1, -1, -1]]


def test_buffers_of_other_sizes_are_refused():
    with pytest.raises(ValueError, match="expected a buffer of 3 elements, got 4"):
        rebase(np.arange(3), (1, 1, 3), (1, 1, 3), (0, 0, 0), np.zeros(4, np.int64))
    with pytest.raises(TypeError, match="expected int32 or int64 positions"):
        rebase(np.arange(3), (1, 1, 3), (1, 1, 3), (0, 0, 0), np.zeros(3, np.int16))
