"""`unpool.torch.replace_layers` turns the layers of a model into those of unpool, and changes nothing else."""

import copy
import io
import warnings

import pytest
from needs import require, require_backend

torch = require("torch", "the tests of its layers need it")
require_backend("torch")

from torch_models import INDEXED, NAMES, Net  # noqa: E402

import unpool.torch  # noqa: E402

nn = torch.nn
replace_layers = unpool.torch.replace_layers


def made(name, module=nn):
    """Return a layer with arguments that are not the defaults."""
    layer = getattr(module, name)
    if name.startswith("Adaptive"):
        return layer(3, return_indices=True)
    if name.startswith("Fractional"):
        samples = torch.rand(2, 3, int(name[-2]))
        return layer(2, output_ratio=0.5, return_indices=True, _random_samples=samples)
    return layer(3, 2, 1) if "Unpool" in name else layer(3, 2, 1, 1, return_indices=True, ceil_mode=True)


def input_of(name):
    x = torch.rand((2, 3, *(9, 8, 7)[: int(name[-2])]))
    if "Unpool" not in name:
        return (x,)
    return made(name.replace("Unpool", "Pool"))(x)


@pytest.mark.parametrize("name", [*NAMES, *INDEXED])
def test_every_layer(name):
    layer, given = made(name), input_of(name)
    expected, shown, state = layer(*given), repr(layer), layer.state_dict()
    model = nn.Sequential(nn.ReLU(), layer)
    assert replace_layers(model) == {"1": layer}
    assert model[1] is layer
    assert type(layer) is getattr(unpool.torch, name)
    assert repr(layer) == shown
    assert list(layer.state_dict()) == list(state)
    pairs = zip(layer(*given), expected, strict=True) if isinstance(expected, tuple) else [(layer(*given), expected)]
    for actual, wanted in pairs:
        assert torch.equal(actual, wanted)
    assert vars(layer).keys() == vars(made(name, unpool.torch)).keys()
    for copied in (copy.deepcopy(layer), reloaded(layer)):
        assert type(copied) is type(layer)
        assert repr(copied) == shown


def reloaded(layer):
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def test_nested_models_and_order():
    model = nn.ModuleDict({"b": nn.Sequential(nn.MaxPool2d(2), nn.ModuleList([nn.AdaptiveMaxPool1d(2)])), "a": Net(nn)})
    state, parameters = model.state_dict(), list(model.parameters())
    found = replace_layers(model)
    assert list(found) == ["b.0", "b.1.0", "a.pool", "a.unpool"]
    assert all(model.get_submodule(name) is layer for name, layer in found.items())
    assert list(model.state_dict()) == list(state)
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))


def test_a_pair_of_pooling_and_unpooling_still_fits():
    ours, theirs = Net(nn), Net(nn)
    ours.load_state_dict(theirs.state_dict())
    assert list(replace_layers(ours)) == ["pool", "unpool"]
    x = torch.rand(2, 3, 9, 7)
    assert torch.equal(ours(x), theirs(x))
    for model in (ours, theirs):
        model(x).sum().backward()
    assert torch.equal(ours.convolve.weight.grad, theirs.convolve.weight.grad)


def test_twice_is_once():
    model = Net(nn)
    first = replace_layers(model)
    before = {name: dict(vars(layer)) for name, layer in first.items()}
    assert replace_layers(model) == {}
    assert {name: dict(vars(layer)) for name, layer in first.items()} == before
    mixed = nn.Sequential(unpool.torch.MaxPool2d(3, index_format="window"), nn.MaxPool2d(2))
    assert list(replace_layers(mixed)) == ["1"]
    assert mixed[0].index_format == "window"


def test_a_layer_that_is_used_twice():
    shared = nn.MaxPool2d(2)
    model = nn.Sequential(shared, nn.ReLU(), nn.Sequential(shared))
    found = replace_layers(model)
    assert list(found) == ["0", "2.0"]
    assert model[0] is model[2][0] is found["0"] is found["2.0"]
    assert type(shared) is unpool.torch.MaxPool2d


def test_a_model_that_is_one_layer():
    layer = nn.MaxUnpool2d(2)
    assert replace_layers(layer) == {"": layer}
    assert type(layer) is unpool.torch.MaxUnpool2d


def test_hooks_attributes_and_mode_stay():
    calls = []
    layer = nn.MaxPool2d(2)
    handles = [
        layer.register_forward_pre_hook(lambda *_: calls.append("before")),
        layer.register_forward_hook(lambda *_: calls.append("after")),
        layer.register_full_backward_hook(lambda *_: calls.append("backward")),
        layer.register_state_dict_post_hook(lambda *_: calls.append("state")),
    ]
    layer.note = "mine"
    layer.register_buffer("count", torch.tensor(3))
    model = nn.Sequential(layer).eval()
    replace_layers(model)
    x = torch.rand((1, 2, 4, 4), requires_grad=True)
    model(x).sum().backward()
    assert list(model.state_dict()) == ["0.count"]
    assert calls == ["before", "after", "backward", "state"]
    assert layer.note == "mine"
    assert not layer.training
    for handle in handles:
        handle.remove()
    model(x).sum().backward()
    model.state_dict()
    assert len(calls) == 4


class OfAUser(nn.MaxPool2d):
    pass


def test_subclasses_and_their_like_are_left():
    patched = nn.MaxPool2d(2)
    patched.forward = lambda x: x
    model = nn.Sequential(OfAUser(2), patched, nn.MaxPool2d(2))
    with pytest.warns(UserWarning, match="`model` has pooling layers that cannot be replaced") as caught:
        assert list(replace_layers(model)) == ["2"]
    assert f"'0' ({__name__}.OfAUser), '1' (torch.nn.modules.pooling.MaxPool2d)" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert type(model[0]) is OfAUser
    assert type(model[1]) is nn.MaxPool2d
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replace_layers(nn.Sequential(nn.AvgPool2d(2), nn.LPPool2d(2, 2), unpool.torch.AdaptiveMaxPool2d(1)))


def test_parametrized_layers_are_left():
    """Parametrizing a module makes its class a new subclass."""
    layer = nn.MaxPool2d(2)
    layer.register_buffer("scale", torch.ones(1))
    nn.utils.parametrize.register_parametrization(layer, "scale", nn.ReLU())
    with pytest.warns(UserWarning, match="ParametrizedMaxPool2d"):
        assert replace_layers(nn.Sequential(layer)) == {}


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore::FutureWarning")
def test_models_that_cannot_be_replaced():
    for model in (nn.MaxPool2d, torch.rand(2), "model", None):
        with pytest.raises(TypeError, match=r"`model` must be a torch.nn.Module, got \w+.*: pass the model"):
            replace_layers(model)
    part = nn.Sequential(nn.MaxPool2d(2))
    for compiled in (torch.jit.script(part), torch.jit.trace(part, torch.rand(1, 1, 4, 4))):
        model = nn.Sequential(nn.MaxPool2d(2), compiled)
        with pytest.raises(TypeError, match=r"`model` must hold no torch.jit.ScriptModule.* as '1': pass the model"):
            replace_layers(model)
        assert type(model[0]) is nn.MaxPool2d


def test_an_argument_that_unpool_refuses():
    """PyTorch checks arguments when a layer is called. All layers stay as they are."""
    model = nn.Sequential(nn.MaxPool2d(2), nn.ModuleDict({"wide": nn.MaxPool2d(2, padding=5)}))
    with pytest.raises(ValueError, match="`padding` must be at most half of `kernel_size`") as caught:
        replace_layers(model)
    assert caught.value.__notes__ == [f"The layer is '1.wide', {model[1]['wide']!r}. No layer was replaced."]
    assert type(model[0]) is nn.MaxPool2d


@pytest.mark.parametrize("early", [False, True], ids=["replaced first", "compiled first"])
def test_compiled_models(early):
    """A program that is compiled already is compiled again."""
    x, graphs = torch.rand(2, 3, 8, 6), []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    model = nn.Sequential(nn.MaxPool2d(2), nn.AdaptiveMaxPool2d(2))
    program = torch.compile(model, fullgraph=True, backend=backend)
    expected = model(x)
    if early:
        assert torch.equal(program(x), expected)
    assert len(replace_layers(program)) == 2
    assert torch.equal(program(x), expected)
    called = {str(node.target) for node in graphs[-1].graph.nodes}
    assert {"unpool.max_pool.default", "unpool.max_unpool_backward.default"} <= called


def test_models_of_torch_fx():
    traced = torch.fx.symbolic_trace(Net(nn))
    x = torch.rand(2, 3, 9, 7)
    expected = traced(x)
    assert list(replace_layers(traced)) == ["pool", "unpool"]
    assert torch.equal(traced(x), expected)
