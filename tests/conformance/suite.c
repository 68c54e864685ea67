/* The public CQL suite as data: each test is an ELM expression and its expected value. The
 * expression is put into a library of its own, which goes the whole way: load, link, evaluate.
 *
 * For some tests the official translator makes no ELM. Where it does not know a function that ELM
 * has (Slice) or the word that 1.5 renamed (timezone from), trees.json has the tree, by hand. A
 * text that is a single date or time literal goes to the engine's reader of literals. Where the
 * suite wants the text to be refused and the official translator did refuse it (the data say so),
 * that is the outcome wanted: what cannot be translated never reaches the engine. */
#include "conformance.h"

#include <dirent.h>
#include <stdlib.h>

#define AS_OF_MS 1709294400000LL /* 2024-03-01T12:00:00Z */

static const char prologue[] =
    "{\"library\":{\"identifier\":{\"id\":\"Test\"},\"schemaIdentifier\":{\"id\":\"urn:hl7-org:"
    "elm\","
    "\"version\":\"r1\"},\"usings\":{\"def\":[{\"localIdentifier\":\"System\",\"uri\":"
    "\"urn:hl7-org:elm-types:r1\"}]},\"statements\":{\"def\":[{\"name\":\"Result\",\"context\":"
    "\"Patient\",\"accessLevel\":\"Public\",\"expression\":";

typedef struct outcome {
    bool error;
    cql_value value;
    char text[1024];
} outcome;

static void keep_error(void *ctx, const og_error *err)
{
    outcome *o = ctx;
    if (o->text[0] == '\0')
        snprintf(o->text, sizeof o->text, "error: %s (at %s)", err->text, err->path);
}

/* The value of a library whose only expression is elm; the set must outlive it. */
static void evaluate(og_arena *a, cql_set *set, og_str elm, outcome *o)
{
    static const cql_request request = {.as_of_ms = AS_OF_MS};
    og_buf text;
    og_error err;
    og_report report = {.fn = keep_error, .ctx = o};
    og_buf_init(&text, (size_t)16 << 20);
    og_buf_addz(&text, prologue);
    og_buf_adds(&text, elm);
    og_buf_addz(&text, "}]}}}");
    og_error_init(&err);
    if (cql_set_add(set, og_buf_str(&text), "test", &report) == OG_OK &&
        cql_set_link(set, NULL, &report) == OG_OK) {
        cql_run *run = cql_run_begin(a, set, &request);
        const cql_define *d = cql_library_define(cql_set_at(set, 0), OG_STR("Result"));
        if (cql_run_define(run, d, &o->value, &err) == OG_OK)
            o->error = false;
        else
            keep_error(o, &err);
    }
    og_buf_done(&text);
}

static void read_literal(og_arena *a, og_str text, outcome *o)
{
    og_error err;
    og_error_init(&err);
    if (cql_literal(a, text, &o->value, &err) == OG_OK)
        o->error = false;
    else
        keep_error(o, &err);
}

/* elm, or (when it is empty) the test's text as a literal. */
static bool passes(og_arena *a, fhir_elem test, og_str elm, outcome *o)
{
    cql_value wanted;
    bool pass = false;
    cql_set *set = cql_set_new();
    o->error = true;
    o->text[0] = '\0';
    if (elm.n != 0)
        evaluate(a, set, elm, o);
    else
        read_literal(a, fhir_string(a, fhir_get(test, "cql")), o);
    if (!o->error) {
        og_buf b;
        og_buf_init(&b, (size_t)1 << 20);
        cql_value_format(&b, o->value);
        snprintf(o->text, sizeof o->text, "%.*s", OG_STR_ARG(og_buf_str(&b)));
        og_buf_done(&b);
    }
    if (fhir_is(fhir_get(test, "expect"), "error"))
        pass = o->error;
    else if (!o->error && expected_value(a, fhir_get(test, "expected"), &wanted))
        pass = same_value(a, wanted, o->value);
    cql_set_free(set); /* the value pointed into it */
    return pass;
}

/* What stands for the test's expression: its own ELM, ours, or none for a literal. False: nothing
 * does. */
static bool expression_of(const context *c, fhir_elem test, og_str *ret)
{
    fhir_elem elm = fhir_get(test, "elm");
    *ret = (og_str){NULL, 0};
    if (fhir_kind_of(elm) != FHIR_OBJECT)
        elm = fhir_get_str(c->trees, fhir_raw(fhir_get(test, "id")));
    if (fhir_kind_of(elm) == FHIR_OBJECT) {
        *ret = fhir_raw(elm);
        return true;
    }
    og_str text = fhir_raw(fhir_get(test, "cql"));
    return og_str_starts(text, OG_STR("@")) && og_str_find(text, ' ') < 0;
}

static void run_test(context *c, tally *t, fhir_elem test)
{
    og_arena *a = og_arena_new((size_t)256 << 20);
    char id[64], name[200], wanted[300];
    outcome o = {0};
    snprintf(id, sizeof id, "%.*s", OG_STR_ARG(fhir_raw(fhir_get(test, "id"))));
    snprintf(name, sizeof name, "%.*s", OG_STR_ARG(fhir_raw(fhir_get(test, "name"))));
    og_str elm;
    if (c->only != NULL && strstr(id, c->only) == NULL && strstr(name, c->only) == NULL)
        goto out;
    if (!expression_of(c, test, &elm)) {
        bool refused = fhir_is(fhir_get(test, "expect"), "error") &&
                       fhir_length(fhir_get(test, "translateErrors")) > 0;
        *(refused ? &t->passed : &t->skipped) += 1;
        goto out;
    }
    bool pass = passes(a, test, elm, &o);
    bool error = fhir_is(fhir_get(test, "expect"), "error");
    og_str text = error ? OG_STR("an error") : fhir_string(a, fhir_get(test, "expectedCql"));
    snprintf(wanted, sizeof wanted, "%.*s", OG_STR_ARG(text));
    if (c->only != NULL)
        printf("%.*s\n", OG_STR_ARG(elm));
    if (!pass && c->list) {
        og_str cql = fhir_string(a, fhir_get(test, "cql"));
        printf("  %s %s: %.*s\n", id, name, OG_STR_ARG(cql));
    }
    settle(c, t, id, name, pass, wanted, o.text);
out:
    og_arena_free(a);
}

static void run_file(context *c, const char *path, const char *name)
{
    char *text;
    size_t size;
    og_error err;
    fhir_doc doc;
    tally t = {0};
    static const fhir_limits deep = {.max_bytes = 64u << 20, .max_depth = 4000};
    if (!read_whole(path, &text, &size)) {
        c->total.wrong++;
        return;
    }
    og_arena *a = og_arena_new((size_t)512 << 20);
    og_error_init(&err);
    if (fhir_decode(a, (og_str){text, size}, &deep, &doc, &err) != OG_OK) {
        fprintf(stderr, "%s: %s\n", path, err.text);
        c->total.wrong++;
    } else {
        fhir_elem tests = fhir_get(fhir_root(&doc), "tests");
        for (fhir_elem e = fhir_first(tests); fhir_exists(e); e = fhir_next(tests, e))
            run_test(c, &t, e);
        print_tally(name, &t);
        add_tally(&c->total, &t);
    }
    og_arena_free(a);
    free(text);
}

static int json_only(const struct dirent *e)
{
    size_t n = strlen(e->d_name);
    return n > 5 && strcmp(e->d_name + n - 5, ".json") == 0;
}

/* False, with a message, when trees.json cannot be read. */
static bool read_trees(context *c, og_arena *a, fhir_doc *doc)
{
    static const char path[] = OG_SOURCE_DIR "/tests/conformance/trees.json";
    char *text;
    size_t size;
    og_error err;
    if (!read_whole(path, &text, &size))
        return false;
    og_error_init(&err);
    og_str kept = og_arena_str(a, (og_str){text, size});
    free(text);
    if (fhir_decode(a, kept, NULL, doc, &err) != OG_OK) {
        fprintf(stderr, "%s: %s\n", path, err.text);
        return false;
    }
    c->trees = fhir_root(doc);
    return true;
}

void run_suite(context *c, const char *folder)
{
    struct dirent **names;
    fhir_doc trees;
    og_arena *a = og_arena_new((size_t)16 << 20);
    if (!read_trees(c, a, &trees))
        c->total.wrong++;
    int n = scandir(folder, &names, json_only, alphasort);
    for (int i = 0; i < n; i++) {
        char path[1024], name[300];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
        snprintf(name, sizeof name, "%.*s", (int)strlen(names[i]->d_name) - 5, names[i]->d_name);
        run_file(c, path, name);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    c->trees = (fhir_elem){0};
    og_arena_free(a);
}
