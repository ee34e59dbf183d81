"""Where TensorFlow is unlike NumPy: errors that only a run finds, sizes that only it knows, what is no array."""

import contextlib
import re

import numpy as np
import pytest
from compare import assert_same_bits
from needs import require

import unpool

tf = require("tensorflow", "its tensors are what is tested")

from unpool_tensorflow import host  # noqa: E402

LAST = {"data_format": "channels_last"}
X = np.random.default_rng(0).permutation(2 * 5 * 7 * 3).astype("float32").reshape(2, 5, 7, 3) + 1
P, I = unpool.max_pool2d(X, 2, return_indices=True, **LAST)
Y = unpool.max_unpool2d(P, I, 2, output_size=X.shape, **LAST)
# For every run: how a function is made to run that way.
RUNS = {
    "eager": lambda function: function,
    "function": lambda function: tf.function(function),
    "xla": lambda function: tf.function(function, jit_compile=True),
}
every_run = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


def unknown(array):
    return tf.TensorSpec([None] * array.ndim, array.dtype)


def said(error):
    """The text of an assert, in which TensorFlow marks quotes."""
    text = re.search(r"assertion failed: \[(.*)\]", str(error), re.DOTALL)[1].partition("]\n")[0]
    return text.replace("\\'", "'")


def reason(call, *arguments, **named):
    """Why a call fails with NumPy arrays."""
    with pytest.raises((ValueError, IndexError)) as caught:
        call(*arguments, **named)
    return str(caught.value)


# --- a bad index ------------------------------------------------------------------------------------------------------

BAD = [(np.int64, 35), (np.int64, -1), (np.int64, 2**32 + 3), (np.int32, 35), (np.uint64, 2**63 + 3), (np.int8, -128)]


def with_bad(dtype, bad):
    indices = I.astype(dtype)
    indices[1, 1, 0, 2] = bad
    dropped = P.copy()
    dropped[1, 1, 0, 2] = 0  # where it came from is the only cell that changes
    return indices, unpool.max_unpool2d(dropped, I, 2, output_size=X.shape, **LAST)


@pytest.mark.parametrize(("dtype", "bad"), BAD)
def test_a_bad_index_is_the_error_of_numpy(dtype, bad):
    indices, _ = with_bad(dtype, bad)

    def call(values, indices):
        return unpool.max_unpool2d(values, indices, 2, output_size=X.shape, **LAST)

    expected = reason(call, P, indices)
    assert f"indices[1, 1, 0, 2] = {bad} is out of range for a 5 x 7 output plane: expected 0..34" in expected
    with pytest.raises(IndexError) as caught:
        call(tf.constant(P), tf.constant(indices))
    assert str(caught.value) == expected
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        tf.function(call)(tf.constant(P), tf.constant(indices))
    assert said(caught.value) == expected
    graph = tf.function(call, input_signature=[unknown(P), unknown(indices)])
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        graph(tf.constant(P), tf.constant(indices))
    assert said(caught.value) == expected


@every_run
@pytest.mark.parametrize(("dtype", "bad"), BAD)
def test_nobody_hears_of_a_bad_index_without_validate(run, dtype, bad):
    """It is written nowhere, into no neighbour's plane either, and its gradient is zero; so it is under XLA."""
    indices, planes = with_bad(dtype, bad)
    gradient = unpool.max_unpool2d_backward(X, I, 2, **LAST)
    gradient[1, 1, 0, 2] = 0
    for validate in (False, True) if run is RUNS["xla"] else (False,):

        @run
        def both(values, indices, upstream, validate=validate):
            with tf.GradientTape() as tape:
                tape.watch(values)
                y = unpool.max_unpool2d(values, indices, 2, output_size=X.shape, validate=validate, **LAST)
            return y, tape.gradient(y, values, upstream)

        found = both(tf.constant(P), tf.constant(indices), tf.constant(X))
        assert_same_bits(found[0].numpy(), planes)
        assert_same_bits(found[1].numpy(), gradient)


@pytest.mark.parametrize("size", [(8, 8), (11, 4), (18, 2), (110, 2), (88,), (80, 2, 2), (1800, 1)])
def test_a_plane_whose_size_a_run_knows_has_its_article(size):
    """An 8 x 8 plane, a 110 x 2 plane: the graph finds the word."""
    rank = len(size)
    values, indices = np.ones((1, 1, *[1] * rank), "float32"), np.full((1, 1, *[1] * rank), 10**6)
    call = getattr(unpool, f"max_unpool{rank}d")
    expected = reason(call, values, indices, size)

    @tf.function(input_signature=[unknown(values), unknown(indices), tf.TensorSpec([rank], tf.int32)])
    def graph(values, indices, output_size):
        return call(values, indices, size, output_size=output_size)

    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        graph(tf.constant(values), tf.constant(indices), tf.constant(size))
    assert said(caught.value) == expected


# --- rules that only a run can apply ----------------------------------------------------------------------------------


def unpooled(values, indices, size=None, **named):
    return unpool.max_unpool2d(values, indices, 2, output_size=size, **named, **LAST)


MISTAKES = {
    "shapes differ": (unpooled, (P, I[:, :1])),
    "no rows": (unpooled, (P[:, :0], I[:, :0])),
    "too large": (unpooled, (P, I), {"size": np.array([2, 6, 7, 3])}),
    "too small": (unpooled, (P, I), {"size": np.array([2, 5])}),
    "another batch": (unpooled, (P, I), {"size": np.array([1, 5, 7, 3])}),
    "other channels": (unpooled, (P, I), {"size": np.array([2, 5, 7, 4])}),
    "nothing to pool": (lambda x: unpool.max_pool2d(x, 6, **LAST), (X,)),
    "an empty row": (lambda x: unpool.max_pool2d(x, 2, **LAST), (X[:, :, :0],)),
    "a window in the padding": (lambda x: unpool.max_pool1d(x, 2, 1, 1, 5), (np.ones((1, 1, 4)),)),
    "no default": (lambda v, i: unpool.max_unpool1d(v, i, 2, 2, 1), (np.ones((1, 1, 1)), np.zeros((1, 1, 1), int))),
    "no such plane": (lambda v, i: unpool.max_unpool1d(v, i, 2, 1, 1), (np.ones((1, 1, 1)), np.zeros((1, 1, 1), int))),
    "gradient of another size": (lambda g, i: unpool.max_unpool2d_backward(g, i, 2, **LAST), (X[:, :3], I)),
    "gradient of another batch": (lambda g, i: unpool.max_unpool2d_backward(g, i, 2, **LAST), (X[:1], I)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_that_a_run_finds_is_the_error_of_numpy(mistake):
    call, arrays, *named = MISTAKES[mistake]
    named = named[0] if named else {}
    expected = reason(call, *arrays, **named)
    # What a tensor of sizes held is shown as a tuple.
    graph = tf.function(call).get_concrete_function(
        *map(unknown, arrays), **{name: tf.TensorSpec(value.shape, value.dtype) for name, value in named.items()}
    )
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        graph(*map(tf.constant, arrays), **{name: tf.constant(value) for name, value in named.items()})
    assert said(caught.value) == expected


def test_a_repeated_index_is_the_error_of_numpy():
    indices = np.where(I[1, 0, 0, 1] == I, I[1, 0, 0, 1], I)
    indices[1, 1, 0, 1] = indices[1, 0, 0, 1]
    expected = reason(unpooled, P, indices, X.shape, duplicates="error")
    with pytest.raises(ValueError, match=re.escape(expected)):
        unpooled(tf.constant(P), tf.constant(indices), X.shape, duplicates="error")
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        tf.function(unpooled)(tf.constant(P), tf.constant(indices), X.shape, duplicates="error")
    assert said(caught.value) == expected


@pytest.mark.parametrize("validate", [True, False])
def test_the_operations_raise_eagerly_what_the_kernels_raise(monkeypatch, validate):
    """As they do on a GPU, whose tensors the kernels of the CPU do not get."""
    monkeypatch.setattr(host, "serves", lambda *tensors: False)
    indices, planes = with_bad(np.int64, 35)
    assert_same_bits(unpooled(tf.constant(P), tf.constant(I), X.shape).numpy(), Y)
    raises = pytest.raises(IndexError, match=re.escape("indices[1, 1, 0, 2] = 35"))
    with raises if validate else contextlib.nullcontext():
        found = unpooled(tf.constant(P), tf.constant(indices), X.shape, validate=validate)
    if not validate:
        assert_same_bits(found.numpy(), planes)
    with pytest.raises(ValueError, match="must not repeat"):
        unpooled(tf.constant(P), tf.zeros_like(I), X.shape, duplicates="error")


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size",
    [
        lambda x: tf.shape(x),
        lambda x: tf.shape(x, tf.int64)[1:3],
        lambda x: (tf.shape(x)[1], 7),
        lambda x: [None, tf.shape(x)[1], tf.shape(x, tf.int64)[2], 3],
        lambda x: tf.TensorShape([None, 5, 7, None]),
        lambda x: tf.constant([5, 7]),
    ],
    ids=["shape", "slice", "mixed", "mixed dtypes", "half a shape", "constant"],
)
@pytest.mark.parametrize("known", [(2, 5, 7, 3), (None, 5, 7, 3), (2, None, None, 3), (None,) * 4], ids=str)
def test_output_size_of_a_tensor(size, known):
    @tf.function
    def call(x):
        values, indices = unpool.max_pool2d(x, 2, return_indices=True, **LAST)
        assert all(a is None or a == b for a, b in zip(values.shape, P.shape, strict=True))
        return unpooled(values, indices, size(x))

    graph = call.get_concrete_function(tf.TensorSpec(known, tf.float32))
    assert graph.outputs[0].shape[0] == known[0]
    assert_same_bits(graph(tf.constant(X)).numpy(), Y)
    assert_same_bits(unpooled(tf.constant(P), tf.constant(I), size(tf.constant(X))).numpy(), Y)


def test_what_is_known_of_a_shape_stays_known():
    @tf.function(input_signature=[tf.TensorSpec((None, 5, None, 3))])
    def call(x):
        values, indices = unpool.max_pool2d(x, 2, return_indices=True, **LAST)
        assert values.shape.as_list() == indices.shape.as_list() == [None, 2, None, 3]
        planes = unpooled(values, indices, tf.shape(x))
        assert planes.shape.as_list() == [None, 5, None, 3]
        assert unpooled(values, indices, validate=False).shape.as_list() == [None, 4, None, 3]
        return planes

    assert_same_bits(call(tf.constant(X)).numpy(), Y)


@every_run
def test_no_samples(run):
    for spec in ((0, 5, 7, 3), (None, 5, 7, 3)):

        @run
        def call(x, spec=spec):
            with tf.GradientTape() as tape:
                tape.watch(x)
                values, indices = unpool.max_pool2d(x, 3, 1, return_indices=True, **LAST)
                y = unpool.max_unpool2d(values, indices, 3, 1, output_size=tf.shape(x), **LAST)
            return y, tape.gradient(y, x)

        y, gradient = call(tf.zeros((0, 5, 7, 3)))
        assert y.shape == gradient.shape == (0, 5, 7, 3)


def test_a_spatial_size_must_not_be_left_open():
    @tf.function(input_signature=[tf.TensorSpec((2, None, 7, 3))])
    def call(x):
        values, indices = unpool.max_pool2d(x, 2, return_indices=True, **LAST)
        return unpooled(values, indices, x.shape)

    with pytest.raises(ValueError, match=r"`output_size` must say every spatial size, .*tf\.shape\(x\)"):
        call(tf.constant(X))


@pytest.mark.parametrize("seed", range(3))
def test_positions_alone_under_xla(seed):
    """XLA computed the bits of slices of padded floats wrong where a program wants nothing but the positions."""
    x = np.random.default_rng(seed).permutation(18).reshape(2, 9).astype("float64")

    @tf.function(jit_compile=True)
    def call(x, upstream, planes):
        with tf.GradientTape() as outer:
            outer.watch(upstream)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = unpool.max_pool1d(x, 3, 2, 1)
            gradient = tape.gradient(y, x, upstream)
        return outer.gradient(gradient, upstream, planes)

    indices = unpool.max_pool1d(x, 3, 2, 1, return_indices=True)[1]
    found = call(tf.constant(x), tf.zeros((2, 5), tf.float64), tf.constant(x + 1))
    assert_same_bits(found.numpy(), np.take_along_axis(x + 1, indices, 1))


# --- index conventions ------------------------------------------------------------------------------------------------

CONVENTIONS = ("plane", "tensorflow", "tensorflow_batch", "onnx", "window")


@every_run
@pytest.mark.parametrize("sizes", ["known", "unknown"])
def test_convert_indices(run, sizes):
    named = {"kernel_size": 2, **LAST}
    for source in CONVENTIONS:
        given = unpool.convert_indices(I, "plane", source, output_size=X.shape, **named)

        def every(indices, x, source=source):
            size = X.shape if sizes == "known" else tf.shape(x)
            return [
                unpool.convert_indices(indices, source, target, output_size=size, **named) for target in CONVENTIONS
            ]

        every = run(every)
        if sizes == "unknown" and run is not RUNS["eager"]:
            every = every.get_concrete_function(unknown(given), unknown(X))
        for target, found in zip(CONVENTIONS, every(tf.constant(given), tf.constant(X)), strict=True):
            assert_same_bits(found.numpy(), unpool.convert_indices(I, "plane", target, output_size=X.shape, **named))


@pytest.mark.parametrize("sizes", ["known", "unknown"])
@pytest.mark.parametrize("source", CONVENTIONS)
def test_an_index_that_does_not_fit_its_convention(source, sizes):
    given = unpool.convert_indices(I, "plane", source, output_size=X.shape, kernel_size=2, **LAST)
    given[1, 0, 1, 2] = 10**6

    def convert(indices, size):
        target = "onnx" if source == "plane" else "plane"
        return unpool.convert_indices(indices, source, target, output_size=size, kernel_size=2, **LAST)

    expected = reason(convert, given, X.shape)
    with pytest.raises(IndexError, match=re.escape(expected)):
        convert(tf.constant(given), X.shape)
    size = X.shape if sizes == "known" else tf.TensorSpec([4], tf.int32)
    spec = tf.TensorSpec(given.shape, given.dtype) if sizes == "known" else unknown(given)
    graph = tf.function(convert).get_concrete_function(spec, size)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        graph(tf.constant(given), *([] if sizes == "known" else [tf.constant(X.shape)]))
    assert said(caught.value) == expected


@every_run
@pytest.mark.parametrize("batch", [False, True])
def test_what_tensorflow_pools_is_unpooled(run, batch):
    x = tf.constant(X)
    values, argmax = tf.nn.max_pool_with_argmax(x, 2, 2, "VALID", include_batch_in_index=batch)

    @run
    def restored(values, argmax):
        source = "tensorflow_batch" if batch else "tensorflow"
        indices = unpool.convert_indices(argmax, source, "plane", output_size=X.shape, **LAST)
        return unpooled(values, indices, X.shape)

    assert_same_bits(restored(values, argmax).numpy(), Y)


# --- tensors that are not arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: unpooled(tf.constant(P), I), TypeError, "pass tensorflow.convert_to_tensor(indices)"),
        (lambda: unpooled(P, tf.constant(I)), TypeError, "pass numpy.asarray(indices)"),
        (lambda: unpooled(tf.constant(P), tf.cast(I, tf.float32)), TypeError, "`indices` must be integers"),
        (
            lambda: unpooled(tf.constant(P), tf.constant(I), out=tf.zeros((2, 4, 6, 3))),
            TypeError,
            "`out` must be left out",
        ),
        (
            lambda: unpool.max_pool2d(tf.constant(X), 2, out=tf.zeros(P.shape), **LAST),
            TypeError,
            "`out` must be left out for arrays of TensorFlow",
        ),
        (
            lambda: unpool.max_unpool2d_backward(tf.constant(X), tf.constant(I), 2, out=tf.zeros(P.shape), **LAST),
            TypeError,
            "`out` must be left out for arrays of TensorFlow",
        ),
        (lambda: unpool.max_pool2d(tf.constant([[["a"]]]), 1), TypeError, "got string"),
        (lambda: unpool.max_pool2d(tf.sparse.from_dense(X), 2, **LAST), TypeError, "`input` must be a dense tensor"),
        (lambda: unpool.max_pool2d(tf.ones((1, 2, 2), tf.complex64), 2), TypeError, "of one of the dtypes"),
        (lambda: unpool.max_pool2d(tf.constant(X), 2, backend="cpu", **LAST), TypeError, "pass numpy.asarray(input)"),
        (lambda: unpool.max_pool2d(tf.constant(1.0), 2), ValueError, "must have 4 dimensions"),
        (lambda: unpool.max_pool2d(tf.keras.Input((5, 7, 3)), 2, **LAST), TypeError, "KerasTensor"),
    ],
)
def test_wrong_calls(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()


def test_a_shape_of_unknown_rank():
    @tf.function(input_signature=[tf.TensorSpec(None)])
    def call(x):
        return unpool.max_pool2d(x, 2)

    with pytest.raises(ValueError, match="`input` must have a known number of dimensions"):
        call(tf.constant(X))


def test_a_tensor_of_sizes_belongs_to_tensors():
    @tf.function
    def call(size):
        return unpooled(P, I, size)

    with pytest.raises(TypeError, match="`input` and `output_size` must be arrays of one library"):
        call(tf.constant([5, 7]))


def test_a_graph_that_was_traced_before_compiles():
    """Without asserts, that is: XLA cannot drop their text in a graph that was traced without it."""

    @tf.function
    def inner(values, indices):
        return unpooled(values, indices, X.shape, validate=False)

    arguments = tf.constant(P), tf.constant(I)
    inner(*arguments)
    assert_same_bits(tf.function(lambda *both: inner(*both), jit_compile=True)(*arguments).numpy(), Y)
