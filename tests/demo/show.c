/* The show in steps; each waits for something that is seen, on the tick of one timer:
 *
 *     START ─► PORT (the daemon wrote its port) ─► READY (/health/ready) ─► WATCH (replay runs,
 * /metrics is read) └─► DONE (worked off) ─► stopping
 *
 * The daemon is the one of production with its own configuration; only addresses and the store's
 * directory come from here, as environment variables. */
#include "tests/demo/show.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "connectors/http_client.h"
#include "connectors/kafka.h"
#include "tests/demo/broker.h"
#include "tests/demo/card_text.h"
#include "tests/demo/child.h"
#include "tests/demo/metrics_page.h"
#include "tests/demo/standin.h"

#define DEAD_LETTERS "osteoguard.dead-letters"

enum {
    TICK_MS = 200,
    REQUEST_MS = 5000,
    KILL_AFTER_MS = 15000, /* a child that does not stop */
    EMBEDDED_PARTITIONS = 4,
    GENTLE_BYTES = 2 << 20, /* files over this are replayed slowly into the embedded broker, which
                               keeps 5 MB a partition */
    MAX_DEAD_PARTITIONS = 256,
};
/* The sample stream's story ends with a rule that fires at this midnight, 2026-03-01T00:00 in
 * Berlin. */
static const double sample_midnight = 1772319600;
static const char sample_stream[] = "tests/fixtures/sample/stream.ndjson";

typedef enum show_step { STEP_PORT, STEP_READY, STEP_WATCH, STEP_DONE } show_step;

typedef struct numbers { /* off the metrics page */
    double messages, inputs, recorded, irrelevant, dead, consumed, evaluations, pending, parked,
        dirty, not_current;
    double source_lag, records_lag, shared_lag, time, next_review;
} numbers;

typedef struct show {
    uv_loop_t loop;
    show_options o;
    broker *kafka;
    standin *ehr;
    http_client *client;
    kafka_source *dead_source;
    uint64_t dead_seen;
    child *daemon, *replay;
    uv_timer_t tick;
    uv_signal_t on_int, on_term;
    char dir[256], bootstrap[512], port_file[300];
    int64_t began_ms; /* wall clock: dead letters that are older are not ours */
    int daemon_port;
    show_step step;
    bool asking, sample, replay_ok, tty, progress_shown, stopping, closed_ehr, closed_client,
        closed_source;
    uint64_t sent; /* as replay said */
    numbers n, last;
    uint64_t stop_at, give_up_at;
    int status;
} show;

/* ---- lines on the terminal ---- */

static void make_room(void *ctx)
{
    show *s = ctx;
    if (s->progress_shown)
        fputs("\r\033[K", stdout);
    s->progress_shown = false;
}

static void say(show *s, const char *fmt, ...) OG_PRINTF(2, 3);

static void say(show *s, const char *fmt, ...)
{
    va_list ap;
    make_room(s);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

static void add_counts(const show *s, char *text, size_t size)
{
    standin_counts c = standin_count(s->ehr);
    char sent[48] = "", clock[32] = "";
    time_t t = (time_t)s->n.time;
    struct tm tm;
    if (s->n.time > 0 && gmtime_r(&t, &tm) != NULL)
        strftime(clock, sizeof(clock), "%Y-%m-%d %H:%M:%SZ", &tm);
    if (s->replay_ok)
        snprintf(sent, sizeof(sent), "sent %" PRIu64 ", ", s->sent);
    snprintf(text, size,
             "%staken %.0f | inputs %.0f = recorded %.0f + irrelevant %.0f + dead %.0f | evaluated "
             "%.0f | cards %" PRIu64 ", withdrawn %" PRIu64 " | %s",
             sent, s->n.messages, s->n.inputs, s->n.recorded, s->n.irrelevant, s->n.dead,
             s->n.evaluations, c.cards, c.withdrawn, clock);
}

/* One line that fits: a wrapped one could not be taken back. */
static void show_progress(void *ctx)
{
    show *s = ctx;
    char text[300];
    struct winsize w;
    if (!s->tty || s->step != STEP_WATCH)
        return;
    standin_counts c = standin_count(s->ehr);
    snprintf(text, sizeof(text),
             "%s%.0f recorded %.0f irrelevant %.0f dead %.0f evaluated %.0f cards %" PRIu64
             " withdrawn %" PRIu64,
             s->replay_ok ? "sent " : "taken ", s->replay_ok ? (double)s->sent : s->n.messages,
             s->n.recorded, s->n.irrelevant, s->n.dead, s->n.evaluations, c.cards, c.withdrawn);
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 && w.ws_col <= strlen(text))
        text[w.ws_col - 1] = '\0';
    make_room(s);
    printf("\033[2m%s\033[0m", text);
    fflush(stdout);
    s->progress_shown = true;
}

/* ---- stopping ---- */

static void stop(show *s, int status)
{
    if (s->stopping)
        return;
    s->stopping = true;
    s->status = status;
    s->stop_at = uv_now(&s->loop) + KILL_AFTER_MS;
    child_signal(s->replay, SIGTERM);
    child_signal(s->daemon, SIGTERM);
}

static void fail(show *s, const char *fmt, ...) OG_PRINTF(2, 3);

static void fail(show *s, const char *fmt, ...)
{
    char text[800];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    make_room(s);
    fflush(stdout);
    fprintf(stderr, "osteoguard-demo: %s\n", text);
    stop(s, 1);
}

static void note_closed(void *ctx)
{
    *(bool *)ctx = true;
}

static void close_rest(show *s);

/* Children first: they use what is closed afterwards. */
static void stop_step(show *s)
{
    if (s->daemon != NULL || s->replay != NULL) {
        if (uv_now(&s->loop) < s->stop_at)
            return;
        fprintf(stderr, "osteoguard-demo: a child does not stop; it is killed\n");
        s->status = 1;
        child_signal(s->replay, SIGKILL);
        child_signal(s->daemon, SIGKILL);
        s->stop_at = UINT64_MAX;
        return;
    }
    close_rest(s);
}

static void close_rest(show *s)
{
    if (uv_is_closing((uv_handle_t *)&s->tick))
        return;
    uv_close((uv_handle_t *)&s->tick, NULL);
    uv_close((uv_handle_t *)&s->on_int, NULL);
    uv_close((uv_handle_t *)&s->on_term, NULL);
    kafka_source_close(s->dead_source, 2000, note_closed, &s->closed_source);
    http_client_close(s->client, note_closed, &s->closed_client);
    standin_close(s->ehr, note_closed, &s->closed_ehr);
}

/* ---- dead letters ---- */

static void add_header(og_buf *out, const conn_message *m, const char *name, const char *before)
{
    og_str v;
    if (!kafka_message_header(m, name, &v) || v.n == 0)
        return;
    og_buf_addz(out, before);
    card_text_add_safe(out, v);
}

static void dead_letter(void *ctx, const conn_message *m)
{
    show *s = ctx;
    og_buf line;
    if (m->origin.timestamp_ms >= 0 && m->origin.timestamp_ms < s->began_ms)
        return;
    s->dead_seen++;
    og_buf_init(&line, 65536);
    add_header(&line, m, "reason", "dead letter: ");
    add_header(&line, m, "source-topic", " | ");
    add_header(&line, m, "source-partition", "[");
    add_header(&line, m, "source-offset", "]@");
    add_header(&line, m, "entry", " entry ");
    add_header(&line, m, "position", " byte ");
    add_header(&line, m, "path", " at ");
    add_header(&line, m, "detail", " | ");
    say(s, "\n%.*s", OG_STR_ARG(og_buf_str(&line)));
    og_buf_done(&line);
    show_progress(s);
}

static void dead_error(void *ctx, const kafka_error *e)
{
    if (e->fatal)
        fail(ctx, "reading %s: %s", DEAD_LETTERS, e->text);
}

/* Reads the dead letters of this run. The topic exists by now: the daemon is ready. */
static og_status dead_open(show *s, og_error *err)
{
    const kafka_property properties[] = {{"bootstrap.servers", s->bootstrap},
                                         {"fetch.wait.max.ms", "100"}};
    const kafka_topic_spec spec = {.name = DEAD_LETTERS};
    kafka_topic_state state;
    kafka_partition all[MAX_DEAD_PARTITIONS];
    og_status st = kafka_topics_ensure(properties, 1, &spec, 1, 5000, &state, err);
    if (st != OG_OK)
        return st;
    const kafka_source_options o = {.mode = KAFKA_SOURCE_READER,
                                    .group = "osteoguard-demo",
                                    .properties = properties,
                                    .property_count = 2,
                                    .ctx = s,
                                    .on_message = dead_letter,
                                    .on_error = dead_error};
    st = kafka_source_new(&s->loop, &o, &s->dead_source, err);
    if (st != OG_OK)
        return st;
    size_t count = (size_t)state.partitions < MAX_DEAD_PARTITIONS ? (size_t)state.partitions
                                                                  : MAX_DEAD_PARTITIONS;
    for (size_t i = 0; i < count; i++)
        all[i] = (kafka_partition){DEAD_LETTERS, (int32_t)i, KAFKA_OFFSET_BEGINNING};
    return kafka_source_assign(s->dead_source, all, count, err);
}

/* ---- children ---- */

/* The daemon's log: one JSON object a line. Dead letters are shown with more from their topic. */
static void daemon_line(void *ctx, og_str line)
{
    show *s = ctx;
    og_buf text;
    const char *name;
    json_t *value, *o = json_loadb(line.p, line.n, 0, NULL);
    const char *message = json_string_value(json_object_get(o, "message"));
    og_buf_init(&text, 65536);
    if (message == NULL) {
        card_text_add_safe(&text, line);
    } else if (strcmp(message, "dead letter") != 0) {
        card_text_add_safe(&text, og_str_of(message));
        json_object_foreach(o, name, value)
        {
            if (!json_is_string(value) || strcmp(name, "message") == 0 ||
                strcmp(name, "time") == 0 || strcmp(name, "level") == 0 ||
                *json_string_value(value) == '\0')
                continue;
            og_buf_addf(&text, " %s=", name);
            card_text_add_safe(&text, og_str_of(json_string_value(value)));
        }
    }
    if (text.n > 0)
        say(s, "osteoguard: %.*s", OG_STR_ARG(og_buf_str(&text)));
    og_buf_done(&text);
    json_decref(o);
    show_progress(s);
}

static void daemon_exit(void *ctx, int64_t status, int signal)
{
    show *s = ctx;
    s->daemon = NULL;
    if (!s->stopping)
        fail(s, "the daemon ended by itself (status %d, signal %d)", (int)status, signal);
    else if (status != 0 || signal != 0)
        fail(s, "the daemon did not stop cleanly (status %d, signal %d)", (int)status, signal);
    if (status != 0 || signal != 0)
        s->status = 1;
}

static void replay_line(void *ctx, og_str line)
{
    show *s = ctx;
    unsigned long long sent;
    if (sscanf(line.p, "%llu values sent from", &sent) == 1)
        s->sent = sent;
    else
        say(s, "replay: %.*s", OG_STR_ARG(line));
    show_progress(s);
}

static void replay_exit(void *ctx, int64_t status, int signal)
{
    show *s = ctx;
    s->replay = NULL;
    if (s->stopping)
        return;
    if (status != 0 || signal != 0) {
        fail(s, "replay ended with status %d, signal %d", (int)status, signal);
        return;
    }
    s->replay_ok = true;
}

static og_status start_daemon(show *s, og_error *err)
{
    char bootstrap[600], url[100], store[320], port[340];
    const char *environment[10];
    size_t n = 0;
    const char *const argv[] = {s->o.osteoguard, "serve", "-c", s->o.config, NULL};
    snprintf(bootstrap, sizeof(bootstrap), "OSTEOGUARD_KAFKA_BOOTSTRAP=%s", s->bootstrap);
    snprintf(url, sizeof(url), "OSTEOGUARD_EHR_URL=http://127.0.0.1:%d/cards",
             standin_port(s->ehr));
    snprintf(store, sizeof(store), "OSTEOGUARD_STORE_DIR=%s/store", s->dir);
    snprintf(port, sizeof(port), "OSTEOGUARD_HTTP_PORT_FILE=%s", s->port_file);
    environment[n++] = bootstrap;
    environment[n++] = url;
    environment[n++] = store;
    environment[n++] = port;
    environment[n++] = "OSTEOGUARD_HTTP_LISTEN=127.0.0.1:0";
    environment[n++] = "OSTEOGUARD_LOG_FORMAT=json";
    /* The mock cluster answers a fetch without data only when its time is over: a short one keeps
     * it quick. */
    if (s->kafka != NULL && getenv("OSTEOGUARD_KAFKA_CONSUMER_PROPERTIES") == NULL)
        environment[n++] = "OSTEOGUARD_KAFKA_CONSUMER_PROPERTIES={fetch.wait.max.ms: 10}";
    /* The demonstration's clock belongs to the sample; other data are of today. */
    if (!s->sample && getenv("OSTEOGUARD_CLOCK_START") == NULL)
        environment[n++] = "OSTEOGUARD_CLOCK_START=";
    environment[n] = NULL;
    const child_options o = {.argv = argv,
                             .environment = environment,
                             .ctx = s,
                             .on_line = daemon_line,
                             .on_exit = daemon_exit};
    return child_start(&s->loop, &o, &s->daemon, err);
}

static bool large(const show *s)
{
    struct stat st;
    int64_t bytes = 0;
    for (size_t i = 0; i < s->o.file_count; i++)
        bytes += stat(s->o.files[i], &st) == 0 ? (int64_t)st.st_size : 0;
    return bytes > GENTLE_BYTES;
}

static og_status start_replay(show *s, og_error *err)
{
    char bootstrap[600];
    size_t n = 0;
    snprintf(bootstrap, sizeof(bootstrap), "OSTEOGUARD_KAFKA_BOOTSTRAP=%s", s->bootstrap);
    const char *const environment[] = {bootstrap, NULL};
    const char **argv = calloc(s->o.file_count + 8, sizeof(*argv));
    if (argv == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    argv[n++] = s->o.osteoguard;
    argv[n++] = "replay";
    argv[n++] = "-c";
    argv[n++] = s->o.config;
    if (s->kafka != NULL && large(s)) {
        say(s,
            "the embedded broker keeps only 5 MB of a partition: replaying at 500 values a second");
        argv[n++] = "--rate";
        argv[n++] = "500";
    }
    if (s->sample) { /* as a stream and not in one gulp: cards come, and some are taken back by
                        later events */
        argv[n++] = "--rate";
        argv[n++] = "15";
    }
    for (size_t i = 0; i < s->o.file_count; i++)
        argv[n++] = s->o.files[i];
    const child_options o = {.argv = argv,
                             .environment = environment,
                             .ctx = s,
                             .on_line = replay_line,
                             .on_exit = replay_exit};
    og_status st = child_start(&s->loop, &o, &s->replay, err);
    free(argv);
    return st;
}

/* ---- what the daemon says about itself ---- */

static double number(og_str page, const char *name)
{
    double v = metrics_page_sum(page, name);
    return v >= 0 ? v : 0;
}

static void read_numbers(numbers *n, og_str page)
{
    *n = (numbers){.messages = number(page, "osteoguard_messages_total"),
                   .inputs = number(page, "osteoguard_inputs_total"),
                   .recorded = number(page, "osteoguard_recorded_total"),
                   .irrelevant = number(page, "osteoguard_irrelevant_total"),
                   .dead = number(page, "osteoguard_dead_letters_total"),
                   .consumed = number(page, "osteoguard_applied_total") +
                               number(page, "osteoguard_stale_total") +
                               number(page, "osteoguard_shared_applied_total") +
                               number(page, "osteoguard_bad_records_total"),
                   .evaluations = number(page, "osteoguard_evaluations_total"),
                   .pending = number(page, "osteoguard_outbox_pending"),
                   .parked = number(page, "osteoguard_outbox_parked"),
                   .dirty = number(page, "osteoguard_patients_dirty"),
                   .not_current = number(page, "osteoguard_partitions_not_current"),
                   .source_lag = number(page, "osteoguard_source_lag"),
                   .records_lag = number(page, "osteoguard_records_lag"),
                   .shared_lag = number(page, "osteoguard_shared_lag"),
                   .time = number(page, "osteoguard_time_seconds"),
                   .next_review = number(page, "osteoguard_next_review_seconds")};
}

/* Everything that was sent is accounted for, applied, evaluated and delivered, and the clock has
 * passed what the sample's story needs. */
static bool worked_off(const show *s)
{
    const numbers *n = &s->n;
    return s->replay_ok && n->messages >= (double)s->sent &&
           n->inputs == n->recorded + n->irrelevant + n->dead && n->consumed >= n->recorded &&
           n->source_lag == 0 && n->records_lag == 0 && n->shared_lag == 0 && n->dirty == 0 &&
           n->pending == 0 && n->not_current == 0 &&
           (n->next_review == 0 || n->next_review > n->time) &&
           (!s->sample || n->time > sample_midnight) && (double)s->dead_seen >= n->dead;
}

/* Nothing moved since the last look. */
static bool settled(const show *s)
{
    return s->n.inputs == s->last.inputs && s->n.consumed == s->last.consumed &&
           s->n.evaluations == s->last.evaluations;
}

static void finish(show *s)
{
    char text[300];
    standin_counts c = standin_count(s->ehr);
    s->step = STEP_DONE;
    add_counts(s, text, sizeof(text));
    say(s, "\n%s", text);
    if (s->n.parked > 0 || c.refused > 0)
        say(s,
            "%.0f deliveries were given up, %" PRIu64 " requests were refused by the EHR stand-in",
            s->n.parked, c.refused);
    say(s, "the stream has been worked off: every input is recorded, irrelevant or a dead letter; "
           "every card is delivered");
    if (s->o.exit) {
        stop(s, s->n.parked > 0 || c.refused > 0 ? 1 : 0);
        return;
    }
    say(s, "the daemon goes on; http://127.0.0.1:%d/metrics, Kafka on %s. Ctrl-C ends all.",
        s->daemon_port, s->bootstrap);
}

static void on_metrics(void *ctx, const http_response *r)
{
    show *s = ctx;
    s->asking = false;
    if (s->stopping || r->failure != HTTP_FAILURE_NONE || r->status != 200)
        return;
    s->last = s->n;
    read_numbers(&s->n, r->body);
    show_progress(s);
    if (s->step == STEP_WATCH && worked_off(s) && settled(s))
        finish(s);
}

static void on_ready(void *ctx, const http_response *r)
{
    show *s = ctx;
    og_error err;
    s->asking = false;
    if (s->stopping || s->step != STEP_READY || r->failure != HTTP_FAILURE_NONE || r->status != 200)
        return;
    s->step = STEP_WATCH;
    og_error_init(&err);
    if (dead_open(s, &err) != OG_OK || start_replay(s, &err) != OG_OK)
        fail(s, "%s", err.text);
}

static void ask(show *s, const char *path, http_response_fn *cb)
{
    char url[100];
    og_error err;
    if (s->asking)
        return;
    og_error_init(&err);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", s->daemon_port, path);
    const http_request r = {.url = url, .timeout_ms = REQUEST_MS};
    if (http_client_send(s->client, &r, cb, s, NULL, &err) == OG_OK)
        s->asking = true;
    else
        fail(s, "%s", err.text);
}

static void look_for_port(show *s)
{
    FILE *f = fopen(s->port_file, "re");
    int port = 0;
    if (f == NULL)
        return;
    if (fscanf(f, "%d", &port) == 1 && port > 0) {
        s->daemon_port = port;
        s->step = STEP_READY;
    }
    fclose(f);
}

static void say_where_it_stands(show *s)
{
    const numbers *n = &s->n;
    fail(s,
         "not worked off within %d s: step %d, sent %" PRIu64
         " (replay %s), messages %.0f, inputs %.0f, recorded %.0f, "
         "irrelevant %.0f, dead %.0f (seen %" PRIu64
         "), consumed %.0f, lags %.0f %.0f %.0f, dirty %.0f, outbox %.0f, time %.0f",
         s->o.timeout_s, (int)s->step, s->sent, s->replay_ok ? "ended" : "runs", n->messages,
         n->inputs, n->recorded, n->irrelevant, n->dead, s->dead_seen, n->consumed, n->source_lag,
         n->records_lag, n->shared_lag, n->dirty, n->pending, n->time);
}

static void on_tick(uv_timer_t *t)
{
    show *s = t->data;
    if (s->stopping) {
        stop_step(s);
        return;
    }
    if (s->o.exit && uv_now(&s->loop) >= s->give_up_at) {
        say_where_it_stands(s);
        return;
    }
    switch (s->step) {
    case STEP_PORT: look_for_port(s); break;
    case STEP_READY: ask(s, "/health/ready", on_ready); break;
    case STEP_WATCH:
    case STEP_DONE: ask(s, "/metrics", on_metrics); break;
    }
}

static void on_signal(uv_signal_t *h, int signal)
{
    show *s = h->data;
    (void)signal;
    if (s->stopping) { /* again: do not wait any longer */
        s->stop_at = 0;
        return;
    }
    say(s, "\nstopping");
    stop(s, s->o.exit ? 1 : 0);
}

/* ---- the beginning and the end ---- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static og_status make_dir(show *s, og_error *err)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(s->dir, sizeof(s->dir), "%s/osteoguard-demo-XXXXXX",
             tmp != NULL && *tmp != '\0' ? tmp : "/tmp");
    if (mkdtemp(s->dir) == NULL) {
        og_status st = og_fail(err, OG_IO, "%s: %s", s->dir, strerror(errno));
        s->dir[0] = '\0';
        return st;
    }
    snprintf(s->port_file, sizeof(s->port_file), "%s/port", s->dir);
    return OG_OK;
}

static og_status start_kafka(show *s, og_error *err)
{
    const char *given = getenv("OSTEOGUARD_KAFKA_BOOTSTRAP");
    if (given != NULL && *given != '\0') {
        snprintf(s->bootstrap, sizeof(s->bootstrap), "%s", given);
        return OG_OK;
    }
    og_status st = broker_new(NULL, EMBEDDED_PARTITIONS, &s->kafka, err);
    if (st == OG_OK)
        snprintf(s->bootstrap, sizeof(s->bootstrap), "%s", broker_bootstrap(s->kafka));
    return st;
}

static og_status start(show *s, og_error *err)
{
    const standin_options ehr = {.ndjson = s->o.ndjson,
                                 .fail = s->o.fail,
                                 .before_print = make_room,
                                 .after_print = show_progress,
                                 .ctx = s};
    og_status st = make_dir(s, err);
    if (st == OG_OK)
        st = start_kafka(s, err);
    if (st == OG_OK)
        st = standin_new(&s->loop, &ehr, &s->ehr, err);
    if (st == OG_OK)
        st = http_client_new(&s->loop, NULL, &s->client, err);
    if (st == OG_OK)
        st = start_daemon(s, err);
    return st;
}

static void watch_signals(show *s)
{
    uv_signal_init(&s->loop, &s->on_int);
    uv_signal_init(&s->loop, &s->on_term);
    s->on_int.data = s->on_term.data = s;
    uv_signal_start(&s->on_int, on_signal, SIGINT);
    uv_signal_start(&s->on_term, on_signal, SIGTERM);
    uv_timer_init(&s->loop, &s->tick);
    s->tick.data = s;
    uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
    s->give_up_at = uv_now(&s->loop) + (uint64_t)s->o.timeout_s * 1000;
}

int show_run(const show_options *options)
{
    static const char *const sample[] = {sample_stream};
    struct timespec now;
    og_error err;
    show *s = calloc(1, sizeof(*s));
    if (s == NULL || uv_loop_init(&s->loop) != 0) {
        free(s);
        return 1;
    }
    og_error_init(&err);
    clock_gettime(CLOCK_REALTIME, &now);
    s->o = *options;
    s->began_ms = (int64_t)now.tv_sec * 1000 - 1000;
    s->tty = isatty(STDOUT_FILENO) == 1;
    s->sample = options->file_count == 0;
    if (s->sample) {
        s->o.files = sample;
        s->o.file_count = 1;
    }
    watch_signals(s);
    if (start(s, &err) != OG_OK) {
        fail(s, "%s", err.text);
    } else {
        say(s, "Kafka on %s (%s), EHR stand-in on port %d, store in %s", s->bootstrap,
            s->kafka != NULL ? "embedded: librdkafka's mock cluster" : "yours",
            standin_port(s->ehr), s->dir);
        if (s->sample)
            say(s, "the daemon's clock starts at 2026-02-28 23:59:40 in Berlin: one card comes at "
                   "midnight, without any event");
    }
    uv_run(&s->loop, UV_RUN_DEFAULT);
    uv_loop_close(&s->loop);
    broker_free(s->kafka);
    if (s->dir[0] != '\0')
        (void)nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    int status = s->status;
    free(s);
    return status;
}
