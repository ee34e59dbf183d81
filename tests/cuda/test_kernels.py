"""The CUDA backend waits once a call, runs on the device of its arrays, and gives the same bits for any launch.

Most tests need the stand-in for CuPy (`--cuda-on-cpu`). It has knobs that a GPU lacks: the order of threads, the size
of shared memory, a count of waits. test_device.py tests a real GPU.
"""

import re

import numpy as np
import pytest
from kinds import CuPyArrays

import unpool
from unpool.testing import oracle
from unpool.testing.cases import FORMATS, LARGE, POOLINGS, anywhere, arranged, bits, crowded, pooled, pooling, unique
from unpool.testing.compare import Guarded, assert_same_bits, assert_same_numbers

pytestmark = pytest.mark.one_in(4)  # kernels are compiled for each, and run thread by thread

every_format = pytest.mark.parametrize("data_format", FORMATS)
last_and_sum = pytest.mark.parametrize("duplicates", ["last", "sum"])


@pytest.fixture(scope="module")
def cuda():
    return CuPyArrays()


@pytest.fixture
def knobs(cuda, request):
    if not request.config.getoption("--cuda-on-cpu"):
        pytest.skip("a GPU has no such knobs; --cuda-on-cpu runs this")
    return cuda.cupy.cuda_on_cpu


@pytest.fixture
def job(cuda):
    """Return the module `job`, which cuts calls into launches; its caches are empty before and after the test."""
    from unpool_backends.cuda import _device_of, job

    caches = job.pool, job.scatter, job.gather, _device_of
    for cache in caches:
        cache.cache_clear()
    yield job
    for cache in caches:
        cache.cache_clear()


# One shape for each way to cut a call: planes together, rows, pieces of a row, runs, ranges, squares, partial tiles.
SHAPES = {
    "planes": (POOLINGS["even"], (2, 3)),
    "planes, odd": (POOLINGS["odd"], (2, 3)),
    "rows": (pooling((30, 22), 2), (1, 3)),
    "rows, odd": (pooling((31, 23), 2), (1, 3)),
    "rows, gaps and padding": (pooling((41, 23), 3, 4, 1), (1, 2)),
    "squares of three": (pooling((30, 24), 3), (2, 2)),
    "squares with gaps": (pooling((30, 24), 2, 3), (2, 2)),
    "pieces": (pooling((5, 300), 2), (1, 2)),
    "pieces of volumes": (pooling((4, 5, 150), 2), (1, 2)),
    "volume": (POOLINGS["volume, odd"], (2, 3)),
    "long row": (pooling((701,), 3, 4, 1), (2,)),
    "giant window": (pooling((40, 40), 19, 20), (1, 2)),
    "channels": (pooling((6, 7), 2), (2, 37)),
    "overlap": (POOLINGS["overlap and padding"], (2, 3)),
    "overlap, large": (pooling((40, 30), 3, 2, 1), (1, 5)),
    "overlap, volume": (pooling((7, 9, 8), 3, 2, 1), (1, 3)),
    "overlap, row": (pooling((500,), 5, 2, 2), (1, 2)),
    "overlap, dilated": (pooling((30, 29), 3, 2, 1, 2), (1, 3)),
}


def candidates(case, leading, data_format):
    """Return indices of a pooling, the same with 3% in random cells, random ones, and zeros."""
    own = pooled(case, leading, data_format)
    cells, rng = int(np.prod(case.size)), np.random.default_rng(5)
    strayed = own.copy()
    where = rng.random(own.shape) < 0.03
    strayed[where] = rng.integers(0, cells, where.sum())
    return own, strayed, anywhere(own.shape, cells), np.zeros_like(own)


def check(cuda, case, leading, data_format, dtype="float32"):
    """Compare every primitive with the oracle, for all kinds of indices."""
    last = data_format == "channels_last"
    x = crowded(dtype, case.shape(leading, data_format))
    arguments = case.window | {"data_format": data_format}
    values, indices = cuda.call(
        case.function("max_pool"), x, **arguments, ceil_mode=case.ceil_mode, return_indices=True
    )
    expected = case.pool(x, data_format)
    assert_same_bits(values, expected[0])
    assert_same_bits(indices, expected[1])
    for given in candidates(case, leading, data_format):
        values, grad = bits(dtype, given.shape, 1), bits(dtype, x.shape, 2)
        repeated = oracle.first_repeated(given, case.rank, last)
        for duplicates in ("last", "sum", "error"):
            named = arguments | {"duplicates": duplicates}
            guarded = Guarded(x.shape, dtype, 3, cuda)
            there = case.function("max_unpool"), values, given
            back = case.function("max_unpool_backward"), grad, given
            if duplicates == "error" and repeated:
                for call in (there, back):
                    size = {"output_size": case.size} if call is there else {}
                    with pytest.raises(ValueError, match=re.escape(f"indices{list(repeated[1])}")):
                        cuda.call(*call, **named, **size)
                continue
            assert_same = assert_same_numbers if duplicates == "sum" else assert_same_bits
            wanted = oracle.max_unpool(values, given, case.size, duplicates, last)
            assert_same(cuda.call(*there, **named, output_size=case.size), wanted)
            cuda.run(*there, **named, output_size=case.size, out=guarded.array)
            assert_same(guarded.written(), wanted)
            assert guarded.intact()
            wanted = oracle.max_unpool_backward(grad, given, case.rank, duplicates, last)
            assert_same_bits(cuda.call(*back, **named), wanted)
    check_taps(cuda, case, leading, data_format, dtype)


def check_taps(cuda, case, leading, data_format, dtype):
    """Compare every primitive with the oracle, with the maxima of windows and with any of their taps."""
    last = data_format == "channels_last"
    x = crowded(dtype, case.shape(leading, data_format))
    arguments = case.window | {"data_format": data_format, "index_format": "window"}
    actual = cuda.call(case.function("max_pool"), x, **arguments, ceil_mode=case.ceil_mode, return_indices=True)
    expected, own = case.pool(x, data_format)
    own = oracle.taps(own, *case, channels_last=last).astype(case.tap_dtype)
    for ours, theirs in zip(actual, (expected, own), strict=True):
        assert_same_bits(ours, theirs)
    taps = np.random.default_rng(6).integers(0, case.taps, own.shape).astype(own.dtype)
    taps = np.where(oracle.cells(taps, *case, channels_last=last) < 0, own, taps)
    values, grad = bits(dtype, own.shape, 1), bits(dtype, x.shape, 2)
    for given in (own, taps):
        cells = oracle.cells(given, *case, channels_last=last)
        repeated = oracle.first_repeated(cells, case.rank, last)
        for duplicates in ("last", "sum", "error"):
            named = arguments | {"duplicates": duplicates}
            guarded = Guarded(x.shape, dtype, 3, cuda)
            there = case.function("max_unpool"), values, given
            back = case.function("max_unpool_backward"), grad, given
            if duplicates == "error" and repeated:
                for call in (there, back):
                    size = {"output_size": case.size} if call is there else {}
                    with pytest.raises(ValueError, match=re.escape(f"and indices{list(repeated[1])}, which are taps")):
                        cuda.call(*call, **named, **size)
                continue
            assert_same = assert_same_numbers if duplicates == "sum" else assert_same_bits
            cuda.run(*there, **named, output_size=case.size, out=guarded.array)
            assert_same(guarded.written(), oracle.max_unpool(values, cells, case.size, duplicates, last))
            assert guarded.intact()
            wanted = oracle.max_unpool_backward(grad, cells, case.rank, duplicates, last)
            assert_same_bits(cuda.call(*back, **named), wanted)


# --- no cut shows -----------------------------------------------------------------------------------------------------

every_shape = pytest.mark.parametrize("name", SHAPES)


@every_format
@every_shape
def test_every_shape_as_it_is_cut(cuda, name, data_format):
    check(cuda, *SHAPES[name], data_format)


@every_format
@every_shape
@pytest.mark.parametrize("shared", [1 << 10, 4 << 10])
def test_every_shape_cut_small(cuda, knobs, job, monkeypatch, name, shared, data_format):
    """Little shared memory gives many blocks, pieces and ranges."""
    monkeypatch.setattr(job, "LEAST_STAGE", 256)
    monkeypatch.setattr(job, "STAGE", shared // 2)
    monkeypatch.setattr(job, "NEAR", shared // 2)
    monkeypatch.setitem(knobs.attributes, "MaxSharedMemoryPerBlockOptin", shared)
    check(cuda, *SHAPES[name], data_format, "float64" if shared > 1 << 10 else "uint8")


@every_format
@every_shape
def test_every_shape_counted_with_64_bits(cuda, job, monkeypatch, name, data_format):
    """Arrays of 2**31 elements and more are counted this way."""
    monkeypatch.setattr(job, "WIDE", 1)
    check(cuda, *SHAPES[name], data_format, "int16")


def test_what_is_counted_with_64_bits(cuda, job):
    """Counts and coordinates of 2**31 and more need 64 bits."""
    from unpool.arguments import window
    from unpool.plan import Plan
    from unpool.plan import plan_unpooling as plan_of

    def is_wide(shape, *arguments, size=None, last=False) -> bool:
        plan: Plan = plan_of(shape, window(len(shape) - 2, *arguments), size, last)
        return job.scatter(plan, 4, 8, "last", job.Device(4, 65536)).wide

    assert not is_wide((1, 1, 2**29), 2, 2, 0, 1)
    assert is_wide((1, 1, 2**30), 2, 2, 0, 1)
    assert is_wide((1, 1, 2**31 - 9), 2, 1, 0, 1, size=(2**31 - 8,))  # the last tile ends at 2**31
    assert is_wide((2**10, 2**10, 2**9), 4, 4, 0, 1)
    assert is_wide((2**10, 2**9, 2**10), 4, 4, 0, 1, last=True)
    assert is_wide((1, 1, 1), 1, 2**31 - 1, 0, 1, size=(5,))
    assert is_wide((1, 1, 1), 2, 1, 0, 2**31 - 1)


@every_shape
@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_no_result_depends_on_the_order_of_threads(cuda, knobs, monkeypatch, name, order):
    monkeypatch.setattr(knobs, "order", order)
    for data_format in FORMATS:
        check(cuda, *SHAPES[name], data_format, "float16")


@every_shape
@pytest.mark.parametrize("threads", [32, 96])
def test_no_result_depends_on_the_number_of_threads(cuda, knobs, job, monkeypatch, name, threads):
    for constant in ("THREADS", "BLOCK_THREADS", "MOST_THREADS"):
        monkeypatch.setattr(job, constant, threads)
    monkeypatch.setitem(knobs.attributes, "MultiProcessorCount", 1)
    for data_format in FORMATS:
        check(cuda, *SHAPES[name], data_format, "uint16" if threads > 32 else "uint8")


# --- which kernels run ------------------------------------------------------------------------------------------------


def launched(cuda, knobs, function, *arguments, **named):
    knobs.launches.clear()
    cuda.run(function, *arguments, **named)
    return [launch.kernel.removeprefix("unpool_") for launch in knobs.launches]


def test_which_kernels_run(cuda, knobs):
    """One pass writes the output. The second kernel redoes marked strips, usually none."""
    even, overlap = np.zeros((1, 2, 4, 4), "int64"), np.zeros((1, 2, 99, 99), "int64")
    assert launched(cuda, knobs, unpool.max_unpool2d, even, even, 2) == ["scatter_blocks", "scatter_ranges"]
    assert launched(cuda, knobs, unpool.max_unpool2d, even, even, 3, 2) == ["scatter_cells", "scatter_ranges"]
    assert launched(cuda, knobs, unpool.max_unpool2d, overlap, overlap, 8, 1) == ["scatter_cells", "scatter_ranges"]
    assert launched(cuda, knobs, unpool.max_unpool2d, even, even, 9, 1) == ["scatter_cells", "scatter_ranges"]
    assert launched(cuda, knobs, unpool.max_unpool2d, overlap, overlap, 9, 1) == ["scatter_ranges"] * 2
    small = overlap[..., :9, :9].copy()
    assert launched(cuda, knobs, unpool.max_unpool2d, small, small, 9, 1) == ["scatter_ranges"]
    down = np.zeros((1, 2, 8, 8))
    assert launched(cuda, knobs, unpool.max_unpool2d_backward, down, even, 2) == ["gather_windows", "gather_ranges"]
    assert launched(cuda, knobs, unpool.max_unpool2d_backward, down, even, 2, duplicates="sum") == ["gather_windows"]
    down = np.zeros((1, 2, 9, 9))
    assert launched(cuda, knobs, unpool.max_unpool2d_backward, down, even, 3, 2) == ["gather_overlap", "gather_ranges"]
    assert launched(cuda, knobs, unpool.max_unpool2d_backward, down, even, 3, 2, duplicates="sum") == ["gather_windows"]
    down = np.zeros((1, 2, 107, 107))
    assert launched(cuda, knobs, unpool.max_unpool2d_backward, down, overlap, 9, 1) == ["gather_ranges"] * 2
    assert launched(cuda, knobs, unpool.max_pool2d, down, 2) == ["pool"]
    assert launched(cuda, knobs, unpool.max_pool2d, down[:0], 2) == []


def test_which_kernels_run_by_taps(cuda, knobs):
    """A tap lies in its own window, so one pass is enough, and no strip is redone."""
    even, overlap = np.zeros((1, 2, 4, 4), "uint8"), np.zeros((1, 2, 99, 99), "uint8")
    for taps, window, scatters, gathers in (
        (even, (2, 2), "scatter_blocks", "gather_windows"),
        (even, (3, 2), "scatter_cells", "gather_overlap"),
        (overlap, (8, 1), "scatter_cells", "gather_overlap"),
        (overlap, (9, 1), "scatter_ranges", "gather_ranges"),
    ):
        size = (taps.shape[-1] - 1) * window[1] + window[0]
        down = np.zeros((1, 2, size, size))
        for duplicates in ("last", "sum"):
            named = {"index_format": "window", "duplicates": duplicates}
            assert launched(cuda, knobs, unpool.max_unpool2d, taps, taps, *window, **named) == [scatters]
            found = launched(cuda, knobs, unpool.max_unpool2d_backward, down, taps, *window, **named)
            assert found == [gathers if duplicates == "last" else "gather_windows"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64"])
def test_taps_are_read_and_written_as_they_are(cuda, knobs, monkeypatch, dtype):
    """No copy of taps is made, so a call moves a byte a window where a position has eight."""
    import unpool_backends.cuda as backend

    launches, launch = [], backend._launch

    def record(work, variant, arrays):
        launches.append(arrays)
        launch(work, variant, arrays)

    monkeypatch.setattr(backend, "_launch", record)
    x = cuda.asarray(np.ones((1, 2, 8, 8), "float32"))
    named = {"index_format": "window"}
    values, taps = unpool.max_pool2d(x, 2, return_indices=True, index_dtype=dtype, **named)
    unpool.max_unpool2d(values, taps, 2, **named)
    unpool.max_unpool2d_backward(x, taps, 2, validate="windows", **named)
    assert taps.dtype == dtype
    assert launches[0][2] is taps
    assert [arrays[1] is taps for arrays in launches[1:]] == [True, True]


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint32", "uint64"])
def test_taps_of_other_dtypes_keep_their_values(cuda, dtype):
    """In a window of 256 taps, -1 must not be taken for tap 255."""
    case, largest = pooling((40, 33), 16), int(np.iinfo(dtype).max)
    taps = np.full((1, 2, 2, 2), min(255, largest), dtype)
    values, named = bits("float32", taps.shape), case.window | {"index_format": "window", "output_size": case.size}
    wanted = oracle.max_unpool(values, oracle.cells(taps, *case), case.size)
    assert_same_bits(cuda.call(unpool.max_unpool2d, values, taps, **named), wanted)
    for bad in (int(np.iinfo(dtype).min) or 256, -1 if dtype.startswith("i") else largest):
        wrong = taps.copy()
        wrong[0, 1, 1, 0] = bad
        with pytest.raises(IndexError, match=re.escape(f"indices[0, 1, 1, 0] = {bad} is no tap of its window")):
            cuda.run(unpool.max_unpool2d, values, wrong, **named)


@every_format
@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("name", ["dilated and padding", "gaps and padding", "volume, dilated, ceil"])
def test_no_number_is_too_far_from_a_tap(cuda, name, dtype, data_format):
    """The arithmetic of a bad tap may overflow, but it names no cell."""
    case, limits = POOLINGS[name], np.iinfo(dtype)
    far = [limits.min, limits.min + 1, limits.max, limits.max // 2, -1, 2**31 - 1, -(2**31)]
    taps = np.resize(np.array(far, dtype), pooled(case, (2, 3), data_format).shape)
    values, planes = np.ones(taps.shape, "float32"), np.ones(case.shape((2, 3), data_format), "float32")
    for duplicates in ("last", "sum"):
        named = case.window | {"index_format": "window", "validate": False, "data_format": data_format}
        named["duplicates"] = duplicates
        assert not cuda.call(case.function("max_unpool"), values, taps, **named, output_size=case.size).any()
        assert not cuda.call(case.function("max_unpool_backward"), planes, taps, **named).any()


def test_more_taps_than_32_bits_number(cuda):
    """Calls that name such taps count with 64 bits, however small their arrays are."""
    x = bits("float32", (1, 2, 4, 5))
    window = {"kernel_size": 70_000, "stride": 2, "padding": "same", "index_format": "window"}
    values, taps = cuda.call(unpool.max_pool2d, x, **window, return_indices=True)
    ours = unpool.max_pool2d(x, **window, return_indices=True)
    assert_same_bits(values, ours[0])
    assert_same_bits(taps, ours[1])
    assert taps.min() >= 2**31
    for duplicates in ("last", "sum"):
        named = window | {"duplicates": duplicates}
        for function, given, size in (
            (unpool.max_unpool2d, values, {"output_size": (4, 5)}),
            (unpool.max_unpool2d_backward, x, {}),
        ):
            wanted = function(given, taps, **named, **size)
            assert_same_numbers(cuda.call(function, given, taps, **named, **size), wanted)


def test_large_indices_that_are_near(cuda, knobs, job, monkeypatch):
    """A range reads the indices of only those windows that can reach its cells, and no strip is redone."""
    monkeypatch.setattr(job, "NEAR", 2 << 10)
    for name, (case, leading, data_format) in LARGE.items():
        if case.kernel == case.stride and case.dilation == (1,) * case.rank:
            continue
        indices = pooled(case, leading, data_format)
        values = bits("float32", indices.shape)
        named = case.window | {"output_size": case.size, "data_format": data_format}
        actual = cuda.call(case.function("max_unpool"), values, indices, **named)
        wanted = oracle.max_unpool(values, indices, case.size, "last", data_format == "channels_last")
        assert_same_bits(actual, wanted), name


# --- waiting ----------------------------------------------------------------------------------------------------------

INDICES = np.arange(0, 64, 4).reshape(1, 4, 2, 2) % 16


def bad(value=16):
    indices = INDICES.copy()
    indices[0, 1, 0, 1] = value
    return indices


@last_and_sum
def test_a_call_waits_once_and_without_validate_not_at_all(cuda, knobs, duplicates):
    values, indices = cuda.asarray(bits("float32", INDICES.shape)), cuda.asarray(INDICES)
    for validate, waits in ((True, 1), (False, 0)):
        knobs.synchronised.clear()
        unpool.max_unpool2d(values, indices, 2, duplicates=duplicates, validate=validate)
        assert knobs.synchronised.total() == waits
    knobs.synchronised.clear()
    unpool.max_pool2d(cuda.asarray(np.ones((1, 4, 4))), 2, return_indices=True)
    assert knobs.synchronised.total() == 0


@last_and_sum
@pytest.mark.parametrize("stride", [2, 1])
@pytest.mark.parametrize("value", [-1, 16, 2**32 + 3])
def test_without_validate_a_bad_index_is_dropped(cuda, duplicates, stride, value):
    values, indices = bits("float32", INDICES.shape), bad(value)
    size = (4, 4) if stride == 2 else (3, 3)
    indices = np.where((indices >= 0) & (indices < 16), indices % (size[0] * size[1]), indices)
    kept = (indices >= 0) & (indices < 16)
    wanted = np.zeros((1, 4, size[0] * size[1]), "float32")
    for channel in range(4):
        for i in np.flatnonzero(kept[0, channel].reshape(-1)):
            cell, found = indices[0, channel].reshape(-1)[i], values[0, channel].reshape(-1)[i]
            wanted[0, channel, cell] = wanted[0, channel, cell] + found if duplicates == "sum" else found
    guarded = Guarded((1, 4, *size), "float32", 1, cuda)
    named = {"duplicates": duplicates, "validate": False, "out": guarded.array}
    cuda.run(unpool.max_unpool2d, values, indices, 2, stride, **named)
    assert_same_numbers(guarded.written().reshape(1, 4, -1), wanted)
    assert guarded.intact()


def test_without_validate_a_repeated_index_is_reported_where_it_is_an_error(cuda):
    values = np.ones((1, 1, 2, 2))
    with pytest.raises(ValueError, match="must not repeat"):
        cuda.run(unpool.max_unpool2d, values, np.zeros((1, 1, 2, 2), int), 2, duplicates="error", validate=False)


def test_a_bad_index_does_no_harm_to_the_next_call(cuda):
    values = bits("float32", INDICES.shape)
    for _ in range(3):
        with pytest.raises(IndexError, match=re.escape("indices[0, 1, 0, 1] = 16 is out of range")):
            cuda.run(unpool.max_unpool2d, values, bad(), 2)
        actual = cuda.call(unpool.max_unpool2d, values, INDICES, 2)
        assert_same_bits(actual, oracle.max_unpool(values, INDICES, (4, 4)))


def test_out_that_was_written_is_told(cuda):
    out = cuda.asarray(np.zeros((1, 4, 4, 4), "float32"))
    with pytest.raises(IndexError, match="`out` may be partly overwritten"):
        cuda.run(unpool.max_unpool2d, np.ones(INDICES.shape, "float32"), bad(), 2, out=out)


# --- graphs -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def captured(cuda, knobs, monkeypatch):
    """Start a capture, in which a wait raises. Return the list of arrays that calls keep for the graph."""
    import unpool_backends.cuda

    monkeypatch.setattr(unpool_backends.cuda, "_captured", [])
    monkeypatch.setattr(knobs, "capturing", True)
    return unpool_backends.cuda._captured


@last_and_sum
@pytest.mark.parametrize("indices", [INDICES, bad(), np.zeros_like(INDICES)], ids=["right", "bad", "strayed"])
def test_nothing_waits_while_a_graph_is_captured(cuda, knobs, captured, monkeypatch, duplicates, indices):
    monkeypatch.setattr(knobs, "capturing", False)
    given = [cuda.asarray(array) for array in (bits("float32", indices.shape), indices)]
    x = cuda.asarray(bits("float32", (1, 4, 4, 4)))
    monkeypatch.setattr(knobs, "capturing", True)
    results = [
        unpool.max_unpool2d(*given, 2, duplicates=duplicates),
        unpool.max_unpool2d_backward(x, given[1], 2, duplicates=duplicates),
        *unpool.max_pool2d(x, 2, return_indices=True),
    ]
    monkeypatch.setattr(knobs, "capturing", False)
    named = {"duplicates": duplicates, "validate": False}
    assert_same_bits(cuda.tonumpy(results[0]), cuda.tonumpy(unpool.max_unpool2d(*given, 2, **named)))
    assert_same_bits(cuda.tonumpy(results[2]), cuda.tonumpy(unpool.max_pool2d(x, 2)))
    # One status for each unpooling, which the graph writes at every launch. The user keeps the user's arrays.
    assert len(captured) == 2
    assert all(kept.dtype == np.uint8 for kept in captured)


def test_a_graph_keeps_the_copies_that_it_reads(cuda, knobs, captured, monkeypatch):
    monkeypatch.setattr(knobs, "capturing", False)
    values, indices = bits("float32", INDICES.shape), INDICES.astype("int16")
    given = cuda.asarray(np.asfortranarray(values)), cuda.asarray(indices)
    monkeypatch.setattr(knobs, "capturing", True)
    unpool.max_unpool2d(*given, 2)
    assert sorted(str(kept.dtype) for kept in captured) == ["float32", "int64", "uint8"]
    captured.clear()
    monkeypatch.setattr(knobs, "capturing", False)
    turned = cuda.asarray(np.asfortranarray(indices))
    monkeypatch.setattr(knobs, "capturing", True)
    unpool.max_unpool2d(given[0], turned, 2)  # two copies: made contiguous, then widened
    assert sorted(str(kept.dtype) for kept in captured) == ["float32", "int16", "int64", "uint8"]
    captured.clear()
    unpool.max_pool2d(given[0], 1)
    assert [str(kept.dtype) for kept in captured] == ["float32"]


@pytest.mark.parametrize("function", [unpool.max_unpool2d, unpool.max_unpool2d_backward])
def test_what_has_to_wait_is_refused_while_a_graph_is_captured(cuda, knobs, captured, monkeypatch, function):
    monkeypatch.setattr(knobs, "capturing", False)
    small, large = (cuda.asarray(np.ones((1, 1, size, size), "float32")) for size in (2, 4))
    first, out = (small, large) if function is unpool.max_unpool2d else (large, small)
    given = first, cuda.asarray(np.zeros((1, 1, 2, 2), "int64"))
    monkeypatch.setattr(knobs, "capturing", True)
    knobs.launches.clear()
    with pytest.raises(ValueError, match="`duplicates` must be 'last' or 'sum' while a CUDA graph is captured"):
        function(*given, 2, duplicates="error", out=out)
    assert not knobs.launches
    assert not captured


# --- devices and streams ----------------------------------------------------------------------------------------------


def test_a_call_runs_on_the_device_of_its_arrays(cuda, knobs):
    device = cuda.cupy.cuda.Device
    with device(1):
        given = cuda.asarray(bits("float32", INDICES.shape)), cuda.asarray(INDICES)
    knobs.launches.clear()
    restored = unpool.max_unpool2d(*given, 2)
    assert {launch.device for launch in knobs.launches} == {1}
    assert restored.device == device(1)
    assert device() == device(0)
    assert_same_bits(cuda.tonumpy(restored), oracle.max_unpool(cuda.tonumpy(given[0]), INDICES, (4, 4)))
    pooled_again = unpool.max_pool2d(restored, 2, return_indices=True)
    assert {array.device for array in pooled_again} == {device(1)}


def test_arrays_of_two_devices_are_refused(cuda, knobs):
    here = [cuda.asarray(array) for array in (np.ones(INDICES.shape), INDICES, np.zeros((1, 4, 4, 4)))]
    with cuda.cupy.cuda.Device(1):
        there = [cuda.asarray(cuda.tonumpy(array)) for array in here]
    knobs.launches.clear()
    text = (
        "`{}` must be on the device of the other arrays, got device 1, but the other arrays are on device 0: pass {}, "
    )
    text += "within `with cupy.cuda.Device(0):`"
    for argument, advice, call in (
        ("indices", "cupy.asarray(indices)", lambda: unpool.max_unpool2d(here[0], there[1], 2)),
        ("out", "an empty array there", lambda: unpool.max_unpool2d(*here[:2], 2, out=there[2])),
        ("indices", "cupy.asarray(indices)", lambda: unpool.max_unpool2d_backward(here[2], there[1], 2)),
        ("out", "an empty array there", lambda: unpool.max_unpool2d_backward(here[2], here[1], 2, out=there[0])),
        ("out", "an empty array there", lambda: unpool.max_pool2d(here[2], 2, out=there[0])),
        (
            "out[1]",
            "an empty array there",
            lambda: unpool.max_pool2d(here[2], 2, return_indices=True, out=(here[0], there[1])),
        ),
    ):
        with pytest.raises(TypeError, match=re.escape(text.format(argument, advice))):
            call()
    assert not knobs.launches


def test_a_call_runs_on_the_current_stream(cuda, knobs):
    given = cuda.asarray(bits("float32", INDICES.shape)), cuda.asarray(INDICES)
    stream = cuda.cupy.cuda.Stream(non_blocking=True)
    knobs.launches.clear()
    with stream:
        unpool.max_unpool2d(*given, 2, validate=False)
    assert {launch.stream for launch in knobs.launches} == {stream.ptr}


# --- kinds ------------------------------------------------------------------------------------------------------------


def test_numpy_and_cupy_arrays_do_not_mix(cuda):
    values, planes, indices = np.ones((1, 2, 2)), np.ones((1, 4, 4)), np.zeros((1, 2, 2), "int64")
    for function, given, *rest in (
        (unpool.max_unpool2d, values, 2),
        (unpool.max_unpool2d_backward, planes, 2),
        (unpool.take_along_plane, planes),
        (unpool.max_pool2d_backward, values, planes.shape, 2),
    ):
        with pytest.raises(TypeError, match=re.escape("pass cupy.asarray(indices)")):
            function(cuda.asarray(given), indices, *rest)
        with pytest.raises(TypeError, match=re.escape("pass numpy.asarray(indices)")):
            function(given, cuda.asarray(indices), *rest)


@every_format
@pytest.mark.parametrize("target", ["tensorflow", "tensorflow_batch", "onnx", "window"])
def test_indices_are_converted_on_their_device(cuda, target, data_format):
    case = POOLINGS["overlap and padding"]
    indices = pooled(case, (2, 3), data_format)
    named = case.window | {"output_size": case.shape((2, 3), data_format), "data_format": data_format}
    wanted = unpool.convert_indices(indices, "plane", target, **named)
    there = cuda.run(unpool.convert_indices, indices, "plane", target, **named)
    assert type(there).__module__ == "cupy"
    assert_same_bits(cuda.tonumpy(there), wanted)
    assert_same_bits(cuda.tonumpy(unpool.convert_indices(there, target, "plane", **named)), indices)


# --- errors of CUDA, and limits ---------------------------------------------------------------------------------------


def test_an_error_of_cuda_is_explained_by_what_the_machine_lacks(cuda, knobs, monkeypatch):
    import unpool_backends.cuda

    given = cuda.asarray(np.ones((1, 2, 2))), cuda.asarray(np.zeros((1, 2, 2), "int64"))
    cause = RuntimeError("libnvrtc.so is not found")

    def fail(*arguments):
        raise cause

    monkeypatch.setattr(unpool_backends.cuda.kernels, "kernel", fail)
    with pytest.raises(RuntimeError, match=r"libnvrtc.so is not found") as caught:
        unpool.max_unpool2d(*given, 2)
    assert caught.value is cause  # `fault` finds nothing wrong with the machine
    reason = unpool.BackendUnavailableError("install NVRTC")
    monkeypatch.setattr(unpool_backends.cuda, "fault", lambda: reason)
    with pytest.raises(unpool.BackendUnavailableError, match="install NVRTC") as caught:
        unpool.max_unpool2d(*given, 2)
    assert caught.value.__cause__ is cause


def test_unique_indices_of_many_planes(cuda):
    """Unique indices pass `duplicates="error"`, also if no pooling returned them."""
    case = pooling((30, 28), 3, 2)
    for data_format in FORMATS:
        shape = pooled(case, (3, 10), data_format).shape
        indices = unique(shape, 30 * 28, 2, data_format)
        values = bits("float64", shape)
        named = case.window | {"output_size": case.size, "data_format": data_format, "duplicates": "error"}
        actual = cuda.call(unpool.max_unpool2d, values, indices, **named)
        assert_same_bits(actual, oracle.max_unpool(values, indices, case.size, "last", data_format == "channels_last"))
        assert arranged((3, 10), case.size, data_format) == actual.shape


def test_threads_do_not_take_each_others_shared_memory(cuda, knobs, monkeypatch):
    """The limit on shared memory belongs to the kernel, which threads share. So every call sets it to the maximum."""
    import unpool_backends.cuda

    class Kernel:
        asked = 0

        def __setattr__(self, name, value):
            assert name == "max_dynamic_shared_size_bytes"
            Kernel.asked = value

        def __call__(self, grid, block, args, shared_mem=0):
            assert shared_mem <= Kernel.asked or shared_mem <= 48 << 10

    monkeypatch.setattr(unpool_backends.cuda.kernels, "kernel", lambda name, variant: Kernel())
    indices = np.zeros((1, 1, 99, 74), "int64")
    cuda.run(unpool.max_unpool2d, indices, indices, 3, 2, output_size=(200, 150), validate=False)
    assert Kernel.asked == knobs.attributes["MaxSharedMemoryPerBlockOptin"]


def test_overlap_is_seen_between_memory_that_is_not_cupys(cuda, knobs, monkeypatch):
    """CuPy compares allocations, but arrays of another library do not name theirs."""
    monkeypatch.setattr(cuda.cupy, "may_share_memory", lambda *arrays: False)
    memory = cuda.asarray(np.zeros(100, "float32"))
    values, out = memory[:4].reshape(1, 2, 2), memory[3:19].reshape(1, 4, 4)
    with pytest.raises(ValueError, match="must not share memory"):
        unpool.max_unpool2d(values, cuda.asarray(np.zeros((1, 2, 2), "int64")), 2, out=out)
    unpool.max_unpool2d(values, cuda.asarray(np.zeros((1, 2, 2), "int64")), 2, out=memory[4:20].reshape(1, 4, 4))


def test_no_launch_has_more_blocks_than_there_may_be(job):
    """More than 2**31 slices have one cell each, and CuPy would truncate that number of blocks to 32 bits."""
    from unpool import arguments, plan

    call = plan.plan_unpooling((1, 1024, 2**21, 1, 1), arguments.window(3, (2, 1, 1), None, 0, 1), None, False)
    work = job.scatter(call, 1, 4, "last", job.Device(132, 227 << 10))
    assert all(launch.grid < 2**31 for launch in work.launches)


def test_an_argument_has_no_fields_to_describe(job):
    """CuPy parses the fields of a structure at every launch: most of a small call's time on an H200."""
    from unpool import arguments, plan

    call = plan.plan_unpooling((1, 2, 3, 3), arguments.window(2, 2, 2, 0, 1), None, False)
    for launch in job.scatter(call, 4, 8, "last", job.Device(132, 227 << 10)).launches:
        assert launch.argument.dtype.fields is None
        assert launch.argument.tobytes() == launch.job.tobytes()


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_taps_in_the_padding_are_not_walked(cuda, knobs, monkeypatch, order):
    """A window may be far larger than the plane, here up to 2**31 - 1 taps along an axis."""
    monkeypatch.setattr(knobs, "patience", 2**16)
    monkeypatch.setattr(knobs, "order", order)
    x = bits("float32", (1, 3, 2))
    for size in (2**12, 2**15):
        actual = cuda.call(unpool.max_pool2d, x, size, 1, size // 2, return_indices=True)
        for ours, expected in zip(actual, unpool.max_pool2d(x, size, 1, size // 2, return_indices=True), strict=True):
            assert_same_bits(ours, expected)
    row = np.ones((1, 1))
    assert_same_bits(cuda.call(unpool.max_pool1d, row, 2**31 - 1, 1, 2**30 - 1), row)


@pytest.mark.parametrize("argument", ["input", "indices", "out", "grad_output"])
def test_a_foreign_byte_order_is_refused(cuda, argument):
    """CuPy makes such views, but cannot compute with them."""
    small, large = (cuda.cupy.zeros((1, size, size), "float32") for size in (2, 4))
    indices = cuda.cupy.zeros((1, 2, 2), "int64")
    calls = {
        "input": lambda: unpool.max_pool2d(large.view(">f4"), 2),
        "indices": lambda: unpool.max_unpool2d(small, indices.view(">i8"), 2),
        "out": lambda: unpool.max_unpool2d(small, indices, 2, out=large.view(">f4")),
        "grad_output": lambda: unpool.max_pool2d_backward(small.view(">f4"), indices, (4, 4), 2),
    }
    with pytest.raises(ValueError, match=f"`{argument}` must be in the byte order of the device, got >"):
        calls[argument]()
