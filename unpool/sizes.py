"""Every shape rule of the library; `unpool.windows` has the formulas.

A size is an integer, a symbol of PyTorch or JAX, a tensor, or None if it is unknown until the program runs.  So each
rule is a function that takes a `Demand`, which applies it at once or when the program runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, TypeAlias, cast

from unpool import errors
from unpool.errors import pooling_arguments, what_was_pooled
from unpool.tracing import is_symbol
from unpool.windows import LARGEST, WORDS, Padding, Window, default_size, padding_before, sides, span

# None is a size that is unknown until the program runs.
Size: TypeAlias = "int | None"
# Turns a size into the number that a message shows.
Number: TypeAlias = "Callable[[Any], int]"
# Builds the error of a broken rule.
Problem: TypeAlias = "Callable[[Number], Exception]"

LAYOUTS = {
    # One entry per rank, so that a message shows the user's own layout.
    (1, False): ("(N, C, L)", "(C, L)"),
    (2, False): ("(N, C, H, W)", "(C, H, W)"),
    (3, False): ("(N, C, D, H, W)", "(C, D, H, W)"),
    (1, True): ("(N, L, C)", "(L, C)"),
    (2, True): ("(N, H, W, C)", "(H, W, C)"),
    (3, True): ("(N, D, H, W, C)", "(D, H, W, C)"),
}


class Demand:
    """Apply a rule at once, to sizes that are known.

    A backend for traced programs has a class of its own, with the same methods.
    """

    def __call__(self, right: Any, problem: Problem) -> None:
        """Raise the error that `problem` builds, unless the condition `right` holds."""
        if not right:
            raise problem(_as_it_is)

    def equal(self, one: Any, other: Any) -> Any:
        return one == other

    def larger(self, one: Any, other: Any) -> Any:
        return max(one, other)

    def smaller(self, one: Any, other: Any) -> Any:
        return min(one, other)

    def one_if(self, condition: Any) -> Any:
        """Return 1 where a condition holds, else 0."""
        return int(condition)

    def none(self, count: Any, wrong: Callable[[Any], Any]) -> Any:
        """Return True if `wrong` holds for none of the numbers 0..count-1."""
        return not any(map(wrong, range(count)))


def _as_it_is(size: Any) -> int:
    """Return a size for a message unchanged; it may be a symbol or None."""
    return cast(int, size)


AT_ONCE = Demand()


# --- shapes -------------------------------------------------------------------------------------------------------


def product(sizes: Sequence[Any]) -> Any:
    """Multiply sizes; None if one is not known."""
    return None if None in sizes else prod(sizes)


def spatial_axes(entries: int, rank: int, channels_last: bool) -> slice:
    """Return the slice of the spatial axes in a shape of `entries` entries, with or without batch and channels."""
    if entries == rank:
        return slice(0, rank)
    first = entries - rank - 1 if channels_last else entries - rank
    return slice(first, first + rank)


# --- rules ------------------------------------------------------------------------------------------------------------


def count_windows(
    axis: int, shape: Sequence[Any], sizes: Sequence[Any], window: Window, ceil_mode: bool, demand: Demand = AT_ONCE
) -> Any:
    """Count the windows along one axis of an input; demand that each reads at least one cell of it."""
    size = sizes[axis]
    if size is None:
        return None
    kernel, stride, padding, dilation = along = window.along(axis)
    if padding in WORDS:
        count = (size + stride - 1) // stride
    else:
        before, after = sides(padding)
        room = size + before + after - dilation * (kernel - 1) - 1
        count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
        if ceil_mode:
            count -= demand.one_if((count - 1) * stride >= size + before)
        demand(count >= 1, lambda number: _pooled_to_nothing("input", tuple(map(number, shape)), axis, window))
    if _may_step_over(size, padding, dilation):
        # A window that starts in the padding may step over the whole input.  PyTorch pools it to -inf, with an index
        # outside the plane.  The first tap at or after cell 0 reads the cell `start % dilation`.
        before = padding_before(size, count, *along)
        early = demand.smaller(count, (before + stride - 1) // stride)
        right = demand.none(early, lambda nth: (nth * stride - before) % dilation >= size)
        demand(right, lambda number: _window_in_padding("input", number(size), axis, window))
    return count


def _may_step_over(size: Any, padding: Padding, dilation: int) -> bool:
    """Return True if a window that starts in the padding may step over a whole input."""
    if sides(padding)[0] == 0 or dilation == 1:
        return False
    if is_symbol(size):
        return padding not in WORDS and bool(dilation > size)
    return not isinstance(size, int) or dilation > size


def demand_small_planes(
    sizes: Sequence[Any], window: Window, index_dtype: str | None, demand: Demand = AT_ONCE
) -> None:
    """Demand that kernels can hold the span of a window, and that the index dtype can hold every index of a plane."""
    distance, cells = span(sizes, window), product(sizes)
    demand(distance <= LARGEST, lambda number: _window_too_large(window, number(distance)))
    if index_dtype == "int32":
        demand(cells - 1 <= LARGEST, lambda number: _index_dtype_too_small(number(cells)))


def demand_size(
    axis: int,
    windows: Any,
    size: Any,
    window: Window,
    given: Sequence[Any] | None,
    sized_by: str,
    demand: Demand = AT_ONCE,
) -> None:
    """Demand that a size along one axis pools to `windows` windows; if it is None, that such a size exists.

    `given` holds the entries of the user's size, or is None where the size is the default.  Without a window, any size
    serves that has a cell.
    """

    def shown(number: Number) -> Any:
        return None if given is None else tuple([None if entry is None else number(entry) for entry in given])

    if window.missing:
        if size is not None:
            demand(size >= 1, lambda number: errors.empty_dimension(sized_by, shown(number)))
        return
    stride = window.stride[axis]
    default = default_size(windows, *window.along(axis))
    low, high = demand.larger(1, default - stride + 1), default if window.same else default + stride - 1

    def none(number: Number) -> Exception:
        return _no_size(sized_by, shown(number), axis, number(windows), window)

    def wrong(number: Number, single: bool) -> Exception:
        smallest = number(low)
        both = smallest, smallest if single else number(high)
        if given is None:
            return _size_needed(sized_by, axis, both, window)
        return _size_out_of_range(sized_by, shown(number), axis, number(windows), both, window)

    demand(high >= low, none)
    if size is None:
        return
    right = (high < low) | ((low <= size) & (size <= high))
    # One allowed size and a range of them have different messages; a traced program picks one when it runs.
    demand(right | (low < high), partial(wrong, single=True))
    demand(right | (low >= high), partial(wrong, single=False))


def demand_elements(argument: str, shape: Sequence[Any], rank: int, demand: Demand = AT_ONCE) -> None:
    """Demand that every dimension but the batch has an element."""
    for size in shape[len(shape) - rank - 1 :]:
        if size is not None and not is_symbol(size):
            demand(size >= 1, lambda number: errors.empty_dimension(argument, tuple(map(number, shape))))


def demand_leading(
    sized_by: str, given: Sequence[Any], argument: str, shape: Sequence[Any], axes: slice, demand: Demand = AT_ONCE
) -> None:
    """Demand that a full size keeps the batch and channels of an array; `axes` are the spatial axes."""

    def wrong(number: Number) -> Exception:
        entries = tuple([None if entry is None else number(entry) for entry in given])
        return _wrong_leading(sized_by, entries, argument, tuple(map(number, shape)))

    for place, (entry, size) in enumerate(zip(given, shape, strict=True)):
        if not axes.start <= place < axes.stop and entry is not None and size is not None:
            demand(demand.equal(entry, size), wrong)


def common_shape(
    argument: str, shape: Sequence[Any], other: str, expected: Sequence[Any], demand: Demand = AT_ONCE
) -> tuple[Any, ...]:
    """Return the shape that two arrays must share, with every size that is known of either.

    >>> common_shape("indices", (None, 3, 4), "input", (2, 3, None))
    (2, 3, 4)
    """
    if len(shape) != len(expected):
        raise _shapes_differ(argument, shape, other, expected)
    right: Any = True
    for one, another in zip(shape, expected, strict=True):
        if one is not None and another is not None:
            right = right & demand.equal(one, another)
    demand(
        right,
        lambda number: _shapes_differ(argument, list(map(number, shape)), other, list(map(number, expected))),
    )
    return tuple([another if one is None else one for one, another in zip(shape, expected, strict=True)])


def check_no_window(index_format: str, validate: object, kernel: str = "kernel_size") -> None:
    """Refuse what needs a window where there is none: taps as indices, and a check of own windows.

    `kernel` is the name of the argument that is None.
    """
    if index_format == "window" or validate == "windows":
        raise _kernel_needed(kernel, "index_format='window'" if index_format == "window" else "validate='windows'")


def check_taps(window: Window) -> None:
    """Refuse windows of 2**63 taps or more, which int64 cannot number."""
    if prod(window.kernel) > 2**63 - 1:
        raise _too_many_taps(window)


def check_padding(argument: str, window: Window) -> None:
    """Refuse to leave out a size on which the padding before a plane depends."""
    if None in [padding_before(None, None, *window.along(axis)) for axis in range(len(window.kernel))]:
        raise _size_places_windows(argument, window)


def check_countable(argument: str, shape: Sequence[Any]) -> None:
    """Refuse arrays of 2**59 elements or more: at 16 bytes an element, int64 cannot count their bytes."""
    # A list, not a generator, so that PyTorch can trace it.
    if prod([max(1, size) for size in shape if size is not None and not is_symbol(size)]) >= 2**59:
        raise _too_many_cells(argument, shape)


# --- messages ---------------------------------------------------------------------------------------------------------


def _shapes_differ(
    argument: str, shape: Sequence[int | None], other: str, expected: Sequence[int | None]
) -> ValueError:
    if len(shape) != len(expected):
        advice = "give both a batch dimension, or neither"
    else:
        pooled = "the shape of the array that was pooled,"
        if other == "inputs":  # of the Keras layers
            pooled = "what was pooled as `like`, or its size"
        advice = (
            f"pass `{other}` and `{argument}` of one pooling call; if `{other}` is the result of an unpooling, pass "
            f"that unpooling {pooled} as `output_size`"
        )
    return ValueError(f"`{argument}` must have the shape of `{other}`, {tuple(expected)}, got {tuple(shape)}: {advice}")


def _index_dtype_too_small(cells: int) -> ValueError:
    return ValueError(
        f"`index_dtype` must hold every position of a plane, got 'int32' for one of {cells} cells: pass "
        f"index_dtype='int64'"
    )


def _pooled_to_nothing(argument: str, shape: Sequence[int | None], axis: int, window: Window) -> ValueError:
    return ValueError(
        f"`{argument}` must be at least as large as one window, got shape {tuple(shape)}, whose spatial dimension "
        f"{axis} pools to nothing with {pooling_arguments(window)}: pass a smaller `kernel_size` or `dilation`"
    )


def _window_in_padding(argument: str, size: int, axis: int, window: Window) -> ValueError:
    return ValueError(
        f"`dilation` must leave at least one element of `{argument}` in every window, got a window that reads only "
        f"padding in spatial dimension {axis} of {size} with {pooling_arguments(window)}: pass a smaller `dilation` or "
        f"`padding`"
    )


def _window_too_large(window: Window, span: int) -> ValueError:
    return ValueError(
        f"`kernel_size` must span fewer than 2**31 cells from the first to the last of a window, got {span} with "
        f"{pooling_arguments(window)}: pool in two steps"
    )


def _kernel_needed(kernel: str, beside: str) -> ValueError:
    return ValueError(f"`{kernel}` must be given with {beside}, got None: pass the arguments of the pooling call")


def _size_places_windows(argument: str, window: Window) -> ValueError:
    return ValueError(
        f"`{argument}` must be given for index_format='window' with validate='windows' if the padding before the "
        f"plane depends on it, got none with {pooling_arguments(window)}: {what_was_pooled(argument)}"
    )


def _too_many_taps(window: Window) -> ValueError:
    return ValueError(
        f"`kernel_size` must have fewer than 2**63 cells for the convention 'window', got {pooling_arguments(window)}: "
        f"pass the arguments of the pooling call"
    )


def _wrong_leading(argument: str, value: Sequence[int | None], other: str, shape: Sequence[int | None]) -> ValueError:
    return ValueError(
        f"`{argument}` must keep the batch and channels of `{other}`, got {tuple(value)} for shape {tuple(shape)}: "
        f"{what_was_pooled(argument, spatial=True)}, with the `data_format` of the pooling call"
    )


def _no_size(argument: str, value: Sequence[int | None] | None, axis: int, pooled: int, window: Window) -> ValueError:
    return ValueError(
        f"`{argument}` has no valid value: no plane pools to {pooled} in spatial dimension {axis}, got "
        f"{argument}={value} with {pooling_arguments(window)}: pass the arguments of the pooling call"
    )


def _size_needed(argument: str, axis: int, bounds: tuple[int, int], window: Window) -> ValueError:
    return ValueError(
        f"`{argument}` must be given: the default size is empty in spatial dimension {axis}, got {argument}=None with "
        f"{pooling_arguments(window)}: pass a size that is {_between(*bounds)} there"
    )


def _size_out_of_range(
    argument: str,
    value: Sequence[int | None],
    axis: int,
    pooled: int,
    bounds: tuple[int, int],
    window: Window,
) -> ValueError:
    return ValueError(
        f"`{argument}` must be {_between(*bounds)} in spatial dimension {axis} to pool to {pooled}, got "
        f"{argument}={value} with {pooling_arguments(window)}: {what_was_pooled(argument)}"
    )


def _too_many_cells(argument: str, shape: Sequence[int | None]) -> ValueError:
    return ValueError(
        f"`{argument}` must be the size of an array of fewer than 2**59 elements, got shape {tuple(shape)}: pass the "
        f"arguments of the pooling call"
    )


def _between(low: int, high: int) -> str:
    # The numbers of a traced program cannot be compared: they count as equal if they are the same object.
    one = low is high or (type(low) is type(high) is int and low == high)
    return f"{low}" if one else f"between {low} and {high} (both allowed)"
