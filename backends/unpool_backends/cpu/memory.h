/* Memory for large results: blocks that arrays have freed are kept, and reused for later arrays.
 *
 *     | header: size, used | block ......................................... |
 *     one page             | where the array's data lies, at a large page
 *
 * A freed block is marked MADV_FREE at once: when memory is short, the system may reclaim its pages without swapping
 * them out.  Until then, the next result of that size reuses them.  That saves zeroing fresh pages, which takes longer
 * than computing the result.  At most BLOCKS blocks of at most LARGEST bytes are kept.
 *
 * AddressSanitizer does not know mapped memory.  So it is told which bytes may be used: those of an array, but not those
 * before or behind it, and none of a kept block.
 *
 * Only the header of a block records that it was in use before.  A variable would not do: between `unpool_malloc` and
 * `unpool_used`, the garbage collector may run finalizers, which allocate in the same thread.
 */
#ifndef UNPOOL_MEMORY_H
#define UNPOOL_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#endif

#if defined(__linux__) && defined(MADV_FREE) && defined(MADV_HUGEPAGE) && defined(__GNUC__)
#define UNPOOL_RECYCLES 1
#define UNPOOL_BLOCKS 4
#define UNPOOL_LARGEST ((size_t)256 << 20)
#define UNPOOL_HUGE ((size_t)2 << 20) /* the size of a large page, and its alignment */
#define UNPOOL_PAGE ((size_t)1 << 16) /* at least a page of any processor; the header takes one */
#define UNPOOL_TRIES 1000

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNPOOL_ASAN 1
#endif
#endif
#ifdef UNPOOL_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#endif

typedef struct { size_t size; int used; } unpool_header;

static struct { char *block; size_t size; } unpool_kept[UNPOOL_BLOCKS];
static int unpool_oldest = 0;
static int unpool_keeps = 1; /* 1 if freed blocks are kept; changed under the lock */
/* Allocations never wait for it.  If it is taken, also by a thread that a fork did not copy, they map a fresh block. */
static pthread_mutex_t unpool_lock = PTHREAD_MUTEX_INITIALIZER;

static unpool_header *unpool_header_of(const void *block) { return (unpool_header *)((char *)block - UNPOOL_PAGE); }

static size_t unpool_size_of(const void *block) { return unpool_header_of(block)->size; }

/* Return 1 if a block was in use before it was allocated; a fresh block is zero. */
static int unpool_used(const void *block) { return unpool_header_of(block)->used; }

/* Let AddressSanitizer report uses of a block other than of its first bytes. */
static void unpool_allow(char *block, size_t bytes) {
    unpool_header *header = unpool_header_of(block);
    ASAN_POISON_MEMORY_REGION(header + 1, UNPOOL_PAGE - sizeof *header);
    ASAN_UNPOISON_MEMORY_REGION(block, bytes);
    ASAN_POISON_MEMORY_REGION(block + bytes, header->size - bytes);
}

static void unpool_unmap(char *block) {
    const size_t whole = UNPOOL_PAGE + unpool_size_of(block);
    ASAN_UNPOISON_MEMORY_REGION(block - UNPOOL_PAGE, whole); /* other memory may be mapped here later */
    munmap(block - UNPOOL_PAGE, whole);
}

static char *unpool_map(size_t bytes) {
    const size_t size = (bytes + UNPOOL_PAGE - 1) / UNPOOL_PAGE * UNPOOL_PAGE;
    const size_t length = size + UNPOOL_PAGE + UNPOOL_HUGE;
    char *start, *block;
    if (size < bytes || length < size) return NULL;
    start = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return NULL;
    block = (char *)(((uintptr_t)start + UNPOOL_PAGE + UNPOOL_HUGE - 1) / UNPOOL_HUGE * UNPOOL_HUGE);
    /* Unmap the rest before the header and behind the block. */
    if (block - UNPOOL_PAGE > start) munmap(start, block - UNPOOL_PAGE - start);
    if (start + length > block + size) munmap(block + size, start + length - (block + size));
    /* Only whole large pages: a large page at the end would take more memory than was requested. */
    madvise(block, size / UNPOOL_HUGE * UNPOOL_HUGE, MADV_HUGEPAGE);
    unpool_header_of(block)->size = size; /* `used` stays 0, since fresh memory is zero */
    unpool_allow(block, bytes);
    return block;
}

/* Return a kept block of this size or up to an eighth larger, or else a fresh one, which is zero. */
static void *unpool_malloc(void *context, size_t bytes) {
    char *block = NULL;
    int i, best = -1;
    (void)context;
    if (!pthread_mutex_trylock(&unpool_lock)) {
        for (i = 0; i < UNPOOL_BLOCKS; i++) {
            const size_t size = unpool_kept[i].size;
            if (size >= bytes && size - bytes <= bytes / 8 && (best < 0 || size < unpool_kept[best].size)) best = i;
        }
        if (best >= 0) {
            block = unpool_kept[best].block;
            unpool_kept[best].block = NULL;
            unpool_kept[best].size = 0;
        }
        pthread_mutex_unlock(&unpool_lock);
    }
    if (block == NULL) return unpool_map(bytes);
    unpool_header_of(block)->used = 1;
    unpool_allow(block, bytes);
    return block;
}

static void *unpool_calloc(void *context, size_t count, size_t bytes) {
    (void)context;
    if (bytes && count > SIZE_MAX / bytes) return NULL;
    return unpool_map(count * bytes); /* fresh, and so zero */
}

static void unpool_free(void *context, void *pointer, size_t bytes) {
    char *block = pointer, *old = block;
    size_t size;
    (void)context, (void)bytes;
    if (block == NULL) return;
    size = unpool_size_of(block);
    unpool_allow(block, 0);
    if (size <= UNPOOL_LARGEST && !madvise(block, size, MADV_FREE) && !pthread_mutex_trylock(&unpool_lock)) {
        if (unpool_keeps) {
            int i;
            for (i = 0; i < UNPOOL_BLOCKS && unpool_kept[i].block != NULL; i++) {}
            if (i == UNPOOL_BLOCKS) i = unpool_oldest;
            if (i == unpool_oldest) unpool_oldest = (i + 1) % UNPOOL_BLOCKS;
            old = unpool_kept[i].block;
            unpool_kept[i].block = block;
            unpool_kept[i].size = size;
        }
        pthread_mutex_unlock(&unpool_lock);
    }
    if (old != NULL) unpool_unmap(old);
}

static void *unpool_realloc(void *context, void *pointer, size_t bytes) {
    char *block = pointer, *other;
    if (block != NULL && unpool_size_of(block) >= bytes && unpool_size_of(block) / 2 <= bytes) {
        unpool_allow(block, bytes);
        return block;
    }
    other = unpool_map(bytes);
    if (other != NULL && block != NULL) {
        const size_t size = unpool_size_of(block);
        unpool_allow(block, size);
        memcpy(other, block, size < bytes ? size : bytes);
        unpool_free(context, block, size);
    }
    return other;
}

/* Take the lock, which threads hold briefly, and return 1; return 0 if a fork copied it while it was taken. */
static int unpool_wait(void) {
    int tries;
    for (tries = 0; tries < UNPOOL_TRIES; tries++) {
        if (!pthread_mutex_trylock(&unpool_lock)) return 1;
        sched_yield();
    }
    return 0;
}

static size_t unpool_unmap_kept(void) {
    size_t bytes = 0;
    int i;
    for (i = 0; i < UNPOOL_BLOCKS; i++) {
        bytes += unpool_kept[i].size;
        if (unpool_kept[i].block != NULL) unpool_unmap(unpool_kept[i].block);
        unpool_kept[i].block = NULL;
        unpool_kept[i].size = 0;
    }
    return bytes;
}

/* Unmap the kept blocks, and return their size in bytes. */
static size_t unpool_release(void) {
    size_t bytes;
    if (!unpool_wait()) return 0;
    bytes = unpool_unmap_kept();
    pthread_mutex_unlock(&unpool_lock);
    return bytes;
}

/* Keep freed blocks from now on, or else unmap those kept now and keep none; return the previous setting. */
static int unpool_keep(int keep) {
    const int locked = unpool_wait(); /* if a fork copied it while it was taken, no block is kept anyway */
    const int before = unpool_keeps;
    unpool_keeps = keep;
    if (!keep && locked) unpool_unmap_kept();
    if (locked) pthread_mutex_unlock(&unpool_lock);
    return before;
}

#else
#define UNPOOL_RECYCLES 0
static size_t unpool_release(void) { return 0; }
static int unpool_keep(int keep) { (void)keep; return 0; }
static int unpool_used(const void *block) { (void)block; return 1; }
static void *unpool_malloc(void *context, size_t bytes) { (void)context; return malloc(bytes); }
static void *unpool_calloc(void *context, size_t count, size_t bytes) { (void)context; return calloc(count, bytes); }
static void *unpool_realloc(void *context, void *pointer, size_t bytes) { (void)context; return realloc(pointer, bytes); }
static void unpool_free(void *context, void *pointer, size_t bytes) { (void)context, (void)bytes; free(pointer); }
#endif

#endif
