# What is wrong with the indices of a strip, if anything: outside the plane, or there before.

cdef inline Py_ssize_t first_bad(
    const index *indices, const Job *job, Py_ssize_t width, int thread
) noexcept nogil:
    """The offset of the strip's first index outside its plane, or its window where that counts; -1 for none."""
    cdef Py_ssize_t b, i, c, first = 0, bad
    cdef Block block
    if job.confined:
        for b in range(job.blocks):
            block = block_at(job, b)
            if not (job.dense and own_block(indices + block.first * job.step, job, &block, width)):
                bad = first_foreign(indices, job, &block, width)
                if bad >= 0:
                    return bad
            if b % BLOCKS == 0 and stopped(job, thread):
                break
        return -1
    while first < job.windows and not stopped(job, thread):
        for i in range(first, min(first + job.segment, job.windows)):
            for c in range(width):
                if <uint64_t> <int64_t> indices[i * job.step + c] >= <uint64_t> job.cells:
                    return i * job.step + c
        first += job.segment
    return -1


cdef inline bint first_visit(uint64_t *seen, Py_ssize_t bit) noexcept nogil:
    cdef uint64_t mask = (<uint64_t> 1) << (bit & 63)
    cdef bint new = not seen[bit >> 6] & mask
    seen[bit >> 6] |= mask
    return new


cdef inline void clear(uint64_t *seen, Py_ssize_t bits) noexcept nogil:
    memset(seen, 0, ((bits + 63) >> 6) * sizeof(uint64_t))


cdef Py_ssize_t first_repeated(
    const index *indices, const Job *job, Py_ssize_t width, Py_ssize_t low, Py_ssize_t end, uint64_t *seen, int thread
) noexcept nogil:
    """The offset of the strip's first index of a cell low..end-1 that stood there before in its own plane, or -1."""
    cdef Py_ssize_t i, c, at, found = -1
    cdef Py_ssize_t span, first
    cdef uint64_t cell
    while low < end:
        span = min(end - low, SEEN_BITS // width)
        clear(seen, span * width)
        first = 0
        while first < job.windows and not stopped(job, thread):
            for i in range(first, min(first + job.segment, job.windows)):
                for c in range(width):
                    at = i * job.step + c
                    cell = <uint64_t> <int64_t> indices[at] - <uint64_t> low
                    if cell < <uint64_t> span and not first_visit(seen, <Py_ssize_t> cell * width + c):
                        if found < 0 or at < found:
                            found = at
            first += job.segment
        low += span
    return found


cdef inline inlined own_rows(
    const index *indices, Py_ssize_t count, Py_ssize_t corner, uint32_t apart, const uint32_t *row, Py_ssize_t rows,
    uint32_t columns, bint *own
) noexcept nogil:
    # One unsigned comparison for two, and no branch: a mispredicted one costs more than all the rest.
    cdef Py_ssize_t i, r
    cdef uint32_t shift = 0, away
    cdef int64_t offset
    cdef uint64_t far = 0
    cdef int32_t inside, missing = 0
    for i in range(count):
        # 64 bits tell whether the rest may be done in 32.
        offset = <int64_t> (<uint64_t> <int64_t> indices[i] - <uint64_t> corner)
        far |= <uint64_t> offset >> 31
        away = <uint32_t> offset - shift
        shift += apart
        inside = 0
        for r in range(rows):
            inside |= away - row[r] < columns
        missing |= inside ^ 1
    own[0] = not (far or missing)


cdef cloned own_run(
    const index *indices, const Job *job, const Span *d, const Span *h, const Span *w, Py_ssize_t count, bint *own
) noexcept nogil:
    """Tell whether the indices of `count` windows of one row, or channels of one window, lie in their own window."""
    cdef uint32_t[MOST_ROWS] row
    cdef uint32_t apart = <uint32_t> (job.stride[2] if job.step == 1 else 0)
    cdef uint32_t columns = <uint32_t> (w.end - w.first)
    cdef Py_ssize_t corner = d.start * job.cell_apart[0] + h.start * job.cell_apart[1] + w.start
    cdef Py_ssize_t kd, kh, rows = 0
    for kd in range(d.first, d.end):
        for kh in range(h.first, h.end):
            row[rows] = <uint32_t> (kd * job.cell_apart[0] + kh * job.cell_apart[1] + w.first)
            rows += 1
    if w.end <= w.first:  # where there are gaps between windows, the last one may lie past the plane
        own[0] = False
    # A number of rows that the compiler knows lets it make one vector loop.
    elif rows == 1:
        own_rows(indices, count, corner, apart, row, 1, columns, own)
    elif rows == 2:
        own_rows(indices, count, corner, apart, row, 2, columns, own)
    elif rows == 3:
        own_rows(indices, count, corner, apart, row, 3, columns, own)
    elif rows == 4:
        own_rows(indices, count, corner, apart, row, 4, columns, own)
    else:
        own_rows(indices, count, corner, apart, row, rows, columns, own)


cdef bint own_row(
    const index *indices, const Job *job, Py_ssize_t depth, Py_ssize_t row, Py_ssize_t column, Py_ssize_t end,
    Py_ssize_t width
) noexcept nogil:
    """Whether the indices of some windows of a row are each in their own: then none is bad, and none repeated."""
    cdef Span d = clip(job, 0, depth), h = clip(job, 1, row), w
    cdef Py_ssize_t windows
    cdef bint own
    while column < end:
        w = clip(job, 2, column)
        windows = 1
        if job.step == 1 and w.end - w.first == job.kernel[2]:
            # All of these windows are whole, and one comparison serves them.
            windows = min(end - column, (job.cells_along[2] - w.start - job.kernel[2]) // job.stride[2] + 1)
        own_run(indices, job, &d, &h, &w, windows if job.step == 1 else width, &own)
        if not own:
            return False
        column += windows
        indices += windows * job.step
    return True


cdef inline bint own_block(const index *indices, const Job *job, const Block *block, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t row
    for row in range(block.row, block.end_row):
        if not own_row(indices, job, block.depth, row, block.column, block.end_column, width):
            return False
        indices += job.windows_along[2] * job.step
    return True


cdef inline bint reads(const Job *job, int axis, const Span *span, Py_ssize_t at) noexcept nogil:
    """Whether a window reads this coordinate of the plane along one axis."""
    cdef Py_ssize_t away = at - span.start
    return away >= 0 and away % job.dilation[axis] == 0 and away // job.dilation[axis] < job.kernel[axis]


cdef inline bint is_own(
    const Job *job, const Span *d, const Span *h, const Span *w, int64_t cell
) noexcept nogil:
    """Whether an index is a cell that its window reads; for any window, a division an axis."""
    if <uint64_t> cell >= <uint64_t> job.cells:
        return False
    return (
        reads(job, 0, d, cell // job.cell_apart[0])
        and reads(job, 1, h, cell % job.cell_apart[0] // job.cell_apart[1])
        and reads(job, 2, w, cell % job.cell_apart[1])
    )


cdef Py_ssize_t first_foreign(
    const index *indices, const Job *job, const Block *block, Py_ssize_t width
) noexcept nogil:
    """The offset in the strip of a block's first index that its own window does not read, or -1."""
    cdef Py_ssize_t row, column, c, at = block.first * job.step
    cdef Span d = clip(job, 0, block.depth), h, w
    for row in range(block.row, block.end_row):
        h = clip(job, 1, row)
        at = (block.first + (row - block.row) * job.windows_along[2]) * job.step
        for column in range(block.column, block.end_column):
            w = clip(job, 2, column)
            for c in range(width):
                if not is_own(job, &d, &h, &w, indices[at + c]):
                    return at + c
            at += job.step
    return -1
