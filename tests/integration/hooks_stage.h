/* A stage for one daemon that answers CDS services: an embedded broker with its topics, the daemon
 * at a fixed hour, and a client that asks it. The test says what else the configuration holds. */
#ifndef OG_TESTS_HOOKS_STAGE_H
#define OG_TESTS_HOOKS_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "connectors/http_client.h"
#include "daemon/clock.h"
#include "daemon/file.h"
#include "daemon/metrics.h"
#include "daemon/serve_private.h"
#include "metric_says.h"
#include "mock_kafka.h"

#define NOW_MS       1772352000000 /* 2026-03-01T09:00:00+01:00 */
#define UUID         "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
#define PATIENCE_MS  60000
#define PATIENT_VIEW "/cds-services/osteoguard-patient-view"

typedef struct stage {
    mock_kafka kafka;
    uv_loop_t loop;
    uv_timer_t beat;
    char dir[64];
    config *config;
    serve *serve;
    http_client *client;
    bool stopped, client_closed, answered;
    int status, answers; /* status: of the last answer */
    char body[262144];
    og_buf log; /* what the daemon has said */
    /* of one test alone */
    struct standin *ehr; /* its FHIR server */
    const char *sources; /* lines of the configuration about the source topics; NULL: one topic */
    char key_path[96];
    bool tls;
    const char *certificate; /* that we show: "client", "stranger"; NULL: none */
} stage;

/* ---- waiting ---- */

static inline int64_t daemon_time(void *ctx)
{
    (void)ctx;
    return NOW_MS;
}

static inline void on_beat(uv_timer_t *t)
{
    (void)t; /* so that the condition is looked at */
}

/* One turn of the loop, for somebody who has waited since begin_ms. */
static inline void wait_a_turn(stage *s, const char *what, int64_t begin_ms)
{
    if (clock_monotonic_us() / 1000 - begin_ms > PATIENCE_MS)
        fail_msg("waited too long: %s", what);
    uv_run(&s->loop, UV_RUN_ONCE);
}

static inline void wait_for(stage *s, const char *what, const bool *flag)
{
    int64_t begin = clock_monotonic_us() / 1000;
    while (!*flag)
        wait_a_turn(s, what, begin);
}

/* ---- asking ---- */

static inline void on_answer(void *ctx, const http_response *r)
{
    stage *s = ctx;
    s->answered = true;
    s->answers++;
    s->status = r->status;
    snprintf(s->body, sizeof s->body, "%.*s", OG_STR_ARG(r->body));
}

static inline void says(const stage *s, const char *part)
{
    if (strstr(s->body, part) == NULL)
        fail_msg("\"%s\" is not in\n%s", part, s->body);
}

/* ---- the daemon ---- */

static inline void keep_log(void *ctx, og_str line)
{
    og_buf_adds(&((stage *)ctx)->log, line);
    if (getenv("OG_TEST_LOG") != NULL)
        fprintf(stderr, "%.*s", OG_STR_ARG(line));
}

static inline void print_problem(void *ctx, const og_error *err)
{
    (void)ctx;
    print_error("%s:%u: %s\n", err->origin, err->line, err->text);
}

static inline void on_stopped(void *ctx, int status)
{
    stage *s = ctx;
    s->stopped = true;
    assert_int_equal(status, 0);
}

static inline void on_client_closed(void *ctx)
{
    ((stage *)ctx)->client_closed = true;
}

/* A loop, a broker and a client, and no daemon yet. dir: a template of mkdtemp. */
static inline stage *stage_open(const char *dir)
{
    stage *s = calloc(1, sizeof *s);
    og_error err;
    http_client_options client = {0};
    og_error_init(&err);
    assert_non_null(s);
    snprintf(s->dir, sizeof s->dir, "%s", dir);
    assert_non_null(mkdtemp(s->dir));
    signal(SIGPIPE, SIG_IGN);
    og_buf_init(&s->log, 16 << 20);
    uv_loop_init(&s->loop);
    uv_timer_init(&s->loop, &s->beat);
    uv_timer_start(&s->beat, on_beat, 5, 5);
    mock_kafka_start(&s->kafka);
    mock_kafka_topic(&s->kafka, "osteoguard.records", 3);
    mock_kafka_topic(&s->kafka, "osteoguard.alerts", 3);
    mock_kafka_topic(&s->kafka, "osteoguard.shared", 1);
    mock_kafka_topic(&s->kafka, "osteoguard.dead-letters", 1);
    mock_kafka_topic(&s->kafka, "fhir.bundle", 1);
    assert_int_equal(http_client_new(&s->loop, &client, &s->client, &err), OG_OK);
    return s;
}

/* The configuration; more: YAML behind what all have. */
static inline void stage_config(const stage *s, const char *more, char *out, size_t size)
{
    int n = snprintf(out, size,
                     "site: {tenant: t, timezone: Europe/Berlin}\n"
                     "kafka:\n"
                     "  bootstrap: %s\n"
                     "  partitions: 3\n"
                     "  %s\n"
                     "  consumer_properties: {fetch.wait.max.ms: 20, session.timeout.ms: 6000}\n"
                     "store: {dir: %s/store, map_size_mb: 64}\n"
                     "content: {dir: " OG_SOURCE_DIR "/rules/content}\n"
                     "http: {listen: \"\"}\n"
                     "%s",
                     s->kafka.bootstrap, s->sources != NULL ? s->sources : "sources: [fhir.bundle]",
                     s->dir, more);
    assert_true(n > 0 && (size_t)n < size);
}

/* Starts the daemon and waits for nothing. */
static inline void stage_start(stage *s, const char *more, log_level level, bool identifiers)
{
    char text[8192];
    og_error err;
    og_clock clock = {.fixed = daemon_time};
    og_report report = {.fn = print_problem};
    serve_options options = {.clock = &clock, .seed = 7, .on_stopped = on_stopped, .ctx = s};
    og_error_init(&err);
    metrics_reset();
    log_sink(keep_log, s);
    log_setup(level, LOG_FORMAT_JSON, identifiers);
    stage_config(s, more, text, sizeof text);
    assert_int_equal(config_parse(og_str_of(text), "test.yaml", NULL, &s->config, &report, NULL),
                     OG_OK);
    s->stopped = false;
    if (serve_new(&s->loop, s->config, &options, &s->serve, &report, &err) != OG_OK)
        fail_msg("%s", err.text);
}

static inline void stage_stop(stage *s)
{
    serve_stop(s->serve, 0);
    wait_for(s, "stopped", &s->stopped);
    config_free(s->config);
}

/* After stage_stop, and when no handle of the test's own is in the loop any more. */
static inline void stage_close(stage *s)
{
    http_client_close(s->client, on_client_closed, s);
    wait_for(s, "client closed", &s->client_closed);
    uv_close((uv_handle_t *)&s->beat, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    mock_kafka_stop(&s->kafka);
    og_buf_done(&s->log);
    assert_int_equal(file_remove_tree(s->dir, NULL), OG_OK);
    free(s);
}

#endif
