/* glibc has a heap for each few threads, and learns from the largest block that was ever freed: up
 * to that size it takes blocks from these heaps, and keeps twice as much free at the end of each.
 * After one backlog that is megabytes in every heap, for good. With the two limits set it learns
 * nothing. */
#include "daemon/heap.h"

#include <stdlib.h>

#ifdef __has_feature
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif

#define OWN_PAGES (256 << 10) /* blocks from this size on have pages of their own */
#define KEEP_FREE (128 << 10) /* at the end of each heap */

/* Under the address sanitizer glibc's allocator is there, but has never been set up. */
#if !defined(__GLIBC__) || defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
void heap_keep_little(void) {}

void heap_give_back(void) {}
#else
#include <malloc.h>

void heap_keep_little(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, OWN_PAGES);
    (void)mallopt(M_TRIM_THRESHOLD, KEEP_FREE);
}

void heap_give_back(void)
{
    (void)malloc_trim(0);
}
#endif
