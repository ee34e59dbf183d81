"""Sizes that are unknown until run time: results and messages are those for known sizes."""

import itertools
import re

import numpy as np
import pytest
from far_windows import FAR, far
from needs import require

import unpool
from unpool import arguments
from unpool.plan import plan_unpooling
from unpool.testing.cases import FORMATS, POOLINGS, anywhere, arranged, bits, solved, whole
from unpool.testing.compare import assert_same_bits

tf = require("tensorflow", "the tests of its graphs need it")

from tensorflow_ways import Way, asserted, error_of, every_way, reporting_ways, tensors, ways  # noqa: E402
from unpool_backends.tensorflow import window_path  # noqa: E402
from unpool_backends.tensorflow.asserts import Asserts, after  # noqa: E402

seldom = pytest.mark.one_in(4)  # a case builds graphs, for a second

every_format = pytest.mark.parametrize("data_format", FORMATS)
# Axes of unknown size.
HIDDEN = [(0,), (1,), (2,), (3,), (0, 1, 2, 3)]
every_hidden = pytest.mark.parametrize("hidden", HIDDEN, ids=str)
CASE = POOLINGS["odd"]  # its default size is another


def spec_of(array, hidden):
    shape = [None if axis in hidden else size for axis, size in enumerate(array.shape)]
    return tf.TensorSpec(shape, array.dtype)


def graph(function, *specs, compiled=False):
    return tf.function(function, autograph=False, jit_compile=compiled).get_concrete_function(*specs)


def entries(x, axes):
    """Return known sizes as integers, and unknown ones as scalar tensors."""
    shape = tf.shape(x)
    return [shape[axis] if x.shape[axis] is None else x.shape[axis] for axis in axes]


# Ways to pass the size of the input `x` of pooling, whose spatial axes are `axes`.
PASSED = {
    "tf.shape(x)": lambda x, axes: tf.shape(x),
    "tf.shape(x), int64": lambda x, axes: tf.shape(x, tf.int64),
    "the spatial part": lambda x, axes: tf.shape(x)[axes],
    "a list": lambda x, axes: entries(x, range(4)),
    "a list of the spatial ones": lambda x, axes: entries(x, range(*axes.indices(4))),
    "a tuple": lambda x, axes: tuple(tf.unstack(tf.shape(x))),
    "None outside": lambda x, axes: [
        size if axis in range(*axes.indices(4)) else None for axis, size in enumerate(entries(x, range(4)))
    ],
    "stacked": lambda x, axes: tf.stack(entries(x, range(4))),
}


def axes_of(data_format):
    return slice(1, 3) if data_format == "channels_last" else slice(2, 4)


@seldom
@pytest.mark.parametrize(
    ("passed", "data_format", "hidden"),
    [("tf.shape(x)", *rest) for rest in itertools.product(FORMATS, HIDDEN)]
    + [(name, "channels_last", (0, 1, 2, 3)) for name in PASSED if name != "tf.shape(x)"]
    + [(name, "channels_last", (1, 3)) for name in ("a list", "a list of the spatial ones", "stacked")],
    ids=str,
)
def test_a_size_that_a_run_knows(passed, data_format, hidden):
    """Pool and unpool. Sizes that are known of the input are known of the results."""
    x, values, indices = solved(CASE, (2, 3), data_format)
    axes, shapes, passed = axes_of(data_format), [], PASSED[passed]

    def call(x):
        pooled, found = unpool.max_pool2d(x, 2, return_indices=True, data_format=data_format)
        restored = unpool.max_unpool2d(
            pooled, found, 2, output_size=passed(x, axes), data_format=data_format, duplicates="error"
        )
        shapes.extend(tensor.shape.as_list() for tensor in (pooled, found, restored))
        return pooled, found, restored

    results = graph(call, spec_of(x, hidden))(tf.constant(x))
    expected = unpool.max_unpool2d(values, indices, 2, output_size=x.shape, data_format=data_format)
    for actual, wanted in zip(results, (values, indices, expected), strict=True):
        assert_same_bits(actual.numpy(), wanted)
    for known, actual in zip(shapes, results, strict=True):
        assert all(size in (None, found) for size, found in zip(known, actual.shape, strict=True))
    for axis in range(4):
        unknown = axis in hidden
        assert [shape[axis] is None for shape in shapes[:2]] == [unknown] * 2
        if axis not in range(*axes.indices(4)):
            assert (shapes[2][axis] is None) == unknown
    # Integers in a list are known sizes of the result.
    if isinstance(passed(tf.constant(x), axes), list):
        assert [size is None for size in shapes[2]] == [axis in hidden for axis in range(4)]


@seldom
@every_hidden
@pytest.mark.parametrize(
    ("data_format", "window"),
    [
        ("channels_first", {"kernel_size": 2, "stride": 3, "padding": (1, 0)}),
        ("channels_last", {"kernel_size": 2, "stride": 2, "padding": ((0, 1), (0, 1))}),
    ],
    ids=str,
)
def test_the_default_size(hidden, data_format, window):
    """The default size follows from windows, stride and padding: while tracing if possible, else at run time."""
    x = whole("float32", arranged((2, 3), (9, 5), data_format))
    window |= {"data_format": data_format}
    shapes = []

    def call(x):
        values, indices = unpool.max_pool2d(x, **window, return_indices=True, index_dtype="int32")
        restored = unpool.max_unpool2d(values, indices, **window)
        shapes.extend(tensor.shape.as_list() for tensor in (values, restored))
        return values, indices, restored

    results = graph(call, spec_of(x, hidden))(tf.constant(x))
    values, indices = unpool.max_pool2d(x, **window, return_indices=True, index_dtype="int32")
    for actual, expected in zip(
        results, (values, indices, unpool.max_unpool2d(values, indices, **window)), strict=True
    ):
        assert_same_bits(actual.numpy(), expected)
    for known, actual in zip(shapes, (results[0], results[2]), strict=True):
        assert known == [None if axis in hidden else size for axis, size in enumerate(actual.shape)]


@seldom
@every_format
@pytest.mark.parametrize("call", ["unpool, last", "unpool, sum", "pool", "backward"])
def test_gradients(call, data_format):
    """All sizes are unknown, and windows overlap."""
    case = POOLINGS["row, overlap and padding"]
    named = case.window | {"data_format": data_format}
    x = whole("float32", case.shape((2, 3), data_format))
    values, indices = unpool.max_pool1d(x, **named, return_indices=True)
    mode = "last" if call == "unpool, last" else "sum"

    def pooled(x, values, indices):
        if call == "pool":
            return x, unpool.max_pool1d(x, **named)
        if call == "backward":
            return x, unpool.max_unpool1d_backward(x, indices, **named, duplicates=mode)
        return values, unpool.max_unpool1d(values, indices, **named, output_size=tf.shape(x), duplicates=mode)

    def slopes(*arrays):
        with tf.GradientTape() as tape:
            tape.watch(arrays)
            given, result = pooled(*arrays)
        gradient = tape.gradient(result, given, result)
        return result, gradient

    arrays = (x, values, indices)
    result, gradient = graph(slopes, *[spec_of(array, range(3)) for array in arrays])(*tensors(*arrays))
    if call in ("pool", "backward"):
        expected = values if call == "pool" else unpool.max_unpool1d_backward(x, indices, **named, duplicates=mode)
        back = unpool.max_pool1d_backward(expected, indices, x.shape, **named)
    else:
        expected = unpool.max_unpool1d(values, indices, **named, output_size=x.shape, duplicates=mode)
        back = unpool.max_unpool1d_backward(expected, indices, **named, duplicates=mode)
    assert_same_bits(result.numpy(), expected)
    assert_same_bits(gradient.numpy(), back)


@seldom
@pytest.mark.parametrize(
    ("way", "kernel", "stride", "data_format", "word"),
    [
        (Way("function"), 3, 2, "channels_last", "same"),
        (Way("function"), 3, 4, "channels_first", "same"),
        (Way("xla"), 4, 3, "channels_first", "same"),
        (Way("xla"), 3, 4, "channels_last", "same"),
        (Way("xla"), 4, 3, "channels_last", "same_lower"),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_padding_that_follows_from_a_size(way, kernel, stride, data_format, word):
    """The padding of "same" may differ from run to run."""
    window = {"kernel_size": kernel, "stride": stride, "padding": word, "data_format": data_format}

    def call(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            values, indices = unpool.max_pool2d(x, **window, return_indices=True)
            restored = unpool.max_unpool2d(values, indices, **window, output_size=tf.shape(x), duplicates="sum")
        offsets = unpool.convert_indices(indices, "plane", "window", **window, output_size=tf.shape(x))
        return values, indices, restored, tape.gradient(restored, x, x), offsets

    run = way(call, input_signature=[tf.TensorSpec([None] * 4, tf.float32)])
    for size in ((5, 6), (8, 11), (1, 2)):  # every remainder by each stride
        x = whole("float32", arranged((2, 3), size, data_format))
        values, indices = unpool.max_pool2d(x, **window, return_indices=True)
        restored = unpool.max_unpool2d(values, indices, **window, output_size=x.shape, duplicates="sum")
        taken = unpool.max_unpool2d_backward(x, indices, **window, duplicates="sum")
        slope = unpool.max_pool2d_backward(taken, indices, x.shape, **window)
        offsets = unpool.convert_indices(indices, "plane", "window", **window, output_size=x.shape)
        for actual, wanted in zip(run(tf.constant(x)), (values, indices, restored, slope, offsets), strict=True):
            assert_same_bits(actual.numpy(), wanted)


# Sizes of planes of values, and of the planes that they go to.
NO_WINDOW = [((3, 2), (6, 8)), ((3, 4), (7, 9)), ((1, 1), (5, 4)), ((5, 6), (3, 4)), ((2, 7), (9, 3))]


@seldom
@every_way
@pytest.mark.parametrize("is_open", [False, True], ids=["known", "open"])
def test_without_a_window(way, is_open):
    """An index may be anywhere, also in a plane whose size is a tensor. One graph of open sizes serves all planes."""
    if way.eager and is_open:
        pytest.skip("eagerly, every size is known")

    def call(values, indices, x):
        found = []
        for mode in ("last", "sum"):
            with tf.GradientTape() as tape:
                tape.watch(values)
                found.append(unpool.max_unpool2d(values, indices, None, output_size=tf.shape(x), duplicates=mode))
            found.append(tape.gradient(found[-1], values, x))
            found.append(unpool.max_unpool2d_backward(x, indices, None, duplicates=mode))
        return found

    specs = [tf.TensorSpec([None] * 4, dtype) for dtype in (tf.float32, tf.int64, tf.float32)]
    run = way(call, input_signature=specs) if is_open else way(call)
    for pooled, plane in NO_WINDOW:
        values, x = whole("float32", (2, 3, *pooled)), whole("float32", (2, 3, *plane), 1)
        indices = anywhere(values.shape, x[0, 0].size)
        expected = []
        for mode in ("last", "sum"):
            expected.append(unpool.max_unpool2d(values, indices, None, output_size=x.shape, duplicates=mode))
            expected += [unpool.max_unpool2d_backward(x, indices, None, duplicates=mode)] * 2
        for actual, wanted in zip(run(*tensors(values, indices, x)), expected, strict=True):
            assert_same_bits(actual.numpy(), wanted)


def test_without_a_window_cells_are_compared_only_where_all_sizes_are_known():
    window = arguments.window(2, None, None, 0, 1, optional=True)
    for pooled, plane, compared in (
        ((3, 2), (6, 8), True),
        ((None, 2), (6, 8), False),
        ((3, 2), (6, None), False),
        ((1, 1), (6, None), False),
        ((None, None), (None, None), False),
    ):
        assert window_path.serve(plan_unpooling((2, 3, *pooled), window, plane, False)) == compared


@pytest.mark.parametrize("given", ["at once", "at the run"])
def test_a_size_that_same_does_not_pool_is_refused_at_the_run(given):
    """With stride 2, the sizes 3 and 4 pool to 2 windows, and 5 does not."""
    values, indices = np.ones((1, 1, 2), "float32"), np.zeros((1, 1, 2), "int64")
    size = (5,) if given == "at once" else tf.constant([5])

    def call(values, indices, size):
        return unpool.max_unpool1d(values, indices, 3, 2, "same", output_size=size)

    expected = error_of(unpool.max_unpool1d, values, indices, 3, 2, "same", output_size=(5,))
    assert "between 3 and 4" in expected
    way = Way("function")
    if given == "at once":
        run = tf.function(
            lambda v, i: call(v, i, size),
            autograph=False,
            input_signature=[tf.TensorSpec([None] * 3, array.dtype) for array in (values, indices)],
        )
        assert way.error(run, *tensors(values, indices)) == expected
    else:
        run = tf.function(
            call,
            autograph=False,
            input_signature=[
                *[tf.TensorSpec([None] * 3, array.dtype) for array in (values, indices)],
                tf.TensorSpec([1], tf.int32),
            ],
        )
        assert way.error(run, *tensors(values, indices), size) == expected


@pytest.mark.parametrize("size", ["default", "tf.shape(x)"])
def test_one_compiled_function_for_several_sizes(size):
    """The function is traced once. XLA compiles it once for each size."""
    traces = []

    @tf.function(autograph=False, jit_compile=True, input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
    def call(x):
        traces.append(x.shape)
        values, indices = unpool.max_pool2d(x, 2, return_indices=True, data_format="channels_last")
        wanted = None if size == "default" else tf.shape(x)
        return unpool.max_unpool2d(values, indices, 2, output_size=wanted, data_format="channels_last")

    for shape in ((2, 4, 6, 3), (1, 8, 2, 3)):
        x = bits("float32", shape)
        values, indices = unpool.max_pool2d(x, 2, return_indices=True, data_format="channels_last")
        expected = unpool.max_unpool2d(values, indices, 2, data_format="channels_last")
        assert_same_bits(call(tf.constant(x)).numpy(), expected)
    assert len(traces) == 1


@seldom
@every_way
@pytest.mark.parametrize("hidden", [(), (0,), (0, 1, 2, 3)], ids=str)
def test_no_samples(way, hidden):
    """A batch may be empty, even if its size is unknown while tracing."""
    if way.eager and hidden:
        pytest.skip("eagerly, every size is known")
    data_format = "channels_first" if hidden else "channels_last"
    x = np.empty(arranged((0, 3), (7, 5), data_format), "float32")
    options = {} if way.eager else {"input_signature": [spec_of(x, hidden)]}

    def call(x):
        window = {"kernel_size": 3, "padding": 1, "data_format": data_format}
        with tf.GradientTape() as tape:
            tape.watch(x)
            values, indices = unpool.max_pool2d(x, **window, return_indices=True)
            restored = unpool.max_unpool2d(values, indices, **window, output_size=tf.shape(x), duplicates="error")
        return values, indices, restored, tape.gradient(restored, x)

    values, indices, restored, gradient = way(call, **options)(tf.constant(x))
    assert values.shape == indices.shape == arranged((0, 3), (3, 2), data_format)
    assert restored.shape == gradient.shape == x.shape
    assert (values.dtype, indices.dtype, restored.dtype) == (tf.float32, tf.int64, tf.float32)


# --- mistakes found while tracing -------------------------------------------------------------------------------------


def test_a_shape_that_leaves_spatial_sizes_open():
    """`x.shape` is no size if a spatial entry is None. The message names an alternative."""

    def call(x):
        values, indices = unpool.max_pool2d(x, 2, return_indices=True)
        return unpool.max_unpool2d(values, indices, 2, output_size=x.shape)

    x = whole("float32", (2, 3, 7, 5))
    for shape in ([None, 3, 7, 5], [None, None, 7, 5], [2, None, 7, 5]):
        traced = graph(call, tf.TensorSpec(shape, tf.float32))
        assert traced.outputs[0].shape.as_list() == shape
        assert_same_bits(traced(tf.constant(x)).numpy(), unpool.max_unpool2d(*unpooling(x), output_size=x.shape))
    for shape in ([2, 3, None, 5], [None, 3, 7, None], [None] * 4):
        with pytest.raises(ValueError, match=r"`output_size` must have an integer for each .*None.* run computes"):
            graph(call, tf.TensorSpec(shape, tf.float32))
    for shape in (tf.TensorShape(None), tf.TensorShape([3, None, None])):
        with pytest.raises((TypeError, ValueError), match="`output_size` must "):
            unpool.max_unpool2d(*tensors(*unpooling(x)[:2]), 2, output_size=shape)


def unpooling(x):
    return *unpool.max_pool2d(x, 2, return_indices=True), 2


def test_an_unknown_rank():
    unknown, indices = tf.TensorSpec(None, tf.float32), tf.TensorSpec(None, tf.int64)
    known = tf.TensorSpec([None] * 4, tf.float32)
    for call, specs, argument in (
        (lambda x: unpool.max_pool2d(x, 2), (unknown,), "input"),
        (lambda x, i: unpool.max_unpool2d(x, i, 2), (unknown, indices), "input"),
        (lambda x, i: unpool.max_unpool2d(x, i, 2), (known, indices), "indices"),
        (lambda x, i: unpool.max_unpool2d_backward(x, i, 2), (unknown, indices), "grad_output"),
        (lambda x, i: unpool.max_pool2d_backward(x, i, (4, 4), 2), (unknown, indices), "grad_output"),
        (
            lambda x, i: unpool.convert_indices(i, "plane", "onnx", output_size=(1, 2, 4, 4)),
            (known, indices),
            "indices",
        ),
    ):
        with pytest.raises(ValueError, match=f"`{argument}` must have a known number of dimensions"):
            graph(call, *specs)


# --- mistakes found at run time ---------------------------------------------------------------------------------------


def like(shape):
    """Return indices that are all 0."""
    return np.zeros(shape, "int64")


def ones(*shape):
    return np.ones(shape, "float32")


# A call and its arrays. With NumPy arrays it raises at once; a graph of unknown sizes raises at run time.
MISTAKES = {
    "shapes differ": (lambda v, i: unpool.max_unpool2d(v, i, 2), (ones(1, 2, 3, 3), like((1, 2, 3, 4)))),
    "shapes differ, broadcast": (lambda v, i: unpool.max_unpool2d(v, i, 2), (ones(2, 2, 3, 3), like((1, 2, 3, 3)))),
    "shapes differ, gradient": (
        lambda v, i: unpool.max_pool2d_backward(v, i, (6, 6), 2),
        (ones(1, 2, 3, 3), like((1, 1, 3, 3))),
    ),
    "empty input": (lambda x: unpool.max_pool2d(x, 2), (ones(2, 0, 4, 4),)),
    "empty plane": (lambda x: unpool.max_pool2d(x, 1, data_format="channels_last"), (ones(0, 4, 0, 3),)),
    "empty values": (lambda v, i: unpool.max_unpool2d(v, i, 2), (ones(1, 2, 0, 3), like((1, 2, 0, 3)))),
    "empty gradient": (
        lambda g, i: unpool.max_unpool2d_backward(g, i, 2),
        (ones(1, 0, 4, 6), like((1, 0, 2, 3))),
    ),
    "size too large": (
        lambda v, i: unpool.max_unpool2d(v, i, 2, output_size=(6, 8)),
        (ones(1, 2, 3, 3), like((1, 2, 3, 3))),
    ),
    "size too small": (
        lambda v, i: unpool.max_unpool2d(v, i, 3, 2, output_size=[1, 2, 5, 7], dilation=2),
        (ones(1, 2, 3, 3), like((1, 2, 3, 3))),
    ),
    "input size": (
        lambda g, i: unpool.max_pool2d_backward(g, i, (9, 6), 2),
        (ones(1, 2, 3, 3), like((1, 2, 3, 3))),
    ),
    "another batch": (
        lambda v, i: unpool.max_unpool2d(v, i, 2, output_size=(2, 2, 6, 6)),
        (ones(1, 2, 3, 3), like((1, 2, 3, 3))),
    ),
    "other channels": (
        lambda v, i: unpool.max_unpool2d(v, i, 2, output_size=(1, 6, 6, 3), data_format="channels_last"),
        (ones(1, 3, 3, 2), like((1, 3, 3, 2))),
    ),
    "other channels, no batch": (
        lambda v, i: unpool.max_unpool2d(v, i, 2, output_size=(3, 6, 6)),
        (ones(2, 3, 3), like((2, 3, 3))),
    ),
    "another batch, input size": (
        lambda g, i: unpool.max_pool1d_backward(g, i, (2, 2, 6), 2),
        (ones(1, 2, 3), like((1, 2, 3))),
    ),
    "another batch, gradient": (
        lambda g, i: unpool.max_unpool2d_backward(g, i, 2),
        (ones(2, 2, 6, 6), like((1, 2, 3, 3))),
    ),
    "a size of no gradient": (
        lambda g, i: unpool.max_unpool2d_backward(g, i, 2),
        (ones(1, 2, 6, 8), like((1, 2, 3, 3))),
    ),
    "pools to nothing": (lambda x: unpool.max_pool2d(x, 3), (ones(1, 2, 3, 2),)),
    "pools to nothing, ceil": (
        lambda x: unpool.max_pool2d(x, (2, 3), 1, dilation=3, ceil_mode=True),
        (ones(1, 2, 4, 6),),
    ),
    "pools to nothing, padding and dilation": (lambda x: unpool.max_pool1d(x, 3, 1, 1, 4), (ones(1, 2, 3),)),
    "only padding": (lambda x: unpool.max_pool1d(x, 2, 1, 1, 4), (ones(1, 2, 3),)),
    "a size is needed": (lambda v, i: unpool.max_unpool1d(v, i, 2, 2, 1), (ones(1, 2, 1), like((1, 2, 1)))),
    "no size is right": (lambda v, i: unpool.max_unpool1d(v, i, 2, 1, 1), (ones(1, 2, 1), like((1, 2, 1)))),
    "no size is right, a given one": (
        lambda v, i: unpool.max_unpool1d(v, i, 2, 1, 1, output_size=(1,)),
        (ones(1, 2, 1), like((1, 2, 1))),
    ),
    "an index of another plane": (
        lambda v, i: unpool.max_unpool1d(v, i + 6, 2),
        (ones(1, 2, 3), like((1, 2, 3))),
    ),
    "an index of another volume": (
        lambda v, i: unpool.max_unpool3d(v, i + 8, 2),
        (ones(2, 1, 1, 1), like((2, 1, 1, 1))),
    ),
    "an index of the gradient": (
        lambda g, i: unpool.max_unpool2d_backward(g, i - 1, 2),
        (ones(1, 1, 18, 11), like((1, 1, 9, 5))),
    ),
    "a repeated index": (
        lambda v, i: unpool.max_unpool2d(v, i, 2, duplicates="error"),
        (ones(1, 1, 2, 2), np.array([[[[0, 3], [11, 3]]]])),
    ),
    "a tap in the padding after a plane of the default size": (
        lambda v, i: unpool.max_unpool1d(v, i, 2, 2, ((0, 1),), index_format="window"),
        (ones(1, 1, 3), np.uint8([[[1, 1, 1]]])),
    ),
    "the same, padding same": (
        lambda v, i: unpool.max_unpool1d(v, i, 2, 1, "same", index_format="window"),
        (ones(1, 1, 3), np.uint8([[[1, 1, 1]]])),
    ),
    "an index of another plane, no window": (
        lambda v, i: unpool.max_unpool2d(v, i, None, output_size=(3, 5)),
        (ones(1, 1, 2, 2), np.array([[[[0, 14], [15, 3]]]])),
    ),
    "a repeated index, no window": (
        lambda v, i: unpool.max_unpool2d(v, i, None, output_size=(3, 5), duplicates="error"),
        (ones(1, 1, 2, 2), np.array([[[[0, 3], [11, 3]]]])),
    ),
}


@pytest.mark.one_in(2)  # each builds two graphs
@pytest.mark.parametrize(("call", "arrays"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(call, arrays):
    """Messages are those for NumPy arrays, whichever sizes are known while tracing."""
    expected = error_of(call, *arrays)
    traced = graph(call, *[spec_of(array, range(array.ndim)) for array in arrays])
    for _ in range(5):  # the order of threads must not matter
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            traced(*tensors(*arrays))
        assert asserted(caught.value) == expected
    # If only the batch is unknown, the error is raised while tracing or at run time.
    with pytest.raises((ValueError, IndexError, tf.errors.InvalidArgumentError)) as caught:
        graph(call, *[spec_of(array, (0,)) for array in arrays])(*tensors(*arrays))
    if isinstance(caught.value, tf.errors.InvalidArgumentError):
        assert asserted(caught.value) == expected
    else:
        assert str(caught.value).partition(" must ")[0] == expected.partition(" must ")[0]


def test_sizes_of_a_run_that_are_wrong():
    """`output_size` alone is unknown while tracing."""
    values, indices = ones(1, 2, 3, 3), like((1, 2, 3, 3))
    specs = [spec_of(values, ()), spec_of(indices, ())]
    for size in ((6, 8), (3, 6), (2, 2, 6, 6), (1, 3, 6, 6), (1, 2, 6, 4)):
        expected = error_of(unpool.max_unpool2d, values, indices, 2, output_size=size)
        traced = graph(
            lambda v, i, size: unpool.max_unpool2d(v, i, 2, output_size=size),
            *specs,
            tf.TensorSpec([len(size)], tf.int32),
        )
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            traced(*tensors(values, indices), tf.constant(size, tf.int32))
        assert asserted(caught.value) == expected
    expected = error_of(unpool.max_unpool2d, values, indices, None, output_size=(0, 6))
    traced = graph(
        lambda v, i, size: unpool.max_unpool2d(v, i, None, output_size=size), *specs, tf.TensorSpec([2], tf.int32)
    )
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        traced(*tensors(values, indices, np.int32([0, 6])))
    assert asserted(caught.value) == expected
    for size in ((6, 7), (1, 2, 5, 6)):
        traced = graph(
            lambda v, i, size: unpool.max_unpool2d(v, i, 2, output_size=size),
            *specs,
            tf.TensorSpec([len(size)], tf.int64),
        )
        expected = unpool.max_unpool2d(values, indices, 2, output_size=size)
        assert_same_bits(traced(*tensors(values, indices, np.array(size, "int64"))).numpy(), expected)
    with pytest.raises(ValueError, match="`output_size` must have 2 entries"):
        graph(lambda v, i, s: unpool.max_unpool2d(v, i, 2, output_size=s), *specs, tf.TensorSpec([3], tf.int32))
    for spec in (tf.TensorSpec([None], tf.int32), tf.TensorSpec(None, tf.int32), tf.TensorSpec([2], tf.float32)):
        with pytest.raises(TypeError, match="`output_size` must be a sequence of integers"):
            graph(lambda v, i, s: unpool.max_unpool2d(v, i, 2, output_size=s), *specs, spec)


@pytest.mark.parametrize("size", [(8, 8), (11, 4), (18, 2), (110, 2), (88,), (80, 2, 2), (1800, 1)], ids=str)
def test_a_plane_has_its_article(size):
    """Messages say "an 8 x 8 plane" and "a 110 x 2 plane", also for a size known only at run time."""
    rank = len(size)
    arrays = ones(1, 1, *[1] * rank), np.full((1, 1, *[1] * rank), 10**6)
    call = getattr(unpool, f"max_unpool{rank}d")
    traced = graph(
        lambda v, i, wanted: call(v, i, size, output_size=wanted),
        *[spec_of(array, range(array.ndim)) for array in arrays],
        tf.TensorSpec([rank], tf.int32),
    )
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        traced(*tensors(*arrays), tf.constant(size))
    assert asserted(caught.value) == error_of(call, *arrays, size)


# --- conventions ------------------------------------------------------------------------------------------------------

CONVENTIONS = ("plane", "tensorflow", "tensorflow_batch", "onnx", "window")


@seldom
@pytest.mark.parametrize(
    ("way", "data_format", "dtype"),
    [
        (Way("kernels"), "channels_first", "int64"),
        (Way("function"), "channels_first", "int32"),
        (Way("xla"), "channels_last", "int64"),
    ],
    ids=["kernels", "function", "xla"],
)
def test_conventions(way, data_format, dtype):
    """Convert pairs of conventions in one graph. With unknown sizes, the result may be int64."""
    case = POOLINGS["row, dilated"]
    _, _, plane = solved(case, (2, 3), data_format)
    size = case.shape((2, 3), data_format)
    named = case.window | {"data_format": data_format}
    # Every convention to and from "plane", and one other pair.
    pairs = [(a, b) for a, b in itertools.product(CONVENTIONS, CONVENTIONS) if "plane" in (a, b)]
    pairs.append(("window", "tensorflow_batch"))
    given = [
        unpool.convert_indices(plane.astype(dtype), "plane", convention, output_size=size, **named)
        for convention in CONVENTIONS
    ]
    expected = {
        (a, b): unpool.convert_indices(given[CONVENTIONS.index(a)], a, b, output_size=size, **named) for a, b in pairs
    }

    def convert(hidden):
        def call(*arrays):
            batch = size[0] if 0 not in hidden else tf.shape(arrays[0])[0]
            full = (batch, *size[1:]) if 1 not in hidden else tf.stack([batch, *size[1:]])
            found = dict(zip(CONVENTIONS, arrays, strict=True))
            return [unpool.convert_indices(found[a], a, b, output_size=full, **named) for a, b in pairs]

        return call

    for hidden in [()] if way.eager else [(), (0,), (0, 1, 2)]:
        signature = {} if way.eager else {"input_signature": [spec_of(array, hidden) for array in given]}
        for pair, actual in zip(pairs, way(convert(hidden), **signature)(*tensors(*given)), strict=True):
            assert np.array_equal(actual.numpy(), expected[pair]), pair
            assert actual.dtype in (expected[pair].dtype, tf.int64 if hidden else None)


@seldom
@ways("kernels", "function")
@pytest.mark.parametrize("batch", [False, True], ids=["no batch in the index", "batch in the index"])
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_what_tensorflow_pools(way, padding, batch):
    """Unpool with converted indices of TensorFlow. `SAME` with an odd size equals `ceil_mode=True`."""
    x = np.random.default_rng(0).permutation(2 * 7 * 5 * 3).reshape(2, 7, 5, 3).astype("float32") + 1
    source = "tensorflow_batch" if batch else "tensorflow"

    def call(x):
        values, argmax = tf.nn.max_pool_with_argmax(x, 2, 2, padding, include_batch_in_index=batch)
        named = {"output_size": tf.shape(x), "data_format": "channels_last"}
        indices = unpool.convert_indices(argmax, source, "plane", **named)
        back = unpool.convert_indices(indices, "plane", source, **named)
        return values, argmax, indices, back, unpool.max_unpool2d(values, indices, 2, **named)

    options = {} if way.eager else {"input_signature": [tf.TensorSpec([None, None, None, 3], tf.float32)]}
    values, argmax, indices, back, restored = (tensor.numpy() for tensor in way(call, **options)(tf.constant(x)))
    named = {"data_format": "channels_last", "ceil_mode": padding == "SAME", "return_indices": True}
    for actual, expected in zip((values, indices), unpool.max_pool2d(x, 2, **named), strict=True):
        assert_same_bits(actual, expected)
    assert_same_bits(back, argmax)
    assert_same_bits(restored, np.where(np.isin(x, values), x, np.float32(0)))


@reporting_ways
def test_an_index_of_another_convention(way):
    """Messages are those for NumPy arrays."""
    size = (2, 3, 4, 4)
    for source, bad in (
        ("plane", 16),
        ("plane", -1),
        ("tensorflow", 6),
        ("tensorflow_batch", 4),
        ("onnx", 3),
        ("window", 4),
    ):
        named = {"output_size": size, "kernel_size": 2}
        plane = np.full((2, 3, 2, 2), 0)
        plane[:] = [[0, 2], [8, 10]]
        indices = unpool.convert_indices(plane, "plane", source, **named)
        indices[1, 2, 0, 1] = bad
        target = "onnx" if source == "plane" else "plane"
        expected = error_of(unpool.convert_indices, indices, source, target, **named)
        assert expected.startswith(f"indices[1, 2, 0, 1] = {bad} does not fit the convention '{source}'")
        call = way(lambda i, s=source, t=target, named=named: unpool.convert_indices(i, s, t, **named))
        assert way.error(call, tf.constant(indices)) == expected
    call = way(lambda i: unpool.convert_indices(i, "plane", "window", output_size=size, kernel_size=2))
    away = np.full((2, 3, 2, 2), 15)
    expected = error_of(unpool.convert_indices, away, "plane", "window", output_size=size, kernel_size=2)
    assert "is outside its own window" in expected
    assert way.error(call, tf.constant(away)) == expected
    # A size that is known only at run time, and does not fit the indices.
    call = way(lambda i, size: unpool.convert_indices(i, "plane", "onnx", output_size=size))
    for wrong in ((3, 3, 4, 4), (2, 1, 4, 4), (2, 3, 0, 4)):
        expected = error_of(unpool.convert_indices, plane, "plane", "onnx", output_size=wrong)
        assert way.error(call, tf.constant(plane), tf.constant(wrong)) == expected


CONSTANT_SIZES = {
    "unpooling": (lambda i, size: unpool.max_unpool2d(i, i, 2, output_size=size), (9, 6)),
    "gradient": (lambda i, size: unpool.max_pool2d_backward(i, i, size, 2), (1, 2, 4, 4)),
    "samples": (lambda i, size: unpool.convert_indices(i, "plane", "onnx", output_size=size), (3, 1, 4, 4)),
    "no cell": (lambda i, size: unpool.convert_indices(i, "plane", "onnx", output_size=size), (1, 1, 0, 4)),
    "window": (
        lambda i, size: unpool.convert_indices(i, "plane", "window", output_size=size, kernel_size=2),
        (1, 1, 4, 6),
    ),
    # TensorFlow refuses a negative size by a text of its own, where it infers sizes.
    "negative": (lambda i, size: unpool.convert_indices(i, "plane", "onnx", output_size=size), (1, 1, -4, 4)),
    "negative, of unpooling": (lambda i, size: unpool.max_unpool2d(i, i, 2, output_size=size), (1, 1, -4, 4)),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["function", "xla"])
@pytest.mark.parametrize(("call", "size"), CONSTANT_SIZES.values(), ids=CONSTANT_SIZES)
def test_a_wrong_constant_size_is_refused_at_tracing(call, size, compiled):
    """XLA drops the check of a size that only the run knows."""
    indices = np.zeros((1, 1, 2, 2), int)
    expected = error_of(call, indices, size)
    with pytest.raises(ValueError, match=re.escape(expected)):
        graph(lambda i: call(i, tf.constant(size)), tf.TensorSpec(indices.shape, tf.int64), compiled=compiled)


@seldom
@pytest.mark.parametrize("by", ["integers", "tensor"])
@pytest.mark.parametrize("target", ["onnx", "window"])
@pytest.mark.parametrize(
    ("wrong", "window"),
    [((3, 3, 4, 4), {}), ((2, 1, 4, 4), {}), ((2, 3, 9, 4), {"kernel_size": 2}), ((2, 3, 4, 6), {"kernel_size": 2})],
    ids=["batch", "channels", "rows", "columns"],
)
def test_indices_of_unknown_sizes_do_not_fit_a_size(wrong, window, target, by):
    """Each index is right, so that the size alone is refused."""
    plane = unpool.max_pool2d(np.zeros((2, 3, *wrong[2:]), "float32"), 2, return_indices=True)[1][..., :2, :2].copy()
    named = window or ({"kernel_size": 2} if target == "window" else {})
    expected = error_of(unpool.convert_indices, plane, "plane", target, output_size=wrong, **named)

    def convert(i, size):
        size = size if by == "tensor" else wrong
        return unpool.convert_indices(i, "plane", target, output_size=size, data_format="channels_first", **named)

    run = graph(convert, spec_of(plane, range(plane.ndim)), tf.TensorSpec([4], tf.int64))
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        run(tf.constant(plane), tf.constant(wrong, tf.int64))
    assert asserted(caught.value) == expected


# --- taps -------------------------------------------------------------------------------------------------------------


@seldom
@ways("function", "xla")
@pytest.mark.parametrize("hidden", [(), (0, 1, 2, 3)], ids=["known", "open"])
@pytest.mark.parametrize("window", [(2,), (3, 2, 1)], ids=["apart", "overlap"])
def test_a_size_as_a_tensor_and_taps(way, hidden, window):
    """By taps, a graph scatters and gathers nothing, also where the size is a tensor."""
    x = bits("float32", (2, 7, 5, 3))
    named = {"data_format": "channels_last", "index_format": "window"}

    def restore(x, size):
        values, taps = unpool.max_pool2d(x, *window, return_indices=True, **named)
        planes = unpool.max_unpool2d(values, taps, *window, output_size=size, validate=False, **named)
        return planes, unpool.max_unpool2d_backward(planes, taps, *window, validate=False, **named)

    shape = [None if place in hidden else size for place, size in enumerate(x.shape)]
    specs = [tf.TensorSpec(shape, tf.float32), tf.TensorSpec([2], tf.int32)]
    run = way(restore, input_signature=specs)
    for actual, expected in zip(run(*tensors(x, np.int32([7, 5]))), restore(x, (7, 5)), strict=True):
        assert_same_bits(actual.numpy(), expected)
    if not hidden:
        kinds = {operation.type for operation in run.get_concrete_function().graph.get_operations()}
        assert not {kind for kind in kinds if "Scatter" in kind or "SparseToDense" in kind or "GatherNd" in kind}


# --- windows far larger than the plane --------------------------------------------------------------------------------


@pytest.mark.parametrize(("window", "pooled"), FAR.values(), ids=FAR)
def test_windows_far_larger_than_the_plane(window, pooled):
    """Sizes are known here. With unknown sizes, every tap of a long window would be a step of a loop."""
    call, arrays = far(window, pooled)
    run = tf.function(call, autograph=False, input_signature=[spec_of(array, ()) for array in arrays])
    for actual, expected in zip(run(*tensors(*arrays)), call(*arrays), strict=True):
        assert_same_bits(actual.numpy(), expected)


@pytest.mark.parametrize(("number", "text"), [(0, "first 0"), (1, "second 1")])
def test_the_first_broken_rule_is_named(number, text):
    """All rules of a call share one branch of the graph, and one number may break several."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([], tf.int64)])
    def call(n):
        demand = Asserts()
        demand(n > 0, lambda show: ValueError(f"first {show(n)}"))
        demand(n > 1, lambda show: ValueError(f"second {show(n)}"))
        return after(demand.checks(), n)

    assert call(tf.constant(2, tf.int64)) == 2
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        call(tf.constant(number, tf.int64))
    assert asserted(caught.value) == text
