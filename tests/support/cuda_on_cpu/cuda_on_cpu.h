// CUDA C++ for a CPU: the definitions that a kernel may use. This file precedes the kernel's source. Like NVRTC, it
// includes nothing.
//
// Threads take turns on one CPU core (machine.cpp). No two run at once, so built-in variables are plain variables. The
// sanitizers of g++ check alignment, bounds and the like, and report to the machine.
#pragma once

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
// Static shared memory has its own section, so that the machine finds it and fills it before each block.
#define __shared__ static __attribute__((section("cuda_shared")))

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) ulonglong2 { unsigned long long x, y; };
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
static inline ulonglong2 make_ulonglong2(unsigned long long x, unsigned long long y) { return {x, y}; }

extern "C" {
#ifndef CUDA_ON_CPU_MACHINE  // not const in the machine, which writes them
extern const uint3 threadIdx, blockIdx;
extern const dim3 blockDim, gridDim;
#endif
extern const int warpSize;
extern char* cuda_on_cpu_dynamic_shared;
int cuda_on_cpu_sync_block(int line, int vote);
void cuda_on_cpu_sync_warp(int line, unsigned mask);
void cuda_on_cpu_atomic(void* address, unsigned long bytes);
void* cuda_on_cpu_memcpy(void* to, const void* from, unsigned long bytes);
void* cuda_on_cpu_memset(void* to, int value, unsigned long bytes);
}

// Macros, because __LINE__ identifies a barrier: the compiler may copy or merge calls.
#define __syncthreads() ((void)cuda_on_cpu_sync_block(__LINE__, 0))
#define __syncthreads_or(predicate) cuda_on_cpu_sync_block(__LINE__, (predicate) != 0)
#define __syncwarp(...) cuda_on_cpu_sync_warp(__LINE__, cuda_on_cpu::mask(__VA_ARGS__))

#define memcpy cuda_on_cpu_memcpy
#define memset cuda_on_cpu_memset

// The replacement of `extern __shared__ TYPE NAME[];`, inside or outside of a function.
#define CUDA_ON_CPU_DYNAMIC_SHARED(TYPE, NAME) \
    TYPE* const& NAME = reinterpret_cast<TYPE* const&>(cuda_on_cpu_dynamic_shared)

namespace cuda_on_cpu {
constexpr unsigned mask(unsigned threads = 0xffffffffu) { return threads; }

template <class To, class From> static inline To bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "reinterpreted in another size");
    To to;
    __builtin_memcpy(&to, &from, sizeof(to));
    return to;
}

constexpr int first(int bound, ...) { return bound; }

template <class... Parameters> int sizes(void (*)(Parameters...), int* sizes) {
    int count = 0;
    ((sizes[count++] = sizeof(Parameters)), ...);
    return count;
}

template <int... At> struct Positions {};

template <class... Parameters, int... At>
void call(void (*kernel)(Parameters...), void* const* arguments, Positions<At...>) {
    kernel(*static_cast<Parameters*>(arguments[At])...);
}

template <class... Parameters> void call(void (*kernel)(Parameters...), void* const* arguments) {
    call(kernel, arguments, Positions<__integer_pack(sizeof...(Parameters))...>());
}
}  // namespace cuda_on_cpu

static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline unsigned __float_as_uint(float value) { return cuda_on_cpu::bits<unsigned>(value); }
static inline float __uint_as_float(unsigned value) { return cuda_on_cpu::bits<float>(value); }
static inline int __float_as_int(float value) { return cuda_on_cpu::bits<int>(value); }
static inline float __int_as_float(int value) { return cuda_on_cpu::bits<float>(value); }
static inline long long __double_as_longlong(double value) { return cuda_on_cpu::bits<long long>(value); }
static inline double __longlong_as_double(long long value) { return cuda_on_cpu::bits<double>(value); }

template <class T> static inline T min(T a, T b) { return b < a ? b : a; }
template <class T> static inline T max(T a, T b) { return a < b ? b : a; }

// Only for the types for which CUDA has these functions: NVRTC refuses all others.
#define CUDA_ON_CPU_CACHED(T) \
    static inline T __ldg(const T* from) { return *from; } \
    static inline T __ldca(const T* from) { return *from; } \
    static inline T __ldcg(const T* from) { return *from; } \
    static inline T __ldcs(const T* from) { return *from; } \
    static inline T __ldlu(const T* from) { return *from; } \
    static inline T __ldcv(const T* from) { return *from; } \
    static inline void __stwb(T* to, T value) { *to = value; } \
    static inline void __stcg(T* to, T value) { *to = value; } \
    static inline void __stcs(T* to, T value) { *to = value; } \
    static inline void __stwt(T* to, T value) { *to = value; }
CUDA_ON_CPU_CACHED(char)
CUDA_ON_CPU_CACHED(signed char)
CUDA_ON_CPU_CACHED(unsigned char)
CUDA_ON_CPU_CACHED(short)
CUDA_ON_CPU_CACHED(unsigned short)
CUDA_ON_CPU_CACHED(int)
CUDA_ON_CPU_CACHED(unsigned)
CUDA_ON_CPU_CACHED(long)
CUDA_ON_CPU_CACHED(unsigned long)
CUDA_ON_CPU_CACHED(long long)
CUDA_ON_CPU_CACHED(unsigned long long)
CUDA_ON_CPU_CACHED(float)
CUDA_ON_CPU_CACHED(double)
CUDA_ON_CPU_CACHED(uint2)
CUDA_ON_CPU_CACHED(uint4)
CUDA_ON_CPU_CACHED(ulonglong2)

// One step: no other thread runs between the read and the write.
#define CUDA_ON_CPU_ATOMIC(NAME, T, RESULT) \
    __attribute__((no_sanitize("thread"))) static inline T NAME(T* address, T value) { \
        cuda_on_cpu_atomic(address, sizeof(T)); \
        T old = *address; \
        *address = RESULT; \
        return old; \
    }
#define CUDA_ON_CPU_ATOMIC_ORDER(T) \
    CUDA_ON_CPU_ATOMIC(atomicMin, T, value < old ? value : old) \
    CUDA_ON_CPU_ATOMIC(atomicMax, T, value > old ? value : old)
#define CUDA_ON_CPU_ATOMIC_BITS(T) \
    CUDA_ON_CPU_ATOMIC(atomicOr, T, old | value) \
    CUDA_ON_CPU_ATOMIC(atomicAnd, T, old & value) \
    CUDA_ON_CPU_ATOMIC(atomicExch, T, value)
CUDA_ON_CPU_ATOMIC_ORDER(int)
CUDA_ON_CPU_ATOMIC_ORDER(unsigned)
CUDA_ON_CPU_ATOMIC_ORDER(long long)
CUDA_ON_CPU_ATOMIC_ORDER(unsigned long long)
CUDA_ON_CPU_ATOMIC_BITS(int)
CUDA_ON_CPU_ATOMIC_BITS(unsigned)
CUDA_ON_CPU_ATOMIC_BITS(unsigned long long)
CUDA_ON_CPU_ATOMIC(atomicAdd, int, (int)((unsigned)old + (unsigned)value))  // wraps
CUDA_ON_CPU_ATOMIC(atomicAdd, unsigned, old + value)
CUDA_ON_CPU_ATOMIC(atomicAdd, unsigned long long, old + value)

// The code that is appended to a module's source.
#define CUDA_ON_CPU_EXPORT extern "C" __attribute__((visibility("default")))
#define CUDA_ON_CPU_MODULE \
    extern "C" __attribute__((weak, visibility("hidden"))) char __start_cuda_shared[], __stop_cuda_shared[]; \
    CUDA_ON_CPU_EXPORT char* cuda_on_cpu_shared_begin() { return __start_cuda_shared; } \
    CUDA_ON_CPU_EXPORT char* cuda_on_cpu_shared_end() { return __stop_cuda_shared; }
#define CUDA_ON_CPU_KERNEL(NAME, ...) \
    CUDA_ON_CPU_EXPORT int cuda_on_cpu_sizes_##NAME(int* sizes) { return cuda_on_cpu::sizes(NAME, sizes); } \
    CUDA_ON_CPU_EXPORT int cuda_on_cpu_bound_##NAME() { return cuda_on_cpu::first(__VA_ARGS__); } \
    CUDA_ON_CPU_EXPORT void cuda_on_cpu_run_##NAME(void* const* arguments) { cuda_on_cpu::call(NAME, arguments); }
