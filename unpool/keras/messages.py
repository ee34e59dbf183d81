"""The messages of the Keras layers, and the words of the layers for the messages of the functions that they call."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.util import find_spec
from typing import Any

from unpool.errors import BackendUnavailableError, kind_of, shown
from unpool.extras import install_command

# The backends of Keras that are served, its default first.
KERAS_BACKENDS = ("tensorflow", "torch", "jax")

# The words of the functions, and those of the layers, whose dilation is always 1.
_WORDS = (
    (r"`input`", "`inputs`"),
    (r"dilation \* \(kernel_size - 1\)", "pool_size - 1"),
    (r"(,| and| or) `?dilation\b`?(=\([\d, ]+\))?", ""),
    (r"\bvalidate='windows' if\b", "validate=True if"),  # the layer checks windows where no size is given
    (r"\bkernel_size\b", "pool_size"),
    (r"\bstride\b", "strides"),
)


def in_words_of_layers(method: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a method of a layer: its errors name arguments as the layers do, `pool_size` for `kernel_size`."""

    @wraps(method)
    def reworded(*args: Any, **named: Any) -> Any:
        try:
            return method(*args, **named)
        except (IndexError, TypeError, ValueError) as error:
            error.args = tuple([_reworded(part) if isinstance(part, str) else part for part in error.args])
            raise

    return reworded


def _reworded(text: str) -> str:
    """Return a message with the words of the layers.

    >>> _reworded("`input` with kernel_size=(2,), stride=(2,), padding=(0,), dilation=(1,): a smaller `kernel_size`")
    '`inputs` with pool_size=(2,), strides=(2,), padding=(0,): a smaller `pool_size`'
    """
    for pattern, word in _WORDS:
        text = re.sub(pattern, word, text)
    return text


def missing_keras_backend(name: str) -> BackendUnavailableError:
    found = [one for one in KERAS_BACKENDS if one != name and find_spec(one)]
    other = f"set KERAS_BACKEND={' or '.join(found)} in the environment before Keras is imported, or " if found else ""
    return BackendUnavailableError(
        f"the backend of Keras must be installed, got {name!r}, which is not: {other}run {install_command(name)}"
    )


def not_batched(argument: str, shape: Sequence[int | None], layout: str) -> ValueError:
    dimensions, last = layout.count(",") + 1, layout.endswith("C)")
    if argument == "like" and len(shape) == 1:
        advice = "pass the tensor that was pooled, not its shape"
    elif len(shape) == dimensions - 1:
        channels = f"{argument}{'[..., None]' if last else '[:, None]'}"
        advice = (
            f"give a single sample a batch of 1, as {argument}[None] does; if the channels are missing, add them, as "
            f"{channels} does"
        )
    elif len(shape) == dimensions - 2:
        both = f"{argument}{'[None, ..., None]' if last else '[None, None]'}"
        advice = f"add axes for the batch and the channels, as {both} does"
    else:
        advice = "call the layer for as many spatial dimensions; unpool.keras has them for 1, 2 and 3"
    return ValueError(f"`{argument}` must have {dimensions} dimensions {layout}, got shape {tuple(shape)}: {advice}")


def not_a_pair(inputs: object, indices: object) -> TypeError:
    def said(value: object) -> str:
        return f"a {kind_of(value)} of {len(value)}" if isinstance(value, (list, tuple)) else kind_of(value)

    return TypeError(
        f"`inputs` must be the values if `indices` is passed, else a pair [values, indices], got {said(inputs)} and "
        f"{said(indices)}: call layer(values, indices), or layer([values, indices])"
    )


def two_sizes() -> ValueError:
    return ValueError("`output_size` must be left out where `like` is given, got both: pass only one of them")


def tensor_as_size(size: Any) -> TypeError:
    return TypeError(
        f"`output_size` must be integers, got a tensor of shape {tuple(size.shape)}: pass the tensor that was pooled "
        f"as `like`"
    )


def open_size(size: Sequence[Any]) -> ValueError:
    return ValueError(
        f"`output_size` must have an integer for each spatial size, got {shown(tuple(size))}: pass the tensor that "
        f"was pooled as `like`, whose size may be unknown until the run"
    )


def not_integer_indices(dtype: str) -> TypeError:
    cast = (
        ". Keras layers such as Concatenate and Lambda declare floats, so apply functions such as "
        "keras.ops.concatenate to indices instead"
        if "float" in dtype
        else ""
    )
    return TypeError(
        f"`indices` must be integers, got {dtype}: pass the indices of the pooling layer as they are{cast}. The order "
        f"of the arguments is (values, indices)"
    )


def four_sizes(value: Sequence[int | None] | None) -> ValueError:
    return ValueError(
        f"`output_size` must be the shape (batch, rows, cols, channels) of the pictures that were pooled, got {value}: "
        f"pass that shape, with None for a batch of any size"
    )


def inexact_mask(dtype: str, positions: int, most: int) -> ValueError:
    return ValueError(
        f"`mask` must have an integer dtype for more than {most} positions in a picture, got {dtype} for {positions}: "
        f"{dtype} is exact only up to {most}, so pass the mask as tf.nn.max_pool_with_argmax returns it"
    )


def not_whole(dtype: str, flat: int) -> ValueError:
    return ValueError(
        f"`mask` must hold integers, which may be of a float dtype, got {dtype} with a value that is not an integer at "
        f"flat position {flat}: pass the mask as tf.nn.max_pool_with_argmax returns it"
    )
