# Scatter and gather: values are moved as words of their size, and only "sum" knows arithmetic.

cdef inline void zero(
    char *strip, const Job *job, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t itemsize
) noexcept nogil:
    cdef Py_ssize_t row
    if width == job.step:
        memset(strip, 0, rows * width * itemsize)
    else:
        for row in range(rows):
            memset(strip + row * job.step * itemsize, 0, width * itemsize)


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
    cdef uint64_t ahead
    if width == 1 and job.step == 1:
        for i in range(job.windows):
            # As a number: an index that was not checked yet must make no pointer, and asking for it does no harm.
            ahead = <uint64_t> <int64_t> indices[min(i + AHEAD, job.windows - 1)]
            unpool_prefetch(<size_t> plane + <size_t> ahead * sizeof(word))
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
    """Take the value at each index that no later one repeats; the others are zero."""
    cdef Py_ssize_t i, c, at, low = 0
    cdef Py_ssize_t span = min(job.cells, SEEN_BITS // width)
    cdef uint64_t cell, here
    zero(<char *> values, job, job.windows, width, sizeof(word))
    while low < job.cells:
        clear(seen, span * width)
        # Indices were checked, but may have changed since in another thread's hands; so they are once more.
        here = min(span, job.cells - low)
        for i in range(job.windows - 1, -1, -1):
            for c in range(width):
                at = i * job.step + c
                cell = <uint64_t> <int64_t> indices[at] - <uint64_t> low
                if cell < here and first_visit(seen, <Py_ssize_t> cell * width + c):
                    values[at] = plane[(<Py_ssize_t> cell + low) * job.step + c]
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
            zero(<char *> plane, job, job.cells, strip.width, sizeof(word))
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
            if repeated < 0:
                take_winners(values, indices, plane, job, strip.width, seen)
    report(job, &strip, thread, bad, repeated)


cdef void scatter_all(word *kind, index *index_kind, const Job *job) noexcept nogil:
    cdef Py_ssize_t nth
    if job.threads == 1:
        for nth in range(job.strips):
            scatter_strip(kind, index_kind, job, nth, 0)
        return
    for nth in prange(job.strips, num_threads=job.threads, schedule="dynamic", chunksize=job.chunk):
        scatter_strip(kind, index_kind, job, nth, threadid())


cdef void gather_all(word *kind, index *index_kind, const Job *job) noexcept nogil:
    cdef Py_ssize_t nth
    if job.threads == 1:
        for nth in range(job.strips):
            gather_strip(kind, index_kind, job, nth, 0)
        return
    for nth in prange(job.strips, num_threads=job.threads, schedule="dynamic", chunksize=job.chunk):
        gather_strip(kind, index_kind, job, nth, threadid())


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
        zero(<char *> plane, job, job.cells, strip.width, sizeof(number))
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
    if job.threads == 1:
        for nth in range(job.strips):
            sum_strip(kind, index_kind, job, nth, 0)
        return
    for nth in prange(job.strips, num_threads=job.threads, schedule="dynamic", chunksize=job.chunk):
        sum_strip(kind, index_kind, job, nth, threadid())
