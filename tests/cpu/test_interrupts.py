"""A signal interrupts any call within half a second, and later calls work.

Timers and limits count the CPU time of this process.  So a signal always arrives during the call that it is for, and
other programs on the machine delay nothing.  Threads that compute at once add up, so the limit is stricter for them.
"""

import signal
import sys
import threading
import time

import numpy as np
import pytest

import unpool

pytestmark = [
    pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer that sends a signal"),
    pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signal"),
]
NOTICED = 0.5  # seconds of CPU time


class Interrupt(Exception):
    """The exception of the tests' signal handler, in place of KeyboardInterrupt."""


@pytest.fixture
def interrupted():
    """Return a function that sends a signal during a call, and returns the delay until the call ended and its error."""

    def handle(number, frame):
        raise Interrupt

    before = signal.signal(signal.SIGPROF, handle)

    def run(call, after=0.15):
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, after)
        with pytest.raises(Interrupt) as caught:
            call()
        return time.process_time() - started - after, caught.value

    yield run
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def long_calls():
    """Return calls that take a second or more: huge windows, or overlapping windows in a large plane."""
    plane = np.zeros((1, 1, 2048, 2048), "float32")
    many = np.zeros((64, 1, 512, 512), "uint8")
    last = np.zeros((1, 512, 512, 64), "uint8")
    # The map of cells that have a value covers a part of a strip, so all indices are read many times.
    windows, cells = 1 << 18, 1 << 25
    grad = np.zeros((1, cells, 64), "uint8")
    indices = np.broadcast_to(np.arange(windows, dtype="int32")[:, np.newaxis], (1, windows, 64))
    wide = {"kernel_size": cells - windows + 1, "stride": 1, "data_format": "channels_last"}
    return {
        "pool, one plane": lambda: unpool.max_pool2d(plane, 255, 1),
        "pool, many planes": lambda: unpool.max_pool2d(many, 255, 1),
        "pool, channels last": lambda: unpool.max_pool2d(last, 255, 1, data_format="channels_last"),
        "gradient": lambda: unpool.max_unpool1d_backward(grad, indices, **wide, duplicates="error"),
    }


@pytest.mark.parametrize("name", long_calls())
def test_a_signal_is_noticed_soon(interrupted, name):
    late, _ = interrupted(long_calls()[name])
    assert late < NOTICED
    # The process and its threads still work.
    x = np.random.default_rng(0).standard_normal((4, 8, 128, 128))
    values, indices = unpool.max_pool2d(x, 2, return_indices=True)
    restored = unpool.max_unpool2d(values, indices, 2)
    assert np.array_equal(np.sort(restored[restored != 0]), np.sort(values.reshape(-1)))


def test_a_signal_is_noticed_soon_by_a_scatter(interrupted):
    """Scatter by cells: the windows overlap in a plane of half a gigabyte."""
    values, indices = np.ones((1, 1, 1 << 25), "uint8"), np.arange(1 << 25, dtype="int32").reshape(1, 1, -1)
    out = np.zeros((1, 1, 1 << 29), "uint8")
    late, error = interrupted(
        lambda: unpool.max_unpool1d(values, indices, (1 << 29) - (1 << 25) + 1, 1, duplicates="error", out=out), 0.05
    )
    assert late < NOTICED
    assert error.__notes__


def test_out_is_said_to_be_touched(interrupted):
    x, out = np.zeros((1, 1, 2048, 2048), "float32"), np.zeros((1, 1, 1794, 1794), "float32")
    _, error = interrupted(lambda: unpool.max_pool2d(x, 255, 1, out=out))
    assert error.__notes__ == ["`out` may be partly overwritten"]
    _, error = interrupted(lambda: unpool.max_pool2d(x, 255, 1))
    assert not hasattr(error, "__notes__")


def test_ctrl_c_is_a_keyboard_interrupt():
    """Python's own handler raises it."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    x, sent = np.zeros((1, 1, 2048, 2048), "float32"), []

    started = time.process_time()

    def send():
        while time.process_time() < started + 0.3:
            time.sleep(0.01)
        sent.append(time.process_time())
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        unpool.max_pool2d(x, 255, 1)
    assert time.process_time() - sent[0] < NOTICED
    thread.join()


def test_a_handler_that_raises_nothing_does_not_end_a_call():
    """The handler may even call unpool."""
    x = np.random.default_rng(0).standard_normal((1, 1, 1024, 1024), "float32")
    expected, pooled = unpool.max_pool2d(x, 63, 1), []
    before = signal.signal(signal.SIGPROF, lambda number, frame: pooled.append(unpool.max_pool2d(x, 2)))
    try:
        signal.setitimer(signal.ITIMER_PROF, 0.02, 0.02)
        for _ in range(5):
            assert np.array_equal(unpool.max_pool2d(x, 63, 1), expected)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert pooled
    small = unpool.max_pool2d(x, 2)
    assert all(np.array_equal(found, small) for found in pooled)


def test_other_threads_leave_signals_to_the_main_one():
    """Python runs signal handlers only in the main thread, so a call in another thread is not interrupted."""
    handled = []
    before = signal.signal(signal.SIGPROF, lambda number, frame: handled.append(threading.current_thread()))
    x = np.zeros((1, 1, 1024, 1024), "float32")
    found = []
    thread = threading.Thread(target=lambda: found.append(unpool.max_pool2d(x, 63, 1)))
    try:
        signal.setitimer(signal.ITIMER_PROF, 0.1)
        thread.start()
        thread.join()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert found[0].shape == (1, 1, 962, 962)
    assert handled in ([], [threading.main_thread()])
