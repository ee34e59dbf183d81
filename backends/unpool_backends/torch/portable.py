"""Pooling and unpooling by plain operations, for runtimes that lack `MaxUnpool` and scattering.

This form serves windows that lie apart: one or two dimensions, no dilation, `kernel_size <= stride`, no padding before
the plane.  Then a cell lies in one window at most, and a tap of all windows is one strided slice of the planes:

    pool      a value is the maximum of its window; its index is that of the first tap that is not less
    unpool    a part per tap holds the values whose index names that tap, and zeros; the parts are interleaved
    take      the gradient of unpooling: the slice of each tap, where the index names that tap

The steps have no scatter, no control flow, tensors of at most four dimensions, and indices of 32 bits.  An index
outside of its own window is dropped.  A NaN goes to the first tap of its window.

The algorithm is written once, on `Steps`: ONNX nodes (`onnx_portable`) or PyTorch's operators (`decompositions`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from unpool.errors import pooling_arguments
from unpool.plan import Plan, plan_pooling, plan_unpooling, values_sized_by
from unpool.windows import Window
from unpool_backends.torch.packing import unpack


class Steps(Protocol):
    """The operations of the portable form.  Only the batch's size may be unknown: None, or a symbol."""

    def reshape(self, array: Any, *shape: Any) -> Any: ...

    def permute(self, array: Any, *axes: int) -> Any: ...

    def slice(self, planes: Any, starts: Sequence[int], ends: Sequence[int], steps: Sequence[int]) -> Any:
        """Slice the last two of four axes."""

    def pad(self, array: Any, after: Sequence[int], lowest: bool = False) -> Any:
        """Pad the end of each axis with zeros, or with the lowest value of the dtype."""

    def concat(self, arrays: Sequence[Any]) -> Any:
        """Concatenate arrays of three axes along the second one."""

    def maxima(self, planes: Any, kernel: Sequence[int], stride: Sequence[int]) -> Any:
        """Return the maximum of each window of planes (N, C, H, W), without padding."""

    def corners(self, counts: Sequence[int], steps: Sequence[int]) -> Any:
        """Return the constant ``steps[0] * i + steps[1] * j`` of shape `counts` and dtype int32."""

    def add(self, array: Any, other: Any) -> Any: ...

    def subtract(self, array: Any, other: Any) -> Any: ...

    def less(self, array: Any, other: Any) -> Any: ...

    def equal(self, indices: Any, number: int) -> Any: ...

    def where(self, condition: Any, indices: Any, number: int) -> Any:
        """Return the indices where a condition holds, else a number."""

    def kept(self, condition: Any, values: Any, others: Any = None) -> Any:
        """Return the values where a condition holds, else the others, or zero."""


# --- plans ------------------------------------------------------------------------------------------------------------


def pooling(
    shape: Sequence[Any], window: Sequence[Any], ceil_mode: bool, channels_last: bool, *index: str
) -> Plan[Any]:
    """Return the Plan of a pooling; raise where the portable form does not serve it."""
    index_format, index_dtype = index
    wanted: Any = tuple(shape), unpack(*window), ceil_mode, channels_last, index_dtype, index_format
    return _served(plan_pooling(*wanted))


def unpooling(
    shape: Sequence[Any],
    window: Sequence[Any],
    size: Sequence[Any],
    channels_last: bool,
    index_format: Any,
    sized_by: str,
) -> Plan[Any]:
    """Return the Plan of an unpooling; raise where the portable form does not serve it."""
    wanted = tuple(shape), unpack(*window), tuple(size), channels_last, False
    return _served(plan_unpooling(*wanted, values_sized_by(sized_by), sized_by, index_format))


def _served(plan: Plan[Any]) -> Plan[Any]:
    window, rank = plan.window, len(plan.spatial)
    apart = not window.missing and all(k <= s for k, s in zip(window.kernel, window.stride, strict=True))
    if rank == 3 or not apart or max(window.dilation) > 1:
        raise _unserved_window(window)
    sizes = plan.channels, *plan.pooled, *plan.plane
    if not all(type(size) is int for size in sizes):
        raise _unknown_sizes(plan)
    if any(plan.padding):  # the lowest value as a maximum would be found there
        raise _unserved_window(window, f", which add {plan.padding[3 - rank :]} cells before the plane")
    if plan.index_format == "plane" and plan.cells > 2**31:
        raise _plane_too_large(plan)
    return plan


# --- the algorithm ----------------------------------------------------------------------------------------------------


def pool(steps: Steps, input: Any, plan: Plan[int]) -> tuple[Any, Any]:
    """Return the values and the indices, which are int32."""
    planes = _whole(steps, _first(steps, input, plan, plan.plane), plan, lowest=True)
    values = steps.maxima(planes, plan.kernel[1:], plan.stride[1:])
    *others, (_, indices) = _taps(plan)
    for first, number in reversed(others or list(_taps(plan))):
        less = steps.less(_cells(steps, planes, first, plan), values)
        indices = steps.where(less, indices, number)
    if not plan.by_taps:
        indices = steps.add(indices, _corners(steps, plan))
    return _back(steps, values, plan, plan.pooled_shape), _back(steps, indices, plan, plan.pooled_shape)


def unpool(steps: Steps, values: Any, indices: Any, plan: Plan[int], duplicates: str) -> Any:
    """Return the planes; the indices are int32."""
    values, indices = (_first(steps, array, plan, plan.pooled) for array in (values, indices))
    if duplicates == "sum":
        values = steps.add(values, 0)  # a sum with zero is never -0.0
    if not plan.by_taps:
        indices = steps.subtract(indices, _corners(steps, plan))
    (_, *kernel), (_, *stride), (_, *counts) = plan.kernel, plan.stride, plan.pooled
    parts = [steps.kept(steps.equal(indices, number), values) for _, number in _taps(plan)]
    parts = [steps.reshape(part, -1, 1, counts[1]) for part in parts]
    full = [count * s for count, s in zip(counts, stride, strict=True)]
    lines = []
    for first in range(0, len(parts), kernel[1]):
        along = _joined(steps, parts[first : first + kernel[1]], stride[1])
        lines.append(steps.reshape(steps.permute(along, 0, 2, 1), -1, 1, full[1]))
    planes = steps.reshape(_joined(steps, lines, stride[0]), plan.batch, plan.channels, *full)
    if any(_excess(full, plan.plane[1:])):
        planes = steps.slice(planes, (0, 0), [min(ends) for ends in zip(full, plan.plane[1:], strict=True)], (1, 1))
    after = _excess(plan.plane[1:], full)
    if any(after):
        planes = steps.pad(planes, (0, 0, *after))
    return _back(steps, planes, plan, plan.plane_shape)


def take(steps: Steps, planes: Any, indices: Any, plan: Plan[int]) -> Any:
    """Return the cells that the indices name, zero for others; the indices are int32."""
    planes = _whole(steps, _first(steps, planes, plan, plan.plane), plan)
    indices = _first(steps, indices, plan, plan.pooled)
    if not plan.by_taps:
        indices = steps.subtract(indices, _corners(steps, plan))
    values = None
    for first, number in _taps(plan):
        values = steps.kept(steps.equal(indices, number), _cells(steps, planes, first, plan), values)
    return _back(steps, values, plan, plan.pooled_shape)


def _whole(steps: Steps, planes: Any, plan: Plan[int], lowest: bool = False) -> Any:
    """Return planes that hold the last windows, which may end past them (`ceil_mode`, "same")."""
    reach = [(count - 1) * s + k for count, s, k in zip(plan.pooled[1:], plan.stride[1:], plan.kernel[1:], strict=True)]
    after = _excess(reach, plan.plane[1:])
    return steps.pad(planes, (0, 0, *after), lowest) if any(after) else planes


def _cells(steps: Steps, planes: Any, first: Sequence[int], plan: Plan[int]) -> Any:
    """Return the cells of one tap in all windows, from its cell in the first window on."""
    stride = plan.stride[1:]
    ends = [start + (count - 1) * s + 1 for start, count, s in zip(first, plan.pooled[1:], stride, strict=True)]
    return steps.slice(planes, first, ends, stride)


def _excess(sizes: Sequence[int], limits: Sequence[int]) -> list[int]:
    return [max(0, size - limit) for size, limit in zip(sizes, limits, strict=True)]


def _taps(plan: Plan[int]) -> Iterator[tuple[tuple[int, int], int]]:
    """Yield each tap of a window, and its index: its number, or its position in the plane behind the first tap's."""
    width = plan.kernel[2] if plan.by_taps else plan.plane[2]
    for i in range(plan.kernel[1]):
        for j in range(plan.kernel[2]):
            yield (i, j), i * width + j


def _corners(steps: Steps, plan: Plan[int]) -> Any:
    """Return the position of each window's first tap in its plane."""
    return steps.corners(plan.pooled[1:], (plan.stride[1] * plan.plane[2], plan.stride[2]))


def _joined(steps: Steps, parts: Sequence[Any], count: int) -> Any:
    """Concatenate parts, and zeros for the cells between two windows."""
    joined = steps.concat(parts) if len(parts) > 1 else parts[0]
    return steps.pad(joined, (0, count - len(parts), 0)) if len(parts) < count else joined


def _first(steps: Steps, array: Any, plan: Plan[int], sizes: Sequence[int]) -> Any:
    """Return an array as planes: (N, C, H, W)."""
    rank = len(plan.spatial)
    if plan.channels_last:
        batch = range(len(plan.pooled_shape) - rank - 1)
        array = steps.permute(array, *batch, len(batch) + rank, *range(len(batch), len(batch) + rank))
    if rank == 2 and len(plan.pooled_shape) == 4:
        return array
    return steps.reshape(array, plan.batch, plan.channels, *sizes[1:])


def _back(steps: Steps, planes: Any, plan: Plan[int], shape: Sequence[Any]) -> Any:
    """Return planes in the user's shape."""
    rank = len(plan.spatial)
    leading = len(shape) - rank - 1
    if plan.channels_last:
        shape = *shape[:leading], shape[-1], *shape[leading:-1]
    if rank != 2 or leading == 0:
        planes = steps.reshape(planes, *shape)
    if plan.channels_last:
        planes = steps.permute(planes, *range(leading), *range(leading + 1, leading + rank + 1), leading)
    return planes


# --- messages ---------------------------------------------------------------------------------------------------------

_ADVICE = "export with onnx_translations(), which supports all"


def _unserved_window(window: Window, more: str = "") -> ValueError:
    return ValueError(
        f"the portable form must have 1-D or 2-D windows that lie apart (`kernel_size` <= `stride`, `dilation` 1, no "
        f"padding before the plane), got {len(window.kernel)}-D windows with {pooling_arguments(window)}{more}: pool "
        f"with such windows, or {_ADVICE} windows"
    )


def _unknown_sizes(plan: Plan[Any]) -> ValueError:
    shape = ", ".join("?" if type(size) is not int else str(size) for size in plan.plane_shape)
    return ValueError(
        f"the portable form must have known sizes, except the batch size, got ({shape}) for the plane: export with "
        f"`dynamic_shapes` for the batch alone, or {_ADVICE} sizes"
    )


def _plane_too_large(plan: Plan[Any]) -> ValueError:
    return ValueError(
        f"the portable form must have indices that int32 holds, got planes of {plan.cells} cells: pool and unpool with "
        f'index_format="window"'
    )
