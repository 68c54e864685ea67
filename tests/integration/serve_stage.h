/* A stage for the whole daemon: an embedded broker, a scripted EHR, and up to three daemons in one
 * loop, or processes of their own. The test holds the daemons' clock. */
#ifndef OG_TESTS_SERVE_STAGE_H
#define OG_TESTS_SERVE_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
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

#define MEMBERS 3

static const char *const sources[] = {"fhir.patient", "fhir.bundle"};
static int stage_brokers; /* of the next stage; 0: one */

typedef struct post {
    char *key, *body;
} post;

typedef struct stage stage;

typedef struct member { /* one daemon */
    stage *stage;
    int number;
    config *config;
    serve *serve;
    bool stopped;
    int status;
} member;

struct stage {
    mock_kafka kafka;
    uv_loop_t loop;
    uv_timer_t beat;
    char dir[64];
    member at[MEMBERS];
    int64_t now_ms; /* of the daemons */
    http_server *ehr;
    bool ehr_closed;
    const int *script; /* statuses that the EHR answers first */
    size_t script_count, script_at;
    post posts[4096]; /* those answered with 200 */
    size_t post_count, refused, repeats;
    int64_t sent; /* messages on fhir.bundle[0] */
    bool later;   /* processes of their own begin at the midnight, not before it */
    /* What the configuration says otherwise; NULL or 0: as for all. */
    const char *endpoints, *content_dir, *limits;
    const char *sync; /* of the store, as the options are written */
    const char *more; /* further lines */
    int map_mb;
    size_t outbox_patients;
    void (*before_exec)(void); /* in a process that is about to become a daemon */
    void (*on_post)(stage *s); /* a card has come, and is not answered yet */
    const char *properties;    /* of Kafka */
};

/* ---- the EHR ---- */

enum { SENDING = 8 }; /* at the same time, by one daemon: max_in_flight */

static inline void take_post(stage *s, const char *key, og_str body)
{
    bool again = false;
    for (size_t i = 0; i < s->post_count && !again; i++)
        again = strcmp(s->posts[i].key, key) == 0;
    s->repeats += again;
    assert_true(s->post_count < 4096);
    s->posts[s->post_count++] = (post){strdup(key), strndup(body.p, body.n)};
}

static inline void on_cards(void *ctx, http_exchange *x)
{
    stage *s = ctx;
    char key[128];
    og_str given = http_exchange_header(x, "Idempotency-Key");
    int status = s->script_at < s->script_count ? s->script[s->script_at++] : 200;
    snprintf(key, sizeof key, "%.*s", OG_STR_ARG(given));
    assert_int_equal(strlen(key), 36);
    if (s->on_post != NULL)
        s->on_post(s);
    if (status == 200)
        take_post(s, key, http_exchange_body(x));
    else
        s->refused++;
    http_exchange_answer(x, status, NULL, OG_STR(""));
}

/* ---- time ---- */

static inline int64_t daemon_time(void *ctx)
{
    return ((stage *)ctx)->now_ms;
}

static inline void on_beat(uv_timer_t *t)
{
    (void)t; /* so that the condition is looked at */
}

typedef bool condition(stage *s);

static inline void wait_until(stage *s, const char *what, condition *fn)
{
    int64_t begin = clock_monotonic_us() / 1000;
    while (!fn(s)) {
        if (clock_monotonic_us() / 1000 - begin > PATIENCE_MS)
            fail_msg("waited too long: %s", what);
        uv_run(&s->loop, UV_RUN_ONCE);
    }
}

/* ---- the daemon ---- */

static inline void quiet(void *ctx, og_str line)
{
    (void)ctx;
    if (getenv("OG_TEST_LOG") != NULL)
        fprintf(stderr, "%.*s", OG_STR_ARG(line));
}

static inline void on_stopped(void *ctx, int status)
{
    member *m = ctx;
    m->stopped = true;
    m->status = status;
    m->serve = NULL;
}

static inline void print_problem(void *ctx, const og_error *err)
{
    (void)ctx;
    print_error("%s:%u: %s\n", err->origin, err->line, err->text);
}

static const char *const store_suffix[MEMBERS] = {"", "-1", "-2"};

static inline og_str config_text_of(const stage *s, int number, char *out, size_t size)
{
    char ehr[128];
    snprintf(ehr, sizeof ehr, "ehr: {url: \"http://127.0.0.1:%d/cards\"}",
             http_server_port(s->ehr));
    int n = snprintf(out, size,
                     "site: {tenant: t, timezone: Europe/Berlin}\n"
                     "kafka:\n"
                     "  bootstrap: %s\n"
                     "  partitions: %d\n"
                     "  sources: [fhir.patient, fhir.bundle]\n"
                     "  properties: {%s}\n"
                     "  consumer_properties: {fetch.wait.max.ms: 20, session.timeout.ms: 6000}\n"
                     "store: {dir: %s/store%s, map_size_mb: %d, %s}\n"
                     "content: {dir: %s}\n"
                     "http: {listen: \"127.0.0.1:0\", port_file: %s/port%s}\n"
                     "log: {level: %s, format: json}\n"
                     "delivery: {backoff_min_ms: 20, backoff_max_ms: 100}\n"
                     "limits: {%s}\n"
                     "endpoints: {%s}\n"
                     "%s",
                     s->kafka.bootstrap, PARTITIONS, s->properties != NULL ? s->properties : "",
                     s->dir, store_suffix[number], s->map_mb > 0 ? s->map_mb : 128,
                     s->sync != NULL ? s->sync : "sync_interval_ms: 50",
                     s->content_dir != NULL ? s->content_dir : OG_SOURCE_DIR "/rules/content",
                     s->dir, store_suffix[number], getenv("OG_TEST_LOG") != NULL ? "debug" : "warn",
                     s->limits != NULL ? s->limits : "", s->endpoints != NULL ? s->endpoints : ehr,
                     s->more != NULL ? s->more : "");
    assert_true(n > 0 && (size_t)n < size);
    return (og_str){out, (size_t)n};
}

static inline og_str config_text(const stage *s, char *out, size_t size)
{
    return config_text_of(s, 0, out, size);
}

static inline void start_member(stage *s, int number)
{
    char text[4096];
    og_error err;
    member *m = &s->at[number];
    og_clock clock = {.fixed = daemon_time, .ctx = s};
    og_report report = {.fn = print_problem};
    serve_options options = {.clock = &clock,
                             .seed = 7,
                             /* others' rows wait in the stores */
                             .outbox_patients = s->outbox_patients > 0 ? s->outbox_patients : 3,
                             .on_stopped = on_stopped,
                             .ctx = m};
    og_error_init(&err);
    log_sink(quiet, NULL);
    log_setup(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON, true);
    assert_int_equal(config_parse(config_text_of(s, number, text, sizeof text), "test.yaml", NULL,
                                  &m->config, &report, NULL),
                     OG_OK);
    m->stopped = false;
    if (serve_new(&s->loop, m->config, &options, &m->serve, &report, &err) != OG_OK)
        fail_msg("%s", err.text);
}

static inline void start(stage *s)
{
    metrics_reset();
    start_member(s, 0);
}

static inline bool is_ready(stage *s)
{
    return serve_ready(s->at[0].serve);
}

static inline bool nobody_stops(stage *s)
{
    for (int i = 0; i < MEMBERS; i++)
        if (s->at[i].config != NULL && !s->at[i].stopped && serve__stopping(s->at[i].serve))
            return false;
    return true;
}

static inline void start_and_wait(stage *s)
{
    start(s);
    wait_until(s, "ready", is_ready);
}

static inline void stop_member(stage *s, int number)
{
    member *m = &s->at[number];
    serve_stop(m->serve, 0);
    wait_until(s, "stopped", nobody_stops);
    assert_true(m->stopped);
    assert_int_equal(m->status, 0);
    config_free(m->config);
    m->config = NULL;
}

static inline void stop(stage *s)
{
    stop_member(s, 0);
}

static inline stage *stage_new(void)
{
    stage *s = calloc(1, sizeof *s);
    og_error err;
    og_error_init(&err);
    assert_non_null(s);
    for (int i = 0; i < MEMBERS; i++)
        s->at[i] = (member){.stage = s, .number = i};
    const http_route routes[] = {{"POST", "/cards", on_cards, s, 0}};
    http_server_options ehr = {.port = 0, .routes = routes, .route_count = 1};
    strcpy(s->dir, "/tmp/og-serve-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(uv_loop_init(&s->loop), 0);
    uv_timer_init(&s->loop, &s->beat);
    uv_timer_start(&s->beat, on_beat, 20, 20);
    s->kafka.brokers = stage_brokers;
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

static inline void on_ehr_closed(void *ctx)
{
    ((stage *)ctx)->ehr_closed = true;
}

static inline bool ehr_is_closed(stage *s)
{
    return s->ehr_closed;
}

static inline void stage_free(stage *s)
{
    for (int i = 0; i < MEMBERS; i++)
        if (s->at[i].serve != NULL)
            stop_member(s, i);
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

static inline size_t send_stream(stage *s, size_t first, size_t last)
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
        s->sent++;
        sent++;
    }
    ndjson_close(r);
    return sent;
}

static int64_t expected_messages;

static inline bool all_worked_off(stage *s)
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

/* Every partition has an owner and is settled, and no store has a row that is still to be sent. */
static inline bool nothing_waits(stage *s)
{
    size_t rows = 0, owned = 0;
    og_arena *a = og_arena_new(4 << 20);
    for (int m = 0; m < MEMBERS; m++) {
        for (int i = 0; i < PARTITIONS && s->at[m].serve != NULL; i++) {
            const serve_partition *p = &s->at[m].serve->partitions[i];
            store_txn *t;
            if (!p->assigned)
                continue;
            owned++;
            rows += !owner_get(s->at[m].serve->owner, i).settled + p->publishing + p->posting;
            assert_int_equal(store_begin(p->store, false, &t, NULL), OG_OK);
            /* what cannot be read is not at rest: the daemon has yet to find it and rebuild */
            if (delivery_each(t, a, count_row, &rows, NULL) != OG_OK)
                rows++;
            store_abort(t);
        }
    }
    og_arena_free(a);
    return rows == 0 && owned == PARTITIONS && s->post_count > 0;
}

/* Somebody has read the source to its end, and all that came from it is acknowledged. */
static inline bool is_gathered(stage *s)
{
    kafka_position at[64];
    for (int m = 0; m < MEMBERS; m++) {
        if (s->at[m].serve == NULL || s->at[m].serve->sources == NULL)
            continue;
        size_t n = kafka_source_positions(s->at[m].serve->sources, at, 64);
        for (size_t i = 0; i < n && i < 64; i++)
            if (strcmp(at[i].topic, "fhir.bundle") == 0 && at[i].partition == 0 &&
                at[i].waiting == 0 && (at[i].done >= s->sent || at[i].next >= s->sent))
                return true;
    }
    return false;
}

/* What the gate says of all partitions (STREAM 3.8). */
static inline bool is_current(stage *s)
{
    for (int i = 0; i < PARTITIONS; i++)
        if (!serve__is_current(s->at[0].serve, i))
            return false;
    return true;
}

static inline bool nothing_is_current(stage *s)
{
    for (int i = 0; i < PARTITIONS; i++)
        if (serve__is_current(s->at[0].serve, i))
            return false;
    return true;
}

/* Every record is in the store of the one who owns it. */
static inline bool is_applied(stage *s)
{
    for (int i = 0; i < PARTITIONS; i++) {
        int64_t low, high, next = -1;
        if (rd_kafka_query_watermark_offsets(s->kafka.rk, "osteoguard.records", i, &low, &high,
                                             10000) != RD_KAFKA_RESP_ERR_NO_ERROR)
            return false;
        for (int m = 0; m < MEMBERS; m++)
            if (s->at[m].serve != NULL && s->at[m].serve->partitions[i].assigned &&
                owner_get(s->at[m].serve->owner, i).dirty == 0)
                next = owner_get(s->at[m].serve->owner, i).next_offset;
        if (next < high && high > 0)
            return false;
    }
    return true;
}

/* No review waits until it is known that all data are there. */
static inline bool is_reviewed(stage *s)
{
    for (int m = 0; m < MEMBERS; m++) {
        for (int i = 0; i < PARTITIONS && s->at[m].serve != NULL; i++) {
            owner_state state = owner_get(s->at[m].serve->owner, i);
            if (state.assigned && state.next_due_ms != 0 && state.next_due_ms <= s->now_ms)
                return false;
        }
    }
    return true;
}

/* All that was sent is gathered, applied, evaluated and delivered. */
static inline bool is_quiet(stage *s)
{
    return is_gathered(s) && nothing_waits(s) && is_applied(s) && is_reviewed(s);
}

static inline size_t count_posts(const stage *s, const char *needle)
{
    size_t n = 0;
    for (size_t i = 0; i < s->post_count; i++)
        n += strstr(s->posts[i].body, needle) != NULL;
    return n;
}

static inline bool has_d3_by_clock(stage *s)
{
    for (size_t i = 0; i < s->post_count; i++)
        if (strstr(s->posts[i].body, "\"patientId\":\"sample-11\"") != NULL &&
            strstr(s->posts[i].body, "\"rule\":\"D3\""))
            return true;
    return false;
}

/* ---- what the EHR has ---- */

typedef struct held { /* cards that it has */
    char uuid[512][UUID_TEXT];
    size_t count;
} held;

static inline void drop_card(held *h, const char *uuid)
{
    for (size_t i = 0; i < h->count; i++)
        if (strncmp(h->uuid[i], uuid, UUID_TEXT - 1) == 0)
            memmove(h->uuid[i], h->uuid[--h->count], UUID_TEXT);
}

/* What a receiver keeps of a body: its card comes, those that it retracts go. */
static inline void take_body(held *h, const char *body)
{
    static const char card[] = "{\"cards\":[{\"uuid\":\"", one[] = "{\"uuid\":\"";
    const char *retracts = strstr(body, "\"retracts\":[");
    for (const char *p = retracts != NULL ? strstr(retracts, one) : NULL; p != NULL;
         p = strstr(p + 1, one))
        drop_card(h, p + strlen(one));
    if (strncmp(body, card, strlen(card)) != 0)
        return;
    drop_card(h, body + strlen(card)); /* a repeat */
    assert_true(h->count < 512);
    memcpy(h->uuid[h->count], body + strlen(card), UUID_TEXT - 1);
    h->uuid[h->count++][UUID_TEXT - 1] = '\0';
}

static inline bool has_card(const held *h, const char *uuid)
{
    for (size_t i = 0; i < h->count; i++)
        if (strcmp(h->uuid[i], uuid) == 0)
            return true;
    return false;
}

/* How many alerts of the partition are to be shown; the EHR must have the card of each. */
static inline size_t open_alerts(const serve *s, int partition, const held *h)
{
    size_t n, count, open = 0;
    store_txn *t;
    const og_str *patients;
    const plan_alert *alerts;
    og_arena *a = og_arena_new(64 << 20);
    assert_int_equal(store_begin(s->partitions[partition].store, false, &t, NULL), OG_OK);
    assert_int_equal(store_patients(t, a, (og_str){NULL, 0}, SIZE_MAX, &patients, &n, NULL), OG_OK);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(store_alerts(t, a, patients[i], &alerts, &count, NULL), OG_OK);
        for (size_t k = 0; k < count; k++) {
            if (delivery_is_over(&s->endpoints[0], &alerts[k]))
                continue;
            open++;
            assert_true(has_card(h, alerts[k].card_uuid));
        }
    }
    store_abort(t);
    og_arena_free(a);
    return open;
}

/* Exactly the cards that the owners of the partitions believe in, whoever sent them. */
static inline void ehr_has_what_is_believed(const stage *s)
{
    static held h;
    size_t open = 0;
    h.count = 0;
    for (size_t i = 0; i < s->post_count; i++)
        take_body(&h, s->posts[i].body);
    for (int m = 0; m < MEMBERS; m++)
        for (int i = 0; i < PARTITIONS && s->at[m].serve != NULL; i++)
            if (s->at[m].serve->partitions[i].assigned)
                open += open_alerts(s->at[m].serve, i, &h);
    assert_true(open > 10);
    assert_int_equal(h.count, open);
}

/* A card has one key: the same alert and revision told twice would have two only if somebody had
 * forgotten what was said. */
static inline void no_card_came_under_two_keys(const stage *s)
{
    for (size_t i = 0; i < s->post_count; i++) {
        const char *uuid = strstr(s->posts[i].body, "\"cards\":[{\"uuid\":\"");
        if (uuid == NULL)
            continue;
        for (size_t k = 0; k < i; k++)
            if (strncmp(s->posts[k].body, s->posts[i].body, 64) == 0)
                assert_string_equal(s->posts[k].key, s->posts[i].key);
    }
}

/* ---- processes of their own ---- */

/* A word of another owner on the alerts topic. */
static inline void write_as(stage *s, int32_t partition, const char *key, const char *value,
                            const char *header, const char *header_value)
{
    rd_kafka_headers_t *h = rd_kafka_headers_new(2);
    rd_kafka_header_add(h, header, -1, header_value, -1);
    rd_kafka_header_add(h, SAID_STORE, -1, "00000000-0000-4000-8000-000000000000", -1);
    assert_int_equal(rd_kafka_producev(
                         s->kafka.rk, RD_KAFKA_V_TOPIC("osteoguard.alerts"),
                         RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_HEADERS(h),
                         RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, strlen(key)),
                         RD_KAFKA_V_VALUE((void *)(uintptr_t)value, strlen(value)), RD_KAFKA_V_END),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(s->kafka.rk, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* A number of a store's meta table, while the daemon is stopped. */
static inline void set_in_stopped_store(const stage *s, int partition, const char *name,
                                        int64_t value)
{
    char path[160], number[16], dir[256];
    store *st;
    store_txn *t;
    snprintf(path, sizeof path, "%s/store", s->dir);
    snprintf(number, sizeof number, "%d", partition);
    assert_true(store_path(path, PARTITIONS, number, dir, sizeof dir));
    assert_int_equal(store_open(dir, (size_t)128 << 20, false, NULL, &st, NULL), OG_OK);
    assert_int_equal(store_begin(st, true, &t, NULL), OG_OK);
    assert_int_equal(store_set_meta_int(t, name, value, NULL), OG_OK);
    assert_int_equal(store_commit(t, NULL), OG_OK);
    kv_close(st);
}

static inline int spawn_member(const stage *s, int number)
{
    char path[128], text[4096];
    og_str yaml = config_text_of(s, number, text, sizeof text);
    og_buf whole;
    og_buf_init(&whole, 8192);
    og_buf_adds(&whole, yaml);
    og_buf_addf(&whole, "clock: {start: \"%s+01:00\"}\n",
                s->later ? "2026-03-01T00:00:05" : "2026-02-28T23:59:40");
    snprintf(path, sizeof path, "%s/daemon%s.yaml", s->dir, store_suffix[number]);
    assert_int_equal(file_write(path, og_buf_str(&whole), NULL), OG_OK);
    og_buf_done(&whole);
    fflush(NULL);
    int pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not outlive a test that fails */
        if (s->before_exec != NULL)
            s->before_exec();
        execl(OG_BINARY_DIR "/daemon/osteoguard", "osteoguard", "serve", "-c", path, (char *)NULL);
        _exit(127);
    }
    return pid;
}

#endif
