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
 * with it): its answer says so, or nothing of eight patients was taken, one after the other. Then
 * it is tried ever more slowly; and with each delivery that is taken twice as many may be under
 * way. OUTBOX_AHEAD more are prepared meanwhile: preparing takes a batch, and a receiver that
 * answers at once would wait for each; when the endpoint fails they wait as they did before.
 *
 * Memory holds the rows of some max_patients patients for each endpoint, however many wait: those
 * of others stay in the store alone, and are asked for in the order in which they lie there
 * (outbox_wants, outbox_take), partition by partition, when there is room. Of a patient all rows
 * are here, or none is, so the order of sequence holds.
 *
 * Times are milliseconds of the real clock: Retry-After and back-off mean real time, also when the
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
    bool given_up;    /* PARKED when it came here: to be tried once more */
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
    int partitions;
    size_t max_patients; /* of one endpoint; 0: 20,000, some 10 MB with two alerts each */
    int64_t backoff_min_ms, backoff_max_ms;
    uint64_t seed; /* of the jitter */
    void *ctx;
    /* Store the intent and make the body; answered by outbox_prepared. false: no memory; it is
     * asked for again later. */
    bool (*prepare)(void *ctx, const outbox_item *item);
    /* Send; answered by outbox_answered, later or from inside. */
    void (*send)(void *ctx, const outbox_item *item, const outbox_message *m);
    /* Write the outcome back. */
    void (*settle)(void *ctx, const outbox_item *item, const delivery_outcome *outcome);
} outbox_options;

/* NULL: no memory. Caller owns. */
outbox *outbox_new(const outbox_options *options);
void outbox_free(outbox *ob); /* accepts NULL */

/* A pending row that is new. A row for the same alert replaces what waits; what is under way
 * finishes first. Where there is no room for the patient it is left to outbox_take. false: no
 * memory; it is left to outbox_take with the others of the patient, which it does not overtake. */
bool outbox_add(outbox *ob, size_t endpoint, int partition, const delivery *row);
/* The same for a row whose intent is stored already: its message is kept until it is its turn,
 * behind what of the patient is before it. Where that is not under way, or the endpoint is failing,
 * or the alert's last attempt has not ended, or there is no memory, it is settled as not sent, and
 * waits as a pending row does. */
bool outbox_add_prepared(outbox *ob, size_t endpoint, int partition, const delivery *row,
                         const outbox_message *m);
/* So many more may be prepared for the endpoint, beside those that wait for it already. Nothing is
 * reserved. */
size_t outbox_room(const outbox *ob, size_t endpoint, int partition);
/* The row is gone (resolved before anything was sent): what waits for it is dropped. */
void outbox_drop(outbox *ob, size_t endpoint, og_str patient, const char *alert_id);
/* Any row of the partition may be in its store alone: it is to be read. given_up: those that are
 * PARKED are tried again. */
void outbox_read_store(outbox *ob, int partition, bool given_up);

/* What is to be read from the store of a partition. after is borrowed until the next call of
 * anything here. False: nothing, or there is no room. */
bool outbox_wants(const outbox *ob, int partition, delivery_more *ret);
/* Those that were read for this pass, by a transaction behind which nothing of the partition has
 * been committed that outbox_add has not been told. last: whose the last ones are; end: behind them
 * there are none. false: no memory; all are asked for again. */
bool outbox_take(outbox *ob, int partition, const delivery_more *wanted, const delivery *rows,
                 size_t count, og_str last, bool end);
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

/* Deliveries that wait or are under way; of one endpoint or (SIZE_MAX) of all. Of those that are in
 * the store alone it is known only that there are some: one for each partition. */
size_t outbox_pending(const outbox *ob, size_t endpoint);
/* Its last attempts failed in a way that another delivery would have shared. */
bool outbox_is_down(const outbox *ob, size_t endpoint);
/* Partitions of which rows may be in the store alone, counted for each endpoint. */
size_t outbox_unread(const outbox *ob);
/* Those that are being prepared or sent at this moment. */
size_t outbox_sending(const outbox *ob);
/* Nothing new begins any more (shutdown), and what is ready stays; answers are still taken. */
void outbox_stop(outbox *ob);

#endif
