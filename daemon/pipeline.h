/* The pipeline: calls 6 to 9 of an event's way, one partition at a time, inside one transaction.
 *
 *   store_apply ─► plan_content_evaluate ─► plan_alert_compare ─► store_commit
 *
 * Runs in a worker thread. A batch is all it gets and all it gives: no globals, no clock, no loop,
 * no Kafka. */
#ifndef OG_DAEMON_PIPELINE_H
#define OG_DAEMON_PIPELINE_H

#include "daemon/backfill.h"
#include "daemon/delivery.h"
#include "daemon/feedback.h"
#include "daemon/idset.h"
#include "daemon/merge.h"
#include "daemon/said.h"
#include "daemon/store.h"
#include "daemon/waiting.h"

/* What stays the same from batch to batch. Borrowed by every batch. */
typedef struct pipeline_setup {
    const char *tenant;
    const delivery_endpoint *endpoints;
    size_t endpoint_count;
    idset *recorded;      /* may be NULL: no index is kept */
    uint32_t max_depth;   /* of records */
    int64_t tombstone_ms; /* how long it is remembered what was deleted; 0: always */
    feedback_policy feedback;
    waiting_policy waiting;
    const char *const *backfill_senders; /* whose new patients are wanted (backfill.h) */
    size_t backfill_sender_count;
    int (*offset_at)(int64_t ms); /* of the site: clock_offset_min; NULL: it never changes */
    const char *program; /* what evaluates (note.h); NULL: nothing is noted, all rules are asked */
} pipeline_setup;

typedef struct pipeline_message { /* from the records or the shared topic; owned by the batch' owner
                                   */
    og_str key, value;            /* value.p NULL: erased */
    int64_t offset, timestamp_ms;
    bool removal; /* no value, and GRAVE_HEADER */
} pipeline_message;

/* Something to be done to a delivery's row: an intent to be stored, or an outcome. */
typedef struct pipeline_task {
    uint64_t ticket;
    size_t endpoint;
    og_str patient;
    char alert_id[UUID_TEXT];
    int64_t sequence; /* of the row that the outbox knows */
    bool settle;      /* false: prepare */
    bool given_up;    /* prepare: also a row that is PARKED */
    delivery_outcome outcome;
} pipeline_task;

/* A message for the connector. Lives in the batch. */
typedef struct pipeline_sendable {
    og_str body, key;
    og_str said_key,
        said_value; /* of the intent on the alerts topic; empty for that topic itself */
} pipeline_sendable;

/* For the outbox: a row that is pending, or prepared already, or one that has gone. Lives in the
 * batch. */
typedef struct pipeline_delivery {
    size_t endpoint;
    bool dropped;    /* resolved before anything was sent */
    bool was_parked; /* the row had been given up before */
    bool prepared;   /* its intent is stored, and this is the message */
    delivery row;
    pipeline_sendable message;
} pipeline_delivery;

typedef struct pipeline_prepared {
    uint64_t ticket;
    bool gone;   /* nothing to send (any more), or wanted anew: then it has another place */
    bool parked; /* gone, and never to be sent; row says why */
    delivery row;
    pipeline_sendable message;
} pipeline_prepared;

/* For the alerts topic. value.p NULL: nothing is said any more. */
typedef struct pipeline_saying {
    og_str key, value;
} pipeline_saying;

/* For the records topic, or for the shared one: written again because an outdated one stands behind
 * it, or an errand. Done when pipeline_sent comes back with row and mark. */
typedef struct pipeline_outgoing {
    og_str key, value; /* value.p NULL: with GRAVE_HEADER */
    og_str route;      /* its hash is the partition; empty: the batch's own */
    og_str row;
    int64_t mark; /* PIPELINE_ERRAND: row is an errand's */
} pipeline_outgoing;

#define PIPELINE_ERRAND (-1)

typedef struct pipeline_sent {
    og_str row;
    int64_t mark;
} pipeline_sent;

typedef struct pipeline_counts {
    uint64_t applied, same, stale, outdated, bad, evaluations, evaluation_failures, opened, changed,
        resolved, answered, reviews, taken_over, deferred, withheld, joined, placed, unplaced,
        shared_changed;
    uint64_t shared_lost;               /* the shared topic ends before where it was read to */
    uint64_t forgotten;                 /* tombstones */
    uint64_t rules_asked, rules_spared; /* by all evaluations together */
    uint64_t backfills;                 /* patients that are wanted, or fetched, since this batch */
    merge_counts merges;
} pipeline_counts;

typedef struct pipeline_failure { /* a rule that failed, or (rule empty) a whole evaluation */
    og_str rule, patient;
    og_error error;
} pipeline_failure;

typedef struct pipeline_event { /* what became of an alert; for metrics */
    og_str rule, reason;        /* reason: of an override, may be empty */
    bool shown;                 /* opened: a call has shown it, no alert (shown.h) */
    plan_change_kind kind;
    plan_answer answer; /* PLAN_ANSWERED */
    int64_t action_us;  /* from its last change to the first answer; -1: none */
} pipeline_event;

#define PIPELINE_MAX_FAILURES 32
#define PIPELINE_MAX_OUTGOING 100
#define PIPELINE_MAX_PATIENTS                                                                      \
    200 /* woken by timers, by shared resources or by new content, per batch */

typedef enum pipeline_loss {
    PIPELINE_LOST_NOTHING,
    PIPELINE_LOST_RECORDS,
    PIPELINE_LOST_SHARED,
    PIPELINE_LOST_UNREAD,   /* perhaps: newer versions, before which compaction found older ones */
    PIPELINE_LOST_ELSEWHERE /* another partition has lost something, maybe another instance's */
} pipeline_loss;

/* Losses have the time when somebody saw them as their name. */
typedef struct pipeline_losses {
    int64_t lost_ms;   /* the newest that anybody speaks of; 0: none */
    int64_t filled_ms; /* up to this one all that the sources have has come here again */
    int64_t new_ms;    /* the name of one that is found now */
} pipeline_losses;

typedef struct pipeline_batch {
    /* in */
    const pipeline_setup *setup;
    const plan_content *content;
    store *store, *shared;
    const pipeline_message *messages;
    size_t message_count;
    int64_t next_offset;      /* of the partition after these messages; -1: unchanged */
    size_t max_patients;      /* woken by other things than messages; 0: PIPELINE_MAX_PATIENTS */
    const said_message *said; /* what other owners have said */
    size_t said_count;
    int64_t said_offset, said_claim; /* of the alerts topic after these; 0: unchanged */
    const pipeline_task *tasks;
    size_t task_count;
    const pipeline_sent *sent; /* of the outgoing before */
    size_t sent_count;
    delivery_more more; /* no patients: none are wanted; all tasks that there are must be here */
    bool send;          /* outgoing ones are wanted */
    size_t room;        /* so many records of the alerts topic may be prepared as soon as they are
                           wanted; counted down. The others wait for their tasks, as cards do */
    int64_t now_ms;     /* the daemon's clock: as-of time of all evaluations */
    int64_t real_ms;    /* the real one: the log's timestamps are compared with it */
    int offset_min;     /* of the site at that time */
    int64_t steady_ms;  /* the machine's steady clock: how long a patient has been quiet */
    bool gated;         /* it is not known that all data up to now are here */
    bool unread;        /* nobody has read the partition for longer than compaction waits */
    bool behind;        /* more messages wait, of the partition or of the shared topic */
    pipeline_losses losses;
    bool restoring; /* catching up: note who is to be evaluated, evaluate later */
    /* Arenas, reset by pipeline_run; results live in `results` until its next reset. patient: its
     * ceiling is the memory that one patient's evaluation may take. */
    og_arena *results, *scratch, *patient;
    /* out */
    og_status status; /* anything but OG_OK: nothing was changed, error says why */
    og_error error;
    bool shared_damaged; /* OG_CORRUPT: the shared store is, not this partition's */
    pipeline_counts counts;
    const pipeline_delivery *deliveries;
    size_t delivery_count;
    const pipeline_prepared *prepared;
    size_t prepared_count;
    const delivery *stored; /* those of `more`, as this batch leaves them */
    size_t stored_count;
    og_str stored_last; /* whose the last ones are, or would be */
    bool stored_end;    /* there are none behind them */
    uint64_t rows;      /* of deliveries that wait, or were given up */
    const pipeline_saying *sayings;
    size_t saying_count;
    const pipeline_outgoing *outgoing;
    size_t outgoing_count;
    uint64_t outgoing_left; /* in the store, these included */
    /* Patients were found who have alerts but no record, not even a deleted one: the records topic
     * has lost them. Or the shared topic ends before where this partition has seen it. Or it was
     * unread. Or another partition has found such a thing, and so much came from the same sources.
     * Nothing is withdrawn for that, and nothing else until losses.filled_ms gets there. */
    pipeline_loss lost;
    int64_t lost_since_ms; /* the loss that it is marked for */
    const pipeline_event *events;
    size_t event_count;
    pipeline_failure failures[PIPELINE_MAX_FAILURES];
    size_t failure_count;
    const int64_t *evaluation_us; /* of each evaluation */
    int64_t next_due_ms;          /* the partition's next review; 0: none */
    uint64_t dirty;               /* patients that wait for an evaluation */
    waiting_rest waiting;         /* those among them whose events have not ceased */
    bool sweeping;                /* new content has not yet seen all patients */
    uint64_t swept; /* patients that new content (or new endpoints) has seen so far; 0: none is */
    uint64_t swept_now; /* of these in this batch */
} pipeline_batch;

/* Runs it; the result is in the batch. */
void pipeline_run(pipeline_batch *b);

/* A batch of the shared topic: applies it to `shared`. counts.shared_changed: resources that are
 * others than before. Who refers to them is found by the next batch of each partition, however much
 * later it comes: the partition may be closed, or somebody else's, when they change. */
void pipeline_run_shared(pipeline_batch *b);

#endif
