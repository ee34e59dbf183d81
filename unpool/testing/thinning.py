"""A fixed part of many cases, for runs that take only some."""

from collections import defaultdict
from collections.abc import Sequence
from zlib import crc32


def thinned(cases: Sequence[tuple[object, str, int]]) -> list[bool]:
    """Return which cases run, as one truth value for each; a case is (group, name, one_in).

    A case runs if the hash of its name is in the lowest part `1 / one_in` of all hashes.  So a new case changes
    nothing for the others.  A group none of whose hashes is that low runs the case with the lowest.
    """
    hashes = [crc32(name.encode()) for _, name, _ in cases]
    lowest: defaultdict[object, int] = defaultdict(lambda: 2**32)
    for (group, _, _), number in zip(cases, hashes, strict=True):
        lowest[group] = min(lowest[group], number)
    return [
        number * one_in < 2**32 or number == lowest[group]
        for (group, _, one_in), number in zip(cases, hashes, strict=True)
    ]
