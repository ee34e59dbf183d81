"""Random windows and sizes, after the contract in docs/design.md; nothing here calls the library.

Along one axis, window number `o` has its tap `j` at the cell `o * stride - before + j * dilation`.
"""

from functools import cached_property
from math import prod

import numpy as np

WORDS = {"same": 0, "SAME": 0, "SAME_UPPER": 0, "same_lower": 1, "SAME_LOWER": 1}


class Axis:
    """The window of one axis, and how it is padded: by (before, after), or if these are None by a word."""

    def __init__(self, kernel, stride, dilation, pads, lower=0):
        self.kernel, self.stride, self.dilation, self.pads, self.lower = kernel, stride, dilation, pads, lower
        self.span = dilation * (kernel - 1) + 1

    def windows(self, size, ceil_mode):
        """Count the windows that pooling has on so many cells."""
        if self.pads is None:
            return -(-size // self.stride)
        before, after = self.pads
        room = size + before + after - self.span
        if not ceil_mode:
            return room // self.stride + 1 if room >= 0 else 0
        count = -(-room // self.stride) + 1
        while count > 0 and (count - 1) * self.stride >= size + before:
            count -= 1
        return max(count, 0)

    def before(self, size, windows):
        """Return how many padded cells lie before the first one."""
        if self.pads is not None:
            return self.pads[0]
        return (max((windows - 1) * self.stride + self.span - size, 0) + self.lower) // 2

    def default(self, windows):
        """Return the size that unpooling has if none is given."""
        return windows * self.stride if self.pads is None else (windows - 1) * self.stride + self.span - sum(self.pads)

    def sizes(self, windows):
        """Return the smallest and the largest size that pools to so many windows."""
        default = self.default(windows)
        return max(1, default - self.stride + 1), default if self.pads is None else default + self.stride - 1


class Geometry:
    """Windows beside a plane.  `axes` is None if there is no window: then any cell may be named."""

    def __init__(self, axes, plane, pooled, arguments):
        self.axes, self.plane, self.pooled, self.arguments = axes, plane, pooled, arguments
        self.rank = len(plane)
        self.cells, self.windows = prod(plane), prod(pooled)

    @property
    def kernel(self):
        return [axis.kernel for axis in self.axes]

    @property
    def taps(self):
        return prod(self.kernel)

    @cached_property
    def starts(self):
        """Return the cell of each window's first tap along each axis; it may lie in the padding."""
        places = np.unravel_index(np.arange(self.windows), self.pooled)
        return [
            place * axis.stride - axis.before(size, count)
            for axis, place, size, count in zip(self.axes, places, self.plane, self.pooled, strict=True)
        ]

    def all_reach(self):
        """Return True if every window has a tap in the plane."""
        for axis, size, count in zip(self.axes, self.plane, self.pooled, strict=True):
            first = np.arange(count) * axis.stride - axis.before(size, count)
            # The first tap at or after cell 0.
            first = np.where(first < 0, first % axis.dilation, first)
            if (first >= size).any():
                return False
        return True

    def resized(self, random):
        """Return the same windows beside a plane of another size that pools to as many."""
        bounds = [axis.sizes(count) for axis, count in zip(self.axes, self.pooled, strict=True)]
        plane = [random.randint(low, high) if random.random() < 0.5 else high for low, high in bounds]
        return Geometry(self.axes, tuple(plane), self.pooled, self.arguments)

    def has_default_size(self):
        """Return True if the plane has the size that follows from the windows."""
        return all(
            axis.default(count) == size for axis, count, size in zip(self.axes, self.pooled, self.plane, strict=True)
        )


def pooling(random, cells):
    """Return a random geometry of about so many cells, as pooling has it."""
    while True:
        rank = random.choices((1, 2, 3), (3, 5, 3))[0]
        plane = sides(random, rank, cells)
        axes, arguments = window(random, rank, plane)
        ceil_mode = random.random() < 0.3
        pooled = tuple([axis.windows(size, ceil_mode) for axis, size in zip(axes, plane, strict=True)])
        if 0 in pooled or prod(pooled) > 4 * cells + 100:
            continue
        geometry = Geometry(axes, plane, pooled, arguments | {"ceil_mode": ceil_mode})
        if geometry.all_reach():
            return geometry


def without_window(random, cells):
    """Return a plane and a number of values in it, as of ``kernel_size=None``."""
    rank = random.choices((1, 2, 3), (3, 5, 3))[0]
    plane = sides(random, rank, cells)
    pooled = tuple([random.randint(1, max(1, int(size * random.choice((0.3, 0.7, 1.5))))) for size in plane])
    return Geometry(None, plane, pooled, {"kernel_size": None})


def sides(random, rank, cells):
    """Return random sizes whose product is about `cells`."""
    shares = [random.uniform(0.2, 1) for _ in range(rank)]
    return tuple([max(1, round((cells ** (share / sum(shares))) * random.uniform(0.7, 1.4))) for share in shares])


# Kernel, stride and padding of most networks.
USUAL = ((2, 2, 0), (2, 2, 0), (2, 2, 0), (3, 3, 0), (3, 2, 1), (3, 1, 1), (2, 1, 0))


def window(random, rank, plane):
    """Return the axes of a random window, and the arguments that stand for them."""
    if random.random() < 0.35:
        kernel, stride, pad = random.choice(USUAL)
        axes = [Axis(kernel, stride, 1, (pad, pad)) for _ in range(rank)]
        return axes, {"kernel_size": kernel, "stride": stride, "padding": pad}
    most = random.choice((2, 3, 3, 5, 9 if rank < 3 else 4, 40 if rank == 1 else 6))
    kernel = [random.randint(1, most) for _ in range(rank)]
    if random.random() < 0.1:  # larger than the plane in places
        kernel = [min(size + random.randint(0, 2), 300) for size in plane]
    stride = [random.choice((1, 2, 3, size, size, size + 1, size + 3)) for size in kernel]
    spread = random.random() < 0.25
    dilation = [random.randint(1, 3) if spread else 1 for _ in range(rank)]
    arguments = {
        "kernel_size": written(random, kernel),
        "stride": None if stride == kernel and random.random() < 0.5 else written(random, stride),
        "dilation": written(random, dilation),
    }
    lower, kind = 0, random.choice(("none", "numbers", "numbers", "pairs", "word"))
    if kind == "word":
        arguments["padding"] = random.choice([*WORDS])
        lower, pads = WORDS[arguments["padding"]], [None] * rank
    elif kind == "pairs":
        most = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
        pads = [(random.randint(0, far), random.randint(0, far)) for far in most]
        arguments["padding"] = tuple(pads)
    else:
        numbers = [random.randint(0, size // 2) if kind == "numbers" else 0 for size in kernel]
        pads = [(number, number) for number in numbers]
        arguments["padding"] = written(random, numbers)
        if not any(numbers) and random.random() < 0.3:
            arguments["padding"] = random.choice(("valid", "VALID", 0))
    return [Axis(*along, lower) for along in zip(kernel, stride, dilation, pads, strict=True)], arguments


def written(random, entries):
    """Write numbers as an argument: one number if they are equal, or a tuple, or a list."""
    if len({*entries}) == 1 and random.random() < 0.7:
        return entries[0]
    return random.choice((tuple, list))(entries)
