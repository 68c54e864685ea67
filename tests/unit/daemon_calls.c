/* Calls of CDS services answer the same, whichever rules are spared: the patients of all clinical
 * cases are asked about in the three ways of asking, again and again, with data that are like the
 * store's, fewer, other, or new; each call is answered with and without what is noted in memory
 * and in the store. What is asked next is drawn by a fixed seed. */
#include "daemon_world.h"

#include <dirent.h>
#include <jansson.h>

#include "daemon/hooks.h"

#define CASES  OG_SOURCE_DIR "/rules/content/cases"
#define UUID   "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"
#define NOW_MS 1772352000000 /* 2026-03-01T09:00:00+01:00 */
#define STEPS  10            /* of each patient */

typedef struct asking {
    world *w;
    char patient[80];
    recall *recall;
    json_t *entries; /* of the case's Bundle */
    uint64_t random;
    size_t calls, cards, asked, spared, stored_asked, stored_spared;
} asking;

static uint64_t draw(asking *x, uint64_t below)
{
    x->random = x->random * 6364136223846793005u + 1442695040888963407u;
    return (x->random >> 33) % below;
}

/* ---- what is sent ---- */

/* The first number named `value`; true: it is another one now. */
static bool change_value(json_t *j)
{
    const char *key;
    json_t *member;
    size_t i;
    if (json_is_array(j))
        json_array_foreach(j, i, member) if (change_value(member)) return true;
    if (!json_is_object(j))
        return false;
    json_object_foreach(j, key, member)
    {
        if (strcmp(key, "value") == 0 && json_is_number(member)) {
            json_object_set_new(j, key, json_real(json_number_value(member) * 2 + 0.5));
            return true;
        }
        if (change_value(member))
            return true;
    }
    return false;
}

/* The case's entries as a searchset, some of them left out, changed, or under an id that nobody
 * knows. NULL: nothing is sent. */
static json_t *prefetch_of(asking *x)
{
    enum { NOTHING, ALL, FEWER, OTHER, NEW, KINDS };
    uint64_t kind = draw(x, KINDS);
    json_t *list = json_array(), *entry;
    size_t i, count = json_array_size(x->entries);
    if (kind == NOTHING) {
        json_decref(list);
        return NULL;
    }
    size_t chosen = count > 0 ? draw(x, count) : 0;
    json_array_foreach(x->entries, i, entry)
    {
        json_t *copy = json_deep_copy(json_object_get(entry, "resource"));
        if (i == chosen && kind == OTHER)
            change_value(copy);
        if (i == chosen && kind == NEW)
            json_object_set_new(copy, "id", json_string("new"));
        if (i != chosen || kind != FEWER)
            json_array_append_new(list, json_pack("{so}", "resource", copy));
        else
            json_decref(copy);
    }
    return json_pack("{s{ssssso}}", "all", "resourceType", "Bundle", "type", "searchset", "entry",
                     list);
}

#define DRUG(system, code)                                                                         \
    "{\"resourceType\":\"MedicationRequest\",\"id\":\"d\",\"status\":\"draft\",\"intent\":"        \
    "\"order\",\"authoredOn\":\"2026-03-01\",\"medicationCodeableConcept\":{\"coding\":[{"         \
    "\"system\":\"" system "\",\"code\":\"" code "\"}]},\"dosageInstruction\":[{\"doseAndRate\":[" \
    "{\"doseQuantity\":{\"value\":4,\"unit\":\"mg\",\"system\":\"http://unitsofmeasure.org\","     \
    "\"code\":\"mg\"}}]}]}"

static json_t *drafts_of(asking *x)
{
    static const char *const drafts[] = {
        DRUG("http://www.whocc.no/atc", "M05BA08"),
        DRUG("http://www.whocc.no/atc", "M05BX04"),
        DRUG("http://www.whocc.no/atc", "C09AA05"),
    };
    json_t *bundle =
        json_pack("{sssss[{so}]}", "resourceType", "Bundle", "type", "collection", "entry",
                  "resource", json_loads(drafts[draw(x, sizeof drafts / sizeof *drafts)], 0, NULL));
    assert_non_null(bundle);
    return bundle;
}

static char *body_of(asking *x, const char *hook)
{
    json_t *context = json_pack("{ssss}", "userId", "Practitioner/1", "patientId", x->patient);
    json_t *prefetch = prefetch_of(x);
    if (strcmp(hook, "patient-view") != 0)
        json_object_set_new(context, "draftOrders", drafts_of(x));
    if (strcmp(hook, "order-select") == 0)
        json_object_set_new(context, "selections", json_pack("[s]", "MedicationRequest/d"));
    json_t *body = json_pack("{sssssoso*}", "hook", hook, "hookInstance", UUID, "context", context,
                             "prefetch", prefetch);
    assert_non_null(body);
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

/* ---- both say the same ---- */

static hooks_call call_of(asking *x, const hook_request *q, og_arena *a, const char *program,
                          recall *m)
{
    return (hooks_call){.content = x->w->content,
                        .tenant = "t",
                        .language = "en",
                        .store = x->w->stores[world_partition_of(q->patient)],
                        .shared = x->w->shared_store,
                        .request = q,
                        .feedback = &x->w->setup.feedback,
                        .program = program,
                        .recall = m,
                        .now_ms = NOW_MS,
                        .offset_min = 60,
                        .known_ms = NOW_MS,
                        .arena = a};
}

static void same_answer(const asking *x, const char *hook, const hooks_call *with,
                        const hooks_call *without)
{
    if (with->status != without->status || !og_str_eq(with->answer, without->answer)) {
        print_error("%.*s\n%.*s\n", OG_STR_ARG(with->answer), OG_STR_ARG(without->answer));
        fail_msg("%s, %s", x->patient, hook);
    }
    assert_int_equal(with->outcome_count, without->outcome_count);
    for (size_t i = 0; i < with->outcome_count; i++)
        assert_int_equal(with->outcomes[i].kind, without->outcomes[i].kind);
}

/* With what calls have left in memory, with what is in the store alone, and with neither. */
static void ask(asking *x, const char *hook, const char *body)
{
    og_arena *a = og_arena_new((size_t)256 << 20);
    hook_request q;
    assert_int_equal(
        hook_request_read(a, og_str_of(body), hook_kind_find(og_str_of(hook)), &q, NULL), OG_OK);
    hooks_call with = call_of(x, &q, a, x->w->setup.program, x->recall);
    hooks_call without = call_of(x, &q, a, NULL, NULL);
    hooks_call stored = call_of(x, &q, a, x->w->setup.program, NULL);
    hooks_answer(&with);
    hooks_answer(&stored);
    hooks_answer(&without);
    same_answer(x, hook, &with, &without);
    same_answer(x, hook, &stored, &without);
    assert_int_equal(without.spared, 0);
    x->stored_spared += stored.spared;
    x->stored_asked += stored.asked;
    x->calls++;
    x->cards += with.cards;
    x->spared += with.spared;
    x->asked += with.asked;
    og_arena_free(a);
}

static void ask_often(asking *x)
{
    static const char *const hooks[] = {"patient-view", "order-sign", "order-select"};
    for (int i = 0; i < STEPS; i++) {
        const char *hook = hooks[draw(x, sizeof hooks / sizeof *hooks)];
        char *body = body_of(x, hook);
        for (uint64_t times = 1 + draw(x, 2); times > 0; times--)
            ask(x, hook, body);
        free(body);
    }
}

static void take_patient(asking *x)
{
    json_t *entry;
    size_t i;
    x->patient[0] = '\0';
    json_array_foreach(x->entries, i, entry)
    {
        json_t *r = json_object_get(entry, "resource");
        if (strcmp(json_string_value(json_object_get(r, "resourceType")), "Patient") == 0)
            snprintf(x->patient, sizeof x->patient, "%s",
                     json_string_value(json_object_get(r, "id")));
    }
}

static void ask_about(asking *x, const char *path)
{
    json_error_t why;
    json_t *root = json_load_file(path, 0, &why), *bundle = json_object_get(root, "bundle");
    x->entries = json_object_get(bundle, "entry");
    if (bundle != NULL)
        take_patient(x);
    if (bundle != NULL && x->patient[0] != '\0') {
        char *text = json_dumps(bundle, JSON_COMPACT);
        world_event(x->w, text);
        world_settle_down(x->w);
        ask_often(x);
        free(text);
    }
    json_decref(root);
}

static void spared_or_not_the_answer_is_the_same(void **state)
{
    asking x = {.w = world_new(), .recall = recall_new((size_t)1 << 20), .random = 20261129};
    struct dirent **names;
    (void)state;
    x.w->now_ms = NOW_MS;
    int count = scandir(CASES, &names, NULL, alphasort);
    assert_true(count > 100);
    for (int i = 0; i < count; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", CASES, names[i]->d_name);
        if (strstr(names[i]->d_name, ".json") != NULL)
            ask_about(&x, path);
        free(names[i]);
    }
    free(names);
    print_message("%zu calls, %zu cards, %zu rules asked, %zu spared; from the store %zu, %zu\n",
                  x.calls, x.cards, x.asked, x.spared, x.stored_asked, x.stored_spared);
    assert_true(x.calls > 1000);
    assert_true(x.cards > 500);
    assert_true(x.spared > x.asked);
    assert_true(x.stored_spared > x.stored_asked / 2);
    assert_true(x.spared > x.stored_spared);
    recall_free(x.recall);
    world_free(x.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(spared_or_not_the_answer_is_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
