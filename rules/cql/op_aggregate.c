/* Aggregates: CQL 1.5 Appendix B.11. Nulls in the list do not take part; a list without other
 * elements gives null, except where the chapter says otherwise (Count, AllTrue, AnyTrue). Sums of
 * squares are formed exactly in 256 bits and divided once, so that variance and deviation are right
 * to the last of their eight places. */
#include "rules/cql/op_list.h"

#include <stdlib.h>

typedef unsigned __int128 u128;

/* --- what takes part --- */

/* The elements that are not null, borrowed or copied. A null list has none. */
static cql_list present(cql_op_context *c, cql_value list)
{
    if (list.kind != CQL_LIST)
        return (cql_list){NULL, 0};
    size_t nulls = 0;
    for (size_t i = 0; i < list.list->count; i++)
        nulls += cql_is_null(list.list->items[i]);
    if (nulls == 0)
        return *list.list;
    cql_value *items = og_arena_zalloc(c->arena, list.list->count - nulls, sizeof(*items));
    cql_list result = {items, 0};
    for (size_t i = 0; items != NULL && i < list.list->count; i++)
        if (!cql_is_null(list.list->items[i]))
            items[result.count++] = list.list->items[i];
    return result;
}

/* A list of numbers in one unit. */
typedef struct numbers {
    og_decimal *values;
    size_t count;
    int scale;                /* most written places */
    const cql_quantity *unit; /* NULL for plain numbers */
} numbers;

/* Every element as Decimal; quantities in the unit of the first. False when there is none, memory
 * is out, or they cannot be brought together. */
static bool numbers_of(cql_op_context *c, cql_value list, numbers *ret)
{
    cql_list all = present(c, list);
    numbers n = {.values = og_arena_zalloc(c->arena, all.count, sizeof(og_decimal))};
    if (all.count == 0 || n.values == NULL)
        return false;
    n.unit = all.items[0].kind == CQL_QUANTITY ? all.items[0].quantity : NULL;
    for (size_t i = 0; i < all.count; i++, n.count++) {
        cql_value v = all.items[i];
        int scale = 0;
        if (n.unit != NULL) {
            if (v.kind != CQL_QUANTITY)
                return false;
            scale = v.quantity->scale;
            if (og_str_eq(v.quantity->unit, n.unit->unit) &&
                v.quantity->calendar == n.unit->calendar)
                n.values[i] = v.quantity->value;
            else if (!cql__quantity_convert(v.quantity, n.unit->unit, &n.values[i]))
                return false;
        } else if (!cql__number(v, &n.values[i], &scale)) {
            return false;
        }
        n.scale = scale > n.scale ? scale : n.scale;
    }
    *ret = n;
    return true;
}

/* The result in the unit of its list. */
static cql_value like(cql_op_context *c, const numbers *n, og_decimal value, int scale)
{
    int places = cql__places(value);
    scale = places > scale ? places : scale;
    return n->unit != NULL ? cql__quantity_like(c, value, scale, n->unit)
                           : cql_decimal(value, scale);
}

/* --- counting --- */

/* Count(List<T>) Integer */
cql_value cql_op_Count(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return cql_integer((int32_t)present(c, args[0]).count);
}

/* True when an element is the Boolean b. */
static bool any_is(cql_value list, bool b)
{
    if (list.kind != CQL_LIST)
        return false;
    for (size_t i = 0; i < list.list->count; i++)
        if (list.list->items[i].kind == CQL_BOOLEAN && list.list->items[i].boolean == b)
            return true;
    return false;
}

/* AllTrue(List<Boolean>) Boolean: true also for a list without elements, and for null. */
cql_value cql_op_AllTrue(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c;
    (void)count;
    return cql_bool(!any_is(args[0], false));
}

/* AnyTrue(List<Boolean>) Boolean: false also for a list without elements, and for null. */
cql_value cql_op_AnyTrue(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c;
    (void)count;
    return cql_bool(any_is(args[0], true));
}

/* Mode(List<T>) T: the most frequent one; of several the one that comes first. */
cql_value cql_op_Mode(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    cql_list all = present(c, args[0]);
    uint32_t *seen = og_arena_zalloc(c->arena, all.count, sizeof(*seen));
    cql__set set;
    uint32_t number, best = 0;
    cql__set_init(&set, c);
    if (all.count == 0 || seen == NULL)
        return CQL_NULL_VALUE;
    for (size_t i = 0; i < all.count; i++) {
        if (!cql__set_add(&set, all.items[i], &number))
            return CQL_NULL_VALUE;
        seen[number]++;
    }
    for (uint32_t i = 1; i < set.count; i++)
        if (seen[i] > seen[best])
            best = i;
    return set.items[best];
}

/* --- order --- */

/* The element that comes first (sign -1) or last (1); null when the order of two is unknown. */
static cql_value extreme(cql_op_context *c, cql_value list, int sign)
{
    cql_list all = present(c, list);
    cql_value best = CQL_NULL_VALUE;
    for (size_t i = 0; i < all.count; i++) {
        int order;
        if (i == 0) {
            best = all.items[0];
            continue;
        }
        if (!cql_compare(c, all.items[i], best, &order))
            return CQL_NULL_VALUE;
        if (order == sign)
            best = all.items[i];
    }
    return best;
}

/* Max(List<T>) T */
cql_value cql_op_Max(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return extreme(c, args[0], 1);
}

/* Min(List<T>) T */
cql_value cql_op_Min(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return extreme(c, args[0], -1);
}

static int by_value(const void *a, const void *b)
{
    og_decimal x, y;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return (x > y) - (x < y);
}

/* a + b over 2, half away from zero; the sum may be beyond a Decimal, the mean is not. */
static og_decimal mean_of_two(og_decimal a, og_decimal b)
{
    og_decimal sum = a + b; /* both below 2^120 */
    return sum < 0 ? -((1 - sum) / 2) : (sum + 1) / 2;
}

/* Median(List<Decimal>) Decimal, Median(List<Quantity>) Quantity */
cql_value cql_op_Median(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    numbers n;
    if (!numbers_of(c, args[0], &n))
        return CQL_NULL_VALUE;
    qsort(n.values, n.count, sizeof(*n.values), by_value);
    og_decimal high = n.values[n.count / 2];
    og_decimal low = n.count % 2 != 0 ? high : n.values[n.count / 2 - 1];
    return like(c, &n, mean_of_two(low, high), n.scale);
}

/* --- sums and products --- */

/* One element after the other through a binary operator; null as soon as it cannot be represented.
 */
static cql_value folded(cql_op_context *c, cql_value list, cql_op op)
{
    cql_list all = present(c, list);
    if (all.count == 0)
        return CQL_NULL_VALUE;
    cql_value sum = all.items[0];
    for (size_t i = 1; i < all.count && !cql_is_null(sum); i++) {
        const cql_value pair[2] = {sum, all.items[i]};
        sum = op(c, pair, 2);
    }
    return sum;
}

/* Sum(List<T>) T, T one of Integer, Long, Decimal, Quantity */
cql_value cql_op_Sum(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return folded(c, args[0], cql_op_Add);
}

/* Product(List<T>) T, T one of Integer, Long, Decimal, Quantity */
cql_value cql_op_Product(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return folded(c, args[0], cql_op_Multiply);
}

/* The exact sum; false when it leaves 128 bits. */
static bool sum_of(const numbers *n, og_int128 *ret)
{
    og_int128 sum = 0;
    for (size_t i = 0; i < n->count; i++)
        if (__builtin_add_overflow(sum, n->values[i], &sum))
            return false;
    *ret = sum;
    return true;
}

static u128 magnitude(og_int128 v)
{
    return v < 0 ? -(u128)v : (u128)v;
}

/* The mean, which no sum is too large for: quotients and remainders are summed apart. */
static og_decimal mean_of(const numbers *n)
{
    og_int128 count = (og_int128)n->count, whole = 0, rest = 0;
    for (size_t i = 0; i < n->count; i++) {
        og_int128 q = n->values[i] / count;
        whole += q;
        rest += n->values[i] - q * count;
    }
    whole += rest / count;
    rest %= count;
    if ((whole > 0 && rest < 0) || (whole < 0 && rest > 0)) { /* the same sign in both */
        og_int128 step = rest < 0 ? 1 : -1;
        whole -= step;
        rest += step * count;
    }
    og_int128 twice = 2 * rest;
    return whole + (twice >= count) - (twice <= -count);
}

/* Avg(List<Decimal>) Decimal, Avg(List<Quantity>) Quantity */
cql_value cql_op_Avg(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    numbers n;
    if (!numbers_of(c, args[0], &n) || n.count == 0)
        return CQL_NULL_VALUE;
    return like(c, &n, mean_of(&n), n.scale);
}

/* --- deviations --- */

typedef struct u256 {
    u128 high, low;
} u256;

static u256 square(u128 v)
{
    u128 a = v >> 64, b = (uint64_t)v;
    u128 cross = a * b, low = b * b;
    u256 r = {a * a + (cross >> 63), low + (cross << 65)};
    r.high += r.low < low;
    return r;
}

/* False when it does not fit. */
static bool add(u256 *to, u256 v)
{
    u128 low = to->low + v.low, high;
    if (__builtin_add_overflow(to->high, v.high, &high) ||
        __builtin_add_overflow(high, (u128)(low < v.low), &high))
        return false;
    *to = (u256){high, low};
    return true;
}

/* v / by, *ret_rest the remainder. by is below 2^127. */
static u256 divide(u256 v, u128 by, u128 *ret_rest)
{
    u256 q = {v.high / by, 0};
    u128 rest = v.high % by;
    for (int i = 0; i < 128; i++) {
        rest = rest << 1 | v.low >> 127;
        v.low <<= 1;
        q.low <<= 1;
        if (rest >= by) {
            rest -= by;
            q.low |= 1;
        }
    }
    *ret_rest = rest;
    return q;
}

static bool at_most(u256 a, u256 b)
{
    return a.high != b.high ? a.high < b.high : a.low <= b.low;
}

/* Largest r with r * r <= v, as far as 127 bits go. */
static u128 square_root(u256 v)
{
    u128 r = 0;
    for (int bit = 126; bit >= 0; bit--)
        if (at_most(square(r | (u128)1 << bit), v))
            r |= (u128)1 << bit;
    return r;
}

/* The squared distances from the mean, exactly: their sum times n * n, with n the count. */
static bool squares_of(const numbers *n, u256 *ret)
{
    og_int128 sum;
    u256 total = {0, 0};
    if (n->count > 1000000 || !sum_of(n, &sum))
        return false;
    for (size_t i = 0; i < n->count; i++) {
        og_int128 distance; /* n times too large, and so a whole number */
        if (__builtin_mul_overflow(n->values[i], (og_int128)n->count, &distance) ||
            __builtin_sub_overflow(distance, sum, &distance) ||
            !add(&total, square(magnitude(distance))))
            return false;
    }
    *ret = total;
    return true;
}

static cql_value in_range(cql_op_context *c, const numbers *n, u128 v)
{
    return v <= (u128)OG_DECIMAL_LIMIT ? like(c, n, (og_decimal)v, 0) : CQL_NULL_VALUE;
}

/* Squares over n * n * (n - less). Squares have scale 10^16, the result 10^8. */
static cql_value variance(cql_op_context *c, cql_value list, size_t less)
{
    numbers n;
    u256 squares;
    u128 rest;
    if (!numbers_of(c, list, &n) || n.count <= less || !squares_of(&n, &squares))
        return CQL_NULL_VALUE;
    u128 by = (u128)n.count * n.count * (n.count - less) * OG_DECIMAL_SCALE;
    u256 q = divide(squares, by, &rest);
    return q.high == 0 ? in_range(c, &n, q.low + (rest >= by - rest)) : CQL_NULL_VALUE;
}

/* The root of the variance. The root of four times the variance counts half units of the last
 * place, which is what rounding needs. */
static cql_value deviation(cql_op_context *c, cql_value list, size_t less)
{
    numbers n;
    u256 squares;
    u128 rest;
    if (!numbers_of(c, list, &n) || n.count <= less || !squares_of(&n, &squares) ||
        !add(&squares, squares) || !add(&squares, squares))
        return CQL_NULL_VALUE;
    u128 by = (u128)n.count * n.count * (n.count - less);
    return in_range(c, &n, (square_root(divide(squares, by, &rest)) + 1) / 2);
}

/* Variance(List<Decimal>) Decimal, Variance(List<Quantity>) Quantity: of a sample, null for one
 * element */
cql_value cql_op_Variance(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return variance(c, args[0], 1);
}

/* PopulationVariance(List<Decimal>) Decimal, PopulationVariance(List<Quantity>) Quantity */
cql_value cql_op_PopulationVariance(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return variance(c, args[0], 0);
}

/* StdDev(List<Decimal>) Decimal, StdDev(List<Quantity>) Quantity: of a sample, null for one element
 */
cql_value cql_op_StdDev(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return deviation(c, args[0], 1);
}

/* PopulationStdDev(List<Decimal>) Decimal, PopulationStdDev(List<Quantity>) Quantity */
cql_value cql_op_PopulationStdDev(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return deviation(c, args[0], 0);
}

/* GeometricMean(List<Decimal>) Decimal: the n-th root of the product; null when the product is
 * negative. */
cql_value cql_op_GeometricMean(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    numbers n;
    if (!numbers_of(c, args[0], &n))
        return CQL_NULL_VALUE;
    bool negative = false;
    for (size_t i = 0; i < n.count; i++) {
        if (n.values[i] == 0)
            return like(c, &n, 0, n.scale);
        negative ^= n.values[i] < 0;
    }
    og_decimal mean;
    if (negative || !og_decimal_geometric_mean(n.values, n.count, &mean))
        return CQL_NULL_VALUE;
    return like(c, &n, mean, n.scale);
}
