/* CQL values as FHIR elements of a draft resource, and the paths that they are written to. */
#include "plan_fixture.h"

static og_str json_of(og_arena *a, cql_value v, const char *type)
{
    plan__json *j = NULL;
    og_error err;
    og_error_init(&err);
    if (plan__value_json(a, v, fhir_type_of(og_str_of(type)), &j, &err) != OG_OK) {
        assert_int_equal(err.status, OG_EVAL);
        return og_arena_printf(a, "error: %s", err.text);
    }
    return j != NULL ? plan__json_text(a, j) : OG_STR("(none)");
}

static cql_value date(cql_kind kind, uint8_t precision, bool offset)
{
    cql_value v = {.kind = (uint8_t)kind};
    v.temporal = (og_temporal){.precision = precision,
                               .has_offset = offset,
                               .offset_min = 60,
                               .year = 2026,
                               .month = 3,
                               .day = 1,
                               .hour = 9,
                               .minute = 5,
                               .second = 7};
    return v;
}

static void values_become_elements(void **state)
{
    static const cql_quantity mg = {.value = (og_decimal)400000000, .scale = 1, .unit = {"mg", 2}};
    static const cql_quantity weeks = {
        .value = (og_decimal)400000000, .scale = 0, .calendar = true, .unit = {"week", 4}};
    static const cql_quantity one = {.value = (og_decimal)50000000, .scale = 1, .unit = {"1", 1}};
    static const cql_code code = {
        {"M05BA08", 7}, {"http://www.whocc.no/atc", 23}, {NULL, 0}, {"zoledronic acid", 15}};
    static const cql_concept concept = {&code, 1, {"Zoledronic acid", 15}};
    cql_interval range = {.low = {.kind = CQL_QUANTITY, .quantity = &one},
                          .high = {.kind = CQL_QUANTITY, .quantity = &mg},
                          .low_closed = true,
                          .high_closed = true};
    cql_interval period = {
        .low = date(CQL_DATETIME, OG_DAY, false), .low_closed = true, .high_closed = true};
    cql_interval open = {.low = {.kind = CQL_QUANTITY, .quantity = &one}, .high_closed = true};
    cql_ratio ratio = {mg, one};
    cql_value two[] = {cql_string(OG_STR("a")), cql_string(OG_STR("b"))};
    cql_list list = {two, 2};
    og_str names[] = {OG_STR("text"), OG_STR("asNeeded"), OG_STR("patientInstruction")};
    cql_value items[] = {cql_string(OG_STR("4 mg")), CQL_NULL_VALUE, cql_string(OG_STR("drink"))};
    cql_tuple dosage = {{"{http://hl7.org/fhir}Dosage", 27}, names, items, 3};
    cql_tuple wrong = {{"{http://hl7.org/fhir}Period", 27}, names, items, 3};
    const struct {
        cql_value v;
        const char *type, *want;
    } table[] = {
        {CQL_NULL_VALUE, "Quantity", "(none)"},
        {cql_bool(true), "boolean", "true"},
        {cql_bool(true), "string", "error: a System.Boolean cannot be written as FHIR string"},
        {cql_integer(7), "integer", "7"},
        {cql_integer(7), "decimal", "7"},
        {cql_integer(0), "positiveInt",
         "error: a System.Integer cannot be written as FHIR positiveInt"},
        {cql_integer(-1), "unsignedInt",
         "error: a System.Integer cannot be written as FHIR unsignedInt"},
        {cql_decimal((og_decimal)330000000, 2), "decimal", "3.30"},
        {cql_decimal((og_decimal)330000000, 2), "integer",
         "error: a System.Decimal cannot be written as FHIR integer"},
        {cql_string(OG_STR("x\"y")), "string", "\"x\\\"y\""},
        {cql_string(OG_STR("x")), "CodeableConcept", "{\"text\":\"x\"}"},
        {cql_string(OG_STR("Condition/1")), "Reference", "{\"reference\":\"Condition/1\"}"},
        {cql_string(OG_STR("x")), "Annotation", "{\"text\":\"x\"}"},
        {cql_string(OG_STR("x")), "Dosage", "{\"text\":\"x\"}"},
        {cql_string(OG_STR("x")), "boolean",
         "error: a System.String cannot be written as FHIR boolean"},
        {cql_string(OG_STR("x")), "Timing",
         "error: a System.String cannot be written as FHIR Timing"},
        {date(CQL_DATE, OG_DAY, false), "date", "\"2026-03-01\""},
        {date(CQL_DATE, OG_MONTH, false), "dateTime", "\"2026-03\""},
        {date(CQL_DATETIME, OG_SECOND, true), "dateTime", "\"2026-03-01T09:05:07+01:00\""},
        {date(CQL_DATETIME, OG_SECOND, true), "date", "\"2026-03-01\""},
        {date(CQL_DATETIME, OG_MINUTE, true), "dateTime",
         "error: a System.DateTime cannot be written as FHIR dateTime"},
        {date(CQL_DATETIME, OG_SECOND, false), "dateTime",
         "error: a System.DateTime cannot be written as FHIR dateTime"},
        {date(CQL_DATE, OG_DAY, false), "instant",
         "error: a System.Date cannot be written as FHIR instant"},
        {(cql_value){.kind = CQL_QUANTITY, .quantity = &mg}, "Quantity",
         "{\"value\":4.0,\"unit\":\"mg\",\"system\":\"http://"
         "unitsofmeasure.org\",\"code\":\"mg\"}"},
        {(cql_value){.kind = CQL_QUANTITY, .quantity = &weeks}, "Duration",
         "{\"value\":4,\"unit\":\"week\",\"system\":\"http://"
         "unitsofmeasure.org\",\"code\":\"wk\"}"},
        {(cql_value){.kind = CQL_QUANTITY, .quantity = &one}, "Quantity",
         "{\"value\":0.5,\"system\":\"http://unitsofmeasure.org\",\"code\":\"1\"}"},
        {(cql_value){.kind = CQL_QUANTITY, .quantity = &mg}, "string",
         "error: a System.Quantity cannot be written as FHIR string"},
        {(cql_value){.kind = CQL_CODE, .code = &code}, "CodeableConcept",
         "{\"coding\":[{\"system\":\"http://www.whocc.no/"
         "atc\",\"code\":\"M05BA08\",\"display\":\"zoledronic acid\"}]}"},
        {(cql_value){.kind = CQL_CODE, .code = &code}, "Coding",
         "{\"system\":\"http://www.whocc.no/atc\",\"code\":\"M05BA08\",\"display\":\"zoledronic "
         "acid\"}"},
        {(cql_value){.kind = CQL_CODE, .code = &code}, "code", "\"M05BA08\""},
        {(cql_value){.kind = CQL_CONCEPT, .concept = &concept}, "CodeableConcept",
         "{\"coding\":[{\"system\":\"http://www.whocc.no/"
         "atc\",\"code\":\"M05BA08\",\"display\":\"zoledronic acid\"}],\"text\":\"Zoledronic "
         "acid\"}"},
        {(cql_value){.kind = CQL_INTERVAL, .interval = &range}, "Range",
         "{\"low\":{\"value\":0.5,\"system\":\"http://"
         "unitsofmeasure.org\",\"code\":\"1\"},\"high\":{\"value\":4.0,\"unit\":\"mg\",\"system\":"
         "\"http://unitsofmeasure.org\",\"code\":\"mg\"}}"},
        {(cql_value){.kind = CQL_INTERVAL, .interval = &period}, "Period",
         "{\"start\":\"2026-03-01\"}"},
        {(cql_value){.kind = CQL_INTERVAL, .interval = &open}, "Range",
         "error: an open interval cannot be written as FHIR Range"},
        {(cql_value){.kind = CQL_RATIO, .ratio = &ratio}, "Ratio",
         "{\"numerator\":{\"value\":4.0,\"unit\":\"mg\",\"system\":\"http://"
         "unitsofmeasure.org\",\"code\":\"mg\"},\"denominator\":{\"value\":0.5,\"system\":\"http://"
         "unitsofmeasure.org\",\"code\":\"1\"}}"},
        {(cql_value){.kind = CQL_LIST, .list = &list}, "string", "[\"a\",\"b\"]"},
        {(cql_value){.kind = CQL_TUPLE, .tuple = &dosage}, "Dosage",
         "{\"text\":\"4 mg\",\"patientInstruction\":\"drink\"}"},
        {(cql_value){.kind = CQL_TUPLE, .tuple = &wrong}, "Dosage",
         "error: a {http://hl7.org/fhir}Period cannot be written as FHIR Dosage"},
    };
    og_arena *a = og_arena_new(1 << 20);
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        og_str have = json_of(a, table[i].v, table[i].type);
        if (!og_str_is(have, table[i].want))
            fail_msg("row %zu (%s)\nhave %.*s\nwant %s", i, table[i].type, OG_STR_ARG(have),
                     table[i].want);
    }
    og_arena_free(a);
}

static void paths_are_checked(void **state)
{
    static const struct {
        const char *path, *problem; /* NULL: good */
    } table[] = {
        {"dosageInstruction[0].text", NULL},
        {"dosageInstruction", NULL},
        {"dosageInstruction[0].doseAndRate[0].doseQuantity", NULL},
        {"dosageInstruction[0].doseAndRate[0].doseQuantity.value", NULL},
        {"medicationCodeableConcept", NULL},
        {"dispenseRequest.quantity", NULL},
        {"reasonCode[12]", NULL},
        {"", "is not an element path"},
        {".", "is not an element path"},
        {"dispenseRequest.", "is not an element path"},
        {"reasonCode[", "is not an element path"},
        {"reasonCode[]", "is not an element path"},
        {"reasonCode[-1]", "is not an element path"},
        {"reasonCode[99999]", "is not an element path"},
        {"reasonCode[0]x", "is not an element path"},
        {"medication", "has no element 'medication'"},
        {"dosage[0].text", "has no element 'dosage'"},
        {"priority[0]", "does not repeat"},
        {"priority.value", "is a primitive"},
        {"dosageInstruction.text", "write dosageInstruction[0]"},
        {"status", "a rule cannot set 'status'"},
        {"subject.reference", "a rule cannot set 'subject'"},
        {"id", "a rule cannot set 'id'"},
        {"resourceType", "has no element"},
    };
    og_arena *a = og_arena_new(1 << 20);
    uint16_t type = fhir_type_of(OG_STR("MedicationRequest"));
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const plan__step *steps;
        size_t count;
        og_error err;
        og_error_init(&err);
        bool good = plan__path_read(a, og_str_of(table[i].path), type, &steps, &count, &err);
        if (good != (table[i].problem == NULL) ||
            (!good && strstr(err.text, table[i].problem) == NULL))
            fail_msg("\"%s\": %s", table[i].path, err.text);
    }
    og_arena_free(a);
}

#define ACTIVITY(rest)                                                                             \
    ",\"contained\":[{\"resourceType\":\"ActivityDefinition\",\"id\":\"a\",\"status\":\"active\"," \
    "\"kind\":\"MedicationRequest\",\"description\":\"d\","                                        \
    "\"dosage\":[{\"text\":\"first\"},{\"text\":\"second\"}]" rest "}]"
#define SET(path, name) ",\"dynamicValue\":[{\"path\":\"" path "\",\"expression\":" EXPR(name) "}]"
#define OFFER           ",\"title\":\"s\",\"action\":[{\"title\":\"t\",\"definitionCanonical\":\"#a\"}]"

/* The draft's part behind the fixed head, or the rule's error. */
static void draft_is(const char *rule, const char *want)
{
    fixture f;
    fixture_good(
        &f,
        fixture_load(
            &f, NULL, "elm/T.json",
            LIBRARY(
                "T", "", "",
                "," DEF("Yes", YES) "," DEF("Null", NIL) "," DEF("Text", STR("computed")) "," DEF(
                    "Number", INT("7")) "," DEF("Texts",
                                                "{\"type\":\"List\",\"element\":[" STR("a") "," STR(
                                                    "b") "]}")),
            "PlanDefinition-R1.json", rule, NULL));
    plan_result r = fixture_evaluate(&f, false);
    if (r.card_count == 0)
        assert_contains(og_str_of(r.outcomes[0].error.text), want);
    else
        assert_contains(r.cards[0].json, want);
    fixture_free(&f);
}

#define HEAD "\"status\":\"draft\",\"intent\":\"proposal\","
static void drafts_take_values(void **state)
{
    (void)state;
    draft_is(RULE("R1", "Yes", ACTIVITY(""), OFFER),
             HEAD "\"dosageInstruction\":[{\"text\":\"first\"},{\"text\":\"second\"}],\"subject\"");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("dosageInstruction[0].text", "Text")), OFFER),
             "[{\"text\":\"computed\"},{\"text\":\"second\"}]");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("dosageInstruction[2].text", "Text")), OFFER),
             "[{\"text\":\"first\"},{\"text\":\"second\"},{\"text\":\"computed\"}]");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("dosageInstruction[3].text", "Text")), OFFER),
             "'dosageInstruction[3]' is beyond the end");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("dosageInstruction[3]", "Text")), OFFER),
             "'dosageInstruction[3]' is beyond the end");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("dosageInstruction[1]", "Null")), OFFER),
             "[{\"text\":\"first\"}]");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("dosageInstruction[0].text", "Null")), OFFER),
             HEAD "\"dosageInstruction\":[{\"text\":\"second\"}]");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("dosageInstruction", "Null")), OFFER),
             HEAD "\"subject\"");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("dosageInstruction", "Texts")), OFFER),
             "[{\"text\":\"a\"},{\"text\":\"b\"}]");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("dosageInstruction", "Text")), OFFER),
             "[{\"text\":\"computed\"}]");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("dosageInstruction[0]", "Texts")), OFFER),
             "gets a list");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("dosageInstruction[0].text", "Texts")), OFFER),
             "does not repeat but gets a list");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("dosageInstruction[0].text", "Number")), OFFER),
             "cannot be written as FHIR string");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("medicationCodeableConcept.text", "Text")), OFFER),
             "\"medicationCodeableConcept\":{\"text\":\"computed\"}");
    draft_is(RULE("R1", "Yes", ACTIVITY(SET("note", "Text")), OFFER),
             "\"note\":[{\"text\":\"computed\"}]");
    draft_is(RULE("R1", "Yes", ACTIVITY(",\"intent\":\"plan\""), OFFER),
             "\"status\":\"draft\",\"intent\":\"plan\"");
}

/* One suggestion of several drafts: all are ordered together, a condition leaves one out. */
static void a_suggestion_has_several_drafts(void **state)
{
    (void)state;
    draft_is(RULE("R1", "Yes", ACTIVITY(""),
                  ",\"title\":\"s\",\"action\":[{\"title\":\"both\",\"action\":["
                  "{\"definitionCanonical\":\"#a\",\"description\":\"x\"},{\"definitionCanonical\":"
                  "\"#a\",\"condition\":[" WHEN(
                      "Null") "]},"
                              "{\"definitionCanonical\":\"#a\",\"dynamicValue\":[{\"path\":"
                              "\"action.description\",\"expression\":" EXPR("Text") "}]}]}]"),
             "\"actions\":[{\"type\":\"create\",\"description\":\"d\",\"resource\"");
    draft_is(RULE("R1", "Yes", ACTIVITY(""),
                  ",\"title\":\"s\",\"action\":[{\"title\":\"both\",\"action\":["
                  "{\"definitionCanonical\":\"#a\",\"condition\":[" WHEN(
                      "Null") "]},"
                              "{\"definitionCanonical\":\"#a\",\"dynamicValue\":[{\"path\":"
                              "\"action.description\",\"expression\":" EXPR("Text") "}]}]}]"),
             "\"actions\":[{\"type\":\"create\",\"description\":\"computed\",\"resource\"");
    draft_is(RULE("R1", "Yes", "",
                  ",\"title\":\"s\",\"action\":[{\"dynamicValue\":[{\"path\":\"action.title\","
                  "\"expression\":" EXPR("Text") "}]}]"),
             "\"suggestions\":[{\"label\":\"computed\",\"uuid\"");
    draft_is(RULE("R1", "Yes", "",
                  ",\"title\":\"s\",\"action\":[{\"dynamicValue\":[{\"path\":\"action.title\","
                  "\"expression\":" EXPR("Null") "}]}]"),
             "the label of a suggestion is empty");
}

#define IN_GERMAN(text)                                                                            \
    "{\"extension\":[{\"url\":\"http://hl7.org/fhir/StructureDefinition/translation\","            \
    "\"extension\":[{\"url\":\"lang\",\"valueCode\":\"de\"},{\"url\":\"content\","                 \
    "\"valueString\":\"" text "\"}]}]}"
/* What stands in a draft is read by whoever orders it: its texts and names of codes are in the
 * configured language, at any depth; codes and systems are not words. */
static void drafts_speak_the_language(void **state)
{
    static const char rule[] =
        RULE("R1", "Yes",
             ",\"contained\":[{\"resourceType\":\"ActivityDefinition\",\"id\":\"a\",\"status\":"
             "\"active\","
             "\"kind\":\"MedicationRequest\",\"description\":\"d\",\"productCodeableConcept\":{"
             "\"coding\":"
             "[{\"code\":\"c\",\"display\":\"acid\",\"_display\":" IN_GERMAN(
                 "Säure") "},{\"code\":\"d\",\"display\":\"Latin\"}],\"text\":\"4 mg\"},"
                          "\"dosage\":[{\"text\":\"once\",\"_text\":" IN_GERMAN(
                              "einmal") "},{\"text\":\"again\"}]}]",
             OFFER);
    static const char *const table[][2] = {
        {"de", "\"code\":\"c\",\"display\":\"Säure\""},
        {"de", "\"code\":\"d\",\"display\":\"Latin\""},
        {"de", "\"text\":\"4 mg\""},
        {"de", "\"dosageInstruction\":[{\"text\":\"einmal\""},
        {"de", "},{\"text\":\"again\"}]"},
        {"en", "\"code\":\"c\",\"display\":\"acid\""},
        {"en", "\"dosageInstruction\":[{\"text\":\"once\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        fixture f;
        og_report untranslated = {0};
        plan_options o = {.language = table[i][0], .untranslated = &untranslated};
        fixture_good(&f,
                     fixture_load(&f, &o, "elm/T.json", LIBRARY("T", "", "", "," DEF("Yes", YES)),
                                  "PlanDefinition-R1.json", rule, NULL));
        plan_result r = fixture_evaluate(&f, false);
        assert_contains(r.cards[0].json, table[i][1]);
        fixture_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_become_elements),
        cmocka_unit_test(paths_are_checked),
        cmocka_unit_test(drafts_take_values),
        cmocka_unit_test(a_suggestion_has_several_drafts),
        cmocka_unit_test(drafts_speak_the_language),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
