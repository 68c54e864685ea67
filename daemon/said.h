/* What has been said: the alerts topic, one partition beside each partition of the records topic
 * (STREAM 3.4 to 3.6). Whoever takes a partition over reads here what its owners before have found
 * and told.
 *
 *   tenant|patient|alert id             plan_alert_write: what we believe
 *   tenant|patient|alert id|endpoint    delivery_write: what an endpoint is being told, or was told
 *   tenant|patient|card uuid            the same, of a card that a call alone has shown (shown.h)
 *   claim                               who owns the partition from here on
 *
 * An owner writes a claim before anything else; the claim's offset is its epoch, and every record
 * that it writes carries it in the header `epoch`, beside the name of its store in the header
 * `store`. A record behind a newer claim than its epoch is the word of one who has lost the
 * partition without knowing it yet: it does not count, and the owner writes its own word behind it.
 * What calls have shown has no epoch, because any instance may be called: whoever owns the
 * partition takes it over, once. */
#ifndef OG_DAEMON_SAID_H
#define OG_DAEMON_SAID_H

#include "daemon/delivery.h"

#define SAID_CLAIM        "claim" /* the key; ids hold '|' in between, so nothing else has it */
#define SAID_MAX_ENDPOINT 32      /* bytes of a name (config.c) */
#define SAID_EPOCH        "epoch" /* headers */
#define SAID_STORE        "store"
#define SAID_NONCE        "nonce" /* of a claim */

typedef struct said_key {
    og_str tenant, patient, endpoint; /* endpoint is empty: the alert itself */
    char alert_id[UUID_TEXT];
} said_key;

/* Both live in a; .p NULL: no memory. */
og_str said_alert_key(og_arena *a, og_str tenant, og_str patient, const char *alert_id);
og_str said_delivery_key(og_arena *a, og_str tenant, const delivery *d);
/* Slices borrow from key. */
bool said_read_key(og_str key, said_key *ret);

/* A record of the alerts topic that another owner wrote. */
typedef struct said_message {
    og_str key, value;     /* value.p NULL: nothing is said any more */
    int64_t not_before_ms; /* an attempt that was under way there may last until then */
    bool outdated;         /* written after a newer claim than its epoch */
} said_message;

typedef enum said_taken {
    SAID_TAKEN,
    SAID_SHOWN, /* and what a call has shown is there for the first time */
    SAID_PASSED /* it changes nothing: the store's own word is to be said behind it */
} said_taken;

/* Takes over what was said: the alert or the delivery is as the topic says, and the patient is
 * dirty. An outdated one is passed over, and what a call has shown that the store has already, or
 * an alert stands for. *ret_shown: what is there for the first time. a is for the call. OG_INVALID,
 * OG_SYNTAX: it is no record of ours, nothing was changed. */
OG_MUSTCHECK og_status said_apply(store_txn *t, og_arena *a, og_str tenant, const said_message *m,
                                  said_taken *ret, plan_alert *ret_shown, og_error *err);
/* The store's own word under this key; *ret .p NULL when it has none. Lives in a. */
OG_MUSTCHECK og_status said_own(store_txn *t, og_arena *a, og_str key, og_str *ret, og_error *err);

#endif
