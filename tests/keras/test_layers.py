"""Layers of `unpool.keras`: arguments, values, indices, sizes, shapes, dtypes and gradients.

KERAS_BACKEND chooses the backend of Keras. tox.ini runs this file once with each.
"""

import inspect
import re

import numpy as np
import pytest
import reference
from cases import FORMATS, arranged
from compare import assert_same_bits
from needs import require

keras = require("keras", "the tests of its layers need it")

from keras_layers import pooling, unpooling  # noqa: E402
from keras_ways import BACKEND, every_way, gradient, quiet  # noqa: E402

import unpool.keras  # noqa: E402

pytestmark = quiet

NAMES = [name for rank in (1, 2, 3) for name in (f"MaxPooling{rank}DWithIndices", f"MaxUnpooling{rank}D")]
# pool_size and strides: plain, overlapping, an even window that "same" pads on one side, and gaps.
WINDOWS = ((2, None), (3, 2), (2, 1), (2, 3))

every_rank = pytest.mark.parametrize("rank", [1, 2, 3])
every_format = pytest.mark.parametrize("data_format", FORMATS)
every_window = pytest.mark.parametrize("window", WINDOWS, ids=str)
every_padding = pytest.mark.parametrize("padding", ["valid", "same"])


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
    """Return int32 for JAX outside of its 64-bit mode, and the given dtype otherwise."""
    if BACKEND != "jax":
        return index_dtype
    import jax

    return index_dtype if jax.config.jax_enable_x64 else "int32"


def pooled(x, window, padding, data_format):
    """Pool with the reference."""
    rank = x.ndim - 2
    along = padding if isinstance(padding, tuple) else ({"valid": 0}.get(padding, padding),) * rank
    kernel, stride = (window[0],) * rank, (window[1] or window[0],) * rank
    return reference.max_pool(x, kernel, stride, along, (1,) * rank, channels_last=data_format == "channels_last")


def restored(x, indices, data_format):
    """Return `x` with zero in every cell that no index names."""
    axis = -1 if data_format == "channels_last" else 1
    planes, places = (np.moveaxis(one, axis, 1).reshape(*one.shape[:1], one.shape[axis], -1) for one in (x, indices))
    kept = np.zeros(planes.shape, bool)
    np.put_along_axis(kept, places, True, axis=-1)
    return np.where(np.moveaxis(kept.reshape(np.moveaxis(x, axis, 1).shape), 1, axis), x, 0)


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


# --- pooling ----------------------------------------------------------------------------------------------------------


@every_rank
@every_format
@every_window
@every_padding
def test_values_are_those_of_keras_and_indices_say_where_they_were(rank, data_format, window, padding):
    x = data(rank, data_format)
    named = {"padding": padding, "data_format": data_format}
    values, indices = arrays(pooling(rank, *window, **named)(x))
    theirs = getattr(keras.layers, f"MaxPooling{rank}D")(*window, **named)(x)
    assert_same_bits(values, array(theirs))
    expected_values, expected = pooled(x, window, padding, data_format)
    assert_same_bits(values, expected_values)
    assert_same_bits(indices, expected.astype(of_this_backend("int64")))


@every_rank
@every_format
@pytest.mark.parametrize(("window", "padding"), [((2, None), 1), ((3, 2), 1), ((5, 1), 2)], ids=str)
def test_integers_pad_both_sides(rank, data_format, window, padding):
    x = data(rank, data_format)
    padding = (padding,) * (rank - 1) + (0,)  # one each
    values, indices = arrays(pooling(rank, *window, padding, data_format)(x))
    expected = pooled(x, window, padding, data_format)
    assert_same_bits(values, expected[0])
    assert np.array_equal(indices, expected[1])


def test_windows_may_have_another_size_along_each_axis():
    x = data(3)
    named = {"pool_size": (1, 3, 2), "strides": [2, 1, 3], "padding": "same"}
    values, _ = arrays(pooling(3, **named)(x))
    assert_same_bits(values, array(keras.layers.MaxPooling3D(**named)(x)))
    named = {"pool_size": (2, 3), "strides": (3, 1), "padding": (1, 0), "data_format": "channels_first"}
    values, indices = arrays(pooling(2, **named)(data(2, "channels_first")))
    expected = reference.max_pool(data(2, "channels_first"), (2, 3), (3, 1), (1, 0), (1, 1))
    assert_same_bits(values, expected[0])
    assert np.array_equal(indices, expected[1])


def test_a_nan_is_kept_and_of_equal_maxima_the_first():
    x = np.array([[3, 3, 1, np.nan, -np.inf, -np.inf]], "float32")[..., None]
    values, indices = arrays(pooling(1)(x))
    assert np.array_equal(values.ravel(), [3, np.nan, -np.inf], equal_nan=True)
    assert indices.ravel().tolist() == [0, 3, 4]


@every_rank
@pytest.mark.parametrize("index_dtype", ["int64", "int32", np.int32, np.dtype("int64")], ids=str)
def test_indices_have_the_dtype_that_was_asked_for(rank, index_dtype):
    layer = pooling(rank, index_dtype=index_dtype)
    expected = of_this_backend(np.dtype(index_dtype).name)
    x = data(rank)
    assert arrays(layer(x))[1].dtype == expected
    assert layer(keras.Input(x.shape[1:]))[1].dtype == expected
    assert layer.get_config()["index_dtype"] == np.dtype(index_dtype).name


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX has this mode")
def test_indices_are_int64_in_the_64_bit_mode_of_jax():
    import jax

    with jax.enable_x64(True):
        layer = pooling(2)
        assert arrays(layer(data(2)))[1].dtype == layer(keras.Input((7, 6, 3)))[1].dtype == "int64"


# --- unpooling --------------------------------------------------------------------------------------------------------


@every_rank
@every_format
@every_window
@every_padding
def test_every_maximum_comes_back_to_where_it_was(rank, data_format, window, padding):
    x = data(rank, data_format)
    named = {"padding": padding, "data_format": data_format}
    pair = pooling(rank, *window, **named)(x)
    expected = restored(x, pooled(x, window, padding, data_format)[1], data_format)
    assert_same_bits(array(unpooling(rank, *window, **named)(*pair, like=x)), expected)


@every_format
@pytest.mark.parametrize(("window", "padding"), [((3, 2), 1), ((5, 1), (2, 0)), ((2, None), 1)], ids=str)
def test_every_maximum_comes_back_from_padded_pictures(data_format, window, padding):
    x = data(2, data_format)
    pair = pooling(2, *window, padding, data_format)(x)
    expected = restored(x, pooled(x, window, padding, data_format)[1], data_format)
    assert_same_bits(array(unpooling(2, *window, padding, data_format=data_format)(*pair, like=x)), expected)


@every_rank
def test_ways_to_call(rank):
    x = data(rank)
    values, indices = pooling(rank, padding="same")(x)
    layer = unpooling(rank, padding="same", output_size=x.shape[1:-1])
    expected = restored(x, array(indices), "channels_last")
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
        assert_same_bits(array(found), restored(x, array(pair[1]), data_format))


def test_one_integer_is_a_size_everywhere():
    x = data(2)[:, :5, :5]
    pair = pooling(2, padding="same")(x)
    at_first, at_call = unpooling(2, padding="same", output_size=5), unpooling(2, padding="same")
    assert at_first.output_size == (5, 5)
    assert_same_bits(array(at_call(*pair, output_size=5)), array(at_first(*pair)))
    assert at_call.compute_output_shape(pair[0].shape, pair[1].shape, output_size=5) == (2, 5, 5, 3)
    assert at_call(*pooling(2, padding="same")(keras.Input((5, 5, 3))), output_size=5).shape == (None, 5, 5, 3)


@pytest.mark.parametrize(("padding", "size"), [("valid", 7), ("same", 6), (1, 5)])
def test_the_size_that_follows_is_what_windows_cover(padding, size):
    x = np.zeros((2, size, size, 3), "float32")
    assert unpooling(2, 3, 2, padding)(*pooling(2, 3, 2, padding)(x)).shape == x.shape


@every_rank
@every_format
def test_an_odd_plane_is_never_sheared(rank, data_format):
    """Without the size, the default plane is even: every index is in range, and most name a wrong cell."""
    x = np.random.default_rng(rank).random(arranged((2, 3), (7, 5, 5)[:rank], data_format), "float32")
    named = {"padding": "same", "data_format": data_format}
    pair = pooling(rank, 2, **named)(x)
    if rank == 1:  # indices of a row do not depend on its size
        assert unpooling(rank, 2, **named)(*pair).shape[1 if data_format == "channels_last" else 2] == 8
    else:
        with pytest.raises(IndexError, match=r"is outside its own window .* as `like`, or its size as `output_size`"):
            unpooling(rank, 2, **named)(*pair)
    unpooling(rank, 2, **named, validate=False)(*pair)
    assert unpooling(rank, 2, **named)(*pair, like=x).shape == x.shape


def test_what_a_call_says_goes_before_what_the_layer_was_made_with():
    x = data(2)
    pair = pooling(2, padding="same")(x)
    layer = unpooling(2, padding="same", output_size=(8, 6))
    assert layer(*pair).shape == (2, 8, 6, 3)
    expected = restored(x, array(pair[1]), "channels_last")
    assert_same_bits(array(layer(*pair, output_size=(7, 6))), expected)
    assert_same_bits(array(layer(*pair, like=x)), expected)
    assert layer.output_size == (8, 6)


def test_repeated_indices_mean_what_the_layer_was_told():
    values, indices = np.array([[[1.0], [2.0], [4.0]]], "float32"), np.array([[[1], [1], [3]]])
    assert array(unpooling(1)(values, indices)).ravel().tolist() == [0, 2, 0, 4, 0, 0]
    assert array(unpooling(1, duplicates="sum")(values, indices)).ravel().tolist() == [0, 3, 0, 4, 0, 0]
    with pytest.raises(ValueError, match=re.escape("indices[0, 0, 0] = indices[0, 1, 0] = 1")):
        unpooling(1, duplicates="error")(values, indices)


@every_rank
def test_a_batch_may_be_empty(rank):
    x = data(rank)[:0]
    pair = pooling(rank)(x)
    assert unpooling(rank)(*pair, like=x).shape == x.shape


# --- shapes before a call ---------------------------------------------------------------------------------------------


@every_rank
@every_format
@every_window
@every_padding
def test_shapes_are_told_before_they_are_there(rank, data_format, window, padding):
    x = data(rank, data_format)
    named = {"padding": padding, "data_format": data_format}
    pool, back = pooling(rank, *window, **named), unpooling(rank, *window, **named)
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
        assert [one.dtype for one in told] == ["float32", of_this_backend("int64")]
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
    assert keras.backend.standardize_dtype(indices.dtype) == told[1].dtype == of_this_backend("int64")
    # Small integers are exact in every dtype.
    assert np.array_equal(array(planes).astype("float32"), restored(x, array(indices), "channels_last"))


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has float64 only in its 64-bit mode")
def test_doubles_stay_what_they_are():
    x = np.nextafter(data(2, dtype="float64"), np.inf)
    pair = pooling(2, padding="same", dtype="float64")(x)
    planes = unpooling(2, padding="same", dtype="float64")(*pair, like=x)
    assert_same_bits(array(planes), restored(x, array(pair[1]), "channels_last"))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_integers_stay_what_they_are_whatever_the_policy(dtype, policy):
    x = (data(2) % 3 - 1).clip(0).astype(dtype) if dtype == "bool" else abs(data(2)).astype(dtype)
    pool, back = (make(2, padding="same", dtype=policy) for make in (pooling, unpooling))
    pair = pool(x)
    planes = back(*pair, like=x)
    assert_same_bits(array(planes), restored(x, array(pair[1]), "channels_last").astype(dtype))
    picture = keras.Input(x.shape[1:], dtype=dtype)
    told = pool(picture)
    assert told[0].dtype == back(*told, like=picture).dtype == dtype


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("index_dtype", ["int32", "int64"])
def test_indices_stay_exact_whatever_the_policy(policy, index_dtype):
    """float16 has no value between 4096 and 4100, and bfloat16 has no 257."""
    x = np.zeros((1, 70, 70, 1), "float32")
    cells = [257, 2049, 4095, 4097, 4899]
    x.reshape(-1)[cells] = 1, 2, 3, 4, 5
    values, indices = pooling(2, dtype=policy, index_dtype=index_dtype)(x)
    assert {cell for cell in array(indices).ravel() if x.flat[cell]} == set(cells)
    planes = unpooling(2, dtype=policy)(values, indices)
    assert np.array_equal(array(planes).astype("float32"), x)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_indices_that_are_floats_are_refused(policy):
    values, indices = np.ones((1, 2, 2, 1), "float32"), np.zeros((1, 2, 2, 1), "float32")
    layer = unpooling(2, dtype=policy)
    for one, other in ((values, indices), (keras.Input((2, 2, 1)), keras.Input((2, 2, 1)))):
        with pytest.raises(TypeError, match=r"`indices` must be integers .*, got float"):
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
        planes = reference.max_unpool(*pooled(x, (3, 2), padding, data_format), sizes, duplicates, last)
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

    assert_same_bits(np.asarray(call(x)), restored(x, array(pool(x)[1]), "channels_last"))
