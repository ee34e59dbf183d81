"""Shared parts of the tests of the stand-in for CuPy (`cuda_on_cpu`)."""

import os
import shutil
import sys

import pytest
from tree import ROOT

FOLDER = ROOT / "tests" / "support" / "cuda_on_cpu"
ORDERS = ("ascending", "descending", "shuffled")
THREADS = 256


def require_compiler():
    """Skip a file of tests on machines that cannot build the stand-in."""
    if sys.platform != "linux" or not shutil.which(os.environ.get("CXX", "g++")):
        pytest.skip("the stand-in for CuPy is built by g++, on Linux", allow_module_level=True)


def failing(call, *parts):
    """Make a call, and check that it raises a KernelError whose message has all these parts."""
    with pytest.raises(RuntimeError) as caught:
        call()
    assert type(caught.value).__name__ == "KernelError", type(caught.value)
    for part in parts:
        assert part in str(caught.value), f"{part!r} is not in {str(caught.value)!r}"
