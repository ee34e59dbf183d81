import itertools
import threading

from cupy import cuda_on_cpu
from cupy.cuda import compiler as compiler
from cupy.cuda import driver as driver
from cupy.cuda import memory as memory
from cupy.cuda import nvrtc as nvrtc
from cupy.cuda import runtime as runtime
from cupy.cuda.memory import Memory as Memory
from cupy.cuda.memory import MemoryPointer as MemoryPointer
from cupy.cuda.memory import alloc as alloc


class _Current(threading.local):
    device = 0
    stream = None


_current = _Current()


def _synchronise(how):
    """Count a wait of the host for the device. Launches are synchronous, so the wait itself is empty."""
    if cuda_on_cpu.capturing:
        raise runtime.CUDARuntimeError(900)
    cuda_on_cpu.synchronised[how] += 1


class Device:
    def __init__(self, device=None):
        self.id = _current.device if device is None else int(device)
        self._outer = []

    def use(self):
        if not 0 <= self.id < cuda_on_cpu.device_count:
            raise runtime.CUDARuntimeError(101)
        _current.device = self.id

    def __enter__(self):
        self._outer.append(_current.device)
        self.use()
        return self

    def __exit__(self, *error):
        _current.device = self._outer.pop()

    def __eq__(self, other):
        return self.id == other.id if isinstance(other, Device) else NotImplemented

    def __hash__(self):
        return hash(self.id)

    def __int__(self):
        return self.id

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    @property
    def attributes(self):
        return dict(cuda_on_cpu.attributes)

    def synchronize(self):
        _synchronise("synchronize")


class Stream:
    """A stream in name only: all work on any stream is done at once."""

    _pointers = itertools.count(16, 16)

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.ptr = 0 if null else next(self._pointers)
        self._outer = []

    def use(self):
        _current.stream = self
        return self

    def __enter__(self):
        self._outer.append(_current.stream)
        return self.use()

    def __exit__(self, *error):
        _current.stream = self._outer.pop()

    def is_capturing(self):
        return cuda_on_cpu.capturing

    def synchronize(self):
        _synchronise("synchronize")


Stream.null = Stream(null=True)


def get_current_stream():
    return _current.stream or Stream.null


def is_available():
    return cuda_on_cpu.device_count > 0
