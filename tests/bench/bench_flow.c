/* bench_flow: from an event on Kafka to its card at the EHR, through the real daemon.
 *
 *   bench_flow OSTEOGUARD CONFIG CONTENT [EVENTS_PER_SECOND [SECONDS [CORPUS.ndjson.gz]]]
 *
 * Makes an embedded broker and an EHR stand-in in this process, starts the daemon, sends one
 * MedicationAdministration per new patient (denosumab without vitamin D and calcium: rule B1
 * answers with one card) at a steady rate, or, with OSTEOGUARD_BENCH_CARD_EVERY=N, such a one as
 * every Nth event and between them what most of a hospital's stream is: values that no rule asks
 * for, and one in three a haemoglobin of a patient with a card, which is kept and evaluated and
 * changes nothing. With OSTEOGUARD_BENCH_BEFORE=N so many patients with a card have come before, as
 * fast as the daemon takes them: what an event costs then, in time and memory (at once, and when
 * the daemon has been at rest). Prints the time from the call that sends the event to the request
 * that brings the card: p50, p90, p99, max, how long the turns of the daemon's loop were, and the
 * daemon's processor time for each event, which tells what a core can do whatever else runs beside
 * it. Then sends a corpus and prints the daemon's resident memory. Nothing here is asserted. */
#include <errno.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "connectors/http_client.h"
#include "connectors/http_server.h"
#include "connectors/kafka.h"

enum { PARTITIONS = 8, POLL_MS = 100, WARM_UP = 200, MOST_UNDER_WAY = 2000 };
enum { REST_MS = 25000 }; /* two times that the daemon gives back what is free */
enum { SCATTER = 9 };     /* of an id behind "bench-": letters before the number */

enum { TURN_BUCKETS = 24 };
typedef struct turns { /* osteoguard_loop_turn_seconds: up to so long, so many */
    double seconds[TURN_BUCKETS], count[TURN_BUCKETS];
    size_t n;
} turns;

typedef struct bench {
    uv_loop_t loop;
    const char *osteoguard, *config, *content, *corpus;
    char store[64], bootstrap[300], url[64], metrics_url[64], port_file[96];
    rd_kafka_t *owner;
    rd_kafka_mock_cluster_t *cluster;
    kafka_sink *sink;
    http_server *ehr;
    http_client *client;
    uv_process_t daemon;
    uv_timer_t poll, pace;
    bool ready, daemon_gone, asking;
    int rate;
    uint32_t total, every, cards, sent, arrived; /* total, sent: events; one in every a card */
    uint32_t before, loaded, came; /* patients before them: of these sent, and with their card */
    uint64_t began_ns;
    double began_cpu;
    uint64_t *sent_ns, *took_ns;
    bool *has_card; /* of those before */
    gzFile file;
    uint64_t corpus_sent, corpus_bytes, in_flight_bytes, messages_before;
    double messages, lag, pending;
    turns turns_before; /* when the events began */
    bool turns_told;
    enum { STARTING, LOADING, LOADED, EVENTS, RESTING, CORPUS, DONE } phase;
} bench;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_flow: %s: %s\n", what, why);
    exit(1);
}

static const char *const sources[] = {"fhir.condition", "fhir.observation",
                                      "fhir.medicationstatement", "fhir.medicationadministration",
                                      "fhir.bundle"};
static const char *const inner[] = {"osteoguard.records", "osteoguard.alerts", "osteoguard.shared",
                                    "osteoguard.dead-letters"};

static void make_broker(bench *b)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    b->owner = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (b->owner == NULL)
        die("librdkafka", text);
    b->cluster = rd_kafka_mock_cluster_new(b->owner, 1);
    if (b->cluster == NULL)
        die("embedded broker", "cannot be made");
    snprintf(b->bootstrap, sizeof b->bootstrap, "%s", rd_kafka_mock_cluster_bootstraps(b->cluster));
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        rd_kafka_mock_topic_create(b->cluster, sources[i], PARTITIONS, 1);
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++)
        rd_kafka_mock_topic_create(b->cluster, inner[i], i < 2 ? PARTITIONS : 1, 1);
}

static void load(bench *b);

/* --- the EHR: notes when a patient's first card arrives --- */

/* It reads no more than it needs: what it computes is time that the daemon has not. */
static void on_cards(void *ctx, http_exchange *x)
{
    static const char mark[] = "\"patientId\":\"bench-";
    bench *b = ctx;
    uint64_t now = uv_hrtime();
    og_str body = http_exchange_body(x);
    const char *at = memmem(body.p, body.n, mark, sizeof mark - 1);
    uint64_t n = at != NULL ? strtoul(at + sizeof mark - 1 + SCATTER, NULL, 10) : UINT64_MAX;
    if (b->phase == LOADING && n < b->before) {
        b->came += !b->has_card[n]; /* a patient may get more than one */
        b->has_card[n] = true;
        load(b);
    } else if (n >= b->before && (n -= b->before) < b->cards && b->took_ns[n] == 0) {
        b->took_ns[n] = now - b->sent_ns[n];
        b->arrived++;
    }
    http_exchange_answer(x, 200, "application/json", OG_STR("{}"));
}

/* --- events at a steady rate --- */

/* Of patient n; scattered as a hospital's are. */
static void patient_id(uint32_t n, char out[32])
{
    snprintf(out, 32, "bench-%08x-%u", n * 2654435761u, n);
}

static void send_value(bench *b, const char *topic, og_str key, og_str value)
{
    og_error err;
    og_error_init(&err);
    kafka_record record = {
        .topic = topic, .partition = KAFKA_PARTITION_BY_KEY, .key = key, .value = value};
    for (;;) {
        conn_verdict v = kafka_sink_send(b->sink, &record, NULL, NULL, &err);
        if (v == CONN_DONE)
            return;
        if (v == CONN_NEVER)
            die(topic, err.text);
        uv_run(&b->loop, UV_RUN_ONCE);
    }
}

/* Of a patient who has a card already. */
static void send_value_of(bench *b, uint32_t event)
{
    char key[64], id[32], value[1024];
    uint32_t cards = b->before + event / b->every + 1, patient = event * 2654435761u % cards;
    bool wanted = event % 3 == 0;
    patient_id(patient, id);
    snprintf(key, sizeof key, "Observation/value-%u", event);
    int size = snprintf(
        value, sizeof value,
        "{\"resourceType\":\"Observation\",\"id\":\"value-%u\",\"meta\":{\"versionId\":\"1\","
        "\"lastUpdated\":\"2026-02-28T10:00:00Z\"},\"status\":\"final\",\"code\":{\"coding\":[{"
        "\"system\":\"http://loinc.org\",\"code\":\"%s\"}]},\"subject\":{\"reference\":\"Patient/"
        "%s\"},\"effectiveDateTime\":\"2026-02-%02uT09:00:00+01:00\",\"valueQuantity\":{"
        "\"value\":%u,\"unit\":\"%s\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"%s\"}}",
        event, wanted ? "718-7" : "8867-4", id, 1 + event % 15, wanted ? 12 : 72,
        wanted ? "g/dL" : "/min", wanted ? "g/dL" : "/min");
    send_value(b, "fhir.observation", og_str_of(key), (og_str){value, (size_t)size});
}

static void send_dose(bench *b, uint32_t n)
{
    char key[64], id[32], value[1024];
    patient_id(n, id);
    snprintf(key, sizeof key, "MedicationAdministration/dose-%u", n);
    int size = snprintf(
        value, sizeof value,
        "{\"resourceType\":\"MedicationAdministration\",\"id\":\"dose-%u\",\"meta\":{\"versionId\":"
        "\"1\","
        "\"lastUpdated\":\"2026-02-28T10:00:00Z\"},\"status\":\"completed\","
        "\"medicationCodeableConcept\":{\"coding\":"
        "[{\"system\":\"http://www.whocc.no/"
        "atc\",\"code\":\"M05BX04\",\"display\":\"denosumab\"}],\"text\":\"Denosumab 120 mg\"},"
        "\"subject\":{\"reference\":\"Patient/"
        "%s\"},\"effectiveDateTime\":\"2026-02-%02uT09:00:00+01:00\",\"dosage\":{\"dose\":"
        "{\"value\":120,\"unit\":\"mg\",\"system\":\"http://"
        "unitsofmeasure.org\",\"code\":\"mg\"}}}",
        n, id, 1 + n % 15);
    send_value(b, "fhir.medicationadministration", og_str_of(key), (og_str){value, (size_t)size});
}

/* Who comes before the events: so many under way at a time. */
static void load(bench *b)
{
    while (b->loaded < b->before && b->loaded - b->came < MOST_UNDER_WAY)
        send_dose(b, b->loaded++);
    if (b->came >= b->before)
        b->phase = LOADED;
}

static void send_event(bench *b, uint32_t event)
{
    if (event % b->every == 0) {
        uint32_t n = event / b->every;
        b->sent_ns[n] = uv_hrtime();
        send_dose(b, b->before + n);
    } else
        send_value_of(b, event);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Seconds that all threads of the daemon have computed. */
static double daemon_cpu(const bench *b)
{
    clockid_t id;
    struct timespec t = {0};
    if (clock_getcpuclockid(b->daemon.pid, &id) != 0 || clock_gettime(id, &t) != 0)
        die("the daemon's processor time", "cannot be read");
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void print_cost(const bench *b, double cpu)
{
    printf(
        "the daemon computed %.0f us for each card, %.0f us for each event: %.0f events a second "
        "are all that one core can do\n",
        cpu * 1e6 / b->arrived, cpu * 1e6 / b->sent, b->sent / cpu);
}

static void print_latencies(bench *b)
{
    uint32_t n = 0;
    for (uint32_t i = WARM_UP; i < b->cards; i++)
        if (b->took_ns[i] != 0)
            b->took_ns[n++] = b->took_ns[i];
    if (n == 0)
        die("events", "no card arrived");
    qsort(b->took_ns, n, sizeof *b->took_ns, compare_u64);
    printf("event to card at %d events/s: %u events, %u cards; p50 %.2f ms, p90 %.2f ms, p99 %.2f "
           "ms, max %.2f ms\n",
           b->rate, b->sent, b->arrived, (double)b->took_ns[n / 2] / 1e6,
           (double)b->took_ns[n * 9 / 10] / 1e6, (double)b->took_ns[(uint64_t)n * 99 / 100] / 1e6,
           (double)b->took_ns[n - 1] / 1e6);
    fflush(stdout);
}

/* --- the corpus, no faster than the daemon takes it: the embedded broker keeps 5 MB per partition
 * --- */

static bool send_line(bench *b)
{
    static char line[1 << 22];
    if (b->file == NULL || gzgets(b->file, line, sizeof line) == NULL)
        return false;
    og_str value = {line, strlen(line)};
    while (value.n != 0 && value.p[value.n - 1] == '\n')
        value.n--;
    char key[32];
    snprintf(key, sizeof key, "line-%" PRIu64, b->corpus_sent);
    send_value(b, "fhir.bundle", og_str_of(key), value);
    b->corpus_sent++;
    b->corpus_bytes += value.n;
    b->in_flight_bytes += value.n;
    return true;
}

static long resident_kb(int pid, const char *what)
{
    char path[64], line[256];
    long kb = -1;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return -1;
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, what, strlen(what)) == 0)
            kb = strtol(line + strlen(what), NULL, 10);
    fclose(f);
    return kb;
}

static void print_memory(const bench *b)
{
    printf("%.1f MB, of it anonymous %.1f MB (peak of both %.1f MB)\n",
           (double)resident_kb(b->daemon.pid, "VmRSS:") / 1024,
           (double)resident_kb(b->daemon.pid, "RssAnon:") / 1024,
           (double)resident_kb(b->daemon.pid, "VmHWM:") / 1024);
}

static void finish(bench *b)
{
    printf("resident memory after %" PRIu64 " corpus resources (%.1f MB): ", b->corpus_sent,
           (double)b->corpus_bytes / 1e6);
    print_memory(b);
    b->phase = DONE;
    uv_process_kill(&b->daemon, SIGTERM);
}

static void step_corpus(bench *b)
{
    bool caught_up = b->messages >= (double)(b->messages_before + b->corpus_sent) && b->lag == 0 &&
                     b->pending == 0;
    if (!caught_up && b->corpus_sent != 0)
        return;
    b->in_flight_bytes = 0;
    while (b->in_flight_bytes < 2000000)
        if (!send_line(b)) {
            if (b->in_flight_bytes == 0)
                finish(b);
            return;
        }
}

/* What was free has gone back to the system by now. */
static void on_rested(uv_timer_t *timer)
{
    bench *b = timer->data;
    printf("and at rest: ");
    print_memory(b);
    b->phase = CORPUS;
}

static void on_pace(uv_timer_t *timer)
{
    bench *b = timer->data;
    if (b->phase != EVENTS)
        return;
    uint64_t due = (uv_hrtime() - b->began_ns) * (uint64_t)b->rate / 1000000000u + 1;
    while (b->sent < b->total && b->sent < due)
        send_event(b, b->sent++);
    bool over = b->sent == b->total && uv_hrtime() - b->sent_ns[b->cards - 1] > 5000000000u;
    if ((b->arrived == b->cards && b->sent == b->total) || over) {
        double cpu = daemon_cpu(b) - b->began_cpu;
        print_latencies(b);
        print_cost(b, cpu);
        printf("resident memory with %u patients: ", b->before + b->cards);
        print_memory(b);
        b->messages_before = b->before + b->total;
        b->phase = RESTING;
        uv_timer_start(timer, on_rested, REST_MS, 0);
    }
}

/* --- the daemon: its metrics say when it is ready and how far it is --- */

static double metric(og_str text, const char *name)
{
    const char *at = memmem(text.p, text.n, name, strlen(name));
    while (at != NULL) {
        bool start = at == text.p || at[-1] == '\n';
        const char *behind = at + strlen(name);
        if (start && *behind == ' ')
            return strtod(behind + 1, NULL);
        at = memmem(behind, text.n - (size_t)(behind - text.p), name, strlen(name));
    }
    return -1;
}

static turns read_turns(og_str text)
{
    static const char name[] = "\nosteoguard_loop_turn_seconds_bucket{le=\"";
    turns t = {.n = 0};
    const char *end = text.p + text.n, *at = memmem(text.p, text.n, name, sizeof name - 1);
    while (at != NULL && t.n < TURN_BUCKETS) {
        char *behind;
        at += sizeof name - 1;
        t.seconds[t.n] = strtod(at, &behind); /* the last one is +Inf */
        t.count[t.n++] = strtod(behind + sizeof "\"}" - 1, NULL);
        at = memmem(behind, (size_t)(end - behind), name, sizeof name - 1);
    }
    return t;
}

/* The bounds that half, 99 and 99.9 of a hundred turns stay below. */
static void print_turns(const turns *before, const turns *now)
{
    static const double shares[] = {0.5, 0.99, 0.999};
    if (now->n == 0 || now->n != before->n)
        return;
    double all = now->count[now->n - 1] - before->count[now->n - 1];
    printf("turns of the daemon's loop: %.0f;", all);
    for (size_t s = 0; s < 3; s++) {
        size_t i = 0;
        while (i + 1 < now->n && now->count[i] - before->count[i] < shares[s] * all)
            i++;
        printf(" p%g up to %g ms%s", shares[s] * 100, now->seconds[i] * 1000, s < 2 ? "," : "\n");
    }
    fflush(stdout);
}

static void on_metrics(void *ctx, const http_response *r)
{
    bench *b = ctx;
    b->asking = false;
    if (r->failure != HTTP_FAILURE_NONE || r->status != 200)
        return;
    b->messages = metric(r->body, "osteoguard_messages_total");
    b->lag = metric(r->body, "osteoguard_records_lag") + metric(r->body, "osteoguard_source_lag");
    b->pending = metric(r->body, "osteoguard_outbox_pending");
    if (b->phase == STARTING && metric(r->body, "osteoguard_ready") == 1) {
        b->phase = LOADING;
        load(b);
    }
    if (b->phase == LOADED && b->lag == 0 && b->pending == 0) {
        b->phase = EVENTS;
        b->began_ns = uv_hrtime();
        b->began_cpu = daemon_cpu(b);
        b->turns_before = read_turns(r->body);
    } else if (b->phase == CORPUS) {
        turns now = read_turns(r->body);
        if (!b->turns_told)
            print_turns(&b->turns_before, &now);
        b->turns_told = true;
        step_corpus(b);
    }
}

static void on_poll(uv_timer_t *timer)
{
    bench *b = timer->data;
    if (b->metrics_url[0] == '\0') {
        FILE *f = fopen(b->port_file, "r");
        int port = 0;
        if (f == NULL)
            return;
        if (fscanf(f, "%d", &port) == 1 && port > 0)
            snprintf(b->metrics_url, sizeof b->metrics_url, "http://127.0.0.1:%d/metrics", port);
        fclose(f);
        return;
    }
    if (b->asking || b->phase == LOADING || b->phase == EVENTS || b->phase == RESTING)
        return; /* no questions while the clock runs */
    http_request request = {.url = b->metrics_url, .timeout_ms = 2000};
    if (http_client_send(b->client, &request, on_metrics, b, NULL, NULL) == OG_OK)
        b->asking = true;
}

static void on_exit_daemon(uv_process_t *process, int64_t status, int signal_number)
{
    bench *b = process->data;
    b->daemon_gone = true;
    if (b->phase != DONE)
        fprintf(stderr, "bench_flow: the daemon ended (status %" PRId64 ", signal %d)\n", status,
                signal_number);
    uv_stop(&b->loop);
}

static void start_daemon(bench *b)
{
    const char *quiet = getenv("OSTEOGUARD_LIMITS_EVALUATION_QUIET_MS");
    char env[11][512];
    snprintf(env[0], sizeof env[0], "OSTEOGUARD_KAFKA_BOOTSTRAP=%s", b->bootstrap);
    snprintf(env[1], sizeof env[1], "OSTEOGUARD_EHR_URL=%s", b->url);
    snprintf(env[2], sizeof env[2], "OSTEOGUARD_STORE_DIR=%s", b->store);
    snprintf(env[3], sizeof env[3], "OSTEOGUARD_CONTENT_DIR=%s", b->content);
    snprintf(env[4], sizeof env[4], "OSTEOGUARD_HTTP_LISTEN=127.0.0.1:0");
    snprintf(env[5], sizeof env[5], "OSTEOGUARD_HTTP_PORT_FILE=%s", b->port_file);
    snprintf(env[6], sizeof env[6], "OSTEOGUARD_LOG_LEVEL=warn");
    snprintf(env[7], sizeof env[7], "OSTEOGUARD_CLOCK_START=2026-03-01T09:00:00+01:00");
    /* The embedded broker answers a fetch only when this time is over; a real one answers at once.
     */
    snprintf(
        env[8], sizeof env[8],
        "OSTEOGUARD_KAFKA_CONSUMER_PROPERTIES={fetch.wait.max.ms: 2, fetch.error.backoff.ms: 2}");
    /* What the way itself takes: nobody waits for more events, unless the caller wants it. */
    snprintf(env[9], sizeof env[9], "OSTEOGUARD_LIMITS_EVALUATION_QUIET_MS=%s",
             quiet != NULL ? quiet : "0");
    /* This EHR takes whatever comes. */
    snprintf(env[10], sizeof env[10], "OSTEOGUARD_EHR_MAX_IN_FLIGHT=32");
    char *environment[] = {env[0], env[1], env[2], env[3], env[4],  env[5],
                           env[6], env[7], env[8], env[9], env[10], NULL};
    char *arguments[] = {(char *)b->osteoguard, "serve", "-c", (char *)b->config, NULL};
    uv_stdio_container_t io[3] = {{.flags = UV_IGNORE},
                                  {.flags = UV_INHERIT_FD, .data.fd = 2},
                                  {.flags = UV_INHERIT_FD, .data.fd = 2}};
    uv_process_options_t options = {.file = b->osteoguard,
                                    .args = arguments,
                                    .env = environment,
                                    .exit_cb = on_exit_daemon,
                                    .stdio = io,
                                    .stdio_count = 3};
    b->daemon.data = b;
    int rc = uv_spawn(&b->loop, &b->daemon, &options);
    if (rc != 0)
        die(b->osteoguard, uv_strerror(rc));
}

int main(int argc, char **argv)
{
    static bench b;
    if (argc < 4) {
        fprintf(stderr, "usage: bench_flow OSTEOGUARD CONFIG CONTENT [EVENTS_PER_SECOND [SECONDS "
                        "[CORPUS.ndjson.gz]]]\n");
        return 2;
    }
    b.osteoguard = argv[1];
    b.config = argv[2];
    b.content = argv[3];
    b.rate = argc > 4 ? atoi(argv[4]) : 500;
    b.total = (uint32_t)((argc > 5 ? atoi(argv[5]) : 20) * b.rate);
    const char *every = getenv("OSTEOGUARD_BENCH_CARD_EVERY");
    b.every = every != NULL && atoi(every) > 0 ? (uint32_t)atoi(every) : 1;
    const char *before = getenv("OSTEOGUARD_BENCH_BEFORE");
    b.before = before != NULL && atoi(before) > 0 ? (uint32_t)atoi(before) : 0;
    b.cards = (b.total + b.every - 1) / b.every;
    b.file = argc > 6 ? gzopen(argv[6], "rb") : NULL;
    if (b.rate <= 0 || b.cards <= WARM_UP)
        die("arguments", "rate and seconds must give more than 200 cards");
    b.sent_ns = calloc(b.cards, sizeof *b.sent_ns);
    b.took_ns = calloc(b.cards, sizeof *b.took_ns);
    b.has_card = calloc(b.before + 1, sizeof *b.has_card);
    snprintf(b.store, sizeof b.store, "/tmp/bench_flow.XXXXXX");
    if (b.sent_ns == NULL || b.took_ns == NULL || b.has_card == NULL || mkdtemp(b.store) == NULL)
        die("start", strerror(errno));
    snprintf(b.port_file, sizeof b.port_file, "%s/port", b.store);

    uv_loop_init(&b.loop);
    make_broker(&b);
    og_error err;
    og_error_init(&err);
    http_route route = {.method = "POST", .path = "/cards", .fn = on_cards, .ctx = &b};
    http_server_options server = {.routes = &route, .route_count = 1};
    kafka_property bootstrap = {"bootstrap.servers", b.bootstrap};
    kafka_sink_options sink = {.properties = &bootstrap, .property_count = 1, .linger_ms = -1};
    http_client_options client = {0};
    if (http_server_new(&b.loop, &server, &b.ehr, &err) != OG_OK ||
        kafka_sink_new(&b.loop, &sink, &b.sink, &err) != OG_OK ||
        kafka_sink_know(b.sink, "fhir.medicationadministration", &err) != OG_OK ||
        kafka_sink_know(b.sink, "fhir.observation", &err) != OG_OK ||
        http_client_new(&b.loop, &client, &b.client, &err) != OG_OK)
        die("start", err.text);
    snprintf(b.url, sizeof b.url, "http://127.0.0.1:%d/cards", http_server_port(b.ehr));
    start_daemon(&b);

    uv_timer_init(&b.loop, &b.poll);
    uv_timer_init(&b.loop, &b.pace);
    b.poll.data = b.pace.data = &b;
    uv_timer_start(&b.poll, on_poll, POLL_MS, POLL_MS);
    uv_timer_start(&b.pace, on_pace, 1, 1);
    uv_run(&b.loop, UV_RUN_DEFAULT);

    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", b.store);
    if (system(command) != 0)
        fprintf(stderr, "bench_flow: cannot remove %s\n", b.store);
    return b.phase == DONE ? 0 : 1;
}
