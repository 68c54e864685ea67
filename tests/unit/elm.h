/* Helpers for the tests of the engine: libraries out of short ELM texts, values as literal text.
 * Single quotes in the texts stand for double ones, so that they can be read. */
#ifndef OG_TESTS_ELM_H
#define OG_TESTS_ELM_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "rules/cql/cql.h"

#define AS_OF_MS 1709294400000LL /* 2024-03-01T12:00:00Z */

typedef struct problems {
    unsigned count;
    og_error first;
} problems;

static inline void keep_problem(void *ctx, const og_error *err)
{
    problems *p = ctx;
    if (p->count++ == 0)
        p->first = *err;
}

/* "$N" in a text: a named type of System; "$I(5)", "$S(x)", "$B(true)", "$R(define)", "$A(alias)":
 * the literal or reference. Everything else is copied, with ' turned into ". */
static inline char *elm_text(const char *s)
{
    static const struct {
        const char *name, *open, *close;
    } macros[] = {
        {"$I(",
         "{\"type\":\"Literal\",\"valueType\":\"{urn:hl7-org:elm-types:r1}Integer\",\"value\":\"",
         "\"}"},
        {"$D(",
         "{\"type\":\"Literal\",\"valueType\":\"{urn:hl7-org:elm-types:r1}Decimal\",\"value\":\"",
         "\"}"},
        {"$S(",
         "{\"type\":\"Literal\",\"valueType\":\"{urn:hl7-org:elm-types:r1}String\",\"value\":\"",
         "\"}"},
        {"$B(",
         "{\"type\":\"Literal\",\"valueType\":\"{urn:hl7-org:elm-types:r1}Boolean\",\"value\":\"",
         "\"}"},
        {"$R(", "{\"type\":\"ExpressionRef\",\"name\":\"", "\"}"},
        {"$A(", "{\"type\":\"AliasRef\",\"name\":\"", "\"}"},
        {"$O(", "{\"type\":\"OperandRef\",\"name\":\"", "\"}"},
        {"$T(", "\"{urn:hl7-org:elm-types:r1}", "\""},
        {"$F(", "\"{http://hl7.org/fhir}", "\""},
    };
    og_buf b;
    og_buf_init(&b, (size_t)64 << 20);
    while (*s != '\0') {
        size_t i = 0;
        while (i < sizeof macros / sizeof macros[0] &&
               strncmp(s, macros[i].name, strlen(macros[i].name)) != 0)
            i++;
        if (i == sizeof macros / sizeof macros[0]) {
            og_buf_addc(&b, *s == '\'' ? '"' : *s);
            s++;
            continue;
        }
        s += strlen(macros[i].name);
        size_t n = strcspn(s, ")");
        og_buf_addz(&b, macros[i].open);
        og_buf_add(&b, s, n);
        og_buf_addz(&b, macros[i].close);
        s += n + (s[n] == ')');
    }
    assert_false(og_buf_failed(&b));
    og_buf_addc(&b, '\0');
    char *copy = strdup(b.p);
    og_buf_done(&b);
    return copy;
}

static inline og_status add_elm(cql_set *set, const char *text, problems *p)
{
    og_report report = {.fn = keep_problem, .ctx = p};
    char *elm = elm_text(text);
    og_status s = cql_set_add(set, og_str_of(elm), "test.json", &report);
    free(elm);
    return s;
}

/* A library called T with these members behind its identifier ("'statements':{...}"). */
static inline og_status add_library(cql_set *set, const char *members, problems *p)
{
    og_buf b;
    og_buf_init(&b, (size_t)64 << 20);
    og_buf_addz(&b, "{'library':{'identifier':{'id':'T','version':'1'},");
    og_buf_addz(&b, members);
    og_buf_addz(&b, "}}");
    og_buf_addc(&b, '\0');
    og_status s = add_elm(set, b.p, p);
    og_buf_done(&b);
    return s;
}

/* A library T whose statements are defs, separated by commas. */
static inline og_status add_defs(cql_set *set, const char *defs, problems *p)
{
    og_buf b;
    og_buf_init(&b, (size_t)64 << 20);
    og_buf_addz(&b, "'statements':{'def':[");
    og_buf_addz(&b, defs);
    og_buf_addz(&b, "]}");
    og_buf_addc(&b, '\0');
    og_status s = add_library(set, b.p, p);
    og_buf_done(&b);
    return s;
}

typedef struct fixture { /* a linked set, a patient, a run */
    og_arena *arena;
    cql_set *set;
    fhir_terminology *terms;
    fhir_resource resources[64];
    cql_request request;
    cql_run *run;
    og_error err;
    char text[4096];
} fixture;

static inline fixture *fixture_new(void)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->arena = og_arena_new((size_t)256 << 20);
    f->set = cql_set_new();
    f->terms = fhir_terminology_new();
    f->request = (cql_request){.resources = f->resources, .as_of_ms = AS_OF_MS};
    assert_non_null(f->arena);
    assert_non_null(f->set);
    assert_non_null(f->terms);
    return f;
}

static inline void fixture_free(fixture *f)
{
    fhir_terminology_free(f->terms);
    cql_set_free(f->set);
    og_arena_free(f->arena);
    free(f);
}

/* Adds a resource to the patient's view; ' stands for ". */
static inline void put(fixture *f, const char *json)
{
    char *text = elm_text(json);
    og_str copy = og_arena_str(f->arena, og_str_of(text));
    fhir_doc *doc = og_arena_alloc(f->arena, sizeof *doc);
    free(text);
    assert_int_equal(fhir_decode(f->arena, copy, NULL, doc, NULL), OG_OK);
    assert_int_equal(
        fhir_resource_of(fhir_root(doc), &f->resources[f->request.resource_count++], NULL), OG_OK);
}

static inline void put_terms(fixture *f, const char *json)
{
    char *text = elm_text(json);
    problems p = {0};
    og_report report = {.fn = keep_problem, .ctx = &p};
    og_str copy = og_arena_str(f->arena, og_str_of(text));
    fhir_doc *doc = og_arena_alloc(f->arena, sizeof *doc);
    free(text);
    assert_int_equal(fhir_decode(f->arena, copy, NULL, doc, NULL), OG_OK);
    assert_int_equal(fhir_terminology_add(f->terms, fhir_root(doc), "terms", &report), OG_OK);
}

static inline void start(fixture *f)
{
    problems p = {0};
    og_report report = {.fn = keep_problem, .ctx = &p};
    assert_int_equal(fhir_terminology_link(f->terms, &report), OG_OK);
    if (cql_set_link(f->set, f->terms, &report) != OG_OK)
        fail_msg("link: %s (at %s)", p.first.text, p.first.path);
    f->run = cql_run_begin(f->arena, f->set, &f->request);
    assert_non_null(f->run);
}

/* The value of a define of the first library as literal text, or "!" and the error's text. */
static inline const char *value_of(fixture *f, const char *define)
{
    const cql_define *d = cql_library_define(cql_set_at(f->set, 0), og_str_of(define));
    cql_value v;
    og_buf b;
    if (d == NULL)
        fail_msg("no define %s", define);
    og_error_init(&f->err);
    if (cql_run_define(f->run, d, &v, &f->err) != OG_OK) {
        snprintf(f->text, sizeof f->text, "!%s", f->err.text);
        return f->text;
    }
    og_buf_init(&b, (size_t)16 << 20);
    cql_value_format(&b, v);
    snprintf(f->text, sizeof f->text, "%.*s", OG_STR_ARG(og_buf_str(&b)));
    og_buf_done(&b);
    return f->text;
}

/* One expression in a library of its own. */
static inline void check_expression(const char *elm, const char *expected)
{
    fixture *f = fixture_new();
    problems p = {0};
    og_buf b;
    og_buf_init(&b, (size_t)16 << 20);
    og_buf_addf(&b, "{'name':'X','context':'Patient','expression':%s}", elm);
    og_buf_addc(&b, '\0');
    if (add_defs(f->set, b.p, &p) != OG_OK)
        fail_msg("%s: %s (at %s)", elm, p.first.text, p.first.path);
    og_buf_done(&b);
    start(f);
    assert_string_equal(value_of(f, "X"), expected);
    fixture_free(f);
}

#endif
