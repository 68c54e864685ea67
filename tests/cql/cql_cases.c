/* The project's own cases. A folder holds CQL libraries whose defines say what they must give:
 *
 *   define "Add": 2 + 3 //= 5        the literal text of the value
 *   define "Month 13": Date(2024, 13) //!    a run-time error
 *
 * Beside each stands its ELM (elm/NAME.json, made by rules/content/translate --content tests/cql),
 * which must carry the checksum of the text, so that a changed case cannot be tested with the old
 * tree. Data are in data/: the patient of every case, and value sets. Evaluated at
 * 2024-03-01T12:00Z. */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "rules/cql/cql.h"

#define FOLDER   OG_SOURCE_DIR "/tests/cql"
#define AS_OF_MS 1709294400000LL

static unsigned passed, failed;

static void wrong(const char *fmt, ...) OG_PRINTF(1, 2);

static void wrong(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    failed++;
}

static void print_problem(void *ctx, const og_error *err)
{
    char line[1400];
    (void)ctx;
    og_error_format(err, line, sizeof line);
    wrong("%s", line);
}

static og_report report = {.fn = print_problem};

/* The whole file, in the arena and terminated; {NULL, 0} when there is none. */
static og_str read_whole(og_arena *a, const char *path)
{
    FILE *f = fopen(path, "rb");
    og_str none = {NULL, 0};
    og_buf b;
    char part[4096];
    size_t n;
    if (f == NULL)
        return none;
    og_buf_init(&b, (size_t)64 << 20);
    while ((n = fread(part, 1, sizeof part, f)) > 0)
        og_buf_add(&b, part, n);
    fclose(f);
    og_str text = og_buf_failed(&b) ? none : og_arena_str(a, og_buf_str(&b));
    og_buf_done(&b);
    return text;
}

static bool decode(og_arena *a, const char *path, fhir_doc *ret)
{
    static const fhir_limits deep = {.max_bytes = 64u << 20, .max_depth = 8000};
    og_str text = read_whole(a, path);
    return text.p != NULL && fhir_decode(a, text, &deep, ret, NULL) == OG_OK;
}

/* ---- what all libraries share ---- */

typedef struct world {
    og_arena *arena;
    cql_set *set;
    fhir_terminology *terms;
    fhir_resource resources[100];
    cql_request request;
} world;

static bool load_patient(world *w)
{
    static fhir_doc doc;
    if (!decode(w->arena, FOLDER "/data/patient.json", &doc))
        return false;
    fhir_elem entries = fhir_get(fhir_root(&doc), "entry");
    w->request = (cql_request){.resources = w->resources, .as_of_ms = AS_OF_MS};
    for (fhir_elem e = fhir_first(entries); fhir_exists(e) && w->request.resource_count < 100;
         e = fhir_next(entries, e))
        if (fhir_resource_of(fhir_get(e, "resource"), &w->resources[w->request.resource_count],
                             NULL) == OG_OK)
            w->request.resource_count++;
    return w->request.resource_count != 0;
}

static bool load_terms(world *w)
{
    static fhir_doc doc;
    return decode(w->arena, FOLDER "/data/ValueSet-Creatinine.json", &doc) &&
           fhir_terminology_add(w->terms, fhir_root(&doc), "ValueSet-Creatinine.json", &report) ==
               OG_OK &&
           fhir_terminology_link(w->terms, &report) == OG_OK;
}

/* The ELM says of which text it was made: "crc32c:01234567:BYTES". */
static bool belongs(const fhir_doc *elm, og_str cql)
{
    char mark[64];
    fhir_elem annotations = fhir_path(fhir_root(elm), "library"), a;
    annotations = fhir_get(annotations, "annotation");
    snprintf(mark, sizeof mark, "crc32c:%08x:%zu", og_crc32c(0, cql.p, cql.n), cql.n);
    for (a = fhir_first(annotations); fhir_exists(a); a = fhir_next(annotations, a))
        if (fhir_is(fhir_get(a, "source"), mark))
            return true;
    return false;
}

/* ---- one case ---- */

static void check(world *w, cql_run *run, const cql_library *lib, og_str name, og_str expected,
                  bool error)
{
    const cql_define *d = cql_library_define(lib, name);
    og_str library = cql_library_name(lib);
    cql_value v;
    og_error err;
    og_error_init(&err);
    (void)w;
    if (d == NULL) {
        wrong("%.*s: no define \"%.*s\"", OG_STR_ARG(library), OG_STR_ARG(name));
        return;
    }
    if (cql_run_define(run, d, &v, &err) != OG_OK) {
        if (error)
            passed++;
        else
            wrong("%.*s \"%.*s\": expected %.*s, got the error: %s", OG_STR_ARG(library),
                  OG_STR_ARG(name), OG_STR_ARG(expected), err.text);
        return;
    }
    og_buf b;
    og_buf_init(&b, (size_t)16 << 20);
    cql_value_format(&b, v);
    og_str got = og_buf_str(&b);
    if (!error && og_str_eq(got, expected))
        passed++;
    else
        wrong("%.*s \"%.*s\": expected %.*s, got %.*s", OG_STR_ARG(library), OG_STR_ARG(name),
              error ? 8 : (int)expected.n, error ? "an error" : expected.p, OG_STR_ARG(got));
    og_buf_done(&b);
}

static og_str trimmed(og_str s)
{
    while (s.n != 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = og_str_from(s, 1);
    while (s.n != 0 && strchr(" \t\r", s.p[s.n - 1]) != NULL)
        s.n--;
    return s;
}

/* `define "NAME": ... //= EXPECTED` or `//!`; other lines are none of ours. */
static void check_line(world *w, cql_run *run, const cql_library *lib, og_str line)
{
    static const og_str define = {"define \"", 8};
    const char *value = memmem(line.p, line.n, "//=", 3);
    const char *error = memmem(line.p, line.n, "//!", 3);
    if (!og_str_starts(line, define))
        return;
    og_str name = og_str_from(line, define.n);
    ptrdiff_t end = og_str_find(name, '"');
    if (end < 0 || (value == NULL && error == NULL)) {
        wrong("%.*s: a define that says nothing of its value: %.*s",
              OG_STR_ARG(cql_library_name(lib)), OG_STR_ARG(line));
        return;
    }
    name.n = (size_t)end;
    og_str expected = {NULL, 0};
    if (value != NULL)
        expected = trimmed(og_str_from(line, (size_t)(value - line.p) + 3));
    check(w, run, lib, name, expected, value == NULL);
}

static void check_library(world *w, og_str name, og_str cql)
{
    const cql_library *lib = cql_set_find(w->set, name, (og_str){NULL, 0});
    og_arena *a = og_arena_new((size_t)256 << 20);
    cql_run *run = a != NULL && lib != NULL ? cql_run_begin(a, w->set, &w->request) : NULL;
    if (run == NULL) {
        wrong("%.*s is not there", OG_STR_ARG(name));
    } else {
        for (size_t at = 0; at < cql.n;) {
            og_str line = og_str_from(cql, at);
            ptrdiff_t n = og_str_find(line, '\n');
            if (n >= 0)
                line.n = (size_t)n;
            check_line(w, run, lib, line);
            at += line.n + 1;
        }
    }
    og_arena_free(a);
}

/* ---- the folder ---- */

static int is_cql(const struct dirent *e)
{
    size_t n = strlen(e->d_name);
    return n > 4 && strcmp(e->d_name + n - 4, ".cql") == 0;
}

static void add_library(world *w, og_str name)
{
    char path[1024];
    fhir_doc doc;
    snprintf(path, sizeof path, FOLDER "/elm/%.*s.json", OG_STR_ARG(name));
    og_str elm = read_whole(w->arena, path);
    if (elm.p == NULL || !decode(w->arena, path, &doc)) {
        wrong("%s cannot be read", path);
        return;
    }
    snprintf(path, sizeof path, FOLDER "/%.*s.cql", OG_STR_ARG(name));
    if (!belongs(&doc, read_whole(w->arena, path)))
        wrong("the ELM of %.*s was made of another text: translate it", OG_STR_ARG(name));
    (void)cql_set_add(w->set, elm, path, &report);
}

int main(void)
{
    static world w;
    struct dirent **names;
    w.arena = og_arena_new((size_t)256 << 20);
    w.set = cql_set_new();
    w.terms = fhir_terminology_new();
    int n = scandir(FOLDER, &names, is_cql, alphasort);
    if (n <= 0 || w.arena == NULL || !load_patient(&w) || !load_terms(&w)) {
        fprintf(stderr, "%s: the cases cannot be read\n", FOLDER);
        return 1;
    }
    for (int i = 0; i < n; i++)
        add_library(&w, (og_str){names[i]->d_name, strlen(names[i]->d_name) - 4});
    if (cql_set_link(w.set, w.terms, &report) == OG_OK) {
        for (int i = 0; i < n; i++) {
            char path[1024];
            og_str name = {names[i]->d_name, strlen(names[i]->d_name) - 4};
            snprintf(path, sizeof path, FOLDER "/%s", names[i]->d_name);
            check_library(&w, name, read_whole(w.arena, path));
        }
    }
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    cql_set_free(w.set);
    fhir_terminology_free(w.terms);
    og_arena_free(w.arena);
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0 || passed == 0;
}
