"""Compare small SegNets in PyTorch: with `unpool.torch`, with `torch.nn`, and with upsampling in place of unpooling.

    pip install ".[torch]" scikit-image matplotlib tqdm && python examples/segnet_torch.py

The nets learn to find the vessels of `skimage.data.retina()`, a photograph inside scikit-image's wheel, at half its
size.  The ground truth is scikit-image's filter for ridges (Sato) with a threshold.  The nets train on crops of the
upper half, rotated and mirrored.  The test part is 241 x 321 pixels of the lower half.

All nets have the same initial weights, crops and steps.  Those with `unpool.torch` and with `torch.nn` compute the same
bits, in training, too.  But `torch.use_deterministic_algorithms(True)` makes PyTorch refuse `torch.nn.MaxUnpool2d`; the
other nets train under it.  Without the indices, a vessel of two pixels is lost in three poolings.

It takes a minute on a CPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from skimage import data, filters
from tqdm import tqdm

import unpool.torch

CHANNELS, SIZE, BATCH = 24, 65, 8


class Upsample(torch.nn.Module):
    """Copy each value to all cells of its window; `indices` is not used."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__()

    def forward(self, values, indices, output_size):
        return torch.nn.functional.interpolate(values, output_size[2:])


LAYERS = {
    "unpool.torch": unpool.torch,
    "torch.nn": torch.nn,
    "upsampling": SimpleNamespace(MaxPool2d=torch.nn.MaxPool2d, MaxUnpool2d=Upsample),
}


class SegNet(torch.nn.Module):
    """Take pictures (N, 3, H, W) of any size, and return a logit of "vessel" for each pixel, (N, 1, H, W)."""

    def __init__(self, layers, levels: int) -> None:
        super().__init__()
        self.down = torch.nn.ModuleList(convolution(CHANNELS if level else 3) for level in range(levels))
        self.up = torch.nn.ModuleList(convolution(CHANNELS) for _ in range(levels))
        self.pool, self.unpool = layers.MaxPool2d(2, return_indices=True), layers.MaxUnpool2d(2)
        self.last = torch.nn.Conv2d(CHANNELS, 1, 1)

    def forward(self, x):
        pooled = []
        for convolve in self.down:
            x = convolve(x)
            size = x.shape
            x, indices = self.pool(x)
            pooled.append((indices, size))
        for convolve, (indices, size) in zip(self.up, reversed(pooled), strict=True):
            x = convolve(self.unpool(x, indices, output_size=size))
        return self.last(x)


def convolution(channels: int) -> torch.nn.Module:
    convolve = torch.nn.Conv2d(channels, CHANNELS, 3, padding=1, bias=False)
    return torch.nn.Sequential(convolve, torch.nn.BatchNorm2d(CHANNELS), torch.nn.ReLU())


# --- pictures ---------------------------------------------------------------------------------------------------------


def retina() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the picture (H, W, 3) and the ground truth (H, W) of the training part and of the test part."""
    picture = (data.retina()[::2, ::2] / 255).astype("float32")
    parts = picture[60:350, 130:600], picture[360:601, 230:551]
    above, below = ((part, filters.sato(part[..., 1], (1, 1.5)) > 0.012) for part in parts)
    return above, below


def crops(picture: np.ndarray, truth: np.ndarray, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return crops of the picture (N, 3, SIZE, SIZE) and of the ground truth (N, 1, SIZE, SIZE), turned at random."""
    random, both, pairs = np.random.default_rng(seed), np.dstack([picture, truth]).astype("float32"), []
    for _ in range(count):
        row, column = (random.integers(length - SIZE + 1) for length in truth.shape)
        pair = np.rot90(both[row : row + SIZE, column : column + SIZE], random.integers(4))
        pairs.append(pair[:: random.choice([-1, 1])].transpose(2, 0, 1))
    x, y = torch.tensor(np.array(pairs)).split([3, 1], dim=1)
    return x, y


# --- training ---------------------------------------------------------------------------------------------------------


def refusal(net: SegNet, x: torch.Tensor) -> str | None:
    """Return why PyTorch refuses the net under `use_deterministic_algorithms(True)`, or None; that mode stays on."""
    torch.use_deterministic_algorithms(True)
    try:
        net.eval()(x)
    except RuntimeError as error:
        return str(error).partition(", but")[0]
    return None


def train(net: SegNet, x: torch.Tensor, y: torch.Tensor, epochs: int, name: str) -> list[float]:
    """Train the net, and return the mean loss of each epoch."""
    net.train()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(x) // BATCH)
    losses = []
    with tqdm(total=epochs * len(x) // BATCH, desc=f"{name:<12}", unit="step") as bar:
        for _ in range(epochs):
            epoch = []
            for crop, truth in zip(x.split(BATCH), y.split(BATCH), strict=True):
                optimizer.zero_grad()
                loss = torch.nn.functional.binary_cross_entropy_with_logits(net(crop), truth)
                loss.backward()
                optimizer.step()
                schedule.step()
                epoch.append(loss.item())
                bar.update()
            losses.append(float(np.mean(epoch)))
            bar.set_postfix(loss=f"{losses[-1]:.3f}")
    return losses


def scores(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return pixel accuracy, and the intersection over union of the vessels."""
    return np.mean(found == truth), (found & truth).sum() / (found | truth).sum()


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Train the three nets, compare and time them, and draw their masks: a minute on a CPU."
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--levels", type=int, default=3, help="number of poolings (3)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of 240 crops (10)")
    parser.add_argument("--out", type=Path, default="segnet_torch.png", help="the picture, a PNG")
    parser.add_argument("--quick", action="store_true", help="six epochs of 80 crops")
    arguments = parser.parse_args()
    arguments.out.open("ab").close()  # raises before the training if the file cannot be written
    epochs, count = (6, 80) if arguments.quick else (arguments.epochs, 240)

    torch.set_num_threads(1)  # threads of so small nets would wait for each other
    learned, (picture, truth) = retina()
    x, y = crops(*learned, count, arguments.seed)
    held_out = torch.from_numpy(picture.transpose(2, 0, 1)[None].copy())
    nets, losses, seconds, logits, refused = {}, {}, {}, {}, {}
    for name, layers in LAYERS.items():
        torch.manual_seed(arguments.seed)  # the same weights
        net = nets[name] = SegNet(layers, arguments.levels)
        refused[name] = refusal(net, x[:1])
        if refused[name]:
            torch.use_deterministic_algorithms(False)
        start = perf_counter()
        losses[name] = train(net, x, y, epochs, name)
        seconds[name] = perf_counter() - start
        with torch.no_grad():
            logits[name] = net.eval()(held_out)[0, 0]

    masks = {name: (found > 0).numpy() for name, found in logits.items()}
    results = {name: scores(mask, truth) for name, mask in masks.items()}
    for name, reason in refused.items():
        print(f"{name}: {seconds[name]:.1f} s; deterministic training: {reason or 'yes'}")
    different = (logits["unpool.torch"] != logits["torch.nn"]).sum()
    print(f"unpool.torch and torch.nn: {different} of {truth.size} logits differ")
    for name, (accuracy, overlap) in results.items():
        print(f"{name}: {accuracy:.1%} of the held-out pixels right, IoU of vessels {overlap:.1%}")
    draw(picture, truth, masks, results, losses).savefig(arguments.out, pil_kwargs={"optimize": True})
    print(f"wrote {arguments.out}")


# --- the picture ------------------------------------------------------------------------------------------------------

COLOURS = {"unpool.torch": "#14507f", "torch.nn": "#666666", "upsampling": "#b4480f"}
INK, GREY, PALE = "#1a1a1a", "#666666", "#cccccc"
DPI, WIDE, TALL, GAP, MARGIN, TOP = 100, 321, 241, 70, 34, 132  # pixels
NEAR = np.s_[18:98, 140:247]  # the part of the close-ups


def draw(picture: np.ndarray, truth: np.ndarray, masks: dict, results: dict, losses: dict) -> Figure:
    """Draw the picture, the truth and the losses, above close-ups of the masks that were found."""
    width, height = 2 * MARGIN + 3 * (WIDE + GAP) - GAP, TOP + 2 * (TALL + GAP) - GAP + 2 * MARGIN
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")

    def write(left: int, top: int, text: str, size: int, colour: str, weight: str = "bold") -> None:
        figure.text(left / width, 1 - top / height, text, size=size, color=colour, weight=weight, va="top")

    def panel(row: int, column: int, title: str, caption: str, colour: str = INK, bottom: int = 0) -> Axes:
        left, top = MARGIN + column * (WIDE + GAP), TOP + row * (TALL + GAP)
        write(left, top - 46, title, 12, colour)
        write(left, top - 24, caption, 10, GREY, "normal")
        edges = left / width, 1 - (top + TALL - bottom) / height, WIDE / width, (TALL - bottom) / height
        axes = figure.add_axes(edges)
        axes.spines[:].set_color(PALE)
        return axes

    write(MARGIN, 24, "Vessels of a retina, by SegNets with the indices and without", 17, INK)
    panel(0, 0, "Held out", "241 x 321 pixels that no net was trained on").imshow(picture)
    panel(0, 1, "Truth", f"by a filter for ridges, {truth.mean():.1%} of the pixels").imshow(~truth, cmap="gray")
    for column, (name, colour) in enumerate(COLOURS.items()):
        found = masks[name]
        drawn = np.ones((*truth.shape, 3))
        for cells, shade in ((truth & found, INK), (truth & ~found, "#56b4e9"), (found & ~truth, "#d55e00")):
            drawn[cells] = to_rgb(shade)
        accuracy, overlap = results[name]
        axes = panel(1, column, name, f"{accuracy:.1%} of pixels right, IoU of vessels {overlap:.1%}", colour)
        axes.imshow(drawn[NEAR], aspect="auto", interpolation="nearest")
    for axes in figure.axes:
        axes.set(xticks=[], yticks=[])
    rows, columns = NEAR
    frame = columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
    for axes in figure.axes[:2]:
        axes.add_patch(Rectangle(frame[:2], *frame[2:], fill=False, color=COLOURS["unpool.torch"], linewidth=1.5))
    legend = "The framed part. Black: vessels that were found. Blue: vessels that were missed. Orange: not a vessel."
    write(MARGIN, height - 50, legend, 10, GREY, "normal")

    curves = panel(0, 2, "Loss", "cross-entropy of the training crops, by epoch", bottom=20)
    for name, style in {"torch.nn": {"linewidth": 5, "alpha": 0.4}, "unpool.torch": {}, "upsampling": {}}.items():
        curves.plot(range(1, len(losses[name]) + 1), losses[name], color=COLOURS[name], label=name, **style)
    curves.legend(frameon=False, labelcolor="linecolor")
    curves.set_ylim(0)
    curves.xaxis.get_major_locator().set_params(integer=True)
    curves.spines[["top", "right"]].set_visible(False)
    curves.tick_params(color=PALE, labelcolor=GREY)
    return figure


if __name__ == "__main__":
    main()
