"""Run the CPU kernels and their allocator under the sanitizers of gcc or clang, in a temporary copy of the repository.

    python tools/sanitize_cpu.py address --minutes 4     AddressSanitizer and UBSan, with gcc
    python tools/sanitize_cpu.py thread --minutes 4      ThreadSanitizer, with clang, libomp and Archer

Controls run first: programs with a known bug, which the sanitizer must report.  Then come the fuzz, and a part of
tests/cpu.  Exit status: 0 if each control was reported and nothing else was.

Python and NumPy are not compiled with a sanitizer.  AddressSanitizer replaces `malloc`, so it knows all their arrays.
ThreadSanitizer ignores modules without instrumentation.  Archer tells it how OpenMP's threads wait for each other.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from copies import build, copy_to, install, paths

CALL = """
import c_interface, numpy as np
from unpool import arguments, plan
from unpool_backends.cpu import _memory
planned = plan.plan_pooling((1, 4, 64, 64), arguments.window(2, 2, 2, 0, 1), False, False, "int64")
values, indices = np.zeros(planned.pooled_shape, "float32"), np.zeros(planned.pooled_shape, "int64")
plane = np.zeros(planned.plane_shape, "float32")
{arrays}
call, arrays = c_interface.call_of(planned, "scatter"), c_interface.arrays_of(planned, values, indices, plane)
{then}
c_interface.function()(call, arrays, c_interface.Found())
"""


def call(arrays: str = "", then: str = "") -> str:
    """Return a program that scatters through the C interface, which believes what it is told about its arrays."""
    return CALL.format(arrays=arrays, then=then)


SHARED = """
import numpy as np, unpool, unpool_backends.cpu
from concurrent.futures import ThreadPoolExecutor
assert unpool_backends.cpu.max_threads() == 2
values, indices = unpool.max_pool2d(np.ones((4, 64, 64, 64), "float32"), 2, return_indices=True)
outs = [np.empty((4, 64, 64, 64), "float32") for _ in range(4)]
with ThreadPoolExecutor(4) as callers:
    for number in range(100):
        list(callers.map(lambda out: unpool.max_unpool2d(values, indices, 2, out=out), {outs}))
"""
ONE_OUT, OWN_OUTS = (SHARED.format(outs=outs) for outs in ("outs[:1] * 4", "outs"))


class Sanitizer(NamedTuple):
    compiler: str
    # Debian's packages of the compiler and its libraries.
    packages: tuple[str, ...]
    flags: str
    # Libraries of the compiler that are loaded before Python.
    preloaded: tuple[str, ...]
    # Of the environment; a value that ends in .so is a library of the compiler.
    variables: dict[str, str]
    # A program with a bug, and the report of it.
    controls: dict[str, tuple[str, str]]
    # The part of tests/cpu, as pytest's arguments.
    tests: tuple[str, ...]


SANITIZERS = {
    "address": Sanitizer(
        "gcc",
        ("gcc", "libc6-dev"),
        "-fsanitize=address,undefined -fno-sanitize-recover=all",
        # Without libstdc++, AddressSanitizer does not find the function that throws NumPy's C++ exceptions.
        ("libasan.so", "libstdc++.so.6"),
        {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1", "PYTHONMALLOC": "malloc"},
        {
            "a write behind an array": (call("plane = plane.reshape(-1)[:-64].copy()"), "heap-buffer-overflow"),
            "a read behind an array": (call("indices = indices.reshape(-1)[:-64].copy()"), "heap-buffer-overflow"),
            "a write behind an array in reused memory": (
                call("plane = _memory.empty((4 * 64 * 64 - 64,), plane.dtype)[0]"),
                "use-after-poison",
            ),
            "a write into an array that was freed": (
                call("plane = _memory.empty((4 * 64 * 64,), plane.dtype)[0]", then="del plane"),
                "use-after-poison",
            ),
            "an address that is not aligned": (
                call("indices = np.zeros(8 * indices.size + 1, 'uint8')[1:].view('int64')"),
                "misaligned address",
            ),
        },
        (
            *("tests/cpu/test_bands.py", "tests/cpu/test_blocks.py", "tests/cpu/test_c_interface.py"),
            *("tests/cpu/test_recycling.py", "tests/cpu/test_taps.py", "tests/cpu/test_threads.py"),
            # AddressSanitizer needs memory of its own.
            *("-k", "not memory_that_the_system_refuses"),
        ),
    ),
    "thread": Sanitizer(
        "clang-19",
        ("clang-19", "libclang-rt-19-dev", "libomp-19-dev", "llvm-19"),
        "-fsanitize=thread",
        ("libclang_rt.tsan-x86_64.so",),
        {
            "TSAN_OPTIONS": "ignore_noninstrumented_modules=1",
            "OMP_TOOL_LIBRARIES": "libarcher.so",
            "OMP_NUM_THREADS": "2",
        },
        {"one `out` of four callers": (ONE_OUT, "data race")},
        ("tests/cpu/test_threads.py", "tests/cpu/test_recycling.py"),
    ),
}
# Programs without a bug, which must not be reported.
RIGHT = {"address": call(), "thread": OWN_OUTS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sanitizer", choices=SANITIZERS)
    parser.add_argument("--minutes", type=float, default=3, help="how long the fuzz runs")
    parser.add_argument("--seed", type=int, default=23, help="of the fuzz")
    options = parser.parse_args()
    sanitizer = SANITIZERS[options.sanitizer]
    install(sanitizer.compiler, sanitizer.packages)
    with tempfile.TemporaryDirectory() as folder:
        copy, begin = Path(folder, "unpool"), time.monotonic()
        copy_to(copy)
        # The program by which setup.py finds OpenMP needs the variables, too.
        flags = {"CC": sanitizer.compiler, "CFLAGS": sanitizer.flags, "LDFLAGS": sanitizer.flags}
        build(copy, **flags, **environment(sanitizer))
        print(f"built with {version(sanitizer)} {sanitizer.flags} in {time.monotonic() - begin:.0f} s", flush=True)
        watched = Watched(copy, sanitizer)
        watched.check_controls(RIGHT[options.sanitizer])
        fuzz = ["tests/fuzz", "--seconds", str(60 * options.minutes), "--seed", str(options.seed)]
        tests = ["-m", "pytest", "-q", "--one-in", "8", *sanitizer.tests]
        failed = [watched.run("the fuzz", *fuzz), watched.run("tests", *tests)]
    sys.exit(any(failed))


class Watched(NamedTuple):
    """A copy whose kernels are watched by a sanitizer."""

    copy: Path
    sanitizer: Sanitizer

    def check_controls(self, right: str) -> None:
        """Exit unless the program without a bug is not reported, and each control is."""
        if self.run("a program without a bug", "-c", right):
            sys.exit("The sanitizer reports a program that has no bug.")
        for name, (program, report) in self.sanitizer.controls.items():
            result = self.python("-c", program, stderr=subprocess.PIPE)
            if result.returncode == 0 or report not in result.stderr:
                sys.exit(f"The control, {name}, must be reported as {report!r}; the program printed:\n{result.stderr}")
            print(f"control: {name} is reported as {report!r}", flush=True)

    def run(self, name: str, *arguments: str) -> bool:
        """Run Python on a copy's file, or with these arguments, and return True if it failed."""
        begin = time.monotonic()
        failed = self.python(*arguments).returncode != 0
        print(f"{name}: {'FAILED' if failed else 'no report'} in {time.monotonic() - begin:.0f} s", flush=True)
        return failed

    def python(self, *arguments: str, stderr: int | None = None) -> subprocess.CompletedProcess[str]:
        preloaded = [path_of(self.sanitizer.compiler, name) for name in self.sanitizer.preloaded]
        variables = {**environment(self.sanitizer), **paths(self.copy), "LD_PRELOAD": ":".join(preloaded)}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=self.copy, env=os.environ | variables, check=False, text=True, stderr=stderr)


def environment(sanitizer: Sanitizer) -> dict[str, str]:
    """Return the variables, with the paths of libraries."""
    named = sanitizer.variables.items()
    return {name: path_of(sanitizer.compiler, value) if value.endswith(".so") else value for name, value in named}


def path_of(compiler: str, library: str) -> str:
    return told([compiler, f"-print-file-name={library}"])


def version(sanitizer: Sanitizer) -> str:
    return told([sanitizer.compiler, "--version"]).splitlines()[0]


def told(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
