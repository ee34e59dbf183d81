"""NumPy arrays beside tensors: constants, eagerly, in graphs, and under XLA."""

import ml_dtypes
import numpy as np
import pytest
from needs import require

import unpool
from unpool.testing.cases import LAYOUTS
from unpool.testing.compare import assert_same_bits

tf = require("tensorflow", "the tests of its tensors need it")

from tensorflow_ways import INDICES, POOLED, X, every_way, reporting_ways, ways  # noqa: E402

PLANES = unpool.max_unpool2d(POOLED, INDICES, 2)

# Functions of values and indices; the values; the result.
CALLS = {
    "unpooling": (lambda v, i: unpool.max_unpool2d(v, i, 2), POOLED, PLANES),
    "gradient of unpooling": (lambda v, i: unpool.max_unpool2d_backward(v, i, 2), X, POOLED),
    "values at indices": (unpool.take_along_plane, X, POOLED),
    "gradient of pooling": (lambda v, i: unpool.max_pool2d_backward(v, i, X.shape, 2), POOLED, PLANES),
}
every_call = pytest.mark.parametrize("call", CALLS)


@every_way
@every_call
def test_either_array(way, call):
    function, values, expected = CALLS[call]
    for found in (
        way(lambda values: function(values, INDICES))(tf.constant(values)),
        way(lambda values: function(values, INDICES))(tf.Variable(values)),
        way(lambda indices: function(values, indices))(tf.constant(INDICES)),
    ):
        assert isinstance(found, tf.Tensor)
        assert_same_bits(found.numpy(), expected)


@every_way
@pytest.mark.parametrize("make", [tf.constant, tf.Variable], ids=["tensor", "variable"])
def test_gradients_beside_constants(way, make):
    values = make(POOLED)

    @way
    def slopes():
        with tf.GradientTape() as outer:
            outer.watch(values)
            with tf.GradientTape() as inner:
                inner.watch(values)
                planes = unpool.max_unpool2d(values, INDICES, 2)
                loss = tf.reduce_sum(planes * planes * planes)
            slope = inner.gradient(loss, values)
            total = tf.reduce_sum(slope)
        return slope, outer.gradient(total, values)

    first, second = slopes()
    assert_same_bits(first.numpy(), 3 * POOLED**2)
    assert_same_bits(second.numpy(), 6 * POOLED)


@every_way
@pytest.mark.parametrize("values", [tf.constant(POOLED), POOLED], ids=["tensor", "numpy"])
@pytest.mark.parametrize("indices", [tf.constant(INDICES), INDICES], ids=["tensor", "numpy"])
def test_sizes_that_only_a_run_has(way, values, indices):
    """A size that is a tensor of a graph makes NumPy arrays constants, too."""
    found = way(lambda size: unpool.max_unpool2d(values, indices, 2, output_size=size))(tf.constant([4, 6]))
    # An eager tensor has a value, so two NumPy arrays beside it give a NumPy array.
    alone = way.eager and values is POOLED and indices is INDICES
    assert isinstance(found, np.ndarray if alone else tf.Tensor)
    assert_same_bits(np.asarray(found), PLANES)


@reporting_ways
def test_a_wrong_size_beside_constants(way):
    call = way(lambda size: unpool.max_unpool2d(POOLED, INDICES, 2, output_size=size))
    assert way.error(call, tf.constant([9, 6])).startswith("`output_size` must be between 3 and 5 (both allowed)")


def test_values_of_unknown_sizes():
    call = tf.function(lambda v: unpool.max_unpool2d(v, INDICES, 2), autograph=False)
    spec = tf.TensorSpec([None] * 4, tf.float32)
    assert_same_bits(call.get_concrete_function(spec)(tf.constant(POOLED)).numpy(), PLANES)


@ways("kernels", "function")
@pytest.mark.parametrize("target", ["tensorflow", "onnx", "window"])
@pytest.mark.parametrize("order", ["=", ">"])
def test_indices_are_converted_beside_sizes(way, target, order):
    given = INDICES.astype(np.dtype("int32").newbyteorder(order))
    window = {"kernel_size": 2} if target == "window" else {}

    def convert(size):
        return unpool.convert_indices(given, "plane", target, output_size=size, **window)

    found, expected = way(convert)(tf.constant(X.shape)), convert(X.shape)
    assert isinstance(found, np.ndarray if way.eager else tf.Tensor)
    if not way.eager and target != "window":
        expected = expected.astype("int64")  # whether they fit int32 is unknown in a graph
    assert_same_bits(np.asarray(found), expected)


def test_other_indices_are_not_converted_beside_sizes():
    class Tensor:
        __module__, shape, dtype = "torch", INDICES.shape, INDICES.dtype

    @tf.function(autograph=False)
    def call(size):
        with pytest.raises(TypeError, match="`indices` and `output_size` must be arrays of one library") as caught:
            unpool.convert_indices(Tensor(), "plane", "onnx", output_size=size)
        assert str(caught.value).endswith("pass torch.as_tensor(output_size)")  # not an empty array, as for `out`
        return size

    call(tf.constant(X.shape))


# --- integers and dtypes ----------------------------------------------------------------------------------------------

FAR = 2**32 + 3  # its lower 32 bits are 3


@every_way
def test_the_lower_bits_of_an_index_are_not_taken_for_it(way):
    values, bad = tf.ones((1, 1, 1, 2)), np.array([[[[0, FAR]]]])
    text = f"indices[0, 0, 0, 1] = {FAR} is out of range for an output plane of 2 x 4: expected 0..7"
    if way.reports:
        assert way.error(way(lambda v: unpool.max_unpool2d(v, bad, 2)), values).startswith(text)
    found = way(lambda v: unpool.max_unpool2d(v, bad, 2, validate=not way.reports))(values)
    assert found.numpy().ravel().tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


@ways("kernels", "xla")
@pytest.mark.parametrize("dtype", ["bool", "uint64", "float16", "bfloat16", "float64", "complex128"])
def test_values_keep_their_dtype(way, dtype):
    values = POOLED.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    found = way(lambda indices: unpool.max_unpool2d(values, indices, 2))(tf.constant(INDICES))
    assert_same_bits(found.numpy(), unpool.max_unpool2d(values, INDICES, 2))


# --- arrays of NumPy --------------------------------------------------------------------------------------------------


@ways("kernels", "function")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_memory_layout(way, layout):
    """A graph of TensorFlow takes the bytes of a constant for the processor's, whatever their order."""
    values, indices = layout(POOLED), layout(INDICES)
    for found in (
        way(lambda given: unpool.max_unpool2d(given, indices, 2))(tf.constant(POOLED)),
        way(lambda given: unpool.max_unpool2d(values, given, 2))(tf.constant(INDICES)),
    ):
        assert_same_bits(found.numpy(), PLANES)


def test_subclasses_and_empty_batches(tmp_path):
    values, indices = tf.constant(POOLED), tf.constant(INDICES)
    mapped = np.memmap(tmp_path / "indices", INDICES.dtype, "w+", shape=INDICES.shape)
    mapped[...] = INDICES
    assert_same_bits(unpool.max_unpool2d(values, mapped, 2).numpy(), PLANES)
    for given in ((values[:0], INDICES[:0]), (POOLED[:0], indices[:0])):
        assert_same_bits(unpool.max_unpool2d(*given, 2).numpy(), PLANES[:0])
    row = unpool.max_unpool1d(np.array([[1.0, 2.0]]).view(np.matrix), tf.constant([[1, 2]]), 2)
    assert isinstance(row, tf.Tensor)
    assert row.numpy().tolist() == [[0, 1, 2, 0]]


def test_a_constant_is_a_copy():
    """What the user writes into the array later changes no gradient. Memory lent by DLPack would."""
    memory = np.empty(INDICES.nbytes + 64, "uint8")
    start = -memory.ctypes.data % 64
    indices = memory[start : start + INDICES.nbytes].view(INDICES.dtype).reshape(INDICES.shape)
    indices[...] = INDICES
    values = tf.Variable(POOLED)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(unpool.max_unpool2d(values, indices, 2) ** 2)
    indices[...] = 0
    assert_same_bits(tape.gradient(loss, values).numpy(), 2 * POOLED)


def test_a_graph_of_tensorflow_1():
    with tf.Graph().as_default():
        values = tf.compat.v1.placeholder(tf.float32, [None] * 4)
        planes = unpool.max_unpool2d(values, INDICES, 2)
        with tf.compat.v1.Session() as session:
            assert_same_bits(session.run(planes, {values: POOLED}), PLANES)
