/* Intervals and timing phrases: CQL 1.5 Appendix B.9, and those of B.8 that points share with them.
 *
 * Everything is said in terms of start and end. A boundary that is closed and null is the minimum
 * or the maximum of the point type; one that is open and null is somewhere between there and the
 * other end: an uncertain value, which the order of op.c understands. A boundary of unknown type is
 * unknown altogether. A point is an interval that starts and ends at it, so that points and
 * intervals share one text. Timing compares at the node's precision. Operators that lists have,
 * too, are divided here by the kinds of their arguments. */
#include "rules/cql/ops_private.h"

typedef cql__range range;

/* ---- boundaries ---- */

static cql_kind point_kind(const cql_interval *i)
{
    if (!cql_is_null(i->low))
        return (cql_kind)i->low.kind;
    return (cql_kind)(!cql_is_null(i->high) ? i->high.kind : i->point);
}

/* The end of the type's range, in the unit of the interval's other end. */
static cql_value extreme(cql_op_context *c, const cql_interval *i, bool high)
{
    cql_kind kind = point_kind(i);
    cql_value v = high ? cql__max_of(kind) : cql__min_of(kind);
    cql_value other = high ? i->low : i->high;
    if (kind != CQL_QUANTITY)
        return v;
    if (other.kind != CQL_QUANTITY)
        return CQL_NULL_VALUE; /* no unit to say it in */
    return cql__quantity_like(c, v.quantity->value, v.quantity->scale, other.quantity);
}

/* A boundary that is known or stands for the end of the type's range; null for an open null one. */
static cql_value known_boundary(cql_op_context *c, const cql_interval *i, bool high)
{
    cql_value v = high ? i->high : i->low;
    bool closed = high ? i->high_closed : i->low_closed;
    if (cql_is_null(v))
        return closed ? extreme(c, i, high) : v;
    if (closed)
        return v;
    return high ? cql_predecessor(c, v) : cql_successor(c, v);
}

/* The boundary, uncertain when it is an open null. */
static cql_value boundary(cql_op_context *c, const cql_interval *i, bool high)
{
    cql_value v = known_boundary(c, i, high);
    if (!cql_is_null(v) || !cql_is_null(high ? i->high : i->low))
        return v;
    cql_value far = extreme(c, i, high), near = known_boundary(c, i, !high);
    if (cql_is_null(near))
        near = extreme(c, i, !high);
    return high ? cql__uncertain(c, near, far) : cql__uncertain(c, far, near);
}

range cql__range_of(cql_op_context *c, cql_value v)
{
    if (!cql__is_interval(v))
        return (range){v, v};
    return (range){boundary(c, v.interval, false), boundary(c, v.interval, true)};
}

cql_value cql_interval_start(cql_op_context *c, cql_value interval)
{
    return cql__is_interval(interval) ? known_boundary(c, interval.interval, false) : interval;
}

cql_value cql_interval_end(cql_op_context *c, cql_value interval)
{
    return cql__is_interval(interval) ? known_boundary(c, interval.interval, true) : interval;
}

/* An interval without the checks of a selector. */
cql_value cql__interval_new(cql_op_context *c, cql_interval like)
{
    cql_interval *i = og_arena_alloc(c->arena, sizeof *i);
    if (i == NULL)
        return CQL_NULL_VALUE;
    *i = like;
    return (cql_value){.kind = CQL_INTERVAL, .interval = i};
}

cql_value cql_interval_make(cql_op_context *c, cql_value low, cql_value high, bool low_closed,
                            bool high_closed, cql_kind point)
{
    cql_interval i = {low, high, low_closed, high_closed, (uint8_t)point, false};
    if (i.point == CQL_NULL)
        i.point = (uint8_t)point_kind(&i);
    if (!cql_is_null(low) && !cql_is_null(high)) {
        bool empty = cql__order_of(c, low, high) == CQL__MORE;
        cql_value start = known_boundary(c, &i, false), end = known_boundary(c, &i, true);
        if (empty || cql_is_null(start) || cql_is_null(end) ||
            cql__order_of(c, start, end) == CQL__MORE)
            return cql_op_fail(c, "an interval ends before it starts");
    }
    return cql__interval_new(c, i);
}

/* ---- three-valued questions at the node's precision ---- */

static cql_tri compared(cql_op_context *c, cql_value a, cql_value b, cql__order wanted)
{
    if (cql_is_null(a) || cql_is_null(b))
        return CQL_UNKNOWN;
    return cql__order_is(cql__order_at(c, a, b, c->precision), wanted);
}

static cql_tri lt(cql_op_context *c, cql_value a, cql_value b)
{
    return compared(c, a, b, CQL__LESS);
}

static cql_tri le(cql_op_context *c, cql_value a, cql_value b)
{
    return compared(c, a, b, CQL__LESS | CQL__SAME);
}

static cql_tri gt(cql_op_context *c, cql_value a, cql_value b)
{
    return compared(c, a, b, CQL__MORE);
}

static cql_tri ge(cql_op_context *c, cql_value a, cql_value b)
{
    return compared(c, a, b, CQL__MORE | CQL__SAME);
}

static cql_tri eq(cql_op_context *c, cql_value a, cql_value b)
{
    return compared(c, a, b, CQL__SAME);
}

static bool either_null(const cql_value *args)
{
    return cql_is_null(args[0]) || cql_is_null(args[1]);
}

/* A question about the ranges of both arguments; null when one is null. */
typedef cql_tri (*question)(cql_op_context *c, range a, range b);

static cql_value ask(cql_op_context *c, const cql_value *args, question q)
{
    if (either_null(args))
        return CQL_NULL_VALUE;
    if (c->weeks)
        return cql_op_fail(c, "a comparison by weeks is not defined");
    return cql_tri_value(q(c, cql__range_of(c, args[0]), cql__range_of(c, args[1])));
}

static cql_tri is_before(cql_op_context *c, range a, range b)
{
    return lt(c, a.end, b.start);
}

static cql_tri is_after(cql_op_context *c, range a, range b)
{
    return gt(c, a.start, b.end);
}

static cql_tri is_same(cql_op_context *c, range a, range b)
{
    return cql__and(eq(c, a.start, b.start), eq(c, a.end, b.end));
}

static cql_tri is_same_or_before(cql_op_context *c, range a, range b)
{
    return le(c, a.end, b.start);
}

static cql_tri is_same_or_after(cql_op_context *c, range a, range b)
{
    return ge(c, a.start, b.end);
}

static cql_tri includes(cql_op_context *c, range a, range b)
{
    return cql__and(le(c, a.start, b.start), ge(c, a.end, b.end));
}

static cql_tri properly_includes(cql_op_context *c, range a, range b)
{
    return cql__and(includes(c, a, b), cql__or(lt(c, a.start, b.start), gt(c, a.end, b.end)));
}

/* A point inside, on neither end (ELM ProperContains). */
static cql_tri properly_contains(cql_op_context *c, range a, range b)
{
    return cql__and(lt(c, a.start, b.start), gt(c, a.end, b.end));
}

static cql_tri overlaps(cql_op_context *c, range a, range b)
{
    return cql__and(le(c, a.start, b.end), le(c, b.start, a.end));
}

static cql_tri overlaps_before(cql_op_context *c, range a, range b)
{
    return cql__and(overlaps(c, a, b), lt(c, a.start, b.start));
}

static cql_tri overlaps_after(cql_op_context *c, range a, range b)
{
    return cql__and(overlaps(c, a, b), gt(c, a.end, b.end));
}

/* v cut to the node's precision, so that its successor is the next day when days are asked for. */
cql_value cql__cut(cql_op_context *c, cql_value v)
{
    if (c->precision == 0 || !cql__is_temporal(v))
        return v;
    v.temporal = cql__truncate(v.temporal, c->precision);
    return v;
}

static cql_tri meets_before(cql_op_context *c, range a, range b)
{
    cql_value next = cql_successor(c, cql__cut(c, a.end));
    if (cql_is_null(next) && !cql_is_null(a.end)) /* nothing comes after the end of the range */
        return CQL_FALSE;
    return eq(c, next, b.start);
}

cql_tri cql__range_touches(cql_op_context *c, range a, range b)
{
    return cql__or(overlaps(c, a, b), meets_before(c, a, b));
}

static cql_tri meets_after(cql_op_context *c, range a, range b)
{
    return meets_before(c, b, a);
}

static cql_tri meets(cql_op_context *c, range a, range b)
{
    return cql__or(meets_before(c, a, b), meets_after(c, a, b));
}

static cql_tri starts(cql_op_context *c, range a, range b)
{
    return cql__and(eq(c, a.start, b.start), le(c, a.end, b.end));
}

static cql_tri ends(cql_op_context *c, range a, range b)
{
    return cql__and(ge(c, a.start, b.start), eq(c, a.end, b.end));
}

/* after _precision_ of(left, right): points or intervals; so are all that follow. */
cql_value cql_op_After(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ask(c, args, is_after);
}

cql_value cql_op_Before(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ask(c, args, is_before);
}

/* same _precision_ as(left, right) */
cql_value cql_op_SameAs(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ask(c, args, is_same);
}

cql_value cql_op_SameOrBefore(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ask(c, args, is_same_or_before);
}

cql_value cql_op_SameOrAfter(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ask(c, args, is_same_or_after);
}

cql_value cql_op_Overlaps(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ask(c, args, overlaps);
}

cql_value cql_op_OverlapsBefore(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ask(c, args, overlaps_before);
}

cql_value cql_op_OverlapsAfter(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ask(c, args, overlaps_after);
}

cql_value cql_op_Meets(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ask(c, args, meets);
}

cql_value cql_op_MeetsBefore(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ask(c, args, meets_before);
}

cql_value cql_op_MeetsAfter(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ask(c, args, meets_after);
}

cql_value cql_op_Starts(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ask(c, args, starts);
}

cql_value cql_op_Ends(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return ask(c, args, ends);
}

/* = of intervals: the same start and the same end, by symbolic comparison. */
cql_tri cql__interval_equal(cql_op_context *c, cql_value a, cql_value b)
{
    range x = cql__range_of(c, a), y = cql__range_of(c, b);
    return cql__and(cql_equal(c, x.start, y.start), cql_equal(c, x.end, y.end));
}

/* ~ of intervals: as written when a boundary is unknown in both, by start and end otherwise. */
bool cql__interval_equivalent(cql_op_context *c, cql_value a, cql_value b)
{
    const cql_interval *i = a.interval, *j = b.interval;
    cql_value s1 = known_boundary(c, i, false), s2 = known_boundary(c, j, false);
    cql_value e1 = known_boundary(c, i, true), e2 = known_boundary(c, j, true);
    if (point_kind(i) != point_kind(j) && point_kind(i) != CQL_NULL && point_kind(j) != CQL_NULL)
        return false;
    bool open_alike = (!cql_is_null(s1) || i->low_closed == j->low_closed) &&
                      (!cql_is_null(e1) || i->high_closed == j->high_closed);
    return open_alike && cql_equivalent(c, s1, s2) && cql_equivalent(c, e1, e2);
}

/* ---- membership ---- */

/* in _precision_ (point T, argument Interval<T>) Boolean: false in a null interval; a closed null
 * boundary is no limit. */
cql_value cql__interval_In(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    cql_value point = args[0];
    if (cql_is_null(point))
        return CQL_NULL_VALUE;
    if (!cql__is_interval(args[1]))
        return cql_is_null(args[1]) ? cql_bool(false) : CQL_NULL_VALUE;
    if (c->weeks)
        return cql_op_fail(c, "a comparison by weeks is not defined");
    const cql_interval *i = args[1].interval;
    range r = cql__range_of(c, args[1]);
    cql_tri low = cql_is_null(i->low) && i->low_closed ? CQL_TRUE : ge(c, point, r.start);
    cql_tri high = cql_is_null(i->high) && i->high_closed ? CQL_TRUE : le(c, point, r.end);
    return cql_tri_value(cql__and(low, high));
}

static cql_value swapped(cql_op_context *c, const cql_value *args, cql_op op)
{
    cql_value turned[2] = {args[1], args[0]};
    return op(c, turned, 2);
}

/* contains _precision_ (argument Interval<T>, point T) Boolean */
cql_value cql__interval_Contains(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return swapped(c, args, cql__interval_In);
}

/* properly contains: neither end counts. False in a null interval, as contains. */
cql_value cql__interval_ProperContains(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (cql_is_null(args[0]) && !cql_is_null(args[1]))
        return cql_bool(false);
    return ask(c, args, properly_contains);
}

cql_value cql__interval_ProperIn(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return swapped(c, args, cql__interval_ProperContains);
}

/* includes _precision_ (left Interval<T>, right Interval<T> or T) Boolean */
cql_value cql__interval_Includes(cql_op_context *c, const cql_value *args, size_t count)
{
    if (!cql_is_null(args[1]) && !cql__is_interval(args[1]))
        return cql__interval_Contains(c, args, count);
    return ask(c, args, includes);
}

cql_value cql__interval_IncludedIn(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return swapped(c, args, cql__interval_Includes);
}

cql_value cql__interval_ProperIncludes(cql_op_context *c, const cql_value *args, size_t count)
{
    if (!cql_is_null(args[1]) && !cql__is_interval(args[1]))
        return cql__interval_ProperContains(c, args, count);
    return ask(c, args, properly_includes);
}

cql_value cql__interval_ProperIncludedIn(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return swapped(c, args, cql__interval_ProperIncludes);
}

/* ---- sets ---- */

/* Where one of two values is the open null end of an interval, order may be unknown; then that end
 * is. */
typedef enum side { LEFT, RIGHT, NEITHER } side;

static side chosen(cql_op_context *c, cql_value a, cql_value b, bool greater)
{
    cql__order order = cql_is_null(a) || cql_is_null(b) ? 0 : cql__order_at(c, a, b, 0);
    cql__order left = CQL__SAME | (greater ? CQL__MORE : CQL__LESS);
    cql__order right = CQL__SAME | (greater ? CQL__LESS : CQL__MORE);
    if (cql__order_is(order, left) == CQL_TRUE)
        return LEFT;
    if (cql__order_is(order, right) == CQL_TRUE)
        return RIGHT;
    if (order == 0)
        return NEITHER;
    if (cql__is_uncertain(a))
        return LEFT;
    return cql__is_uncertain(b) ? RIGHT : NEITHER;
}

/* The interval with the low end of one and the high end of another. */
static cql_value joined(cql_op_context *c, const cql_interval *low, const cql_interval *high)
{
    return cql__interval_new(
        c, (cql_interval){.low = low->low,
                          .high = high->high,
                          .low_closed = low->low_closed,
                          .high_closed = high->high_closed,
                          .point = low->point != CQL_NULL ? low->point : high->point});
}

static cql_value combined(cql_op_context *c, cql_value a, cql_value b, range x, range y, bool outer)
{
    side low = chosen(c, x.start, y.start, !outer), high = chosen(c, x.end, y.end, outer);
    if (low == NEITHER || high == NEITHER)
        return CQL_NULL_VALUE;
    return joined(c, low == LEFT ? a.interval : b.interval, high == LEFT ? a.interval : b.interval);
}

/* union(left Interval<T>, right Interval<T>) Interval<T>: null when they neither overlap nor meet.
 */
cql_value cql__interval_Union(cql_op_context *c, const cql_value *args, size_t count)
{
    cql_value all = args[0];
    for (size_t i = 1; i < count; i++) {
        if (!cql__is_interval(all) || !cql__is_interval(args[i]))
            return CQL_NULL_VALUE;
        range x = cql__range_of(c, all), y = cql__range_of(c, args[i]);
        if (cql__or(overlaps(c, x, y), meets(c, x, y)) != CQL_TRUE)
            return CQL_NULL_VALUE;
        all = combined(c, all, args[i], x, y, true);
    }
    return all;
}

/* intersect(left Interval<T>, right Interval<T>) Interval<T>: null when they do not overlap. */
cql_value cql__interval_Intersect(cql_op_context *c, const cql_value *args, size_t count)
{
    cql_value all = args[0];
    for (size_t i = 1; i < count; i++) {
        if (!cql__is_interval(all) || !cql__is_interval(args[i]))
            return CQL_NULL_VALUE;
        range x = cql__range_of(c, all), y = cql__range_of(c, args[i]);
        if (overlaps(c, x, y) != CQL_TRUE)
            return CQL_NULL_VALUE;
        all = combined(c, all, args[i], x, y, false);
    }
    return all;
}

static cql_value except(cql_op_context *c, cql_value left, cql_value right)
{
    range a = cql__range_of(c, left), b = cql__range_of(c, right);
    cql_tri overlap = overlaps(c, a, b);
    if (overlap == CQL_FALSE)
        return left;
    cql_tri before = lt(c, a.start, b.start), after = gt(c, a.end, b.end);
    if (overlap == CQL_UNKNOWN || before == CQL_UNKNOWN || after == CQL_UNKNOWN || before == after)
        return CQL_NULL_VALUE; /* all of it, both sides of it, or not known */
    cql_interval rest = *left.interval;
    if (before == CQL_TRUE) {
        rest.high = cql_predecessor(c, b.start);
        rest.high_closed = true;
    } else {
        rest.low = cql_successor(c, b.end);
        rest.low_closed = true;
    }
    if (cql__is_uncertain(rest.low) || cql__is_uncertain(rest.high))
        return CQL_NULL_VALUE;
    return cql__interval_new(c, rest);
}

/* except(left Interval<T>, right Interval<T>) Interval<T>: null when two pieces would be left. */
cql_value cql__interval_Except(cql_op_context *c, const cql_value *args, size_t count)
{
    cql_value rest = args[0];
    for (size_t i = 1; i < count; i++) {
        if (!cql__is_interval(rest) || !cql__is_interval(args[i]))
            return CQL_NULL_VALUE;
        rest = except(c, rest, args[i]);
    }
    return rest;
}

/* ---- boundaries as operators ---- */

/* start of(argument Interval<T>) T */
cql_value cql_op_Start(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return cql_interval_start(c, args[0]);
}

/* end of(argument Interval<T>) T */
cql_value cql_op_End(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return cql_interval_end(c, args[0]);
}

static cql_value width(cql_op_context *c, cql_value v)
{
    if (!cql__is_interval(v))
        return CQL_NULL_VALUE;
    cql_value ends_of[2] = {cql_interval_end(c, v), cql_interval_start(c, v)};
    cql_kind kind = point_kind(v.interval);
    if (kind == CQL_DATE || kind == CQL_DATETIME || kind == CQL_TIME)
        return cql_op_fail(c, "the width of an interval of dates or times is not defined");
    return either_null(ends_of) ? CQL_NULL_VALUE : cql_op_Subtract(c, ends_of, 2);
}

/* width of(argument Interval<T>) T */
cql_value cql_op_Width(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return width(c, args[0]);
}

/* Size(argument Interval<T>) T: the width and one point. */
cql_value cql_op_Size(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return cql_successor(c, width(c, args[0]));
}

/* point from(argument Interval<T>) T */
cql_value cql_op_PointFrom(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (!cql__is_interval(args[0]))
        return args[0];
    cql_value start = cql_interval_start(c, args[0]), end = cql_interval_end(c, args[0]);
    if (cql_is_null(start) || cql_is_null(end))
        return CQL_NULL_VALUE;
    switch (cql_equal(c, start, end)) {
    case CQL_TRUE: return start;
    case CQL_FALSE: return cql_op_fail(c, "point from an interval of more than one point");
    default: return CQL_NULL_VALUE;
    }
}

/* ---- operators that lists have, too ---- */

/* The side that must be a container decides; when it is null, the other one. */
static cql_value divided(cql_op_context *c, const cql_value *args, size_t count, int container,
                         cql_op list, cql_op interval)
{
    cql_value decides = args[container];
    if (cql_is_null(decides) && count > 1)
        decides = args[1 - container];
    return decides.kind == CQL_LIST ? list(c, args, count) : interval(c, args, count);
}

cql_value cql_op_In(cql_op_context *c, const cql_value *args, size_t count)
{
    return divided(c, args, count, 1, cql__list_In, cql__interval_In);
}

cql_value cql_op_Contains(cql_op_context *c, const cql_value *args, size_t count)
{
    return divided(c, args, count, 0, cql__list_Contains, cql__interval_Contains);
}

cql_value cql_op_ProperIn(cql_op_context *c, const cql_value *args, size_t count)
{
    return divided(c, args, count, 1, cql__list_ProperIn, cql__interval_ProperIn);
}

cql_value cql_op_ProperContains(cql_op_context *c, const cql_value *args, size_t count)
{
    return divided(c, args, count, 0, cql__list_ProperContains, cql__interval_ProperContains);
}

cql_value cql_op_Includes(cql_op_context *c, const cql_value *args, size_t count)
{
    return divided(c, args, count, 0, cql__list_Includes, cql__interval_Includes);
}

cql_value cql_op_IncludedIn(cql_op_context *c, const cql_value *args, size_t count)
{
    return divided(c, args, count, 1, cql__list_IncludedIn, cql__interval_IncludedIn);
}

cql_value cql_op_ProperIncludes(cql_op_context *c, const cql_value *args, size_t count)
{
    return divided(c, args, count, 0, cql__list_ProperIncludes, cql__interval_ProperIncludes);
}

cql_value cql_op_ProperIncludedIn(cql_op_context *c, const cql_value *args, size_t count)
{
    return divided(c, args, count, 1, cql__list_ProperIncludedIn, cql__interval_ProperIncludedIn);
}

/* The first argument that is not null decides. */
static cql_value divided_set(cql_op_context *c, const cql_value *args, size_t count, cql_op list,
                             cql_op interval)
{
    for (size_t i = 0; i < count; i++)
        if (!cql_is_null(args[i]))
            return args[i].kind == CQL_LIST ? list(c, args, count) : interval(c, args, count);
    return CQL_NULL_VALUE;
}

cql_value cql_op_Union(cql_op_context *c, const cql_value *args, size_t count)
{
    return divided_set(c, args, count, cql__list_Union, cql__interval_Union);
}

cql_value cql_op_Intersect(cql_op_context *c, const cql_value *args, size_t count)
{
    return divided_set(c, args, count, cql__list_Intersect, cql__interval_Intersect);
}

cql_value cql_op_Except(cql_op_context *c, const cql_value *args, size_t count)
{
    return divided_set(c, args, count, cql__list_Except, cql__interval_Except);
}
