/* bench_hooks: calls of the CDS services, over HTTP, through the daemon.
 *
 *   bench_hooks CONTENT [CALLS_PER_SECOND [SECONDS [MINUTES]]]
 *
 * The daemon runs in this process on an embedded broker with the patients of the clinical cases V2
 * and V5; a second thread is the EHR. Measured: patient-view answered from state at a steady rate,
 * order-sign with a draft at a quarter of that, and patient-view with prefetch data as fast as 16
 * connections go: the same data again and again, as a chart that is opened again brings them, with
 * a creatinine that is another one in every call, and for another patient in every call, of whom
 * nothing is known. Prints p50, p99 and the worst; the processor time that the service took for
 * each call, which is that of the process without that of the EHR's thread, and how many calls a
 * second that makes of one core; and the resident memory before and after. With MINUTES the calls
 * come mixed, at the steady rate, for so long, and the resident memory is printed as it goes.
 * Nothing here is asserted. */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "connectors/http_client.h"
#include "daemon/file.h"
#include "daemon/log.h"
#include "daemon/metrics.h"
#include "daemon/serve.h"
#include "fhir/decode.h"

#define UUID   "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
#define NOW_MS 1772352000000 /* 2026-03-01T09:00:00+01:00 */

enum { MAX_CALLS = 1000000, CONNECTIONS = 16 };

typedef struct bench {
    uv_loop_t loop; /* of the daemon */
    uv_timer_t poll;
    const char *content;
    char dir[64], bootstrap[300];
    rd_kafka_t *kafka;
    serve *serve;
    config *config;
    int rate, seconds, minutes, port;
    uv_thread_t ehr;
    bool ehr_runs;
    atomic_bool done;
} bench;

typedef struct load { /* one kind of call, from the EHR's thread */
    const char *name, *path, *body;
    size_t size;
    const char *varies; /* the digits behind this text are other ones in every call; NULL: none */
    uv_loop_t *loop;
    http_client *client;
    int port, rate; /* rate 0: as fast as it goes */
    uint64_t began_ns, until_ns;
    double service_s; /* processor time, of everything but the EHR's thread */
    uint64_t *sent_ns, *took_ns;
    uint32_t sent, answered, refused, total, seconds;
} load;

typedef struct call {
    load *load;
    uint32_t number;
} call;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_hooks: %s: %s\n", what, why);
    exit(1);
}

/* ---- the EHR ---- */

static void send_call(load *l);

/* Everywhere where l->varies stands, with as many digits as there are. */
static void number_places(const load *l)
{
    char digits[16], *at = (char *)(uintptr_t)l->body;
    while ((at = strstr(at, l->varies)) != NULL) {
        at += strlen(l->varies);
        int n = (int)strspn(at, "0123456789");
        snprintf(digits, sizeof digits, "%0*u", n, l->sent);
        memcpy(at, digits + strlen(digits) - (size_t)n, (size_t)n);
    }
}

static void on_answer(void *ctx, const http_response *r)
{
    call c = *(call *)ctx;
    load *l = c.load;
    free(ctx);
    l->took_ns[l->answered++] = uv_hrtime() - l->sent_ns[c.number];
    l->refused += r->status != 200;
    if (l->rate == 0 && uv_hrtime() < l->until_ns && l->sent < MAX_CALLS)
        send_call(l);
}

static void send_call(load *l)
{
    char url[128];
    og_error err;
    conn_header type = {"Content-Type", OG_STR("application/json")};
    call *c = malloc(sizeof *c);
    if (c == NULL)
        die("memory", "out");
    *c = (call){l, l->sent};
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", l->port, l->path);
    http_request q = {.url = url, .headers = &type, .header_count = 1, .body = {l->body, l->size}};
    og_error_init(&err);
    if (l->varies != NULL)
        number_places(l); /* the client copies the body */
    l->sent_ns[l->sent++] = uv_hrtime();
    if (http_client_send(l->client, &q, on_answer, c, NULL, &err) != OG_OK)
        die("call", err.text);
}

static void on_pace(uv_timer_t *t)
{
    load *l = t->data;
    uint64_t due = (uv_hrtime() - l->began_ns) * (uint64_t)l->rate / 1000000000u + 1;
    while (l->sent < l->total && l->sent < due)
        send_call(l);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double cpu_s(int who)
{
    struct rusage r;
    if (getrusage(who, &r) != 0)
        die("getrusage", "not known");
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

/* Called on the EHR's thread. */
static double service_s(void)
{
    return cpu_s(RUSAGE_SELF) - cpu_s(RUSAGE_THREAD);
}

static void print_load(load *l)
{
    double seconds = (double)(uv_hrtime() - l->began_ns) / 1e9;
    qsort(l->took_ns, l->answered, sizeof *l->took_ns, by_size);
    double each_s = l->service_s / l->answered;
    printf("%-34s %6zu bytes, %7u calls, %8.0f/s, p50 %6.2f ms, p99 %6.2f ms, max %6.2f ms, "
           "service %6.1f us each, %6.0f/s of one core%s\n",
           l->name, l->size, l->answered, l->answered / seconds,
           (double)l->took_ns[l->answered / 2] / 1e6,
           (double)l->took_ns[(uint64_t)l->answered * 99 / 100] / 1e6,
           (double)l->took_ns[l->answered - 1] / 1e6, each_s * 1e6, 1 / each_s,
           l->refused > 0 ? "  SOME REFUSED" : "");
    fflush(stdout);
}

static void run_load(bench *b, load *l)
{
    uv_loop_t loop;
    uv_timer_t pace;
    og_error err;
    http_client_options options = {.max_connections = CONNECTIONS, .max_per_host = CONNECTIONS};
    og_error_init(&err);
    uv_loop_init(&loop);
    l->loop = &loop;
    l->port = b->port;
    l->total = l->rate > 0 ? (uint32_t)l->rate * l->seconds : MAX_CALLS;
    l->sent_ns = calloc(l->total + CONNECTIONS, sizeof *l->sent_ns);
    l->took_ns = calloc(l->total + CONNECTIONS, sizeof *l->took_ns);
    if (l->sent_ns == NULL || l->took_ns == NULL ||
        http_client_new(&loop, &options, &l->client, &err) != OG_OK)
        die("EHR", err.text);
    double before_s = service_s();
    l->began_ns = uv_hrtime();
    l->until_ns = l->began_ns + (uint64_t)l->seconds * 1000000000u;
    uv_timer_init(&loop, &pace);
    pace.data = l;
    if (l->rate > 0)
        uv_timer_start(&pace, on_pace, 0, 1);
    for (int i = 0; l->rate == 0 && i < CONNECTIONS; i++)
        send_call(l);
    while (l->rate > 0 ? l->answered < l->total
                       : uv_hrtime() < l->until_ns || l->answered < l->sent)
        uv_run(&loop, UV_RUN_ONCE);
    l->service_s = service_s() - before_s;
    if (b->minutes == 0 || l->refused > 0)
        print_load(l);
    uv_close((uv_handle_t *)&pace, NULL);
    http_client_close(l->client, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    free(l->sent_ns);
    free(l->took_ns);
}

static double resident_mb(void)
{
    long pages = 0, all = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f != NULL) {
        if (fscanf(f, "%ld %ld", &all, &pages) != 2)
            pages = 0;
        fclose(f);
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

/* What a chart has besides: laboratory values of the last visits, other diagnoses, other drugs. */
static void add_chart(og_buf *out, const char *patient)
{
    static const struct {
        const char *name, *loinc, *unit, *day;
        double value;
    } values[] = {{"Creatinine", "2160-0", "mg/dL", "2025-12-09", 0.88},
                  {"Creatinine", "2160-0", "mg/dL", "2026-01-13", 0.92},
                  {"Calcium", "17861-6", "mg/dL", "2026-01-13", 9.2},
                  {"Haemoglobin", "718-7", "g/dL", "2026-01-13", 11.8}};
    static const struct {
        const char *code, *name, *day;
    } diagnoses[] = {{"I10.90", "Hypertension", "2014-05-20"},
                     {"E11.90", "Type 2 diabetes mellitus", "2019-11-04"}};
    static const struct {
        const char *code, *name;
    } drugs[] = {{"C09AA05", "Ramipril"}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        og_buf_addf(out,
                    ",{\"resource\":{\"resourceType\":\"Observation\",\"id\":\"chart-value-%zu\","
                    "\"status\":\"final\",\"code\":{\"coding\":[{\"system\":\"http://loinc.org\","
                    "\"code\":\"%s\"}],\"text\":\"%s\"},\"subject\":{\"reference\":\"Patient/%s\"},"
                    "\"effectiveDateTime\":\"%sT08:10:00+01:00\",\"valueQuantity\":{\"value\":%.5f,"
                    "\"unit\":\"%s\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"%s\"}}}",
                    i, values[i].loinc, values[i].name, patient, values[i].day, values[i].value,
                    values[i].unit, values[i].unit);
    for (size_t i = 0; i < sizeof diagnoses / sizeof *diagnoses; i++)
        og_buf_addf(out,
                    ",{\"resource\":{\"resourceType\":\"Condition\",\"id\":\"chart-diagnosis-%zu\","
                    "\"clinicalStatus\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/"
                    "CodeSystem/condition-clinical\",\"code\":\"active\"}]},\"code\":{\"coding\":[{"
                    "\"system\":\"http://fhir.de/CodeSystem/bfarm/icd-10-gm\",\"code\":\"%s\"}],"
                    "\"text\":\"%s\"},\"subject\":{\"reference\":\"Patient/%s\"},\"onsetDateTime\":"
                    "\"%s\"}}",
                    i, diagnoses[i].code, diagnoses[i].name, patient, diagnoses[i].day);
    for (size_t i = 0; i < sizeof drugs / sizeof *drugs; i++)
        og_buf_addf(
            out,
            ",{\"resource\":{\"resourceType\":\"MedicationStatement\",\"id\":\"chart-drug-%zu\""
            ",\"status\":\"active\",\"medicationCodeableConcept\":{\"coding\":[{\"system\":"
            "\"http://fhir.de/CodeSystem/bfarm/atc\",\"code\":\"%s\"}],\"text\":\"%s\"},"
            "\"subject\":{\"reference\":\"Patient/%s\"},\"effectivePeriod\":{\"start\":"
            "\"2019-11-04\"}}}",
            i, drugs[i].code, drugs[i].name, patient);
}

/* The entries of a case's Bundle as a searchset in prefetch, perhaps with the rest of a chart. */
static og_buf prefetch_body(const bench *b, const char *id, const char *patient, bool chart)
{
    char path[512];
    og_buf text, out;
    fhir_doc doc;
    og_arena *a = og_arena_new((size_t)1 << 26);
    snprintf(path, sizeof path, "%s/cases/%s.json", b->content, id);
    og_buf_init(&text, 1 << 22);
    og_buf_init(&out, 1 << 22);
    if (file_read(path, 1 << 22, &text, NULL) != OG_OK ||
        fhir_decode(a, og_buf_str(&text), NULL, &doc, NULL) != OG_OK)
        die(path, "cannot be read");
    og_buf_addf(&out,
                "{\"hook\":\"patient-view\",\"hookInstance\":\"" UUID
                "\",\"context\":{\"userId\":\"Practitioner/1\",\"patientId\":\"%s\"},"
                "\"prefetch\":{\"all\":{\"resourceType\":\"Bundle\",\"type\":\"searchset\","
                "\"entry\":",
                patient);
    /* as it travels: without the blanks that the case file has for its readers */
    bool inside = false;
    og_str entries = fhir_raw(fhir_path(fhir_root(&doc), "bundle.entry"));
    if (entries.n == 0 || entries.p[0] != '[')
        entries = fhir_raw(fhir_get(fhir_get(fhir_root(&doc), "bundle"), "entry"));
    for (size_t i = 0; i + 1 < entries.n; i++) { /* without the bracket that ends it */
        char c = entries.p[i];
        if (c == '"' && (i == 0 || entries.p[i - 1] != '\\'))
            inside = !inside;
        if (inside || (c != ' ' && c != '\n'))
            og_buf_addc(&out, c);
    }
    if (chart)
        add_chart(&out, patient);
    og_buf_addz(&out, "]}}}");
    og_arena_free(a);
    og_buf_done(&text);
    return out;
}

#define VIEW                                                                                       \
    "{\"hook\":\"patient-view\",\"hookInstance\":\"" UUID                                          \
    "\",\"context\":{\"userId\":\"Practitioner/1\",\"patientId\":\"v5\"}}"
#define SIGN                                                                                       \
    "{\"hook\":\"order-sign\",\"hookInstance\":\"" UUID                                            \
    "\",\"context\":{\"userId\":\"Practitioner/1\",\"patientId\":\"v2\",\"draftOrders\":{"         \
    "\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{\"resource\":{"               \
    "\"resourceType\":\"MedicationRequest\",\"status\":\"draft\",\"intent\":\"order\","            \
    "\"authoredOn\":\"2026-03-01\",\"medicationCodeableConcept\":{\"coding\":[{\"system\":"        \
    "\"http://www.whocc.no/atc\",\"code\":\"M05BA08\"}]},\"dosageInstruction\":[{"                 \
    "\"doseAndRate\":[{\"doseQuantity\":{\"value\":4,\"unit\":\"mg\",\"system\":"                  \
    "\"http://unitsofmeasure.org\",\"code\":\"mg\"}}]}]}}]}}}"

/* A minute: half of it asks from state, a quarter signs orders, a quarter sends data along. */
static void run_minutes(bench *b, const load *view, const load *sign, const load *sent)
{
    uint64_t calls = 0;
    for (int i = 1; i <= b->minutes; i++) {
        load mix[] = {*view, *sign, *sent};
        for (size_t k = 0; k < sizeof mix / sizeof mix[0]; k++) {
            mix[k].rate = k == 0 ? b->rate : (b->rate + 3) / 4;
            mix[k].seconds = k == 0 ? 30 : 15;
            run_load(b, &mix[k]);
            calls += mix[k].answered;
        }
        printf("minute %3d: %9llu calls, resident memory %.1f MB\n", i, (unsigned long long)calls,
               resident_mb());
        fflush(stdout);
    }
}

/* Two texts that begin the digits that vary: the newest creatinine of add_chart, and the number of
 * a patient. */
#define CREATININE "\"value\":0.92"
#define STRANGER   "stranger-"

/* The call with another patient in all places, and a zero at its end. */
static og_buf about_strangers(const og_buf *body, const char *patient)
{
    og_buf out;
    size_t n = strlen(patient);
    og_buf_init(&out, 1 << 22);
    for (size_t i = 0; i < body->n; i++) {
        bool named = i > 0 && i + n < body->n && memcmp(body->p + i, patient, n) == 0 &&
                     body->p[i + n] == '"' && (body->p[i - 1] == '"' || body->p[i - 1] == '/');
        if (named) {
            og_buf_addz(&out, STRANGER "00000000");
            i += n - 1;
        } else {
            og_buf_addc(&out, body->p[i]);
        }
    }
    og_buf_addc(&out, '\0');
    out.n--;
    return out;
}

static void ehr(void *ctx)
{
    bench *b = ctx;
    const char *const view = "/cds-services/osteoguard-patient-view";
    og_buf small = prefetch_body(b, "V2", "v2", false);
    og_buf large = prefetch_body(b, "V5", "v5", true);
    og_buf_addc(&large, '\0');
    large.n--;
    og_buf strangers = about_strangers(&large, "v5");
    load loads[] = {
        {.name = "patient-view from state", .path = view, .body = VIEW, .rate = b->rate},
        {.name = "order-sign with a draft",
         .path = "/cds-services/osteoguard-order-sign",
         .body = SIGN,
         .rate = b->rate / 4},
        {.name = "patient-view from state, flat out", .path = view, .body = VIEW},
        {.name = "patient-view, 10 resources sent", .path = view, .body = small.p, .size = small.n},
        {.name = "patient-view, 47 resources sent", .path = view, .body = large.p, .size = large.n},
        {.name = "the same, one value changes",
         .path = view,
         .body = large.p,
         .size = large.n,
         .varies = CREATININE},
        {.name = "the same, of a patient not known",
         .path = view,
         .body = strangers.p,
         .size = strangers.n,
         .varies = STRANGER},
    };
    if (large.p == NULL || strstr(large.p, CREATININE) == NULL)
        die("prefetch", "there is no value to change");
    printf("resident memory before: %.1f MB\n", resident_mb());
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        loads[i].seconds = (uint32_t)b->seconds;
        if (loads[i].size == 0)
            loads[i].size = strlen(loads[i].body);
        if (b->minutes == 0)
            run_load(b, &loads[i]);
    }
    run_minutes(b, &loads[0], &loads[1], &loads[3]);
    printf("resident memory after: %.1f MB\n", resident_mb());
    og_buf_done(&small);
    og_buf_done(&large);
    og_buf_done(&strangers);
    b->done = true;
}

/* ---- the daemon ---- */

static int64_t now_ms(void *ctx)
{
    (void)ctx;
    return NOW_MS;
}

static void put_case(bench *b, const char *id)
{
    char path[512];
    og_buf text;
    fhir_doc doc;
    og_arena *a = og_arena_new((size_t)1 << 26);
    snprintf(path, sizeof path, "%s/cases/%s.json", b->content, id);
    og_buf_init(&text, 1 << 22);
    if (file_read(path, 1 << 22, &text, NULL) != OG_OK ||
        fhir_decode(a, og_buf_str(&text), NULL, &doc, NULL) != OG_OK)
        die(path, "cannot be read");
    og_str bundle = fhir_raw(fhir_get(fhir_root(&doc), "bundle"));
    rd_kafka_producev(b->kafka, RD_KAFKA_V_TOPIC("fhir.bundle"),
                      RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                      RD_KAFKA_V_VALUE((void *)(uintptr_t)bundle.p, bundle.n), RD_KAFKA_V_END);
    rd_kafka_flush(b->kafka, 10000);
    og_arena_free(a);
    og_buf_done(&text);
}

static void make_broker(bench *b)
{
    static const struct {
        const char *name;
        int partitions;
    } topics[] = {{"fhir.bundle", 1},
                  {"osteoguard.records", 4},
                  {"osteoguard.alerts", 4},
                  {"osteoguard.shared", 1},
                  {"osteoguard.dead-letters", 1}};
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", text, sizeof text);
    rd_kafka_conf_set(conf, "log_level", "0", text, sizeof text);
    b->kafka = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (b->kafka == NULL)
        die("librdkafka", text);
    rd_kafka_mock_cluster_t *cluster = rd_kafka_handle_mock_cluster(b->kafka);
    snprintf(b->bootstrap, sizeof b->bootstrap, "%s", rd_kafka_mock_cluster_bootstraps(cluster));
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++)
        rd_kafka_mock_topic_create(cluster, topics[i].name, topics[i].partitions, 1);
}

static void on_problem(void *ctx, const og_error *err)
{
    (void)ctx;
    fprintf(stderr, "%s:%u: %s\n", err->origin, err->line, err->text);
}

static void on_stopped(void *ctx, int status)
{
    bench *b = ctx;
    if (status != 0 || !b->done)
        die("daemon", "it stopped");
    uv_close((uv_handle_t *)&b->poll, NULL);
}

static void on_poll(uv_timer_t *t)
{
    bench *b = t->data;
    if (b->done) {
        uv_timer_stop(t);
        uv_thread_join(&b->ehr);
        serve_stop(b->serve, 0);
    } else if (!b->ehr_runs && serve_ready(b->serve) && metric_value(METRIC_EVALUATIONS) >= 2) {
        b->port = serve_hooks_port(b->serve);
        b->ehr_runs = true;
        uv_thread_create(&b->ehr, ehr, b);
    }
}

static void start_daemon(bench *b)
{
    char text[2048];
    og_error err;
    og_clock clock = {.fixed = now_ms};
    og_report report = {.fn = on_problem};
    serve_options options = {.clock = &clock, .seed = 7, .on_stopped = on_stopped, .ctx = b};
    og_error_init(&err);
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, false);
    snprintf(text, sizeof text,
             "site: {tenant: t, timezone: Europe/Berlin}\n"
             "kafka: {bootstrap: \"%s\", partitions: 4, sources: [fhir.bundle]}\n"
             "store: {dir: %s/store}\n"
             "content: {dir: %s}\n"
             "http: {listen: \"\"}\n"
             "hooks: {listen: \"127.0.0.1:0\"}\n"
             "endpoints: {ehr: {url: \"http://127.0.0.1:9/\"}}\n",
             b->bootstrap, b->dir, b->content);
    if (config_parse(og_str_of(text), "bench", NULL, &b->config, &report, NULL) != OG_OK ||
        serve_new(&b->loop, b->config, &options, &b->serve, &report, &err) != OG_OK)
        die("daemon", err.text);
}

int main(int argc, char **argv)
{
    static bench b;
    if (argc < 2) {
        fputs("usage: bench_hooks CONTENT [CALLS_PER_SECOND [SECONDS [MINUTES]]]\n", stderr);
        return 2;
    }
    b.content = argv[1];
    b.rate = argc > 2 ? atoi(argv[2]) : 1000;
    b.seconds = argc > 3 ? atoi(argv[3]) : 10;
    b.minutes = argc > 4 ? atoi(argv[4]) : 0;
    snprintf(b.dir, sizeof b.dir, "/tmp/bench_hooks.XXXXXX");
    if (b.rate <= 0 || b.seconds <= 0 || b.minutes < 0 ||
        b.rate * (b.seconds > 30 ? b.seconds : 30) > MAX_CALLS || mkdtemp(b.dir) == NULL)
        die("arguments", "rate and seconds");
    uv_loop_init(&b.loop);
    make_broker(&b);
    put_case(&b, "V2");
    put_case(&b, "V5");
    start_daemon(&b);
    uv_timer_init(&b.loop, &b.poll);
    b.poll.data = &b;
    uv_timer_start(&b.poll, on_poll, 20, 20);
    uv_run(&b.loop, UV_RUN_DEFAULT);
    rd_kafka_destroy(b.kafka);
    return file_remove_tree(b.dir, NULL) == OG_OK ? 0 : 1;
}
