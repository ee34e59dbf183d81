"""Translate the operators to ONNX, for `torch.onnx.export(..., dynamo=True)`.

An ONNX index counts through all planes: it is unpool's index plus the cells of the planes before.  Taps of windows are
converted in the graph, by the rules of `unpool.taps`.  ONNX's `MaxUnpool` takes floats only, and leaves repeated
indices undefined; ONNX Runtime writes them in their order.  Sums and other dtypes use `ScatterElements`.  An exported
program does not check for bad indices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir
import torch
from onnxscript import opset18 as op

from unpool.taps import cells_of, taps_of
from unpool.windows import SAME, Window, padding_before

_FLOATS = (onnx_ir.DataType.FLOAT16, onnx_ir.DataType.FLOAT, onnx_ir.DataType.DOUBLE)


def translations() -> dict[Any, Callable[..., Any]]:
    return {
        torch.ops.unpool.max_pool.default: _max_pool,
        torch.ops.unpool.max_pool_with_indices.default: _max_pool_with_indices,
        torch.ops.unpool.max_unpool.default: _max_unpool,
        torch.ops.unpool.max_unpool_backward.default: _take,
    }


def _max_pool(
    input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, channels_last: bool
) -> Any:
    window = kernel_size, stride, padding, dilation
    return _max_pool_with_indices(input, *window, ceil_mode, channels_last, "plane", "int64")[0]


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
    layout = _Layout(input, len(kernel_size), channels_last)
    cells = layout.first(input)
    values, flat = op.MaxPool(
        cells,
        kernel_shape=kernel_size,
        strides=stride,
        dilations=dilation,
        ceil_mode=int(ceil_mode and SAME not in padding),
        **_pads(padding),
    )
    plane = op.Shape(cells, start=2)
    indices = op.Mod(flat, op.ReduceProd(plane, keepdims=0))
    if index_format == "window":
        window = Window(kernel_size, stride, padding, dilation)
        indices = taps_of(_Integers(indices), *_sides(plane, values, window), window)[0].value
    if index_dtype != "int64":
        indices = op.Cast(indices, to=onnx_ir.DataType[index_dtype.upper()])
    return layout.back(values), layout.back(indices)


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
    layout = _Layout(input, len(kernel_size), channels_last)
    values, indices = layout.first(input), op.Cast(layout.first(indices), to=onnx_ir.DataType.INT64)
    leading = op.Shape(values, start=0, end=2)
    parts = [op.Constant(value_ints=[n]) if isinstance(n, int) else op.Reshape(n, _ints(1)) for n in size]
    plane = op.Concat(*parts, axis=0)
    if index_format == "window":
        geometry = Window(kernel_size, stride, padding, dilation)
        indices = cells_of(_Integers(indices), *_sides(plane, values, geometry), geometry)[0].value
    shape, cells = op.Concat(leading, plane, axis=0), op.ReduceProd(plane, keepdims=0)
    numbers = op.Range(_int(0), op.ReduceProd(leading, keepdims=0), _int(1))
    before = op.Reshape(op.Mul(numbers, cells), op.Concat(leading, _ints(*[1] * len(size)), axis=0))
    flat = op.Add(indices, before)
    if duplicates != "sum" and input.dtype in _FLOATS:
        window = {"kernel_shape": kernel_size, "strides": stride, **_pads(padding)}
        if SAME in padding or not _reaches(values, kernel_size, stride, padding, size):
            # The shape alone fixes the result.  ONNX Runtime refuses one that is smaller than the windows imply.
            ones = [1] * len(size)
            window = {"kernel_shape": ones, "strides": ones}
        return layout.back(op.MaxUnpool(values, flat, shape, **window))
    zeros = op.Expand(op.CastLike(_int(0), values), op.ReduceProd(shape, keepdims=1))
    reduction = "add" if duplicates == "sum" else "none"
    planes = op.ScatterElements(zeros, op.Reshape(flat, _ints(-1)), op.Reshape(values, _ints(-1)), reduction=reduction)
    return layout.back(op.Reshape(planes, shape))


def _take(
    planes: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    channels_last: bool,
    index_format: str,
    duplicates: str,
    validate: str,
    sized_by: str,
) -> Any:
    if index_format != "plane" or duplicates != "sum":
        raise _gradient(index_format, duplicates)
    layout = _Layout(planes, len(kernel_size), channels_last)
    wanted = op.Cast(layout.first(indices), to=onnx_ir.DataType.INT64)
    rows = [op.Reshape(array, _ints(0, 0, -1)) for array in (layout.first(planes), wanted)]
    return layout.back(op.Reshape(op.GatherElements(*rows, axis=2), op.Shape(wanted)))


def _pads(padding: Any) -> dict[str, Any]:
    return {"auto_pad": "SAME_UPPER"} if SAME in padding else {"pads": [*padding, *padding]}


def _reaches(values: Any, kernel_size: Any, stride: Any, padding: Any, size: Any) -> bool:
    """Return True if planes are known to be at least as large as their windows imply."""
    pooled = None if values.shape is None else list(values.shape)[2:]
    if pooled is None or not all(isinstance(n, int) for n in (*pooled, *size)):
        return False
    along = zip(pooled, kernel_size, stride, padding, size, strict=True)
    return all((count - 1) * s + k - 2 * p <= n for count, k, s, p, n in along)


def _operator(name: str) -> Callable[[_Integers, Any], _Integers]:
    """Return an operator of `_Integers` that adds an ONNX node of this name to the graph."""
    node = getattr(op, name)
    return lambda one, other: _Integers(node(one.value, _int(other) if isinstance(other, int) else other.value))


class _Integers:
    """Integers of a graph with Python's operators; `//` and `%` round down."""

    def __init__(self, value: Any) -> None:
        self.value = value

    __add__ = __radd__ = _operator("Add")
    __mul__ = __rmul__ = _operator("Mul")
    __sub__ = _operator("Sub")
    __mod__ = _operator("Mod")
    __lt__ = _operator("Less")
    __ge__ = _operator("GreaterOrEqual")
    __and__ = _operator("And")
    __truediv__ = _operator("Div")  # rounds to zero

    def __floordiv__(self, other: Any) -> _Integers:
        quotient: _Integers = (self - self % other) / other
        return quotient


def _sides(plane: Any, values: Any, window: Window) -> tuple[list[_Integers], list[_Integers]]:
    """Return the sizes of a plane, and the first cell of each window along each axis, in a shape that broadcasts."""
    rank = len(window.kernel)
    sizes = [_Integers(op.Gather(plane, _int(axis))) for axis in range(rank)]
    corners = []
    for axis, size in enumerate(sizes):
        along = window.along(axis)
        windows = op.Gather(op.Shape(values), _int(axis + 2))
        places = op.Reshape(op.Range(_int(0), windows, _int(1)), _ints(-1, *[1] * (rank - axis - 1)))
        corners.append(_Integers(places) * along[1] - padding_before(size, _Integers(windows), *along))
    return sizes, corners


class _Layout:
    """The conversion of arrays to ONNX's layout, batched and channels first, and of results back."""

    def __init__(self, input: Any, rank: int, channels_last: bool) -> None:
        self.batched = len(input.shape) == rank + 2
        spatial = range(2, rank + 2)
        self.there = [0, rank + 1, *range(1, rank + 1)] if channels_last else None
        self.home = [0, *spatial, 1]

    def first(self, array: Any) -> Any:
        array = array if self.batched else op.Unsqueeze(array, _ints(0))
        return array if self.there is None else op.Transpose(array, perm=self.there)

    def back(self, array: Any) -> Any:
        array = array if self.there is None else op.Transpose(array, perm=self.home)
        return array if self.batched else op.Squeeze(array, _ints(0))


def _int(value: int) -> Any:
    return op.Constant(value_int=value)


def _ints(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


# --- messages ---------------------------------------------------------------------------------------------------------


def _gradient(index_format: str, duplicates: str) -> ValueError:
    return ValueError(
        f"`custom_translation_table` has `take_along_plane`, but no gradient of unpooling, got one with "
        f"index_format={index_format!r} and duplicates={duplicates!r}: export the model without its gradient"
    )
