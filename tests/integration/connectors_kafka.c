/* The Kafka connectors against librdkafka's mock cluster: the real protocol, injected errors, no
 * JVM. */
#include "connectors/kafka.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mock_kafka.h"

enum {
    GUARD_MS = 60000,
    MAX_SEEN = 4096,
    API_PRODUCE = 0,
    API_OFFSET_COMMIT = 8,
    API_OFFSET_FETCH = 9,
    API_HEARTBEAT = 12
};

static mock_kafka mock;

/* ---- a loop that gives up ---- */

typedef struct scene {
    uv_loop_t loop;
    uv_timer_t guard;
} scene;

static void guard_fired(uv_timer_t *t)
{
    (void)t;
    fail_msg("nothing happened for %d ms", GUARD_MS);
}

static void scene_begin(scene *s)
{
    assert_int_equal(uv_loop_init(&s->loop), 0);
    uv_timer_init(&s->loop, &s->guard);
    uv_timer_start(&s->guard, guard_fired, GUARD_MS, 0);
}

/* Runs the loop until *flag reaches want. */
static void run_until(scene *s, const size_t *flag, size_t want)
{
    while (*flag < want)
        uv_run(&s->loop, UV_RUN_ONCE);
}

static void scene_end(scene *s)
{
    uv_close((uv_handle_t *)&s->guard, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

static void note_closed(void *ctx)
{
    ++*(size_t *)ctx;
}

/* ---- a sink that counts ---- */

typedef struct written {
    size_t done, again, never, room;
    size_t errors, fatal;
} written;

static void on_report(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                      const kafka_error *error)
{
    written *w = ctx;
    (void)partition;
    (void)offset;
    assert_true((verdict == CONN_DONE) == (error == NULL));
    w->done += verdict == CONN_DONE;
    w->again += verdict == CONN_AGAIN;
    w->never += verdict == CONN_NEVER;
}

static void on_sink_error(void *ctx, const kafka_error *e)
{
    written *w = ctx;
    w->errors++;
    w->fatal += e->fatal;
}

static void on_room(void *ctx)
{
    ((written *)ctx)->room++;
}

static kafka_sink *sink_open(scene *s, written *w, const kafka_property *more, size_t n)
{
    kafka_property p[8] = {{"bootstrap.servers", mock.bootstrap}};
    for (size_t i = 0; i < n; i++)
        p[i + 1] = more[i];
    kafka_sink_options o = {.properties = p,
                            .property_count = n + 1,
                            .linger_ms = 1,
                            .ctx = w,
                            .on_error = on_sink_error,
                            .on_room = on_room};
    kafka_sink *k = NULL;
    og_error err;
    og_error_init(&err);
    if (kafka_sink_new(&s->loop, &o, &k, &err) != OG_OK)
        fail_msg("%s", err.text);
    return k;
}

static void sink_shut(scene *s, kafka_sink *k)
{
    size_t closed = 0;
    kafka_sink_close(k, 5000, note_closed, &closed);
    run_until(s, &closed, 1);
}

static conn_verdict put(kafka_sink *k, written *w, const char *topic, int32_t partition,
                        const char *key, const char *value)
{
    kafka_record r = {
        .topic = topic, .partition = partition, .key = og_str_of(key), .value = og_str_of(value)};
    return kafka_sink_send(k, &r, on_report, w, NULL);
}

static void fill(scene *s, const char *topic, int32_t partition, int from, int to)
{
    written w = {0};
    kafka_sink *k = sink_open(s, &w, NULL, 0);
    for (int i = from; i < to; i++) {
        char value[16];
        snprintf(value, sizeof(value), "%d", i);
        assert_int_equal(put(k, &w, topic, partition, "key", value), CONN_DONE);
    }
    run_until(s, &w.done, (size_t)(to - from));
    sink_shut(s, k);
}

/* ---- a source that remembers ---- */

typedef struct seen {
    kafka_source *source;
    const char *name;
    int64_t offset[MAX_SEEN];
    int32_t partition[MAX_SEEN];
    char value[MAX_SEEN][16];
    size_t count, assigned, revoked, lost, ends, commits, commit_errors, errors, fatal;
    size_t partitions;
    int fatal_code;
    bool done_at_once;
    int64_t skip_done; /* this offset is never done; -1 none */
    int64_t start;     /* what on_assign answers */
    char header[32];
    bool null_value, hold;
    size_t close_after; /* closes from inside the callback */
    size_t closed;
} seen;

static void on_message(void *ctx, const conn_message *m)
{
    seen *s = ctx;
    og_str h;
    assert_true(s->count < MAX_SEEN);
    s->offset[s->count] = m->origin.offset;
    s->partition[s->count] = m->origin.partition;
    snprintf(s->value[s->count], sizeof(s->value[0]), "%.*s", OG_STR_ARG(m->value));
    s->null_value = m->value.p == NULL;
    assert_true(m->origin.timestamp_ms > 0);
    if (kafka_message_header(m, "reason", &h))
        snprintf(s->header, sizeof(s->header), "%.*s", OG_STR_ARG(h));
    s->count++;
    if (s->done_at_once && m->origin.offset != s->skip_done)
        assert_true(
            kafka_source_done(s->source, m->origin.topic, m->origin.partition, m->origin.offset));
    if (s->close_after != 0 && s->count == s->close_after)
        kafka_source_close(s->source, 5000, note_closed, &s->closed);
}

static int64_t on_assign(void *ctx, const char *topic, int32_t partition)
{
    (void)topic;
    (void)partition;
    return ((seen *)ctx)->start;
}

static void on_assigned(void *ctx, const kafka_partition *p, size_t n)
{
    seen *s = ctx;
    (void)p;
    s->assigned++;
    s->partitions = n;
}

static void on_revoke(void *ctx, const kafka_partition *p, size_t n, bool lost)
{
    seen *s = ctx;
    (void)p;
    assert_int_equal(n, s->partitions);
    s->partitions = 0;
    s->revoked++;
    s->lost += lost;
    if (s->hold)
        kafka_source_hold_revoke(s->source);
}

static void on_end(void *ctx, const char *topic, int32_t partition, int64_t offset)
{
    (void)topic;
    (void)partition;
    (void)offset;
    ((seen *)ctx)->ends++;
}

static void on_commit(void *ctx, const kafka_error *e)
{
    seen *s = ctx;
    s->commits += e == NULL;
    s->commit_errors += e != NULL;
}

static void on_error(void *ctx, const kafka_error *e)
{
    seen *s = ctx;
    s->errors++;
    if (e->fatal) {
        s->fatal++;
        s->fatal_code = e->code;
    }
}

static void source_open(scene *sc, seen *s, kafka_source_mode mode, const char *group,
                        const char *topic)
{
    const kafka_property p[] = {{"bootstrap.servers", mock.bootstrap},
                                {"fetch.wait.max.ms", "10"},
                                {"session.timeout.ms", "6000"},
                                {"heartbeat.interval.ms", "200"}};
    const char *topics[] = {topic};
    kafka_source_options o = {.mode = mode,
                              .group = group,
                              .topics = topics,
                              .topic_count = 1,
                              .properties = p,
                              .property_count = sizeof(p) / sizeof(p[0]),
                              .commit_interval_ms = 100,
                              .drain_limit = 7,
                              .ctx = s,
                              .on_message = on_message,
                              .on_assigned = on_assigned,
                              .on_revoke = on_revoke,
                              .on_end = on_end,
                              .on_commit = on_commit,
                              .on_error = on_error};
    if (mode == KAFKA_SOURCE_STORE)
        o.on_assign = on_assign;
    og_error err;
    og_error_init(&err);
    if (kafka_source_new(&sc->loop, &o, &s->source, &err) != OG_OK)
        fail_msg("%s", err.text);
}

static void source_shut(scene *sc, seen *s)
{
    kafka_source_close(s->source, 5000, note_closed, &s->closed);
    run_until(sc, &s->closed, 1);
}

static seen *seen_new(bool done_at_once)
{
    seen *s = calloc(1, sizeof(*s));
    assert_non_null(s);
    s->done_at_once = done_at_once;
    s->skip_done = -1;
    return s;
}

/* ---- tests ---- */

static void test_group_resumes_after_what_was_done(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "resume", 1);
    fill(&sc, "resume", 0, 0, 100);

    seen *a = seen_new(true);
    source_open(&sc, a, KAFKA_SOURCE_GROUP, "g-resume", "resume");
    run_until(&sc, &a->count, 100);
    run_until(&sc, &a->ends, 1);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(a->offset[i], i);
    assert_int_equal(kafka_source_lag(a->source), 0);
    source_shut(&sc, a);
    assert_int_equal(a->revoked, 1);
    assert_true(a->commits >= 1);

    fill(&sc, "resume", 0, 100, 110);
    seen *b = seen_new(true);
    source_open(&sc, b, KAFKA_SOURCE_GROUP, "g-resume", "resume");
    run_until(&sc, &b->count, 10);
    run_until(&sc, &b->ends, 1);
    assert_int_equal(b->count, 10);
    assert_int_equal(b->offset[0], 100);
    source_shut(&sc, b);
    assert_int_equal(a->errors + b->errors, 0);
    free(a);
    free(b);
    scene_end(&sc);
}

static void test_group_commits_only_the_contiguous_prefix(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "prefix", 1);
    fill(&sc, "prefix", 0, 0, 20);
    seen *a = seen_new(true);
    a->skip_done = 5;
    source_open(&sc, a, KAFKA_SOURCE_GROUP, "g-prefix", "prefix");
    run_until(&sc, &a->count, 20);
    kafka_position p;
    assert_int_equal(kafka_source_positions(a->source, &p, 1), 1);
    assert_int_equal(p.done, 5);
    assert_int_equal(p.waiting, 15);
    assert_int_equal(p.next, 20);
    assert_false(kafka_source_done(a->source, "prefix", 0, 4)); /* done before */
    assert_false(kafka_source_done(a->source, "prefix", 1, 5)); /* not ours */
    source_shut(&sc, a);

    seen *b = seen_new(false);
    source_open(&sc, b, KAFKA_SOURCE_GROUP, "g-prefix", "prefix");
    run_until(&sc, &b->count, 15);
    assert_int_equal(b->offset[0], 5);
    /* In any order, the last one first. */
    for (int64_t o = 19; o >= 5; o--) {
        assert_true(kafka_source_done(b->source, "prefix", 0, o));
        assert_int_equal(kafka_source_positions(b->source, &p, 1), 1);
        assert_int_equal(p.done, o == 5 ? 20 : -1);
    }
    assert_int_equal(p.waiting, 0);
    source_shut(&sc, b);
    free(a);
    free(b);
    scene_end(&sc);
}

static void test_store_mode_starts_where_the_caller_says(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "store", 1);
    fill(&sc, "store", 0, 0, 30);
    seen *a = seen_new(false);
    a->start = 17;
    source_open(&sc, a, KAFKA_SOURCE_STORE, "g-store", "store");
    run_until(&sc, &a->count, 13);
    assert_int_equal(a->offset[0], 17);
    assert_true(kafka_source_commit(a->source, "store", 0, 25));
    assert_true(kafka_source_commit(a->source, "store", 0, 20)); /* never goes back */
    run_until(&sc, &a->commits, 1);
    source_shut(&sc, a);

    seen *b = seen_new(false);
    b->start = KAFKA_OFFSET_COMMITTED;
    source_open(&sc, b, KAFKA_SOURCE_STORE, "g-store", "store");
    run_until(&sc, &b->count, 5);
    assert_int_equal(b->offset[0], 25);
    source_shut(&sc, b);
    free(a);
    free(b);
    scene_end(&sc);
}

static void test_lost_position_is_fatal_not_silent(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "gap", 1);
    fill(&sc, "gap", 0, 0, 3);
    seen *a = seen_new(false);
    a->start = 1000;
    source_open(&sc, a, KAFKA_SOURCE_STORE, "g-gap", "gap");
    run_until(&sc, &a->fatal, 1);
    assert_int_equal(a->fatal_code, RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET);
    assert_int_equal(a->count, 0);
    source_shut(&sc, a);
    free(a);
    scene_end(&sc);
}

static void test_second_member_takes_half(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "shared", 4);
    for (int32_t p = 0; p < 4; p++)
        fill(&sc, "shared", p, 0, 25);
    seen *a = seen_new(true), *b = seen_new(true);
    source_open(&sc, a, KAFKA_SOURCE_GROUP, "g-two", "shared");
    run_until(&sc, &a->count, 100);
    assert_int_equal(a->partitions, 4);
    /* The mock cluster refuses every commit during a rebalance (Kafka itself takes those of the
     * members that are leaving), so what was done must be committed before. */
    kafka_position at[4];
    for (size_t safe = 0; safe < 4; uv_run(&sc.loop, UV_RUN_ONCE)) {
        assert_int_equal(kafka_source_positions(a->source, at, 4), 4);
        for (safe = 0; safe < 4 && at[safe].committed == 25; safe++)
            continue;
    }
    a->hold = true; /* the last work of a takes a while */
    source_open(&sc, b, KAFKA_SOURCE_GROUP, "g-two", "shared");
    run_until(&sc, &a->revoked, 1);
    assert_int_equal(b->assigned, 0);
    a->hold = false;
    kafka_source_release_revoke(a->source);
    while (a->partitions != 2 || b->partitions != 2) /* a late join may need one rebalance more */
        uv_run(&sc.loop, UV_RUN_ONCE);
    for (int32_t p = 0; p < 4; p++)
        fill(&sc, "shared", p, 25, 30);
    while (a->count + b->count < 120)
        uv_run(&sc.loop, UV_RUN_ONCE);
    assert_int_equal(a->count + b->count, 120);
    assert_int_equal(b->count, 10);
    source_shut(&sc, b);
    while (a->partitions != 4)
        uv_run(&sc.loop, UV_RUN_ONCE);
    source_shut(&sc, a);
    assert_int_equal(a->lost + b->lost, 0);
    free(a);
    free(b);
    scene_end(&sc);
}

static void test_paused_partition_is_silent(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "pause", 2);
    seen *a = seen_new(true);
    source_open(&sc, a, KAFKA_SOURCE_GROUP, "g-pause", "pause");
    run_until(&sc, &a->ends, 2);
    kafka_source_pause(a->source, "pause", 0);
    fill(&sc, "pause", 0, 0, 10);
    fill(&sc, "pause", 1, 0, 10);
    run_until(&sc, &a->count, 10);
    for (size_t i = 0; i < a->count; i++)
        assert_int_equal(a->partition[i], 1);
    kafka_source_pause(a->source, NULL, 0);
    fill(&sc, "pause", 1, 10, 12);
    kafka_source_resume(a->source, NULL, 0); /* partition 0 stays paused by itself */
    run_until(&sc, &a->count, 12);
    for (size_t i = 0; i < a->count; i++)
        assert_int_equal(a->partition[i], 1);
    kafka_source_resume(a->source, "pause", 0);
    run_until(&sc, &a->count, 22);
    source_shut(&sc, a);
    assert_int_equal(a->count, 22);
    free(a);
    scene_end(&sc);
}

static void test_failed_commit_is_repeated(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "commit", 1);
    fill(&sc, "commit", 0, 0, 5);
    seen *a = seen_new(false);
    source_open(&sc, a, KAFKA_SOURCE_GROUP, "g-commit", "commit");
    run_until(&sc, &a->count, 5);
    rd_kafka_mock_push_request_errors(mock.cluster, API_OFFSET_COMMIT, 1,
                                      RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    for (int64_t o = 0; o < 5; o++)
        assert_true(kafka_source_done(a->source, "commit", 0, o));
    run_until(&sc, &a->commit_errors, 1);
    run_until(&sc, &a->commits, 1);
    source_shut(&sc, a);
    free(a);
    scene_end(&sc);
}

static void test_committed_offsets_are_asked_again(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "lookup", 1);
    fill(&sc, "lookup", 0, 0, 5);
    seen *a = seen_new(true);
    rd_kafka_mock_push_request_errors(mock.cluster, API_OFFSET_FETCH, 1,
                                      RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED);
    source_open(&sc, a, KAFKA_SOURCE_GROUP, "g-lookup", "lookup");
    run_until(&sc, &a->count, 5);
    assert_true(a->errors >= 1);
    assert_int_equal(a->fatal, 0);
    source_shut(&sc, a);
    free(a);
    scene_end(&sc);
}

static void test_lost_assignment_is_told_and_read_again(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "lost", 1);
    fill(&sc, "lost", 0, 0, 10);
    seen *a = seen_new(false);
    source_open(&sc, a, KAFKA_SOURCE_GROUP, "g-lost", "lost");
    run_until(&sc, &a->count, 10);
    for (int64_t o = 0; o < 4; o++)
        assert_true(kafka_source_done(a->source, "lost", 0, o));
    run_until(&sc, &a->commits, 1);
    /* The coordinator has forgotten us: what is not committed belongs to somebody else by now. */
    rd_kafka_mock_push_request_errors(mock.cluster, API_HEARTBEAT, 1,
                                      RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
    run_until(&sc, &a->lost, 1);
    assert_false(kafka_source_done(a->source, "lost", 0, 4));
    run_until(&sc, &a->assigned, 2);
    run_until(&sc, &a->count, 16);
    assert_int_equal(a->offset[10], 4);
    assert_int_equal(a->fatal, 0);
    source_shut(&sc, a);
    free(a);
    scene_end(&sc);
}

static void test_broker_goes_and_comes_back(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "down", 1);
    seen *a = seen_new(true);
    written w = {0};
    const kafka_property more[] = {{"reconnect.backoff.ms", "50"},
                                   {"reconnect.backoff.max.ms", "100"}};
    kafka_sink *k = sink_open(&sc, &w, more, 2);
    source_open(&sc, a, KAFKA_SOURCE_GROUP, "g-down", "down");
    run_until(&sc, &a->ends, 1);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    run_until(&sc, &w.errors, 1);
    for (int i = 0; i < 5; i++)
        assert_int_equal(put(k, &w, "down", 0, "k", "v"), CONN_DONE);
    run_until(&sc, &a->errors, 1);
    assert_int_equal(w.done + w.again + w.never, 0);
    assert_int_equal(kafka_sink_outstanding(k), 5);
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    run_until(&sc, &w.done, 5);
    run_until(&sc, &a->count, 5);
    assert_int_equal(w.again + w.never + w.fatal + a->fatal, 0);
    source_shut(&sc, a);
    sink_shut(&sc, k);
    assert_int_equal(a->count, 5);
    free(a);
    scene_end(&sc);
}

static void on_watermarks(void *ctx, const char *topic, int32_t partition, int64_t low,
                          int64_t high, const kafka_error *error)
{
    assert_string_equal(topic, "reader");
    assert_int_equal(partition, 1);
    assert_null(error);
    assert_int_equal(low, 0);
    assert_int_equal(high, 40);
    ++*(size_t *)ctx;
}

typedef struct told {
    int64_t ends[2];
    size_t good, failed;
} told;

static void on_ends(void *ctx, const int64_t *ends, size_t count, const kafka_error *error)
{
    told *t = ctx;
    if (error != NULL) {
        assert_non_null(error->name);
        t->failed++;
        return;
    }
    for (size_t i = 0; i < count; i++)
        t->ends[i] = ends[i];
    t->good++;
}

/* All at once, in the order of the question; while one is not known, none is. */
static void ask_for_ends(scene *sc, kafka_source *source)
{
    const kafka_partition both[] = {{"reader", 1, 0}, {"reader", 0, 0}};
    const kafka_partition wrong[] = {{"reader", 0, 0}, {"reader", 7, 0}};
    told t = {0};
    assert_int_equal(kafka_source_ends(source, both, 2, 5000, on_ends, &t, NULL), OG_OK);
    run_until(sc, &t.good, 1);
    assert_int_equal(t.ends[0], 40);
    assert_int_equal(t.ends[1], 10);
    assert_int_equal(kafka_source_ends(source, wrong, 2, 1000, on_ends, &t, NULL), OG_OK);
    run_until(sc, &t.failed, 1);
    assert_int_equal(t.good, 1);
}

static void test_reader_reads_what_it_is_told(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "reader", 2);
    fill(&sc, "reader", 0, 0, 10);
    fill(&sc, "reader", 1, 0, 40);
    seen *a = seen_new(false);
    source_open(&sc, a, KAFKA_SOURCE_READER, "reader-1", "ignored");
    og_error err;
    og_error_init(&err);
    kafka_partition one = {"reader", 0, KAFKA_OFFSET_COMMITTED};
    assert_int_equal(kafka_source_assign(a->source, &one, 1, &err), OG_INVALID);
    kafka_partition two[] = {{"reader", 0, KAFKA_OFFSET_BEGINNING}, {"reader", 1, 35}};
    assert_int_equal(kafka_source_assign(a->source, two, 2, &err), OG_OK);
    run_until(&sc, &a->count, 15);
    run_until(&sc, &a->ends, 2);
    assert_int_equal(a->count, 15);
    size_t asked = 0;
    assert_int_equal(kafka_source_query(a->source, "reader", 1, 5000, on_watermarks, &asked, &err),
                     OG_OK);
    run_until(&sc, &asked, 1);
    ask_for_ends(&sc, a->source);
    source_shut(&sc, a);
    assert_int_equal(a->revoked + a->commits + a->commit_errors, 0);
    free(a);
    scene_end(&sc);
}

static void test_key_value_header_and_null_arrive(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "shape", 8);
    written w = {0};
    kafka_sink *k = sink_open(&sc, &w, NULL, 0);
    const conn_header headers[] = {{"reason", OG_STR("syntax")}, {"nothing", {NULL, 0}}};
    kafka_record r = {.topic = "shape",
                      .partition = KAFKA_PARTITION_BY_KEY,
                      .key = OG_STR("tenant|patient-7"),
                      .value = {NULL, 0},
                      .headers = headers,
                      .header_count = 2};
    assert_int_equal(kafka_sink_send(k, &r, on_report, &w, NULL), CONN_DONE);
    run_until(&sc, &w.done, 1);
    sink_shut(&sc, k);
    seen *a = seen_new(false);
    source_open(&sc, a, KAFKA_SOURCE_READER, "shape", "shape");
    kafka_partition all[8];
    for (int32_t p = 0; p < 8; p++)
        all[p] = (kafka_partition){"shape", p, KAFKA_OFFSET_BEGINNING};
    assert_int_equal(kafka_source_assign(a->source, all, 8, NULL), OG_OK);
    run_until(&sc, &a->count, 1);
    assert_true(a->null_value);
    assert_string_equal(a->header, "syntax");
    /* librdkafka's partitioner and ours agree, so ours can be computed beforehand. */
    assert_int_equal(a->partition[0], kafka_partition_for(OG_STR("tenant|patient-7"), 8));
    source_shut(&sc, a);
    free(a);
    scene_end(&sc);
}

static void test_close_from_inside_a_callback(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "inside", 1);
    fill(&sc, "inside", 0, 0, 50);
    seen *a = seen_new(true);
    a->close_after = 10;
    source_open(&sc, a, KAFKA_SOURCE_GROUP, "g-inside", "inside");
    run_until(&sc, &a->closed, 1);
    assert_int_equal(a->count, 10);
    free(a);
    scene_end(&sc);
}

static void test_produce_survives_transient_errors(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "transient", 1);
    written w = {0};
    const kafka_property more[] = {{"retry.backoff.ms", "10"}};
    kafka_sink *k = sink_open(&sc, &w, more, 1);
    rd_kafka_mock_push_request_errors(
        mock.cluster, API_PRODUCE, 3, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT);
    for (int i = 0; i < 10; i++)
        assert_int_equal(put(k, &w, "transient", 0, "k", "v"), CONN_DONE);
    run_until(&sc, &w.done, 10);
    assert_int_equal(w.again + w.never, 0);
    sink_shut(&sc, k);
    scene_end(&sc);
}

static void test_produce_says_never_when_refused(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "refused", 1);
    written w = {0};
    kafka_sink *k = sink_open(&sc, &w, NULL, 0);
    assert_int_equal(put(k, &w, "refused", 0, "k", "v"),
                     CONN_DONE); /* the producer has its id now */
    run_until(&sc, &w.done, 1);
    rd_kafka_mock_push_request_errors(mock.cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    assert_int_equal(put(k, &w, "refused", 0, "k", "v"), CONN_DONE);
    run_until(&sc, &w.never, 1);
    assert_int_equal(put(k, &w, "refused", 0, "k", "v"), CONN_DONE);
    run_until(&sc, &w.done, 2);
    sink_shut(&sc, k);
    scene_end(&sc);
}

static void test_full_queue_says_again_then_room(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "full", 1);
    written w = {0};
    const kafka_property more[] = {{"queue.buffering.max.messages", "10"}, {"linger.ms", "50"}};
    kafka_sink *k = sink_open(&sc, &w, more, 2);
    size_t accepted = 0;
    while (put(k, &w, "full", 0, "k", "v") == CONN_DONE)
        assert_true(++accepted < 1000);
    assert_int_equal(accepted, 10);
    assert_int_equal(kafka_sink_outstanding(k), 10);
    run_until(&sc, &w.room, 1);
    assert_int_equal(put(k, &w, "full", 0, "k", "v"), CONN_DONE);
    run_until(&sc, &w.done, 11);
    sink_shut(&sc, k);
    scene_end(&sc);
}

typedef struct chain {
    kafka_sink *sink;
    written *w;
    conn_verdict second;
    size_t reports;
} chain;

static void send_next(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                      const kafka_error *error)
{
    chain *c = ctx;
    (void)partition;
    (void)offset;
    (void)error;
    assert_int_equal(verdict, CONN_DONE);
    c->second = put(c->sink, c->w, "chain", 0, "key", "second");
    c->reports++;
}

/* The queue holds one record, which is there until its report is over. */
static void test_a_record_sent_from_a_report_is_not_refused_for_good(void **state)
{
    scene sc;
    written w = {0};
    const kafka_property more[] = {{"queue.buffering.max.messages", "1"}};
    (void)state;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "chain", 1);
    chain c = {.sink = sink_open(&sc, &w, more, 1), .w = &w};
    kafka_record r = {.topic = "chain", .value = OG_STR("first")};
    assert_int_equal(kafka_sink_send(c.sink, &r, send_next, &c, NULL), CONN_DONE);
    run_until(&sc, &c.reports, 1);
    assert_int_not_equal(c.second, CONN_NEVER);
    if (c.second == CONN_AGAIN)
        run_until(&sc, &w.room, 1);
    sink_shut(&sc, c.sink);
    scene_end(&sc);
}

static void test_record_over_every_limit_is_never(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "large", 1);
    written w = {0};
    const kafka_property more[] = {{"message.max.bytes", "2000"}};
    kafka_sink *k = sink_open(&sc, &w, more, 1);
    char big[4000] = {0};
    kafka_record r = {.topic = "large", .partition = 0, .value = {big, sizeof(big)}};
    og_error err;
    og_error_init(&err);
    assert_int_equal(kafka_sink_send(k, &r, on_report, &w, &err), CONN_NEVER);
    assert_int_equal(err.status, OG_LIMIT);
    assert_int_equal(kafka_sink_outstanding(k), 0);
    sink_shut(&sc, k);
    scene_end(&sc);
}

static void test_fatal_producer_is_replaced(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    mock_kafka_topic(&mock, "fatal", 1);
    written w = {0};
    const kafka_property more[] = {{"retry.backoff.ms", "10"},
                                   {"max.in.flight.requests.per.connection", "1"}};
    kafka_sink *k = sink_open(&sc, &w, more, 2);
    assert_int_equal(put(k, &w, "fatal", 0, "k", "v"), CONN_DONE);
    run_until(&sc, &w.done, 1);
    rd_kafka_mock_push_request_errors(mock.cluster, API_PRODUCE, 1,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    for (int i = 0; i < 5; i++)
        assert_int_equal(put(k, &w, "fatal", 0, "k", "v"), CONN_DONE);
    run_until(&sc, &w.fatal, 1);
    while (w.done + w.again < 6) /* every accepted record is reported */
        uv_run(&sc.loop, UV_RUN_ONCE);
    assert_true(w.again >= 1);
    size_t before = w.done;
    assert_int_equal(put(k, &w, "fatal", 0, "k", "v"), CONN_DONE);
    run_until(&sc, &w.done, before + 1);
    sink_shut(&sc, k);
    scene_end(&sc);
}

static void note_flushed(void *ctx, size_t remaining)
{
    *(size_t *)ctx = remaining + 1;
}

static void test_flush_and_close_with_a_dead_broker(void **state)
{
    (void)state;
    scene sc;
    scene_begin(&sc);
    written w = {0};
    const kafka_property more[] = {{"bootstrap.servers", "127.0.0.1:1"}};
    kafka_sink *k = sink_open(&sc, &w, more, 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(put(k, &w, "nowhere", 0, "k", "v"), CONN_DONE);
    size_t flushed = 0, closed = 0;
    assert_int_equal(kafka_sink_flush(k, 100, note_flushed, &flushed), OG_OK);
    assert_int_equal(kafka_sink_flush(k, 100, note_flushed, &flushed), OG_AGAIN);
    run_until(&sc, &flushed, 1);
    assert_int_equal(flushed, 4);
    kafka_sink_close(k, 100, note_closed, &closed);
    run_until(&sc, &closed, 1);
    assert_int_equal(w.again, 3);
    seen *a = seen_new(false);
    const kafka_property p[] = {{"bootstrap.servers", "127.0.0.1:1"}};
    const char *topics[] = {"nowhere"};
    kafka_source_options o = {.mode = KAFKA_SOURCE_GROUP,
                              .group = "g",
                              .topics = topics,
                              .topic_count = 1,
                              .properties = p,
                              .property_count = 1,
                              .ctx = a,
                              .on_message = on_message,
                              .on_error = on_error};
    assert_int_equal(kafka_source_new(&sc.loop, &o, &a->source, NULL), OG_OK);
    run_until(&sc, &a->errors, 1);
    kafka_source_close(a->source, 500, note_closed, &a->closed);
    run_until(&sc, &a->closed, 1);
    free(a);
    scene_end(&sc);
}

static og_status ensure(const kafka_topic_spec *spec, kafka_topic_state *st, og_error *err)
{
    const kafka_property p[] = {{"bootstrap.servers", mock.bootstrap}};
    og_error_init(err);
    return kafka_topics_ensure(p, 1, spec, 1, 5000, st, err);
}

static void test_topics_are_checked_and_made(void **state)
{
    (void)state;
    og_error err;
    kafka_topic_state st;
    mock_kafka_topic(&mock, "there", 3);
    assert_int_equal(
        ensure(&(kafka_topic_spec){.name = "there", .partitions = 3, .exact = true}, &st, &err),
        OG_OK);
    assert_int_equal(st.partitions, 3);
    assert_int_equal(ensure(&(kafka_topic_spec){.name = "there", .partitions = 8}, &st, &err),
                     OG_OK);
    assert_int_equal(
        ensure(&(kafka_topic_spec){.name = "there", .partitions = 8, .exact = true}, &st, &err),
        OG_INVALID);
    assert_non_null(strstr(err.text, "has 3 partitions, 8 are configured"));
    assert_int_equal(ensure(&(kafka_topic_spec){.name = "missing", .partitions = 8}, &st, &err),
                     OG_NOTFOUND);
    assert_int_equal(ensure(&(kafka_topic_spec){.name = "missing", .partitions = 8}, &st, &err),
                     OG_NOTFOUND);
    /* The mock cluster has no CreateTopics and makes topics of 4 partitions when it is asked about
     * them. */
    assert_int_equal(ensure(&(kafka_topic_spec){.name = "made", .create = true}, &st, &err), OG_OK);
    assert_int_equal(st.partitions, 4);
    assert_false(st.created);
    assert_int_equal(
        ensure(
            &(kafka_topic_spec){.name = "made-7", .partitions = 7, .exact = true, .create = true},
            &st, &err),
        OG_INVALID);
    const kafka_property nobody[] = {{"bootstrap.servers", "127.0.0.1:1"}};
    og_error_init(&err);
    assert_int_equal(
        kafka_topics_ensure(nobody, 1, &(kafka_topic_spec){.name = "x"}, 1, 300, &st, &err), OG_IO);
    assert_int_equal(st.status, OG_IO);
}

static int setup(void **state)
{
    (void)state;
    mock_kafka_start(&mock);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mock_kafka_stop(&mock);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_value_header_and_null_arrive),
        cmocka_unit_test(test_produce_survives_transient_errors),
        cmocka_unit_test(test_produce_says_never_when_refused),
        cmocka_unit_test(test_full_queue_says_again_then_room),
        cmocka_unit_test(test_a_record_sent_from_a_report_is_not_refused_for_good),
        cmocka_unit_test(test_record_over_every_limit_is_never),
        cmocka_unit_test(test_fatal_producer_is_replaced),
        cmocka_unit_test(test_reader_reads_what_it_is_told),
        cmocka_unit_test(test_group_resumes_after_what_was_done),
        cmocka_unit_test(test_group_commits_only_the_contiguous_prefix),
        cmocka_unit_test(test_store_mode_starts_where_the_caller_says),
        cmocka_unit_test(test_lost_position_is_fatal_not_silent),
        cmocka_unit_test(test_paused_partition_is_silent),
        cmocka_unit_test(test_failed_commit_is_repeated),
        cmocka_unit_test(test_committed_offsets_are_asked_again),
        cmocka_unit_test(test_close_from_inside_a_callback),
        cmocka_unit_test(test_lost_assignment_is_told_and_read_again),
        cmocka_unit_test(test_broker_goes_and_comes_back),
        cmocka_unit_test(test_second_member_takes_half),
        cmocka_unit_test(test_flush_and_close_with_a_dead_broker),
        cmocka_unit_test(test_topics_are_checked_and_made),
    };
    return cmocka_run_group_tests_name("connectors_kafka", tests, setup, teardown);
}
