/* Places: whose a resource is, by its Type/id. A delete rarely says whose resource it was, and a
 * corrected one does not say whom it leaves (STREAM 0.5, 3.3). Every record has its place written
 * beside it, on the partition that its Type/id chooses; whoever owns that partition brings together
 * what gather read anywhere, in any order:
 *
 *   a record of P, and one of Q           the older one's patient gets a tombstone of the newer
 *   a record of P, and a newer delete     P gets a tombstone
 *   a delete, and nothing known           it is kept: an older record that comes later is deleted
 *
 * What is kept is the newest of all that was said; where an older message stands behind it in the
 * topic, it is said again, because compaction keeps the last. */
#ifndef OG_DAEMON_PLACE_H
#define OG_DAEMON_PLACE_H

#include "daemon/store.h"

typedef enum place_applied {
    PLACE_NOTED,  /* nothing follows from it */
    PLACE_SENT,   /* a tombstone is on its way to a patient */
    PLACE_WAITING /* a delete of what is not known yet */
} place_applied;

/* Takes a message of the records topic (record_read_place); what follows becomes an errand.
 * scratch is for the call. */
OG_MUSTCHECK og_status place_apply(store_txn *t, og_arena *scratch, og_str tenant, const record *r,
                                   place_applied *ret, og_error *err);

/* The version of a place by its key on the topic, and whether it is deleted. OG_NOTFOUND. */
OG_MUSTCHECK og_status place_version(store_txn *t, og_arena *scratch, og_str key, record_order *ret,
                                     bool *ret_deleted, og_error *err);
/* Its row goes; nothing happens when there is none. */
OG_MUSTCHECK og_status place_remove(store_txn *t, og_str key, og_error *err);
/* What the store has of it is to be written to the topic again. */
OG_MUSTCHECK og_status place_reassert(store_txn *t, og_arena *scratch, og_str key, og_error *err);

/* Visits all that are not deleted; type and id are borrowed for the call. */
typedef og_status place_visit(void *ctx, og_str type, og_str id, og_error *err);
OG_MUSTCHECK og_status place_each(store_txn *t, place_visit *fn, void *ctx, og_error *err);

#endif
