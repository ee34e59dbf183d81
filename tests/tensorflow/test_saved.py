"""Saved models, TensorFlow Lite, data sets, replicas and devices.

A process without unpool loads the saved models, so their graphs must hold TensorFlow's operations only. That includes
gradients of any order.
"""

import warnings

import numpy as np
import pytest
from needs import require
from processes import python

import unpool
from unpool.testing.cases import bits, whole
from unpool.testing.compare import assert_same_bits

tf = require("tensorflow", "the tests of its saved models need it")

from tensorflow_ways import tensors  # noqa: E402


class Model(tf.Module):
    """A model that pools and unpools pictures, with trainable weights between."""

    def __init__(self, window, shape=(None, None, None, 3), validate=True):
        super().__init__()
        self.weights = tf.Variable([2.0, -3.0, 4.0])
        self.window, self.validate = window | {"data_format": "channels_last"}, validate
        any_size = (None, None, None, 3)
        specs = [tf.TensorSpec(shape, tf.float32)]
        self.restore = tf.function(self._restore, specs, autograph=False)
        specs = [tf.TensorSpec(any_size, tf.float32), tf.TensorSpec(any_size, tf.int64)]
        self.unpool = tf.function(self._unpool, specs, autograph=False)

    def _restore(self, x):
        values, indices = unpool.max_pool2d(x, **self.window, return_indices=True)
        named = self.window | {"output_size": tf.shape(x), "validate": self.validate}
        return unpool.max_unpool2d(values * self.weights, indices, **named)

    def _unpool(self, values, indices):
        return unpool.max_unpool2d(values, indices, **self.window)


# First and second derivatives of the unpooled picture, with respect to its pixels and the weights.
DERIVATIVES = """
def first(tf, model, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        restored = model.restore(x)
        total = tf.reduce_sum(restored * restored * restored)
    return restored, *tape.gradient(total, [x, model.weights])

def second(tf, model, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        restored, by_x, by_weights = first(tf, model, x)
        total = tf.reduce_sum(by_x * by_x) + tf.reduce_sum(by_weights)
    return restored, by_x, by_weights, *tape.gradient(total, [x, model.weights])
"""
exec(DERIVATIVES)
LOADED = """
import sys
sys.modules["unpool"] = sys.modules["unpool_backends"] = None
import numpy as np, tensorflow as tf
folder, compiled = sys.argv[1], sys.argv[2] == "compiled"
model = tf.saved_model.load(folder)
x, values, indices = (tf.constant(np.load(f"{folder}/{name}.npy")) for name in ("x", "values", "indices"))
derivatives = first if compiled else second
results = tf.function(lambda: derivatives(tf, model, x), autograph=False, jit_compile=compiled)()
for place, tensor in enumerate(results):
    np.save(f"{folder}/{place}.npy", tensor.numpy())
np.save(f"{folder}/unpooled.npy", model.unpool(values, indices).numpy())
if not compiled:
    try:
        model.unpool(values, indices + 1000)
    except tf.errors.InvalidArgumentError as error:
        assert "indices[0, 0, 0, 0] = 1" in error.message
        assert " is out of range for an output plane of " in error.message
    else:
        raise AssertionError("a bad index passed")
    try:
        model.unpool(values, indices[:1])
    except tf.errors.InvalidArgumentError as error:
        assert "`indices` must have the shape of `input`, (2, " in error.message
    else:
        raise AssertionError("wrong shapes passed")
"""


def run_saved(model, folder, way):
    """Save a model, run it in a process that cannot import unpool, and compare the results."""
    x = whole("float32", (2, 7, 5, 3))
    # A picture whose size is the default size.
    fitting = x[:, :6, :4] if model.window["kernel_size"] == 2 else x
    values, indices = unpool.max_pool2d(fitting, **model.window, return_indices=True)
    derivatives = first if way == "compiled" else second  # noqa: F821
    expected = derivatives(tf, model, tf.constant(x))
    tf.saved_model.save(model, folder)
    for name, array in (("x", x), ("values", values), ("indices", indices)):
        np.save(folder / f"{name}.npy", array)
    result = python("-c", DERIVATIVES + LOADED, str(folder), way)
    assert result.returncode == 0, result.stderr
    for place, tensor in enumerate(expected):
        assert_same_bits(np.load(folder / f"{place}.npy"), tensor.numpy())
    assert_same_bits(np.load(folder / "unpooled.npy"), unpool.max_unpool2d(values, indices, **model.window))


def test_a_saved_model(tmp_path):
    """Results, first and second derivatives and errors are those of the unsaved model, also for new sizes."""
    run_saved(Model({"kernel_size": (3, 1), "stride": (2, 1), "padding": (1, 0)}), tmp_path, "as saved")


def test_a_saved_model_is_compiled(tmp_path):
    """XLA compiles a saved graph only without checks at run time, whose messages it cannot compile.

    Nor can it compile second derivatives of a saved graph, since they differentiate a condition.
    """
    run_saved(Model({"kernel_size": 2}, shape=(2, 7, 5, 3), validate=False), tmp_path, "compiled")


# --- TensorFlow Lite --------------------------------------------------------------------------------------------------


@pytest.mark.one_in(4)  # a case converts a model
@pytest.mark.parametrize("shape", [(1, 8, 6, 3), (1, 7, 5, 3)], ids=["even", "odd"])
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_size": 2},
        {"kernel_size": 2, "padding": "same_lower"},
        *[{"kernel_size": 3, "stride": 2, "padding": padding} for padding in (1, "same_lower", ((2, 0), (0, 1)))],
    ],
    ids=str,
)
@pytest.mark.parametrize("index_format", ["plane", "window"])
def test_tensorflow_lite(window, shape, index_format):
    """Convert to built-in operations only. All checks are on, and the converter drops them."""
    plain = window == {"kernel_size": 2}
    window = window | {"data_format": "channels_last", "index_format": index_format}

    def restore(x):
        values, indices = unpool.max_pool2d(x, **window, return_indices=True)
        return unpool.max_unpool2d(values, indices, **window, output_size=x.shape)

    operations, details = run_lite(restore, shape)
    assert ("IF" in operations) == (index_format == "plane")  # plane indices may leave their windows, taps may not
    assert not {"WHILE", "GATHER_ND", "SCATTER_ND"} & set(operations) or index_format == "plane"
    if index_format == "window" and plain:
        count = len(operations) - operations.count("DELEGATE")  # the interpreter's, not the model's
        assert count <= (35 if shape == (1, 8, 6, 3) else 39)
        assert np.int64 not in {detail["dtype"] for detail in details}


@pytest.mark.parametrize("shape", [(1, 8, 6, 3), (1, 7, 5, 3)], ids=["windows of one size", "of two sizes"])
def test_tensorflow_lite_without_a_window(shape):
    def restore(x):
        values, indices = unpool.max_pool2d(x, 2, data_format="channels_last", return_indices=True)
        return unpool.max_unpool2d(values, indices, None, output_size=x.shape, data_format="channels_last")

    run_lite(restore, shape)


def run_lite(restore, shape):
    """Convert a function, and compare its results; return the model's operations and what its tensors are."""
    traced = tf.function(restore, autograph=False).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    model = converter.convert()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s).*tf\.lite\.Interpreter is deprecated", category=UserWarning)
        interpreter = tf.lite.Interpreter(model_content=model)
    interpreter.allocate_tensors()
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal(shape).astype("float32")
        interpreter.set_tensor(given["index"], x)
        interpreter.invoke()
        assert_same_bits(interpreter.get_tensor(returned["index"]), restore(x))
    return [details["op_name"] for details in interpreter._get_ops_details()], interpreter.get_tensor_details()


# --- data sets, replicas, devices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batched", [False, True], ids=["samples", "batches"])
def test_a_data_set(batched):
    """A data set runs its functions as graphs on its own threads. The last batch is smaller."""
    x = bits("float32", (5, 7, 5, 3))

    def restore(x):
        window = {"kernel_size": 2, "data_format": "channels_last"}
        values, indices = unpool.max_pool2d(x, **window, return_indices=True)
        return unpool.max_unpool2d(values, indices, **window, output_size=tf.shape(x))

    data = tf.data.Dataset.from_tensor_slices(x)
    data = data.batch(2).map(restore, num_parallel_calls=2).unbatch() if batched else data.map(restore)
    window = {"kernel_size": 2, "data_format": "channels_last"}
    values, indices = unpool.max_pool2d(x, **window, return_indices=True)
    expected = unpool.max_unpool2d(values, indices, **window, output_size=x.shape)
    assert_same_bits(np.stack(list(data.as_numpy_iterator())), expected)


def test_an_error_in_a_data_set():
    indices = np.zeros((3, 2, 2, 3), "int64")
    indices[1, 0, 1, 2] = 16
    data = tf.data.Dataset.from_tensor_slices(tuple(tensors(np.ones(indices.shape), indices)))
    data = data.map(lambda v, i: unpool.max_unpool2d(v, i, 2, data_format="channels_last"))
    samples = iter(data)
    assert next(samples).shape == (4, 4, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"indices\[0, 1, 2\] = 16 .* an output plane of 4 x 4"):
        next(samples)


REPLICAS = """
import os
os.environ["KERAS_BACKEND"] = "tensorflow"
import contextlib, keras, numpy as np, segnets, tensorflow as tf, unpool
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
window = {"kernel_size": 2, "data_format": "channels_last"}
with strategy.scope():
    weights = tf.Variable([2.0, -3.0, 4.0])

def step(x):
    with tf.GradientTape() as tape:
        values, indices = unpool.max_pool2d(x, **window, return_indices=True)
        restored = unpool.max_unpool2d(values * weights, indices, **window, output_size=tf.shape(x))
        total = tf.reduce_sum(restored * restored)
    gradient = tape.gradient(total, weights)
    context = tf.distribute.get_replica_context()
    assert context.num_replicas_in_sync == 2
    return x, restored, gradient, context.all_reduce("sum", gradient)

pictures = np.random.default_rng(0).integers(0, 9, (8, 7, 5, 3)).astype("float32")
for run in (strategy.run, tf.function(strategy.run, autograph=False)):
    taken = iter(strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices(pictures).batch(4)))
    parts = [strategy.experimental_local_results(each) for each in run(step, args=(next(taken),))]
    assert [len(part) for part in parts] == [2, 2, 2, 2]
    sums = []
    for x, restored, gradient, total in zip(*parts):
        x = x.numpy()
        values, indices = unpool.max_pool2d(x, **window, return_indices=True)
        unpooled = unpool.max_unpool2d(values * weights.numpy(), indices, **window, output_size=x.shape)
        assert np.array_equal(restored.numpy(), unpooled)
        sums.append(2 * (values * values).sum((0, 1, 2)) * weights.numpy())
        assert np.array_equal(gradient.numpy(), sums[-1])
    assert all(np.array_equal(total.numpy(), sum(sums)) for total in parts[3])

def trained(scope, epochs):
    with scope:
        model = segnets.in_keras((8, 8))
        for layer in model.layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        model.compile(keras.optimizers.SGD(2.0**-12), lambda factors, out: factors * out)
    integers = np.random.default_rng(3).integers
    x, factors = (integers(-8, 9, (4, 8, 8, channels)).astype("float32") for channels in (3, segnets.CLASSES))
    model.fit(x, factors, batch_size=4, epochs=epochs, verbose=0)
    return [weight.numpy() for weight in model.trainable_weights]

before, alone = (trained(contextlib.nullcontext(), epochs) for epochs in (0, 1))
for first, one, two in zip(before, alone, trained(strategy.scope(), 1)):
    assert np.array_equal(one, two)
    assert not np.array_equal(first, one)
print("both")
"""


def test_replicas():
    """Two replicas run at once and add up their gradients. Eagerly, each replica is a thread.

    A Keras model whose sums are exact gets the weights of one device, with the same bits.
    """
    result = python("-c", REPLICAS)
    assert result.stdout == "both\n", result.stderr


DEVICES = """
import numpy as np, tensorflow as tf, unpool
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
for device in ("CPU:0", "CPU:1"):
    with tf.device(device):
        x = tf.constant(np.random.default_rng(0).permutation(24).reshape(1, 1, 4, 6))
        indices = tf.constant(np.zeros((1, 1, 2, 3), "int64"))
        pooled, found = unpool.max_pool2d(x, 2, return_indices=True)
        restored = unpool.max_unpool2d(pooled, found, 2)
        taken = unpool.max_unpool2d_backward(x, indices, 2)
        assert (x + x).device == x.device
    print(device, {tensor.device[-5:] for tensor in (pooled, found, restored, taken)})
"""


def test_results_are_on_the_device_of_the_call():
    """One CPU may be several logical devices, and each replica has its own."""
    result = python("-c", DEVICES)
    assert result.stdout.splitlines() == ["CPU:0 {'CPU:0'}", "CPU:1 {'CPU:1'}"], result.stderr


def test_arrays_of_numpy_import_no_tensorflow():
    """The first tensor loads the backend, and whoever made the tensor has imported TensorFlow."""
    program = "import sys, numpy, unpool; unpool.max_pool2d(numpy.ones((1, 2, 2)), 2); print(*sys.modules)"
    result = python("-c", program)
    assert result.returncode == 0, result.stderr
    found = result.stdout.split()
    assert "unpool_backends.tensorflow" not in found
    assert not {"tensorflow", "keras"} & {name.partition(".")[0] for name in found}
