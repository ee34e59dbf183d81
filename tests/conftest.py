"""The options of a test run: the kinds of arrays, how many cases of a test, and how hypothesis searches."""

import gc
import os
import sys
from argparse import ArgumentTypeError
from importlib.util import find_spec
from math import prod
from pathlib import Path

import kinds
import needs
import pytest
from hypothesis import Phase, settings
from keeping import folder
from thinning import thinned

CORE = Path(__file__).parent / "core"
TENSORFLOW = Path(__file__).parent / "tensorflow"

settings.register_profile("default", deadline=None, max_examples=200)
settings.register_profile("ci", deadline=None, max_examples=200, derandomize=True)
# For kinds of arrays that are traced or compiled anew for every example.
settings.register_profile(
    "few", deadline=None, max_examples=4, derandomize=True, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def positive(text):
    """Return the number that an option gives, which must be 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be an integer from 1 on, got {text!r}")
    return int(text)


def pytest_addoption(parser):
    parser.addoption(
        "--arrays",
        metavar="KINDS",
        help="the kinds of arrays that tests/contract runs on, separated by commas: names of tests/support/kinds.py, "
        "or module:Class for the arrays of another backend; default: all whose framework is installed",
    )
    parser.addoption(
        "--cuda-on-cpu",
        action="store_true",
        help="run the CUDA kernels thread by thread on the CPU, with a stand-in for CuPy",
    )
    parser.addoption(
        "--one-in",
        type=positive,
        default=1,
        metavar="N",
        help="run one in N of the cases of each test outside of tests/core, always the same ones",
    )
    parser.addoption(
        "--every",
        action="store_true",
        help="run all cases on the kinds of arrays that by default get one in several",
    )
    parser.addoption(
        "--fuzz-minutes", type=positive, metavar="N", help="run tests/fuzz for N minutes instead of 20 seconds"
    )
    parser.addoption(
        "--fuzz-seed", type=int, default=23, metavar="S", help="choose the cases of tests/fuzz; the default is 23"
    )


def pytest_configure(config):
    if config.getoption("--cuda-on-cpu"):
        assert "cupy" not in sys.modules
        sys.path.insert(0, str(Path(__file__).parent / "support" / "cuda_on_cpu"))
        kinds.CuPyArrays.one_in = 2 * kinds.SHARED  # thread by thread, each case takes long
    missing = [module for module in needs.promised() if find_spec(module) is None]
    if missing:
        raise pytest.UsageError(f"UNPOOL_REQUIRE promises what is not installed: {', '.join(missing)}")
    config.kinds = chosen(config.getoption("--arrays"))
    # PyTorch keeps compiled programs with their backward pass, which would call operators of an earlier schema.
    os.environ["TORCHINDUCTOR_AUTOGRAD_CACHE"] = "0"
    if find_spec("jax"):  # read when JAX is imported, by the processes that tests start, too
        # Processes that run at the same time have folders of their own, because JAX does not write in one step.
        process = [os.environ.get(name, "") for name in ("TOX_ENV_NAME", "PYTEST_XDIST_WORKER")]
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder("-".join(["jax", *filter(None, process)])))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def chosen(names):
    """Return the kinds of arrays by their names; those named have to be installed."""
    if names is None:
        return {name: kind for name, kind in kinds.KINDS.items() if kind.installed()}
    found = {}
    for name in names.split(","):
        try:
            kind = found[name] = kinds.find(name)
        except (ImportError, AttributeError) as error:
            raise pytest.UsageError(
                f"--arrays must name a class that can be imported, got {name!r}: {error}"
            ) from error
        if kind is None:
            known = ", ".join(kinds.KINDS)
            raise pytest.UsageError(f"--arrays must name {known}, or module:Class, got {name!r}")
        if not kind.installed():
            raise pytest.UsageError(f"--arrays names {name}, whose framework is not installed")
    return found


def pytest_report_header(config):
    others = [name for name in kinds.KINDS if name not in config.kinds]
    left_out = f" (not chosen, or not installed: {', '.join(others)})" if others else ""
    return f"arrays: {', '.join(config.kinds)}{left_out}"


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", metafunc.config.kinds, indirect=True, scope="session")


def pytest_collection_modifyitems(config, items):
    """Leave out cases that a kind of arrays cannot have, and of the rest all but one in several where so many run."""
    items_and_kinds = [(item, kind_of(item)) for item in items]
    possible = [(item, kind) for item, kind in items_and_kinds if kind is None or fits(item, kind)]
    runs = thinned([(group_of(item, kind), item.name, one_in(item, kind)) for item, kind in possible])
    kept = [item for (item, _), run in zip(possible, runs, strict=True) if run]
    left_out = set(items).difference(kept)
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = kept
    for item in kept:
        if leaves_format_out(item):
            item.add_marker(pytest.mark.filterwarnings("ignore::unpool.DataFormatWarning"))


def leaves_format_out(item):
    """Return whether a test calls with TensorFlow's tensors, where channels first needs no `data_format` elsewhere."""
    kind = kind_of(item)
    return item.path.is_relative_to(TENSORFLOW) or (kind is not None and issubclass(kind, kinds.TensorFlowArrays))


def kind_of(item):
    """Return the kind of arrays that a case runs on, or None."""
    name = item.callspec.params.get("backend") if hasattr(item, "callspec") else None
    return item.config.kinds.get(name)


def fits(item, kind):
    """Return whether a kind has all that the marks of a test require of it."""
    return all(getattr(kind, mark.args[0]) for mark in item.iter_markers("kinds"))


def group_of(item, kind):
    return item.path, item.function.__qualname__, kind


def one_in(item, kind):
    """Return of how many cases one runs."""
    of_test = prod(mark.args[0] for mark in item.iter_markers("one_in"))
    of_kind = 1 if kind is None else kind.one_in
    by_default = 1 if item.config.getoption("--every") else of_test * of_kind
    return by_default * (1 if item.path.is_relative_to(CORE) else item.config.getoption("--one-in"))


@pytest.fixture(scope="session")
def backend(request):
    return request.config.kinds[request.param]()


@pytest.fixture(scope="module", autouse=True)
def freed():
    """Free TensorFlow's graphs, which are in reference cycles, after each file of tests: they take gigabytes."""
    yield
    gc.collect()
