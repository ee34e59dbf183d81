// Scatter: values are put at their cells, by blocks of windows if no two windows share a cell, else by ranges.

// --- by blocks: windows that share no cell ---------------------------------------------------------------------------

// Consecutive windows, and the cells that they own: `deep` times `rows` runs of `length` elements.
struct Block {
    Count first, count;  // elements of the pooled array
    Count base, deep, rows, length;
    Int depth, row;  // of the first cell
};

UNPOOL_FUNCTION Block block_at(const Job& job, Count number) {
    Block block;
    if (job.planes_each) {
        const Count outer = number * job.planes_each;
        const Count planes = outer + job.planes_each < job.outer ? job.planes_each : job.outer - outer;
        block.first = outer * job.windows * job.step;
        block.count = planes * job.windows * job.step;
        block.base = outer * job.cells * job.step;
        block.length = planes * job.cells * job.step;
        block.deep = block.rows = 1;
        block.depth = block.row = 0;
        return block;
    }
    const Count rest = job.by_pieces.quotient(number), slice = job.by_row_blocks.quotient(rest);
    const Count outer = job.by_pooled[0].quotient(slice);
    const Int depth = (Int)(slice - outer * job.pooled[0]);
    const Int row = (Int)((rest - slice * job.row_blocks) * job.rows_each);
    const Int column = (Int)((number - rest * job.pieces) * job.columns_each);
    const Int end_row = row + (Int)job.rows_each < job.pooled[1] ? row + (Int)job.rows_each : job.pooled[1];
    const Int end_column =
        column + (Int)job.columns_each < job.pooled[2] ? column + (Int)job.columns_each : job.pooled[2];
    block.first = ((slice * job.pooled[1] + row) * job.pooled[2] + column) * job.step;
    block.count = (Count)(end_row - row) * (end_column - column) * job.step;
    block.depth = edge(job, 0, depth);
    block.row = edge(job, 1, row);
    const Int first_column = edge(job, 2, column);
    const Count corner = ((Count)block.depth * job.plane[1] + block.row) * job.plane[2] + first_column;
    block.base = cell_element(job, outer, corner, 0);
    block.deep = (Count)(edge(job, 0, depth + 1) - block.depth);
    block.rows = (Count)(edge(job, 1, end_row) - block.row);
    block.length = (Count)(edge(job, 2, end_column) - first_column) * job.step;
    if (job.pieces == 1) {  // whole rows follow each other
        block.length *= block.rows;
        block.rows = 1;
    }
    return block;
}

// Return where a run begins in the plane.
UNPOOL_FUNCTION Count run_at(const Job& job, const Block& block, Count deep, Count row) {
    return block.base + (deep * job.plane[1] + row) * job.plane[2] * job.step;
}

// In shared memory a run begins as far into a unit of 16 bytes as it does in global memory.
UNPOOL_FUNCTION Count offset_of(const Word* cells) { return (Count)((u64)cells & 15); }

UNPOOL_FUNCTION uint4* units_of(const Job& job, const Block& block, Count deep, Count row) {
    return shared + (deep * block.rows + row) * job.units;
}

// Return the place in shared memory of a cell of the block.
UNPOOL_FUNCTION Word* slot_of(const Job& job, const Block& block, const Word* plane, const Place& place, Count index) {
    Count deep = 0, row = 0;
#ifndef SIDE
    if (block.deep * block.rows > 1) {
        const Point cell = cell_at(job, index);
        deep = cell.at[0] - block.depth;
        row = block.rows > 1 ? cell.at[1] - block.row : 0;
    }
#endif
    const Count start = run_at(job, block, deep, row);
    Word* run = (Word*)((char*)units_of(job, block, deep, row) + offset_of(plane + start));
    return run + (cell_element(job, place.outer, index, place.channel) - start);
}

// The next windows of a thread.  All are read before the first is used.
struct Batch {
    Index index[EACH];
    Word value[EACH];
};

UNPOOL_FUNCTION void read_batch(
    const Job& job, Batch& batch, const Word* __restrict__ values, const Index* __restrict__ indices,
    const Block& block, Count i
) {
#pragma unroll
    for (int b = 0; b < EACH; ++b, i += blockDim.x) {
        const Count element = block.first + i;
        batch.index[b] = i < block.count ? indices[element] : 0;
        batch.value[b] = i < block.count ? values[element] : Word();
    }
}

// Put values at their cells in shared memory.  Report bad indices.  Mark a strip if a window does not own its cell.
UNPOOL_FUNCTION void put_batch(
    const Job& job, const Batch& batch, const Word* plane, Status* status, const Block& block, Count i
) {
#pragma unroll
    for (int b = 0; b < EACH; ++b, i += blockDim.x) {
        if (i >= block.count)
            break;
        const Place place = place_at(job, block.first + i);
        const i64 index = read_index(job, batch.index[b], place.window);
        if (is_bad(job, place.window, index)) {
            report(&status->bad, block.first + i);
            continue;
        }
        if (BY_TAPS || owns(job, place.window, (Count)index))
            *slot_of(job, block, plane, place, (Count)index) = Kind::add(Word(), batch.value[b]);
        else
            mark(status, job, place);
    }
}

// Write a run to the plane, in units of 16 bytes except at its ends.
UNPOOL_FUNCTION void write_run(const uint4* units, Word* cells, Count length, Count most) {
    const Count begin = offset_of(cells), end = begin + length * sizeof(Word);
    char* first = (char*)cells - begin;
    for (Count unit = threadIdx.x; unit < most; unit += blockDim.x) {
        const Count low = unit * 16, high = low + 16;
        if (begin <= low && high <= end)
            *(uint4*)(first + low) = units[unit];
        else
            for (Count byte = low < begin ? begin : low; byte < high && byte < end; byte += sizeof(Word))
                *(Word*)(first + byte) = *(const Word*)((const char*)units + byte);
    }
}

extern "C" __global__ void __launch_bounds__(128) unpool_scatter_blocks(
    const Word* __restrict__ values, const Index* __restrict__ indices, Word* __restrict__ plane, Status* status,
    const Job job
) {
    const Block block = block_at(job, blockIdx.x);
    // Write zeros while the first values are loaded.
    Batch batch;
    Count i = threadIdx.x;
    read_batch(job, batch, values, indices, block, i);
    for (Count unit = threadIdx.x; unit < block.deep * block.rows * job.units; unit += blockDim.x)
        shared[unit] = make_uint4(0, 0, 0, 0);
    __syncthreads();
    while (i < block.count) {
        put_batch(job, batch, plane, status, block, i);
        i += EACH * blockDim.x;
        read_batch(job, batch, values, indices, block, i);
    }
    __syncthreads();
    for (Count deep = 0; deep < block.deep; ++deep)
        for (Count row = 0; row < block.rows; ++row) {
            const uint4* units = units_of(job, block, deep, row);
            write_run(units, plane + run_at(job, block, deep, row), block.length, job.units);
        }
}

// --- by ranges -------------------------------------------------------------------------------------------------------

// Add up in row-major order.  In each round, the first of the threads' windows that name a cell adds its value.
UNPOOL_FUNCTION void add_up(
    const Job& job, const Word* values, const Index* indices, Status* status, const Range& range, Count* claims,
    Word* sums
) {
    for (Count slot = threadIdx.x; slot < slots_of(job, range); slot += blockDim.x) {
        claims[slot] = NOBODY;
        sums[slot] = Word();
    }
    const Count entries = entries_of(job, range);
    for (Count first = 0; first < entries; first += blockDim.x) {
        Entry entry;
        entry.here = entry.bad = false;
        if (first + threadIdx.x < entries)
            entry = entry_at(job, indices, range, first + threadIdx.x);
        if (first + threadIdx.x < entries && !entry.here)
            inspect(job, status, range, entry);
        const Word value = entry.here ? values[entry.element] : Word();
        while (__syncthreads_or(entry.here)) {
            if (entry.here)
                atomicMin(&claims[entry.slot], entry.window);
            __syncthreads();
            const bool next = entry.here && claims[entry.slot] == entry.window;
            __syncthreads();
            if (next) {
                sums[entry.slot] = Kind::add(sums[entry.slot], value);
                claims[entry.slot] = NOBODY;
                entry.here = false;
            }
        }
    }
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(1024) unpool_scatter_ranges(
    const Word* __restrict__ values, const Index* __restrict__ indices, Word* __restrict__ plane, Status* status,
    const Job job
) {
    if (nothing_to_do(job, status))
        return;
    for (Count task = blockIdx.x; task < job.tasks; task += gridDim.x) {
        const Range range = range_at(job, task);
        if (!to_be_done(job, status, range))
            continue;
        Count* claims = (Count*)shared;
        Word* sums = (Word*)(claims + (job.cells_each << job.strip_shift));
        if (DUPLICATES == SUM)
            add_up(job, values, indices, status, range, claims, sums);
        else
            claim(job, indices, status, range, claims);
        for (Count slot = threadIdx.x; slot < slots_of(job, range); slot += blockDim.x) {
            const Count channel = range.channel + lane_of(job, slot);
            if (channel >= job.step)
                continue;
            Word value = Word();
            if (DUPLICATES == SUM)
                value = sums[slot];
            else if (claims[slot] != NOBODY)
                value = values[(range.outer * job.windows + number_of(job, claims[slot])) * job.step + channel];
            plane[cell_element(job, range.outer, range.low + (slot >> job.strip_shift), channel)] = value;
        }
        __syncthreads();
    }
}
