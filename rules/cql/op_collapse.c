/* collapse and expand: CQL 1.5 Appendix B.9.
 *
 * Both work on spans, intervals with their start and end worked out, sorted by start. Intervals
 * whose boundaries are not known at all drop out, as the specification has it. `per` is a step: how
 * far apart two intervals may lie and still be one, or how large the pieces are. */
#include "rules/cql/ops_private.h"

static cql_value closed_interval(cql_op_context *c, cql_value low, cql_value high)
{
    return cql__interval_new(c, (cql_interval){.low = low,
                                               .high = high,
                                               .low_closed = true,
                                               .high_closed = true,
                                               .point = cql_is_null(low) ? high.kind : low.kind});
}

typedef struct span {
    const cql_interval *interval;
    cql_value start, end;
} span;

/* A stable merge sort by start; what cannot be compared stays in its order. */
static void sort_spans(cql_op_context *c, span *s, span *spare, size_t n)
{
    if (n < 2)
        return;
    size_t half = n / 2, i = 0, j = half;
    sort_spans(c, s, spare, half);
    sort_spans(c, s + half, spare, n - half);
    for (size_t k = 0; k < n; k++) {
        bool right = i == half || (j < n && cql__order_of(c, s[j].start, s[i].start) == CQL__LESS);
        spare[k] = right ? s[j++] : s[i++];
    }
    memcpy(s, spare, n * sizeof *s);
}

/* The intervals of a list (or the one interval) whose ends are known at all, sorted; NULL: no
 * memory. */
static span *spans_of(cql_op_context *c, cql_value v, size_t *ret_count)
{
    const cql_value *items = v.kind == CQL_LIST ? v.list->items : &v;
    size_t count = v.kind == CQL_LIST ? v.list->count : 1, n = 0;
    if (count > SIZE_MAX / sizeof(span) / 2)
        return NULL;
    span *s = og_arena_alloc(c->arena, 2 * count * sizeof *s);
    if (s == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        if (!cql__is_interval(items[i]))
            continue;
        cql__range r = cql__range_of(c, items[i]);
        if (!cql_is_null(r.start) && !cql_is_null(r.end))
            s[n++] = (span){items[i].interval, r.start, r.end};
    }
    sort_spans(c, s, s + count, n);
    *ret_count = n;
    return s;
}

static int precision_of(cql_value v)
{
    return cql__is_temporal(v) ? v.temporal.precision : OG_MILLISECOND;
}

/* The coarsest precision among all boundaries, 0 when they are no dates or times. */
static int coarsest_precision(const span *s, size_t n)
{
    int p = OG_MILLISECOND + 1;
    for (size_t i = 0; i < n; i++) {
        if (!cql__is_temporal(cql__least(s[i].start)) || !cql__is_temporal(cql__least(s[i].end)))
            return 0;
        if (precision_of(cql__least(s[i].start)) < p)
            p = precision_of(cql__least(s[i].start));
        if (precision_of(cql__greatest(s[i].end)) < p)
            p = precision_of(cql__greatest(s[i].end));
    }
    return p > OG_MILLISECOND ? 0 : p;
}

static int precision_of_unit(cql__unit u)
{
    static const uint8_t precisions[] = {0,       OG_YEAR,   OG_MONTH,  OG_DAY,        OG_DAY,
                                         OG_HOUR, OG_MINUTE, OG_SECOND, OG_MILLISECOND};
    return precisions[u];
}

/* The end of a plus per; the end of the type's range when that is beyond it. */
static cql_value reach_of(cql_op_context *c, cql_value end, const cql_quantity *per)
{
    if (!cql__is_temporal(end)) {
        bool plain = end.kind != CQL_QUANTITY;
        cql_value sum[2] = {end, plain ? cql_decimal(per->value, per->scale)
                                       : (cql_value){.kind = CQL_QUANTITY, .quantity = per}};
        return cql_op_Add(c, sum, 2);
    }
    cql__unit u = cql__unit_of(per);
    og_int128 n = per->value / OG_DECIMAL_SCALE * (u == CQL__UNIT_WEEK ? 7 : 1);
    og_temporal t = cql__cut(c, end).temporal;
    if (t.precision < precision_of_unit(u))
        return CQL_NULL_VALUE;
    if (n > INT32_MAX || !cql__temporal_add(&t, precision_of_unit(u), (int64_t)n, false))
        return cql__max_of((cql_kind)end.kind);
    return cql__temporal((cql_kind)end.kind, t);
}

static bool no_later(cql_op_context *c, cql_value a, cql_value b, int precision)
{
    return cql__order_is(cql__order_at(c, a, b, precision), CQL__LESS | CQL__SAME) == CQL_TRUE;
}

/* Is the next interval within reach: it overlaps, meets, or begins no more than per behind the end?
 */
static bool reaches(cql_op_context *c, const span *a, const span *b, const cql_quantity *per,
                    int precision)
{
    int saved = c->precision;
    cql__range x = {a->start, a->end}, y = {b->start, b->end};
    c->precision = (uint8_t)precision;
    bool touch = cql__range_touches(c, x, y) == CQL_TRUE;
    if (!touch && per != NULL && !cql__is_uncertain(a->end))
        touch = no_later(c, b->start, reach_of(c, a->end, per), precision);
    c->precision = (uint8_t)saved;
    return touch;
}

/* A `per` that is a positive quantity; NULL when there is none. False with an error recorded
 * otherwise. */
static bool per_of(cql_op_context *c, const cql_value *args, size_t count, const cql_quantity **ret)
{
    *ret = NULL;
    if (count < 2 || cql_is_null(args[1]))
        return true;
    if (args[1].kind == CQL_QUANTITY)
        *ret = args[1].quantity;
    og_decimal d;
    int scale;
    if (cql__number(args[1], &d, &scale)) {
        cql_value q = cql_quantity_make(c, d, scale, OG_STR("1"));
        *ret = q.kind == CQL_QUANTITY ? q.quantity : NULL;
    }
    if (*ret != NULL && (*ret)->value > 0)
        return true;
    cql_op_fail(c, "per must be a quantity above 0");
    return false;
}

/* Can per count the points of these intervals? */
static bool per_fits(const cql_quantity *per, cql_value point)
{
    point = cql__least(point);
    if (cql__is_temporal(point)) {
        int p = precision_of_unit(cql__unit_of(per));
        return p != 0 && (point.kind != CQL_TIME || p >= OG_HOUR);
    }
    if (point.kind == CQL_QUANTITY) {
        og_decimal a, b;
        const cql_quantity *unit;
        return cql__quantity_unify(point.quantity, per, &a, &b, &unit);
    }
    return og_str_is(per->unit, "1");
}

/* Surely later, or open and null, so that nobody knows how much later. */
static bool ends_later(cql_op_context *c, cql_value end, cql_value than)
{
    cql_tri later = cql__order_is(cql__order_of(c, end, than), CQL__MORE);
    return later == CQL_TRUE || (later == CQL_UNKNOWN && cql__is_uncertain(end));
}

/* collapse(argument List<Interval<T>>, per Quantity) List<Interval<T>> */
cql_value cql_op_Collapse(cql_op_context *c, const cql_value *args, size_t count)
{
    const cql_quantity *per;
    size_t n;
    if (args[0].kind != CQL_LIST || !per_of(c, args, count, &per))
        return CQL_NULL_VALUE;
    span *s = spans_of(c, args[0], &n);
    if (s == NULL)
        return CQL_NULL_VALUE;
    if (per != NULL && n > 0 && !per_fits(per, s[0].start))
        return cql_op_fail(c, "per '%.*s' does not fit the intervals", OG_STR_ARG(per->unit));
    int precision = coarsest_precision(s, n);
    if (per != NULL && precision != 0 && precision_of_unit(cql__unit_of(per)) < precision)
        precision = precision_of_unit(cql__unit_of(per));

    cql_value *out = og_arena_alloc(c->arena, n * sizeof *out);
    if (out == NULL)
        return CQL_NULL_VALUE;
    size_t made_count = 0;
    for (size_t i = 0; i < n;) {
        span whole = s[i];
        const cql_interval *last = s[i].interval;
        for (i++; i < n && reaches(c, &whole, &s[i], per, precision); i++)
            if (ends_later(c, s[i].end, whole.end)) {
                whole.end = s[i].end;
                last = s[i].interval;
            }
        out[made_count++] =
            cql__interval_new(c, (cql_interval){.low = whole.interval->low,
                                                .high = last->high,
                                                .low_closed = whole.interval->low_closed,
                                                .high_closed = last->high_closed,
                                                .point = whole.interval->point});
    }
    return og_arena_failed(c->arena) ? CQL_NULL_VALUE : cql__list(c, out, made_count);
}

/* What expand makes: intervals, or their starts alone. */
typedef struct pieces {
    cql_value *items;
    size_t count, cap;
    bool points;
} pieces;

static bool add_piece(cql_op_context *c, pieces *p, cql_value start, cql_value end)
{
    uint32_t most = c->max_list != 0 ? c->max_list : 100000;
    if (p->count >= most) {
        cql_op_fail(c, "expand makes more than %u items", most);
        return false;
    }
    if (p->count == p->cap) {
        size_t cap = p->cap != 0 ? p->cap * 2 : 16;
        cql_value *items =
            og_arena_grow(c->arena, p->items, p->cap * sizeof *items, cap * sizeof *items);
        if (items == NULL)
            return false;
        p->items = items;
        p->cap = cap;
    }
    p->items[p->count++] = p->points ? start : closed_interval(c, start, end);
    return !og_arena_failed(c->arena);
}

static og_int128 ten_to(int n)
{
    og_int128 v = 1;
    while (n-- > 0)
        v *= 10;
    return v;
}

static og_int128 floor_to(og_int128 d, og_int128 unit)
{
    og_int128 rest = d % unit;
    return d - rest - (rest < 0 ? unit : 0);
}

/* A number of the grid as a value: a whole one as Integer unless the points are Long or quantities,
 * or it is too large for that. */
static cql_value grid_point(cql_op_context *c, og_int128 d, int scale, cql_value like)
{
    if (like.kind == CQL_QUANTITY)
        return cql__quantity_like(c, d, scale, like.quantity);
    if (scale > 0)
        return cql_decimal(d, scale);
    og_int128 n = d / OG_DECIMAL_SCALE;
    if (n > INT64_MAX || n < INT64_MIN)
        return cql_decimal(d, 1);
    if (like.kind == CQL_LONG || n > INT32_MAX || n < INT32_MIN)
        return cql_long((int64_t)n);
    return cql_integer((int32_t)n);
}

static og_decimal number_of(cql_value v, int *ret_scale)
{
    og_decimal d = 0;
    *ret_scale = 0;
    if (v.kind == CQL_QUANTITY) {
        *ret_scale = v.quantity->scale;
        return v.quantity->value;
    }
    cql__number(v, &d, ret_scale);
    return d;
}

/* Pieces of size per from low to high, on the grid of per's written places: [10.0, 12.5] per 1 is
 * 10, 11, 12; [10, 10] per 0.1 is 10.0, ..., 10.9. */
static bool expand_numbers(cql_op_context *c, pieces *p, const span *s, const cql_quantity *per)
{
    cql_value low = s->start, high = s->end;
    og_decimal size = per->value;
    if (low.kind == CQL_QUANTITY && !cql__quantity_convert(per, low.quantity->unit, &size))
        return true;
    if (low.kind == CQL_QUANTITY && high.kind == CQL_QUANTITY) {
        og_decimal in_low;
        if (!cql__quantity_convert(high.quantity, low.quantity->unit, &in_low))
            return true;
        high = cql__quantity_like(c, in_low, high.quantity->scale, low.quantity);
        if (cql_is_null(high))
            return false;
    }
    int scale = cql__places(size) > per->scale ? cql__places(size) : per->scale, low_scale,
        high_scale;
    og_int128 unit = ten_to(OG_DECIMAL_PLACES - scale);
    og_int128 from = floor_to(number_of(low, &low_scale), unit), to = number_of(high, &high_scale);
    if (cql_is_null(s->interval->high) || cql_is_null(s->interval->low))
        return true; /* to the end of the type's range: the specification lets us make nothing of it
                      */
    if (scale > high_scale) /* 10 reaches to just below 11 */
        to += ten_to(OG_DECIMAL_PLACES - high_scale) - unit;
    to = floor_to(to, unit);
    for (og_int128 at = from; at + size - unit <= to; at += size) {
        cql_value start = grid_point(c, at, scale, low),
                  end = grid_point(c, at + size - unit, scale, low);
        if (!add_piece(c, p, start, end))
            return false;
    }
    return true;
}

/* Dates and times: cut to the precision of per; less precise ones give nothing. */
static bool expand_temporals(cql_op_context *c, pieces *p, const span *s, const cql_quantity *per)
{
    cql__unit u = cql__unit_of(per);
    int precision = precision_of_unit(u);
    cql_kind kind = (cql_kind)s->start.kind;
    int64_t size = (int64_t)(per->value / OG_DECIMAL_SCALE) * (u == CQL__UNIT_WEEK ? 7 : 1);
    if (size < 1 || per->value / OG_DECIMAL_SCALE > INT32_MAX)
        return true;
    if (s->start.temporal.precision < precision || s->end.temporal.precision < precision)
        return true;
    if (cql_is_null(s->interval->high) || cql_is_null(s->interval->low))
        return true;
    cql_value to = cql__temporal(kind, cql__truncate(s->end.temporal, precision));
    og_temporal at = cql__truncate(s->start.temporal, precision);
    for (;;) {
        og_temporal last = at;
        if (!cql__temporal_add(&last, precision, size - 1, false))
            return true;
        cql_value start = cql__temporal(kind, at), end = cql__temporal(kind, last);
        if (cql__order_is(cql__order_of(c, end, to), CQL__LESS | CQL__SAME) != CQL_TRUE)
            return true;
        if (!add_piece(c, p, start, end))
            return false;
        at = last;
        if (!cql__temporal_add(&at, precision, 1, false))
            return true;
    }
}

/* The step when per is null: one of the coarsest precision of the boundaries. */
static cql_value default_per(cql_op_context *c, const span *s, size_t n)
{
    int precision = coarsest_precision(s, n);
    if (precision != 0) {
        static const cql__unit by_precision[] = {
            CQL__UNIT_NONE, CQL__UNIT_YEAR,   CQL__UNIT_MONTH,  CQL__UNIT_DAY,
            CQL__UNIT_HOUR, CQL__UNIT_MINUTE, CQL__UNIT_SECOND, CQL__UNIT_MILLISECOND};
        return cql_quantity_make(c, OG_DECIMAL_SCALE, 0, cql__unit_word(by_precision[precision]));
    }
    int least = OG_DECIMAL_PLACES;
    for (size_t i = 0; i < n; i++) {
        int low, high;
        number_of(s[i].start, &low);
        number_of(s[i].end, &high);
        least = low < least ? low : least;
        least = high < least ? high : least;
    }
    og_decimal size = ten_to(OG_DECIMAL_PLACES - least);
    if (s[0].start.kind == CQL_QUANTITY)
        return cql__quantity_like(c, size, least, s[0].start.quantity);
    return cql_quantity_make(c, size, least, OG_STR("1"));
}

static bool starts_earlier(cql_op_context *c, cql_value a, cql_value b)
{
    return cql__order_of(c, cql_interval_start(c, a), cql_interval_start(c, b)) == CQL__LESS;
}

/* Pieces of intervals that overlap come twice: sorted, and each kept once. */
static void unique(cql_op_context *c, pieces *p)
{
    bool sorted = true;
    for (size_t i = 1; i < p->count && sorted; i++)
        sorted = starts_earlier(c, p->items[i - 1], p->items[i]);
    if (sorted)
        return;
    span *s = og_arena_alloc(c->arena, 2 * p->count * sizeof *s);
    if (s == NULL)
        return;
    for (size_t i = 0; i < p->count; i++)
        s[i] = (span){.start = cql_interval_start(c, p->items[i]), .end = p->items[i]};
    sort_spans(c, s, s + p->count, p->count);
    size_t n = 0;
    for (size_t i = 0; i < p->count; i++)
        if (n == 0 || cql_equal(c, p->items[n - 1], s[i].end) != CQL_TRUE)
            p->items[n++] = s[i].end;
    p->count = n;
}

/* expand(argument List<Interval<T>>, per Quantity) List<Interval<T>>,
 * expand(argument Interval<T>, per Quantity) List<T> */
cql_value cql_op_Expand(cql_op_context *c, const cql_value *args, size_t count)
{
    const cql_quantity *per;
    size_t n;
    if (args[0].kind != CQL_LIST && !cql__is_interval(args[0]))
        return CQL_NULL_VALUE;
    if (!per_of(c, args, count, &per))
        return CQL_NULL_VALUE;
    span *s = spans_of(c, args[0], &n);
    if (s == NULL)
        return CQL_NULL_VALUE;
    pieces p = {.points = args[0].kind != CQL_LIST};
    size_t certain = 0;
    for (size_t i = 0; i < n; i++)
        if (!cql__is_uncertain(s[i].start) && !cql__is_uncertain(s[i].end))
            s[certain++] = s[i];
    if (per == NULL && certain > 0) {
        cql_value usual = default_per(c, s, certain);
        if (cql_is_null(usual))
            return CQL_NULL_VALUE;
        per = usual.quantity;
    }
    for (size_t i = 0; i < certain; i++) {
        if (!per_fits(per, s[i].start))
            return CQL_NULL_VALUE;
        bool more = cql__is_temporal(s[i].start) ? expand_temporals(c, &p, &s[i], per)
                                                 : expand_numbers(c, &p, &s[i], per);
        if (!more)
            return CQL_NULL_VALUE;
    }
    unique(c, &p);
    return og_arena_failed(c->arena) ? CQL_NULL_VALUE : cql__list(c, p.items, p.count);
}
