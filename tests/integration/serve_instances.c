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

/* ---- words that are none, and words that the brokers refuse ---- */

static bool garbage_is_read(stage *s)
{
    return s->at[0].serve->partitions[outdated.partition].said_next >= end_before + 1;
}

/* Garbage on the alerts topic is counted and passed over, whatever it is. */
static void garbage(const char *endpoint, const char *value)
{
    char key[1024];
    stage *s = stage_new();
    start_and_wait(s);
    (void)send_stream(s, 0, 20);
    wait_until(s, "worked off", is_quiet);
    outdated = find_alert(s);
    end_before = s->at[0].serve->partitions[outdated.partition].said_next;
    snprintf(key, sizeof key, "%s%s%s", outdated.key, endpoint[0] != '\0' ? "|" : "", endpoint);
    write_as(s, outdated.partition, key, value, SAID_EPOCH, "9223372036854775807");
    wait_until(s, "the garbage", garbage_is_read);
    (void)send_stream(s, 20, SIZE_MAX);
    wait_until(s, "the rest", is_quiet);
    assert_int_equal(metric_value(METRIC_BAD_RECORDS), 1);
    stage_free(s);
}

static void a_word_nested_too_deeply_stops_nobody(void **state)
{
    char deep[301] = {0};
    (void)state;
    memset(deep, '[', 300);
    garbage("", deep);
}

static void a_word_of_an_endless_endpoint_stops_nobody(void **state)
{
    static const char row[] =
        "{\"state\":\"intent\",\"resolved\":false,\"revision\":2,\"sequence\":7,\"attempts\":1,"
        "\"next\":0,\"cause\":0,\"doubtful\":\"\",\"doubted\":false,\"held\":[],\"reason\":\"\"}";
    char endpoint[601] = {0};
    (void)state;
    memset(endpoint, 'e', 600);
    garbage(endpoint, row);
}

#define API_PRODUCE 0

static void refuse_writes(stage *s, rd_kafka_resp_err_t err)
{
    static rd_kafka_resp_err_t list[100000];
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        list[i] = err;
    rd_kafka_mock_push_request_errors_array(s->kafka.cluster, API_PRODUCE,
                                            sizeof list / sizeof list[0], list);
}

static void take_writes(stage *s)
{
    rd_kafka_mock_clear_request_errors(s->kafka.cluster, API_PRODUCE);
}

static bool no_claim_is_under_way(stage *s)
{
    for (int i = 0; i < PARTITIONS; i++) {
        const serve_partition *p = &s->at[0].serve->partitions[i];
        if (p->epoch >= 0 || p->publishing > 0)
            return false;
    }
    return true;
}

static void stand_still(stage *s)
{
    s->at[0].serve->breath_ms -= 60000;
    assert_false(serve__may_act(s->at[0].serve, 1));
}

/* For good, as they say of a record: of a claim they are asked again. */
static void a_claim_that_was_refused_is_repeated(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    wait_until(s, "claims", first_owns_all);
    refuse_writes(s, RD_KAFKA_RESP_ERR_POLICY_VIOLATION);
    stand_still(s);
    wait_until(s, "refused", no_claim_is_under_way);
    take_writes(s);
    wait_until(s, "claims", first_owns_all);
    stage_free(s);
}

static void refuse_what_follows(stage *s)
{
    s->on_post = NULL;
    refuse_writes(s, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED);
}

static bool a_receipt_was_refused(stage *s)
{
    size_t n = 0;
    for (int i = 0; i < PARTITIONS; i++)
        n += s->at[0].serve->partitions[i].publishing;
    return s->post_count > 0 && n > 0 && s->at[0].serve->said_again_ms != 0;
}

/* It is not sent with every turn of the loop. */
static void a_pause_is_made(serve *s)
{
    int64_t again_ms = s->said_again_ms;
    size_t outstanding = kafka_sink_outstanding(s->sink);
    s->said_again_ms = clock_monotonic_ms() + 60000;
    serve__tend_said(s);
    assert_int_equal(kafka_sink_outstanding(s->sink), outstanding);
    s->said_again_ms = again_ms;
}

/* A receipt that the brokers do not take at once is said when they do, also when the process has
 * claimed its partitions anew meanwhile: who takes over in good order has nothing to say again. */
static void refused_receipts(bool standing_still)
{
    stage *s = stage_new();
    start_and_wait(s);
    wait_until(s, "claims", first_owns_all);
    s->on_post = refuse_what_follows;
    (void)send_stream(s, 0, 40);
    wait_until(s, "a receipt that waits", a_receipt_was_refused);
    a_pause_is_made(s->at[0].serve);
    if (standing_still)
        stand_still(s);
    take_writes(s);
    wait_until(s, "claims", first_owns_all);
    wait_until(s, "worked off", is_quiet);
    size_t posts = s->post_count;
    start_member(s, 1);
    wait_until(s, "both own partitions", both_own_some);
    stop_member(s, 0);
    wait_until(s, "the second owns all", second_owns_all);
    wait_until(s, "nothing to say", nothing_waits);
    assert_int_equal(s->repeats, 0);
    assert_int_equal(s->post_count, posts);
    stage_free(s);
}

static void a_receipt_is_said_when_the_brokers_take_it(void **state)
{
    (void)state;
    refused_receipts(false);
}

static void a_receipt_survives_a_new_claim(void **state)
{
    (void)state;
    refused_receipts(true);
}

/* What the producer takes before it knows comes later, and is garbage. */
static bool producer_takes_none(stage *s)
{
    static int64_t asked_ms;
    kafka_record r = {.topic = "osteoguard.alerts", .key = OG_STR("garbage")};
    if (clock_monotonic_ms() - asked_ms < 50)
        return false;
    asked_ms = clock_monotonic_ms();
    return kafka_sink_send(s->at[0].serve->sink, &r, NULL, NULL, NULL) != CONN_DONE;
}

static int64_t errors_before;

static bool brokers_complain(stage *s)
{
    (void)s;
    return metric_value(METRIC_KAFKA_ERRORS) > errors_before;
}

/* A broker that has just started knows no topic yet: that is no word about the records. */
static void a_topic_unknown_for_a_while_parks_nothing(void **state)
{
    stage *s = stage_new();
    (void)state;
    s->properties = "topic.metadata.refresh.interval.ms: 300";
    start_and_wait(s);
    wait_until(s, "claims", first_owns_all);
    (void)send_stream(s, 0, 20);
    wait_until(s, "worked off", is_quiet);
    size_t posts = s->post_count;
    rd_kafka_mock_topic_set_error(s->kafka.cluster, "osteoguard.alerts",
                                  RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    wait_until(s, "the topic unknown", producer_takes_none);
    (void)send_stream(s, 20, SIZE_MAX);
    wait_until(s, "all gathered", is_gathered);
    wait_until(s, "all in the stores", is_applied);
    errors_before = metric_value(METRIC_KAFKA_ERRORS);
    wait_until(s, "who tries to send", brokers_complain);
    rd_kafka_mock_topic_set_error(s->kafka.cluster, "osteoguard.alerts",
                                  RD_KAFKA_RESP_ERR_NO_ERROR);
    wait_until(s, "worked off", is_quiet);
    for (int i = 0; i < PARTITIONS; i++)
        assert_int_equal(s->at[0].serve->partitions[i].parked, 0);
    assert_true(s->post_count > posts);
    ehr_has_what_is_believed(s);
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
        cmocka_unit_test(a_word_nested_too_deeply_stops_nobody),
        cmocka_unit_test(a_word_of_an_endless_endpoint_stops_nobody),
        cmocka_unit_test(a_claim_that_was_refused_is_repeated),
        cmocka_unit_test(a_receipt_is_said_when_the_brokers_take_it),
        cmocka_unit_test(a_receipt_survives_a_new_claim),
        cmocka_unit_test(a_topic_unknown_for_a_while_parks_nothing),
    };
    cmocka_set_test_filter(getenv("OG_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
