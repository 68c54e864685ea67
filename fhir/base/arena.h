/* Arenas: memory that is thrown away at once.
 *
 * Three lifetimes, three arenas: content (from load to reload), batch (one poll), evaluation (one
 * patient). What lives in an arena is made by a function whose first parameter is that arena;
 * nobody frees it singly. An arena has a ceiling and remembers that it was hit. */
#ifndef OG_BASE_ARENA_H
#define OG_BASE_ARENA_H

#include "fhir/base/text.h"

typedef struct og_arena og_arena;

/* A new empty arena that never holds more than limit_bytes; NULL when there is no memory. Caller
 * owns. */
og_arena *og_arena_new(size_t limit_bytes);
/* Frees it and all that lives in it; accepts NULL. */
void og_arena_free(og_arena *a);
/* Forgets all that lives in it, keeps the first blocks for the next round (no heap call in a steady
 * state). Now and then those go that were not needed for a long time. */
void og_arena_reset(og_arena *a);

/* size bytes, aligned to 16, not zeroed. NULL when the ceiling is hit or memory is out: the arena
 * then stays failed until reset, so one check at the end suffices. size 0 gives a valid pointer. */
void *og_arena_alloc(og_arena *a, size_t size) __attribute__((malloc, alloc_size(2)));
/* count * size bytes, zeroed; NULL also on overflow. */
void *og_arena_zalloc(og_arena *a, size_t count, size_t size);
/* Enlarges the most recent allocation in place when it can, otherwise moves it. */
void *og_arena_grow(og_arena *a, void *old, size_t old_size, size_t new_size);
/* Gives back the end of an allocation of old_size bytes when it is the most recent one; the pointer
 * stays. */
void og_arena_shrink(og_arena *a, void *p, size_t old_size, size_t new_size);
/* A NUL-terminated copy. {NULL,0} on failure. */
og_str og_arena_str(og_arena *a, og_str s);
og_str og_arena_printf(og_arena *a, const char *fmt, ...) OG_PRINTF(2, 3);

bool og_arena_failed(const og_arena *a);
/* Bytes handed out since the last reset; highest value ever; heap blocks taken since it was made.
 */
size_t og_arena_used(const og_arena *a);
size_t og_arena_peak(const og_arena *a);
size_t og_arena_blocks(const og_arena *a);

#endif
