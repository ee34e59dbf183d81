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
    threads.pxi    the task loop            dispatch.pxi   dtype -> kernel            pooling.pxi

The Python functions take C-contiguous, aligned, native arrays and a Plan.  They hold the buffers while they run.  They
return the flat positions in `indices` of the first bad index and of the first repeated index, or -1.  Python raises
the errors.  If the handler of a signal raises, as that of Ctrl-C does, the call ends before its work is done.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython.parallel cimport parallel, threadid
from libc.math cimport INFINITY
from libc.stdint cimport INT8_MIN, INT16_MIN, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

__all__ = ["gather", "max_threads", "openmp", "pool", "scatter", "stay_serial"]

include "job.pxi"
include "threads.pxi"
include "geometry.pxi"
include "indices.pxi"
include "scatter.pxi"
include "gather.pxi"
include "pooling.pxi"
include "cut.pxi"
include "dispatch.pxi"


# --- the Python functions -------------------------------------------------------------------------------------------

cdef dict DUPLICATES = {"last": LAST, "sum": SUM, "error": ERROR}

# After a fork, the parent's pool of OpenMP threads is gone, and waiting for it would never end.
cdef bint forked = False


cdef class Buffer:
    """A held, C-contiguous buffer of exactly `items` elements, released with the object."""

    cdef Py_buffer view

    def __cinit__(self, array, Py_ssize_t items, bint writeable):
        PyObject_GetBuffer(array, &self.view, PyBUF_WRITABLE if writeable else PyBUF_SIMPLE)
        if self.view.len != items * self.view.itemsize:
            raise ValueError(f"expected a buffer of {items} elements, got {self.view.len // self.view.itemsize}")

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef int read_triple(Py_ssize_t *to, tuple entries) except -1:
    to[0], to[1], to[2] = entries
    return 0


cdef class Geometry:
    """The part of a Job that depends on the Plan alone."""

    cdef Job job

    def __cinit__(self, plan):
        cdef Job *job = &self.job
        cdef Py_ssize_t axis
        job.batch, job.channels, job.windows, job.cells = plan.batch, plan.channels, plan.windows, plan.cells
        read_triple(job.kernel, plan.kernel)
        read_triple(job.stride, plan.stride)
        read_triple(job.padding, plan.padding)
        read_triple(job.dilation, plan.dilation)
        read_triple(job.windows_along, plan.pooled)
        read_triple(job.cells_along, plan.plane)
        job.apart = True
        job.dense = job.cells <= INT32_MAX
        for axis in range(3):
            job.apart &= (job.kernel[axis] - 1) * job.dilation[axis] < job.stride[axis]
            job.dense &= job.dilation[axis] == 1 or job.kernel[axis] == 1
        job.dense &= job.kernel[0] <= MOST_ROWS and job.kernel[1] <= MOST_ROWS // job.kernel[0]
        job.confined = plan.validate == "windows"
        job.cell_apart[0] = job.cells_along[1] * job.cells_along[2]
        job.cell_apart[1] = job.cells_along[2]
        job.cell_apart[2] = 1
        job.step = job.channels if plan.channels_last else 1
        job.width = min(job.step, TILE)
        job.strips_each = (job.channels + job.width - 1) // job.width
        job.strips = job.batch * job.strips_each


# A cache by Plan.  A Plan keeps its hash, so that a lookup is fast.
cdef dict geometries = {}


cdef Geometry geometry_of(plan):
    geometry = geometries.get(plan)
    if geometry is None:
        if len(geometries) >= PLANS:
            geometries.clear()
        geometry = geometries[plan] = Geometry(plan)
    return geometry


cdef int borrow(Job *job, bint seen) except -1:
    """Allocate the scratch memory of a call, less than a megabyte a thread; `release` frees it."""
    cdef int thread
    cdef Py_ssize_t found = job.threads * sizeof(Found), seen_bytes = 0, strayed = 0, stage = 0
    job.seen_words = (min(SEEN_BITS, job.cells * job.width) + 63) // 64
    if seen:
        seen_bytes = job.threads * job.seen_words * sizeof(uint64_t)
    if job.parts > 1:
        strayed = job.strips * job.parts
    if job.streamed:
        stage = job.threads * STAGE
    job.found = <Found *> malloc(found)
    job.seen = <uint64_t *> malloc(seen_bytes) if seen_bytes else NULL
    job.strayed = <uint8_t *> calloc(strayed, 1) if strayed else NULL
    job.stage = <char *> malloc(stage) if stage else NULL
    if (
        job.found == NULL or seen_bytes and job.seen == NULL or strayed and job.strayed == NULL
        or stage and job.stage == NULL
    ):
        release(job)
        raise MemoryError(
            f"`indices` take {found + seen_bytes + strayed + stage} bytes of scratch memory on {job.threads} "
            f"thread{'s' * (job.threads > 1)} to be checked, and the system has none: free some, raise the limit on "
            f"memory (ulimit -v), or use fewer threads (OMP_NUM_THREADS)"
        )
    for thread in range(job.threads):
        job.found[thread].bad = job.found[thread].repeated = INT64_MAX
    return 0


cdef void release(Job *job) noexcept:
    free(job.found)
    free(job.seen)
    free(job.strayed)
    free(job.stage)


cdef tuple finish(Job *job):
    """Free the scratch memory; return the first bad and the first repeated position that any thread found, or -1."""
    cdef int64_t bad = INT64_MAX, repeated = INT64_MAX
    cdef int thread
    for thread in range(job.threads):
        bad = min(bad, job.found[thread].bad)
        repeated = min(repeated, job.found[thread].repeated)
    release(job)
    raise_if_stopped(job)
    return (-1 if bad == INT64_MAX else bad, -1 if repeated == INT64_MAX else repeated)


def scatter(values, indices, plane, plan, str dtype, str duplicates, bint zeroed, bint streamed):
    """Write planes with each value at its index; return the first bad and the first repeated position, or -1.

    If `zeroed`, the planes are zero already.  If `streamed`, they are written past the caches where blocks allow it.
    """
    cdef Job job = geometry_of(plan).job
    cdef Share share
    cdef Py_ssize_t planes = job.batch * job.channels
    cdef Buffer pooled = Buffer(values, planes * job.windows, False)
    cdef Buffer wanted = Buffer(indices, planes * job.windows, False)
    cdef Buffer written = Buffer(plane, planes * job.cells, True)
    job.operation = SCATTER
    job.kind, job.itemsize = KINDS[dtype]
    check_sizes(&job, pooled, written, wanted)
    job.pooled, job.indices, job.plane = pooled.view.buf, wanted.view.buf, written.view.buf
    job.duplicates = DUPLICATES[duplicates]
    job.zeroed = zeroed
    job.compared = job.duplicates == ERROR or job.confined
    job.in_blocks = job.apart and (job.dense or not job.compared)
    cut_by_cells(&job, job.itemsize)
    job.streamed = streamed and not zeroed and STREAMS and job.in_blocks and fits_stage(&job, job.itemsize)
    borrow(&job, job.duplicates == ERROR)
    join_in(&job, &share)
    with nogil:
        run(&job)
    return finish(&job)


def gather(plane, indices, values, plan, str dtype, str duplicates):
    """Write the value at each index; return positions as `scatter` does.

    With "last", an index that a later one repeats gives zero.
    """
    cdef Job job = geometry_of(plan).job
    cdef Share share
    cdef Py_ssize_t planes = job.batch * job.channels
    cdef Buffer written = Buffer(values, planes * job.windows, True)
    cdef Buffer wanted = Buffer(indices, planes * job.windows, False)
    cdef Buffer read = Buffer(plane, planes * job.cells, False)
    job.operation = GATHER
    job.kind, job.itemsize = KINDS[dtype]
    check_sizes(&job, written, read, wanted)
    job.pooled, job.indices, job.plane = written.view.buf, wanted.view.buf, read.view.buf
    job.duplicates = DUPLICATES[duplicates]
    job.compared = job.duplicates != SUM or job.confined
    job.in_blocks = job.duplicates == SUM or (job.apart and job.dense)
    cut(&job, TAKEN // (job.windows_along[2] * job.width), TAKEN // job.width, 1)
    borrow(&job, job.duplicates != SUM)
    join_in(&job, &share)
    with nogil:
        run(&job)
    return finish(&job)


def pool(plane, values, indices, plan, str dtype):
    """Write the largest value of each window, and its index unless `indices` is None."""
    cdef Job job = geometry_of(plan).job
    cdef Share share
    cdef Py_ssize_t planes = job.batch * job.channels
    cdef Buffer read = Buffer(plane, planes * job.cells, False)
    cdef Buffer written = Buffer(values, planes * job.windows, True)
    cdef Buffer found = None if indices is None else Buffer(indices, planes * job.windows, True)
    job.operation = POOL
    job.kind, job.itemsize = KINDS[dtype]
    check_sizes(&job, written, read, found)
    if job.kind == COMPLEX64 or job.kind == COMPLEX128:
        raise TypeError("complex values have no order")
    job.pooled, job.plane = written.view.buf, read.view.buf
    job.indices = NULL if found is None else found.view.buf
    job.in_blocks = True
    cut_by_taps(&job)
    join_in(&job, &share)
    with nogil:
        run(&job)
    raise_if_stopped(&job)


cdef int check_sizes(Job *job, Buffer pooled, Buffer plane, Buffer indices) except -1:
    """Check the sizes of elements, and set `job.narrow`."""
    if pooled.view.itemsize != job.itemsize or plane.view.itemsize != job.itemsize:
        raise TypeError(f"expected values of {job.itemsize} bytes")
    if indices is not None and indices.view.itemsize not in (4, 8):
        raise TypeError("expected int32 or int64 indices")
    job.narrow = indices is not None and indices.view.itemsize == 4
    return 0


def openmp():
    """Return the OpenMP version of the build as its release date: 201511 is 4.5; 0 for a serial build."""
    return UNPOOL_OPENMP


def max_threads():
    """Return the most threads that a call uses: fewer if it is small, or while other programs keep cores busy."""
    return 1 if forked else omp_get_max_threads()


def stay_serial():
    """Use one thread from now on; called in the child of a fork."""
    global forked
    forked = True
