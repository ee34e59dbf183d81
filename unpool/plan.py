"""The `Plan` of a call: a small frozen value that holds its shapes and its window.

This module works on integers and tuples only: no arrays, no dtypes, no frameworks.  It applies the rules of
`unpool.sizes` to the sizes that are known.  In a traced program a size may be unknown until the program runs.  Such a
size is a symbol in a Plan, or it is None, as is every size derived from it.  Its backend applies the rules when the
program runs.

A Plan always has three axes: one or two spatial dimensions get leading ones, so backends have one case to handle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from unpool.errors import shown, what_was_pooled
from unpool.sizes import (
    LAYOUTS,
    Size,
    check_countable,
    check_no_window,
    check_padding,
    check_taps,
    count_windows,
    demand_elements,
    demand_leading,
    demand_size,
    demand_small_planes,
    product,
    spatial_axes,
)
from unpool.tracing import is_symbol, remembered
from unpool.windows import Window, covering, default_size, padding_before

SizeT = TypeVar("SizeT")
Triple: TypeAlias = "tuple[int, int, int]"
# True reports indices outside their plane, "windows" also those outside their own window.  False reports none where a
# report would wait for a device.
Validate: TypeAlias = "bool | Literal['windows']"
# An index is a flat position in its plane, or the number of a tap of its own window.
IndexFormat = Literal["plane", "window"]
INDEX_FORMATS: tuple[IndexFormat, ...] = ("plane", "window")


@dataclass(frozen=True, slots=True)
class Plan(Generic[SizeT]):
    """Everything that a backend needs for a call besides its arrays.

    Sizes are integers in a ``Plan[int]``, the Plan of arrays with known sizes.  In a traced program, a size that is
    unknown until the program runs is None.  A Plan can be pickled, and its hash is computed once.
    """

    # The pooling arguments as the user gave them.
    window: Window
    # The window and the sizes on both sides of it, as (depth, height, width).  `padding` counts cells before the plane.
    # It may be negative: -3 if the first window starts at cell 3, in a block of a chunked plane.  Cells of such a block
    # may lie in no window, before the first one and behind the last.
    kernel: Triple
    stride: Triple
    padding: tuple[SizeT, SizeT, SizeT]
    dilation: Triple
    pooled: tuple[SizeT, SizeT, SizeT]
    plane: tuple[SizeT, SizeT, SizeT]
    # There are batch * channels planes, each with `windows` pooled values and `cells` cells.
    batch: SizeT
    channels: SizeT
    windows: SizeT
    cells: SizeT
    channels_last: bool
    # The shapes of the user's arrays.
    pooled_shape: tuple[SizeT, ...]
    plane_shape: tuple[SizeT, ...]
    # The spatial sizes of the plane and the argument that gave them, for messages: of a gather, the planes themselves.
    spatial: tuple[SizeT, ...]
    sized_by: str
    # Which indices are bad.  False allows a backend to drop them where a report would wait for a device.
    validate: Validate = True
    # What an index is, and the dtype of pooling's indices; None if it returns values alone.
    index_format: IndexFormat = "plane"
    index_dtype: str | None = None
    # True if pooling counts a last window that ends past the padding.
    ceil_mode: bool = False
    _hash: int = field(init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            object.__setattr__(self, "_hash", hash(self._entries()))
            return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return Plan, self._entries()  # without the hash, because strings hash differently in each process

    def _entries(self) -> tuple[Any, ...]:
        return tuple([getattr(self, entry.name) for entry in fields(self) if entry.init])

    @property
    def by_taps(self) -> bool:
        """Return True if an index is the number of a tap."""
        return self.index_format == "window"

    @property
    def taps(self) -> int:
        return math.prod(self.kernel)

    @property
    def taps_fit_byte(self) -> bool:
        """Return True if one byte can number the taps of a window."""
        return self.taps <= 1 << 8

    @property
    def values(self) -> str:
        """Return the name of the user's argument that holds the values."""
        return values_sized_by(self.sized_by)


def values_sized_by(argument: str) -> str:
    """Return the name of the values' argument in a function whose plane is sized by this argument."""
    return {"input_size": "grad_output", "like": "inputs"}.get(argument, "input")


@remembered(maxsize=1024)
def plan_pooling(
    shape: tuple[Size, ...],
    window: Window,
    ceil_mode: bool,
    channels_last: bool,
    index_dtype: str | None,
    index_format: IndexFormat = "plane",
) -> Plan[Any]:
    """Plan a pooling of an array of this shape; `index_dtype` is None if no indices are returned.

    >>> plan_pooling((1, 3, 5, 5), Window((2, 2), (2, 2), (0, 0), (1, 1)), True, False, None).pooled_shape
    (1, 3, 3, 3)
    """
    batch, channels, sizes = _split("input", shape, len(window.kernel), channels_last, "input")
    pooled = tuple([count_windows(axis, shape, sizes, window, ceil_mode) for axis in range(len(sizes))])
    if None not in sizes and not any(map(is_symbol, sizes)):
        demand_small_planes(sizes, window, index_dtype if index_format == "plane" else None)
    sized_by, rest = "input", {"index_dtype": index_dtype, "index_format": index_format, "ceil_mode": ceil_mode}
    return _plan(shape, window, batch, channels, pooled, sizes, channels_last, sized_by, **rest)


@remembered(maxsize=1024)
def plan_unpooling(
    shape: tuple[Size, ...],
    window: Window,
    output_size: tuple[Size, ...] | None,
    channels_last: bool,
    validate: Validate = True,
    argument: str = "input",
    sized_by: str = "output_size",
    index_format: IndexFormat = "plane",
) -> Plan[Any]:
    """Plan an unpooling of an array of this shape, or a gradient between the same two shapes.

    `argument` and `sized_by` are the names of the user's arguments that gave the shape and the size.

    >>> plan_unpooling((1, 3, 2, 2), Window((2, 2), (2, 2), (0, 0), (1, 1)), (5, 5), False).plane_shape
    (1, 3, 5, 5)
    """
    rank = len(window.kernel)
    batch, channels, pooled = _split(argument, shape, rank, channels_last, sized_by)
    sizes = _spatial(output_size, shape, rank, channels_last, argument, sized_by)
    if window.missing:
        check_no_window(index_format, validate)
        if sizes is None:
            raise _no_size_given(sized_by)
    elif sizes is None:
        sizes = tuple([default_size(count, *window.along(axis)) for axis, count in enumerate(pooled)])
    for axis, (count, size) in enumerate(zip(pooled, sizes, strict=True)):
        # For symbols, the backend applies the rule to their values in the run.
        if count is not None and not is_symbol(count) and not is_symbol(size):
            demand_size(axis, count, size, window, output_size, sized_by)
    if index_format == "window":
        check_taps(window)
        if output_size is None and validate == "windows":
            check_padding(sized_by, window)
    rest = {"validate": validate, "index_format": index_format}
    return _plan(shape, window, batch, channels, pooled, sizes, channels_last, sized_by, **rest)


def _plan(
    shape: tuple[Size, ...],
    window: Window,
    batch: Size,
    channels: Size,
    pooled: tuple[Size, ...],
    sizes: tuple[Size, ...],
    channels_last: bool,
    sized_by: str,
    **rest: Any,
) -> Plan[Any]:
    leading = shape[: len(shape) - len(sizes) - 1]

    def full(spatial: tuple[Size, ...]) -> tuple[Size, ...]:
        return (*leading, *spatial, channels) if channels_last else (*leading, channels, *spatial)

    check_countable(sized_by, full(sizes))
    if window.missing:
        geometry = covering(sizes, pooled)
        padding: Sequence[Any] = geometry.padding
    else:
        geometry = window
        padding = [padding_before(sizes[axis], pooled[axis], *window.along(axis)) for axis in range(len(sizes))]
    return Plan(
        window=window,
        kernel=_triple(geometry.kernel, 1),
        stride=_triple(geometry.stride, 1),
        padding=_triple(padding, 0),
        dilation=_triple(geometry.dilation, 1),
        pooled=_triple(pooled, 1),
        plane=_triple(sizes, 1),
        batch=batch,
        channels=channels,
        windows=product(pooled),
        cells=product(sizes),
        channels_last=channels_last,
        pooled_shape=full(pooled),
        plane_shape=full(sizes),
        spatial=sizes,
        sized_by=sized_by,
        **rest,
    )


def _triple(entries: Sequence[Any], fill: int) -> Any:
    return (*(fill,) * (3 - len(entries)), *entries)


def _split(
    argument: str, shape: tuple[Size, ...], rank: int, channels_last: bool, sized_by: str
) -> tuple[Size, Size, tuple[Size, ...]]:
    """Split a shape into batch, channels and spatial sizes."""
    unbatched = len(shape) == rank + 1
    if not unbatched and len(shape) != rank + 2:
        raise _wrong_rank(argument, shape, rank, channels_last, sized_by)
    demand_elements(argument, shape, rank)
    sample = shape if unbatched else shape[1:]
    batch = 1 if unbatched else shape[0]
    return (batch, sample[-1], sample[:-1]) if channels_last else (batch, sample[0], sample[1:])


def _spatial(
    output_size: tuple[Size, ...] | None,
    shape: tuple[Size, ...],
    rank: int,
    channels_last: bool,
    argument: str,
    sized_by: str,
) -> tuple[Size, ...] | None:
    """Return the spatial entries of a size, which may have those alone, or as many entries as the shape."""
    if output_size is None or len(output_size) == rank:
        return output_size
    if len(output_size) != len(shape):
        raise _wrong_size_length(sized_by, output_size, rank, len(shape))
    axes = spatial_axes(len(shape), rank, channels_last)
    demand_leading(sized_by, output_size, argument, shape, axes)
    return output_size[axes]


# --- messages ---------------------------------------------------------------------------------------------------------


def _wrong_rank(
    argument: str, shape: Sequence[int | None], rank: int, channels_last: bool, sized_by: str
) -> ValueError:
    batched, single = LAYOUTS[rank, channels_last]
    return ValueError(
        f"`{argument}` must have {rank + 2} dimensions {batched}, or {rank + 1} without the batch {single}, got shape "
        f"{tuple(shape)}: {_for_dimensions(argument, len(shape), rank, channels_last, sized_by)}"
    )


def _for_dimensions(argument: str, found: int, rank: int, channels_last: bool, sized_by: str) -> str:
    """Return the advice for an array of `found` dimensions, which are too few or too many for this rank."""
    known = {"input": "max_pool{}d", "input_size": "max_pool{}d_backward", "grad_output": "max_unpool{}d_backward"}
    function = known.get(sized_by, "max_unpool{}d")
    with_channels = f"{argument}[..., None]" if channels_last else f"{argument}[None]"
    if found == 0:
        return "pass an array with spatial dimensions"
    if found < rank:
        return f"call {function.format(found)} with {with_channels}"
    if found == rank:
        each = "" if sized_by == "input" else " to each array"
        other = f", or call {function.format(rank - 1)} for {LAYOUTS[rank - 1, channels_last][1]}" if rank > 1 else ""
        return f"add an axis for the channels{each}, as {with_channels} does{other}"
    other = f"call {function.format(found - 2)}, or " if found <= 5 else ""
    return f"{other}merge all axes but the last {rank + 1}, by a reshape to (-1, *{argument}.shape[{-rank - 1}:])"


def _no_size_given(argument: str) -> ValueError:
    return ValueError(f"`{argument}` must be given where there is no window, got None: {what_was_pooled(argument)}")


def _wrong_size_length(argument: str, value: Sequence[int | None], rank: int, ndim: int) -> ValueError:
    return ValueError(
        f"`{argument}` must have {rank} entries (the spatial ones) or {ndim} (the full shape), got "
        f"{shown(tuple(value))}: {what_was_pooled(argument)}"
    )
