"""The program that compute-sanitizer watches: every kernel and every way to cut a call, on small arrays.

    compute-sanitizer --tool memcheck python tools/sanitize.py

Results are compared with the CPU's.  Each array has memory of its own here, not a piece of CuPy's pool, in which one
array's end is another's beginning and memcheck would see nothing wrong.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

if "--cuda-on-cpu" in sys.argv:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "cuda_on_cpu"))

import cupy
import numpy as np
import unpool_cuda
from unpool_cuda import job

import unpool

# Planes, kernel, stride, padding: squares, what is odd, runs, pieces, overlap by one range and by several, long rows.
CASES = [
    ((8, 12), (2, 2), (2, 2), (0, 0)),
    ((9, 13), (2, 2), (2, 2), (0, 0)),
    ((21, 33), (3, 3), (3, 3), (1, 1)),
    ((11, 10), (2, 2), (4, 3), (1, 0)),
    ((13, 17), (3, 3), (2, 2), (1, 1)),
    ((130, 140), (3, 3), (2, 2), (1, 1)),
    ((4, 6, 5), (2, 2, 2), (2, 2, 2), (0, 0, 0)),
    ((5, 9, 33), (2, 2, 2), (2, 3, 2), (1, 0, 1)),
    ((6, 7, 9), (3, 3, 3), (2, 2, 2), (1, 1, 1)),
    ((5003,), (3,), (3,), (1,)),
    ((20011,), (7,), (3,), (3,)),
]
DTYPES = ("uint8", "float16", "float32", "float64", "complex128")


def main() -> None:
    if hasattr(cupy.cuda, "set_allocator"):
        cupy.cuda.set_allocator(None)
    calls = 0
    for wide, (number, case), data_format in product((2**31, 1), enumerate(CASES), ("channels_first", "channels_last")):
        job.WIDE = wide
        for cache in (job.pool, job.scatter, job.gather):
            cache.cache_clear()
        calls += check(*case, data_format, DTYPES[number % len(DTYPES)], "int32" if number % 2 else "int64")
    print(f"{calls} calls gave the CPU's results, by the kernels in {Path(unpool_cuda.__file__).parent}")


def check(size, kernel, stride, padding, data_format, dtype, index_dtype) -> int:
    rank, rng = len(size), np.random.default_rng(1)
    shape = (2, *size, 5) if data_format == "channels_last" else (2, 3, *size)
    window = {"kernel_size": kernel, "stride": stride, "padding": padding, "data_format": data_format}
    x = rng.integers(0, 9, shape).astype(dtype)
    real = x.real if dtype.startswith("complex") else x
    expected = named("max_pool", rank)(real, **window, return_indices=True, index_dtype=index_dtype)
    actual = named("max_pool", rank)(cupy.asarray(real), **window, return_indices=True, index_dtype=index_dtype)
    compare(actual[0], expected[0])
    compare(actual[1], expected[1])
    own = expected[1]
    strayed = own.copy()
    strayed.reshape(-1)[::37] = rng.integers(0, np.prod(size), strayed.reshape(-1)[::37].shape)
    calls = 1
    for indices, duplicates in product((own, strayed), ("last", "sum", "error")):
        values, there = rng.integers(0, 9, indices.shape).astype(dtype), cupy.asarray(indices)
        # Off the beginning of an allocation, as a slice of a larger array may be.
        out = cupy.empty(x.size + 3, dtype)[3:].reshape(shape)
        forward = {**window, "duplicates": duplicates, "output_size": size}
        backward = {**window, "duplicates": duplicates}
        for function, array, arguments in (
            (named("max_unpool", rank), values, forward),
            (named("max_unpool", rank, "_backward"), x, backward),
        ):
            try:
                wanted = function(array, indices, **arguments)
            except ValueError:
                continue  # an index repeats
            compare(function(cupy.asarray(array), there, **arguments), wanted)
            if arguments is forward:
                compare(function(cupy.asarray(array), there, **arguments, out=out), wanted)
            calls += 1
    bad = strayed.copy()
    bad.reshape(-1)[-1] = -1
    for duplicates in ("last", "sum"):
        try:
            named("max_unpool", rank)(
                cupy.asarray(x.reshape(-1)[: bad.size].reshape(bad.shape)),
                cupy.asarray(bad),
                **window,
                duplicates=duplicates,
                output_size=size,
            )
        except IndexError:
            calls += 1
        else:
            sys.exit("a bad index was not reported")
    return calls


def named(function, rank, suffix=""):
    return getattr(unpool, f"{function}{rank}d{suffix}")


def compare(actual, expected) -> None:
    if cupy.asnumpy(actual).tobytes() != expected.tobytes():
        sys.exit(f"a result of shape {expected.shape} and dtype {expected.dtype} is not the CPU's")


if __name__ == "__main__":
    main()
