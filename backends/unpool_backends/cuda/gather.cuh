// Gather, the gradient of unpooling: the value at each index, or zero if a later index names the same cell.

extern "C" __global__ void __launch_bounds__(256) unpool_gather_windows(
    const Word* __restrict__ plane, const Index* __restrict__ indices, Word* __restrict__ values, Status* status,
    const Job job
) {
    const Count first = (Count)blockIdx.x * blockDim.x * EACH + threadIdx.x;
    // All indices are loaded before the first is used, and so are the values.
    i64 index[EACH];
    Word value[EACH];
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        const Count element = first + i * blockDim.x;
        index[i] = element < job.elements ? read_index(job, indices, element, place_at(job, element).window) : 0;
    }
#pragma unroll
    for (int i = 0; i < EACH; ++i) {
        const Count element = first + i * blockDim.x;
        value[i] = Word();
        if (element < job.elements && in_plane(job, index[i])) {
            const Place place = place_at(job, element);
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
        values[element] = value[i];
        if (!in_plane(job, index[i])) {
            report(&status->bad, element);
        } else if (DUPLICATES != SUM) {  // no other window names a cell that this one owns, unless the strip is marked
            const Place place = place_at(job, element);
            if (!owns(job, place.window, (Count)index[i]))
                mark(status, job, place);
        }
    }
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
