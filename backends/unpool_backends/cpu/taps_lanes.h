/* The loops of taps.h for one width: LANE has WIDTH bits. */

#define NAME(name) UNPOOL_JOIN(name, WIDTH)
/* All ones where a lane has this number.  GCC 12 makes a branch of `? :` between integers, which is ten times slower. */
#define ON(lane, number) ((LANE)-(LANE)((lane) == (number)))

UNPOOL_LOOPS NAME(widen)(const uint8_t *__restrict taps, void *to, ptrdiff_t count) {
    LANE *__restrict lanes = to;
    ptrdiff_t i;
    for (i = 0; i < count; i++) lanes[i] = taps[i];
}

UNPOOL_LOOPS NAME(put_pairs)(const void *from, const void *taps, int64_t number, void *to, ptrdiff_t count) {
    const LANE *__restrict values = from, *__restrict lanes = taps;
    LANE *__restrict cells = to;
    const LANE first = (LANE)number, second = (LANE)(number + 1);
    ptrdiff_t i;
    for (i = 0; i < count; i++) {
        const LANE value = values[i], lane = lanes[i];
        const LANE a = ON(lane, first) & value, b = ON(lane, second) & value;
        cells[2 * i] = a, cells[2 * i + 1] = b;
    }
}

/* --- taking: cells are split by the stride into phases, so that a tap of neighbouring windows lies side by side --- */

UNPOOL_LOOP NAME(take_1)(
    const LANE *__restrict a, const LANE *__restrict lanes, LANE number, const int fresh, LANE *__restrict values,
    ptrdiff_t count) {
    ptrdiff_t i;
    for (i = 0; i < count; i++) values[i] = (LANE)((ON(lanes[i], number) & a[i]) | (fresh ? 0 : values[i]));
}

UNPOOL_LOOP NAME(take_2)(
    const LANE *__restrict a, const LANE *__restrict b, const LANE *__restrict lanes, LANE number, const int fresh,
    LANE *__restrict values, ptrdiff_t count) {
    ptrdiff_t i;
    for (i = 0; i < count; i++) {
        const LANE x = ON(lanes[i], number) & a[i], y = ON(lanes[i], (LANE)(number + 1)) & b[i];
        values[i] = (LANE)(x | y | (fresh ? 0 : values[i]));
    }
}

UNPOOL_LOOP NAME(take_3)(
    const LANE *__restrict a, const LANE *__restrict b, const LANE *__restrict c, const LANE *__restrict lanes,
    LANE number, const int fresh, LANE *__restrict values, ptrdiff_t count) {
    ptrdiff_t i;
    for (i = 0; i < count; i++) {
        const LANE x = ON(lanes[i], number) & a[i], y = ON(lanes[i], (LANE)(number + 1)) & b[i];
        const LANE z = ON(lanes[i], (LANE)(number + 2)) & c[i];
        values[i] = (LANE)(x | y | z | (fresh ? 0 : values[i]));
    }
}

#define AT(tap) (phase[(place + (tap) * apart) % stride] + (place + (tap) * apart) / stride)

UNPOOL_LOOPS NAME(take_row)(
    const void *from, const void *taps, int64_t number, ptrdiff_t length, ptrdiff_t apart, ptrdiff_t stride, int fresh,
    void *to, ptrdiff_t count) {
    LANE split[3][UNPOOL_TAKEN + UNPOOL_REACH];
    const LANE *cells = from, *lanes = taps, *phase[3] = {cells, split[1], split[2]};
    LANE *values = to, first = (LANE)number;
    const ptrdiff_t reached = (count - 1) * stride + (length - 1) * apart + 1, whole = reached / stride;
    ptrdiff_t place = 0, cell;
    if (stride > 1) {
        phase[0] = split[0];
        if (stride == 2)
            NAME(split_2)(cells, split[0], split[1], whole);
        else
            NAME(split_3)(cells, split[0], split[1], split[2], whole);
        for (cell = whole * stride; cell < reached; cell++) split[cell % stride][whole] = cells[cell];
    }
    for (; length > 0; length -= 3, first += 3, place += 3 * apart, fresh = 0) {
        if (length > 2 && fresh) /* a constant `fresh` lets the compiler make vector loops without a test of it */
            NAME(take_3)(AT(0), AT(1), AT(2), lanes, first, 1, values, count);
        else if (length > 2)
            NAME(take_3)(AT(0), AT(1), AT(2), lanes, first, 0, values, count);
        else if (length == 2 && fresh)
            NAME(take_2)(AT(0), AT(1), lanes, first, 1, values, count);
        else if (length == 2)
            NAME(take_2)(AT(0), AT(1), lanes, first, 0, values, count);
        else if (fresh)
            NAME(take_1)(AT(0), lanes, first, 1, values, count);
        else
            NAME(take_1)(AT(0), lanes, first, 0, values, count);
    }
}

#undef AT
#undef ON
#undef NAME
#undef LANE
#undef WIDTH
