// Pooling: a thread takes the largest cell of a window.

// Several cells are loaded before the first is compared: all cells of a window, if the compiler has its size.
#ifdef SIDE
const Count TAP_ROWS = SIDE, TAP_COLUMNS = SIDE;
#else
const Count TAP_ROWS = 1, TAP_COLUMNS = 4;
#endif

extern "C" __global__ void __launch_bounds__(256)
unpool_pool(const Word* __restrict__ plane, Word* __restrict__ values, Index* __restrict__ indices, const Job job) {
    const Count element = (Count)blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= job.elements)
        return;
    const Place place = place_at(job, element);
    const Point window = window_at(job, place.window);
    const Word* cells = plane + cell_element(job, place.outer, 0, place.channel);
    Span slices = span(job, 0, window.at[0]), rows = span(job, 1, window.at[1]), columns = span(job, 2, window.at[2]);
#ifdef SIDE  // all taps lie inside the plane
    const bool whole = true;
    slices.first = rows.first = columns.first = 0;
    slices.end = 1;
    rows.end = columns.end = SIDE;
    const Count dilation[3] = {1, 1, 1};
#else
    const bool whole = false;
    const Count dilation[3] = {(Count)job.dilation[0], (Count)job.dilation[1], (Count)job.dilation[2]};
#endif
    Word best = Word();
    Count found = 0;
    bool first = true;
    for (Count slice = slices.first; slice < slices.end; ++slice) {
        const Count d = slices.start + slice * dilation[0];
        for (Count row = rows.first; row < rows.end; row += TAP_ROWS)
            for (Count column = columns.first; column < columns.end; column += TAP_COLUMNS) {
                Word value[TAP_ROWS][TAP_COLUMNS];
                Count cell[TAP_ROWS][TAP_COLUMNS];
                bool inside[TAP_ROWS][TAP_COLUMNS];
#pragma unroll
                for (Count r = 0; r < TAP_ROWS; ++r)
#pragma unroll
                    for (Count c = 0; c < TAP_COLUMNS; ++c) {
                        const Count h = rows.start + (row + r) * dilation[1];
                        const Count w = columns.start + (column + c) * dilation[2];
                        inside[r][c] = whole | ((h < (Count)job.plane[1]) & (w < (Count)job.plane[2]) &
                                                (column + c < columns.end));
                        cell[r][c] = (d * job.plane[1] + h) * job.plane[2] + w;
                        value[r][c] = inside[r][c] ? cells[cell[r][c] * job.step] : Word();
                    }
#pragma unroll
                for (Count r = 0; r < TAP_ROWS; ++r)
#pragma unroll
                    for (Count c = 0; c < TAP_COLUMNS; ++c) {
                        const bool wins = inside[r][c] & (first | Kind::better(value[r][c], best));
                        best = wins ? value[r][c] : best;
                        found = wins ? mark_of(job, cell[r][c], slice, row + r, column + c) : found;
                        first &= !inside[r][c];
                    }
            }
    }
    values[element] = best;
    if (indices)
        write_index(indices, element, found);
}
