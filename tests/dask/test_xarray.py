"""`examples/xarray_planes.py`: DataArrays in, DataArrays with coordinates out."""

import re
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
from needs import require
from processes import python
from tree import EXAMPLES

import unpool

xr = require("xarray", "the example pools its arrays")

example = SimpleNamespace(**runpy.run_path(str(EXAMPLES / "xarray_planes.py")))


def test_the_example(tmp_path):
    """The shower moves by 13 cells along y and 9 along x in an hour; a cell has 500 m."""
    image = require("matplotlib.image", "the example draws with it")
    figure = tmp_path / "figure.png"
    result = python(str(EXAMPLES / "xarray_planes.py"), "--out", str(figure))
    found = re.findall(r"^(\d+):00: 20.0 mm/h at y = (\d+) m, x = (\d+) m$", result.stdout, re.MULTILINE)
    hours = range(4)
    expected = [(12 + hour, 5000 + 6500 * hour, 2500 + 4500 * hour) for hour in hours]
    assert [tuple(map(int, line)) for line in found] == expected, result.stderr
    assert result.stdout.startswith(f"{4 * 7 * 5} of {4 * 61 * 45} values ")
    assert np.ptp(image.imread(figure)) > 0.9


@pytest.mark.parametrize("dims", [("y", "x"), ("x", "y")], ids="".join)
def test_values_are_those_of_numpy_and_coordinates_are_kept(dims):
    """Also where "x" comes before "y", and beside coordinates with both dimensions."""
    planes = example.field().expand_dims(band=["red"])
    planes = planes.assign_coords(height=planes.y + planes.x).transpose("time", "band", *dims)
    values, indices = example.pooled(planes)
    array = planes.transpose("time", "band", "y", "x").data
    expected, places = unpool.max_pool2d(array, example.WINDOW, return_indices=True)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(indices, places)
    assert values.dims == ("time", "band", "y2", "x2")
    assert set(values.coords) == {"time", "band"}

    restored = example.unpooled(values, indices, like=planes)
    assert restored.dims == ("time", "band", "y", "x")
    np.testing.assert_array_equal(
        restored, unpool.max_unpool2d(expected, places, example.WINDOW, output_size=array.shape)
    )
    xr.testing.assert_equal(restored.coords.to_dataset(), planes.coords.to_dataset())


def test_values_are_those_of_coarsen():
    planes = example.field()
    coarse = planes.coarsen(y=example.WINDOW, x=example.WINDOW, boundary="trim").max()
    np.testing.assert_array_equal(example.pooled(planes)[0], coarse)


def test_a_dataarray_itself_is_refused():
    """Its dimensions may be in any order, so unpool does not guess."""
    with pytest.raises(TypeError, match=r"got xarray.core.dataarray.DataArray: pass input\.data$"):
        unpool.max_pool2d(example.field(), 2)
