// Pooling: a thread takes the largest cell of a window.

// Cells are read some at a time, and compared when all of them are there: all of a window's, if its size is known.
#ifdef SIDE
const Int TAP_ROWS = SIDE, TAP_COLUMNS = SIDE;
#else
const Int TAP_ROWS = 1, TAP_COLUMNS = 4;
#endif

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
    Word best = Word();
    Count found = 0;
    bool first = true;
    for (Int kd = 0; kd < job.kernel[0]; ++kd) {
        const Int d = corner[0] + kd * job.dilation[0];
        if ((Count)d >= (Count)job.plane[0])
            continue;
        for (Int row = 0; row < job.kernel[1]; row += TAP_ROWS)
            for (Int column = 0; column < job.kernel[2]; column += TAP_COLUMNS) {
                Word value[TAP_ROWS][TAP_COLUMNS];
                Count cell[TAP_ROWS][TAP_COLUMNS];
                bool inside[TAP_ROWS][TAP_COLUMNS];
#pragma unroll
                for (Int r = 0; r < TAP_ROWS; ++r)
#pragma unroll
                    for (Int c = 0; c < TAP_COLUMNS; ++c) {
                        const Count h = corner[1] + (Count)(row + r) * job.dilation[1];
                        const Count w = corner[2] + (Count)(column + c) * job.dilation[2];
                        inside[r][c] = (h < (Count)job.plane[1]) & (w < (Count)job.plane[2]) &
                                       (column + c < job.kernel[2]);
                        cell[r][c] = ((Count)d * job.plane[1] + h) * job.plane[2] + w;
                        value[r][c] = inside[r][c] ? cells[cell[r][c] * job.step] : Word();
                    }
#pragma unroll
                for (Int r = 0; r < TAP_ROWS; ++r)
#pragma unroll
                    for (Int c = 0; c < TAP_COLUMNS; ++c) {
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
