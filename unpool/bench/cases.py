"""What to compute: a `Case` says it, and `prepare` makes its `Data`, the same arrays in every process."""

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
    """One computation.  `shape` is that of the array which is pooled, or was: (N, C, *spatial) in both data formats."""

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
        """Kernel, stride and padding, an entry per axis."""
        sizes = (self.kernel, self.kernel if self.stride is None else self.stride, self.padding)
        return tuple((size,) * self.rank if isinstance(size, int) else tuple(size) for size in sizes)

    @property
    def overlaps(self) -> bool:
        kernel, stride, _ = self.window
        return any(size > step for size, step in zip(kernel, stride, strict=True))

    @property
    def sums(self) -> bool:
        """Whether values are added up, in an order of each peer's own."""
        return self.overlaps and (self.operation == "pool_backward" or self.duplicates == "sum")

    @property
    def pooled(self) -> tuple[int, ...]:
        """The spatial sizes after pooling."""
        axes = zip(self.spatial, *self.window, strict=True)
        return tuple((size + 2 * pad - k + (step - 1) * self.ceil) // step + 1 for size, k, step, pad in axes)

    @property
    def output_size(self) -> tuple[int, ...] | None:
        """What unpooling has to be told: nothing where the size is the default."""
        axes = zip(self.pooled, *self.window, strict=True)
        default = tuple((count - 1) * step - 2 * pad + k for count, k, step, pad in axes)
        return None if default == self.spatial else self.spatial


# Each stands for one of the things to know; the design's figures are of these shapes.
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
    """Return the case that `asdict` made the entries of; JSON has lists for its tuples."""
    plain: dict[str, Any] = {
        name: tuple(entry) if isinstance(entry, list) else entry for name, entry in entries.items()
    }
    return Case(**plain)


class Data(NamedTuple):
    """The arrays of a case.  The gradient of unpooling is `plane`, that of pooling is `values`."""

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
    """Make the arrays of a case: the same ones in every process."""
    return _prepare(replace(case, name="", operation="pool", duplicates="last", out=False))._replace(case=case)


@lru_cache(maxsize=1)  # neighbours often differ in the operation alone
def _prepare(case: Case) -> Data:
    batch, channels, *spatial = case.shape
    shape = (batch, *spatial, channels) if case.last else case.shape
    plane = np.random.default_rng(0).standard_normal(shape, dtype=np.float32).astype(case.dtype, copy=False)
    pool = getattr(unpool, f"max_pool{case.rank}d")
    options = {"data_format": case.data_format, "index_dtype": case.index_dtype}
    values, indices = pool(plane, case.kernel, case.stride, case.padding, 1, case.ceil, True, **options)
    return Data(case, plane, values, indices)
