/* Arithmetic: CQL 1.5 Appendix B.6. What cannot be represented is null, never wrapped or cut.
 *
 * Operands arrive in one type (ELM has made conversions explicit); where a choice lets them differ
 * they meet in the wider one: Integer, Long, Decimal, Quantity. Uncertain integers (from durations)
 * add, subtract, multiply and negate by their ends; other operators refuse them with an error.
 * Decimals are exact, or the exact result rounded to 8 places. */
#include "rules/cql/ops_private.h"

typedef enum op { OP_ADD, OP_SUBTRACT, OP_MULTIPLY, OP_DIVIDE, OP_MODULO, OP_DIV } op;

static bool either_null(const cql_value *args)
{
    return cql_is_null(args[0]) || cql_is_null(args[1]);
}

static cql_value as_integer(int64_t n)
{
    return n >= INT32_MIN && n <= INT32_MAX ? cql_integer((int32_t)n) : CQL_NULL_VALUE;
}

static cql_value as_decimal(og_decimal d, int scale)
{
    if (!og_decimal_fits(d))
        return CQL_NULL_VALUE;
    return cql_decimal(d, scale < OG_DECIMAL_PLACES ? scale : OG_DECIMAL_PLACES);
}

static int max_scale(int a, int b)
{
    return a > b ? a : b;
}

/* ---- two operands ---- */

static bool integer_op(op o, int64_t a, int64_t b, int64_t *ret)
{
    switch (o) {
    case OP_ADD: return !__builtin_add_overflow(a, b, ret);
    case OP_SUBTRACT: return !__builtin_sub_overflow(a, b, ret);
    case OP_MULTIPLY: return !__builtin_mul_overflow(a, b, ret);
    case OP_MODULO:
        if (b == 0)
            return false;
        *ret = b == -1 ? 0 : a % b;
        return true;
    default:
        if (b == 0 || (a == INT64_MIN && b == -1))
            return false;
        *ret = a / b;
        return true;
    }
}

static bool decimal_op(op o, og_decimal a, og_decimal b, og_decimal *ret)
{
    switch (o) {
    case OP_ADD: return og_decimal_add(a, b, ret);
    case OP_SUBTRACT: return og_decimal_sub(a, b, ret);
    case OP_MULTIPLY: return og_decimal_mul(a, b, ret);
    case OP_DIVIDE: return og_decimal_div(a, b, ret);
    case OP_MODULO:
        if (b == 0)
            return false;
        *ret = a % b;
        return true;
    case OP_DIV:
        if (b == 0)
            return false;
        og_int128 q = a / b;
        if (q > OG_DECIMAL_LIMIT / OG_DECIMAL_SCALE || q < -OG_DECIMAL_LIMIT / OG_DECIMAL_SCALE)
            return false;
        *ret = q * OG_DECIMAL_SCALE;
        return true;
    }
    return false;
}

static int scale_after(op o, int a, int b, og_decimal result)
{
    switch (o) {
    case OP_MULTIPLY: return max_scale(a + b, 1);
    case OP_DIVIDE: return max_scale(cql__places(result), 1);
    case OP_DIV: return 1;
    default: return max_scale(a, b);
    }
}

/* div and mod keep the unit of the left side when both can be brought to it (3.5 'cm' mod 3 'cm' is
 * 0.5 'cm'; the suite wants the same of div). */
static cql_value quantity_op(cql_op_context *c, op o, const cql_quantity *a, const cql_quantity *b)
{
    if (o == OP_MULTIPLY)
        return cql__quantity_multiply(c, a, b);
    if (o == OP_DIVIDE)
        return cql__quantity_divide(c, a, b);
    og_decimal x, y, value;
    const cql_quantity *unit;
    bool plain_divisor = (o == OP_DIV || o == OP_MODULO) && og_str_is(b->unit, "1");
    if (plain_divisor) {
        x = a->value;
        y = b->value;
        unit = a;
    } else if (!cql__quantity_unify(a, b, &x, &y, &unit)) {
        return CQL_NULL_VALUE;
    }
    if (!decimal_op(o, x, y, &value))
        return CQL_NULL_VALUE;
    int scale = max_scale(scale_after(o, a->scale, b->scale, value), cql__places(value));
    return cql__quantity_like(c, value, o == OP_DIV ? 0 : scale, unit);
}

static bool as_quantity(cql_value v, cql_quantity *ret)
{
    if (v.kind == CQL_QUANTITY) {
        *ret = *v.quantity;
        return true;
    }
    int scale;
    og_decimal d;
    if (!cql__number(v, &d, &scale))
        return false;
    *ret = (cql_quantity){.value = d, .scale = (uint8_t)scale, .unit = OG_STR("1")};
    return true;
}

static bool is_whole(cql_value v)
{
    return v.kind == CQL_INTEGER || v.kind == CQL_LONG;
}

static int64_t whole(cql_value v)
{
    return v.kind == CQL_INTEGER ? v.integer : v.long_;
}

static cql_value certain_op(cql_op_context *c, op o, cql_value a, cql_value b)
{
    if (a.kind == CQL_QUANTITY || b.kind == CQL_QUANTITY) {
        cql_quantity x, y;
        return as_quantity(a, &x) && as_quantity(b, &y) ? quantity_op(c, o, &x, &y)
                                                        : CQL_NULL_VALUE;
    }
    if (is_whole(a) && is_whole(b) && o != OP_DIVIDE) {
        int64_t n;
        if (!integer_op(o, whole(a), whole(b), &n))
            return CQL_NULL_VALUE;
        return a.kind == CQL_LONG || b.kind == CQL_LONG ? cql_long(n) : as_integer(n);
    }
    og_decimal x, y, value;
    int sx, sy;
    if (!cql__number(a, &x, &sx) || !cql__number(b, &y, &sy) || !decimal_op(o, x, y, &value))
        return CQL_NULL_VALUE;
    return as_decimal(value, scale_after(o, sx, sy, value));
}

/* The ends of a product are among the products of the ends. */
static cql_value uncertain_product(cql_op_context *c, cql_value a, cql_value b)
{
    cql_value low = CQL_NULL_VALUE, high = CQL_NULL_VALUE;
    for (int i = 0; i < 4; i++) {
        cql_value p = certain_op(c, OP_MULTIPLY, i & 1 ? cql__greatest(a) : cql__least(a),
                                 i & 2 ? cql__greatest(b) : cql__least(b));
        if (cql_is_null(p))
            return CQL_NULL_VALUE;
        if (i == 0 || cql__order_of(c, p, low) == CQL__LESS)
            low = p;
        if (i == 0 || cql__order_of(c, p, high) == CQL__MORE)
            high = p;
    }
    return cql__uncertain(c, low, high);
}

static cql_value refuse_uncertain(cql_op_context *c)
{
    return cql_op_fail(c, "this operator is not defined for an uncertain value");
}

static cql_value binary(cql_op_context *c, op o, const cql_value *args)
{
    if (either_null(args))
        return CQL_NULL_VALUE;
    cql_value a = args[0], b = args[1];
    if (!cql__is_uncertain(a) && !cql__is_uncertain(b))
        return certain_op(c, o, a, b);
    switch (o) {
    case OP_ADD:
        return cql__uncertain(c, certain_op(c, o, cql__least(a), cql__least(b)),
                              certain_op(c, o, cql__greatest(a), cql__greatest(b)));
    case OP_SUBTRACT: /* the least result takes the greatest away */
        return cql__uncertain(c, certain_op(c, o, cql__least(a), cql__greatest(b)),
                              certain_op(c, o, cql__greatest(a), cql__least(b)));
    case OP_MULTIPLY: return uncertain_product(c, a, b);
    default: return refuse_uncertain(c);
    }
}

/* +(left T, right T) T, +(left Date, right Quantity) Date and its like, +(left String, right
 * String) */
cql_value cql_op_Add(cql_op_context *c, const cql_value *args, size_t count)
{
    if (cql__is_temporal(args[0]) && args[1].kind == CQL_QUANTITY)
        return cql__temporal_add_quantity(c, args[0], args[1].quantity, 1);
    if (args[0].kind == CQL_STRING && args[1].kind == CQL_STRING)
        return cql_op_Concatenate(c, args, count);
    return binary(c, OP_ADD, args);
}

/* -(left T, right T) T, -(left Date, right Quantity) Date and its like */
cql_value cql_op_Subtract(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (cql__is_temporal(args[0]) && args[1].kind == CQL_QUANTITY)
        return cql__temporal_add_quantity(c, args[0], args[1].quantity, -1);
    return binary(c, OP_SUBTRACT, args);
}

/* *(left T, right T) T */
cql_value cql_op_Multiply(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return binary(c, OP_MULTIPLY, args);
}

/* /(left Decimal, right Decimal) Decimal, /(left Quantity, right Quantity) Quantity */
cql_value cql_op_Divide(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return binary(c, OP_DIVIDE, args);
}

/* div(left T, right T) T */
cql_value cql_op_TruncatedDivide(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return binary(c, OP_DIV, args);
}

/* mod(left T, right T) T */
cql_value cql_op_Modulo(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return binary(c, OP_MODULO, args);
}

/* ---- powers and logarithms ---- */

/* A Decimal with as many places as it needs. */
static cql_value shortest(og_decimal d)
{
    return cql_decimal(d, max_scale(cql__places(d), 1));
}

static bool whole_power(int64_t base, int64_t exponent, int64_t *ret)
{
    int64_t result = 1;
    if (base == 0 || base == 1 || base == -1) {
        *ret = exponent == 0 ? 1 : base == -1 && exponent % 2 == 0 ? 1 : base;
        return true;
    }
    for (int64_t i = 0; i < exponent; i++)
        if (__builtin_mul_overflow(result, base, &result))
            return false;
    *ret = result;
    return true;
}

/* ^(argument T, exponent T) T; whole numbers with a negative exponent give a Decimal. */
cql_value cql_op_Power(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (either_null(args))
        return CQL_NULL_VALUE;
    if (cql__is_uncertain(args[0]) || cql__is_uncertain(args[1]))
        return refuse_uncertain(c);
    if (is_whole(args[0]) && is_whole(args[1]) && whole(args[1]) >= 0) {
        int64_t n;
        if (!whole_power(whole(args[0]), whole(args[1]), &n))
            return CQL_NULL_VALUE;
        return args[0].kind == CQL_LONG || args[1].kind == CQL_LONG ? cql_long(n) : as_integer(n);
    }
    og_decimal base, exponent, d;
    if (!cql__number(args[0], &base, NULL) || !cql__number(args[1], &exponent, NULL))
        return CQL_NULL_VALUE;
    return og_decimal_power(base, exponent, &d) ? shortest(d) : CQL_NULL_VALUE;
}

static cql_value through_real(cql_op_context *c, cql_value v, bool (*f)(og_decimal, og_decimal *))
{
    og_decimal x, d;
    if (cql__is_uncertain(v))
        return refuse_uncertain(c);
    return cql__number(v, &x, NULL) && f(x, &d) ? shortest(d) : CQL_NULL_VALUE;
}

/* Exp(argument Decimal) Decimal */
cql_value cql_op_Exp(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return through_real(c, args[0], og_decimal_exp);
}

/* Ln(argument Decimal) Decimal: null for what is not above 0. */
cql_value cql_op_Ln(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return through_real(c, args[0], og_decimal_ln);
}

/* Log(argument Decimal, base Decimal) Decimal: null for base 1. */
cql_value cql_op_Log(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    og_decimal x, base, d;
    if (cql__is_uncertain(args[0]) || cql__is_uncertain(args[1]))
        return refuse_uncertain(c);
    if (!cql__number(args[0], &x, NULL) || !cql__number(args[1], &base, NULL))
        return CQL_NULL_VALUE;
    return og_decimal_log(x, base, &d) ? shortest(d) : CQL_NULL_VALUE;
}

/* ---- one operand ---- */

static cql_value negated(cql_op_context *c, cql_value v)
{
    switch ((cql_kind)v.kind) {
    case CQL_INTEGER: return as_integer(-(int64_t)v.integer);
    case CQL_LONG: return v.long_ == INT64_MIN ? CQL_NULL_VALUE : cql_long(-v.long_);
    case CQL_DECIMAL: return cql_decimal(-v.decimal, v.scale);
    case CQL_QUANTITY:
        return cql__quantity_like(c, -v.quantity->value, v.quantity->scale, v.quantity);
    default: return CQL_NULL_VALUE;
    }
}

/* -(argument T) T */
cql_value cql_op_Negate(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (cql__is_uncertain(args[0]))
        return cql__uncertain(c, negated(c, cql__greatest(args[0])),
                              negated(c, cql__least(args[0])));
    return negated(c, args[0]);
}

static bool is_negative(cql_value v)
{
    og_decimal d;
    if (v.kind == CQL_QUANTITY)
        return v.quantity->value < 0;
    return cql__number(v, &d, NULL) && d < 0;
}

/* Abs(argument T) T */
cql_value cql_op_Abs(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    cql_value v = args[0];
    if (cql__is_uncertain(v)) {
        cql_value low = cql__least(v), high = cql__greatest(v);
        if (!is_negative(low))
            return v;
        if (is_negative(high))
            return cql_op_Negate(c, args, 1);
        cql_value up = negated(c, low);
        bool further = cql__order_of(c, up, high) == CQL__MORE;
        return cql__uncertain(c, cql_integer(0), further ? up : high);
    }
    if (v.kind == CQL_DECIMAL || v.kind == CQL_INTEGER || v.kind == CQL_LONG ||
        v.kind == CQL_QUANTITY)
        return is_negative(v) ? negated(c, v) : v;
    return CQL_NULL_VALUE;
}

typedef enum direction { TOWARDS_ZERO, UP, DOWN } direction;

static cql_value to_whole(cql_op_context *c, cql_value v, direction to)
{
    og_decimal d;
    if (cql__is_uncertain(v))
        return refuse_uncertain(c);
    if (!cql__number(v, &d, NULL))
        return CQL_NULL_VALUE;
    og_int128 n = d / OG_DECIMAL_SCALE, rest = d % OG_DECIMAL_SCALE;
    n += to == UP && rest > 0;
    n -= to == DOWN && rest < 0;
    return n >= INT32_MIN && n <= INT32_MAX ? cql_integer((int32_t)n) : CQL_NULL_VALUE;
}

/* Ceiling(argument Decimal) Integer */
cql_value cql_op_Ceiling(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return to_whole(c, args[0], UP);
}

/* Floor(argument Decimal) Integer */
cql_value cql_op_Floor(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return to_whole(c, args[0], DOWN);
}

/* Truncate(argument Decimal) Integer */
cql_value cql_op_Truncate(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return to_whole(c, args[0], TOWARDS_ZERO);
}

/* Round(argument Decimal, precision Integer) Decimal; also of a Quantity. Half goes away from zero.
 */
cql_value cql_op_Round(cql_op_context *c, const cql_value *args, size_t count)
{
    int places = count > 1 && args[1].kind == CQL_INTEGER ? args[1].integer : 0;
    int scale = places < 0 ? 0 : places > OG_DECIMAL_PLACES ? OG_DECIMAL_PLACES : places;
    og_decimal d;
    if (args[0].kind == CQL_QUANTITY) {
        d = og_decimal_round(args[0].quantity->value, places);
        return og_decimal_fits(d) ? cql__quantity_like(c, d, scale, args[0].quantity)
                                  : CQL_NULL_VALUE;
    }
    if (cql__is_uncertain(args[0]))
        return refuse_uncertain(c);
    if (!cql__number(args[0], &d, NULL))
        return CQL_NULL_VALUE;
    return as_decimal(og_decimal_round(d, places), max_scale(scale, 1));
}

/* ---- successor, predecessor, ranges ---- */

static cql_value step(cql_op_context *c, cql_value v, int by)
{
    og_decimal d;
    switch ((cql_kind)v.kind) {
    case CQL_INTEGER: return as_integer((int64_t)v.integer + by);
    case CQL_LONG: {
        int64_t n;
        return __builtin_add_overflow(v.long_, by, &n) ? CQL_NULL_VALUE : cql_long(n);
    }
    case CQL_DECIMAL:
        return og_decimal_add(v.decimal, by, &d) ? cql_decimal(d, OG_DECIMAL_PLACES)
                                                 : CQL_NULL_VALUE;
    case CQL_QUANTITY:
        return og_decimal_add(v.quantity->value, by, &d)
                   ? cql__quantity_like(c, d, OG_DECIMAL_PLACES, v.quantity)
                   : CQL_NULL_VALUE;
    case CQL_DATE:
    case CQL_DATETIME:
    case CQL_TIME: {
        og_temporal t = v.temporal;
        return cql__temporal_add(&t, t.precision, by, false) ? cql__temporal((cql_kind)v.kind, t)
                                                             : CQL_NULL_VALUE;
    }
    default: return CQL_NULL_VALUE;
    }
}

/* An uncertain end that is already at the end of its type stays there. */
static cql_value step_of(cql_op_context *c, cql_value v, int by)
{
    if (!cql__is_uncertain(v))
        return step(c, v, by);
    cql_value low = step(c, cql__least(v), by), high = step(c, cql__greatest(v), by);
    return cql__uncertain(c, cql_is_null(low) ? cql__least(v) : low,
                          cql_is_null(high) ? cql__greatest(v) : high);
}

cql_value cql_successor(cql_op_context *c, cql_value v)
{
    return step_of(c, v, 1);
}

cql_value cql_predecessor(cql_op_context *c, cql_value v)
{
    return step_of(c, v, -1);
}

/* Is v the end of its type, although numbers go on behind it? */
static bool is_end_of_type(cql_value v, og_decimal end)
{
    return (v.kind == CQL_DECIMAL && v.decimal == end) ||
           (v.kind == CQL_QUANTITY && v.quantity->value == end);
}

/* successor of(argument T) T: null for the maximum of the type */
cql_value cql_op_Successor(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (is_end_of_type(args[0], OG_DECIMAL_MAX))
        return CQL_NULL_VALUE;
    return cql_successor(c, args[0]);
}

/* predecessor of(argument T) T: null for the minimum of the type */
cql_value cql_op_Predecessor(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (is_end_of_type(args[0], OG_DECIMAL_MIN))
        return CQL_NULL_VALUE;
    return cql_predecessor(c, args[0]);
}

static const og_temporal first_date = {.precision = OG_DAY, .year = 1, .month = 1, .day = 1};
static const og_temporal last_date = {.precision = OG_DAY, .year = 9999, .month = 12, .day = 31};
static const og_temporal first_instant = {
    .precision = OG_MILLISECOND, .has_offset = 1, .year = 1, .month = 1, .day = 1};
static const og_temporal last_instant = {.precision = OG_MILLISECOND,
                                         .has_offset = 1,
                                         .year = 9999,
                                         .month = 12,
                                         .day = 31,
                                         .hour = 23,
                                         .minute = 59,
                                         .second = 59,
                                         .ms = 999};
static const og_temporal midnight = {.precision = OG_MILLISECOND};
static const og_temporal last_time = {
    .precision = OG_MILLISECOND, .hour = 23, .minute = 59, .second = 59, .ms = 999};

cql_value cql__min_of(cql_kind kind)
{
    static const cql_quantity least = {.value = OG_DECIMAL_MIN, .scale = 8, .unit = {"1", 1}};
    switch (kind) {
    case CQL_INTEGER: return cql_integer(INT32_MIN);
    case CQL_LONG: return cql_long(INT64_MIN);
    case CQL_DECIMAL: return cql_decimal(OG_DECIMAL_MIN, OG_DECIMAL_PLACES);
    case CQL_QUANTITY: return (cql_value){.kind = CQL_QUANTITY, .quantity = &least};
    case CQL_DATE: return cql__temporal(kind, first_date);
    case CQL_DATETIME: return cql__temporal(kind, first_instant);
    case CQL_TIME: return cql__temporal(kind, midnight);
    default: return CQL_NULL_VALUE;
    }
}

cql_value cql__max_of(cql_kind kind)
{
    static const cql_quantity most = {.value = OG_DECIMAL_MAX, .scale = 8, .unit = {"1", 1}};
    switch (kind) {
    case CQL_INTEGER: return cql_integer(INT32_MAX);
    case CQL_LONG: return cql_long(INT64_MAX);
    case CQL_DECIMAL: return cql_decimal(OG_DECIMAL_MAX, OG_DECIMAL_PLACES);
    case CQL_QUANTITY: return (cql_value){.kind = CQL_QUANTITY, .quantity = &most};
    case CQL_DATE: return cql__temporal(kind, last_date);
    case CQL_DATETIME: return cql__temporal(kind, last_instant);
    case CQL_TIME: return cql__temporal(kind, last_time);
    default: return CQL_NULL_VALUE;
    }
}

static cql_kind kind_of_name(og_str name)
{
    static const struct {
        const char *name;
        cql_kind kind;
    } kinds[] = {{"Integer", CQL_INTEGER},  {"Long", CQL_LONG},         {"Decimal", CQL_DECIMAL},
                 {"Date", CQL_DATE},        {"DateTime", CQL_DATETIME}, {"Time", CQL_TIME},
                 {"Quantity", CQL_QUANTITY}};
    static const og_str prefixes[] = {{"{urn:hl7-org:elm-types:r1}", 26}, {"System.", 7}};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (og_str_starts(name, prefixes[i]))
            name = og_str_from(name, prefixes[i].n);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (og_str_is(name, kinds[i].name))
            return kinds[i].kind;
    return CQL_NULL;
}

cql_value cql_min_value(og_str type_name)
{
    return cql__min_of(kind_of_name(type_name));
}

cql_value cql_max_value(og_str type_name)
{
    return cql__max_of(kind_of_name(type_name));
}

/* ---- precision ---- */

/* Digits of each precision of a date (2012-01-01T10:30:00.000) and of a time of day. */
static const uint8_t date_digits[] = {0, 4, 6, 8, 10, 12, 14, 17};
static const uint8_t time_digits[] = {0, 0, 0, 0, 2, 4, 6, 9};

static const uint8_t *digits_of(cql_kind kind)
{
    return kind == CQL_TIME ? time_digits : date_digits;
}

/* Precision(argument T) Integer: the number of digits. */
cql_value cql_op_Precision(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    if (args[0].kind == CQL_DECIMAL)
        return cql_integer(args[0].scale);
    if (!cql__is_temporal(args[0]))
        return CQL_NULL_VALUE;
    return cql_integer(digits_of((cql_kind)args[0].kind)[args[0].temporal.precision]);
}

/* The written digits cut the value off, so that 1.587 stands for 1.587 to 1.58799999. Where fewer
 * places are asked for than written, the boundary goes outwards. */
static cql_value decimal_boundary(og_decimal d, int scale, int places, bool high)
{
    og_int128 unit = 1, written = 1;
    for (int i = places; i < OG_DECIMAL_PLACES; i++)
        unit *= 10;
    for (int i = scale; i < OG_DECIMAL_PLACES; i++)
        written *= 10;
    if (places > scale && d >= 0 && high)
        d += written - unit;
    if (places > scale && d < 0 && !high)
        d -= written - unit;
    og_int128 rest = d % unit;
    d -= rest;
    if (rest > 0 && high)
        d += unit;
    if (rest < 0 && !high)
        d -= unit;
    return as_decimal(d, places);
}

static og_temporal extended(og_temporal t, int precision, bool high)
{
    for (int p = t.precision + 1; p <= precision; p++) {
        t.precision = (uint8_t)p;
        switch ((og_precision)p) {
        case OG_MONTH: t.month = high ? 12 : 1; break;
        case OG_DAY: t.day = high ? (uint8_t)og_days_in_month(t.year, t.month) : 1; break;
        case OG_HOUR: t.hour = high ? 23 : 0; break;
        case OG_MINUTE: t.minute = high ? 59 : 0; break;
        case OG_SECOND: t.second = high ? 59 : 0; break;
        case OG_MILLISECOND: t.ms = high ? 999 : 0; break;
        default: break;
        }
    }
    return cql__truncate(t, precision);
}

static cql_value boundary(const cql_value *args, size_t count, bool high)
{
    bool given = count > 1 && args[1].kind == CQL_INTEGER;
    int digits = given ? args[1].integer : 0;
    if (args[0].kind == CQL_DECIMAL || args[0].kind == CQL_INTEGER || args[0].kind == CQL_LONG) {
        og_decimal d = 0;
        int scale = 0, places = given ? digits : OG_DECIMAL_PLACES;
        cql__number(args[0], &d, &scale);
        if (places < 0 || places > OG_DECIMAL_PLACES)
            return CQL_NULL_VALUE;
        return decimal_boundary(d, scale, places, high);
    }
    if (!cql__is_temporal(args[0]))
        return CQL_NULL_VALUE;
    cql_kind kind = (cql_kind)args[0].kind;
    for (int p = cql__coarsest(kind); p <= cql__finest(kind); p++)
        if (given ? digits_of(kind)[p] == digits : p == cql__finest(kind))
            return cql__temporal(kind, extended(args[0].temporal, p, high));
    return CQL_NULL_VALUE;
}

/* HighBoundary(input T, precision Integer) T */
cql_value cql_op_HighBoundary(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c;
    return boundary(args, count, true);
}

/* LowBoundary(input T, precision Integer) T */
cql_value cql_op_LowBoundary(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c;
    return boundary(args, count, false);
}
