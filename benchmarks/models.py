"""Compare Keras models that restore with `unpool.keras` and with `UpSampling2D`, on every backend of Keras.

    python benchmarks/models.py [--quick] [--rounds 3] [--threads N] [--json FILE]

unpool          a small SegNet of `MaxPooling2DWithIndices` and `MaxUnpooling2D`
UpSampling2D    the same convolutions and weights, with `MaxPooling2D` and `UpSampling2D`, which use no indices

Rows, for each backend of Keras:

pool, unpool        one layer, called eagerly on the model's first features
layers, gradient    both layers and the gradient of their input, eagerly
model               the model, called eagerly
model, gradient     its loss and the gradient of its weights, eagerly: `tf.GradientTape`, `jax.value_and_grad` of
                    `stateless_call`, `torch.autograd.grad`
predict_on_batch    one call
train_on_batch      one training step, compiled as in `fit`

The last two use Keras' default ``jit_compile="auto"``; a note below the table gives its value on each backend.  Indices
are taps in uint8, the default of the layers.

Each peer runs in its own process on each backend, one process after the other.  A figure is the median, over the
rounds, of each process's median.  "First" is the first call of a process, which traces and compiles.  Its result is
checked before the call is timed again: layers are compared with NumPy, and compiled calls with eager ones.  If it
differs, the report names the call and has no time.

`--threads` applies to unpool, TensorFlow and PyTorch.  JAX uses all cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

import numpy as np

from unpool.__main__ import as_program, new_file, positive, show
from unpool.bench import measure
from unpool.bench.cases import Array, Case, from_json
from unpool.bench.peers import Peer
from unpool.bench.report import Report, medians, start, table, usable_cores

SECONDS, QUICK = 1.0, 0.3  # a call, in each process
RATE = 0.01  # of the optimizer
LAST: Final = "channels_last"
BACKENDS = ("tensorflow", "jax", "torch")
CALLS = ("pool", "unpool", "layers, gradient", "model", "model, gradient", "predict_on_batch", "train_on_batch")
# The shape is that of the first features.
CASES = tuple(
    Case(f"{backend}: {call}", call, (4, 16, 128, 128), data_format=LAST) for backend in BACKENDS for call in CALLS
)


# --- layers and their results in NumPy --------------------------------------------------------------------------------


class Layers(NamedTuple):
    """A pair of layers, and the same computation in NumPy.

    Pooling returns one tensor or two.  Unpooling takes the same tensors.
    """

    pool: Callable[[], Any]
    unpool: Callable[[], Any]
    pooled: Callable[[Array], tuple[Array, ...]]
    restored: Callable[..., Array]
    # Takes pooling's input and the gradient of unpooling's output.
    gradient: Callable[[Array, Array], Array]


def layers_of(name: str) -> Layers:
    """Return the layers of a peer; import Keras on the backend that KERAS_BACKEND names."""
    import keras

    if name == "UpSampling2D":
        pair = keras.layers.MaxPooling2D, keras.layers.UpSampling2D
        return Layers(*pair, lambda plane: maxima(plane)[:1], repeat, gradient_of_repeating)
    import unpool.keras

    pair = unpool.keras.MaxPooling2DWithIndices, unpool.keras.MaxUnpooling2D
    return Layers(*pair, maxima, place, gradient_of_placing)


def maxima(plane: Array) -> tuple[Array, Array]:
    """Return the maximum of each 2 x 2 window of planes (N, H, W, C), and its tap."""
    batch, rows, columns, channels = plane.shape
    windows = plane.reshape(batch, rows // 2, 2, columns // 2, 2, channels).transpose(0, 1, 3, 5, 2, 4)
    windows = windows.reshape(batch, rows // 2, columns // 2, channels, 4)
    return windows.max(-1), windows.argmax(-1).astype(np.uint8)


def place(values: Array, taps: Array) -> Array:
    """Return planes of zeros with each value at its tap."""
    batch, rows, columns, channels = values.shape
    windows = np.zeros((*values.shape, 4), values.dtype)
    np.put_along_axis(windows, taps[..., None].astype(np.int64), values[..., None], axis=-1)
    windows = windows.reshape(batch, rows, columns, channels, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return windows.reshape(batch, 2 * rows, 2 * columns, channels)


def repeat(values: Array) -> Array:
    return values.repeat(2, axis=1).repeat(2, axis=2)


def gradient_of_placing(plane: Array, upstream: Array) -> Array:
    _, taps = maxima(plane)
    return np.where(place(np.ones(taps.shape, bool), taps), upstream, 0)


def gradient_of_repeating(plane: Array, upstream: Array) -> Array:
    batch, rows, columns, channels = plane.shape
    sums = upstream.reshape(batch, rows // 2, 2, columns // 2, 2, channels).sum((2, 4))
    return place(sums, maxima(plane)[1])


# --- the calls of a peer ----------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """A row: the call to time, and the check of its first result."""

    name: str
    run: Callable[[], Any]
    is_right: Callable[[Any], bool]
    notes: Mapping[str, Any] = {}  # for the report


def calls(layers: Layers, shape: tuple[int, ...]) -> Iterator[Call]:
    """Make the calls of a peer, in the order of `CALLS`; only the last one changes the weights."""
    import keras

    batch, channels, *spatial = shape
    random = np.random.default_rng(0)
    features, upstream = random.standard_normal((2, batch, *spatial, channels), dtype=np.float32)
    picture, target = random.standard_normal((2, batch, *spatial, 1), dtype=np.float32)
    tensor, on_jax = keras.ops.convert_to_tensor, keras.backend.backend() == "jax"
    wait = import_module("jax").block_until_ready if on_jax else lambda result: result  # JAX computes asynchronously

    pool, unpool, plane, weight = layers.pool(), layers.unpool(), tensor(features), tensor(upstream)
    pooled, found = layers.pooled(features), pool(plane)
    yield Call("pool", lambda: wait(pool(plane)), lambda result: same(result, pooled))
    yield Call("unpool", lambda: wait(unpool(found)), lambda result: same(result, layers.restored(*pooled)))

    def weighted(planes: Sequence[Any]) -> Any:
        return keras.ops.sum(unpool(pool(planes[0])) * weight)

    expected = layers.gradient(features, upstream)
    slope_of_layers = gradient(weighted, [plane])
    yield Call("layers, gradient", lambda: wait(slope_of_layers()), lambda result: close(result[0], expected))

    model, steps = segnet(layers, (*spatial, 1), channels)
    model.compile(keras.optimizers.SGD(RATE), "mse")
    x, y = tensor(picture), tensor(target)
    weights, before = [variable.value for variable in model.trainable_variables], model.get_weights()

    def loss(weights: Sequence[Any]) -> Any:
        # With other backends than JAX, the model reads the weights from its variables.
        result = model.stateless_call(weights, [], x)[0] if on_jax else model(x)
        return keras.ops.mean(keras.ops.square(result - y))

    def is_slope(result: Sequence[Any]) -> bool:
        # The gradient of the last bias has a formula.  The training step checks the others.
        return close(result[-1], 2 * (array(model(x)) - target).mean((0, 1, 2)))

    def is_model(result: Any) -> bool:
        return tuple(result.shape) == target.shape and all(is_step(layers, *step) for step in steps(x))

    slope = gradient(loss, weights)
    yield Call("model", lambda: wait(model(x)), is_model)
    yield Call("model, gradient", lambda: wait(slope()), is_slope)

    eager, gradients, notes = array(model(x)), list(map(array, slope())), {"jit_compile": bool(model.jit_compile)}

    def is_trained(result: Any) -> bool:
        moves = [(old - new) / RATE for old, new in zip(before, model.get_weights(), strict=True)]
        return close(flat(moves), flat(gradients))

    yield Call("predict_on_batch", lambda: model.predict_on_batch(picture), lambda result: close(result, eager), notes)
    yield Call("train_on_batch", lambda: model.train_on_batch(picture, target), is_trained, notes)


def segnet(layers: Layers, shape: tuple[int, ...], channels: int) -> tuple[Any, Any]:
    """Return a model with two poolings, and one with the inputs and outputs of these and of the unpoolings."""
    import keras

    keras.utils.set_random_seed(0)  # the same weights for both peers of a backend

    def convolve(x: Any) -> Any:
        return keras.layers.Conv2D(channels, 3, padding="same", activation="relu")(x)

    x = picture = keras.Input(shape)
    down, steps = [], []
    for _ in range(2):
        features = convolve(x)
        x, *indices = several(layers.pool()(features))
        down.append((features, x, indices))
    for features, pooled, indices in reversed(down):
        x = convolve(x)
        restored = layers.unpool()([x, *indices] if indices else x)
        steps.append([[features], [pooled, *indices], [x, *indices], [restored]])
        x = convolve(restored)
    return keras.Model(picture, keras.layers.Conv2D(1, 3, padding="same")(x)), keras.Model(picture, steps)


def gradient(function: Callable[[Sequence[Any]], Any], at: Sequence[Any]) -> Callable[[], Any]:
    """Return a call that computes a function of tensors and its gradient eagerly, and returns the gradient."""
    import keras

    backend = keras.backend.backend()
    framework = import_module(backend)

    def of_tensorflow() -> Any:
        with framework.GradientTape() as tape:
            tape.watch(at)
            result = function(at)
        return tape.gradient(result, at)

    def of_torch() -> Any:
        tensors = [tensor.requires_grad_() for tensor in at]
        return framework.autograd.grad(function(tensors), tensors)

    if backend == "jax":
        both = framework.value_and_grad(function)
        return lambda: both(at)[1]
    return {"tensorflow": of_tensorflow, "torch": of_torch}[backend]


def is_step(layers: Layers, features: Any, pooled: Any, given: Any, restored: Any) -> bool:
    """Compare the results of a pooling and its unpooling in the model with NumPy's."""
    return same(pooled, layers.pooled(array(features[0]))) and same(restored, layers.restored(*map(array, given)))


def same(result: Any, expected: Any) -> bool:
    pairs = zip(several(result), several(expected), strict=True)
    return all(np.array_equal(array(found), wanted) for found, wanted in pairs)


def close(result: Any, expected: Array) -> bool:
    return bool(abs(array(result) - expected).max() < 1e-2 * abs(expected).max())


def flat(arrays: Sequence[Array]) -> Array:
    return np.concatenate([one.reshape(-1) for one in arrays])


def several(result: Any) -> Sequence[Any]:
    return result if isinstance(result, (list, tuple)) else (result,)


def array(tensor: Any) -> Array:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(tensor))


# --- the process of a peer --------------------------------------------------------------------------------------------


def serve(backend: str, name: str) -> None:
    """Answer the request of `measure.add_round`: a line of JSON for each case of this backend."""
    os.environ |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    request, threads = json.load(sys.stdin), int(os.environ["OMP_NUM_THREADS"])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # frameworks print to standard output, which is for the answers alone
    framework = import_module(backend)
    if backend == "tensorflow":
        framework.config.threading.set_intra_op_parallelism_threads(threads)
        framework.config.threading.set_inter_op_parallelism_threads(1)
    elif backend == "torch":
        framework.set_num_threads(threads)
    versions = {module: import_module(module).__version__ for module in request["needs"]}
    print(json.dumps(versions), file=answers, flush=True)
    cases = [case for case in map(from_json, request["cases"]) if case.name.startswith(backend)]
    for answer in timings(layers_of(name), cases, request["seconds"]):
        print(json.dumps(answer | {"column": name}), file=answers, flush=True)


def timings(layers: Layers, cases: Collection[Case], seconds: float) -> Iterator[dict[str, Any]]:
    """Time the calls of cases, which have one shape."""
    names = {case.operation: case.name for case in cases}
    [shape] = {case.shape for case in cases}
    for call in calls(layers, shape):
        begin = time.perf_counter()
        try:
            result = call.run()
            first = (time.perf_counter() - begin) * 1e3
            if call.is_right(result):
                answer = measure.time_call(call.run, seconds) | {"first": first, **call.notes}
            else:
                answer = {"problem": "has another result than expected, and was not timed"}
        except Exception as error:
            answer = {"problem": f"{type(error).__name__}: {error}".partition("\n")[0][:300]}
        yield {"case": names[call.name]} | answer


# --- the command ------------------------------------------------------------------------------------------------------

PEERS = {
    f"{name}, {backend}": Peer(
        needs=("keras", backend),
        install=f"keras {backend}",
        columns=(name,),
        program=f"import models; models.serve({backend!r}, {name!r})",
    )
    for backend in BACKENDS
    for name in ("unpool", "UpSampling2D")
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="one round, and less time for each call")
    add("--rounds", type=positive, metavar="N", help="(default: 3, or 1 with --quick)")
    add("--threads", type=positive, default=usable_cores(), metavar="N", help="threads per peer (default: the cores)")
    add("--json", type=new_file, metavar="FILE", help="write every run to a file")
    options = parser.parse_args()
    report = start(CASES, options.threads)
    for _ in range(options.rounds or (1 if options.quick else 3)):
        measure.add_round(report, PEERS, QUICK if options.quick else SECONDS)
    show(markdown(report), report, options.json)


def markdown(report: Report) -> str:
    """Return the report with a column for the first calls of each peer, and the values of `jit_compile`."""
    answers = [answer for answers in report["rounds"] for answer in answers]
    tried = {answer["case"] for answer in answers}
    shown = report | {"cases": [case for case in report["cases"] if case["name"] in tried]}
    firsts = [answer | {"milliseconds": answer["first"]} for answer in answers if "first" in answer]
    times = medians(shown | {"rounds": [firsts]})
    more = {
        f"first, {column}": {case: f"{row[column]:.0f}" for case, row in times.items() if column in row}
        for column in report["columns"]
    }
    compiled: dict[str, set[str]] = {}
    for answer in answers:
        if "jit_compile" in answer:
            compiled.setdefault(answer["case"].partition(":")[0], set()).add(str(answer["jit_compile"]))
    values = [f"{' or '.join(sorted(found))} on {backend}" for backend, found in compiled.items()]
    return table(shown, **more) + f'\n\njit_compile="auto" is {", ".join(values)}.' * bool(values)


if __name__ == "__main__":
    as_program(main)
