/* The public CQL suite as data: each test is an ELM expression and its expected value. The
 * expression is put into a library of its own, which goes the whole way: load, link, evaluate. */
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

static bool passes(og_arena *a, fhir_elem test, og_str elm, outcome *o)
{
    bool wants_error = fhir_is(fhir_get(test, "expect"), "error");
    cql_value wanted;
    og_buf text;
    og_error err;
    og_report report = {.fn = keep_error, .ctx = o};
    bool pass = false;
    cql_set *set = cql_set_new();
    og_buf_init(&text, (size_t)16 << 20);
    og_buf_addz(&text, prologue);
    og_buf_adds(&text, elm);
    og_buf_addz(&text, "}]}}}");
    o->error = true;
    o->text[0] = '\0';
    og_error_init(&err);
    if (cql_set_add(set, og_buf_str(&text), "test", &report) == OG_OK &&
        cql_set_link(set, NULL, &report) == OG_OK) {
        static const cql_request request = {.as_of_ms = AS_OF_MS};
        cql_run *run = cql_run_begin(a, set, &request);
        const cql_define *d = cql_library_define(cql_set_at(set, 0), OG_STR("Result"));
        if (cql_run_define(run, d, &o->value, &err) == OG_OK)
            o->error = false;
        else
            keep_error(o, &err);
    }
    if (!o->error) {
        og_buf b;
        og_buf_init(&b, (size_t)1 << 20);
        cql_value_format(&b, o->value);
        snprintf(o->text, sizeof o->text, "%.*s", OG_STR_ARG(og_buf_str(&b)));
        og_buf_done(&b);
    }
    if (wants_error)
        pass = o->error;
    else if (!o->error && expected_value(a, fhir_get(test, "expected"), &wanted))
        pass = same_value(a, wanted, o->value);
    og_buf_done(&text);
    cql_set_free(set); /* the value pointed into it */
    return pass;
}

static void run_test(context *c, tally *t, fhir_elem test)
{
    og_arena *a = og_arena_new((size_t)256 << 20);
    char id[64], name[200], wanted[300];
    outcome o = {0};
    snprintf(id, sizeof id, "%.*s", OG_STR_ARG(fhir_raw(fhir_get(test, "id"))));
    snprintf(name, sizeof name, "%.*s", OG_STR_ARG(fhir_raw(fhir_get(test, "name"))));
    fhir_elem elm = fhir_get(test, "elm");
    if (c->only != NULL && strstr(id, c->only) == NULL && strstr(name, c->only) == NULL)
        goto out;
    if (fhir_kind_of(elm) != FHIR_OBJECT) { /* the official translator refuses the text */
        t->skipped++;
        goto out;
    }
    bool pass = passes(a, test, fhir_raw(elm), &o);
    bool error = fhir_is(fhir_get(test, "expect"), "error");
    og_str text = error ? OG_STR("an error") : fhir_string(a, fhir_get(test, "expectedCql"));
    snprintf(wanted, sizeof wanted, "%.*s", OG_STR_ARG(text));
    if (c->only != NULL)
        printf("%.*s\n", OG_STR_ARG(fhir_raw(elm)));
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

void run_suite(context *c, const char *folder)
{
    struct dirent **names;
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
}
