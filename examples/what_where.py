"""Train two autoencoders in JAX: a stacked what-where autoencoder, and the same net without the "where".

    pip install ".[jax]" matplotlib tqdm && python examples/what_where.py

Zhao, Mathieu, Goroshin and LeCun, "Stacked What-Where Auto-encoders" (2015): the encoder pools several times.  Pooled
values are the "what", and go on to the next level.  Indices are the "where", and go to the decoder, which unpools with
them.  Besides the picture, each level of the decoder restores what the encoder has on that level.

Both nets learn letters of 32 x 32 pixels in fonts that come with Matplotlib, turned and moved, and restore those of a
font held out from training.  Three poolings leave 4 x 4 places.  The nets have the same number of parameters, initial
weights and batches.  One decodes with `max_unpool2d`, the other one copies each value to its whole window.

The last row of the picture is a control: the "what" of each letter, unpooled by the "where" of the next letter.
"""

from __future__ import annotations

import argparse
import string
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

import unpool

SIZE, CHANNELS, LEVELS = 32, 16, 3
FONTS = ["DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSansMono-Oblique", "cmr10", "cmtt10"]
HELD_OUT = "DejaVuSerif-Italic"
LETTERS = string.ascii_letters + string.digits
WORD = "Unpooling"

# --- the nets ---------------------------------------------------------------------------------------------------------


def unpooled(what: jax.Array, where: jax.Array) -> jax.Array:
    """Put each value on the cell that it came from."""
    return unpool.max_unpool2d(what, where, 2, index_format="window")


def upsampled(what: jax.Array, where: jax.Array) -> jax.Array:
    """Copy each value to all cells of its window; `where` is not used."""
    return what.repeat(2, axis=2).repeat(2, axis=3)


DECODERS = {"What alone": upsampled, "What and where": unpooled}


def kernels(key: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
    """Return the kernels of the encoder and of the decoder, both from the level of the picture to the top."""
    pairs = list(pairwise([1] + LEVELS * [CHANNELS]))
    keys = iter(jax.random.split(key, 2 * LEVELS))

    def kernel(into: int, out: int) -> jax.Array:
        return jax.random.normal(next(keys), (out, into, 3, 3)) * (2 / (9 * into)) ** 0.5

    return [kernel(low, high) for low, high in pairs], [kernel(high, low) for low, high in pairs]


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME")


def encode(kernels: list[jax.Array], x: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
    """Return the input of each level and the "what" of the last one, and the "where" of each level."""
    hidden, where = [x], []
    for kernel in kernels:
        features = jax.nn.relu(convolve(hidden[-1], kernel))
        what, indices = unpool.max_pool2d(features, 2, return_indices=True, index_format="window")
        hidden.append(what)
        where.append(indices)
    return hidden, where


def decode(kernels: list[jax.Array], up, what: jax.Array, where: list[jax.Array]) -> list[jax.Array]:
    """Return what the decoder restores of the input of each level; the first one is the picture."""
    found = [what]
    for kernel, indices in zip(kernels[::-1], where[::-1], strict=True):
        found.append(convolve(up(jax.nn.relu(found[-1]), indices), kernel))
    return found[:0:-1]


def loss(net: tuple, up, x: jax.Array) -> jax.Array:
    """Return the mean squared error of the picture, plus a small part of those between the levels."""
    encoder, decoder = net
    hidden, where = encode(encoder, x)
    found = decode(decoder, up, hidden[-1], where)
    picture, *between = (jnp.mean((a - b) ** 2) for a, b in zip(found, hidden, strict=False))
    return picture + 0.02 * sum(between)


@partial(jax.jit, static_argnames="up")
def step(state: tuple, up, x: jax.Array, number: int) -> tuple[tuple, jax.Array]:
    """Train for one step of Adam; the state holds the net, and the means of its gradients and of their squares."""
    value, gradients = jax.value_and_grad(loss)(state[0], up, x)
    means = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, state[1], gradients)
    squares = jax.tree.map(lambda old, new: 0.99 * old + 0.01 * new**2, state[2], gradients)
    rate = 0.004 * jnp.sqrt(1 - 0.99**number) / (1 - 0.9**number)
    net = jax.tree.map(lambda w, mean, square: w - rate * mean / (jnp.sqrt(square) + 1e-8), state[0], means, squares)
    return (net, means, squares), value


def train(up, batches: Iterable[np.ndarray], seed: int) -> tuple[tuple, list[float]]:
    """Return the net after a step on each batch, and the loss of each step."""
    net, losses = kernels(jax.random.key(seed)), []
    zeros = jax.tree.map(jnp.zeros_like, net)
    state = net, zeros, zeros
    for number, batch in enumerate(batches, start=1):
        state, value = step(state, up, batch, number)
        losses.append(float(value))
    return state[0], losses


# --- the letters ------------------------------------------------------------------------------------------------------


def letter(character: str, font: str, points: int = 26, angle: float = 0, move: tuple[float, float] = (0, 0)):
    """Return a picture of a letter, (1, SIZE, SIZE), white on black."""
    picture = Image.new("L", (SIZE, SIZE))
    file = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    centre = SIZE / 2 + move[0], SIZE / 2 + move[1]
    ImageDraw.Draw(picture).text(centre, character, 255, ImageFont.truetype(file, points), anchor="mm")
    return np.asarray(picture.rotate(angle, Image.Resampling.BILINEAR), "float32")[np.newaxis] / 255


def training_letters(count: int, random: np.random.Generator) -> np.ndarray:
    """Return letters in random fonts and sizes, turned and moved, (N, 1, SIZE, SIZE)."""
    letters = []
    for character, font in zip(random.choice(list(LETTERS), count), random.choice(FONTS, count), strict=True):
        style = random.integers(18, 30), random.uniform(-20, 20), random.uniform(-3, 3, 2)
        letters.append(letter(character, font, *style))
    return np.stack(letters)


def decibels(restored: jax.Array, wanted: np.ndarray) -> float:
    """Return the ratio of peak signal to noise."""
    return float(-10 * jnp.log10(jnp.mean((restored - wanted) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train both autoencoders, compare them, and draw what they restore.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=800, help="steps of 32 letters (800)")
    parser.add_argument("--out", type=Path, default="what_where.png", help="the picture, a PNG")
    parser.add_argument("--quick", action="store_true", help="100 steps")
    arguments = parser.parse_args()
    arguments.out.open("ab").close()  # raises before the training if the file cannot be written
    steps = 100 if arguments.quick else arguments.steps

    random = np.random.default_rng(arguments.seed)
    learned = training_letters(min(2048, 8 * steps), random)
    batches = random.integers(len(learned), size=(steps, 32))
    held_out = np.stack([letter(character, HELD_OUT) for character in WORD + LETTERS])
    word = np.s_[: len(WORD)]
    shown, losses, ratios = {"Held out": held_out[word]}, {}, {}
    for name, up in DECODERS.items():
        (encoder, decoder), losses[name] = train(up, (learned[batch] for batch in tqdm(batches, name)), arguments.seed)
        hidden, where = encode(encoder, jnp.asarray(held_out))
        restored = jnp.clip(decode(decoder, up, hidden[-1], where)[0], 0, 1)
        shown[name] = restored[word]
        ratios[name] = decibels(restored, held_out)
    # The last net is the one with "where".
    moved = [jnp.roll(indices, -1, axis=0) for indices in where]
    control = jnp.clip(decode(decoder, up, hidden[-1], moved)[0], 0, 1)
    shown["Where of the next letter"] = control[word]

    for name, values in losses.items():
        print(f"{name}: loss {values[0]:.4f} at first, {values[-1]:.4f} after {steps} steps")
    print("\nRatio of peak signal to noise, on letters of a font that was held out")
    for name, ratio in ratios.items():
        print(f"{name:<26}{ratio:>6.1f} dB")
    own, other = decibels(control, held_out), decibels(control, np.roll(held_out, -1, axis=0))
    print(f"{'Where of the next letter':<26}{own:>6.1f} dB, and {other:.1f} dB as a picture of the next letter")
    draw(shown, ratios, losses, where[0][len(WORD) - 1, 0]).savefig(arguments.out, dpi=DPI, format="png")
    print(f"\nPicture written to {arguments.out}")


# --- the picture ------------------------------------------------------------------------------------------------------

INK, GREY, PALE = "#1a1a1a", "#666666", "#cccccc"
COLOURS = {"What alone": "#b4480f", "What and where": "#14507f"}
PLACES = ["#14507f", "#b4480f", "#8fc1e3", "#f6b878"]  # upper left and right, lower left and right in a window
DPI, MARGIN, GAP, TOP, CELL = 100, 34, 66, 128, 4  # pixels


def draw(shown: dict, ratios: dict, losses: dict, places: np.ndarray) -> Figure:
    """Draw the letters and their restorations on the left; the losses and the "where" of one letter on the right."""
    wide, tall = CELL * SIZE * len(WORD), CELL * SIZE
    side, right = 2 * tall + GAP, 3 * MARGIN + wide
    width, height = right + side + MARGIN, TOP + 4 * tall + 3 * GAP + MARGIN
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")

    def write(left: int, top: int, text: str, points: int, colour: str, weight: str = "bold") -> None:
        figure.text(left / width, 1 - top / height, text, size=points, color=colour, weight=weight, va="top")

    def panel(left: int, top: int, size: tuple[int, int], title: str, caption: str, colour: str = INK) -> Axes:
        write(left, top - 46, title, 12, colour)
        write(left, top - 24, caption, 10, GREY, "normal")
        axes = figure.add_axes((left / width, 1 - (top + size[1]) / height, size[0] / width, size[1] / height))
        axes.spines[:].set_color(PALE)
        axes.tick_params(color=PALE, labelcolor=GREY)
        return axes

    write(
        MARGIN, 24, "Letters, pooled to 4 x 4 places and restored: with the places of the maxima, and without", 17, INK
    )
    captions = {name: f"{ratio:.1f} dB, the ratio of peak signal to noise" for name, ratio in ratios.items()}
    captions["Held out"] = f"{SIZE} x {SIZE} pixels each, in a font that no net was trained on"
    captions["Where of the next letter"] = (
        "a control: the values of each letter, unpooled by the indices of the next one"
    )
    for row, (name, letters) in enumerate(shown.items()):
        top = TOP + row * (tall + GAP)
        axes = panel(MARGIN, top, (wide, tall), name, captions[name], COLOURS.get(name, INK))
        axes.imshow(np.concatenate(list(letters[:, 0]), axis=1), cmap="gray_r", interpolation="nearest", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])

    curves = panel(right, TOP, (side, side - 30), "Loss", "of a batch of training letters, by step")
    for name, loss in losses.items():
        curves.plot(range(1, len(loss) + 1), loss, color=COLOURS[name], linewidth=1, label=name)
    curves.set_yscale("log")
    curves.legend(frameon=False, labelcolor="linecolor")
    curves.spines[["top", "right"]].set_visible(False)

    where = panel(
        right, TOP + side + GAP, (side, side), 'The "where"', "of the last letter; place in the window by colour"
    )
    key = where.inset_axes((0.03, 0.03, 0.12, 0.12))
    for axes, cells in ((where, places), (key, np.arange(4).reshape(2, 2))):
        axes.imshow(cells, cmap=ListedColormap(PLACES), interpolation="nearest", vmin=0, vmax=3)
        axes.set(xticks=[], yticks=[])
    key.spines[:].set(color="white", linewidth=2)
    return figure


if __name__ == "__main__":
    main()
