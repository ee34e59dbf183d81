// Where a window lies, and which cells it owns.  Every kernel gets the position and the taps of a window here.
//
// Along one axis, a window starts at cell window * stride - padding, and its taps lie `dilation` cells apart:
//
//     cell    -1   0   1   2   3          kernel 3, dilation 2, padding 1: window 0 starts in the padding,
//     tap      0       1       2          and span(job, axis, 0) is {start: -1, first: 1, end: 3}

// Along one axis: the cell where a window starts, and its taps first..end-1 that lie inside the plane.
struct Span {
    Int start;
    Count first, end;
};

UNPOOL_FUNCTION Span span(const Job& job, int axis, Int window) {
    Span along;
    along.start = window * job.stride[axis] - job.padding[axis];
    const Count dilation = job.dilation[axis], before = along.start < 0 ? 0 - (Count)along.start : 0;
    const Count ahead = (Count)job.plane[axis] - (Count)along.start;
    along.first = dilation == 1 ? before : (before + dilation - 1) / dilation;
    along.end = dilation == 1 ? ahead : (ahead + dilation - 1) / dilation;
    along.end = along.end < (Count)job.kernel[axis] ? along.end : (Count)job.kernel[axis];
    return along;
}

// Return the cell of a tap, which may lie in the padding.  The numbers are unsigned, since those of bad taps overflow.
UNPOOL_FUNCTION Point tap_at(const Job& job, Count tap, const Point& window) {
    Point cell = point_at(job.kernel, job.by_kernel, tap);
    for (int axis = 0; axis < 3; ++axis)
        cell.at[axis] = (Int)((Count)span(job, axis, window.at[axis]).start + (Count)cell.at[axis] * job.dilation[axis]);
    return cell;
}

// Return true if a window has a tap at a cell of the plane.
UNPOOL_FUNCTION bool is_own(const Job& job, Count window, Count cell) {
    const Point at = cell_at(job, cell), place = window_at(job, window);
    for (int axis = 0; axis < 3; ++axis) {
        const Int away = at.at[axis] - span(job, axis, place.at[axis]).start;
        if (away < 0 || away % job.dilation[axis] || away / job.dilation[axis] >= job.kernel[axis])
            return false;
    }
    return true;
}

// Return the number of the last window that starts at a cell or before it, along an axis, as if there were any number of
// windows; -1 if there is none.  Quotients are those of unsigned numbers, and the padding of a block is negative.
UNPOOL_FUNCTION Int last_start(const Job& job, int axis, Int cell) {
    const Int ahead = cell + job.padding[axis];
    return ahead < 0 ? -1 : (Int)job.by_stride[axis].quotient(ahead);
}

// --- windows that share no cell: each owns the cells up to where the next window starts ------------------------------

// Return the window that owns a cell, along an axis.
UNPOOL_FUNCTION Int owner(const Job& job, int axis, Int cell) {
    const Int window = last_start(job, axis, cell);
    return window < 0 ? 0 : window < job.pooled[axis] ? window : job.pooled[axis] - 1;
}

// Return the first cell that a window owns, along an axis.
UNPOOL_FUNCTION Int edge(const Job& job, int axis, Int window) {
    if (window == 0)
        return 0;
    const Int size = job.plane[axis], start = span(job, axis, window).start;
    return window == job.pooled[axis] || start > size ? size : start;
}

#ifdef SIDE
// Return the first cell of the square that a window owns.
UNPOOL_FUNCTION Count square_at(const Job& job, Count window) {
    const Count row = job.by_pooled[2].quotient(window), column = window - row * job.pooled[2];
    return (row * job.plane[2] + column) * SIDE;
}

// Return the cell of a tap of a window that is the square.
UNPOOL_FUNCTION Count tap_of_square(const Job& job, Count tap, Count window) {
    return square_at(job, window) + tap / SIDE * job.plane[2] + tap % SIDE;
}
#endif

// Return true if a window owns a cell.
UNPOOL_FUNCTION bool owns(const Job& job, Count window, Count cell) {
#ifdef SIDE
    const Count offset = cell - square_at(job, window);
    bool owned = false;
    for (Count r = 0; r < SIDE; ++r)
        owned |= offset - r * job.plane[2] < SIDE;
    return owned;
#else
    const Point at = cell_at(job, cell);
    const Int depth = job.plane[0] > 1 ? owner(job, 0, at.at[0]) : 0;
    const Count row = (Count)depth * job.pooled[1] + owner(job, 1, at.at[1]);
    return row * job.pooled[2] + owner(job, 2, at.at[2]) == window;
#endif
}

// --- windows that overlap --------------------------------------------------------------------------------------------

// Return the first window along an axis that can reach a cell; the taps between are not considered.
UNPOOL_FUNCTION Int first_near(const Job& job, int axis, Int cell) {
    const Int ahead = cell + job.padding[axis] - (job.kernel[axis] - 1) * job.dilation[axis];
    return ahead <= 0 ? 0 : (Int)job.by_stride[axis].quotient(ahead + job.stride[axis] - 1);
}

// Return the last such window, or -1.
UNPOOL_FUNCTION Int last_near(const Job& job, int axis, Int cell) {
    const Int last = last_start(job, axis, cell);
    return last < job.pooled[axis] ? last : job.pooled[axis] - 1;
}

// Along one axis, the windows first..end-1 that can reach one of some cells.  Those from `starting` on start there.
struct Reach {
    Int first, starting, end;
};

// Each window of an axis starts in one part of the plane: in the first part if it starts before the plane, in the last
// one if it starts past the plane.
UNPOOL_FUNCTION Reach reach(const Job& job, int axis, Int low, Int end) {
    Reach along;
    along.first = low > 0 ? first_near(job, axis, low) : 0;
    along.starting = low > 0 ? last_start(job, axis, low - 1) + 1 : 0;
    along.end = end < job.plane[axis] ? last_near(job, axis, end - 1) + 1 : job.pooled[axis];
    return along;
}

// Return true if a cell lies between the first and the last tap of a window, or at one of them.
UNPOOL_FUNCTION bool reaches(const Job& job, const Point& window, const Point& cell) {
    bool within = true;
    for (int axis = 0; axis < 3; ++axis) {
        const Count away = (Count)(cell.at[axis] - span(job, axis, window.at[axis]).start);
        within &= away <= (Count)(job.kernel[axis] - 1) * job.dilation[axis];
    }
    return within;
}
