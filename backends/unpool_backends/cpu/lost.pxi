# Values that are lost: where windows overlap and the last value of a cell wins, a later window overwrites them.
#
# Two windows share a cell by a pair of taps that depends only on their distance.  With kernel 3 and stride 2:
#
#     window      |0 1 2|          tap 2 of a window is tap 0 of the next one: a value is lost if its tap is 2, and
#     the next        |0 1 2|      the next window's tap is 0
#
# So each pair is one comparison of bytes for all windows of a block.  In a copy of the taps, LOST lies around the rows,
# and no pair has that number.

cdef enum:
    # Pairs of taps up to which windows are compared with later ones.
    MOST_PAIRS = 64


cdef struct Later:
    # A copy of a block's taps, and of the windows around it that may overwrite its values: `most` windows along each
    # axis.  LOST stands for windows that do not exist.
    Py_ssize_t[3] most
    Py_ssize_t above
    Py_ssize_t rows
    Py_ssize_t pitch
    uint8_t[2 * TAP_TILE] taps
    uint8_t[2 * TAP_TILE] lost


cdef inline void plan_later(const Job *job, Later *later, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """Lay out the copy for a block of so many rows and columns."""
    cdef int axis
    for axis in range(3):
        later.most[axis] = (job.kernel[axis] - 1) * job.dilation[axis] // job.stride[axis]
        later.most[axis] = min(later.most[axis], job.windows_along[axis] - 1)
    later.above = later.most[1] if later.most[0] else 0  # a later depth may have an earlier row
    later.rows = later.above + rows + later.most[1]
    later.pitch = (columns + 2 * later.most[2]) * job.width


cdef inline Py_ssize_t distance(const Job *job, int axis, Py_ssize_t windows) noexcept nogil:
    """Return the distance in taps of two windows so far apart; the number of taps if they share no cell."""
    cdef Py_ssize_t cells = windows * job.stride[axis]
    if cells % job.dilation[axis]:
        return job.kernel[axis]
    return min(max(cells // job.dilation[axis], -job.kernel[axis]), job.kernel[axis])


cdef inline Py_ssize_t shared_taps(const Job *job, int axis, Py_ssize_t windows) noexcept nogil:
    """Return how many taps of a window are cells of one so many windows behind it, along one axis."""
    cdef Py_ssize_t taps = distance(job, axis, windows)
    return job.kernel[axis] - (taps if taps > 0 else -taps)


cdef bint strikes_fit(const Job *job) noexcept nogil:
    """Return True if values that are lost are found by comparing pairs of taps: few pairs, and a byte left for LOST."""
    cdef Later later
    cdef Py_ssize_t d, h, w, pairs = 0
    plan_later(job, &later, job.rows, job.piece)
    if taps_of(job) > LOST or (later.most[0] + 1) * later.rows * later.pitch > 2 * TAP_TILE:
        return False
    for d in range(later.most[0] + 1):
        for h in range(-later.most[1] if d else 0, later.most[1] + 1):
            for w in range(-later.most[2] if d or h else 1, later.most[2] + 1):
                pairs += shared_taps(job, 0, d) * shared_taps(job, 1, h) * shared_taps(job, 2, w)
                if pairs > MOST_PAIRS:
                    return False
    return True


cdef void strike(const uint8_t *indices, const Job *job, Rows *rows, Later *later) noexcept nogil:
    """Replace the taps of a block whose values are lost by LOST."""
    cdef Py_ssize_t d, h, w, i, row, count = rows.columns * rows.width
    cdef uint8_t *taps
    cdef const uint8_t *lost = later.lost
    plan_later(job, later, rows.block.end_row - rows.block.row, rows.columns)
    copy_around(indices, job, rows, later)
    memset(later.lost, 0, (rows.block.end_row - rows.block.row) * later.pitch)
    for d in range(later.most[0] + 1):
        for h in range(-later.most[1] if d else 0, later.most[1] + 1):
            for w in range(-later.most[2] if d or h else 1, later.most[2] + 1):
                mark_pairs(job, rows, later, d, h, w)
    for row in range(rows.block.row, rows.block.end_row):
        taps = row_of(rows, row)
        for i in range(count):
            taps[i] |= lost[i]
        lost += later.pitch


cdef void copy_around(const uint8_t *indices, const Job *job, const Rows *rows, Later *later) noexcept nogil:
    cdef Py_ssize_t depth, row, column, d, first = max(0, rows.block.column - later.most[2])
    cdef Py_ssize_t end = min(rows.block.end_column + later.most[2], job.windows_along[2])
    cdef const uint8_t *source
    cdef uint8_t *to
    memset(later.taps, LOST, (later.most[0] + 1) * later.rows * later.pitch)
    for d in range(later.most[0] + 1):
        depth = rows.block.depth + d
        if depth >= job.windows_along[0]:
            return
        for row in range(
            max(0, rows.block.row - later.above), min(rows.block.end_row + later.most[1], job.windows_along[1])
        ):
            source = indices + ((depth * job.windows_along[1] + row) * job.windows_along[2] + first) * job.step
            to = later_at(later, rows, d, row, first - rows.block.column)
            if rows.width == job.step:
                memcpy(to, source, (end - first) * rows.width)
            else:
                for column in range(end - first):
                    memcpy(to + column * rows.width, source + column * job.step, rows.width)


cdef inline uint8_t *later_at(
    Later *later, const Rows *rows, Py_ssize_t depth, Py_ssize_t row, Py_ssize_t column
) noexcept nogil:
    """Return the copy of the taps of a row, from the column that lies so many windows behind the block's first."""
    row += later.above - rows.block.row
    return later.taps + (depth * later.rows + row) * later.pitch + (later.most[2] + column) * rows.width


cdef void mark_pairs(
    const Job *job, Rows *rows, Later *later, Py_ssize_t d, Py_ssize_t h, Py_ssize_t w
) noexcept nogil:
    """Mark the values of a block that windows overwrite which lie (d, h, w) windows behind."""
    # The rows of the copy are as long in both, so that one loop compares all rows of the block.
    cdef Py_ssize_t count = (rows.block.end_row - rows.block.row - 1) * later.pitch + rows.columns * rows.width
    cdef const uint8_t *own = later_at(later, rows, 0, rows.block.row, 0)
    cdef const uint8_t *other = later_at(later, rows, d, rows.block.row + h, w)
    cdef Py_ssize_t kd, kh, kw, tap
    cdef Py_ssize_t md = distance(job, 0, d), mh = distance(job, 1, h), mw = distance(job, 2, w)
    cdef Py_ssize_t back = (md * job.kernel[1] + mh) * job.kernel[2] + mw
    for kd in range(md, job.kernel[0]):
        for kh in range(max(0, mh), min(job.kernel[1], job.kernel[1] + mh)):
            for kw in range(max(0, mw), min(job.kernel[2], job.kernel[2] + mw)):
                tap = (kd * job.kernel[1] + kh) * job.kernel[2] + kw
                mark_lost(own, other, <uint8_t> tap, <uint8_t> (tap - back), later.lost, count)
