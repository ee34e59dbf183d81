"""Results are PyTorch's, bit for bit, wherever PyTorch defines them.

PyTorch leaves repeated indices undefined: on one thread the last value wins, as it does here on any number of threads.
For a dilated window of only padding, PyTorch returns an index outside the plane. Here such a window is an error.
"""

import numpy as np
import pytest
from needs import require

import unpool
from unpool.testing.cases import FLOATS, POOLINGS, anywhere, bits, crowded, pooled, pooling, whole
from unpool.testing.compare import assert_same_bits, assert_same_numbers

torch = require("torch", "results are compared with it")
functional = torch.nn.functional

PADDED = {name: case for name, case in POOLINGS.items() if not case.unequal}  # PyTorch has one padding for both sides
every_pooling = pytest.mark.parametrize("case", PADDED.values(), ids=PADDED)
every_leading = pytest.mark.parametrize("leading", [(2, 3), (3,)], ids=["batch", "no batch"])
UNDILATED = {name: case for name, case in PADDED.items() if max(case.dilation) == 1}


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def theirs(array):
    """Return a NumPy array as a tensor: a writable copy."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.copy().view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array.copy())


def ours(tensor, dtype):
    if tensor.dtype == torch.bfloat16:
        return tensor.detach().view(torch.uint16).numpy().view(dtype)
    return tensor.detach().numpy()


def max_pool(case, x):
    """Pool with PyTorch."""
    function = getattr(functional, f"max_pool{case.rank}d")
    values, indices = function(theirs(x), **case.arguments, return_indices=True)
    return ours(values, x.dtype), ours(indices, np.int64)


def max_unpool(case, values, indices, **named):
    """Unpool with PyTorch, whose function has no dilation."""
    function = getattr(functional, f"max_unpool{case.rank}d")
    result = function(theirs(values), theirs(indices), case.kernel, case.stride, case.padding, **named)
    return ours(result, values.dtype)


# --- pooling ----------------------------------------------------------------------------------------------------------


@every_pooling
@every_leading
@pytest.mark.parametrize("make", [crowded, bits, whole])
def test_pooling(case, leading, make):
    """Ties, NaNs, infinities, denormals; padding, dilation, ceil_mode."""
    x = make("float32", (*leading, *case.size))
    expected = max_pool(case, x)
    actual = case.function("max_pool")(x, **case.arguments, return_indices=True)
    assert_same_bits(actual[0], expected[0])
    assert_same_bits(actual[1], expected[1])


@pytest.mark.parametrize("dtype", [*FLOATS, np.dtype("int64")], ids=str)
def test_pooling_of_other_dtypes(dtype):
    for case in (POOLINGS["odd"], POOLINGS["overlap and padding"], POOLINGS["ceil"]):
        x = crowded(dtype, (2, 3, *case.size))
        expected = max_pool(case, x)
        actual = unpool.max_pool2d(x, **case.arguments, return_indices=True)
        assert_same_numbers(actual[0], expected[0])  # PyTorch pools halves as float32, which changes a NaN's bits
        assert_same_bits(actual[1], expected[1])


@every_pooling
def test_pooling_with_the_channels_last(case):
    """Indices are those of PyTorch in the other data format. PyTorch has separate kernels for channels_last."""
    x = crowded("float32", (2, 5, *case.size))
    expected = max_pool(case, x)
    last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    actual = case.function("max_pool")(last, **case.arguments, return_indices=True, data_format="channels_last")
    assert_same_bits(np.moveaxis(actual[0], -1, 1), expected[0])
    assert_same_bits(np.moveaxis(actual[1], -1, 1), expected[1])


@every_pooling
def test_pooling_of_nothing_but_the_smallest(case):
    """If all cells are -inf, the index is the first cell of each window, never padding."""
    x = np.full((1, 2, *case.size), -np.inf, "float32")
    expected = max_pool(case, x)
    actual = case.function("max_pool")(x, **case.arguments, return_indices=True)
    assert_same_bits(actual[0], expected[0])
    assert_same_bits(actual[1], expected[1])


def test_a_window_of_nothing_but_padding():
    """A window of only padding is an error, since PyTorch's index for it is outside the plane."""
    case = pooling((4,), 2, 1, 1, 5)
    x = np.ones((1, 4), "float32")
    values, indices = max_pool(case, x)
    assert values[0, 0] == -np.inf or not 0 <= indices[0, 0] < 4
    with pytest.raises(ValueError, match="only padding"):
        unpool.max_pool1d(x, **case.window)


# --- unpooling --------------------------------------------------------------------------------------------------------


def test_the_example():
    for width, size in ((4, None), (5, (1, 1, 4, 5))):
        x = np.arange(1, 4 * width + 1, dtype="float32").reshape(1, 1, 4, width)
        case = pooling((4, width), 2)
        values, indices = unpool.max_pool2d(x, 2, 2, return_indices=True)
        expected = max_unpool(case, values, indices, output_size=size)
        assert_same_bits(unpool.max_unpool2d(values, indices, 2, 2, output_size=size), expected)
        assert expected[0, 0, 1, 1] == width + 2


@pytest.mark.parametrize("case", UNDILATED.values(), ids=UNDILATED)
@every_leading
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_unpooling(case, leading, dtype):
    """Unpool the results of pooling, in which equal indices have equal values."""
    x = crowded(dtype, (*leading, *case.size))
    values, indices = case.function("max_pool")(x, **case.arguments, return_indices=True)
    actual = case.function("max_unpool")(values, indices, **case.window, output_size=x.shape)
    assert_same_bits(actual, max_unpool(case, values, indices, output_size=case.size))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("case", UNDILATED.values(), ids=UNDILATED)
@every_leading
def test_unpooling_of_any_indices(case, leading):
    """Unpool random indices, where equal indices have different values."""
    shape = pooled(case, leading, "channels_first").shape
    indices = anywhere(shape, int(np.prod(case.size)))
    values = bits("float32", shape)
    size = case.shape(leading, "channels_first")
    actual = case.function("max_unpool")(values, indices, **case.window, output_size=size)
    assert_same_bits(actual, max_unpool(case, values, indices, output_size=case.size))


@pytest.mark.parametrize("case", UNDILATED.values(), ids=UNDILATED)
def test_sizes(case):
    """The default size and the accepted sizes are those of PyTorch."""
    shape = pooled(case, (1, 2), "channels_first").shape
    values, indices = np.ones(shape, "float32"), np.zeros(shape, "int64")
    function = case.function("max_unpool")
    default = case.default_size(shape[2:])
    if min(default) > 0:
        assert function(values, indices, **case.window).shape == max_unpool(case, values, indices).shape
    for axis, stride in enumerate(case.stride):
        for size in range(max(1, default[axis] - stride - 1), default[axis] + stride + 2):
            wanted = (*case.size[:axis], size, *case.size[axis + 1 :])
            taken = accepts(lambda w: max_unpool(case, values, indices, output_size=w), wanted)
            assert accepts(lambda w: function(values, indices, **case.window, output_size=w), wanted) == taken


def accepts(function, size):
    try:
        function(size)
    except ValueError:
        return False
    return True


# --- gradients --------------------------------------------------------------------------------------------------------


@every_pooling
@every_leading
def test_gradient_of_pooling(case, leading):
    """Sums of small integers are exact in any order."""
    x = whole("float64", (*leading, *case.size))
    given = theirs(x).requires_grad_()
    values = getattr(functional, f"max_pool{case.rank}d")(given, **case.arguments)
    grad = whole("float64", tuple(values.shape), 1)
    values.backward(theirs(grad))
    _, indices = case.function("max_pool")(x, **case.arguments, return_indices=True)
    actual = case.function("max_pool_backward")(grad, indices, x.shape, **case.window)
    assert_same_bits(actual, ours(given.grad, np.float64))


@pytest.mark.parametrize("case", UNDILATED.values(), ids=UNDILATED)
@every_leading
def test_gradient_of_unpooling(case, leading):
    """PyTorch's gradient is that of "sum": it gives overwritten values a gradient."""
    indices = pooled(case, leading, "channels_first")
    values = theirs(bits("float32", indices.shape)).requires_grad_()
    size = case.shape(leading, "channels_first")
    grad = bits("float32", size, 1)
    function = getattr(functional, f"max_unpool{case.rank}d")
    result = function(values, theirs(indices), case.kernel, case.stride, case.padding, output_size=case.size)
    result.backward(theirs(grad))
    actual = case.function("max_unpool_backward")(grad, indices, **case.window, duplicates="sum")
    assert_same_bits(actual, ours(values.grad, np.float32))
