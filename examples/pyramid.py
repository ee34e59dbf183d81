"""Pool a landscape level by level to a pyramid, and restore it from the top: its maxima alone, or all of it.

    pip install . matplotlib && python examples/pyramid.py

The landscape is `jacksboro_fault_dem.npz` of Matplotlib's sample data: heights in metres, 344 x 403 cells of int16.
Each level holds the largest height of each window of 2 x 2 cells below it, and the index of that cell in its window.
With `index_format="window"` an index takes one byte; a position in the plane takes eight.

Unpooling from the top, level by level, puts each height back on the cell that it came from.  All other cells are zero.
A level that also keeps those cells restores the level below bit for bit, whether its sizes are even or odd.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import get_sample_data
from matplotlib.colors import LightSource
from matplotlib.figure import Figure

import unpool

KERNEL = 2


class Level(NamedTuple):
    """A level of the pyramid: its values, the place of each in the level below, and the other cells of that level."""

    values: np.ndarray
    indices: np.ndarray
    rest: np.ndarray
    below: tuple[int, ...]  # the shape of the level below


def unpooled(values: np.ndarray, indices: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the plane below a level: each value in its place, and zeros."""
    return unpool.max_unpool2d(values, indices, KERNEL, output_size=shape, index_format="window")


def pyramid(plane: np.ndarray, count: int) -> list[Level]:
    """Pool a plane, (1, H, W), `count` times."""
    levels = []
    for _ in range(count):
        values, indices = unpool.max_pool2d(plane, KERNEL, return_indices=True, index_format="window")
        chosen = unpooled(np.ones_like(values, dtype=bool), indices, plane.shape)
        levels.append(Level(values, indices, plane[~chosen], plane.shape))
        plane = values
    return levels


def in_place(values: np.ndarray, levels: list[Level]) -> np.ndarray:
    """Return the plane below these levels: each value of the last one in its place, and zeros."""
    for level in reversed(levels):
        values = unpooled(values, level.indices, level.below)
    return values


def kept(levels: list[Level]) -> np.ndarray:
    """Return True for each cell below these levels whose value is left in the last one."""
    return in_place(np.ones_like(levels[-1].values, dtype=bool), levels)


def restored(levels: list[Level]) -> np.ndarray:
    """Return the plane below these levels, from the values of the last one, the indices, and the rest of each level."""
    values = levels[-1].values
    for level in reversed(levels):
        chosen = kept([level])
        values = unpooled(values, level.indices, level.below)
        values[~chosen] = level.rest
    return values


def size(plane: np.ndarray) -> str:
    return f"{plane.shape[-2]} x {plane.shape[-1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Pool a landscape several times, restore it, and draw its maxima.")
    parser.add_argument("--levels", type=int, choices=range(1, 8), default=5, help="the number of poolings (5)")
    parser.add_argument("--out", type=Path, default="pyramid.png", help="the picture, a PNG")
    parser.add_argument("--quick", action="store_true", help="a quarter of the landscape")
    arguments = parser.parse_args()

    with get_sample_data("jacksboro_fault_dem.npz") as file:
        heights = file["elevation"][np.newaxis]
    if arguments.quick:
        heights = heights[:, :173, :201]
    levels = pyramid(heights, arguments.levels)

    print(f"A landscape of {size(heights)} cells, from {heights.min()} to {heights.max()} m\n")
    print(f"{'level':<8}{'cells':<12}{'share kept':<14}{'maxima in place, the rest zero'}")
    for number, level in enumerate(levels, start=1):
        cells = kept(levels[:number])
        right = np.array_equal(in_place(level.values, levels[:number]), np.where(cells, heights, 0))
        print(f"{number:<8}{size(level.values):<12}{f'{cells.mean():.2%}':<14}{'yes' if right else 'NO'}")
    exact = np.array_equal(restored(levels), heights)
    print(f"\nwith the rest of each level: {'restored bit for bit' if exact else 'NOT restored'}\n")

    count = sum(level.indices.size for level in levels)
    sizes = {
        "Landscape": heights.nbytes,
        "Heights of the pyramid": levels[-1].values.nbytes + sum(level.rest.nbytes for level in levels),
        "Its indices in windows": sum(level.indices.nbytes for level in levels),
        "Its indices as int64": count * np.dtype("int64").itemsize,
    }
    for name, bytes_ in sizes.items():
        print(f"{name:<24}{bytes_:>9,} bytes")
    draw(heights, levels, sizes).savefig(arguments.out, dpi=DPI, format="png", pil_kwargs={"optimize": True})
    print(f"\nPicture written to {arguments.out}")


# --- the picture ------------------------------------------------------------------------------------------------------

INK, GREY, PALE, BLUE, ORANGE = "#1a1a1a", "#666666", "#cccccc", "#14507f", "#b4480f"
DPI, MARGIN, GAP, TOP, TALL = 100, 34, 24, 128, 344  # pixels


def draw(heights: np.ndarray, levels: list[Level], sizes: dict[str, int]) -> Figure:
    """Draw the landscape and the bytes on the left, then the last three levels above their maxima in the landscape."""
    shown = list(range(1, len(levels) + 1))[-3:]
    wide = round(TALL * heights.shape[2] / heights.shape[1])
    width, height = 2 * MARGIN + 4 * wide + 3 * GAP, TOP + 2 * TALL + 66 + MARGIN
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")

    def write(left: int, top: int, text: str, points: int, colour: str, weight: str = "bold") -> None:
        figure.text(left / width, 1 - top / height, text, size=points, color=colour, weight=weight, va="top")

    def panel(column: int, row: int, title: str, caption: str, colour: str = INK) -> Axes:
        left, top = MARGIN + column * (wide + GAP), TOP + row * (TALL + 66)
        write(left, top - 46, title, 12, colour)
        write(left, top - 24, caption, 10, GREY, "normal")
        axes = figure.add_axes((left / width, 1 - (top + TALL) / height, wide / width, TALL / height))
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(PALE)
        return axes

    def show(axes: Axes, plane: np.ndarray, **style) -> None:
        axes.imshow(plane, interpolation="nearest", aspect="auto", **style)

    plane, low, high = heights[0], heights.min(), heights.max()
    write(MARGIN, 24, "The maxima of a landscape, pooled level by level and put back where they came from", 17, INK)
    shaded = np.round(8 * LightSource().hillshade(plane, vert_exag=0.02))  # few greys make a small file
    show(panel(0, 0, "Landscape", f"{size(heights)} cells, {low} to {high} m"), shaded, cmap="gray")

    bars = panel(0, 1, "Bytes", "of the landscape, and of what restores it bit for bit")
    colours = [GREY, GREY, BLUE, ORANGE]
    bars.barh(list(sizes), sizes.values(), color=colours, height=0.35)
    for row, ((name, bytes_), colour) in enumerate(zip(sizes.items(), colours, strict=True)):
        bars.text(0, row - 0.3, f"{name}: {bytes_:,}", color=colour, size=10)
    bars.set_ylim(3.5, -0.7)
    bars.spines[:].set_visible(False)

    for column, number in enumerate(shown, start=1):
        values, cells = levels[number - 1].values, kept(levels[:number])
        axes = panel(column, 0, f"Level {number}", f"{size(values)} maxima, brighter is higher")
        show(axes, values[0], cmap="cividis", vmin=low, vmax=high)
        caption = f"{cells.mean():.2%} of the cells, on bands of 250 m; the rest zero"
        axes = panel(column, 1, f"Unpooled from level {number}", caption, BLUE)
        show(axes, plane // 250, cmap="Greys", vmin=0, vmax=8)
        row, at = cells[0].nonzero()
        axes.scatter(at, row, (column + 1) ** 2, color=BLUE, marker="s", linewidths=0, antialiased=False)
    return figure


if __name__ == "__main__":
    main()
