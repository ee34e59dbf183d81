"""The tasks of a graph.  Each computes one block on one thread: Dask runs as many tasks at a time as it has threads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from operator import add
from typing import Any

import numpy as np

from unpool import backends, dtypes, findings
from unpool.errors import index_at, what_was_pooled
from unpool.plan import Plan, Triple
from unpool.protocol import Backend, Duplicates
from unpool_backends.cpu import CPU, find, rebase
from unpool_backends.dask.chunks import Block, Layout

_REUSING = CPU(threads=1)
# A distributed worker pauses at a limit of resident memory.  Kept pages count, and a paused worker frees none of them.
_FRESH = CPU(threads=1, recycle=False)


def pool_block(cells: Any, layout: Layout, block_id: tuple[int, ...]) -> Any:
    """Pool a block; return the values, or (values, indices) if the Plan has indices."""
    _check_shape("input", cells, layout.declared(block_id, "cells"))
    _check_dtypes("input", cells, None, layout.plan)
    block = layout.block(block_id, cells.shape)
    values, indices = _kernels(cells).pool(cells, block.plan, None)
    if indices is None:
        return values
    if not block.plan.by_taps:
        indices = _to_plane(indices, block, layout.plan)
    return values, indices


def scatter_block(values: Any, indices: Any, layout: Layout, duplicates: Duplicates, block_id: tuple[int, ...]) -> Any:
    """Put the values of a block, and of its halo, into its planes; return its own cells."""
    declared = layout.declared(block_id, "windows")
    _check_shape(layout.plan.values, values, declared)
    _check_shape("indices", indices, declared)
    if values.shape != indices.shape:
        raise _blocks_differ(layout.plan.values, values.shape, indices.shape)
    _check_dtypes(layout.plan.values, values, indices, layout.plan)
    return _moved("scatter", values, indices, layout, duplicates, block_id)


def gather_block(planes: Any, indices: Any, layout: Layout, duplicates: Duplicates, block_id: tuple[int, ...]) -> Any:
    """Take the values at the indices of a block out of its planes; return those of its own windows."""
    _check_shape(layout.plan.sized_by, planes, layout.declared(block_id, "cells"))
    _check_shape("indices", indices, layout.declared(block_id, "windows"))
    if planes.shape != layout.block(block_id, indices.shape).plan.plane_shape:
        raise _blocks_differ(layout.plan.sized_by, planes.shape, indices.shape)
    _check_dtypes(layout.plan.sized_by, planes, indices, layout.plan)
    return _moved("gather", planes, indices, layout, duplicates, block_id)


def item(pair: tuple[Any, ...], nth: int) -> Any:
    return pair[nth]


def _check_shape(argument: str, array: Any, declared: tuple[int | None, ...]) -> None:
    """Refuse a block of another shape than its array declares, which Dask computes without a check."""
    shape = tuple(array.shape)
    if len(shape) != len(declared) or any(size not in (None, own) for size, own in zip(declared, shape, strict=True)):
        raise _other_shape(argument, shape, declared)


def _check_dtypes(argument: str, values: Any, indices: Any, plan: Plan[Any]) -> None:
    """Refuse dtypes that the call would have refused: Dask computes blocks of another dtype than an array declares."""
    try:
        if indices is None:
            dtypes.check_values(argument, dtypes.name(values.dtype), dtypes.REALS)
        else:
            dtypes.check_pair(argument, values.dtype, indices.dtype, "window" if plan.by_taps else "plane", real=False)
    except TypeError as error:
        raise _not_declared(error) from None


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


def _to_plane(indices: Any, block: Block, whole: Plan[int]) -> Any:
    """Return the positions in the whole plane for positions in a block, which are overwritten."""
    plane = block.plan.plane
    if plane == whole.plane:
        return indices
    depth, row, column = block.cells
    origin = -depth, -row, -column
    if type(indices) is np.ndarray:
        return rebase(indices, plane, whole.plane, origin, indices)
    return _rebased(indices, plane, whole.plane, origin).astype(indices.dtype)


def _to_block(indices: Any, block: Block, whole: Plan[int]) -> Any:
    """Return the positions in a block for positions in the whole plane; -1 for a cell that the block lacks."""
    if block.plan.plane == whole.plane:
        return indices
    convert = rebase if type(indices) is np.ndarray else _rebased
    return convert(indices, whole.plane, block.plan.plane, block.cells)


def _rebased(indices: Any, plane: Triple, new_plane: Triple, origin: Triple) -> Any:
    """Return what the CPU's `rebase` does, in int64, for an array of another library."""
    rest = indices.astype("int64")  # before the subtraction, which would wrap in a smaller dtype
    inside, moved, apart = True, 0, 1
    for axis in (2, 1, 0):
        at = (rest % plane[axis] if axis else rest) - origin[axis]
        inside = inside & (at >= 0) & (at < new_plane[axis])
        moved = moved + at * apart
        rest, apart = rest // plane[axis], apart * new_plane[axis]
    return backends.namespace("indices", indices).where(inside, moved, -1)


# --- errors -----------------------------------------------------------------------------------------------------------


def _located(
    error: Exception, given: Any, local: Any, block: Block, whole: Plan[Any], duplicates: Duplicates
) -> Exception:
    """Return the error of a block with its positions in the whole array."""
    given, local = _on_host(given), _on_host(local)
    found = find(local, block.plan, duplicates)
    if found is None:
        return error
    bad, _ = found
    origin = [first or 0 for first in block.origin]
    place = [int(at) for at in np.unravel_index(bad, given.shape)] if bad >= 0 else []
    # A user's index is compared with the cells of the whole plane.
    if place and not whole.by_taps and whole.validate != "windows" and 0 <= given[tuple(place)] < whole.cells:
        located: Exception = _outside_chunk(
            list(map(add, origin, place)), int(given[tuple(place)]), block, whole.sized_by
        )
    else:
        shown = replace(block.plan, validate=whole.validate, cells=whole.cells)
        located = findings.error(*found, given, given, shown, touched=False, origin=origin)
    return beside_unknown(located, block.origin)


def beside_unknown(error: Exception, origin: Sequence[int | None]) -> Exception:
    """Return the error, and say along which axes its position counts from the start of a chunk: where None stands."""
    unknown = [axis for axis, first in enumerate(origin) if first is None]
    return _within_chunk(error, unknown) if unknown else error


def _on_host(array: Any) -> Any:
    """Return a NumPy array: a copy of CuPy's."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


# --- messages ---------------------------------------------------------------------------------------------------------


def _blocks_differ(argument: str, shape: tuple[int, ...], indices_shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"`{argument}` must have blocks that fit those of `indices`, got blocks of shapes {tuple(shape)} and "
        f"{tuple(indices_shape)}: call compute_chunk_sizes() on both, and look for the size that differs"
    )


def _other_shape(argument: str, shape: tuple[int, ...], declared: tuple[int | None, ...]) -> ValueError:
    return ValueError(
        f"`{argument}` must have blocks of the declared shapes, got a block of {shape} where {declared} is declared: "
        f"pass `chunks` to the map_blocks that made it"
    )


def _not_declared(error: TypeError) -> TypeError:
    return TypeError(
        f"{error}. This is the dtype of a block; the Dask array declares another dtype: pass the dtype of the blocks "
        f"as `dtype` or `meta` where the array is made"
    )


def _outside_chunk(position: list[int], value: int, block: Block, sized_by: str) -> IndexError:
    rank = len(block.plan.spatial)
    cell = ", ".join(str(int(at)) for at in np.unravel_index(value, block.plan.spatial))
    if block.kept is None:
        axes = list(zip(block.cells, block.plan.plane, strict=True))[3 - rank :]
        place = f"the cells {' x '.join(f'{first}..{first + size - 1}' for first, size in axes)} of its chunk"
    else:
        place = "its own window, where it must lie if windows lie in two chunks"
    return IndexError(
        f"{index_at(position)} = {value}{f', the cell ({cell}),' if rank > 1 else ''} is outside {place}: "
        f"{what_was_pooled(sized_by, f' as `{sized_by}`')}, with the arguments of the pooling call; if no window made "
        f"the indices, rechunk both arrays to one chunk along each spatial axis"
    )


def _within_chunk(error: Exception, axes: list[int]) -> Exception:
    counted = " and ".join(f"dimension {axis}" for axis in axes)
    return type(error)(
        f"{error}. The position along {counted} counts from the start of its chunk: call compute_chunk_sizes() first "
        f"to see the position in the whole array"
    )
