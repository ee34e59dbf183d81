"""Taps of windows in NumPy, for the dtypes that the kernels do not read or write: they convert to and from cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from unpool.plan import Plan
from unpool.taps import cells_of, taps_of
from unpool.tracing import remembered

Array = np.ndarray[Any, np.dtype[Any]]


@remembered(maxsize=1024)
def in_plane(plan: Plan[int]) -> Plan[int]:
    """Return the Plan of the same call with positions in the plane, int64 ones, as indices."""
    return replace(plan, index_format="plane", index_dtype=plan.index_dtype and "int64")


def to_cells(taps: Array, plan: Plan[int]) -> Array:
    """Return the cell of each tap, or -1 for a bad one; `taps` is int64."""
    cells, inside = cells_of(_split(taps, plan), plan.plane, _corners(plan), plan)
    return np.where(inside, cells, -1).reshape(taps.shape)


def from_cells(cells: Array, plan: Plan[int]) -> Array:
    """Return the tap of each cell, which lies in its own window."""
    taps, _ = taps_of(_split(cells, plan), plan.plane, _corners(plan), plan)
    found: Array = taps.reshape(cells.shape)
    return found


def _split(array: Array, plan: Plan[int]) -> Array:
    """Give an array five axes: samples or planes, three spatial ones, and the channels that lie last."""
    return array.reshape(-1, *plan.pooled, plan.channels if plan.channels_last else 1)


def _corners(plan: Plan[int]) -> list[Array]:
    """Return the first cell of every window along each axis."""
    along = zip(plan.pooled, plan.stride, plan.padding, strict=True)
    return [
        (np.arange(windows) * stride - padding).reshape([-1 if place == axis else 1 for place in range(4)])
        for axis, (windows, stride, padding) in enumerate(along)
    ]
