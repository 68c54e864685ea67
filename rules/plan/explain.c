/* Why a rule fired or not: the values of its expressions, what they came out of, and the resources
 * that they rest on, as JSON for people.
 *
 * What cql_explain tells of a define is everything; a person follows the names. So of a condition
 * stand here the definitions that it mentions, with their values, of each of them likewise, down to
 * MAX_LEVEL; and the tests between them, for a comparison of two definitions is a reason of its
 * own. A definition that has neither shows the steps that its value was made of. What belongs to
 * the single rows of a query is left out: one row's value would explain nothing. */
#include "rules/plan/plan_private.h"

#include <stdlib.h>

#define MAX_TEXT  2000 /* bytes of a value */
#define MAX_LEVEL 4    /* definitions below a condition */
#define MAX_STEPS 3    /* shown of a definition without names and tests */

typedef struct why {
    plan__eval *eval;
    og_arena *arena;
    plan__json *values;
    plan__json *resources;
    og_table seen; /* references among the resources */
    og_table told; /* definitions whose parts stand in this rule's explanation already */
} why;

static og_str literal(og_arena *a, cql_value v)
{
    og_buf b;
    og_str text;

    og_buf_init(&b, (size_t)16 << 20);
    cql_value_format(&b, v);
    text = og_buf_failed(&b) ? OG_STR("(too long)") : og_buf_str(&b);
    if (text.n > MAX_TEXT) {
        size_t n = MAX_TEXT;
        while (n > 0 && ((unsigned char)text.p[n] & 0xC0) == 0x80)
            n--;
        text = og_arena_printf(a, "%.*s\xe2\x80\xa6", (int)n, text.p);
    } else {
        text = og_arena_str(a, text);
    }
    og_buf_done(&b);
    return text;
}

/* ---- parts ---- */

static bool is_boolean(const plan__part *p)
{
    return og_str_is(p->value, "true") || og_str_is(p->value, "false");
}

static bool encloses(const plan__part *a, const plan__part *b)
{
    bool from = a->line < b->line || (a->line == b->line && a->column <= b->column);
    bool to =
        a->end_line > b->end_line || (a->end_line == b->end_line && a->end_column >= b->end_column);
    return from && to;
}

static bool read_part(og_arena *a, fhir_elem e, plan__part *ret)
{
    char place[64];

    ret->place = fhir_string(a, fhir_get(e, "place"));
    ret->name = fhir_string(a, fhir_get(e, "name"));
    ret->library = fhir_string(a, fhir_get(e, "library"));
    ret->value = fhir_string(a, fhir_get(e, "value"));
    ret->row = fhir_exists(fhir_get(e, "row"));
    ret->uses = fhir_get(e, "uses");
    ret->is_ref = ret->library.n != 0;
    snprintf(place, sizeof place, "%.*s", OG_STR_ARG(ret->place));
    return sscanf(place, "%u:%u-%u:%u", &ret->line, &ret->column, &ret->end_line,
                  &ret->end_column) == 4;
}

static plan__part *read_parts(og_arena *a, fhir_elem list, size_t *ret_count)
{
    plan__part *parts = og_arena_zalloc(a, fhir_length(list) + 1, sizeof *parts);
    size_t n = 0;

    for (fhir_elem e = fhir_first(list); parts != NULL && fhir_exists(e); e = fhir_next(list, e))
        if (read_part(a, e, &parts[n]))
            n++;
    *ret_count = n;
    return parts;
}

static const plan__parts *explain_define(plan__eval *e, const cql_define *d)
{
    plan__parts *p = og_arena_zalloc(e->arena, 1, sizeof *p);
    fhir_doc *doc = og_arena_zalloc(e->arena, 1, sizeof *doc);
    og_buf b;

    if (p == NULL || doc == NULL)
        return NULL;
    og_buf_init(&b, (size_t)16 << 20);
    if (cql_explain(e->run, d, &b, NULL) == OG_OK &&
        fhir_decode(e->arena, og_arena_str(e->arena, og_buf_str(&b)), NULL, doc, NULL) == OG_OK) {
        p->place = fhir_string(e->arena, fhir_get(fhir_root(doc), "place"));
        p->list = read_parts(e->arena, fhir_get(fhir_root(doc), "parts"), &p->count);
    }
    og_buf_done(&b);
    return p;
}

const plan__parts *plan__parts_of(plan__eval *e, const cql_define *d)
{
    static const plan__parts none;
    og_str key = og_arena_printf(e->arena, "%p", (const void *)d);
    const plan__parts *p = og_table_get(&e->parts, key);

    if (p == NULL) {
        p = explain_define(e, d);
        if (p != NULL)
            og_table_put(&e->parts, key, (void *)p);
    }
    return p != NULL ? p : &none;
}

/* A test with no other test or Boolean definition inside: and, or and not say nothing that their
 * operands do not. */
static bool is_test(const plan__part *parts, size_t count, size_t i)
{
    if (!is_boolean(&parts[i]))
        return false;
    for (size_t k = i + 1; k < count && encloses(&parts[i], &parts[k]); k++)
        if (!parts[k].row && is_boolean(&parts[k]))
            return false;
    return true;
}

/* The library of the set that this library means by a name. */
static const cql_library *library_named(const plan__eval *e, const cql_library *from, og_str name)
{
    if (og_str_eq(cql_library_name(from), name))
        return from;
    for (size_t i = 0; i < cql_library_include_count(from); i++) {
        og_str path, version;
        cql_library_include_at(from, i, &path, &version);
        const cql_library *lib = cql_set_find(e->content->cql, path, version);
        if (lib != NULL && og_str_eq(cql_library_name(lib), name))
            return lib;
    }
    return NULL;
}

static void add_parts(why *w, const cql_define *d, unsigned level, plan__json *ret);

/* Whether a definition is to stand here: not the context's own, nor one that stands here already.
 */
static bool is_news(const plan__part *parts, size_t i)
{
    if (!parts[i].is_ref || og_str_is(parts[i].name, "Patient"))
        return false;
    for (size_t k = 0; k < i; k++)
        if (!parts[k].row && parts[k].is_ref && og_str_eq(parts[k].name, parts[i].name) &&
            og_str_eq(parts[k].library, parts[i].library))
            return false;
    return true;
}

static plan__json *add_part(why *w, const plan__part *p, plan__json *list)
{
    plan__json *j = plan__json_object(w->arena);

    if (p->name.n != 0)
        plan__json_set_string(w->arena, j, "name", p->name);
    if (p->is_ref)
        plan__json_set_string(w->arena, j, "library", p->library);
    plan__json_set_string(w->arena, j, "place", p->place);
    plan__json_set_string(w->arena, j, "value", p->value);
    plan__json_add(list, j);
    return j;
}

/* A definition with its own parts. What is no yes or no uses up two levels: how a list came about
 * is asked less often than why something holds. */
static void add_definition(why *w, const cql_define *in, const plan__part *p, unsigned level,
                           plan__json *list)
{
    plan__json *j = add_part(w, p, list);
    const cql_library *lib = library_named(w->eval, cql_define_library(in), p->library);
    const cql_define *d = lib != NULL ? cql_library_define(lib, p->name) : NULL;

    if (d != NULL)
        add_parts(w, d, level + (is_boolean(p) ? 1 : 2), j);
}

static size_t end_of(const plan__part *parts, size_t count, size_t i)
{
    size_t k = i + 1;
    while (k < count && encloses(&parts[i], &parts[k]))
        k++;
    return k;
}

/* Definitions and tests among parts from..to; within a test stand the definitions it compares. */
static void choose_reasons(why *w, const cql_define *d, unsigned level, const plan__part *parts,
                           size_t from, size_t to, plan__json *list)
{
    for (size_t i = from; i < to; i++) {
        if (parts[i].row)
            continue;
        if (is_news(parts, i))
            add_definition(w, d, &parts[i], level, list);
        if (parts[i].is_ref || !is_test(parts, to, i))
            continue;
        plan__json *inside = plan__json_array(w->arena);
        size_t end = end_of(parts, to, i);
        plan__json *j = add_part(w, &parts[i], list);
        choose_reasons(w, d, level, parts, i + 1, end, inside);
        plan__json_set(j, OG_STR("parts"), inside);
        i = end - 1;
    }
}

/* The outermost sub-expressions. */
static void choose_steps(why *w, const plan__part *parts, size_t count, plan__json *list)
{
    size_t begin = count > 1 && end_of(parts, count, 0) == count ? 1 : 0; /* not the whole */
    size_t shown = 0;

    for (size_t i = begin; i < count && shown < MAX_STEPS; i = end_of(parts, count, i)) {
        if (parts[i].row || parts[i].is_ref)
            continue;
        add_part(w, &parts[i], list);
        shown++;
    }
}

/* Sets place and parts of a definition in ret; parts only the first time. */
static void add_parts(why *w, const cql_define *d, unsigned level, plan__json *ret)
{
    plan__json *list = plan__json_array(w->arena);
    og_str key = og_arena_printf(w->arena, "%p", (const void *)d);

    if (level > MAX_LEVEL || key.p == NULL || og_table_get(&w->told, key) != NULL ||
        !og_table_put(&w->told, key, list))
        return;
    const plan__parts *p = plan__parts_of(w->eval, d);
    choose_reasons(w, d, level, p->list, 0, p->count, list);
    if (plan__json_length(list) == 0)
        choose_steps(w, p->list, p->count, list);
    if (level == 0)
        plan__json_set_string(w->arena, ret, "place", p->place);
    plan__json_set(ret, OG_STR("parts"), list);
}

/* ---- expressions of a rule ---- */

static void add_sources(why *w, const plan__expr *x)
{
    const fhir_resource *const *sources;
    size_t count = cql_run_sources(w->eval->run, x->define, &sources);

    for (size_t i = 0; i < count; i++) {
        og_str ref = og_arena_printf(w->arena, "%.*s/%.*s", OG_STR_ARG(sources[i]->type),
                                     OG_STR_ARG(sources[i]->id));
        if (sources[i]->id.n == 0 || ref.p == NULL || og_table_get(&w->seen, ref) != NULL)
            continue;
        if (og_table_put(&w->seen, ref, w->resources))
            plan__json_add(w->resources, plan__json_string(w->arena, ref));
    }
}

static plan__json *add_value(why *w, const char *role, const plan__expr *x)
{
    og_error err;
    cql_value v;
    plan__json *j = plan__json_object(w->arena);

    if (x->define == NULL)
        return NULL;
    og_error_init(&err);
    plan__json_set_string(w->arena, j, "role", og_str_of(role));
    plan__json_set_string(w->arena, j, "library", cql_library_name(x->library));
    plan__json_set_string(w->arena, j, "expression", cql_define_name(x->define));
    if (cql_run_define(w->eval->run, x->define, &v, &err) == OG_OK) {
        plan__json_set_string(w->arena, j, "value", literal(w->arena, v));
        add_sources(w, x);
    } else {
        plan__json_set_string(w->arena, j, "error", og_arena_str(w->arena, og_str_of(err.text)));
    }
    plan__json_add(w->values, j);
    return j;
}

/* Conditions always; the texts only where they were asked for. */
og_str plan__explain_rule(plan__eval *e, const plan__rule *r, const plan_outcome *o)
{
    why w = {.eval = e, .arena = e->arena};
    plan__json *j = plan__json_object(e->arena);

    w.values = plan__json_array(e->arena);
    w.resources = plan__json_array(e->arena);
    og_table_init(&w.seen, e->arena);
    og_table_init(&w.told, e->arena);
    for (size_t i = 0; o->kind != PLAN_GATED && i < r->condition_count; i++) {
        plan__json *value = add_value(&w, "condition", &r->conditions[i]);
        if (value != NULL)
            add_parts(&w, r->conditions[i].define, 0, value);
    }
    if (o->kind != PLAN_GATED)
        add_value(&w, "next-review", &r->next_review);
    if (o->kind != PLAN_NOT_FIRED && o->kind != PLAN_GATED) {
        add_value(&w, "slot", &r->slot);
        add_value(&w, "summary", &r->dynamic_summary);
        add_value(&w, "indicator", &r->dynamic_indicator);
        add_value(&w, "evidence", &r->evidence);
    }
    plan__json_set_string(e->arena, j, "title", r->title);
    plan__json_set_string(e->arena, j, "because", plan__because(e, r, o));
    plan__json_set(j, OG_STR("conditions"),
                   plan__json_raw(e->arena, plan__conditions_json(e, r, o)));
    plan__json_set(j, OG_STR("expressions"), w.values);
    plan__json_set(j, OG_STR("resources"), w.resources);
    return plan__json_text(e->arena, j);
}
