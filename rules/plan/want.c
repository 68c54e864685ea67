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

static plan__filter *filter_of(plan_content *c, plan__want *w, og_str path)
{
    for (plan__filter *f = w->filters; f != NULL; f = f->next)
        if (og_str_eq(f->path, path))
            return f;
    plan__filter *f = og_arena_zalloc(c->arena, 1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->path = path;
    f->next = w->filters;
    w->filters = f;
    return f;
}

static bool add_part(plan_content *c, plan__filter *f, const cql_requirement *q)
{
    if (f == NULL)
        return false;
    for (size_t i = 0; i < f->part_count; i++) /* most expressions read the same */
        if (q->valueset != NULL && f->parts[i]->valueset == q->valueset)
            return true;
    if (f->part_count == f->part_cap) {
        size_t cap = f->part_cap != 0 ? f->part_cap * 2 : 8;
        void *grown = og_arena_grow(c->arena, f->parts, f->part_cap * sizeof *f->parts,
                                    cap * sizeof *f->parts);
        if (grown == NULL)
            return false;
        f->parts = grown;
        f->part_cap = cap;
    }
    f->parts[f->part_count++] = q;
    return true;
}

static bool add_requirements(plan_content *c, const plan__expr *x)
{
    const cql_requirement *list;
    size_t count = cql_requirements(x->library, x->define, &list);

    for (size_t i = 0; i < count; i++) {
        if (!fhir_type_is_concrete_resource(fhir_type_of(list[i].type)))
            c->wants_whatever = true;
        plan__want *w = want_of(c, list[i].type);
        if (w == NULL)
            return false;
        if (list[i].code_path.n == 0 || (list[i].valueset == NULL && list[i].code_count == 0))
            w->all = true;
        else if (!add_part(c, filter_of(c, w, list[i].code_path), &list[i]))
            return false;
    }
    return true;
}

static void add_code(og_buf *b, og_str system, og_str code)
{
    if (system.n == 0 || code.n == 0)
        return; /* a bare code matches nothing */
    og_buf_addz(b, og_str_ends(og_buf_str(b), OG_STR("[")) ? "{\"system\":" : ",{\"system\":");
    og_buf_add_json(b, system);
    og_buf_addz(b, ",\"concept\":[{\"code\":");
    og_buf_add_json(b, code);
    og_buf_addz(b, "}]}");
}

static size_t code_count(const plan__filter *f)
{
    size_t n = 0;
    for (size_t i = 0; i < f->part_count; i++)
        n += f->parts[i]->code_count +
             (f->parts[i]->valueset != NULL ? fhir_valueset_count(f->parts[i]->valueset) : 0);
    return n;
}

/* A ValueSet of all codes of a filter, so that terminology's own idea of equal codes decides. */
static og_status add_value_set(plan_content *c, og_str url, const plan__filter *f, og_arena *a)
{
    og_buf b;
    fhir_doc doc;
    og_status s = OG_NOMEM;

    if (code_count(f) == 0)
        return OG_OK;
    og_buf_init(&b, (size_t)200 << 20);
    og_buf_addz(&b, "{\"resourceType\":\"ValueSet\",\"status\":\"active\",\"url\":");
    og_buf_add_json(&b, url);
    og_buf_addz(&b, ",\"compose\":{\"include\":[");
    for (size_t i = 0; i < f->part_count && !og_buf_failed(&b); i++) {
        const cql_requirement *q = f->parts[i];
        og_str system, code, display;
        for (size_t k = 0; q->valueset != NULL && k < fhir_valueset_count(q->valueset); k++) {
            fhir_valueset_code(q->valueset, k, &system, &code, &display);
            add_code(&b, system, code);
        }
        for (size_t k = 0; k < q->code_count; k++)
            add_code(&b, q->codes[k].system, q->codes[k].code);
    }
    og_buf_addz(&b, "]}}");
    fhir_limits limits = {.max_bytes = (256u << 20) - 1, .max_depth = 16};
    if (!og_buf_failed(&b))
        s = fhir_decode(a, og_buf_str(&b), &limits, &doc, NULL);
    if (s == OG_OK)
        s = fhir_terminology_add(c->want_terms, fhir_root(&doc), "", NULL);
    og_buf_done(&b);
    return s;
}

static og_str url_of(plan_content *c, const plan__want *w, const plan__filter *f)
{
    return og_arena_printf(c->arena, "urn:osteoguard:wanted:%.*s:%.*s", OG_STR_ARG(w->type),
                           OG_STR_ARG(f->path));
}

/* A type that is read without filter as well needs none. */
static og_status build_filters(plan_content *c)
{
    og_arena *a = og_arena_new((size_t)1 << 30);
    og_status s = a != NULL ? OG_OK : OG_NOMEM;

    for (uint32_t i = 0; i < c->wants.count && s == OG_OK; i++) {
        const plan__want *w = c->wants.entries[i].value;
        for (const plan__filter *f = w->filters; !w->all && f != NULL && s == OG_OK; f = f->next)
            s = add_value_set(c, url_of(c, w, f), f, a);
    }
    if (s == OG_OK)
        s = fhir_terminology_link(c->want_terms, NULL);
    for (uint32_t i = 0; i < c->wants.count && s == OG_OK; i++) {
        const plan__want *w = c->wants.entries[i].value;
        for (plan__filter *f = w->filters; !w->all && f != NULL; f = f->next)
            f->codes = fhir_valueset_find(c->want_terms, url_of(c, w, f), (og_str){0});
    }
    og_arena_free(a);
    return s;
}

bool plan__wants_build(plan_content *c, og_error *err)
{
    og_table_init(&c->wants, c->arena);
    c->want_terms = fhir_terminology_new();
    bool good = c->want_terms != NULL;
    for (size_t i = 0; i < c->rule_count; i++)
        for (size_t k = 0; k < c->rules[i].all_count; k++)
            good = good && add_requirements(c, &c->rules[i].all[k]);
    if (!good || build_filters(c) != OG_OK)
        og_fail(err, OG_NOMEM, "no memory for the data requirements");
    return err->status == OG_OK;
}

typedef struct judgement {
    const plan_content *c;
    og_arena *a;
    plan__asks *asks;
    void *ctx;
} judgement;

static plan__verdict judge_coding(const judgement *j, fhir_elem coding)
{
    og_str system = fhir_string(j->a, fhir_get(coding, "system"));
    og_str code = fhir_string(j->a, fhir_get(coding, "code")), to_system, to_code;

    if (system.n == 0 || code.n == 0)
        return PLAN__NOTHING;
    fhir_code_key key = fhir_code_key_of(system, code);
    bool asked = j->asks(j->ctx, &key);
    if (j->c->translates && fhir_translate(j->c->terms, system, code, &to_system, &to_code)) {
        key = fhir_code_key_of(to_system, to_code);
        asked |= j->asks(j->ctx, &key);
    }
    return asked ? PLAN__ASKED_FOR : PLAN__OTHER;
}

/* A CodeableConcept, a Coding, or something that cannot be judged (a code, a Reference). */
static plan__verdict judge_concept(const judgement *j, fhir_elem e)
{
    fhir_elem codings = fhir_get(e, "coding");
    plan__verdict v = PLAN__NOTHING;

    if (!fhir_exists(codings))
        return judge_coding(j, e);
    for (fhir_elem x = fhir_each_first(codings); fhir_exists(x); x = fhir_each_next(codings, x)) {
        plan__verdict one = judge_coding(j, x);
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

/* Everything that a path leads to, through lists. What lies on the way and is absent cannot be
 * asked for; where the path ends, a missing code cannot be judged. */
static plan__verdict judge_at(const judgement *j, fhir_elem e, og_str path)
{
    ptrdiff_t dot = og_str_find(path, '.');
    og_str step = dot < 0 ? path : (og_str){path.p, (size_t)dot};
    fhir_elem at = element_of(e, step);
    plan__verdict v = dot < 0 || fhir_exists(at) ? PLAN__NOTHING : PLAN__OTHER;

    for (fhir_elem x = fhir_each_first(at); fhir_exists(x); x = fhir_each_next(at, x)) {
        plan__verdict one =
            dot < 0 ? judge_concept(j, x) : judge_at(j, x, og_str_from(path, (size_t)dot + 1));
        v = one > v ? one : v;
    }
    return v;
}

plan__verdict plan__judge(const plan_content *c, og_arena *a, const fhir_resource *r, og_str path,
                          plan__asks *asks, void *ctx)
{
    judgement j = {c, a, asks, ctx};
    return judge_at(&j, r->root, path);
}

static bool wants_code(void *ctx, const fhir_code_key *key)
{
    const plan__filter *f = ctx;
    return f->codes != NULL && fhir_valueset_has_key(f->codes, key);
}

bool plan_content_wants_type(const plan_content *c, og_str type)
{
    return og_str_is(type, "Patient") || c->wants_whatever || og_table_get(&c->wants, type) != NULL;
}

bool plan_content_wants(const plan_content *c, const fhir_resource *r)
{
    const plan__want *w = og_table_get(&c->wants, r->type);

    if (og_str_is(r->type, "Patient") || c->wants_whatever)
        return true;
    if (w == NULL)
        return false;
    if (w->all)
        return true;
    og_arena *a = og_arena_new((size_t)1 << 20); /* blocks are taken only for escaped codes */
    bool wanted = a == NULL;
    for (plan__filter *f = w->filters; f != NULL && !wanted; f = f->next)
        wanted = plan__judge(c, a, r, f->path, wants_code, f) != PLAN__OTHER;
    og_arena_free(a);
    return wanted;
}
