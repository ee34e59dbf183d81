"""The fixtures that the tests of the stand-in for CuPy share."""

import sys
from importlib import import_module

import pytest
from stand_in import FOLDER, ORDERS


@pytest.fixture(scope="module")
def cupy():
    """Import the stand-in as `cupy`, and restore the real CuPy afterwards."""
    loaded = sys.modules.get("cupy")
    if hasattr(loaded, "cuda_on_cpu"):
        yield loaded
        return
    real = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "cupy"}
    sys.path.insert(0, str(FOLDER))
    try:
        yield import_module("cupy")
    finally:
        sys.path.remove(str(FOLDER))
        for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
            del sys.modules[name]
        sys.modules.update(real)


@pytest.fixture
def knobs(cupy, monkeypatch):
    """Return a function that sets knobs of the stand-in until the test ends."""
    monkeypatch.setattr(cupy.cuda_on_cpu, "seed", 0)

    def turn(**values):
        for name, value in values.items():
            monkeypatch.setattr(cupy.cuda_on_cpu, name, value)

    return turn


@pytest.fixture(params=ORDERS)
def order(request, knobs):
    """Run a test once in each order of threads."""
    knobs(order=request.param)
    return request.param


@pytest.fixture(scope="module")
def function(cupy, request):
    """Return a function that compiles a kernel of the given source, or of the test file's KERNELS."""
    modules = {}

    def function(name, source=None, options=()):
        source = source or request.module.KERNELS
        if (source, options) not in modules:
            modules[source, options] = cupy.RawModule(code=source, options=options)
        return modules[source, options].get_function(name)

    return function
