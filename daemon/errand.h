/* Errands: messages for the records topic that follow from what was applied, for any of its
 * partitions: the tombstone that a delete without a patient leads to, a place that an older one
 * stands behind. They are written in the transaction that they follow from and stay until the
 * brokers have them; a crash repeats them, and whoever reads one twice finds it stale. */
#ifndef OG_DAEMON_ERRAND_H
#define OG_DAEMON_ERRAND_H

#include "daemon/store.h"

typedef struct errand {
    og_str row;        /* what errand_done takes */
    og_str route;      /* the text whose hash is the partition; empty: the store's own */
    og_str key, value; /* value.p NULL: nothing is to be left of the key */
} errand;

/* A record to its patient. */
OG_MUSTCHECK og_status errand_record(store_txn *t, const record *r, og_error *err);
/* A place to where it belongs; one at a time, the newest. */
OG_MUSTCHECK og_status errand_place(store_txn *t, const record *r, og_error *err);
/* The place with this key on the topic need not be said: its newest stands last. */
OG_MUSTCHECK og_status errand_place_said(store_txn *t, og_str key, og_error *err);

/* A tombstone of Kafka for a key of the store's own partition. */
OG_MUSTCHECK og_status errand_removal(store_txn *t, og_str key, og_error *err);

/* The first ones, up to max or STORE_SEND_BYTES; copied to a. */
OG_MUSTCHECK og_status errand_list(store_txn *t, og_arena *a, size_t max, errand **ret,
                                   size_t *ret_count, og_error *err);
OG_MUSTCHECK og_status errand_done(store_txn *t, og_str row, og_error *err);
OG_MUSTCHECK og_status errand_count(store_txn *t, uint64_t *ret, og_error *err);

#endif
