/* The owner of partitions on a real loop, with real stores: what waits, what runs, and what happens
 * when a store is taken away. */
#include "daemon_world.h"
#include "owner_idle.h"

#include <lmdb.h>

#define REQUEST(id, patient)                                                                       \
    "{\"resourceType\":\"MedicationRequest\",\"id\":\"" id                                         \
    "\",\"status\":\"active\",\"intent\":\"order\",\"subject\":{\"reference\":\"Patient/" patient  \
    "\"},\"medicationReference\":{\"reference\":\"Medication/m\"}}"
#define MEDICATION                                                                                 \
    "{\"resourceType\":\"Medication\",\"id\":\"m\",\"code\":{\"coding\":[{\"system\":"             \
    "\"http://www.whocc.no/atc\",\"code\":\"M05BX04\"}]}}"

typedef struct scene {
    world *w;
    uv_loop_t loop;
    og_clock clock;
    owner *owner;
    int damaged_count, damaged;
    int asks; /* so many times rows of the store are asked for */
    int reads;
    char heard[64]; /* what batches gave, in order: s a saying, p something prepared */
} scene;

static void on_damaged(void *ctx, int partition, const og_error *err)
{
    scene *s = ctx;
    (void)err;
    s->damaged_count++;
    s->damaged = partition;
}

static void hear(scene *s, const char *what)
{
    assert_true(strlen(s->heard) + 2 < sizeof s->heard);
    strcat(s->heard, what);
}

static void hear_saying(void *ctx, int partition, const pipeline_saying *x)
{
    (void)partition;
    (void)x;
    hear(ctx, "s");
}

static void hear_prepared(void *ctx, int partition, const pipeline_prepared *x)
{
    (void)partition;
    (void)x;
    hear(ctx, "p");
}

static bool wants_rows(void *ctx, int partition, delivery_more *ret)
{
    scene *s = ctx;
    (void)partition;
    *ret = (delivery_more){.pass = 1, .patients = 10};
    return s->reads < s->asks;
}

static bool has_no_memory(void *ctx, int partition, const pipeline_batch *b)
{
    scene *s = ctx;
    (void)partition;
    assert_int_equal(b->more.patients, 10);
    return ++s->reads == s->asks;
}

static scene *scene_of(int batches)
{
    scene *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->w = world_new();
    assert_int_equal(uv_loop_init(&s->loop), 0);
    clock_real(&s->clock);
    owner_options o = {.loop = &s->loop,
                       .setup = &s->w->setup,
                       .clock = &s->clock,
                       .batches = batches,
                       .batch_records = 100,
                       .batch_wait_ms = 0,
                       .arena_bytes = (size_t)64 << 20,
                       .evaluation_bytes = (size_t)64 << 20,
                       .partitions = WORLD_PARTITIONS,
                       .ctx = s,
                       .on_delivery = ignore_delivery,
                       .more = wants_rows,
                       .on_stored = has_no_memory,
                       .on_prepared = hear_prepared,
                       .on_saying = hear_saying,
                       .on_pause = ignore_pause,
                       .on_damaged = on_damaged};
    s->owner = owner_new(&o, s->w->content);
    assert_non_null(s->owner);
    for (int i = 0; i < WORLD_PARTITIONS; i++)
        owner_set_store(s->owner, i, s->w->stores[i], -1);
    owner_set_store(s->owner, OWNER_SHARED, s->w->shared_store, -1);
    return s;
}

static scene *scene_new(void)
{
    return scene_of(1);
}

static void scene_free(scene *s)
{
    owner_free(s->owner);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    world_free(s->w);
    free(s);
}

/* Gives the owner message n of a list as the topic would, which got it at logged_ms. */
static void feed_of(scene *s, int partition, const world_message *m, int64_t offset,
                    int64_t logged_ms)
{
    conn_message c = {.origin = {"records", partition, offset, logged_ms},
                      .key = {m->key, m->key_n},
                      .value = {m->value, m->value_n}};
    owner_message(s->owner, partition, &c);
}

static void feed(scene *s, int partition, const world_message *m, int64_t offset)
{
    feed_of(s, partition, m, offset, clock_wall_ms());
}

static int64_t steady(void)
{
    return clock_monotonic_us() / 1000;
}

/* Works everything off that may run now. */
static void work_off(scene *s)
{
    owner_run(s->owner);
    while (owner_busy(s->owner)) {
        uv_run(&s->loop, UV_RUN_DEFAULT);
        owner_run(s->owner);
    }
}

static void restore_shared(scene *s)
{
    owner_assign(s->owner, OWNER_SHARED, 0);
    owner_end(s->owner, OWNER_SHARED);
}

static void a_new_store_takes_nothing_from_the_middle(void **state)
{
    scene *s = scene_new();
    (void)state;
    world_event(s->w, REQUEST("r1", "p"));
    world_event(s->w, REQUEST("r2", "p"));
    const world_message *m = s->w->records.at;
    int p = m[0].partition;
    restore_shared(s);
    owner_assign(s->owner, p, 0);
    feed(s, p, &m[0], 0);
    work_off(s);
    assert_int_equal(owner_get(s->owner, p).next_offset, 1);
    /* the second one waits when the store turns out to be damaged and an empty one takes its place
     */
    feed(s, p, &m[1], 1);
    char path[128];
    og_error err;
    og_error_init(&err);
    kv_abandon(s->w->stores[p]);
    snprintf(path, sizeof path, "%s/%d", s->w->dir, p);
    assert_int_equal(kv_discard(path, &err), OG_OK);
    assert_int_equal(store_open(path, 256u << 20, false, NULL, &s->w->stores[p], &err), OG_OK);
    owner_set_store(s->owner, p, s->w->stores[p], -1);
    work_off(s);
    owner_state now = owner_get(s->owner, p);
    assert_int_equal(now.next_offset, -1);
    assert_int_equal(now.waiting, 0);
    assert_false(now.assigned);
    assert_false(now.restored);
    /* assigned anew, all comes again, and nobody is evaluated before the topic's end */
    uint64_t evaluated = (uint64_t)metric_value(METRIC_EVALUATIONS);
    owner_assign(s->owner, p, INT64_MAX);
    feed(s, p, &m[0], 0);
    work_off(s);
    assert_int_equal(owner_get(s->owner, p).next_offset, 1);
    assert_false(owner_get(s->owner, p).restored);
    assert_int_equal(metric_value(METRIC_EVALUATIONS), evaluated);
    feed(s, p, &m[1], 1);
    owner_end(s->owner, p);
    work_off(s);
    assert_true(owner_get(s->owner, p).restored);
    assert_int_equal(owner_get(s->owner, p).next_offset, 2);
    assert_true((uint64_t)metric_value(METRIC_EVALUATIONS) > evaluated);
    scene_free(s);
}

static void restoring_ends_under_steady_load(void **state)
{
    scene *s = scene_new();
    (void)state;
    world_event(s->w, REQUEST("r1", "p"));
    world_event(s->w, REQUEST("r2", "p"));
    const world_message *m = s->w->records.at;
    int p = m[0].partition;
    restore_shared(s);
    owner_assign(s->owner, p, INT64_MAX);
    feed(s, p, &m[0], 0);
    owner_end(s->owner, p);
    owner_run(s->owner);
    assert_true(owner_busy(s->owner));
    feed(s, p, &m[1], 1); /* more comes before the batch is done */
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_true(owner_get(s->owner, p).restored);
    work_off(s);
    scene_free(s);
}

static void nothing_wakes_for_what_cannot_run(void **state)
{
    scene *s = scene_new();
    (void)state;
    world_event(s->w, REQUEST("r1", "p"));
    const world_message *m = s->w->records.at;
    int p = m[0].partition;
    assert_true(owner_next_ms(s->owner) == INT64_MAX);
    feed(s, p, &m[0], 0); /* not assigned: the message waits, nobody may run */
    assert_true(owner_next_ms(s->owner) == INT64_MAX);
    owner_assign(s->owner, p, 0);
    assert_true(owner_next_ms(s->owner) <= steady());
    owner_revoke(s->owner, p);
    assert_true(owner_next_ms(s->owner) == INT64_MAX);
    owner_assign(s->owner, p, 0);
    feed(s, p, &m[0], 0);
    owner_set_store(s->owner, p, NULL, -1);
    assert_true(owner_next_ms(s->owner) == INT64_MAX);
    scene_free(s);
}

/* A patient whose events have not ceased lets the loop sleep, wakes it when it is time, and holds
 * back what the group commits. */
static void who_waits_is_woken_in_time(void **state)
{
    enum { QUIET = 600000 };
    scene *s = scene_new();
    (void)state;
    s->w->setup.waiting = (waiting_policy){QUIET, 2 * QUIET};
    world_event(s->w, REQUEST("r1", "p"));
    const world_message *m = s->w->records.at;
    int p = m[0].partition;
    restore_shared(s);
    owner_assign(s->owner, p, 0);
    owner_end(s->owner, p);
    work_off(s);
    int64_t evaluated = metric_value(METRIC_EVALUATIONS), began = steady();
    feed(s, p, &m[0], 7);
    work_off(s);
    owner_state now = owner_get(s->owner, p);
    assert_int_equal(metric_value(METRIC_EVALUATIONS), evaluated);
    assert_int_equal(now.next_offset, 8);
    assert_int_equal(now.dirty, 1);
    assert_int_equal(now.ceasing, 1);
    assert_int_equal(now.ceasing_offset, 7);
    int64_t at = owner_next_ms(s->owner);
    assert_true(at >= began + QUIET && at <= steady() + QUIET);
    assert_false(owner_idle(s->owner)); /* it will run, some time */
    s->w->setup.waiting.quiet_ms = 0;   /* the time is over */
    owner_wake(s->owner, p);
    work_off(s);
    assert_int_equal(metric_value(METRIC_EVALUATIONS), evaluated + 1);
    assert_int_equal(owner_get(s->owner, p).dirty, 0);
    assert_true(owner_get(s->owner, p).ceasing_offset == INT64_MAX);
    assert_true(owner_next_ms(s->owner) == INT64_MAX);
    scene_free(s);
}

#define ALERT "0c5a1f0e-7d3c-5b1e-8f57-2d1c5a0b9e11"

/* More than a batch takes: nobody waits for the next tick. */
static void all_who_are_due_are_reviewed(void **state)
{
    enum { PATIENTS = 2 * PIPELINE_MAX_PATIENTS + 50 };
    scene *s = scene_new();
    store_txn *t;
    (void)state;
    restore_shared(s);
    assert_int_equal(store_begin(s->w->stores[0], true, &t, NULL), OG_OK);
    for (int i = 0; i < PATIENTS; i++) {
        char patient[16];
        snprintf(patient, sizeof patient, "p%d", i);
        assert_int_equal(store_set_review(t, og_str_of(patient), 1000 + i, NULL), OG_OK);
    }
    assert_int_equal(store_commit(t, NULL), OG_OK);
    owner_assign(s->owner, 0, 0);
    owner_end(s->owner, 0);
    uint64_t before = metric_value(METRIC_REVIEWS_DUE);
    work_off(s);
    assert_int_equal(metric_value(METRIC_REVIEWS_DUE) - before, PATIENTS);
    assert_int_equal(owner_get(s->owner, 0).next_due_ms, 0);
    scene_free(s);
}

/* The reader of the alerts topic is past it and does not come back. */
static void what_others_said_outlives_a_rebalance(void **state)
{
    scene *s = scene_new();
    og_arena *a = og_arena_new((size_t)1 << 20);
    plan_alert alert = {.id = ALERT,
                        .rule = OG_STR("D3"),
                        .slot = OG_STR("s"),
                        .state = PLAN_ALERT_RESOLVED,
                        .revision = 3,
                        .card_uuid = ALERT,
                        .card = OG_STR("{}"),
                        .digest = OG_STR("d")};
    said_message m = {.key = said_alert_key(a, og_str_of(s->w->setup.tenant), OG_STR("p"), ALERT),
                      .value = plan_alert_write(a, &alert)};
    store_txn *t;
    int64_t offset = 0;
    (void)state;
    restore_shared(s);
    owner_assign(s->owner, 0, 0);
    owner_said_nothing(s->owner, 0, 6, 5); /* a claim */
    owner_said(s->owner, 0, &m, 8, 5);
    owner_revoke(s->owner, 0);
    owner_assign(s->owner, 0, 0);
    work_off(s);
    owner_end(s->owner, 0);
    owner_run(s->owner);
    owner_wake(s->owner, 0); /* what was read stays read, also with the next batch */
    work_off(s);
    assert_int_equal(store_begin(s->w->stores[0], false, &t, NULL), OG_OK);
    assert_int_equal(store_meta_int(t, STORE_SAID_OFFSET, &offset, NULL), OG_OK);
    assert_int_equal(offset, 8);
    assert_int_equal(store_alert(t, a, OG_STR("p"), ALERT, &alert, NULL), OG_OK);
    assert_int_equal(alert.revision, 3);
    store_abort(t);
    og_arena_free(a);
    scene_free(s);
}

/* A row whose checksum is wrong, written past the store. */
static void damage(const char *dir, const char *table, og_str key)
{
    MDB_env *env;
    MDB_txn *t;
    MDB_dbi dbi;
    MDB_val k = {key.n, (void *)(uintptr_t)key.p}, v = {4, "junk"};
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, KV_MAX_TABLES), 0);
    assert_int_equal(mdb_env_set_mapsize(env, 256u << 20), 0);
    assert_int_equal(mdb_env_open(env, dir, MDB_NOTLS, 0640), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &t), 0);
    assert_int_equal(mdb_dbi_open(t, table, 0, &dbi), 0);
    assert_int_equal(mdb_put(t, dbi, &k, &v, 0), 0);
    assert_int_equal(mdb_txn_commit(t), 0);
    mdb_env_close(env);
}

/* Who refers to a shared resource is looked for by each partition on its own: one that cannot say
 * is rebuilt, and holds nobody up. */
static void a_damaged_partition_is_not_the_shared_store(void **state)
{
    scene *s = scene_new();
    char path[128];
    og_error err;
    (void)state;
    og_error_init(&err);
    world_event(s->w, MEDICATION);
    assert_int_equal(s->w->shared.count, 1);
    int p = 1;
    snprintf(path, sizeof path, "%s/%d", s->w->dir, p);
    kv_close(s->w->stores[p]);
    damage(path, "reference", (og_str){"Medication/m\0p\0MedicationRequest/r1", 35});
    assert_int_equal(store_open(path, 256u << 20, false, NULL, &s->w->stores[p], &err), OG_OK);
    owner_set_store(s->owner, p, s->w->stores[p], -1);
    owner_assign(s->owner, OWNER_SHARED, 1);
    for (int i = 0; i < WORLD_PARTITIONS; i++) {
        owner_assign(s->owner, i, 0);
        owner_end(s->owner, i);
    }
    feed(s, OWNER_SHARED, &s->w->shared.at[0], 0);
    work_off(s);
    assert_int_equal(s->damaged_count, 1);
    assert_int_equal(s->damaged, p);
    assert_int_equal(owner_get(s->owner, OWNER_SHARED).waiting, 0);
    assert_int_equal(owner_get(s->owner, OWNER_SHARED).next_offset, 1);
    scene_free(s);
}

/* And the other way round: what a partition cannot read of the shared store is not its own damage;
 * it waits until that is mended. */
static void a_damaged_shared_store_is_not_the_partition(void **state)
{
    scene *s = scene_new();
    char path[128];
    og_error err;
    (void)state;
    og_error_init(&err);
    world_event(s->w, MEDICATION);
    world_event(s->w, REQUEST("r1", "p"));
    const world_message *m = s->w->records.at;
    int p = m[0].partition;
    owner_assign(s->owner, OWNER_SHARED, 1);
    feed(s, OWNER_SHARED, &s->w->shared.at[0], 0);
    work_off(s);
    snprintf(path, sizeof path, "%s/shared", s->w->dir);
    kv_close(s->w->shared_store);
    damage(path, "patient", (og_str){"\0Medication/m", 13});
    assert_int_equal(store_open(path, 256u << 20, false, NULL, &s->w->shared_store, &err), OG_OK);
    owner_set_store(s->owner, OWNER_SHARED, s->w->shared_store, 1);
    owner_assign(s->owner, OWNER_SHARED, 1);
    owner_end(s->owner, OWNER_SHARED);
    owner_assign(s->owner, p, 1);
    feed(s, p, &m[0], 0);
    owner_end(s->owner, p);
    owner_run(s->owner);
    while (owner_busy(s->owner)) {
        uv_run(&s->loop, UV_RUN_DEFAULT);
        if (s->damaged_count == 0)
            owner_run(s->owner);
    }
    assert_int_equal(s->damaged_count, 1);
    assert_int_equal(s->damaged, OWNER_SHARED);
    assert_true(owner_get(s->owner, p).failing);
    scene_free(s);
}

/* Who comes back tells from the ages of what it reads whether anybody else was there. */
static void a_partition_that_nobody_read_is_told(void **state)
{
    enum { DAY = 86400000, MINUTE = 60000 };
    static const struct {
        int64_t first_ago_ms, second_ago_ms;
        bool unread;
    } cases[] = {{(int64_t)20 * DAY, (int64_t)15 * DAY, true},
                 {(int64_t)20 * DAY, MINUTE, true}, /* somebody comes back with us */
                 {(int64_t)20 * DAY, (int64_t)13 * DAY, false},
                 {(int64_t)20 * DAY, (int64_t)15 * MINUTE, false},
                 {(int64_t)13 * DAY, MINUTE, false},
                 {MINUTE, MINUTE, false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        scene *s = scene_new();
        int64_t before = metric_value(METRIC_UNREAD), now_ms = clock_wall_ms();
        world_event(s->w, REQUEST("r1", "p"));
        const world_message *m = s->w->records.at;
        int p = m[0].partition;
        restore_shared(s);
        owner_assign(s->owner, p, INT64_MAX);
        feed_of(s, p, &m[0], 0, now_ms - cases[i].first_ago_ms);
        feed_of(s, p, &m[0], 1, now_ms - cases[i].second_ago_ms);
        owner_end(s->owner, p);
        work_off(s);
        assert_int_equal(metric_value(METRIC_UNREAD) - before, cases[i].unread);
        assert_int_equal(owner_get(s->owner, p).lost, cases[i].unread);
        /* what comes while it is ours says nothing more */
        feed_of(s, p, &m[0], 2, now_ms - (int64_t)30 * DAY);
        work_off(s);
        assert_int_equal(metric_value(METRIC_UNREAD) - before, cases[i].unread);
        scene_free(s);
    }
}

/* ---- several batches at once ---- */

static void assign_all(scene *s)
{
    for (int i = 0; i < WORLD_PARTITIONS; i++) {
        owner_assign(s->owner, i, 0);
        owner_end(s->owner, i);
    }
}

static int running(const scene *s)
{
    int n = 0;
    for (int i = 0; i < WORLD_PARTITIONS; i++)
        n += owner_get(s->owner, i).running;
    return n;
}

static scene *scene_with_two_running(void)
{
    scene *s = scene_of(2);
    restore_shared(s);
    assign_all(s);
    owner_run(s->owner);
    assert_int_equal(running(s), 2);
    return s;
}

static void partitions_run_beside_each_other(void **state)
{
    scene *s = scene_with_two_running();
    (void)state;
    assert_true(owner_next_ms(s->owner) == INT64_MAX); /* no room: the end of one wakes the loop */
    owner_run(s->owner);
    assert_int_equal(running(s), 2);
    while (running(s) == 2)
        uv_run(&s->loop, UV_RUN_ONCE);
    owner_wake_all(s->owner);
    owner_run(s->owner); /* there is work for all, and one that runs does not run twice */
    assert_int_equal(running(s), 2);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    work_off(s);
    assert_int_equal(running(s), 0);
    assert_true(owner_idle(s->owner));
    scene_free(s);
}

#define DOSE                                                                                       \
    "{\"resourceType\":\"MedicationAdministration\",\"id\":\"d%d\",\"status\":\"completed\","      \
    "\"medicationReference\":{\"reference\":\"Medication/m\"},\"subject\":{\"reference\":"         \
    "\"Patient/p%d\"},\"effectiveDateTime\":\"2026-02-%02dT09:00:00+01:00\",\"dosage\":{\"dose\":" \
    "{\"value\":120,\"unit\":\"mg\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mg\"}}}"

/* Doses of many patients, of a drug that only the shared store knows; then all alerts in order. */
static void alerts_of_many(int batches, og_buf *ret)
{
    enum { PATIENTS = 90 };
    scene *s = scene_of(batches);
    int64_t offsets[WORLD_PARTITIONS] = {0};
    clock_simulate(&s->clock, 1772352000000, 0); /* 2026-03-01T09:00+01:00 */
    world_event(s->w, MEDICATION);
    for (int i = 0; i < PATIENTS; i++) {
        char text[600];
        snprintf(text, sizeof text, DOSE, i, i, 1 + i % 20);
        world_event(s->w, text);
    }
    owner_assign(s->owner, OWNER_SHARED, 1);
    feed(s, OWNER_SHARED, &s->w->shared.at[0], 0);
    assign_all(s);
    for (size_t i = 0; i < s->w->records.count; i++) {
        const world_message *m = &s->w->records.at[i];
        feed(s, m->partition, m, offsets[m->partition]++);
    }
    work_off(s);
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        store_txn *t;
        const og_str *patients;
        size_t count, alert_count;
        const plan_alert *alerts;
        og_arena *a = og_arena_new((size_t)16 << 20);
        assert_true(offsets[p] > 10);
        assert_int_equal(store_begin(s->w->stores[p], false, &t, NULL), OG_OK);
        assert_int_equal(store_patients(t, a, (og_str){NULL, 0}, PATIENTS, &patients, &count, NULL),
                         OG_OK);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(store_alerts(t, a, patients[i], &alerts, &alert_count, NULL), OG_OK);
            for (size_t k = 0; k < alert_count; k++)
                og_buf_addf(ret, "%.*s %.*s %s %.*s\n", OG_STR_ARG(patients[i]),
                            OG_STR_ARG(alerts[k].rule), alerts[k].card_uuid,
                            OG_STR_ARG(alerts[k].card));
        }
        store_abort(t);
        og_arena_free(a);
    }
    scene_free(s);
}

static void many_at_once_say_what_one_says(void **state)
{
    og_buf one, three;
    (void)state;
    og_buf_init(&one, (size_t)16 << 20);
    og_buf_init(&three, (size_t)16 << 20);
    alerts_of_many(1, &one);
    alerts_of_many(3, &three);
    assert_true(one.n > 90 * 1000);
    assert_int_equal(one.n, three.n);
    assert_memory_equal(one.p, three.p, one.n);
    og_buf_done(&one);
    og_buf_done(&three);
}

/* All others read its store: what changes in it is there for all of a batch, or for none. */
static void the_shared_topic_runs_alone(void **state)
{
    scene *s = scene_of(3);
    (void)state;
    world_event(s->w, MEDICATION);
    restore_shared(s);
    assign_all(s);
    work_off(s);
    owner_wake(s->owner, WORLD_PARTITIONS - 1); /* then it is the shared topic's turn */
    owner_run(s->owner);
    assert_int_equal(running(s), 1);
    feed(s, OWNER_SHARED, &s->w->shared.at[0], 0);
    owner_wake(s->owner, 0);
    owner_run(s->owner);
    assert_int_equal(running(s), 1); /* nobody begins before it, and it waits */
    assert_true(owner_next_ms(s->owner) == INT64_MAX);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    owner_run(s->owner);
    assert_int_equal(running(s), WORLD_PARTITIONS); /* it counts as a batch of each */
    owner_run(s->owner);
    assert_true(owner_next_ms(s->owner) == INT64_MAX);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(owner_get(s->owner, OWNER_SHARED).next_offset, 1);
    owner_run(s->owner);
    assert_int_equal(running(s), WORLD_PARTITIONS); /* it has woken all, and here is room for all */
    uv_run(&s->loop, UV_RUN_DEFAULT);
    work_off(s);
    scene_free(s);
}

static void at_rest_nothing_begins(void **state)
{
    scene *s = scene_of(2);
    (void)state;
    restore_shared(s);
    assign_all(s);
    owner_rest(s->owner, true);
    owner_run(s->owner);
    assert_false(owner_busy(s->owner));
    assert_true(owner_next_ms(s->owner) == INT64_MAX);
    assert_false(owner_idle(s->owner));
    owner_rest(s->owner, false);
    assert_true(owner_next_ms(s->owner) <= steady());
    owner_run(s->owner);
    owner_rest(s->owner, true);
    assert_int_equal(running(s), 2); /* what runs goes on */
    uv_run(&s->loop, UV_RUN_DEFAULT);
    owner_rest(s->owner, false);
    work_off(s);
    scene_free(s);
}

static void on_released(void *ctx, const plan_content *old)
{
    const plan_content **ret = ctx;
    *ret = old;
}

static void content_is_released_by_the_last_who_uses_it(void **state)
{
    static const char nothing = 0; /* in place of another content: no batch begins with it */
    const plan_content *other = (const plan_content *)&nothing, *released = NULL;
    scene *s = scene_with_two_running();
    (void)state;
    owner_set_content(s->owner, other, on_released, &released);
    while (running(s) > 0) {
        assert_null(released);
        uv_run(&s->loop, UV_RUN_ONCE);
    }
    assert_ptr_equal(released, s->w->content);
    owner_set_content(s->owner, s->w->content, on_released, &released);
    assert_ptr_equal(released, other); /* nobody did */
    work_off(s);
    scene_free(s);
}

/* That a delivery was taken is written back with whatever else there is to do, or by itself a
 * little later; that it was not, and what is to be sent, at once. */
static void an_outcome_waits_for_company(void **state)
{
    scene *s = scene_new();
    pipeline_task t = {.patient = OG_STR("p"),
                       .alert_id = "aaaaaaaa-0000-5000-8000-000000000000",
                       .settle = true,
                       .outcome = {.verdict = CONN_DONE, .revision = 1}};
    (void)state;
    world_event(s->w, REQUEST("r1", "p"));
    const world_message *m = s->w->records.at;
    int p = m[0].partition;
    restore_shared(s);
    owner_assign(s->owner, p, 0);
    work_off(s);
    int64_t before = steady();
    assert_true(owner_task(s->owner, p, &t));
    assert_true(owner_next_ms(s->owner) > before);
    assert_true(owner_next_ms(s->owner) <= steady() + 1000);
    assert_int_equal(owner_get(s->owner, p).tasks, 1);
    feed(s, p, &m[0], 0);
    work_off(s);
    assert_int_equal(owner_get(s->owner, p).tasks, 0);
    assert_true(owner_task(s->owner, p, &t));
    t.settle = false;
    assert_true(owner_task(s->owner, p, &t));
    assert_true(owner_next_ms(s->owner) <= steady());
    work_off(s);
    assert_int_equal(owner_get(s->owner, p).tasks, 0);
    t.settle = true;
    t.outcome.verdict = CONN_AGAIN;
    assert_true(owner_task(s->owner, p, &t));
    assert_true(owner_next_ms(s->owner) <= steady());
    work_off(s);
    t.outcome.verdict = CONN_DONE;
    assert_true(owner_task(s->owner, p, &t));
    owner_stop(s->owner);
    assert_true(owner_next_ms(s->owner) <= steady());
    work_off(s);
    assert_true(owner_idle(s->owner));
    scene_free(s);
}

static void put_intent(scene *s, int partition, const char *alert_id)
{
    store_txn *t;
    delivery d = {.endpoint = og_str_of(s->w->endpoints[0].name),
                  .patient = OG_STR("p"),
                  .state = DELIVERY_INTENT,
                  .revision = 1,
                  .sequence = 1};
    snprintf(d.alert_id, sizeof d.alert_id, "%s", alert_id);
    assert_int_equal(store_begin(s->w->stores[partition], true, &t, NULL), OG_OK);
    assert_int_equal(delivery_put(t, s->w->arena, &d, NULL), OG_OK);
    assert_int_equal(store_commit(t, NULL), OG_OK);
}

/* Whoever takes over believes the last word: what became of a card goes to the alerts topic before
 * the intent of the next one, which leaves when it has been prepared. */
static void what_became_of_a_delivery_is_told_before_the_next_intent(void **state)
{
    static const char id[] = "aaaaaaaa-0000-5000-8000-000000000000";
    scene *s = scene_new();
    pipeline_task settle = {.patient = OG_STR("p"),
                            .settle = true,
                            .outcome = {.verdict = CONN_DONE, .revision = 1, .reason = ""}};
    (void)state;
    put_intent(s, 0, id);
    restore_shared(s);
    owner_assign(s->owner, 0, 0);
    work_off(s);
    memcpy(settle.alert_id, id, sizeof id);
    pipeline_task next = settle;
    next.settle = false;
    next.ticket = 7;
    assert_true(owner_task(s->owner, 0, &settle));
    assert_true(owner_task(s->owner, 0, &next));
    work_off(s);
    assert_string_equal(s->heard, "sp");
    scene_free(s);
}

/* Rows that were read and could not be kept: the partition waits before it reads them again. */
static void what_finds_no_memory_is_read_again_later(void **state)
{
    scene *s = scene_new();
    (void)state;
    restore_shared(s);
    owner_assign(s->owner, 0, 0);
    work_off(s);
    s->asks = 2;
    int64_t before = steady();
    assert_int_equal(owner_next_ms(s->owner), 0);
    work_off(s);
    assert_int_equal(s->reads, 1);
    assert_true(owner_next_ms(s->owner) >= before + 500);
    s->asks = 1; /* nothing is wanted any more */
    work_off(s);
    assert_int_equal(s->reads, 1);
    scene_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_run_beside_each_other),
        cmocka_unit_test(many_at_once_say_what_one_says),
        cmocka_unit_test(the_shared_topic_runs_alone),
        cmocka_unit_test(at_rest_nothing_begins),
        cmocka_unit_test(content_is_released_by_the_last_who_uses_it),
        cmocka_unit_test(an_outcome_waits_for_company),
        cmocka_unit_test(what_became_of_a_delivery_is_told_before_the_next_intent),
        cmocka_unit_test(what_finds_no_memory_is_read_again_later),
        cmocka_unit_test(a_new_store_takes_nothing_from_the_middle),
        cmocka_unit_test(a_partition_that_nobody_read_is_told),
        cmocka_unit_test(restoring_ends_under_steady_load),
        cmocka_unit_test(nothing_wakes_for_what_cannot_run),
        cmocka_unit_test(who_waits_is_woken_in_time),
        cmocka_unit_test(all_who_are_due_are_reviewed),
        cmocka_unit_test(what_others_said_outlives_a_rebalance),
        cmocka_unit_test(a_damaged_partition_is_not_the_shared_store),
        cmocka_unit_test(a_damaged_shared_store_is_not_the_partition),
    };
    return cmocka_run_group_tests_name("daemon/owner", tests, NULL, NULL);
}
