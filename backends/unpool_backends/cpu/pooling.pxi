# Pooling: the largest element of each window and its index.  pooling.h has the loops.
#
# Windows are compared along one axis after the other.  First the columns of each row of cells, a *line*: the largest
# value of each window in this line, and its column.  Then the lines of each window.  Windows that overlap share lines.
#
#     row of cells --split--> phases --best_of_taps--> line --best_of_lines--> values and lanes --to_indices--> indices
#
# Some rows of windows, a *band*, are in work at once, so that their lines fit a first-level cache.  Row-major order is
# kept: a later line wins only if it is larger, or NaN, and has the first of its equal columns, or the last NaN.
#
# Cells in the padding are margins of phases, and lines of their own, with the lowest value.  A margin never beats a
# cell.  It remains only if all of a window's cells are the lowest, too.  Then the first of them is the result, and no
# other tap inside the plane has a smaller number: the larger of both numbers is right in every case.

cdef extern from "pooling.h" nogil:
    ctypedef const void *Tap "unpool_tap"
    ctypedef struct Phases "unpool_phases":
        Py_ssize_t count
        Py_ssize_t blocks
        Py_ssize_t apart
        Py_ssize_t stride
        Py_ssize_t group
        bint whole
        int split
        Py_ssize_t low
        Py_ssize_t high
        Py_ssize_t *first
        Py_ssize_t *begin
        Py_ssize_t *end
    ctypedef struct Numbering "unpool_numbering":
        const int32_t *starts
        const int32_t *offsets
        Py_ssize_t index_bytes
        bint replaces
    ctypedef struct Loops "unpool_loops":
        void split(const Phases *, const char *, Py_ssize_t, Py_ssize_t, char *) noexcept nogil
        void fill_lowest(char *, Py_ssize_t) noexcept nogil
        void best_of_taps(
            const Tap *, Py_ssize_t, Py_ssize_t, int64_t, int64_t, bint, char *, char *, Py_ssize_t
        ) noexcept nogil
        void best_of_pairs(const char *, char *, char *, Py_ssize_t) noexcept nogil
        void best_of_lines(
            const char *, const char *, Py_ssize_t, Py_ssize_t, int64_t, int64_t, bint, char *, char *, Py_ssize_t
        ) noexcept nogil
        void raise_to "raise"(char *, int64_t, Py_ssize_t) noexcept nogil
        void to_indices(const Numbering *, const char *, char *, int64_t, Py_ssize_t) noexcept nogil
    const Loops *loops_for "unpool_loops_for"(int64_t) noexcept


cdef struct Desk:
    # A thread's scratch memory, and how the windows column..column+count-1 of a row read the taps tap..tap+taps-1.
    const Loops *loops
    Py_ssize_t index_bytes
    char *best_lines
    char *found_lines
    char *cells
    char *found
    int32_t *starts
    Py_ssize_t column
    Py_ssize_t count
    Py_ssize_t tap
    Py_ssize_t taps
    # Bytes from a line to the next, and elements that are compared in each.
    Py_ssize_t pitch
    Py_ssize_t width
    # True if cells are read where they are, and not from phases, and if by pairs; the first tap's byte in its row.
    bint direct
    bint pairs
    Py_ssize_t start
    # Cells from a tap of a window to that of the next one.
    Py_ssize_t apart
    # The lines used..filled-1 have been compared; line `used` is the first one of the current band.
    Py_ssize_t used
    Py_ssize_t filled
    Phases phases
    Numbering numbering
    # Bytes from the start of the phases to each tap of the first window.
    Py_ssize_t[MOST_TAPS] tap_at
    int32_t[MOST_TAPS] offsets


# --- scratch memory ---------------------------------------------------------------------------------------------------


cdef void set_up(Desk *desk, const Job *job, int thread) noexcept nogil:
    """Lay out a thread's scratch memory."""
    cdef const Bands *bands = &job.bands
    cdef Py_ssize_t row, window, c, at = 0
    desk.loops = loops_for(job.kind)
    desk.index_bytes = job.index_bytes
    desk.best_lines = stage_of(job, thread)
    desk.found_lines = desk.best_lines + bands.lines_bytes
    desk.cells = desk.found_lines + bands.lines_bytes
    desk.found = desk.cells + bands.cells_bytes
    desk.starts = <int32_t *> (desk.found + bands.found_bytes)
    desk.count = 0
    desk.numbering = Numbering(desk.starts, NULL, job.index_bytes, False)
    if job.by_taps:
        return
    if bands.numbers == BY_TAP:
        list_offsets(desk, job, job.kernel[0], job.kernel[1], job.kernel[2])
    if job.width >= FEW:
        memset(desk.starts, 0, bands.starts_bytes)
    elif job.indices != NULL:
        for row in range(bands.height if bands.flat else 1):
            for window in range(bands.piece):
                for c in range(job.step):
                    desk.starts[at] = <int32_t> (row * job.stride[1] * job.cell_apart[1] + window * job.stride[2])
                    at += 1


cdef void list_offsets(
    Desk *desk, const Job *job, Py_ssize_t depths, Py_ssize_t rows, Py_ssize_t columns
) noexcept nogil:
    """Write the offset of each tap of a group; lanes number them in row-major order."""
    cdef Py_ssize_t d, h, w, number = 0
    for d in range(depths):
        for h in range(rows):
            for w in range(columns):
                desk.offsets[number] = <int32_t> tap_offset(job, d, h, w)
                number += 1
    desk.numbering.offsets = desk.offsets


# --- lines ------------------------------------------------------------------------------------------------------------


cdef void set_columns(
    Desk *desk, const Job *job, Py_ssize_t column, Py_ssize_t count, Py_ssize_t tap, Py_ssize_t taps
) noexcept nogil:
    """Describe how some windows of a row read some taps, and fill the margins of their phases."""
    cdef Phases *phases = &desk.phases
    cdef Py_ssize_t stride = job.stride[2], dilation = job.dilation[2], step = job.step, cell = step * job.itemsize
    cdef Py_ssize_t start = column * stride - job.padding[2] + tap * dilation, first, p, k, row
    if desk.count == count and desk.column == column and desk.tap == tap and desk.taps == taps:
        return
    desk.column, desk.count, desk.tap, desk.taps = column, count, tap, taps
    phases.count = min(taps, job.bands.period)
    phases.blocks = count + (taps - 1) * dilation // stride
    phases.apart = job.bands.loaded * phases.blocks * step
    phases.stride, phases.group = stride * step, step
    phases.low, phases.high = 0, phases.blocks
    for p in range(phases.count):
        first = start + p * dilation % stride
        phases.first[p] = first * step
        phases.begin[p] = min(windows_until(job, first, 0), phases.blocks)
        phases.end[p] = max(phases.begin[p], min(windows_until(job, first, job.cells_along[2]), phases.blocks))
        phases.low, phases.high = max(phases.low, phases.begin[p]), min(phases.high, phases.end[p])
    phases.whole = phases.low == 0 and phases.high == phases.blocks
    phases.split = 0
    if phases.count == stride and 2 <= stride <= 4 and dilation % stride == 1 and step == 1:
        phases.split = <int> stride if phases.low < phases.high else 0
    # Cells are read where they are if windows lie side by side, or if the taps share no phase.  Written out, the splits
    # by 2, 3 and 4 are faster than cells far apart, except in pairs.
    desk.pairs = phases.whole and phases.split == 2 and taps == 2 and dilation == 1
    desk.direct = phases.whole and (stride == 1 or step == 1 and taps == phases.count and not phases.split)
    desk.direct |= desk.pairs
    desk.apart = stride if desk.direct else 1
    desk.start = start * cell
    desk.pitch, desk.width = phases.blocks * cell, count * step
    for k in range(taps):
        if desk.direct:
            desk.tap_at[k] = k * dilation * cell
        else:
            desk.tap_at[k] = k % phases.count * phases.apart * job.itemsize + k * dilation // stride * cell
    if not phases.whole:
        for p in range(phases.count):
            for row in range(job.bands.loaded):
                first = p * phases.apart * job.itemsize + row * desk.pitch
                desk.loops.fill_lowest(desk.cells + first, phases.begin[p] * step)
                desk.loops.fill_lowest(
                    desk.cells + first + phases.end[p] * cell, (phases.blocks - phases.end[p]) * step
                )


cdef void fill_lines(
    Desk *desk, const Job *job, const char *plane, Py_ssize_t y, Py_ssize_t apart, Py_ssize_t count
) noexcept nogil:
    """Compare the columns of each window in `count` more rows of cells: from row y on, `apart` rows from each other."""
    cdef Tap[MOST_TAPS] taps
    cdef const char *cells
    cdef char *best
    cdef char *found
    cdef Py_ssize_t rows, k, row = job.cells_along[2] * job.step  # elements
    cdef Py_ssize_t pitch = desk.pitch // job.itemsize
    # Rows of cells that follow each other without a gap, neither in memory nor in lines, are one long row.
    cdef Py_ssize_t most = job.bands.loaded
    if desk.direct and apart * row != desk.apart * pitch:
        most = 1
    while count > 0:
        best, found = desk.best_lines + desk.filled * desk.pitch, desk.found_lines + desk.filled * desk.pitch
        rows = 1
        if y < 0 or y >= job.cells_along[1]:
            desk.loops.fill_lowest(best, desk.width)
            memset(found, 0, desk.width * job.itemsize)
        else:
            cells = plane + y * row * job.itemsize
            rows = min(min(count, most), (job.cells_along[1] - 1 - y) // apart + 1)
            if desk.pairs:
                desk.loops.best_of_pairs(cells + desk.start, best, found, (rows - 1) * pitch + desk.width)
            else:
                if desk.direct:
                    cells += desk.start
                else:
                    desk.loops.split(&desk.phases, cells, apart * row, rows, desk.cells)
                    cells = desk.cells
                for k in range(desk.taps):
                    taps[k] = cells + desk.tap_at[k]
                desk.loops.best_of_taps(
                    taps, desk.taps, desk.apart, 0, job.bands.unit[2], True, best, found,
                    (rows - 1) * pitch + desk.width,
                )
        desk.filled += rows
        count -= rows
        y += rows * apart


# --- bands ------------------------------------------------------------------------------------------------------------


cdef struct Band:
    # Where a band is: its rows of windows row..row+rows-1, of one depth.
    const char *plane
    char *values
    char *indices
    Span depth
    Py_ssize_t row
    Py_ssize_t rows


cdef void compare_rows(
    Desk *desk, const Job *job, const Band *band, Py_ssize_t kd, Py_ssize_t kh, Py_ssize_t rows, bint fresh
) noexcept nogil:
    """Compare some rows of each window of a band, kh..kh+rows-1 in depth kd, with the best so far."""
    cdef const Bands *bands = &job.bands
    cdef Py_ssize_t size = job.itemsize, cell = job.step * size, first, more, r
    cdef Py_ssize_t y = band.row * job.stride[1] - job.padding[1] + kh * job.dilation[1]
    cdef const char *plane = band.plane + (band.depth.start + kd * job.dilation[0]) * job.cell_apart[0] * cell
    cdef int64_t number = 0 if bands.numbers == IN_GROUPS else number_of(job, kd, kh, desk.tap)
    if bands.shared:
        more = (band.rows - 1) * bands.row_apart + bands.lines
        if desk.used + more > bands.kept:
            first, r = desk.used * desk.pitch, (desk.filled - desk.used) * desk.pitch
            memmove(desk.best_lines, desk.best_lines + first, r)
            memmove(desk.found_lines, desk.found_lines + first, r)
            desk.filled -= desk.used
            desk.used = 0
        first = desk.filled - desk.used
        fill_lines(desk, job, plane, y + first * bands.step, bands.step, more - first)
    else:
        for r in range(band.rows):
            desk.filled = r * bands.row_apart
            fill_lines(desk, job, plane, y + r * job.stride[1], bands.step, rows)
    for r in range(band.rows):
        first = (desk.used + r * bands.row_apart) * desk.pitch
        desk.loops.best_of_lines(
            desk.best_lines + first, desk.found_lines + first, bands.tap_apart * desk.pitch // size, rows, number,
            bands.unit[1], fresh, band.values + r * job.windows_along[2] * cell, desk.found + r * desk.width * size,
            desk.width,
        )


cdef void pool_band(Desk *desk, const Job *job, const Band *band, Py_ssize_t column, Py_ssize_t count) noexcept nogil:
    """Pool neighbouring windows of some rows, and write the results."""
    cdef const Bands *bands = &job.bands
    cdef Py_ssize_t kd, kh, kw, rows, columns, row = 0, end_row = job.kernel[1], tap = 0, end_tap = job.kernel[2]
    cdef bint fresh = True, groups = bands.numbers == IN_GROUPS
    if not bands.shared:
        # Kernels may be far larger than the plane.  The last window has the first tap that is inside the plane in any
        # window, and the first window has the last one.
        row, end_row = span(job, 1, band.row + band.rows - 1).first, span(job, 1, band.row).end
        tap, end_tap = span(job, 2, column + count - 1).first, span(job, 2, column).end
    if groups:
        fresh = False
        begin_groups(desk, job, band, column, count)
    for kd in range(band.depth.first, band.depth.end):
        kh = row
        while kh < end_row:
            rows = min(bands.rows, end_row - kh)
            kw = tap
            while kw < end_tap:
                columns = min(bands.columns, end_tap - kw)
                set_columns(desk, job, column, count, kw, columns)
                if kd > band.depth.first:
                    desk.used = desk.filled = 0  # the lines are those of another depth
                if groups:
                    memset(desk.found, -1, band.rows * desk.width * job.itemsize)
                compare_rows(desk, job, band, kd, kh, rows, fresh)
                if groups:
                    # Lanes number every column, also those that are padding in all windows and are left out.
                    list_offsets(desk, job, 1, rows, bands.columns)
                    write_indices(desk, job, band, tap_offset(job, kd, kh, kw))
                fresh = False
                kw += columns
            kh += rows
    if band.indices != NULL and not groups:
        skip_padding(desk, job, band)
        write_indices(desk, job, band, 0)


cdef void skip_padding(Desk *desk, const Job *job, const Band *band) noexcept nogil:
    """Replace the numbers of taps in the padding by that of the window's first tap inside the plane."""
    cdef Py_ssize_t r, i, first = desk.column * job.stride[2] - job.padding[2]
    cdef Py_ssize_t left = min(desk.count, windows_until(job, first, 0))
    cdef char *found
    cdef Span h
    for r in range(band.rows):
        h = span(job, 1, band.row + r)
        found = desk.found + r * desk.width * job.itemsize
        if band.depth.first > 0 or h.first > 0:
            desk.loops.raise_to(found, number_of(job, band.depth.first, h.first, 0), desk.width)
        for i in range(left):
            first = span(job, 2, desk.column + i).first
            desk.loops.raise_to(
                found + i * job.step * job.itemsize, number_of(job, band.depth.first, h.first, first), job.step
            )


cdef void write_indices(Desk *desk, const Job *job, const Band *band, Py_ssize_t offset) noexcept nogil:
    """Turn the lanes of a band into indices; `offset` is that of the tap with number 0."""
    cdef Py_ssize_t r
    cdef Span h = span(job, 1, band.row), w = span(job, 2, desk.column)
    cdef Py_ssize_t corner = corner_of(job, &band.depth, &h, &w) + offset
    if job.bands.flat:
        desk.loops.to_indices(&desk.numbering, desk.found, band.indices, corner, band.rows * desk.width)
        return
    for r in range(band.rows):
        desk.loops.to_indices(
            &desk.numbering, desk.found + r * desk.width * job.itemsize,
            band.indices + r * job.windows_along[2] * job.step * desk.index_bytes, corner, desk.width,
        )
        corner += job.stride[1] * job.cell_apart[1]


cdef void begin_groups(
    Desk *desk, const Job *job, const Band *band, Py_ssize_t column, Py_ssize_t count
) noexcept nogil:
    """Begin with the lowest value at the first tap inside the plane; groups of taps replace it."""
    cdef Py_ssize_t r, i, window
    cdef Span h, w
    desk.numbering.replaces = False
    desk.numbering.offsets = NULL
    memset(desk.found, 0, job.step * job.itemsize)
    for r in range(band.rows):
        h = span(job, 1, band.row + r)
        for i in range(count):
            w = span(job, 2, column + i)
            window = (r * job.windows_along[2] + i) * job.step
            desk.loops.fill_lowest(band.values + window * job.itemsize, job.step)
            desk.loops.to_indices(
                &desk.numbering, desk.found, band.indices + window * desk.index_bytes,
                corner_of(job, &band.depth, &h, &w) + tap_offset(job, band.depth.first, h.first, w.first), job.step,
            )
    desk.numbering.replaces = True


cdef void pool_rows(
    Desk *desk, const Job *job, const char *plane, char *values, char *indices, Py_ssize_t first, Py_ssize_t end
) noexcept nogil:
    """Pool the blocks first..end-1 of a strip.  Blocks are counted down the rows of a piece, which share lines."""
    cdef Band band
    cdef Py_ssize_t piece, depth, column, count, rows, window
    band.plane = plane
    while first < end:
        piece = first // job.windows_along[1]
        band.row = first % job.windows_along[1]
        depth = piece // job.pieces
        column = piece % job.pieces * job.piece
        count = min(job.piece, job.windows_along[2] - column)
        band.depth = span(job, 0, depth)
        rows = min(end - first, job.windows_along[1] - band.row)
        first += rows
        desk.used = desk.filled = 0
        while rows > 0:
            band.rows = min(rows, job.bands.height)
            window = ((depth * job.windows_along[1] + band.row) * job.windows_along[2] + column) * job.step
            band.values = values + window * job.itemsize
            band.indices = indices + window * desk.index_bytes if indices != NULL else NULL
            pool_band(desk, job, &band, column, count)
            if job.bands.shared and band.depth.end - band.depth.first == 1:
                desk.used += band.rows * job.bands.row_apart
            else:
                desk.used = desk.filled = 0
            band.row += band.rows
            rows -= band.rows


# --- channels last ----------------------------------------------------------------------------------------------------


cdef void pool_channels(
    Desk *desk, const Job *job, const char *plane, char *values, char *indices, const Span *d, const Span *h,
    Py_ssize_t column, Py_ssize_t count
) noexcept nogil:
    """Pool one window of `count` neighbouring channels, which lie side by side."""
    cdef Tap[MOST_TAPS] taps
    cdef Py_ssize_t kd, kh, kw, k, length, size = job.itemsize
    cdef Span w = span(job, 2, column)
    cdef Py_ssize_t corner = corner_of(job, d, h, &w)
    cdef bint fresh = True, groups = job.bands.numbers == IN_GROUPS
    cdef const char *cells
    if groups:
        fresh = False
        desk.loops.fill_lowest(values, count)
        desk.numbering.offsets = NULL
        desk.numbering.replaces = False
        memset(desk.found, 0, count * size)
        desk.loops.to_indices(
            &desk.numbering, desk.found, indices, corner + tap_offset(job, d.first, h.first, w.first), count
        )
        desk.numbering.replaces = True
    for kd in range(d.first, d.end):
        for kh in range(h.first, h.end):
            kw = w.first
            while kw < w.end:
                length = min(job.bands.columns, w.end - kw)
                cells = plane + (corner + tap_offset(job, kd, kh, kw)) * job.step * size
                for k in range(length):
                    taps[k] = cells + k * job.dilation[2] * job.step * size
                if groups:
                    memset(desk.found, -1, count * size)
                desk.loops.best_of_taps(
                    taps, length, 1, 0 if groups else number_of(job, kd, kh, kw), job.bands.unit[2], fresh, values,
                    desk.found, count,
                )
                if groups:
                    list_offsets(desk, job, 1, 1, length)
                    desk.loops.to_indices(
                        &desk.numbering, desk.found, indices, corner + tap_offset(job, kd, kh, kw), count
                    )
                fresh = False
                kw += length
    if indices != NULL and not groups:
        desk.loops.to_indices(&desk.numbering, desk.found, indices, corner, count)


# --- tasks ------------------------------------------------------------------------------------------------------------


cdef void pool_part(Desk *desk, const Job *job, Py_ssize_t nth) noexcept nogil:
    cdef Strip strip = strip_at(job, nth // job.parts)
    cdef const char *plane = <const char *> job.plane + strip.plane * job.itemsize
    cdef char *values = <char *> job.pooled + strip.pooled * job.itemsize
    cdef char *indices = NULL
    cdef Py_ssize_t part = nth % job.parts, b, w, at
    cdef Py_ssize_t first = part * job.blocks // job.parts, end = (part + 1) * job.blocks // job.parts
    cdef Block block
    cdef Span d, h
    if job.indices != NULL:
        indices = <char *> job.indices + strip.pooled * desk.index_bytes
    # The innermost loops go over channels; over the channels of a row of windows if they are few.
    if job.width < FEW:
        pool_rows(desk, job, plane, values, indices, first, end)
        return
    for b in range(first, end):
        block = block_at(job, b)
        d, h = span(job, 0, block.depth), span(job, 1, block.row)
        for w in range(block.count):
            at = (block.first + w) * job.step
            pool_channels(
                desk, job, plane, values + at * job.itemsize,
                indices + at * desk.index_bytes if indices != NULL else NULL, &d, &h, block.column + w, strip.width,
            )


cdef void pool_chunk(const Job *job, const Chunk *chunk) noexcept nogil:
    """Run tasks, which are all parts of strips."""
    cdef Py_ssize_t nth
    cdef Desk desk
    set_up(&desk, job, chunk.thread)
    for nth in range(chunk.first, chunk.end):
        pool_part(&desk, job, nth)
