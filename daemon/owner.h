/* The owner of partitions: their messages wait here for a batch, batches run in the worker pool, of
 * several partitions at once, and what they found goes on from here. Loop thread only, but for the
 * batches themselves (pipeline.c).
 *
 * A partition is first restored: up to the end that its topic had at the start its records are only
 * applied, and what its owners before have said is taken over; then every patient touched is
 * evaluated once. After that the partition is settled: each batch evaluates whom it touched, and
 * what it found may be told. */
#ifndef OG_DAEMON_OWNER_H
#define OG_DAEMON_OWNER_H

#include <uv.h>

#include "connectors/connector.h"
#include "daemon/clock.h"
#include "daemon/pipeline.h"

typedef struct owner owner;

#define OWNER_SHARED (-1) /* in place of a partition: the shared topic */

typedef struct owner_sweep { /* everybody is evaluated, because content or endpoints are new */
    uint64_t patients;
    uint64_t opened, changed, resolved; /* meanwhile; by events too */
} owner_sweep;

typedef struct owner_options {
    uv_loop_t *loop;
    const pipeline_setup *setup;
    const og_clock *clock;
    int batches; /* that run at once; 0: one */
    size_t batch_records;
    int64_t batch_wait_ms;
    size_t arena_bytes;      /* of the results of a batch, and of its scratch */
    size_t evaluation_bytes; /* memory that one patient's evaluation may take */
    int partitions;
    void *ctx;
    /* So many records of the alerts topic may be prepared in the batch that finds them
     * (pipeline_batch.room). NULL: none. */
    size_t (*room)(void *ctx, int partition);
    void (*on_delivery)(void *ctx, int partition, const pipeline_delivery *d);
    /* Whether there is room for rows of deliveries that nobody has but the store, and which; they
     * come with the next batch, behind what it wants told itself. on_stored false: no memory; they
     * are read again after a while. May both be NULL. */
    bool (*more)(void *ctx, int partition, delivery_more *ret);
    bool (*on_stored)(void *ctx, int partition, const pipeline_batch *b);
    void (*on_prepared)(void *ctx, int partition, const pipeline_prepared *p);
    void (*on_saying)(void *ctx, int partition, const pipeline_saying *s);
    /* A record for the topic of this partition, once more; number is told by owner_sent. NULL: none
     * are written. */
    void (*on_outgoing)(void *ctx, int partition, uint64_t number, const pipeline_outgoing *o);
    /* Every patient has been evaluated after the restore: the rows in the store are what is to be
     * sent, and from now on on_delivery comes. NULL: nobody else owns partitions, no claim is
     * waited for, and on_delivery comes from the first evaluation on. */
    void (*on_settled)(void *ctx, int partition);
    /* New content, or new endpoints, have seen every patient of the partition: how many these are,
     * and what became of alerts meanwhile. May be NULL. */
    void (*on_swept)(void *ctx, int partition, const owner_sweep *sweep);
    /* As on_pause, for what others have said. May be NULL. */
    void (*on_said_pause)(void *ctx, int partition, bool pause);
    /* Whether all that happened is known to have been read up to the newest message given to
     * owner_message. NULL: always. */
    bool (*is_current)(void *ctx, int partition);
    /* What a partition finds lost (pipeline_batch.lost), and by what loss that is marked. Comes
     * with every batch that may evaluate, until losses says that the sources have been read again
     * since. May both be NULL. */
    void (*on_lost)(void *ctx, int partition, pipeline_loss what, int64_t since_ms);
    pipeline_losses (*losses)(void *ctx, int partition);
    /* Data of further patients are wanted, or those of some are there (backfill.h). May be NULL. */
    void (*on_backfill)(void *ctx, int partition);
    /* Too much (or little enough again) waits for this partition. */
    void (*on_pause)(void *ctx, int partition, bool pause);
    /* The store of this partition cannot be trusted any more; nothing of it is touched until
     * owner_set_store. */
    void (*on_damaged)(void *ctx, int partition, const og_error *err);
} owner_options;

owner *owner_new(const owner_options *options, const plan_content *content); /* NULL: no memory */
/* No batch may be running (owner_busy). Accepts NULL; the stores stay the caller's. */
void owner_free(owner *o);

/* The store that a partition (or OWNER_SHARED) uses, and how much of the topic is in it. NULL: none
 * for now. No batch of it may be running. What waits is forgotten: only owner_assign opens the
 * partition, and its messages have to come again from next_offset on. */
void owner_set_store(owner *o, int partition, store *s, int64_t next_offset);
/* Another content from the next batch on. The old one is in use until the last batch that began
 * with it ends: released is called (from the loop) when nobody uses it any more, and no further
 * content may come before that. */
void owner_set_content(owner *o, const plan_content *content,
                       void (*released)(void *ctx, const plan_content *old), void *ctx);

/* The partition is ours; its topic ended at end_offset when that was asked (INT64_MAX: not known,
 * owner_end tells). */
void owner_assign(owner *o, int partition, int64_t end_offset);
/* Where its topic ended when it was assigned. */
void owner_set_end(owner *o, int partition, int64_t end_offset);
/* It is no longer ours: what waits is forgotten, but for tasks. */
void owner_revoke(owner *o, int partition);
/* One message; copied. */
void owner_message(owner *o, int partition, const conn_message *m);
/* The end of the topic was reached: restoring ends with what waits now. */
void owner_end(owner *o, int partition);
/* A record of the alerts topic that another owner wrote; copied. next_offset, claim: of the topic
 * behind it. */
void owner_said(owner *o, int partition, const said_message *m, int64_t next_offset, int64_t claim);
/* The alerts topic was read up to there, without a word that matters. */
void owner_said_nothing(owner *o, int partition, int64_t next_offset, int64_t claim);
/* Our claim was read back: all that others said before it has been handed over. */
void owner_claimed(owner *o, int partition);
/* The claim does not hold any more: the partition is not evaluated until the next one. */
void owner_unclaim(owner *o, int partition);
/* What became of an outgoing record: it is in the topic, or it has to be written once more. */
void owner_sent(owner *o, int partition, uint64_t number, bool there);
/* Something to be done to a delivery's row; copied. false: no memory, it is not done. */
OG_MUSTCHECK bool owner_task(owner *o, int partition, const pipeline_task *task);
/* A review of this partition is due, or something else is to be looked after. */
void owner_wake(owner *o, int partition);
void owner_wake_all(owner *o);

/* Begins batches where there is work; to be called once per turn of the loop. */
void owner_run(owner *o);
/* Any batch is running. */
bool owner_busy(const owner *o);
/* From now on no batch begins, until it is told otherwise: for whoever needs that none is running.
 */
void owner_rest(owner *o, bool rest);
/* From now on only tasks (outcomes of deliveries) are worked off. */
void owner_stop(owner *o);
/* Nothing runs and nothing waits that would run. */
bool owner_idle(const owner *o);
/* When owner_run may find work that it does not find now (a batch that waits, a retry), on
 * clock_monotonic_us / 1000; INT64_MAX: never. */
int64_t owner_next_ms(const owner *o);

typedef struct owner_state {
    bool assigned, restored, claimed, settled;
    bool running;           /* a batch of it is under way, or one of the shared topic */
    int64_t end_offset;     /* restored when next_offset gets there; INT64_MAX: not known */
    int64_t next_offset;    /* what is in the store */
    int64_t next_due_ms;    /* next review; 0: none */
    uint64_t dirty;         /* patients that wait for an evaluation */
    uint64_t ceasing;       /* those among them whose events have not ceased */
    int64_t ceasing_offset; /* of the earliest event of these; INT64_MAX: there is none */
    bool sweeping;          /* new content has not yet seen all patients */
    uint64_t swept;         /* how many it has seen; stays when it is over */
    bool failing;           /* its last batch failed; it is repeated */
    bool lost;              /* has lost records, and they have not been read again */
    size_t waiting;         /* messages */
    size_t tasks;
    uint64_t rows; /* of deliveries that wait, or were given up */
} owner_state;
owner_state owner_get(const owner *o, int partition);
/* All assigned partitions are restored, and the shared topic was read to its end. */
bool owner_restored(const owner *o);

#endif
