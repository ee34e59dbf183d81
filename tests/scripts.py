"""The programs in benchmarks/, as modules."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def load(name):
    """Import one; skip the file of tests that is about it where the tests run away from the source tree."""
    if not (BENCHMARKS / f"{name}.py").exists():
        pytest.skip("the tests run away from the source tree, where the benchmarks are not", allow_module_level=True)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))
