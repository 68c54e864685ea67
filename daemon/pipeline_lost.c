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

og_status pipeline__note_lost(run *r, pipeline_loss what, og_error *err)
{
    r->b->lost = what;
    return store_set_meta(r->txn, STORE_LOST, og_str_of(marks[what]), err);
}

static og_status is_lost(run *r, og_str patient, bool *ret, og_error *err)
{
    const plan_alert *alerts;
    size_t count;
    bool known;
    *ret = false;
    TRY(store_knows(r->txn, patient, &known, err));
    if (known)
        return OG_OK;
    og_arena_reset(r->b->scratch);
    TRY(store_alerts(r->txn, r->b->scratch, patient, &alerts, &count, err));
    for (size_t i = 0; i < count; i++)
        *ret |= alerts[i].state == PLAN_ALERT_ACTIVE;
    return OG_OK;
}

/* All of the batch before one is evaluated: nothing is withdrawn as soon as one is lost. */
og_status pipeline__find_lost(run *r, og_error *err)
{
    for (uint32_t i = 0; i < r->touched.count; i++) {
        touch *t = r->touched.entries[i].value;
        TRY(is_lost(r, r->touched.entries[i].key, &t->lost, err));
        r->b->counts.withheld += t->lost;
        if (t->lost)
            TRY(pipeline__note_lost(r, PIPELINE_LOST_RECORDS, err));
    }
    return OG_OK;
}

static og_status forget_lost(run *r, int64_t since_ms, og_error *err)
{
    TRY(kv_delete(r->txn, STORE_META, OG_STR(STORE_LOST), err));
    TRY(kv_delete(r->txn, STORE_META, OG_STR(STORE_LOST_SINCE), err));
    return store_set_meta_int(r->txn, STORE_FILLED, since_ms, err);
}

/* What was lost before is lost until the sources have been read again. A mark of which nobody knows
 * yet when it was made joins the newest loss that is known. */
og_status pipeline__remember_lost(run *r, og_error *err)
{
    pipeline_batch *b = r->b;
    og_str mark;
    int64_t since_ms;
    og_status status = store_meta(r->txn, STORE_LOST, &mark, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    bool told = b->lost_ms > b->filled_ms;
    if (status == OG_NOTFOUND && !b->unread && !told)
        return OG_OK;
    b->lost = b->unread         ? PIPELINE_LOST_UNREAD
              : status == OG_OK ? read_mark(mark)
                                : PIPELINE_LOST_ELSEWHERE;
    TRY(pipeline__meta_int_or(r->txn, STORE_LOST_SINCE, 0, &since_ms, err));
    if (b->lost_ms > since_ms) {
        since_ms = b->lost_ms;
        TRY(store_set_meta_int(r->txn, STORE_LOST_SINCE, since_ms, err));
    }
    if (!b->unread && !b->behind && since_ms != 0 && since_ms <= b->filled_ms) {
        b->lost = PIPELINE_LOST_NOTHING;
        return forget_lost(r, since_ms, err);
    }
    b->lost_since_ms = since_ms;
    return pipeline__note_lost(r, b->lost, err);
}
