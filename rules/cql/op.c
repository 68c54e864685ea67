/* What all operator files share: run-time errors, three-valued logic, uncertain values, and the
 * order of two values, which every comparison, timing phrase and interval operator is made of.
 *
 * An uncertain value is an interval flagged `uncertain`: it stands for one value somewhere inside
 * (CQL 1.5, 5.5 Uncertainty). Order is therefore a set of possibilities, and an operator asks
 * whether what it looks for is certain, impossible or neither. */
#include "rules/cql/ops_private.h"

#include <stdarg.h>

cql_value cql_op_fail(cql_op_context *c, const char *fmt, ...)
{
    char text[sizeof((og_error *)0)->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    og_fail(c->err, OG_EVAL, "%s", text);
    return CQL_NULL_VALUE;
}

cql_value cql_tri_value(cql_tri t)
{
    return t == CQL_UNKNOWN ? CQL_NULL_VALUE : cql_bool(t == CQL_TRUE);
}

cql_tri cql__and(cql_tri a, cql_tri b)
{
    if (a == CQL_FALSE || b == CQL_FALSE)
        return CQL_FALSE;
    return a == CQL_TRUE && b == CQL_TRUE ? CQL_TRUE : CQL_UNKNOWN;
}

cql_tri cql__or(cql_tri a, cql_tri b)
{
    return cql__not(cql__and(cql__not(a), cql__not(b)));
}

cql_tri cql__not(cql_tri a)
{
    return a == CQL_UNKNOWN ? CQL_UNKNOWN : a == CQL_TRUE ? CQL_FALSE : CQL_TRUE;
}

/* ---- uncertainty ---- */

bool cql__is_uncertain(cql_value v)
{
    return v.kind == CQL_INTERVAL && v.interval->uncertain;
}

bool cql__is_interval(cql_value v)
{
    return v.kind == CQL_INTERVAL && !v.interval->uncertain;
}

cql_value cql__least(cql_value v)
{
    return cql__is_uncertain(v) ? v.interval->low : v;
}

cql_value cql__greatest(cql_value v)
{
    return cql__is_uncertain(v) ? v.interval->high : v;
}

cql_value cql__uncertain(cql_op_context *c, cql_value low, cql_value high)
{
    low = cql__least(low);
    high = cql__greatest(high);
    if (cql_is_null(low) || cql_is_null(high))
        return CQL_NULL_VALUE;
    if (cql__order_of(c, low, high) == CQL__SAME)
        return low;
    cql_interval *i = og_arena_zalloc(c->arena, 1, sizeof *i);
    if (i == NULL)
        return CQL_NULL_VALUE;
    *i = (cql_interval){.low = low,
                        .high = high,
                        .low_closed = true,
                        .high_closed = true,
                        .point = low.kind,
                        .uncertain = true};
    return (cql_value){.kind = CQL_INTERVAL, .interval = i};
}

cql_value cql__list(cql_op_context *c, const cql_value *items, size_t count)
{
    cql_list *l = og_arena_alloc(c->arena, sizeof *l);
    if (l == NULL)
        return CQL_NULL_VALUE;
    *l = (cql_list){items, count};
    return (cql_value){.kind = CQL_LIST, .list = l};
}

/* ---- order ---- */

int cql__places(og_decimal d)
{
    int places = OG_DECIMAL_PLACES;
    while (places > 0 && d % 10 == 0) {
        d /= 10;
        places--;
    }
    return places;
}

bool cql__number(cql_value v, og_decimal *ret, int *ret_scale)
{
    int scale = 0;
    switch ((cql_kind)v.kind) {
    case CQL_INTEGER: *ret = og_decimal_of(v.integer); break;
    case CQL_LONG: *ret = og_decimal_of(v.long_); break;
    case CQL_DECIMAL:
        *ret = v.decimal;
        scale = v.scale;
        break;
    default: return false;
    }
    if (ret_scale != NULL)
        *ret_scale = scale;
    return true;
}

static cql__order order_of_sign(int sign)
{
    return sign < 0 ? CQL__LESS : sign > 0 ? CQL__MORE : CQL__SAME;
}

static bool is_number(cql_value v)
{
    return v.kind == CQL_INTEGER || v.kind == CQL_LONG || v.kind == CQL_DECIMAL;
}

/* A quantity or a number as one with the default unit. */
static bool as_quantity(cql_value v, cql_quantity *ret)
{
    if (v.kind == CQL_QUANTITY) {
        *ret = *v.quantity;
        return true;
    }
    og_decimal d;
    if (!cql__number(v, &d, NULL))
        return false;
    *ret = (cql_quantity){.value = d, .unit = OG_STR("1")};
    return true;
}

static cql__order order_of_points(cql_op_context *c, cql_value a, cql_value b, int precision,
                                  bool timing)
{
    if (cql__is_temporal(a) && cql__is_temporal(b)) {
        if ((a.kind == CQL_TIME) != (b.kind == CQL_TIME))
            return 0;
        return cql__temporal_order(c, a, b, precision, timing);
    }
    if (is_number(a) && is_number(b)) {
        og_decimal x = 0, y = 0;
        cql__number(a, &x, NULL);
        cql__number(b, &y, NULL);
        return order_of_sign(x < y ? -1 : x > y);
    }
    if (a.kind == CQL_QUANTITY || b.kind == CQL_QUANTITY) {
        cql_quantity x, y;
        return as_quantity(a, &x) && as_quantity(b, &y) ? cql__quantity_order(&x, &y) : 0;
    }
    if (a.kind != b.kind)
        return 0;
    if (a.kind == CQL_STRING)
        return order_of_sign(og_str_cmp(cql_str(a), cql_str(b)));
    if (a.kind == CQL_BOOLEAN && a.boolean == b.boolean)
        return CQL__SAME;
    return 0;
}

static cql__order order_of(cql_op_context *c, cql_value a, cql_value b, int precision, bool timing)
{
    if (!cql__is_uncertain(a) && !cql__is_uncertain(b))
        return order_of_points(c, a, b, precision, timing);
    cql__order low = order_of_points(c, cql__least(a), cql__greatest(b), precision, timing);
    cql__order high = order_of_points(c, cql__greatest(a), cql__least(b), precision, timing);
    if (low == 0 || high == 0)
        return 0;
    cql__order order = (low & CQL__LESS) | (high & CQL__MORE);
    if ((low & (CQL__LESS | CQL__SAME)) != 0 && (high & (CQL__MORE | CQL__SAME)) != 0)
        order |= CQL__SAME;
    return order;
}

/* Two whole days, or two integers: most of what rules compare. */
static bool plain_order(const cql_value *a, const cql_value *b, int64_t *ret)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == CQL_INTEGER) {
        *ret = (int64_t)a->integer - b->integer;
        return true;
    }
    const og_temporal *x = &a->temporal, *y = &b->temporal;
    if (a->kind != CQL_DATE || x->precision != OG_DAY || y->precision != OG_DAY)
        return false;
    *ret = (x->year * 512 + x->month * 32 + x->day) - (y->year * 512 + y->month * 32 + y->day);
    return true;
}

cql__order cql__order_of(cql_op_context *c, cql_value a, cql_value b)
{
    int64_t plain;
    if (plain_order(&a, &b, &plain))
        return plain < 0 ? CQL__LESS : plain > 0 ? CQL__MORE : CQL__SAME;
    return order_of(c, a, b, 0, false);
}

cql__order cql__order_at(cql_op_context *c, cql_value a, cql_value b, int precision)
{
    return order_of(c, a, b, precision, true);
}

cql_tri cql__order_is(cql__order order, cql__order wanted)
{
    if (order == 0)
        return CQL_UNKNOWN;
    if ((order & wanted) == 0)
        return CQL_FALSE;
    return (order & ~wanted) == 0 ? CQL_TRUE : CQL_UNKNOWN;
}
