"""The warnings of the library, at the user's line.

Without `data_format`, an array may have the channels last.  Taken as channels first, a photograph (H, W, 3) is pooled
along W and its channels, and no size is wrong.  Without a size, a program that drops bad indices may unpool to a wrong
one.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from unpool.errors import DataFormatWarning, DefaultSizeWarning, what_was_pooled
from unpool.registry import BUILT_IN, BY_PACKAGE
from unpool.sizes import Size
from unpool.tracing import traced

# A picture has at most so many channels, and over so many times more cells along an axis.
_MOST_CHANNELS = 4
_LEAST_RATIO = 16
# Their frames are not the user's: TensorFlow's autograph, for one, calls functions for the user.
_NOT_THE_USERS = {"unpool", "unpool_backends", *BY_PACKAGE}


def may_be_channels_last(shape: object, sizes: Sequence[Size], rank: int) -> bool:
    """Return True if the channels of an array may be last, by the library that its shape is of, or by its sizes.

    Square planes are those that a network makes of a picture, and have their channels first.

    >>> [may_be_channels_last(shape, shape, 2) for shape in ((431, 359, 3), (3, 431, 359), (512, 2, 2))]
    [True, False, False]
    """
    if traced():  # PyTorch cannot trace a warning, and would compile the program again for each result of a comparison
        return False
    library = BY_PACKAGE.get(_package(type(shape).__module__))
    if library is not None and BUILT_IN[library].channels_last:
        return True
    known = [size for size in sizes[-rank - 1 :] if isinstance(size, int)]
    if len(known) <= rank:  # the others are symbols, or unknown
        return False
    channels, *plane = known
    last = plane[-1]
    return last <= _MOST_CHANNELS and channels > _LEAST_RATIO * last and plane[-2:] != [last, last]


def warn_of_format(argument: str) -> None:
    """Warn that `data_format` is not named for an array that may have the channels last."""
    warnings.warn(_unnamed_format(argument), stacklevel=_users_level())


def note_format(
    error: Exception, data_format: str | None, argument: str, shape: object, sizes: Sequence[Size], rank: int
) -> None:
    """Add the text of the warning to a ValueError, if the call does not name `data_format`.

    The sizes of a photograph that is taken as channels first are often refused, before the call can warn.
    """
    if data_format is None and isinstance(error, ValueError) and may_be_channels_last(shape, sizes, rank):
        error.add_note(str(_unnamed_format(argument)))


def warn_of_default_size(argument: str, shape: Sequence[Size]) -> None:
    """Warn that the default size may be wrong for an array of this shape, in a program that cannot tell."""
    warnings.warn(_unnamed_size(argument, shape), stacklevel=_users_level())


def _users_level() -> int:
    """Return the stack level of the user's frame, as `warnings.warn` counts in the caller of this function."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _package(frame.f_globals.get("__name__", "")) in _NOT_THE_USERS:
        level, frame = level + 1, frame.f_back
    return level


def _package(module: str) -> str:
    return module.partition(".")[0]


# --- messages ---------------------------------------------------------------------------------------------------------


def _unnamed_format(argument: str) -> DataFormatWarning:
    """Return the warning.  It shows no shape: Python shows each text once a line."""
    return DataFormatWarning(
        f"`data_format` must be given: the last axis of `{argument}` may be the channels, got none (the default is "
        f"'channels_first'): pass data_format='channels_last', or 'channels_first' if that is right"
    )


def _unnamed_size(argument: str, shape: Sequence[Size]) -> DefaultSizeWarning:
    return DefaultSizeWarning(
        f"`{argument}` must be given where a size is unknown until the program runs, got none for the pooled shape "
        f"{tuple(shape)}: if the default size is wrong, indices are dropped or name other cells, without an error; "
        f"{what_was_pooled(argument)}"
    )
