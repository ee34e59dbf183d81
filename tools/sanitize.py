"""Run every kernel, with every way to cut a call, on small arrays, under compute-sanitizer.

    compute-sanitizer --tool memcheck python tools/sanitize.py

Results are compared with the CPU's.  Each array has its own allocation and ends at the end of it.  CuPy's memory pool
is off: in it, arrays are adjacent, and memory that was written once counts as initialised.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle, product
from pathlib import Path
from typing import Any

if "--cuda-on-cpu" in sys.argv:
    support = Path(__file__).parent.parent / "tests" / "support"
    sys.path[:0] = [str(support / "cuda_on_cpu"), str(support)]

import cupy
import numpy as np
import unpool_backends.cuda
from unpool_backends.cuda import job, kernels

import unpool
from unpool.registry import why_not

# Planes, kernel, stride, padding: squares, odd sizes, runs, pieces, overlap in rows that begin anywhere and in whole
# units of 16 bytes, long rows.
CASES = [
    ((8, 12), (2, 2), (2, 2), (0, 0)),
    ((9, 15), (3, 3), (3, 3), (0, 0)),
    ((9, 13), (2, 2), (2, 2), (0, 0)),
    ((21, 33), (3, 3), (3, 3), (1, 1)),
    ((11, 10), (2, 2), (4, 3), (1, 0)),
    ((40, 40), (19, 19), (20, 20), (0, 0)),
    ((13, 17), (3, 3), (2, 2), (1, 1)),
    ((60, 50), (3, 3), (2, 2), (1, 1)),
    ((10, 32), (3, 3), (2, 2), (1, 1)),
    ((4, 6, 5), (2, 2, 2), (2, 2, 2), (0, 0, 0)),
    ((5, 9, 33), (2, 2, 2), (2, 3, 2), (1, 0, 1)),
    ((6, 7, 9), (3, 3, 3), (2, 2, 2), (1, 1, 1)),
    ((1003,), (3,), (3,), (1,)),
    ((2011,), (7,), (3,), (3,)),
]
# A word of each size, with both index dtypes; sums of some dtypes take another path.
DTYPES = [
    ("uint8", "int64"),
    ("float16", "int32"),
    ("float32", "int64"),
    ("complex64", "int32"),
    ("complex128", "int64"),
]
# The dtypes of taps that run beside those of positions; the largest window has more taps than a byte numbers.
TAP_DTYPES = {"int64": "uint16", "int32": None}
FEW = [("float32", "int32"), ("float64", "int64")]
# Values for constants of job.py, shared memory of a thread block, and the dtypes to run with them.  Small values make
# many blocks, pieces and ranges, and leave no room for tiles.  With TILES, tiles of cells have several rows.  WIDE = 1
# selects the 64-bit kernels from one element on.
LITTLE = {"LEAST_STAGE": 128, "STAGE": 512, "NEAR": 1 << 10}
TILES = {"LEAST_THREADS_EACH": 1}
CUTS: list[tuple[dict[str, int], int | None, list[tuple[str, str]]]] = [
    ({}, None, FEW[:1]),
    (TILES, None, DTYPES),
    (LITTLE, 2 << 10, DTYPES),
    (TILES | {"WIDE": 1}, None, FEW[:1]),
    (LITTLE | {"WIDE": 1}, 2 << 10, FEW),
]
# Elements between the beginning of an allocation and its array: slices have any alignment.
SHIFTS = cycle((0, 1, 3, 2, 5))

Call = Callable[[Callable[[np.ndarray], Any], dict[str, Any]], Any]


def main() -> None:
    if reason := why_not("cuda"):
        sys.exit(f"There is nothing to watch: {reason}")
    if hasattr(cupy.cuda, "set_allocator"):  # the stand-in has no pool
        cupy.cuda.set_allocator(None)  # cudaMalloc's own
    plain, constants = kernels.options, {name: getattr(job, name) for name in (*LITTLE, *TILES, "WIDE")}
    # Reports of compute-sanitizer then name source lines, with the optimised code unchanged.
    kernels.options = lambda *how, **named: (*plain(*how, **named), "-lineinfo")
    device, begin = unpool_backends.cuda._device(), time.monotonic()
    print(f"watched: {Path(unpool_backends.cuda.__file__).parent}")
    for changed, shared, dtypes in CUTS:
        for name, value in (constants | changed).items():
            setattr(job, name, value)
        here = device._replace(shared=shared or device.shared)
        unpool_backends.cuda._device = lambda here=here: here
        for cache in (job.pool, job.scatter, job.gather):
            cache.cache_clear()
        calls = 0
        for case, data_format, dtype in product(CASES, ("channels_first", "channels_last"), dtypes):
            for call in calls_of(*case, data_format, *dtype):
                check(call)
                calls += 1
        seconds = time.monotonic() - begin
        print(
            f"{seconds:4.0f} s: {calls} calls gave the CPU's results, with {changed or 'nothing'} changed", flush=True
        )


def calls_of(size, kernel, stride, padding, data_format, dtype, index_dtype) -> Iterator[Call]:
    """Yield calls on small arrays; each takes a function that converts NumPy arrays, and keywords for `out`."""
    rank, rng = len(size), np.random.default_rng(1)
    shape = (2, *size, 9) if data_format == "channels_last" else (2, 3, *size)
    window = {"kernel_size": kernel, "stride": stride, "padding": padding, "data_format": data_format}
    pool, unpooling, backward = (
        getattr(unpool, f"max_{name}") for name in (f"pool{rank}d", f"unpool{rank}d", f"unpool{rank}d_backward")
    )
    plane = rng.integers(0, 9, shape).astype(dtype)
    real = np.ascontiguousarray(plane.real)
    # Without indices, the kernel gets a null pointer; with them, it does not.
    yield lambda put, out: pool(put(real), **window, **out)
    yield lambda put, out: pool(put(real), **window, return_indices=True, index_dtype=index_dtype, **out)
    _, own = pool(real, **window, return_indices=True, index_dtype=index_dtype)
    values = rng.integers(0, 9, own.shape).astype(dtype)
    strayed, bad = own.copy(), own.copy()
    strayed.reshape(-1)[::37] = rng.integers(0, np.prod(size), strayed.reshape(-1)[::37].shape)
    bad.reshape(-1)[-1] = -1
    by_taps = {**window, "index_format": "window", "index_dtype": TAP_DTYPES[index_dtype]}
    yield lambda put, out: pool(put(real), **by_taps, return_indices=True, **out)
    _, taps = pool(real, **by_taps, return_indices=True)
    no_tap = taps.copy()
    no_tap.reshape(-1)[-1] = np.iinfo(taps.dtype).max
    for indices, duplicates in product((own, strayed, bad, taps, no_tap), ("last", "sum", "error")):
        if (indices is bad or indices is no_tap) and duplicates == "error":
            continue  # the other two modes cover bad indices
        index_format = "window" if indices is taps or indices is no_tap else "plane"
        back = {**window, "duplicates": duplicates, "index_format": index_format}
        forward = {**back, "output_size": size}
        yield lambda put, out, i=indices, named=forward: unpooling(put(values), put(i), **named, **out)
        yield lambda put, out, i=indices, named=back: backward(put(plane), put(i), **named, **out)


def placed(array: np.ndarray) -> Any:
    """Copy an array to a CuPy array that ends at the end of its allocation."""
    shift = next(SHIFTS)
    there = cupy.asarray(np.concatenate([np.zeros(shift, array.dtype), array.reshape(-1)]))
    return there[shift:].reshape(array.shape)


def empty(like: np.ndarray) -> Any:
    """Return an uninitialised CuPy array like `like`, which ends at the end of its allocation."""
    shift = next(SHIFTS)
    return cupy.empty(shift + like.size, like.dtype)[shift:].reshape(like.shape)


def check(call: Call) -> None:
    """Compare a call's result in uninitialised memory, or its error, with the CPU's."""
    try:
        expected = call(lambda array: array, {})
    except (IndexError, ValueError) as error:
        try:
            call(placed, {})
        except type(error) as found:
            if str(found) == str(error):
                return
            sys.exit(f"{found}; the CPU says {error}")
        sys.exit(f"not found: {error}")
    out = tuple(map(empty, expected)) if isinstance(expected, tuple) else empty(expected)
    compare(call(placed, {"out": out}), expected)


def compare(actual: Any, expected: Any) -> None:
    if isinstance(expected, tuple):
        for pair in zip(actual, expected, strict=True):
            compare(*pair)
    elif cupy.asnumpy(actual).tobytes() != expected.tobytes():
        sys.exit(f"a result of shape {expected.shape} and dtype {expected.dtype} is not the CPU's")


if __name__ == "__main__":
    main()
