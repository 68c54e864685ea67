/* Away for longer than the topics keep what they held: one store, or everybody. The embedded broker
 * does not compact; what compaction leaves behind is written here as it would stand. */
#include "invariants.h"

#include "daemon/record.h"

#define DAY_MS ((int64_t)86400000)
#define GATE   "freshness_ms: 6000" /* heartbeats come oftener */

/* ---- a store that missed deletes ---- */

static void open_stopped(const stage *s, int partition, store **ret)
{
    char dir[200];
    snprintf(dir, sizeof dir, "%s/store/1-%d/%d", s->dir, PARTITIONS, partition);
    assert_int_equal(store_open(dir, (size_t)128 << 20, false, NULL, ret, NULL), OG_OK);
}

/* A resource that every topic has forgotten: deleted, and its tombstone compacted away, while this
 * store was elsewhere. */
static bool leave_ghost(store *st)
{
    static const char body[] =
        "{\"resourceType\":\"Observation\",\"id\":\"ghost\",\"status\":\"final\","
        "\"subject\":{\"reference\":\"Patient/sample-07\"},\"effectiveDateTime\":\"2026-02-27\","
        "\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"2160-0\"}]},"
        "\"valueQuantity\":{\"value\":5,\"unit\":\"mg/dL\",\"system\":"
        "\"http://unitsofmeasure.org\",\"code\":\"mg/dL\"}}";
    store_txn *t;
    fhir_doc doc;
    store_applied applied = STORE_STALE;
    bool known = false;
    og_arena *a = og_arena_new((size_t)16 << 20), *scratch = og_arena_new((size_t)16 << 20);
    record r = {.tenant = OG_STR("t"),
                .patient = OG_STR("sample-07"),
                .type = OG_STR("Observation"),
                .id = OG_STR("ghost"),
                .order = {.time_us = BEFORE_MIDNIGHT * 1000},
                .topic = OG_STR("fhir.bundle"),
                .of = 1,
                .body = OG_STR(body)};
    assert_int_equal(store_begin(st, true, &t, NULL), OG_OK);
    assert_int_equal(store_knows(t, r.patient, &known, NULL), OG_OK);
    if (known) {
        assert_int_equal(fhir_decode(a, r.body, NULL, &doc, NULL), OG_OK);
        assert_int_equal(store_apply(t, scratch, &r, &doc, 0, &applied, NULL), OG_OK);
        assert_int_equal(applied, STORE_APPLIED);
    }
    assert_int_equal(store_commit(t, NULL), OG_OK);
    og_arena_free(scratch);
    og_arena_free(a);
    return known;
}

static void last_seen(store *st, int64_t ago_ms)
{
    store_txn *t;
    assert_int_equal(store_begin(st, true, &t, NULL), OG_OK);
    assert_int_equal(store_set_meta_int(t, STORE_SEEN, clock_wall_ms() - ago_ms, NULL), OG_OK);
    assert_int_equal(store_commit(t, NULL), OG_OK);
}

static size_t ghosts(const stage *s)
{
    size_t n = 0;
    for (int p = 0; p < PARTITIONS; p++) {
        store_txn *t;
        fhir_doc doc;
        og_arena *a = og_arena_new((size_t)16 << 20);
        assert_int_equal(store_begin(s->at[0].serve->partitions[p].store, false, &t, NULL), OG_OK);
        n += store_resource(t, a, OG_STR("sample-07"), OG_STR("Observation"), OG_STR("ghost"), &doc,
                            NULL) == OG_OK;
        store_abort(t);
        og_arena_free(a);
    }
    return n;
}

/* All stores of the daemon, which is stopped, were last used so long ago. */
static size_t age_stores(const stage *s, int64_t ago_ms, bool haunt)
{
    size_t left = 0;
    for (int p = 0; p < PARTITIONS; p++) {
        store *st;
        open_stopped(s, p, &st);
        left += haunt && leave_ghost(st);
        last_seen(st, ago_ms);
        kv_close(st);
    }
    return left;
}

void store_was_away(void)
{
    stage *s = stage_new();
    s->limits = GATE;
    start_and_wait(s);
    (void)send_stream(s, 0, SIZE_MAX);
    s->now_ms = AFTER_MIDNIGHT;
    wait_until(s, "rest", at_rest);
    stop(s);
    size_t said = s->post_count;
    check(age_stores(s, 13 * DAY_MS, true) == 1, "one partition has the patient");
    start_and_wait(s);
    wait_until(s, "rest", at_rest);
    check(metric_value(METRIC_STORE_DISCARDED) == 0 && ghosts(s) == 1,
          "away for less than deletes are kept, a store is believed");
    stop(s);
    (void)age_stores(s, 15 * DAY_MS, false);
    start_and_wait(s);
    wait_until(s, "rest", at_rest);
    check(metric_value(METRIC_STORE_DISCARDED) == PARTITIONS,
          "away for longer, each is thrown away (%lld)",
          (long long)metric_value(METRIC_STORE_DISCARDED));
    check(ghosts(s) == 0, "what was deleted meanwhile is deleted");
    check(s->post_count == said, "nothing is said for that");
    judge(s, NULL);
    stage_free(s);
}

/* ---- owners that missed versions ---- */

typedef struct copying {
    stage *to;
    const char *topic;
    int64_t shift_ms;
    size_t copied, swapped;
} copying;

/* As it was before: what a late older version leaves of a newer one that compaction took. */
static bool older_version(og_arena *a, const conn_message *m, og_buf *ret)
{
    static const char now[] = "\"value\":1.0,", before[] = "\"value\":5.0,";
    record r;
    if (memmem(m->key.p, m->key.n, "Observation/sample-07-creatinine", 32) == NULL ||
        record_is_place(m->key) || record_read(a, m->key, m->value, &r, NULL) != OG_OK)
        return false;
    og_str body = og_arena_str(a, r.body);
    char *at = memmem(body.p, body.n, now, strlen(now));
    assert_non_null(at);
    memcpy(at, before, strlen(before));
    r.body = body;
    r.order.time_us -= DAY_MS * 1000;
    og_buf_init(ret, 65536);
    record_write_value(ret, &r);
    return true;
}

static bool copy_message(void *ctx, const conn_message *m)
{
    copying *c = ctx;
    og_arena *a = og_arena_new((size_t)1 << 20);
    og_buf older;
    og_str value = m->value;
    bool swapped = older_version(a, m, &older);
    if (swapped)
        value = og_buf_str(&older);
    mock_kafka_put_at(&c->to->kafka, c->topic, m->origin.partition, m->key.p, m->key.n, value.p,
                      value.n, m->origin.timestamp_ms - c->shift_ms);
    if (swapped)
        og_buf_done(&older);
    c->swapped += swapped;
    c->copied++;
    og_arena_free(a);
    return true;
}

/* The sources were read to their ends by whoever wrote the records. */
static void commit_sources(const stage *s)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(
        rd_kafka_conf_set(conf, "bootstrap.servers", s->kafka.bootstrap, text, sizeof text),
        RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(conf, "group.id", "osteoguard-gather", text, sizeof text),
                     RD_KAFKA_CONF_OK);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    assert_non_null(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, "fhir.bundle", 0)->offset = s->sent;
    assert_int_equal(rd_kafka_commit(rk, list, 0), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(rk);
}

/* Everything that another daemon made of the stream, with one version missing, and since then
 * nobody was there. */
static stage *stage_left_alone(int64_t ago_ms)
{
    stage *was = stage_new(), *s = stage_new();
    was->limits = s->limits = GATE;
    start_and_wait(was);
    (void)send_stream(was, 0, SIZE_MAX);
    wait_until(was, "rest", at_rest);
    (void)send_stream(s, 0, SIZE_MAX);
    commit_sources(s);
    copying c = {.to = s, .shift_ms = ago_ms};
    static const char *const topics[] = {"osteoguard.shared", "osteoguard.records"};
    for (size_t i = 0; i < 2; i++) {
        c.topic = topics[i];
        topic_scan(was, topics[i], copy_message, &c);
    }
    assert_int_equal(rd_kafka_flush(s->kafka.rk, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
    check(c.swapped == 1, "one version is lost (%zu of %zu)", c.swapped, c.copied);
    stage_free(was);
    s->now_ms = AFTER_MIDNIGHT;
    return s;
}

static bool is_read_again(stage *s)
{
    return metric_value(METRIC_MESSAGES) >= s->sent && at_rest(s);
}

void owners_were_away(void)
{
    stage *s = stage_left_alone(13 * DAY_MS);
    start_and_wait(s);
    wait_until(s, "rest", at_rest);
    check(metric_value(METRIC_MESSAGES) == 0 && metric_value(METRIC_UNREAD) == 0,
          "away for less than compaction waits: nothing can be lost, nothing is read again");
    stage_free(s);

    s = stage_left_alone(20 * DAY_MS);
    start_and_wait(s);
    wait_until(s, "that the sources are read again", is_read_again);
    check(metric_value(METRIC_UNREAD) == PARTITIONS, "every partition was unread (%lld)",
          (long long)metric_value(METRIC_UNREAD));
    judge(s, NULL);
    note("the lost version came back from the sources");
    stage_free(s);
}
