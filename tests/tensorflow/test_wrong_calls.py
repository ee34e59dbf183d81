"""Wrong calls on TensorFlow's tensors: bad and repeated indices, and arguments that are refused."""

import numpy as np
import pytest
from needs import require

import unpool
from unpool.testing import oracle
from unpool.testing.cases import FORMATS, arranged, whole
from unpool.testing.compare import assert_same_bits

tf = require("tensorflow", "the tests of its tensors need it")

from tensorflow_ways import INDICES, POOLED, X, error_of, every_way, reporting_ways, tensors  # noqa: E402

every_format = pytest.mark.parametrize("data_format", FORMATS)

# --- bad and repeated indices -----------------------------------------------------------------------------------------

BAD = {
    "int64": (-1, 16, 2**31, 2**32 + 3, -(2**32) + 3, 2**63 - 1, -(2**63)),
    "int32": (-1, 16, 2**31 - 1, -(2**31)),
    "uint64": (16, 2**32 + 3, 2**63 + 3, 2**64 - 1),
    "int8": (-128,),
}
CALLS = {
    "unpool": lambda up, down, indices, **named: unpool.max_unpool2d(up, indices, 2, **named),
    "unpool, sum": lambda up, down, indices, **named: unpool.max_unpool2d(up, indices, 2, duplicates="sum", **named),
    "unpool, no window path": lambda up, down, indices, **named: unpool.max_unpool2d(
        up, indices, 2, 1, (1, 0), (4, 4), dilation=(4, 2), **named
    ),
    "gradient of unpool": lambda up, down, indices, **named: unpool.max_unpool2d_backward(down, indices, 2, **named),
    "gradient of unpool, sum": lambda up, down, indices, **named: unpool.max_unpool2d_backward(
        down, indices, 2, duplicates="sum", **named
    ),
    "gradient of pool": lambda up, down, indices, **named: unpool.max_pool2d_backward(up, indices, (4, 4), 2, **named),
}


def with_a_bad_one(dtype, bad, data_format):
    """Return indices of a pooling with a bad one in the middle. No index names the last cell."""
    x = whole("float32", arranged((2, 3), (4, 4), data_format))
    indices = unpool.max_pool2d(x, 2, return_indices=True, data_format=data_format)[1].astype(dtype)
    indices[indices == 15] = 14
    indices[1, 0, 1, 1] = bad
    return indices


@pytest.mark.one_in(2)  # a case builds graphs
@reporting_ways
@every_format
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_bad_index_is_reported(way, call, data_format):
    """The message is that for NumPy arrays, eagerly and in a graph. 2**32 + 3 never wraps to 3."""
    up, down = np.ones(arranged((2, 3), (2, 2), data_format)), np.ones(arranged((2, 3), (4, 4), data_format))
    traced = way(lambda up, down, indices: call(up, down, indices, data_format=data_format))
    for dtype, values in BAD.items():
        for bad in values:
            indices = with_a_bad_one(dtype, bad, data_format)
            expected = error_of(call, up, down, indices, data_format=data_format)
            assert expected.startswith(f"indices[1, 0, 1, 1] = {bad} is out of range for an output plane of 4 x 4: ")
            assert way.error(traced, *tensors(up, down, indices)) == expected


@pytest.mark.one_in(3)  # a case builds graphs
@every_way
@every_format
@pytest.mark.parametrize("mode", ["last", "sum"])
def test_a_bad_index_is_dropped(way, mode, data_format):
    """With `validate=False`, and always by XLA, the value is dropped and its gradient is zero."""
    up = whole("float32", arranged((2, 3), (2, 2), data_format)) + 1
    down = whole("float32", arranged((2, 3), (4, 4), data_format), 1) + 1
    last = data_format == "channels_last"
    for validate in [True, False] if way.name == "xla" and mode == "last" else [False]:

        @way
        def both(values, indices, weights, validate=validate):
            named = {"data_format": data_format, "duplicates": mode, "validate": validate}
            with tf.GradientTape() as tape:
                tape.watch(values)
                planes = unpool.max_unpool2d(values, indices, 2, **named)
            return planes, tape.gradient(planes, values, weights)

        for dtype in ("int64", "int32", "uint64"):
            for bad in BAD[dtype]:
                indices = with_a_bad_one(dtype, bad, data_format)
                planes, gradient = both(*tensors(up, indices, down))
                # Expected: bad indices name the last cell, which no other index names, and it is set to zero.
                harmless, weights = np.where(indices == bad, 15, indices).astype("int64"), down.copy()
                expected = oracle.max_unpool(up, harmless, (4, 4), mode, last)
                for array in (expected, weights):
                    (array if last else np.moveaxis(array, 1, -1))[:, 3, 3] = 0
                assert_same_bits(planes.numpy(), expected)
                assert_same_bits(gradient.numpy(), oracle.max_unpool_backward(weights, harmless, 2, mode, last))


@every_way
def test_a_bad_index_hides_nothing(way):
    """With "last" and overlapping windows, a dropped index does not hide an earlier value."""

    @way
    def both(values, indices):
        with tf.GradientTape() as tape:
            tape.watch(values)
            row = unpool.max_unpool1d(values, indices, 3, 1, validate=False)
        return row, tape.gradient(row, values, tf.constant([[10.0, 20.0, 30.0, 40.0, 50.0, 60.0]]))

    for bad in (-1, 6, 2**32 + 2):
        row, gradient = both(tf.constant([[1.0, 2.0, 3.0, 4.0]]), tf.constant([[2, 2, bad, 3]], tf.int64))
        assert row.numpy().tolist() == [[0, 0, 2, 4, 0, 0]]
        assert gradient.numpy().tolist() == [[0, 30, 0, 40]]


@every_way
@pytest.mark.parametrize("name", ["unpool", "gradient of unpool"])
def test_a_repeated_index(way, name):
    """A repeated index is an error, except by XLA, where the last one wins."""
    indices = INDICES.copy()
    indices[1, 2, 1, 1] = indices[1, 2, 0, 2]

    def call(up, down, indices):
        if name == "unpool":
            return unpool.max_unpool2d(up, indices, 2, duplicates="error")
        return unpool.max_unpool2d_backward(down, indices, 2, duplicates="error")

    expected = error_of(call, POOLED, X, indices)
    assert "got indices[1, 2, 0, 2] = indices[1, 2, 1, 1] = " in expected
    if way.reports:
        assert way.error(way(call), *tensors(POOLED, X, indices)) == expected
        return
    last = oracle.max_unpool(POOLED, indices, (4, 6))
    if name != "unpool":
        last = oracle.max_unpool_backward(X, indices, 2)
    assert_same_bits(way(call)(*tensors(POOLED, X, indices)).numpy(), last)


@pytest.mark.whole  # the window path alone sees these repeats
@reporting_ways
def test_a_maximum_of_two_windows_is_a_repeated_index(way):
    """Indices of pooling lie in their own windows, where no other check reads them."""
    x = np.array([[1.0, 9.0, 2.0, 3.0, 1.0]])
    values, indices = unpool.max_pool1d(x, 3, 1, return_indices=True)

    def call(values, indices):
        return unpool.max_unpool1d(values, indices, 3, 1, duplicates="error")

    expected = error_of(call, values, indices)
    assert "got indices[0, 0] = indices[0, 1] = 1" in expected
    assert way.error(way(call), *tensors(values, indices)) == expected


# --- arguments that are refused ---------------------------------------------------------------------------------------

DENSE = "must be a dense tensor, got tensorflow.python."
# A function of a plane, pooled values and indices; the error; a part of its message.
WRONG = {
    "out of unpooling": (
        lambda x, values, indices: unpool.max_unpool2d(values, indices, 2, out=x),
        TypeError,
        "`out` must be left out",
    ),
    "out of pooling": (
        lambda x, values, indices: unpool.max_pool2d(x, 2, out=values),
        TypeError,
        "`out` must be left out",
    ),
    "out, twice": (
        lambda x, values, indices: unpool.max_pool2d(x, 2, return_indices=True, out=(values, indices)),
        TypeError,
        "`out` must be left out",
    ),
    "out of a gradient": (
        lambda x, values, indices: unpool.max_unpool2d_backward(x, indices, 2, out=values),
        TypeError,
        "`out` must be left out for arrays of TensorFlow, which cannot be written into",
    ),
    "out, NumPy's": (
        lambda x, values, indices: unpool.max_unpool2d(values, indices, 2, out=X.copy()),
        TypeError,
        "`input` and `out` must be arrays of one library, got ",
    ),
    "sparse": (
        lambda x, values, indices: unpool.max_pool2d(tf.sparse.from_dense(x), 2),
        TypeError,
        f"`input` {DENSE}framework.sparse_tensor.Sparse",
    ),
    "ragged": (
        lambda x, values, indices: unpool.max_pool2d(tf.RaggedTensor.from_tensor(x), 2),
        TypeError,
        f"`input` {DENSE}ops.ragged.ragged_tensor.Ragged",
    ),
    "slices": (
        lambda x, values, indices: unpool.max_pool2d(
            tf.IndexedSlices(x, tf.constant([0, 1]), tf.constant([2, 3, 4, 6])), 2
        ),
        TypeError,
        f"`input` {DENSE}framework.indexed_slices.Indexed",
    ),
    "sparse indices": (
        lambda x, values, indices: unpool.max_unpool2d(values, tf.sparse.from_dense(indices), 2),
        TypeError,
        f"`indices` {DENSE}framework.sparse_tensor.SparseTensor: pass tf.convert_to_tensor(indices)",
    ),
    "sparse gradient": (
        lambda x, values, indices: unpool.max_unpool2d_backward(tf.sparse.from_dense(x), indices, 2),
        TypeError,
        f"`grad_output` {DENSE}framework.sparse_tensor.SparseTensor",
    ),
    "strings": (
        lambda x, values, indices: unpool.max_pool2d(tf.strings.as_string(x), 2),
        TypeError,
        "got string: convert it first",
    ),
    "strings up": (
        lambda x, values, indices: unpool.max_unpool2d(tf.strings.as_string(values), indices, 2),
        TypeError,
        "`input` must be of one of the dtypes",
    ),
    "complex": (lambda x, values, indices: unpool.max_pool2d(tf.cast(x, tf.complex64), 2), TypeError, "got complex64"),
    "quantized": (lambda x, values, indices: unpool.max_pool2d(tf.cast(x, tf.qint8), 2), TypeError, "got qint8"),
    "resources": (
        lambda x, values, indices: unpool.max_pool2d(tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, 0), 2),
        TypeError,
        "`input` must be an array",
    ),
    "float indices": (
        lambda x, values, indices: unpool.max_unpool2d(values, tf.cast(indices, tf.float32), 2),
        TypeError,
        "`indices` must be integers (int64 or int32, as max_pool returns them with return_indices=True), got float32",
    ),
    "symbolic of Keras": (
        lambda x, values, indices: unpool.max_pool2d(tf.keras.Input((4, 6, 3)), 2),
        TypeError,
        "`input` must be an array with values, got keras.src",
    ),
    "another backend": (
        lambda x, values, indices: unpool.max_pool2d(x, 2, backend="cpu"),
        TypeError,
        "the library that backend='cpu' serves, got ",
    ),
    "how to convert": (
        lambda x, values, indices: unpool.max_pool2d(x, 2, backend="cpu"),
        TypeError,
        "pass numpy.asarray(input), or leave `backend` out",
    ),
    "not a tensor": (
        lambda x, values, indices: unpool.max_pool2d(X, 2, backend="tensorflow"),
        TypeError,
        "pass tensorflow.convert_to_tensor(input), or leave `backend` out",
    ),
    "a list of tensors": (
        lambda x, values, indices: unpool.max_pool2d([x, x], 2),
        TypeError,
        "`input` must be an array, got a list of two arrays",
    ),
    "float sizes": (
        lambda x, values, indices: unpool.max_unpool2d(values, indices, 2, output_size=tf.constant([4.0, 6.0])),
        TypeError,
        "`output_size` must be a sequence of integers",
    ),
    "one size": (
        lambda x, values, indices: unpool.max_unpool2d(values, indices, 2, output_size=tf.constant(4)),
        TypeError,
        "`output_size` must be a sequence of integers",
    ),
    "too many sizes": (
        lambda x, values, indices: unpool.max_unpool2d(values, indices, 2, output_size=tf.constant([2, 3, 4, 6, 1])),
        ValueError,
        "`output_size` must have 2 entries (the spatial ones) or 4 (the full shape), got (2, 3, 4, 6, 1)",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_calls(call, error, message):
    with pytest.raises(error) as caught:
        call(*tensors(X, POOLED, INDICES))
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["kernel_size", "stride", "padding", "dilation"])
def test_a_window_that_is_a_tensor_of_a_graph(name):
    def call(x, value):
        return unpool.max_pool2d(x, **{"kernel_size": 2, name: value})

    x, one = tf.constant(X), tf.constant(1)
    for way, value in (
        (call, one),
        (lambda x, one: call(x, (one, 1)), one),
        (call, tf.constant([1, 1])),
        (lambda x, one: unpool.MaxPool2d(**{"kernel_size": 2, name: one})(x), one),
    ):
        message = f"`{name}` must be known when the program is traced, got .*: pass integers of Python; tf.function"
        with pytest.raises(TypeError, match=message):
            tf.function(way)(x, value)
    # The way that the message gives, and a tensor that has a value.
    assert_same_bits(tf.function(call)(x, 1).numpy(), call(x, 1).numpy())
    assert_same_bits(call(x, one).numpy(), call(x, 1).numpy())
