"""The backend for Dask arrays: the backend of a block's own library, NumPy's or CuPy's, computes each block.

Chunks along the batch and the channels are computed one by one.  Chunks along the spatial axes are, too: a block also
reads the cells, or windows, of its neighbours that it needs.  No axis is made one chunk.

An index must lie in the chunk of its window, and in its own window if windows lie in two chunks.  Those of pooling do.
Another one is an IndexError when its block is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import dask.array as da
import numpy as np
from dask.array.overlap import overlap_internal
from dask.array.utils import meta_from_array

from unpool import backends, errors
from unpool.plan import INDEX_FORMATS, Plan
from unpool.protocol import Duplicates
from unpool.sizes import spatial_axes
from unpool_backends.dask.arithmetic import Arithmetic
from unpool_backends.dask.blocks import gather_block, item, pool_block, scatter_block
from unpool_backends.dask.chunks import (
    Axis,
    Edges,
    Halo,
    Layout,
    along,
    edges_of,
    edges_outside,
    of_gather,
    of_pooling,
    of_scatter,
    sizes,
)

__all__ = ["BACKEND", "Dask"]


class Dask:
    """The three primitives of `unpool.protocol.Backend` on Dask arrays; all results are lazy."""

    arithmetic = Arithmetic
    index_formats = INDEX_FORMATS

    def pool(self, input: Any, plan: Plan[Any], out: Any) -> tuple[Any, Any]:
        meta, axes = _checked("input", input, plan, out)
        cells = _without_empty(input, axes)
        layout = _layout("pool", plan, cells, lambda place, edges: of_pooling(along(plan, place), edges))
        read = _read(cells, axes, layout, "cells")
        chunks = _chunks(cells, axes, layout, "windows")
        if plan.index_dtype is None:
            return da.map_blocks(pool_block, read, layout=layout, chunks=chunks, meta=meta), None
        # Two outputs of one task: a block is a pair, and two more arrays each take an item of it.
        pairs = np.empty((0,) * cells.ndim, object)
        pair = da.map_blocks(pool_block, read, layout=layout, chunks=chunks, meta=pairs)
        values = da.map_blocks(item, pair, nth=0, meta=meta)
        return values, da.map_blocks(item, pair, nth=1, meta=meta.astype(plan.index_dtype))

    def scatter(
        self,
        values: Any,
        indices: Any,
        plan: Plan[Any],
        duplicates: Duplicates,
        out: Any,
        given: Sequence[Any] | None = None,
    ) -> Any:
        meta, axes = _checked(plan.values, values, plan, out)
        _checked("indices", indices, plan, out)
        _check_outside(plan, values, given)
        values = _without_empty(values, axes)
        indices = _alike("indices", indices, plan.values, values, range(values.ndim))
        layout = _layout("scatter", plan, values, lambda place, edges: of_scatter(along(plan, place), edges))
        read = [_read(array, axes, layout, "windows") for array in (values, indices)]
        chunks = _chunks(values, axes, layout, "cells")
        return da.map_blocks(scatter_block, *read, layout=layout, duplicates=duplicates, chunks=chunks, meta=meta)

    def gather(self, grad: Any, indices: Any, plan: Plan[Any], duplicates: Duplicates, out: Any) -> Any:
        meta, axes = _checked(plan.sized_by, grad, plan, out)
        _checked("indices", indices, plan, out)
        indices = _without_empty(indices, axes)
        outside = [axis for axis in range(grad.ndim) if not axes.start <= axis < axes.stop]
        grad = _alike(plan.sized_by, grad, "indices", indices, outside)
        rivals = duplicates != "sum"
        layout = _layout("gather", plan, indices, lambda place, edges: of_gather(along(plan, place), edges, rivals))
        read = [_read(grad, axes, layout, "cells"), _read(indices, axes, layout, "windows")]
        chunks = _chunks(indices, axes, layout, "windows")
        return da.map_blocks(gather_block, *read, layout=layout, duplicates=duplicates, chunks=chunks, meta=meta)


BACKEND = Dask()


def _checked(argument: str, array: Any, plan: Plan[Any], out: Any) -> tuple[Any, slice]:
    """Refuse what cannot be computed lazily; return an empty block of this array's dtype, and its spatial axes."""
    if out is not None:
        raise errors.fixed_arrays("out", "Dask")
    axes = spatial_axes(array.ndim, len(plan.spatial), plan.channels_last)
    if any(math.isnan(size) for size in array.shape[axes]):
        raise _unknown_size(argument, array.shape)
    if plan.window.missing and any(number > 1 for number in array.numblocks[axes]):
        raise _no_window_in_chunks(argument, array.chunks[axes], axes, plan.sized_by)
    meta = meta_from_array(array)
    backends.route((argument,), (meta,))  # refuses blocks of other libraries, such as masked ones
    return meta.astype(meta.dtype.newbyteorder("=")), axes


def _check_outside(plan: Plan[Any], values: Any, given: Sequence[Any] | None) -> None:
    """Refuse an output size that gives a size which is unknown in the values, and so cannot be compared."""
    if given is not None and len(given) == values.ndim:
        for entry, size in zip(given, values.shape, strict=True):
            if entry is not None and math.isnan(size):
                raise _uncertain_size(plan.sized_by, given, plan.values, values.shape)


def _layout(operation: str, plan: Plan[Any], array: Any, axis: Callable[[int, Edges], Axis]) -> Layout:
    """Return the layout of a call by the chunks of one of its arrays."""
    axes = spatial_axes(array.ndim, len(plan.spatial), plan.channels_last)
    spatial = [axis(place, edges_of(chunks)) for place, chunks in enumerate(array.chunks[axes])]
    outside = (*array.chunks[: axes.start], *array.chunks[axes.stop :])
    return Layout(operation, plan, tuple(spatial), tuple(map(edges_outside, outside)))


def _without_empty(array: Any, axes: slice) -> Any:
    """Merge chunks of size 0, outside of the spatial axes, with their neighbours."""
    outside = [axis for axis in range(array.ndim) if not axes.start <= axis < axes.stop]
    filled = {axis: tuple([size for size in array.chunks[axis] if size]) or (0,) for axis in outside}
    return _rechunked(array, filled)


def _alike(argument: str, array: Any, other: str, model: Any, axes: Sequence[int]) -> Any:
    """Return the array with the chunks of another one along some axes."""
    wanted = {}
    for axis in axes:
        one, another = array.chunks[axis], model.chunks[axis]
        if not any(map(math.isnan, (*one, *another))):
            wanted[axis] = another
        elif len(one) != len(another):
            raise _unknown_chunks(argument, len(one), other, len(another), axis)
    return _rechunked(array, wanted)


def _rechunked(array: Any, chunks: dict[int, tuple[int, ...]]) -> Any:
    # Neighbours are merged and split.  Dask may choose its method for transposing arrays, which writes all to the disk.
    wanted = {axis: sizes for axis, sizes in chunks.items() if sizes != array.chunks[axis]}
    return array.rechunk(wanted, method="tasks") if wanted else array


def _read(array: Any, axes: slice, layout: Layout, side: str) -> Any:
    """Return the array that has the blocks with their halos; `side` is "cells" or "windows"."""
    chunks, depth = {}, {}
    for number, axis in enumerate(layout.spatial, axes.start):
        edges: Edges = getattr(axis, side)
        halo: Halo = getattr(axis, f"{side}_halo")
        chunks[number] = sizes(pairwise(edges))
        if any(halo):
            depth[number] = halo
    array = _rechunked(array, chunks)
    # `overlap` would also slice each axis, which Dask refuses for unknown sizes.
    return overlap_internal(array, depth) if depth else array


def _chunks(array: Any, axes: slice, layout: Layout, side: str) -> tuple[tuple[int, ...], ...]:
    """Return the chunks of a result, which has those of an array outside of the spatial axes."""
    spatial = [sizes(pairwise(edges)) for edges in (getattr(axis, side) for axis in layout.spatial)]
    return (*array.chunks[: axes.start], *spatial, *array.chunks[axes.stop :])


# --- messages ---------------------------------------------------------------------------------------------------------


def _unknown_size(argument: str, shape: Sequence[Any]) -> ValueError:
    return ValueError(
        f"`{argument}` must have known sizes along its spatial axes, got shape {tuple(shape)}: call "
        f"{argument}.compute_chunk_sizes() first"
    )


def _uncertain_size(argument: str, given: Sequence[Any], other: str, shape: Sequence[Any]) -> ValueError:
    return ValueError(
        f"`{argument}` must leave out a size that is unknown in `{other}`, got {tuple(given)} for shape "
        f"{tuple(shape)}: pass the spatial entries alone, or call {other}.compute_chunk_sizes() first"
    )


def _unknown_chunks(argument: str, number: int, other: str, expected: int, axis: int) -> ValueError:
    return ValueError(
        f"`{argument}` must have as many chunks as `{other}` along an axis of unknown sizes, got {number} and "
        f"{expected} along dimension {axis}: call compute_chunk_sizes() on both first"
    )


def _no_window_in_chunks(argument: str, chunks: Sequence[Sequence[int]], axes: slice, sized_by: str) -> ValueError:
    whole = ", ".join(f"{axis}: -1" for axis in range(axes.start, axes.stop))
    window = "" if sized_by == "input" else "the window of the pooling call as `kernel_size`, or "
    return ValueError(
        f"`{argument}` must have one chunk along each spatial axis where there is no window, since an index may be "
        f"anywhere in its plane, got chunks {tuple(map(tuple, chunks))}: pass {window}"
        f"{argument}.rechunk({{{whole}}})"
    )
