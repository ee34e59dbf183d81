"""Errors of the layers of `unpool.keras`: wrong arguments, wrong calls, and wrong symbolic calls.

KERAS_BACKEND chooses the backend of Keras. tox.ini runs this file once with each.
"""

import re

import numpy as np
import pytest
from needs import require

import unpool

keras = require("keras", "the tests of its layers need it")

from keras_layers import pooling, unpooling  # noqa: E402
from keras_ways import quiet  # noqa: E402

pytestmark = quiet

INTEGERS = "must be an integer or a sequence of integers, got"
WRONG = {
    "pool_size 0": ({"pool_size": 0}, ValueError, "`pool_size` must be between 1 and 2147483647"),
    "pool_size a float": ({"pool_size": 2.0}, TypeError, f"`pool_size` {INTEGERS} 2.0"),
    "pool_size a word": ({"pool_size": "2"}, TypeError, f"`pool_size` {INTEGERS} '2'"),
    "pool_size of three": ({"pool_size": (2, 2, 2)}, ValueError, "`pool_size` must be one integer or 2 of them"),
    "strides 0": ({"strides": (1, 0)}, ValueError, "`strides` must be between 1 and 2147483647"),
    "strides a float": ({"strides": 0.5}, TypeError, f"`strides` {INTEGERS} 0.5"),
    "strides of one": ({"strides": [2]}, ValueError, "`strides` must be one integer or 2 of them"),
    "padding a wrong word": ({"padding": "full"}, ValueError, "'same', 'same_lower' or 'valid', got 'full'"),
    "padding None": ({"padding": None}, TypeError, f"`padding` {INTEGERS} None"),
    "padding negative": ({"padding": -1}, ValueError, "`padding` must be between 0 and 2147483647"),
    "padding of words": ({"padding": ("same", "same")}, TypeError, f"`padding` {INTEGERS} ('same', 'same')"),
    "padding too large": ({"padding": 2}, ValueError, "`padding` must be at most half of `pool_size`"),
    "padding of too large pairs": (
        {"padding": ((0, 2), 0)},
        ValueError,
        "must be between 0 and pool_size - 1 before and after the plane, got padding=((0, 2), (0, 0)), pool_size=(2, 2",
    ),
    "padding of one pair": ({"padding": ((0, 1),)}, ValueError, "`padding` must have an integer or a pair (before, "),
    "data_format": (
        {"data_format": "NHCW"},
        ValueError,
        "`data_format` must be one of 'channels_first', 'channels_last', 'NCHW', 'NHWC', got ",
    ),
    "data_format unhashable": ({"data_format": ["channels_last"]}, ValueError, "`data_format` must be one of "),
    "index_format": (
        {"index_format": "tensorflow"},
        ValueError,
        "`index_format` must be one of 'plane', 'window', got 'tensorflow'",
    ),
    "index_format in capitals": ({"index_format": "Window"}, ValueError, "`index_format` must be one of "),
    "index_format unhashable": ({"index_format": ["window"]}, ValueError, "`index_format` must be one of "),
}
WRONG_POOLING = {
    "pool_size None": ({"pool_size": None}, TypeError, f"`pool_size` {INTEGERS} None"),
    "index_format None": ({"index_format": None}, ValueError, "`index_format` must be one of "),
    "index_dtype": (
        {"index_dtype": "int16"},
        ValueError,
        "`index_dtype` must be one of 'uint8', 'uint16', 'int32', 'int64', got 'int16'",
    ),
    "index_dtype of a plane": (
        {"index_format": "plane", "index_dtype": "uint8"},
        ValueError,
        "`index_dtype` must be one of 'int64', 'int32', got 'uint8'",
    ),
    "index_dtype too small": (
        {"pool_size": (16, 17), "index_dtype": "uint8"},
        ValueError,
        "`index_dtype` must hold every tap of a window, got 'uint8' for 272 taps: pass 'uint16', or leave it out",
    ),
    "index_dtype a float": ({"index_dtype": "float32"}, ValueError, "`index_dtype` must be one of "),
    "index_dtype unhashable": ({"index_dtype": ["int64"]}, ValueError, "`index_dtype` must be one of "),
}
WRONG_UNPOOLING = {
    "no window, but strides": (
        {"pool_size": None, "strides": 2},
        ValueError,
        "`strides` must be left out where pool_size=None, got 2: pass the `pool_size` of the pooling call too",
    ),
    "no window, but padding": (
        {"pool_size": None, "padding": "same"},
        ValueError,
        "`padding` must be left out where pool_size=None, got 'same'",
    ),
    "no window, but taps": (
        {"pool_size": None, "index_format": "window"},
        ValueError,
        "`pool_size` must be given with index_format='window', got None",
    ),
    "no window, but a check of windows": (
        {"pool_size": None, "validate": "windows"},
        ValueError,
        "`pool_size` must be given with validate='windows', got None",
    ),
    "output_size 0": ({"output_size": (4, 0)}, ValueError, "`output_size` must be between 1 and "),
    "output_size a float": ({"output_size": 4.0}, TypeError, f"`output_size` {INTEGERS} 4.0"),
    "output_size with the batch": (
        {"output_size": (1, 4, 4, 3)},
        ValueError,
        "one per spatial dimension, got (1, 4, 4, 3): leave out the batch and the channels",
    ),
    "output_size open": ({"output_size": (None, 4)}, TypeError, f"`output_size` {INTEGERS} (None, 4)"),
    "duplicates": (
        {"duplicates": "mean"},
        ValueError,
        "`duplicates` must be one of 'last', 'sum', 'error', got 'mean'",
    ),
    "duplicates None": ({"duplicates": None}, ValueError, "`duplicates` must be one of "),
    "duplicates unhashable": ({"duplicates": ["last"]}, ValueError, "`duplicates` must be one of "),
}
TABLE = {
    f"{make.__name__}, {name}": (make, *case)
    for make, more in ((pooling, WRONG_POOLING), (unpooling, WRONG_UNPOOLING))
    for name, case in (WRONG | more).items()
}


@pytest.mark.parametrize(("make", "named", "error", "message"), TABLE.values(), ids=TABLE)
def test_wrong_arguments_are_met_where_they_are_written(make, named, error, message):
    with pytest.raises(error, match=re.escape(message)):
        make(2, **named)


def test_arguments_that_nobody_knows_are_refused():
    for make in (pooling, unpooling):
        with pytest.raises((TypeError, ValueError), match="dilation"):
            make(2, dilation=2)


# The values, and the first cell of each window as a position in a plane of 4 x 4 and as a tap.
V, I = np.ones((1, 2, 2, 1), "float32"), np.array([0, 2, 8, 10]).reshape(1, 2, 2, 1)
T = np.zeros((1, 2, 2, 1), "uint8")
PLANE = {"index_format": "plane"}
PICTURE = np.zeros((1, 4, 4, 1), "float32")
AS_LIKE = "`output_size` must be integers, got a tensor of shape (1, 4, 4, 1): pass the tensor that was pooled as `li"
FLOATS = (
    "`indices` must be integers, got float32: pass the indices of the pooling layer as they are. Keras layers such as "
    "Concatenate and Lambda declare floats, so apply functions such as keras.ops.concatenate to indices instead. The "
    "order of the arguments is (values, indices)"
)
BATCH = (
    "`{0}` must have 4 dimensions (N, H, W, C), got shape (2, 2, 1): give a single sample a batch of 1, as {0}[None] "
    "does; if the channels are missing, add them, as {0}[..., None] does"
)
PAIR = (
    "`inputs` must be the values if `indices` is passed, else a pair [values, indices], got {}: call "
    "layer(values, indices), or layer([values, indices])"
)
SAME = "pool_size=(2, 2), strides=(2, 2), padding='same'"
NO_TAP = (
    "is no tap of its window in an output plane of {}: expected a tap from 0 to 3 that is not in the padding, with "
    f"{SAME}"
)
CALLS = {
    "pooling without the batch": (lambda: pooling(2)(V[0]), ValueError, BATCH.format("inputs")),
    "unpooling without the batch": (
        lambda: unpooling(2)(V[0], I[0]),
        ValueError,
        BATCH.format("inputs"),
    ),
    "like without the batch": (
        lambda: unpooling(2)(V, I, like=V[0]),
        ValueError,
        BATCH.format("like"),
    ),
    "a shape as like": (
        lambda: unpooling(2)(V, T, like=(1, 4, 4, 1)),
        ValueError,
        "got shape (4,): pass the tensor that was pooled, not its shape",
    ),
    "an array of sizes as like": (
        lambda: unpooling(2)(V, T, like=np.array([1, 4, 4, 1])),
        ValueError,
        "got shape (4,): pass the tensor that was pooled, not its shape",
    ),
    "another rank": (
        lambda: pooling(1, data_format="channels_first")(V),
        ValueError,
        "(N, C, L), got shape (1, 2, 2, 1): call the layer for as many spatial dimensions; unpool.keras has them for",
    ),
    "a batch of rows without channels": (
        lambda: pooling(1, data_format="channels_first")(V[..., 0, 0]),
        ValueError,
        "inputs[None] does; if the channels are missing, add them, as inputs[:, None] does",
    ),
    "a picture alone": (
        lambda: pooling(2)(V[0, ..., 0]),
        ValueError,
        "got shape (2, 2): add axes for the batch and the channels, as inputs[None, ..., None] does",
    ),
    "a picture alone, channels first": (
        lambda: pooling(2, data_format="channels_first")(V[0, ..., 0]),
        ValueError,
        "got shape (2, 2): add axes for the batch and the channels, as inputs[None, None] does",
    ),
    "values alone": (lambda: unpooling(2)(V), TypeError, "else a pair [values, indices], got "),
    "a pair, and indices": (lambda: unpooling(2)([V, I], I), TypeError, "got a list of 2 and "),
    "three": (lambda: unpooling(2)([V, I, V]), TypeError, PAIR.format("a list of 3 and NoneType")),
    "one": (lambda: unpooling(2)((V,)), TypeError, PAIR.format("a tuple of 1 and NoneType")),
    "two sizes": (
        lambda: unpooling(2)(V, I, like=V, output_size=(4, 4)),
        ValueError,
        "`output_size` must be left out where `like` is given, got both: pass only one of them",
    ),
    "indices and values, swapped": (
        lambda: unpooling(2)(I, V),
        TypeError,
        "The order of the arguments is (values, indices)",
    ),
    "shapes that differ": (lambda: unpooling(2)(V, T[:, :1]), ValueError, "`indices` must have the shape of `input"),
    "a size that does not pool to it": (
        lambda: unpooling(2)(V, T, output_size=(6, 4)),
        ValueError,
        "`output_size` must be between 3 and 5 (both allowed) in spatial dimension 0",
    ),
    "no window, and no size": (
        lambda: unpooling(2, None)(V, I),
        ValueError,
        "`like` must be given where there is no window, got None: pass what was pooled as `like`, or its size as",
    ),
    "no window, and an index past the plane": (
        lambda: unpooling(2, None)(V, I + 6, output_size=4),
        IndexError,
        "indices[0, 1, 1, 0] = 16 is out of range for an output plane of 4 x 4: expected 0..15",
    ),
    "another batch": (
        lambda: unpooling(2)(V, T, output_size=(2, 4, 4, 1)),
        ValueError,
        "`output_size` must keep the batch and channels of `input",
    ),
    "an odd one of even windows": (
        lambda: unpooling(2, padding="same")(V, T, output_size=(5, 4)),
        ValueError,
        "`output_size` must be between 3 and 4 (both allowed) in spatial dimension 0",
    ),
    "smaller than a window": (
        lambda: pooling(2, 3)(V),
        ValueError,
        (
            "`inputs` must be at least as large as one window, got shape (1, 2, 2, 1), whose spatial dimension 0 pools "
            "to nothing with pool_size=(3, 3), strides=(3, 3), padding=(0, 0): pass a smaller `pool_size`"
        ),
    ),
    "a tensor as output_size": (lambda: unpooling(2)(V, T, PICTURE), TypeError, AS_LIKE),
    "an open shape as output_size": (
        lambda: unpooling(2)(V, T, output_size=(None, None, 4, 1)),
        ValueError,
        (
            "`output_size` must have an integer for each spatial size, got (None, None, 4, 1): pass the tensor that "
            "was pooled as `like`"
        ),
    ),
    "taps whose windows depend on the size": (
        lambda: unpooling(2, 3, 2, padding="same")(V, T),
        ValueError,
        "got none with pool_size=(3, 3), strides=(2, 2), padding='same': pass what was pooled as `like`",
    ),
    "float indices": (
        lambda: unpooling(2)(V, T.astype("float32")),
        TypeError,
        FLOATS,
    ),
    "bool indices": (
        lambda: unpooling(2)(V, T.astype("bool")),
        TypeError,
        "`indices` must be integers, got bool: pass the indices of the pooling layer as they are. The order of the ",
    ),
    "complex": (lambda: pooling(2)(V.astype("complex64")), TypeError, "must be of one of the dtypes float16"),
    "a tap past its window": (
        lambda: unpooling(2, padding="same")(V, T + 4),
        IndexError,
        (
            f"indices[0, 0, 0, 0] = 4 {NO_TAP.format('4 x 4')}; pass what was pooled as `like`, or its size as "
            f"`output_size`, with the arguments of the pooling call"
        ),
    ),
    "a tap in the padding": (
        lambda: unpooling(2, padding="same")(V, T + np.uint8(1), like=np.zeros((1, 3, 3, 1))),
        IndexError,
        f"indices[0, 0, 1, 0] = 1 {NO_TAP.format('3 x 3')}; pass what was pooled as `like`",
    ),
    "positions for taps": (lambda: unpooling(2)(V, I), IndexError, "indices[0, 1, 0, 0] = 8 is no tap of its window"),
    "taps for positions": (
        lambda: unpooling(2, **PLANE)(V, T),
        TypeError,
        'got uint8, which holds the taps of windows: if they are taps, pass index_format="window" with the',
    ),
    "an index past the plane": (
        lambda: unpooling(2, **PLANE)(V, I + 6),
        IndexError,
        "indices[0, 1, 1, 0] = 16 is out of range for an output plane of 4 x 4: expected 0..15",
    ),
    "an odd picture without its size": (
        lambda: unpooling(2, padding="same", **PLANE)(
            *pooling(2, padding="same", **PLANE)(np.arange(9.0).reshape(1, 3, 3, 1))
        ),
        IndexError,
        f"= 5 is outside its own window in an output plane of 4 x 4, with {SAME}: pass what was pooled as `like`",
    ),
    "a wrong size, asked about windows": (
        lambda: unpooling(2, validate="windows", **PLANE)(V, I, output_size=(5, 5)),
        IndexError,
        "outside its own window in an output plane of 5 x 5",
    ),
    "a decoder that is a cell off": (
        lambda: unpooling(2)(np.zeros((1, 4, 4, 1), "float32"), np.zeros((1, 5, 5, 1), "int64")),
        ValueError,
        (
            "pass `inputs` and `indices` of one pooling call; if `inputs` is the result of an unpooling, pass that "
            "unpooling what was pooled as `like`, or its size as `output_size`"
        ),
    ),
    "indices of TensorFlow's": (
        lambda: unpooling(2, **PLANE)(np.repeat(V, 2, -1), 2 * np.repeat(I, 2, -1) + [0, 1]),
        IndexError,
        "if TensorFlow, ONNX or Chainer made the indices, convert them by unpool.convert_indices",
    ),
    "a word for nothing": (
        lambda: unpooling(2, validate="window"),
        ValueError,
        "`validate` must be one of True, False, 'w",
    ),
    "a negative index": (
        lambda: unpooling(2, **PLANE)(V, I - 1),
        IndexError,
        "indices[0, 0, 0, 0] = -1 is out of range",
    ),
    "a negative tap": (lambda: unpooling(2)(V, T - np.int32(1)), IndexError, "indices[0, 0, 0, 0] = -1 is no tap of"),
}


@pytest.mark.parametrize(("call", "error", "message"), CALLS.values(), ids=CALLS)
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


# Words of the functions for `inputs`, `pool_size` and `strides`, and for arguments that the layers do not have.
OF_FUNCTIONS = re.compile(r"`input`|kernel_size|\bstride\b|dilation|max_pool|validate='windows' if")


@pytest.mark.parametrize("case", [*TABLE, *CALLS])
def test_errors_name_the_arguments_of_the_layers(case):
    if case in TABLE:
        make, named, error, _ = TABLE[case]
    else:
        (make, error, _), named = CALLS[case], None
    with pytest.raises(error) as caught:
        make() if named is None else make(2, **named)
    assert not OF_FUNCTIONS.search(str(caught.value))


def test_an_error_keeps_its_traceback():
    """The last function is that of the core that raised it, and Keras' own text stays."""
    with pytest.raises(ValueError, match="pool_size") as caught:
        pooling(2, padding=2)
    assert caught.traceback[-1].path.name == "arguments.py"
    with pytest.raises(
        ValueError, match=r"(?s)when calling MaxPooling2DWithIndices.*pool_size=.*Arguments received by"
    ):
        pooling(2, 3)(V)


def symbol(array):
    return keras.KerasTensor(array.shape, array.dtype.name)


SYMBOLIC = {
    "a function": (
        lambda: unpool.max_pool2d(keras.Input((4, 4, 1)), 2, data_format="channels_last"),
        TypeError,
        "`input` must be an array with values, got keras.",
    ),
    "a function of indices": (
        lambda: unpool.max_unpool2d(symbol(V), symbol(I), 2, data_format="channels_last"),
        TypeError,
        "call a layer of unpool.keras where a model is made",
    ),
    "pooling without the batch": (lambda: pooling(2)(symbol(V[0])), ValueError, CALLS["pooling without the batch"][2]),
    "values alone": (lambda: unpooling(2)(symbol(V)), TypeError, "else a pair [values, indices], got "),
    "three": (lambda: unpooling(2)([symbol(V)] * 3), TypeError, CALLS["three"][2]),
    "two sizes": (
        lambda: unpooling(2)(symbol(V), symbol(I), like=symbol(V), output_size=(4, 4)),
        ValueError,
        CALLS["two sizes"][2],
    ),
    "shapes that differ": (
        lambda: unpooling(2)(symbol(V), symbol(I[:, :1])),
        ValueError,
        "`indices` must have the shape of `inputs`, (1, 2, 2, 1), got (1, 1, 2, 1)",
    ),
    "a shape as like": (
        lambda: unpooling(2)(symbol(V), symbol(T), like=(1, 4, 4, 1)),
        ValueError,
        CALLS["a shape as like"][2],
    ),
    "a size that does not pool to it": (
        lambda: unpooling(2)(symbol(V), symbol(I), output_size=(6, 4)),
        ValueError,
        CALLS["a size that does not pool to it"][2],
    ),
    "like, of a size that does not pool to it": (
        lambda: unpooling(2)(symbol(V), symbol(I), like=keras.Input((None, 6, 3))),
        ValueError,
        "must be between 3 and 5 (both allowed) in spatial dimension 1",
    ),
    "no window, and no size": (
        lambda: unpooling(2, None)(symbol(V), symbol(I)),
        ValueError,
        CALLS["no window, and no size"][2],
    ),
    "smaller than a window": (lambda: pooling(2, 3)(symbol(V)), ValueError, CALLS["smaller than a window"][2]),
    "complex": (
        lambda: pooling(2)(keras.KerasTensor(V.shape, "complex64")),
        TypeError,
        "`inputs` must be of one of the dtypes float16",
    ),
    "taps for positions": (
        lambda: unpooling(2, **PLANE)(symbol(V), symbol(T)),
        TypeError,
        CALLS["taps for positions"][2],
    ),
    "an open size": (
        lambda: unpooling(2)(symbol(V), symbol(T), output_size=keras.Input((None, None, 1)).shape),
        ValueError,
        "must have an integer for each spatial size, got (None, None, None, 1): pass the tensor that was pooled",
    ),
    "an open size of keras.ops": (
        lambda: unpooling(2)(symbol(V), symbol(T), output_size=keras.ops.shape(keras.Input((None, None, 1)))[1:3]),
        ValueError,
        "must have an integer for each spatial size, got (None, None): pass the tensor that was pooled as `like`",
    ),
    "a tensor as output_size": (
        lambda: unpooling(2)(symbol(V), symbol(T), output_size=symbol(PICTURE)),
        TypeError,
        AS_LIKE,
    ),
    "a tensor as the third argument": (
        lambda: unpooling(2)(symbol(V), symbol(T), symbol(PICTURE)),
        TypeError,
        AS_LIKE,
    ),
    "float indices": (
        lambda: unpooling(2)(symbol(V), keras.layers.Concatenate()([symbol(T), symbol(T)])),
        TypeError,
        FLOATS,
    ),
    "one shape for two": (
        lambda: unpooling(2).compute_output_shape((None, 2, 2, 1)),
        TypeError,
        "`inputs` must be the values if `indices` is passed, else a pair",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), SYMBOLIC.values(), ids=SYMBOLIC)
def test_wrong_calls_are_met_where_a_model_is_made(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
