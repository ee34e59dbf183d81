"""The arrays of the stand-in for CuPy are CuPy's: NumPy cannot read them, and results stay on the device."""

import operator

import numpy as np
import pytest
from stand_in import require_compiler

from unpool.testing.compare import assert_same_bits

require_compiler()


def test_arrays_are_cupys_by_name(cupy):
    assert cupy.ndarray.__module__ == "cupy"
    assert not issubclass(cupy.ndarray, np.ndarray)


@pytest.mark.parametrize(
    "use",
    [
        np.asarray,
        np.array,
        np.zeros_like,
        operator.index,
        hash,
        lambda array: np.ones(3) + array,
        lambda array: array + np.ones(3),
        lambda array: array * np.ones(()),
        lambda array: array == np.ones(3),
        lambda array: np.add(array, np.ones(3)),
        lambda array: np.add(array, array, out=np.ones(3)),
        lambda array: np.add.reduce(array),
        lambda array: operator.add(array, [1, 2, 3]),
        lambda array: array + "a",
        lambda array: np.zeros(3).__setitem__(slice(None), array),
        lambda array: memoryview(array),
    ],
)
def test_numpy_does_not_get_hold_of_device_memory(cupy, use):
    with pytest.raises(TypeError):
        use(cupy.ones(3))


def test_comparisons_with_a_single_number_of_numpys_are_fine(cupy):
    array = cupy.arange(3)
    assert (array == np.array(1)).get().tolist() == [False, True, False]
    assert (np.float32(1) < array).get().tolist() == [False, False, True]


def test_what_cupy_does_not_have_is_not_there(cupy):
    array = cupy.ones(3)
    for name in ("ctypes", "__array_interface__", "__array_namespace__", "__index__", "tostring", "nonsense"):
        assert not hasattr(array, name)
    with pytest.raises(AttributeError):
        array.nonsense = 1
    with pytest.raises(AttributeError):
        cupy.nonsense  # noqa: B018


@pytest.mark.parametrize("dtype", ["U3", "S2", "O", "M8[s]", [("a", "i4")]], ids=str)
def test_dtypes_that_cupy_does_not_have_are_refused(cupy, dtype):
    with pytest.raises(ValueError, match="Unsupported dtype"):
        cupy.empty(3, dtype)
    with pytest.raises(ValueError, match="Unsupported dtype"):
        cupy.zeros(3).view(dtype)


def test_another_byte_order_is_for_views_alone(cupy):
    """CuPy 14.2 makes no such array, but does not check the dtype of a view."""
    with pytest.raises(ValueError, match="big-endian byte-order"):
        cupy.empty(3, ">i4")
    with pytest.raises(ValueError, match="big-endian byte-order"):
        cupy.zeros(3, "i4").astype(">i4")
    assert cupy.zeros(3, "i4").view(">i4").dtype == ">i4"
    assert cupy.ndarray((3,), ">i4", cupy.zeros(3, "i4").data).dtype == ">i4"


KEYS = [
    0,
    -1,
    np.int64(1),
    slice(None),
    slice(1, None),
    slice(None, None, -1),
    slice(3, 0, -2),
    ...,
    None,
    (0, 1),
    (0, 1, 2),
    (slice(None), -1),
    (..., 0),
    (..., slice(None, None, -1), None),
    (0, ..., 1),
    (slice(5, 5),),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_a_part_of_an_array_is_a_view(cupy, key):
    host = np.arange(60, dtype=np.float32).reshape(4, 5, 3)
    array = cupy.asarray(host)
    view, expected = array[key], host[(*key, ...) if isinstance(key, tuple) and ... not in key else key]
    assert_same_bits(view.get(), np.asarray(expected))
    if expected.size:
        assert view.data.ptr - array.data.ptr == np.asarray(expected).ctypes.data - host.ctypes.data
        assert view.strides == np.asarray(expected).strides
        assert view.base is array
    assert cupy.may_share_memory(view, array) == bool(expected.size)
    array[key] = -1
    host[key] = -1
    assert_same_bits(array.get(), host)
    array[key] = cupy.zeros((), np.float64)
    host[key] = 0
    assert_same_bits(array.get(), host)


@pytest.mark.parametrize("key", [[0], True, np.bool_(True), np.array([0]), (slice(None), [1])], ids=str)
def test_an_array_is_not_indexed_by_arrays(cupy, key):
    with pytest.raises(NotImplementedError):
        cupy.zeros((3, 3))[key]


@pytest.mark.parametrize("key", [3, (0, 0, 0), (..., ...)], ids=str)
def test_an_index_out_of_bounds_is_refused(cupy, key):
    with pytest.raises(IndexError):
        cupy.zeros((3, 3))[key]


def test_only_numbers_and_arrays_are_assigned(cupy):
    array = cupy.zeros(3)
    array[0] = np.array(5)
    assert array.get().tolist() == [5, 0, 0]
    with pytest.raises(ValueError, match="non-scalar"):
        array[:] = np.zeros(3)
    with pytest.raises(TypeError, match="Unsupported type"):
        array[:] = [1, 2, 3]


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint64, np.float16, np.float32, np.complex128])
def test_arrays_come_and_go_unchanged(cupy, dtype):
    host = (np.arange(24).reshape(2, 3, 4) % 7).astype(dtype)
    for source in (host, host[::-1, :, ::2], host.T, np.asfortranarray(host), host[0, 0, 0], host[:0]):
        array = cupy.asarray(source)
        assert (array.shape, array.dtype, array.size) == (source.shape, source.dtype, source.size)
        assert (array.ndim, array.itemsize, array.nbytes) == (source.ndim, source.itemsize, source.nbytes)
        assert_same_bits(array.get(), np.asarray(source))
        assert_same_bits(cupy.asnumpy(array), np.asarray(source))
        assert cupy.asarray(array) is array
        assert cupy.ascontiguousarray(array).flags.c_contiguous
    assert cupy.asarray(host.astype(host.dtype.newbyteorder(">"))).dtype == dtype


def test_memory_order_is_kept_as_cupy_keeps_it(cupy):
    host = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    array = cupy.asarray(host)
    assert array.flags.c_contiguous
    assert array.flags["OWNDATA"]
    fortran = cupy.asarray(np.asfortranarray(host))
    assert fortran.flags.f_contiguous
    assert not fortran.flags.c_contiguous
    assert cupy.asarray(host.transpose(1, 0, 2)).flags.c_contiguous  # neither order becomes C
    moved = array.transpose(1, 2, 0)
    assert not moved.flags["OWNDATA"]
    assert moved.astype(np.int32).strides == tuple(2 * stride for stride in moved.strides)
    assert moved.copy().flags.c_contiguous
    assert (moved + 1).strides == moved.strides
    assert_same_bits((moved + 1).get(), host.transpose(1, 2, 0) + np.int16(1))


def test_reshape_is_a_view_where_it_can_be(cupy):
    array = cupy.arange(24, dtype=np.int32)
    for shape in ((4, 6), ((4, -1),), ([2, 3, 4],)):
        view = array.reshape(*shape)
        assert view.data.ptr == array.data.ptr
        assert view.base is array
    turned = array.reshape(4, 6).T
    assert turned.reshape(24).base is None
    assert turned.reshape(24).get().tolist() == np.arange(24).reshape(4, 6).T.reshape(24).tolist()
    assert cupy.reshape(array, (3, 8)).shape == (3, 8)
    assert array.view(np.int64).shape == (12,)
    with pytest.raises(ValueError, match="reshape"):
        array.reshape(5)


def test_what_is_computed_stays_on_the_device(cupy):
    host = np.array([[3, -1, 7], [0, 5, 7]], np.int32)
    array = cupy.asarray(host)
    for compute in (
        lambda a: a + 1,
        lambda a: 2 - a,
        lambda a: a // 2 % 2,
        lambda a: -a,
        lambda a: a / a.astype(np.float32),
        lambda a: (a > 0) & (a <= 5),
        lambda a: a.argmax(),
        lambda a: a.any(axis=0),
        lambda a: (a > -2).all(),
        lambda a: a.max(axis=1, keepdims=True),
        lambda a: a.min(),
        lambda a: a.sum(),
    ):
        with np.errstate(all="ignore"):
            result = compute(array)
            assert type(result) is cupy.ndarray
            assert_same_bits(result.get(), np.asarray(compute(host)))
    array += 1
    assert type(array) is cupy.ndarray
    assert array.get().tolist() == (host + 1).tolist()


def test_arrays_are_made(cupy):
    assert cupy.zeros((2, 3)).get().tolist() == [[0, 0, 0], [0, 0, 0]]
    assert cupy.ones(3, np.int8).get().tolist() == [1, 1, 1]
    assert cupy.full((2,), 2.5).get().tolist() == [2.5, 2.5]
    assert cupy.arange(2, 8, 2).get().tolist() == [2, 4, 6]
    assert cupy.array([[1, 2]], np.float32).dtype == np.float32
    assert cupy.empty((2, 3), np.int8, order="F").flags.f_contiguous
    with pytest.raises(ValueError, match="Negative"):
        cupy.empty(-1)


def test_an_array_is_made_of_memory(cupy):
    array = cupy.arange(12, dtype=np.int32)
    rows = cupy.ndarray((3, 2), np.int32, array.data, (16, 4))
    assert rows.get().tolist() == [[0, 1], [4, 5], [8, 9]]
    assert cupy.ndarray((48,), np.uint8, array.data).get()[4] == 1
    assert cupy.ndarray((), np.int32, array.data + 44).item() == 11
    with pytest.raises((ValueError, TypeError)):
        cupy.ndarray((13,), np.int32, array.data)
    with pytest.raises((ValueError, TypeError)):
        cupy.ndarray((3, 2), np.int32, array.data, (24, 4))


def test_memory_is_set_and_copied_within_its_bounds(cupy):
    array, other = cupy.zeros(8, np.uint8), cupy.arange(8, dtype=np.uint8)
    array[4:].data.memset_async(255, 3)
    assert array.get().tolist() == [0, 0, 0, 0, 255, 255, 255, 0]
    array.data.copy_from_device_async(other.data + 2, 4)
    assert array.get().tolist() == [2, 3, 4, 5, 255, 255, 255, 0]
    with pytest.raises(ValueError, match="bytes 4 to 9 of an allocation of 8"):
        array[4:].data.memset_async(255, 5)
    with pytest.raises(ValueError, match="allocation"):
        array.data.copy_from_device_async(other.data + 2, 7)
    cupy.empty(0).data.memset_async(255, 0)
