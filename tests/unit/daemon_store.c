/* Rows of a partition's store: the order of versions, the patient's view, reviews, who waits, who
 * refers to whom. */
#include "daemon_world.h"

#include "daemon/errand.h"
#include "daemon/place.h"

typedef struct shelf {
    char dir[64];
    store *store, *shared;
    store_txn *t, *ts;
    og_arena *a;
} shelf;

static void shelf_open(shelf *s)
{
    char path[96];
    memset(s, 0, sizeof *s);
    strcpy(s->dir, "/tmp/og-store-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(path, sizeof path, "%s/0", s->dir);
    assert_int_equal(store_open(path, 64u << 20, false, NULL, &s->store, NULL), OG_OK);
    snprintf(path, sizeof path, "%s/shared", s->dir);
    assert_int_equal(store_open(path, 64u << 20, false, NULL, &s->shared, NULL), OG_OK);
    s->a = og_arena_new((size_t)256 << 20);
    assert_int_equal(store_begin(s->store, true, &s->t, NULL), OG_OK);
    assert_int_equal(store_begin(s->shared, true, &s->ts, NULL), OG_OK);
}

static void shelf_close(shelf *s)
{
    store_abort(s->t);
    store_abort(s->ts);
    kv_close(s->store);
    kv_close(s->shared);
    og_arena_free(s->a);
    assert_int_equal(file_remove_tree(s->dir, NULL), OG_OK);
}

typedef struct version {
    uint32_t epoch;
    int64_t time_us, offset;
} version;

static store_applied apply_to(shelf *s, store_txn *t, const char *patient, const char *json,
                              bool deleted, const char *type, const char *id, version v)
{
    og_arena *scratch = og_arena_new((size_t)64 << 20);
    fhir_doc doc;
    store_applied applied;
    record r = {.tenant = OG_STR("t"),
                .patient = og_str_of(patient),
                .type = og_str_of(type),
                .id = og_str_of(id),
                .order = {.epoch = v.epoch, .time_us = v.time_us, .offset = v.offset},
                .topic = OG_STR("x"),
                .deleted = deleted,
                .body = og_str_of(deleted ? "" : json)};
    (void)s;
    r.order.topic = og_crc32c(0, r.topic.p, r.topic.n); /* as of every record that was read */
    if (!deleted)
        assert_int_equal(fhir_decode(scratch, r.body, NULL, &doc, NULL), OG_OK);
    assert_int_equal(store_apply(t, scratch, &r, deleted ? NULL : &doc, v.offset, &applied, NULL),
                     OG_OK);
    og_arena_free(scratch);
    return applied;
}

#define PATIENT(gender) "{\"resourceType\":\"Patient\",\"id\":\"p\",\"gender\":\"" gender "\"}"

static store_applied put(shelf *s, const char *gender_json, version v)
{
    return apply_to(s, s->t, "p", gender_json, false, "Patient", "p", v);
}

static size_t view(shelf *s, const char *patient, const fhir_resource **ret)
{
    size_t n = 99;
    assert_int_equal(store_view(s->t, s->ts, s->a, og_str_of(patient), ret, &n, NULL), OG_OK);
    return n;
}

static bool gender_is(shelf *s, const char *gender)
{
    const fhir_resource *list;
    return view(s, "p", &list) == 1 && fhir_is(fhir_get(list[0].root, "gender"), gender);
}

static void newer_versions_win_in_any_order(void **state)
{
    /* the four versions of a resource in all orders: the last state is always the same */
    static const version versions[] = {{0, 100, 1}, {0, 200, 2}, {0, 200, 3}, {1, 50, 4}};
    static const char *const bodies[] = {PATIENT("male"), PATIENT("female"), PATIENT("other"),
                                         PATIENT("unknown")};
    (void)state;
    for (int order = 0; order < 256; order++) {
        int picks[4] = {order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6 & 3};
        if ((1 << picks[0] | 1 << picks[1] | 1 << picks[2] | 1 << picks[3]) != 15)
            continue;
        shelf s;
        shelf_open(&s);
        for (int i = 0; i < 4; i++) {
            store_applied first = put(&s, bodies[picks[i]], versions[picks[i]]);
            assert_true(i > 0 || first == STORE_APPLIED);
            store_applied repeat = put(&s, bodies[picks[i]], versions[picks[i]]);
            assert_true(repeat == STORE_STALE || repeat == STORE_OUTDATED);
        }
        assert_true(gender_is(&s, "unknown"));
        shelf_close(&s);
    }
}

static void the_same_content_again_is_not_news(void **state)
{
    shelf s;
    (void)state;
    shelf_open(&s);
    assert_int_equal(put(&s, PATIENT("male"), (version){0, 100, 1}), STORE_APPLIED);
    /* same version and bytes, sent once more: only when that was is noted */
    assert_int_equal(put(&s, PATIENT("male"), (version){0, 100, 7}), STORE_SAME);
    assert_int_equal(put(&s, PATIENT("male"), (version){0, 100, 7}), STORE_STALE);
    assert_int_equal(put(&s, PATIENT("male"), (version){0, 100, 2}), STORE_STALE);
    /* same version, other bytes: the later one wins */
    assert_int_equal(put(&s, PATIENT("female"), (version){0, 100, 6}), STORE_OUTDATED);
    assert_int_equal(put(&s, PATIENT("female"), (version){0, 100, 8}), STORE_APPLIED);
    /* a newer version of the same bytes: noted, nothing to evaluate */
    assert_int_equal(put(&s, PATIENT("female"), (version){0, 200, 10}), STORE_SAME);
    assert_int_equal(put(&s, PATIENT("male"), (version){0, 150, 11}), STORE_OUTDATED);
    shelf_close(&s);
}

static size_t to_send(shelf *s, store_outgoing **ret)
{
    size_t n = 99;
    assert_int_equal(store_to_send(s->t, s->a, OG_STR("t"), 100, ret, &n, NULL), OG_OK);
    return n;
}

static void an_outdated_record_is_outdone(void **state)
{
    shelf s;
    store_outgoing *out;
    (void)state;
    shelf_open(&s);
    assert_int_equal(put(&s, PATIENT("female"), (version){0, 200, 7}), STORE_APPLIED);
    assert_int_equal(to_send(&s, &out), 0);
    assert_int_equal(put(&s, PATIENT("male"), (version){0, 100, 8}), STORE_OUTDATED);
    assert_int_equal(to_send(&s, &out), 1);
    assert_true(og_str_is(out->record.body, PATIENT("female")));
    assert_true(og_str_is(out->record.patient, "p"));
    assert_true(og_str_is(out->record.topic, "x"));
    assert_int_equal(out->record.order.time_us, 200);
    assert_int_equal(out->record.order.offset, 7);
    assert_int_equal(out->mark, 8);
    /* another one behind it before ours is there: ours has to be written once more */
    assert_int_equal(put(&s, PATIENT("male"), (version){0, 90, 9}), STORE_OUTDATED);
    assert_int_equal(store_sent(s.t, out->row, out->mark, NULL), OG_OK);
    assert_int_equal(to_send(&s, &out), 1);
    /* ours comes back: it stands last */
    assert_int_equal(put(&s, PATIENT("female"), (version){0, 200, 7}), STORE_STALE);
    assert_int_equal(to_send(&s, &out), 0);
    assert_int_equal(apply_to(&s, s.t, "p", NULL, true, "Patient", "p", (version){0, 300, 12}),
                     STORE_APPLIED);
    assert_int_equal(put(&s, PATIENT("male"), (version){0, 250, 13}), STORE_OUTDATED);
    assert_int_equal(to_send(&s, &out), 1);
    assert_true(out->record.deleted);
    assert_int_equal(store_sent(s.t, out->row, out->mark, NULL), OG_OK);
    assert_int_equal(to_send(&s, &out), 0);
    shelf_close(&s);
}

/* ---- a log that is compacted ---- */

#define KEYS     4
#define VERSIONS 5

typedef struct entry {
    int key, version;
} entry;

typedef struct topic {
    entry at[2048];
    size_t count, read;
} topic;

static uint64_t seed;

static size_t any(size_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(seed >> 33) % n;
}

static void write_entry(topic *t, int key, int version)
{
    assert_true(t->count < 2048);
    t->at[t->count++] = (entry){key, version};
}

/* Everything but the last one of each key goes, as compaction may do at any time with what the
 * owner has read. */
static void compact(topic *t)
{
    topic kept = {.count = 0};
    for (size_t i = 0; i < t->count; i++) {
        bool last = true;
        for (size_t k = i + 1; k < t->count; k++)
            last &= t->at[k].key != t->at[i].key;
        if (last)
            kept.at[kept.count++] = t->at[i];
    }
    *t = kept;
}

static store_applied apply_entry(shelf *s, const entry *e, int64_t mark)
{
    char body[128], id[8];
    snprintf(id, sizeof id, "r%d", e->key);
    snprintf(body, sizeof body, "{\"resourceType\":\"Condition\",\"id\":\"%s\",\"note\":%d}", id,
             e->version);
    /* the mark is where it stands; the version's own place is in its order */
    og_arena *scratch = og_arena_new((size_t)1 << 20);
    fhir_doc doc;
    store_applied applied;
    record r = {.tenant = OG_STR("t"),
                .patient = OG_STR("p"),
                .type = OG_STR("Condition"),
                .id = og_str_of(id),
                .order = {.time_us = e->version, .topic = 1, .offset = e->version},
                .topic = OG_STR("x"),
                .body = og_str_of(body)};
    assert_int_equal(fhir_decode(scratch, r.body, NULL, &doc, NULL), OG_OK);
    assert_int_equal(store_apply(s->t, scratch, &r, &doc, mark, &applied, NULL), OG_OK);
    og_arena_free(scratch);
    return applied;
}

/* The owner writes what is to be written again; the answer may come before or after the record
 * comes back to it. */
static void write_again(shelf *s, topic *t)
{
    store_outgoing *out;
    size_t n = to_send(s, &out);
    for (size_t i = 0; i < n; i++) {
        write_entry(t, out[i].record.id.p[1] - '0', (int)out[i].record.order.time_us);
        if (any(2) == 0)
            assert_int_equal(store_sent(s->t, out[i].row, out[i].mark, NULL), OG_OK);
    }
}

static void read_some(shelf *s, topic *t, size_t most)
{
    for (size_t i = 0; i < most && t->read < t->count; i++, t->read++)
        (void)apply_entry(s, &t->at[t->read], (int64_t)t->read);
}

static void has_the_newest(shelf *s)
{
    const fhir_resource *list;
    assert_int_equal(view(s, "p", &list), KEYS);
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(strtol(fhir_raw(fhir_get(list[i].root, "note")).p, NULL, 10), VERSIONS);
}

/* All versions of all resources in any order and more than once, an owner that stops and another
 * one that begins with nothing, and compaction in between: the state is the newest version of each,
 * and so is what a compacted log leaves (STREAM 0.1). */
/* However large they are, a batch has room for what it takes at a time. */
static void large_records_go_a_few_at_a_time(void **state)
{
    shelf s;
    store_outgoing *out;
    errand *errands;
    size_t n = 0;
    og_buf text;
    (void)state;
    shelf_open(&s);
    og_buf_init(&text, 8u << 20);
    og_buf_addz(&text, "{\"resourceType\":\"Observation\",\"id\":\"o\",\"note\":[{\"text\":\"");
    for (int i = 0; i < 3 << 20; i++)
        og_buf_addc(&text, 'x');
    og_buf_addz(&text, "\"}]}");
    char *json = world_copy(og_buf_str(&text));
    for (int i = 0; i < 5; i++) {
        char id[8];
        snprintf(id, sizeof id, "o%d", i);
        (void)apply_to(&s, s.t, "p", json, false, "Observation", id, (version){0, 200, 7});
        (void)apply_to(&s, s.t, "p", "{}", false, "Observation", id, (version){0, 100, 8});
        record r = {.tenant = OG_STR("t"),
                    .patient = OG_STR("p"),
                    .type = OG_STR("Observation"),
                    .id = og_str_of(id),
                    .body = og_buf_str(&text)};
        assert_int_equal(errand_record(s.t, &r, NULL), OG_OK);
    }
    assert_int_equal(to_send(&s, &out), 2);
    assert_int_equal(out[1].record.body.n, text.n);
    assert_int_equal(errand_list(s.t, s.a, 100, &errands, &n, NULL), OG_OK);
    assert_int_equal(n, 2);
    assert_true(errands[1].value.n > text.n);
    free(json);
    og_buf_done(&text);
    shelf_close(&s);
}

static void apply_place(shelf *s, int64_t time_us)
{
    place_applied applied;
    record r = {.patient = OG_STR("p"),
                .type = OG_STR("Observation"),
                .id = OG_STR("o"),
                .order = {.time_us = time_us},
                .timestamp_ms = time_us / 1000};
    assert_int_equal(place_apply(s->t, s->a, OG_STR("t"), &r, &applied, NULL), OG_OK);
}

/* The only errand, if there is one, says the place of this time; returns its row. */
static og_str only_errand(shelf *s, int64_t time_us)
{
    errand *list;
    size_t n;
    record r;
    assert_int_equal(errand_list(s->t, s->a, 100, &list, &n, NULL), OG_OK);
    assert_int_equal(n, time_us > 0);
    if (n == 0)
        return (og_str){NULL, 0};
    assert_int_equal(record_read_place(s->a, list[0].key, list[0].value, &r, NULL), OG_OK);
    assert_int_equal(r.order.time_us, time_us);
    return list[0].row;
}

/* However many older ones stand behind the newest, it is said once; what answers an older errand is
 * no answer to the one that came after it. */
static void a_place_is_said_again_once(void **state)
{
    shelf s;
    (void)state;
    shelf_open(&s);
    apply_place(&s, 100);
    (void)only_errand(&s, 0);
    for (int64_t older = 10; older < 90; older++)
        apply_place(&s, older);
    og_str first = only_errand(&s, 100);
    apply_place(&s, 200); /* stands last now */
    (void)only_errand(&s, 0);
    apply_place(&s, 100); /* the errand that was under way */
    og_str second = only_errand(&s, 200);
    assert_int_equal(errand_done(s.t, first, NULL), OG_OK);
    (void)only_errand(&s, 200);
    assert_int_equal(errand_done(s.t, second, NULL), OG_OK);
    (void)only_errand(&s, 0);
    apply_place(&s, 150);
    (void)only_errand(&s, 200);
    apply_place(&s, 200); /* said, also by whom we do not know */
    (void)only_errand(&s, 0);
    shelf_close(&s);
}

static void a_compacted_log_keeps_the_newest(void **state)
{
    (void)state;
    for (uint64_t run = 1; run <= 40; run++) {
        topic t = {.count = 0};
        shelf s;
        size_t writes = 0;
        int all[KEYS * VERSIONS];
        seed = run;
        for (int i = 0; i < KEYS * VERSIONS; i++)
            all[i] = i;
        for (size_t i = KEYS * VERSIONS - 1; i > 0; i--) {
            size_t k = any(i + 1);
            int swap = all[i];
            all[i] = all[k];
            all[k] = swap;
        }
        shelf_open(&s);
        while (writes < 2 * KEYS * VERSIONS || t.read < t.count) {
            if (writes < 2 * KEYS * VERSIONS) { /* each of them twice, the second time anywhere */
                int x = writes < KEYS * VERSIONS ? all[writes] : (int)any(KEYS * VERSIONS);
                write_entry(&t, x / VERSIONS, x % VERSIONS + 1);
                writes++;
            }
            read_some(&s, &t, writes == 2 * KEYS * VERSIONS ? SIZE_MAX : any(4));
            if (any(5) == 0 || writes == 2 * KEYS * VERSIONS)
                write_again(&s, &t);
            if (any(20) == 0) { /* the disk is lost */
                shelf_close(&s);
                shelf_open(&s);
                t.read = 0;
            }
            if (t.read == t.count && any(4) == 0) {
                write_again(&s, &t);
                read_some(&s, &t, SIZE_MAX);
                compact(&t);
                t.read = t.count;
            }
        }
        has_the_newest(&s);
        shelf_close(&s);
        compact(&t);
        shelf_open(&s);
        t.read = 0;
        read_some(&s, &t, SIZE_MAX);
        has_the_newest(&s);
        shelf_close(&s);
    }
}

static void a_delete_has_a_version_too(void **state)
{
    shelf s;
    const fhir_resource *list;
    (void)state;
    shelf_open(&s);
    assert_int_equal(apply_to(&s, s.t, "p", NULL, true, "Patient", "p", (version){0, 200, 2}),
                     STORE_SAME);
    assert_int_equal(put(&s, PATIENT("male"), (version){0, 100, 1}),
                     STORE_OUTDATED); /* late and older: stays deleted */
    assert_int_equal(view(&s, "p", &list), 0);
    assert_int_equal(put(&s, PATIENT("male"), (version){0, 300, 3}), STORE_APPLIED); /* made anew */
    assert_int_equal(view(&s, "p", &list), 1);
    assert_int_equal(apply_to(&s, s.t, "p", NULL, true, "Patient", "p", (version){0, 400, 4}),
                     STORE_APPLIED);
    assert_int_equal(view(&s, "p", &list), 0);
    shelf_close(&s);
}

#define MEDICATION "{\"resourceType\":\"Medication\",\"id\":\"m\"}"

static store_applied put_medication(shelf *s, version v)
{
    return apply_to(s, s->ts, "", MEDICATION, false, "Medication", "m", v);
}

static store_applied delete_medication(shelf *s, version v, bool untimed)
{
    store_applied applied;
    record r = {.tenant = OG_STR("t"),
                .type = OG_STR("Medication"),
                .id = OG_STR("m"),
                .order = {.time_us = v.time_us, .offset = v.offset},
                .topic = OG_STR("x"),
                .deleted = true,
                .untimed = untimed};
    r.order.topic = og_crc32c(0, r.topic.p, r.topic.n);
    assert_int_equal(store_apply(s->ts, s->a, &r, NULL, v.offset, &applied, NULL), OG_OK);
    return applied;
}

/* It says no time of its own, and the sender's clock was ahead when it wrote what is deleted.
 * Nobody keeps the place of a shared resource. */
static void a_delete_of_what_is_shared_outdoes_a_fast_clock(void **state)
{
    shelf s;
    store_outgoing *out;
    store_key row;
    record_order order;
    size_t n;
    bool deleted;
    (void)state;
    shelf_open(&s);
    store_row_key(&row, OG_STR(""), OG_STR("Medication/m"));
    assert_int_equal(put_medication(&s, (version){0, 500, 7}), STORE_APPLIED);
    assert_int_equal(delete_medication(&s, (version){0, 300, 6}, true), STORE_OUTDATED);
    assert_int_equal(delete_medication(&s, (version){0, 300, 8}, false), STORE_OUTDATED);
    assert_int_equal(delete_medication(&s, (version){0, 300, 9}, true), STORE_APPLIED);
    assert_int_equal(store_version(s.ts, (og_str){row.p, row.n}, &order, &deleted, NULL), OG_OK);
    assert_true(deleted);
    assert_int_equal(order.time_us, 501);
    assert_int_equal(order.offset, 9);
    /* the topic has to say so too, or the version that was deleted could come again */
    assert_int_equal(store_to_send(s.ts, s.a, OG_STR("t"), 100, &out, &n, NULL), OG_OK);
    assert_int_equal(n, 1);
    assert_true(out->record.deleted);
    assert_true(out->record.untimed);
    assert_int_equal(out->record.order.time_us, 501);
    assert_int_equal(out->mark, 9);
    assert_int_equal(put_medication(&s, (version){0, 500, 7}), STORE_OUTDATED);
    assert_int_equal(delete_medication(&s, (version){0, 501, 9}, true), STORE_STALE);
    assert_int_equal(store_to_send(s.ts, s.a, OG_STR("t"), 100, &out, &n, NULL), OG_OK);
    assert_int_equal(n, 0);
    assert_int_equal(put_medication(&s, (version){0, 600, 12}), STORE_APPLIED); /* made anew */
    shelf_close(&s);
}

/* The same when the delete is read first. */
static void a_delete_of_what_is_shared_may_come_first(void **state)
{
    shelf s;
    store_outgoing *out;
    store_key row;
    record_order order;
    size_t n;
    bool deleted;
    (void)state;
    shelf_open(&s);
    store_row_key(&row, OG_STR(""), OG_STR("Medication/m"));
    assert_int_equal(delete_medication(&s, (version){0, 300, 9}, true), STORE_SAME);
    assert_int_equal(put_medication(&s, (version){0, 500, 7}), STORE_OUTDATED);
    assert_int_equal(store_version(s.ts, (og_str){row.p, row.n}, &order, &deleted, NULL), OG_OK);
    assert_true(deleted);
    assert_int_equal(order.time_us, 501);
    assert_int_equal(store_to_send(s.ts, s.a, OG_STR("t"), 100, &out, &n, NULL), OG_OK);
    assert_int_equal(n, 1);
    assert_true(out->record.deleted);
    assert_true(og_str_is(out->record.topic, "x"));
    assert_int_equal(out->record.order.time_us, 501);
    assert_int_equal(out->mark, 7);
    assert_int_equal(delete_medication(&s, (version){0, 501, 9}, true), STORE_STALE);
    assert_int_equal(put_medication(&s, (version){0, 502, 10}), STORE_APPLIED); /* came after it */
    shelf_close(&s);
    /* one that says when it was keeps to it */
    shelf_open(&s);
    assert_int_equal(delete_medication(&s, (version){0, 300, 9}, false), STORE_SAME);
    assert_int_equal(put_medication(&s, (version){0, 500, 7}), STORE_APPLIED);
    shelf_close(&s);
}

static void a_view_holds_one_patient_and_what_it_refers_to(void **state)
{
#define STATEMENT(id, medication)                                                                  \
    "{\"resourceType\":\"MedicationStatement\",\"id\":\"" id                                       \
    "\",\"medicationReference\":{\"reference\":\"" medication "\"}}"
    shelf s;
    const fhir_resource *list;
    (void)state;
    shelf_open(&s);
    (void)apply_to(&s, s.t, "a", STATEMENT("m1", "Medication/x"), false, "MedicationStatement",
                   "m1", (version){0, 1, 1});
    (void)apply_to(&s, s.t, "a", STATEMENT("m2", "https://h/fhir/Medication/x"), false,
                   "MedicationStatement", "m2", (version){0, 1, 2});
    (void)apply_to(&s, s.t, "a", STATEMENT("m3", "Medication/missing"), false,
                   "MedicationStatement", "m3", (version){0, 1, 3});
    (void)apply_to(&s, s.t, "ab", STATEMENT("m4", "Medication/x"), false, "MedicationStatement",
                   "m4", (version){0, 1, 4});
    assert_int_equal(view(&s, "a", &list), 3);
    /* with a loop in it: x → y → x */
    (void)apply_to(&s, s.ts, "",
                   "{\"resourceType\":\"Medication\",\"id\":\"x\",\"ingredient\":[{"
                   "\"itemReference\":{\"reference\":"
                   "\"Medication/y\"}}]}",
                   false, "Medication", "x", (version){0, 1, 1});
    (void)apply_to(&s, s.ts, "",
                   "{\"resourceType\":\"Medication\",\"id\":\"y\",\"ingredient\":[{"
                   "\"itemReference\":{\"reference\":"
                   "\"Medication/x\"}}]}",
                   false, "Medication", "y", (version){0, 1, 2});
    assert_int_equal(view(&s, "a", &list), 5);
    assert_true(og_str_is(list[0].id, "m1") && og_str_is(list[2].id, "m3"));
    assert_true(og_str_is(list[3].type, "Medication") && og_str_is(list[3].id, "x") &&
                og_str_is(list[4].id, "y"));
    assert_int_equal(view(&s, "ab", &list), 3);
    assert_int_equal(view(&s, "b", &list), 0);
    shelf_close(&s);
}

typedef struct key_count {
    size_t n;
} key_count;

static og_status count_one(void *ctx, og_str key, og_str value, og_error *err)
{
    (void)key;
    (void)value;
    (void)err;
    ((key_count *)ctx)->n++;
    return OG_OK;
}

static size_t rows_in(shelf *s, store_table table)
{
    key_count c = {0};
    assert_int_equal(
        kv_scan(s->t, table, (og_str){NULL, 0}, (og_str){NULL, 0}, count_one, &c, NULL), OG_OK);
    return c.n;
}

/* The reverse index follows the resource: other reference, no reference, deleted. */
static void references_are_forgotten_with_their_resource(void **state)
{
    shelf s;
    (void)state;
    shelf_open(&s);
    (void)apply_to(&s, s.t, "a", STATEMENT("m1", "Medication/x"), false, "MedicationStatement",
                   "m1", (version){0, 1, 1});
    assert_int_equal(rows_in(&s, STORE_REFERENCE), 1);
    (void)apply_to(&s, s.t, "a", STATEMENT("m1", "Medication/z"), false, "MedicationStatement",
                   "m1", (version){0, 2, 2});
    assert_int_equal(rows_in(&s, STORE_REFERENCE), 1);
    (void)apply_to(&s, s.t, "a", STATEMENT("m1", "Patient/q"), false, "MedicationStatement", "m1",
                   (version){0, 3, 3});
    assert_int_equal(rows_in(&s, STORE_REFERENCE), 0);
    (void)apply_to(&s, s.t, "a", STATEMENT("m1", "Medication/z"), false, "MedicationStatement",
                   "m1", (version){0, 4, 4});
    (void)apply_to(&s, s.t, "a", NULL, true, "MedicationStatement", "m1", (version){0, 5, 5});
    assert_int_equal(rows_in(&s, STORE_REFERENCE), 0);
    shelf_close(&s);
}

static void reviews_come_in_order_and_once(void **state)
{
    shelf s;
    const og_str *list;
    size_t n;
    int64_t next;
    (void)state;
    shelf_open(&s);
    assert_int_equal(store_next_due(s.t, &next, NULL), OG_OK);
    assert_int_equal(next, 0);
    assert_int_equal(store_set_review(s.t, OG_STR("a"), 300, NULL), OG_OK);
    assert_int_equal(store_set_review(s.t, OG_STR("b"), -100, NULL), OG_OK); /* before 1970 */
    assert_int_equal(store_set_review(s.t, OG_STR("c"), 200, NULL), OG_OK);
    assert_int_equal(store_set_review(s.t, OG_STR("c"), 1772319600000, NULL), OG_OK); /* moved */
    assert_int_equal(store_set_review(s.t, OG_STR("d"), 0, NULL), OG_OK);
    assert_int_equal(store_next_due(s.t, &next, NULL), OG_OK);
    assert_int_equal(next, -100);
    assert_int_equal(store_due(s.t, s.a, 299, 10, &list, &n, NULL), OG_OK);
    assert_int_equal(n, 1);
    assert_int_equal(store_due(s.t, s.a, 300, 10, &list, &n, NULL), OG_OK);
    assert_int_equal(n, 2);
    assert_true(og_str_is(list[0], "b") && og_str_is(list[1], "a"));
    assert_int_equal(store_due(s.t, s.a, INT64_MAX, 1, &list, &n, NULL), OG_OK);
    assert_int_equal(n, 1);
    assert_int_equal(store_set_review(s.t, OG_STR("b"), 0, NULL), OG_OK);
    assert_int_equal(store_set_review(s.t, OG_STR("a"), 0, NULL), OG_OK);
    assert_int_equal(store_next_due(s.t, &next, NULL), OG_OK);
    assert_int_equal(next, 1772319600000);
    assert_int_equal(rows_in(&s, STORE_DUE), 1);
    assert_int_equal(rows_in(&s, STORE_PATIENT), 1);
    shelf_close(&s);
}

static void the_dirty_wait_until_they_are_cleared(void **state)
{
    const waiting_policy none = {0};
    shelf s;
    const waiting_patient *list;
    waiting_rest rest;
    size_t n;
    uint64_t count;
    (void)state;
    shelf_open(&s);
    for (int i = 0; i < 5; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%d", 4 - i);
        assert_int_equal(store_mark_dirty(s.t, og_str_of(name), 10 + i, NULL), OG_OK);
        assert_int_equal(store_mark_dirty(s.t, og_str_of(name), 99, NULL), OG_OK);
    }
    assert_int_equal(waiting_ripe(s.t, s.a, &none, 0, 3, &list, &n, &rest, NULL), OG_OK);
    assert_int_equal(n, 3);
    assert_true(og_str_is(list[0].id, "p0"));
    bool was;
    assert_int_equal(store_clear_dirty(s.t, OG_STR("p0"), &was, NULL), OG_OK);
    assert_true(was);
    assert_int_equal(store_clear_dirty(s.t, OG_STR("nobody"), &was, NULL), OG_OK);
    assert_false(was);
    assert_int_equal(store_dirty_count(s.t, &count, NULL), OG_OK);
    assert_int_equal(count, 4);
    shelf_close(&s);
}

static void patients_are_listed_in_slices(void **state)
{
    static const char *const ids[] = {"a",
                                      "a b",
                                      "ab",
                                      "b|1",
                                      "z",
                                      "3f0a1c52-0000-4000-8000-00000000000a",
                                      "f0a1c523-0000-4000-8000-00000000000b"};
    const size_t count = sizeof ids / sizeof ids[0];
    shelf s;
    const og_str *list;
    og_str after = {NULL, 0};
    size_t n, seen = 0;
    (void)state;
    shelf_open(&s);
    for (size_t i = 0; i < count; i++) {
        (void)apply_to(&s, s.t, ids[i], PATIENT("male"), false, "Patient", "p", (version){0, 1, 1});
        (void)apply_to(&s, s.t, ids[i], PATIENT("male"), false, "Condition", "c",
                       (version){0, 1, 2});
        assert_int_equal(store_set_review(s.t, og_str_of(ids[i]), 300, NULL), OG_OK);
    }
    /* of whom there is no resource, but other rows */
    assert_int_equal(store_set_review(s.t, OG_STR("aa"), 300, NULL), OG_OK);
    assert_int_equal(store_put_note(s.t, OG_STR("zz"), OG_STR("note"), NULL), OG_OK);
    do {
        assert_int_equal(store_patients(s.t, s.a, after, 2, &list, &n, NULL), OG_OK);
        for (size_t i = 0; i < n; i++)
            assert_true(og_str_is(list[i], ids[seen++]));
        if (n > 0)
            after = list[n - 1];
    } while (n == 2);
    assert_int_equal(seen, count);
    shelf_close(&s);
}

static void alerts_and_numbers_are_kept(void **state)
{
    shelf s;
    const plan_alert *list;
    plan_alert one;
    size_t n;
    int64_t number;
    (void)state;
    shelf_open(&s);
    plan_alert alert = {.id = "11111111-1111-5111-8111-111111111111",
                        .rule = OG_STR("D3"),
                        .slot = OG_STR("s|\xc3\xa4"),
                        .revision = 3,
                        .card_uuid = "aaaaaaaa-0000-5000-8000-000000000001",
                        .card = OG_STR("{\"uuid\":\"aaaaaaaa-0000-5000-8000-000000000001\"}"),
                        .digest = OG_STR("d")};
    assert_int_equal(store_put_alert(s.t, s.a, OG_STR("p"), &alert, NULL), OG_OK);
    assert_int_equal(store_alerts(s.t, s.a, OG_STR("p"), &list, &n, NULL), OG_OK);
    assert_int_equal(n, 1);
    assert_int_equal(list[0].revision, 3);
    assert_true(og_str_eq(list[0].slot, alert.slot));
    assert_int_equal(store_alerts(s.t, s.a, OG_STR("q"), &list, &n, NULL), OG_OK);
    assert_int_equal(n, 0);
    assert_int_equal(store_alert(s.t, s.a, OG_STR("p"), alert.id, &one, NULL), OG_OK);
    assert_int_equal(store_alert(s.t, s.a, OG_STR("p"), "x", &one, NULL), OG_NOTFOUND);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(store_next_sequence(s.t, "ehr", OG_STR("p"), &number, NULL), OG_OK);
        assert_int_equal(number, i);
    }
    assert_int_equal(store_next_sequence(s.t, "ehr", OG_STR("q"), &number, NULL), OG_OK);
    assert_int_equal(number, 1);
    assert_int_equal(store_meta_int(s.t, STORE_NEXT_OFFSET, &number, NULL), OG_NOTFOUND);
    assert_int_equal(store_set_meta_int(s.t, STORE_NEXT_OFFSET, INT64_MAX, NULL), OG_OK);
    assert_int_equal(store_meta_int(s.t, STORE_NEXT_OFFSET, &number, NULL), OG_OK);
    assert_true(number == INT64_MAX);
    shelf_close(&s);
}

static bool is_woken(shelf *s, const char *card)
{
    const og_str *list;
    size_t n;
    og_str type_id = og_arena_printf(s->a, STORE_FEEDBACK "/%s", card);
    assert_int_equal(store_referrers(s->t, s->a, type_id, (og_str){0}, 10, &list, &n, NULL), OG_OK);
    assert_true(n == 0 || (n == 1 && og_str_is(list[0], "p")));
    return n == 1;
}

static void put_card(shelf *s, plan_alert *alert, const char *card)
{
    snprintf(alert->card_uuid, sizeof alert->card_uuid, "%s", card);
    assert_int_equal(store_put_alert(s->t, s->a, OG_STR("p"), alert, NULL), OG_OK);
}

/* One row for all cards that begin as the alert does; one more for a card of another version. */
static void feedback_on_any_card_of_an_alert_wakes_its_patient(void **state)
{
    shelf s;
    char finding[UUID_TEXT];
    (void)state;
    shelf_open(&s);
    plan_alert alert = {.id = "11111111-1111-5111-8111-111111111111",
                        .rule = OG_STR("D3"),
                        .slot = OG_STR("s"),
                        .revision = 1,
                        .card = OG_STR("{}"),
                        .material = 7,
                        .digest = OG_STR("d")};
    store_finding_uuid(alert.id, alert.material, finding);
    put_card(&s, &alert, "aaaaaaaa-0000-5000-8000-000000000001");
    assert_true(is_woken(&s, alert.card_uuid) && is_woken(&s, finding));
    put_card(&s, &alert, "bbbbbbbb-0000-5000-8000-000000000002");
    assert_true(is_woken(&s, alert.card_uuid) && is_woken(&s, finding));
    assert_false(is_woken(&s, "aaaaaaaa-0000-5000-8000-000000000001"));
    for (int revision = 3; revision < 6; revision++) {
        put_card(&s, &alert, "11111111-0000-8000-8000-000000000003");
        alert.revision++;
        assert_int_equal(rows_in(&s, STORE_REFERENCE), 1);
        assert_true(is_woken(&s, alert.card_uuid) && is_woken(&s, finding));
    }
    put_card(&s, &alert, "aaaaaaaa-0000-5000-8000-000000000004");
    assert_true(is_woken(&s, alert.card_uuid) && is_woken(&s, finding));
    shelf_close(&s);
}

/* All or nothing: what was not committed is not there. */
static void an_aborted_batch_leaves_nothing(void **state)
{
    shelf s;
    const fhir_resource *list;
    int64_t number;
    (void)state;
    shelf_open(&s);
    (void)put(&s, PATIENT("male"), (version){0, 100, 1});
    assert_int_equal(store_set_meta_int(s.t, STORE_NEXT_OFFSET, 5, NULL), OG_OK);
    assert_int_equal(store_commit(s.t, NULL), OG_OK);
    assert_int_equal(store_begin(s.store, true, &s.t, NULL), OG_OK);
    (void)put(&s, PATIENT("female"), (version){0, 200, 2});
    assert_int_equal(store_set_meta_int(s.t, STORE_NEXT_OFFSET, 6, NULL), OG_OK);
    assert_int_equal(store_mark_dirty(s.t, OG_STR("p"), 1, NULL), OG_OK);
    store_abort(s.t);
    assert_int_equal(store_begin(s.store, true, &s.t, NULL), OG_OK);
    assert_true(gender_is(&s, "male"));
    assert_int_equal(store_meta_int(s.t, STORE_NEXT_OFFSET, &number, NULL), OG_OK);
    assert_int_equal(number, 5);
    assert_int_equal(rows_in(&s, STORE_DIRTY), 0);
    assert_int_equal(view(&s, "p", &list), 1);
    shelf_close(&s);
}

static void keys_of_any_length_do_no_harm(void **state)
{
    char longest[RECORD_MAX_PATIENT + 1], type_id[FHIR_ID_MAX + 1];
    shelf s;
    (void)state;
    shelf_open(&s);
    memset(longest, 'p', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memset(type_id, 'i', sizeof type_id - 1);
    type_id[sizeof type_id - 1] = '\0';
    /* the longest patient, the longest id, a reference to the longest id of a type with a long name
     */
    char json[1000];
    snprintf(json, sizeof json,
             "{\"resourceType\":\"MedicationAdministration\",\"id\":\"%s\",\"medicationReference\":"
             "{\"reference\":"
             "\"SubstanceReferenceInformation/%s\"}}",
             type_id, type_id);
    assert_int_equal(apply_to(&s, s.t, longest, json, false, "MedicationAdministration", type_id,
                              (version){0, 1, 1}),
                     STORE_APPLIED);
    assert_int_equal(rows_in(&s, STORE_REFERENCE), 1);
    assert_int_equal(store_set_review(s.t, og_str_of(longest), 1, NULL), OG_OK);
    /* such bytes would be two in a key; what is longer than any key is not looked for */
    assert_true(record_patient_valid(og_str_of(longest)));
    assert_true(record_patient_valid(OG_STR("\xc3\xa4\xf4\x8f\xbf\xbf")));
    assert_false(record_patient_valid(OG_STR("p\xfe")));
    assert_false(record_patient_valid(OG_STR("\xff")));
    char more[KV_MAX_KEY + 1];
    key_count c = {0};
    memset(more, 'a', sizeof more);
    assert_int_equal(kv_scan(s.t, STORE_PATIENT, (og_str){more, sizeof more}, (og_str){NULL, 0},
                             count_one, &c, NULL),
                     OG_LIMIT);
    shelf_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newer_versions_win_in_any_order),
        cmocka_unit_test(the_same_content_again_is_not_news),
        cmocka_unit_test(an_outdated_record_is_outdone),
        cmocka_unit_test(large_records_go_a_few_at_a_time),
        cmocka_unit_test(a_place_is_said_again_once),
        cmocka_unit_test(a_compacted_log_keeps_the_newest),
        cmocka_unit_test(a_delete_has_a_version_too),
        cmocka_unit_test(a_delete_of_what_is_shared_outdoes_a_fast_clock),
        cmocka_unit_test(a_delete_of_what_is_shared_may_come_first),
        cmocka_unit_test(a_view_holds_one_patient_and_what_it_refers_to),
        cmocka_unit_test(references_are_forgotten_with_their_resource),
        cmocka_unit_test(reviews_come_in_order_and_once),
        cmocka_unit_test(the_dirty_wait_until_they_are_cleared),
        cmocka_unit_test(patients_are_listed_in_slices),
        cmocka_unit_test(alerts_and_numbers_are_kept),
        cmocka_unit_test(feedback_on_any_card_of_an_alert_wakes_its_patient),
        cmocka_unit_test(an_aborted_batch_leaves_nothing),
        cmocka_unit_test(keys_of_any_length_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
