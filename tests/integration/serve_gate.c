/* New content asks for what the old did not: until the sources have been read again for it, nobody
 * knows what is missing. */
#include "serve_stage.h"

#include <dirent.h>
#include <errno.h>

#define CONTENT OG_SOURCE_DIR "/rules/content"

enum { OTHERS = 30000 };

static const char last_dose[] =
    "{\"resourceType\":\"MedicationAdministration\",\"id\":\"d3-a9\",\"status\":\"completed\","
    "\"medicationCodeableConcept\":{\"coding\":[{\"system\":"
    "\"http://fhir.de/CodeSystem/bfarm/atc\",\"code\":\"M05BX04\"}]},\"subject\":{\"reference\":"
    "\"Patient/d3\"},\"effectiveDateTime\":\"2026-02-16\",\"dosage\":{\"dose\":{\"value\":120,"
    "\"unit\":\"mg\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mg\"}}}";
static const char other[] = "{\"resourceType\":\"Slot\",\"id\":\"s\",\"status\":\"free\"}";

static void send_others(stage *s, int32_t partition)
{
    for (int i = 0; i < OTHERS; i++) {
        assert_int_equal(
            rd_kafka_producev(
                s->kafka.rk, RD_KAFKA_V_TOPIC("fhir.bundle"), RD_KAFKA_V_PARTITION(partition),
                RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                RD_KAFKA_V_VALUE((void *)(uintptr_t)other, strlen(other)), RD_KAFKA_V_END),
            RD_KAFKA_RESP_ERR_NO_ERROR);
        if (i % 1000 == 999)
            (void)rd_kafka_flush(s->kafka.rk, 30000);
    }
}

static void send_case(stage *s, int32_t partition)
{
    og_buf text;
    fhir_doc doc;
    og_arena *a = og_arena_new((size_t)64 << 20);
    og_buf_init(&text, (size_t)1 << 22);
    assert_int_equal(
        file_read(OG_SOURCE_DIR "/rules/content/cases/D3.json", (size_t)1 << 22, &text, NULL),
        OG_OK);
    assert_int_equal(fhir_decode(a, og_buf_str(&text), NULL, &doc, NULL), OG_OK);
    og_str bundle = fhir_raw(fhir_get(fhir_root(&doc), "bundle"));
    mock_kafka_put(&s->kafka, "fhir.bundle", partition, NULL, bundle.p, bundle.n);
    og_buf_done(&text);
    og_arena_free(a);
}

/* The doses of a case, then much else, then the last dose. */
static void send_all(stage *s)
{
    send_case(s, 0);
    send_others(s, 0);
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, last_dose, strlen(last_dose));
}

static bool is_rule(const char *name)
{
    return strncmp(name, "PlanDefinition-", 15) == 0;
}

/* Links to all files of the content; of rules only F4a's, or all. */
static void link_content(const char *dir, bool all)
{
    DIR *d = opendir(CONTENT);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char from[512], to[512];
        if (e->d_name[0] == '.' || strcmp(e->d_name, "cases") == 0 ||
            (is_rule(e->d_name) && !all && strcmp(e->d_name, "PlanDefinition-F4a.json") != 0))
            continue;
        snprintf(from, sizeof from, CONTENT "/%s", e->d_name);
        snprintf(to, sizeof to, "%s/%s", dir, e->d_name);
        if (symlink(from, to) != 0)
            assert_int_equal(errno, EEXIST); /* the second time: it is there */
    }
    closedir(d);
}

/* Of its rules F4a's alone, in a folder that the others can be linked into. */
static void use_old_content(stage *s, char dir[128])
{
    snprintf(dir, 128, "%s/content", s->dir);
    assert_int_equal(file_make_dirs(dir, NULL), OG_OK);
    link_content(dir, false);
    s->content_dir = dir;
}

static bool worked_off(stage *s)
{
    return metric_value(METRIC_MESSAGES) >= OTHERS + 2 && s->at[0].serve->known_ms > 0 &&
           is_current(s);
}

static bool was_reloaded(stage *s)
{
    (void)s;
    return metric_value(METRIC_RELOADS) >= 1;
}

static bool was_read_again(stage *s)
{
    return metric_value(METRIC_MESSAGES) >= 2 * (OTHERS + 2) && !s->at[0].serve->wants_pending &&
           nothing_waits(s);
}

static size_t posts_with(const stage *s, const char *text)
{
    size_t n = 0;
    for (size_t i = 0; i < s->post_count; i++)
        n += strstr(s->posts[i].body, text) != NULL;
    return n;
}

static void what_is_read_again_is_not_missing(void **state)
{
    char dir[128];
    stage *s = stage_new();
    (void)state;
    use_old_content(s, dir);
    start_and_wait(s);
    s->now_ms = 1772352000000; /* 2026-03-01T09:00+01:00, as the case */
    send_all(s);
    wait_until(s, "the events", worked_off);
    int64_t recorded = metric_value(METRIC_RECORDED);
    link_content(dir, true);
    serve_reload(s->at[0].serve);
    wait_until(s, "the reload", was_reloaded);
    assert_true(s->at[0].serve->wants_pending);
    wait_until(s, "the sources read again", was_read_again);
    assert_true(metric_value(METRIC_RECORDED) > recorded);
    assert_int_equal(posts_with(s, "\"code\":\"D3\""), 0);
    stage_free(s);
}

/* ---- new content, and an instance that has not heard of it ---- */

static size_t share_of(const stage *s, int m)
{
    const serve *d = s->at[m].serve;
    return d != NULL && d->sources != NULL ? kafka_source_positions(d->sources, NULL, 0) : 0;
}

static bool has_dose(const stage *s, int m, bool committed)
{
    kafka_position at[4];
    const serve *d = s->at[m].serve;
    size_t n = d->sources != NULL ? kafka_source_positions(d->sources, at, 4) : 0;
    for (size_t i = 0; i < n; i++)
        if (strcmp(at[i].topic, "fhir.bundle") == 0 && at[i].partition == 0)
            return !committed || at[i].committed >= 1;
    return false;
}

static bool they_share(stage *s)
{
    return share_of(s, 0) == 2 && share_of(s, 1) == 2;
}

static bool both_are_current(const stage *s)
{
    for (int m = 0; m < 2; m++)
        for (int i = 0; i < PARTITIONS; i++)
            if (s->at[m].serve->partitions[i].assigned && !serve__is_current(s->at[m].serve, i))
                return false;
    return true;
}

static bool dose_is_behind(stage *s)
{
    return metric_value(METRIC_MESSAGES) >= 2 && they_share(s) && both_are_current(s) &&
           (has_dose(s, 0, true) || has_dose(s, 1, true));
}

static int reloading; /* the member that is told of the new content */

static bool has_reloaded(stage *s)
{
    return was_reloaded(s) && they_share(s) && !s->at[reloading].serve->wants_pending;
}

static bool is_alone(stage *s)
{
    serve *d = s->at[reloading].serve;
    if (share_of(s, reloading) != 4 || d->share_unread)
        return false;
    for (int i = 0; i < PARTITIONS; i++)
        if (!d->partitions[i].assigned || !serve__is_current(d, i))
            return false;
    return true;
}

static bool all_is_said(stage *s)
{
    return is_applied(s) && nothing_waits(s);
}

/* Whoever takes over from one with the old content reads anew what that one has dropped. */
static void what_old_content_has_dropped_is_read_again(void **state)
{
    char dir[128];
    stage *s = stage_new();
    (void)state;
    use_old_content(s, dir);
    s->now_ms = 1772352000000;
    start_and_wait(s);
    start_member(s, 1);
    wait_until(s, "two members", they_share);
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, last_dose, strlen(last_dose));
    mock_kafka_put(&s->kafka, "fhir.bundle", 1, NULL, other, strlen(other));
    wait_until(s, "both read", dose_is_behind);
    assert_int_equal(metric_value(METRIC_RECORDED), 0); /* no rule asks for a dose */
    link_content(dir, true);
    reloading = has_dose(s, 0, false) ? 1 : 0;
    serve_reload(s->at[reloading].serve);
    wait_until(s, "reloaded", has_reloaded);
    assert_false(both_are_current(s));
    stop_member(s, 1 - reloading); /* before it has heard */
    wait_until(s, "alone", is_alone);
    assert_true(metric_value(METRIC_RECORDED) > 0);
    send_case(s, 1);
    s->sent = 0;
    wait_until(s, "the case", all_is_said);
    assert_int_equal(posts_with(s, "\"code\":\"D3\""), 0);
    stage_free(s);
}

static bool dose_is_committed(stage *s)
{
    return metric_value(METRIC_MESSAGES) >= 1 && is_current(s) && has_dose(s, 0, true);
}

/* The same when it begins with an empty disk, and hears of the other one behind its assignment. */
static void who_begins_reads_again_what_old_content_has_dropped(void **state)
{
    char dir[128];
    stage *s = stage_new();
    (void)state;
    use_old_content(s, dir);
    s->now_ms = 1772352000000;
    start_and_wait(s);
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, last_dose, strlen(last_dose));
    wait_until(s, "read", dose_is_committed);
    assert_int_equal(metric_value(METRIC_RECORDED), 0);
    stop(s);
    link_content(dir, true);
    start_member(s, 1);
    reloading = 1;
    wait_until(s, "current", is_alone);
    assert_true(metric_value(METRIC_RECORDED) > 0);
    send_case(s, 1);
    s->sent = 0;
    wait_until(s, "the case", all_is_said);
    assert_int_equal(posts_with(s, "\"code\":\"D3\""), 0);
    stage_free(s);
}

/* ---- a share that changes hands ---- */

static int32_t theirs; /* partition of fhir.bundle that another member has, or -1 */

static rd_kafka_t *join(const stage *s)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const char *const set[][2] = {{"bootstrap.servers", s->kafka.bootstrap},
                                  {"group.id", "osteoguard-gather"},
                                  {"partition.assignment.strategy", "range"},
                                  {"session.timeout.ms", "6000"},
                                  {"enable.auto.commit", "false"},
                                  {"fetch.wait.max.ms", "20"}};
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++)
        assert_int_equal(rd_kafka_conf_set(conf, set[i][0], set[i][1], why, sizeof why),
                         RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    assert_non_null(rk);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(2);
    rd_kafka_topic_partition_list_add(l, "fhir.patient", RD_KAFKA_PARTITION_UA);
    rd_kafka_topic_partition_list_add(l, "fhir.bundle", RD_KAFKA_PARTITION_UA);
    assert_int_equal(rd_kafka_subscribe(rk, l), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(l);
    return rk;
}

static rd_kafka_t *hanging; /* reads, and gathers nothing */

static bool both_have_some(stage *s)
{
    rd_kafka_topic_partition_list_t *l;
    rd_kafka_message_t *m = rd_kafka_consumer_poll(hanging, 10);
    if (m != NULL)
        rd_kafka_message_destroy(m);
    theirs = -1;
    assert_int_equal(rd_kafka_assignment(hanging, &l), RD_KAFKA_RESP_ERR_NO_ERROR);
    for (int i = 0; i < l->cnt; i++)
        if (strcmp(l->elems[i].topic, "fhir.bundle") == 0)
            theirs = l->elems[i].partition;
    int n = l->cnt;
    rd_kafka_topic_partition_list_destroy(l);
    return n == 2 && theirs >= 0 && s->at[0].serve->sources != NULL &&
           kafka_source_positions(s->at[0].serve->sources, NULL, 0) == 2;
}

static int64_t expected;

static bool has_read(stage *s)
{
    return both_have_some(s) && metric_value(METRIC_MESSAGES) >= expected &&
           clock_wall_ms() - s->at[0].serve->known_ms < 2000;
}

static bool has_read_all(stage *s)
{
    return metric_value(METRIC_MESSAGES) >= expected && is_current(s) && nothing_waits(s);
}

/* Another instance was behind with its partitions, and is gone: who gets them knows nothing of them
 * yet. */
static void a_share_that_was_taken_over_is_not_known(void **state)
{
    stage *s = stage_new();
    (void)state;
    s->limits = "freshness_ms: 6000";
    start_and_wait(s);
    hanging = join(s);
    wait_until(s, "two members", both_have_some);
    s->now_ms = 1772352000000;
    send_case(s, 1 - theirs);
    send_others(s, theirs);
    send_others(s, theirs);
    mock_kafka_put(&s->kafka, "fhir.bundle", theirs, NULL, last_dose, strlen(last_dose));
    expected = 1;
    wait_until(s, "our share read", has_read);
    assert_int_equal(posts_with(s, "\"code\":\"D3\""), 0); /* who reads the rest? */
    rd_kafka_consumer_close(hanging);
    rd_kafka_destroy(hanging);
    expected = 2 + 2 * OTHERS;
    wait_until(s, "all read", has_read_all);
    for (size_t i = 0; i < s->post_count; i++)
        print_message("%.160s\n", s->posts[i].body);
    assert_int_equal(posts_with(s, "\"code\":\"D3\""), 0);
    stage_free(s);
}

static int64_t loss_ms;

static bool ours_is_read_again(stage *s)
{
    const serve *d = s->at[0].serve;
    return both_have_some(s) && d->share_from_ms == loss_ms && d->share_through;
}

static bool has_some(stage *s)
{
    return both_have_some(s) && s->at[0].serve->known_ms > 0;
}

static bool loss_is_over(stage *s)
{
    return s->at[0].serve->lost_ms == 0;
}

/* The same while something is lost: what a new owner of a share has not read again is not found. */
static void a_share_that_was_taken_over_is_not_read_again(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    s->now_ms = 1772352000000;
    hanging = join(s);
    wait_until(s, "two members", both_have_some);
    send_case(s, 1 - theirs);
    send_others(s, theirs);
    send_others(s, theirs);
    wait_until(s, "our share read", has_some);
    loss_ms = serve__losses(s->at[0].serve, 0).new_ms;
    serve__on_lost(s->at[0].serve, 0, PIPELINE_LOST_RECORDS, loss_ms);
    assert_int_equal(s->at[0].serve->lost_ms, loss_ms);
    wait_until(s, "our share read again", ours_is_read_again);
    assert_int_equal(s->at[0].serve->lost_ms, loss_ms); /* who reads the rest? */
    int64_t before = metric_value(METRIC_MESSAGES);
    rd_kafka_consumer_close(hanging);
    rd_kafka_destroy(hanging);
    wait_until(s, "the end of the loss", loss_is_over);
    assert_true(metric_value(METRIC_MESSAGES) - before >= 2 * OTHERS);
    stage_free(s);
}

/* ---- a broker that is slow to answer ---- */

enum { FETCH = 1, SLOW_MS = 12000 };

/* The sources are on the second broker, everything else on the first one. */
static void divide(stage *s)
{
    static const char *const ours[] = {"osteoguard.records", "osteoguard.alerts",
                                       "osteoguard.shared", "osteoguard.dead-letters"};
    static const char *const groups[] = {"osteoguard", "osteoguard-gather"};
    for (size_t i = 0; i < 4; i++)
        for (int32_t p = 0; p < (i < 2 ? PARTITIONS : 1); p++)
            (void)rd_kafka_mock_partition_set_leader(s->kafka.cluster, ours[i], p, 1);
    for (size_t i = 0; i < 2; i++)
        for (int32_t p = 0; p < 2; p++)
            (void)rd_kafka_mock_partition_set_leader(s->kafka.cluster, sources[i], p, 2);
    for (size_t i = 0; i < 2; i++)
        (void)rd_kafka_mock_coordinator_set(s->kafka.cluster, "group", groups[i], 1);
}

static bool is_stored(stage *s)
{
    for (int i = 0; i < PARTITIONS; i++)
        if (clock_wall_ms() - serve__stored_until(s->at[0].serve, i) > 6000)
            return false;
    return true;
}

static bool case_is_read(stage *s)
{
    return metric_value(METRIC_MESSAGES) >= 1 && is_current(s) && nothing_waits(s);
}

static stage *divided(void)
{
    stage_brokers = 2;
    stage *s = stage_new();
    stage_brokers = 0;
    divide(s);
    s->limits = "freshness_ms: 6000";
    s->now_ms = 1772352000000;
    start_and_wait(s);
    wait_until(s, "current", is_current);
    wait_until(s, "stored", is_stored);
    return s;
}

/* Nothing is current, the cards of calls say so, and it all comes right. */
static void is_not_current_for_a_while(stage *s)
{
    for (int i = 0; i < PARTITIONS; i++)
        assert_true(clock_wall_ms() - serve__stored_until(s->at[0].serve, i) > 6000);
    (void)rd_kafka_mock_broker_set_up(s->kafka.cluster, 2);
    send_case(s, 0);
    wait_until(s, "the case", case_is_read);
    stage_free(s);
}

/* Where the sources' broker does not answer, nobody knows how much is there by now, whatever was
 * known before. */
static void an_end_that_nobody_tells_is_not_reached(void **state)
{
    stage *s = divided();
    (void)state;
    (void)rd_kafka_mock_broker_set_down(s->kafka.cluster, 2);
    wait_until(s, "not current", nothing_is_current);
    is_not_current_for_a_while(s);
}

static bool behind_a_slow_fetch(stage *s)
{
    static int64_t put_ms;
    if (clock_monotonic_ms() - put_ms > 500) {
        put_ms = clock_monotonic_ms();
        mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, other, strlen(other));
    }
    return nothing_is_current(s);
}

/* It answers, but does not give what it has. */
static void what_is_not_given_is_not_read(void **state)
{
    stage *s = divided();
    (void)state;
    assert_int_equal(rd_kafka_mock_broker_push_request_error_rtts(
                         s->kafka.cluster, 2, FETCH, 2, RD_KAFKA_RESP_ERR_NO_ERROR, SLOW_MS,
                         RD_KAFKA_RESP_ERR_NO_ERROR, SLOW_MS),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    wait_until(s, "not current", behind_a_slow_fetch);
    is_not_current_for_a_while(s);
}

/* ---- a log that ends before the place that the group has come to ---- */

static void commit_ahead(const stage *s, int64_t offset)
{
    char why[256];
    rd_kafka_conf_t *c = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(c, "bootstrap.servers", s->kafka.bootstrap, why, sizeof why),
                     RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(c, "group.id", "osteoguard-gather", why, sizeof why),
                     RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, c, why, sizeof why);
    assert_non_null(rk);
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(l, "fhir.bundle", 0)->offset = offset;
    assert_int_equal(rd_kafka_commit(rk, l, 0), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(l);
    rd_kafka_destroy(rk);
}

static bool was_known;

static bool has_stopped(stage *s)
{
    const serve *d = s->at[0].serve;
    was_known |= d != NULL && d->known_ms > 0;
    return s->at[0].stopped;
}

/* It was made anew, or put back from a backup, and its broker is slow to say so to who fetches. */
static void what_is_beyond_the_end_is_not_read(void **state)
{
    (void)state;
    stage_brokers = 2;
    stage *s = stage_new();
    stage_brokers = 0;
    divide(s);
    was_known = false;
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, other, strlen(other)); /* it ends at 1 */
    commit_ahead(s, 50);
    start(s);
    for (int i = 0; i < 60; i++)
        (void)rd_kafka_mock_broker_push_request_error_rtts(s->kafka.cluster, 2, FETCH, 1,
                                                           RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, 0);
    wait_until(s, "an operator has to decide", has_stopped);
    assert_int_equal(s->at[0].status, 1);
    assert_false(was_known);
    config_free(s->at[0].config);
    s->at[0].config = NULL;
    stage_free(s);
}

/* ---- a source that is silent ---- */

static bool is_beating(stage *s)
{
    return s->at[0].serve->known_ms > 0;
}

/* All is read, and nothing has ever come: who knows whether the sender is well? */
static void a_source_is_heard_before_anything_is_overdue(void **state)
{
    static int64_t allowed[2] = {0, 3600000}; /* fhir.patient, fhir.bundle */
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    wait_until(s, "current", is_current);
    s->at[0].config->kafka_silence_ms = allowed;
    assert_true(nothing_is_current(s));
    s->at[0].serve->known_ms = 0;
    wait_until(s, "the next beats", is_beating);
    assert_true(nothing_is_current(s));
    mock_kafka_put(&s->kafka, "fhir.patient", 0, NULL, other, strlen(other));
    mock_kafka_put(&s->kafka, "fhir.bundle", 1, NULL, other, strlen(other));
    wait_until(s, "heard", is_current);
    s->at[0].config->kafka_silence_ms = NULL;
    stage_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_again_is_not_missing),
        cmocka_unit_test(what_old_content_has_dropped_is_read_again),
        cmocka_unit_test(who_begins_reads_again_what_old_content_has_dropped),
        cmocka_unit_test(a_share_that_was_taken_over_is_not_known),
        cmocka_unit_test(a_share_that_was_taken_over_is_not_read_again),
        cmocka_unit_test(an_end_that_nobody_tells_is_not_reached),
        cmocka_unit_test(what_is_not_given_is_not_read),
        cmocka_unit_test(what_is_beyond_the_end_is_not_read),
        cmocka_unit_test(a_source_is_heard_before_anything_is_overdue)};
    cmocka_set_test_filter(getenv("OG_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
