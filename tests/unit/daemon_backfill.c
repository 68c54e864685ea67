/* Whose data are wanted, and whose have been fetched: rows and marks, in whatever order they come.
 */
#include "daemon/backfill.h"

#include "daemon_world.h"

static const char *const senders[] = {"", "lab"};

static backfill_state state_of(world *w, const char *patient)
{
    backfill_state state, found = BACKFILL_UNKNOWN;
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        store_txn *t;
        assert_int_equal(store_begin(w->stores[p], false, &t, NULL), OG_OK);
        assert_int_equal(backfill_state_of(t, og_str_of(patient), &state, NULL), OG_OK);
        store_abort(t);
        if (state != BACKFILL_UNKNOWN)
            found = state;
    }
    return found;
}

static void event(world *w, const char *patient)
{
    char text[200];
    snprintf(text, sizeof text,
             "{\"resourceType\":\"Condition\",\"id\":\"%s-c\",\"subject\":{\"reference\":"
             "\"Patient/%s\"},\"code\":{\"text\":\"x\"}}",
             patient, patient);
    world_event(w, text);
    world_settle_down(w);
}

/* As it comes back from the records topic; value NULL: erased. */
static void run_mark(world *w, bool done, const char *tenant, const char *patient, bool erased)
{
    og_buf key, value;
    og_buf_init(&key, 512);
    og_buf_init(&value, 512);
    backfill_write_mark(&key, &value, done, og_str_of(tenant), og_str_of(patient), 5);
    pipeline_message m = {.key = og_buf_str(&key),
                          .value = erased ? (og_str){NULL, 0} : og_buf_str(&value),
                          .offset = 1000000,
                          .timestamp_ms = 5};
    world_run_partition(w, world_partition_of(og_str_of(patient)), &m, 1, -1);
    assert_int_equal(w->batch.status, OG_OK);
    og_buf_done(&key);
    og_buf_done(&value);
}

static void mark(world *w, bool done, const char *patient)
{
    run_mark(w, done, w->setup.tenant, patient, false);
}

static world *stage(void)
{
    world *w = world_new();
    w->setup.backfill_senders = senders;
    w->setup.backfill_sender_count = 1;
    return w;
}

/* ---- tests ---- */

static void marks_are_read_as_they_are_written(void **state)
{
    static const char *const bad[] = {"backfill|done|t", "backfill|done|t|", "backfill|other|t|p1",
                                      "backfill|", "t|p1|Condition/c"};
    backfill_mark m;
    og_buf key, value;
    (void)state;
    og_buf_init(&key, 512);
    og_buf_init(&value, 512);
    backfill_write_mark(&key, &value, true, OG_STR("t"), OG_STR("s|v"), 5);
    assert_true(backfill_is_mark(og_buf_str(&key)));
    assert_true(backfill_read_mark(og_buf_str(&key), &m));
    assert_true(m.done && og_str_is(m.tenant, "t") && og_str_is(m.patient, "s|v"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(backfill_read_mark(og_str_of(bad[i]), &m));
    og_buf_done(&key);
    og_buf_done(&value);
}

static void only_patients_of_a_server_are_wanted(void **state)
{
    (void)state;
    assert_true(backfill_serves(senders, 1, OG_STR("p1")));
    assert_false(backfill_serves(senders, 1, OG_STR("lab~p1")));
    assert_true(backfill_serves(senders, 2, OG_STR("lab~p1")));
    assert_false(backfill_serves(senders, 2, OG_STR("ward~p1")));
    assert_false(backfill_serves(senders, 2, OG_STR("urn:x|5"))); /* an identifier is no id */
    assert_false(backfill_serves(NULL, 0, OG_STR("p1")));
}

static void the_first_record_makes_a_patient_wanted(void **state)
{
    world *w = stage();
    (void)state;
    event(w, "p1");
    assert_int_equal(state_of(w, "p1"), BACKFILL_WANTED);
    world_restart(w, false); /* it was committed with the record */
    assert_int_equal(state_of(w, "p1"), BACKFILL_WANTED);
    mark(w, true, "p1");
    assert_int_equal(w->batch.counts.backfills, 1);
    assert_int_equal(state_of(w, "p1"), BACKFILL_FETCHED);
    event(w, "p1"); /* known */
    mark(w, false, "p1");
    assert_int_equal(state_of(w, "p1"), BACKFILL_FETCHED);
    world_free(w);
}

/* Compaction may leave the mark in front of all records. */
static void the_mark_holds_before_the_record(void **state)
{
    world *w = stage();
    (void)state;
    mark(w, true, "p1");
    event(w, "p1");
    assert_int_equal(state_of(w, "p1"), BACKFILL_FETCHED);
    mark(w, false, "p2"); /* a call's */
    assert_int_equal(state_of(w, "p2"), BACKFILL_WANTED);
    run_mark(w, false, w->setup.tenant, "p2", true);
    assert_int_equal(state_of(w, "p2"), BACKFILL_UNKNOWN);
    run_mark(w, true, w->setup.tenant, "p1", true);
    assert_int_equal(state_of(w, "p1"), BACKFILL_UNKNOWN);
    world_free(w);
}

static void others_marks_are_passed_over(void **state)
{
    world *w = stage();
    (void)state;
    run_mark(w, true, "else", "p1", false);
    assert_int_equal(w->batch.counts.bad, 1);
    assert_int_equal(state_of(w, "p1"), BACKFILL_UNKNOWN);
    world_free(w);
}

static void without_a_server_nobody_is_wanted(void **state)
{
    world *w = stage();
    (void)state;
    w->setup.backfill_sender_count = 0;
    event(w, "p1");
    assert_int_equal(state_of(w, "p1"), BACKFILL_UNKNOWN);
    world_free(w);
}

static void want(store_txn *t, const char *patient, bool fresh)
{
    bool is_new;
    assert_int_equal(backfill_want(t, og_str_of(patient), &is_new, NULL), OG_OK);
    assert_int_equal(is_new, fresh);
}

static void those_of_a_sender_are_listed(void **state)
{
    world *w = stage();
    store_txn *t;
    const og_str *list;
    size_t n;
    uint64_t all;
    og_arena *a = og_arena_new(1 << 20);
    (void)state;
    assert_int_equal(store_begin(w->stores[0], true, &t, NULL), OG_OK);
    want(t, "lab~b", true);
    want(t, "b", true);
    want(t, "a", true);
    want(t, "lab~a", true);
    want(t, "c", true);
    want(t, "a", false);
    assert_int_equal(backfill_list(t, a, "", OG_STR(""), 2, &list, &n, NULL), OG_OK);
    assert_int_equal(n, 2);
    assert_true(og_str_is(list[0], "a") && og_str_is(list[1], "b"));
    assert_int_equal(backfill_list(t, a, "", OG_STR("b"), 2, &list, &n, NULL), OG_OK);
    assert_int_equal(n, 1);
    assert_true(og_str_is(list[0], "c"));
    assert_int_equal(backfill_list(t, a, "lab", OG_STR("lab~a"), 9, &list, &n, NULL), OG_OK);
    assert_int_equal(n, 1);
    assert_true(og_str_is(list[0], "lab~b"));
    assert_int_equal(backfill_count(t, &all, NULL), OG_OK);
    assert_int_equal(all, 5);
    store_abort(t);
    og_arena_free(a);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marks_are_read_as_they_are_written),
        cmocka_unit_test(only_patients_of_a_server_are_wanted),
        cmocka_unit_test(the_first_record_makes_a_patient_wanted),
        cmocka_unit_test(the_mark_holds_before_the_record),
        cmocka_unit_test(others_marks_are_passed_over),
        cmocka_unit_test(without_a_server_nobody_is_wanted),
        cmocka_unit_test(those_of_a_sender_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
