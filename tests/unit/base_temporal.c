/* Temporal values: what FHIR accepts and refuses, text there and back, day counts, instants. */
#include "fhir/base/temporal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static og_temporal fhir(const char *s)
{
    og_temporal t = {0};
    if (!og_temporal_parse_fhir(og_str_of(s), &t))
        fail_msg("refused: %s", s);
    return t;
}

static void test_fhir_text(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* out NULL: refused */
    } cases[] = {
        {"2018", "2018"},
        {"0001", "0001"},
        {"9999-12-31", "9999-12-31"},
        {"1973-06", "1973-06"},
        {"2000-02-29", "2000-02-29"},
        {"2015-02-07T13:28:17-05:00", "2015-02-07T13:28:17-05:00"},
        {"2015-02-07T13:28:17Z", "2015-02-07T13:28:17+00:00"},
        {"2015-02-07T13:28:17.239+02:00", "2015-02-07T13:28:17.239+02:00"},
        {"2015-02-07T13:28:17.2+14:00", "2015-02-07T13:28:17.200+14:00"},
        {"2015-02-07T13:28:17.2399999999-00:00", "2015-02-07T13:28:17.239+00:00"},
        {"2016-12-31T23:59:60Z", "2016-12-31T23:59:59+00:00"},
        {"2015-02-07T00:00:00-13:59", "2015-02-07T00:00:00-13:59"},
        {"", NULL},
        {"0000", NULL},
        {"0000-01-01", NULL},
        {"201", NULL},
        {"20188", NULL},
        {"2018-", NULL},
        {"2018-1", NULL},
        {"2018-13", NULL},
        {"2018-00", NULL},
        {"2018-01-00", NULL},
        {"2018-01-32", NULL},
        {"2018-04-31", NULL},
        {"1900-02-29", NULL},
        {"2018-01-1", NULL},
        {"2018-01-01T", NULL},
        {"2018-01-01T10", NULL},
        {"2018-01-01T10:00", NULL},
        {"2018-01-01T10:00Z", NULL},
        {"2018-01-01T10:00:00", NULL},
        {"2018-01-01T24:00:00Z", NULL},
        {"2018-01-01T10:60:00Z", NULL},
        {"2018-01-01T10:00:61Z", NULL},
        {"2018-01-01T10:00:00.Z", NULL},
        {"2018-01-01T10:00:00z", NULL},
        {"2018-01-01t10:00:00Z", NULL},
        {"2018-01-01 10:00:00Z", NULL},
        {"2018-01-01T10:00:00+14:01", NULL},
        {"2018-01-01T10:00:00+15:00", NULL},
        {"2018-01-01T10:00:00+1:00", NULL},
        {"2018-01-01T10:00:00+0100", NULL},
        {"2018-01-01T10:00:00+01:60", NULL},
        {"2018-01-01T10:00:00Zx", NULL},
        {"-2018", NULL},
        {" 2018", NULL},
        {"2018 ", NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        og_temporal t = {.year = -7};
        bool ok = og_temporal_parse_fhir(og_str_of(cases[i].in), &t);
        if (ok != (cases[i].out != NULL))
            fail_msg("%s: accepted %d", cases[i].in, ok);
        if (!ok) {
            assert_int_equal(t.year, -7);
            continue;
        }
        char out[48];
        size_t n = og_temporal_format(&t, out);
        assert_int_equal(n, strlen(out));
        assert_string_equal(out, cases[i].out);
    }
}

/* Every proper prefix of a full value is refused unless it is a coarser value itself. */
static void test_prefixes(void **state)
{
    (void)state;
    static const char full[] = "2015-02-07T13:28:17.239+02:00";
    for (size_t n = 0; n < sizeof full - 1; n++) {
        og_temporal t;
        bool want = n == 4 || n == 7 || n == 10;
        assert_int_equal(og_temporal_parse_fhir((og_str){full, n}, &t), want);
    }
}

static void test_time_text(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
        int precision;
    } cases[] = {
        {"10:30", "10:30", OG_MINUTE},
        {"00:00:00", "00:00:00", OG_SECOND},
        {"23:59:59.9", "23:59:59.900", OG_MILLISECOND},
        {"23:59:59.99999", "23:59:59.999", OG_MILLISECOND},
        {"24:00", NULL, 0},
        {"10", NULL, 0},
        {"10:", NULL, 0},
        {"1:00", NULL, 0},
        {"10:60", NULL, 0},
        {"10:00:", NULL, 0},
        {"10:00:00.", NULL, 0},
        {"10:00Z", NULL, 0},
        {"T10:00", NULL, 0},
        {"", NULL, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        og_temporal t;
        bool ok = og_temporal_parse_time(og_str_of(cases[i].in), &t);
        if (ok != (cases[i].out != NULL))
            fail_msg("%s: accepted %d", cases[i].in, ok);
        if (!ok)
            continue;
        char out[48];
        og_temporal_format(&t, out);
        assert_string_equal(out, cases[i].out);
        assert_int_equal(t.precision, cases[i].precision);
        assert_int_equal(t.year, 0);
    }
}

/* Walks every day of the calendar: the count rises by one and both directions agree. */
static void test_every_day(void **state)
{
    (void)state;
    int64_t n = og_days_from_civil(1, 1, 1);
    assert_int_equal(n, -719162);
    assert_int_equal(og_days_from_civil(1970, 1, 1), 0);
    for (int year = 1; year <= 9999; year++)
        for (int month = 1; month <= 12; month++)
            for (int day = 1; day <= og_days_in_month(year, month); day++, n++) {
                int y, m, d;
                og_civil_from_days(n, &y, &m, &d);
                if (og_days_from_civil(year, month, day) != n || y != year || m != month ||
                    d != day)
                    fail_msg("%d-%d-%d", year, month, day);
            }
    assert_int_equal(n, 2932897); /* 10000-01-01 */
}

static void test_instants(void **state)
{
    (void)state;
    og_temporal t = fhir("2012");
    assert_int_equal(og_temporal_earliest_ms(&t, 0), 1325376000000);
    assert_int_equal(og_temporal_latest_ms(&t, 0), 1356998399999);
    assert_int_equal(og_temporal_earliest_ms(&t, 60), 1325376000000 - 3600000);
    t = fhir("2012-02");
    assert_int_equal(og_temporal_latest_ms(&t, 0), 1330559999999);
    t = fhir("2012-02-29");
    assert_int_equal(og_temporal_latest_ms(&t, 0) - og_temporal_earliest_ms(&t, 0), 86399999);
    t = fhir("1970-01-01T00:00:00+01:00");
    assert_int_equal(og_temporal_earliest_ms(&t, 600), -3600000);
    assert_int_equal(og_temporal_latest_ms(&t, 600), -3600000 + 999);
    og_temporal clock = {0};
    assert_true(og_temporal_parse_time(OG_STR("10:30"), &clock));
    assert_int_equal(og_temporal_earliest_ms(&clock, 60), 37800000);
    assert_int_equal(og_temporal_latest_ms(&clock, 60), 37859999);
    clock = (og_temporal){.precision = OG_HOUR, .hour = 3};
    assert_int_equal(og_temporal_latest_ms(&clock, 0), 4 * 3600000 - 1);
}

static void test_at(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        int offset;
        const char *out;
    } cases[] = {
        {0, 0, "1970-01-01T00:00:00.000+00:00"},
        {-1, 0, "1969-12-31T23:59:59.999+00:00"},
        {0, -300, "1969-12-31T19:00:00.000-05:00"},
        {1330559999999, 90, "2012-03-01T01:29:59.999+01:30"},
        {INT64_MIN, 0, "0001-01-01T00:00:00.000+00:00"},
        {INT64_MAX, 840, "9999-12-31T23:59:59.999+14:00"},
        {INT64_MIN, -840, "0001-01-01T00:00:00.000-14:00"},
        {253402300799999, 0, "9999-12-31T23:59:59.999+00:00"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        og_temporal t = og_temporal_at(cases[i].ms, cases[i].offset);
        char out[48];
        og_temporal_format(&t, out);
        assert_string_equal(out, cases[i].out);
    }
    for (int64_t ms = -100000000000; ms < 100000000000; ms += 12345677) {
        og_temporal t = og_temporal_at(ms, 120);
        assert_int_equal(og_temporal_earliest_ms(&t, 0), ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fhir_text), cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_time_text), cmocka_unit_test(test_every_day),
        cmocka_unit_test(test_instants),  cmocka_unit_test(test_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
