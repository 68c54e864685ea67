/* The way of an event from gather to the EHR, with the real rules: the sample stream, one event
 * after the other. */
#include "daemon_world.h"
#include "daemon/packed.h"

#include "connectors/ndjson.h"

#define STREAM   OG_SOURCE_DIR "/tests/fixtures/sample/stream.ndjson"
#define EXPECTED OG_SOURCE_DIR "/tests/fixtures/sample/expected.tsv"

#define BEFORE_MIDNIGHT 1772319580000 /* 2026-02-28T23:59:40+01:00 */
#define MIDNIGHT        1772319600000

/* Sends lines [first, last) of the sample stream. */
static void send_lines(world *w, size_t first, size_t last, bool settle)
{
    ndjson_reader *r;
    ndjson_item item;
    og_error err;
    og_error_init(&err);
    assert_int_equal(ndjson_open(STREAM, 0, 0, 0, &r, &err), OG_OK);
    for (size_t i = 0; ndjson_next(r, &item, &err) == OG_OK; i++) {
        if (i < first || i >= last)
            continue;
        world_put(w, "fhir.bundle", (og_str){NULL, 0}, item.text);
        if (settle)
            world_settle_down(w);
    }
    ndjson_close(r);
}

/* Each is worked off before the next. */
static void play(world *w, size_t first, size_t last)
{
    send_lines(w, first, last, true);
}

typedef struct expectation {
    char patient[64], rule[16], indicator[16], state[16];
} expectation;

static size_t read_expected(expectation *out, size_t max)
{
    char line[256];
    size_t n = 0;
    FILE *f = fopen(EXPECTED, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    while (n < max && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "%63s %15s %15s %15s", out[n].patient, out[n].rule, out[n].indicator,
                   out[n].state) == 4)
            n++;
    fclose(f);
    return n;
}

typedef struct found {
    char patient[64], rule[16], indicator[16], state[16];
    char uuid[37];
    int64_t lost_ms;
} found;

typedef struct search {
    world *w;
    found *at;
    size_t count;
} search;

static og_status find_alert(void *ctx, og_str key, og_str value, og_error *err)
{
    static const char *const indicators[] = {"info", "warning", "critical"};
    search *s = ctx;
    plan_alert alert;
    found *f = &s->at[s->count];
    if (!store_row_is(key, STORE_ROW_ALERT))
        return OG_OK;
    og_str text;
    assert_int_equal(packed_read(s->w->arena, value, &text, err), OG_OK);
    assert_int_equal(plan_alert_read(s->w->arena, text, &alert, err), OG_OK);
    snprintf(f->patient, sizeof f->patient, "%s",
             og_arena_str(s->w->arena, store_patient_of(key)).p);
    snprintf(f->rule, sizeof f->rule, "%.*s", OG_STR_ARG(alert.rule));
    snprintf(f->indicator, sizeof f->indicator, "%s", indicators[alert.indicator]);
    snprintf(f->state, sizeof f->state, "%s",
             alert.state != PLAN_ALERT_ACTIVE ? "resolved"
             : alert.worklist                 ? "worklist" /* of which this EHR hears nothing */
                                              : "open");
    memcpy(f->uuid, alert.card_uuid, sizeof f->uuid);
    f->lost_ms = alert.lost_ms;
    s->count++;
    return OG_OK;
}

static size_t all_alerts(world *w, found *out)
{
    search s = {w, out, 0};
    og_error err;
    og_error_init(&err);
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        store_txn *t;
        assert_int_equal(store_begin(w->stores[p], false, &t, &err), OG_OK);
        assert_int_equal(
            kv_scan(t, STORE_PATIENT, (og_str){NULL, 0}, (og_str){NULL, 0}, find_alert, &s, &err),
            OG_OK);
        store_abort(t);
    }
    return s.count;
}

static const found *lookup(const found *list, size_t n, const char *patient, const char *rule)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].patient, patient) == 0 && strcmp(list[i].rule, rule) == 0)
            return &list[i];
    return NULL;
}

static void as_expected(world *w)
{
    static found list[256];
    static expectation expected[128];
    size_t n = all_alerts(w, list), m = read_expected(expected, 128), open = 0, open_expected = 0;
    assert_true(m > 10);
    for (size_t i = 0; i < m; i++) {
        const found *f = lookup(list, n, expected[i].patient, expected[i].rule);
        bool good = f != NULL && strcmp(f->state, expected[i].state) == 0 &&
                    strcmp(f->indicator, expected[i].indicator) == 0;
        if (!good)
            print_error("%s %s: expected %s %s, found %s %s\n", expected[i].patient,
                        expected[i].rule, expected[i].indicator, expected[i].state,
                        f != NULL ? f->indicator : "nothing", f != NULL ? f->state : "");
        assert_true(good);
        open_expected += strcmp(expected[i].state, "open") == 0;
    }
    for (size_t i = 0; i < n; i++)
        open += strcmp(list[i].state, "open") == 0;
    assert_int_equal(open, open_expected);
}

/* What a receiver holds that plays by the rules: cards by uuid, withdrawn ones gone, a repeated key
 * ignored. */
typedef struct ehr {
    char cards[512][37];
    char keys[1024][64];
    size_t card_count, key_count, repeats;
} ehr;

static void ehr_remove(ehr *e, const char *uuid)
{
    for (size_t i = 0; i < e->card_count; i++) {
        if (strcmp(e->cards[i], uuid) == 0) {
            memcpy(e->cards[i], e->cards[--e->card_count], 37);
            return;
        }
    }
}

static void ehr_take(ehr *e, world *w, const world_post *post)
{
    fhir_doc doc;
    for (size_t i = 0; i < e->key_count; i++) {
        if (strcmp(e->keys[i], post->key) == 0) {
            e->repeats++;
            return;
        }
    }
    snprintf(e->keys[e->key_count++], 64, "%s", post->key);
    assert_int_equal(fhir_decode(w->arena, og_str_of(post->body), NULL, &doc, NULL), OG_OK);
    fhir_elem root = fhir_root(&doc), list = fhir_path(root, "extension");
    list = fhir_get(fhir_get(list, "org.osteoguard.delivery"), "retracts");
    for (fhir_elem r = fhir_first(list); fhir_exists(r); r = fhir_next(list, r))
        ehr_remove(e, og_arena_str(w->arena, fhir_string(w->arena, fhir_get(r, "uuid"))).p);
    list = fhir_get(root, "cards");
    for (fhir_elem c = fhir_first(list); fhir_exists(c); c = fhir_next(list, c))
        snprintf(e->cards[e->card_count++], 37, "%.*s",
                 OG_STR_ARG(fhir_string(w->arena, fhir_get(c, "uuid"))));
}

/* After everything: the receiver holds exactly the cards of the open alerts. */
static void ehr_agrees(world *w, size_t expected_repeats)
{
    static found list[256];
    static ehr e;
    memset(&e, 0, sizeof e);
    for (size_t i = 0; i < w->post_count; i++)
        ehr_take(&e, w, &w->posts[i]);
    size_t n = all_alerts(w, list), open = 0;
    for (size_t i = 0; i < n; i++) {
        bool held = false;
        if (strcmp(list[i].state, "open") != 0)
            continue;
        open++;
        for (size_t k = 0; k < e.card_count; k++)
            held |= strcmp(e.cards[k], list[i].uuid) == 0;
        assert_true(held);
    }
    assert_int_equal(e.card_count, open);
    assert_int_equal(e.repeats, expected_repeats);
}

static void pass_midnight(world *w)
{
    uint64_t before = w->total.reviews;
    w->now_ms = MIDNIGHT + 1000;
    world_settle_down(w);
    assert_true(w->total.reviews > before);
}

static void the_sample_stream_ends_as_expected(void **state)
{
    world *w = world_new();
    (void)state;
    w->now_ms = BEFORE_MIDNIGHT;
    play(w, 0, SIZE_MAX);
    pass_midnight(w);
    as_expected(w);
    ehr_agrees(w, 0);
    assert_int_equal(w->total.evaluation_failures, 0);
    assert_int_equal(w->total.bad, 0);
    assert_true(w->total.opened > 0 && w->total.resolved > 0);
    assert_int_equal(metric_value(METRIC_INPUTS), metric_value(METRIC_RECORDED) +
                                                      metric_value(METRIC_IRRELEVANT) +
                                                      metric_value(METRIC_DEAD_LETTERS));
    assert_int_equal(metric_value(METRIC_DEAD_LETTERS), w->dead.count);
    assert_int_equal(metric_value(METRIC_RECORDED), w->records.count + w->shared.count);
    assert_true(w->alert_count >= w->total.opened);
    world_free(w);
}

/* D3 fires because a dose did not come: no event, only the clock. */
static void the_clock_alone_opens_an_alert(void **state)
{
    static found list[256];
    world *w = world_new();
    (void)state;
    w->now_ms = BEFORE_MIDNIGHT;
    play(w, 0, SIZE_MAX);
    size_t n = all_alerts(w, list), records = w->records.count, posts = w->post_count;
    assert_null(lookup(list, n, "sample-11", "D3"));
    bool due_at_midnight = false;
    for (int p = 0; p < WORLD_PARTITIONS; p++)
        due_at_midnight |= w->next_due_ms[p] == MIDNIGHT;
    assert_true(due_at_midnight);
    w->now_ms = MIDNIGHT - 1;
    world_settle_down(w);
    n = all_alerts(w, list);
    assert_null(lookup(list, n, "sample-11", "D3"));
    w->now_ms = MIDNIGHT;
    world_settle_down(w);
    n = all_alerts(w, list);
    const found *d3 = lookup(list, n, "sample-11", "D3");
    assert_non_null(d3);
    assert_string_equal(d3->state, "open");
    assert_int_equal(w->records.count, records);
    assert_true(w->post_count > posts);
    world_free(w);
}

/* While data may be on their way: what the clock alone would open waits, and so does what rests on
 * absence when an event wakes the patient. What rests on what is there does not. */
static void nothing_is_missed_before_all_has_arrived(void **state)
{
    world *w = world_new();
    (void)state;
    w->now_ms = BEFORE_MIDNIGHT;
    play(w, 0, SIZE_MAX);
    uint64_t opened = w->total.opened;
    w->now_ms = MIDNIGHT + 1000;
    w->batch.gated = true;
    world_settle_down(w);
    assert_int_equal(w->total.reviews, 0);
    assert_int_equal(w->total.opened, opened);
    w->batch.gated = false;
    world_settle_down(w);
    assert_true(w->total.reviews > 0);
    assert_true(w->total.opened > opened);
    world_free(w);
    /* the same when every event comes after the midnight at which the dose is missed */
    static found list[256];
    w = world_new();
    w->now_ms = MIDNIGHT + 1000;
    w->batch.gated = true;
    play(w, 0, SIZE_MAX);
    assert_true(w->total.opened > 10);
    size_t n = all_alerts(w, list);
    assert_null(lookup(list, n, "sample-11", "D3"));
    w->batch.gated = false;
    world_settle_down(w);
    n = all_alerts(w, list);
    assert_non_null(lookup(list, n, "sample-11", "D3"));
    world_free(w);
}

/* What is overdue or not documented waits until all data are there, whatever wakes the patient;
 * what is dangerous on the data that are there waits for nothing. */
static void rules_about_something_missing_are_marked(void **state)
{
    static const char *const wait[] = {"A1",  "A3", "A7", "B1",  "B2", "B6", "C4", "D1", "D3",
                                       "D3b", "D5", "E1", "F4a", "F5", "G1", "G7", "I1"};
    static const char *const at_once[] = {"A2", "B3", "B4", "B5", "C1", "C2", "C3",
                                          "C5", "D6", "E2", "E3", "F1", "F2", "H2"};
    static found list[256];
    world *w = world_new();
    (void)state;
    for (size_t i = 0; i < sizeof wait / sizeof wait[0]; i++)
        if (!plan_content_rests_on_absence(w->content, og_str_of(wait[i])))
            fail_msg("%s does not wait", wait[i]);
    for (size_t i = 0; i < sizeof at_once / sizeof at_once[0]; i++)
        if (plan_content_rests_on_absence(w->content, og_str_of(at_once[i])))
            fail_msg("%s waits", at_once[i]);
    w->now_ms = MIDNIGHT + 1000;
    w->batch.gated = true;
    play(w, 0, SIZE_MAX);
    size_t n = all_alerts(w, list), held = 0;
    for (size_t i = 0; i < n; i++)
        assert_false(plan_content_rests_on_absence(w->content, og_str_of(list[i].rule)));
    w->batch.gated = false;
    world_settle_down(w);
    n = all_alerts(w, list);
    for (size_t i = 0; i < n; i++)
        held += plan_content_rests_on_absence(w->content, og_str_of(list[i].rule));
    assert_true(held > 5);
    world_free(w);
}

/* What waits for the data waits for nothing else: not until a clock that was set back, or that of
 * the next process, has come as far as the one by which it was found. */
static void what_waits_for_the_data_does_not_wait_for_the_clock(void **state)
{
    static found list[256];
    world *w = world_new();
    (void)state;
    w->now_ms = MIDNIGHT + 20000;
    w->batch.gated = true;
    play(w, 0, SIZE_MAX);
    assert_null(lookup(list, all_alerts(w, list), "sample-11", "D3"));
    w->now_ms = MIDNIGHT + 1000;
    w->batch.gated = false;
    world_settle_down(w);
    assert_non_null(lookup(list, all_alerts(w, list), "sample-11", "D3"));
    for (int p = 0; p < WORLD_PARTITIONS; p++)
        assert_true(w->next_due_ms[p] == 0 || w->next_due_ms[p] > w->now_ms); /* once, not again */
    world_free(w);
}

/* What a patient's records refer to comes while their store is shut: the partition is not ours for
 * a while, or the process has died and has not come to it yet. */
static void what_is_referred_to_wakes_behind_a_shut_store(void **state)
{
    static found list[256];
    char path[160];
    og_error err;
    world *w = world_new();
    (void)state;
    og_error_init(&err);
    w->now_ms = BEFORE_MIDNIGHT;
    size_t shared = w->shared.count;
    send_lines(w, 32, 33, false);
    assert_int_equal(w->shared.count, shared + 1);
    world_apply_records(w);
    assert_null(lookup(list, all_alerts(w, list), "sample-33", "B1")); /* given what? */
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        kv_close(w->stores[p]);
        w->stores[p] = NULL;
    }
    world_apply_shared(w);
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        snprintf(path, sizeof path, "%s/%d", w->dir, p);
        assert_int_equal(store_open(path, 256u << 20, false, NULL, &w->stores[p], &err), OG_OK);
    }
    world_settle_down(w);
    assert_non_null(lookup(list, all_alerts(w, list), "sample-33", "B1"));
    uint64_t evaluations = w->total.evaluations;
    world_settle_down(w);
    assert_int_equal(w->total.evaluations, evaluations); /* once */
    world_free(w);
}

/* The process dies without a word at any event of the stream; nothing is lost and nothing is said
 * twice but with its old key. */
static void a_crash_in_the_middle_changes_nothing(void **state)
{
    (void)state;
    for (size_t at = 5; at < 77; at += 18) {
        world *w = world_new();
        w->now_ms = BEFORE_MIDNIGHT;
        play(w, 0, at);
        world_restart(w, false);
        play(w, at - 2, at); /* the sources repeat what was not committed */
        play(w, at, SIZE_MAX);
        world_restart(w, true);
        pass_midnight(w);
        as_expected(w);
        ehr_agrees(w, 0);
        world_free(w);
    }
}

/* Dies between the POST and its answer: the same key again. */
static void a_crash_between_send_and_answer_repeats_the_key(void **state)
{
    world *w = world_new();
    (void)state;
    w->now_ms = BEFORE_MIDNIGHT;
    w->ehr_silent = true;
    play(w, 0, 12);
    size_t silent = w->unanswered_count;
    assert_true(silent > 0 && silent <= 4); /* max_in_flight of the endpoint */
    world_restart(w, false);
    w->ehr_silent = false;
    play(w, 12, SIZE_MAX);
    pass_midnight(w);
    as_expected(w);
    ehr_agrees(w, silent);
    world_free(w);
}

/* All stores are gone: they come back from the topics, with the same alerts. */
static void stores_come_back_from_the_topics(void **state)
{
    static found before[256], after[256];
    world *w = world_new();
    char path[128];
    (void)state;
    w->now_ms = BEFORE_MIDNIGHT;
    play(w, 0, SIZE_MAX);
    size_t n = all_alerts(w, before);
    gather_free(w->gather);
    outbox_free(w->outbox);
    world_close_stores(w, true);
    for (int i = -2; i < WORLD_PARTITIONS; i++) {
        if (i >= 0)
            snprintf(path, sizeof path, "%s/%d", w->dir, i);
        else
            snprintf(path, sizeof path, "%s/%s", w->dir, i == -1 ? "shared" : "ids");
        assert_int_equal(kv_discard(path, NULL), OG_OK);
    }
    world_open_stores(w);
    world_open_outbox(w);
    gather_options go = world_gather_options(w);
    w->gather = gather_new(&go, w->content, w->recorded);
    w->records_read = w->places_read = w->shared_read = 0;
    memset(&w->total, 0, sizeof w->total);
    w->restoring = true;
    world_apply_shared(w);
    world_apply_records(w);
    assert_int_equal(w->total.evaluations, 0); /* nobody is judged by half of the data */
    w->restoring = false;
    world_settle_down(w);
    assert_true(w->total.evaluations > 0);
    size_t m = all_alerts(w, after), open_before = 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(before[i].state, "open") != 0)
            continue;
        open_before++;
        const found *f = lookup(after, m, before[i].patient, before[i].rule);
        assert_non_null(f);
        assert_string_equal(f->state, "open");
        assert_string_equal(f->indicator, before[i].indicator);
    }
    size_t open_after = 0;
    for (size_t i = 0; i < m; i++)
        open_after += strcmp(after[i].state, "open") == 0;
    assert_int_equal(open_after, open_before);
    /* the places know again whose a resource is: a delete finds its patient */
    size_t records = w->records.count;
    const char *key = NULL;
    for (size_t i = 0; i < records && key == NULL; i++)
        if (strstr(w->records.at[i].key, "|Condition/") != NULL)
            key = strstr(w->records.at[i].key, "|Condition/") + 1;
    assert_non_null(key);
    world_put(w, "fhir.condition", og_str_of(key), (og_str){NULL, 0});
    world_settle_down(w);
    assert_int_equal(w->records.count, records + 1);
    assert_non_null(strstr(w->records.at[records].value, "\"deleted\":true"));
    world_free(w);
}

/* Other content: every patient is seen again, once, whatever events come. */
static size_t count_open(const found *list, size_t n)
{
    size_t open = 0;
    for (size_t i = 0; i < n; i++)
        open += strcmp(list[i].state, "resolved") != 0;
    return open;
}

static size_t count_lost(world *w)
{
    size_t lost = 0;
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        store_txn *t;
        og_str mark;
        assert_int_equal(store_begin(w->stores[p], false, &t, NULL), OG_OK);
        lost += store_meta(t, STORE_LOST, &mark, NULL) == OG_OK;
        store_abort(t);
    }
    return lost;
}

typedef struct keys {
    og_arena *a;
    og_str at[2048];
    size_t count;
} keys;

static og_status keep_key(void *ctx, og_str key, og_str value, og_error *err)
{
    keys *k = ctx;
    (void)value;
    (void)err;
    assert_true(k->count < 2048);
    k->at[k->count++] = og_arena_str(k->a, key);
    return OG_OK;
}

static const keys *keys_of(world *w, store_txn *t, store_table table)
{
    static keys k;
    k.a = w->arena;
    k.count = 0;
    assert_int_equal(
        kv_scan(t, (int)table, (og_str){NULL, 0}, (og_str){NULL, 0}, keep_key, &k, NULL), OG_OK);
    return &k;
}

/* Everybody with alerts is to be evaluated anew. */
static void wake_alerted(world *w, int p)
{
    store_txn *t;
    assert_int_equal(store_begin(w->stores[p], true, &t, NULL), OG_OK);
    const keys *k = keys_of(w, t, STORE_PATIENT);
    for (size_t i = 0; i < k->count; i++)
        if (store_row_is(k->at[i], STORE_ROW_ALERT))
            assert_int_equal(
                store_mark_dirty(t, og_arena_str(w->arena, store_patient_of(k->at[i])), -1, NULL),
                OG_OK);
    assert_int_equal(store_commit(t, NULL), OG_OK);
}

/* As after a records topic that was emptied: what was said is known, of whom is not. */
static void lose_records(world *w)
{
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        store_txn *t;
        wake_alerted(w, p);
        assert_int_equal(store_begin(w->stores[p], true, &t, NULL), OG_OK);
        const keys *k = keys_of(w, t, STORE_PATIENT);
        for (size_t i = 0; i < k->count; i++)
            if (store_row_is(k->at[i], STORE_ROW_RESOURCE))
                assert_int_equal(kv_delete(t, STORE_PATIENT, k->at[i], NULL), OG_OK);
        assert_int_equal(store_commit(t, NULL), OG_OK);
    }
}

/* As after a shared topic that was created anew, and its store with it. */
static void lose_shared(world *w)
{
    char path[160];
    snprintf(path, sizeof path, "%s/shared", w->dir);
    kv_close(w->shared_store);
    assert_int_equal(kv_discard(path, NULL), OG_OK);
    assert_int_equal(store_open(path, 256u << 20, false, NULL, &w->shared_store, NULL), OG_OK);
    world_clear(&w->shared);
    w->shared_read = 0;
    for (int p = 0; p < WORLD_PARTITIONS; p++)
        wake_alerted(w, p);
}

/* The topic that the alerts rest on is gone: that is no reason to withdraw a single one, neither at
 * once nor while one resource after the other comes back. */
static void lost_records_withdraw_nothing(void **state)
{
    static found list[256];
    world *w = world_new();
    (void)state;
    w->now_ms = MIDNIGHT + 1000;
    play(w, 0, SIZE_MAX);
    size_t open = count_open(list, all_alerts(w, list));
    assert_int_equal(count_lost(w), 0);
    uint64_t resolved = w->total.resolved;
    lose_records(w);
    send_lines(w, 33, 34, false); /* of one patient something comes before the loss is seen */
    world_settle_down(w);
    assert_true(w->total.withheld >= 15);
    assert_int_equal(w->total.resolved, resolved);
    assert_true(count_open(list, all_alerts(w, list)) >= open);
    assert_int_equal(count_lost(w), WORLD_PARTITIONS);
    ehr_agrees(w, 0);
    play(w, 0, SIZE_MAX); /* the sources are read again */
    assert_int_equal(w->total.resolved, resolved);
    w->batch.losses.filled_ms = 1;
    world_settle_down(w);
    assert_int_equal(count_lost(w), 0);
    assert_int_equal(count_open(list, all_alerts(w, list)), open);
    ehr_agrees(w, 0);
    world_free(w);
}

/* And what is not there yet has not been missed. */
static void nothing_is_missed_while_records_are_lost(void **state)
{
    static found list[256];
    world *w = world_new();
    (void)state;
    w->now_ms = BEFORE_MIDNIGHT;
    play(w, 0, SIZE_MAX);
    assert_null(lookup(list, all_alerts(w, list), "sample-11", "D3"));
    lose_records(w);
    w->now_ms = MIDNIGHT + 1000;
    send_lines(w, 10, 11, false);
    world_settle_down(w);
    assert_null(lookup(list, all_alerts(w, list), "sample-11", "D3"));
    play(w, 0, SIZE_MAX);
    assert_null(lookup(list, all_alerts(w, list), "sample-11", "D3"));
    w->batch.losses.filled_ms = 1;
    world_settle_down(w);
    assert_non_null(lookup(list, all_alerts(w, list), "sample-11", "D3"));
    world_free(w);
}

/* Nor what another partition has lost, as long as it is not over here; the store remembers it. */
static void what_others_lost_is_not_missed_here(void **state)
{
    static found list[256];
    world *w = world_new();
    (void)state;
    w->now_ms = BEFORE_MIDNIGHT;
    play(w, 0, SIZE_MAX);
    uint64_t resolved = w->total.resolved;
    w->now_ms = MIDNIGHT + 1000;
    w->batch.losses.lost_ms = 500;
    world_settle_down(w);
    assert_int_equal(count_lost(w), WORLD_PARTITIONS);
    assert_int_equal(w->batch.lost, PIPELINE_LOST_ELSEWHERE);
    w->batch.losses.lost_ms = 0; /* another process has the store, and has heard nothing */
    send_lines(w, 10, 11, false);
    world_settle_down(w);
    assert_int_equal(w->batch.lost_since_ms, 500);
    assert_null(lookup(list, all_alerts(w, list), "sample-11", "D3"));
    w->batch.losses.filled_ms = 499; /* of a loss before */
    world_settle_down(w);
    w->batch.losses.filled_ms = 500;
    w->batch.behind = true; /* what was read again waits in a queue */
    world_settle_down(w);
    assert_int_equal(count_lost(w), WORLD_PARTITIONS);
    assert_null(lookup(list, all_alerts(w, list), "sample-11", "D3"));
    assert_int_equal(w->total.resolved, resolved);
    w->batch.behind = false;
    world_settle_down(w);
    assert_int_equal(count_lost(w), 0);
    assert_non_null(lookup(list, all_alerts(w, list), "sample-11", "D3"));
    w->batch.losses.lost_ms = 500; /* who has not heard yet that it is over says nothing new */
    world_settle_down(w);
    assert_int_equal(count_lost(w), 0);
    world_free(w);
}

/* As in the new store of another owner, who knows what is on the topics. */
static void forget_losses(world *w)
{
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        store_txn *t;
        assert_int_equal(store_begin(w->stores[p], true, &t, NULL), OG_OK);
        og_status status = kv_delete(t, STORE_META, OG_STR(STORE_FILLED), NULL);
        assert_true(status == OG_OK || status == OG_NOTFOUND);
        assert_int_equal(store_commit(t, NULL), OG_OK);
        wake_alerted(w, p);
    }
    world_settle_down(w);
}

/* Sources end somewhere. Who does not come back keeps the alerts, and is not sought for ever. */
static void what_stays_away_is_sought_once(void **state)
{
    static found list[256];
    world *w = world_new();
    (void)state;
    w->now_ms = MIDNIGHT + 1000;
    play(w, 0, SIZE_MAX);
    assert_int_equal(lookup(list, all_alerts(w, list), "sample-11", "D3")->lost_ms, 0);
    w->batch.losses.new_ms = 7;
    lose_records(w);
    world_settle_down(w);
    send_lines(w, 33, 34, false);
    world_settle_down(w);
    assert_int_equal(count_lost(w), WORLD_PARTITIONS);
    assert_int_equal(lookup(list, all_alerts(w, list), "sample-11", "D3")->lost_ms, 7);
    ehr_agrees(w, 0); /* it has heard nothing of that */
    play(w, 0, 5);    /* no more is left */
    w->batch.losses = (pipeline_losses){.filled_ms = 7, .new_ms = 8};
    world_settle_down(w);
    assert_int_equal(count_lost(w), 0);
    uint64_t withheld = w->total.withheld;
    forget_losses(w);
    assert_true(w->total.withheld > withheld);
    assert_int_equal(count_lost(w), 0); /* not again */
    const found *kept = lookup(list, all_alerts(w, list), "sample-11", "D3");
    assert_string_equal(kept->state, "open");
    w->batch.losses.filled_ms = 0; /* nobody is left who knows how it ended */
    forget_losses(w);
    assert_true(count_lost(w) > 0);
    assert_int_equal(w->batch.losses.new_ms, 8);
    assert_int_equal(lookup(list, all_alerts(w, list), "sample-11", "D3")->lost_ms, 7);
    w->batch.losses.filled_ms = 8;
    world_settle_down(w);
    assert_int_equal(count_lost(w), 0);
    play(w, 10, 11); /* sent again */
    kept = lookup(list, all_alerts(w, list), "sample-11", "D3");
    assert_string_equal(kept->state, "open");
    assert_int_equal(kept->lost_ms, 0);
    w->batch.losses.new_ms = 9;
    lose_records(w); /* that is another loss */
    world_settle_down(w);
    assert_true(count_lost(w) > 0);
    assert_int_equal(lookup(list, all_alerts(w, list), "sample-11", "D3")->lost_ms, 9);
    world_free(w);
}

/* The same for what patients' records refer to: a Medication that is gone is none that was deleted.
 */
static void a_lost_shared_topic_withdraws_nothing(void **state)
{
    static found list[256];
    world *w = world_new();
    (void)state;
    w->now_ms = MIDNIGHT + 1000;
    play(w, 0, SIZE_MAX);
    const found *rests = lookup(list, all_alerts(w, list), "sample-33", "B1");
    assert_non_null(rests);
    assert_string_equal(rests->state, "open");
    size_t open = count_open(list, all_alerts(w, list));
    uint64_t resolved = w->total.resolved;
    lose_shared(w);
    world_settle_down(w);
    assert_int_equal(w->total.shared_lost, WORLD_PARTITIONS);
    assert_int_equal(w->total.withheld, 0);
    assert_int_equal(w->total.resolved, resolved);
    assert_true(count_open(list, all_alerts(w, list)) >= open);
    assert_int_equal(count_lost(w), WORLD_PARTITIONS);
    assert_int_equal(w->batch.lost, PIPELINE_LOST_SHARED);
    play(w, 0, SIZE_MAX); /* the sources are read again */
    assert_int_equal(w->total.resolved, resolved);
    w->batch.losses.filled_ms = 1;
    world_settle_down(w);
    assert_int_equal(count_lost(w), 0);
    assert_int_equal(w->total.shared_lost, WORLD_PARTITIONS); /* once */
    assert_int_equal(count_open(list, all_alerts(w, list)), open);
    ehr_agrees(w, 0);
    world_free(w);
}

/* What is deleted is not lost: its tombstone is there, and the alert goes. */
static void what_is_deleted_is_not_lost(void **state)
{
    static found list[256];
    world *w = world_new();
    (void)state;
    w->now_ms = MIDNIGHT + 1000;
    play(w, 0, SIZE_MAX);
    const found *before = lookup(list, all_alerts(w, list), "sample-01", "B1");
    assert_non_null(before);
    assert_string_equal(before->state, "open");
    size_t records = w->records.count;
    for (size_t i = 0; i < records; i++) {
        const char *row = strstr(w->records.at[i].key, "|sample-01|");
        if (row != NULL)
            world_put(w, "fhir.bundle", og_str_of(row + strlen("|sample-01|")), (og_str){NULL, 0});
    }
    world_settle_down(w);
    const found *after = lookup(list, all_alerts(w, list), "sample-01", "B1");
    assert_string_equal(after->state, "resolved");
    assert_int_equal(w->total.withheld, 0);
    assert_int_equal(count_lost(w), 0);
    ehr_agrees(w, 0);
    world_free(w);
}

static void new_content_sees_every_patient(void **state)
{
    static found list[256];
    world *w = world_new();
    (void)state;
    w->now_ms = MIDNIGHT + 1000;
    play(w, 0, SIZE_MAX);
    uint64_t evaluations = w->total.evaluations;
    world_take_content(w, world_content_without("D3"));
    world_settle_down(w);
    assert_true(w->total.evaluations > evaluations + 20);
    size_t n = all_alerts(w, list);
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].rule, "D3") == 0)
            assert_string_equal(list[i].state, "resolved");
    ehr_agrees(w, 0);
    evaluations = w->total.evaluations;
    world_settle_down(w); /* and not again */
    assert_int_equal(w->total.evaluations, evaluations);
    world_free(w);
}

/* A record whose form nobody knows does not stop the partition. */
static void strange_records_are_passed_over(void **state)
{
    world *w = world_new();
    (void)state;
    const pipeline_message strange[] = {
        {.key = OG_STR("x"), .value = OG_STR("y"), .offset = 0},
        {.key = OG_STR("t|p|Patient/p"), .value = OG_STR("{}\n{}"), .offset = 1},
        {.key = OG_STR("other|p|Patient/p"),
         .value = OG_STR("{\"osteoguard\":1,\"epoch\":0,\"time\":1,\"topic\":\"x\",\"partition\":0,"
                         "\"offset\":1,"
                         "\"timestamp\":1,\"order\":0,\"entry\":0,\"of\":1}\n{\"resourceType\":"
                         "\"Patient\",\"id\":\"p\"}"),
         .offset = 2},
        {.key = OG_STR("t|p|Patient/p"),
         .value = OG_STR("{\"osteoguard\":1,\"epoch\":0,\"time\":1,\"topic\":\"x\",\"partition\":0,"
                         "\"offset\":1,"
                         "\"timestamp\":1,\"order\":0,\"entry\":0,\"of\":1}\n{not json"),
         .offset = 3},
        {.key = OG_STR("t|p|Patient/p"), .offset = 4}, /* null: left by compaction */
        {.key = OG_STR("t|p|Patient/p"),
         .value = OG_STR("{\"osteoguard\":1,\"epoch\":0,\"time\":1,\"topic\":\"x\",\"partition\":0,"
                         "\"offset\":1,"
                         "\"timestamp\":1,\"order\":0,\"entry\":0,\"of\":1}\n{\"resourceType\":"
                         "\"Patient\",\"id\":\"p\"}"),
         .offset = 5}};
    world_run_partition(w, 0, strange, 6, 6);
    assert_int_equal(w->total.bad, 4);
    assert_int_equal(w->total.applied, 1);
    assert_int_equal(w->total.evaluations, 1);
    assert_int_equal(w->batch.failure_count, 4);
    world_free(w);
}

/* One patient has more data than an evaluation may use; the other one in the same batch is
 * evaluated. */
static void one_patient_too_large_does_not_stop_the_batch(void **state)
{
    world *w = world_new();
    (void)state;
    og_buf text;
    og_buf_init(&text, 8u << 20);
    og_buf_addz(&text, "{\"resourceType\":\"Patient\",\"id\":\"large\",\"name\":[");
    for (int i = 0; i < 60000; i++)
        og_buf_addf(&text, "%s{\"family\":\"name%d\"}", i > 0 ? "," : "", i);
    og_buf_addz(&text, "]}");
    og_arena_free(w->batch.patient);
    w->batch.patient = og_arena_new((size_t)512 * 1024);
    world_put(w, "fhir.patient", (og_str){NULL, 0}, og_buf_str(&text));
    world_event(w, "{\"resourceType\":\"Patient\",\"id\":\"small\",\"gender\":\"female\"}");
    world_settle_down(w);
    og_buf_done(&text);
    assert_int_equal(w->total.applied, 2);
    assert_int_equal(w->total.evaluation_failures, 1);
    assert_true(w->total.evaluations >= 2);
    world_free(w);
}

static void same_posts(const world_post *a, size_t a_count, const world_post *b, size_t b_count)
{
    assert_int_equal(a_count, b_count);
    for (size_t i = 0; i < a_count; i++) {
        assert_string_equal(a[i].body, b[i].body);
        assert_string_equal(a[i].key, b[i].key);
    }
}

static int by_key(const void *a, const void *b)
{
    const world_post *x = a, *y = b;
    return strcmp(x->key, y->key);
}

/* However few patients the outbox holds, each message is the same; their order among patients is
 * not. */
static void with_little_room_the_same_is_said(void **state)
{
    world *little = world_new(), *much = world_new();
    (void)state;
    outbox_free(much->outbox);
    much->outbox_patients = 1000;
    world_open_outbox(much);
    little->now_ms = much->now_ms = BEFORE_MIDNIGHT;
    play(little, 0, 1000);
    play(much, 0, 1000);
    pass_midnight(little);
    pass_midnight(much);
    assert_true(little->post_count > 10);
    ehr_agrees(little, 0);
    qsort(little->posts, little->post_count, sizeof *little->posts, by_key);
    qsort(much->posts, much->post_count, sizeof *much->posts, by_key);
    same_posts(little->posts, little->post_count, much->posts, much->post_count);
    world_free(little);
    world_free(much);
}

static og_status keep_row(void *ctx, const delivery *d, og_error *err)
{
    world *w = ctx;
    delivery stale = *d;
    (void)err;
    if (d->state != DELIVERY_PARKED)
        return OG_OK;
    stale.state = DELIVERY_INTENT;
    assert_true(outbox_add(w->outbox, 0, world_partition_of(d->patient), &stale));
    return OG_OK;
}

/* The outbox learns of the row as it was before its refusal was written back. */
static void read_stale_rows(world *w)
{
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        store_txn *t;
        assert_int_equal(store_begin(w->stores[p], false, &t, NULL), OG_OK);
        assert_int_equal(delivery_each(t, w->arena, keep_row, w, NULL), OG_OK);
        store_abort(t);
    }
}

/* What was given up is not tried again when its row is read again, but by a new process. */
static void what_was_given_up_stays_so_when_it_is_read_again(void **state)
{
    static const outbox_answer never[] = {{.verdict = CONN_NEVER, .retry_after_ms = -1}};
    world *w = world_new();
    (void)state;
    w->script = never;
    w->script_count = 1;
    world_take_case(w, "V5");
    size_t posts = w->post_count;
    assert_true(posts > 0);
    read_stale_rows(w);
    assert_int_equal(outbox_pending(w->outbox, 0), 1);
    world_settle_down(w);
    assert_int_equal(w->post_count, posts);
    for (int again = 0; again < 2; again++) {
        for (int p = 0; p < WORLD_PARTITIONS; p++)
            outbox_read_store(w->outbox, p, again == 1);
        world_settle_down(w);
        assert_int_equal(w->post_count, posts + (size_t)again);
        assert_int_equal(outbox_pending(w->outbox, SIZE_MAX), 0);
    }
    world_free(w);
}

/* Whether a delivery is prepared in the batch that finds it or in one of its own: the same is said,
 * byte for byte and in the same order. */
static void prepared_at_once_or_later_it_is_the_same(void **state)
{
    world *now = world_new(), *later = world_new();
    (void)state;
    later->prepared_later = true;
    now->now_ms = later->now_ms = BEFORE_MIDNIGHT;
    play(now, 0, 1000);
    play(later, 0, 1000);
    assert_true(now->post_count > 10);
    same_posts(now->posts, now->post_count, later->posts, later->post_count);
    same_posts(now->alerts, now->alert_count, later->alerts, later->alert_count);
    same_posts(now->sayings, now->saying_count, later->sayings, later->saying_count);
    assert_int_equal(later->prepares, later->post_count + later->alert_count);
    assert_int_equal(now->prepares, now->post_count); /* cards are made when they go */
    world_free(now);
    world_free(later);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sample_stream_ends_as_expected),
        cmocka_unit_test(the_clock_alone_opens_an_alert),
        cmocka_unit_test(nothing_is_missed_before_all_has_arrived),
        cmocka_unit_test(rules_about_something_missing_are_marked),
        cmocka_unit_test(what_waits_for_the_data_does_not_wait_for_the_clock),
        cmocka_unit_test(what_is_referred_to_wakes_behind_a_shut_store),
        cmocka_unit_test(a_crash_in_the_middle_changes_nothing),
        cmocka_unit_test(a_crash_between_send_and_answer_repeats_the_key),
        cmocka_unit_test(stores_come_back_from_the_topics),
        cmocka_unit_test(lost_records_withdraw_nothing),
        cmocka_unit_test(nothing_is_missed_while_records_are_lost),
        cmocka_unit_test(what_others_lost_is_not_missed_here),
        cmocka_unit_test(what_stays_away_is_sought_once),
        cmocka_unit_test(a_lost_shared_topic_withdraws_nothing),
        cmocka_unit_test(what_is_deleted_is_not_lost),
        cmocka_unit_test(new_content_sees_every_patient),
        cmocka_unit_test(strange_records_are_passed_over),
        cmocka_unit_test(one_patient_too_large_does_not_stop_the_batch),
        cmocka_unit_test(prepared_at_once_or_later_it_is_the_same),
        cmocka_unit_test(with_little_room_the_same_is_said),
        cmocka_unit_test(what_was_given_up_stays_so_when_it_is_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
