/* A hash map from text to pointer that lives in an arena. Keys are borrowed: they must live as long
 * as the table. Insertion order is kept (iterate entries[0..count)). */
#ifndef OG_BASE_TABLE_H
#define OG_BASE_TABLE_H

#include "fhir/base/arena.h"

typedef struct og_table_entry {
    og_str key;
    void *value;
    uint64_t hash;
} og_table_entry;

typedef struct og_table {
    og_arena *arena;
    og_table_entry *entries;
    uint32_t *slots; /* entry number + 1, 0 is free */
    uint32_t count, entry_cap, slot_count;
    uint64_t seed; /* makes the slots of chosen keys unforeseeable */
} og_table;

/* An empty table whose memory comes from a. */
void og_table_init(og_table *t, og_arena *a);
/* The value at key, or NULL. */
void *og_table_get(const og_table *t, og_str key);
/* Sets key to value; returns false when memory is out. An existing key gets the new value. */
bool og_table_put(og_table *t, og_str key, void *value);

#endif
