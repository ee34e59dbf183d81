"""Call the kernels while other threads write into their arguments: nothing may be read or written out of range.

    python tests/cpu/races.py --seconds 60 --seed 5

The result of such a call is undefined.  But each array ends at a page without access, or begins after one, so that an
access out of range ends the process with SIGSEGV.  Values are ones, so that a result has zeros, ones and their sums.
"""

import argparse
import ctypes
import itertools
import mmap
import threading
import time
from math import prod

import numpy as np
from threadpoolctl import threadpool_limits

import unpool

PATTERN = 0xA5
CALLS = 24
# The shape of an input, and the arguments of pooling: apart, overlapping, padded, with gaps, dilated, many channels.
GEOMETRY = [
    ((2, 4, 64, 96), {"kernel_size": 2}),
    ((1, 1, 400, 500), {"kernel_size": 2}),
    ((2, 3, 61, 90), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 1, 300, 301), {"kernel_size": 3, "stride": 1}),
    ((1, 2, 90, 91), {"kernel_size": (2, 5), "stride": (4, 3)}),
    ((1, 2, 80, 90), {"kernel_size": 3, "stride": 2, "dilation": 2}),
    ((1, 2, 150, 150), {"kernel_size": 9, "stride": 4, "padding": 3}),
    ((1, 3, 160, 160), {"kernel_size": 16, "stride": 16}),
    ((2, 33, 40, 40), {"kernel_size": 2, "data_format": "channels_last"}),
    ((1, 17, 41, 50), {"kernel_size": 3, "stride": 2, "padding": 1, "data_format": "channels_last"}),
    ((2, 4, 20000), {"kernel_size": 4}),
    ((1, 2, 30000), {"kernel_size": 5, "stride": 2, "padding": 2}),
    ((1, 2, 16, 30, 32), {"kernel_size": 2}),
    ((1, 2, 15, 31, 30), {"kernel_size": 3, "stride": 2, "padding": 1}),
]
VALUES = ("uint8", "float16", "float32", "complex64", "complex128")
# The format and the dtype of indices.
INDICES = (("plane", "int64"), ("plane", "int32"), ("window", "uint8"), ("window", "int32"))
OPERATIONS = ("scatter", "gather", "scatter", "gather", "pool")


class Guarded:
    """An array that ends at a page without access, or begins right after one."""

    def __init__(self, shape, dtype, at_end):
        size = prod(shape) * np.dtype(dtype).itemsize
        inside = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self._map = mmap.mmap(-1, inside + 2 * mmap.PAGESIZE)
        everything = np.frombuffer(self._map, np.uint8)
        for guard in (0, inside + mmap.PAGESIZE):
            address = ctypes.c_void_p(everything.ctypes.data + guard)
            if ctypes.CDLL(None, use_errno=True).mprotect(address, ctypes.c_size_t(mmap.PAGESIZE), 0):
                raise OSError(ctypes.get_errno(), "mprotect failed")
        start = mmap.PAGESIZE + (inside - size if at_end else 0)
        self.array = everything[start : start + size].view(dtype).reshape(shape)
        self._slack = everything[mmap.PAGESIZE : start] if at_end else everything[start + size : -mmap.PAGESIZE]
        self._slack[...] = PATTERN

    def intact(self):
        return bool((self._slack == PATTERN).all())


class Writer:
    """A thread that writes one state of an array after the other into it, until it is told to stop.

    If it waits between two states, a kernel may read all indices as good ones, and find bad ones when it reads them
    again.  If it does not, a kernel meets each index while it is written.
    """

    def __init__(self, array, states, waits):
        self._array, self._states, self._waits, self._stop = array, states, waits, threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _write(self):
        for state in itertools.cycle(self._states):
            np.copyto(self._array, state)  # without the GIL
            if self._waits is not None:
                time.sleep(next(self._waits))
            if self._stop.is_set():
                return


class Case:
    """Arrays of one call, and the states that a thread writes into one of them."""

    def __init__(self, rng, shape, window, dtype, index_format, index_dtype, operation):
        rank, last = len(shape) - 2, window.get("data_format") == "channels_last"
        size = shape[2:]
        shape = (shape[0], *size, shape[1]) if last else shape
        real = {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
        window = {**window, "index_format": index_format}
        pool = getattr(unpool, f"max_pool{rank}d")
        x = rng.integers(0, 100, shape).astype(real)
        _, own = pool(x, **window, return_indices=True, index_dtype=index_dtype)

        def guarded(shape, dtype, fill):
            self.arrays.append(Guarded(shape, dtype, at_end=bool(rng.integers(2))))
            self.arrays[-1].array[...] = fill
            return self.arrays[-1].array

        self.arrays, self.operation, self.waits = [], operation, None
        if rng.integers(2):
            self.waits = itertools.cycle(rng.uniform(0, 0.0004, 50).tolist())
        indices = guarded(own.shape, own.dtype, own)
        pooled, plane = guarded(own.shape, dtype, 1), guarded(shape, dtype, 1)
        how = {"duplicates": rng.choice(["last", "sum", "error"]), "validate": "windows" if rng.integers(2) else True}
        self.sums = how["duplicates"] == "sum"
        if operation == "pool":
            values, cells = guarded(own.shape, real, 0), guarded(shape, real, x)
            self.written, self.states = cells, [x, rng.permutation(x.reshape(-1)).reshape(shape), np.zeros_like(x)]
            self.out = values
            window["index_dtype"] = index_dtype
            self.call = lambda: pool(cells, **window, return_indices=True, out=(values, indices))
            return
        self.written, self.states = indices, [own, *hostile(rng, own, prod(size))]
        self.out = guarded(*((shape, dtype) if operation == "scatter" else (own.shape, dtype)), 0)
        if operation == "scatter":
            function, how["output_size"], source = getattr(unpool, f"max_unpool{rank}d"), size, pooled
        else:
            function, source = getattr(unpool, f"max_unpool{rank}d_backward"), plane
        self.call = lambda: function(source, indices, **window, **how, out=self.out)

    def race(self, calls=CALLS):
        """Make some calls while the thread writes; return the number of errors."""
        errors = []
        with Writer(self.written, self.states, self.waits):
            for _ in range(calls):
                try:
                    self.call()
                except (IndexError, ValueError) as error:
                    errors.append(str(error))
        assert all("indices[" in error for error in errors), errors
        assert all(guarded.intact() for guarded in self.arrays), "written beside an array"
        if self.operation != "pool" and not self.sums:
            assert np.isin(self.out, [0, 1]).all(), "the result holds other memory"
        return len(errors)


def hostile(rng, own, cells):
    """Return indices that are repeated, any positions, and any numbers of their dtype."""
    limits = np.iinfo(own.dtype)
    most = min(cells - 1, limits.max)
    anything = rng.integers(limits.min, limits.max, own.shape, own.dtype, endpoint=True)
    near = rng.integers(max(limits.min, -3), min(most + 3, limits.max), own.shape, own.dtype, endpoint=True)
    return [np.zeros_like(own), near, own, anything, np.full_like(own, most)]


def main():
    parser = argparse.ArgumentParser(prog="python tests/cpu/races.py", description="Race with the CPU kernels.")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=23)
    options = parser.parse_args()
    rng, end = np.random.default_rng(options.seed), time.monotonic() + options.seconds
    cases = errors = 0
    while time.monotonic() < end:
        shape, window = GEOMETRY[rng.integers(len(GEOMETRY))]
        drawn = (
            VALUES[rng.integers(len(VALUES))],
            *INDICES[rng.integers(len(INDICES))],
            OPERATIONS[cases % len(OPERATIONS)],
        )
        print(f"case {cases}: {shape} {window} {drawn}", end="\r", flush=True)
        with threadpool_limits(int(rng.integers(1, 4)), "openmp"):
            errors += Case(rng, shape, window, *drawn).race()
        cases += 1
    print(f"\n{cases} cases of {CALLS} calls, {errors} calls raised an error, nothing was read or written out of range")


if __name__ == "__main__":
    main()
