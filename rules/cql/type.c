/* Type specifiers: read from ELM, compared, tested against values.
 *
 * CQL values carry their own kind, so types are needed only where a node names one (Is, As,
 * Convert, Instance) and where a call must choose between overloads. CQL 1.5, chapter "Types" and
 * ELM TypeSpecifier. */
#include "rules/cql/tree.h"

#include "fhir/model.h"
#include "rules/cql/element.h"

static const struct {
    const char *name;
    uint8_t kind;
} system_types[] = {
    {"Boolean", CQL_BOOLEAN},   {"Integer", CQL_INTEGER},
    {"Long", CQL_LONG},         {"Decimal", CQL_DECIMAL},
    {"String", CQL_STRING},     {"Date", CQL_DATE},
    {"DateTime", CQL_DATETIME}, {"Time", CQL_TIME},
    {"Quantity", CQL_QUANTITY}, {"Ratio", CQL_RATIO},
    {"Code", CQL_CODE},         {"Concept", CQL_CONCEPT},
    {"ValueSet", CQL_VALUESET}, {"CodeSystem", CQL_CODESYSTEM},
};
#define SYSTEM_TYPE_COUNT (sizeof system_types / sizeof system_types[0])

static const cql__type valueset_type = {.kind = CQL__TYPE_SYSTEM, .system = CQL_VALUESET};
static const cql__type codesystem_type = {.kind = CQL__TYPE_SYSTEM, .system = CQL_CODESYSTEM};
static const cql__type *const vocabulary[] = {&valueset_type, &codesystem_type};

static bool system_named(og_str name, cql__type *ret)
{
    if (og_str_is(name, "Any")) {
        *ret = (cql__type){.kind = CQL__TYPE_ANY};
        return true;
    }
    if (og_str_is(name, "Vocabulary")) {
        *ret = (cql__type){.kind = CQL__TYPE_CHOICE, .count = 2, .parts = vocabulary};
        return true;
    }
    for (size_t i = 0; i < SYSTEM_TYPE_COUNT; i++) {
        if (og_str_is(name, system_types[i].name)) {
            *ret = (cql__type){.kind = CQL__TYPE_SYSTEM, .system = system_types[i].kind};
            return true;
        }
    }
    return false;
}

bool cql__type_named(og_str name, cql__type *ret)
{
    static const og_str elm = {"{urn:hl7-org:elm-types:r1}", 26};
    static const og_str system = {"System.", 7};
    if (og_str_starts(name, elm))
        return system_named(og_str_from(name, elm.n), ret);
    if (og_str_starts(name, system))
        return system_named(og_str_from(name, system.n), ret);
    uint16_t type = fhir_type_of_qualified(name);
    if (type == 0)
        return false;
    *ret = (cql__type){.kind = CQL__TYPE_FHIR, .fhir = type};
    return true;
}

/* ---- values ---- */

static bool interval_has(const cql__type *point, const cql_interval *i)
{
    if (i->uncertain)
        return false;
    if (cql_is_null(i->low) && cql_is_null(i->high))
        return i->point == CQL_NULL || point->kind != CQL__TYPE_SYSTEM || point->system == i->point;
    return (cql_is_null(i->low) || cql__type_has(point, i->low)) &&
           (cql_is_null(i->high) || cql__type_has(point, i->high));
}

static bool list_has(const cql__type *element, const cql_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (!cql_is_null(l->items[i]) && !cql__type_has(element, l->items[i]))
            return false;
    return true;
}

static bool tuple_has(const cql__type *t, const cql_tuple *v)
{
    if (v->type_name.n != 0)
        return false;
    for (uint32_t i = 0; i < t->count; i++) {
        size_t at = 0;
        while (at < v->count && !og_str_eq(v->names[at], t->names[i]))
            at++;
        if (at == v->count)
            return false;
        if (!cql_is_null(v->items[at]) && !cql__type_has(t->parts[i], v->items[at]))
            return false;
    }
    return true;
}

static bool fhir_has(uint16_t type, cql_value v)
{
    if (v.kind == CQL_ELEMENT)
        return cql_element_is_type(v, type);
    if (v.kind == CQL_TUPLE && v.tuple->type_name.n != 0)
        return fhir_type_is(fhir_type_of_qualified(v.tuple->type_name), type);
    return false;
}

bool cql__type_has(const cql__type *t, cql_value v)
{
    if (cql_is_null(v))
        return false;
    switch ((cql__type_kind)t->kind) {
    case CQL__TYPE_ANY: return true;
    case CQL__TYPE_SYSTEM:
        if (v.kind == CQL_INTERVAL)
            return v.interval->uncertain && v.interval->point == t->system;
        return v.kind == t->system;
    case CQL__TYPE_FHIR: return fhir_has(t->fhir, v);
    case CQL__TYPE_LIST: return v.kind == CQL_LIST && list_has(t->parts[0], v.list);
    case CQL__TYPE_INTERVAL: return v.kind == CQL_INTERVAL && interval_has(t->parts[0], v.interval);
    case CQL__TYPE_TUPLE: return v.kind == CQL_TUPLE && tuple_has(t, v.tuple);
    case CQL__TYPE_CHOICE:
        for (uint32_t i = 0; i < t->count; i++)
            if (cql__type_has(t->parts[i], v))
                return true;
        return false;
    }
    return false;
}

/* ---- types among themselves ---- */

static bool parts_equal(const cql__type *a, const cql__type *b)
{
    for (uint32_t i = 0; i < a->count; i++) {
        if (a->names != NULL && !og_str_eq(a->names[i], b->names[i]))
            return false;
        if (!cql__type_equal(a->parts[i], b->parts[i]))
            return false;
    }
    return true;
}

bool cql__type_equal(const cql__type *a, const cql__type *b)
{
    return a->kind == b->kind && a->system == b->system && a->fhir == b->fhir &&
           a->count == b->count && parts_equal(a, b);
}

static bool tuple_accepts(const cql__type *wanted, const cql__type *given)
{
    for (uint32_t i = 0; i < wanted->count; i++) {
        uint32_t at = 0;
        while (at < given->count && !og_str_eq(given->names[at], wanted->names[i]))
            at++;
        if (at == given->count || !cql__type_accepts(wanted->parts[i], given->parts[at]))
            return false;
    }
    return true;
}

bool cql__type_accepts(const cql__type *wanted, const cql__type *given)
{
    if (wanted->kind == CQL__TYPE_ANY)
        return true;
    if (given->kind == CQL__TYPE_CHOICE) {
        for (uint32_t i = 0; i < given->count; i++)
            if (!cql__type_accepts(wanted, given->parts[i]))
                return false;
        return true;
    }
    if (wanted->kind == CQL__TYPE_CHOICE) {
        for (uint32_t i = 0; i < wanted->count; i++)
            if (cql__type_accepts(wanted->parts[i], given))
                return true;
        return false;
    }
    if (wanted->kind != given->kind)
        return false;
    switch ((cql__type_kind)wanted->kind) {
    case CQL__TYPE_SYSTEM: return wanted->system == given->system;
    case CQL__TYPE_FHIR: return fhir_type_is(given->fhir, wanted->fhir);
    case CQL__TYPE_LIST:
    case CQL__TYPE_INTERVAL: return cql__type_accepts(wanted->parts[0], given->parts[0]);
    case CQL__TYPE_TUPLE: return tuple_accepts(wanted, given);
    default: return false;
    }
}

static const char *system_name(uint8_t kind)
{
    for (size_t i = 0; i < SYSTEM_TYPE_COUNT; i++)
        if (system_types[i].kind == kind)
            return system_types[i].name;
    return "Any";
}

static void format_parts(og_buf *out, const char *open, const cql__type *t)
{
    og_buf_addz(out, open);
    for (uint32_t i = 0; i < t->count; i++) {
        if (i != 0)
            og_buf_addz(out, ", ");
        if (t->names != NULL) {
            og_buf_adds(out, t->names[i]);
            og_buf_addc(out, ' ');
        }
        cql__type_format(out, t->parts[i]);
    }
}

void cql__type_format(og_buf *out, const cql__type *t)
{
    switch ((cql__type_kind)t->kind) {
    case CQL__TYPE_ANY: og_buf_addz(out, "System.Any"); return;
    case CQL__TYPE_SYSTEM: og_buf_addf(out, "System.%s", system_name(t->system)); return;
    case CQL__TYPE_FHIR:
        og_buf_addz(out, "FHIR.");
        og_buf_adds(out, fhir_type_name(t->fhir));
        return;
    case CQL__TYPE_LIST: format_parts(out, "List<", t); break;
    case CQL__TYPE_INTERVAL: format_parts(out, "Interval<", t); break;
    case CQL__TYPE_CHOICE: format_parts(out, "Choice<", t); break;
    case CQL__TYPE_TUPLE:
        format_parts(out, "Tuple { ", t);
        og_buf_addz(out, " }");
        return;
    }
    og_buf_addc(out, '>');
}

/* ---- reading ---- */

static const cql__type *keep(cql__reader *r, cql__type t)
{
    cql__type *k = og_arena_alloc(r->arena, sizeof *k);
    if (k != NULL)
        *k = t;
    return k;
}

static const cql__type *read_named(cql__reader *r, fhir_elem e, og_str name, const cql__path *at)
{
    cql__type t;
    if (!cql__type_named(name, &t)) {
        cql__read_fail(r, e, at, OG_UNSUPPORTED, "unknown type %.*s", OG_STR_ARG(name));
        return NULL;
    }
    return keep(r, t);
}

static const cql__type *read_wrapped(cql__reader *r, fhir_elem e, const char *member, uint8_t kind,
                                     const cql__path *at)
{
    cql__path p = {at, member, -1};
    const cql__type *part = cql__read_type(r, fhir_get(e, member), &p);
    const cql__type **parts = og_arena_alloc(r->arena, sizeof *parts);
    if (part == NULL || parts == NULL)
        return NULL;
    parts[0] = part;
    return keep(r, (cql__type){.kind = kind, .count = 1, .parts = parts});
}

/* Tuple elements carry a name and elementType (before ELM 1.4: type); choices are types. */
static const cql__type *read_several(cql__reader *r, fhir_elem e, const char *member, bool tuple,
                                     const cql__path *at)
{
    fhir_elem list = fhir_get(e, member);
    uint32_t n = fhir_kind_of(list) == FHIR_ARRAY ? fhir_length(list) : 0, i = 0;
    og_str *names = tuple ? og_arena_zalloc(r->arena, n + 1, sizeof *names) : NULL;
    const cql__type **parts = og_arena_zalloc(r->arena, n + 1, sizeof *parts);
    if (parts == NULL || (tuple && names == NULL))
        return NULL;
    for (fhir_elem c = n != 0 ? fhir_first(list) : FHIR_ABSENT; fhir_exists(c);
         c = fhir_next(list, c), i++) {
        cql__path p = {at, member, (int32_t)i};
        if (tuple) {
            names[i] = cql__read_string(r, c, "name", &p);
            fhir_elem t = fhir_get(c, "elementType");
            parts[i] = cql__read_type(r, fhir_exists(t) ? t : fhir_get(c, "type"), &p);
        } else {
            parts[i] = cql__read_type(r, c, &p);
        }
        if (parts[i] == NULL)
            return NULL;
    }
    return keep(r, (cql__type){.kind = tuple ? CQL__TYPE_TUPLE : CQL__TYPE_CHOICE,
                               .count = n,
                               .names = names,
                               .parts = parts});
}

static const cql__type *read_specifier(cql__reader *r, fhir_elem e, const cql__path *at)
{
    fhir_elem kind = fhir_get(e, "type");
    if (fhir_is(kind, "NamedTypeSpecifier") || !fhir_exists(kind))
        return read_named(r, e, cql__read_string(r, e, "name", at), at);
    if (fhir_is(kind, "ListTypeSpecifier"))
        return read_wrapped(r, e, "elementType", CQL__TYPE_LIST, at);
    if (fhir_is(kind, "IntervalTypeSpecifier"))
        return read_wrapped(r, e, "pointType", CQL__TYPE_INTERVAL, at);
    if (fhir_is(kind, "TupleTypeSpecifier"))
        return read_several(r, e, "element", true, at);
    if (fhir_is(kind, "ChoiceTypeSpecifier"))
        return read_several(r, e, fhir_exists(fhir_get(e, "choice")) ? "choice" : "type", false,
                            at);
    if (fhir_is(kind, "ParameterTypeSpecifier"))
        return keep(r, (cql__type){.kind = CQL__TYPE_ANY});
    cql__read_fail(r, e, at, OG_UNSUPPORTED, "unknown type specifier %.*s",
                   OG_STR_ARG(fhir_raw(kind)));
    return NULL;
}

const cql__type *cql__read_type(cql__reader *r, fhir_elem e, const cql__path *at)
{
    if (fhir_kind_of(e) == FHIR_STRING)
        return read_named(r, e, fhir_string(r->scratch, e), at);
    if (fhir_kind_of(e) != FHIR_OBJECT) {
        cql__read_fail(r, e, at, OG_INVALID, "type specifier expected");
        return NULL;
    }
    if (++r->depth > CQL__MAX_NESTING) {
        cql__read_fail(r, e, at, OG_LIMIT, "type nested deeper than %d", CQL__MAX_NESTING);
        r->depth--;
        return NULL;
    }
    const cql__type *t = read_specifier(r, e, at);
    r->depth--;
    return t;
}

const cql__type *cql__read_type_member(cql__reader *r, fhir_elem object, const char *name,
                                       const char *specifier, const cql__path *at)
{
    fhir_elem e = fhir_get(object, specifier);
    const char *used = specifier;
    if (!fhir_exists(e)) {
        e = fhir_get(object, name);
        used = name;
    }
    if (!fhir_exists(e))
        return NULL;
    cql__path p = {at, used, -1};
    return cql__read_type(r, e, &p);
}
