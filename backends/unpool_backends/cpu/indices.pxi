# Indices: their format, and the search for bad and repeated ones.

# --- the format -------------------------------------------------------------------------------------------------------
#
# `indices[at]` is an index of window number `window` of its strip.  It is the flat position of a cell in its plane, or
# in one byte the number of a tap of its window.  Only this function, window.pxi, which reads whole rows of taps, and
# pooling's `to_indices` depend on the format.


cdef inline int64_t read_index(const Job *job, const index *indices, Py_ssize_t window, Py_ssize_t at) noexcept nogil:
    """Return the cell that an index names, which may lie outside of the plane."""
    if index is uint8_t:
        return cell_of(job, window, indices[at])
    else:
        return <int64_t> indices[at]


# --- bad and repeated indices -----------------------------------------------------------------------------------------


cdef inline Py_ssize_t first_bad(
    const index *indices, const Job *job, Py_ssize_t width, int thread
) noexcept nogil:
    """Return the offset of the strip's first index to report: outside its plane, or its window if `confined`; or -1."""
    cdef Py_ssize_t b, i, c, first = 0, bad
    cdef Block block
    if job.drops:
        return -1
    if job.confined:
        for b in range(job.blocks):
            block = block_at(job, b)
            if not (job.dense and own_block(indices, job, &block, width)):
                bad = first_foreign(indices, job, &block, width)
                if bad >= 0:
                    return bad
            if b % BLOCKS == 0 and stopped(job, thread):
                break
        return -1
    while first < job.windows and not stopped(job, thread):
        for i in range(first, min(first + job.segment, job.windows)):
            for c in range(width):
                if <uint64_t> read_index(job, indices, i, i * job.step + c) >= <uint64_t> job.cells:
                    return i * job.step + c
        first += job.segment
    return -1


cdef inline bint first_visit(uint64_t *seen, Py_ssize_t bit) noexcept nogil:
    """Set a bit; return True if it was clear."""
    cdef uint64_t mask = (<uint64_t> 1) << (bit & 63)
    cdef bint new = not seen[bit >> 6] & mask
    seen[bit >> 6] |= mask
    return new


cdef inline void clear(uint64_t *seen, Py_ssize_t bits) noexcept nogil:
    memset(seen, 0, ((bits + 63) >> 6) * sizeof(uint64_t))


cdef Py_ssize_t first_repeated(
    const index *indices, const Job *job, Py_ssize_t width, Py_ssize_t low, Py_ssize_t end, uint64_t *seen, int thread
) noexcept nogil:
    """Return the offset of the strip's first index that repeats a cell of low..end-1 in its own plane; -1 for none."""
    cdef Py_ssize_t i, c, at, found = -1
    cdef Py_ssize_t cells, first
    cdef uint64_t cell
    while low < end:
        cells = min(end - low, SEEN_BITS // width)
        clear(seen, cells * width)
        first = 0
        while first < job.windows and not stopped(job, thread):
            for i in range(first, min(first + job.segment, job.windows)):
                for c in range(width):
                    at = i * job.step + c
                    cell = <uint64_t> read_index(job, indices, i, at) - <uint64_t> low
                    if cell < <uint64_t> cells and not first_visit(seen, <Py_ssize_t> cell * width + c):
                        if found < 0 or at < found:
                            found = at
            first += job.segment
        low += cells
    return found


# --- indices in their own windows -------------------------------------------------------------------------------------


cdef inline inlined own_rows(
    const index *indices, const Job *job, Py_ssize_t window, Py_ssize_t count, Py_ssize_t corner, uint32_t apart,
    const uint32_t *row, Py_ssize_t rows, uint32_t columns, bint *own
) noexcept nogil:
    # One unsigned comparison tests both ends of a row.  There is no branch: mispredicting one costs more than the rest.
    cdef Py_ssize_t i, r
    cdef uint32_t shift = 0, away
    cdef int64_t offset
    cdef uint64_t far = 0
    cdef int32_t inside, missing = 0
    indices += window * job.step
    for i in range(count):
        # `far` collects the bits from 31 on: if they are all zero, the 32-bit arithmetic below is exact.
        offset = <int64_t> (<uint64_t> read_index(job, indices, window + (i if apart else 0), i) - <uint64_t> corner)
        far |= <uint64_t> offset >> 31
        away = <uint32_t> offset - shift
        shift += apart
        inside = 0
        for r in range(rows):
            inside |= away - row[r] < columns
        missing |= inside ^ 1
    own[0] = not (far or missing)


cdef cloned own_run(
    const index *indices, const Job *job, const Span *d, const Span *h, const Span *w, Py_ssize_t window,
    Py_ssize_t count, bint *own
) noexcept nogil:
    """Set `own` to True if indices lie in their own windows: of `count` windows of a row, or channels of a window."""
    cdef uint32_t[MOST_ROWS] row
    cdef uint32_t apart = <uint32_t> (job.stride[2] if job.step == 1 else 0)
    cdef uint32_t columns = <uint32_t> (w.end - w.first)
    cdef Py_ssize_t corner = corner_of(job, d, h, w)
    cdef Py_ssize_t kd, kh, rows = 0
    for kd in range(d.first, d.end):
        for kh in range(h.first, h.end):
            row[rows] = <uint32_t> tap_offset(job, kd, kh, w.first)
            rows += 1
    if w.end <= w.first:  # with gaps between windows, the last one may lie past the plane
        own[0] = False
    # A constant number of rows lets the compiler make one vector loop.
    elif rows == 1:
        own_rows(indices, job, window, count, corner, apart, row, 1, columns, own)
    elif rows == 2:
        own_rows(indices, job, window, count, corner, apart, row, 2, columns, own)
    elif rows == 3:
        own_rows(indices, job, window, count, corner, apart, row, 3, columns, own)
    elif rows == 4:
        own_rows(indices, job, window, count, corner, apart, row, 4, columns, own)
    else:
        own_rows(indices, job, window, count, corner, apart, row, rows, columns, own)


cdef bint own_row(
    const index *indices, const Job *job, const Block *block, const Span *d, Py_ssize_t row, Py_ssize_t width
) noexcept nogil:
    """Return True if all indices of a block's row lie in their own windows: then none is bad, and none repeated."""
    cdef Span h = span(job, 1, row), w
    cdef Py_ssize_t window = block.first + (row - block.row) * job.windows_along[2]
    cdef Py_ssize_t column = block.column, windows
    cdef bint own
    while column < block.end_column:
        w = span(job, 2, column)
        windows = 1
        if job.step == 1 and w.end - w.first == job.kernel[2]:
            # All of these windows are whole, so that one call compares them.
            windows = min(block.end_column - column, whole_windows(job, &w))
        own_run(indices, job, d, &h, &w, window, windows if job.step == 1 else width, &own)
        if not own:
            return False
        column += windows
        window += windows
    return True


cdef inline bint own_block(const index *indices, const Job *job, const Block *block, Py_ssize_t width) noexcept nogil:
    """Return True if all indices of a block of a strip lie in their own windows; for dense windows only."""
    cdef Span d = span(job, 0, block.depth)
    cdef Py_ssize_t row
    for row in range(block.row, block.end_row):
        if not own_row(indices, job, block, &d, row, width):
            return False
    return True


cdef inline bint is_own(
    const Job *job, const Span *d, const Span *h, const Span *w, int64_t cell
) noexcept nogil:
    """Return True if a window has a tap at a cell; for any window, at the cost of one division per axis."""
    if <uint64_t> cell >= <uint64_t> job.cells:
        return False
    return (
        has_tap(job, 0, d, cell // job.cell_apart[0])
        and has_tap(job, 1, h, cell % job.cell_apart[0] // job.cell_apart[1])
        and has_tap(job, 2, w, cell % job.cell_apart[1])
    )


cdef Py_ssize_t first_foreign(
    const index *indices, const Job *job, const Block *block, Py_ssize_t width
) noexcept nogil:
    """Return the offset in the strip of a block's first index outside of its own window; -1 for none."""
    cdef Py_ssize_t row, column, c, window
    cdef Span d = span(job, 0, block.depth), h, w
    for row in range(block.row, block.end_row):
        h = span(job, 1, row)
        window = block.first + (row - block.row) * job.windows_along[2]
        for column in range(block.column, block.end_column):
            w = span(job, 2, column)
            for c in range(width):
                if not is_own(job, &d, &h, &w, read_index(job, indices, window, window * job.step + c)):
                    return window * job.step + c
            window += 1
    return -1
