// Pooling: a thread takes the largest cell of a window.

// Cells are read some at a time, and compared when all of them are there: all of a window's, if its size is known.
#ifdef SIDE
const Count TAP_ROWS = SIDE, TAP_COLUMNS = SIDE;
#else
const Count TAP_ROWS = 1, TAP_COLUMNS = 4;
#endif

// The taps of a window along an axis that are not in the padding: most of a large kernel's may be.
struct Taps {
    Count first, end;
};

UNPOOL_FUNCTION Taps taps_of(const Job& job, int axis, Int corner) {
    const Count dilation = job.dilation[axis], before = corner < 0 ? 0 - (Count)corner : 0;
    const Count ahead = (Count)job.plane[axis] - (Count)corner;
    Taps taps;
    taps.first = dilation == 1 ? before : (before + dilation - 1) / dilation;
    taps.end = dilation == 1 ? ahead : (ahead + dilation - 1) / dilation;
    taps.end = taps.end < (Count)job.kernel[axis] ? taps.end : (Count)job.kernel[axis];
    return taps;
}

extern "C" __global__ void __launch_bounds__(256)
unpool_pool(const Word* __restrict__ plane, Word* __restrict__ values, Index* __restrict__ indices, const Job job) {
    const Count element = (Count)blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= job.elements)
        return;
    const Place place = place_at(job, element);
    const Point window = point_at(job.pooled, job.by_pooled, place.window);
    const Word* cells = plane + cell_element(job, place.outer, 0, place.channel);
    Int corner[3];
    for (int axis = 0; axis < 3; ++axis)
        corner[axis] = window.at[axis] * job.stride[axis] - job.padding[axis];
#ifdef SIDE  // and all of it is inside
    const bool whole = true;
    const Taps slices = {0, 1}, rows = {0, SIDE}, columns = {0, SIDE};
    const Count dilation[3] = {1, 1, 1};
#else
    const bool whole = false;
    const Taps slices = taps_of(job, 0, corner[0]), rows = taps_of(job, 1, corner[1]);
    const Taps columns = taps_of(job, 2, corner[2]);
    const Count dilation[3] = {(Count)job.dilation[0], (Count)job.dilation[1], (Count)job.dilation[2]};
#endif
    Word best = Word();
    Count found = 0;
    bool first = true;
    for (Count slice = slices.first; slice < slices.end; ++slice) {
        const Count d = corner[0] + slice * dilation[0];
        for (Count row = rows.first; row < rows.end; row += TAP_ROWS)
            for (Count column = columns.first; column < columns.end; column += TAP_COLUMNS) {
                Word value[TAP_ROWS][TAP_COLUMNS];
                Count cell[TAP_ROWS][TAP_COLUMNS];
                bool inside[TAP_ROWS][TAP_COLUMNS];
#pragma unroll
                for (Count r = 0; r < TAP_ROWS; ++r)
#pragma unroll
                    for (Count c = 0; c < TAP_COLUMNS; ++c) {
                        const Count h = corner[1] + (row + r) * dilation[1];
                        const Count w = corner[2] + (column + c) * dilation[2];
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
                        found = wins ? cell[r][c] : found;
                        first &= !inside[r][c];
                    }
            }
    }
    values[element] = best;
    if (indices)
        indices[element] = (Index)found;
}
