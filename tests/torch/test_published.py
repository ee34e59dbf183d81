"""The models of docs/users.md: with the layers of `unpool.torch` and equal weights, they return PyTorch's bits."""

from copy import deepcopy

import pytest
from needs import require, require_backend
from tree import load

from unpool.testing.compare import assert_same_bits

torch = require("torch", "the models are PyTorch's")
require_backend("torch")

import published  # noqa: E402

import unpool.torch  # noqa: E402

MODELS = {
    "SegNet": lambda layers, **index: load("kept").segnet("SegNet", peer(layers, **index)),
    "ENet": published.ENet,
    "TASED-Net": published.TASEDNet,
}
# Sides that are odd after some poolings, where the model takes them.
SHAPES = {"SegNet": (2, 3, 45, 60), "ENet": (2, 3, 72, 104), "TASED-Net": (1, 3, published.FRAMES, 32, 64)}


def peer(layers, index_format="plane"):
    """Return the name of a peer of benchmarks/kept.py."""
    return "torch.nn" if layers is torch.nn else index_format


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Let PyTorch write in row-major order: where an index repeats, its result is undefined on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=MODELS)
def theirs(request):
    """Return a model with the layers of `torch.nn`, its input, its output and its gradients."""
    torch.manual_seed(0)
    model, x = MODELS[request.param](torch.nn), torch.randn(SHAPES[request.param])
    return request.param, model, x, *run(model, x)


def run(model, x):
    """Return the output and the gradients by name, with the same dropout every time."""
    model = deepcopy(model)  # batch norm changes while it trains
    torch.manual_seed(1)
    y = model(x)
    y.square().sum().backward()
    return y, {name: weight.grad for name, weight in model.named_parameters()}


def ported(theirs, index_format):
    """Return a copy of the model by `replace_layers`, or built of the layers of `unpool.torch`."""
    name, model, *_ = theirs
    if index_format is None:
        model = deepcopy(model)
        assert unpool.torch.replace_layers(model)
        return model
    ours = MODELS[name](unpool.torch, index_format=index_format)
    ours.load_state_dict(model.state_dict())
    return ours


@pytest.mark.parametrize("index_format", [None, "plane", "window"])
def test_a_ported_model_has_the_bits_of_pytorch(theirs, index_format):
    name, _, x, expected, gradients = theirs
    assert expected.std() > 1e-3
    model = ported(theirs, index_format)
    pools = [layer for layer in model.modules() if "Max" in type(layer).__name__]
    assert all(type(layer).__module__.startswith("unpool.") for layer in pools)
    y, found = run(model, x)
    assert_same_bits(y.detach().numpy(), expected.detach().numpy())
    if name == "TASED-Net":
        return  # its windows overlap, and PyTorch's gradient is that of another function then
    for weight, gradient in found.items():
        assert_same_bits(gradient.numpy(), gradients[weight].numpy())


def test_indices_of_tased_net_repeat():
    """Otherwise the test above would not show which of two values wins."""
    torch.manual_seed(0)
    model = published.TASEDNet(unpool.torch)
    for layer in (model.unpool2, model.unpool3):
        layer.duplicates = "error"
        with pytest.raises(ValueError, match="must not repeat within a plane"):
            model(torch.randn(SHAPES["TASED-Net"]))
        layer.duplicates = "last"
