/* Arenas: a chain of blocks with a bump pointer. Reset keeps the blocks and starts at the first
 * again. */
#include "fhir/base/arena.h"

#include <stdarg.h>
#include <stdlib.h>

#ifdef __has_feature
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || HAS_FEATURE(address_sanitizer)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define ALIGN       16u
#define FIRST_BLOCK ((size_t)16 * 1024)
#define MAX_BLOCK   ((size_t)1024 * 1024)
#define KEEP_BYTES  ((size_t)4 * 1024 * 1024) /* what a reset keeps for the next round */
#define SEASON      1024                      /* rounds; what none of them needed is given back */

typedef struct block {
    struct block *next;
    size_t size; /* usable bytes behind this header */
} block;

struct og_arena {
    block *first, *cur;
    char *at, *end;
    size_t limit, held; /* held: bytes in blocks */
    size_t used, peak, blocks;
    size_t depth, deepest; /* blocks that this round needed, and any of the season */
    unsigned rounds;       /* of the season */
    bool failed;
};

#define HEADER ((sizeof(block) + ALIGN - 1) & ~(size_t)(ALIGN - 1))

static char *block_data(block *b)
{
    return (char *)b + HEADER;
}

og_arena *og_arena_new(size_t limit_bytes)
{
    og_arena *a = calloc(1, sizeof *a);
    if (a != NULL)
        a->limit = limit_bytes;
    return a;
}

void og_arena_free(og_arena *a)
{
    if (a == NULL)
        return;
    for (block *b = a->first, *next; b != NULL; b = next) {
        next = b->next;
        ASAN_UNPOISON_MEMORY_REGION(block_data(b), b->size);
        free(b);
    }
    free(a);
}

/* Takes the block at *link out of the chain and frees it. */
static void drop(og_arena *a, block **link)
{
    block *b = *link;
    *link = b->next;
    a->held -= b->size;
    ASAN_UNPOISON_MEMORY_REGION(block_data(b), b->size);
    free(b);
}

static void enter(og_arena *a, block *b)
{
    a->cur = b;
    a->depth++;
    a->at = block_data(b);
    a->end = a->at + b->size;
}

/* Blocks that a reset keeps at most. Those of a round stand first in the chain. */
static size_t blocks_to_keep(og_arena *a)
{
    size_t most = SIZE_MAX;
    if (a->depth > a->deepest)
        a->deepest = a->depth;
    if (++a->rounds < SEASON)
        return most;
    most = a->deepest;
    a->deepest = 0;
    a->rounds = 0;
    return most;
}

void og_arena_reset(og_arena *a)
{
    size_t kept = 0, most = blocks_to_keep(a);
    block **link = &a->first;
    for (; *link != NULL && most > 0 && kept + (*link)->size <= KEEP_BYTES; most--) {
        kept += (*link)->size;
        ASAN_POISON_MEMORY_REGION(block_data(*link), (*link)->size);
        link = &(*link)->next;
    }
    while (*link != NULL)
        drop(a, link);
    a->used = 0;
    a->failed = false;
    a->cur = NULL;
    a->depth = 0;
    a->at = a->end = NULL;
    if (a->first != NULL)
        enter(a, a->first);
}

/* Moves an empty block that is large enough to behind the current one and enters it. */
static bool enter_kept(og_arena *a, size_t size)
{
    if (a->cur == NULL)
        return false;
    for (block **link = &a->cur->next; *link != NULL; link = &(*link)->next) {
        block *b = *link;
        if (b->size < size)
            continue;
        *link = b->next;
        b->next = a->cur->next;
        a->cur->next = b;
        enter(a, b);
        return true;
    }
    return false;
}

/* Frees the blocks that hold nothing, so that small ones of an earlier round do not stand in the
 * way. */
static void drop_empty(og_arena *a)
{
    if (a->cur == NULL)
        return;
    while (a->cur->next != NULL)
        drop(a, &a->cur->next);
    if (a->cur == a->first && a->at == block_data(a->cur)) {
        drop(a, &a->first);
        a->cur = NULL;
        a->depth = 0;
        a->at = a->end = NULL;
    }
}

static bool more(og_arena *a, size_t size)
{
    if (enter_kept(a, size))
        return true;
    if (size > a->limit || size > SIZE_MAX - HEADER)
        return false;
    if (a->held > a->limit - size)
        drop_empty(a);
    if (a->held > a->limit - size)
        return false;
    size_t want = a->held < FIRST_BLOCK ? FIRST_BLOCK : a->held;
    if (want > MAX_BLOCK)
        want = MAX_BLOCK;
    if (want < size || want > a->limit - a->held)
        want = size;
    block *b = malloc(HEADER + want);
    if (b == NULL)
        return false;
    b->size = want;
    b->next = a->cur != NULL ? a->cur->next : NULL;
    if (a->cur != NULL)
        a->cur->next = b;
    else
        a->first = b;
    ASAN_POISON_MEMORY_REGION(block_data(b), want);
    a->held += want;
    a->blocks++;
    enter(a, b);
    return true;
}

/* What an allocation of size bytes takes. */
static size_t rounded(size_t size)
{
    return size != 0 ? (size + ALIGN - 1) & ~(size_t)(ALIGN - 1) : ALIGN;
}

void *og_arena_alloc(og_arena *a, size_t size)
{
    if (a->failed || size > SIZE_MAX - ALIGN) {
        a->failed = true;
        return NULL;
    }
    size_t n = rounded(size);
    if ((size_t)(a->end - a->at) < n && !more(a, n)) {
        a->failed = true;
        return NULL;
    }
    void *p = a->at;
    ASAN_UNPOISON_MEMORY_REGION(p, size != 0 ? size : 1);
    a->at += n;
    a->used += n;
    if (a->used > a->peak)
        a->peak = a->used;
    return p;
}

void *og_arena_zalloc(og_arena *a, size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n)) {
        a->failed = true;
        return NULL;
    }
    void *p = og_arena_alloc(a, n);
    if (p != NULL)
        memset(p, 0, n);
    return p;
}

void *og_arena_grow(og_arena *a, void *old, size_t old_size, size_t new_size)
{
    size_t had = rounded(old_size);
    if (old != NULL && new_size <= had) {
        ASAN_UNPOISON_MEMORY_REGION(old, new_size > old_size ? new_size : old_size);
        return old;
    }
    if (old != NULL && !a->failed && (char *)old + had == a->at && new_size < SIZE_MAX - ALIGN) {
        size_t extra = rounded(new_size) - had;
        if ((size_t)(a->end - a->at) >= extra) {
            ASAN_UNPOISON_MEMORY_REGION(old, new_size);
            a->at += extra;
            a->used += extra;
            if (a->used > a->peak)
                a->peak = a->used;
            return old;
        }
    }
    void *p = og_arena_alloc(a, new_size);
    if (p != NULL && old != NULL)
        memcpy(p, old, old_size);
    return p;
}

void og_arena_shrink(og_arena *a, void *p, size_t old_size, size_t new_size)
{
    size_t had = rounded(old_size), keep = rounded(new_size);
    if (p == NULL || keep >= had || (char *)p + had != a->at)
        return;
    a->at -= had - keep;
    a->used -= had - keep;
    ASAN_POISON_MEMORY_REGION(a->at, had - keep);
}

og_str og_arena_str(og_arena *a, og_str s)
{
    char *p = og_arena_alloc(a, s.n + 1);
    if (p == NULL)
        return (og_str){0};
    if (s.n != 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (og_str){p, s.n};
}

og_str og_arena_printf(og_arena *a, const char *fmt, ...)
{
    char text[256]; /* what fits is formatted once */
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    char *p = n >= 0 ? og_arena_alloc(a, (size_t)n + 1) : NULL;
    if (p != NULL && (size_t)n < sizeof text)
        memcpy(p, text, (size_t)n + 1);
    else if (p != NULL)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p != NULL ? (og_str){p, (size_t)n} : (og_str){0};
}

bool og_arena_failed(const og_arena *a)
{
    return a->failed;
}

size_t og_arena_used(const og_arena *a)
{
    return a->used;
}

size_t og_arena_peak(const og_arena *a)
{
    return a->peak;
}

size_t og_arena_blocks(const og_arena *a)
{
    return a->blocks;
}
