/* Retrieve: the patient's resources of a type, filtered by codes and dates (CQL 1.5 "Retrieve"; ELM
 * Retrieve). The caller hands in one patient's view, so the subject is not looked at again.
 *
 * Resources stand by type from the start of a run. A retrieve whose filters are constants is
 * carried out once per run, however many definitions ask for it. In a value set means system and
 * code, exactly; a code without system matches nothing; a reference where a code is wanted matches
 * nothing. */
#include "rules/cql/run.h"

#include "fhir/model.h"
#include "rules/cql/element.h"
#include "rules/cql/helpers.h"

#define MAX_FILTERS 8

/* The value of a filter, looked at once per retrieve. */
typedef struct wanted {
    const fhir_valueset *set;
    const cql_value *items; /* codes, concepts, strings */
    size_t count;
    const fhir_code_key *keys; /* of the items, and of the codes in concepts; strings have none */
    size_t key_count;
    const cql__codings *codings; /* what there is to match, or NULL: look at the elements */
    const bool *hits;            /* which of its keys are wanted */
    cql_value range;             /* of a date filter */
} wanted;

/* ---- codes ---- */

/* A code or string element has its system in the binding, not in the data: the code alone decides.
 */
static bool bare_code_wanted(const wanted *w, og_str code)
{
    if (w->set != NULL) {
        for (size_t i = 0; i < fhir_valueset_count(w->set); i++) {
            og_str s, c, d;
            fhir_valueset_code(w->set, i, &s, &c, &d);
            if (og_str_eq(c, code))
                return true;
        }
        return false;
    }
    for (size_t i = 0; i < w->count; i++) {
        const cql_value *v = &w->items[i];
        if (v->kind == CQL_CODE && og_str_eq(v->code->code, code))
            return true;
        if (v->kind == CQL_STRING && og_str_eq(cql_str(*v), code))
            return true;
        for (size_t k = 0; v->kind == CQL_CONCEPT && k < v->concept->count; k++)
            if (og_str_eq(v->concept->codes[k].code, code))
                return true;
    }
    return false;
}

static bool key_wanted(const wanted *w, const fhir_code_key *key)
{
    if (w->set != NULL)
        return fhir_valueset_has_key(w->set, key);
    for (size_t i = 0; i < w->key_count; i++)
        if (fhir_code_key_equal(key, &w->keys[i]))
            return true;
    return false;
}

static bool coding_key(cql_run *run, fhir_elem coding, fhir_code_key *ret)
{
    og_str code = fhir_string(run->arena, fhir_get(coding, "code"));
    if (code.n == 0)
        return false;
    *ret = fhir_code_key_of(fhir_string(run->arena, fhir_get(coding, "system")), code);
    return true;
}

static bool coding_wanted(cql_run *run, const wanted *w, fhir_elem coding)
{
    fhir_code_key key;
    return coding_key(run, coding, &key) && key_wanted(w, &key);
}

static bool codes_match(cql_run *run, const wanted *w, cql_value v)
{
    if (v.kind == CQL_LIST) {
        for (size_t i = 0; i < v.list->count; i++)
            if (codes_match(run, w, v.list->items[i]))
                return true;
        return false;
    }
    if (v.kind == CQL_STRING)
        return bare_code_wanted(w, cql_str(v));
    if (v.kind != CQL_ELEMENT)
        return false;
    fhir_elem at = v.element->at;
    if (v.element->type == run->set->codeable_concept) {
        fhir_elem codings = fhir_get(at, "coding");
        for (fhir_elem c = fhir_each_first(codings); fhir_exists(c); c = fhir_each_next(codings, c))
            if (coding_wanted(run, w, c))
                return true;
        return false;
    }
    if (v.element->type == run->set->coding)
        return coding_wanted(run, w, at);
    return fhir_kind_of(at) == FHIR_STRING && bare_code_wanted(w, fhir_string(run->arena, at));
}

/* The same below a path, through lists: component.code. */
static bool codes_match_at(cql_run *run, const wanted *w, cql_value v, const cql__step *steps,
                           uint32_t count)
{
    if (v.kind == CQL_LIST) {
        for (size_t i = 0; i < v.list->count; i++)
            if (codes_match_at(run, w, v.list->items[i], steps, count))
                return true;
        return false;
    }
    if (count == 0)
        return codes_match(run, w, v);
    return codes_match_at(run, w, cql__property(run, v, steps, 1), steps + 1, count - 1);
}

/* ---- dates ---- */

/* dateTime, date, instant as a point; Period as an interval. */
static cql_value when(cql_run *run, cql_value v)
{
    if (v.kind != CQL_ELEMENT)
        return v;
    if (!fhir_type_is(v.element->type, run->set->period))
        return cql_element_value(run->arena, v);
    cql_value interval;
    if (!cql_helpers_call(&run->c, OG_STR("ToInterval"), &v, 1, &interval))
        return CQL_NULL_VALUE;
    return interval;
}

static bool date_matches(cql_run *run, const wanted *w, cql_value v)
{
    if (v.kind == CQL_LIST) {
        for (size_t i = 0; i < v.list->count; i++)
            if (date_matches(run, w, v.list->items[i]))
                return true;
        return false;
    }
    cql_value args[2] = {when(run, v), w->range};
    if (cql_is_null(args[0]) || cql_is_null(args[1]))
        return false;
    run->c.precision = 0;
    run->c.weeks = false;
    cql_value in = args[0].kind == CQL_INTERVAL ? cql_op_IncludedIn(&run->c, args, 2)
                                                : cql_op_In(&run->c, args, 2);
    return in.kind == CQL_BOOLEAN && in.boolean;
}

/* ---- filters ---- */

static bool other_matches(cql_run *run, const cql__filter *f, cql_value v, cql_value value)
{
    static const struct {
        const char *comparator;
        cql_op op;
    } ops[] = {{"=", cql_op_Equal},   {"~", cql_op_Equivalent},   {"<", cql_op_Less},
               {">", cql_op_Greater}, {"<=", cql_op_LessOrEqual}, {">=", cql_op_GreaterOrEqual},
               {"in", cql_op_In}};
    if (v.kind == CQL_LIST) {
        for (size_t i = 0; i < v.list->count; i++)
            if (other_matches(run, f, v.list->items[i], value))
                return true;
        return false;
    }
    cql_value args[2] = {v.kind == CQL_ELEMENT ? cql_element_value(run->arena, v) : v, value};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (!og_str_is(f->comparator, ops[i].comparator))
            continue;
        run->c.precision = 0;
        run->c.weeks = false;
        cql_value r = ops[i].op(&run->c, args, 2);
        return r.kind == CQL_BOOLEAN && r.boolean;
    }
    (void)cql__fail(run, OG_UNSUPPORTED, "unknown comparator '%.*s' in a retrieve",
                    OG_STR_ARG(f->comparator));
    return false;
}

static cql_value low_to_high(cql_run *run, const cql__filter *f, cql_value root)
{
    cql_value low = when(run, cql__property(run, root, f->low_path, f->low_count));
    cql_value high = when(run, cql__property(run, root, f->high_path, f->high_count));
    if (cql_is_null(low) && cql_is_null(high))
        return CQL_NULL_VALUE;
    return cql_interval_make(&run->c, low, high, true, true, CQL_DATETIME);
}

/* k: number of the resource among those of its type. */
static bool filter_accepts(cql_run *run, const cql__filter *f, const wanted *w, cql_value root,
                           uint32_t k)
{
    if (f->kind == CQL__FILTER_CODE && w->codings != NULL) {
        for (uint32_t i = w->codings->first[k]; i < w->codings->first[k + 1]; i++)
            if (w->hits[w->codings->of[i]])
                return true;
        return false;
    }
    if (f->kind == CQL__FILTER_CODE)
        return codes_match_at(run, w, root, f->path, f->path_count);
    cql_value v = f->path_count != 0 ? cql__property(run, root, f->path, f->path_count)
                                     : low_to_high(run, f, root);
    switch (f->kind) {
    case CQL__FILTER_DATE: return date_matches(run, w, v);
    case CQL__FILTER_OTHER: return other_matches(run, f, v, w->range);
    case CQL__FILTER_CODE: break; /* above: its path may lead through lists */
    }
    return false;
}

static bool can_be_wanted(cql_value v)
{
    return v.kind == CQL_CODE || v.kind == CQL_CONCEPT || v.kind == CQL_STRING || cql_is_null(v);
}

/* The keys of the codes that are wanted. What is no code must not look like finding nothing. */
static bool want_keys(cql_run *run, wanted *w)
{
    size_t max = 0;
    for (size_t i = 0; i < w->count; i++) {
        const cql_value *v = &w->items[i];
        if (!can_be_wanted(*v)) {
            (void)cql__fail(run, OG_EVAL, "a retrieve looks for codes, concepts or texts only");
            return false;
        }
        max += v->kind == CQL_CONCEPT ? v->concept->count : 1;
    }
    fhir_code_key *keys = og_arena_alloc(run->arena, max * sizeof *keys);
    if (keys == NULL) {
        (void)cql__no_memory(run);
        return false;
    }
    for (size_t i = 0; i < w->count; i++) {
        const cql_value *v = &w->items[i];
        const cql_code *codes = v->kind == CQL_CONCEPT ? v->concept->codes
                                : v->kind == CQL_CODE  ? v->code
                                                       : NULL;
        size_t n = v->kind == CQL_CONCEPT ? v->concept->count : codes != NULL;
        for (size_t k = 0; k < n; k++)
            keys[w->key_count++] = fhir_code_key_of(codes[k].system, codes[k].code);
    }
    w->keys = keys;
    return true;
}

/* False: the filter can match nothing (its value is null), or the run has failed. */
static bool look_at(cql_run *run, const cql__filter *f, cql_value *value, wanted *ret)
{
    *value = cql__eval(run, f->value);
    *ret = (wanted){.range = *value};
    if (cql_is_null(*value) || cql__failed(run))
        return false;
    if (f->kind != CQL__FILTER_CODE)
        return true;
    if (value->kind == CQL_VALUESET) {
        ret->set = value->setref->resolved;
        if (ret->set == NULL)
            (void)cql__fail(run, OG_EVAL, "value set %.*s is not known",
                            OG_STR_ARG(value->setref->id));
        return ret->set != NULL;
    }
    if (value->kind == CQL_LIST && value->list->count == 1 &&
        value->list->items[0].kind == CQL_LIST)
        *value = value->list->items[0]; /* ToList of a list whose type was not known */
    ret->items = value->kind == CQL_LIST ? value->list->items : value;
    ret->count = value->kind == CQL_LIST ? value->list->count : 1;
    return want_keys(run, ret);
}

static bool id_accepts(cql_value id, const fhir_resource *r)
{
    if (id.kind == CQL_STRING)
        return og_str_eq(cql_str(id), r->id);
    for (size_t i = 0; id.kind == CQL_LIST && i < id.list->count; i++)
        if (id_accepts(id.list->items[i], r))
            return true;
    return false;
}

/* ---- resources ---- */

static cql_value root_of(cql_run *run, size_t i)
{
    if (!cql_is_null(run->roots[i]))
        return run->roots[i];
    run->roots[i] = cql_element_root(run->arena, &run->request->resources[i]);
    if (run->sourceless)
        run->roots[i].from = NULL;
    return run->roots[i];
}

/* meta.profile names the profile, in whatever version. */
static bool declares(cql_run *run, const fhir_resource *r, og_str profile)
{
    fhir_elem list = fhir_path(r->root, "meta");
    list = fhir_get(list, "profile");
    for (fhir_elem p = fhir_each_first(list); fhir_exists(p); p = fhir_each_next(list, p)) {
        og_str url = fhir_string(run->arena, p);
        ptrdiff_t bar = og_str_find(url, '|');
        if (bar >= 0)
            url.n = (size_t)bar;
        if (og_str_eq(url, profile))
            return true;
    }
    return false;
}

/* ---- what there is to match ---- */

typedef struct key_list {
    uint32_t *of; /* numbers of keys, one for each coding */
    size_t count, cap;
    fhir_code_key *keys; /* each once */
    uint32_t key_count, key_cap;
    uint32_t *slots; /* number + 1 by hash; twice key_cap of them */
    bool bare;
} key_list;

static void put_key(key_list *l, uint32_t number)
{
    uint32_t mask = l->key_cap * 2 - 1, i = l->keys[number].hash & mask;
    while (l->slots[i] != 0)
        i = (i + 1) & mask;
    l->slots[i] = number + 1;
}

static bool more_keys(cql_run *run, key_list *l)
{
    uint32_t cap = l->key_cap != 0 ? l->key_cap * 2 : 32;
    fhir_code_key *keys =
        og_arena_grow(run->arena, l->keys, l->key_cap * sizeof *keys, cap * sizeof *keys);
    uint32_t *slots = og_arena_zalloc(run->arena, (size_t)cap * 2, sizeof *slots);
    if (keys == NULL || slots == NULL) {
        (void)cql__no_memory(run);
        return false;
    }
    l->keys = keys;
    l->slots = slots;
    l->key_cap = cap;
    for (uint32_t i = 0; i < l->key_count; i++)
        put_key(l, i);
    return true;
}

/* The number of a key, which is new or not; false when memory is out. */
static bool number_of_key(cql_run *run, key_list *l, const fhir_code_key *key, uint32_t *ret)
{
    uint32_t mask = l->key_cap * 2 - 1;
    for (uint32_t i = key->hash & mask; l->key_cap != 0 && l->slots[i] != 0; i = (i + 1) & mask)
        if (fhir_code_key_equal(&l->keys[l->slots[i] - 1], key)) {
            *ret = l->slots[i] - 1;
            return true;
        }
    if (l->key_count == l->key_cap && !more_keys(run, l))
        return false;
    *ret = l->key_count;
    l->keys[l->key_count] = *key;
    put_key(l, l->key_count++);
    return true;
}

static void add_key(cql_run *run, key_list *l, fhir_elem coding)
{
    fhir_code_key key;
    if (!coding_key(run, coding, &key))
        return;
    if (l->count == l->cap) {
        size_t cap = l->cap != 0 ? l->cap * 2 : 256;
        uint32_t *of = og_arena_grow(run->arena, l->of, l->cap * sizeof *of, cap * sizeof *of);
        if (of == NULL) {
            (void)cql__no_memory(run);
            return;
        }
        l->of = of;
        l->cap = cap;
    }
    if (number_of_key(run, l, &key, &l->of[l->count]))
        l->count++;
}

static void add_keys(cql_run *run, key_list *l, cql_value v)
{
    if (v.kind == CQL_LIST) {
        for (size_t i = 0; i < v.list->count && !cql__failed(run); i++)
            add_keys(run, l, v.list->items[i]);
    } else if (v.kind == CQL_ELEMENT && v.element->type == run->set->codeable_concept) {
        fhir_elem codings = fhir_get(v.element->at, "coding");
        for (fhir_elem c = fhir_each_first(codings); fhir_exists(c); c = fhir_each_next(codings, c))
            add_key(run, l, c);
    } else if (v.kind == CQL_ELEMENT && v.element->type == run->set->coding) {
        add_key(run, l, v.element->at);
    } else if (!cql_is_null(v)) {
        l->bare = true;
    }
}

/* The same below a path, through lists. */
static void add_keys_at(cql_run *run, key_list *l, cql_value v, const cql__step *steps,
                        uint32_t count)
{
    if (v.kind == CQL_LIST) {
        for (size_t i = 0; i < v.list->count && !cql__failed(run); i++)
            add_keys_at(run, l, v.list->items[i], steps, count);
    } else if (count == 0) {
        add_keys(run, l, v);
    } else {
        add_keys_at(run, l, cql__property(run, v, steps, 1), steps + 1, count - 1);
    }
}

/* The codings of all resources of a type where a filter looks; NULL when elements must be looked at
 * one by one. Found once per run, however many retrieves want some of them. */
static const cql__codings *codings_of(cql_run *run, const cql__kin *kin, const cql__filter *f)
{
    cql__codings *c = &run->codings[f->codings];
    if (c->found)
        return c->bare ? NULL : c;
    key_list l = {0};
    c->first = og_arena_alloc(run->arena, (kin->count + (size_t)1) * sizeof *c->first);
    if (c->first == NULL) {
        (void)cql__no_memory(run);
        return NULL;
    }
    for (uint32_t k = 0; k < kin->count && !cql__failed(run) && !l.bare; k++) {
        c->first[k] = (uint32_t)l.count;
        add_keys_at(run, &l, root_of(run, kin->at[k]), f->path, f->path_count);
    }
    c->first[kin->count] = (uint32_t)l.count;
    c->of = l.of;
    c->keys = l.keys;
    c->key_count = l.key_count;
    c->bare = l.bare;
    c->found = !cql__failed(run);
    return c->found && !c->bare ? c : NULL;
}

/* ---- the retrieve ---- */

typedef struct search {
    const cql__retrieve *q;
    wanted wants[MAX_FILTERS];
    cql_value id;
    cql__items out;
} search;

/* Resource number i of the request, k of its type. */
static void look(cql_run *run, search *s, uint32_t i, uint32_t k)
{
    const cql__retrieve *q = s->q;
    const fhir_resource *r = &run->request->resources[i];
    if (q->id != NULL && !id_accepts(s->id, r))
        return;
    if (run->request->by_profile && q->profile.n != 0 && !declares(run, r, q->profile))
        return;
    cql_value root = root_of(run, i);
    for (uint32_t f = 0; f < q->filter_count; f++)
        if (!filter_accepts(run, &q->filters[f], &s->wants[f], root, k))
            return;
    (void)cql__items_add(run, &s->out, root);
}

/* Asks for every key whether it is wanted; false when none is. */
static bool find_hits(cql_run *run, wanted *w)
{
    bool any = false, *hits = og_arena_alloc(run->arena, w->codings->key_count);
    if (hits == NULL) {
        (void)cql__no_memory(run);
        return false;
    }
    for (uint32_t i = 0; i < w->codings->key_count; i++) {
        hits[i] = key_wanted(w, &w->codings->keys[i]);
        any |= hits[i];
    }
    w->hits = hits;
    return any;
}

static void look_among(cql_run *run, search *s, const cql__kin *kin)
{
    for (uint32_t f = 0; f < s->q->filter_count; f++) {
        wanted *w = &s->wants[f];
        if (s->q->filters[f].kind != CQL__FILTER_CODE)
            continue;
        w->codings = codings_of(run, kin, &s->q->filters[f]);
        if (w->codings != NULL && !find_hits(run, w) && f == 0)
            return; /* what the first filter keeps out no other one sees */
    }
    for (uint32_t k = 0; k < kin->count && !cql__failed(run); k++)
        look(run, s, kin->at[k], k);
}

/* Resource, DomainResource: resources of every type, in the order of the request. */
static void look_everywhere(cql_run *run, search *s)
{
    for (size_t i = 0; i < run->request->resource_count && !cql__failed(run); i++)
        if (fhir_type_is(run->types[i], s->q->type))
            look(run, s, (uint32_t)i, 0);
}

static cql_value retrieve(cql_run *run, const cql__retrieve *q)
{
    search s = {.q = q, .id = CQL_NULL_VALUE};
    if (q->filter_count > MAX_FILTERS)
        return cql__fail(run, OG_UNSUPPORTED, "retrieve with more than %d filters", MAX_FILTERS);
    if (q->id != NULL)
        s.id = cql__eval(run, q->id);
    cql_value values[MAX_FILTERS];
    for (uint32_t k = 0; k < q->filter_count; k++)
        if (!look_at(run, &q->filters[k], &values[k], &s.wants[k]))
            return cql__failed(run) ? CQL_NULL_VALUE : cql__list_of(run, NULL, 0);
    if (fhir_type_is_resource(q->type) && !fhir_type_is_concrete_resource(q->type))
        look_everywhere(run, &s);
    for (uint32_t k = 0; k < run->kin_count; k++)
        if (run->kin[k].type == q->type)
            look_among(run, &s, &run->kin[k]);
    return cql__failed(run) ? CQL_NULL_VALUE : cql__list_of(run, s.out.items, s.out.count);
}

void cql__eval_retrieve(cql_run *run, const cql__node *n, cql_value *ret)
{
    const cql__retrieve *q = n->retrieve;
    cql__has_read(run, q->number);
    if (!q->constant) {
        *ret = retrieve(run, q);
        return;
    }
    cql_value *kept = &run->retrieved[q->index];
    if (cql_is_null(*kept))
        *kept = retrieve(run, q);
    *ret = *kept;
}
