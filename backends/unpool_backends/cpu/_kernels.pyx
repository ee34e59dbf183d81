# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: binding=True, embedsignature=True, freethreading_compatible=True
"""The kernels.  Every index is checked before it is used.  Planes run in parallel.  Results are the same for any number
of threads.

A call is cut into *strips*.  In channels-first, a strip is one plane.  In channels-last, it is some neighbouring
channels of one sample, so that whole cache lines are read:

    channels first   plane[n, c, cell]    a strip is (n, c),            elements lie 1 apart          (step 1, width 1)
    channels last    plane[n, cell, c]    a strip is (n, c0..c0+width)  cells lie `channels` apart    (step channels)

A strip is cut into *blocks* of windows.  If no two windows share a cell, its cells are cut likewise, and threads work
*by blocks*: each block fits a first-level cache, and a few large strips keep all threads busy.  If windows overlap, or
an index lies outside of its block, threads work *by cells*: each thread has a range of a strip's cells, reads all
indices of the strip, and uses those in its range.  Either way, one thread writes a cell, in row-major order of the
windows.  That alone makes "last" and "sum" deterministic.

    job.pxi        types and sizes          geometry.pxi   where a window lies        scatter.pxi    the kernels
    cut.pxi        blocks and tasks         indices.pxi    how an index is stored     gather.pxi
    threads.pxi    the task loop            dispatch.pxi   dtype -> kernel            pooling.pxi, its loops pooling*.h
    call.pxi       the C interface          xla.h          calls from XLA's programs  bands.pxi      pooling's plan
    window.pxi     taps, with taps*.h       lost.pxi       values overwritten later   decode.pxi     taps to cells
    rebase.pxi     blocks of larger planes

The Python functions take C-contiguous, aligned, native arrays and a Plan.  They hold the buffers while they run.  They
return None, or the flat positions in `indices` of the first bad index and of the first repeated index.  Python raises
the errors.  If the handler of a signal raises, as that of Ctrl-C does, the call ends before its work is done.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport INT32_MAX, INT64_MAX
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove, memset

__all__ = [
    "gather", "max_threads", "openmp", "pool", "rebase", "scatter", "stay_serial", "unpool_run_1", "xla_unpool_1"
]

include "job.pxi"
include "threads.pxi"
include "geometry.pxi"
include "indices.pxi"
include "decode.pxi"
include "window.pxi"
include "lost.pxi"
include "scatter.pxi"
include "gather.pxi"
include "bands.pxi"
include "pooling.pxi"
include "cut.pxi"
include "dispatch.pxi"
include "call.pxi"
include "rebase.pxi"


# --- the Python functions -------------------------------------------------------------------------------------------

cdef dict DUPLICATES = {"last": LAST, "sum": SUM, "error": ERROR}

# After a fork, the parent's pool of OpenMP threads is gone, and waiting for it would never end.
cdef bint forked = False


cdef class Buffers:
    """The C-contiguous buffers that a call holds, released with the object."""

    cdef Py_buffer pooled
    cdef Py_buffer indices
    cdef Py_buffer plane

    def __dealloc__(self):
        PyBuffer_Release(&self.pooled)
        PyBuffer_Release(&self.indices)
        PyBuffer_Release(&self.plane)


cdef int hold(Py_buffer *view, array, Py_ssize_t items, bint writeable) except -1:
    """Get a buffer of exactly this many elements."""
    PyObject_GetBuffer(array, view, PyBUF_WRITABLE if writeable else PyBUF_SIMPLE)
    if view.len != items * view.itemsize:
        raise ValueError(f"expected a buffer of {items} elements, got {view.len // view.itemsize}")
    return 0


cdef int read_triple(int64_t *to, tuple entries) except -1:
    to[0], to[1], to[2] = entries
    return 0


cdef class Geometry:
    """The part of a Job that depends on the Plan alone."""

    cdef Job job
    cdef Py_ssize_t batch

    def __cinit__(self, plan):
        cdef Call call
        memset(&call, 0, sizeof(Call))
        read_triple(call.kernel, plan.kernel)
        read_triple(call.stride, plan.stride)
        read_triple(call.padding, plan.padding)
        read_triple(call.dilation, plan.dilation)
        read_triple(call.pooled, plan.pooled)
        read_triple(call.plane, plan.plane)
        call.channels, call.channels_last = plan.channels, plan.channels_last
        call.check = IN_WINDOW if plan.validate == "windows" else IN_PLANE
        settle(&self.job, &call)
        self.batch = plan.batch


# A cache by Plan.  A Plan keeps its hash, so that a lookup is fast.
cdef dict geometries = {}


cdef Geometry geometry_of(plan):
    geometry = geometries.get(plan)
    if geometry is None:
        if len(geometries) >= PLANS:
            geometries.clear()
        geometry = geometries[plan] = Geometry(plan)
    return geometry


cdef Buffers describe(Job *job, Operation operation, pooled, indices, plane, plan, str dtype, int most_threads):
    """Make the Job of a call; it uses the memory of the buffers that are returned."""
    cdef Geometry geometry = geometry_of(plan)
    cdef Buffers buffers = Buffers()
    cdef Py_ssize_t planes = geometry.batch * geometry.job.channels
    cdef Kind kind = <Kind> <int> KINDS[dtype]
    cdef Py_ssize_t itemsize = itemsize_of(kind), index_bytes = 8
    cdef Arrays arrays
    hold(&buffers.pooled, pooled, planes * geometry.job.windows, operation != SCATTER)
    hold(&buffers.plane, plane, planes * geometry.job.cells, operation == SCATTER)
    if buffers.pooled.itemsize != itemsize or buffers.plane.itemsize != itemsize:
        raise TypeError(f"expected values of {itemsize} bytes")
    if indices is not None:
        hold(&buffers.indices, indices, planes * geometry.job.windows, operation == POOL)
        index_bytes = buffers.indices.itemsize
        if index_bytes not in (1, 4, 8):
            raise TypeError("expected int32 or int64 indices, or taps of one byte")
        if index_bytes == 1 and taps_of(&geometry.job) > BYTE_TAPS:
            raise TypeError(f"expected at most {BYTE_TAPS} taps of one byte, got {taps_of(&geometry.job)}")
    if operation == POOL and (kind == COMPLEX64 or kind == COMPLEX128):
        raise TypeError("complex values have no order")
    job[0] = geometry.job
    job.operation, job.most_threads = operation, most_threads
    arrays = Arrays(geometry.batch, kind, index_bytes, buffers.pooled.buf, buffers.indices.buf, buffers.plane.buf)
    take_arrays(job, &arrays)
    return buffers


cdef tuple complete(Job *job):
    """Run a Job; return the first bad and the first repeated position, -1 for none, or None for neither."""
    cdef Share share
    cdef Positions found
    if prepare(job) != DONE:
        what, purpose = ("pooling takes", "") if job.operation == POOL else ("`indices` take", " to be checked")
        raise MemoryError(
            f"{what} {job.scratch} bytes of scratch memory on {job.threads} thread{'s' * (job.threads > 1)}{purpose}, "
            f"and the system has none: free some, raise the limit on memory (ulimit -v), or use fewer threads "
            f"(OMP_NUM_THREADS)"
        )
    join_in(job, &share)
    with nogil:
        run(job)
    found = finish(job)
    raise_if_stopped(job)
    return None if found.bad < 0 and found.repeated < 0 else (found.bad, found.repeated)


def scatter(values, indices, plane, plan, str dtype, str duplicates, bint zeroed, bint streamed, int threads):
    """Write planes with each value at its index; return None, or the first bad and the first repeated position.

    A position is -1 if there is none of that kind.
    If `zeroed`, the planes are zero already.  If `streamed`, they are written past the caches where blocks allow it.
    At most so many `threads` work, or as many as OpenMP and the back-off allow if it is 0.
    """
    cdef Job job
    cdef Buffers _held = describe(&job, SCATTER, values, indices, plane, plan, dtype, threads)
    job.duplicates = DUPLICATES[duplicates]
    job.zeroed, job.streamed = zeroed, streamed
    return complete(&job)


def gather(plane, indices, values, plan, str dtype, str duplicates, int threads):
    """Write the value at each index; return positions, and use threads, as `scatter` does.

    With "last", an index that a later one repeats gives zero.
    """
    cdef Job job
    cdef Buffers _held = describe(&job, GATHER, values, indices, plane, plan, dtype, threads)
    job.duplicates = DUPLICATES[duplicates]
    return complete(&job)


def pool(plane, values, indices, plan, str dtype, int threads):
    """Write the largest value of each window, and its index unless `indices` is None; use threads as `scatter` does."""
    cdef Job job
    cdef Buffers _held = describe(&job, POOL, values, indices, plane, plan, dtype, threads)
    complete(&job)


def openmp():
    """Return the OpenMP version of the build as its release date: 201511 is 4.5; 0 for a serial build."""
    return UNPOOL_OPENMP


def max_threads():
    """Return the most threads that a call uses: fewer if it is small, or while other programs keep cores busy."""
    return 1 if forked else omp_get_max_threads()


def stay_serial():
    """Use one thread from now on; called in the child of a fork, whose only thread becomes Python's main one."""
    global forked, main_thread
    forked = True
    main_thread = PyThread_get_thread_ident()


def rebase(given, to, tuple plane, tuple new_plane, tuple origin):
    """Write the positions in another plane for positions in a plane; -1 for a cell that the other one lacks.

    `origin` is where the other plane begins in the first.  Both buffers hold int32 or int64, which the positions in the
    other plane must fit; they may be the same.
    """
    cdef Shared shared
    cdef int64_t[3] sizes
    cdef int64_t[3] new_sizes
    cdef int64_t[3] start
    cdef Buffers buffers = Buffers()
    cdef Py_ssize_t count
    read_triple(sizes, plane)
    read_triple(new_sizes, new_plane)
    read_triple(start, origin)
    share(&shared, sizes, new_sizes, start)
    PyObject_GetBuffer(given, &buffers.indices, PyBUF_SIMPLE)
    count = buffers.indices.len // buffers.indices.itemsize
    hold(&buffers.plane, to, count, True)
    if {buffers.indices.itemsize, buffers.plane.itemsize} - {4, 8}:
        raise TypeError("expected int32 or int64 positions")
    with nogil:
        if buffers.indices.itemsize == 4:
            rebase_to(<const int32_t *> buffers.indices.buf, &buffers.plane, &shared, count)
        else:
            rebase_to(<const int64_t *> buffers.indices.buf, &buffers.plane, &shared, count)
