"""`examples/out_of_core.py`: its stores are NumPy's, in less memory than the plane takes."""

import runpy
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from needs import require
from processes import python
from tree import EXAMPLES

import unpool
from unpool.testing.compare import assert_same_bits

require("dask", "it computes the planes")
require("zarr", "planes are read from its arrays and written to them")

import dask.array as da  # noqa: E402

PATH = str(EXAMPLES / "out_of_core.py")


@pytest.mark.once
def test_out_of_core(tmp_path):
    image = require("matplotlib.image", "the example draws with it")
    figure = tmp_path / "figure.png"
    result = python(PATH, "--quick", "--folder", str(tmp_path), "--out", str(figure))
    assert result.returncode == 0, result.stderr
    assert "write a picture of 144 MiB in 128 MiB\n" in result.stdout
    assert "100% Completed" in result.stdout
    assert np.ptp(image.imread(figure)) > 0.9

    x, *actual = (da.from_zarr(str(tmp_path / f"{name}.zarr")) for name in ("input", "values", "indices", "restored"))
    assert x.chunksize == (1, 1, 512, 512)
    along = np.arange(6144, dtype="float32")
    whole = SimpleNamespace(**runpy.run_path(PATH)).agate(along[:, None], along[None, :])[None, None]
    assert_same_bits(x.compute(), whole)
    values, indices = unpool.max_pool2d(whole, 2, return_indices=True, index_format="window")
    np.testing.assert_array_equal(values, whole.reshape(1, 1, 3072, 2, 3072, 2).max((3, 5)))
    restored = unpool.max_unpool2d(values, indices, 2, index_format="window")
    for store, expected in zip(actual, (values, indices, restored), strict=True):
        assert_same_bits(store.compute(), expected)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone enforces the limit")
def test_the_memory_of_out_of_core_is_limited():
    program = f"""
import runpy, numpy as np
limited = runpy.run_path({PATH!r})["limited"]
with limited(64):
    try:
        np.ones(65 << 20, "uint8")
        print("not limited")
    except MemoryError:
        np.ones(48 << 20, "uint8")
np.ones(65 << 20, "uint8")
"""
    result = python("-c", program)
    assert result.returncode == 0, result.stderr
    assert "not limited" not in result.stdout
    assert "MiB of memory were in use" in result.stdout
