"""Memory that the system refuses is a MemoryError that leaves `out=` unchanged; many calls do not need more."""

import sys

import numpy as np
import pytest
from processes import printed
from unpool_backends.cpu import taps

import unpool

pytestmark = pytest.mark.once  # the kernels of the wheel are the same
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much address space a process has")

# What the programs below share.  `limit` allows so many MiB more than are mapped now; `None` allows any number.
PRELUDE = """
import re, resource
from contextlib import contextmanager
from pathlib import Path
import numpy as np
import unpool, unpool_backends.cpu

def status(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10

@contextmanager
def limit(more):
    resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + int(more * 2**20), resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def run(program, **variables):
    return printed(PRELUDE + program, **{"OMP_NUM_THREADS": "1"} | variables)


# --- results and copies -----------------------------------------------------------------------------------------------


def test_a_result_that_no_memory_holds_is_a_memory_error():
    """NumPy's error gives the shape and the dtype."""
    values, indices = np.ones((1, 1), "float64"), np.zeros((1, 1), "int64")
    with pytest.raises(MemoryError, match=r"shape \(1, 281474976710656\) and data type float64"):
        unpool.max_unpool1d(values, indices, None, output_size=(1 << 48,))


@linux
def test_a_refused_result_or_copy_leaves_everything_as_it_was():
    """The copies are those of an input in another memory order, and of indices in another dtype."""
    program = """
x = np.arange(1 << 21, dtype="float64").reshape(1, 8, 512, 512)
values, indices = unpool.max_pool2d(x, 2, return_indices=True)
expected = unpool.max_unpool2d(values, indices, 2)
flipped, small = x[..., ::-1], indices.astype("uint32")
out, pooled = np.full(x.shape, 7.0), (np.full(values.shape, 7.0), np.full(values.shape, 7, "uint32"))
calls = {
    "pooled": lambda: unpool.max_pool2d(x, 2, return_indices=True),
    "planes": lambda: unpool.max_unpool2d(values, indices, 2),
    "gradient": lambda: unpool.max_unpool2d_backward(x, indices, 2),
    "order": lambda: unpool.max_pool2d(flipped, 2, out=pooled[0]),
    "dtype": lambda: unpool.max_unpool2d(values, small, 2, out=out),
}
for name, call in calls.items():
    with limit(1):
        try:
            call()
        except MemoryError as error:
            assert "Unable to allocate" in str(error) and not hasattr(error, "__notes__"), error
            print(name)
    assert (out == 7).all() and all((array == 7).all() for array in pooled)
assert (unpool.max_unpool2d(values, indices, 2) == expected).all()
"""
    assert run(program) == ["pooled", "planes", "gradient", "order", "dtype"]


def test_taps_that_cannot_be_converted_leave_a_note(monkeypatch):
    """Taps wider than a byte are converted after the values are written."""

    def refuse(cells, plan):
        raise MemoryError("no room")

    x = np.arange(64.0).reshape(1, 1, 8, 8)
    out = np.zeros((1, 1, 4, 4)), np.zeros((1, 1, 4, 4), "int32")
    arguments = {"return_indices": True, "index_format": "window", "index_dtype": "int32"}
    monkeypatch.setattr(taps, "from_cells", refuse)
    with pytest.raises(MemoryError) as caught:
        unpool.max_pool2d(x, 2, **arguments, out=out)
    assert caught.value.__notes__ == ["`out` may be partly overwritten"]
    assert out[0].all()
    with pytest.raises(MemoryError) as caught:
        unpool.max_pool2d(x, 2, **arguments)
    assert not hasattr(caught.value, "__notes__")


# --- memory that unpool keeps -----------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("number", [4, 40], ids=["small", "large"])
def test_a_refused_result_takes_the_kept_memory(number):
    """Freed results stay mapped.  A limit on address space counts them, so they are unmapped when it is reached."""
    program = f"""
def pooled(channels):
    return unpool.max_pool2d(np.ones((1, channels, 512, 512), "float32"), 2, return_indices=True)

kept, wanted = pooled(60), pooled({number})
unpool.max_unpool2d(*kept, 2)
with limit(1):
    result = unpool.max_unpool2d(*wanted, 2)
assert result.sum() == wanted[0].size
print(unpool.release_memory())
"""
    assert run(program) == ["0"]


@linux
def test_refused_scratch_memory_and_copies_take_the_kept_memory():
    program = """
x = np.ones((1, 60, 512, 512), "float32")
values, indices = unpool.max_pool2d(x, 2, return_indices=True)
flipped, out = values[..., ::-1, :], np.empty_like(x)
calls = {
    "copy": lambda: unpool.max_unpool2d(flipped, indices, 2, out=out),
    "scratch": lambda: unpool.max_unpool2d(values, indices, 3, 2, output_size=x.shape, duplicates="error", out=out),
    "taps": lambda: unpool.max_pool2d(x[:, :8], 2, index_format="window", index_dtype="uint16", return_indices=True),
    "gradient": lambda: unpool.max_unpool2d_backward(x, indices, 2),
}
for name, call in calls.items():
    unpool.max_unpool2d(values, indices, 2)
    taken = []
    with limit(1):
        try:
            while True:
                taken.append(np.empty(100_000, "uint8"))
        except MemoryError:
            pass
        call()
    print(name)
"""
    assert run(program) == ["copy", "scratch", "taps", "gradient"]


@linux
def test_a_large_result_is_mapped_once():
    program = """
values, indices = unpool.max_pool2d(np.ones((1, 40, 512, 512), "float32"), 2, return_indices=True)
with limit(40 + 3):  # the result, and its alignment to large pages
    assert unpool.max_unpool2d(values, indices, 2).sum() == values.size
print("done")
"""
    assert run(program) == ["done"]


# --- threads ----------------------------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("more", [0, 9, 26])
def test_a_team_that_the_address_space_limits_computes(more):
    """A thread's stack takes 8 MiB, so that none, one and three threads start.  libgomp would end the process."""
    program = f"""
x = np.random.default_rng(0).permutation(1 << 21).reshape(1, 8, 512, 512)
out = np.empty((1, 8, 256, 256), "int64")
with limit({more}):
    unpool.max_pool2d(x, 2, out=out)
assert (out == x.reshape(1, 8, 256, 2, 256, 2).max((3, 5))).all()
assert (unpool.max_pool2d(x, 2) == out).all()
print("done")
"""
    assert run(program, OMP_NUM_THREADS="8", OMP_STACKSIZE="8m") == ["done"]


@linux
def test_a_team_that_shrank_does_not_count_on_its_threads():
    """OpenMP ends the threads that a smaller team leaves over."""
    program = """
from threadpoolctl import threadpool_limits
x = np.random.default_rng(0).permutation(1 << 21).reshape(1, 8, 512, 512)
out, expected = np.empty((1, 8, 256, 256), "int64"), x.reshape(1, 8, 256, 2, 256, 2).max((3, 5))
for threads in (8, 2, 8, 1, 8):
    with threadpool_limits(threads, "openmp"):
        unpool.max_pool2d(x, 2, out=out)
    with threadpool_limits(8, "openmp"), limit(3):
        unpool.max_pool2d(x, 2, out=out)
    assert (out == expected).all()
print("done")
"""
    assert run(program) == ["done"]


@linux
def test_a_team_that_the_number_of_processes_limits_computes():
    """RLIMIT_NPROC counts the threads of a user.  It does not hold for root."""
    program = """
import os, threading
x = np.random.default_rng(0).permutation(1 << 21).reshape(1, 8, 512, 512)
if os.getuid() == 0:
    os.setuid(65533)  # a user without processes
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
try:
    threading.Thread(target=print).start()
except RuntimeError:
    print("none")
assert (unpool.max_pool2d(x, 2) == x.reshape(1, 8, 256, 2, 256, 2).max((3, 5))).all()
print("done")
"""
    assert run(program, OMP_NUM_THREADS="8") == ["none", "done"]


# --- many calls -------------------------------------------------------------------------------------------------------


@linux
def test_calls_of_any_size_do_not_add_up():
    """Resident memory after 100,000 calls, on inputs of 3,900 sizes, is that after the first tenth."""
    program = """
rng = np.random.default_rng(0)

def call(turn):
    channels, rows, columns = rng.integers(1, 4), *rng.integers(4, 40, 2)
    x = cells[: channels * rows * columns].reshape(1, channels, rows, columns)
    named = {"index_format": "window"} if turn % 2 else {}
    values, indices = unpool.max_pool2d(x, 2, return_indices=True, **named)
    planes = unpool.max_unpool2d(values, indices, 2, output_size=x.shape, **named)
    unpool.max_unpool2d_backward(planes, indices, 2, **named)
    if turn % 100 == 0:  # errors, and results that are kept
        indices[...] = -1 if turn % 200 else 0
        try:
            unpool.max_unpool2d(values, indices, 2, output_size=x.shape, duplicates="error")
        except (IndexError, TypeError, ValueError):
            pass

cells = rng.random(3 * 40 * 40)
resident = []
for turn in range(CALLS // 3):
    call(turn)
    if turn % (CALLS // 30) == CALLS // 30 - 1:
        resident.append(status("VmRSS"))
print(resident[0], max(resident[1:]) - resident[0])
"""
    first, growth = map(int, run(program.replace("CALLS", "100_000")))
    assert growth < 16 << 20, f"{growth >> 20} MiB more than {first >> 20}"
