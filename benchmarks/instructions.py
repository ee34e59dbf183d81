"""Count the instructions of the kernels with callgrind, and compare them with the record in `instructions.json`.

    python benchmarks/instructions.py [--update]

Counts repeat to a thousandth even on a busy machine; times do not.  The count of the tiny call varies by 2 % between
installations, since Python's caches depend on addresses.  Counts show added work.  They do not show cache misses, page
faults, mispredicted branches or threads; the times of `run.py` do.

One process under valgrind runs every case on one thread, and calls `getppid` between cases.  At each such call,
callgrind writes the number of instructions since the last one.  So a count needs no names of kernels, and includes the
functions of the C library that a kernel calls.

valgrind emulates a processor with AVX2 and without AVX-512.  So the AVX2 version of a kernel is counted on every
machine that has AVX2.

Exit status: 0 if no case grew, or nothing can be compared; 1 if a case grew, or the cases differ from the record; 2 if
nothing could be measured.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from unpool_backends.cpu import _kernels

import unpool

RECORD = Path(__file__).with_suffix(".json")
# The largest change of a count, as a fraction of the record, that is neither an error nor reported as faster.
TOLERANCE = 0.05
# The smallest count of these rounds is taken: the first includes one-time work of Python and the dynamic linker.
ROUNDS = 4
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    # callgrind counts `rep stos`, one instruction, once per byte: memset would outweigh every kernel.
    "GLIBC_TUNABLES": "glibc.cpu.x86_rep_stosb_threshold=0x40000000:glibc.cpu.x86_rep_movsb_threshold=0x40000000",
}


class Case(NamedTuple):
    call: Callable[[], object]
    # Elements of the larger side, which divide the count; 1 for a count per call.
    elements: int
    # Calls per round.
    calls: int = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="make these counts the record")
    parser.add_argument("--calls", action="store_true", help=argparse.SUPPRESS)  # for the process under valgrind
    options = parser.parse_args()
    if options.calls:
        print(json.dumps(run(cases())))
        return

    if not shutil.which("valgrind"):
        fail("valgrind is not installed; your system's package of that name has it")
    if not RECORD.exists() and not options.update:
        fail(f"there is no {RECORD.name}; make one with --update")
    report: dict[str, Any] = {"date": datetime.date.today().isoformat(), "toolchain": toolchain(), "counts": measure()}
    record = json.loads(RECORD.read_text()) if RECORD.exists() else report
    comparable = report["toolchain"] == record["toolchain"]

    print(f"{', '.join(report['toolchain'].values())}; instructions per element of the larger side; tiny: per call\n")
    print("| case | count | recorded | change |\n|---|---|---|---|")
    for name, count in report["counts"].items():
        recorded = record["counts"].get(name) if comparable else None
        print(f"| {name} | {count:g} |", f"{recorded:g} | {count / recorded - 1:+.1%} |" if recorded else "- | - |")
    print()
    if options.update:
        RECORD.write_text(json.dumps(report, indent=4) + "\n")
        print(f"recorded in {RECORD.name}")
        return
    status, lines = compare(report, record)
    print(*lines, sep="\n")
    sys.exit(status)


def compare(report: dict[str, Any], record: dict[str, Any]) -> tuple[int, list[str]]:
    """Compare a report with the record, which has the same keys; return the exit status and the lines to print."""
    made, kept = report["toolchain"], record["toolchain"]
    if made != kept:
        others = [f"{now}, recorded with {kept.get(what)}" for what, now in made.items() if now != kept.get(what)]
        return 0, [f"nothing compared: {'; '.join(others)}"]
    counts, recorded = report["counts"], record["counts"]
    accept = f"to accept it, run {Path(__file__).name} --update"
    wrong = [f"{name}: not in the record; {accept}" for name in counts if name not in recorded]
    wrong += [f"{name}: in the record, but no case; {accept}" for name in recorded if name not in counts]
    faster = []
    for name in counts:
        change = counts[name] / recorded.get(name, counts[name]) - 1
        if change > TOLERANCE:
            wrong.append(f"{name}: grew by {change:.1%}, from {recorded[name]:g} to {counts[name]:g}; {accept}")
        elif change < -TOLERANCE:
            faster.append(f"{name}: faster: record it; {-change:.1%}, from {recorded[name]:g} to {counts[name]:g}")
    return int(bool(wrong)), wrong + faster or [f"no case changed by more than {TOLERANCE:.0%}"]


def toolchain() -> dict[str, str]:
    """Return the tools that counts depend on besides the sources; counts of different tools are not compared."""
    flags = Path("/proc/cpuinfo").read_text().split()
    # The sections of an object file name its compiler.  With clang they also name GCC, which built the C runtime.
    binary = Path(_kernels.__file__).read_bytes()
    found = re.search(rb"(clang) version (\d+)", binary) or re.search(rb"(GCC): \([^)]*\) (\d+)", binary)
    return {
        "architecture": platform.machine() + (" with AVX2" if "avx2" in flags else ""),
        "compiler": b" ".join(found.groups()).decode() if found else "an unknown compiler",
        # Python and NumPy execute most instructions of the tiny call.
        "python": f"Python {'.'.join(platform.python_version_tuple()[:2])}",
        "numpy": f"NumPy {'.'.join(np.__version__.split('.')[:2])}",
    }


def measure() -> dict[str, float]:
    """Return the instructions per element of each case, to four digits."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder, "counts")
        command = [
            *("valgrind", "--quiet", "--tool=callgrind", "--dump-before=getppid"),
            *("--combine-dumps=yes", f"--callgrind-out-file={counts}"),
            *(sys.executable, __file__, "--calls"),
        ]
        result = subprocess.run(command, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, text=True)
        if result.returncode:
            fail(f"valgrind, or the calls under it, ended with status {result.returncode}")
        per = json.loads(result.stdout)
        # The last total is that of the code after all cases.
        totals = [int(total) for total in re.findall(r"^totals: (\d+)", counts.read_text(), re.MULTILINE)][:-1]
    if len(totals) != len(per) * (ROUNDS + 1):
        fail(f"callgrind wrote down {len(totals)} counts where {len(per) * (ROUNDS + 1)} were asked for")
    # The first total of each case is that of the code before it.
    least = [min(totals[start + 1 : start + 1 + ROUNDS]) for start in range(0, len(totals), ROUNDS + 1)]
    return {name: float(f"{count / per[name]:.4g}") for name, count in zip(per, least, strict=True)}


def fail(why: str) -> NoReturn:
    print(f"{Path(__file__).name}: {why}", file=sys.stderr)
    sys.exit(2)


def run(cases: dict[str, Case]) -> dict[str, int]:
    """Call each case, with a `getppid` before and after each round; return the divisor of each case's counts."""
    gc.disable()
    for case in cases.values():
        os.getppid()
        for _ in range(ROUNDS):
            for _ in range(case.calls):
                case.call()
            os.getppid()
    return {name: case.elements * case.calls for name, case in cases.items()}


def cases() -> dict[str, Case]:
    """Return cases for every path through every kernel, on arrays so large that Python hardly counts."""
    random = np.random.default_rng(0)
    x = random.standard_normal((1, 16, 224, 224), dtype=np.float32)
    half, odd = x.astype(np.float16), np.ascontiguousarray(x[..., :-1, :-1])
    last = x.reshape(1, 112, 112, 64)
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    values_last, indices_last = unpool.max_pool2d(last, 2, return_indices=True, data_format="channels_last")
    overlapping = unpool.max_pool2d(x, 3, 2, return_indices=True)
    window = {"index_format": "window"}
    _, taps = unpool.max_pool2d(x, 2, return_indices=True, **window)
    overlapping_taps = unpool.max_pool2d(x, 3, 2, return_indices=True, **window)
    # In range and all different, but in other windows than their own.
    foreign = np.ascontiguousarray(indices[..., ::-1, ::-1])
    anywhere = random.integers(0, 224 * 224, indices.shape)
    narrow, out = indices.astype(np.int32), np.empty_like(x)
    # Large enough for an output of fresh pages, which the system zeroes.
    many, many_indices = (np.tile(array, (11, 1, 1, 1)) for array in (values, indices))
    x_small = np.ascontiguousarray(x.reshape(1, 4096, 14, 14)[:, :2048])
    _, taps_small = unpool.max_pool2d(x_small, 3, 1, padding=1, return_indices=True, **window)
    small, small_indices = unpool.max_pool2d(x[:, :1, :4, :4], 2, return_indices=True)

    def scatter(values: Any, indices: Any, *window: Any, **options: Any) -> Case:
        output = unpool.max_unpool2d(values, indices, *window, **options)
        return Case(lambda: unpool.max_unpool2d(values, indices, *window, **options), output.size)

    def gather(indices: Any, kernel: int = 2, **options: Any) -> Case:
        return Case(lambda: unpool.max_unpool2d_backward(x, indices, kernel, 2, **options), x.size)

    def pool(x: Any, kernel: int, stride: int, **options: Any) -> Case:
        return Case(lambda: unpool.max_pool2d(x, kernel, stride, return_indices=True, **options), x.size)

    return {
        "unpool k2": scatter(values, indices, 2),
        "unpool k2, out=": scatter(values, indices, 2, out=out),
        "unpool k2, fresh pages": scatter(many, many_indices, 2),
        "unpool k2, channels last": scatter(values_last, indices_last, 2, data_format="channels_last"),
        "unpool k2, int32 indices": scatter(values, narrow, 2),
        "unpool k2, uint8": scatter(indices.astype(np.uint8), indices, 2),
        "unpool k2, float64": scatter(values.astype(np.float64), indices, 2),
        "unpool k2, random indices": scatter(values, anywhere, 2),
        "unpool k2, sum": scatter(values, indices, 2, duplicates="sum"),
        "unpool k2, error": scatter(values, indices, 2, duplicates="error"),
        "unpool k2, error, foreign indices": scatter(values, foreign, 2, duplicates="error"),
        "unpool k3 s2": scatter(*overlapping, 3, 2, output_size=(224, 224)),
        "gradient of unpool, last": gather(indices),
        "gradient of unpool, last, foreign indices": gather(foreign),
        "gradient of unpool, sum": gather(indices, duplicates="sum"),
        "unpool k2, taps": scatter(values, taps, 2, **window),
        "unpool k2, taps, float64": scatter(values.astype(np.float64), taps, 2, **window),
        "unpool k3 s2, taps": scatter(*overlapping_taps, 3, 2, output_size=(224, 224), **window),
        "gradient of unpool, taps": gather(taps, **window),
        "gradient of unpool k3 s2, taps, last": gather(overlapping_taps[1], 3, **window),
        "gradient of unpool k3 s1, taps, last, small planes": Case(
            lambda: unpool.max_unpool2d_backward(x_small, taps_small, 3, 1, padding=1, **window), x_small.size
        ),
        "pool k2": pool(x, 2, 2),
        "pool k2, channels last": pool(last, 2, 2, data_format="channels_last"),
        "pool k2, float16": pool(half, 2, 2),
        "pool k2, taps": pool(x, 2, 2, **window),
        "pool k3 s2": pool(x, 3, 2),
        "pool k3 s1": pool(x, 3, 1),
        "pool k3 s2 p1 d2, odd size": pool(odd, 3, 2, padding=1, dilation=2),
        "tiny: unpool k2, (1, 1, 2, 2)": Case(lambda: unpool.max_unpool2d(small, small_indices, 2), 1, calls=100),
    }


if __name__ == "__main__":
    main()
