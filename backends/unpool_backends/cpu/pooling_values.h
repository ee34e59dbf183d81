/* The loops of pooling that compare values, for one type: VALUE, whose lanes are LANE.  See pooling.h.
 *
 * A later value wins if it is larger, or NaN.  So the first of equals remains, and the last NaN. */

#ifndef MASK
#define MASK LANE
#endif
#define NAME(name) UNPOOL_JOIN(name, SUFFIX)
#define BY_WIDTH(name) UNPOOL_JOIN(name, WIDTH)

#define COMPARE(candidate, tap) \
    { \
        const VALUE value = candidate; \
        const LANE number = (LANE)(tap); \
        const MASK wins = BETTER(value, most); \
        most = SELECT(VALUE, wins, value, most); \
        from = SELECT(LANE, wins, number, from); \
    }

UNPOOL_LOOPS NAME(fill_lowest)(void *values, ptrdiff_t count) {
    VALUE *__restrict to = values;
    ptrdiff_t i;
    for (i = 0; i < count; i++) to[i] = LOWEST;
}

/* Up to three taps at once, so that `best` and `found` are loaded and stored once.  The last two arguments are
 * constants in each call, and so is `apart` if it is 1. */
UNPOOL_LOOP NAME(taps)(
    const VALUE *__restrict a, const VALUE *__restrict b, const VALUE *__restrict c, const ptrdiff_t apart,
    int64_t number, int64_t unit, VALUE *__restrict best, LANE *__restrict found, ptrdiff_t count, const int taps, const int fresh) {
    const LANE first = (LANE)number, second = (LANE)(number + unit), third = (LANE)(number + 2 * unit);
    ptrdiff_t i;
    for (i = 0; i < count; i++) {
        VALUE most = fresh ? a[i * apart] : best[i];
        LANE from = fresh ? first : found[i];
        if (!fresh) COMPARE(a[i * apart], first)
        if (taps > 1) COMPARE(b[i * apart], second)
        if (taps > 2) COMPARE(c[i * apart], third)
        best[i] = most;
        found[i] = from;
    }
}

/* The same for lines: `ka` are the lanes of `a`. */
UNPOOL_LOOP NAME(lines)(
    const VALUE *__restrict a, const LANE *__restrict ka, const VALUE *__restrict b, const LANE *__restrict kb,
    const VALUE *__restrict c, const LANE *__restrict kc, int64_t number, int64_t unit, VALUE *__restrict best,
    LANE *__restrict found, ptrdiff_t count, const int lines, const int fresh) {
    const LANE first = (LANE)number, second = (LANE)(number + unit), third = (LANE)(number + 2 * unit);
    ptrdiff_t i;
    for (i = 0; i < count; i++) {
        VALUE most = fresh ? a[i] : best[i];
        LANE from = fresh ? (LANE)(ka[i] + first) : found[i];
        if (!fresh) COMPARE(a[i], ka[i] + first)
        if (lines > 1) COMPARE(b[i], kb[i] + second)
        if (lines > 2) COMPARE(c[i], kc[i] + third)
        best[i] = most;
        found[i] = from;
    }
}

#define TAPS(apart, length, fresh) NAME(taps)(a, b, c, apart, number, unit, best, found, count, length, fresh)

UNPOOL_LOOPS NAME(best_of_taps)(
    const unpool_tap *taps, ptrdiff_t length, ptrdiff_t apart, int64_t number, int64_t unit, int fresh, void *best,
    void *found, ptrdiff_t count) {
    while (length > 0) {
        const VALUE *a = taps[0], *b = length > 1 ? taps[1] : a, *c = length > 2 ? taps[2] : a;
        if (apart == 1 && fresh) {
            if (length == 1) TAPS(1, 1, 1);
            else if (length == 2) TAPS(1, 2, 1);
            else TAPS(1, 3, 1);
        } else if (apart == 1) {
            if (length == 1) TAPS(1, 1, 0);
            else if (length == 2) TAPS(1, 2, 0);
            else TAPS(1, 3, 0);
        } else if (fresh) {
            if (length == 1) TAPS(apart, 1, 1);
            else if (length == 2) TAPS(apart, 2, 1);
            else TAPS(apart, 3, 1);
        } else {
            if (length == 1) TAPS(apart, 1, 0);
            else if (length == 2) TAPS(apart, 2, 0);
            else TAPS(apart, 3, 0);
        }
        fresh = 0, taps += 3, length -= 3, number += 3 * unit;
    }
}
#undef TAPS

UNPOOL_LOOPS NAME(best_of_pairs)(const void *cells, void *best_values, void *lanes, ptrdiff_t count) {
    const VALUE *__restrict a = cells;
    VALUE *__restrict best = best_values;
    LANE *__restrict found = lanes;
    ptrdiff_t i;
    for (i = 0; i < count; i++) {
        const VALUE next = a[2 * i + 1];
        VALUE most = a[2 * i];
        LANE from = 0;
        COMPARE(next, 1)
        best[i] = most;
        found[i] = from;
    }
}

#define LINES(length, fresh) NAME(lines)(a, ka, b, kb, c, kc, number, unit, best, found, count, length, fresh)

UNPOOL_LOOPS NAME(best_of_lines)(
    const void *lines, const void *columns, ptrdiff_t apart, ptrdiff_t length, int64_t number, int64_t unit, int fresh,
    void *best, void *found, ptrdiff_t count) {
    const VALUE *a = lines;
    const LANE *ka = columns;
    while (length > 0) {
        const ptrdiff_t to_b = length > 1 ? apart : 0, to_c = length > 2 ? 2 * apart : 0;
        const VALUE *b = a + to_b, *c = a + to_c;
        const LANE *kb = ka + to_b, *kc = ka + to_c;
        if (fresh) {
            if (length == 1) LINES(1, 1);
            else if (length == 2) LINES(2, 1);
            else LINES(3, 1);
        } else {
            if (length == 1) LINES(1, 0);
            else if (length == 2) LINES(2, 0);
            else LINES(3, 0);
        }
        fresh = 0, length -= 3, number += 3 * unit;
        if (length > 0) a += 3 * apart, ka += 3 * apart;
    }
}
#undef LINES

static const unpool_loops NAME(loops) = {
    BY_WIDTH(split),     NAME(fill_lowest),   NAME(best_of_taps),   NAME(best_of_pairs),
    NAME(best_of_lines), BY_WIDTH(raise),     BY_WIDTH(to_indices),
};

#undef COMPARE
#undef NAME
#undef BY_WIDTH
#undef VALUE
#undef LOWEST
#undef WIDTH
#undef LANE
#undef MASK
#undef SUFFIX
