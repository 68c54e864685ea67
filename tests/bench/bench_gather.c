/* bench_gather: what a resource costs that no rule cares about.
 *
 *   bench_gather CONTENT CORPUS.ndjson[.gz] [ROUNDS]
 *
 * Puts the corpus' resources that the content does not want on an embedded broker, then consumes
 * them three times: with librdkafka alone, with librdkafka and jansson (the bare loop that
 * everybody writes first), and with our source and gather. Prints wall time and the consuming
 * thread's processor time per resource; the best of ROUNDS (default 3). Nothing here is asserted.
 */
#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "connectors/kafka.h"
#include "daemon/cmd.h"
#include "daemon/content_dir.h"
#include "daemon/file.h"
#include "daemon/gather.h"

enum { PARTITIONS = 8, PER_PARTITION = 4500000 }; /* the embedded broker keeps 5 MB per partition */

static const char topic[] = "fhir.bundle";

typedef struct timing {
    double wall_us, cpu_us; /* per resource */
} timing;

typedef struct work {
    char bootstrap[300];
    uint64_t count, bytes;
    plan_content *content;
    idset *recorded;
} work;

typedef struct flow { /* our source and gather */
    uv_loop_t loop;
    kafka_source *source;
    gather *gather;
    uint64_t seen, done, sent;
    uint64_t count;
    double wall, cpu;
} flow;

static double seconds(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_gather: %s: %s\n", what, why);
    exit(1);
}

/* --- the broker and what lies on it --- */

static rd_kafka_t *handle(rd_kafka_type_t type, const char *bootstrap, const char *more,
                          const char *value)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (bootstrap != NULL)
        rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, NULL, 0);
    if (more != NULL)
        rd_kafka_conf_set(conf, more, value, NULL, 0);
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof text);
    if (rk == NULL)
        die("librdkafka", text);
    return rk;
}

static bool unwanted(const plan_content *c, og_arena *a, og_str line)
{
    fhir_doc doc;
    fhir_resource r;
    og_arena_reset(a);
    return fhir_decode(a, line, NULL, &doc, NULL) == OG_OK &&
           fhir_resource_of(fhir_root(&doc), &r, NULL) == OG_OK && !og_str_is(r.type, "Bundle") &&
           !plan_content_wants(c, &r);
}

static void fill(work *w, const char *path)
{
    static char line[1 << 22];
    size_t held[PARTITIONS] = {0};
    og_arena *a = og_arena_new((size_t)256 << 20);
    gzFile f = gzopen(path, "rb");
    rd_kafka_t *producer = handle(RD_KAFKA_PRODUCER, w->bootstrap, "linger.ms", "20");
    if (a == NULL || f == NULL)
        die(path, "cannot be read");
    while (gzgets(f, line, sizeof line) != NULL) {
        og_str text = {line, strcspn(line, "\n")};
        int p = (int)(w->count % PARTITIONS);
        if (held[p] + text.n > PER_PARTITION)
            break;
        if (!unwanted(w->content, a, text))
            continue;
        while (rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(p),
                                 RD_KAFKA_V_VALUE(line, text.n),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                 RD_KAFKA_V_END) != RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_poll(producer, 10);
        rd_kafka_poll(producer, 0);
        held[p] += text.n;
        w->bytes += text.n;
        w->count++;
    }
    if (rd_kafka_flush(producer, 60000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("filling the broker", "time is over");
    rd_kafka_destroy(producer);
    gzclose(f);
    og_arena_free(a);
}

/* --- the bare loop --- */

static timing bare(const work *w, bool parse)
{
    rd_kafka_t *rk = handle(RD_KAFKA_CONSUMER, w->bootstrap, "group.id", "bench-bare");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(PARTITIONS);
    double wall = 0, cpu = 0;
    uint64_t n = 0;
    for (int p = 0; p < PARTITIONS; p++)
        rd_kafka_topic_partition_list_add(list, topic, p)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_assign(rk, list);
    while (n < w->count) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 1000);
        if (m == NULL || m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (m != NULL)
                rd_kafka_message_destroy(m);
            continue;
        }
        if (n++ == 0) { /* joining and the first fetch are the same for all */
            wall = seconds(CLOCK_MONOTONIC);
            cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
        }
        if (parse) {
            json_t *j = json_loadb(m->payload, m->len, 0, NULL);
            if (j == NULL)
                die("jansson", "cannot read what we could");
            json_decref(j);
        }
        rd_kafka_message_destroy(m);
    }
    timing t = {(seconds(CLOCK_MONOTONIC) - wall) * 1e6 / (double)n,
                (seconds(CLOCK_THREAD_CPUTIME_ID) - cpu) * 1e6 / (double)n};
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return t;
}

/* --- ours --- */

static void on_message(void *ctx, const conn_message *m)
{
    flow *f = ctx;
    if (f->seen++ == 0) {
        f->wall = seconds(CLOCK_MONOTONIC);
        f->cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
    }
    gather_message(f->gather, m);
}

static void on_done(void *ctx, const char *t, int32_t partition, int64_t offset)
{
    flow *f = ctx;
    (void)t;
    (void)partition;
    (void)offset;
    if (++f->done == f->count) {
        f->wall = seconds(CLOCK_MONOTONIC) - f->wall;
        f->cpu = seconds(CLOCK_THREAD_CPUTIME_ID) - f->cpu;
        kafka_source_close(f->source, 0, NULL, NULL);
    }
}

static conn_verdict on_send(void *ctx, const kafka_record *record, kafka_report_fn *report,
                            void *report_ctx, og_error *err)
{
    flow *f = ctx;
    (void)record;
    (void)report;
    (void)report_ctx;
    f->sent++;
    (void)og_fail(err, OG_INTERNAL, "a resource that was not wanted is sent");
    return CONN_NEVER;
}

static void on_pause(void *ctx, bool pause)
{
    (void)ctx;
    (void)pause;
}

static void on_reread(void *ctx)
{
    (void)ctx;
    die("gather", "wants to read again");
}

static timing ours(const work *w)
{
    flow f = {.count = w->count};
    og_error err;
    og_error_init(&err);
    uv_loop_init(&f.loop);
    gather_options g = {.tenant = "bench",
                        .records_topic = "osteoguard.records",
                        .shared_topic = "osteoguard.shared",
                        .dead_letters_topic = "osteoguard.dead-letters",
                        .partitions = 8,
                        .max_message_bytes = (size_t)64 << 20,
                        .max_record_bytes = (size_t)8 << 20,
                        .dead_letter_bytes = 900000,
                        .arena_bytes = (size_t)256 << 20,
                        .max_depth = 128,
                        .max_in_flight = 20000,
                        .ctx = &f,
                        .send = on_send,
                        .done = on_done,
                        .pause = on_pause,
                        .reread = on_reread};
    f.gather = gather_new(&g, w->content, w->recorded);
    kafka_property bootstrap = {"bootstrap.servers", w->bootstrap};
    kafka_source_options s = {.mode = KAFKA_SOURCE_READER,
                              .group = "bench-ours",
                              .properties = &bootstrap,
                              .property_count = 1,
                              .ctx = &f,
                              .on_message = on_message};
    kafka_partition from[PARTITIONS];
    for (int p = 0; p < PARTITIONS; p++)
        from[p] = (kafka_partition){topic, p, KAFKA_OFFSET_BEGINNING};
    if (f.gather == NULL || kafka_source_new(&f.loop, &s, &f.source, &err) != OG_OK ||
        kafka_source_assign(f.source, from, PARTITIONS, &err) != OG_OK)
        die("our source", err.text);
    uv_run(&f.loop, UV_RUN_DEFAULT);
    gather_free(f.gather);
    uv_loop_close(&f.loop);
    return (timing){f.wall * 1e6 / (double)f.count, f.cpu * 1e6 / (double)f.count};
}

static void better(timing *best, timing t)
{
    if (best->wall_us == 0 || t.wall_us < best->wall_us)
        best->wall_us = t.wall_us;
    if (best->cpu_us == 0 || t.cpu_us < best->cpu_us)
        best->cpu_us = t.cpu_us;
}

int main(int argc, char **argv)
{
    work w = {0};
    og_report report = {.fn = cmd_print_problem};
    plan_options options = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: bench_gather CONTENT CORPUS.ndjson[.gz] [ROUNDS]\n");
        return 2;
    }
    if (content_dir_load(argv[1], &options, &w.content, &report) != OG_OK)
        return 1;
    rd_kafka_t *owner = handle(RD_KAFKA_PRODUCER, NULL, NULL, NULL);
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(owner, 1);
    snprintf(w.bootstrap, sizeof w.bootstrap, "%s", rd_kafka_mock_cluster_bootstraps(cluster));
    rd_kafka_mock_topic_create(cluster, topic, PARTITIONS, 1);
    fill(&w, argv[2]);

    char dir[] = "/tmp/bench_gather.XXXXXX";
    og_error err;
    og_error_init(&err);
    if (mkdtemp(dir) == NULL || idset_open(dir, "bench", &w.recorded, &err) != OG_OK)
        die("the index of recorded ids", err.text);

    timing transport = {0}, jansson = {0}, gathered = {0};
    for (int rounds = argc > 3 ? atoi(argv[3]) : 3; rounds > 0; rounds--) {
        better(&transport, bare(&w, false));
        better(&jansson, bare(&w, true));
        better(&gathered, ours(&w));
    }
    printf("%llu irrelevant resources, mean %.0f bytes; per resource, wall / consuming thread:\n",
           (unsigned long long)w.count, (double)w.bytes / (double)w.count);
    printf("  librdkafka alone          %7.2f us / %6.2f us\n", transport.wall_us,
           transport.cpu_us);
    printf("  librdkafka and jansson    %7.2f us / %6.2f us\n", jansson.wall_us, jansson.cpu_us);
    printf("  source and gather         %7.2f us / %6.2f us   %.1f times as fast, %.1f by "
           "processor time\n",
           gathered.wall_us, gathered.cpu_us, jansson.wall_us / gathered.wall_us,
           jansson.cpu_us / gathered.cpu_us);
    idset_close(w.recorded);
    if (file_remove_tree(dir, NULL) != OG_OK)
        fprintf(stderr, "bench_gather: cannot remove %s\n", dir);
    plan_content_free(w.content);
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(owner);
    return 0;
}
