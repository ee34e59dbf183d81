"""Signals in any number: no call is cut short by one that raises nothing, and Ctrl-C leaves the library usable."""

import signal
import sys

import pytest
from processes import printed

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer that sends a signal"),
    pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signal"),
]

WORK = """
import random, signal, threading
import numpy as np
import unpool

x = np.random.default_rng(0).standard_normal((4, 16, 128, 128), "float32")
values, indices = unpool.max_pool2d(x, 3, 2, 1, return_indices=True)
_, taps = unpool.max_pool2d(x, 3, 2, 1, return_indices=True, index_format="window")
named = {"output_size": x.shape}
large = unpool.max_pool2d(np.ones((1, 34, 512, 512), "float32"), 2, return_indices=True)
calls = [
    lambda out=None: unpool.max_pool2d(x, 3, 2, 1, out=out),
    lambda out=None: unpool.max_unpool2d(values, indices, 3, 2, 1, **named, out=out),
    lambda out=None: unpool.max_unpool2d(values, indices, 3, 2, 1, **named, duplicates="sum", out=out),
    lambda out=None: unpool.max_unpool2d(values, taps, 3, 2, 1, **named, index_format="window", out=out),
    lambda out=None: unpool.max_unpool2d_backward(x, indices, 3, 2, 1, out=out),
    lambda out=None: unpool.max_unpool2d(*large, 2, out=out),
]
expected = [call() for call in calls]

def same(found, wanted):
    return found.tobytes() == wanted.tobytes()
"""


def run(program):
    return printed(WORK + program, OMP_NUM_THREADS="2")  # teams of two threads


def test_a_storm_of_signals_changes_no_result():
    """The handler runs a thousand times a second, while two threads call, and one of them is the main thread."""
    program = """
handled, wrong, stop = [], [], threading.Event()
signal.signal(signal.SIGALRM, lambda number, frame: handled.append(number))

def work():
    while not stop.is_set():
        for call, wanted in zip(calls, expected):
            if not same(call(), wanted):
                wrong.append(call)

thread = threading.Thread(target=work)
thread.start()
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
while len(handled) < 200:
    for call, wanted in zip(calls, expected):
        if not same(call(), wanted):
            wrong.append(call)
signal.setitimer(signal.ITIMER_REAL, 0)
stop.set()
thread.join()
print(len(wrong))
"""
    assert run(program) == ["0"]


def test_ctrl_c_at_any_moment_leaves_the_library_usable():
    """A call that Ctrl-C ends leaves `out=` as it was, or complete, or says in a note that it may be overwritten."""
    program = """
random.seed(1)
signal.signal(signal.SIGALRM, signal.default_int_handler)
interrupts = notes = turn = 0
outs = [np.empty_like(wanted) for wanted in expected]
while interrupts < 60 or notes < 5:
    turn += 1
    number = turn % len(calls)
    call, wanted, out = calls[number], expected[number], outs[number] if turn % 3 else None
    if out is not None:
        out.fill(7)
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 3e-3))
        try:
            result = call(out)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert same(result, wanted), number
    except KeyboardInterrupt as error:
        interrupts += 1
        if hasattr(error, "__notes__"):
            notes += 1
            assert error.__notes__ == ["`out` may be partly overwritten"] and out is not None
        elif out is not None:
            assert (out == 7).all() or same(out, wanted), number
    if turn % 40 == 0:
        assert all(same(call(), wanted) for call, wanted in zip(calls, expected))
assert all(same(call(), wanted) for call, wanted in zip(calls, expected))
print("done")
"""
    assert run(program) == ["done"]


def test_a_finalizer_that_raises_during_allocations():
    """The garbage collector runs at every tenth allocation.  Python reports what a finalizer raises, and goes on."""
    program = """
import gc, sys

class Finalizer:
    def __init__(self):
        self.cycle = self  # so that only the garbage collector frees it

    def __del__(self):
        finalized.append(same(unpool.max_unpool2d(*small, 2), restored))  # allocates, by unpool itself
        raise MemoryError("of a finalizer")

small = unpool.max_pool2d(x[:1, :1, :8, :8], 2, return_indices=True)
restored, finalized, unraisable = unpool.max_unpool2d(*small, 2), [], []
sys.unraisablehook = lambda report: unraisable.append(report.exc_type)
gc.freeze()  # a collection visits new objects alone
gc.set_threshold(10, 0, 0)  # 0, since free-threaded Python waits for a share of all objects otherwise
for turn in range(20):
    for call, wanted in zip(calls, expected):
        for _ in range(40):  # free-threaded Python adds a thread's new objects to its count at every 512th
            Finalizer()
        assert same(call(), wanted)
gc.set_threshold(700, 10, 10)
print(len(finalized) > 50, all(finalized), set(unraisable) == {MemoryError})
"""
    assert run(program) == ["True", "True", "True"]
