"""The computations to time: a `Case` describes one, and `prepare` makes its `Data`, the same in every process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

import unpool

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Size: TypeAlias = "int | tuple[int, ...]"


@dataclass(frozen=True)
class Case:
    """One computation.  `shape` is the shape of pooling's input: (N, C, *spatial) in both data formats."""

    name: str
    operation: str  # "pool", "unpool", "pool_backward" or "unpool_backward"
    shape: tuple[int, ...] = (8, 64, 224, 224)
    kernel: Size = 2
    stride: Size | None = None
    padding: Size = 0
    ceil: bool = False
    dtype: str = "float32"
    index_dtype: str = "int64"
    data_format: str = "channels_first"
    duplicates: str = "last"
    out: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape) - 2

    @property
    def spatial(self) -> tuple[int, ...]:
        return self.shape[2:]

    @property
    def last(self) -> bool:
        return self.data_format == "channels_last"

    @property
    def window(self) -> tuple[tuple[int, ...], ...]:
        """Return kernel, stride and padding, with one entry per axis."""
        sizes = (self.kernel, self.kernel if self.stride is None else self.stride, self.padding)
        return tuple((size,) * self.rank if isinstance(size, int) else tuple(size) for size in sizes)

    @property
    def overlaps(self) -> bool:
        kernel, stride, _ = self.window
        return any(size > step for size, step in zip(kernel, stride, strict=True))

    @property
    def sums(self) -> bool:
        """Return True if values are added up; each peer adds them in another order."""
        return self.overlaps and (self.operation == "pool_backward" or self.duplicates == "sum")

    @property
    def pooled(self) -> tuple[int, ...]:
        """Return the spatial sizes after pooling."""
        axes = zip(self.spatial, *self.window, strict=True)
        return tuple((size + 2 * pad - k + (step - 1) * self.ceil) // step + 1 for size, k, step, pad in axes)

    @property
    def output_size(self) -> tuple[int, ...] | None:
        """Return the size to pass to unpooling, or None if it is the default."""
        axes = zip(self.pooled, *self.window, strict=True)
        default = tuple((count - 1) * step - 2 * pad + k for count, k, step, pad in axes)
        return None if default == self.spatial else self.spatial


# One case for each kind of call.
CASES = (
    Case("unpool k2", "unpool"),
    Case("unpool k2, out=", "unpool", out=True),
    Case("unpool k2, channels last", "unpool", data_format="channels_last"),
    Case("unpool k2, (1, 1, 2, 2)", "unpool", (1, 1, 4, 4)),
    Case("gradient of unpool, sum", "unpool_backward", duplicates="sum"),
    Case("pool k2", "pool"),
    Case("pool k3 s2", "pool", kernel=3, stride=2),
)


def from_json(entries: Mapping[str, Any]) -> Case:
    """Return the case from the entries that `asdict` made; JSON has lists for its tuples."""
    plain: dict[str, Any] = {
        name: tuple(entry) if isinstance(entry, list) else entry for name, entry in entries.items()
    }
    return Case(**plain)


class Data(NamedTuple):
    """The arrays of a case.  `plane` is also the gradient of unpooling's output, `values` that of pooling's output."""

    case: Case
    plane: Array
    values: Array
    indices: Array

    def positions(self) -> tuple[int, Array]:
        """Return (step, corners): a value belongs at ``indices * step + corners`` of the flat array of planes."""
        batch, channels = self.case.shape[:2]
        cells, ones = prod(self.case.spatial), (1,) * self.case.rank
        if self.case.last:
            return channels, np.arange(batch).reshape(batch, *ones, 1) * (cells * channels) + np.arange(channels)
        return 1, np.arange(batch * channels).reshape(batch, channels, *ones) * cells


def prepare(case: Case) -> Data:
    """Make the arrays of a case, the same ones in every process."""
    return _prepare(replace(case, name="", operation="pool", duplicates="last", out=False))._replace(case=case)


@lru_cache(maxsize=1)  # successive cases often differ in the operation alone
def _prepare(case: Case) -> Data:
    batch, channels, *spatial = case.shape
    shape = (batch, *spatial, channels) if case.last else case.shape
    plane = np.random.default_rng(0).standard_normal(shape, dtype=np.float32).astype(case.dtype, copy=False)
    pool = getattr(unpool, f"max_pool{case.rank}d")
    options = {"data_format": case.data_format, "index_dtype": case.index_dtype}
    values, indices = pool(plane, case.kernel, case.stride, case.padding, 1, case.ceil, True, **options)
    return Data(case, plane, values, indices)
