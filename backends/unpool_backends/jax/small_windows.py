"""Small windows by taps: the cells at the same tap of every window are a slice of the plane.

Pooling compares each slice with the best one so far, and XLA fuses all comparisons into one pass over the input.  The
values of windows of up to 4 taps are selected in that pass, and those of larger ones are gathered later.  A gradient
selects among the slices.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import jax.numpy as jnp
from jax import lax

from unpool.plan import Plan
from unpool_backends.jax import window_path
from unpool_backends.jax.bits import from_bits, selected
from unpool_backends.jax.sort_keys import keys, unordered

# The most taps to compare in one pass, and the most cells along an axis by which the plane is padded for them.
_MOST, _FARTHEST = 27, 64
# The most taps whose values are selected: with 4 taps twice as fast as gathering, with 9 taps two thirds as fast.
_SELECTED = 4
# The most taps among which a gradient selects: with 9 taps a third of the time of gathering, or channels last 0.9.
_TAKEN = 9


def serve(plan: Plan[Any]) -> bool:
    """Return True if the taps are few and close to each other."""
    reach = [(kernel - 1) * dilation for kernel, dilation in zip(plan.kernel, plan.dilation, strict=True)]
    return plan.taps <= _MOST and max(reach) <= _FARTHEST


def pool(cells: Any, plan: Plan[Any]) -> tuple[Any, Any]:
    """Return the values of windows, or None if they must be gathered, and the taps, in bytes.

    The arrays have the axes of `window_path`.
    """
    numbers, bits = keys(cells), selected(cells)
    least = False if numbers.dtype == bool else jnp.iinfo(numbers.dtype).min
    lowest = jnp.asarray(least, numbers.dtype)
    padded = _padded(numbers, lowest, plan)
    # If all keys are the lowest, the first tap inside the plane wins.  Only the lowest integer has that key.
    best, taps = lowest, _first_inside(plan)
    values = None
    if plan.taps <= _SELECTED:
        values = jnp.asarray(least if bits.dtype == numbers.dtype else 0, bits.dtype)
        bits = _padded(bits, values, plan)
    for tap, steps in enumerate(product(*map(range, plan.kernel))):
        other = _part(padded, steps, plan)
        better = (other > best) | unordered(other, cells.dtype)
        best, taps = jnp.where(better, other, best), jnp.where(better, jnp.uint8(tap), taps)
        values = values if values is None else jnp.where(better, _part(bits, steps, plan), values)
    return values if values is None else from_bits(values, cells.dtype), taps


def takes(plan: Plan[Any]) -> bool:
    """Return True if `take` is faster than gathering: few taps, and no padding, which XLA computes for every tap."""
    padded = any(not isinstance(pad, int) or pad > 0 for pads in _pads(plan) for pad in pads)
    return plan.taps <= _TAKEN and not padded


def take(cells: Any, taps: Any, plan: Plan[Any]) -> Any:
    """Return the cell of each tap, and zero for a bad one.  The taps are bytes.

    In each row of a window, the tap's column is selected, and then the row: 0.8 of the time of one tap after the other.
    """
    columns, found = plan.kernel[-1], jnp.zeros((), cells.dtype)
    padded, column = _padded(cells, found, plan), taps % columns
    parts = [_part(padded, steps, plan) for steps in product(*map(range, plan.kernel))]
    for first in reversed(range(0, plan.taps, columns)):
        *others, row = parts[first : first + columns]
        for place, part in reversed(list(enumerate(others))):
            row = jnp.where(column <= place, part, row)
        found = jnp.where(taps < first + columns, row, found)
    return found


def _padded(cells: Any, fill: Any, plan: Plan[Any]) -> Any:
    """Pad cells so that every window has all its taps."""
    whole = (0, 0, 0)
    return lax.pad(cells, fill, [whole, whole, *[(*pads, 0) for pads in _pads(plan)], whole])


def _pads(plan: Plan[Any]) -> list[tuple[Any, Any]]:
    """Return the cells to add before and after the plane along each axis."""
    return [
        (padding, (count - 1) * stride + dilation * (kernel - 1) + 1 - padding - size)
        for count, size, kernel, stride, padding, dilation in zip(plan.pooled, plan.plane, *_windows(plan), strict=True)
    ]


def _windows(plan: Plan[Any]) -> tuple[Any, ...]:
    return plan.kernel, plan.stride, plan.padding, plan.dilation


def _first_inside(plan: Plan[Any]) -> Any:
    """Return the first tap of every window that lies inside the plane."""
    found: Any = 0
    for axis, (count, kernel, stride, padding, dilation) in enumerate(zip(plan.pooled, *_windows(plan), strict=True)):
        outside = jnp.maximum(padding - window_path.along(count, 2 + axis, 6, "int32") * stride, 0)
        found = found * kernel + (outside + dilation - 1) // dilation
    return found.astype("uint8")


def _part(padded: Any, steps: tuple[int, ...], plan: Plan[Any]) -> Any:
    """Return the cell at the same tap of every window."""
    starts = [0, 0, *[step * dilation for step, dilation in zip(steps, plan.dilation, strict=True)], 0]
    counts, strides = [*padded.shape[:2], *plan.pooled, padded.shape[-1]], [1, 1, *plan.stride, 1]
    along = zip(starts, counts, strides, strict=True)
    return lax.slice(padded, starts, [start + (count - 1) * stride + 1 for start, count, stride in along], strides)
