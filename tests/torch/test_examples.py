"""`examples/segnet_torch.py` and `examples/deconvnet.py`: what they print is so, and their pictures are written."""

import re
import runpy
from types import SimpleNamespace

import pytest
from needs import require, require_backend
from processes import python
from tree import EXAMPLES

torch = require("torch", "the examples need it")
require("skimage", "the examples take their pictures from it")
require("tqdm", "the examples show their progress with it")
image = require("matplotlib.image", "the examples draw with it")
require_backend("torch")

import unpool.torch  # noqa: E402


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Run the short form of an example; return what it prints, and its picture."""
    # Waiting OpenMP threads of PyTorch spin: beside other tests on the same cores, that takes minutes.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(name):
        picture = tmp_path / "picture.png"
        result = python(str(EXAMPLES / name), "--quick", "--out", str(picture))
        assert result.returncode == 0, result.stderr
        assert "100%" in result.stderr
        return result.stdout, image.imread(picture)

    return run


# --- segnet_torch.py --------------------------------------------------------------------------------------------------


def test_segnet_torch(quick):
    """Unpooling finds more vessels than upsampling, has the bits of `torch.nn`, and trains deterministically."""
    said, drawn = quick("segnet_torch.py")
    found = dict(re.findall(r"^(\S+): \S+% of the held-out pixels right, IoU of vessels (\S+)%$", said, re.MULTILINE))
    assert list(found) == ["unpool.torch", "torch.nn", "upsampling"]
    assert found["unpool.torch"] == found["torch.nn"]
    assert float(found["unpool.torch"]) > float(found["upsampling"]) + 10
    assert "unpool.torch and torch.nn: 0 of 77361 logits differ\n" in said
    deterministic = dict(re.findall(r"^(\S+): \S+ s; deterministic training: (.+)$", said, re.MULTILINE))
    assert deterministic == {
        "unpool.torch": "yes",
        "torch.nn": "max_unpooling2d_forward_out does not have a deterministic implementation",
        "upsampling": "yes",
    }
    assert drawn.shape == (752, 1171, 4)
    assert drawn[..., :3].std() > 0.1


# --- deconvnet.py -----------------------------------------------------------------------------------------------------


def test_deconvnet(quick):
    """Projections through the switches are like the patches; without the switches, they are not."""
    said, drawn = quick("deconvnet.py")
    found = dict(re.findall(r"^([\w ]+): correlation of projections with patches (\S+)$", said, re.MULTILINE))
    assert list(found) == ["Deconvnet", "Gradient", "No switches"]
    assert float(found["Deconvnet"]) > 0.3
    assert float(found["No switches"]) < 0.2
    assert "Gradient: largest difference from autograd 0\n" in said
    assert drawn.shape == (790, 1308, 4)
    assert drawn[..., :3].std() > 0.1


class RectifyBackward(torch.autograd.Function):
    """A ReLU whose backward pass rectifies the gradient, so that autograd computes a deconvnet."""

    @staticmethod
    def forward(context, x):
        return x.relu()

    @staticmethod
    def backward(context, gradient):
        return gradient.relu()


def test_a_deconvnet_is_autograd_with_another_relu():
    """Through `torch.nn.functional.max_pool2d`, which has no part of unpool."""
    project = SimpleNamespace(**runpy.run_path(str(EXAMPLES / "deconvnet.py"))).project
    torch.manual_seed(0)
    convolutions = [torch.nn.Conv2d(*channels, 5) for channels in ((1, 4), (4, 6))]
    pool = unpool.torch.MaxPool2d(2, return_indices=True, index_format="window")
    layers = torch.nn.Sequential(convolutions[0], torch.nn.ReLU(), pool, convolutions[1], torch.nn.ReLU())
    x = torch.randn(3, 1, 14, 14, requires_grad=True)

    with torch.no_grad():
        actual = {rule: project(layers, x, 2, rule) for rule in ("Deconvnet", "Gradient")}
    assert not torch.allclose(*actual.values(), atol=0.01)
    for rule, rectify in (("Deconvnet", RectifyBackward.apply), ("Gradient", torch.relu)):
        pooled = torch.nn.functional.max_pool2d(rectify(convolutions[0](x)), 2)
        found = rectify(convolutions[1](pooled))[:, 2]
        assert found.shape == (3, 1, 1)
        torch.testing.assert_close(actual[rule], torch.autograd.grad(found.sum(), x)[0])
