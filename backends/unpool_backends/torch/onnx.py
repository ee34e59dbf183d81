"""Translate the operators to ONNX, for `torch.onnx.export(..., dynamo=True)`.

An ONNX index counts through all planes: it is unpool's index plus the cells of the planes before.  Taps of windows are
converted in the graph, by the rules of `unpool.taps`.  ONNX's `MaxUnpool` takes floats only, and leaves repeated
indices undefined; ONNX Runtime writes them in their order.  Sums, other dtypes and calls without a window use
`ScatterElements`.  An exported program does not check for bad indices.

`MaxPool` pads the planes, except where ONNX Runtime pads otherwise than ONNX says, or refuses to: there a node `Pad`
comes first (`_attributes`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir
import torch
from onnxscript import opset18 as op

from unpool.taps import cells_of, taps_of
from unpool.windows import SAME, SAME_LOWER, Window, default_size, padding_before, sides
from unpool_backends.torch.packing import unpack

_FLOATS = (onnx_ir.DataType.FLOAT16, onnx_ir.DataType.FLOAT, onnx_ir.DataType.DOUBLE)
_POOLED = (*_FLOATS, onnx_ir.DataType.BFLOAT16, onnx_ir.DataType.INT8, onnx_ir.DataType.UINT8)  # by ONNX's MaxPool
_AUTO_PADS: dict[Any, str] = {SAME: "SAME_UPPER", SAME_LOWER: "SAME_LOWER"}


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
    check_dtype(input.dtype)
    layout = _Layout(input, len(kernel_size), channels_last)
    cells, window = layout.first(input), unpack(kernel_size, stride, padding, dilation)
    plane, attributes = op.Shape(cells, start=2), _attributes(window, ceil_mode)
    if attributes is None:
        values, taps = _pool_padded(cells, lowest(input.dtype), plane, window, ceil_mode)
        found = taps if index_format == "window" else cells_of(taps, *_sides(plane, values, window), window)[0]
    else:
        values, flat = op.MaxPool(cells, dilations=dilation, **attributes)
        found = _Integers(flat) % _Integers(op.ReduceProd(plane, keepdims=0))
        if index_format == "window":
            found = taps_of(found, *_sides(plane, values, window), window)[0]
    indices = found.value
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
    layout, window = _Layout(input, len(kernel_size), channels_last), unpack(kernel_size, stride, padding, dilation)
    values, indices = layout.first(input), op.Cast(layout.first(indices), to=onnx_ir.DataType.INT64)
    leading = op.Shape(values, start=0, end=2)
    parts = [op.Constant(value_ints=[n]) if isinstance(n, int) else op.Reshape(n, _ints(1)) for n in size]
    plane = op.Concat(*parts, axis=0)
    if index_format == "window":
        indices = cells_of(_Integers(indices), *_sides(plane, values, window), window)[0].value
    shape, cells = op.Concat(leading, plane, axis=0), op.ReduceProd(plane, keepdims=0)
    numbers = op.Range(_int(0), op.ReduceProd(leading, keepdims=0), _int(1))
    before = op.Reshape(op.Mul(numbers, cells), op.Concat(leading, _ints(*[1] * len(size)), axis=0))
    flat = op.Add(indices, before)
    attributes = _unpool_attributes(values, window, size)
    if duplicates != "sum" and input.dtype in _FLOATS and attributes is not None:
        return layout.back(op.MaxUnpool(values, flat, shape, **attributes))
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


def _attributes(window: Window, ceil_mode: bool = False) -> dict[str, Any] | None:
    """Return kernel, stride and padding as ONNX's attributes; None if ONNX Runtime does not pad as they say."""
    named: dict[str, Any] = {"kernel_shape": window.kernel, "strides": window.stride}
    if window.same:
        # ONNX Runtime leaves out the dilation, and crops planes where windows are smaller than their stride.
        right = max(window.dilation) == 1 and all(k >= s for k, s in zip(window.kernel, window.stride, strict=True))
        return named | {"auto_pad": _AUTO_PADS[window.padding[0]]} if right else None
    befores, afters = zip(*_pads(window, ceil_mode), strict=True)
    # ONNX Runtime refuses as many padded cells as a kernel has, which windows with dilation may read.
    right = all(max(pair) < k for *pair, k in zip(befores, afters, window.kernel, strict=True))
    return named | {"pads": [*befores, *afters]} if right else None


def _pads(window: Window, ceil_mode: bool) -> list[tuple[int, int]]:
    """Return the padded cells before and after the plane with which rounding down counts the windows of `ceil_mode`.

    ONNX's own `ceil_mode` counts a window behind the plane, too, where it infers shapes.
    """
    pads = []
    for axis in range(len(window.kernel)):
        kernel, stride, padding, dilation = window.along(axis)
        before, after = sides(padding)
        pads.append((before, min(after + stride - 1, dilation * (kernel - 1)) if ceil_mode else after))
    return pads


def _pads_by_word(plane: Any, window: Window) -> list[tuple[Any, Any]]:
    """Return the same for a padding that follows from the sizes of the plane."""
    pads = []
    for axis in range(len(window.kernel)):
        kernel, stride, _, dilation = along = window.along(axis)
        size = _Integers(op.Gather(plane, _int(axis)))
        before = padding_before(size, (size + (stride - 1)) // stride, *along)
        pads.append((before, before * -1 + dilation * (kernel - 1)))  # the last window may begin at the last cell
    return pads


def _pool_padded(cells: Any, fill: Any, plane: Any, window: Window, ceil_mode: bool) -> tuple[Any, _Integers]:
    """Pool planes that a node of its own pads; return the values, and the taps of the maxima."""
    pads = _pads_by_word(plane, window) if window.same else _pads(window, ceil_mode)
    befores, afters = zip(*pads, strict=True)
    none = _ints(0, 0)
    padded = op.Pad(cells, op.Concat(none, *map(_one, befores), none, *map(_one, afters), axis=0), fill)
    attributes = {"kernel_shape": window.kernel, "strides": window.stride, "dilations": window.dilation}
    values, flat = op.MaxPool(padded, **attributes)
    larger = op.Shape(padded, start=2)
    flat = _Integers(flat) % _Integers(op.ReduceProd(larger, keepdims=0))
    unpadded = Window(window.kernel, window.stride, (0,) * len(window.kernel), window.dilation)
    taps, _ = taps_of(flat, *_sides(larger, values, unpadded), window)
    # A window of nothing but lowest values: its first tap may be padding, and the first one inside is the maximum.
    sizes, corners = _sides(plane, values, window)
    _, inside = cells_of(taps, sizes, corners, window)
    first: Any = 0
    for corner, kernel, dilation in zip(corners, window.kernel, window.dilation, strict=True):
        away = _Integers(op.Max((corner * -1).value, _int(0)))
        first = (away + (dilation - 1)) // dilation + first * kernel
    return values, _Integers(op.Where(inside.value, taps.value, first.value))


def _unpool_attributes(values: Any, window: Window, size: Any) -> dict[str, Any] | None:
    """Return a window with which `MaxUnpool` fills planes of this size; None if there may be none.

    The size alone decides the result, but ONNX Runtime refuses one that is smaller than the window implies.
    """
    if window.missing:
        return None
    named = _attributes(window)
    if named is not None and not window.same and _reaches(values, window, size):
        return named
    along = zip(window.padding, window.kernel, window.dilation, strict=True)
    if window.same or all(sum(sides(padding)) <= dilation * (kernel - 1) for padding, kernel, dilation in along):
        ones = [1] * len(size)  # there are no more windows than cells
        return {"kernel_shape": ones, "strides": ones}
    return None


def _reaches(values: Any, window: Window, size: Any) -> bool:
    """Return True if planes are known to be at least as large as windows without dilation imply."""
    pooled = None if values.shape is None else list(values.shape)[2:]
    if pooled is None or not all(isinstance(n, int) for n in (*pooled, *size)):
        return False
    along = zip(pooled, window.kernel, window.stride, window.padding, size, strict=True)
    return all(default_size(count, k, s, padding, 1) <= n for count, k, s, padding, n in along)


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


def check_dtype(dtype: Any) -> None:
    """Refuse a dtype that ONNX's `MaxPool` does not take, because ONNX Runtime would not load the model."""
    if dtype not in _POOLED:
        raise _unpoolable(dtype)


def lowest(dtype: Any) -> Any:
    """Return the lowest value of a dtype of ONNX."""
    dtype = dtype.numpy()
    value = np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf
    return op.Constant(value=onnx_ir.tensor(np.array(value, dtype)))


def _one(value: Any) -> Any:
    """Return an integer, or one of `_Integers`, as an array of one entry."""
    return _ints(value) if isinstance(value, int) else op.Reshape(value.value, _ints(1))


def _int(value: int) -> Any:
    return op.Constant(value_int=value)


def _ints(*values: int) -> Any:
    return op.Constant(value_ints=list(values))


# --- messages ---------------------------------------------------------------------------------------------------------


def _unpoolable(dtype: Any) -> TypeError:
    return TypeError(
        f"`input` must have a dtype of ONNX's MaxPool (float16, bfloat16, float32, float64, int8 or uint8) in an "
        f"export, got {dtype.name.lower()}: cast it before pooling, as by input.double(), which holds every integer up "
        f"to 2**53"
    )


def _gradient(index_format: str, duplicates: str) -> ValueError:
    return ValueError(
        f"`custom_translation_table` has `take_along_plane`, but no gradient of unpooling, got one with "
        f"index_format={index_format!r} and duplicates={duplicates!r}: export the model without its gradient"
    )
