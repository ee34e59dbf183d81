"""The dtypes of indices, which depend on JAX's 64-bit mode, and the cells of indices that are taps of windows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unpool.plan import Plan
from unpool.sizes import spatial_axes
from unpool.taps import cells_of, taps_of
from unpool.windows import LARGEST
from unpool_backends.jax import window_path

# Taps of a window that a byte numbers, with two numbers left: of a bad tap, and of a cell that is no tap.
MOST_TAPS = 254


def integer(dtype: str) -> Any:
    """Return the dtype, or its 32-bit form outside of JAX's 64-bit mode."""
    return jax.dtypes.canonicalize_dtype(np.dtype(dtype))


def in_mode(call: Callable[..., Any], *arrays: Any, **options: Any) -> Any:
    """Call a function in the 64-bit mode that its arrays, and the dtype of a Plan's indices, were made in."""
    plan = options.get("plan")
    dtypes = [array.dtype.name for array in arrays] + ([plan.index_dtype] if plan and plan.index_dtype else [])
    if all(integer(name) == name for name in dtypes):
        return call(*arrays, **options)
    with jax.enable_x64(True):
        return call(*arrays, **options)


def check_room(argument: str, cells: Any, most: Any) -> None:
    """Refuse this many cells if JAX's integers cannot hold `most`, the largest number to compute."""
    if isinstance(most, int) and most > LARGEST and integer("int64").itemsize < 8:
        raise ValueError(
            f"`{argument}` needs JAX's 64-bit mode from about 2147483647 cells on, got {cells}: call "
            f"jax.config.update('jax_enable_x64', True) first"
        )


def in_range(indices: Any, count: Any, dtype: Any) -> Any:
    """Return the indices of 0..count-1 in a dtype, and -1 for the others, or 255 in bytes."""
    if not isinstance(count, int):
        # Unsigned indices that are too large turn negative, so they stay out of range.
        numbers = indices.astype(dtype)
        return jnp.where((numbers >= 0) & (numbers < count), numbers, -1)
    last = jnp.asarray(min(count - 1, jnp.iinfo(indices.dtype).max), indices.dtype)
    return jnp.where((indices >= 0) & (indices <= last), indices.astype(dtype), np.asarray(-1).astype(dtype))


def dtype_of_cells(plan: Plan[Any]) -> Any:
    """Return the dtype to compute cells in; one position per window lies past the cells, for dropped values."""
    return np.dtype("int32") if _fits(plan.cells + plan.windows) else integer("int64")


def to_cells(taps: Any, plan: Plan[Any]) -> Any:
    """Return the cell of each tap, or -1 for a bad one.  The arrays may have more leading axes than those of the Plan.

    >>> from unpool.plan import plan_unpooling
    >>> from unpool.windows import Window
    >>> plan = plan_unpooling((1, 3), Window((2,), (2,), (1,), (1,)), (5,), False)
    >>> to_cells(jnp.array([[1, 2, 0]], "uint8"), plan).tolist(), to_cells(jnp.array([[0, -1, 1]]), plan).tolist()
    ([[0, -1, 3]], [[-1, -1, 4]])
    """
    dtype = _dtype_of_taps(plan)
    with _counting(dtype):
        numbers = in_range(taps, plan.taps, dtype)
        cells, inside = cells_of(numbers, plan.plane, _corners(plan, taps.ndim, dtype), plan)
        return jnp.where(inside, cells, jnp.asarray(-1, dtype)).astype(dtype_of_cells(plan))


def to_bytes(taps: Any, plan: Plan[Any]) -> Any:
    """Return taps of a window of up to `MOST_TAPS` in bytes, with 255 for a bad one."""
    return in_range(taps, plan.taps, np.dtype("uint8"))


def from_cells(cells: Any, plan: Plan[Any], dtype: Any) -> Any:
    """Return the tap of each cell, which lies in its own window."""
    wide = _dtype_of_taps(plan)
    with _counting(wide):
        taps, _ = taps_of(cells.astype(wide), plan.plane, _corners(plan, cells.ndim, wide), plan)
        return taps.astype(dtype)


def _corners(plan: Plan[Any], ndim: int, dtype: Any) -> list[Any]:
    """Return the first cell of every window along each axis, in a shape that broadcasts with the user's arrays."""
    rank = len(plan.spatial)
    start = spatial_axes(ndim, rank, plan.channels_last).start
    along = zip(plan.pooled[-rank:], plan.stride[-rank:], plan.padding[-rank:], strict=True)
    return [0] * (3 - rank) + [
        window_path.along(windows, start + axis, ndim, dtype) * stride - padding
        for axis, (windows, stride, padding) in enumerate(along)
    ]


def _dtype_of_taps(plan: Plan[Any]) -> Any:
    """Return the dtype to compute taps, cells and the coordinates of every tap in."""
    reach = [
        size + stride + 2 * dilation * (kernel - 1)
        for size, stride, dilation, kernel in zip(plan.plane, plan.stride, plan.dilation, plan.kernel, strict=True)
    ]
    known = all(map(_fits, (plan.taps, plan.cells + plan.windows, *reach)))
    symbolic = not all(isinstance(entry, int) for entry in (plan.cells, *reach))
    return np.dtype("int32") if known else integer("int64") if symbolic else np.dtype("int64")


def _fits(number: Any) -> bool:
    return isinstance(number, int) and number <= LARGEST


def _counting(dtype: Any) -> AbstractContextManager[Any]:
    """Return the mode of a dtype: windows far larger than a plane are counted by 64 bits in every mode."""
    return nullcontext() if integer(dtype.name) == dtype else jax.enable_x64(True)
