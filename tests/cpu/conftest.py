"""Tests of the CPU kernels run them on a team of threads, although tox gives other tests one thread each."""

import pytest
import unpool_backends.cpu
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True)
def team():
    with threadpool_limits(2, "openmp"):
        assert unpool_backends.cpu.max_threads() == (2 if unpool_backends.cpu.openmp() else 1)
        yield
