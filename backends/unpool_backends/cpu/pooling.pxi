# Pooling: the largest element of each window and its index, a row of windows or of channels at a time.

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
    """Return the lowest value of a type, which every value equals or beats."""
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
    const real *cells, Py_ssize_t apart, Py_ssize_t count, int32_t mark, real *best, int32_t *found
) noexcept nogil:
    # Selections instead of branches: the compiler vectorizes them, and random data causes no mispredictions.
    cdef Py_ssize_t i
    cdef real value
    cdef bint wins
    for i in range(count):
        value = cells[i * apart]
        wins = better(value, best[i])
        best[i] = value if wins else best[i]
        found[i] = mark if wins else found[i]


cdef inline inlined keep_better_pairs(
    const real *cells, Py_ssize_t count, int32_t mark, int32_t next_mark, real *best, int32_t *found
) noexcept nogil:
    """Compare two neighbouring taps of windows that lie 2 elements apart: each element is loaded once."""
    cdef Py_ssize_t i
    cdef real value, kept
    cdef int32_t number
    cdef bint wins
    for i in range(count):
        kept, number = best[i], found[i]
        value = cells[2 * i]
        wins = better(value, kept)
        kept = value if wins else kept
        number = mark if wins else number
        value = cells[2 * i + 1]
        wins = better(value, kept)
        best[i] = value if wins else kept
        found[i] = next_mark if wins else number


cdef inline inlined improve(
    const real *cells, Py_ssize_t apart, Py_ssize_t count, int32_t mark, real *best, int32_t *found
) noexcept nogil:
    """Compare the same tap of `count` windows, `apart` elements from each other, with the best taps so far."""
    # A constant stride lets the compiler load vectors.
    if apart == 1:
        keep_better(cells, 1, count, mark, best, found)
    elif apart == 2:
        keep_better(cells, 2, count, mark, best, found)
    else:
        keep_better(cells, apart, count, mark, best, found)


cdef inline inlined reset(real *best, int32_t *found, int32_t mark, Py_ssize_t count) noexcept nogil:
    """Start with the first tap of each window, which remains the result if all values are the lowest."""
    cdef Py_ssize_t i
    for i in range(count):
        best[i] = lowest(best[i])
        found[i] = mark


cdef cloned pool_row(
    const real *plane, real *values, index *indices, const Job *job, const Span *d, const Span *h, Py_ssize_t w,
    Py_ssize_t count
) noexcept nogil:
    """Pool `count` neighbouring windows of one row and channel, from window `w` on.

    The loops go over rows of the windows, then their columns, then the windows, which lie along memory.
    """
    cdef int32_t[TILE] found
    cdef real[TILE] side_by_side
    cdef real *best = values if job.step == 1 else side_by_side
    cdef Span first = span(job, 2, w), last = span(job, 2, w + count - 1)
    cdef Py_ssize_t kd, kh, kw, i, column, low, high, stride = job.stride[2]
    cdef bint paired, pairs = stride == 2 and job.step == 1 and job.dilation[2] == 1
    cdef Py_ssize_t corner = corner_of(job, d, h, &first)
    if real is half or real is bfloat16:
        pairs = False  # a value is a struct, whose chain of selections the compiler does not vectorize
    reset(best, found, mark_of(job, indices, d.first, h.first, 0), count)
    # On the left edge, the first tap inside the plane is not in the first column.
    for i in range(min(count, windows_until(job, first.start, 0))):
        found[i] = mark_of(job, indices, d.first, h.first, span(job, 2, w + i).first)
    for kd in range(d.first, d.end):
        for kh in range(h.first, h.end):
            # The last window has the first column that is inside the plane in any window.  The first one has the last.
            kw = last.first
            while kw < first.end:
                # Windows low..high-1 of the run have this column inside the plane.
                column = first.start + tap_offset(job, 0, 0, kw)
                low = windows_until(job, column, 0)
                high = min(count, windows_until(job, column, job.cells_along[2]))
                paired = (
                    pairs and kw + 1 < first.end and low == windows_until(job, column + 1, 0)
                    and high == min(count, windows_until(job, column + 1, job.cells_along[2]))
                )
                if low < high and paired:
                    keep_better_pairs(
                        plane + corner + tap_offset(job, kd, kh, kw) + low * stride, high - low,
                        mark_of(job, indices, kd, kh, kw), mark_of(job, indices, kd, kh, kw + 1), best + low,
                        found + low,
                    )
                elif low < high:
                    improve(
                        plane + (corner + tap_offset(job, kd, kh, kw) + low * stride) * job.step, stride * job.step,
                        high - low, mark_of(job, indices, kd, kh, kw), best + low, found + low,
                    )
                kw += 1 + paired
    if job.step > 1:
        for i in range(count):
            values[i * job.step] = best[i]
    if indices != NULL:
        for i in range(count):
            write_index(indices, i * job.step, corner + i * stride, found[i])


cdef cloned pool_channels(
    const real *plane, real *values, index *indices, const Job *job, const Span *d, const Span *h, Py_ssize_t column,
    Py_ssize_t count
) noexcept nogil:
    """Pool one window of `count` neighbouring channels, which lie side by side; otherwise like `pool_row`."""
    cdef int32_t[TILE] found
    cdef Py_ssize_t kd, kh, kw, i
    cdef Span w = span(job, 2, column)
    cdef Py_ssize_t corner = corner_of(job, d, h, &w)
    reset(values, found, mark_of(job, indices, d.first, h.first, w.first), count)
    for kd in range(d.first, d.end):
        for kh in range(h.first, h.end):
            for kw in range(w.first, w.end):
                improve(
                    plane + (corner + tap_offset(job, kd, kh, kw)) * job.step, 1, count,
                    mark_of(job, indices, kd, kh, kw), values, found,
                )
    if indices != NULL:
        for i in range(count):
            write_index(indices, i, corner, found[i])


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
        d = span(job, 0, block.depth)
        h = span(job, 1, block.row)
        # The innermost loops go over the channels, or over the windows if channels are few.
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
    """Run tasks, which are all parts of strips."""
    cdef Py_ssize_t nth
    for nth in range(chunk.first, chunk.end):
        pool_part(kind, index_kind, job, nth)
