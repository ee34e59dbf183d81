"""The operations that convert indices, on Dask arrays: all are lazy, and Dask fuses those of a block to one task."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from dask.array.utils import meta_from_array

from unpool import arithmetic
from unpool.sizes import Number
from unpool_backends.dask.blocks import beside_unknown
from unpool_backends.dask.chunks import Edges, edges_outside

# What a text has in the place of a number that only a block knows: its position along an axis, or the index itself.
_MARK = "\0{}\0"
_INDEX = "index"


class Arithmetic(arithmetic.Arithmetic):
    """Operations on an array of indices, in its chunks.  A bad index is an error when its block is computed."""

    def __init__(self, indices: Any) -> None:
        super().__init__(da)
        self._indices = indices

    def along(self, size: Any, axis: int, ndim: int) -> Any:
        if math.isnan(size):
            raise _unknown_size(axis, self._indices.shape)
        places = da.arange(size, chunks=(self._indices.chunks[axis],), dtype=np.int64)
        return places[(None,) * axis + (slice(None),) + (None,) * (ndim - axis - 1)]

    def at(self, array: Any, flat: Any) -> Any:
        return _MARK.format(_INDEX)

    def require_all(self, right: Any, result: Any, problem: Callable[[Number, Any], Exception]) -> Any:
        """Return the result, whose blocks raise the error of their first position where `right` is False."""
        error = problem(_number, _Flat(result.ndim - 1))
        firsts = tuple(map(edges_outside, self._indices.chunks))
        return da.map_blocks(
            _check_block,
            result,
            right,
            self._indices,
            kind=type(error),
            text=str(error),
            firsts=firsts,
            meta=meta_from_array(result),
        )


class _Flat:
    """A flat position that only a block knows; its coordinates are marks."""

    def __init__(self, axis: int) -> None:
        self._axis = axis

    def __mod__(self, size: Any) -> str:
        return _MARK.format(self._axis)

    def __floordiv__(self, size: Any) -> _Flat:
        return _Flat(self._axis - 1)


def _number(entry: Any) -> Any:
    return entry if isinstance(entry, str) else int(entry)


def _check_block(
    result: Any,
    right: Any,
    indices: Any,
    kind: type[Exception],
    text: str,
    firsts: tuple[Edges | None, ...],
    block_id: tuple[int, ...],
) -> Any:
    """Return the block, or raise the error whose text has marks in the place of the first wrong position."""
    wrong = ~right
    if not wrong.any():
        return result
    place = np.unravel_index(int(wrong.reshape(-1).argmax()), wrong.shape)
    origin = [None if edges is None else edges[chunk] for edges, chunk in zip(firsts, block_id, strict=True)]
    numbers = {str(axis): int(at) + (first or 0) for axis, (at, first) in enumerate(zip(place, origin, strict=True))}
    numbers[_INDEX] = int(indices[place])
    raise beside_unknown(kind(re.sub(_MARK.format("(\\w+)"), lambda mark: str(numbers[mark[1]]), text)), origin)


# --- messages ---------------------------------------------------------------------------------------------------------


def _unknown_size(axis: int, shape: tuple[Any, ...]) -> ValueError:
    return ValueError(
        f"`indices` must have a known size along dimension {axis}, which these conventions count, got shape {shape}: "
        f"call indices.compute_chunk_sizes() first"
    )
