// Indices: their format, and the test for bad ones.
//
// `indices[element]` is the index of a window: the flat position of a cell in its plane, or with BY_TAPS the number of
// a tap of the window.  Only the functions from `read_cell` to `write_index` depend on the format.

// Return true if `read_index` found a cell of the plane.
UNPOOL_FUNCTION bool in_plane(const Job& job, i64 index) { return BY_TAPS ? index >= 0 : (u64)index < (u64)job.cells; }

UNPOOL_FUNCTION bool is_bad(const Job& job, Count window, i64 index) {
    return !in_plane(job, index) || (CONFINED && !is_own(job, window, (Count)index));
}

UNPOOL_FUNCTION bool is_tap(const Job& job, Index index) { return (u64)index < (u64)job.taps; }

// Set the cell that an index names; return false if the index is bad.  `place` is the window along each axis.
UNPOOL_FUNCTION bool read_cell(const Job& job, Index index, Count window, const Point& place, Point& cell) {
#if BY_TAPS
    cell = tap_at(job, (Count)index, place);
    bool inside = is_tap(job, index);
    for (int axis = 0; axis < 3; ++axis)
        inside &= (Count)cell.at[axis] < (Count)job.plane[axis];
    return inside;
#else
    if (is_bad(job, window, index))
        return false;
    cell = cell_at(job, (Count)index);
    return true;
#endif
}

// Return the flat position of the cell that an index names: -1 for a bad tap.
UNPOOL_FUNCTION i64 read_index(const Job& job, Index index, Count window) {
#if !BY_TAPS
    return index;
#elif defined(SIDE)
    const i64 cell = tap_of_square(job, (Count)index, window);  // without a branch between the loads of two windows
    return is_tap(job, index) ? cell : -1;
#else
    Point at;
    const bool good = read_cell(job, index, window, window_at(job, window), at);
    const i64 cell = cell_of(job, at);
    return good ? cell : -1;
#endif
}

// Return true if the index of a window names a cell, which has this flat position.
UNPOOL_FUNCTION bool names(const Job& job, Index index, Count window, const Point& place, const Point& cell, Count flat) {
#if BY_TAPS
    const Point at = tap_at(job, (Count)index, place);
    return is_tap(job, index) & (at.at[0] == cell.at[0]) & (at.at[1] == cell.at[1]) & (at.at[2] == cell.at[2]);
#else
    return (i64)index == (i64)flat && !(CONFINED && !is_own(job, window, flat));
#endif
}

// Return the mark of a tap, which pooling keeps until `write_index`.
UNPOOL_FUNCTION Count mark_of(const Job& job, Count cell, Count slice, Count row, Count column) {
    return BY_TAPS ? (slice * job.kernel[1] + row) * job.kernel[2] + column : cell;
}

// Store the index of the tap with this mark.
UNPOOL_FUNCTION void write_index(Index* __restrict__ indices, Count element, Count mark) {
    indices[element] = (Index)mark;
}
