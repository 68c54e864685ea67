/* Records that are gone. What is deleted leaves a tombstone; alerts without any row were lost, with
 * the topic or by whoever emptied it. Versions may be lost as well, when the partition stood unread
 * for longer than compaction waits: of two in the wrong order it keeps the older. From then on
 * nothing is withdrawn in the partition until the sources have been read again: the mark in the
 * store outlives the process. */
#include "daemon/pipeline_private.h"

static const char *const marks[] = {/* values of STORE_LOST */
                                    [PIPELINE_LOST_RECORDS] = "1",
                                    [PIPELINE_LOST_SHARED] = "shared",
                                    [PIPELINE_LOST_UNREAD] = "unread"};

static pipeline_loss read_mark(og_str mark)
{
    return og_str_is(mark, marks[PIPELINE_LOST_SHARED])   ? PIPELINE_LOST_SHARED
           : og_str_is(mark, marks[PIPELINE_LOST_UNREAD]) ? PIPELINE_LOST_UNREAD
                                                          : PIPELINE_LOST_RECORDS;
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

/* What was lost before is lost until the sources have been read again. */
og_status pipeline__remember_lost(run *r, og_error *err)
{
    og_str mark;
    og_status status = store_meta(r->txn, STORE_LOST, &mark, err);
    if (r->b->unread)
        return pipeline__note_lost(r, PIPELINE_LOST_UNREAD, err);
    if (status != OG_OK)
        return status == OG_NOTFOUND ? OG_OK : status;
    if (r->b->refilled)
        return kv_delete(r->txn, STORE_META, OG_STR(STORE_LOST), err);
    r->b->lost = read_mark(mark);
    return OG_OK;
}
