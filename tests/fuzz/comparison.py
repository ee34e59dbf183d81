"""Compare what a call returned or wrote with the oracle, bit for bit."""

import numpy as np
import oracle

TOUCHED = "`out` may be partly overwritten"


class Wrong(Exception):
    """The library did something else than the oracle says."""


def words(array):
    """Return the bytes of a contiguous array, in words as large as possible: complex128 has two an element."""
    word = {1: np.uint8, 2: np.uint16, 4: np.uint32}.get(array.dtype.itemsize, np.uint64)
    return array.reshape(-1).view(word)


def same(one, other, any_nan=False):
    """Return which elements of two contiguous arrays have equal bits, or with `any_nan` are both NaN."""
    if any_nan and one.dtype.kind in "fcV":
        parts = [array.reshape(-1).view(array.real.dtype) for array in (one, other)]
        equal = same(*parts) | ((parts[0] != parts[0]) & (parts[1] != parts[1]))
    else:
        equal = words(one) == words(other)
    return equal if equal.size == one.size else equal[::2] & equal[1::2]


def compare(problem, result, expected, spatial, exact):
    """Raise unless a result has the bits of the oracle's; if not `exact`, any NaN is another one's equal."""
    shape = problem.shape(spatial)
    if type(result) is not np.ndarray or result.shape != shape or result.dtype != expected.dtype:
        raise Wrong(f"expected an array {shape} of {expected.dtype}, got {result!r:.200}")
    expected = np.ascontiguousarray(problem.arranged(expected, spatial))
    if not result.flags.c_contiguous:
        raise Wrong("the result is not contiguous")
    differ = ~same(result, expected, any_nan=not exact)
    if differ.any():
        at = np.unravel_index(int(differ.argmax()), shape)
        raise Wrong(f"{int(differ.sum())} of {result.size} elements differ; {at}: {result[at]!r}, not {expected[at]!r}")


def check_failed_out(problem, out, before, values, named, gathers, mode, may_be_touched):
    """Raise unless `out` is as before, or the message says otherwise and it holds only what the call may write."""
    fine = same(out, before)
    if fine.all():
        return
    if not may_be_touched:
        raise Wrong("`out` is overwritten, and the message does not say so")
    fine |= same(out, np.zeros_like(out))
    written, fine = problem.canonical(out), problem.canonical(fine.reshape(out.shape)).reshape(-1)
    good = ~named.bad.reshape(-1)
    keys = oracle.keys_of(named.cells, problem.geometry.cells)
    if gathers:
        source, target = keys[good], np.flatnonzero(good)
    else:
        source, target = np.flatnonzero(good), keys[good]
    right = np.full(len(target), mode == "sum" and not gathers)
    taken = values.reshape(-1)[source]
    right |= same(taken, written.reshape(-1)[target])
    fine[target[right]] = True
    if not fine.all():
        raise Wrong(f"a failed call wrote {written.reshape(-1)[~fine][:3]!r}, which no good index puts there")


def check_rooms(rooms):
    for name, room in rooms._asdict().items():
        if not room.intact():
            raise Wrong(f"something was written beside {name}")
