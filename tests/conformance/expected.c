/* Expected values: from the suite's tagged JSON to CQL values, and the comparison that the suite
 * asks for. It is written apart from the engine's own equality, which is one of the things under
 * test. */
#include "conformance.h"

#include <stdlib.h>

#include "rules/cql/ops.h"

static bool decimal_of(og_arena *a, fhir_elem e, og_decimal *ret, int *ret_scale)
{
    og_str s = fhir_kind_of(e) == FHIR_STRING ? fhir_string(a, e) : fhir_raw(e);
    return og_decimal_parse(s, true, ret, ret_scale);
}

static og_str text_of(og_arena *a, fhir_elem e)
{
    og_str s = fhir_string(a, e);
    return s.p != NULL ? s : (og_str){"", 0};
}

static bool integer_of(og_arena *a, fhir_elem e, int64_t *ret)
{
    og_decimal d;
    int scale;
    if (!decimal_of(a, e, &d, &scale))
        return false;
    *ret = (int64_t)(d / OG_DECIMAL_SCALE);
    return true;
}

/* Components as far as they go: 2014-01-01T08:00, T08:00. */
static bool temporal_of(og_arena *a, fhir_elem e, uint8_t kind, cql_value *ret)
{
    og_str s = text_of(a, fhir_get(e, "v"));
    og_temporal t = {0};
    int n[7] = {0}, count = 0;
    size_t i = 0;
    if (kind == CQL_TIME)
        n[count++] = 0, n[count++] = 1, n[count++] = 1;
    while (i < s.n && count < 7) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            i++;
            continue;
        }
        for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
            n[count] = n[count] * 10 + (s.p[i] - '0');
        count++;
    }
    t.year = (int16_t)n[0];
    t.month = (uint8_t)n[1];
    t.day = (uint8_t)n[2];
    t.hour = (uint8_t)n[3];
    t.minute = (uint8_t)n[4];
    t.second = (uint8_t)n[5];
    t.ms = (uint16_t)n[6];
    t.precision = (uint8_t)count;
    fhir_elem tz = fhir_get(e, "tz");
    if (fhir_exists(tz)) {
        og_decimal d;
        int scale;
        if (!decimal_of(a, tz, &d, &scale))
            return false;
        t.has_offset = 1;
        t.offset_min = (int16_t)(d * 60 / OG_DECIMAL_SCALE);
    }
    if (kind == CQL_TIME)
        t.year = 0, t.month = 0, t.day = 0;
    *ret = (cql_value){.kind = kind, .temporal = t};
    return count > 0;
}

static bool interval_of(og_arena *a, fhir_elem e, cql_value *ret)
{
    cql_interval *i = og_arena_zalloc(a, 1, sizeof *i);
    i->low_closed = fhir_kind_of(fhir_get(e, "lc")) == FHIR_TRUE;
    i->high_closed = fhir_kind_of(fhir_get(e, "hc")) == FHIR_TRUE;
    *ret = (cql_value){.kind = CQL_INTERVAL, .interval = i};
    return expected_value(a, fhir_get(e, "low"), &i->low) &&
           expected_value(a, fhir_get(e, "high"), &i->high);
}

static bool list_of(og_arena *a, fhir_elem e, cql_value *ret)
{
    fhir_elem v = fhir_get(e, "v");
    cql_value *items = og_arena_zalloc(a, fhir_length(v) + 1, sizeof *items);
    cql_list *l = og_arena_zalloc(a, 1, sizeof *l);
    for (fhir_elem c = fhir_first(v); fhir_exists(c); c = fhir_next(v, c))
        if (!expected_value(a, c, &items[l->count++]))
            return false;
    l->items = items;
    *ret = (cql_value){.kind = CQL_LIST, .list = l};
    return true;
}

static bool tuple_of(og_arena *a, fhir_elem e, cql_value *ret)
{
    fhir_elem v = fhir_get(e, "v");
    cql_tuple *t = og_arena_zalloc(a, 1, sizeof *t);
    cql_value *items = og_arena_zalloc(a, 64, sizeof *items);
    og_str *names = og_arena_zalloc(a, 64, sizeof *names);
    for (fhir_elem c = fhir_first(v); fhir_exists(c) && t->count < 64; c = fhir_next(v, c)) {
        names[t->count] = fhir_key_of(c);
        if (!expected_value(a, c, &items[t->count++]))
            return false;
    }
    t->names = names;
    t->items = items;
    *ret = (cql_value){.kind = CQL_TUPLE, .tuple = t};
    return true;
}

static cql_code code_of(og_arena *a, fhir_elem e)
{
    return (cql_code){.code = text_of(a, fhir_get(e, "code")),
                      .system = text_of(a, fhir_get(e, "system")),
                      .version = text_of(a, fhir_get(e, "version")),
                      .display = text_of(a, fhir_get(e, "display"))};
}

static bool concept_of(og_arena *a, fhir_elem e, cql_value *ret)
{
    fhir_elem list = fhir_get(e, "codes");
    cql_concept *c = og_arena_zalloc(a, 1, sizeof *c);
    cql_code *codes = og_arena_zalloc(a, fhir_length(list) + 1, sizeof *codes);
    for (fhir_elem k = fhir_first(list); fhir_exists(k); k = fhir_next(list, k))
        codes[c->count++] = code_of(a, k);
    c->codes = codes;
    *ret = (cql_value){.kind = CQL_CONCEPT, .concept = c};
    return true;
}

bool expected_value(og_arena *a, fhir_elem e, cql_value *ret)
{
    fhir_elem t = fhir_get(e, "t"), v = fhir_get(e, "v");
    int64_t i = 0;
    og_decimal d;
    int scale;
    *ret = CQL_NULL_VALUE;
    if (fhir_kind_of(e) == FHIR_NULL || !fhir_exists(e))
        return true;
    if (fhir_is(t, "Boolean")) {
        *ret = cql_bool(fhir_kind_of(v) == FHIR_TRUE);
        return true;
    }
    if (fhir_is(t, "Integer") || fhir_is(t, "Long")) {
        bool ok = integer_of(a, v, &i);
        /* Long goes beyond what a Decimal's whole part was made for: read it as it stands. */
        og_str s = fhir_kind_of(v) == FHIR_STRING ? fhir_string(a, v) : fhir_raw(v);
        i = strtoll(s.p, NULL, 10);
        *ret = fhir_is(t, "Integer") ? cql_integer((int32_t)i) : cql_long(i);
        return ok;
    }
    if (fhir_is(t, "Decimal")) {
        if (!decimal_of(a, v, &d, &scale))
            return false;
        *ret = cql_decimal(d, scale);
        return true;
    }
    if (fhir_is(t, "String")) {
        *ret = cql_string(text_of(a, v));
        return true;
    }
    if (fhir_is(t, "Quantity")) {
        cql_quantity *q = og_arena_zalloc(a, 1, sizeof *q);
        q->unit = text_of(a, fhir_get(e, "u"));
        *ret = (cql_value){.kind = CQL_QUANTITY, .quantity = q};
        return decimal_of(a, v, &q->value, &scale);
    }
    if (fhir_is(t, "Code")) {
        cql_code *c = og_arena_zalloc(a, 1, sizeof *c);
        *c = code_of(a, e);
        *ret = (cql_value){.kind = CQL_CODE, .code = c};
        return true;
    }
    if (fhir_is(t, "Date"))
        return temporal_of(a, e, CQL_DATE, ret);
    if (fhir_is(t, "DateTime"))
        return temporal_of(a, e, CQL_DATETIME, ret);
    if (fhir_is(t, "Time"))
        return temporal_of(a, e, CQL_TIME, ret);
    if (fhir_is(t, "Interval"))
        return interval_of(a, e, ret);
    if (fhir_is(t, "List"))
        return list_of(a, e, ret);
    if (fhir_is(t, "Tuple"))
        return tuple_of(a, e, ret);
    if (fhir_is(t, "Concept"))
        return concept_of(a, e, ret);
    return false;
}

static bool near(og_decimal a, og_decimal b)
{
    return (a > b ? a - b : b - a) <= 1;
}

static og_str unit_of(og_str u)
{
    static const char *const words[] = {"year", "month",  "week",   "day",
                                        "hour", "minute", "second", "millisecond"};
    if (u.n == 0)
        return OG_STR("1");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (og_str_starts(u, og_str_of(words[i])) && u.n == strlen(words[i]) + 1 &&
            u.p[u.n - 1] == 's')
            return og_str_of(words[i]);
    return u;
}

static bool same_temporal(const og_temporal *a, const og_temporal *b, bool offsets)
{
    int x = a->has_offset ? a->offset_min : 0, y = b->has_offset ? b->offset_min : 0;
    return a->precision == b->precision && a->year == b->year && a->month == b->month &&
           a->day == b->day && a->hour == b->hour && a->minute == b->minute &&
           a->second == b->second && a->ms == b->ms && (!offsets || x == y);
}

static bool same_code(const cql_code *wanted, const cql_code *got)
{
    return og_str_eq(wanted->code, got->code) &&
           (wanted->system.n == 0 || og_str_eq(wanted->system, got->system)) &&
           (wanted->version.n == 0 || og_str_eq(wanted->version, got->version)) &&
           (wanted->display.n == 0 || og_str_eq(wanted->display, got->display));
}

static bool same_interval(og_arena *a, cql_value wanted, cql_value got)
{
    const cql_interval *w = wanted.interval, *g = got.interval;
    if (w->low_closed == g->low_closed && w->high_closed == g->high_closed &&
        same_value(a, w->low, g->low) && same_value(a, w->high, g->high))
        return true;
    cql_op_context c = {.arena = a};
    /* Closed forms: the ends themselves, where both are known. */
    cql_value ws = cql_interval_start(&c, wanted), gs = cql_interval_start(&c, got);
    cql_value we = cql_interval_end(&c, wanted), ge = cql_interval_end(&c, got);
    if (cql_is_null(ws) || cql_is_null(we))
        return false;
    return same_value(a, ws, gs) && same_value(a, we, ge);
}

static bool same_tuple(og_arena *a, const cql_tuple *w, const cql_tuple *g)
{
    if (w->count != g->count)
        return false;
    for (size_t i = 0; i < w->count; i++) {
        size_t k = 0;
        while (k < g->count && !og_str_eq(w->names[i], g->names[k]))
            k++;
        if (k == g->count || !same_value(a, w->items[i], g->items[k]))
            return false;
    }
    return true;
}

bool same_value(og_arena *a, cql_value wanted, cql_value got)
{
    if (wanted.kind != got.kind)
        return false;
    switch ((cql_kind)wanted.kind) {
    case CQL_NULL: return true;
    case CQL_BOOLEAN: return wanted.boolean == got.boolean;
    case CQL_INTEGER: return wanted.integer == got.integer;
    case CQL_LONG: return wanted.long_ == got.long_;
    case CQL_DECIMAL: return near(wanted.decimal, got.decimal);
    case CQL_STRING: return og_str_eq(cql_str(wanted), cql_str(got));
    case CQL_DATE:
    case CQL_TIME: return same_temporal(&wanted.temporal, &got.temporal, false);
    case CQL_DATETIME:
        return same_temporal(&wanted.temporal, &got.temporal, wanted.temporal.precision > OG_DAY);
    case CQL_QUANTITY:
        return near(wanted.quantity->value, got.quantity->value) &&
               og_str_eq(unit_of(wanted.quantity->unit), unit_of(got.quantity->unit));
    case CQL_CODE: return same_code(wanted.code, got.code);
    case CQL_CONCEPT:
        if (wanted.concept->count != got.concept->count)
            return false;
        for (size_t i = 0; i < got.concept->count; i++)
            if (!same_code(&wanted.concept->codes[i], &got.concept->codes[i]))
                return false;
        return true;
    case CQL_INTERVAL: return same_interval(a, wanted, got);
    case CQL_LIST:
        if (wanted.list->count != got.list->count)
            return false;
        for (size_t i = 0; i < got.list->count; i++)
            if (!same_value(a, wanted.list->items[i], got.list->items[i]))
                return false;
        return true;
    case CQL_TUPLE: return same_tuple(a, wanted.tuple, got.tuple);
    default: return false;
    }
}
