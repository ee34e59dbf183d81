"""The kernels on blocks of a larger plane: windows start inside of a block, and both of its ends have other cells."""

import numpy as np
import pytest
import unpool_backends.cpu
from chunks import Block, blocks, check_moves, check_pool
from unpool_backends.cpu import BACKEND

from unpool.testing.arrays import NumPyArrays
from unpool.windows import taps_inside

pytestmark = pytest.mark.once  # the kernels of the wheel are the same

EACH = 40  # random blocks for each seed
seeds = pytest.mark.parametrize("seed", range(24))

# Blocks that kernels cut into several parts, or whose parts are streamed; cells of no window are many at each end.
LARGE = {
    "rows": Block((40, 31), (2, 2), (2, 2), (1, 1), ((-3, -2), (-1, -64)), (1,), False),
    "rows, many cells of no window": Block((3, 40), (2, 2), (2, 2), (1, 1), ((-90, -70), (0, -60)), (2,), False),
    "pieces of rows": Block((2, 600), (2, 2), (2, 2), (1, 1), ((-1, -9), (-2500, -2200)), (1,), False),
    "pieces of rows, gaps": Block((3, 400), (2, 3), (4, 5), (1, 1), ((-3, 1), (-7, 1)), (1,), False),
    "pieces of one row": Block((1500,), (3,), (3,), (1,), ((-5001, -3000),), (1,), False),
    "depths": Block((3, 9, 30), (2, 2, 2), (2, 2, 2), (1, 1, 1), ((-5, -3), (-2, 0), (0, -1)), (1,), False),
    "channels": Block((5, 6), (2, 2), (2, 2), (1, 1), ((-20, -11), (-3, -30)), (40,), True),
    "more channels than a strip": Block((2, 2), (2, 2), (2, 2), (1, 1), ((-1, -2), (-3, -1)), (1100,), True),
    "overlap": Block((30, 41), (3, 3), (2, 2), (1, 1), ((-3, -2), (-4, 1)), (1,), False),
    "overlap, dilated": Block((20, 41), (3, 2), (2, 3), (2, 3), ((-3, 2), (-1, -7)), (1,), False),
    "overlap, one row": Block((1500,), (5,), (2,), (1,), ((-11, -2),), (1,), False),
    "overlap, channels": Block((5, 6), (3, 3), (1, 2), (1, 1), ((-2, -1), (1, -3)), (20,), True),
    "overlap, depths": Block((3, 7, 8), (3, 3, 3), (2, 1, 2), (1, 1, 1), ((-2, 1), (1, -3), (-1, -1)), (1,), False),
}
large = pytest.mark.parametrize("block", LARGE.values(), ids=LARGE)


@pytest.fixture(params=["plain", "streamed"])
def way(request, monkeypatch):
    monkeypatch.setattr(unpool_backends.cpu, "_LARGE", 1 << 62)
    monkeypatch.setattr(unpool_backends.cpu, "_PAST_CACHES", 0 if request.param == "streamed" else 1 << 62)


@seeds
def test_taps_inside(seed):
    for _, block in blocks(seed, EACH):
        for axis, size in enumerate(block.size):
            count, kernel, stride, dilation = (
                entries[axis] for entries in (block.counts, block.kernel, block.stride, block.dilation)
            )
            before = block.padding[axis][0]
            cells = np.arange(count)[:, None] * stride - before + np.arange(kernel) * dilation
            inside = np.flatnonzero(((cells >= 0) & (cells < size)).any(0))
            first, end = taps_inside(size, count, kernel, stride, before, dilation)
            assert first <= inside[0] <= inside[-1] < end <= kernel


@seeds
def test_pool(seed):
    for rng, block in blocks(seed, EACH):
        check_pool(block, rng, NumPyArrays(), BACKEND)


@pytest.mark.one_in(6)  # a case takes a second
@seeds
@pytest.mark.parametrize("gathers", [False, True], ids=["scatter", "gather"])
def test_scatter_and_gather(seed, gathers):
    for rng, block in blocks(seed, EACH):
        check_moves(block, rng, NumPyArrays(), BACKEND, gathers)


@large
def test_pool_of_large_blocks(block):
    check_pool(block, np.random.default_rng(0), NumPyArrays(), BACKEND)


@large
def test_scatter_of_large_blocks(block, way):
    check_moves(block, np.random.default_rng(0), NumPyArrays(), BACKEND, False)


@large
def test_gather_of_large_blocks(block):
    check_moves(block, np.random.default_rng(0), NumPyArrays(), BACKEND, True)
