/* What functions of one resource said of it. Libraries ask the same of a record again and again (is
 * it a result, of which day, with what number); a function has no side effects, so within a run its
 * first answer holds. */
#include "rules/cql/run.h"

#include "fhir/model.h"

bool cql__memo_serves(const cql_define *d)
{
    const cql__type *t = d->operand_count == 1 ? d->operand_types[0] : NULL;
    return d->kind == CQL__FUNCTION_DEF && d->body != NULL && d->native == NULL && t != NULL &&
           t->kind == CQL__TYPE_FHIR && fhir_type_is_concrete_resource(t->fhir);
}

/* The number in the request of the resource that v is; false for a part of one, or one inside
 * another. */
static bool number_of(const cql_run *run, const cql_value *v, size_t *ret)
{
    if (v->kind != CQL_ELEMENT)
        return false;
    uintptr_t first = (uintptr_t)run->request->resources, at = (uintptr_t)v->element->resource;
    size_t i = (at - first) / sizeof(fhir_resource);
    if (at < first || i >= run->request->resource_count)
        return false;
    *ret = i;
    return run->roots[i].kind == CQL_ELEMENT && run->roots[i].element == v->element &&
           run->roots[i].from == v->from;
}

static const cql__kin *kin_of(const cql_run *run, uint16_t type)
{
    for (uint32_t k = 0; k < run->kin_count; k++)
        if (run->kin[k].type == type)
            return &run->kin[k];
    return NULL;
}

const cql_value **cql__memo(cql_run *run, const cql_define *d, const cql_value *v)
{
    size_t i;
    uint16_t type = d->operand_types[0]->fhir;
    if (!number_of(run, v, &i) || run->types[i] != type)
        return NULL;
    const cql_value ***of = &run->memos[d->memo - 1];
    if (*of == NULL)
        *of = og_arena_zalloc(run->arena, kin_of(run, type)->count, sizeof **of);
    return *of != NULL ? &(*of)[run->ranks[i]] : NULL;
}
