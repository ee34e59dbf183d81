/* Compute with denormals, whatever the mode of the calling thread.
 *
 * In threads of XLA, and after `torch.set_flush_denormal(True)`, the processor reads denormals as zero and flushes
 * results to zero.  A maximum could then be wrong, and results would depend on the thread.  New threads inherit the
 * mode. */
#ifndef UNPOOL_DENORMALS_H
#define UNPOOL_DENORMALS_H

#include <stdint.h>

#if defined(__SSE2__) || defined(_M_X64)
#include <xmmintrin.h>
#define UNPOOL_FLUSHES 0x8040u /* bits FTZ and DAZ */
static inline uint64_t unpool_fp_mode(void) { return _mm_getcsr(); }
static inline void unpool_set_fp_mode(uint64_t mode) { _mm_setcsr((unsigned)mode); }
#elif defined(__aarch64__) && defined(__GNUC__)
#define UNPOOL_FLUSHES 0x1080000u /* bits FZ and FZ16 */
static inline uint64_t unpool_fp_mode(void) {
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static inline void unpool_set_fp_mode(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
#define UNPOOL_FLUSHES 0u
static inline uint64_t unpool_fp_mode(void) { return 0; }
static inline void unpool_set_fp_mode(uint64_t mode) { (void)mode; }
#endif

/* Return the mode to restore.  Most threads compute with denormals already, and changing the mode takes a while. */
static inline uint64_t unpool_keep_denormals(void) {
    const uint64_t mode = unpool_fp_mode();
    if (mode & UNPOOL_FLUSHES) unpool_set_fp_mode(mode & ~(uint64_t)UNPOOL_FLUSHES);
    return mode;
}

static inline void unpool_restore_fp_mode(uint64_t mode) {
    if (mode & UNPOOL_FLUSHES) unpool_set_fp_mode(mode);
}

#endif
