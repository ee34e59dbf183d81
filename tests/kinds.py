"""The kinds of arrays that the contract is tested with: one a backend, each made of NumPy arrays and turned back."""

import ctypes

import needs
import numpy as np


class Arrays:
    """One kind of array: how it is made of a NumPy array, and how it becomes one again."""

    name: str

    def asarray(self, array):
        """Return an array of this kind, which lies in memory as the NumPy array does, as far as the kind knows how."""
        raise NotImplementedError

    def tonumpy(self, array):
        raise NotImplementedError

    def address(self, array):
        """The address of the first element."""
        raise NotImplementedError

    def alignment(self, dtype):
        """What the address of an element is a multiple of."""
        raise NotImplementedError

    def run(self, function, *arguments, **named):
        """Call a public function with NumPy arrays turned into this kind."""

        def there(argument):
            return self.asarray(argument) if isinstance(argument, np.ndarray) else argument

        return function(*map(there, arguments), **{name: there(argument) for name, argument in named.items()})

    def call(self, function, *arguments, **named):
        """Call a public function with NumPy arrays turned into this kind, and its results turned back."""
        result = self.run(function, *arguments, **named)
        return tuple(map(self._back, result)) if isinstance(result, tuple) else self._back(result)

    def _back(self, result):
        assert type(result) is type(self.asarray(np.zeros(1)))  # array kind in is array kind out
        assert result.flags.c_contiguous
        return self.tonumpy(result)


class NumPyArrays(Arrays):
    name = "cpu"

    def asarray(self, array):
        return array

    def tonumpy(self, array):
        return array

    def address(self, array):
        return array.ctypes.data

    def alignment(self, dtype):
        return np.dtype(dtype).alignment


class CuPyArrays(Arrays):
    name = "cuda"

    def __init__(self):
        self.cupy = needs.require("cupy", "CuPy arrays are what the backend is for")
        needs.require_backend("cuda")

    def asarray(self, array):
        array = np.asarray(array, array.dtype.newbyteorder("="))  # there is no other byte order
        # The memory behind it, byte by byte, at an address that is as odd.
        low, high = np.lib.array_utils.byte_bounds(array) if array.size else (0, 0)
        odd = low % 64
        memory = np.full(odd + max(high - low, 1), 0xA5, np.uint8)
        memory[odd : odd + high - low] = (ctypes.c_uint8 * (high - low)).from_address(low)
        start = odd + array.ctypes.data - low if array.size else 0
        return self.cupy.ndarray(array.shape, array.dtype, self.cupy.asarray(memory).data + start, array.strides)

    def tonumpy(self, array):
        return self.cupy.asnumpy(array)

    def address(self, array):
        return array.data.ptr

    def alignment(self, dtype):
        return np.dtype(dtype).itemsize  # of complex numbers, too


KINDS = {"cpu": NumPyArrays, "cuda": CuPyArrays}
