/* Large pages for fresh memory.
 *
 * The first write to each page of fresh memory is a page fault, and faults take half of the time of a large call.
 * Large pages cause a 512th of them.  The hint is Linux's; where the system disables large pages, it has no effect. */
#ifndef UNPOOL_PAGES_H
#define UNPOOL_PAGES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#define UNPOOL_LARGE_PAGE ((uintptr_t)2 << 20)
/* Smaller blocks mostly come from memory that was in use before.  With 32 MB, two outputs of 26 MB had 3600 to 6800
 * page faults a call and took 27 ms; with 8 MB, 500 and 13 to 20 ms (two cores, 2026-11-28). */
#define UNPOOL_LARGE_BLOCK ((size_t)8 << 20)

static void unpool_use_large_pages(void *start, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t first = ((uintptr_t)start + UNPOOL_LARGE_PAGE - 1) / UNPOOL_LARGE_PAGE * UNPOOL_LARGE_PAGE;
    const uintptr_t end = ((uintptr_t)start + bytes) / UNPOOL_LARGE_PAGE * UNPOOL_LARGE_PAGE;
    if (bytes >= UNPOOL_LARGE_BLOCK && end > first) (void)madvise((void *)first, end - first, MADV_HUGEPAGE);
#else
    (void)start, (void)bytes;
#endif
}

#endif
