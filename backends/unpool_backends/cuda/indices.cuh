// Indices: their format, and the test for bad ones.
//
// `indices[element]` is the index of a window.  It is the flat position of a cell in its plane.  Only the first three
// functions depend on the format.

// Return the cell that an index names, which may lie outside of the plane.
UNPOOL_FUNCTION i64 read_index(const Job& job, const Index* __restrict__ indices, Count element, Count window) {
    return (i64)indices[element];
}

// Return the mark of a tap, which pooling keeps until `write_index`.
UNPOOL_FUNCTION Count mark_of(const Job& job, Count cell, Count slice, Count row, Count column) { return cell; }

// Store the index of the tap with this mark.
UNPOOL_FUNCTION void write_index(Index* __restrict__ indices, Count element, Count mark) {
    indices[element] = (Index)mark;
}

UNPOOL_FUNCTION bool in_plane(const Job& job, i64 index) { return (u64)index < (u64)job.cells; }

UNPOOL_FUNCTION bool is_bad(const Job& job, Count window, i64 index) {
    return !in_plane(job, index) || (CONFINED && !is_own(job, window, (Count)index));
}
