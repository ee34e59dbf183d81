"""The kinds of arrays that the contract is tested with: their conversion from and to NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import pytest

Array = npt.NDArray[Any]
T = TypeVar("T")

SLOW = 8  # the tests' loops are short for kinds of arrays that run fewer than one in this many cases


class Arrays:
    """A kind of arrays: its conversion from and to NumPy arrays, and its calls of public functions.

    A subclass defines `asarray` and `tonumpy`, and sets the attributes that differ.  With ``writes``, it also defines
    `address`, `alignment` and, if arrays have no method ``view``, `typed`.  A kind whose calls must be made in a
    certain way, such as in a compiled program, overrides `run`.

    >>> import numpy as np, unpool
    >>> values, indices = NumPyArrays().call(unpool.max_pool1d, np.array([[1, 5, 2, 3]]), 2, return_indices=True)
    >>> values.tolist(), indices.tolist()
    ([[5, 3]], [[1, 3]])
    """

    writes: ClassVar[bool] = True  # True if calls take `out=`, and arrays have an address
    strides: ClassVar[bool] = True  # True if arrays keep the memory layout of the NumPy arrays that they are made of
    reports: ClassVar[bool] = True  # True if a bad or repeated index is an error; else a bad one is dropped
    taps: ClassVar[bool] = True  # True if the backend takes `index_format="window"`
    rounds: ClassVar[bool] = True  # True if sums are rounded at each step and keep denormals, as in NumPy
    one_in: ClassVar[int] = 1  # one in this many cases of a test runs, and at least one
    family: ClassVar[str] = ""  # kinds with this name run at least one case of a test between them, instead of each
    lacks: ClassVar[tuple[str, ...]] = ()  # layouts of `unpool.testing.cases` that no such array can have
    marks: ClassVar[tuple[pytest.MarkDecorator, ...]] = ()  # marks of pytest for each case

    @classmethod
    def installed(cls) -> bool:
        """Return whether the library that defines such arrays is installed."""
        return True

    def asarray(self, array: Array) -> Any:
        """Return an array of this kind, with the memory layout of the NumPy array if ``strides`` is true."""
        raise NotImplementedError

    def tonumpy(self, array: Any) -> Array:
        """Return a NumPy array with the same shape, dtype and bits."""
        raise NotImplementedError

    def address(self, array: Any) -> int:
        """Return the address of the first element."""
        raise NotImplementedError

    def alignment(self, dtype: npt.DTypeLike) -> int:
        """Return the number that divides every element's address."""
        return np.dtype(dtype).itemsize  # of complex numbers, too

    def typed(self, memory: Any, dtype: npt.DTypeLike) -> Any:
        """Return a view of an array of bytes as another dtype."""
        return memory.view(dtype)

    def result_tonumpy(self, result: Any) -> Array:
        """Return a result as a NumPy array; assert that it is an array of this kind."""
        assert type(result) is type(self.asarray(np.zeros(1)))  # the result has the type of the arguments
        return self.tonumpy(result)

    def run(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a public function with NumPy arrays turned into this kind."""

        def there(argument: Any) -> Any:
            return self.asarray(argument) if isinstance(argument, np.ndarray) else argument

        return function(*map(there, arguments), **{name: there(argument) for name, argument in named.items()})

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a public function with NumPy arrays turned into this kind, and its results turned back."""
        result = self.run(function, *arguments, **named)
        return tuple(map(self.result_tonumpy, result)) if isinstance(result, tuple) else self.result_tonumpy(result)

    def some(self, values: Iterable[T]) -> list[T]:
        """Return the values that a test loops over: two of them for kinds with slow calls."""
        values = list(values)
        return values if self.one_in <= SLOW else values[:: max(1, -(-len(values) // 2))]


class NumPyArrays(Arrays):
    """NumPy arrays, which get every case."""

    def asarray(self, array: Array) -> Array:
        return array

    def tonumpy(self, array: Array) -> Array:
        return array

    def address(self, array: Array) -> int:
        return array.ctypes.data

    def alignment(self, dtype: npt.DTypeLike) -> int:
        return np.dtype(dtype).alignment

    def result_tonumpy(self, result: Any) -> Array:
        assert type(result) is np.ndarray
        assert result.flags.c_contiguous
        return result


# The kinds that `--arrays` knows by name. A conftest.py may add others.
KINDS: dict[str, type[Arrays]] = {"cpu": NumPyArrays}

# Marks of tests that only some kinds of arrays can run.
needs_out = pytest.mark.kinds("writes")
needs_strides = pytest.mark.kinds("strides")
needs_reports = pytest.mark.kinds("reports")
needs_taps = pytest.mark.kinds("taps")
