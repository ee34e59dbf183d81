"""The memory roofline: what a case must read and write at the least, and how fast this machine reads and writes.

    bound = bytes read / read bandwidth + bytes written / write bandwidth,    share = bound / measured time

The bandwidths are those of the best pass of `stream.c`, which runs before every round and after the last.  What fits a
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

SMALLEST = 100e6  # three times the largest caches of the machines that this ran on
LINE = 64  # bytes that memory gives at once


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
    return pooled * (value + index), plane * value  # unpooling, and the gradient of pooling, which is the same


def _gathered(case: Case) -> int:
    """Bytes of the lines that hold a value which the indices name."""
    data = prepare(case)
    step, corners = data.positions()
    lines = (data.indices * step + corners) * data.plane.itemsize // LINE
    touched = np.zeros(lines.max() + 1, dtype=bool)
    touched[lines] = True
    return int(touched.sum()) * LINE


def shares(report: Report) -> dict[str, float]:
    """Return the share of the roofline that unpool reaches, by case, of those that move enough."""
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
        return "No roofline: stream.c did not run, which takes run.py and cc -fopenmp."
    reading, writing = np.max(report["bandwidths"], axis=0)
    return f"Roofline: unpool's share of what memory allows, {reading:.1f} GB/s read and {writing:.1f} GB/s written."


def stream(folder: str) -> Callable[[int], list[list[float]]]:
    """Return a function from a number of threads to [[GB/s read, GB/s written]], or to nothing without a compiler."""
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
