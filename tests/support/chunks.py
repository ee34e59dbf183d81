"""Blocks of a larger plane, as chunked arrays have them, and checks of a backend on such blocks.

The first window of a block starts at cell -padding: inside of it, if the padding of its Plan is negative.  Some of its
cells lie in no window.  `plan_pooling` and `plan_unpooling` make a Plan of other sizes, and its geometry is replaced.
Its `window` stays the user's.
"""

import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from unpool.plan import plan_pooling, plan_unpooling
from unpool.testing import oracle
from unpool.testing.cases import FORMATS, anywhere, bits, crowded, unique, whole
from unpool.testing.compare import Guarded, assert_same_bits, assert_same_numbers, at
from unpool.windows import Window

REALS = ("float32", "float16", "float64", "int8", "uint16", "int64")
VALUES = (*REALS, "complex128", "bool")


class Block:
    """The windows and cells of a block: `counts` windows along each axis, and `padding` cells before and after them.

    Negative padding is cells of the block that lie before the first window, or behind the last.
    """

    def __init__(self, counts, kernel, stride, dilation, padding, leading, channels_last):
        self.counts, self.kernel, self.stride, self.dilation = counts, kernel, stride, dilation
        self.padding, self.leading, self.channels_last = padding, leading, channels_last
        along = zip(counts, kernel, stride, dilation, padding, strict=True)
        self.size = tuple((n - 1) * s + (k - 1) * d + 1 - sum(ends) for n, k, s, d, ends in along)

    def __repr__(self):
        return f"Block{tuple(vars(self).values())}"

    @property
    def rank(self):
        return len(self.counts)

    @property
    def taps(self):
        return math.prod(self.kernel)

    @property
    def tap_dtype(self):
        return "uint8" if self.taps <= 256 else "uint16"

    @property
    def geometry(self):
        """Return the arguments by which the oracle finds the windows."""
        return self.size, self.kernel, self.stride, self.padding, self.dilation

    def has_empty_windows(self):
        """Return True if a window reads no cell of the block."""
        inside = np.stack([self.cells(np.full(self.shape(self.counts), tap)) >= 0 for tap in range(self.taps)])
        return not inside.any(0).all()

    def shape(self, sizes):
        return (*self.leading[:-1], *sizes, self.leading[-1]) if self.channels_last else (*self.leading, *sizes)

    def pool(self, x):
        return oracle.max_pool(x, *self.geometry[1:], channels_last=self.channels_last)

    def cells(self, taps):
        return oracle.cells(taps, *self.geometry, channels_last=self.channels_last)

    def tapped(self, indices):
        return oracle.taps(indices, *self.geometry, channels_last=self.channels_last).astype(self.tap_dtype)

    def own(self, indices):
        return oracle.own(indices, *self.geometry, channels_last=self.channels_last)

    def user_window(self):
        """Return a window of the user's that is not the block's, and the size of a plane for it."""
        window = Window((2,) * self.rank, (2,) * self.rank, (0,) * self.rank, (1,) * self.rank)
        return window, tuple(2 * count for count in self.counts)

    def plan_pooling(self, index_dtype, index_format):
        window, sizes = self.user_window()
        plan = plan_pooling(self.shape(sizes), window, False, self.channels_last, index_dtype, index_format)
        return self.placed(plan)

    def plan_unpooling(self, validate, index_format="plane"):
        window, sizes = self.user_window()
        arguments = window, sizes, self.channels_last, validate, "input", "output_size", index_format
        return self.placed(plan_unpooling(self.shape(self.counts), *arguments))

    def placed(self, plan):
        def triple(entries, fill=1):
            return (*(fill,) * (3 - self.rank), *entries)

        return replace(
            plan,
            kernel=triple(self.kernel),
            stride=triple(self.stride),
            padding=triple([before for before, _ in self.padding], 0),
            dilation=triple(self.dilation),
            pooled=triple(self.counts),
            plane=triple(self.size),
            windows=math.prod(self.counts),
            cells=math.prod(self.size),
            pooled_shape=self.shape(self.counts),
            plane_shape=self.shape(self.size),
            spatial=self.size,
        )


def random_block(rng, channels_last):
    """Return a small block, most of which have cells outside of all windows."""
    rank = int(rng.integers(1, 4))
    counts = tuple(rng.integers(1, (40, 9, 5)[rank - 1], rank).tolist())
    kernel = tuple(rng.integers(1, (10, 6, 4)[rank - 1], rank).tolist())
    stride, dilation = tuple(rng.integers(1, 6, rank).tolist()), tuple(rng.integers(1, 4, rank).tolist())
    if rng.integers(4) == 0:  # windows of two by two cells have kernels of their own
        kernel, stride, dilation = (2,) * rank, (2,) * rank, (1,) * rank
        counts = (*counts[:-1], int(rng.integers(30, 50)))
    padding = tuple(
        (int(rng.integers(-9, (k - 1) * d + 1)), int(rng.integers(-9, (k - 1) * d + 1)))
        for k, d in zip(kernel, dilation, strict=True)
    )
    channels = int(rng.choice([1, 2, 3, 17] if channels_last else [1, 2]))
    block = Block(counts, kernel, stride, dilation, padding, (int(rng.integers(1, 3)), channels), channels_last)
    if min(block.size) < 1 or block.has_empty_windows():
        return random_block(rng, channels_last)
    return block


def blocks(seed, count):
    """Yield a generator of random numbers and a random block, `count` times."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        block = random_block(rng, bool(rng.integers(2)))
        yield rng, block


# --- checks of a backend ----------------------------------------------------------------------------------------------


def check_pool(block, rng, kind, backend):
    """Compare values and indices of both formats with the oracle."""
    x = crowded(str(rng.choice(REALS)), block.shape(block.size), int(rng.integers(99)))
    values, indices = block.pool(x)
    taps = block.tapped(indices)

    def pool(plan):
        found, named = backend.pool(kind.asarray(x), plan, None)
        return kind.tonumpy(found), None if named is None else kind.tonumpy(named)

    for index_dtype in (None, "int64", "int32"):
        found, named = pool(block.plan_pooling(index_dtype, "plane"))
        assert_same_bits(found, values)
        assert named is None if index_dtype is None else np.array_equal(named, indices), block
    for index_dtype in (block.tap_dtype, "int64"):
        found, named = pool(block.plan_pooling(index_dtype, "window"))
        assert_same_bits(found, values)
        assert_same_bits(named, taps.astype(index_dtype))


def indices_of(block, rng):
    """Return indices in their own windows and random ones, each with the taps that they are, if they are."""
    x = rng.permutation(math.prod(block.shape(block.size))).reshape(block.shape(block.size))
    own = block.pool(x)[1]
    yield own, block.tapped(own)
    yield anywhere(own.shape, math.prod(block.size), int(rng.integers(99))), None
    if block.leading[-1] < 4 and math.prod(block.counts) <= math.prod(block.size):
        yield unique(own.shape, math.prod(block.size), block.rank, FORMATS[block.channels_last]), None
    taps = rng.integers(0, block.taps, own.shape)
    while (bad := block.cells(taps) < 0).any():
        taps[bad] = rng.integers(0, block.taps, bad.sum())
    yield block.cells(taps), taps.astype(block.tap_dtype)


def with_bad_tap(block, taps, rng):
    """Return a position, and the taps with one there that is outside the block, or does not exist."""
    bad = rng.permutation(block.taps + 1)
    broken, position = taps.copy(), tuple(int(rng.integers(size)) for size in taps.shape)
    for tap in bad:
        broken[position] = tap
        if block.cells(broken)[position] < 0:
            return position, broken
    raise AssertionError("the last tap is none")


def expected(given, indices, block, duplicates, gathers):
    """Return the result, or the positions of the first repeated index."""
    if duplicates == "error":
        repeated = oracle.first_repeated(indices, block.rank, block.channels_last)
        if repeated is not None:
            return repeated
        duplicates = "last"
    if gathers:
        return oracle.max_unpool_backward(given, indices, block.rank, duplicates, block.channels_last)
    return oracle.max_unpool(given, indices, block.size, duplicates, block.channels_last)


def check_call(kind, call, given, indices, plan, duplicates, result):
    if isinstance(result, tuple):
        names = " and " if plan.by_taps else " = "
        message = re.escape(f"{at(result[0])}{names}{at(result[1])}")
        with pytest.raises(ValueError, match=message):
            call(given, indices, plan, duplicates)
        return
    guarded = Guarded(result.shape, result.dtype, 3, kind)
    same = assert_same_numbers if duplicates == "sum" else assert_same_bits
    same(call(given, indices, plan, duplicates), result)
    call(given, indices, plan, duplicates, guarded.array)
    same(guarded.written(), result)
    assert guarded.intact()


def check_moves(block, rng, kind, backend, gathers):
    """Compare scatter or gather with the oracle, for indices in their own windows and others, in each mode."""

    def call(given, indices, plan, duplicates, out=None):
        primitive = backend.gather if gathers else backend.scatter
        result = primitive(kind.asarray(given), kind.asarray(indices), plan, duplicates, out)
        return kind.tonumpy(result)

    for (indices, taps), duplicates in itertools.product(indices_of(block, rng), ("last", "sum", "error")):
        dtype, shape = str(rng.choice(VALUES)), block.shape(block.size) if gathers else indices.shape
        given = whole(dtype, shape, 1) if duplicates == "sum" else bits(dtype, shape, 2)
        result = expected(given, indices, block, duplicates, gathers)
        foreign = np.argwhere(~block.own(indices))
        for validate in (True, "windows"):
            plan = block.plan_unpooling(validate)
            wanted = indices.astype(rng.choice(["int32", "int64"]))
            if validate == "windows" and foreign.size:
                named = f"{at(foreign[0])} = {indices[tuple(foreign[0])]} "
                with pytest.raises(IndexError, match=re.escape(named)):
                    call(given, wanted, plan, duplicates)
            else:
                check_call(kind, call, given, wanted, plan, duplicates, result)
        if taps is not None:
            plan = block.plan_unpooling(True, "window")
            for tap_dtype in (block.tap_dtype, "int64"):
                check_call(kind, call, given, taps.astype(tap_dtype), plan, duplicates, result)
                position, broken = with_bad_tap(block, taps.astype(tap_dtype), rng)
                with pytest.raises(IndexError, match=re.escape(f"{at(position)} = {broken[position]} ")):
                    call(given, broken, plan, duplicates)
