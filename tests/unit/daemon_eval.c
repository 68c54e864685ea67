/* The commands eval and test on a content folder in a temporary directory: output, exit status. */
#include "plan_fixture.h"

#include <fcntl.h>
#include <unistd.h>

#include "daemon/cmd_eval.h"
#include "daemon/cmd_test.h"
#include "daemon/content_dir.h"
#include "daemon/file.h"

#define ELM                                                                                        \
    LIBRARY("T", "", "",                                                                           \
            "," DEF("Yes", YES) "," DEF("No", NO) "," DEF("Fails", FAILS) "," DEF(                 \
                "Sick", "{\"type\":\"Exists\",\"operand\":{\"type\":\"Retrieve\",\"dataType\":\"{" \
                        "http://hl7.org/fhir}Condition\"}}"))
#define SICK                                                                                       \
    RULE("R1", "Sick", "",                                                                         \
         ",\"title\":\"Patient is sick\",\"description\":\"Of what is not "                        \
         "known\",\"action\":[{\"title\":\"Ask the doctor\"}]")
#define GERMAN(text)                                                                               \
    "{\"extension\":[{\"url\":\"http://hl7.org/fhir/StructureDefinition/translation\","            \
    "\"extension\":[{\"url\":\"lang\",\"valueCode\":\"de\"},{\"url\":\"content\","                 \
    "\"valueString\":\"" text "\"}]}]}"
#define SICK_RETIRED                                                                               \
    "{\"resourceType\":\"PlanDefinition\",\"url\":\"urn:r2\",\"identifier\":[{\"system\":\"https:" \
    "//"                                                                                           \
    "osteoguard.org/rule\",\"value\":\"R2\"}],\"title\":\"t\",\"status\":\"retired\",\"type\":{"   \
    "\"coding\":[{\"code\":\"eca-rule\"}]},\"library\":[\"https://osteoguard.org/fhir/Library/"    \
    "T\"],"                                                                                        \
    "\"relatedArtifact\":[{\"type\":\"citation\",\"label\":\"l\"}],\"action\":[{\"title\":\"t\","  \
    "\"trigger\":[{\"type\":\"periodic\"}],\"condition\":[" WHEN("Yes") "]}]}"
/* define "Language": the parameter that the content's language is put into */
#define SPEAKING                                                                                   \
    LIBRARY(                                                                                       \
        "T",                                                                                       \
        "{\"name\":\"Language\",\"accessLevel\":\"Public\",\"default\":" STR(                      \
            "en") ",\"parameterTypeSpecifier\":{\"type\":\"NamedTypeSpecifier\",\"name\":\"" SYS   \
                  "String\"}}",                                                                    \
        "",                                                                                        \
        "," DEF("Spoken", "{\"type\":\"ParameterRef\",\"name\":\"Language\"}") "," DEF(            \
            "Sick", "{\"type\":\"Exists\",\"operand\":{\"type\":\"Retrieve\",\"dataType\":\"{"     \
                    "http://hl7.org/fhir}Condition\"}}"))
#define OF(p) "\"subject\":{\"reference\":\"Patient/" p "\"}"

typedef struct folder {
    char dir[64], out[96], err[96];
} folder;

static void put_file(const folder *f, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    assert_int_equal(file_write(path, og_str_of(text), NULL), OG_OK);
}

static void make_dir(const folder *f, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    assert_int_equal(file_make_dirs(path, NULL), OG_OK);
}

static int begin(void **state)
{
    folder *f = calloc(1, sizeof *f);
    if (f == NULL)
        return 1;
    strcpy(f->dir, "/tmp/osteoguard-test-XXXXXX");
    if (mkdtemp(f->dir) == NULL)
        return 1;
    snprintf(f->out, sizeof f->out, "%s/stdout", f->dir);
    snprintf(f->err, sizeof f->err, "%s/stderr", f->dir);
    make_dir(f, "content/elm");
    make_dir(f, "content/cases");
    put_file(f, "content/elm/T.json", ELM);
    put_file(f, "content/PlanDefinition-R1.json", SICK);
    put_file(f, "content/README.md", "for people");
    *state = f;
    return 0;
}

static void remove_sub(const folder *f, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    assert_int_equal(file_remove_tree(path, NULL), OG_OK);
}

static int end(void **state)
{
    folder *f = *state;
    remove_sub(f, "content/elm");
    remove_sub(f, "content/cases");
    remove_sub(f, "content");
    assert_int_equal(file_remove_tree(f->dir, NULL), OG_OK);
    free(f);
    return 0;
}

static int redirect(int fd, const char *path)
{
    int saved = dup(fd), to = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    assert_true(saved >= 0 && to >= 0);
    dup2(to, fd);
    close(to);
    return saved;
}

/* Runs a command with its output in files, gives its exit status. */
static int run(folder *f, int (*command)(int, char **), ...)
{
    char *argv[24];
    int argc = 0;
    va_list ap;

    va_start(ap, command);
    while (argc < 15 && (argv[argc] = va_arg(ap, char *)) != NULL)
        argc++;
    va_end(ap);
    argv[argc] = NULL;
    fflush(NULL);
    int out = redirect(1, f->out), err = redirect(2, f->err);
    int status = command(argc, argv);
    fflush(NULL);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    return status;
}

static char *contents(const char *path)
{
    static char text[65536];
    og_buf b;
    og_buf_init(&b, sizeof text - 1);
    assert_int_equal(file_read(path, sizeof text - 1, &b, NULL), OG_OK);
    memcpy(text, b.p != NULL ? b.p : "", b.n);
    text[b.n] = '\0';
    og_buf_done(&b);
    return text;
}

static void says(const char *path, const char *part)
{
    const char *text = contents(path);
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in\n%s", part, text);
}

static char *in(const folder *f, const char *name)
{
    static char paths[4][256];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, 256, "%s/%s", f->dir, name);
    return path;
}

#define NOW "2026-03-01T09:00:00+01:00"

static void one_line_per_patient(void **state)
{
    folder *f = *state;
    put_file(f, "in.ndjson",
             "{\"resourceType\":\"Patient\",\"id\":\"a\"}\n{\"resourceType\":\"Condition\",\"id\":"
             "\"c\"," OF("a") "}\n"
                              "{\"resourceType\":\"Patient\",\"id\":\"b\"}\n");
    assert_int_equal(run(f, cmd_eval, "eval", "--content", in(f, "content"), "--as-of", NOW,
                         in(f, "in.ndjson"), NULL),
                     0);
    const char *text = contents(f->out);
    static const char first[] = "{\"patient\":\"a\",\"asOf\":\"" NOW "\",\"cards\":[{\"uuid\":\"";
    assert_memory_equal(text, first, strlen(first));
    says(f->out, "\"summary\":\"Patient is sick\",\"indicator\":\"info\"");
    says(f->out, "\n{\"patient\":\"b\",\"asOf\":\"" NOW "\",\"cards\":[]}\n");
    assert_string_equal(contents(f->err), "");
}

static void explain_says_why(void **state)
{
    folder *f = *state;
    put_file(f, "in.ndjson", "{\"resourceType\":\"Condition\",\"id\":\"c\"," OF("a") "}\n");
    assert_int_equal(run(f, cmd_eval, "eval", "--explain", "--content", in(f, "content"), "--as-of",
                         NOW, in(f, "in.ndjson"), NULL),
                     0);
    says(f->out,
         "\"rules\":[{\"rule\":\"R1\",\"outcome\":\"fired\",\"title\":\"Title of "
         "R1\",\"because\":\"All "
         "conditions are met.\",\"conditions\":[{\"text\":\"Sick\",\"holds\":true,\"values\":[],"
         "\"resources\":[{\"reference\":\"Condition/c\"}]}],\"expressions\":[{\"role\":"
         "\"condition\",\"library\":\"T\",\"expression\":\"Sick\",\"value\":\"true\"}],"
         "\"resources\":[\"Condition/c\"]}]");
}

/* For people: the rule's fate, then each condition with its mark and what it rests on. */
static void text_says_it_to_people(void **state)
{
    folder *f = *state;
    const char *words = "\"description\":\"Something is wrong\",\"_description\":" GERMAN("Krank");
    const char *base =
        RULE("R1", "Sick", ",\"extension\":[" OG_EXT("merge-into", "\"valueCode\":\"R2\"") "]",
             ",\"title\":\"Patient is sick\"");
    const char *plain = "\"description\":\"Sick\"", *at = strstr(base, plain);
    char rule[8192];
    snprintf(rule, sizeof rule, "%.*s%s%s", (int)(at - base), base, words, at + strlen(plain));
    put_file(f, "content/PlanDefinition-R1.json", rule);
    put_file(f, "content/PlanDefinition-R2.json", RULE("R2", "Sick", "", ",\"title\":\"Host\""));
    put_file(f, "content/PlanDefinition-R3.json", RULE("R3", "No", "", ",\"title\":\"Other\""));
    put_file(f, "in.ndjson",
             "{\"resourceType\":\"Patient\",\"id\":\"a\"}\n{\"resourceType\":\"Condition\",\"id\":"
             "\"c\",\"code\":{\"text\":\"Gout\"},\"onsetDateTime\":\"2025-02\"," OF("a") "}\n");
    assert_int_equal(run(f, cmd_eval, "eval", "--content", in(f, "content"), "--as-of", NOW,
                         "--explain", "--text", in(f, "in.ndjson"), NULL),
                     0);
    assert_string_equal(
        contents(f->out),
        "Patient a, " NOW "\n"
        "\nR2  Title of R2: card, info\n    \"Host\"\n    All conditions are met.\n"
        "    + Sick\n          Gout, 2025-02 (Condition/c)\n"
        "\nR1  Title of R1: on the card of R2\n"
        "    All conditions are met; it stands on the card of rule R2 (Title of R2).\n"
        "    + Something is wrong\n          Gout, 2025-02 (Condition/c)\n"
        "\nR3  Title of R3: no card\n    Not met: \"No\".\n    - No\n\n");
    assert_int_equal(run(f, cmd_eval, "eval", "--content", in(f, "content"), "--as-of", NOW,
                         "--explain", "--text", "--rule", "R1", "--language", "de",
                         in(f, "in.ndjson"), NULL),
                     0);
    assert_string_equal(
        contents(f->out),
        "Patient a, " NOW "\n\nR1  Title of R1: auf der Karte von R2\n"
        "    Alle Bedingungen sind erf\u00fcllt; sie steht auf der Karte von Regel R2 "
        "(Title of R2).\n    + Krank\n          Gout, 2025-02 (Condition/c)\n\n");
    assert_int_equal(
        run(f, cmd_eval, "eval", "--content", in(f, "content"), "--text", in(f, "in.ndjson"), NULL),
        2);
}

static void bad_input_is_told_and_the_rest_is_evaluated(void **state)
{
    folder *f = *state;
    put_file(f, "in.ndjson",
             "{\"resourceType\":\"Patient\",\"id\":\"a\"}\n{\"resourceType\":\n\n{\"resourceType\":"
             "\"Condition\",\"id\":\"c\"}\n{\"resourceType\":\"Patient\",\"id\":\"b\"}\n");
    assert_int_equal(run(f, cmd_eval, "eval", "--content", in(f, "content"), "--as-of", NOW,
                         in(f, "in.ndjson"), NULL),
                     1);
    says(f->out, "{\"patient\":\"a\"");
    says(f->out, "{\"patient\":\"b\"");
    says(f->err, "in.ndjson:2:17: error:");
    says(f->err, "in.ndjson:4:1: error:");
    assert_int_equal(run(f, cmd_eval, "eval", "--content", in(f, "content"), "--as-of", NOW,
                         in(f, "missing.json"), NULL),
                     1);
    says(f->err, "missing.json");
}

static void a_failing_rule_is_told(void **state)
{
    folder *f = *state;
    put_file(f, "content/PlanDefinition-R2.json", RULE("R2", "Fails", "", ",\"title\":\"s\""));
    put_file(f, "in.ndjson", "{\"resourceType\":\"Condition\",\"id\":\"c\"," OF("a") "}\n");
    assert_int_equal(run(f, cmd_eval, "eval", "--content", in(f, "content"), "--as-of", NOW,
                         in(f, "in.ndjson"), NULL),
                     1);
    says(f->out, "Patient is sick");
    says(f->err, "patient a: rule R2: T");
    says(f->err, "(at Fails)");
}

static void usage_is_checked(void **state)
{
    folder *f = *state;
    char *content = in(f, "content");
    assert_int_equal(run(f, cmd_eval, "eval", "--help", NULL), 0);
    says(f->out, "usage: osteoguard eval");
    assert_int_equal(run(f, cmd_eval, "eval", NULL), 2);
    assert_int_equal(run(f, cmd_eval, "eval", "--content", content, NULL), 2);
    assert_int_equal(run(f, cmd_eval, "eval", "--content", NULL), 2);
    assert_int_equal(run(f, cmd_eval, "eval", "--nonsense", "x", NULL), 2);
    assert_int_equal(run(f, cmd_eval, "eval", "--content", content, "--as-of", "noon", "x", NULL),
                     2);
    assert_int_equal(
        run(f, cmd_eval, "eval", "--content", content, "--tz", "Mars/Olympus", "x", NULL), 2);
    assert_int_equal(run(f, cmd_eval, "eval", "--content", content, "--parameter", "x", "y", NULL),
                     2);
    assert_int_equal(run(f, cmd_test, "test", "--help", NULL), 0);
    assert_int_equal(run(f, cmd_test, "test", NULL), 2);
    assert_int_equal(run(f, cmd_test, "test", "--content", content, "more", NULL), 2);
    assert_int_equal(
        run(f, cmd_eval, "eval", "--content", in(f, "nowhere"), "--as-of", NOW, "x", NULL), 1);
    says(f->err, "nowhere");
}

static void a_bad_folder_is_told_with_its_path(void **state)
{
    folder *f = *state;
    put_file(f, "content/PlanDefinition-R1.json", RULE("R1", "Nope", "", ",\"title\":\"s\""));
    assert_int_equal(
        run(f, cmd_test, "test", "--translation", "none", "--content", in(f, "content"), NULL), 1);
    says(f->err, "/content/PlanDefinition-R1.json:1");
    says(f->err, "error: no library of this rule defines 'Nope'");
}

/* What people keep beside the knowledge does not disturb it. */
static void other_files_are_passed_over(void **state)
{
    folder *f = *state;
    plan_content *c = NULL;
    og_report report = {0};
    put_file(f, "content/translate", "#!/bin/sh");
    put_file(f, "content/.hidden.json", "no json");
    put_file(f, "content/cases/x.json", "no json");
    assert_int_equal(content_dir_load(in(f, "content"), NULL, &c, &report), OG_OK);
    assert_int_equal(plan_content_rule_count(c), 1);
    plan_content_free(c);
    put_file(f, "content/notes.json", "{}");
    c = NULL;
    assert_int_not_equal(content_dir_load(in(f, "content"), NULL, &c, &report), OG_OK);
    assert_null(c);
    assert_int_equal(report.count, 1);
}

#define CASE(rest)                                                                                 \
    "{\"id\":\"K1\",\"title\":\"A sick patient\",\"asOf\":\"" NOW                                  \
    "\",\"bundle\":{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":["               \
    "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"a\"}},{\"resource\":{\"resourceType\":"  \
    "\"Condition\",\"id\":\"c\"," OF("a") "}}]}," rest "}"

static void cases_pass_and_differ(void **state)
{
    static const struct {
        const char *text, *said;
        int status;
    } table[] = {
        {CASE("\"expect\":[{\"rule\":\"R1\",\"indicator\":\"info\",\"summaryContains\":[\"sick\"],"
              "\"suggestions\":[\"doctor\"],\"noSuggestions\":[\"drug\"]}],\"absent\":[\"D1\"]"),
         "1 passed, 0 failed\n", 0},
        {CASE("\"expect\":[],\"allowed\":[\"R1\"]"), "1 passed, 0 failed\n", 0},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"indicator\":\"critical\"}]"),
         "R1 should be critical but is info: \"Patient is sick\"", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"summaryContains\":[\"well\"]}]"),
         "R1: the summary lacks \"well\"; it is \"Patient is sick\"", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"detailContains\":[\"well\"]}]"),
         "R1: the detail lacks \"well\"", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"summaryLacks\":[\"well\"],\"detailLacks\":[\"well\"]}"
              "]"),
         "1 passed, 0 failed\n", 0},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"summaryLacks\":[\"sick\"]}]"),
         "R1: the summary must not say \"sick\"; it is \"Patient is sick\"", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"detailLacks\":[\"Of what\"]}]"),
         "R1: the detail must not say \"Of what\"", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"suggestions\":[\"drug\"]}]"),
         "R1: no suggestion says \"drug\"; there is \"Ask the doctor\"", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"noSuggestions\":[\"doctor\"]}]"),
         "R1: \"doctor\" must not be suggested", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"evidenceContains\":[\"Condition/c\"]}]"),
         "R1: the evidence lacks \"Condition/c\"", 1},
        {CASE("\"expect\":[{\"rule\":\"R9\"}],\"allowed\":[\"R1\"]"),
         "R9 should appear but does not; there is no such rule", 1},
        {CASE("\"absent\":[\"R1\"]"), "R1 must not appear but does: \"Patient is sick\"", 1},
        {CASE("\"absent\":[\"R2\"]"), "R1 appears, which the case does not expect", 1},
        {CASE("\"only\":[\"R2\"],\"expect\":[]"), "1 passed, 0 failed\n", 0},
        {CASE("\"only\":[\"R2\"],\"absent\":[\"R1\"]"), "R1 must not appear but does", 1},
        {CASE("\"only\":[\"R2\"],\"expect\":[{\"rule\":\"R1\"}]"),
         "R1 is expected but not among the rules of \"only\"", 1},
        {CASE("\"only\":[\"R2\"],\"expect\":[],\"variants\":[{\"id\":\"K1b\",\"title\":\"t\","
              "\"only\":[\"R1\"],\"expect\":[]}]"),
         "R1 appears, which the case does not expect", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\"}],\"variants\":[{\"id\":\"K1b\",\"title\":\"cured\","
              "\"remove\":[\"Condition/c\"],\"absent\":[\"R1\"]}]"),
         "2 passed, 0 failed", 0},
        {CASE("\"expect\":[{\"rule\":\"R1\"}],\"variants\":[{\"id\":\"K1b\",\"title\":\"cured\","
              "\"remove\":[\"Condition/c\"],\"expect\":[{\"rule\":\"R1\"}]}]"),
         "R1 should appear but does not; its conditions do not hold: \"Sick\" is false", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\"}],\"variants\":[{\"id\":\"K1b\",\"title\":\"sick "
              "again\",\"remove\":[\"Condition/"
              "c\"],\"put\":[{\"resourceType\":\"Condition\",\"id\":\"d\"," OF(
                  "a") "}],\"expect\":[{\"rule\":\"R1\"}]}]"),
         "2 passed, 0 failed", 0},
        {CASE("\"expect\":[{\"rule\":\"R1\"}],\"variants\":[{\"id\":\"K1b\",\"title\":\"t\","
              "\"remove\":[\"Condition/x\"],\"absent\":[]}]"),
         "the case has no Condition/x to remove", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\"}],\"variants\":[{\"id\":\"K1\",\"title\":\"t\","
              "\"allowed\":[\"R1\"],\"absent\":[]}]"),
         "another case has the id K1", 1},
        {CASE("\"expects\":[]"), "a case has no field 'expects'", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"sumaryContains\":[\"x\"]}]"),
         "an expectation has no field 'sumaryContains'", 1},
        {CASE("\"expect\":[{\"indicator\":\"info\"}]"), "an expectation needs a rule", 1},
        {CASE("\"expect\":{}"), "expect must be a list", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"summaryContains\":\"sick\"}]"),
         "summaryContains must be a list of texts", 1},
        {"{\"id\":\"K1\",\"title\":\"t\",\"asOf\":\"2026-03-01\",\"bundle\":{},\"expect\":[]}",
         "asOf must be a dateTime with an offset", 1},
        {"{\"id\":\"K1\",\"title\":\"t\",\"asOf\":\"" NOW "\",\"expect\":[]}",
         "a case needs a bundle", 1},
        {"{\"id\":\"K1\",\"title\":\"t\",\"asOf\":\"" NOW
         "\",\"bundle\":{\"resourceType\":\"Bundle\",\"type\":\"collection\"},\"expect\":[]}",
         "the bundle has 0 patients", 1},
        {"{\"id\":\"K1\",", "FAIL ", 1},
        {"[]", "a case needs an id", 1},
        {"7", "a case needs an id", 1},
    };
    folder *f = *state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        put_file(f, "content/cases/K1.json", table[i].text);
        int status =
            run(f, cmd_test, "test", "--translation", "none", "--content", in(f, "content"), NULL);
        says(f->out, table[i].said);
        if (status != table[i].status)
            fail_msg("row %zu: status %d", i, status);
        if (status != 0)
            says(f->out, " failed\n");
    }
}

/* What time alone changes must have a review: true from 2026-03-10 on, looked at again then, or
 * never. */
static void the_next_review_must_come_in_time(void **state)
{
#define LATER                                                                                      \
    DEF("Later", "{\"type\":\"GreaterOrEqual\",\"operand\":[{\"type\":\"Today\"}," DATE(           \
                     "2026", "3", "10") "]}")
#define REVIEW(name) ",\"extension\":[" OG_EXT("next-review", "\"valueExpression\":" EXPR(name)) "]"
    folder *f = *state;
    const char *day = DATE("2026", "3", "10"), *late = DATE("2026", "3", "11");
    char elm[8192];
    snprintf(
        elm, sizeof elm, LIBRARY("T", "", "", "," LATER ",%s,%s"),
        "{\"name\":\"Day\",\"context\":\"Patient\",\"accessLevel\":\"Public\",\"expression\":@}",
        "@");
    char *at = strstr(elm, "@}");
    char text[16384];
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - elm), elm, day, at + 1);
    at = strstr(text, ",@");
    snprintf(elm, sizeof elm,
             "%.*s,{\"name\":\"Late\",\"context\":\"Patient\",\"accessLevel\":\"Public\","
             "\"expression\":%s}%s",
             (int)(at - text), text, late, at + 2);
    put_file(f, "content/elm/T.json", elm);
    put_file(f, "content/cases/K1.json", CASE("\"expect\":[],\"absent\":[\"R1\"]"));

    put_file(f, "content/PlanDefinition-R1.json",
             RULE("R1", "Later", "", ",\"title\":\"s\"" REVIEW("Day")));
    assert_int_equal(
        run(f, cmd_test, "test", "--translation", "none", "--content", in(f, "content"), NULL), 0);
    put_file(f, "content/PlanDefinition-R1.json",
             RULE("R1", "Later", "", ",\"title\":\"s\"" REVIEW("Late")));
    assert_int_equal(
        run(f, cmd_test, "test", "--translation", "none", "--content", in(f, "content"), NULL), 1);
    says(f->out, "R1 appears by time alone before the next review (2026-03-10T23:59:59.999+01:00)");
    put_file(f, "content/PlanDefinition-R1.json", RULE("R1", "Later", "", ",\"title\":\"s\""));
    assert_int_equal(
        run(f, cmd_test, "test", "--translation", "none", "--content", in(f, "content"), NULL), 1);
    says(f->out, "R1 appears by time alone");
}

static void one_case_is_chosen(void **state)
{
    folder *f = *state;
    put_file(f, "content/cases/K1.json",
             CASE("\"expect\":[{\"rule\":\"R1\"}],\"variants\":[{\"id\":\"K1b\",\"title\":"
                  "\"wrong\",\"absent\":[\"R1\"]}]"));
    assert_int_equal(run(f, cmd_test, "test", "--translation", "none", "--content",
                         in(f, "content"), "--case", "K1", "--verbose", NULL),
                     0);
    says(f->out, "ok   K1 A sick patient");
    says(f->out, "1 passed, 0 failed");
    assert_int_equal(run(f, cmd_test, "test", "--translation", "none", "--content",
                         in(f, "content"), "--case", "K1b", NULL),
                     1);
    assert_int_equal(run(f, cmd_test, "test", "--translation", "none", "--content",
                         in(f, "content"), "--case", "K2", NULL),
                     2);
}

/* One offer for every patient, one for those with a procedure. */
#define OFFERS                                                                                     \
    ",\"action\":[{\"title\":\"Ask the doctor\"},{\"title\":\"Operate "                            \
    "again\",\"condition\":[" WHEN("Operated") "]}]"
#define OPERATED                                                                                   \
    "," DEF("Operated", "{\"type\":\"Exists\",\"operand\":{\"type\":\"Retrieve\",\"dataType\":\"{" \
                        "http://hl7.org/fhir}Procedure\"}}")
#define PUT(type)                                                                                  \
    "\"put\":[{\"resourceType\":\"" type "\",\"id\":\"o\",\"status\":\"completed\"," OF("a") "}]"

static int test_folder(folder *f, const char *language, const char *option)
{
    return run(f, cmd_test, "test", "--translation", language, "--content", in(f, "content"),
               option, NULL);
}

/* A gap closes with the case that shows the other side of the condition. */
static void coverage_names_its_gaps(void **state)
{
    folder *f = *state;
    const char *elm = LIBRARY("T", "", "", "," DEF("Yes", YES) OPERATED);
    put_file(f, "content/elm/T.json", elm);
    put_file(f, "content/PlanDefinition-R1.json",
             RULE("R1", "Operated", "", ",\"title\":\"s\"" OFFERS));
    put_file(f, "content/PlanDefinition-R2.json", RULE("R2", "Yes", "", ",\"title\":\"t\""));
    put_file(f, "content/cases/K1.json", CASE("\"expect\":[],\"allowed\":[\"R2\"]"));
    assert_int_equal(test_folder(f, "none", NULL), 0);
    assert_int_equal(test_folder(f, "none", "--coverage"), 1);
    says(f->out, "R1  fired 0, suppressed 0, merged 0  <- NEVER FIRED");
    says(f->out, "         0      1      0      1  Operated  <- NEVER TRUE");
    says(f->out, "         0      0      0         Operated  <- NEVER ASKED");
    says(f->out, "         1      0      0      0  Yes  <- NEVER FALSE");
    says(f->out, "coverage: 2 rules, 3 conditions, 4 gaps\n");
    /* a case that does not speak of a rule says nothing of it */
    put_file(
        f, "content/cases/K1.json",
        CASE("\"only\":[\"R1\"],\"expect\":[],\"variants\":[{\"id\":\"K1b\",\"title\":\"t\"," PUT(
            "Procedure") ",\"expect\":[{\"rule\":\"R1\"}]}]"));
    assert_int_equal(test_folder(f, "none", "--coverage"), 1);
    says(f->out, "R1  fired 1, suppressed 0, merged 0\n");
    says(f->out, "         1      1      0      1  Operated\n");
    says(f->out, "         1      0      0         Operated  <- NEVER FALSE");
    says(f->out, "R2  fired 0, suppressed 0, merged 0  <- NEVER FIRED");
    says(f->out, "Yes  <- NEVER ASKED");
    put_file(f, "content/PlanDefinition-R2.json", SICK_RETIRED);
    put_file(f, "content/PlanDefinition-R1.json", RULE("R1", "Operated", "", ",\"title\":\"s\""));
    assert_int_equal(test_folder(f, "none", "--coverage"), 0);
    says(f->out, "coverage: 1 rules, 1 conditions, 0 gaps");
}

/* The second language: the same cards, in other words. */
static void both_languages_say_the_same(void **state)
{
    static const struct {
        const char *head, *action, *said;
        int status;
    } table[] = {
        {"", ",\"title\":\"Patient is sick\"", "FAIL 3 texts are not translated into 'de'\n", 1},
        {"", ",\"title\":\"Patient is sick\"", "R1: the summary is the same in both languages", 1},
        {"", ",\"title\":\"Patient is sick\"",
         "content/PlanDefinition-R1.json:11:393: title has no translation into 'de'", 1},
        {",\"_title\":" GERMAN("Titel"),
         ",\"title\":\"Patient is sick\",\"_title\":" GERMAN("Krank"), "1 passed, 0 failed\n", 0},
        {",\"_title\":" GERMAN("Titel"),
         ",\"title\":\"Patient is sick\",\"_title\":" GERMAN(
             "Krank") ",\"description\":\"He is ill. Ask him 7 "
                      "times.\",\"_description\":" GERMAN("Er ist krank. Ask him 8 times."),
         "1 passed, 0 failed\n", 0},
        {",\"_title\":" GERMAN("Titel"),
         ",\"title\":\"Patient is sick\",\"_title\":" GERMAN(
             "Krank") ",\"description\":\"He is ill. Ask him 7 "
                      "times.\",\"_description\":" GERMAN("Er ist krank. Ask him 7 times."),
         "untranslated: R1: the detail is the same in both languages: \"Ask him # times\" (K1)", 1},
        {",\"_title\":" GERMAN("Titel"),
         ",\"title\":\"Patient is sick\",\"_title\":" GERMAN("Krank") ",\"action\":[{\"title\":"
                                                                      "\"Ask the "
                                                                      "doctor\",\"_"
                                                                      "title\":" GERMAN(
                                                                          "Ask the doctor") "}"
                                                                                            "]",
         "untranslated: R1: the label is the same in both languages: \"Ask the doctor\" (K1)", 1},
        {",\"_title\":" GERMAN("Titel"),
         ",\"title\":\"Patient is sick\",\"_title\":" GERMAN("Krank") ",\"extension\":[" OG_EXT(
             "slot", "\"valueExpression\":" EXPR("Spoken")) "]",
         "R1 has the slot \"en\" in one language and \"de\" in the other", 1},
        {",\"_title\":" GERMAN("Titel"),
         ",\"title\":\"Patient is sick\",\"_title\":" GERMAN("Krank") ",\"dynamicValue\":[{"
                                                                      "\"path\":\"priority\","
                                                                      "\"expression\":" EXPR(
                                                                          "Spoken") "}]",
         "R1 could not be evaluated", 1},
    };
    folder *f = *state;
    char rule[8192];
    put_file(f, "content/elm/T.json", SPEAKING);
    put_file(f, "content/cases/K1.json", CASE("\"expect\":[{\"rule\":\"R1\"}]"));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *base = RULE("R1", "Sick", "@", "@"), *words = "\"description\":\"Sick\"";
        const char *a = strchr(base, '@'), *c = strstr(base, words) + strlen(words);
        const char *b = strchr(c, '@');
        snprintf(rule, sizeof rule, "%.*s%s%.*s,\"_description\":%s%.*s%s%s", (int)(a - base), base,
                 table[i].head, (int)(c - a - 1), a + 1, GERMAN("Krank"), (int)(b - c), c,
                 table[i].action, b + 1);
        put_file(f, "content/PlanDefinition-R1.json", rule);
        int status = test_folder(f, "de", "--verbose");
        says(f->out, table[i].said);
        assert_int_equal(status, table[i].status);
    }
    assert_int_equal(
        run(f, cmd_test, "test", "--translation", "none", "--content", in(f, "content"), NULL), 1);
    says(f->out, "is none of info, warning, critical");
}

/* What the case wants of the words in the second language. */
static void cases_speak_of_the_second_language(void **state)
{
    static const struct {
        const char *expect, *language, *said;
    } table[] = {
        {"\"de\":{\"summaryContains\":[\"krank\"],\"summaryLacks\":[\"sick\"],\"detailLacks\":["
         "\"sick\"],\"suggestions\":[\"Arzt\"],\"noSuggestions\":[\"doctor\"]}",
         "de", "1 passed"},
        {"\"de\":{\"summaryContains\":[\"sick\"]}", "de",
         "R1: the summary lacks \"sick\"; it is \"Ist krank\""},
        {"\"de\":{\"summaryLacks\":[\"krank\"]}", "de", "R1: the summary must not say \"krank\""},
        {"\"de\":{\"detailContains\":[\"krank\"]}", "de", "R1: the detail lacks \"krank\""},
        {"\"de\":{\"suggestions\":[\"doctor\"]}", "de", "R1: no suggestion says \"doctor\""},
        {"\"de\":{\"summaryContains\":[\"sick\"]}", "none", "1 passed"},
        {"\"fr\":{\"summaryContains\":[\"sick\"]}", "de", "1 passed"},
        {"\"de\":{\"evidenceContains\":[\"c\"]}", "de",
         "translated has no field 'evidenceContains'"},
        {"\"de\":[\"krank\"]", "de", "translated must be an object"},
        {"\"de\":{\"summaryLacks\":\"krank\"}", "de", "summaryLacks must be a list of texts"},
    };
    folder *f = *state;
    char text[4096];
    const char *base = CASE("\"expect\":[{\"rule\":\"R1\",\"translated\":{@}}]"),
               *at = strchr(base, '@');
    put_file(f, "content/PlanDefinition-R1.json",
             RULE("R1", "Sick", ",\"_title\":" GERMAN("Titel"),
                  ",\"title\":\"Is sick\",\"_title\":" GERMAN(
                      "Ist krank") ",\"action\":[{\"title\":"
                                   "\"Ask the "
                                   "doctor\",\"_title\":" GERMAN("Arzt fragen") "}]"));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - base), base, table[i].expect, at + 1);
        put_file(f, "content/cases/K1.json", text);
        test_folder(f, table[i].language, NULL);
        says(f->out, table[i].said);
    }
}

/* A guest is no card of its own. */
static void cases_name_the_guests(void **state)
{
    static const struct {
        const char *text, *said;
        int status;
    } table[] = {
        {CASE("\"expect\":[{\"rule\":\"R1\",\"merges\":[\"R2\"]}]"), "1 passed", 0},
        {CASE("\"expect\":[{\"rule\":\"R1\"}],\"allowed\":[\"R2\"]"), "1 passed", 0},
        {CASE("\"only\":[\"R1\"],\"expect\":[{\"rule\":\"R1\"}]"), "1 passed", 0},
        {CASE("\"expect\":[{\"rule\":\"R1\"}]"),
         "R2 appears, which the case does not expect, on the card of R1", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\"}],\"absent\":[\"R2\"]"),
         "R2 must not appear but stands on the card of R1", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"merges\":[\"R2\"]},{\"rule\":\"R2\"}]"),
         "R2 should appear but does not; it stands on the card of R1", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"merges\":[\"R2\",\"R3\"]}]"),
         "R3 should stand on the card of R1 but does not", 1},
        {CASE("\"expect\":[{\"rule\":\"R1\",\"merges\":\"R2\"}]"), "merges must be a list", 1},
    };
    folder *f = *state;
    put_file(f, "content/PlanDefinition-R2.json",
             RULE("R2", "Sick", ",\"extension\":[" OG_EXT("merge-into", "\"valueCode\":\"R1\"") "]",
                  ",\"title\":\"guest\""));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        put_file(f, "content/cases/K1.json", table[i].text);
        int status = test_folder(f, "none", NULL);
        says(f->out, table[i].said);
        assert_int_equal(status, table[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_line_per_patient, begin, end),
        cmocka_unit_test_setup_teardown(explain_says_why, begin, end),
        cmocka_unit_test_setup_teardown(text_says_it_to_people, begin, end),
        cmocka_unit_test_setup_teardown(bad_input_is_told_and_the_rest_is_evaluated, begin, end),
        cmocka_unit_test_setup_teardown(a_failing_rule_is_told, begin, end),
        cmocka_unit_test_setup_teardown(usage_is_checked, begin, end),
        cmocka_unit_test_setup_teardown(a_bad_folder_is_told_with_its_path, begin, end),
        cmocka_unit_test_setup_teardown(other_files_are_passed_over, begin, end),
        cmocka_unit_test_setup_teardown(cases_pass_and_differ, begin, end),
        cmocka_unit_test_setup_teardown(the_next_review_must_come_in_time, begin, end),
        cmocka_unit_test_setup_teardown(one_case_is_chosen, begin, end),
        cmocka_unit_test_setup_teardown(coverage_names_its_gaps, begin, end),
        cmocka_unit_test_setup_teardown(both_languages_say_the_same, begin, end),
        cmocka_unit_test_setup_teardown(cases_speak_of_the_second_language, begin, end),
        cmocka_unit_test_setup_teardown(cases_name_the_guests, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
