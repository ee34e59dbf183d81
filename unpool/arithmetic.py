"""What converting indices needs of an array library: a few functions, and how a rule is demanded of values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from unpool.sizes import Number


class Arithmetic:
    """Of libraries that follow the array API; a backend of another library may have a class like it."""

    def __init__(self, namespace: Any) -> None:
        self._namespace = namespace

    def cast(self, array: Any, dtype: str) -> Any:
        return array.astype(dtype)

    def along(self, size: Any, axis: int, ndim: int) -> Any:
        """Return the coordinates along one of so many axes, to be broadcast."""
        xp, shape = self._namespace, [1] * ndim
        shape[axis] = -1
        return xp.reshape(xp.arange(size, dtype=xp.int64), shape)

    def size(self, array: Any, axis: int) -> Any:
        return array.shape[axis]

    def check_room(self, numbers: Any) -> None:
        """Refuse to count so many numbers, if the library's integers do not."""

    def number(self, entry: Any) -> Any:
        """Return an entry of a size, to compute with."""
        return entry

    def equal(self, one: Any, other: Any) -> Any:
        """Return where two arrays, or sizes, are equal."""
        return one == other

    def at(self, array: Any, flat: Any) -> Any:
        """Return the element at a flat position."""
        return array.reshape(-1)[flat]

    def require(self, right: Any, result: Any, problem: Callable[[Number], Exception]) -> Any:
        """Return the result if something is right, and raise otherwise."""
        if not right:
            raise problem(int)
        return result

    def require_all(self, right: Any, result: Any, problem: Callable[[Number, Any], Exception]) -> Any:
        """Return the result if everything is right, and raise for the first flat position that is not."""
        wrong = ~right
        if wrong.any():
            raise problem(int, int(wrong.reshape(-1).argmax()))
        return result
