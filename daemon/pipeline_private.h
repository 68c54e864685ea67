/* What the files of the pipeline share: one run, and the steps that pipeline.c puts in order. All
 * run in the batch's thread, inside its transaction; none commits. */
#ifndef OG_DAEMON_PIPELINE_PRIVATE_H
#define OG_DAEMON_PIPELINE_PRIVATE_H

#include "daemon/pipeline.h"
#include "daemon/shown.h"
#include "fhir/base/table.h"

/* One run: the batch, its transactions, and lists that grow in the batch' arenas. */
typedef struct run {
    pipeline_batch *b;
    store_txn *txn, *shared;
    bool of_shared;   /* the batch is one of the shared topic */
    og_table touched; /* patient → struct touch */
    pipeline_delivery *deliveries;
    size_t delivery_cap;
    og_str line_patient; /* of whom line_free is known; see may_prepare */
    bool line_free;
    pipeline_saying *sayings;
    size_t saying_cap;
    pipeline_prepared *prepared;
    int64_t *evaluation_us;
    size_t evaluation_cap;
    pipeline_event *events;
    size_t event_cap;
} run;

typedef struct touch {
    int64_t cause_ms; /* earliest timestamp of the events that touched the patient; 0: none did */
    bool tell;        /* also what stays as it is has to be told, where it was not */
    bool lost;        /* there are alerts, but no record */
} touch;

#define TRY(call)                                                                                  \
    do {                                                                                           \
        og_status try_status = (call);                                                             \
        if (try_status != OG_OK)                                                                   \
            return try_status;                                                                     \
    } while (0)

static inline og_status pipeline__no_memory(og_error *err)
{
    return og_fail(err, OG_NOMEM, "no memory for a batch");
}

/* Patients of one batch that something else than messages wakes. */
static inline size_t pipeline__most(const run *r)
{
    size_t max = r->b->max_patients;
    return max > 0 && max < PIPELINE_MAX_PATIENTS ? max : PIPELINE_MAX_PATIENTS;
}

/* ---- pipeline.c ---- */

/* The patient is evaluated in this batch. cause_ms, tell: as in touch; 0, false: nothing new. */
OG_MUSTCHECK og_status pipeline__touch(run *r, og_str patient, int64_t cause_ms, bool tell,
                                       og_error *err);
/* The same for each of a list. */
OG_MUSTCHECK og_status pipeline__touch_list(run *r, const og_str *patients, size_t count, bool tell,
                                            og_error *err);
/* Copied; beyond PIPELINE_MAX_FAILURES they are not kept. */
void pipeline__note_failure(pipeline_batch *b, og_str rule, og_str patient, const og_error *error);
/* store_meta_int, or `other` where it is not set. */
OG_MUSTCHECK og_status pipeline__meta_int_or(store_txn *t, const char *name, int64_t other,
                                             int64_t *ret, og_error *err);
/* What became of an alert, for metrics; answered_before: what had been said of it. Copied. */
OG_MUSTCHECK og_status pipeline__note_event(run *r, const plan_change *change,
                                            plan_answer answered_before, og_error *err);

/* ---- pipeline_said.c ---- */

/* For the alerts topic. key.p NULL: there was no memory for it. Both live in the batch. */
OG_MUSTCHECK og_status pipeline__say(run *r, og_str key, og_str value, og_error *err);
/* All that the batch brings from the alerts topic, and how far it goes. */
OG_MUSTCHECK og_status pipeline__take_over_all(run *r, og_error *err);
/* What is over of what calls have shown: in the store, and on the topic. */
OG_MUSTCHECK og_status pipeline__forget_shown(run *r, og_str patient, const shown_list *shown,
                                              og_error *err);

/* The alert is kept so, and the alerts topic is told; nobody else is. */
OG_MUSTCHECK og_status pipeline__keep_alert(run *r, og_str patient, const plan_alert *alert,
                                            og_error *err);

/* ---- pipeline_apply.c ---- */

/* All messages of the batch, and how far they go. */
OG_MUSTCHECK og_status pipeline__apply_all(run *r, og_error *err);

/* ---- pipeline_lost.c ---- */

/* What an earlier batch found lost, or the owner knows to be unread, is lost until the sources have
 * been read again. */
OG_MUSTCHECK og_status pipeline__remember_lost(run *r, og_error *err);
/* Records are gone from the partition, or (shared) from the shared topic. */
OG_MUSTCHECK og_status pipeline__note_lost(run *r, pipeline_loss what, og_error *err);
/* Marks those among the touched who have alerts but no record. Before anybody is evaluated. */
OG_MUSTCHECK og_status pipeline__find_lost(run *r, og_error *err);
/* This patient has records: alerts of theirs that say otherwise say so no more. *ret: some did, and
 * are to be read again. */
OG_MUSTCHECK og_status pipeline__find_again(run *r, og_str patient, const plan_alert *alerts,
                                            size_t count, bool *ret, og_error *err);

/* ---- pipeline_sweep.c ---- */

/* Touches the next patients who have not been seen with this content and these endpoints. */
OG_MUSTCHECK og_status pipeline__wake_for_content(run *r, og_error *err);

/* ---- pipeline_tasks.c ---- */

/* What the outbox gets of a row whose intent is stored. */
OG_MUSTCHECK og_status pipeline__message(run *r, const delivery_endpoint *ep, const delivery *row,
                                         const delivery_message *m, pipeline_sendable *ret,
                                         og_error *err);
/* Intents and outcomes of deliveries. */
OG_MUSTCHECK og_status pipeline__do_tasks(run *r, og_error *err);
/* Reads what the outbox has room for, as the batch leaves it. */
OG_MUSTCHECK og_status pipeline__read_stored(run *r, og_error *err);
/* Takes away what has been sent, and lists what is to be sent next. */
OG_MUSTCHECK og_status pipeline__send_outgoing(run *r, og_error *err);

#endif
