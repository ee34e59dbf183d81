"""Pooling gives the oracle's values and indices, bit for bit, for every shape, dtype and memory order."""

import numpy as np
import pytest

import unpool
from unpool.testing.arrays import needs_out
from unpool.testing.cases import (
    FORMATS,
    LARGE,
    LAYOUTS,
    POOLINGS,
    REALS,
    Pooling,
    arranged,
    bits,
    crowded,
    laid_out,
    pooling,
    solved,
    special,
)
from unpool.testing.compare import Guarded, assert_same_bits

every_pooling = pytest.mark.parametrize("case", POOLINGS.values(), ids=POOLINGS)
every_format = pytest.mark.parametrize("data_format", FORMATS)
every_leading = pytest.mark.parametrize("leading", [(2, 3), (3,)], ids=["batch", "no batch"])


def check(backend, case: Pooling, x, data_format="channels_first", **named):
    """Return the results of the library and of the oracle."""
    expected_values, expected_indices = case.pool(x, data_format)
    arguments = case.arguments | {"return_indices": True, "data_format": data_format} | named
    values, indices = backend.call(case.function("max_pool"), x, **arguments)
    assert_same_bits(values, expected_values)
    assert_same_bits(indices, expected_indices.astype(named.get("index_dtype", "int64")))


# --- every shape ------------------------------------------------------------------------------------------------------


@every_pooling
@every_format
@every_leading
def test_every_shape(backend, case, data_format, leading):
    x = crowded("float32", case.shape(leading, data_format))
    function, arguments = case.function("max_pool"), case.arguments | {"data_format": data_format}
    expected_values, expected_indices = case.pool(x, data_format)
    for index_dtype in ("int64", "int32"):
        values, indices = backend.call(function, x, return_indices=True, index_dtype=index_dtype, **arguments)
        assert_same_bits(values, expected_values)
        assert_same_bits(indices, expected_indices.astype(index_dtype))
    assert_same_bits(backend.call(function, x, **arguments), expected_values)


@every_format
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 0)], ids=["k2 s2", "k3 s2 p1", "k3 s1"]
)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_every_width(backend, data_format, kernel, stride, padding, dtype):
    """Kernels that pool several elements at a time pool the rest one by one."""
    for width in backend.some(range(3, 40)):
        case = pooling((5, width), kernel, stride, padding)
        check(backend, case, crowded(dtype, case.shape((2,), data_format), width), data_format)


def test_every_number_of_channels(backend):
    for channels in backend.some(range(1, 70)):
        case = pooling((4, 5), 2, 1)
        x = crowded("float32", case.shape((channels,), "channels_last"), channels)
        check(backend, case, x, "channels_last")


@every_format
def test_no_samples(backend, data_format):
    case = POOLINGS["overlap and padding"]
    x = np.empty(case.shape((0, 3), data_format), "float32")
    values, indices = backend.call(unpool.max_pool2d, x, **case.window, return_indices=True, data_format=data_format)
    assert (values.shape, values.dtype) == (arranged((0, 3), (5, 4), data_format), np.float32)
    assert (indices.shape, indices.dtype) == (values.shape, np.int64)


def test_a_stride_of_none_is_the_kernel(backend):
    x = crowded("float32", (2, 7, 9))
    assert_same_bits(backend.call(unpool.max_pool2d, x, (2, 3)), backend.call(unpool.max_pool2d, x, (2, 3), (2, 3)))


def test_indices_count_the_plane_alone(backend):
    """An index is the flat position in the plane, without padding, channels and samples, in both data formats."""
    x = np.zeros((2, 3, 4, 5))
    x[1, 2, 3, 4] = 1
    _, indices = backend.call(unpool.max_pool2d, x, 4, 1, 2, return_indices=True)
    assert indices[1, 2, -1, -1] == 3 * 5 + 4
    x = np.moveaxis(x, 1, -1)
    _, indices = backend.call(unpool.max_pool2d, x, 4, 1, 2, return_indices=True, data_format="channels_last")
    assert indices[1, -1, -1, 2] == 3 * 5 + 4
    volume = np.zeros((1, 3, 4, 5))
    volume[0, 2, 1, 3] = 1
    _, indices = backend.call(unpool.max_pool3d, volume, (3, 4, 5), return_indices=True)
    assert indices.item() == (2 * 4 + 1) * 5 + 3


# --- every dtype ------------------------------------------------------------------------------------------------------


@every_format
@pytest.mark.parametrize("make", [crowded, bits])
@pytest.mark.parametrize("dtype", REALS, ids=str)
def test_every_dtype(backend, dtype, make, data_format):
    for case in (POOLINGS["overlap and padding"], POOLINGS["wide"], POOLINGS["volume, dilated, ceil"]):
        x = make(dtype, case.shape((2, 3), data_format))
        expected = case.pool(x, data_format)
        arguments = case.arguments | {"return_indices": True, "data_format": data_format}
        actual = backend.call(case.function("max_pool"), x, **arguments)
        assert_same_bits(actual[0], expected[0])
        assert_same_bits(actual[1], expected[1])


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_values_have_no_maximum(backend, dtype):
    with pytest.raises(TypeError, match="`input` must be of one of the dtypes"):
        backend.call(unpool.max_pool2d, np.ones((1, 2, 2), dtype), 2)


# --- which element is the maximum -------------------------------------------------------------------------------------

NAN = np.array([0x7FC00001, 0xFFC00002, 0x7F800003], np.uint32).view(np.float32)
INF = np.inf


@every_format
@pytest.mark.parametrize(
    ("row", "found"),
    [
        ([1, 2, 2], 1),
        ([0.0, -0.0, -1], 0),
        ([-0.0, 0.0, -1], 0),
        ([-INF, -INF, -INF], 0),
        ([INF, INF, 1], 0),
        ([NAN[0], 1, INF], 0),
        ([INF, NAN[1], 5], 1),
        ([1, 2, NAN[2]], 2),
        ([NAN[0], NAN[1], 5], 1),
        ([NAN[1], INF, NAN[0]], 2),
        ([-1e-45, 0.0, 1e-45], 2),
        ([-1e-45, -2e-45, -INF], 0),
    ],
)
def test_nan_wins_and_otherwise_the_first_of_equals(backend, row, found, data_format):
    x = np.array(row, np.float32).reshape((1, 3) if data_format == "channels_first" else (3, 1))
    values, indices = backend.call(unpool.max_pool1d, x, 3, return_indices=True, data_format=data_format)
    assert indices.item() == found
    assert_same_bits(values.reshape(1), x.reshape(3)[found : found + 1])


@every_format
@pytest.mark.parametrize("dtype", REALS, ids=str)
def test_padding_is_never_picked(backend, dtype, data_format):
    """Test cells that all have the smallest value of their dtype."""
    case = pooling((4, 5), 4, 1, 2)
    smallest = special(dtype).min() if dtype.kind in "iub" else np.array(-np.inf, dtype)
    x = np.full(case.shape((2, 3), data_format), smallest)
    values, indices = backend.call(unpool.max_pool2d, x, **case.window, return_indices=True, data_format=data_format)
    assert_same_bits(indices, case.pool(x, data_format)[1])
    assert_same_bits(values, np.full(values.shape, smallest))


def test_a_window_of_nothing_but_padding_is_refused(backend):
    """The taps of a window are 5 cells apart and start in the padding: cells -1 and 4 of an input of 4."""
    case = pooling((4,), 2, 1, 1, 5)
    x = np.ones((1, 4), np.float32)
    with pytest.raises(ValueError, match="nothing but padding"):
        case.pool(x, "channels_first")
    with pytest.raises(ValueError, match="only padding"):
        backend.call(unpool.max_pool1d, x, **case.window)


# --- every memory order ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "dtype"), laid_out(REALS))
def test_every_memory_order(backend, layout, dtype):
    for data_format in FORMATS:
        case = POOLINGS["overlap and padding"]
        x = crowded(dtype, case.shape((2, 3), data_format))
        kept = x.copy()
        check(backend, case, layout(x), data_format)
        assert_same_bits(x, kept)


@pytest.mark.parametrize("axis", range(4))
def test_repeated_without_being_copied(backend, axis):
    """The input has a stride of zero along one axis, as from numpy.broadcast_to."""
    case = POOLINGS["odd"]
    x = crowded("float32", (2, 3, *case.size)).take([0], axis)
    check(backend, case, np.broadcast_to(x, (2, 3, *case.size)))


# --- out= -------------------------------------------------------------------------------------------------------------


@needs_out
@every_format
@pytest.mark.parametrize("index_dtype", ["int64", "int32"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["even", "odd", "overlap and padding", "gaps and padding", "wide", "volume, odd"])
def test_out(backend, name, dtype, index_dtype, data_format):
    case = POOLINGS[name]
    x = crowded(dtype, case.shape((2, 3), data_format))
    expected = case.pool(x, data_format)
    function, arguments = case.function("max_pool"), case.arguments | {"data_format": data_format}
    for shift in range(4):
        guarded = [Guarded(expected[0].shape, kind, shift, backend) for kind in (dtype, index_dtype)]
        out = tuple(guard.array for guard in guarded)
        both = backend.run(function, x, **arguments, return_indices=True, index_dtype=index_dtype, out=out)
        assert both[0] is out[0]
        assert both[1] is out[1]
        assert_same_bits(guarded[0].written(), expected[0])
        assert_same_bits(guarded[1].written(), expected[1].astype(index_dtype))
        assert all(guard.intact() for guard in guarded)

        alone = Guarded(expected[0].shape, dtype, shift, backend)
        assert backend.run(function, x, **arguments, out=alone.array) is alone.array
        assert_same_bits(alone.written(), expected[0])
        assert alone.intact()


@needs_out
def test_out_must_not_be_what_is_read(backend):
    kept = np.arange(16.0).reshape(1, 4, 4)
    x = backend.asarray(kept.copy())
    with pytest.raises(ValueError, match="`out` must not share memory"):
        unpool.max_pool2d(x, 1, out=x)
    memory = backend.asarray(np.zeros((1, 4, 4)))
    with pytest.raises(ValueError, match=r"`out\[1\]` must not share memory"):
        unpool.max_pool2d(x, 1, return_indices=True, out=(memory, backend.typed(memory, "int64")))
    assert_same_bits(backend.tonumpy(x), kept)
    assert not backend.tonumpy(memory).any()


@needs_out
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout.__name__ != "turned"])
def test_out_must_be_written_in_place(backend, layout):
    if layout.__name__ in backend.lacks:
        pytest.skip("the library has no such arrays")
    out = backend.asarray(layout(np.zeros((2, 2, 2))))
    kept = backend.tonumpy(out).copy()
    with pytest.raises(ValueError, match="`out` must be writeable, aligned, C-contiguous and in native byte order"):
        backend.run(unpool.max_pool2d, np.ones((2, 4, 4)), 2, out=out)
    assert_same_bits(backend.tonumpy(out), kept)


# --- large -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index_dtype", ["int64", "int32"])
@pytest.mark.parametrize("name", LARGE)
def test_large(backend, name, index_dtype):
    case, leading, data_format = LARGE[name]
    x, values, indices = solved(case, leading, data_format)
    assert x.size > 2**16
    arguments = case.window | {"return_indices": True, "index_dtype": index_dtype, "data_format": data_format}
    actual = backend.call(case.function("max_pool"), x, **arguments)
    assert_same_bits(actual[0], values)
    assert_same_bits(actual[1], indices.astype(index_dtype))
