/* Judgement; see invariants.h. */
#include "invariants.h"

#include "daemon/said.h"

/* ---- the stores ---- */

static void draw_patient(store_txn *t, og_arena *a, og_str patient, og_buf *out)
{
    const fhir_resource *list;
    const plan_alert *alerts;
    size_t resources, count;
    assert_int_equal(store_view(t, NULL, a, patient, &list, &resources, NULL), OG_OK);
    og_buf_addf(out, "patient %.*s\n", OG_STR_ARG(patient));
    for (size_t k = 0; k < resources; k++) {
        og_buf_adds(out, fhir_raw(list[k].root));
        og_buf_addc(out, '\n');
    }
    assert_int_equal(store_alerts(t, a, patient, &alerts, &count, NULL), OG_OK);
    for (size_t k = 0; k < count; k++)
        og_buf_addf(out, "alert %s of %.*s revision %u state %d card %s\n", alerts[k].id,
                    OG_STR_ARG(alerts[k].rule), alerts[k].revision, (int)alerts[k].state,
                    alerts[k].card_uuid);
}

void draw_stores(const serve *s, og_buf *out)
{
    og_buf_init(out, (size_t)64 << 20);
    og_arena *a = og_arena_new((size_t)256 << 20);
    for (int p = 0; p < PARTITIONS; p++) {
        store_txn *t;
        const og_str *patients;
        size_t n;
        assert_int_equal(store_begin(s->partitions[p].store, false, &t, NULL), OG_OK);
        assert_int_equal(store_patients(t, a, (og_str){NULL, 0}, SIZE_MAX, &patients, &n, NULL),
                         OG_OK);
        for (size_t i = 0; i < n; i++)
            draw_patient(t, a, patients[i], out);
        store_abort(t);
    }
    og_arena_free(a);
    assert_false(og_buf_failed(out));
}

static bool same_pictures(const og_buf *before, const og_buf *after)
{
    og_str a = og_buf_str(before), b = og_buf_str(after);
    for (int line = 1; !og_str_eq(a, b); line++) {
        ptrdiff_t m = og_str_find(a, '\n'), n = og_str_find(b, '\n');
        og_str one = {a.p, m < 0 ? a.n : (size_t)m}, other = {b.p, n < 0 ? b.n : (size_t)n};
        if (!og_str_eq(one, other)) {
            printf("    line %d was  %.*s\n    line %d is   %.*s\n", line, OG_STR_ARG(one), line,
                   OG_STR_ARG(other));
            return false;
        }
        a = og_str_from(a, one.n + 1);
        b = og_str_from(b, other.n + 1);
    }
    return true;
}

/* ---- coming to rest ---- */

static uint64_t left_to_write(const stage *s)
{
    uint64_t left = 0;
    for (int i = 0; i <= PARTITIONS; i++) {
        store_txn *t;
        uint64_t n = 0;
        store *st = s->at[0].serve->partitions[i].store;
        if (st == NULL || store_begin(st, false, &t, NULL) != OG_OK)
            return 1;
        assert_int_equal(store_outgoing_count(t, &n, NULL), OG_OK);
        store_abort(t);
        left += n;
    }
    return left;
}

bool at_rest(stage *s)
{
    return serve_ready(s->at[0].serve) && is_quiet(s) && left_to_write(s) == 0;
}

/* ---- stores and topics ---- */

typedef struct comparing {
    const facts *topics;
    og_arena *arena;
    bool good;
} comparing;

static og_status look_at_resource(void *ctx, og_str patient, og_str type_id,
                                  const record_order *order, bool deleted, og_error *err)
{
    comparing *c = ctx;
    (void)order;
    (void)err;
    og_arena_reset(c->arena);
    og_str name =
        og_arena_printf(c->arena, "record t|%.*s|%.*s", OG_STR_ARG(patient), OG_STR_ARG(type_id));
    const char *text = og_table_get(&c->topics->table, name);
    if (text != NULL && deleted == (strcmp(text, "deleted") == 0))
        return OG_OK;
    printf("    the store has %.*s%s, the topic has it %s\n", OG_STR_ARG(name),
           deleted ? " deleted" : "", text == NULL ? "not" : text);
    c->good = false;
    return OG_OK;
}

/* Under its own key, or as a merged patient's copy, whose key says the way as well. */
static bool stands_there(const facts *topics, og_str name, og_str text)
{
    const char *there = og_table_get(&topics->table, name);
    if (there != NULL)
        return og_str_is(text, there);
    for (uint32_t i = 0; i < topics->table.count; i++) {
        og_str key = topics->table.entries[i].key;
        if (key.n > name.n && key.p[name.n] == RECORD_VIA && og_str_starts(key, name) &&
            og_str_is(text, topics->table.entries[i].value))
            return true;
    }
    return false;
}

/* The newest of the topic, byte for byte. */
static void look_at_bodies(comparing *c, store_txn *t, og_arena *a, og_str patient)
{
    const fhir_resource *list;
    size_t n;
    assert_int_equal(store_view(t, NULL, a, patient, &list, &n, NULL), OG_OK);
    for (size_t i = 0; i < n; i++) {
        og_str raw = fhir_raw(list[i].root);
        og_str name = og_arena_printf(a, "record t|%.*s|%.*s/%.*s", OG_STR_ARG(patient),
                                      OG_STR_ARG(list[i].type), OG_STR_ARG(list[i].id));
        og_str text =
            og_arena_printf(a, "%zu bytes, %08x", raw.n, (unsigned)og_crc32c(0, raw.p, raw.n));
        if (stands_there(c->topics, name, text))
            continue;
        printf("    the store has another version of %.*s\n", OG_STR_ARG(name));
        c->good = false;
    }
}

static void look_at_alerts(comparing *c, store_txn *t, og_arena *a, og_str patient)
{
    const plan_alert *alerts;
    size_t n;
    assert_int_equal(store_alerts(t, a, patient, &alerts, &n, NULL), OG_OK);
    for (size_t i = 0; i < n; i++) {
        og_str name = og_arena_printf(a, "alert %.*s %s", OG_STR_ARG(patient), alerts[i].id);
        const char *text = og_table_get(&c->topics->table, name);
        bool open = alerts[i].state == PLAN_ALERT_ACTIVE;
        if (text != NULL && (text[0] != '\0') == open)
            continue;
        printf("    the store has an alert of %.*s for %.*s %s, its topic says otherwise\n",
               OG_STR_ARG(alerts[i].rule), OG_STR_ARG(patient), open ? "open" : "resolved");
        c->good = false;
    }
}

static void judge_stores(const stage *s, const facts *topics)
{
    comparing c = {.topics = topics, .arena = og_arena_new((size_t)1 << 20), .good = true};
    og_arena *a = og_arena_new((size_t)256 << 20);
    for (int p = 0; p < PARTITIONS; p++) {
        store_txn *t;
        const og_str *patients;
        size_t n;
        assert_int_equal(store_begin(s->at[0].serve->partitions[p].store, false, &t, NULL), OG_OK);
        assert_int_equal(store_each_resource(t, look_at_resource, &c, NULL), OG_OK);
        assert_int_equal(store_patients(t, a, (og_str){NULL, 0}, SIZE_MAX, &patients, &n, NULL),
                         OG_OK);
        for (size_t i = 0; i < n; i++) {
            look_at_bodies(&c, t, a, patients[i]);
            look_at_alerts(&c, t, a, patients[i]);
        }
        store_abort(t);
    }
    og_arena_free(a);
    og_arena_free(c.arena);
    check(c.good, "I2: the stores have what the topics have");
}

/* ---- the EHR ---- */

ledger ledger_of(const stage *s)
{
    return (ledger){"ehr", s->posts, s->post_count};
}

static const char card_start[] = "{\"cards\":[{\"uuid\":\"";

static bool has_a_card(const post *p)
{
    return strncmp(p->body, card_start, strlen(card_start)) == 0;
}

static long long sequence_of(const post *p)
{
    const char *at = strstr(p->body, "\"sequence\":");
    return at != NULL ? strtoll(at + strlen("\"sequence\":"), NULL, 10) : -1;
}

static og_str patient_of(const post *p)
{
    static const char name[] = "\"patientId\":\"";
    const char *at = strstr(p->body, name);
    if (at == NULL)
        return (og_str){NULL, 0};
    at += strlen(name);
    return (og_str){at, strcspn(at, "\"")};
}

static bool is_repeat(const ledger *l, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(l->posts[k].key, l->posts[i].key) == 0)
            return true;
    return false;
}

/* A little of both, from where they part. */
static void print_difference(const char *a, const char *b)
{
    size_t same = 0;
    while (a[same] != '\0' && a[same] == b[same])
        same++;
    size_t from = same > 80 ? same - 80 : 0;
    printf("      at byte %zu: %.200s\n      and: %.200s\n", same, a + from, b + from);
}

/* What is so of one request and an earlier one. */
static bool fit_together(const ledger *l, size_t before, size_t i, bool repeat)
{
    const post *a = &l->posts[before], *b = &l->posts[i];
    bool same_key = strcmp(a->key, b->key) == 0, good = true;
    if (same_key && strcmp(a->body, b->body) != 0) {
        printf("    the key %s came with two bodies: %.120s\n", a->key, a->body);
        print_difference(a->body, b->body);
        good = false;
    }
    if (!same_key && has_a_card(a) && has_a_card(b) &&
        strncmp(a->body, b->body, strlen(card_start) + UUID_TEXT - 1) == 0) {
        printf("    said twice: the card %.36s came under the keys %s and %s\n",
               a->body + strlen(card_start), a->key, b->key);
        good = false;
    }
    if (!repeat && og_str_eq(patient_of(a), patient_of(b)) && sequence_of(a) >= sequence_of(b)) {
        printf("    for %.*s delivery %lld came behind %lld\n", OG_STR_ARG(patient_of(b)),
               sequence_of(b), sequence_of(a));
        good = false;
    }
    return good;
}

void judge_ledger(const ledger *l)
{
    bool good = true;
    for (size_t i = 0; i < l->count; i++) {
        bool repeat = is_repeat(l, i);
        for (size_t k = 0; k < i; k++)
            good &= fit_together(l, k, i, repeat);
    }
    check(good, "I4: %s: old requests with old keys and bytes, one key for a card, in order",
          l->endpoint);
}

static size_t look_at_cards(const stage *s, int partition, const held *h, size_t at, bool *good)
{
    const serve *d = s->at[0].serve;
    size_t n, count, open = 0;
    store_txn *t;
    const og_str *patients;
    const plan_alert *alerts;
    og_arena *a = og_arena_new((size_t)64 << 20);
    assert_int_equal(store_begin(d->partitions[partition].store, false, &t, NULL), OG_OK);
    assert_int_equal(store_patients(t, a, (og_str){NULL, 0}, SIZE_MAX, &patients, &n, NULL), OG_OK);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(store_alerts(t, a, patients[i], &alerts, &count, NULL), OG_OK);
        for (size_t k = 0; k < count; k++) {
            if (delivery_is_over(&d->endpoints[at], &alerts[k]))
                continue;
            open++;
            if (has_card(h, alerts[k].card_uuid))
                continue;
            printf("    never told: %.*s for %.*s\n", OG_STR_ARG(alerts[k].rule),
                   OG_STR_ARG(patients[i]));
            *good = false;
        }
    }
    store_abort(t);
    og_arena_free(a);
    return open;
}

void judge_cards(const stage *s, const ledger *l, size_t at)
{
    static held h;
    size_t open = 0;
    bool good = true;
    h.count = 0;
    for (size_t i = 0; i < l->count; i++)
        take_body(&h, l->posts[i].body);
    for (int p = 0; p < PARTITIONS; p++)
        open += look_at_cards(s, p, &h, at, &good);
    if (open < h.count)
        printf("    %s still shows %zu cards that do not hold any more\n", l->endpoint,
               h.count - open);
    check(good && open == h.count, "I3: %s has the cards that are believed (%zu of %zu)",
          l->endpoint, h.count, open);
    check(open > 10, "there is something to judge by: %zu cards", open);
}

/* ---- all of it ---- */

static void judge_topics(stage *s, const facts *got, const judge_options *o)
{
    static const struct {
        const char *prefix, *what;
    } all[] = {{"record ", "I1: every message that counts is a record"},
               {"letter ", "I1: what cannot be used is a dead letter"},
               {"alert ", "I3: the open alerts are those of a run without faults"}};
    facts own;
    const facts *expected = o->expected;
    if (expected == NULL) {
        og_arena *a = og_arena_new((size_t)256 << 20);
        sent_list sent;
        sent_read(s, a, &sent);
        facts_without_faults(s, &sent, &own);
        og_arena_free(a);
        expected = &own;
    }
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (i != 1 || !o->letters_differ)
            check(facts_differ(expected, got, all[i].prefix) == 0, "%s", all[i].what);
    if (o->expected == NULL)
        facts_done(&own);
}

/* I9: the disk is lost. */
static void judge_rebuild(stage *s)
{
    og_buf live, rebuilt;
    draw_stores(s->at[0].serve, &live);
    size_t said = s->post_count - s->repeats; /* a receipt that was not in the log is a repeat */
    stop(s);
    remove_stores(s);
    start_and_wait(s);
    wait_until(s, "the rebuild", at_rest);
    draw_stores(s->at[0].serve, &rebuilt);
    check(same_pictures(&live, &rebuilt), "I9: what the topics say is what was there");
    check(s->post_count - s->repeats == said, "I9: a rebuilt store says nothing new");
    og_buf_done(&live);
    og_buf_done(&rebuilt);
}

void judge(stage *s, const judge_options *options)
{
    judge_options o = options != NULL ? *options : (judge_options){0};
    facts got;
    if (s->now_ms < AFTER_MIDNIGHT)
        s->now_ms = AFTER_MIDNIGHT;
    if (s->at[0].serve == NULL)
        start_and_wait(s);
    wait_until(s, "rest", at_rest);
    facts_read(s, &got);
    judge_stores(s, &got);
    ledger l = ledger_of(s);
    judge_cards(s, &l, 0);
    judge_ledger(&l);
    judge_topics(s, &got, &o);
    judge_rebuild(s);
    if (o.ret_got != NULL)
        *o.ret_got = got;
    else
        facts_done(&got);
}
