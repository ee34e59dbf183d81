// What a call is, and where its windows, cells and elements are.

// Signed where a window may begin in the padding.
#if WIDE
typedef u64 Count;
typedef i64 Int;
UNPOOL_FUNCTION Count upper_half(Count a, Count b) { return __umul64hi(a, b); }
#else
typedef uint32_t Count;
typedef int32_t Int;
UNPOOL_FUNCTION Count upper_half(Count a, Count b) { return __umulhi(a, b); }
#endif

// Divides numbers below half of a Count's range by one that the host knew, without a division.
struct Divisor {
    Count divisor, factor, shift;
    UNPOOL_FUNCTION Count quotient(Count n) const { return (upper_half(n, factor) + n) >> shift; }
};

// The same, field by field, as in job.py.
struct Job {
    // Along depth, height and width.
    Int pooled[3], plane[3], kernel[3], stride[3], padding[3], dilation[3];
    Count outer, windows, cells, step, elements;
    Divisor by_pooled[3], by_plane[3], by_stride[3], by_windows, by_step;
    // Strips: `strips_each` for each outer, of 1 << strip_shift channels.
    Count strips_each, strip_shift;
    // Blocks: of whole planes, or of rows of windows, or of pieces of a row; a run of cells takes `units` of 16 bytes.
    Count planes_each, rows_each, columns_each, row_blocks, pieces, units;
    Divisor by_row_blocks, by_pieces;
    // Ranges: of `cells_each` cells of a strip.  Either of all strips, or of those that are marked (`redo`); either met
    // by all windows of the strip, or by those that lie `near`, if all others keep away.
    Count cells_each, ranges, tasks, redo, near;
};

// What a call found: the first bad element of the indices, the first repeated one, and 0 if a strip is to be done anew.
// Behind it lies a byte a strip, 0 for such a one.  All bits of it are ones before the call.
struct Status {
    u64 bad, repeated, clean;
};

UNPOOL_FUNCTION uint8_t* strips_of(Status* status) { return (uint8_t*)(status + 1); }

UNPOOL_FUNCTION void mark_strip(Status* status, Count strip) {
    strips_of(status)[strip] = 0;
    status->clean = 0;
}

UNPOOL_FUNCTION void report(u64* first, Count element) { atomicMin(first, (u64)element); }

// So many windows are a thread's at a time, where their indices are read together; as in job.py.
enum { EACH = 4 };

// Where an element of a pooled array is.
struct Place {
    Count outer, window, channel;
};

UNPOOL_FUNCTION Place place_at(const Job& job, Count element) {
    Place place;
    Count flat = element;
    place.channel = 0;
    if (job.step > 1) {
        flat = job.by_step.quotient(element);
        place.channel = element - flat * job.step;
    }
    place.outer = job.by_windows.quotient(flat);
    place.window = flat - place.outer * job.windows;
    return place;
}

UNPOOL_FUNCTION void mark(Status* status, const Job& job, const Place& place) {
    mark_strip(status, place.outer * job.strips_each + (place.channel >> job.strip_shift));
}

UNPOOL_FUNCTION Count cell_element(const Job& job, Count outer, Count cell, Count channel) {
    return (outer * job.cells + cell) * job.step + channel;
}

UNPOOL_FUNCTION bool in_plane(const Job& job, i64 index) { return (u64)index < (u64)job.cells; }

// A window or a cell along depth, height and width.
struct Point {
    Int at[3];
};

// Take a flat position in a box apart, with the divisors of its sizes.
UNPOOL_FUNCTION Point point_at(const Int* size, const Divisor* by_size, Count flat) {
    Point point;
    const Count row = by_size[2].quotient(flat);
    point.at[2] = (Int)(flat - row * size[2]);
    const Count slice = size[0] > 1 ? by_size[1].quotient(row) : 0;
    point.at[1] = (Int)(row - slice * size[1]);
    point.at[0] = (Int)slice;
    return point;
}

UNPOOL_FUNCTION Point cell_at(const Job& job, Count cell) { return point_at(job.plane, job.by_plane, cell); }

// Whether a window reads a cell of the plane.
UNPOOL_FUNCTION bool reads(const Job& job, Count window, Count cell) {
    const Point at = cell_at(job, cell), place = point_at(job.pooled, job.by_pooled, window);
    for (int axis = 0; axis < 3; ++axis) {
        const Int away = at.at[axis] - (place.at[axis] * job.stride[axis] - job.padding[axis]);
        if (away < 0 || away % job.dilation[axis] || away / job.dilation[axis] >= job.kernel[axis])
            return false;
    }
    return true;
}

UNPOOL_FUNCTION bool is_bad(const Job& job, Count window, i64 index) {
    return !in_plane(job, index) || (CONFINED && !reads(job, window, (Count)index));
}

// Where windows share no cell, each owns those up to where the next one begins: which window owns a cell along an axis,
// and which cell is its first?
UNPOOL_FUNCTION Int owner(const Job& job, int axis, Int cell) {
    const Int window = (Int)job.by_stride[axis].quotient(cell + job.padding[axis]);
    return window < job.pooled[axis] ? window : job.pooled[axis] - 1;
}

UNPOOL_FUNCTION Int edge(const Job& job, int axis, Int window) {
    if (window == 0)
        return 0;
    const Int size = job.plane[axis], corner = window * job.stride[axis] - job.padding[axis];
    return window == job.pooled[axis] || corner > size ? size : corner;
}

UNPOOL_FUNCTION bool owns(const Job& job, Count window, Count index) {
#ifdef SIDE
    const Count row = job.by_pooled[2].quotient(window), column = window - row * job.pooled[2];
    const Count offset = index - (row * job.plane[2] + column) * SIDE;
    bool owned = false;
    for (Count r = 0; r < SIDE; ++r)
        owned |= offset - r * job.plane[2] < SIDE;
    return owned;
#else
    const Point cell = cell_at(job, index);
    const Int depth = job.plane[0] > 1 ? owner(job, 0, cell.at[0]) : 0;
    const Count row = (Count)depth * job.pooled[1] + owner(job, 1, cell.at[1]);
    return row * job.pooled[2] + owner(job, 2, cell.at[2]) == window;
#endif
}
