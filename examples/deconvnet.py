"""Show what units of a convolutional net see, by a deconvnet (Zeiler and Fergus, 2014), beside the plain gradient.

    pip install ".[torch]" scikit-image matplotlib tqdm && python examples/deconvnet.py

A deconvnet projects the activation of a unit back to the pixels of its input.  It walks through the layers in reverse:
max unpooling puts each value where the maximum was (the paper's "switches"), a ReLU keeps what is positive, and each
convolution is transposed.  The gradient takes the same walk, and differs at the ReLU: it keeps the cells that were
positive on the way forward.  Without the switches, all values of a window go to its first cell.

The net learns which of six pictures a grey patch of 32 x 32 pixels is from.  The pictures are in scikit-image's
wheel.  A unit of the last convolution sees the whole patch.  The figure shows six units: the patches with their largest
activations, and the projections.  These patches are from the right third of each picture, which is not trained on.

It takes ten seconds on a CPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from skimage import color, data, transform
from torch.nn.functional import conv_transpose2d, cross_entropy
from tqdm import tqdm

from unpool.torch import MaxPool2d, MaxUnpool2d

# --- projections ------------------------------------------------------------------------------------------------------


def project(layers: torch.nn.Sequential, x: torch.Tensor, unit: int, rule: str) -> torch.Tensor:
    """Project a unit of the last layer to the cells of x, by one of the RULES."""
    kept = []  # of each layer, what its way back needs
    for layer in layers:
        size = x.shape
        if isinstance(layer, MaxPool2d):
            x, switches = layer(x)
            kept.append({"indices": switches, "output_size": size})
        else:
            x = layer(x)
            kept.append(x > 0)

    signal = torch.zeros_like(x)
    signal[:, unit] = 1
    for layer, known in zip(reversed(layers), reversed(kept), strict=True):
        if isinstance(layer, torch.nn.Conv2d):
            signal = conv_transpose2d(signal, layer.weight)
        elif isinstance(layer, MaxPool2d):
            if rule == "No switches":
                known["indices"] = torch.zeros_like(known["indices"])
            signal = MaxUnpool2d(2, index_format="window")(signal, **known)
        else:
            signal = signal * known if rule == "Gradient" else signal.relu()
    return signal


RULES = ("Deconvnet", "Gradient", "No switches")


def likeness(projections: torch.Tensor, x: torch.Tensor) -> float:
    """Return the mean correlation of each projection with its patch."""
    pairs = zip(projections.flatten(1), x.flatten(1), strict=True)
    return float(np.mean([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs]))


# --- the net ----------------------------------------------------------------------------------------------------------

PATCH = 32
PICTURES = {"brick": 2, "cat": 1, "coins": 1, "grass": 1, "hubble_deep_field": 2, "page": 1}
# The number is the factor by which a picture is made smaller.


def patches(count: int, seed: int, held_out: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return so many patches of each picture (N, 1, PATCH, PATCH) without their mean and contrast, and its number."""
    random, found = np.random.default_rng(seed), []
    for name, factor in PICTURES.items():
        picture = getattr(data, name)()
        picture = color.rgb2gray(picture) if picture.ndim == 3 else picture / 255
        picture = transform.downscale_local_mean(picture, (factor, factor))
        third = 2 * picture.shape[1] // 3
        part = picture[:, third:] if held_out else picture[:, :third]
        for _ in range(count):
            row, column = (random.integers(length - PATCH + 1) for length in part.shape)
            patch = part[row : row + PATCH, column : column + PATCH]
            found.append((patch - patch.mean()) / (patch.std() + 0.05))
    return torch.tensor(np.array(found, "float32"))[:, None], torch.arange(len(PICTURES)).repeat_interleave(count)


def trained(x: torch.Tensor, truth: torch.Tensor, epochs: int) -> tuple[torch.nn.Sequential, torch.nn.Module]:
    """Return layers that make one number a unit from a patch, and the classifier of these numbers."""
    layers = []
    for channels in ((1, 16), (16, 32), (32, 32)):
        pool = MaxPool2d(2, return_indices=True, index_format="window")
        layers += [torch.nn.Conv2d(*channels, 5), torch.nn.ReLU(), pool]
    layers, classify = torch.nn.Sequential(*layers[:-1]), torch.nn.Linear(channels[1], len(PICTURES))
    optimizer = torch.optim.AdamW([*layers.parameters(), *classify.parameters()], 0.002, weight_decay=0.1)
    with tqdm(total=epochs * -(-len(x) // 32), unit="step") as bar:
        for _ in range(epochs):
            for batch in torch.randperm(len(x)).split(32):
                optimizer.zero_grad()
                loss = cross_entropy(classify(activations(layers, x[batch])), truth[batch])
                loss.backward()
                optimizer.step()
                bar.update()
            bar.set_postfix(loss=f"{loss.item():.3f}")
    return layers, classify


def activations(layers: torch.nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Return the activation of each unit, (N, units)."""
    for layer in layers:
        x = layer(x)[0] if isinstance(layer, MaxPool2d) else layer(x)
    return x[..., 0, 0]


def selective_units(found: torch.Tensor, truth: torch.Tensor) -> list[int]:
    """Return a unit for each picture: its mean there lies the most deviations above that of all patches."""
    rest, units = found.mean(0), []
    for number in range(len(PICTURES)):
        above = (found[truth == number].mean(0) - rest) / (found.std(0) + 1e-6)
        above[units] = -torch.inf
        units.append(int(above.argmax()))
    return units


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train the net, project its units by each rule, and draw the projections: ten seconds on a CPU."
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default="deconvnet.png", help="the figure, a PNG")
    parser.add_argument("--quick", action="store_true", help="two epochs instead of eight")
    arguments = parser.parse_args()
    arguments.out.open("ab").close()  # raises before the training if the file cannot be written

    torch.set_num_threads(1)  # threads of so small a net would wait for each other
    torch.manual_seed(arguments.seed)
    layers, classify = trained(*patches(300, arguments.seed, held_out=False), epochs=2 if arguments.quick else 8)
    x, truth = patches(150, arguments.seed, held_out=True)
    with torch.no_grad():
        found = activations(layers, x)
        correct = (classify(found).argmax(1) == truth).double().mean()
        print(f"{correct:.0%} of {len(x)} held-out patches are classified correctly")
        units = selective_units(found, truth)
        strongest = {unit: x[found[:, unit].topk(3).indices] for unit in units}
        projections = {
            rule: {unit: project(layers, shown, unit, rule) for unit, shown in strongest.items()} for rule in RULES
        }
    for rule, of_units in projections.items():
        like = np.mean([likeness(projected, strongest[unit]) for unit, projected in of_units.items()])
        print(f"{rule}: correlation of projections with patches {like:.2f}")
    error = max(
        (autograd(layers, shown, unit) - projections["Gradient"][unit]).abs().max().item()
        for unit, shown in strongest.items()
    )
    print(f"Gradient: largest difference from autograd {error:.1g}")
    draw(strongest, projections).savefig(arguments.out, pil_kwargs={"optimize": True})
    print(f"wrote {arguments.out}")


def autograd(layers: torch.nn.Sequential, x: torch.Tensor, unit: int) -> torch.Tensor:
    """Return the gradient of a unit with respect to x."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(activations(layers, x)[:, unit].sum(), x)[0]


# --- the figure -------------------------------------------------------------------------------------------------------

INK, GREY = "#1a1a1a", "#666666"
DPI, PANEL, GAP, MARGIN, TOP = 100, 3 * PATCH, 24, 34, 132  # pixels
TITLES = {
    "Patches": "with its largest activations",
    "Deconvnet": "back through the switches",
    "Gradient": "of the unit's activation",
    "No switches": "each value in the first cell",
}


def draw(strongest: dict[int, torch.Tensor], projections: dict[str, dict[int, torch.Tensor]]) -> Figure:
    """Draw in a row each: the patches with the largest activations of a unit, and its projections by each rule."""
    group = 3 * PANEL + 4
    width, height = 2 * MARGIN + 4 * (group + GAP) - GAP, TOP + len(strongest) * (PANEL + 8) + MARGIN
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")

    def write(left: int, top: int, text: str, size: int, colour: str, weight: str = "bold") -> None:
        figure.text(left / width, 1 - top / height, text, size=size, color=colour, weight=weight, va="top")

    write(MARGIN, 24, "What units of a convolutional net see, a unit in each row", 17, INK)
    for column, (title, caption) in enumerate(TITLES.items()):
        left = MARGIN + column * (group + GAP)
        write(left, TOP - 50, title, 12, INK)
        write(left, TOP - 28, caption, 10, GREY, "normal")
        for row, shown in enumerate((strongest if title == "Patches" else projections[title]).values()):
            planes = shown / shown.abs().amax((1, 2, 3), keepdim=True)
            bottom = height - TOP - row * (PANEL + 8) - PANEL
            for number, plane in enumerate(planes[:, 0]):
                place = (left + number * (PANEL + 2)) / width, bottom / height, PANEL / width, PANEL / height
                axes = figure.add_axes(place)
                axes.imshow(plane, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
                axes.set_axis_off()
    return figure


if __name__ == "__main__":
    main()
