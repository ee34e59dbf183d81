"""PyTorch's other tracers: a trace follows the sizes of its input, or unpool raises an error of its own.

test_compiled.py tests `torch.compile` and `torch.export`. Captum, which looks up layers by type, is tested here.
"""

import copy
import io
import pickle

import numpy as np
import pytest
from needs import require, require_backend

import unpool
from unpool import max_pool2d

torch = require("torch", "the tests of its tracers need it")
require_backend("torch")

from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402
from torch_models import NAMES, Net  # noqa: E402

import unpool.torch  # noqa: E402

torch.fx.wrap("max_pool2d")

RECORDED = (
    "`{}` must be a tensor outside torch.jit.trace, got one that it traces: the trace would keep the sizes of the "
    "example for every call; use torch.export or torch.compile, or torch.onnx.export with dynamo=True"
)
SCRIPTED = (
    "`obj` of torch.jit.script must hold no layer of unpool.torch, which it cannot compile, got a {}: use torch.export "
    "or torch.compile"
)
SYMBOLIC = (
    "`{}` must be an array, got torch.fx.proxy.Proxy, which stands for one while torch.fx traces: use the layers of "
    "unpool.torch, or call torch.fx.wrap with the function's name at the top of your module, and call the function by "
    "that name"
)
SHAPES = ((1, 3, 5, 5), (1, 3, 4, 4), (2, 3, 7, 9))
EVEN = ((1, 3, 6, 6), (1, 3, 4, 4), (2, 3, 8, 10))  # default sizes of a window of 2
X = torch.rand(SHAPES[0])
P, I = unpool.max_pool2d(X, 2, return_indices=True)


class Levels(torch.nn.Module):
    """A model without parameters."""

    def __init__(self):
        super().__init__()
        self.pool, self.unpool = unpool.torch.MaxPool2d(2, return_indices=True), unpool.torch.MaxUnpool2d(2)

    def forward(self, x):
        values, indices = self.pool(x)
        return self.unpool(values**2, indices, output_size=x.shape)


class Unsized(Levels):
    """A model that unpools to the default size."""

    def forward(self, x):
        values, indices = self.pool(x)
        return self.unpool(values**2, indices)


MODELS = pytest.mark.parametrize(("model", "shapes"), [(Levels, SHAPES), (Unsized, EVEN)])


def message(error, call):
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    return str(caught.value)


# --- TorchScript ------------------------------------------------------------------------------------------------------

old = pytest.mark.filterwarnings("ignore:.*(torch.jit|TorchScript|The feature will be removed):DeprecationWarning")
# The argument that the error names, and the call.
CALLS = {
    "max_pool2d": ("input", lambda x, p, i: unpool.max_pool2d(x, 2)),
    "max_pool2d of an object": ("input", lambda x, p, i: unpool.MaxPool2d(2)(x)),
    "max_pool2d into another array": ("input", lambda x, p, i: unpool.max_pool2d(x, 2, out=torch.empty_like(p))),
    "max_unpool2d": ("input", lambda x, p, i: unpool.max_unpool2d(p, i // 2, 2)),
    "max_unpool2d to a size": ("input", lambda x, p, i: unpool.max_unpool2d(p, i, 2, output_size=x.shape)),
    "max_pool2d_backward": ("grad_output", lambda x, p, i: unpool.max_pool2d_backward(p, i, x.shape, 2)),
    "max_unpool2d_backward": ("grad_output", lambda x, p, i: unpool.max_unpool2d_backward(x, i, 2)),
    "convert_indices": (
        "indices",
        lambda x, p, i: unpool.convert_indices(i, "plane", "onnx", output_size=x.shape),
    ),
}


@old
@pytest.mark.parametrize(("argument", "call"), CALLS.values(), ids=CALLS)
def test_no_call_is_recorded_with_the_sizes_of_an_example(argument, call):
    expected = RECORDED.format(argument)
    assert message(RuntimeError, lambda: torch.jit.trace(call, (X, P, I))) == expected
    call(X, P, I)  # works outside of the trace


@old
@MODELS
def test_no_layer_is_recorded_with_the_sizes_of_an_example(model, shapes, tmp_path):
    x = torch.rand(shapes[0])
    recorders = {
        "trace": lambda: torch.jit.trace(model(), (x,)),
        "trace_module": lambda: torch.jit.trace_module(model(), {"forward": (x,)}),
        "export": lambda: torch.onnx.export(model(), (x,), tmp_path / "model.onnx", dynamo=False),
    }
    for record in recorders.values():
        assert message(RuntimeError, record) == RECORDED.format("input")


@old
@pytest.mark.filterwarnings("ignore:torch.from_numpy results:torch.jit.TracerWarning")
def test_arrays_of_numpy_are_constants_of_what_is_recorded():
    def call(x):
        return x + torch.from_numpy(unpool.max_pool2d(np.ones((1, 2, 4, 4), "float32"), 2))

    recorded = torch.jit.trace(call, (torch.zeros((1, 2, 2, 2)),))
    assert torch.equal(recorded(torch.ones((1, 2, 2, 2))), torch.full((1, 2, 2, 2), 2.0))


@old
@pytest.mark.parametrize("name", NAMES)
def test_no_layer_is_compiled_by_torchscript(name):
    layer = getattr(unpool.torch, name)(2)
    for model in (layer, torch.nn.Sequential(torch.nn.Sequential(torch.nn.ReLU(), layer))):
        assert message(RuntimeError, lambda model=model: torch.jit.script(model)) == SCRIPTED.format(name)


# --- make_fx, AOTAutograd and dispatch modes --------------------------------------------------------------------------


@MODELS
def test_make_fx_with_symbols_follows_the_sizes(model, shapes):
    traced = make_fx(model(), tracing_mode="symbolic")(torch.rand(shapes[0]))
    for shape in shapes:
        x = torch.rand(shape)
        assert torch.equal(traced(x), model()(x))


@pytest.mark.parametrize("mode", ["real", "fake"])
def test_make_fx_without_symbols_is_for_one_size(mode):
    """The call is an operator of the graph, as it is for the layers of `torch.nn`."""
    traced = make_fx(Levels(), tracing_mode=mode)(X)
    x = torch.rand(X.shape)
    assert torch.equal(traced(x), Levels()(x))
    names = [str(node.target) for node in traced.graph.nodes if "unpool" in str(node.target)]
    assert names == ["unpool.max_pool_with_indices.default", "unpool.max_unpool.default"]


def test_make_fx_of_derivatives():
    derivative = torch.func.grad(lambda x: (Levels()(x) * x).sum())
    traced = make_fx(derivative, tracing_mode="symbolic")(X)
    for shape in SHAPES:
        x = torch.rand(shape)
        assert torch.equal(traced(x), derivative(x))


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx_of_conventions_and_of_windows_as_large_as_the_picture(mode):
    def call(x, i):
        i = unpool.convert_indices(i, "plane", "onnx", output_size=x.shape, kernel_size=2)
        return unpool.max_pool2d(x, x.shape[2:]), i

    for actual, expected in zip(make_fx(call, tracing_mode=mode)(X, I)(X, I), call(X, I), strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_aot_autograd(dynamic):
    from functorch.compile import aot_function, nop

    function = aot_function(Levels().forward, nop, dynamic=dynamic)
    for shape in SHAPES if dynamic else SHAPES[:1]:
        x = torch.rand(shape, requires_grad=True)
        assert torch.equal(function(x), Levels()(x))
        gradients = [torch.autograd.grad(call(x).sum(), x)[0] for call in (function, Levels())]
        assert torch.equal(*gradients)


def test_modes_see_the_operators():
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, arguments=(), named=None):
            names.append(str(operator))
            return operator(*arguments, **(named or {}))

    names = []
    model = Net(unpool.torch)
    expected = model(X)
    with Seen():
        assert torch.equal(model(X), expected)
    assert [name for name in names if "unpool" in name] == [
        "unpool.max_pool_with_indices.default",
        "unpool.max_unpool.default",
    ]
    with FlopCounterMode(display=False) as counter:
        assert torch.equal(model(X), expected)
    assert counter.get_total_flops()


# --- torch.fx ---------------------------------------------------------------------------------------------------------


def again(graph):
    file = io.BytesIO()
    torch.save(graph, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {
    "itself": lambda g: g,
    "copy": copy.deepcopy,
    "pickle": lambda g: pickle.loads(pickle.dumps(g)),
    "file": again,
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_symbolic_trace(copied):
    """One graph serves every size, and can be copied and saved."""
    model = Net(unpool.torch)
    traced = copied(torch.fx.symbolic_trace(model))
    for shape in SHAPES:
        x = torch.rand(shape)
        assert torch.equal(traced(x), model(x))
        assert torch.equal(torch.fx.symbolic_trace(traced)(x), model(x))
    functions = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert unpool.max_pool2d in functions
    assert unpool.max_unpool2d in functions


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_symbolic_trace_of_a_layer(rank):
    x = torch.rand((2, *(9, 8, 7)[:rank], 3))
    named = {"data_format": "channels_last"}
    pool = getattr(unpool.torch, f"MaxPool{rank}d")([2] * rank, padding="same", return_indices=True, **named)
    up = getattr(unpool.torch, f"MaxUnpool{rank}d")(2, padding="same", duplicates="sum", validate="windows", **named)
    values, indices = pool(x)
    for actual, expected in zip(torch.fx.symbolic_trace(pool)(x), (values, indices), strict=True):
        assert torch.equal(actual, expected)
    assert torch.equal(torch.fx.symbolic_trace(up)(values, indices, x.shape), up(values, indices, x.shape))


class Twice(unpool.torch.MaxPool2d):
    def forward(self, input):
        return 2 * super().forward(input)


def test_symbolic_trace_of_a_layer_derived_from_one():
    model = torch.nn.Sequential(Twice(2))
    assert torch.equal(torch.fx.symbolic_trace(model)(X), model(X))


def test_a_symbolic_trace_is_compiled():
    model = Net(unpool.torch)
    traced = torch.compile(torch.fx.symbolic_trace(model), fullgraph=True, backend="eager")
    assert torch.equal(traced(X), model(X))


@pytest.mark.filterwarnings("ignore")  # PyTorch deprecates its own quantisation
def test_quantisation():
    """The graph is traced, observed and converted. Pooling and unpooling are not quantised."""
    from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx

    model = Net(unpool.torch).eval()
    prepared = quantize_fx.prepare_fx(copy.deepcopy(model), get_default_qconfig_mapping(), (X,))
    for shape in SHAPES:
        prepared(torch.rand(shape))
    quantised = quantize_fx.convert_fx(prepared)
    for shape in SHAPES:
        x = torch.rand(shape)
        scale, zero = quantised.convolve_input_scale_0, quantised.convolve_input_zero_point_0
        convolved = quantised.convolve(torch.quantize_per_tensor(x, scale, zero, torch.quint8)).dequantize()
        values, indices = model.pool(convolved)
        assert torch.equal(quantised(x), model.unpool(values, indices, output_size=x.shape))


def test_functions_of_a_symbolic_trace():
    """Functions need `torch.fx.wrap`, and the error says so."""
    calls = {
        "input": lambda x: unpool.max_pool2d(x, 2),
        "grad_output": lambda x: unpool.max_unpool2d_backward(x, x, 2),
        "indices": lambda x: unpool.convert_indices(x, "plane", "onnx", output_size=(1, 1, 4, 4)),
    }
    for argument, call in calls.items():
        assert message(TypeError, lambda call=call: torch.fx.symbolic_trace(call)) == SYMBOLIC.format(argument)
    traced = torch.fx.symbolic_trace(lambda x: max_pool2d(x, 2))
    for shape in SHAPES:
        x = torch.rand(shape)
        assert torch.equal(traced(x), unpool.max_pool2d(x, 2))


# --- Captum -----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning")  # Captum's
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_deep_lift_has_the_rule_that_is_registered(rank, monkeypatch):
    """Register the rule as in docs/migration.md. Attributions sum up to the difference of the two outputs."""
    require("captum", "the test of its DeepLift needs it")
    from captum.attr import DeepLift
    from captum.attr._core import deep_lift

    x, baseline = (torch.rand((2, 3, *(9, 8, 7)[:rank]), requires_grad=True) for _ in range(2))
    theirs, ours = (getattr(module, f"MaxPool{rank}d") for module in (torch.nn, unpool.torch))
    model = torch.nn.Sequential(getattr(torch.nn, f"Conv{rank}d")(3, 2, 3), theirs(2), torch.nn.Flatten())
    model.append(torch.nn.Linear(model(x).shape[1], 1))
    expected = DeepLift(model).attribute(x, baseline)
    model[1] = ours(2)
    monkeypatch.setitem(deep_lift.SUPPORTED_NON_LINEAR, ours, getattr(deep_lift, f"maxpool{rank}d"))
    attributions, delta = DeepLift(model).attribute(x, baseline, return_convergence_delta=True)
    assert delta.abs().max() < 1e-5
    assert torch.equal(attributions, expected)
