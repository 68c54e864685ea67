/* A daemon without loop, broker and EHR: gather, stores, pipeline and outbox as they are, between
 * lists in memory. The test holds both clocks and both ends. */
#ifndef OG_TESTS_DAEMON_WORLD_H
#define OG_TESTS_DAEMON_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "daemon/cmd.h"
#include "daemon/content_dir.h"
#include "daemon/file.h"
#include "daemon/gather.h"
#include "daemon/grave.h"
#include "daemon/log.h"
#include "daemon/metrics.h"
#include "daemon/outbox.h"
#include "daemon/pipeline.h"

#define WORLD_PARTITIONS 3

typedef struct world_message {
    char *key, *value;
    size_t key_n, value_n;
    int32_t partition;
    int64_t offset;    /* counted over all partitions */
    int64_t logged_ms; /* real; 0: not known */
    bool has_value;
    char *headers; /* "name=value\n" lines */
} world_message;

typedef struct world_list {
    world_message *at;
    size_t count, cap;
    int64_t next; /* offset */
} world_list;

typedef struct world_post {
    char *body, *key;
} world_post;

typedef struct world {
    char dir[64];
    plan_content *content;
    og_arena *arena;
    idset *recorded;
    gather *gather;
    size_t max_record_bytes, max_in_flight;
    const kafka_property *envelopes; /* of a gather that is made anew */
    size_t envelope_count;
    world_list records, places, shared, dead; /* places: those of the records topic */
    size_t shared_read, records_read, places_read;
    og_buf sent_rows[WORLD_PARTITIONS]; /* errands and re-asserted rows that are there */
    pipeline_sent sent[WORLD_PARTITIONS][PIPELINE_MAX_OUTGOING];
    size_t sent_count[WORLD_PARTITIONS];
    bool outgoing_left;
    /* the sink's script */
    int again_after;      /* this many more sends are accepted; -1: all */
    bool hold_reports;    /* reports wait for world_report */
    conn_verdict verdict; /* of the reports to come */
    kafka_report_fn *waiting_fn[4096];
    void *waiting_ctx[4096];
    size_t waiting;
    size_t done, rereads;
    int64_t last_done;
    int pauses;
    bool paused;
    int64_t next_offset;
    /* owner's side */
    store *stores[WORLD_PARTITIONS], *shared_store;
    pipeline_setup setup;
    delivery_endpoint endpoints[2];
    bool prepared_later; /* no delivery is prepared in the batch that finds it */
    size_t prepares;     /* deliveries that had a task for that */
    pipeline_batch batch;
    pipeline_task tasks[WORLD_PARTITIONS][1024];
    size_t task_count[WORLD_PARTITIONS];
    char *task_patients[WORLD_PARTITIONS][1024];
    bool restoring;
    int64_t now_ms, real_ms; /* the daemon's clock and the real one */
    int64_t next_due_ms[WORLD_PARTITIONS];
    pipeline_counts total;
    uint64_t dirty;
    /* EHR */
    outbox *outbox;
    size_t outbox_patients; /* that it holds */
    world_post *posts;
    size_t post_count;
    world_post *alerts; /* the alerts topic */
    size_t alert_count;
    world_post
        *sayings; /* on it, too: what an owner says beside its deliveries; body "": nothing */
    size_t saying_count;
    const outbox_answer *script; /* answers in order; then `done` */
    size_t script_count, script_at;
    bool ehr_silent; /* answers wait in `unanswered` */
    uint64_t unanswered[64];
    size_t unanswered_count;
} world;

/* ---- lists ---- */

static inline char *world_copy(og_str s)
{
    char *p = malloc(s.n + 1);
    assert_non_null(p);
    if (s.n > 0)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

static inline void world_push(world_list *l, const kafka_record *r)
{
    if (l->count == l->cap) {
        l->cap = l->cap == 0 ? 64 : l->cap * 2;
        l->at = realloc(l->at, l->cap * sizeof *l->at);
        assert_non_null(l->at);
    }
    og_buf headers;
    og_buf_init(&headers, 1 << 16);
    for (size_t i = 0; i < r->header_count; i++)
        og_buf_addf(&headers, "%s=%.*s\n", r->headers[i].name, OG_STR_ARG(r->headers[i].value));
    l->at[l->count++] = (world_message){.key = world_copy(r->key),
                                        .value = world_copy(r->value),
                                        .key_n = r->key.n,
                                        .value_n = r->value.n,
                                        .partition = r->partition,
                                        .offset = l->next++,
                                        .has_value = r->value.p != NULL,
                                        .headers = world_copy(og_buf_str(&headers))};
    og_buf_done(&headers);
}

/* As serve does it. */
static inline void world_mark_removal(kafka_record *r)
{
    static const conn_header removal = {GRAVE_HEADER, {"1", 1}};
    if (r->value.p == NULL) {
        r->headers = &removal;
        r->header_count = 1;
    }
}

/* With the moment at which the log got it. */
static inline void world_keep(world *w, world_list *l, const kafka_record *r)
{
    world_push(l, r);
    l->at[l->count - 1].logged_ms = w->real_ms;
}

static inline void world_clear(world_list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        free(l->at[i].key);
        free(l->at[i].value);
        free(l->at[i].headers);
    }
    free(l->at);
    memset(l, 0, sizeof *l);
}

/* ---- gather's other side ---- */

static inline conn_verdict world_send_record(void *ctx, const kafka_record *r,
                                             kafka_report_fn *report, void *report_ctx,
                                             og_error *err)
{
    world *w = ctx;
    if (w->again_after == 0)
        return CONN_AGAIN;
    if (w->again_after > 0)
        w->again_after--;
    if (r->key.n + r->value.n > w->max_record_bytes + 4096) {
        (void)og_fail(err, OG_LIMIT, "larger than the producer takes");
        return CONN_NEVER;
    }
    if (w->verdict == CONN_DONE)
        world_keep(w,
                   record_is_place(r->key)            ? &w->places
                   : strcmp(r->topic, "records") == 0 ? &w->records
                   : strcmp(r->topic, "shared") == 0  ? &w->shared
                                                      : &w->dead,
                   r);
    if (w->hold_reports) {
        assert_true(w->waiting < 4096);
        w->waiting_fn[w->waiting] = report;
        w->waiting_ctx[w->waiting++] = report_ctx;
    } else {
        report(report_ctx, w->verdict, r->partition, 0, NULL);
    }
    return CONN_DONE;
}

/* Answers the reports that wait, the last ones first: order must not matter. */
static inline void world_report(world *w, conn_verdict verdict)
{
    while (w->waiting > 0) {
        w->waiting--;
        w->waiting_fn[w->waiting](w->waiting_ctx[w->waiting], verdict, 0, 0, NULL);
    }
}

static inline void world_gather_done(void *ctx, const char *topic, int32_t partition,
                                     int64_t offset)
{
    world *w = ctx;
    (void)topic;
    (void)partition;
    w->done++;
    w->last_done = offset;
}

static inline void world_gather_pause(void *ctx, bool pause)
{
    world *w = ctx;
    w->paused = pause;
    w->pauses++;
}

static inline void world_gather_reread(void *ctx)
{
    ((world *)ctx)->rereads++;
}

/* ---- the outbox' other side ---- */

static inline void world_add_task(world *w, const outbox_item *item,
                                  const delivery_outcome *outcome)
{
    int p = item->partition;
    size_t n = w->task_count[p]++;
    assert_true(n < 1024);
    pipeline_task *t = &w->tasks[p][n];
    memset(t, 0, sizeof *t);
    t->ticket = item->ticket;
    t->endpoint = item->endpoint;
    t->sequence = item->sequence;
    t->given_up = item->given_up;
    w->task_patients[p][n] = world_copy(item->patient);
    t->patient = (og_str){w->task_patients[p][n], item->patient.n};
    memcpy(t->alert_id, item->alert_id, sizeof t->alert_id);
    t->settle = outcome != NULL;
    if (outcome != NULL)
        t->outcome = *outcome;
    if (outcome != NULL && outcome->reason != NULL)
        t->outcome.reason = "refused";
}

static inline bool world_prepare(void *ctx, const outbox_item *item)
{
    world *w = ctx;
    w->prepares++;
    world_add_task(w, item, NULL);
    return true;
}

static inline void world_settle(void *ctx, const outbox_item *item, const delivery_outcome *outcome)
{
    world_add_task(ctx, item, outcome);
}

static inline void world_keep_post(world_post **list, size_t *count, og_str body, og_str key)
{
    *list = realloc(*list, (*count + 1) * sizeof **list);
    assert_non_null(*list);
    (*list)[(*count)++] = (world_post){world_copy(body), world_copy(key)};
}

static inline void world_post_item(void *ctx, const outbox_item *item, const outbox_message *m)
{
    og_str body = m->body, key = m->key;
    world *w = ctx;
    static const outbox_answer good = {.verdict = CONN_DONE, .retry_after_ms = -1};
    if (item->endpoint == 1) {
        world_keep_post(&w->alerts, &w->alert_count, body, key);
        outbox_answered(w->outbox, item->ticket, &good, w->real_ms);
        return;
    }
    world_keep_post(&w->posts, &w->post_count, body, key);
    if (w->ehr_silent) {
        assert_true(w->unanswered_count < 64);
        w->unanswered[w->unanswered_count++] = item->ticket;
        return;
    }
    const outbox_answer *a = w->script_at < w->script_count ? &w->script[w->script_at++] : &good;
    outbox_answered(w->outbox, item->ticket, a, w->real_ms);
}

/* ---- life ---- */

static inline void world_open_stores(world *w)
{
    char path[128];
    og_error err;
    og_error_init(&err);
    for (int i = 0; i < WORLD_PARTITIONS; i++) {
        snprintf(path, sizeof path, "%s/%d", w->dir, i);
        assert_int_equal(store_open(path, 256u << 20, false, NULL, &w->stores[i], &err), OG_OK);
    }
    snprintf(path, sizeof path, "%s/shared", w->dir);
    assert_int_equal(store_open(path, 256u << 20, false, NULL, &w->shared_store, &err), OG_OK);
    snprintf(path, sizeof path, "%s/ids", w->dir);
    assert_int_equal(idset_open(path, NULL, &w->recorded, &err), OG_OK);
    w->setup.recorded = w->recorded;
}

static inline void world_open_outbox(world *w)
{
    static const outbox_endpoint queues[] = {{"ehr", 4}, {"@alerts", 64}};
    outbox_options o = {.endpoints = queues,
                        .endpoint_count = 2,
                        .partitions = WORLD_PARTITIONS,
                        .max_patients = w->outbox_patients,
                        .backoff_min_ms = 1000,
                        .backoff_max_ms = 60000,
                        .seed = 42,
                        .ctx = w,
                        .prepare = world_prepare,
                        .send = world_post_item,
                        .settle = world_settle};
    w->outbox = outbox_new(&o);
    assert_non_null(w->outbox);
}

static inline void world_quiet(void *ctx, og_str line)
{
    (void)ctx;
    (void)line;
}

static inline gather_options world_gather_options(world *w)
{
    return (gather_options){.tenant = "t",
                            .records_topic = "records",
                            .shared_topic = "shared",
                            .dead_letters_topic = "dead",
                            .partitions = WORLD_PARTITIONS,
                            .max_message_bytes = 64u << 20,
                            .max_record_bytes = w->max_record_bytes,
                            .dead_letter_bytes = 1000,
                            .arena_bytes = (size_t)1 << 30,
                            .max_depth = 128,
                            .max_in_flight = w->max_in_flight,
                            .envelopes = w->envelopes,
                            .envelope_count = w->envelope_count,
                            .ctx = w,
                            .send = world_send_record,
                            .done = world_gather_done,
                            .pause = world_gather_pause,
                            .reread = world_gather_reread};
}

static inline plan_content *world_content(const plan_setting *settings, size_t count)
{
    plan_content *content = NULL;
    og_report report = {.fn = cmd_print_problem};
    plan_options options = {.settings = settings, .setting_count = count};
    assert_int_equal(content_dir_load(OG_SOURCE_DIR "/rules/content", &options, &content, &report),
                     OG_OK);
    return content;
}

/* The content without one of its rules. */
static inline plan_content *world_content_without(const char *rule)
{
    plan_content *content = NULL;
    og_report report = {.fn = cmd_print_problem};
    plan_options options = {.disabled = &rule, .disabled_count = 1};
    assert_int_equal(content_dir_load(OG_SOURCE_DIR "/rules/content", &options, &content, &report),
                     OG_OK);
    return content;
}

/* As a reload does it; content is taken. */
static inline void world_take_content(world *w, plan_content *content)
{
    plan_content_free(w->content);
    w->content = content;
    gather_set_content(w->gather, content);
}

static inline world *world_new(void)
{
    world *w = calloc(1, sizeof *w);
    og_error err;
    og_error_init(&err);
    assert_non_null(w);
    log_sink(world_quiet, NULL);
    metrics_reset();
    assert_int_equal(clock_set_zone("Europe/Berlin", &err), OG_OK);
    strcpy(w->dir, "/tmp/og-world-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->max_record_bytes = 8u << 20;
    w->max_in_flight = 1000;
    w->again_after = -1;
    w->content = world_content(NULL, 0);
    w->arena = og_arena_new((size_t)1 << 30);
    world_open_stores(w);
    gather_options go = world_gather_options(w);
    w->gather = gather_new(&go, w->content, w->recorded);
    w->endpoints[0] =
        (delivery_endpoint){"ehr", false, "https://fhir.example.org", "osteoguard", false};
    w->endpoints[1] = (delivery_endpoint){"@alerts", true, "", "", true};
    w->setup.tenant = "t";
    w->setup.endpoints = w->endpoints;
    w->setup.endpoint_count = 2;
    w->setup.max_depth = 128;
    w->setup.feedback = (feedback_policy){.days = 90, .critical_hours = 24};
    w->setup.offset_at = clock_offset_min;
    w->batch.setup = &w->setup;
    w->batch.losses.new_ms = 1;
    w->batch.results = og_arena_new((size_t)1 << 30);
    w->batch.scratch = og_arena_new((size_t)1 << 30);
    w->batch.patient = og_arena_new((size_t)256 << 20);
    w->setup.program = "world";
    w->outbox_patients = 2; /* the rows of others wait in the stores */
    world_open_outbox(w);
    w->now_ms = 1772319600000; /* 2026-03-01T00:00+01:00 */
    w->real_ms = 1000;
    return w;
}

static inline void world_forget_tasks(world *w, int p)
{
    for (size_t i = 0; i < w->task_count[p]; i++)
        free(w->task_patients[p][i]);
    w->task_count[p] = 0;
}

static inline void world_close_stores(world *w, bool clean)
{
    for (int i = 0; i < WORLD_PARTITIONS; i++) {
        if (clean)
            kv_close(w->stores[i]);
        else
            kv_abandon(w->stores[i]);
        world_forget_tasks(w, i);
    }
    if (clean) {
        kv_close(w->shared_store);
        idset_close(w->recorded);
    } else {
        kv_abandon(w->shared_store);
        idset_abandon(w->recorded);
    }
}

static inline void world_free(world *w)
{
    gather_free(w->gather);
    outbox_free(w->outbox);
    world_close_stores(w, true);
    for (int i = 0; i < WORLD_PARTITIONS; i++)
        og_buf_done(&w->sent_rows[i]);
    world_clear(&w->records);
    world_clear(&w->places);
    world_clear(&w->shared);
    world_clear(&w->dead);
    for (size_t i = 0; i < w->post_count; i++) {
        free(w->posts[i].body);
        free(w->posts[i].key);
    }
    for (size_t i = 0; i < w->alert_count; i++) {
        free(w->alerts[i].body);
        free(w->alerts[i].key);
    }
    for (size_t i = 0; i < w->saying_count; i++) {
        free(w->sayings[i].body);
        free(w->sayings[i].key);
    }
    free(w->posts);
    free(w->alerts);
    free(w->sayings);
    og_arena_free(w->batch.results);
    og_arena_free(w->batch.scratch);
    og_arena_free(w->batch.patient);
    og_arena_free(w->arena);
    plan_content_free(w->content);
    assert_int_equal(file_remove_tree(w->dir, NULL), OG_OK);
    free(w);
}

/* ---- events in ---- */

static inline void world_put(world *w, const char *topic, og_str key, og_str value)
{
    conn_message m = {.origin = {topic, 0, w->next_offset++, 1772000000000 + w->next_offset},
                      .key = key,
                      .value = value};
    gather_message(w->gather, &m);
}

static inline void world_event(world *w, const char *json)
{
    world_put(w, "fhir.test", (og_str){NULL, 0}, og_str_of(json));
}

/* ---- the owner's turns ---- */

/* What a batch wants written to the records topic is there at once; the next batch hears of it. */
static inline void world_take_outgoing(world *w, int p)
{
    const pipeline_batch *b = &w->batch;
    og_buf *rows = &w->sent_rows[p];
    if (rows->max == 0)
        og_buf_init(rows, 1 << 20);
    og_buf_clear(rows);
    for (size_t i = 0; i < b->outgoing_count; i++)
        og_buf_adds(rows, b->outgoing[i].row);
    size_t at = 0;
    for (size_t i = 0; i < b->outgoing_count; i++) {
        const pipeline_outgoing *o = &b->outgoing[i];
        kafka_record r = {.partition =
                              o->route.n > 0 ? kafka_partition_for(o->route, WORLD_PARTITIONS) : p,
                          .key = o->key,
                          .value = o->value};
        world_mark_removal(&r);
        world_keep(w, record_is_place(o->key) ? &w->places : &w->records, &r);
        w->sent[p][i] = (pipeline_sent){{rows->p + at, o->row.n}, o->mark};
        at += o->row.n;
    }
    w->sent_count[p] = b->outgoing_count;
    w->outgoing_left |= b->outgoing_left > 0;
}

static inline outbox_message world_sendable(const pipeline_sendable *m)
{
    return (outbox_message){m->body, m->key, m->said_key, m->said_value};
}

static inline void world_add_delivery(world *w, int p, const pipeline_delivery *d)
{
    outbox_message m = world_sendable(&d->message);
    assert_true(d->prepared ? outbox_add_prepared(w->outbox, d->endpoint, p, &d->row, &m)
                            : outbox_add(w->outbox, d->endpoint, p, &d->row));
}

static inline void world_take_results(world *w, int p)
{
    pipeline_batch *b = &w->batch;
    pipeline_counts *c = &w->total;
    assert_int_equal(b->status, OG_OK);
    c->applied += b->counts.applied;
    c->same += b->counts.same;
    c->stale += b->counts.stale;
    c->bad += b->counts.bad;
    for (size_t i = 0; i < b->failure_count; i++)
        print_message("failure: %.*s %s %s\n", OG_STR_ARG(b->failures[i].rule),
                      b->failures[i].error.text, b->failures[i].error.path);
    c->evaluations += b->counts.evaluations;
    c->evaluation_failures += b->counts.evaluation_failures;
    c->rules_asked += b->counts.rules_asked;
    c->rules_spared += b->counts.rules_spared;
    c->opened += b->counts.opened;
    c->changed += b->counts.changed;
    c->resolved += b->counts.resolved;
    c->withheld += b->counts.withheld;
    c->shared_lost += b->counts.shared_lost;
    c->reviews += b->counts.reviews;
    c->joined += b->counts.joined;
    w->next_due_ms[p] = b->next_due_ms;
    c->placed += b->counts.placed;
    c->unplaced += b->counts.unplaced;
    c->forgotten += b->counts.forgotten;
    c->merges.merged += b->counts.merges.merged;
    c->merges.separated += b->counts.merges.separated;
    c->merges.circles += b->counts.merges.circles;
    c->merges.copies += b->counts.merges.copies;
    c->merges.too_far += b->counts.merges.too_far;
    w->dirty = b->dirty;
    world_take_outgoing(w, p);
    for (size_t i = 0; i < b->delivery_count; i++) {
        const pipeline_delivery *d = &b->deliveries[i];
        if (d->dropped)
            outbox_drop(w->outbox, d->endpoint, d->row.patient, d->row.alert_id);
        else
            world_add_delivery(w, p, d);
    }
    if (b->more.patients > 0)
        assert_true(outbox_take(w->outbox, p, &b->more, b->stored, b->stored_count, b->stored_last,
                                b->stored_end));
    for (size_t i = 0; i < b->saying_count; i++)
        world_keep_post(&w->sayings, &w->saying_count, b->sayings[i].value, b->sayings[i].key);
    for (size_t i = 0; i < b->prepared_count; i++) {
        const pipeline_prepared *x = &b->prepared[i];
        outbox_message m = world_sendable(&x->message);
        outbox_prepared(w->outbox, x->ticket, x->gone ? NULL : &x->row, &m, w->real_ms);
    }
}

static inline void world_run_partition(world *w, int p, const pipeline_message *messages,
                                       size_t count, int64_t next)
{
    pipeline_batch *b = &w->batch;
    static pipeline_task tasks[1024];
    char *patients[1024];
    size_t n = w->task_count[p];
    memcpy(tasks, w->tasks[p], n * sizeof *tasks);
    memcpy(patients, w->task_patients[p], n * sizeof *patients);
    w->task_count[p] = 0; /* new ones may come from the results */
    b->content = w->content;
    b->store = w->stores[p];
    b->shared = w->shared_store;
    b->messages = messages;
    b->message_count = count;
    b->next_offset = next;
    b->tasks = tasks;
    b->task_count = n;
    b->now_ms = w->now_ms;
    b->real_ms = w->real_ms;
    b->offset_min = clock_offset_min(w->now_ms);
    b->restoring = w->restoring;
    b->sent = w->sent[p];
    b->sent_count = w->sent_count[p];
    b->send = true;
    b->room = w->prepared_later ? 0 : outbox_room(w->outbox, 1, p);
    if (outbox_wants(w->outbox, p, &b->more))
        b->more.after = og_arena_str(w->arena, b->more.after);
    else
        b->more.patients = 0;
    pipeline_run(b);
    world_take_results(w, p);
    for (size_t i = 0; i < n; i++)
        free(patients[i]);
}

static inline pipeline_message world_as_message(const world_message *m)
{
    return (pipeline_message){.key = {m->key, m->key_n},
                              .value = {m->has_value ? m->value : NULL, m->value_n},
                              .offset = m->offset,
                              .timestamp_ms = m->logged_ms,
                              .removal = strstr(m->headers, GRAVE_HEADER) != NULL};
}

static inline void world_apply_shared(world *w)
{
    size_t n = w->shared.count - w->shared_read;
    if (n == 0)
        return;
    pipeline_message *list = calloc(n, sizeof *list);
    for (size_t i = 0; i < n; i++)
        list[i] = world_as_message(&w->shared.at[w->shared_read + i]);
    w->batch.shared = w->shared_store;
    w->batch.sent_count = 0;
    w->batch.send = false;
    w->batch.messages = list;
    w->batch.message_count = n;
    w->batch.next_offset = (int64_t)w->shared.count;
    pipeline_run_shared(&w->batch);
    assert_int_equal(w->batch.status, OG_OK);
    w->shared_read = w->shared.count;
    free(list);
}

static inline void world_apply_records(world *w)
{
    const size_t records = w->records.count, places = w->places.count;
    pipeline_message *list =
        calloc(records - w->records_read + places - w->places_read + 1, sizeof *list);
    w->outgoing_left = false;
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        size_t count = 0;
        for (size_t i = w->records_read; i < records; i++)
            if (w->records.at[i].partition == p)
                list[count++] = world_as_message(&w->records.at[i]);
        for (size_t i = w->places_read; i < places; i++)
            if (w->places.at[i].partition == p)
                list[count++] = world_as_message(&w->places.at[i]);
        world_run_partition(w, p, list, count, w->records.next);
    }
    w->records_read = records;
    w->places_read = places;
    free(list);
}

static inline int world_partition_of(og_str patient)
{
    og_buf route;
    og_buf_init(&route, 512);
    record_write_route(&route, OG_STR("t"), patient);
    int p = (int)kafka_partition_for(og_buf_str(&route), WORLD_PARTITIONS);
    og_buf_done(&route);
    return p;
}

/* A record of the alerts topic that the owner has not written itself; value NULL: none any more. */
static inline void world_said(world *w, const char *key, const char *value)
{
    said_key k;
    said_message m = {.key = og_str_of(key)};
    if (value != NULL)
        m.value = og_str_of(value);
    assert_true(said_read_key(m.key, &k));
    w->batch.said = &m;
    w->batch.said_count = 1;
    world_run_partition(w, world_partition_of(k.patient), NULL, 0, -1);
    w->batch.said_count = 0;
}

/* Everything that can happen at this moment happens: records, evaluations, deliveries. */
static inline void world_settle_down(world *w)
{
    delivery_more want;
    for (int turn = 0; turn < 500; turn++) {
        world_apply_shared(w);
        world_apply_records(w);
        outbox_deliver(w->outbox, w->real_ms);
        bool quiet = true;
        for (int p = 0; p < WORLD_PARTITIONS; p++)
            quiet = quiet && w->task_count[p] == 0;
        quiet = quiet && w->records_read == w->records.count && w->places_read == w->places.count;
        for (int p = 0; p < WORLD_PARTITIONS; p++)
            quiet = quiet && !outbox_wants(w->outbox, p, &want);
        if (quiet && !w->outgoing_left && w->dirty == 0 && turn > 1)
            return;
    }
    fail_msg("the world does not come to rest");
}

/* The Bundle of a clinical case becomes the patient's record. */
static inline void world_take_case(world *w, const char *id)
{
    char path[512];
    og_buf text;
    fhir_doc doc;
    og_arena *a = og_arena_new((size_t)64 << 20);
    snprintf(path, sizeof path, "%s/rules/content/cases/%s.json", OG_SOURCE_DIR, id);
    og_buf_init(&text, (size_t)1 << 22);
    assert_int_equal(file_read(path, (size_t)1 << 22, &text, NULL), OG_OK);
    assert_int_equal(fhir_decode(a, og_buf_str(&text), NULL, &doc, NULL), OG_OK);
    char *bundle = world_copy(fhir_raw(fhir_get(fhir_root(&doc), "bundle")));
    world_event(w, bundle);
    world_settle_down(w);
    free(bundle);
    og_buf_done(&text);
    og_arena_free(a);
}

/* The process dies and starts again: what is in memory is gone. */
static inline void world_restart(world *w, bool clean)
{
    gather_free(w->gather);
    outbox_free(w->outbox);
    world_close_stores(w, clean);
    world_open_stores(w);
    world_open_outbox(w);
    gather_options go = world_gather_options(w);
    w->gather = gather_new(&go, w->content, w->recorded);
    w->unanswered_count = 0;
    for (int p = 0; p < WORLD_PARTITIONS; p++)
        outbox_read_store(w->outbox, p, false);
}

#endif
