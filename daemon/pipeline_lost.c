/* Records that are gone. What is deleted leaves a tombstone; alerts without any row were lost, with
 * the topic or by whoever emptied it. From then on nothing is withdrawn in the partition until the
 * sources have been read again: the mark in the store outlives the process. */
#include "daemon/pipeline_private.h"

#define LOST        "1" /* values of STORE_LOST: records */
#define LOST_SHARED "shared"

og_status pipeline__note_lost(run *r, bool shared, og_error *err)
{
    r->b->lost = true;
    r->b->lost_shared = shared;
    return store_set_meta(r->txn, STORE_LOST, og_str_of(shared ? LOST_SHARED : LOST), err);
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
            TRY(pipeline__note_lost(r, false, err));
    }
    return OG_OK;
}

/* What was lost before is lost until the sources have been read again. */
og_status pipeline__remember_lost(run *r, og_error *err)
{
    og_str mark;
    og_status status = store_meta(r->txn, STORE_LOST, &mark, err);
    if (status != OG_OK)
        return status == OG_NOTFOUND ? OG_OK : status;
    r->b->lost = !r->b->refilled;
    r->b->lost_shared = og_str_is(mark, LOST_SHARED);
    return r->b->lost ? OG_OK : kv_delete(r->txn, STORE_META, OG_STR(STORE_LOST), err);
}
