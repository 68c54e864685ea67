/* Calendar and clock: reading and writing ISO 8601 text as FHIR R4 allows it, and the way between
 * civil dates and a count of days. A value knows how precise it is; what lies beyond its precision
 * is zero in the struct and never looked at. Proleptic Gregorian calendar; day counts follow Howard
 * Hinnant's "chrono-Compatible Low-Level Date Algorithms". */
#include "fhir/base/temporal.h"

#define MS_PER_DAY 86400000LL

/* Exactly n digits at s[*at]; advances. */
static bool digits(og_str s, size_t *at, int n, int *ret)
{
    int v = 0;
    for (int i = 0; i < n; i++, (*at)++) {
        if (*at >= s.n || s.p[*at] < '0' || s.p[*at] > '9')
            return false;
        v = v * 10 + (s.p[*at] - '0');
    }
    *ret = v;
    return true;
}

static bool skip(og_str s, size_t *at, char c)
{
    if (*at >= s.n || s.p[*at] != c)
        return false;
    (*at)++;
    return true;
}

/* A fraction behind its point: one digit or more, those beyond the third cut off. */
static bool fraction(og_str s, size_t *at, int *ret_ms)
{
    int ms = 0, seen = 0;
    for (; *at < s.n && s.p[*at] >= '0' && s.p[*at] <= '9'; (*at)++, seen++)
        if (seen < 3)
            ms = ms * 10 + (s.p[*at] - '0');
    if (seen == 0)
        return false;
    for (int i = seen; i < 3; i++)
        ms *= 10;
    *ret_ms = ms;
    return true;
}

/* hh:mm[:ss[.f]] at s[*at]. */
static bool clock_part(og_str s, size_t *at, og_temporal *t)
{
    int hour, minute, second, ms;
    if (!digits(s, at, 2, &hour) || hour > 23 || !skip(s, at, ':') || !digits(s, at, 2, &minute) ||
        minute > 59)
        return false;
    t->hour = (uint8_t)hour;
    t->minute = (uint8_t)minute;
    t->precision = OG_MINUTE;
    if (!skip(s, at, ':'))
        return true;
    if (!digits(s, at, 2, &second) || second > 60)
        return false;
    t->second = second == 60 ? 59 : (uint8_t)second;
    t->precision = OG_SECOND;
    if (!skip(s, at, '.'))
        return true;
    if (!fraction(s, at, &ms))
        return false;
    t->ms = (uint16_t)ms;
    t->precision = OG_MILLISECOND;
    return true;
}

/* Z or +hh:mm, -hh:mm up to 14:00. */
static bool offset_part(og_str s, size_t *at, og_temporal *t)
{
    t->has_offset = 1;
    if (skip(s, at, 'Z'))
        return true;
    bool negative = *at < s.n && s.p[*at] == '-';
    if (!negative && (*at >= s.n || s.p[*at] != '+'))
        return false;
    (*at)++;
    int hour, minute;
    if (!digits(s, at, 2, &hour) || !skip(s, at, ':') || !digits(s, at, 2, &minute) ||
        minute > 59 || hour > 14 || (hour == 14 && minute != 0))
        return false;
    int min = hour * 60 + minute;
    t->offset_min = (int16_t)(negative ? -min : min);
    return true;
}

bool og_temporal_parse_fhir(og_str s, og_temporal *ret)
{
    og_temporal t = {.precision = OG_YEAR};
    size_t at = 0;
    int year, month, day;
    if (!digits(s, &at, 4, &year) || year == 0)
        return false;
    t.year = (int16_t)year;
    if (at == s.n)
        goto done;
    if (!skip(s, &at, '-') || !digits(s, &at, 2, &month) || month < 1 || month > 12)
        return false;
    t.month = (uint8_t)month;
    t.precision = OG_MONTH;
    if (at == s.n)
        goto done;
    if (!skip(s, &at, '-') || !digits(s, &at, 2, &day) || day < 1 ||
        day > og_days_in_month(year, month))
        return false;
    t.day = (uint8_t)day;
    t.precision = OG_DAY;
    if (at == s.n)
        goto done;
    if (!skip(s, &at, 'T') || !clock_part(s, &at, &t) || t.precision < OG_SECOND ||
        !offset_part(s, &at, &t) || at != s.n)
        return false;
done:
    *ret = t;
    return true;
}

bool og_temporal_parse_time(og_str s, og_temporal *ret)
{
    og_temporal t = {0};
    size_t at = 0;
    if (!clock_part(s, &at, &t) || at != s.n)
        return false;
    *ret = t;
    return true;
}

static size_t put(char *out, size_t at, unsigned value, int width)
{
    for (int i = width - 1; i >= 0; i--, value /= 10)
        out[at + (size_t)i] = (char)('0' + value % 10);
    return at + (size_t)width;
}

size_t og_temporal_format(const og_temporal *t, char out[48])
{
    size_t at = 0;
    if (t->year != 0) {
        at = put(out, at, (unsigned)t->year, 4);
        if (t->precision >= OG_MONTH) {
            out[at++] = '-';
            at = put(out, at, t->month, 2);
        }
        if (t->precision >= OG_DAY) {
            out[at++] = '-';
            at = put(out, at, t->day, 2);
        }
        if (t->precision >= OG_HOUR)
            out[at++] = 'T';
    }
    if (t->precision >= OG_HOUR)
        at = put(out, at, t->hour, 2);
    if (t->precision >= OG_MINUTE) {
        out[at++] = ':';
        at = put(out, at, t->minute, 2);
    }
    if (t->precision >= OG_SECOND) {
        out[at++] = ':';
        at = put(out, at, t->second, 2);
    }
    if (t->precision >= OG_MILLISECOND) {
        out[at++] = '.';
        at = put(out, at, t->ms, 3);
    }
    if (t->precision >= OG_HOUR && t->has_offset) {
        unsigned min = (unsigned)(t->offset_min < 0 ? -t->offset_min : t->offset_min);
        out[at++] = t->offset_min < 0 ? '-' : '+';
        at = put(out, at, min / 60, 2);
        out[at++] = ':';
        at = put(out, at, min % 60, 2);
    }
    out[at] = '\0';
    return at;
}

int64_t og_days_from_civil(int year, int month, int day)
{
    int64_t y =
        (int64_t)year - (month <= 2); /* years begin in March, so that the odd day comes last */
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

void og_civil_from_days(int64_t days, int *ret_year, int *ret_month, int *ret_day)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    int month = (int)(mp + (mp < 10 ? 3 : -9));
    *ret_day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *ret_month = month;
    *ret_year = (int)(yoe + era * 400 + (month <= 2));
}

int og_days_in_month(int year, int month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

/* ms since the epoch (of the day, for a Time) of fully known components. */
static int64_t instant(const og_temporal *t, int default_offset_min)
{
    int64_t days = t->year != 0 ? og_days_from_civil(t->year, t->month, t->day) : 0;
    int64_t ms = ((t->hour * 60LL + t->minute) * 60 + t->second) * 1000 + t->ms;
    if (t->year == 0)
        return ms;
    int offset = t->has_offset ? t->offset_min : default_offset_min;
    return days * MS_PER_DAY + ms - offset * 60000LL;
}

int64_t og_temporal_earliest_ms(const og_temporal *t, int default_offset_min)
{
    og_temporal e = *t;
    if (t->precision < OG_MONTH)
        e.month = 1;
    if (t->precision < OG_DAY)
        e.day = 1;
    if (t->precision < OG_HOUR)
        e.hour = 0;
    if (t->precision < OG_MINUTE)
        e.minute = 0;
    if (t->precision < OG_SECOND)
        e.second = 0;
    if (t->precision < OG_MILLISECOND)
        e.ms = 0;
    return instant(&e, default_offset_min);
}

int64_t og_temporal_latest_ms(const og_temporal *t, int default_offset_min)
{
    og_temporal l = *t;
    if (t->precision < OG_MONTH)
        l.month = 12;
    if (t->precision < OG_DAY)
        l.day = t->year != 0 ? (uint8_t)og_days_in_month(l.year, l.month) : 0;
    if (t->precision < OG_HOUR)
        l.hour = 23;
    if (t->precision < OG_MINUTE)
        l.minute = 59;
    if (t->precision < OG_SECOND)
        l.second = 59;
    if (t->precision < OG_MILLISECOND)
        l.ms = 999;
    return instant(&l, default_offset_min);
}

og_temporal og_temporal_at(int64_t ms_since_epoch, int offset_min)
{
    const int64_t first = og_days_from_civil(1, 1, 1) * MS_PER_DAY;
    const int64_t last = (og_days_from_civil(9999, 12, 31) + 1) * MS_PER_DAY - 1;
    int64_t shift = offset_min * 60000LL;
    /* Outside the calendar the nearest instant that it has. */
    int64_t ms = ms_since_epoch < first - shift  ? first
                 : ms_since_epoch > last - shift ? last
                                                 : ms_since_epoch + shift;
    int64_t days = ms >= 0 ? ms / MS_PER_DAY : -((-ms + MS_PER_DAY - 1) / MS_PER_DAY);
    int64_t rest = ms - days * MS_PER_DAY;
    int year, month, day;
    og_civil_from_days(days, &year, &month, &day);
    return (og_temporal){
        .precision = OG_MILLISECOND,
        .has_offset = 1,
        .offset_min = (int16_t)offset_min,
        .year = (int16_t)year,
        .month = (uint8_t)month,
        .day = (uint8_t)day,
        .hour = (uint8_t)(rest / 3600000),
        .minute = (uint8_t)(rest / 60000 % 60),
        .second = (uint8_t)(rest / 1000 % 60),
        .ms = (uint16_t)(rest % 1000),
    };
}
