"""Arrays that change during a call, that are read-only, and that lie in files."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import environment

import unpool
from unpool import findings
from unpool.plan import plan_unpooling
from unpool.testing.compare import assert_same_bits
from unpool.windows import Window

RACES = Path(__file__).parent / "races.py"
linux = pytest.mark.skipif(sys.platform != "linux", reason="pages are guarded by the C library of Linux")


# --- arrays that change -----------------------------------------------------------------------------------------------


@pytest.mark.once
@linux
def test_arrays_that_change_during_calls():
    """A thread writes hostile indices, or other values, while the kernels run: `races.py` has the promises."""
    command = [sys.executable, "-X", "faulthandler", str(RACES), "--seconds", "8"]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout[-300:] + result.stderr
    cases, calls = int(result.stdout.split("\n")[-2].split()[0]), int(result.stdout.split("\n")[-2].split()[5])
    assert 0 < calls < 24 * cases, "no call met an array that had changed, or none passed"


@linux
@pytest.mark.parametrize("at_end", [True, False])
def test_an_access_out_of_range_would_end_the_process(at_end):
    program = f"""
import ctypes, sys
sys.path.insert(0, {str(RACES.parent)!r})
from races import Guarded
guarded = Guarded((5,), "int32", {at_end})
guarded.array[...] = 1
assert guarded.intact()
address = guarded.array.ctypes.data
ctypes.memset(address - 1 if {at_end} else address + 20, 0, 1)
assert not guarded.intact()
print("on the other side", flush=True)
ctypes.string_at(address + 20 if {at_end} else address - 1, 1)
"""
    result = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, check=False)
    assert (result.returncode, result.stdout.split()) == (-signal.SIGSEGV, [b"on", b"the", b"other", b"side"])


@pytest.mark.parametrize("tap", [0, 1, 3, 255])
def test_a_repeated_tap_that_changed_since_it_was_found(tap):
    """The kernel found the tap at position 2.  Now it lies in the padding, or does not exist."""
    taps = np.array([[[200, 200, tap]]], "uint8")
    window = Window(kernel=(2,), stride=(1,), padding=(1,), dilation=(2,))
    plan = plan_unpooling((1, 1, 3), window, (3,), False, True, "input", "output_size", "window")
    error = findings.error(-1, 2, taps, taps, plan, touched=False)
    assert type(error) is ValueError
    assert "indices[0, 0, 2]" in str(error)


# --- read-only arrays, and arrays in files ----------------------------------------------------------------------------


@pytest.fixture
def arrays():
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 66), "float32")
    values, indices = unpool.max_pool2d(x, 3, 2, 1, return_indices=True)
    planes = unpool.max_unpool2d(values, indices, 3, 2, 1, output_size=x.shape)
    return x, values, indices, planes


def assert_same_calls(placed, arrays):
    x, values, indices, planes = placed
    window = {"kernel_size": 3, "stride": 2, "padding": 1}
    for found, expected in zip(unpool.max_pool2d(x, **window, return_indices=True), arrays[1:3], strict=True):
        assert_same_bits(found, expected)
    assert_same_bits(unpool.max_unpool2d(values, indices, **window, output_size=x.shape), arrays[3])
    found = unpool.max_unpool2d_backward(planes, indices, **window)
    assert_same_bits(found, unpool.max_unpool2d_backward(arrays[3], arrays[2], **window))


def test_read_only_inputs(arrays):
    placed = [array.copy() for array in arrays]
    for array in placed:
        array.flags.writeable = False
    assert_same_calls(placed, arrays)
    with pytest.raises(ValueError, match="`out` must be writeable"):
        unpool.max_unpool2d(*arrays[1:3], 3, 2, 1, output_size=arrays[0].shape, out=placed[3])


@linux
def test_inputs_in_pages_that_may_only_be_read(arrays):
    """A kernel that wrote into an input would end the process."""
    program = f"""
import ctypes, mmap, sys
import numpy as np
import unpool
sys.path.insert(0, {str(RACES.parent)!r})
from races import Guarded
rng = np.random.default_rng(0)
for named in ({{}}, {{"index_format": "window"}}, {{"data_format": "channels_last"}}):
    x = rng.standard_normal((2, 30, 31, 32), "float32")
    own, indices = unpool.max_pool2d(x, 3, 2, 1, return_indices=True, **named)
    locked = []
    for array in (x, own, indices):
        guarded = Guarded(array.shape, array.dtype, False)
        guarded.array[...] = array
        address, size = ctypes.c_void_p(guarded.array.ctypes.data), ctypes.c_size_t(array.nbytes)
        assert ctypes.CDLL(None).mprotect(address, size, mmap.PROT_READ) == 0
        locked.append(guarded.array)
    x, own, indices = locked
    unpool.max_pool2d(x, 3, 2, 1, return_indices=True, **named)
    for duplicates in ("last", "sum"):
        unpool.max_unpool2d(own, indices, 3, 2, 1, output_size=x.shape, duplicates=duplicates, **named)
        unpool.max_unpool2d_backward(x, indices, 3, 2, 1, duplicates=duplicates, **named)
print("done")
"""
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, env=environment(), capture_output=True, check=False).stdout == b"done\n"


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_inputs_in_files(arrays, tmp_path, mode):
    placed = []
    for number, array in enumerate(arrays):
        array.tofile(tmp_path / str(number))
        placed.append(np.memmap(tmp_path / str(number), array.dtype, mode, shape=array.shape))
    assert_same_calls(placed, arrays)
    result = unpool.max_pool2d(placed[0], 2)
    assert type(result) is np.ndarray
    for number, array in enumerate(arrays):
        assert (tmp_path / str(number)).read_bytes() == array.tobytes(), "an input was written"


def test_results_in_files(arrays, tmp_path):
    x, values, indices, planes = arrays
    out = np.memmap(tmp_path / "planes", planes.dtype, "w+", shape=planes.shape)
    assert unpool.max_unpool2d(values, indices, 3, 2, 1, output_size=x.shape, out=out) is out
    out.flush()
    assert (tmp_path / "planes").read_bytes() == planes.tobytes()
    frozen = np.memmap(tmp_path / "planes", planes.dtype, "r", shape=planes.shape)
    with pytest.raises(ValueError, match="`out` must be writeable"):
        unpool.max_unpool2d(values, indices, 3, 2, 1, output_size=x.shape, out=frozen)
