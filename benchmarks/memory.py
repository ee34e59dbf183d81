"""Measure the peak memory of a call of unpool beyond its result, and check that it is below a megabyte per thread.

    python benchmarks/memory.py [--threads N]

Each case runs in its own process.  The process makes its arrays, then a small call of the same kind, which starts the
threads and allocates OpenMP's memory.  It resets Linux's peak of resident memory, and makes the call.  The rise of the
peak, less the bytes of a new output, is the call's own memory, to a few tenths of a MB.

Other counters do not work here.  `ru_maxrss` cannot be reset after the arrays are made.  tracemalloc does not count a
kernel's `malloc`.

Exit status: 0 if every case is below the limit; 1 if one is not; 2 if nothing could be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from unpool import release_memory
from unpool.__main__ import as_program, positive
from unpool.bench.cases import Case, from_json, prepare
from unpool.bench.peers import unpool_calls
from unpool.bench.report import usable_cores

MB = 2**20
LIMIT = 1  # MB a thread
CASES = (
    Case("unpool k2", "unpool"),
    Case("unpool k2, out=", "unpool", out=True),
    Case("unpool k2, channels last", "unpool", data_format="channels_last"),
    Case("unpool k2, error", "unpool", duplicates="error"),
    Case("unpool k2, (1, 1, 2048, 2048)", "unpool", (1, 1, 4096, 4096)),
    Case("unpool k2, error, (1, 1, 2048, 2048)", "unpool", (1, 1, 4096, 4096), duplicates="error"),
    Case("unpool k3 s2", "unpool", kernel=3, stride=2),
    Case("gradient of unpool k2, last", "unpool_backward"),
    Case("gradient of unpool k2, sum", "unpool_backward", duplicates="sum"),
    Case("gradient of unpool k3 s2, last", "unpool_backward", kernel=3, stride=2),
    Case("gradient of unpool k3 s2, last, (1, 1, 2047, 2047)", "unpool_backward", (1, 1, 4096, 4096), 3, 2),
    Case("gradient of pool k3 s2", "pool_backward", kernel=3, stride=2),
    Case("pool k2", "pool"),
    Case("pool k2, channels last", "pool", data_format="channels_last"),
    Case("pool k3 s1", "pool", kernel=3, stride=1),
)
SMALL = (8, 4, 64, 64)  # enough for several threads, and less than a megabyte
# glibc returns freed memory to the system at once, so no later call reuses it.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(64 << 10), "MALLOC_TRIM_THRESHOLD_": str(64 << 10)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=positive, default=usable_cores(), metavar="N", help="(default: the cores)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)  # for the process of a case
    options = parser.parse_args()
    if options.serve:
        print(*grown(from_json(json.load(sys.stdin))))
        return
    print(f"{options.threads} threads; the limit is {LIMIT} MB a thread.\n")
    print("| case | output MB | extra MB | MB a thread |\n|---|---|---|---|")
    over = []
    for case in CASES:
        try:
            output, extra = measure(case, options.threads)
        except OSError as error:
            print(f"{Path(__file__).name}: nothing to measure with: {error}", file=sys.stderr)
            sys.exit(2)
        each = extra / options.threads
        print(f"| {case.name} | {output:.1f} | {extra:.2f} | {each:.2f} |", flush=True)
        if abs(each) >= LIMIT:  # far below zero, pages of the output were resident before the call: measured nothing
            over.append(case.name)
    sys.exit(f"\nnot within {LIMIT} MB a thread: {'; '.join(over)}" if over else 0)


def measure(case: Case, threads: int) -> tuple[float, float]:
    """Return MB of a case's output, and MB of its call beyond the output.

    Raises OSError if the system has no counter of peak memory.
    """
    reset()  # raises here, not in the process of the case
    # The path of this process, so that both import the same unpool.
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    process = subprocess.run(
        [sys.executable, __file__, "--serve"],
        env=os.environ | ALLOCATOR | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path},
        input=json.dumps(asdict(case)),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    output, extra = map(int, process.stdout.split())
    return output / MB, extra / MB


def grown(case: Case) -> tuple[int, int]:
    """Return bytes of a case's output, and bytes of its call beyond it; runs in the process of the case."""
    call = unpool_calls(prepare(case))["unpool"].run
    if case.out:
        call.keywords["out"].fill(0)  # its pages are no part of the call
    unpool_calls(prepare(replace(case, shape=SMALL)))["unpool"].run()
    release_memory()  # memory kept from earlier results is resident already
    reset()
    before = peak()
    result = call()
    rise = peak() - before
    output = sum(array.nbytes for array in (result if isinstance(result, tuple) else (result,)))
    return output, rise - (0 if case.out else output)


def reset() -> None:
    """Reset the peak to the memory that is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the peak of resident bytes since `reset`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    as_program(main)
