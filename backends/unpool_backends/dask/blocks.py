"""The tasks of a graph.  Each computes one block on one thread: Dask runs as many tasks at a time as it has threads."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np

from unpool import backends, findings
from unpool.errors import index_at
from unpool.plan import Plan
from unpool.protocol import Backend, Duplicates
from unpool_backends.cpu import CPU
from unpool_backends.dask.chunks import Block, Layout

_REUSING = CPU(threads=1)
# A distributed worker pauses at a limit of resident memory.  Kept pages count, and a paused worker frees none of them.
_FRESH = CPU(threads=1, recycle=False)
# Elements that are rewritten at a time, so that they stay in the caches.
_TILE = 1 << 16


def pool_block(cells: Any, layout: Layout, block_id: tuple[int, ...]) -> Any:
    """Pool a block; return the values, or (values, indices) if the Plan has indices."""
    block = layout.block(block_id, cells.shape)
    values, indices = _kernels(cells).pool(cells, block.plan, None)
    if indices is None:
        return values
    if not block.plan.by_taps:
        _to_plane(indices, block, layout.plan)
    return values, indices


def scatter_block(values: Any, indices: Any, layout: Layout, duplicates: Duplicates, block_id: tuple[int, ...]) -> Any:
    """Put the values of a block, and of its halo, into its planes; return its own cells."""
    if values.shape != indices.shape:
        raise _blocks_differ(layout.plan.values, values.shape, indices.shape)
    return _moved("scatter", values, indices, layout, duplicates, block_id)


def gather_block(planes: Any, indices: Any, layout: Layout, duplicates: Duplicates, block_id: tuple[int, ...]) -> Any:
    """Take the values at the indices of a block out of its planes; return those of its own windows."""
    if planes.shape != layout.block(block_id, indices.shape).plan.plane_shape:
        raise _blocks_differ(layout.plan.sized_by, planes.shape, indices.shape)
    return _moved("gather", planes, indices, layout, duplicates, block_id)


def item(pair: tuple[Any, ...], nth: int) -> Any:
    return pair[nth]


def _moved(
    operation: str, given: Any, indices: Any, layout: Layout, duplicates: Duplicates, block_id: tuple[int, ...]
) -> Any:
    """Call a primitive on a block, and cut off its halo."""
    block = layout.block(block_id, indices.shape)
    local = indices if block.plan.by_taps else _to_block(indices, block, layout.plan)
    try:
        result = getattr(_kernels(given), operation)(given, local, block.plan, duplicates, None)
    except (IndexError, ValueError) as error:
        raise _located(error, indices, local, block, layout.plan, duplicates) from None
    return result if block.kept is None else result[block.kept]


def _kernels(array: Any) -> Backend:
    """Return the backend of a block."""
    if type(array) is np.ndarray:
        return _FRESH if _in_worker() else _REUSING
    return backends.route(("input",), (array,))


def _in_worker() -> bool:
    """Return True in a task of a distributed worker."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True


# --- indices ----------------------------------------------------------------------------------------------------------


def _to_plane(indices: Any, block: Block, whole: Plan[int]) -> None:
    """Turn positions in a block into positions in the whole plane, in place."""
    if block.plan.plane == whole.plane:
        return
    offset, steps = _steps(block, whole)
    flat = indices.reshape(-1)
    for start in range(0, flat.size, _TILE):
        tile = flat[start : start + _TILE]
        moved = tile + offset
        for divisor, factor in steps:
            moved += tile // divisor * factor
        tile[...] = moved


def _to_block(indices: Any, block: Block, whole: Plan[int]) -> Any:
    """Return the positions in a block for positions in the whole plane; one of no cell in the block is out of range."""
    plan = block.plan
    if plan.plane == whole.plane:
        return indices
    offset, steps = _steps(block, whole)
    local = indices.astype("int64")  # before the subtraction, which would wrap in a smaller dtype
    if not steps:
        local -= offset
        return local
    xp, flat = backends.namespace("indices", indices), local.reshape(-1)
    for start in range(0, flat.size, _TILE):
        tile = flat[start : start + _TILE]
        rest, inside, moved, weight = tile, True, 0, 1
        for axis in (2, 1, 0):
            at = rest - block.cells[0] if axis == 0 else rest % whole.plane[axis] - block.cells[axis]
            inside = inside & (at >= 0) & (at < plan.plane[axis])
            moved = moved + at * weight
            rest, weight = rest // whole.plane[axis], weight * plan.plane[axis]
        tile[...] = xp.where(inside, moved, -1)
    return local


def _steps(block: Block, whole: Plan[int]) -> tuple[int, list[tuple[int, int]]]:
    """Return (offset, steps): position p of the block is p + offset + the sum of p // divisor * factor over the steps.

    There are none if the cells of the block are adjacent in the plane.
    """
    depth, height, width = block.plan.plane
    _, rows, columns = whole.plane
    first, second, third = block.cells
    steps = []
    if columns != width and depth * height > 1:
        steps.append((width, columns - width))
    if rows != height and depth > 1:
        steps.append((width * height, (rows - height) * columns))
    return (first * rows + second) * columns + third, steps


# --- errors -----------------------------------------------------------------------------------------------------------


def _located(
    error: Exception, given: Any, local: Any, block: Block, whole: Plan[Any], duplicates: Duplicates
) -> Exception:
    """Return the error of a block with its positions in the whole array."""
    given, local = _on_host(given), _on_host(local)
    found = _REUSING.find(local, block.plan, duplicates)
    if found is None:
        return error
    origin = [first or 0 for first in block.origin]
    # A user's index is compared with the cells of the whole plane.
    shown = replace(block.plan, validate=whole.validate, cells=whole.cells)
    bad = found[0]
    if bad >= 0 and not whole.by_taps and whole.validate != "windows":
        place = np.unravel_index(bad, given.shape)
        value = int(given[place])
        if 0 <= value < whole.cells:
            position = [int(start + at) for start, at in zip(origin, place, strict=True)]
            return _stray_index(position, value, block)
    located = findings.error(*found, given, given, shown, touched=False, origin=origin)
    unknown = [axis for axis, first in enumerate(block.origin) if first is None]
    return _with_unknown(located, unknown) if unknown else located


def _on_host(array: Any) -> Any:
    """Return a NumPy array: a copy of CuPy's."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


# --- messages ---------------------------------------------------------------------------------------------------------


def _blocks_differ(argument: str, shape: tuple[int, ...], indices_shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"`{argument}` must have blocks that fit those of `indices`, got blocks of shapes {tuple(shape)} and "
        f"{tuple(indices_shape)}: call compute_chunk_sizes() on both, and look for the size that differs"
    )


def _stray_index(position: list[int], value: int, block: Block) -> IndexError:
    if block.kept is None:
        rank = len(block.plan.spatial)
        axes = list(zip(block.cells, block.plan.plane, strict=True))[3 - rank :]
        place = f"the cells {' x '.join(f'{first}..{first + size - 1}' for first, size in axes)} of its chunk"
    else:
        place = "its own window, as it may not where windows lie in two chunks"
    return IndexError(
        f"{index_at(position)} = {value} is outside {place}: rechunk both arrays to one chunk along each spatial axis, "
        f"where an index may be anywhere in its plane"
    )


def _with_unknown(error: Exception, axes: list[int]) -> Exception:
    counted = " and ".join(f"dimension {axis}" for axis in axes)
    return type(error)(
        f"{error}. The position along {counted} counts from the start of its chunk: call compute_chunk_sizes() first "
        f"for the whole one"
    )
