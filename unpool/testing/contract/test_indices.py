"""The first wrong index in row-major order is reported, and none is followed: no memory around `out` changes."""

import re
from itertools import product

import numpy as np
import pytest

import unpool
from unpool.testing import oracle
from unpool.testing.arrays import needs_reports
from unpool.testing.cases import FORMATS, POOLINGS, arranged, bits, planes_of, pooled, pooling, unique, whole
from unpool.testing.compare import Guarded, assert_same_bits, at

every_format = pytest.mark.parametrize("data_format", FORMATS)
# Every call that takes indices: unpooling and its gradient in each mode, and the gradient of pooling.
CALLS = ["last", "sum", "error", "pool_backward", "last backward", "sum backward", "error backward"]
every_call = pytest.mark.parametrize("call", CALLS)


def assert_error(backend, error, text, case, values, indices, data_format, call, *, untouched=None):
    """Make a call with `out` and without it: both must raise, and leave the memory around `out` alone.

    `untouched` is a byte that occurs only in elements that must not be moved.
    """
    backward = call.endswith("backward")
    name = "max_pool_backward" if call == "pool_backward" else "max_unpool_backward" if backward else "max_unpool"
    last = data_format == "channels_last"
    leading = (*indices.shape[: -case.rank - 1], indices.shape[-1]) if last else indices.shape[: -case.rank]
    planes = arranged(leading, case.size, data_format)
    arguments = case.window | {"data_format": data_format}
    if call == "pool_backward":
        arguments["input_size"] = case.size
    else:
        arguments["duplicates"] = call.partition(" ")[0]
        if not backward:
            arguments["output_size"] = case.size
    gathers = backward and call != "pool_backward"
    given = np.ones(planes, values.dtype) if gathers else values
    if not backend.reports:
        found = backend.call(case.function(name), given, indices, **arguments)
        mode = "sum" if call == "pool_backward" or call.startswith("sum") else "last"
        cells = int(np.prod(case.size))
        kept = np.array([0 <= int(index) < cells for index in indices.reshape(-1)]).reshape(indices.shape)
        assert_same_bits(found, oracle.dropped(given, indices, kept, case.size, mode, gathers, last))
        return
    if not backend.writes:
        with pytest.raises(error) as caught:
            backend.call(case.function(name), given, indices, **arguments)
        assert text in str(caught.value)
        return
    written = Guarded(indices.shape if gathers else planes, values.dtype, 1, backend)
    for out in (written.array, None):  # first with guards, where a bug does no harm
        with pytest.raises(error) as caught:
            backend.run(case.function(name), given, indices, **arguments, out=out)
        assert text in str(caught.value)
    assert written.intact()
    if untouched is not None and not gathers:
        assert untouched not in written.written()


PLANES = {
    "few": (pooling((8, 9), 2), (2, 3)),
    "many": (pooling((24, 26), 2), (8, 70)),  # enough channels for several threads, also channels last
    "one": (pooling((300, 280), 2), (1, 1)),
}
every_planes = pytest.mark.parametrize("name", PLANES)


# --- out of range -----------------------------------------------------------------------------------------------------


@needs_reports
def test_the_message(backend):
    """The message is the one in the design."""
    indices = np.arange(2 * 4 * 4 * 4).reshape(2, 4, 4, 4) % 16
    indices[1, 3, 0, 2] = 64
    text = "indices[1, 3, 0, 2] = 64 is out of range for an output plane of 8 x 8: expected 0..63"
    with pytest.raises(IndexError, match=re.escape(text)):
        backend.call(unpool.max_unpool2d, indices, indices, 2)


CELLS = 6 * 8
BAD = {
    "int8": [-1, -128, CELLS, 127],
    "int16": [-1, CELLS, 2**8, 2**8 + 3],
    "int32": [-1, CELLS, CELLS + 1, 2**16 + 3, -(2**31), 2**31 - 1],
    "int64": [-1, -CELLS, CELLS, 2**32, 2**32 + 3, 3 - 2**32, 2**31, -(2**63), 2**63 - 1],
    "uint32": [CELLS, 2**31 + 3, 2**32 - 1],
    "uint64": [CELLS, 2**32 + 3, 2**63, 2**63 + 3, 2**64 - 1],
}


@every_format
@every_call
@pytest.mark.parametrize("dtype", BAD)
def test_a_bad_index_is_reported_and_not_followed(backend, dtype, call, data_format):
    """The index is the first or the last of the array, where a wrong access leaves the planes."""
    case = POOLINGS["even"]
    valid = pooled(case, (2, 3), data_format).astype(dtype)
    for bad, flat in product(BAD[dtype], (0, valid.size - 1)):
        position = tuple(map(int, np.unravel_index(flat, valid.shape)))
        indices, values = valid.copy(), np.ones(valid.shape, "uint8")
        indices[position], values[position] = bad, 77
        text = f"{at(position)} = {bad} is out of range for an output plane of 6 x 8: expected 0..47"
        assert_error(backend, IndexError, text, case, values, indices, data_format, call, untouched=77)


@every_call
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["row", "overlap and padding", "gaps", "volume, odd"])
def test_a_bad_index_in_every_kind_of_plane(backend, name, dtype, call):
    case = POOLINGS[name]
    cells = int(np.prod(case.size))
    for data_format, bad in product(FORMATS, (-1, cells, 2**32 + 3, -(2**63), 2**63 - 1)):
        found = pooled(case, (2, 3), data_format)
        indices = unique(found.shape, cells, case.rank, data_format)
        values = np.ones(indices.shape, dtype)
        position = tuple(int(size) // 2 for size in indices.shape)
        indices[position], values[position] = bad, 77
        text = f"{at(position)} = {bad} is out of range"
        assert_error(backend, IndexError, text, case, values, indices, data_format, call, untouched=77)
        text = f": expected 0..{cells - 1};"
        assert_error(backend, IndexError, text, case, values, indices, data_format, call, untouched=77)


@every_format
@every_call
@every_planes
def test_the_first_bad_index_in_row_major_order_is_reported(backend, name, call, data_format):
    """The report does not depend on the plane that a thread reads first."""
    case, leading = PLANES[name]
    valid = pooled(case, leading, data_format)
    cells = int(np.prod(case.size))
    for seed in range(3):
        rng = np.random.default_rng(seed)
        indices, values = valid.copy(), np.ones(valid.shape, "uint8")
        where = rng.choice(indices.size, 5, replace=False)
        indices.reshape(-1)[where] = rng.choice([-1, cells, 2**32 + 3, -(2**63), 2**63 - 1], 5)
        values.reshape(-1)[where] = 77
        first = oracle.first_bad(indices, cells)
        text = f"{at(first)} = {indices[first]} is out of range"
        assert_error(backend, IndexError, text, case, values, indices, data_format, call, untouched=77)


@every_format
@every_planes
@pytest.mark.parametrize("call", ["error", "error backward"])
@pytest.mark.parametrize("bad_first", [False, True])
def test_a_bad_index_goes_before_a_repeated_one(backend, name, bad_first, call, data_format):
    """If an index is bad and another one repeats, the error is an IndexError, at any two places."""
    case, leading = PLANES[name]
    indices = pooled(case, leading, data_format).copy()
    planes = planes_of(indices, case.rank, data_format)
    if bad_first:
        planes[0, 0].flat[0] = -1
        planes[-1, -1].flat[-1] = planes[-1, -1].flat[-2]
    else:
        planes[0, 0].flat[1] = planes[0, 0].flat[0]
        planes[-1, -1].flat[-1] = -1
    position = oracle.first_bad(indices, int(np.prod(case.size)))
    text = f"{at(position)} = -1 is out of range"
    assert_error(backend, IndexError, text, case, np.ones(indices.shape, "uint8"), indices, data_format, call)


# --- repeated ---------------------------------------------------------------------------------------------------------


@every_format
@every_planes
@pytest.mark.parametrize("seed", range(4))
def test_error_names_the_first_repeated_index_and_where_it_stood_before(backend, name, seed, data_format):
    """The order is the row-major order of the array, which interleaves the planes if the channels are last."""
    case, leading = PLANES[name]
    indices = pooled(case, leading, data_format).copy()
    rng = np.random.default_rng(seed)
    planes = planes_of(indices, case.rank, data_format)
    for _ in range(6):
        plane = planes[tuple(rng.integers(planes.shape[: -case.rank]))]
        one, other = rng.choice(plane.size, 2, replace=False)
        plane.flat[other] = plane.flat[one]
    first, second = oracle.first_repeated(indices, case.rank, data_format == "channels_last")
    assert_error(
        backend,
        ValueError,
        f"{at(first)} = {at(second)} = {indices[first]}",
        case,
        whole("float32", indices.shape),
        indices,
        data_format,
        "error",
    )


@needs_reports
def test_error_names_the_first_of_three(backend):
    indices = np.array([[7, 1, 7, 1, 7]])
    with pytest.raises(ValueError, match=re.escape("indices[0, 0] = indices[0, 2] = 7:")):
        backend.call(unpool.max_unpool1d, indices, indices, 2, duplicates="error")


# The kernel finds repeated indices in maps of 2**22 cells.  These planes need several, with cells at each border.
SPAN = 2**22


def huge(channels, data_format):
    """Return a pooling of planes of 5.3 million cells to 100 windows, and indices without a repeat."""
    case = pooling((2300, 2300), 230)
    return case, unique(arranged((channels,), (10, 10), data_format), 2300 * 2300, 2, data_format)


@every_format
@pytest.mark.parametrize("channels", [1, 3])
def test_no_duplicates_in_a_huge_plane(backend, channels, data_format):
    case, indices = huge(channels, data_format)
    span = SPAN // channels  # neighbouring channels share a map
    borders = np.unique([0, span - 1, span, 2 * span - 1, 2 * span, SPAN - 1, SPAN, 2300 * 2300 - 1])
    borders = borders[borders < 2300 * 2300]
    planes_of(indices, 2, data_format)[-1].flat[30 : 30 + len(borders)] = borders[::-1]
    assert oracle.first_repeated(indices, 2, data_format == "channels_last") is None
    values = bits("uint8", indices.shape)
    arguments = case.window | {"duplicates": "error", "data_format": data_format}
    actual = backend.call(unpool.max_unpool2d, values, indices, **arguments)
    assert_same_bits(actual, oracle.max_unpool(values, indices, case.size, "last", data_format == "channels_last"))


@every_format
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("cells", [(2, SPAN + 5), (SPAN + 5, 2), (SPAN - 1, SPAN), (SPAN, SPAN - 1)])
def test_the_first_duplicate_in_a_huge_plane(backend, cells, channels, data_format):
    """Two cells repeat, in different maps: the error names the first repeat in row-major order, not in map order."""
    case, indices = huge(channels, data_format)
    plane = planes_of(indices, 2, data_format)[-1]
    plane.flat[:2], plane[5, 5], plane[5, 6] = cells, cells[0], cells[1]
    repeated = oracle.first_repeated(indices, 2, data_format == "channels_last")
    text = f"{at(repeated[0])} = {at(repeated[1])} = {cells[0]}"
    assert_error(backend, ValueError, text, case, np.ones(indices.shape, "uint8"), indices, data_format, "error")
