# Where a window lies.  Every kernel gets the position and the taps of a window here.
#
# Along one axis, a window starts at cell window * stride - padding, and its taps lie `dilation` cells apart:
#
#     cell    -1   0   1   2   3          kernel 3, dilation 2, padding 1: window 0 starts in the padding,
#     tap      0       1       2          and span(job, axis, 0) is {start: -1, first: 1, end: 3}
#
# The padding is negative if the first window starts inside the plane, which is a block of a larger one then.
#
# The corner of a window is the cell of its tap (0, 0, 0).  Tap (d, h, w) lies `tap_offset` cells behind it.

cdef struct Span:
    # Along one axis: the cell where a window starts, and its taps first..end-1 that lie inside the plane.
    Py_ssize_t start
    Py_ssize_t first
    Py_ssize_t end


cdef inline Span span(const Job *job, int axis, Py_ssize_t window) noexcept nogil:
    """Return the span of a window along one axis.  Windows of pooling have a tap inside; unpooling's may have none."""
    cdef Span along
    cdef Py_ssize_t dilation = job.dilation[axis]
    along.start = window * job.stride[axis] - job.padding[axis]
    along.first = 0 if along.start >= 0 else (dilation - 1 - along.start) // dilation
    along.end = job.kernel[axis]
    if along.start + (along.end - 1) * dilation >= job.cells_along[axis]:
        along.end = (job.cells_along[axis] - along.start + dilation - 1) // dilation
    return along


cdef inline void whole_along(const Job *job, int axis, Py_ssize_t *low, Py_ssize_t *high) noexcept nogil:
    """Find the windows low..high-1 along one axis that are whole: all of their taps lie inside the plane."""
    cdef Py_ssize_t stride = job.stride[axis]
    cdef Py_ssize_t reached = job.cells_along[axis] + job.padding[axis] - (job.kernel[axis] - 1) * job.dilation[axis]
    low[0] = min((job.padding[axis] + stride - 1) // stride, job.windows_along[axis])
    high[0] = min((reached + stride - 1) // stride, job.windows_along[axis]) if reached > 0 else 0


cdef inline Py_ssize_t corner_of(const Job *job, const Span *d, const Span *h, const Span *w) noexcept nogil:
    """Return the cell of a window's first tap; it may be negative, or in another row, if the tap is padding."""
    return d.start * job.cell_apart[0] + h.start * job.cell_apart[1] + w.start


cdef inline Py_ssize_t corner_at(const Job *job, Py_ssize_t d, Py_ssize_t h, Py_ssize_t w) noexcept nogil:
    """Return `corner_of` a window of depth d, row h and column w, without the divisions of `span`."""
    return (
        (d * job.stride[0] - job.padding[0]) * job.cell_apart[0]
        + (h * job.stride[1] - job.padding[1]) * job.cell_apart[1] + w * job.stride[2] - job.padding[2]
    )


cdef inline Py_ssize_t tap_offset(const Job *job, Py_ssize_t d, Py_ssize_t h, Py_ssize_t w) noexcept nogil:
    """Return the distance of a tap from its window's corner, in cells."""
    return d * job.dilation[0] * job.cell_apart[0] + h * job.dilation[1] * job.cell_apart[1] + w * job.dilation[2]


cdef inline Py_ssize_t taps_of(const Job *job) noexcept nogil:
    return job.kernel[0] * job.kernel[1] * job.kernel[2]


cdef inline bint has_tap(const Job *job, int axis, const Span *along, Py_ssize_t cell) noexcept nogil:
    """Return True if a window has a tap at this coordinate of the plane along one axis."""
    cdef Py_ssize_t away = cell - along.start
    return away >= 0 and away % job.dilation[axis] == 0 and away // job.dilation[axis] < job.kernel[axis]


cdef inline int64_t cell_of(const Job *job, Py_ssize_t window, Py_ssize_t tap) noexcept nogil:
    """Return the cell of a tap of a window; -1 if there is no such tap, or if it lies in the padding."""
    cdef Py_ssize_t cell = 0, apart = 1, at
    cdef int axis
    for axis in range(2, -1, -1):
        at = window % job.windows_along[axis] * job.stride[axis] - job.padding[axis]
        at += tap % job.kernel[axis] * job.dilation[axis]
        if at < 0 or at >= job.cells_along[axis]:
            return -1
        cell += at * apart
        apart *= job.cells_along[axis]
        window //= job.windows_along[axis]
        tap //= job.kernel[axis]
    return -1 if tap else cell


cdef inline Py_ssize_t windows_until(const Job *job, Py_ssize_t cell, Py_ssize_t limit) noexcept nogil:
    """Count the windows of a row whose tap lies before `limit`, starting with the one whose tap lies at `cell`."""
    return 0 if cell >= limit else (limit - cell + job.stride[2] - 1) // job.stride[2]


cdef inline Py_ssize_t whole_windows(const Job *job, const Span *w) noexcept nogil:
    """Count the whole windows of a row, starting with one that is whole."""
    return windows_until(job, w.start + tap_offset(job, 0, 0, job.kernel[2] - 1), job.cells_along[2])


# If windows share no cell, each of them owns the cells up to the start of the next one, and every cell has an owner.


cdef inline Py_ssize_t edge(const Job *job, int axis, Py_ssize_t window) noexcept nogil:
    """Return the first cell that a window owns along one axis; the cells of the window before it end there."""
    if window == 0:
        return 0
    if window == job.windows_along[axis]:
        return job.cells_along[axis]
    return min(span(job, axis, window).start, job.cells_along[axis])


cdef inline Py_ssize_t reach(const Job *job, int axis) noexcept nogil:
    """Return how many cells a window owns along one axis, unless it is the first or the last.

    Bounded by the plane, because products of strides alone may not fit 64 bits.
    """
    return min(job.stride[axis], job.cells_along[axis])


cdef inline Py_ssize_t most_owned(const Job *job, int axis, Py_ssize_t windows) noexcept nogil:
    """Return a bound of the cells that so many neighbouring windows own along one axis.

    The first and the last one own the cells outside of all windows, too: as many as one more window unless the plane
    is a block of a larger one.
    """
    cdef Py_ssize_t behind = job.cells_along[axis] + job.padding[axis] - job.windows_along[axis] * job.stride[axis]
    return windows * reach(job, axis) + max(reach(job, axis), max(0, -job.padding[axis]) + max(0, behind))


# GCC removes calls of functions that only prefetch, unless they are inlined.


cdef inline inlined fetch(const void *start, Py_ssize_t bytes) noexcept nogil:
    """Prefetch memory, which is harmless at any address."""
    cdef Py_ssize_t at
    for at in range((bytes + LINE - 1) // LINE):
        prefetch(<size_t> start + at * LINE)


cdef inline inlined fetch_row(const word *cells, const Job *job, Py_ssize_t columns) noexcept nogil:
    """Prefetch the cells of a row of windows that those before it do not have, given its corner."""
    cdef Py_ssize_t kh
    for kh in range(max(0, job.kernel[1] - job.stride[1]), job.kernel[1]):
        fetch(cells + tap_offset(job, 0, kh, 0), columns * job.stride[2] * sizeof(word))
