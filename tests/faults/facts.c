/* Facts: what the topics say, by name. Two runs can be compared by them, whatever offsets, times
 * and revisions they came to. */
#include "invariants.h"

#include "daemon/said.h"

#define FACTS_BYTES ((size_t)256 << 20)

static const kafka_property *reader_properties(const stage *s, size_t *ret_count)
{
    static kafka_property at[2];
    at[0] = (kafka_property){"bootstrap.servers", s->kafka.bootstrap};
    at[1] = (kafka_property){"fetch.wait.max.ms", "20"};
    *ret_count = 2;
    return at;
}

void topic_scan(stage *s, const char *topic, topic_reader_fn *fn, void *ctx)
{
    topic_reader *r;
    og_error err;
    size_t n;
    const kafka_property *properties = reader_properties(s, &n);
    og_error_init(&err);
    if (topic_reader_new(&s->loop, properties, n, &r, &err) != OG_OK ||
        topic_reader_scan(r, topic, fn, ctx, &err) != OG_OK)
        fail_msg("%s: %s", topic, err.text);
    topic_reader_free(r);
}

/* ---- what was sent ---- */

typedef struct reading {
    og_arena *arena;
    sent_list *list;
    const char *topic;
    size_t cap;
} reading;

static bool note_sent(void *ctx, const conn_message *m)
{
    reading *r = ctx;
    sent_list *l = r->list;
    if (l->count == r->cap) {
        size_t cap = r->cap == 0 ? 128 : r->cap * 2;
        l->at = og_arena_grow(r->arena, l->at, r->cap * sizeof *l->at, cap * sizeof *l->at);
        assert_non_null(l->at);
        r->cap = cap;
    }
    sent_message *out = &l->at[l->count++];
    *out = (sent_message){.topic = r->topic, .partition = m->origin.partition};
    if (m->key.p != NULL)
        out->key = og_arena_str(r->arena, m->key);
    if (m->value.p != NULL)
        out->value = og_arena_str(r->arena, m->value);
    return true;
}

void sent_read(stage *s, og_arena *a, sent_list *ret)
{
    reading r = {.arena = a, .list = ret};
    *ret = (sent_list){0};
    for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
        r.topic = sources[i];
        topic_scan(s, sources[i], note_sent, &r);
    }
    assert_false(og_arena_failed(a));
}

void sent_sample(og_arena *a, sent_list *ret)
{
    ndjson_reader *lines;
    ndjson_item item;
    og_error err;
    reading r = {.arena = a, .list = ret, .topic = "fhir.bundle"};
    *ret = (sent_list){0};
    og_error_init(&err);
    assert_int_equal(ndjson_open(STREAM, 0, 0, 0, &lines, &err), OG_OK);
    while (ndjson_next(lines, &item, &err) == OG_OK) {
        conn_message m = {.value = item.text};
        (void)note_sent(&r, &m);
    }
    ndjson_close(lines);
    assert_true(ret->count > 50 && !og_arena_failed(a));
}

/* ---- facts ---- */

void facts_init(facts *f)
{
    f->arena = og_arena_new(FACTS_BYTES);
    assert_non_null(f->arena);
    og_table_init(&f->table, f->arena);
}

void facts_done(facts *f)
{
    og_arena_free(f->arena);
    f->arena = NULL;
}

static void put(facts *f, og_str name, og_str text)
{
    og_str key = og_arena_str(f->arena, name), value = og_arena_str(f->arena, text);
    assert_true(key.p != NULL && value.p != NULL &&
                og_table_put(&f->table, key, (void *)(uintptr_t)value.p));
}

void facts_put(facts *f, const char *name, const char *text)
{
    put(f, og_str_of(name), og_str_of(text));
}

typedef struct versions { /* of one key of a topic */
    record_order newest, last;
    int32_t partition;
    og_str text; /* of the newest */
} versions;

typedef struct gathering {
    facts *f;
    og_table records; /* key → versions */
    og_arena *scratch;
    size_t in_two, outdated; /* breaks of I2 */
} gathering;

static og_str body_text(gathering *g, const record *r)
{
    return r->deleted ? OG_STR("deleted")
                      : og_arena_printf(g->f->arena, "%zu bytes, %08x", r->body.n,
                                        (unsigned)og_crc32c(0, r->body.p, r->body.n));
}

static bool note_record(void *ctx, const conn_message *m)
{
    gathering *g = ctx;
    record r;
    og_arena_reset(g->scratch);
    if (record_is_beat(m->key) || record_is_place(m->key) || backfill_is_mark(m->key) ||
        m->value.p == NULL || record_read(g->scratch, m->key, m->value, &r, NULL) != OG_OK)
        return true; /* what is no record is counted and passed over */
    versions *v = og_table_get(&g->records, m->key);
    if (v == NULL) {
        v = og_arena_zalloc(g->f->arena, 1, sizeof *v);
        assert_true(v != NULL && og_table_put(&g->records, og_arena_str(g->f->arena, m->key), v));
        v->newest = r.order;
        v->partition = m->origin.partition;
        v->text = body_text(g, &r);
    }
    if (v->partition != m->origin.partition) {
        printf("    %.*s stands in two partitions\n", OG_STR_ARG(m->key));
        g->in_two++;
    }
    v->last = r.order;
    if (record_order_cmp(&r.order, &v->newest) > 0) {
        v->newest = r.order;
        v->text = body_text(g, &r);
    }
    return true;
}

static void records_to_facts(gathering *g)
{
    for (uint32_t i = 0; i < g->records.count; i++) {
        const og_table_entry *e = &g->records.entries[i];
        const versions *v = e->value;
        if (record_order_cmp_version(&v->last, &v->newest) != 0) {
            printf("    an older version of %.*s stands last\n", OG_STR_ARG(e->key));
            g->outdated++;
        }
        put(g->f, og_arena_printf(g->f->arena, "record %.*s", OG_STR_ARG(e->key)), v->text);
    }
    check(g->in_two == 0, "I2: a resource has one partition");
    check(g->outdated == 0, "I2: the newest version stands last on its topic");
}

static og_str header(const conn_message *m, const char *name)
{
    og_str value = {NULL, 0};
    (void)kafka_message_header(m, name, &value);
    return value;
}

static bool note_letter(void *ctx, const conn_message *m)
{
    facts *f = ctx;
    og_str topic = header(m, "source-topic"), partition = header(m, "source-partition"),
           offset = header(m, "source-offset"), entry = header(m, "entry");
    og_str name = og_arena_printf(f->arena, "letter %.*s[%.*s]@%.*s%s%.*s", OG_STR_ARG(topic),
                                  OG_STR_ARG(partition), OG_STR_ARG(offset),
                                  entry.n > 0 ? " entry " : "", OG_STR_ARG(entry));
    put(f, name, header(m, "reason"));
    return true;
}

static bool note_alert(void *ctx, const conn_message *m)
{
    gathering *g = ctx;
    said_key k;
    plan_alert alert;
    og_arena_reset(g->scratch);
    if (!said_read_key(m->key, &k) || k.endpoint.n > 0)
        return true;
    og_str name = og_arena_printf(g->f->arena, "alert %.*s %s", OG_STR_ARG(k.patient), k.alert_id);
    bool open = m->value.p != NULL &&
                plan_alert_read(g->scratch, m->value, &alert, NULL) == OG_OK &&
                alert.state == PLAN_ALERT_ACTIVE;
    put(g->f, name,
        open ? og_arena_printf(g->scratch, "%.*s, finding %016llx", OG_STR_ARG(alert.rule),
                               (unsigned long long)alert.material)
             : OG_STR(""));
    return true;
}

void facts_read(stage *s, facts *ret)
{
    facts_init(ret);
    gathering g = {.f = ret, .scratch = og_arena_new(FACTS_BYTES)};
    assert_non_null(g.scratch);
    og_table_init(&g.records, ret->arena);
    topic_scan(s, "osteoguard.records", note_record, &g);
    topic_scan(s, "osteoguard.shared", note_record, &g);
    topic_scan(s, "osteoguard.dead-letters", note_letter, ret);
    topic_scan(s, "osteoguard.alerts", note_alert, &g);
    records_to_facts(&g);
    og_arena_free(g.scratch);
    assert_false(og_arena_failed(ret->arena));
}

/* ---- the same without faults ---- */

void facts_without_faults(const stage *like, const sent_list *sent, facts *ret)
{
    stage *s = stage_new();
    s->limits = like->limits;
    for (size_t i = 0; i < sent->count; i++) {
        const sent_message *m = &sent->at[i];
        char key[512];
        snprintf(key, sizeof key, "%.*s", OG_STR_ARG(m->key));
        mock_kafka_put(&s->kafka, m->topic, m->partition, m->key.p != NULL ? key : NULL, m->value.p,
                       m->value.n);
        s->sent += strcmp(m->topic, "fhir.bundle") == 0 && m->partition == 0;
    }
    s->now_ms = like->now_ms;
    start_and_wait(s);
    wait_until(s, "the run without faults", at_rest);
    facts_read(s, ret);
    stage_free(s);
}

size_t facts_count(const facts *f, const char *prefix)
{
    size_t n = 0;
    for (uint32_t i = 0; i < f->table.count; i++)
        n += og_str_starts(f->table.entries[i].key, og_str_of(prefix)) &&
             *(const char *)f->table.entries[i].value != '\0';
    return n;
}

static size_t look_for(const facts *those, const facts *in, const char *prefix, const char *word,
                       bool compare)
{
    size_t n = 0;
    for (uint32_t i = 0; i < those->table.count; i++) {
        const og_table_entry *e = &those->table.entries[i];
        const char *text = e->value, *other = og_table_get(&in->table, e->key);
        if (!og_str_starts(e->key, og_str_of(prefix)))
            continue;
        if (text[0] != '\0' && (other == NULL || other[0] == '\0')) {
            printf("    %s: %.*s (%s)\n", word, OG_STR_ARG(e->key), text);
            n++;
        } else if (compare && text[0] != '\0' && strcmp(text, other) != 0) {
            printf("    wrong: %.*s is (%s), should be (%s)\n", OG_STR_ARG(e->key), other, text);
            n++;
        }
    }
    return n;
}

size_t facts_differ(const facts *expected, const facts *got, const char *prefix)
{
    return look_for(expected, got, prefix, "lost", true) +
           look_for(got, expected, prefix, "made up", false);
}
