"""One small frozen `Plan` of a call: its shapes, and how its windows lie in them.

This module knows integers and tuples; arrays, dtypes and frameworks never come here.  The rules are in `unpool.sizes`;
here they are applied to the sizes that are known.  A framework that traces a program may not know a size before the
program runs.  Such a size is None in a Plan, and so is all that follows from it; or it is a symbol.  Its backend
applies the rules to the sizes of a run.

One and two dimensions are three with leading ones: a Plan always has triples, so backends know one case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from unpool.errors import what_was_pooled
from unpool.sizes import (
    LAYOUTS,
    SAME,
    Size,
    Window,
    check_countable,
    count_windows,
    default_size,
    demand_elements,
    demand_leading,
    demand_size,
    demand_small_planes,
    padding_before,
    product,
    spatial_axes,
)
from unpool.tracing import is_symbol, remembered

SizeT = TypeVar("SizeT")
Triple: TypeAlias = "tuple[int, int, int]"
# Which indices are reported: outside their plane (True), outside their own window, or none where that costs a wait.
Validate: TypeAlias = "bool | Literal['windows']"


@dataclass(frozen=True, slots=True)
class Plan(Generic[SizeT]):
    """All that a backend needs to know of a call besides its arrays.

    Sizes are integers in a ``Plan[int]``, as every backend gets it whose arrays have known sizes.  A size that only a
    run will know is None.  A Plan is a value: it can be pickled, and its hash is computed once.
    """

    # The window, and the sizes on both sides of it, as (depth, height, width); the padding is what is before the plane.
    kernel: Triple
    stride: Triple
    padding: tuple[SizeT, SizeT, SizeT]
    dilation: Triple
    pooled: tuple[SizeT, SizeT, SizeT]
    plane: tuple[SizeT, SizeT, SizeT]
    # Planes: batch * channels of them, each of `windows` pooled values and `cells` cells.
    batch: SizeT
    channels: SizeT
    windows: SizeT
    cells: SizeT
    channels_last: bool
    # The arrays as the user has them.
    pooled_shape: tuple[SizeT, ...]
    plane_shape: tuple[SizeT, ...]
    # The spatial sizes of the plane and the argument that gave them, for messages.
    spatial: tuple[SizeT, ...]
    sized_by: str
    # Which indices are bad, and whether a backend for which a report costs a wait may wait for it.
    validate: Validate = True
    # What pooling is to return; None where nobody asked for indices.
    index_dtype: str | None = None
    # Whether pooling counts a last window that sticks out.
    ceil_mode: bool = False
    # Whether the padding followed from the size.
    same: bool = False
    _hash: int = field(init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            object.__setattr__(self, "_hash", hash(self._entries()))
            return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        return Plan, self._entries()  # without the hash: another process hashes words in another way

    def _entries(self) -> tuple[Any, ...]:
        return tuple([getattr(self, entry.name) for entry in fields(self) if entry.init])

    @property
    def window(self) -> Window:
        """The pooling arguments as they were given."""
        first = 3 - len(self.spatial)
        padding: tuple[Any, ...] = (SAME,) * 3 if self.same else self.padding
        return Window(*[entry[first:] for entry in (self.kernel, self.stride, padding, self.dilation)])

    @property
    def values(self) -> str:
        """What the user calls the values that are put into planes."""
        return values_sized_by(self.sized_by)


def values_sized_by(argument: str) -> str:
    """Return the argument with the values, of the function whose plane gets its size from this one."""
    return {"input_size": "grad_output", "like": "inputs"}.get(argument, "input")


@remembered(maxsize=1024)
def plan_pooling(
    shape: tuple[Size, ...], window: Window, ceil_mode: bool, channels_last: bool, index_dtype: str | None
) -> Plan[Any]:
    """Plan a pooling of an array of this shape; `index_dtype` is None where no indices are wanted.

    >>> plan_pooling((1, 3, 5, 5), Window((2, 2), (2, 2), (0, 0), (1, 1)), True, False, None).pooled_shape
    (1, 3, 3, 3)
    """
    batch, channels, sizes = _split("input", shape, len(window.kernel), channels_last)
    pooled = tuple([count_windows(axis, shape, sizes, window, ceil_mode) for axis in range(len(sizes))])
    if None not in sizes and not any(map(is_symbol, sizes)):
        demand_small_planes(sizes, window, index_dtype)
    sized_by, rest = "input", {"index_dtype": index_dtype, "ceil_mode": ceil_mode}
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
) -> Plan[Any]:
    """Plan an unpooling of an array of this shape, or a gradient, which moves values between the same two shapes.

    `argument` and `sized_by` name the user's arguments that the shape and the size came from.

    >>> plan_unpooling((1, 3, 2, 2), Window((2, 2), (2, 2), (0, 0), (1, 1)), (5, 5), False).plane_shape
    (1, 3, 5, 5)
    """
    rank = len(window.kernel)
    batch, channels, pooled = _split(argument, shape, rank, channels_last)
    sizes = _spatial(output_size, shape, rank, channels_last, argument, sized_by)
    if sizes is None:
        sizes = tuple([default_size(count, *along) for count, *along in zip(pooled, *window, strict=True)])
    for axis, (count, size) in enumerate(zip(pooled, sizes, strict=True)):
        # The rule for symbols is left to the number that each will be.
        if count is not None and not is_symbol(count) and not is_symbol(size):
            demand_size(axis, count, size, window, output_size, sized_by)
    return _plan(shape, window, batch, channels, pooled, sizes, channels_last, sized_by, validate=validate)


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
    padding = [padding_before(*along) for along in zip(sizes, pooled, *window, strict=True)]
    return Plan(
        kernel=_triple(window.kernel, 1),
        stride=_triple(window.stride, 1),
        padding=_triple(padding, 0),
        dilation=_triple(window.dilation, 1),
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
        same=SAME in window.padding,
        **rest,
    )


def _triple(entries: Sequence[Any], fill: int) -> Any:
    return (*(fill,) * (3 - len(entries)), *entries)


def _split(
    argument: str, shape: tuple[Size, ...], rank: int, channels_last: bool
) -> tuple[Size, Size, tuple[Size, ...]]:
    """Take a shape apart into batch, channels and spatial sizes."""
    unbatched = len(shape) == rank + 1
    if not unbatched and len(shape) != rank + 2:
        raise _wrong_rank(argument, shape, rank, LAYOUTS[rank, channels_last])
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
    """Take the spatial entries of a size given in any of its three lengths."""
    if output_size is None or len(output_size) == rank:
        return output_size
    if len(output_size) != len(shape):
        raise _wrong_size_length(sized_by, output_size, rank, len(shape))
    axes = spatial_axes(len(shape), rank, channels_last)
    demand_leading(sized_by, output_size, argument, shape, axes)
    return output_size[axes]


# --- messages ---------------------------------------------------------------------------------------------------------


def _wrong_rank(argument: str, shape: Sequence[int | None], rank: int, layouts: Sequence[str]) -> ValueError:
    if len(shape) == rank:
        advice = "give it a dimension of 1 for the channels"
    else:
        advice = "reshape it, or call the function for as many spatial dimensions as it has"
    return ValueError(
        f"`{argument}` must have {rank + 2} dimensions {layouts[0]}, or {rank + 1} without the batch {layouts[1]}, got "
        f"shape {tuple(shape)}: {advice}"
    )


def _wrong_size_length(argument: str, value: Sequence[int | None], rank: int, ndim: int) -> ValueError:
    return ValueError(
        f"`{argument}` must have {rank} entries (the spatial ones) or {ndim} (the full shape), got {tuple(value)}: "
        f"{what_was_pooled(argument)}"
    )
