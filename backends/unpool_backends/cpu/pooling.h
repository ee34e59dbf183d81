/* The loops of pooling, which pooling.pxi calls.
 *
 * A compiler makes the fastest vector loops where all elements have one size.  So the taps that windows chose are kept
 * in *lanes*, unsigned integers as wide as the values.  A loop either compares values (one version per type), or moves
 * them, or turns lanes into indices (one version per width).
 *
 *     float             1.5   0.2   3.0   3.0      the largest values so far
 *     uint32_t lane       0     3     1     1      and the number of the tap that each came from
 */
#ifndef UNPOOL_POOLING_H
#define UNPOOL_POOLING_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "unpool.h"

/* job.pxi defines these.  Each function is compiled for AVX2 too, and the loops inlined into it. */
#define UNPOOL_LOOPS static UNPOOL_CLONED void
#define UNPOOL_LOOP static inline UNPOOL_INLINED void

/* Most phases of a row, and taps that are compared in one pass; also the entries of a table of taps. */
#define UNPOOL_MOST_TAPS 256

/* How a row of cells is split.  With stride 2, the cells 0, 2, 4.. are phase 0, and the others are phase 1: then the
 * same tap of neighbouring windows lies side by side, in one phase.
 *
 *     cells     0 1 2 3 4 5 6 7        phase 0   0 2 4 6     tap 0 of all windows is phase 0, and tap 2 is phase 0
 *     windows   |___| |___|            phase 1   1 3 5 7     from block 1 on; tap 1 is phase 1
 *                 |___|
 */
typedef struct {
    ptrdiff_t count;  /* phases */
    ptrdiff_t blocks; /* cells of a phase in one row */
    ptrdiff_t apart;  /* elements from a phase to the next one in memory: blocks of several rows */
    ptrdiff_t stride; /* elements from one block to the next in a row of cells */
    ptrdiff_t group;  /* elements of a cell: its channels, which stay together */
    int whole;        /* 1 if every block lies inside the plane */
    int split;        /* 2, 3 or 4 if the phases are all the cells of so many, in order; else 0 */
    ptrdiff_t low, high; /* the blocks whose cells of all phases lie inside the plane */
    ptrdiff_t first[UNPOOL_MOST_TAPS]; /* of each phase: the element of block 0 in its row, which may lie outside */
    ptrdiff_t begin[UNPOOL_MOST_TAPS], end[UNPOOL_MOST_TAPS]; /* its blocks inside the plane */
} unpool_phases;

/* How lanes become indices: index[i] = corner + starts[i] + (offsets ? offsets[lane] : lane). */
typedef struct {
    const int32_t *starts; /* cells from the first window to each */
    const int32_t *offsets;
    ptrdiff_t index_bytes; /* 4 or 8; with 1, an index is the lane */
    int replaces; /* 1 if lanes of all ones leave an index as it is */
} unpool_numbering;

typedef const void *unpool_tap; /* one tap of neighbouring windows */

/* The loops for one type of values.  Pointers are to values, lanes or indices of the types that belong together. */
typedef struct {
    /* Split rows of cells, `row_apart` elements apart, into phases; margins are left as they are. */
    void (*split)(const unpool_phases *phases, const void *row, ptrdiff_t row_apart, ptrdiff_t rows, void *to);
    void (*fill_lowest)(void *values, ptrdiff_t count);
    /* Compare the taps of `count` windows: `taps[t]` has tap t of each, `apart` elements from each other.  Its number
     * is `number + t * unit`.  If `fresh`, begin with the first tap; otherwise with what `best` and `found` have. */
    void (*best_of_taps)(
        const unpool_tap *taps, ptrdiff_t length, ptrdiff_t apart, int64_t number, int64_t unit, int fresh,
        void *best, void *found, ptrdiff_t count);
    /* The same for two neighbouring taps of windows that lie 2 cells apart, without phases. */
    void (*best_of_pairs)(const void *cells, void *best, void *found, ptrdiff_t count);
    /* Compare `length` lines of windows, `apart` elements from each other.  Their lanes are added to the number. */
    void (*best_of_lines)(
        const void *lines, const void *columns, ptrdiff_t apart, ptrdiff_t length, int64_t number, int64_t unit,
        int fresh, void *best, void *found, ptrdiff_t count);
    void (*raise)(void *found, int64_t number, ptrdiff_t count); /* found = max(found, number) */
    void (*to_indices)(
        const unpool_numbering *numbering, const void *found, void *indices, int64_t corner, ptrdiff_t count);
} unpool_loops;

#define UNPOOL_JOIN_(name, suffix) unpool_##name##_##suffix
#define UNPOOL_JOIN(name, suffix) UNPOOL_JOIN_(name, suffix)

/* --- by width ---------------------------------------------------------------------------------------------------- */

#define LANE uint8_t
#define WIDTH 8
#include "pooling_lanes.h"
#define LANE uint16_t
#define WIDTH 16
#include "pooling_lanes.h"
#define LANE uint32_t
#define WIDTH 32
#include "pooling_lanes.h"
#define LANE uint64_t
#define WIDTH 64
#include "pooling_lanes.h"

/* --- by type ------------------------------------------------------------------------------------------------------
 *
 * BETTER gives a mask as wide as a value, all ones or zero, and SELECT uses it: GCC 12 makes branches of `? :` between
 * integers, which random data mispredicts.  Between floats it does not, if both are loaded before. */

#define UNPOOL_CHOOSE(mask, a, b) (((a) & (mask)) | ((b) & ~(mask)))

#define SELECT(type, mask, a, b) ((type)UNPOOL_CHOOSE(mask, a, b))
#define BETTER(value, best) ((LANE)-(LANE)((value) > (best)))

#define VALUE int8_t
#define LOWEST INT8_MIN
#define WIDTH 8
#define LANE uint8_t
#define SUFFIX int8
#include "pooling_values.h"
#define VALUE uint8_t
#define LOWEST 0
#define WIDTH 8
#define LANE uint8_t
#define SUFFIX uint8
#include "pooling_values.h"
#define VALUE int16_t
#define LOWEST INT16_MIN
#define WIDTH 16
#define LANE uint16_t
#define SUFFIX int16
#include "pooling_values.h"
#define VALUE uint16_t
#define LOWEST 0
#define WIDTH 16
#define LANE uint16_t
#define SUFFIX uint16
#include "pooling_values.h"
#define VALUE int32_t
#define LOWEST INT32_MIN
#define WIDTH 32
#define LANE uint32_t
#define SUFFIX int32
#include "pooling_values.h"
#define VALUE uint32_t
#define LOWEST 0
#define WIDTH 32
#define LANE uint32_t
#define SUFFIX uint32
#include "pooling_values.h"
#define VALUE int64_t
#define LOWEST INT64_MIN
#define WIDTH 64
#define LANE uint64_t
#define SUFFIX int64
#include "pooling_values.h"
#define VALUE uint64_t
#define LOWEST 0
#define WIDTH 64
#define LANE uint64_t
#define SUFFIX uint64
#include "pooling_values.h"
#undef BETTER

/* Half precision, compared as in numbers.h, but in 16 bits: sign and magnitude become an ordered integer. */
UNPOOL_INLINED static inline int16_t unpool_ordered16(uint16_t bits) {
    const int16_t magnitude = (int16_t)(bits & 0x7fff), sign = (int16_t)-(int16_t)(bits >> 15);
    return (int16_t)((int16_t)(magnitude ^ sign) - sign);
}

UNPOOL_INLINED static inline uint16_t unpool_better16(uint16_t value, uint16_t best, int16_t infinity) {
    const uint16_t value_is_nan = (uint16_t)-((int16_t)(value & 0x7fff) > infinity);
    const uint16_t best_is_number = (uint16_t)-((int16_t)(best & 0x7fff) <= infinity);
    const uint16_t larger = (uint16_t)-(unpool_ordered16(value) > unpool_ordered16(best));
    return (uint16_t)(value_is_nan | (best_is_number & larger));
}

#define BETTER(value, best) unpool_better16(value, best, 0x7c00)
#define VALUE uint16_t
#define LOWEST 0xfc00
#define WIDTH 16
#define LANE uint16_t
#define SUFFIX float16
#include "pooling_values.h"
#undef BETTER
#define BETTER(value, best) unpool_better16(value, best, 0x7f80)
#define VALUE uint16_t
#define LOWEST 0xff80
#define WIDTH 16
#define LANE uint16_t
#define SUFFIX bfloat16
#include "pooling_values.h"
#undef BETTER
#undef SELECT

#define SELECT(type, mask, a, b) ((mask) ? (a) : (b))
#define BETTER(value, best) (((value) > (best)) | ((value) != (value)))
#define MASK int
#define VALUE float
#define LOWEST (-INFINITY)
#define WIDTH 32
#define LANE uint32_t
#define SUFFIX float32
#include "pooling_values.h"
#define MASK int
#define VALUE double
#define LOWEST (-INFINITY)
#define WIDTH 64
#define LANE uint64_t
#define SUFFIX float64
#include "pooling_values.h"
#undef BETTER
#undef SELECT

/* Return the loops for a dtype that pooling takes. */
static const unpool_loops *unpool_loops_for(int64_t kind) {
    switch (kind) {
        case UNPOOL_INT8: return &unpool_loops_int8;
        case UNPOOL_INT16: return &unpool_loops_int16;
        case UNPOOL_INT32: return &unpool_loops_int32;
        case UNPOOL_INT64: return &unpool_loops_int64;
        case UNPOOL_UINT16: return &unpool_loops_uint16;
        case UNPOOL_UINT32: return &unpool_loops_uint32;
        case UNPOOL_UINT64: return &unpool_loops_uint64;
        case UNPOOL_FLOAT16: return &unpool_loops_float16;
        case UNPOOL_BFLOAT16: return &unpool_loops_bfloat16;
        case UNPOOL_FLOAT32: return &unpool_loops_float32;
        case UNPOOL_FLOAT64: return &unpool_loops_float64;
        default: return &unpool_loops_uint8; /* and bool, which is ordered like it */
    }
}

#endif
