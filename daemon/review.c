/* Partition by partition, a slice of patients per read transaction: a long one would keep the
 * daemon's store from using its pages again. */
#include "daemon/review.h"

#include <inttypes.h>
#include <stdlib.h>

#include "connectors/kafka.h"
#include "fhir/base/table.h"

#define SLICE 100 /* patients per read transaction */

typedef struct review {
    const review_setup *setup;
    og_arena *a, *slice, *patient;
    const review_sink *sink;
    store *shared;
    store_txn *txn, *shared_txn;
    og_table rules; /* id → review_rule */
    review_totals totals;
} review;

static void complain(review *r, og_str patient, og_str rule, const og_error *why)
{
    r->totals.failed++;
    r->sink->failed(r->sink->ctx, patient, rule, why);
}

/* ---- counting ---- */

static review_rule *rule_of(review *r, og_str id)
{
    static review_rule nowhere; /* out of memory: told at the end */
    review_rule *rule = og_table_get(&r->rules, id);
    if (rule != NULL)
        return rule;
    rule = og_arena_zalloc(r->a, 1, sizeof *rule);
    if (rule == NULL)
        return &nowhere;
    rule->id = og_arena_str(r->a, id);
    return rule->id.p != NULL && og_table_put(&r->rules, rule->id, rule) ? rule : &nowhere;
}

static void count_open(review *r, const plan_alert *alerts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (alerts[i].state == PLAN_ALERT_ACTIVE) {
            rule_of(r, alerts[i].rule)->open++;
            r->totals.all.open++;
        }
}

static void count_change(review_rule *rule, const plan_change *change, bool absence)
{
    rule->opens += change->kind == PLAN_OPENED;
    rule->absence += change->kind == PLAN_OPENED && absence;
    rule->changes += change->kind == PLAN_CHANGED;
    rule->closes += change->kind == PLAN_RESOLVED;
}

static void count_changes(review *r, const plan_change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        og_str id = changes[i].alert.rule;
        bool absence = plan_content_rests_on_absence(r->setup->content, id);
        count_change(rule_of(r, id), &changes[i], absence);
        count_change(&r->totals.all, &changes[i], absence);
    }
}

static int by_id(const void *a, const void *b)
{
    const review_rule *x = *(const review_rule *const *)a, *y = *(const review_rule *const *)b;
    return og_str_cmp(x->id, y->id);
}

static og_status conclude(review *r, og_error *err)
{
    const review_rule **list = og_arena_zalloc(r->a, r->rules.count + 1, sizeof(void *));
    if (list == NULL || og_arena_failed(r->a))
        return og_fail(err, OG_NOMEM, "no memory for the rules' counts");
    for (uint32_t i = 0; i < r->rules.count; i++)
        list[i] = r->rules.entries[i].value;
    if (r->rules.count > 0)
        qsort(list, r->rules.count, sizeof(void *), by_id);
    r->totals.rules = list;
    r->totals.rule_count = r->rules.count;
    return OG_OK;
}

/* ---- one patient ---- */

/* What people have said, or not, changes no card, but for an override that is over: the card comes
 * again. */
static void keep_what_shows(og_arena *a, review_patient *p)
{
    plan_change *kept = og_arena_zalloc(a, p->change_count + 1, sizeof *kept);
    size_t n = 0;
    for (size_t i = 0; kept != NULL && i < p->change_count; i++)
        if (p->changes[i].kind != PLAN_ANSWERED ||
            p->changes[i].alert.feedback.answer == PLAN_LAPSED)
            kept[n++] = p->changes[i];
    p->changes = kept;
    p->change_count = n;
}

static og_status look(review *r, og_str id, const plan_alert **alerts, size_t *alert_count,
                      review_patient *ret, og_error *err)
{
    const review_setup *s = r->setup;
    og_arena *a = r->patient;
    plan_patient who = {.tenant = og_str_of(s->tenant), .id = id, .plain_id = record_plain_id(id)};
    plan_result *result = og_arena_zalloc(a, 1, sizeof *result);
    int64_t review_ms = 0;
    og_status status = result != NULL ? store_view(r->txn, r->shared_txn, a, id, &who.resources,
                                                   &who.resource_count, err)
                                      : og_fail(err, OG_NOMEM, "no memory for a patient");
    if (status == OG_OK)
        status = store_alerts(r->txn, a, id, alerts, alert_count, err);
    if (status == OG_OK)
        status = plan_content_evaluate(s->content, a, &who, s->as_of_ms, s->offset_min, PLAN_CARDS,
                                       result, err);
    if (status == OG_OK)
        status = plan_alert_compare(a, s->content, *alerts, *alert_count, result, s->as_of_ms,
                                    &ret->changes, &ret->change_count, err);
    if (status == OG_OK)
        status =
            feedback_hear(r->shared_txn, a, &s->feedback, s->content, s->as_of_ms, false, *alerts,
                          *alert_count, &ret->changes, &ret->change_count, &review_ms, err);
    if (status == OG_OK)
        keep_what_shows(a, ret);
    if (status == OG_OK && og_arena_failed(a))
        status = og_fail(err, OG_NOMEM, "no memory for a patient");
    ret->id = id;
    ret->result = result;
    return status;
}

static og_status review_patient_of(review *r, og_str id, og_error *err)
{
    review_patient p = {0};
    const plan_alert *alerts = NULL;
    size_t alert_count = 0;
    og_error why;
    og_error_init(&why);
    og_arena_reset(r->patient);
    r->totals.patients++;
    og_status status = look(r, id, &alerts, &alert_count, &p, &why);
    if (status == OG_CORRUPT || status == OG_IO) { /* the store, not the patient */
        *err = why;
        return status;
    }
    count_open(r, alerts, alert_count);
    if (status != OG_OK) {
        complain(r, id, (og_str){NULL, 0}, &why);
        return OG_OK;
    }
    for (size_t i = 0; i < p.result->outcome_count; i++)
        if (p.result->outcomes[i].kind == PLAN_FAILED)
            complain(r, id, p.result->outcomes[i].rule, &p.result->outcomes[i].error);
    count_changes(r, p.changes, p.change_count);
    if (p.change_count > 0) {
        r->totals.differ++;
        r->sink->differs(r->sink->ctx, &p);
    }
    return OG_OK;
}

/* ---- one partition ---- */

static og_status begin(review *r, store *s, og_error *err)
{
    og_status status = store_begin(s, false, &r->txn, err);
    if (status == OG_OK && r->shared != NULL)
        status = store_begin(r->shared, false, &r->shared_txn, err);
    return status;
}

static void end(review *r)
{
    store_abort(r->txn);
    store_abort(r->shared_txn);
    r->txn = r->shared_txn = NULL;
}

/* *last: the last patient seen, and behind the call the last one of this slice; *ret_more: there
 * may be more. */
static og_status run_slice(review *r, store *s, og_buf *last, bool *ret_more, og_error *err)
{
    const og_str *patients;
    size_t count = 0;
    og_arena_reset(r->slice);
    og_status status = begin(r, s, err);
    if (status == OG_OK)
        status = store_patients(r->txn, r->slice, og_buf_str(last), SLICE, &patients, &count, err);
    for (size_t i = 0; status == OG_OK && i < count; i++)
        status = review_patient_of(r, patients[i], err);
    if (status == OG_OK && count > 0) {
        og_buf_clear(last);
        og_buf_adds(last, patients[count - 1]);
    }
    end(r);
    *ret_more = count == SLICE;
    return status;
}

static og_status count_waiting(review *r, store *s, og_error *err)
{
    uint64_t dirty = 0;
    og_status status = begin(r, s, err);
    if (status == OG_OK)
        status = store_dirty_count(r->txn, &dirty, err);
    end(r);
    r->totals.waiting += dirty;
    return status;
}

static og_status run_one(review *r, store *s, og_error *err)
{
    const fhir_resource *resources;
    size_t count = 0;
    og_str id = og_str_of(r->setup->patient);
    og_arena_reset(r->patient);
    og_status status = begin(r, s, err);
    if (status == OG_OK)
        status = store_view(r->txn, r->shared_txn, r->patient, id, &resources, &count, err);
    if (status == OG_OK && count > 0)
        status = review_patient_of(r, id, err);
    end(r);
    return status;
}

static og_status run_partition(review *r, int64_t number, og_error *err)
{
    char name[32], dir[1024];
    store *s;
    og_buf last;
    bool more = true;
    snprintf(name, sizeof name, "%" PRId64, number);
    if (!store_path(r->setup->store_dir, r->setup->partitions, name, dir, sizeof dir))
        return og_fail(err, OG_INVALID, "the path of the store is too long");
    og_status status = store_open_to_read(dir, &s, err);
    if (status == OG_NOTFOUND) {
        r->totals.missing++;
        return OG_OK;
    }
    if (status != OG_OK)
        return status;
    r->totals.stores++;
    og_buf_init(&last, RECORD_MAX_PATIENT);
    status = count_waiting(r, s, err);
    if (status == OG_OK && r->setup->patient != NULL)
        status = run_one(r, s, err);
    while (status == OG_OK && r->setup->patient == NULL && more)
        status = run_slice(r, s, &last, &more, err);
    og_buf_done(&last);
    kv_close(s);
    return status;
}

static int64_t partition_of(const review_setup *s)
{
    og_buf route;
    og_buf_init(&route, 2048);
    record_write_route(&route, og_str_of(s->tenant), og_str_of(s->patient));
    int64_t number = kafka_partition_for(og_buf_str(&route), (int32_t)s->partitions);
    og_buf_done(&route);
    return number;
}

static og_status open_shared(review *r, og_error *err)
{
    char dir[1024];
    if (!store_path(r->setup->store_dir, r->setup->partitions, "shared", dir, sizeof dir))
        return og_fail(err, OG_INVALID, "the path of the store is too long");
    og_status status = store_open_to_read(dir, &r->shared, err);
    return status == OG_NOTFOUND
               ? og_fail(err, OG_NOTFOUND, "there is no store in %s", r->setup->store_dir)
               : status;
}

og_status review_run(const review_setup *setup, const review_sink *sink, og_arena *a,
                     review_totals *ret, og_error *err)
{
    review r = {.setup = setup, .a = a, .sink = sink};
    int64_t first = setup->patient != NULL ? partition_of(setup) : 0;
    int64_t last = setup->patient != NULL ? first : setup->partitions - 1;
    og_table_init(&r.rules, a);
    r.slice = og_arena_new((size_t)1 << 20);
    r.patient = og_arena_new(setup->memory_bytes);
    og_status status = r.slice != NULL && r.patient != NULL
                           ? open_shared(&r, err)
                           : og_fail(err, OG_NOMEM, "out of memory");
    for (int64_t i = first; status == OG_OK && i <= last; i++)
        status = run_partition(&r, i, err);
    if (status == OG_OK)
        status = conclude(&r, err);
    kv_close(r.shared);
    og_arena_free(r.slice);
    og_arena_free(r.patient);
    if (status == OG_OK)
        *ret = r.totals;
    return status;
}
