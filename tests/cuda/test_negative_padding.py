"""The kernels on blocks of a larger plane: windows start inside of a block, and both of its ends have other cells."""

import numpy as np
import pytest
from chunks import Block, blocks, check_moves, check_pool
from kinds import CuPyArrays

pytestmark = pytest.mark.one_in(8)  # a case compiles kernels, and runs them thread by thread, for seconds

# Each way to cut a call: as it is, in tiles of several rows, with counts of 64 bits, in ranges of few cells.
CUTS = {
    "usual": {},
    "tiles": {"LEAST_THREADS_EACH": 1},
    "wide": {"WIDE": 1},
    "ranges": {"MOST_WINDOWS_PER_CELL": 0, "NEAR": 1024},
}
# Blocks of windows in rows and in pieces of a row; ranges and tiles before the first window and behind the last.
LARGE = {
    "rows": Block((6, 7), (2, 2), (2, 2), (1, 1), ((-3, -2), (-1, -64)), (1,), False),
    "pieces of a row": Block((2, 70), (2, 2), (2, 2), (1, 1), ((-1, -3), (-400, -300)), (1,), False),
    "overlap": Block((5, 6), (3, 3), (2, 2), (1, 1), ((-13, -7), (-10, 1)), (1,), False),
    "overlap, depths": Block((2, 3, 3), (3, 3, 3), (2, 1, 2), (1, 1, 1), ((-9, 1), (1, -3), (-1, -1)), (1,), False),
}


@pytest.fixture(scope="module")
def cuda():
    return CuPyArrays()


@pytest.fixture(autouse=True, params=CUTS)
def cut(request, cuda, monkeypatch):
    """Cut calls in each way. The caches of cuts are empty before and after the test."""
    from unpool_backends.cuda import _device_of, job

    caches = job.pool, job.scatter, job.gather, _device_of
    for cache in caches:
        cache.cache_clear()
    for name, value in CUTS[request.param].items():
        monkeypatch.setattr(job, name, value)
    yield
    for cache in caches:
        cache.cache_clear()


def check(block, rng, kind):
    from unpool_backends.cuda import BACKEND

    check_pool(block, rng, kind, BACKEND)
    for gathers in (False, True):
        check_moves(block, rng, kind, BACKEND, gathers)


@pytest.mark.parametrize("seed", range(4))
def test_random_blocks(seed, cuda):
    for rng, block in blocks(seed, 1):
        check(block, rng, cuda)


@pytest.mark.parametrize("block", LARGE.values(), ids=LARGE)
def test_large_blocks(block, cuda):
    check(block, np.random.default_rng(0), cuda)
