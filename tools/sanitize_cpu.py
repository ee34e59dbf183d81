"""Run the CPU kernels and their allocator under the sanitizers of clang, in a temporary copy of the repository.

    python tools/sanitize_cpu.py address                 AddressSanitizer and UBSan
    python tools/sanitize_cpu.py thread                  ThreadSanitizer, with libomp and Archer
    python tools/sanitize_cpu.py thread --seconds 600    further arguments are those of tests/fuzz

Controls come first: a program without a bug, and programs with a known bug, which the sanitizer must report.  Then come
the fuzz, and a part of tests/cpu.  The first report ends the run.

Python and NumPy are not compiled with a sanitizer.  AddressSanitizer replaces `malloc`, so it knows all their arrays.
ThreadSanitizer ignores modules without instrumentation.  Archer tells it how OpenMP's threads wait for each other.
gcc has the sanitizers, too, but its AddressSanitizer does not see streaming stores.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from copies import build, copy_to, fuzz_and_test, install, paths

COMPILER = "clang-19"
# llvm-19 has the program that names the lines of a report.
PACKAGES = ("clang-19", "libclang-rt-19-dev", "libomp-19-dev", "llvm-19")
# What the controls share.  The C interface believes what it is told about its arrays.
CONTROL = """
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from c_interface import run
import unpool
from unpool.arguments import window
from unpool.plan import plan_pooling
from unpool_backends.cpu import _memory

plan = plan_pooling((4, 16, 128, 128), window(2, 2, 2, 0, 1), False, False, "int64")
values, indices = np.zeros(plan.pooled_shape, "float32"), np.zeros(plan.pooled_shape, "int64")
plane = np.zeros(plan.plane_shape, "float32")

def scatter(indices, plane):
    run(plan, "scatter", values, indices, plane)

def recycled(size):
    return _memory.empty((size,), np.dtype("float32"))[0]

def freed(array):
    return _memory.array_at(None, array.ctypes.data, array.shape, array.dtype)

def at_odd_address(array):
    return np.zeros(array.nbytes + 1, "uint8")[1:].view(array.dtype)

def in_threads(*outs):
    with ThreadPoolExecutor(len(outs)) as callers:
        for _ in range(20):
            list(callers.map(lambda out: unpool.max_unpool2d(values, indices, 2, out=out), outs))

"""
RIGHT = "scatter(indices, recycled(plane.size)); in_threads(plane, plane.copy())"


class Sanitizer(NamedTuple):
    # The library of clang that does the work.
    runtime: str
    flags: str
    # Programs with a bug, and the report of it.
    controls: dict[str, tuple[str, str]]
    # Arguments of tests/fuzz.
    fuzz: tuple[str, ...] = ()


SANITIZERS = {
    "address": Sanitizer(
        f"libclang_rt.asan-{platform.machine()}.so",
        # CPython's flags have -fwrapv, with which UBSan does not report that a signed integer overflows.
        "-fsanitize=address,undefined -shared-libasan -fno-sanitize-recover=all -fno-wrapv",
        {
            "a write behind an array": ("scatter(indices, plane.flat[:-64])", "heap-buffer-overflow"),
            "a read behind an array": ("scatter(indices.flat[:-64], plane)", "heap-buffer-overflow"),
            "a write behind reused memory": ("scatter(indices, recycled(plane.size - 64))", "use-after-poison"),
            "a write into freed memory": ("scatter(indices, freed(recycled(plane.size)))", "use-after-poison"),
            "indices at an odd address": ("scatter(at_odd_address(indices), plane)", "misaligned address"),
        },
    ),
    "thread": Sanitizer(
        f"libclang_rt.tsan-{platform.machine()}.so",
        # ThreadSanitizer ignores accesses of 32 bytes, which vector loops for AVX2 make.  -fno-vectorize would not do:
        # the -O3 of setup.py comes later, and undoes it.
        "-fsanitize=thread -mllvm -vectorize-loops=false -mllvm -vectorize-slp=false",
        {
            "an `out` that two callers share": ("in_threads(plane, plane)", "data race"),
            "a result in the memory of its input": (
                'for _ in range(20): run(plan, "pool", plane.reshape(-1), None, plane)',
                "data race",
            ),
        },
        ("--callers", "3"),
    ),
}
VARIABLES = {
    "ASAN_OPTIONS": "detect_leaks=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1",
    "PYTHONMALLOC": "malloc",
    "OMP_NUM_THREADS": "2",
}
# Tests of processes that end by a signal, of memory that the system refuses, and of times.
IGNORED = ("test_faults_arrays", "test_faults_memory", "test_interrupts")
# A sanitizer takes memory and threads of its own, and so does libomp.
LEFT_OUT = ("memory_that_the_system_refuses", "threads_that_the_system_refuses", "a_limit_holds_whatever")
TESTS = (
    *("tests/cpu", "--one-in", "8", *(f"--ignore=tests/cpu/{name}.py" for name in IGNORED)),
    *("-k", " and ".join(f"not {name}" for name in LEFT_OUT)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sanitizer", choices=SANITIZERS)
    options, fuzz = parser.parse_known_args()
    sanitizer = SANITIZERS[options.sanitizer]
    install(COMPILER, PACKAGES)
    runtime, begin = path_of(sanitizer.runtime), time.monotonic()
    variables = VARIABLES | {"OMP_TOOL_LIBRARIES": path_of("libarcher.so")}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "unpool")
        copy_to(copy)
        # The program by which setup.py finds OpenMP needs the variables, too.
        flags = {"CC": COMPILER, "CFLAGS": sanitizer.flags, "LDFLAGS": sanitizer.flags}
        build(copy, **flags, **variables, LD_LIBRARY_PATH=str(Path(runtime).parent))
        print(f"built with {told('--version').splitlines()[0]} in {time.monotonic() - begin:.0f} s", flush=True)
        # Without libstdc++, AddressSanitizer does not find the function that throws NumPy's C++ exceptions.
        variables |= {"LD_PRELOAD": f"{runtime}:{path_of('libstdc++.so.6')}", **paths(copy)}
        check_controls(sanitizer, copy, variables)
        fuzz = ["--seconds", "180", *sanitizer.fuzz, *fuzz]
        found = fuzz_and_test([sys.executable], copy, fuzz, TESTS, **variables)
    print(f"{len(sanitizer.controls)} controls are reported, and nothing else: {'; '.join(found)}")


def check_controls(sanitizer: Sanitizer, copy: Path, variables: dict[str, str]) -> None:
    """Exit unless each control is reported, and the program without a bug is not."""
    for name, (program, report) in {"a program without a bug": (RIGHT, ""), **sanitizer.controls}.items():
        command = [sys.executable, "-c", CONTROL + program]
        result = subprocess.run(
            command, cwd=copy, env=os.environ | variables, check=False, stderr=subprocess.PIPE, text=True
        )
        if bool(result.returncode) != bool(report) or report not in result.stderr:
            wanted = f"must be reported as {report!r}" if report else "must not be reported"
            sys.exit(f"{name} {wanted}; the program printed:\n{result.stderr}")
        print(f"{name}: {report or 'no report'}", flush=True)


def path_of(library: str) -> str:
    """Return the path of one of the compiler's libraries."""
    path = told(f"-print-file-name={library}")
    if path == library:
        sys.exit(f"{COMPILER} has no {library}: install what Debian has in {' '.join(PACKAGES)}")
    return path


def told(option: str) -> str:
    return subprocess.run([COMPILER, option], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
