/* The story of one batch, top to bottom in pipeline_run: begin, apply, find out who is to be
 * evaluated, evaluate and compare each once, write back what became of deliveries, commit. A crash
 * at any point repeats work and skips none; a batch that fails has changed nothing. */
#include "daemon/pipeline.h"

#include <stdlib.h>

#include "daemon/clock.h"
#include "daemon/crash.h"
#include "daemon/errand.h"
#include "daemon/grave.h"
#include "daemon/place.h"
#include "fhir/base/table.h"

/* One run: the batch, its transactions, and lists that grow in the batch' arenas. */
typedef struct run {
    pipeline_batch *b;
    store_txn *txn, *shared;
    bool of_shared;          /* the batch is one of the shared topic */
    og_arena *patient_arena; /* one evaluation; reset for each */
    og_table touched;        /* patient → struct touch */
    pipeline_delivery *deliveries;
    size_t delivery_cap;
    pipeline_saying *sayings;
    size_t saying_cap;
    pipeline_prepared *prepared;
    int64_t *evaluation_us;
    size_t evaluation_cap;
    pipeline_event *events;
    size_t event_cap;
    locator_entry *located;
    size_t located_count;
} run;

#define REFERRERS   1000 /* marked at a time */
#define CHANGES     1000 /* of shared resources, looked at a time */
#define LOST        "1"  /* values of STORE_LOST: records */
#define LOST_SHARED "shared"
#define DUE_AT_ONCE 1 /* a review that is due whatever the clock shows; 0 would be none */

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

static og_status no_memory(og_error *err)
{
    return og_fail(err, OG_NOMEM, "no memory for a batch");
}

/* ---- 6: apply ---- */

static og_status touch_patient(run *r, og_str patient, int64_t cause_ms, bool tell, og_error *err)
{
    touch *t = og_table_get(&r->touched, patient);
    if (t == NULL) {
        t = og_arena_zalloc(r->b->results, 1, sizeof *t);
        og_str name = og_arena_str(r->b->results, patient);
        if (t == NULL || name.p == NULL || !og_table_put(&r->touched, name, t))
            return no_memory(err);
    }
    if (cause_ms > 0 && (t->cause_ms == 0 || cause_ms < t->cause_ms))
        t->cause_ms = cause_ms;
    t->tell |= tell;
    return OG_OK;
}

static void note_failure(pipeline_batch *b, og_str rule, og_str patient, const og_error *error)
{
    if (b->failure_count == PIPELINE_MAX_FAILURES)
        return;
    b->failures[b->failure_count++] = (pipeline_failure){og_arena_str(b->results, rule),
                                                         og_arena_str(b->results, patient), *error};
}

/* A message that is no record must not stop the partition: counted, logged, passed over. */
static og_status bad_record(run *r, const pipeline_message *m, const og_error *why)
{
    og_error error = *why;
    r->b->counts.bad++;
    error.offset = m->offset;
    note_failure(r->b, OG_STR(""), OG_STR(""), &error);
    return OG_OK;
}

static og_status note_located(run *r, const record *rec, og_error *err)
{
    if (r->located == NULL || rec->patient.n == 0 || rec->via.n > 0)
        return OG_OK;
    og_str type_id =
        og_arena_printf(r->b->results, "%.*s/%.*s", OG_STR_ARG(rec->type), OG_STR_ARG(rec->id));
    og_str patient = og_arena_str(r->b->results, rec->patient);
    if (type_id.p == NULL || patient.p == NULL)
        return no_memory(err);
    /* a deleted one is located too: a late older version must find the same place */
    r->located[r->located_count++] =
        (locator_entry){type_id, patient, rec->order, rec->timestamp_ms, rec->deleted};
    return OG_OK;
}

static og_status read_message(run *r, const pipeline_message *m, record *ret,
                              const fhir_doc **ret_doc, og_error *why)
{
    og_arena *a = r->b->scratch;
    fhir_limits limits = {.max_bytes = (256u << 20) - 1, .max_depth = r->b->setup->max_depth};
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    if (doc == NULL)
        return no_memory(why);
    TRY(record_read(a, m->key, m->value, ret, why));
    if (!og_str_is(ret->tenant, r->b->setup->tenant))
        return og_fail(why, OG_INVALID, "the record belongs to another tenant");
    if (!ret->deleted)
        TRY(fhir_decode(a, ret->body, &limits, doc, why));
    *ret_doc = ret->deleted ? NULL : doc;
    return OG_OK;
}

/* When the log got it. */
static int64_t logged_ms(const run *r, const pipeline_message *m)
{
    return m->timestamp_ms > 0 ? m->timestamp_ms : r->b->real_ms;
}

/* A removal of our own comes back, or compaction has left a tombstone: its soft tombstone came
 * before. */
static og_status apply_removal(run *r, const pipeline_message *m, og_error *err)
{
    bool gone = false;
    TRY(grave_close(r->txn, r->b->scratch, m->key, m->offset, &gone, err));
    r->b->counts.forgotten += gone;
    return OG_OK;
}

static og_status apply_place(run *r, const pipeline_message *m, og_error *err)
{
    pipeline_counts *c = &r->b->counts;
    record rec = {0};
    place_applied applied = PLACE_NOTED;
    og_error why;
    og_error_init(&why);
    if (record_read_place(r->b->scratch, m->key, m->value, &rec, &why) != OG_OK)
        return bad_record(r, m, &why);
    TRY(place_apply(r->txn, r->b->scratch, og_str_of(r->b->setup->tenant), &rec, &applied, err));
    c->placed += applied == PLACE_SENT;
    c->unplaced += applied == PLACE_WAITING;
    if (!rec.deleted)
        return OG_OK;
    /* As it is now: it may have outdone the version of its message, or be outlived. */
    TRY(place_version(r->txn, r->b->scratch, m->key, &rec.order, &rec.deleted, err));
    return rec.deleted ? grave_note_place(r->txn, &rec, logged_ms(r, m), err) : OG_OK;
}

static og_status apply_backfill_mark(run *r, const pipeline_message *m, og_error *err)
{
    backfill_mark mark;
    bool fresh;
    og_error why;
    og_error_init(&why);
    if (!backfill_read_mark(m->key, &mark) || !og_str_is(mark.tenant, r->b->setup->tenant)) {
        (void)og_fail(&why, OG_INVALID, "the mark of a backfill is none of ours");
        return bad_record(r, m, &why);
    }
    r->b->counts.backfills++;
    if (m->value.p == NULL)
        return backfill_forget(r->txn, &mark, err);
    return mark.done ? backfill_done(r->txn, mark.patient, err)
                     : backfill_want(r->txn, mark.patient, &fresh, err);
}

/* Of a patient of whom something comes for the first time, everything is wanted. */
static og_status want_all_of(run *r, og_str patient, og_error *err)
{
    const pipeline_setup *setup = r->b->setup;
    bool fresh = false;
    if (!backfill_serves(setup->backfill_senders, setup->backfill_sender_count, patient) ||
        og_table_get(&r->touched, patient) != NULL)
        return OG_OK;
    TRY(backfill_want(r->txn, patient, &fresh, err));
    r->b->counts.backfills += fresh;
    return OG_OK;
}

static og_status note_change(run *r, const record *rec, int64_t offset, og_error *err)
{
    og_str type_id =
        og_arena_printf(r->b->scratch, "%.*s/%.*s", OG_STR_ARG(rec->type), OG_STR_ARG(rec->id));
    if (type_id.p == NULL)
        return no_memory(err);
    r->b->counts.shared_changed++;
    return store_note_change(r->txn, type_id, offset + 1, err);
}

static og_status apply_message(run *r, const pipeline_message *m, og_error *err)
{
    record rec = {0};
    const fhir_doc *doc = NULL;
    store_applied applied = STORE_STALE;
    og_error why;
    og_error_init(&why);
    og_arena_reset(r->b->scratch);
    if (record_is_beat(m->key))
        return OG_OK;
    if (backfill_is_mark(m->key))
        return apply_backfill_mark(r, m, err);
    if (m->value.p == NULL)
        return apply_removal(r, m, err);
    if (record_is_place(m->key))
        return apply_place(r, m, err);
    if (read_message(r, m, &rec, &doc, &why) != OG_OK)
        return bad_record(r, m, &why);
    TRY(store_apply(r->txn, r->b->scratch, &rec, doc, m->offset, &applied, err));
    if (applied == STORE_STALE || applied == STORE_OUTDATED) {
        r->b->counts.stale++;
        r->b->counts.outdated += applied == STORE_OUTDATED;
        return OG_OK;
    }
    r->b->counts.applied++;
    if (rec.deleted && rec.patient.n > 0)
        TRY(grave_note_record(r->txn, &rec, logged_ms(r, m), err));
    TRY(note_located(r, &rec, err));
    if (applied == STORE_SAME)
        return OG_OK;
    if (r->of_shared)
        return note_change(r, &rec, m->offset, err);
    if (rec.patient.n == 0)
        return OG_OK;
    TRY(merge_apply(r->txn, r->b->results, r->b->scratch, &rec, m->offset, &r->b->counts.merges,
                    err));
    r->b->counts.joined += og_table_get(&r->touched, rec.patient) != NULL;
    TRY(want_all_of(r, rec.patient, err));
    return touch_patient(r, rec.patient, rec.timestamp_ms, false, err);
}

static og_status apply_all(run *r, og_error *err)
{
    const pipeline_batch *b = r->b;
    if (b->setup->locator != NULL && b->message_count > 0) {
        r->located = og_arena_zalloc(b->results, b->message_count, sizeof *r->located);
        if (r->located == NULL)
            return no_memory(err);
    }
    for (size_t i = 0; i < b->message_count; i++)
        TRY(apply_message(r, &b->messages[i], err));
    return b->next_offset >= 0 ? store_set_meta_int(r->txn, STORE_NEXT_OFFSET, b->next_offset, err)
                               : OG_OK;
}

/* ---- who is to be evaluated ---- */

static og_status touch_list(run *r, const og_str *patients, size_t count, bool tell, og_error *err)
{
    for (size_t i = 0; i < count; i++)
        TRY(touch_patient(r, patients[i], 0, tell, err));
    return OG_OK;
}

static og_status mark_touched(run *r, og_error *err)
{
    for (uint32_t i = 0; i < r->touched.count; i++)
        TRY(store_mark_dirty(r->txn, r->touched.entries[i].key, r->b->next_offset, err));
    return OG_OK;
}

/* The freshness gate (STREAM 3.8): "not there" is not said while something may be on its way, or
 * while what is lost may come back. */
static bool is_gated(const run *r)
{
    return r->b->gated || r->b->lost;
}

/* What comes by the clock alone waits while it is not known that the data are complete. */
static og_status wake_due(run *r, og_error *err)
{
    const og_str *patients;
    size_t count;
    if (is_gated(r))
        return OG_OK;
    TRY(store_due(r->txn, r->b->results, r->b->now_ms, PIPELINE_MAX_PATIENTS, &patients, &count,
                  err));
    if (count > 0)
        crash_point(CRASH_SWEPT);
    r->b->counts.reviews = count;
    return touch_list(r, patients, count, false, err);
}

/* A slice at a time: a common Medication has more referrers than memory has room for names. */
static og_status mark_referrers(run *r, og_str type_id, og_error *err)
{
    char last[RECORD_MAX_PATIENT];
    og_str after = {NULL, 0};
    const og_str *patients;
    size_t n;
    do {
        og_arena_reset(r->b->scratch);
        TRY(store_referrers(r->txn, r->b->scratch, type_id, after, REFERRERS, &patients, &n, err));
        for (size_t i = 0; i < n; i++)
            TRY(store_mark_dirty(r->txn, patients[i], -1, err));
        if (n == REFERRERS) {
            if (patients[n - 1].n > sizeof last)
                return og_fail(err, OG_CORRUPT, "a row of references has no patient");
            memcpy(last, patients[n - 1].p, patients[n - 1].n);
            after = (og_str){last, patients[n - 1].n};
        }
    } while (n == REFERRERS);
    return OG_OK;
}

static og_status meta_int_or(store_txn *t, const char *name, int64_t other, int64_t *ret,
                             og_error *err)
{
    *ret = other;
    og_status status = store_meta_int(t, name, ret, err);
    return status == OG_NOTFOUND ? OG_OK : status;
}

static og_status note_lost(run *r, const char *topic, og_error *err)
{
    r->b->lost = true;
    r->b->lost_shared = strcmp(topic, LOST_SHARED) == 0;
    return store_set_meta(r->txn, STORE_LOST, og_str_of(topic), err);
}

/* What came on the shared topic since this partition looked last, by the view that this batch has
 * of it. If it ends before that place it is another topic, and what alerts rest on may be gone. */
static og_status mark_for_shared(run *r, og_error *err)
{
    int64_t seen, next;
    if (r->shared == NULL)
        return OG_OK;
    TRY(meta_int_or(r->txn, STORE_SHARED_SEEN, 0, &seen, err));
    TRY(meta_int_or(r->shared, STORE_NEXT_OFFSET, 0, &next, err));
    if (seen == next)
        return OG_OK;
    if (seen > next) {
        r->b->counts.shared_lost++;
        TRY(note_lost(r, LOST_SHARED, err));
    }
    size_t count = CHANGES;
    for (int64_t at = seen < next ? seen : 0; count == CHANGES;) {
        const og_str *changed;
        TRY(store_changes(r->shared, r->b->results, at, CHANGES, &changed, &count, &at, err));
        for (size_t i = 0; i < count; i++)
            TRY(mark_referrers(r, changed[i], err));
    }
    return store_set_meta_int(r->txn, STORE_SHARED_SEEN, next, err);
}

/* Who was touched by events just now is evaluated when no more of them come. */
static og_status let_cease(run *r, og_error *err)
{
    pipeline_batch *b = r->b;
    bool joined;
    if (b->setup->waiting.quiet_ms == 0)
        return OG_OK;
    for (uint32_t i = 0; i < r->touched.count; i++) {
        const touch *t = r->touched.entries[i].value;
        TRY(waiting_note(r->txn, r->touched.entries[i].key, b->messages[0].offset, t->cause_ms,
                         b->steady_ms, &joined, err));
        b->counts.joined += joined;
    }
    og_table_init(&r->touched, b->results);
    return OG_OK;
}

static og_status wake_dirty(run *r, og_error *err)
{
    const waiting_patient *patients;
    size_t count;
    TRY(waiting_ripe(r->txn, r->b->results, &r->b->setup->waiting, r->b->steady_ms,
                     PIPELINE_MAX_PATIENTS, &patients, &count, &r->b->waiting, err));
    for (size_t i = 0; i < count; i++)
        TRY(touch_patient(r, patients[i].id, patients[i].cause_ms, true, err));
    return OG_OK;
}

/* ---- the alerts topic ---- */

static og_status say(run *r, og_str key, og_str value, og_error *err)
{
    pipeline_batch *b = r->b;
    if (key.p == NULL)
        return no_memory(err);
    if (b->saying_count == r->saying_cap) {
        size_t cap = r->saying_cap == 0 ? 16 : r->saying_cap * 2;
        r->sayings = og_arena_grow(b->results, r->sayings, r->saying_cap * sizeof *r->sayings,
                                   cap * sizeof *r->sayings);
        if (r->sayings == NULL)
            return no_memory(err);
        r->saying_cap = cap;
    }
    r->sayings[b->saying_count++] = (pipeline_saying){key, value};
    b->sayings = r->sayings;
    return OG_OK;
}

/* Another owner's word is taken over; what one said who was no owner any more gets ours behind it.
 */
static og_status take_over(run *r, const said_message *m, og_error *err)
{
    og_str own;
    og_error why;
    og_error_init(&why);
    og_arena_reset(r->b->scratch);
    if (m->outdated) {
        TRY(said_own(r->txn, r->b->results, m->key, &own, err));
        return say(r, og_arena_str(r->b->results, m->key), own, err); /* m goes before it leaves */
    }
    og_status status = said_apply(r->txn, r->b->scratch, og_str_of(r->b->setup->tenant), m, &why);
    if (status == OG_INVALID || status == OG_SYNTAX) {
        r->b->counts.bad++;
        note_failure(r->b, OG_STR(""), OG_STR(""), &why);
        return OG_OK;
    }
    r->b->counts.taken_over += status == OG_OK;
    if (status != OG_OK && err != NULL)
        *err = why;
    return status;
}

static og_status take_over_all(run *r, og_error *err)
{
    const pipeline_batch *b = r->b;
    for (size_t i = 0; i < b->said_count; i++)
        TRY(take_over(r, &b->said[i], err));
    if (b->said_offset <= 0)
        return OG_OK;
    TRY(store_set_meta_int(r->txn, STORE_SAID_CLAIM, b->said_claim, err));
    return store_set_meta_int(r->txn, STORE_SAID_OFFSET, b->said_offset, err);
}

/* ---- 8: compare, and what follows from it ---- */

static og_status add_delivery(run *r, const pipeline_delivery *d, og_error *err)
{
    pipeline_batch *b = r->b;
    if (b->delivery_count == r->delivery_cap) {
        size_t cap = r->delivery_cap == 0 ? 16 : r->delivery_cap * 2;
        r->deliveries =
            og_arena_grow(b->results, r->deliveries, r->delivery_cap * sizeof *d, cap * sizeof *d);
        if (r->deliveries == NULL)
            return no_memory(err);
        r->delivery_cap = cap;
    }
    r->deliveries[b->delivery_count++] = *d;
    b->deliveries = r->deliveries;
    return OG_OK;
}

static og_status want_at(run *r, size_t endpoint, og_str patient, const plan_alert *alert,
                         int64_t cause_ms, og_error *err)
{
    pipeline_delivery d = {.endpoint = endpoint};
    delivery_wanted wanted = DELIVERY_SEND;
    delivery_state was;
    if (!delivery_concerns(&r->b->setup->endpoints[endpoint], patient))
        return OG_OK;
    TRY(delivery_want(r->txn, r->b->results, &r->b->setup->endpoints[endpoint], patient, alert,
                      cause_ms, &wanted, &d.row, &was, err));
    d.dropped = wanted == DELIVERY_DROPPED;
    d.was_parked = was == DELIVERY_PARKED;
    d.row.patient = og_arena_str(r->b->results, patient);
    if (d.row.patient.p == NULL)
        return no_memory(err);
    if (d.dropped && d.row.attempts > 0) /* its intent stands on the topic */
        TRY(say(r, said_delivery_key(r->b->results, og_str_of(r->b->setup->tenant), &d.row),
                (og_str){NULL, 0}, err));
    return add_delivery(r, &d, err);
}

/* An endpoint that is new, or was not configured for a while, has to hear what it missed. The
 * alerts topic is always there. */
static og_status tell_endpoint(run *r, size_t endpoint, og_str patient, const plan_alert *alert,
                               og_error *err)
{
    const delivery_endpoint *ep = &r->b->setup->endpoints[endpoint];
    delivery d;
    if (ep->is_topic)
        return OG_OK;
    og_status status =
        delivery_get(r->txn, r->b->scratch, og_str_of(ep->name), patient, alert->id, &d, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    bool told = status == OG_OK ? delivery_says(&d, ep, alert) : delivery_is_over(ep, alert);
    return told ? OG_OK : want_at(r, endpoint, patient, alert, 0, err);
}

static og_status note_event(run *r, const plan_change *change, plan_answer answered_before,
                            og_error *err)
{
    pipeline_batch *b = r->b;
    const plan_feedback *f = &change->alert.feedback;
    if (b->event_count == r->event_cap) {
        size_t cap = r->event_cap == 0 ? 16 : r->event_cap * 2;
        r->events = og_arena_grow(b->results, r->events, r->event_cap * sizeof *r->events,
                                  cap * sizeof *r->events);
        if (r->events == NULL)
            return no_memory(err);
        r->event_cap = cap;
        b->events = r->events;
    }
    bool word = f->answer == PLAN_ACCEPTED || f->answer == PLAN_OVERRIDDEN;
    bool first = change->kind == PLAN_ANSWERED && word &&
                 (answered_before == PLAN_UNANSWERED || answered_before == PLAN_IGNORED);
    int64_t took_ms = f->at_ms > f->shown_ms ? f->at_ms - f->shown_ms : 0;
    r->events[b->event_count++] =
        (pipeline_event){.rule = og_arena_str(b->results, change->alert.rule),
                         .reason = og_arena_str(b->results, f->code),
                         .kind = change->kind,
                         .answer = f->answer,
                         .action_us = first ? took_ms * 1000 : -1};
    return OG_OK;
}

static og_status apply_change(run *r, og_str patient, const plan_change *change, int64_t cause_ms,
                              og_error *err)
{
    plan_alert before = {.id = {0}};
    pipeline_counts *c = &r->b->counts;
    c->opened += change->kind == PLAN_OPENED;
    c->changed += change->kind == PLAN_CHANGED;
    c->resolved += change->kind == PLAN_RESOLVED;
    c->answered += change->kind == PLAN_ANSWERED;
    og_arena_reset(r->b->scratch); /* the patient's may be used up, and there is no way back now */
    if (change->kind == PLAN_ANSWERED)
        TRY(store_alert(r->txn, r->b->scratch, patient, change->alert.id, &before, err));
    TRY(note_event(r, change, before.feedback.answer, err));
    TRY(store_put_alert(r->txn, r->b->scratch, patient, &change->alert, err));
    for (size_t i = 0; i < r->b->setup->endpoint_count; i++) {
        if (change->kind == PLAN_ANSWERED && !r->b->setup->endpoints[i].is_topic)
            TRY(tell_endpoint(r, i, patient, &change->alert, err)); /* the card may be as it was */
        else
            TRY(want_at(r, i, patient, &change->alert, cause_ms, err));
    }
    return OG_OK;
}

static og_status evaluation_failed(run *r, og_str patient, const og_error *why, og_error *err);

/* Nor is anything withdrawn while what is lost may come back. */
static bool must_wait(const run *r, const plan_change *change)
{
    if (r->b->lost && change->kind == PLAN_RESOLVED)
        return true;
    return is_gated(r) && change->kind == PLAN_OPENED &&
           plan_content_rests_on_absence(r->b->content, change->alert.rule);
}

/* The cards of a brief result mostly say what is believed already; for what is not their words are
 * needed. */
static og_status find_words(run *r, plan_patient *who, plan_result *result, const plan_alert *open,
                            size_t open_count, og_error *err)
{
    const pipeline_batch *b = r->b;
    if (!result->brief || plan_alert_is_said(open, open_count, result))
        return OG_OK;
    who->held = NULL;
    TRY(plan_content_evaluate(b->content, r->patient_arena, who, b->now_ms, b->offset_min,
                              PLAN_CARDS, result, err));
    r->b->counts.rules_asked += result->asked;
    return OG_OK;
}

static og_status compare(run *r, plan_patient *who, plan_result *result, int64_t cause_ms,
                         og_error *err)
{
    const pipeline_setup *setup = r->b->setup;
    int64_t review_ms = result->next_review_ms;
    og_str patient = who->id;
    const plan_alert *open;
    const plan_change *changes;
    size_t open_count, change_count;
    og_error why;
    og_error_init(&why);
    if (setup->offset_at != NULL)
        review_ms = clock_review_ms(review_ms, r->b->now_ms, setup->offset_at);
    og_status status = store_alerts(r->txn, r->patient_arena, patient, &open, &open_count, &why);
    if (status == OG_OK)
        status = find_words(r, who, result, open, open_count, &why);
    if (status == OG_OK)
        status = plan_alert_compare(r->patient_arena, r->b->content, open, open_count, result,
                                    r->b->now_ms, &changes, &change_count, &why);
    if (status == OG_OK)
        status = feedback_hear(r->shared, r->patient_arena, &setup->feedback, r->b->content,
                               r->b->now_ms, is_gated(r), open, open_count, &changes, &change_count,
                               &review_ms, &why);
    if (status == OG_NOMEM || status == OG_LIMIT) /* nothing is written yet */
        return evaluation_failed(r, patient, &why, err);
    if (status != OG_OK) {
        *err = why;
        return status;
    }
    for (size_t i = 0; i < change_count; i++) {
        if (must_wait(r, &changes[i])) {
            r->b->counts.deferred++;
            /* As soon as the data are known to be complete. The clock has no say in it: it may be
             * set back, or the process may die, and the next one's clock may be behind. */
            review_ms = DUE_AT_ONCE;
            continue;
        }
        TRY(apply_change(r, patient, &changes[i], cause_ms, err));
    }
    return store_set_review(r->txn, patient, review_ms, err);
}

static og_status tell_endpoints(run *r, og_str patient, og_error *err)
{
    const plan_alert *alerts;
    size_t count;
    og_arena_reset(r->b->scratch);
    TRY(store_alerts(r->txn, r->b->scratch, patient, &alerts, &count, err));
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < r->b->setup->endpoint_count; k++)
            TRY(tell_endpoint(r, k, patient, &alerts[i], err));
    return OG_OK;
}

/* ---- 7: evaluate ---- */

static og_status note_time(run *r, int64_t us, og_error *err)
{
    size_t n = r->b->counts.evaluations;
    if (n == r->evaluation_cap) {
        size_t cap = n == 0 ? 64 : n * 2;
        r->evaluation_us = og_arena_grow(r->b->results, r->evaluation_us, n * sizeof(int64_t),
                                         cap * sizeof(int64_t));
        if (r->evaluation_us == NULL)
            return no_memory(err);
        r->evaluation_cap = cap;
    }
    r->evaluation_us[n] = us;
    r->b->evaluation_us = r->evaluation_us;
    r->b->counts.evaluations++;
    return OG_OK;
}

static void note_rule_failures(run *r, og_str patient, const plan_result *result)
{
    for (size_t i = 0; i < result->outcome_count; i++)
        if (result->outcomes[i].kind == PLAN_FAILED)
            note_failure(r->b, result->outcomes[i].rule, patient, &result->outcomes[i].error);
}

/* A patient who cannot be evaluated keeps the alerts as they are, is tried again in an hour, and
 * stops nobody. */
static og_status evaluation_failed(run *r, og_str patient, const og_error *why, og_error *err)
{
    r->b->counts.evaluation_failures++;
    note_failure(r->b, OG_STR(""), patient, why);
    return store_set_review(r->txn, patient, r->b->now_ms + 3600000, err);
}

/* ---- lost records ---- */

/* What is deleted leaves a tombstone. A patient with alerts and without any row was lost: with the
 * records topic, or by whoever emptied it. */
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
static og_status find_lost(run *r, og_error *err)
{
    for (uint32_t i = 0; i < r->touched.count; i++) {
        touch *t = r->touched.entries[i].value;
        TRY(is_lost(r, r->touched.entries[i].key, &t->lost, err));
        r->b->counts.withheld += t->lost;
        if (t->lost)
            TRY(note_lost(r, LOST, err));
    }
    return OG_OK;
}

/* What was lost before is lost until the sources have been read again. */
static og_status remember_lost(run *r, og_error *err)
{
    og_str mark;
    og_status status = store_meta(r->txn, STORE_LOST, &mark, err);
    if (status != OG_OK)
        return status == OG_NOTFOUND ? OG_OK : status;
    r->b->lost = !r->b->refilled;
    r->b->lost_shared = og_str_is(mark, LOST_SHARED);
    return r->b->lost ? OG_OK : kv_delete(r->txn, STORE_META, OG_STR(STORE_LOST), err);
}

static og_status evaluate_patient(run *r, og_str patient, int64_t cause_ms, og_error *err)
{
    plan_patient who = {.tenant = og_str_of(r->b->setup->tenant),
                        .id = patient,
                        .plain_id = record_plain_id(patient)};
    const pipeline_batch *b = r->b;
    plan_result result;
    recall_view known;
    const uint64_t *hashes;
    og_error why;
    og_error_init(&why);
    og_arena_reset(r->patient_arena);
    int64_t began_us = clock_monotonic_us();
    og_status status = store_view_hashed(r->txn, r->shared, r->patient_arena, patient,
                                         &who.resources, &hashes, &who.resource_count, &why);
    if (status == OG_CORRUPT || status == OG_IO) { /* the store, not the patient */
        *err = why;
        return status;
    }
    if (status == OG_OK) {
        recall_look(b->recall, r->patient_arena, b->content, &who, hashes, b->now_ms, b->offset_min,
                    &known);
        status = plan_content_evaluate(b->content, r->patient_arena, &who, b->now_ms, b->offset_min,
                                       PLAN_CARDS, &result, &why);
    }
    TRY(note_time(r, clock_monotonic_us() - began_us, err));
    if (status != OG_OK)
        return evaluation_failed(r, patient, &why, err);
    recall_keep(b->recall, b->content, &known, &result);
    r->b->counts.rules_asked += result.asked;
    note_rule_failures(r, patient, &result);
    TRY(compare(r, &who, &result, cause_ms, err));
    r->b->counts.rules_spared += result.spared;
    return OG_OK;
}

static og_status evaluate_touched(run *r, og_error *err)
{
    TRY(find_lost(r, err));
    for (uint32_t i = 0; i < r->touched.count; i++) {
        const touch *t = r->touched.entries[i].value;
        og_str patient = r->touched.entries[i].key;
        TRY(store_clear_dirty(r->txn, patient, err));
        if (!t->lost)
            TRY(evaluate_patient(r, patient, t->cause_ms, err));
        if (t->tell)
            TRY(tell_endpoints(r, patient, err));
    }
    return OG_OK;
}

/* ---- new content, new endpoints ---- */

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
        return no_memory(err);
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

static og_status wake_for_content(run *r, og_error *err)
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
    TRY(store_patients(r->txn, r->b->results, cursor, PIPELINE_MAX_PATIENTS, &patients, &count,
                       err));
    TRY(touch_list(r, patients, count, true, err));
    TRY(meta_int_or(r->txn, STORE_SWEPT, 0, &swept, err));
    TRY(store_set_meta_int(r->txn, STORE_SWEPT, swept + (int64_t)count, err));
    r->b->swept = (uint64_t)swept + count;
    r->b->swept_now = count;
    r->b->sweeping = count == PIPELINE_MAX_PATIENTS;
    if (r->b->sweeping)
        return store_set_meta(r->txn, STORE_SWEEP, patients[count - 1], err);
    return kv_delete(r->txn, STORE_META, OG_STR(STORE_SWEEP), err);
}

/* ---- what became of deliveries ---- */

/* The receipt: whoever comes after us must not say it again. */
static og_status say_receipt(run *r, const delivery *before, const pipeline_task *task,
                             og_error *err)
{
    pipeline_batch *b = r->b;
    delivery after = {0};
    og_status status = delivery_get(r->txn, b->results, before->endpoint, task->patient,
                                    task->alert_id, &after, err);
    if (status == OG_NOTFOUND) { /* told, and nothing is left of it there */
        after = *before;
        after.state = DELIVERY_DELIVERED;
        after.held_count = 0;
        after.doubtful[0] = '\0';
    } else if (status != OG_OK) {
        return status;
    }
    after.patient = task->patient;
    og_str value = delivery_write(b->results, &after);
    if (value.p == NULL)
        return no_memory(err);
    return say(r, said_delivery_key(b->results, og_str_of(b->setup->tenant), &after), value, err);
}

static og_status settle(run *r, const delivery_endpoint *ep, const pipeline_task *task,
                        og_error *err)
{
    pipeline_batch *b = r->b;
    delivery before = {0};
    og_status status = delivery_get(r->txn, b->results, og_str_of(ep->name), task->patient,
                                    task->alert_id, &before, err);
    if (status != OG_OK)
        return status == OG_NOTFOUND ? OG_OK : status;
    TRY(delivery_settle(r->txn, b->results, ep, task->patient, task->alert_id, &task->outcome,
                        err));
    if (ep->is_topic || task->outcome.verdict == CONN_AGAIN)
        return OG_OK;
    return say_receipt(r, &before, task, err);
}

/* Wanted anew since the outbox began with it. Its new place is behind what the patient's endpoint
 * is to hear first; sent now, it would overtake that. */
static og_status has_new_place(run *r, const delivery_endpoint *ep, const pipeline_task *task,
                               bool *ret, og_error *err)
{
    delivery now;
    og_status status = delivery_get(r->txn, r->b->results, og_str_of(ep->name), task->patient,
                                    task->alert_id, &now, err);
    *ret = status == OG_OK && now.sequence != task->sequence;
    return status == OG_NOTFOUND ? OG_OK : status;
}

static og_status do_task(run *r, const pipeline_task *task, og_error *err)
{
    pipeline_batch *b = r->b;
    const delivery_endpoint *ep = &b->setup->endpoints[task->endpoint];
    if (task->settle)
        return settle(r, ep, task, err);
    pipeline_prepared p = {.ticket = task->ticket};
    TRY(has_new_place(r, ep, task, &p.gone, err));
    if (p.gone) {
        r->prepared[b->prepared_count++] = p;
        return OG_OK;
    }
    og_status status =
        delivery_prepare(r->txn, b->results, ep, og_str_of(b->setup->tenant), task->patient,
                         task->alert_id, &p.row, &p.body, &p.key, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    p.parked = status == OG_OK && p.row.state == DELIVERY_PARKED;
    p.gone = status == OG_NOTFOUND || p.parked;
    if (status == OG_OK && !ep->is_topic) {
        p.said_key = said_delivery_key(b->results, og_str_of(b->setup->tenant), &p.row);
        p.said_value = delivery_write(b->results, &p.row);
        if (p.said_key.p == NULL || p.said_value.p == NULL)
            return no_memory(err);
    }
    r->prepared[b->prepared_count++] = p;
    return OG_OK;
}

static og_status do_tasks(run *r, og_error *err)
{
    pipeline_batch *b = r->b;
    if (b->task_count == 0)
        return OG_OK;
    r->prepared = og_arena_zalloc(b->results, b->task_count, sizeof *r->prepared);
    if (r->prepared == NULL)
        return no_memory(err);
    b->prepared = r->prepared;
    for (size_t i = 0; i < b->task_count; i++)
        TRY(do_task(r, &b->tasks[i], err));
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
    return failed ? no_memory(err) : OG_OK;
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

static og_status send_outgoing(run *r, og_error *err)
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
        return no_memory(err);
    TRY(send_errands(r, out, max, err));
    TRY(send_again(r, out + b->outgoing_count, max - b->outgoing_count, err));
    b->outgoing = out;
    return OG_OK;
}

/* ---- what was deleted long ago ---- */

static og_status forget_deleted(run *r, og_error *err)
{
    const pipeline_batch *b = r->b;
    if (b->restoring || !b->send || b->setup->tombstone_ms <= 0)
        return OG_OK;
    return grave_open(r->txn, b->results, b->real_ms - b->setup->tombstone_ms,
                      PIPELINE_MAX_PATIENTS, err);
}

/* ---- the story ---- */

static og_status steps(run *r, og_error *err)
{
    pipeline_batch *b = r->b;
    TRY(remember_lost(r, err));
    TRY(take_over_all(r, err));
    TRY(apply_all(r, err));
    if (b->message_count > 0)
        crash_point(CRASH_APPLIED);
    if (b->restoring) {
        TRY(mark_touched(r, err));
    } else {
        TRY(let_cease(r, err));
        TRY(wake_due(r, err));
        TRY(mark_for_shared(r, err));
        TRY(wake_dirty(r, err));
        TRY(wake_for_content(r, err));
        TRY(evaluate_touched(r, err));
    }
    TRY(do_tasks(r, err));
    TRY(forget_deleted(r, err));
    TRY(send_outgoing(r, err));
    TRY(store_next_due(r->txn, &b->next_due_ms, err));
    TRY(store_dirty_count(r->txn, &b->dirty, err));
    if (b->waiting.count > b->dirty)
        b->waiting.count = b->dirty; /* a review or new content came to somebody first */
    return OG_OK;
}

static void reset_results(pipeline_batch *b)
{
    og_arena_reset(b->results);
    og_error_init(&b->error);
    b->status = OG_OK;
    b->counts = (pipeline_counts){0};
    b->deliveries = NULL;
    b->prepared = NULL;
    b->sayings = NULL;
    b->events = NULL;
    b->event_count = 0;
    b->outgoing = NULL;
    b->outgoing_count = 0;
    b->outgoing_left = 0;
    b->evaluation_us = NULL;
    b->delivery_count = b->prepared_count = b->saying_count = b->failure_count = 0;
    b->next_due_ms = 0;
    b->dirty = 0;
    b->waiting = (waiting_rest){.ripe_ms = INT64_MAX, .offset = INT64_MAX};
    b->sweeping = false;
    b->swept = b->swept_now = 0;
    b->lost = b->lost_shared = false;
}

/* A damaged locator is no damage of this store: it is renewed, and the batch repeated. */
static og_status write_located(const run *r, og_error *err)
{
    og_status status = locator_ensure(r->b->setup->locator, r->located, r->located_count, err);
    if (status != OG_CORRUPT)
        return status;
    err->status = OG_IO;
    return OG_IO;
}

void pipeline_run(pipeline_batch *b)
{
    run r = {.b = b};
    og_error *err = &b->error;
    reset_results(b);
    og_table_init(&r.touched, b->results);
    r.patient_arena = og_arena_new(b->setup->evaluation_bytes);
    og_status status =
        r.patient_arena != NULL ? store_begin(b->store, true, &r.txn, err) : no_memory(err);
    if (status == OG_OK && b->shared != NULL)
        status = store_begin(b->shared, false, &r.shared, err);
    if (status == OG_OK)
        status = steps(&r, err);
    /* The index first: an entry without its record does no harm, a record without its entry would.
     */
    if (status == OG_OK && r.located_count > 0)
        status = write_located(&r, err);
    if (status == OG_OK)
        status = store_commit(r.txn, err);
    else
        store_abort(r.txn);
    store_abort(r.shared);
    og_arena_free(r.patient_arena);
    b->shared_damaged = status == OG_CORRUPT && b->shared != NULL && kv_is_about(b->shared, err);
    b->status = status;
}

void pipeline_run_shared(pipeline_batch *b)
{
    run r = {.b = b, .of_shared = true};
    og_error *err = &b->error;
    reset_results(b);
    og_status status = store_begin(b->shared, true, &r.txn, err);
    if (status == OG_OK)
        status = apply_all(&r, err);
    if (status == OG_OK)
        status = send_outgoing(&r, err);
    if (status == OG_OK)
        status = store_commit(r.txn, err);
    else
        store_abort(r.txn);
    b->status = status;
}
