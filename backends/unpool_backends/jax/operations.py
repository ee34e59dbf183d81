"""The primitives in JAX's operations: for programs on other devices than the CPU, sharded or exported ones.

If all indices lie in their own windows, as pooling's do, a call takes the window path (`window_path`).  Otherwise it
takes the general path: ``.at[]``, plane by plane.  A bad index is dropped: its value is written nowhere, and its
gradient is zero.  Values are moved as integers with their bits.

Taps lie in their own windows, so they need no test.  Gradients gather at the cells of taps, or select among the taps of
small windows (`small_windows`).

JAX does not differentiate these functions: `primitives` has the derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from unpool.plan import Plan
from unpool.protocol import Duplicates
from unpool.windows import LARGEST, taps_inside
from unpool_backends.jax import bits, small_windows, window_path
from unpool_backends.jax.indices import MOST_TAPS, dtype_of_cells, in_range, integer, to_bytes, to_cells
from unpool_backends.jax.sort_keys import keys, unordered


def pool(input: Any, plan: Plan[Any]) -> list[Any]:
    """Return the values, and the indices if the Plan has a dtype for them."""
    if plan.by_taps and plan.index_dtype is not None:
        values, indices = _once(partial(_taps_of, plan=plan, dtype=integer(plan.index_dtype)), input)
        return [gather(input, indices, plan, "sum", own=True) if values is None else values, indices]
    values, indices = _pool(_six(input, plan.plane, plan), replace(plan, index_format="plane"))
    values = values.reshape(plan.pooled_shape)
    if plan.index_dtype is None:
        return [values]
    return [values, indices.reshape(plan.pooled_shape).astype(integer(plan.index_dtype))]


def _taps_of(input: Any, plan: Plan[Any], dtype: Any) -> tuple[Any, Any]:
    """Return the values, or None if they must be gathered, and the taps."""
    values, taps = (small_windows.pool if small_windows.serve(plan) else _pool)(_six(input, plan.plane, plan), plan)
    taps = taps.reshape(plan.pooled_shape).astype(dtype)
    return values if values is None else values.reshape(plan.pooled_shape), taps


def _once(function: Callable[..., Any], *arrays: Any) -> Any:
    """Return a function's results, which XLA does not compute again for every cell of an unpooling.

    It keeps an optimization barrier around a condition, but not one around an array.  The function runs inside of the
    branch, since XLA copies arrays that a branch returns unchanged.
    """
    known = lax.optimization_barrier(jnp.asarray(True))
    found = jax.eval_shape(function, *arrays)
    return lax.cond(known, function, lambda *_: jax.tree.map(jnp.zeros_like, found), *arrays)


def scatter(values: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, own: bool) -> Any:
    """Return the planes; `own` indices are pooling's, which lie in their own windows."""
    adds = duplicates == "sum"

    def general(given: Any, numbers: Any) -> Any:
        return _planewise(partial(_scatter, duplicates=duplicates, plan=plan), plan.plane, given, numbers)

    def by_windows(given: Any, numbers: Any) -> Any:
        return window_path.scatter(given, numbers, plan, adds)

    rest = indices, plan, own, plan.pooled, plan.plane_shape
    if adds:
        return _by_either(by_windows, general, _positive_zero(values), *rest)
    # A branch takes and returns integers for bfloat16, since XLA moves its arrays as float32 there.
    found = _by_either(_moving(by_windows), _moving(general), bits.selected(values), *rest)
    return bits.from_bits(found, values.dtype)


def gather(grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, own: bool) -> Any:
    """Return the values; `own` indices are pooling's, which lie in their own windows."""
    alone = duplicates == "sum" or window_path.apart(plan)  # no value depends on other indices

    def general(given: Any, numbers: Any) -> Any:
        return _planewise(partial(_gather, duplicates=duplicates, plan=plan), plan.pooled, given, numbers)

    def taken(given: Any, numbers: Any) -> Any:
        lasting = numbers if alone else window_path.lasting(numbers, plan)
        return _take(given, lasting)

    def by_windows(given: Any, numbers: Any) -> Any:
        return window_path.gather(given, numbers, plan, duplicates == "sum")

    if plan.by_taps:
        planes = _six(grad, plan.plane, plan)
        if alone and small_windows.takes(plan):
            # Bytes are read as they are, since every bad one is dropped: 0.85 of the time.
            taps = _six(indices, plan.pooled, plan) if indices.dtype == jnp.uint8 else _taps(indices, plan)
            found = _moving(partial(small_windows.take, plan=plan))(planes, taps)
        else:
            path = taken if alone or window_path.serve(plan) else general
            found = _moving(path)(planes, _numbers(indices, plan))
        return found.reshape(plan.pooled_shape)
    paths = _moving(by_windows), _moving(general)
    found = _by_either(*paths, bits.selected(grad), indices, plan, own, plan.plane, plan.pooled_shape)
    return bits.from_bits(found, grad.dtype)


def _moving(path: Callable[..., Any]) -> Callable[..., Any]:
    """Return a path that moves the bits of values; those of complex values part by part, since XLA changes some."""

    def moved(given: Any, numbers: Any) -> Any:
        if jnp.issubdtype(given.dtype, jnp.complexfloating):
            return lax.complex(moved(given.real, numbers), moved(given.imag, numbers))
        return bits.from_bits(path(bits.to_bits(given), numbers), given.dtype)

    return moved


def _by_either(
    by_windows: Callable[..., Any],
    general: Callable[..., Any],
    given: Any,
    indices: Any,
    plan: Plan[Any],
    own: bool,
    spatial: tuple[Any, ...],
    shape: tuple[Any, ...],
) -> Any:
    """Take the window path if all indices lie in their own windows, else the general one.

    `spatial` are the sizes of what is given, and `shape` is that of the result.
    """

    # Branches take and return arrays in the user's shape and dtype, because XLA copies arrays that are changed outside.
    def shaped(path: Callable[..., Any], read: Callable[..., Any] = _numbers) -> Callable[..., Any]:
        return lambda given, indices: path(_six(given, spatial, plan), read(indices, plan)).reshape(shape)

    if not window_path.serve(plan):
        return shaped(general)(given, indices)
    if plan.by_taps:
        selected = shaped(by_windows, _taps if plan.taps <= MOST_TAPS else _numbers)
        # On the CPU, XLA would compute the values again for every cell, too.
        return lax.platform_dependent(given, indices, cpu=partial(_once, selected), default=selected)
    # For own indices, both branches are right, and the first is taken.  Without a branch, XLA would compute the numbers
    # again for every cell (see `_once`).
    known = lax.optimization_barrier(jnp.asarray(True)) if own else window_path.inside(_numbers(indices, plan), plan)
    return lax.cond(known, shaped(by_windows), shaped(general), given, indices)


@partial(jax.jit, static_argnames=("plan", "duplicates"), inline=True)
def flaws(indices: Any, plan: Plan[Any], duplicates: Duplicates) -> tuple[Any, Any]:
    """Return the flat positions of the first bad index and of the first repeated index, or -1."""
    numbers = _numbers(indices, plan)

    def first(wrong: Any) -> Any:
        flat = wrong.reshape(-1)
        return jnp.where(flat.any(), jnp.argmax(flat), -1)

    def repeats(numbers: Any) -> Any:
        order = lax.iota(numbers.dtype, numbers.shape[0])
        earliest = jnp.full(plan.cells, numbers.shape[0], numbers.dtype).at[_dropped(numbers, plan)].min(order)
        return (numbers >= 0) & (earliest[jnp.maximum(numbers, 0)] != order)

    bad = first((numbers < 0).reshape(plan.pooled_shape)) if plan.validate else -1
    if duplicates != "error":
        return bad, -1
    repeated = _planewise(repeats, plan.pooled, numbers)
    return bad, first(repeated.reshape(plan.pooled_shape))


# --- arrays -----------------------------------------------------------------------------------------------------------


def _six(array: Any, spatial: tuple[int, ...], plan: Plan[Any]) -> Any:
    """Give an array the six axes of `window_path`.  No axes are merged, since it may be sharded along them."""
    if plan.channels_last:
        return array.reshape(plan.batch, 1, *spatial, plan.channels)
    return array.reshape(plan.batch, plan.channels, *spatial, 1)


def _numbers(indices: Any, plan: Plan[Any]) -> Any:
    """Return indices with six axes, in a dtype to compute in, with -1 for every bad index."""
    if plan.by_taps:
        return _six(to_cells(indices, plan), plan.pooled, plan)
    numbers = in_range(_six(indices, plan.pooled, plan), plan.cells, dtype_of_cells(plan))
    if plan.validate != "windows":
        return numbers
    return jnp.where(window_path.own(numbers, plan), numbers, jnp.asarray(-1, numbers.dtype))


def _taps(indices: Any, plan: Plan[Any]) -> Any:
    """Return taps with six axes, in bytes."""
    return _six(to_bytes(indices, plan), plan.pooled, plan)


def _planewise(function: Any, spatial: tuple[int, ...], *arrays: Any) -> Any:
    """Map a function over the flat planes, and give the results their spatial axes."""
    batch, channels, *_, last = arrays[0].shape
    flat, axes = zip(*map(_flat, arrays), strict=True)
    channel = 2 - axes[0]  # the axis of channels in one sample
    found = jax.vmap(jax.vmap(function, channel, channel))(*flat)
    return found.reshape(batch, channels, *spatial, last)


def _flat(array: Any) -> tuple[Any, int]:
    """Return an array with three axes: batch, channels and cells, in the array's order; and the axis of cells.

    XLA computes the gather of four axes, one of which is 1, a third slower.
    """
    batch, channels, *spatial, last = array.shape
    cells = prod(spatial)
    return (array.reshape(batch, channels, cells), 2) if last == 1 else (array.reshape(batch, cells, last), 1)


# --- the general path, for one plane ----------------------------------------------------------------------------------


def _dropped(numbers: Any, plan: Plan[Any]) -> Any:
    """Return the cells to write; each bad index gets a cell of its own past the end."""
    return jnp.where(numbers >= 0, numbers, plan.cells + lax.iota(numbers.dtype, numbers.shape[0]))


def _lasting(numbers: Any, plan: Plan[Any]) -> Any:
    """Return the cells to write; an index that a later one repeats gets a cell past the end, too."""
    order = lax.iota(numbers.dtype, numbers.shape[0])
    latest = jnp.zeros(plan.cells, numbers.dtype).at[_dropped(numbers, plan)].max(order, mode="drop")
    hidden = latest[jnp.maximum(numbers, 0)] != order
    return _dropped(jnp.where(hidden, -1, numbers), plan)


def _scatter(values: Any, numbers: Any, *, duplicates: Duplicates, plan: Plan[Any]) -> Any:
    planes = jnp.zeros(plan.cells, values.dtype)
    if duplicates != "sum":
        return planes.at[_lasting(numbers, plan)].set(values, mode="drop", unique_indices=True)
    place = _dropped(numbers, plan)
    target = planes.at[place]
    return target.max(values, mode="drop") if values.dtype == bool else target.add(values, mode="drop")


def _gather(planes: Any, numbers: Any, *, duplicates: Duplicates, plan: Plan[Any]) -> Any:
    place = _dropped(numbers, plan) if duplicates == "sum" else _lasting(numbers, plan)
    return planes.at[place].get(mode="fill", fill_value=0)


def _take(planes: Any, numbers: Any) -> Any:
    """Return the cells, and zero for bad indices: `_gather` of indices that do not repeat, which is faster."""
    (whole, axis), (wanted, _) = _flat(planes), _flat(numbers)
    found = jnp.take_along_axis(whole, jnp.maximum(wanted, 0), axis, mode="promise_in_bounds").reshape(numbers.shape)
    return jnp.where(numbers >= 0, found, jnp.zeros((), planes.dtype))


# --- values -----------------------------------------------------------------------------------------------------------


def _positive_zero(values: Any) -> Any:
    """Turn -0.0 into 0.0, since a sum that starts at 0.0 is never -0.0."""
    if jnp.issubdtype(values.dtype, jnp.complexfloating):
        return lax.complex(_positive_zero(values.real), _positive_zero(values.imag))
    if not jnp.issubdtype(values.dtype, jnp.floating):
        return values
    return jnp.where(keys(values) == 0, jnp.zeros((), values.dtype), values)


class _Best(NamedTuple):
    """The largest cell of each window so far: its sort key, its index (negative for none), and its value."""

    keys: Any
    numbers: Any
    values: Any


def _pool(cells: Any, plan: Plan[Any]) -> tuple[Any, Any]:
    most = plan.taps if plan.by_taps else plan.cells
    wide = np.dtype("int32") if isinstance(most, int) and most <= LARGEST else integer("int64")
    numbers: Any = 0
    if not plan.by_taps:  # `_pooled` numbers taps
        for axis, size in enumerate(plan.plane):
            numbers = numbers * jnp.asarray(size, wide) + window_path.along(size, 2 + axis, 6, wide)
    best = _Best(keys(cells), numbers + jnp.zeros_like(cells, wide), bits.selected(cells))
    # One axis after the other, the last axis first, so that the first of equal maxima in row-major order stays.
    empty = False
    for axis in (2, 1, 0):
        best, empty = _pooled(best, axis, plan, empty, cells.dtype)
    return bits.from_bits(best.values, cells.dtype), best.numbers


def _pooled(best: _Best, axis: int, plan: Plan[Any], empty: bool, dtype: Any) -> tuple[_Best, bool]:
    """Pool along one axis; also return True if a window may be `empty` so far, wholly in the padding."""
    count, size = plan.pooled[axis], plan.plane[axis]
    kernel, stride, padding, dilation = (
        entry[axis] for entry in (plan.kernel, plan.stride, plan.padding, plan.dilation)
    )
    first, end = taps_inside(size, count, kernel, stride, padding, dilation)
    kernel, padding = end - first, padding - first * dilation
    unpadded = isinstance(padding, int) and padding == 0
    if kernel == stride == 1 and unpadded:
        return best, empty
    after = (count - 1) * stride + dilation * (kernel - 1) + 1 - padding - size
    pads = [(0, 0, 0)] * 6
    pads[2 + axis] = (padding, after, 0)
    none = -plan.taps if plan.by_taps else -1  # also with the number of any tap added
    padded = _Best(
        *[lax.pad(array, jnp.asarray(fill, array.dtype), pads) for array, fill in zip(best, (0, none, 0), strict=True)]
    )
    empty = empty or not unpadded or not (isinstance(after, int) and after <= 0)

    def tap(place: int) -> _Best:
        start = place * dilation
        stop = start + (count - 1) * stride + 1
        found = _Best(*[lax.slice_in_dim(array, start, stop, stride, 2 + axis) for array in padded])
        if not plan.by_taps:
            return found
        numbers = found.numbers + (first + place) * prod(plan.kernel[axis + 1 :])
        return _Best(found.keys, numbers, found.values)

    leading, *others = _places(count, size, kernel, stride, padding, dilation)
    found = tap(leading)
    for place in others:
        other = tap(place)
        better = (other.keys > found.keys) | unordered(other.keys, dtype)
        if empty:
            better = (other.numbers >= 0) & (better | (found.numbers < 0))
        found = _Best(*[jnp.where(better, new, old) for new, old in zip(other, found, strict=True)])
    return found, empty


def _places(count: Any, size: Any, kernel: int, stride: int, padding: Any, dilation: int) -> Sequence[int]:
    """Return the taps that lie inside the plane for some window; with a large stride, this leaves taps out."""
    if not all(isinstance(entry, int) for entry in (count, size, padding)) or stride <= size + dilation:
        return range(kernel)
    along = (taps_inside(size, 1, kernel, stride, padding - window * stride, dilation) for window in range(count))
    return sorted({place for taps in along for place in range(*taps)}) or range(1)
