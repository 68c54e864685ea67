/* Patients whose events have not ceased yet. An admission writes fifty resources within a second:
 * its patient is evaluated when nothing has come for a while, or when the first event has waited
 * long enough, and not fifty times.
 *
 * They stand in the dirty table among those that are to be evaluated at once, so that a process
 * that dies forgets nobody:
 *
 *   patient    offset first last cause     offset: of the first event; first and last: when the
 * first and the newest came, on the machine's steady clock; cause: earliest timestamp of the events
 * (all text) patient    offset                      to be evaluated at once (store_mark_dirty) */
#ifndef OG_DAEMON_WAITING_H
#define OG_DAEMON_WAITING_H

#include "daemon/store.h"

typedef struct waiting_policy {
    int64_t quiet_ms;   /* so long nothing must have come; 0: nobody waits */
    int64_t longest_ms; /* and so long it waits at most */
} waiting_policy;

/* An event of the patient has been applied; offset: of the batch's first one. *ret_joined: it
 * waited already, or is to be evaluated at once anyway. */
OG_MUSTCHECK og_status waiting_note(store_txn *t, og_str patient, int64_t offset, int64_t cause_ms,
                                    int64_t steady_ms, bool *ret_joined, og_error *err);

typedef struct waiting_patient {
    og_str id;
    int64_t cause_ms; /* 0: not known */
} waiting_patient;

typedef struct waiting_rest { /* those that have to wait on */
    uint64_t count;
    int64_t ripe_ms; /* when the first of them has waited long enough, on the steady clock;
                      * INT64_MAX: never */
    int64_t offset;  /* of the earliest event among them; INT64_MAX: none */
} waiting_rest;

/* Up to max patients of the dirty table that need not wait (any longer), in byte order; they live
 * in a. A time ahead of the steady clock is of a boot before: its patient does not wait. *ret_rest
 * tells nothing (as of nobody) when max were found: there may be more of both. */
OG_MUSTCHECK og_status waiting_ripe(store_txn *t, og_arena *a, const waiting_policy *policy,
                                    int64_t steady_ms, size_t max, const waiting_patient **ret,
                                    size_t *ret_count, waiting_rest *ret_rest, og_error *err);

#endif
