"""Inputs of the tests: dtypes, difficult values, pooling arguments, and memory layouts."""

from functools import cache
from typing import NamedTuple

import ml_dtypes
import numpy as np
import pytest
import reference
from kinds import needs_strides

import unpool

FORMATS = ("channels_first", "channels_last")
DUPLICATES = ("last", "sum", "error")
FLOATS = tuple(map(np.dtype, ("float16", ml_dtypes.bfloat16, "float32", "float64")))
INTEGERS = tuple(map(np.dtype, ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")))
# The dtypes of positions in a plane: uint8 and uint16 are dtypes of taps.
POSITIONS = tuple(dtype for dtype in INTEGERS if dtype not in ("uint8", "uint16"))
REALS = (*FLOATS, *INTEGERS, np.dtype(bool))
VALUES = (*REALS, np.dtype("complex64"), np.dtype("complex128"))


class Pooling(NamedTuple):
    """A plane and how it is pooled."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int | tuple[int, int] | str, ...]  # "same" or "same_lower" along all axes, or neither
    dilation: tuple[int, ...]
    ceil_mode: bool

    @property
    def rank(self):
        return len(self.size)

    def shape(self, leading, data_format):
        """Return the shape of an array of such planes; `leading` is (batch, channels) or (channels,)."""
        return arranged(leading, self.size, data_format)

    def function(self, name):
        """Return ``unpool.max_pool2d`` for ``max_pool``, ``unpool.max_pool2d_backward`` for ``max_pool_backward``."""
        stem, backward, _ = name.partition("_backward")
        return getattr(unpool, f"{stem}{self.rank}d{backward}")

    @property
    def window(self):
        """Return the arguments that all public functions share."""
        padding = self.padding[0] if self.same else self.padding
        return {"kernel_size": self.kernel, "stride": self.stride, "padding": padding, "dilation": self.dilation}

    @property
    def same(self):
        return isinstance(self.padding[0], str)

    @property
    def unequal(self):
        """Return True if the padding differs before and after the plane, which PyTorch does not have."""
        return self.same or any(isinstance(entry, tuple) for entry in self.padding)

    def default_size(self, pooled):
        """Return the default size of a plane for so many windows."""
        if self.same:
            return tuple(n * s for n, s in zip(pooled, self.stride, strict=True))
        padded = [sum(entry) if isinstance(entry, tuple) else 2 * entry for entry in self.padding]
        along = zip(pooled, self.kernel, self.stride, padded, self.dilation, strict=True)
        return tuple((n - 1) * s - p + d * (k - 1) + 1 for n, k, s, p, d in along)

    @property
    def arguments(self):
        """Return the arguments of pooling."""
        return self.window | {"ceil_mode": self.ceil_mode}

    @property
    def taps(self):
        return int(np.prod(self.kernel))

    @property
    def tap_dtype(self):
        return "uint8" if self.taps <= 256 else "uint16" if self.taps <= 65536 else "int32"

    def pool(self, x, data_format):
        """Pool with the reference."""
        return reference.max_pool(x, *self[1:], channels_last=data_format == "channels_last")


def pooling(size, kernel, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Make a Pooling; an integer applies to every axis."""
    along = [entry if isinstance(entry, tuple) else (entry,) * len(size) for entry in (kernel, padding, dilation)]
    steps = along[0] if stride is None else stride if isinstance(stride, tuple) else (stride,) * len(size)
    return Pooling(size, along[0], steps, along[1], along[2], ceil_mode)


def arranged(leading, size, data_format):
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


def bits(dtype, shape, seed=0):
    """Return random bytes. Floats have every exponent, denormals, and NaNs of many payloads."""
    dtype, rng = np.dtype(dtype), np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    return np.frombuffer(rng.bytes(int(np.prod(shape)) * dtype.itemsize), dtype).reshape(shape).copy()


def crowded(dtype, shape, seed=0):
    """Return values drawn from a few special ones, so that most windows have equal values."""
    return np.random.default_rng(seed).choice(special(dtype), shape)


def special(dtype):
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
    numbers = [0, -0.0, 1, -1, info.max, info.min, info.smallest_subnormal, -info.smallest_subnormal, np.inf, -np.inf]
    numbers = np.array(numbers, np.float64).astype(dtype)
    word = f"u{dtype.itemsize}"
    infinity = np.array(np.inf, dtype).view(word)
    quiet = np.array(np.nan, dtype).view(word) & ~np.array(1 << (dtype.itemsize * 8 - 1), word)
    sign = np.array(-0.0, dtype).view(word)
    # Two quiet NaNs and a signalling one, with payloads and both signs.
    nans = np.array([quiet | 5, quiet | sign | 2, infinity | 3], word).view(dtype)
    return np.concatenate([numbers, numbers, nans])  # more numbers than NaNs, or every window would hold one


def whole(dtype, shape, seed=0):
    """Return small integers, whose sums are exact."""
    return np.random.default_rng(seed).integers(0, 2 if np.dtype(dtype) == bool else 9, shape).astype(dtype)


def anywhere(shape, cells, seed=0, dtype="int64"):
    """Return random indices of a plane, most of which repeat."""
    return np.random.default_rng(seed).integers(0, cells, shape).astype(dtype)


@cache
def solved(case, leading, data_format):
    """Return an input, and its values and indices by the reference. They are cached: do not write into them."""
    x = crowded("float32", case.shape(leading, data_format))
    return x, *case.pool(x, data_format)


def pooled(case, leading, data_format):
    """Return the indices of a pooling. They are cached: do not write into them."""
    return solved(case, leading, data_format)[2]


@cache
def pooled_taps(case, leading, data_format):
    """Return the indices of a pooling as taps. They are cached: do not write into them."""
    indices = pooled(case, leading, data_format)
    return reference.taps(indices, *case, channels_last=data_format == "channels_last").astype(case.tap_dtype)


def planes_of(indices, rank, data_format):
    """Return a channels-first view of an array, to write into its planes."""
    return np.moveaxis(indices, -1, -rank - 1) if data_format == "channels_last" else indices


def unique(shape, cells, rank, data_format, seed=0):
    """Return random indices of a plane, none of which repeats."""
    rng = np.random.default_rng(seed)
    indices = np.empty(shape, "int64")
    planes = planes_of(indices, rank, data_format)
    for plane in np.ndindex(planes.shape[:-rank]):
        planes[plane] = rng.choice(cells, planes.shape[-rank:], replace=False)
    return indices


# --- memory layouts: functions from an array to one with the same elements ------------------------------------------


def fortran(array):
    return np.asfortranarray(array)


def backwards(array):
    """Return an array with negative strides along every axis."""
    flip = (slice(None, None, -1),) * array.ndim
    return np.ascontiguousarray(array[flip])[flip]


def sliced(array):
    """Return every second element, along every axis, of a larger array."""
    larger = bits(array.dtype, [2 * size + 1 for size in array.shape], 99)
    part = larger[(slice(1, None, 2),) * array.ndim]
    part[...] = array
    return part


def turned(array):
    """Return an array whose axes are stored in another order."""
    order = [*range(1, array.ndim), 0]
    return np.ascontiguousarray(array.transpose(order)).transpose(np.argsort(order))


def unaligned(array):
    """Return an array one byte off any alignment."""
    memory = np.empty(array.nbytes + 1, np.uint8)
    memory[1:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return memory[1:].view(array.dtype).reshape(array.shape)


def swapped(array):
    """Return an array in the other byte order."""
    return array.byteswap().view(array.dtype.newbyteorder())


def swapped_backwards(array):
    return backwards(swapped(array))


def read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


LAYOUTS = (fortran, backwards, sliced, turned, unaligned, swapped, swapped_backwards, read_only)


def suits(layout, dtype):
    """Return whether a dtype can have a layout. NumPy cannot change the byte order of bfloat16."""
    return np.dtype(dtype).kind != "V" or layout not in (swapped, swapped_backwards)


def laid_out(dtypes):
    """Pair layouts with dtypes."""
    return [
        pytest.param(layout, dtype, id=f"{layout.__name__}-{dtype}", marks=needs_strides)
        for layout in LAYOUTS
        for dtype in dtypes
        if suits(layout, dtype)
    ]


# --- windows far larger than the plane --------------------------------------------------------------------------------

LONG = 2**31 - 1
# No intermediate array may grow with the window. If pooling refuses a window, the pooled size is given.
FAR = {
    "one window": ({"kernel_size": 70000, "padding": "same"}, None),
    "one window, wide apart": ({"kernel_size": 10**5, "stride": LONG, "padding": "same"}, None),
    "windows of everything": ({"kernel_size": 70000, "stride": 1, "padding": "same"}, None),
    "windows of everything, padded": ({"kernel_size": 65536, "stride": 2, "padding": 32767}, None),
    "a short one, far apart": ({"kernel_size": 2, "stride": LONG, "padding": "same"}, None),
    "steps over the plane": ({"kernel_size": 3, "stride": 1, "padding": "same", "dilation": 10000}, None),
    "a last one": ({"kernel_size": (10**5, 1), "stride": (49999, 1), "padding": (50000, 0), "ceil_mode": True}, None),
    "the longest": ({"kernel_size": (1, LONG), "stride": 1, "padding": "same"}, None),
    "the longest, twice": ({"kernel_size": LONG, "stride": 3, "padding": "same"}, (2, 2)),
    "the longest, dilated": ({"kernel_size": LONG, "stride": 3, "padding": "same", "dilation": LONG}, (2, 2)),
    "the longest, in one place": ({"kernel_size": LONG, "padding": "same"}, (1, 1)),
}


def far(window, pooled):
    """Return a function that pools and unpools, and its arguments: a plane, pooled values and indices."""
    x = whole("float32", (1, 2, 4, 5))
    back = {name: entry for name, entry in window.items() if name != "ceil_mode"}
    if pooled is None:
        values, indices = unpool.max_pool2d(x, **window, return_indices=True)
    else:
        indices = anywhere((1, 2, *pooled), 20)
        values = whole("float32", indices.shape)

    def call(x, values, indices):
        pooling = () if pooled else unpool.max_pool2d(x, **window, return_indices=True)
        results = []
        for duplicates in ("last", "sum"):
            named = back | {"duplicates": duplicates}
            planes = unpool.max_unpool2d(values, indices, **named, output_size=(4, 5))
            results += [planes, unpool.max_unpool2d_backward(x, indices, **named)]
        return *results, *pooling

    return call, (x, values, indices)
