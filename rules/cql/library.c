/* Libraries: the frame around the expressions. A set takes ELM as JSON text, or a FHIR Library
 * resource that carries it, reads it into typed trees and, once all libraries are there, links
 * them. A library that has an error is not added; its errors are all reported. */
#include "rules/cql/cql.h"

#include <stdlib.h>

#include "fhir/model.h"
#include "rules/cql/helpers.h"
#include "rules/cql/tree.h"

#define SET_LIMIT     ((size_t)1 << 30)
#define SCRATCH_LIMIT ((size_t)1 << 30)

static const fhir_limits elm_limits = {.max_bytes = 64u << 20, .max_depth = 8000};

cql_set *cql_set_new(void)
{
    cql_set *set = calloc(1, sizeof *set);
    if (set == NULL)
        return NULL;
    set->arena = og_arena_new(SET_LIMIT);
    if (set->arena == NULL) {
        free(set);
        return NULL;
    }
    og_table_init(&set->nodes, set->arena);
    og_table_init(&set->strings, set->arena);
    og_table_init(&set->retrieves, set->arena);
    og_table_init(&set->members, set->arena);
    og_table_init(&set->codings, set->arena);
    set->codeable_concept = fhir_type_of(OG_STR("CodeableConcept"));
    set->coding = fhir_type_of(OG_STR("Coding"));
    set->period = fhir_type_of(OG_STR("Period"));
    if (!cql__register_nodes(set)) {
        cql_set_free(set);
        return NULL;
    }
    return set;
}

void cql_set_free(cql_set *set)
{
    if (set == NULL)
        return;
    og_arena_free(set->arena);
    free(set);
}

void cql_set_allow_missing_valuesets(cql_set *set, bool allow)
{
    set->allow_missing = allow;
}

/* ---- definitions ---- */

typedef bool (*read_def_fn)(cql__reader *r, fhir_elem e, const cql__path *at, void *ctx);

/* Calls fn for each element of library.section.def. */
static bool each_def(cql__reader *r, fhir_elem library, const char *section, read_def_fn fn,
                     void *ctx, const cql__path *at)
{
    cql__path p = {at, section, -1};
    fhir_elem list = fhir_get(fhir_get(library, section), "def");
    int32_t i = 0;
    bool ok = true;
    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c), i++) {
        cql__path q = {&p, "def", i};
        ok &= fn(r, c, &q, ctx);
    }
    return ok;
}

static bool put_new(cql__reader *r, fhir_elem e, const cql__path *at, og_table *t, og_str name,
                    void *value)
{
    if (name.n == 0) {
        cql__read_fail(r, e, at, OG_INVALID, "definition without a name");
        return false;
    }
    if (og_table_get(t, name) != NULL) {
        cql__read_fail(r, e, at, OG_INVALID, "%.*s is defined twice", OG_STR_ARG(name));
        return false;
    }
    return og_table_put(t, name, value);
}

static bool read_include(cql__reader *r, fhir_elem e, const cql__path *at, void *ctx)
{
    (void)ctx;
    cql__include *i = og_arena_zalloc(r->arena, 1, sizeof *i);
    if (i == NULL)
        return false;
    i->alias = cql__read_string(r, e, "localIdentifier", at);
    i->path = cql__read_string(r, e, "path", at);
    i->version = cql__read_string(r, e, "version", at);
    if (i->path.n == 0) {
        cql__read_fail(r, e, at, OG_INVALID, "include without a path");
        return false;
    }
    if (i->alias.n == 0)
        i->alias = i->path;
    return put_new(r, e, at, &r->library->includes, i->alias, i);
}

static bool read_using(cql__reader *r, fhir_elem e, const cql__path *at, void *ctx)
{
    (void)ctx;
    og_str uri = cql__read_string(r, e, "uri", at);
    og_str version = cql__read_string(r, e, "version", at);
    if (og_str_is(uri, "urn:hl7-org:elm-types:r1"))
        return true;
    if (!og_str_is(uri, "http://hl7.org/fhir")) {
        cql__read_fail(r, e, at, OG_UNSUPPORTED, "data model %.*s is not supported",
                       OG_STR_ARG(uri));
        return false;
    }
    if (version.n != 0 && !og_str_starts(version, OG_STR("4.")) &&
        og_str_is(cql__read_string(r, e, "localIdentifier", at), "FHIR")) {
        cql__read_fail(r, e, at, OG_UNSUPPORTED, "FHIR %.*s is not supported, only R4",
                       OG_STR_ARG(version));
        return false;
    }
    return true;
}

static bool read_parts(cql__reader *r, fhir_elem e, const char *member, cql__term *t,
                       const cql__path *at)
{
    fhir_elem list = fhir_get(e, member);
    uint32_t count = fhir_kind_of(list) == FHIR_ARRAY ? fhir_length(list) : fhir_exists(list);
    struct cql__termref *parts = og_arena_zalloc(r->arena, count + 1, sizeof *parts);
    if (parts == NULL)
        return false;
    cql__path p = {at, member, -1};
    for (fhir_elem c = count != 0 ? fhir_each_first(list) : FHIR_ABSENT; fhir_exists(c);
         c = fhir_each_next(list, c)) {
        parts[t->part_count].name = cql__read_string(r, c, "name", &p);
        parts[t->part_count++].library = cql__read_string(r, c, "libraryName", &p);
    }
    t->parts = parts;
    return true;
}

/* Code systems, value sets, codes and concepts have the same parts; ctx is their table. */
static bool read_term(cql__reader *r, fhir_elem e, const cql__path *at, void *ctx)
{
    og_table *table = ctx;
    cql__term *t = og_arena_zalloc(r->arena, 1, sizeof *t);
    if (t == NULL)
        return false;
    t->name = cql__read_string(r, e, "name", at);
    t->id = cql__read_string(r, e, "id", at);
    t->version = cql__read_string(r, e, "version", at);
    t->display = cql__read_string(r, e, "display", at);
    t->is_private = fhir_is(fhir_get(e, "accessLevel"), "Private");
    bool concept = table == &r->library->concepts;
    if (t->id.n == 0 && !concept) {
        cql__read_fail(r, e, at, OG_INVALID, "%.*s has no id", OG_STR_ARG(t->name));
        return false;
    }
    /* A value set may name code systems; membership comes from the terminology alone. */
    if (table != &r->library->valuesets &&
        !read_parts(r, e, concept ? "code" : "codeSystem", t, at))
        return false;
    return put_new(r, e, at, table, t->name, t);
}

/* The growing list of what a library defines. */
typedef struct collected {
    const cql_define **items;
    size_t count, cap;
} collected;

static bool collect(cql__reader *r, collected *c, const cql_define *d)
{
    if (c->count == c->cap) {
        size_t cap = c->cap != 0 ? c->cap * 2 : 32;
        const cql_define **items =
            og_arena_grow(r->arena, (void *)c->items, c->cap * sizeof *items, cap * sizeof *items);
        if (items == NULL)
            return false;
        c->items = items;
        c->cap = cap;
    }
    c->items[c->count++] = d;
    return true;
}

static cql_define *new_define(cql__reader *r, fhir_elem e, cql__define_kind kind,
                              const cql__path *at)
{
    cql_define *d = og_arena_zalloc(r->arena, 1, sizeof *d);
    if (d == NULL)
        return NULL;
    d->kind = (uint8_t)kind;
    d->library = r->library;
    d->name = cql__read_string(r, e, "name", at);
    d->context = cql__read_string(r, e, "context", at);
    d->unfiltered = d->context.n == 0 || og_str_is(d->context, "Unfiltered") ||
                    og_str_is(d->context, "Population");
    d->is_private = fhir_is(fhir_get(e, "accessLevel"), "Private");
    d->place = cql__read_place(r, e);
    return d;
}

static bool read_parameter(cql__reader *r, fhir_elem e, const cql__path *at, void *ctx)
{
    collected *all = ctx;
    cql_define *d = new_define(r, e, CQL__PARAMETER_DEF, at);
    if (d == NULL)
        return false;
    unsigned before = r->errors;
    d->index = r->set->define_count++;
    d->result = cql__read_type_member(r, e, "parameterType", "parameterTypeSpecifier", at);
    d->body = cql__read_member(r, e, "default", false, at);
    return r->errors == before && put_new(r, e, at, &r->library->parameters, d->name, d) &&
           collect(r, all, d);
}

static bool read_operand_defs(cql__reader *r, fhir_elem e, cql_define *d, const cql__path *at)
{
    fhir_elem list = fhir_get(e, "operand");
    uint32_t count = fhir_kind_of(list) == FHIR_ARRAY ? fhir_length(list) : fhir_exists(list);
    og_str *names = og_arena_zalloc(r->arena, count + 1, sizeof *names);
    const cql__type **types = og_arena_zalloc(r->arena, count + 1, sizeof *types);
    if (names == NULL || types == NULL)
        return false;
    bool ok = true;
    uint32_t i = 0;
    for (fhir_elem c = count != 0 ? fhir_each_first(list) : FHIR_ABSENT; fhir_exists(c);
         c = fhir_each_next(list, c), i++) {
        cql__path p = {at, "operand", (int32_t)i};
        unsigned before = r->errors;
        names[i] = cql__read_string(r, c, "name", &p);
        types[i] = cql__read_type_member(r, c, "operandType", "operandTypeSpecifier", &p);
        if (types[i] == NULL && r->errors == before)
            cql__read_fail(r, c, &p, OG_INVALID, "operand without a type");
        ok &= types[i] != NULL;
    }
    d->operand_names = names;
    d->operand_types = types;
    d->operand_count = count;
    return ok;
}

static bool read_function(cql__reader *r, fhir_elem e, cql_define *d, collected *all,
                          const cql__path *at)
{
    unsigned before = r->errors;
    d->external = cql__read_bool(r, e, "external", false, at);
    d->fluent = cql__read_bool(r, e, "fluent", false, at);
    if (!read_operand_defs(r, e, d, at))
        return false;
    d->result = cql__read_type_member(r, e, "resultTypeName", "resultTypeSpecifier", at);
    if (d->external) {
        d->native = og_str_is(r->library->name, "FHIRHelpers") ? cql_helpers_find(d->name) : NULL;
    } else {
        d->body = cql__read_member(r, e, "expression", true, at);
        d->native = cql__known_native(r->library, d->name, fhir_get(e, "expression"));
    }
    if (r->errors != before)
        return false;
    if (d->name.n == 0) {
        cql__read_fail(r, e, at, OG_INVALID, "function without a name");
        return false;
    }
    cql_define *first = og_table_get(&r->library->functions, d->name);
    if (first == NULL)
        return og_table_put(&r->library->functions, d->name, d) && collect(r, all, d);
    while (first->overload != NULL)
        first = first->overload;
    first->overload = d;
    return collect(r, all, d);
}

static bool read_statement(cql__reader *r, fhir_elem e, const cql__path *at, void *ctx)
{
    collected *all = ctx;
    if (fhir_is(fhir_get(e, "type"), "FunctionDef")) {
        cql_define *f = new_define(r, e, CQL__FUNCTION_DEF, at);
        return f != NULL && read_function(r, e, f, all, at);
    }
    cql_define *d = new_define(r, e, CQL__EXPRESSION_DEF, at);
    if (d == NULL)
        return false;
    d->index = r->set->define_count++;
    d->body = cql__read_member(r, e, "expression", true, at);
    if (d->body != NULL && d->place.line == 0)
        d->place = d->body->place;
    return d->body != NULL && put_new(r, e, at, &r->library->expressions, d->name, d) &&
           collect(r, all, d);
}

/* ---- the library ---- */

static bool before(const cql_define *a, const cql_define *b)
{
    return a->place.line != b->place.line ? a->place.line < b->place.line
                                          : a->place.column < b->place.column;
}

/* Picks the expressions and the parameters out of all definitions. Translators write a definition
 * when it is first needed; the locators know the order of the source. Insertion keeps what has no
 * locator where it is. */
static bool arrange(cql__reader *r, const collected *all)
{
    cql_library *lib = r->library;
    lib->all = all->items;
    lib->all_count = all->count;
    lib->defines = og_arena_zalloc(r->arena, all->count + 1, sizeof *lib->defines);
    lib->parameter_list = og_arena_zalloc(r->arena, all->count + 1, sizeof *lib->parameter_list);
    if (lib->defines == NULL || lib->parameter_list == NULL)
        return false;
    for (size_t i = 0; i < all->count; i++) {
        const cql_define *d = all->items[i];
        if (d->kind == CQL__PARAMETER_DEF)
            lib->parameter_list[lib->parameter_count++] = d;
        if (d->kind != CQL__EXPRESSION_DEF)
            continue;
        size_t at = lib->define_count++;
        for (; at > 0 && before(d, lib->defines[at - 1]); at--)
            lib->defines[at] = lib->defines[at - 1];
        lib->defines[at] = d;
    }
    return true;
}

static void init_tables(cql_library *lib, og_arena *a)
{
    og_table *const tables[] = {&lib->includes,   &lib->expressions, &lib->functions,
                                &lib->parameters, &lib->codesystems, &lib->valuesets,
                                &lib->codes,      &lib->concepts};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        og_table_init(tables[i], a);
}

static bool read_library(cql__reader *r, fhir_elem e, const cql__path *at)
{
    collected all = {0};
    cql_library *lib = r->library;
    fhir_elem id = fhir_get(e, "identifier");
    cql__path p = {at, "identifier", -1};
    lib->name = cql__read_string(r, id, "id", &p);
    lib->system = cql__read_string(r, id, "system", &p);
    lib->version = cql__read_string(r, id, "version", &p);
    if (fhir_kind_of(e) != FHIR_OBJECT || lib->name.n == 0)
        cql__read_fail(r, e, &p, OG_INVALID, "library without an identifier");
    init_tables(lib, r->arena);

    if (!each_def(r, e, "usings", read_using, NULL, at))
        return false; /* every type of another model would be an error of its own */
    (void)each_def(r, e, "includes", read_include, NULL, at);
    (void)each_def(r, e, "codeSystems", read_term, &lib->codesystems, at);
    (void)each_def(r, e, "valueSets", read_term, &lib->valuesets, at);
    (void)each_def(r, e, "codes", read_term, &lib->codes, at);
    (void)each_def(r, e, "concepts", read_term, &lib->concepts, at);
    (void)each_def(r, e, "parameters", read_parameter, &all, at);
    (void)each_def(r, e, "statements", read_statement, &all, at);
    return r->errors == 0 && arrange(r, &all);
}

/* Translation errors travel inside the ELM as annotations; such a library must not run. */
static void refuse_translation_errors(cql__reader *r, fhir_elem library, const cql__path *at)
{
    fhir_elem list = fhir_get(library, "annotation");
    int32_t i = 0;
    for (fhir_elem c = fhir_each_first(list); fhir_exists(c); c = fhir_each_next(list, c), i++) {
        cql__path p = {at, "annotation", i};
        if (!fhir_is(fhir_get(c, "errorSeverity"), "error"))
            continue;
        og_str text = fhir_string(r->scratch, fhir_get(c, "message"));
        cql__read_fail(r, c, &p, OG_INVALID, "the translator reported: %.*s", OG_STR_ARG(text));
    }
}

static bool add_to_set(cql__reader *r, fhir_elem e)
{
    cql_set *set = r->set;
    cql_library *lib = r->library;
    for (size_t i = 0; i < set->count; i++) {
        const cql_library *other = set->libraries[i];
        if (og_str_eq(other->name, lib->name) && og_str_eq(other->system, lib->system) &&
            og_str_eq(other->version, lib->version)) {
            cql__read_fail(r, e, NULL, OG_INVALID, "library %.*s version '%.*s' is already in %s",
                           OG_STR_ARG(lib->name), OG_STR_ARG(lib->version), other->origin);
            return false;
        }
    }
    if (set->count == set->cap) {
        size_t cap = set->cap != 0 ? set->cap * 2 : 16;
        cql_library **l =
            og_arena_grow(set->arena, set->libraries, set->cap * sizeof(cql_library *),
                          cap * sizeof(cql_library *));
        if (l == NULL)
            return false;
        set->libraries = l;
        set->cap = cap;
    }
    set->libraries[set->count++] = lib;
    return true;
}

static void read_elm(cql__reader *r, fhir_elem e, const cql__path *at)
{
    r->library = og_arena_zalloc(r->arena, 1, sizeof *r->library);
    if (r->library == NULL)
        return;
    r->library->set = r->set;
    r->library->origin = cql__intern(r->set, og_str_of(r->origin)).p;
    refuse_translation_errors(r, e, at);
    if (read_library(r, e, at))
        (void)add_to_set(r, e);
}

/* ---- FHIR Library resources ---- */

/* RFC 4648, white space skipped. False on any other character or a wrong length. */
static bool base64_decode(og_arena *a, og_str s, og_str *ret)
{
    char *out = og_arena_alloc(a, s.n / 4 * 3 + 4);
    size_t n = 0;
    uint32_t bits = 0;
    int have = 0, pad = 0;
    if (out == NULL)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        int v = -1;
        if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
            continue;
        if (c >= 'A' && c <= 'Z')
            v = c - 'A';
        else if (c >= 'a' && c <= 'z')
            v = c - 'a' + 26;
        else if (c >= '0' && c <= '9')
            v = c - '0' + 52;
        else if (c == '+' || c == '/')
            v = c == '+' ? 62 : 63;
        else if (c != '=')
            return false;
        if (v < 0)
            pad++;
        else if (pad != 0)
            return false;
        bits = bits << 6 | (uint32_t)(v < 0 ? 0 : v);
        if (++have < 4)
            continue;
        if (pad > 2)
            return false;
        for (int k = 0; k < 3 - pad; k++)
            out[n++] = (char)(bits >> (16 - 8 * k));
        bits = 0;
        have = 0;
    }
    *ret = (og_str){out, n};
    return have == 0;
}

static bool decode(cql__reader *r, og_str text, fhir_doc *doc, const cql__path *at)
{
    og_error err;
    og_error_init(&err);
    og_status status = fhir_decode(r->scratch, text, &elm_limits, doc, &err);
    if (status == OG_OK)
        return true;
    uint32_t line = 1, column = 1;
    og_text_place(text, err.byte > 0 ? (size_t)err.byte : 0, &line, &column);
    og_error_origin(&err, r->origin);
    og_error_at(&err, line, column);
    if (at != NULL)
        og_error_path(&err, at->name);
    r->errors++;
    if (r->status == OG_OK)
        r->status = status;
    og_report_add(r->report, &err);
    return false;
}

static void read_fhir_library(cql__reader *r, fhir_elem e)
{
    fhir_elem content = fhir_get(e, "content");
    int32_t i = 0;
    for (fhir_elem c = fhir_each_first(content); fhir_exists(c);
         c = fhir_each_next(content, c), i++) {
        cql__path p = {NULL, "content", i}, q = {&p, "data", -1};
        og_str type = fhir_string(r->scratch, fhir_get(c, "contentType"));
        if (!og_str_starts(type, OG_STR("application/elm+json")))
            continue;
        og_str elm;
        fhir_doc *doc = og_arena_alloc(r->scratch, sizeof *doc);
        fhir_elem data = fhir_get(c, "data");
        if (!base64_decode(r->scratch, fhir_string(r->scratch, data), &elm)) {
            cql__read_fail(r, c, &q, OG_INVALID, "data is not base64");
            return;
        }
        if (doc == NULL || !decode(r, elm, doc, &p))
            return;
        cql__path lib = {&q, "library", -1};
        read_elm(r, fhir_get(fhir_root(doc), "library"), &lib);
        return;
    }
    cql__read_fail(r, e, NULL, OG_UNSUPPORTED,
                   "this FHIR Library has no content of type application/elm+json");
}

og_status cql_set_add(cql_set *set, og_str text, const char *origin, og_report *report)
{
    fhir_doc doc;
    cql__reader r = {.set = set,
                     .arena = set->arena,
                     .scratch = og_arena_new(SCRATCH_LIMIT),
                     .origin = origin != NULL ? origin : "",
                     .report = report};
    if (set->linked) {
        cql__read_fail(&r, FHIR_ABSENT, NULL, OG_INTERNAL, "the set is linked already");
        goto out;
    }
    if (r.scratch == NULL || !decode(&r, text, &doc, NULL))
        goto out;
    fhir_elem root = fhir_root(&doc);
    if (fhir_exists(fhir_get(root, "library"))) {
        cql__path p = {NULL, "library", -1};
        read_elm(&r, fhir_get(root, "library"), &p);
    } else if (fhir_is(fhir_get(root, "resourceType"), "Library")) {
        read_fhir_library(&r, root);
    } else {
        cql__read_fail(&r, root, NULL, OG_INVALID,
                       "neither ELM (no `library`) nor a FHIR Library resource");
    }
out:
    if (r.status == OG_OK &&
        (r.scratch == NULL || og_arena_failed(r.scratch) || og_arena_failed(set->arena)))
        cql__read_fail(&r, FHIR_ABSENT, NULL, OG_NOMEM, "out of memory");
    og_arena_free(r.scratch);
    set->errors += r.errors;
    return r.status;
}

/* ---- looking up ---- */

/* Versions by their numbers: 2.10.0 is higher than 2.9.1. */
static int version_compare(og_str a, og_str b)
{
    size_t i = 0, j = 0;
    while (i < a.n || j < b.n) {
        uint64_t x = 0, y = 0;
        size_t si = i, sj = j;
        while (i < a.n && a.p[i] >= '0' && a.p[i] <= '9' && i - si < 18)
            x = x * 10 + (uint64_t)(a.p[i++] - '0');
        while (j < b.n && b.p[j] >= '0' && b.p[j] <= '9' && j - sj < 18)
            y = y * 10 + (uint64_t)(b.p[j++] - '0');
        if (x != y)
            return x < y ? -1 : 1;
        if (i == si && j == sj && i < a.n && j < b.n && a.p[i] != b.p[j])
            return (unsigned char)a.p[i] < (unsigned char)b.p[j] ? -1 : 1;
        if (i < a.n)
            i++;
        if (j < b.n)
            j++;
    }
    return 0;
}

cql_library *cql__find_library(const cql_set *set, og_str path, og_str version)
{
    cql_library *best = NULL;
    for (size_t i = 0; i < set->count; i++) {
        cql_library *lib = set->libraries[i];
        size_t n = lib->system.n;
        bool qualified = n != 0 && path.n == n + 1 + lib->name.n && path.p[n] == '/' &&
                         og_str_starts(path, lib->system) &&
                         og_str_eq(og_str_from(path, n + 1), lib->name);
        if (!qualified && !og_str_eq(path, lib->name))
            continue;
        if (version.n != 0) {
            if (og_str_eq(version, lib->version))
                return lib;
            continue;
        }
        if (best == NULL || version_compare(best->version, lib->version) < 0)
            best = lib;
    }
    return best;
}

const cql_library *cql_set_find(const cql_set *set, og_str name, og_str version)
{
    return cql__find_library(set, name, version);
}

size_t cql_set_count(const cql_set *set)
{
    return set->count;
}

const cql_library *cql_set_at(const cql_set *set, size_t i)
{
    return i < set->count ? set->libraries[i] : NULL;
}

og_str cql_library_name(const cql_library *lib)
{
    return lib->name;
}

og_str cql_library_version(const cql_library *lib)
{
    return lib->version;
}

size_t cql_library_define_count(const cql_library *lib)
{
    return lib->define_count;
}

const cql_define *cql_library_define_at(const cql_library *lib, size_t i)
{
    return i < lib->define_count ? lib->defines[i] : NULL;
}

const cql_define *cql_library_define(const cql_library *lib, og_str name)
{
    return og_table_get(&lib->expressions, name);
}

size_t cql_library_include_count(const cql_library *lib)
{
    return lib->includes.count;
}

void cql_library_include_at(const cql_library *lib, size_t i, og_str *ret_path, og_str *ret_version)
{
    const cql__include *inc = lib->includes.entries[i].value;
    *ret_path = inc->path;
    *ret_version = inc->version;
}

og_str cql_define_name(const cql_define *d)
{
    return d->name;
}

const cql_library *cql_define_library(const cql_define *d)
{
    return d->library;
}

size_t cql_library_parameter_count(const cql_library *lib)
{
    return lib->parameter_count;
}

og_str cql_library_parameter_at(const cql_library *lib, size_t i)
{
    return i < lib->parameter_count ? lib->parameter_list[i]->name : (og_str){NULL, 0};
}
