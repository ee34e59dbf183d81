"""Layers of `unpool.keras`: arguments, values, indices, sizes, shapes, dtypes and gradients.

KERAS_BACKEND chooses the backend of Keras. tox.ini runs this file once with each.
"""

import inspect
import re

import numpy as np
import pytest
from needs import require

from unpool.testing import oracle
from unpool.testing.cases import FORMATS, anywhere, arranged
from unpool.testing.compare import assert_same_bits

keras = require("keras", "the tests of its layers need it")

from keras_layers import pooling, unpooling  # noqa: E402
from keras_ways import BACKEND, every_way, gradient, quiet  # noqa: E402

import unpool.keras  # noqa: E402
from unpool.plan import INDEX_FORMATS  # noqa: E402

pytestmark = quiet

NAMES = [name for rank in (1, 2, 3) for name in (f"MaxPooling{rank}DWithIndices", f"MaxUnpooling{rank}D")]
# pool_size and strides: plain, overlapping, an even window that "same" pads on one side, and gaps.
WINDOWS = ((2, None), (3, 2), (2, 1), (2, 3))

every_rank = pytest.mark.parametrize("rank", [1, 2, 3])
every_format = pytest.mark.parametrize("data_format", FORMATS)
every_window = pytest.mark.parametrize("window", WINDOWS, ids=str)
every_padding = pytest.mark.parametrize("padding", ["valid", "same"])
every_index_format = pytest.mark.parametrize("index_format", INDEX_FORMATS)


def data(rank, data_format="channels_last", dtype="float32"):
    """Return distinct numbers of both signs, in planes with odd and even sizes."""
    shape = arranged((2, 3), (7, 6, 5)[:rank], data_format)
    numbers = np.random.default_rng(rank).permutation(int(np.prod(shape))).reshape(shape)
    return (numbers - numbers.size // 2).astype(dtype)


def spatial(shape, data_format):
    return tuple(shape[1:-1] if data_format == "channels_last" else shape[2:])


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def arrays(pair):
    values, indices = pair  # exactly two results
    return array(values), array(indices)


def of_this_backend(index_dtype):
    """Return int32 in place of int64 for JAX outside of its 64-bit mode, and the given dtype otherwise."""
    if BACKEND != "jax" or index_dtype != "int64":
        return index_dtype
    import jax

    return index_dtype if jax.config.jax_enable_x64 else "int32"


def index_dtype_of(index_format):
    """Return the dtype of the indices of small windows."""
    return of_this_backend({"plane": "int64", "window": "uint8"}[index_format])


def pooled(x, window=(2, None), padding="same", data_format="channels_last", index_format="plane"):
    """Pool with the oracle."""
    rank, last = x.ndim - 2, data_format == "channels_last"
    along = padding if isinstance(padding, tuple) else ({"valid": 0}.get(padding, padding),) * rank
    window = (window[0],) * rank, (window[1] or window[0],) * rank, along, (1,) * rank
    values, indices = oracle.max_pool(x, *window, channels_last=last)
    if index_format == "window":
        indices = oracle.taps(indices, spatial(x.shape, data_format), *window, channels_last=last)
    return values, indices.astype(index_dtype_of(index_format))


def restored(x, *window):
    """Return `x` with zero in every cell that is no window's maximum; `window` as in `pooled`."""
    _, indices = pooled(x, *window)
    return kept(x, indices.astype("int64"), *window[2:])


def kept(x, indices, data_format="channels_last"):
    """Return `x` with zero in every cell of a plane that no index names."""
    axis = -1 if data_format == "channels_last" else 1
    planes, places = (np.moveaxis(one, axis, 1).reshape(*one.shape[:1], one.shape[axis], -1) for one in (x, indices))
    named = np.zeros(planes.shape, bool)
    np.put_along_axis(named, places, True, axis=-1)
    return np.where(np.moveaxis(named.reshape(np.moveaxis(x, axis, 1).shape), 1, axis), x, 0)


# --- the layers -------------------------------------------------------------------------------------------------------


def test_all_of_them():
    assert sorted(unpool.keras.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_name_in_a_file_stays(name):
    """Saved models refer to their layers by this name."""
    assert keras.saving.get_registered_name(getattr(unpool.keras, name)) == f"unpool>{name}"


@every_rank
def test_pooling_takes_the_arguments_of_keras_own(rank):
    ours, theirs = (
        inspect.signature(cls).parameters for cls in (type(pooling(rank)), getattr(keras.layers, f"MaxPooling{rank}D"))
    )
    shared = ["pool_size", "strides", "padding", "data_format"]
    assert list(ours)[:4] == list(theirs)[:4] == shared
    assert [ours[name].default for name in shared[1:]] == [theirs[name].default for name in shared[1:]]
    for layer in (pooling(rank), unpooling(rank)):
        assert layer.pool_size == layer.strides == (2,) * rank
        assert not layer.weights


@pytest.mark.parametrize("data_format", FORMATS)
def test_the_data_format_is_that_of_keras_unless_given(data_format):
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(data_format)
    try:
        assert pooling(2).data_format == unpooling(2).data_format == data_format
        other = FORMATS[FORMATS.index(data_format) - 1]
        assert pooling(2, data_format=other).data_format == unpooling(2, data_format=other).data_format == other
    finally:
        keras.config.set_image_data_format(before)


@pytest.mark.parametrize("make", [pooling, unpooling])
def test_words_are_read_as_keras_reads_them(make):
    layer = make(2, padding="SAME", data_format="Channels_First")
    assert (layer.padding, layer.data_format) == ("same", "channels_first")
    layer = make(2, data_format="NHWC", index_format="pytorch")
    assert (layer.data_format, layer.index_format) == ("channels_last", "plane")


# --- pooling ----------------------------------------------------------------------------------------------------------


@every_rank
@every_format
@every_window
@every_padding
@every_index_format
def test_values_are_those_of_keras_and_indices_say_where_they_were(rank, data_format, window, padding, index_format):
    x = data(rank, data_format)
    named = {"padding": padding, "data_format": data_format}
    values, indices = arrays(pooling(rank, *window, **named, index_format=index_format)(x))
    theirs = getattr(keras.layers, f"MaxPooling{rank}D")(*window, **named)(x)
    assert_same_bits(values, array(theirs))
    expected_values, expected = pooled(x, window, padding, data_format, index_format)
    assert_same_bits(values, expected_values)
    assert_same_bits(indices, expected)


@every_rank
@every_format
@pytest.mark.parametrize(
    ("window", "padding"),
    [((2, None), 1), ((3, 2), 1), ((5, 1), 2), ((2, None), (0, 1)), ((3, 2), (2, 0)), ((4, 1), (3, 1))],
    ids=str,
)
@every_index_format
def test_integers_pad_both_sides_and_pairs_each(rank, data_format, window, padding, index_format):
    x = data(rank, data_format)
    padding = (padding,) * (rank - 1) + (0,)  # one each
    pair = arrays(pooling(rank, *window, padding, data_format, index_format=index_format)(x))
    for found, expected in zip(pair, pooled(x, window, padding, data_format, index_format), strict=True):
        assert_same_bits(found, expected)


@every_rank
@every_format
@pytest.mark.parametrize("window", [*WINDOWS, (4, 2)], ids=str)
@every_index_format
def test_same_lower_pads_the_larger_half_before(rank, data_format, window, index_format):
    x, options = data(rank, data_format), {"data_format": data_format, "index_format": index_format}
    pair = arrays(pooling(rank, *window, "same_lower", **options)(x))
    for found, expected in zip(pair, pooled(x, window, "same_lower", data_format, index_format), strict=True):
        assert_same_bits(found, expected)
    back = unpooling(rank, *window, "same_lower", **options)(*pair, like=x)
    assert_same_bits(array(back), restored(x, window, "same_lower", data_format))


def test_windows_may_have_another_size_along_each_axis():
    x = data(3)
    named = {"pool_size": (1, 3, 2), "strides": [2, 1, 3], "padding": "same"}
    values, _ = arrays(pooling(3, **named)(x))
    assert_same_bits(values, array(keras.layers.MaxPooling3D(**named)(x)))
    named = {"pool_size": (2, 3), "strides": (3, 1), "padding": (1, 0), "data_format": "channels_first"}
    window = (2, 3), (3, 1), (1, 0), (1, 1)
    values, indices = arrays(pooling(2, **named)(data(2, "channels_first")))
    expected, cells = oracle.max_pool(data(2, "channels_first"), *window)
    assert_same_bits(values, expected)
    assert_same_bits(indices, oracle.taps(cells, (7, 6), *window).astype("uint8"))


def test_a_nan_is_kept_and_of_equal_maxima_the_first():
    x = np.array([[3, 3, 1, np.nan, -np.inf, -np.inf]], "float32")[..., None]
    values, indices = arrays(pooling(1)(x))
    assert np.array_equal(values.ravel(), [3, np.nan, -np.inf], equal_nan=True)
    assert indices.ravel().tolist() == [0, 1, 0]


def check_index_dtype(layer, x, name):
    expected = of_this_backend(name)
    assert arrays(layer(x))[1].dtype == expected
    assert layer(keras.Input(x.shape[1:]))[1].dtype == expected
    assert layer.index_dtype == layer.get_config()["index_dtype"] == name


@every_rank
@pytest.mark.parametrize(
    ("index_format", "index_dtype"),
    [
        *[("plane", index_dtype) for index_dtype in ("int64", "int32", np.int32, np.dtype("int64"))],
        *[("window", index_dtype) for index_dtype in ("uint8", "uint16", "int32", "int64", np.uint16)],
    ],
    ids=str,
)
def test_indices_have_the_dtype_that_was_asked_for(rank, index_format, index_dtype):
    layer = pooling(rank, index_format=index_format, index_dtype=index_dtype)
    check_index_dtype(layer, data(rank), np.dtype(index_dtype).name)


@every_index_format
def test_the_default_index_dtype_is_int64_or_the_smallest_for_the_taps(index_format):
    named = {"padding": "same", "index_format": index_format}
    x = data(2)
    for size, dtype in (((16, 16), "uint8"), ((257, 1), "uint16"), ((257, 257), "int32")):
        pool = pooling(2, size, 5, **named)
        check_index_dtype(pool, x, dtype if index_format == "window" else "int64")
        planes = unpooling(2, size, 5, **named)(*pool(x), like=x)
        expected, places = oracle.max_pool(x, size, (5, 5), ("same", "same"), (1, 1), channels_last=True)
        assert_same_bits(array(planes), oracle.max_unpool(expected, places, (7, 6), "last", True))


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX has this mode")
def test_indices_are_int64_in_the_64_bit_mode_of_jax():
    import jax

    with jax.enable_x64(True):
        check_index_dtype(pooling(2, index_format="plane"), data(2), "int64")
        check_index_dtype(pooling(2, index_dtype="int64"), data(2), "int64")
        check_index_dtype(pooling(2), data(2), "uint8")


# --- unpooling --------------------------------------------------------------------------------------------------------


@every_rank
@every_format
@every_window
@every_padding
@every_index_format
def test_every_maximum_comes_back_to_where_it_was(rank, data_format, window, padding, index_format):
    x = data(rank, data_format)
    named = {"padding": padding, "data_format": data_format, "index_format": index_format}
    pair = pooling(rank, *window, **named)(x)
    expected = restored(x, window, padding, data_format)
    assert_same_bits(array(unpooling(rank, *window, **named)(*pair, like=x)), expected)


@every_format
@pytest.mark.parametrize(
    ("window", "padding"),
    [((3, 2), 1), ((5, 1), (2, 0)), ((2, None), 1), ((2, None), ((0, 1), (1, 0))), ((3, 2), ((2, 0), 1))],
    ids=str,
)
@every_index_format
def test_every_maximum_comes_back_from_padded_pictures(data_format, window, padding, index_format):
    x = data(2, data_format)
    named = {"data_format": data_format, "index_format": index_format}
    pair = pooling(2, *window, padding, **named)(x)
    expected = restored(x, window, padding, data_format)
    assert_same_bits(array(unpooling(2, *window, padding, **named)(*pair, like=x)), expected)


@every_rank
@every_format
def test_without_a_window(rank, data_format):
    """Indices may name any cell, and the size is given in any of the ways."""
    sizes, last = (7, 6, 5)[:rank], data_format == "channels_last"
    values = data(rank, data_format)[:, :2] if last else data(rank, data_format)[:, :, :2]
    indices = anywhere(values.shape, int(np.prod(sizes)))
    expected = oracle.max_unpool(values, indices, sizes, "last", last)
    like = np.zeros(arranged((1, 9), sizes, data_format), "uint8")
    layer, sized = (unpooling(rank, None, data_format=data_format, output_size=size) for size in (None, sizes))
    assert layer.index_format == "plane"
    for found in (
        sized(values, indices),
        layer(values, indices, like=like),
        layer(values, indices, output_size=sizes),
        layer(values, indices, output_size=expected.shape),
    ):
        assert_same_bits(array(found), expected)
    symbols = keras.KerasTensor(values.shape, values.dtype), keras.KerasTensor(indices.shape, indices.dtype)
    assert sized(*symbols).shape == sized.compute_output_shape(values.shape, indices.shape) == expected.shape
    unknown = keras.Input(arranged((3,), (None,) * rank, data_format))
    assert layer(*symbols, like=unknown).shape == arranged((2, 3), (None,) * rank, data_format)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "int64"])
def test_taps_may_be_of_every_integer_dtype(dtype):
    x = data(2)
    values, indices = arrays(pooling(2, 3, 2, "same")(x))
    assert_same_bits(array(unpooling(2, 3, 2, "same")(values, indices.astype(dtype), like=x)), restored(x, (3, 2)))


@every_rank
def test_ways_to_call(rank):
    x = data(rank)
    values, indices = pooling(rank, padding="same")(x)
    layer = unpooling(rank, padding="same", output_size=x.shape[1:-1])
    expected = restored(x)
    for found in (
        layer(values, indices),
        layer(values, indices=indices),
        layer(inputs=values, indices=indices),
        layer([values, indices]),
        layer((values, indices)),
        layer(array(values), array(indices)),
    ):
        assert_same_bits(array(found), expected)


@every_rank
@every_format
def test_ways_to_say_the_size(rank, data_format):
    x = data(rank, data_format)
    named = {"padding": "same", "data_format": data_format}
    pair = pooling(rank, **named)(x)
    layer = unpooling(rank, **named)
    sizes = (7, 6, 5)[:rank]
    # Only the spatial sizes of `like` count: its batch, channels and dtype may differ.
    other = np.zeros(arranged((1, 9), sizes, data_format), "uint8")
    for found in (
        unpooling(rank, output_size=sizes, **named)(*pair),
        layer(*pair, output_size=sizes),
        layer(pair, output_size=list(sizes)),
        layer(*pair, output_size=np.array(sizes)),
        layer(*pair, output_size=x.shape),
        layer(*pair, output_size=keras.ops.shape(keras.ops.convert_to_tensor(x))),
        layer(*pair, None, x),
        layer(*pair, like=x),
        layer(pair, like=keras.ops.convert_to_tensor(other)),
    ):
        assert_same_bits(array(found), restored(x, (2, None), "same", data_format))


def test_one_integer_is_a_size_everywhere():
    x = data(2)[:, :5, :5]
    pair = pooling(2, padding="same")(x)
    at_first, at_call = unpooling(2, padding="same", output_size=5), unpooling(2, padding="same")
    assert at_first.output_size == (5, 5)
    assert_same_bits(array(at_call(*pair, output_size=5)), array(at_first(*pair)))
    assert at_call.compute_output_shape(pair[0].shape, pair[1].shape, output_size=5) == (2, 5, 5, 3)
    assert at_call(*pooling(2, padding="same")(keras.Input((5, 5, 3))), output_size=5).shape == (None, 5, 5, 3)


@pytest.mark.parametrize("index_format", ["plane", "window"])
@pytest.mark.parametrize(("padding", "size"), [("valid", 7), ("same", 6), (1, 5), (((2, 0), (0, 1)), (5, 6))])
def test_the_size_that_follows_is_what_windows_cover(padding, size, index_format):
    sizes = size if isinstance(size, tuple) else (size, size)
    x, named = np.zeros((2, *sizes, 3), "float32"), {"index_format": index_format}
    layer, pair = unpooling(2, 3, 2, padding, **named), pooling(2, 3, 2, padding, **named)(x)
    assert layer(*pair, like=x).shape == x.shape
    if padding != "same" or index_format == "plane":
        assert layer(*pair).shape == x.shape


@every_rank
def test_taps_need_the_size_where_it_places_windows(rank):
    """Windows of 3 with strides of 2 begin at cell 0 of 6 cells, and one cell before a plane of 5."""
    x = np.random.default_rng(rank).random((2, *(5,) * rank, 3), "float32")
    pair = pooling(rank, 3, 2, "same")(x)
    layer = unpooling(rank, 3, 2, "same")
    expected = array(
        unpooling(rank, 3, 2, "same", index_format="plane")(
            *pooling(rank, 3, 2, "same", index_format="plane")(x), like=x
        )
    )
    assert_same_bits(array(layer(*pair, like=x)), expected)
    symbolic = pooling(rank, 3, 2, "same")(keras.Input((*(None,) * rank, 3)))
    needed = "`like` must be given for index_format='window' with validate=True if "
    for call in (lambda: layer(*pair), lambda: layer(*symbolic)):
        with pytest.raises(ValueError, match=f"{needed}.* as `like`, or its size as `output_size`"):
            call()
    assert unpooling(rank, 3, 2, "same", validate=False)(*pair).shape == (2, *(6,) * rank, 3)
    assert unpooling(rank, 2, 2, "same")(*pooling(rank, 2, 2, "same")(x)).shape == (2, *(6,) * rank, 3)
    # With "same_lower", windows of 3 always begin one cell before the plane, and windows of 2 where the size is odd.
    assert unpooling(rank, 3, 2, "same_lower")(*pooling(rank, 3, 2, "same_lower")(x), like=x).shape == x.shape
    with pytest.raises(ValueError, match=needed):
        unpooling(rank, 2, 2, "same_lower")(*pooling(rank, 2, 2, "same_lower")(x))


@every_rank
@every_format
def test_an_odd_plane_is_never_sheared(rank, data_format):
    """Without the size, the default plane is even: every position is in range, and most name a wrong cell."""
    x = np.random.default_rng(rank).random(arranged((2, 3), (7, 5, 5)[:rank], data_format), "float32")
    named = {"padding": "same", "data_format": data_format, "index_format": "plane"}
    pair = pooling(rank, 2, **named)(x)
    if rank == 1:  # indices of a row do not depend on its size
        assert unpooling(rank, 2, **named)(*pair).shape[1 if data_format == "channels_last" else 2] == 8
    else:
        with pytest.raises(IndexError, match=r"is outside its own window .* as `like`, or its size as `output_size`"):
            unpooling(rank, 2, **named)(*pair)
    unpooling(rank, 2, **named, validate=False)(*pair)
    assert unpooling(rank, 2, **named)(*pair, like=x).shape == x.shape


@every_rank
@every_format
def test_taps_restore_an_odd_plane_without_its_size(rank, data_format):
    """Windows of 2 pad behind the plane alone, so the default plane has zeros more, and nothing moves."""
    x = data(rank, data_format)
    named = {"padding": "same", "data_format": data_format}
    planes = array(unpooling(rank, 2, **named)(*pooling(rank, 2, **named)(x)))
    expected, more = restored(x, (2, None), "same", data_format), [(0, size % 2) for size in (7, 6, 5)[:rank]]
    expected = np.pad(expected, [(0, 0), *more, (0, 0)] if data_format == "channels_last" else [(0, 0)] * 2 + more)
    assert_same_bits(planes, expected)


def test_what_a_call_says_goes_before_what_the_layer_was_made_with():
    x = data(2)
    pair = pooling(2, padding="same")(x)
    layer = unpooling(2, padding="same", output_size=(8, 6))
    assert layer(*pair).shape == (2, 8, 6, 3)
    expected = restored(x)
    assert_same_bits(array(layer(*pair, output_size=(7, 6))), expected)
    assert_same_bits(array(layer(*pair, like=x)), expected)
    assert layer.output_size == (8, 6)


def test_repeated_indices_mean_what_the_layer_was_told():
    values = np.array([[[1.0], [2.0], [4.0]]], "float32")
    for index_format, indices, message in (
        ("plane", [1, 1, 3], "indices[0, 0, 0] = indices[0, 1, 0] = 1"),
        ("window", [1, 0, 1], "indices[0, 0, 0] and indices[0, 1, 0], which are taps at one cell"),
    ):
        named = {"index_format": index_format}
        pair = values, np.array(indices).reshape(1, 3, 1)
        assert array(unpooling(1, 2, 1, **named)(*pair)).ravel().tolist() == [0, 2, 0, 4]
        assert array(unpooling(1, 2, 1, duplicates="sum", **named)(*pair)).ravel().tolist() == [0, 3, 0, 4]
        with pytest.raises(ValueError, match=re.escape(message)):
            unpooling(1, 2, 1, duplicates="error", **named)(*pair)


@every_rank
def test_a_batch_may_be_empty(rank):
    x = data(rank)[:0]
    pair = pooling(rank)(x)
    assert unpooling(rank)(*pair, like=x).shape == x.shape


def test_one_array_may_be_of_numpy():
    """Keras converts NumPy arrays itself, beside tensors of every backend, and keeps them in a model."""
    x = data(2)
    (values, indices), expected = pooled(x, padding="same"), restored(x, (2, None), "same")
    layer, tensor = (
        unpooling(2, padding="same", output_size=x.shape[1:3], index_format="plane"),
        keras.ops.convert_to_tensor,
    )
    for pair in ((tensor(values), indices), (values, tensor(indices))):
        assert_same_bits(array(layer(*pair)), expected)
        assert_same_bits(array(layer(list(pair))), expected)
    inputs = keras.Input(values.shape[1:], batch_size=len(values))
    assert_same_bits(array(keras.Model(inputs, layer(inputs, indices))(values)), expected)


# --- shapes before a call ---------------------------------------------------------------------------------------------


@every_rank
@every_format
@every_window
@every_padding
@every_index_format
@pytest.mark.filterwarnings("ignore::unpool.DefaultSizeWarning")  # on JAX, as tests/keras/test_models.py tests
def test_shapes_are_told_before_they_are_there(rank, data_format, window, padding, index_format):
    x = data(rank, data_format)
    named = {"padding": padding, "data_format": data_format, "index_format": index_format}
    # Without a check, also where taps need the size.
    pool, back = pooling(rank, *window, **named), unpooling(rank, *window, **named, validate=False)
    pair = pool(x)
    picture, small = x.shape, tuple(pair[0].shape)
    sizes, open_shape = (7, 6, 5)[:rank], arranged((None, 3), (None,) * rank, data_format)
    # The default size: the cells that the windows cover.
    kernel, stride = window[0], window[1] or window[0]
    more = stride if padding == "same" else kernel
    covers = [(n - 1) * stride + more for n in spatial(small, data_format)]
    for known, expected, back_to in (
        (picture, small, arranged((2, 3), covers, data_format)),
        ((None, *picture[1:]), (None, *small[1:]), arranged((None, 3), covers, data_format)),
        (open_shape, open_shape, open_shape),
    ):
        assert pool.compute_output_shape(known) == (expected, expected)
        assert back.compute_output_shape(expected, expected) == back_to
        assert back.compute_output_shape([expected, expected]) == back_to
        assert back.compute_output_shape(expected, expected, like_shape=known) == known
        spec = keras.KerasTensor(known)
        told = pool.compute_output_spec(spec)
        assert [one.shape for one in told] == [expected, expected]
        assert [one.dtype for one in told] == ["float32", index_dtype_of(index_format)]
        assert back.compute_output_spec(*told).shape == back_to
        assert back.compute_output_spec(told, like=spec).shape == known
        assert back.compute_output_spec(told, output_size=sizes).shape == arranged((known[0], 3), sizes, data_format)
    for actual, spec in zip(pair, pool(keras.Input(batch_shape=picture)), strict=True):
        assert tuple(actual.shape) == spec.shape
        assert keras.backend.standardize_dtype(actual.dtype) == spec.dtype


def test_a_size_that_is_computed_is_open():
    """The size is an input of the model, so it is unknown when the model is built."""
    size, x = keras.Input(batch_shape=(2,), dtype="int32"), keras.Input((7, 6, 3))
    planes = unpooling(2)(*pooling(2)(x), output_size=size)
    assert planes.shape == (None, None, None, 3)
    picture = data(2)
    found = keras.Model([x, size], planes)([picture, np.array([7, 6], "int32")])
    assert_same_bits(array(found), array(unpooling(2)(*pooling(2)(picture), like=picture)))


# --- dtypes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "float32", "mixed_float16", "mixed_bfloat16"])
def test_floats_get_the_dtype_of_the_policy(policy):
    x, dtype = data(2), policy.removeprefix("mixed_")
    pool, back = (make(2, padding="same", dtype=policy) for make in (pooling, unpooling))
    values, indices = pool(x)
    planes = back(values, indices, like=x)
    picture = keras.Input(x.shape[1:])
    told = pool(picture)
    for one in (values, planes, told[0], back(*told, like=picture)):
        assert keras.backend.standardize_dtype(one.dtype) == dtype
    assert keras.backend.standardize_dtype(indices.dtype) == told[1].dtype == "uint8"
    # Small integers are exact in every dtype.
    assert np.array_equal(array(planes).astype("float32"), restored(x))


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has float64 only in its 64-bit mode")
def test_doubles_stay_what_they_are():
    x = np.nextafter(data(2, dtype="float64"), np.inf)
    pair = pooling(2, padding="same", dtype="float64")(x)
    planes = unpooling(2, padding="same", dtype="float64")(*pair, like=x)
    assert_same_bits(array(planes), restored(x))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_integers_stay_what_they_are_whatever_the_policy(dtype, policy):
    x = (data(2) % 3 - 1).clip(0).astype(dtype) if dtype == "bool" else abs(data(2)).astype(dtype)
    pool, back = (make(2, padding="same", dtype=policy) for make in (pooling, unpooling))
    pair = pool(x)
    planes = back(*pair, like=x)
    assert_same_bits(array(planes), restored(x).astype(dtype))
    picture = keras.Input(x.shape[1:], dtype=dtype)
    told = pool(picture)
    assert told[0].dtype == back(*told, like=picture).dtype == dtype


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("index_dtype", ["int32", "int64"])
@every_index_format
def test_indices_stay_exact_whatever_the_policy(policy, index_dtype, index_format):
    """float16 has no value between 4096 and 4100, and bfloat16 has no 257."""
    x = np.zeros((5, 70, 70, 1), "float32")
    cells = [257, 2049, 4095, 4097, 4899]
    x.reshape(5, -1)[np.arange(5), cells] = 1, 2, 3, 4, 5
    named = {"dtype": policy, "index_format": index_format}
    values, indices = pooling(2, 70, index_dtype=index_dtype, **named)(x)
    assert array(indices).ravel().tolist() == cells
    planes = unpooling(2, 70, **named)(values, indices)
    assert np.array_equal(array(planes).astype("float32"), x)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_indices_that_are_floats_are_refused(policy):
    values, indices = np.ones((1, 2, 2, 1), "float32"), np.zeros((1, 2, 2, 1), "float32")
    layer = unpooling(2, dtype=policy)
    for one, other in ((values, indices), (keras.Input((2, 2, 1)), keras.Input((2, 2, 1)))):
        with pytest.raises(TypeError, match=r"`indices` must be integers, got float"):
            layer(one, other)


# --- gradients --------------------------------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize(
    ("rank", "data_format", "padding", "duplicates"),
    [
        (1, "channels_last", "same", "sum"),
        (2, "channels_first", "same", "last"),
        (3, "channels_last", "valid", "sum"),
    ],
)
def test_the_gradient_is_that_of_finite_differences(rank, data_format, padding, duplicates, way):
    """Windows overlap, so most indices repeat. The loss is quadratic, so central differences are exact."""
    shape = arranged((1, 2), (7, 4, 3)[:rank], data_format)
    rng = np.random.default_rng(rank)
    x, weights = rng.permutation(int(np.prod(shape))).reshape(shape).astype("float32"), rng.integers(1, 5, shape)
    last = data_format == "channels_last"
    sizes = spatial(shape, data_format)

    def expected_loss(x):
        planes = oracle.max_unpool(*pooled(x, (3, 2), padding, data_format), sizes, duplicates, last)
        return (weights * planes**2).sum()

    expected = np.empty(shape)
    for at in np.ndindex(shape):
        step = np.zeros(shape)
        step[at] = 0.25
        expected[at] = (expected_loss(x + step) - expected_loss(x - step)) / 0.5

    pool = pooling(rank, 3, 2, padding, data_format)
    back = unpooling(rank, 3, 2, padding, data_format=data_format, duplicates=duplicates)

    def loss(x):
        planes = back(*pool(x), like=x)
        return keras.ops.sum(keras.ops.convert_to_tensor(weights, "float32") * planes * planes)

    assert np.array_equal(array(gradient(loss, x, way)), expected)


@pytest.mark.skipif(BACKEND != "jax", reason="stateless calls are for JAX")
def test_stateless_calls_can_be_differentiated():
    import jax

    x = data(2)
    pool, back = pooling(2, padding="same"), unpooling(2, padding="same")
    for layer, told in ((pool, [x.shape]), (back, [pool.compute_output_shape(x.shape)])):
        layer.build(*told)

    @jax.jit
    @jax.grad
    def call(x):
        pair, _ = pool.stateless_call([], [], x)
        planes, _ = back.stateless_call([], [], *pair, like=x)
        return (planes**2).sum() / 2

    assert_same_bits(np.asarray(call(x)), restored(x))
