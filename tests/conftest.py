"""What only this project's test runs have: frameworks' kinds of arrays, and how hypothesis and compilers work.

`unpool.testing.plugin`, which pyproject.toml loads, has what other packages use, too.  The hooks of this file serve
the contract in unpool/testing, too, because pytest reads it at the start: in the root, with no path or one in tests/.
"""

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import freeing
import kinds
import needs
import pytest
from hypothesis import Phase, settings
from keeping import folder

from unpool.testing.plugin import positive

TESTS = Path(__file__).parent

settings.register_profile("default", deadline=None, max_examples=200)
settings.register_profile("ci", deadline=None, max_examples=200, derandomize=True)
# An example takes 20 ms as a graph of Dask, and there are five properties.
settings.register_profile("some", deadline=None, max_examples=50, derandomize=True)
# For kinds of arrays that are traced or compiled anew for every example.
settings.register_profile(
    "few", deadline=None, max_examples=4, derandomize=True, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_addoption(parser):
    parser.addoption(
        "--cuda-on-cpu",
        action="store_true",
        help="run the CUDA kernels thread by thread on the CPU, with a stand-in for CuPy",
    )
    parser.addoption(
        "--fuzz-minutes", type=positive, metavar="N", help="run tests/fuzz for N minutes instead of 20 seconds"
    )
    parser.addoption(
        "--fuzz-seed", type=int, default=23, metavar="S", help="choose the cases of tests/fuzz; the default is 23"
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "once: the test finds the same on every Python, so one env runs it")
    if config.getoption("--cuda-on-cpu"):
        assert "cupy" not in sys.modules
        sys.path.insert(0, str(TESTS / "support" / "cuda_on_cpu"))
        kinds.CuPyArrays.one_in = 2 * kinds.SHARED  # thread by thread, each case takes long
    config.pluginmanager.register(freeing)
    missing = [module for module in needs.promised() if find_spec(module) is None]
    if missing:
        raise pytest.UsageError(f"UNPOOL_REQUIRE promises what is not installed: {', '.join(missing)}")
    # A shell starts programs in the background with Ctrl-C ignored, and the programs that tests start inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # PyTorch keeps compiled programs with their backward pass, which would call operators of an earlier schema.
    os.environ["TORCHINDUCTOR_AUTOGRAD_CACHE"] = "0"
    if find_spec("jax"):  # read when JAX is imported, by the processes that tests start, too
        # Processes that run at the same time have folders of their own, because JAX does not write in one step.
        process = [os.environ.get(name, "") for name in ("TOX_ENV_NAME", "PYTEST_XDIST_WORKER")]
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder("-".join(["jax", *filter(None, process)])))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


@pytest.hookimpl(tryfirst=True)  # before cases are chosen by their marks
def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(TESTS / "core"):
            item.add_marker("whole")
        if item.path.is_relative_to(TESTS / "tensorflow"):
            for mark in kinds.TensorFlowArrays.marks:
                item.add_marker(mark)
