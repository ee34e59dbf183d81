"""Arrays on the memory of other libraries, which `_memory.array_at` makes."""

import contextlib
import ctypes
import sys

import numpy as np
import pytest
from unpool_backends.cpu import _memory


@pytest.mark.parametrize("shape", [(), (0, 3), (4,), (1, 2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", ["bool", "float16", "int64", "complex128"])
def test_an_array_shows_the_memory(shape, dtype):
    owner = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    array = _memory.array_at(owner, owner.ctypes.data, shape, owner.dtype)
    assert array.shape == shape
    assert array.dtype == owner.dtype
    np.testing.assert_array_equal(array, owner)
    assert array.flags.c_contiguous
    assert array.flags.aligned
    assert not array.flags.writeable
    assert not array.flags.owndata
    assert _memory.plain_dtype(array) == owner.dtype.num
    if array.size:
        owner[...] = 0
        assert not array.any()


def test_it_keeps_its_owner():
    owner = ctypes.create_string_buffer(b"memory")
    count = sys.getrefcount(owner)
    array = _memory.array_at(owner, ctypes.addressof(owner), (6,), np.dtype("uint8"))
    assert sys.getrefcount(owner) == count + 1
    view = array[1:]
    del array
    assert bytes(view) == b"emory"
    assert sys.getrefcount(owner) == count + 1
    del view
    assert sys.getrefcount(owner) == count


def test_it_keeps_no_reference_to_the_dtype():
    dtype = np.dtype([("part", "uint8")])
    owner = np.zeros(6, dtype)
    count = sys.getrefcount(dtype)
    for shape in [(6,)] * 9 + [(-1,)] * 9:
        with contextlib.suppress(ValueError):
            _memory.array_at(owner, owner.ctypes.data, shape, dtype)
    assert sys.getrefcount(dtype) == count


def test_memory_at_odd_addresses_is_not_plain():
    owner = np.zeros(9, "uint8")
    array = _memory.array_at(owner, owner.ctypes.data + 1, (1,), np.dtype("float64"))
    assert not array.flags.aligned
    assert _memory.plain_dtype(array) == -1


@pytest.mark.parametrize(
    ("shape", "error"), [((1,) * 6, ValueError), ((-1,), ValueError), (("a",), TypeError), (3, TypeError)]
)
def test_wrong_shapes(shape, error):
    with pytest.raises(error):
        _memory.array_at(None, 0, shape, np.dtype("uint8"))


def test_wrong_dtypes():
    with pytest.raises(TypeError):
        _memory.array_at(None, 0, (1,), "uint8")
