// The kinds of values, with their operations: moving, addition and comparison.
//
// CuPy makes the compiler flush denormal floats to zero.  So floats are added by an explicit instruction that does not
// flush, and compared as integers.

typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef int int32_t;
typedef unsigned long long u64;
typedef long long i64;

UNPOOL_FUNCTION float add_floats(float a, float b) {
#ifdef __CUDA_ARCH__
    float sum;
    asm("add.rn.f32 %0, %1, %2;" : "=f"(sum) : "f"(a), "f"(b));
    return sum;
#else
    return a + b;
#endif
}

#define UNPOOL_ADD_FLOATS(a, b) add_floats(a, b)
#include "numbers.h"

struct alignas(16) Pair {
    u64 low, high;
};

template <class To, class From> UNPOOL_FUNCTION To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "bits of one length");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

// Values that are only moved: the later of two stays.
template <class W> struct Moved {
    typedef W Word;
    static UNPOOL_FUNCTION W add(W, W later) { return later; }
};

template <class W> struct Unsigned {
    typedef W Word;
    static UNPOOL_FUNCTION W add(W a, W b) { return (W)(a + b); }
    static UNPOOL_FUNCTION bool better(W value, W best) { return value > best; }
};

template <class W> struct Signed : Unsigned<W> {
    static UNPOOL_FUNCTION bool better(W value, W best) {
        const W sign = (W)((W)1 << (8 * sizeof(W) - 1));
        return (W)(value ^ sign) > (W)(best ^ sign);
    }
};

// NaN beats everything, and a later NaN an earlier one; -0 is 0.  Sign and magnitude, as an integer, have this order.
template <class W, class Ordered, u64 infinity> struct Floating {
    typedef W Word;
    static UNPOOL_FUNCTION W magnitude(W value) { return (W)(value & (W)~((W)1 << (8 * sizeof(W) - 1))); }
    static UNPOOL_FUNCTION Ordered ordered(W value) {
        return magnitude(value) == value ? (Ordered)value : -(Ordered)magnitude(value);
    }
    static UNPOOL_FUNCTION bool better(W value, W best) {
        // No branch, because the comparison of two values is unpredictable.
        return (magnitude(value) > (W)infinity) | ((magnitude(best) <= (W)infinity) & (ordered(value) > ordered(best)));
    }
};

// Add two words as the type that they hold, with a function like those of numbers.h.
template <class W, class T, T (*function)(T, T)> UNPOOL_FUNCTION W add_as(W a, W b) {
    return same_bits<W>(function(same_bits<T>(a), same_bits<T>(b)));
}

UNPOOL_FUNCTION double add_doubles(double a, double b) { return a + b; }

typedef Moved<uint8_t> Word1;
typedef Moved<uint16_t> Word2;
typedef Moved<uint32_t> Word4;
typedef Moved<u64> Word8;
typedef Moved<Pair> Word16;
typedef Unsigned<uint8_t> UInt8;
typedef Unsigned<uint16_t> UInt16;
typedef Unsigned<uint32_t> UInt32;
typedef Unsigned<u64> UInt64;
typedef Signed<uint8_t> Int8;
typedef Signed<uint16_t> Int16;
typedef Signed<uint32_t> Int32;
typedef Signed<u64> Int64;
typedef uint8_t Index8;
typedef uint16_t Index16;
typedef int32_t Index32;
typedef i64 Index64;
struct Bool : Unsigned<uint8_t> {
    static UNPOOL_FUNCTION uint8_t add(uint8_t a, uint8_t b) { return a | b; }
};
struct Float16 : Floating<uint16_t, int32_t, 0x7c00> {
    static UNPOOL_FUNCTION Word add(Word a, Word b) { return add_as<Word, unpool_half, unpool_half_add>(a, b); }
};
struct BFloat16 : Floating<uint16_t, int32_t, 0x7f80> {
    static UNPOOL_FUNCTION Word add(Word a, Word b) { return add_as<Word, unpool_bfloat16, unpool_bfloat16_add>(a, b); }
};
struct Float32 : Floating<uint32_t, int32_t, 0x7f800000> {
    static UNPOOL_FUNCTION Word add(Word a, Word b) { return add_as<Word, float, add_floats>(a, b); }
};
struct Float64 : Floating<u64, i64, 0x7ff0000000000000> {
    static UNPOOL_FUNCTION Word add(Word a, Word b) { return add_as<Word, double, add_doubles>(a, b); }
};
struct Complex64 : Moved<u64> {
    static UNPOOL_FUNCTION Word add(Word a, Word b) {
        return add_as<Word, unpool_complex64, unpool_complex64_add>(a, b);
    }
};
struct Complex128 : Moved<Pair> {
    static UNPOOL_FUNCTION Word add(Word a, Word b) {
        return add_as<Word, unpool_complex128, unpool_complex128_add>(a, b);
    }
};
