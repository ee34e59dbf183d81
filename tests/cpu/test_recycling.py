"""Large results reuse freed memory, and behave like any other NumPy array."""

import os
import re
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import unpool_backends.cpu
from unpool_backends.cpu import CPU, _memory

import unpool
from unpool.plan import plan_pooling, plan_unpooling
from unpool.windows import Window

pytestmark = pytest.mark.skipif(not _memory.recycles(), reason="only Linux takes memory back later (MADV_FREE)")
SHAPE = (33 << 20,)


@pytest.fixture(autouse=True)
def nothing_kept():
    unpool_backends.cpu.release_memory()
    yield
    unpool_backends.cpu.release_memory()


def large(dtype="uint8", shape=SHAPE):
    return _memory.empty(shape, np.dtype(dtype))


def is_mapped(address):
    """Return True if an address is mapped in this process."""
    ranges = re.findall(r"^([0-9a-f]+)-([0-9a-f]+)", Path("/proc/self/maps").read_text(), re.MULTILINE)
    return any(int(start, 16) <= address < int(stop, 16) for start, stop in ranges)


def test_memory_is_fresh_and_zero_once_and_used_again_then():
    first, used = large()
    assert not used
    assert not first.any()
    first.fill(7)
    second, used = large()
    assert not used, "the first is alive"
    assert not np.shares_memory(first, second)
    assert not second.any()
    where = first.ctypes.data
    del first
    third, used = large()
    assert used
    assert third.ctypes.data == where


def test_a_view_keeps_it():
    array, _ = large()
    view = array[5:9].view("int32")
    view[...] = 12345
    del array
    other, used = large()
    assert not used
    other.fill(1)
    assert view.tolist() == [12345]


def test_results_own_their_data():
    """Like NumPy's, a result is no view, and getsizeof and tracemalloc count it."""
    values, indices = unpool.max_pool2d(np.ones((16, 1024, 1024), "float32"), 2, return_indices=True)
    for _ in range(2):
        tracemalloc.start()
        result = unpool.max_unpool2d(values, indices, 2)
        traced, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert result.base is None
        assert result.flags.owndata
        assert result.flags.writeable
        assert result.flags.c_contiguous
        assert traced >= result.nbytes
        assert sys.getsizeof(result) >= result.nbytes
        assert result[:, ::2, ::2].all()
        assert result.sum() == values.size
        del result


@pytest.mark.parametrize("size", [100, (33 << 20) - 1, (33 << 20) + 1, 34 << 20, 70 << 20])
def test_it_can_be_resized(size):
    array, _ = large()
    array[:50] = np.arange(50)
    array[-1] = 9
    array.resize(size, refcheck=False)
    assert array[:50].tolist() == list(range(50))
    assert size < SHAPE[0] or array[SHAPE[0] - 1] == 9
    assert not array[SHAPE[0] :].any()  # NumPy zeroes the new part
    array.fill(3)
    del array
    assert large()[0] is not None


def test_only_our_results_come_from_there():
    core = np._core if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else np.core  # NumPy 1.26 has an empty `_core`
    name = core.multiarray.get_handler_name
    plain = name(np.empty(3))
    array, _ = large()
    assert name(array) == "unpool"
    assert name(np.empty(SHAPE, "uint8")) == plain
    with pytest.raises(MemoryError):
        _memory.empty((1 << 60,), np.dtype("uint8"))
    with pytest.raises(ValueError, match="negative"):
        _memory.empty((-1,), np.dtype("uint8"))
    assert name(np.empty(3)) == plain
    assert name(array.copy()) == plain
    small = unpool.max_unpool1d(np.ones((1, 1)), np.zeros((1, 1), "int64"), 2)
    assert name(small) == plain


def test_a_finalizer_that_allocates_meanwhile_does_not_make_it_pass_for_fresh():
    """The garbage collector runs at each allocation of a call in turn, in a new process, where it is fast."""
    program = """
import gc
import numpy as np
import unpool

class Finalizer:
    def __init__(self):
        self.cycle = self  # so that only the garbage collector frees it

    def __del__(self):
        np.empty(10)  # uses the allocator that is set in this thread

SIZE = 33 << 20
pooled, indices = np.ones((1, 1, 1024), "uint8"), np.arange(0, SIZE, SIZE // 1024).reshape(1, 1, 1024)
for offset in range(1, 60):
    gc.disable()
    dirty = unpool.max_unpool1d(pooled, indices, SIZE // 1024)
    dirty.fill(7)
    del dirty
    gc.collect()
    Finalizer()
    gc.set_threshold(gc.get_count()[0] + offset, 1000, 1000)
    gc.enable()
    result = unpool.max_unpool1d(pooled, indices, SIZE // 1024)
    assert np.count_nonzero(result) == 1024, f"after {offset} allocations"
    del result
"""
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ)


def test_arrays_of_another_handler_are_not_asked(monkeypatch):
    """Memory of another allocator has no header that unpool could read."""
    dirty = np.ones(SHAPE, "uint8")
    monkeypatch.setattr(np, "empty", lambda shape, dtype: dirty)
    array, used = large()
    assert array is dirty
    assert used


def test_keeping_can_be_turned_off_in_one_call():
    first, _ = large()
    second, _ = large()
    addresses = [array.ctypes.data for array in (first, second)]
    first.fill(7)
    del first
    assert is_mapped(addresses[0])
    try:
        unpool.keep_memory(False)  # frees the kept memory, and keeps none from now on
        assert not is_mapped(addresses[0])
        del second
        assert not is_mapped(addresses[1])
        third, used = large()
        assert not used
        assert not third.any()
        address = third.ctypes.data
        del third
        assert not is_mapped(address)
    finally:
        unpool.keep_memory(True)
    array, _ = large()
    del array
    assert large()[1]
    unpool.release_memory()
    assert not large()[1]


@pytest.mark.parametrize("alignment", [1, 64])
def test_a_backend_that_does_not_recycle_neither_takes_nor_keeps_memory(alignment):
    """A worker that is paused for its resident memory would never free what was kept, since no task runs."""
    cpu = CPU(alignment, recycle=False)
    x = np.ones((1, 16, 2048, 1024), "float32")
    window = Window((2, 2), (2, 2), (0, 0), (1, 1))
    pooling = plan_pooling(x.shape, window, False, False, "int64")
    values, indices = cpu.pool(x, pooling, None)
    plan = plan_unpooling(values.shape, window, (2048, 1024), False)
    expected = np.zeros_like(x)
    expected[:, :, ::2, ::2] = 1
    for duplicates in ("last", "sum", "error"):
        dirty = _memory.empty(x.shape, x.dtype)[0]
        dirty.fill(7)
        del dirty  # kept, and of the size of the result
        planes = cpu.scatter(values, indices, plan, duplicates, None)
        assert np.array_equal(planes, expected)
        assert np.array_equal(cpu.gather(planes, indices, plan, duplicates, None), values)
        assert unpool.release_memory() >= x.nbytes, "the result took the dirty block"
        del planes
        assert unpool.release_memory() == 0, "the result was kept"
    values, indices = cpu.pool(x, pooling, None)
    assert values.all()
    del values, indices
    assert unpool.release_memory() == 0


def test_what_is_kept_is_bounded():
    """At most four blocks are kept, and no very large one."""
    arrays = [large()[0] for _ in range(9)]
    arrays.append(large(shape=(300 << 20,))[0])
    addresses = [array.ctypes.data for array in arrays]
    del arrays
    assert sum(map(is_mapped, addresses)) == 4
    assert not is_mapped(addresses[-1])
    unpool_backends.cpu.release_memory()
    assert not any(map(is_mapped, addresses))


def test_the_system_may_have_it_back():
    """When a result is freed, the system may take its pages (MADV_FREE)."""
    array, _ = large()
    array.fill(1)
    del array
    kept = sum(int(size) for size in re.findall(r"LazyFree:\s+(\d+) kB", Path("/proc/self/smaps").read_text()))
    assert kept << 10 > 0.9 * SHAPE[0]


def test_much_larger_memory_is_not_spent_on_less():
    array, _ = large(shape=(80 << 20,))
    del array
    assert not large()[1]


def test_many_threads_never_share_it():
    def work(number):
        for turn in range(20):
            array, used = large()
            if not used:
                assert not array[:: 1 << 16].any()
            array[:: 1 << 12] = number
            other, _ = large(shape=(34 << 20,))
            other[:: 1 << 12] = number + 100
            assert (array[:: 1 << 12] == number).all(), turn
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))


def test_a_forked_child_has_its_own():
    program = """
import os
import numpy as np
from unpool_backends.cpu import _memory
kept, _ = _memory.empty((33 << 20,), np.dtype("uint8"))
kept.fill(1)
gone, _ = _memory.empty((33 << 20,), np.dtype("uint8"))
del gone
child = os.fork()
mine, used = _memory.empty((33 << 20,), np.dtype("uint8"))
mine.fill(2 if child else 3)
assert used and (kept == 1).all()
if not child:
    os._exit(0 if (mine == 3).all() else 1)
assert os.waitpid(child, 0)[1] == 0
assert (mine == 2).all()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, env=os.environ)
