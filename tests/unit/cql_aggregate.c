/* Aggregates against CQL 1.5 Appendix B.11 and figures worked out by hand. */
#include "cql_ops.h"

static void counting(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Count, "4", "{15, 5, 99, null, 1}"),
        CASE(Count, "0", "{}"),
        CASE(Count, "0", "{null, null}"),
        CASE(Count, "0", "null"),
        CASE(AllTrue, "true", "{true, true}"),
        CASE(AllTrue, "false", "{true, false, true}"),
        CASE(AllTrue, "true", "{null, true, true}"),
        CASE(AllTrue, "true", "{}"),
        CASE(AllTrue, "true", "null"),
        CASE(AnyTrue, "true", "{false, true}"),
        CASE(AnyTrue, "false", "{false, false}"),
        CASE(AnyTrue, "true", "{null, true}"),
        CASE(AnyTrue, "false", "{null, false}"),
        CASE(AnyTrue, "false", "{}"),
        CASE(AnyTrue, "false", "null"),
        CASE(Mode, "9", "{2, 1, 8, 2, 9, 1, 9, 9}"),
        CASE(Mode, "2", "{null, 2, 1, null, null}"),
        CASE(Mode, "2", "{2, 1, 1, 2}"),
        CASE(Mode, "1 'g'", "{1 'g', 2 'g', 1000 'mg'}"),
        CASE(Mode, "null", "{null}"),
        CASE(Mode, "null", "{}"),
        CASE(Mode, "null", "null"),
    };
    run_cases(cases, COUNT(cases));
}

static void order(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Max, "90", "{5, 12, 1, 15, 0, 4, 90, 44}"),
        CASE(Max, "90L", "{5L, 12L, 90L, 44L}"),
        CASE(Max, "'zebra'", "{'hi', 'bye', 'zebra'}"),
        CASE(Max, "@2012-10-06", "{@2012-10-05, null, @2012-10-06}"),
        CASE(Max, "2 'g'", "{2 'g', 1999 'mg'}"),
        CASE(Max, "null", "{2 'g', 1999 'm'}"),
        CASE(Max, "null", "{@2012-10, @2012-10-05}"),
        CASE(Max, "@2013", "{@2012-10, @2013}"),
        CASE(Max, "null", "{null}"),
        CASE(Max, "null", "null"),
        CASE(Min, "0", "{5, 12, 1, 15, 0, 4, 90, 44}"),
        CASE(Min, "'bye'", "{'hi', 'bye', 'zebra'}"),
        CASE(Min, "@T05:59:59.999", "{@T15:59:59.999, @T05:59:59.999, @T20:59:59.999}"),
        CASE(Min, "-1.5", "{null, 2.0, -1.5}"),
        CASE(Min, "null", "{}"),
        CASE(Median, "3.5", "{6.0, 5.0, 4.0, 3.0, 2.0, 1.0}"),
        CASE(Median, "3.0", "{5.0, 3.0, null, 1.0}"),
        CASE(Median, "0.00000001", "{0.00000000, 0.00000001}"), /* half goes away from zero */
        CASE(Median, "-0.00000001", "{0.00000000, -0.00000001}"),
        CASE(Median, "99999999999999999999.99999999",
             "{99999999999999999999.99999999, 99999999999999999999.99999999}"),
        CASE(Median, "1.5 'g'", "{1 'g', 2000 'mg'}"),
        CASE(Median, "null", "{1 'g', 2 'm'}"),
        CASE(Median, "null", "{}"),
        CASE(Median, "null", "null"),
    };
    run_cases(cases, COUNT(cases));
}

static void sums(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Sum, "20.0", "{6.0, 2.0, 3.0, 4.0, 5.0}"),
        CASE(Sum, "20L", "{6L, 2L, 3L, 4L, 5L}"),
        CASE(Sum, "1", "{null, 1, null}"),
        CASE(Sum, "15 'ml'", "{1 'ml', 2 'ml', 3 'ml', 4 'ml', 5 'ml'}"),
        CASE(Sum, "null", "{2147483647, 1}"),
        CASE(Sum, "null", "{2147483647, 1, -5}"),
        CASE(Sum, "null", "{1 'g', 1 'm'}"),
        CASE(Sum, "null", "{}"),
        CASE(Sum, "null", "null"),
        CASE(Product, "100L", "{5L, 4L, 5L}"),
        CASE(Product, "24", "{1, 2, null, 3, 4}"),
        CASE(Product, "6 'm2'", "{2 'm', 3 'm'}"),
        CASE(Product, "null", "{65536, 65536}"),
        CASE(Product, "null", "{}"),
        CASE(Avg, "3.0", "{1.0, 2.0, 3.0, 6.0}"),
        CASE(Avg, "0.33333333", "{1.0, 0.0, 0.0}"),
        CASE(Avg, "-0.66666667", "{-1.0, -1.0, 0.0}"),
        CASE(Avg, "2.0", "{1.0, null, 3.0}"),
        CASE(Avg, "99999999999999999999.99999999",
             "{99999999999999999999.99999999, 99999999999999999999.99999999, "
             "99999999999999999999.99999999}"),
        CASE(Avg, "1.5 'g'", "{1 'g', 2000 'mg'}"),
        CASE(Avg, "null", "{1.0 'g', 2.0 'm'}"),
        CASE(Avg, "null", "{null}"),
        CASE(Avg, "null", "null"),
        CASE(GeometricMean, "4.0", "{2.0, 8.0}"),
        CASE(GeometricMean, "6.0", "{4.0, 6.0, 9.0}"),
        CASE(GeometricMean, "4.0", "{-2.0, -8.0}"),
        CASE(GeometricMean, "null", "{-2.0, 8.0}"),
        CASE(GeometricMean, "0.0", "{0.0, 8.0}"),
        CASE(GeometricMean, "1.41421356", "{1.0, 2.0, null}"),
        CASE(GeometricMean, "1000000.0", "{1000000000000.0, 1.0}"),
        CASE(GeometricMean, "null", "{}"),
    };
    run_cases(cases, COUNT(cases));
}

static void deviations(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Variance, "2.5", "{1.0, 2.0, 3.0, 4.0, 5.0}"),
        CASE(PopulationVariance, "2.0", "{1.0, 2.0, 3.0, 4.0, 5.0}"),
        CASE(StdDev, "1.58113883", "{1.0, 2.0, 3.0, 4.0, 5.0}"),
        CASE(PopulationStdDev, "1.41421356", "{1.0, 2.0, 3.0, 4.0, 5.0}"),
        CASE(Variance, "2.5 'mg'", "{1 'mg', 2 'mg', 3 'mg', 4 'mg', 5 'mg', null}"),
        CASE(StdDev, "null", "{null, null}"),
        CASE(Variance, "null", "{1.0}"),
        CASE(PopulationVariance, "0.0", "{1.0}"),
        CASE(StdDev, "null", "{1.0}"),
        CASE(PopulationStdDev, "0.0", "{7.7}"),
        /* a large mean must not swallow a small spread */
        CASE(Variance, "1.0",
             "{99999999999999999997.0, 99999999999999999998.0, 99999999999999999999.0}"),
        CASE(StdDev, "1.0",
             "{99999999999999999997.0, 99999999999999999998.0, 99999999999999999999.0}"),
        CASE(PopulationStdDev, "0.00000001", "{0.00000001, -0.00000001}"),
        CASE(PopulationVariance, "0.0", "{0.00000001, -0.00000001}"),
        CASE(PopulationVariance, "0.00000001", "{0.0001, -0.0001}"),
        CASE(PopulationStdDev, "99999999999999999999.99999999",
             "{99999999999999999999.99999999, -99999999999999999999.99999999}"),
        CASE(PopulationVariance, "null",
             "{99999999999999999999.99999999, -99999999999999999999.99999999}"),
        CASE(StdDev, "141421356237309504880.16887241",
             "{99999999999999999999.99999999, -99999999999999999999.99999999}"),
        CASE(StdDev, "null", "{9999999999999999999999999999.9, -9999999999999999999999999999.9}"),
        CASE(Variance, "null", "{}"),
        CASE(Variance, "null", "null"),
    };
    run_cases(cases, COUNT(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counting, arena_setup, arena_teardown),
        cmocka_unit_test_setup_teardown(order, arena_setup, arena_teardown),
        cmocka_unit_test_setup_teardown(sums, arena_setup, arena_teardown),
        cmocka_unit_test_setup_teardown(deviations, arena_setup, arena_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
