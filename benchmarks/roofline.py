"""The memory roofline: the bytes that a case must read and write, and the bandwidths of this machine.

    bound = bytes read / read bandwidth + bytes written / write bandwidth,    share = bound / measured time

The bandwidths are those of the best pass of `stream.c`, which runs before every round and after the last.  Data in a
cache may be faster than memory, so only a case that moves more than `SMALLEST` bytes has a share.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np

from unpool.bench.cases import Case, prepare
from unpool.bench.report import Report, medians

SMALLEST = 100e6  # three times the largest caches of the machines used so far
LINE = 64  # bytes of a cache line


def traffic(case: Case) -> tuple[int, int]:
    """Return the bytes that a case must read and write."""
    value = np.dtype(case.dtype).itemsize
    index = np.dtype(case.index_dtype).itemsize
    planes = prod(case.shape[:2])
    plane, pooled = planes * prod(case.spatial), planes * prod(case.pooled)
    if case.operation == "pool":
        return plane * value, pooled * (value + index)
    if case.operation == "unpool_backward":
        return pooled * index + _gathered(case), pooled * value
    return pooled * (value + index), plane * value  # unpooling and the gradient of pooling


def _gathered(case: Case) -> int:
    """Return the bytes of the cache lines that hold a value named by an index."""
    data = prepare(case)
    step, corners = data.positions()
    lines = (data.indices * step + corners) * data.plane.itemsize // LINE
    touched = np.zeros(lines.max() + 1, dtype=bool)
    touched[lines] = True
    return int(touched.sum()) * LINE


def shares(report: Report) -> dict[str, float]:
    """Return unpool's share of the roofline for each case that moves more than `SMALLEST` bytes."""
    if not report.get("bandwidths"):
        return {}
    reading, writing = np.max(report["bandwidths"], axis=0) * 1e6  # bytes in a millisecond
    times = {case: row["unpool"] for case, row in medians(report).items() if "unpool" in row}
    moved = {case: report["traffic"][case] for case in times}
    return {
        case: float(read / reading + written / writing) / times[case]
        for case, (read, written) in moved.items()
        if read + written > SMALLEST
    }


def says(report: Report) -> str:
    if not report.get("bandwidths"):
        return "No roofline: stream.c did not run; measure with run.py, and install a C compiler for cc -fopenmp."
    reading, writing = np.max(report["bandwidths"], axis=0)
    return f"Roofline: bound / measured time, at {reading:.1f} GB/s read and {writing:.1f} GB/s written."


def stream(folder: str) -> Callable[[int], list[list[float]]]:
    """Compile `stream.c`; return a function from a number of threads to [[GB/s read, GB/s written]].

    Without a compiler, the function returns an empty list.
    """
    program = Path(folder) / "stream"
    source = Path(__file__).with_name("stream.c")
    try:
        subprocess.run(["cc", "-O3", "-fopenmp", source, "-o", program], check=True)
    except (OSError, subprocess.CalledProcessError):
        return lambda threads: []

    def measure(threads: int) -> list[list[float]]:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        result = subprocess.run([program, "40"], env=environment, check=True, capture_output=True, text=True)
        return [[float(number) for number in result.stdout.split()[:2]]]

    return measure
