/* Sparing rules and keeping values changes nothing: whole patients live through what can happen to
 * their data and to the clock, and after every step are evaluated without what was noted of them,
 * with notes in a store that is opened again at times, then for content that was loaded once more,
 * and with notes in memory and values kept. All must say the same of all rules. What happens is
 * drawn by a fixed seed; OG_SPARED=all lives each life four times. */
#include "daemon_world.h"

#include "connectors/ndjson.h"
#include "daemon/note.h"
#include "daemon/recall.h"

#include <dirent.h>

#define CASES  OG_SOURCE_DIR "/rules/content/cases"
#define STREAM OG_SOURCE_DIR "/tests/fixtures/sample/stream.ndjson"
#define BERLIN 60
#define HOUR   3600000LL

#define REOPENS 60 /* steps from one opening of the store to the next */

#define MAX_POOL 400
#define MAX_VIEW 200

/* ---- a life ---- */

typedef struct version { /* of a resource, that may come */
    fhir_resource resource;
    char name[160]; /* Type/id */
    uint64_t hash;
} version;

typedef struct life {
    const char *name;
    plan_content *contents[2]; /* the same, loaded twice */
    recall *keeping;           /* notes with values */
    char dir[64];
    store *store; /* notes */
    size_t opened;
    og_arena *arena;                          /* of what may come */
    og_arena *with, *without, *keeping_arena; /* of one evaluation each */
    version pool[MAX_POOL];
    size_t pool_count, first_count; /* those that the patient begins with */
    const version *view[MAX_VIEW];  /* in order of Type/id */
    size_t view_count;
    int64_t as_of_ms, next_review_ms;
    int64_t moments[32]; /* of variants */
    size_t moment_count;
    uint64_t random;
    size_t asked, spared, spared_keeping, briefs, steps, notes, note_bytes;
    uint64_t nodes, nodes_keeping, nodes_without;
    og_arena *told; /* the cards of the step before */
    og_str told_ids[64], told_cards[64];
    size_t told_count;
} life;

static uint64_t draw(life *l, uint64_t below)
{
    l->random = l->random * 6364136223846793005u + 1442695040888963407u;
    return (l->random >> 33) % below;
}

static void may_come(life *l, og_str text)
{
    version *v = &l->pool[l->pool_count];
    fhir_doc *doc = og_arena_zalloc(l->arena, 1, sizeof *doc);
    assert_true(l->pool_count < MAX_POOL);
    assert_non_null(doc);
    assert_int_equal(fhir_decode(l->arena, text, NULL, doc, NULL), OG_OK);
    if (fhir_resource_of(fhir_root(doc), &v->resource, NULL) != OG_OK)
        return;
    snprintf(v->name, sizeof v->name, "%.*s/%.*s", OG_STR_ARG(v->resource.type),
             OG_STR_ARG(v->resource.id));
    v->hash = og_str_hash(text);
    l->pool_count++;
}

static void entries_may_come(life *l, fhir_elem bundle)
{
    fhir_elem entries = fhir_get(bundle, "entry");
    for (fhir_elem e = fhir_each_first(entries); fhir_exists(e); e = fhir_each_next(entries, e))
        may_come(l, fhir_raw(fhir_get(e, "resource")));
}

static int64_t moment_of(life *l, fhir_elem e)
{
    og_temporal t;
    assert_true(og_temporal_parse_fhir(fhir_string(l->arena, e), &t));
    return og_temporal_earliest_ms(&t, BERLIN);
}

static size_t place_in_view(const life *l, const char *name)
{
    size_t i = 0;
    while (i < l->view_count && strcmp(l->view[i]->name, name) < 0)
        i++;
    return i;
}

static void take_out(life *l, size_t at)
{
    memmove(&l->view[at], &l->view[at + 1], (l->view_count - at - 1) * sizeof l->view[0]);
    l->view_count--;
}

static void put_in(life *l, const version *v)
{
    size_t at = place_in_view(l, v->name);
    if (at < l->view_count && strcmp(l->view[at]->name, v->name) == 0) {
        l->view[at] = v;
        return;
    }
    assert_true(l->view_count < MAX_VIEW);
    memmove(&l->view[at + 1], &l->view[at], (l->view_count - at) * sizeof l->view[0]);
    l->view[at] = v;
    l->view_count++;
}

/* ---- both say the same ---- */

static void same_text(const life *l, og_str rule, const char *what, og_str with, og_str without)
{
    if (!og_str_eq(with, without))
        fail_msg("%s, step %zu, rule %.*s, %s:\n%.*s\n%.*s", l->name, l->steps, OG_STR_ARG(rule),
                 what, OG_STR_ARG(with), OG_STR_ARG(without));
}

static void same_number(const life *l, og_str rule, const char *what, int64_t with, int64_t without)
{
    if (with != without)
        fail_msg("%s, step %zu, rule %.*s, %s: %lld, not %lld", l->name, l->steps, OG_STR_ARG(rule),
                 what, (long long)with, (long long)without);
}

/* A card without words is the one that was told before. */
static og_str told_before(const life *l, const char *alert_id)
{
    for (size_t i = 0; i < l->told_count; i++)
        if (og_str_is(l->told_ids[i], alert_id))
            return l->told_cards[i];
    return (og_str){NULL, 0};
}

static void tell(life *l, const plan_result *r)
{
    og_arena_reset(l->told);
    assert_true(r->card_count < 64);
    for (l->told_count = 0; l->told_count < r->card_count; l->told_count++) {
        const plan_card *card = &r->cards[l->told_count];
        l->told_ids[l->told_count] = og_arena_str(l->told, og_str_of(card->alert_id));
        l->told_cards[l->told_count] = og_arena_str(l->told, card->json);
    }
}

static void same_result(const life *l, const plan_result *with, const plan_result *without)
{
    og_str all = OG_STR("(all)");
    same_number(l, all, "next review", with->next_review_ms, without->next_review_ms);
    same_number(l, all, "cards", (int64_t)with->card_count, (int64_t)without->card_count);
    for (size_t i = 0; i < with->card_count; i++) {
        const plan_card *a = &with->cards[i], *b = &without->cards[i];
        same_text(l, b->rule, "card of", a->rule, b->rule);
        same_text(l, b->rule, "card", with->brief ? told_before(l, b->alert_id) : a->json, b->json);
        same_text(l, b->rule, "alert", og_str_of(a->alert_id), og_str_of(b->alert_id));
        same_number(l, b->rule, "material", (int64_t)a->material, (int64_t)b->material);
    }
    assert_int_equal(with->outcome_count, without->outcome_count);
    for (size_t i = 0; i < with->outcome_count; i++) {
        const plan_outcome *a = &with->outcomes[i], *b = &without->outcomes[i];
        same_text(l, b->rule, "place", a->rule, b->rule);
        same_number(l, b->rule, "kind", a->kind, b->kind);
        same_text(l, b->rule, "by", a->by, b->by);
        same_number(l, b->rule, "review", with->reviews[i], without->reviews[i]);
    }
}

/* What an evaluation has come to is what the trees let it reach, or less. */
static void rests_on_what_it_can_reach(const plan_content *c, const plan_result *r)
{
    size_t words = plan_content_read_words(c);
    for (size_t i = 0; i < r->outcome_count; i++) {
        bool silent = r->outcomes[i].kind == PLAN_NOT_FIRED;
        const uint64_t *can = plan_content_rule_reads(c, i, !silent), *has = r->reads + i * words;
        for (size_t w = 0; w < words; w++)
            assert_int_equal(has[w] & ~can[w], 0);
    }
}

static plan_patient see(const life *l, og_arena *a, const uint64_t **ret_hashes)
{
    fhir_resource *list = og_arena_zalloc(a, MAX_VIEW, sizeof *list);
    uint64_t *hashes = og_arena_zalloc(a, MAX_VIEW, sizeof *hashes);
    assert_non_null(list);
    assert_non_null(hashes);
    for (size_t i = 0; i < l->view_count; i++) {
        list[i] = l->view[i]->resource;
        hashes[i] = l->view[i]->hash;
    }
    *ret_hashes = hashes;
    return (plan_patient){.tenant = OG_STR("t"),
                          .id = OG_STR("patient"),
                          .resources = list,
                          .resource_count = l->view_count};
}

/* The same note, with more sets than have numbers, and a resource that has the 256th. */
static og_str with_a_set_too_many(const plan_content *c, og_arena *a, og_str note)
{
    uint32_t count, kept;
    uint16_t sets, reviews, many = 300;
    memcpy(&count, note.p + 28, sizeof count);
    memcpy(&kept, note.p + 32, sizeof kept);
    memcpy(&sets, note.p + 36, sizeof sets);
    memcpy(&reviews, note.p + 38, sizeof reviews);
    if (count == 0)
        return (og_str){NULL, 0};
    size_t words = plan_content_read_words(c);
    size_t at = 48 + 8 * (2 * plan_content_rule_words(c) + reviews + count + sets * words);
    size_t more = 8 * words * (size_t)(many - sets);
    char *out = og_arena_zalloc(a, 1, note.n + more);
    assert_non_null(out);
    memcpy(out, note.p, at);
    memcpy(out + at + more, note.p + at, note.n - at);
    memcpy(out + 36, &many, sizeof many);
    out[note.n + more - kept - count] = (char)255;
    return (og_str){out, note.n + more};
}

/* The note of it, by the one before. */
static og_str evaluate(const life *l, const plan_content *c, og_arena *a, plan_patient *p,
                       const uint64_t *hashes, og_str before, plan_result *ret)
{
    note_view v;
    int offset = clock_offset_min(l->as_of_ms);
    og_str odd = before.n > 0 && !p->keeps ? with_a_set_too_many(c, a, before) : before;
    if (odd.n > 0 && odd.p != before.p) {
        plan_patient copy = *p;
        note_look(a, "test", c, &copy, hashes, odd, l->as_of_ms, offset, &v);
        assert_int_equal(v.before.n, 0); /* nobody knows what it says */
    }
    note_look(a, "test", c, p, hashes, before, l->as_of_ms, offset, &v);
    assert_int_equal(plan_content_evaluate(c, a, p, l->as_of_ms, offset, PLAN_CARDS, ret, NULL),
                     OG_OK);
    rests_on_what_it_can_reach(c, ret);
    return note_make(a, &v, ret, p->keeps ? recall_room(l->keeping) : NOTE_MAX_BYTES);
}

static void evaluate_alone(life *l, plan_result *ret)
{
    const uint64_t *hashes;
    og_arena_reset(l->without);
    plan_patient p = see(l, l->without, &hashes);
    (void)evaluate(l, l->contents[0], l->without, &p, hashes, OG_STR(""), ret);
}

static void evaluate_keeping(life *l, plan_result *ret)
{
    const uint64_t *hashes;
    og_arena *a = l->keeping_arena;
    og_arena_reset(a);
    plan_patient p = see(l, a, &hashes);
    p.keeps = true;
    recall_keep(l->keeping, &p,
                evaluate(l, l->contents[0], a, &p, hashes, recall_find(l->keeping, a, &p), ret));
}

static void open_store(life *l)
{
    og_error err;
    og_error_init(&err);
    if (store_open(l->dir, (size_t)64 << 20, false, "boot", &l->store, &err) != OG_OK)
        fail_msg("%s", err.text);
    l->opened++;
}

static void open_again(life *l)
{
    if (l->opened % 2 == 0)
        kv_close(l->store);
    else
        kv_abandon(l->store);
    open_store(l);
}

static void evaluate_stored(life *l, plan_result *ret)
{
    const uint64_t *hashes;
    store_txn *t;
    og_str before;
    og_arena *a = l->with;
    if (l->steps % REOPENS == REOPENS - 1)
        open_again(l);
    og_arena_reset(a);
    plan_patient p = see(l, a, &hashes);
    assert_int_equal(store_begin(l->store, true, &t, NULL), OG_OK);
    assert_int_equal(store_get_note(t, a, p.id, &before, NULL), OG_OK);
    og_str note = evaluate(l, l->contents[l->opened % 2], a, &p, hashes, before, ret);
    if (note.p != before.p)
        assert_int_equal(store_put_note(t, p.id, note, NULL), OG_OK);
    assert_int_equal(store_commit(t, NULL), OG_OK);
    l->notes += note.n > 0;
    l->note_bytes += note.n;
}

static void evaluate_all(life *l)
{
    plan_result with, keeping, without;
    evaluate_stored(l, &with);
    evaluate_keeping(l, &keeping);
    evaluate_alone(l, &without);
    same_result(l, &with, &without);
    same_result(l, &keeping, &without);
    tell(l, &without);
    assert_int_equal(without.spared, 0);
    assert_false(without.brief);
    l->briefs += with.brief;
    l->next_review_ms = without.next_review_ms;
    l->asked += with.asked;
    l->spared += with.spared;
    l->spared_keeping += keeping.spared;
    l->nodes += with.steps;
    l->nodes_keeping += keeping.steps;
    l->nodes_without += without.steps;
    l->steps++;
}

/* ---- what happens ---- */

static int64_t midnight_after(int64_t ms)
{
    int64_t at = ms - ms % HOUR + HOUR;
    while ((at + clock_offset_min(at) * 60000LL) % (24 * HOUR) != 0)
        at += HOUR;
    return at;
}

static void time_passes(life *l)
{
    int64_t review = l->next_review_ms != 0 ? l->next_review_ms : l->as_of_ms + HOUR;
    switch (draw(l, 8)) {
    case 0: l->as_of_ms += (int64_t)draw(l, 12 * HOUR); break;
    case 1: l->as_of_ms += 60000; break;
    case 2: l->as_of_ms = review; break;
    case 3: l->as_of_ms = review - 1; break;
    case 4: l->as_of_ms = midnight_after(l->as_of_ms) - 1; break;
    case 5: l->as_of_ms = midnight_after(l->as_of_ms); break;
    case 6: l->as_of_ms -= (int64_t)draw(l, 3 * HOUR); break;
    default:
        if (l->moment_count > 0)
            l->as_of_ms = l->moments[draw(l, l->moment_count)];
    }
}

static void something_happens(life *l)
{
    uint64_t what = draw(l, 10);
    if (what < 6)
        put_in(l, &l->pool[draw(l, l->pool_count)]);
    else if (what < 8 && l->view_count > 0)
        take_out(l, draw(l, l->view_count));
    else
        time_passes(l);
}

/* One by one in any order, then whatever happens, sometimes several things at once. */
static void live(life *l, uint64_t seed)
{
    size_t order[MAX_POOL] = {0};
    int64_t began_ms = l->as_of_ms;
    l->random = seed;
    l->view_count = 0;
    for (size_t i = 0; i < l->first_count; i++) {
        size_t k = draw(l, i + 1);
        order[i] = i;
        order[i] = order[k];
        order[k] = i;
    }
    for (size_t i = 0; i < l->first_count; i++) {
        put_in(l, &l->pool[order[i]]);
        l->as_of_ms += 1000;
        evaluate_all(l);
    }
    for (int i = 0; i < 40; i++) {
        do
            something_happens(l);
        while (draw(l, 4) == 0);
        evaluate_all(l);
    }
    l->as_of_ms = began_ms;
}

/* ---- who lives ---- */

static life *life_new(void)
{
    life *l = calloc(1, sizeof *l);
    assert_non_null(l);
    l->contents[0] = world_content(NULL, 0);
    l->contents[1] = world_content(NULL, 0);
    strcpy(l->dir, "/tmp/og-spared-XXXXXX");
    assert_non_null(mkdtemp(l->dir));
    open_store(l);
    l->keeping = recall_new((size_t)4 << 20);
    l->arena = og_arena_new((size_t)1 << 30);
    l->with = og_arena_new((size_t)1 << 30);
    l->without = og_arena_new((size_t)1 << 30);
    l->keeping_arena = og_arena_new((size_t)1 << 30);
    l->told = og_arena_new((size_t)1 << 30);
    assert_non_null(l->arena);
    assert_non_null(l->with);
    assert_non_null(l->without);
    assert_non_null(l->keeping);
    assert_non_null(l->keeping_arena);
    assert_non_null(l->told);
    return l;
}

static void life_free(life *l)
{
    recall_free(l->keeping);
    kv_close(l->store);
    assert_int_equal(file_remove_tree(l->dir, NULL), OG_OK);
    plan_content_free(l->contents[0]);
    plan_content_free(l->contents[1]);
    og_arena_free(l->arena);
    og_arena_free(l->with);
    og_arena_free(l->without);
    og_arena_free(l->keeping_arena);
    og_arena_free(l->told);
    free(l);
}

static void be_born(life *l, const char *name)
{
    og_arena_reset(l->arena);
    l->name = name;
    l->pool_count = l->moment_count = 0;
}

static void live_some(life *l)
{
    int lives = getenv("OG_SPARED") != NULL ? 4 : 1;
    for (int i = 0; i < lives; i++)
        live(l, og_str_hash(og_str_of(l->name)) + (uint64_t)i);
}

static void read_case(life *l, const char *name)
{
    char path[600];
    og_buf text;
    fhir_doc doc;
    be_born(l, name);
    snprintf(path, sizeof path, CASES "/%s", name);
    og_buf_init(&text, (size_t)64 << 20);
    assert_int_equal(file_read(path, (size_t)64 << 20, &text, NULL), OG_OK);
    og_str copy = og_arena_str(l->arena, og_buf_str(&text));
    og_buf_done(&text);
    assert_int_equal(fhir_decode(l->arena, copy, NULL, &doc, NULL), OG_OK);
    fhir_elem root = fhir_root(&doc), variants = fhir_get(root, "variants");
    l->as_of_ms = moment_of(l, fhir_get(root, "asOf"));
    entries_may_come(l, fhir_get(root, "bundle"));
    l->first_count = l->pool_count;
    for (fhir_elem v = fhir_each_first(variants); fhir_exists(v); v = fhir_each_next(variants, v)) {
        fhir_elem put = fhir_get(v, "put"), at = fhir_get(v, "asOf");
        for (fhir_elem r = fhir_each_first(put); fhir_exists(r); r = fhir_each_next(put, r))
            may_come(l, fhir_raw(r));
        if (fhir_exists(at) && l->moment_count < 32)
            l->moments[l->moment_count++] = moment_of(l, at);
    }
}

static void live_case(life *l, const char *name)
{
    read_case(l, name);
    live_some(l);
}

static void say(const life *l)
{
    print_message("%zu evaluations, %zu without a card made: %zu rules asked, %zu spared\n",
                  l->steps, l->briefs, l->asked, l->spared);
    print_message("nodes: %llu, %llu with rules spared, %llu with values kept\n",
                  (unsigned long long)l->nodes_without, (unsigned long long)l->nodes,
                  (unsigned long long)l->nodes_keeping);
    assert_true(l->briefs > 0);
    assert_true(l->nodes_keeping < l->nodes - l->nodes / 8);
    assert_true(l->steps > 0);
    assert_true(l->spared > l->asked / 4);
    print_message("the store was opened %zu times; notes of %zu bytes\n", l->opened,
                  l->note_bytes / l->notes);
    assert_true(l->opened > 10);
    assert_in_range(l->note_bytes / l->notes, 100, 800);
    /* Opening it costs nothing; of whom there is nothing, memory notes less. */
    assert_in_range(l->spared_keeping, l->spared - l->spared / 100, l->spared + l->spared / 100);
}

static void cases_come_out_the_same(void **state)
{
    life *l = life_new();
    struct dirent **names = NULL;
    og_error err;
    (void)state;
    og_error_init(&err);
    assert_int_equal(clock_set_zone("Europe/Berlin", &err), OG_OK);
    int n = scandir(CASES, &names, NULL, alphasort);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        if (og_str_ends(og_str_of(names[i]->d_name), OG_STR(".json")))
            live_case(l, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    say(l);
    life_free(l);
}

static plan_result keep_once(life *l)
{
    plan_result r;
    evaluate_keeping(l, &r);
    return r;
}

/* Whoever comes once needs nothing kept; what has moved, or another day, is worked out. */
static void values_are_kept_of_who_comes_again(void **state)
{
    life *l = life_new();
    og_error err;
    size_t at = 0;
    (void)state;
    og_error_init(&err);
    assert_int_equal(clock_set_zone("Europe/Berlin", &err), OG_OK);
    read_case(l, "V5.json");
    for (size_t i = 0; i < l->first_count; i++)
        put_in(l, &l->pool[i]);
    while (at < l->view_count && strncmp(l->view[at]->name, "Observation/", 12) != 0)
        at++;
    assert_true(at < l->view_count);
    const version *one = l->view[at];

    plan_result first = keep_once(l);
    assert_int_equal(first.kept.n, 0);
    take_out(l, at);
    plan_result second = keep_once(l);
    assert_true(second.kept.n > 0);
    put_in(l, one);
    plan_result third = keep_once(l);
    assert_int_equal(third.kept.n, 0); /* what there is serves */
    assert_true(third.steps < second.steps / 2);
    take_out(l, at);
    assert_true(keep_once(l).steps <= third.steps);
    l->as_of_ms += 24 * HOUR;
    plan_result tomorrow = keep_once(l);
    assert_int_equal(tomorrow.spared, 0);
    assert_true(tomorrow.steps > second.steps);
    assert_true(tomorrow.kept.n > 0);

    /* Where there is no room for values, rules are spared as before. */
    recall_free(l->keeping);
    l->keeping = recall_new((size_t)256 << 10);
    assert_non_null(l->keeping);
    for (int i = 0; i < 4; i++) {
        if (i % 2 == 0)
            put_in(l, one);
        else
            take_out(l, at);
        assert_true((keep_once(l).spared > 0) == (i > 0));
    }
    life_free(l);
}

/* The patients of the sample stream, each with all that the stream ever says of it. */
static void whole_patients_come_out_the_same(void **state)
{
    life *l = life_new();
    og_error err;
    size_t patients = 0;
    (void)state;
    og_error_init(&err);
    assert_int_equal(clock_set_zone("Europe/Berlin", &err), OG_OK);
    for (int i = 1; i <= 20; i++) {
        char id[32];
        ndjson_reader *r;
        ndjson_item item;
        be_born(l, id);
        snprintf(id, sizeof id, "Patient/sample-%02d\"", i);
        l->as_of_ms = 1772319600000; /* 2026-03-01T00:00+01:00 */
        assert_int_equal(ndjson_open(STREAM, 0, 0, 0, &r, &err), OG_OK);
        while (ndjson_next(r, &item, &err) == OG_OK) {
            fhir_doc doc;
            og_str text = og_arena_str(l->arena, item.text);
            if (memmem(text.p, text.n, id, strlen(id)) == NULL ||
                fhir_decode(l->arena, text, NULL, &doc, NULL) != OG_OK)
                continue;
            if (fhir_is(fhir_get(fhir_root(&doc), "resourceType"), "Bundle"))
                entries_may_come(l, fhir_root(&doc));
            else
                may_come(l, text);
        }
        ndjson_close(r);
        l->first_count = l->pool_count;
        patients += l->pool_count > 0;
        if (l->pool_count > 0)
            live_some(l);
    }
    assert_int_equal(patients, 20);
    say(l);
    life_free(l);
}

/* ---- the same through gather, stores and outbox ---- */

static void feed_stream(world *w)
{
    ndjson_reader *r;
    ndjson_item item;
    og_error err;
    og_error_init(&err);
    assert_int_equal(ndjson_open(STREAM, 0, 0, 0, &r, &err), OG_OK);
    for (int i = 0; ndjson_next(r, &item, &err) == OG_OK; i++) {
        world_put(w, "fhir.bundle", (og_str){NULL, 0}, item.text);
        world_settle_down(w);
        w->now_ms += i % 5 == 4 ? 5 * HOUR : 60000;
        world_settle_down(w);
    }
    ndjson_close(r);
    for (int day = 0; day < 40; day++) { /* what comes by the clock alone, over summer time */
        w->now_ms = midnight_after(w->now_ms);
        world_settle_down(w);
    }
}

static void a_stream_comes_out_the_same(void **state)
{
    world *w[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        w[i] = world_new();
        if (i == 1)
            w[i]->setup.program = NULL;
        feed_stream(w[i]);
    }
    print_message("%llu evaluations: %llu rules asked, %llu spared\n",
                  (unsigned long long)w[0]->total.evaluations,
                  (unsigned long long)w[0]->total.rules_asked,
                  (unsigned long long)w[0]->total.rules_spared);
    assert_int_equal(w[0]->total.evaluations, w[1]->total.evaluations);
    assert_int_equal(w[0]->total.rules_asked + w[0]->total.rules_spared, w[1]->total.rules_asked);
    assert_true(w[0]->total.rules_spared > 0);
    assert_int_equal(w[1]->total.rules_spared, 0);
    assert_int_equal(w[0]->post_count, w[1]->post_count);
    assert_true(w[0]->post_count > 20);
    for (size_t i = 0; i < w[0]->post_count; i++)
        assert_string_equal(w[0]->posts[i].body, w[1]->posts[i].body);
    assert_int_equal(w[0]->alert_count, w[1]->alert_count);
    for (size_t i = 0; i < w[0]->alert_count; i++)
        assert_string_equal(w[0]->alerts[i].body, w[1]->alerts[i].body);
    for (int p = 0; p < WORLD_PARTITIONS; p++)
        assert_int_equal(w[0]->next_due_ms[p], w[1]->next_due_ms[p]);
    for (int i = 0; i < 2; i++)
        world_free(w[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_come_out_the_same),
        cmocka_unit_test(values_are_kept_of_who_comes_again),
        cmocka_unit_test(whole_patients_come_out_the_same),
        cmocka_unit_test(a_stream_comes_out_the_same),
    };
    cmocka_set_test_filter(getenv("OG_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
