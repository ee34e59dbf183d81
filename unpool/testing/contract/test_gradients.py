"""Gradients agree with finite differences, with the adjoint and with the oracle.

Pooling and unpooling are piecewise linear in their values.  Values and gradients are integers here, and steps of 1
change no maximum, so finite differences are exact and need no tolerance.
"""

import re
from functools import cache

import numpy as np
import pytest

import unpool
from unpool.testing import oracle
from unpool.testing.arrays import needs_out
from unpool.testing.cases import (
    DUPLICATES,
    FORMATS,
    LARGE,
    POOLINGS,
    POSITIONS,
    REALS,
    VALUES,
    anywhere,
    arranged,
    bits,
    crowded,
    laid_out,
    planes_of,
    pooled,
    pooling,
    unique,
    whole,
)
from unpool.testing.compare import Guarded, assert_same_bits, assert_same_sums

every_pooling = pytest.mark.parametrize("case", POOLINGS.values(), ids=POOLINGS)
every_format = pytest.mark.parametrize("data_format", FORMATS)
every_leading = pytest.mark.parametrize("leading", [(2, 3), (3,)], ids=["batch", "no batch"])
every_mode = pytest.mark.parametrize("duplicates", DUPLICATES)
last_and_sum = pytest.mark.parametrize("duplicates", ["last", "sum"])


def cells_of(case):
    return int(np.prod(case.size))


def taken(grad, indices, case, duplicates, data_format):
    """Return the gradient of unpooling, by the oracle."""
    return oracle.max_unpool_backward(grad, indices, case.rank, duplicates, data_format == "channels_last")


def added(grad, indices, case, data_format):
    """Return the gradient of pooling, by the oracle."""
    return oracle.max_pool_backward(grad, indices, case.size, data_format == "channels_last")


def differences(function, x, grad):
    """Return the change of ``sum(grad * function(x))`` per change of each element of x: central, in steps of 1.

    All steps are one batch, since calls are slow for some kinds of arrays.
    """
    steps = np.eye(x.size).reshape(-1, *x.shape)
    change = function(x + steps) - function(x - steps)
    return (grad * change).reshape(x.size, -1).sum(1).reshape(x.shape) / 2


# --- by finite differences --------------------------------------------------------------------------------------------

SMALL = ["row, overlap and padding", "odd", "overlap", "ceil", "dilated and padding", "volume, dilated, ceil"]


@every_format
@every_mode
@pytest.mark.parametrize("name", SMALL)
def test_gradient_of_unpooling(backend, name, duplicates, data_format):
    """Indices repeat, unless the mode forbids it."""
    case = POOLINGS[name]
    shape = pooled(case, (2,), data_format).shape
    indices = anywhere(shape, min(cells_of(case), int(np.prod(shape)) // 2))
    if duplicates == "error":
        indices = unique(shape, cells_of(case), case.rank, data_format)
    else:
        assert oracle.first_repeated(indices, case.rank, data_format == "channels_last") is not None
    values = whole("float64", shape, 1)
    grad = whole("float64", case.shape((2,), data_format), 2)
    arguments = case.window | {"data_format": data_format, "duplicates": duplicates}

    def forward(v):
        repeated = np.broadcast_to(indices, v.shape)
        return backend.call(case.function("max_unpool"), v, repeated, output_size=case.size, **arguments)

    actual = backend.call(case.function("max_unpool_backward"), grad, indices, **arguments)
    assert_same_bits(actual, differences(forward, values, grad))


@every_format
@pytest.mark.parametrize("name", SMALL)
def test_gradient_of_pooling(backend, name, data_format):
    """Values lie 4 apart, so a step of 1 changes no maximum."""
    case = POOLINGS[name]
    shape = case.shape((2,), data_format)
    x = 4.0 * np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape)
    arguments = case.window | {"data_format": data_format}

    def forward(x):
        return backend.call(case.function("max_pool"), x, ceil_mode=case.ceil_mode, **arguments)

    _, indices = backend.call(case.function("max_pool"), x, ceil_mode=case.ceil_mode, return_indices=True, **arguments)
    grad = whole("float64", indices.shape, 2)
    actual = backend.call(case.function("max_pool_backward"), grad, indices, x.shape, **arguments)
    assert_same_bits(actual, differences(forward, x, grad))


# --- by the adjoint ---------------------------------------------------------------------------------------------------


@every_pooling
@every_format
@every_leading
def test_the_gradient_of_sum_is_its_adjoint(backend, case, data_format, leading):
    """``<unpool(v), g> == <v, backward(g)>``, for any indices."""
    shape = pooled(case, leading, data_format).shape
    indices = anywhere(shape, cells_of(case))
    values, grad = whole("float64", shape, 1), whole("float64", case.shape(leading, data_format), 2)
    arguments = case.window | {"data_format": data_format, "duplicates": "sum"}
    there = backend.call(case.function("max_unpool"), values, indices, output_size=case.size, **arguments)
    back = backend.call(case.function("max_unpool_backward"), grad, indices, **arguments)
    assert np.sum(there * grad) == np.sum(values * back)


# --- by the oracle, every shape ------------------------------------------------------------------------------------


@every_pooling
@every_format
@every_leading
@every_mode
def test_every_shape(backend, case, data_format, leading, duplicates):
    """Test indices of a pooling, which repeat where windows overlap, and indices made by hand."""
    last = data_format == "channels_last"
    candidates = [pooled(case, leading, data_format)]
    candidates.append(anywhere(candidates[0].shape, cells_of(case)))
    if duplicates == "error":
        candidates[1] = unique(candidates[0].shape, cells_of(case), case.rank, data_format)
        candidates = [indices for indices in candidates if oracle.first_repeated(indices, case.rank, last) is None]
    arguments = case.window | {"data_format": data_format}
    for indices in candidates:
        down = bits("float32", case.shape(leading, data_format), 1)
        up = bits("float32", indices.shape, 2)
        for index_dtype in ("int64", "int32"):
            given = indices.astype(index_dtype)
            actual = backend.call(case.function("max_unpool_backward"), down, given, duplicates=duplicates, **arguments)
            assert_same_bits(actual, taken(down, indices, case, duplicates, data_format))
            actual = backend.call(
                case.function("max_pool_backward"), up, given, case.shape(leading, data_format), **arguments
            )
            assert_same_sums(backend, actual, added(up, indices, case, data_format))


@every_format
@every_leading
@pytest.mark.parametrize("full", [False, True], ids=["spatial", "full shape"])
def test_input_size_in_every_length(backend, full, leading, data_format):
    case = POOLINGS["odd"]
    indices = pooled(case, leading, data_format)
    grad = whole("float32", indices.shape)
    size = case.shape(leading, data_format) if full else case.size
    for given in (size, list(size)):
        actual = backend.call(unpool.max_pool2d_backward, grad, indices, given, 2, data_format=data_format)
        assert_same_bits(actual, added(grad, indices, case, data_format))


@every_format
@every_mode
def test_every_width(backend, data_format, duplicates):
    """Kernels that copy several elements at a time copy the rest one by one."""
    for width in backend.some(range(2, 70)):
        case = pooling((4, width), 2)
        for dtype in ("uint8", "float32"):
            indices = pooled(case, (2,), data_format)
            down, up = bits(dtype, case.shape((2,), data_format), 1), whole(dtype, indices.shape, 2)
            arguments = {"duplicates": duplicates, "data_format": data_format}
            actual = backend.call(unpool.max_unpool2d_backward, down, indices, 2, **arguments)
            assert_same_bits(actual, taken(down, indices, case, duplicates, data_format))
            actual = backend.call(unpool.max_pool2d_backward, up, indices, case.size, 2, data_format=data_format)
            assert_same_bits(actual, added(up, indices, case, data_format))


@last_and_sum
def test_every_number_of_channels(backend, duplicates):
    case = pooling((5, 4), 3, 1)
    for channels in backend.some(range(1, 70)):
        indices = anywhere(arranged((channels,), (3, 2), "channels_last"), 20, channels)
        down, up = bits("float32", (5, 4, channels), 1), whole("float32", indices.shape, 2)
        arguments = {"data_format": "channels_last", **case.window}
        actual = backend.call(unpool.max_unpool2d_backward, down, indices, duplicates=duplicates, **arguments)
        assert_same_bits(actual, taken(down, indices, case, duplicates, "channels_last"))
        actual = backend.call(unpool.max_pool2d_backward, up, indices, (5, 4), **arguments)
        assert_same_bits(actual, added(up, indices, case, "channels_last"))


@every_format
@every_mode
def test_no_samples(backend, duplicates, data_format):
    small, large = arranged((0, 3), (3, 4), data_format), arranged((0, 3), (6, 8), data_format)
    indices = np.empty(small, "int64")
    down, up = np.empty(large, "float16"), np.empty(small, "float16")
    actual = backend.call(
        unpool.max_unpool2d_backward, down, indices, 2, duplicates=duplicates, data_format=data_format
    )
    assert (actual.shape, actual.dtype) == (small, np.float16)
    actual = backend.call(unpool.max_pool2d_backward, up, indices, (6, 8), 2, data_format=data_format)
    assert (actual.shape, actual.dtype) == (large, np.float16)


# --- duplicates -------------------------------------------------------------------------------------------------------


def test_the_modes(backend):
    """With "last", an overwritten value has no gradient; with "sum", every value has one."""
    grad, indices = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]), np.array([[3, 3, 0, 3]])
    arguments = {"kernel_size": 2, "stride": 1}
    last = backend.call(unpool.max_unpool1d_backward, grad, indices, **arguments)
    assert_same_bits(last, np.array([[0.0, 0.0, 1.0, 4.0]]))
    total = backend.call(unpool.max_unpool1d_backward, grad, indices, duplicates="sum", **arguments)
    assert_same_bits(total, np.array([[4.0, 4.0, 1.0, 4.0]]))
    if backend.reports:
        with pytest.raises(ValueError, match=re.escape("indices[0, 0] = indices[0, 1] = 3")):
            backend.call(unpool.max_unpool1d_backward, grad, indices, duplicates="error", **arguments)
    pooling_grad = backend.call(unpool.max_pool1d_backward, grad[:, :4], indices, (5,), **arguments)
    assert pooling_grad.tolist() == [[3.0, 0.0, 0.0, 7.0, 0.0]]


@every_format
def test_a_huge_plane(backend, data_format):
    """The kernel finds the last index of a cell in maps of 2**22 cells; this plane has cells at each border."""
    span = 2**22
    for channels in (1, 3):
        case = pooling((2300, 2300), 230)
        indices = unique(arranged((channels,), (10, 10), data_format), cells_of(case), 2, data_format)
        planes = planes_of(indices, 2, data_format)
        borders = [0, span // channels - 1, span // channels, span - 1, span, span + 1, cells_of(case) - 1]
        planes[..., 2, :7] = borders
        planes[..., 7, 2:9] = borders[::-1]
        planes[..., 9, 3:6] = [span, span // channels, 0]
        grad = bits("uint8", case.shape((channels,), data_format))
        for duplicates in ("last", "sum"):
            arguments = case.window | {"duplicates": duplicates, "data_format": data_format}
            actual = backend.call(unpool.max_unpool2d_backward, grad, indices, **arguments)
            assert_same_bits(actual, taken(grad, indices, case, duplicates, data_format))


# --- every dtype ------------------------------------------------------------------------------------------------------


@every_format
@every_mode
@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_every_dtype_of_unpooling(backend, dtype, duplicates, data_format):
    """All bits are copied, payloads of NaN included; the gradient of an overwritten value is +0."""
    for case in (POOLINGS["even"], POOLINGS["overlap and padding"], POOLINGS["volume, odd"]):
        shape = pooled(case, (2, 3), data_format).shape
        indices = anywhere(shape, cells_of(case))
        if duplicates == "error":
            indices = unique(shape, cells_of(case), case.rank, data_format)
        for make in (bits, crowded):
            grad = make(dtype, case.shape((2, 3), data_format))
            actual = backend.call(
                case.function("max_unpool_backward"),
                grad,
                indices,
                **case.window,
                duplicates=duplicates,
                data_format=data_format,
            )
            assert_same_bits(actual, taken(grad, indices, case, duplicates, data_format))


@every_format
@pytest.mark.parametrize("make", [bits, crowded, whole])
@pytest.mark.parametrize("dtype", REALS, ids=str)
def test_every_dtype_of_pooling(backend, dtype, make, data_format):
    """Sums are rounded at each step, in row-major order."""
    for case in (POOLINGS["even"], POOLINGS["overlap and padding"], POOLINGS["volume, odd"]):
        found = pooled(case, (2, 3), data_format)
        for indices in (found, anywhere(found.shape, cells_of(case))):
            grad = make(dtype, indices.shape)
            actual = backend.call(
                case.function("max_pool_backward"), grad, indices, case.size, **case.window, data_format=data_format
            )
            assert_same_sums(backend, actual, added(grad, indices, case, data_format))


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_windows_past_the_plane_own_no_cell(backend, data_format):
    """With gaps between windows, the smallest allowed size ends before the last window, whose indices may repeat."""
    indices = np.array([[0, 6], [6, 10]])
    grad = np.arange(1.0, 13).reshape(6, 2)
    if data_format == "channels_first":
        indices, grad = indices[np.newaxis, np.newaxis], grad[np.newaxis, np.newaxis]
    else:
        indices, grad = indices[np.newaxis, ..., np.newaxis], grad[np.newaxis, ..., np.newaxis]
    actual = backend.call(unpool.max_unpool2d_backward, grad, indices, 1, 3, data_format=data_format)
    assert actual.ravel().tolist() == [1, 0, 7, 11]
    arguments = {"output_size": (6, 2), "data_format": data_format}
    if backend.reports:
        with pytest.raises(ValueError, match="must not repeat"):
            backend.call(unpool.max_unpool2d, actual, indices, 1, 3, **arguments, duplicates="error")
    for duplicates in ("last", "sum"):
        restored = backend.call(unpool.max_unpool2d, actual, indices, 1, 3, **arguments, duplicates=duplicates)
        last = data_format == "channels_last"
        assert_same_bits(restored, oracle.max_unpool(actual, indices, (6, 2), duplicates, last))


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_what_cannot_be_pooled_has_no_gradient(backend, dtype):
    with pytest.raises(TypeError, match="`grad_output` must be of one of the dtypes"):
        backend.call(unpool.max_pool1d_backward, np.ones((1, 2), dtype), np.zeros((1, 2), "int64"), (4,), 2)


@every_format
@pytest.mark.parametrize("index_dtype", POSITIONS, ids=str)
def test_every_index_dtype(backend, index_dtype, data_format):
    case = POOLINGS["overlap and padding"]
    indices = anywhere(pooled(case, (2, 3), data_format).shape, cells_of(case))
    down, up = bits("float32", case.shape((2, 3), data_format)), whole("float32", indices.shape)
    given, arguments = indices.astype(index_dtype), case.window | {"data_format": data_format}
    for duplicates in ("last", "sum"):
        actual = backend.call(unpool.max_unpool2d_backward, down, given, duplicates=duplicates, **arguments)
        assert_same_bits(actual, taken(down, indices, case, duplicates, data_format))
    actual = backend.call(unpool.max_pool2d_backward, up, given, case.size, **arguments)
    assert_same_bits(actual, added(up, indices, case, data_format))


# --- every memory order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "dtype"), laid_out(REALS))
def test_every_memory_order(backend, layout, dtype):
    for data_format in FORMATS:
        case = POOLINGS["overlap and padding"]
        indices = pooled(case, (2, 3), data_format)
        down, up = bits(dtype, case.shape((2, 3), data_format)), whole(dtype, indices.shape)
        arguments = case.window | {"data_format": data_format}
        for duplicates in ("last", "sum"):
            given = layout(down), layout(indices)
            actual = backend.call(unpool.max_unpool2d_backward, *given, duplicates=duplicates, **arguments)
            assert_same_bits(actual, taken(down, indices, case, duplicates, data_format))
        actual = backend.call(unpool.max_pool2d_backward, layout(up), layout(indices), case.size, **arguments)
        assert_same_bits(actual, added(up, indices, case, data_format))


@every_mode
def test_a_gradient_of_ones_without_memory(backend, duplicates):
    """The gradient of a sum is broadcast: its strides are zero along every axis."""
    case = POOLINGS["even"]
    indices = pooled(case, (2, 3), "channels_first")
    down, up = np.broadcast_to(1.0, (2, 3, *case.size)), np.broadcast_to(1.0, indices.shape)
    actual = backend.call(unpool.max_unpool2d_backward, down, indices, 2, duplicates=duplicates)
    assert_same_bits(actual, taken(down, indices, case, duplicates, "channels_first"))
    actual = backend.call(unpool.max_pool2d_backward, up, indices, case.size, 2)
    assert_same_bits(actual, added(up, indices, case, "channels_first"))


# --- out= -------------------------------------------------------------------------------------------------------------


@needs_out
@every_format
@every_mode
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["even", "odd", "gaps and padding", "overlap and padding", "wide", "volume, odd"])
def test_out(backend, name, dtype, duplicates, data_format):
    case = POOLINGS[name]
    indices = pooled(case, (2, 3), data_format)
    if duplicates == "error" and "overlap" in name:
        indices = unique(indices.shape, cells_of(case), 2, data_format)
    down, up = bits(dtype, case.shape((2, 3), data_format)), whole(dtype, indices.shape)
    arguments = case.window | {"data_format": data_format}
    for shift in range(4):
        guarded = Guarded(indices.shape, dtype, shift, backend)
        named = arguments | {"out": guarded.array}
        function = case.function("max_unpool_backward")
        assert backend.run(function, down, indices, duplicates=duplicates, **named) is guarded.array
        assert_same_bits(guarded.written(), taken(down, indices, case, duplicates, data_format))
        assert guarded.intact()
        guarded = Guarded(down.shape, dtype, shift, backend)
        named = arguments | {"out": guarded.array}
        assert backend.run(case.function("max_pool_backward"), up, indices, case.size, **named) is guarded.array
        assert_same_bits(guarded.written(), added(up, indices, case, data_format))
        assert guarded.intact()


@needs_out
def test_out_must_not_be_what_is_read(backend):
    kept, ones = np.arange(4).reshape(1, 2, 2), np.ones((1, 2, 2), "int64")
    indices, grad = backend.asarray(kept.copy()), backend.asarray(ones.copy())
    with pytest.raises(ValueError, match="`out` must not share memory"):
        unpool.max_unpool2d_backward(grad, indices, 1, out=indices)
    with pytest.raises(ValueError, match="`out` must not share memory"):
        unpool.max_pool2d_backward(grad, indices, (2, 2), 1, out=grad)
    assert_same_bits(backend.tonumpy(indices), kept)
    assert_same_bits(backend.tonumpy(grad), ones)


# --- large -----------------------------------------------------------------------------------------------------------


@cache
def large(name, made):
    """Return indices, gradients of both sizes, and the oracle's results for them in both directions."""
    case, leading, data_format = LARGE[name]
    indices = pooled(case, leading, data_format)
    if made == "by hand":
        indices = anywhere(indices.shape, cells_of(case))
    down, up = bits("float32", case.shape(leading, data_format), 1), crowded("float32", indices.shape, 2)
    assert down.size > 2**16
    expected = {mode: taken(down, indices, case, mode, data_format) for mode in ("last", "sum")}
    return indices, down, up, expected, added(up, indices, case, data_format)


@pytest.mark.parametrize("made", ["by pooling", "by hand"])
@pytest.mark.parametrize("name", LARGE)
def test_large(backend, name, made):
    case, _, data_format = LARGE[name]
    indices, down, up, expected, expected_up = large(name, made)
    arguments = case.window | {"data_format": data_format}
    for index_dtype in ("int64", "int32"):
        given = indices.astype(index_dtype)
        for duplicates, wanted in expected.items():
            function = case.function("max_unpool_backward")
            assert_same_bits(backend.call(function, down, given, duplicates=duplicates, **arguments), wanted)
        actual = backend.call(case.function("max_pool_backward"), up, given, case.size, **arguments)
        assert_same_sums(backend, actual, expected_up)
