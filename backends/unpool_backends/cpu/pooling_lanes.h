/* The loops of pooling that move values or use lanes, for one width: LANE has WIDTH bits.  See pooling.h. */

#define NAME(name) UNPOOL_JOIN(name, WIDTH)

/* --- rows to phases --- */

UNPOOL_LOOP NAME(pick_groups)(
    const LANE *__restrict from, ptrdiff_t stride, LANE *__restrict to, const ptrdiff_t group, ptrdiff_t count) {
    ptrdiff_t i, c;
    for (i = 0; i < count; i++)
        for (c = 0; c < group; c++) to[i * group + c] = from[i * stride + c];
}

UNPOOL_LOOP NAME(pick)(
    const LANE *__restrict from, ptrdiff_t stride, LANE *__restrict to, ptrdiff_t group, ptrdiff_t count) {
    if (stride == group)
        memcpy(to, from, count * group * sizeof(LANE));
    else if (group == 1 && stride == 2) /* constants let the compiler load vectors, or unroll */
        NAME(pick_groups)(from, 2, to, 1, count);
    else if (group == 1)
        NAME(pick_groups)(from, stride, to, 1, count);
    else if (group == 2)
        NAME(pick_groups)(from, stride, to, 2, count);
    else if (group == 3)
        NAME(pick_groups)(from, stride, to, 3, count);
    else if (group == 4)
        NAME(pick_groups)(from, stride, to, 4, count);
    else
        NAME(pick_groups)(from, stride, to, group, count);
}

UNPOOL_LOOP NAME(split_2)(const LANE *__restrict from, LANE *__restrict a, LANE *__restrict b, ptrdiff_t count) {
    ptrdiff_t i;
    for (i = 0; i < count; i++) {
        const LANE x = from[2 * i], y = from[2 * i + 1];
        a[i] = x, b[i] = y;
    }
}

UNPOOL_LOOP NAME(split_3)(
    const LANE *__restrict from, LANE *__restrict a, LANE *__restrict b, LANE *__restrict c, ptrdiff_t count) {
    ptrdiff_t i;
    for (i = 0; i < count; i++) {
        const LANE x = from[3 * i], y = from[3 * i + 1], z = from[3 * i + 2];
        a[i] = x, b[i] = y, c[i] = z;
    }
}

UNPOOL_LOOP NAME(split_4)(
    const LANE *__restrict from, LANE *__restrict a, LANE *__restrict b, LANE *__restrict c, LANE *__restrict d,
    ptrdiff_t count) {
    ptrdiff_t i;
    for (i = 0; i < count; i++) {
        const LANE x = from[4 * i], y = from[4 * i + 1], z = from[4 * i + 2], w = from[4 * i + 3];
        a[i] = x, b[i] = y, c[i] = z, d[i] = w;
    }
}

UNPOOL_LOOPS NAME(split)(
    const unpool_phases *phases, const void *row, ptrdiff_t row_apart, ptrdiff_t rows, void *to) {
    const ptrdiff_t stride = phases->stride, apart = phases->apart, group = phases->group;
    ptrdiff_t low = phases->low, high = phases->high, more = 0, p;
    const LANE *from = row;
    LANE *out = to;
    if (phases->whole && row_apart == phases->blocks * stride) { /* rows that follow each other are one long row */
        more = (rows - 1) * phases->blocks;
        high += more;
        rows = 1;
    }
    for (; rows > 0; rows--, from += row_apart, out += phases->blocks * group) {
        const LANE *whole = from + (phases->first[0] + low * stride);
        LANE *a = out + low, *b = a + apart, *c = b + apart;
        if (phases->split == 2)
            NAME(split_2)(whole, a, b, high - low);
        else if (phases->split == 3)
            NAME(split_3)(whole, a, b, c, high - low);
        else if (phases->split == 4)
            NAME(split_4)(whole, a, b, c, c + apart, high - low);
        for (p = 0; p < phases->count; p++) {
            const ptrdiff_t first = phases->first[p], begin = phases->begin[p], end = phases->end[p] + more;
            LANE *phase = out + p * apart;
            if (!phases->split) {
                NAME(pick)(from + (first + begin * stride), stride, phase + begin * group, group, end - begin);
            } else if (!phases->whole) { /* the few cells of some phases before and after the blocks that have all */
                NAME(pick)(from + (first + begin * stride), stride, phase + begin, 1, low - begin);
                NAME(pick)(from + (first + high * stride), stride, phase + high, 1, end - high);
            }
        }
    }
}

/* --- lanes to indices --- */

UNPOOL_LOOPS NAME(raise)(void *found, int64_t number, ptrdiff_t count) {
    LANE *__restrict lanes = found;
    const LANE least = (LANE)number;
    ptrdiff_t i;
    for (i = 0; i < count; i++) lanes[i] = lanes[i] > least ? lanes[i] : least;
}

#define INDEX_LOOP(loop, INDEX) \
    UNPOOL_LOOP NAME(loop)( \
        const LANE *__restrict found, const int32_t *__restrict starts, const int32_t *__restrict offsets, \
        INDEX *__restrict indices, INDEX corner, const int replaces, ptrdiff_t count) { \
        ptrdiff_t i; \
        for (i = 0; i < count; i++) { \
            const INDEX offset = offsets ? (INDEX)offsets[found[i] & (UNPOOL_MOST_TAPS - 1)] : (INDEX)found[i]; \
            if (!replaces || found[i] != (LANE)-1) indices[i] = (INDEX)(corner + starts[i] + offset); \
        } \
    }
INDEX_LOOP(indices_32, int32_t)
INDEX_LOOP(indices_64, int64_t)
#undef INDEX_LOOP

UNPOOL_LOOP NAME(bytes)(const LANE *__restrict found, uint8_t *__restrict indices, ptrdiff_t count) {
    ptrdiff_t i;
    for (i = 0; i < count; i++) indices[i] = (uint8_t)found[i];
}

UNPOOL_LOOPS NAME(to_indices)(
    const unpool_numbering *numbering, const void *found, void *indices, int64_t corner, ptrdiff_t count) {
    const int32_t *starts = numbering->starts, *offsets = numbering->offsets;
    const int narrow = numbering->index_bytes == 4;
    if (numbering->index_bytes == 1)
        NAME(bytes)(found, indices, count);
    else if (narrow && !offsets)
        NAME(indices_32)(found, starts, NULL, indices, (int32_t)corner, 0, count);
    else if (narrow && !numbering->replaces)
        NAME(indices_32)(found, starts, offsets, indices, (int32_t)corner, 0, count);
    else if (narrow)
        NAME(indices_32)(found, starts, offsets, indices, (int32_t)corner, 1, count);
    else if (!offsets)
        NAME(indices_64)(found, starts, NULL, indices, corner, 0, count);
    else if (!numbering->replaces)
        NAME(indices_64)(found, starts, offsets, indices, corner, 0, count);
    else
        NAME(indices_64)(found, starts, offsets, indices, corner, 1, count);
}

#undef NAME
#undef LANE
#undef WIDTH
