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
        "{\"expressions\":[{\"role\":\"condition\",\"library\":\"T\",\"expression\":\"Applies\","
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
               "{\"expressions\":[{\"role\":\"condition\",\"library\":\"T\","
               "\"expression\":\"Bare\",\"value\":\"true\"}]}");
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reasons_stand_in_a_tree),
        cmocka_unit_test(nothing_is_told_unasked),
        cmocka_unit_test(places_are_told_where_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
