"""Compare two small SegNets in Keras: one decodes with `unpool.keras`, one with `keras.layers.UpSampling2D`.

    pip install ".[jax]" keras scikit-image matplotlib && KERAS_BACKEND=jax python examples/segnet_keras.py

Any Keras backend works.  The nets learn to separate ink from paper on `skimage.data.page()`, a scanned page inside
scikit-image's wheel.  The ground truth is Sauvola's threshold with a window of 25, as in scikit-image's gallery
("Niblack and Sauvola Thresholding").  It is computed for the training part and the test part separately.

The nets train on crops of 65 x 65 from the lower two thirds, rotated, mirrored, lighter and darker.  The test part is
the title and the first line, 65 x 377, held out from training.  These sizes are odd at every pooling, so each unpooling
takes the size to restore from `like=`.  `--quick` trains on fewer and smaller crops; the masks differ as much.

Both nets have the same number of parameters, initial weights, crops and steps.  Three poolings shrink a stroke of two
pixels to a quarter of a pixel.  The indices give its position to the first decoder; the second decoder must guess it.
With fewer poolings the gain is smaller: still visible after two, hardly visible after one (`--levels 1`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import ndimage
from skimage import data, filters

from unpool.keras import MaxPooling2DWithIndices, MaxUnpooling2D

CHANNELS = 24  # on every level, as in SegNet-Basic
BATCH = 8


class CroppedUpSampling2D(keras.layers.UpSampling2D):
    """Copy each value to all cells of its window, and crop to the size of `like`; `indices` is not used."""

    def call(self, inputs, indices, like):
        _, rows, columns, _ = keras.ops.shape(like)
        return super().call(inputs)[:, :rows, :columns]

    def compute_output_shape(self, inputs_shape, indices_shape, like_shape):
        return *like_shape[:-1], inputs_shape[-1]


# With padding "same", a window also covers the last row of an odd size.
DECODERS = {
    "MaxUnpooling2D": lambda: MaxUnpooling2D(2, padding="same"),
    "UpSampling2D": lambda: CroppedUpSampling2D(2),
}


def convolve(x):
    x = keras.layers.Conv2D(CHANNELS, 3, padding="same", use_bias=False)(x)
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))


def segnet(up, levels: int) -> keras.Model:
    """Return a net that takes pictures (N, H, W, 1) of any size, and returns a logit of "ink" for each pixel."""
    x = picture = keras.Input((None, None, 1))
    pooled = []
    for _ in range(levels):
        features = convolve(x)
        x, indices = MaxPooling2DWithIndices(2, padding="same")(features)
        pooled.append((features, indices))
    x = convolve(x)
    for features, indices in reversed(pooled):
        x = convolve(up()(x, indices, like=features))
    return keras.Model(picture, keras.layers.Conv2D(1, 1)(x))


def page() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the picture and the ground truth, (H, W), of the training part and of the test part."""
    picture = data.page()
    below, above = ((part, part < filters.threshold_sauvola(part, 25)) for part in (picture[65:], picture[:65, 4:381]))
    return below, above


def crops(picture: np.ndarray, truth: np.ndarray, count: int, size: int, seed: int) -> np.ndarray:
    """Return square crops of a picture and of its ground truth, (2, N, H, W, 1), randomly rotated and mirrored."""
    random, pairs = np.random.default_rng(seed), []
    for _ in range(count):
        row, column = (random.integers(length - size + 1) for length in picture.shape)
        pair = np.stack([picture / 255, truth])[:, row : row + size, column : column + size]
        pair = np.rot90(pair, random.integers(4), axes=(1, 2))[:, :: random.choice([-1, 1])]
        pairs.append([pair[0] * random.uniform(0.7, 1.3) + random.uniform(-0.1, 0.1), pair[1]])
    return np.array(pairs, dtype="float32").swapaxes(0, 1)[..., None]


def scores(found: np.ndarray, truth: np.ndarray) -> list[float]:
    """Return pixel accuracy, mean IoU, and the accuracy of pixels at most two pixels from the other class."""
    near = ndimage.binary_dilation(truth, iterations=2) & ndimage.binary_dilation(~truth, iterations=2)
    overlaps = [(a & b).sum() / (a | b).sum() for a, b in ((found, truth), (~found, ~truth))]
    return [np.mean(found == truth), np.mean(overlaps), np.mean((found == truth)[near])]


def main() -> None:
    parser = argparse.ArgumentParser(description="Train both nets, compare them, and draw their results.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--levels", type=int, default=3, help="number of poolings (3)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of 240 crops (10)")
    parser.add_argument("--out", type=Path, default="segnet_keras.png", help="the picture, a PNG")
    parser.add_argument("--quick", action="store_true", help="4 epochs of 160 crops of 33 x 33")
    arguments = parser.parse_args()
    arguments.out.open("ab").close()  # raises before the training if the file cannot be written
    epochs, count, size = (4, 160, 33) if arguments.quick else (arguments.epochs, 240, 65)

    learned, (picture, truth) = page()
    x, y = crops(*learned, count, size, arguments.seed)
    losses, masks, results = {}, {}, {}
    for name, up in DECODERS.items():
        keras.utils.set_random_seed(arguments.seed)  # the same weights, and crops in the same order
        model = segnet(up, arguments.levels)
        rate = keras.optimizers.schedules.CosineDecay(0.01, epochs * count // BATCH)
        model.compile(keras.optimizers.Adam(rate), keras.losses.BinaryCrossentropy(from_logits=True))
        print(f"{name}: {model.count_params():,} parameters")
        losses[name] = model.fit(x, y, batch_size=BATCH, epochs=epochs).history["loss"]
        masks[name] = model.predict(picture[None, ..., None] / 255, verbose=0)[0, ..., 0] > 0
        results[name] = scores(masks[name], truth)

    print()
    for name, loss in losses.items():
        print(f"{name}: loss {loss[0]:.3f} at first, {loss[-1]:.3f} after {epochs} epochs")
    print(f"\n{'on what was held out':<24}{'pixel accuracy':>16}{'mean IoU':>16}{'near boundaries':>16}")
    for name, result in results.items():
        print(f"{name:<24}" + "".join(f"{score:>16.1%}" for score in result))
    draw(picture, truth, masks, results, losses).savefig(arguments.out, dpi=DPI, format="png")
    print(f"\nPicture written to {arguments.out}")


# --- the picture ------------------------------------------------------------------------------------------------------

COLOURS = {"MaxUnpooling2D": "#14507f", "UpSampling2D": "#b4480f"}
INK, GREY, PALE = "#1a1a1a", "#666666", "#cccccc"
DPI, WIDTH, HEIGHT, MARGIN = 100, 1787, 1140, 34
WIDE, CLOSE, TALL, GAP = 377 * 3, 40 * 13, 65 * 3, 66  # panels of 3 and of 13 pixels per cell, and the gap between
NEAR = np.s_[50:65, 276:316]  # the part of the close-up


def draw(picture: np.ndarray, truth: np.ndarray, masks: dict, results: dict, losses: dict) -> Figure:
    """Draw the held-out picture, the truth and the results on the left; losses and close-ups on the right."""
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")

    def write(left: int, top: int, text: str, size: int, colour: str, weight: str = "bold") -> None:
        figure.text(left / WIDTH, 1 - top / HEIGHT, text, size=size, color=colour, weight=weight, va="top")

    def panel(left: int, row: int, width: int, height: int, title: str, caption: str, colour: str = INK) -> Axes:
        top = 128 + row * (TALL + GAP)
        write(left, top - 46, title, 12, colour)
        write(left, top - 24, caption, 10, GREY, "normal")
        return figure.add_axes((left / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT))

    def show(axes: Axes, cells: np.ndarray, black: float = 0, white: float = 1) -> None:
        axes.imshow(cells, cmap="gray", interpolation="nearest", aspect="auto", vmin=black, vmax=white)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(PALE)

    write(MARGIN, 24, "Ink on a page, pooled and brought back to full size: with the indices, and without", 17, INK)
    show(panel(MARGIN, 0, WIDE, TALL, "Held out", "65 x 377 pixels that no net was trained on"), picture, white=255)
    show(panel(MARGIN, 1, WIDE, TALL, "Truth", f"ink by Sauvola's threshold, {truth.mean():.1%} of the pixels"), ~truth)

    right = 3 * MARGIN + WIDE
    curves = panel(right, 0, CLOSE, 2 * TALL + GAP - 30, "Loss", "cross-entropy of the training crops, by epoch")
    for row, (name, colour) in enumerate(COLOURS.items(), start=2):
        caption = "{:.1%} of pixels right, mean IoU {:.1%}; {:.1%} right within two pixels of a boundary"
        show(panel(MARGIN, row, WIDE, TALL, name, caption.format(*results[name]), colour), ~masks[name])
        close = panel(right, row, CLOSE, TALL, "From close by", "with the outline of the truth", colour)
        show(close, ~masks[name][NEAR], black=-2)
        close.contour(truth[NEAR], [0.5], colors=colour, linewidths=2)

        loss = losses[name]
        curves.plot(range(1, len(loss) + 1), loss, color=colour, linewidth=2)
        curves.annotate(name, (len(loss), loss[-1]), (0, 8), textcoords="offset points", ha="right", color=colour)
    curves.set_ylim(0)
    curves.xaxis.get_major_locator().set_params(integer=True)
    curves.spines[["top", "right"]].set_visible(False)
    curves.spines[:].set_color(PALE)
    curves.tick_params(color=PALE, labelcolor=GREY)
    return figure


if __name__ == "__main__":
    main()
