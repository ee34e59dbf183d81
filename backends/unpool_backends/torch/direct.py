"""Eager calls without PyTorch's dispatcher, which takes two thirds of a small call's time.

An operator enters Python twice: for its derivative, and for its kernel.  A call skips the dispatcher where that would
do nothing else (`private.plainly_dispatched`).  Then it runs the CPU kernels on the memory of the tensors, and a plain
`torch.autograd.Function` records its derivative.  Results and errors are those of the operators.  Operators serve all
other calls:

    tracers, modes, torch.func, forward AD, profilers   intercept or report operators
    subclasses, conjugate views, meta tensors, ...      have rules of their own in the dispatcher
    CUDA tensors                                        the short way was not run on a GPU
    tensors that are channels_last in memory            the operators keep that order

A derivative calls `pool`, `scatter` or `gather` of this module.  So every order works, and each order chooses its path
anew.
"""

from __future__ import annotations

from typing import Any

import torch

from unpool.plan import Plan, Validate, plan_pooling, plan_unpooling
from unpool.protocol import Duplicates
from unpool.tracing import remembered
from unpool_backends import cpu
from unpool_backends.torch import operators, private
from unpool_backends.torch.memory import plain_array_of, tensor_of

# --- calls ------------------------------------------------------------------------------------------------------------


def pool(input: Any, plan: Plan[Any]) -> tuple[Any, Any]:
    if not _is_direct(plan, input):
        return operators.pool(input, plan)
    if not _is_recorded(input):
        return _pool(input, plan)
    if plan.index_dtype is None:
        return _record_pool(input, _with_indices(plan))[0], None
    values, indices = _record_pool(input, plan)
    return values, indices


def scatter(values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
    if not _is_direct(plan, values, indices):
        return operators.scatter(values, indices, plan, duplicates)
    call = _record_scatter if _is_recorded(values) else _scatter
    return call(values, indices, plan, duplicates)


def gather(grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
    if not _is_direct(plan, grad, indices):
        return operators.gather(grad, indices, plan, duplicates)
    call = _record_gather if _is_recorded(grad) else _gather
    return call(grad, indices, plan, duplicates)


def _is_direct(plan: Plan[Any], *tensors: Any) -> bool:
    plain: bool = private.plainly_dispatched(*tensors) and tensors[0].is_cpu
    return plain and not operators.is_channels_last(tensors[0], plan)


def _is_recorded(tensor: Any) -> bool:
    return tensor.requires_grad and torch.is_grad_enabled() and private.is_autograd_included()


# --- kernels ----------------------------------------------------------------------------------------------------------

# The same as `memory.CPU`, whose context manager and optional `out` take another 2 us.


def _pool(input: Any, plan: Plan[Any]) -> tuple[Any, Any]:
    values, indices = cpu.BACKEND.pool(plain_array_of(input), plan, None)
    return tensor_of(values), None if indices is None else tensor_of(indices)


def _scatter(values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
    return tensor_of(cpu.BACKEND.scatter(plain_array_of(values), plain_array_of(indices), plan, duplicates, None))


def _gather(grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
    return tensor_of(cpu.BACKEND.gather(plain_array_of(grad), plain_array_of(indices), plan, duplicates, None))


# --- derivatives ------------------------------------------------------------------------------------------------------


class _Pool(torch.autograd.Function):  # type: ignore[misc]
    """Pooling; its gradient is scattered to the cells of the maxima."""

    @staticmethod
    def forward(ctx: Any, input: Any, plan: Plan[Any]) -> Any:
        values, indices = _pool(input, plan)
        ctx.save_for_backward(indices)
        ctx.mark_non_differentiable(indices)
        ctx.set_materialize_grads(False)  # a gradient of zeros for the indices takes longer than all else
        ctx.plan = plan
        return values, indices

    @staticmethod
    def backward(ctx: Any, grad: Any, _: Any) -> Any:
        if grad is None:
            return None, None
        (indices,) = ctx.saved_tensors
        plan = _moving(ctx.plan, False, "grad_output", "input_size")
        return scatter(grad, indices, plan, "sum"), None


class _Unpool(torch.autograd.Function):  # type: ignore[misc]
    """Scattering, which is linear in the values; its adjoint gathers."""

    @staticmethod
    def forward(ctx: Any, values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
        ctx.save_for_backward(indices)
        ctx.how = plan, duplicates
        return _scatter(values, indices, plan, duplicates)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (indices,) = ctx.saved_tensors
        plan, duplicates = ctx.how
        plan = _moving(plan, plan.validate, "indices", "grad_output")
        return gather(grad, indices, plan, duplicates), None, None, None


class _Take(torch.autograd.Function):  # type: ignore[misc]
    """Gathering, which is linear in the planes; its adjoint scatters."""

    @staticmethod
    def forward(ctx: Any, grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
        ctx.save_for_backward(indices)
        ctx.how = plan, duplicates
        return _gather(grad, indices, plan, duplicates)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (indices,) = ctx.saved_tensors
        plan, duplicates = ctx.how
        plan = _moving(plan, plan.validate, "input", "output_size")
        return scatter(grad, indices, plan, duplicates), None, None, None


_record_pool, _record_scatter, _record_gather = map(private.apply_of, (_Pool, _Unpool, _Take))


@remembered(maxsize=1024)
def _with_indices(plan: Plan[Any]) -> Plan[Any]:
    """Return the Plan of a pooling that also returns the indices that its derivative keeps."""
    index_format, index_dtype = operators.kept_indices(plan.window, plan.cells)
    shape, window = plan.plane_shape, plan.window
    return plan_pooling(shape, window, plan.ceil_mode, plan.channels_last, index_dtype, index_format)


@remembered(maxsize=1024)
def _moving(plan: Plan[Any], validate: Validate, argument: str, sized_by: str) -> Plan[Any]:
    """Return the Plan of a derivative, which moves values between the same two shapes."""
    shapes = plan.pooled_shape, plan.window, plan.plane_shape
    return plan_unpooling(*shapes, plan.channels_last, validate, argument, sized_by, plan.index_format)
