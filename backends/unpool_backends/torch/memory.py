"""The kernels of the CPU and of CUDA on the memory of tensors, which is theirs for the time of a call.

A tensor is taken as the array that lies where it lies, and what the kernels return becomes a tensor in the same way.
Where a tensor has nothing but a shape, because a program is traced, its results have nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch

from unpool import backends
from unpool.backends import Duplicates
from unpool.plan import Plan

DEVICES = ("cpu", "cuda", "meta")


class Kernels:
    """The three primitives of a backend of arrays on tensors.

    `array` and `tensor` turn one into the other where it lies, and `within` is what a call on a device is made within.
    """

    def __init__(
        self,
        name: str,
        array: Callable[[Any], Any],
        tensor: Callable[[Any], Any],
        within: Callable[[Any], AbstractContextManager[Any]],
    ) -> None:
        self._name, self._array, self._tensor, self._within = name, array, tensor, within

    def pool(self, cells: Any, plan: Plan, out: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
        run = backends.loaded(self._name).pool
        with self._within(cells.device):
            targets = None if out is None else (self._array(out[0]), self._optional(self._array, out[1]))
            values, indices = run(self._array(cells), plan, targets)
            return out or (self._tensor(values), self._optional(self._tensor, indices))

    def scatter(self, values: Any, indices: Any, plan: Plan, duplicates: Duplicates, out: Any = None) -> Any:
        return self._moved(backends.loaded(self._name).scatter, values, indices, plan, duplicates, out)

    def gather(self, grad: Any, indices: Any, plan: Plan, duplicates: Duplicates, out: Any = None) -> Any:
        return self._moved(backends.loaded(self._name).gather, grad, indices, plan, duplicates, out)

    def _moved(self, run: Any, given: Any, indices: Any, plan: Plan, duplicates: Duplicates, out: Any) -> Any:
        with self._within(given.device):
            target = self._optional(self._array, out)
            result = run(self._array(given), self._array(indices), plan, duplicates, target)
            return self._tensor(result) if out is None else out

    @staticmethod
    def _optional(function: Callable[[Any], Any], value: Any) -> Any:
        return None if value is None else function(value)


class Shapes:
    """The same for tensors that have a shape and no values."""

    def pool(self, cells: Any, plan: Plan) -> tuple[Any, Any]:
        values = cells.new_empty(plan.pooled_shape)
        if plan.index_dtype is None:
            return values, None
        return values, cells.new_empty(plan.pooled_shape, dtype=getattr(torch, plan.index_dtype))

    def scatter(self, values: Any, indices: Any, plan: Plan, duplicates: Duplicates) -> Any:
        return values.new_empty(plan.plane_shape)

    def gather(self, grad: Any, indices: Any, plan: Plan, duplicates: Duplicates) -> Any:
        return grad.new_empty(plan.pooled_shape)


# --- memory -----------------------------------------------------------------------------------------------------------

# NumPy has no bfloat16; ml_dtypes makes one, and its numbers are 16-bit words.


def _bfloat16() -> Any:
    import ml_dtypes

    return ml_dtypes.bfloat16


def _numpy(tensor: Any) -> Any:
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(_bfloat16())
    return tensor.numpy()


def _of_numpy(array: Any) -> Any:
    if array.dtype.kind == "V":  # as NumPy sees bfloat16
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _cupy(tensor: Any) -> Any:
    import cupy

    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return cupy.from_dlpack(tensor.view(torch.int16)).view(_bfloat16())
    return cupy.from_dlpack(tensor)


def _of_cupy(array: Any) -> Any:
    if array.dtype.kind == "V":
        return torch.from_dlpack(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_dlpack(array)


@contextmanager
def _stream(device: Any) -> Iterator[None]:
    """Make a device CuPy's current one, and the stream that PyTorch has current on it CuPy's."""
    import cupy

    with cupy.cuda.Device(device.index), cupy.cuda.Stream.from_external(torch.cuda.current_stream(device)):
        yield


CPU = Kernels("cpu", _numpy, _of_numpy, lambda device: nullcontext())
CUDA = Kernels("cuda", _cupy, _of_cupy, _stream)
SHAPES = Shapes()


def of(tensor: Any) -> Kernels:
    """Return the kernels of a tensor's device."""
    return CUDA if tensor.device.type == "cuda" else CPU
