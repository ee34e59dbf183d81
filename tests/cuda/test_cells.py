"""Windows that overlap: the last one wins, sums are in order, hidden values have no gradient, far indices are exact.

Tests that read marks need the stand-in for CuPy (`--cuda-on-cpu`).
"""

import re
from itertools import permutations

import numpy as np
import pytest
from kinds import CuPyArrays

import unpool
from unpool.testing import oracle
from unpool.testing.cases import FORMATS, POOLINGS, bits, pooled, pooling, whole
from unpool.testing.compare import Guarded, assert_same_bits, assert_same_numbers

pytestmark = pytest.mark.one_in(4)  # kernels are compiled for each, and run thread by thread

every_format = pytest.mark.parametrize("data_format", FORMATS)

OVERLAPPING = {
    name: case
    for name, case in POOLINGS.items()
    if any((k - 1) * d >= s for k, s, d in zip(case.kernel, case.stride, case.dilation, strict=True))
    and max(case.kernel) < 100
} | {
    "whole units": pooling((13, 32), 3, 2, 1),
    "whole units, volume": pooling((5, 6, 16), 3, 2, 1),
    "whole units, dense": pooling((6, 16), 3, 1, 1),
    "wide units, row": pooling((70,), 5, 2, 2),
    "the last windows start past the plane": pooling((13, 16), 4, 3, 2),
}
every_case = pytest.mark.parametrize("name", OVERLAPPING)
# One row for each tile, as for small arrays; several rows; counts of 64 bits; no tiles, but ranges.
CUTS = {
    "rows": {},
    "tiles": {"LEAST_THREADS_EACH": 1},
    "wide": {"LEAST_THREADS_EACH": 1, "WIDE": 1},
    "ranges": {"MOST_WINDOWS_PER_CELL": 0},
}


@pytest.fixture(scope="module")
def cuda():
    return CuPyArrays()


@pytest.fixture(autouse=True, params=CUTS)
def cut(request, cuda, monkeypatch):
    """Cut calls in each way. The caches of cuts are empty before and after the test."""
    from unpool_backends.cuda import _device_of, job

    caches = job.scatter, job.gather, _device_of
    for cache in caches:
        cache.cache_clear()
    for name, value in CUTS[request.param].items():
        monkeypatch.setattr(job, name, value)
    yield request.param
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def marks(request, cuda, monkeypatch):
    """Return a function that returns the numbers of the strips that calls marked since it was called last."""
    import unpool_backends.cuda as backend

    if not request.config.getoption("--cuda-on-cpu"):
        pytest.skip("reads what only the stand-in shows; --cuda-on-cpu runs this")
    new, statuses = backend._new_status, []

    def record(work):
        statuses.append(new(work))
        return statuses[-1]

    def marked():
        found = [int(strip) for status in statuses for strip in np.flatnonzero(cuda.tonumpy(status)[24:] == 0)]
        statuses.clear()
        return found

    monkeypatch.setattr(backend, "_new_status", record)
    return marked


def arguments(case, data_format, **named):
    return case.window | {"output_size": case.size, "data_format": data_format} | named


def arranged(indices, data_format):
    return np.ascontiguousarray(np.moveaxis(indices, 1, -1)) if data_format == "channels_last" else indices


def check(cuda, case, indices, data_format, dtype="float32", shift=0, by_taps=False, **named):
    """Compare unpooling in both modes, and the gradient, with the oracle; nothing around `out` may change."""
    last, values = data_format == "channels_last", bits(dtype, indices.shape, 1)
    read = indices
    if by_taps:
        read, named["index_format"] = numbered(case, indices, data_format), "window"
    for duplicates in ("last", "sum"):
        expected = oracle.max_unpool(values, indices, case.size, duplicates, last)
        guarded = Guarded(expected.shape, dtype, shift, cuda)
        given = arguments(case, data_format, duplicates=duplicates, out=guarded.array, **named)
        cuda.run(case.function("max_unpool"), values, read, **given)
        assert_same_numbers(guarded.written(), expected)
        assert guarded.intact()
    grad, given = bits(dtype, expected.shape, 2), arguments(case, data_format, **named)
    del given["output_size"]
    actual = cuda.call(case.function("max_unpool_backward"), grad, read, **given)
    assert_same_bits(actual, oracle.max_unpool_backward(grad, indices, case.rank, "last", last))


def numbered(case, indices, data_format):
    """Return the taps of indices in their own windows."""
    return oracle.taps(indices, *case, channels_last=data_format == "channels_last").astype(case.tap_dtype)


def before(case):
    """Return the cells of padding before the plane."""
    if not case.same:
        return tuple(entry[0] if isinstance(entry, tuple) else entry for entry in case.padding)
    along = zip(case.size, case.kernel, case.stride, case.dilation, strict=True)
    added = [max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n) for n, k, s, d in along]
    return tuple(entry // 2 if case.padding[0] == "same" else (entry + 1) // 2 for entry in added)


def taps(case, data_format):
    """Return indices with a sample for each tap: all windows name this tap, or their maximum if it is outside."""
    own = pooled(case, (1, 2), "channels_first")
    indices = np.repeat(own, np.prod(case.kernel), axis=0)
    for number, tap in enumerate(np.ndindex(case.kernel)):
        for window in np.ndindex(own.shape[2:]):
            along = zip(window, tap, case.stride, before(case), case.dilation, strict=True)
            cell = [w * s - p + k * d for w, k, s, p, d in along]
            if all(0 <= c < n for c, n in zip(cell, case.size, strict=True)):
                indices[(number, slice(None), *window)] = np.ravel_multi_index(cell, case.size)
    return arranged(indices, data_format)


@every_case
@every_format
def test_every_tap_of_every_window(cuda, marks, cut, name, data_format):
    """A window at an edge has taps in the padding alone. No strip is redone."""
    case = OVERLAPPING[name]
    indices = taps(case, data_format)
    for shift, (validate, by_taps) in enumerate(((True, False), ("windows", False), (True, True))):
        check(cuda, case, indices, data_format, "int16", shift, by_taps, validate=validate)
        assert marks() == []


@every_format
@pytest.mark.parametrize("dtype", ["int8", "float16", "float32", "float64", "complex128"])
@pytest.mark.parametrize("name", ["whole units", "overlap and padding", "volume, overlap and padding"])
def test_every_size_of_values(cuda, name, dtype, data_format):
    """A tile is as wide as 16 bytes, and arrays begin at any element."""
    case = OVERLAPPING[name]
    for shift in range(4):
        for by_taps in (False, True):
            check(cuda, case, pooled(case, (2, 3), data_format), data_format, dtype, shift, by_taps)


# --- duplicates -------------------------------------------------------------------------------------------------------


@every_format
@pytest.mark.parametrize("kernel", [3, 4, 5])
def test_values_of_a_shared_cell_are_in_row_major_order(cuda, kernel, data_format):
    """Four windows name one cell with values that cancel, in every order."""
    case = pooling((kernel + 2, kernel + 2), kernel, 2)
    values = np.array(list(permutations([2.0**24, 1.0, -(2.0**24), 3.0])), "float32").reshape(1, -1, 2, 2)
    indices = arranged(np.full(values.shape, 2 * case.size[1] + 2), data_format)
    values = arranged(values, data_format)
    for duplicates in ("last", "sum"):
        actual = cuda.call(unpool.max_unpool2d, values, indices, **arguments(case, data_format, duplicates=duplicates))
        wanted = oracle.max_unpool(values, indices, case.size, duplicates, data_format == "channels_last")
        assert_same_bits(actual, wanted)
        assert len(np.unique(actual)) > 3  # the order shows


@every_format
@pytest.mark.parametrize(("validate", "by_taps"), [(True, False), ("windows", False), (True, True)])
def test_repeated_indices_of_neighbours_are_found(cuda, marks, validate, by_taps, data_format):
    """The error names the first index that repeats an earlier one, and the earlier one."""
    case, repeating = pooling((9, 16), 3, 2, 1), 0
    every = taps(case, data_format)
    for tap in range(9):
        indices = np.concatenate([every[4:5], every[tap : tap + 1]])  # the middle taps of the first sample are unique
        there, back = (np.ones(shape, "int8") for shape in (indices.shape, case.shape((2, 2), data_format)))
        named = arguments(case, data_format, duplicates="error", validate=validate)
        read = indices
        if by_taps:
            read, named["index_format"] = numbered(case, indices, data_format), "window"
        of_gradient = {name: value for name, value in named.items() if name != "output_size"}
        calls = (unpool.max_unpool2d, there, named), (unpool.max_unpool2d_backward, back, of_gradient)
        repeated = oracle.first_repeated(indices, 2, data_format == "channels_last")
        repeating += bool(repeated)
        for function, array, given in calls:
            if repeated:
                both = [f"indices{list(position)}" for position in repeated]
                text = f"got {both[0]} and {both[1]}, which are taps" if by_taps else f"{both[0]} = {both[1]} ="
                with pytest.raises(ValueError, match=re.escape(text)):
                    cuda.run(function, array, read, **given)
            else:
                cuda.run(function, array, read, **given)
        assert marks() == []
    assert repeating


# --- indices out of reach ---------------------------------------------------------------------------------------------


def reaches(case, window, index):
    """Return True if a cell lies in the box from the first to the last tap of a window."""
    cell = np.unravel_index(index, case.size)
    along = zip(window, cell, case.kernel, case.stride, before(case), case.dilation, strict=True)
    return all(0 <= c - (w * s - p) <= (k - 1) * d for w, c, k, s, p, d in along)


@every_format
@every_case
def test_an_index_out_of_reach_marks_its_own_strip_alone(cuda, marks, cut, name, data_format):
    """In each sample, one index names any cell of the plane. Only strips with a cell out of reach are redone."""
    case, channels = OVERLAPPING[name], 11
    indices = np.repeat(pooled(case, (1, channels), "channels_first"), 9, axis=0)
    rng = np.random.default_rng(2)
    expected = set()
    for sample in range(1, 9):  # the first sample stays as it is
        channel, window = rng.integers(channels), tuple(rng.integers(indices.shape[2:]))
        indices[(sample, channel, *window)] = index = rng.integers(np.prod(case.size))
        if not reaches(case, window, index):
            # With channels last, a strip is four channels, whose indices share 32 bytes.
            expected.add(sample * 3 + channel // 4 if data_format == "channels_last" else sample * channels + channel)
    check(cuda, case, arranged(indices, data_format), data_format)
    assert set(marks()) == expected or cut == "ranges"


@every_format
def test_an_index_between_dilated_taps(cuda, marks, monkeypatch, data_format):
    """Such a cell is compared with the window, so no strip is redone. It is not in its own window."""
    case, last = pooling((12, 16), 3, 2, 1, 2), data_format == "channels_last"
    indices = pooled(case, (1, 5), "channels_first").copy()
    indices[0, 3, 2, 3] = 4 * 16 + 6  # the window has taps in rows 3, 5, 7 and in columns 5, 7, 9
    kept = indices >= 0
    kept[0, 3, 2, 3] = False
    indices, kept = arranged(indices, data_format), arranged(kept, data_format)
    check(cuda, case, indices, data_format)
    assert marks() == []
    values, named = bits("float32", indices.shape, 1), arguments(case, data_format, validate="windows")
    at = [0, 2, 3, 3] if last else [0, 3, 2, 3]
    with pytest.raises(IndexError, match=re.escape(f"indices{at} = 70 is outside its own window")):
        cuda.run(unpool.max_unpool2d, values, indices, **named)
    given = cuda.asarray(values), cuda.asarray(indices)
    monkeypatch.setattr(cuda.cupy.cuda_on_cpu, "capturing", True)  # no call waits, so none raises
    results = [unpool.max_unpool2d(*given, **named, duplicates=duplicates) for duplicates in ("last", "sum")]
    of_gradient = {name: value for name, value in named.items() if name != "output_size"}
    gradient = unpool.max_unpool2d_backward(results[0], given[1], **of_gradient)
    monkeypatch.setattr(cuda.cupy.cuda_on_cpu, "capturing", False)
    for result, duplicates in zip(results, ("last", "sum"), strict=True):
        wanted = oracle.dropped(values, indices, kept, case.size, duplicates, False, last)
        assert_same_numbers(cuda.tonumpy(result), wanted)
    wanted = oracle.dropped(cuda.tonumpy(results[0]), indices, kept, case.size, "last", True, last)
    assert_same_bits(cuda.tonumpy(gradient), wanted)


@every_format
@pytest.mark.parametrize("index_dtype", ["int32", "int64"])
def test_the_first_bad_index_is_reported_from_any_window(cuda, index_dtype, data_format):
    """Each window is checked, also one that starts past the plane, where no cell is compared with it."""
    case = OVERLAPPING["the last windows start past the plane"]
    cells = int(np.prod(case.size))
    # The default size has another row of windows than a pooling of this plane.
    indices = arranged(np.zeros((1, 3, 6, 6), index_dtype), data_format)
    values = [-1, cells, 2**31 - 1, *([2**32 + 5] if index_dtype == "int64" else [])]
    for number, position in enumerate(np.ndindex(indices.shape)):
        wrong = indices.copy()
        wrong[position] = bad = values[number % len(values)]
        with pytest.raises(IndexError, match=re.escape(f"indices{list(position)} = {bad} is out of range")):
            cuda.run(unpool.max_unpool2d, wrong.astype("int8"), wrong, **arguments(case, data_format))


@every_format
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64"])
def test_the_first_bad_tap_is_reported_from_any_window(cuda, dtype, data_format):
    """Each window is checked, also one that starts past the plane, whose taps are all bad."""
    case, past = OVERLAPPING["the last windows start past the plane"], (5, 0)
    bad = {"uint8": [16, 255], "uint16": [16, 256, 2**16 - 1], "int32": [16, 256, -1, -(2**31)]}
    values = bad.get(dtype, [16, -1, 2**8, 2**32, 2**32 + 10, -(2**63)])
    for number, window in enumerate(np.ndindex(6, 6)):
        taps = np.full((1, 1, 6, 6), 10, dtype)
        taps[(0, 0, *window)] = values[number % len(values)]
        found = min(window, past)
        at = [0, *found, 0] if data_format == "channels_last" else [0, 0, *found]
        text = f"indices{at} = {taps[(0, 0, *found)]} is no tap of its window"
        given, named = arranged(taps, data_format), arguments(case, data_format, index_format="window")
        with pytest.raises(IndexError, match=re.escape(text)):
            cuda.run(unpool.max_unpool2d, given.astype("int8"), given, **named)


@every_case
@every_format
@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_without_validate_a_bad_tap_is_dropped(cuda, name, dtype, data_format):
    """A bad tap names no cell, so it neither writes a value nor hides another one."""
    case, last = OVERLAPPING[name], data_format == "channels_last"
    shape = pooled(case, (2, 3), data_format).shape
    taps = np.random.default_rng(4).integers(0, min(2 * case.taps, 256), shape).astype(dtype)
    cells = oracle.cells(taps, *case, channels_last=last)
    planes, values = whole("float32", case.shape((2, 3), data_format)), whole("float32", shape)
    for duplicates in ("last", "sum"):
        named = arguments(case, data_format, index_format="window", duplicates=duplicates, validate=False)
        for given in (values, planes):
            gathers = given is planes
            function = case.function("max_unpool_backward" if gathers else "max_unpool")
            size = {"output_size": named.pop("output_size")} if not gathers else {}
            actual = cuda.call(function, given, taps, **named, **size)
            wanted = oracle.dropped(given, cells, cells >= 0, case.size, duplicates, gathers, last)
            assert_same_numbers(actual, wanted)
