"""The backend for PyTorch tensors: the CPU and CUDA kernels, registered as PyTorch operators.

A call dispatches to one of the operators of `operators`.  So it is differentiable, and it can be mapped, traced and
compiled like PyTorch's own operators.  An eager call that nothing intercepts skips the dispatcher (`direct`).  The
kernels run on the memory of the tensors, without a copy (`memory`).
"""

from __future__ import annotations

from typing import Any

import torch

from unpool import errors
from unpool.plan import INDEX_FORMATS, Plan
from unpool.protocol import Duplicates
from unpool_backends.torch import direct, memory, operators, private
from unpool_backends.torch.arithmetic import Arithmetic

__all__ = ["BACKEND", "Torch"]


class Torch:
    """The three primitives of `unpool.protocol.Backend` on PyTorch tensors."""

    arithmetic = Arithmetic
    index_formats = INDEX_FORMATS

    def pool(self, input: Any, plan: Plan[Any], out: tuple[Any, Any] | None) -> tuple[Any, Any]:
        if out is None:
            return direct.pool(input, plan)
        memory.check(("input", input))
        first, second = ("out", "out") if out[1] is None else ("out[0]", "out[1]")
        _check_out((first, out[0]), (second, out[1]), ("input", input))
        targets = [target for target in out if target is not None]
        if private.plainly_dispatched(input, *targets):
            memory.of(input).pool(input, plan, out)
            _note_written(*targets)
        else:
            for target, result in zip(out, operators.pool(input, plan), strict=True):
                if target is not None:
                    target.copy_(result)
        return out

    def scatter(self, values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any) -> Any:
        if out is None:
            return direct.scatter(values, indices, plan, duplicates)
        memory.check((plan.values, values), ("indices", indices))
        _check_out(("out", out), (plan.values, values))
        if private.plainly_dispatched(values, indices, out):
            memory.of(values).scatter(values, indices, plan, duplicates, out)
            return _note_written(out)
        return out.copy_(operators.scatter(values, indices, plan, duplicates))

    def gather(self, grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any) -> Any:
        if out is None:
            return direct.gather(grad, indices, plan, duplicates)
        memory.check((plan.sized_by, grad), ("indices", indices))
        _check_out(("out", out), (plan.sized_by, grad))
        if private.plainly_dispatched(grad, indices, out):
            memory.of(grad).gather(grad, indices, plan, duplicates, out)
            return _note_written(out)
        return out.copy_(operators.gather(grad, indices, plan, duplicates))


BACKEND = Torch()


def _check_out(*tensors: tuple[str, Any]) -> None:
    """Refuse results that require a gradient or that kernels cannot write to; the last tensor is the one to read."""
    memory.check(*[(argument, tensor) for argument, tensor in reversed(tensors) if tensor is not None])
    for argument, tensor in tensors:
        if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
            raise _out_of_gradient(argument)
    for argument, tensor in tensors[:-1]:
        # torch.compile cannot trace `is_conj`, `is_neg` and `is_inference`.
        eager = not torch.compiler.is_dynamo_compiling() and tensor is not None
        if tensor is not None and ((eager and (tensor.is_conj() or tensor.is_neg())) or not tensor.is_contiguous()):
            raise errors.unusable_out(argument)
        if eager and tensor.is_inference() and not torch.is_inference_mode_enabled():
            raise _inference_out(argument)


def _note_written(*tensors: Any) -> Any:
    """Bump the version counter of tensors that were written without autograd; return the first."""
    for tensor in tensors:
        torch.autograd.graph.increment_version(tensor)
    return tensors[0]


def _out_of_gradient(argument: str) -> ValueError:
    return ValueError(
        f"`out` must be left out where a gradient is to pass, got `{argument}` that requires one: use what the call "
        f"returns, or call it within torch.no_grad()"
    )


def _inference_out(argument: str) -> ValueError:
    return ValueError(
        f"`out` must not be written outside torch.inference_mode() if it was made inside, got `{argument}` that was: "
        f"pass an array made outside, or call it in that mode"
    )
