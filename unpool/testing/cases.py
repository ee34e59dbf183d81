"""Inputs of the tests: dtypes, difficult values, pooling arguments, and memory layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest

import unpool
from unpool.testing import oracle
from unpool.testing.arrays import Array, needs_strides
from unpool.testing.oracle import Padding, Sizes

OneOrEach = int | tuple[int, ...]

FORMATS = ("channels_first", "channels_last")
DUPLICATES = ("last", "sum", "error")
FLOATS = tuple(map(np.dtype, ("float16", ml_dtypes.bfloat16, "float32", "float64")))
INTEGERS = tuple(map(np.dtype, ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")))
# The dtypes of positions in a plane: uint8 and uint16 are dtypes of taps.
POSITIONS = tuple(dtype for dtype in INTEGERS if dtype.name not in ("uint8", "uint16"))
REALS = (*FLOATS, *INTEGERS, np.dtype(bool))
VALUES = (*REALS, np.dtype("complex64"), np.dtype("complex128"))


class Pooling(NamedTuple):
    """A plane and how it is pooled."""

    size: Sizes
    kernel: Sizes
    stride: Sizes
    padding: Padding  # "same" or "same_lower" along all axes, or neither
    dilation: Sizes
    ceil_mode: bool

    @property
    def rank(self) -> int:
        return len(self.size)

    def shape(self, leading: Sizes, data_format: str) -> Sizes:
        """Return the shape of an array of such planes; `leading` is (batch, channels) or (channels,)."""
        return arranged(leading, self.size, data_format)

    def function(self, name: str) -> Callable[..., Any]:
        """Return ``unpool.max_pool2d`` for ``max_pool``, ``unpool.max_pool2d_backward`` for ``max_pool_backward``."""
        stem, backward, _ = name.partition("_backward")
        function: Callable[..., Any] = getattr(unpool, f"{stem}{self.rank}d{backward}")
        return function

    @property
    def window(self) -> dict[str, Any]:
        """Return the arguments that all public functions share."""
        padding = self.padding[0] if self.same else self.padding
        return {"kernel_size": self.kernel, "stride": self.stride, "padding": padding, "dilation": self.dilation}

    @property
    def same(self) -> bool:
        return isinstance(self.padding[0], str)

    @property
    def unequal(self) -> bool:
        """Return True if the padding differs before and after the plane, which PyTorch does not have."""
        return self.same or any(isinstance(entry, tuple) for entry in self.padding)

    def default_size(self, pooled: Sizes) -> Sizes:
        """Return the default size of a plane for so many windows."""
        if self.same:
            return tuple(n * s for n, s in zip(pooled, self.stride, strict=True))
        padded = [sum(entry) if isinstance(entry, tuple) else 2 * int(entry) for entry in self.padding]
        along = zip(pooled, self.kernel, self.stride, padded, self.dilation, strict=True)
        return tuple((n - 1) * s - p + d * (k - 1) + 1 for n, k, s, p, d in along)

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments of pooling."""
        return self.window | {"ceil_mode": self.ceil_mode}

    @property
    def taps(self) -> int:
        return int(np.prod(self.kernel))

    @property
    def tap_dtype(self) -> str:
        return "uint8" if self.taps <= 256 else "uint16" if self.taps <= 65536 else "int32"

    def pool(self, x: Array, data_format: str) -> tuple[Array, Array]:
        """Pool with the oracle."""
        return oracle.max_pool(x, *self[1:], channels_last=data_format == "channels_last")


def pooling(
    size: Sizes,
    kernel: OneOrEach,
    stride: OneOrEach | None = None,
    padding: Any = 0,
    dilation: OneOrEach = 1,
    ceil_mode: bool = False,
) -> Pooling:
    """Make a Pooling; an integer applies to every axis."""
    along = [entry if isinstance(entry, tuple) else (entry,) * len(size) for entry in (kernel, padding, dilation)]
    steps = along[0] if stride is None else stride if isinstance(stride, tuple) else (stride,) * len(size)
    return Pooling(size, along[0], steps, along[1], along[2], ceil_mode)


def arranged(leading: Sizes, size: Sizes, data_format: str) -> Sizes:
    """Return the shape of an array; `leading` is (batch, channels) or (channels,)."""
    return (*leading[:-1], *size, leading[-1]) if data_format == "channels_last" else (*leading, *size)


POOLINGS = {
    "row": pooling((8,), 2),
    "row, odd": pooling((9,), 2),
    "row, overlap and padding": pooling((9,), 3, 2, 1),
    "row, gaps": pooling((11,), 2, 3),
    "row, dilated": pooling((11,), 3, 2, 1, 2),
    "row, ceil": pooling((10,), 3, 2, ceil_mode=True),
    "even": pooling((6, 8), 2),
    "odd": pooling((7, 5), 2),
    "one cell": pooling((1, 1), 1),
    "one window": pooling((5, 4), (5, 4)),
    "windows of one cell": pooling((4, 3), 1),
    "windows of one cell, apart": pooling((7, 8), 1, 3),
    "one window of one cell": pooling((3, 7), 1, (4, 9)),
    "overlap": pooling((7, 6), 3, 1),
    "overlap and padding": pooling((9, 8), 3, 2, 1),
    "padding": pooling((6, 6), 2, 2, 1),
    "wide padding": pooling((5, 6), 5, 1, 2),
    "gaps": pooling((10, 11), (2, 1), (3, 2)),
    "gaps and padding": pooling((10, 9), 2, 4, 1),
    "a mixture": pooling((6, 9), (2, 3), (1, 2), (1, 0), (2, 1)),
    "dilated": pooling((9, 10), (3, 2), (2, 3), 0, (2, 3)),
    "dilated and padding": pooling((9, 8), 3, 2, 1, 2),
    "ceil": pooling((8, 11), 3, 2, ceil_mode=True),
    "ceil and padding": pooling((8, 7), 3, 2, 1, ceil_mode=True),
    "ceil, last window dropped": pooling((5, 5), 2, 2, 1, ceil_mode=True),
    "ceil, gaps": pooling((9, 9), 2, 3, ceil_mode=True),
    "ceil and dilated": pooling((8, 9), 2, 3, 0, 3, ceil_mode=True),
    "same": pooling((7, 6), 2, padding="same"),
    "same, overlap": pooling((7, 8), 3, 2, "same"),
    "same, even kernel, stride 1": pooling((5, 6), (2, 4), 1, "same"),
    "same, gaps": pooling((10, 11), (3, 2), (5, 4), "same"),
    "same, no overlap": pooling((10, 11), 3, 3, "same"),
    "same, dilated": pooling((9, 8), 3, 2, "same", (2, 1)),
    "row, same": pooling((9,), 4, 2, "same"),
    "same, windows far larger than the plane": pooling((4, 5), (70_000, 3), (3, 1), "same", (1, 100_000)),
    "same_lower": pooling((7, 6), 2, padding="same_lower"),
    "same_lower, overlap": pooling((7, 8), 3, 2, "same_lower"),
    "same_lower, even kernel, stride 1": pooling((5, 6), (2, 4), 1, "same_lower"),
    "same_lower, dilated": pooling((9, 8), 3, (2, 4), "same_lower", (2, 1)),
    "row, same_lower": pooling((9,), 4, 2, "same_lower"),
    "padding before": pooling((6, 7), 3, 2, ((1, 0), (2, 0))),
    "padding after": pooling((6, 7), 2, 2, ((0, 1), (0, 1))),
    "padding of one axis before, of one on both sides": pooling((5, 8), (4, 3), (1, 2), ((3, 0), 1)),
    "padding before, dilated, ceil": pooling((7, 9), (3, 2), (3, 2), ((4, 1), (0, 2)), 2, ceil_mode=True),
    "row, padding before": pooling((9,), 4, 1, ((3, 0),)),
    "wide": pooling((3, 67), 2),
    "tall": pooling((67, 3), (2, 1)),
    "volume": pooling((4, 6, 4), 2),
    "volume, odd": pooling((5, 3, 7), 2),
    "volume, overlap and padding": pooling((5, 4, 6), 3, 2, 1),
    "volume, gaps": pooling((4, 5, 6), (1, 2, 2), (2, 3, 3)),
    "volume, same": pooling((5, 4, 3), (3, 2, 3), (2, 3, 1), "same"),
    "volume, same_lower": pooling((5, 4, 3), (3, 2, 3), (2, 3, 1), "same_lower"),
    "volume, padding before or after": pooling((5, 4, 6), 3, 2, ((2, 0), 0, (0, 1))),
    "volume, dilated, ceil": pooling((6, 5, 7), 2, (1, 2, 3), (0, 1, 1), (3, 2, 1), ceil_mode=True),
}


# Work for several threads: a pooling, (batch, channels) or (channels,), a data format.
LARGE = {
    "many planes": (pooling((60, 62), 2), (4, 12), "channels_first"),
    "many small planes": (pooling((7, 6), 2), (16, 200), "channels_first"),
    "one plane": (pooling((270, 265), 5, 4, 2), (1,), "channels_first"),
    "one plane, no overlap": (pooling((270, 265), 2), (1, 1), "channels_first"),
    "one plane, gaps": (pooling((270, 265), 3, 5), (1, 1), "channels_first"),
    "one long row": (pooling((80_001,), 11, 9, 5), (1,), "channels_first"),
    "one volume": (pooling((40, 41, 42), (4, 3, 3), (4, 2, 3), (1, 1, 0)), (1,), "channels_first"),
    "many channels": (pooling((30, 31), 2), (3, 70), "channels_last"),
    "many channels, overlap": (pooling((30, 31), 3, 2, 1), (2, 130), "channels_last"),
    "one channel": (pooling((270, 265), 3), (1, 1), "channels_last"),
    "one image": (pooling((200, 210), 3), (3,), "channels_last"),
}


def bits(dtype: npt.DTypeLike, shape: Sizes, seed: int = 0) -> Array:
    """Return random bytes. Floats have every exponent, denormals, and NaNs of many payloads."""
    dtype, rng = np.dtype(dtype), np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    return np.frombuffer(rng.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape).copy()


def crowded(dtype: npt.DTypeLike, shape: Sizes, seed: int = 0) -> Array:
    """Return values drawn from a few special ones, so that most windows have equal values."""
    return np.random.default_rng(seed).choice(special(dtype), shape)


def special(dtype: npt.DTypeLike) -> Array:
    """Return the extremes of a dtype, and for floats both zeros, infinities, denormals and different NaNs."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.array([info.min, info.max, info.max - 1, 0, 1, 2], dtype)
    if dtype.kind == "c":
        parts = special(dtype.type(0).real.dtype)
        return np.concatenate([parts, parts[::-1]]).view(dtype)
    info = ml_dtypes.finfo(dtype)
    least = info.smallest_subnormal
    numbers = np.array([0, -0.0, 1, -1, info.max, info.min, least, -least, np.inf, -np.inf], np.float64).astype(dtype)
    word = f"u{dtype.itemsize}"
    infinity = np.array(np.inf, dtype).view(word)
    quiet = np.array(np.nan, dtype).view(word) & ~np.array(1 << (dtype.itemsize * 8 - 1), word)
    sign = np.array(-0.0, dtype).view(word)
    # Two quiet NaNs and a signalling one, with payloads and both signs.
    payloads = np.array([5, 2, 3], word)  # NumPy 1 has no bitwise operation of a uint64 and a Python integer
    nans = (np.array([quiet, quiet | sign, infinity], word) | payloads).view(dtype)
    return np.concatenate([numbers, numbers, nans])  # more numbers than NaNs, or every window would hold one


def whole(dtype: npt.DTypeLike, shape: Sizes, seed: int = 0) -> Array:
    """Return small integers, whose sums are exact."""
    return np.random.default_rng(seed).integers(0, 2 if np.dtype(dtype) == bool else 9, shape).astype(dtype)


def anywhere(shape: Sizes, cells: int, seed: int = 0, dtype: npt.DTypeLike = "int64") -> Array:
    """Return random indices of a plane, most of which repeat."""
    return np.random.default_rng(seed).integers(0, cells, shape).astype(dtype)


@cache
def solved(case: Pooling, leading: Sizes, data_format: str) -> tuple[Array, Array, Array]:
    """Return an input, and its values and indices by the oracle. They are cached: do not write into them."""
    x = crowded("float32", case.shape(leading, data_format))
    return x, *case.pool(x, data_format)


def pooled(case: Pooling, leading: Sizes, data_format: str) -> Array:
    """Return the indices of a pooling. They are cached: do not write into them."""
    return solved(case, leading, data_format)[2]


@cache
def pooled_taps(case: Pooling, leading: Sizes, data_format: str) -> Array:
    """Return the indices of a pooling as taps. They are cached: do not write into them."""
    indices = pooled(case, leading, data_format)
    return oracle.taps(indices, *case, channels_last=data_format == "channels_last").astype(case.tap_dtype)


def planes_of(indices: Array, rank: int, data_format: str) -> Array:
    """Return a channels-first view of an array, to write into its planes."""
    return np.moveaxis(indices, -1, -rank - 1) if data_format == "channels_last" else indices


def unique(shape: Sizes, cells: int, rank: int, data_format: str, seed: int = 0) -> Array:
    """Return random indices of a plane, none of which repeats."""
    rng = np.random.default_rng(seed)
    indices = np.empty(shape, "int64")
    planes = planes_of(indices, rank, data_format)
    for plane in np.ndindex(planes.shape[:-rank]):
        planes[plane] = rng.choice(cells, planes.shape[-rank:], replace=False)
    return indices


# --- memory layouts: functions from an array to one with the same elements ------------------------------------------


def fortran(array: Array) -> Array:
    return np.asfortranarray(array)


def backwards(array: Array) -> Array:
    """Return an array with negative strides along every axis."""
    flip = (slice(None, None, -1),) * array.ndim
    return np.ascontiguousarray(array[flip])[flip]


def sliced(array: Array) -> Array:
    """Return every second element, along every axis, of a larger array."""
    larger = bits(array.dtype, tuple([2 * size + 1 for size in array.shape]), 99)
    part = larger[(slice(1, None, 2),) * array.ndim]
    part[...] = array
    return part


def turned(array: Array) -> Array:
    """Return an array whose axes are stored in another order."""
    order = [*range(1, array.ndim), 0]
    return np.ascontiguousarray(array.transpose(order)).transpose(np.argsort(order))


def unaligned(array: Array) -> Array:
    """Return an array one byte off any alignment."""
    memory = np.empty(array.nbytes + 1, np.uint8)
    memory[1:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return memory[1:].view(array.dtype).reshape(array.shape)


def swapped(array: Array) -> Array:
    """Return an array in the other byte order."""
    return array.byteswap().view(array.dtype.newbyteorder())


def swapped_backwards(array: Array) -> Array:
    return backwards(swapped(array))


def read_only(array: Array) -> Array:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


LAYOUTS = (fortran, backwards, sliced, turned, unaligned, swapped, swapped_backwards, read_only)


def suits(layout: Callable[[Array], Array], dtype: npt.DTypeLike) -> bool:
    """Return whether a dtype can have a layout. NumPy cannot change the byte order of bfloat16."""
    return np.dtype(dtype).kind != "V" or layout not in (swapped, swapped_backwards)


def laid_out(dtypes: Iterable[npt.DTypeLike]) -> list[Any]:
    """Pair layouts with dtypes."""
    return [
        pytest.param(layout, dtype, id=f"{layout.__name__}-{dtype}", marks=needs_strides)
        for layout in LAYOUTS
        for dtype in dtypes
        if suits(layout, dtype)
    ]
