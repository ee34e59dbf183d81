"""Results do not depend on how the CPU kernels write: in blocks, into zeros, by streaming stores, or by threads."""

import itertools
import re

import numpy as np
import pytest
import unpool_backends.cpu
from threadpoolctl import threadpool_limits

import unpool
from unpool.testing import oracle
from unpool.testing.cases import DUPLICATES, FORMATS, POOLINGS, anywhere, bits, planes_of, pooled, pooling, unique
from unpool.testing.compare import Guarded, assert_same_bits, assert_same_numbers, at

pytestmark = pytest.mark.once  # the kernels of the wheel are the same

every_format = pytest.mark.parametrize("data_format", FORMATS)
every_mode = pytest.mark.parametrize("duplicates", DUPLICATES)

# Planes of several blocks each: the pooling, (batch, channels) or (channels,), and the data format.
SEVERAL = {
    "rows": (pooling((130, 121), 2), (2, 2), "channels_first"),
    "rows, output longer than its windows": (pooling((131, 122), 2, 3), (2,), "channels_first"),
    "pieces of rows": (pooling((7, 5001), 2), (2,), "channels_first"),
    "pieces of rows, many to a window": (pooling((17, 2100), 5), (1,), "channels_first"),
    "pieces of rows, gaps and padding": (pooling((10, 3001), (2, 3), (4, 5), 1), (2,), "channels_first"),
    "pieces of one row": (pooling((20_001,), 3), (1, 2), "channels_first"),
    "pieces of one row, dilated": (pooling((20_001,), 3, 5, 1, 2), (2,), "channels_first"),
    "depths": (pooling((7, 50, 61), 2), (1, 2), "channels_first"),
    "depths and pieces of rows": (pooling((5, 5, 2501), 2), (2,), "channels_first"),
    "many depths to a window": (pooling((13, 20, 41), (4, 2, 2)), (2,), "channels_first"),
    "channels": (pooling((31, 30), 2), (2, 70), "channels_last"),
    "channels, pieces": (pooling((7, 75), 2), (1, 67), "channels_last"),
    "channels, pieces and depths": (pooling((5, 5, 40), 2), (40,), "channels_last"),
    "channels, each window larger than a block": (pooling((13, 13), 6), (130,), "channels_last"),
    "more channels than a strip": (pooling((6, 5), 2), (2, 1500), "channels_last"),
    "threads share it": (pooling((401, 402), 2), (1,), "channels_first"),
    "threads share it, channels": (pooling((101, 102), 2), (20,), "channels_last"),
    "threads share it, one row": (pooling((300_001,), 2), (1,), "channels_first"),
    "threads share it, overlap": (pooling((401, 402), 3, 2), (1,), "channels_first"),
    "threads share it, one row of overlap": (pooling((200_001,), 3, 2), (1,), "channels_first"),
}
several = pytest.mark.parametrize(("case", "leading", "data_format"), SEVERAL.values(), ids=SEVERAL)


@pytest.fixture(params=["plain", "fresh", "streamed", "recycled"])
def way(request, monkeypatch):
    """Force each way of writing, whatever the size of the output."""
    monkeypatch.setattr(unpool_backends.cpu, "_LARGE", 0 if request.param == "recycled" else 1 << 62)
    monkeypatch.setattr(
        unpool_backends.cpu, "_PAST_CACHES", 0 if request.param in ("streamed", "recycled") else 1 << 62
    )
    if request.param == "fresh":
        monkeypatch.setattr(unpool_backends.cpu.CPU, "_new", lambda _, shape, dtype: (np.zeros(shape, dtype), True))
    return request.param


def rows_of(array, rank, data_format):
    """Return the planes as the rows of a matrix."""
    planes = planes_of(array, rank, data_format)
    return planes.reshape(int(np.prod(planes.shape[:-rank])), -1)


def scattered(values, indices, case, duplicates, data_format):
    """Unpool with NumPy alone: assignment keeps the last of repeated indices, and `add.at` adds in order."""
    shape = (*planes_of(values, case.rank, data_format).shape[: -case.rank], *case.size)
    planes = np.zeros(shape, values.dtype)
    rows = planes.reshape(-1, int(np.prod(case.size)))
    wanted = rows_of(indices, case.rank, data_format)
    at = np.arange(len(rows))[:, None], wanted
    with np.errstate(all="ignore"):
        if duplicates == "sum":
            np.add.at(rows, at, rows_of(values, case.rank, data_format))
        else:
            rows[at] = rows_of(values, case.rank, data_format)
    return arranged_as(planes, case.rank, data_format)


def taken(grad, indices, case, duplicates, data_format):
    cells, wanted = rows_of(grad, case.rank, data_format), rows_of(indices, case.rank, data_format)
    values = np.take_along_axis(cells, wanted, 1)
    if duplicates == "last":
        order = np.broadcast_to(np.arange(wanted.shape[1]), wanted.shape)
        winner = np.zeros(cells.shape, np.intp)
        winner[np.arange(len(cells))[:, None], wanted] = order
        values[np.take_along_axis(winner, wanted, 1) != order] = 0
    shape = planes_of(indices, case.rank, data_format).shape
    return arranged_as(values.reshape(shape), case.rank, data_format)


def arranged_as(planes, rank, data_format):
    return np.ascontiguousarray(np.moveaxis(planes, -rank - 1, -1)) if data_format == "channels_last" else planes


def own_indices(case, leading, data_format):
    x = bits("float32", case.shape(leading, data_format))
    return case.function("max_pool")(x, **case.arguments, return_indices=True, data_format=data_format)[1]


def strange(indices, cells, rank, data_format, stray):
    """Return the indices with one of each plane moved to a far cell; `stray` is its relative position, 0 to 1."""
    rows = rows_of(indices, rank, data_format).copy()
    at = int(stray * (rows.shape[1] - 1))
    rows[:, at] = np.where(rows[:, at] < cells // 2, cells - 1, 0)
    return arranged_as(rows.reshape(planes_of(indices, rank, data_format).shape), rank, data_format)


def assert_same(actual, expected, duplicates):
    (assert_same_numbers if duplicates == "sum" else assert_same_bits)(actual, expected)


@pytest.mark.parametrize("case", POOLINGS.values(), ids=POOLINGS)
@every_format
@every_mode
def test_every_shape(way, case, data_format, duplicates):
    cells = int(np.prod(case.size))
    own = pooled(case, (2, 3), data_format)
    by_hand = unique(own.shape, cells, case.rank, data_format) if duplicates == "error" else anywhere(own.shape, cells)
    for indices in own, by_hand:
        if duplicates == "error" and oracle.first_repeated(indices, case.rank, data_format == "channels_last"):
            continue
        values = bits("float32", indices.shape)
        arguments = case.window | {"output_size": case.size, "duplicates": duplicates, "data_format": data_format}
        expected = oracle.max_unpool(values, indices, case.size, duplicates, data_format == "channels_last")
        call = case.function("max_unpool")
        assert_same(call(values, indices, **arguments), expected, duplicates)
        out = np.full(expected.shape, 5, "float32")
        assert_same(call(values, indices, **arguments, out=out), expected, duplicates)


@pytest.mark.one_in(4)  # a case takes a twentieth of a second, and there are 320
@several
@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("duplicates", ["last", "sum"])
def test_several_blocks(way, case, leading, data_format, threads, duplicates):
    """Indices in their own windows; the same with one in another block, early or late; and random ones."""
    own, cells = own_indices(case, leading, data_format), int(np.prod(case.size))
    values = bits("float32", own.shape)
    arguments = case.window | {"output_size": case.size, "duplicates": duplicates, "data_format": data_format}
    strays = [strange(own, cells, case.rank, data_format, stray) for stray in (0, 0.3, 1)]
    for indices, dtype in zip((own, *strays, anywhere(own.shape, cells)), itertools.cycle(["int64", "int32"])):
        expected = scattered(values, indices, case, duplicates, data_format)
        guarded = Guarded(expected.shape, "float32", threads)
        with threadpool_limits(threads, user_api="openmp"):
            actual = case.function("max_unpool")(values, indices.astype(dtype), **arguments)
            case.function("max_unpool")(values, indices.astype(dtype), **arguments, out=guarded.array)
        assert_same(actual, expected, duplicates)
        assert_same(guarded.array, expected, duplicates)
        assert guarded.intact()


@several
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float64", "complex128"])
def test_several_blocks_of_every_width(way, case, leading, data_format, dtype):
    own = own_indices(case, leading, data_format)
    values = bits(dtype, own.shape)
    expected = scattered(values, own, case, "last", data_format)
    arguments = case.window | {"output_size": case.size, "data_format": data_format}
    guarded = Guarded(expected.shape, dtype, 3)
    case.function("max_unpool")(values, own, **arguments, out=guarded.array)
    assert_same_bits(guarded.array, expected)
    assert guarded.intact()
    assert_same_bits(
        case.function("max_unpool_backward")(expected, own, **case.window, data_format=data_format),
        taken(expected, own, case, "last", data_format),
    )


@pytest.mark.one_in(4)  # a case takes a twentieth of a second, and there are 160
@several
@pytest.mark.parametrize("threads", [1, 5])
def test_bad_indices_of_several_blocks(way, case, leading, data_format, threads):
    """The error names the first bad index wherever it is, and nothing is written outside the planes."""
    own, cells = own_indices(case, leading, data_format), int(np.prod(case.size))
    values = bits("float32", own.shape)
    guarded = Guarded(case.shape(leading, data_format), "float32", 1)
    arguments = case.window | {"output_size": case.size, "data_format": data_format, "out": guarded.array}
    for stray, value in zip((0, 0.4, 1, 0.7), (-1, cells, 1 << 40, -(1 << 40)), strict=True):
        indices = own.copy()
        indices.flat[int(stray * (own.size - 1)) :: 7] = value
        position = np.unravel_index(int(stray * (own.size - 1)), own.shape)
        message = re.escape(f"{at(position)} = {value} is out of range")
        for duplicates in DUPLICATES:
            with threadpool_limits(threads, user_api="openmp"), pytest.raises(IndexError, match=message):
                case.function("max_unpool")(values, indices, **arguments, duplicates=duplicates)
            assert guarded.intact()
            with threadpool_limits(threads, user_api="openmp"), pytest.raises(IndexError, match=message):
                case.function("max_unpool_backward")(
                    guarded.array, indices, **case.window, data_format=data_format, duplicates=duplicates
                )


@several
def test_repeated_indices_of_several_blocks(way, case, leading, data_format):
    own, cells = own_indices(case, leading, data_format), int(np.prod(case.size))
    indices = strange(own, cells, case.rank, data_format, 0.3)
    values = bits("float32", own.shape)
    arguments = case.window | {"data_format": data_format, "duplicates": "error"}
    size = {"output_size": case.size}
    repeated = oracle.first_repeated(indices, case.rank, data_format == "channels_last")
    for threads in 1, 5:
        with threadpool_limits(threads, user_api="openmp"):
            if repeated is None:
                expected = scattered(values, indices, case, "last", data_format)
                assert_same_bits(case.function("max_unpool")(values, indices, **arguments, **size), expected)
                actual = case.function("max_unpool_backward")(expected, indices, **arguments)
                assert_same_bits(actual, taken(expected, indices, case, "last", data_format))
                continue
            message = re.escape(f"{at(repeated[0])} = {at(repeated[1])} = ")
            with pytest.raises(ValueError, match=message):
                case.function("max_unpool")(values, indices, **arguments, **size)
            grad = bits("float32", case.shape(leading, data_format))
            with pytest.raises(ValueError, match=message):
                case.function("max_unpool_backward")(grad, indices, **arguments)


@several
@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("duplicates", ["last", "sum"])
def test_gradients_of_several_blocks(case, leading, data_format, threads, duplicates):
    own, cells = own_indices(case, leading, data_format), int(np.prod(case.size))
    grad = bits("float32", case.shape(leading, data_format))
    arguments = case.window | {"duplicates": duplicates, "data_format": data_format}
    strays = [strange(own, cells, case.rank, data_format, stray) for stray in (0, 0.3, 1)]
    for indices, dtype in zip((own, *strays, anywhere(own.shape, cells)), itertools.cycle(["int64", "int32"])):
        expected = taken(grad, indices, case, duplicates, data_format)
        guarded = Guarded(expected.shape, "float32", threads)
        with threadpool_limits(threads, user_api="openmp"):
            case.function("max_unpool_backward")(grad, indices.astype(dtype), **arguments, out=guarded.array)
        assert_same_bits(guarded.array, expected)
        assert guarded.intact()


@several
def test_pooling_several_blocks(case, leading, data_format):
    """Any number of threads may share a plane, or one row."""
    x = bits("float32", case.shape(leading, data_format))
    found = []
    for threads in 1, 5:
        with threadpool_limits(threads, user_api="openmp"):
            found.append(case.function("max_pool")(x, **case.arguments, return_indices=True, data_format=data_format))
    for one, five in zip(*found, strict=True):
        assert_same_bits(five, one)
    values, indices = found[0]
    assert_same_bits(values, taken(x, indices, case, "sum", data_format))


@pytest.mark.parametrize(
    ("stride", "size", "dtype"),
    [
        ((2**30, 2**30), (1, 1), "complex128"),
        ((2**30, 2**30, 1), (1, 1, 4), "float32"),
        ((2**31 - 1, 2**31 - 1, 1), (20, 30, 5001), "uint8"),
        ((2**31 - 1, 2**31 - 1, 2**31 - 1), (20, 30, 50), "float64"),
        ((2**31 - 1, 1, 2**31 - 1), (20, 1, 5001), "int16"),
    ],
)
@pytest.mark.parametrize("threads", [1, 5])
def test_strides_whose_product_is_more_than_64_bits(way, stride, size, dtype, threads):
    """Such strides reach past any plane, so the size of a block must not follow from their product."""
    rank = len(stride)
    values = bits(dtype, (2, *(cells if step == 1 else 1 for cells, step in zip(size, stride, strict=True))))
    expected = np.zeros((2, *size), dtype)
    expected[(slice(None), *(slice(None) if step == 1 else slice(1) for step in stride))] = values
    indices = np.broadcast_to(np.arange(values[0].size).reshape(values[0].shape), values.shape)
    guarded = Guarded(expected.shape, dtype, 1)
    call = getattr(unpool, f"max_unpool{rank}d")
    with threadpool_limits(threads, user_api="openmp"):
        actual = call(values, indices, 1, stride, output_size=size)
        call(values, indices, 1, stride, output_size=size, out=guarded.array)
    assert_same_bits(actual, expected)
    assert_same_bits(guarded.array, expected)
    assert guarded.intact()
