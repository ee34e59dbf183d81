# Taps: an index of one byte is the number of a tap of its own window.
#
# A tap cannot leave its window, so a row of windows is done by itself, and nothing is ever done twice.  There are three
# ways:
#
#     by the table    The cell is the corner of the row + window * stride + offsets[tap].  This serves every window.
#     by decoding     The same for a run of windows at once, if they have few taps (see decode.pxi).
#     by selection    A row of cells at a time, for the smallest windows (see taps.h).  No cell is visited twice.
#
# For the table and for selection, a block's taps are copied and checked first: another thread of the program may write
# the array meanwhile.  Where windows overlap, a value that a later one overwrites is *lost* (see lost.pxi).

cdef extern from "taps.h" nogil:
    ctypedef struct TapLoops "unpool_tap_loops":
        void (*widen)(const uint8_t *, void *, Py_ssize_t) noexcept nogil
        void (*put_pairs)(const void *, const void *, int64_t, void *, Py_ssize_t) noexcept nogil
        void (*take_row)(
            const void *, const void *, int64_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, bint, void *, Py_ssize_t
        ) noexcept nogil
    const TapLoops *tap_loops_for "unpool_tap_loops_for"(Py_ssize_t) noexcept
    void most_of "unpool_most_of"(const uint8_t *, Py_ssize_t, uint8_t *) noexcept
    void mark_lost "unpool_mark_lost"(
        const uint8_t *, const uint8_t *, uint8_t, uint8_t, uint8_t *, Py_ssize_t
    ) noexcept
    const Py_ssize_t SELECTED_REACH "UNPOOL_REACH"


cdef enum:
    # The most taps of a block.
    TAP_TILE = 1 << 13
    # Windows of a row from which selection is faster than the table.
    SELECTED = 32
    # Bytes that are set to zero at once where windows overlap.
    ZEROED = 1 << 17
    # A tap that no window of 255 taps or fewer has.
    LOST = 255


cdef struct Rows:
    # The windows of a block, and their taps in a copy: `width` channels of each window lie side by side.
    Block block
    Span depth
    Py_ssize_t columns
    Py_ssize_t width
    # Along each axis, the windows low..high-1 are whole (see `whole_along`).
    Py_ssize_t[3] low
    Py_ssize_t[3] high
    # Of each tap: its distance from the window's corner in elements, and its number along each axis.
    Py_ssize_t[BYTE_TAPS] offsets
    uint8_t[3][BYTE_TAPS] along
    uint8_t[TAP_TILE] taps
    Decoder decoder


cdef void tabulate(const Job *job, Rows *rows) noexcept nogil:
    """Fill in what all blocks share."""
    cdef Py_ssize_t d, h, w, tap = 0
    cdef int axis
    if job.decodes:
        plan_decoder(job, &rows.decoder)
        return
    for d in range(job.kernel[0]):
        for h in range(job.kernel[1]):
            for w in range(job.kernel[2]):
                rows.offsets[tap] = tap_offset(job, d, h, w) * job.step
                rows.along[0][tap], rows.along[1][tap], rows.along[2][tap] = <uint8_t> d, <uint8_t> h, <uint8_t> w
                tap += 1
    for axis in range(3):
        whole_along(job, axis, &rows.low[axis], &rows.high[axis])


cdef bint load(const uint8_t *indices, const Job *job, const Block *of, Rows *rows) noexcept nogil:
    """Copy the taps of a block of a strip; return True if each exists and lies inside the plane."""
    cdef Block *block = &rows.block
    cdef Py_ssize_t i, count
    cdef uint8_t *taps = rows.taps
    cdef uint8_t most
    block[0] = of[0]
    rows.depth = span(job, 0, block.depth)
    rows.columns = block.end_column - block.column
    count = block.count * rows.width
    indices += block.first * job.step
    if rows.width == job.step:
        memcpy(taps, indices, count)
    else:
        for i in range(block.count):
            memcpy(taps + i * rows.width, indices + i * job.step, rows.width)
    most_of(taps, count, &most)
    if most >= taps_of(job):
        return False
    return (
        are_inside(job, rows, 0, block.depth, block.depth + 1, 1, count)
        and are_inside(job, rows, 1, block.row, block.end_row, 1, rows.columns * rows.width)
        and are_inside(job, rows, 2, block.column, block.end_column, block.end_row - block.row, rows.width)
    )


cdef inline uint8_t *row_of(Rows *rows, Py_ssize_t row) noexcept nogil:
    """Return the taps of a row of a block."""
    return rows.taps + (row - rows.block.row) * rows.columns * rows.width


cdef bint are_inside(
    const Job *job, const Rows *rows, int axis, Py_ssize_t first, Py_ssize_t end, Py_ssize_t runs, Py_ssize_t length
) noexcept nogil:
    """Return True if the taps of some windows of a block lie inside the plane along one axis.

    Those of window `first` are `runs` runs of `length` taps in each row of the copy, and those of the next follow them.
    """
    cdef Py_ssize_t window = first, run, i, tap, apart = rows.columns * rows.width
    cdef const uint8_t *taps
    cdef Span along
    while window < end:
        if rows.low[axis] <= window < rows.high[axis]:
            window = rows.high[axis]
            continue
        along = span(job, axis, window)
        taps = rows.taps + (window - first) * length
        for run in range(runs):
            for i in range(length):
                tap = rows.along[axis][taps[run * apart + i]]
                if tap < along.first or tap >= along.end:
                    return False
        window += 1
    return True


# --- scatter ----------------------------------------------------------------------------------------------------------


cdef inline Py_ssize_t put_rows(
    const item *values, const uint8_t *indices, item *to, const Job *job, Rows *rows, const Block *block,
    Py_ssize_t first_cell
) noexcept nogil:
    """Put the values of a block of a strip at their taps in `to`, which begins with `first_cell` of the plane.

    Return how many windows are done: all, or those before a row with a bad tap.
    """
    values += block.first * job.step
    if job.decodes:
        return put_decoded(values, indices + block.first, to, job, block, first_cell, &rows.decoder)
    if not load(indices, job, block, rows):
        return 0
    put_loaded(values, to, job, rows, first_cell)
    return block.count


cdef inline void put_loaded(
    const item *values, item *to, const Job *job, Rows *rows, Py_ssize_t first_cell
) noexcept nogil:
    """Put the values of a block by the table."""
    cdef Py_ssize_t row, i, c, corner, stride = job.stride[2] * job.step
    cdef const uint8_t *taps = rows.taps
    cdef const Py_ssize_t *offsets = rows.offsets
    for row in range(rows.block.row, rows.block.end_row):
        corner = (corner_at(job, rows.block.depth, row, rows.block.column) - first_cell) * job.step
        fetch(values + rows.block.count * job.step, rows.columns * job.step * sizeof(item))
        if job.step == 1:
            for i in range(rows.columns):
                place(&to[corner + i * stride + offsets[taps[i]]], values[i])
            taps += rows.columns
            values += rows.columns
        else:
            for i in range(rows.columns):
                for c in range(rows.width):
                    place(&to[corner + offsets[taps[c]] + c], values[c])
                corner += stride
                taps += rows.width
                values += job.step


cdef inline bint select_rows(
    const item *values, const uint8_t *indices, item *to, const Job *job, Rows *rows, const Block *block,
    Py_ssize_t depths, Py_ssize_t length
) noexcept nogil:
    """Write the cells that a block owns in rows of `length`, by selection; `to` begins with the first one.

    `selects_cells` has the conditions.  Return False at a bad tap, before anything is written.
    """
    cdef uint64_t[TILE] lanes, sums  # TAP_TILE bytes
    cdef item *added = <item *> sums
    cdef Py_ssize_t i, depth, row, cell_row, kd, kh, line, count = block.end_column - block.column
    cdef Py_ssize_t first_depth = edge(job, 0, block.depth), first_row = edge(job, 1, block.row)
    cdef Span h
    cdef const TapLoops *loops = tap_loops_for(sizeof(item))
    if not load(indices, job, block, rows):
        return False
    values += block.first
    if not (item is word8 or item is word16 or item is word32 or item is word64 or item is word128):
        # A cell is 0 + value, which is not the value if that is -0.0.
        memset(added, 0, block.count * sizeof(item))
        for i in range(block.count):
            place(&added[i], values[i])
        values = added
    loops.widen(rows.taps, lanes, block.count)
    for depth in range(depths):
        kd = tap_at(job, 0, first_depth + depth - rows.depth.start)
        for row in range(block.row, block.end_row):
            h = span(job, 1, row)
            i = (row - block.row) * count
            for cell_row in range(edge(job, 1, row), edge(job, 1, row + 1)):
                kh = tap_at(job, 1, cell_row - h.start)
                line = depth * job.cell_apart[0] + (cell_row - first_row) * job.cell_apart[1]
                if kd < 0 or kh < 0:
                    memset(to + line, 0, length * sizeof(item))
                    continue
                loops.put_pairs(
                    values + i, <char *> lanes + i * sizeof(item), (kd * job.kernel[1] + kh) * 2, to + line, count
                )
                if length > 2 * count:
                    memset(to + line + 2 * count, 0, (length - 2 * count) * sizeof(item))
    return True


cdef inline Py_ssize_t tap_at(const Job *job, int axis, Py_ssize_t away) noexcept nogil:
    """Return the tap along one axis that lies so many cells behind the start of its window, or -1."""
    if away < 0 or away % job.dilation[axis] or away // job.dilation[axis] >= job.kernel[axis]:
        return -1
    return away // job.dilation[axis]


cdef inline bint has_lanes(const Job *job) noexcept nogil:
    """Return True if values are as wide, and as aligned, as a lane, and rows are long enough for vectors."""
    return (
        tap_loops_for(job.itemsize) != NULL and job.kind != COMPLEX64 and job.step == 1
        and job.windows_along[2] >= SELECTED
    )


cdef inline bint selects_cells(const Job *job) noexcept nogil:
    """Return True if selection writes the cells of blocks: windows are pairs of cells in a row or two, and whole."""
    return (
        has_lanes(job) and job.kernel[2] == 2 and job.stride[2] == 2 and job.dilation[2] == 1 and taps_of(job) <= 4
        and job.padding[2] == 0 and 2 * job.windows_along[2] <= job.cells_along[2]
    )


cdef void scatter_rows(item *kind, const Job *job, Py_ssize_t nth, int thread, Rows *rows) noexcept nogil:
    """Write a range of a strip's cells from windows that overlap, one block after the other."""
    cdef Strip strip = strip_at(job, quotient(nth, job.ranges))
    cdef const item *values = <const item *> job.pooled + strip.pooled
    cdef const uint8_t *indices = <const uint8_t *> job.indices + strip.pooled
    cdef item *plane = <item *> job.plane + strip.plane
    cdef Py_ssize_t low = quotient(rest(nth, job.ranges) * job.cells, job.ranges)
    cdef Py_ssize_t end = quotient((rest(nth, job.ranges) + 1) * job.cells, job.ranges)
    cdef Py_ssize_t b, zeroed = end if job.zeroed else low, first, behind, until, done, bad
    cdef Block block
    rows.width = strip.width
    for b in range(job.blocks):
        if b % BLOCKS == 0 and stopped(job, thread):
            return
        block = block_at(job, b)
        first = first_reached(job, &block)
        behind = reached_until(job, &block)
        # Windows without a cell in the plane have bad taps only, and the first range reports them.
        if (behind <= low or first >= end) and (low or first < behind):
            continue
        if zeroed < min(behind, end):
            until = min(max(behind, zeroed + ZEROED // (job.width * job.itemsize)), end)
            zero(<char *> (plane + zeroed * job.step), job, until - zeroed, strip.width, sizeof(item))
            zeroed = until
        done = 0
        if low <= first and behind <= end:
            done = put_rows(values, indices, plane, job, rows, &block, 0)
        if done < block.count:
            bad = put_some(values, indices, plane, job, &block, done, strip.width, low, end)
            if bad >= 0:
                report(job, &strip, thread, bad, -1)
                return
    if zeroed < end:
        zero(<char *> (plane + zeroed * job.step), job, end - zeroed, strip.width, sizeof(item))


cdef inline Py_ssize_t first_reached(const Job *job, const Block *block) noexcept nogil:
    """Return a cell that no cell of a block's windows lies before."""
    cdef Py_ssize_t depth = max(0, block.depth * job.stride[0] - job.padding[0])
    cdef Py_ssize_t row = max(0, block.row * job.stride[1] - job.padding[1])
    return depth * job.cell_apart[0] + row * job.cell_apart[1]


cdef inline Py_ssize_t reached_until(const Job *job, const Block *block) noexcept nogil:
    """Return a cell that all cells of a block's windows lie before."""
    cdef Py_ssize_t depth = block.depth * job.stride[0] - job.padding[0] + (job.kernel[0] - 1) * job.dilation[0]
    cdef Py_ssize_t row = (block.end_row - 1) * job.stride[1] - job.padding[1] + (job.kernel[1] - 1) * job.dilation[1]
    depth = min(depth, job.cells_along[0] - 1)
    row = min(row, job.cells_along[1] - 1)
    return depth * job.cell_apart[0] + (row + 1) * job.cell_apart[1]


cdef Py_ssize_t put_some(
    const item *values, const uint8_t *indices, item *plane, const Job *job, const Block *block, Py_ssize_t done,
    Py_ssize_t width, Py_ssize_t low, Py_ssize_t end
) noexcept nogil:
    """Put the values of a block whose cells lie in low..end-1, without its first `done` windows.

    Return the offset in the strip of a bad tap, or -1.
    """
    cdef Py_ssize_t i, c, at
    cdef int64_t cell
    for i in range(block.first + done, block.first + block.count):
        for c in range(width):
            at = i * job.step + c
            cell = read_index(job, indices, i, at)
            if cell < 0 and not job.drops:
                return at
            if low <= cell < end:
                place(&plane[cell * job.step + c], values[at])
    return -1


# --- gather -----------------------------------------------------------------------------------------------------------


cdef inline bint selects_values(const Job *job) noexcept nogil:
    """Return True if selection takes the values of windows: they have few taps, and lie at most 3 cells apart."""
    return (
        has_lanes(job) and job.stride[2] <= 3 and tap_offset(job, 0, 0, job.kernel[2] - 1) < SELECTED_REACH
        and taps_of(job) <= (25 if job.strikes else 9 if job.itemsize > 2 else 4)
    )


cdef void gather_rows(word *kind, const Job *job, Py_ssize_t nth, int thread, Rows *rows) noexcept nogil:
    """Take the values of a part of a strip, one block after the other."""
    cdef Strip strip = strip_at(job, quotient(nth, job.parts))
    cdef word *values = <word *> job.pooled + strip.pooled
    cdef const uint8_t *indices = <const uint8_t *> job.indices + strip.pooled
    cdef const word *plane = <const word *> job.plane + strip.plane
    cdef Py_ssize_t part = nth % job.parts, b, bad
    cdef Block block
    rows.width = strip.width
    for b in range(part * job.blocks // job.parts, (part + 1) * job.blocks // job.parts):
        block = block_at(job, b)
        if take_rows(values, indices, plane, job, rows, &block, thread):
            continue
        if job.duplicates == LAST and job.parts > 1:
            job.strayed[nth] = True
            return
        if job.duplicates == LAST:
            gather_range(kind, <uint8_t *> NULL, job, nth, thread)
            return
        # None is found if bad ones are dropped, or if another thread of the program has written good ones since.
        bad = first_bad(indices, job, strip.width, thread)
        if bad >= 0:
            report(job, &strip, thread, bad, -1)
            return
        take_kept(values, indices, plane, job, &block, strip.width)


cdef inline bint take_rows(
    word *values, const uint8_t *indices, const word *plane, const Job *job, Rows *rows, const Block *block, int thread
) noexcept nogil:
    """Take the values of a block of a strip; return False if a tap is bad: some values may be written then."""
    cdef char *stage = stage_of(job, thread)
    if job.maps:
        return take_mapped(values, indices, plane, job, block, &rows.decoder, <uint16_t *> stage)
    if job.decodes:
        return take_decoded(values + block.first, indices + block.first, plane, job, block, &rows.decoder)
    if not load(indices, job, block, rows):
        return False
    if job.strikes:
        strike(indices, job, rows, <Later *> stage)
    take_by_taps(values, plane, job, rows)
    return True


cdef void take_by_taps(word *values, const word *plane, const Job *job, Rows *rows) noexcept nogil:
    """Take the value at each tap of a block, and zero for values that are lost."""
    cdef Py_ssize_t row, begin = rows.block.column, end = begin
    cdef uint64_t[TILE] lanes
    cdef bint selects = job.selects
    values += rows.block.first * job.step
    if selects:
        begin = max(rows.low[2], rows.block.column)
        end = max(min(rows.high[2], rows.block.end_column), begin)
        selects = begin < end
    if not selects:
        begin = end = rows.block.column
    else:
        tap_loops_for(sizeof(word)).widen(rows.taps, lanes, rows.block.count)
    for row in range(rows.block.row, rows.block.end_row):
        if selects:
            select_values(
                values + begin - rows.block.column, plane, job, rows, row, begin, end - begin,
                <word *> lanes + (row - rows.block.row) * rows.columns + begin - rows.block.column,
            )
        take_columns(values, plane, job, rows, row, rows.block.column, begin)
        take_columns(values, plane, job, rows, row, end, rows.block.end_column)
        values += rows.columns * job.step


cdef inline void select_values(
    word *values, const word *plane, const Job *job, Rows *rows, Py_ssize_t row, Py_ssize_t column, Py_ssize_t count,
    const word *lanes
) noexcept nogil:
    """Take the values of some windows of a row by selection, one row of their cells after the other."""
    cdef Span h = span(job, 1, row)
    cdef Py_ssize_t corner = corner_at(job, rows.block.depth, row, column), kd, kh
    cdef bint fresh = True
    for kd in range(rows.depth.first, rows.depth.end):
        for kh in range(h.first, h.end):
            tap_loops_for(sizeof(word)).take_row(
                plane + (corner + tap_offset(job, kd, kh, 0)), lanes, (kd * job.kernel[1] + kh) * job.kernel[2],
                job.kernel[2], job.dilation[2], job.stride[2], fresh, values, count,
            )
            fresh = False


cdef inline void take_columns(
    word *values, const word *plane, const Job *job, Rows *rows, Py_ssize_t row, Py_ssize_t column, Py_ssize_t end
) noexcept nogil:
    """Take the values of some windows of a row by the table."""
    cdef Py_ssize_t i, c, at, count = end - column, stride = job.stride[2] * job.step
    cdef Py_ssize_t corner = corner_at(job, rows.block.depth, row, column) * job.step
    cdef const uint8_t *taps = row_of(rows, row) + (column - rows.block.column) * rows.width
    cdef const Py_ssize_t *offsets = rows.offsets
    cdef word nothing
    cdef size_t[2] sources
    cdef bint lost
    values += (column - rows.block.column) * job.step
    if count > 0 and job.step == 1:
        fetch_row(plane + corner + job.stride[1] * job.cell_apart[1], job, count)
    if job.strikes:
        memset(&nothing, 0, sizeof(word))
        sources[0], sources[1] = <size_t> plane, <size_t> &nothing
        for i in range(count):
            for c in range(rows.width):
                # No branch: it would be mispredicted.
                lost = taps[c] == LOST
                at = corner + offsets[taps[c]] + c
                values[c] = (<const word *> sources[lost])[at * (1 - lost)]
            corner += stride
            taps += rows.width
            values += job.step
    elif job.step == 1:
        for i in range(count):
            values[i] = plane[corner + i * stride + offsets[taps[i]]]
    else:
        for i in range(count):
            for c in range(rows.width):
                values[c] = plane[corner + offsets[taps[c]] + c]
            corner += stride
            taps += rows.width
            values += job.step
