"""Draw two rows of four: the whole photograph at each step, and below it the enlarged square.

A cell is a whole number of pixels everywhere, so nothing is resampled.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import unpool
from unpool.demo.photo import ROOM, Photo, size

Array = np.ndarray[Any, np.dtype[Any]]

# Hue stands for left or right, lightness for top or bottom.  Red-green colour-blind readers can tell blue from orange.
PLACES = [[to_rgb("#14507f"), to_rgb("#b4480f")], [to_rgb("#8fc1e3"), to_rgb("#f6b878")]]
INK, GREY = "#1a1a1a", "#666666"
DPI = 100
WIDTH, HEIGHT = 1600, 1102  # HEIGHT is that of the highest photograph
MARGIN, STEP = 34, 391  # the left edge of the first column, and the distance from one column to the next
SQUARE = 360  # pixels of the figure along a side of the enlarged square


class Levels(NamedTuple):
    """The batches of both levels, and the indices of each pooling."""

    photo: Array
    once: Array
    twice: Array
    restored: Array
    first: Array
    second: Array


def draw(photo: Photo, levels: Levels, form: str) -> bytes:
    """Return the bytes of a picture file of the format `form`."""
    rows, columns = photo.cells.shape[:2]
    zoom = max(1, min(ROOM[0] // columns, ROOM[1] // rows))
    page = _Page(HEIGHT - ROOM[1] + rows * zoom)
    page.text(MARGIN, 24, "Max pooling remembers where each maximum came from; unpooling puts it back", points=17)

    # With 1 value of 16 the picture is almost black, so the whole is drawn with larger dots, but not the square.
    dots = unpool.max_pool2d(levels.restored, 3, stride=1, padding=1, data_format="channels_last")
    whole = [
        ("Original", f"{size(levels.photo)} pixels" + _each(zoom), levels.photo, 1),
        ("Pooled once", f"{size(levels.once)} pixels" + _each(2 * zoom), levels.once, 2),
        ("Pooled twice", f"{size(levels.twice)} pixels" + _each(4 * zoom), levels.twice, 4),
        ("Unpooled twice", f"{size(levels.restored)} pixels, values kept drawn as {3 * zoom} x {3 * zoom}", dots, 1),
    ]
    for column, (title, caption, picture, scale) in enumerate(whole):
        page.text(MARGIN + STEP * column, 80, title, caption)
        axes = page.panel(MARGIN + STEP * column, 126, picture[0], scale * zoom)
        corner, side = (photo.left / scale - 0.5, photo.top / scale - 0.5), photo.side / scale
        for colour, points in ((INK, 3), ("white", 1.5)):  # visible on dark and on light pictures
            axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=colour, linewidth=points))

    below = 126 + rows * zoom
    square = np.s_[0, photo.top : photo.top + photo.side, photo.left : photo.left + photo.side]
    near = SQUARE // photo.side
    first, second = _places(levels.first, levels.photo, photo, 1), _places(levels.second, levels.once, photo, 2)
    close = [
        ("The square", f"{photo.side} x {photo.side} pixels" + _each(near), levels.photo[square], near),
        ("Indices of the first pooling", "one square per window, green channel", first, 2 * near),
        ("Indices of the second pooling", "one square per window, green channel", second, 4 * near),
        ("Unpooled twice", "pixel by pixel: 1 value of 16, the rest zero", levels.restored[square], near),
    ]
    for column, (title, caption, picture, scale) in enumerate(close):
        page.text(MARGIN + STEP * column, below + 33, title, caption)
        page.panel(MARGIN + STEP * column, below + 79, picture, scale)

    page.panel(MARGIN + STEP, below + 459, np.array(PLACES), 24)
    page.text(MARGIN + STEP + 64, below + 463, "Place of the maximum", "in its window of 2 x 2, by colour")
    return page.saved(form)


def _each(scale: int) -> str:
    return f", each drawn as {scale} x {scale}" if scale > 1 else ""


def _places(indices: Array, pooled: Array, photo: Photo, level: int) -> Array:
    """Colour the windows in the square by the place of their maximum."""
    offsets = unpool.convert_indices(
        indices, "plane", "window", output_size=pooled.shape, data_format="channels_last", kernel_size=2
    )
    top, left, side = photo.top >> level, photo.left >> level, photo.side >> level
    green = offsets[0, top : top + side, left : left + side, 1]
    colours: Array = np.array(PLACES).reshape(4, 3)[green]
    return colours


class _Page:
    """A figure of `height` pixels, whose parts are placed by their upper left corner in pixels."""

    def __init__(self, height: int) -> None:
        self.height = height
        self.figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="white")

    def panel(self, left: int, top: int, picture: Array, scale: int) -> Any:
        """Draw a picture, each cell as a square of `scale` pixels."""
        height, width = picture.shape[0] * scale, picture.shape[1] * scale
        bottom = 1 - (top + height) / self.height
        axes = self.figure.add_axes((left / WIDTH, bottom, width / WIDTH, height / self.height))
        axes.imshow(picture, interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        return axes

    def text(self, left: int, top: int, title: str, caption: str = "", points: float = 12) -> None:
        x = left / WIDTH
        self.figure.text(x, 1 - top / self.height, title, size=points, weight="bold", color=INK, va="top")
        self.figure.text(x, 1 - (top + 22) / self.height, caption, size=10, color=GREY, va="top")

    def saved(self, form: str) -> bytes:
        picture = io.BytesIO()
        # JPEG's defaults would smear single cells.
        options: Any = {"pil_kwargs": {"quality": 95, "subsampling": 0}} if form in ("jpg", "jpeg") else {}
        self.figure.savefig(picture, dpi=DPI, format=form, **options)
        return picture.getvalue()
