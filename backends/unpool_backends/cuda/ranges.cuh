// Ranges: the cells of a strip, some at a time, in shared memory; exact for any indices.
//
// An index of any window of the strip may name a cell of the range.  The first pass reads only the windows *near* the
// range: those that can reach its cells.  A window marks the strip if its index names a cell that it is not near.  A
// marked strip is redone with all windows.

extern __shared__ uint4 shared[];

struct Range {
    Count strip, outer, channel;
    Count low, end;  // cells
    Count first_window, end_window;
};

// Near windows are counted by whole rows, some of which may not reach the range.
UNPOOL_FUNCTION Count first_window_near(const Job& job, const Point& low, const Point& high) {
    const Int row = low.at[0] == high.at[0] ? first_near(job, 1, low.at[1]) : 0;
    const Count first = ((Count)first_near(job, 0, low.at[0]) * job.pooled[1] + row) * job.pooled[2];
    return first < job.windows ? first : job.windows;
}

UNPOOL_FUNCTION Count end_window_near(const Job& job, const Point& low, const Point& high) {
    const Int row = low.at[0] == high.at[0] ? last_near(job, 1, high.at[1]) : job.pooled[1] - 1;
    const Int slice = last_near(job, 0, high.at[0]);
    return slice < 0 ? 0 : ((Count)slice * job.pooled[1] + row + 1) * job.pooled[2];
}

UNPOOL_FUNCTION Count end_of(const Job& job, Count low) {
    return low + job.cells_each < job.cells ? low + job.cells_each : job.cells;
}

// Set the cells of a range, and the windows near them.  Each window of a strip is near some range.
UNPOOL_FUNCTION void set_bounds(const Job& job, Range& range, Count low) {
    range.low = low;
    range.end = end_of(job, low);
    range.first_window = 0;
    range.end_window = job.windows;
    if (!job.near)
        return;
    const Point lowest = cell_at(job, low), highest = cell_at(job, range.end - 1);
    if (low > 0)
        range.first_window = first_window_near(job, lowest, highest);
    if (range.end < job.cells) {
        const Count next =
            first_window_near(job, cell_at(job, range.end), cell_at(job, end_of(job, range.end) - 1));
        range.end_window = end_window_near(job, lowest, highest);
        range.end_window = range.end_window < next ? next : range.end_window;
    }
}

UNPOOL_FUNCTION Range range_at(const Job& job, Count task) {
    Range range;
    range.strip = task / job.ranges;
    range.outer = range.strip / job.strips_each;
    range.channel = (range.strip - range.outer * job.strips_each) << job.strip_shift;
    set_bounds(job, range, (task - range.strip * job.ranges) * job.cells_each);
    return range;
}

// Usually no strip is marked, which a single flag records.
UNPOOL_FUNCTION bool nothing_to_do(const Job& job, const Status* status) { return job.redo && status->clean; }

// Marks must not change during this call, or the threads of a thread block would get different results.
UNPOOL_FUNCTION bool to_be_done(const Job& job, Status* status, const Range& range) {
    return !job.redo || strips_of(status)[range.strip] == 0;
}

// A window of one channel of a strip.  `here` is true if its index names a cell of the range, which has this slot.
struct Entry {
    bool here, bad;
    Count window, channel, element, cell, slot;
};

UNPOOL_FUNCTION Count lane_of(const Job& job, Count number) { return number & (((Count)1 << job.strip_shift) - 1); }

UNPOOL_FUNCTION Count slots_of(const Job& job, const Range& range) {
    return (range.end - range.low) << job.strip_shift;
}

UNPOOL_FUNCTION Count entries_of(const Job& job, const Range& range) {
    return range.first_window < range.end_window ? (range.end_window - range.first_window) << job.strip_shift : 0;
}

UNPOOL_FUNCTION Entry entry_at(const Job& job, const Index* indices, const Range& range, Count number) {
    Entry entry;
    entry.window = range.first_window + (number >> job.strip_shift);
    entry.channel = range.channel + lane_of(job, number);
    entry.element = (range.outer * job.windows + entry.window) * job.step + entry.channel;
    entry.here = entry.bad = false;
    if (entry.channel < job.step) {
        const u64 index = (u64)read_index(job, indices[entry.element], entry.window);
        entry.bad = is_bad(job, entry.window, (i64)index);
        entry.here = !(CONFINED && entry.bad) && index - range.low < range.end - range.low;
        entry.cell = (Count)index;
        entry.slot = ((entry.cell - range.low) << job.strip_shift) + lane_of(job, number);
    }
    return entry;
}

// Report a bad index.  Mark the strip if an index names a cell of a range that does not read this window.
UNPOOL_FUNCTION void inspect(const Job& job, Status* status, const Range& range, const Entry& entry) {
    if (entry.bad) {
        report(&status->bad, entry.element);
    } else if (job.near && !entry.here && entry.channel < job.step) {
        Range own;
        set_bounds(job, own, entry.cell / job.cells_each * job.cells_each);
        if (entry.window < own.first_window || own.end_window <= entry.window)
            mark_strip(status, range.strip);
    }
}

const Count NOBODY = (Count)-1;

// Windows claim a cell by number, and the smallest number wins: the last window's number with LAST.
UNPOOL_FUNCTION Count number_of(const Job& job, Count window) {
    return DUPLICATES == LAST ? job.windows - 1 - window : window;
}

// Let every window claim its cell of the range; with ERROR, report the windows that did not win.
UNPOOL_FUNCTION void claim(const Job& job, const Index* indices, Status* status, const Range& range, Count* claims) {
    const Count entries = entries_of(job, range);
    for (Count slot = threadIdx.x; slot < slots_of(job, range); slot += blockDim.x)
        claims[slot] = NOBODY;
    __syncthreads();
#pragma unroll 4
    for (Count i = threadIdx.x; i < entries; i += blockDim.x) {
        const Entry entry = entry_at(job, indices, range, i);
        if (entry.here)
            atomicMin(&claims[entry.slot], number_of(job, entry.window));
        else
            inspect(job, status, range, entry);
    }
    __syncthreads();
    if (DUPLICATES == ERROR)
        for (Count i = threadIdx.x; i < entries; i += blockDim.x) {
            const Entry entry = entry_at(job, indices, range, i);
            if (entry.here && claims[entry.slot] != entry.window)
                report(&status->repeated, entry.element);
        }
}
