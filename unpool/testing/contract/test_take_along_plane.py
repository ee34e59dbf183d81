"""`take_along_plane` returns the value at each index, as NumPy's `take_along_axis` does on flattened planes."""

import numpy as np
import pytest

import unpool
from unpool.testing.arrays import needs_out, needs_reports
from unpool.testing.cases import FORMATS, POSITIONS, VALUES, anywhere, arranged, bits, laid_out, planes_of, whole
from unpool.testing.compare import Guarded, assert_same_bits, at

every_format = pytest.mark.parametrize("data_format", FORMATS)
every_leading = pytest.mark.parametrize("leading", [(2, 3), (3,)], ids=["batch", "no batch"])
AXES = {1: "W", 2: "HW", 3: "DHW"}
# Sizes of the planes and of the indices, which do not depend on each other.
SIZES = {
    "fewer": ((6, 8), (3, 2)),
    "as many": ((4, 3), (4, 3)),
    "more": ((3, 4), (7, 9)),
    "longer along one axis": ((9, 3), (2, 7)),
    "one": ((5, 4), (1, 1)),
    "of one cell": ((1, 1), (4, 5)),
    "row": ((9,), (4,)),
    "row, more": ((4,), (11,)),
    "volume": ((5, 4, 7), (2, 1, 3)),
    "volume, more": ((2, 3, 2), (3, 3, 5)),
}
every_size = pytest.mark.parametrize(("plane", "wanted"), SIZES.values(), ids=SIZES)


def word(rank, data_format):
    """Return TensorFlow's word for a data format, which names the axes."""
    return f"N{AXES[rank]}C" if data_format == "channels_last" else f"NC{AXES[rank]}"


def taken(planes, indices, rank, data_format):
    """Return the values by NumPy."""
    first, wanted = (planes_of(array, rank, data_format) for array in (planes, indices))
    flat = [array.reshape(*array.shape[:-rank], -1) for array in (first, wanted)]
    values = np.take_along_axis(flat[0], flat[1].astype("int64"), -1).reshape(wanted.shape)
    return np.moveaxis(values, -rank - 1, -1) if data_format == "channels_last" else values


@every_size
@every_format
@every_leading
def test_every_size(backend, plane, wanted, data_format, leading):
    rank = len(plane)
    planes = bits("float32", arranged(leading, plane, data_format))
    indices = anywhere(arranged(leading, wanted, data_format), int(np.prod(plane)))
    expected = taken(planes, indices, rank, data_format)
    found = backend.call(unpool.take_along_plane, planes, indices, data_format=word(rank, data_format))
    assert_same_bits(found, expected)
    if rank == 2 or (rank == 3 and leading == (2, 3)):  # the plain words stand for these
        assert_same_bits(backend.call(unpool.take_along_plane, planes, indices, data_format=data_format), expected)


@every_format
@pytest.mark.parametrize("index_dtype", POSITIONS, ids=str)
@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_every_dtype(backend, dtype, index_dtype, data_format):
    planes = bits(dtype, arranged((2, 3), (5, 4), data_format))
    indices = anywhere(arranged((2, 3), (3, 7), data_format), 20, dtype=index_dtype)
    found = backend.call(unpool.take_along_plane, planes, indices, data_format=data_format)
    assert_same_bits(found, taken(planes, indices, 2, data_format))


@pytest.mark.parametrize(("layout", "dtype"), laid_out(["int16", "float32", "complex64"]))
def test_every_memory_layout(backend, layout, dtype):
    planes, indices = bits(dtype, (2, 3, 5, 4)), anywhere((2, 3, 6, 2), 20)
    found = backend.call(unpool.take_along_plane, layout(planes), layout(indices))
    assert_same_bits(found, taken(planes, indices, 2, "channels_first"))


def test_where_another_array_has_its_maxima(backend):
    x, other = whole("float32", (2, 3, 7, 6)), bits("float32", (2, 3, 7, 6), 1)
    values, indices = unpool.max_pool2d(x, 3, 2, 1, return_indices=True)
    assert_same_bits(backend.call(unpool.take_along_plane, x, indices), values)
    found = backend.call(unpool.take_along_plane, other, indices)
    assert_same_bits(found, taken(other, indices, 2, "channels_first"))


def test_a_batch_of_none(backend):
    for data_format in FORMATS:
        planes = np.zeros(arranged((0, 3), (5, 4), data_format), "float32")
        indices = np.zeros(arranged((0, 3), (2, 9), data_format), "int64")
        found = backend.call(unpool.take_along_plane, planes, indices, data_format=data_format)
        assert_same_bits(found, np.zeros(indices.shape, "float32"))


@needs_out
@every_size
def test_out(backend, plane, wanted):
    planes, rank = bits("float32", (2, 3, *plane)), len(plane)
    indices = anywhere((2, 3, *wanted), int(np.prod(plane)))
    guarded = Guarded(indices.shape, "float32", 1, backend)
    named = {"data_format": word(rank, "channels_first"), "out": guarded.array}
    assert backend.run(unpool.take_along_plane, planes, indices, **named) is guarded.array
    assert_same_bits(guarded.written(), taken(planes, indices, rank, "channels_first"))
    assert guarded.intact()


@needs_reports
@every_size
@every_format
@pytest.mark.parametrize("bad", [-1, "cells", 2**32 + 3, 2**63 - 1, -(2**63)])
def test_a_bad_index(backend, plane, wanted, data_format, bad):
    """The first bad index is reported, and none counts from the end."""
    rank, cells = len(plane), int(np.prod(plane))
    indices = anywhere(arranged((2, 3), wanted, data_format), cells)
    places = planes_of(indices, rank, data_format)
    last = (1, 2, *[size - 1 for size in wanted])
    places[last] = cells if bad == "cells" else bad
    place = (1, *last[2:], 2) if data_format == "channels_last" else last
    planes = bits("float32", arranged((2, 3), plane, data_format))
    size = " x ".join(map(str, plane)) + (" cells" if rank == 1 else "")
    text = f"{at(place)} = {places[last]} is out of range for an input plane of {size}: expected 0..{cells - 1}; pass"
    with pytest.raises(IndexError) as caught:
        backend.call(unpool.take_along_plane, planes, indices, data_format=word(rank, data_format))
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("planes", "indices", "text"),
    [
        ((2, 3, 5, 4), (3, 5, 4), "`input` must have as many dimensions as `indices`"),
        ((2, 3, 5, 4), (1, 3, 5, 4), "`input` must keep the batch and channels of `indices`"),
        ((2, 3, 5, 4), (2, 1, 5, 4), "`input` must keep the batch and channels of `indices`"),
        ((2, 3, 0, 4), (2, 3, 5, 4), "`input` must have at least one element"),
        ((2, 3, 5, 4), (2, 3, 5, 0), "`indices` must have at least one element"),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit(backend, planes, indices, text):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is tested below
        backend.call(unpool.take_along_plane, np.zeros(planes, "float32"), np.zeros(indices, "int64"))
    assert str(caught.value).startswith(text)
