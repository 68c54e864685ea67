/* Calendar operators (CQL 1.5 B.8, Appendix H), by table. The evaluation's offset is +00:00. */
#include "tests/unit/cql_ops.h"

static void test_make(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Date, "@2012", "2012"),
        CASE(Date, "@2012-02-29", "2012", "2", "29"),
        CASE(Date, "@2012-02", "2012", "2", "null"),
        CASE(Date, "null", "null"),
        CASE(Date, "error", "2012", "null", "1"),
        CASE(Date, "error", "2011", "2", "29"),
        CASE(Date, "error", "0"),
        CASE(Date, "error", "10000"),
        CASE(Date, "error", "2012", "13"),
        CASE(DateTime, "@2012T", "2012"),
        CASE(DateTime, "@2012-01-01T12", "2012", "1", "1", "12"),
        CASE(DateTime, "@2012-01-01T12:30:00.010-07:00", "2012", "1", "1", "12", "30", "0", "10",
             "-7"),
        CASE(DateTime, "@2012-01-01T12:30:00.010+05:30", "2012", "1", "1", "12", "30", "0", "10",
             "5.5"),
        CASE(DateTime, "error", "2012", "1", "1", "12", "30", "0", "10", "14.5"),
        CASE(DateTime, "error", "2012", "1", "1", "12", "null", "0", "0"),
        CASE(DateTime, "error", "2012", "1", "1", "24"),
        CASE(DateTime, "null", "null"),
        CASE(DateTime, "@2012-01-01T", "2012", "1", "1", "null", "null"),
        CASE(Time, "@T12", "12"),
        CASE(Time, "@T12:30:00.010", "12", "30", "0", "10"),
        CASE(Time, "error", "12", "60"),
        CASE(Time, "error", "12", "30", "0", "1000"),
        CASE(Time, "null", "null"),
        CASE(Time, "error", "-1"),
    };
    run_cases(cases, COUNT(cases));
    og_error err;
    cql_op_context c = test_context(&err);
    char text[256];
    value_text(cql_op_Now(&c, NULL, 0), text, sizeof text);
    assert_string_equal(text, "@2024-03-10T12:34:56.789+00:00");
    value_text(cql_op_Today(&c, NULL, 0), text, sizeof text);
    assert_string_equal(text, "@2024-03-10");
    value_text(cql_op_TimeOfDay(&c, NULL, 0), text, sizeof text);
    assert_string_equal(text, "@T12:34:56.789");
}

static void test_parts(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE_AT(DateTimeComponentFrom, OG_YEAR, "2003", "@2003-10-29T20:50:33.955"),
        CASE_AT(DateTimeComponentFrom, OG_DAY, "29", "@2003-10-29"),
        CASE_AT(DateTimeComponentFrom, OG_MILLISECOND, "955", "@2003-10-29T20:50:33.955"),
        CASE_AT(DateTimeComponentFrom, OG_HOUR, "null", "@2003-10-29T"),
        CASE_AT(DateTimeComponentFrom, OG_HOUR, "23", "@T23:20:15.555"),
        CASE_AT(DateTimeComponentFrom, OG_YEAR, "null", "@T23"),
        CASE_AT(DateTimeComponentFrom, WEEK, "error", "@2003"),
        CASE_AT(DateTimeComponentFrom, OG_YEAR, "null", "null"),
        CASE(DateFrom, "@2003-10-29", "@2003-10-29T20:50:33.955+01:00"),
        CASE(DateFrom, "@2003", "@2003T"),
        CASE(DateFrom, "null", "null"),
        CASE(TimeFrom, "@T19:50:33.955", "@2003-10-29T20:50:33.955+01:00"),
        CASE(TimeFrom, "@T20:50", "@2003-10-29T20:50"),
        CASE(TimeFrom, "null", "@2003-10-29T"),
        CASE(TimezoneOffsetFrom, "1.0", "@2003-10-29T20:50+01:00"),
        CASE(TimezoneOffsetFrom, "-3.5", "@2003-10-29T20:50-03:30"),
        CASE(TimezoneOffsetFrom, "0.0", "@2003-10-29T20:50"),
        CASE(TimezoneOffsetFrom, "null", "null"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_add(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Add, "@2010-10-10T", "@2005-10-10T", "5 years"),
        CASE(Add, "error", "@2005-10-10T", "8000 years"),
        CASE(Add, "error", "@2005-10-10T", "99999999999999999999 milliseconds"),
        CASE(Add, "@2006-03-10T", "@2005-05-10T", "10 months"),
        CASE(Add, "@2012-02-29", "@2012-01-31", "1 month"),
        CASE(Add, "@2013-02-28T", "@2012-02-29T", "1 year"),
        CASE(Add, "@2024-02-29", "@2023-03-02", "52 weeks"),
        CASE(Add, "@2016-07-01T", "@2016-06-10T", "21 days"),
        CASE(Add, "@2016-07-01T", "@2016-06-10T", "21 'd'"),
        CASE(Add, "@2016-06-11T00", "@2016-06-10T05", "19 hours"),
        CASE(Add, "@2005-05-11T", "@2005-05-10T", "25 hours"),
        CASE(Add, "@2005-05-10T", "@2005-05-10T", "23 hours"),
        CASE(Add, "@2016-06-10T05:05:06.000", "@2016-06-10T05:05:05.005", "995 milliseconds"),
        CASE(Add, "@2016-06-10T05:05:06.505", "@2016-06-10T05:05:05.005", "1.5 seconds"),
        CASE(Add, "@2016-06-10T05:05:06", "@2016-06-10T05:05:05", "1.9 seconds"),
        CASE(Add, "@2016-06-10T06:05", "@2016-06-10T05:05", "1.9 hours"),
        CASE(Add, "@2016", "@2014", "24 months"),
        CASE(Add, "@2016", "@2014", "25 months"),
        CASE(Add, "@2014-07", "@2014-06", "33 days"),
        CASE(Add, "@2016T", "@2014T", "735 days"),
        CASE(Add, "@2014-08", "@2014-06", "9 weeks"),
        CASE(Add, "@2015T", "@2014T", "9000 hours"),
        CASE(Add, "@2005-10-10T10:00:00.000+05:00", "@2005-10-10T09:00:00.000+05:00", "1 hour"),
        CASE(Add, "@T20:59:59.999", "@T15:59:59.999", "300 minutes"),
        CASE(Add, "@T00:30:00", "@T23:30:00", "1 hour"),
        CASE(Add, "@T11", "@T10", "90 minutes"),
        CASE(Add, "@T10", "@T10", "99999999999999999984 hours"),
        CASE(Subtract, "@T23:00:00", "@T01:00:00", "2 hours"),
        CASE(Subtract, "@T22:59", "@T00:29", "90 minutes"),
        CASE(Subtract, "error", "@2005-10-10T", "2005 years"),
        CASE(Subtract, "@2004-11-10", "@2005-05-10", "6 months"),
        CASE(Subtract, "@2023-03-02T", "@2024-02-29T", "52 weeks"),
        CASE(Subtract, "@2012", "@2014", "25 months"),
        CASE(Subtract, "@2014-05", "@2014-06", "33 days"),
        CASE(Subtract, "@2015-05T", "@2016-05T", "31535999 seconds"),
        CASE(Subtract, "@2016-06-09T23", "@2016-06-10T05", "6 hours"),
        CASE(Subtract, "@2012-02-29", "@2012-03-31", "1 month"),
        CASE(Add, "@2012-02-29", "@2012-03-31", "-1 months"),
        CASE(Add, "error", "@2012-01-01", "1 'a'"),
        CASE(Add, "error", "@2012-01-01", "1 'mo'"),
        CASE(Add, "error", "@2012-01-01", "1 hour"),
        CASE(Add, "error", "@T10", "1 day"),
        CASE(Add, "error", "@2012-01-01", "1 'mg'"),
        CASE(Add, "null", "@2012-01-01", "null"),
        CASE(Add, "null", "null", "1 day"),
        CASE(Add, "null", "@2012-01-01", "1"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_duration(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE_AT(DurationBetween, OG_YEAR, "~Interval[4, 5]", "@2005T", "@2010T"),
        CASE_AT(DurationBetween, OG_YEAR, "4", "@2005-05T", "@2010-04T"),
        CASE_AT(DurationBetween, OG_YEAR, "2", "@2012-02-29T10:18:56", "@2014-02-28T19:02:34"),
        CASE_AT(DurationBetween, OG_YEAR, "1", "@2012-02-29T10:18:56", "@2014-02-28T09:02:34"),
        CASE_AT(DurationBetween, OG_YEAR, "0", "@2012-02-20T10:20:56", "@2011-03-19T19:16:02"),
        CASE_AT(DurationBetween, OG_YEAR, "-1", "@2013-05-11T20:06:10", "@2012-05-11T20:06:10"),
        CASE_AT(DurationBetween, OG_YEAR, "0", "@2012-03-10T10:20:00", "@2013-03-10T09:20:00"),
        CASE_AT(DurationBetween, OG_YEAR, "1", "@2012-03-10", "@2013-03-10"),
        CASE_AT(DurationBetween, OG_MONTH, "0", "@2014-01-31", "@2014-02-01"),
        CASE_AT(DurationBetween, OG_MONTH, "1", "@2014-01-31", "@2014-02-28"),
        CASE_AT(DurationBetween, OG_MONTH, "15", "@2012-03-10T22:05:09", "@2013-06-30T13:00:23"),
        CASE_AT(DurationBetween, OG_MONTH, "9", "@2012-03-10T22:05:09", "@2013-01-09T07:19:33"),
        CASE_AT(DurationBetween, OG_MONTH, "~Interval[4, 16]", "@2005T", "@2006-05T"),
        CASE_AT(DurationBetween, OG_MONTH, "~Interval[0, 11]", "@2012-01-02", "@2012"),
        CASE_AT(DurationBetween, OG_DAY, "~Interval[16, 44]", "@2014-01-15T", "@2014-02T"),
        CASE_AT(DurationBetween, OG_DAY, "~Interval[18, 49]", "@2015-02-10T", "@2015-03T"),
        CASE_AT(DurationBetween, OG_DAY, "5", "@2014-01-15", "@2014-01-20"),
        CASE_AT(DurationBetween, OG_DAY, "~Interval[4, 5]", "@2014-01-15T", "@2014-01-20T"),
        CASE_AT(DurationBetween, OG_DAY, "-788", "@2010-10-12T12:05", "@2008-08-15T08:08"),
        CASE_AT(DurationBetween, OG_DAY, "0", "@2017-03-12T00:00:00-07:00",
                "@2017-03-13T00:00:00-06:00"),
        CASE_AT(DurationBetween, WEEK, "1", "@2012-03-10T22:05:09", "@2012-03-24T07:19:33"),
        CASE_AT(DurationBetween, WEEK, "2", "@2012-03-10T06:05:09", "@2012-03-24T07:19:33"),
        CASE_AT(DurationBetween, OG_HOUR, "2", "@T20:26:15.555", "@T23:25:15.555"),
        CASE_AT(DurationBetween, OG_MINUTE, "45", "@2017-11-05T01:30:00-06:00",
                "@2017-11-05T01:15:00-07:00"),
        CASE_AT(DurationBetween, OG_SECOND, "4", "@T23:25:10.556", "@T23:25:15.555"),
        CASE_AT(DurationBetween, OG_SECOND, "5", "@T23:25:10", "@T23:25:15"),
        CASE_AT(DurationBetween, OG_MILLISECOND, "5", "@T23:25:25.555", "@T23:25:25.560"),
        CASE_AT(DurationBetween, OG_MILLISECOND, "null", "@1900-01-01T00:00:00.000",
                "@2000-01-01T00:00:00.000"),
        CASE_AT(DurationBetween, OG_DAY, "null", "null", "@2014-01-20"),
        CASE_AT(DurationBetween, OG_DAY, "null", "@T10", "@2014-01-20"),
        CASE_AT(DurationBetween, OG_DAY, "error", "@T10", "@T11"),
        CASE_AT(DurationBetween, 0, "error", "@2014", "@2014"),
        CASE_AT(DurationBetween, OG_DAY, "~Interval[4, 5]", "@2014-01-15", "@2014-01-20T"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_difference(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE_AT(DifferenceBetween, OG_YEAR, "5", "@2000T", "@2005-12T"),
        CASE_AT(DifferenceBetween, OG_YEAR, "-18", "@2016T", "@1998T"),
        CASE_AT(DifferenceBetween, OG_YEAR, "1", "@2012-12-31", "@2013-01-01"),
        CASE_AT(DifferenceBetween, OG_MONTH, "8", "@2000-02T", "@2000-10T"),
        CASE_AT(DifferenceBetween, OG_MONTH, "~Interval[7, 18]", "@2005T", "@2006-07T"),
        CASE_AT(DifferenceBetween, OG_DAY, "10", "@2000-10-15T10:30", "@2000-10-25T10:00"),
        CASE_AT(DifferenceBetween, OG_DAY, "1", "@2017-03-12T00:00:00-07:00",
                "@2017-03-13T00:00:00-06:00"),
        CASE_AT(DifferenceBetween, WEEK, "1", "@2000-10-15T", "@2000-10-28T"),
        CASE_AT(DifferenceBetween, WEEK, "2", "@2000-10-15T", "@2000-10-29T"),
        CASE_AT(DifferenceBetween, WEEK, "2", "@2012-03-10T22:05:09", "@2012-03-24T07:19:33"),
        CASE_AT(DifferenceBetween, WEEK, "1", "@1969-12-27", "@1969-12-28"),
        CASE_AT(DifferenceBetween, OG_HOUR, "3", "@T20", "@T23:25:15.555"),
        CASE_AT(DifferenceBetween, OG_HOUR, "1", "@2017-03-12T01:00:00-07:00",
                "@2017-03-12T03:00:00-06:00"),
        CASE_AT(DifferenceBetween, OG_MINUTE, "9", "@2005-12-10T05:16", "@2005-12-10T05:25"),
        CASE_AT(DifferenceBetween, OG_MILLISECOND, "3600400", "@2000-10-10T10:05:45.500-06:00",
                "@2000-10-10T10:05:45.900-07:00"),
        CASE_AT(DifferenceBetween, OG_MILLISECOND, "-5", "@T20:20:15.555", "@T20:20:15.550"),
        CASE_AT(DifferenceBetween, OG_DAY, "null", "@2012", "null"),
    };
    run_cases(cases, COUNT(cases));
}

/* The offset of the evaluation stands in for what a value does not say, and for nothing else. */
static void test_offset(void **state)
{
    (void)state;
    og_error err;
    cql_op_context c = test_context(&err);
    c.offset_min = -300;
    cql_value a = literal("@2012-03-10T10:00"), b = literal("@2012-03-10T15:00Z");
    assert_int_equal(cql_equal(&c, a, b), CQL_TRUE);
    c.offset_min = 60;
    assert_int_equal(cql_equal(&c, a, b), CQL_FALSE);
    /* an hour at half an hour's distance is parts of two hours, and may lie on two days */
    og_temporal t = literal("@2012-03-10T23+00:00").temporal;
    assert_int_equal(cql__at_offset(t, 30, 0).precision, OG_MONTH);
    assert_int_equal(cql__at_offset(t, 60, 0).precision, OG_HOUR);
    t = literal("@2012-03-10T10+00:00").temporal;
    assert_int_equal(cql__at_offset(t, 30, 0).precision, OG_DAY);
    assert_int_equal(err.status, OG_OK);
}

static void test_duration_functions(void **state)
{
    (void)state;
    og_error err;
    cql_op_context c = test_context(&err);
    cql_value age = cql_duration(&c, literal("@1979"), literal("@2024-03-10"), OG_YEAR, false);
    assert_true(cql__is_uncertain(age));
    assert_int_equal(cql__least(age).integer, 44);
    assert_int_equal(cql__greatest(age).integer, 45);
    assert_int_equal(
        cql_duration(&c, literal("@1979-03-10"), literal("@2024-03-10"), OG_YEAR, false).integer,
        45);
    assert_int_equal(
        cql_difference(&c, literal("@2024-03-09"), literal("@2024-03-10"), 0, true).integer, 1);
}

/* Adding n units and counting them gives n, for every day of four years. */
static void test_add_and_count(void **state)
{
    (void)state;
    og_error err;
    cql_op_context c = test_context(&err);
    for (int day = 0; day < 1461; day++) {
        og_temporal t = {.precision = OG_DAY, .year = 2011, .month = 1, .day = 1};
        assert_true(cql__temporal_add(&t, OG_DAY, day, false));
        for (int n = -30; n <= 30; n += 5)
            for (int p = OG_YEAR; p <= OG_DAY; p++) {
                og_temporal u = t;
                assert_true(cql__temporal_add(&u, p, n, false));
                cql_value d = cql_duration(&c, cql__temporal(CQL_DATE, t),
                                           cql__temporal(CQL_DATE, u), (og_precision)p, false);
                bool clamped =
                    p != OG_DAY && u.day != t.day; /* going back from a month's end is short of n */
                if (n >= 0 || !clamped)
                    assert_int_equal(d.integer, n);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_duration),
        cmocka_unit_test(test_difference),
        cmocka_unit_test(test_offset),
        cmocka_unit_test(test_duration_functions),
        cmocka_unit_test(test_add_and_count),
    };
    return cmocka_run_group_tests(tests, arena_setup, arena_teardown);
}
