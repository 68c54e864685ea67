/* Conversions between types: CQL 1.5 Appendix B.3. What cannot be converted is null; ConvertsToX
 * says beforehand whether it can be. Uncertain numbers are converted end by end. */
#include "rules/cql/ops_private.h"

#include "fhir/ucum.h"

#include <inttypes.h>

static cql_value own_string(cql_op_context *c, const char *p, size_t n)
{
    og_str s = og_arena_str(c->arena, (og_str){p, n});
    return s.p != NULL ? cql_string(s) : CQL_NULL_VALUE;
}

/* ---- numbers ---- */

/* (+|-)?#0 within [low, high]. */
static bool parse_whole(og_str s, int64_t low, int64_t high, int64_t *ret)
{
    size_t i = s.n > 0 && (s.p[0] == '+' || s.p[0] == '-');
    bool negative = i == 1 && s.p[0] == '-';
    if (i == s.n)
        return false;
    int64_t n = 0;
    for (; i < s.n; i++) {
        int digit = s.p[i] - '0';
        if (digit < 0 || digit > 9 || __builtin_mul_overflow(n, 10, &n) ||
            __builtin_sub_overflow(n, digit, &n)) /* the negative side reaches further */
            return false;
    }
    if (!negative && n == INT64_MIN)
        return false;
    n = negative ? n : -n;
    if (n < low || n > high)
        return false;
    *ret = n;
    return true;
}

/* (+|-)?#0(.0#)?, without an exponent; more than 8 places are rounded. */
static bool parse_decimal(og_str s, og_decimal *ret, int *ret_scale)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == 'e' || s.p[i] == 'E')
            return false;
    return og_decimal_parse(s, true, ret, ret_scale);
}

typedef cql_value (*converter)(cql_op_context *c, cql_value v);

/* Converts a certain value, or both ends of an uncertain one. */
static cql_value converted(cql_op_context *c, cql_value v, converter convert)
{
    if (!cql__is_uncertain(v))
        return convert(c, v);
    return cql__uncertain(c, convert(c, cql__least(v)), convert(c, cql__greatest(v)));
}

static cql_value to_integer(cql_op_context *c, cql_value v)
{
    (void)c;
    int64_t n;
    switch ((cql_kind)v.kind) {
    case CQL_BOOLEAN: return cql_integer(v.boolean);
    case CQL_INTEGER: return v;
    case CQL_LONG:
        return v.long_ >= INT32_MIN && v.long_ <= INT32_MAX ? cql_integer((int32_t)v.long_)
                                                            : CQL_NULL_VALUE;
    case CQL_STRING:
        return parse_whole(cql_str(v), INT32_MIN, INT32_MAX, &n) ? cql_integer((int32_t)n)
                                                                 : CQL_NULL_VALUE;
    default: return CQL_NULL_VALUE;
    }
}

static cql_value to_long(cql_op_context *c, cql_value v)
{
    (void)c;
    int64_t n;
    switch ((cql_kind)v.kind) {
    case CQL_BOOLEAN: return cql_long(v.boolean);
    case CQL_INTEGER: return cql_long(v.integer);
    case CQL_LONG: return v;
    case CQL_STRING:
        return parse_whole(cql_str(v), INT64_MIN, INT64_MAX, &n) ? cql_long(n) : CQL_NULL_VALUE;
    default: return CQL_NULL_VALUE;
    }
}

static cql_value to_decimal(cql_op_context *c, cql_value v)
{
    (void)c;
    og_decimal d;
    int scale;
    switch ((cql_kind)v.kind) {
    case CQL_BOOLEAN: return cql_decimal(og_decimal_of(v.boolean), 1);
    case CQL_INTEGER:
    case CQL_LONG:
    case CQL_DECIMAL: cql__number(v, &d, &scale); return cql_decimal(d, scale);
    case CQL_STRING:
        return parse_decimal(cql_str(v), &d, &scale) ? cql_decimal(d, scale) : CQL_NULL_VALUE;
    default: return CQL_NULL_VALUE;
    }
}

/* ToInteger(argument Boolean, Long or String) Integer */
cql_value cql_op_ToInteger(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converted(c, args[0], to_integer);
}

/* ToLong(argument Boolean, Integer or String) Long */
cql_value cql_op_ToLong(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converted(c, args[0], to_long);
}

/* ToDecimal(argument Boolean, Integer, Long or String) Decimal */
cql_value cql_op_ToDecimal(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converted(c, args[0], to_decimal);
}

/* ToBoolean(argument Integer, Long, Decimal or String) Boolean */
cql_value cql_op_ToBoolean(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    static const char *const yes[] = {"true", "t", "yes", "y", "1"};
    static const char *const no[] = {"false", "f", "no", "n", "0"};
    cql_value v = args[0];
    og_decimal d;
    if (v.kind == CQL_BOOLEAN)
        return v;
    if (cql__number(v, &d, NULL))
        return d == OG_DECIMAL_SCALE ? cql_bool(true) : d == 0 ? cql_bool(false) : CQL_NULL_VALUE;
    if (v.kind != CQL_STRING)
        return CQL_NULL_VALUE;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (og_str_ieq(cql_str(v), og_str_of(yes[i])))
            return cql_bool(true);
        if (og_str_ieq(cql_str(v), og_str_of(no[i])))
            return cql_bool(false);
    }
    return CQL_NULL_VALUE;
}

/* ---- quantities and ratios ---- */

static og_str trimmed(og_str s)
{
    while (s.n > 0 && s.p[0] == ' ')
        s = og_str_from(s, 1);
    while (s.n > 0 && s.p[s.n - 1] == ' ')
        s.n--;
    return s;
}

/* A number at the start of s; its length in bytes, 0 when there is none. */
static size_t number_length(og_str s)
{
    size_t i = s.n > 0 && (s.p[0] == '+' || s.p[0] == '-');
    while (i < s.n && ((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '.'))
        i++;
    return i;
}

/* (+|-)?#0(.0#)? followed by 'unit', a calendar word, or nothing. */
static cql_value parse_quantity(cql_op_context *c, og_str s)
{
    og_decimal d;
    int scale;
    size_t n = number_length(s);
    if (!parse_decimal((og_str){s.p, n}, &d, &scale))
        return CQL_NULL_VALUE;
    og_str unit = trimmed(og_str_from(s, n));
    if (unit.n == 0)
        return cql_quantity_make(c, d, scale, OG_STR("1"));
    if (unit.p[0] != '\'')
        return cql__unit_of_word(unit) != CQL__UNIT_NONE ? cql_quantity_make(c, d, scale, unit)
                                                         : CQL_NULL_VALUE;
    if (unit.n < 3 || unit.p[unit.n - 1] != '\'')
        return CQL_NULL_VALUE;
    unit = (og_str){unit.p + 1, unit.n - 2};
    if (cql__unit_of_word(unit) == CQL__UNIT_NONE && !ucum_valid(unit))
        return CQL_NULL_VALUE;
    return cql_quantity_make(c, d, scale, unit);
}

static cql_value to_quantity(cql_op_context *c, cql_value v)
{
    og_decimal d;
    int scale;
    if (v.kind == CQL_QUANTITY)
        return v;
    if (v.kind == CQL_RATIO)
        return cql__quantity_divide(c, &v.ratio->numerator, &v.ratio->denominator);
    if (v.kind == CQL_STRING)
        return parse_quantity(c, cql_str(v));
    if (!cql__number(v, &d, &scale))
        return CQL_NULL_VALUE;
    return cql_quantity_make(c, d, scale, OG_STR("1"));
}

/* ToQuantity(argument Decimal, Integer, Long, Ratio or String) Quantity */
cql_value cql_op_ToQuantity(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converted(c, args[0], to_quantity);
}

/* Ratio(numerator Quantity, denominator Quantity) Ratio */
cql_value cql_op_Ratio(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (args[0].kind != CQL_QUANTITY || args[1].kind != CQL_QUANTITY)
        return CQL_NULL_VALUE;
    cql_ratio *r = og_arena_alloc(c->arena, sizeof *r);
    if (r == NULL)
        return CQL_NULL_VALUE;
    *r = (cql_ratio){*args[0].quantity, *args[1].quantity};
    return (cql_value){.kind = CQL_RATIO, .ratio = r};
}

/* The colon between the two quantities: not one inside a quoted unit. */
static ptrdiff_t find_colon(og_str s)
{
    bool quoted = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\'')
            quoted = !quoted;
        else if (s.p[i] == ':' && !quoted)
            return (ptrdiff_t)i;
    }
    return -1;
}

/* ToRatio(argument String) Ratio: `quantity:quantity` */
cql_value cql_op_ToRatio(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (args[0].kind == CQL_RATIO)
        return args[0];
    if (args[0].kind != CQL_STRING)
        return CQL_NULL_VALUE;
    og_str s = cql_str(args[0]);
    ptrdiff_t colon = find_colon(s);
    if (colon < 0)
        return CQL_NULL_VALUE;
    cql_value parts[2] = {parse_quantity(c, trimmed((og_str){s.p, (size_t)colon})),
                          parse_quantity(c, trimmed(og_str_from(s, (size_t)colon + 1)))};
    return cql_op_Ratio(c, parts, 2);
}

/* ConvertQuantity(argument Quantity, unit String) Quantity */
cql_value cql_op_ConvertQuantity(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    og_decimal d;
    if (args[0].kind != CQL_QUANTITY || args[1].kind != CQL_STRING ||
        !cql__quantity_convert(args[0].quantity, cql_str(args[1]), &d))
        return CQL_NULL_VALUE;
    return cql_quantity_make(c, d, cql__places(d), cql_str(args[1]));
}

/* CanConvertQuantity(argument Quantity, unit String) Boolean */
cql_value cql_op_CanConvertQuantity(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    og_decimal d;
    if (args[0].kind != CQL_QUANTITY || args[1].kind != CQL_STRING)
        return CQL_NULL_VALUE;
    return cql_bool(cql__quantity_convert(args[0].quantity, cql_str(args[1]), &d));
}

/* ---- calendar ---- */

static og_temporal without_offset(og_temporal t)
{
    t.has_offset = 0;
    t.offset_min = 0;
    return t;
}

/* ToDate(argument DateTime or String) Date: the time of a DateTime string is left out. */
cql_value cql_op_ToDate(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    og_temporal t;
    bool has_t;
    if (args[0].kind == CQL_STRING) {
        if (!cql__parse_date_time(cql_str(args[0]), &t, &has_t))
            return CQL_NULL_VALUE;
    } else if (args[0].kind == CQL_DATE || args[0].kind == CQL_DATETIME) {
        t = args[0].temporal;
    } else {
        return CQL_NULL_VALUE;
    }
    return cql__temporal(CQL_DATE, without_offset(cql__truncate(t, OG_DAY)));
}

/* ToDateTime(argument Date or String) DateTime: without an offset it has the evaluation's. */
cql_value cql_op_ToDateTime(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    og_temporal t;
    bool has_t;
    if (args[0].kind == CQL_DATE || args[0].kind == CQL_DATETIME)
        return cql__temporal(CQL_DATETIME, args[0].temporal);
    if (args[0].kind != CQL_STRING || !cql__parse_date_time(cql_str(args[0]), &t, &has_t))
        return CQL_NULL_VALUE;
    return cql__temporal(CQL_DATETIME, t);
}

/* Is s an offset, Z or +hh:mm? */
static bool is_offset(og_str s)
{
    static const char day[] = "2000-01-01T00:00";
    char text[sizeof day + 8];
    og_temporal t;
    bool has_t;
    if (s.n > 6)
        return false;
    memcpy(text, day, sizeof day - 1);
    memcpy(text + sizeof day - 1, s.p, s.n);
    return cql__parse_date_time((og_str){text, sizeof day - 1 + s.n}, &t, &has_t);
}

/* ToTime(argument String) Time: with or without T; an offset is read and left out. */
cql_value cql_op_ToTime(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    og_temporal t;
    if (args[0].kind == CQL_TIME)
        return args[0];
    if (args[0].kind != CQL_STRING)
        return CQL_NULL_VALUE;
    og_str s = cql_str(args[0]);
    size_t end = 0;
    while (end < s.n && s.p[end] != '+' && s.p[end] != '-' && s.p[end] != 'Z')
        end++;
    if (end < s.n && !is_offset(og_str_from(s, end)))
        return CQL_NULL_VALUE;
    return cql__parse_time((og_str){s.p, end}, &t) ? cql__temporal(CQL_TIME, t) : CQL_NULL_VALUE;
}

/* ---- text ---- */

static size_t decimal_text(cql_value v, char out[48])
{
    return og_decimal_format(v.decimal, v.scale > 0 ? v.scale : 1, out);
}

/* value 'unit', value word: readable by ToQuantity. Returns the length, always below size. */
static size_t quantity_text(const cql_quantity *q, char *out, size_t size)
{
    char number[48];
    og_decimal_format(q->value, q->scale, number);
    int n = q->calendar ? snprintf(out, size, "%s %.*s%s", number, OG_STR_ARG(q->unit),
                                   q->value == OG_DECIMAL_SCALE ? "" : "s")
                        : snprintf(out, size, "%s '%.*s'", number, OG_STR_ARG(q->unit));
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

static cql_value quantity_string(cql_op_context *c, const cql_quantity *a, const cql_quantity *b)
{
    size_t size = 128 + a->unit.n + (b != NULL ? b->unit.n : 0), n;
    char *text = og_arena_alloc(c->arena, size);
    if (text == NULL)
        return CQL_NULL_VALUE;
    n = quantity_text(a, text, size);
    if (b != NULL) {
        text[n++] = ':';
        n += quantity_text(b, text + n, size - n);
    }
    return cql_string((og_str){text, n});
}

static cql_value to_string(cql_op_context *c, cql_value v)
{
    char text[64];
    switch ((cql_kind)v.kind) {
    case CQL_STRING: return v;
    case CQL_BOOLEAN: return cql_string(v.boolean ? OG_STR("true") : OG_STR("false"));
    case CQL_INTEGER:
        return own_string(c, text, (size_t)snprintf(text, sizeof text, "%" PRId32, v.integer));
    case CQL_LONG:
        return own_string(c, text, (size_t)snprintf(text, sizeof text, "%" PRId64, v.long_));
    case CQL_DECIMAL: return own_string(c, text, decimal_text(v, text));
    case CQL_DATE:
    case CQL_DATETIME:
    case CQL_TIME: return own_string(c, text, og_temporal_format(&v.temporal, text));
    case CQL_QUANTITY: return quantity_string(c, v.quantity, NULL);
    case CQL_RATIO: return quantity_string(c, &v.ratio->numerator, &v.ratio->denominator);
    default: return CQL_NULL_VALUE;
    }
}

/* ToString(argument T) String: readable back by the conversion of T. */
cql_value cql_op_ToString(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return to_string(c, args[0]);
}

/* ---- structures ---- */

/* ToConcept(argument Code) Concept, ToConcept(argument List<Code>) Concept */
cql_value cql_op_ToConcept(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (args[0].kind == CQL_CONCEPT)
        return args[0];
    bool single = args[0].kind == CQL_CODE;
    if (!single && args[0].kind != CQL_LIST)
        return CQL_NULL_VALUE;
    size_t n = single ? 1 : args[0].list->count, seen = 0;
    cql_concept *whole = og_arena_zalloc(c->arena, 1, sizeof *whole);
    cql_code *codes = og_arena_zalloc(c->arena, n, sizeof *codes);
    if (whole == NULL || codes == NULL)
        return CQL_NULL_VALUE;
    for (size_t i = 0; i < n; i++) {
        cql_value item = single ? args[0] : args[0].list->items[i];
        if (item.kind == CQL_CODE)
            codes[seen++] = *item.code;
    }
    *whole = (cql_concept){.codes = codes, .count = seen};
    if (single)
        whole->display = codes[0].display;
    return (cql_value){.kind = CQL_CONCEPT, .concept = whole};
}

/* ToList<T>(argument T) List<T>: null gives an empty list. */
cql_value cql_op_ToList(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (cql_is_null(args[0]))
        return cql__list(c, NULL, 0);
    cql_value *item = og_arena_alloc(c->arena, sizeof *item);
    if (item == NULL)
        return CQL_NULL_VALUE;
    *item = args[0];
    return cql__list(c, item, 1);
}

/* ---- whether it can be ---- */

static cql_value converts(cql_op_context *c, const cql_value *args, cql_op op)
{
    if (cql_is_null(args[0]))
        return CQL_NULL_VALUE;
    return cql_bool(!cql_is_null(op(c, args, 1)));
}

/* ConvertsToBoolean(argument Any) Boolean; likewise those that follow. */
cql_value cql_op_ConvertsToBoolean(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converts(c, args, cql_op_ToBoolean);
}

cql_value cql_op_ConvertsToDate(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converts(c, args, cql_op_ToDate);
}

cql_value cql_op_ConvertsToDateTime(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converts(c, args, cql_op_ToDateTime);
}

cql_value cql_op_ConvertsToDecimal(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converts(c, args, cql_op_ToDecimal);
}

cql_value cql_op_ConvertsToInteger(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converts(c, args, cql_op_ToInteger);
}

cql_value cql_op_ConvertsToLong(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converts(c, args, cql_op_ToLong);
}

cql_value cql_op_ConvertsToQuantity(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converts(c, args, cql_op_ToQuantity);
}

cql_value cql_op_ConvertsToRatio(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converts(c, args, cql_op_ToRatio);
}

cql_value cql_op_ConvertsToString(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converts(c, args, cql_op_ToString);
}

cql_value cql_op_ConvertsToTime(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return converts(c, args, cql_op_ToTime);
}
