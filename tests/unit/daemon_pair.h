/* Two gatherers that know nothing of each other, the owners of the world, and the loss of all that
 * they have on disk. */
#ifndef OG_TESTS_DAEMON_PAIR_H
#define OG_TESTS_DAEMON_PAIR_H

#include "daemon_world.h"

#define MS(minute) (1767312000000 + (minute)*60000) /* 2026-01-02T00:00Z */

typedef struct pair {
    world *w;
    idset *recorded; /* of the second */
    gather *second;
} pair;

static inline void open_second(pair *p)
{
    char path[128];
    gather_options go = world_gather_options(p->w);
    snprintf(path, sizeof path, "%s/second", p->w->dir);
    assert_int_equal(idset_open(path, NULL, &p->recorded, NULL), OG_OK);
    p->second = gather_new(&go, p->w->content, p->recorded);
    assert_non_null(p->second);
}

static inline void close_second(pair *p)
{
    gather_free(p->second);
    idset_close(p->recorded);
}

static inline pair pair_new(void)
{
    pair p = {.w = world_new()};
    open_second(&p);
    return p;
}

static inline void pair_free(pair *p)
{
    close_second(p);
    world_free(p->w);
}

static inline void compact(world_list *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        bool last = true;
        for (size_t k = i + 1; k < l->count && last; k++)
            last = l->at[k].key_n != l->at[i].key_n ||
                   memcmp(l->at[k].key, l->at[i].key, l->at[i].key_n) != 0;
        if (last) {
            l->at[kept++] = l->at[i];
        } else {
            free(l->at[i].key);
            free(l->at[i].value);
            free(l->at[i].headers);
        }
    }
    l->count = kept;
}

/* Everything that the instances have on disk is lost, also what they had begun. */
static inline void lose_stores(pair *p)
{
    world *w = p->w;
    char path[128];
    close_second(p);
    snprintf(path, sizeof path, "%s/second", w->dir);
    assert_int_equal(file_remove_tree(path, NULL), OG_OK);
    gather_free(w->gather);
    outbox_free(w->outbox);
    world_close_stores(w, true);
    assert_int_equal(file_remove_tree(w->dir, NULL), OG_OK);
    assert_int_equal(file_make_dirs(w->dir, NULL), OG_OK);
    world_open_stores(w);
    world_open_outbox(w);
    gather_options go = world_gather_options(w);
    w->gather = gather_new(&go, w->content, w->recorded);
    open_second(p);
    w->records_read = w->places_read = 0;
    for (int i = 0; i < WORLD_PARTITIONS; i++)
        w->sent_count[i] = 0;
}

/* The same, and the topic was compacted. */
static inline void lose_disks(pair *p)
{
    lose_stores(p);
    compact(&p->w->records);
    compact(&p->w->places);
}

/* Everything that follows from what was gathered has happened. */
static inline void pair_settle(pair *p)
{
    world_settle_down(p->w);
    assert_int_equal(p->w->total.bad, 0);
}

/* ---- events ---- */

/* A version of this minute of an order of the patient's; returns its length. */
static inline int write_order(char *out, size_t size, const char *id, int minute,
                              const char *patient)
{
    return snprintf(out, size,
                    "{\"resourceType\":\"MedicationRequest\",\"id\":\"%s\",\"status\":\"active\","
                    "\"intent\":\"order\",\"meta\":{\"lastUpdated\":\"2026-01-02T%02d:%02d:00Z\"},"
                    "\"subject\":{\"reference\":\"Patient/%s\"},\"medicationCodeableConcept\":{"
                    "\"coding\":[{\"system\":\"http://www.whocc.no/atc\",\"code\":\"M05BX04\"}]}}",
                    id, minute / 60, minute % 60, patient);
}

/* Its delete at this minute, which names no patient. */
static inline int write_delete(char *out, size_t size, const char *id, int minute)
{
    return snprintf(out, size,
                    "{\"resourceType\":\"Bundle\",\"type\":\"history\",\"entry\":[{\"request\":{"
                    "\"method\":\"DELETE\",\"url\":\"MedicationRequest/%s\"},\"response\":{"
                    "\"status\":\"204\",\"lastModified\":\"2026-01-02T%02d:%02d:00Z\"}}]}",
                    id, minute / 60, minute % 60);
}

/* ---- chance ---- */

static uint32_t seed;

static inline uint32_t dice(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

/* Of elements of any size. */
static inline void shuffle(void *list, size_t n, size_t size)
{
    char *at = list, swap[256];
    assert_true(size <= sizeof swap);
    for (size_t i = n; i > 1; i--) {
        size_t k = dice((uint32_t)i);
        memcpy(swap, at + (i - 1) * size, size);
        memcpy(at + (i - 1) * size, at + k * size, size);
        memcpy(at + k * size, swap, size);
    }
}

/* Between two events: now and then all comes to rest, and now and then the disks are lost as well.
 */
static inline void pair_chance(pair *p)
{
    if (dice(4) == 0)
        pair_settle(p);
    if (dice(16) == 0) {
        pair_settle(p);
        lose_disks(p);
    }
}

#endif
