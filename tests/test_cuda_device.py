"""What only a GPU can tell: that the context survives, graphs, streams, arrays of over 2**31 elements, PyTorch's CUDA.

None of this has run yet (README, "State").  `tools/check_gpu.sh` runs it, with all the rest, on a machine with a GPU.
"""

import numpy as np
import pytest
import reference
from cases import FORMATS, POOLINGS, anywhere, bits, pooled, pooling, unique
from compare import assert_same_bits
from kinds import CuPyArrays
from needs import require

import unpool


@pytest.fixture(scope="module")
def cuda(request):
    if request.config.getoption("--cuda-on-cpu"):
        pytest.skip("this is about a GPU, which --cuda-on-cpu stands in for")
    return CuPyArrays()


@pytest.fixture(scope="module")
def cupy(cuda):
    return cuda.cupy


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [-1, 48, 2**31 + 3, 2**32 + 3, -(2**63), 2**63 - 1])
def test_a_bad_index_leaves_the_context_usable(cuda, cupy, bad):
    """PyTorch's assertion would have cost the process its device."""
    case = POOLINGS["even"]
    indices = pooled(case, (2, 3), "channels_first")
    values, grad = bits("float32", indices.shape), bits("float32", case.shape((2, 3), "channels_first"))
    wrong = indices.copy()
    wrong[1, 2, 1, 1] = bad
    for duplicates in ("last", "sum", "error"):
        for function, array in ((unpool.max_unpool2d, values), (unpool.max_unpool2d_backward, grad)):
            with pytest.raises(IndexError, match=r"indices\[1, 2, 1, 1\] = "):
                cuda.run(function, array, wrong, 2, duplicates=duplicates)
            assert int(cupy.arange(1000).sum()) == 499500
            actual = cuda.call(unpool.max_unpool2d, values, indices, 2, duplicates=duplicates)
            assert_same_bits(actual, reference.max_unpool(values, indices, case.size, duplicates))
    with pytest.raises(IndexError, match="out of range"):
        cuda.run(unpool.max_pool2d_backward, values, wrong, case.size, 2)
    cupy.cuda.Device().synchronize()


# --- graphs and streams -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", ["by pooling", "by hand"])
@pytest.mark.parametrize("name", ["even", "odd", "overlap and padding", "large overlap"])
def test_a_graph_is_replayed(cuda, cupy, name, made):
    """With new values and indices each time, while other arrays take all the memory that was given back."""
    case = pooling((90, 120), 3, 2, 1) if name == "large overlap" else POOLINGS[name]
    shape = pooled(case, (2, 3), "channels_first").shape
    plane, cells = case.shape((2, 3), "channels_first"), int(np.prod(case.size))

    def inputs(seed):
        x = bits("float32", plane, seed)
        found = case.pool(x, "channels_first")[1] if made == "by pooling" else anywhere(shape, cells, seed)
        return bits("float32", shape, seed + 1), found, x

    values, indices, x = (cuda.asarray(array) for array in inputs(0))
    window = case.window

    def calls():
        results = [
            unpool.max_unpool2d(values, indices, **window, output_size=case.size, duplicates=mode)
            for mode in ("last", "sum")
        ]
        results += [unpool.max_unpool2d_backward(x, indices, **window, duplicates=mode) for mode in ("last", "sum")]
        return [*results, *unpool.max_pool2d(x, **window, return_indices=True)]

    stream = cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.Device().synchronize()
    with stream:
        calls()  # compiles
        stream.synchronize()
        stream.begin_capture()
        results = calls()
        with pytest.raises(ValueError, match="while a CUDA graph is captured"):
            unpool.max_unpool2d(values, indices, **window, output_size=case.size, duplicates="error")
        graph = stream.end_capture()
    for seed in (2, 4, 6):
        rubbish = [cupy.full(2**n, 0xA5, "uint8") for n in range(4, 24) for _ in range(3)]
        fresh = inputs(seed)
        for array, new in zip((values, indices, x), fresh, strict=True):
            array.set(new)
        cupy.cuda.Device().synchronize()
        graph.launch(stream)
        stream.synchronize()
        del rubbish
        wanted = [reference.max_unpool(*fresh[:2], case.size, mode) for mode in ("last", "sum")]
        wanted += [reference.max_unpool_backward(fresh[2], fresh[1], 2, mode) for mode in ("last", "sum")]
        wanted += case.pool(fresh[2], "channels_first")
        for mode, actual, expected in zip(("last", "sum", *["moved"] * 4), results, wanted, strict=True):
            if mode == "sum":
                np.testing.assert_array_equal(cuda.tonumpy(actual), expected)  # of NaNs, any
            else:
                assert_same_bits(cuda.tonumpy(actual), expected)


def test_a_call_waits_for_its_own_stream(cuda, cupy):
    """What its stream was told before is done before; what another one is doing does not matter."""
    case = pooling((512, 512), 2)
    indices = pooled(pooling((512, 512), 2), (8,), "channels_first")
    wanted = [bits("float32", indices.shape, seed) for seed in range(2)]
    given = [cupy.asarray(values) for values in wanted]
    there = cupy.asarray(indices)
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    buffers = [cupy.zeros(indices.shape, "float32") for _ in range(2)]
    outs = [cupy.empty(case.shape((8,), "channels_first"), "float32") for _ in range(2)]
    slow = [cupy.ones(2**26, "float32") for _ in range(2)]
    cupy.cuda.Device().synchronize()
    for _ in range(10):
        for turn, stream in enumerate(streams):
            with stream:
                buffers[turn].fill(0)
                for _ in range(5):
                    slow[turn] *= 1
                buffers[turn][...] = given[turn]
                unpool.max_unpool2d(buffers[turn], there, 2, out=outs[turn], validate=False)
        for turn, stream in enumerate(streams):
            stream.synchronize()
            assert_same_bits(outs[turn].get(), reference.max_unpool(wanted[turn], indices, case.size))


def test_a_second_device(cuda, cupy):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one device; --cuda-on-cpu has two")
    with cupy.cuda.Device(1):
        x = cupy.asarray(bits("float32", (2, 3, 16, 16)))
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    restored = unpool.max_unpool2d(values, indices, 2)
    assert {array.device.id for array in (values, indices, restored)} == {1}
    with pytest.raises(TypeError, match="must be on the device"):
        unpool.max_unpool2d(cupy.asarray(values.get()), indices, 2)


# --- memory -----------------------------------------------------------------------------------------------------------


def test_a_call_with_out_takes_a_byte_a_plane(cuda, cupy):
    values, indices = (cupy.zeros((64, 64, 28, 28), dtype) for dtype in ("float32", "int64"))
    out = cupy.empty((64, 64, 56, 56), "float32")
    pool = cupy.cuda.MemoryPool()
    with cupy.cuda.using_allocator(pool.malloc):
        unpool.max_unpool2d(values, indices, 2, out=out)
        assert pool.total_bytes() <= 64 * 64 + 24 + 2 * 512  # and the answer that is read back


def room(cupy, needed):
    free, _ = cupy.cuda.Device().mem_info
    if free < needed:
        pytest.skip(f"needs {needed >> 30} GiB of a GPU's memory, and {free >> 30} are free")


@pytest.mark.parametrize("index_dtype", ["int32", "int64"])
@pytest.mark.parametrize("data_format", FORMATS)
def test_over_2_31_elements(cuda, cupy, data_format, index_dtype):
    """2**31 + 2**25 bytes of planes, and a quarter of it pooled: some 8 GiB with indices of 8 bytes."""
    room(cupy, 12 << 30)
    last = data_format == "channels_last"
    planes, size = 65 << 7, 512  # 8320 planes of 512 x 512 cells
    shape = (planes // 64, size, size, 64) if last else (planes // 64, 64, size, size)
    x = cupy.empty(shape, "uint8")
    assert x.size > 2**31
    flat, pattern = x.reshape(-1), cupy.asarray(bits("uint8", (2**24 + 7,)))  # so no two samples are alike
    for start in range(0, flat.size, pattern.size):
        flat[start : start + pattern.size] = pattern[: flat.size - start]
    named = {"data_format": data_format}
    values, indices = unpool.max_pool2d(x, 2, return_indices=True, index_dtype=index_dtype, **named)
    restored = unpool.max_unpool2d(values, indices, 2, **named)
    gathered = unpool.max_unpool2d_backward(x, indices, 2, **named)
    for sample in (0, 127, 128, len(x) - 1):
        expected = unpool.max_pool2d(x[sample].get(), 2, return_indices=True, index_dtype=index_dtype, **named)
        assert_same_bits(values[sample].get(), expected[0])
        assert_same_bits(indices[sample].get(), expected[1])
        assert_same_bits(gathered[sample].get(), expected[0])
        assert_same_bits(restored[sample].get(), unpool.max_unpool2d(*expected, 2, **named))


@pytest.mark.parametrize("stride", [1024, 1000])
def test_a_plane_of_over_2_31_cells(cuda, cupy, stride):
    """One of 65 x 2**25 cells, with windows that lie apart, and that overlap."""
    room(cupy, 8 << 30)
    cells, kernel = 65 << 25, 1024
    count = (cells - kernel) // stride + 1
    rng = np.random.default_rng(0)
    indices = np.arange(count) * stride + rng.integers(0, kernel, count)
    indices[count // 2], indices[0] = cells - 1, 2**31 + 5
    values = rng.integers(1, 256, count).astype("uint8")
    given = cupy.asarray(values[None]), cupy.asarray(indices[None])
    restored = unpool.max_unpool1d(*given, kernel, stride, output_size=(cells,))
    found, where = np.unique(indices[::-1], return_index=True)
    assert_same_bits(restored[0, cupy.asarray(found)].get(), values[::-1][where])
    assert int(cupy.count_nonzero(restored)) == len(found)
    wrong = given[1].copy()
    wrong[0, 7] = 2**32 + 3
    with pytest.raises(IndexError, match=r"indices\[0, 7\] = 4294967299 is out of range"):
        unpool.max_unpool1d(given[0], wrong, kernel, stride, output_size=(cells,))


# --- PyTorch's CUDA ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch(cuda):
    torch = require("torch", "its CUDA kernels are a second oracle")
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch is not built for CUDA")
    return torch


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", ["row", "row, odd", "even", "odd", "overlap and padding", "volume", "volume, odd"])
def test_pytorch_agrees(cuda, torch, name, dtype):
    case = POOLINGS[name]
    functional, rank = torch.nn.functional, case.rank
    x = unique(case.shape((2, 3), "channels_first"), 2000, rank, "channels_first").astype(dtype)
    window = {key: value for key, value in case.window.items() if key != "dilation"}
    theirs = torch.from_numpy(x).cuda().requires_grad_()
    pool = getattr(functional, f"max_pool{rank}d")
    values, indices = pool(theirs, **window, return_indices=True)
    ours = cuda.call(case.function("max_pool"), x, **window, return_indices=True)
    assert_same_bits(ours[0], values.detach().cpu().numpy())
    assert_same_bits(ours[1], indices.cpu().numpy())
    grad = bits("uint8", tuple(values.shape)).astype(dtype)  # small integers, whose sums are exact in any order
    values.backward(torch.from_numpy(grad).cuda())
    back = cuda.call(case.function("max_pool_backward"), grad, ours[1], x.shape, **window)
    assert_same_bits(back, theirs.grad.cpu().numpy())
    if reference.first_repeated(ours[1], rank) is None:
        leaf = values.detach().requires_grad_()
        restored = getattr(functional, f"max_unpool{rank}d")(leaf, indices, **window, output_size=x.shape)
        actual = cuda.call(case.function("max_unpool"), *ours, **window, output_size=x.shape)
        assert_same_bits(actual, restored.detach().cpu().numpy())
        restored.backward(torch.from_numpy(x).cuda())
        gradient = cuda.call(case.function("max_unpool_backward"), x, ours[1], **window)
        assert_same_bits(gradient, leaf.grad.cpu().numpy())
