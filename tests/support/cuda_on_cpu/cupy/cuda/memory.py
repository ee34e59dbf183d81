"""Device memory. Only kernels and this package access it."""

import ctypes

from cupy import _machine, cuda


class OutOfMemoryError(MemoryError):
    pass


class Memory:
    def __init__(self, size):
        self.ptr = 0  # remains 0 for an empty allocation
        self.size = size
        self.device_id = cuda.Device().id
        self._machine = _machine.machine()
        if size:
            self.ptr = self._machine.cuda_on_cpu_allocate(size, self.device_id)
            if not self.ptr:
                raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes.")

    def __del__(self):
        if self.ptr:
            self._machine.cuda_on_cpu_release(self.ptr)

    @property
    def device(self):
        return cuda.Device(self.device_id)


class MemoryPointer:
    def __init__(self, mem, offset):
        self.mem = mem
        self.ptr = mem.ptr + offset

    @property
    def device_id(self):
        return self.mem.device_id

    @property
    def device(self):
        return self.mem.device

    def __int__(self):
        return self.ptr

    def __add__(self, offset):
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)

    __radd__ = __add__

    def __sub__(self, offset):
        return self + -offset

    def memset(self, value, size):
        ctypes.memset(self._bytes(size), value, size)

    def memset_async(self, value, size, stream=None):
        self.memset(value, size)

    def copy_from_device(self, src, size):
        ctypes.memmove(self._bytes(size), src._bytes(size), size)

    def copy_from_device_async(self, src, size, stream=None):
        self.copy_from_device(src, size)

    def _bytes(self, size):
        """Return the address of so many bytes of the allocation. Check the bounds, which CUDA does not."""
        begin = self.ptr - self.mem.ptr
        if not 0 <= begin <= begin + size <= self.mem.size:
            raise ValueError(f"bytes {begin} to {begin + size} of an allocation of {self.mem.size}")
        return self.ptr


def alloc(size):
    return MemoryPointer(Memory(size), 0)
