/* What goes out beside the alerts: what the outbox wants of the rows of deliveries, and records
 * that are to be written to a topic. */
#include "daemon/pipeline_private.h"

#include "daemon/errand.h"

#define MAX_ROWS 4096 /* of deliveries that a batch reads for the outbox, more or less */

static og_status settle(run *r, const delivery_endpoint *ep, const pipeline_task *task,
                        og_error *err)
{
    pipeline_batch *b = r->b;
    delivery told = {.endpoint = og_str_of(ep->name), .patient = task->patient};
    og_str row;
    og_status status = delivery_settle(r->txn, b->results, ep, task->patient, task->alert_id,
                                       &task->outcome, &row, err);
    if (status != OG_OK)
        return status == OG_NOTFOUND ? OG_OK : status;
    if (ep->is_topic || row.p == NULL)
        return OG_OK;
    /* The receipt: whoever comes after us must not say it again. */
    memcpy(told.alert_id, task->alert_id, sizeof told.alert_id);
    return pipeline__say(r, said_delivery_key(b->results, og_str_of(b->setup->tenant), &told), row,
                         err);
}

/* Wanted anew since the outbox began with it: its new place is behind what the patient's endpoint
 * is to hear first; sent now, it would overtake that. Or given up since it was read (outbox_take).
 */
static og_status is_gone(run *r, const delivery_endpoint *ep, const pipeline_task *task, bool *ret,
                         og_error *err)
{
    delivery now;
    og_status status = delivery_get(r->txn, r->b->results, og_str_of(ep->name), task->patient,
                                    task->alert_id, &now, err);
    *ret = status == OG_OK &&
           (now.sequence != task->sequence || (now.state == DELIVERY_PARKED && !task->given_up));
    return status == OG_NOTFOUND ? OG_OK : status;
}

og_status pipeline__message(run *r, const delivery_endpoint *ep, const delivery *row,
                            const delivery_message *m, pipeline_sendable *ret, og_error *err)
{
    const pipeline_batch *b = r->b;
    *ret = (pipeline_sendable){.body = m->body, .key = m->key};
    if (ep->is_topic)
        return OG_OK;
    ret->said_key = said_delivery_key(b->results, og_str_of(b->setup->tenant), row);
    ret->said_value = m->row;
    return ret->said_key.p != NULL ? OG_OK : pipeline__no_memory(err);
}

static og_status do_task(run *r, const pipeline_task *task, og_error *err)
{
    pipeline_batch *b = r->b;
    const delivery_endpoint *ep = &b->setup->endpoints[task->endpoint];
    if (task->settle)
        return settle(r, ep, task, err);
    pipeline_prepared p = {.ticket = task->ticket};
    TRY(is_gone(r, ep, task, &p.gone, err));
    if (p.gone) {
        r->prepared[b->prepared_count++] = p;
        return OG_OK;
    }
    delivery_message m;
    og_status status = delivery_prepare(r->txn, b->results, ep, og_str_of(b->setup->tenant),
                                        task->patient, task->alert_id, &p.row, &m, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    p.parked = status == OG_OK && p.row.state == DELIVERY_PARKED;
    p.gone = status == OG_NOTFOUND || p.parked;
    if (status == OG_OK)
        TRY(pipeline__message(r, ep, &p.row, &m, &p.message, err));
    r->prepared[b->prepared_count++] = p;
    return OG_OK;
}

og_status pipeline__do_tasks(run *r, og_error *err)
{
    pipeline_batch *b = r->b;
    if (b->task_count == 0)
        return OG_OK;
    r->prepared = og_arena_zalloc(b->results, b->task_count, sizeof *r->prepared);
    if (r->prepared == NULL)
        return pipeline__no_memory(err);
    b->prepared = r->prepared;
    for (size_t i = 0; i < b->task_count; i++)
        TRY(do_task(r, &b->tasks[i], err));
    return OG_OK;
}

/* ---- rows for which there is room ---- */

typedef struct reading {
    run *r;
    og_str last;
    size_t patients, rows;
    delivery *list;
    size_t cap;
    bool full;
} reading;

static og_status next_patient(reading *x, const delivery *d, og_error *err)
{
    pipeline_batch *b = x->r->b;
    x->full = x->patients == b->more.patients || x->rows >= MAX_ROWS;
    if (x->full)
        return OG_AGAIN;
    x->patients++;
    x->last = og_arena_str(b->results, d->patient);
    return x->last.p != NULL ? OG_OK : pipeline__no_memory(err);
}

static og_status read_row(void *ctx, const delivery *d, og_error *err)
{
    reading *x = ctx;
    pipeline_batch *b = x->r->b;
    if (x->patients == 0 || !og_str_eq(d->patient, x->last))
        TRY(next_patient(x, d, err));
    x->rows++;
    if (d->state == DELIVERY_PARKED && !b->more.given_up)
        return OG_OK;
    if (b->stored_count == x->cap) {
        size_t cap = x->cap == 0 ? 64 : x->cap * 2;
        x->list = og_arena_grow(b->results, x->list, x->cap * sizeof *d, cap * sizeof *d);
        if (x->list == NULL)
            return pipeline__no_memory(err);
        x->cap = cap;
    }
    delivery *row = &x->list[b->stored_count++];
    *row = *d;
    row->patient = x->last;
    row->endpoint = row->reason = (og_str){NULL, 0};
    row->held = NULL;
    row->held_count = 0;
    return OG_OK;
}

og_status pipeline__read_stored(run *r, og_error *err)
{
    pipeline_batch *b = r->b;
    reading x = {.r = r, .last = {NULL, 0}};
    TRY(kv_count(r->txn, STORE_DELIVERY, &b->rows, err));
    if (b->more.patients == 0)
        return OG_OK;
    TRY(delivery_each_after(r->txn, b->scratch,
                            og_str_of(b->setup->endpoints[b->more.endpoint].name), b->more.after,
                            read_row, &x, err));
    b->stored = x.list;
    b->stored_last = x.last;
    b->stored_end = !x.full;
    return OG_OK;
}

/* ---- written again ---- */

static og_status add_outgoing(run *r, const store_outgoing *o, pipeline_outgoing *out,
                              og_error *err)
{
    og_arena *a = r->b->results;
    og_buf key, value;
    og_buf_init(&key, 2048);
    og_buf_init(&value, (size_t)256 << 20);
    record_write_key(&key, &o->record);
    record_write_value(&value, &o->record);
    *out = (pipeline_outgoing){.key = og_arena_str(a, og_buf_str(&key)),
                               .value = og_arena_str(a, og_buf_str(&value)),
                               .row = o->row,
                               .mark = o->mark};
    bool failed =
        og_buf_failed(&key) || og_buf_failed(&value) || out->key.p == NULL || out->value.p == NULL;
    og_buf_done(&key);
    og_buf_done(&value);
    return failed ? pipeline__no_memory(err) : OG_OK;
}

static og_status send_again(run *r, pipeline_outgoing *out, size_t max, og_error *err)
{
    pipeline_batch *b = r->b;
    store_outgoing *list;
    size_t count;
    if (max == 0)
        return OG_OK;
    TRY(store_to_send(r->txn, b->results, og_str_of(b->setup->tenant), max, &list, &count, err));
    for (size_t i = 0; i < count; i++)
        TRY(add_outgoing(r, &list[i], &out[i], err));
    b->outgoing_count += count;
    return OG_OK;
}

static og_status send_errands(run *r, pipeline_outgoing *out, size_t max, og_error *err)
{
    pipeline_batch *b = r->b;
    errand *list;
    TRY(errand_list(r->txn, b->results, max, &list, &b->outgoing_count, err));
    for (size_t i = 0; i < b->outgoing_count; i++)
        out[i] = (pipeline_outgoing){.key = list[i].key,
                                     .value = list[i].value,
                                     .route = list[i].route,
                                     .row = list[i].row,
                                     .mark = PIPELINE_ERRAND};
    return OG_OK;
}

og_status pipeline__send_outgoing(run *r, og_error *err)
{
    pipeline_batch *b = r->b;
    uint64_t errands = 0;
    size_t max = PIPELINE_MAX_OUTGOING;
    for (size_t i = 0; i < b->sent_count; i++)
        TRY(b->sent[i].mark == PIPELINE_ERRAND
                ? errand_done(r->txn, b->sent[i].row, err)
                : store_sent(r->txn, b->sent[i].row, b->sent[i].mark, err));
    TRY(store_outgoing_count(r->txn, &b->outgoing_left, err));
    TRY(errand_count(r->txn, &errands, err));
    b->outgoing_left += errands;
    if (!b->send || b->outgoing_left == 0)
        return OG_OK;
    pipeline_outgoing *out = og_arena_zalloc(b->results, max, sizeof *out);
    if (out == NULL)
        return pipeline__no_memory(err);
    TRY(send_errands(r, out, max, err));
    TRY(send_again(r, out + b->outgoing_count, max - b->outgoing_count, err));
    b->outgoing = out;
    return OG_OK;
}
