/* The story of one batch, top to bottom in pipeline_run: begin, apply, find out who is to be
 * evaluated, evaluate and compare each once, write back what became of deliveries, commit. A crash
 * at any point repeats work and skips none; a batch that fails has changed nothing. */
#include "daemon/pipeline_private.h"

#include "daemon/clock.h"
#include "daemon/crash.h"
#include "daemon/grave.h"
#include "daemon/note.h"

#define REFERRERS   1000 /* marked at a time */
#define CHANGES     1000 /* of shared resources, looked at a time */
#define DUE_AT_ONCE 1    /* a review that is due whatever the clock shows; 0 would be none */

og_status pipeline__touch(run *r, og_str patient, int64_t cause_ms, bool tell, og_error *err)
{
    touch *t = og_table_get(&r->touched, patient);
    if (t == NULL) {
        t = og_arena_zalloc(r->b->results, 1, sizeof *t);
        og_str name = og_arena_str(r->b->results, patient);
        if (t == NULL || name.p == NULL || !og_table_put(&r->touched, name, t))
            return pipeline__no_memory(err);
    }
    if (cause_ms > 0 && (t->cause_ms == 0 || cause_ms < t->cause_ms))
        t->cause_ms = cause_ms;
    t->tell |= tell;
    return OG_OK;
}

void pipeline__note_failure(pipeline_batch *b, og_str rule, og_str patient, const og_error *error)
{
    if (b->failure_count == PIPELINE_MAX_FAILURES)
        return;
    b->failures[b->failure_count++] = (pipeline_failure){og_arena_str(b->results, rule),
                                                         og_arena_str(b->results, patient), *error};
}

/* ---- who is to be evaluated ---- */

og_status pipeline__touch_list(run *r, const og_str *patients, size_t count, bool tell,
                               og_error *err)
{
    for (size_t i = 0; i < count; i++)
        TRY(pipeline__touch(r, patients[i], 0, tell, err));
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
    TRY(store_due(r->txn, r->b->results, r->b->now_ms, pipeline__most(r), &patients, &count, err));
    if (count > 0)
        crash_point(CRASH_SWEPT);
    r->b->counts.reviews = count;
    return pipeline__touch_list(r, patients, count, false, err);
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

og_status pipeline__meta_int_or(store_txn *t, const char *name, int64_t other, int64_t *ret,
                                og_error *err)
{
    *ret = other;
    og_status status = store_meta_int(t, name, ret, err);
    return status == OG_NOTFOUND ? OG_OK : status;
}

/* What came on the shared topic since this partition looked last, by the view that this batch has
 * of it. If it ends before that place it is another topic, and what alerts rest on may be gone. */
static og_status mark_for_shared(run *r, og_error *err)
{
    int64_t seen, next;
    if (r->shared == NULL)
        return OG_OK;
    TRY(pipeline__meta_int_or(r->txn, STORE_SHARED_SEEN, 0, &seen, err));
    TRY(pipeline__meta_int_or(r->shared, STORE_NEXT_OFFSET, 0, &next, err));
    if (seen == next)
        return OG_OK;
    if (seen > next) {
        r->b->counts.shared_lost++;
        TRY(pipeline__note_lost(r, PIPELINE_LOST_SHARED, err));
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
                     pipeline__most(r), &patients, &count, &r->b->waiting, err));
    for (size_t i = 0; i < count; i++)
        TRY(pipeline__touch(r, patients[i].id, patients[i].cause_ms, true, err));
    return OG_OK;
}

/* ---- for metrics ---- */

og_status pipeline__note_event(run *r, const plan_change *change, plan_answer answered_before,
                               og_error *err)
{
    pipeline_batch *b = r->b;
    const plan_feedback *f = &change->alert.feedback;
    if (b->event_count == r->event_cap) {
        size_t cap = r->event_cap == 0 ? 16 : r->event_cap * 2;
        r->events = og_arena_grow(b->results, r->events, r->event_cap * sizeof *r->events,
                                  cap * sizeof *r->events);
        if (r->events == NULL)
            return pipeline__no_memory(err);
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
                         .shown = change->alert.state == PLAN_ALERT_SHOWN,
                         .kind = change->kind,
                         .answer = f->answer,
                         .action_us = first ? took_ms * 1000 : -1};
    return OG_OK;
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
            return pipeline__no_memory(err);
        r->delivery_cap = cap;
    }
    r->deliveries[b->delivery_count++] = *d;
    b->deliveries = r->deliveries;
    return OG_OK;
}

/* Whether a record of the alerts topic may be prepared here and now: there is room, and nothing of
 * the patient is before it but what this batch has prepared. */
static og_status may_prepare(run *r, const delivery_endpoint *topic, og_str patient, bool *ret,
                             og_error *err)
{
    bool waits;
    *ret = false;
    if (r->b->room == 0)
        return OG_OK;
    if (!og_str_eq(r->line_patient, patient)) {
        TRY(delivery_waits(r->txn, og_str_of(topic->name), patient, &waits, err));
        r->line_patient = og_arena_str(r->b->results, patient);
        r->line_free = !waits;
    }
    *ret = r->line_free;
    return OG_OK;
}

static og_status want(run *r, size_t endpoint, og_str patient, const plan_alert *alert,
                      og_str written, int64_t cause_ms, bool now, pipeline_delivery *d,
                      og_error *err)
{
    const pipeline_batch *b = r->b;
    const delivery_endpoint *ep = &b->setup->endpoints[endpoint];
    delivery_wanted wanted = DELIVERY_SEND;
    delivery_state was;
    delivery_message m = {.body = {NULL, 0}};
    if (now)
        TRY(delivery_want_now(r->txn, b->results, ep, og_str_of(b->setup->tenant), patient, alert,
                              written, cause_ms, &wanted, &d->row, &was, &m, err));
    else
        TRY(delivery_want(r->txn, b->results, ep, patient, alert, cause_ms, &wanted, &d->row, &was,
                          err));
    d->dropped = wanted == DELIVERY_DROPPED;
    d->was_parked = was == DELIVERY_PARKED;
    d->prepared = m.body.p != NULL;
    d->row.patient = og_arena_str(b->results, patient);
    if (d->row.patient.p == NULL)
        return pipeline__no_memory(err);
    return d->prepared ? pipeline__message(r, ep, &d->row, &m, &d->message, err) : OG_OK;
}

/* written: the alert as text, or NULL: then nothing is prepared. A card that may be on its way is
 * withdrawn when its alert ends, whether it arrived or not, so it is made when it goes; the alerts
 * topic holds no cards. */
static og_status want_at(run *r, size_t endpoint, og_str patient, const plan_alert *alert,
                         og_str written, int64_t cause_ms, og_error *err)
{
    const delivery_endpoint *ep = &r->b->setup->endpoints[endpoint];
    pipeline_delivery d = {.endpoint = endpoint};
    bool now = false;
    if (!delivery_concerns(ep, patient))
        return OG_OK;
    if (ep->is_topic && written.p != NULL)
        TRY(may_prepare(r, ep, patient, &now, err));
    TRY(want(r, endpoint, patient, alert, written, cause_ms, now, &d, err));
    r->b->room -= d.prepared;
    if (ep->is_topic && !d.prepared)
        r->line_patient.n = 0;           /* what comes next looks again */
    if (d.dropped && d.row.attempts > 0) /* its intent stands on the topic */
        TRY(pipeline__say(r,
                          said_delivery_key(r->b->results, og_str_of(r->b->setup->tenant), &d.row),
                          (og_str){NULL, 0}, err));
    return add_delivery(r, &d, err);
}

static og_status want_later(run *r, size_t endpoint, og_str patient, const plan_alert *alert,
                            og_error *err)
{
    return want_at(r, endpoint, patient, alert, (og_str){NULL, 0}, 0, err);
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
    return told ? OG_OK : want_later(r, endpoint, patient, alert, err);
}

og_status pipeline__keep_alert(run *r, og_str patient, const plan_alert *alert, og_error *err)
{
    TRY(store_put_alert(r->txn, r->b->scratch, patient, alert, err));
    for (size_t i = 0; i < r->b->setup->endpoint_count; i++)
        if (r->b->setup->endpoints[i].is_topic)
            TRY(want_later(r, i, patient, alert, err));
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
    TRY(pipeline__note_event(r, change, before.feedback.answer, err));
    /* Once for the store and for the alerts topic. */
    og_str text = plan_alert_write(r->b->results, &change->alert);
    if (text.p == NULL)
        return pipeline__no_memory(err);
    TRY(store_put_alert_text(r->txn, r->b->scratch, patient, &change->alert, text, err));
    /* The last first, which is the alerts topic: no card goes before its record (outbox.c). */
    for (size_t i = r->b->setup->endpoint_count; i-- > 0;) {
        if (change->kind == PLAN_ANSWERED && !r->b->setup->endpoints[i].is_topic)
            TRY(tell_endpoint(r, i, patient, &change->alert, err)); /* the card may be as it was */
        else
            TRY(want_at(r, i, patient, &change->alert, text, cause_ms, err));
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
    TRY(plan_content_evaluate(b->content, r->b->patient, who, b->now_ms, b->offset_min, PLAN_CARDS,
                              result, err));
    r->b->counts.rules_asked += result->asked;
    return OG_OK;
}

/* The alerts of a patient who has records. */
static og_status alerts_of(run *r, og_str patient, const plan_alert **ret, size_t *ret_count,
                           og_error *err)
{
    bool again;
    TRY(store_alerts(r->txn, r->b->patient, patient, ret, ret_count, err));
    TRY(pipeline__find_again(r, patient, *ret, *ret_count, &again, err));
    return again ? store_alerts(r->txn, r->b->patient, patient, ret, ret_count, err) : OG_OK;
}

static og_status compare(run *r, plan_patient *who, plan_result *result, int64_t cause_ms,
                         og_error *err)
{
    const pipeline_setup *setup = r->b->setup;
    int64_t review_ms = result->next_review_ms;
    og_str patient = who->id;
    const plan_alert *open;
    const plan_change *changes;
    shown_list shown;
    size_t open_count, change_count;
    og_error why;
    og_error_init(&why);
    if (setup->offset_at != NULL)
        review_ms = clock_review_ms(review_ms, r->b->now_ms, setup->offset_at);
    og_status status = alerts_of(r, patient, &open, &open_count, &why);
    if (status == OG_OK)
        status = find_words(r, who, result, open, open_count, &why);
    if (status == OG_OK)
        status = plan_alert_compare(r->b->patient, r->b->content, open, open_count, result,
                                    r->b->now_ms, &changes, &change_count, &why);
    if (status == OG_OK)
        status = shown_sort(r->txn, r->b->patient, &setup->feedback, r->b->now_ms, patient, open,
                            open_count, changes, change_count, &shown, &why);
    if (status == OG_OK)
        status = feedback_hear(r->shared, r->b->patient, &setup->feedback, r->b->content,
                               r->b->now_ms, is_gated(r), shown.heard, shown.heard_count, &changes,
                               &change_count, &review_ms, &why);
    if (status == OG_NOMEM || status == OG_LIMIT) /* nothing of it is written yet */
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
    TRY(pipeline__forget_shown(r, patient, &shown, err));
    if (shown.end_ms > 0 && (review_ms == 0 || shown.end_ms < review_ms))
        review_ms = shown.end_ms;
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
            return pipeline__no_memory(err);
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
            pipeline__note_failure(r->b, result->outcomes[i].rule, patient,
                                   &result->outcomes[i].error);
}

/* A patient who cannot be evaluated keeps the alerts as they are, is tried again in an hour, and
 * stops nobody. */
static og_status evaluation_failed(run *r, og_str patient, const og_error *why, og_error *err)
{
    r->b->counts.evaluation_failures++;
    pipeline__note_failure(r->b, OG_STR(""), patient, why);
    return store_set_review(r->txn, patient, r->b->now_ms + 3600000, err);
}

/* What an evaluation has said, in the same transaction as what it came to. */
static og_status keep_note(run *r, og_str patient, const note_view *known,
                           const plan_result *result, og_error *err)
{
    if (r->b->setup->program == NULL)
        return OG_OK;
    if (known->count == 0)
        return store_put_note(r->txn, patient, OG_STR(""), err);
    og_str note = note_make(r->b->patient, known, result, NOTE_MAX_BYTES);
    return note.n == 0 || note.p == known->before.p ? OG_OK
                                                    : store_put_note(r->txn, patient, note, err);
}

static og_status evaluate_patient(run *r, og_str patient, int64_t cause_ms, og_error *err)
{
    plan_patient who = {.tenant = og_str_of(r->b->setup->tenant),
                        .id = patient,
                        .plain_id = record_plain_id(patient)};
    const pipeline_batch *b = r->b;
    plan_result result;
    note_view known;
    og_str before = {NULL, 0};
    const uint64_t *hashes;
    og_error why;
    og_error_init(&why);
    og_arena_reset(r->b->patient);
    int64_t began_us = clock_monotonic_us();
    og_status status = store_view_hashed(r->txn, r->shared, r->b->patient, patient, &who.resources,
                                         &hashes, &who.resource_count, &why);
    if (status == OG_OK && b->setup->program != NULL)
        status = store_get_note(r->txn, r->b->patient, patient, &before, &why);
    if (status == OG_CORRUPT || status == OG_IO) { /* the store, not the patient */
        *err = why;
        return status;
    }
    if (status == OG_OK) {
        note_look(r->b->patient, b->setup->program, b->content, &who, hashes, before, b->now_ms,
                  b->offset_min, &known);
        status = plan_content_evaluate(b->content, r->b->patient, &who, b->now_ms, b->offset_min,
                                       PLAN_CARDS, &result, &why);
    }
    TRY(note_time(r, clock_monotonic_us() - began_us, err));
    if (status != OG_OK)
        return evaluation_failed(r, patient, &why, err);
    r->b->counts.rules_asked += result.asked;
    note_rule_failures(r, patient, &result);
    TRY(compare(r, &who, &result, cause_ms, err));
    r->b->counts.rules_spared += result.spared;
    return keep_note(r, patient, &known, &result, err);
}

static og_status evaluate_touched(run *r, og_error *err)
{
    TRY(pipeline__find_lost(r, err));
    for (uint32_t i = 0; i < r->touched.count; i++) {
        const touch *t = r->touched.entries[i].value;
        og_str patient = r->touched.entries[i].key;
        bool waited;
        TRY(store_clear_dirty(r->txn, patient, &waited, err));
        if (!t->lost)
            TRY(evaluate_patient(r, patient, t->cause_ms, err));
        /* Whatever has woken who waited comes in place of what would have told (wake_dirty). */
        if (t->tell || waited)
            TRY(tell_endpoints(r, patient, err));
    }
    return OG_OK;
}
/* ---- what was deleted long ago ---- */

static og_status forget_deleted(run *r, og_error *err)
{
    const pipeline_batch *b = r->b;
    if (b->restoring || b->gated || !b->send || b->setup->tombstone_ms <= 0)
        return OG_OK; /* gated: also when the clock that we go by is doubted */
    return grave_open(r->txn, b->results, b->real_ms - b->setup->tombstone_ms,
                      PIPELINE_MAX_PATIENTS, err);
}

/* ---- the story ---- */

static og_status steps(run *r, og_error *err)
{
    pipeline_batch *b = r->b;
    TRY(pipeline__remember_lost(r, err));
    TRY(pipeline__take_over_all(r, err));
    TRY(pipeline__apply_all(r, err));
    if (b->message_count > 0)
        crash_point(CRASH_APPLIED);
    if (b->restoring) {
        TRY(mark_touched(r, err));
    } else {
        TRY(let_cease(r, err));
        TRY(wake_due(r, err));
        TRY(mark_for_shared(r, err));
        TRY(wake_dirty(r, err));
        TRY(pipeline__wake_for_content(r, err));
        TRY(evaluate_touched(r, err));
    }
    TRY(pipeline__do_tasks(r, err));
    TRY(pipeline__read_stored(r, err));
    TRY(forget_deleted(r, err));
    TRY(pipeline__send_outgoing(r, err));
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
    b->stored = NULL;
    b->stored_count = 0;
    b->stored_last = (og_str){NULL, 0};
    b->stored_end = false;
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
    b->lost = PIPELINE_LOST_NOTHING;
    b->lost_since_ms = 0;
}

void pipeline_run(pipeline_batch *b)
{
    run r = {.b = b};
    og_error *err = &b->error;
    reset_results(b);
    og_table_init(&r.touched, b->results);
    og_status status = store_begin(b->store, true, &r.txn, err);
    if (status == OG_OK && b->shared != NULL)
        status = store_begin(b->shared, false, &r.shared, err);
    if (status == OG_OK)
        status = steps(&r, err);
    if (status == OG_OK)
        status = store_commit(r.txn, err);
    else
        store_abort(r.txn);
    store_abort(r.shared);
    og_arena_reset(b->patient); /* of a large one little stays */
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
        status = pipeline__apply_all(&r, err);
    if (status == OG_OK)
        status = pipeline__send_outgoing(&r, err);
    if (status == OG_OK)
        status = store_commit(r.txn, err);
    else
        store_abort(r.txn);
    b->status = status;
}
