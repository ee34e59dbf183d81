/* What this machine's memory reads and writes, in GB/s: `stream PASSES` prints the best pass of each.
 *
 * One pass reads, or writes, 256 MiB once, with all threads of OMP_NUM_THREADS.  Reading is a sum that the compiler
 * vectorises.  Writing goes past the caches where the processor can, as a kernel does that has nothing to read there.
 */
#include <omp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BYTES ((size_t)256 << 20)

static uint64_t read_all(const uint64_t *words) {
    uint64_t sum = 0;
#pragma omp parallel for simd schedule(static) reduction(+ : sum)
    for (size_t i = 0; i < BYTES / 8; i++) sum += words[i];
    return sum;
}

static void write_all(uint64_t *words, uint64_t word) {
#pragma omp parallel
    {
#ifdef __SSE2__
        const __m128i pair = _mm_set1_epi64x((long long)word);
#pragma omp for schedule(static)
        for (size_t i = 0; i < BYTES / 16; i++) _mm_stream_si128((__m128i *)words + i, pair);
        _mm_sfence();
#else
#pragma omp for simd schedule(static)
        for (size_t i = 0; i < BYTES / 8; i++) words[i] = word;
#endif
    }
}

int main(int count, char **arguments) {
    int passes = count > 1 ? atoi(arguments[1]) : 10;
    uint64_t *words = aligned_alloc(64, BYTES);
    uint64_t sum = 0;
    double reading = 1e9, writing = 1e9;
    if (words == NULL) return 1;
    write_all(words, 1); /* the pages come into being */
    for (int pass = 0; pass < passes; pass++) {
        double start = omp_get_wtime();
        sum += read_all(words);
        double between = omp_get_wtime();
        write_all(words, (uint64_t)pass);
        double end = omp_get_wtime();
        if (between - start < reading) reading = between - start;
        if (end - between < writing) writing = end - between;
    }
    /* The sum is shown so that nothing is left out as useless. */
    printf("%.3f %.3f %llu\n", BYTES / reading * 1e-9, BYTES / writing * 1e-9, (unsigned long long)sum);
    free(words);
    return 0;
}
