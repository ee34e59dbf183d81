# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: binding=True, embedsignature=True, freethreading_compatible=True
"""The kernels: every index is checked before it is used, planes run in parallel, no result depends on the threads.

A call is cut into *strips* that no two threads share.  In channels-first a strip is one plane, in channels-last some
neighbouring channels of one sample, so that whole cache lines are read:

    channels first   plane[n, c, cell]    a strip is (n, c),            elements lie 1 apart          (step 1, width 1)
    channels last    plane[n, cell, c]    a strip is (n, c0..c0+width)  cells lie `channels` apart    (step channels)

Within a strip, cells come in row-major order on one thread: that alone makes "last" and "sum" deterministic.

Python functions here take C-contiguous, aligned, native arrays and a Plan; they hold buffers of the right length for as
long as they run, and return the flat positions in `indices` of the first bad index and of the first repeated one, or
-1.  Wording an error is Python's business.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython.parallel cimport prange, threadid
from libc.math cimport INFINITY
from libc.stdint cimport INT8_MIN, INT16_MIN, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset


cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #define UNPOOL_OPENMP _OPENMP
    #else
    #define UNPOOL_OPENMP 0
    #define omp_get_max_threads() 1
    #endif
    """
    const int UNPOOL_OPENMP
    int omp_get_max_threads() nogil


cdef extern from "numbers.h" nogil:
    ctypedef struct half "unpool_half":
        pass
    ctypedef struct bfloat16 "unpool_bfloat16":
        pass
    ctypedef struct complex64 "unpool_complex64":
        pass
    ctypedef struct complex128 "unpool_complex128":
        pass
    ctypedef struct boolean "unpool_bool":
        pass
    ctypedef struct word128 "unpool_word128":
        pass
    half half_lowest "unpool_half_lowest"() noexcept
    bfloat16 bfloat16_lowest "unpool_bfloat16_lowest"() noexcept
    half half_add "unpool_half_add"(half, half) noexcept
    bfloat16 bfloat16_add "unpool_bfloat16_add"(bfloat16, bfloat16) noexcept
    complex64 complex64_add "unpool_complex64_add"(complex64, complex64) noexcept
    complex128 complex128_add "unpool_complex128_add"(complex128, complex128) noexcept
    boolean boolean_add "unpool_bool_add"(boolean, boolean) noexcept
    bint half_better "unpool_half_better"(half, half) noexcept
    bint bfloat16_better "unpool_bfloat16_better"(bfloat16, bfloat16) noexcept


# Moving a value needs its size, adding its arithmetic (two's complement: unsigned serves signed), pooling its order.
ctypedef fused word:
    uint8_t
    uint16_t
    uint32_t
    uint64_t
    word128

ctypedef fused number:
    boolean
    uint8_t
    uint16_t
    uint32_t
    uint64_t
    half
    bfloat16
    float
    double
    complex64
    complex128

ctypedef fused real:
    int8_t
    int16_t
    int32_t
    int64_t
    uint8_t
    uint16_t
    uint32_t
    uint64_t
    half
    bfloat16
    float
    double

ctypedef fused index:
    int32_t
    int64_t


cdef enum:
    LAST = 0
    SUM = 1
    ERROR = 2
    # Bits of a thread's map of cells that have a value: half a megabyte.  Larger strips are done in several passes.
    SEEN_BITS = 1 << 22
    # Elements of the larger side below which a second thread costs more than it does.
    SERIAL = 1 << 15
    # Windows, or channels, that are pooled together: what the kernel keeps of them lies in the first-level cache.
    TILE = 1024
    # The least channels of a channels-last strip: whole cache lines.
    STRIP = 32


cdef enum Kind:
    BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64
    FLOAT16, BFLOAT16, FLOAT32, FLOAT64, COMPLEX64, COMPLEX128


cdef struct Found:
    # The first bad and the first repeated index that one thread saw, as flat positions, or INT64_MAX.
    int64_t bad
    int64_t repeated
    int64_t _cache_line[6]


cdef struct Job:
    void *pooled
    void *indices
    void *plane
    Py_ssize_t[3] kernel
    Py_ssize_t[3] stride
    Py_ssize_t[3] padding
    Py_ssize_t[3] dilation
    Py_ssize_t[3] windows_along
    Py_ssize_t[3] cells_along
    Py_ssize_t[3] cell_apart
    Py_ssize_t batch
    Py_ssize_t channels
    Py_ssize_t windows
    Py_ssize_t cells
    # How the call is cut: `strips` of them, `strips_each` per sample, `width` channels in each but the last.
    Py_ssize_t strips
    Py_ssize_t strips_each
    Py_ssize_t width
    Py_ssize_t step
    Py_ssize_t chunk
    int threads
    int duplicates
    # Whether a new plane is zero already.
    bint zeroed
    # Whether windows are solid and share no cell, in planes whose cells 32 bits can count.
    bint apart
    uint64_t *seen
    Py_ssize_t seen_words
    Found *found


cdef struct Strip:
    Py_ssize_t pooled
    Py_ssize_t plane
    Py_ssize_t width


cdef inline Strip strip_at(const Job *job, Py_ssize_t nth) noexcept nogil:
    """Where a strip starts in the pooled arrays and in the planes, and how many channels it has."""
    cdef Strip strip
    cdef Py_ssize_t sample = nth // job.strips_each
    cdef Py_ssize_t channel = (nth % job.strips_each) * job.width
    cdef Py_ssize_t apart_pooled = 1 if job.step > 1 else job.windows
    cdef Py_ssize_t apart_plane = 1 if job.step > 1 else job.cells
    strip.pooled = sample * job.channels * job.windows + channel * apart_pooled
    strip.plane = sample * job.channels * job.cells + channel * apart_plane
    strip.width = min(job.width, job.channels - channel)
    return strip


cdef inline void report(
    const Job *job, const Strip *strip, int thread, Py_ssize_t bad, Py_ssize_t repeated
) noexcept nogil:
    cdef Found *found = &job.found[thread]
    if bad >= 0:
        found.bad = min(found.bad, strip.pooled + bad)
    if repeated >= 0:
        found.repeated = min(found.repeated, strip.pooled + repeated)


# --- windows ----------------------------------------------------------------------------------------------------------


cdef struct Span:
    # The steps first..end-1 of a window that lie inside the plane along one axis.
    Py_ssize_t start
    Py_ssize_t first
    Py_ssize_t end


cdef inline Span clip(const Job *job, int axis, Py_ssize_t window) noexcept nogil:
    """Where a window starts along one axis, in the padding perhaps, and which steps are inside; the plan left none empty."""
    cdef Span span
    cdef Py_ssize_t dilation = job.dilation[axis]
    span.start = window * job.stride[axis] - job.padding[axis]
    span.first = 0 if span.start >= 0 else (dilation - 1 - span.start) // dilation
    span.end = job.kernel[axis]
    if span.start + (span.end - 1) * dilation >= job.cells_along[axis]:
        span.end = (job.cells_along[axis] - span.start + dilation - 1) // dilation
    return span


# --- indices --------------------------------------------------------------------------------------------------------


cdef inline Py_ssize_t first_bad(const index *indices, const Job *job, Py_ssize_t width) noexcept nogil:
    """The offset of the strip's first index outside the plane, or -1."""
    cdef Py_ssize_t i, c
    for i in range(job.windows):
        for c in range(width):
            if <uint64_t> <int64_t> indices[i * job.step + c] >= <uint64_t> job.cells:
                return i * job.step + c
    return -1


cdef inline bint first_visit(uint64_t *seen, Py_ssize_t bit) noexcept nogil:
    cdef uint64_t mask = (<uint64_t> 1) << (bit & 63)
    cdef bint new = not seen[bit >> 6] & mask
    seen[bit >> 6] |= mask
    return new


cdef inline void clear(uint64_t *seen, Py_ssize_t bits) noexcept nogil:
    memset(seen, 0, ((bits + 63) >> 6) * sizeof(uint64_t))


cdef Py_ssize_t first_repeated(
    const index *indices, const Job *job, Py_ssize_t width, uint64_t *seen
) noexcept nogil:
    """The offset of the strip's first index that stood there before in its own plane, or -1; all are in range."""
    cdef Py_ssize_t i, c, at, cell, low = 0, found = -1
    cdef Py_ssize_t span = min(job.cells, SEEN_BITS // width)
    while low < job.cells:
        clear(seen, span * width)
        for i in range(job.windows):
            for c in range(width):
                at = i * job.step + c
                cell = <Py_ssize_t> indices[at] - low
                if 0 <= cell < span and not first_visit(seen, cell * width + c):
                    if found < 0 or at < found:
                        found = at
        low += span
    return found


cdef bint own_run(
    const index *indices, const Job *job, const Span *d, const Span *h, const Span *w, Py_ssize_t count
) noexcept nogil:
    """Whether the indices of `count` windows of one row, or channels of one window, lie in their own window."""
    cdef int32_t[TILE] away
    cdef int32_t[TILE] own
    cdef Py_ssize_t i, kd, kh
    cdef Py_ssize_t corner = d.start * job.cell_apart[0] + h.start * job.cell_apart[1] + w.start
    cdef uint32_t apart = <uint32_t> (job.stride[2] if job.step == 1 else 0), shift = 0
    cdef uint32_t columns = <uint32_t> (w.end - w.first)
    cdef int32_t first, all_own = 1
    cdef int64_t offset
    cdef uint64_t far = 0
    for i in range(count):
        # 64 bits tell whether the rest may be done in 32.
        offset = indices[i] - corner
        far |= <uint64_t> offset >> 31
        away[i] = <int32_t> (<uint32_t> offset - shift)
        shift += apart
        own[i] = 0
    if far:
        return False
    for kd in range(d.first, d.end):
        for kh in range(h.first, h.end):
            first = <int32_t> (kd * job.cell_apart[0] + kh * job.cell_apart[1] + w.first)
            for i in range(count):
                # One unsigned comparison for two, and no branch: a mispredicted one costs more than all the rest.
                own[i] |= <uint32_t> away[i] - <uint32_t> first < columns
    for i in range(count):
        all_own &= own[i]
    return all_own


cdef bint all_own(const index *indices, const Job *job, Py_ssize_t width) noexcept nogil:
    """Whether windows lie apart and every index of the strip is in its own: then none is bad, and none is repeated."""
    cdef Py_ssize_t od, oh, ow, windows, whole
    cdef Span d, h, w
    if not job.apart:
        return False
    for od in range(job.windows_along[0]):
        d = clip(job, 0, od)
        for oh in range(job.windows_along[1]):
            h = clip(job, 1, oh)
            ow = 0
            while ow < job.windows_along[2]:
                w = clip(job, 2, ow)
                windows = 1
                if job.step == 1 and w.end - w.first == job.kernel[2]:
                    # All of these windows are whole, and one comparison serves them.
                    whole = (job.cells_along[2] - w.start - job.kernel[2]) // job.stride[2] + 1
                    windows = min(min(TILE, job.windows_along[2] - ow), whole)
                if not own_run(indices, job, &d, &h, &w, windows if job.step == 1 else width):
                    return False
                ow += windows
                indices += windows * job.step
    return True


# --- moving values --------------------------------------------------------------------------------------------------


cdef inline void zero(char *plane, const Job *job, Py_ssize_t width, Py_ssize_t itemsize) noexcept nogil:
    cdef Py_ssize_t cell
    if width == job.step:
        memset(plane, 0, job.cells * width * itemsize)
    else:
        for cell in range(job.cells):
            memset(plane + cell * job.step * itemsize, 0, width * itemsize)


cdef inline Py_ssize_t put(
    const word *values, const index *indices, word *plane, const Job *job, Py_ssize_t width
) noexcept nogil:
    """Put each value at its index, the last one wins; return the offset of the first bad index, or -1."""
    cdef Py_ssize_t i, c, at
    cdef int64_t cell
    if width == 1 and job.step == 1:
        for i in range(job.windows):
            cell = indices[i]
            if <uint64_t> cell >= <uint64_t> job.cells:
                return i
            plane[cell] = values[i]
        return -1
    for i in range(job.windows):
        for c in range(width):
            at = i * job.step + c
            cell = indices[at]
            if <uint64_t> cell >= <uint64_t> job.cells:
                return at
            plane[cell * job.step + c] = values[at]
    return -1


cdef inline Py_ssize_t take(
    word *values, const index *indices, const word *plane, const Job *job, Py_ssize_t width
) noexcept nogil:
    """Take the value at each index; return the offset of the first bad index, or -1."""
    cdef Py_ssize_t i, c, at
    cdef int64_t cell
    if width == 1 and job.step == 1:
        for i in range(job.windows):
            cell = indices[i]
            if <uint64_t> cell >= <uint64_t> job.cells:
                return i
            values[i] = plane[cell]
        return -1
    for i in range(job.windows):
        for c in range(width):
            at = i * job.step + c
            cell = indices[at]
            if <uint64_t> cell >= <uint64_t> job.cells:
                return at
            values[at] = plane[cell * job.step + c]
    return -1


cdef void take_winners(
    word *values, const index *indices, const word *plane, const Job *job, Py_ssize_t width, uint64_t *seen
) noexcept nogil:
    """Take the value at each index that no later one repeats, zero at the others; all are in range."""
    cdef Py_ssize_t i, c, at, cell, low = 0
    cdef Py_ssize_t span = min(job.cells, SEEN_BITS // width)
    while low < job.cells:
        clear(seen, span * width)
        for i in range(job.windows - 1, -1, -1):
            for c in range(width):
                at = i * job.step + c
                cell = <Py_ssize_t> indices[at] - low
                if 0 <= cell < span:
                    if first_visit(seen, cell * width + c):
                        values[at] = plane[(cell + low) * job.step + c]
                    else:
                        memset(&values[at], 0, sizeof(word))
        low += span


cdef void scatter_strip(word *kind, index *index_kind, const Job *job, Py_ssize_t nth, int thread) noexcept nogil:
    cdef Strip strip = strip_at(job, nth)
    cdef const word *values = <const word *> job.pooled + strip.pooled
    cdef const index *indices = <const index *> job.indices + strip.pooled
    cdef word *plane = <word *> job.plane + strip.plane
    cdef uint64_t *seen = job.seen + thread * job.seen_words
    cdef Py_ssize_t bad = -1, repeated = -1
    if job.duplicates == ERROR and not all_own(indices, job, strip.width):
        bad = first_bad(indices, job, strip.width)
        if bad < 0:
            repeated = first_repeated(indices, job, strip.width, seen)
    if bad < 0 and repeated < 0:
        if not job.zeroed:
            zero(<char *> plane, job, strip.width, sizeof(word))
        bad = put(values, indices, plane, job, strip.width)
    report(job, &strip, thread, bad, repeated)


cdef void gather_strip(word *kind, index *index_kind, const Job *job, Py_ssize_t nth, int thread) noexcept nogil:
    cdef Strip strip = strip_at(job, nth)
    cdef word *values = <word *> job.pooled + strip.pooled
    cdef const index *indices = <const index *> job.indices + strip.pooled
    cdef const word *plane = <const word *> job.plane + strip.plane
    cdef uint64_t *seen = job.seen + thread * job.seen_words
    cdef Py_ssize_t bad, repeated = -1
    if job.duplicates == SUM or all_own(indices, job, strip.width):
        bad = take(values, indices, plane, job, strip.width)
    else:
        bad = first_bad(indices, job, strip.width)
        if bad < 0:
            if job.duplicates == ERROR:
                repeated = first_repeated(indices, job, strip.width, seen)
            take_winners(values, indices, plane, job, strip.width, seen)
    report(job, &strip, thread, bad, repeated)


cdef void scatter_all(word *kind, index *index_kind, const Job *job) noexcept nogil:
    cdef Py_ssize_t nth
    for nth in prange(job.strips, num_threads=job.threads, schedule="dynamic", chunksize=job.chunk):
        scatter_strip(kind, index_kind, job, nth, threadid())


cdef void gather_all(word *kind, index *index_kind, const Job *job) noexcept nogil:
    cdef Py_ssize_t nth
    for nth in prange(job.strips, num_threads=job.threads, schedule="dynamic", chunksize=job.chunk):
        gather_strip(kind, index_kind, job, nth, threadid())


# --- adding values up -----------------------------------------------------------------------------------------------


cdef inline number add(number a, number b) noexcept nogil:
    if number is half:
        return half_add(a, b)
    elif number is bfloat16:
        return bfloat16_add(a, b)
    elif number is complex64:
        return complex64_add(a, b)
    elif number is complex128:
        return complex128_add(a, b)
    elif number is boolean:
        return boolean_add(a, b)
    else:
        return <number> (a + b)


cdef void sum_strip(number *kind, index *index_kind, const Job *job, Py_ssize_t nth, int thread) noexcept nogil:
    cdef Strip strip = strip_at(job, nth)
    cdef const number *values = <const number *> job.pooled + strip.pooled
    cdef const index *indices = <const index *> job.indices + strip.pooled
    cdef number *plane = <number *> job.plane + strip.plane
    cdef Py_ssize_t i, c, at
    cdef int64_t cell
    if not job.zeroed:
        zero(<char *> plane, job, strip.width, sizeof(number))
    for i in range(job.windows):
        for c in range(strip.width):
            at = i * job.step + c
            cell = indices[at]
            if <uint64_t> cell >= <uint64_t> job.cells:
                report(job, &strip, thread, at, -1)
                return
            plane[cell * job.step + c] = add(plane[cell * job.step + c], values[at])


cdef void sum_all(number *kind, index *index_kind, const Job *job) noexcept nogil:
    cdef Py_ssize_t nth
    for nth in prange(job.strips, num_threads=job.threads, schedule="dynamic", chunksize=job.chunk):
        sum_strip(kind, index_kind, job, nth, threadid())


# --- pooling --------------------------------------------------------------------------------------------------------


cdef inline bint better(real value, real best) noexcept nogil:
    if real is half:
        return half_better(value, best)
    elif real is bfloat16:
        return bfloat16_better(value, best)
    elif real is float or real is double:
        return value > best or value != value
    else:
        return value > best


cdef inline real lowest(real like) noexcept nogil:
    """What every value equals or beats; only the first element of a window may have to equal it."""
    if real is half:
        return half_lowest()
    elif real is bfloat16:
        return bfloat16_lowest()
    elif real is float or real is double:
        return -INFINITY
    elif real is int8_t:
        return INT8_MIN
    elif real is int16_t:
        return INT16_MIN
    elif real is int32_t:
        return INT32_MIN
    elif real is int64_t:
        return INT64_MIN
    else:
        return 0


cdef inline void keep_better(
    const real *cells, Py_ssize_t apart, Py_ssize_t count, int32_t offset, real *best, int32_t *found
) noexcept nogil:
    # Selections instead of branches: the compiler makes vector instructions of them, and random data costs nothing.
    cdef Py_ssize_t i
    cdef real value
    cdef bint wins
    for i in range(count):
        value = cells[i * apart]
        wins = better(value, best[i])
        best[i] = value if wins else best[i]
        found[i] = offset if wins else found[i]


cdef inline void improve(
    const real *cells, Py_ssize_t apart, Py_ssize_t count, int32_t offset, real *best, int32_t *found
) noexcept nogil:
    """Hold one element of each of `count` windows, `apart` from each other, against the best so far."""
    # A stride that the compiler knows lets it load vectors.
    if apart == 1:
        keep_better(cells, 1, count, offset, best, found)
    elif apart == 2:
        keep_better(cells, 2, count, offset, best, found)
    else:
        keep_better(cells, apart, count, offset, best, found)


cdef inline void reset(real *best, int32_t *found, int32_t offset, Py_ssize_t count) noexcept nogil:
    """Until something beats it, the first element of a window stands."""
    cdef Py_ssize_t i
    for i in range(count):
        best[i] = lowest(best[i])
        found[i] = offset


cdef void pool_row(
    const real *plane, real *values, index *indices, const Job *job, const Span *d, const Span *h, Py_ssize_t w,
    Py_ssize_t count
) noexcept nogil:
    """Pool `count` neighbouring windows of one row, from window `w` on.

    Rows of the windows are outermost, then their columns, then the windows themselves, along which memory is read.  A cell
    is kept as its offset from the corner of its window: 32 bits, which the plan makes sure of, move in half the time.
    """
    cdef int32_t[TILE] found
    cdef Py_ssize_t kd, kh, kw, i, row, column, low, high
    cdef Py_ssize_t stride = job.stride[2], dilation = job.dilation[2], cells = job.cells_along[2]
    cdef Py_ssize_t start = w * stride - job.padding[2]
    cdef Py_ssize_t corner = d.start * job.cell_apart[0] + h.start * job.cell_apart[1] + start
    reset(values, found, <int32_t> first_row(job, d, h), count)
    # On the left edge, the first element is not in the first column.
    for i in range(min(count, (stride - 1 - start) // stride) if start < 0 else 0):
        found[i] += <int32_t> ((dilation - 1 - start - i * stride) // dilation * dilation)
    for kd in range(d.first, d.end):
        for kh in range(h.first, h.end):
            row = kd * job.dilation[0] * job.cell_apart[0] + kh * job.dilation[1] * job.cell_apart[1]
            for kw in range(job.kernel[2]):
                # Windows low..high-1 of the run have this column inside the plane.
                column = start + kw * dilation
                low = 0 if column >= 0 else (stride - 1 - column) // stride
                high = 0 if column >= cells else min(count, (cells - column + stride - 1) // stride)
                if low < high:
                    improve(
                        plane + corner + row + kw * dilation + low * stride, stride, high - low,
                        <int32_t> (row + kw * dilation), values + low, found + low,
                    )
    if indices != NULL:
        for i in range(count):
            indices[i] = <index> (corner + i * stride + found[i])


cdef void pool_channels(
    const real *plane, real *values, index *indices, const Job *job, const Span *d, const Span *h, Py_ssize_t w,
    Py_ssize_t count
) noexcept nogil:
    """Pool one window of `count` neighbouring channels, which lie side by side; as `pool_row` otherwise."""
    cdef int32_t[TILE] found
    cdef Py_ssize_t kd, kh, kw, i, offset
    cdef Span span = clip(job, 2, w)
    cdef Py_ssize_t corner = d.start * job.cell_apart[0] + h.start * job.cell_apart[1] + span.start
    reset(values, found, <int32_t> (first_row(job, d, h) + span.first * job.dilation[2]), count)
    for kd in range(d.first, d.end):
        for kh in range(h.first, h.end):
            for kw in range(span.first, span.end):
                offset = (
                    kd * job.dilation[0] * job.cell_apart[0]
                    + kh * job.dilation[1] * job.cell_apart[1]
                    + kw * job.dilation[2]
                )
                improve(plane + (corner + offset) * job.step, 1, count, <int32_t> offset, values, found)
    if indices != NULL:
        for i in range(count):
            indices[i] = <index> (corner + found[i])


cdef inline Py_ssize_t first_row(const Job *job, const Span *d, const Span *h) noexcept nogil:
    """The offset of a window's first row inside the plane from its corner."""
    return d.first * job.dilation[0] * job.cell_apart[0] + h.first * job.dilation[1] * job.cell_apart[1]


cdef void pool_strip(real *kind, index *index_kind, const Job *job, Py_ssize_t nth) noexcept nogil:
    cdef Strip strip = strip_at(job, nth)
    cdef const real *plane = <const real *> job.plane + strip.plane
    cdef real *values = <real *> job.pooled + strip.pooled
    cdef index *indices = NULL
    cdef Py_ssize_t od, oh, ow, windows
    cdef Span d, h
    if job.indices != NULL:
        indices = <index *> job.indices + strip.pooled
    for od in range(job.windows_along[0]):
        d = clip(job, 0, od)
        for oh in range(job.windows_along[1]):
            h = clip(job, 1, oh)
            ow = 0
            while ow < job.windows_along[2]:
                if job.step == 1:
                    windows = min(TILE, job.windows_along[2] - ow)
                    pool_row(plane, values, indices, job, &d, &h, ow, windows)
                else:
                    windows = 1
                    pool_channels(plane, values, indices, job, &d, &h, ow, strip.width)
                ow += windows
                values += windows * job.step
                if indices != NULL:
                    indices += windows * job.step


cdef void pool_all(real *kind, index *index_kind, const Job *job) noexcept nogil:
    cdef Py_ssize_t nth
    for nth in prange(job.strips, num_threads=job.threads, schedule="dynamic", chunksize=job.chunk):
        pool_strip(kind, index_kind, job, nth)


# --- choosing a kernel ----------------------------------------------------------------------------------------------


cdef int scatter_of(index *index_kind, Py_ssize_t itemsize, const Job *job) except -1 nogil:
    if itemsize == 1:
        scatter_all(<uint8_t *> NULL, index_kind, job)
    elif itemsize == 2:
        scatter_all(<uint16_t *> NULL, index_kind, job)
    elif itemsize == 4:
        scatter_all(<uint32_t *> NULL, index_kind, job)
    elif itemsize == 8:
        scatter_all(<uint64_t *> NULL, index_kind, job)
    else:
        scatter_all(<word128 *> NULL, index_kind, job)
    return 0


cdef int gather_of(index *index_kind, Py_ssize_t itemsize, const Job *job) except -1 nogil:
    if itemsize == 1:
        gather_all(<uint8_t *> NULL, index_kind, job)
    elif itemsize == 2:
        gather_all(<uint16_t *> NULL, index_kind, job)
    elif itemsize == 4:
        gather_all(<uint32_t *> NULL, index_kind, job)
    elif itemsize == 8:
        gather_all(<uint64_t *> NULL, index_kind, job)
    else:
        gather_all(<word128 *> NULL, index_kind, job)
    return 0


cdef int sum_of(index *index_kind, Kind kind, const Job *job) except -1 nogil:
    if kind == BOOL:
        sum_all(<boolean *> NULL, index_kind, job)
    elif kind == INT8 or kind == UINT8:
        sum_all(<uint8_t *> NULL, index_kind, job)
    elif kind == INT16 or kind == UINT16:
        sum_all(<uint16_t *> NULL, index_kind, job)
    elif kind == INT32 or kind == UINT32:
        sum_all(<uint32_t *> NULL, index_kind, job)
    elif kind == INT64 or kind == UINT64:
        sum_all(<uint64_t *> NULL, index_kind, job)
    elif kind == FLOAT16:
        sum_all(<half *> NULL, index_kind, job)
    elif kind == BFLOAT16:
        sum_all(<bfloat16 *> NULL, index_kind, job)
    elif kind == FLOAT32:
        sum_all(<float *> NULL, index_kind, job)
    elif kind == FLOAT64:
        sum_all(<double *> NULL, index_kind, job)
    elif kind == COMPLEX64:
        sum_all(<complex64 *> NULL, index_kind, job)
    else:
        sum_all(<complex128 *> NULL, index_kind, job)
    return 0


cdef int pool_of(index *index_kind, Kind kind, const Job *job) except -1 nogil:
    if kind == BOOL or kind == UINT8:
        pool_all(<uint8_t *> NULL, index_kind, job)
    elif kind == INT8:
        pool_all(<int8_t *> NULL, index_kind, job)
    elif kind == INT16:
        pool_all(<int16_t *> NULL, index_kind, job)
    elif kind == INT32:
        pool_all(<int32_t *> NULL, index_kind, job)
    elif kind == INT64:
        pool_all(<int64_t *> NULL, index_kind, job)
    elif kind == UINT16:
        pool_all(<uint16_t *> NULL, index_kind, job)
    elif kind == UINT32:
        pool_all(<uint32_t *> NULL, index_kind, job)
    elif kind == UINT64:
        pool_all(<uint64_t *> NULL, index_kind, job)
    elif kind == FLOAT16:
        pool_all(<half *> NULL, index_kind, job)
    elif kind == BFLOAT16:
        pool_all(<bfloat16 *> NULL, index_kind, job)
    elif kind == FLOAT32:
        pool_all(<float *> NULL, index_kind, job)
    elif kind == FLOAT64:
        pool_all(<double *> NULL, index_kind, job)
    else:
        with gil:
            raise TypeError("complex values have no order")
    return 0


# --- what Python calls ----------------------------------------------------------------------------------------------

cdef dict KINDS = {
    "bool": (BOOL, 1), "int8": (INT8, 1), "int16": (INT16, 2), "int32": (INT32, 4), "int64": (INT64, 8),
    "uint8": (UINT8, 1), "uint16": (UINT16, 2), "uint32": (UINT32, 4), "uint64": (UINT64, 8),
    "float16": (FLOAT16, 2), "bfloat16": (BFLOAT16, 2), "float32": (FLOAT32, 4), "float64": (FLOAT64, 8),
    "complex64": (COMPLEX64, 8), "complex128": (COMPLEX128, 16),
}
cdef dict DUPLICATES = {"last": LAST, "sum": SUM, "error": ERROR}

# After a fork, the pool of OpenMP threads that the parent had is gone, and waiting for it would never end.
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


cdef int read_plan(Job *job, plan) except -1:
    """Take the sizes from a Plan and cut the work."""
    cdef Py_ssize_t axis, work, strips_wanted
    job.batch, job.channels, job.windows, job.cells = plan.batch, plan.channels, plan.windows, plan.cells
    job.apart = job.cells <= INT32_MAX
    for axis in range(3):
        job.kernel[axis] = plan.kernel[axis]
        job.stride[axis] = plan.stride[axis]
        job.padding[axis] = plan.padding[axis]
        job.dilation[axis] = plan.dilation[axis]
        job.windows_along[axis] = plan.pooled[axis]
        job.cells_along[axis] = plan.plane[axis]
        job.apart &= job.kernel[axis] <= job.stride[axis] and (job.dilation[axis] == 1 or job.kernel[axis] == 1)
    job.cell_apart[0] = job.cells_along[1] * job.cells_along[2]
    job.cell_apart[1] = job.cells_along[2]
    job.cell_apart[2] = 1
    if plan.channels_last:
        job.step = job.channels
        # As many channels as make one strip a thread, in whole cache lines.
        job.width = job.channels
        if not forked and job.batch < omp_get_max_threads():
            job.width = (job.channels * job.batch + omp_get_max_threads() - 1) // omp_get_max_threads()
            job.width = (job.width + STRIP - 1) // STRIP * STRIP
        job.width = min(min(job.width, TILE), job.channels)
    else:
        job.step = 1
        job.width = 1
    job.strips_each = (job.channels + job.width - 1) // job.width
    job.strips = job.batch * job.strips_each
    # Hand out chunks of about SERIAL elements: enough to pay for the asking, few enough to share the work evenly.
    job.chunk = max(1, SERIAL // (job.width * max(job.cells, job.windows)))
    job.threads = 1
    if not forked and job.strips > job.chunk:
        job.threads = <int> min(omp_get_max_threads(), (job.strips + job.chunk - 1) // job.chunk)
    job.zeroed = False
    job.seen = NULL
    job.seen_words = 0
    return 0


cdef int borrow(Job *job, bint seen) except -1:
    """Take the scratch memory of a call; `release` gives it back."""
    cdef int thread
    job.found = <Found *> malloc(job.threads * sizeof(Found))
    if job.found == NULL:
        raise MemoryError()
    for thread in range(job.threads):
        job.found[thread].bad = job.found[thread].repeated = INT64_MAX
    if seen:
        job.seen_words = (min(SEEN_BITS, job.cells * job.width) + 63) // 64
        job.seen = <uint64_t *> malloc(job.threads * job.seen_words * sizeof(uint64_t))
        if job.seen == NULL:
            free(job.found)
            raise MemoryError()
    return 0


cdef tuple release(Job *job):
    cdef int64_t bad = INT64_MAX, repeated = INT64_MAX
    cdef int thread
    for thread in range(job.threads):
        bad = min(bad, job.found[thread].bad)
        repeated = min(repeated, job.found[thread].repeated)
    free(job.found)
    free(job.seen)
    return (-1 if bad == INT64_MAX else bad, -1 if repeated == INT64_MAX else repeated)


def scatter(values, indices, plane, plan, str dtype, str duplicates, bint zeroed):
    """Write planes with each value at its index; return the first bad and the first repeated position, or -1."""
    cdef Job job
    read_plan(&job, plan)
    cdef Py_ssize_t planes = job.batch * job.channels
    cdef Buffer pooled = Buffer(values, planes * job.windows, False)
    cdef Buffer wanted = Buffer(indices, planes * job.windows, False)
    cdef Buffer written = Buffer(plane, planes * job.cells, True)
    cdef Kind kind
    cdef Py_ssize_t itemsize
    kind, itemsize = KINDS[dtype]
    check_sizes(pooled, written, wanted, itemsize)
    job.pooled, job.indices, job.plane = pooled.view.buf, wanted.view.buf, written.view.buf
    job.duplicates = DUPLICATES[duplicates]
    job.zeroed = zeroed
    borrow(&job, job.duplicates == ERROR)
    with nogil:
        if job.duplicates == SUM:
            if wanted.view.itemsize == 4:
                sum_of(<int32_t *> NULL, kind, &job)
            else:
                sum_of(<int64_t *> NULL, kind, &job)
        elif wanted.view.itemsize == 4:
            scatter_of(<int32_t *> NULL, itemsize, &job)
        else:
            scatter_of(<int64_t *> NULL, itemsize, &job)
    return release(&job)


def gather(plane, indices, values, plan, str dtype, str duplicates):
    """Write the value at each index, zero for losers in "last"; return as `scatter` does."""
    cdef Job job
    read_plan(&job, plan)
    cdef Py_ssize_t planes = job.batch * job.channels
    cdef Buffer written = Buffer(values, planes * job.windows, True)
    cdef Buffer wanted = Buffer(indices, planes * job.windows, False)
    cdef Buffer read = Buffer(plane, planes * job.cells, False)
    cdef Py_ssize_t itemsize = KINDS[dtype][1]
    check_sizes(written, read, wanted, itemsize)
    job.pooled, job.indices, job.plane = written.view.buf, wanted.view.buf, read.view.buf
    job.duplicates = DUPLICATES[duplicates]
    borrow(&job, job.duplicates != SUM)
    with nogil:
        if wanted.view.itemsize == 4:
            gather_of(<int32_t *> NULL, itemsize, &job)
        else:
            gather_of(<int64_t *> NULL, itemsize, &job)
    return release(&job)


def pool(plane, values, indices, plan, str dtype):
    """Write the largest value of each window, and its index unless `indices` is None."""
    cdef Job job
    read_plan(&job, plan)
    cdef Py_ssize_t planes = job.batch * job.channels
    cdef Buffer read = Buffer(plane, planes * job.cells, False)
    cdef Buffer written = Buffer(values, planes * job.windows, True)
    cdef Buffer found = None if indices is None else Buffer(indices, planes * job.windows, True)
    cdef bint narrow = found is not None and found.view.itemsize == 4
    cdef Kind kind
    cdef Py_ssize_t itemsize
    kind, itemsize = KINDS[dtype]
    check_sizes(written, read, found, itemsize)
    job.pooled, job.plane = written.view.buf, read.view.buf
    job.indices = NULL if found is None else found.view.buf
    with nogil:
        if narrow:
            pool_of(<int32_t *> NULL, kind, &job)
        else:
            pool_of(<int64_t *> NULL, kind, &job)


cdef int check_sizes(Buffer pooled, Buffer plane, Buffer indices, Py_ssize_t itemsize) except -1:
    if pooled.view.itemsize != itemsize or plane.view.itemsize != itemsize:
        raise TypeError(f"expected values of {itemsize} bytes")
    if indices is not None and indices.view.itemsize not in (4, 8):
        raise TypeError("expected int32 or int64 indices")
    return 0


def openmp():
    """The OpenMP version that this was built with, as its release date: 201511 is 4.5; 0 for a serial build."""
    return UNPOOL_OPENMP


def max_threads():
    """How many threads a large call would use now."""
    return 1 if forked else omp_get_max_threads()


def stay_serial():
    """Use one thread from now on: for the child of a fork."""
    global forked
    forked = True
