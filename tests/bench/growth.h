/* What the files of bench_growth share: the figures, the state of the one process that measures a
 * size, and the stop watch. */
#ifndef OG_BENCH_GROWTH_H
#define OG_BENCH_GROWTH_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/gather.h"
#include "daemon/outbox.h"
#include "daemon/pipeline.h"

enum {
    PARTITIONS = 8,
    EVENTS = 20000,
    STEP = 7919,
    TURN = 80,         /* events between two batches of each partition */
    BATCH = 25,        /* records of a batch while they are only applied, */
    EVALUATED = 8,     /* and when their patients are evaluated: as the owner has them */
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
    uint64_t asked, spared;                         /* rules, by these */
    double event_bytes;                             /* written by these */
    double disk, open_clean, open_killed;           /* bytes; seconds */
    double anon_mb, peak_mb;
    double beside_cpu; /* what the events cost among few patients, in turns with these; 0: alone */
} figures;

typedef struct queue { /* records that wait for a partition's batch */
    pipeline_message at[TURN + BATCH];
    size_t count;
    int64_t next_offset;
} queue;

typedef struct turns { /* ends of pipes: whose turn it is */
    int in, out;
    int others[2]; /* the other process' ends */
    bool first;
} turns;

typedef struct bench {
    const plan_content *content;
    char dir[256];
    char *patterns[MAX_PATTERNS];
    size_t pattern_count;
    og_buf text;
    idset *recorded;
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
    const turns *turns; /* NULL: alone */
    figures f;
} bench;

_Noreturn static inline void die(const char *what, const char *why)
{
    fprintf(stderr, "bench_growth: %s: %s\n", what, why);
    exit(1);
}

static inline double seconds(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline void start(stage *s)
{
    s->wall -= seconds(CLOCK_MONOTONIC);
    s->cpu -= seconds(CLOCK_THREAD_CPUTIME_ID);
}

static inline void stop(stage *s, uint64_t count)
{
    s->wall += seconds(CLOCK_MONOTONIC);
    s->cpu += seconds(CLOCK_THREAD_CPUTIME_ID);
    s->count += count;
}

/* ---- growth_patients.c ---- */

/* The first Bundle of each patient of the stream. */
void patients_read(bench *b, const char *path);
/* Patient n: a pattern with other ids. Lent until the next text. */
og_str patients_bundle(bench *b, uint32_t n);
/* A value of patient n that is another one with each version. Lent until the next text. */
og_str patients_creatinine(bench *b, uint32_t n, uint32_t version);

/* ---- growth_daemon.c ---- */

void daemon_set_up(bench *b);
/* One message through gather, into the partitions' queues; counted in s. */
void daemon_take_in(bench *b, og_str value, stage *s);
/* What the queue holds has been seen. */
void daemon_forget(queue *q);
/* The phases: all patients are applied, evaluated and delivered; then EVENTS new values come. */
void daemon_load(bench *b);
void daemon_evaluate_all(bench *b);
void daemon_events(bench *b);
/* What the daemon does every second: to the disk, and the pages given back. */
void daemon_sync(bench *b, bool now);
/* Closes, opens, and runs one batch of each partition: what a daemon does before it can go on. The
 * seconds from the opening on. */
double daemon_reopen(bench *b, bool clean);
double daemon_disk(const bench *b); /* bytes */
void daemon_close(bench *b, bool clean);

/* ---- growth_bare.c ---- */

/* The Bundles of the first patients from an embedded broker through librdkafka and jansson; counted
 * in resources. */
void bare_parse(bench *b);
/* Their records to LMDB and nowhere else. */
void bare_write(bench *b);

#endif
