/* The daemon's stages without network: gather, the batches of the partitions and the outbox, one
 * after the other on one thread, each under its own watch. */
#include "growth.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/clock.h"

/* ---- gather's other side: records into the partitions' queues ---- */

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

void daemon_take_in(bench *b, og_str value, stage *s)
{
    conn_message m = {.origin = {"fhir.bundle", 0, (int64_t)b->offset++, NOW_MS}, .value = value};
    uint64_t before = b->f.records;
    start(s);
    gather_message(b->gather, &m);
    stop(s, 0);
    s->count += b->f.records - before;
    b->f.bytes_in += value.n;
}

void daemon_forget(queue *q)
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
                         .sequence = item->sequence,
                         .settle = outcome != NULL};
    memcpy(t->alert_id, item->alert_id, sizeof t->alert_id);
    if (outcome != NULL)
        t->outcome = *outcome;
}

static bool on_prepare(void *ctx, const outbox_item *item)
{
    add_task(ctx, item, NULL);
    return true;
}

static void on_settle(void *ctx, const outbox_item *item, const delivery_outcome *outcome)
{
    add_task(ctx, item, outcome);
}

static void on_post(void *ctx, const outbox_item *item, const outbox_message *m)
{
    static const outbox_answer good = {.verdict = CONN_DONE, .retry_after_ms = -1};
    bench *b = ctx;
    (void)m;
    b->answered++;
    outbox_answered(b->outbox, item->ticket, &good, NOW_MS);
}

/* ---- batches ---- */

static outbox_message message_of(const pipeline_sendable *m)
{
    return (outbox_message){m->body, m->key, m->said_key, m->said_value};
}

static bool add_delivery(bench *b, int partition, const pipeline_delivery *d)
{
    outbox_message m = message_of(&d->message);
    return d->prepared ? outbox_add_prepared(b->outbox, d->endpoint, partition, &d->row, &m)
                       : outbox_add(b->outbox, d->endpoint, partition, &d->row);
}

static void take_results(bench *b, int partition)
{
    const pipeline_batch *x = &b->batch;
    if (x->status != OG_OK)
        die("a batch", x->error.text);
    b->f.alerts += x->counts.opened;
    b->f.asked += x->counts.rules_asked;
    b->f.spared += x->counts.rules_spared;
    for (size_t i = 0; i < x->delivery_count; i++) {
        const pipeline_delivery *d = &x->deliveries[i];
        if (d->dropped)
            outbox_drop(b->outbox, d->endpoint, d->row.patient, d->row.alert_id);
        else if (!add_delivery(b, partition, d))
            die("outbox", "no memory");
    }
    for (size_t i = 0; i < x->prepared_count; i++) {
        const pipeline_prepared *p = &x->prepared[i];
        outbox_message m = message_of(&p->message);
        outbox_prepared(b->outbox, p->ticket, p->gone ? NULL : &p->row, &m, NOW_MS);
    }
}

static void run_batch(bench *b, int p, const pipeline_message *messages, size_t count,
                      bool restoring)
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
    x->messages = messages;
    x->message_count = count;
    x->next_offset = count > 0 ? messages[count - 1].offset + 1 : -1;
    x->tasks = tasks;
    x->task_count = n;
    x->now_ms = NOW_MS;
    x->offset_min = 60;
    x->restoring = restoring;
    x->room = outbox_room(b->outbox, b->setup.endpoint_count - 1, p);
    pipeline_run(x);
    take_results(b, p);
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)tasks[i].patient.p);
    free(tasks);
}

/* All that waits for the partition, so many records in a batch. */
static void run_queue(bench *b, int p, size_t most, bool restoring)
{
    queue *q = &b->queues[p];
    for (size_t i = 0; i < q->count; i += most)
        run_batch(b, p, q->at + i, q->count - i < most ? q->count - i : most, restoring);
    daemon_forget(q);
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
            run_batch(b, p, NULL, 0, true); /* true: nobody is evaluated in between */
        }
        stop(&b->f.deliver, b->answered - before);
        if (!any)
            return;
    }
}

/* What the daemon does every second: to the disk, and the pages given back. */
void daemon_sync(bench *b, bool now)
{
    int64_t us = clock_monotonic_us();
    if (!now && us - b->synced_us < SYNC_US)
        return;
    bool trimmed = false;
    b->synced_us = us;
    start(&b->f.sync);
    for (int p = 0; p < PARTITIONS; p++) {
        if (kv_sync(b->stores[p], NULL) != OG_OK)
            die("sync", b->dir);
        trimmed |= kv_trim(b->stores[p]);
    }
    trimmed |= kv_trim(b->shared);
    if (trimmed)
        idset_trim(b->recorded);
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
    daemon_forget(q);
}

/* ---- the phases ---- */

void daemon_load(bench *b)
{
    for (uint32_t n = 0; n < b->f.patients; n++) {
        daemon_take_in(b, patients_bundle(b, n), &b->f.gather);
        daemon_take_in(b, patients_creatinine(b, n, 0), &b->f.gather);
        bool last = n + 1 == b->f.patients;
        for (int p = 0; p < PARTITIONS; p++) {
            uint64_t count = b->queues[p].count;
            if (count < BATCH && !last)
                continue;
            start(&b->f.apply);
            run_queue(b, p, BATCH, true);
            stop(&b->f.apply, count);
        }
        apply_shared(b);
        daemon_sync(b, false);
    }
    b->f.resources = b->f.records;
    b->f.bytes = b->f.bytes_in;
}

void daemon_evaluate_all(bench *b)
{
    for (int p = 0; p < PARTITIONS; p++)
        do {
            start(&b->f.evaluate);
            run_batch(b, p, NULL, 0, false);
            stop(&b->f.evaluate, b->batch.counts.evaluations);
            bool more = b->batch.dirty > 0 || b->batch.sweeping;
            deliver(b);
            daemon_sync(b, false);
            if (!more)
                break;
        } while (true);
}

/* What this process has given to write calls: here, the pages of commits alone. */
static double bytes_written(void)
{
    char line[128];
    double n = -1;
    FILE *f = fopen("/proc/self/io", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "wchar:", 6) == 0)
            n = strtod(line + 6, NULL);
    if (f != NULL)
        fclose(f);
    return n;
}

/* Two sizes are measured in turns: what a machine gives to one process changes from minute to
 * minute by more than what is to be seen. */
static void wait_for_turn(const bench *b)
{
    char c;
    if (b->turns != NULL && read(b->turns->in, &c, 1) != 1)
        die("turns", "the other process is gone");
}

/* Behind the last turn of all nobody waits any more. */
static void pass_turn(const bench *b, bool last)
{
    if (b->turns != NULL && (!last || b->turns->first) && write(b->turns->out, "", 1) != 1)
        die("turns", "the other process is gone");
}

void daemon_events(bench *b)
{
    stage before = b->f.deliver;
    double written = bytes_written();
    b->f.asked = b->f.spared = 0;
    for (uint32_t i = 0; i < EVENTS; i++) {
        /* far apart, nobody twice in a turn, and always a change: whatever the size, each event
         * costs an evaluation with the same differences */
        if (i % TURN == 0)
            wait_for_turn(b);
        uint32_t n = (uint32_t)((uint64_t)i * STEP % b->f.patients);
        uint32_t version = 1 + (uint32_t)(i / b->f.patients);
        daemon_take_in(b, patients_creatinine(b, n, version), &b->f.event_gather);
        if (i % TURN != TURN - 1)
            continue;
        for (int p = 0; p < PARTITIONS; p++) {
            start(&b->f.event_batch);
            run_queue(b, p, EVALUATED, false);
            stop(&b->f.event_batch, 0);
        }
        deliver(b);
        daemon_sync(b, false);
        pass_turn(b, i + 1 == EVENTS);
    }
    b->f.event_bytes = bytes_written() - written;
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
    og_error_init(&err);
    for (int p = 0; p <= PARTITIONS; p++) {
        snprintf(path, sizeof path, "%s/%d", b->dir, p);
        if (store_open(path, MAP_BYTES, false, NULL, p < PARTITIONS ? &b->stores[p] : &b->shared,
                       &err) != OG_OK)
            die(path, err.text);
    }
    snprintf(path, sizeof path, "%s/ids", b->dir);
    if (idset_open(path, NULL, &b->recorded, &err) != OG_OK)
        die(path, err.text);
    b->setup.recorded = b->recorded;
}

void daemon_close(bench *b, bool clean)
{
    for (int p = 0; p <= PARTITIONS; p++) {
        store *s = p < PARTITIONS ? b->stores[p] : b->shared;
        if (clean)
            kv_close(s);
        else
            kv_abandon(s);
    }
    if (clean)
        idset_close(b->recorded);
    else
        idset_abandon(b->recorded);
}

/* Open, and one batch of each partition: what a daemon does before it can go on. */
double daemon_reopen(bench *b, bool clean)
{
    daemon_close(b, clean);
    double began = seconds(CLOCK_MONOTONIC);
    open_stores(b);
    for (int p = 0; p < PARTITIONS; p++)
        run_batch(b, p, NULL, 0, false);
    return seconds(CLOCK_MONOTONIC) - began;
}

double daemon_disk(const bench *b)
{
    double sum = 0;
    for (int p = 0; p <= PARTITIONS + 1; p++) {
        char path[320];
        struct stat st;
        if (p <= PARTITIONS)
            snprintf(path, sizeof path, "%s/%d/data.mdb", b->dir, p);
        else
            snprintf(path, sizeof path, "%s/ids/data", b->dir);
        if (stat(path, &st) == 0)
            sum += (double)st.st_blocks * 512;
    }
    return sum;
}

void daemon_set_up(bench *b)
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
                         .partitions = PARTITIONS,
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
                                .feedback = {90, 24},
                                .program = "bench"};
    open_stores(b);
    b->gather = gather_new(&go, b->content, b->recorded);
    b->outbox = outbox_new(&oo);
    b->batch.setup = &b->setup;
    b->batch.max_patients = EVALUATED;
    b->batch.results = og_arena_new((size_t)256 << 20);
    b->batch.scratch = og_arena_new((size_t)256 << 20);
    b->batch.patient = og_arena_new((size_t)256 << 20);
    if (b->gather == NULL || b->outbox == NULL || b->batch.results == NULL ||
        b->batch.scratch == NULL || b->batch.patient == NULL)
        die("start", "no memory");
}
