"""Strategies for hypothesis: poolings, calls, values and layouts, and indices of four kinds in both formats.

The strategies of indices take a `Call` and return arrays of the pooled shape, each as positions in the plane or, with
``index_format="window"``, as taps:

    valid       of a pooling: each index is a cell of its own window
    foreign     anywhere in the plane; taps are any taps inside the plane
    repeated    few cells, so that most indices repeat; taps repeat where windows overlap
    hostile     as foreign, but at least one index is bad
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from unpool.testing import oracle
from unpool.testing.arrays import Array
from unpool.testing.cases import FORMATS, LAYOUTS, Pooling, anywhere, arranged, bits, crowded, pooling, suits
from unpool.testing.oracle import Sizes

seeds = st.integers(0, 2**16)


class Call(NamedTuple):
    """A pooling, (batch, channels) or (channels,), and a data format."""

    case: Pooling
    leading: Sizes
    data_format: str

    @property
    def channels_last(self) -> bool:
        return self.data_format == "channels_last"

    @property
    def plane_shape(self) -> Sizes:
        return self.case.shape(self.leading, self.data_format)

    @property
    def pooled_shape(self) -> Sizes:
        """Return the shape that the case pools to; raise ValueError if a window lies wholly in the padding."""
        pooled, _ = self.case.pool(np.zeros((1, *self.case.size), "uint8"), "channels_first")
        return arranged(self.leading, pooled.shape[1:], self.data_format)

    @property
    def poolable(self) -> bool:
        """Return False if a window lies wholly in the padding."""
        try:
            return bool(self.pooled_shape)
        except ValueError:
            return False

    @property
    def cells(self) -> int:
        """Return the number of cells of a plane."""
        return int(np.prod(self.case.size))

    def cells_of(self, indices: Array, index_format: str) -> Array:
        """Return the cell that each index names, by the oracle; -1 for a bad index."""
        if index_format == "window":
            return oracle.cells(indices, *self.case, channels_last=self.channels_last)
        named = [int(index) if 0 <= int(index) < self.cells else -1 for index in indices.reshape(-1)]
        return np.array(named, "int64").reshape(indices.shape)


@st.composite
def poolings(draw: st.DrawFn) -> Pooling:
    """Draw a plane and pooling arguments that fit it; some windows may lie wholly in the padding."""
    rank = draw(st.integers(1, 3))
    word = draw(st.none() | st.sampled_from(["same", "same_lower"]))
    along: list[Any] = []
    for _ in range(rank):
        kernel = draw(st.integers(1, 4))
        stride = draw(st.integers(1, 5))
        dilation = draw(st.integers(1, 3))
        span = dilation * (kernel - 1)
        one_side = st.integers(0, span)
        padding: Any = word or draw(st.integers(0, kernel // 2) | st.tuples(one_side, one_side))
        padded = span if word else sum(padding) if isinstance(padding, tuple) else 2 * padding
        smallest = max(1, span + 1 - padded)
        along.append((draw(st.integers(smallest, smallest + (20, 8, 4)[rank - 1])), kernel, stride, padding, dilation))
    size, kernels, strides, paddings, dilations = zip(*along, strict=True)
    return pooling(size, kernels, strides, paddings, dilations, draw(st.booleans()))


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Draw a call; some windows may lie wholly in the padding."""
    leading = draw(st.sampled_from([(1,), (3,), (1, 1), (2, 3), (0, 2), (1, 34)]))
    return Call(draw(poolings()), leading, draw(st.sampled_from(FORMATS)))


def poolable_calls() -> st.SearchStrategy[Call]:
    """Draw a call each of whose windows has a cell."""
    return calls().filter(lambda call: call.poolable)


@st.composite
def values(draw: st.DrawFn, dtype: npt.DTypeLike, shape: Sizes) -> Array:
    """Draw random bits, or values among a few special ones, many of which are equal."""
    make: Callable[[npt.DTypeLike, Sizes, int], Array] = draw(st.sampled_from([bits, crowded]))
    return make(dtype, shape, draw(seeds))


def layouts(dtype: npt.DTypeLike) -> st.SearchStrategy[Callable[[Array], Array]]:
    """Draw a function that returns an array with the same elements in another memory layout."""
    return st.sampled_from([layout for layout in LAYOUTS if suits(layout, dtype)])


@st.composite
def valid(draw: st.DrawFn, call: Call, index_format: str = "plane") -> Array:
    """Draw the indices of a pooling."""
    x = crowded("float32", call.plane_shape, draw(seeds))
    _, indices = call.case.pool(x, call.data_format)
    return oracle.taps(indices, *call.case, channels_last=call.channels_last) if index_format == "window" else indices


@st.composite
def foreign(draw: st.DrawFn, call: Call, index_format: str = "plane") -> Array:
    """Draw indices anywhere in the plane."""
    seed = draw(seeds)
    if index_format == "window":
        return _taps_by_rank(call, np.random.default_rng(seed).random((call.case.taps, *call.pooled_shape)))
    return anywhere(call.pooled_shape, call.cells, seed)


@st.composite
def repeated(draw: st.DrawFn, call: Call, index_format: str = "plane") -> Array:
    """Draw indices most of which repeat; no tap repeats where windows do not overlap."""
    seed = draw(seeds)
    if index_format == "window":  # every window names its cell that is first in one order of all cells
        order = np.random.default_rng(seed).permutation(call.cells)
        return _taps_by_rank(call, order[_cells_of_taps(call)])
    few = draw(st.integers(1, min(3, call.cells)))
    chosen = np.random.default_rng(seed).choice(call.cells, few, replace=False)
    return chosen[anywhere(call.pooled_shape, few, seed)]


@st.composite
def hostile(draw: st.DrawFn, call: Call, index_format: str = "plane", dtype: npt.DTypeLike = "int64") -> Array:
    """Draw foreign indices of this dtype, at least one of which is bad, unless the batch is empty.

    A bad index is beside the valid range, is an extreme of its dtype, equals a valid one modulo a power of two, or is a
    tap in the padding.  The dtype must hold a bad one.
    """
    indices = draw(foreign(call, index_format)).astype(dtype)
    end, info = call.case.taps if index_format == "window" else call.cells, np.iinfo(indices.dtype)
    beside = [-1, -end, end, end + 1, 2**8, 2**16 + 1, 2**32 + end - 1, 3 - 2**32, info.min, info.max]
    bad = [number for number in beside if info.min <= number <= info.max and not 0 <= number < end]
    flat = indices.reshape(-1)
    for _ in range(draw(st.integers(1, 3)) if flat.size else 0):
        place, padded = draw(st.integers(0, flat.size - 1)), []
        if index_format == "window":
            padded = np.flatnonzero(_cells_of_taps(call).reshape(call.case.taps, -1)[:, place] < 0).tolist()
        flat[place] = draw(st.sampled_from([*bad, *padded]))
    return indices


def _cells_of_taps(call: Call) -> Array:
    """Return the cell of each tap of each window, or -1 in the padding; the first axis numbers the taps."""
    every = np.arange(call.case.taps).reshape(-1, *[1] * len(call.pooled_shape))
    taps = np.broadcast_to(every, (call.case.taps, *call.pooled_shape))
    return np.stack([oracle.cells(tap, *call.case, channels_last=call.channels_last) for tap in taps])


def _taps_by_rank(call: Call, ranks: Array) -> Array:
    """Return for each window its tap of the lowest rank, among those inside the plane."""
    taps: Array = np.where(_cells_of_taps(call) < 0, np.inf, ranks).argmin(0)
    return taps
