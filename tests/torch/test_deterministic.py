"""Models train under `torch.use_deterministic_algorithms(True)` once their layers are replaced, with the same bits.

On the CPU, PyTorch refuses only unpooling.  What it refuses on CUDA is tested in test_device.py.
"""

import pytest
from needs import require, require_backend

torch = require("torch", "the tests of its layers need it")
require_backend("torch")

from torch_models import Classifier, UNet3d, trained  # noqa: E402

import unpool.torch  # noqa: E402

nn = torch.nn


@pytest.fixture(autouse=True, params=[1, 4], ids=lambda threads: f"threads={threads}")
def _threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


class Fractional(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.FractionalMaxPool2d(3, 3), nn.Conv2d(4, 2, 3), nn.Flatten())


def data(make):
    torch.manual_seed(1)
    if make is UNet3d:
        return torch.rand(2, 1, 9, 8, 7), torch.rand(2, 1, 9, 8, 7)
    return torch.rand(2, 3, 7, 9), torch.rand(2, 2 if make is Fractional else 4)


@pytest.mark.parametrize("make", [UNet3d, Classifier, Fractional])
def test_a_replaced_model_trains_with_the_same_bits(make):
    x, target = data(make)
    one, other = (trained(make, x, target, unpool.torch.replace_layers) for _ in range(2))
    for first, second in zip(one, other, strict=True):
        assert torch.equal(first.view(torch.int32), second.view(torch.int32))
        assert first.isfinite().all()
    before = trained(make, x, target, unpool.torch.replace_layers, steps=0)
    assert not any(torch.equal(first, second) for first, second in zip(one, before, strict=True))


def test_what_the_cpu_refuses():
    """If this fails, docs/deterministic.md is to be changed."""
    with pytest.raises(RuntimeError, match="max_unpooling3d_forward_out does not have a deterministic implementation"):
        trained(UNet3d, *data(UNet3d))
    for make in (Classifier, Fractional):
        trained(make, *data(make))


def test_a_replaced_model_is_trained_as_before():
    """Up to rounding, where PyTorch trains the model, too."""
    x, target = data(Classifier)
    ours, theirs = (
        trained(Classifier, x, target, change) for change in (unpool.torch.replace_layers, lambda model: None)
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
