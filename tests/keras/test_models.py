"""Models of `unpool.keras`: built, trained, saved and exported.

KERAS_BACKEND chooses the backend of Keras. tox.ini runs this file once with each.
"""

import contextlib
import inspect
import itertools
import json
import re
import zipfile

import numpy as np
import pytest
import segnets
from needs import require
from processes import python

from unpool.testing.cases import arranged
from unpool.testing.compare import assert_same_bits

keras = require("keras", "the tests of its models need it")

from keras_ways import BACKEND, quiet, trains  # noqa: E402

import unpool.keras  # noqa: E402
from unpool.keras import MaxPooling2DWithIndices, MaxUnpooling2D, addons  # noqa: E402
from unpool.plan import INDEX_FORMATS  # noqa: E402

pytestmark = quiet
seldom = pytest.mark.one_in(4)  # a case makes a model, for seconds

LAYERS = [getattr(unpool.keras, name) for name in unpool.keras.__all__]
# torch.compile takes half a minute for the smallest of these models; tests/torch/test_compiled.py tests it.
# Keras does not train on its NumPy backend.
COMPILED = {"tensorflow": (False, True), "jax": (False, True), "torch": (False,)}.get(BACKEND, ())
tensorflow_alone = pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow can do this")
torch_alone = pytest.mark.skipif(BACKEND != "torch", reason="only PyTorch can do this")
# The `jit_compile` that takes the least time.
FAST = BACKEND == "jax"
every_index_format = pytest.mark.parametrize("index_format", INDEX_FORMATS)


def data(rank=2, sizes=(7, 6, 5), batch=4, data_format="channels_last"):
    shape = arranged((batch, 3), sizes[:rank], data_format)
    return np.random.default_rng(rank).random(shape, "float32")


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def layers(rank, *window, **named):
    pool = getattr(unpool.keras, f"MaxPooling{rank}DWithIndices")
    return pool(*window, **named), getattr(unpool.keras, f"MaxUnpooling{rank}D")(*window, **named)


def functional(rank=2, window=(3, 2), shape=None, **named):
    """Return a model that pools and unpools planes of any size."""
    named = {"padding": "same", "data_format": "channels_last"} | named
    x = keras.Input(shape or arranged((3,), (None,) * rank, named["data_format"]))
    pool, back = layers(rank, *window, **named)
    values, indices = pool(x)
    return keras.Model(x, back(values, indices, like=x))


def autoencoder(shape=(None, None, 3), **named):
    """Return a model with weights before, between and after pooling and unpooling."""
    x = keras.Input(shape)
    values, indices = MaxPooling2DWithIndices(3, 2, "same", **named)(keras.layers.Conv2D(4, 3, padding="same")(x))
    values = keras.layers.Conv2D(4, 1)(values)
    restored = MaxUnpooling2D(3, 2, "same", duplicates="sum", **named)(values, indices, like=x)
    return keras.Model(x, keras.layers.Conv2D(3, 1)(restored))


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    """A model of two levels, like SegNet."""

    def __init__(self, **named):
        super().__init__(**named)
        self.first, self.second = MaxPooling2DWithIndices(2, padding="same"), MaxPooling2DWithIndices(3, 2, "same")
        self.last, self.last_but_one = MaxUnpooling2D(2, padding="same"), MaxUnpooling2D(3, 2, "same")
        self.before, self.after = (keras.layers.Conv2D(3, 1) for _ in range(2))

    def call(self, x):
        pooled, indices = self.first(self.before(x))
        twice, deeper = self.second(pooled)
        pooled = self.last_but_one(twice, deeper, like=pooled)
        return self.after(self.last(pooled, indices, like=x))


# --- built ------------------------------------------------------------------------------------------------------------


@seldom
@pytest.mark.parametrize(
    ("rank", "window", "named"),
    [
        (1, (2, None), {"padding": "valid", "data_format": "channels_first"}),
        (2, (3, 2), {}),
        (2, (3, 2), {"index_format": "plane"}),
        (3, (2, 2), {}),
    ],
    ids=str,
)
def test_a_model_takes_planes_of_any_size(rank, window, named):
    model = functional(rank, window, **named)
    assert model.output_shape == model.input_shape
    data_format = named.get("data_format", "channels_last")
    pool, back = layers(rank, *window, **{"padding": "same"} | named | {"data_format": data_format})
    for sizes in ((7, 6, 5), (4, 9, 6)):
        x = data(rank, sizes, data_format=data_format)
        expected = array(back(*pool(x), like=x))
        assert expected.any()
        assert_same_bits(array(model(x)), expected)
        assert_same_bits(model.predict(x, verbose=0), expected)


@pytest.mark.parametrize("size", [(32, 48), (33, 47)], ids=str)
def test_a_segnet_has_the_bits_of_pytorch(size):
    """The sums of this SegNet are exact, so their order does not matter."""
    torch = require("torch", "the model is compared with PyTorch's")
    x = segnets.picture(*size)
    with torch.no_grad():
        theirs = segnets.in_torch(torch.nn, ceil_mode=True)(torch.from_numpy(x).movedim(-1, 1)).movedim(1, -1)
    assert theirs.std() > 1
    assert_same_bits(array(segnets.in_keras(size)(x)), theirs.contiguous().numpy())


def test_layers_one_after_the_other():
    """The pair that pooling returns is the input of unpooling."""
    x = data()
    pool, back = MaxPooling2DWithIndices(), MaxUnpooling2D(output_size=x.shape[1:3])
    expected = array(back(*pool(x)))
    for first in ([], [keras.Input((7, 6, 3))], [keras.Input((None, None, 3))]):
        model = keras.Sequential([*first, pool, back])
        assert model.compute_output_shape(x.shape) == x.shape
        assert_same_bits(model.predict(x, verbose=0), expected)
        assert_same_bits(array(model(x)), expected)
        assert model.output_shape[1:] == x.shape[1:]


def test_a_model_of_a_class():
    x, y, model = data(), data(sizes=(10, 5)), Subclassed()
    np.testing.assert_allclose(model.predict(x, verbose=0), array(model(x)), atol=1e-6)
    assert model(y).shape == y.shape


def test_a_layer_may_serve_twice():
    pool, back = layers(2, 2, padding="same")
    one, other = keras.Input((7, 6, 3)), keras.Input((None, None, 3))
    model = keras.Model([one, other], [back(*pool(one), like=one), back(*pool(other), like=other)])
    x, y = data(), data(sizes=(4, 5))
    for found, picture in zip(model.predict([x, y], verbose=0), (x, y), strict=True):
        assert_same_bits(found, array(back(*pool(picture), like=picture)))
    model.summary(print_fn=lambda text: None)


def test_pictures_of_a_sequence_go_through_a_model():
    """`TimeDistributed` takes a model, since it passes one tensor."""
    x, model = np.stack([data(), data()[::-1]], 1), functional(shape=(7, 6, 3))
    clip = keras.Input((2, 7, 6, 3))
    found = keras.Model(clip, keras.layers.TimeDistributed(model)(clip)).predict(x, verbose=0)
    for place in range(2):
        assert_same_bits(found[:, place], array(model(x[:, place])))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def test_a_quantized_model_keeps_its_layers():
    x, model = data(), functional(shape=(7, 6, 3))
    expected, config = array(model(x)), as_written(model)
    model.quantize("int8")
    assert as_written(model) == config
    assert_same_bits(array(model(x)), expected)


def test_cropped_and_joined_indices_stay_integers():
    """Functions keep the dtype of indices, as docs/keras.md says."""
    x = data(sizes=(8, 6))
    picture = keras.Input(x.shape[1:])
    pool, back = layers(2, 2)
    values, indices = pool(picture)
    joined = [keras.ops.concatenate([tensor[:, 1:], tensor[:, 1:]], axis=-1) for tensor in (values, indices)]
    expected = array(back(*pool(x)))[:, 2:]
    assert_same_bits(keras.Model(picture, back(*joined)).predict(x, verbose=0), np.concatenate([expected] * 2, -1))


def test_integers_go_through_a_model():
    x = (255 * data()).astype("uint8")
    picture = keras.Input(x.shape[1:], dtype="uint8")
    pool, back = layers(2, 2, padding="same")
    model = keras.Model(picture, back(*pool(picture), like=picture))
    assert_same_bits(model.predict(x, verbose=0), array(back(*pool(x), like=x)))


def summary(model):
    lines = []
    model.summary(line_length=200, print_fn=lines.append)
    return "\n".join(map(str, lines))


class EveryLayer(keras.Model):
    """A subclassed model, which Keras' summary treats as a list of layers."""

    def __init__(self):
        super().__init__()
        self.pool, self.taps = MaxPooling2DWithIndices(3, 2, "same", index_format="plane"), MaxPooling2DWithIndices(2)
        self.back, self.pair = (MaxUnpooling2D(3, 2, "same", index_format="plane") for _ in range(2))
        self.default, self.no_window = MaxUnpooling2D(2), MaxUnpooling2D(None)
        self.addon, self.sized = addons.MaxUnpooling2D(3, 2), addons.MaxUnpooling2DV2((None, 7, 6, 3))

    def call(self, x):
        values, indices = self.pool(x)
        channels = keras.ops.arange(3, dtype=indices.dtype)
        restored = self.default(*self.taps(x))
        restored = self.back(values, indices, like=x) + self.pair([values, indices], output_size=(7, 6))
        restored += self.no_window(values, indices, like=x)
        self.addon(values, channels + keras.ops.zeros_like(indices))
        return restored + self.sized(values, channels + 3 * indices)


def test_a_model_of_a_class_has_a_summary(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    model = EveryLayer()
    before = summary(model)
    assert before.count("MaxUnpooling2D") == 6
    x = data()
    model(x)
    after = summary(model)
    assert "((4, 4, 3, 3), (4, 4, 3, 3))" in after  # values and indices
    assert {"(4, 8, 6, 3)", "(4, 7, 6, 3)"} <= set(re.findall(r"\(\d.*?\)", after))  # of the addons
    model = EveryLayer()
    model.predict(x, verbose=0)
    assert summary(model).count("MaxUnpooling2D") == 6


# --- trained ----------------------------------------------------------------------------------------------------------


@trains
@pytest.mark.parametrize("jit_compile", COMPILED)
def test_a_model_learns(jit_compile):
    keras.utils.set_random_seed(0)
    x, model = data(batch=8), autoencoder()
    model.compile(keras.optimizers.SGD(0.3), "mse", jit_compile=jit_compile)
    losses = model.fit(x, x, batch_size=4, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    found = model.evaluate(x, x, verbose=0)
    assert found < losses[0]
    assert np.isclose(found, ((model.predict(x, verbose=0) - x) ** 2).mean(), rtol=1e-4)


@trains
@pytest.mark.parametrize("jit_compile", COMPILED)
def test_models_of_both_index_formats_learn_the_same_numbers(jit_compile):
    x, learned = data(), []
    for index_format in INDEX_FORMATS:
        keras.utils.set_random_seed(0)
        model = autoencoder(index_format=index_format)
        model.compile(keras.optimizers.SGD(0.3), "mse", jit_compile=jit_compile)
        model.fit(x, x, epochs=2, shuffle=False, verbose=0)
        learned.append([*model.get_weights(), model.predict(x, verbose=0)])
    for one, other in zip(*learned, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@trains
def test_a_model_of_mixed_precision_learns():
    keras.utils.set_random_seed(0)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = autoencoder()
    finally:
        keras.config.set_dtype_policy(policy)
    x = data(batch=8)
    model.compile(keras.optimizers.SGD(0.3), "mse", jit_compile=FAST)
    losses = model.fit(x, x, batch_size=4, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert model.layers[2].compute_dtype == "bfloat16"


# --- bad indices ------------------------------------------------------------------------------------------------------


# The first cell of each window in a plane of 4 x 4, and the advice about another index.
FIRST = {"plane": [0, 2, 8, 10], "window": [0, 0, 0, 0]}
BAD = {"plane": "is out of range for an output plane of 4 x 4", "window": "is no tap of its window"}


def predict(bad, index_format, jit_compile=False, **named):
    """Unpool to 4 x 4 with a model, and return the cells that are not zero. `bad` is the second index."""
    values, indices = keras.Input((2, 2, 1)), keras.Input((2, 2, 1), dtype="int32")
    model = keras.Model([values, indices], MaxUnpooling2D(index_format=index_format, **named)(values, indices))
    model.compile(jit_compile=jit_compile)
    first, _, *others = FIRST[index_format]
    there = np.array([first, bad, *others], "int32").reshape(1, 2, 2, 1)
    return model.predict([np.ones((1, 2, 2, 1), "float32"), there], verbose=0).ravel().nonzero()[0].tolist()


@every_index_format
def test_a_bad_index_is_an_error_of_the_run(index_format):
    error = IndexError
    compiled = [False]
    if BACKEND == "jax":
        import jax

        # Without compilation, JAX runs the layer eagerly.
        error, compiled = (IndexError, jax.errors.JaxRuntimeError, ValueError), [False, True]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        error = tf.errors.InvalidArgumentError
    assert predict({"plane": 3, "window": 1}[index_format], index_format) == [0, 3, 8, 10]
    for bad, jit_compile in itertools.product((16, -1), compiled):
        with pytest.raises(error, match=rf"indices\[0, 0, 1, 0\] = {bad} {BAD[index_format]}"):
            predict(bad, index_format, jit_compile=jit_compile)


# On JAX, where programs on a GPU drop an index of a larger picture, a model without a size is warned of.
WARNED = pytest.warns(unpool.DefaultSizeWarning) if BACKEND == "jax" else contextlib.nullcontext()


def test_indices_of_another_size_are_an_error_of_the_run():
    x = keras.Input((None, None, 3))
    pool, back = layers(2, 2, padding="same", data_format="channels_last", index_format="plane")
    with WARNED:
        model = keras.Model(x, back(*pool(x)))
    model.compile(jit_compile=False)
    assert model.predict(data(sizes=(6, 4)), verbose=0).shape == (4, 6, 4, 3)
    with pytest.raises(Exception, match="is outside its own window"):
        model.predict(data(sizes=(7, 5)), verbose=0)


@every_index_format
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_default_size_that_may_be_wrong_is_warned_of(index_format, data_format):
    named = {"data_format": data_format, "index_format": index_format}
    x = keras.Input(arranged((3,), (8, None), data_format))
    pool, back = layers(2, 2, **named)
    with WARNED as caught:
        back(*pool(x))
    if BACKEND == "jax":
        (warning,) = caught
        assert "`like` must be given where a size is unknown until the program runs, got none" in str(warning.message)
        assert str(warning.message).endswith("; pass what was pooled as `like`, or its size as `output_size`")


def test_a_default_size_that_is_right_is_not_warned_of():
    """Warnings are errors here."""
    x, known = keras.Input((None, None, 3)), keras.Input((8, 6, 3))
    named = {"data_format": "channels_last"}
    pool, back = layers(2, 2, **named)
    assert back(*pool(x), like=x).shape == (None, None, None, 3)
    assert back(*pool(x), output_size=(8, 6)).shape == back(*pool(known)).shape == (None, 8, 6, 3)
    assert MaxUnpooling2D(2, output_size=(8, 6), **named)(*pool(x)).shape == (None, 8, 6, 3)
    pool, back = layers(2, 2, 1, **named)
    assert back(*pool(x)).shape == (None, None, None, 3)


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch has no XLA here")
@every_index_format
def test_a_compiled_program_drops_a_bad_index(index_format):
    if BACKEND == "jax":  # unless told not to report it
        assert predict(16, index_format, validate=False) == [0, 8, 10]
        return
    for bad in (16, -1):
        assert predict(bad, index_format, jit_compile=True) == [0, 8, 10]


@tensorflow_alone
@every_index_format
def test_a_graph_drops_a_bad_index_when_told_to(index_format):
    assert predict(16, index_format, validate=False) == [0, 8, 10]


# --- saved ------------------------------------------------------------------------------------------------------------


def arguments(cls):
    """Return a value other than the default for each argument."""
    rank = cls.rank
    every = {
        "pool_size": (3, 4, 5)[:rank],
        "strides": (3, 1, 2)[:rank],
        "padding": "same",
        "data_format": "channels_first",
        "index_format": "plane",
        "index_dtype": "int32",
        "output_size": (9, 8, 7)[:rank],
        "duplicates": "sum",
        "validate": False,
        "name": "a_name",
        "dtype": "mixed_bfloat16",
        "trainable": False,
    }
    own = inspect.signature(cls).parameters
    assert set(own) <= {*every, "kwargs"}, "an argument is not tested here"
    return {name: value for name, value in every.items() if name in own or name in ("name", "dtype", "trainable")}


@pytest.mark.parametrize("cls", LAYERS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("padding", ["same", "same_lower", "valid", (1, 2, 2), ((2, 0), 1, (1, 4))], ids=str)
def test_every_argument_is_kept(cls, padding):
    given = arguments(cls) | {"padding": padding if isinstance(padding, str) else padding[: cls.rank]}
    layer, plain = cls(**given), cls()
    for name, value in given.items():
        if name == "dtype":
            assert layer.dtype_policy.name == value
            continue
        assert getattr(layer, name) == layer.get_config()[name] == value
        assert padding == "valid" or name == "padding" or getattr(plain, name) != value
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    for again in (cls.from_config(layer.get_config()), keras.saving.deserialize_keras_object(config)):
        assert type(again) is cls
        assert again.get_config() == layer.get_config()
        assert again.dtype_policy.name == "mixed_bfloat16"


def test_integers_are_kept_with_one_entry_an_axis():
    """Integers and sequences of any type are saved alike, so that configurations compare equal."""
    for one, other in (
        (
            MaxPooling2DWithIndices(3, 2, 1, name="a"),
            MaxPooling2DWithIndices([3, 3], (2, 2), np.ones(2, int), name="a"),
        ),
        (
            MaxPooling2DWithIndices(3, 2, ((2, 0), (1, 1)), name="a"),
            MaxPooling2DWithIndices(3, 2, [[2, 0], 1], name="a"),
        ),
        (MaxUnpooling2D(3, output_size=8, name="a"), MaxUnpooling2D((3, 3), 3, output_size=[8, 8], name="a")),
    ):
        assert one.get_config() == other.get_config()
        json.dumps(other.get_config())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_layer_without_a_window_is_kept(rank):
    """A configuration in JSON has lists, and so may the arguments."""
    cls = getattr(unpool.keras, f"MaxUnpooling{rank}D")
    layer = cls(None, output_size=[5] * rank, duplicates="sum", name="a")
    expected = {"pool_size": None, "strides": None, "padding": "valid", "index_format": "plane"}
    assert layer.get_config().items() >= expected.items()
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    for again in (cls.from_config(layer.get_config()), keras.saving.deserialize_keras_object(config)):
        assert again.get_config() == layer.get_config()


# As the version without `index_format` saved its layers.
OLD = {
    "MaxPooling2DWithIndices": {
        "name": "pool",
        "trainable": True,
        "dtype": "float32",
        "pool_size": [2, 2],
        "strides": [2, 2],
        "padding": "same",
        "data_format": "channels_last",
        "index_dtype": "int64",
    },
    "MaxUnpooling2D": {
        "name": "back",
        "trainable": True,
        "dtype": "float32",
        "pool_size": [2, 2],
        "strides": [2, 2],
        "padding": "same",
        "data_format": "channels_last",
        "output_size": None,
        "duplicates": "last",
        "validate": True,
    },
}


def test_layers_that_were_saved_without_an_index_format_have_plane_indices():
    pool, back = (
        keras.saving.deserialize_keras_object(
            {
                "module": f"unpool.keras.{module}",
                "class_name": name,
                "config": config,
                "registered_name": f"unpool>{name}",
            }
        )
        for (name, config), module in zip(OLD.items(), ("pooling", "unpooling"), strict=True)
    )
    x = np.arange(12, dtype="float32").reshape(1, 4, 3, 1)
    values, indices = pool(x)
    assert array(indices)[0, ..., 0].tolist() == [[4, 5], [10, 11]]
    assert pool(keras.Input((4, 3, 1)))[1].dtype == keras.backend.standardize_dtype(indices.dtype) != "uint8"
    assert array(back(values, indices, like=x)).ravel().nonzero()[0].tolist() == [4, 5, 10, 11]
    for layer in (pool, back):
        assert layer.get_config()["index_format"] == "plane"
        assert "index_format" not in OLD[type(layer).__name__], "the configuration was changed"


def without_index_formats(config):
    """Return a configuration without its entries `index_format`."""
    if isinstance(config, list):
        return [without_index_formats(one) for one in config]
    if not isinstance(config, dict):
        return config
    return {name: without_index_formats(one) for name, one in config.items() if name != "index_format"}


def test_an_old_model_loads_with_its_numbers(tmp_path):
    x, model = data(), autoencoder(index_format="plane")
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as new, zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for name in new.namelist():
            entry = new.read(name)
            if name == "config.json":
                entry = json.dumps(without_index_formats(json.loads(entry))).encode()
                assert b"index_format" not in entry
            old.writestr(name, entry)
    loaded = keras.models.load_model(tmp_path / "old.keras")
    assert as_written(loaded) == as_written(model)
    assert_same_bits(array(loaded(x)), array(model(x)))


def as_written(model):
    return json.loads(json.dumps(model.get_config()))


LOADED = """
import sys
import numpy as np, keras
import unpool.keras
folder = sys.argv[1]
model = keras.models.load_model(f"{folder}/model.keras")
np.save(f"{folder}/loaded.npy", keras.ops.convert_to_numpy(model(np.load(f"{folder}/x.npy"))))
"""


@every_index_format
def test_a_saved_model_is_the_same_model(tmp_path, index_format):
    """Load the model in this process, and in a new one that has only imported `unpool.keras`."""
    x, model = data(), autoencoder(index_format=index_format)
    expected = array(model(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert as_written(loaded) == as_written(model)
    assert_same_bits(array(loaded(x)), expected)
    np.save(tmp_path / "x.npy", x)
    result = python("-c", LOADED, str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert_same_bits(np.load(tmp_path / "loaded.npy"), expected)


def test_keras_names_the_layers_that_a_program_did_not_import(tmp_path):
    """The words of docs/errors.md."""
    functional().save(tmp_path / "model.keras")
    result = python("-c", f"import keras; keras.models.load_model({str(tmp_path / 'model.keras')!r})")
    assert "Could not locate class 'MaxPooling2DWithIndices'" in result.stderr


def test_a_saved_model_of_unequal_padding_and_of_no_window_is_the_same_model(tmp_path):
    x, named = keras.Input((7, 6, 3)), {"padding": ((2, 0), 1), "index_format": "plane"}
    values, indices = MaxPooling2DWithIndices(3, 2, **named)(x)
    planes = [MaxUnpooling2D(3, 2, **named)(values, indices, like=x), MaxUnpooling2D(None)(values, indices, like=x)]
    lower = MaxUnpooling2D(2, padding="same_lower")(*MaxPooling2DWithIndices(2, padding="same_lower")(x), like=x)
    model = keras.Model(x, [*planes, lower])
    model.save(tmp_path / "model.keras")
    loaded, given = keras.models.load_model(tmp_path / "model.keras"), data()
    assert as_written(loaded) == as_written(model)
    results = list(map(array, model(given)))
    assert_same_bits(results[1], results[0])
    for found, expected in zip(loaded(given), results, strict=True):
        assert_same_bits(array(found), expected)


def test_a_saved_model_of_a_class_is_the_same_model(tmp_path):
    x, model = data(), Subclassed()
    expected = array(model(x))
    model.save(tmp_path / "model.keras")
    assert_same_bits(array(keras.models.load_model(tmp_path / "model.keras")(x)), expected)


def test_a_clone_has_the_same_configuration():
    model = functional()
    clone = keras.models.clone_model(model)
    for one, other in zip(model.layers[1:], clone.layers[1:], strict=True):
        assert one is not other
        assert one.get_config() == other.get_config()
    x = data()
    assert_same_bits(array(clone(x)), array(model(x)))


# --- exported ---------------------------------------------------------------------------------------------------------

SERVED = """
import sys
sys.modules["unpool"] = sys.modules["unpool_backends"] = sys.modules["keras"] = None
import numpy as np, tensorflow as tf
folder = sys.argv[1]
model = tf.saved_model.load(f"{folder}/model")
for place in range(2):
    np.save(f"{folder}/served{place}.npy", model.serve(tf.constant(np.load(f"{folder}/x{place}.npy"))).numpy())
"""


@seldom
@tensorflow_alone
@every_index_format
def test_a_model_is_served_without_unpool(tmp_path, index_format):
    model = functional(index_format=index_format)
    model.export(tmp_path / "model", format="tf_saved_model", verbose=False)
    pictures = data(), data(sizes=(4, 9), batch=1)
    for place, x in enumerate(pictures):
        np.save(tmp_path / f"x{place}.npy", x)
    result = python("-c", SERVED, str(tmp_path))
    assert result.returncode == 0, result.stderr
    for place, x in enumerate(pictures):
        assert_same_bits(np.load(tmp_path / f"served{place}.npy"), array(model(x)))


@torch_alone
@every_index_format
def test_a_model_is_exported_for_pictures_of_any_size(tmp_path, index_format):
    import torch

    model = functional(index_format=index_format)
    # torch.export treats a size of 1 as constant. This sample is large enough that no pooled size is 1.
    sample, dim = keras.InputSpec("float32", (2, 8, 10, 3)), torch.export.Dim
    sizes = {0: dim("batch"), 1: dim("rows", min=3), 2: dim("cols", min=3)}
    model.export(tmp_path / "model.pt2", format="torch", verbose=False, input_signature=[sample], dynamic_shapes=sizes)
    served = torch.export.load(tmp_path / "model.pt2").module()
    for x in (data(), data(sizes=(4, 9), batch=3)):
        assert_same_bits(served(torch.from_numpy(x)).numpy(), array(model(x)))
