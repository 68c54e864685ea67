/* Loading a content folder: what is accepted, what is refused and where. */
#include "plan_fixture.h"

#define BASIC                                                                                      \
    LIBRARY("T", "", "", "," DEF("Yes", YES) "," DEF("No", NO) "," DEF("Text", STR("hello")))
#define GOOD RULE("R1", "Yes", "", ",\"title\":\"A summary\"")

static void a_small_folder_loads(void **state)
{
    fixture f;
    (void)state;
    fixture_good(&f, fixture_load(&f, NULL, "elm/T.json", BASIC, "PlanDefinition-R1.json", GOOD,
                                  "README.md", "# not ours", "cases/V1.json", "not json",
                                  "translate", "#!/bin/sh", NULL));
    assert_int_equal(plan_content_rule_count(f.content), 1);
    assert_string_equal(plan_content_rule_id(f.content, 0), "R1");
    assert_string_equal(plan_content_rule_id(f.content, 1), "");
    assert_int_equal(strlen(plan_content_digest(f.content)), 32);
    assert_non_null(plan_content_cql(f.content));
    assert_non_null(plan_content_terminology(f.content));
    fixture_free(&f);
}

/* The order of files does not matter, every byte of knowledge does. */
static void the_digest_tells_versions_apart(void **state)
{
    fixture a, b;
    char digest[33];
    (void)state;
    fixture_good(&a,
                 fixture_load(&a, NULL, "elm/T.json", BASIC, "PlanDefinition-R1.json", GOOD, NULL));
    memcpy(digest, plan_content_digest(a.content), 33);
    fixture_free(&a);
    fixture_good(&b, fixture_load(&b, NULL, "PlanDefinition-R1.json", GOOD, "elm/T.json", BASIC,
                                  "README.md", "other", NULL));
    assert_string_equal(digest, plan_content_digest(b.content));
    fixture_free(&b);
    fixture_good(&b, fixture_load(&b, NULL, "elm/T.json", BASIC, "PlanDefinition-R1.json",
                                  RULE("R1", "Yes", "", ",\"title\":\"B summary\""), NULL));
    assert_string_not_equal(digest, plan_content_digest(b.content));
    fixture_free(&b);
    const char *off[] = {"R1"};
    plan_options o = {.disabled = off, .disabled_count = 1};
    fixture_good(&b,
                 fixture_load(&b, &o, "elm/T.json", BASIC, "PlanDefinition-R1.json", GOOD, NULL));
    assert_string_not_equal(digest, plan_content_digest(b.content));
    assert_int_equal(plan_content_rule_count(b.content), 0);
    fixture_free(&b);
}

#define MARROW(extension, system, codes)                                                           \
    "{\"resourceType\":\"ValueSet\",\"url\":\"https://example.org/ValueSet/Marrow\","              \
    "\"status\":\"active\",\n\"extension\":[" extension "],\n\"compose\":{\"include\":[{"          \
    "\"system\":\"" system "\",\"concept\":[\n" codes "]}]}}"
#define BONE                                                                                       \
    "{\"resourceType\":\"ValueSet\",\"url\":\"https://example.org/ValueSet/Bone\","                \
    "\"status\":\"active\",\"compose\":{\"include\":[{\"system\":"                                 \
    "\"http://hl7.org/fhir/sid/icd-10-cm\",\"concept\":[{\"code\":\"C79.51\"}]}]}}"
#define DISJOINT(url)                                                                              \
    OG_EXT("disjoint-with", "\"valueCanonical\":\"https://example.org/ValueSet/" url "\"")
#define ICD10CM_OID "urn:oid:2.16.840.1.113883.6.90"

/* A code in two value sets that exclude each other is an error at the code, whatever form of the
 * system's name and of the code is used. */
static void disjoint_value_sets_share_no_code(void **state)
{
    static const struct {
        const char *marrow, *problem;
    } table[] = {
        {MARROW(DISJOINT("Bone"), ICD10CM_OID, "{\"code\":\"C79.52\"}"), NULL},
        {MARROW(DISJOINT("Bone"), "http://hl7.org/fhir/sid/icd-10", "{\"code\":\"C79.51\"}"), NULL},
        {MARROW(DISJOINT("Bone"), ICD10CM_OID, "{\"code\":\"C79.52\"},\n{\"code\":\"C7951\"}"),
         "ValueSet-Marrow.json:5:9: error: code C7951 of http://hl7.org/fhir/sid/icd-10-cm stands "
         "in https://example.org/ValueSet/Bone too, and the two must be disjoint"},
        {"{\"resourceType\":\"ValueSet\",\"url\":\"https://example.org/ValueSet/Marrow\","
         "\"status\":\"active\",\n\"extension\":[" DISJOINT(
             "Bone") "],"
                     "\"compose\":{\"include\":[{\"valueSet\":[\"https://example.org/ValueSet/"
                     "Bone\"]}]}}",
         "ValueSet-Marrow.json:2:14: error: code C79.51 of"},
        {MARROW(DISJOINT("Bones"), ICD10CM_OID, "{\"code\":\"C79.52\"}"),
         "ValueSet-Marrow.json:2:14: error: there is no value set "
         "https://example.org/ValueSet/Bones to be disjoint with"},
        {MARROW(DISJOINT("Marrow"), ICD10CM_OID, "{\"code\":\"C79.52\"}"),
         "a value set cannot be disjoint with itself"},
        {MARROW(OG_EXT("disjoint-with", "\"valueString\":\"x\""), ICD10CM_OID,
                "{\"code\":\"C79.52\"}"),
         "disjoint-with needs a valueCanonical"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        fixture f;
        og_status status =
            fixture_load(&f, NULL, "elm/T.json", BASIC, "PlanDefinition-R1.json", GOOD,
                         "ValueSet-Bone.json", BONE, "ValueSet-Marrow.json", table[i].marrow, NULL);
        if (table[i].problem == NULL) {
            fixture_good(&f, status);
        } else {
            assert_int_not_equal(status, OG_OK);
            if (strstr(f.problems, table[i].problem) == NULL)
                fail_msg("wanted '%s', got\n%s", table[i].problem, f.problems);
            assert_int_equal(f.problem_count, 1);
        }
        fixture_free(&f);
    }
}

typedef struct bad {
    const char *rule, *problem;
} bad;

/* A condition without words would be signed by nobody. */
static void conditions_need_words(void **state)
{
    const char *base = GOOD, *words = "\"description\":\"Yes\",";
    const char *at = strstr(base, words);
    char rule[4096];
    fixture f;
    (void)state;
    snprintf(rule, sizeof rule, "%.*s%s", (int)(at - base), base, at + strlen(words));
    assert_int_not_equal(
        fixture_load(&f, NULL, "elm/T.json", BASIC, "PlanDefinition-R1.json", rule, NULL), OG_OK);
    assert_int_equal(f.problem_count, 1);
    assert_non_null(strstr(f.problems, "PlanDefinition-R1.json:11:"));
    assert_non_null(strstr(f.problems, "a condition needs a description: what it says in words"));
    fixture_free(&f);
}

/* Each rule has one fault; the message names file, place and fault. */
static void faulty_rules_are_refused(void **state)
{
    static const bad table[] = {
        {"{", "PlanDefinition-R1.json:1:"},
        {"{\"resourceType\":\"ValueSet\",\"status\":\"active\"}",
         "the file's name says PlanDefinition"},
        {RULE("R1", "Nope", "", ",\"title\":\"s\""), "no library of this rule defines 'Nope'"},
        {RULE("R1", "Other.Yes", "", ",\"title\":\"s\""),
         "no library of this rule defines 'Other.Yes'"},
        {RULE("R1", "Yes", "", ""), "the action needs a title"},
        {RULE("R 1", "Yes", "", ",\"title\":\"s\""), "a rule id is made of letters"},
        {RULE("R1", "Yes", ",\"tittle\":\"x\"", ",\"title\":\"s\""),
         "PlanDefinition has no element 'tittle'"},
        {RULE("R1", "Yes", ",\"experimental\":\"yes\"", ",\"title\":\"s\""),
         "'experimental' must be true or false"},
        {RULE("R1", "Yes", ",\"topic\":{}", ",\"title\":\"s\""), "'topic' must be an array"},
        {RULE("R1", "Yes", ",\"usage\":null", ",\"title\":\"s\""), "'usage' must be a string"},
        {RULE("R1", "Yes", ",\"usage\":\"\"", ",\"title\":\"s\""), "'usage' is empty"},
        {RULE("R1", "Yes", ",\"goal\":[{\"description\":{\"text\":\"g\"}}]", ",\"title\":\"s\""),
         "PlanDefinition.goal is not supported"},
        {RULE("R1", "Yes", ",\"extension\":[" OG_EXT("suppresses", "\"valueCode\":\"R9\"") "]",
              ",\"title\":\"s\""),
         "there is no rule 'R9' to suppress"},
        {RULE("R1", "Yes", ",\"extension\":[" OG_EXT("suppresses", "\"valueCode\":\"R1\"") "]",
              ",\"title\":\"s\""),
         "suppresses names the rule itself"},
        {RULE("R1", "Yes", ",\"extension\":[" OG_EXT("suppress", "\"valueCode\":\"R1\"") "]",
              ",\"title\":\"s\""),
         "unknown extension"},
        {RULE("R1", "Yes", ",\"extension\":[" OG_EXT("merge-into", "\"valueCode\":\"R9\"") "]",
              ",\"title\":\"s\""),
         "there is no rule 'R9' to merge into"},
        {RULE("R1", "Yes", ",\"extension\":[" OG_EXT("merge-into", "\"valueCode\":\"R1\"") "]",
              ",\"title\":\"s\""),
         "merge-into names the rule itself"},
        {RULE("R1", "Yes",
              ",\"extension\":[" OG_EXT("merge-into", "\"valueCode\":\"R9\"") "," OG_EXT(
                  "merge-into", "\"valueCode\":\"R9\"") "]",
              ",\"title\":\"s\""),
         "merge-into names R9 twice"},
        {RULE("R1", "Yes",
              ",\"extension\":[" OG_EXT("forbids", "\"valueCanonical\":\"urn:no\"") "]",
              ",\"title\":\"s\""),
         "there is no value set 'urn:no'"},
        {RULE("R1", "Yes", ",\"extension\":[" OG_EXT("forbids", "\"valueCode\":\"R1\"") "]",
              ",\"title\":\"s\""),
         "forbids needs a valueCanonical"},
        {RULE("R1", "Yes",
              ",\"extension\":[" OG_EXT("override-reason",
                                        "\"valueCoding\":{\"code\":\"x\",\"display\":\"y\"}") "]",
              ",\"title\":\"s\""),
         "an override reason needs"},
        {RULE("R1", "Yes",
              ",\"extension\":[" OG_EXT(
                  "override-reason",
                  "\"valueCoding\":{\"system\":\"s\",\"code\":\"x\",\"display\":\"y\","
                  "\"extension\":[" OG_EXT("override-days", "\"valueInteger\":-3") "]}") "]",
              ",\"title\":\"s\""),
         "override-days needs"},
        {RULE("R1", "Yes", "", ",\"title\":\"s\",\"timingTiming\":{\"event\":[\"2026\"]}"),
         "action.timingTiming is not supported"},
        {RULE("R1", "Yes", "", ",\"title\":\"s\",\"priority\":\"soon\""), "priority must be"},
        {RULE("R1", "Yes", "",
              ",\"title\":\"s\",\"dynamicValue\":[{\"path\":\"titel\",\"expression\":" EXPR(
                  "Text") "}]"),
         "the path of a rule's dynamicValue"},
        {RULE("R1", "Yes", "",
              ",\"title\":\"s\",\"dynamicValue\":[{\"path\":\"title\",\"expression\":" EXPR(
                  "Text") "},{\"path\":\"action.title\",\"expression\":" EXPR("Text") "}]"),
         "is set twice"},
        {RULE("R1", "Yes", "",
              ",\"title\":\"s\",\"dynamicValue\":[{\"path\":\"title\",\"expression\":{\"language\":"
              "\"text/fhirpath\",\"expression\":\"Text\"}}]"),
         "needs the language text/cql-identifier"},
        {RULE("R1", "Yes", "",
              ",\"title\":\"s\",\"extension\":[" OG_EXT("slots", "\"valueString\":\"x\"") "]"),
         "unknown extension"},
        {RULE("R1", "Yes", "",
              ",\"title\":\"s\",\"action\":[{\"definitionCanonical\":\"#a\",\"title\":\"t\"}]"),
         "'#a' is not a contained resource"},
        {RULE("R1", "Yes", "", ",\"title\":\"s\",\"action\":[{\"description\":\"no label\"}]"),
         "a suggestion needs a title"},
        {RULE("R1", "Yes",
              ",\"contained\":[{\"resourceType\":\"ActivityDefinition\",\"id\":\"a\",\"status\":"
              "\"active\",\"kind\":\"Appointment\"}]",
              ",\"title\":\"s\",\"action\":[{\"definitionCanonical\":\"#a\",\"title\":\"t\"}]"),
         "kind must be MedicationRequest"},
        {RULE("R1", "Yes",
              ",\"contained\":[{\"resourceType\":\"ActivityDefinition\",\"id\":\"a\",\"status\":"
              "\"active\",\"kind\":\"ServiceRequest\",\"intent\":\"order\"}]",
              ",\"title\":\"s\",\"action\":[{\"definitionCanonical\":\"#a\",\"title\":\"t\"}]"),
         "a rule never orders"},
        {RULE("R1", "Yes",
              ",\"contained\":[{\"resourceType\":\"ActivityDefinition\",\"id\":\"a\",\"status\":"
              "\"active\",\"kind\":\"ServiceRequest\",\"dosage\":[{\"text\":\"d\"}]}]",
              ",\"title\":\"s\",\"action\":[{\"definitionCanonical\":\"#a\",\"title\":\"t\"}]"),
         "a ServiceRequest has no place for dosage"},
        {RULE("R1", "Yes",
              ",\"contained\":[{\"resourceType\":\"ActivityDefinition\",\"id\":\"a\",\"status\":"
              "\"active\",\"kind\":\"ServiceRequest\"}]",
              ",\"title\":\"s\",\"action\":[{\"definitionCanonical\":\"#a\",\"title\":\"t\","
              "\"dynamicValue\":[{\"path\":\"status\",\"expression\":" EXPR("Text") "}]}]"),
         "a rule cannot set 'status'"},
        {RULE("R1", "Yes",
              ",\"contained\":[{\"resourceType\":\"ActivityDefinition\",\"id\":\"a\",\"status\":"
              "\"active\",\"kind\":\"MedicationRequest\"}]",
              ",\"title\":\"s\",\"action\":[{\"definitionCanonical\":\"#a\",\"title\":\"t\","
              "\"dynamicValue\":[{\"path\":\"dosageInstruction.text\",\"expression\":" EXPR(
                  "Text") "}]}]"),
         "'dosageInstruction' repeats"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        fixture f;
        og_status s = fixture_load(&f, NULL, "elm/T.json", BASIC, "PlanDefinition-R1.json",
                                   table[i].rule, NULL);
        if (s == OG_OK || strstr(f.problems, table[i].problem) == NULL)
            fail_msg("want \"%s\"\nhave:\n%s", table[i].problem, f.problems);
        if (strncmp(f.problems, "PlanDefinition-R1.json:", 23) != 0)
            fail_msg("no place: %s", f.problems);
        assert_null(f.content);
        fixture_free(&f);
    }
}

static void problems_have_line_and_column(void **state)
{
    fixture f;
    (void)state;
    assert_int_not_equal(
        fixture_load(&f, NULL, "elm/T.json", BASIC, "PlanDefinition-R1.json",
                     RULE("R1", "Yes", ",\n  \"tittle\": \"x\"", ",\"title\":\"s\""), NULL),
        OG_OK);
    /* the head stands on the line behind relatedArtifact */
    assert_non_null(strstr(
        f.problems, "PlanDefinition-R1.json:11:13: error: PlanDefinition has no element 'tittle'"));
    fixture_free(&f);
}

/* One load tells everything that is wrong. */
static void all_problems_are_told(void **state)
{
    fixture f;
    (void)state;
    assert_int_not_equal(
        fixture_load(&f, NULL, "elm/T.json", BASIC, "PlanDefinition-R1.json",
                     RULE("R1", "Nope", "", ",\"title\":\"s\",\"priority\":\"soon\""),
                     "PlanDefinition-R2.json", RULE("R1", "Yes", "", ",\"title\":\"s\""),
                     "PlanDefinition-R3.json", "{\"resourceType\":", "Medication-x.json", "{}",
                     NULL),
        OG_OK);
    assert_non_null(strstr(f.problems, "'Nope'"));
    assert_non_null(strstr(f.problems, "priority must be"));
    assert_non_null(strstr(f.problems, "rule R1 stands in"));
    assert_non_null(strstr(f.problems, "PlanDefinition-R3.json:1:"));
    assert_non_null(strstr(f.problems, "a content folder holds"));
    fixture_free(&f);
}

static void a_circle_of_suppression_is_refused(void **state)
{
    fixture f;
    (void)state;
    assert_int_not_equal(
        fixture_load(
            &f, NULL, "elm/T.json", BASIC, "PlanDefinition-R1.json",
            RULE("R1", "Yes", ",\"extension\":[" OG_EXT("suppresses", "\"valueCode\":\"R2\"") "]",
                 ",\"title\":\"s\""),
            "PlanDefinition-R2.json",
            RULE("R2", "Yes", ",\"extension\":[" OG_EXT("suppresses", "\"valueCode\":\"R3\"") "]",
                 ",\"title\":\"s\""),
            "PlanDefinition-R3.json",
            RULE("R3", "Yes", ",\"extension\":[" OG_EXT("suppresses", "\"valueCode\":\"R1\"") "]",
                 ",\"title\":\"s\""),
            NULL),
        OG_OK);
    assert_int_equal(f.problem_count, 3);
    assert_non_null(strstr(f.problems, "rule R2 takes part in a circle"));
    fixture_free(&f);
}

/* ELM that belongs to another text would run something that nobody has read. */
static void elm_belongs_to_its_cql(void **state)
{
    static const char cql[] = "library T version '1'\n";
    char mark[64], elm[8192];
    fixture f;
    (void)state;
    snprintf(mark, sizeof mark, "crc32c:%08x:%zu", og_crc32c(0, cql, sizeof cql - 1),
             sizeof cql - 1);
    snprintf(elm, sizeof elm,
             "{\"library\":{\"annotation\":[{\"type\":\"OsteoguardSource\",\"source\":\"%s\"}],%s",
             mark, &BASIC[strlen("{\"library\":{")]);
    fixture_good(&f, fixture_load(&f, NULL, "T.cql", cql, "elm/T.json", elm, NULL));
    fixture_free(&f);
    assert_int_not_equal(
        fixture_load(&f, NULL, "T.cql", "library T version '2'\n", "elm/T.json", elm, NULL), OG_OK);
    assert_non_null(strstr(f.problems, "not made of the present T.cql"));
    fixture_free(&f);
    assert_int_not_equal(fixture_load(&f, NULL, "T.cql", cql, "elm/T.json", BASIC, NULL), OG_OK);
    assert_non_null(strstr(f.problems, "does not say which text"));
    fixture_free(&f);
    assert_int_not_equal(fixture_load(&f, NULL, "T.cql", cql, NULL), OG_OK);
    assert_non_null(strstr(f.problems, "elm/T.json is missing"));
    fixture_free(&f);
}

static void base64(const char *text, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned char)text[i] << 16;
        v |= i + 1 < n ? (unsigned)(unsigned char)text[i + 1] << 8 : 0;
        v |= i + 2 < n ? (unsigned)(unsigned char)text[i + 2] : 0;
        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        *out++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
        *out++ = i + 2 < n ? digits[v & 63] : '=';
    }
    *out = '\0';
}

/* A Library resource that carries ELM does what a file in elm/ does. */
static void a_library_resource_will_do(void **state)
{
    static char data[16384], text[20000];
    fixture f;
    (void)state;
    base64(BASIC, data);
    snprintf(
        text, sizeof text,
        "{\"resourceType\":\"Library\",\"id\":\"T\",\"status\":\"active\",\"type\":{\"coding\":[{"
        "\"code\":\"logic-library\"}]},\"content\":[{\"contentType\":\"text/"
        "cql\",\"data\":\"bGli\"},{"
        "\"contentType\":\"application/elm+json\",\"data\":\"%s\"}]}",
        data);
    fixture_good(
        &f, fixture_load(&f, NULL, "Library-T.json", text, "PlanDefinition-R1.json", GOOD, NULL));
    plan_result r = fixture_evaluate(&f, false);
    assert_int_equal(r.card_count, 1);
    fixture_free(&f);
    assert_int_not_equal(fixture_load(&f, NULL, "Library-T.json", text, "elm/T.json", BASIC,
                                      "PlanDefinition-R1.json", GOOD, NULL),
                         OG_OK);
    fixture_free(&f);
    assert_int_not_equal(fixture_load(&f, NULL, "Library-T.json",
                                      "{\"resourceType\":\"Library\",\"status\":\"active\"}",
                                      "PlanDefinition-R1.json", GOOD, NULL),
                         OG_OK);
    assert_non_null(strstr(f.problems, "Library-T.json"));
    fixture_free(&f);
}

#define PARAMETER                                                                                  \
    "{\"name\":\"Days\",\"accessLevel\":\"Public\",\"default\":" INT(                              \
        "28") ",\"parameterTypeSpecifier\":{\"type\":\"NamedTypeSpecifier\",\"name\":\"" SYS       \
              "Integer\"}}"
#define WITH_PARAMETER                                                                             \
    LIBRARY("T", PARAMETER, "",                                                                    \
            "," DEF("Yes", "{\"type\":\"Greater\",\"operand\":[{\"type\":\"ParameterRef\","        \
                           "\"name\":\"Days\"}," INT("30") "]}"))

static og_status load_setting(fixture *f, const char *name, const char *value)
{
    plan_setting s = {name, value};
    plan_options o = {.settings = &s, .setting_count = 1};
    return fixture_load(f, &o, "elm/T.json", WITH_PARAMETER, "PlanDefinition-R1.json", GOOD, NULL);
}

static void settings_reach_their_parameter(void **state)
{
    static const char *const names[] = {"Days", "T.Days"};
    fixture f;
    (void)state;
    fixture_good(&f, fixture_load(&f, NULL, "elm/T.json", WITH_PARAMETER, "PlanDefinition-R1.json",
                                  GOOD, NULL));
    plan_result r = fixture_evaluate(&f, false);
    assert_int_equal(r.card_count, 0);
    fixture_free(&f);
    for (size_t i = 0; i < 2; i++) {
        fixture_good(&f, load_setting(&f, names[i], "31"));
        r = fixture_evaluate(&f, false);
        assert_int_equal(r.card_count, 1);
        fixture_free(&f);
    }
}

static void wrong_settings_are_refused(void **state)
{
    static const char *const table[][3] = {
        {"Weeks", "4", "no CQL library has a parameter 'Weeks'"},
        {"U.Days", "4", "no CQL library has a parameter 'U.Days'"},
        {"Days", "4 4", "has no CQL literal"},
        {"Days", "'four'", "the parameter 'Days' of T is a Integer"},
    };
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        fixture f;
        assert_int_not_equal(load_setting(&f, table[i][0], table[i][1]), OG_OK);
        if (strstr(f.problems, table[i][2]) == NULL)
            fail_msg("want \"%s\"\nhave: %s", table[i][2], f.problems);
        fixture_free(&f);
    }
    fixture f;
    const char *off[] = {"R7"};
    plan_options o = {.disabled = off, .disabled_count = 1};
    assert_int_not_equal(
        fixture_load(&f, &o, "elm/T.json", BASIC, "PlanDefinition-R1.json", GOOD, NULL), OG_OK);
    assert_non_null(strstr(f.problems, "there is no rule 'R7' to switch off"));
    fixture_free(&f);
}

static void a_rule_that_is_off_is_still_known(void **state)
{
    fixture f;
    const char *off[] = {"R1"};
    plan_options o = {.disabled = off, .disabled_count = 1};
    (void)state;
    fixture_good(
        &f, fixture_load(&f, &o, "elm/T.json", BASIC, "PlanDefinition-R1.json", GOOD,
                         "PlanDefinition-R2.json",
                         RULE("R2", "Yes",
                              ",\"extension\":[" OG_EXT("suppresses", "\"valueCode\":\"R1\"") "]",
                              ",\"title\":\"s\""),
                         NULL));
    assert_int_equal(plan_content_rule_count(f.content), 1);
    assert_string_equal(plan_content_rule_id(f.content, 0), "R2");
    fixture_free(&f);
}

/* A file cut off anywhere, or with any byte changed, is refused or loads; it never does harm. */
static void damaged_files_do_no_harm(void **state)
{
    const char *good =
        RULE("R1", "Yes",
             ",\"contained\":[{\"resourceType\":\"ActivityDefinition\",\"id\":\"a\",\"status\":"
             "\"active\",\"kind\":\"ServiceRequest\",\"description\":\"d\"}]",
             ",\"title\":\"s\",\"action\":[{\"definitionCanonical\":\"#a\",\"title\":\"t\"}]");
    size_t n = strlen(good);
    char *text = malloc(n + 1);
    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < n; i += 3) {
        fixture f;
        memcpy(text, good, n + 1);
        text[i] = '\0';
        assert_int_not_equal(
            fixture_load(&f, NULL, "elm/T.json", BASIC, "PlanDefinition-R1.json", text, NULL),
            OG_OK);
        assert_true(f.problem_count > 0);
        fixture_free(&f);
        memcpy(text, good, n + 1);
        text[i] = text[i] == '"' ? '{' : '"';
        if (fixture_load(&f, NULL, "elm/T.json", BASIC, "PlanDefinition-R1.json", text, NULL) !=
            OG_OK)
            assert_true(f.problem_count > 0);
        fixture_free(&f);
        memcpy(text, good, n + 1);
        text[i] = text[i] == 'e' ? 'x' : 'e';
        if (fixture_load(&f, NULL, "elm/T.json", BASIC, "PlanDefinition-R1.json", text, NULL) !=
            OG_OK)
            assert_true(f.problem_count > 0);
        fixture_free(&f);
    }
    free(text);
}

static void paths_find_their_place(void **state)
{
    static const struct {
        const char *path;
        int64_t at;
    } table[] = {{"", 0},          {"a", 5},    {"$.a", 5},  {"a[1].b", 13}, {"/a/1/b", 13},
                 {"X.a[1].b", 13}, {"a[7]", 5}, {"a[0]", 6}, {"nope", 0}};
    static const char text[] = "{\"a\":[1,{\"b\":2}],\"resourceType\":\"X\"}";
    fhir_doc doc;
    (void)state;
    og_arena *a = og_arena_new(1 << 16);
    assert_int_equal(fhir_decode(a, og_str_of(text), NULL, &doc, NULL), OG_OK);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (plan__path_byte(&doc, og_str_of(table[i].path)) != table[i].at)
            fail_msg("%s: %lld", table[i].path,
                     (long long)plan__path_byte(&doc, og_str_of(table[i].path)));
    og_arena_free(a);
}

#define ACTIVITY(members)                                                                          \
    "{\n\"resourceType\":\"ActivityDefinition\",\"status\":\"active\",\n\"title\":\"A "            \
    "draft\"" members "}"
#define CALLED(url) ",\n\"url\":\"" url "\",\"version\":\"2\""
#define OFFERS(url)                                                                                \
    ",\"title\":\"s\",\"action\":[{\"title\":\"t\",\"definitionCanonical\":\"" url "\"}]"

static void a_definition_may_have_a_file(void **state)
{
    const char *good = ACTIVITY(CALLED("urn:a") ",\"kind\":\"ServiceRequest\"");
    const char *other = ACTIVITY(CALLED("urn:b") ",\"kind\":\"ServiceRequest\"");
    fixture f;
    og_report warnings = {.fn = fixture_note, .ctx = &f};
    plan_options o = {.warnings = &warnings};
    (void)state;
    assert_int_equal(fixture_load(&f, &o, "elm/T.json", BASIC, "PlanDefinition-R1.json",
                                  RULE("R1", "Yes", "", OFFERS("urn:a")), "PlanDefinition-R2.json",
                                  RULE("R2", "Yes", "", OFFERS("urn:a|2")),
                                  "ActivityDefinition-a.json", good, "ActivityDefinition-b.json",
                                  other, NULL),
                     OG_OK);
    assert_int_equal(f.problem_count, 1);
    assert_non_null(strstr(f.problems, "ActivityDefinition-b.json:1:1"));
    assert_non_null(strstr(f.problems, "no rule names this ActivityDefinition"));
    plan_result r = fixture_evaluate(&f, false);
    assert_int_equal(r.card_count, 2);
    assert_contains(r.cards[1].json,
                    "{\"type\":\"create\",\"description\":\"A draft\",\"resource\":{"
                    "\"resourceType\":\"ServiceRequest\",\"status\":\"draft\"");
    fixture_free(&f);
}

/* The faults of a shared definition are told once, where they are. */
static void faulty_definitions_are_refused(void **state)
{
    static const struct {
        const char *activity, *url, *problem;
    } table[] = {
        {ACTIVITY(CALLED("urn:a") ",\"kind\":\"ServiceRequest\""), "urn:no",
         "PlanDefinition-R1.json:11:261: error: there is no ActivityDefinition 'urn:no'"},
        {ACTIVITY(CALLED("urn:a") ",\"kind\":\"ServiceRequest\""), "urn:a|3",
         "there is no ActivityDefinition 'urn:a|3'"},
        {ACTIVITY(",\"kind\":\"ServiceRequest\""), "urn:a",
         "ActivityDefinition-a.json:1:1: error: an ActivityDefinition needs a url"},
        {ACTIVITY(CALLED("urn:b") ",\"kind\":\"ServiceRequest\""), "urn:a",
         "ActivityDefinition-b.json:4:7: error: ActivityDefinition-a.json has this url too"},
        {ACTIVITY(CALLED("urn:a") ",\"kind\":\"Appointment\""), "urn:a",
         "ActivityDefinition-a.json:1:1: error: kind must be MedicationRequest"},
        {ACTIVITY(CALLED("urn:a") ",\"kidn\":\"ServiceRequest\""), "urn:a",
         "ActivityDefinition-a.json:4:36: error: ActivityDefinition has no element 'kidn'"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char rules[2][4096];
        fixture f;
        for (int k = 0; k < 2; k++) {
            const char *base =
                k == 0 ? RULE("R1", "Yes", "", OFFERS("@")) : RULE("R2", "Yes", "", OFFERS("@"));
            const char *at = strchr(base, '@');
            snprintf(rules[k], sizeof rules[k], "%.*s%s%s", (int)(at - base), base, table[i].url,
                     at + 1);
        }
        assert_int_not_equal(
            fixture_load(&f, NULL, "elm/T.json", BASIC, "PlanDefinition-R1.json", rules[0],
                         "PlanDefinition-R2.json", rules[1], "ActivityDefinition-a.json",
                         table[i].activity, "ActivityDefinition-b.json",
                         ACTIVITY(CALLED("urn:b") ",\"kind\":\"ServiceRequest\""), NULL),
            OG_OK);
        const char *found = strstr(f.problems, table[i].problem);
        if (found == NULL)
            fail_msg("want \"%s\"\nhave:\n%s", table[i].problem, f.problems);
        if (strstr(table[i].problem, "Activity") == table[i].problem)
            assert_null(strstr(found + 1, table[i].problem));
        fixture_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_folder_loads),
        cmocka_unit_test(the_digest_tells_versions_apart),
        cmocka_unit_test(disjoint_value_sets_share_no_code),
        cmocka_unit_test(conditions_need_words),
        cmocka_unit_test(faulty_rules_are_refused),
        cmocka_unit_test(problems_have_line_and_column),
        cmocka_unit_test(all_problems_are_told),
        cmocka_unit_test(a_circle_of_suppression_is_refused),
        cmocka_unit_test(elm_belongs_to_its_cql),
        cmocka_unit_test(a_library_resource_will_do),
        cmocka_unit_test(settings_reach_their_parameter),
        cmocka_unit_test(wrong_settings_are_refused),
        cmocka_unit_test(a_rule_that_is_off_is_still_known),
        cmocka_unit_test(damaged_files_do_no_harm),
        cmocka_unit_test(paths_find_their_place),
        cmocka_unit_test(a_definition_may_have_a_file),
        cmocka_unit_test(faulty_definitions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
