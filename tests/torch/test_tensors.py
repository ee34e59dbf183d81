"""Tensors of PyTorch: memory, memory formats, devices, `out`, and wrong calls.

unpool.testing.contract runs on tensors, through the fixture `backend`. Derivatives are in test_gradients.py,
compiled and exported programs in test_compiled.py, other tracers in test_tracers.py, layers in test_layers.py.
"""

import contextlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from needs import require, require_backend

import unpool
from unpool import arguments, plan
from unpool.testing.cases import POOLINGS, VALUES, bits, solved
from unpool.testing.compare import assert_same_bits

torch = require("torch", "the tests of its tensors need it")
require_backend("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from unpool_backends import cpu  # noqa: E402
from unpool_backends.torch import memory  # noqa: E402

X = np.random.default_rng(0).permutation(2 * 3 * 8 * 6).reshape(2, 3, 8, 6).astype("float32")
POOLED, INDICES = unpool.max_pool2d(X, 2, return_indices=True)
FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


def tensors(*arrays):
    return [torch.from_numpy(array.copy()) for array in arrays]


# --- memory -----------------------------------------------------------------------------------------------------------


class Witness:
    """Wrap the CPU kernels, and record the addresses of the arrays that they receive and return."""

    def __init__(self, kernels):
        self.kernels, self.seen = kernels, []

    def __getattr__(self, primitive):
        def call(*arguments):
            result = getattr(self.kernels, primitive)(*arguments)
            arrays = [*arguments, *(result if isinstance(result, tuple) else [result])]
            self.seen += [array.ctypes.data for array in arrays if isinstance(array, np.ndarray)]
            return result

        return call


@pytest.mark.parametrize("dtype", ["uint8", "bool", "float16", "bfloat16", "float32", "complex128"])
def test_a_call_copies_nothing(monkeypatch, dtype):
    witness = Witness(cpu.BACKEND)
    monkeypatch.setattr(cpu, "BACKEND", witness)
    values, indices = torch.ones((2, 3, 4, 3), dtype=getattr(torch, dtype)), torch.from_numpy(INDICES)
    planes = unpool.max_unpool2d(values, indices, 2)
    taken = unpool.max_unpool2d_backward(planes, indices, 2)
    seen = [values, indices, planes, planes, indices, taken]
    if not dtype.startswith("complex"):
        found = unpool.max_pool2d(planes, 2, return_indices=True)
        seen += [planes, *found]
    assert witness.seen == [tensor.data_ptr() for tensor in seen]
    assert all(tensor.dtype == values.dtype for tensor in (planes, taken))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_an_operator_names_sizes_in_the_order_of_the_user(memory_format):
    """A direct call of the operator has no Plan that was checked before."""
    indices = torch.zeros((2, 3, 4, 5), dtype=torch.int64)
    planes = torch.ones((2, 2, 8, 10)).contiguous(memory_format=memory_format)
    window = [2, 2], [2, 2], [0, 0], [1, 1]
    with pytest.raises(ValueError, match=r"`indices`, got \(2, 2, 8, 10\) for shape \(2, 3, 4, 5\)"):
        torch.ops.unpool.max_unpool_backward(planes, indices, *window, False, "plane", "last", "plane", "grad_output")


@pytest.mark.parametrize("case", POOLINGS.values(), ids=POOLINGS)
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_memory_formats(case, dtype):
    """channels_last tensors are not copied; results are channels_last too."""
    x = bits(dtype, case.shape((2, 3), "channels_first"))
    names = f"max_pool{case.rank}d", f"max_unpool{case.rank}d", f"max_unpool{case.rank}d_backward"
    pool, up, down = (getattr(unpool, name) for name in names)
    values, indices = pool(x, **case.arguments, return_indices=True)
    plain = tensors(x, values, indices)
    if case.rank == 1:
        lying = [tensor.mT.contiguous().mT for tensor in plain]  # PyTorch has no memory format for this order
    else:
        lying = [tensor.contiguous(memory_format=FORMATS[case.rank]) for tensor in plain]
    for given in (lying, [lying[0], lying[1], plain[2]], [plain[0], plain[1], lying[2]]):
        y, v, i = given
        results = [
            (*pool(y, **case.arguments, return_indices=True), y),
            (up(v, i, **case.window, output_size=y.shape, duplicates="sum"), v),
            (up(v, i, **case.window, output_size=y.shape), v),
            (down(y, i, **case.window), y),
        ]
        expected = [
            (values, indices),
            (up(values, indices, **case.window, output_size=x.shape, duplicates="sum"),),
            (up(values, indices, **case.window, output_size=x.shape),),
            (down(x, indices, **case.window),),
        ]
        for (*found, like), wanted in zip(results, expected, strict=True):
            for actual, right in zip(found, wanted, strict=True):
                assert_same_bits(actual.numpy(), right)
                last = case.rank > 1 and not like.is_contiguous()
                assert actual.is_contiguous(memory_format=FORMATS[case.rank] if last else torch.contiguous_format)


def test_an_error_speaks_of_the_users_order():
    """In channels_last memory another bad index comes first. The error names the first in row-major order."""
    indices = INDICES.copy()
    indices[0, 2, 0, 0], indices[0, 1, 1, 1] = 70, 71
    values, indices = tensors(POOLED, indices)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        given = values.contiguous(memory_format=memory_format), indices.contiguous(memory_format=memory_format)
        with pytest.raises(
            IndexError, match=r"indices\[0, 1, 1, 1\] = 71 is out of range for an output plane of 8 x 6"
        ):
            unpool.max_unpool2d(*given, 2)
        with pytest.raises(ValueError, match=r"got indices\[0, 0, 0, 0\] = indices\[0, 0, 0, 1\] = 0"):
            unpool.max_unpool2d(given[0], torch.zeros_like(given[1]), 2, duplicates="error")


@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_views(dtype):
    """Tensors may have any strides, also 0. A conjugate view is computed lazily."""
    values, indices = bits(dtype, (4, 3, 3, 2)), INDICES
    name = np.dtype(dtype).name
    words = values.view(np.uint16) if name == "bfloat16" else values
    tensor = torch.from_numpy(words).view(getattr(torch, name)).permute(3, 2, 0, 1)
    expected = unpool.max_unpool2d(values.transpose(3, 2, 0, 1), indices, 2)
    found = unpool.max_unpool2d(tensor, torch.from_numpy(indices), 2)
    assert_same_bits(found.view(torch.uint16).numpy().view(dtype) if name == "bfloat16" else found.numpy(), expected)
    spread = unpool.max_unpool2d(torch.ones(()).expand(2, 3, 4, 3), torch.from_numpy(indices), 2)
    assert_same_bits(spread.numpy(), unpool.max_unpool2d(np.ones((2, 3, 4, 3), "float32"), indices, 2))
    if name.startswith("complex"):
        found = unpool.max_unpool2d(tensor.conj(), torch.from_numpy(indices), 2)
        assert_same_bits(
            found.resolve_conj().numpy(), unpool.max_unpool2d(values.transpose(3, 2, 0, 1).conj(), indices, 2)
        )


def test_results_are_like_any_tensor():
    x = torch.from_numpy(X.copy())
    values = unpool.max_pool2d(x, 2)
    values.mul_(2)
    assert_same_bits(x.numpy(), X)  # results are no views of the input
    assert type(unpool.max_pool2d(torch.nn.Parameter(x), 2)) is torch.Tensor
    values.resize_(1)
    assert not values.requires_grad


def test_tensors_without_values():
    x = torch.empty((2, 3, 8, 6), device="meta")
    values, indices = unpool.max_pool2d(x, 3, 2, return_indices=True, index_dtype="int32")
    planes = unpool.max_unpool2d(values, indices, 3, 2, output_size=x.shape)
    taken = unpool.max_unpool2d_backward(planes, indices, 3, 2)
    assert [tuple(t.shape) for t in (values, indices, planes, taken)] == [(2, 3, 3, 2)] * 2 + [
        (2, 3, 8, 6),
        (2, 3, 3, 2),
    ]
    assert indices.dtype == torch.int32
    assert all(t.is_meta for t in (values, indices, planes, taken))


# --- CUDA, without a GPU ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "bool", "complex64"])
def test_the_way_to_the_kernels_of_cuda(monkeypatch, dtype):
    """Tensors become CuPy arrays on PyTorch's current stream, and results become tensors. NumPy replaces CuPy."""
    streams = []

    @contextlib.contextmanager
    def current(which):
        streams.append(which)
        yield
        streams.append("left")

    cuda = SimpleNamespace(
        Device=lambda index: current(f"device {index}"),
        Stream=SimpleNamespace(from_external=lambda stream: current(stream)),
    )
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(from_dlpack=np.from_dlpack, cuda=cuda))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(memory, "_cuda", lambda name: getattr(cpu, name))
    x = torch.arange(1, 2 * 3 * 8 * 6 + 1).reshape(2, 3, 8, 6).to(getattr(torch, dtype))
    real = not dtype.startswith("complex")
    window = arguments.window(2, 2, None, 0, 1)
    pooling = plan.plan_pooling(tuple(x.shape), window, False, False, "int32")
    unpooling = plan.plan_unpooling((2, 3, 4, 3), window, None, False)
    values, indices = unpool.max_pool2d(x if real else x.real, 2, return_indices=True, index_dtype="int32")
    values = values.to(x.dtype)
    planes = memory.CUDA.scatter(values, indices, unpooling, "last")
    assert torch.equal(planes, unpool.max_unpool2d(values, indices, 2))
    assert torch.equal(memory.CUDA.gather(planes, indices, unpooling, "last"), values)
    if real:
        for actual, expected in zip(memory.CUDA.pool(x, pooling), (values, indices), strict=True):
            assert torch.equal(actual, expected)
            assert actual.dtype == expected.dtype
    assert streams == ["device None", "stream of cpu", "left", "left"] * (3 if real else 2)
    out = torch.empty_like(planes)
    assert memory.CUDA.scatter(values, indices, unpooling, "sum", out) is out
    assert torch.equal(out, planes)


# --- out= -------------------------------------------------------------------------------------------------------------


def test_out_and_gradients():
    """`out` is refused if a gradient has to pass through the call, and accepted otherwise."""
    x, values, indices = tensors(X, POOLED, INDICES)
    calls = {
        "input": lambda t, out: unpool.max_unpool2d(t, indices, 2, out=out),
        "grad_output": lambda t, out: unpool.max_pool2d_backward(t, indices, (8, 6), 2, out=out),
    }
    for argument, call in calls.items():
        wanting = values.clone().requires_grad_()
        with pytest.raises(ValueError, match=f"`out` must be left out where a gradient is to pass, got `{argument}`"):
            call(wanting, torch.empty((2, 3, 8, 6)))
        with torch.no_grad():
            out = torch.empty((2, 3, 8, 6))
            assert call(wanting, out) is out
        assert_same_bits(out.numpy(), unpool.max_unpool2d(POOLED, INDICES, 2))
        with pytest.raises(ValueError, match="got `out` that requires one"):
            call(values, torch.empty((2, 3, 8, 6), requires_grad=True))
    with pytest.raises(ValueError, match="where a gradient is to pass"):
        unpool.max_pool2d(x.requires_grad_(), 2, out=torch.empty((2, 3, 4, 3)))


def test_autograd_hears_of_what_is_written():
    """Writing into `out` bumps its version counter, so a backward pass that saved it raises."""
    values, indices = tensors(POOLED, INDICES)
    x, weights = torch.from_numpy(X.copy()), torch.zeros((2, 3, 8, 6), requires_grad=True)
    calls = [
        (lambda out: unpool.max_unpool2d(values, indices, 2, out=out), torch.ones((2, 3, 8, 6)), weights),
        (
            lambda out: unpool.max_unpool2d_backward(x, indices, 2, out=out),
            torch.ones((2, 3, 4, 3)),
            weights[..., :4, :3],
        ),
        (lambda out: unpool.max_pool2d(x, 2, out=out), torch.ones((2, 3, 4, 3)), weights[..., :4, :3]),
    ]
    for call, out, factor in calls:
        product = (out * factor).sum()
        call(out)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            product.backward()


@pytest.mark.parametrize(
    "make",
    [
        lambda shape: torch.zeros(shape, dtype=torch.complex64).conj(),
        lambda shape: torch._neg_view(torch.zeros(shape, dtype=torch.complex64)),
        lambda shape: torch.zeros((*shape, 2), dtype=torch.complex64)[..., 0],
    ],
    ids=["conjugate", "negative", "strided"],
)
def test_out_that_is_no_array(make):
    values, indices = tensors(POOLED.astype("complex64"), INDICES)
    with pytest.raises(ValueError, match="`out` must be writeable, aligned, C-contiguous"):
        unpool.max_unpool2d(values, indices, 2, out=make((2, 3, 8, 6)))


def test_a_part_of_a_picture_with_its_channels_last():
    x = torch.from_numpy(bits("float32", (2, 5, 9, 8))).contiguous(memory_format=torch.channels_last)
    for part in (x[..., :8, :6], x[:, 1:4], x[:, :, 1:, 1:]):
        values, indices = unpool.max_pool2d(part, 2, return_indices=True)
        expected = unpool.max_pool2d(part.contiguous().numpy(), 2, return_indices=True)
        assert values.is_contiguous(memory_format=torch.channels_last)
        for actual, wanted in zip((values, indices), expected, strict=True):
            assert_same_bits(actual.numpy(), wanted)


def test_out_of_a_mapped_call():
    """Within `torch.vmap`, the result is copied into `out`."""

    def call(values, indices, out):
        return unpool.max_unpool2d(values, indices, 2, out=out)

    out = torch.empty((2, 3, 8, 6))
    torch.vmap(call)(*tensors(POOLED, INDICES), out)
    assert_same_bits(out.numpy(), unpool.max_unpool2d(POOLED, INDICES, 2))


# --- wrong calls ------------------------------------------------------------------------------------------------------

WRONG = {
    "sparse": (
        lambda x, v, i: unpool.max_pool2d(x.to_sparse(), 2),
        "`input` must be a dense tensor, got torch.sparse_coo: pass input.to_dense()",
    ),
    "sparse indices": (lambda x, v, i: unpool.max_unpool2d(v, i.to_sparse(), 2), "`indices` must be a dense tensor"),
    "sparse gradient": (
        lambda x, v, i: unpool.max_unpool2d_backward(x.to_sparse(), i, 2),
        "`grad_output` must be a dense",
    ),
    "two devices": (
        lambda x, v, i: unpool.max_unpool2d(v, i.to("meta"), 2),
        "`input` and `indices` must be on one device, got cpu and meta: pass indices.to(input.device)",
    ),
    "NumPy's indices": (lambda x, v, i: unpool.max_unpool2d(v, INDICES, 2), "pass torch.as_tensor(indices)"),
    "NumPy's values": (lambda x, v, i: unpool.max_unpool2d(POOLED, i, 2), "pass numpy.asarray(indices)"),
    "float indices": (lambda x, v, i: unpool.max_unpool2d(v, i.float(), 2), "`indices` must be integers"),
    "complex": (lambda x, v, i: unpool.max_pool2d(x.to(torch.complex64), 2), "got complex64"),
    "float8": (lambda x, v, i: unpool.max_pool2d(x.to(torch.float8_e5m2), 2), "got float8_e5m2"),
    "another backend": (lambda x, v, i: unpool.max_pool2d(x, 2, backend="cpu"), "pass numpy.asarray(input)"),
    "a list": (lambda x, v, i: unpool.max_pool2d([x, x], 2), "`input` must be an array, got a list"),
    "out, elsewhere": (
        lambda x, v, i: unpool.max_unpool2d(v, i, 2, out=x.to("meta")),
        "`input` and `out` must be on one device, got cpu and meta",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_wrong_calls(call, message):
    with pytest.raises(TypeError) as caught:
        call(*tensors(X, POOLED, INDICES))
    assert message in str(caught.value)


def test_a_device_that_no_kernel_reaches(monkeypatch):
    monkeypatch.setattr(memory, "DEVICES", ("cpu", "cuda"))
    with pytest.raises(TypeError, match=r"`input` must be on the CPU or on a CUDA device, got a tensor on meta: pass "):
        unpool.max_pool2d(torch.ones((1, 2, 2), device="meta"), 2)


# --- sizes and conventions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size",
    [torch.Size((2, 3, 8, 6)), (8, 6), torch.tensor([8, 6]), [torch.tensor(8), 6], [None, 3, 8, 6]],
    ids=["Size", "tuple", "tensor", "list of tensors", "open"],
)
def test_sizes(size):
    found = unpool.max_unpool2d(*tensors(POOLED, INDICES), 2, output_size=size)
    assert_same_bits(found.numpy(), unpool.max_unpool2d(POOLED, INDICES, 2))


CONVENTIONS = ("plane", "tensorflow", "tensorflow_batch", "onnx", "window")


@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_conventions(data_format, dtype):
    case = POOLINGS["odd"]
    named = case.window | {"data_format": data_format, "output_size": case.shape((2, 3), data_format)}
    indices = solved(case, (2, 3), data_format)[2].astype(dtype)
    for source in CONVENTIONS:
        given = unpool.convert_indices(indices, "plane", source, **named)
        for target in CONVENTIONS:
            found = unpool.convert_indices(torch.from_numpy(given), source, target, **named)
            assert_same_bits(found.numpy(), unpool.convert_indices(given, source, target, **named))
        bad = given.copy()
        bad[1, 0, 1, 0] = min(10**6, np.iinfo(given.dtype).max)
        target = "onnx" if source == "plane" else "plane"
        messages = []
        for array in (bad, torch.from_numpy(bad)):
            with pytest.raises(IndexError) as caught:
                unpool.convert_indices(array, source, target, **named)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]


class Picture(torch.Tensor):
    pass


class Watch(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        return function(*arguments, **(named or {}))


def test_an_index_is_looked_at_wherever_it_has_a_value():
    """Indices are checked in tensor subclasses, within dispatch modes, and while another thread compiles."""
    bad = torch.tensor([[[[10**6]]]])

    def convert(indices):
        return unpool.convert_indices(indices, "plane", "onnx", output_size=(1, 1, 4, 4))

    def refused(indices):
        with pytest.raises(IndexError, match=r"indices\[0, 0, 0, 0\] = 1000000 does not fit"):
            convert(indices)

    refused(bad.as_subclass(Picture))
    with Watch():
        refused(bad)
    with torch.autograd.forward_ad.dual_level():
        refused(bad)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        refused(bad)
    assert convert(bad.to("meta")).is_meta


def test_modules():
    pool, up = unpool.MaxPool2d(3, 2, 1, return_indices=True), unpool.MaxUnpool2d(3, 2, 1, duplicates="sum")
    values, indices = pool(torch.from_numpy(X.copy()))
    expected = up(*pool(X), X.shape)
    assert_same_bits(up(values, indices, X.shape).numpy(), expected)


def test_determinism_may_be_demanded():
    """Unpooling has a deterministic implementation, and that of `torch.nn` has none."""
    values, indices = tensors(POOLED, INDICES)
    torch.use_deterministic_algorithms(True)
    try:
        assert_same_bits(unpool.max_unpool2d(values, indices, 2).numpy(), unpool.max_unpool2d(POOLED, INDICES, 2))
        with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
            torch.nn.functional.max_unpool2d(values, indices, 2)
    finally:
        torch.use_deterministic_algorithms(False)
