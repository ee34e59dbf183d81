"""The CPU and CUDA kernels on the memory of tensors, and the shapes of their results for tracing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch

from unpool import errors, loading
from unpool.dtypes import name
from unpool.lending import Lender
from unpool.plan import Plan
from unpool.protocol import Backend, Duplicates
from unpool_backends import cpu

DEVICES = ("cpu", "cuda", "meta")


def check(*tensors: tuple[str, Any]) -> None:
    """Refuse tensors without strides, such as sparse ones, tensors on a device without kernels, and mixed devices."""
    first, one = tensors[0]
    for argument, tensor in tensors:
        if tensor.layout != torch.strided:
            raise errors.not_dense(argument, str(tensor.layout), f"{argument}.to_dense()")
        if tensor.device.type not in DEVICES:
            raise _unserved_device(argument, str(tensor.device))
        if tensor.device != one.device:
            convert = f"{argument}.to({first}.device)"
            raise errors.devices_differ(argument, str(tensor.device), first, str(one.device), convert)


class Shapes:
    """The three primitives on tensors that have a shape and no values."""

    def pool(self, cells: Any, plan: Plan[Any]) -> tuple[Any, Any]:
        values = cells.new_empty(plan.pooled_shape)
        if plan.index_dtype is None:
            return values, None
        return values, cells.new_empty(plan.pooled_shape, dtype=getattr(torch, plan.index_dtype))

    def scatter(self, values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
        return values.new_empty(plan.plane_shape)

    def gather(self, grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
        return grad.new_empty(plan.pooled_shape)


# --- memory -----------------------------------------------------------------------------------------------------------

# NumPy has no bfloat16.  Tensors are passed as 16-bit words, viewed as the bfloat16 of ml_dtypes.


def _bfloat16() -> Any:
    import ml_dtypes

    return ml_dtypes.bfloat16


def array_of(tensor: Any) -> Any:
    if tensor.dtype == torch.bfloat16:
        return tensor.detach().resolve_neg().view(torch.uint16).numpy().view(_bfloat16())
    return tensor.numpy(force=True)  # detaches the tensor, and resolves its conjugate and negative bits


def plain_array_of(tensor: Any) -> Any:
    """Do what `array_of` does, without the dispatcher, for tensors that are `plainly_dispatched`."""
    if not tensor.is_contiguous():
        return array_of(tensor)
    return cpu.array_at(tensor, tensor.data_ptr(), tensor.shape, _dtype_of(tensor.dtype))


@cache
def _dtype_of(dtype: torch.dtype) -> Any:
    return np.dtype(_bfloat16() if dtype == torch.bfloat16 else name(dtype))


def tensor_of(array: Any, *given: Any) -> Any:
    if array.dtype.kind == "V":  # the kind of ml_dtypes' bfloat16 in NumPy
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _cupy(tensor: Any) -> Any:
    import cupy

    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype == torch.bfloat16:
        return cupy.from_dlpack(tensor.view(torch.int16)).view(_bfloat16())
    return cupy.from_dlpack(tensor)


def _of_cupy(array: Any, *given: Any) -> Any:
    if array.dtype.kind == "V":
        return torch.from_dlpack(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_dlpack(array)


@contextmanager
def _stream(tensor: Any) -> Iterator[None]:
    """Make the device of a tensor CuPy's current one, and PyTorch's current stream on it CuPy's."""
    import cupy

    device = tensor.device
    with cupy.cuda.Device(device.index), cupy.cuda.Stream.from_external(torch.cuda.current_stream(device)):
        yield


@cache
def _cuda(name: str) -> Backend:
    backend: Backend = loading.load("cuda", f"unpool_backends.cuda:{name}", "cupy")
    return backend


CPU = Lender(lambda: cpu.BACKEND, array_of, tensor_of)
CUDA = Lender(lambda: _cuda("BACKEND"), _cupy, _of_cupy, _stream)
# The same, but a call with a bad or repeated index returns None.
QUIET = {
    CPU: Lender(lambda: cpu.QUIET, array_of, tensor_of),
    CUDA: Lender(lambda: _cuda("QUIET"), _cupy, _of_cupy, _stream),
}
SHAPES = Shapes()


def of(tensor: Any) -> Lender:
    """Return the kernels of a tensor's device."""
    return CUDA if tensor.device.type == "cuda" else CPU


# --- messages ---------------------------------------------------------------------------------------------------------


def _unserved_device(argument: str, device: str) -> TypeError:
    return TypeError(
        f"`{argument}` must be on the CPU or on a CUDA device, got a tensor on {device}: pass {argument}.cpu()"
    )
