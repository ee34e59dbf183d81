"""Translate the operators to ONNX without `MaxUnpool`: the steps of `portable` as nodes of a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir
import torch
from onnxscript import opset18 as op

from unpool_backends.torch import onnx, portable

# The int32 indices that a translation cast to the dtype of the program's; unpooling in the same graph takes them.
_NARROW = "unpool.int32"
_INT32 = onnx_ir.DataType.INT32


def translations() -> dict[Any, Callable[..., Any]]:
    return {
        **onnx.translations(),  # pooled values alone need nothing but MaxPool
        torch.ops.unpool.max_pool_with_indices.default: _max_pool_with_indices,
        torch.ops.unpool.max_unpool.default: _max_unpool,
    }


def _max_pool_with_indices(
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    channels_last: bool,
    index_format: str,
    index_dtype: str,
) -> Any:
    window = kernel_size, stride, padding, dilation
    onnx.check_dtype(input.dtype)
    plan = portable.pooling(_shape(input), window, ceil_mode, channels_last, index_format, index_dtype)
    values, narrow = portable.pool(_Nodes(input.dtype), input, plan)
    if index_dtype == "int32":
        return values, narrow
    indices = op.Cast(narrow, to=onnx_ir.DataType[index_dtype.upper()])
    indices.meta[_NARROW] = narrow
    return values, indices


def _max_unpool(
    input: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    size: Any,
    channels_last: bool,
    index_format: str,
    duplicates: str,
    validate: str,
    sized_by: str,
) -> Any:
    window = kernel_size, stride, padding, dilation
    plan = portable.unpooling(_shape(input), window, size, channels_last, index_format, sized_by)
    narrow = indices.meta.get(_NARROW)
    if narrow is None:
        narrow = indices if indices.dtype == _INT32 else op.Cast(indices, to=_INT32)
    return portable.unpool(_Nodes(input.dtype), input, narrow, plan, duplicates)


def _shape(array: Any) -> tuple[int | None, ...]:
    return tuple([size if isinstance(size, int) else None for size in array.shape])


class _Nodes:
    """The steps of `portable.Steps` as ONNX nodes; values have one dtype."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype

    def reshape(self, array: Any, *shape: Any) -> Any:
        return op.Reshape(array, _ints(*[-1 if size is None else size for size in shape]))

    def permute(self, array: Any, *axes: int) -> Any:
        return op.Transpose(array, perm=axes)

    def concat(self, arrays: Sequence[Any]) -> Any:
        return op.Concat(*arrays, axis=1)

    def maxima(self, planes: Any, kernel: Sequence[int], stride: Sequence[int]) -> Any:
        return op.MaxPool(planes, kernel_shape=kernel, strides=stride)[0]

    def slice(self, planes: Any, starts: Sequence[int], ends: Sequence[int], steps: Sequence[int]) -> Any:
        return op.Slice(planes, _ints(*starts), _ints(*ends), _ints(2, 3), _ints(*steps))

    def pad(self, array: Any, after: Sequence[int], lowest: bool = False) -> Any:
        value = onnx.lowest(self.dtype) if lowest else self._value(0)
        return op.Pad(array, _ints(*[0] * len(after), *after), value)

    def corners(self, counts: Sequence[int], steps: Sequence[int]) -> Any:
        down, along = (np.arange(count, dtype=np.int32) * step for count, step in zip(counts, steps, strict=True))
        return _constant(down[:, None] + along)

    def add(self, array: Any, other: Any) -> Any:
        return op.Add(array, self._value(other) if isinstance(other, int) else other)

    def subtract(self, array: Any, other: Any) -> Any:
        return op.Sub(array, other)

    def less(self, array: Any, other: Any) -> Any:
        return op.Less(array, other)

    def equal(self, indices: Any, number: int) -> Any:
        return op.Equal(indices, _int32(number))

    def where(self, condition: Any, indices: Any, number: int) -> Any:
        return op.Where(condition, _int32(indices) if isinstance(indices, int) else indices, _int32(number))

    def kept(self, condition: Any, values: Any, others: Any = None) -> Any:
        return op.Where(condition, values, self._value(0) if others is None else others)

    def _value(self, value: Any) -> Any:
        return _constant(np.array(value, self.dtype.numpy()))


def _constant(array: Any) -> Any:
    return op.Constant(value=onnx_ir.tensor(array))


def _int32(value: int) -> Any:
    return _constant(np.array(value, np.int32))


def _ints(*values: int) -> Any:
    return op.Constant(value_ints=list(values))
