/* Two daemons on one broker, and records that are gone: one of them sees it, both read again, and
 * until that is done neither says what might come of the loss alone. */
#include "daemon/said.h"
#include "serve_stage.h"

#define HOUR "freshness_ms: 3600000" /* what waits here does not wait for fresh heartbeats */

/* ---- who is who ---- */

static bool all_is_owned(stage *s)
{
    int n = 0;
    for (int m = 0; m < 2; m++)
        for (int i = 0; i < PARTITIONS && s->at[m].serve != NULL; i++)
            n += s->at[m].serve->partitions[i].assigned &&
                 owner_get(s->at[m].serve->owner, i).settled;
    return n == PARTITIONS;
}

static int owned_by(const stage *s, int m)
{
    int n = 0;
    for (int i = 0; i < PARTITIONS && s->at[m].serve != NULL; i++)
        n += s->at[m].serve->partitions[i].assigned;
    return n;
}

static bool reads_bundles(const stage *s, int m)
{
    kafka_position at[8];
    size_t n = s->at[m].serve->sources != NULL
                   ? kafka_source_positions(s->at[m].serve->sources, at, 8)
                   : 0;
    for (size_t i = 0; i < n; i++)
        if (strcmp(at[i].topic, "fhir.bundle") == 0 && at[i].partition == 0)
            return true;
    return false;
}

static bool both_have_shares(stage *s)
{
    return all_is_owned(s) && owned_by(s, 0) > 0 && owned_by(s, 1) > 0 &&
           reads_bundles(s, 0) != reads_bundles(s, 1);
}

static bool knows(stage *s, int m, int partition, const char *patient)
{
    store_txn *t;
    bool known;
    assert_int_equal(store_begin(s->at[m].serve->partitions[partition].store, false, &t, NULL),
                     OG_OK);
    assert_int_equal(store_knows(t, og_str_of(patient), &known, NULL), OG_OK);
    store_abort(t);
    return known;
}

/* Where a patient is, and who has him. */
static int find(stage *s, const char *patient, int *ret_owner)
{
    for (int m = 0; m < 2; m++)
        for (int i = 0; i < PARTITIONS && s->at[m].serve != NULL; i++)
            if (s->at[m].serve->partitions[i].assigned && knows(s, m, i, patient)) {
                *ret_owner = m;
                return i;
            }
    fail_msg("nobody has %s", patient);
    return -1;
}

static int one_of(const stage *s, int m)
{
    for (int i = 0; i < PARTITIONS; i++)
        if (s->at[m].serve->partitions[i].assigned)
            return i;
    fail_msg("member %d owns nothing", m);
    return -1;
}

/* ---- what happens ---- */

/* Nothing is gathered, so nothing is refilled. */
static void hold(stage *s, bool held)
{
    for (int m = 0; m < 2; m++)
        if (s->at[m].serve != NULL)
            s->at[m].serve->gather_paused = held;
}

/* The shared topic is shorter than this partition has read it. */
static void lose_shared(stage *s, int m, int partition)
{
    store_txn *t;
    serve *one = s->at[m].serve;
    assert_int_equal(store_begin(one->partitions[partition].store, true, &t, NULL), OG_OK);
    assert_int_equal(store_set_meta_int(t, STORE_SHARED_SEEN, 1000000, NULL), OG_OK);
    assert_int_equal(store_commit(t, NULL), OG_OK);
    owner_wake(one->owner, partition);
}

typedef struct rows {
    og_arena *a;
    og_str at[1024];
    size_t count;
} rows;

static og_status keep_row(void *ctx, og_str key, og_str value, og_error *err)
{
    rows *r = ctx;
    (void)value;
    (void)err;
    if (!store_row_is(key, STORE_ROW_RESOURCE))
        return OG_OK;
    assert_true(r->count < 1024);
    r->at[r->count++] = og_arena_str(r->a, key);
    return OG_OK;
}

/* No patient of this partition has a record any more, and all are looked at. */
static void lose_records(stage *s, int m, int partition)
{
    const og_str *patients;
    size_t n;
    store_txn *t;
    serve *one = s->at[m].serve;
    static rows r;
    r.a = og_arena_new(8 << 20);
    r.count = 0;
    assert_int_equal(store_begin(one->partitions[partition].store, true, &t, NULL), OG_OK);
    assert_int_equal(store_patients(t, r.a, (og_str){NULL, 0}, SIZE_MAX, &patients, &n, NULL),
                     OG_OK);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(store_mark_dirty(t, patients[i], -1, NULL), OG_OK);
    assert_int_equal(
        kv_scan(t, STORE_PATIENT, (og_str){NULL, 0}, (og_str){NULL, 0}, keep_row, &r, NULL), OG_OK);
    for (size_t i = 0; i < r.count; i++)
        assert_int_equal(kv_delete(t, STORE_PATIENT, r.at[i], NULL), OG_OK);
    assert_int_equal(store_commit(t, NULL), OG_OK);
    og_arena_free(r.a);
    assert_true(r.count > 10);
    owner_wake(one->owner, partition);
}

static int finder, other, place; /* of sample-11, who is the other one's */

static bool other_waits(stage *s)
{
    return s->at[other].serve->lost_ms != 0 && owner_get(s->at[other].serve->owner, place).lost;
}

static bool nobody_waits(stage *s)
{
    for (int m = 0; m < 2; m++)
        if (s->at[m].serve != NULL && s->at[m].serve->lost_ms != 0)
            return false;
    return true;
}

static bool all_is_said(stage *s)
{
    return has_d3_by_clock(s) && nobody_waits(s) && is_quiet(s);
}

static int64_t ticked_ms;

static bool has_ticked(stage *s)
{
    for (int m = 0; m < 2; m++)
        if (s->at[m].serve != NULL && s->at[m].serve->tick_steady_ms < ticked_ms)
            return false;
    return true;
}

/* Midnight is over, and the one who has sample-11 looks, more than once, whether anything is due.
 */
static void nothing_is_overdue(stage *s, int m)
{
    owner_wake(s->at[m].serve->owner, place);
    ticked_ms = clock_monotonic_ms() + 2500; /* two ticks later */
    wait_until(s, "two ticks", has_ticked);
    owner_state state = owner_get(s->at[m].serve->owner, place);
    assert_true(state.next_due_ms != 0 && state.next_due_ms <= s->now_ms);
    assert_true(state.lost);
    assert_false(has_d3_by_clock(s));
}

/* Both run, all is said, and sample-11's dose is due at midnight. */
static stage *two_at_rest(void)
{
    stage *s = stage_new();
    s->limits = HOUR;
    start_and_wait(s);
    (void)send_stream(s, 0, SIZE_MAX);
    wait_until(s, "the stream worked off", is_quiet);
    start_member(s, 1);
    wait_until(s, "both have shares", both_have_shares);
    wait_until(s, "nothing to say", is_quiet);
    assert_false(has_d3_by_clock(s));
    place = find(s, "sample-11", &other);
    finder = 1 - other;
    return s;
}

static int64_t resolved_before;

/* One of them sees a loss while nothing can be read again. */
static stage *one_sees_a_loss(void)
{
    stage *s = two_at_rest();
    resolved_before = metric_value(METRIC_ALERTS_RESOLVED);
    hold(s, true);
    lose_shared(s, finder, one_of(s, finder));
    wait_until(s, "the other one knows", other_waits);
    assert_int_equal(s->at[other].serve->lost_ms, s->at[finder].serve->lost_ms);
    s->now_ms = BEFORE_MIDNIGHT + 21000;
    return s;
}

static void all_comes_back(stage *s)
{
    hold(s, false);
    wait_until(s, "what is due", all_is_said);
    assert_true(metric_value(METRIC_MESSAGES) >= 2 * s->sent);
    assert_int_equal(metric_value(METRIC_ALERTS_RESOLVED),
                     resolved_before + 1); /* D1 gives way to D3 */
    assert_int_equal(s->repeats, 0);
    no_card_came_under_two_keys(s);
    ehr_has_what_is_believed(s);
}

/* ---- tests ---- */

static void the_other_one_waits_as_well(void **state)
{
    stage *s = one_sees_a_loss();
    (void)state;
    nothing_is_overdue(s, other);
    all_comes_back(s);
    assert_false(owner_get(s->at[other].serve->owner, place).lost);
    stage_free(s);
}

/* Who takes a partition over knows it, and so does who comes back. */
static void a_loss_outlives_its_witnesses(void **state)
{
    stage *s = one_sees_a_loss();
    (void)state;
    int64_t loss_ms = s->at[finder].serve->lost_ms;
    stop_member(s, other);
    wait_until(s, "taken over", all_is_owned);
    nothing_is_overdue(s, finder);
    stop_member(s, finder);
    start_member(s, other); /* it has heard of it, seen it has not */
    hold(s, true);
    wait_until(s, "back", all_is_owned);
    nothing_is_overdue(s, other);
    assert_int_equal(s->at[other].serve->lost_ms, loss_ms);
    all_comes_back(s);
    assert_int_equal(s->at[other].serve->filled_ms, loss_ms);
    stage_free(s);
}

static bool loss_is_seen(stage *s)
{
    return metric_value(METRIC_WITHHELD) > 0 && s->at[finder].serve->lost_ms != 0;
}

static bool no_partition_is_marked(stage *s)
{
    for (int m = 0; m < 2; m++)
        for (int i = 0; i < PARTITIONS; i++)
            if (owner_get(s->at[m].serve->owner, i).lost)
                return false;
    return nobody_waits(s) && is_quiet(s);
}

/* Every patient of the partition who has alerts has records again. */
static void all_have_records(stage *s, int m, int partition)
{
    const og_str *patients;
    const plan_alert *alerts;
    size_t n, count, seen = 0;
    store_txn *t;
    og_arena *a = og_arena_new(64 << 20);
    assert_int_equal(store_begin(s->at[m].serve->partitions[partition].store, false, &t, NULL),
                     OG_OK);
    assert_int_equal(store_patients(t, a, (og_str){NULL, 0}, SIZE_MAX, &patients, &n, NULL), OG_OK);
    for (size_t i = 0; i < n; i++) {
        bool known;
        assert_int_equal(store_alerts(t, a, patients[i], &alerts, &count, NULL), OG_OK);
        assert_int_equal(store_knows(t, patients[i], &known, NULL), OG_OK);
        assert_true(known || count == 0);
        seen += count > 0;
    }
    store_abort(t);
    og_arena_free(a);
    assert_true(seen > 3);
}

/* What is lost came through the share of the one who does not miss it. */
static void what_the_other_one_read_comes_back(void **state)
{
    stage *s = two_at_rest();
    (void)state;
    finder = reads_bundles(s, 0) ? 1 : 0;
    int lost = one_of(s, finder);
    resolved_before = metric_value(METRIC_ALERTS_RESOLVED);
    lose_records(s, finder, lost);
    wait_until(s, "the loss", loss_is_seen);
    s->now_ms = BEFORE_MIDNIGHT + 21000;
    all_comes_back(s);
    wait_until(s, "all over", no_partition_is_marked);
    all_have_records(s, finder, lost);
    stage_free(s);
}

/* ---- a topic that is shorter than it was ---- */

static bool was_refilled(stage *s)
{
    return s->at[0].serve->filled_ms != 0 && s->at[0].serve->lost_ms == 0 && is_quiet(s);
}

/* Of a patient without alerts nothing shows that records are gone, but the store knows how long the
 * topic was. */
static void a_shorter_topic_is_a_loss(void **state)
{
    stage *s = stage_new();
    (void)state;
    s->limits = "freshness_ms: 3000";
    start_and_wait(s);
    (void)send_stream(s, 8, 14);
    wait_until(s, "the stream worked off", is_quiet);
    stop(s);
    set_in_stopped_store(s, 1, STORE_NEXT_OFFSET, 1000000);
    start_and_wait(s);
    wait_until(s, "the sources read again", was_refilled);
    assert_int_equal(metric_value(METRIC_STORE_DISCARDED), 1);
    assert_int_equal(metric_value(METRIC_WITHHELD), 0); /* nobody's absence has shown it */
    assert_int_equal(metric_value(METRIC_MESSAGES), s->sent);
    assert_int_equal(metric_value(METRIC_ALERTS_RESOLVED), 0);
    assert_int_equal(s->repeats, 0);
    stage_free(s);
}

/* ---- what does not come back ---- */

/* Somebody owned him who is gone: there is an alert, and not one record. */
static void haunt(stage *s)
{
    static const char ghost[] = "ghost";
    const plan_alert *alerts;
    size_t count;
    int who = 0;
    char key[128], epoch[32];
    store_txn *t;
    og_arena *a = og_arena_new(8 << 20);
    int from = find(s, "sample-11", &who);
    assert_int_equal(store_begin(s->at[who].serve->partitions[from].store, false, &t, NULL), OG_OK);
    assert_int_equal(store_alerts(t, a, OG_STR("sample-11"), &alerts, &count, NULL), OG_OK);
    store_abort(t);
    assert_true(count > 0 && alerts[0].state == PLAN_ALERT_ACTIVE);
    og_str text = plan_alert_write(a, &alerts[0]);
    int at = kafka_partition_for(OG_STR("t|ghost"), PARTITIONS);
    snprintf(key, sizeof key, "t|%s|%s", ghost, alerts[0].id);
    snprintf(epoch, sizeof epoch, "%lld", (long long)s->at[0].serve->partitions[at].epoch);
    write_as(s, at, key, text.p, SAID_EPOCH, epoch);
    og_arena_free(a);
}

/* The sources are read again once; they do not have him. Neither the next start nor a new disk
 * looks for him again, and his alert stays. */
static void who_stays_away_is_sought_once(void **state)
{
    char dir[96];
    stage *s = stage_new();
    (void)state;
    s->limits = "freshness_ms: 3000";
    start_and_wait(s);
    (void)send_stream(s, 8, 14);
    wait_until(s, "the stream worked off", is_quiet);
    haunt(s);
    wait_until(s, "he was sought", was_refilled);
    assert_int_equal(metric_value(METRIC_MESSAGES), 2 * s->sent);
    int64_t loss_ms = s->at[0].serve->filled_ms;
    for (int empty = 0; empty < 2; empty++) {
        stop(s);
        snprintf(dir, sizeof dir, "%s/store", s->dir);
        if (empty)
            assert_int_equal(file_remove_tree(dir, NULL), OG_OK);
        start_and_wait(s);
        wait_until(s, "restored", is_quiet);
        owner_wake_all(s->at[0].serve->owner);
        ticked_ms = clock_monotonic_ms() + 2500;
        wait_until(s, "two ticks", has_ticked);
        assert_int_equal(metric_value(METRIC_MESSAGES), 0);
        assert_int_equal(s->at[0].serve->lost_ms, 0);
        assert_true(s->at[0].serve->filled_ms == (empty ? 0 : loss_ms));
        assert_int_equal(metric_value(METRIC_WITHHELD) > 0, empty);
        assert_int_equal(metric_value(METRIC_ALERTS_RESOLVED), 0);
    }
    stage_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_other_one_waits_as_well),
        cmocka_unit_test(a_loss_outlives_its_witnesses),
        cmocka_unit_test(what_the_other_one_read_comes_back),
        cmocka_unit_test(a_shorter_topic_is_a_loss),
        cmocka_unit_test(who_stays_away_is_sought_once),
    };
    cmocka_set_test_filter(getenv("OG_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
