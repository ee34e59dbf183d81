"""What cannot be computed lazily, or would be wrong, is refused at the call."""

import numpy as np
import pytest
from needs import require

import unpool
from unpool.testing.cases import whole

require("dask", "the tests of Dask arrays need it")

import dask.array as da  # noqa: E402
from chunked import chunked  # noqa: E402


def test_a_mask_is_refused_before_anything_is_computed():
    masked = da.ma.masked_greater(da.from_array(whole("float32", (1, 2, 4, 4)), 2), 5)
    with pytest.raises(TypeError, match=r"`input` must not be a numpy.ma.MaskedArray, whose mask pooling would ignore"):
        unpool.max_pool2d(masked, 2)
    lazy = unpool.max_pool2d(da.from_array(whole("float32", (1, 2, 4, 4)), 2), 2)
    with pytest.raises(TypeError, match=r"`indices` must not be a numpy.ma.MaskedArray"):
        unpool.max_unpool2d(lazy, da.ma.masked_greater(lazy.astype(int), 5), 2)


class Sparse:
    """An array of a library that unpool does not know."""

    def __init__(self, shape, dtype="float32"):
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)

    def astype(self, dtype, copy=True):
        return Sparse(self.shape, dtype)

    def __getitem__(self, entry):
        return self

    def __array_function__(self, function, types, arguments, named):
        raise NotImplementedError


def test_blocks_of_an_unknown_library_are_refused_before_anything_is_computed():
    x = da.from_array(np.ones((1, 2, 4, 4), "float32"), 2)
    sparse = da.Array(x.dask, x.name, x.chunks, meta=Sparse((0, 0, 0, 0)))
    with pytest.raises(TypeError, match=r"`input` must be an array of a library that unpool knows .* got .*Sparse"):
        unpool.max_pool2d(sparse, 2)


def test_an_array_to_write_into_is_refused():
    x = chunked(whole("float32", (1, 2, 4, 4)))
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    for function in (
        lambda: unpool.max_pool2d(x, 2, out=values),
        lambda: unpool.max_unpool2d(values, indices, 2, out=x),
        lambda: unpool.max_unpool2d_backward(x, indices, 2, out=values),
        lambda: unpool.max_pool2d_backward(values, indices, x.shape, 2, out=x),
    ):
        with pytest.raises(TypeError, match=r"`out` must .*Dask"):
            function()


def test_both_arrays_are_of_dask():
    x = whole("float32", (1, 2, 4, 4))
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    text = "`input` and `indices` must be arrays of one library, got .*: pass "
    with pytest.raises(TypeError, match=rf"{text}dask\.array\.from_array\(indices\)"):
        unpool.max_unpool2d(chunked(values), indices, 2)
    with pytest.raises(TypeError, match=rf"{text}numpy\.asarray\(indices\)"):
        unpool.max_unpool2d(values, chunked(indices), 2)
    with pytest.raises(TypeError, match="the library that backend='cpu' serves, got dask"):
        unpool.max_pool2d(chunked(x), 2, backend="cpu")


def test_without_a_window_spatial_axes_are_one_chunk():
    x = da.from_array(whole("float32", (1, 2, 4, 6)), (1, 1, 2, 3))
    indices = x.astype("int64")
    rule = "must have one chunk along each spatial axis where there is no window, since an index may be anywhere in its"
    hint = "pass the window of the pooling call as `kernel_size`, or "
    for function, text in (
        (lambda: unpool.max_unpool2d(x, indices, None, output_size=(4, 6)), f"`input` {rule}|{hint}input"),
        (lambda: unpool.max_unpool2d_backward(x, indices, None), f"`grad_output` {rule}|{hint}grad_output"),
        (lambda: unpool.take_along_plane(x, indices), f"`input` {rule}|pass input"),
        (lambda: unpool.take_along_plane(x.rechunk({2: -1, 3: -1}), indices), f"`indices` {rule}|pass indices"),
    ):
        with pytest.raises(ValueError, match="one chunk along each spatial axis") as caught:
            function()
        start, end = text.split("|")
        assert str(caught.value).startswith(start)
        chunks = "((2, 2), (3, 3))"
        assert f"got chunks {chunks}: " in str(caught.value)
        assert str(caught.value).endswith(f": {end}.rechunk({{2: -1, 3: -1}})")
