"""The operators ``torch.ops.unpool.*``, to which calls dispatch in eager and in traced programs.

The arguments of an operator contain its whole Plan, since a graph stores nothing else.  The kernels make the Plan
again.  Each operator has these registrations:

    CPU, CUDA       the kernels
    fake tensors    the shapes of results, for tracing
    autograd        its derivatives in reverse and forward mode; they call operators, so every order works
    torch.vmap      a rule that folds the mapped axis into the batch

Tensors in PyTorch's memory format `channels_last` are not copied, and their results are channels_last too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from unpool.lending import Lender
from unpool.plan import IndexFormat, Plan, Validate, plan_pooling, plan_unpooling, values_sized_by
from unpool.protocol import Duplicates
from unpool.sizes import product, spatial_axes
from unpool.windows import LARGEST, Window
from unpool_backends.torch import memory, private
from unpool_backends.torch.onnx_warning import warned
from unpool_backends.torch.packing import pack, unpack

_WINDOW = "int[] kernel_size, int[] stride, int[] padding, int[] dilation"
_POOLING = f"Tensor input, {_WINDOW}, bool ceil_mode, bool channels_last"
_MOVING = "bool channels_last, str index_format, str duplicates, str validate, str sized_by"
_SCHEMAS = (
    f"max_pool({_POOLING}) -> Tensor",
    f"max_pool_with_indices({_POOLING}, str index_format, str index_dtype) -> (Tensor, Tensor)",
    f"max_unpool(Tensor input, Tensor indices, {_WINDOW}, SymInt[] size, {_MOVING}) -> Tensor",
    f"max_unpool_backward(Tensor grad_output, Tensor indices, {_WINDOW}, {_MOVING}) -> Tensor",
)
# `Plan.validate` as a string, since an operator's argument has one type.
_WORD_OF = {True: "plane", False: "none", "windows": "windows"}
_VALIDATE_OF: dict[str, Validate] = {"plane": True, "none": False, "windows": "windows"}
_TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.needs_exact_strides)


# --- calls ------------------------------------------------------------------------------------------------------------


def pool(input: Any, plan: Plan[Any]) -> tuple[Any, Any]:
    memory.check(("input", input))
    rest = *pack(plan.window), plan.ceil_mode, plan.channels_last
    if plan.index_dtype is None:
        return _OPERATORS["max_pool"](input, *rest), None
    values, indices = _OPERATORS["max_pool_with_indices"](input, *rest, plan.index_format, plan.index_dtype)
    return values, indices


def scatter(values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
    memory.check((plan.values, values), ("indices", indices))
    how = plan.channels_last, plan.index_format, duplicates, _WORD_OF[plan.validate], plan.sized_by
    return _OPERATORS["max_unpool"](values, indices, *pack(plan.window), list(plan.spatial), *how)


def gather(grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates) -> Any:
    memory.check((plan.sized_by, grad), ("indices", indices))
    how = plan.channels_last, plan.index_format, duplicates, _WORD_OF[plan.validate], plan.sized_by
    return _OPERATORS["max_unpool_backward"](grad, indices, *pack(plan.window), *how)


# --- kernels ----------------------------------------------------------------------------------------------------------


def _kernels(run: Lender | memory.Shapes) -> dict[str, Callable[..., Any]]:
    """Return the kernels of the operators, by name."""
    quiet = memory.QUIET[run] if isinstance(run, Lender) else run

    def max_pool(input: Any, *rest: Any) -> Any:
        return pooled(input, *rest, "plane", None)[0]

    def pooled(input: Any, *rest: Any) -> tuple[Any, Any]:
        *window, ceil_mode, channels_last, index_format, index_dtype = rest

        def compute(run: Any, channels_last: bool, cells: Any) -> tuple[Any, Any]:
            wanted = tuple(cells.shape), unpack(*window), ceil_mode, channels_last, index_dtype, index_format
            found: tuple[Any, Any] = run.pool(cells, plan_pooling(*wanted))
            return found

        found: tuple[Any, Any] = _in_memory_order(compute, run, quiet, channels_last, len(window[0]), input)
        return found

    def max_unpool(input: Any, indices: Any, *rest: Any) -> Any:
        *window, size, channels_last, index_format, duplicates, validate, sized_by = rest

        def compute(run: Any, channels_last: bool, values: Any, indices: Any) -> Any:
            wanted = tuple(values.shape), unpack(*window), tuple(size), channels_last, _VALIDATE_OF[validate]
            plan = plan_unpooling(*wanted, values_sized_by(sized_by), sized_by, index_format)
            return run.scatter(values, indices, plan, duplicates)

        return _in_memory_order(compute, run, quiet, channels_last, len(size), input, indices)

    def max_unpool_backward(grad_output: Any, indices: Any, *rest: Any) -> Any:
        *window, channels_last, index_format, duplicates, validate, sized_by = rest

        def compute(run: Any, channels_last: bool, planes: Any, indices: Any) -> Any:
            wanted = tuple(indices.shape), unpack(*window), tuple(planes.shape), channels_last, _VALIDATE_OF[validate]
            plan = plan_unpooling(*wanted, "indices", sized_by, index_format)
            return run.gather(planes, indices, plan, duplicates)

        return _in_memory_order(compute, run, quiet, channels_last, len(window[0]), grad_output, indices)

    return {
        "max_pool": max_pool,
        "max_pool_with_indices": pooled,
        "max_unpool": max_unpool,
        "max_unpool_backward": max_unpool_backward,
    }


def _in_memory_order(
    compute: Callable[..., Any], run: Any, quiet: Any, channels_last: bool, rank: int, *tensors: Any
) -> Any:
    """Compute without copying tensors that are channels_last in memory; results are channels_last too."""
    if channels_last or not _lies_last(tensors[0], rank):
        return compute(run, channels_last, *tensors)
    try:
        results = compute(quiet, True, *[tensor.movedim(1, -1) for tensor in tensors])
    except ValueError:  # the plan refuses the sizes
        results = None
    if results is None:  # once more, for an error with sizes and positions in the user's order
        return compute(run, False, *tensors)
    if isinstance(results, tuple):
        return tuple(None if result is None else result.movedim(-1, 1) for result in results)
    return results.movedim(-1, 1)


def is_channels_last(tensor: Any, plan: Plan[Any]) -> bool:
    """Return True if a tensor in channels-first order is channels_last in memory, and so is its result."""
    return not plan.channels_last and _lies_last(tensor, len(plan.spatial))


def _lies_last(tensor: Any, rank: int) -> bool:
    """Return True if a tensor, or the whole that it is sliced from, is channels_last in memory and not contiguous."""
    if tensor.is_contiguous() or rank == 1 or tensor.dim() != rank + 2:
        return False
    inwards = [(tensor.shape[axis], tensor.stride(axis)) for axis in (0, *range(2, tensor.dim()), 1)]
    strides = [stride for size, stride in inwards if size != 1]
    return bool(tensor.stride(1) == 1) and all(a >= b for a, b in pairwise(strides))


# --- derivatives ------------------------------------------------------------------------------------------------------


class _Caller(NamedTuple):
    """The dispatch keys of a call, and its modes of recording, which a `Function` turns off for all levels."""

    keyset: Any
    reverse: bool
    forward: bool

    @contextmanager
    def recording(self) -> Iterator[None]:
        with torch.set_grad_enabled(self.reverse), private.set_forward_mode_enabled(self.forward):
            yield

    def below(self, name: str, *arguments: Any) -> Any:
        """Call the operator at the dispatch keys below autograd."""
        if not private.transformed():  # no other level records
            return _below(self.keyset, name, *arguments)
        with self.recording():
            return _below(self.keyset, name, *arguments)


def _below(keyset: Any, name: str, *arguments: Any) -> Any:
    with private.BelowAutograd():
        return private.redispatch(_OPERATORS[name], keyset & private.after_autograd, *arguments)


# `torch.library.register_autograd` has no forward mode, and a plain `Function` takes all levels of `torch.func` at
# once.  The dispatcher calls a single-level function once per level.
class _Derivative(private.SingleLevelFunction or torch.autograd.Function):  # type: ignore[misc]
    """The base of the three derivatives, with the key of `torch.autograd.Function` for compiled autograd."""

    _compiled_autograd_key = staticmethod(private.compiled_autograd_key)


class _Pool(_Derivative):
    """The derivative of pooling: it gathers tangents from the cells of the maxima, and scatters gradients to them."""

    @staticmethod
    def forward(ctx: Any, caller: _Caller, input: Any, *rest: Any) -> Any:
        ctx.caller = caller
        results = caller.below("max_pool_with_indices", input, *rest)
        _Pool.keep(ctx, results, input, *rest)
        return results

    @staticmethod
    def keep(ctx: Any, results: Any, input: Any, *rest: Any) -> None:
        _, indices = results
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)
        ctx.mark_non_differentiable(indices)
        ctx.set_materialize_grads(False)  # a gradient of zeros for the indices takes longer than all else
        *ctx.window, _, ctx.channels_last, ctx.index_format, _ = rest
        ctx.size = input.shape[spatial_axes(input.dim(), len(rest[0]), ctx.channels_last)]

    @staticmethod
    def backward(ctx: Any, grad: Any, _: Any) -> Any:
        if grad is None:
            return (None,) * 10
        rest = *ctx.window, list(ctx.size), ctx.channels_last, ctx.index_format, "sum", "none", "input_size"
        # One entry per argument of `forward`; only `input` has a gradient.
        return None, _OPERATORS["max_unpool"](grad, *ctx.saved_tensors, *rest), *[None] * 8

    @staticmethod
    def jvp(ctx: Any, _: Any, tangent: Any, *__: Any) -> Any:
        rest = *ctx.window, ctx.channels_last, ctx.index_format, "sum", "none", "grad_output"
        with ctx.caller.recording():
            return _OPERATORS["max_unpool_backward"](tangent, *ctx.saved_tensors, *rest), None


class _Unpool(_Derivative):
    """The derivative of scattering, which is linear in the values; its adjoint gathers."""

    @staticmethod
    def forward(ctx: Any, caller: _Caller, input: Any, indices: Any, *rest: Any) -> Any:
        ctx.caller = caller
        result = caller.below("max_unpool", input, indices, *rest)
        _Unpool.keep(ctx, result, input, indices, *rest)
        return result

    @staticmethod
    def keep(ctx: Any, _: Any, __: Any, indices: Any, *rest: Any) -> None:
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)
        ctx.rest = rest

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        *window, _, channels_last, index_format, duplicates, validate, _ = ctx.rest
        rest = *window, channels_last, index_format, duplicates, validate, "grad_output"
        return None, _OPERATORS["max_unpool_backward"](grad, *ctx.saved_tensors, *rest), *[None] * 11

    @staticmethod
    def jvp(ctx: Any, _: Any, tangent: Any, *__: Any) -> Any:
        with ctx.caller.recording():
            return _OPERATORS["max_unpool"](tangent, *ctx.saved_tensors, *ctx.rest)


class _Take(_Derivative):
    """The derivative of gathering, which is linear in the planes; its adjoint scatters."""

    @staticmethod
    def forward(ctx: Any, caller: _Caller, grad_output: Any, indices: Any, *rest: Any) -> Any:
        ctx.caller = caller
        result = caller.below("max_unpool_backward", grad_output, indices, *rest)
        _Take.keep(ctx, result, grad_output, indices, *rest)
        return result

    @staticmethod
    def keep(ctx: Any, _: Any, grad_output: Any, indices: Any, *rest: Any) -> None:
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)
        ctx.rest = rest
        ctx.size = grad_output.shape[spatial_axes(grad_output.dim(), len(rest[0]), rest[4])]

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        *window, channels_last, index_format, duplicates, validate, _ = ctx.rest
        rest = *window, list(ctx.size), channels_last, index_format, duplicates, validate, "output_size"
        return None, _OPERATORS["max_unpool"](grad, *ctx.saved_tensors, *rest), *[None] * 10

    @staticmethod
    def jvp(ctx: Any, _: Any, tangent: Any, *__: Any) -> Any:
        with ctx.caller.recording():
            return _OPERATORS["max_unpool_backward"](tangent, *ctx.saved_tensors, *ctx.rest)


def _differentiable(name: str, function: Any) -> Callable[..., Any]:
    def call(keyset: Any, *arguments: Any) -> Any:
        if not _differentiated(arguments[0]):
            return _below(keyset, name, *arguments)
        caller = _Caller(keyset, torch.is_grad_enabled(), private.is_forward_mode_enabled())
        with private.enable_single_level_function():
            return function.apply(caller, *arguments)

    return call


def _register_publicly(name: str, function: Any) -> None:
    """Register the formulas of reverse mode alone, by the public API."""

    def keep(ctx: Any, inputs: Any, output: Any) -> None:
        function.keep(ctx, output, *inputs)

    def backward(ctx: Any, *grads: Any) -> Any:
        return function.backward(ctx, *grads)[1:]  # the first gradient is that of `_Caller`

    torch.library.register_autograd(f"unpool::{name}", backward, setup_context=keep, lib=_LIBRARY)


def _pooled_values(keyset: Any, input: Any, *rest: Any) -> Any:
    """Return pooled values.  Compute the indices too while derivatives are recorded, which need them."""
    if private.OWN_DERIVATIVES and not _differentiated(input):
        return _below(keyset, "max_pool", input, *rest)
    *window, _, channels_last = rest
    sizes = input.shape[spatial_axes(input.dim(), len(window[0]), channels_last)]
    cells = product([size if type(size) is int else None for size in sizes])
    return _OPERATORS["max_pool_with_indices"](input, *rest, *kept_indices(unpack(*window), cells))[0]


def kept_indices(window: Window, cells: int | None) -> tuple[IndexFormat, str]:
    """Return the format and the dtype of the indices that a derivative keeps, for planes of so many cells.

    Taps that are bytes take the least memory.  Kernels convert larger taps, so larger windows keep positions.
    """
    if product(window.kernel) <= 2**8:
        return "window", "uint8"
    return "plane", "int64" if cells is None or cells > LARGEST else "int32"


def _differentiated(tensor: Any) -> bool:
    return (torch.is_grad_enabled() and tensor.requires_grad) or private.transformed()


# --- torch.vmap -------------------------------------------------------------------------------------------------------


def _mapped(name: str, tensors: int) -> Callable[..., Any]:
    """Return a rule for `torch.vmap`: fold the mapped axis into the batch, or use it as the batch if there is none."""

    def call(info: Any, in_dims: Any, *arguments: Any) -> Any:
        given, rest = arguments[:tensors], arguments[tensors:]
        size = info.batch_size
        moved = [
            tensor.expand(size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
            for tensor, axis in zip(given, in_dims, strict=False)
        ]
        batched = moved[0].dim() == len(rest[0]) + 3
        folded = [tensor.flatten(0, 1) if batched else tensor for tensor in moved]
        results = _OPERATORS[name](*folded, *rest)
        shape = moved[0].shape[:2]
        if not isinstance(results, tuple):
            return (results.unflatten(0, shape) if batched else results), 0
        return tuple(result.unflatten(0, shape) if batched else result for result in results), (0,) * len(results)

    return call


# --- registered -------------------------------------------------------------------------------------------------------

_LIBRARY = torch.library.Library("unpool", "DEF")
_DERIVATIVES = {"max_pool_with_indices": _Pool, "max_unpool": _Unpool, "max_unpool_backward": _Take}
for _schema in _SCHEMAS:
    _LIBRARY.define(_schema, tags=_TAGS)
_OPERATORS = {
    name: private.without_tangents(getattr(torch.ops.unpool, name).default) for name in ("max_pool", *_DERIVATIVES)
}
for _name, _kernel in _kernels(memory.CPU).items():
    _LIBRARY.impl(_name, _kernel, "CPU")
for _name, _kernel in _kernels(memory.CUDA).items():
    _LIBRARY.impl(_name, _kernel, "CUDA")
for _name, _kernel in _kernels(memory.SHAPES).items():
    torch.library.register_fake(f"unpool::{_name}", warned(_kernel), lib=_LIBRARY)
    torch.library.register_vmap(f"unpool::{_name}", _mapped(_name, 2 if "unpool" in _name else 1), lib=_LIBRARY)
_LIBRARY.impl("max_pool", _pooled_values, "Autograd", with_keyset=True)
for _name, _function in _DERIVATIVES.items():
    if private.OWN_DERIVATIVES:
        _LIBRARY.impl(_name, _differentiable(_name, _function), "Autograd", with_keyset=True)
    else:
        _register_publicly(_name, _function)
