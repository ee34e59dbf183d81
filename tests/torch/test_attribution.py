"""`examples/attribution.py`: attributions add up where windows overlap, and are Captum's where they do not."""

import inspect
import re
import runpy
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from needs import require, require_backend
from processes import python
from tree import EXAMPLES, ROOT

torch = require("torch", "the example computes attributions of its models")
require_backend("torch")
require("tqdm", "the example shows its progress with it")

import unpool.torch  # noqa: E402

attribution = SimpleNamespace(**runpy.run_path(str(EXAMPLES / "attribution.py")))

OVERLAPPING = {
    "MaxPool1d(4, 2)": (torch.nn.MaxPool1d(4, 2), (2, 20)),
    "MaxPool1d(10, 5)": (torch.nn.MaxPool1d(10, 5), (2, 100)),
    "MaxPool2d(3, 2)": (torch.nn.MaxPool2d(3, 2), (2, 9, 9)),
    "MaxPool2d(3, 2, 1)": (torch.nn.MaxPool2d(3, 2, 1), (2, 9, 10)),
    "MaxPool2d(3, 1)": (torch.nn.MaxPool2d(3, 1), (2, 9, 9)),
    "MaxPool2d(3, 2, ceil_mode=True)": (torch.nn.MaxPool2d(3, 2, ceil_mode=True), (2, 10, 12)),
    "MaxPool3d(3, 2)": (torch.nn.MaxPool3d(3, 2), (2, 7, 7, 7)),
}
APART = {
    "MaxPool1d(2)": (torch.nn.MaxPool1d(2), (2, 9)),
    "MaxPool2d(2)": (torch.nn.MaxPool2d(2), (2, 8, 8)),
    "MaxPool2d((2, 1), (3, 2), (1, 0))": (torch.nn.MaxPool2d((2, 1), (3, 2), (1, 0)), (2, 9, 7)),
    "MaxPool3d(2)": (torch.nn.MaxPool3d(2), (2, 4, 6, 4)),
}
DILATED = {"MaxPool2d(3, 2, dilation=2)": (torch.nn.MaxPool2d(3, 2, dilation=2), (2, 12, 12))}


def cases(*tables):
    nets = {name: case for table in tables for name, case in table.items()}
    return pytest.mark.parametrize(("pool", "shape"), nets.values(), ids=nets)


def linear(layers, shape):
    """Return layers and `Linear` in float64, and four samples of x and of the baseline."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(*layers, torch.nn.Flatten()).double()
    x, baseline = torch.randn((2, 4, *shape), dtype=torch.float64)
    return model.append(torch.nn.Linear(model(x).shape[1], 1).double()), x, baseline


def convergence_error(model, x, baseline, attributions):
    return (attributions.flatten(1).sum(1) - attribution.output_changes(model, x, baseline)).abs().max().item()


# --- completeness -----------------------------------------------------------------------------------------------------


@cases(OVERLAPPING, APART, DILATED)
def test_attributions_add_up(pool, shape):
    case = linear([pool], shape)
    assert convergence_error(*case, attribution.deep_lift(*case)) < 1e-12


@cases(OVERLAPPING, DILATED)
def test_assigned_attributions_do_not_add_up_where_windows_overlap(pool, shape):
    """The check above fails for the rule that assigns."""
    case = linear([pool], shape)
    assert convergence_error(*case, attribution.deep_lift(*case, "last")) > 0.01


class Copy(torch.nn.Module):
    def forward(self, x):
        return x.clone()


def stacked(*between):
    """Return a net of two poolings, with layers before each, and samples that equal the baseline in many cells."""
    layers = []
    for channels in ((2, 4), (4, 4)):
        layers += [torch.nn.Conv2d(*channels, 3, padding=1), torch.nn.ReLU(), *between, torch.nn.MaxPool2d(3, 2)]
    model, x, baseline = linear(layers, (2, 21, 21))
    x[:, :, 4:18], baseline[0] = baseline[:, :, 4:18], 0
    return model, x, baseline


def test_attributions_add_up_through_poolings_whose_inputs_partly_stay_the_same():
    """Where a cell does not change, no quotient exists, and both halves of the batch need the same multiplier."""
    case = stacked()
    attributions = attribution.deep_lift(*case)
    assert convergence_error(*case, attributions) < 1e-12
    assert not attributions[1:, :, 4:18].any()
    assert convergence_error(*case, attribution.deep_lift(*case, "last")) > 0.01


# --- the rule ---------------------------------------------------------------------------------------------------------


def expected_multipliers(x, baseline, multipliers, kernel, stride):
    """Return the multipliers of 1-D pooling's inputs, window by window."""
    contributions = np.zeros_like(x)
    for (n, c, i), multiplier in np.ndenumerate(multipliers):
        first = i * stride
        new, old = x[n, c, first : first + kernel], baseline[n, c, first : first + kernel]
        winner = first + (new if new.max() > old.max() else old).argmax()
        contributions[n, c, winner] += multiplier * (new.max() - old.max())
    return contributions / (x - baseline)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (5, 1), (2, 2)])
def test_each_window_gives_its_change_to_the_cell_that_it_picked(kernel, stride):
    layer = torch.nn.MaxPool1d(kernel, stride)
    inputs = torch.randn((4, 2, 17), dtype=torch.float64)
    outputs = layer(inputs)
    multipliers = torch.randn(outputs[:2].shape, dtype=torch.float64)
    unused = torch.full_like(inputs, torch.nan)  # the gradient, for cells that do not change
    given = torch.cat([multipliers, torch.full_like(multipliers, torch.nan)])  # those of the baseline do not count
    actual = attribution.max_pool_rule(layer, inputs, outputs, unused, given)
    expected = expected_multipliers(*inputs.numpy().reshape(2, 2, 2, 17), multipliers.numpy(), kernel, stride)
    for half in actual.chunk(2):
        np.testing.assert_allclose(half, expected, rtol=1e-12)


def test_a_cell_that_does_not_change_gets_the_gradient():
    layer = torch.nn.MaxPool1d(3, 2)
    inputs = torch.tensor([[[1.0, 2, 5, 3, 4]], [[1.0, 7, 5, 3, 6]]], dtype=torch.float64, requires_grad=True)
    outputs = layer(inputs)
    gradient = torch.autograd.grad(outputs.sum(), inputs)[0]
    tensors = inputs.detach(), outputs.detach(), gradient, torch.ones_like(outputs)
    multipliers = attribution.max_pool_rule(layer, *tensors)
    # The first window fell from 7 to 5, the second one from 6 to 5. Cell 2 is the maximum of both in x.
    assert multipliers.tolist() == 2 * [[[0, 2 / 5, 2, 0, 1 / 2]]]


# --- Captum -----------------------------------------------------------------------------------------------------------


def captum(model, x, baseline, rule=None):
    """Return the attributions of Captum's DeepLift, with its own rule of max pooling or another one."""
    require("captum", "its attributions are compared")
    from captum.attr import DeepLift
    from captum.attr._core import deep_lift

    with pytest.MonkeyPatch.context() as patch:
        for layer in model if rule else ():
            if "MaxPool" in type(layer).__name__:
                patch.setitem(deep_lift.SUPPORTED_NON_LINEAR, type(layer), rule)
        return DeepLift(model).attribute(x.requires_grad_(), baseline.requires_grad_()).detach()


hooks = pytest.mark.filterwarnings("ignore:Setting forward, backward hooks:UserWarning")  # Captum's


@hooks
@cases(APART)
def test_attributions_are_captums_where_windows_lie_apart(pool, shape):
    case = linear([pool], shape)
    expected = captum(*case)
    assert torch.equal(attribution.deep_lift(*case), expected)
    assert torch.equal(captum(*case, attribution.max_pool_rule), expected)


@hooks
@cases(OVERLAPPING)
def test_captum_assigns_where_windows_overlap(pool, shape):
    """`"Assigned"` in the example's figure is what Captum computes, and docs/attribution.md says so."""
    case = linear([pool], shape)
    expected = captum(*case)
    assert convergence_error(*case, expected) > 0.01
    assert torch.equal(attribution.deep_lift(*case, "last"), expected)
    assert torch.equal(captum(*case, partial(attribution.max_pool_rule, duplicates="last")), expected)


@hooks
@cases(OVERLAPPING, DILATED)
def test_captum_takes_the_rule(pool, shape):
    case = linear([pool], shape)
    assert torch.equal(captum(*case, attribution.max_pool_rule), attribution.deep_lift(*case))


@hooks
@cases(DILATED)
def test_captum_has_no_rule_for_dilation(pool, shape):
    with pytest.raises(ValueError, match="invalid output_size"):
        captum(*linear([pool], shape))


@hooks
def test_captum_takes_the_rule_in_a_net_of_several_layers():
    case = stacked(Copy())
    attributions = captum(*case, attribution.max_pool_rule)
    assert convergence_error(*case, attributions) < 1e-12
    torch.testing.assert_close(attributions, attribution.deep_lift(*case), rtol=1e-12, atol=1e-12)


@hooks
def test_captum_needs_a_copy_between_two_layers_with_a_rule():
    """Captum 0.9.0 passes the gradient of pooling to a ReLU right before it. The page says so; a new Captum may not."""
    case = linear([torch.nn.Conv1d(2, 3, 3), torch.nn.ReLU(), torch.nn.MaxPool1d(2)], (2, 20))
    assert convergence_error(*case, captum(*case)) > 0.01
    case[0].insert(2, Copy())
    assert convergence_error(*case, captum(*case)) < 1e-12


@hooks
@pytest.mark.parametrize("padding", [1, "same"])
def test_captum_takes_the_rule_for_the_layers_of_unpool(padding):
    case = linear([unpool.torch.MaxPool2d(3, 2, padding)], (2, 10, 9))
    attributions = captum(*case, attribution.max_pool_rule)
    assert convergence_error(*case, attributions) < 1e-12
    if padding == 1:
        expected = attribution.deep_lift(torch.nn.Sequential(torch.nn.MaxPool2d(3, 2, 1), *case[0][1:]), *case[1:])
        assert torch.equal(attributions, expected)


# --- the page and the figure ------------------------------------------------------------------------------------------


def test_the_page_shows_the_rule_of_the_example():
    page = (ROOT / "docs" / "attribution.md").read_text(encoding="utf-8")
    assert inspect.getsource(attribution.max_pool_rule) in page


def test_the_figure(tmp_path):
    """The net learns, only attributions that are added converge, and the figure is written."""
    image = require("matplotlib.image", "the example draws with it")
    figure = tmp_path / "figure.png"
    result = python(str(EXAMPLES / "attribution.py"), "--quick", "--out", str(figure))
    said = re.findall(r"^(\w+): convergence error (\S+) on average, (\S+) at most", result.stdout, re.MULTILINE)
    assert [name for name, *_ in said] == ["Assigned", "Added"], result.stderr
    (assigned, _), (_, added) = ((float(mean), float(most)) for _, mean, most in said)
    assert assigned > 0.1
    assert added < 1e-12
    drawn = image.imread(figure)
    assert drawn.shape == (960, 1148, 4)
    assert drawn[..., :3].std() > 0.1
