/* The whole daemon over an embedded broker: source topics in, cards at a scripted EHR out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "connectors/http_server.h"
#include "connectors/kafka.h"
#include "connectors/ndjson.h"
#include "daemon/clock.h"
#include "daemon/file.h"
#include "daemon/metrics.h"
#include "daemon/serve_private.h"
#include "fhir/decode.h"
#include "mock_kafka.h"

#define STREAM          OG_SOURCE_DIR "/tests/fixtures/sample/stream.ndjson"
#define BEFORE_MIDNIGHT 1772319580000 /* 2026-02-28T23:59:40+01:00 */
#define PARTITIONS      3
#define PATIENCE_MS     120000

static const char *const sources[] = {"fhir.patient", "fhir.bundle"};

typedef struct post {
    char *key, *body;
} post;

typedef struct stage {
    mock_kafka kafka;
    uv_loop_t loop;
    uv_timer_t beat;
    char dir[64];
    config *config;
    serve *serve;
    bool stopped;
    int status;
    int64_t now_ms; /* of the daemon */
    http_server *ehr;
    bool ehr_closed;
    const int *script; /* statuses that the EHR answers first */
    size_t script_count, script_at;
    post posts[4096]; /* those answered with 200 */
    size_t post_count, refused, repeats;
} stage;

/* ---- the EHR ---- */

static void take_post(stage *s, const char *key, og_str body)
{
    for (size_t i = 0; i < s->post_count; i++)
        s->repeats += strcmp(s->posts[i].key, key) == 0;
    assert_true(s->post_count < 4096);
    s->posts[s->post_count++] = (post){strdup(key), strndup(body.p, body.n)};
}

static void on_cards(void *ctx, http_exchange *x)
{
    stage *s = ctx;
    char key[128];
    og_str given = http_exchange_header(x, "Idempotency-Key");
    int status = s->script_at < s->script_count ? s->script[s->script_at++] : 200;
    snprintf(key, sizeof key, "%.*s", OG_STR_ARG(given));
    assert_int_equal(strlen(key), 36);
    if (status == 200)
        take_post(s, key, http_exchange_body(x));
    else
        s->refused++;
    http_exchange_answer(x, status, NULL, OG_STR(""));
}

/* ---- time ---- */

static int64_t daemon_time(void *ctx)
{
    return ((stage *)ctx)->now_ms;
}

static void on_beat(uv_timer_t *t)
{
    (void)t; /* so that the condition is looked at */
}

typedef bool condition(stage *s);

static void wait_until(stage *s, const char *what, condition *fn)
{
    int64_t begin = clock_monotonic_us() / 1000;
    while (!fn(s)) {
        if (clock_monotonic_us() / 1000 - begin > PATIENCE_MS)
            fail_msg("waited too long: %s", what);
        uv_run(&s->loop, UV_RUN_ONCE);
    }
}

/* ---- the daemon ---- */

static void quiet(void *ctx, og_str line)
{
    (void)ctx;
    if (getenv("OG_TEST_LOG") != NULL)
        fprintf(stderr, "%.*s", OG_STR_ARG(line));
}

static void on_stopped(void *ctx, int status)
{
    stage *s = ctx;
    s->stopped = true;
    s->status = status;
    s->serve = NULL;
}

static void print_problem(void *ctx, const og_error *err)
{
    (void)ctx;
    print_error("%s:%u: %s\n", err->origin, err->line, err->text);
}

static og_str config_text(const stage *s, char *out, size_t size)
{
    int n = snprintf(out, size,
                     "site: {tenant: t, timezone: Europe/Berlin}\n"
                     "kafka:\n"
                     "  bootstrap: %s\n"
                     "  partitions: %d\n"
                     "  sources: [fhir.patient, fhir.bundle]\n"
                     "  properties: {}\n"
                     "  consumer_properties: {fetch.wait.max.ms: 20, session.timeout.ms: 6000}\n"
                     "store: {dir: %s/store, map_size_mb: 128, sync_interval_ms: 50}\n"
                     "content: {dir: %s}\n"
                     "http: {listen: \"127.0.0.1:0\", port_file: %s/port}\n"
                     "log: {level: %s, format: json}\n"
                     "delivery: {backoff_min_ms: 20, backoff_max_ms: 100}\n"
                     "endpoints: {ehr: {url: \"http://127.0.0.1:%d/cards\"}}\n",
                     s->kafka.bootstrap, PARTITIONS, s->dir, OG_SOURCE_DIR "/rules/content", s->dir,
                     getenv("OG_TEST_LOG") != NULL ? "debug" : "warn", http_server_port(s->ehr));
    assert_true(n > 0 && (size_t)n < size);
    return (og_str){out, (size_t)n};
}

static void start(stage *s)
{
    char text[4096];
    og_error err;
    og_clock clock = {.fixed = daemon_time, .ctx = s};
    og_report report = {.fn = print_problem};
    serve_options options = {.clock = &clock, .seed = 7, .on_stopped = on_stopped, .ctx = s};
    og_error_init(&err);
    metrics_reset();
    log_sink(quiet, NULL);
    log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON, true);
    assert_int_equal(config_parse(config_text(s, text, sizeof text), "test.yaml", NULL, &s->config,
                                  &report, NULL),
                     OG_OK);
    s->stopped = false;
    if (serve_new(&s->loop, s->config, &options, &s->serve, &report, &err) != OG_OK)
        fail_msg("%s", err.text);
}

static bool is_ready(stage *s)
{
    return serve_ready(s->serve);
}

static bool is_stopped(stage *s)
{
    return s->stopped;
}

static void start_and_wait(stage *s)
{
    start(s);
    wait_until(s, "ready", is_ready);
}

static void stop(stage *s)
{
    serve_stop(s->serve, 0);
    wait_until(s, "stopped", is_stopped);
    assert_int_equal(s->status, 0);
    config_free(s->config);
    s->config = NULL;
}

static stage *stage_new(void)
{
    stage *s = calloc(1, sizeof *s);
    og_error err;
    og_error_init(&err);
    assert_non_null(s);
    const http_route routes[] = {{"POST", "/cards", on_cards, s, 0}};
    http_server_options ehr = {.port = 0, .routes = routes, .route_count = 1};
    strcpy(s->dir, "/tmp/og-serve-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(uv_loop_init(&s->loop), 0);
    uv_timer_init(&s->loop, &s->beat);
    uv_timer_start(&s->beat, on_beat, 20, 20);
    mock_kafka_start(&s->kafka);
    mock_kafka_topic(&s->kafka, "osteoguard.records", PARTITIONS);
    mock_kafka_topic(&s->kafka, "osteoguard.alerts", PARTITIONS);
    mock_kafka_topic(&s->kafka, "osteoguard.shared", 1);
    mock_kafka_topic(&s->kafka, "osteoguard.dead-letters", 1);
    for (size_t i = 0; i < 2; i++)
        mock_kafka_topic(&s->kafka, sources[i], 2);
    assert_int_equal(http_server_new(&s->loop, &ehr, &s->ehr, &err), OG_OK);
    s->now_ms = BEFORE_MIDNIGHT;
    return s;
}

static void on_ehr_closed(void *ctx)
{
    ((stage *)ctx)->ehr_closed = true;
}

static bool ehr_is_closed(stage *s)
{
    return s->ehr_closed;
}

static void stage_free(stage *s)
{
    if (s->serve != NULL)
        stop(s);
    http_server_close(s->ehr, 0, on_ehr_closed, s);
    wait_until(s, "the EHR closed", ehr_is_closed);
    uv_close((uv_handle_t *)&s->beat, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    mock_kafka_stop(&s->kafka);
    for (size_t i = 0; i < s->post_count; i++) {
        free(s->posts[i].key);
        free(s->posts[i].body);
    }
    assert_int_equal(file_remove_tree(s->dir, NULL), OG_OK);
    free(s);
}

/* ---- events ---- */

static size_t send_stream(stage *s, size_t first, size_t last)
{
    ndjson_reader *r;
    ndjson_item item;
    og_error err;
    size_t sent = 0;
    og_error_init(&err);
    assert_int_equal(ndjson_open(STREAM, 0, 0, 0, &r, &err), OG_OK);
    for (size_t i = 0; ndjson_next(r, &item, &err) == OG_OK; i++) {
        if (i < first || i >= last)
            continue;
        mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, item.text.p, item.text.n);
        sent++;
    }
    ndjson_close(r);
    return sent;
}

static int64_t expected_messages;

static bool all_worked_off(stage *s)
{
    (void)s;
    return metric_value(METRIC_MESSAGES) >= expected_messages &&
           metric_value(METRIC_APPLIED) + metric_value(METRIC_STALE) +
                   metric_value(METRIC_SHARED_APPLIED) >=
               metric_value(METRIC_RECORDED) &&
           s->post_count + s->refused > 0;
}

static og_status count_row(void *ctx, const delivery *d, og_error *err)
{
    (void)err;
    *(size_t *)ctx += d->state != DELIVERY_PARKED;
    return OG_OK;
}

/* Every partition is ours, and no store has a row that is still to be sent. */
static bool nothing_waits(stage *s)
{
    size_t rows = 0;
    og_arena *a = og_arena_new(4 << 20);
    for (int i = 0; i < PARTITIONS; i++) {
        store_txn *t;
        rows += !owner_get(s->serve->owner, i).restored;
        assert_int_equal(store_begin(s->serve->partitions[i].store, false, &t, NULL), OG_OK);
        assert_int_equal(delivery_each(t, a, count_row, &rows, NULL), OG_OK);
        store_abort(t);
    }
    og_arena_free(a);
    return rows == 0 && s->post_count > 0;
}

static size_t count_posts(const stage *s, const char *needle)
{
    size_t n = 0;
    for (size_t i = 0; i < s->post_count; i++)
        n += strstr(s->posts[i].body, needle) != NULL;
    return n;
}

static bool has_d3_by_clock(stage *s)
{
    for (size_t i = 0; i < s->post_count; i++)
        if (strstr(s->posts[i].body, "\"patientId\":\"sample-11\"") != NULL &&
            strstr(s->posts[i].body, "\"rule\":\"D3\""))
            return true;
    return false;
}

/* ---- tests ---- */

static void cards_come_from_sources_and_from_the_clock(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, SIZE_MAX);
    wait_until(s, "the stream worked off", all_worked_off);
    wait_until(s, "the alerts topic", nothing_waits);
    assert_int_equal(metric_value(METRIC_INPUTS), metric_value(METRIC_RECORDED) +
                                                      metric_value(METRIC_IRRELEVANT) +
                                                      metric_value(METRIC_DEAD_LETTERS));
    assert_int_equal(metric_value(METRIC_DEAD_LETTERS), 4);
    assert_int_equal(metric_value(METRIC_EVALUATION_FAILURES), 0);
    assert_false(has_d3_by_clock(s));
    s->now_ms = BEFORE_MIDNIGHT + 21000;
    wait_until(s, "D3 by the clock alone", has_d3_by_clock);
    assert_true(metric_value(METRIC_REVIEWS_DUE) > 0);
    assert_int_equal(metric_value(METRIC_MESSAGES), expected_messages);
    assert_int_equal(s->repeats, 0);
    assert_true(count_posts(s, "\"cards\":[{\"uuid\":") > 10);
    stage_free(s);
}

static void a_restart_goes_on_where_it_was(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 30);
    wait_until(s, "the first part worked off", all_worked_off);
    stop(s);
    size_t sent = send_stream(s, 30, SIZE_MAX); /* while nobody is there */
    start_and_wait(s);
    expected_messages = (int64_t)sent;
    wait_until(s, "the second part worked off", all_worked_off);
    s->now_ms = BEFORE_MIDNIGHT + 21000;
    wait_until(s, "D3 by the clock alone", has_d3_by_clock);
    assert_int_equal(metric_value(METRIC_MESSAGES), expected_messages); /* nothing was read twice */
    assert_int_equal(s->repeats, 0);
    stage_free(s);
}

static void an_ehr_that_is_down_gets_its_cards_later(void **state)
{
    static const int script[] = {503, 503};
    stage *s = stage_new();
    (void)state;
    s->script = script;
    s->script_count = 2;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 12);
    wait_until(s, "the stream worked off", all_worked_off);
    wait_until(s, "the alerts topic", nothing_waits);
    stop(s); /* what waits is in the store */
    start_and_wait(s);
    s->now_ms = BEFORE_MIDNIGHT + 21000;
    wait_until(s, "D3 by the clock alone", has_d3_by_clock);
    assert_int_equal(s->refused, 2);
    assert_int_equal(s->repeats, 0);
    stage_free(s);
}

static bool was_refused(stage *s)
{
    return s->refused > 0;
}

static bool was_given_back(stage *s)
{
    return s->serve->records == NULL;
}

/* Partitions go and come back (a rebalance, or a store that is rebuilt) while the EHR is down: what
 * waits for it is sent all the same. */
static void deliveries_outlive_a_rebalance(void **state)
{
    static int script[100000];
    stage *s = stage_new();
    (void)state;
    for (size_t i = 0; i < sizeof script / sizeof script[0]; i++)
        script[i] = 503;
    s->script = script;
    s->script_count = sizeof script / sizeof script[0];
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 12);
    wait_until(s, "the stream worked off", all_worked_off);
    wait_until(s, "a refusal", was_refused);
    assert_true(metric_value(METRIC_ALERTS_OPENED) > 0);
    serve__restart_records(s->serve);
    wait_until(s, "the partitions given back", was_given_back);
    s->script_count = 0; /* the EHR is there again */
    wait_until(s, "every card", nothing_waits);
    assert_int_equal(s->repeats, 0);
    stage_free(s);
}

/* A damaged store is thrown away while the daemon runs: its topic is read from the beginning. */
static bool is_rebuilt(stage *s)
{
    return metric_value(METRIC_STORE_DISCARDED) > 0 && s->serve->records != NULL &&
           owner_restored(s->serve->owner) && owner_get(s->serve->owner, 0).assigned;
}

static size_t patients_in(stage *s, int partition)
{
    const og_str *list;
    size_t count;
    store_txn *t;
    og_arena *a = og_arena_new(1 << 20);
    assert_int_equal(store_begin(s->serve->partitions[partition].store, false, &t, NULL), OG_OK);
    assert_int_equal(store_patients(t, a, (og_str){NULL, 0}, SIZE_MAX, &list, &count, NULL), OG_OK);
    store_abort(t);
    og_arena_free(a);
    return count;
}

static void a_damaged_store_comes_back_whole(void **state)
{
    stage *s = stage_new();
    size_t before[PARTITIONS];
    (void)state;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 40);
    wait_until(s, "the stream worked off", all_worked_off);
    wait_until(s, "every card", nothing_waits);
    for (int i = 0; i < PARTITIONS; i++) {
        before[i] = patients_in(s, i);
        s->serve->partitions[i].rebuild = true;
    }
    wait_until(s, "the stores rebuilt", is_rebuilt);
    wait_until(s, "every card", nothing_waits);
    for (int i = 0; i < PARTITIONS; i++)
        assert_int_equal(patients_in(s, i), before[i]);
    assert_int_equal(metric_value(METRIC_STORE_DISCARDED), PARTITIONS);
    stage_free(s);
}

static bool was_read_again(stage *s)
{
    return metric_value(METRIC_MESSAGES) >= expected_messages && !s->serve->wants_pending;
}

/* The content asks for more than what was noted: the sources are read again, also those partitions
 * that are empty end it, and the next start goes on where it was. */
static void more_is_wanted(void **state)
{
    char path[160];
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 10);
    wait_until(s, "the stream worked off", all_worked_off);
    stop(s);
    snprintf(path, sizeof path, "%s/store/wants", s->dir);
    assert_true(file_exists(path));
    assert_int_equal(file_write(path, OG_STR("nothing\n"), NULL), OG_OK);
    start(s);
    assert_true(s->serve->wants_pending);
    wait_until(s, "ready", is_ready);
    wait_until(s, "the sources read again", was_read_again);
    assert_false(s->serve->reread_all);
    stop(s);
    start_and_wait(s);
    assert_false(s->serve->wants_pending);
    expected_messages = (int64_t)send_stream(s, 10, 12);
    wait_until(s, "the rest", was_read_again);
    assert_int_equal(metric_value(METRIC_MESSAGES), expected_messages);
    stage_free(s);
}

static bool reloaded(stage *s)
{
    (void)s;
    return metric_value(METRIC_RELOADS) >= 1;
}

/* HUP: the same content is no change; nothing is evaluated again. */
static void a_reload_keeps_what_is_good(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 5);
    wait_until(s, "the stream worked off", all_worked_off);
    int64_t evaluations = metric_value(METRIC_EVALUATIONS);
    serve_reload(s->serve);
    wait_until(s, "the reload", reloaded);
    expected_messages += (int64_t)send_stream(s, 5, 8);
    wait_until(s, "the rest worked off", all_worked_off);
    assert_true(metric_value(METRIC_EVALUATIONS) >= evaluations + 3);
    assert_true(serve_ready(s->serve));
    stage_free(s);
}

/* Two on one store: the second one says so and goes. */
static void a_store_has_one_user(void **state)
{
    stage *s = stage_new();
    serve *second = NULL;
    char text[4096];
    config *other = NULL;
    og_error err;
    og_report report = {.fn = print_problem};
    serve_options options = {0};
    (void)state;
    start_and_wait(s);
    og_error_init(&err);
    assert_int_equal(
        config_parse(config_text(s, text, sizeof text), "other.yaml", NULL, &other, &report, NULL),
        OG_OK);
    assert_int_equal(serve_new(&s->loop, other, &options, &second, &report, &err), OG_IO);
    assert_non_null(strstr(err.text, "another osteoguard uses the store"));
    assert_null(second);
    config_free(other);
    assert_true(serve_ready(s->serve));
    stage_free(s);
}

/* Nothing to judge by is no content. */
static void a_folder_without_rules_is_refused(void **state)
{
    stage *s = stage_new();
    serve *none = NULL;
    char text[4096], dir[96];
    config *c = NULL;
    og_error err;
    og_report report = {.fn = print_problem};
    serve_options options = {0};
    (void)state;
    og_error_init(&err);
    assert_int_equal(
        config_parse(config_text(s, text, sizeof text), "x.yaml", NULL, &c, &report, NULL), OG_OK);
    snprintf(dir, sizeof dir, "%s/empty", s->dir);
    assert_int_equal(file_make_dirs(dir, NULL), OG_OK);
    c->content_dir = dir;
    assert_int_equal(serve_new(&s->loop, c, &options, &none, &report, &err), OG_INVALID);
    assert_non_null(strstr(err.text, "there is no rule"));
    config_free(c);
    stage_free(s);
}

/* ---- the real process, killed ---- */

static int spawn_daemon(const stage *s)
{
    char path[128], text[4096];
    og_str yaml = config_text(s, text, sizeof text);
    og_buf whole;
    og_buf_init(&whole, 8192);
    og_buf_adds(&whole, yaml);
    og_buf_addz(&whole, "clock: {start: \"2026-02-28T23:59:40+01:00\"}\n");
    snprintf(path, sizeof path, "%s/daemon.yaml", s->dir);
    assert_int_equal(file_write(path, og_buf_str(&whole), NULL), OG_OK);
    og_buf_done(&whole);
    fflush(NULL);
    int pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl(OG_BINARY_DIR "/daemon/osteoguard", "osteoguard", "serve", "-c", path, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static bool some_cards(stage *s)
{
    return s->post_count >= 4;
}

/* kill -9 at an arbitrary moment: the next process goes on; every card comes, a repeat has its old
 * key. */
static void a_killed_process_loses_nothing(void **state)
{
    stage *s = stage_new();
    int status;
    (void)state;
    if (!file_exists(OG_BINARY_DIR "/daemon/osteoguard")) {
        print_message("skipped: the program is not built\n");
        skip();
    }
    (void)send_stream(s, 0, SIZE_MAX);
    int pid = spawn_daemon(s);
    wait_until(s, "some cards", some_cards);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    pid = spawn_daemon(s);
    wait_until(s, "D3 by the clock alone", has_d3_by_clock);
    kill(pid, SIGTERM);
    while (waitpid(pid, &status, WNOHANG) == 0)
        uv_run(&s->loop, UV_RUN_ONCE); /* the EHR answers what is under way */
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(s->repeats <= 8); /* what was under way: at most max_in_flight */
    stage_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cards_come_from_sources_and_from_the_clock),
        cmocka_unit_test(a_restart_goes_on_where_it_was),
        cmocka_unit_test(an_ehr_that_is_down_gets_its_cards_later),
        cmocka_unit_test(deliveries_outlive_a_rebalance),
        cmocka_unit_test(a_damaged_store_comes_back_whole),
        cmocka_unit_test(more_is_wanted),
        cmocka_unit_test(a_reload_keeps_what_is_good),
        cmocka_unit_test(a_store_has_one_user),
        cmocka_unit_test(a_folder_without_rules_is_refused),
        cmocka_unit_test(a_killed_process_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
