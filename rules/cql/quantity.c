/* Quantities: a decimal and a unit, UCUM or a calendar word (CQL 1.5, 2.2.3 and Appendix B.5, B.6).
 *
 * Calendar words are kept apart from UCUM because a calendar year is not 365.25 days. Weeks and
 * what is shorter are the same in both worlds; years and months compare with years and months of
 * their own world, and only equivalence goes further (1 year ~ 1 'a', 1 year ~ 365 days). Units
 * that are written alike need no conversion, so that even a unit that UCUM does not know works with
 * itself. */
#include "rules/cql/ops_private.h"

#include "fhir/ucum.h"

static const struct {
    const char *word, *code;
} units[] = {
    [CQL__UNIT_NONE] = {"", ""},
    [CQL__UNIT_YEAR] = {"year", "a"},
    [CQL__UNIT_MONTH] = {"month", "mo"},
    [CQL__UNIT_WEEK] = {"week", "wk"},
    [CQL__UNIT_DAY] = {"day", "d"},
    [CQL__UNIT_HOUR] = {"hour", "h"},
    [CQL__UNIT_MINUTE] = {"minute", "min"},
    [CQL__UNIT_SECOND] = {"second", "s"},
    [CQL__UNIT_MILLISECOND] = {"millisecond", "ms"},
};

cql__unit cql__unit_of_word(og_str word)
{
    if (word.n > 1 && word.p[word.n - 1] == 's')
        word.n--;
    for (int u = CQL__UNIT_YEAR; u <= CQL__UNIT_MILLISECOND; u++)
        if (og_str_is(word, units[u].word))
            return (cql__unit)u;
    return CQL__UNIT_NONE;
}

cql__unit cql__unit_of_code(og_str code)
{
    for (int u = CQL__UNIT_YEAR; u <= CQL__UNIT_MILLISECOND; u++)
        if (og_str_is(code, units[u].code))
            return (cql__unit)u;
    return CQL__UNIT_NONE;
}

cql__unit cql__unit_of(const cql_quantity *q)
{
    return q->calendar ? cql__unit_of_word(q->unit) : cql__unit_of_code(q->unit);
}

og_str cql__unit_word(cql__unit u)
{
    return og_str_of(units[u].word);
}

og_str cql__unit_code(cql__unit u)
{
    return og_str_of(units[u].code);
}

og_str cql__quantity_code(const cql_quantity *q)
{
    return q->calendar ? cql__unit_code(cql__unit_of(q)) : q->unit;
}

cql_value cql__quantity_like(cql_op_context *c, og_decimal value, int scale,
                             const cql_quantity *unit)
{
    cql_quantity *q = og_arena_alloc(c->arena, sizeof *q);
    if (q == NULL)
        return CQL_NULL_VALUE;
    *q = (cql_quantity){value, (uint8_t)scale, unit->calendar, unit->unit};
    return (cql_value){.kind = CQL_QUANTITY, .quantity = q};
}

cql_value cql_quantity_make(cql_op_context *c, og_decimal value, int scale, og_str unit)
{
    cql__unit u = cql__unit_of_word(unit);
    cql_quantity like = {.calendar = u != CQL__UNIT_NONE, .unit = unit};
    if (like.calendar)
        like.unit = cql__unit_word(u);
    else if (unit.n == 0)
        like.unit = OG_STR("1");
    return cql__quantity_like(c, value, scale, &like);
}

static bool is_variable(cql__unit u)
{
    return u == CQL__UNIT_YEAR || u == CQL__UNIT_MONTH;
}

static bool same_unit(const cql_quantity *a, const cql_quantity *b)
{
    return a->calendar == b->calendar && og_str_eq(a->unit, b->unit);
}

static cql__order order_of_decimals(og_decimal a, og_decimal b)
{
    return a < b ? CQL__LESS : a > b ? CQL__MORE : CQL__SAME;
}

/* Years and months of the calendar as months. */
static og_int128 months(const cql_quantity *q)
{
    return cql__unit_of(q) == CQL__UNIT_YEAR ? q->value * 12 : q->value;
}

cql__order cql__quantity_order(const cql_quantity *a, const cql_quantity *b)
{
    if (same_unit(a, b))
        return order_of_decimals(a->value, b->value);
    if (a->calendar || b->calendar) {
        bool va = is_variable(cql__unit_of(a)), vb = is_variable(cql__unit_of(b));
        if (va && vb && a->calendar && b->calendar)
            return order_of_decimals(months(a), months(b));
        if ((a->calendar && va) || (b->calendar && vb))
            return 0; /* a calendar year or month against a definite duration */
    }
    int order;
    if (!ucum_compare(a->value, cql__quantity_code(a), b->value, cql__quantity_code(b), &order))
        return 0;
    return order < 0 ? CQL__LESS : order > 0 ? CQL__MORE : CQL__SAME;
}

/* ---- equivalence ---- */

static bool decimals_alike(og_decimal a, og_decimal b)
{
    int pa = cql__places(a), pb = cql__places(b);
    int places = pa < pb ? pa : pb;
    return og_decimal_round(a, places) == og_decimal_round(b, places);
}

/* The calendar's factors, taken directly from unit to unit (B.5 Equivalent): 0 when it has none. */
static int calendar_factor(cql__unit from, cql__unit to)
{
    if (from == CQL__UNIT_YEAR && to == CQL__UNIT_MONTH)
        return 12;
    if (from == CQL__UNIT_YEAR && to == CQL__UNIT_DAY)
        return 365;
    if (from == CQL__UNIT_MONTH && to == CQL__UNIT_DAY)
        return 30;
    return from == to ? 1 : 0;
}

/* q, counted in years or months, as days; unchanged when it is counted in something else. */
static bool in_days(const cql_quantity *q, cql_quantity *ret)
{
    int factor = calendar_factor(cql__unit_of(q), CQL__UNIT_DAY);
    *ret = *q;
    if (factor == 0)
        return true;
    ret->calendar = false;
    ret->unit = OG_STR("d");
    return og_decimal_mul(q->value, og_decimal_of(factor), &ret->value);
}

/* One of them is a calendar year or month, or the other's counterpart. */
static bool calendar_equivalent(const cql_quantity *a, const cql_quantity *b)
{
    if (is_variable(cql__unit_of(a)) && is_variable(cql__unit_of(b)))
        return cql__unit_of(a) == cql__unit_of(b) ? decimals_alike(a->value, b->value)
                                                  : months(a) == months(b);
    cql_quantity x, y;
    return in_days(a, &x) && in_days(b, &y) && cql__quantity_equivalent(&x, &y);
}

bool cql__quantity_equivalent(const cql_quantity *a, const cql_quantity *b)
{
    if (same_unit(a, b))
        return decimals_alike(a->value, b->value);
    if ((a->calendar && is_variable(cql__unit_of(a))) ||
        (b->calendar && is_variable(cql__unit_of(b))))
        return calendar_equivalent(a, b);
    og_str ua = cql__quantity_code(a), ub = cql__quantity_code(b);
    if (og_str_eq(ua, ub))
        return decimals_alike(a->value, b->value);
    int order;
    if (!ucum_compare(OG_DECIMAL_SCALE, ua, OG_DECIMAL_SCALE, ub, &order))
        return false;
    og_decimal v; /* the coarser unit is the common one */
    if (order >= 0)
        return ucum_convert(b->value, ub, ua, &v) && decimals_alike(a->value, v);
    return ucum_convert(a->value, ua, ub, &v) && decimals_alike(v, b->value);
}

/* ---- arithmetic ---- */

/* A unit whose zero is not zero (Cel, [degF]) has no sums and products. */
static bool is_special(og_str from, og_str to)
{
    og_decimal zero;
    return !ucum_convert(0, from, to, &zero) || zero != 0;
}

bool cql__quantity_unify(const cql_quantity *a, const cql_quantity *b, og_decimal *ret_a,
                         og_decimal *ret_b, const cql_quantity **ret_unit)
{
    *ret_a = a->value;
    *ret_b = b->value;
    *ret_unit = a;
    if (same_unit(a, b))
        return true;
    if (a->calendar && b->calendar && is_variable(cql__unit_of(a)) &&
        is_variable(cql__unit_of(b))) {
        bool a_is_year = cql__unit_of(a) == CQL__UNIT_YEAR;
        *ret_unit = a_is_year ? b : a;
        return og_decimal_mul(a_is_year ? a->value : b->value, og_decimal_of(12),
                              a_is_year ? ret_a : ret_b);
    }
    if ((a->calendar && is_variable(cql__unit_of(a))) ||
        (b->calendar && is_variable(cql__unit_of(b))))
        return false;
    og_str ua = cql__quantity_code(a), ub = cql__quantity_code(b);
    if (og_str_eq(ua, ub))
        return true;
    int order;
    if (is_special(ua, ub) || !ucum_compare(OG_DECIMAL_SCALE, ua, OG_DECIMAL_SCALE, ub, &order))
        return false;
    if (order <= 0)
        return ucum_convert(b->value, ub, ua, ret_b);
    *ret_unit = b;
    return ucum_convert(a->value, ua, ub, ret_a);
}

bool cql__quantity_convert(const cql_quantity *q, og_str unit, og_decimal *ret)
{
    cql__unit word = cql__unit_of_word(unit);
    cql_quantity to = {.calendar = word != CQL__UNIT_NONE, .unit = unit};
    if (to.calendar)
        to.unit = cql__unit_word(word);
    if (same_unit(q, &to)) {
        *ret = q->value;
        return true;
    }
    cql__unit from = cql__unit_of(q), into = cql__unit_of(&to);
    bool variable = (q->calendar && is_variable(from)) || (to.calendar && is_variable(into));
    if (!variable)
        return ucum_convert(q->value, cql__quantity_code(q), cql__quantity_code(&to), ret);
    if (!is_variable(from) || !is_variable(into) || q->calendar != to.calendar)
        return false;
    if (from == CQL__UNIT_YEAR)
        return og_decimal_mul(q->value, og_decimal_of(12), ret);
    return og_decimal_div(q->value, og_decimal_of(12), ret);
}

static bool is_one(og_str unit)
{
    return unit.n == 0 || og_str_is(unit, "1");
}

static cql_value with_unit(cql_op_context *c, og_decimal value, const char *text)
{
    cql_quantity like = {.unit = og_arena_str(c->arena, og_str_of(text))};
    if (like.unit.p == NULL)
        return CQL_NULL_VALUE;
    if (like.unit.n == 0)
        like.unit = OG_STR("1");
    return cql__quantity_like(c, value, cql__places(value), &like);
}

/* A factor that is left when units of one dimension meet (cm in m) goes into the value: every unit
 * of b that a knows is brought to a's. */
cql_value cql__quantity_multiply(cql_op_context *c, const cql_quantity *a, const cql_quantity *b)
{
    og_decimal value;
    if (!og_decimal_mul(a->value, b->value, &value))
        return CQL_NULL_VALUE;
    if (is_one(b->unit))
        return cql__quantity_like(c, value, cql__places(value), a);
    if (is_one(a->unit))
        return cql__quantity_like(c, value, cql__places(value), b);
    og_str ua = cql__quantity_code(a), ub = cql__quantity_code(b);
    if (ucum_comparable(ua, ub) && !og_str_eq(ua, ub)) {
        og_decimal in_a;
        if (is_special(ua, ub) || !ucum_convert(b->value, ub, ua, &in_a) ||
            !og_decimal_mul(a->value, in_a, &value))
            return CQL_NULL_VALUE;
        ub = ua;
    }
    char unit[256];
    if (!ucum_multiply(ua, ub, unit, sizeof unit))
        return CQL_NULL_VALUE;
    return with_unit(c, value, unit);
}

cql_value cql__quantity_divide(cql_op_context *c, const cql_quantity *a, const cql_quantity *b)
{
    og_decimal value, divisor = b->value;
    og_str ua = cql__quantity_code(a), ub = cql__quantity_code(b);
    bool alike = og_str_eq(ua, ub);
    if (!alike && !is_one(ub) && ucum_comparable(ua, ub)) {
        if (is_special(ua, ub) || !ucum_convert(b->value, ub, ua, &divisor))
            return CQL_NULL_VALUE;
        alike = true;
    }
    if (!og_decimal_div(a->value, divisor, &value))
        return CQL_NULL_VALUE;
    if (is_one(ub))
        return cql__quantity_like(c, value, cql__places(value), a);
    if (alike)
        return with_unit(c, value, "1");
    char unit[256];
    if (!ucum_divide(ua, ub, unit, sizeof unit))
        return CQL_NULL_VALUE;
    return with_unit(c, value, unit);
}
