# How taps are decoded, for many windows at once, where windows have at most 32 taps: each becomes a cell.
#
# A *run* is the windows that are decoded at once: some rows of a block, or a piece of one row.  A tap becomes a cell by
# arithmetic in a vector loop (see taps.h).  The same loop finds bad taps: each window has a mask of the taps that lie
# inside the plane.  With kernel 3 and padding 1, that of the window in the first corner is
#
#     taps   0 1 2      inside   - - -      mask   0b110110000
#            3 4 5               - 4 5
#            6 7 8               - 7 8
#
# Taps are copied first.  Another thread of the program may write the array meanwhile, and the compiled loop loads a tap
# more than once: a bad one could pass for the good one that was tested.

cdef extern from "taps.h" nogil:
    const Py_ssize_t DECODED "UNPOOL_DECODED"
    const Py_ssize_t RECIPROCAL "UNPOOL_RECIPROCAL"
    ctypedef struct Steps "unpool_steps":
        uint32_t per_row
        uint32_t per_depth
        uint32_t column
        uint32_t row
        uint32_t depth
    void decode_taps "unpool_decode_taps"(
        const uint8_t *, const uint32_t *, const uint32_t *, uint32_t, uint32_t, const Steps *, Py_ssize_t, uint32_t *,
        uint32_t *
    ) noexcept


cdef struct Decoder:
    # The most rows of a run.  `flat` is True if a run has all rows of a depth.  Otherwise it has rows of low..high-1,
    # whose windows lie inside the plane, or one row at an edge.
    Py_ssize_t rows
    bint flat
    Py_ssize_t low
    Py_ssize_t high
    # How many rows of windows ahead cells are prefetched.
    Py_ssize_t ahead
    Steps steps
    # For each window of a run: the distance from the first window's corner, and the mask of the taps inside the plane.
    # Masks leave the first axis out, and the second one unless `flat`.
    uint32_t[TILE] starts
    uint32_t[TILE] masks
    # Of the run that was decoded last: a copy of the taps, and their cells.
    uint8_t[TILE] taps
    uint32_t[TILE] cells


cdef inline bint can_decode(const Job *job) noexcept nogil:
    """Return True if taps are few, and rows and planes not too long."""
    return job.step == 1 and taps_of(job) <= DECODED and job.windows_along[2] <= TILE and job.cells <= INT32_MAX


cdef inline bint is_flat(const Job *job) noexcept nogil:
    """Return True if a run has all rows of a depth."""
    return job.row_blocks == 1 and job.pieces == 1 and job.windows_along[1] <= TILE // job.windows_along[2]


cdef inline uint32_t all_taps(const Job *job) noexcept nogil:
    return <uint32_t> (((<uint64_t> 1) << taps_of(job)) - 1)


cdef inline uint32_t taps_inside(const Job *job, int axis, Py_ssize_t window) noexcept nogil:
    """Return the mask of a window's taps that lie inside the plane along one axis."""
    cdef Span along = span(job, axis, window)
    if along.first == 0 and along.end == job.kernel[axis]:
        return all_taps(job)
    return taps_in_span(job, axis, &along) if along.first < along.end else 0


cdef uint32_t taps_in_span(const Job *job, int axis, const Span *along) noexcept nogil:
    cdef Py_ssize_t apart = 1, tap = 0
    cdef uint64_t taps
    cdef uint32_t mask = 0
    cdef int inner
    for inner in range(axis + 1, 3):
        apart *= job.kernel[inner]
    taps = ((<uint64_t> 1) << along.end * apart) - ((<uint64_t> 1) << along.first * apart)
    while tap < taps_of(job):
        mask |= <uint32_t> (taps << tap)
        tap += job.kernel[axis] * apart
    return mask


cdef void plan_decoder(const Job *job, Decoder *decoder) noexcept nogil:
    """Fill in what all runs share."""
    cdef Py_ssize_t column = tap_offset(job, 0, 0, 1), row = tap_offset(job, 0, 1, 0)
    cdef Py_ssize_t depth = tap_offset(job, 1, 0, 0), columns = job.windows_along[2], at
    cdef Py_ssize_t low, high
    cdef uint32_t mask = all_taps(job), start
    decoder.flat = is_flat(job)
    decoder.rows = max(1, min(job.rows, TILE // columns)) if job.pieces == 1 else 1
    whole_along(job, 1, &decoder.low, &decoder.high)
    decoder.ahead = max(1, BLOCK // (reach(job, 1) * job.cells_along[2] * job.itemsize))
    decoder.steps.per_row = <uint32_t> (RECIPROCAL // job.kernel[2] + 1)
    decoder.steps.per_depth = <uint32_t> (RECIPROCAL // (job.kernel[1] * job.kernel[2]) + 1)
    decoder.steps.column = <uint32_t> column
    decoder.steps.row = <uint32_t> (row - job.kernel[2] * column)
    decoder.steps.depth = <uint32_t> (depth - job.kernel[1] * row) if job.kernel[0] > 1 else 0
    whole_along(job, 2, &low, &high)
    for column in range(columns):
        decoder.starts[column] = <uint32_t> (column * job.stride[2])
        decoder.masks[column] = mask if low <= column < high else taps_inside(job, 2, column)
    for row in range(decoder.rows - 1, -1, -1):
        at, start = row * columns, <uint32_t> (row * job.stride[1] * job.cell_apart[1])
        if decoder.flat:
            mask = taps_inside(job, 1, row)
        for column in range(columns):
            decoder.starts[at + column] = start + decoder.starts[column]
            decoder.masks[at + column] = mask & decoder.masks[column]


cdef inline Py_ssize_t decode_run(
    const uint8_t *taps, const Job *job, const Block *block, Py_ssize_t row, Py_ssize_t first_cell, Decoder *decoder
) noexcept nogil:
    """Find the cells of the run that begins with a row of a block, less `first_cell`.

    Return how many rows it has; 0 if a tap does not exist or lies outside the plane.
    """
    cdef Py_ssize_t columns = block.end_column - block.column, count = min(decoder.rows, block.end_row - row)
    cdef uint32_t corner = <uint32_t> (corner_at(job, block.depth, row, 0) - first_cell)
    cdef uint32_t mask = taps_inside(job, 0, block.depth), good
    if not decoder.flat:
        if decoder.low <= row < decoder.high:
            count = min(count, decoder.high - row)
        else:
            count = 1
            mask &= taps_inside(job, 1, row)
    memcpy(decoder.taps, taps, count * columns)
    fetch(taps + count * columns, count * columns)
    decode_taps(
        decoder.taps, decoder.starts + block.column, decoder.masks + block.column, corner, mask, &decoder.steps,
        count * columns, decoder.cells, &good
    )
    return count if good else 0


cdef inline Py_ssize_t put_decoded(
    const item *values, const uint8_t *taps, item *to, const Job *job, const Block *block, Py_ssize_t first_cell,
    Decoder *decoder
) noexcept nogil:
    """Put the values of a block at their taps in `to`, which begins with `first_cell` of the plane.

    Return how many windows come before the first run with a bad tap.
    """
    cdef Py_ssize_t columns = block.end_column - block.column, row = block.row, done = 0, rows, i
    while row < block.end_row:
        rows = decode_run(taps + done, job, block, row, first_cell, decoder)
        if rows == 0:
            break
        fetch(values + done + rows * columns, rows * columns * sizeof(item))
        for i in range(rows * columns):
            place(&to[decoder.cells[i]], values[done + i])
        row += rows
        done += rows * columns
    return done


cdef inline bint take_decoded(
    word *values, const uint8_t *taps, const word *plane, const Job *job, const Block *block, Decoder *decoder
) noexcept nogil:
    """Take the value at each tap of a block; return False at a bad one."""
    cdef Py_ssize_t columns = block.end_column - block.column, row = block.row, rows, end, i
    cdef const uint32_t *cells
    while row < block.end_row:
        rows = decode_run(taps, job, block, row, 0, decoder)
        if rows == 0:
            return False
        cells = decoder.cells
        taps += rows * columns
        end = row + rows
        while row < end:
            if not decoder.flat:
                fetch_row(plane + corner_at(job, block.depth, row + decoder.ahead, block.column), job, columns)
            for i in range(columns):
                values[i] = plane[cells[i]]
            values += columns
            cells += columns
            row += 1
    return True


cdef inline bint can_map(const Job *job) noexcept nogil:
    """Return True if a strip is one run, and its cells few enough for a map from each to its last window."""
    return can_decode(job) and is_flat(job) and job.blocks == 1 and job.cells <= MAPPED


cdef bint take_mapped(
    word *values, const uint8_t *taps, const word *plane, const Job *job, const Block *block, Decoder *decoder,
    uint16_t *last
) noexcept nogil:
    """Take the value at each tap of a strip, and zero if a later tap is the same cell; return False at a bad tap."""
    cdef Py_ssize_t i, cell
    cdef word nothing
    cdef size_t[2] sources
    cdef bint lost
    if decode_run(taps, job, block, 0, 0, decoder) == 0:
        return False
    memset(&nothing, 0, sizeof(word))
    sources[0], sources[1] = <size_t> plane, <size_t> &nothing
    # The map is not cleared: only cells that were written are read.
    for i in range(block.count):
        last[decoder.cells[i]] = <uint16_t> i
    for i in range(block.count):
        # No branch: it would be mispredicted.
        cell = decoder.cells[i]
        lost = last[cell] != i
        values[i] = (<const word *> sources[lost])[cell * (1 - lost)]
    return True
