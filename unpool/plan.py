"""Kernel, stride, padding and sizes in; one small frozen `Plan` out.

Every shape rule of the library is in this module.  It knows integers and tuples; arrays, dtypes and frameworks never
come here.  Per axis, pooling with kernel k, stride s, padding p and dilation d takes ``size`` cells to

    floor((size + 2 p - d (k - 1) - 1) / s) + 1        (`ceil_mode` rounds up, but no window starts past the input)

windows, window ``o`` reading the cells ``o s - p + j d`` for ``j`` in ``0..k-1``.  The inverse is one of several sizes:

    default = (windows - 1) s - 2 p + d (k - 1) + 1,    default - s < size < default + s

With ``padding="same"`` there are ``ceil(size / s)`` windows, as TensorFlow, Keras and JAX have it: the plane is padded
by what they reach past it, the smaller half before it.  That follows from the size, so a `Window` has `SAME` in its
place, and

    default = windows s,    default - s < size <= default

One and two dimensions are three with leading ones: a Plan always has triples, so backends know one case.

A framework that traces a program may not know a size before the program runs.  Such a size is None here, and so is
all that follows from it; or it is a symbol of PyTorch's or JAX's, to compute with.  The rules that need it are left to
the backend, which applies them in the words of `errors`.  Backends of frameworks that do not trace never meet one.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Literal, NamedTuple, TypeAlias, cast

from unpool import errors
from unpool.tracing import afresh

Triple: TypeAlias = "tuple[int, int, int]"
# Which indices are reported: outside their plane (True), outside their own window, or none where that costs a wait.
Validate: TypeAlias = "bool | Literal['windows']"

_IS_LAST = {"channels_first": False, "channels_last": True}
LAYOUTS = {
    # One and two dimensions too, so that a message shows the user's own layout.
    (1, False): ("(N, C, L)", "(C, L)"),
    (2, False): ("(N, C, H, W)", "(C, H, W)"),
    (3, False): ("(N, C, D, H, W)", "(C, D, H, W)"),
    (1, True): ("(N, L, C)", "(L, C)"),
    (2, True): ("(N, H, W, C)", "(H, W, C)"),
    (3, True): ("(N, D, H, W, C)", "(D, H, W, C)"),
}
# Stands for a padding that follows from the size.
SAME = -1
_PADDINGS = {"same": SAME, "valid": 0}
# Kernels compute o * stride - padding + j * dilation in 64 bits, where two factors below 2**31 cannot overflow, and
# keep a maximum as its offset from the corner of its window in 32.
LARGEST = 2**31 - 1


class Window(NamedTuple):
    """The pooling arguments, one entry per spatial dimension; a padding may be `SAME`, along all of them."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a backend needs to know of a call besides its arrays; a size that only a run will know is None."""

    # The window, and the sizes on both sides of it, as (depth, height, width); the padding is what is before the plane.
    kernel: Triple
    stride: Triple
    padding: Triple
    dilation: Triple
    pooled: Triple
    plane: Triple
    # Planes: batch * channels of them, each of `windows` pooled values and `cells` cells.
    batch: int
    channels: int
    windows: int
    cells: int
    channels_last: bool
    # The arrays as the user has them.
    pooled_shape: tuple[int, ...]
    plane_shape: tuple[int, ...]
    # The spatial sizes of the plane and the argument that gave them, for messages.
    spatial: tuple[int, ...]
    sized_by: str
    # Which indices are bad, and whether a backend for which a report costs a wait may wait for it.
    validate: Validate = True
    # What pooling is to return; None where nobody asked for indices.
    index_dtype: str | None = None
    # Whether pooling counts a last window that sticks out.
    ceil_mode: bool = False
    # Whether the padding followed from the size.
    same: bool = False
    # The entries that were given as a size, where a run is to apply a rule to them; some of them may be a framework's.
    given: tuple[Any, ...] | None = None

    @property
    def window(self) -> Window:
        """The pooling arguments as they were given."""
        first = 3 - len(self.spatial)
        padding = (SAME,) * 3 if self.same else self.padding
        return Window(*[entry[first:] for entry in (self.kernel, self.stride, padding, self.dilation)])

    @property
    def values(self) -> str:
        """What the user calls the values that are put into planes."""
        return values_sized_by(self.sized_by)


def values_sized_by(argument: str) -> str:
    """Return the argument with the values, of the function whose plane gets its size from this one."""
    return {"input_size": "grad_output", "like": "inputs"}.get(argument, "input")


def traced_sizes(
    argument: str, value: object, rank: int, channels_last: bool
) -> tuple[tuple[int, ...], tuple[Any, ...] | None]:
    """Return a sequence of sizes as a tuple, None where only a run will know one, and the entries where there is one.

    Entries may be arrays of a framework that traces, or the sequence is one array.  The batch and channels may be left
    open by a None of the user's, as frameworks write their shapes.

    >>> traced_sizes("output_size", [4, 5], 2, False)
    ((4, 5), None)
    >>> traced_sizes("output_size", (None, 3, 4, 5), 2, False)
    ((None, 3, 4, 5), None)
    """
    if _is_plain(value) and isinstance(value, tuple):
        return tuple(value), None
    entries = _entries(value)
    if entries is None:
        raise errors.not_sizes(argument, value)
    known = tuple([_integers(entry) for entry in entries])
    for place, (entry, found) in enumerate(zip(entries, known, strict=True)):
        if isinstance(found, int) or _is_traced(entry, ()):
            continue
        if entry is not None or len(entries) not in (rank + 1, rank + 2):
            raise errors.not_sizes(argument, value)
        if place in range(*spatial_axes(len(entries), rank, channels_last).indices(len(entries))):
            raise errors.size_left_open(argument, entries)
    if all(found is not None or entry is None for entry, found in zip(entries, known, strict=True)):
        return cast("tuple[int, ...]", known), None
    merged = tuple([entry if found is None else found for entry, found in zip(entries, known, strict=True)])
    return cast("tuple[int, ...]", known), merged


def _entries(value: Any) -> tuple[Any, ...] | None:
    """Take a sequence apart, which may be an array, a framework's shape, or an array that only a run will know."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    elif hasattr(value, "numpy"):  # TensorFlow's arrays, unless it traces
        value = value.numpy().tolist()
    elif hasattr(value, "as_list"):  # TensorFlow's shapes
        try:
            value = value.as_list()
        except ValueError:  # of which it knows nothing
            return None
    elif _is_traced(value, None) and len(value.shape) == 1 and value.shape[0] is not None:
        return tuple([value[place] for place in range(value.shape[0])])
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else None


def _is_traced(value: Any, shape: tuple[int, ...] | None) -> bool:
    """Whether a value is an array of integers, of this shape where one is given, that cannot be read now."""
    try:
        found, dtype = tuple(value.shape), str(value.dtype)
    except (AttributeError, TypeError, ValueError):
        return False
    return "int" in dtype and (shape is None or found == shape)


def spatial_axes(entries: int, rank: int, channels_last: bool) -> slice:
    """Where the spatial entries stand among so many: all of them, or those beside batch and channels."""
    if entries == rank:
        return slice(0, rank)
    first = entries - rank - 1 if channels_last else entries - rank
    return slice(first, first + rank)


def common_shape(argument: str, shape: tuple[int, ...], other: str, expected: tuple[int, ...]) -> tuple[int, ...]:
    """Return what is known of a shape that two arrays must share.

    >>> common_shape("indices", (None, 3, 4), "input", (2, 3, None))
    (2, 3, 4)
    """
    differ = any(a != b and a is not None and b is not None for a, b in zip(shape, expected, strict=False))
    if differ or len(shape) != len(expected):
        raise errors.shapes_differ(argument, shape, other, expected)
    return tuple([b if a is None else a for a, b in zip(shape, expected, strict=True)])


def _is_plain(value: object) -> bool:
    """Whether a value is a Python integer, a tuple of them, or a word, and nothing that merely equals one."""
    if not isinstance(value, tuple):
        return type(value) in (int, str)
    for entry in value:  # noqa: SIM110 - all() takes twice as long, at every call
        if type(entry) is not int and not _is_symbol(entry):
            return False
    return True


def _integers(value: Any) -> int | tuple[int, ...] | None:
    """Return an integer, a sequence of them as a tuple, and None for anything else."""
    if type(value) is int:
        return value
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        value = value.tolist()
    try:
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            return tuple([operator.index(entry) for entry in value])
        return operator.index(value)
    except TypeError:
        return None


def per_axis(argument: str, value: object, rank: int, low: int) -> tuple[int, ...]:
    entries = _integers(value)
    if entries is None:
        raise errors.not_an_integer(argument, value)
    if not isinstance(entries, tuple):
        entries = (entries,) * rank
    elif len(entries) != rank:
        raise errors.wrong_length(argument, entries, rank)
    for entry in entries:
        if not low <= entry <= LARGEST:
            raise errors.out_of_bounds(argument, value, low, LARGEST)
    return entries


def window(
    rank: int,
    kernel_size: object,
    stride: object,
    padding: object,
    dilation: object,
    names: tuple[str, str] = ("kernel_size", "stride"),
) -> Window:
    """Check the four pooling arguments and give each one entry per spatial dimension.

    `names` are what the user calls the first two.

    >>> window(2, 3, None, (0, 1), 1)
    Window(kernel=(3, 3), stride=(3, 3), padding=(0, 1), dilation=(1, 1))
    """
    plain = type(kernel_size) is int and type(padding) is int and type(dilation) is int
    if not plain or (stride is not None and type(stride) is not int):
        for argument in (kernel_size, stride, padding, dilation):
            if argument is not None and not _is_plain(argument):
                # Not kept: 2.0 equals 2, and what was met before must not decide what is an error.
                return _window(rank, kernel_size, stride, padding, dilation, names)
    checked: Window = afresh(_kept_window)(rank, kernel_size, stride, padding, dilation, names)
    return checked


def _window(
    rank: int, kernel_size: object, stride: object, padding: object, dilation: object, names: tuple[str, str]
) -> Window:
    kernel = per_axis(names[0], kernel_size, rank, 1)
    checked = Window(
        kernel,
        kernel if stride is None else per_axis(names[1], stride, rank, 1),
        _padding(padding, rank),
        per_axis("dilation", dilation, rank, 1),
    )
    for pad, size in zip(checked.padding, kernel, strict=True):
        if pad > size // 2:
            raise errors.padding_too_large(checked.padding, kernel)
    return checked


def _padding(value: object, rank: int) -> tuple[int, ...]:
    if isinstance(value, str):
        if value not in _PADDINGS:
            raise errors.unknown_padding(value)
        return (_PADDINGS[value],) * rank
    return per_axis("padding", value, rank, 0)


def padding_of(window: Window) -> Any:
    """Return a padding as users write it.

    >>> padding_of(window(2, 3, 2, "same", 1)), padding_of(window(2, 3, 2, 1, 1))
    ('same', (1, 1))
    """
    return "same" if SAME in window.padding else window.padding


_kept_window = lru_cache(maxsize=256)(_window)


def check_choice(argument: str, value: object, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise errors.unknown_choice(argument, value, choices)


def check_validate(value: object) -> Validate:
    if isinstance(value, str):
        if value != "windows":
            raise errors.unknown_choice("validate", value, (True, False, "windows"))
        return "windows"
    return bool(value)


def is_channels_last(data_format: str) -> bool:
    try:
        return _IS_LAST[data_format]
    except (KeyError, TypeError):  # TypeError: unhashable
        raise errors.unknown_choice("data_format", data_format, tuple(_IS_LAST)) from None


@lru_cache(maxsize=1024)
def pool(shape: tuple[int, ...], window: Window, ceil_mode: bool, channels_last: bool, index_dtype: str | None) -> Plan:
    """Plan a pooling of an array of this shape.

    >>> pool((1, 3, 5, 5), window(2, 2, 2, 0, 1), ceil_mode=True, channels_last=False, index_dtype=None).pooled_shape
    (1, 3, 3, 3)
    """
    batch, channels, sizes = _split("input", shape, len(window.kernel), channels_last)
    pooled = tuple(_windows(axis, shape, sizes, window, ceil_mode) for axis in range(len(sizes)))
    cells = product(sizes)
    if cells is not None and not _is_symbol(cells):
        distance = span(sizes, window)
        if distance > LARGEST:
            raise errors.window_too_large(window, distance)
        if index_dtype == "int32" and cells - 1 > LARGEST:
            raise errors.index_dtype_too_small(cells)
    return _plan(
        window,
        batch,
        channels,
        pooled,
        sizes,
        channels_last,
        shape,
        sized_by="input",
        index_dtype=index_dtype,
        ceil_mode=ceil_mode,
    )


@lru_cache(maxsize=1024)
def unpool(
    shape: tuple[int, ...],
    window: Window,
    output_size: tuple[int, ...] | None,
    channels_last: bool,
    validate: Validate = True,
    argument: str = "input",
    sized_by: str = "output_size",
) -> Plan:
    """Plan an unpooling of an array of this shape, or a gradient, which moves values between the same two shapes.

    `argument` and `sized_by` name the user's arguments that the shape and the size came from.

    >>> unpool((1, 3, 2, 2), window(2, 2, 2, 0, 1), (5, 5), channels_last=False).plane_shape
    (1, 3, 5, 5)
    """
    rank = len(window.kernel)
    batch, channels, pooled = _split(argument, shape, rank, channels_last)
    sizes = _spatial(output_size, shape, rank, channels_last, argument, sized_by)
    defaults = [default_size(count, *along) for count, *along in zip(pooled, *window, strict=True)]
    if sizes is None:
        sizes = tuple(cast("list[int]", defaults))
    for axis, (size, default) in enumerate(zip(sizes, defaults, strict=True)):
        if default is None or _is_symbol(default) or _is_symbol(size):
            continue
        low, high = bounds(default, axis, window)
        low = max(1, low)
        if low > high:
            raise errors.no_size(sized_by, output_size, axis, pooled[axis], window)
        if size is not None and not low <= size <= high:
            if output_size is None:
                raise errors.size_needed(sized_by, axis, (low, high), window)
            raise errors.size_out_of_range(sized_by, output_size, axis, pooled[axis], (low, high), window)
    return _plan(window, batch, channels, pooled, sizes, channels_last, shape, sized_by=sized_by, validate=validate)


def _is_symbol(size: object) -> bool:
    """Whether a size is a symbol of one, PyTorch's or JAX's; the rules are left to the number that it will be."""
    return type(size).__name__ in ("SymInt", "_DimExpr")


def check_taps(window: Window) -> None:
    """Refuse windows whose taps 64 bits cannot number."""
    if prod(window.kernel) > 2**63 - 1:
        raise errors.too_many_taps(window)


def span(sizes: Sequence[Any], window: Window) -> Any:
    """The distance from the first to the last cell of a window, in cells of the plane."""
    distance: Any = 0
    for size, kernel, dilation in zip(sizes, window.kernel, window.dilation, strict=True):
        distance = distance * size + (kernel - 1) * dilation
    return distance


def default_size(windows: Any, kernel: int, stride: int, padding: int, dilation: int) -> Any:
    """The size that so many windows cover along one axis; None if their number is not known.

    >>> default_size(3, 2, 2, 0, 1)
    6
    """
    if windows is None:
        return None
    if padding == SAME:
        return windows * stride
    return (windows - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1


def bounds(default: Any, axis: int, window: Window) -> tuple[Any, Any]:
    """The smallest and the largest size along an axis that pool to as many windows as the default one."""
    stride = window.stride[axis]
    return default - stride + 1, default if window.padding[axis] == SAME else default + stride - 1


def padding_before(size: Any, windows: Any, kernel: int, stride: int, padding: int, dilation: int) -> Any:
    """How many cells are padded before a plane along one axis; None if that depends on a size that is not known.

    >>> padding_before(5, 3, 3, 2, SAME, 1), padding_before(6, 3, 3, 2, SAME, 1)
    (1, 0)
    """
    if padding != SAME:
        return padding
    span = dilation * (kernel - 1) + 1
    # The last window begins 1 to `stride` cells before the end of the plane.
    least, most = max(span - stride, 0) // 2, (span - 1) // 2
    if least == most:
        return most
    if size is None or windows is None:
        return None
    reach = (windows - 1) * stride + span - size
    if span < stride:  # it may end before the plane: this is max(reach, 0), for symbols and tensors, too
        reach = reach * (1 + reach // stride)
    return reach // 2


def taps_inside(size: Any, windows: Any, kernel: int, stride: int, padding: Any, dilation: int) -> tuple[int, int]:
    """The taps first..end-1 along one axis that some window may have inside a plane; all of them if sizes are unknown.

    Windows may be much larger than the plane, so what is computed tap by tap must leave the others out.

    >>> taps_inside(4, 1, 70000, 70000, 34998, 1), taps_inside(4, 4, 3, 1, 100, 100), taps_inside(9, 5, 3, 2, 1, 1)
    ((34998, 35002), (0, 2), (0, 3))
    """
    if not all(isinstance(entry, int) for entry in (size, windows, padding)):
        return 0, kernel
    first = max(0, padding - (windows - 1) * stride) // dilation
    return first, min(kernel, (padding + size - 1) // dilation + 1)


def product(sizes: Sequence[int | None]) -> int | None:
    """Multiply sizes; None if one is not known."""
    return None if None in sizes else prod(cast("Sequence[int]", sizes))


def _split(argument: str, shape: tuple[int, ...], rank: int, channels_last: bool) -> tuple[int, int, tuple[int, ...]]:
    """Take a shape apart into batch, channels and spatial sizes."""
    unbatched = len(shape) == rank + 1
    if not unbatched and len(shape) != rank + 2:
        raise errors.wrong_rank(argument, shape, rank, LAYOUTS[rank, channels_last])
    sample = shape if unbatched else shape[1:]
    if 0 in sample:
        raise errors.empty_dimension(argument, shape)
    batch = 1 if unbatched else shape[0]
    return (batch, sample[-1], sample[:-1]) if channels_last else (batch, sample[0], sample[1:])


def _windows(axis: int, shape: tuple[int, ...], sizes: tuple[int, ...], window: Window, ceil_mode: bool) -> int:
    """Count the windows along one axis; each must read at least one cell of the input."""
    size = sizes[axis]
    if size is None:
        return cast(int, None)
    kernel, stride, padding, dilation = (entry[axis] for entry in window)
    if padding == SAME:
        count = (size + stride - 1) // stride
        if dilation > 1 and not _is_symbol(size):
            _check_dilation(axis, size, count, window)
        return count
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    if count < 1:
        raise errors.pooled_to_nothing("input", shape, axis, window)
    if padding and dilation > size:
        _check_dilation(axis, size, count, window)
    return count


def _check_dilation(axis: int, size: int, count: int, window: Window) -> None:
    """Refuse a window that starts in the padding and steps over the whole input.

    PyTorch pools those to -inf and an index outside the plane.
    """
    _, stride, _, dilation = along = tuple(entry[axis] for entry in window)
    padding = padding_before(size, count, *along)
    for start in range(-padding, min(0, (count - 1) * stride - padding + 1), stride):
        if start % dilation >= size:  # its first cell from 0 on is where it starts, modulo the dilation
            raise errors.window_in_padding("input", size, axis, window)


def _spatial(
    output_size: tuple[int, ...] | None,
    shape: tuple[int, ...],
    rank: int,
    channels_last: bool,
    argument: str,
    sized_by: str,
) -> tuple[int, ...] | None:
    """Take the spatial entries of a size given in any of its three lengths."""
    if output_size is None or len(output_size) == rank:
        return output_size
    if len(output_size) != len(shape):
        raise errors.wrong_size_length(sized_by, output_size, rank, len(shape))
    spatial = spatial_axes(len(shape), rank, channels_last)
    for place, (size, expected) in enumerate(zip(output_size, shape, strict=True)):
        inside = spatial.start <= place < spatial.stop
        if not inside and size != expected and size is not None and expected is not None:
            raise errors.wrong_leading(sized_by, output_size, argument, shape)
    return output_size[spatial]


def _plan(
    window: Window,
    batch: int,
    channels: int,
    pooled: tuple[int, ...],
    sizes: tuple[int, ...],
    channels_last: bool,
    shape: tuple[int, ...],
    **rest: Any,
) -> Plan:
    leading = shape[: len(shape) - len(sizes) - 1]

    def full(spatial: tuple[int, ...]) -> tuple[int, ...]:
        return (*leading, *spatial, channels) if channels_last else (*leading, channels, *spatial)

    check_countable(rest["sized_by"], full(sizes))
    padding = tuple([padding_before(*along) for along in zip(sizes, pooled, *window, strict=True)])
    return Plan(
        kernel=_triple(window.kernel, 1),
        stride=_triple(window.stride, 1),
        padding=_triple(padding, 0),
        dilation=_triple(window.dilation, 1),
        pooled=_triple(pooled, 1),
        plane=_triple(sizes, 1),
        batch=batch,
        channels=channels,
        windows=cast(int, product(pooled)),
        cells=cast(int, product(sizes)),
        channels_last=channels_last,
        pooled_shape=full(pooled),
        plane_shape=full(sizes),
        spatial=sizes,
        same=SAME in window.padding,
        **rest,
    )


def check_countable(argument: str, shape: tuple[int, ...]) -> None:
    """Refuse arrays whose bytes 64 bits cannot count, at up to 16 an element."""
    # A list, which PyTorch can trace.
    if prod([max(1, size) for size in shape if size is not None and not _is_symbol(size)]) >= 2**59:
        raise errors.too_many_cells(argument, shape)


def _triple(entries: tuple[int, ...], fill: int) -> Triple:
    return cast(Triple, (fill,) * (3 - len(entries)) + entries)
