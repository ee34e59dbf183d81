"""The operations that convert indices, where JAX's arrays differ from the array API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from unpool import arithmetic
from unpool.sizes import Number
from unpool_backends.jax import window_path
from unpool_backends.jax.host import has_values
from unpool_backends.jax.indices import check_room, integer


class Arithmetic(arithmetic.Arithmetic):
    """Operations on arrays that may be traced, and have 32-bit integers unless JAX's 64-bit mode is on."""

    def __init__(self, array: Any) -> None:
        super().__init__(jnp)

    def cast(self, array: Any, dtype: str) -> Any:
        return array.astype(integer(dtype))

    def along(self, size: Any, axis: int, ndim: int) -> Any:
        return window_path.along(size, axis, ndim, integer("int64"))

    def check_room(self, numbers: Any) -> None:
        check_room("indices", numbers, numbers)

    def require(self, right: Any, result: Any, problem: Callable[[Number], Exception]) -> Any:
        """Return the result, or raise if a value is wrong; traced arrays have no values to check."""
        return super().require(right, result, problem) if has_values(right) else result

    def require_all(self, right: Any, result: Any, problem: Callable[[Number, Any], Exception]) -> Any:
        return super().require_all(right, result, problem) if has_values(right) else result
