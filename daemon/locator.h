/* Whose a resource is, by its Type/id: a delete rarely says so (STREAM 0.5, 3.3).
 *
 * What this instance knows: an index that can be rebuilt from the stores. Gather writes it when it
 * records something; the pipeline writes what it finds missing while it catches up. It saves a way
 * and is never relied on: what other instances gathered is known by the places (place.h). */
#ifndef OG_DAEMON_LOCATOR_H
#define OG_DAEMON_LOCATOR_H

#include "daemon/kv.h"
#include "daemon/record.h"

typedef struct locator locator;

/* Opens it in dir; one that cannot be trusted is emptied. *ret_new: it is empty and wants to be
 * filled from the stores. Caller owns *ret. */
OG_MUSTCHECK og_status locator_open(const char *dir, size_t map_bytes, const char *boot_id,
                                    locator **ret, bool *ret_new, og_error *err);
void locator_close(locator *l); /* accepts NULL */
/* As if the process had died; for tests. */
void locator_abandon(locator *l);

/* True from the first OG_CORRUPT on: nothing more can be read or written. For any thread. */
bool locator_is_broken(const locator *l);
/* Throws its rows away and begins with none, to be filled from the stores as a new one. Nobody else
 * may be using it. On an error it stays broken, and can be renewed later. */
OG_MUSTCHECK og_status locator_renew(locator *l, og_error *err);

typedef struct locator_entry {
    og_str type_id, patient; /* patient is empty for a shared resource */
    record_order order;
    int64_t arrived_ms; /* timestamp of the message; -1 unknown */
    bool deleted;
} locator_entry;

/* What is known of type_id; patient is copied to a. OG_NOTFOUND (err untouched) when nothing is. */
OG_MUSTCHECK og_status locator_get(locator *l, og_arena *a, og_str type_id, locator_entry *ret,
                                   og_error *err);
/* Notes it, unless the same or a newer version is noted; of two versions that are equally new the
 * later one counts, unless it is a delete: the tombstone that a corrected subject leaves with the
 * old patient has the version of the new patient's record. What gather puts is collected until
 * locator_flush, or until it is a great deal; gets see it at once. */
OG_MUSTCHECK og_status locator_put(locator *l, const locator_entry *e, og_error *err);
/* The same for whoever fills one that is new: in larger portions. */
OG_MUSTCHECK og_status locator_fill(locator *l, const locator_entry *e, og_error *err);
OG_MUSTCHECK og_status locator_flush(locator *l, og_error *err);
/* kv_trim; accepts NULL. */
void locator_trim(const locator *l);
/* The same from another thread: looks first, writes only what is missing, in one transaction of its
 * own. */
OG_MUSTCHECK og_status locator_ensure(locator *l, const locator_entry *entries, size_t count,
                                      og_error *err);

#endif
