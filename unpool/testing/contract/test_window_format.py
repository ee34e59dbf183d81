"""With ``index_format="window"`` an index is a tap of its own window; every call gives the same numbers.

The expected taps and cells come from the oracle, which lists the taps of every window.
"""

import re
from itertools import product

import numpy as np
import pytest

import unpool
from unpool.testing import oracle
from unpool.testing.arrays import needs_out, needs_reports, needs_taps
from unpool.testing.cases import (
    DUPLICATES,
    FORMATS,
    INTEGERS,
    LARGE,
    LAYOUTS,
    POOLINGS,
    REALS,
    VALUES,
    arranged,
    bits,
    crowded,
    laid_out,
    pooled,
    pooled_taps,
    pooling,
    solved,
    whole,
)
from unpool.testing.compare import Guarded, assert_same_bits, assert_same_sums, at

pytestmark = needs_taps
WINDOW = {"index_format": "window"}
# Windows of more taps than a byte, and than two, can number.
WIDE = {
    "257 taps": pooling((260,), 257, 1),
    "300 taps, padding": pooling((40, 30), (20, 15), 7, (10, 7)),
    "70000 taps": pooling((6, 5), (280, 250), (4, 8), (140, 125)),
}
every_pooling = pytest.mark.parametrize("case", (POOLINGS | WIDE).values(), ids=POOLINGS | WIDE)
every_format = pytest.mark.parametrize("data_format", FORMATS)
every_leading = pytest.mark.parametrize("leading", [(2, 3), (3,)], ids=["batch", "no batch"])
every_mode = pytest.mark.parametrize("duplicates", DUPLICATES)
last_and_sum = pytest.mark.parametrize("duplicates", ["last", "sum"])


def random_taps(case, leading, data_format, seed=0):
    """Return the taps of random cells of each window, most of which are not its maximum, and these cells."""
    rng, last = np.random.default_rng(seed), data_format == "channels_last"
    shape = pooled(case, leading, data_format).shape
    taps = rng.integers(0, case.taps, shape)
    cells = oracle.cells(taps, *case, channels_last=last)
    found = pooled_taps(case, leading, data_format)
    taps = np.where(cells < 0, found, taps).astype(case.tap_dtype)
    return taps, oracle.cells(taps, *case, channels_last=last)


def planes_shape(case, indices, data_format):
    rank = case.rank
    leading = indices.shape[:-rank]
    if data_format == "channels_last":
        leading = (*indices.shape[: -rank - 1], indices.shape[-1])
    return arranged(leading, case.size, data_format)


def check_moves(backend, case, values, taps, cells, data_format, duplicates, layout=np.asarray):
    """Unpool by taps, and take the gradient, and compare both with the oracle's by cells."""
    last = data_format == "channels_last"
    named = case.window | WINDOW | {"data_format": data_format, "duplicates": duplicates}
    planes = backend.call(case.function("max_unpool"), layout(values), layout(taps), **named, output_size=case.size)
    assert_same(backend, planes, oracle.max_unpool(values, cells, case.size, duplicates, last), duplicates)
    grad = bits(values.dtype, planes.shape, 5)
    taken = backend.call(case.function("max_unpool_backward"), layout(grad), layout(taps), **named)
    assert_same_bits(taken, oracle.max_unpool_backward(grad, cells, case.rank, duplicates, last))


def assert_same(backend, actual, expected, duplicates):
    if duplicates == "sum":
        assert_same_sums(backend, actual, expected)
    else:
        assert_same_bits(actual, expected)


# --- pooling ----------------------------------------------------------------------------------------------------------


@every_pooling
@every_format
@every_leading
def test_pooling(backend, case, data_format, leading):
    x, expected, _ = solved(case, leading, data_format)
    taps = pooled_taps(case, leading, data_format)
    for index_dtype in (None, "int32", "int64"):
        named = case.arguments | WINDOW | {"data_format": data_format, "index_dtype": index_dtype}
        values, indices = backend.call(case.function("max_pool"), x, return_indices=True, **named)
        assert_same_bits(values, expected)
        assert_same_bits(indices, taps.astype(index_dtype or taps.dtype))


@every_format
@pytest.mark.parametrize("make", [crowded, bits])
@pytest.mark.parametrize("dtype", REALS, ids=str)
def test_pooling_every_dtype(backend, dtype, make, data_format):
    for case in (POOLINGS["overlap and padding"], POOLINGS["wide"], POOLINGS["volume, dilated, ceil"]):
        x = make(dtype, case.shape((2, 3), data_format))
        values, indices = case.pool(x, data_format)
        taps = oracle.taps(indices, *case, channels_last=data_format == "channels_last").astype("uint8")
        named = case.arguments | WINDOW | {"return_indices": True, "data_format": data_format}
        actual = backend.call(case.function("max_pool"), x, **named)
        assert_same_bits(actual[0], values)
        assert_same_bits(actual[1], taps)


@every_format
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 0), (3, 3, 0), (16, 3, 8)])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_every_width(backend, data_format, kernel, stride, padding, dtype):
    """Kernels that work on several elements at a time do the rest one by one, and select only in long rows."""
    for width in backend.some([*range(max(3, kernel - padding), 40), 67, 100, 133]):
        case = pooling((max(5, kernel - padding), width), kernel, stride, padding)
        x = crowded(dtype, case.shape((2,), data_format), width)
        values, indices = case.pool(x, data_format)
        taps = oracle.taps(indices, *case, channels_last=data_format == "channels_last").astype("uint8")
        named = case.window | WINDOW | {"return_indices": True, "data_format": data_format}
        actual = backend.call(unpool.max_pool2d, x, **named)
        assert_same_bits(actual[0], values)
        assert_same_bits(actual[1], taps)
        for duplicates in ("last", "sum"):
            check_moves(backend, case, values, taps, indices, data_format, duplicates)


def test_every_number_of_channels(backend):
    for channels in backend.some(range(1, 70)):
        case = pooling((4, 5), 2, 1)
        taps, cells = random_taps(case, (channels,), "channels_last", channels)
        for duplicates in ("last", "sum"):
            check_moves(backend, case, bits("float32", taps.shape, channels), taps, cells, "channels_last", duplicates)


@pytest.mark.parametrize("name", LARGE)
def test_large(backend, name):
    case, leading, data_format = LARGE[name]
    x, values, indices = solved(case, leading, data_format)
    taps = pooled_taps(case, leading, data_format)
    named = case.window | WINDOW | {"return_indices": True, "data_format": data_format}
    actual = backend.call(case.function("max_pool"), x, **named)
    assert_same_bits(actual[0], values)
    assert_same_bits(actual[1], taps)
    for duplicates in ("last", "sum"):
        check_moves(backend, case, values, taps, indices, data_format, duplicates)


# --- unpooling and gradients ------------------------------------------------------------------------------------------


@every_pooling
@every_format
@every_leading
@every_mode
def test_unpooling(backend, case, data_format, leading, duplicates):
    candidates = [
        (pooled_taps(case, leading, data_format), pooled(case, leading, data_format)),
        random_taps(case, leading, data_format),
    ]
    if duplicates == "error":
        last = data_format == "channels_last"
        candidates = [pair for pair in candidates if oracle.first_repeated(pair[1], case.rank, last) is None]
    for taps, cells in candidates:
        for dtype in (taps.dtype, "int64"):
            values = bits("float32", taps.shape)
            check_moves(backend, case, values, taps.astype(dtype), cells, data_format, duplicates)


def test_a_sum_is_taken_in_row_major_order(backend):
    """Four windows name one cell. In float32, 2**24 + 1 is 2**24, and (1 + 1) + 2**24 is 2**24 + 2."""
    case, taps = pooling((11,), 4, 1, 2, 2), np.array([[3, 3, 2, 2, 1, 1, 0, 0, 1]])
    for large in (0, 6):
        values = np.ones(taps.shape, "float32")
        values[0, large] = 2**24
        check_moves(backend, case, values, taps, oracle.cells(taps, *case), "channels_first", "sum")


@every_format
@every_mode
@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_every_dtype(backend, dtype, duplicates, data_format):
    names = ("even", "volume, odd") if duplicates == "error" else ("even", "overlap and padding", "volume, same")
    for name in names:
        taps, cells = random_taps(POOLINGS[name], (2, 3), data_format)
        values = bits(dtype, taps.shape)
        check_moves(backend, POOLINGS[name], values, taps, cells, data_format, duplicates)


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_every_dtype_of_taps(backend, dtype):
    for name, data_format in product(("even", "overlap and padding"), FORMATS):
        taps, cells = random_taps(POOLINGS[name], (2, 3), data_format)
        values = bits("float32", taps.shape)
        check_moves(backend, POOLINGS[name], values, taps.astype(dtype), cells, data_format, "last")


@every_pooling
@every_format
def test_gradient_of_pooling(backend, case, data_format):
    taps, cells = random_taps(case, (2, 3), data_format)
    grad = whole("float32", taps.shape)
    named = case.window | WINDOW | {"data_format": data_format, "input_size": case.size}
    actual = backend.call(case.function("max_pool_backward"), grad, taps, **named)
    assert_same_sums(backend, actual, oracle.max_pool_backward(grad, cells, case.size, data_format == "channels_last"))


@pytest.mark.parametrize(("layout", "dtype"), laid_out(["uint8", "uint16", "int64"]))
def test_every_memory_order(backend, layout, dtype):
    for data_format in FORMATS:
        case = POOLINGS["overlap and padding"]
        taps, cells = random_taps(case, (2, 3), data_format)
        values = bits("float32", taps.shape)
        check_moves(backend, case, values, taps.astype(dtype), cells, data_format, "last", layout)


@every_format
@every_mode
def test_no_samples(backend, duplicates, data_format):
    shape = arranged((0, 3), (3, 4), data_format)
    named = {"duplicates": duplicates, "data_format": data_format} | WINDOW
    actual = backend.call(unpool.max_unpool2d, np.empty(shape, "float32"), np.empty(shape, "uint8"), 2, **named)
    assert actual.shape == arranged((0, 3), (6, 8), data_format)


def test_the_size_does_not_matter(backend):
    """Plane indices of one width shear the picture in another width; taps put values into their own windows."""
    x = crowded("float32", (1, 2, 6, 7))
    values, taps = backend.call(unpool.max_pool2d, x, 2, return_indices=True, **WINDOW)
    narrow = backend.call(unpool.max_unpool2d, values, taps, 2, output_size=(6, 6), **WINDOW)
    wide = backend.call(unpool.max_unpool2d, values, taps, 2, output_size=(7, 7), **WINDOW)
    assert_same_bits(narrow, np.ascontiguousarray(wide[:, :, :6, :6]))


# --- out= -------------------------------------------------------------------------------------------------------------


@needs_out
@every_format
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["even", "odd", "overlap and padding", "gaps and padding", "wide", "volume, odd"])
def test_out(backend, name, dtype, data_format):
    case, last = POOLINGS[name], data_format == "channels_last"
    x = crowded(dtype, case.shape((2, 3), data_format))
    values, indices = case.pool(x, data_format)
    taps = oracle.taps(indices, *case, channels_last=last).astype("uint8")
    named = WINDOW | {"data_format": data_format}
    for shift in range(4):
        guarded = [Guarded(values.shape, kind, shift, backend) for kind in (dtype, "uint8")]
        out = tuple(guard.array for guard in guarded)
        backend.run(case.function("max_pool"), x, **case.arguments, **named, return_indices=True, out=out)
        assert_same_bits(guarded[0].written(), values)
        assert_same_bits(guarded[1].written(), taps)
        assert all(guard.intact() for guard in guarded)
        for duplicates in ("last", "sum"):
            more = case.window | named | {"duplicates": duplicates}
            plane, taken = Guarded(x.shape, dtype, shift, backend), Guarded(values.shape, dtype, shift, backend)
            backend.run(case.function("max_unpool"), values, taps, **more, output_size=case.size, out=plane.array)
            expected = oracle.max_unpool(values, indices, case.size, duplicates, last)
            assert_same(backend, plane.written(), expected, duplicates)
            backend.run(case.function("max_unpool_backward"), x, taps, **more, out=taken.array)
            expected = oracle.max_unpool_backward(x, indices, case.rank, duplicates, last)
            assert_same_bits(taken.written(), expected)
            assert plane.intact()
            assert taken.intact()


@needs_out
def test_out_of_a_wrong_dtype(backend):
    x = np.ones((1, 2, 4, 4), "float32")
    out = tuple(backend.asarray(np.empty((1, 2, 2, 2), dtype)) for dtype in ("float32", "int64"))
    with pytest.raises(ValueError, match=re.escape("`out[1]` must have shape (1, 2, 2, 2) and dtype uint8")):
        backend.run(unpool.max_pool2d, x, 2, return_indices=True, out=out, **WINDOW)


# --- bad taps ---------------------------------------------------------------------------------------------------------

CALLS = [("max_unpool", mode) for mode in DUPLICATES] + [("max_unpool_backward", mode) for mode in DUPLICATES]
every_call = pytest.mark.parametrize(("name", "duplicates"), [*CALLS, ("max_pool_backward", None)])


def check_bad(backend, case, taps, data_format, name, duplicates):
    """Make a call with bad taps: the first one is reported, or all are dropped, and no other memory changes."""
    last = data_format == "channels_last"
    cells = oracle.cells(taps, *case, channels_last=last)
    named = case.window | WINDOW | {"data_format": data_format}
    if name != "max_pool_backward":
        named["duplicates"] = duplicates
    if name != "max_unpool_backward":
        named["input_size" if name == "max_pool_backward" else "output_size"] = case.size
    gathers = name == "max_unpool_backward"
    given = whole("float32", planes_shape(case, taps, data_format) if gathers else taps.shape)
    if not backend.reports:
        found = backend.call(case.function(name), given, taps, **named)
        mode = {"error": "last", None: "sum"}.get(duplicates, duplicates)
        expected = oracle.dropped(given, cells, cells >= 0, case.size, mode, gathers, last)
        assert_same(backend, found, expected, mode)
        return
    first = next(place for place in np.ndindex(cells.shape) if cells[place] < 0)
    text = f"{at(first)} = {taps[first]} is no tap of its window in an output plane of "
    more = f": expected a tap from 0 to {case.taps - 1} that is not in the padding, with kernel_size={case.kernel}, "
    if backend.writes:
        written = Guarded(taps.shape if gathers else planes_shape(case, taps, data_format), "float32", 1, backend)
        with pytest.raises(IndexError, match=re.escape(text)):
            backend.run(case.function(name), given, taps, **named, out=written.array)
        assert written.intact()
    with pytest.raises(IndexError, match=re.escape(text)) as caught:
        backend.call(case.function(name), given, taps, **named)
    assert more in str(caught.value)


BAD = {
    "int8": [-1, -128, 127],
    "uint8": [4, 5, 255],
    "uint16": [4, 256, 2**16 - 1],
    "int32": [-1, 4, 256, 257, -(2**31), 2**31 - 1],
    "int64": [-1, 4, 2**8 + 1, 2**32, 2**32 + 1, 1 - 2**32, -(2**63), 2**63 - 1],
    "uint64": [4, 2**32 + 1, 2**63, 2**64 - 1],
}


@every_format
@every_call
@pytest.mark.parametrize("dtype", BAD)
def test_no_such_tap(backend, dtype, name, duplicates, data_format):
    case = POOLINGS["even"]
    for bad, flat in product(BAD[dtype], (0, -1)):
        taps = pooled_taps(case, (2, 3), data_format).astype(dtype)
        taps[tuple(flat % size for size in taps.shape)] = bad
        check_bad(backend, case, taps, data_format, name, duplicates)


@every_format
@every_call
@pytest.mark.parametrize("name_of_case", ["row, overlap and padding", "overlap and padding", "gaps and padding"])
def test_a_tap_in_the_padding(backend, name_of_case, name, duplicates, data_format):
    """The first and the last window have taps before and behind the plane."""
    case = POOLINGS[name_of_case]
    for flat, tap in ((0, 0), (-1, case.taps - 1)):
        taps = pooled_taps(case, (2, 3), data_format).copy()
        taps[tuple(flat % size for size in taps.shape)] = tap
        if (oracle.cells(taps, *case, channels_last=data_format == "channels_last") < 0).any():
            check_bad(backend, case, taps, data_format, name, duplicates)


@every_call
@every_format
@pytest.mark.parametrize("case", (POOLINGS | WIDE).values(), ids=POOLINGS | WIDE)
def test_many_bad_taps(backend, case, name, duplicates, data_format):
    """Random numbers, most of which are no taps inside the plane: the first bad one is reported."""
    shape = pooled(case, (2, 3), data_format).shape
    taps = np.random.default_rng(1).integers(0, case.taps + 2, shape).astype("int32")
    taps.reshape(-1)[taps.size // 2] = case.taps
    check_bad(backend, case, taps, data_format, name, duplicates)
    if case.taps <= 254:
        check_bad(backend, case, taps.astype("uint8"), data_format, name, duplicates)


@needs_reports
@every_format
@pytest.mark.parametrize("name", ["max_unpool", "max_unpool_backward"])
@pytest.mark.parametrize("name_of_case", ["row, overlap and padding", "overlap and padding", "volume, dilated, ceil"])
def test_a_repeated_cell(backend, name_of_case, name, data_format):
    case, last = POOLINGS[name_of_case], data_format == "channels_last"
    taps, cells = random_taps(case, (2, 3), data_format)
    repeated = oracle.first_repeated(cells, case.rank, last)
    given = whole("float32", taps.shape if name == "max_unpool" else planes_shape(case, taps, data_format))
    size = {"output_size": case.size} if name == "max_unpool" else {}
    named = case.window | WINDOW | size | {"data_format": data_format, "duplicates": "error"}
    if repeated is None:
        backend.call(case.function(name), given, taps, **named)
        return
    text = f"got {at(repeated[0])} and {at(repeated[1])}, which are taps at one cell"
    with pytest.raises(ValueError, match=re.escape(text)):
        backend.call(case.function(name), given, taps, **named)


@pytest.mark.parametrize("layout", LAYOUTS[:2])
def test_bytes_need_the_word(backend, layout):
    taps = layout(np.ones((1, 2, 2, 2), "uint8"))
    for function in (unpool.max_unpool2d, unpool.max_unpool2d_backward):
        with pytest.raises(TypeError, match=re.escape('pass index_format="window"')):
            backend.call(function, np.ones((1, 2, 2, 2), "float32"), taps, 2)
