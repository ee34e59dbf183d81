"""The backend for PyTorch tensors: the CPU and CUDA kernels, registered as PyTorch operators.

A call dispatches to one of the operators of `operators`.  So it is differentiable, and it can be mapped, traced and
compiled like PyTorch's own operators.  The kernels run on the memory of the tensors, without a copy (`memory`).
"""

from __future__ import annotations

from typing import Any

import torch

from unpool import errors
from unpool.plan import Plan
from unpool.protocol import Duplicates
from unpool_backends.torch import memory, operators
from unpool_backends.torch.arithmetic import Arithmetic

__all__ = ["BACKEND", "Torch"]


class Torch:
    """The three primitives of `unpool.protocol.Backend` on PyTorch tensors."""

    arithmetic = Arithmetic

    def pool(self, input: Any, plan: Plan[Any], out: tuple[Any, Any] | None) -> tuple[Any, Any]:
        _check(("input", input))
        if out is None:
            return operators.pool(input, plan)
        first, second = ("out", "out") if out[1] is None else ("out[0]", "out[1]")
        _check_out((first, out[0]), (second, out[1]), ("input", input))
        if _is_plain(input):
            memory.of(input).pool(input, plan, out)
            _note_written(*out)
        else:
            for target, result in zip(out, operators.pool(input, plan), strict=True):
                if target is not None:
                    target.copy_(result)
        return out

    def scatter(self, values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any) -> Any:
        _check((plan.values, values), ("indices", indices))
        if out is None:
            return operators.scatter(values, indices, plan, duplicates)
        _check_out(("out", out), (plan.values, values))
        if _is_plain(values, indices):
            memory.of(values).scatter(values, indices, plan, duplicates, out)
            return _note_written(out)
        return out.copy_(operators.scatter(values, indices, plan, duplicates))

    def gather(self, grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any) -> Any:
        _check(("grad_output", grad), ("indices", indices))
        if out is None:
            return operators.gather(grad, indices, plan, duplicates)
        _check_out(("out", out), ("grad_output", grad))
        if _is_plain(grad, indices):
            memory.of(grad).gather(grad, indices, plan, duplicates, out)
            return _note_written(out)
        return out.copy_(operators.gather(grad, indices, plan, duplicates))


BACKEND = Torch()


def _check(*tensors: tuple[str, Any]) -> None:
    """Refuse tensors without strides, such as sparse ones, tensors on a device without kernels, and mixed devices."""
    first, one = tensors[0]
    for argument, tensor in tensors:
        if tensor.layout != torch.strided:
            raise errors.not_dense(argument, str(tensor.layout), f"{argument}.to_dense()")
        if tensor.device.type not in memory.DEVICES:
            raise _unserved_device(argument, str(tensor.device))
        if tensor.device != one.device:
            convert = f"{argument}.to({first}.device)"
            raise errors.devices_differ(argument, str(tensor.device), first, str(one.device), convert)


def _check_out(*tensors: tuple[str, Any]) -> None:
    """Refuse results that require a gradient or that kernels cannot write to; the last tensor is the one to read."""
    _check(*[(argument, tensor) for argument, tensor in reversed(tensors) if tensor is not None])
    for argument, tensor in tensors:
        if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
            raise _out_of_gradient(argument)
    for argument, tensor in tensors[:-1]:
        # torch.compile cannot trace `is_conj` and `is_neg`.
        lazy = not torch.compiler.is_dynamo_compiling() and tensor is not None and (tensor.is_conj() or tensor.is_neg())
        if tensor is not None and (lazy or not tensor.is_contiguous()):
            raise errors.unusable_out(argument)


def _note_written(*tensors: Any) -> Any:
    """Bump the version counter of tensors that were written without autograd; return the first."""
    for tensor in tensors:
        if tensor is not None:
            torch.autograd.graph.increment_version(tensor)
    return tensors[0]


def _is_plain(*tensors: Any) -> bool:
    """Return True if kernels may use the memory of these tensors directly: no tracer or transform intercepts them."""
    return not operators.watched() and all(
        type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.device.type != "meta" for tensor in tensors
    )


def _out_of_gradient(argument: str) -> ValueError:
    return ValueError(
        f"`out` must be left out where a gradient is to pass, got `{argument}` that requires one: use what the call "
        f"returns, or call it within torch.no_grad()"
    )


def _unserved_device(argument: str, device: str) -> TypeError:
    return TypeError(
        f"`{argument}` must be on the CPU or on a CUDA device, got a tensor on {device}: pass {argument}.cpu()"
    )
