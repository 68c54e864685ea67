/* Kafka's side of the daemon: which topics, which sources, and what their callbacks mean. Six
 * handles: the sources (group PREFIX-gather), the records (group PREFIX-owner, positions from the
 * stores), the shared topic and the alerts topic of the partitions that are ours (no group), one
 * producer, and topic administration in a worker.
 * Separate groups, so that a storm in one does not revoke the other. */
#include <stdlib.h>

#include "daemon/crash.h"
#include "daemon/grave.h"
#include "daemon/metrics.h"
#include "daemon/serve_private.h"

#define RETRY_MS        2000
#define TOPICS_TIMEOUT  5000
#define QUERY_TIMEOUT   10000
#define FETCH_WAIT      500
#define FETCH_WAIT_TEXT "500"
#define REREAD_PAUSE_MS 1000
#define REBALANCE_MS    15000 /* most are through by then */
#define PROGRESS_TICKS  5

/* ---- words of the client ---- */

static void on_log(void *ctx, int level, const char *facility, const char *text)
{
    log_field fields[] = {{"facility", og_str_of(facility)}, {"text", og_str_of(text)}};
    bool told_as_error = strcmp(facility, "FAIL") == 0 || strcmp(facility, "ERROR") == 0;
    (void)ctx;
    log_line(level <= 3 && !told_as_error ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, "kafka client",
             fields, 2);
}

void serve__log_kafka(log_level level, const char *what, const kafka_error *e)
{
    char where[300];
    snprintf(where, sizeof where, "%s[%d]@%lld", e->topic != NULL ? e->topic : "",
             (int)e->partition, (long long)e->offset);
    log_field fields[] = {{"error", og_str_of(e->name != NULL ? e->name : "")},
                          {"text", og_str_of(e->text != NULL ? e->text : "")},
                          {"where", og_str_of(where)}};
    metric_add(METRIC_KAFKA_ERRORS, 1);
    log_line(level, what, fields, e->topic != NULL ? 3 : 2);
}

static void fatal_kafka(serve *s, const char *what, const kafka_error *e)
{
    og_error err;
    og_error_init(&err);
    (void)og_fail(&err, OG_IO, "%s", e->text != NULL ? e->text : "");
    if (e->topic != NULL)
        og_error_record(&err, e->topic, e->partition, e->offset);
    serve__failed(s, what, &err);
}

static char *group_name(serve *s, const char *suffix)
{
    og_str name = og_arena_printf(s->config->arena, "%s-%s", s->config->kafka_group_prefix, suffix);
    return (char *)(uintptr_t)name.p;
}

/* ---- topics ---- */

/* What was acknowledged is on two brokers: with three replicas one may be lost, and still there is
 * nobody who says that something is written of which the others know nothing. Of no use with less.
 */
#define REPLICAS_THAT_WROTE                                                                        \
    {                                                                                              \
        "min.insync.replicas", "2"                                                                 \
    }

#define TEXT_OF(number)  #number
#define AS_TEXT(defined) TEXT_OF(defined)

static kafka_property compact_config[] = {
    {"cleanup.policy", "compact"},
    {"min.compaction.lag.ms",
     AS_TEXT(STORE_KEPT_MS)}, /* the longest outage of an owner (STREAM 3.1) */
    {"max.compaction.lag.ms", "2592000000"},
    {"delete.retention.ms", AS_TEXT(STORE_KEPT_MS)},
    {"max.message.bytes", "8392704"},
    {"unclean.leader.election.enable", "false"},
    REPLICAS_THAT_WROTE,
};
static kafka_property dead_config[] = {
    {"cleanup.policy", "delete"},
    {"retention.ms", "7776000000"}, /* 90 d */
    {"max.message.bytes", "8392704"},
    REPLICAS_THAT_WROTE,
};

static void add_topic(serve *s, const char *name, int32_t partitions, bool exact,
                      const kafka_property *config, size_t config_count)
{
    if (config_count > 0 && s->config->kafka_replication < 3)
        config_count--; /* REPLICAS_THAT_WROTE, the last one */
    s->topic_specs[s->topic_count++] =
        (kafka_topic_spec){.name = name,
                           .partitions = partitions,
                           .exact = exact,
                           .create = s->config->kafka_create_topics,
                           .replication = (int)s->config->kafka_replication,
                           .config = config,
                           .config_count = config_count};
}

static bool list_topics(serve *s)
{
    const config *c = s->config;
    size_t count = 4 + c->kafka_sources.count;
    int32_t n = (int32_t)c->kafka_partitions;
    size_t compact = sizeof compact_config / sizeof compact_config[0];
    if (s->topic_specs != NULL)
        return true;
    if (config_kafka(s->config, false, &s->topics_properties, NULL) != OG_OK)
        return false;
    s->topic_specs = og_arena_zalloc(c->arena, count, sizeof *s->topic_specs);
    s->topic_states = og_arena_zalloc(c->arena, count, sizeof *s->topic_states);
    if (s->topic_specs == NULL || s->topic_states == NULL)
        return false;
    add_topic(s, c->kafka_records, n, true, compact_config, compact);
    add_topic(s, c->kafka_alerts, n, true, compact_config, compact);
    add_topic(s, c->kafka_shared, 1, true, compact_config, compact);
    add_topic(s, c->kafka_dead_letters, 0, false, dead_config,
              sizeof dead_config / sizeof dead_config[0]);
    for (size_t i = 0; i < c->kafka_sources.count; i++)
        add_topic(s, c->kafka_sources.at[i], 0, false, NULL, 0);
    return true;
}

static void topics_work(uv_work_t *w)
{
    serve *s = w->data;
    const config_map *properties = &s->topics_properties;
    og_error_init(&s->topics_error);
    s->topics_status =
        kafka_topics_ensure(properties->at, properties->count, s->topic_specs, s->topic_count,
                            TOPICS_TIMEOUT, s->topic_states, &s->topics_error);
}

static void retry_topics(uv_timer_t *t)
{
    serve *s = t->data;
    serve__check_topics(s);
}

/* So that the first event of the day does not wait for the producer to find its topics. */
static void warm_up(serve *s)
{
    const config *c = s->config;
    const char *topics[] = {c->kafka_records, c->kafka_shared, c->kafka_alerts,
                            c->kafka_dead_letters};
    og_error err;
    og_error_init(&err);
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++)
        if (kafka_sink_know(s->sink, topics[i], &err) != OG_OK)
            log_failure(LOG_LEVEL_WARN, "the producer does not know its topics yet", &err);
}

static void topics_done(uv_work_t *w, int status)
{
    serve *s = w->data;
    (void)status;
    s->topics_busy = false;
    s->open_things--;
    if (serve__stopping(s))
        return;
    for (size_t i = 0; i < s->topic_count; i++)
        if (s->topic_states[i].created)
            log_info("created topic %s with %d partitions", s->topic_specs[i].name,
                     (int)s->topic_states[i].partitions);
    if (s->topics_status == OG_OK) {
        warm_up(s);
        serve__advance(s, SERVE_ENDS);
    } else if (s->topics_status == OG_INVALID) {
        serve__failed(s, "a topic is not as it has to be", &s->topics_error);
    } else {
        log_failure(LOG_LEVEL_WARN, "Kafka is not ready; trying again", &s->topics_error);
        uv_timer_start(&s->retry, retry_topics, RETRY_MS, 0);
    }
}

void serve__check_topics(serve *s)
{
    s->topics_work.data = s;
    s->retry.data = s;
    if (!list_topics(s) || uv_queue_work(s->loop, &s->topics_work, topics_work, topics_done) != 0) {
        uv_timer_start(&s->retry, retry_topics, RETRY_MS, 0);
        return;
    }
    s->topics_busy = true;
    s->open_things++;
}

/* ---- sources in general ---- */

static og_status open_source(serve *s, kafka_source_options *o, kafka_source **ret, og_error *err)
{
    config_map properties;
    og_status status = config_kafka(s->config, true, &properties, err);
    if (status != OG_OK)
        return status;
    if (o->properties == NULL) {
        o->properties = properties.at;
        o->property_count = properties.count;
    }
    o->ctx = s;
    o->on_log = on_log;
    return kafka_source_new(s->loop, o, ret, err);
}

/* Of whom ends are asked (serve_beat.c): an end is where the log ends, also behind a transaction
 * that is still open, and the answer stands behind a fetch that waits. Nothing on the shared topic
 * is part of a transaction. */
static og_status with_what_asks(serve *s, kafka_source_options *o, og_error *err)
{
    config_map map;
    bool patient = false;
    og_status status = config_kafka(s->config, true, &map, err);
    if (status != OG_OK)
        return status;
    kafka_property *list = og_arena_zalloc(s->config->arena, map.count + 2, sizeof *list);
    if (list == NULL)
        return og_fail(err, OG_NOMEM, "no memory for Kafka's properties");
    for (size_t i = 0; i < map.count; i++) {
        list[i] = map.at[i];
        if (strcmp(list[i].name, "fetch.wait.max.ms") == 0)
            patient = strtoll(list[i].value, NULL, 10) > FETCH_WAIT;
    }
    list[map.count++] = (kafka_property){"isolation.level", "read_uncommitted"};
    if (patient)
        list[map.count++] = (kafka_property){"fetch.wait.max.ms", FETCH_WAIT_TEXT};
    o->properties = list;
    o->property_count = map.count;
    return OG_OK;
}

/* ---- the shared topic: its messages, and questions about any partition ---- */

static void on_shared_message(void *ctx, const conn_message *m)
{
    serve *s = ctx;
    if (!serve__hear_instance(s, m))
        (void)serve__take_beat(s, s->count, m);
    owner_message(s->owner, OWNER_SHARED, m);
}

static void on_shared_end(void *ctx, const char *topic, int32_t partition, int64_t offset)
{
    serve *s = ctx;
    (void)topic;
    (void)partition;
    (void)offset;
    owner_end(s->owner, OWNER_SHARED);
}

static void on_shared_error(void *ctx, const kafka_error *e)
{
    serve *s = ctx;
    if (e->fatal)
        fatal_kafka(s, "the shared topic cannot be read", e);
    else
        serve__log_kafka(LOG_LEVEL_WARN, "Kafka, reading the shared topic", e);
}

static og_status open_shared(serve *s, og_error *err)
{
    kafka_source_options o = {.mode = KAFKA_SOURCE_READER,
                              .group = group_name(s, "shared"),
                              .on_message = on_shared_message,
                              .on_end = on_shared_end,
                              .on_error = on_shared_error};
    og_status status = with_what_asks(s, &o, err);
    return status == OG_OK ? open_source(s, &o, &s->shared, err) : status;
}

static void ask_end(serve *s, int number);

/* Its topic is not what the store has read, so records are gone, also of patients who have no
 * alerts that would show it. Of the shared topic each partition knows how much it has seen. */
static void throw_away(serve *s, int number)
{
    if (number < s->count && !s->partitions[number].rebuild)
        serve__on_lost(s, number, PIPELINE_LOST_RECORDS, serve__losses(s, number).new_ms);
    s->partitions[number].rebuild = true;
}

/* A store that says more than its topic holds, or whose next record is gone, is no image of it
 * (STREAM 3.4). */
static void judge_store(serve *s, int number, int64_t low, int64_t high)
{
    serve_partition *p = &s->partitions[number];
    og_error err;
    int64_t next = p->asked_at;
    if (number == s->count)
        p->end = high;
    else
        owner_set_end(s->owner, number, high);
    if (next < 0 || (next >= low && next <= high))
        return;
    og_error_init(&err);
    (void)og_fail(&err, OG_CORRUPT, "the store is at offset %lld, but the topic has %lld to %lld",
                  (long long)next, (long long)low, (long long)high);
    log_failure(LOG_LEVEL_WARN, "a store does not belong to its topic and is thrown away", &err);
    throw_away(s, number);
}

static void on_end_known(void *ctx, const char *topic, int32_t partition, int64_t low, int64_t high,
                         const kafka_error *error)
{
    serve *s = ctx;
    int number = strcmp(topic, s->config->kafka_shared) == 0 ? s->count : partition;
    if (serve__stopping(s) || (number < s->count && !s->partitions[number].assigned))
        return;
    if (error != NULL) {
        serve__log_kafka(LOG_LEVEL_INFO, "cannot ask for the end of a topic yet; asking again",
                         error);
        s->partitions[number].ask_end = true; /* at the next tick: a new topic has no leader yet */
        return;
    }
    judge_store(s, number, low, high);
    if (s->step == SERVE_ENDS)
        serve__advance(s, SERVE_RESTORE);
}

static void ask_end(serve *s, int number)
{
    og_error err;
    const char *topic = number == s->count ? s->config->kafka_shared : s->config->kafka_records;
    og_error_init(&err);
    /* The answer is compared with this: what is read while it is under way may be behind it. */
    s->partitions[number].asked_at =
        owner_get(s->owner, number == s->count ? OWNER_SHARED : number).next_offset;
    if (kafka_source_query(s->shared, topic, number == s->count ? 0 : number, QUERY_TIMEOUT,
                           on_end_known, s, &err) != OG_OK)
        serve__failed(s, "cannot ask for the end of a topic", &err);
}

void serve__ask_ends_again(serve *s)
{
    for (int i = 0; i <= s->count && !serve__stopping(s); i++) {
        bool again = s->partitions[i].ask_end;
        s->partitions[i].ask_end = false;
        if (again)
            ask_end(s, i);
    }
}

void serve__ask_ends(serve *s)
{
    og_error err;
    og_error_init(&err);
    if (open_shared(s, &err) != OG_OK) {
        serve__failed(s, "cannot read the shared topic", &err);
        return;
    }
    ask_end(s, s->count); /* those of the records are asked for when they are assigned */
}

/* ---- records ---- */

static void on_record(void *ctx, const conn_message *m)
{
    serve *s = ctx;
    if (m->origin.partition >= s->count)
        return;
    if (serve__take_beat(s, m->origin.partition, m))
        serve__note_stored(s, m->origin.partition, m->origin.offset);
    owner_message(s->owner, m->origin.partition, m); /* a beat too: it moves the offset */
}

static int64_t on_records_start(void *ctx, const char *topic, int32_t partition)
{
    serve *s = ctx;
    og_error err;
    (void)topic;
    og_error_init(&err);
    if (partition >= s->count || serve__stopping(s))
        return KAFKA_OFFSET_BEGINNING;
    if (serve__open_partition(s, partition, &err) != OG_OK)
        serve__failed(s, "the store of a partition cannot be opened", &err);
    int64_t next = owner_get(s->owner, partition).next_offset;
    return next >= 0 ? next : KAFKA_OFFSET_BEGINNING;
}

/* What its store still has to send is read by its next batches. What is under way from before goes
 * on: its renewed item finds the row settled. What was given up is tried again by a new process:
 * somebody may have mended the cause. */
void serve__on_settled(void *ctx, int partition)
{
    serve *s = ctx;
    outbox_forget_partition(s->outbox, partition);
    outbox_read_store(s->outbox, partition, true);
    s->partitions[partition].parked = 0;
    serve__on_backfill(s, partition);
}

static void on_records_assigned(void *ctx, const kafka_partition *partitions, size_t count)
{
    serve *s = ctx;
    s->revoking = false;
    for (int i = 0; i < s->count; i++)
        s->partitions[i].foreign = true;
    for (size_t i = 0; i < count; i++) {
        int p = partitions[i].partition;
        if (p >= s->count || s->partitions[p].store == NULL)
            continue;
        s->partitions[p].foreign = false;
        s->partitions[p].assigned = true;
        owner_assign(s->owner, p, INT64_MAX);
        ask_end(s, p);
        serve__claim(s, p);
    }
    serve__follow_said(s);
    s->joined = true;
    log_info("%zu partitions of %s are ours", count, s->config->kafka_records);
}

/* What is under way is finished and settled, within the time that the group waits; what has not
 * begun is left to the next owner. */
static void on_records_revoke(void *ctx, const kafka_partition *partitions, size_t count, bool lost)
{
    serve *s = ctx;
    s->revoked_ms = clock_monotonic_ms();
    if (!lost)
        serve__commit_records(s);
    for (size_t i = 0; i < count; i++) {
        int p = partitions[i].partition;
        if (p >= s->count)
            continue;
        s->partitions[p].was_restored |= owner_get(s->owner, p).restored;
        owner_revoke(s->owner, p);
        s->partitions[p].assigned = false;
        s->partitions[p].ask_end = false;
        s->partitions[p].claim_at_ms = 0;
        if (lost)
            serve__lost(s, p);
        else if (!serve__stopping(s))
            outbox_forget_partition(s->outbox, p);
    }
    if (!lost && s->records != NULL && !serve__stopping(s)) {
        s->revoking = true;
        kafka_source_hold_revoke(s->records);
    }
    log_info("%zu partitions of %s %s", count, s->config->kafka_records, lost ? "are lost" : "go");
}

static bool has_landed(const serve *s, int partition)
{
    const serve_partition *p = &s->partitions[partition];
    owner_state state = owner_get(s->owner, partition);
    return p->assigned ||
           (p->publishing == 0 && p->posting == 0 && state.tasks == 0 && !state.running);
}

void serve__tend_revoke(serve *s)
{
    if (!s->revoking)
        return;
    for (int i = 0; i < s->count; i++)
        if (!has_landed(s, i))
            return;
    s->revoking = false;
    serve__commit_records(s);
    if (s->records != NULL)
        kafka_source_release_revoke(s->records);
}

static void on_records_end(void *ctx, const char *topic, int32_t partition, int64_t offset)
{
    serve *s = ctx;
    (void)topic;
    (void)offset;
    if (partition < s->count)
        owner_end(s->owner, partition);
}

/* The position that the store gave is not in the topic any more: the image is too old. */
static void on_records_error(void *ctx, const kafka_error *e)
{
    serve *s = ctx;
    bool out_of_range = e->topic != NULL && e->name != NULL &&
                        (strstr(e->name, "AUTO_OFFSET_RESET") != NULL ||
                         strstr(e->name, "OFFSET_OUT_OF_RANGE") != NULL);
    bool known = out_of_range && e->partition >= 0 && e->partition < s->count;
    if (known && !s->partitions[e->partition].assigned)
        return; /* of the store before: it is rebuilt already, and this consumer is closing */
    if (known) {
        serve__log_kafka(LOG_LEVEL_WARN, "a store does not fit its topic and is thrown away", e);
        throw_away(s, e->partition);
    } else if (e->fatal) {
        fatal_kafka(s, "the records topic cannot be read", e);
    } else {
        serve__log_kafka(LOG_LEVEL_WARN, "Kafka, reading the records topic", e);
    }
}

static void open_records(serve *s)
{
    og_error err;
    const char *topics[] = {s->config->kafka_records};
    kafka_source_options o = {.mode = KAFKA_SOURCE_STORE,
                              .group = group_name(s, "owner"),
                              .topics = topics,
                              .topic_count = 1,
                              .on_message = on_record,
                              .on_assign = on_records_start,
                              .on_assigned = on_records_assigned,
                              .on_revoke = on_records_revoke,
                              .on_end = on_records_end,
                              .on_error = on_records_error};
    og_error_init(&err);
    if (open_source(s, &o, &s->records, &err) != OG_OK)
        serve__failed(s, "cannot read the records topic", &err);
}

void serve__read_shared(serve *s)
{
    og_error err;
    owner_state shared = owner_get(s->owner, OWNER_SHARED);
    kafka_partition p = {s->config->kafka_shared, 0,
                         shared.next_offset >= 0 ? shared.next_offset : KAFKA_OFFSET_BEGINNING};
    og_error_init(&err);
    owner_assign(s->owner, OWNER_SHARED, SERVE_SHARED(s)->end);
    if (kafka_source_assign(s->shared, &p, 1, &err) != OG_OK)
        serve__failed(s, "cannot read the shared topic", &err);
}

void serve__read_records(serve *s)
{
    serve__read_shared(s);
    if (!serve__stopping(s))
        open_records(s);
}

static void records_closed(void *ctx)
{
    serve *s = ctx;
    s->records_closing = false;
    s->open_things--;
    if (!serve__stopping(s))
        open_records(s);
}

void serve__restart_records(serve *s)
{
    if (s->records_closing || s->records == NULL)
        return;
    s->records_closing = true;
    s->open_things++;
    kafka_source *closing = s->records;
    s->records = NULL;
    kafka_source_close(closing, 0, records_closed, s);
}

void serve__commit_records(serve *s)
{
    for (int i = 0; i < s->count && s->records != NULL; i++)
        if (s->partitions[i].synced_offset >= 0 && s->partitions[i].store != NULL)
            (void)kafka_source_commit(s->records, s->config->kafka_records, i,
                                      s->partitions[i].synced_offset);
}

/* ---- written again ---- */

typedef struct again {
    serve *s;
    int partition;
    uint64_t number;
    bool errand;
} again;

static void on_again(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                     const kafka_error *error)
{
    again *it = ctx;
    (void)partition;
    (void)offset;
    if (verdict == CONN_NEVER) /* nothing that we could do better the next time */
        log_error("the brokers refuse a record that %s: %s",
                  it->errand ? "follows from another" : "they had before",
                  error != NULL ? error->text : "");
    metric_add(it->errand ? METRIC_ERRANDS : METRIC_REASSERTED, verdict == CONN_DONE);
    if (it->s->sink != NULL)
        owner_sent(it->s->owner, it->partition, it->number, verdict != CONN_AGAIN);
    free(it);
}

void serve__on_outgoing(void *ctx, int partition, uint64_t number, const pipeline_outgoing *o)
{
    serve *s = ctx;
    bool shared = partition == OWNER_SHARED;
    int32_t to = shared           ? 0
                 : o->route.n > 0 ? kafka_partition_for(o->route, (int32_t)s->count)
                                  : partition;
    kafka_record r = {.topic = shared ? s->config->kafka_shared : s->config->kafka_records,
                      .partition = to,
                      .key = o->key,
                      .value = o->value};
    static const conn_header removal = {GRAVE_HEADER, {"1", 1}};
    if (o->value.p == NULL) {
        r.headers = &removal;
        r.header_count = 1;
    }
    og_error err;
    og_error_init(&err);
    again *it = malloc(sizeof *it);
    if (it == NULL || s->sink == NULL) {
        free(it);
        owner_sent(s->owner, partition, number, false);
        return;
    }
    *it = (again){s, partition, number, o->mark == PIPELINE_ERRAND};
    conn_verdict verdict = kafka_sink_send(s->sink, &r, on_again, it, &err);
    if (verdict == CONN_DONE) {
        crash_point(o->mark == PIPELINE_ERRAND ? CRASH_ERRAND : CRASH_REASSERTED);
        return;
    }
    if (verdict == CONN_NEVER)
        log_failure(LOG_LEVEL_ERROR, "a record cannot be written again", &err);
    free(it);
    owner_sent(s->owner, partition, number, verdict == CONN_NEVER);
}

/* ---- the alerts topic ---- */

og_status serve__open_said(serve *s, void (*on_message)(void *, const conn_message *),
                           kafka_error_fn *on_error, og_error *err)
{
    kafka_source_options o = {.mode = KAFKA_SOURCE_READER,
                              .group = group_name(s, "said"),
                              .on_message = on_message,
                              .on_error = on_error};
    return open_source(s, &o, &s->said, err);
}

/* What a store has read of the alerts topic must be there: else it knows another topic. */
void serve__said_error(serve *s, const kafka_error *e)
{
    if (e->fatal && e->topic != NULL && e->partition >= 0 && e->partition < s->count) {
        serve__log_kafka(LOG_LEVEL_WARN, "a store does not fit the alerts topic and is thrown away",
                         e);
        s->partitions[e->partition].rebuild = true;
    } else if (e->fatal) {
        fatal_kafka(s, "the alerts topic cannot be read", e);
    } else {
        serve__log_kafka(LOG_LEVEL_WARN, "Kafka, reading the alerts topic", e);
    }
}

/* ---- sources ---- */

static void on_source_message(void *ctx, const conn_message *m)
{
    serve *s = ctx;
    serve__heard(s, m);
    gather_message(s->gather, m);
}

static int64_t on_source_start(void *ctx, const char *topic, int32_t partition)
{
    serve *s = ctx;
    if (!s->reread_all && serve__is_read_otherwise(s, topic, partition)) {
        log_info("an instance with other content has read %s[%d]: it is read again from the "
                 "beginning",
                 topic, (int)partition);
        serve__want_reread(s);
    }
    if (s->reread_all)
        serve__note_read(s, topic, partition, clock_wall_ms());
    return s->reread_all ? KAFKA_OFFSET_BEGINNING : KAFKA_OFFSET_COMMITTED;
}

static void on_source_assigned(void *ctx, const kafka_partition *partitions, size_t count)
{
    serve *s = ctx;
    (void)partitions;
    s->gathering = true;
    serve__forget_ends(s); /* other partitions */
    s->share_away = false;
    s->share_from_ms = s->reread_all ? s->read_from_ms : 0;
    s->share_through = false;
    serve__beat(s); /* what we knew, and had read again, was about the old ones */
    log_info("reading %zu partitions of the source topics%s", count,
             s->reread_all ? ", from the beginning" : "");
}

/* A partition has left its old position behind when the group has acknowledged a new one, or when
 * there is nothing in it. */
static bool is_behind_us(const kafka_position *p)
{
    return p->committed >= 0 || (p->at_end && p->waiting == 0 && p->done < 0);
}

static bool all_behind_us(kafka_source *sources)
{
    size_t n = kafka_source_positions(sources, NULL, 0), behind = 0;
    kafka_position *at = n > 0 ? calloc(n, sizeof *at) : NULL;
    if (at == NULL)
        return false; /* none assigned yet, or asked again in a second */
    (void)kafka_source_positions(sources, at, n);
    for (size_t i = 0; i < n; i++)
        behind += is_behind_us(&at[i]);
    free(at);
    return behind == n;
}

/* Until every partition is past its old position, an interruption begins the re-read anew: what one
 * of them has committed says nothing about the others. */
void serve__end_reread(serve *s)
{
    if (!s->wants_pending || s->lost_ms != 0 || s->sources == NULL || !all_behind_us(s->sources))
        return; /* what is lost is sought from the beginning until all have found it */
    log_info("the source topics are read again far enough: an interruption goes on where it was");
    s->reread_all = false;
    s->wants_pending = false;
    serve__note_wants(s);
}

static void on_source_commit(void *ctx, const kafka_error *error)
{
    (void)ctx;
    if (error != NULL)
        serve__log_kafka(LOG_LEVEL_WARN,
                         "an offset could not be committed; it is repeated with the next", error);
}

static void on_source_error(void *ctx, const kafka_error *e)
{
    serve *s = ctx;
    if (e->fatal)
        fatal_kafka(s, "a source topic cannot be read where we stopped; an operator has to decide",
                    e);
    else
        serve__log_kafka(LOG_LEVEL_WARN, "Kafka, reading the source topics", e);
}

void serve__read_sources(serve *s)
{
    og_error err;
    kafka_source_options o = {.mode = KAFKA_SOURCE_GROUP,
                              .group = group_name(s, "gather"),
                              .topics = s->config->kafka_sources.at,
                              .topic_count = s->config->kafka_sources.count,
                              .on_message = on_source_message,
                              .on_assign = on_source_start,
                              .on_assigned = on_source_assigned,
                              .on_commit = on_source_commit,
                              .on_error = on_source_error};
    og_error_init(&err);
    if (open_source(s, &o, &s->sources, &err) != OG_OK) {
        serve__failed(s, "cannot read the source topics", &err);
        return;
    }
    s->sources_paused = false;
    serve__tend_sources(s);
}

static void sources_closed(void *ctx)
{
    serve *s = ctx;
    s->sources_closing = false;
    s->open_things--;
}

void serve__restart_sources(serve *s, bool from_beginning)
{
    s->reread_all |= from_beginning;
    if (s->sources_closing || s->sources == NULL)
        return;
    s->sources_closing = s->share_away = true;
    serve__forget_ends(s);
    serve__beat(s); /* what had come by then may have been left out */
    s->open_things++;
    s->sources_not_before_ms = clock_monotonic_ms() + (from_beginning ? 0 : REREAD_PAUSE_MS);
    kafka_source *closing = s->sources;
    s->sources = NULL;
    kafka_source_close(closing, 0, sources_closed, s);
}

void serve__tend_sources(serve *s)
{
    if (serve__stopping(s) || s->step < SERVE_RESTORE)
        return;
    /* Nothing is gathered before the index of recorded ids and the patients are what they were. */
    bool pause = s->step < SERVE_WORKING || s->gather_paused;
    if (s->sources != NULL && pause != s->sources_paused) {
        s->sources_paused = pause;
        if (pause)
            kafka_source_pause(s->sources, NULL, 0);
        else
            kafka_source_resume(s->sources, NULL, 0);
    }
    /* What was under way when they were closed must have landed before they are opened again. */
    if (s->sources == NULL && !s->sources_closing && gather_in_flight(s->gather) == 0 &&
        clock_monotonic_ms() >= s->sources_not_before_ms)
        serve__read_sources(s);
}

/* ---- the sink ---- */

static void on_room(void *ctx)
{
    serve *s = ctx;
    gather_room(s->gather);
}

static void on_sink_error(void *ctx, const kafka_error *e)
{
    (void)ctx;
    serve__log_kafka(LOG_LEVEL_WARN, e->fatal ? "the producer is being replaced" : "Kafka, writing",
                     e);
}

/* A record may be as large as the configuration says, with its key, its head line and the
 * protocol's own. */
static const kafka_property *with_size(serve *s, config_map *map)
{
    for (size_t i = 0; i < map->count; i++)
        if (strcmp(map->at[i].name, "message.max.bytes") == 0)
            return map->at;
    kafka_property *grown = og_arena_zalloc(s->config->arena, map->count + 1, sizeof *grown);
    og_str size =
        og_arena_printf(s->config->arena, "%lld", (long long)s->config->max_record_bytes + 65536);
    if (grown == NULL || size.p == NULL)
        return NULL;
    memcpy(grown, map->at, map->count * sizeof *grown);
    grown[map->count++] = (kafka_property){"message.max.bytes", size.p};
    return grown;
}

og_status serve__open_sink(serve *s, og_error *err)
{
    config_map properties;
    og_status status = config_kafka(s->config, false, &properties, err);
    if (status != OG_OK)
        return status;
    kafka_sink_options o = {
        .properties = with_size(s, &properties),
        .linger_ms = s->config->kafka_linger_ms > 0 ? (int)s->config->kafka_linger_ms : -1,
        .waits_for_topics = true,
        .ctx = s,
        .on_error = on_sink_error,
        .on_room = on_room,
        .on_log = on_log};
    o.property_count = properties.count;
    if (o.properties == NULL)
        return og_fail(err, OG_NOMEM, "no memory for Kafka's properties");
    return kafka_sink_new(s->loop, &o, &s->sink, err);
}

/* ---- lags ---- */

typedef struct progress {
    int ours, restoring; /* partitions that the group gave us, and of these not done yet */
    int awaited;         /* that were ours a moment ago, and have not been given to others */
    int there;           /* of both: restored, or soon again */
    int64_t left;        /* records that are to be read yet */
} progress;

/* The group divides the partitions anew: whoever has their stores has them again in a moment. */
static bool is_brief(const serve *s)
{
    return clock_monotonic_ms() - s->revoked_ms < REBALANCE_MS;
}

static progress progress_of(const serve *s)
{
    progress all = {0};
    bool shared = owner_get(s->owner, OWNER_SHARED).restored && !SERVE_SHARED(s)->rebuild;
    for (int i = 0; i < s->count; i++) {
        const serve_partition *p = &s->partitions[i];
        owner_state state = owner_get(s->owner, i);
        int64_t next = state.next_offset > 0 ? state.next_offset : 0;
        all.ours += state.assigned;
        all.restoring += state.assigned && (!state.settled || p->rebuild || !shared);
        bool awaited = !state.assigned && p->store != NULL && !p->foreign;
        all.awaited += awaited;
        all.there += (state.assigned || awaited) && shared && !p->rebuild &&
                     (state.restored || (p->was_restored && is_brief(s)));
        if (state.assigned && !state.restored && state.end_offset != INT64_MAX)
            all.left += state.end_offset > next ? state.end_offset - next : 0;
    }
    return all;
}

int serve__restoring(const serve *s)
{
    progress all = progress_of(s);
    return all.restoring + all.awaited;
}

bool serve__has_nothing(const serve *s)
{
    progress all = progress_of(s);
    return all.ours + all.awaited > 0 && all.there == 0;
}

bool serve__is_assigned(const serve *s)
{
    return s->joined && progress_of(s).awaited == 0;
}

void serve__set_progress(const serve *s)
{
    progress all = progress_of(s);
    metric_set(METRIC_PARTITIONS, all.ours);
    metric_set(METRIC_RESTORING, all.restoring + all.awaited);
    metric_set(METRIC_RESTORE_LEFT, all.left);
}

void serve__tell_progress(serve *s)
{
    progress all = progress_of(s);
    bool done = s->restoring_told && all.restoring == 0;
    if (all.restoring > 0 && s->progress_ticks++ % PROGRESS_TICKS == PROGRESS_TICKS - 1) {
        s->restoring_told = true;
        log_info("restoring: %d of %d partitions are not done yet, %lld records left",
                 all.restoring, all.ours, (long long)all.left);
    } else if (done) {
        log_info("restored: %d partitions", all.ours);
    }
    if (all.restoring == 0) {
        s->progress_ticks = 0;
        s->restoring_told = false;
    }
}

void serve__tell_sweep(serve *s)
{
    uint64_t swept = 0;
    int sweeping = 0;
    for (int i = 0; i < s->count; i++) {
        owner_state state = owner_get(s->owner, i);
        sweeping += state.sweeping;
        swept += state.sweeping ? state.swept : 0;
    }
    metric_set(METRIC_SWEEPING, sweeping);
    if (sweeping == 0)
        s->sweep_ticks = 0;
    else if (s->sweep_ticks++ % PROGRESS_TICKS == PROGRESS_TICKS - 1)
        log_info("new content or endpoints: %d of %d partitions are under way, %llu of their "
                 "patients evaluated",
                 sweeping, s->count, (unsigned long long)swept);
}

void serve__on_swept(void *ctx, int partition, const owner_sweep *sweep)
{
    (void)ctx;
    log_info("new content or endpoints: partition %d is through, %llu patients; meanwhile %llu "
             "alerts opened, %llu changed, %llu resolved",
             partition, (unsigned long long)sweep->patients, (unsigned long long)sweep->opened,
             (unsigned long long)sweep->changed, (unsigned long long)sweep->resolved);
}

#define MAX_POSITIONS 1024

/* Behind the last message that is done may stand what is none: the end of a transaction. */
static int64_t lag_of_source(const kafka_position *p)
{
    bool all_done = p->waiting == 0 && p->next >= 0;
    int64_t at = all_done       ? p->next
                 : p->done >= 0 ? p->done
                 : p->next >= 0 ? p->next - (int64_t)p->waiting
                                : p->low;
    return p->high > at && at >= 0 ? p->high - at : (int64_t)p->waiting;
}

void serve__set_lags(serve *s)
{
    static kafka_position at[MAX_POSITIONS];
    int64_t lag = 0, records = 0;
    size_t n = s->sources != NULL ? kafka_source_positions(s->sources, at, MAX_POSITIONS) : 0;
    for (size_t i = 0; i < n && i < MAX_POSITIONS; i++)
        lag += lag_of_source(&at[i]);
    metric_set(METRIC_SOURCE_LAG, lag);
    n = s->records != NULL ? kafka_source_positions(s->records, at, MAX_POSITIONS) : 0;
    for (size_t i = 0; i < n && i < MAX_POSITIONS; i++) {
        owner_state state = owner_get(s->owner, at[i].partition < s->count ? at[i].partition : 0);
        int64_t behind = at[i].high - (state.next_offset >= 0 ? state.next_offset : 0);
        records += behind > (int64_t)state.waiting ? behind : (int64_t)state.waiting;
    }
    metric_set(METRIC_RECORDS_LAG, records);
    n = s->shared != NULL ? kafka_source_positions(s->shared, at, MAX_POSITIONS) : 0;
    owner_state shared = owner_get(s->owner, OWNER_SHARED);
    int64_t behind = n > 0 ? at[0].high - (shared.next_offset >= 0 ? shared.next_offset : 0) : 0;
    metric_set(METRIC_SHARED_LAG,
               behind > (int64_t)shared.waiting ? behind : (int64_t)shared.waiting);
}
