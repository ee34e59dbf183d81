"""Blocks that are not plain NumPy arrays: their positions are converted by array operations, not by the CPU's loop."""

from __future__ import annotations

import numpy as np
import pytest
from needs import require, require_backend

import unpool

da = require("dask.array", "the blocks are its chunks")
require_backend("dask")


class Subclass(np.ndarray):
    pass


def blocks_of(array: np.ndarray, chunks: tuple):
    meta = array[(slice(0),) * array.ndim].view(Subclass)
    return da.from_array(array, chunks=chunks).map_blocks(lambda block: block.view(Subclass), meta=meta)


@pytest.mark.parametrize(("rank", "window"), [(1, (2, 2, 0)), (2, (2, 2, 0)), (2, (3, 2, 1)), (3, (3, 2, 1))])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint64", "int16"])
def test_blocks_of_a_subclass(rank, window, dtype):
    pool, scatter = getattr(unpool, f"max_pool{rank}d"), getattr(unpool, f"max_unpool{rank}d")
    plane = np.random.default_rng(rank).standard_normal((2, 3, *(8, 6, 4)[:rank]), dtype=np.float32)
    values, indices = pool(plane, *window, return_indices=True)
    indices, size = indices.astype(dtype), plane.shape[2:]
    chunks = (1, 3, *(2, 1, 1)[:rank])
    result = scatter(blocks_of(values, chunks), blocks_of(indices, chunks), *window, output_size=size)
    expected = scatter(values, indices, *window, output_size=size)
    assert result.compute(scheduler="sync").tobytes() == expected.tobytes()


def test_an_index_outside_of_its_chunk():
    plane = np.random.default_rng(0).standard_normal((1, 1, 8, 6), dtype=np.float32)
    values, indices = unpool.max_pool2d(plane, 2, return_indices=True)
    chunks = (1, 1, 2, 1)  # the second window is in the chunk of the cells 0..3 x 2..3
    inside = {row * 6 + column for row in range(4) for column in (2, 3)}
    for index in (*range(48), -1, -5, 48, 2**32 + 3, -(2**63), 2**63 - 1):
        indices[0, 0, 0, 1] = index
        result = unpool.max_unpool2d(blocks_of(values, chunks), blocks_of(indices, chunks), 2)
        if index in inside:
            assert result.compute(scheduler="sync").tobytes() == unpool.max_unpool2d(values, indices, 2).tobytes()
        else:
            with pytest.raises(IndexError, match=rf"= {index}(, the cell \(\d, \d\),)? is out"):
                result.compute(scheduler="sync")
