/* A table of hashes with the second in which each expires. Two things with one hash cannot be told
 * apart: the second is taken for a repeat, once in 2^40 at a full table. */
#include "daemon/seen.h"

#include <stdlib.h>

enum {
    SLOTS = 1 << 20, /* sixteen bytes each */
    WALK = 64
};

typedef struct slot {
    uint64_t hash;
    uint32_t expires;
} slot;

struct seen {
    slot at[SLOTS];
};

seen *seen_new(void)
{
    return calloc(1, sizeof(seen));
}

void seen_free(seen *s)
{
    free(s);
}

/* Its place, else one to put it. A short walk, always to its end: what stands before it may have
 * expired since it was put there. */
static slot *slot_of(seen *s, uint64_t hash, int64_t now_s)
{
    slot *free_one = NULL;
    for (size_t i = 0; i < WALK; i++) {
        slot *at = &s->at[(hash + i) & (SLOTS - 1)];
        if (at->hash == hash)
            return at;
        if (free_one == NULL && at->expires <= now_s)
            free_one = at;
    }
    return free_one;
}

seen_verdict seen_take(seen *s, og_str what, int64_t now_s, int64_t until_s)
{
    uint64_t hash = og_str_hash(what) | 1;
    slot *at = slot_of(s, hash, now_s);
    if (at == NULL)
        return SEEN_FULL;
    if (at->hash == hash && at->expires > now_s)
        return SEEN_BEFORE;
    *at = (slot){hash, until_s > UINT32_MAX ? UINT32_MAX : (uint32_t)until_s};
    return SEEN_NEW;
}
