// The description of a call, and the places of its elements.

// An Int is signed, since a window may begin in the padding.
#if WIDE
typedef u64 Count;
typedef i64 Int;
UNPOOL_FUNCTION Count upper_half(Count a, Count b) { return __umul64hi(a, b); }
#else
typedef uint32_t Count;
typedef int32_t Int;
UNPOOL_FUNCTION Count upper_half(Count a, Count b) { return __umulhi(a, b); }
#endif

// A divisor with a factor from the host: multiplies instead of dividing, for numbers below half of a Count's range.
struct Divisor {
    Count divisor, factor, shift;
    UNPOOL_FUNCTION Count quotient(Count n) const { return (upper_half(n, factor) + n) >> shift; }
};

// Field by field like `_job_type` in job.py.
struct Job {
    // Along depth, height and width.
    Int pooled[3], plane[3], kernel[3], stride[3], padding[3], dilation[3];
    Count outer, windows, cells, taps, step, elements;
    Divisor by_pooled[3], by_plane[3], by_kernel[3], by_stride[3], by_windows, by_step;
    // Strips: `strips_each` for each outer, of 1 << strip_shift channels.
    Count strips_each, strip_shift;
    // Blocks: of whole planes, of rows of windows, or of pieces of a row.  A run of cells takes `units` of 16 bytes.
    // Tiles: `units` in a row, of `rows_each` rows of the plane; `row_blocks` in a column; `tasks` of them.
    Count planes_each, rows_each, columns_each, row_blocks, pieces, units;
    Divisor by_row_blocks, by_pieces, by_units;
    // Ranges: of `cells_each` cells of a strip, for all strips, or with `redo` for marked strips.  A range reads the
    // indices of all windows of the strip, or with `near` of the windows that can reach its cells.
    Count cells_each, ranges, tasks, redo, near;
};

// The findings of a call: the elements of the first bad and first repeated index; `clean` is 0 if a strip is marked.
// One byte per strip follows: 0 if the strip is marked, to be redone.  All bits are ones before the call.
struct Status {
    u64 bad, repeated, clean;
};

UNPOOL_FUNCTION uint8_t* strips_of(Status* status) { return (uint8_t*)(status + 1); }

// A tap lies in its own window, so no strip of taps needs to be redone.
UNPOOL_FUNCTION void mark_strip(Status* status, Count strip) {
    if (BY_TAPS)
        return;
    strips_of(status)[strip] = 0;
    status->clean = 0;
}

UNPOOL_FUNCTION void report(u64* first, Count element) { atomicMin(first, (u64)element); }

// The number of windows whose indices a thread reads before it uses the first, as in job.py.
enum { EACH = 4 };

// The place of an element of a pooled array.
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

// A window or a cell along depth, height and width.
struct Point {
    Int at[3];
};

// Return the coordinates of a flat position in a box, by the divisors of its sizes.
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

UNPOOL_FUNCTION Count cell_of(const Job& job, const Point& at) {
    return ((Count)at.at[0] * job.plane[1] + at.at[1]) * job.plane[2] + at.at[2];
}

UNPOOL_FUNCTION Point window_at(const Job& job, Count window) {
    return point_at(job.pooled, job.by_pooled, window);
}
