/* Intervals and timing phrases (CQL 1.5 B.8, B.9), by table. */
#include "tests/unit/cql_ops.h"

static void test_make(void **state)
{
    (void)state;
    static const char *const wrong[] = {"Interval[5, 3]",
                                        "Interval[5, 5)",
                                        "Interval(5, 5]",
                                        "Interval(4, 5)",
                                        "Interval[@2012-02, @2012-01]",
                                        "Interval[1 'g', 1 'mg']",
                                        "Interval(2147483647, 2147483647]"};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        og_error err;
        og_error_init(&err);
        cql_value v;
        assert_int_equal(cql_literal(test_arena, og_str_of(wrong[i]), &v, &err), OG_EVAL);
    }
    static const op_case cases[] = {
        CASE(Start, "1", "Interval[1, 5]"),
        CASE(Start, "2", "Interval(1, 5]"),
        CASE(End, "4", "Interval[1, 5)"),
        CASE(Start, "-2147483648", "Interval[null, 5]"),
        CASE(Start, "null", "Interval(null, 5]"),
        CASE(End, "2147483647", "Interval[1, null]"),
        CASE(End, "null", "Interval[1, null)"),
        CASE(Start, "null", "Interval[null, null]"),
        CASE(Start, "null", "null"),
        CASE(End, "@2012-01-01T09:59:59.999",
             "Interval[@2012-01-01T00:00:00.000, @2012-01-01T10:00:00.000)"),
        CASE(End, "@2012-02", "Interval[@2012-01, @2012-03)"),
        CASE(End, "4.99999999 'g'", "Interval[1 'g', 5 'g')"),
        CASE(End, "99999999999999999999.99999999 'g'", "Interval[1 'g', null]"),
        CASE(Width, "9", "Interval[1, 10]"),
        CASE(Width, "11.0", "Interval[4.0, 15.0]"),
        CASE(Width, "null", "null"),
        CASE(Width, "null", "Interval[0, null)"),
        CASE(Width, "8", "Interval[1, 10)"),
        CASE(Width, "error", "Interval[@2012-01-05, @2012-01-25]"),
        CASE(Size, "5", "Interval[3, 8)"),
        CASE(Size, "1.00000001", "Interval[1.0, 2.0]"),
        CASE(PointFrom, "4", "Interval[4, 5)"),
        CASE(PointFrom, "error", "Interval[4, 5]"),
        CASE(PointFrom, "null", "Interval[null, null]"),
        CASE(PointFrom, "null", "null"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_timing(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(After, "null", "null", "Interval[1, 10]"),
        CASE(After, "true", "Interval[11, 20]", "Interval[1, 10]"),
        CASE(After, "false", "Interval[10, 20]", "Interval[1, 10]"),
        CASE(After, "true", "Interval(9, 20]", "Interval[1, 10)"),
        CASE(After, "true", "12", "Interval[1, 10]"),
        CASE(After, "true", "Interval[11, 20]", "5"),
        CASE(After, "null", "12", "Interval[1, null)"),
        CASE(After, "false", "12", "Interval[13, null)"),
        CASE(After, "false", "12", "Interval[1, null]"),
        CASE(Before, "true", "Interval[1, 10)", "10"),
        CASE(Before, "null", "5", "Interval(null, 10]"),
        CASE(Before, "false", "15", "Interval(null, 10]"),
        CASE(Before, "true", "9", "Interval[11, 20]"),
        CASE(Before, "false", "Interval[11, 20]", "Interval[1, 10]"),
        CASE_AT(After, OG_DAY, "true", "@2005-10-10T", "@2005-09T"),
        CASE_AT(After, OG_YEAR, "false", "@2004-11-10", "@2004-10-10"),
        CASE_AT(After, OG_HOUR, "true", "@2012-03-10T10:20:00.999+07:00",
                "@2012-03-10T08:20:00.999+06:00"),
        CASE_AT(Before, OG_YEAR, "true", "@2003T", "@2004-10-10T"),
        CASE_AT(Before, WEEK, "error", "@2003-01-01", "@2003-01-09"),
        CASE_AT(SameAs, OG_DAY, "true", "@2022-02-22T00:00:00.000-05:00",
                "@2022-02-22T04:59:00.000Z"),
        CASE_AT(SameAs, OG_HOUR, "false", "@2022-02-22T00:00:00.000-05:00",
                "@2022-02-22T04:59:00.000Z"),
        CASE_AT(SameAs, OG_DAY, "null", "@2014-10T", "@2014-10-12T"),
        CASE_AT(SameAs, OG_SECOND, "true", "@T23:55:25.555", "@T23:55:25.900"),
        CASE(SameAs, "null", "@T12:00:00.000", "@T12:00:00"),
        CASE(SameAs, "true", "@2012-01", "@2012-01"),
        CASE(SameAs, "true", "Interval[1, 5]", "Interval(0, 6)"),
        CASE(SameAs, "null", "null", "@2012"),
        CASE_AT(SameOrBefore, OG_MINUTE, "null", "@2014-12-20T", "@2014-12-20T15"),
        CASE_AT(SameOrBefore, OG_MONTH, "true", "Interval[@2012-10-01, @2012-11-01]",
                "@2012-11-15"),
        CASE(SameOrBefore, "true", "Interval[4, 6]", "6"),
        CASE(SameOrBefore, "false", "1.6667", "Interval[1.666, 2.50000001]"),
        CASE_AT(SameOrAfter, OG_MONTH, "true", "Interval[@2012-12-01, @2013-12-01]", "@2012-11-15"),
        CASE(SameOrAfter, "true", "Interval[6, 10]", "6"),
        CASE(SameOrAfter, "null", "Interval[6, 10]", "null"),
        CASE(SameOrAfter, "true", "uncertain 4 6", "4"),
        CASE(SameOrAfter, "null", "uncertain 4 6", "5"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_membership(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(In, "true", "5", "Interval[1, 10]"),
        CASE(In, "false", "10", "Interval[1, 10)"),
        CASE(In, "null", "null", "Interval[1, 10]"),
        CASE(In, "false", "5", "null"),
        CASE(In, "true", "5", "Interval[1, null]"),
        CASE(In, "null", "5", "Interval[1, null)"),
        CASE(In, "false", "0", "Interval[1, null)"),
        CASE(In, "true", "1", "Interval[1, null)"),
        CASE(In, "false", "6", "Interval[null, 5]"),
        CASE(In, "true", "55 'mg'", "Interval[0.05 'g', 1 'g']"),
        CASE(In, "null", "5 'mg'", "Interval[1 'cm', 2 'cm']"),
        CASE_AT(In, OG_DAY, "true", "@2012-01-05T23:00", "Interval[@2012-01-01T, @2012-01-05T]"),
        CASE(In, "null", "@2012-01-05T23:00", "Interval[@2012-01-01T, @2012-01-05T]"),
        CASE(In, "null", "uncertain 4 6", "Interval[5, 10]"),
        CASE(In, "true", "uncertain 5 6", "Interval[5, 10]"),
        CASE(Contains, "true", "Interval[1, 10]", "5"),
        CASE(Contains, "null", "Interval[1, 10]", "null"),
        CASE(Contains, "false", "null", "5"),
        CASE(Contains, "true", "{ 1, 2 }", "2"),
        CASE(In, "true", "2", "{ 1, 2 }"),
        CASE(ProperContains, "false", "Interval[@T12:00:00.000, @T21:59:59.999]", "@T12:00:00.000"),
        CASE(ProperContains, "true", "Interval[@T12:00:00.000, @T21:59:59.999]", "@T12:00:00.001"),
        CASE(ProperContains, "null", "Interval[@T12:00:00.001, @T21:59:59.999]", "@T12:00:00"),
        CASE_AT(ProperContains, OG_SECOND, "false", "Interval[@T12:00:00.001, @T21:59:59.999]",
                "@T12:00:00"),
        CASE(ProperIn, "true", "5", "Interval[1, 10]"),
        CASE(ProperIn, "false", "5", "null"),
        CASE(Includes, "true", "Interval[1, 10]", "Interval[4, 10]"),
        CASE(Includes, "null", "Interval[1, 10]", "null"),
        CASE(Includes, "true", "Interval[1, 10]", "4"),
        CASE(Includes, "null", "null", "Interval[1, 2]"),
        CASE(IncludedIn, "true", "Interval[4, 10]", "Interval[1, 10]"),
        CASE(IncludedIn, "null", "null", "Interval[1, 10]"),
        CASE(IncludedIn, "false", "3", "null"),
        CASE(IncludedIn, "null", "Interval[1, 2]", "null"),
        CASE_AT(IncludedIn, OG_DAY, "true", "Interval[@2017-09-01T00:00:00, @2017-09-01T00:00:00]",
                "Interval[@2017-09-01T00:00:00.000, @2017-12-30T23:59:59.999]"),
        CASE(ProperIncludes, "true", "Interval[1, 10]", "Interval[4, 10]"),
        CASE(ProperIncludes, "false", "Interval[1, 10]", "Interval[1, 10]"),
        CASE(ProperIncludes, "false", "Interval[1, 10]", "Interval(0, 11)"),
        CASE(ProperIncludedIn, "true", "Interval[1, 10]", "Interval[null, 10]"),
        CASE(ProperIncludedIn, "false", "Interval[4, 15]", "Interval[1, 10]"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_relations(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Overlaps, "null", "Interval[null, null]", "Interval[1, 10]"),
        CASE(Overlaps, "true", "Interval[4, 11)", "Interval(9, 20]"),
        CASE(Overlaps, "false", "Interval[4, 10)", "Interval(9, 20]"),
        CASE(Overlaps, "null", "Interval[4, null)", "Interval[10, 20]"),
        CASE(Overlaps, "true", "Interval[4, null]", "Interval[10, 20]"),
        CASE(Overlaps, "false", "Interval[21, null)", "Interval[10, 20]"),
        CASE(Overlaps, "true", "Interval[10, null)", "Interval[10, 20]"),
        CASE(Overlaps, "null", "Interval[@2012-02-25T, @2012-03-26T]",
             "Interval[@2012-01-10T, @2012-02T]"),
        CASE(Overlaps, "true", "Interval[@2012T, @2013-03T]", "Interval[@2012-02T, @2013-02T]"),
        CASE(OverlapsBefore, "true", "Interval[4, 10]", "Interval(4, 10]"),
        CASE(OverlapsBefore, "false", "Interval(3, 10]", "Interval[4, 10]"),
        CASE(OverlapsAfter, "true", "Interval[4, 10]", "Interval[4, 10)"),
        CASE(OverlapsAfter, "false", "Interval[4, 11)", "Interval[4, 10]"),
        CASE(Meets, "true", "Interval[1, 10]", "Interval[11, 20]"),
        CASE(Meets, "true", "Interval[11, 20]", "Interval[1, 11)"),
        CASE(Meets, "false", "Interval[1, 10]", "Interval[10, 20]"),
        CASE(Meets, "null", "Interval(null, 5]", "Interval(null, 15)"),
        CASE(MeetsAfter, "false", "Interval(null, 5]", "Interval[11, null)"),
        CASE(MeetsBefore, "null", "Interval(null, 5]", "Interval(null, 25]"),
        CASE(MeetsBefore, "true", "Interval[3.0, 5.0]", "Interval(5.0, 6.0]"),
        CASE(Meets, "false", "Interval[1, null]", "Interval[5, 6]"),
        CASE(Meets, "true", "Interval[@T03, @T04]", "Interval[@T05, @T06]"),
        CASE_AT(MeetsBefore, OG_DAY, "true", "Interval[@2012-01-01T10:00, @2012-01-14T10:00]",
                "Interval[@2012-01-15T05:00, @2012-01-16T05:00]"),
        CASE(Starts, "true", "Interval[4, 10]", "Interval[4, 15]"),
        CASE(Starts, "false", "Interval[4, 16]", "Interval[4, 15]"),
        CASE(Ends, "true", "Interval[4, 10]", "Interval[1, 10]"),
        CASE(Ends, "null", "Interval[1, 10]", "Interval(null, null)"),
        CASE(Ends, "true", "Interval[4, 10]", "Interval[4, 11)"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_sets(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Union, "Interval[1, 15]", "Interval[1, 10]", "Interval[4, 15]"),
        CASE(Union, "Interval[1, 20]", "Interval[1, 10]", "Interval[11, 20]"),
        CASE(Union, "null", "Interval[1, 10]", "Interval[44, 50]"),
        CASE(Union, "null", "Interval[null, null]", "Interval[1, 10]"),
        CASE(Union, "null", "Interval[1, 10]", "null"),
        CASE(Union, "Interval[1, 10]", "Interval[4, 5]", "Interval[1, 10]"),
        CASE(Intersect, "Interval[4, 10]", "Interval[1, 10]", "Interval[4, 10]"),
        CASE(Intersect, "Interval[5, null)", "Interval[1, 10]", "Interval[5, null)"),
        CASE(Intersect, "null", "Interval[1, 10]", "Interval[11, 20]"),
        CASE(Intersect, "Interval[5, 10]", "Interval[1, 10]", "Interval[5, null]"),
        CASE(Intersect, "null", "Interval[1, 10]", "null"),
        CASE(Intersect, "Interval[@2012-01-07, @2012-01-10]", "Interval[@2012-01-07, @2012-01-14]",
             "Interval[@2012-01-01, @2012-01-10]"),
        CASE(Except, "Interval[1, 3]", "Interval[1, 10]", "Interval[4, 10]"),
        CASE(Except, "Interval[8, 10]", "Interval[3, 10]", "Interval[1, 7]"),
        CASE(Except, "null", "Interval[1, 10]", "Interval[3, 7]"),
        CASE(Except, "null", "Interval[3, 7]", "Interval[1, 10]"),
        CASE(Except, "Interval[1, 10]", "Interval[1, 10]", "Interval[11, 20]"),
        CASE(Except, "null", "Interval[null, null]", "Interval[null, null]"),
        CASE(Except, "Interval[1.0, 3.99999999]", "Interval[1.0, 10.0]", "Interval[4.0, 10.0]"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_collapse(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Collapse, "{ }", "{ Interval(null, null) }"),
        CASE(Collapse, "null", "null"),
        CASE(Collapse, "{ }", "{ null }"),
        CASE(Collapse, "{ Interval[1, 10], Interval[12, 19] }",
             "{ Interval[1, 5], Interval[3, 7], Interval[12, 19], Interval[7, 10] }", "null"),
        CASE(Collapse, "{ Interval[1, 19] }",
             "{ Interval[1, 2], Interval[3, 7], Interval[10, 19], Interval[7, 10] }"),
        CASE(Collapse, "{ Interval[1, 9] }", "{ Interval[1, 9], Interval[2, 3], Interval[5, 6] }"),
        CASE(Collapse, "{ Interval[4.0, 8.0] }",
             "{ Interval[4.0, 6.0], Interval[6.00000001, 8.0] }"),
        CASE(Collapse, "{ Interval[1, 8] }", "{ Interval[1, 4], Interval[6, 8] }", "2 '1'"),
        CASE(Collapse, "{ Interval[1, 4], Interval[7, 8] }", "{ Interval[1, 4], Interval[7, 8] }",
             "2 '1'"),
        CASE(Collapse, "{ Interval[@2012-01-01, @2012-05-25] }",
             "{ Interval[@2012-01-01, @2012-01-15], Interval[@2012-01-16, @2012-05-25] }"),
        CASE(Collapse, "{ Interval[@2012-01-01, @2012-01-25] }",
             "{ Interval[@2012-01-01, @2012-01-15], Interval[@2012-01-18, @2012-01-25] }",
             "3 days"),
        CASE(Collapse, "{ Interval[@2012-01-01, @2012-01-15], Interval[@2012-01-19, @2012-01-25] }",
             "{ Interval[@2012-01-01, @2012-01-15], Interval[@2012-01-19, @2012-01-25] }",
             "3 days"),
        CASE(Collapse, "{ Interval[@2012-01-01, @2012-02-25] }",
             "{ Interval[@2012-01-01, @2012-01-15], Interval[@2012-02-19, @2012-02-25] }",
             "1 month"),
        CASE(Collapse, "{ Interval[@T01:00, @T05] }",
             "{ Interval[@T01:00, @T02:30], Interval[@T03, @T05] }"),
        CASE(Collapse, "{ Interval[@T23:10, @T23:59] }",
             "{ Interval[@T23:10, @T23:20], Interval[@T23:50, @T23:59] }", "2 hours"),
        CASE(Collapse, "{ Interval[1, 3], Interval[5, null) }",
             "{ Interval[5, null), Interval[1, 3] }"),
        CASE(Collapse, "{ Interval[1, null] }", "{ Interval[5, null], Interval[1, 7] }"),
        CASE(Collapse, "error", "{ Interval[1, 4] }", "-1 '1'"),
        CASE(Collapse, "error", "{ Interval[1, 4] }", "1 day"),
        CASE(Collapse, "error", "{ Interval[@2012-01-01, @2012-01-15] }", "1 'mg'"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_expand(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Expand, "null", "null"),
        CASE(Expand, "{ }", "{ }"),
        CASE(Expand, "{ }", "{ null }", "null"),
        CASE(Expand, "{ @2018-01-01, @2018-01-02, @2018-01-03 }",
             "Interval[@2018-01-01, @2018-01-03]", "1 day"),
        CASE(Expand, "{ Interval[@2018-01-01, @2018-01-02], Interval[@2018-01-03, @2018-01-04] }",
             "{ Interval[@2018-01-01, @2018-01-04] }", "2 days"),
        CASE(Expand, "{ @2018-01-01, @2018-01-08 }", "Interval[@2018-01-01, @2018-01-15)",
             "1 week"),
        CASE(Expand, "{ @T10, @T11, @T12 }", "Interval[@T10:00, @T12:30)", "1 hour"),
        CASE(Expand, "{ }", "Interval[@T10, @T10]", "1 minute"),
        CASE(Expand, "{ 10, 11, 12 }", "Interval[10.0, 12.5]", "1 '1'"),
        CASE(Expand, "{ 10.0, 10.5 }", "Interval[10, 10]", "0.5 '1'"),
        CASE(Expand, "{ 1, 2, 3 }", "Interval[1, 4)"),
        CASE(Expand, "{ 1, 3, 5, 7 }", "Interval[1, 10)", "2 '1'"),
        CASE(Expand, "{ 1L, 2L }", "Interval[1L, 2L]"),
        CASE(Expand, "{ Interval[1, 1], Interval[2, 2], Interval[3, 3] }",
             "{ Interval[2, 3], Interval[1, 2] }"),
        CASE(Expand, "{ -2, -1 }", "Interval[-1.5, -0.5]", "1 '1'"),
        CASE(Expand, "{ 1 'g', 2 'g' }", "Interval[1 'g', 2 'g']"),
        CASE(Expand, "{ 1.0 'g', 1.5 'g', 2.0 'g', 2.5 'g' }", "Interval[1 'g', 2 'g']",
             "500.0 'mg'"),
        CASE(Expand, "{ }", "Interval[1, null)"),
        CASE(Expand, "{ }", "Interval[1, null]"),
        CASE(Expand, "error", "Interval[1, 200000]"),
        CASE(Expand, "error", "Interval[1, 2]", "0 '1'"),
        CASE(Expand, "null", "Interval[1, 2]", "1 day"),
        CASE(Expand, "{ @T23 }", "Interval[@T23, @T23]", "1 hour"),
        CASE(Expand, "{ @9999 }", "Interval[@9999, @9999]", "1 year"),
        CASE(Expand, "null", "1", "1 day"),
    };
    run_cases(cases, COUNT(cases));
}

/* Allen's relations over all intervals of small integers agree with plain comparison. */
static void test_against_plain_comparison(void **state)
{
    (void)state;
    og_error err;
    cql_op_context c = test_context(&err);
    for (int a = 0; a < 6; a++)
        for (int b = a; b < 6; b++)
            for (int x = 0; x < 6; x++)
                for (int y = x; y < 6; y++)
                    for (int open = 0; open < 4; open++) {
                        cql_value args[2] = {
                            cql_interval_make(&c, cql_integer(a - (open & 1)), cql_integer(b),
                                              !(open & 1), true, 0),
                            cql_interval_make(&c, cql_integer(x), cql_integer(y + (open >> 1)),
                                              true, !(open >> 1), 0)};
                        struct {
                            cql_op op;
                            bool want;
                        } t[] = {
                            {cql_op_Before, b < x},
                            {cql_op_After, a > y},
                            {cql_op_Overlaps, a <= y && x <= b},
                            {cql_op_Meets, b + 1 == x || y + 1 == a},
                            {cql_op_Includes, a <= x && y <= b},
                            {cql_op_IncludedIn, x <= a && b <= y},
                            {cql_op_Starts, a == x && b <= y},
                            {cql_op_Ends, b == y && a >= x},
                            {cql_op_Equal, a == x && b == y},
                            {cql_op_ProperIncludes, a <= x && y <= b && !(a == x && b == y)},
                            {cql_op_SameOrBefore, b <= x},
                            {cql_op_SameOrAfter, a >= y},
                        };
                        for (size_t i = 0; i < COUNT(t); i++) {
                            cql_value v = t[i].op(&c, args, 2);
                            if (v.kind != CQL_BOOLEAN || v.boolean != t[i].want)
                                fail_msg("[%d, %d] and [%d, %d], relation %zu", a, b, x, y, i);
                        }
                        cql_value i = cql_op_Intersect(&c, args, 2);
                        assert_int_equal(cql_is_null(i), !(a <= y && x <= b));
                        if (!cql_is_null(i)) {
                            assert_int_equal(cql_interval_start(&c, i).integer, a > x ? a : x);
                            assert_int_equal(cql_interval_end(&c, i).integer, b < y ? b : y);
                        }
                    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make),       cmocka_unit_test(test_timing),
        cmocka_unit_test(test_membership), cmocka_unit_test(test_relations),
        cmocka_unit_test(test_sets),       cmocka_unit_test(test_collapse),
        cmocka_unit_test(test_expand),     cmocka_unit_test(test_against_plain_comparison),
    };
    return cmocka_run_group_tests(tests, arena_setup, arena_teardown);
}
