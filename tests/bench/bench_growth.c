/* bench_growth: does the cost of an event stay what it is while the state grows?
 *
 *   bench_growth CONTENT STREAM.ndjson DIR [PATIENTS...]      (default 1000 10000)
 *
 * For each number of patients, in a process of its own: makes them out of the patients of the
 * sample stream (other ids, scattered as a hospital's are), takes them through gather, applies
 * their records as a rebuild does, evaluates everybody, delivers, then measures 20,000 new
 * creatinine values of patients far apart, and how long the stores take to open again. Stage by
 * stage, beside a bare loop that only consumes and parses the same bytes (librdkafka and jansson)
 * and one that only writes the same records to LMDB. Without network: the stages alone. Processor
 * time is that of the one thread that does it all. DIR gets the stores; what is made there is
 * removed. Nothing here is asserted. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <lmdb.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "connectors/ndjson.h"
#include "daemon/clock.h"
#include "daemon/cmd.h"
#include "daemon/content_dir.h"
#include "daemon/file.h"
#include "daemon/gather.h"
#include "daemon/log.h"
#include "daemon/outbox.h"
#include "daemon/pipeline.h"

enum {
    PARTITIONS = 8,
    EVENTS = 20000,
    STEP = 7919,
    TURN = 500,        /* events between two batches of each partition */
    BATCH = 500,       /* records of a batch while they are only applied */
    MAX_PATTERNS = 64, /* patients of the sample stream */
    MAX_TASKS = 4096,
    SAMPLE = 100000,      /* records that the bare loops take */
    BARE_BYTES = 4500000, /* the embedded broker keeps 5 MB per partition */
    SYNC_US = 1000000
};

#define MAP_BYTES ((size_t)32 << 30)
#define NOW_MS    1772352000000 /* 2026-03-01T09:00+01:00 */

typedef struct stage {
    double wall, cpu; /* seconds */
    uint64_t count;
} stage;

typedef struct figures {
    uint64_t patients, resources, records, alerts, bytes_in, bytes;
    stage parse, write, gather, apply, evaluate, deliver, sync;
    stage event_gather, event_batch, event_deliver; /* of EVENTS, at that size */
    double disk, open_clean, open_killed;           /* bytes; seconds */
    double anon_mb, peak_mb;
} figures;

typedef struct queue { /* records that wait for a partition's batch */
    pipeline_message at[TURN + BATCH];
    size_t count;
    int64_t next_offset;
} queue;

typedef struct bench {
    const plan_content *content;
    char dir[256];
    char *patterns[MAX_PATTERNS];
    size_t pattern_count;
    og_buf text;
    locator *locator;
    gather *gather;
    store *stores[PARTITIONS], *shared;
    queue queues[PARTITIONS + 1]; /* the last one: the shared topic */
    pipeline_setup setup;
    delivery_endpoint endpoints[2];
    pipeline_batch batch;
    outbox *outbox;
    pipeline_task tasks[PARTITIONS][MAX_TASKS];
    size_t task_count[PARTITIONS];
    uint64_t offset, answered;
    int64_t synced_us;
    MDB_env *bare;
    MDB_dbi bare_dbi;
    MDB_txn *bare_txn;
    figures f;
} bench;

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_growth: %s: %s\n", what, why);
    exit(1);
}

static double seconds(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void start(stage *s)
{
    s->wall -= seconds(CLOCK_MONOTONIC);
    s->cpu -= seconds(CLOCK_THREAD_CPUTIME_ID);
}

static void stop(stage *s, uint64_t count)
{
    s->wall += seconds(CLOCK_MONOTONIC);
    s->cpu += seconds(CLOCK_THREAD_CPUTIME_ID);
    s->count += count;
}

/* ---- patients ---- */

/* The first Bundle of each patient of the stream. */
static void read_patterns(bench *b, const char *path)
{
    ndjson_reader *r;
    ndjson_item item;
    og_error err;
    og_error_init(&err);
    if (ndjson_open(path, 0, 0, 0, &r, &err) != OG_OK)
        die(path, err.text);
    while (ndjson_next(r, &item, &err) == OG_OK && b->pattern_count < MAX_PATTERNS) {
        if (item.text.n < 3000) /* a later event, not a patient's beginning */
            continue;
        b->patterns[b->pattern_count++] = strndup(item.text.p, item.text.n);
    }
    ndjson_close(r);
    if (b->pattern_count == 0)
        die(path, "no patient in it");
}

/* Scattered, and the same from run to run. */
static uint32_t name_of(uint32_t n)
{
    return n * 2654435761u;
}

/* The pattern with other ids: every "sample-" becomes the patient's own prefix. */
static og_str patient_bundle(bench *b, uint32_t n)
{
    static const char mark[] = "sample-";
    const char *at = b->patterns[n % b->pattern_count], *hit;
    og_buf_clear(&b->text);
    while ((hit = strstr(at, mark)) != NULL) {
        og_buf_add(&b->text, at, (size_t)(hit - at));
        og_buf_addf(&b->text, "g%08x-", name_of(n));
        at = hit + sizeof mark - 1;
    }
    og_buf_addz(&b->text, at);
    return og_buf_str(&b->text);
}

/* Whose number in the pattern it is: "g01234567-07". */
static void patient_id(const bench *b, uint32_t n, char out[32])
{
    const char *at = strstr(b->patterns[n % b->pattern_count], "sample-");
    int length = at != NULL ? (int)strspn(at + 7, "0123456789") : 0;
    snprintf(out, 32, "g%08x-%.*s", name_of(n), length, length > 0 ? at + 7 : "");
}

/* A value that is another one with each version. */
static og_str creatinine(bench *b, uint32_t n, uint32_t version)
{
    char id[32];
    patient_id(b, n, id);
    og_buf_clear(&b->text);
    og_buf_addf(
        &b->text,
        "{\"resourceType\":\"Observation\",\"id\":\"%s-new\",\"meta\":{\"versionId\":\"%u\","
        "\"lastUpdated\":\"2026-02-28T%02u:%02u:%02uZ\"},\"status\":\"final\",\"code\":{"
        "\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"2160-0\"}]},\"subject\":{"
        "\"reference\":\"Patient/%s\"},\"effectiveDateTime\":\"2026-02-28\","
        "\"valueQuantity\":{\"value\":%s,\"unit\":\"mg/dL\",\"system\":"
        "\"http://unitsofmeasure.org\",\"code\":\"mg/dL\"}}",
        id, version + 1, 7 + version / 3600 % 12, version / 60 % 60, version % 60, id,
        version % 2 == 0 ? "0.8" : "1.9");
    return og_buf_str(&b->text);
}

/* ---- gather's other side: records into the partitions' queues ---- */

static void flush_bare(bench *b)
{
    if (b->bare_txn != NULL && mdb_txn_commit(b->bare_txn) != 0)
        die("bare LMDB", "commit");
    b->bare_txn = NULL;
}

/* The same records, with nothing but LMDB: 500 a transaction, as a batch has. */
static void write_bare(bench *b, const kafka_record *r)
{
    MDB_val k = {r->key.n, (void *)(uintptr_t)r->key.p},
            v = {r->value.n, (void *)(uintptr_t)r->value.p};
    if (b->f.write.count >= SAMPLE || r->key.n > 511)
        return;
    start(&b->f.write);
    if (b->bare_txn == NULL && mdb_txn_begin(b->bare, NULL, 0, &b->bare_txn) != 0)
        die("bare LMDB", "begin");
    if (mdb_put(b->bare_txn, b->bare_dbi, &k, &v, 0) != 0)
        die("bare LMDB", "put");
    if ((b->f.write.count + 1) % BATCH == 0)
        flush_bare(b);
    stop(&b->f.write, 1);
}

static conn_verdict on_send(void *ctx, const kafka_record *r, kafka_report_fn *report,
                            void *report_ctx, og_error *err)
{
    bench *b = ctx;
    bool shared = strcmp(r->topic, "shared") == 0;
    queue *q = &b->queues[shared ? PARTITIONS : r->partition];
    (void)err;
    if (strcmp(r->topic, "dead") == 0)
        die("gather", "a dead letter");
    if (q->count == sizeof q->at / sizeof q->at[0])
        die("gather", "too many records in one turn");
    char *copy = malloc(r->key.n + r->value.n);
    if (copy == NULL)
        die("gather", "no memory");
    memcpy(copy, r->key.p, r->key.n);
    memcpy(copy + r->key.n, r->value.p, r->value.n);
    q->at[q->count++] = (pipeline_message){.key = {copy, r->key.n},
                                           .value = {copy + r->key.n, r->value.n},
                                           .offset = q->next_offset++,
                                           .timestamp_ms = NOW_MS};
    b->f.records += !record_is_place(r->key); /* a resource has two: what it is, and whose */
    report(report_ctx, CONN_DONE, r->partition, 0, NULL);
    return CONN_DONE;
}

static void on_done(void *ctx, const char *topic, int32_t partition, int64_t offset)
{
    (void)ctx;
    (void)topic;
    (void)partition;
    (void)offset;
}

static void on_pause(void *ctx, bool pause)
{
    (void)ctx;
    (void)pause;
}

static void on_reread(void *ctx)
{
    (void)ctx;
}

static void take_in(bench *b, og_str value, stage *s)
{
    conn_message m = {.origin = {"fhir.bundle", 0, (int64_t)b->offset++, NOW_MS}, .value = value};
    uint64_t before = b->f.records;
    start(s);
    gather_message(b->gather, &m);
    stop(s, 0);
    s->count += b->f.records - before;
    b->f.bytes_in += value.n;
}

static void forget(queue *q)
{
    for (size_t i = 0; i < q->count; i++)
        free((char *)(uintptr_t)q->at[i].key.p);
    q->count = 0;
}

/* ---- the outbox' other side: an EHR that takes everything at once ---- */

static void add_task(bench *b, const outbox_item *item, const delivery_outcome *outcome)
{
    pipeline_task *t = &b->tasks[item->partition][b->task_count[item->partition]++];
    if (b->task_count[item->partition] == MAX_TASKS)
        die("outbox", "too many at a time");
    *t = (pipeline_task){.ticket = item->ticket,
                         .endpoint = item->endpoint,
                         .patient = {strndup(item->patient.p, item->patient.n), item->patient.n},
                         .settle = outcome != NULL};
    memcpy(t->alert_id, item->alert_id, sizeof t->alert_id);
    if (outcome != NULL)
        t->outcome = *outcome;
}

static void on_prepare(void *ctx, const outbox_item *item)
{
    add_task(ctx, item, NULL);
}

static void on_settle(void *ctx, const outbox_item *item, const delivery_outcome *outcome)
{
    add_task(ctx, item, outcome);
}

static void on_post(void *ctx, const outbox_item *item, og_str body, og_str key)
{
    static const outbox_answer good = {.verdict = CONN_DONE, .retry_after_ms = -1};
    bench *b = ctx;
    (void)body;
    (void)key;
    b->answered++;
    outbox_answered(b->outbox, item->ticket, &good, NOW_MS);
}

/* ---- batches ---- */

static void take_results(bench *b, int p)
{
    const pipeline_batch *x = &b->batch;
    if (x->status != OG_OK)
        die("a batch", x->error.text);
    b->f.alerts += x->counts.opened;
    for (size_t i = 0; i < x->delivery_count; i++) {
        const pipeline_delivery *d = &x->deliveries[i];
        if (d->dropped)
            outbox_drop(b->outbox, d->endpoint, d->row.patient, d->row.alert_id);
        else if (!outbox_add(b->outbox, d->endpoint, p, &d->row))
            die("outbox", "no memory");
    }
    for (size_t i = 0; i < x->prepared_count; i++)
        outbox_prepared(b->outbox, x->prepared[i].ticket,
                        x->prepared[i].gone ? NULL : &x->prepared[i].row, x->prepared[i].body,
                        x->prepared[i].key);
}

static void run_batch(bench *b, int p, queue *q, bool restoring)
{
    pipeline_batch *x = &b->batch;
    size_t n = b->task_count[p];
    pipeline_task *tasks = NULL;
    if (n > 0) {
        tasks = malloc(n * sizeof *tasks);
        if (tasks == NULL)
            die("tasks", "no memory");
        memcpy(tasks, b->tasks[p], n * sizeof *tasks);
    }
    b->task_count[p] = 0;
    x->content = b->content;
    x->store = b->stores[p];
    x->shared = b->shared;
    x->messages = q != NULL ? q->at : NULL;
    x->message_count = q != NULL ? q->count : 0;
    x->next_offset = q != NULL ? q->next_offset : -1;
    x->tasks = tasks;
    x->task_count = n;
    x->now_ms = NOW_MS;
    x->offset_min = 60;
    x->restoring = restoring;
    pipeline_run(x);
    take_results(b, p);
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)tasks[i].patient.p);
    free(tasks);
    if (q != NULL)
        forget(q);
}

static void deliver(bench *b)
{
    for (;;) {
        bool any = false;
        uint64_t before = b->answered;
        start(&b->f.deliver);
        outbox_deliver(b->outbox, NOW_MS);
        for (int p = 0; p < PARTITIONS; p++) {
            if (b->task_count[p] == 0)
                continue;
            any = true;
            run_batch(b, p, NULL, true); /* true: nobody is evaluated in between */
        }
        stop(&b->f.deliver, b->answered - before);
        if (!any)
            return;
    }
}

/* What the daemon does every second: to the disk, and the pages given back. */
static void sync_stores(bench *b, bool now)
{
    int64_t us = clock_monotonic_us();
    if (!now && us - b->synced_us < SYNC_US)
        return;
    b->synced_us = us;
    start(&b->f.sync);
    for (int p = 0; p < PARTITIONS; p++) {
        if (kv_sync(b->stores[p], NULL) != OG_OK)
            die("sync", b->dir);
        kv_trim(b->stores[p]);
    }
    kv_trim(b->shared);
    locator_trim(b->locator);
    stop(&b->f.sync, 1);
}

static void apply_shared(bench *b)
{
    queue *q = &b->queues[PARTITIONS];
    if (q->count == 0)
        return;
    b->batch.shared = b->shared;
    b->batch.messages = q->at;
    b->batch.message_count = q->count;
    b->batch.next_offset = q->next_offset;
    pipeline_run_shared(&b->batch);
    if (b->batch.status != OG_OK)
        die("the shared topic", b->batch.error.text);
    forget(q);
}

/* ---- the phases ---- */

static void load(bench *b)
{
    for (uint32_t n = 0; n < b->f.patients; n++) {
        take_in(b, patient_bundle(b, n), &b->f.gather);
        take_in(b, creatinine(b, n, 0), &b->f.gather);
        bool last = n + 1 == b->f.patients, full = last;
        for (int p = 0; p < PARTITIONS; p++)
            full |= b->queues[p].count >= BATCH;
        if (full) { /* before a batch writes to the locator too */
            start(&b->f.gather);
            gather_flush(b->gather);
            stop(&b->f.gather, 0);
        }
        for (int p = 0; p < PARTITIONS; p++) {
            queue *q = &b->queues[p];
            if (q->count < BATCH && !last)
                continue;
            uint64_t count = q->count;
            start(&b->f.apply);
            run_batch(b, p, q, true);
            stop(&b->f.apply, count);
        }
        apply_shared(b);
        sync_stores(b, false);
    }
    b->f.resources = b->f.records;
    b->f.bytes = b->f.bytes_in;
}

static void evaluate_all(bench *b)
{
    for (int p = 0; p < PARTITIONS; p++)
        do {
            start(&b->f.evaluate);
            run_batch(b, p, NULL, false);
            stop(&b->f.evaluate, b->batch.counts.evaluations);
            bool more = b->batch.dirty > 0 || b->batch.sweeping;
            deliver(b);
            sync_stores(b, false);
            if (!more)
                break;
        } while (true);
}

static void events(bench *b)
{
    stage before = b->f.deliver;
    for (uint32_t i = 0; i < EVENTS; i++) {
        /* far apart, nobody twice in a turn, and always a change: whatever the size, each event
         * costs an evaluation with the same differences */
        uint32_t n = (uint32_t)((uint64_t)i * STEP % b->f.patients);
        uint32_t version = 1 + (uint32_t)(i / b->f.patients);
        take_in(b, creatinine(b, n, version), &b->f.event_gather);
        if (i % TURN != TURN - 1)
            continue;
        start(&b->f.event_gather);
        gather_flush(b->gather);
        stop(&b->f.event_gather, 0);
        for (int p = 0; p < PARTITIONS; p++) {
            start(&b->f.event_batch);
            run_batch(b, p, &b->queues[p], false);
            stop(&b->f.event_batch, 0);
        }
        deliver(b);
        sync_stores(b, false);
    }
    b->f.event_deliver = b->f.deliver;
    b->f.event_deliver.cpu -= before.cpu;
    b->f.event_deliver.wall -= before.wall;
    b->f.deliver = before; /* they belong to the events */
}

/* ---- opening and closing ---- */

static void open_stores(bench *b)
{
    char path[300];
    og_error err;
    bool fresh;
    og_error_init(&err);
    for (int p = 0; p <= PARTITIONS; p++) {
        snprintf(path, sizeof path, "%s/%d", b->dir, p);
        if (store_open(path, MAP_BYTES, false, NULL, p < PARTITIONS ? &b->stores[p] : &b->shared,
                       &err) != OG_OK)
            die(path, err.text);
    }
    snprintf(path, sizeof path, "%s/locator", b->dir);
    if (locator_open(path, MAP_BYTES, NULL, &b->locator, &fresh, &err) != OG_OK)
        die(path, err.text);
    b->setup.locator = b->locator;
}

static void close_stores(bench *b, bool clean)
{
    for (int p = 0; p <= PARTITIONS; p++) {
        store *s = p < PARTITIONS ? b->stores[p] : b->shared;
        if (clean)
            kv_close(s);
        else
            kv_abandon(s);
    }
    if (clean)
        locator_close(b->locator);
    else
        locator_abandon(b->locator);
}

/* Open, and one batch of each partition: what a daemon does before it can go on. */
static double reopen(bench *b, bool clean)
{
    close_stores(b, clean);
    double began = seconds(CLOCK_MONOTONIC);
    open_stores(b);
    for (int p = 0; p < PARTITIONS; p++)
        run_batch(b, p, NULL, false);
    return seconds(CLOCK_MONOTONIC) - began;
}

static double disk_of(const bench *b)
{
    double sum = 0;
    for (int p = 0; p <= PARTITIONS + 1; p++) {
        char path[320];
        struct stat st;
        if (p <= PARTITIONS)
            snprintf(path, sizeof path, "%s/%d/data.mdb", b->dir, p);
        else
            snprintf(path, sizeof path, "%s/locator/data.mdb", b->dir);
        if (stat(path, &st) == 0)
            sum += (double)st.st_blocks * 512;
    }
    return sum;
}

static double status_mb(const char *what)
{
    char line[256];
    double mb = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, what, strlen(what)) == 0)
            mb = strtod(line + strlen(what), NULL) / 1024;
    if (f != NULL)
        fclose(f);
    return mb;
}

static void open_bare(bench *b)
{
    char path[300];
    MDB_txn *t;
    snprintf(path, sizeof path, "%s/bare", b->dir);
    if (mkdir(path, 0750) != 0 || mdb_env_create(&b->bare) != 0 ||
        mdb_env_set_mapsize(b->bare, MAP_BYTES) != 0 ||
        mdb_env_open(b->bare, path, MDB_NOSYNC | MDB_NOMETASYNC | MDB_NORDAHEAD, 0640) != 0 ||
        mdb_txn_begin(b->bare, NULL, 0, &t) != 0 || mdb_dbi_open(t, NULL, 0, &b->bare_dbi) != 0 ||
        mdb_txn_commit(t) != 0)
        die("bare LMDB", strerror(errno));
}

static void bare_write(bench *b)
{
    /* the records of the first patients, once more through gather, to LMDB and nowhere else */
    open_bare(b);
    for (uint32_t n = 0; n < b->f.patients && b->f.write.count < SAMPLE; n++) {
        stage nothing = {0};
        take_in(b, patient_bundle(b, n), &nothing);
        for (int p = 0; p <= PARTITIONS; p++) {
            queue *q = &b->queues[p];
            for (size_t i = 0; i < q->count; i++) {
                kafka_record r = {.key = q->at[i].key, .value = q->at[i].value};
                write_bare(b, &r);
            }
            q->next_offset -= (int64_t)q->count;
            forget(q);
        }
    }
    gather_flush(b->gather);
    start(&b->f.write);
    flush_bare(b);
    stop(&b->f.write, 0);
    mdb_env_close(b->bare);
}

/* The Bundles of the first patients from an embedded broker through librdkafka and jansson; counted
 * in resources. */
static void bare_parse(bench *b)
{
    char text[256];
    rd_kafka_conf_t *conf[3] = {rd_kafka_conf_new(), rd_kafka_conf_new(), rd_kafka_conf_new()};
    rd_kafka_conf_set(conf[2], "log_level", "0", NULL, 0);
    rd_kafka_t *owner = rd_kafka_new(RD_KAFKA_PRODUCER, conf[2], text, sizeof text);
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(owner, 1);
    uint64_t sent = 0, taken = 0, resources = 0;
    size_t held[PARTITIONS] = {0};
    rd_kafka_mock_topic_create(cluster, "bare", PARTITIONS, 1);
    for (int i = 0; i < 2; i++)
        rd_kafka_conf_set(conf[i], "bootstrap.servers", rd_kafka_mock_cluster_bootstraps(cluster),
                          NULL, 0);
    rd_kafka_conf_set(conf[1], "group.id", "bare", NULL, 0);
    rd_kafka_t *out = rd_kafka_new(RD_KAFKA_PRODUCER, conf[0], text, sizeof text);
    for (uint32_t n = 0; n < b->f.patients; n++) {
        og_str v = patient_bundle(b, n);
        int p = (int)(n % PARTITIONS);
        if (held[p] + v.n > BARE_BYTES)
            break;
        held[p] += v.n;
        while (rd_kafka_producev(out, RD_KAFKA_V_TOPIC("bare"), RD_KAFKA_V_PARTITION(p),
                                 RD_KAFKA_V_VALUE((void *)(uintptr_t)v.p, v.n),
                                 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                 RD_KAFKA_V_END) != RD_KAFKA_RESP_ERR_NO_ERROR)
            rd_kafka_poll(out, 10);
        sent++;
    }
    rd_kafka_flush(out, 60000);
    rd_kafka_destroy(out);
    rd_kafka_t *in = rd_kafka_new(RD_KAFKA_CONSUMER, conf[1], text, sizeof text);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(PARTITIONS);
    for (int p = 0; p < PARTITIONS; p++)
        rd_kafka_topic_partition_list_add(list, "bare", p)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_poll_set_consumer(in);
    rd_kafka_assign(in, list);
    while (taken < sent) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(in, 1000);
        if (m == NULL)
            continue;
        if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (taken++ == 0) /* joining and the first fetch do not count */
                start(&b->f.parse);
            json_t *j = json_loadb(m->payload, m->len, 0, NULL);
            resources += json_array_size(json_object_get(j, "entry"));
            json_decref(j);
        }
        rd_kafka_message_destroy(m);
    }
    stop(&b->f.parse, resources);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_consumer_close(in);
    rd_kafka_destroy(in);
    rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(owner);
}

static void set_up(bench *b)
{
    static const outbox_endpoint queues[] = {{"ehr", 64}, {"@alerts", 64}};
    gather_options go = {.tenant = "bench",
                         .records_topic = "records",
                         .shared_topic = "shared",
                         .dead_letters_topic = "dead",
                         .partitions = PARTITIONS,
                         .max_message_bytes = (size_t)64 << 20,
                         .max_record_bytes = (size_t)8 << 20,
                         .dead_letter_bytes = 1000,
                         .arena_bytes = (size_t)256 << 20,
                         .max_depth = 128,
                         .max_in_flight = 20000,
                         .ctx = b,
                         .send = on_send,
                         .done = on_done,
                         .pause = on_pause,
                         .reread = on_reread};
    outbox_options oo = {.endpoints = queues,
                         .endpoint_count = 2,
                         .backoff_min_ms = 1000,
                         .backoff_max_ms = 60000,
                         .seed = 1,
                         .ctx = b,
                         .prepare = on_prepare,
                         .send = on_post,
                         .settle = on_settle};
    b->endpoints[0] = (delivery_endpoint){"ehr", false, "", "osteoguard", false};
    b->endpoints[1] = (delivery_endpoint){"@alerts", true, "", "", true};
    b->setup = (pipeline_setup){.tenant = "bench",
                                .endpoints = b->endpoints,
                                .endpoint_count = 2,
                                .max_depth = 128,
                                .evaluation_bytes = (size_t)256 << 20,
                                .feedback = {90, 24}};
    open_stores(b);
    b->gather = gather_new(&go, b->content, b->locator);
    b->outbox = outbox_new(&oo);
    b->batch.setup = &b->setup;
    b->batch.results = og_arena_new((size_t)256 << 20);
    b->batch.scratch = og_arena_new((size_t)256 << 20);
    if (b->gather == NULL || b->outbox == NULL || b->batch.results == NULL ||
        b->batch.scratch == NULL)
        die("start", "no memory");
}

static void quiet(void *ctx, og_str line)
{
    (void)ctx;
    (void)line;
}

static figures measure(const plan_content *content, const char *stream, const char *dir,
                       uint64_t patients)
{
    static bench b;
    b.content = content;
    b.f.patients = patients;
    og_buf_init(&b.text, (size_t)1 << 20);
    snprintf(b.dir, sizeof b.dir, "%s/growth.XXXXXX", dir);
    if (mkdtemp(b.dir) == NULL)
        die(b.dir, strerror(errno));
    log_sink(quiet, NULL);
    read_patterns(&b, stream);
    set_up(&b);
    bare_parse(&b);
    bare_write(&b);
    b.f.records = b.f.bytes_in = 0;
    load(&b);
    evaluate_all(&b);
    sync_stores(&b, true);
    events(&b);
    sync_stores(&b, true);
    b.f.anon_mb = status_mb("RssAnon:");
    b.f.peak_mb = status_mb("VmHWM:");
    b.f.open_clean = reopen(&b, true);
    b.f.open_killed = reopen(&b, false);
    b.f.disk = disk_of(&b);
    close_stores(&b, true);
    if (file_remove_tree(b.dir, NULL) != OG_OK)
        fprintf(stderr, "bench_growth: cannot remove %s\n", b.dir);
    return b.f;
}

/* ---- one process per size ---- */

static figures in_a_process(const plan_content *content, const char *stream, const char *dir,
                            uint64_t patients)
{
    figures f;
    int ends[2], status;
    if (pipe(ends) != 0)
        die("pipe", strerror(errno));
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        f = measure(content, stream, dir, patients);
        _exit(write(ends[1], &f, sizeof f) == sizeof f ? 0 : 1);
    }
    close(ends[1]);
    if (child < 0 || read(ends[0], &f, sizeof f) != sizeof f)
        die("a run", "has failed");
    close(ends[0]);
    waitpid(child, &status, 0);
    return f;
}

static void print_stage(const char *name, const stage *s, const char *per)
{
    if (s->count == 0)
        return;
    printf("  %-34s %10.0f %s/s/core  (%6.1f us; %6.1f us wall)\n", name, (double)s->count / s->cpu,
           per, s->cpu * 1e6 / (double)s->count, s->wall * 1e6 / (double)s->count);
}

static double event_cpu(const figures *f)
{
    return f->event_gather.cpu + f->event_batch.cpu + f->event_deliver.cpu;
}

static void print_run(const figures *f)
{
    double n = (double)f->patients;
    printf("%" PRIu64 " patients, %" PRIu64 " resources of %.0f bytes, %" PRIu64 " alerts\n",
           f->patients, f->resources, (double)f->bytes / (double)f->resources, f->alerts);
    print_stage("bare: librdkafka and jansson", &f->parse, "resources");
    print_stage("gather", &f->gather, "resources");
    print_stage("bare: LMDB write", &f->write, "records  ");
    print_stage("apply", &f->apply, "records  ");
    print_stage("evaluate", &f->evaluate, "patients ");
    print_stage("deliver (to EHR and topic)", &f->deliver, "messages ");
    printf("  %-34s %10.0f events   /s/core  (%6.1f us: gather %.1f, batch %.1f, deliver %.1f)\n",
           "one new value, all stages", EVENTS / event_cpu(f), event_cpu(f) * 1e6 / EVENTS,
           f->event_gather.cpu * 1e6 / EVENTS, f->event_batch.cpu * 1e6 / EVENTS,
           f->event_deliver.cpu * 1e6 / EVENTS);
    printf(
        "  rebuild %.1f s (apply %.1f, evaluate %.1f, to the disk %.1f); restart %.2f s, after a "
        "kill %.2f s\n",
        f->apply.wall + f->evaluate.wall + f->sync.wall, f->apply.wall, f->evaluate.wall,
        f->sync.wall, f->open_clean, f->open_killed);
    printf("  disk %.1f MB, %.1f kB per patient; memory of its own %.1f MB\n", f->disk / 1e6,
           f->disk / 1e3 / n, f->anon_mb);
    fflush(stdout);
}

static void print_growth(const figures *first, const figures *f)
{
    printf("%10" PRIu64
           "  event %6.1f us (%+.0f %%)  memory %6.1f MB (%+.0f %%)  disk %5.1f kB per "
           "patient (%+.0f %%)\n",
           f->patients, event_cpu(f) * 1e6 / EVENTS, (event_cpu(f) / event_cpu(first) - 1) * 100,
           f->anon_mb, (f->anon_mb / first->anon_mb - 1) * 100, f->disk / 1e3 / (double)f->patients,
           (f->disk / (double)f->patients / (first->disk / (double)first->patients) - 1) * 100);
}

int main(int argc, char **argv)
{
    static const char *const sizes[] = {"1000", "10000"};
    figures all[16];
    int count = argc > 4 ? argc - 4 : 2;
    plan_content *content = NULL;
    og_report report = {.fn = cmd_print_problem};
    plan_options options = {0};
    if (argc < 4 || count > 16) {
        fprintf(stderr, "usage: bench_growth CONTENT STREAM.ndjson DIR [PATIENTS...]\n");
        return 2;
    }
    if (content_dir_load(argv[1], &options, &content, &report) != OG_OK)
        return 1;
    for (int i = 0; i < count; i++) {
        int64_t n;
        if (!og_str_int(og_str_of(argc > 4 ? argv[4 + i] : sizes[i]), 1, 100000000, &n))
            die("PATIENTS", "not a number");
        all[i] = in_a_process(content, argv[2], argv[3], (uint64_t)n);
        print_run(&all[i]);
    }
    for (int i = 0; i < count && count > 1; i++)
        print_growth(&all[0], &all[i]);
    plan_content_free(content);
    return 0;
}
