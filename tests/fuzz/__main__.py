"""Fuzz the CPU kernels: random geometry and hostile indices, in guarded memory, beside an oracle.

    python tests/fuzz --seconds 60 --seed 5            run for a minute
    python tests/fuzz --seed 5 --case 1234             run one case alone
    python tests/fuzz --indices 1e9 --large 0.3        run until so many indices of hostile arrays were compared
    python tests/fuzz --callers 16                     from 16 threads of Python at once
    python tests/fuzz --here                           in this process, for a debugger

The cases run in a child process, since an access out of range ends it.  The number of the current case lies in a file
that both processes map, so that the parent names the case that ended the child: of several callers, the last begun.
"""

import argparse
import mmap
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description="Fuzz the CPU kernels of unpool.")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--indices", type=float, help="indices of hostile arrays to compare, however long it takes")
    parser.add_argument("--seed", type=int, default=23)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--case", type=int, help="run this case alone")
    which.add_argument("--callers", type=int, default=1, help="threads of Python, each with cases of its own")
    parser.add_argument("--large", type=float, default=0.03, help="the share of cases with up to five million cells")
    parser.add_argument("--here", action="store_true", help="run in this process, without the child")
    parser.add_argument("--crash", action="store_true", help="end the child by SIGSEGV, to test its report")
    parser.add_argument("--state", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here or options.state:
        return run(options)
    with tempfile.TemporaryDirectory() as folder:
        return watch(Path(folder, "case"), options)


def watch(state, options):
    """Run the cases in a child process; report the case that ended it."""
    state.write_bytes(bytes(8))
    # Threads that wait must not spin, since there are more of them than cores.
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    command = [sys.executable, "-X", "faulthandler", str(Path(__file__).parent), *sys.argv[1:], "--state", str(state)]
    code = subprocess.run(command, env=environment, check=False).returncode
    if code == 0:
        return 0
    (case,) = struct.unpack("q", state.read_bytes())
    how = f"ended it by {signal.Signals(-code).name}" if code < 0 else "failed"
    again = f"python tests/fuzz --seed {options.seed} --large {options.large} --case {case}"
    print(f"case {case} {how}; run it alone: {again}", flush=True)
    return 1


def run(options):
    from cases import Fuzz  # imports NumPy and unpool, which the parent does not need

    current, begin = mapped(options.state), time.monotonic()
    fuzzes = [Fuzz(options.seed, options.large) for _ in range(options.callers)]
    with ThreadPoolExecutor(options.callers) as others:
        results = [
            others.submit(run_cases, options, current, fuzz, first) for first, fuzz in enumerate(fuzzes[1:], start=1)
        ]
        run_cases(options, current, fuzzes[0], options.case or 0)
        for result in results:
            result.result()
    for fuzz in fuzzes[1:]:
        fuzzes[0].tally.add(fuzz.tally)
    print(fuzzes[0].told(time.monotonic() - begin), flush=True)
    return 0


def run_cases(options, current, fuzz, case):
    """Run a caller's cases: with N callers, every Nth one."""
    begin, told = time.monotonic(), 60
    while True:
        current[:] = struct.pack("q", case)
        if options.crash:
            os.kill(os.getpid(), signal.SIGSEGV)
        fuzz.run(case)
        case += options.callers
        seconds = time.monotonic() - begin
        if options.case is not None:
            break
        if fuzz.tally.hostile >= options.indices / options.callers if options.indices else seconds >= options.seconds:
            break
        if seconds >= told and options.callers == 1:
            told += 60
            print(fuzz.told(seconds), flush=True)


def mapped(state):
    """Return the eight bytes for the number of the current case."""
    if state is None:
        return bytearray(8)
    with open(state, "r+b") as file:
        return mmap.mmap(file.fileno(), 8)


if __name__ == "__main__":
    sys.exit(main())
