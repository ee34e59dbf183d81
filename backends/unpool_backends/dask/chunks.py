"""The chunks along each axis of a plane: which windows and cells a block reads, and which of its results it keeps.

This module works on integers alone.  Chunks are given by their *edges*, ``0 = e[0] < e[1] < ... < e[n] = size``.

    ownership    window o is in the chunk that has cell o * stride, or in the last chunk
                 so an edge e of cells becomes the edge ceil(e / stride) of windows
                 and an edge o of windows becomes the edge o * stride of cells
    halo         what a block reads beyond its own chunk: cells of the windows that it computes, or windows that reach
                 its cells.  It is 0 where no window lies in two chunks.

With this rule, chunks of equal size pool to chunks of equal size if the stride divides them, and unpooling gives the
chunks of the input back.  A halo reaches into the neighbouring chunk alone.  So chunks that are smaller than the halo,
or have no window, are merged with a neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate, pairwise
from math import isnan, prod
from typing import Any, NamedTuple, TypeAlias

from unpool.plan import Plan, Triple
from unpool.sizes import spatial_axes

Edges: TypeAlias = tuple[int, ...]
Range: TypeAlias = tuple[int, int]  # (start, end)
Halo: TypeAlias = tuple[int, int]  # (before, after)


@dataclass(frozen=True, slots=True)
class Axis:
    """The chunks along one axis, with their halos."""

    windows: Edges
    cells: Edges
    windows_halo: Halo = (0, 0)
    cells_halo: Halo = (0, 0)

    @property
    def has_halo(self) -> bool:
        return any((*self.windows_halo, *self.cells_halo))

    def windows_of(self, chunk: int) -> Range:
        """Return the windows that a block reads or computes."""
        return _widened(self.windows, chunk, self.windows_halo)

    def cells_of(self, chunk: int) -> Range:
        """Return the cells of a chunk and of its halo."""
        return _widened(self.cells, chunk, self.cells_halo)


class Along(NamedTuple):
    """The sizes and the window along one axis; of a Plan, with integers alone."""

    size: int
    windows: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def span(self) -> int:
        return self.dilation * (self.kernel - 1) + 1

    def reach(self, windows: Range) -> Range:
        """Return the cells from the first to the last that some windows read."""
        first, end = windows
        last = (end - 1) * self.stride - self.padding
        return max(0, first * self.stride - self.padding), min(self.size, last + self.span)


def along(plan: Plan[Any], axis: int) -> Along:
    """Return the sizes and the window along one of the spatial axes of the user's arrays."""
    entries = (plan.plane, plan.pooled, plan.kernel, plan.stride, plan.padding, plan.dilation)
    return Along(*[entry[axis - len(plan.spatial)] for entry in entries])


def edges_of(chunks: Sequence[int]) -> Edges:
    """Return the edges of chunks, without those of size 0.

    >>> edges_of((2, 0, 3))
    (0, 2, 5)
    """
    return (0, *accumulate(size for size in chunks if size))


def edges_outside(chunks: Sequence[int]) -> Edges | None:
    """Return the edges of chunks that are not along a plane.

    If a size is unknown, return the first edge of a single chunk, and None for several chunks.
    """
    if any(map(isnan, chunks)):
        return (0,) if len(chunks) == 1 else None
    return (0, *accumulate(chunks))


def sizes(ranges: Iterable[Range]) -> tuple[int, ...]:
    return tuple([end - start for start, end in ranges])


# --- the chunks of the three primitives -------------------------------------------------------------------------------


def of_pooling(at: Along, cells: Edges) -> Axis:
    """Return the chunks of a pooling: a block reads the cells of its own windows.

    >>> of_pooling(Along(12, 6, 3, 2, 1, 1), (0, 4, 8, 12))
    Axis(windows=(0, 2, 4, 6), cells=(0, 4, 8, 12), windows_halo=(0, 0), cells_halo=(1, 0))
    """

    def windows_at(cell: int) -> int:
        return min(at.windows, -(-cell // at.stride))

    def chunked(cells: Edges) -> Axis:
        windows = (0, *map(windows_at, cells[1:-1]), at.windows)
        axis = Axis(windows, cells)
        return replace(axis, cells_halo=_halo(cells, [at.reach(pair) for pair in pairwise(windows)]))

    return _merged(chunked, _distinct(cells, windows_at, at.windows))


def of_scatter(at: Along, windows: Edges) -> Axis:
    """Return the chunks of a scatter: a block reads the windows that reach its own cells, and keeps those cells.

    >>> of_scatter(Along(12, 6, 3, 2, 1, 1), (0, 2, 4, 6))
    Axis(windows=(0, 2, 4, 6), cells=(0, 4, 8, 12), windows_halo=(0, 1), cells_halo=(0, 0))
    """

    def chunked(windows: Edges) -> Axis:
        before, after = max(0, (at.span - 1 - at.padding) // at.stride), max(0, -(-at.padding // at.stride))
        return Axis(windows, _cells(at, windows), (before, after) if len(windows) > 2 else (0, 0))

    return _merged(chunked, _distinct(windows, lambda window: window * at.stride, at.size))


def of_gather(at: Along, windows: Edges, rivals: bool) -> Axis:
    """Return the chunks of a gather: a block reads the cells of its own windows, and keeps their values.

    If `rivals`, it also reads the windows that share a cell with its own, and their cells.

    >>> of_gather(Along(12, 6, 3, 2, 1, 1), (0, 2, 4, 6), True)
    Axis(windows=(0, 2, 4, 6), cells=(0, 4, 8, 12), windows_halo=(1, 1), cells_halo=(3, 2))
    """

    def chunked(windows: Edges) -> Axis:
        shared = (at.span - 1) // at.stride if rivals and len(windows) > 2 else 0
        axis = Axis(windows, _cells(at, windows), (shared, shared))
        reached = [at.reach(axis.windows_of(chunk)) for chunk in range(len(windows) - 1)]
        return replace(axis, cells_halo=_halo(axis.cells, reached))

    return _merged(chunked, _distinct(windows, lambda window: window * at.stride, at.size))


def _cells(at: Along, windows: Edges) -> Edges:
    return (0, *[window * at.stride for window in windows[1:-1]], at.size)


def _distinct(edges: Edges, to_other: Callable[[int], int], end: int) -> Edges:
    """Keep the inner edges that leave no chunk empty on the other side, which ends at `end`."""
    kept = [0]
    for edge in edges[1:-1]:
        if to_other(kept[-1]) < to_other(edge) < end:
            kept.append(edge)
    return (*kept, edges[-1])


def _merged(chunked: Callable[[Edges], Axis], edges: Edges) -> Axis:
    """Merge chunks that are smaller than a halo, until none is.  Halos do not grow when chunks are merged."""
    while True:
        axis = chunked(edges)
        sides = ((axis.windows, max(axis.windows_halo)), (axis.cells, max(axis.cells_halo)))
        kept = [0]
        for place in range(1, len(edges) - 1):
            if all(side[place] - side[kept[-1]] >= least and side[-1] - side[place] >= least for side, least in sides):
                kept.append(place)
        if len(kept) == len(edges) - 1:
            return axis
        edges = (*[edges[place] for place in kept], edges[-1])


def _halo(cells: Edges, reached: Sequence[Range]) -> Halo:
    """Return the halo that holds the cells that every block reaches; no chunk has one beyond the plane."""
    before = [cells[chunk] - reached[chunk][0] for chunk in range(1, len(reached))]
    after = [reached[chunk][1] - cells[chunk + 1] for chunk in range(len(reached) - 1)]
    return max(0, *before, 0), max(0, *after, 0)


def _widened(edges: Edges, chunk: int, halo: Halo) -> Range:
    return max(0, edges[chunk] - halo[0]), min(edges[-1], edges[chunk + 1] + halo[1])


# --- blocks -----------------------------------------------------------------------------------------------------------


class Block(NamedTuple):
    """One block of a call."""

    plan: Plan[int]
    # The first cell along the three axes of the Plan.
    cells: Triple
    # The position of the first index in the whole array; None along an axis where it is unknown.
    origin: tuple[int | None, ...]
    # The part of the result to keep, if it is not all of it.
    kept: tuple[slice, ...] | None


@dataclass(frozen=True)
class Layout:
    """The blocks of a call: its Plan, and the chunks along each axis of its arrays, in their order.

    `outside` holds the edges of the chunks along the batch, if there is one, and the channels, by `edges_outside`.
    `operation` is "pool", "scatter" or "gather".
    """

    operation: str
    plan: Plan[Any]
    spatial: tuple[Axis, ...]
    outside: tuple[Edges | None, ...]

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        _, entries = self.plan.__reduce__()  # those that tell Plans apart
        return type(self).__qualname__, self.operation, entries, self.spatial, self.outside

    def block(self, block_id: tuple[int, ...], shape: tuple[int, ...]) -> Block:
        """Return a block by its chunk along each axis, and by the shape of one of its arrays."""
        axes = spatial_axes(len(shape), len(self.spatial), self.plan.channels_last)
        return _block(self, block_id, (*shape[: axes.start], *shape[axes.stop :]))

    def declared(self, block_id: tuple[int, ...], side: str) -> tuple[int | None, ...]:
        """Return the shape of a block of "cells" or "windows", with its halo; None for each size that is unknown."""
        axes = spatial_axes(len(block_id), len(self.spatial), self.plan.channels_last)
        along = zip(self.spatial, block_id[axes], strict=True)
        ranges = [axis.cells_of(chunk) if side == "cells" else axis.windows_of(chunk) for axis, chunk in along]
        chunks = zip(self.outside, (*block_id[: axes.start], *block_id[axes.stop :]), strict=True)
        outside = [edges[chunk + 1] - edges[chunk] if edges and len(edges) > 1 else None for edges, chunk in chunks]
        return (*outside[: axes.start], *sizes(ranges), *outside[axes.start :])


@lru_cache(maxsize=4096)
def _block(layout: Layout, block_id: tuple[int, ...], outside: tuple[int, ...]) -> Block:
    """Return a block of a known size; `outside` are the sizes of the batch, if there is one, and the channels."""
    plan = layout.plan
    axes = spatial_axes(len(block_id), len(layout.spatial), plan.channels_last)
    reads, holds, kept = [], [], []
    for place, (axis, chunk) in enumerate(zip(layout.spatial, block_id[axes], strict=True)):
        windows, cells = axis.windows_of(chunk), axis.cells_of(chunk)
        own = axis.windows[chunk : chunk + 2]
        if layout.operation == "scatter" and len(axis.cells) > 2:
            # The planes of a block hold all cells that its windows read, so that each index has a cell.
            own, reached = axis.cells[chunk : chunk + 2], along(plan, place).reach(windows)
            cells = min(own[0], reached[0]), max(own[1], reached[1])
        first = cells[0] if layout.operation == "scatter" else windows[0]
        kept.append(slice(own[0] - first, own[1] - first) if len(axis.cells) > 2 else slice(None))
        reads.append(windows)
        holds.append(cells)
    chunks = (*block_id[: axes.start], *block_id[axes.stop :])
    known = [None if edges is None else edges[chunk] for edges, chunk in zip(layout.outside, chunks, strict=True)]
    firsts = [windows[0] for windows in reads]
    return Block(
        plan=_own_plan(layout, reads, holds, outside),
        cells=_triple([cells[0] for cells in holds], 0),
        origin=(*known[: axes.start], *firsts, *known[axes.start :]),
        kept=(*(slice(None),) * axes.start, *kept) if any(axis.has_halo for axis in layout.spatial) else None,
    )


def _own_plan(layout: Layout, reads: Sequence[Range], holds: Sequence[Range], outside: tuple[int, ...]) -> Plan[int]:
    """Return the Plan of a block that reads these windows and holds these cells.

    Its `spatial` and `window` are those of the whole call, for messages.
    """
    plan = layout.plan
    padding = []
    for place, (windows, cells) in enumerate(zip(reads, holds, strict=True)):
        at = along(plan, place)
        padding.append(cells[0] - (windows[0] * at.stride - at.padding))  # negative if the block has cells before it
    pooled, plane = sizes(reads), sizes(holds)
    *batch, channels = outside

    def full(spatial: tuple[int, ...]) -> tuple[int, ...]:
        return (*batch, *spatial, channels) if plan.channels_last else (*batch, channels, *spatial)

    return replace(
        plan,
        padding=_triple(padding, 0),
        pooled=_triple(pooled, 1),
        plane=_triple(plane, 1),
        # A chunk of unknown size may have no channel, which kernels do not take.  They take no sample.
        batch=prod(batch) if channels else 0,
        channels=channels or 1,
        windows=prod(pooled),
        cells=prod(plane),
        pooled_shape=full(pooled),
        plane_shape=full(plane),
        # Several blocks read a window of a halo.  An index outside of it would be lost in one of them.
        validate="windows" if any(axis.has_halo for axis in layout.spatial) else plan.validate,
    )


def _triple(entries: Sequence[int], fill: int) -> Any:
    return (*(fill,) * (3 - len(entries)), *entries)
