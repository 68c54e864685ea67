/* Health and metrics. Live: the loop turns. Ready: restored, connected, reading; what is missing is
 * said. */
#include <stdarg.h>

#include "daemon/file.h"
#include "daemon/metrics.h"
#include "daemon/serve_private.h"

#define MAX_PAGE ((size_t)4 << 20)

static const char *const step_names[] = {"waiting for Kafka", "asking where the topics end",
                                         "restoring", "working", "stopping"};

static void answer_json(http_exchange *x, int status, const char *fmt, ...) OG_PRINTF(3, 4);

static void answer_json(http_exchange *x, int status, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    http_exchange_answer(x, status, "application/json", (og_str){text, n > 0 ? (size_t)n : 0});
}

static void live(void *ctx, http_exchange *x)
{
    (void)ctx;
    answer_json(x, 200, "{\"status\":\"live\"}\n");
}

bool serve__disk_is_good(const serve *s)
{
    if (s->sync_failed)
        return false;
    for (int i = 0; i <= s->count; i++)
        if (owner_get(s->owner, i == s->count ? OWNER_SHARED : i).failing)
            return false;
    return true;
}

static int not_current(serve *s)
{
    int n = 0;
    for (int i = 0; i < s->count; i++)
        n += s->partitions[i].assigned && !serve__is_current(s, i);
    return n;
}

/* Where nothing waits nobody finds out whether it is still failing. */
static bool is_failing(const serve *s, size_t endpoint)
{
    return outbox_is_down(s->outbox, endpoint) && outbox_pending(s->outbox, endpoint) > 0;
}

/* An endpoint that is failing makes nobody unready: its cards wait, and another instance could not
 * send them either. */
static bool add_endpoints(const serve *s, og_buf *b)
{
    bool any_failing = false;
    og_buf_addz(b, ",\"endpoints\":{");
    for (size_t i = 0; i + 1 < s->endpoint_count; i++) {
        bool failing = is_failing(s, i);
        any_failing |= failing;
        og_buf_addf(b, "%s\"%s\":\"%s\"", i > 0 ? "," : "", s->endpoints[i].name,
                    failing ? "failing" : "good");
    }
    og_buf_addc(b, '}');
    return any_failing;
}

static void add_silent(const serve *s, og_buf *b)
{
    const char *sep = "";
    og_buf_addz(b, ",\"sourcesSilent\":[");
    for (size_t i = 0; i < s->config->kafka_sources.count; i++) {
        if (!serve__is_silent(s, i))
            continue;
        og_buf_addf(b, "%s\"%s\"", sep, s->config->kafka_sources.at[i]);
        sep = ",";
    }
    og_buf_addc(b, ']');
}

static const char *kafka_state(const serve *s)
{
    if (s->beat_there_ms == 0)
        return "no answer yet";
    return serve__kafka_answers(s) ? "good" : "does not answer";
}

static void ready(void *ctx, http_exchange *x)
{
    serve *s = ctx;
    bool good = serve_ready(s);
    int late = not_current(s), restoring = serve__restoring(s);
    og_buf rest;
    og_buf_init(&rest, (size_t)64 << 10);
    og_buf_addf(&rest,
                "\"step\":\"%s\",\"kafka\":\"%s\",\"disk\":\"%s\",\"clock\":\"%s\","
                "\"partitionsRestoring\":%d,\"partitionsNotCurrent\":%d",
                step_names[s->step], kafka_state(s), serve__disk_is_good(s) ? "good" : "failing",
                s->clock_doubted ? "doubted" : "good", restoring, late);
    add_silent(s, &rest);
    bool degraded = add_endpoints(s, &rest) || late > 0 || restoring > 0;
    og_buf page;
    og_buf_init(&page, (size_t)64 << 10);
    og_buf_addf(&page, "{\"status\":\"%s\",",
                !good      ? "not ready"
                : degraded ? "degraded"
                           : "ready");
    og_buf_adds(&page, og_buf_str(&rest));
    og_buf_addz(&page, "}\n");
    if (og_buf_failed(&rest) || og_buf_failed(&page))
        answer_json(x, 500, "{\"status\":\"no memory\"}\n");
    else
        http_exchange_answer(x, good ? 200 : 503, "application/json", og_buf_str(&page));
    og_buf_done(&rest);
    og_buf_done(&page);
}

/* Where rows are in a store alone, the stores know how many there are; of endpoints that are not
 * configured any more too. */
static int64_t pending(const serve *s, uint64_t rows)
{
    uint64_t here = outbox_pending(s->outbox, SIZE_MAX);
    return (int64_t)(outbox_unread(s->outbox) > 0 && rows > here ? rows : here);
}

void serve__set_gauges(serve *s)
{
    uint64_t dirty = 0, ceasing = 0, parked = 0, rows = 0;
    for (int i = 0; i < s->count; i++) {
        owner_state state = owner_get(s->owner, i);
        dirty += state.dirty;
        ceasing += state.ceasing;
        parked += s->partitions[i].parked;
        rows += state.rows;
    }
    metric_set(METRIC_DIRTY, (int64_t)dirty);
    metric_set(METRIC_CEASING, (int64_t)ceasing);
    metric_set(METRIC_OUTBOX_PARKED, (int64_t)parked);
    metric_set(METRIC_OUTBOX_PENDING, pending(s, rows > parked ? rows - parked : 0));
    for (size_t i = 0; i + 1 < s->endpoint_count; i++)
        metric_set_label(METRIC_ENDPOINT_FAILING, s->endpoints[i].name, is_failing(s, i));
    metric_set(METRIC_IDS_TOO_SMALL, idset_is_too_small(s->recorded));
    metric_set(METRIC_TIME, clock_now(&s->clock) / 1000);
    metric_set(METRIC_NEXT_REVIEW, (schedule_next(s->schedule) + 999) / 1000);
    metric_set(METRIC_READY, serve_ready(s));
    metric_set(METRIC_NOT_CURRENT, not_current(s));
    metric_set(METRIC_RULES, (int64_t)plan_content_rule_count(s->content));
    serve__set_progress(s);
    serve__set_lags(s);
}

static void metrics_page(void *ctx, http_exchange *x)
{
    serve *s = ctx;
    og_buf page;
    og_buf_init(&page, MAX_PAGE);
    serve__set_gauges(s);
    metrics_write(&page);
    if (og_buf_failed(&page))
        answer_json(x, 500, "{\"status\":\"no memory\"}\n");
    else
        http_exchange_answer(x, 200, "text/plain; version=0.0.4; charset=utf-8", og_buf_str(&page));
    og_buf_done(&page);
}

og_status serve__listen(serve *s, og_error *err)
{
    const config *c = s->config;
    const http_route routes[] = {{"GET", "/health/live", live, s, 0},
                                 {"GET", "/health/ready", ready, s, 0},
                                 {"GET", "/metrics", metrics_page, s, 0}};
    http_server_options o = {.address = c->http_host,
                             .port = c->http_port,
                             .routes = routes,
                             .route_count = sizeof routes / sizeof routes[0]};
    char text[32];
    if (c->http_host[0] == '\0')
        return OG_OK;
    og_status status = http_server_new(s->loop, &o, &s->server, err);
    if (status != OG_OK || c->http_port_file[0] == '\0')
        return status;
    snprintf(text, sizeof text, "%d\n", http_server_port(s->server));
    return file_write(c->http_port_file, og_str_of(text), err);
}

int serve_port(const serve *s)
{
    return s->server != NULL ? http_server_port(s->server) : 0;
}
