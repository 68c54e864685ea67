/* What gather may drop, and what local codes mean. */
#include "plan_fixture.h"

#define SNOMED "http://snomed.info/sct"
#define RETRIEVE(type, path, set)                                                                  \
    "{\"type\":\"Retrieve\",\"dataType\":\"{http://hl7.org/fhir}" type                             \
    "\",\"codeProperty\":\"" path                                                                  \
    "\",\"codeComparator\":\"in\",\"codes\":{\"type\":\"ValueSetRef\",\"name\":\"" set             \
    "\",\"preserve\":true}}"
#define ALL(type) "{\"type\":\"Retrieve\",\"dataType\":\"{http://hl7.org/fhir}" type "\"}"
#define EXISTS(x) "{\"type\":\"Exists\",\"operand\":" x "}"
#define SET(name)                                                                                  \
    "{\"name\":\"" name "\",\"id\":\"https://example.org/ValueSet/" name                           \
    "\",\"accessLevel\":\"Public\"}"
#define VALUESET(name, system, code)                                                               \
    "{\"resourceType\":\"ValueSet\",\"url\":\"https://example.org/ValueSet/" name                  \
    "\",\"status\":\"active\","                                                                    \
    "\"compose\":{\"include\":[{\"system\":\"" system "\",\"concept\":[{\"code\":\"" code          \
    "\"}]}]}}"
#define MAP                                                                                        \
    "{\"resourceType\":\"ConceptMap\",\"url\":\"https://example.org/ConceptMap/"                   \
    "local\",\"status\":\"active\",\"group\":[{"                                                   \
    "\"source\":\"urn:local\",\"target\":\"" SNOMED                                                \
    "\",\"element\":[{\"code\":\"KM\",\"target\":[{\"code\":\"94222008\",\"equivalence\":"         \
    "\"equivalent\"}]}]}]}"

#define LIBRARY_W                                                                                  \
    LIBRARY(                                                                                       \
        "T", "", SET("Bone") "," SET("Drug"),                                                      \
        "," DEF("Yes", EXISTS(RETRIEVE("Condition", "code", "Bone"))) "," DEF(                     \
            "Panels",                                                                              \
            EXISTS(RETRIEVE(                                                                       \
                "Observation", "component.code",                                                   \
                "Bone"))) "," DEF("Drugs",                                                         \
                                  EXISTS(RETRIEVE(                                                 \
                                      "MedicationRequest", "medication",                           \
                                      "Drug"))) "," DEF("Medications",                             \
                                                        EXISTS(ALL(                                \
                                                            "Medication"))) "," DEF("Unused",      \
                                                                                    EXISTS(ALL(    \
                                                                                        "Encounte" \
                                                                                        "r"))))
#define CONDITIONS WHEN("Drugs") "," WHEN("Medications") "," WHEN("Panels")

static void load(fixture *f, const char *map)
{
    char rule[8192];
    const char *base = RULE("R1", "Yes", "", ",\"title\":\"s\""), *yes = WHEN("Yes");
    const char *at = strstr(base, yes) + strlen(yes);
    snprintf(rule, sizeof rule, "%.*s,%s%s", (int)(at - base), base, CONDITIONS, at);
    fixture_good(f, fixture_load(f, NULL, "elm/T.json", LIBRARY_W, "PlanDefinition-R1.json", rule,
                                 "ValueSet-Bone.json", VALUESET("Bone", SNOMED, "94222008"),
                                 "ValueSet-Drug.json",
                                 VALUESET("Drug", "http://www.whocc.no/atc", "M05BX04"),
                                 map != NULL ? "ConceptMap-local.json" : NULL, map, NULL));
}

#define COND(code)                                                                                 \
    "{\"resourceType\":\"Condition\",\"subject\":{\"reference\":\"Patient/p1\"}" code "}"
#define MED(code)                                                                                  \
    "{\"resourceType\":\"MedicationRequest\",\"status\":\"active\",\"intent\":\"order\","          \
    "\"subject\":{\"reference\":\"Patient/p1\"}" code "}"
#define PANEL(members)                                                                             \
    "{\"resourceType\":\"Observation\",\"status\":\"final\",\"subject\":{\"reference\":\"Patient/" \
    "p1\"}" members "}"
#define CODING(s, c) "{\"system\":\"" s "\",\"code\":\"" c "\"}"

static void only_what_no_rule_asks_for_is_dropped(void **state)
{
    static const struct {
        const char *json;
        bool wanted, wanted_with_map;
    } table[] = {
        {"{\"resourceType\":\"Patient\",\"id\":\"p1\"}", true, true},
        {"{\"resourceType\":\"Encounter\",\"id\":\"e\"}", false, false},
        {"{\"resourceType\":\"Claim\",\"id\":\"c\"}", false, false},
        {"{\"resourceType\":\"Medication\",\"id\":\"m\"}", true, true},
        {COND(",\"code\":{\"coding\":[" CODING(SNOMED, "94222008") "]}"), true, true},
        {COND(",\"code\":{\"coding\":[" CODING(SNOMED, "1") "]}"), false, false},
        {COND(",\"code\":{\"coding\":[" CODING(SNOMED, "1") "," CODING(SNOMED, "94222008") "]}"),
         true, true},
        {COND(",\"code\":{\"coding\":[" CODING("urn:other", "94222008") "]}"), false, false},
        {COND(",\"code\":{\"coding\":[" CODING("urn:local", "KM") "]}"), false, true},
        /* what cannot be judged stays */
        {COND(",\"code\":{\"text\":\"bone metastasis\"}"), true, true},
        {COND(",\"code\":{\"coding\":[{\"code\":\"94222008\"}]}"), true, true},
        {COND(",\"code\":{\"coding\":[{\"display\":\"x\"}]}"), true, true},
        {COND(""), true, true},
        {COND(",\"code\":\"wrong\""), true, true},
        {COND(",\"code\":{\"coding\":\"wrong\"}"), true, true},
        {MED(",\"medicationReference\":{\"reference\":\"Medication/1\"}"), true, true},
        {MED(",\"medicationCodeableConcept\":{\"text\":\"x\"}"), true, true},
        {MED(",\"medicationCodeableConcept\":{\"coding\":[" CODING("http://www.whocc.no/atc",
                                                                   "M05BX04") "]}"),
         true, true},
        {MED(",\"medicationCodeableConcept\":{\"coding\":[" CODING("http://www.whocc.no/atc",
                                                                   "N02BE01") "]}"),
         false, false},
        /* a path through a list: each component's code */
        {PANEL(",\"code\":{\"coding\":[" CODING(SNOMED, "94222008") "]}"), false, false},
        {PANEL(",\"component\":[]"), true, true},
        {PANEL(",\"component\":[{\"code\":{\"coding\":[" CODING(SNOMED, "1") "]}}]"), false, false},
        {PANEL(",\"component\":[{\"code\":{\"coding\":[" CODING(
             SNOMED, "1") "]}},{\"code\":{\"coding\":[" CODING(SNOMED, "94222008") "]}}]"),
         true, true},
        {PANEL(",\"component\":[{\"code\":{\"coding\":[" CODING("urn:local", "KM") "]}}]"), false,
         true},
        {PANEL(",\"component\":[{\"code\":{\"text\":\"x\"}}]"), true, true},
        {PANEL(",\"component\":[{}]"), true, true},
    };
    (void)state;
    for (int map = 0; map < 2; map++) {
        fixture f;
        load(&f, map != 0 ? MAP : NULL);
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
            fhir_resource r = fixture_resource(&f, table[i].json);
            bool want = map != 0 ? table[i].wanted_with_map : table[i].wanted;
            if (plan_content_wants(f.content, &r) != want)
                fail_msg("map %d: %s", map, table[i].json);
        }
        assert_true(plan_content_wants_type(f.content, OG_STR("Condition")));
        assert_true(plan_content_wants_type(f.content, OG_STR("Patient")));
        assert_true(plan_content_wants_type(f.content, OG_STR("Medication")));
        assert_false(plan_content_wants_type(f.content, OG_STR("Encounter")));
        assert_false(plan_content_wants_type(f.content, OG_STR("Nonsense")));
        fixture_free(&f);
    }
}

static void local_codes_get_their_meaning(void **state)
{
    static const char *const table[][2] = {
        {COND(",\"code\":{\"coding\":[" CODING("urn:local", "KM") "],\"text\":\"1.00\"}"),
         COND(",\"code\":{\"coding\":[" CODING("urn:local", "KM") "," CODING(
             SNOMED, "94222008") "],\"text\":\"1.00\"}")},
        /* twice the same, or already there: added once or not at all */
        {COND(",\"code\":{\"coding\":[" CODING("urn:local", "KM") "," CODING("urn:local",
                                                                             "KM") "]}"),
         COND(",\"code\":{\"coding\":[" CODING("urn:local", "KM") "," CODING(
             "urn:local", "KM") "," CODING(SNOMED, "94222008") "]}")},
        {COND(",\"code\":{\"coding\":[" CODING("urn:local", "KM") "," CODING(SNOMED,
                                                                             "94222008") "]}"),
         NULL},
        {COND(",\"code\":{\"coding\":[" CODING("urn:local", "other") "]}"), NULL},
        {COND(",\"code\":{\"coding\":[]}"), NULL},
        {COND(",\"code\":{\"coding\":[{\"code\":\"KM\"},null,7,\"x\"]}"), NULL},
        {COND(",\"evidence\":[{\"code\":[{\"coding\":[" CODING(
             "urn:local", "KM") " ]}]}],\"code\":{\"coding\":[ " CODING("urn:local",
                                                                        "KM") "]},\"x\":1.00"),
         COND(",\"evidence\":[{\"code\":[{\"coding\":[" CODING("urn:local", "KM") " ," CODING(
             SNOMED,
             "94222008") "]}]}],\"code\":{\"coding\":[ " CODING("urn:local",
                                                                "KM") "," CODING(SNOMED,
                                                                                 "94222008") "]},"
                                                                                             "\"x\""
                                                                                             ":1."
                                                                                             "00")},
    };
    fixture f;
    og_error err;
    (void)state;
    load(&f, MAP);
    og_error_init(&err);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        fhir_resource from = fixture_resource(&f, table[i][0]), to;
        assert_int_equal(plan__translate(f.content, f.arena, &from, &to, &err), OG_OK);
        assert_str(fhir_raw(to.root), table[i][1] != NULL ? table[i][1] : table[i][0]);
        if (table[i][1] == NULL)
            assert_ptr_equal(from.root.doc, to.root.doc);
        assert_str(to.type, "Condition");
    }
    fixture_free(&f);
}

/* The rule sees the translated code, the caller's resource stays as it was. */
static void rules_see_local_codes(void **state)
{
    (void)state;
    for (int map = 0; map < 2; map++) {
        fixture f;
        plan_result r;
        og_error err;
        load(&f, map != 0 ? MAP : NULL);
        og_error_init(&err);
        fhir_resource list[5] = {
            fixture_resource(&f, "{\"resourceType\":\"Patient\",\"id\":\"p1\"}"),
            fixture_resource(
                &f, "{\"resourceType\":\"Condition\",\"id\":\"c\",\"subject\":{\"reference\":"
                    "\"Patient/p1\"},\"code\":{\"coding\":[" CODING("urn:local", "KM") "]}}"),
            fixture_resource(&f, MED(",\"medicationCodeableConcept\":{\"coding\":[" CODING(
                                     "http://www.whocc.no/atc", "M05BX04") "]}")),
            fixture_resource(&f, "{\"resourceType\":\"Medication\",\"id\":\"m\"}"),
            fixture_resource(&f, PANEL(",\"component\":[{\"code\":{\"coding\":[" CODING(
                                     SNOMED, "94222008") "]}}]")),
        };
        plan_patient p = {
            .tenant = OG_STR("site"), .id = OG_STR("p1"), .resources = list, .resource_count = 5};
        assert_int_equal(
            plan_content_evaluate(f.content, f.arena, &p, AS_OF_MS, 60, PLAN_REASONS, &r, &err),
            OG_OK);
        assert_int_equal(fixture_outcome(&r, "R1")->kind, map != 0 ? PLAN_FIRED : PLAN_NOT_FIRED);
        if (map != 0)
            assert_contains(fixture_outcome(&r, "R1")->explain, "\"Condition/c\"");
        fixture_free(&f);
    }
}

static void missing_value_sets_are_told(void **state)
{
    fixture f;
    (void)state;
    assert_int_not_equal(fixture_load(&f, NULL, "elm/T.json", LIBRARY_W, "PlanDefinition-R1.json",
                                      RULE("R1", "Yes", "", ",\"title\":\"s\""),
                                      "ValueSet-Bone.json", VALUESET("Bone", SNOMED, "94222008"),
                                      NULL),
                         OG_OK);
    assert_non_null(strstr(f.problems, "ValueSet/Drug"));
    assert_non_null(strstr(f.problems, "elm/T.json"));
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_no_rule_asks_for_is_dropped),
        cmocka_unit_test(local_codes_get_their_meaning),
        cmocka_unit_test(rules_see_local_codes),
        cmocka_unit_test(missing_value_sets_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
