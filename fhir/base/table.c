/* A hash map in an arena: open addressing over an array of entries in insertion order.
 *
 * Keys come from senders. The place of a key depends on a seed from the arena's address, so that
 * keys which were chosen to share a slot here do not; the order of the entries depends on nothing
 * but insertion. */
#include "fhir/base/table.h"

void og_table_init(og_table *t, og_arena *a)
{
    *t = (og_table){.arena = a, .seed = ((uintptr_t)a >> 4) * 0x9E3779B97F4A7C15u | 1};
}

/* The slot where key is, or where it belongs. */
static uint32_t *slot_of(const og_table *t, og_str key, uint64_t hash)
{
    uint32_t mask = t->slot_count - 1;
    uint32_t i = (uint32_t)(hash * t->seed >> 32) & mask;
    for (;; i = (i + 1) & mask) {
        uint32_t e = t->slots[i];
        if (e == 0)
            return &t->slots[i];
        if (t->entries[e - 1].hash == hash && og_str_eq(t->entries[e - 1].key, key))
            return &t->slots[i];
    }
}

void *og_table_get(const og_table *t, og_str key)
{
    if (t->count == 0)
        return NULL;
    uint32_t *s = slot_of(t, key, og_str_hash(key));
    return *s != 0 ? t->entries[*s - 1].value : NULL;
}

static bool rehash(og_table *t, uint32_t slots)
{
    uint32_t *s = og_arena_zalloc(t->arena, slots, sizeof *s);
    if (s == NULL)
        return false;
    t->slots = s;
    t->slot_count = slots;
    for (uint32_t i = 0; i < t->count; i++)
        *slot_of(t, t->entries[i].key, t->entries[i].hash) = i + 1;
    return true;
}

bool og_table_put(og_table *t, og_str key, void *value)
{
    uint64_t hash = og_str_hash(key);
    if (t->slot_count == 0 && !rehash(t, 16))
        return false;
    if ((t->count + 1) * 4 >= t->slot_count * 3 && !rehash(t, t->slot_count * 2))
        return false;
    uint32_t *s = slot_of(t, key, hash);
    if (*s != 0) {
        t->entries[*s - 1].value = value;
        return true;
    }
    if (t->count == t->entry_cap) {
        uint32_t cap = t->entry_cap != 0 ? t->entry_cap * 2 : 8;
        og_table_entry *e =
            og_arena_grow(t->arena, t->entries, t->entry_cap * sizeof *e, cap * sizeof *e);
        if (e == NULL)
            return false;
        t->entries = e;
        t->entry_cap = cap;
    }
    t->entries[t->count++] = (og_table_entry){key, value, hash};
    *s = t->count;
    return true;
}
