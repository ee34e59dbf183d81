"""Decompose the operators into PyTorch's own, for `torch.export.ExportedProgram.run_decompositions`.

Pooled values alone are PyTorch's pooling, for every window, and values at indices are its gather.  Indices, unpooling
and its gradient are the steps of `portable`, as operators of the core ATen set.  The gradient of pooling is an
unpooling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from unpool.plan import Plan, plan_pooling
from unpool.windows import sides
from unpool_backends.torch import portable
from unpool_backends.torch.packing import unpack

_aten = torch.ops.aten


def table() -> dict[Any, Callable[..., Any]]:
    return {
        torch.ops.unpool.max_pool.default: _max_pool,
        torch.ops.unpool.max_pool_with_indices.default: _max_pool_with_indices,
        torch.ops.unpool.max_unpool.default: _max_unpool,
        torch.ops.unpool.max_unpool_backward.default: _max_unpool_backward,
    }


def _max_pool(
    input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, channels_last: bool
) -> Any:
    window = unpack(kernel_size, stride, padding, dilation)
    plan: Plan[Any] = plan_pooling(tuple(input.shape), window, ceil_mode, channels_last, None)
    rank = len(kernel_size)
    planes = input.movedim(-1, -1 - rank) if channels_last else input
    pads = []
    for axis in range(-1, -1 - rank, -1):
        before = plan.padding[axis]
        if ceil_mode or window.same:  # the last windows may end past the plane
            reach = (plan.pooled[axis] - 1) * plan.stride[axis] + plan.dilation[axis] * (plan.kernel[axis] - 1) + 1
            after = max(0, reach - before - plan.plane[axis])
        else:
            _, after = sides(window.padding[axis])
        pads += [before, after]
    if any(pads):
        planes = _aten.constant_pad_nd.default(planes, pads, _lowest(input.dtype))
    pooled = _pooled(planes, kernel_size, stride, dilation)
    return pooled.movedim(-1 - rank, -1) if channels_last else pooled


def _max_pool_with_indices(input: Any, *rest: Any) -> Any:
    *window, ceil_mode, channels_last, index_format, index_dtype = rest
    plan = portable.pooling(input.shape, window, ceil_mode, channels_last, index_format, index_dtype)
    values, indices = portable.pool(_Tensors(input), input, plan)
    return values, indices.to(getattr(torch, index_dtype))


def _max_unpool(input: Any, indices: Any, *rest: Any) -> Any:
    *window, size, channels_last, index_format, duplicates, _, sized_by = rest
    plan = portable.unpooling(input.shape, window, size, channels_last, index_format, sized_by)
    return portable.unpool(_Tensors(input), input, indices.to(torch.int32), plan, duplicates)


def _max_unpool_backward(grad_output: Any, indices: Any, *rest: Any) -> Any:
    *window, channels_last, index_format, duplicates, _, sized_by = rest
    if unpack(*window).missing and duplicates == "sum":
        return _take(grad_output, indices, len(window[0]), channels_last)
    named = channels_last, index_format, sized_by
    plan = portable.unpooling(indices.shape, window, grad_output.shape, *named)
    return portable.take(_Tensors(grad_output), grad_output, indices.to(torch.int32), plan)


def _take(planes: Any, indices: Any, rank: int, channels_last: bool) -> Any:
    """Return the value at each position of its plane."""
    if channels_last:
        planes, indices = planes.movedim(-1, -1 - rank), indices.movedim(-1, -1 - rank)
    values = _aten.gather.default(planes.flatten(-rank), -1, indices.flatten(-rank).to(torch.int64))
    values = values.reshape(indices.shape)
    return values.movedim(-1 - rank, -1) if channels_last else values


def _pooled(planes: Any, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Any:
    """Return the maximum of each window, without padding."""
    if len(kernel) == 1:
        return _pooled(planes.unsqueeze(-2), (1, *kernel), (1, *stride), (1, *dilation)).squeeze(-2)
    pool = _aten.max_pool2d_with_indices if len(kernel) == 2 else _aten.max_pool3d_with_indices
    return pool.default(planes, kernel, stride, [0] * len(kernel), dilation)[0]


def _lowest(dtype: Any) -> float:
    return -math.inf if dtype.is_floating_point else int(torch.iinfo(dtype).min)


class _Tensors:
    """The steps of `portable.Steps` as PyTorch's operators."""

    def __init__(self, input: Any) -> None:
        self.dtype, self.device = input.dtype, input.device

    def reshape(self, array: Any, *shape: Any) -> Any:
        return array.reshape(shape)

    def permute(self, array: Any, *axes: int) -> Any:
        return array.permute(axes)

    def slice(self, planes: Any, starts: Sequence[int], ends: Sequence[int], steps: Sequence[int]) -> Any:
        for axis, (start, end, step) in enumerate(zip(starts, ends, steps, strict=True), 2):
            planes = _aten.slice.Tensor(planes, axis, start, end, step)
        return planes

    def pad(self, array: Any, after: Sequence[int], lowest: bool = False) -> Any:
        sides = [side for end in reversed(after) for side in (0, end)]
        return _aten.constant_pad_nd.default(array, sides, _lowest(self.dtype) if lowest else 0)

    def concat(self, arrays: Sequence[Any]) -> Any:
        return torch.cat(list(arrays), 1)

    def maxima(self, planes: Any, kernel: Sequence[int], stride: Sequence[int]) -> Any:
        return _pooled(planes, kernel, stride, (1, 1))

    def corners(self, counts: Sequence[int], steps: Sequence[int]) -> Any:
        down, along = (
            torch.arange(0, count * step, step, dtype=torch.int32, device=self.device)
            for count, step in zip(counts, steps, strict=True)
        )
        return down[:, None] + along

    def add(self, array: Any, other: Any) -> Any:
        return array + other

    def subtract(self, array: Any, other: Any) -> Any:
        return array - other

    def less(self, array: Any, other: Any) -> Any:
        return array < other

    def equal(self, indices: Any, number: int) -> Any:
        return indices == number

    def where(self, condition: Any, indices: Any, number: int) -> Any:
        return torch.where(condition, self._int32(indices), self._int32(number))

    def kept(self, condition: Any, values: Any, others: Any = None) -> Any:
        others = torch.zeros((), dtype=self.dtype, device=self.device) if others is None else others
        return torch.where(condition, values, others)

    def _int32(self, value: Any) -> Any:
        return torch.full((), value, dtype=torch.int32, device=self.device) if isinstance(value, int) else value
