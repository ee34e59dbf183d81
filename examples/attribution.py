"""Attribute a net's output to the pixels of a picture by DeepLIFT, where the windows of max pooling overlap.

    pip install ".[torch]" matplotlib tqdm && python examples/attribution.py

DeepLIFT divides `model(x) - model(baseline)` among the cells of `x`.  Its backward pass carries multipliers instead of
gradients, and each non-linear layer has a rule for them.  `max_pool_rule` is the rule of max pooling in Captum and
SHAP, with one difference: where two windows pick one cell, their contributions are added (`duplicates="sum"`).
PyTorch's unpooling assigns, as `duplicates="last"` does, and loses all contributions but one.

A net with three `MaxPool2d(3, 2)`, the window of AlexNet, learns whether one of nine circles is a cross.  The figure
shows the attributions by both rules, and what they add up to.  It takes ten seconds on a CPU.  `docs/attribution.md`
explains the rule and registers it with Captum.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import trange

import unpool

if TYPE_CHECKING:  # all but the figure needs PyTorch alone
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# --- DeepLIFT ---------------------------------------------------------------------------------------------------------
#
# A rule takes the arguments that Captum passes.  Each tensor holds the samples of x first, then those of the baseline.


def max_pool_rule(layer, inputs, outputs, grad_input, grad_output, eps=1e-10, duplicates="sum"):
    """Return the multipliers of max pooling's inputs, from those of its outputs in `grad_output`."""
    dimensions = inputs.ndim - 2
    max_pool, max_unpool = (getattr(unpool, f"{name}{dimensions}d") for name in ("max_pool", "max_unpool"))
    window = layer.kernel_size, layer.stride, layer.padding
    _, indices = max_pool(inputs, *window, layer.dilation, layer.ceil_mode, return_indices=True)

    # A window that rose contributes to its maximum in x; one that fell, to its maximum in the baseline.
    y, y_baseline = outputs.chunk(2)
    higher = torch.maximum(y, y_baseline)
    multipliers = grad_output.chunk(2)[0]  # those of x: attributions depend on no others
    changes = torch.cat([multipliers * (higher - y_baseline), multipliers * (y - higher)])
    options = {"dilation": layer.dilation, "output_size": inputs.shape, "duplicates": duplicates}
    rises, falls = max_unpool(changes, indices, *window, **options).chunk(2)

    x, baseline = inputs.chunk(2)
    delta = x - baseline
    multipliers = torch.where(delta.abs() < eps, grad_input.chunk(2)[0], (rises + falls) / delta)
    return torch.cat([multipliers, multipliers])


def rescale_rule(layer, inputs, outputs, grad_input, grad_output, eps=1e-10):
    """Return the multipliers of an activation's inputs: its slope from baseline to x, times those of its outputs."""
    (x, baseline), (y, y_baseline) = inputs.chunk(2), outputs.chunk(2)
    delta = x - baseline
    slopes = grad_output.chunk(2)[0] * (y - y_baseline) / delta
    multipliers = torch.where(delta.abs() < eps, grad_input.chunk(2)[0], slopes)
    return torch.cat([multipliers, multipliers])


def deep_lift(model: torch.nn.Module, x: torch.Tensor, baseline: torch.Tensor, duplicates: str = "sum") -> torch.Tensor:
    """Return the attributions of x, for a model that returns one number a sample and calls each layer once."""
    pools = (torch.nn.MaxPool1d, torch.nn.MaxPool2d, torch.nn.MaxPool3d)
    rules = dict.fromkeys(pools, partial(max_pool_rule, duplicates=duplicates)) | {torch.nn.ReLU: rescale_rule}
    seen = {}

    def keep(layer, inputs, outputs):
        seen[layer] = inputs[0].detach(), outputs.detach()

    def replace(layer, grad_inputs, grad_outputs):
        return (rules[type(layer)](layer, *seen[layer], grad_inputs[0], grad_outputs[0]),)

    with ExitStack() as hooks:
        for layer in model.modules():
            if type(layer) in rules:
                hooks.enter_context(layer.register_forward_hook(keep))
                hooks.enter_context(layer.register_full_backward_hook(replace))
        inputs = torch.cat([x, baseline]).requires_grad_()
        multipliers = torch.autograd.grad(model(inputs).sum(), inputs)[0].chunk(2)[0]
    return multipliers * (x - baseline)


def output_changes(model: torch.nn.Module, x: torch.Tensor, baseline: torch.Tensor) -> torch.Tensor:
    """Return what the attributions of each sample must add up to, (N,)."""
    with torch.no_grad():
        return (model(x) - model(baseline)).flatten()


# --- the net ----------------------------------------------------------------------------------------------------------

SIDE, CELLS = 3, 21  # a picture is a square of SIDE x SIDE shapes, and a shape one of CELLS x CELLS pixels


def pictures(count: int, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures of circles, (N, 1, H, W), and 1 for each with a cross among them, (N, 1)."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand((count, SIDE**2, 1, 1), generator=random)

    row, column = (axis - uniform(8, 12) for axis in torch.meshgrid(*2 * [torch.arange(float(CELLS))], indexing="ij"))
    radius, angle = uniform(5, 7), uniform(0, torch.pi / 2)
    from_centre = torch.hypot(row, column)
    circle = (from_centre - radius).abs()
    turned = row * angle.cos() - column * angle.sin(), row * angle.sin() + column * angle.cos()
    cross = torch.maximum(torch.minimum(*map(torch.abs, turned)), from_centre - radius)

    has_cross = torch.arange(count) % 2
    chosen = torch.randint(SIDE**2, (count, 1), generator=random) == torch.arange(SIDE**2)
    from_line = torch.where((chosen & (has_cross == 1)[:, None])[..., None, None], cross, circle)
    shapes = (1.5 - from_line).clamp(0, 1).reshape(count, 1, SIDE, SIDE, CELLS, CELLS)
    return shapes.transpose(3, 4).reshape(count, 1, SIDE * CELLS, SIDE * CELLS), has_cross[:, None].float()


def trained(random: torch.Generator, steps: int) -> torch.nn.Module:
    """Return a net whose output is positive if one of the circles is a cross."""
    layers = []
    for channels in ((1, 8), (8, 16), (16, 16)):
        layers += [torch.nn.Conv2d(*channels, 5, padding=2), torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2)]
    net = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.Adam(net.parameters(), 0.004)
    for _ in trange(steps, unit="step"):
        x, truth = pictures(32, random)
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(net(x), truth).backward()
        optimizer.step()
    return net


# How a rule combines the contributions to a cell, in words and in unpool's.
RULES = {"Assigned": "last", "Added": "sum"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train the net, attribute its output by both rules, and draw them: ten seconds on a CPU."
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default="attribution.png", help="the figure, a PNG")
    parser.add_argument("--quick", action="store_true", help="50 steps of training instead of 150")
    arguments = parser.parse_args()
    arguments.out.open("ab").close()  # raises before the training if the file cannot be written

    torch.set_num_threads(1)  # threads of so small a net would wait for each other
    torch.manual_seed(arguments.seed)
    random = torch.Generator().manual_seed(arguments.seed)
    net = trained(random, 50 if arguments.quick else 150).double()
    x, truth = pictures(50, random)
    x = x.double()
    baseline = torch.zeros_like(x)  # an empty picture

    correct = ((net(x) > 0) == truth).double().mean()
    print(f"{correct:.0%} of {len(x)} new pictures are classified correctly")
    changes = output_changes(net, x, baseline)
    found = {title: deep_lift(net, x, baseline, duplicates) for title, duplicates in RULES.items()}
    print(f"change of the output: {changes.abs().mean():.2g} on average")
    for title, attributions in found.items():
        error = (attributions.sum((1, 2, 3)) - changes).abs()
        print(f"{title}: convergence error {error.mean():.2g} on average, {error.max():.2g} at most")
    draw(x, found, changes).savefig(arguments.out)
    print(f"wrote {arguments.out}")


# --- the figure -------------------------------------------------------------------------------------------------------

COLOURS = {"Output": "#1a1a1a", "Assigned": "#b4480f", "Added": "#14507f"}
GREY, PALE = "#666666", "#cccccc"
DPI, PANEL, GAP, MARGIN, TOP = 100, 4 * SIDE * CELLS, 24, 34, 132  # pixels
SHOWN = (0, 1, 3)


def draw(x: torch.Tensor, found: dict[str, torch.Tensor], changes: torch.Tensor) -> Figure:
    """Draw in a row each: a picture, its attributions by each rule, and what these add up to."""
    from matplotlib.figure import Figure

    width, height = 2 * MARGIN + 4 * PANEL + 3 * GAP, TOP + len(SHOWN) * (PANEL + GAP)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")

    def write(left: int, top: int, text: str, size: int, colour: str, weight: str = "bold") -> None:
        figure.text(left / width, 1 - top / height, text, size=size, color=colour, weight=weight, va="top")

    def panel(column: int, row: int) -> Axes:
        left, bottom = MARGIN + column * (PANEL + GAP), height - TOP - row * (PANEL + GAP) - PANEL
        return figure.add_axes((left / width, bottom / height, PANEL / width, PANEL / height))

    def show(axes: Axes, cells: torch.Tensor, **style) -> None:
        axes.imshow(cells, interpolation="nearest", **style)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(PALE)

    write(MARGIN, 24, "Is one of the circles a cross? DeepLIFT, through three MaxPool2d(3, 2)", 17, COLOURS["Output"])
    titles = {
        "Picture": "63 x 63 pixels, new to the net",
        "Assigned": "a cell keeps one window's contribution",
        "Added": "red is for a cross, blue against it",
        "Sum": "black: change from an empty picture",
    }
    for column, (title, caption) in enumerate(titles.items()):
        left = MARGIN + column * (PANEL + GAP)
        write(left, TOP - 50, title, 12, COLOURS.get(title, COLOURS["Output"]))
        write(left, TOP - 28, caption, 9, GREY, "normal")

    for row, sample in enumerate(SHOWN):
        show(panel(0, row), x[sample, 0], cmap="gray_r")
        limit = found["Added"][sample].abs().quantile(0.998).item()
        for column, attributions in enumerate(found.values(), start=1):
            show(panel(column, row), attributions[sample, 0], cmap="RdBu_r", vmin=-limit, vmax=limit)

        sums = {"Output": changes[sample].item()} | {title: found[title][sample].sum().item() for title in found}
        bars = panel(3, row)
        bars.barh(list(sums), sums.values(), color=COLOURS.values(), height=0.6)
        bars.bar_label(bars.containers[0], [f" {value:.2f} " for value in sums.values()], color=GREY)
        bars.invert_yaxis()
        bars.axvline(0, color=PALE, linewidth=1)
        bars.margins(x=0.35)
        bars.set(xticks=[], yticks=[])
        bars.spines[:].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
