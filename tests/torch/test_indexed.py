"""Adaptive and fractional pooling of `unpool.torch`: PyTorch's values and indices, with gradients by indices."""

import copy
import inspect
import io

import numpy as np
import pytest
from needs import require, require_backend

from unpool.testing import oracle
from unpool.testing.cases import bits, special

torch = require("torch", "the tests of its layers need it")
require_backend("torch")

from torch_models import INDEXED  # noqa: E402

import unpool.torch  # noqa: E402

# The first forward-mode derivative raises a warning about PyTorch itself.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
# A layer, its arguments, and the spatial sizes of an input.
LAYERS = {
    "adaptive, row": ("AdaptiveMaxPool1d", {"output_size": 4}, (9,)),
    "adaptive, one": ("AdaptiveMaxPool2d", {"output_size": 1}, (5, 4)),
    "adaptive, overlap": ("AdaptiveMaxPool2d", {"output_size": (4, 3)}, (7, 5)),
    "adaptive, larger": ("AdaptiveMaxPool2d", {"output_size": (9, 2)}, (4, 5)),
    "adaptive, as the input": ("AdaptiveMaxPool2d", {"output_size": (None, 2)}, (4, 5)),
    "adaptive, volume": ("AdaptiveMaxPool3d", {"output_size": (2, None, 3)}, (3, 2, 5)),
    "fractional, size": ("FractionalMaxPool2d", {"kernel_size": 3, "output_size": (3, 4)}, (7, 8)),
    "fractional, ratio": ("FractionalMaxPool2d", {"kernel_size": (2, 3), "output_ratio": 0.6}, (7, 8)),
    "fractional, volume": ("FractionalMaxPool3d", {"kernel_size": 2, "output_ratio": (0.6, 0.5, 0.7)}, (6, 5, 7)),
}
every_layer = pytest.mark.parametrize(("name", "arguments", "size"), LAYERS.values(), ids=LAYERS)
every_leading = pytest.mark.parametrize("leading", [(2, 3), (3,)], ids=["batch", "no batch"])
seldom = pytest.mark.one_in(4)  # finite differences and programs take seconds


def pair(name, **arguments):
    """Return a layer of unpool and that of PyTorch."""
    return [getattr(module, name)(**arguments) for module in (unpool.torch, torch.nn)]


def seeded(layer, *given):
    """Call a layer whose windows are random, always with the same ones."""
    torch.manual_seed(7)
    return layer(*given)


def whole(shape, dtype=torch.float64, seed=0):
    return torch.randint(-9, 10, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_same(actual, expected):
    assert actual.dtype == expected.dtype
    assert actual.stride() == expected.stride()
    word = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[actual.element_size()]
    assert torch.equal(actual.view(word), expected.view(word))


# --- the same as in torch.nn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@every_layer
@every_leading
def test_the_same_bits(name, arguments, size, leading, dtype):
    """Gradients are sums of integers, which are exact in any order."""
    ours, theirs = pair(name, **arguments, return_indices=True)
    x = whole((*leading, *size), dtype).requires_grad_()
    results = []
    for layer in (ours, theirs):
        values, indices = seeded(layer, x)
        (gradient,) = torch.autograd.grad(values, x, whole(values.shape, dtype, 1))
        with torch.no_grad():
            results.append((values, indices, gradient, *seeded(layer, x)))
    for actual, expected in zip(*results, strict=True):
        assert_same(actual, expected)
    ours, theirs = pair(name, **arguments)
    assert_same(seeded(ours, x), seeded(theirs, x))


@every_layer
def test_every_bit_of_a_value_is_kept(name, arguments, size):
    """NaNs, their payloads, -0.0 and denormals pass, as in PyTorch."""
    choices = special("float32")
    for fill in (bits("float32", (2, 3, *size)), np.random.default_rng(0).choice(choices, (2, 3, *size))):
        x = torch.from_numpy(fill).requires_grad_()
        ours, theirs = (seeded(layer, x) for layer in pair(name, **arguments, return_indices=True))
        for actual, expected in zip(ours, theirs, strict=True):
            assert_same(actual.detach(), expected.detach())


@pytest.mark.parametrize(
    ("name", "arguments", "size"), [layer for layer in LAYERS.values() if len(layer[2]) > 1], ids=list(LAYERS)[1:]
)
def test_memory_formats(name, arguments, size):
    formats = {2: torch.channels_last, 3: torch.channels_last_3d}
    x = whole((2, 3, *size), torch.float32).to(memory_format=formats[len(size)]).requires_grad_()
    ours, theirs = [seeded(layer, x) for layer in pair(name, **arguments, return_indices=True)]
    for actual, expected in zip(ours, theirs, strict=True):
        assert torch.equal(actual, expected)
    assert ours[1].stride() == theirs[1].stride()
    (gradient,) = torch.autograd.grad(ours[0].sum(), x)
    assert torch.equal(gradient, torch.autograd.grad(theirs[0].sum(), x)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@every_layer
def test_autocast(name, arguments, size, dtype):
    x = whole((2, 3, *size), dtype).requires_grad_()
    with torch.autocast("cpu", dtype):
        ours, theirs = [seeded(layer, x) for layer in pair(name, **arguments)]
    assert_same(ours, theirs)
    gradients = [torch.autograd.grad(values, x, whole(values.shape, values.dtype))[0] for values in (ours, theirs)]
    assert_same(*gradients)


@pytest.mark.parametrize("name", INDEXED)
def test_they_are_layers_of_torch_nn(name):
    ours, theirs = (getattr(module, name) for module in (unpool.torch, torch.nn))
    assert issubclass(ours, theirs)
    assert inspect.signature(ours) == inspect.signature(theirs)
    made = [layer(2, output_ratio=0.5) if "Fractional" in name else layer(3, True) for layer in (ours, theirs)]
    assert repr(made[0]) == repr(made[1]) == repr(copy.deepcopy(made[0]))
    assert made[0].state_dict() == made[1].state_dict() == {}
    file = io.BytesIO()
    torch.save(made[0], file)
    file.seek(0)
    assert type(torch.load(file, weights_only=False)) is ours
    with pytest.raises(RuntimeError, match=r"`obj` of torch.jit.script must hold no layer of unpool.torch"):
        torch.jit.script(made[0])


@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("FractionalMaxPool2d", {"kernel_size": 2}, (4, 4)),
        ("FractionalMaxPool2d", {"kernel_size": 2, "output_size": 2, "output_ratio": 0.5}, (4, 4)),
        ("FractionalMaxPool3d", {"kernel_size": 2, "output_ratio": 1.5}, (4, 4, 4)),
        ("FractionalMaxPool2d", {"kernel_size": 9, "output_size": 2}, (4, 4)),
        ("AdaptiveMaxPool2d", {"output_size": (2, 2, 2)}, (4, 4)),
        ("AdaptiveMaxPool2d", {"output_size": 2}, (4, 0)),
        ("AdaptiveMaxPool3d", {"output_size": 2}, (4,)),
    ],
    ids=str,
)
def test_errors_are_those_of_torch(name, arguments, size):
    texts = []
    for module in (unpool.torch, torch.nn):
        with pytest.raises((ValueError, RuntimeError, TypeError)) as caught:
            getattr(module, name)(**arguments)(torch.rand(2, 3, *size))
        texts.append((caught.type, str(caught.value)))
    assert texts[0] == texts[1]


def test_given_samples():
    """Samples are a buffer of the layer, so two calls pool the same windows."""
    samples, x = torch.rand(2, 3, 2), torch.rand(2, 3, 9, 8)
    ours, theirs = pair("FractionalMaxPool2d", kernel_size=3, output_size=4, _random_samples=samples)
    assert torch.equal(ours(x), ours(x))
    assert torch.equal(ours(x), theirs(x))
    assert list(ours.state_dict()) == list(theirs.state_dict()) == ["_random_samples"]


# --- derivatives, transforms and programs -----------------------------------------------------------------------------


@seldom
@every_layer
def test_derivatives(name, arguments, size):
    """Values differ by 1 or more, so that no step changes a maximum."""
    layer = getattr(unpool.torch, name)(**arguments)
    shape = (1, 2, *size)
    x = torch.randperm(int(np.prod(shape)), generator=torch.Generator().manual_seed(0)).double().reshape(shape)
    x.requires_grad_()
    call = lambda x: seeded(layer, x)  # noqa: E731
    assert torch.autograd.gradcheck(call, x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda x: call(x) ** 2, x, check_fwd_over_rev=True)


@every_layer
def test_the_gradient_is_a_sum_at_the_indices(name, arguments, size):
    layer = getattr(unpool.torch, name)(**arguments, return_indices=True)
    x = torch.rand((2, 3, *size), requires_grad=True)
    values, indices = seeded(layer, x)
    grad = torch.rand(values.shape)
    (gradient,) = torch.autograd.grad(values, x, grad)
    assert np.array_equal(gradient.numpy(), oracle.max_unpool(grad.numpy(), indices.numpy(), size, "sum"))


@every_layer
def test_what_is_kept_for_the_gradient(name, arguments, size):
    """The indices alone; PyTorch keeps the input, too."""
    layer, kept = getattr(unpool.torch, name)(**arguments, return_indices=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        _, indices = layer(torch.rand((2, 3, *size), requires_grad=True))
    assert [tensor.data_ptr() for tensor in kept] == [indices.data_ptr()]


def test_functional_derivatives():
    layer, theirs = pair("AdaptiveMaxPool2d", output_size=(3, 2))
    x = whole((2, 2, 7, 5))
    for transform in (torch.func.grad, torch.func.jacrev, torch.func.jacfwd):
        expected = transform(lambda x: (theirs(x) ** 2).sum())(x)
        assert torch.equal(transform(lambda x: (layer(x) ** 2).sum())(x), expected)
    assert torch.equal(torch.vmap(layer)(x), theirs(x))
    per_sample = torch.vmap(torch.func.grad(lambda x: (layer(x) ** 2).sum()))(x)
    assert torch.equal(per_sample, torch.func.grad(lambda x: (layer(x) ** 2).sum())(x))


@seldom
@every_layer
def test_programs(name, arguments, size):
    layer = getattr(unpool.torch, name)(**arguments, return_indices=True)
    x = whole((2, 3, *size)).requires_grad_()
    expected = seeded(layer, x)
    torch.compiler.reset()
    programs = [
        torch.compile(layer, fullgraph=True, backend="aot_eager"),
        torch.export.export(layer, (x,)).module(),
        torch.fx.symbolic_trace(layer),
    ]
    for program in programs:
        found = seeded(program, x)
        for actual, wanted in zip(found, expected, strict=True):
            assert torch.equal(actual, wanted)
        grads = [torch.autograd.grad((values**2).sum(), x)[0] for values in (found[0], seeded(layer, x)[0])]
        assert torch.equal(*grads)


@pytest.mark.filterwarnings("ignore")  # PyTorch's exporter warns about itself
@pytest.mark.parametrize("size", [1, 4])
def test_export_to_onnx(size):
    """Where PyTorch exports its layers: global pooling, windows of one size. Without gradients, no table is needed."""
    require("onnxscript", "PyTorch's exporter to ONNX needs it")
    runtime = require("onnxruntime", "it runs the exported model")
    layer, x = unpool.torch.AdaptiveMaxPool2d(size), torch.rand(2, 3, 8, 12)
    for recorded, table in ((True, unpool.torch.onnx_translations()), (False, None)):
        with torch.set_grad_enabled(recorded):
            exported = torch.onnx.export(layer, (x,), dynamo=True, custom_translation_table=table, verbose=False)
        session = runtime.InferenceSession(exported.model_proto.SerializeToString())
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        assert np.array_equal(found, layer(x).numpy())
        if not recorded:  # PyTorch's graph, without extra nodes
            assert [node.op_type for node in exported.model.graph] == ["ReduceMax" if size == 1 else "MaxPool"]


@pytest.mark.filterwarnings("ignore")  # PyTorch's exporter warns about itself
@pytest.mark.parametrize("module", [unpool.torch, torch.nn], ids=["unpool", "torch.nn"])
def test_what_is_not_exported_to_onnx(module):
    """The rules of docs/export.md, which are those of PyTorch's layers."""
    require("onnxscript", "PyTorch's exporter to ONNX needs it")
    runtime = require("onnxruntime", "it runs the exported model")
    x = torch.rand(2, 3, 8, 6)
    named = {"dynamo": True, "custom_translation_table": unpool.torch.onnx_translations(), "verbose": False}
    for layer, operator in (
        (module.AdaptiveMaxPool2d(5), "adaptive_max_pool2d"),
        (module.FractionalMaxPool2d(2, 4), "fractional_max_pool2d"),
    ):
        with pytest.raises(torch.onnx.OnnxExporterError) as raised:
            torch.onnx.export(layer, (x,), **named)
        assert f"No ONNX function found for <OpOverload(op='aten.{operator}'" in str(raised.value)
    with torch.no_grad():
        varying = {"dynamic_shapes": ({0: "n", 2: "h", 3: "w"},)}
        exported = torch.onnx.export(module.AdaptiveMaxPool2d(2), (x,), **named, **varying)
    session = runtime.InferenceSession(exported.model_proto.SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: np.zeros((2, 3, 12, 9), "float32")})
    assert found.shape == (2, 3, 3, 3)
