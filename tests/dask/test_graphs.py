"""Calls build small graphs and compute nothing; each block is pooled once, and results have regular chunks."""

import os
import subprocess
import sys

import numpy as np
import pytest
from needs import require
from processes import environment

import unpool
from unpool.testing.cases import whole

dask = require("dask", "the tests of Dask arrays need it")

import dask.array as da  # noqa: E402
from chunked import computed  # noqa: E402
from unpool_backends.cpu import CPU  # noqa: E402

SHAPE = (2, 3, 32, 24)
NEWER = tuple(map(int, dask.__version__.split(".")[:2])) >= (2024, 12)  # `overlap` has been fused since


def source(chunks=(1, 3, 8, 8), shape=SHAPE):
    return da.from_array(whole("float32", shape), chunks)


def refuse(block):
    raise AssertionError("a block was read")


def calls(x, window):
    """Return the results of all functions on an array."""
    values, indices = unpool.max_pool2d(x, **window, return_indices=True)
    found = [values, indices, unpool.max_pool2d(x, **window)]
    for duplicates in ("last", "sum", "error"):
        named = window | {"duplicates": duplicates}
        planes = unpool.max_unpool2d(values, indices, output_size=x.shape, **named)
        found += [planes, unpool.max_unpool2d_backward(planes, indices, **named)]
    found.append(unpool.max_pool2d_backward(values, indices, x.shape, **window))
    found.append(unpool.convert_indices(indices, "plane", "onnx", output_size=x.shape))
    return found


WINDOWS = {"apart": {"kernel_size": 2}, "overlap": {"kernel_size": 3, "stride": 2, "padding": 1}}
every_window = pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)


@every_window
def test_nothing_is_computed_before_the_user_asks(window):
    x = source().map_blocks(refuse, meta=np.empty((0,) * 4, "float32"))
    for lazy in calls(x, window):
        assert type(lazy) is da.Array
        with pytest.raises(AssertionError, match="a block was read"):
            lazy.compute(scheduler="sync")


@every_window
def test_a_block_is_pooled_once(window, monkeypatch):
    pooled = []

    def counting(self, input, plan, out):
        pooled.append(input.shape)
        return pool(self, input, plan, out)

    pool = CPU.pool
    monkeypatch.setattr(CPU, "pool", counting)
    x = source()
    values, indices = unpool.max_pool2d(x, **window, return_indices=True)
    back = [unpool.max_unpool2d(given, indices, output_size=x.shape, **window) for given in (values, values * 2 + 1)]
    dask.compute(values, indices, *back, values.sum(), indices.sum(), scheduler="sync")
    assert len(pooled) == x.npartitions


# --- names ------------------------------------------------------------------------------------------------------------

CALLS = {
    "values": lambda x, v, i: unpool.max_pool2d(x, 2),
    "stride": lambda x, v, i: unpool.max_pool2d(x, 2, 3),
    "padding": lambda x, v, i: unpool.max_pool2d(x, 2, 2, 1),
    "dilation": lambda x, v, i: unpool.max_pool2d(x, 2, 2, 0, 2),
    "ceil_mode": lambda x, v, i: unpool.max_pool2d(x, 2, 5, ceil_mode=True),
    "values of both": lambda x, v, i: unpool.max_pool2d(x, 2, return_indices=True)[0],
    "indices": lambda x, v, i: unpool.max_pool2d(x, 2, return_indices=True)[1],
    "int32": lambda x, v, i: unpool.max_pool2d(x, 2, return_indices=True, index_dtype="int32")[1],
    "taps": lambda x, v, i: unpool.max_pool2d(x, 2, return_indices=True, index_format="window")[1],
    "channels_last": lambda x, v, i: unpool.max_pool2d(x, 2, data_format="channels_last"),
    "unpooling": lambda x, v, i: unpool.max_unpool2d(v, i, 2),
    "a size": lambda x, v, i: unpool.max_unpool2d(v, i, 2, output_size=(33, 24)),
    "sum": lambda x, v, i: unpool.max_unpool2d(v, i, 2, duplicates="sum"),
    "error": lambda x, v, i: unpool.max_unpool2d(v, i, 2, duplicates="error"),
    "validate": lambda x, v, i: unpool.max_unpool2d(v, i, 2, validate="windows"),
    "other values": lambda x, v, i: unpool.max_unpool2d(v + 1, i, 2),
    "gradient of unpooling": lambda x, v, i: unpool.max_unpool2d_backward(x, i, 2),
    "gradient of pooling": lambda x, v, i: unpool.max_pool2d_backward(v, i, SHAPE, 2),
    "conversion": lambda x, v, i: unpool.convert_indices(i, "plane", "onnx", output_size=SHAPE),
    "another conversion": lambda x, v, i: unpool.convert_indices(i, "plane", "tensorflow", output_size=SHAPE),
    "other chunks": lambda x, v, i: unpool.max_pool2d(x.rechunk((1, 3, 16, 8)), 2),
}


def names():
    """Return the names of the results of all calls."""
    x = source()
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    return [call(x, values, indices).name for call in CALLS.values()]


@pytest.mark.filterwarnings("ignore::unpool.DataFormatWarning")
def test_equal_calls_have_equal_names_and_others_have_not():
    found = names()
    assert names() == found
    assert len(set(found)) == len(CALLS)


def test_names_are_equal_in_every_process():
    program = f"""
import sys, warnings
warnings.simplefilter("ignore")
sys.path[:0] = {[os.path.dirname(__file__)]}
from test_graphs import names
print(*names())
"""
    found = []
    for seed in ("1", "2"):
        result = subprocess.run(
            [sys.executable, "-c", program],
            env=environment() | {"PYTHONHASHSEED": seed},
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )
        assert result.returncode == 0, result.stderr
        found.append(result.stdout.split())
    assert found[0] == found[1] == names()


# --- tasks ------------------------------------------------------------------------------------------------------------


def tasks(lazy):
    """Return the number of tasks a chunk after Dask's optimisation; those of the source are fused."""
    (optimised,) = dask.optimize(lazy)
    return len(optimised.__dask_graph__()) / lazy.npartitions


def test_a_round_trip_without_halos_is_one_task_a_chunk():
    x = da.ones(SHAPE, "float32", chunks=(1, 3, 8, 8))
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    one = 1 if NEWER else 2  # older ones have a task for the number of each block
    assert tasks(values) == one
    assert tasks(unpool.max_unpool2d(values, indices, 2)) == one
    assert tasks(unpool.max_unpool2d(values * 2 + 1, indices, 2)) == one


@pytest.mark.skipif(not NEWER, reason="this Dask does not fuse the slices of `overlap`")
def test_a_pooling_with_halos_is_few_tasks_a_chunk():
    x = da.ones((1, 1, 256, 256), "float32", chunks=(1, 1, 16, 16))
    assert tasks(unpool.max_pool2d(x, 3, 2, 1)) <= 8


def test_chunks_without_a_halo_are_not_copied():
    """Along the axis of rows alone, windows lie in two chunks."""
    x = da.ones(SHAPE, "float32", chunks=(1, 3, 8, 8))
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    for lazy in (values, indices, unpool.max_unpool2d(values, indices, 2), unpool.max_unpool2d_backward(x, indices, 2)):
        assert not [layer for layer in lazy.dask.layers if "overlap" in layer or "rechunk" in layer]


# --- chunks of results ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 48), (35, 41)])
@every_window
def test_regular_chunks_stay_regular(window, size, tmp_path):
    """So they can be written to Zarr, which warns of others.  Unpooling gives the chunks of the input back."""
    x = source((1, 3, 8, 16), (2, 3, *size))
    values, indices = unpool.max_pool2d(x, **window, return_indices=True)
    for array in (values, indices):
        assert [axis[0] for axis in array.chunks] == [1, 3, 4, 8]
        assert all(len(set(axis[:-1])) <= 1 and axis[-1] <= axis[0] for axis in array.chunks)
    planes = unpool.max_unpool2d(values, indices, output_size=x.shape, **window)
    assert planes.chunks == x.chunks
    assert unpool.max_unpool2d_backward(x, indices, **window).chunks == values.chunks
    zarr = require("zarr", "results are written to it")
    for name, array in {"values": values, "indices": indices, "planes": planes}.items():
        path = str(tmp_path / name)
        array.to_zarr(path)
        np.testing.assert_array_equal(zarr.open_array(path, mode="r")[...], computed(array))


def test_the_last_block_of_a_huge_plane():
    """Its indices need 64 bits; it is computed without the others."""
    size, chunk = 60_000, 2_000
    x = da.zeros((1, 1, size, size), "uint8", chunks=(1, 1, chunk, chunk))
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    found = indices.blocks[0, 0, -1, -1].compute(scheduler="sync")
    places = 2 * np.arange((size - chunk) // 2, size // 2, dtype="int64")
    assert found.dtype == "int64"
    np.testing.assert_array_equal(found[0, 0], places[:, None] * size + places)
    assert found.max() == size * size - size - 2
    planes = unpool.max_unpool2d(values + 1, indices, 2).blocks[0, 0, -1, -1].compute(scheduler="sync")
    assert planes[0, 0, ::2, ::2].all()
    assert planes.sum() == found.size
    with pytest.raises(ValueError, match="int32"):
        unpool.max_pool2d(x, 2, return_indices=True, index_dtype="int32")


# --- the other way of Dask to build graphs ----------------------------------------------------------------------------


@pytest.mark.skipif(not NEWER, reason="this Dask has no array expressions of its own")
def test_planes_without_halos_as_expressions():
    """Dask reads the setting when `dask.array` is imported."""
    program = """
import warnings
import dask
dask.config.set({"array.query-planning": True})
import dask.array as da, numpy as np, unpool
x = np.random.default_rng(0).integers(0, 99, (2, 3, 32, 24)).astype("float32")
lazy = da.from_array(x, chunks=(1, 3, 8, 8))
values, indices = unpool.max_pool2d(lazy, 2, return_indices=True)
planes = unpool.max_unpool2d(values, indices, 2)
expected = unpool.max_pool2d(x, 2, return_indices=True)
found = dask.compute(values, indices, planes, unpool.max_unpool2d_backward(lazy, indices, 2))
for one, other in zip(found, (*expected, unpool.max_unpool2d(*expected, 2), expected[0])):
    np.testing.assert_array_equal(one, other)
print(type(planes).__module__)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert "expr" in result.stdout
