"""An `out` that cannot be written, or that shares memory with an input, raises an error before it is written.

The calls and their messages are in tests/support/wrong_calls/outs.py.
"""

import re

import numpy as np
import pytest
from strangers import stranger
from wrong_calls.case import PLANE_SHAPE, POOLED_SHAPE, Case, I, P, X
from wrong_calls.outs import OUTS, pool_into

import unpool


@pytest.mark.parametrize(("case", "make"), OUTS.values(), ids=OUTS)
def test_an_out_that_cannot_be_written_into(case, make, fails):
    out = make()
    arrays = out if isinstance(out, (tuple, list)) else [out]
    before = [array.tobytes() for array in arrays]
    fails(case, out)
    assert [array.tobytes() for array in arrays] == before


STRANGERS = {"tensor": stranger("torch", P), "unknown": stranger("sparse", P), "held": stranger("xarray", P, data=P)}


@pytest.mark.parametrize("out", [[0.0] * 4, (P, I), *STRANGERS.values()], ids=["list", "pair", *STRANGERS])
def test_advice_for_out_is_not_to_write_into_a_copy(out):
    """`numpy.asarray(out)` may be a copy, and then the result is lost."""
    with pytest.raises(TypeError, match="`out`") as caught:
        pool_into(out)
    assert "numpy.asarray(out)" not in str(caught.value)
    assert str(caught.value).endswith(": pass out.data") == (out is STRANGERS["held"])
    assert "`indices` comes second" not in str(caught.value)


def ones(*shape, dtype="int64"):
    return np.ones(shape, dtype)


def overlapping():
    """Return calls whose `out` shares memory with an input or with the other `out`, and the name of this `out`."""
    plane = ones(1, 1, 3, 3)
    memory = np.ones(12, "int64")
    low, high = memory[:9].reshape(1, 1, 3, 3), memory[3:].reshape(1, 1, 3, 3)
    zeros = 0 * plane
    return {
        "pool its input": ("out", lambda: unpool.max_pool2d(plane, 1, out=plane)),
        "pool a part of its input": ("out", lambda: unpool.max_pool2d(low, 1, out=high)),
        "pool values on input": (
            "out[0]",
            lambda: unpool.max_pool2d(low, 1, return_indices=True, out=(high, zeros)),
        ),
        "pool indices on input": (
            "out[1]",
            lambda: unpool.max_pool2d(low, 1, return_indices=True, out=(zeros, high)),
        ),
        "pool indices on values": (
            "out[1]",
            lambda: unpool.max_pool2d(plane, 1, return_indices=True, out=(low, high)),
        ),
        "unpool its input": ("out", lambda: unpool.max_unpool2d(plane, zeros, 1, out=plane)),
        "unpool its indices": ("out", lambda: unpool.max_unpool2d(plane, low, 1, out=high)),
        "gradient of pooling": ("out", lambda: unpool.max_pool2d_backward(low, plane, (3, 3), 1, out=high)),
        "gradient of unpooling": ("out", lambda: unpool.max_unpool2d_backward(low, plane, 1, out=high)),
        "gradient on indices": ("out", lambda: unpool.max_unpool2d_backward(plane, low, 1, out=low)),
    }


@pytest.mark.parametrize("name", overlapping())
def test_an_out_that_is_still_read(name, fails):
    argument, call = overlapping()[name]
    memory = next(cell.cell_contents for cell in call.__closure__ if isinstance(cell.cell_contents, np.ndarray))
    message = (
        f"`{argument}` must not share memory with the other arrays of the call, which are still read while it is "
        f"written: pass another array as `{argument}`"
    )
    fails(Case("overlapping_out", ValueError, message, call))
    assert (memory <= 1).all()


def test_neighbours_do_not_overlap():
    """Arrays that are adjacent in one buffer are accepted."""
    memory = np.zeros(32, "float32")
    x, out = memory[:16].reshape(PLANE_SHAPE), memory[16:20].reshape(POOLED_SHAPE)
    x[...] = X
    assert unpool.max_pool2d(x, 2, out=out) is out
    np.testing.assert_array_equal(out, P)


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint64"])
@pytest.mark.parametrize(
    ("last", "duplicates", "error", "message"),
    [
        (99, "last", IndexError, "indices[0, 0, 1, 1] = 99 is out of range"),
        (10, "error", ValueError, "indices[0, 0, 0, 1] = indices[0, 0, 1, 1] = 10:"),
    ],
)
def test_an_out_over_indices_of_which_a_copy_is_read(dtype, last, duplicates, error, message):
    """The error shows the index that was there before `out` overwrote it."""
    memory = np.zeros(16, dtype)
    out, indices = memory.reshape(1, 1, 4, 4), memory[:4].reshape(1, 1, 2, 2).transpose(0, 1, 3, 2)
    indices[...] = [[[[0, 10], [2, last]]]]
    with pytest.raises(error, match=re.escape(message)):
        unpool.max_unpool2d(np.full((1, 1, 2, 2), 7, dtype), indices, 2, duplicates=duplicates, out=out)
    memory[:4] = 0
    grad, indices = np.full((1, 1, 4, 4), 7, dtype), out[:, :, :2, :2]
    indices[...] = [[[[0, 10], [2, last]]]]
    with pytest.raises(error, match=re.escape(message)):
        unpool.max_unpool2d_backward(grad, indices, 2, duplicates=duplicates, out=memory[:4].reshape(1, 1, 2, 2))
