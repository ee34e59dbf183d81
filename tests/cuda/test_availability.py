"""If the CUDA backend cannot be used, the error tells the reason and its remedy.

The tests call the CUDA runtime that CuPy ships. Below it, tests/cuda/driver/libcuda.c stands in for the driver. So
they need neither a GPU nor a driver, and a machine that has both gives the same results. Each program runs in a new
process, because the runtime initialises the driver once a process.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from needs import promised, require
from processes import python

from unpool.extras import install_command

NEWER_THAN_ANY = 99000

ASK = """
from unpool_backends.cuda.availability import fault
print(fault())
"""


def said(program, first=None):
    result = python("-c", program, first=first)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


# --- CuPy does not import -------------------------------------------------------------------------------------------

# The routing of a call, which needs no CPU kernels.
ROUTE = """
from unpool import BackendUnavailableError, backends
array = type("ndarray", (), {"__module__": "cupy"})()
try:
    backends.route(["input"], [array])
except BackendUnavailableError as error:
    print(error)
"""


@pytest.fixture
def broken_cupy(tmp_path):
    """Return a function that replaces CuPy by a source and returns the error of a call on its arrays."""

    def install(text):
        (tmp_path / "cupy").mkdir()
        (tmp_path / "cupy" / "__init__.py").write_text(text)
        return said(ROUTE, first=tmp_path)

    return install


def test_no_cupy():
    missing = """
import sys
class Nowhere:
    def find_spec(name, path=None, target=None):
        if name == "cupy":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nowhere)
"""
    assert said(missing + ROUTE) == f"backend 'cuda' needs cupy, which is not installed: {install_command('cuda')}"


def test_a_broken_cupy_is_named_without_its_page_of_advice(broken_cupy):
    text = """
try:
    raise ImportError("libcudart.so.13: cannot open shared object file")
except ImportError as exc:
    raise ImportError(f"\\n====\\nFailed to import CuPy.\\n\\nOriginal error:\\n  {exc}\\n====\\n") from exc
"""
    assert broken_cupy(text) == (
        "backend 'cuda' does not load: ImportError: libcudart.so.13: cannot open shared object file. Reinstall the "
        "package that this error names"
    )


def test_a_cache_folder_that_cannot_be_made(broken_cupy):
    said = broken_cupy("import os; os.makedirs(os.path.join(__file__, '.cupy'))")
    assert said.startswith("backend 'cuda' does not load: ")
    assert ".cupy'. " in said
    assert said.endswith("Set CUPY_CACHE_DIR to a folder that can be written")


def test_an_error_of_the_system_that_names_no_file(broken_cupy):
    said = broken_cupy("raise OSError('libnccl.so: cannot open shared object file')")
    assert said.endswith(
        "OSError: libnccl.so: cannot open shared object file. Reinstall the package that this error names"
    )


# --- CuPy imports ---------------------------------------------------------------------------------------------------


@pytest.fixture
def runtime(request):
    """Return the runtime that CuPy ships. Tests call only its version function, which does not start CUDA."""
    if request.config.getoption("--cuda-on-cpu"):
        pytest.skip("the stand-in for CuPy has no runtime of CUDA's to ask")
    return require("cupy", "the answers of CUDA's runtime need the one that CuPy ships").cuda.runtime


@pytest.fixture
def nvrtc(runtime):
    nvrtc = require("cupy", "it loads NVRTC").cuda.nvrtc
    try:
        nvrtc.getVersion()
    except Exception:
        if "cupy" in promised():
            raise
        pytest.skip("NVRTC is not installed: nothing is well without it")


class Driver:
    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.starts = folder / "starts"
        self.setenv = monkeypatch.setenv
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setenv("LD_LIBRARY_PATH", os.pathsep.join([str(folder), os.environ.get("LD_LIBRARY_PATH", "")]))
        monkeypatch.setenv("DRIVER_STARTS", str(self.starts))
        self.answers()

    def answers(self, version=NEWER_THAN_ANY, status=0):
        self.setenv("DRIVER_VERSION", str(version))
        self.setenv("DRIVER_STATUS", str(status))

    def started(self):
        return len(self.starts.read_text().splitlines()) if self.starts.exists() else 0


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    if sys.platform != "linux":
        pytest.skip("the stand-in takes the driver's place as Linux finds libraries")
    if shutil.which("cc") is None and "cupy" not in promised():
        pytest.skip("there is no C compiler, cc, to make the stand-in with")
    made = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    source = Path(__file__).parent / "driver" / "libcuda.c"
    subprocess.run(["cc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", made, source], check=True)
    return made


@pytest.fixture
def driver(runtime, library, tmp_path, monkeypatch):
    """Put the stand-in first on the search path of libraries, and return its controls."""
    shutil.copy(library, tmp_path)
    return Driver(tmp_path, monkeypatch)


def test_no_driver(driver, runtime):
    (driver.folder / "libcuda.so.1").write_bytes(b"")  # so that the loader does not find a real driver
    assert said(ASK) == (
        f"backend 'cuda' needs an NVIDIA driver, found none: install one for CUDA "
        f"{runtime.runtimeGetVersion() // 1000}; in a container, pass the GPUs to it, as `docker run --gpus all` does"
    )


def test_a_driver_that_is_too_old(driver, runtime):
    major, rest = divmod(runtime.runtimeGetVersion(), 1000)
    driver.answers(version=(major - 1) * 1000 + 80)
    assert said(ASK) == (
        f"backend 'cuda' needs a newer NVIDIA driver, found one for CUDA {major - 1}.8 where CuPy is built for "
        f'{major}.{rest // 10}: update it, or pip install "cupy-cuda{major - 1}x[ctk]" in place of this CuPy'
    )


def test_no_device(driver):
    driver.answers(status=100)
    assert said(ASK) == (
        "backend 'cuda' needs a CUDA device, found none: see that nvidia-smi lists one, and start Python anew"
    )


@pytest.mark.parametrize("visible", ["", "-1", "7"])
def test_no_device_is_visible(driver, monkeypatch, visible):
    driver.answers(status=100)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert said(ASK) == (
        f"backend 'cuda' needs a CUDA device, found none with CUDA_VISIBLE_DEVICES='{visible}': unset it, or name what "
        f"nvidia-smi lists, and start Python anew"
    )


def test_cuda_was_used_before_a_fork(driver):
    program = """
import ctypes, os, sys
from unpool_backends.cuda.availability import fault
assert ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
if os.fork() == 0:
    print(fault())
    sys.exit()
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
"""
    assert said(program) == (
        "backend 'cuda' does not work in a process that was forked after CUDA had been used "
        "(cudaErrorInitializationError: initialization error): start it by the method 'spawn' or 'forkserver', for "
        "example with multiprocessing.get_context('spawn')"
    )


@pytest.mark.parametrize(
    ("status", "text"), [(999, "cudaErrorUnknown: unknown error"), (803, "cudaErrorSystemDriverMismatch: system has ")]
)
def test_another_error_is_quoted(driver, status, text):
    driver.answers(status=status)
    words = said(ASK)
    assert words.startswith(f"backend 'cuda' needs CUDA to start, found {text}")
    assert words.endswith(": run nvidia-smi for the reason, then start Python anew")


# The runtime checks that the driver is NVIDIA's own before it counts devices, so the tests below fake the count.
A_DEVICE = """
from cupy.cuda import runtime
runtime.getDeviceCount = lambda: 1
"""


def test_no_nvrtc(driver, runtime):
    """CuPy loads NVRTC by `pathfinder`, which fails here."""
    program = """
from cuda import pathfinder
def find(name):
    raise pathfinder.DynamicLibNotFoundError(name)
pathfinder.load_nvidia_dynamic_lib = find
"""
    assert said(A_DEVICE + program + ASK) == (
        f"backend 'cuda' needs NVRTC to compile its kernels, found none that loads: pip install "
        f'"cupy-cuda{runtime.runtimeGetVersion() // 1000}x[ctk]"'
    )


def test_all_is_well(driver, nvrtc):
    assert said(A_DEVICE + ASK) == "None"


def test_it_is_asked_anew(driver, nvrtc):
    """Neither a good nor a bad answer is cached."""
    program = """
from cupy.cuda import runtime
from unpool_backends.cuda.availability import fault
real = runtime.getDeviceCount
for count in (real, lambda: 1, real):
    runtime.getDeviceCount = count
    print(fault() is None)
"""
    driver.answers(status=100)
    assert said(program).split() == ["False", "True", "False"]


def test_importing_starts_nothing_and_asking_does(driver):
    driver.answers(status=100)
    said("import unpool_backends.cuda, unpool_backends.cuda.availability")
    assert driver.started() == 0
    said(ASK)
    assert driver.started() == 1


def test_a_home_that_cannot_be_written_and_the_remedy(driver, monkeypatch):
    monkeypatch.setenv("HOME", os.devnull)
    monkeypatch.delenv("CUPY_CACHE_DIR", raising=False)
    assert said(ROUTE) == (
        "backend 'cuda' does not load: NotADirectoryError: [Errno 20] Not a directory: '/dev/null/.cupy'. Set "
        "CUPY_CACHE_DIR to a folder that can be written"
    )
    monkeypatch.setenv("CUPY_CACHE_DIR", str(driver.folder))
    assert said(ROUTE) == ""
