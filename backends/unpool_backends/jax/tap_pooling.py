"""Pooling to taps: every tap of a window is compared with the best one so far, and the values are gathered afterwards.

This serves small windows, whose taps are few: XLA fuses all comparisons into one pass over the input.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import jax.numpy as jnp
from jax import lax

from unpool.plan import Plan
from unpool_backends.jax import window_path
from unpool_backends.jax.sort_keys import keys, unordered

# The most taps to compare in one pass, and the most cells along an axis by which the plane is padded for them.
_MOST, _FARTHEST = 27, 64


def serve(plan: Plan[Any]) -> bool:
    """Return True if the taps are few and close to each other."""
    reach = [(kernel - 1) * dilation for kernel, dilation in zip(plan.kernel, plan.dilation, strict=True)]
    return plan.taps <= _MOST and max(reach) <= _FARTHEST


def taps(cells: Any, plan: Plan[Any]) -> Any:
    """Return the tap of the largest cell of each window, in bytes; the arrays have the axes of `window_path`."""
    numbers = keys(cells)
    lowest = False if numbers.dtype == bool else jnp.iinfo(numbers.dtype).min
    pads = [(0, 0, 0)] * 6
    for axis, along in enumerate(zip(plan.pooled, plan.plane, *_windows(plan), strict=True)):
        count, size, kernel, stride, padding, dilation = along
        pads[2 + axis] = (padding, (count - 1) * stride + dilation * (kernel - 1) + 1 - padding - size, 0)
    padded = lax.pad(numbers, jnp.asarray(lowest, numbers.dtype), pads)
    # The first tap inside the plane wins if all keys are the lowest.
    best: Any = jnp.asarray(lowest, numbers.dtype)
    found = _first_inside(plan)
    for tap, steps in enumerate(product(*map(range, plan.kernel))):
        other = _part(padded, steps, plan)
        better = (other > best) | unordered(other, cells.dtype)
        best, found = jnp.where(better, other, best), jnp.where(better, jnp.uint8(tap), found)
    # Unpooling would compute the taps again for every cell.  XLA keeps an optimization barrier around a condition, but
    # not one around an array.
    return lax.cond(lax.optimization_barrier(jnp.asarray(True)), lambda taps: taps, jnp.zeros_like, found)


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
