"""The messages of the Keras layers; `unpool.errors` has those of the functions that they call."""

from __future__ import annotations

from collections.abc import Sequence

from unpool.errors import kind_of


def not_batched(argument: str, shape: Sequence[int | None], layout: str) -> ValueError:
    dimensions, last = layout.count(",") + 1, layout.endswith("C)")
    if argument == "like" and len(shape) == 1:
        advice = "pass the array that was pooled, or its shape as `output_size`"
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
        f"`inputs` must be the values where `indices` are given, and a pair [values, indices] where they are not, got "
        f"{said(inputs)} and {said(indices)}: call layer(values, indices), or layer([values, indices])"
    )


def two_sizes() -> ValueError:
    return ValueError(
        "`output_size` must be left out where `like` is given, got both: pass the one that has the size of what was "
        "pooled"
    )


def four_sizes(value: Sequence[int | None] | None) -> ValueError:
    return ValueError(
        f"`output_size` must be the shape (batch, rows, cols, channels) of what was pooled, got {value}: pass that "
        f"shape, with None for a batch of any size"
    )


def inexact_mask(dtype: str, positions: int, most: int) -> ValueError:
    return ValueError(
        f"`mask` must be of integers for more than {most} positions in a picture, got {dtype} for {positions}: floats "
        f"of that kind are exact up to {most} only, so pass the mask as tf.nn.max_pool_with_argmax returns it"
    )


def not_whole(dtype: str, flat: int) -> ValueError:
    return ValueError(
        f"`mask` must hold integers, which may be of a float dtype, got {dtype} with something else at flat position "
        f"{flat}: pass the mask as tf.nn.max_pool_with_argmax returns it"
    )
