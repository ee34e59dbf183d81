# Scatter: words are assigned to their cells, numbers are added; by blocks of windows if possible, else by cells.

cdef inline void place(item *cell, item value) noexcept nogil:
    if item is word8 or item is word16 or item is word32 or item is word64 or item is word128:
        cell[0] = value
    elif item is half:
        cell[0] = half_add(cell[0], value)
    elif item is bfloat16:
        cell[0] = bfloat16_add(cell[0], value)
    elif item is complex64:
        cell[0] = complex64_add(cell[0], value)
    elif item is complex128:
        cell[0] = complex128_add(cell[0], value)
    elif item is boolean:
        cell[0] = boolean_add(cell[0], value)
    else:
        cell[0] = <item> (cell[0] + value)


cdef inline void zero(
    char *cells, const Job *job, Py_ssize_t count, Py_ssize_t width, Py_ssize_t itemsize
) noexcept nogil:
    """Set consecutive cells of a strip to zero."""
    cdef Py_ssize_t cell
    if width == job.step:
        memset(cells, 0, count * width * itemsize)
    else:
        for cell in range(count):
            memset(cells + cell * job.step * itemsize, 0, width * itemsize)


# --- by blocks: no two windows share a cell, so a block owns its cells ------------------------------------------


cdef struct Area:
    # The cells that the windows of a block own: runs[0] x runs[1] runs of `length` cells, from `cell` on, apart[0] and
    # apart[1] cells from each other.
    Py_ssize_t cell
    Py_ssize_t length
    Py_ssize_t[2] runs
    Py_ssize_t[2] apart


cdef inline Area area_of(const Job *job, const Block *block) noexcept nogil:
    cdef Area area
    cdef Py_ssize_t depth = edge(job, 0, block.depth), row = edge(job, 1, block.row), column = 0
    area.runs[0] = edge(job, 0, block.depth + 1) - depth
    area.apart[0] = job.cell_apart[0]
    area.runs[1] = edge(job, 1, block.end_row) - row
    area.apart[1] = job.cell_apart[1]
    if job.pieces == 1:
        # Whole rows follow each other.
        area.length = area.runs[1] * job.cells_along[2]
        area.runs[1] = 1
    else:
        column = edge(job, 2, block.column)
        area.length = edge(job, 2, block.end_column) - column
    area.cell = depth * job.cell_apart[0] + row * job.cell_apart[1] + column
    return area


cdef inline Py_ssize_t start_of(const Area *area, Py_ssize_t run) noexcept nogil:
    return area.cell + run // area.runs[1] * area.apart[0] + run % area.runs[1] * area.apart[1]


cdef inline Py_ssize_t margin_of(Py_ssize_t cell) noexcept nogil:
    """Return how many cells hold a cache line, if a cell has `cell` bytes."""
    return (LINE + cell - 1) // cell


cdef inline uint64_t run_of(uint64_t offset, Py_ssize_t runs, Py_ssize_t apart) noexcept nogil:
    # No branch selects between two runs: it would be mispredicted every other time.
    if runs == 1:
        return 0
    if runs == 2:
        return offset >= <uint64_t> apart
    return min(offset // <uint64_t> apart, <uint64_t> (runs - 1))


cdef inline inlined put_in_runs(
    const item *values, const index *indices, item *to, const Job *job, const Area *area, const Block *block,
    Py_ssize_t width, Py_ssize_t step, Py_ssize_t to_step, Py_ssize_t planes, Py_ssize_t rows, const Py_ssize_t *apart,
    bint *inside
) noexcept nogil:
    cdef Py_ssize_t i, c
    cdef uint64_t offset, plane, row
    cdef uint64_t cell = area.cell, length = area.length, plane_apart = area.apart[0], row_apart = area.apart[1]
    cdef uint64_t plane_back = plane_apart - apart[0], row_back = row_apart - apart[1]
    cdef Py_ssize_t first = block.first, count = block.count
    inside[0] = False
    for i in range(count):
        for c in range(width):
            offset = <uint64_t> read_index(job, indices, first + i, i * step + c) - cell
            plane = run_of(offset, planes, plane_apart)
            row = run_of(offset - plane * plane_apart, rows, row_apart)
            if offset - plane * plane_apart - row * row_apart >= length:
                return
            place(&to[(offset - plane * plane_back - row * row_back) * to_step + c], values[i * step + c])
    inside[0] = True


cdef inline inlined put_in_area(
    const item *values, const index *indices, item *to, const Job *job, const Area *area, const Block *block,
    Py_ssize_t width, Py_ssize_t step, Py_ssize_t to_step, const Py_ssize_t *apart, bint *inside
) noexcept nogil:
    # Constant numbers of runs let the compiler simplify the usual loops.
    if area.runs[0] == 1 and area.runs[1] == 1:
        put_in_runs(values, indices, to, job, area, block, width, step, to_step, 1, 1, apart, inside)
    elif area.runs[0] == 1 and area.runs[1] == 2:
        put_in_runs(values, indices, to, job, area, block, width, step, to_step, 1, 2, apart, inside)
    elif area.runs[0] == 2 and area.runs[1] == 1:
        put_in_runs(values, indices, to, job, area, block, width, step, to_step, 2, 1, apart, inside)
    else:
        put_in_runs(
            values, indices, to, job, area, block, width, step, to_step, area.runs[0], area.runs[1], apart, inside
        )


cdef cloned put_block(
    const item *values, const index *indices, item *to, const Job *job, const Area *area, const Block *block,
    Py_ssize_t width, Py_ssize_t to_step, const Py_ssize_t *apart, bint *inside
) noexcept nogil:
    """Put each value of a block at its index in `to`; set `inside` to True if all lie in the area.

    The runs of cells in `to` lie `apart` from each other, which may be less than in the plane.
    """
    if job.step == 1:
        put_in_area(values, indices, to, job, area, block, 1, 1, 1, apart, inside)
    else:
        put_in_area(values, indices, to, job, area, block, width, job.step, to_step, apart, inside)


cdef bint scatter_block(
    const item *values, const index *indices, item *plane, const Job *job, Py_ssize_t nth, Py_ssize_t width,
    char *stage, Stream *streams, Rows *rows
) noexcept nogil:
    """Write the cells of a block; return False if an index lies outside of them: then they must be written again."""
    cdef Block block = block_at(job, nth)
    cdef Area area = area_of(job, &block)
    cdef Py_ssize_t[2] apart
    cdef Py_ssize_t margin, run
    cdef bint inside
    if area.runs[0] < 1 or area.runs[1] < 1 or area.length < 1:  # the last windows may lie past the plane
        return False
    if index is not uint8_t:
        if job.compared and not own_block(indices, job, &block, width):
            return False
        values += block.first * job.step
        indices += block.first * job.step
    if not job.streamed:
        if index is uint8_t:
            if job.selects:
                return select_rows(
                    values, indices, plane + area.cell, job, rows, &block, area.runs[0], row_length(job, &area)
                )
        for run in range(0 if job.zeroed else area.runs[0] * area.runs[1]):
            zero(<char *> (plane + start_of(&area, run) * job.step), job, area.length, width, sizeof(item))
        plane += area.cell * job.step
        if index is uint8_t:
            inside = put_rows(values, indices, plane, job, rows, &block, area.cell) == block.count
        else:
            put_block(values, indices, plane, job, &area, &block, width, job.step, area.apart, &inside)
        return inside
    # In the stage, each run has a margin before it for the pending part of a cache line.
    margin = margin_of(width * sizeof(item))
    apart[1] = margin + area.length
    apart[0] = area.runs[1] * apart[1]
    stage += margin * width * sizeof(item)
    if index is uint8_t:
        inside = put_in_stage(values, indices, <item *> stage, job, rows, &block, &area)
    else:
        memset(stage, 0, (area.runs[0] * apart[0] - margin) * width * sizeof(item))
        put_block(values, indices, <item *> stage, job, &area, &block, width, width, apart, &inside)
    if not inside:
        return False
    for run in range(area.runs[0] * area.runs[1]):
        stream_write(
            &streams[run], <char *> (plane + start_of(&area, run) * job.step),
            stage + run * apart[1] * width * sizeof(item), area.length * width * sizeof(item),
        )
    return True


cdef inline Py_ssize_t row_length(const Job *job, const Area *area) noexcept nogil:
    """Return how many cells of a row a block owns."""
    return job.cells_along[2] if job.pieces == 1 else area.length


cdef inline bint put_in_stage(
    const item *values, const uint8_t *indices, item *stage, const Job *job, Rows *rows, const Block *block,
    const Area *area
) noexcept nogil:
    """Put values at their taps in the stage, whose cells are in the plane's order; return False at a bad tap."""
    if job.selects:
        return select_rows(values, indices, stage, job, rows, block, 1, row_length(job, area))
    memset(stage, 0, area.length * job.width * sizeof(item))
    return put_rows(values, indices, stage, job, rows, block, area.cell) == block.count


cdef void scatter_part(
    item *kind, index *index_kind, const Job *job, Py_ssize_t nth, int thread, Rows *rows
) noexcept nogil:
    cdef Strip strip = strip_at(job, quotient(nth, job.parts))
    cdef const item *values = <const item *> job.pooled + strip.pooled
    cdef const index *indices = <const index *> job.indices + strip.pooled
    cdef item *plane = <item *> job.plane + strip.plane
    cdef char *stage = stage_of(job, thread)
    cdef Stream[STREAMED_RUNS] streams
    cdef Py_ssize_t part = nth % job.parts, b, run
    cdef bint inside = True
    rows.width = strip.width
    for run in range(STREAMED_RUNS if job.streamed else 0):
        streams[run].pending = 0
    for b in range(part * job.blocks // job.parts, (part + 1) * job.blocks // job.parts):
        inside = scatter_block(values, indices, plane, job, b, strip.width, stage, streams, rows)
        if not inside:
            break
    if job.streamed:
        for run in range(STREAMED_RUNS):
            if streams[run].pending:
                stream_end(&streams[run])
        fence()
    if not inside and job.parts == 1:
        scatter_range(kind, index_kind, job, nth, thread, rows)
    elif not inside:
        job.strayed[nth] = True


# --- by cells: exact for any indices ----------------------------------------------------------------------------------


cdef inline Py_ssize_t put(
    const item *values, const index *indices, item *plane, const Job *job, Py_ssize_t width, Py_ssize_t low,
    Py_ssize_t end, bint whole, int thread
) noexcept nogil:
    """Put values with an index in low..end-1, or all if `whole`; return the first index to report, or -1."""
    cdef Py_ssize_t i, c, at, first = 0
    cdef int64_t cell
    while first < job.windows and not stopped(job, thread):
        for i in range(first, min(first + job.segment, job.windows)):
            for c in range(width):
                at = i * job.step + c
                cell = read_index(job, indices, i, at)
                if <uint64_t> cell >= <uint64_t> job.cells:
                    if job.drops:
                        continue
                    return at
                if whole or low <= cell < end:
                    place(&plane[cell * job.step + c], values[at])
        first += job.segment
    return -1


cdef void scatter_range(
    item *kind, index *index_kind, const Job *job, Py_ssize_t nth, int thread, Rows *rows
) noexcept nogil:
    """Write a range of a strip's cells: read all indices of the strip, put the values with an index in the range."""
    cdef Strip strip = strip_at(job, quotient(nth, job.ranges))
    cdef const item *values = <const item *> job.pooled + strip.pooled
    cdef const index *indices = <const index *> job.indices + strip.pooled
    cdef item *plane = <item *> job.plane + strip.plane
    cdef Py_ssize_t low = quotient(rest(nth, job.ranges) * job.cells, job.ranges)
    cdef Py_ssize_t end = quotient((rest(nth, job.ranges) + 1) * job.cells, job.ranges)
    cdef Py_ssize_t bad = -1, repeated = -1, first = low
    if index is uint8_t:
        if not job.apart and job.duplicates != ERROR:
            scatter_rows(kind, job, nth, thread, rows)
            return
    if job.duplicates == ERROR or job.confined:
        bad = first_bad(indices, job, strip.width, thread)
    if bad < 0 and job.duplicates == ERROR:
        repeated = first_repeated(indices, job, strip.width, low, end, seen_of(job, thread), thread)
    if bad < 0 and repeated < 0:
        # Blocks may have written cells before one met an index outside of it.  Assigning twice is right, adding is not.
        if not job.zeroed or job.duplicates == SUM:
            while first < end and not stopped(job, thread):
                zero(
                    <char *> (plane + first * job.step), job, min(job.segment, end - first), strip.width, sizeof(item)
                )
                first += job.segment
        if job.ranges > 1:
            bad = put(values, indices, plane, job, strip.width, low, end, False, thread)
        elif job.step == 1:
            bad = put(values, indices, plane, job, 1, low, end, True, thread)
        else:
            bad = put(values, indices, plane, job, strip.width, low, end, True, thread)
    report(job, &strip, thread, bad, repeated)


cdef outlined scatter_chunk(item *kind, index *index_kind, const Job *job, const Chunk *chunk) noexcept nogil:
    """Run tasks: parts of strips by blocks, or ranges of the remaining strips by cells."""
    cdef Py_ssize_t nth
    cdef bint by_cells = job.share.by_cells
    cdef Rows rows  # for taps only
    if index is uint8_t:
        tabulate(job, &rows)
    for nth in range(chunk.first, chunk.end):
        if not by_cells:
            scatter_part(kind, index_kind, job, nth, chunk.thread, &rows)
        elif any_strayed(job, nth // job.ranges, nth // job.ranges + 1):
            scatter_range(kind, index_kind, job, nth, chunk.thread, &rows)
