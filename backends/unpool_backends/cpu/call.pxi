# A call of the C interface, unpool.h: its rules, how it becomes a Job, and how it runs without Python.
#
# The Python functions make their Jobs here, too.  Nothing here may need the GIL: XLA calls from threads of its own, and
# a thread that holds the GIL may be waiting for them.

cdef extern from "pages.h" nogil:
    void use_large_pages "unpool_use_large_pages"(void *, size_t) noexcept


cdef void settle(Job *job, const Call *call) noexcept nogil:
    """Set the part of a Job that does not depend on arrays."""
    cdef int axis
    memset(job, 0, sizeof(Job))
    job.operation = <Operation> call.operation
    job.duplicates = <int> call.duplicates
    job.confined = call.check == IN_WINDOW
    job.drops = call.check == DROP
    job.channels = call.channels
    job.windows = job.cells = 1
    for axis in range(3):
        job.kernel[axis], job.stride[axis] = call.kernel[axis], call.stride[axis]
        job.padding[axis], job.dilation[axis] = call.padding[axis], call.dilation[axis]
        job.windows_along[axis], job.cells_along[axis] = call.pooled[axis], call.plane[axis]
        job.windows *= call.pooled[axis]
        job.cells *= call.plane[axis]
    job.apart = True
    job.dense = job.cells <= INT32_MAX
    for axis in range(3):
        job.apart &= (job.kernel[axis] - 1) * job.dilation[axis] < job.stride[axis]
        job.dense &= job.dilation[axis] == 1 or job.kernel[axis] == 1
    job.dense &= job.kernel[0] <= MOST_ROWS and job.kernel[1] <= MOST_ROWS // job.kernel[0]
    job.cell_apart[0] = job.cells_along[1] * job.cells_along[2]
    job.cell_apart[1] = job.cells_along[2]
    job.cell_apart[2] = 1
    job.step = job.channels if call.channels_last else 1
    job.width = min(job.step, TILE)
    job.strips_each = (job.channels + job.width - 1) // job.width


cdef void take_arrays(Job *job, const Arrays *arrays) noexcept nogil:
    job.batch = arrays.batch
    job.strips = job.batch * job.strips_each
    job.kind = <Kind> arrays.kind
    job.itemsize = itemsize_of(job.kind)
    job.index_bytes = arrays.index_bytes
    job.by_taps = job.index_bytes == 1
    job.confined &= not job.by_taps  # a tap cannot leave its window
    job.pooled, job.indices, job.plane = arrays.pooled, arrays.indices, arrays.plane


cdef Status prepare(Job *job) noexcept nogil:
    """Choose how to work, cut the work into tasks, and allocate scratch memory, which `finish` frees."""
    if job.operation == POOL:
        job.in_blocks = True
        cut_by_taps(job)
        return borrow(job, False)
    if job.by_taps:
        return prepare_taps(job)
    if job.operation == SCATTER:
        job.compared = job.duplicates == ERROR or job.confined
        job.in_blocks = job.apart and (job.dense or not job.compared)
        cut_by_cells(job)
        job.streamed &= not job.zeroed and STREAMS and job.in_blocks and fits_stage(job)
        return borrow(job, job.duplicates == ERROR)
    job.compared = job.duplicates != SUM or job.confined
    job.in_blocks = job.duplicates == SUM or (job.apart and job.dense)
    cut(job, TAKEN // (job.windows_along[2] * job.width), TAKEN // job.width, 1)
    return borrow(job, job.duplicates != SUM)


cdef Status prepare_taps(Job *job) noexcept nogil:
    """Do as `prepare` where indices are taps, which cannot leave their windows: only overlapping ones share cells."""
    if job.apart and job.duplicates == ERROR:
        job.duplicates = LAST
    if job.operation == SCATTER:
        job.in_blocks = job.apart
        if job.apart:
            cut_by_cells(job)
        else:
            cut_by_windows(job)
        job.selects = job.in_blocks and selects_cells(job)
        job.decodes = not job.selects and can_decode(job)
        job.streamed &= not job.zeroed and STREAMS and job.in_blocks and fits_stage(job)
        job.streamed &= job.cells_along[0] == 1 and job.pieces == 1  # then a block's cells follow each other
        return borrow(job, job.duplicates == ERROR)
    if job.apart:
        job.duplicates = SUM  # no value is lost
    job.in_blocks = job.duplicates != ERROR
    cut_by_windows(job)
    job.maps = job.duplicates == LAST and can_map(job)
    job.strikes = job.duplicates == LAST and not job.maps and strikes_fit(job)
    job.decodes = job.maps or not job.strikes and can_decode(job)
    job.selects = not job.decodes and selects_values(job)
    if job.maps:
        job.stage_bytes = round_up(job.cells * sizeof(uint16_t))
    elif job.strikes:
        job.stage_bytes = round_up(sizeof(Later))
    elif job.duplicates == LAST:
        job.in_blocks = False
        cut_by_windows(job)
    return borrow(job, job.duplicates != SUM)


cdef Status borrow(Job *job, bint seen) noexcept nogil:
    """Allocate the scratch memory of a call, less than a megabyte a thread; `release` frees it."""
    cdef int thread
    cdef Py_ssize_t found = job.threads * sizeof(Found) if job.threads > 1 else 0
    cdef Py_ssize_t seen_bytes = 0, strayed = 0, stage
    job.seen_words = (min(SEEN_BITS, job.cells * job.width) + 63) // 64
    if seen:
        seen_bytes = job.threads * job.seen_words * sizeof(uint64_t)
    if job.parts > 1 and job.operation != POOL:
        strayed = job.strips * job.parts
    if job.streamed:
        job.stage_bytes = STAGE
    stage = job.threads * job.stage_bytes
    job.scratch = found + seen_bytes + strayed + stage
    job.found = <Found *> malloc(found) if found else &job.alone
    job.seen = <uint64_t *> malloc(seen_bytes) if seen_bytes else NULL
    job.strayed = <uint8_t *> calloc(strayed, 1) if strayed else NULL
    job.stage = <char *> malloc(stage) if stage else NULL
    if (
        job.found == NULL or seen_bytes and job.seen == NULL or strayed and job.strayed == NULL
        or stage and job.stage == NULL
    ):
        release(job)
        return NO_MEMORY
    for thread in range(job.threads):
        job.found[thread].bad = job.found[thread].repeated = INT64_MAX
    return DONE


cdef void release(Job *job) noexcept nogil:
    if job.found != &job.alone:
        free(job.found)
    free(job.seen)
    free(job.strayed)
    free(job.stage)


cdef Positions finish(Job *job) noexcept nogil:
    """Free the scratch memory; return the first bad and the first repeated position that any thread found, or -1."""
    cdef int64_t bad = INT64_MAX, repeated = INT64_MAX
    cdef int thread
    for thread in range(job.threads):
        bad = min(bad, job.found[thread].bad)
        repeated = min(repeated, job.found[thread].repeated)
    release(job)
    return Positions(-1 if bad == INT64_MAX else bad, -1 if repeated == INT64_MAX else repeated)


# --- the function of unpool.h ---------------------------------------------------------------------------------------


cdef bint is_refused(const Call *call, const Arrays *arrays) noexcept nogil:
    """Return True if a call breaks a rule of unpool.h.  Doubles cannot overflow, and are exact enough here."""
    cdef double windows = 1, cells = 1, farthest = 0, apart = 1, reach
    cdef int64_t last
    cdef int axis
    # Enumerations are unsigned in Cython, so that a comparison with one would turn -1 into a large number.
    if not (0 <= call.operation <= <int64_t> POOL and 0 <= call.duplicates <= <int64_t> ERROR):
        return True
    if not 0 <= call.check <= <int64_t> IN_WINDOW:
        return True
    if not 0 <= arrays.kind <= <int64_t> (FLOAT64 if call.operation == POOL else COMPLEX128):
        return True
    if call.channels < 1 or arrays.batch < 0 or not has_width(arrays):
        return True
    if arrays.batch and (
        arrays.pooled == NULL or arrays.plane == NULL or arrays.indices == NULL and call.operation != POOL
    ):
        return True
    for axis in range(2, -1, -1):
        if min(call.kernel[axis], call.stride[axis], call.dilation[axis], call.pooled[axis], call.plane[axis]) < 1:
            return True
        if max(call.kernel[axis], call.stride[axis], call.dilation[axis]) > INT32_MAX:
            return True
        reach = <double> (call.kernel[axis] - 1) * call.dilation[axis]
        if not 0 <= call.padding[axis] <= reach or <double> call.pooled[axis] * call.stride[axis] > MOST_WORK:
            return True
        last = (call.pooled[axis] - 1) * call.stride[axis] - call.padding[axis]
        if call.operation == POOL and (last >= call.plane[axis] or steps_over(call, axis)):
            return True
        windows *= call.pooled[axis]
        cells *= call.plane[axis]
        farthest += reach * apart
        apart *= call.plane[axis]
    if arrays.index_bytes == 1 and <double> call.kernel[0] * call.kernel[1] * call.kernel[2] > BYTE_TAPS:
        return True
    if call.operation == POOL and (farthest > INT32_MAX or arrays.index_bytes == 4 and cells - 1 > INT32_MAX):
        return True
    return max(windows, cells) * call.channels * max(1, arrays.batch) > MOST_WORK


cdef bint has_width(const Arrays *arrays) noexcept nogil:
    return arrays.index_bytes == 1 or arrays.index_bytes == 4 or arrays.index_bytes == 8


cdef bint steps_over(const Call *call, int axis) noexcept nogil:
    """Return True if a window that starts in the padding has no tap in the plane."""
    cdef int64_t start = -call.padding[axis], dilation = call.dilation[axis], window = 0
    while dilation > call.plane[axis] and window < call.pooled[axis] and start < 0:
        if (dilation - -start % dilation) % dilation >= call.plane[axis]:
            return True
        window += 1
        start += call.stride[axis]
    return False


cdef int run_call "unpool_run_call"(const Call *call, const Arrays *arrays, Positions *found) noexcept nogil:
    """Compute, as unpool.h says; return a Status."""
    cdef Job job
    cdef Share share
    cdef Py_ssize_t planes, items
    found.bad = found.repeated = -1
    if is_refused(call, arrays):
        return REFUSED
    if arrays.batch == 0:
        return DONE
    settle(&job, call)
    take_arrays(&job, arrays)
    if prepare(&job) != DONE:
        return NO_MEMORY
    if call.fresh:
        planes = job.batch * job.channels
        if job.operation == SCATTER:
            use_large_pages(job.plane, planes * job.cells * job.itemsize)
        else:
            items = planes * job.windows
            use_large_pages(job.pooled, items * job.itemsize)
            if job.operation == POOL and job.indices != NULL:
                use_large_pages(job.indices, items * arrays.index_bytes)
    share_out(&job, &share)
    run(&job)
    found[0] = finish(&job)
    return FOUND if max(found.bad, found.repeated) >= 0 else DONE


cdef int64_t first_of "unpool_first_of"(const Call *call, const Arrays *arrays, int64_t at) noexcept nogil:
    """Return the flat position of the first index of the same plane that names the same cell as the one at `at`."""
    cdef Job job
    cdef Py_ssize_t window, plane, start
    settle(&job, call)
    take_arrays(&job, arrays)
    plane = job.windows * job.step
    start = at // plane * plane + at % job.step
    for window in range(at % plane // job.step):
        if index_at(&job, start, window) == index_at(&job, start, at % plane // job.step):
            return start + window * job.step
    return at


cdef int64_t index_at(const Job *job, Py_ssize_t start, Py_ssize_t window) noexcept nogil:
    """Return the cell that a window's index names; those of its plane start at `start`."""
    cdef Py_ssize_t at = start + window * job.step
    if job.index_bytes == 1:
        return read_index(job, <const uint8_t *> job.indices, window, at)
    if job.index_bytes == 4:
        return read_index(job, <const int32_t *> job.indices, window, at)
    return read_index(job, <const int64_t *> job.indices, window, at)


# --- the capsules ---------------------------------------------------------------------------------------------------

cdef extern from "xla.h":
    void *xla_handler "unpool_xla_handler"

# XLA's name for capsules of handlers.
unpool_run_1 = PyCapsule_New(<void *> &run_call, "unpool_backends.cpu._kernels.unpool_run_1", NULL)
xla_unpool_1 = PyCapsule_New(<void *> &xla_handler, "xla._CUSTOM_CALL_TARGET", NULL)
