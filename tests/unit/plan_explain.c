/* Why a rule came out as it did: the definitions and tests behind its condition, with places. */
#include "plan_fixture.h"

#define TITLED           ",\"title\":\"118 days\""
#define AT(place)        "\"locator\":\"" place "\","
#define OP(name, place)  "{\"type\":\"" name "\"," AT(place) "\"operand\":["
#define REF(place, name) "{\"type\":\"ExpressionRef\"," AT(place) "\"name\":\"" name "\"}"
#define REF_U(place, name)                                                                         \
    "{\"type\":\"ExpressionRef\"," AT(place) "\"libraryName\":\"Up\",\"name\":\"" name "\"}"
#define DEF_AT(place, name, expression)                                                            \
    "{\"name\":\"" name "\"," AT(place) "\"context\":\"Patient\",\"accessLevel\":\"Public\","      \
                                        "\"expression\":" expression "}"
#define RETRIEVE(place, type)                                                                      \
    "{\"type\":\"Retrieve\"," AT(place) "\"dataType\":\"{http://hl7.org/fhir}" type "\"}"
#define PATIENT                                                                                    \
    DEF("Patient", "{\"type\":\"SingletonFrom\",\"operand\":" RETRIEVE("1:1-1:15", "Patient") "}")
#define HEAD(name)                                                                                 \
    "{\"library\":{\"identifier\":{\"id\":\"" name "\",\"version\":\"1\"},"                        \
    "\"schemaIdentifier\":{\"id\":\"urn:hl7-org:elm\",\"version\":\"r1\"},"                        \
    "\"usings\":{\"def\":[{\"localIdentifier\":\"System\",\"uri\":\"urn:hl7-org:elm-types:r1\"},"  \
    "{\"localIdentifier\":\"FHIR\",\"uri\":\"http://hl7.org/fhir\",\"version\":\"4.0.1\"}]},"
#define INCLUDE_U                                                                                  \
    "\"includes\":{\"def\":[{\"localIdentifier\":\"Up\",\"path\":\"U\",\"version\":\"1\"}]},"
#define STATEMENTS(defs)                                                                           \
    "\"contexts\":{\"def\":[{\"name\":\"Patient\"}]},\"statements\":{\"def\":[" PATIENT defs "]}}" \
    "}"

/* define "Days": Count([Patient])            (no names inside: its steps are shown)
 * define "Long": "Days" > 0
 * define "Rows": exists ([Patient] P where "Days" > 5) */
#define LIBRARY_U                                                                                                                                    \
    HEAD("U")                                                                                                                                        \
    STATEMENTS("," DEF_AT("3:1-3:30", "Days", "{\"type\":\"Count\"," AT("3:16-3:30") "\"source\":" RETRIEVE("3:22-3:29", "Patient") "}") "," DEF_AT( \
        "4:1-4:30", "Long",                                                                                                                          \
        OP("Greater", "4:16-4:30") REF("4:16-4:21", "Days") "," INT(                                                                                 \
            "0") "]}") "," DEF_AT("5:1-5:60", "Rows",                                                                                                \
                                  "{\"type\":\"Exists\"," AT(                                                                                        \
                                      "5:20-5:60") "\"operand\":{\"type\":"                                                                          \
                                                   "\"Query\"," AT(                                                                                  \
                                                       "5:28-"                                                                                       \
                                                       "5:59") "\"source\":[{\"alias\":"                                                             \
                                                               "\"P\"," AT(                                                                          \
                                                                   "5:28-5:38") "\"ex"                                                               \
                                                                                "pres"                                                               \
                                                                                "sion"                                                               \
                                                                                "\""                                                                 \
                                                                                ":" RETRIEVE(                                                        \
                                                                                    "5:28-5:36",                                                     \
                                                                                    "Patient") "}"                                                   \
                                                                                               "]"                                                   \
                                                                                               ","                                                   \
                                                                                               "\"relat"                                             \
                                                                                               "i"                                                   \
                                                                                               "o"                                                   \
                                                                                               "n"                                                   \
                                                                                               "s"                                                   \
                                                                                               "h"                                                   \
                                                                                               "i"                                                   \
                                                                                               "p"                                                   \
                                                                                               "\":[],"                                              \
                                                                                               "\"where"                                             \
                                                                                               "\":" OP(                                             \
                                                                                                   "Gre"                                             \
                                                                                                   "ate"                                             \
                                                                                                   "r",                                              \
                                                                                                   "5:"                                              \
                                                                                                   "46-"                                             \
                                                                                                   "5:"                                              \
                                                                                                   "59")                                             \
                                                                                                   REF("5:46-5:51", "Days") "," INT(                 \
                                                                                                       "5") "]}}}"))

/* define "Applies": Up."Long" and (Up."Days" > 0 and not Up."Rows") and Up."Long" */
#define APPLIES                                                                                    \
    OP("And", "9:3-9:60")                                                                          \
    OP("And", "9:3-9:50")                                                                          \
    REF_U("9:3-9:11", "Long")                                                                      \
    "," OP("And", "9:18-9:49") OP("Greater", "9:18-9:30")                                          \
        REF_U("9:18-9:26", "Days") "," INT("0") "]},{\"type\":\"Not\"," AT(                        \
            "9:36-9:49") "\"operand\":" REF_U("9:40-9:49", "Rows") "}]}]}," REF_U("9:56-9:60",     \
                                                                                  "Long") "]}"

#define LIBRARY_T                                                                                  \
    HEAD("T")                                                                                      \
    INCLUDE_U STATEMENTS("," DEF_AT("8:1-9:60", "Applies", APPLIES) "," DEF("Bare", YES))

static void reasons_stand_in_a_tree(void **state)
{
    fixture f;
    (void)state;
    fixture_good(&f,
                 fixture_load(&f, NULL, "elm/T.json", LIBRARY_T, "elm/U.json", LIBRARY_U,
                              "PlanDefinition-R1.json", RULE("R1", "Applies", "", TITLED), NULL));
    plan_result r = fixture_evaluate(&f, true);
    const plan_outcome *o = fixture_outcome(&r, "R1");
    assert_int_equal(o->kind, PLAN_FIRED);
    assert_str(
        o->explain,
        "{\"title\":\"Title of R1\",\"because\":\"All conditions are met.\",\"conditions\":["
        "{\"text\":\"Applies\",\"holds\":true,\"values\":[{\"name\":\"Days\",\"value\":\"1\"},"
        "{\"name\":\"Rows\",\"value\":\"no\"}],\"resources\":[]}],"
        "\"expressions\":[{\"role\":\"condition\",\"library\":\"T\",\"expression\":\"Applies\","
        "\"value\":\"true\",\"place\":\"8:1-9:60\",\"parts\":["
        /* a definition, the test that makes it, what the test compares, and how that came about */
        "{\"name\":\"Long\",\"library\":\"U\",\"place\":\"9:3-9:11\",\"value\":\"true\",\"parts\":["
        "{\"place\":\"4:16-4:30\",\"value\":\"true\",\"parts\":["
        "{\"name\":\"Days\",\"library\":\"U\",\"place\":\"4:16-4:21\",\"value\":\"1\",\"parts\":["
        "{\"place\":\"3:22-3:29\",\"value\":\"{ Patient/p1 }\"}]}]}]},"
        /* told before: no parts again */
        "{\"place\":\"9:18-9:30\",\"value\":\"true\",\"parts\":["
        "{\"name\":\"Days\",\"library\":\"U\",\"place\":\"9:18-9:26\",\"value\":\"1\"}]},"
        /* of a query what does not belong to its rows; the second "Long" is none */
        "{\"name\":\"Rows\",\"library\":\"U\",\"place\":\"9:40-9:49\",\"value\":\"false\","
        "\"parts\":[{\"place\":\"5:20-5:60\",\"value\":\"false\"}]}"
        "]}],\"resources\":[\"Patient/p1\"]}");
    fixture_free(&f);
}

static void nothing_is_told_unasked(void **state)
{
    fixture f;
    (void)state;
    fixture_good(&f,
                 fixture_load(&f, NULL, "elm/T.json", LIBRARY_T, "elm/U.json", LIBRARY_U,
                              "PlanDefinition-R1.json", RULE("R1", "Applies", "", TITLED), NULL));
    plan_result r = fixture_evaluate(&f, false);
    assert_int_equal(fixture_outcome(&r, "R1")->kind, PLAN_FIRED);
    assert_int_equal(fixture_outcome(&r, "R1")->explain.n, 0);
    fixture_free(&f);
}

/* Without locators in the ELM there are values and no parts. */
static void places_are_told_where_known(void **state)
{
    fixture f;
    (void)state;
    fixture_good(&f, fixture_load(&f, NULL, "elm/T.json", LIBRARY_T, "elm/U.json", LIBRARY_U,
                                  "PlanDefinition-R1.json", RULE("R1", "Bare", "", TITLED), NULL));
    plan_result r = fixture_evaluate(&f, true);
    assert_str(fixture_outcome(&r, "R1")->explain,
               "{\"title\":\"Title of R1\",\"because\":\"All conditions are met.\","
               "\"conditions\":[{\"text\":\"Bare\",\"holds\":true,\"values\":[],\"resources\":[]}],"
               "\"expressions\":[{\"role\":\"condition\",\"library\":\"T\","
               "\"expression\":\"Bare\",\"value\":\"true\"}]}");
    fixture_free(&f);
}

static void words_are(const char *json, const char *want)
{
    fixture f;
    fixture_good(&f, fixture_load(&f, NULL, "elm/T.json", LIBRARY_T, "elm/U.json", LIBRARY_U,
                                  "PlanDefinition-R1.json", RULE("R1", "Bare", "", TITLED), NULL));
    fhir_resource all[] = {
        fixture_resource(&f, json),
        fixture_resource(&f, "{\"resourceType\":\"Medication\",\"id\":\"m\",\"code\":{\"coding\":[{"
                             "\"code\":\"x\"},{\"display\":\"Prolia\"}]}}")};
    plan__eval e = {
        .content = f.content, .arena = f.arena, .request = {.resources = all, .resource_count = 2}};
    assert_str(plan__record_words(&e, f.arena, &all[0]), want);
    fixture_free(&f);
}

static void records_have_words(void **state)
{
    (void)state;
    words_are(
        "{\"resourceType\":\"Observation\",\"id\":\"o\",\"status\":\"final\",\"code\":{\"coding\":["
        "{"
        "\"code\":\"2000-8\"}]},\"valueQuantity\":{\"value\":2.350,\"comparator\":\"<\",\"unit\":"
        "\"mmol/L\"},\"effectiveDateTime\":\"2026-02-20T08:00:00Z\"}",
        "2000-8 <2.350 mmol/L, 2026-02-20T08:00:00Z");
    words_are("{\"resourceType\":\"Observation\",\"id\":\"o\",\"status\":\"preliminary\",\"code\":{"
              "\"text\":\"Stage\"},\"valueCodeableConcept\":{\"coding\":[{\"code\":\"M1b\"}]}}",
              "Stage M1b, preliminary");
    words_are(
        "{\"resourceType\":\"MedicationRequest\",\"id\":\"o\",\"status\":\"active\","
        "\"medicationReference\":{\"reference\":\"Medication/m\"},\"authoredOn\":\"2026\","
        "\"dosageInstruction\":[{\"doseAndRate\":[{\"doseQuantity\":{\"value\":60,\"code\":\"mg\"}}"
        "]}]}",
        "Prolia 60 mg, 2026");
    words_are("{\"resourceType\":\"MedicationAdministration\",\"id\":\"o\",\"status\":\"not-done\","
              "\"contained\":[{\"resourceType\":\"Medication\",\"id\":\"c\",\"code\":{\"text\":"
              "\"Zometa\"}}]"
              ",\"medicationReference\":{\"reference\":\"#c\"},\"dosage\":{\"dose\":{\"value\":4,"
              "\"unit\":"
              "\"mg\"}},\"effectivePeriod\":{\"start\":\"2026-01-01\"}}",
              "Zometa 4 mg, not-done, 2026-01-01 \u2013 ");
    words_are(
        "{\"resourceType\":\"Condition\",\"id\":\"o\",\"clinicalStatus\":{\"coding\":[{\"code\":"
        "\"resolved\"}]},\"code\":{\"coding\":[{\"code\":\"C79.5\"}]},\"recordedDate\":\"2025-"
        "03\"}",
        "C79.5, resolved, 2025-03");
    words_are("{\"resourceType\":\"Procedure\",\"id\":\"o\",\"status\":\"completed\"}", "");
}

/* What is called by its rule's id loses that; null and three values are told as they are. */
static void values_have_words(void **state)
{
    /* clang-format off */
    static const char elm[] = HEAD("T") STATEMENTS(
        "," DEF_AT("2:1-2:9", "R1 Limit", "{\"type\":\"Quantity\",\"value\":4.5,\"unit\":\"mg\"}")
        "," DEF_AT("3:1-3:9", "Nothing", "{\"type\":\"Null\"}")
        "," DEF_AT("4:1-4:9", "Some", "{\"type\":\"List\",\"element\":[" INT("7") "," INT("8") "]}")
        "," DEF_AT("5:1-5:90", "Applies",
                   OP("And", "5:3-5:90")
                   OP("Equal", "5:3-5:40") REF("5:3-5:10", "R1 Limit") "," REF("5:14-5:20", "Nothing") "]},"
                   "{\"type\":\"Exists\"," AT("5:50-5:90") "\"operand\":" REF("5:60-5:70", "Some") "}]}"));
    /* clang-format on */
    static const char *const languages[][2] = {{"en", "Not known: \\\"Applies\\\"."},
                                               {"de", "Nicht bekannt: \u201eApplies\u201c."}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        fixture f;
        plan_options o = {.language = languages[i][0]};
        fixture_good(&f, fixture_load(&f, &o, "elm/T.json", elm, "PlanDefinition-R1.json",
                                      RULE("R1", "Applies", "", TITLED), NULL));
        plan_result r = fixture_evaluate(&f, true);
        const plan_outcome *out = fixture_outcome(&r, "R1");
        assert_contains(out->explain, languages[i][1]);
        assert_contains(
            out->explain,
            "\"holds\":null,\"values\":[{\"name\":\"Limit\",\"value\":\"4.5 mg\"},{\"name\":"
            "\"Nothing\",\"value\":\"\u2013\"},{\"name\":\"Some\",\"value\":\"7, 8\"}]");
        fixture_free(&f);
    }
}

/* "Applies": Inner(); Inner calls Below, and Below compares "Clearance": a value that the condition
 * never names. */
static void functions_tell_what_they_look_at(void **state)
{
#define FUNCTION(name, expression)                                                                 \
    ",{\"name\":\"" name "\",\"context\":\"Patient\",\"accessLevel\":\"Public\",\"type\":"         \
    "\"FunctionDef\",\"operand\":[],\"expression\":" expression "}"
#define CALL(place, name)                                                                          \
    "{\"type\":\"FunctionRef\"," AT(place) "\"name\":\"" name "\",\"operand\":[]}"
    /* clang-format off */
    static const char elm[] = HEAD("T") STATEMENTS(
        "," DEF_AT("2:1-2:9", "Clearance", INT("25"))
        FUNCTION("Below", OP("Less", "3:5-3:20") REF("3:5-3:14", "Clearance") "," INT("30") "]}")
        FUNCTION("Inner", CALL("4:5-4:12", "Below"))
        "," DEF_AT("5:1-5:9", "Applies", OP("And", "5:3-5:20") CALL("5:3-5:12", "Inner") "," YES "]}"));
    /* clang-format on */
    fixture f;
    (void)state;
    fixture_good(&f, fixture_load(&f, NULL, "elm/T.json", elm, "PlanDefinition-R1.json",
                                  RULE("R1", "Applies", "", TITLED), NULL));
    plan_result r = fixture_evaluate(&f, true);
    assert_int_equal(fixture_outcome(&r, "R1")->kind, PLAN_FIRED);
    assert_contains(fixture_outcome(&r, "R1")->explain,
                    "\"values\":[{\"name\":\"Clearance\",\"value\":\"25\"}]");
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reasons_stand_in_a_tree),
        cmocka_unit_test(nothing_is_told_unasked),
        cmocka_unit_test(places_are_told_where_known),
        cmocka_unit_test(records_have_words),
        cmocka_unit_test(values_have_words),
        cmocka_unit_test(functions_tell_what_they_look_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
