"""Draw the pictures of docs/concepts.md with the numbers that unpool returns: `python tools/site/draw.py`.

A picture is an SVG of a few kilobytes.  Its style has colours for light and dark pages; a browser picks those of the
page.  No picture is wider than a phone.  The place of a window is its index minus its tap, so it is unpool's, too.
"""

from html import escape
from pathlib import Path

import numpy as np

import unpool

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
X = np.array([[2, 9, 1, 4, 0], [3, 5, 7, 6, 1], [8, 1, 2, 3, 5], [4, 6, 1, 9, 2]])[None]  # one channel
ROW = np.array([[1, 2, 9, 3, 4, 8, 5]])
NUMBERS = np.arange(4).reshape(2, 2)  # of the windows of X
CELL, GAP, LINE = 28, 20, 18  # of a cell, between planes, of a line of text
WIDTH = 404  # of each picture, so that their cells have one size on a page
STYLE = """
text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1b1f24; text-anchor: middle; dominant-baseline: central }
.label { font-size: 11.5px; fill: #3b4350; text-anchor: start }
.picked { font-weight: bold; text-decoration: underline }
.faint { fill: #5f6773 }
rect { fill: none; stroke: #8a919c }
.pad { stroke-dasharray: 3 2 }
.w0 { fill: #d6e4ff } .w1 { fill: #ffe0b8 } .w2 { fill: #cdeed7 } .w3 { fill: #ead9fb }
path { fill: none; stroke: #6d7480; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f2f5 } .label { fill: #c9d0da } .faint { fill: #a0a8b4 }
.w0 { fill: #24406e } .w1 { fill: #6b4210 } .w2 { fill: #1f5233 } .w3 { fill: #50306f }
path { stroke: #a0a8b4 }
}
"""


class Drawing:
    """An SVG, written from the top left; its height follows from what is drawn."""

    def __init__(self):
        self.parts, self.height = [], 0

    def label(self, x, y, text):
        self.parts.append(f'<text class="label" x="{x}" y="{y + LINE / 2:g}">{escape(text)}</text>')
        self.height = max(self.height, y + LINE)

    def cell(self, x, y, text, *, window=None, picked=False, faint=False, pad=False):
        kinds = [f"w{window}"] * (window is not None) + ["pad"] * pad
        self.parts.append(f'<rect class="{" ".join(kinds)}" x="{x}" y="{y}" width="{CELL}" height="{CELL}"/>')
        self.height = max(self.height, y + CELL)
        if text != "":
            shade = "picked" if picked else "faint" if faint else "plain"
            place = f'class="{shade}" x="{x + CELL // 2}" y="{y + CELL // 2}"'
            self.parts.append(f"<text {place}>{escape(str(text))}</text>")

    def plane(self, x, y, cells, windows=None, picked=(), faint=()):
        """Draw a plane, and return where the next one begins; `windows` has the number of a cell's window or -1."""
        for place, text in np.ndenumerate(np.asarray(cells, object)):
            window = None if windows is None or windows[place] < 0 else int(windows[place])
            left, top = x + place[1] * CELL, y + place[0] * CELL
            self.cell(left, top, text, window=window, picked=place in picked, faint=place in faint)
        return x + len(cells[0]) * CELL + GAP

    def arrow(self, x, y):
        """Draw an arrow from left to right in a gap that begins at x."""
        left, right = x + 4, x + GAP - 4
        self.parts.append(f'<path d="M{left} {y}H{right}M{right - 4} {y - 4}L{right} {y}L{right - 4} {y + 4}"/>')

    def text(self, title):
        size = f'viewBox="-1 -1 {WIDTH + 2} {self.height + 2:g}" width="{WIDTH + 2}" height="{self.height + 2:g}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
        return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", *self.parts, "</svg>\n"])


def pooled(x, *window, **options):
    """Return values, positions and taps of a picture with one channel."""
    rank = {2: unpool.max_pool1d, 3: unpool.max_pool2d}[x.ndim]
    values, positions = rank(x, *window, return_indices=True, **options)
    _, taps = rank(x, *window, return_indices=True, index_format="window", **options)
    return values[0], positions[0], taps[0]


def owners(positions, taps, shape, kernel):
    """Return the number of the window that each cell of a plane lies in, -1 for none, where windows lie apart."""
    found, tap_of = np.full(shape, -1), np.full(shape, -1)
    for number, (position, tap) in enumerate(zip(positions.flat, taps.flat, strict=True)):
        top, left = np.array(divmod(int(position), shape[1])) - divmod(int(tap), kernel)
        found[top : top + kernel, left : left + kernel] = number
        tap_of[top : top + kernel, left : left + kernel] = np.arange(kernel * kernel).reshape(kernel, kernel)
    return found, tap_of


def cells_of(positions, shape):
    return {divmod(int(position), shape[1]) for position in positions.flat}


def pool():
    values, positions, taps = pooled(X, 2)
    restored = unpool.max_unpool2d(values[None], positions[None], 2, output_size=X.shape)[0]
    shape = X.shape[1:]
    windows, _ = owners(positions, taps, shape, 2)
    places = cells_of(positions, shape)
    own = unpool.max_unpool2d(NUMBERS[None] + 1, positions[None], 2, output_size=X.shape)[0] - 1
    drawing = Drawing()
    drawing.label(0, 0, "x")
    middle = drawing.plane(0, LINE, X[0], windows, places)
    drawing.label(middle, 0, "values")
    right = drawing.plane(middle, LINE, values, NUMBERS)
    drawing.label(middle, LINE + 2 * CELL + 4, "indices")
    drawing.plane(middle, 2 * LINE + 2 * CELL + 4, positions, NUMBERS)
    drawing.label(right, 0, "restored")
    zeros = {place for place in np.ndindex(shape) if place not in places}
    drawing.plane(right, LINE, restored, own, places, zeros)
    drawing.arrow(middle - GAP, LINE + 2 * CELL)
    drawing.arrow(right - GAP, LINE + 2 * CELL)
    return drawing.text("A plane, the values and indices of its windows, and the plane that unpooling restores")


def indices():
    _, positions, taps = pooled(X, 2)
    shape = X.shape[1:]
    windows, tap_of = owners(positions, taps, shape, 2)
    places = cells_of(positions, shape)
    counted = np.arange(X[0].size).reshape(shape)
    shown = np.where(tap_of < 0, "", tap_of.astype(object))
    drawing, x = Drawing(), 0
    for name, cells, found in (("plane", counted, positions), ("window", shown, taps)):
        drawing.label(x, 0, f'index_format="{name}"')
        below = LINE + shape[0] * CELL + 8
        drawing.label(x, below, "indices")
        drawing.plane(x, below + LINE, found, NUMBERS)
        x = drawing.plane(x, LINE, cells, windows, places, set(np.ndindex(shape)) - places) + GAP
    return drawing.text("The number of each cell in its plane, and in its own window")


def overlap():
    values, positions, taps = pooled(ROW, 3, 2)
    drawing = Drawing()
    side = 84
    drawing.label(0, 5, "x")
    picked = set(positions.tolist())
    for column, value in enumerate(ROW[0]):
        drawing.cell(side + column * CELL, 0, value, picked=column in picked)
    y = CELL + 8
    for number, (position, tap) in enumerate(zip(positions, taps, strict=True)):
        drawing.label(0, y + 5, f"window {number}")
        for step in range(3):
            column = int(position) - int(tap) + step
            drawing.cell(side + column * CELL, y, ROW[0, column], window=number, picked=column == position)
        y += CELL + 4
    for name, row in (("values", values), ("indices", positions), ("as taps", taps)):
        y += 6
        drawing.label(0, y + 5, name)
        for number, entry in enumerate(row):
            drawing.cell(side + number * CELL, y, entry, window=number)
        y += CELL
    return drawing.text("Three windows of three cells, one every two cells; two of them pick the same cell")


def repeated():
    _, positions, _ = pooled(ROW, 3, 2)
    values = np.array([[5, 7, 8]])
    drawing, side = Drawing(), 114
    y = 0
    for name, row in (("values", values[0]), ("indices", positions)):
        drawing.label(0, y + 5, name)
        for number, entry in enumerate(row):
            drawing.cell(side + number * CELL, y, entry, window=number)
        y += CELL + 6
    y += 6
    last_of = {int(position): number for number, position in enumerate(positions)}
    for word in ("last", "sum"):
        restored = unpool.max_unpool1d(values, positions[None], 3, 2, output_size=(7,), duplicates=word)[0]
        drawing.label(0, y + 5, f'duplicates="{word}"')
        for column, entry in enumerate(restored):
            window = last_of.get(column)
            drawing.cell(side + column * CELL, y, entry, window=window, faint=window is None, picked=window is not None)
        y += CELL + 6
    try:
        unpool.max_unpool1d(values, positions[None], 3, 2, output_size=(7,), duplicates="error")
    except ValueError as error:
        said = str(error).partition("got ")[2].partition(":")[0]
        drawing.label(0, y + 5, 'duplicates="error"')
        drawing.label(side, y + 5, f"ValueError: {said}")
    return drawing.text("Two values with one index: the last one wins, or both add up, or the call raises an error")


def sizes():
    values, positions, taps = pooled(X, 2)
    drawing, x, wrong = Drawing(), 0, (5, 4)
    rows = (
        ("(4, 5)", "plane", positions, (4, 5)),
        ("(5, 4), positions", "plane", positions, wrong),
        ("(5, 4), taps", "window", taps, wrong),
    )
    for name, form, found, size in rows:
        drawing.label(x, 0, name)
        options = {"output_size": size, "data_format": "channels_first", "index_format": form}
        restored = unpool.max_unpool2d(values[None], found[None], 2, **options)[0]
        own = unpool.max_unpool2d(NUMBERS[None] + 1, found[None], 2, **options)[0] - 1
        places = {place for place, number in np.ndenumerate(own) if number >= 0}
        x = drawing.plane(x, LINE, restored, own, places, set(np.ndindex(size)) - places)
    return drawing.text("The same values restored to 4 x 5, and to the wrong size 5 x 4 by positions and by taps")


def same():
    row = ROW[:, 2:7]
    drawing, side, y = Drawing(), 104, 0
    for word in ("valid", "same", "same_lower"):
        values, positions, taps = pooled(row, 2, padding=word)
        starts = (positions - taps).tolist()
        drawing.label(0, y + 5, f'"{word}"')
        first, end = min(0, *starts), max(row.shape[1], starts[-1] + 2)
        for column in range(first, end):
            inside = 0 <= column < row.shape[1]
            window = next((n for n, start in enumerate(starts) if start <= column < start + 2), None)
            text = row[0, column] if inside else ""
            picked = column in positions
            place = side + (column + 1) * CELL
            drawing.cell(place, y, text, window=window, picked=picked, pad=not inside, faint=window is None)
        for number, value in enumerate(values):
            drawing.cell(side + (8 + number) * CELL, y, value, window=number)
        y += CELL + 8
    return drawing.text("A row of five cells in windows of two: one cell unread, or one padded cell after or before it")


PICTURES = {picture.__name__: picture for picture in (pool, indices, overlap, repeated, sizes, same)}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(picture(), encoding="utf-8")
