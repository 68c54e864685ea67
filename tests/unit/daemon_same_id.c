/* Two systems may give two resources the same id, and a patient known to both has them both: what
 * the rules say of one must not be read in the other. The cases of the content cannot tell them
 * apart. */
#include "daemon_world.h"

#define C5 OG_SOURCE_DIR "/rules/content/cases/C5.json"

#define OTHER                                                                                      \
    "{\"resourceType\":\"MedicationAdministration\",\"id\":\"c5-z\",\"status\":\"completed\","     \
    "\"medicationCodeableConcept\":{\"coding\":[{\"system\":"                                      \
    "\"http://fhir.de/CodeSystem/bfarm/atc\",\"code\":\"N02BE01\"}]},\"subject\":{\"reference\":"  \
    "\"Patient/c5\"},\"effectivePeriod\":{\"start\":\"2026-02-21T08:00:00+01:00\",\"end\":"        \
    "\"2026-02-21T08:20:00+01:00\"}}"

#define AS_OF_MS 1772352000000 /* 2026-03-01T09:00:00+01:00 */

static void put(og_arena *a, fhir_resource *list, size_t *count, og_str text)
{
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    assert_non_null(doc);
    assert_int_equal(fhir_decode(a, text, NULL, doc, NULL), OG_OK);
    assert_int_equal(fhir_resource_of(fhir_root(doc), &list[(*count)++], NULL), OG_OK);
}

/* The case's resources; the other system's before or behind them, or nowhere. */
static size_t view(og_arena *a, bool before, bool behind, fhir_resource *list)
{
    size_t count = 0;
    og_buf text;
    fhir_doc doc;
    og_buf_init(&text, (size_t)1 << 22);
    assert_int_equal(file_read(C5, (size_t)1 << 22, &text, NULL), OG_OK);
    og_str copy = og_arena_str(a, og_buf_str(&text));
    og_buf_done(&text);
    assert_int_equal(fhir_decode(a, copy, NULL, &doc, NULL), OG_OK);
    fhir_elem entries = fhir_get(fhir_get(fhir_root(&doc), "bundle"), "entry");
    if (before)
        put(a, list, &count, OG_STR(OTHER));
    for (fhir_elem e = fhir_each_first(entries); fhir_exists(e); e = fhir_each_next(entries, e))
        put(a, list, &count, fhir_raw(fhir_get(e, "resource")));
    if (behind)
        put(a, list, &count, OG_STR(OTHER));
    return count;
}

static og_str card_of(const plan_content *c, og_arena *a, bool before, bool behind)
{
    fhir_resource *list = og_arena_zalloc(a, 64, sizeof *list);
    plan_result r;
    assert_non_null(list);
    plan_patient p = {.tenant = OG_STR("t"), .id = OG_STR("c5"), .resources = list};
    p.resource_count = view(a, before, behind, list);
    assert_int_equal(plan_content_evaluate(c, a, &p, AS_OF_MS, 60, PLAN_CARDS, &r, NULL), OG_OK);
    for (size_t i = 0; i < r.card_count; i++)
        if (og_str_is(r.cards[i].rule, "C5"))
            return r.cards[i].json;
    fail_msg("there is no card");
    return (og_str){NULL, 0};
}

static void an_infusion_runs_as_long_as_its_own_record_says(void **state)
{
    plan_content *c = world_content(NULL, 0);
    og_arena *a = og_arena_new((size_t)64 << 20);
    (void)state;
    assert_non_null(a);
    og_str alone = card_of(c, a, false, false);
    assert_non_null(memmem(alone.p, alone.n, "10 min", 6));
    for (int i = 0; i < 2; i++) {
        og_str beside = card_of(c, a, i == 0, i == 1);
        assert_int_equal(beside.n, alone.n);
        assert_memory_equal(beside.p, alone.p, alone.n);
    }
    og_arena_free(a);
    plan_content_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_infusion_runs_as_long_as_its_own_record_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
