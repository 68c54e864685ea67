/* Calendar and clock: CQL 1.5 Appendix B.8, durations and differences after Appendix H.
 *
 * Nothing here knows a time zone but the offset of the evaluation request: a DateTime without
 * offset has that one, and values whose offsets differ are brought to it before hours or anything
 * finer is looked at. What a value does not say (its day, its hour) is uncertain, seconds apart: a
 * value to the second has no milliseconds but .000 in calculations. Timing phrases on points and
 * intervals are in op_interval.c. */
#include "rules/cql/ops_private.h"

#define MS_PER_DAY 86400000LL

cql_value cql__temporal(cql_kind kind, og_temporal t)
{
    return (cql_value){.kind = (uint8_t)kind, .temporal = t};
}

bool cql__is_temporal(cql_value v)
{
    return v.kind == CQL_DATE || v.kind == CQL_DATETIME || v.kind == CQL_TIME;
}

int cql__finest(cql_kind kind)
{
    return kind == CQL_DATE ? OG_DAY : OG_MILLISECOND;
}

int cql__coarsest(cql_kind kind)
{
    return kind == CQL_TIME ? OG_HOUR : OG_YEAR;
}

static int component(const og_temporal *t, int precision)
{
    switch ((og_precision)precision) {
    case OG_YEAR: return t->year;
    case OG_MONTH: return t->month;
    case OG_DAY: return t->day;
    case OG_HOUR: return t->hour;
    case OG_MINUTE: return t->minute;
    case OG_SECOND: return t->second;
    case OG_MILLISECOND: return t->ms;
    }
    return 0;
}

og_temporal cql__truncate(og_temporal t, int precision)
{
    if (t.precision > precision)
        t.precision = (uint8_t)precision;
    if (precision < OG_MONTH)
        t.month = 0;
    if (precision < OG_DAY)
        t.day = 0;
    if (precision < OG_HOUR)
        t.hour = 0;
    if (precision < OG_MINUTE)
        t.minute = 0;
    if (precision < OG_SECOND)
        t.second = 0;
    if (precision < OG_MILLISECOND)
        t.ms = 0;
    return t;
}

/* ---- offsets ---- */

static int offset_of(const cql_op_context *c, const og_temporal *t)
{
    return t->has_offset ? t->offset_min : c->offset_min;
}

og_temporal cql__at_offset(og_temporal t, int offset_min, int default_offset_min)
{
    if (t.year == 0 || t.precision < OG_HOUR)
        return t;
    og_temporal e = og_temporal_at(og_temporal_earliest_ms(&t, default_offset_min), offset_min);
    og_temporal l = og_temporal_at(og_temporal_latest_ms(&t, default_offset_min), offset_min);
    /* An hour seen from an offset of half an hour is parts of two: then the hour is not known any
     * more. */
    int known = 0;
    while (known < t.precision && component(&e, known + 1) == component(&l, known + 1))
        known++;
    return cql__truncate(e, known);
}

/* Brings both to the evaluation's offset when their offsets differ. */
static void same_offset(const cql_op_context *c, og_temporal *a, og_temporal *b)
{
    if (a->year == 0 || b->year == 0 || offset_of(c, a) == offset_of(c, b))
        return;
    *a = cql__at_offset(*a, c->offset_min, c->offset_min);
    *b = cql__at_offset(*b, c->offset_min, c->offset_min);
}

/* ---- order ---- */

static cql__order order_of_numbers(int64_t a, int64_t b)
{
    return a < b ? CQL__LESS : a > b ? CQL__MORE : CQL__SAME;
}

cql__order cql__temporal_order(cql_op_context *c, cql_value a, cql_value b, int precision,
                               bool timing)
{
    og_temporal x = a.temporal, y = b.temporal;
    if (precision == 0 || precision >= OG_HOUR)
        same_offset(c, &x, &y);
    int last = precision != 0 ? precision : OG_MILLISECOND;
    for (int p = cql__coarsest((cql_kind)a.kind); p <= last; p++) {
        if (p > x.precision && p > y.precision)
            return precision == 0 ? CQL__SAME : CQL__ANY_ORDER;
        if (p > x.precision || p > y.precision)
            return CQL__ANY_ORDER;
        if (p == OG_SECOND && !timing)
            return order_of_numbers(x.second * 1000 + x.ms, y.second * 1000 + y.ms);
        if (component(&x, p) != component(&y, p))
            return order_of_numbers(component(&x, p), component(&y, p));
    }
    return CQL__SAME;
}

/* ---- adding ---- */

static int64_t unit_ms(int precision)
{
    switch (precision) {
    case OG_DAY: return MS_PER_DAY;
    case OG_HOUR: return 3600000;
    case OG_MINUTE: return 60000;
    case OG_SECOND: return 1000;
    default: return 1;
    }
}

static int64_t clock_ms(const og_temporal *t)
{
    return ((t->hour * 60LL + t->minute) * 60 + t->second) * 1000 + t->ms;
}

static void set_clock(og_temporal *t, int64_t ms)
{
    t->hour = (uint8_t)(ms / 3600000);
    t->minute = (uint8_t)(ms / 60000 % 60);
    t->second = (uint8_t)(ms / 1000 % 60);
    t->ms = (uint16_t)(ms % 1000);
}

/* ms since the epoch on the value's own clock; its date must be known. */
static int64_t local_ms(const og_temporal *t)
{
    int64_t days = t->year != 0 ? og_days_from_civil(t->year, t->month, t->day) : 0;
    return days * MS_PER_DAY + clock_ms(t);
}

static int64_t floor_div(int64_t n, int64_t d)
{
    return n / d - (n % d < 0);
}

static bool add_months(og_temporal *t, int64_t n)
{
    int64_t months = t->year * 12LL + (t->precision >= OG_MONTH ? t->month - 1 : 0) + n;
    int64_t year = floor_div(months, 12);
    if (year < 1 || year > 9999)
        return false;
    t->year = (int16_t)year;
    if (t->precision < OG_MONTH)
        return true;
    t->month = (uint8_t)(months - year * 12 + 1);
    int last = og_days_in_month(t->year, t->month);
    if (t->day > last) /* 31 January and a month: the last day of February */
        t->day = (uint8_t)last;
    return true;
}

static bool add_clock(og_temporal *t, int precision, int64_t n, bool wrap)
{
    int64_t unit = unit_ms(precision);
    int64_t ms = clock_ms(t) + (wrap ? n % (MS_PER_DAY / unit) : n) * unit;
    if (wrap)
        ms -= floor_div(ms, MS_PER_DAY) * MS_PER_DAY;
    if (ms < 0 || ms >= MS_PER_DAY)
        return false;
    set_clock(t, ms);
    return true;
}

bool cql__temporal_add(og_temporal *t, int precision, int64_t n, bool wrap)
{
    const int64_t most = 400000000000000; /* more ms than the calendar has */
    if (!(t->year == 0 && wrap) && (n > most || n < -most))
        return false;
    if (t->year == 0)
        return add_clock(t, precision, n, wrap);
    if (precision <= OG_MONTH)
        return add_months(t, precision == OG_YEAR ? n * 12 : n);
    __int128 ms = (__int128)local_ms(t) + (__int128)n * unit_ms(precision);
    if (ms > INT64_MAX || ms < INT64_MIN)
        return false;
    int64_t days = floor_div((int64_t)ms, MS_PER_DAY);
    if (days < og_days_from_civil(1, 1, 1) || days > og_days_from_civil(9999, 12, 31))
        return false;
    int year, month, day;
    og_civil_from_days(days, &year, &month, &day);
    t->year = (int16_t)year;
    t->month = (uint8_t)month;
    t->day = (uint8_t)day;
    set_clock(t, (int64_t)ms - days * MS_PER_DAY);
    return true;
}

static int precision_of_unit(cql__unit u)
{
    switch (u) {
    case CQL__UNIT_YEAR: return OG_YEAR;
    case CQL__UNIT_MONTH: return OG_MONTH;
    case CQL__UNIT_WEEK:
    case CQL__UNIT_DAY: return OG_DAY;
    case CQL__UNIT_HOUR: return OG_HOUR;
    case CQL__UNIT_MINUTE: return OG_MINUTE;
    case CQL__UNIT_SECOND: return OG_SECOND;
    default: return OG_MILLISECOND;
    }
}

/* The quantity as a whole number of *ret_precision, which is not finer than `finest`. A month has
 * 30 days here, a year 365 days or 12 months (B.8 Add; conversion factors of B.5 Equal). */
static og_int128 whole_units(const cql_quantity *q, cql__unit u, int finest, int *ret_precision)
{
    int p = precision_of_unit(u);
    og_int128 n = q->value / OG_DECIMAL_SCALE; /* a fraction does not count above seconds */
    if (u == CQL__UNIT_WEEK)
        n *= 7;
    if (u == CQL__UNIT_SECOND) {
        n = q->value / (OG_DECIMAL_SCALE / 1000);
        p = OG_MILLISECOND;
    }
    if (p > finest && finest >= OG_DAY) {
        n = n * unit_ms(p) / unit_ms(finest);
        p = finest;
    } else if (p > finest && p == OG_MONTH) {
        n /= 12;
        p = OG_YEAR;
    } else if (p > finest) {
        n = n * unit_ms(p) / MS_PER_DAY / (finest == OG_MONTH ? 30 : 365);
        p = finest;
    }
    *ret_precision = p;
    return n;
}

static const char *kind_word(cql_kind kind)
{
    return kind == CQL_DATE ? "Date" : kind == CQL_TIME ? "Time" : "DateTime";
}

cql_value cql__temporal_add_quantity(cql_op_context *c, cql_value v, const cql_quantity *q,
                                     int sign)
{
    cql__unit u = cql__unit_of(q);
    bool fits = u != CQL__UNIT_NONE && !(v.kind == CQL_TIME && u < CQL__UNIT_HOUR) &&
                !(v.kind == CQL_DATE && u > CQL__UNIT_DAY);
    if (!fits)
        return cql_op_fail(c, "a %s and a quantity in '%.*s' cannot be added",
                           kind_word((cql_kind)v.kind), OG_STR_ARG(q->unit));
    if (!q->calendar && u <= CQL__UNIT_MONTH)
        return cql_op_fail(c, "'%.*s' is a definite duration, calendar arithmetic needs %ss",
                           OG_STR_ARG(q->unit), cql__unit_word(u).p);

    int precision;
    og_int128 n = whole_units(q, u, v.temporal.precision, &precision) * sign;
    if (v.kind == CQL_TIME)
        n %= MS_PER_DAY / unit_ms(precision);
    if (n > INT64_MAX)
        n = INT64_MAX;
    if (n < INT64_MIN)
        n = INT64_MIN;
    og_temporal t = v.temporal;
    if (!cql__temporal_add(&t, precision, (int64_t)n, v.kind == CQL_TIME))
        return cql_op_fail(c, "the result is beyond the years 0001 to 9999");
    return cql__temporal((cql_kind)v.kind, t);
}

/* ---- durations and differences ---- */

/* The first or the last instant that t can mean, with every component known. */
static og_temporal filled(og_temporal t, bool latest, cql_kind kind)
{
    if (t.year != 0 && t.precision < OG_MONTH)
        t.month = latest ? 12 : 1;
    if (t.year != 0 && t.precision < OG_DAY)
        t.day = latest ? (uint8_t)og_days_in_month(t.year, t.month) : 1;
    if (kind != CQL_DATE && latest) {
        if (t.precision < OG_HOUR)
            t.hour = 23;
        if (t.precision < OG_MINUTE)
            t.minute = 59;
        if (t.precision < OG_SECOND) {
            t.second = 59;
            t.ms = 999;
        }
    }
    t.precision = OG_MILLISECOND;
    return t;
}

/* Whole months from a to b, a not after b: the last n for which a plus n months is not after b. */
static int64_t whole_months(og_temporal a, og_temporal b)
{
    int64_t n = (b.year - a.year) * 12LL + b.month - a.month;
    og_temporal end = a;
    if (!cql__temporal_add(&end, OG_MONTH, n, false) || local_ms(&end) > local_ms(&b))
        n--;
    return n;
}

static int64_t duration(og_temporal a, og_temporal b, int precision, bool weeks)
{
    int64_t ms = local_ms(&b) - local_ms(&a);
    if (weeks)
        return ms / (7 * MS_PER_DAY);
    if (precision > OG_MONTH)
        return ms / unit_ms(precision);
    int64_t months = ms >= 0 ? whole_months(a, b) : -whole_months(b, a);
    return precision == OG_YEAR ? months / 12 : months;
}

/* Number of the period that t lies in. 1970-01-01 was a Thursday; weeks begin on Sunday. */
static int64_t period(const og_temporal *t, int precision, bool weeks)
{
    if (weeks)
        return floor_div(floor_div(local_ms(t), MS_PER_DAY) + 4, 7);
    if (precision == OG_YEAR)
        return t->year;
    if (precision == OG_MONTH)
        return t->year * 12LL + t->month;
    return floor_div(local_ms(t), unit_ms(precision));
}

static int64_t difference(og_temporal a, og_temporal b, int precision, bool weeks)
{
    return period(&b, precision, weeks) - period(&a, precision, weeks);
}

static cql_value small_integer(int64_t n)
{
    return n >= INT32_MIN && n <= INT32_MAX ? cql_integer((int32_t)n) : CQL_NULL_VALUE;
}

/* Both functions fall with a and rise with b, so that the ends of the result are at the ends of
 * both. */
static cql_value between(cql_op_context *c, cql_value a, cql_value b, int precision, bool weeks,
                         int64_t (*count)(og_temporal, og_temporal, int, bool), bool shift)
{
    cql_kind kind = a.kind == b.kind ? (cql_kind)a.kind : CQL_DATETIME;
    if (kind == CQL_DATE && precision > OG_DAY)
        kind = CQL_DATETIME;
    og_temporal a1 = filled(a.temporal, false, kind), a2 = filled(a.temporal, true, kind);
    og_temporal b1 = filled(b.temporal, false, kind), b2 = filled(b.temporal, true, kind);
    if (shift) {
        same_offset(c, &a2, &b1);
        same_offset(c, &a1, &b2);
    }
    cql_value low = small_integer(count(a2, b1, precision, weeks));
    cql_value high = small_integer(count(a1, b2, precision, weeks));
    return cql__uncertain(c, low, high);
}

/* False, with null or an error in *ret, when the operands are none for this operator. */
static bool between_arguments(cql_op_context *c, cql_value a, cql_value b, int precision,
                              cql_value *ret)
{
    *ret = CQL_NULL_VALUE;
    if (!cql__is_temporal(a) || !cql__is_temporal(b) ||
        (a.kind == CQL_TIME) != (b.kind == CQL_TIME))
        return false;
    if (precision < cql__coarsest((cql_kind)a.kind) || precision > OG_MILLISECOND) {
        *ret = cql_op_fail(c, "a %s has no such precision", kind_word((cql_kind)a.kind));
        return false;
    }
    return true;
}

cql_value cql_duration(cql_op_context *c, cql_value a, cql_value b, og_precision precision,
                       bool weeks)
{
    cql_value none;
    int p = weeks ? OG_DAY : (int)precision;
    if (!between_arguments(c, a, b, p, &none))
        return none;
    return between(c, a, b, p, weeks, duration, true);
}

cql_value cql_difference(cql_op_context *c, cql_value a, cql_value b, og_precision precision,
                         bool weeks)
{
    cql_value none;
    int p = weeks ? OG_DAY : (int)precision;
    if (!between_arguments(c, a, b, p, &none))
        return none;
    if (p <= OG_DAY && a.temporal.precision >= p && b.temporal.precision >= p) /* nothing is open */
        return small_integer(difference(a.temporal, b.temporal, p, weeks));
    return between(c, a, b, p, weeks, difference, p >= OG_HOUR);
}

/* _duration_ between(low T, high T) Integer; T is Date, DateTime or Time. */
cql_value cql_op_DurationBetween(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return cql_duration(c, args[0], args[1], (og_precision)c->precision, c->weeks);
}

/* difference in _precision_ between(low T, high T) Integer */
cql_value cql_op_DifferenceBetween(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return cql_difference(c, args[0], args[1], (og_precision)c->precision, c->weeks);
}

/* ---- making values ---- */

/* Reads components args[0..count) for precisions from `first` on into t. False with an error
 * recorded when one is out of range or stands behind a missing one. t->precision stays 0 when there
 * is none. */
static bool read_components(cql_op_context *c, const cql_value *args, size_t count, int first,
                            og_temporal *t)
{
    bool ended = false;
    for (size_t i = 0; i < count; i++) {
        int p = first + (int)i;
        if (cql_is_null(args[i])) {
            ended = true;
            continue;
        }
        if (ended || args[i].kind != CQL_INTEGER) {
            cql_op_fail(c, "a date or time has a component behind one that is missing");
            return false;
        }
        static const int most[] = {0, 9999, 12, 31, 23, 59, 59, 999};
        int v = args[i].integer;
        int high = p == OG_DAY ? og_days_in_month(t->year, t->month) : most[p];
        if (v < (p <= OG_DAY ? 1 : 0) || v > high) {
            static const char *const names[] = {"",     "year",   "month",  "day",
                                                "hour", "minute", "second", "millisecond"};
            cql_op_fail(c, "%s %d is out of range", names[p], v);
            return false;
        }
        t->precision = (uint8_t)p;
        switch ((og_precision)p) {
        case OG_YEAR: t->year = (int16_t)v; break;
        case OG_MONTH: t->month = (uint8_t)v; break;
        case OG_DAY: t->day = (uint8_t)v; break;
        case OG_HOUR: t->hour = (uint8_t)v; break;
        case OG_MINUTE: t->minute = (uint8_t)v; break;
        case OG_SECOND: t->second = (uint8_t)v; break;
        case OG_MILLISECOND: t->ms = (uint16_t)v; break;
        }
    }
    return true;
}

/* Date(year Integer, month Integer, day Integer) Date */
cql_value cql_op_Date(cql_op_context *c, const cql_value *args, size_t count)
{
    og_temporal t = {0};
    if (!read_components(c, args, count, OG_YEAR, &t) || t.precision == 0)
        return CQL_NULL_VALUE;
    return cql__temporal(CQL_DATE, t);
}

/* DateTime(year Integer, ..., millisecond Integer, timezoneOffset Decimal) DateTime */
cql_value cql_op_DateTime(cql_op_context *c, const cql_value *args, size_t count)
{
    og_temporal t = {0};
    if (!read_components(c, args, count < 7 ? count : 7, OG_YEAR, &t) || t.precision == 0)
        return CQL_NULL_VALUE;
    og_decimal hours;
    if (count < 8 || !cql__number(args[7], &hours, NULL))
        return cql__temporal(CQL_DATETIME, t);
    og_decimal minutes = hours * 60;
    if (minutes > og_decimal_of(14 * 60) || minutes < og_decimal_of(-14 * 60))
        return cql_op_fail(c, "the time zone offset is out of range");
    t.has_offset = 1;
    t.offset_min = (int16_t)(og_decimal_round(minutes, 0) / OG_DECIMAL_SCALE);
    return cql__temporal(CQL_DATETIME, t);
}

/* Time(hour Integer, minute Integer, second Integer, millisecond Integer) Time */
cql_value cql_op_Time(cql_op_context *c, const cql_value *args, size_t count)
{
    og_temporal t = {0};
    if (!read_components(c, args, count, OG_HOUR, &t) || t.precision == 0)
        return CQL_NULL_VALUE;
    return cql__temporal(CQL_TIME, t);
}

/* Now() DateTime */
cql_value cql_op_Now(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)args, (void)count;
    c->changes_ms = INT64_MIN;
    return cql__temporal(CQL_DATETIME, c->now);
}

static cql_value date_of(og_temporal t)
{
    t = cql__truncate(t, OG_DAY);
    t.has_offset = 0;
    t.offset_min = 0;
    return cql__temporal(CQL_DATE, t);
}

/* Today() Date */
cql_value cql_op_Today(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)args, (void)count;
    return date_of(c->now);
}

static cql_value time_of(og_temporal t)
{
    if (t.precision < OG_HOUR)
        return CQL_NULL_VALUE;
    t.year = 0;
    t.month = t.day = 0;
    t.has_offset = 0;
    t.offset_min = 0;
    return cql__temporal(CQL_TIME, t);
}

/* TimeOfDay() Time */
cql_value cql_op_TimeOfDay(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)args, (void)count;
    c->changes_ms = INT64_MIN;
    return time_of(c->now);
}

/* ---- taking values apart ---- */

/* date from(argument DateTime) Date */
cql_value cql_op_DateFrom(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c, (void)count;
    if (args[0].kind != CQL_DATETIME && args[0].kind != CQL_DATE)
        return CQL_NULL_VALUE;
    return date_of(args[0].temporal);
}

/* time from(argument DateTime) Time: at the evaluation's offset. */
cql_value cql_op_TimeFrom(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (args[0].kind == CQL_TIME)
        return args[0];
    if (args[0].kind != CQL_DATETIME)
        return CQL_NULL_VALUE;
    return time_of(cql__at_offset(args[0].temporal, c->offset_min, c->offset_min));
}

/* timezoneoffset from(argument DateTime) Decimal, in hours */
cql_value cql_op_TimezoneOffsetFrom(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (args[0].kind != CQL_DATETIME)
        return CQL_NULL_VALUE;
    int minutes = offset_of(c, &args[0].temporal);
    if (minutes % 60 == 0)
        return cql_decimal(og_decimal_of(minutes / 60), 1);
    og_decimal hours = 0;
    og_decimal_div(og_decimal_of(minutes), og_decimal_of(60), &hours);
    int places = cql__places(hours);
    return cql_decimal(hours, places > 0 ? places : 1);
}

/* _precision_ from(argument T) Integer */
cql_value cql_op_DateTimeComponentFrom(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (!cql__is_temporal(args[0]))
        return CQL_NULL_VALUE;
    if (c->weeks)
        return cql_op_fail(c, "the week of a date is not defined");
    const og_temporal *t = &args[0].temporal;
    if (c->precision > t->precision || c->precision < cql__coarsest((cql_kind)args[0].kind))
        return CQL_NULL_VALUE;
    return cql_integer(component(t, c->precision));
}

/* ---- reading ---- */

static bool two_digits(og_str s, size_t at, int *ret)
{
    if (at + 2 > s.n || s.p[at] < '0' || s.p[at] > '9' || s.p[at + 1] < '0' || s.p[at + 1] > '9')
        return false;
    *ret = (s.p[at] - '0') * 10 + (s.p[at + 1] - '0');
    return true;
}

static bool is_at(og_str s, size_t at, char ch)
{
    return at < s.n && s.p[at] == ch;
}

/* hh[:mm[:ss[.f+]]] from *at on; advances as far as it goes. */
static bool read_clock(og_str s, size_t *at, og_temporal *t)
{
    static const int most[] = {23, 59, 59};
    int v[3] = {0}, n = 0;
    do {
        if (!two_digits(s, *at, &v[n]) || v[n] > most[n])
            return false;
        *at += 2;
        n++;
    } while (n < 3 && is_at(s, *at, ':') && ++*at);
    t->hour = (uint8_t)v[0];
    t->minute = (uint8_t)v[1];
    t->second = (uint8_t)v[2];
    t->precision = (uint8_t)(OG_HOUR + n - 1);
    if (n < 3 || !is_at(s, *at, '.'))
        return true;
    int ms = 0, seen = 0;
    for (++*at; *at < s.n && s.p[*at] >= '0' && s.p[*at] <= '9'; ++*at, seen++)
        if (seen < 3)
            ms = ms * 10 + (s.p[*at] - '0');
    for (int i = seen; i < 3; i++)
        ms *= 10;
    t->ms = (uint16_t)ms;
    t->precision = OG_MILLISECOND;
    return seen > 0;
}

/* Z or +hh:mm or -hh:mm at the end of s; nothing is fine, too. */
static bool read_offset(og_str s, size_t at, og_temporal *t)
{
    if (at == s.n)
        return true;
    t->has_offset = 1;
    if (s.p[at] == 'Z')
        return at + 1 == s.n;
    int hours, minutes;
    if ((s.p[at] != '+' && s.p[at] != '-') || at + 6 != s.n || !two_digits(s, at + 1, &hours) ||
        s.p[at + 3] != ':' || !two_digits(s, at + 4, &minutes) || minutes > 59 ||
        hours * 60 + minutes > 14 * 60)
        return false;
    int total = hours * 60 + minutes;
    t->offset_min = (int16_t)(s.p[at] == '-' ? -total : total);
    return true;
}

bool cql__parse_time(og_str s, og_temporal *ret)
{
    og_temporal t = {0};
    size_t at = is_at(s, 0, 'T');
    if (!read_clock(s, &at, &t) || at != s.n)
        return false;
    *ret = t;
    return true;
}

bool cql__parse_date_time(og_str s, og_temporal *ret, bool *ret_has_t)
{
    og_temporal t = {.precision = OG_YEAR};
    int century, year, v;
    if (!two_digits(s, 0, &century) || !two_digits(s, 2, &year) || century + year == 0)
        return false;
    t.year = (int16_t)(century * 100 + year);
    size_t at = 4;
    if (is_at(s, at, '-')) {
        if (!two_digits(s, at + 1, &v) || v < 1 || v > 12)
            return false;
        t.month = (uint8_t)v;
        t.precision = OG_MONTH;
        at += 3;
    }
    if (t.precision == OG_MONTH && is_at(s, at, '-')) {
        if (!two_digits(s, at + 1, &v) || v < 1 || v > og_days_in_month(t.year, t.month))
            return false;
        t.day = (uint8_t)v;
        t.precision = OG_DAY;
        at += 3;
    }
    bool has_t = is_at(s, at, 'T');
    if (has_t && ++at < s.n) {
        if (t.precision != OG_DAY || !read_clock(s, &at, &t) || !read_offset(s, at, &t))
            return false;
        at = s.n;
    }
    if (at != s.n)
        return false;
    *ret = t;
    *ret_has_t = has_t;
    return true;
}
