"""Random values and indices, in every dtype, memory order and byte order, in guarded memory."""

from math import prod

import numpy as np

try:
    from ml_dtypes import bfloat16
except ModuleNotFoundError:  # on an architecture without its wheel
    bfloat16 = None

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
# Small unsigned ones hold taps only.
POSITIONS = ("int64", "int64", "int64", "int32", "int32", "int8", "int16", "uint32", "uint64")
TAPS = (*["uint8"] * 8, *INTEGERS)
REALS = ("float32", "float32", "float64", "float16", *(["bfloat16"] if bfloat16 else []), "bool", *INTEGERS)
VALUES = (*REALS, "complex64", "complex128")
ORDERS = ("C", "C", "C", "C", "C", "C", "F", "permuted", "reversed", "strided", "unaligned")


def dtype_of(name):
    return np.dtype(bfloat16 if name == "bfloat16" else name)


# --- values -----------------------------------------------------------------------------------------------------------


def values(generator, shape, name, few):
    """Return random values: any bits, or a `few` numbers that are often equal, with -0.0, infinities and NaN."""
    dtype = dtype_of(name)
    if name == "bool":
        return generator.integers(0, 2, shape, np.uint8).view(bool)
    if few and name not in INTEGERS:
        numbers = np.array([0.0, -0.0, 1, -1, 2, 3, 1e-7, np.inf, -np.inf, np.nan, -np.nan], np.float64)
        chosen = numbers[generator.integers(0, len(numbers) if generator.random() < 0.5 else 6, shape)]
        with np.errstate(all="ignore"):
            return chosen.astype(dtype)
    if few:
        return generator.integers(0, 5, shape).astype(dtype)
    size = prod(shape) * dtype.itemsize
    return np.frombuffer(generator.bytes(size), dtype).reshape(shape)


# --- indices ----------------------------------------------------------------------------------------------------------


def own(generator, shape, geometry, by_taps):
    """Return indices in their own windows; a window without a tap in the plane gets a bad one."""
    found, far = np.zeros(shape, np.int64), np.zeros(shape, bool)
    for axis, start, size in zip(geometry.axes, geometry.starts, geometry.plane, strict=True):
        low = -(np.minimum(start, 0) // axis.dilation)
        high = np.minimum(axis.kernel, -((start - size) // axis.dilation))
        far |= high <= low
        tap = generator.integers(low, np.maximum(high, low + 1), shape)
        found = found * axis.kernel + tap if by_taps else found * size + start + tap * axis.dilation
    return np.where(far, -1, found)


def anywhere(generator, shape, limit, kind):
    """Return numbers below a limit: "any" ones, a few "crowded" ones, or in each plane "distinct" ones."""
    if kind == "crowded":
        return generator.integers(0, min(limit, 1 + shape[2] // 20), shape)
    if kind == "distinct" and shape[2] <= limit:
        planes = [generator.permutation(limit)[: shape[2]] for _ in range(shape[0] * shape[1])]
        return np.array(planes, np.int64).reshape(shape)
    return generator.integers(0, limit, shape)


def bad_numbers(generator, count, dtype, limit):
    """Return integers of a dtype that are mostly out of range: one past it, negative, or good in the low 32 bits."""
    lowest, largest = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    near = int(generator.integers(0, limit))
    known = [-1, limit, limit + 1, -limit, lowest, largest, lowest + near, largest - near]
    known += [2**8 + near, 2**16 + near, 2**31 + near, 2**32 + near, near - 2**32, 2**63, 2**63 + near, 2**64 - 1]
    fitting = [number for number in known if lowest <= number <= largest]
    wild = np.frombuffer(generator.bytes(count * dtype.itemsize), dtype)
    chosen = np.array(fitting, dtype)[generator.integers(0, len(fitting), count)]
    return np.where(generator.random(count) < 0.3, wild, chosen)


def taps_in_padding(generator, geometry, count):
    """Return up to so many windows, and a tap of each that lies in the padding."""
    whole = np.ones(geometry.windows, bool)
    for axis, start, size in zip(geometry.axes, geometry.starts, geometry.plane, strict=True):
        whole &= (start >= 0) & (start + axis.span <= size)
    at_edges = np.flatnonzero(~whole)
    windows = at_edges[generator.integers(0, len(at_edges), 4 * count + 50)] if len(at_edges) else at_edges
    taps, outside = np.zeros(len(windows), np.int64), np.zeros(len(windows), bool)
    for axis, start, size in zip(geometry.axes, geometry.starts, geometry.plane, strict=True):
        tap = generator.integers(0, axis.kernel, len(windows))
        place = start[windows] + tap * axis.dilation
        outside |= (place < 0) | (place >= size)
        taps = taps * axis.kernel + tap
    return windows[outside][:count], taps[outside][:count]


def spoil(random, generator, indices, geometry, by_taps, how_many):
    """Overwrite about so many indices with hostile ones: out of range, in the padding, or beside those that they were.

    A single one is often the very first or the very last.
    """
    flat, limit = indices.reshape(-1), geometry.taps if by_taps else geometry.cells
    if not flat.size:
        return
    places = generator.integers(0, flat.size, how_many)
    if how_many < 3 and random.random() < 0.3:
        places[:] = random.choice((0, flat.size - 1))
    kind = random.choice(("out of range", "in the padding" if by_taps else "beside"))
    if kind == "in the padding":
        windows, taps = taps_in_padding(generator, geometry, how_many)
        planes = generator.integers(0, flat.size // geometry.windows, len(windows))
        flat[planes * geometry.windows + windows] = taps.astype(indices.dtype)
    elif kind == "beside":
        far = random.choice((1, 1, 2, geometry.plane[-1], geometry.cells // geometry.plane[0]))
        flat[places] += generator.choice((-far, far), how_many).astype(indices.dtype)  # may wrap around
    else:
        flat[places] = bad_numbers(generator, how_many, indices.dtype, limit)


# --- layouts ----------------------------------------------------------------------------------------------------------


def arranged(array, spatial, channels_last, unbatched):
    """Return an array (samples, channels, cells) as a user has it; a view if possible."""
    array = array.reshape(*array.shape[:2], *spatial)
    array = np.moveaxis(array, 1, -1) if channels_last else array
    return array[0] if unbatched else array


def canonical(array, channels_last, unbatched):
    """Return a user's array as (samples, channels, cells)."""
    array = array[None] if unbatched else array
    array = np.moveaxis(array, -1, 1) if channels_last else array
    return np.ascontiguousarray(array).reshape(*array.shape[:2], prod(array.shape[2:]))


def placed(random, room, array, order="C", swapped=False):
    """Copy an array into a guarded room, in a memory order and byte order, and lock it."""
    dtype = array.dtype.newbyteorder("S") if swapped else array.dtype
    at_end, axes = random.random() < 0.5, [*range(array.ndim)]
    if order in ("F", "permuted"):
        axes = axes[::-1] if order == "F" else random.sample(axes, len(axes))
        back = [axes.index(axis) for axis in range(array.ndim)]
        view = room.place([array.shape[axis] for axis in axes], dtype, at_end).transpose(back)
    elif order == "reversed":
        directions = [random.choice((slice(None), slice(None, None, -1))) for _ in axes]
        view = room.place(array.shape, dtype, at_end)[tuple(directions)]
    elif order == "strided":
        step, skipped = random.randint(2, 3), random.randint(0, 1)
        wide = room.place((*array.shape[:-1], array.shape[-1] * step), dtype, at_end)
        view = wide[..., skipped::step]
    else:
        view = room.place(array.shape, dtype, at_end, shift=1 if order == "unaligned" and dtype.itemsize > 1 else 0)
    view[...] = array
    room.lock()
    return view
