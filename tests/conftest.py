"""What every file of tests shares: the `backend` fixture, and how hypothesis searches."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import needs
import pytest
from hypothesis import settings
from kinds import KINDS

settings.register_profile("default", deadline=None, max_examples=200)
settings.register_profile("ci", deadline=None, max_examples=200, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_addoption(parser):
    parser.addoption(
        "--cuda-on-cpu",
        action="store_true",
        help="run the CUDA kernels thread by thread on the CPU, with a stand-in for CuPy",
    )


def pytest_configure(config):
    if config.getoption("--cuda-on-cpu"):
        assert "cupy" not in sys.modules
        sys.path.insert(0, str(Path(__file__).parent / "cuda_on_cpu"))
    missing = [module for module in needs.promised() if find_spec(module) is None]
    if missing:
        raise pytest.UsageError(f"UNPOOL_REQUIRE promises what is not installed: {', '.join(missing)}")


@pytest.fixture(scope="session", params=KINDS)
def backend(request):
    return KINDS[request.param]()
