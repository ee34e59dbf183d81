"""Forks before, after and during calls of several threads: the children compute the same bits, and none hangs."""

import os
import subprocess
import sys

import pytest
from processes import environment

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

# What the programs below share: calls of every primitive, and the end of a child, which may not take a minute.
WORK = """
import hashlib, multiprocessing, os, signal, sys, threading, time, warnings
import numpy as np
import unpool

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of a fork with threads

def call(seed=0):
    x = np.random.default_rng(seed).standard_normal((4, 32, 96, 96), "float32")
    found = hashlib.sha256()
    for named in ({}, {"index_format": "window"}):
        values, indices = unpool.max_pool2d(x, 3, 2, 1, return_indices=True, **named)
        planes = unpool.max_unpool2d(values, indices, 3, 2, 1, output_size=x.shape, **named)
        for array in (values, indices, planes, unpool.max_unpool2d_backward(planes, indices, 3, 2, 1, **named)):
            found.update(array.tobytes())
    return found.hexdigest()

def child(work):
    number = os.fork()
    if number == 0:
        status = 1
        try:
            status = work()
        finally:
            os._exit(status)
    return number

def ended(number):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)
    return "hung"
"""


def run(program, folder=None, **more):
    """Run a program on teams of four threads, and return the words that it prints."""
    command = [sys.executable, "-c", WORK + program]
    if folder is not None:  # the children of a pool import the program
        path = folder / "program.py"
        path.write_text(WORK + program)
        command = [sys.executable, str(path)]
    result = subprocess.run(
        command,
        env=environment() | {"OMP_NUM_THREADS": "4"} | more,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize("first", ["parent", "child"])
def test_either_may_call_first(first):
    program = f"""
if {first == "parent"}:
    call()
number = child(lambda: 0 if call() == call() else 2)
print(ended(number), call() == call())
"""
    assert run(program) == ["0", "True"]


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="without the GIL, CPython 3.13 leaves locks of its own dictionaries and caches taken in such a child",
)
@pytest.mark.once
def test_a_fork_during_calls_of_other_threads():
    """At each fork, other threads run kernels, allocate results, and hold the lock of kept memory or wait for it."""
    program = """
expected, stop, wrong = call(), threading.Event(), []
large = unpool.max_pool2d(np.ones((1, 34, 512, 512), "float32"), 2, return_indices=True)

def work(make):
    while not stop.is_set():
        wrong.extend(found for found in [make()] if found not in (expected, True))

def kept():
    return bool(unpool.max_unpool2d(*large, 2).sum() == large[0].size)

threads = [threading.Thread(target=work, args=(make,)) for make in (call, kept, kept)]
for thread in threads:
    thread.start()
statuses = set()
for _ in range(10):
    statuses.add(ended(child(lambda: 0 if call() == expected and kept() else 2)))
stop.set()
for thread in threads:
    thread.join()
print(*statuses, len(wrong), call() == expected)
"""
    assert run(program) == ["0", "0", "True"]


def test_a_signal_interrupts_a_child_that_another_thread_forked():
    """The thread that forks becomes Python's main thread in the child, as in a pool that replaces a worker.

    A call that is interrupted leaves a part of `out` as it was.
    """
    program = """
x, out = np.zeros((1, 1, 1024, 1024), "float32"), np.full((1, 1, 924, 924), -1, "float32")

def interrupted():
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        unpool.max_pool2d(x, 101, 1, out=out)
    except KeyboardInterrupt:
        return 0 if out.any() else 2
    return 3

signal.signal(signal.SIGALRM, signal.default_int_handler)
unpool.max_pool2d(np.zeros((1, 1, 4, 4)), 2)  # imports the backend, in the main thread
statuses = []
thread = threading.Thread(target=lambda: statuses.append(ended(child(interrupted))))
thread.start()
thread.join()
print(*statuses)
"""
    assert run(program) == ["0"]


def test_a_child_of_a_child():
    program = """
expected = call()
number = child(lambda: ended(child(lambda: 0 if call() == expected else 2)))
print(ended(number))
"""
    assert run(program) == ["0"]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_pools_of_processes(method, tmp_path):
    """Workers are replaced after two tasks each; the parent calls before and during."""
    program = f"""
if __name__ == "__main__":
    expected = [call(seed) for seed in range(8)]
    with multiprocessing.get_context({method!r}).Pool(2, maxtasksperchild=2) as pool:
        results = pool.map_async(call, range(8), chunksize=1)
        again = call()
        print(results.get(120) == expected, again == expected[0])
"""
    assert run(program, tmp_path) == ["True", "True"]


def test_a_pool_of_threads_and_a_pool_of_processes(tmp_path):
    program = """
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

if __name__ == "__main__":
    expected = [call(seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as threads:
        first = threads.map(call, range(6))
        with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as processes:
            print(list(processes.map(call, range(6))) == expected, list(first) == expected)
"""
    assert run(program, tmp_path) == ["True", "True"]
