"""Guarded memory: an array that ends at a page without access, or begins right after one.

    | no access | slack ............ array | no access |        at the end
    | no access | array ............ slack | no access |        at the beginning

A read or a write past that page boundary ends the process with SIGSEGV.  Writes into the slack are found by its
pattern.  A locked array lies in pages that may only be read, so a kernel that writes into its input dies, too.
"""

import ctypes
import mmap
from math import prod

import numpy as np

PATTERN = 0xA5
# Bytes of the slack that hold the pattern.
WATCHED = 64


def c_library():
    library = ctypes.CDLL(None, use_errno=True)
    library.mmap.restype = ctypes.c_void_p
    library.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_ssize_t]
    library.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return library


class Room:
    """Memory for one array at a time.  The pages stay mapped, because an older array may still be read."""

    def __init__(self, library):
        self._library, self._bytes, self._memory = library, 0, None

    def place(self, shape, dtype, at_end, shift=0):
        """Return a new array, which may be written; `shift` moves it so many bytes away from the guard page."""
        self.unlock()
        dtype = np.dtype(dtype)
        size = prod(shape) * dtype.itemsize
        if size + shift > self._bytes or self._memory is None:
            self._map(size + shift)
        self._start = self._bytes - size - shift if at_end else shift
        self._stop = self._start + size
        self._slack = self._everything()[: self._start][-WATCHED:] if at_end else self._everything()[self._stop :]
        self._slack = self._slack[:WATCHED]
        self._slack[...] = PATTERN
        return np.ndarray(shape, dtype, self._memory, self._start)

    def lock(self):
        """Make the pages of the array readable only."""
        self._locked = self._pages()
        self._protect(*self._locked, mmap.PROT_READ)

    def unlock(self):
        if self._memory is not None and self._locked is not None:
            self._protect(*self._locked, mmap.PROT_READ | mmap.PROT_WRITE)
            self._locked = None

    def intact(self):
        """Return True if nothing was written beside the array."""
        return bool((self._slack == PATTERN).all())

    def _everything(self):
        return np.ndarray((self._bytes,), np.uint8, self._memory)

    def _pages(self):
        """Return the first byte and the number of bytes of the pages that hold the array."""
        first = self._start // mmap.PAGESIZE * mmap.PAGESIZE
        return first, -(-max(self._stop, self._start + 1) // mmap.PAGESIZE) * mmap.PAGESIZE - first

    def _map(self, size):
        self._bytes = max(1, -(-2 * size // mmap.PAGESIZE)) * mmap.PAGESIZE
        whole = self._bytes + 2 * mmap.PAGESIZE
        # Without access at first, so that the pages around the middle ones stay so.
        address = self._library.mmap(None, whole, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        if address in (None, ctypes.c_void_p(-1).value):
            raise MemoryError(f"the system has no {whole} bytes")
        self._address = address + mmap.PAGESIZE
        self._protect(0, self._bytes, mmap.PROT_READ | mmap.PROT_WRITE)
        self._memory = (ctypes.c_uint8 * self._bytes).from_address(self._address)
        self._locked = None

    def _protect(self, first, size, access):
        if self._library.mprotect(self._address + first, size, access) != 0:
            raise OSError(ctypes.get_errno(), "mprotect failed")
