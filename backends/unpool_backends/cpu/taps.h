/* The loops that move values by taps of windows, which window.pxi calls.
 *
 * Taps are bytes.  A loop over elements of one size becomes vector instructions, so bytes are widened to lanes, unsigned
 * integers as wide as the values.  Then a comparison gives a mask, all ones or zero, that selects a value:
 *
 *     taps of 4 windows      0     3     1     1      k2 s2: taps 0 and 1 lie in the first row of a window
 *     values                 a     b     c     d
 *     first row of cells     a 0   0 0   0 c   0 d
 *     second row of cells    0 0   0 b   0 0   0 0
 */
#ifndef UNPOOL_TAPS_H
#define UNPOOL_TAPS_H

#include "pooling.h"

/* Neighbouring windows whose values are taken at once, and the most cells of one that lie in a row. */
#define UNPOOL_TAKEN 1024
#define UNPOOL_REACH 64

typedef struct {
    void (*widen)(const uint8_t *taps, void *lanes, ptrdiff_t count);
    /* Write two cells for each window: the value at tap `number`, and at the next one; zero if neither is its tap. */
    void (*put_pairs)(const void *values, const void *lanes, int64_t number, void *cells, ptrdiff_t count);
    /* Take the cell at each window's tap if that is one of `length` taps of a row, `apart` cells from each other, from
     * `number` on.  Windows lie `stride` cells apart, at most 3.  If `fresh`, the other values become zero. */
    void (*take_row)(
        const void *cells, const void *lanes, int64_t number, ptrdiff_t length, ptrdiff_t apart, ptrdiff_t stride,
        int fresh, void *values, ptrdiff_t count);
} unpool_tap_loops;

UNPOOL_LOOPS unpool_most_of(const uint8_t *__restrict taps, ptrdiff_t count, uint8_t *__restrict most) {
    uint8_t found = 0;
    ptrdiff_t i;
    for (i = 0; i < count; i++) found = taps[i] > found ? taps[i] : found;
    *most = found;
}

/* Mark the windows whose tap is `tap`, and whose later neighbour's tap is `other`, which is the same cell. */
UNPOOL_LOOPS unpool_mark_lost(
    const uint8_t *__restrict taps, const uint8_t *__restrict later, uint8_t tap, uint8_t other,
    uint8_t *__restrict lost, ptrdiff_t count) {
    ptrdiff_t i;
    for (i = 0; i < count; i++) lost[i] |= (uint8_t)-((taps[i] == tap) & (later[i] == other));
}

/* From taps to cells, for windows of at most so many taps (see decode.pxi). */
#define UNPOOL_DECODED 32
/* What stands for 1 in the reciprocals of divisors of taps. */
#define UNPOOL_RECIPROCAL 1024

typedef struct {
    /* tap * per_row / UNPOOL_RECIPROCAL is tap / kernel[2]; per_depth divides by kernel[1] * kernel[2]. */
    uint32_t per_row, per_depth;
    /* What the cell grows by for each tap, for each row of taps that is left behind, and for each depth. */
    uint32_t column, row, depth;
} unpool_steps;

UNPOOL_LOOP unpool_decode(
    const uint8_t *__restrict taps, const uint32_t *__restrict starts, const uint32_t *__restrict masks,
    uint32_t corner, uint32_t mask, const unpool_steps steps, const int plain, ptrdiff_t count,
    uint32_t *__restrict cells, uint32_t *__restrict good) {
    uint32_t all = 0, inside = 1;
    ptrdiff_t i;
    for (i = 0; i < count; i++) {
        const uint32_t tap = taps[i];
        uint32_t cell = corner + starts[i] + tap * steps.per_row / UNPOOL_RECIPROCAL * steps.row;
        if (plain)
            cell += tap;
        else
            cell += tap * steps.column + tap * steps.per_depth / UNPOOL_RECIPROCAL * steps.depth;
        cells[i] = cell;
        all |= tap;
        inside &= (masks[i] & mask) >> (tap & (UNPOOL_DECODED - 1));
    }
    *good = inside && all < UNPOOL_DECODED;
}

/* Set `good` to 1 if the masks of all windows, and `mask`, have the bits of their taps; otherwise to 0. */
UNPOOL_LOOPS unpool_decode_taps(
    const uint8_t *taps, const uint32_t *starts, const uint32_t *masks, uint32_t corner, uint32_t mask,
    const unpool_steps *steps, ptrdiff_t count, uint32_t *cells, uint32_t *good) {
    if (steps->column == 1 && steps->depth == 0)
        unpool_decode(taps, starts, masks, corner, mask, *steps, 1, count, cells, good);
    else
        unpool_decode(taps, starts, masks, corner, mask, *steps, 0, count, cells, good);
}

#define LANE uint8_t
#define WIDTH 8
#include "taps_lanes.h"
#define LANE uint16_t
#define WIDTH 16
#include "taps_lanes.h"
#define LANE uint32_t
#define WIDTH 32
#include "taps_lanes.h"
#define LANE uint64_t
#define WIDTH 64
#include "taps_lanes.h"

/* Return the loops for values of this size, or NULL if no lane is as wide. */
static const unpool_tap_loops *unpool_tap_loops_for(ptrdiff_t itemsize) {
    static const unpool_tap_loops loops[4] = {
        {unpool_widen_8, unpool_put_pairs_8, unpool_take_row_8},
        {unpool_widen_16, unpool_put_pairs_16, unpool_take_row_16},
        {unpool_widen_32, unpool_put_pairs_32, unpool_take_row_32},
        {unpool_widen_64, unpool_put_pairs_64, unpool_take_row_64},
    };
    switch (itemsize) {
        case 1: return &loops[0];
        case 2: return &loops[1];
        case 4: return &loops[2];
        case 8: return &loops[3];
        default: return NULL;
    }
}

#endif
