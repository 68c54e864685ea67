/* What any rule can ever ask for (DESIGN 5.4), from the retrieves of all expressions that rules
 * reach.
 *
 * Judged on the side of keeping: only a resource whose codings are all there, all understood and
 * none of them asked for is let go. Whatever evaluation could read through another way passes. */
#include "rules/plan/plan_private.h"

static plan__want *want_of(plan_content *c, og_str type)
{
    plan__want *w = og_table_get(&c->wants, type);
    if (w != NULL)
        return w;
    w = og_arena_zalloc(c->arena, 1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->type = type;
    return og_table_put(&c->wants, type, w) ? w : NULL;
}

static bool add_filter(plan_content *c, plan__want *w, const cql_requirement *q)
{
    for (size_t i = 0; i < w->filter_count; i++)
        if (w->filters[i] == q)
            return true;
    if (w->filter_count == w->filter_cap) {
        size_t cap = w->filter_cap != 0 ? w->filter_cap * 2 : 8;
        void *grown = og_arena_grow(c->arena, w->filters, w->filter_cap * sizeof *w->filters,
                                    cap * sizeof *w->filters);
        if (grown == NULL)
            return false;
        w->filters = grown;
        w->filter_cap = cap;
    }
    w->filters[w->filter_count++] = q;
    return true;
}

static bool add_requirements(plan_content *c, const plan__expr *x)
{
    const cql_requirement *list;
    size_t count = cql_requirements(x->library, x->define, &list);

    for (size_t i = 0; i < count; i++) {
        plan__want *w = want_of(c, list[i].type);
        if (w == NULL)
            return false;
        if (list[i].code_path.n == 0 || (list[i].valueset == NULL && list[i].code_count == 0))
            w->all = true;
        else if (!add_filter(c, w, &list[i]))
            return false;
    }
    return true;
}

bool plan__wants_build(plan_content *c, og_error *err)
{
    bool good = true;

    og_table_init(&c->wants, c->arena);
    for (size_t i = 0; i < c->rule_count; i++)
        for (size_t k = 0; k < c->rules[i].all_count; k++)
            good = good && add_requirements(c, &c->rules[i].all[k]);
    if (!good)
        og_fail(err, OG_NOMEM, "no memory for the data requirements");
    return good;
}

/* What is known of the codings at one place. */
typedef enum verdict {
    NOTHING, /* no coding that could be judged */
    OTHER,   /* codings, and none is asked for */
    ASKED_FOR
} verdict;

static bool code_asked(const cql_requirement *q, og_str system, og_str code)
{
    if (q->valueset != NULL && fhir_valueset_has(q->valueset, system, code))
        return true;
    for (size_t i = 0; i < q->code_count; i++)
        if (og_str_eq(fhir_system_canonical(q->codes[i].system), fhir_system_canonical(system)) &&
            fhir_code_equal(system, q->codes[i].code, code))
            return true;
    return false;
}

static verdict judge_coding(const plan_content *c, const cql_requirement *q, og_arena *a,
                            fhir_elem coding)
{
    og_str system = fhir_string(a, fhir_get(coding, "system"));
    og_str code = fhir_string(a, fhir_get(coding, "code")), to_system, to_code;

    if (system.n == 0 || code.n == 0)
        return NOTHING;
    if (code_asked(q, system, code))
        return ASKED_FOR;
    if (c->translates && fhir_translate(c->terms, system, code, &to_system, &to_code) &&
        code_asked(q, to_system, to_code))
        return ASKED_FOR;
    return OTHER;
}

/* A CodeableConcept, a Coding, or something that cannot be judged (a code, a Reference). */
static verdict judge_concept(const plan_content *c, const cql_requirement *q, og_arena *a,
                             fhir_elem e)
{
    fhir_elem codings = fhir_get(e, "coding");
    verdict v = NOTHING;

    if (!fhir_exists(codings))
        return judge_coding(c, q, a, e);
    for (fhir_elem x = fhir_each_first(codings); fhir_exists(x); x = fhir_each_next(codings, x)) {
        verdict one = judge_coding(c, q, a, x);
        v = one > v ? one : v;
    }
    return v;
}

/* The element that a filter looks at; a choice is found by its base name. */
static fhir_elem element_of(fhir_elem root, og_str path)
{
    char name[128];
    fhir_elem e = fhir_get_str(root, path);

    og_str type;

    if (fhir_exists(e) || path.n >= sizeof name)
        return e;
    memcpy(name, path.p, path.n);
    name[path.n] = '\0';
    return fhir_choice(root, name, &type);
}

static verdict judge(const plan_content *c, const cql_requirement *q, og_arena *a,
                     const fhir_resource *r)
{
    verdict v = NOTHING;

    /* Below the first level a path goes through lists that this does not walk: keep. */
    if (og_str_find(q->code_path, '.') >= 0)
        return NOTHING;
    fhir_elem at = element_of(r->root, q->code_path);
    for (fhir_elem e = fhir_each_first(at); fhir_exists(e); e = fhir_each_next(at, e)) {
        verdict one = judge_concept(c, q, a, e);
        v = one > v ? one : v;
    }
    return v;
}

bool plan_content_wants_type(const plan_content *c, og_str type)
{
    return og_str_is(type, "Patient") || og_table_get(&c->wants, type) != NULL;
}

bool plan_content_wants(const plan_content *c, const fhir_resource *r)
{
    const plan__want *w = og_table_get(&c->wants, r->type);

    if (og_str_is(r->type, "Patient"))
        return true;
    if (w == NULL)
        return false;
    if (w->all)
        return true;
    og_arena *a = og_arena_new((size_t)1 << 20); /* blocks are taken only for escaped codes */
    bool wanted = a == NULL;
    for (size_t i = 0; i < w->filter_count && !wanted; i++)
        wanted = judge(c, w->filters[i], a, r) != OTHER;
    og_arena_free(a);
    return wanted;
}
