"""Calls with an array of a dtype that the function does not take."""

import numpy as np

import unpool
from wrong_calls.case import PLANE_SHAPE, REALS, VALUES, Case, I, P, X

INTEGERS = "`indices` must be integers (int64 or int32, as max_pool returns them with return_indices=True)"

DTYPES = {
    "swapped": Case(
        "wrong_indices",
        TypeError,
        f"{INTEGERS}, got float32: floats are exact only up to 2**24 (float32), so round and convert them where they "
        "are made. The order of the arguments is (values, indices)",
        lambda out: unpool.max_unpool2d(I, P, 2, out=out.plane),
    ),
    "float_indices": Case(
        "wrong_indices",
        TypeError,
        f"{INTEGERS}, got float64: floats are exact only up to 2**24 (float32), so round and convert them where they "
        "are made. The order of the arguments is (values, indices)",
        lambda out: unpool.max_unpool2d_backward(X, I.astype(float), 2, out=out.pooled),
    ),
    "mask_for_indices": Case(
        "wrong_indices",
        TypeError,
        f"{INTEGERS}, got bool: convert them to int64. The order of the arguments is (values, indices)",
        lambda out: unpool.max_unpool2d(P, I > 0, 2, out=out.plane),
    ),
    "taps_without_the_word": Case(
        "indices_of_taps",
        TypeError,
        '`indices` must be int64 or int32 where index_format="plane", got uint8, which holds the taps of windows: '
        'if they are taps, pass index_format="window" with the window of the pooling call, or convert them by '
        "unpool.convert_indices; if they are positions in the plane, convert them to int64. The order of the arguments "
        "is (values, indices)",
        lambda out: unpool.max_unpool2d(P, I.astype("uint8"), 2, out=out.plane),
    ),
    "taps_of_two_bytes_without_the_word": Case(
        "indices_of_taps",
        TypeError,
        '`indices` must be int64 or int32 where index_format="plane", got uint16, which holds the taps of windows: '
        'if they are taps, pass index_format="window" with the window of the pooling call, or convert them by '
        "unpool.convert_indices; if they are positions in the plane, convert them to int64. The order of the arguments "
        "is (values, indices)",
        lambda out: unpool.max_unpool2d_backward(X, I.astype("uint16"), 2, out=out.pooled),
    ),
    "taps_along_planes": Case(
        "indices_of_taps",
        TypeError,
        '`indices` must be int64 or int32 where index_format="plane", got uint8, which holds the taps of windows: '
        'if they are taps, pass index_format="window" with the window of the pooling call, or convert them by '
        "unpool.convert_indices; if they are positions in the plane, convert them to int64. The order of the arguments "
        "is (values, indices)",
        lambda out: unpool.take_along_plane(X, I.astype("uint8"), out=out.pooled),
    ),
    "complex_pooling": Case(
        "wrong_values",
        TypeError,
        f"`input` must be of one of the dtypes {REALS}, got complex64: convert it first",
        lambda out: unpool.max_pool2d(X.astype("complex64"), 2, out=out.pooled),
    ),
    "complex_gradient": Case(
        "wrong_values",
        TypeError,
        f"`grad_output` must be of one of the dtypes {REALS}, got complex128: convert it first",
        lambda out: unpool.max_pool2d_backward(P.astype("complex128"), I, (4, 4), 2, out=out.plane),
    ),
    "object_dtype": Case(
        "wrong_values",
        TypeError,
        f"`input` must be of one of the dtypes {VALUES}, got object: convert it first",
        lambda out: unpool.max_unpool2d(P.astype(object), I, 2, out=out.plane),
    ),
    "datetime_dtype": Case(
        "wrong_values",
        TypeError,
        f"`input` must be of one of the dtypes {REALS}, got datetime64[ns]: convert it first",
        lambda out: unpool.max_pool2d(X.astype("datetime64[ns]"), 2, out=out.pooled),
    ),
    "structured_dtype": Case(
        "wrong_values",
        TypeError,
        f"`grad_output` must be of one of the dtypes {VALUES}, got void64: convert it first",
        lambda out: unpool.max_unpool2d_backward(np.zeros(PLANE_SHAPE, "f4,i4"), I, 2, out=out.pooled),
    ),
    "text_dtype": Case(
        "wrong_values",
        TypeError,
        f"`input` must be of one of the dtypes {REALS}, got str64: convert it first",
        lambda out: unpool.max_pool2d(np.full(PLANE_SHAPE, "ab"), 2, out=out.pooled),
    ),
}
