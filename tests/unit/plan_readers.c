/* Which rules a resource matters to, and what it means that a rule is spared. */
#include "plan_fixture.h"

#define SNOMED "http://snomed.info/sct"
#define ATC    "http://www.whocc.no/atc"
#define ALL(type)                                                                                  \
    "{\"type\":\"Exists\",\"operand\":{\"type\":\"Retrieve\",\"dataType\":\"{http://hl7.org/"      \
    "fhir}" type "\"}}"
#define OF(type, path, codes)                                                                      \
    "{\"type\":\"Exists\",\"operand\":{\"type\":\"Retrieve\",\"dataType\":\"{http://hl7.org/"      \
    "fhir}" type "\",\"codeProperty\":\"" path "\",\"codeComparator\":\"in\",\"codes\":" codes     \
    "}}"
#define SET_REF(set) "{\"type\":\"ValueSetRef\",\"name\":\"" set "\",\"preserve\":true}"
#define CODE_REF(code)                                                                             \
    "{\"type\":\"ToList\",\"operand\":{\"type\":\"CodeRef\",\"name\":\"" code "\"}}"
#define SET(name)                                                                                  \
    "{\"name\":\"" name "\",\"id\":\"https://example.org/ValueSet/" name                           \
    "\",\"accessLevel\":\"Public\"}"
#define VALUESET(name, system, code)                                                               \
    "{\"resourceType\":\"ValueSet\",\"url\":\"https://example.org/ValueSet/" name                  \
    "\",\"status\":\"active\",\"compose\":{\"include\":[{\"system\":\"" system                     \
    "\",\"concept\":[{\"code\":\"" code "\"}]}]}}"
#define MAP                                                                                        \
    "{\"resourceType\":\"ConceptMap\",\"url\":\"https://example.org/ConceptMap/local\","           \
    "\"status\":\"active\",\"group\":[{\"source\":\"urn:local\",\"target\":\"" SNOMED              \
    "\",\"element\":[{\"code\":\"KM\",\"target\":[{\"code\":\"94222008\",\"equivalence\":"         \
    "\"equivalent\"}]}]}]}"
#define EVENING       "{\"type\":\"ToDateTime\",\"operand\":" STR("2026-03-01T20:00:00+01:00") "}"
#define AFTER_EVENING "{\"type\":\"Greater\",\"operand\":[{\"type\":\"Now\"}," EVENING "]}"

/* clang-format off */
#define DEFS                                                                                       \
    "," DEF("No", NO)                                                                              \
    "," DEF("Yes", YES)                                                                            \
    "," DEF("Fails", FAILS)                                                                        \
    "," DEF("Bone", OF("Condition", "code", SET_REF("Bone")))                                      \
    "," DEF("Other", OF("Condition", "code", SET_REF("Other")))                                    \
    "," DEF("Drug", OF("MedicationRequest", "medication", SET_REF("Drug")))                        \
    "," DEF("Direct", OF("Observation", "code", CODE_REF("Heart")))                                \
    "," DEF("Panel", OF("Observation", "component.code", SET_REF("Bone")))                         \
    "," DEF("Medicines", ALL("Medication"))                                                        \
    "," DEF("Whatever", ALL("Resource"))                                                           \
    "," DEF("Visits", "{\"type\":\"If\",\"condition\":" ALL("Encounter") ",\"then\":"              \
            DATE("2026", "5", "1") ",\"else\":" DATE("2026", "4", "1") "}")                        \
    "," DEF("Past", DATE("2026", "1", "1"))                                                        \
    "," DEF("Evening", AFTER_EVENING)                                                              \
    "," DEF("At Evening", "{\"type\":\"Equal\",\"operand\":[{\"type\":\"Now\"}," EVENING "]}")        \
    "," DEF("Noon", "{\"type\":\"ToDateTime\",\"operand\":" STR("2026-03-01T12:00:00+01:00") "}") \
    "," DEF("Text", "{\"type\":\"If\",\"condition\":" ALL("Goal") ",\"then\":" STR("a")            \
            ",\"else\":" STR("b") "}")
/* clang-format on */
#define TITLED ",\"title\":\"A summary\""
#define NEXT(name)                                                                                 \
    TITLED ",\"extension\":[" OG_EXT("next-review", "\"valueExpression\":" EXPR(name)) "]"

static const char *library_t(void)
{
    static char text[32768];
    static const char terms[] = "\"codeSystems\":{\"def\":[{\"name\":\"S\",\"id\":\"" SNOMED
                                "\"}]},\"codes\":{\"def\":[{\"name\":\"Heart\",\"id\":\"80891009\","
                                "\"codeSystem\":{\"name\":\"S\"}}]},";
    const char *from = LIBRARY("T", "", SET("Bone") "," SET("Other") "," SET("Drug"), DEFS);
    const char *at = strstr(from, "\"contexts\"");
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - from), from, terms, at);
    return text;
}

#define RULES 9

/* R1 to R9, a rule for each way of reading. */
static void load(fixture *f, const char *map)
{
    fixture_good(
        f, fixture_load(f, NULL, "elm/T.json", library_t(), "PlanDefinition-1.json",
                        RULE("R1", "Bone", "", TITLED), "PlanDefinition-2.json",
                        RULE("R2", "Other", "", TITLED), "PlanDefinition-3.json",
                        RULE("R3", "Drug", "", TITLED), "PlanDefinition-4.json",
                        RULE("R4", "Direct", "", TITLED), "PlanDefinition-5.json",
                        RULE("R5", "Panel", "", TITLED), "PlanDefinition-6.json",
                        RULE("R6", "Medicines", "", TITLED), "PlanDefinition-7.json",
                        RULE("R7", "Whatever", "", TITLED), "PlanDefinition-8.json",
                        RULE("R8", "No", "", NEXT("Visits")), "PlanDefinition-9.json",
                        RULE("R9", "No", "",
                             TITLED
                             ",\"dynamicValue\":[{\"path\":\"description\",\"expression\":" EXPR(
                                 "Text") "}]"),
                        "ValueSet-Bone.json", VALUESET("Bone", SNOMED, "94222008"),
                        "ValueSet-Other.json", VALUESET("Other", "urn:local", "KM"),
                        "ValueSet-Drug.json", VALUESET("Drug", ATC, "M05BX04"),
                        map != NULL ? "ConceptMap-local.json" : NULL, map, NULL));
    assert_int_equal(plan_content_rule_count(f->content), RULES);
    assert_int_equal(plan_content_rule_words(f->content), 1);
    assert_int_equal(plan_content_read_words(f->content), 1);
}

/* Rules of which something that they may read can find it. */
static const char *readers_of(const fixture *f, const uint64_t *finders, bool card,
                              char text[RULES + 1])
{
    size_t n = 0;
    for (size_t k = 0; k < RULES; k++) {
        const uint64_t *reads = plan_content_rule_reads(f->content, k, card);
        bool meet = false;
        for (size_t w = 0; w < plan_content_read_words(f->content); w++)
            meet |= (reads[w] & finders[w]) != 0;
        if (meet)
            text[n++] = (char)('1' + k);
    }
    text[n] = '\0';
    return text;
}

#define R(type, members) "{\"resourceType\":\"" type "\",\"id\":\"x\"" members "}"
#define CODES(codings)   ",\"code\":{\"coding\":[" codings "]}"
#define C(s, c)          "{\"system\":\"" s "\",\"code\":\"" c "\"}"

static void a_resource_matters_to_those_who_read_it(void **state)
{
    static const struct {
        const char *json, *rules, *rules_with_map;
    } table[] = {
        {R("Patient", ""), "123456789", NULL},
        {R("Goal", ""), "7", NULL},
        {R("Encounter", ""), "78", NULL},
        {R("Medication", CODES(C(ATC, "M05BX04"))), "67", NULL},
        {R("Condition", CODES(C(SNOMED, "94222008"))), "17", NULL},
        {R("Condition", CODES(C(SNOMED, "1"))), "7", NULL},
        {R("Condition", CODES(C("urn:other", "94222008"))), "7", NULL},
        {R("Condition", CODES(C(SNOMED, "1") "," C(SNOMED, "94222008"))), "17", NULL},
        /* a code that is asked for as it is, and as what it means */
        {R("Condition", CODES(C("urn:local", "KM"))), "27", "127"},
        /* what cannot be judged matters to all who look there */
        {R("Condition", ""), "127", NULL},
        {R("Condition", ",\"code\":{\"text\":\"metastasis\"}"), "127", NULL},
        {R("Condition", CODES("{\"code\":\"94222008\"}")), "127", NULL},
        {R("MedicationRequest", ",\"medicationReference\":{\"reference\":\"Medication/1\"}"), "37",
         NULL},
        {R("MedicationRequest",
           ",\"medicationCodeableConcept\":{\"coding\":[" C(ATC, "M05BX04") "]}"),
         "37", NULL},
        {R("MedicationRequest",
           ",\"medicationCodeableConcept\":{\"coding\":[" C(ATC, "N02BE01") "]}"),
         "7", NULL},
        /* nothing to be found on the way is nothing that is asked for */
        {R("Observation", CODES(C(SNOMED, "80891009"))), "47", NULL},
        {R("Observation", CODES(C(SNOMED, "94222008"))), "7", NULL},
        {R("Observation", ",\"component\":[{\"code\":{\"coding\":[" C(SNOMED, "94222008") "]}}]"),
         "457", NULL},
        {R("Observation",
           CODES(C(SNOMED, "1")) ",\"component\":[{\"code\":{\"coding\":[" C(
               SNOMED, "1") "]}},{\"code\":{\"coding\":[" C("urn:local", "KM") "]}}]"),
         "7", "57"},
        {R("Observation", CODES(C(SNOMED, "1")) ",\"component\":[{}]"), "57", NULL},
    };
    (void)state;
    for (int map = 0; map < 2; map++) {
        fixture f;
        load(&f, map != 0 ? MAP : NULL);
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
            fhir_resource r = fixture_resource(&f, table[i].json);
            uint64_t finders[1];
            assert_true(plan_content_wants(f.content, &r)); /* R7 reads whatever there is */
            assert_true(plan_content_wants_type(f.content, r.type));
            char have[RULES + 1], cards[RULES + 1];
            plan_content_finders(f.content, f.arena, &r, finders);
            readers_of(&f, finders, false, have);
            readers_of(&f, finders, true, cards);
            bool other = map != 0 && table[i].rules_with_map != NULL;
            const char *want = other ? table[i].rules_with_map : table[i].rules;
            if (strcmp(have, want) != 0)
                fail_msg("map %d: %s: %s, not %s", map, table[i].json, have, want);
            /* R9 shows goals on its card; nobody else shows what it does not ask for */
            want = og_str_is(r.type, "Goal") ? "79" : want;
            if (strcmp(cards, want) != 0)
                fail_msg("map %d: cards, %s: %s, not %s", map, table[i].json, cards, want);
        }
        fixture_free(&f);
    }
}

static plan_result evaluate(fixture *f, const uint64_t *spared, const int64_t *reviews,
                            int64_t as_of_ms)
{
    fhir_resource *r = og_arena_alloc(f->arena, sizeof *r);
    plan_patient p = {.id = OG_STR("x"),
                      .resources = r,
                      .resource_count = 1,
                      .spared = spared,
                      .spared_reviews = reviews};
    plan_result result;
    assert_non_null(r);
    *r = fixture_resource(f, R("Patient", ""));
    assert_int_equal(
        plan_content_evaluate(f->content, f->arena, &p, as_of_ms, 60, PLAN_CARDS, &result, NULL),
        OG_OK);
    return result;
}

/* Nobody looks whether it is true that it does not fire. */
static void a_spared_rule_is_not_asked(void **state)
{
    fixture f;
    uint64_t spared = 1 << 1 | 1 << 2;
    int64_t reviews[] = {0, 1775000000000, 0};
    (void)state;
    fixture_good(&f, fixture_load(&f, NULL, "elm/T.json", library_t(), "PlanDefinition-1.json",
                                  RULE("R1", "Yes", "", TITLED), "PlanDefinition-2.json",
                                  RULE("R2", "Yes", "", TITLED), "PlanDefinition-3.json",
                                  RULE("R3", "Fails", "", TITLED), "ValueSet-Bone.json",
                                  VALUESET("Bone", SNOMED, "94222008"), "ValueSet-Other.json",
                                  VALUESET("Other", "urn:local", "KM"), "ValueSet-Drug.json",
                                  VALUESET("Drug", ATC, "M05BX04"), NULL));
    plan_result r = evaluate(&f, NULL, NULL, AS_OF_MS);
    assert_int_equal(r.asked, 3);
    assert_int_equal(r.spared, 0);
    assert_int_equal(r.card_count, 2);
    assert_int_equal(fixture_outcome(&r, "R3")->kind, PLAN_FAILED);
    r = evaluate(&f, &spared, reviews, AS_OF_MS);
    assert_int_equal(r.asked, 1);
    assert_int_equal(r.spared, 2);
    assert_int_equal(r.card_count, 1);
    assert_int_equal(fixture_outcome(&r, "R1")->kind, PLAN_FIRED);
    assert_int_equal(fixture_outcome(&r, "R2")->kind, PLAN_NOT_FIRED);
    assert_int_equal(fixture_outcome(&r, "R3")->kind, PLAN_NOT_FIRED);
    assert_int_equal(r.next_review_ms, 1775000000000);
    assert_int_equal(r.reviews[0], 0);
    assert_int_equal(r.reviews[1], 1775000000000);
    fixture_free(&f);
}

#define MIDNIGHT 1772406000000 /* after AS_OF_MS, at the site */

static void it_is_known_how_long_it_holds(void **state)
{
    static const struct {
        const char *condition, *action;
        int64_t as_of_ms, review_ms, until_ms;
    } table[] = {
        {"No", "", AS_OF_MS, 0, MIDNIGHT},
        {"Yes", "", AS_OF_MS, 0, MIDNIGHT},
        {"No", NEXT("Past"), AS_OF_MS, MIDNIGHT, MIDNIGHT},
        {"No", NEXT("Visits"), AS_OF_MS, 1774998000000, MIDNIGHT},
        {"No", NEXT("Noon"), AS_OF_MS, 1772362800000, 1772362800000},
        {"Evening", "", AS_OF_MS, 0, 1772391600000},
        {"Evening", "", 1772391600000, 0, 1772391600001},
        {"Evening", "", 1772391600001, 0, 1772391600999}, /* the second goes on */
        {"Evening", "", 1772391601000, 0, MIDNIGHT},
        {"At Evening", "", AS_OF_MS, 0, INT64_MIN},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char rule[8192];
        fixture f;
        const char *base = RULE("R1", "@", "", TITLED), *at;
        size_t n = 0;
        for (; (at = strchr(base, '@')) != NULL; base = at + 1)
            n += (size_t)snprintf(rule + n, sizeof rule - n, "%.*s%s", (int)(at - base), base,
                                  table[i].condition);
        at = strstr(base, TITLED);
        snprintf(rule + n, sizeof rule - n, "%.*s%s%s", (int)(at - base), base,
                 table[i].action[0] != '\0' ? table[i].action : TITLED, at + strlen(TITLED));
        fixture_good(&f,
                     fixture_load(&f, NULL, "elm/T.json", library_t(), "PlanDefinition-1.json",
                                  rule, "ValueSet-Bone.json", VALUESET("Bone", SNOMED, "94222008"),
                                  "ValueSet-Other.json", VALUESET("Other", "urn:local", "KM"),
                                  "ValueSet-Drug.json", VALUESET("Drug", ATC, "M05BX04"), NULL));
        plan_result r = evaluate(&f, NULL, NULL, table[i].as_of_ms);
        if (r.reviews[0] != table[i].review_ms || r.holds_until_ms != table[i].until_ms)
            fail_msg("row %zu: review %lld, until %lld", i, (long long)r.reviews[0],
                     (long long)r.holds_until_ms);
        fixture_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resource_matters_to_those_who_read_it),
        cmocka_unit_test(a_spared_rule_is_not_asked),
        cmocka_unit_test(it_is_known_how_long_it_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
