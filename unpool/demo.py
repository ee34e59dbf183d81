"""The demo of the command line: a photograph is pooled twice, and its maxima are put back where they were.

The photograph (Grace Hopper, by the US Navy, in the public domain) comes with Matplotlib.  It is cropped to sizes that
are odd at both levels, so the size to restore does not follow from the pooled size.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.cbook import get_sample_data
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle

import unpool

Array = np.ndarray[Any, np.dtype[Any]]

# 431 x 359 cells, then 215 x 179, then 107 x 89.
ROWS, COLUMNS = slice(8, 439), slice(86, 445)
# The square to enlarge, an eye.  Its corner is the corner of a window at both levels.
TOP, LEFT, SIDE = 160, 112, 40

POOL = unpool.MaxPool2d(2, return_indices=True, data_format="channels_last")
UNPOOL = unpool.MaxUnpool2d(2, data_format="channels_last")


def run() -> bytes:
    """Pool and unpool the photograph, print the results, and return a picture of them as the bytes of a PNG file."""
    photo = imread(get_sample_data("grace_hopper.jpg", asfileobj=False))[np.newaxis, ROWS, COLUMNS]
    once, first = POOL(photo)
    twice, second = POOL(once)
    halfway = UNPOOL(twice, second, output_size=once.shape)
    restored = UNPOOL(halfway, first, output_size=photo.shape)

    print(f"A photograph as a channels-last batch of {photo.dtype}; kernel 2, stride 2\n")
    _row("photograph", photo.shape)
    _row("pooled once", once.shape)
    _row("pooled twice", twice.shape)
    _row("unpooled once", halfway.shape)
    _row("unpooled twice", restored.shape)

    # Unpooling moves any dtype: True in place of each value marks the cells that were kept, black ones too.
    marks = UNPOOL(np.ones_like(twice, dtype=bool), second, output_size=once.shape)
    kept = UNPOOL(marks, first, output_size=photo.shape)
    print()
    _row("values kept", f"{kept.sum():,} of {kept.size:,}, {kept.mean():.2%}")
    _row("kept are bit for bit the original", _yes(np.array_equal(restored[kept], photo[kept])))
    _row("all others are zero", _yes(not restored[~kept].any()))

    _print_times(np.repeat(photo, 8, axis=0))

    picture = io.BytesIO()
    _draw(photo, once, twice, restored, first, second).savefig(picture, dpi=DPI, format="png")
    return picture.getvalue()


def plain_unpool(values: Array, indices: Array, shape: Sequence[int]) -> Array:
    """Unpool a channels-last batch with NumPy alone."""
    batch, height, width, channels = shape
    planes = np.zeros((batch, height * width, channels), values.dtype)
    flat = (batch, -1, channels)
    np.put_along_axis(planes, indices.reshape(flat), values.reshape(flat), axis=1)
    return planes.reshape(shape)


def _print_times(batch: Array) -> None:
    values, indices = POOL(batch)
    pool = _milliseconds(lambda: POOL(batch))
    ours = _milliseconds(lambda: UNPOOL(values, indices, batch.shape))
    plain = _milliseconds(lambda: plain_unpool(values, indices, batch.shape))
    same = np.array_equal(UNPOOL(values, indices, batch.shape), plain_unpool(values, indices, batch.shape))
    print(f"\nMedian time of a call on {len(batch)} such pictures\n")
    _row("max_pool2d with indices", f"{pool:6.2f} ms")
    _row("max_unpool2d", f"{ours:6.2f} ms")
    _row("the same with numpy.put_along_axis", f"{plain:6.2f} ms, {plain / ours:.1f} times as long")
    _row("results are equal", _yes(same))


def _milliseconds(call: Callable[[], object], warm_up: int = 3, runs: int = 15) -> float:
    times = []
    for _ in range(warm_up + runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[warm_up:]) * 1e3


def _row(name: str, value: object) -> None:
    print(f"  {name:<36}{value}")


def _yes(fact: bool) -> str:
    return "yes" if fact else "NO"


# --- the picture ------------------------------------------------------------------------------------------------------

# Hue stands for left or right, lightness for top or bottom.  Red-green colour-blind readers can tell blue from orange.
PLACES = [[to_rgb("#14507f"), to_rgb("#b4480f")], [to_rgb("#8fc1e3"), to_rgb("#f6b878")]]
INK, GREY = "#1a1a1a", "#666666"
DPI = 100
WIDTH, HEIGHT = 1600, 1102
MARGIN, STEP = 34, 391  # the left edge of the first column, and the distance from one column to the next
CLOSE = 9  # pixels of the figure per pixel of the square


def _draw(photo: Array, once: Array, twice: Array, restored: Array, first: Array, second: Array) -> Figure:
    """Draw two rows of four: the whole photograph at each step, and below it the enlarged square.

    One cell is a whole number of pixels everywhere, so nothing is resampled.
    """
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    _text(figure, MARGIN, 24, "Max pooling remembers where each maximum came from; unpooling puts it back", size=17)

    # With 1 value of 16 the picture is almost black, so the whole is drawn with larger dots, but not the square.
    dots = unpool.max_pool2d(restored, 3, stride=1, padding=1, data_format="channels_last")
    whole = [
        ("Original", f"{_size(photo)} pixels", photo, 1),
        ("Pooled once", f"{_size(once)} pixels, each drawn as 2 x 2", once, 2),
        ("Pooled twice", f"{_size(twice)} pixels, each drawn as 4 x 4", twice, 4),
        ("Unpooled twice", f"{_size(restored)} pixels, values kept drawn as 3 x 3", dots, 1),
    ]
    for column, (title, caption, picture, scale) in enumerate(whole):
        _text(figure, MARGIN + STEP * column, 80, title, caption)
        axes = _panel(figure, MARGIN + STEP * column, 126, picture[0], scale)
        corner, side = (LEFT / scale - 0.5, TOP / scale - 0.5), SIDE / scale
        axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor="white", linewidth=1.5))

    square = np.s_[0, TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    close = [
        ("The square", f"{SIDE} x {SIDE} pixels, each drawn as {CLOSE} x {CLOSE}", photo[square], CLOSE),
        ("Indices of the first pooling", "one square per window, green channel", _places(first, photo, 1), 2 * CLOSE),
        ("Indices of the second pooling", "one square per window, green channel", _places(second, once, 2), 4 * CLOSE),
        ("Unpooled twice", "pixel by pixel: 1 value of 16, the rest zero", restored[square], CLOSE),
    ]
    for column, (title, caption, picture, scale) in enumerate(close):
        _text(figure, MARGIN + STEP * column, 590, title, caption)
        _panel(figure, MARGIN + STEP * column, 636, picture, scale)

    _panel(figure, MARGIN + STEP, 1016, np.array(PLACES), 24)
    _text(figure, MARGIN + STEP + 64, 1020, "Place of the maximum", "in its window of 2 x 2, by colour")
    return figure


def _places(indices: Array, pooled: Array, level: int) -> Array:
    """Colour the windows in the square by the place of their maximum."""
    offsets = unpool.convert_indices(
        indices, "plane", "window", output_size=pooled.shape, data_format="channels_last", kernel_size=2
    )
    top, left, side = TOP >> level, LEFT >> level, SIDE >> level
    green = offsets[0, top : top + side, left : left + side, 1]
    colours: Array = np.array(PLACES).reshape(4, 3)[green]
    return colours


def _panel(figure: Figure, left: int, top: int, picture: Array, scale: int) -> Any:
    """Draw a picture at (left, top) pixels from the upper left corner, each cell as a square of `scale` pixels."""
    height, width = picture.shape[0] * scale, picture.shape[1] * scale
    axes = figure.add_axes((left / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT))
    axes.imshow(picture, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    return axes


def _text(figure: Figure, left: int, top: int, title: str, caption: str = "", size: float = 12) -> None:
    figure.text(left / WIDTH, 1 - top / HEIGHT, title, size=size, weight="bold", color=INK, va="top")
    figure.text(left / WIDTH, 1 - (top + 22) / HEIGHT, caption, size=10, color=GREY, va="top")


def _size(picture: Array) -> str:
    return f"{picture.shape[1]} x {picture.shape[2]}"
