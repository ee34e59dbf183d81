"""Models across the backends of Keras: one backend saves and the others load; JAX exports and TensorFlow serves.

Keras has one backend in a process, so each backend runs in a process of its own.
"""

import itertools
import json
from contextlib import ExitStack

import numpy as np
from needs import require
from processes import python, read_until, waiting

from unpool.testing.compare import assert_same_bits

for module in ("keras", "tensorflow", "jax", "torch"):
    require(module, "the tests move models between the backends of Keras")

BACKENDS = ("tensorflow", "jax", "torch")
X = np.random.default_rng(0).standard_normal((2, 7, 10, 3), "float32")

START = """
import json, os, sys
folder, backend = sys.argv[1:3]
os.environ["KERAS_BACKEND"] = backend
import numpy as np, keras
import unpool.keras
x = np.load(f"{folder}/x.npy")

def numbers(model):
    return [keras.ops.convert_to_numpy(one) for one in model(x)]

def configurations(model):
    return json.dumps([layer.get_config() for layer in model.layers])
"""
# Two outputs: one without sums, which is the same on all backends to the bit, and one of a convolution.  The program
# saves its model, waits for a line, and loads the others.
SAVE_AND_LOAD = (
    START
    + """
keras.utils.set_random_seed(0)
picture = keras.Input((None, None, 3))
values, indices = unpool.keras.MaxPooling2DWithIndices(3, 2, "same", index_dtype="int32")(picture)
deeper, their_indices = unpool.keras.MaxPooling2DWithIndices((2, 1), padding=(1, 0))(values)
values = unpool.keras.MaxUnpooling2D((2, 1), padding=(1, 0), validate=False)(deeper, their_indices, like=values)
restored = unpool.keras.MaxUnpooling2D(3, 2, "same")(values, indices, like=picture)
model = keras.Model(picture, [restored, keras.layers.Conv2D(4, 3, padding="same")(restored)])
model.save(f"{folder}/{backend}.keras")
np.savez(f"{folder}/{backend}.npz", *numbers(model))
open(f"{folder}/{backend}.json", "w").write(configurations(model))
print("saved", flush=True)
sys.stdin.readline()
for saved in sys.argv[3:]:
    model = keras.models.load_model(f"{folder}/{saved}.keras")
    np.savez(f"{folder}/{saved}-{backend}.npz", *numbers(model))
    open(f"{folder}/{saved}-{backend}.json", "w").write(configurations(model))
"""
)
EXPORT = (
    START
    + """
picture = keras.Input((None, None, 3))
values, indices = unpool.keras.MaxPooling2DWithIndices(3, 2, "same")(picture)
deeper, their_indices = unpool.keras.MaxPooling2DWithIndices(2, padding="same")(values)
values = unpool.keras.MaxUnpooling2D(2, padding="same")(keras.layers.Dense(3)(deeper), their_indices, like=values)
model = keras.Model(picture, unpool.keras.MaxUnpooling2D(3, 2, "same")(values, indices, like=picture))
model.export(f"{folder}/exported", format="tf_saved_model", verbose=False)
for cols in (10, 5):
    np.save(f"{folder}/exported{cols}.npy", keras.ops.convert_to_numpy(model(x[:, :, :cols])))
"""
)
SERVE = """
import sys
sys.modules["unpool"] = sys.modules["keras"] = sys.modules["jax"] = None
import numpy as np, tensorflow as tf
folder = sys.argv[1]
model, x = tf.saved_model.load(f"{folder}/exported"), np.load(f"{folder}/x.npy")
for cols in (10, 5):
    np.save(f"{folder}/served{cols}.npy", model.serve(tf.constant(x[:, :, :cols])).numpy())
"""


def run(program, *arguments):
    result = python("-c", program, *map(str, arguments))
    assert result.returncode == 0, result.stderr


def arrays(path):
    with np.load(path) as file:
        return list(file.values())


def others(backend):
    return [other for other in BACKENDS if other != backend]


def test_a_model_opens_on_every_other_backend(tmp_path):
    """One test covers all pairs, since each of its processes imports a framework."""
    np.save(tmp_path / "x.npy", X)
    with ExitStack() as stack:
        processes = [
            stack.enter_context(waiting("-c", SAVE_AND_LOAD, str(tmp_path), backend, *others(backend)))
            for backend in BACKENDS
        ]
        for process in processes:
            read_until("saved", process)
        for process in processes:
            written, _ = process.communicate("load\n", timeout=300)
            assert process.returncode == 0, written
    first = arrays(tmp_path / "tensorflow.npz")[0]
    assert first.any()
    for saved, loaded in itertools.permutations(BACKENDS, 2):
        (restored, weighted), found = arrays(tmp_path / f"{saved}.npz"), arrays(tmp_path / f"{saved}-{loaded}.npz")
        assert_same_bits(restored, first)
        assert_same_bits(found[0], first)
        np.testing.assert_allclose(found[1], weighted, atol=1e-5)
        one, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in (saved, f"{saved}-{loaded}"))
        assert one == other


def test_tensorflow_serves_what_jax_exported(tmp_path):
    """Serve pictures of any size without Keras, JAX and unpool. With weights, gradients are exported too."""
    np.save(tmp_path / "x.npy", X)
    run(EXPORT, tmp_path, "jax")
    run(SERVE, tmp_path)
    for cols in (10, 5):
        served, expected = (np.load(tmp_path / f"{name}{cols}.npy") for name in ("served", "exported"))
        assert served.any()
        np.testing.assert_allclose(served, expected, atol=1e-5)
