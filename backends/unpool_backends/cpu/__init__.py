"""The backend for NumPy arrays: Cython kernels with one OpenMP thread per core.

This module allocates results and raises errors; `_kernels.pyx` computes.  `unpool` has already checked the shapes,
dtypes and arguments.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from unpool import errors, findings
from unpool.dtypes import name
from unpool.plan import INDEX_FORMATS, Plan, Triple
from unpool.protocol import Duplicates
from unpool_backends.cpu import _kernels, _memory, taps

__all__ = [
    "BACKEND",
    "CPU",
    "QUIET",
    "array_at",
    "find",
    "keep_memory",
    "max_threads",
    "openmp",
    "rebase",
    "release_memory",
]

Array = np.ndarray[Any, np.dtype[Any]]

openmp = _kernels.openmp
max_threads = _kernels.max_threads
array_at = _memory.array_at
keep_memory = _memory.keep
release_memory = _memory.release

_plain_dtype = _memory.plain_dtype
# The names of NumPy's own dtypes by their number, since hashing a dtype takes longer; the numbers of int32 and int64.
_NAMES: dict[int, str] = {np.dtype(code).num: np.dtype(code).name for code in "?bhilqBHILQefdFD"}
_INDICES = {number for number, dtype in _NAMES.items() if dtype in ("int32", "int64")}
# Bytes from which `_memory` allocates, which reuses pages.  From this size on, glibc maps fresh pages, and zeroing them
# takes longer than computing the result.  Below it, glibc reuses memory itself.
_LARGE = 32 << 20
# Bytes from which planes in reused memory are written past the caches.  At half this size, keeping the output in the
# caches is worth more.
_PAST_CACHES = 64 << 20

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_kernels.stay_serial)


class CPU:
    """The three primitives of `unpool.protocol.Backend` on NumPy arrays.

    New arrays lie at a multiple of `alignment` bytes, as frameworks that take over their memory may require.  If
    `quiet`, a call with a bad or repeated index returns None and raises nothing.

    A worker of a scheduler such as Dask has threads of its own, and acts on its resident memory.  There a call uses at
    most so many `threads`, whatever OpenMP's number is; 0 stands for OpenMP's number.  Unless `recycle`, large arrays
    lie in fresh pages, which the system gets back as soon as they are freed.
    """

    index_formats = INDEX_FORMATS

    def __init__(self, alignment: int = 1, quiet: bool = False, threads: int = 0, recycle: bool = True) -> None:
        self._alignment, self._quiet, self._threads, self._recycle = alignment, quiet, threads, recycle

    # A call that lacks memory runs again without the memory that is kept: it changed nothing that the second run reads.
    # Each primitive does so itself, since a decorator adds 4 % to a tiny call.

    def pool(self, input: Array, plan: Plan[int], out: tuple[Array, Array | None] | None) -> tuple[Array, Array | None]:
        try:
            return self._pool(input, plan, out)
        except MemoryError:
            if not release_memory():
                raise
        return self._pool(input, plan, out)

    def scatter(
        self, values: Array, indices: Array, plan: Plan[int], duplicates: Duplicates, out: Array | None
    ) -> Array | None:
        try:
            return self._scatter(values, indices, plan, duplicates, out)
        except MemoryError:
            if not release_memory():
                raise
        return self._scatter(values, indices, plan, duplicates, out)

    def gather(
        self, grad: Array, indices: Array, plan: Plan[int], duplicates: Duplicates, out: Array | None
    ) -> Array | None:
        try:
            return self._gather(grad, indices, plan, duplicates, out)
        except MemoryError:
            if not release_memory():
                raise
        return self._gather(grad, indices, plan, duplicates, out)

    def _pool(
        self, input: Array, plan: Plan[int], out: tuple[Array, Array | None] | None
    ) -> tuple[Array, Array | None]:
        cells, dtype = _ready(input)
        values, indices = out or (None, None)
        if values is None:
            values, _ = self._new(plan.pooled_shape, cells.dtype)
        else:
            _check_out("out" if indices is None else "out[0]", values, cells)
        if indices is None and plan.index_dtype is not None:
            indices, _ = self._new(plan.pooled_shape, np.dtype(plan.index_dtype))
        elif indices is not None:
            _check_out("out[1]", indices, cells, values)
        if plan.batch:
            found, planned = indices, plan
            if indices is not None and _converts(indices, plan):
                found, planned = np.empty(indices.shape, np.int64), taps.in_plane(plan)
            try:
                _kernels.pool(cells, values, found, planned, dtype, self._threads)
            except BaseException as error:
                _note_touched(error, out)
                raise
            if found is not None and indices is not None and found is not indices:
                _write_taps(indices, found, plan, out)
        return values, indices

    def _scatter(
        self, values: Array, indices: Array, plan: Plan[int], duplicates: Duplicates, out: Array | None
    ) -> Array | None:
        pooled, dtype = _ready(values)
        read, wanted, planned = _ready_indices(indices, plan)
        fresh = False
        if out is not None:
            _check_out("out", out, pooled, wanted)
            planes = out
        else:
            planes, fresh = self._new(plan.plane_shape, pooled.dtype)
        if plan.batch:
            # Fresh pages are zero already.  Sums clear them anyway: reading before writing would map each page twice.
            zeroed = fresh and duplicates != "sum"
            streamed = planes.nbytes >= _PAST_CACHES and not fresh
            try:
                found = _kernels.scatter(
                    pooled, wanted, planes, planned, dtype, duplicates, zeroed, streamed, self._threads
                )
            except BaseException as error:
                _note_touched(error, out)
                raise
            if found is not None:
                if self._quiet:
                    return None
                raise findings.error(*found, indices, read, plan, touched=out is not None)
        return planes

    def _gather(
        self, grad: Array, indices: Array, plan: Plan[int], duplicates: Duplicates, out: Array | None
    ) -> Array | None:
        planes, dtype = _ready(grad)
        read, wanted, planned = _ready_indices(indices, plan)
        if out is not None:
            _check_out("out", out, planes, wanted)
            values = out
        else:
            values, _ = self._new(plan.pooled_shape, planes.dtype)
        if plan.batch:
            try:
                found = _kernels.gather(planes, wanted, values, planned, dtype, duplicates, self._threads)
            except BaseException as error:
                _note_touched(error, out)
                raise
            if found is not None:
                if self._quiet:
                    return None
                raise findings.error(*found, indices, read, plan, touched=out is not None)
        return values

    def _new(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, bool]:
        """Return an uninitialised array, and True if it lies in fresh pages, which are zero."""
        array, used = np.empty(shape, dtype), True
        if array.nbytes >= _LARGE:
            del array  # the system may not have memory for both
            array, used = _memory.empty(shape, dtype) if self._recycle else (np.zeros(shape, dtype), False)
        alignment = self._alignment
        if alignment > 1 and array.ctypes.data % alignment:
            memory = np.empty(array.nbytes + alignment, np.uint8)
            start = -memory.ctypes.data % alignment
            array, used = memory[start : start + array.nbytes].view(dtype).reshape(shape), True
        return array, not used


BACKEND = CPU()
QUIET = CPU(quiet=True)


def find(indices: Array, plan: Plan[int], duplicates: Duplicates) -> tuple[int, int] | None:
    """Return the flat positions of the first bad and the first repeated index, -1 for none; None for neither."""
    _, wanted, planned = _ready_indices(indices, plan)
    values, planes = np.zeros(plan.pooled_shape, np.bool_), np.zeros(plan.plane_shape, np.bool_)
    return _kernels.scatter(values, wanted, planes, planned, "bool", duplicates, True, False, 1)


def rebase(indices: Array, plane: Triple, new_plane: Triple, origin: Triple, out: Array | None = None) -> Array:
    """Return the positions in another plane for positions in a plane; -1 for a cell that the other one lacks.

    One of the planes is a block of the other.  `origin` is where the other one begins in the first, which is negative
    for the plane of a block.  `out` may be `indices`.  A new array is int32 unless a position needs int64.

    >>> rebase(np.array([8, 15, 11]), (1, 4, 6), (1, 2, 3), (0, 1, 2))
    array([ 0,  4, -1], dtype=int32)
    """
    given = _widened(indices)
    if out is None:
        out = np.empty(given.shape, np.int32 if math.prod(new_plane) <= 1 << 31 else np.int64)
    _kernels.rebase(given, out, plane, new_plane, origin)
    return out


def _write_taps(indices: Array, cells: Array, plan: Plan[int], out: object) -> None:
    """Write the tap of each cell that a kernel found, after it wrote the values."""
    try:
        indices[...] = taps.from_cells(cells, plan)
    except BaseException as error:
        if out is not None:
            error.add_note(errors.TOUCHED)
        raise


def _note_touched(error: BaseException, out: object) -> None:
    """Add the note that `out` may be overwritten to a signal handler's exception, such as KeyboardInterrupt."""
    if out is not None and not isinstance(error, MemoryError):  # a kernel raises it before the first write
        error.add_note(errors.TOUCHED)


def _ready(array: Array) -> tuple[Array, str]:
    """Return a plain array, copied only if necessary, and the name of its dtype.

    Subclasses become plain arrays, because every slice of a `numpy.matrix` has two dimensions.
    """
    number = _plain_dtype(array)
    if number < 0:
        array = np.require(array, array.dtype.newbyteorder("="), ["C", "A", "E"])
    return array, _NAMES.get(number) or name(array.dtype)


def _ready_indices(indices: Array, plan: Plan[int]) -> tuple[Array, Array, Plan[int]]:
    """Return the integers to report, the indices ready for kernels, and the Plan that describes those."""
    if plan.index_format == "plane" and _plain_dtype(indices) in _INDICES:
        return indices, indices, plan
    if plan.by_taps and not _converts(indices, plan):
        return (ready := _ready(indices)[0]), ready, plan
    wanted = _widened(indices)
    if plan.by_taps:
        return wanted, taps.to_cells(wanted.astype(np.int64, copy=False), plan), taps.in_plane(plan)
    return wanted, wanted, plan


def _converts(indices: Array, plan: Plan[int]) -> bool:
    """Return True if indices are taps in other dtypes than the kernels' bytes."""
    return plan.by_taps and not (indices.dtype == np.uint8 and plan.taps_fit_byte)


def _widened(indices: Array) -> Array:
    """Return plain indices: int32 and int64 stay as they are, other integers become int64."""
    dtype = indices.dtype
    if dtype.kind == "i" and dtype.itemsize >= 4:
        return _ready(indices)[0]
    if dtype.itemsize == 8:
        # uint64 values from 2**63 on turn negative here, so they stay out of range.
        return _ready(indices)[0].view(np.int64)
    return _ready(indices.astype(np.int64))[0]


def _check_out(argument: str, out: Array, *others: Array) -> None:
    flags = out.flags
    if not (flags.c_contiguous and flags.aligned and flags.writeable and out.dtype.isnative):
        raise errors.unusable_out(argument)
    if any(np.may_share_memory(out, array) for array in others):
        raise errors.overlapping_out(argument)
