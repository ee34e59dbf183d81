"""Layers of `unpool.keras.addons`, compared with the formula of TensorFlow Addons in NumPy.

KERAS_BACKEND chooses the backend of Keras. tox.ini runs this file once with each.
"""

import inspect
import re

import numpy as np
import pytest
from needs import require

from unpool.testing.compare import assert_same_bits

keras = require("keras", "the tests of its layers need it")

from keras_layers import both_addons, updates_and_mask  # noqa: E402
from keras_ways import BACKEND, every_way, gradient, quiet, trains  # noqa: E402

from unpool.keras import addons  # noqa: E402

pytestmark = quiet
seldom = pytest.mark.one_in(4)  # a case compiles programs, for seconds

NAMES = ("MaxUnpooling2D", "MaxUnpooling2DV2")
# pool_size and strides.
WINDOWS = ((2, 2), ((3, 3), (2, 2)), (2, (1, 3)), ((2, 3), 3))

every_window = pytest.mark.parametrize("window", WINDOWS, ids=str)
every_padding = pytest.mark.parametrize("padding", ["SAME", "VALID"])


def pair(of):
    return (of, of) if isinstance(of, int) else of


def covered(pooled, window, padding):
    """Return the size of the plane that TensorFlow Addons unpools to."""
    along = zip(pooled, *map(pair, window), strict=True)
    return tuple(n * stride if padding == "SAME" else (n - 1) * stride + size for n, size, stride in along)


def formula(updates, mask, plane):
    """Unpool with the formula of TensorFlow Addons, which adds values with `tf.scatter_nd`.

    The mask gives row and column. The position in the mask gives sample and channel.
    """
    (batch, _, _, channels), (rows, cols) = updates.shape, plane
    mask = mask.astype("int64")
    sample, channel = np.arange(batch)[:, None, None, None], np.arange(channels)
    output = np.zeros((batch, rows, cols, channels), updates.dtype)
    np.add.at(output, (sample, mask // (cols * channels), mask // channels % cols, channel), updates)
    return output


def pooled(x, window, padding):
    """Pool like `tf.nn.max_pool_with_argmax`, window by window."""
    batch, rows, cols, channels = x.shape
    kernel, stride = map(pair, window)
    if padding == "SAME":
        counts = [-(-n // s) for n, s in zip((rows, cols), stride, strict=True)]
        lacks = [max((c - 1) * s + k - n, 0) for n, k, s, c in zip((rows, cols), kernel, stride, counts, strict=True)]
    else:
        counts = [(n - k) // s + 1 for n, k, s in zip((rows, cols), kernel, stride, strict=True)]
        lacks = [0, 0]
    values, mask = np.empty((batch, *counts, channels), x.dtype), np.empty((batch, *counts, channels), "int64")
    for n, i, j, c in np.ndindex(values.shape):
        tops = [at * s - lack // 2 for at, s, lack in zip((i, j), stride, lacks, strict=True)]
        cells = [
            (row, col)
            for row in range(max(tops[0], 0), min(tops[0] + kernel[0], rows))
            for col in range(max(tops[1], 0), min(tops[1] + kernel[1], cols))
        ]
        row, col = max(cells, key=lambda cell: x[n, cell[0], cell[1], c])
        values[n, i, j, c], mask[n, i, j, c] = x[n, row, col, c], (row * cols + col) * channels + c
    return values, mask


def picture(*shape):
    return np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape).astype("float32") + 1


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def dtype_of(tensor):
    return keras.backend.standardize_dtype(tensor.dtype)


# --- drop-in replacements for TensorFlow Addons -----------------------------------------------------------------------


def test_all_of_them():
    assert sorted(addons.__all__) == sorted(NAMES)


def test_arguments_and_defaults():
    first, second = (inspect.signature(getattr(addons, name)).parameters for name in NAMES)
    shown = {name: parameter.default for name, parameter in first.items() if name != "kwargs"}
    assert shown == {"pool_size": (2, 2), "strides": (2, 2), "padding": "SAME", "duplicates": "sum"}
    assert list(second) == ["output_size", "duplicates", "kwargs"]
    assert second["output_size"].default is inspect.Parameter.empty
    for parameters in (first, second):
        assert parameters["duplicates"].kind is inspect.Parameter.KEYWORD_ONLY
    for name in NAMES:
        assert list(inspect.signature(getattr(addons, name).call).parameters) == ["self", "updates", "mask"]


def test_strides_do_not_follow_the_window():
    assert addons.MaxUnpooling2D(3).strides == (2, 2)


@every_window
@every_padding
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint16", "float32", "float64", "float16"])
def test_the_numbers_are_those_of_the_formula(window, padding, dtype):
    shape = (2, 3, 4, 2)
    plane = covered(shape[1:3], window, padding)
    updates, mask = updates_and_mask(shape, plane)
    expected = formula(updates, mask, plane)
    assert (expected != 0).sum() < updates.size  # some indices repeat
    for layer in both_addons(window, padding, plane):
        assert_same_bits(array(layer(updates, mask.astype(dtype))), expected)


@pytest.mark.parametrize("padding", ["same", "valid", "Same"])
def test_words_are_read_whatever_their_case(padding):
    layer = addons.MaxUnpooling2D(3, 2, padding)
    assert layer.padding == padding.upper()
    plane = covered((3, 4), (3, 2), padding.upper())
    updates, mask = updates_and_mask((2, 3, 4, 2), plane)
    assert_same_bits(array(layer(updates, mask)), formula(updates, mask, plane))


@pytest.mark.parametrize("size", [(7, 9), (6, 8), (8, 5)], ids=str)
@every_window
@every_padding
def test_every_maximum_of_a_picture_comes_back_to_where_it_was(window, padding, size):
    """Odd sizes work too if `output_size` gives them."""
    x = picture(2, *size, 3)
    values, mask = pooled(x, window, padding)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        theirs = tf.nn.max_pool_with_argmax(x, *map(pair, window), padding)
        assert np.array_equal(values, theirs[0])
        assert np.array_equal(mask, theirs[1])
    expected = np.zeros_like(x)
    for (n, _, _, _), place, value in zip(np.ndindex(values.shape), mask.flat, values.flat, strict=True):
        expected[n].flat[place] = value
    restore = addons.MaxUnpooling2DV2(x.shape, duplicates="last")
    assert_same_bits(array(restore(values, mask)), expected)


def test_a_picture_of_odd_size_is_sheared_as_there_where_its_size_is_not_given():
    """The mask counts 5 columns and the layer 6. Only the user knows the odd size."""
    x = picture(1, 5, 5, 1)
    values, mask = pooled(x, (2, 2), "SAME")
    sheared = array(addons.MaxUnpooling2D()(values, mask))
    assert_same_bits(sheared, formula(values, mask, (6, 6)))
    assert not np.isin(sheared[:, :5, :5], x * (sheared[:, :5, :5] == x)).all()


@pytest.mark.parametrize("name", NAMES)
def test_repeated_indices_add_up_unless_told_otherwise(name):
    def restored(**named):
        layer = getattr(addons, name)(*([(1, 2, 2, 1)] if name == "MaxUnpooling2DV2" else [1, (1, 2)]), **named)
        return array(layer(updates, mask)).ravel().tolist()

    updates, mask = np.array([1.0, 2.0], "float32").reshape(1, 2, 1, 1), np.ones((1, 2, 1, 1), int)
    assert restored() == [0, 3, 0, 0]
    assert restored(duplicates="last") == [0, 2, 0, 0]
    with pytest.raises(ValueError, match=re.escape("indices[0, 0, 0, 0] = indices[0, 1, 0, 0] = 1")):
        restored(duplicates="error")


def test_the_size_of_v2_may_be_any_that_has_room():
    """V2 has no window, so the layer derives one that pools `output_size` to the size of the mask."""
    for count in range(1, 7):
        for size in range(count, 17):
            updates, mask = updates_and_mask((1, count, 1, 1), (size, 2), seed=size)
            restored = addons.MaxUnpooling2DV2((1, size, 2, 1))(updates, mask)
            assert_same_bits(array(restored), formula(updates, mask, (size, 2)))


def test_ways_to_call():
    updates, mask = updates_and_mask((2, 3, 4, 2), (6, 8))
    expected = formula(updates, mask, (6, 8))
    for layer in both_addons((2, 2), "SAME", (6, 8)):
        tensors = keras.ops.convert_to_tensor(updates), keras.ops.convert_to_tensor(mask.astype("int32"))
        # Keras reads an argument named `mask` as a mask of its own. There must be no warning.
        for found in (layer(*tensors), layer(updates, mask=mask), layer(updates=updates, mask=mask)):
            assert_same_bits(array(found), expected)


def test_a_batch_may_be_empty():
    updates, mask = updates_and_mask((0, 3, 4, 2), (6, 8))
    for layer in both_addons((2, 2), "SAME", (6, 8)):
        assert layer(updates, mask).shape == (0, 6, 8, 2)


# --- unknown sizes ----------------------------------------------------------------------------------------------------


@every_window
@every_padding
def test_shapes_are_told_before_they_are_there(window, padding):
    plane = covered((3, 4), window, padding)
    first, second = both_addons(window, padding, plane)
    for known in ((2, 3, 4, 5), (None, 3, 4, 5)):
        expected = (known[0], *plane, 5)
        for layer in (first, second):
            assert layer.compute_output_shape([known, known]) == expected
            assert layer(keras.KerasTensor(known), keras.KerasTensor(known, "int64")).shape == expected
    known = (None, None, None, 5)
    assert first.compute_output_shape([known, known]) == known
    assert second.compute_output_shape([known, known]) == (None, *plane, 5)
    # A size that one input leaves open is taken from the other.
    assert first.compute_output_shape([known, (2, 3, 4, 5)]) == (2, *plane, 5)


@seldom
@pytest.mark.parametrize(("padding", "dtype"), [("SAME", "int32"), ("VALID", "float32")])
def test_models_for_pictures_of_any_size(padding, dtype):
    for layer in both_addons((3, 2), padding, covered((3, 4), (3, 2), padding)):
        inputs = keras.Input((None, None, 2)), keras.Input((None, None, 2), dtype=dtype)
        model = keras.Model(inputs, layer(inputs[0], mask=inputs[1]))
        for shape in ((2, 3, 4, 2), (3, 2, 2, 2)):
            plane = covered(shape[1:3], (3, 2), padding)
            if isinstance(layer, addons.MaxUnpooling2DV2):
                plane = layer.output_size[1:3]
            updates, mask = updates_and_mask(shape, plane)
            expected = formula(updates, mask, plane)
            assert_same_bits(array(model([updates, mask.astype(dtype)])), expected)
            assert_same_bits(model.predict([updates, mask.astype(dtype)], verbose=0), expected)


def graph(layer, dtype, known=(None, None, None, 2), compiled=False):
    """Return the layer as a graph with open sizes."""
    import tensorflow as tf

    specs = [tf.TensorSpec(known, "float32"), tf.TensorSpec(known, dtype)]
    call = tf.function(layer, autograph=False, jit_compile=compiled)
    return call.get_concrete_function(*specs) if not compiled else tf.function(call, input_signature=specs)


@seldom
@pytest.mark.skipif(BACKEND != "tensorflow", reason="the other backends run with known sizes")
@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])
@pytest.mark.parametrize("dtype", ["int64", "float32"])
@every_padding
def test_graphs_for_pictures_of_any_size(padding, dtype, compiled):
    plane = covered((3, 4), (3, 2), padding)
    updates, mask = updates_and_mask((2, 3, 4, 2), plane)
    for layer in both_addons((3, 2), padding, plane):
        call = graph(layer, dtype, compiled=compiled)
        found = call(updates, mask.astype(dtype))
        assert_same_bits(found.numpy(), formula(updates, mask, plane))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the other backends run with known sizes")
@pytest.mark.parametrize("duplicates", ["last", "sum", "error"])
def test_graphs_put_nothing_where_no_index_is(duplicates):
    """The graph pads the mask with bad indices. These neither overwrite a value nor count as repeated."""
    updates, mask = updates_and_mask((1, 2, 3, 1), (5, 7))
    updates.flat[0], mask = -0.0, np.arange(6).reshape(mask.shape)
    layer = addons.MaxUnpooling2DV2((None, 5, 7, 1), duplicates=duplicates)
    found = graph(layer, "int64", (None, None, None, 1))(updates, mask)
    assert_same_bits(found.numpy(), array(layer(updates, mask)))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the other backends run with known sizes")
def test_graphs_say_what_is_wrong():
    import tensorflow as tf

    updates, mask = updates_and_mask((2, 3, 4, 2), (6, 8))
    for layer in both_addons((2, 2), "SAME", (6, 8)):
        for known in ((None, None, None, 2), (2, 3, 4, 2)):
            for wrong, dtype, message in (
                (mask + 1, "int64", "does not fit the convention"),
                (mask + 96, "int64", "does not fit the convention"),
                (mask - 0.5, "float32", "`mask` must hold integers"),
            ):
                with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                    graph(layer, dtype, known)(updates, wrong.astype(dtype))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the other backends run with known sizes")
def test_graphs_count_positions_when_they_run():
    import tensorflow as tf

    call = graph(addons.MaxUnpooling2D(), "float16")
    updates, mask = updates_and_mask((1, 16, 16, 2), (32, 32))
    assert_same_bits(call(updates, mask.astype("float16")).numpy(), formula(updates, mask, (32, 32)))
    updates, mask = updates_and_mask((1, 16, 17, 2), (32, 32))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"more than 2048 positions .*, got float16 for 2176"):
        call(updates, mask.astype("float16"))


# --- traced programs --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow's XLA cannot raise on the CPU")
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_what_is_bad_is_dropped_where_nothing_raises(dtype):
    """The mask has negative, out of range, fractional and NaN entries."""
    updates = np.arange(1, 7, dtype="float32").reshape(1, 2, 3, 1)
    mask = np.array([5, -1, 24, 7, 0, 23], dtype).reshape(updates.shape)
    if dtype == "float32":
        mask.flat[3:5] = 7.5, np.nan
    kept = [0, 5] if dtype == "float32" else [0, 3, 4, 5]
    expected = np.zeros((1, 4, 6, 1), "float32")
    expected.flat[mask.ravel()[kept].astype(int)] = updates.ravel()[kept]
    for layer in both_addons((2, 2), "SAME", (4, 6)):
        call = graph(layer, dtype, updates.shape, compiled=True)
        assert_same_bits(array(call(updates, mask)), expected)


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX's programs report at run time")
@pytest.mark.parametrize(("dtype", "wrong"), [("int32", 24), ("int32", -1), ("float32", 24), ("float32", np.nan)])
def test_what_is_bad_is_an_error_of_a_program(dtype, wrong):
    import jax

    updates, mask = np.ones((1, 2, 3, 1), "float32"), np.array([5, 0, 7, 3, 1, 23], dtype).reshape(1, 2, 3, 1)
    for layer in both_addons((2, 2), "SAME", (4, 6)):
        program = jax.jit(lambda *arrays, layer=layer: layer(*arrays))
        assert array(program(updates, mask)).sum() == 6
        bad = mask.copy()
        bad[0, 0, 1, 0] = wrong
        with pytest.raises((jax.errors.JaxRuntimeError, ValueError), match=r"indices\[0, 0, 1, 0\] = .* out of range"):
            jax.block_until_ready(program(updates, bad))


# --- dtypes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16", "float16"])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_masks_stay_exact_whatever_the_policy(policy, dtype):
    """float16 has no value between 4096 and 4100, and bfloat16 has no 257."""
    mask = np.array([257, 2049, 4095, 4097]).reshape(1, 2, 2, 1)
    updates = np.array([1, 2, 3, 4], "float32").reshape(mask.shape)
    for layer in (
        addons.MaxUnpooling2D(strides=35, dtype=policy),
        addons.MaxUnpooling2DV2((1, 70, 70, 1), dtype=policy),
    ):
        restored = layer(updates, mask.astype(dtype))
        assert dtype_of(restored) == layer.compute_dtype
        assert layer(keras.Input((2, 2, 1)), keras.Input((2, 2, 1), dtype=dtype)).dtype == layer.compute_dtype
        assert_same_bits(array(restored).astype("float32"), formula(updates, mask, (70, 70)))


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_integers_stay_what_they_are(dtype):
    updates, mask = updates_and_mask((2, 3, 4, 2), (6, 8))
    updates = abs(updates).astype(dtype)
    layer = addons.MaxUnpooling2D(dtype="mixed_float16")
    assert_same_bits(array(layer(updates, mask)), formula(updates, mask, (6, 8)))
    assert layer(keras.Input((3, 4, 2), dtype=dtype), keras.Input((3, 4, 2), dtype="int32")).dtype == dtype


@pytest.mark.parametrize(
    ("dtype", "most", "strides"),
    [("bfloat16", 2**8, (16, 16)), ("float16", 2**11, (64, 32)), ("float32", 2**24, (4096, 4096))],
)
def test_float_masks_are_taken_where_they_are_exact(dtype, most, strides):
    """The last position is exact in the dtype. With one more row, positions would be rounded to others."""
    updates = np.ones((1, 1, 1, 1), "uint8")
    mask = keras.ops.cast(np.array([most - 1.0]).reshape(updates.shape), dtype)
    restored = array(addons.MaxUnpooling2D(strides=strides)(updates, mask))
    assert restored.ravel()[-1] == restored.sum() == 1
    message = (
        f"`mask` must have an integer dtype for more than {most} positions in a picture, got {dtype} for "
        f"{most + strides[1]}: {dtype} is exact only up to {most}, so pass the mask as tf.nn.max_pool_with_argmax "
        "returns it"
    )
    for layer in (
        addons.MaxUnpooling2D(strides=(strides[0] + 1, strides[1])),
        addons.MaxUnpooling2DV2((None, strides[0] + 1, strides[1], 1)),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            layer(updates, mask)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX outside of its 64-bit mode turns float64 into float32")
def test_doubles_are_exact_further_on():
    updates, mask = np.ones((1, 1, 1, 1), "uint8"), np.array([2.0**24 + 1]).reshape(1, 1, 1, 1)
    restored = array(addons.MaxUnpooling2D(strides=(4097, 4096))(updates, mask))
    assert restored.ravel()[2**24 + 1] == restored.sum() == 1


# --- gradients --------------------------------------------------------------------------------------------------------


@every_way
@pytest.mark.parametrize(("padding", "dtype"), [("SAME", "int32"), ("VALID", "float32")])
def test_the_gradient_is_that_of_the_formula(padding, dtype, way):
    """Compare with central differences, exact for a quadratic loss. Every value of a sum has a gradient."""
    plane = covered((2, 3), (3, 2), padding)
    updates, mask = updates_and_mask((2, 2, 3, 2), plane)
    weights = np.random.default_rng(1).integers(1, 5, (2, *plane, 2))

    def expected_loss(updates):
        return (weights * formula(updates, mask, plane) ** 2).sum()

    expected = np.empty(updates.shape)
    for at in np.ndindex(updates.shape):
        step = np.zeros(updates.shape)
        step[at] = 0.25
        expected[at] = (expected_loss(updates + step) - expected_loss(updates - step)) / 0.5

    for layer in both_addons((3, 2), padding, plane):

        def loss(updates, layer=layer):
            planes = layer(updates, mask.astype(dtype))
            return keras.ops.sum(planes * planes * keras.ops.convert_to_tensor(weights.astype("float32")))

        assert np.array_equal(array(gradient(loss, updates, way)), expected)


# --- models and their files -------------------------------------------------------------------------------------------


def model_of(layer, rows=4, dtype="int32"):
    """Return a model that mixes the channels with a Dense layer and unpools the result."""
    x, mask = keras.Input((rows // 2, 3, 2)), keras.Input((rows // 2, 3, 2), dtype=dtype)
    return keras.Model([x, mask], layer(keras.layers.Dense(2)(x), mask))


@trains
@pytest.mark.parametrize(("policy", "dtype"), [("float32", "int32"), ("mixed_float16", "float32")])
def test_models_are_trained_and_saved(tmp_path, policy, dtype):
    updates, mask = updates_and_mask((6, 2, 3, 2), (4, 6))
    for layer in (addons.MaxUnpooling2D(dtype=policy), addons.MaxUnpooling2DV2((None, 4, 6, 2), dtype=policy)):
        model = model_of(layer, dtype=dtype)
        model.compile("sgd", "mse")
        before = model.get_weights()
        data = [updates / 99, mask.astype(dtype)]
        # The last batch is smaller.
        model.fit(data, np.zeros((6, 4, 6, 2), "float32"), batch_size=4, epochs=1, verbose=0)
        assert not np.array_equal(before[0], model.get_weights()[0])
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert type(loaded.layers[-1]) is type(layer)
        assert_same_bits(loaded.predict(data, verbose=0), model.predict(data, verbose=0))


# Configurations as written by Keras 2, by Keras 2.13, and without a module.
SPELLINGS = {
    "Keras 2": lambda name, config: {"class_name": f"Addons>{name}", "config": config},
    "Keras 2.13": lambda name, config: {
        "module": "tensorflow_addons.layers.max_unpooling_2d",
        "class_name": name,
        "config": config,
        "registered_name": f"Addons>{name}",
        "build_config": {"input_shape": [None, 2, 3, 2]},
    },
    "without a module": lambda name, config: {
        "module": None,
        "class_name": name,
        "config": config,
        "registered_name": f"Addons>{name}",
    },
}
CONFIGS = {
    "MaxUnpooling2D": {"pool_size": [3, 3], "strides": [2, 1], "padding": "VALID"},
    "MaxUnpooling2DV2": {"output_size": [2, 5, 6, 3]},
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("name", NAMES)
def test_configurations_of_tensorflow_addons_are_read(name, spelling):
    config = {"name": "up", "trainable": True, "dtype": "float32", **CONFIGS[name]}
    layer = keras.saving.deserialize_keras_object(spelling(name, config))
    assert type(layer) is getattr(addons, name)
    found = layer.get_config()
    assert {key: found[key] for key in ("name", "trainable")} == {"name": "up", "trainable": True}
    for key, value in CONFIGS[name].items():
        assert found[key] == (value if isinstance(value, str) else tuple(value))
    assert layer.duplicates == "sum"


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_makes_the_same_layer(name):
    assert keras.saving.get_registered_name(getattr(addons, name)) == f"Addons>{name}"
    layer = getattr(addons, name)(**CONFIGS[name], duplicates="last", name="up", dtype="mixed_float16")
    config = keras.saving.serialize_keras_object(layer)
    assert keras.saving.deserialize_keras_object(config).get_config() == layer.get_config()
