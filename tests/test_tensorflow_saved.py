"""What TensorFlow does with a graph besides running it: saving, converting, mapping data, replicating."""

import sys

import numpy as np
import pytest
from compare import assert_same_bits
from needs import require
from processes import python

import unpool

tf = require("tensorflow", "its saved models and the like are what is tested")
LAST = {"data_format": "channels_last"}


def there_and_back(x):
    """Pool and unpool, to the square of what was kept: it has a second derivative."""
    values, indices = unpool.max_pool2d(x, 2, return_indices=True, **LAST)
    return unpool.max_unpool2d(values * values, indices, 2, output_size=tf.shape(x), **LAST)


def expected(x):
    values, indices = unpool.max_pool2d(x, 2, return_indices=True, **LAST)
    return unpool.max_unpool2d(values * values, indices, 2, output_size=x.shape, **LAST)


def image(*shape):
    """Whole numbers, each of them once: what is computed with them is exact."""
    return np.random.default_rng(0).permutation(int(np.prod(shape))).astype("float32").reshape(shape) - 100


# y is x squared where x was kept; of sum(y * w): the gradient is 2 x w there, and its own, of sum of it, is 2 w.
RELOADED = """
import sys
sys.modules["unpool"] = sys.modules["unpool_tensorflow"] = None  # they cannot be imported
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
x, y, w = (tf.constant(array) for array in np.load(folder + "/arrays.npz").values())
model = tf.saved_model.load(folder)
def gradient(function, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = function(x)
    return found, tape.gradient(found, x, w)

kept = tf.cast(y != 0, tf.float32)
found, first = gradient(model.function, x)
assert np.array_equal(found, y)
assert np.array_equal(first, 2 * x * w * kept)
with tf.GradientTape() as tape:
    tape.watch(x)
    _, first = gradient(model.function, x)
assert np.array_equal(tape.gradient(first, x), 2 * w * kept)
if "known" in folder:  # XLA cannot compile the second, of a tf.cond in a graph that was traced without it
    found, first = gradient(tf.function(model.function, jit_compile=True), x)
    assert np.array_equal(found, y)
    assert np.array_equal(first, 2 * x * w * kept)
print("as before")
"""


@pytest.mark.parametrize("known", [False, True], ids=["unknown sizes", "known sizes, to be compiled"])
def test_a_saved_model_needs_no_unpool(tmp_path, known):
    """In a process of its own: forward, gradient, and the gradient of that."""
    x = image(2, 5, 7, 3)
    spec = tf.TensorSpec(x.shape if known else (None, None, None, 3), tf.float32)

    def function(x):
        values, indices = unpool.max_pool2d(x, 2, return_indices=True, **LAST)
        size = x.shape if known else tf.shape(x)
        return unpool.max_unpool2d(values * values, indices, 2, output_size=size, validate=not known, **LAST)

    module = tf.Module()
    module.function = tf.function(function, input_signature=[spec])
    folder = tmp_path / ("known" if known else "un")
    tf.saved_model.save(module, str(folder))
    weights = np.random.default_rng(1).integers(-9, 9, x.shape).astype("float32")
    np.savez(folder / "arrays.npz", x=x, y=expected(x), w=weights)
    done = python("-c", RELOADED, str(folder))
    assert done.stdout == "as before\n", done.stderr


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@pytest.mark.parametrize("shape", [(1, 8, 6, 3), (1, 9, 7, 2)], ids=["even", "odd"])
def test_a_model_becomes_one_of_tensorflow_lite(shape):
    """With nothing but builtin operations, though all checks are on."""
    function = tf.function(there_and_back).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    interpreter = tf.lite.Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    x = image(*shape)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    assert_same_bits(found, expected(x))


def test_a_dataset_maps_it():
    x = image(3, 5, 7, 2)
    data = tf.data.Dataset.from_tensor_slices(x).map(there_and_back)
    assert_same_bits(np.stack([y.numpy() for y in data]), expected(x))
    data = tf.data.Dataset.from_tensor_slices(x).batch(2).map(there_and_back)
    assert_same_bits(np.concatenate([y.numpy() for y in data]), expected(x))


REPLICAS = """
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import unpool

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert strategy.num_replicas_in_sync == 2
x = np.random.default_rng(0).permutation(2 * 5 * 7 * 3).astype("float32").reshape(2, 5, 7, 3)
with strategy.scope():
    weight = tf.Variable(3.0)
parts = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices(x).batch(2))

@tf.function
def step(part):
    def replica(part):
        with tf.GradientTape() as tape:
            values, indices = unpool.max_pool2d(part * weight, 2, return_indices=True, data_format="channels_last")
            size = tf.shape(part)
            y = unpool.max_unpool2d(values, indices, 2, output_size=size, data_format="channels_last")
            loss = tf.reduce_sum(y)
        gradient = tape.gradient(loss, weight)
        context = tf.distribute.get_replica_context()
        return loss, context.all_reduce("SUM", gradient)
    return strategy.run(replica, (part,))

(part,) = parts
losses, gradients = step(part)
kept = unpool.max_pool2d(x, 2, data_format="channels_last")
losses = strategy.experimental_local_results(losses)
assert [float(loss) for loss in losses] == [3 * float(one.sum()) for one in kept], losses
for gradient in strategy.experimental_local_results(gradients):
    assert float(gradient) == float(kept.sum()), gradient
print("both")
"""


def test_a_strategy_has_replicas():
    """On two logical devices: each does its part, and their gradients add up."""
    done = python("-c", REPLICAS)
    assert done.stdout == "both\n", done.stderr


def test_importing_unpool_imports_no_tensorflow():
    """Nor does pooling NumPy arrays; the first tensor does, which has imported it already."""
    done = python("-c", "import sys, numpy, unpool; unpool.max_pool2d(numpy.ones((1, 2, 2)), 2); print(*sys.modules)")
    assert not done.returncode, done.stderr
    assert not {"tensorflow", "unpool_tensorflow", "keras"} & {name.partition(".")[0] for name in done.stdout.split()}
    assert "tensorflow" in sys.modules
