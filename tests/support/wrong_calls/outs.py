"""Calls with an `out` that cannot be written, and functions that make this `out`."""

import numpy as np

import unpool
from wrong_calls.case import PLANE_SHAPE, POOLED_SHAPE, Case, I, P, X, noise


def pool_into(out):
    return unpool.max_pool2d(X, 2, out=out)


def pool_both_into(out):
    return unpool.max_pool2d(X, 2, return_indices=True, out=out)


def unpool_into(out):
    return unpool.max_unpool2d(P, I, 2, out=out)


def pool_gradient_into(out):
    return unpool.max_pool2d_backward(P, I, (4, 4), 2, out=out)


def unpool_gradient_into(out):
    return unpool.max_unpool2d_backward(X, I, 2, out=out)


def shifted(shape, dtype="float32"):
    """Return an array that starts at an odd address."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.zeros(size + 1, np.uint8)[1:].view(dtype).reshape(shape)


def readonly(array):
    array.flags.writeable = False
    return array


UNUSABLE = (
    " must be writeable, aligned, C-contiguous and in native byte order, got an array that is not: write into a new "
    "array and copy it over"
)
OUTS = {
    "shape": (
        Case(
            "wrong_out",
            ValueError,
            "`out` must have shape (1, 1, 4, 4) and dtype float32, got shape (1, 1, 5, 5) and dtype float32: pass "
            "an empty array of that shape and dtype",
            unpool_into,
        ),
        lambda: noise((1, 1, 5, 5)),
    ),
    "batch": (
        Case(
            "wrong_out",
            ValueError,
            "`out` must have shape (1, 1, 2, 2) and dtype float32, got shape (1, 2, 2) and dtype float32: pass "
            "an empty array of that shape and dtype",
            pool_into,
        ),
        lambda: noise((1, 2, 2)),
    ),
    "dtype": (
        Case(
            "wrong_out",
            ValueError,
            "`out` must have shape (1, 1, 2, 2) and dtype float32, got shape (1, 1, 2, 2) and dtype float64: pass "
            "an empty array of that shape and dtype",
            unpool_gradient_into,
        ),
        lambda: noise(POOLED_SHAPE, "float64"),
    ),
    "values of a pair": (
        Case(
            "wrong_out",
            ValueError,
            "`out[0]` must have shape (1, 1, 2, 2) and dtype float32, got shape (1, 1, 2, 2) and dtype int64: pass "
            "an empty array of that shape and dtype",
            pool_both_into,
        ),
        lambda: (noise(POOLED_SHAPE, "int64"), noise(POOLED_SHAPE)),
    ),
    "indices of a pair": (
        Case(
            "wrong_out",
            ValueError,
            "`out[1]` must have shape (1, 1, 2, 2) and dtype int64, got shape (1, 1, 2, 2) and dtype int32: pass "
            "an empty array of that shape and dtype",
            pool_both_into,
        ),
        lambda: [noise(POOLED_SHAPE), noise(POOLED_SHAPE, "int32")],
    ),
    "not a pair": (
        Case(
            "out_not_a_pair",
            TypeError,
            "`out` must be a pair of arrays (values, indices) where return_indices=True, got numpy.ndarray: pass "
            "both, or return_indices=False",
            pool_both_into,
        ),
        lambda: noise(POOLED_SHAPE),
    ),
    "three": (
        Case(
            "out_not_a_pair",
            TypeError,
            "`out` must be a pair of arrays (values, indices) where return_indices=True, got tuple: pass both, or "
            "return_indices=False",
            pool_both_into,
        ),
        lambda: (noise(POOLED_SHAPE),) * 3,
    ),
    "masked": (
        Case(
            "masked_array",
            TypeError,
            "`out` must not be a numpy.ma.MaskedArray, whose mask pooling would ignore: pass out.data",
            unpool_into,
        ),
        lambda: np.ma.array(noise(PLANE_SHAPE)),
    ),
    "read-only": (
        Case("unusable_out", ValueError, f"`out`{UNUSABLE}", unpool_into),
        lambda: readonly(noise(PLANE_SHAPE)),
    ),
    "strided": (
        Case("unusable_out", ValueError, f"`out`{UNUSABLE}", pool_into),
        lambda: noise(PLANE_SHAPE)[..., ::2, ::2],
    ),
    "fortran": (
        Case("unusable_out", ValueError, f"`out`{UNUSABLE}", pool_gradient_into),
        lambda: noise(PLANE_SHAPE).copy("F"),
    ),
    "byteswapped": (
        Case("unusable_out", ValueError, f"`out`{UNUSABLE}", unpool_gradient_into),
        lambda: noise(POOLED_SHAPE).astype(np.dtype("float32").newbyteorder("S")),
    ),
    "misaligned": (
        Case("unusable_out", ValueError, f"`out`{UNUSABLE}", unpool_into),
        lambda: shifted(PLANE_SHAPE),
    ),
    "values of a pair read-only": (
        Case("unusable_out", ValueError, f"`out[0]`{UNUSABLE}", pool_both_into),
        lambda: (readonly(noise(POOLED_SHAPE)), noise(POOLED_SHAPE, "int64")),
    ),
    "indices of a pair strided": (
        Case("unusable_out", ValueError, f"`out[1]`{UNUSABLE}", pool_both_into),
        lambda: (noise(POOLED_SHAPE), noise(PLANE_SHAPE, "int64")[..., ::2, ::2]),
    ),
}
