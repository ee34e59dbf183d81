/* Stores that bypass the caches: an output larger than the caches would evict everything else.
 *
 * Streaming stores write whole cache lines, without reading them first.  Streaming and ordinary stores to the same line
 * take several times as long.  So a stream keeps its last, incomplete line until the next bytes complete it.  Every
 * x86-64 has SSE2, which has these stores; other processors copy. */
#ifndef UNPOOL_STREAM_H
#define UNPOOL_STREAM_H

#include <stdint.h>
#include <string.h>

#define UNPOOL_LINE 64

typedef struct {
    char line[UNPOOL_LINE]; /* the bytes before `end` that are not written yet */
    size_t pending;
    char *end;
} unpool_stream;

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define UNPOOL_STREAMS 1

static inline void unpool_write_lines(char *to, const char *from, size_t bytes) {
    size_t at;
    for (at = 0; at < bytes; at += UNPOOL_LINE) {
        const __m128i *source = (const __m128i *)(from + at);
        __m128i *target = (__m128i *)(to + at);
        const __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1);
        const __m128i c = _mm_loadu_si128(source + 2), d = _mm_loadu_si128(source + 3);
        _mm_stream_si128(target, a);
        _mm_stream_si128(target + 1, b);
        _mm_stream_si128(target + 2, c);
        _mm_stream_si128(target + 3, d);
    }
}

/* Make a thread's streaming stores visible to other threads, as its ordinary stores are. */
static inline void unpool_fence(void) { _mm_sfence(); }

#else
#define UNPOOL_STREAMS 0
static inline void unpool_write_lines(char *to, const char *from, size_t bytes) { memcpy(to, from, bytes); }
static inline void unpool_fence(void) {}
#endif

static inline void unpool_stream_end(unpool_stream *stream) {
    memcpy(stream->end - stream->pending, stream->line, stream->pending);
    stream->pending = 0;
}

/* Write bytes that have a margin of one line before them.  Begin a new run if the last bytes did not end at `to`. */
static inline void unpool_stream_write(unpool_stream *stream, char *to, char *from, size_t bytes) {
    size_t lines;
    if (stream->pending && stream->end == to) {
        from -= stream->pending, to -= stream->pending, bytes += stream->pending;
        memcpy(from, stream->line, stream->pending);
    } else {
        size_t head = -(uintptr_t)to & (UNPOOL_LINE - 1);
        if (stream->pending) unpool_stream_end(stream);
        if (head > bytes) head = bytes;
        memcpy(to, from, head);
        to += head, from += head, bytes -= head;
    }
    lines = bytes & ~(size_t)(UNPOOL_LINE - 1);
    unpool_write_lines(to, from, lines);
    stream->pending = bytes - lines;
    stream->end = to + bytes;
    memcpy(stream->line, from + lines, stream->pending);
}

#endif
