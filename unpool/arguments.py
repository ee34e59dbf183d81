"""Check the user's arguments: windows, padding words, choices and sizes.

2.0 and True are not sizes, although they equal 2 and 1.  So only arguments of the exact types int, str and tuple are
looked up in a cache, where 2.0 would hit the entry of 2.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, TypeVar, cast

from unpool import errors
from unpool.errors import kind_of, shown
from unpool.plan import INDEX_FORMATS, IndexFormat, Validate
from unpool.sizes import spatial_axes
from unpool.tracing import how_to_make_static, is_symbol, is_tracer, remembered
from unpool.windows import LARGEST, SAME, SAME_LOWER, Window, from_sides, no_window, sides

DataFormat = Literal["channels_first", "channels_last", "NCW", "NWC", "NCHW", "NHWC", "NCDHW", "NDHWC"]
IndexFormatWord = Literal["plane", "window", "pytorch"]
Word = TypeVar("Word", bound=str)
PaddingWord = Literal["valid", "same", "same_lower", "VALID", "SAME", "SAME_UPPER", "SAME_LOWER"]
Padding: TypeAlias = "int | Sequence[int | Sequence[int]] | PaddingWord"

# TensorFlow's words beside the plain ones.
_IS_LAST = {
    rank: {"channels_first": False, "channels_last": True, f"NC{axes}": False, f"N{axes}C": True}
    for rank, axes in ((1, "W"), (2, "HW"), (3, "DHW"))
}
# The number of spatial dimensions that TensorFlow's words name.
_RANKS = {word: rank for rank, words in _IS_LAST.items() for word in words if word.startswith("N")}
_PADDINGS = {"valid": 0, "same": SAME, "same_lower": SAME_LOWER}
# The words of TensorFlow and ONNX.
_PADDINGS |= {"VALID": 0, "SAME": SAME, "SAME_UPPER": SAME, "SAME_LOWER": SAME_LOWER}


# --- windows ----------------------------------------------------------------------------------------------------------


def window(
    rank: int,
    kernel_size: object,
    stride: object,
    padding: object,
    dilation: object,
    names: tuple[str, str] = ("kernel_size", "stride"),
    *,
    optional: bool = False,
) -> Window:
    """Return the four pooling arguments, checked, each with one entry per spatial dimension.

    `names` are the names of the first two arguments in messages.  With `optional`, the kernel size may be None.

    >>> window(2, 3, None, (0, (0, 1)), 1)
    Window(kernel=(3, 3), stride=(3, 3), padding=(0, (0, 1)), dilation=(1, 1))
    """
    if kernel_size is None and optional:
        return _no_window(rank, stride, padding, dilation, names)
    plain = type(kernel_size) is int and type(padding) is int and type(dilation) is int
    if not plain or (stride is not None and type(stride) is not int):
        plain = _is_plain(padding, pairs=True)
        for argument in (kernel_size, stride, dilation):
            plain = plain and (argument is None or _is_plain(argument))
        if not plain:
            return _window(rank, kernel_size, stride, padding, dilation, names)
    return _remembered_window(rank, kernel_size, stride, padding, dilation, names)


def _window(
    rank: int, kernel_size: object, stride: object, padding: object, dilation: object, names: tuple[str, str]
) -> Window:
    kernel = per_axis(names[0], kernel_size, rank, 1)
    strides = kernel if is_left_out(stride) else per_axis(names[1], stride, rank, 1)
    steps = per_axis("dilation", dilation, rank, 1)
    return Window(kernel, strides, _padding(padding, kernel, steps), steps)


def is_left_out(value: object) -> bool:
    """Return True for None, and for the empty stride that stands for it in programs that PyTorch exports."""
    return value is None or _integers(value) == ()


_remembered_window = remembered(maxsize=256)(_window)


def _no_window(rank: int, stride: object, padding: object, dilation: object, names: tuple[str, str]) -> Window:
    """Return the window of ``kernel_size=None``, which takes the defaults of the other arguments alone."""
    for argument, value, defaults in (
        (names[1], () if is_left_out(stride) else stride, ((),)),
        ("padding", padding, (0, (0,) * rank, "valid", "VALID")),
        ("dilation", dilation, (1, (1,) * rank)),
    ):
        found = value if isinstance(value, str) else _integers(value)
        if found not in defaults:
            raise _needs_window(argument, value, names[0])
    return no_window(rank)


def _padding(value: object, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the padding of each axis; refuse one that could hold a whole window."""
    if isinstance(value, str):
        if value not in _PADDINGS:
            raise _unknown_padding(value)
        return (_PADDINGS[value],) * len(kernel)
    pairs = _pairs(value, len(kernel))
    if pairs is None:
        padding = per_axis("padding", value, len(kernel), 0)
        if any(pad > size // 2 for pad, size in zip(padding, kernel, strict=True)):
            raise _padding_too_large(padding, kernel)
        return padding
    for pair, size, step in zip(pairs, kernel, dilation, strict=True):
        if not 0 <= min(pair) <= max(pair) <= step * (size - 1):
            raise _pair_out_of_range(pairs, kernel, dilation)
    return tuple([from_sides(*pair, size) for pair, size in zip(pairs, kernel, strict=True)])


def _pairs(value: object, rank: int) -> tuple[tuple[int, int], ...] | None:
    """Return a padding as a tuple of pairs (before, after); None if none of its entries is a pair."""
    entries = _listed(value)
    if not isinstance(entries, Sequence):
        return None
    found: list[Any] = [_integers(entry) for entry in entries]
    if None in found or not any(isinstance(entry, tuple) for entry in found):
        return None
    if len(found) != rank or any(isinstance(entry, tuple) and len(entry) != 2 for entry in found):
        raise _not_pairs(value, rank)
    return tuple([sides(entry) for entry in found])


def per_axis(argument: str, value: object, rank: int, low: int) -> tuple[int, ...]:
    """Return an integer, or a sequence of `rank` integers, as a tuple; refuse entries outside `low`..`LARGEST`."""
    entries = _integers(value)
    if entries is None:
        raise _not_an_integer(argument, value)
    if not isinstance(entries, tuple):
        entries = (entries,) * rank
    elif len(entries) != rank:
        raise _wrong_length(argument, entries, rank)
    for entry in entries:
        if not low <= entry <= LARGEST:
            raise _out_of_bounds(argument, value, low, LARGEST)
    return entries


# --- choices ----------------------------------------------------------------------------------------------------------


def check_choice(argument: str, value: object, choices: Sequence[Word]) -> Word:
    """Return the choice that a value is equal to.  One of a subclass of str, such as a StrEnum, becomes the plain word.

    >>> import numpy
    >>> check_choice("duplicates", numpy.str_("last"), ("last", "sum"))
    'last'
    """
    if isinstance(value, str):
        for choice in choices:
            if choice == value:
                return choice
    raise errors.unknown_choice(argument, value, choices)


def check_validate(value: object) -> Validate:
    if isinstance(value, str):
        if value != "windows":
            raise errors.unknown_choice("validate", value, (True, False, "windows"))
        return "windows"
    return bool(value)


def is_channels_last(data_format: str | None, rank: int) -> bool:
    """Return True if a data format has the channels last.  TensorFlow's words name the axes, so they depend on `rank`.

    None, the default, stands for channels first.

    >>> is_channels_last("NHWC", 2), is_channels_last("channels_first", 2)
    (True, False)
    """
    if data_format is None:
        return False
    try:
        return _IS_LAST[rank][data_format]
    except (KeyError, TypeError):  # TypeError: unhashable
        raise errors.unknown_choice("data_format", data_format, tuple(_IS_LAST[rank])) from None


def rank_of(data_format: object, argument: str, shape: Sequence[Any]) -> int:
    """Return the number of spatial dimensions of an array, where no window has it.

    TensorFlow's words name the axes.  The plain ones stand for planes with 3 or 4 dimensions, for volumes with 5.

    >>> rank_of("channels_first", "input", (2, 3, 8, 8)), rank_of("NCW", "input", (2, 3, 8))
    (2, 1)
    """
    if isinstance(data_format, str) and data_format in _RANKS:
        return _RANKS[data_format]
    if len(shape) not in (3, 4, 5):
        raise _unnamed_axes(argument, shape)
    return max(2, len(shape) - 2)


def data_format_of(data_format: str | None, rank: int) -> str:
    """Return the plain word of a data format."""
    return "channels_last" if is_channels_last(data_format, rank) else "channels_first"


def index_format_of(index_format: str) -> IndexFormat:
    """Return the plain word of an index format."""
    return check_choice("index_format", plain_convention(index_format), INDEX_FORMATS)


def plain_convention(name: str) -> str:
    """Return "plane" for "pytorch", another word for it, and other names unchanged."""
    return "plane" if name == "pytorch" else name


# --- sizes ------------------------------------------------------------------------------------------------------------


def sizes_of(
    argument: str, value: object, rank: int, channels_last: bool
) -> tuple[tuple[int, ...], tuple[Any, ...] | None]:
    """Return the sizes as a tuple, with None for each unknown one, and the user's entries if some are traced arrays.

    The user's value may hold traced arrays, or be one.  The batch and the channels may be None, or NaN, as in
    frameworks' shapes.

    >>> sizes_of("output_size", [4, 5], 2, False)
    ((4, 5), None)
    >>> sizes_of("output_size", (None, 3, 4, 5), 2, False)
    ((None, 3, 4, 5), None)
    """
    if _is_plain(value) and isinstance(value, tuple):
        return tuple(value), None
    entries = _entries(value)
    if entries is None:
        raise _not_sizes(argument, value)
    known = tuple([_integers(entry) for entry in entries])
    for place, (entry, found) in enumerate(zip(entries, known, strict=True)):
        if isinstance(found, int) or _is_traced(entry, ()):
            continue
        if entry is not None or len(entries) not in (rank + 1, rank + 2):
            raise _not_sizes(argument, value)
        if place in range(*spatial_axes(len(entries), rank, channels_last).indices(len(entries))):
            raise _size_left_open(argument, entries)
    if all(found is not None or entry is None for entry, found in zip(entries, known, strict=True)):
        return cast("tuple[int, ...]", known), None
    merged = tuple([entry if found is None else found for entry, found in zip(entries, known, strict=True)])
    return cast("tuple[int, ...]", known), merged


def unknown_sizes(entries: Sequence[Any]) -> list[Any]:
    """Return the entries of a size that are traced arrays.

    >>> unknown_sizes((None, 3, 4))
    []
    """
    return [entry for entry in entries if entry is not None and not isinstance(entry, int)]


def _entries(value: Any) -> tuple[Any, ...] | None:
    """Return the entries of a sequence, an array, a framework's shape or a traced array; None for other values."""
    if hasattr(value, "tolist"):
        value = _listed(value)
    elif hasattr(value, "numpy"):  # TensorFlow's eager tensors; traced ones have no such method
        value = value.numpy().tolist()
    elif hasattr(value, "as_list"):  # TensorFlow's shapes
        try:
            value = value.as_list()
        except ValueError:  # unknown rank
            return None
    elif _is_traced(value, None) and len(value.shape) == 1 and value.shape[0] is not None:
        return tuple([value[place] for place in range(value.shape[0])])
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        return None
    return tuple([None if isinstance(entry, float) and entry != entry else entry for entry in value])  # NaN in Dask


def _is_traced(value: Any, shape: tuple[int, ...] | None) -> bool:
    """Return True if a value looks like a traced array of integers, of the given shape unless that is None.

    Sizes may be such arrays in TensorFlow's programs, but not in JAX's.
    """
    if is_tracer(value):
        return False
    try:
        found, dtype = tuple(value.shape), str(value.dtype)
    except (AttributeError, TypeError, ValueError):
        return False
    return "int" in dtype and (shape is None or found == shape)


# --- integers ---------------------------------------------------------------------------------------------------------


def _is_plain(value: object, pairs: bool = False) -> bool:
    """Return True if a value is safe as a cache key: an integer, a str, or a tuple of integers, or of `pairs` of them.

    2.0 == 2 must not hit.
    """
    if not isinstance(value, tuple):
        return type(value) in (int, str)
    for entry in value:
        if type(entry) is int or is_symbol(entry) or (pairs and type(entry) is tuple and _is_plain(entry)):
            continue
        return False
    return True


def _integers(value: Any) -> int | tuple[int, ...] | None:
    """Return an integer as it is, a sequence of integers as a tuple, and None for any other value."""
    value = _listed(value)
    try:
        if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            return tuple([_index(entry) for entry in value])
        return _index(value)
    except TypeError:
        return None


def _listed(value: Any) -> Any:
    """Return the entries of NumPy's scalars and arrays, and of arrays like them; return other values as they are."""
    if type(value) is int:  # PyTorch cannot trace the look for an attribute of a symbol
        return value
    try:
        return value.tolist() if hasattr(value, "tolist") else value
    except TypeError:  # a tracer of JAX
        return value


def _index(value: Any) -> int:
    """Return `operator.index`, which would take True for 1, and NumPy's before NumPy 2."""
    if isinstance(_listed(value), bool):
        raise TypeError
    return operator.index(value)


# --- messages ---------------------------------------------------------------------------------------------------------


def _not_an_integer(argument: str, value: object) -> TypeError:
    static = how_to_make_static(value)
    if static is not None:
        return TypeError(f"`{argument}` must be known when the program is traced, got {value!r}: {static}")
    whole = isinstance(value, float) and value.is_integer()
    advice = f"pass {value:.0f}" if whole else "pass one integer, or one for each spatial dimension"
    return TypeError(f"`{argument}` must be an integer or a sequence of integers, got {shown(value)}: {advice}")


def _unknown_padding(value: str) -> ValueError:
    known = value.lower() if value.lower() in _PADDINGS else None
    return ValueError(
        f"`padding` must be an integer, a sequence of integers or of pairs (before, after), 'same', 'same_lower' or "
        f"'valid', got {shown(value)}: pass {repr(known) if known else '0 for none'}"
    )


def _not_pairs(value: object, rank: int) -> ValueError:
    return ValueError(
        f"`padding` must have an integer or a pair (before, after) for each of {rank} spatial dimensions, got "
        f"{shown(value)}: leave out the batch and the channels"
    )


def _not_sizes(argument: str, value: object) -> TypeError:
    if any(map(is_tracer, value if isinstance(value, (tuple, list)) else (value,))):
        return TypeError(
            f"`{argument}` must be known when the program is traced, got {value!r}: pass the shape of an array, or "
            f"{how_to_make_static(value)}"
        )
    found = f"{kind_of(value)} of shape {value.shape}" if hasattr(value, "shape") else shown(value)
    return TypeError(f"`{argument}` must be a sequence of integers, got {found}: pass the shape of an array")


def _wrong_length(argument: str, value: Sequence[int | None], rank: int) -> ValueError:
    rule = f"one integer or {rank} of them, one per spatial dimension" if rank > 1 else "one integer"
    if len(value) == 2 * rank and argument == "padding":
        advice = f"pass {'a pair' if rank == 1 else f'{rank} pairs'} (before, after), such as {((0, 1),) * rank}"
    elif len(value) == rank + 2:  # a shape, or a window of TensorFlow
        advice = "leave out the batch and the channels"
    else:
        advice = f"pass {rank} of them" if rank > 1 else "pass one integer"
    if len(value) > rank and argument == "stride":
        advice = f"if this is a shape, pass it as `output_size`; else {advice}"
    return ValueError(f"`{argument}` must be {rule}, got {shown(tuple(value))}: {advice}")


def _out_of_bounds(argument: str, value: object, low: int, high: int) -> ValueError:
    return ValueError(
        f"`{argument}` must be between {low} and {high} in every dimension, got {shown(value)}: pass a number in that "
        f"range"
    )


def _padding_too_large(padding: Sequence[int], kernel: Sequence[int]) -> ValueError:
    return ValueError(
        f"`padding` must be at most half of `kernel_size` (rounded down), got padding={padding} and "
        f"kernel_size={kernel}: pass a smaller padding, since a window of padding alone has no maximum"
    )


def _pair_out_of_range(padding: Sequence[object], kernel: Sequence[int], dilation: Sequence[int]) -> ValueError:
    return ValueError(
        f"`padding` must be between 0 and dilation * (kernel_size - 1) before and after the plane, got "
        f"padding={tuple(padding)}, kernel_size={kernel} and dilation={dilation}: pass smaller pairs, since a window "
        f"of padding alone has no maximum"
    )


def _needs_window(argument: str, value: object, kernel: str) -> ValueError:
    return ValueError(
        f"`{argument}` must be left out where {kernel}=None, got {shown(value)}: pass the `{kernel}` of the pooling "
        f"call too, or `output_size` alone"
    )


def _size_left_open(argument: str, value: Sequence[int | None]) -> ValueError:
    return ValueError(
        f"`{argument}` must have an integer for each spatial size, got {shown(tuple(value))}: for a size unknown "
        f"before the run, pass the shape as an array that the run computes; for a Dask array, call "
        f"compute_chunk_sizes() first"
    )


def _unnamed_axes(argument: str, shape: Sequence[int | None]) -> ValueError:
    return ValueError(
        f"`{argument}` must have 4 dimensions (N, C, H, W), 3 without the batch (C, H, W), or 5 (N, C, D, H, W), where "
        f"`data_format` does not name its axes, got shape {tuple(shape)}: pass data_format='NCW' for rows (C, L), or "
        f"reshape it"
    )
