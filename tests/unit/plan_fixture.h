/* A small content folder in memory, for the tests of rules/plan. */
#ifndef OG_TESTS_PLAN_FIXTURE_H
#define OG_TESTS_PLAN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "rules/plan/plan_private.h"

#define SYS       "{urn:hl7-org:elm-types:r1}"
#define LIT(t, v) "{\"type\":\"Literal\",\"valueType\":\"" SYS t "\",\"value\":\"" v "\"}"
#define YES       LIT("Boolean", "true")
#define NO        LIT("Boolean", "false")
#define STR(s)    LIT("String", s)
#define INT(i)    LIT("Integer", i)
#define NIL       "{\"type\":\"Null\"}"
/* Fails at run time: singleton from { 1, 2 }. */
#define FAILS                                                                                      \
    "{\"type\":\"SingletonFrom\",\"operand\":{\"type\":\"List\",\"element\":[" INT("1") "," INT(   \
        "2") "]}}"
#define DATE(y, m, d)                                                                              \
    "{\"type\":\"Date\",\"year\":" INT(y) ",\"month\":" INT(m) ",\"day\":" INT(d) "}"
#define DEF(name, expression)                                                                      \
    "{\"name\":\"" name                                                                            \
    "\",\"context\":\"Patient\",\"accessLevel\":\"Public\",\"expression\":" expression "}"
#define LIBRARY(name, parameters, valuesets, defs)                                                 \
    "{\"library\":{\"identifier\":{\"id\":\"" name "\",\"version\":\"1\"},"                        \
    "\"schemaIdentifier\":{\"id\":\"urn:hl7-org:elm\",\"version\":\"r1\"},"                        \
    "\"usings\":{\"def\":[{\"localIdentifier\":\"System\",\"uri\":\"urn:hl7-org:elm-types:r1\"},"  \
    "{\"localIdentifier\":\"FHIR\",\"uri\":\"http://hl7.org/fhir\",\"version\":\"4.0.1\"}]},"      \
    "\"parameters\":{\"def\":[" parameters "]},\"valueSets\":{\"def\":[" valuesets "]},"           \
    "\"contexts\":{\"def\":[{\"name\":\"Patient\"}]},\"statements\":{\"def\":[" DEF(               \
        "Patient", "{\"type\":\"SingletonFrom\",\"operand\":{\"type\":\"Retrieve\",\"dataType\":"  \
                   "\"{http://hl7.org/fhir}Patient\"}}") defs "]}}}"

#define EXPR(name) "{\"language\":\"text/cql-identifier\",\"expression\":\"" name "\"}"
#define WHEN(name)                                                                                 \
    "{\"kind\":\"applicability\",\"expression\":{\"description\":\"" name                          \
    "\",\"language\":\"text/"                                                                      \
    "cql-identifier\",\"expression\":\"" name "\"}}"
#define OG_EXT(name, value)                                                                        \
    "{\"url\":\"https://osteoguard.org/fhir/StructureDefinition/" name "\"," value "}"
/* head and action are further members, each with a comma in front. */
#define RULE(id, condition, head, action)                                                          \
    "{\n\"resourceType\":\"PlanDefinition\",\n\"url\":\"https://example.org/PlanDefinition/" id    \
    "\","                                                                                          \
    "\n\"version\":\"7\",\n\"identifier\":[{\"system\":\"https://osteoguard.org/"                  \
    "rule\",\"value\":\"" id "\"}],\n\"title\":\"Title of " id                                     \
    "\",\n\"status\":\"active\",\n\"type\":{\"coding\":[{\"system\":"                              \
    "\"http://terminology.hl7.org/CodeSystem/plan-definition-type\",\"code\":\"eca-rule\"}]},"     \
    "\n\"library\":[\"https://osteoguard.org/fhir/Library/T\"],\n\"relatedArtifact\":[{\"type\":"  \
    "\"citation\",\"label\":\"A source\",\"url\":\"https://example.org/source\"}]" head            \
    ",\n\"action\":[{\"trigger\":[{\"type\":\"data-changed\",\"data\":[{\"type\":\"Condition\"}]}" \
    "],"                                                                                           \
    "\"condition\":[" WHEN(condition) "]" action "}]\n}"

typedef struct fixture {
    plan_content *content;
    og_arena *arena;
    char problems[16384];
    unsigned problem_count;
} fixture;

static inline void fixture_note(void *ctx, const og_error *err)
{
    fixture *f = ctx;
    size_t n = strlen(f->problems);
    char line[1400];

    og_error_format(err, line, sizeof line);
    if (n + strlen(line) + 2 < sizeof f->problems)
        sprintf(f->problems + n, "%s\n", line);
    f->problem_count++;
}

/* Loads files given as name, text, name, text, ..., NULL. */
static inline og_status fixture_load(fixture *f, const plan_options *options, ...)
{
    plan_file files[64];
    size_t count = 0;
    va_list ap;
    const char *name;
    og_report report = {.fn = fixture_note, .ctx = f};

    memset(f, 0, sizeof *f);
    va_start(ap, options);
    while ((name = va_arg(ap, const char *)) != NULL)
        files[count++] = (plan_file){name, og_str_of(va_arg(ap, const char *))};
    va_end(ap);
    f->arena = og_arena_new((size_t)64 << 20);
    assert_non_null(f->arena);
    return plan_content_load(files, count, options, &f->content, &report);
}

static inline void fixture_good(fixture *f, og_status status)
{
    if (status != OG_OK)
        fail_msg("content does not load:\n%s", f->problems);
    assert_int_equal(f->problem_count, 0);
}

static inline void fixture_free(fixture *f)
{
    plan_content_free(f->content);
    og_arena_free(f->arena);
}

static inline fhir_resource fixture_resource(fixture *f, const char *json)
{
    fhir_doc *doc = og_arena_zalloc(f->arena, 1, sizeof *doc);
    fhir_resource r = {0};
    og_error err;

    og_error_init(&err);
    assert_non_null(doc);
    if (fhir_decode(f->arena, og_str_of(json), NULL, doc, &err) != OG_OK ||
        fhir_resource_of(fhir_root(doc), &r, &err) != OG_OK)
        fail_msg("%s: %s", err.text, json);
    return r;
}

/* 2026-03-01T09:00:00+01:00 */
#define AS_OF_MS 1772352000000LL

/* What a hook that asks gets; empty: nobody asks. */
static inline plan_result fixture_ask(fixture *f, const char *hook, bool explain)
{
    fhir_resource patient =
        fixture_resource(f, "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"gender\":\"female\"}");
    plan_patient p = {
        .tenant = OG_STR("site"), .id = OG_STR("p1"), .resource_count = 1, .hook = og_str_of(hook)};
    fhir_resource *kept = og_arena_alloc(f->arena, sizeof *kept);
    plan_result r;
    og_error err;

    og_error_init(&err);
    assert_non_null(kept);
    *kept = patient;
    p.resources = kept;
    if (plan_content_evaluate(f->content, f->arena, &p, AS_OF_MS, 60,
                              explain ? PLAN_REASONS : PLAN_CARDS, &r, &err) != OG_OK)
        fail_msg("evaluation fails: %s", err.text);
    return r;
}

static inline plan_result fixture_evaluate(fixture *f, bool explain)
{
    return fixture_ask(f, "", explain);
}

static inline const plan_outcome *fixture_outcome(const plan_result *r, const char *rule)
{
    for (size_t i = 0; i < r->outcome_count; i++)
        if (og_str_is(r->outcomes[i].rule, rule))
            return &r->outcomes[i];
    fail_msg("no outcome for %s", rule);
    return NULL;
}

static inline const plan_card *fixture_card(const plan_result *r, const char *rule)
{
    for (size_t i = 0; i < r->card_count; i++)
        if (og_str_is(r->cards[i].rule, rule))
            return &r->cards[i];
    return NULL;
}

/* og_str against a literal, with both in the message. */
static inline void assert_str(og_str have, const char *want)
{
    if (!og_str_is(have, want))
        fail_msg("have \"%.*s\"\nwant \"%s\"", OG_STR_ARG(have), want);
}

static inline void assert_contains(og_str have, const char *part)
{
    if (memmem(have.p, have.n, part, strlen(part)) == NULL)
        fail_msg("\"%s\" is not in\n%.*s", part, OG_STR_ARG(have));
}

#endif
