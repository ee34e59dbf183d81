"""A call that must fail, and the arrays that such calls take."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import unpool

X = np.arange(1, 17, dtype="float32").reshape(1, 1, 4, 4)
P, I = unpool.max_pool2d(X, 2, return_indices=True)
WINDOW = "kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1)"
REALS = "float16, bfloat16, float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64, bool"
VALUES = f"{REALS}, complex64, complex128"
POOLED_SHAPE, PLANE_SHAPE = (1, 1, 2, 2), (1, 1, 4, 4)


class Case(NamedTuple):
    """A call that must fail: the function that builds the error, its type, its text, and the call.

    The text is None where it depends on what is installed. The call may take an `out`.
    """

    by: str
    error: type[Exception]
    message: str | None
    call: Callable[..., Any]


def huge(*shape, dtype="float32"):
    """Return an array of any size that takes a few bytes; computing with it would not end."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def noise(shape, dtype="float32"):
    """Return an array to write into; its content shows whether it was written."""
    return np.random.default_rng(0).integers(1, 99, shape).astype(dtype)
