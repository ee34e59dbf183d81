"""Without a window, `kernel_size=None`: any size serves, and an index may be anywhere in its plane."""

import numpy as np
import pytest

import unpool
from unpool.testing import oracle
from unpool.testing.arrays import needs_reports
from unpool.testing.cases import FORMATS, anywhere, arranged, bits, unique, whole
from unpool.testing.compare import Guarded, assert_same_bits, assert_same_sums

every_format = pytest.mark.parametrize("data_format", FORMATS)
every_leading = pytest.mark.parametrize("leading", [(2, 3), (3,)], ids=["batch", "no batch"])
# Sizes of the pooled arrays and the planes: of adaptive and global pooling, and planes smaller than what is put there.
SIZES = {
    "adaptive, windows of one size": ((3, 2), (6, 8)),
    "adaptive, windows of two sizes": ((3, 4), (7, 9)),
    "global": ((1, 1), (5, 4)),
    "one by one": ((4, 3), (4, 3)),
    "more values than cells": ((5, 6), (3, 4)),
    "many values, one cell": ((4, 4), (1, 1)),
    "larger along one axis": ((2, 7), (9, 3)),
    "row": ((4,), (9,)),
    "row, more values than cells": ((9,), (4,)),
    "volume": ((2, 1, 3), (5, 4, 7)),
    "volume, larger along one axis": ((2, 3, 1), (5, 2, 2)),
}
every_size = pytest.mark.parametrize(("pooled", "plane"), SIZES.values(), ids=SIZES)


def function(name, rank):
    stem, backward, _ = name.partition("_backward")
    return getattr(unpool, f"{stem}{rank}d{backward}")


def indices_of(pooled, plane, leading, data_format, duplicates="last"):
    shape, cells = arranged(leading, pooled, data_format), int(np.prod(plane))
    if duplicates == "error":
        if np.prod(pooled) > cells:
            pytest.skip("there are more values than cells, so an index repeats")
        return unique(shape, cells, len(plane), data_format)
    return anywhere(shape, cells)


@every_size
@every_format
@every_leading
@pytest.mark.parametrize("duplicates", ["last", "sum", "error"])
def test_every_size(backend, pooled, plane, data_format, leading, duplicates):
    rank, last = len(plane), data_format == "channels_last"
    indices = indices_of(pooled, plane, leading, data_format, duplicates)
    named = {"data_format": data_format, "duplicates": duplicates}
    up, down = bits("float32", indices.shape), bits("float32", arranged(leading, plane, data_format))
    for size in (plane, down.shape):
        found = backend.call(function("max_unpool", rank), up, indices, None, output_size=size, **named)
        expected = oracle.max_unpool(up, indices, plane, duplicates, last)
        if duplicates == "sum":
            assert_same_sums(backend, found, expected)
        else:
            assert_same_bits(found, expected)
    found = backend.call(function("max_unpool_backward", rank), down, indices, None, **named)
    assert_same_bits(found, oracle.max_unpool_backward(down, indices, rank, duplicates, last))


@every_size
@every_format
def test_gradient_of_pooling(backend, pooled, plane, data_format):
    indices = indices_of(pooled, plane, (2, 3), data_format)
    grad, rank = whole("float32", indices.shape), len(plane)
    for index_dtype in ("int32", "int64"):
        given = grad, indices.astype(index_dtype), plane, None
        found = backend.call(function("max_pool_backward", rank), *given, data_format=data_format)
        assert_same_bits(found, oracle.max_pool_backward(grad, indices, plane, data_format == "channels_last"))


@needs_reports
@every_size
@pytest.mark.parametrize("bad", [-1, "cells", 2**32 + 3, -(2**63)])
def test_a_bad_index(backend, pooled, plane, bad):
    """The first bad index is reported, and no other memory is written."""
    indices, cells = indices_of(pooled, plane, (2, 3), "channels_first"), int(np.prod(plane))
    indices[1, 2].flat[-1] = cells if bad == "cells" else bad
    place = ", ".join(map(str, (1, 2, *[size - 1 for size in pooled])))
    values, rank = bits("float32", indices.shape), len(plane)
    message = rf"indices\[{place}\] = {indices[1, 2].flat[-1]} "
    with pytest.raises(IndexError, match=message):
        backend.call(function("max_unpool", rank), values, indices, None, output_size=plane)
    with pytest.raises(IndexError, match=message):
        backend.call(function("max_unpool_backward", rank), bits("float32", (2, 3, *plane)), indices, None)
    if backend.writes:
        guarded = Guarded((2, 3, *plane), "float32", 1, backend)
        with pytest.raises(IndexError, match=message):
            backend.run(function("max_unpool", rank), values, indices, None, output_size=plane, out=guarded.array)
        assert guarded.intact()


@needs_reports
def test_a_repeated_index(backend):
    indices = np.array([[[0, 5, 3, 5]]])
    with pytest.raises(ValueError, match=r"got indices\[0, 0, 1\] = indices\[0, 0, 3\] = 5"):
        backend.call(unpool.max_unpool1d, np.ones((1, 1, 4)), indices, None, output_size=(6,), duplicates="error")
