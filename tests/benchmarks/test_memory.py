"""A call takes less than a megabyte per thread beyond its results, as `benchmarks/memory.py` measures it."""

import pytest
from tree import load

from unpool.bench.cases import Case

memory = load("memory")

THREADS = 2
SHAPE = (4, 32, 224, 224)  # indices and planes are many times the limit


@pytest.mark.parametrize(
    "case",
    [
        Case("unpool", "unpool", SHAPE),
        Case("gradient, of indices that repeat", "unpool_backward", SHAPE, kernel=3, stride=2),
        Case("pool", "pool", SHAPE, kernel=3, stride=2),
    ],
    ids=lambda case: case.name,
)
def test_a_call_takes_less_than_a_megabyte_a_thread(case):
    # With many cores, some Linux systems count in steps of up to half a megabyte per core. A real excess recurs.
    for _ in range(3):
        try:
            output, extra = memory.measure(case, THREADS)
        except OSError as error:
            pytest.skip(f"this system does not report the memory of a call: {error}")
        if extra < THREADS * memory.LIMIT:
            break
    assert output > 5
    assert extra < THREADS * memory.LIMIT
    assert extra > -THREADS * memory.LIMIT, "the output was there before the call"
