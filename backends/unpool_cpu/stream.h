/* Copies a block past the caches: what is written once and is larger than they are would only push out the rest.
 *
 * Such stores save reading each line of the target before it is written.  SSE2 has them, and every x86-64 has SSE2;
 * other processors copy. */
#ifndef UNPOOL_STREAM_H
#define UNPOOL_STREAM_H

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define UNPOOL_STREAMS 1

static inline void unpool_stream(char *to, const char *from, size_t bytes) {
    const size_t head = -(uintptr_t)to & 63;
    if (bytes < 128) {
        memcpy(to, from, bytes);
        return;
    }
    /* Whole cache lines are streamed; a part of one, at either end, belongs to its neighbour too. */
    memcpy(to, from, head);
    to += head, from += head, bytes -= head;
    for (; bytes >= 64; to += 64, from += 64, bytes -= 64) {
        const __m128i a = _mm_loadu_si128((const __m128i *)from), b = _mm_loadu_si128((const __m128i *)(from + 16));
        const __m128i c = _mm_loadu_si128((const __m128i *)(from + 32)), d = _mm_loadu_si128((const __m128i *)(from + 48));
        _mm_stream_si128((__m128i *)to, a);
        _mm_stream_si128((__m128i *)(to + 16), b);
        _mm_stream_si128((__m128i *)(to + 32), c);
        _mm_stream_si128((__m128i *)(to + 48), d);
    }
    memcpy(to, from, bytes);
}

/* Makes what a thread streamed visible to the others, as its ordinary stores are. */
static inline void unpool_stream_end(void) { _mm_sfence(); }

#else
#define UNPOOL_STREAMS 0
static inline void unpool_stream(char *to, const char *from, size_t bytes) { memcpy(to, from, bytes); }
static inline void unpool_stream_end(void) {}
#endif

#endif
