"""Results do not depend on the number of threads, on concurrent calls, or on forks."""

import itertools
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import unpool_backends.cpu
from threadpoolctl import threadpool_limits

import unpool

THREADS = (1, 2, 3, 8)
# A build without OpenMP has one thread. CI's compilers have OpenMP, so there such a build fails.
needs_openmp = pytest.mark.skipif(
    unpool_backends.cpu.openmp() == 0 and "CI" not in os.environ,
    reason="unpool_backends.cpu was built without OpenMP: one thread",
)


@pytest.fixture(scope="module", params=["channels_first", "channels_last"])
def work(request):
    """Return calls of every primitive on data large enough for eight threads, by their names."""
    data_format = request.param
    generator = np.random.default_rng(7)

    def normal(shape):
        values = generator.standard_normal(shape, "float32")
        values.flat[:: values.size // 50] = np.nan
        return values

    def laid_out(array):
        return array if data_format == "channels_first" else np.ascontiguousarray(np.moveaxis(array, 1, -1))

    # Many planes, and a single one, which threads share or one thread computes.
    inputs = {"many": laid_out(normal((4, 70, 48, 48))), "one": laid_out(normal((1, 1, 1024, 1024)))}
    # In overlapping windows maxima repeat. Windows apart may take other kernels.
    windows = {"overlapping": {"kernel_size": 3, "stride": 2, "padding": 1}, "apart": {"kernel_size": 2}}
    calls = {}
    for (size, x), (name, window) in itertools.product(inputs.items(), windows.items()):
        window = {**window, "data_format": data_format}
        values, indices = unpool.max_pool2d(x, **window, return_indices=True)
        # Only the first 200 cells, so that each gets values from many windows.
        anywhere = generator.integers(0, 200, indices.shape)
        grads = generator.standard_normal(values.shape, "float32")
        calls |= bind(f"{size}, {name}", x, values, indices, grads, window)
        calls |= bind(f"{size}, {name}, any indices", x, values, anywhere, grads, window)
    return calls


def bind(name, x, values, indices, grads, window):
    shape = {"output_size": x.shape}
    out = np.empty_like(x)
    return {
        f"{name}: pool": lambda: unpool.max_pool2d(x, **window, return_indices=True),
        f"{name}: last": lambda: unpool.max_unpool2d(values, indices, **window, **shape),
        f"{name}: sum": lambda: unpool.max_unpool2d(values, indices, **window, **shape, duplicates="sum"),
        f"{name}: out": lambda: unpool.max_unpool2d(values, indices, **window, **shape, out=out).copy(),
        f"{name}: gradient of pooling": lambda: unpool.max_pool2d_backward(grads, indices, x.shape, **window),
        f"{name}: gradient of last": lambda: unpool.max_unpool2d_backward(x, indices, **window),
        f"{name}: gradient of sum": lambda: unpool.max_unpool2d_backward(x, indices, **window, duplicates="sum"),
        f"{name}: error": worded(lambda: unpool.max_unpool2d(values, indices, **window, **shape, duplicates="error")),
        f"{name}: gradient of error": worded(
            lambda: unpool.max_unpool2d_backward(x, indices, **window, duplicates="error")
        ),
    }


def worded(call):
    """Return a function that returns the result of a call, or the message of its ValueError."""

    def result():
        try:
            return call()
        except ValueError as error:
            return np.array(str(error))

    return result


def bits(result):
    arrays = result if isinstance(result, tuple) else (result,)
    return [(array.shape, array.dtype, array.tobytes()) for array in arrays]


@needs_openmp
def test_any_number_of_threads_gives_the_same_bits(work):
    found = {}
    for threads in THREADS:
        with threadpool_limits(threads, user_api="openmp"):
            assert unpool_backends.cpu.max_threads() == threads, (
                "the limit did not take hold, so nothing would be compared"
            )
            found[threads] = {name: bits(call()) for name, call in work.items()}
    for threads in THREADS[1:]:
        different = [name for name in work if found[threads][name] != found[1][name]]
        assert not different, f"{threads} threads"


@needs_openmp
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("duplicates", ["last", "sum", "error"])
def test_any_number_of_threads_names_the_same_index(threads, duplicates):
    """The error names the first one in row-major order, whichever thread finds it."""
    values, indices = np.ones((8, 16, 32, 32), "float32"), np.zeros((8, 16, 32, 32), "int64")
    indices[...] = np.arange(32 * 32).reshape(32, 32)
    indices[3:, 5, 9:, 7] = -1
    with threadpool_limits(threads, user_api="openmp"), pytest.raises(IndexError, match=r"indices\[3, 5, 9, 7\] = -1 "):
        unpool.max_unpool2d(values, indices, 2, duplicates=duplicates)
    if duplicates == "error":
        repeated = np.where(indices < 0, 3, indices)
        with (
            threadpool_limits(threads, user_api="openmp"),
            pytest.raises(ValueError, match=r"indices\[3, 5, 0, 3\] = indices\[3, 5, 9, 7\] = 3:"),
        ):
            unpool.max_unpool2d(values, repeated, 2, duplicates=duplicates)


def callers():
    """Return a pool of eight threads that call, each with a team of its own: the limit holds for one thread."""
    return ThreadPoolExecutor(8, initializer=threadpool_limits, initargs=(2, "openmp"))


def test_many_callers_on_shared_arrays(work):
    expected = {name: bits(call()) for name, call in work.items() if not name.endswith("out")}
    names = [*expected] * 3
    with callers() as pool:
        results = pool.map(lambda name: bits(work[name]()), names)
        different = {name for name, result in zip(names, results, strict=True) if result != expected[name]}
    assert not different


def test_many_callers_make_their_own_mistakes():
    """An error reaches the call that caused it, and no other."""
    values, plane = np.ones((2, 8, 64, 64), "float32"), np.arange(64 * 64).reshape(64, 64)

    def call(nth):
        indices = np.broadcast_to(plane, values.shape).copy()
        if nth % 2:
            indices.flat[nth] = -nth
        try:
            unpool.max_unpool2d(values, indices, 2)
        except IndexError as error:
            return str(error).partition(" is out")[0]
        return "fine"

    with callers() as pool:
        for nth, text in enumerate(pool.map(call, range(48))):
            assert text == (f"indices[0, 0, 0, {nth}] = -{nth}" if nth % 2 else "fine")


def run(script, **environment):
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_the_first_call_can_be_made_by_many_at_once():
    """The first call loads a backend. Here sixteen threads make it at once, in a new process."""
    script = """
import sys
import threading
import numpy as np
import unpool

x = np.arange(2 * 4 * 64 * 64, dtype="float32").reshape(2, 4, 64, 64)
barrier = threading.Barrier(16)
results = []

def first():
    barrier.wait()
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    restored = unpool.max_unpool2d(values, indices, 2)
    results.append((values.tobytes(), indices.tobytes(), restored.tobytes()))

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=first) for _ in range(16)]
assert "unpool_backends.cpu" not in sys.modules
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(results) == 16, "a thread failed"
assert len(set(results)) == 1
assert results[0][0] == x[:, :, 1::2, 1::2].tobytes()
print("done")
"""
    assert run(script, OMP_NUM_THREADS="2") == ["done"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_works_and_its_parent_goes_on():
    """The child lacks its parent's OpenMP threads, so a parallel region would wait forever."""
    script = """
import os
import signal
import time
import warnings
import numpy as np
import unpool
import unpool_backends.cpu

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of a fork with threads
x = np.random.default_rng(0).standard_normal((8, 32, 96, 96), "float32")

def call():
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    results = (
        values,
        indices,
        unpool.max_unpool2d(values, indices, 2),
        unpool.max_unpool2d(values, indices, 2, duplicates="sum"),
        unpool.max_unpool2d_backward(x, indices, 2),
    )
    return [result.tobytes() for result in results]

expected = call()
before = unpool_backends.cpu.max_threads()
child = os.fork()
if child == 0:
    code = 1
    try:
        same = call() == expected
        code = 0 if same and unpool_backends.cpu.max_threads() == 1 else 2
    finally:
        os._exit(code)
deadline = time.monotonic() + 60
status = None
while time.monotonic() < deadline:
    found, code = os.waitpid(child, os.WNOHANG)
    if found:
        status = os.waitstatus_to_exitcode(code)
        break
    time.sleep(0.02)
else:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
assert status == 0, f"the child ended with {status}; None: it hung"
assert call() == expected
assert unpool_backends.cpu.max_threads() == before
print(before)
"""
    threads = run(script, OMP_NUM_THREADS="4")
    assert threads == ["4" if unpool_backends.cpu.openmp() else "1"]


@pytest.mark.once
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pages are guarded by the C library of Linux")
def test_indices_that_change_during_a_call_read_nothing_else():
    """The result is undefined, but no memory outside the plane is read, and the result holds none of it."""
    script = """
import ctypes
import mmap
import threading
import time
import numpy as np
import unpool

# More cells than the map of winners covers at once, followed by pages without read access.
windows, cells = 2**22, 2**22 + 1
memory = np.frombuffer(mmap.mmap(-1, 256 << 20), np.uint8)
edge = -(-cells * 16 // 4096) * 4096
plane = memory[edge - cells * 16 : edge].view("complex128").reshape(1, cells)
plane[...] = 1
guard = ctypes.c_void_p(memory.ctypes.data + edge), ctypes.c_size_t(memory.size - edge)
assert ctypes.CDLL(None, use_errno=True).mprotect(*guard, 0) == 0

indices = np.zeros((1, windows), "int64")
bad = 2**23 - 1 - np.arange(windows)[None] % 1024
found = set()

def call():
    try:
        found.update(np.unique(unpool.max_unpool1d_backward(plane, indices, 2, 1)).tolist())
    except IndexError:
        pass

for delay in np.linspace(0.001, 0.04, 30):
    indices[...] = 0  # valid, but repeated: they are checked first, and then read again for the winners
    caller = threading.Thread(target=call)
    caller.start()
    time.sleep(delay)
    np.copyto(indices, bad)
    caller.join()
assert found <= {0, 1}, found
print("done")
"""
    assert run(script, OMP_NUM_THREADS="2") == ["done"]


@pytest.mark.once
@needs_openmp
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how many threads a process has")
def test_a_limit_of_one_thread_starts_none():
    """Each thread that calls OpenMP has a team of its own: eight callers would have 64 threads."""
    script = """
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
import numpy as np
from unpool_backends.cpu import BACKEND, CPU
from unpool.plan import plan_pooling, plan_unpooling
from unpool.windows import Window

def threads():
    return int(re.search(r"Threads:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

x = np.random.default_rng(0).standard_normal((4, 16, 128, 128), "float32")
calls = []
for kernel, index_format, dtype in ((2, "plane", "int64"), (2, "window", "uint8"), (3, "plane", "int32")):
    window = Window((kernel, kernel), (2, 2), (0, 0), (1, 1))
    pooling = plan_pooling(x.shape, window, False, False, dtype, index_format)
    values, indices = CPU(threads=1).pool(x, pooling, None)
    for validate in (True, "windows"):
        plan = plan_unpooling(values.shape, window, (128, 128), False, validate, "input", "output_size", index_format)
        calls.append(lambda cpu, plan=pooling: cpu.pool(x, plan, None)[1])
        for mode in ("last", "sum"):
            calls.append(lambda cpu, v=values, i=indices, p=plan, m=mode: cpu.scatter(v, i, p, m, None))
            calls.append(lambda cpu, i=indices, p=plan, m=mode: cpu.gather(x, i, p, m, None))

everyone, before = Barrier(8), threads()

def work(limit):
    everyone.wait()
    return [call(CPU(threads=limit)).tobytes() for call in calls]

with ThreadPoolExecutor(8) as pool:
    results = list(pool.map(work, [1] * 8))
    print(threads() - before)
assert results[1:] == results[:-1]
before = threads()
assert [call(BACKEND).tobytes() for call in calls] == results[0]
print(threads() - before)
"""
    assert run(script, OMP_NUM_THREADS="8") == ["8", "7"]


@needs_openmp
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how many threads a process has")
def test_a_limit_holds_whatever_the_number_of_openmp_is():
    script = """
import re
from pathlib import Path
import numpy as np
from unpool_backends.cpu import CPU
from unpool.plan import plan_pooling
from unpool.windows import Window

def threads():
    return int(re.search(r"Threads:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

x, before = np.ones((8, 64, 128, 128), "float32"), threads()
plan = plan_pooling(x.shape, Window((2, 2), (2, 2), (0, 0), (1, 1)), False, False, None)
for limit in (1, 3):
    CPU(threads=limit).pool(x, plan, None)
    print(threads() - before)
"""
    assert run(script, OMP_NUM_THREADS="8") == run(script, OMP_NUM_THREADS="1") == ["0", "2"]


# --- no more threads or memory --------------------------------------------------------------------------------------


def limited(setup, call, **environment):
    """Run `setup`, limit the address space to 3 MiB more than it uses, and run `call`, in a new process."""
    program = f"""
import re, resource
from pathlib import Path
import numpy as np
import unpool, unpool_backends.cpu
{setup}
size = int(re.search(r"VmSize:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (size + (3 << 20), resource.RLIM_INFINITY))
{call}
"""
    return subprocess.run([sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True)


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much address space a process has")


@needs_openmp
@linux
def test_a_call_goes_without_threads_that_the_system_refuses():
    """OpenMP itself would end the process."""
    setup = """
x = np.random.default_rng(0).permutation(1 << 21).reshape(1, 8, 512, 512)
out = np.zeros((1, 8, 256, 256), "int64")
"""
    call = """
unpool.max_pool2d(x, 2, out=out)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert (out == x.reshape(1, 8, 256, 2, 256, 2).max((3, 5))).all()
assert (unpool.max_pool2d(x, 2) == out).all()
print("done")
"""
    result = limited(setup, call, OMP_NUM_THREADS="8")
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)


@needs_openmp
def test_a_thread_needs_a_stack_of_64k():
    """musl gives 128k. Scratch memory that is larger belongs on the heap."""
    script = """
import numpy as np
import unpool
rng = np.random.default_rng(0)
square = 2, 8, 64, 64
for kernel, stride, size in ((2, 2, square), (3, 2, square), (3, 1, (2, 8, 64, 300)), (15, 4, (2, 8, 90, 90))):
    for data_format in ("channels_first", "channels_last"):
        shape = size if data_format == "channels_first" else (size[0], *size[2:], size[1])
        for dtype in ("uint8", "float16", "float64"):
            x = rng.integers(0, 200, shape).astype(dtype)
            for index_format in ("plane", "window"):
                named = {"data_format": data_format, "index_format": index_format}
                values, indices = unpool.max_pool2d(x, kernel, stride, return_indices=True, **named)
                for duplicates in ("last", "sum") * 5:  # a busy core may leave all work to one thread
                    named["duplicates"] = duplicates
                    unpool.max_unpool2d(values, indices, kernel, stride, output_size=x.shape, **named)
                    unpool.max_unpool2d_backward(x, indices, kernel, stride, **named)
print("done")
"""
    assert run(script, OMP_NUM_THREADS="2", OMP_STACKSIZE="64k") == ["done"]


@linux
def test_memory_that_the_system_refuses_is_an_error_that_says_how_much():
    setup = """
values, indices = np.zeros((1, 1, 3000, 3000), "uint8"), np.arange(9_000_000).reshape(1, 1, 3000, 3000)
planes, taken = np.ones((1, 1, 6001, 6001), "uint8"), []
"""
    call = """
try:
    while True:
        taken.append(np.empty(100_000, "uint8"))
except MemoryError:
    pass
try:
    unpool.max_unpool2d(values, indices, 3, 2, output_size=(6001, 6001), duplicates="error", out=planes)
except MemoryError as error:
    taken.clear()
    print(error)
    assert not hasattr(error, "__notes__") and planes.all(), "nothing was written"
"""
    result = limited(setup, call, OMP_NUM_THREADS="1")
    assert result.stderr == ""
    assert re.fullmatch(
        r"`indices` take 524\d{3} bytes of scratch memory on 1 thread to be checked, and the system has none: free "
        r"some, raise the limit on memory \(ulimit -v\), or use fewer threads \(OMP_NUM_THREADS\)\n",
        result.stdout,
    )
