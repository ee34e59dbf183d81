"""Stand-ins for CuPy that run `benchmarks/gpu.py` on the CPU, in the process of a test or in a new one."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from tree import load

from unpool.bench.cases import Case

gpu = load("gpu")
gpu.COPY = 2**10
gpu.MOST_COPIES = 2


class Event:
    """An event with the methods of CuPy's and PyTorch's events. On the CPU it is always done."""

    done = True

    def __init__(self, enable_timing: bool = True) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def query(self) -> bool:
        return True

    def elapsed_time(self, other: Event) -> float:
        return (other.at - self.at) * 1e3


# Functions of CuPy that the benchmark calls. The arrays are NumPy's, so unpool's CPU backend computes.
NUMPY = {"asarray": np.array, "asnumpy": np.asarray, "copyto": np.copyto, "empty_like": np.empty_like}


def cupy_of(arrays) -> SimpleNamespace:
    """Return a stand-in for CuPy that has these functions."""
    runtime = SimpleNamespace(
        getDevice=lambda: 0,
        getDeviceProperties=lambda device: {"name": b"Abacus", "l2CacheSize": 1},
        runtimeGetVersion=lambda: 13020,
    )
    cuda = SimpleNamespace(
        Device=lambda: SimpleNamespace(synchronize=lambda: None),
        Event=Event,
        get_elapsed_time=Event.elapsed_time,
        runtime=runtime,
    )
    return SimpleNamespace(__version__="14.2.0", cuda=cuda, **arrays)


def numpy_peer(**other):
    return gpu.CuPy(cupy_of(NUMPY | other))


def kernels_peer():
    """Return the peer with arrays of `cuda_on_cpu`, on which unpool's CUDA kernels compute."""
    import cupy

    def copyto(target, source):
        target[...] = source

    def empty_like(array):
        return cupy.empty(array.shape, array.dtype)

    named = {"asarray": cupy.asarray, "asnumpy": cupy.asnumpy, "copyto": copyto, "empty_like": empty_like}
    return gpu.CuPy(cupy_of(named))


def small(case: Case, most: int = 232) -> Case:
    """Return the case with one sample of two channels, and sides of at most `most`."""
    return replace(case, shape=(1, 2, *(min(size, most) for size in case.spatial)))
