/* New content, or new endpoints: all patients are evaluated once more, a slice in each batch. */
#include "daemon/pipeline_private.h"

/* What all patients were evaluated with, and who was told: the content's digest, when alerts count
 * as ignored, and the endpoints' names, with what they take. */
static og_str sweep_mark(const run *r)
{
    const pipeline_setup *setup = r->b->setup;
    og_str mark =
        og_arena_printf(r->b->results, "%s ignored %lld", plan_content_digest(r->b->content),
                        (long long)setup->feedback.ignored_days);
    for (size_t i = 0; i < setup->endpoint_count && mark.p != NULL; i++) {
        const delivery_endpoint *ep = &setup->endpoints[i];
        bool all = ep->sender == NULL || ep->sender[0] == '\0';
        mark = og_arena_printf(r->b->results, "%.*s %s%s%s%s", OG_STR_ARG(mark), ep->name,
                               ep->worklist ? "+worklist" : "", all ? "" : " of ",
                               all ? "" : ep->sender);
    }
    return mark;
}

/* Another content, or other endpoints: all patients come again, a slice per batch. */
static og_status begin_sweep(run *r, bool *ret_sweeping, og_error *err)
{
    og_str stored, cursor;
    og_str mark = sweep_mark(r);
    if (mark.p == NULL)
        return pipeline__no_memory(err);
    og_status status = store_meta(r->txn, STORE_DIGEST, &stored, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    if (status == OG_OK && og_str_eq(stored, mark)) {
        status = store_meta(r->txn, STORE_SWEEP, &cursor, err);
        *ret_sweeping = status == OG_OK;
        return status == OG_NOTFOUND ? OG_OK : status;
    }
    *ret_sweeping = true;
    TRY(store_set_meta(r->txn, STORE_DIGEST, mark, err));
    TRY(store_set_meta_int(r->txn, STORE_SWEPT, 0, err));
    return store_set_meta(r->txn, STORE_SWEEP, OG_STR(""), err);
}

og_status pipeline__wake_for_content(run *r, og_error *err)
{
    og_str cursor;
    const og_str *patients;
    size_t count;
    int64_t swept;
    bool sweeping = false;
    TRY(begin_sweep(r, &sweeping, err));
    if (!sweeping)
        return OG_OK;
    TRY(store_meta(r->txn, STORE_SWEEP, &cursor, err));
    cursor = og_arena_str(r->b->results, cursor);
    TRY(store_all_patients(r->txn, r->b->results, cursor, pipeline__most(r), &patients, &count,
                           err));
    TRY(pipeline__touch_list(r, patients, count, true, err));
    TRY(pipeline__meta_int_or(r->txn, STORE_SWEPT, 0, &swept, err));
    TRY(store_set_meta_int(r->txn, STORE_SWEPT, swept + (int64_t)count, err));
    r->b->swept = (uint64_t)swept + count;
    r->b->swept_now = count;
    r->b->sweeping = count == pipeline__most(r);
    if (r->b->sweeping)
        return store_set_meta(r->txn, STORE_SWEEP, patients[count - 1], err);
    return kv_delete(r->txn, STORE_META, OG_STR(STORE_SWEEP), err);
}
