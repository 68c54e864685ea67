/* Notes in the store: in parts, beside a patient's alerts, written with what the evaluation came
 * to; a process that starts again with the same content asks as few rules as one that went on. */
#include "daemon_world.h"

#include "daemon/note.h"
#include "daemon/program.h"

#define LIVES  "sample-01"
#define MINUTE 60000LL

/* ---- rows ---- */

typedef struct shelf {
    char dir[64];
    store *store;
    store_txn *t;
    og_arena *a;
} shelf;

static void shelf_begin(shelf *s)
{
    og_error err;
    og_error_init(&err);
    if (store_open(s->dir, 64u << 20, false, "boot", &s->store, &err) != OG_OK)
        fail_msg("%s", err.text);
    assert_int_equal(store_begin(s->store, true, &s->t, NULL), OG_OK);
}

static void shelf_end(shelf *s)
{
    assert_int_equal(store_commit(s->t, NULL), OG_OK);
    kv_close(s->store);
}

static void shelf_open(shelf *s)
{
    *s = (shelf){.dir = "/tmp/og-notes-XXXXXX"};
    assert_non_null(mkdtemp(s->dir));
    s->a = og_arena_new((size_t)64 << 20);
    assert_non_null(s->a);
    shelf_begin(s);
}

static void shelf_close(shelf *s)
{
    shelf_end(s);
    og_arena_free(s->a);
    assert_int_equal(file_remove_tree(s->dir, NULL), OG_OK);
}

static og_str some_bytes(shelf *s, size_t n, unsigned seed)
{
    char *p = og_arena_zalloc(s->a, n + 1, 1);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)((i * 31 + i / 256 + seed) & 0xff);
    return (og_str){p, n};
}

static og_str note_in(store_txn *t, og_arena *a, const char *patient)
{
    og_str note = {"?", 1};
    assert_int_equal(store_get_note(t, a, og_str_of(patient), &note, NULL), OG_OK);
    return note;
}

static void put_note(shelf *s, const char *patient, og_str note)
{
    assert_int_equal(store_put_note(s->t, og_str_of(patient), note, NULL), OG_OK);
}

static size_t rows(shelf *s)
{
    uint64_t n = 0;
    assert_int_equal(kv_count(s->t, STORE_PATIENT, &n, NULL), OG_OK);
    return n;
}

/* No part is so long that it would have pages of its own, and none is left of a longer note. */
static void a_note_lies_in_parts(void **state)
{
    static const struct {
        size_t bytes, rows;
    } table[] = {{1, 1},    {1023, 1}, {1024, 1}, {1025, 2},         {NOTE_MAX_BYTES, 16},
                 {2048, 2}, {600, 1},  {5000, 5}, {3 * 1024 + 1, 4}, {3 * 1024, 3},
                 {0, 0},    {2047, 2}, {0, 0}};
    shelf s;
    (void)state;
    shelf_open(&s);
    put_note(&s, "p", some_bytes(&s, 700, 1));
    put_note(&s, "pp", some_bytes(&s, 1500, 2));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        og_str note = some_bytes(&s, table[i].bytes, (unsigned)i);
        put_note(&s, "p1", note);
        og_str have = note_in(s.t, s.a, "p1");
        assert_true(og_str_eq(have, note));
        assert_int_equal((uintptr_t)have.p % 8, 0);
        assert_int_equal(rows(&s), 3 + table[i].rows);
    }
    assert_true(og_str_eq(note_in(s.t, s.a, "p"), some_bytes(&s, 700, 1)));
    assert_true(og_str_eq(note_in(s.t, s.a, "pp"), some_bytes(&s, 1500, 2)));
    assert_int_equal(note_in(s.t, s.a, "q").n, 0);
    assert_int_equal(store_put_note(s.t, OG_STR("p"), some_bytes(&s, NOTE_MAX_BYTES + 1, 0), NULL),
                     OG_LIMIT);
    shelf_close(&s);
}

static void a_note_is_no_alert(void **state)
{
    shelf s;
    const plan_alert *list;
    size_t n;
    (void)state;
    shelf_open(&s);
    put_note(&s, "p", some_bytes(&s, 2000, 1));
    assert_int_equal(store_alerts(s.t, s.a, OG_STR("p"), &list, &n, NULL), OG_OK);
    assert_int_equal(n, 0);
    assert_int_equal(store_shown(s.t, s.a, OG_STR("p"), &list, &n, NULL), OG_OK);
    assert_int_equal(n, 0);
    shelf_close(&s);
}

/* Everywhere in the file where these bytes stand: pages that are used no more have them too. */
static void damage(const char *dir, og_str bytes)
{
    char path[96];
    size_t found = 0;
    og_buf file;
    snprintf(path, sizeof path, "%s/data.mdb", dir);
    og_buf_init(&file, (size_t)64 << 20);
    assert_int_equal(file_read(path, (size_t)64 << 20, &file, NULL), OG_OK);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    og_str left = og_buf_str(&file);
    for (const char *at; (at = memmem(left.p, left.n, bytes.p, bytes.n)) != NULL; found++) {
        assert_int_equal(fseek(f, at - file.p, SEEK_SET), 0);
        assert_int_equal(fputc((unsigned char)*at ^ 1, f) == EOF, 0);
        left = og_str_from(left, (size_t)(at + 1 - left.p));
    }
    assert_int_equal(fclose(f), 0);
    og_buf_done(&file);
    assert_true(found > 0);
}

static void a_damaged_note_is_none(void **state)
{
    shelf s;
    (void)state;
    shelf_open(&s);
    for (size_t part = 0; part < 3; part++) {
        og_str note = some_bytes(&s, 2500, 7);
        put_note(&s, "p", note);
        put_note(&s, "q", some_bytes(&s, 500, 99));
        shelf_end(&s);
        damage(s.dir, (og_str){note.p + part * 1024 + 100, 200});
        shelf_begin(&s);
        assert_int_equal(note_in(s.t, s.a, "p").n, 0);
        assert_int_equal(note_in(s.t, s.a, "q").n, 500);
        put_note(&s, "p", some_bytes(&s, 800, 3)); /* shorter: the damaged part goes too */
        assert_true(og_str_eq(note_in(s.t, s.a, "p"), some_bytes(&s, 800, 3)));
        assert_int_equal(rows(&s), 2);
    }
    shelf_close(&s);
}

/* ---- batches ---- */

static void creatinine(world *w, int number)
{
    char text[700];
    snprintf(text, sizeof text,
             "{\"resourceType\":\"Observation\",\"id\":\"new-%d\",\"status\":\"final\",\"code\":{"
             "\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"14682-9\"}]},\"subject\":{"
             "\"reference\":\"Patient/" LIVES "\"},\"effectiveDateTime\":"
             "\"2026-03-01T00:%02d:00+01:00\",\"valueQuantity\":{\"value\":%d,\"unit\":\"umol/L\","
             "\"system\":\"http://unitsofmeasure.org\",\"code\":\"umol/L\"}}",
             number, number, 70 + number);
    w->now_ms += MINUTE;
    world_event(w, text);
    world_settle_down(w);
}

/* How many rules are asked for one more value. */
static uint64_t asked_for(world *w, int number)
{
    uint64_t asked = w->total.rules_asked, evaluations = w->total.evaluations;
    creatinine(w, number);
    assert_true(w->total.evaluations > evaluations);
    return w->total.rules_asked - asked;
}

static void feed_patient(world *w)
{
    char line[65536];
    FILE *f = fopen(OG_SOURCE_DIR "/tests/fixtures/sample/stream.ndjson", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        if (strstr(line, "Patient/" LIVES "\"") != NULL)
            world_event(w, line);
    assert_int_equal(fclose(f), 0);
    world_settle_down(w);
    creatinine(w, 0);
}

static og_str note_of(world *w)
{
    store_txn *t;
    assert_int_equal(store_begin(w->stores[world_partition_of(OG_STR(LIVES))], false, &t, NULL),
                     OG_OK);
    og_str note = note_in(t, w->arena, LIVES);
    store_abort(t);
    return note;
}

static void whoever_starts_again_goes_on(void **state)
{
    uint64_t went_on = 0;
    (void)state;
    for (int way = 0; way < 4; way++) { /* it went on, content came again, it stopped, it died */
        world *w = world_new();
        feed_patient(w);
        if (way >= 2)
            world_restart(w, way == 2);
        if (way >= 1)
            world_take_content(w, world_content(NULL, 0));
        assert_true(note_of(w).n > 0);
        uint64_t asked = asked_for(w, 1);
        if (way == 0)
            went_on = asked;
        assert_in_range(asked, 1, plan_content_rule_count(w->content) / 2);
        assert_int_equal(asked, went_on);
        world_free(w);
    }
}

/* Another program, other content, and no program at all. */
static void others_ask_all(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        world *w = world_new();
        feed_patient(w);
        uint64_t spared = w->total.rules_spared;
        world_restart(w, true);
        if (way == 0)
            w->setup.program = "another";
        else if (way == 1)
            world_take_content(w, world_content_without("D3"));
        else
            w->setup.program = NULL;
        assert_in_range(asked_for(w, 1), plan_content_rule_count(w->content), 10000);
        assert_int_equal(w->total.rules_spared, spared);
        if (way < 2) /* of what it knows itself */
            assert_in_range(asked_for(w, 2), 1, plan_content_rule_count(w->content) / 2);
        else
            assert_in_range(asked_for(w, 2), plan_content_rule_count(w->content), 10000);
        world_free(w);
    }
}

/* What says the same is not written again: its time is the one of before. */
static void a_note_is_written_when_it_says_something_new(void **state)
{
    world *w = world_new();
    store_txn *t;
    int p = world_partition_of(OG_STR(LIVES));
    (void)state;
    feed_patient(w);
    og_str before = note_of(w);
    uint64_t evaluations = w->total.evaluations;
    w->now_ms += MINUTE;
    assert_int_equal(store_begin(w->stores[p], true, &t, NULL), OG_OK);
    assert_int_equal(store_mark_dirty(t, OG_STR(LIVES), -1, NULL), OG_OK);
    assert_int_equal(store_commit(t, NULL), OG_OK);
    world_settle_down(w);
    assert_int_equal(w->total.evaluations, evaluations + 1);
    assert_true(og_str_eq(note_of(w), before));
    creatinine(w, 1);
    assert_false(og_str_eq(note_of(w), before));
    world_free(w);
}

static void a_damaged_note_stops_nobody(void **state)
{
    world *w = world_new();
    char dir[128];
    int p = world_partition_of(OG_STR(LIVES));
    (void)state;
    feed_patient(w);
    og_str note = note_of(w);
    world_close_stores(w, true);
    snprintf(dir, sizeof dir, "%s/%d", w->dir, p);
    damage(dir, (og_str){note.p + 64, 128});
    world_open_stores(w);
    gather_free(w->gather);
    gather_options go = world_gather_options(w);
    w->gather = gather_new(&go, w->content, w->recorded);
    assert_int_equal(note_of(w).n, 0);
    assert_in_range(asked_for(w, 1), plan_content_rule_count(w->content), 10000);
    assert_true(note_of(w).n > 0);
    assert_in_range(asked_for(w, 2), 1, plan_content_rule_count(w->content) / 2);
    world_free(w);
}

static void nobody_leaves_a_note(void **state)
{
    world *w = world_new();
    (void)state;
    feed_patient(w);
    assert_true(note_of(w).n > 0);
    size_t records = w->records.count;
    for (size_t i = 0; i < records; i++) {
        const char *row = strstr(w->records.at[i].key, "|" LIVES "|");
        if (row != NULL)
            world_put(w, "fhir.bundle", og_str_of(row + strlen("|" LIVES "|")), (og_str){NULL, 0});
    }
    world_settle_down(w);
    assert_int_equal(note_of(w).n, 0);
    world_free(w);
}

static void a_program_has_one_name(void **state)
{
    char id[PROGRAM_ID_TEXT], again[PROGRAM_ID_TEXT];
    (void)state;
    assert_true(program_id(id));
    assert_true(program_id(again));
    assert_string_equal(id, again);
    assert_int_equal(strlen(id), 40); /* SHA-1 */
    assert_int_equal(strspn(id, "0123456789abcdef"), 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_note_lies_in_parts),
        cmocka_unit_test(a_note_is_no_alert),
        cmocka_unit_test(a_damaged_note_is_none),
        cmocka_unit_test(whoever_starts_again_goes_on),
        cmocka_unit_test(others_ask_all),
        cmocka_unit_test(a_note_is_written_when_it_says_something_new),
        cmocka_unit_test(a_damaged_note_stops_nobody),
        cmocka_unit_test(nobody_leaves_a_note),
        cmocka_unit_test(a_program_has_one_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
