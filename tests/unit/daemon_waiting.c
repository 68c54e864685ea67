/* Many events of one patient in a short time: one evaluation, and not too late. The steady clock is
 * the test's. */
#include "daemon_world.h"

#define QUIET   250
#define LONGEST 2000
#define BEGIN   1000000

/* A batch of each partition, and what is to be delivered. */
static void turn(world *w, int64_t passed_ms)
{
    w->batch.steady_ms += passed_ms;
    world_apply_shared(w);
    world_apply_records(w);
    for (int i = 0; i < 5; i++) {
        outbox_deliver(w->outbox, w->real_ms);
        for (int p = 0; p < WORLD_PARTITIONS; p++)
            if (w->task_count[p] > 0)
                world_run_partition(w, p, NULL, 0, -1);
    }
}

static world *stage(void)
{
    world *w = world_new();
    w->setup.waiting = (waiting_policy){QUIET, LONGEST};
    w->batch.steady_ms = BEGIN;
    turn(w, 0); /* the content is new; nobody is there yet */
    return w;
}

static void observation(world *w, const char *patient, int number)
{
    char text[600];
    snprintf(
        text, sizeof text,
        "{\"resourceType\":\"Observation\",\"id\":\"%s-o-%d\",\"meta\":{\"lastUpdated\":"
        "\"2026-02-28T09:00:00Z\"},\"status\":\"final\",\"code\":{\"coding\":[{\"system\":"
        "\"http://loinc.org\",\"code\":\"2160-0\"}]},\"subject\":{\"reference\":\"Patient/%s\"},"
        "\"effectiveDateTime\":\"2026-02-%02d\",\"valueQuantity\":{\"value\":0.9,\"unit\":"
        "\"mg/dL\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mg/dL\"}}",
        patient, number, patient, 1 + number % 28);
    world_event(w, text);
}

static void dose(world *w, const char *patient)
{
    char text[800];
    snprintf(
        text, sizeof text,
        "{\"resourceType\":\"MedicationAdministration\",\"id\":\"%s-dose\",\"meta\":{"
        "\"lastUpdated\":\"2026-02-28T10:00:00Z\"},\"status\":\"completed\","
        "\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"http://www.whocc.no/atc\","
        "\"code\":\"M05BX04\"}]},\"subject\":{\"reference\":\"Patient/%s\"},"
        "\"effectiveDateTime\":\"2026-02-12T09:00:00+01:00\",\"dosage\":{\"dose\":{\"value\":120,"
        "\"unit\":\"mg\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mg\"}}}",
        patient, patient);
    world_event(w, text);
}

static void statement(world *w, const char *patient, const char *id, const char *atc)
{
    char text[700];
    snprintf(text, sizeof text,
             "{\"resourceType\":\"MedicationStatement\",\"id\":\"%s-%s\",\"meta\":{\"lastUpdated\":"
             "\"2026-02-28T10:00:00Z\"},\"status\":\"active\",\"medicationCodeableConcept\":{"
             "\"coding\":[{\"system\":\"http://www.whocc.no/atc\",\"code\":\"%s\"}]},\"subject\":{"
             "\"reference\":\"Patient/%s\"},\"effectivePeriod\":{\"start\":\"2026-01-01\"}}",
             patient, id, atc, patient);
    world_event(w, text);
}

static bool was_said(const world *w, const char *words)
{
    for (size_t i = 0; i < w->post_count; i++)
        if (strstr(w->posts[i].body, words) != NULL)
            return true;
    return false;
}

/* Denosumab without vitamin D and calcium is a card (B1); but they come with the same admission,
 * only later. */
static void an_admission_is_judged_once_and_as_a_whole(void **state)
{
    world *w = stage();
    (void)state;
    world_event(w, "{\"resourceType\":\"Patient\",\"id\":\"a\",\"gender\":\"female\"}");
    turn(w, 0);
    dose(w, "a");
    turn(w, 10);
    for (int i = 0; i < 46; i++) {
        observation(w, "a", i);
        turn(w, 10);
    }
    statement(w, "a", "vitamin-d", "A11CC05");
    turn(w, 10);
    statement(w, "a", "calcium", "A12AA04");
    turn(w, 10);
    assert_int_equal(w->total.applied, 50);
    assert_int_equal(w->total.evaluations, 0);
    turn(w, QUIET - 1);
    assert_int_equal(w->total.evaluations, 0);
    turn(w, 1);
    assert_int_equal(w->total.evaluations, 1);
    assert_int_equal(w->total.joined, 49);
    assert_int_equal(w->dirty, 0);
    turn(w, 10 * LONGEST);
    assert_int_equal(w->total.evaluations, 1);
    assert_false(was_said(w, "no vitamin D"));
    world_free(w);
    /* at once, each event alone: the card comes and goes */
    w = stage();
    w->setup.waiting.quiet_ms = 0;
    world_event(w, "{\"resourceType\":\"Patient\",\"id\":\"a\",\"gender\":\"female\"}");
    turn(w, 0);
    dose(w, "a");
    turn(w, 10);
    statement(w, "a", "vitamin-d", "A11CC05");
    turn(w, 10);
    statement(w, "a", "calcium", "A12AA04");
    turn(w, 10);
    assert_int_equal(w->total.evaluations, 4);
    assert_true(w->total.opened > 0 && w->total.resolved > 0);
    world_free(w);
}

/* Events that never cease do not keep a patient waiting for ever, and nobody else at all. */
static void nobody_waits_for_ever(void **state)
{
    world *w = stage();
    (void)state;
    for (int i = 0; i < 100; i++) { /* ten seconds */
        observation(w, "busy", i);
        uint64_t before = w->total.evaluations;
        if (i == 45)
            observation(w, "other", 0);
        turn(w, 100);
        if (i == 48) /* 300 ms after the event of the other one */
            assert_int_equal(w->total.evaluations, before + 1);
    }
    assert_int_equal(w->total.evaluations, 4 + 1); /* every 2.1 seconds, and the other one */
    world_free(w);
}

/* What waits is in the store: the next process finds it, on this boot of the machine or on another
 * one, where the steady clock begins anew. */
static void who_waits_is_not_forgotten(void **state)
{
    (void)state;
    for (int boot = 0; boot < 2; boot++) {
        world *w = stage();
        observation(w, "a", 0);
        turn(w, 0);
        assert_int_equal(w->total.evaluations, 0);
        world_restart(w, false);
        if (boot == 1)
            w->batch.steady_ms = 5000;
        turn(w, 0);
        assert_int_equal(w->total.evaluations, boot);
        turn(w, QUIET);
        assert_int_equal(w->total.evaluations, 1);
        world_free(w);
    }
}

/* A review by the clock, or other content, sees a patient who waits: then that was the evaluation.
 */
static void who_is_seen_sooner_waits_no_more(void **state)
{
    world *w = stage();
    (void)state;
    dose(w, "a");
    turn(w, QUIET);
    turn(w, QUIET);
    assert_int_equal(w->total.evaluations, 1);
    uint64_t reviews = w->total.reviews;
    observation(w, "a", 0);
    w->now_ms += 200LL * 86400000;
    turn(w, 10);
    assert_int_equal(w->total.evaluations, 2);
    assert_true(w->total.reviews > reviews);
    turn(w, 10 * LONGEST);
    assert_int_equal(w->total.evaluations, 2 + w->total.reviews - reviews - 1);
    world_free(w);
}

/* ---- the rows ---- */

static void the_rest_is_told(void **state)
{
    const waiting_policy policy = {QUIET, LONGEST};
    world *w = stage();
    store_txn *t;
    og_error err;
    const waiting_patient *list;
    waiting_rest rest;
    size_t n;
    bool joined;
    (void)state;
    og_error_init(&err);
    assert_int_equal(store_begin(w->stores[0], true, &t, &err), OG_OK);
    assert_int_equal(waiting_note(t, OG_STR("a"), 7, 900, BEGIN, &joined, &err), OG_OK);
    assert_false(joined);
    assert_int_equal(waiting_note(t, OG_STR("b"), 9, 0, BEGIN + 100, &joined, &err), OG_OK);
    assert_int_equal(waiting_note(t, OG_STR("a"), 12, 800, BEGIN + 200, &joined, &err), OG_OK);
    assert_true(joined);
    assert_int_equal(store_mark_dirty(t, OG_STR("c"), 5, &err), OG_OK);
    assert_int_equal(waiting_note(t, OG_STR("c"), 13, 0, BEGIN + 200, &joined, &err), OG_OK);
    assert_true(joined);
    assert_int_equal(waiting_ripe(t, w->arena, &policy, BEGIN + 200, 10, &list, &n, &rest, &err),
                     OG_OK);
    assert_int_equal(n, 1); /* at once stays at once */
    assert_true(og_str_is(list[0].id, "c"));
    assert_int_equal(rest.count, 2);
    assert_int_equal(rest.ripe_ms, BEGIN + 100 + QUIET);
    assert_int_equal(rest.offset, 7);
    assert_int_equal(waiting_ripe(t, w->arena, &policy, BEGIN + 200, 1, &list, &n, &rest, &err),
                     OG_OK);
    assert_int_equal(n, 1);
    assert_int_equal(rest.count, 0); /* behind it somebody may be ripe */
    assert_int_equal(rest.offset, INT64_MAX);
    assert_int_equal(
        waiting_ripe(t, w->arena, &policy, BEGIN + 200 + QUIET, 10, &list, &n, &rest, &err), OG_OK);
    assert_int_equal(n, 3);
    assert_int_equal(list[0].cause_ms, 800); /* the earliest event's */
    assert_int_equal(rest.count, 0);
    assert_int_equal(rest.ripe_ms, INT64_MAX);
    assert_int_equal(rest.offset, INT64_MAX);
    assert_int_equal(
        waiting_ripe(t, w->arena, &policy, BEGIN + 200 + QUIET, 2, &list, &n, &rest, &err), OG_OK);
    assert_int_equal(n, 2);
    static const char *const damaged[] = {"", "x", "1 2", "1 2 3", "1 2 3 4 5", "1  2 3"};
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        assert_int_equal(kv_put(t, STORE_DIRTY, OG_STR("d"), og_str_of(damaged[i]), &err), OG_OK);
        assert_int_equal(waiting_note(t, OG_STR("d"), 1, 1, BEGIN, &joined, NULL), OG_CORRUPT);
        assert_int_equal(waiting_ripe(t, w->arena, &policy, BEGIN, 10, &list, &n, &rest, NULL),
                         OG_CORRUPT);
    }
    store_abort(t);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_admission_is_judged_once_and_as_a_whole),
        cmocka_unit_test(nobody_waits_for_ever),
        cmocka_unit_test(who_waits_is_not_forgotten),
        cmocka_unit_test(who_is_seen_sooner_waits_no_more),
        cmocka_unit_test(the_rest_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
