"""What `unpool.conventions` needs of arrays where JAX's are unlike others; the formulas are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from unpool import arrays, errors
from unpool.arrays import Number
from unpool.plan import LARGEST
from unpool_jax.operations import integer


class Arrays(arrays.Arrays):
    """Arrays that may be traced, and have 32-bit integers unless JAX's 64-bit mode is on."""

    def __init__(self, array: Any) -> None:
        super().__init__(jnp)

    def cast(self, array: Any, dtype: str) -> Any:
        return array.astype(integer(dtype))

    def along(self, size: Any, axis: int, ndim: int) -> Any:
        shape = [1] * ndim
        shape[axis] = size
        return jax.lax.broadcasted_iota(integer("int64"), shape, axis)

    def check_room(self, numbers: Any) -> None:
        if isinstance(numbers, int) and numbers - 1 > LARGEST and integer("int64").itemsize < 8:
            raise errors.needs_64_bits("indices", numbers)

    def require(self, right: Any, result: Any, problem: Callable[[Number], Exception]) -> Any:
        """Where a program is traced, there are no values to look at."""
        return result if isinstance(right, jax.core.Tracer) else super().require(right, result, problem)

    def require_all(self, right: Any, result: Any, problem: Callable[[Number, Any], Exception]) -> Any:
        return result if isinstance(right, jax.core.Tracer) else super().require_all(right, result, problem)
