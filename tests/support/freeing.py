"""A plugin that frees memory; its fixture serves all tests, where one of tests/conftest.py serves those in tests/."""

import gc

import pytest


def pytest_collection_finish():
    """Exclude what exists by now from each later collection: modules, and tens of thousands of cases, which stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def freed():
    """Free TensorFlow's graphs, which are in reference cycles, after each file of tests: they take gigabytes."""
    yield
    gc.collect()
