"""The messages that several files share, and parts of messages: a bad index reads the same on every device.

A message names the argument in backticks, states the rule, shows the value received and gives the next step.  Functions
here build the exception; the caller raises it, so a traceback ends where the rule was broken.  A message of one file
alone is at the end of that file; the CUDA backend and the Keras layers have a `messages.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from unpool.windows import Window


class BackendUnavailableError(ImportError):
    """The backend of these arrays is not installed, or does not work on this machine."""


class DataFormatWarning(UserWarning):
    """A call does not name `data_format`, and its array may have the channels last."""


class DefaultSizeWarning(UserWarning):
    """A program takes the default for a size that is unknown until it runs, and cannot report indices that do not fit.

    Several sizes pool to the same one.  In a program of JAX with symbolic sizes, and in a model of Keras on JAX, an
    index of a larger plane is dropped or names another cell, without an error.
    """


# --- arguments ------------------------------------------------------------------------------------------------------


_LONGEST = 80  # characters of a value in a message
_CONVERT = "if TensorFlow, ONNX or Chainer made the indices, convert them by unpool.convert_indices"
# The names of a choice in other libraries.
_ALSO_KNOWN_AS: dict[object, tuple[str, ...]] = {
    "channels_first": ("ncl", "ncw", "nchw", "ncdhw"),
    "channels_last": ("nlc", "nwc", "nhwc", "ndhwc"),
}


def shown(value: object) -> str:
    """Return a value for a message, in one short line: a large array by its type and shape.

    >>> shown((2, 2.5)), shown([0.5] * 1000)[-10:]
    ('(2, 2.5)', ' 0.5, 0...')
    """
    text = repr(value)
    if len(text) <= _LONGEST and "\n" not in text:
        return text
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{kind_of(value)} of shape {tuple(shape)}"
    return f"{' '.join(text.split())[: _LONGEST - 3]}..."


def unknown_choice(argument: str, value: object, choices: Sequence[object]) -> ValueError:
    text = value.lower() if isinstance(value, str) else ""
    meant = [choice for choice in choices if str(choice).lower() == text or text in _ALSO_KNOWN_AS.get(choice, ())]
    advice = f"pass {meant[0]!r}" if meant else "pass one of these"
    return ValueError(f"`{argument}` must be one of {', '.join(map(repr, choices))}, got {shown(value)}: {advice}")


# --- arrays ---------------------------------------------------------------------------------------------------------


def kind_of(value: object) -> str:
    """Return the qualified name of a value's type, as a user would write it: ``numpy.ndarray``, ``list``."""
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def empty_dimension(argument: str, shape: Sequence[int | None]) -> ValueError:
    return ValueError(
        f"`{argument}` must have at least one element in every dimension but the batch, got shape {tuple(shape)}: "
        f"leave such arrays out"
    )


def fixed_arrays(argument: str, library: str) -> TypeError:
    return TypeError(
        f"`{argument}` must be left out for arrays of {library}, which cannot be written into: use what the call "
        f"returns"
    )


def not_dense(argument: str, kind: str, convert: str) -> TypeError:
    return TypeError(f"`{argument}` must be a dense tensor, got {kind}: pass {convert}")


def devices_differ(argument: str, device: str, other: str, expected: str, convert: str) -> TypeError:
    return TypeError(f"`{other}` and `{argument}` must be on one device, got {expected} and {device}: pass {convert}")


def unusable_out(argument: str) -> ValueError:
    return ValueError(
        f"`{argument}` must be writeable, aligned, C-contiguous and in native byte order, got an array that is not: "
        f"write into a new array and copy it over"
    )


def overlapping_out(argument: str) -> ValueError:
    return ValueError(
        f"`{argument}` must not share memory with the other arrays of the call, which are still read while it is "
        f"written: pass another array as `{argument}`"
    )


# --- indices --------------------------------------------------------------------------------------------------------


def bad_index(
    position: Sequence[int], value: int, plane: Sequence[int], sized_by: str, *, touched: bool = False
) -> IndexError:
    """Return the error of the first index outside its plane, in row-major order of ``indices``."""
    cells = 1
    for size in plane:
        cells *= size
    return IndexError(
        f"{index_at(position)} = {value} is out of range for {_plane(plane, sized_by)}: expected 0..{cells - 1}; "
        f"{what_was_pooled(sized_by, f' as `{sized_by}`')}; {_CONVERT}{_touched(touched)}"
    )


def outside_window(
    position: Sequence[int],
    value: int,
    plane: Sequence[int],
    window: Window,
    sized_by: str,
    *,
    touched: bool = False,
) -> IndexError:
    """Return the error of the first index outside its own window, in row-major order of ``indices``."""
    return IndexError(
        f"{index_at(position)} = {value} is outside its own window in {_plane(plane, sized_by)}, with "
        f"{pooling_arguments(window)}: {what_was_pooled(sized_by, f' as `{sized_by}`')}, with the arguments of the "
        f"pooling call{_touched(touched)}"
    )


def bad_tap(
    position: Sequence[int],
    value: int,
    plane: Sequence[int],
    window: Window,
    sized_by: str,
    *,
    touched: bool = False,
) -> IndexError:
    """Return the error of the first index that is no tap of its window, or one in the padding, in row-major order."""
    taps = 1
    for size in window.kernel:
        taps *= size
    return IndexError(
        f"{index_at(position)} = {value} is no tap of its window in {_plane(plane, sized_by)}: expected a tap from 0 "
        f"to {taps - 1} that is not in the padding, with {pooling_arguments(window)}; "
        f"{what_was_pooled(sized_by, f' as `{sized_by}`')}, with the arguments of the pooling call. If the indices are "
        f"positions in the plane, pass index_format='plane'; {_CONVERT}{_touched(touched)}"
    )


def duplicate_index(first: Sequence[int], second: Sequence[int], value: int, *, touched: bool = False) -> ValueError:
    return ValueError(
        f"`indices` must not repeat within a plane where duplicates='error', got {index_at(first)} = "
        f"{index_at(second)} = {value}: pass duplicates='last' (the last one wins) or 'sum' (they add up)"
        f"{_touched(touched)}"
    )


def duplicate_tap(first: Sequence[int], second: Sequence[int], *, touched: bool = False) -> ValueError:
    """Return the error of two taps of windows that overlap."""
    return ValueError(
        f"`indices` must not repeat a cell within a plane where duplicates='error', got {index_at(first)} and "
        f"{index_at(second)}, which are taps at one cell: pass duplicates='last' (the last one wins) or 'sum' (they "
        f"add up){_touched(touched)}"
    )


# --- parts of a message ---------------------------------------------------------------------------------------------


def pooling_arguments(window: Window) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in window.shown().items())


def index_at(position: Sequence[int]) -> str:
    return f"indices[{', '.join(map(str, position))}]"


def is_result(argument: str) -> bool:
    """Return True for an output argument, which a user must not convert: the result would be lost in the copy."""
    return argument == "out" or argument.startswith("out[")


def an_empty_one(library_of: str) -> str:
    return f"pass an empty array of the library of {library_of}"


def what_was_pooled(argument: str, as_what: str = "", *, spatial: bool = False) -> str:
    """Return the advice for a wrong size of the plane, which this argument gave."""
    if argument == "grad_output":
        return "pass the gradient of the array that was unpooled"
    if argument == "input":  # of `take_along_plane`
        return f"pass an array of the size that was pooled{as_what}"
    if argument == "like":  # of the Keras layers
        return "pass what was pooled as `like`, or its size as `output_size`"
    return f"pass {'the spatial entries alone, or ' if spatial else ''}the shape of the array that was pooled{as_what}"


def _plane(plane: Sequence[int], sized_by: str) -> str:
    side = "input" if sized_by == "input" else "output"
    return f"an {side} plane of {' x '.join(map(str, plane))}{' cells' if len(plane) == 1 else ''}"


TOUCHED = "`out` may be partly overwritten"


def _touched(touched: bool) -> str:
    return f". {TOUCHED}" if touched else ""
