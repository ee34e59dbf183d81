"""A plugin that decides when memory is freed. Its fixture serves all tests, and one of tests/conftest.py only those."""

import gc

import pytest


def pytest_collection():
    """Look for garbage seldom: frameworks allocate so many objects that the search took a sixth of PyTorch's tests."""
    gc.set_threshold(10_000, 10, 10)


def pytest_collection_finish():
    """Exclude what exists by now from each later collection: modules, and tens of thousands of cases, which stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def freed():
    """Free TensorFlow's graphs, which are in reference cycles, after each file of tests: they take gigabytes."""
    yield
    gc.collect()
