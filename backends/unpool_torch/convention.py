"""What `unpool.conventions` needs of tensors, as `unpool.arrays` has it of other arrays; the formulas are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from unpool.arrays import Number
from unpool_torch import operators


class Arrays:
    """Tensors, on the device of the first one."""

    def __init__(self, tensor: Any) -> None:
        self._device = tensor.device

    def cast(self, array: Any, dtype: str) -> Any:
        return array.to(getattr(torch, dtype))

    def along(self, size: Any, axis: int, ndim: int) -> Any:
        shape = [1] * ndim
        shape[axis] = -1
        return torch.arange(size, dtype=torch.int64, device=self._device).reshape(shape)

    def size(self, array: Any, axis: int) -> Any:
        return array.shape[axis]

    def number(self, entry: Any) -> Any:
        return entry

    def at(self, array: Any, flat: Any) -> Any:
        return array.reshape(-1)[flat]

    def require(self, right: Any, result: Any, problem: Callable[[Number], Exception]) -> Any:
        if not right:
            raise problem(int)
        return result

    def require_all(self, right: Any, result: Any, problem: Callable[[Number, Any], Exception]) -> Any:
        """Where a program is traced there are no values to look at."""
        if operators.watched() or type(right) is not torch.Tensor or right.is_meta:
            return result
        if not right.all():
            raise problem(int, int((~right).reshape(-1).to(torch.uint8).argmax()))
        return result
