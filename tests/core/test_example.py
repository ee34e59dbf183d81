"""`examples/pyramid.py`: values of each level are put back where they were, and what it keeps restores every bit."""

import re
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
from needs import require
from processes import python
from tree import EXAMPLES

image = require("matplotlib.image", "the example draws with it, and takes its landscape from it")

PATH = str(EXAMPLES / "pyramid.py")
pyramid = SimpleNamespace(**runpy.run_path(PATH))


def places(plane):
    """Return the row and the column of the first maximum of each window of 2 x 2, (H / 2, W / 2, 2)."""
    found = np.empty((plane.shape[0] // 2, plane.shape[1] // 2, 2), int)
    for row, column in np.ndindex(found.shape[:2]):
        window = plane[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        found[row, column] = np.add((2 * row, 2 * column), divmod(int(window.argmax()), 2))
    return found


@pytest.mark.parametrize("shape", [(32, 48), (37, 23), (9, 8)])
def test_a_pyramid_is_restored(shape):
    plane = np.random.default_rng(0).integers(-50, 50, shape, "int16")  # with many equal maxima
    levels = pyramid.pyramid(plane[np.newaxis], 3)

    rows, columns = np.indices(shape)  # of the cells of each level, in the plane
    for number, level in enumerate(levels, start=1):
        at = tuple(np.moveaxis(places(plane[rows, columns]), -1, 0))
        rows, columns = rows[at], columns[at]
        np.testing.assert_array_equal(level.values[0], plane[rows, columns])
        assert (level.indices.dtype, level.rest.size) == ("uint8", level.below[1] * level.below[2] - rows.size)
        expected = np.zeros_like(plane)
        expected[rows, columns] = plane[rows, columns]
        np.testing.assert_array_equal(pyramid.in_place(level.values, levels[:number])[0], expected)
        assert pyramid.kept(levels[:number])[0, rows, columns].sum() == pyramid.kept(levels[:number]).sum() == rows.size
    np.testing.assert_array_equal(pyramid.restored(levels)[0], plane)

    changed = levels[1]._replace(rest=levels[1].rest + 1)
    assert not np.array_equal(pyramid.restored([levels[0], changed, levels[2]])[0], plane)


def test_the_short_form_shows_the_shares_and_the_bytes(tmp_path):
    picture = tmp_path / "picture.png"
    result = python(PATH, "--quick", "--out", str(picture))
    rows = re.findall(r"^(\d) +(\d+) x (\d+) +([\d.]+)% +(\w+)$", result.stdout, re.MULTILINE)
    assert [row[:3] for row in rows] == [
        ("1", "86", "100"),
        ("2", "43", "50"),
        ("3", "21", "25"),
        ("4", "10", "12"),
        ("5", "5", "6"),
    ], result.stderr
    for _, height, width, share, right in rows:
        assert float(share) == pytest.approx(100 * int(height) * int(width) / (173 * 201), abs=0.01)
        assert right == "yes"
    assert "restored bit for bit" in result.stdout

    sizes = {
        name: int(size.replace(",", "")) for name, size in re.findall(r"^(.+?) +([\d,]+) bytes$", result.stdout, re.M)
    }
    cells = sum(int(height) * int(width) for _, height, width, *_ in rows)
    assert sizes == {
        "Landscape": 2 * 173 * 201,
        "Heights of the pyramid": 2 * 173 * 201,
        "Its indices in windows": cells,
        "Its indices as int64": 8 * cells,
    }
    drawn = image.imread(picture)
    assert drawn.shape[2] == 4
    assert drawn[..., :3].std() > 0.1
