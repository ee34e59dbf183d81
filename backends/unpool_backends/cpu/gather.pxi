# Gather, the gradient of unpooling: the value at each index, or zero if a later index names the same cell.

cdef inline Py_ssize_t take(
    word *values, const index *indices, const word *plane, const Job *job, const Block *block, Py_ssize_t width
) noexcept nogil:
    """Take the value at each index of a block; return the offset in the block of the first bad index, or -1."""
    cdef Py_ssize_t i, c, at, first = block.first, count = block.count, left = job.windows - first
    cdef int64_t cell
    # A local stays in a register: one more load per index costs 10 % in a loop that waits for memory.
    cdef uint64_t ahead, cells = job.cells
    values += first * job.step
    indices += first * job.step
    if job.step == 1:
        for i in range(count):
            # The address is an integer, because an unchecked index must not form a pointer.  Prefetching any address is
            # harmless.
            at = min(i + AHEAD, left - 1)
            ahead = <uint64_t> read_index(job, indices, first + at, at)
            prefetch(<size_t> plane + <size_t> ahead * sizeof(word))
            cell = read_index(job, indices, first + i, i)
            if <uint64_t> cell >= cells:
                return i
            values[i] = plane[cell]
        return -1
    for i in range(count):
        for c in range(width):
            at = i * job.step + c
            cell = read_index(job, indices, first + i, at)
            if <uint64_t> cell >= cells:
                return at
            values[at] = plane[cell * job.step + c]
    return -1


cdef void take_kept(
    word *values, const index *indices, const word *plane, const Job *job, const Block *block, Py_ssize_t width
) noexcept nogil:
    """Take the value at each index of a block, and zero for bad ones.  One more branch in `take` costs 8 %."""
    cdef Py_ssize_t i, c, at
    cdef uint64_t cell
    for i in range(block.first, block.first + block.count):
        for c in range(width):
            at = i * job.step + c
            cell = <uint64_t> read_index(job, indices, i, at)
            if cell < <uint64_t> job.cells:
                values[at] = plane[<Py_ssize_t> cell * job.step + c]
            else:
                memset(&values[at], 0, sizeof(word))


cdef void gather_part(word *kind, index *index_kind, const Job *job, Py_ssize_t nth, int thread) noexcept nogil:
    cdef Strip strip = strip_at(job, quotient(nth, job.parts))
    cdef word *values = <word *> job.pooled + strip.pooled
    cdef const index *indices = <const index *> job.indices + strip.pooled
    cdef const word *plane = <const word *> job.plane + strip.plane
    cdef Py_ssize_t part = nth % job.parts, b, bad
    cdef Block block
    for b in range(part * job.blocks // job.parts, (part + 1) * job.blocks // job.parts):
        block = block_at(job, b)
        if job.compared and not (job.dense and own_block(indices, job, &block, strip.width)):
            if job.duplicates == SUM:
                bad = first_foreign(indices, job, &block, strip.width)
                if bad >= 0:
                    report(job, &strip, thread, bad, -1)
                    return
            else:
                if job.parts == 1:
                    gather_range(kind, index_kind, job, nth, thread)
                else:
                    job.strayed[nth] = True
                return
        bad = take(values, indices, plane, job, &block, strip.width)
        if bad >= 0 and job.drops:
            take_kept(values, indices, plane, job, &block, strip.width)
        elif bad >= 0:
            report(job, &strip, thread, block.first * job.step + bad, -1)
            return


cdef outlined take_winners(
    word *values, const index *indices, const word *plane, const Job *job, Py_ssize_t first, Py_ssize_t last,
    Py_ssize_t width, Py_ssize_t low, Py_ssize_t cells, uint64_t *seen
) noexcept nogil:
    """Take the value at each index of low..low+cells-1 that no later index repeats; zero for the others."""
    cdef Py_ssize_t i, c, at
    cdef uint64_t cell
    cdef word nothing
    cdef const word *source
    memset(&nothing, 0, sizeof(word))
    for i in range(last - 1, first - 1, -1):
        for c in range(width):
            at = i * job.step + c
            # Indices were checked, but another thread of the program may have written them since: check again.
            cell = <uint64_t> read_index(job, indices, i, at) - <uint64_t> low
            if cell < <uint64_t> cells:
                # Select an address instead of branching, because repeated indices are unpredictable.
                source = &plane[(<Py_ssize_t> cell + low) * job.step + c]
                if not first_visit(seen, <Py_ssize_t> cell * width + c):
                    source = &nothing
                values[at] = source[0]


cdef void clear_dropped(
    word *values, const index *indices, const Job *job, Py_ssize_t width, int thread
) noexcept nogil:
    """Set the values of bad indices to zero; no range of cells has them."""
    cdef Py_ssize_t i, c, first = 0
    cdef word nothing
    memset(&nothing, 0, sizeof(word))
    while first < job.windows and not stopped(job, thread):
        for i in range(first, min(first + job.segment, job.windows)):
            for c in range(width):
                if <uint64_t> read_index(job, indices, i, i * job.step + c) >= <uint64_t> job.cells:
                    values[i * job.step + c] = nothing
        first += job.segment


cdef void gather_range(word *kind, index *index_kind, const Job *job, Py_ssize_t nth, int thread) noexcept nogil:
    """Take the values from a range of a strip's cells, which is cut and checked as in `scatter_range`."""
    cdef Strip strip = strip_at(job, quotient(nth, job.ranges))
    cdef word *values = <word *> job.pooled + strip.pooled
    cdef const index *indices = <const index *> job.indices + strip.pooled
    cdef const word *plane = <const word *> job.plane + strip.plane
    cdef Py_ssize_t low = quotient(rest(nth, job.ranges) * job.cells, job.ranges)
    cdef Py_ssize_t end = quotient((rest(nth, job.ranges) + 1) * job.cells, job.ranges)
    cdef uint64_t *seen = seen_of(job, thread)
    cdef Py_ssize_t bad = first_bad(indices, job, strip.width, thread), repeated = -1, cells, last
    if bad < 0 and job.duplicates == ERROR:
        repeated = first_repeated(indices, job, strip.width, low, end, seen, thread)
    if job.drops and low == 0:
        clear_dropped(values, indices, job, strip.width, thread)
    while bad < 0 and repeated < 0 and low < end and not stopped(job, thread):
        cells = min(end - low, SEEN_BITS // strip.width)
        clear(seen, cells * strip.width)
        last = job.windows
        while last > 0 and not stopped(job, thread):
            take_winners(
                values, indices, plane, job, max(0, last - job.segment), last, strip.width, low, cells, seen
            )
            last -= job.segment
        low += cells
    report(job, &strip, thread, bad, repeated)


cdef outlined gather_chunk(word *kind, index *index_kind, const Job *job, const Chunk *chunk) noexcept nogil:
    """Run tasks: parts of strips by blocks, or ranges of the remaining strips by cells."""
    cdef Py_ssize_t nth
    cdef bint by_cells = job.share.by_cells
    cdef Rows rows  # for taps only
    if index is uint8_t:
        tabulate(job, &rows)
    for nth in range(chunk.first, chunk.end):
        if not by_cells:
            if index is uint8_t:
                gather_rows(kind, job, nth, chunk.thread, &rows)
            else:
                gather_part(kind, index_kind, job, nth, chunk.thread)
        elif any_strayed(job, nth // job.ranges, nth // job.ranges + 1):
            gather_range(kind, index_kind, job, nth, chunk.thread)
