/* Data requirements: which resources a definition can ever read. They follow from the trees alone:
 * every retrieve that the definition reaches, through references, calls and includes, with the code
 * filter that it has. */
#include "rules/cql/tree.h"

#include "fhir/model.h"

typedef struct walk {
    cql_set *set;
    uint32_t epoch; /* definitions with this mark have been visited */
    const cql__retrieve **found;
    size_t count, cap;
    bool failed;
} walk;

static void visit_define(walk *w, const cql_define *d);

static void add(walk *w, const cql__retrieve *q)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->found[i] == q ||
            (q->constant && w->found[i]->constant && w->found[i]->index == q->index))
            return;
    if (w->count == w->cap) {
        size_t cap = w->cap != 0 ? w->cap * 2 : 16;
        const cql__retrieve **f =
            og_arena_grow(w->set->arena, (void *)w->found, w->cap * sizeof *f, cap * sizeof *f);
        if (f == NULL) {
            w->failed = true;
            return;
        }
        w->found = f;
        w->cap = cap;
    }
    w->found[w->count++] = q;
}

static void visit(walk *w, const cql__node *n);

static void visit_query(walk *w, const cql__query *q)
{
    for (uint32_t i = 0; i < q->source_count; i++)
        visit(w, q->sources[i].expression);
    for (uint32_t i = 0; i < q->let_count; i++)
        visit(w, q->lets[i].expression);
    for (uint32_t i = 0; i < q->relation_count; i++) {
        visit(w, q->relations[i].expression);
        visit(w, q->relations[i].such_that);
    }
    visit(w, q->where);
    visit(w, q->ret);
    visit(w, q->starting);
    visit(w, q->aggregate);
    for (uint32_t i = 0; q->sort != NULL && i < q->sort->count; i++)
        visit(w, q->sort->keys[i].expression);
}

static void visit_retrieve(walk *w, const cql__retrieve *q)
{
    add(w, q);
    visit(w, q->id);
    for (uint32_t i = 0; i < q->filter_count; i++)
        visit(w, q->filters[i].value);
}

static void visit(walk *w, const cql__node *n)
{
    if (n == NULL)
        return;
    for (uint32_t i = 0; i < n->argc; i++)
        visit(w, n->args[i]);
    switch ((cql__kind)n->kind) {
    case CQL__QUERY: visit_query(w, n->query); break;
    case CQL__RETRIEVE: visit_retrieve(w, n->retrieve); break;
    case CQL__DEFINE:
    case CQL__PARAMETER: visit_define(w, n->ref.define); break;
    case CQL__CALL:
        for (uint32_t i = 0; i < n->call->count; i++)
            visit_define(w, n->call->targets[i]);
        break;
    case CQL__SORT:
        for (uint32_t i = 0; i < n->sort->count; i++)
            visit(w, n->sort->keys[i].expression);
        break;
    default: break;
    }
}

static void visit_define(walk *w, const cql_define *d)
{
    if (d->mark == w->epoch)
        return;
    ((cql_define *)d)->mark = w->epoch;
    visit(w, d->body);
}

/* The codes of a constant filter value: a code, a concept, or a list of codes and concepts. */
static bool constant_codes(walk *w, cql_value v, cql_requirement *ret)
{
    const cql_value *items = v.kind == CQL_LIST ? v.list->items : &v;
    size_t n = v.kind == CQL_LIST ? v.list->count : 1, total = 0;
    for (size_t i = 0; i < n; i++) {
        if (items[i].kind != CQL_CODE && items[i].kind != CQL_CONCEPT)
            return false;
        total += items[i].kind == CQL_CODE ? 1 : items[i].concept->count;
    }
    cql_code *codes = og_arena_zalloc(w->set->arena, total + 1, sizeof *codes);
    if (codes == NULL) {
        w->failed = true;
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (items[i].kind == CQL_CODE)
            codes[ret->code_count++] = *items[i].code;
        for (size_t k = 0; items[i].kind == CQL_CONCEPT && k < items[i].concept->count; k++)
        codes[ret->code_count++] = items[i].concept->codes[k];
    }
    ret->codes = codes;
    return true;
}

/* A filter whose codes are known only at run time is none here: everything of the type is wanted.
 */
static cql_requirement requirement_of(walk *w, const cql__retrieve *q)
{
    cql_requirement r = {.type = fhir_type_name(q->type), .number = q->number};
    for (uint32_t i = 0; i < q->filter_count; i++) {
        const cql__filter *f = &q->filters[i];
        if (f->kind != CQL__FILTER_CODE || f->value->kind != CQL__CONSTANT)
            continue;
        cql_value v = f->value->value;
        if (v.kind == CQL_VALUESET) {
            r.valueset = v.setref->resolved;
            r.valueset_url = v.setref->id;
        } else if (!constant_codes(w, v, &r)) {
            continue;
        }
        r.code_path = f->path_text;
        break;
    }
    return r;
}

static bool finish(walk *w, const cql_requirement **ret, size_t *ret_count)
{
    cql_requirement *r = og_arena_zalloc(w->set->arena, w->count + 1, sizeof *r);
    if (r == NULL || w->failed)
        return false;
    for (size_t i = 0; i < w->count; i++)
        r[i] = requirement_of(w, w->found[i]);
    *ret = r;
    *ret_count = w->count;
    return !w->failed;
}

bool cql__require_all(cql_set *set)
{
    walk w = {.set = set};
    for (size_t i = 0; i < set->count; i++) {
        cql_library *lib = set->libraries[i];
        for (size_t k = 0; k < lib->all_count; k++) {
            cql_define *d = (cql_define *)lib->all[k];
            w.count = 0;
            w.epoch++;
            visit_define(&w, d);
            if (!finish(&w, &d->requirements, &d->requirement_count))
                return false;
        }
        w.count = 0;
        w.epoch++;
        for (size_t k = 0; k < lib->define_count; k++)
            visit_define(&w, lib->defines[k]);
        if (!finish(&w, &lib->requirements, &lib->requirement_count))
            return false;
    }
    return true;
}

size_t cql_requirements(const cql_library *lib, const cql_define *d, const cql_requirement **ret)
{
    *ret = d != NULL ? d->requirements : lib->requirements;
    return d != NULL ? d->requirement_count : lib->requirement_count;
}

size_t cql_set_retrieve_count(const cql_set *set)
{
    return set->retrieve_count;
}
