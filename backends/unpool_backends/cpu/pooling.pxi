# Pooling: the largest element of each window and where it lies, a row of windows or of channels at a time.

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


cdef inline inlined keep_better(
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


cdef inline inlined improve(
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


cdef inline inlined reset(real *best, int32_t *found, int32_t offset, Py_ssize_t count) noexcept nogil:
    """Until something beats it, the first element of a window stands."""
    cdef Py_ssize_t i
    for i in range(count):
        best[i] = lowest(best[i])
        found[i] = offset


cdef cloned pool_row(
    const real *plane, real *values, index *indices, const Job *job, const Span *d, const Span *h, Py_ssize_t w,
    Py_ssize_t count
) noexcept nogil:
    """Pool `count` neighbouring windows of one row and channel, from window `w` on.

    Rows of the windows are outermost, then their columns, then the windows themselves, along which memory is read.  A
    cell is kept as its offset from the corner of its window: 32 bits, as the plan makes sure, move in half the time.
    """
    cdef int32_t[TILE] found
    cdef real[TILE] side_by_side
    cdef real *best = values if job.step == 1 else side_by_side
    cdef Py_ssize_t kd, kh, kw, i, row, column, low, high
    cdef Py_ssize_t stride = job.stride[2], dilation = job.dilation[2], cells = job.cells_along[2]
    cdef Py_ssize_t start = w * stride - job.padding[2]
    cdef Py_ssize_t corner = d.start * job.cell_apart[0] + h.start * job.cell_apart[1] + start
    # Columns that some window of the run has inside: the last window has the first of them, the first the last.
    cdef Py_ssize_t first_column = max(0, (dilation - 1 - start - (count - 1) * stride) // dilation)
    cdef Py_ssize_t end_column = min(job.kernel[2], (cells - start + dilation - 1) // dilation)
    reset(best, found, <int32_t> first_row(job, d, h), count)
    # On the left edge, the first element is not in the first column.
    for i in range(min(count, (stride - 1 - start) // stride) if start < 0 else 0):
        found[i] += <int32_t> ((dilation - 1 - start - i * stride) // dilation * dilation)
    for kd in range(d.first, d.end):
        for kh in range(h.first, h.end):
            row = kd * job.dilation[0] * job.cell_apart[0] + kh * job.dilation[1] * job.cell_apart[1]
            for kw in range(first_column, end_column):
                # Windows low..high-1 of the run have this column inside the plane.
                column = start + kw * dilation
                low = 0 if column >= 0 else (stride - 1 - column) // stride
                high = 0 if column >= cells else min(count, (cells - column + stride - 1) // stride)
                if low < high:
                    improve(
                        plane + (corner + row + kw * dilation + low * stride) * job.step, stride * job.step,
                        high - low, <int32_t> (row + kw * dilation), best + low, found + low,
                    )
    if job.step > 1:
        for i in range(count):
            values[i * job.step] = best[i]
    if indices != NULL:
        for i in range(count):
            indices[i * job.step] = <index> (corner + i * stride + found[i])


cdef cloned pool_channels(
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


cdef void pool_part(real *kind, index *index_kind, const Job *job, Py_ssize_t nth) noexcept nogil:
    cdef Strip strip = strip_at(job, nth // job.parts)
    cdef const real *plane = <const real *> job.plane + strip.plane
    cdef real *values
    cdef index *indices = NULL
    cdef Py_ssize_t part = nth % job.parts, b, w, c, first
    cdef Block block
    cdef Span d, h
    for b in range(part * job.blocks // job.parts, (part + 1) * job.blocks // job.parts):
        block = block_at(job, b)
        first = strip.pooled + block.first * job.step
        values = <real *> job.pooled + first
        if job.indices != NULL:
            indices = <index *> job.indices + first
        d = clip(job, 0, block.depth)
        h = clip(job, 1, block.row)
        # A few channels make too short a run; then their windows do.
        if strip.width < FEW:
            for c in range(strip.width):
                pool_row(
                    plane + c, values + c, indices + c if indices != NULL else NULL, job, &d, &h, block.column,
                    block.count,
                )
        else:
            for w in range(block.count):
                pool_channels(
                    plane, values + w * job.step, indices + w * job.step if indices != NULL else NULL, job, &d, &h,
                    block.column + w, strip.width,
                )


cdef outlined pool_chunk(real *kind, index *index_kind, const Job *job, const Chunk *chunk) noexcept nogil:
    """Do tasks, all of which are parts of strips."""
    cdef Py_ssize_t nth
    for nth in range(chunk.first, chunk.end):
        pool_part(kind, index_kind, job, nth)
