/* New content sees everybody: in slices, beside the events that come meanwhile, on and on over a
 * restart, and only differences are told. */
#include "daemon_world.h"
#include "owner_idle.h"

enum { PEOPLE = 900 }; /* 300 in each partition, more than a batch takes */

static void dose(world *w, int number, const char *version)
{
    char text[800];
    snprintf(
        text, sizeof text,
        "{\"resourceType\":\"MedicationAdministration\",\"id\":\"dose-%d\",\"meta\":{"
        "\"lastUpdated\":\"2026-02-28T%s:00:00Z\"},\"status\":\"completed\","
        "\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"http://www.whocc.no/atc\","
        "\"code\":\"M05BX04\"}],\"text\":\"%s\"},\"subject\":{\"reference\":\"Patient/p-%d\"},"
        "\"effectiveDateTime\":\"2026-02-12T09:00:00+01:00\",\"dosage\":{\"dose\":{\"value\":120,"
        "\"unit\":\"mg\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mg\"}}}",
        number, version, version, number);
    world_event(w, text);
}

/* Every patient has an alert (B1). */
static world *stage(void)
{
    world *w = world_new();
    for (int i = 0; i < PEOPLE; i++) {
        dose(w, i, "10");
        if (i % 50 == 49)
            world_settle_down(w);
    }
    world_settle_down(w);
    assert_true(w->total.opened >= PEOPLE);
    memset(&w->total, 0, sizeof w->total);
    return w;
}

static void a_sweep_goes_on_where_it_stood(void **state)
{
    world *w = stage();
    (void)state;
    world_take_content(w, world_content_without("B1"));
    world_run_partition(w, 0, NULL, 0, -1);
    assert_true(w->batch.sweeping);
    assert_int_equal(w->batch.swept, PIPELINE_MAX_PATIENTS);
    assert_int_equal(w->batch.swept_now, PIPELINE_MAX_PATIENTS);
    assert_int_equal(w->batch.counts.evaluations, PIPELINE_MAX_PATIENTS);
    uint64_t resolved = w->batch.counts.resolved;
    assert_int_equal(resolved, PIPELINE_MAX_PATIENTS);
    world_restart(w, false); /* it dies, with the rest to come */
    world_run_partition(w, 0, NULL, 0, -1);
    assert_false(w->batch.sweeping);
    assert_int_equal(w->batch.swept, PIPELINE_MAX_PATIENTS + w->batch.swept_now);
    assert_in_range(w->batch.swept_now, 50, PIPELINE_MAX_PATIENTS - 1);
    assert_int_equal(w->batch.counts.resolved, w->batch.swept_now);
    world_run_partition(w, 0, NULL, 0, -1); /* and then it is over */
    assert_int_equal(w->batch.counts.evaluations, 0);
    assert_int_equal(w->batch.swept, 0);
    world_free(w);
}

static void the_same_words_are_not_told_again(void **state)
{
    world *w = stage();
    (void)state;
    size_t posts = w->post_count, alerts = w->alert_count;
    world_take_content(w, world_content_without("D3")); /* of which nobody here has an alert */
    for (int turn = 0; turn < 3; turn++)
        for (int p = 0; p < WORLD_PARTITIONS; p++)
            world_run_partition(w, p, NULL, 0, -1);
    world_settle_down(w);
    assert_int_equal(w->total.evaluations, PEOPLE);
    assert_int_equal(w->total.opened + w->total.changed + w->total.resolved, 0);
    assert_int_equal(w->post_count, posts);
    assert_int_equal(w->alert_count, alerts);
    world_free(w);
}

/* ---- on a loop ---- */

typedef struct told {
    int partitions;
    owner_sweep sum;
    bool seen_under_way;
} told;

static void on_swept(void *ctx, int partition, const owner_sweep *sweep)
{
    told *t = ctx;
    (void)partition;
    t->partitions++;
    t->sum.patients += sweep->patients;
    t->sum.opened += sweep->opened;
    t->sum.resolved += sweep->resolved;
}

static void on_damaged(void *ctx, int partition, const og_error *err)
{
    (void)ctx;
    fail_msg("partition %d: %s", partition, err->text);
}

static void the_owner_tells_how_far_it_is(void **state)
{
    world *w = stage();
    uv_loop_t loop;
    og_clock clock;
    told t = {0};
    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    clock_real(&clock);
    clock_simulate(&clock, w->now_ms, 0);
    owner_options o = {.loop = &loop,
                       .setup = &w->setup,
                       .clock = &clock,
                       .batch_records = 100,
                       .arena_bytes = (size_t)256 << 20,
                       .evaluation_bytes = (size_t)256 << 20,
                       .partitions = WORLD_PARTITIONS,
                       .ctx = &t,
                       .on_swept = on_swept,
                       .on_delivery = ignore_delivery,
                       .on_prepared = ignore_prepared,
                       .on_pause = ignore_pause,
                       .on_damaged = on_damaged};
    world_take_content(w, world_content_without("B1"));
    owner *own = owner_new(&o, w->content);
    assert_non_null(own);
    owner_set_store(own, OWNER_SHARED, w->shared_store, -1);
    owner_assign(own, OWNER_SHARED, 0);
    owner_end(own, OWNER_SHARED);
    for (int i = 0; i < WORLD_PARTITIONS; i++) {
        owner_set_store(own, i, w->stores[i], -1);
        owner_assign(own, i, 0);
        owner_end(own, i);
    }
    int64_t swept = metric_value(METRIC_SWEPT);
    owner_run(own);
    while (owner_busy(own)) {
        uv_run(&loop, UV_RUN_DEFAULT);
        for (int i = 0; i < WORLD_PARTITIONS; i++)
            t.seen_under_way |= owner_get(own, i).sweeping && owner_get(own, i).swept > 0;
        owner_run(own);
    }
    assert_true(t.seen_under_way);
    assert_int_equal(t.partitions, WORLD_PARTITIONS);
    assert_int_equal(t.sum.patients, PEOPLE);
    assert_int_equal(t.sum.resolved, PEOPLE);
    assert_int_equal(t.sum.opened, 0);
    assert_int_equal(metric_value(METRIC_SWEPT) - swept, PEOPLE);
    owner_free(own);
    assert_int_equal(uv_loop_close(&loop), 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sweep_goes_on_where_it_stood),
        cmocka_unit_test(the_same_words_are_not_told_again),
        cmocka_unit_test(the_owner_tells_how_far_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
