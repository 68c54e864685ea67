/* Equality, equivalence and order: CQL 1.5 Appendix B.5, with the same operators of the interval,
 * list and clinical chapters (B.9, B.10, B.12).
 *
 * Equality is three-valued and value-based; equivalence always answers. Structures are walked with
 * a count of their depth: what is nested deeper than CQL__MAX_VALUE_DEPTH is a run-time error, not
 * a crash. */
#include "rules/cql/ops_private.h"

#include "fhir/terminology.h"

static bool enter(cql_op_context *c)
{
    if (c->depth >= CQL__MAX_VALUE_DEPTH) {
        cql_op_fail(c, "values are nested more than %d deep", CQL__MAX_VALUE_DEPTH);
        return false;
    }
    c->depth++;
    return true;
}

/* ---- equality ---- */

/* A text element of a structure: empty is absent. */
static cql_tri equal_text(og_str a, og_str b)
{
    if ((a.n == 0) != (b.n == 0))
        return CQL_UNKNOWN;
    return og_str_eq(a, b) ? CQL_TRUE : CQL_FALSE;
}

/* Codes have tuple semantics (B.12 Equal). */
static cql_tri equal_codes(const cql_code *a, const cql_code *b)
{
    return cql__and(
        cql__and(equal_text(a->code, b->code), equal_text(a->system, b->system)),
        cql__and(equal_text(a->version, b->version), equal_text(a->display, b->display)));
}

static cql_tri equal_concepts(const cql_concept *a, const cql_concept *b)
{
    if (a->count != b->count)
        return CQL_FALSE;
    cql_tri all = equal_text(a->display, b->display);
    for (size_t i = 0; i < a->count; i++)
        all = cql__and(all, equal_codes(&a->codes[i], &b->codes[i]));
    return all;
}

/* One element of a list or tuple: null equals null here. */
static cql_tri equal_item(cql_op_context *c, cql_value a, cql_value b)
{
    return cql_is_null(a) && cql_is_null(b) ? CQL_TRUE : cql_equal(c, a, b);
}

static cql_tri equal_lists(cql_op_context *c, const cql_list *a, const cql_list *b)
{
    if (a->count != b->count)
        return CQL_FALSE;
    cql_tri all = CQL_TRUE;
    for (size_t i = 0; i < a->count && all != CQL_FALSE; i++)
        all = cql__and(all, equal_item(c, a->items[i], b->items[i]));
    return all;
}

/* The element of that name; false when there is none. Mostly both tuples have the same order. */
static bool element_of(const cql_tuple *t, og_str name, size_t guess, cql_value *ret)
{
    for (size_t i = 0; i < t->count; i++) {
        size_t at = (guess + i) % t->count;
        if (og_str_eq(t->names[at], name)) {
            *ret = t->items[at];
            return true;
        }
    }
    return false;
}

/* The first element that is not equal decides, in their order: an unknown before a difference
 * leaves the whole unknown (the public test suite, TupleEqJohnJohn1WithNull and its like). */
static cql_tri equal_tuples(cql_op_context *c, const cql_tuple *a, const cql_tuple *b)
{
    if (a->count != b->count || !og_str_eq(a->type_name, b->type_name))
        return CQL_FALSE;
    for (size_t i = 0; i < a->count; i++) {
        cql_value other;
        if (!element_of(b, a->names[i], i, &other))
            return CQL_FALSE;
        cql_tri same = equal_item(c, a->items[i], other);
        if (same != CQL_TRUE)
            return same;
    }
    return CQL_TRUE;
}

static cql_tri equal_quantities(const cql_quantity *a, const cql_quantity *b)
{
    return cql__order_is(cql__quantity_order(a, b), CQL__SAME);
}

static bool is_scalar(cql_value v)
{
    switch ((cql_kind)v.kind) {
    case CQL_INTEGER:
    case CQL_LONG:
    case CQL_DECIMAL:
    case CQL_QUANTITY:
    case CQL_DATE:
    case CQL_DATETIME:
    case CQL_TIME: return true;
    default: return cql__is_uncertain(v);
    }
}

/* Numbers among themselves, calendar values among themselves: the kinds that have an order in
 * common. */
static bool same_family(cql_value a, cql_value b)
{
    a = cql__least(a);
    b = cql__least(b);
    bool ta = cql__is_temporal(a), tb = cql__is_temporal(b);
    if (ta || tb)
        return ta && tb && (a.kind == CQL_TIME) == (b.kind == CQL_TIME);
    return is_scalar(a) && is_scalar(b);
}

static cql_tri equal_values(cql_op_context *c, cql_value a, cql_value b)
{
    if (a.kind == CQL_ELEMENT || b.kind == CQL_ELEMENT)
        return cql__element_equal(c, a, b);
    if (is_scalar(a) && is_scalar(b)) {
        if (!same_family(a, b))
            return CQL_FALSE;
        return cql__order_is(cql__order_of(c, a, b), CQL__SAME);
    }
    if (a.kind != b.kind)
        return CQL_FALSE;
    switch ((cql_kind)a.kind) {
    case CQL_BOOLEAN: return a.boolean == b.boolean ? CQL_TRUE : CQL_FALSE;
    case CQL_STRING: return og_str_eq(cql_str(a), cql_str(b)) ? CQL_TRUE : CQL_FALSE;
    case CQL_RATIO:
        return cql__and(equal_quantities(&a.ratio->numerator, &b.ratio->numerator),
                        equal_quantities(&a.ratio->denominator, &b.ratio->denominator));
    case CQL_CODE: return equal_codes(a.code, b.code);
    case CQL_CONCEPT: return equal_concepts(a.concept, b.concept);
    case CQL_VALUESET:
    case CQL_CODESYSTEM:
        return cql__and(equal_text(a.setref->id, b.setref->id),
                        equal_text(a.setref->version, b.setref->version));
    case CQL_INTERVAL: return cql__interval_equal(c, a, b);
    case CQL_LIST: return equal_lists(c, a.list, b.list);
    case CQL_TUPLE: return equal_tuples(c, a.tuple, b.tuple);
    default: return CQL_FALSE;
    }
}

cql_tri cql_equal(cql_op_context *c, cql_value a, cql_value b)
{
    if (cql_is_null(a) || cql_is_null(b))
        return CQL_UNKNOWN;
    if (!enter(c))
        return CQL_UNKNOWN;
    cql_tri same = equal_values(c, a, b);
    c->depth--;
    return same;
}

/* ---- equivalence ---- */

static bool is_space(uint32_t cp)
{
    return cp == ' ' || cp == '\t' || cp == '\r' || cp == '\n';
}

/* Without regard to case; every white space is like every other. */
static bool equivalent_strings(og_str a, og_str b)
{
    size_t i = 0, j = 0;
    while (i < a.n && j < b.n) {
        uint32_t x = og_utf8_next(a, &i), y = og_utf8_next(b, &j);
        if (x != y && cql__lower(x) != cql__lower(y) && cql__upper(x) != cql__upper(y) &&
            !(is_space(x) && is_space(y)))
            return false;
    }
    return i == a.n && j == b.n;
}

/* Rounded to the places of the less precise one, trailing zeros not counted. */
static bool equivalent_decimals(og_decimal a, og_decimal b)
{
    int pa = cql__places(a), pb = cql__places(b);
    int places = pa < pb ? pa : pb;
    return og_decimal_round(a, places) == og_decimal_round(b, places);
}

/* By code and system alone (B.12 Equivalent); a system's known names are one, ICD dots do not
 * count. */
static bool equivalent_codes(const cql_code *a, const cql_code *b)
{
    og_str sa = a->system.n != 0 ? fhir_system_canonical(a->system) : a->system;
    og_str sb = b->system.n != 0 ? fhir_system_canonical(b->system) : b->system;
    return og_str_eq(sa, sb) && fhir_code_equal(sa, a->code, b->code);
}

static bool equivalent_concepts(const cql_concept *a, const cql_concept *b)
{
    for (size_t i = 0; i < a->count; i++)
        for (size_t j = 0; j < b->count; j++)
            if (equivalent_codes(&a->codes[i], &b->codes[j]))
                return true;
    return false;
}

static cql_concept concept_of(cql_value v)
{
    return v.kind == CQL_CODE ? (cql_concept){.codes = v.code, .count = 1} : *v.concept;
}

/* The same ratio: a/b ~ c/d when a*d ~ c*b (1:100 ~ 10:1000). */
static bool equivalent_ratios(cql_op_context *c, const cql_ratio *a, const cql_ratio *b)
{
    cql_value left = cql__quantity_multiply(c, &a->numerator, &b->denominator);
    cql_value right = cql__quantity_multiply(c, &b->numerator, &a->denominator);
    return !cql_is_null(left) && !cql_is_null(right) &&
           cql__quantity_equivalent(left.quantity, right.quantity);
}

static bool equivalent_lists(cql_op_context *c, const cql_list *a, const cql_list *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!cql_equivalent(c, a->items[i], b->items[i]))
            return false;
    return true;
}

static bool equivalent_tuples(cql_op_context *c, const cql_tuple *a, const cql_tuple *b)
{
    if (a->count != b->count || !og_str_eq(a->type_name, b->type_name))
        return false;
    for (size_t i = 0; i < a->count; i++) {
        cql_value other;
        if (!element_of(b, a->names[i], i, &other) || !cql_equivalent(c, a->items[i], other))
            return false;
    }
    return true;
}

static bool is_coded(cql_value v)
{
    return v.kind == CQL_CODE || v.kind == CQL_CONCEPT;
}

static bool equivalent_values(cql_op_context *c, cql_value a, cql_value b)
{
    if (a.kind == CQL_ELEMENT || b.kind == CQL_ELEMENT)
        return cql__element_equivalent(c, a, b);
    if (is_coded(a) && is_coded(b)) {
        cql_concept x = concept_of(a), y = concept_of(b);
        return equivalent_concepts(&x, &y);
    }
    og_decimal x, y;
    if (cql__number(a, &x, NULL) && cql__number(b, &y, NULL))
        return equivalent_decimals(x, y);
    if (a.kind != b.kind)
        return cql_equal(c, a, b) == CQL_TRUE;
    switch ((cql_kind)a.kind) {
    case CQL_STRING: return equivalent_strings(cql_str(a), cql_str(b));
    case CQL_QUANTITY: return cql__quantity_equivalent(a.quantity, b.quantity);
    case CQL_RATIO: return equivalent_ratios(c, a.ratio, b.ratio);
    case CQL_INTERVAL:
        if (!a.interval->uncertain && !b.interval->uncertain)
            return cql__interval_equivalent(c, a, b);
        return cql_equal(c, a, b) == CQL_TRUE;
    case CQL_LIST: return equivalent_lists(c, a.list, b.list);
    case CQL_TUPLE: return equivalent_tuples(c, a.tuple, b.tuple);
    default: return cql_equal(c, a, b) == CQL_TRUE;
    }
}

bool cql_equivalent(cql_op_context *c, cql_value a, cql_value b)
{
    if (cql_is_null(a) || cql_is_null(b))
        return cql_is_null(a) && cql_is_null(b);
    if (!enter(c))
        return false;
    bool same = equivalent_values(c, a, b);
    c->depth--;
    return same;
}

/* ---- order ---- */

bool cql_compare(cql_op_context *c, cql_value a, cql_value b, int *ret)
{
    switch (cql__order_of(c, a, b)) {
    case CQL__LESS: *ret = -1; return true;
    case CQL__SAME: *ret = 0; return true;
    case CQL__MORE: *ret = 1; return true;
    default: return false;
    }
}

/* =<T>(left T, right T) Boolean */
cql_value cql_op_Equal(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (args[0].kind == CQL_STRING && args[1].kind == CQL_STRING)
        return cql_bool(og_str_eq(cql_str(args[0]), cql_str(args[1])));
    return cql_tri_value(cql_equal(c, args[0], args[1]));
}

/* !=<T>(left T, right T) Boolean */
cql_value cql_op_NotEqual(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return cql_tri_value(cql__not(cql_equal(c, args[0], args[1])));
}

/* ~<T>(left T, right T) Boolean */
cql_value cql_op_Equivalent(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return cql_bool(cql_equivalent(c, args[0], args[1]));
}

static cql_value ordered(cql_op_context *c, const cql_value *args, cql__order wanted)
{
    return cql_tri_value(cql__order_is(cql__order_of(c, args[0], args[1]), wanted));
}

/* <(left T, right T) Boolean, and its like: T is a number, Quantity, Date, DateTime, Time or
 * String. */
cql_value cql_op_Less(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ordered(c, args, CQL__LESS);
}

cql_value cql_op_LessOrEqual(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ordered(c, args, CQL__LESS | CQL__SAME);
}

cql_value cql_op_Greater(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ordered(c, args, CQL__MORE);
}

cql_value cql_op_GreaterOrEqual(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ordered(c, args, CQL__MORE | CQL__SAME);
}
