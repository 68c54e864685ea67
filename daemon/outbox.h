/* The outbox: when each delivery is sent. What is sent stands in the store (delivery.h); this is
 * the queue in memory, on the loop thread, without a loop: the owner asks outbox_next_ms when to
 * call again.
 *
 *   outbox_add ──► WAITING ──► PREPARING ──► READY ──► SENDING ──► settled: gone, parked, or
 *                                              ▲                   WAITING with a later time
 *   outbox_add_prepared ──► BEHIND another ────┘
 *
 * Per endpoint and patient one delivery at a time, in order of sequence. Per endpoint at most
 * max_in_flight are being sent, and one only while the endpoint is failing (then the others wait
 * with it). OUTBOX_AHEAD more are prepared meanwhile: preparing takes a batch, and a receiver that
 * answers at once would wait for each; when the endpoint fails they wait as they did before. Times
 * are milliseconds of the real clock: Retry-After and back-off mean real time, also when the
 * daemon's clock is simulated. */
#ifndef OG_DAEMON_OUTBOX_H
#define OG_DAEMON_OUTBOX_H

#include "daemon/delivery.h"

typedef struct outbox outbox;

#define OUTBOX_AHEAD 256 /* prepared, or about to be, of one endpoint */

/* One delivery in the queue. Borrowed for the call. */
typedef struct outbox_item {
    uint64_t ticket; /* names it until it is settled */
    size_t endpoint; /* its number */
    int partition;   /* of the store that has its row */
    og_str patient;
    char alert_id[UUID_TEXT];
    uint32_t revision;
    bool resolved;
    int64_t sequence, not_before_ms, cause_ms;
    int64_t attempts; /* so far */
} outbox_item;

typedef struct outbox_answer {
    conn_verdict verdict;
    int64_t retry_after_ms; /* asked for by the receiver; -1: not */
    bool in_doubt;          /* CONN_AGAIN: may have arrived */
    bool endpoint_down;     /* CONN_AGAIN: it would not go better with another delivery now */
    const char *reason;     /* may be NULL; borrowed */
} outbox_answer;

/* A message as it was prepared. Borrowed for the call. */
typedef struct outbox_message {
    og_str body, key;
    og_str said_key, said_value; /* of the intent; may be empty */
} outbox_message;

typedef struct outbox_endpoint {
    const char *name; /* borrowed for the outbox' life */
    int max_in_flight;
} outbox_endpoint;

typedef struct outbox_options {
    const outbox_endpoint *endpoints;
    size_t endpoint_count;
    int64_t backoff_min_ms, backoff_max_ms;
    uint64_t seed; /* of the jitter */
    void *ctx;
    /* Store the intent and make the body; answered by outbox_prepared. */
    void (*prepare)(void *ctx, const outbox_item *item);
    /* Send; answered by outbox_answered, later or from inside. */
    void (*send)(void *ctx, const outbox_item *item, const outbox_message *m);
    /* Write the outcome back. */
    void (*settle)(void *ctx, const outbox_item *item, const delivery_outcome *outcome);
} outbox_options;

/* NULL: no memory. Caller owns. */
outbox *outbox_new(const outbox_options *options);
void outbox_free(outbox *ob); /* accepts NULL */

/* A pending row, new or found in the store at start. A row for the same alert replaces what waits;
 * what is under way finishes first. false: no memory (the row is in the store and comes with the
 * next start). */
bool outbox_add(outbox *ob, size_t endpoint, int partition, const delivery *row);
/* The same for a row whose intent is stored already: its message is kept until it is its turn,
 * behind what of the patient is before it. Where that is not under way, or the endpoint is failing,
 * or the alert's last attempt has not ended, it is settled as not sent, and waits as a pending row
 * does. */
bool outbox_add_prepared(outbox *ob, size_t endpoint, int partition, const delivery *row,
                         const outbox_message *m);
/* So many more may be prepared for the endpoint, beside those that wait for it already. Nothing is
 * reserved. */
size_t outbox_room(const outbox *ob, size_t endpoint);
/* The row is gone (resolved before anything was sent): what waits for it is dropped. */
void outbox_drop(outbox *ob, size_t endpoint, og_str patient, const char *alert_id);
/* Everything of a partition is forgotten: it is no longer ours. */
void outbox_forget_partition(outbox *ob, int partition);

/* Sends what is ready and begins whatever may begin at now_ms, the endpoint with the highest number
 * first: what was noted behind something that is ready for that one is not sent before it. */
void outbox_deliver(outbox *ob, int64_t now_ms);
/* When outbox_deliver is to be called next; INT64_MAX: not before something else happens. */
int64_t outbox_next_ms(const outbox *ob);

/* The intent is stored and this is the message, which is sent now, or kept until it is its turn;
 * row NULL: there is nothing to send any more. */
void outbox_prepared(outbox *ob, uint64_t ticket, const delivery *row, const outbox_message *m,
                     int64_t now_ms);
void outbox_answered(outbox *ob, uint64_t ticket, const outbox_answer *answer, int64_t now_ms);

/* Deliveries that wait or are under way; of one endpoint or (SIZE_MAX) of all. */
size_t outbox_pending(const outbox *ob, size_t endpoint);
/* Its last attempts failed in a way that another delivery would have shared. */
bool outbox_is_down(const outbox *ob, size_t endpoint);
/* Those that are being prepared or sent at this moment. */
size_t outbox_sending(const outbox *ob);
/* Nothing new begins any more (shutdown), and what is ready stays; answers are still taken. */
void outbox_stop(outbox *ob);

#endif
