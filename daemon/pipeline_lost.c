/* Records that are gone. What is deleted leaves a tombstone; alerts without any row were lost, with
 * the topic or by whoever emptied it. Versions may be lost as well, when the partition stood unread
 * for longer than compaction waits: of two in the wrong order it keeps the older. What one
 * partition has lost another may lack as well without showing it, when nobody there has alerts yet:
 * a loss is everybody's (serve_loss.c). From then on nothing is withdrawn, and nothing called
 * missing, until the sources have been read again: the mark in the store outlives the process. */
#include "daemon/pipeline_private.h"

static const char *const marks[] = {/* values of STORE_LOST */
                                    [PIPELINE_LOST_RECORDS] = "1",
                                    [PIPELINE_LOST_SHARED] = "shared",
                                    [PIPELINE_LOST_UNREAD] = "unread",
                                    [PIPELINE_LOST_ELSEWHERE] = "elsewhere"};

static pipeline_loss read_mark(og_str mark)
{
    for (int i = PIPELINE_LOST_SHARED; i <= PIPELINE_LOST_ELSEWHERE; i++)
        if (og_str_is(mark, marks[i]))
            return (pipeline_loss)i;
    return PIPELINE_LOST_RECORDS;
}

/* It joins what is known to be lost already, here or elsewhere. */
og_status pipeline__note_lost(run *r, pipeline_loss what, og_error *err)
{
    pipeline_batch *b = r->b;
    const pipeline_losses *l = &b->losses;
    b->lost = what;
    if (b->lost_since_ms == 0) {
        b->lost_since_ms = l->lost_ms > l->filled_ms ? l->lost_ms : l->new_ms;
        TRY(store_set_meta_int(r->txn, STORE_LOST_SINCE, b->lost_since_ms, err));
    }
    return store_set_meta(r->txn, STORE_LOST, og_str_of(marks[what]), err);
}

/* ---- patients ---- */

typedef struct missing { /* a patient without records */
    const plan_alert *alerts;
    size_t count;
    bool lost;        /* there are open alerts among them */
    int64_t since_ms; /* the loss that they are missed since; 0: nobody has seen it before */
} missing;

static og_status look_for(run *r, og_str patient, missing *ret, og_error *err)
{
    bool known;
    *ret = (missing){.lost = false};
    TRY(store_knows(r->txn, patient, &known, err));
    if (known)
        return OG_OK;
    og_arena_reset(r->b->scratch);
    TRY(store_alerts(r->txn, r->b->scratch, patient, &ret->alerts, &ret->count, err));
    for (size_t i = 0; i < ret->count; i++) {
        ret->lost |= ret->alerts[i].state == PLAN_ALERT_ACTIVE;
        if (ret->alerts[i].lost_ms > ret->since_ms)
            ret->since_ms = ret->alerts[i].lost_ms;
    }
    return OG_OK;
}

/* Each open alert says since when: on the alerts topic, so that whoever owns the patient knows. */
static og_status set_lost(run *r, og_str patient, const plan_alert *alerts, size_t count,
                          int64_t loss_ms, og_error *err)
{
    for (size_t i = 0; i < count; i++) {
        plan_alert alert = alerts[i];
        if (alert.state != PLAN_ALERT_ACTIVE && alert.lost_ms == 0)
            continue;
        alert.lost_ms = loss_ms;
        TRY(pipeline__keep_alert(r, patient, &alert, err));
    }
    return OG_OK;
}

/* What is missed since a loss for which the sources have been read again is not there, and is not
 * looked for once more. */
static og_status was_sought(run *r, const missing *m, bool *ret, og_error *err)
{
    int64_t filled_ms;
    TRY(pipeline__meta_int_or(r->txn, STORE_FILLED, 0, &filled_ms, err));
    if (r->b->losses.filled_ms > filled_ms)
        filled_ms = r->b->losses.filled_ms;
    *ret = m->since_ms != 0 && m->since_ms <= filled_ms;
    return OG_OK;
}

/* All of the batch before one is evaluated: nothing is withdrawn as soon as one is lost. */
og_status pipeline__find_lost(run *r, og_error *err)
{
    for (uint32_t i = 0; i < r->touched.count; i++) {
        touch *t = r->touched.entries[i].value;
        og_str patient = r->touched.entries[i].key;
        missing m;
        bool sought;
        TRY(look_for(r, patient, &m, err));
        t->lost = m.lost;
        r->b->counts.withheld += m.lost;
        if (!m.lost)
            continue;
        TRY(was_sought(r, &m, &sought, err));
        if (!sought)
            TRY(pipeline__note_lost(r, PIPELINE_LOST_RECORDS, err));
        if (m.since_ms == 0)
            TRY(set_lost(r, patient, m.alerts, m.count, r->b->lost_since_ms, err));
    }
    return OG_OK;
}

og_status pipeline__find_again(run *r, og_str patient, const plan_alert *alerts, size_t count,
                               bool *ret, og_error *err)
{
    *ret = false;
    for (size_t i = 0; i < count; i++)
        *ret |= alerts[i].lost_ms != 0;
    return *ret ? set_lost(r, patient, alerts, count, 0, err) : OG_OK;
}

/* ---- partitions ---- */

static og_status forget_lost(run *r, int64_t since_ms, og_error *err)
{
    TRY(kv_delete(r->txn, STORE_META, OG_STR(STORE_LOST), err));
    TRY(kv_delete(r->txn, STORE_META, OG_STR(STORE_LOST_SINCE), err));
    return store_set_meta_int(r->txn, STORE_FILLED, since_ms, err);
}

/* What was lost before is lost until the sources have been read again. */
og_status pipeline__remember_lost(run *r, og_error *err)
{
    pipeline_batch *b = r->b;
    const pipeline_losses *l = &b->losses;
    og_str mark;
    int64_t since_ms;
    og_status status = store_meta(r->txn, STORE_LOST, &mark, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    bool told = l->lost_ms > l->filled_ms;
    if (status == OG_NOTFOUND && !b->unread && !told)
        return OG_OK;
    pipeline_loss what = b->unread         ? PIPELINE_LOST_UNREAD
                         : status == OG_OK ? read_mark(mark)
                                           : PIPELINE_LOST_ELSEWHERE;
    TRY(pipeline__meta_int_or(r->txn, STORE_LOST_SINCE, 0, &since_ms, err));
    if (told && l->lost_ms > since_ms) {
        since_ms = l->lost_ms;
        TRY(store_set_meta_int(r->txn, STORE_LOST_SINCE, since_ms, err));
    }
    if (!b->unread && !b->behind && since_ms != 0 && since_ms <= l->filled_ms)
        return forget_lost(r, since_ms, err);
    b->lost_since_ms = since_ms;
    return pipeline__note_lost(r, what, err);
}
