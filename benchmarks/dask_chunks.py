"""Measure what Dask adds to a chunk: CPU time of one thread beside unpool on the same blocks as NumPy arrays.

    OMP_NUM_THREADS=1 python benchmarks/dask_chunks.py [--quick] [--rounds 9] [--side 4096]

A chunk has `side` x `side` cells of float32, 64 MB by default.  There are four: samples, bands of rows, or 2 x 2 parts
of one plane.  A window is kernel/stride/padding.  With 3/2/1, a block also reads cells or windows of its neighbours.
NumPy pools and unpools each chunk as a plane of its own.

A figure is the least CPU time of the rounds, in milliseconds a chunk.  Dask's has the optimisation of the graph and the
scheduling.  The ratio is NumPy's time divided by Dask's.  Results lie in fresh memory, as in a worker of `distributed`.

The second table is of many small chunks, where all is overhead: the time to build the graph of a round trip, and the
time a chunk to compute it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import product
from time import thread_time
from typing import Any, NamedTuple

import numpy as np
from unpool_backends.cpu import max_threads

import unpool
from unpool.__main__ import as_program, positive

QUICK = 256  # the side of a chunk
MANY, FEWER, SMALL = 60, 20, 16  # chunks along both axes, those that are computed, and the side of a chunk
# The number of chunks along the batch, the rows and the columns.
CHUNKS = {"batch": (4, 1, 1), "rows": (1, 4, 1), "rows and columns": (1, 2, 2)}
FORMATS = ("plane", "window")


class Layout(NamedTuple):
    """How a plane is chunked, its window, and what an index is."""

    chunks: str
    window: tuple[int, int, int]
    index_format: str

    @property
    def name(self) -> str:
        return f"{self.chunks}, {'/'.join(map(str, self.window))}, {self.index_format}"

    def pool(self, input: Any) -> Any:
        return unpool.max_pool2d(input, *self.window, return_indices=True, index_format=self.index_format)

    def unpool(self, values: Any, indices: Any, size: tuple[int, int]) -> Any:
        return unpool.max_unpool2d(values, indices, *self.window, output_size=size, index_format=self.index_format)


LAYOUTS = (
    *(Layout(chunks, (2, 2, 0), each) for chunks, each in product(CHUNKS, FORMATS)),
    *(Layout(chunks, (3, 2, 1), each) for chunks, each in product(("rows", "rows and columns"), FORMATS)),
)


class Row(NamedTuple):
    """Seconds a chunk, of NumPy and Dask, and tasks a chunk of the optimised graph."""

    numpy: float
    dask: float
    tasks: float

    def __str__(self) -> str:
        numpy, dask = self.numpy * 1e3, self.dask * 1e3
        return f"{numpy:.2f} | {dask:.2f} | {numpy / dask:.2f} | {self.tasks:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help=f"three rounds on chunks of {QUICK} x {QUICK}")
    add("--rounds", type=positive, metavar="N", help="(default: 9, or 3 with --quick)")
    add("--side", type=positive, metavar="N", help=f"cells along the side of a chunk (default: 4096, or {QUICK})")
    options = parser.parse_args()
    if not find_spec("dask"):
        sys.exit('Dask is not installed: pip install "dask[array]"')
    if max_threads() != 1:
        sys.exit("the CPU time of other threads is not counted: set OMP_NUM_THREADS=1")
    import dask

    rounds = options.rounds or (3 if options.quick else 9)
    side = options.side or (QUICK if options.quick else 4096)
    unpool.keep_memory(False)
    print(f"Dask {dask.__version__}, NumPy {np.__version__}; chunks of {side} x {side}; {rounds} rounds.\n")
    print(heading("chunks, window, index format", "NumPy ms", "Dask ms", "ratio", "tasks"))
    with dask.config.set(scheduler="sync"):
        for layout in LAYOUTS:
            for operation, row in chunk(layout, side, rounds):
                print(f"| {operation}: {layout.name} | {row} |", flush=True)
        print("\n" + heading("a round trip of many chunks", "building ms", "computing, ms a chunk", "tasks"))
        for layout in LAYOUTS:
            if layout.chunks == "rows and columns":
                building, computing, tasks = many(layout, rounds)
                print(f"| {layout.name} | {building * 1e3:.0f} | {computing * 1e3:.2f} | {tasks:.1f} |", flush=True)


def heading(*columns: str) -> str:
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def chunk(layout: Layout, side: int, rounds: int) -> Iterator[tuple[str, Row]]:
    """Measure pooling and unpooling."""
    import dask
    import dask.array as da

    batch, rows, columns = CHUNKS[layout.chunks]
    numbers = np.arange(batch * rows * columns).reshape(batch, 1, rows, columns)
    random = np.random.default_rng(0)
    # Each chunk is an array of its own, as storage returns it: a slice of columns would have to be copied.
    blocks = [random.standard_normal((1, 1, side, side), dtype=np.float32) for _ in range(numbers.size)]
    chunks = ((1,) * batch, (1,), (side,) * rows, (side,) * columns)
    planes = da.map_blocks(lambda block_id: blocks[numbers[block_id]], chunks=chunks, meta=blocks[0][:0])
    (planes,) = dask.persist(planes)
    calls = [partial(layout.pool, block) for block in blocks]
    yield "pool", compared(calls, layout.pool(planes), rounds)
    pooled = dask.persist(*layout.pool(planes))
    calls = [partial(layout.unpool, *call(), (side, side)) for call in calls]
    yield "unpool", compared(calls, (layout.unpool(*pooled, planes.shape[2:]),), rounds)


def many(layout: Layout, rounds: int) -> tuple[float, float, float]:
    """Return seconds to build a round trip, seconds a chunk to compute a smaller one, and its tasks a chunk."""
    import dask
    import dask.array as da

    def round_trip(along: int) -> Any:
        side = along * SMALL
        plane = da.zeros((1, 1, side, side), chunks=(1, 1, SMALL, SMALL), dtype="float32")
        return layout.unpool(*layout.pool(plane), plane.shape[2:])

    building = least(lambda: round_trip(MANY), rounds)
    result = round_trip(FEWER)
    computing = least(lambda: dask.persist(result), rounds)
    return building, computing / FEWER**2, tasks((result,)) / FEWER**2


def compared(calls: Sequence[Callable[[], Any]], arrays: Any, rounds: int) -> Row:
    """Measure the calls of NumPy, one for each chunk, beside computing arrays of Dask."""
    import dask

    times = [
        (least(lambda: [call() for call in calls], 1), least(lambda: dask.persist(*arrays), 1)) for _ in range(rounds)
    ]
    return Row(*[min(each) / len(calls) for each in zip(*times, strict=True)], tasks(arrays) / len(calls))


def least(call: Callable[[], Any], rounds: int) -> float:
    """Return the least CPU time of a call in this thread, in seconds."""
    times = []
    for _ in range(rounds):
        start = thread_time()
        result = call()
        times.append(thread_time() - start)
        del result
    return min(times)


def tasks(arrays: Any) -> int:
    """Return the number of tasks after the optimisation, those of chunks in memory included."""
    import dask

    return len(dict(dask.optimize(*arrays)[0].__dask_graph__()))


if __name__ == "__main__":
    as_program(main)
