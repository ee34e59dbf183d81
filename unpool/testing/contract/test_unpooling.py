"""Unpooling puts every value where its index says, bit for bit, and writes no other memory."""

import re
from functools import cache
from itertools import product

import numpy as np
import pytest

import unpool
from unpool.testing import oracle
from unpool.testing.arrays import NumPyArrays, needs_out
from unpool.testing.cases import (
    DUPLICATES,
    FLOATS,
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
    pooled,
    pooling,
    unique,
    whole,
)
from unpool.testing.compare import Guarded, assert_same_bits, assert_same_sums, at

every_pooling = pytest.mark.parametrize("case", POOLINGS.values(), ids=POOLINGS)
every_format = pytest.mark.parametrize("data_format", FORMATS)
every_leading = pytest.mark.parametrize("leading", [(2, 3), (3,)], ids=["batch", "no batch"])
every_mode = pytest.mark.parametrize("duplicates", DUPLICATES)
last_and_sum = pytest.mark.parametrize("duplicates", ["last", "sum"])


def expected_of(values, indices, size, duplicates, data_format):
    return oracle.max_unpool(values, indices, size, duplicates, data_format == "channels_last")


def assert_same(actual, expected, duplicates, kind=None):
    """Moved values keep their bits; of added ones, a NaN may be any NaN."""
    if duplicates == "sum":
        assert_same_sums(kind or NumPyArrays(), actual, expected)
    else:
        assert_same_bits(actual, expected)


# --- every shape ------------------------------------------------------------------------------------------------------


@every_pooling
@every_format
@every_leading
@every_mode
def test_every_shape(backend, case, data_format, leading, duplicates):
    """Test indices of a pooling, which repeat where windows overlap, and indices made by hand."""
    cells, last = int(np.prod(case.size)), data_format == "channels_last"
    candidates = [pooled(case, leading, data_format)]
    candidates.append(anywhere(candidates[0].shape, cells))
    if duplicates == "error":
        candidates[1] = unique(candidates[0].shape, cells, case.rank, data_format)
        candidates = [indices for indices in candidates if oracle.first_repeated(indices, case.rank, last) is None]
    for indices in candidates:
        values = bits("float32", indices.shape)
        expected = expected_of(values, indices, case.size, duplicates, data_format)
        arguments = case.window | {"output_size": case.size, "data_format": data_format, "duplicates": duplicates}
        for index_dtype in ("int64", "int32"):
            actual = backend.call(case.function("max_unpool"), values, indices.astype(index_dtype), **arguments)
            assert_same(actual, expected, duplicates, backend)


@every_format
@last_and_sum
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "complex128"])
def test_every_width(backend, dtype, stride, duplicates, data_format):
    """Kernels that write several elements at a time write the rest one by one."""
    for width in backend.some(range(2, 40)):
        case = pooling((7, width), 2, stride)
        indices = pooled(case, (2,), data_format)
        values = bits(dtype, indices.shape, width)
        expected = expected_of(values, indices, case.size, duplicates, data_format)
        arguments = {"output_size": case.size, "duplicates": duplicates, "data_format": data_format}
        actual = backend.call(unpool.max_unpool2d, values, indices, 2, stride, **arguments)
        assert_same(actual, expected, duplicates, backend)
        if backend.writes:
            guarded = Guarded(expected.shape, dtype, width % 5, backend)
            backend.run(unpool.max_unpool2d, values, indices, 2, stride, **arguments, out=guarded.array)
            assert_same(guarded.written(), expected, duplicates, backend)
            assert guarded.intact()


@last_and_sum
def test_every_number_of_channels(backend, duplicates):
    for channels in backend.some(range(1, 70)):
        case = pooling((5, 4), 2)
        indices = pooled(case, (channels,), "channels_last")
        values = bits("float32", indices.shape, channels)
        arguments = {"output_size": case.size, "duplicates": duplicates, "data_format": "channels_last"}
        actual = backend.call(unpool.max_unpool2d, values, indices, 2, **arguments)
        assert_same(actual, expected_of(values, indices, case.size, duplicates, "channels_last"), duplicates, backend)


@every_format
@every_mode
def test_no_samples(backend, duplicates, data_format):
    case = POOLINGS["even"]
    shape = arranged((0, 3), (3, 4), data_format)
    actual = backend.call(
        unpool.max_unpool2d,
        np.empty(shape, "float32"),
        np.empty(shape, "int64"),
        2,
        duplicates=duplicates,
        data_format=data_format,
    )
    assert (actual.shape, actual.dtype) == (case.shape((0, 3), data_format), np.float32)


# --- what PyTorch's documentation shows -------------------------------------------------------------------------------


def test_the_example(backend):
    x = np.arange(1, 17, dtype="float32").reshape(1, 1, 4, 4)
    values, indices = backend.call(unpool.max_pool2d, x, 2, 2, return_indices=True)
    expected = [[0, 0, 0, 0], [0, 6, 0, 8], [0, 0, 0, 0], [0, 14, 0, 16]]
    assert backend.call(unpool.max_unpool2d, values, indices, 2, 2).tolist() == [[expected]]


def test_the_example_with_a_size(backend):
    x = np.arange(1, 21, dtype="float32").reshape(1, 1, 4, 5)
    values, indices = backend.call(unpool.max_pool2d, x, 2, 2, return_indices=True)
    expected = [[0, 0, 0, 0, 0], [0, 7, 0, 9, 0], [0, 0, 0, 0, 0], [0, 17, 0, 19, 0]]
    actual = backend.call(unpool.max_unpool2d, values, indices, 2, 2, output_size=x.shape)
    assert actual.tolist() == [[expected]]


# --- there and back ---------------------------------------------------------------------------------------------------

# Dilated windows interleave, so two of them may share cells even if the kernel is no longer than the stride.
APART = [
    name for name, case in POOLINGS.items() if all(d == 1 and k <= s for _, k, s, _, d in zip(*case[:5], strict=True))
]


@every_format
@every_leading
@pytest.mark.parametrize("name", APART)
def test_pooling_what_was_unpooled_changes_nothing(backend, name, leading, data_format):
    """Windows do not overlap, and every value is larger than the zeros around it."""
    case = POOLINGS[name]
    arguments = case.window | {"data_format": data_format}
    pool = case.function("max_pool")
    for dtype in backend.some(REALS):
        x = whole(dtype, case.shape(leading, data_format)) + np.ones(1, dtype)
        values, indices = backend.call(pool, x, **arguments, ceil_mode=case.ceil_mode, return_indices=True)
        restored = backend.call(case.function("max_unpool"), values, indices, **arguments, output_size=x.shape)
        again = backend.call(pool, restored, **arguments, ceil_mode=case.ceil_mode, return_indices=True)
        assert_same_bits(again[0], values)
        assert_same_bits(again[1], indices)


# --- every dtype ------------------------------------------------------------------------------------------------------


def test_signalling_nans_keep_their_bits(backend):
    """XLA moves bfloat16 as float32, which sets a bit of a signalling NaN."""
    for dtype in FLOATS:
        bits_of = np.dtype(f"uint{8 * dtype.itemsize}")
        x = (np.array(np.inf, dtype).view(bits_of) + np.arange(1, 17).astype(bits_of)).view(dtype).reshape(1, 1, 4, 4)
        values, indices = backend.call(unpool.max_pool2d, x, 2, return_indices=True)
        assert_same_bits(values, x[:, :, 1::2, 1::2])  # the last NaN of each window
        for places in (indices, np.array([[[[15, 0], [3, 5]]]])):  # in their own windows, and elsewhere
            planes = backend.call(unpool.max_unpool2d, values, places, 2)
            assert_same_bits(planes, oracle.max_unpool(values, places, (4, 4)))
            assert_same_bits(backend.call(unpool.max_unpool2d_backward, planes, places, 2), values)


@every_format
@last_and_sum
@pytest.mark.parametrize("make", [bits, crowded, whole])
@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_every_dtype(backend, dtype, make, duplicates, data_format):
    """All bits are copied, payloads of NaN included; sums are rounded at each step, in row-major order."""
    for case in (POOLINGS["even"], POOLINGS["overlap and padding"], POOLINGS["volume, odd"]):
        found = pooled(case, (2, 3), data_format)
        for indices in (found, anywhere(found.shape, int(np.prod(case.size)))):
            values = make(dtype, indices.shape)
            actual = backend.call(
                case.function("max_unpool"),
                values,
                indices,
                **case.window,
                output_size=case.size,
                duplicates=duplicates,
                data_format=data_format,
            )
            assert_same(actual, expected_of(values, indices, case.size, duplicates, data_format), duplicates, backend)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_half_as_a_sum_of_one(backend, dtype):
    """A cell is 0 + value: the value, but +0 for -0."""
    values = np.arange(2**16, dtype="uint16").view(next(one for one in FLOATS if one == dtype)).reshape(1, 1, -1)
    indices = 2 * np.arange(2**16).reshape(values.shape)
    with np.errstate(invalid="ignore"):
        expected = values + values.dtype.type(0)
    actual = backend.call(unpool.max_unpool1d, values, indices, 2, duplicates="sum")
    assert_same_sums(backend, np.ascontiguousarray(actual[..., ::2]), expected)
    assert not actual[..., 1::2].any()


@every_format
@every_mode
@pytest.mark.parametrize("index_dtype", POSITIONS, ids=str)
def test_every_index_dtype(backend, index_dtype, duplicates, data_format):
    """The plane has as many cells as int8 can count, or 256."""
    size = (8, 16) if index_dtype == "int8" else (16, 16)
    case = pooling(size, 2)
    cells = int(np.prod(size))
    shape = arranged((2, 3), tuple(entry // 2 for entry in size), data_format)
    indices = unique(shape, cells, 2, data_format)
    indices.reshape(-1)[indices.argmin()] = cells - 1 if cells - 1 not in indices else indices.min()
    values = bits("float32", shape)
    actual = backend.call(
        unpool.max_unpool2d, values, indices.astype(index_dtype), 2, duplicates=duplicates, data_format=data_format
    )
    assert_same(actual, expected_of(values, indices, case.size, duplicates, data_format), duplicates, backend)


def test_a_sum_rounds_at_every_step(backend):
    """In float16, 2048 + 1 + 1 is 2048; adding the two ones first would give 2050."""
    values, indices = np.array([[2048, 1, 1]], "float16"), np.zeros((1, 3), "int64")
    actual = backend.call(unpool.max_unpool1d, values, indices, 2, duplicates="sum")
    assert actual.tolist() == [[2048, 0, 0, 0, 0, 0]]


def test_a_sum_is_taken_in_row_major_order(backend):
    """In float32, (2**24 + 1) + 1 is 2**24, and (1 + 1) + 2**24 is 2**24 + 2."""
    for row, total in (([2**24, 1, 1], 2**24), ([1, 1, 2**24], 2**24 + 2)):
        values, indices = np.array([row], "float32"), np.full((1, 3), 4, "int64")
        assert backend.call(unpool.max_unpool1d, values, indices, 2, duplicates="sum")[0, 4] == total


# --- output_size ------------------------------------------------------------------------------------------------------


@every_format
@every_leading
@pytest.mark.parametrize("full", [False, True], ids=["spatial", "full shape"])
def test_output_size_in_every_length(backend, full, leading, data_format):
    case = POOLINGS["odd"]
    indices = pooled(case, leading, data_format)
    values = bits("float32", indices.shape)
    size = case.shape(leading, data_format) if full else case.size
    for given in (size, list(size)):
        actual = backend.call(unpool.max_unpool2d, values, indices, 2, output_size=given, data_format=data_format)
        assert_same_bits(actual, expected_of(values, indices, case.size, "last", data_format))


@every_format
@every_leading
def test_output_size_must_keep_batch_and_channels(backend, leading, data_format):
    case = POOLINGS["odd"]
    indices = pooled(case, leading, data_format)
    for other in [(*leading[:-1], leading[-1] + 1), (leading[0] + 1, *leading[1:])]:
        with pytest.raises(ValueError, match="`output_size` must keep the batch and channels"):
            backend.call(
                unpool.max_unpool2d,
                indices,
                indices,
                2,
                output_size=case.shape(other, data_format),
                data_format=data_format,
            )


@every_pooling
def test_output_size_within_a_stride(backend, case):
    """``default - stride < size < default + stride`` per axis, and nothing else; the default is in the middle.

    With padding "same", it is the largest.
    """
    found = pooled(case, (1,), "channels_first")
    indices, values = np.zeros_like(found), np.ones(found.shape, "float32")
    function = case.function("max_unpool")
    default = case.default_size(found.shape[1:])
    if min(default) > 0:
        assert backend.call(function, values, indices, **case.window).shape[1:] == default
    for axis, stride in enumerate(case.stride):
        for size in backend.some(range(max(1, default[axis] - stride - 1), default[axis] + stride + 2)):
            wanted = (*case.size[:axis], size, *case.size[axis + 1 :])
            low, high = max(1, default[axis] - stride + 1), default[axis] + (0 if case.same else stride - 1)
            if low <= size <= high:
                actual = backend.call(function, values, indices, **case.window, output_size=wanted)
                assert actual.shape[1:] == wanted
                assert actual.reshape(-1)[0] == 1
            else:
                with pytest.raises(
                    ValueError, match=rf"must be (between {low} and )?{high} .*spatial dimension {axis}"
                ):
                    backend.call(function, values, indices, **case.window, output_size=wanted)


@every_pooling
def test_every_size_that_was_pooled_can_be_restored(backend, case):
    """Unpooling takes the size of pooling's input, with and without `ceil_mode`."""
    found = pooled(case, (2, 3), "channels_first")
    values = bits("float32", found.shape)
    actual = backend.call(
        case.function("max_unpool"), values, found, **case.window, output_size=case.shape((2, 3), "channels_first")
    )
    assert actual.shape[2:] == case.size


def test_two_axes_of_one_size_keep_their_own_bounds(backend):
    values, indices = np.ones((1, 2, 2)), np.zeros((1, 2, 2), "int64")
    actual = backend.call(unpool.max_unpool2d, values, indices, (2, 3), output_size=(5, 8))
    assert actual.shape == (1, 5, 8)
    with pytest.raises(ValueError, match=r"between 3 and 5 .*spatial dimension 0"):
        backend.call(unpool.max_unpool2d, values, indices, (2, 3), output_size=(8, 5))


# --- duplicates -------------------------------------------------------------------------------------------------------


@every_format
def test_the_three_modes(backend, data_format):
    values = np.array([[1, 2], [3, 4]], "float32").reshape(arranged((1,), (2, 2), data_format))
    indices = np.array([[5, 5], [0, 5]]).reshape(values.shape)
    arguments = {"kernel_size": 2, "data_format": data_format}

    def cells(duplicates):
        return backend.call(unpool.max_unpool2d, values, indices, duplicates=duplicates, **arguments).reshape(-1)

    assert cells("last").tolist() == [3, 0, 0, 0, 0, 4] + [0] * 10
    assert cells("sum").tolist() == [3, 0, 0, 0, 0, 7] + [0] * 10
    if not backend.reports:
        return
    first, second = ("0, 0, 0", "0, 0, 1") if data_format == "channels_first" else ("0, 0, 0", "0, 1, 0")
    with pytest.raises(ValueError, match=re.escape(f"indices[{first}] = indices[{second}] = 5")):
        cells("error")


def test_one_cell_in_two_planes_is_no_duplicate(backend):
    indices = np.full((2, 3, 1, 1), 2)
    values = bits("float32", indices.shape)
    for data_format in FORMATS:
        moved = indices if data_format == "channels_first" else indices.reshape(2, 1, 1, 3)
        flat = values.reshape(moved.shape)
        actual = backend.call(unpool.max_unpool2d, flat, moved, 2, duplicates="error", data_format=data_format)
        assert_same_bits(actual, expected_of(flat, moved, (2, 2), "last", data_format))


# --- indices that are not from a pooling ------------------------------------------------------------------------------


STRAYED = {name: (POOLINGS[name], (3, 40)) for name in APART} | {
    "many planes": (pooling((60, 62), 2), (3, 40)),
    "one plane": (pooling((270, 265), 2), (1, 1)),  # several threads write parts of it
}


@every_format
@every_mode
@pytest.mark.parametrize("name", STRAYED)
def test_indices_that_left_their_window(backend, name, duplicates, data_format):
    """Most indices lie in their own windows; the others lie in other windows or in gaps."""
    case, leading = STRAYED[name]
    arguments = case.window | {"output_size": case.size, "duplicates": duplicates, "data_format": data_format}
    for share in (0.001, 0.05, 0.5):
        indices = pooled(case, leading, data_format).copy()
        rng = np.random.default_rng(1)
        strayed = rng.random(indices.shape) < share
        indices[strayed] = rng.integers(0, int(np.prod(case.size)), strayed.sum())
        values = bits("float32", indices.shape)
        last = data_format == "channels_last"
        repeated = oracle.first_repeated(indices, case.rank, last) if duplicates == "error" else None
        if repeated and backend.reports:
            with pytest.raises(ValueError, match=re.escape(f"{at(repeated[0])} = {at(repeated[1])} = ")):
                backend.call(case.function("max_unpool"), values, indices, **arguments)
            continue
        expected = expected_of(values, indices, case.size, duplicates, data_format)
        actual = backend.call(case.function("max_unpool"), values, indices, **arguments)
        assert_same(actual, expected, duplicates, backend)
        if backend.writes:
            out = np.full_like(expected, 7)
            actual = backend.call(case.function("max_unpool"), values, indices, **arguments, out=out)
            assert_same(actual, expected, duplicates, backend)


@every_format
@pytest.mark.parametrize("index_dtype", ["int64", "int32"])
def test_indices_outside_every_window(backend, index_dtype, data_format):
    """An index may name any cell of the plane, also in a gap or past the last window."""
    case = pooling((9, 11), 2, 4)
    shape = arranged((2, 3), (2, 3), data_format)
    gaps = [h * 11 + w for h in range(9) for w in range(11) if h % 4 > 1 or w % 4 > 1]
    indices = np.random.default_rng(0).choice(gaps, shape).astype(index_dtype)
    values = bits("float32", shape)
    arguments = {"output_size": (9, 11), "data_format": data_format}
    actual = backend.call(unpool.max_unpool2d, values, indices, 2, 4, **arguments)
    assert_same_bits(actual, expected_of(values, indices, case.size, "last", data_format))


# --- every memory order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "dtype"), laid_out(VALUES))
def test_every_memory_order_of_values(backend, layout, dtype):
    for data_format, duplicates in product(FORMATS, ("last", "sum")):
        case = POOLINGS["overlap and padding"]
        indices = pooled(case, (2, 3), data_format)
        values = whole(dtype, indices.shape) if duplicates == "sum" else bits(dtype, indices.shape)
        kept = values.copy()
        arguments = case.window | {"output_size": case.size, "duplicates": duplicates, "data_format": data_format}
        actual = backend.call(unpool.max_unpool2d, layout(values), indices, **arguments)
        assert_same_bits(actual, expected_of(values, indices, case.size, duplicates, data_format))
        assert_same_bits(values, kept)


@pytest.mark.parametrize(("layout", "dtype"), laid_out(POSITIONS))
def test_every_memory_order_of_indices(backend, layout, dtype):
    for data_format in FORMATS:
        case = POOLINGS["overlap and padding"]
        indices = pooled(case, (2, 3), data_format).astype(dtype)
        values = bits("float32", indices.shape)
        arguments = case.window | {"output_size": case.size, "data_format": data_format}
        actual = backend.call(unpool.max_unpool2d, values, layout(indices), **arguments)
        assert_same_bits(actual, expected_of(values, indices, case.size, "last", data_format))


@pytest.mark.parametrize("axis", range(4))
@last_and_sum
def test_repeated_without_being_copied(backend, axis, duplicates):
    """Values or indices have a stride of zero along one axis, as from numpy.broadcast_to."""
    case = POOLINGS["odd"]
    indices = pooled(case, (2, 3), "channels_first")
    values = bits("float32", indices.shape)
    arguments = {"output_size": case.size, "duplicates": duplicates}
    for v, i in (
        (np.broadcast_to(values.take([0], axis), values.shape), indices),
        (values, np.broadcast_to(indices.take([0], axis), values.shape)),
    ):
        actual = backend.call(unpool.max_unpool2d, v, i, 2, **arguments)
        assert_same(actual, expected_of(v, i, case.size, duplicates, "channels_first"), duplicates, backend)


@pytest.mark.parametrize("name", ["even", "odd", "overlap", "gaps and padding"])
@every_mode
def test_recycled_memory_is_zeroed(backend, name, duplicates):
    """A new output is zero wherever no value is put, also in memory that was used before."""
    case = POOLINGS[name]
    found = pooled(case, (2, 3), "channels_first")
    indices = unique(found.shape, int(np.prod(case.size)), 2, "channels_first")
    values = bits("float32", indices.shape)
    expected = expected_of(values, indices, case.size, duplicates, "channels_first")
    for _ in range(20):
        del_me = [np.full(expected.shape, 7, "float32") for _ in range(8)]
        del del_me
        arguments = case.window | {"output_size": case.size, "duplicates": duplicates}
        actual = backend.call(case.function("max_unpool"), values, indices, **arguments)
        assert_same(actual, expected, duplicates, backend)


# --- out= -------------------------------------------------------------------------------------------------------------


@needs_out
@every_format
@every_mode
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("name", ["even", "odd", "gaps and padding", "overlap and padding", "wide", "volume, odd"])
def test_out(backend, name, dtype, duplicates, data_format):
    case = POOLINGS[name]
    indices = pooled(case, (2, 3), data_format)
    if duplicates == "error" and "overlap" in name:
        indices = unique(indices.shape, int(np.prod(case.size)), 2, data_format)
    values = whole(dtype, indices.shape) if duplicates == "sum" else bits(dtype, indices.shape)
    arguments = case.window | {"output_size": case.size, "duplicates": duplicates, "data_format": data_format}
    function = case.function("max_unpool")
    expected = expected_of(values, indices, case.size, duplicates, data_format)
    assert_same_bits(backend.call(function, values, indices, **arguments), expected)
    for shift in range(4):
        guarded = Guarded(expected.shape, dtype, shift, backend)
        assert backend.run(function, values, indices, **arguments, out=guarded.array) is guarded.array
        assert_same_bits(guarded.written(), expected)
        assert guarded.intact()


@needs_out
def test_out_must_not_be_what_is_read(backend):
    kept = np.arange(4).reshape(1, 2, 2)
    indices, other = backend.asarray(kept.copy()), backend.asarray(kept + 4)
    with pytest.raises(ValueError, match="`out` must not share memory"):
        unpool.max_unpool2d(other, indices, 1, out=indices)
    with pytest.raises(ValueError, match="`out` must not share memory"):
        unpool.max_unpool2d(indices, other, 1, out=indices)
    assert_same_bits(backend.tonumpy(indices), kept)


# --- large -----------------------------------------------------------------------------------------------------------


@cache
def large(name, made, duplicates):
    """Return values, indices of a pooling or made by hand, and the planes that the oracle unpools."""
    case, leading, data_format = LARGE[name]
    indices = pooled(case, leading, data_format)
    if made == "by hand":
        indices = anywhere(indices.shape, int(np.prod(case.size)))
    values = bits("float32", indices.shape)
    expected = expected_of(values, indices, case.size, duplicates, data_format)
    assert expected.size > 2**16
    return values, indices, expected


@last_and_sum
@pytest.mark.parametrize("made", ["by pooling", "by hand"])
@pytest.mark.parametrize("name", LARGE)
def test_large(backend, name, made, duplicates):
    case, _, data_format = LARGE[name]
    values, indices, expected = large(name, made, duplicates)
    arguments = case.window | {"output_size": case.size, "duplicates": duplicates, "data_format": data_format}
    for index_dtype in ("int64", "int32"):
        actual = backend.call(case.function("max_unpool"), values, indices.astype(index_dtype), **arguments)
        assert_same(actual, expected, duplicates, backend)
