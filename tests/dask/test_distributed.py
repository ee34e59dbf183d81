"""Dask's workers: results, errors and killed workers on a cluster; the memory and the threads of a worker."""

import os
import re
import signal
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from needs import require
from processes import python

import unpool
from unpool import registry
from unpool.testing.compare import assert_same_bits

dask = require("dask", "it computes the arrays")
distributed = require("distributed", "its workers compute the arrays")

import cloudpickle  # noqa: E402
import dask.array as da  # noqa: E402

# Workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

# A round trip where windows overlap, so that a block reads cells and windows of its neighbours.
WINDOW = {"kernel_size": 3, "stride": 2, "padding": 1}
CHUNKS = (1, 2, (9, 20, 8), (16, 1, 24))


@contextmanager
def clustered(**options):
    """Start workers, in processes of their own, and use them for all computations until the end."""
    # Their log of a worker that is killed or paused is what these tests expect.
    cluster = distributed.LocalCluster(dashboard_address=":0", silence_logs="CRITICAL", **options)
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def client():
    with clustered(n_workers=2, threads_per_worker=2, memory_limit=0) as client:
        yield client


def picture():
    return np.random.default_rng(3).standard_normal((2, 3, 37, 41), "float32")


def round_trip(x, **options):
    values, indices = unpool.max_pool2d(x, **WINDOW, return_indices=True, **options)
    return values, indices, unpool.max_unpool2d(values, indices, **WINDOW, output_size=x.shape, **options)


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index_format", ["plane", "window"])
def test_results_of_workers_are_numpys(client, index_format):
    lazy = round_trip(da.from_array(picture(), CHUNKS), index_format=index_format)
    for actual, expected in zip(dask.compute(*lazy), round_trip(picture(), index_format=index_format), strict=True):
        assert_same_bits(actual, expected)


# The workers of the other tests are there.
@pytest.mark.filterwarnings("ignore:Running on a single-machine scheduler:UserWarning")
def test_results_of_processes_are_numpys():
    lazy = round_trip(da.from_array(picture(), CHUNKS))
    computed = dask.compute(*lazy, scheduler="processes", num_workers=2)
    for actual, expected in zip(computed, round_trip(picture()), strict=True):
        assert_same_bits(actual, expected)


def test_a_killed_worker_leaves_the_stores_whole(client, tmp_path):
    require("zarr", "results are written to its arrays")
    workers = client.run(os.getpid)
    folder = tmp_path / "blocks"
    folder.mkdir()

    def read(block, block_id):
        (folder / f"{block_id} {os.getpid()}").touch()
        if block_id == (1, 0, 1, 1) and not (folder / "killed").exists():
            (folder / "killed").write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return block

    x = da.from_array(picture(), CHUNKS).map_blocks(read, dtype="float32")
    results = dict(zip(("values", "indices", "restored"), round_trip(x), strict=True))
    # Chunks of Zarr are equal along an axis.
    regular = {name: result.rechunk((1, 2, 16, 16)) for name, result in results.items()}
    dask.compute(*[array.to_zarr(str(tmp_path / name), compute=False) for name, array in regular.items()])
    assert int((folder / "killed").read_text()) in workers.values()
    for name, expected in zip(results, round_trip(picture()), strict=True):
        assert_same_bits(da.from_zarr(str(tmp_path / name)).compute(), expected)


# --- errors -----------------------------------------------------------------------------------------------------------


def told(call, error):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    return str(caught.value)


@pytest.mark.parametrize("value", [-5, 2**32 + 3, 37 * 41], ids=["negative", "past 32 bits", "past the plane"])
def test_a_bad_index_is_numpys_error(client, value):
    values, indices, _ = round_trip(picture())
    indices[1, 2, 11, 17] = value
    size = {"output_size": (37, 41)}
    expected = told(lambda: unpool.max_unpool2d(values, indices, **WINDOW, **size), IndexError)
    lazy = [da.from_array(array, (1, 2, 7, 9)) for array in (values, indices)]
    assert told(unpool.max_unpool2d(*lazy, **WINDOW, **size).compute, IndexError) == expected


def test_a_repeated_index_is_numpys_error(client):
    """Two windows in different chunks have one maximum."""
    x = np.zeros((1, 1, 16, 16), "float32")
    x[0, 0, 2, 7] = 1
    values, indices = unpool.max_pool2d(x, **WINDOW, return_indices=True)
    options = {**WINDOW, "output_size": (16, 16), "duplicates": "error"}
    expected = told(lambda: unpool.max_unpool2d(values, indices, **options), ValueError)
    lazy = [da.from_array(array, (1, 1, 8, 4)) for array in (values, indices)]
    assert told(unpool.max_unpool2d(*lazy, **options).compute, ValueError) == expected


def test_a_backend_that_a_worker_lacks_is_its_own_error(client):
    def without_cupy():
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, "cupy", None)
            return registry.load("cuda")

    expected = told(without_cupy, unpool.BackendUnavailableError)
    assert told(client.submit(without_cupy).result, unpool.BackendUnavailableError) == expected


# --- memory -----------------------------------------------------------------------------------------------------------
#
# A worker pauses at 80 % of its limit, and counts the pages of freed results that unpool keeps.  Its imports take about
# 120 MiB of 415.  If four planes of 64 MiB are kept, it pauses and never resumes.

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is kept, and measured, on Linux alone")
PLANES, SIDE, KERNEL = 24, 4096, 8
unpooled = partial(unpool.max_unpool2d, kernel_size=KERNEL, index_format="window")


@contextmanager
def limited(**options):
    """Start a worker that pauses where the planes of its four threads are kept, and is not restarted for it."""
    options |= {"n_workers": 1, "threads_per_worker": 4, "memory_limit": 415 << 20}
    with dask.config.set({"distributed.worker.memory.terminate": False}), clustered(**options) as client:
        yield client


def largest(client, unpooled):
    """Unpool planes of the numbers from 1 on; return the largest value of each."""
    small = {"shape": (PLANES, 1, SIDE // KERNEL, SIDE // KERNEL), "chunks": (1, 1, -1, -1)}
    numbers = da.arange(1, PLANES + 1, chunks=1, dtype="float32")[:, None, None, None]
    planes = unpooled(da.broadcast_to(numbers, **small), da.zeros(**small, dtype="uint8"))
    assert planes.shape == (PLANES, 1, SIDE, SIDE)
    assert planes.chunksize == (1, 1, SIDE, SIDE)
    return client.compute(planes.max((1, 2, 3))).result(timeout=60).tolist()


def lazily_freed():
    """Return the KiB of this process that the system may take, but counts as resident until it does."""
    return int(re.search(r"LazyFree:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text())[1])


@linux
def test_a_worker_keeps_no_memory_of_results():
    with limited() as client:
        assert largest(client, unpooled) == list(range(1, PLANES + 1))
        assert list(client.run(lazily_freed).values()) == [0]


@linux
def test_tasks_of_users_keep_no_memory_if_a_preload_says_so():
    """A preload also runs in a worker that is started again."""

    def mapped(values, indices):
        chunks = (values.chunks[0], 1, SIDE, SIDE)
        return da.map_blocks(unpooled, values, indices, chunks=chunks, dtype="float32")

    with limited(preload="import unpool; unpool.keep_memory(False)") as client:
        assert largest(client, mapped) == list(range(1, PLANES + 1))
        assert list(client.run(lazily_freed).values()) == [0]


# --- threads ----------------------------------------------------------------------------------------------------------

THREADS = """
import os
os.environ["OMP_NUM_THREADS"] = "8"
import dask.array as da, numpy as np, unpool

def threads():
    return len(os.listdir("/proc/self/task"))

x = np.zeros((16, 8, 128, 128), "float32")
chunks = (1, 8, 128, 128)
da.zeros(8, chunks=1).compute(num_workers=8)
before = threads()
values, indices = unpool.max_pool2d(da.from_array(x, chunks), 2, return_indices=True)
unpool.max_unpool2d(values, indices, 2).compute(num_workers=8)
after = threads()
unpool.max_pool2d(x, 2)
print(before, after, threads())
"""


@linux
def test_a_block_is_computed_by_one_thread():
    """Eight threads of Dask with eight of OpenMP each would be 64. A call in the main thread has its eight."""
    result = python("-c", THREADS)
    assert result.returncode == 0, result.stderr
    before, after, last = map(int, result.stdout.split())
    assert after - before <= 12
    assert last - after == 7
