# Positions in one plane as positions in another that shares cells with it: in a plane as in one of its blocks, or back.
#
#     plane of 4 x 6             block of 2 x 3             position    less the first    row    column    in the block
#      0  1  2  3  4  5                                         8              0           0        0            0
#      6  7 [8  9 10] 11         0 1 2                         15              7           1        1            4
#     12 13[14 15 16] 17         3 4 5                         11              3           0        3           -1
#     18 19 20 21 22 23
#
# Vector instructions do not divide.  So if the shared cells span less than 2**31 positions, quotients are products with
# a reciprocal (Granlund and Montgomery, "Division by Invariant Integers using Multiplication", 1994): for 2**b >= d,
# n // d = n * (2**(31 + b) // d + 1) >> (31 + b) is exact for all n below 2**31.  It is 0 for larger d, with b = 31.
# 4 million int64 positions took 4 to 5 ms, and 18 by division (2026-11-29).

ctypedef fused position:
    int32_t
    int64_t

ctypedef fused new_position:
    int32_t
    int64_t


cdef enum:
    # Positions that are copied and converted at a time.
    REBASED = 1024


cdef struct Shared:
    # The cells that both planes have: how many along each axis, the first one's position in both planes, and how many
    # positions they span in the first plane.
    int64_t[3] cells
    uint64_t first
    uint64_t new_first
    uint64_t span
    # How far apart neighbours along the first two axes lie in both planes.
    uint64_t[2] apart
    uint64_t[2] new_apart
    # Of each divisor `apart`: n // apart = n * reciprocal >> shift.
    uint64_t[2] reciprocal
    uint64_t[2] shift
    # True if 32 bits hold all but the positions themselves.
    bint narrow


cdef void share(Shared *shared, const int64_t *plane, const int64_t *new_plane, const int64_t *origin) noexcept nogil:
    cdef int64_t start
    cdef uint64_t bits
    cdef int axis
    shared.first = shared.new_first = shared.span = 0
    for axis in range(3):
        start = max(0, origin[axis])
        shared.cells[axis] = min(plane[axis], origin[axis] + new_plane[axis]) - start
        shared.first = shared.first * plane[axis] + start
        shared.new_first = shared.new_first * new_plane[axis] + (start - origin[axis])
        shared.span = shared.span * plane[axis] + shared.cells[axis] - (axis < 2)
    if min(shared.cells[0], shared.cells[1], shared.cells[2]) <= 0:
        shared.span = 0
    shared.apart[0], shared.apart[1] = max(1, plane[1] * plane[2]), max(1, plane[2])
    shared.new_apart[0], shared.new_apart[1] = new_plane[1] * new_plane[2], new_plane[2]
    if shared.cells[0] == 1:
        shared.new_apart[0] = 0  # not used, and it may not fit
    shared.narrow = shared.span >> 31 == 0 and (shared.new_apart[0] | shared.new_apart[1]) >> 32 == 0
    for axis in range(2):
        bits = 0
        while bits < 31 and (<uint64_t> 1) << bits < shared.apart[axis]:
            bits += 1
        shared.shift[axis] = 31 + bits
        shared.reciprocal[axis] = ((<uint64_t> 1) << (31 + bits)) // shared.apart[axis] + 1


cdef inline inlined rebase_narrow(
    const position *tile, new_position *to, const Shared *shared, Py_ssize_t count, bint deep
) noexcept nogil:
    # A product of two 32-bit numbers is one vector instruction; local constants let the compiler use it.
    cdef uint32_t[2] reciprocal
    cdef uint32_t[2] apart
    cdef uint32_t[2] new_apart
    cdef uint32_t rows = <uint32_t> shared.cells[1], columns = <uint32_t> shared.cells[2], rest, depth = 0, row
    cdef uint64_t offset
    cdef bint inside
    cdef Py_ssize_t i
    for i in range(2):
        reciprocal[i], apart[i] = <uint32_t> shared.reciprocal[i], <uint32_t> shared.apart[i]
        new_apart[i] = <uint32_t> shared.new_apart[i]
    for i in range(count):
        offset = <uint64_t> <int64_t> tile[i] - shared.first
        rest = <uint32_t> offset
        if deep:
            depth = <uint32_t> ((<uint64_t> rest * reciprocal[0]) >> shared.shift[0])
            rest -= depth * apart[0]
        row = <uint32_t> ((<uint64_t> rest * reciprocal[1]) >> shared.shift[1])
        rest -= row * apart[1]
        inside = (offset < shared.span) & (row < rows) & (rest < columns)
        offset = shared.new_first + rest + <uint64_t> depth * new_apart[0] + <uint64_t> row * new_apart[1]
        to[i] = <new_position> offset if inside else -1


cdef inline inlined rebase_wide(
    const position *tile, new_position *to, const Shared *shared, Py_ssize_t count
) noexcept nogil:
    cdef uint64_t offset, rest, depth, row
    cdef bint inside
    cdef Py_ssize_t i
    for i in range(count):
        offset = <uint64_t> <int64_t> tile[i] - shared.first
        depth, rest = offset // shared.apart[0], offset % shared.apart[0]
        row, rest = rest // shared.apart[1], rest % shared.apart[1]
        inside = offset < shared.span and row < <uint64_t> shared.cells[1] and rest < <uint64_t> shared.cells[2]
        offset = shared.new_first + rest + depth * shared.new_apart[0] + row * shared.new_apart[1]
        to[i] = <new_position> offset if inside else -1


cdef cloned rebase_all(
    const position *given, new_position *to, const Shared *shared, Py_ssize_t count
) noexcept nogil:
    """Convert positions; one of a cell that the new plane lacks becomes -1.  `to` may be `given`."""
    # Results cannot overwrite a copy, so that the loops over it can be vector loops.
    cdef position[REBASED] tile
    cdef Py_ssize_t start = 0, length
    while start < count:
        length = min(count - start, REBASED)
        memcpy(tile, given + start, length * sizeof(position))
        if not shared.narrow:
            rebase_wide(<const position *> tile, to + start, shared, length)
        elif shared.cells[0] == 1:
            rebase_narrow(<const position *> tile, to + start, shared, length, False)
        else:
            rebase_narrow(<const position *> tile, to + start, shared, length, True)
        start += length


cdef inline void rebase_to(
    const position *given, const Py_buffer *to, const Shared *shared, Py_ssize_t count
) noexcept nogil:
    if to.itemsize == 4:
        rebase_all(given, <int32_t *> to.buf, shared, count)
    else:
        rebase_all(given, <int64_t *> to.buf, shared, count)
