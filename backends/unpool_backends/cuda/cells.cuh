// Scatter by cells: windows that overlap.  A thread takes a *tile*: in one or a few rows, the cells that share 16 bytes.
// It compares its cells with the index of each window that reaches one of them:
//
//     cell      0   1   2   3 | 4   5   6   7 | 8        kernel 3, stride 2, padding 0: for the cells 4..7, a thread
//     window    0-------0                                reads the indices of windows 1, 2 and 3, and checks those of
//                       1-------1                        windows 2 and 3, which start there
//                               2-------2
//                                       3-------3
//
// Windows are read in row-major order, so no result depends on the order of threads: the last window that names a cell
// wins, and sums are added up in this order.  That is exact if each index names a cell that its window reaches.  Other
// indices mark the strip, which is then redone by ranges.

// The cells of a row of a tile, unless an end of the plane's row cuts it.  They lie `step` elements apart.
enum { CELLS = 16 / sizeof(Word) };

struct Tile {
    Count outer, channel;
    Int slice, row, end_row, low, end;  // columns low..end-1
};

UNPOOL_FUNCTION Tile tile_at(const Job& job, const Word* plane, Count number) {
    Tile tile;
    Count rest = number;
    tile.channel = 0;
    if (job.step > 1) {  // neighbouring threads take neighbouring channels, which are adjacent in memory
        rest = job.by_step.quotient(number);
        tile.channel = number - rest * job.step;
    }
    const Count rows = job.by_units.quotient(rest), slice = job.by_row_blocks.quotient(rows);
    tile.outer = job.by_plane[0].quotient(slice);
    tile.slice = (Int)(slice - tile.outer * job.plane[0]);
    tile.row = (Int)((rows - slice * job.row_blocks) * job.rows_each);
    tile.end_row = tile.row + (Int)job.rows_each < job.plane[1] ? tile.row + (Int)job.rows_each : job.plane[1];
    Int first = (Int)((rest - rows * job.units) * CELLS);
    // If rows begin anywhere in 16 bytes, the first tile of a row is narrower, and all others begin at 16 bytes.
    if (job.step == 1 && job.units * CELLS > (Count)job.plane[2])
        first -= (Int)(((u64)(plane + (slice * job.plane[1] + tile.row) * job.plane[2]) & 15) / sizeof(Word));
    tile.low = first < 0 ? 0 : first;
    tile.end = first + CELLS < job.plane[2] ? first + CELLS : job.plane[2];
    return tile;
}

// An element for each cell of the thread's tile: with SUM the sum, else the last window that names the cell.  It is in
// shared memory, because registers cannot be indexed.  No other thread uses it.
template <class T> UNPOOL_FUNCTION T& slot_of_thread(Count slot) { return ((T*)shared)[slot * blockDim.x + threadIdx.x]; }

UNPOOL_FUNCTION void open_slot(Count slot) {
    if (DUPLICATES == SUM)
        slot_of_thread<Word>(slot) = Word();
    else
        slot_of_thread<Count>(slot) = NOBODY;
}

UNPOOL_FUNCTION void take(Status* status, Count slot, Count window, Count element, const Word* values) {
    if (DUPLICATES == SUM) {
        slot_of_thread<Word>(slot) = Kind::add(slot_of_thread<Word>(slot), values[element]);
    } else {
        if (DUPLICATES == ERROR && slot_of_thread<Count>(slot) != NOBODY)
            report(&status->repeated, element);
        slot_of_thread<Count>(slot) = window;
    }
}

// Write cells of a row, in one store if they are 16 bytes.
UNPOOL_FUNCTION void write_row(const Job& job, Word* cells, const Word* row, Count length) {
    if (length == CELLS && job.step == 1 && ((u64)cells & 15) == 0) {
        uint4 whole;
        memcpy(&whole, row, sizeof whole);
        __stwb((uint4*)cells, whole);  // some compilers split a plain store of chosen values
        return;
    }
#pragma unroll
    for (Count c = 0; c < CELLS; ++c)
        if (c < length)
            cells[c * job.step] = row[c];
}

extern "C" __global__ void __launch_bounds__(128) unpool_scatter_cells(
    const Word* __restrict__ values, const Index* __restrict__ indices, Word* __restrict__ plane, Status* status,
    const Job job
) {
    const Count number = (Count)blockIdx.x * blockDim.x + threadIdx.x;
    if (number >= job.tasks)
        return;
    const Tile tile = tile_at(job, plane, number);
    if (tile.low >= tile.end)
        return;
    const Count height = (Count)(tile.end_row - tile.row), length = (Count)(tile.end - tile.low);
    const Reach slices = reach(job, 0, tile.slice, tile.slice + 1);
    const Reach rows = reach(job, 1, tile.row, tile.end_row), columns = reach(job, 2, tile.low, tile.end);
    for (Count slot = 0; slot < height * CELLS; ++slot)
        open_slot(slot);
    for (Int slice = slices.first; slice < slices.end; ++slice)
        for (Int row = rows.first; row < rows.end; ++row) {
            // Each window is checked by one thread: the one in whose tile it starts.
            const bool starts = slice >= slices.starting && row >= rows.starting;
            const Int starting = starts ? columns.starting : columns.end;
            const Count first = ((Count)slice * job.pooled[1] + row) * job.pooled[2];
#pragma unroll 1
            for (Int column = columns.first; column < columns.end; column += EACH) {
                // All indices are loaded before the first is used.
                Index index[EACH];
#pragma unroll
                for (int b = 0; b < EACH; ++b) {
                    const Count window = first + column + b;
                    const Count element = (tile.outer * job.windows + window) * job.step + tile.channel;
                    index[b] = column + b < columns.end ? indices[element] : 0;
                }
#pragma unroll
                for (int b = 0; b < EACH; ++b) {
                    const bool read = column + b < columns.end, checked = starting <= column + b && read;
                    const Place place = {tile.outer, first + column + b, tile.channel};
                    const Count element = (tile.outer * job.windows + place.window) * job.step + tile.channel;
                    const Point window = {{slice, row, column + b}};
                    Point cell;
                    if (!read || !read_cell(job, index[b], place.window, window, cell)) {
                        if (checked)
                            report(&status->bad, element);
                        continue;
                    }
                    if (checked && !reaches(job, window, cell))
                        mark(status, job, place);
                    const Count y = (Count)(cell.at[1] - tile.row), x = (Count)(cell.at[2] - tile.low);
                    if (cell.at[0] == tile.slice && y < height && x < length)
                        take(status, y * CELLS + x, place.window, element, values);
                }
            }
        }
    for (Count y = 0; y < height; ++y) {
        Word row[CELLS];
#pragma unroll
        for (Count x = 0; x < CELLS; ++x) {
            if (DUPLICATES == SUM) {
                row[x] = slot_of_thread<Word>(y * CELLS + x);
                continue;
            }
            const Count window = slot_of_thread<Count>(y * CELLS + x);
            row[x] = Word();
            if (window != NOBODY)
                row[x] = values[(tile.outer * job.windows + window) * job.step + tile.channel];
        }
        const Count cell = ((Count)tile.slice * job.plane[1] + tile.row + y) * job.plane[2] + tile.low;
        write_row(job, plane + cell_element(job, tile.outer, cell, tile.channel), row, length);
    }
}
