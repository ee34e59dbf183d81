"""Errors of the layers of `unpool.keras.addons`: wrong arguments, wrong calls, and masks that do not fit.

KERAS_BACKEND chooses the backend of Keras. tox.ini runs this file once with each.
"""

import re

import numpy as np
import pytest
from needs import require

keras = require("keras", "the tests of its layers need it")

from keras_layers import both_addons, updates_and_mask  # noqa: E402
from keras_ways import quiet  # noqa: E402

from unpool.keras import addons  # noqa: E402

pytestmark = quiet

U, M = np.ones((1, 2, 2, 1), "float32"), np.array([0, 2, 8, 10]).reshape(1, 2, 2, 1)
INTEGERS = "must be an integer or a sequence of integers, got"
FOUR = "`output_size` must be the shape (batch, rows, cols, channels) of the pictures that were pooled, got "
ARGUMENTS = {
    "pool_size 0": (lambda: addons.MaxUnpooling2D(0), ValueError, "`pool_size` must be between 1 and 2147483647"),
    "pool_size a float": (lambda: addons.MaxUnpooling2D(2.0), TypeError, f"`pool_size` {INTEGERS} 2.0"),
    "strides of three": (lambda: addons.MaxUnpooling2D(2, (1, 1, 1)), ValueError, "`strides` must be one integer or 2"),
    "padding": (
        lambda: addons.MaxUnpooling2D(padding="FULL"),
        ValueError,
        "`padding` must be one of 'SAME', 'VALID', got 'FULL'",
    ),
    "padding an integer": (lambda: addons.MaxUnpooling2D(padding=1), ValueError, "`padding` must be one of 'SAME', "),
    "duplicates": (lambda: addons.MaxUnpooling2D(duplicates="mean"), ValueError, "`duplicates` must be one of 'last'"),
    "no size": (
        lambda: addons.MaxUnpooling2DV2(None),
        ValueError,
        f"{FOUR}None: pass that shape, with None for a batch of any size",
    ),
    "a size of two": (lambda: addons.MaxUnpooling2DV2((4, 4)), ValueError, f"{FOUR}(4, 4): pass that shape"),
    "a size of three": (lambda: addons.MaxUnpooling2DV2((4, 4, 1)), ValueError, f"{FOUR}(4, 4, 1): pass that shape"),
    "an open size": (
        lambda: addons.MaxUnpooling2DV2((1, None, 4, 1)),
        ValueError,
        "`output_size` must have an integer for each spatial size, got (1, None, 4, 1)",
    ),
    "a size of floats": (
        lambda: addons.MaxUnpooling2DV2((1, 4.0, 4, 1)),
        TypeError,
        "`output_size` must be a sequence of integers, got (1, 4.0, 4, 1)",
    ),
    "an empty size": (
        lambda: addons.MaxUnpooling2DV2((1, 0, 4, 1)),
        ValueError,
        "`output_size` must be between 1 and 2147483647",
    ),
    "duplicates of v2": (
        lambda: addons.MaxUnpooling2DV2((1, 4, 4, 1), duplicates=None),
        ValueError,
        "`duplicates` must be one of 'last'",
    ),
}
NOT_WHOLE = (
    "`mask` must hold integers, which may be of a float dtype, got float32 with a value that is not an integer at flat "
    "position 1: pass the mask as tf.nn.max_pool_with_argmax returns it"
)
CALLS = {
    "no batch": (
        lambda call: call(U[0], M[0]),
        ValueError,
        "got shape (2, 2, 1): give a single sample a batch of 1, as updates[None] does; if the channels are missing",
    ),
    "shapes that differ": (
        lambda call: call(U, M[:, :1]),
        ValueError,
        "`mask` must have the shape of `updates`, (1, 2, 2, 1), got (1, 1, 2, 1)",
    ),
    "out of range": (lambda call: call(U, M + 6), IndexError, "indices[0, 1, 1, 0] = 16 does not fit the convention"),
    "negative": (lambda call: call(U, M - 1), IndexError, "indices[0, 0, 0, 0] = -1 does not fit the convention"),
    "no integer": (
        lambda call: call(U, (M + np.array([0, 0.5])[:, None]).astype("float32")),
        ValueError,
        NOT_WHOLE,
    ),
    "no number": (
        lambda call: call(U, np.where(M == 2, np.nan, M).astype("float32")),
        ValueError,
        NOT_WHOLE,
    ),
    "infinite": (
        lambda call: call(U, np.where(M == 2, np.inf, M).astype("float32")),
        ValueError,
        NOT_WHOLE,
    ),
    "far out of range": (
        lambda call: call(U, np.where(M == 2, 2.0**31, M).astype("float32")),
        IndexError,
        "does not fit the convention",
    ),
    "truth": (lambda call: call(U, M > 1), TypeError, "`indices` must be integers"),
}


@pytest.mark.parametrize(("make", "error", "message"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_wrong_arguments_are_met_where_they_are_written(make, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make()


@pytest.mark.parametrize(("call", "error", "message"), CALLS.values(), ids=CALLS)
def test_wrong_calls(call, error, message):
    for layer in both_addons((2, 2), "SAME", (4, 4)):
        with pytest.raises(error, match=re.escape(message)):
            call(layer)


@pytest.mark.parametrize("name", ["no batch", "shapes that differ"])
def test_wrong_calls_are_met_where_a_model_is_made(name):
    call, error, message = CALLS[name]
    for layer in both_addons((2, 2), "SAME", (4, 4)):
        with pytest.raises(error, match=re.escape(message)):
            call(lambda *pair, layer=layer: layer(*(keras.KerasTensor(one.shape, one.dtype.name) for one in pair)))


def test_a_mask_of_another_place_is_refused():
    """The mask of another channel, and a mask that also counts the batch."""
    updates, mask = updates_and_mask((2, 3, 4, 2), (6, 8))
    for layer in both_addons((2, 2), "SAME", (6, 8)):
        with pytest.raises(IndexError, match=re.escape(f"indices[0, 0, 0, 0] = {mask[0, 0, 0, 1]} does not fit")):
            layer(updates, mask[..., ::-1].copy())
        counted = mask + np.arange(2).reshape(-1, 1, 1, 1) * 6 * 8 * 2
        with pytest.raises(IndexError, match=re.escape(f"indices[1, 0, 0, 0] = {counted[1, 0, 0, 0]} does not fit")):
            layer(updates, counted)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((2, 4, 4, 1), "`output_size` must keep the batch and channels"),
        ((1, 4, 4, 3), "`output_size` must keep the batch and channels"),
        ((1, 1, 4, 1), "must be 2 in spatial dimension 0 to pool to 2, got output_size=("),
    ],
    ids=str,
)
def test_a_size_that_does_not_fit(size, message):
    layer = addons.MaxUnpooling2DV2(size)
    for arrays in ((U, M % 2), (keras.KerasTensor(U.shape), keras.KerasTensor(U.shape, "int32"))):
        with pytest.raises(ValueError, match=re.escape(message)):
            layer(*arrays)
