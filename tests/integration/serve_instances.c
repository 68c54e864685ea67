/* Several daemons on one broker: partitions are shared, go from one to another, and nobody says
 * anything twice. */
#include "serve_stage.h"

/* ---- who owns what ---- */

static int owned(const stage *s, int number)
{
    int n = 0;
    for (int i = 0; i < PARTITIONS && s->at[number].serve != NULL; i++)
        n += s->at[number].serve->partitions[i].assigned &&
             owner_get(s->at[number].serve->owner, i).settled;
    return n;
}

static bool both_own_some(stage *s)
{
    return owned(s, 0) > 0 && owned(s, 1) > 0 && owned(s, 0) + owned(s, 1) == PARTITIONS;
}

static bool first_owns_all(stage *s)
{
    return owned(s, 0) == PARTITIONS;
}

static bool second_owns_all(stage *s)
{
    return owned(s, 1) == PARTITIONS;
}

static bool many_cards(stage *s)
{
    return s->post_count >= 8;
}

static bool all_is_said(stage *s)
{
    return has_d3_by_clock(s) && is_quiet(s);
}

/* ---- tests ---- */

/* The second one joins in the middle, takes partitions over, and leaves again. */
static void two_share_and_part(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    (void)send_stream(s, 0, 40);
    wait_until(s, "the first part worked off", is_quiet);
    start_member(s, 1);
    wait_until(s, "both own partitions", both_own_some);
    for (int i = 0; i < PARTITIONS; i++) /* a store that is not ours is closed */
        for (int m = 0; m < 2; m++)
            assert_int_equal(s->at[m].serve->partitions[i].store != NULL,
                             s->at[m].serve->partitions[i].assigned);
    size_t before = s->post_count;
    (void)send_stream(s, 40, SIZE_MAX);
    wait_until(s, "the rest worked off", is_quiet);
    assert_true(s->post_count > before);
    s->now_ms = BEFORE_MIDNIGHT + 21000;
    wait_until(s, "D3 by the clock", all_is_said);
    before = s->post_count;
    stop_member(s, 1);
    wait_until(s, "the first owns all", first_owns_all);
    wait_until(s, "nothing to say", nothing_waits);
    assert_int_equal(s->post_count, before);
    assert_int_equal(s->repeats, 0);
    no_card_came_under_two_keys(s);
    ehr_has_what_is_believed(s);
    assert_int_equal(metric_value(METRIC_FENCED), 0);
    stage_free(s);
}

/* One dies without a word, the other has an empty disk: what was said is on the alerts topic. */
static void a_dead_ones_partitions_are_taken_over(void **state)
{
    int status;
    stage *s = stage_new();
    (void)state;
    if (!file_exists(OG_BINARY_DIR "/daemon/osteoguard")) {
        print_message("skipped: the program is not built\n");
        skip();
    }
    (void)send_stream(s, 0, 50);
    int pid = spawn_member(s, 0);
    wait_until(s, "many cards", many_cards);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    size_t before = s->post_count; /* but for what is on the wire */
    metrics_reset();
    start_member(s, 1);
    wait_until(s, "the second owns all", second_owns_all);
    assert_true(metric_value(METRIC_TAKEN_OVER) > 0);
    (void)send_stream(s, 50, SIZE_MAX);
    s->now_ms = BEFORE_MIDNIGHT + 21000;
    wait_until(s, "D3 by the clock", all_is_said);
    assert_true(s->post_count > before);
    assert_true(s->repeats <=
                before + SENDING); /* what the first one had not noted, and only once */
    no_card_came_under_two_keys(s);
    ehr_has_what_is_believed(s);
    stage_free(s);
}

/* ---- the fence ---- */

static bool was_fenced(stage *s)
{
    return metric_value(METRIC_FENCED) > 0 && s->at[0].serve->partitions[0].epoch < 0;
}

static bool has_reclaimed(stage *s)
{
    return first_owns_all(s) && s->at[0].serve->partitions[0].epoch > 0;
}

/* Somebody else claims a partition: its owner stops at once, and claims it back when the group
 * still gives it to it. */
static void a_newer_claim_stops_the_owner(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    wait_until(s, "claims", first_owns_all);
    int64_t epoch = s->at[0].serve->partitions[0].epoch;
    assert_true(epoch >= 0);
    write_as(s, 0, SAID_CLAIM, "{}", SAID_NONCE, "somebody");
    wait_until(s, "the fence", was_fenced);
    assert_false(serve__may_act(s->at[0].serve, 0));
    assert_false(owner_get(s->at[0].serve->owner, 0).settled);
    wait_until(s, "claimed again", has_reclaimed);
    assert_true(s->at[0].serve->partitions[0].epoch > epoch + 1);
    stage_free(s);
}

typedef struct one_alert {
    int partition;
    char key[256], id[UUID_TEXT];
} one_alert;

static one_alert find_alert(stage *s)
{
    one_alert found = {.partition = -1};
    og_arena *a = og_arena_new(8 << 20);
    for (int i = 0; i < PARTITIONS && found.partition < 0; i++) {
        store_txn *t;
        const og_str *patients;
        const plan_alert *alerts;
        size_t n, count;
        assert_int_equal(store_begin(s->at[0].serve->partitions[i].store, false, &t, NULL), OG_OK);
        assert_int_equal(store_patients(t, a, (og_str){NULL, 0}, 100, &patients, &n, NULL), OG_OK);
        for (size_t k = 0; k < n && found.partition < 0; k++) {
            assert_int_equal(store_alerts(t, a, patients[k], &alerts, &count, NULL), OG_OK);
            if (count == 0)
                continue;
            found.partition = i;
            snprintf(found.key, sizeof found.key, "t|%.*s|%s", OG_STR_ARG(patients[k]),
                     alerts[0].id);
            memcpy(found.id, alerts[0].id, sizeof found.id);
        }
        store_abort(t);
    }
    og_arena_free(a);
    assert_true(found.partition >= 0);
    return found;
}

static one_alert outdated;
static int64_t end_before;

static bool own_word_is_behind(stage *s)
{
    return s->at[0].serve->partitions[outdated.partition].said_next >= end_before + 2 &&
           is_quiet(s);
}

/* What somebody writes who has lost the partition does not count, and the last word on the
 * compacted topic is the owner's. */
static void an_outdated_word_is_answered(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    (void)send_stream(s, 0, 20);
    wait_until(s, "worked off", is_quiet);
    outdated = find_alert(s);
    size_t posts = s->post_count;
    end_before = s->at[0].serve->partitions[outdated.partition].said_next;
    write_as(s, outdated.partition, outdated.key, "{\"id\":\"nonsense\"}", SAID_EPOCH, "-1");
    wait_until(s, "the owner's word", own_word_is_behind);
    assert_int_equal(metric_value(METRIC_TAKEN_OVER), 0);
    assert_int_equal(s->post_count, posts);
    stop(s);
    /* an empty disk: the topic tells it all, and nothing is said twice */
    char store_dir[96];
    snprintf(store_dir, sizeof store_dir, "%s/store", s->dir);
    assert_int_equal(file_remove_tree(store_dir, NULL), OG_OK);
    start_and_wait(s);
    wait_until(s, "restored", first_owns_all);
    wait_until(s, "nothing to say", nothing_waits);
    assert_true(metric_value(METRIC_TAKEN_OVER) > 0);
    assert_int_equal(s->post_count, posts);
    assert_int_equal(metric_value(METRIC_ALERTS_OPENED), 0);
    stage_free(s);
}

/* The process stood still (a stopped machine): before anything leaves it asks the topic. */
static void a_process_that_stood_still_claims_anew(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    wait_until(s, "claims", first_owns_all);
    int64_t epoch = s->at[0].serve->partitions[1].epoch;
    s->at[0].serve->breath_ms -= 60000;
    assert_false(serve__may_act(s->at[0].serve, 1));
    wait_until(s, "claims", first_owns_all);
    assert_true(s->at[0].serve->partitions[1].epoch > epoch);
    assert_true(serve__may_act(s->at[0].serve, 1));
    stage_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_share_and_part),
        cmocka_unit_test(a_dead_ones_partitions_are_taken_over),
        cmocka_unit_test(a_newer_claim_stops_the_owner),
        cmocka_unit_test(an_outdated_word_is_answered),
        cmocka_unit_test(a_process_that_stood_still_claims_anew),
    };
    cmocka_set_test_filter(getenv("OG_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
