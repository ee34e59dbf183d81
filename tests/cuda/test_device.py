"""On a GPU: errors leave the context usable, and graphs, streams, large arrays and PyTorch's CUDA give the right bits.

`tools/check_gpu.sh` runs this file on a machine with a GPU. Results are compared with the CPU backend's.
"""

import math
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import ml_dtypes
import numpy as np
import pytest
from kinds import CuPyArrays
from needs import promised, require

import unpool
from unpool.testing.cases import FLOATS, FORMATS, POOLINGS, bits, crowded, pooled, sliced, whole
from unpool.testing.compare import assert_same_bits, assert_same_numbers

# Large enough for several ranges of cells (job.NEAR), and small enough for indices of 16 bits.
PLANE, POOLED = (2, 3, 128, 120), (2, 3, 64, 60)
SIZE = PLANE[2:]

# Every call that a graph can hold, as a function of values, a plane and indices. Some run by blocks, some by cells.
CALLS = {
    "unpool": lambda values, plane, indices, **named: unpool.max_unpool2d(values, indices, 2, **named),
    "unpool, sum": lambda values, plane, indices, **named: unpool.max_unpool2d(
        values, indices, 2, duplicates="sum", **named
    ),
    "unpool, overlap": lambda values, plane, indices, **named: unpool.max_unpool2d(
        values, indices, 3, 2, 1, output_size=SIZE, **named
    ),
    "unpool, overlap, sum": lambda values, plane, indices, **named: unpool.max_unpool2d(
        values, indices, 3, 2, 1, output_size=SIZE, duplicates="sum", **named
    ),
    "gradient of pool": lambda values, plane, indices, **named: unpool.max_pool2d_backward(
        values, indices, SIZE, 2, **named
    ),
    "gather": lambda values, plane, indices, **named: unpool.max_unpool2d_backward(plane, indices, 2, **named),
    "gather, sum": lambda values, plane, indices, **named: unpool.max_unpool2d_backward(
        plane, indices, 2, duplicates="sum", **named
    ),
    "gather, overlap": lambda values, plane, indices, **named: unpool.max_unpool2d_backward(
        plane, indices, 3, 2, 1, **named
    ),
}
POOLS = {
    "pool": lambda values, plane, indices, **named: unpool.max_pool2d(plane, 2, **named),
    "pool with indices": lambda values, plane, indices, **named: unpool.max_pool2d(
        plane, 2, return_indices=True, **named
    ),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
every_format = pytest.mark.parametrize("data_format", FORMATS)


@pytest.fixture(scope="module")
def cuda(request):
    if request.config.getoption("--cuda-on-cpu"):
        pytest.skip("this is about a GPU, which --cuda-on-cpu stands in for")
    return CuPyArrays()


@pytest.fixture(scope="module")
def cupy(cuda):
    return cuda.cupy


def inputs(seed, made="by pooling"):
    """Return values, a plane and indices for a seed. With "strayed", 2% of the indices name random cells."""
    rng = np.random.default_rng(seed)
    values, plane = (rng.standard_normal(shape).astype("float32") for shape in (POOLED, PLANE))
    _, indices = unpool.max_pool2d(plane, 2, return_indices=True)
    if made == "strayed":
        where = rng.random(POOLED) < 0.02
        indices[where] = rng.integers(0, math.prod(SIZE), where.sum())
    return values, plane, indices


def assert_same(cuda, actual, expected):
    """Compare the bits of an array or of a pair of arrays."""
    pairs = zip(actual, expected, strict=True) if isinstance(expected, tuple) else [(actual, expected)]
    for found, wanted in pairs:
        assert_same_bits(cuda.tonumpy(found), wanted)


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "bad"),
    [("int64", bad) for bad in (-1, math.prod(SIZE), 2**31 + 3, 2**32 + 3, -(2**32) + 3, -(2**63), 2**63 - 1)]
    + [("int32", bad) for bad in (-1, 2**31 - 1, -(2**31))],
)
@every_call
def test_a_bad_index_leaves_the_context_usable(cuda, cupy, call, dtype, bad):
    """In PyTorch, a device-side assertion would end the use of the GPU in this process."""
    values, plane, indices = inputs(0)
    indices = indices.astype(dtype)
    wrong = indices.copy()
    wrong[1, 2, 3, 4] = bad
    with pytest.raises(IndexError, match=re.escape(f"indices[1, 2, 3, 4] = {bad} is out of range")):
        cuda.run(call, values, plane, wrong)
    assert int(cupy.arange(1000).sum()) == 499500
    assert_same(cuda, cuda.run(call, values, plane, indices), call(values, plane, indices))
    cupy.cuda.Device().synchronize()


@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1)], ids=["apart", "overlap"])
@pytest.mark.parametrize(("dtype", "bad"), [("uint8", 9), ("uint8", 255), ("int64", -1), ("int64", 2**32 + 1)])
def test_a_bad_tap_leaves_the_context_usable(cuda, cupy, window, dtype, bad):
    values, plane, _ = inputs(0)
    named = {"index_format": "window"}
    _, taps = unpool.max_pool2d(plane, *window, return_indices=True, **named)
    assert_same(cuda, cuda.run(unpool.max_pool2d, plane, *window, return_indices=True, **named)[1], taps)
    wrong = taps.astype(dtype)
    wrong[1, 2, 3, 4] = bad
    forward, back = (
        (unpool.max_unpool2d, values, named | {"output_size": SIZE}),
        (unpool.max_unpool2d_backward, plane, named),
    )
    for function, given, arguments in (forward, back):
        with pytest.raises(IndexError, match=re.escape(f"indices[1, 2, 3, 4] = {bad} is no tap of its window")):
            cuda.run(function, given, wrong, *window, **arguments)
        for duplicates in ("last", "sum"):
            ours = cuda.run(function, given, taps, *window, **arguments, duplicates=duplicates)
            assert_same(cuda, ours, function(given, taps, *window, **arguments, duplicates=duplicates))
    cupy.cuda.Device().synchronize()


# --- graphs -----------------------------------------------------------------------------------------------------------


@contextmanager
def capture(stream):
    """Capture the work of the current stream. Afterwards the yielded list holds the graph."""
    graphs = []
    stream.begin_capture()
    try:
        yield graphs
    finally:
        graphs.append(stream.end_capture())


@contextmanager
def memory_taken(cupy):
    """Allocate the current stream's freed memory, and more, and check at the end that nothing wrote there."""
    taken = [cupy.full(2**size, 0x5A, "uint8") for size in range(20, 8, -1) for _ in range(20)]
    yield
    assert bool((cupy.concatenate(taken) == 0x5A).all())


@pytest.mark.parametrize("given_out", [True, False], ids=["out", "new"])
@pytest.mark.parametrize("made", ["by pooling", "strayed"])
@pytest.mark.parametrize("call", (CALLS | POOLS).values(), ids=CALLS | POOLS)
def test_a_graph_computes_with_what_it_finds_when_it_is_launched(cuda, cupy, call, made, given_out):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        given = [cupy.asarray(array) for array in inputs(0, made)]
        compiled = call(*given)
        with capture(stream) as graphs:
            result = call(*given, out=compiled) if given_out else call(*given)
        for seed in (1, 2, 3):
            fresh = inputs(seed, made)
            for array, now in zip(given, fresh, strict=True):
                array[...] = cupy.asarray(now)
            with memory_taken(cupy):
                graphs[-1].launch()
            assert_same(cuda, result, call(*fresh))


@every_call
def test_a_graph_keeps_the_copies_that_it_makes(cuda, cupy, call):
    """Sliced arrays are copied before a kernel reads them. Sliced indices of 16 bits are copied twice."""
    stream = cupy.cuda.Stream(non_blocking=True)

    def lying(seed):
        values, plane, indices = inputs(seed, "strayed")
        return [sliced(values), sliced(plane), sliced(indices.astype("int16"))]

    with stream:
        given = [cuda.asarray(array) for array in lying(0)]
        call(*given)
        with capture(stream) as graphs:
            result = call(*given)
        for seed in (1, 2):
            fresh = lying(seed)
            for array, now in zip(given, fresh, strict=True):
                array[...] = cupy.asarray(now)
            with memory_taken(cupy):
                graphs[-1].launch()
            assert_same(cuda, result, call(*fresh))


@pytest.mark.parametrize("refused", [unpool.max_unpool2d, unpool.max_unpool2d_backward])
def test_what_is_refused_in_a_capture_leaves_it_going(cuda, cupy, refused):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        given = [cupy.asarray(array) for array in inputs(0)]
        first = given[0] if refused is unpool.max_unpool2d else given[1]
        refused(first, given[2], 2, duplicates="error")
        CALLS["unpool"](*given)
        with capture(stream) as graphs:
            with pytest.raises(ValueError, match="while a CUDA graph is captured"):
                refused(first, given[2], 2, duplicates="error")
            result = CALLS["unpool"](*given)
        fresh = inputs(1)
        for array, now in zip(given, fresh, strict=True):
            array[...] = cupy.asarray(now)
        graphs[-1].launch()
        assert_same(cuda, result, CALLS["unpool"](*fresh))


@pytest.mark.parametrize("bad", [-1, math.prod(SIZE), 2**32 + 3])
def test_a_graph_drops_a_bad_index(cuda, cupy, bad):
    """The value is not written, and its gradient is zero."""
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        values, plane, indices = inputs(0)
        given = [cupy.asarray(array) for array in (values, plane, indices)]
        calls = CALLS["unpool"], CALLS["unpool, overlap, sum"], CALLS["gather"]
        for call in calls:
            call(*given)
        with capture(stream) as graphs:
            results = [call(*given) for call in calls]
        given[2][1, 2, 3, 4] = bad
        graphs[-1].launch()
        # No other window has this cell.
        dropped = values.copy()
        dropped[1, 2, 3, 4] = 0
        plane.reshape(2, 3, -1)[1, 2, indices[1, 2, 3, 4]] = 0
        for call, result in zip(calls, results, strict=True):
            assert_same(cuda, result, call(dropped, plane, indices))


# --- streams ----------------------------------------------------------------------------------------------------------

# Copies after a delay of some tenths of a second.
LATE = """
extern "C" __global__ void late(const float* source, float* target, long long count) {
    const long long start = clock64();
    while (clock64() - start < 500000000)
        ;
    for (long long i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        target[i] = source[i];
}
"""


@pytest.mark.parametrize("validate", [True, False])
def test_a_call_comes_after_what_its_stream_was_told_before(cuda, cupy, validate):
    """On another stream the call would read zeros. Without validate it does not wait."""
    late = cupy.RawKernel(LATE, "late")
    values, _, indices = inputs(0)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        source, there = cupy.asarray(values), cupy.asarray(indices)
        target, out = cupy.zeros_like(source), cupy.empty(PLANE, "float32")
        unpool.max_unpool2d(target, there, 2, out=out)
        late((32,), (256,), (source, target, np.int64(source.size)))
        event = cupy.cuda.Event()
        event.record()
        unpool.max_unpool2d(target, there, 2, out=out, validate=validate)
        assert event.done == validate
        assert_same(cuda, out, unpool.max_unpool2d(values, indices, 2))


def test_two_streams_at_once(cuda, cupy):
    calls = [CALLS[name] for name in ("unpool", "unpool, overlap", "unpool, overlap, sum")]
    examples = [[inputs(10 * turn + seed, "strayed") for seed in range(4)] for turn in range(2)]
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in examples]
    given = []
    for stream, example in zip(streams, examples, strict=True):
        with stream:
            given.append([[cupy.asarray(array) for array in arrays] for arrays in example])
            for call in calls:
                call(*given[-1][0])
    results = {}
    for number in range(40):
        for turn, stream in enumerate(streams):
            with stream:
                arrays = given[turn][number % 4]
                results[turn, number] = [call(*arrays, validate=False) for call in calls]
    for (turn, number), found in results.items():
        with streams[turn]:
            for call, result in zip(calls, found, strict=True):
                assert_same(cuda, result, call(*examples[turn][number % 4]))


def test_threads_with_streams_of_their_own(cuda, cupy):
    def work(seed):
        example = inputs(seed, "strayed")
        wanted = [call(*example) for call in CALLS.values()]
        with cupy.cuda.Stream(non_blocking=True):
            given = [cupy.asarray(array) for array in example]
            for _ in range(20):
                for call, expected in zip(CALLS.values(), wanted, strict=True):
                    assert_same(cuda, call(*given), expected)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))


# --- devices ----------------------------------------------------------------------------------------------------------


def test_a_second_device(cuda, cupy):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one device; --cuda-on-cpu has two")
    example = inputs(0, "strayed")
    with cupy.cuda.Device(1):
        there = [cupy.asarray(array) for array in example]
    with cupy.cuda.Device(0):
        here = [cupy.asarray(array) for array in example]
        for call in (CALLS | POOLS).values():
            result, expected = call(*there), call(*example)
            assert_same(cuda, result, expected)
            arrays = result if isinstance(result, tuple) else (result,)
            assert {array.device.id for array in arrays} == {1}
            assert cupy.cuda.Device().id == 0
        with pytest.raises(TypeError, match="must be on the device"):
            unpool.max_unpool2d(here[0], there[2], 2)
        with pytest.raises(TypeError, match="must be on the device"):
            unpool.max_unpool2d(there[0], there[2], 2, out=cupy.empty(PLANE, "float32"))


# --- memory -----------------------------------------------------------------------------------------------------------


def taken(cupy, call):
    """Return the sizes of a call's allocations from CuPy's pool, and check that all are freed."""

    class Hook(cupy.cuda.MemoryHook):
        name = "pieces"

        def malloc_postprocess(self, **event):
            pieces.append(event["mem_size"])

    pieces, pool = [], cupy.get_default_memory_pool()
    before = pool.used_bytes()
    with Hook():
        call()
    assert pool.used_bytes() == before
    return pieces


def scratch(strips):
    """Return the size of a Status, 24 bytes and a byte for each strip, rounded up to the pool's unit of 512 bytes."""
    return [math.ceil((24 + strips) / 512) * 512]


@pytest.mark.parametrize("made", ["by pooling", "strayed"])
@every_call
def test_a_call_with_out_takes_a_byte_a_plane(cupy, call, made):
    given = [cupy.asarray(array) for array in inputs(0, made)]
    out = call(*given)
    assert taken(cupy, lambda: call(*given, out=out)) == scratch(2 * 3)


def test_a_call_with_out_takes_a_byte_a_few_neighbouring_channels(cupy):
    """A strip has as many channels as fit into a 32-byte sector of the indices."""
    for dtype, channels in (("int32", 8), ("int64", 4)):
        indices = cupy.zeros((300, 4, 4, 9), dtype)
        values, out = cupy.zeros(indices.shape, "float32"), cupy.empty((300, 8, 8, 9), "float32")
        named = {"data_format": "channels_last", "out": out}
        unpool.max_unpool2d(values, indices, 2, **named)
        strips = 300 * math.ceil(9 / channels)
        assert taken(cupy, lambda: unpool.max_unpool2d(values, indices, 2, **named)) == scratch(strips)  # noqa: B023


@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1)], ids=["apart", "overlap"])
def test_a_call_by_taps_takes_24_bytes(cupy, window):
    values, plane, _ = map(cupy.asarray, inputs(0))
    named = {"index_format": "window"}
    _, taps = unpool.max_pool2d(plane, *window, return_indices=True, **named)
    assert taken(cupy, lambda: unpool.max_unpool2d(values, taps, *window, **named, out=plane)) == scratch(0)
    assert taken(cupy, lambda: unpool.max_unpool2d_backward(plane, taps, *window, **named, out=values)) == scratch(0)


def test_pooling_with_out_takes_nothing(cupy):
    for call in POOLS.values():
        given = [cupy.asarray(array) for array in inputs(0)]
        out = call(*given)
        assert taken(cupy, lambda: call(*given, out=out)) == []  # noqa: B023


# --- large arrays -----------------------------------------------------------------------------------------------------

# Numbers of samples, each of 2**20 cells of a byte: just below 2**31 elements, above 2**31, and above 2**32.
SAMPLE = 2**20
BELOW, BEYOND_31, BEYOND_32 = 2047, 2051, 4099


@pytest.fixture
def room(cupy):
    """Return a function that skips the test if the GPU has too little free memory. Free the pool before and after."""
    pool = cupy.get_default_memory_pool()

    def ask(needed):
        pool.free_all_blocks()
        free, _ = cupy.cuda.Device().mem_info
        if free < needed:
            pytest.skip(f"needs {needed / 2**30:.0f} GiB of a GPU's memory, and {free / 2**30:.0f} are free")

    yield ask
    pool.free_all_blocks()


def samples(cupy, count, shape):
    """Return bytes in which samples that are 2**31 or 2**32 elements apart differ."""
    x, one = cupy.empty((count, *shape), "uint8"), cupy.asarray(bits("uint8", shape))
    for number in range(count):
        cupy.add(one, np.uint8(number % 251), out=x[number])
    return x


def parts(count):
    """Return slices of the first samples, of those around 2**31 elements, and of the last ones."""
    return [slice(0, 2), slice(min(2047, count - 2), min(2049, count)), slice(count - 2, count)]


@pytest.mark.parametrize(
    ("count", "index_dtype", "window"),
    [
        (BELOW, "int32", (2, 2, 0)),
        (BELOW, "int64", (3, 2, 1)),
        (BELOW, "int32", (1, 1, 0)),
        (BEYOND_31, "int32", (2, 2, 0)),
        (BEYOND_31, "int64", (3, 2, 1)),
        (BEYOND_31, "int32", (1, 1, 0)),
        (BEYOND_32, "int64", (2, 2, 0)),
        (BEYOND_32, "int32", (3, 2, 1)),
    ],
)
@every_format
def test_so_many_elements(cuda, cupy, room, data_format, count, index_dtype, window):
    """Arrays may have more than 2**31 or 2**32 elements.

    The planes take up to 4.3 GB, and so does the unpooled array. The values take twice a quarter of that, and the
    indices up to 8.6 GB. With windows of one cell, three arrays take 2.2 GB each, and the indices 8.6 GB.
    """
    pooled_size = count * SAMPLE // window[1] ** 2
    room(2 * count * SAMPLE + pooled_size * (3 + np.dtype(index_dtype).itemsize) + 2**30)
    shape = (1, 1024, 1024) if data_format == "channels_first" else (32, 32, 1024)
    x = samples(cupy, count, shape)
    named = {"data_format": data_format}
    values, indices = unpool.max_pool2d(x, *window, return_indices=True, index_dtype=index_dtype, **named)
    # In the last sample, the index of one window names the last cell.
    stray = SAMPLE - 1 if data_format == "channels_first" else 32 * 32 - 1
    indices[-1, 0, 0, 0] = stray
    restored = unpool.max_unpool2d(values, indices, *window, output_size=x.shape, **named)
    gathered = unpool.max_unpool2d_backward(x, indices, *window, **named)
    for part in parts(count):
        there = x[part].get()
        found, wanted = unpool.max_pool2d(there, *window, return_indices=True, index_dtype=index_dtype, **named)
        if part.stop == count:
            wanted[-1, 0, 0, 0] = stray
        assert_same_bits(values[part].get(), found)
        assert_same_bits(indices[part].get(), wanted)
        assert_same_bits(
            restored[part].get(), unpool.max_unpool2d(found, wanted, *window, output_size=there.shape, **named)
        )
        assert_same_bits(gathered[part].get(), unpool.max_unpool2d_backward(there, wanted, *window, **named))
    if window[0] == window[1]:  # the samples between: windows that share no cell get their maxima back
        for begin in range(0, count - 1, 256):
            part = slice(begin, min(begin + 256, count - 1))
            assert bool((gathered[part] == values[part]).all())


@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1)], ids=["apart", "overlap"])
def test_a_plane_of_over_2_31_cells(cuda, cupy, room, window):
    """2**31 + 2**19 cells: two planes of 2.2 GB, values of 0.5 GB, and indices of 4.3 GB."""
    room(11 * 2**30)
    rows, columns = 256 * 4097, 2048
    cells = rows * columns
    x = samples(cupy, 4097, (256, columns)).reshape(1, 1, rows, columns)
    values, indices = unpool.max_pool2d(x, *window, return_indices=True)
    # Compares the last rows of the pooled planes, and the last rows of the plane, which only these windows reach.
    begin = (rows - 20) * columns
    there = unpool.max_pool2d(x[:, :, -20:].get(), *window, return_indices=True)
    ends = [array[0, 0, -8:].get() for array in (values, indices)]
    assert_same_bits(ends[0], there[0][0, 0, -8:])
    assert_same_bits(ends[1], there[1][0, 0, -8:] + begin)
    assert ends[1].min() > 2**31
    restored = unpool.max_unpool2d(values, indices, *window, output_size=x.shape)
    wanted = np.zeros(cells - begin, "uint8")
    for value, index in zip(ends[0].ravel(), ends[1].ravel(), strict=True):
        wanted[index - begin] = value
    assert_same_bits(restored[0, 0, -14:].get().ravel(), wanted[-14 * columns :])
    gathered = unpool.max_unpool2d_backward(x, indices, *window, duplicates="sum")
    assert bool((gathered == values).all())
    for bad in (-1, cells, 2**32 + 3):
        indices[0, 0, -1, -1] = bad
        said = f"indices[0, 0, {rows // 2 - 1}, {columns // 2 - 1}] = {bad} is out of range"
        with pytest.raises(IndexError, match=re.escape(said)):
            unpool.max_unpool2d(values, indices, *window, output_size=x.shape, out=restored)
    assert int(cupy.arange(1000).sum()) == 499500


# --- PyTorch's CUDA ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch(cuda):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from PyTorch's dependencies, or about the machine
        torch = require("torch", "its CUDA kernels are a second oracle")
        found = torch.cuda.is_available()
        if found:
            torch.cuda.init()
    if not found:
        if "torch" in promised():
            pytest.fail("UNPOOL_REQUIRE promises torch, and this one finds no GPU", pytrace=False)
        pytest.skip("this PyTorch finds no GPU")
    return torch


def theirs(torch, array):
    """Return a CuPy array as a PyTorch tensor, without a copy."""
    if array.dtype.name == "bfloat16":
        return torch.from_dlpack(array.view("int16")).view(torch.bfloat16)
    return torch.from_dlpack(array)


def back(cupy, torch, tensor):
    """Return a tensor as a NumPy array."""
    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:
        return cupy.from_dlpack(tensor.view(torch.int16)).get().view(ml_dtypes.bfloat16)
    return cupy.from_dlpack(tensor).get()


every_dtype = pytest.mark.parametrize("dtype", FLOATS, ids=str)
PADDED = {name: case for name, case in POOLINGS.items() if not case.unequal}  # PyTorch has one padding for both sides
UNDILATED = {name: case for name, case in PADDED.items() if max(case.dilation) == 1}
APART = {name: case for name, case in UNDILATED.items() if all(k <= s for k, s in zip(*case[1:3], strict=True))}


def undilated(case):
    return {key: case.window[key] for key in ("kernel_size", "stride", "padding")}


@pytest.mark.parametrize("case", PADDED.values(), ids=PADDED)
@every_dtype
def test_pytorch_pools_alike(cuda, cupy, torch, case, dtype):
    """Ties, NaNs, infinities and denormals. NaN payloads may differ, since PyTorch converts halves to float32."""
    function = getattr(torch.nn.functional, f"max_pool{case.rank}d")
    for make in (crowded, bits, whole):
        x = cuda.asarray(make(dtype, (2, 3, *case.size)))
        expected = function(theirs(torch, x), **case.arguments, return_indices=True)
        actual = case.function("max_pool")(x, **case.arguments, return_indices=True)
        assert_same_numbers(cuda.tonumpy(actual[0]), back(cupy, torch, expected[0]))
        assert_same_bits(cuda.tonumpy(actual[1]), back(cupy, torch, expected[1]))


@pytest.mark.parametrize("case", APART.values(), ids=APART)
@every_dtype
def test_pytorch_unpools_alike(cuda, cupy, torch, case, dtype):
    """No index repeats here; with repeated indices PyTorch's result is not deterministic."""
    indices = cuda.asarray(pooled(case, (2, 3), "channels_first"))
    values = cuda.asarray(bits(dtype, indices.shape))
    function = getattr(torch.nn.functional, f"max_unpool{case.rank}d")
    expected = function(
        theirs(torch, values), theirs(torch, indices), **undilated(case), output_size=(2, 3, *case.size)
    )
    actual = case.function("max_unpool")(values, indices, **case.window, output_size=case.size)
    assert_same_bits(cuda.tonumpy(actual), back(cupy, torch, expected))


@pytest.mark.parametrize("case", APART.values(), ids=APART)
@every_dtype
def test_pytorch_has_the_same_gradient_of_unpooling(cuda, cupy, torch, case, dtype):
    """NaN payloads may differ, since PyTorch changes those of halves."""
    there = pooled(case, (2, 3), "channels_first")
    indices = cuda.asarray(there)
    values = theirs(torch, cuda.asarray(whole(dtype, there.shape))).requires_grad_()
    function = getattr(torch.nn.functional, f"max_unpool{case.rank}d")
    result = function(values, theirs(torch, indices), **undilated(case), output_size=(2, 3, *case.size))
    grad = cuda.asarray(bits(dtype, (2, 3, *case.size), 1))
    result.backward(theirs(torch, grad))
    actual = case.function("max_unpool_backward")(grad, indices, **case.window)
    assert_same_numbers(cuda.tonumpy(actual), back(cupy, torch, values.grad))


@pytest.mark.parametrize("case", PADDED.values(), ids=PADDED)
@every_dtype
def test_pytorch_has_the_same_gradient_of_pooling(cuda, cupy, torch, case, dtype):
    """Small integers add up exactly in any order: at most 8 for each of 25 windows."""
    x = cuda.asarray(whole(dtype, (2, 3, *case.size)))
    expected, actual, _ = gradients(cuda, cupy, torch, case, x, whole)
    assert_same_bits(actual, expected)


@pytest.mark.parametrize("name", ["overlap", "overlap and padding", "wide padding", "volume, overlap and padding"])
def test_pytorch_has_about_the_same_gradient_of_pooling(cuda, cupy, torch, name):
    """PyTorch adds floats in any order, so the error is at most one rounding of the absolute sum for each tap."""
    case = POOLINGS[name]

    def normal(dtype, shape, seed=0):
        return np.random.default_rng(seed).standard_normal(shape).astype(dtype)

    x = cuda.asarray(normal("float32", (2, 3, *case.size)))
    expected, actual, sizes = gradients(cuda, cupy, torch, case, x, normal)
    assert np.all(np.abs(actual - expected) <= math.prod(case.kernel) * 2.0**-23 * sizes)


def gradients(cuda, cupy, torch, case, x, make):
    """Return PyTorch's gradient of a pooling, unpool's, and unpool's of the absolute values."""
    leaf = theirs(torch, x).requires_grad_()
    result = getattr(torch.nn.functional, f"max_pool{case.rank}d")(leaf, **case.arguments)
    grad = make(x.dtype, tuple(result.shape), 1)
    result.backward(theirs(torch, cuda.asarray(grad)))
    _, indices = case.function("max_pool")(x, **case.arguments, return_indices=True)
    actual, sizes = (
        cuda.tonumpy(case.function("max_pool_backward")(cuda.asarray(given), indices, x.shape, **case.window))
        for given in (grad, np.abs(grad))
    )
    return back(cupy, torch, leaf.grad), actual, sizes
