"""The operations that convert indices, where tensors differ from the array API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from unpool import arithmetic
from unpool.sizes import Number
from unpool_backends.torch import private


class Arithmetic(arithmetic.Arithmetic):
    """Operations on tensors, on the device of the first one."""

    def __init__(self, tensor: Any) -> None:
        super().__init__(torch)
        self._device = tensor.device

    def cast(self, array: Any, dtype: str) -> Any:
        return array.to(getattr(torch, dtype))

    def along(self, size: Any, axis: int, ndim: int) -> Any:
        return super().along(size, axis, ndim).to(self._device)

    def require_all(self, right: Any, result: Any, problem: Callable[[Number, Any], Exception]) -> Any:
        """Return the result, or raise if a value is wrong; traced and mapped tensors have no values to check."""
        if torch.compiler.is_dynamo_compiling() or private.mapped() or _has_no_values(right):
            return result
        if get_proxy_mode() is not None:  # tensors of `make_fx` have values, but reading one raises
            return result
        if not right.all():
            raise problem(int, int((~right).reshape(-1).to(torch.uint8).argmax()))
        return result


def _has_no_values(tensor: Any) -> bool:
    return bool(tensor.is_meta) or private.is_fake(tensor)
