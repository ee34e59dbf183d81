"""One random call of the public functions in guarded memory, compared with the oracle bit for bit."""

from typing import NamedTuple

import arrays
import numpy as np
import oracle
from comparison import TOUCHED, Wrong, check_failed_out, check_rooms, compare, words

import unpool


class Problem(NamedTuple):
    """What a call is about: the geometry, and how its arrays are laid out for the user."""

    geometry: object
    samples: int
    channels: int
    channels_last: bool
    unbatched: bool
    data_format: str | None

    def arranged(self, array, spatial):
        return arrays.arranged(array, spatial, self.channels_last, self.unbatched)

    def canonical(self, array):
        return arrays.canonical(array, self.channels_last, self.unbatched)

    def shape(self, spatial):
        sizes = (*spatial, self.channels) if self.channels_last else (self.channels, *spatial)
        return sizes if self.unbatched else (self.samples, *sizes)

    def position(self, place):
        """Write a place as messages do."""
        sample, channel, window = place
        spatial = [int(entry) for entry in np.unravel_index(window, self.geometry.pooled)]
        entries = [*spatial, channel] if self.channels_last else [channel, *spatial]
        return f"indices[{', '.join(map(str, entries if self.unbatched else [sample, *entries]))}]"


# --- pooling ----------------------------------------------------------------------------------------------------------


def pool(random, generator, problem, rooms, tally):
    geometry = problem.geometry
    dtype, returns = random.choice(arrays.REALS), random.random() < 0.7
    planes = arrays.values(generator, (problem.samples, problem.channels, geometry.cells), dtype, random.random() < 0.6)
    by_taps = random.random() < 0.5
    index_dtype = None
    if random.random() < 0.5:
        fitting = [name for name in ("uint8", "uint16", "int32", "int64") if geometry.taps - 1 <= np.iinfo(name).max]
        index_dtype = random.choice(fitting if by_taps else ["int32", "int64"])
    arguments = geometry.arguments | {"return_indices": returns, "index_dtype": index_dtype}
    arguments |= {"index_format": "window" if by_taps else "plane", "data_format": problem.data_format}
    given = laid_out(random, rooms.values, problem.arranged(planes, geometry.plane))
    default = "int64"
    if by_taps:
        default = "uint8" if geometry.taps <= 256 else "uint16" if geometry.taps <= 65536 else "int32"
    dtypes = [arrays.dtype_of(dtype), np.dtype(index_dtype or default)][: 1 + returns]
    outs = None
    if random.random() < 0.5:
        outs = [
            empty(random, room, problem.shape(geometry.pooled), dtype)
            for room, dtype in zip((rooms.out, rooms.other), dtypes, strict=False)
        ]
        arguments["out"] = tuple(outs) if returns else outs[0]
    function = getattr(unpool, f"max_pool{geometry.rank}d")
    tally.calls += 1
    tally.last = function, arguments, given
    result = function(given, **arguments)
    found = result if returns else (result,)
    expected, cells, taps = oracle.pool(planes, geometry)
    indices = taps if by_taps else cells
    for nth, (array, wanted) in enumerate(zip(found, (expected, indices), strict=False)):
        compare(problem, array, wanted.astype(dtypes[nth], copy=False), geometry.pooled, exact=True)
        if outs is not None and array is not outs[nth]:
            raise Wrong("`out` is not what is returned")
    check_rooms(rooms)


# --- unpooling and its gradient ---------------------------------------------------------------------------------------


def move(random, generator, problem, rooms, tally, hostile):
    """Call a function that takes indices: unpooling, a gradient or `take_along_plane`."""
    geometry = problem.geometry
    name = random.choices(("unpool", "unpool_backward", "pool_backward", "take"), (5, 3, 2, 1))[0]
    by_taps = geometry.axes is not None and name != "take" and random.random() < 0.45
    validate = random.choice((True, False, "windows" if geometry.axes is not None and name != "take" else True))
    indices = make_indices(random, generator, problem, by_taps, hostile)
    mode = "sum" if name in ("pool_backward", "take") else random.choice(("last", "last", "sum", "error"))
    gathers = name in ("unpool_backward", "take")
    dtype = random.choice(arrays.REALS if name == "pool_backward" else arrays.VALUES)
    shape = (*indices.shape[:2], geometry.cells if gathers else geometry.windows)
    values = arrays.values(generator, shape, dtype, random.random() < 0.3)
    given = laid_out(random, rooms.values, problem.arranged(values, geometry.plane if gathers else geometry.pooled))
    given_indices = laid_out(random, rooms.indices, problem.arranged(indices, geometry.pooled))
    out = None
    if random.random() < 0.6:
        out = empty(random, rooms.out, problem.shape(geometry.pooled if gathers else geometry.plane), values.dtype)
    before = None if out is None else out.copy()
    function, arguments = function_of(random, name, problem, by_taps, mode, validate)
    named = oracle.name_cells(indices, geometry, by_taps, validate == "windows")
    expected_error = wrong_index(problem, name, indices, named, by_taps, mode)
    tally.count(indices, hostile)
    tally.last = function, arguments, given, given_indices, out
    try:
        result = function(given, given_indices, out=out, **arguments)
    except (IndexError, ValueError) as error:
        tally.errors += 1
        check_error(error, expected_error, out)
        if out is not None:
            check_failed_out(problem, out, before, values, named, gathers, mode, TOUCHED in str(error))
        check_rooms(rooms)
        return
    if expected_error is not None:
        raise Wrong(f"expected {expected_error}, got a result")
    if gathers:
        expected = oracle.gather(values, named.cells, keeps_all=mode != "last")
    else:
        expected = oracle.scatter(values, named.cells, geometry.cells, adds=mode == "sum")
    compare(problem, result, expected, geometry.pooled if gathers else geometry.plane, exact=mode != "sum" or gathers)
    if out is not None and result is not out:
        raise Wrong("`out` is not what is returned")
    check_rooms(rooms)


def check_error(error, expected, out):
    """Raise unless an error has the type and the texts that are expected."""
    kind, texts = expected or (None, [])
    if type(error) is not kind or not all(text in str(error) for text in texts):
        raise Wrong(f"expected {expected}, got {type(error).__name__}: {error}") from error
    if out is None and TOUCHED in str(error):
        raise Wrong(f"there is no `out` to be overwritten: {error}") from error


def make_indices(random, generator, problem, by_taps, hostile):
    geometry = problem.geometry
    shape = problem.samples, problem.channels, geometry.windows
    limit = geometry.taps if by_taps else geometry.cells
    dtype = np.dtype(random.choice(arrays.TAPS if by_taps else arrays.POSITIONS))
    if by_taps:
        kind = random.choice(("own", "own", "own", "any"))
    else:
        kind = random.choice(("any", "crowded", "distinct", *["own"] * (0 if geometry.axes is None else 2)))
    if limit - 1 > np.iinfo(dtype).max and random.random() < 0.9:
        dtype = np.dtype("int64")
    if kind == "own":
        indices = arrays.own(generator, shape, geometry, by_taps).astype(dtype)
    else:
        indices = arrays.anywhere(generator, shape, limit, kind).astype(dtype)
    size = indices.size
    if hostile:
        how_many = random.choice((1, 1, 1, 2, 1 + size // 1000, 1 + size // 10, 1 + size))
        arrays.spoil(random, generator, indices, geometry, by_taps, how_many)
    return indices


def function_of(random, name, problem, by_taps, mode, validate):
    """Return the function, and its arguments beside the arrays and `out`."""
    geometry = problem.geometry
    if name == "take":
        words = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}[geometry.rank]
        return unpool.take_along_plane, {"data_format": words[problem.channels_last], "validate": validate}
    arguments = {key: value for key, value in geometry.arguments.items() if key != "ceil_mode"}
    arguments |= {"data_format": problem.data_format, "validate": validate}
    arguments["index_format"] = "window" if by_taps else random.choice(("plane", "pytorch"))
    size = random.choice((tuple, list))(geometry.plane)
    if random.random() < 0.3:
        size = problem.shape(geometry.plane)
    if name == "pool_backward":
        arguments["input_size"] = size
    else:
        arguments["duplicates"] = mode
    if name == "unpool" and not can_leave_out(geometry, by_taps):
        arguments["output_size"] = size
    return getattr(unpool, f"max_{name.replace('pool', f'pool{geometry.rank}d')}"), arguments


def can_leave_out(geometry, by_taps):
    """Return True if `output_size` may be left out.  It may be needed to find out how much a word pads."""
    if geometry.axes is None or not geometry.has_default_size():
        return False
    return not by_taps or all(axis.pads is not None for axis in geometry.axes)


def wrong_index(problem, name, indices, named, by_taps, mode):
    """Return the error that the contract demands, and texts of its message; None for none."""
    geometry, last = problem.geometry, problem.channels_last
    bad = named.bad if named.foreign is None else named.bad | named.foreign
    place = oracle.first(bad, last)
    if place is not None:
        start = f"{problem.position(place)} = {int(indices[place])} is "
        side = "input" if name == "take" else "output"
        plane = f"{side} plane of {' x '.join(map(str, geometry.plane))}"
        if by_taps:
            return IndexError, [
                f"{start}no tap of its window in an {plane}",
                f": expected a tap from 0 to {geometry.taps - 1} that ",
            ]
        if not named.bad[place]:
            return IndexError, [f"{start}outside its own window in an {plane}"]
        return IndexError, [f"{start}out of range for an {plane}", f": expected 0..{geometry.cells - 1};"]
    repeated = oracle.first_repeated(named.cells, geometry.cells, last) if mode == "error" else None
    if repeated is None:
        return None
    second, earliest = repeated
    link = "and" if by_taps else "="
    value = ", which are taps at one cell" if by_taps else f" = {int(indices[second])}:"
    return ValueError, [f"got {problem.position(earliest)} {link} {problem.position(second)}{value}"]


# --- arrays -----------------------------------------------------------------------------------------------------------


def laid_out(random, room, array):
    """Copy an array into a locked room, in a random memory order and byte order."""
    swaps = array.dtype.itemsize > 1 and array.dtype.kind != "V" and random.random() < 0.08
    return arrays.placed(random, room, array, random.choice(arrays.ORDERS), swaps)


def empty(random, room, shape, dtype):
    """Return a guarded output that holds a pattern."""
    out = room.place(shape, dtype, random.random() < 0.5)
    words(out)[...] = random.choice((0, 0xA5, 0xFF))
    return out
