"""`xarray.apply_ufunc` computes on the chunks of a DataArray, which unpool itself refuses."""

import numpy as np
import pytest
from needs import require

import unpool
from unpool.testing.cases import whole

require("dask", "the tests of Dask arrays need it")
xarray = require("xarray", "its arrays are passed")

import dask.array as da  # noqa: E402
from chunked import computed  # noqa: E402

WINDOW = {"kernel_size": 3, "stride": 2, "padding": 1}


def planes(**chunks):
    """Return planes with coordinates; in chunks, if there are any."""
    coordinates = {"y": np.linspace(50, 40, 12), "x": np.linspace(0, 7, 8), "time": [1, 2]}
    array = xarray.DataArray(whole("float32", (2, 3, 12, 8)), coordinates, ("time", "band", "y", "x"))
    return array.chunk(chunks) if chunks else array


def pooled(array):
    return xarray.apply_ufunc(
        unpool.max_pool2d,
        array,
        kwargs=WINDOW | {"return_indices": True},
        input_core_dims=[["y", "x"]],
        output_core_dims=[["row", "column"]] * 2,
        dask="allowed",
    )


def unpooled(values, indices, like):
    found = xarray.apply_ufunc(
        unpool.max_unpool2d,
        values,
        indices,
        kwargs=WINDOW | {"output_size": (like.sizes["y"], like.sizes["x"])},
        input_core_dims=[["row", "column"]] * 2,
        output_core_dims=[["y", "x"]],
        dask="allowed",
    )
    return found.assign_coords(y=like.y, x=like.x)


@pytest.mark.parametrize("chunks", [{}, {"time": 1}, {"y": 4, "x": 4}, {"time": 1, "band": 2, "y": 5, "x": 3}], ids=str)
def test_there_and_back(chunks):
    array = planes(**chunks)
    values, indices = pooled(array)
    back = unpooled(values, indices, array)
    expected = unpool.max_pool2d(array.values, **WINDOW, return_indices=True)
    planes_expected = unpool.max_unpool2d(*expected, **WINDOW, output_size=(12, 8))
    for found, wanted in ((values, expected[0]), (indices, expected[1]), (back, planes_expected)):
        assert isinstance(found.data, da.Array) == bool(chunks)
        if chunks:
            assert found.data.npartitions > 1
        np.testing.assert_array_equal(computed(found.data) if chunks else found.data, wanted)
    assert back.dims == array.dims
    xarray.testing.assert_equal(back.coords.to_dataset(), array.coords.to_dataset())
    assert values.dims == ("time", "band", "row", "column")
    np.testing.assert_array_equal(values.time, array.time)


@pytest.mark.parametrize("chunks", [{}, {"y": 4}], ids=str)
def test_a_data_array_itself_is_refused(chunks):
    """Converting it would load it all."""
    array = planes(**chunks)
    with pytest.raises(TypeError, match=r"got xarray\.core\.dataarray\.DataArray: pass input\.data"):
        unpool.max_pool2d(array, 2)
    assert unpool.max_pool2d(array.data, 2).shape == (2, 3, 6, 4)
