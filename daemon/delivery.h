/* Deliveries: what each endpoint is to be told about each alert, and what it has been told
 * (STREAM 3.6).
 *
 * One row per endpoint and alert, so an outage of any length leaves one pending row: only the
 * latest revision of an alert is ever sent. What waits has a table of its own; what is DELIVERED
 * stands beside its alert. Where an endpoint is to be told something, that row says already what it
 * will have been told; until then the one that waits hides it.
 *
 *   (none) ──want──► PENDING ──prepare──► INTENT ──done──► DELIVERED (the row goes when the alert
 * is resolved) ▲                   │  └──never──► PARKED └──────again────────┘      every state
 * ──want──► PENDING
 *
 * `held` are the cards that the receiver has, or may have: they are withdrawn when something takes
 * their place. An intent is stored before the bytes leave, so that a crash cannot make us forget
 * that a card may have arrived. The alerts topic is an endpoint too; it gets every state of every
 * alert and holds no cards. */
#ifndef OG_DAEMON_DELIVERY_H
#define OG_DAEMON_DELIVERY_H

#include "connectors/connector.h"
#include "daemon/store.h"
#include "daemon/uuid.h"

typedef struct delivery_endpoint {
    const char *name;
    bool is_topic;                     /* the alerts topic */
    const char *fhir_server, *service; /* may be "" */
    bool worklist;                     /* takes alerts for a worklist too */
    const char *sender;                /* takes this sender's patients only; NULL or "": all */
    bool fhir;                         /* a FHIR server (delivery_fhir.h), not a webhook */
    bool flag, task;                   /* that gets a Flag, a Task too */
} delivery_endpoint;

typedef enum delivery_state {
    DELIVERY_PENDING,
    DELIVERY_INTENT,
    DELIVERY_DELIVERED,
    DELIVERY_PARKED
} delivery_state;

typedef struct delivery {
    og_str endpoint, patient;
    char alert_id[UUID_TEXT];
    delivery_state state;
    bool resolved; /* what is to be told: the alert is resolved, or here is its card */
    uint32_t revision;
    int64_t sequence;          /* per endpoint and patient, from 1 */
    int64_t attempts, next_ms; /* attempts so far; not before this instant (real time) */
    int64_t cause_ms;          /* timestamp of the event that made it; 0 unknown */
    char doubtful[UUID_TEXT];  /* card of an attempt whose outcome is not known; empty when none */
    bool doubted;              /* an earlier attempt with this card may have arrived */
    const char (*held)[UUID_TEXT];
    size_t held_count;
    char under_way[UUID_TEXT]; /* held for an attempt alone that has not ended; empty: none */
    uint32_t under_way_revision;
    og_str reason; /* PARKED: why */
} delivery;

/* The value of a row as text, and back; lives in a. endpoint, patient and alert_id of *ret are the
 * caller's. OG_CORRUPT when it cannot be read. */
og_str delivery_write(og_arena *a, const delivery *d);
OG_MUSTCHECK og_status delivery_read_value(og_arena *a, og_str value, delivery *ret, og_error *err);

/* Is it told about this patient at all? */
bool delivery_concerns(const delivery_endpoint *ep, og_str patient);

/* Visits all rows that are to be sent (PENDING and INTENT) or parked. d lives in a until fn
 * returns. */
typedef og_status delivery_visit(void *ctx, const delivery *d, og_error *err);
OG_MUSTCHECK og_status delivery_each(store_txn *t, og_arena *a, delivery_visit *fn, void *ctx,
                                     og_error *err);
/* The same of one endpoint and of patients behind `after` (empty: from the first on), in the order
 * of their keys; fn answers OG_AGAIN to end it well. */
OG_MUSTCHECK og_status delivery_each_after(store_txn *t, og_arena *a, og_str endpoint, og_str after,
                                           delivery_visit *fn, void *ctx, og_error *err);
/* What the outbox has room for: the rows of so many patients at most, behind `after`. */
typedef struct delivery_more {
    uint64_t pass; /* the outbox' name for it */
    size_t endpoint, patients;
    bool given_up; /* PARKED ones too */
    og_str after;
} delivery_more;
/* Whether the rows of a patient lie before those of `other`, or are its own. */
bool delivery_is_before(og_str patient, og_str other);
OG_MUSTCHECK og_status delivery_get(store_txn *t, og_arena *a, og_str endpoint, og_str patient,
                                    const char *alert_id, delivery *ret, og_error *err);

/* True when there is no card of this alert for the endpoint: it is resolved, overridden for now,
 * for a worklist, or was only shown by a call. */
bool delivery_is_over(const delivery_endpoint *ep, const plan_alert *alert);

/* Sets the row, or takes it away, as another owner has left it. */
OG_MUSTCHECK og_status delivery_put(store_txn *t, og_arena *a, const delivery *d, og_error *err);
OG_MUSTCHECK og_status delivery_remove(store_txn *t, const delivery *d, og_error *err);

/* True when the row is about this state of its alert. */
bool delivery_says(const delivery *d, const delivery_endpoint *ep, const plan_alert *alert);

typedef enum delivery_wanted {
    DELIVERY_SEND,    /* *ret_row is pending */
    DELIVERY_DROPPED, /* resolved before anything was sent: nothing to say */
} delivery_wanted;

/* An alert is new or changed: the endpoint is to be told. *ret_was tells the state before (PENDING
 * for none). */
OG_MUSTCHECK og_status delivery_want(store_txn *t, og_arena *a, const delivery_endpoint *ep,
                                     og_str patient, const plan_alert *alert, int64_t cause_ms,
                                     delivery_wanted *ret, delivery *ret_row,
                                     delivery_state *ret_was, og_error *err);

/* What is to be sent: the body and the idempotency key (for the alerts topic: the value and the key
 * of the message), and the row as it is stored now. */
typedef struct delivery_message {
    og_str body, key, row;
} delivery_message;

/* About to be sent: the intent is stored. Same row, same bytes. A row that does not say what its
 * alert says (its endpoint was not configured for a while) is wanted anew first. OG_NOTFOUND: there
 * is nothing to send any more. *ret_row PARKED: it can never be sent, its reason says why. */
OG_MUSTCHECK og_status delivery_prepare(store_txn *t, og_arena *a, const delivery_endpoint *ep,
                                        og_str tenant, og_str patient, const char *alert_id,
                                        delivery *ret_row, delivery_message *ret, og_error *err);

/* delivery_want and delivery_prepare in one, where nothing of this patient waits for the endpoint:
 * whoever has the alert at hand need not read it again. written: the alert as plan_alert_write
 * gives it, of which the message may borrow; NULL: it is written here. ret->body.p is NULL when it
 * is only wanted (or dropped) all the same: this transaction has prepared an earlier state of the
 * alert, or its message is too large. */
OG_MUSTCHECK og_status delivery_want_now(store_txn *t, og_arena *a, const delivery_endpoint *ep,
                                         og_str tenant, og_str patient, const plan_alert *alert,
                                         og_str written, int64_t cause_ms, delivery_wanted *ret,
                                         delivery *ret_row, delivery_state *ret_was,
                                         delivery_message *ret_message, og_error *err);

/* Whether anything of this patient waits for the endpoint, is under way to it, or was given up. */
OG_MUSTCHECK og_status delivery_waits(store_txn *t, og_str endpoint, og_str patient, bool *ret,
                                      og_error *err);

typedef struct delivery_outcome {
    conn_verdict verdict;
    bool in_doubt;     /* CONN_AGAIN: it may have arrived all the same */
    bool not_sent;     /* CONN_AGAIN: that was no attempt */
    bool renewed;      /* its alert was wanted anew meanwhile: the row is about that */
    int64_t next_ms;   /* CONN_AGAIN: not before */
    uint32_t revision; /* of what was sent */
    bool resolved;
    const char *reason; /* CONN_NEVER; borrowed */
} delivery_outcome;

/* What became of an attempt is written back. A row that was wanted anew meanwhile stays pending,
 * unless that was to withdraw a card which has not arrived. *ret_row: what the row says now
 * (delivery_write), or would say if it were still there: told, and nothing is left of it; p NULL:
 * nobody else need know. OG_NOTFOUND: there was none. */
OG_MUSTCHECK og_status delivery_settle(store_txn *t, og_arena *a, const delivery_endpoint *ep,
                                       og_str patient, const char *alert_id,
                                       const delivery_outcome *outcome, og_str *ret_row,
                                       og_error *err);

#endif
