"""Calls with an `input`, `indices` or `grad_output` that is no array, or has the wrong shape or library."""

import numpy as np
from strangers import stranger

import unpool
from wrong_calls.case import PLANE_SHAPE, Case, I, P, X


class Frame:
    """An object with a shape and no dtype, like a pandas DataFrame."""

    shape = PLANE_SHAPE


ARRAYS = {
    "list": Case(
        "not_an_array",
        TypeError,
        "`input` must be an array, got list: pass numpy.asarray(input), or an array of another supported library",
        lambda out: unpool.max_pool2d(X.tolist(), 2, out=out.pooled),
    ),
    "none": Case(
        "not_an_array",
        TypeError,
        "`indices` must be an array, got None: pass what pooling returned with return_indices=True, after the values",
        lambda out: unpool.max_unpool2d(P, None, 2, out=out.plane),
    ),
    "python_scalar": Case(
        "not_an_array",
        TypeError,
        "`grad_output` must be an array, got float: pass numpy.asarray(grad_output), or an array of another supported "
        "library",
        lambda out: unpool.max_unpool2d_backward(1.0, I, 2, out=out.pooled),
    ),
    "no_dtype": Case(
        "not_an_array",
        TypeError,
        f"`input` must be an array, got {__name__}.Frame: pass numpy.asarray(input), or an array of another supported "
        "library",
        lambda out: unpool.max_pool2d(Frame(), 2, out=out.pooled),
    ),
    "number_for_indices": Case(
        "not_an_array",
        TypeError,
        "`indices` must be an array, got int: pass numpy.asarray(indices), or an array of another supported library "
        "(`indices` comes second, the sizes after it)",
        lambda out: unpool.max_unpool2d(P, 2, 2, out=out.plane),
    ),
    "size_for_indices": Case(
        "not_an_array",
        TypeError,
        "`indices` must be an array, got tuple: pass numpy.asarray(indices), or an array of another supported library "
        "(`indices` comes second, the sizes after it)",
        lambda out: unpool.max_pool2d_backward(P, (4, 4), I, 2, out=out.plane),
    ),
    "pair_for_values": Case(
        "not_an_array",
        TypeError,
        "`input` must be an array, got a tuple of two arrays: pass the values and the indices one by one, as *input "
        "does",
        lambda out: unpool.max_unpool2d((P, I), I, 2, out=out.plane),
    ),
    "pair_for_an_object": Case(
        "not_an_array",
        TypeError,
        "`input` must be an array, got a tuple of two arrays: pass the values and the indices one by one, as *input "
        "does",
        lambda out: unpool.MaxUnpool2d(2)((P, I), out=out.plane),
    ),
    "no_indices": Case(
        "not_an_array",
        TypeError,
        "`indices` must be an array, got None: pass what pooling returned with return_indices=True, after the values",
        lambda out: unpool.MaxUnpool2d(2)(P, out=out.plane),
    ),
    "numpy_scalar": Case(
        "wrong_rank",
        ValueError,
        "`input` must have 4 dimensions (N, C, H, W), or 3 without the batch (C, H, W), got shape (): pass an "
        "array with spatial dimensions",
        lambda out: unpool.max_pool2d(np.float32(3), 2, out=out.pooled),
    ),
    "image_without_channels": Case(
        "wrong_rank",
        ValueError,
        "`input` must have 4 dimensions (N, C, H, W), or 3 without the batch (C, H, W), got shape (4, 4): add an "
        "axis for the channels, as input[None] does, or call max_pool1d for (C, L)",
        lambda out: unpool.max_pool2d(X[0, 0], 2, out=out.pooled),
    ),
    "images_without_channels_last": Case(
        "wrong_rank",
        ValueError,
        "`input` must have 4 dimensions (N, H, W, C), or 3 without the batch (H, W, C), got shape (2, 2): add an axis "
        "for the channels to each array, as input[..., None] does, or call max_unpool1d for (L, C)",
        lambda out: unpool.max_unpool2d(P[0, 0], I[0, 0], 2, data_format="NHWC", out=out.plane),
    ),
    "videos": Case(
        "wrong_rank",
        ValueError,
        "`input` must have 4 dimensions (N, C, H, W), or 3 without the batch (C, H, W), got shape (1, 1, 1, 4, 4): "
        "call max_pool3d, or merge all axes but the last 3, by a reshape to (-1, *input.shape[-3:])",
        lambda out: unpool.max_pool2d(X[None], 2, out=out.pooled),
    ),
    "six_dimensions": Case(
        "wrong_rank",
        ValueError,
        "`indices` must have 5 dimensions (N, C, D, H, W), or 4 without the batch (C, D, H, W), got shape (1, 1, 1, 1, "
        "2, 2): merge all axes but the last 4, by a reshape to (-1, *indices.shape[-4:])",
        lambda out: unpool.max_unpool3d_backward(X[None, None], I[None, None], 2, out=out.pooled),
    ),
    "rank_1_channels_last": Case(
        "wrong_rank",
        ValueError,
        "`input` must have 3 dimensions (N, L, C), or 2 without the batch (L, C), got shape (1, 1, 2, 2): call "
        "max_unpool2d, or merge all axes but the last 2, by a reshape to (-1, *input.shape[-2:])",
        lambda out: unpool.max_unpool1d(P, I, 2, data_format="channels_last", out=out.plane),
    ),
    "rank_3": Case(
        "wrong_rank",
        ValueError,
        "`grad_output` must have 5 dimensions (N, C, D, H, W), or 4 without the batch (C, D, H, W), got shape (2, 2): "
        "call max_pool2d_backward with grad_output[None]",
        lambda out: unpool.max_pool3d_backward(P[0, 0], I[0, 0], (4, 4, 4), 2, out=out.plane),
    ),
    "empty_plane": Case(
        "empty_dimension",
        ValueError,
        "`input` must have at least one element in every dimension but the batch, got shape (1, 1, 0, 4): leave such "
        "arrays out",
        lambda out: unpool.max_pool2d(X[:, :, :0], 2, out=out.pooled),
    ),
    "no_channels": Case(
        "empty_dimension",
        ValueError,
        "`input` must have at least one element in every dimension but the batch, got shape (1, 0, 2, 2): leave such "
        "arrays out",
        lambda out: unpool.max_unpool2d(P[:, :0], I[:, :0], 2, out=out.plane),
    ),
    "empty_indices": Case(
        "empty_dimension",
        ValueError,
        "`indices` must have at least one element in every dimension but the batch, got shape (1, 1, 2, 0): leave "
        "such arrays out",
        lambda out: unpool.max_unpool2d_backward(X, I[..., :0], 2, out=out.pooled),
    ),
    "indices_of_another_level": Case(
        "shapes_differ",
        ValueError,
        "`indices` must have the shape of `input`, (1, 1, 2, 2), got (1, 1, 1, 1): pass `input` and `indices` of "
        "one pooling call; if `input` is the result of an unpooling, pass that unpooling the shape of the array that "
        "was pooled, as `output_size`",
        lambda out: unpool.max_unpool2d(P, I[..., :1, :1], 2, out=out.plane),
    ),
    "indices_without_batch": Case(
        "shapes_differ",
        ValueError,
        "`indices` must have the shape of `grad_output`, (1, 1, 2, 2), got (1, 2, 2): give both a batch dimension, "
        "or neither",
        lambda out: unpool.max_pool2d_backward(P, I[0], (4, 4), 2, out=out.plane),
    ),
    "gradient_without_batch": Case(
        "dimensions_differ",
        ValueError,
        "`grad_output` must have as many dimensions as `indices`, whose shape is (1, 1, 2, 2), got shape (1, 4, 4): "
        "give both a batch dimension, or neither",
        lambda out: unpool.max_unpool2d_backward(X[0], I, 2, out=out.pooled),
    ),
    "planes_without_batch": Case(
        "dimensions_differ",
        ValueError,
        "`input` must have as many dimensions as `indices`, whose shape is (1, 1, 2, 2), got shape (1, 4, 4): give "
        "both a batch dimension, or neither",
        lambda out: unpool.take_along_plane(X[0], I, out=out.pooled),
    ),
    "planes_without_channels": Case(
        "unnamed_axes",
        ValueError,
        "`input` must have 4 dimensions (N, C, H, W), 3 without the batch (C, H, W), or 5 (N, C, D, H, W), where "
        "`data_format` does not name its axes, got shape (4, 4): pass data_format='NCW' for rows (C, L), or reshape it",
        lambda out: unpool.take_along_plane(X[0, 0], I[0, 0], out=out.pooled),
    ),
    "number_for_planes": Case(
        "not_an_array",
        TypeError,
        "`input` must be an array, got float: pass numpy.asarray(input), or an array of another supported library",
        lambda out: unpool.take_along_plane(1.0, I, out=out.pooled),
    ),
    "masked": Case(
        "masked_array",
        TypeError,
        "`input` must not be a numpy.ma.MaskedArray, whose mask pooling would ignore: pass input.filled(value), or "
        "input.data to ignore it yourself",
        lambda out: unpool.max_pool2d(np.ma.masked_greater(X, 9), 2, out=out.pooled),
    ),
    "masked_indices": Case(
        "masked_array",
        TypeError,
        "`indices` must not be a numpy.ma.MaskedArray, whose mask pooling would ignore: pass indices.filled(value), or "
        "indices.data to ignore it yourself",
        lambda out: unpool.max_unpool2d(P, np.ma.array(I), 2, out=out.plane),
    ),
    "unknown_library": Case(
        "unknown_array",
        TypeError,
        "`input` must be an array of a library that unpool knows (numpy, cupy, tensorflow, torch, jax, dask, or one "
        "with a plugin in the entry-point group 'unpool.backends'), got sparse.Tensor: convert it first, for example "
        "with numpy.asarray(input)",
        lambda out: unpool.max_pool2d(stranger("sparse", X), 2, out=out.pooled),
    ),
    "a DataArray": Case(
        "unknown_array",
        TypeError,
        "`input` must be an array of a library that unpool knows (numpy, cupy, tensorflow, torch, jax, dask, or one "
        "with a plugin in the entry-point group 'unpool.backends'), got xarray.core.dataarray.Tensor: pass input.data",
        lambda out: unpool.max_pool2d(stranger("xarray.core.dataarray", X, data=X), 2, out=out.pooled),
    ),
    "a DataArray for indices": Case(
        "unknown_array",
        TypeError,
        "`indices` must be an array of a library that unpool knows (numpy, cupy, tensorflow, torch, jax, dask, or one "
        "with a plugin in the entry-point group 'unpool.backends'), got xarray.core.dataarray.Tensor: "
        "pass indices.data",
        lambda out: unpool.max_unpool2d(P, stranger("xarray.core.dataarray", I, data=I), 2, out=out.plane),
    ),
    # The `data` of a sparse array are its cells that are not zero, and those of a chunked array another array.
    "cells without zeros": Case(
        "unknown_array",
        TypeError,
        "`input` must be an array of a library that unpool knows (numpy, cupy, tensorflow, torch, jax, dask, or one "
        "with a plugin in the entry-point group 'unpool.backends'), got sparse.Tensor: convert it first, for example "
        "with numpy.asarray(input)",
        lambda out: unpool.max_pool2d(stranger("sparse", X, data=X.ravel()), 2, out=out.pooled),
    ),
    "chunks": Case(
        "unknown_array",
        TypeError,
        "`input` must be an array of a library that unpool knows (numpy, cupy, tensorflow, torch, jax, dask, or one "
        "with a plugin in the entry-point group 'unpool.backends'), got xarray.Tensor: convert it first, for example "
        "with numpy.asarray(input)",
        lambda out: unpool.max_pool2d(stranger("xarray", X, data=stranger("chunked", X)), 2, out=out.pooled),
    ),
    "chunks in files": Case(
        "unknown_array",
        TypeError,
        "`input` must be an array of a library that unpool knows (numpy, cupy, tensorflow, torch, jax, dask, or one "
        "with a plugin in the entry-point group 'unpool.backends'), got zarr.Tensor: read it first, all by "
        "numpy.asarray(input) or a part by input[:1]; docs/scale.md shows how to compute planes that are larger than "
        "memory",
        lambda out: unpool.max_pool2d(stranger("zarr", X, chunks=(1, 1, 2, 2)), 2, out=out.pooled),
    ),
    "mixed": Case(
        "mixed_kinds",
        TypeError,
        "`input` and `indices` must be arrays of one library, got numpy.ndarray and torch.Tensor: pass "
        "numpy.asarray(indices)",
        lambda out: unpool.max_unpool2d(P, stranger("torch", I), 2, out=out.plane),
    ),
}
