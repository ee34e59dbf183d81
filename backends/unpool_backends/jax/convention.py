"""What `unpool.conventions` needs of arrays where JAX's are unlike others; the formulas are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from unpool import arrays
from unpool.arrays import Number
from unpool_backends.jax import windows
from unpool_backends.jax.host import has_values
from unpool_backends.jax.operations import check_room, integer


class Arrays(arrays.Arrays):
    """Arrays that may be traced, and have 32-bit integers unless JAX's 64-bit mode is on."""

    def __init__(self, array: Any) -> None:
        super().__init__(jnp)

    def cast(self, array: Any, dtype: str) -> Any:
        return array.astype(integer(dtype))

    def along(self, size: Any, axis: int, ndim: int) -> Any:
        return windows.along(size, axis, ndim, integer("int64"))

    def check_room(self, numbers: Any) -> None:
        check_room("indices", numbers, numbers)

    def require(self, right: Any, result: Any, problem: Callable[[Number], Exception]) -> Any:
        """Where a program is traced, there are no values to look at."""
        return super().require(right, result, problem) if has_values(right) else result

    def require_all(self, right: Any, result: Any, problem: Callable[[Number, Any], Exception]) -> Any:
        return super().require_all(right, result, problem) if has_values(right) else result
