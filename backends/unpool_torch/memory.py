"""The kernels of the CPU and of CUDA on the memory of tensors, which is theirs for the time of a call.

A tensor is taken as the array that lies where it lies, and what the kernels return becomes a tensor in the same way.
Where a tensor has nothing but a shape, because a program is traced, its results have nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from unpool import backends
from unpool.backends import Duplicates
from unpool.plan import Plan

DEVICES = ("cpu", "cuda", "meta")
# NumPy has no bfloat16; ml_dtypes makes one, and its numbers are these words.
_WORDS = {torch.bfloat16: torch.uint16}


def of(tensor: Any) -> Kernels:
    """Return the kernels of a tensor's device."""
    return CUDA if tensor.device.type == "cuda" else CPU


class Kernels:
    """The three primitives of a backend of arrays on tensors."""

    name: str  # of the backend

    def pool(self, cells: Any, plan: Plan, out: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
        pair = None if out is None else (self.array(out[0]), None if out[1] is None else self.array(out[1]))
        values, indices = backends.loaded(self.name).pool(self.array(cells), plan, pair)
        return out or (self.tensor(values), None if indices is None else self.tensor(indices))

    def scatter(self, values: Any, indices: Any, plan: Plan, duplicates: Duplicates, out: Any = None) -> Any:
        target = None if out is None else self.array(out)
        run = backends.loaded(self.name).scatter
        planes = run(self.array(values), self.array(indices), plan, duplicates, target)
        return self.tensor(planes) if out is None else out

    def gather(self, grad: Any, indices: Any, plan: Plan, duplicates: Duplicates, out: Any = None) -> Any:
        target = None if out is None else self.array(out)
        run = backends.loaded(self.name).gather
        values = run(self.array(grad), self.array(indices), plan, duplicates, target)
        return self.tensor(values) if out is None else out

    def array(self, tensor: Any) -> Any:
        raise NotImplementedError

    def tensor(self, array: Any) -> Any:
        raise NotImplementedError


class _CPU(Kernels):
    name = "cpu"

    def array(self, tensor: Any) -> Any:
        tensor = tensor.detach().resolve_conj().resolve_neg()
        if tensor.dtype in _WORDS:
            return tensor.view(_WORDS[tensor.dtype]).numpy().view(_bfloat16())
        return tensor.numpy()

    def tensor(self, array: Any) -> Any:
        if array.dtype.kind == "V":  # as NumPy sees bfloat16
            return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
        return torch.from_numpy(array)


def _bfloat16() -> Any:
    import ml_dtypes

    return ml_dtypes.bfloat16


class _CUDA(Kernels):
    """CuPy's arrays, on the stream that PyTorch has current."""

    name = "cuda"

    def pool(self, cells: Any, plan: Plan, out: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
        with self._stream(cells.device):
            return super().pool(cells, plan, out)

    def scatter(self, values: Any, indices: Any, plan: Plan, duplicates: Duplicates, out: Any = None) -> Any:
        with self._stream(values.device):
            return super().scatter(values, indices, plan, duplicates, out)

    def gather(self, grad: Any, indices: Any, plan: Plan, duplicates: Duplicates, out: Any = None) -> Any:
        with self._stream(grad.device):
            return super().gather(grad, indices, plan, duplicates, out)

    def _stream(self, device: Any) -> Any:
        backends.loaded(self.name)  # or what it needs is missing, and its error says so
        import cupy

        return cupy.cuda.ExternalStream(torch.cuda.current_stream(device).cuda_stream, device.index)

    def array(self, tensor: Any) -> Any:
        import cupy

        tensor = tensor.detach().resolve_conj().resolve_neg()
        if tensor.dtype in _WORDS:
            return cupy.from_dlpack(tensor.view(torch.int16)).view(_bfloat16())
        return cupy.from_dlpack(tensor)

    def tensor(self, array: Any) -> Any:
        if array.dtype.kind == "V":  # as NumPy sees bfloat16
            return torch.from_dlpack(array.view(np.int16)).view(torch.bfloat16)
        return torch.from_dlpack(array)


class _Shapes(Kernels):
    """Tensors that have a shape and no values."""

    def pool(self, cells: Any, plan: Plan, out: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
        values = cells.new_empty(plan.pooled_shape)
        if plan.index_dtype is None:
            return values, None
        return values, cells.new_empty(plan.pooled_shape, dtype=getattr(torch, plan.index_dtype))

    def scatter(self, values: Any, indices: Any, plan: Plan, duplicates: Duplicates, out: Any = None) -> Any:
        return values.new_empty(plan.plane_shape)

    def gather(self, grad: Any, indices: Any, plan: Plan, duplicates: Duplicates, out: Any = None) -> Any:
        return grad.new_empty(plan.pooled_shape)


CPU, CUDA, SHAPES = _CPU(), _CUDA(), _Shapes()
