# How the work of a call is cut into blocks and tasks.

cdef void cut(Job *job, Py_ssize_t rows, Py_ssize_t piece, double cost) noexcept nogil:
    """Cut strips into blocks of `rows` rows of windows, or of `piece` windows of a row; cut the work into tasks.

    A window takes as long as moving `cost` elements.
    """
    cdef Py_ssize_t threads = allowed_threads(job)
    cdef Py_ssize_t work = <Py_ssize_t> min(job.width * max(<double> job.cells, job.windows * cost), MOST_WORK)
    cdef Py_ssize_t tasks, each, longest
    job.rows = max(1, min(rows, job.windows_along[1]))
    job.row_blocks = (job.windows_along[1] + job.rows - 1) // job.rows
    job.piece = max(1, min(piece, job.windows_along[2]))
    job.pieces = (job.windows_along[2] + job.piece - 1) // job.piece
    job.blocks = job.windows_along[0] * job.row_blocks * job.pieces
    job.segment = max(1, LONGEST // job.width)
    job.parts = job.ranges = 1
    if threads > 1 and job.strips < PARTS * threads:
        job.parts = max(1, min(min(work // SERIAL, job.blocks), PARTS * threads // job.strips))
    if job.parts > 1 and job.strips < threads:
        # Fewer ranges than parts, since the thread of a range reads all indices of the strip.
        job.ranges = (threads + job.strips - 1) // job.strips
    longest = max(1, min(work // LONGEST, job.blocks))
    job.parts = max(job.parts, longest)
    job.long = work > LONGEST // job.strips
    tasks = job.strips * (job.parts if job.in_blocks else job.ranges)
    # A chunk has at least SERIAL elements.  It has more while there are many chunks, so that threads share few pages.
    # Threads take one chunk at a time, which balances the load if another program takes a core.
    each = max(1, <Py_ssize_t> min(<double> work * job.strips, MOST_WORK) // tasks)
    job.chunk = max(1, SERIAL // each, min(CHUNK // each, tasks // (threads * CHUNKS)))
    job.threads = startable_team(<int> min(threads, (tasks + job.chunk - 1) // job.chunk))
    if job.threads == 1:
        job.parts, job.ranges = longest, 1


cdef void cut_by_cells(Job *job) noexcept nogil:
    """Cut so that the cells around a block's windows fit half of a first-level cache."""
    cdef Py_ssize_t cell = job.width * job.itemsize
    cdef Py_ssize_t window = reach(job, 0) * reach(job, 1) * reach(job, 2) * cell
    cdef Py_ssize_t row = reach(job, 0) * reach(job, 1) * job.cells_along[2] * cell
    cdef Py_ssize_t rows, piece
    # A block has at least one window, and a call cannot be stopped inside of a block.
    job.in_blocks &= window <= LONGEST * job.itemsize
    if row <= BLOCK:
        rows, piece = BLOCK // row, job.windows_along[2]
        if job.by_taps:  # a block's taps are copied, and the C interface takes many windows on few cells
            piece = min(piece, TAP_TILE // job.width)
            rows = min(rows, TAP_TILE // (piece * job.width)) if piece == job.windows_along[2] else 1
        cut(job, rows, piece, 1)
    else:
        cut(job, 1, BLOCK // window, 1)


cdef void cut_by_windows(Job *job) noexcept nogil:
    """Cut into rows of windows, or pieces of a row, whose taps and values fit a first-level cache."""
    cut(job, TILE // (job.windows_along[2] * job.width), TILE // job.width, 1)


cdef void cut_by_taps(Job *job) noexcept nogil:
    """Cut into pieces of a row of windows whose state fits a first-level cache; fewer windows if they are large."""
    cdef double cost = 1
    cdef Py_ssize_t axis
    for axis in range(3):
        cost *= min(job.kernel[axis], job.cells_along[axis])
    cost = max(1, cost / TAPS)
    plan_bands(job, <Py_ssize_t> max(1, min(TILE, LONGEST / (job.width * cost))))
    cut(job, 1, job.bands.piece, cost)


cdef bint fits_stage(const Job *job) noexcept nogil:
    """Return True if every block fits a stage."""
    cdef Py_ssize_t runs = most_owned(job, 0, 1), length
    if job.pieces == 1:
        length = most_owned(job, 1, job.rows) * job.cells_along[2]
    else:
        length = most_owned(job, 2, job.piece)
        runs *= most_owned(job, 1, 1)
    length += margin_of(job.width * job.itemsize)
    return job.width == job.step and runs <= STREAMED_RUNS and runs * length <= STAGE // (job.width * job.itemsize)
