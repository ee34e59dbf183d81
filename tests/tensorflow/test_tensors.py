"""Tensors of TensorFlow: pictures, memory, variables, and graphs.

unpool.testing.contract runs on tensors, through the fixture `backend`. Gradients are in test_gradients.py, sizes
of run time in test_sizes.py, saved models and data sets in test_saved.py, errors in test_wrong_calls.py.
"""

import logging
from itertools import product

import numpy as np
import pytest
from needs import require
from processes import python

import unpool
from unpool.testing import oracle
from unpool.testing.cases import FORMATS, POOLINGS, VALUES, anywhere, bits, crowded, pooled, whole
from unpool.testing.compare import assert_same_bits

tf = require("tensorflow", "the tests of its tensors need it")

from tensorflow_ways import INDICES, POOLED, X, by_operations, every_way, reporting_ways, tensors  # noqa: E402
from unpool_backends.tensorflow import host  # noqa: E402

# --- pictures ---------------------------------------------------------------------------------------------------------


def folk(values, argmax, stride=2):
    """Unpool with the recipe that many copy, in which the size is always the pooled size times the stride.

    Sources: https://github.com/tensorflow/tensorflow/issues/2169; tfa.layers.MaxUnpooling2D(padding="SAME").
    """
    batch, height, width, channels = values.shape
    height, width = height * stride, width * stride
    sample = np.arange(batch).reshape(-1, 1, 1, 1) * np.ones_like(argmax)
    row, column = argmax // (width * channels), argmax // channels % width
    channel = np.arange(channels) * np.ones_like(argmax)
    places = np.stack([sample, row, column, channel], -1).reshape(-1, 4)
    return tf.scatter_nd(places, tf.reshape(values, [-1]), (batch, height, width, channels)).numpy()


@every_way
@pytest.mark.parametrize("ceil_mode", [False, True], ids=["VALID", "SAME"])
def test_a_picture_of_odd_size_is_not_sheared(way, ceil_mode):
    """Unpooling puts every maximum back in its cell. The recipe shifts each row by another number of columns."""
    x = np.random.default_rng(0).permutation(301 * 201).reshape(1, 301, 201, 1).astype("float32") + 1
    window = {"kernel_size": 2, "data_format": "channels_last"}

    @way
    def there_and_back(x):
        values, indices = unpool.max_pool2d(x, **window, ceil_mode=ceil_mode, return_indices=True)
        return values, unpool.max_unpool2d(values, indices, **window, output_size=x.shape)

    values, restored = (tensor.numpy() for tensor in there_and_back(tf.constant(x)))
    kept = np.isin(x, values)
    assert kept.sum() == values.size
    assert_same_bits(restored, np.where(kept, x, np.float32(0)))

    theirs, argmax = tf.nn.max_pool_with_argmax(x, 2, 2, "SAME" if ceil_mode else "VALID")
    assert_same_bits(values, theirs.numpy())
    if ceil_mode:
        sheared = folk(theirs, argmax.numpy())
        assert sheared.shape == (1, 302, 202, 1)
        right = sheared[:, :301, :201] == x
        assert right[0, 0].sum() == kept[0, 0].sum() > 0
        assert right[0, 1:].sum() == 0
        for _, row, column, _ in np.argwhere(kept):
            place = divmod(row * 201 + column, 202)
            assert sheared[0, *place, 0] == x[0, row, column, 0]


# --- operations and kernels agree -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", POOLINGS.values(), ids=POOLINGS)
def test_operations_give_the_bits_of_the_kernels(case):
    for data_format, dtype in zip(FORMATS, ("float32", "float16"), strict=True):
        window = case.arguments | {"data_format": data_format, "return_indices": True}
        pool = by_operations(lambda x, window=window: case.function("max_pool")(x, **window))
        for make in (bits, crowded):
            x = make(dtype, case.shape((2, 3), data_format))
            for actual, expected in zip(pool(tf.constant(x)), case.function("max_pool")(x, **window), strict=True):
                assert_same_bits(actual.numpy(), expected)
        found = pooled(case, (2, 3), data_format)
        for mode, make in (("last", bits), ("sum", whole)):
            window = case.window | {"data_format": data_format, "output_size": case.size, "duplicates": mode}
            up = by_operations(lambda *arrays, window=window: case.function("max_unpool")(*arrays, **window))
            for indices in (found, anywhere(found.shape, int(np.prod(case.size)))):
                values = make(dtype, indices.shape)
                expected = case.function("max_unpool")(values, indices, **window)
                assert_same_bits(up(*tensors(values, indices)).numpy(), expected)


@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_operations_move_every_dtype(dtype):
    up = by_operations(lambda *arrays: unpool.max_unpool2d(*arrays, 3, 2, 1, output_size=(9, 8)))
    found = pooled(POOLINGS["overlap and padding"], (2, 3), "channels_first")
    for indices in (found, anywhere(found.shape, 72)):
        values = bits(dtype, indices.shape)
        assert_same_bits(up(*tensors(values, indices)).numpy(), oracle.max_unpool(values, indices, (9, 8)))


# --- memory -----------------------------------------------------------------------------------------------------------


class Witness:
    """Wrap the kernels, and record the arrays that they receive and the addresses of their results."""

    def __init__(self, kernels):
        self.kernels, self.given, self.returned = kernels, [], []

    def __getattr__(self, name):
        def call(*arguments):
            self.given += [array for array in arguments if isinstance(array, np.ndarray)]
            results = getattr(self.kernels, name)(*arguments)
            self.returned += [array.ctypes.data for array in (results if isinstance(results, tuple) else (results,))]
            return results

        return call


def address(tensor):
    return np.asarray(tensor).ctypes.data


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "uint8", "bool", "complex128"])
def test_an_eager_call_copies_nothing(monkeypatch, dtype):
    """Kernels read the memory of the tensors, and the memory of their results becomes tensors."""
    witness = Witness(host._KERNELS)
    monkeypatch.setattr(host, "_KERNELS", witness)
    values, planes, indices = tf.cast(POOLED, dtype), tf.cast(X, dtype), tf.constant(INDICES)
    calls = [
        ([values, indices], lambda: unpool.max_unpool2d(values, indices, 2)),
        ([planes, indices], lambda: unpool.max_unpool2d_backward(planes, indices, 2)),
    ]
    if dtype != "complex128":
        calls.append(([planes], lambda: unpool.max_pool2d(planes, 2, return_indices=True)))
        calls.append(([values, indices], lambda: unpool.max_pool2d_backward(values, indices, (4, 6), 2)))
    for given, call in calls:
        witness.given, witness.returned = [], []
        results = call()
        assert [array.ctypes.data for array in witness.given] == list(map(address, given))
        if dtype != "bfloat16":  # TensorFlow may copy in the bitcast
            assert witness.returned == list(map(address, results if isinstance(results, tuple) else (results,)))


@pytest.mark.parametrize(
    ("side", "dtype"),
    [*product([2, 30], ["uint8", "bfloat16", "float32", "complex128"]), (1700, "float32")],
    ids=lambda entry: entry if isinstance(entry, str) else f"{entry} x {entry}",
)
def test_results_are_tensors_like_any(side, dtype):
    """Results are aligned to 64 bytes, as TensorFlow's kernels require. Their memory lives as long as the tensor."""
    x = np.arange(1, 1 + 3 * side * side).reshape(1, 3, side, side) % 251
    x = tf.cast(x, dtype)
    if side == 1700:
        assert tf.size(x) * x.dtype.size > 2**25  # from 32 MB on, pages are fresh
    real = x if not x.dtype.is_complex else tf.math.real(x)
    pooled, indices = unpool.max_pool2d(real, 2, return_indices=True)
    values = tf.cast(pooled, dtype)
    planes = unpool.max_unpool2d(values, indices, 2)
    taken = unpool.max_unpool2d_backward(planes, indices, 2)
    expected = [np.asarray(tensor).copy() for tensor in (pooled, indices, planes, taken)]
    for tensor in (pooled, indices, planes, taken):
        assert address(tensor) % 64 == 0
    del values, real, x
    churn = [tf.fill([1, 3, side, side], np.int64(number)) for number in range(4)]
    for tensor, before in zip((pooled, indices, planes, taken), expected, strict=True):
        assert_same_bits(tensor.numpy(), before)
    del churn, pooled, indices
    # A chain of TensorFlow's operations, some of them vectorised.
    chained = tf.transpose(tf.concat([planes[:, 1:], planes[:, :1]], 1) + planes, [0, 2, 3, 1])[:, ::-1]
    rolled = np.concatenate([expected[2][:, 1:], expected[2][:, :1]], 1) + expected[2]
    assert_same_bits(chained.numpy(), np.ascontiguousarray(np.transpose(rolled, [0, 2, 3, 1])[:, ::-1]))


def test_results_are_not_what_was_given():
    """With kernel size 1 no value moves. Even then, inputs and results must not share memory."""
    x = tf.constant(X)
    values, indices = unpool.max_pool2d(x, 1, return_indices=True)
    planes, taken = unpool.max_unpool2d(values, indices, 1), unpool.max_unpool2d_backward(x, indices, 1)
    arrays = [np.asarray(tensor) for tensor in (x, values, indices, planes, taken)]
    for place, array in enumerate(arrays):
        assert not any(np.shares_memory(array, other) for other in arrays[:place])
    for array in arrays[1:2] + arrays[3:]:
        assert_same_bits(array, X)


# --- variables, NumPy arrays, modules ---------------------------------------------------------------------------------


def test_a_variable_is_a_tensor():
    """Either argument may be a variable, or both. Its value at the time of the call counts."""
    x, values, indices = tf.Variable(X), tf.Variable(POOLED), tf.Variable(INDICES)
    expected = unpool.max_unpool2d(POOLED, INDICES, 2)
    pooled, found = unpool.max_pool2d(x, 2, return_indices=True)
    for actual in (
        unpool.max_unpool2d(values, indices, 2, output_size=x.shape),
        unpool.max_unpool2d(values, tf.constant(INDICES), 2, output_size=tf.shape(x)),
        unpool.max_unpool2d(tf.constant(POOLED), indices, 2, output_size=tf.Variable([4, 6])),
        unpool.max_unpool2d(pooled, found, 2),
        tf.function(lambda: unpool.max_unpool2d(values, indices, 2, output_size=tf.shape(x)), autograph=False)(),
    ):
        assert isinstance(actual, tf.Tensor)
        assert_same_bits(actual.numpy(), expected)
    values.assign(2 * POOLED)
    assert_same_bits(unpool.max_unpool2d(values, indices, 2).numpy(), 2 * expected)
    assert_same_bits(pooled.numpy(), POOLED)
    x.assign(-X)
    assert_same_bits(pooled.numpy(), POOLED)  # a result is no view of the input


@pytest.mark.parametrize("compiled", [False, True], ids=["function", "xla"])
def test_arrays_of_numpy_alone(compiled):
    """Within a graph too, NumPy arrays give NumPy arrays. test_constants.py has them beside tensors."""

    @tf.function(autograph=False, jit_compile=compiled)
    def call(x):
        pooled = unpool.max_pool2d(X, 2)
        assert isinstance(pooled, np.ndarray)
        return x + pooled

    spec = tf.TensorSpec([None] * 4, tf.float32)
    call.get_concrete_function(spec)
    # An eager tensor is accepted as a size, since its value is known.
    restored = unpool.max_unpool2d(POOLED, INDICES, 2, output_size=tf.constant([4, 6]))
    assert_same_bits(restored, unpool.max_unpool2d(POOLED, INDICES, 2))


@every_way
def test_modules(way):
    pool, up = unpool.MaxPool2d(3, 2, 1, return_indices=True), unpool.MaxUnpool2d(3, 2, 1, duplicates="sum")
    values, indices = pool(X)
    expected = up(values, indices, X.shape)

    @way
    def call(x):
        values, indices = pool(x)
        return values, indices, up(values, indices, x.shape)

    for actual, wanted in zip(call(tf.constant(X)), (values, indices, expected), strict=True):
        assert_same_bits(actual.numpy(), wanted)
    assert type(unpool.MaxPool2d(2, backend="tensorflow")(tf.constant(X))) is type(tf.constant(X))


# --- graphs -----------------------------------------------------------------------------------------------------------


class Log(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def warned():
    """Return the list of the warnings that TensorFlow logs during the test."""
    log, logger = Log(), tf.get_logger()
    logger.addHandler(log)
    yield log.lines
    logger.removeHandler(log)


# On Python 3.13, AutoGraph gives syntax trees an attribute in a way that Python deprecates.
@pytest.mark.filterwarnings("ignore:.*___pyct_anno:DeprecationWarning")
@pytest.mark.parametrize("compiled", [False, True], ids=["function", "xla"])
def test_autograph_has_nothing_to_say(warned, compiled):
    """By default, `tf.function` rewrites the functions that it calls with AutoGraph, which warns if it fails."""

    @tf.function(jit_compile=compiled)
    def call(x, indices):
        if tf.reduce_sum(x) > 0:  # AutoGraph makes this a `tf.cond`
            values, found = unpool.max_pool2d(x, 2, return_indices=True)
            planes = unpool.MaxUnpool2d(2)(values, found, output_size=tf.shape(x))
            taken = unpool.max_unpool2d_backward(planes, indices, 2, duplicates="error")
            back = unpool.max_pool2d_backward(taken, found, tf.shape(x), 2)
            indices = unpool.convert_indices(indices, "plane", "tensorflow", output_size=tf.shape(x))
        else:
            back = x
        return back, indices

    back, indices = call(tf.constant(X), tf.constant(INDICES))
    assert_same_bits(back.numpy(), unpool.max_unpool2d(POOLED, INDICES, 2))
    converted = unpool.convert_indices(INDICES, "plane", "tensorflow", output_size=X.shape)
    assert_same_bits(indices.numpy(), converted)
    assert warned == []


def test_the_first_call_of_a_process_may_be_in_a_graph():
    """AutoGraph must not warn while the backend is found and imported."""
    program = """
import warnings
warnings.simplefilter("error")
import tensorflow as tf, unpool
pool = tf.function(lambda x: unpool.max_pool2d(x, 2, data_format="NCHW"))
print(pool(tf.reshape(tf.range(16.0), (1, 4, 4))).numpy().tolist())
"""
    result = python("-c", program)
    assert result.stdout == "[[[5.0, 7.0], [13.0, 15.0]]]\n", result.stderr
    assert "AutoGraph" not in result.stderr


@every_way
def test_within_conditions_and_loops(way):
    """Tensors made in one branch do not exist in the other."""

    @way
    def call(x, times):
        def again(time, x):
            values, indices = tf.cond(
                time % 2 == 0,
                lambda: unpool.max_pool2d(x, 2, return_indices=True, index_dtype="int32"),
                lambda: (x[:, :, ::2, ::2], tf.zeros([2, 3, 2, 3], tf.int32)),
            )
            return time + 1, unpool.max_unpool2d(values, indices, 2, output_size=[4, 6], duplicates="sum")

        return tf.while_loop(lambda time, x: time < times, again, [0, x])[1]

    expected = X
    for time in range(3):
        values, indices = unpool.max_pool2d(expected, 2, return_indices=True)
        if time % 2:
            values, indices = expected[:, :, ::2, ::2], np.zeros_like(indices)
        expected = unpool.max_unpool2d(values, indices, 2, output_size=(4, 6), duplicates="sum")
    assert_same_bits(call(tf.constant(X), tf.constant(3)).numpy(), expected)


@reporting_ways
def test_one_call_after_a_bad_one(way):
    """An error leaves no state behind."""
    call = way(lambda values, indices: unpool.max_unpool2d(values, indices, 2))
    for _ in range(2):
        assert "indices[0, 0, 0, 0] = " in way.error(call, tf.constant(POOLED), tf.constant(INDICES + 100))
        assert_same_bits(call(*tensors(POOLED, INDICES)).numpy(), unpool.max_unpool2d(POOLED, INDICES, 2))


def test_a_graph_that_was_traced_before_is_compiled():
    """Only with `validate=False`: XLA cannot drop the assert ops of a graph that was traced without XLA."""

    @tf.function(autograph=False)
    def inner(values, indices):
        return unpool.max_unpool2d(values, indices, 2, validate=False)

    arguments = tensors(POOLED, INDICES)
    inner(*arguments)
    outer = tf.function(lambda *both: inner(*both), autograph=False, jit_compile=True)
    assert_same_bits(outer(*arguments).numpy(), unpool.max_unpool2d(POOLED, INDICES, 2))


@pytest.mark.parametrize("index_format", ["plane", "window"])
def test_compiled_programs_store_indices(index_format):
    """XLA fuses a pooling with the use of its indices, and pools again for every cell, unless a condition is between.

    The condition is true for every index, also for the last that bytes can hold.
    """
    how = {"data_format": "channels_last", "index_format": index_format}
    x = tf.reshape(tf.range(256.0), (1, 16, 16, 1))
    call = tf.function(lambda x: unpool.max_pool2d(x, 16, return_indices=True, **how), jit_compile=True)
    assert " conditional(" in call.experimental_get_compiler_ir(x)(stage="optimized_hlo")
    assert call(x)[1].numpy().item() == 255
