"""A stand-in for CuPy that runs real CUDA C++ kernels on the CPU. It is as strict as CuPy in the parts that we use.

It is imported in place of CuPy if this folder is first on ``sys.path``. `cupy.cuda_on_cpu` holds its settings and
counters; all its other public names are CuPy's.
"""

import ctypes
import math

import numpy
from numpy import bool_ as bool_
from numpy import complex64 as complex64
from numpy import complex128 as complex128
from numpy import dtype as dtype
from numpy import float16 as float16
from numpy import float32 as float32
from numpy import float64 as float64
from numpy import int8 as int8
from numpy import int16 as int16
from numpy import int32 as int32
from numpy import int64 as int64
from numpy import intp as intp
from numpy import newaxis as newaxis
from numpy import uint8 as uint8
from numpy import uint16 as uint16
from numpy import uint32 as uint32
from numpy import uint64 as uint64

from cupy import cuda as cuda
from cupy import cuda_on_cpu as cuda_on_cpu
from cupy._raw import RawKernel as RawKernel
from cupy._raw import RawModule as RawModule

__version__ = "14.2.0"

_COMPARISONS = ("equal", "greater", "greater_equal", "less", "less_equal", "not_equal")


def _check_dtype(dtype, *, swapped=False):
    """Raise for dtypes that CuPy does not have. `swapped` allows byte orders of views, which CuPy does not check."""
    if dtype.char not in "?bhilqBHILQefdFD" and dtype.name != "bfloat16":
        raise ValueError(f"Unsupported dtype {dtype}")
    if not dtype.isnative and not swapped:
        raise ValueError(f"Unsupported dtype {dtype} with big-endian byte-order")


class _Flags:
    def __init__(self, c_contiguous, f_contiguous, owndata):
        self.c_contiguous = c_contiguous
        self.f_contiguous = f_contiguous
        self.owndata = owndata

    def __getitem__(self, name):
        if name not in ("C_CONTIGUOUS", "F_CONTIGUOUS", "OWNDATA"):
            raise KeyError(f"{name} is not defined for cupy.ndarray.flags")
        return getattr(self, name.lower())


class ndarray(numpy.lib.mixins.NDArrayOperatorsMixin):  # noqa: N801
    """An array on a device. NumPy computes on a view of its memory, which never leaves this file."""

    __slots__ = ("_host", "base", "data")
    __array_priority__ = 100

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        shape = (shape,) if isinstance(shape, int | numpy.integer) else tuple(shape)
        dtype = numpy.dtype(dtype)
        _check_dtype(dtype, swapped=memptr is not None)
        if any(length < 0 for length in shape):
            raise ValueError("Negative dimensions are not allowed")
        if memptr is None:
            if strides is not None:
                raise ValueError("memptr is required if strides is given.")
            memptr = cuda.alloc(math.prod(shape) * dtype.itemsize)
        memory = (ctypes.c_ubyte * memptr.mem.size).from_address(memptr.mem.ptr)
        if math.prod(shape):  # NumPy checks the bounds
            host = numpy.ndarray(shape, dtype, memory, memptr.ptr - memptr.mem.ptr, strides, order)
        else:
            host = numpy.empty(shape, dtype, order)
        self._set(host, memptr, None)

    def _set(self, host, data, base):
        self._host = host
        self.data = data
        self.base = base

    def _view(self, host):
        """Return a NumPy view of this array's memory as an array."""
        view = ndarray.__new__(ndarray)
        offset = host.ctypes.data - self._host.ctypes.data if host.size else 0
        view._set(host, self.data + offset, self if self.base is None else self.base)
        return view

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    strides = property(lambda self: self._host.strides)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    device = property(lambda self: self.data.device)
    T = property(lambda self: self._view(self._host.T))

    @property
    def flags(self):
        return _Flags(self._host.flags.c_contiguous, self._host.flags.f_contiguous, self.base is None)

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of unsized object")
        return len(self._host)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[at] for at in range(len(self)))

    # --- copies to the host ---

    def _to_host(self, how):
        if self.size:
            cuda._synchronise(how)
        return self._host.copy()

    def get(self, stream=None, order="C", out=None, blocking=True):
        if out is None:
            return numpy.asarray(self._to_host("get"), order=order)
        if out.dtype != self.dtype:
            raise TypeError(f"{out.dtype} array cannot be obtained from {self.dtype} array")
        if out.shape != self.shape:
            raise ValueError(f"Shape mismatch. Expected shape: {self.shape}, actual shape: {out.shape}")
        out[...] = self._to_host("get")
        return out

    def item(self):
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self._to_host("item").item()

    def tolist(self):
        return self._to_host("tolist").tolist()

    def tobytes(self, order="C"):
        return self._to_host("tobytes").tobytes(order)

    def __bool__(self):
        return bool(self._to_host("__bool__"))

    def __int__(self):
        return int(self._to_host("__int__"))

    def __float__(self):
        return float(self._to_host("__float__"))

    def __complex__(self):
        return complex(self._to_host("__complex__"))

    def __repr__(self):
        return repr(self._to_host("__repr__"))

    def __str__(self):
        return str(self._to_host("__str__"))

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    # --- views and copies ---

    def __getitem__(self, key):
        key = key if isinstance(key, tuple) else (key,)
        for part in key:
            if (
                part is not None
                and part is not ...
                and (isinstance(part, bool) or not isinstance(part, int | numpy.integer | slice))
            ):
                raise NotImplementedError(f"the stand-in for CuPy does not index by {type(part)}")
        return self._view(self._host[(*key, ...) if ... not in key else key])

    def __setitem__(self, key, value):
        view = self[key]
        if isinstance(value, ndarray):
            view._host[...] = _here(value)
        else:
            view.fill(value)

    def fill(self, value):
        if isinstance(value, numpy.ndarray):
            if value.shape:
                raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
            value = value.item()
        _here(self).fill(_scalar(value))

    def set(self, arr, stream=None):
        if not isinstance(arr, numpy.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        self._host[...] = arr

    def view(self, dtype=None, type=None):
        if dtype is None:
            return self._view(self._host.view())
        dtype = numpy.dtype(dtype)
        _check_dtype(dtype, swapped=True)
        return self._view(self._host.view(dtype))

    def reshape(self, *shape, order="C", copy=None):
        host = self._host.reshape(*shape, order=order)
        if copy or (host.size and not numpy.may_share_memory(host, self._host)):
            return _to_device(host)
        return self._view(host)

    def ravel(self, order="C"):
        return self.reshape(-1, order=order)

    def transpose(self, *axes):
        return self._view(self._host.transpose(*axes))

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        if casting is not None or subok is not None:
            raise TypeError("casting and subok are not supported yet")
        dtype = numpy.dtype(dtype)
        _check_dtype(dtype)
        host = _here(self).astype(dtype, order=order, copy=copy)
        return self if host is self._host else _to_device(host)

    def copy(self, order="C"):
        return _to_device(self._host.copy(order))  # also from another device

    # --- computations ---

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **named):
        if method != "__call__" or ufunc.nout != 1:
            return NotImplemented
        if ufunc.__name__ in _COMPARISONS:  # as CuPy does, for numpy/numpy#12142
            inputs = [
                value.item() if isinstance(value, numpy.ndarray) and not value.ndim else value for value in inputs
            ]
        inputs = [_here(value) if isinstance(value, ndarray) else _scalar(value) for value in inputs]
        if out is None:
            return _to_device(ufunc(*inputs, **named))
        if not isinstance(out[0], ndarray):
            raise TypeError(f"Unsupported type {type(out[0])}")
        ufunc(*inputs, out=_here(out[0]), **named)
        return out[0]

    def all(self, axis=None, out=None, keepdims=False):
        return _to_device(_here(self).all(axis=axis, keepdims=keepdims), out)

    def any(self, axis=None, out=None, keepdims=False):
        return _to_device(_here(self).any(axis=axis, keepdims=keepdims), out)

    def argmax(self, axis=None, out=None, dtype=None, keepdims=False):
        return _to_device(_here(self).argmax(axis=axis, keepdims=keepdims), out)

    def max(self, axis=None, out=None, keepdims=False):
        return _to_device(_here(self).max(axis=axis, keepdims=keepdims), out)

    def min(self, axis=None, out=None, keepdims=False):
        return _to_device(_here(self).min(axis=axis, keepdims=keepdims), out)

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        return _to_device(_here(self).sum(axis=axis, dtype=dtype, keepdims=keepdims), out)


def _here(array):
    """Return the NumPy view of an array. Raise for another device's array, as CuPy's own kernels do."""
    device, current = array.data.device_id, cuda.Device().id
    if device != current:
        raise ValueError(
            f"Array device must be same as the current device: array device = {device} while current = {current}"
        )
    return array._host


def _scalar(value):
    if not isinstance(value, bool | int | float | complex | numpy.generic):
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def _to_device(host, out=None):
    """Copy a result of NumPy to a new array in the same memory order, or to `out`."""
    host = numpy.asarray(host)
    if out is None:
        out = ndarray(host.shape, host.dtype, cuda.alloc(host.nbytes), numpy.empty_like(host).strides)
    out._host[...] = host
    return out


def empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype, order=order)


def zeros(shape, dtype=float, order="C"):
    array = ndarray(shape, dtype, order=order)
    array.data.memset_async(0, array.nbytes)
    return array


def ones(shape, dtype=float, order="C"):
    return full(shape, 1, dtype, order)


def full(shape, fill_value, dtype=None, order="C"):
    array = ndarray(shape, numpy.array(fill_value).dtype if dtype is None else dtype, order=order)
    array.fill(fill_value)
    return array


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if isinstance(obj, ndarray):
        if obj.device != cuda.Device():
            obj = obj.copy("K")
        obj = obj[(None,) * (ndmin - obj.ndim)] if ndmin > obj.ndim else obj
        return obj.astype(obj.dtype if dtype is None else dtype, order or "K", copy=bool(copy))
    host = numpy.array(obj, dtype, ndmin=ndmin)
    host = host.astype(host.dtype.newbyteorder("="), copy=False)
    fortran = order == "F" or (order != "C" and host.flags.f_contiguous and not host.flags.c_contiguous)
    result = ndarray(host.shape, host.dtype, order="F" if fortran else "C")
    result.set(host)
    return result


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, copy, order, blocking=blocking)


def ascontiguousarray(a, dtype=None):
    return array(a, dtype, copy=False, order="C", ndmin=1)


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    if isinstance(a, ndarray):
        return a.get(stream, order, out, blocking)
    return numpy.asarray(a, order=order)


def arange(start, stop=None, step=1, dtype=None):
    return array(numpy.arange(0 if stop is None else start, start if stop is None else stop, step, dtype))


def reshape(a, newshape, order="C", *, copy=None):
    return a.reshape(newshape, order=order, copy=copy)


def may_share_memory(a, b, max_work=None):
    return numpy.may_share_memory(a._host, b._host)
