"""A plugin that frees memory. A fixture of tests/conftest.py would not serve the contract in unpool/testing/."""

import gc

import pytest


def pytest_collection():
    """Collect garbage seldom: by default, that took a sixth of the time of the tests of torch.compile and ONNX."""
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
