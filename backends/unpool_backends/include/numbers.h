/* The element types that C lacks, with the two operations that kernels need: addition and comparison.
 *
 * Half precision is added in float and rounded once, to nearest even.  Float has more than twice the bits of either
 * format, so the sum is correctly rounded.  Comparison uses no floating-point arithmetic: sign and magnitude become an
 * ordered integer, in which -0 equals +0 and denormals keep their order. */
#ifndef UNPOOL_NUMBERS_H
#define UNPOOL_NUMBERS_H

/* The CUDA sources define their own types, qualifiers and float addition, one that never flushes denormals. */
#ifndef UNPOOL_FUNCTION
#include <stdint.h>
#include <string.h>
#define UNPOOL_FUNCTION static inline
#define UNPOOL_ADD_FLOATS(a, b) ((a) + (b))
#endif

typedef struct { uint16_t bits; } unpool_half;
typedef struct { uint16_t bits; } unpool_bfloat16;
typedef struct { float re, im; } unpool_complex64;
typedef struct { double re, im; } unpool_complex128;
typedef struct { uint8_t bits; } unpool_bool;
/* Words are only moved.  Long words consist of 32-bit parts, because complex64 arrays are aligned like floats. */
typedef struct { uint8_t part[1]; } unpool_word8;
typedef struct { uint16_t part[1]; } unpool_word16;
typedef struct { uint32_t part[1]; } unpool_word32;
typedef struct { uint32_t part[2]; } unpool_word64;
typedef struct { uint32_t part[4]; } unpool_word128;

UNPOOL_FUNCTION float unpool_float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

UNPOOL_FUNCTION uint32_t unpool_bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* --- float16: 1 sign, 5 exponent (bias 15), 10 fraction -------------------------------------------------------- */

UNPOOL_FUNCTION float unpool_half_to_float(unpool_half h) {
    const uint32_t sign = (uint32_t)(h.bits & 0x8000u) << 16;
    const uint32_t magnitude = h.bits & 0x7fffu;
    if (magnitude >= 0x7c00u) /* inf, NaN */
        return unpool_float_of(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    if (magnitude < 0x400u) { /* zero, denormal: an integer number of 2**-24 */
        const float value = (float)magnitude * 0x1p-24f;
        return sign ? -value : value;
    }
    return unpool_float_of(sign | ((magnitude << 13) + ((127u - 15u) << 23)));
}

UNPOOL_FUNCTION unpool_half unpool_half_of_float(float value) {
    const uint32_t bits = unpool_bits_of(value);
    const uint32_t sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    unpool_half h;
    if (magnitude > 0x7f800000u) /* NaN: quiet, keep the top of its payload */
        h.bits = (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    else if (magnitude >= 0x477ff000u) /* 65520 and above round to inf */
        h.bits = (uint16_t)(sign | 0x7c00u);
    else if (magnitude >= 0x38800000u) { /* normal: add just under half, and the lowest kept bit */
        const uint32_t even = magnitude >> 13 & 1u;
        h.bits = (uint16_t)(sign | (magnitude - ((127u - 15u) << 23) + 0xfffu + even) >> 13);
    } else { /* denormal: adding 0.5 leaves the multiple of 2**-24 in the low bits, rounded to nearest even */
        const float shifted = UNPOOL_ADD_FLOATS(unpool_float_of(magnitude), 0.5f);
        h.bits = (uint16_t)(sign | (unpool_bits_of(shifted) - 0x3f000000u));
    }
    return h;
}

/* Most sums are those of an empty cell, +0, and a value: the value, or +0 for -0.  NaN is left to floats.  Where windows
 * lie apart, this takes 0.6 of the time.  bfloat16 is converted so fast that a mispredicted branch would cost more. */
UNPOOL_FUNCTION unpool_half unpool_half_add(unpool_half a, unpool_half b) {
    if (a.bits == 0 && (b.bits & 0x7fffu) <= 0x7c00u) {
        b.bits = b.bits == 0x8000u ? 0 : b.bits;
        return b;
    }
    return unpool_half_of_float(UNPOOL_ADD_FLOATS(unpool_half_to_float(a), unpool_half_to_float(b)));
}

/* --- bfloat16: the upper half of a float ----------------------------------------------------------------------- */

UNPOOL_FUNCTION unpool_bfloat16 unpool_bfloat16_add(unpool_bfloat16 a, unpool_bfloat16 b) {
    const float x = unpool_float_of((uint32_t)a.bits << 16), y = unpool_float_of((uint32_t)b.bits << 16);
    const float sum = UNPOOL_ADD_FLOATS(x, y);
    const uint32_t bits = unpool_bits_of(sum);
    unpool_bfloat16 h;
    if (sum != sum)
        h.bits = (uint16_t)(bits >> 16 | 0x40u);
    else
        h.bits = (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
    return h;
}

/* --- comparison: NaN beats everything, a later NaN beats an earlier one (PyTorch's rule) ------------------------- */

UNPOOL_FUNCTION int32_t unpool_sign_magnitude(uint16_t bits) {
    const int32_t magnitude = bits & 0x7fff, sign = -(int32_t)(bits >> 15);
    return (magnitude ^ sign) - sign;
}

/* Serves both formats: magnitudes above `infinity` are NaN.  Without a branch, the compiler can vectorize this. */
UNPOOL_FUNCTION int unpool_half_word_better(uint16_t value, uint16_t best, int32_t infinity) {
    const int value_is_nan = (value & 0x7fff) > infinity, best_is_number = (best & 0x7fff) <= infinity;
    return value_is_nan | (best_is_number & (unpool_sign_magnitude(value) > unpool_sign_magnitude(best)));
}

UNPOOL_FUNCTION unpool_half unpool_half_lowest(void) {
    const unpool_half minus_infinity = {0xfc00u};
    return minus_infinity;
}

UNPOOL_FUNCTION unpool_bfloat16 unpool_bfloat16_lowest(void) {
    const unpool_bfloat16 minus_infinity = {0xff80u};
    return minus_infinity;
}

UNPOOL_FUNCTION int unpool_half_better(unpool_half value, unpool_half best) {
    return unpool_half_word_better(value.bits, best.bits, 0x7c00);
}

UNPOOL_FUNCTION int unpool_bfloat16_better(unpool_bfloat16 value, unpool_bfloat16 best) {
    return unpool_half_word_better(value.bits, best.bits, 0x7f80);
}

/* --- complex numbers and bool ----------------------------------------------------------------------------------- */

UNPOOL_FUNCTION unpool_complex64 unpool_complex64_add(unpool_complex64 a, unpool_complex64 b) {
    a.re = UNPOOL_ADD_FLOATS(a.re, b.re);
    a.im = UNPOOL_ADD_FLOATS(a.im, b.im);
    return a;
}

UNPOOL_FUNCTION unpool_complex128 unpool_complex128_add(unpool_complex128 a, unpool_complex128 b) {
    a.re += b.re;
    a.im += b.im;
    return a;
}

UNPOOL_FUNCTION unpool_bool unpool_bool_add(unpool_bool a, unpool_bool b) {
    a.bits |= b.bits;
    return a;
}

#endif
