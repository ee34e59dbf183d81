"""PyTorch's tensors on a GPU: the CUDA kernels on PyTorch's stream and memory.

`tools/check_gpu.sh` runs this file. Results are compared with the same call on CPU tensors, which other files test.
"""

import pytest
from needs import promised, require, require_backend

import unpool
from unpool.testing.cases import POOLINGS

torch = require("torch", "the tests of its tensors need it")
require_backend("torch")

if not torch.cuda.is_available():
    if {"torch", "cupy"} <= promised():
        pytest.fail("UNPOOL_REQUIRE promises torch and cuda, and PyTorch finds no GPU", pytrace=False)
    pytest.skip("PyTorch finds no GPU: the tests of its tensors need one", allow_module_level=True)
require("cupy", "the kernels take PyTorch's tensors as CuPy arrays")
require_backend("cuda")

from torch_models import Classifier, UNet3d, trained  # noqa: E402

import unpool.torch  # noqa: E402

DTYPES = [
    getattr(torch, name)
    for name in ("float16", "bfloat16", "float32", "float64", "uint8", "int64", "bool", "complex64", "complex128")
]
WHERE = torch.device("cuda", 0)
quiet = pytest.mark.filterwarnings("ignore")  # PyTorch's compiler warns about itself


def some(dtype, shape, seed=0):
    """Return integers that every dtype represents exactly, so sums do not depend on their order."""
    made = torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(seed))
    return made.abs().to(dtype) if dtype in (torch.uint8, torch.bool) else made.to(dtype)


def case_of(name):
    case = POOLINGS[name]
    shape = case.shape((2, 3), "channels_first")
    return case, shape, [getattr(unpool, f"max_{kind}{case.rank}d") for kind in ("pool", "unpool")]


def assert_same(found, expected):
    assert found.device == WHERE
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", POOLINGS)
def test_the_same_as_on_the_cpu(name, dtype):
    case, shape, (pool, up) = case_of(name)
    down = getattr(unpool, f"max_unpool{case.rank}d_backward")
    x = some(dtype, shape)
    if dtype.is_complex:  # complex numbers have no order
        values, indices = pool(x.real, **case.arguments, return_indices=True)
        values = values.to(dtype)
    else:
        values, indices = pool(x, **case.arguments, return_indices=True)
        for found, expected in zip(
            pool(x.to(WHERE), **case.arguments, return_indices=True), (values, indices), strict=True
        ):
            assert_same(found, expected)
    there = values.to(WHERE), indices.to(WHERE)
    for duplicates in ("last", "sum"):
        named = {"output_size": shape, "duplicates": duplicates}
        assert_same(up(*there, **case.window, **named), up(values, indices, **case.window, **named))
    assert_same(down(x.to(WHERE), there[1], **case.window), down(x, indices, **case.window))


@quiet
def test_gradients_and_second_order():
    x = torch.rand((2, 2, 6, 5), dtype=torch.float64, device=WHERE, requires_grad=True)
    values, indices = unpool.max_pool2d(x.detach(), 3, 2, 1, return_indices=True)
    values.requires_grad_()
    for duplicates in ("last", "sum"):

        def call(values, duplicates=duplicates):
            return unpool.max_unpool2d(values, indices, 3, 2, 1, output_size=(6, 5), duplicates=duplicates)

        assert torch.autograd.gradcheck(call, values, check_forward_ad=True)
        assert torch.autograd.gradgradcheck(call, values)
    assert torch.autograd.gradcheck(lambda x: unpool.max_pool2d(x, 3, 2, 1), x, check_forward_ad=True)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_memory_formats_and_vmap(memory_format):
    x = some(torch.float32, (4, 3, 8, 6)).contiguous(memory_format=memory_format)
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    y = x.to(WHERE)
    found = unpool.max_pool2d(y, 2, return_indices=True)
    assert_same(found[0], values)
    assert_same(found[1], indices)
    assert found[0].is_contiguous(memory_format=memory_format)
    planes = unpool.max_unpool2d(*found, 2)
    assert_same(planes, unpool.max_unpool2d(values, indices, 2))
    assert planes.is_contiguous(memory_format=memory_format)
    assert_same(torch.vmap(lambda v, i: unpool.max_unpool2d(v, i, 2))(*found), unpool.max_unpool2d(values, indices, 2))


def test_a_call_comes_after_what_its_stream_was_told_before():
    """Kernels run on PyTorch's current stream."""
    x = torch.rand((4, 16, 256, 256), device=WHERE)
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    expected = unpool.max_unpool2d(values, indices, 2)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    for validate in (True, False):
        with torch.cuda.stream(stream):
            late = torch.zeros_like(values)
            torch.cuda._sleep(20_000_000)
            late.copy_(values)
            found = unpool.max_unpool2d(late, indices, 2, validate=validate)
            late.fill_(-1)
        stream.synchronize()
        assert torch.equal(found, expected)


def test_nothing_is_copied():
    x = torch.rand((8, 16, 256, 256), device=WHERE).to(torch.bfloat16)
    values, indices = unpool.max_pool2d(x, 2, return_indices=True, index_dtype="int32")
    out = torch.empty_like(x)
    unpool.max_unpool2d(values, indices, 2, out=out)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, address = torch.cuda.memory_allocated(), out.data_ptr()
    assert unpool.max_unpool2d(values, indices, 2, out=out) is out
    assert torch.cuda.max_memory_allocated() == before
    assert out.data_ptr() == address


def test_bad_calls():
    values, indices = unpool.max_pool2d(torch.rand((1, 2, 4, 4), device=WHERE), 2, return_indices=True)
    strayed = indices.clone()
    strayed[0, 1, 1, 0] = 99
    with pytest.raises(IndexError, match=r"indices\[0, 1, 1, 0\] = 99 is out of range"):
        unpool.max_unpool2d(values, strayed, 2)
    with pytest.raises(TypeError, match="must be on one device"):
        unpool.max_unpool2d(values, indices.cpu(), 2)
    with pytest.raises(ValueError, match="must not repeat"):
        unpool.max_unpool2d(values, torch.zeros_like(indices), 2, duplicates="error")
    assert torch.equal(unpool.max_unpool2d(values, indices, 2).sum(), values.sum())  # the CUDA context still works


@quiet
@pytest.mark.parametrize("compiler", ["aot_eager", "inductor"])
def test_compiled(compiler):
    def both(x):
        values, indices = unpool.max_pool2d(x * 2, 2, return_indices=True)
        return unpool.max_unpool2d(values, indices, 2) + 1

    x = torch.rand((2, 3, 8, 6), device=WHERE, requires_grad=True)
    expected = both(x)
    (slope,) = torch.autograd.grad(expected.square().sum(), x)
    found = torch.compile(both, fullgraph=True, backend=compiler)(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), x)[0], slope)


def test_layers_and_determinism():
    pool, up = unpool.torch.MaxPool2d(2, return_indices=True), unpool.torch.MaxUnpool2d(2)
    x = torch.rand((2, 3, 8, 6), device=WHERE, requires_grad=True)
    torch.use_deterministic_algorithms(True)
    try:
        up(*pool(x)).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(x.grad.cpu(), (up(*pool(x)) > 0).float().cpu())


# --- deterministic training -------------------------------------------------------------------------------------------


def test_taking_along_planes():
    x = some(torch.float32, (2, 3, 7, 6))
    indices = torch.randint(42, (2, 3, 5, 9))
    there = x.to(WHERE).requires_grad_()
    found = unpool.take_along_plane(there, indices.to(WHERE))
    x.requires_grad_()
    expected = unpool.take_along_plane(x, indices)
    assert_same(found.detach(), expected.detach())
    grad = some(torch.float32, expected.shape, 1)
    gradients = [torch.autograd.grad(y, x, g)[0] for y, x, g in ((found, there, grad.to(WHERE)), (expected, x, grad))]
    assert_same(*gradients)
    with pytest.raises(IndexError, match="out of range for an input plane of 7 x 6"):
        unpool.take_along_plane(there, indices.to(WHERE) + 42)


@pytest.mark.parametrize(
    ("make", "shape", "target", "refused"),
    [
        (UNet3d, (2, 1, 9, 8, 7), (2, 1, 9, 8, 7), "max_unpooling3d_forward_out"),
        (Classifier, (2, 3, 7, 9), (2, 4), "adaptive_max_pool2d_backward_cuda"),
    ],
    ids=["volumes", "adaptive"],
)
def test_a_model_trains_with_the_same_bits_once_its_layers_are_replaced(make, shape, target, refused):
    data = some(torch.float32, shape).to(WHERE), some(torch.float32, target, 1).to(WHERE)
    with pytest.raises(RuntimeError, match=f"{refused}.* does not have a deterministic implementation"):
        trained(make, *data)
    one, other = (trained(make, *data, unpool.torch.replace_layers) for _ in range(2))
    assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


def test_layers_of_which_pytorch_refuses_the_gradient():
    """Values are those of `torch.nn`; gradients are those on the CPU."""
    for name, arguments, size in (
        ("AdaptiveMaxPool2d", {"output_size": (9, 3)}, (7, 8)),
        ("AdaptiveMaxPool3d", {"output_size": (2, 3, 4)}, (5, 4, 3)),
        ("FractionalMaxPool2d", {"kernel_size": 3, "output_size": 4, "_random_samples": torch.rand(2, 3, 2)}, (8, 9)),
        (
            "FractionalMaxPool3d",
            {"kernel_size": 2, "output_size": 3, "_random_samples": torch.rand(2, 3, 3)},
            (6, 5, 7),
        ),
    ):
        ours, theirs = (getattr(module, name)(**arguments) for module in (unpool.torch, torch.nn))
        x = torch.rand((2, 3, *size))
        grad = some(torch.float32, theirs(x).shape)
        found = []
        for device in ("cpu", WHERE):
            given = x.to(device).requires_grad_()
            values = ours.to(device)(given)
            assert torch.equal(values, theirs.to(device)(given))
            found.append(torch.autograd.grad(values, given, grad.to(device))[0])
        assert_same(found[1], found[0])
