// Gather, the gradient of unpooling: the value at each index, or zero if a later index names the same cell.

// Return true if the index of a later window that reaches a cell names it, too.  With ERROR, report that window.
UNPOOL_FUNCTION bool is_hidden(
    const Job& job, const Index* __restrict__ indices, Status* status, const Place& place, const Point& cell, Count index
) {
    Reach along[3];
    for (int axis = 0; axis < 3; ++axis)
        along[axis] = reach(job, axis, cell.at[axis], cell.at[axis] + 1);
    for (Int slice = along[0].first; slice < along[0].end; ++slice)
        for (Int row = along[1].first; row < along[1].end; ++row)
            for (Int column = along[2].first; column < along[2].end; ++column) {
                const Count window = ((Count)slice * job.pooled[1] + row) * job.pooled[2] + column;
                if (window <= place.window)
                    continue;
                const Count element = (place.outer * job.windows + window) * job.step + place.channel;
                if (!names(job, indices[element], window, {{slice, row, column}}, cell, index))
                    continue;
                if (DUPLICATES == ERROR)
                    report(&status->repeated, element);
                return true;
            }
    return false;
}

// A thread gathers the values of EACH windows.
template <bool OVERLAP> UNPOOL_FUNCTION void gather_windows(
    const Word* __restrict__ plane, const Index* __restrict__ indices, Word* __restrict__ values, Status* status,
    const Job& job
) {
    const Count first = (Count)blockIdx.x * blockDim.x * EACH + threadIdx.x;
    // All indices are loaded before the first is used, and so are the values.
    Index read[EACH];
    i64 index[EACH];
    Word value[EACH];
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        const Count element = first + i * blockDim.x;
        read[i] = element < job.elements ? indices[element] : 0;
    }
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        const Count element = first + i * blockDim.x;
        const Place place = place_at(job, element);
        value[i] = Word();
        index[i] = read_index(job, read[i], place.window);
        if (element < job.elements && in_plane(job, index[i])) {
            if (CONFINED && !is_own(job, place.window, (Count)index[i]))
                index[i] = -1;
            else
                value[i] = plane[cell_element(job, place.outer, (Count)index[i], place.channel)];
        }
    }
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        const Count element = first + i * blockDim.x;
        if (element >= job.elements)
            break;
        if (!in_plane(job, index[i])) {
            report(&status->bad, element);
        } else if (DUPLICATES != SUM) {
            const Place place = place_at(job, element);
            bool known;  // unless a strip is marked, all windows that name the cell are those that own or reach it
            if (OVERLAP) {
                const Point cell = cell_at(job, (Count)index[i]);
                known = reaches(job, window_at(job, place.window), cell);
                if (is_hidden(job, indices, status, place, cell, (Count)index[i]))
                    value[i] = Word();
            } else {
                known = BY_TAPS || owns(job, place.window, (Count)index[i]);
            }
            if (!known)
                mark(status, job, place);
        }
        values[element] = value[i];
    }
}

extern "C" __global__ void __launch_bounds__(256) unpool_gather_windows(
    const Word* __restrict__ plane, const Index* __restrict__ indices, Word* __restrict__ values, Status* status,
    const Job job
) {
    gather_windows<false>(plane, indices, values, status, job);
}

extern "C" __global__ void __launch_bounds__(256) unpool_gather_overlap(
    const Word* __restrict__ plane, const Index* __restrict__ indices, Word* __restrict__ values, Status* status,
    const Job job
) {
    gather_windows<true>(plane, indices, values, status, job);
}

// A window that won the cell it claimed gets the cell's value; the others get zero.
extern "C" __global__ void __launch_bounds__(1024) unpool_gather_ranges(
    const Word* __restrict__ plane, const Index* __restrict__ indices, Word* __restrict__ values, Status* status,
    const Job job
) {
    if (nothing_to_do(job, status))
        return;
    Count* claims = (Count*)shared;
    for (Count task = blockIdx.x; task < job.tasks; task += gridDim.x) {
        const Range range = range_at(job, task);
        if (!to_be_done(job, status, range))
            continue;
        claim(job, indices, status, range, claims);
        for (Count i = threadIdx.x; i < entries_of(job, range); i += blockDim.x) {
            const Entry entry = entry_at(job, indices, range, i);
            if (entry.here && claims[entry.slot] == number_of(job, entry.window))
                values[entry.element] = plane[cell_element(job, range.outer, entry.cell, entry.channel)];
            else if (entry.here || entry.bad)
                values[entry.element] = Word();
        }
        __syncthreads();
    }
}
