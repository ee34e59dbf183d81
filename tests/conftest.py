"""What every file of tests shares: the `backend` fixture, and how hypothesis searches."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import needs
import pytest
from hypothesis import Phase, settings
from kinds import KINDS

settings.register_profile("default", deadline=None, max_examples=200)
settings.register_profile("ci", deadline=None, max_examples=200, derandomize=True)
# For kinds of arrays that are traced or compiled anew for every example.
settings.register_profile(
    "few", deadline=None, max_examples=6, derandomize=True, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_addoption(parser):
    parser.addoption(
        "--cuda-on-cpu",
        action="store_true",
        help="run the CUDA kernels thread by thread on the CPU, with a stand-in for CuPy",
    )

    parser.addoption(
        "--every",
        action="store_true",
        help="run all tests of the kinds of arrays that are traced or compiled at every call, and not one in several",
    )


def pytest_collection_modifyitems(config, items):
    """Leave out what would say nothing new.

    Of the many cases of a test, a kind that takes long for each is given a few, spread over all parameters; and a kind
    whose framework is not installed is skipped once a test, which is enough to give the reason.
    """
    missing = {name for name, kind in KINDS.items() if not kind.installed()}
    kept, left_out, seen = [], [], {}
    for item in items:
        name = item.callspec.params.get("backend") if hasattr(item, "callspec") else None
        count = seen[item.function, name] = seen.get((item.function, name), -1) + 1
        every = KINDS[name].one_in if name in KINDS and not config.getoption("--every") else 1
        # Not every n-th: parameters repeat with periods of their own.
        enough = every > 1 and (count * 7919 + count // every) % every
        (left_out if enough or (name in missing and count) else kept).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


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
