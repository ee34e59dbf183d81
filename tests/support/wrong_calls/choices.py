"""Calls with a wrong word for `data_format`, `duplicates`, `index_dtype` or `backend`."""

import numpy as np

import unpool
from wrong_calls.case import Case, I, P, X

CHOICES = {
    "index_format": Case(
        "unknown_choice",
        ValueError,
        "`index_format` must be one of 'plane', 'window', got 'taps': pass one of these",
        lambda out: unpool.max_unpool2d(P, I, 2, index_format="taps", out=out.plane),
    ),
    "index_format_of_pooling": Case(
        "unknown_choice",
        ValueError,
        "`index_format` must be one of 'plane', 'window', got None: pass one of these",
        lambda out: unpool.max_pool2d(X, 2, index_format=None, out=out.pooled),
    ),
    "index_format_backward": Case(
        "unknown_choice",
        ValueError,
        "`index_format` must be one of 'plane', 'window', got ['window']: pass one of these",
        lambda out: unpool.max_unpool2d_backward(X, I, 2, index_format=["window"], out=out.pooled),
    ),
    "index_dtype_of_taps": Case(
        "unknown_choice",
        ValueError,
        "`index_dtype` must be one of 'uint8', 'uint16', 'int32', 'int64', got 'int8': pass one of these",
        lambda out: unpool.max_pool2d(X, 2, index_format="window", index_dtype="int8", out=out.pooled),
    ),
    "index_dtype_too_small": Case(
        "index_dtype_too_small",
        ValueError,
        "`index_dtype` must hold every tap of a window, got 'uint8' for 289 taps: pass 'uint16', or leave it out",
        lambda out: unpool.max_pool2d(
            X, 17, padding=8, index_format="window", index_dtype="uint8", out=out.pooled[:, :, :1, :1]
        ),
    ),
    "data_format": Case(
        "unknown_choice",
        ValueError,
        "`data_format` must be one of 'channels_first', 'channels_last', 'NCHW', 'NHWC', got 'NDHWC': pass "
        "'channels_last'",
        lambda out: unpool.max_pool2d(X, 2, data_format="NDHWC", out=out.pooled),
    ),
    "axes": Case(
        "unknown_choice",
        ValueError,
        "`data_format` must be one of 'channels_first', 'channels_last', 'NCHW', 'NHWC', got 'nhwc': pass "
        "'channels_last'",
        lambda out: unpool.take_along_plane(X, I, data_format="nhwc", out=out.pooled),
    ),
    "validate_without_windows": Case(
        "unknown_choice",
        ValueError,
        "`validate` must be one of True, False, got 'windows': pass one of these",
        lambda out: unpool.take_along_plane(X, I, validate="windows", out=out.pooled),
    ),
    "duplicates": Case(
        "unknown_choice",
        ValueError,
        "`duplicates` must be one of 'last', 'sum', 'error', got 'mean': pass one of these",
        lambda out: unpool.max_unpool2d(P, I, 2, duplicates="mean", out=out.plane),
    ),
    "duplicates_backward": Case(
        "unknown_choice",
        ValueError,
        "`duplicates` must be one of 'last', 'sum', 'error', got None: pass one of these",
        lambda out: unpool.max_unpool2d_backward(X, I, 2, duplicates=None, out=out.pooled),
    ),
    "index_dtype": Case(
        "unknown_choice",
        ValueError,
        "`index_dtype` must be one of 'int64', 'int32', got 'int16': pass one of these",
        lambda out: unpool.max_pool2d(X, 2, index_dtype="int16", out=out.pooled),
    ),
    "index_dtype_float": Case(
        "unknown_choice",
        ValueError,
        "`index_dtype` must be one of 'int64', 'int32', got <class 'numpy.float32'>: pass one of these",
        lambda out: unpool.max_pool2d(X, 2, index_dtype=np.float32, out=out.pooled),
    ),
    "index_dtype_unhashable": Case(
        "unknown_choice",
        ValueError,
        "`index_dtype` must be one of 'int64', 'int32', got ['int64']: pass one of these",
        lambda out: unpool.max_pool2d(X, 2, index_dtype=["int64"], out=out.pooled),
    ),
    "backend": Case(
        "unknown_backend",
        ValueError,
        None,  # names the installed plugins too; test_routing.py tests it
        lambda out: unpool.max_pool2d(X, 2, out=out.pooled, backend="gpu"),
    ),
    "backend_of_others": Case(
        "wrong_kind",
        TypeError,
        "`input` must be an array of the library that backend='cuda' serves, got numpy.ndarray: pass "
        "cupy.asarray(input), or leave `backend` out",
        lambda out: unpool.max_pool2d(X, 2, out=out.pooled, backend="cuda"),
    ),
    "data_format_array": Case(
        "unknown_choice",
        ValueError,
        None,
        lambda out: unpool.max_unpool2d(P, I, 2, data_format=np.zeros(2), out=out.plane),
    ),
    "backend_list": Case(
        "unknown_backend",
        ValueError,
        None,
        lambda out: unpool.max_unpool2d(P, I, 2, backend=[], out=out.plane),
    ),
}
