"""Every public name of the stand-in for CuPy is one of CuPy's, with the same parameters."""

import inspect
import json
import operator
import os
import subprocess
import sys
from pathlib import Path

import pytest
from needs import promised
from stand_in import FOLDER, require_compiler

require_compiler()

KERNEL = 'extern "C" __global__ void nothing() {}'


def names(cupy):
    """Yield each public name; with it the names of its parameters for a function of the package, else None."""
    array = cupy.zeros(1)
    samples = {
        "flags": array.flags,
        "cuda.MemoryPointer": array.data,
        "cuda.Memory": array.data.mem,
        "cuda.Device": cupy.cuda.Device(),
        "cuda.Stream.null": cupy.cuda.Stream.null,
        "RawKernel": cupy.RawModule(code=KERNEL).get_function("nothing"),
    }
    for name, sample in samples.items():
        yield from ((f"{name}.{attribute}", None) for attribute in vars(sample) if attribute[0] != "_")
    for module in ("", "cuda.", "cuda.compiler.", "cuda.driver.", "cuda.memory.", "cuda.nvrtc.", "cuda.runtime."):
        for name, value in vars(operator.attrgetter(module[:-1])(cupy) if module else cupy).items():
            if name[0] == "_" or (inspect.ismodule(value) and not value.__name__.startswith("cupy.cuda.")):
                continue
            yield module + name, list(inspect.signature(value).parameters) if inspect.isfunction(value) else None
            if inspect.isclass(value) and value.__module__.startswith("cupy"):
                yield from ((f"{module}{name}.{part}", None) for part in vars(value) if part[0] != "_")


REAL = """
import inspect, json, operator, sys

import cupy
from cupy._core.flags import Flags as flags

assert not hasattr(cupy, "cuda_on_cpu")
for name, parameters in json.load(sys.stdin):
    try:
        real = operator.attrgetter(name.removeprefix("flags."))(flags if name.startswith("flags.") else cupy)
    except AttributeError:
        print("CuPy has no", name)
        continue
    try:
        known = [*inspect.signature(real).parameters] if parameters is not None else None
    except ValueError:
        continue
    if parameters != known:
        print(name, "has", known, "and not", parameters)
"""


def test_all_public_names_are_cupys(cupy, request):
    public = [(name, parameters) for name, parameters in names(cupy) if name.partition(".")[0] != "cuda_on_cpu"]
    assert len(public) > 100
    elsewhere = [entry for entry in sys.path if entry and Path(entry).resolve() != FOLDER.resolve()]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(elsewhere)}
    finished = subprocess.run(
        [sys.executable, "-c", REAL], input=json.dumps(public), env=environment, capture_output=True, text=True
    )
    if "No module named 'cupy'" in finished.stderr:
        assert request.config.getoption("--cuda-on-cpu") or "cupy" not in promised(), "UNPOOL_REQUIRE promises cupy"
        pytest.skip("cupy is not installed: its names cannot be compared")
    assert (finished.stdout, finished.returncode) == ("", 0), finished.stderr
