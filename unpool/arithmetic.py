"""The operations of an array library that `convert_indices` needs, and the checks of values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unpool.sizes import Number


class Arithmetic:
    """Operations on the arrays of a library that follows the array API; backends may subclass it for others."""

    def __init__(self, namespace: Any) -> None:
        self._namespace = namespace

    def array(self, array: Any) -> Any:
        """Return the array, or the constant of this library that a NumPy array is beside its sizes."""
        return array

    def cast(self, array: Any, dtype: str) -> Any:
        return array.astype(dtype)

    def along(self, size: Any, axis: int, ndim: int) -> Any:
        """Return the coordinates along one of `ndim` axes, in a shape that broadcasts."""
        xp, shape = self._namespace, [1] * ndim
        shape[axis] = -1
        return xp.reshape(xp.arange(size, dtype=xp.int64), shape)

    def size(self, array: Any, axis: int) -> Any:
        return array.shape[axis]

    def check_room(self, numbers: Any) -> None:
        """Refuse indices from a range of `numbers` numbers, if the library's integers cannot hold them."""

    def number(self, entry: Any) -> Any:
        """Return an entry of a size as a number to compute with."""
        return entry

    def equal(self, one: Any, other: Any) -> Any:
        """Return True where two arrays, or sizes, are equal."""
        return one == other

    def larger(self, one: Any, other: Any) -> Any:
        """Return the larger one of two sizes."""
        return max(one, other)

    def at(self, array: Any, flat: Any) -> Any:
        """Return the element at a flat position."""
        return array.reshape(-1)[flat]

    def require(self, right: Any, result: Any, problem: Callable[[Number], Exception]) -> Any:
        """Return `result` if the condition `right` holds, and raise the error that `problem` builds otherwise."""
        if not right:
            raise problem(int)
        return result

    def require_all(self, right: Any, result: Any, problem: Callable[[Number, Any], Exception]) -> Any:
        """Return `result` if `right` holds everywhere, and raise for the first flat position where it does not."""
        wrong = ~right
        if wrong.any():
            raise problem(int, int(wrong.reshape(-1).argmax()))
        return result
