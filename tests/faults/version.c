/* What another version has left behind: stores with another schema, records that say more than we
 * read, and a store that saw everybody with other content. The change of a running program for
 * another is over_kafka.sh's. */
#include "invariants.h"

#include <sys/stat.h>

#include "daemon/kv.h"
#include "daemon/record.h"

static const char *const store_names[] = {"0", "1", "2", "shared"};
#define STORES (sizeof store_names / sizeof store_names[0])

/* In the store's place, one of another schema; of its rows nothing can be made. */
static void put_other_store(const stage *s, size_t which, const char *schema)
{
    static const char *const tables[] = {"resource", "meta"};
    char dir[200];
    kv *k;
    kv_txn *t;
    snprintf(dir, sizeof dir, "%s/store/1-%d/%s", s->dir, PARTITIONS, store_names[which]);
    kv_options o = {.dir = dir,
                    .tables = tables,
                    .table_count = 2,
                    .map_bytes = (size_t)16 << 20,
                    .schema = schema};
    assert_int_equal(kv_discard(dir, NULL), OG_OK);
    assert_int_equal(kv_open(&o, &k, NULL), OG_OK);
    assert_int_equal(kv_begin(k, true, &t, NULL), OG_OK);
    for (int table = 0; table < 2; table++)
        assert_int_equal(kv_put(t, table, OG_STR("next_offset"), OG_STR("what is this?"), NULL),
                         OG_OK);
    assert_int_equal(kv_commit(t, NULL), OG_OK);
    kv_close(k);
}

typedef struct adding {
    stage *to;
    size_t added;
} adding;

/* Again, with a member in the head line that nobody knows yet. */
static bool add_member(void *ctx, const conn_message *m)
{
    adding *a = ctx;
    og_buf b;
    record r;
    og_arena *arena = og_arena_new((size_t)1 << 20);
    if (m->value.p != NULL && !record_is_beat(m->key) && !record_is_place(m->key) &&
        record_read(arena, m->key, m->value, &r, NULL) == OG_OK) {
        og_buf_init(&b, (size_t)1 << 20);
        og_buf_addz(&b, "{\"later\":{\"is\":[\"more\"]},");
        og_buf_add(&b, m->value.p + 1, m->value.n - 1);
        mock_kafka_put_at(&a->to->kafka, "osteoguard.records", m->origin.partition, m->key.p,
                          m->key.n, b.p, b.n, 0);
        a->added++;
        og_buf_done(&b);
    }
    og_arena_free(arena);
    return a->added < 50;
}

static size_t posts_about(const stage *s, size_t from, const char *rule)
{
    size_t n = 0;
    char word[64];
    snprintf(word, sizeof word, "\"rule\":\"%s\"", rule);
    for (size_t i = from; i < s->post_count; i++)
        n += strstr(s->posts[i].body, word) != NULL;
    return n;
}

/* An index of recorded ids of another form, and the one that versions up to store-11 had. */
static void put_other_index(const stage *s, char former[200])
{
    char path[200];
    snprintf(path, sizeof path, "%s/store/1-%d/ids/data", s->dir, PARTITIONS);
    assert_int_equal(file_write(path, OG_STR("osteoguard-ids-999\n"), NULL), OG_OK);
    snprintf(former, 200, "%s/store/1-%d/locator", s->dir, PARTITIONS);
    assert_int_equal(file_make_dirs(former, NULL), OG_OK);
    snprintf(path, sizeof path, "%s/data.mdb", former);
    assert_int_equal(file_write(path, OG_STR("what is this?"), NULL), OG_OK);
}

/* An older store, then a newer one: rebuilt, and nothing is said for that. */
static void other_schemas(stage *s)
{
    static const char *const schemas[] = {"osteoguard-store-1", "osteoguard-store-999"};
    for (size_t i = 0; i < 2; i++) {
        char former[200], index[200];
        struct stat st = {0};
        size_t said = s->post_count;
        for (size_t k = 0; k < STORES; k++)
            put_other_store(s, k, schemas[i]);
        put_other_index(s, former);
        start_and_wait(s);
        wait_until(s, "rest", at_rest);
        check(metric_value(METRIC_STORE_DISCARDED) == PARTITIONS + 1,
              "%s: each is thrown away (%lld)", schemas[i],
              (long long)metric_value(METRIC_STORE_DISCARDED));
        snprintf(index, sizeof index, "%s/store/1-%d/ids/data", s->dir, PARTITIONS);
        check(stat(index, &st) == 0 && st.st_size > 100000,
              "%s: and the index of recorded ids (%lld bytes)", schemas[i], (long long)st.st_size);
        check(!file_exists(former), "%s: the index that was there before is gone", schemas[i]);
        check(s->post_count == said, "%s: nothing new is said", schemas[i]);
        stop(s);
    }
}

/* Other content evaluates everybody once, and says what differs; the same content nobody. */
static void other_content(stage *s)
{
    static const char *const rule = "D3";
    size_t said = s->post_count;
    s->content_dir = OG_SOURCE_DIR "/rules/content, disabled: [D3]";
    start_and_wait(s);
    wait_until(s, "rest", at_rest);
    int64_t swept = metric_value(METRIC_SWEPT);
    check(swept > 20 && metric_value(METRIC_EVALUATIONS) <= swept + 1,
          "everybody is evaluated once: %lld patients, %lld evaluations", (long long)swept,
          (long long)metric_value(METRIC_EVALUATIONS));
    check(s->post_count > said, "what the rule had said is withdrawn");
    stop(s);
    said = s->post_count;
    start_and_wait(s);
    wait_until(s, "rest", at_rest);
    check(metric_value(METRIC_SWEPT) == 0 && s->post_count == said,
          "with the same content nobody is, and nothing is said");
    stop(s);
    s->content_dir = NULL;
    start_and_wait(s);
    wait_until(s, "rest", at_rest);
    check(s->post_count > said && posts_about(s, said, rule) == s->post_count - said,
          "with the old one again only that rule speaks: %zu of %zu", posts_about(s, said, rule),
          s->post_count - said);
    stop(s);
}

void other_versions(void)
{
    stage *s = stage_new();
    adding a = {.to = s};
    s->limits = "freshness_ms: 6000";
    start_and_wait(s);
    (void)send_stream(s, 0, SIZE_MAX);
    s->now_ms = AFTER_MIDNIGHT;
    wait_until(s, "rest", at_rest);
    size_t said = s->post_count;
    topic_scan(s, "osteoguard.records", add_member, &a);
    assert_int_equal(rd_kafka_flush(s->kafka.rk, 30000), RD_KAFKA_RESP_ERR_NO_ERROR);
    wait_until(s, "rest", at_rest);
    check(a.added == 50 && metric_value(METRIC_BAD_RECORDS) == 0 && s->post_count == said,
          "records that say more than we read are records: %zu, %lld not", a.added,
          (long long)metric_value(METRIC_BAD_RECORDS));
    stop(s);
    other_schemas(s);
    other_content(s);
    judge(s, NULL);
    stage_free(s);
}
