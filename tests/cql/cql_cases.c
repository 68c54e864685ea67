/* The project's own cases. A folder holds CQL libraries whose defines say what they must give:
 *
 *   define "Add": 2 + 3 //= 5        the literal text of the value
 *   define "Month 13": Date(2024, 13) //!    a run-time error
 *
 * Beside each stands its ELM (elm/NAME.json, made by rules/content/translate --content tests/cql),
 * which must carry the checksum of the text, so that a changed case cannot be tested with the old
 * tree. trees.txt has the nodes that CQL has no words for. Data are in data/: the patient of every
 * case, and terminology. Evaluated at 2024-03-01T12:00Z.
 *
 * At the end every operator and every kind of node that the loader knows must have occurred in two
 * cases, in one of them with a null where it takes arguments. */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "rules/cql/tree.h"

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

static bool load_term(world *w, const char *path)
{
    fhir_doc doc;
    return decode(w->arena, path, &doc) &&
           fhir_terminology_add(w->terms, fhir_root(&doc), path, &report) == OG_OK;
}

static bool load_terms(world *w)
{
    return load_term(w, FOLDER "/data/ValueSet-Creatinine.json") &&
           load_term(w, FOLDER "/data/CodeSystem-Local.json") &&
           load_term(w, FOLDER "/data/CodeSystem-Kinds.json") &&
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

/* ---- which nodes the cases have shown ---- */

typedef struct shown {
    unsigned cases, nulls; /* nulls: of them with a null */
    unsigned last;         /* the case that was counted last, and whether with a null */
    bool last_null;
} shown;

static og_table seen; /* node name -> shown */
static unsigned case_number;

/* They have no argument that could be null; a sort key's null is in the data. */
static const char *const no_argument[] = {
    "AliasRef",      "ByColumn",      "ByDirection", "ByExpression", "Code",
    "CodeRef",       "CodeSystemRef", "Concept",     "ConceptRef",   "Current",
    "ExpressionRef", "IdentifierRef", "Iteration",   "Literal",      "MaxValue",
    "MinValue",      "Now",           "Null",        "OperandRef",   "ParameterRef",
    "Quantity",      "QueryLetRef",   "Ratio",       "TimeOfDay",    "Today",
    "Total",         "ValueSetRef"};

static bool takes_null(const char *name)
{
    for (size_t i = 0; i < sizeof no_argument / sizeof no_argument[0]; i++)
        if (strcmp(no_argument[i], name) == 0)
            return false;
    return true;
}

/* Members of a node that hold no expression. */
static bool beside_the_point(fhir_elem member)
{
    og_str key = fhir_key_of(member);
    return og_str_is(key, "annotation") || og_str_is(key, "signature") ||
           og_str_ends(key, OG_STR("Specifier"));
}

/* True when e is a Null or holds one, at most `depth` nodes further down. */
static bool holds_null(fhir_elem e, int depth)
{
    fhir_kind kind = fhir_kind_of(e);
    if (kind == FHIR_OBJECT && fhir_exists(fhir_get(e, "type"))) {
        if (fhir_is(fhir_get(e, "type"), "Null"))
            return true;
        depth--;
    }
    if (depth < 0 || (kind != FHIR_OBJECT && kind != FHIR_ARRAY))
        return false;
    for (fhir_elem m = fhir_first(e); fhir_exists(m); m = fhir_next(e, m))
        if ((kind == FHIR_ARRAY || !beside_the_point(m)) && holds_null(m, depth))
            return true;
    return false;
}

static void show(og_arena *a, og_str name, bool with_null)
{
    shown *s = og_table_get(&seen, name);
    if (s == NULL) {
        s = og_arena_zalloc(a, 1, sizeof *s);
        if (s == NULL || !og_table_put(&seen, og_arena_str(a, name), s))
            abort();
    }
    if (s->last != case_number) {
        s->cases++;
        s->last_null = false;
    }
    s->last = case_number;
    if (with_null && !s->last_null) {
        s->nulls++;
        s->last_null = true;
    }
}

static fhir_elem define_of(fhir_elem defines, og_str name)
{
    fhir_elem d;
    for (d = fhir_first(defines); fhir_exists(d); d = fhir_next(defines, d))
        if (og_str_eq(fhir_raw(fhir_get(d, "name")), name))
            break;
    return d;
}

/* Counts the nodes of a case's tree, and those of what it refers to in its own library. */
static void show_all(og_arena *a, fhir_elem defines, fhir_elem e, int depth)
{
    fhir_kind kind = fhir_kind_of(e);
    if (kind != FHIR_OBJECT && kind != FHIR_ARRAY)
        return;
    fhir_elem type = fhir_get(e, "type");
    if (kind == FHIR_OBJECT && fhir_kind_of(type) == FHIR_STRING) {
        show(a, fhir_raw(type), holds_null(e, 3));
        bool ref = fhir_is(type, "ExpressionRef") || fhir_is(type, "FunctionRef");
        if (ref && depth < 4 && !fhir_exists(fhir_get(e, "libraryName"))) {
            fhir_elem d = define_of(defines, fhir_raw(fhir_get(e, "name")));
            show_all(a, defines, fhir_get(d, "expression"), depth + 1);
        }
    }
    for (fhir_elem m = fhir_first(e); fhir_exists(m); m = fhir_next(e, m))
        if (kind == FHIR_ARRAY || !beside_the_point(m))
            show_all(a, defines, m, depth);
}

static void demand(const char *name)
{
    const shown *s = og_table_get(&seen, og_str_of(name));
    unsigned cases = s != NULL ? s->cases : 0, nulls = s != NULL ? s->nulls : 0;
    if (cases < 2)
        wrong("%s: %u cases, want two", name, cases);
    else if (nulls == 0 && takes_null(name))
        wrong("%s: no case with a null", name);
}

static void demand_all(const cql_set *set)
{
    static const char *const others[] = {"ByColumn", "ByDirection", "ByExpression", "With",
                                         "Without"};
    for (uint32_t i = 0; i < set->nodes.count; i++) {
        char name[100];
        snprintf(name, sizeof name, "%.*s", OG_STR_ARG(set->nodes.entries[i].key));
        demand(name);
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        demand(others[i]);
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

static void show_library(og_arena *a, const fhir_doc *elm)
{
    fhir_elem defines = fhir_get(fhir_path(fhir_root(elm), "library.statements"), "def");
    for (fhir_elem d = fhir_first(defines); fhir_exists(d); d = fhir_next(defines, d)) {
        if (fhir_is(fhir_get(d, "type"), "FunctionDef"))
            continue;
        case_number++;
        show_all(a, defines, fhir_get(d, "expression"), 0);
    }
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
    if (!og_str_is(name, "FHIRHelpers")) /* generated, and no case of ours */
        show_library(w->arena, &doc);
}

/* ---- trees.txt ---- */

typedef struct tree {
    og_str name, elm, outcome;
} tree;

static const char trees_prologue[] =
    "{\"library\":{\"identifier\":{\"id\":\"Trees\",\"version\":\"1.0.0\"},"
    "\"usings\":{\"def\":[{\"localIdentifier\":\"System\",\"uri\":"
    "\"urn:hl7-org:elm-types:r1\"}]},"
    "\"codeSystems\":{\"def\":[{\"name\":\"Local\",\"id\":\"urn:local\"}]},"
    "\"valueSets\":{\"def\":[{\"name\":\"Creatinine\",\"id\":\"urn:example:creatinine\"}]},"
    "\"statements\":{\"def\":[";

/* The next line that is neither empty nor a comment; its text is empty at the end. */
static og_str next_line(og_str text, size_t *at)
{
    while (*at < text.n) {
        og_str line = og_str_from(text, *at);
        ptrdiff_t n = og_str_find(line, '\n');
        if (n >= 0)
            line.n = (size_t)n;
        *at += line.n + 1;
        line = trimmed(line);
        if (line.n != 0 && line.p[0] != '#')
            return line;
    }
    return (og_str){NULL, 0};
}

static size_t read_trees(og_str text, tree *trees, size_t max)
{
    size_t n = 0;
    for (size_t at = 0; n < max; n++) {
        tree *t = &trees[n];
        t->name = next_line(text, &at);
        if (t->name.n == 0)
            break;
        t->elm = next_line(text, &at);
        t->outcome = next_line(text, &at);
        if (!og_str_starts(t->elm, OG_STR("{")) || !og_str_starts(t->outcome, OG_STR("//")))
            wrong("trees.txt: \"%.*s\" has not its three lines", OG_STR_ARG(t->name));
    }
    if (n == max)
        wrong("trees.txt: more than %zu cases", max - 1);
    return n;
}

static void add_trees(world *w, const tree *trees, size_t count)
{
    og_buf b;
    fhir_doc doc;
    og_buf_init(&b, (size_t)16 << 20);
    og_buf_addz(&b, trees_prologue);
    for (size_t i = 0; i < count; i++) {
        og_buf_addf(&b, "%s{\"context\":\"Patient\",\"name\":", i != 0 ? "," : "");
        og_buf_add_json(&b, trees[i].name);
        og_buf_addf(&b, ",\"expression\":%.*s}", OG_STR_ARG(trees[i].elm));
    }
    og_buf_addz(&b, "]}}}");
    og_str text = og_arena_str(w->arena, og_buf_str(&b));
    og_buf_done(&b);
    (void)cql_set_add(w->set, text, "trees.txt", &report);
    if (fhir_decode(w->arena, text, NULL, &doc, NULL) == OG_OK)
        show_library(w->arena, &doc);
    else
        wrong("trees.txt: a tree that is no JSON");
}

static void check_trees(world *w, const tree *trees, size_t count)
{
    const cql_library *lib = cql_set_find(w->set, OG_STR("Trees"), (og_str){NULL, 0});
    og_arena *a = og_arena_new((size_t)256 << 20);
    cql_run *run = a != NULL && lib != NULL ? cql_run_begin(a, w->set, &w->request) : NULL;
    if (run == NULL)
        wrong("the trees are not there");
    for (size_t i = 0; run != NULL && i < count; i++) {
        const tree *t = &trees[i];
        bool value = og_str_starts(t->outcome, OG_STR("//="));
        check(w, run, lib, t->name, value ? trimmed(og_str_from(t->outcome, 3)) : (og_str){NULL, 0},
              !value);
    }
    og_arena_free(a);
}

int main(void)
{
    static world w;
    static tree trees[300];
    struct dirent **names;
    w.arena = og_arena_new((size_t)256 << 20);
    w.set = cql_set_new();
    w.terms = fhir_terminology_new();
    int n = scandir(FOLDER, &names, is_cql, alphasort);
    if (n <= 0 || w.arena == NULL || !load_patient(&w) || !load_terms(&w)) {
        fprintf(stderr, "%s: the cases cannot be read\n", FOLDER);
        return 1;
    }
    og_table_init(&seen, w.arena);
    for (int i = 0; i < n; i++)
        add_library(&w, (og_str){names[i]->d_name, strlen(names[i]->d_name) - 4});
    size_t tree_count =
        read_trees(read_whole(w.arena, FOLDER "/trees.txt"), trees, sizeof trees / sizeof trees[0]);
    add_trees(&w, trees, tree_count);
    if (cql_set_link(w.set, w.terms, &report) == OG_OK) {
        for (int i = 0; i < n; i++) {
            char path[1024];
            og_str name = {names[i]->d_name, strlen(names[i]->d_name) - 4};
            snprintf(path, sizeof path, FOLDER "/%s", names[i]->d_name);
            check_library(&w, name, read_whole(w.arena, path));
        }
        check_trees(&w, trees, tree_count);
    }
    demand_all(w.set);
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    cql_set_free(w.set);
    fhir_terminology_free(w.terms);
    og_arena_free(w.arena);
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0 || passed == 0;
}
