"""A plugin of one fixture, because a fixture of tests/conftest.py would serve the tests in tests/ alone."""

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def freed():
    """Free TensorFlow's graphs, which are in reference cycles, after each file of tests: they take gigabytes."""
    yield
    gc.collect()
