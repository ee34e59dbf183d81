# The plan of a pooling call: the sizes of its bands (see pooling.pxi), and how lanes number taps.

cdef extern from "pooling.h":
    enum:
        MOST_TAPS "UNPOOL_MOST_TAPS"


cdef enum:
    # Bytes of the lines and the results of a band: of several rows of windows, and of one.  Small bands read memory and
    # compare in turns, which overlap: with 24 KB, pooling k2 of rows of 112 windows took 1.3 times as long.
    BAND = 4 << 10
    LONG_BAND = 64 << 10
    # The most bytes of the lines of one row of windows, and of the phases that are compared at once.
    LINES = 64 << 10
    PHASES = 16 << 10
    # Windows of a row that a band has at least, even if it does not fit: for fewer, vector loops do not pay.
    NARROW = 64


cdef void plan_bands(Job *job, Py_ssize_t most) noexcept nogil:
    """Choose the size of bands, with at most so many windows in a row, and how lanes number taps."""
    cdef Bands *bands = &job.bands
    cdef Py_ssize_t stride = job.stride[2], dilation = job.dilation[2], windows = job.windows_along[2]
    cdef Py_ssize_t size = job.itemsize, columns = min(job.kernel[2], MOST_TAPS), narrow
    cdef Py_ssize_t phases, reach, line, lines, row, most_taps = MOST_TAPS
    number_taps(job)
    if job.width >= FEW:  # no bands: channels are compared window by window
        bands.columns = min(columns, most_taps - (bands.numbers == IN_GROUPS))
        bands.piece = most
        bands.found_bytes = round_up(job.width * size)
        bands.starts_bytes = round_up(job.width * sizeof(int32_t))
        job.stage_bytes = bands.found_bytes + bands.starts_bytes
        return
    size *= job.step
    narrow = max(1, min(windows, NARROW // job.step))
    if bands.numbers == IN_GROUPS:
        most_taps -= 1
        columns = min(columns, most_taps)
    bands.period = stride // gcd(stride, dilation)
    phases, reach = min(columns, bands.period), (columns - 1) * dilation // stride
    while columns > 1 and phases * (reach + narrow) * size > PHASES:
        columns = (columns + 1) // 2
        phases, reach = min(columns, bands.period), (columns - 1) * dilation // stride
    bands.columns = columns
    bands.rows = job.kernel[1] if columns == job.kernel[2] else 1
    if bands.numbers == IN_GROUPS:
        bands.rows = min(bands.rows, most_taps // columns)
        bands.unit[1] = columns

    # Lines are shared if that takes no more of them for each row of windows, and if they fit.
    line = 2 * size * (reach + narrow)
    bands.step = gcd(job.stride[1], job.dilation[1])
    bands.row_apart, bands.tap_apart = job.stride[1] // bands.step, job.dilation[1] // bands.step
    lines = (job.kernel[1] - 1) * bands.tap_apart + 1
    bands.shared = bands.rows == job.kernel[1] and columns == job.kernel[2] and lines <= LINES // line
    bands.shared &= bands.row_apart <= bands.rows
    if not bands.shared:
        bands.rows = lines = max(1, min(bands.rows, LINES // line))
        bands.step, bands.row_apart, bands.tap_apart = job.dilation[1], lines, 1
    bands.lines = lines

    # Pieces as long as a second-level cache allows: memory is read fastest in long runs.
    bands.piece = min(LONG_BAND // ((2 * lines + phases + 2) * size) - reach, min(most, INT32_MAX // stride))
    bands.piece = max(1, min(max(bands.piece, narrow), windows))
    bands.piece = (windows - 1) // ((windows - 1) // bands.piece + 1) + 1  # of equal length
    if not bands.shared and job.kernel[2] > 2 * job.cells_along[2]:
        bands.piece = 1  # otherwise all taps between those of two windows are compared
    line = 2 * size * (bands.piece + reach)
    row = bands.row_apart * line + 2 * size * bands.piece
    bands.height = max(1, min(job.windows_along[1], 1 + (BAND - lines * line) // row))
    if not bands.shared and job.kernel[1] > 2 * job.cells_along[1]:
        bands.height = 1  # the same for rows
    bands.flat = bands.piece == windows and job.cells <= INT32_MAX
    bands.kept = lines + (bands.height - 1) * bands.row_apart
    bands.loaded = max(1, min(bands.kept, PHASES // (phases * (bands.piece + reach) * size)))
    if bands.shared and bands.height < job.windows_along[1]:
        bands.kept += lines  # so that the lines that two bands share are moved less often
    bands.lines_bytes = round_up(bands.kept * (bands.piece + reach) * size)
    bands.cells_bytes = round_up(bands.loaded * phases * (bands.piece + reach) * size)
    bands.found_bytes = round_up(bands.height * bands.piece * size)
    bands.starts_bytes = round_up((bands.height if bands.flat else 1) * bands.piece * job.step * sizeof(int32_t))
    job.stage_bytes = 2 * bands.lines_bytes + bands.cells_bytes + bands.found_bytes + bands.starts_bytes


cdef void number_taps(Job *job) noexcept nogil:
    """Number taps by their offsets if lanes can hold these, or else in row-major order; then `offsets` has theirs."""
    cdef Bands *bands = &job.bands
    cdef int64_t largest = INT32_MAX if job.itemsize > 2 else (1 << 8 * job.itemsize) - 1
    if job.by_taps:
        bands.numbers = BY_TAP
        bands.unit[0], bands.unit[1], bands.unit[2] = job.kernel[1] * job.kernel[2], job.kernel[2], 1
        return
    bands.unit[0] = job.dilation[0] * job.cell_apart[0]
    bands.unit[1] = job.dilation[1] * job.cell_apart[1]
    bands.unit[2] = job.dilation[2]
    bands.numbers = BY_OFFSET
    if job.indices == NULL or tap_offset(job, job.kernel[0] - 1, job.kernel[1] - 1, job.kernel[2] - 1) <= largest:
        return
    bands.unit[2] = 1
    if <double> job.kernel[0] * job.kernel[1] * job.kernel[2] <= MOST_TAPS:
        bands.numbers = BY_TAP
        bands.unit[0], bands.unit[1] = job.kernel[1] * job.kernel[2], job.kernel[2]
    else:
        bands.numbers = IN_GROUPS  # of fewer taps, each numbered from 0; all ones is the number of none


cdef inline Py_ssize_t gcd(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    while b:
        a, b = b, a % b
    return a


cdef inline Py_ssize_t round_up(Py_ssize_t bytes) noexcept nogil:
    return (bytes + LINE - 1) // LINE * LINE


cdef inline int64_t number_of(const Job *job, Py_ssize_t d, Py_ssize_t h, Py_ssize_t w) noexcept nogil:
    return d * job.bands.unit[0] + h * job.bands.unit[1] + w * job.bands.unit[2]
