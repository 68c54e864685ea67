/* Arithmetic operators (CQL 1.5 B.6), by table. */
#include "tests/unit/cql_ops.h"

#define MAX_D "99999999999999999999.99999999"         /* the end of the type */
#define FAR_D "9999999999999999999999999999.99999999" /* the longest number */

static void test_numbers(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Abs, "null", "null"),
        CASE(Abs, "1", "-1"),
        CASE(Abs, "1.0", "-1.0"),
        CASE(Abs, "1L", "-1L"),
        CASE(Abs, "null", "-2147483648"),
        CASE(Abs, "null", "-9223372036854775808L"),
        CASE(Abs, "5.5 'mg'", "-5.5 'mg'"),
        CASE(Abs, "null", "'x'"),
        CASE(Abs, "~Interval[0, 5]", "uncertain -5 3"),
        CASE(Abs, "~Interval[2, 5]", "uncertain -5 -2"),
        CASE(Abs, "~Interval[2, 5]", "uncertain 2 5"),
        CASE(Add, "null", "1", "null"),
        CASE(Add, "2", "1", "1"),
        CASE(Add, "null", "2147483647", "1"),
        CASE(Add, "3L", "1L", "2L"),
        CASE(Add, "3L", "1", "2L"),
        CASE(Add, "null", "9223372036854775807L", "1L"),
        CASE(Add, "3.50", "1.50", "2.0"),
        CASE(Add, "3.0", "1", "2.0"),
        CASE(Add, "100000000000000000000.00000000", MAX_D, "0.00000001"),
        CASE(Add, "null", FAR_D, "0.00000002"),
        CASE(Add, "2 'g/cm3'", "1 'g/cm3'", "1 'g/cm3'"),
        CASE(Add, "1.5 'cm'", "1.0 'cm'", "0.5 'cm'"),
        CASE(Add, "'ab'", "'a'", "'b'"),
        CASE(Add, "null", "'a'", "null"),
        CASE(Add, "null", "'a'", "1"),
        CASE(Add, "~Interval[32, 88]", "uncertain 16 44", "uncertain 16 44"),
        CASE(Add, "~Interval[17, 45]", "uncertain 16 44", "1"),
        CASE(Subtract, "~Interval[0, 40]", "uncertain 16 44", "uncertain 4 16"),
        CASE(Multiply, "~Interval[256, 1936]", "uncertain 16 44", "uncertain 16 44"),
        CASE(Multiply, "~Interval[-20, 10]", "uncertain -2 1", "10"),
        CASE(Multiply, "~Interval[-10, 20]", "uncertain -2 1", "-10"),
        CASE(TruncatedDivide, "error", "uncertain 16 44", "uncertain 4 16"),
        CASE(Negate, "~Interval[-44, -16]", "uncertain 16 44"),
        CASE(Subtract, "0", "1", "1"),
        CASE(Subtract, "null", "-2147483648", "1"),
        CASE(Subtract, "0.9", "2", "1.1"),
        CASE(Subtract, "-1.0 'cm'", "1.0 'cm'", "2.0 'cm'"),
        CASE(Ceiling, "null", "null"),
        CASE(Ceiling, "2", "1.1"),
        CASE(Ceiling, "0", "-0.1"),
        CASE(Ceiling, "-1", "-1.1"),
        CASE(Ceiling, "5", "5"),
        CASE(Ceiling, "2147483647", "2147483647.0"),
        CASE(Ceiling, "null", "2147483647.2"),
        CASE(Ceiling, "-2147483648", "-2147483648.2"),
        CASE(Ceiling, "null", "-2147483649.2"),
        CASE(Floor, "1", "1.1"),
        CASE(Floor, "-1", "-0.1"),
        CASE(Floor, "-2", "-1.1"),
        CASE(Floor, "2147483647", "2147483647.2"),
        CASE(Floor, "null", "-2147483648.2"),
        CASE(Truncate, "1", "1.9"),
        CASE(Truncate, "-1", "-1.9"),
        CASE(Truncate, "null", "2147483648.0"),
        CASE(Truncate, "null", "'1'"),
        CASE(Divide, "null", "1.0", "0"),
        CASE(Divide, "0.0", "0", "1"),
        CASE(Divide, "1.0", "1L", "1L"),
        CASE(Divide, "3.33333333", "10", "3"),
        CASE(Divide, "0.66666667", "2", "3"),
        CASE(Divide, "-0.66666667", "-2", "3"),
        CASE(Divide, "2.0", "10", "5"),
        CASE(Divide, "2 'g'", "10.0 'g'", "5"),
        CASE(Divide, "1 '1'", "1 'g'", "1 'g'"),
        CASE(Divide, "null", "1 'g'", "0 'g'"),
        CASE(Divide, "null", FAR_D, "0.1"),
        CASE(Multiply, "null", "1", "null"),
        CASE(Multiply, "6L", "2L", "3L"),
        CASE(Multiply, "2.00", "1.0", "2.0"),
        CASE(Multiply, "null", "65536", "65536"),
        CASE(Multiply, "4294967296L", "65536L", "65536"),
        CASE(Multiply, "null", FAR_D, "2.0"),
        CASE(Multiply, "10 'mg'", "2", "5 'mg'"),
        CASE(Multiply, "10 days", "5 days", "2"),
        CASE(Modulo, "null", "0", "0"),
        CASE(Modulo, "1", "10", "3"),
        CASE(Modulo, "-1", "-10", "3"),
        CASE(Modulo, "1", "10", "-3"),
        CASE(Modulo, "0", "-2147483648", "-1"),
        CASE(Modulo, "0L", "-9223372036854775808L", "-1L"),
        CASE(Modulo, "0.5", "3.5", "3"),
        CASE(Modulo, "0.5 'cm'", "3.5 'cm'", "3 'cm'"),
        CASE(Modulo, "null", "3.5 'cm'", "0 'cm'"),
        CASE(TruncatedDivide, "-3", "-10", "3"),
        CASE(TruncatedDivide, "null", "2", "0"),
        CASE(TruncatedDivide, "null", "-2147483648", "-1"),
        CASE(TruncatedDivide, "null", "-9223372036854775808L", "-1L"),
        CASE(TruncatedDivide, "3.0", "10.1", "3.1"),
        CASE(TruncatedDivide, "-3.0", "-10.1", "3.1"),
        CASE(TruncatedDivide, "null", FAR_D, "0.1"),
        CASE(TruncatedDivide, "-3 'cm'", "10.1 'cm'", "-3.1 'cm'"),
        CASE(Negate, "-1", "1"),
        CASE(Negate, "null", "-2147483648"),
        CASE(Negate, "-1.50", "1.50"),
        CASE(Negate, "-1 'cm'", "1 'cm'"),
        CASE(Negate, "9223372036854775807L", "-9223372036854775807L"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_powers(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Power, "null", "null", "2"),
        CASE(Power, "1", "0", "0"),
        CASE(Power, "4", "-2", "2"),
        CASE(Power, "0.25", "2", "-2"),
        CASE(Power, "4L", "2L", "2L"),
        CASE(Power, "8L", "2", "3L"),
        CASE(Power, "4.0", "2.0", "2.0"),
        CASE(Power, "0.25", "2.0", "-2.0"),
        CASE(Power, "2.0", "4.0", "0.5"),
        CASE(Power, "null", "-4.0", "0.5"),
        CASE(Power, "null", "0", "-1"),
        CASE(Power, "null", "2", "31"),
        CASE(Power, "1073741824", "2", "30"),
        CASE(Power, "-2147483648", "-2", "31"),
        CASE(Power, "1", "1", "2147483647"),
        CASE(Power, "-1", "-1", "2147483647"),
        CASE(Power, "0", "0", "2147483647"),
        CASE(Power, "0.00000001", "10", "-8"),
        CASE(Power, "0.0", "10", "-9"),
        CASE(Power, "1000000000.0", "10.0", "9.0"),
        CASE(Power, "10000000000000000000.0", "10.0", "19.0"),
        CASE(Power, "null", "10.0", "29.0"),
        CASE(Power, "2.59374246", "1.1", "10.0"),
        CASE(Power, "0.0", "0.5", "1000000000.0"),
        CASE(Power, "1.0", "-1.0", "1000000000.0"),
        CASE(Power, "null", "2L", "63L"),
        CASE(Power, "error", "uncertain 1 2", "2"),
        CASE(Exp, "1.0", "0"),
        CASE(Exp, "2.71828183", "1"),
        CASE(Exp, "0.36787944", "-1"),
        CASE(Exp, "null", "1000"),
        CASE(Exp, "0.0", "-1000.0"),
        CASE(Exp, "null", "null"),
        CASE(Exp, "22026.46579481", "10"),
        CASE(Ln, "0.0", "1"),
        CASE(Ln, "null", "0"),
        CASE(Ln, "null", "-1"),
        CASE(Ln, "6.90775528", "1000.0"),
        CASE(Log, "4.0", "16", "2"),
        CASE(Log, "-3.0", "0.125", "2"),
        CASE(Log, "0.0", "1", "100"),
        CASE(Log, "null", "1", "1"),
        CASE(Log, "null", "2", "1"),
        CASE(Log, "null", "0", "2"),
        CASE(Log, "null", "2", "0"),
        CASE(Log, "null", "2", "-2"),
        CASE(Log, "null", "null", "null"),
        CASE(Log, "2.0", "100.0", "10.0"),
        CASE(Round, "null", "null"),
        CASE(Round, "1.0", "1"),
        CASE(Round, "1.0", "0.5"),
        CASE(Round, "-1.0", "-0.5"),
        CASE(Round, "0.0", "-0.4"),
        CASE(Round, "-2.0", "-1.5"),
        CASE(Round, "3.14", "3.14159", "2"),
        CASE(Round, "3.0", "3.14159", "null"),
        CASE(Round, "3.14159000", "3.14159", "20"),
        CASE(Round, "1300.0", "1250.0", "-2"),
        CASE(Round, "10000000000000000000000000000.0", FAR_D, "0"),
        CASE(Round, "0.0", "5.0", "-40"),
        CASE(Round, "3 'cm'", "2.54 'cm'"),
        CASE(Round, "2.5 'cm'", "2.54 'cm'", "1"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_precision(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Precision, "5", "1.58700"),
        CASE(Precision, "4", "@2014"),
        CASE(Precision, "8", "@2014-01-05"),
        CASE(Precision, "17", "@2014-01-05T10:30:00.000"),
        CASE(Precision, "4", "@T10:30"),
        CASE(Precision, "9", "@T10:30:00.000"),
        CASE(Precision, "null", "null"),
        CASE(Precision, "null", "'1.0'"),
        CASE(HighBoundary, "1.58799999", "1.587", "8"),
        CASE(HighBoundary, "1.587999", "1.587", "6"),
        CASE(HighBoundary, "1.59", "1.587", "2"),
        CASE(HighBoundary, "2.0", "1.587", "0"),
        CASE(HighBoundary, "-1.58700000", "-1.587", "8"),
        CASE(HighBoundary, "-1.58", "-1.587", "2"),
        CASE(HighBoundary, "1.58888999", "1.58888", "null"),
        CASE(HighBoundary, "null", "1.587", "9"),
        CASE(HighBoundary, "null", "1.587", "-1"),
        CASE(HighBoundary, "10000000000000000000000000000.0", FAR_D, "0"),
        CASE(LowBoundary, "1.58700000", "1.587", "8"),
        CASE(LowBoundary, "1.58", "1.587", "2"),
        CASE(LowBoundary, "1.0", "1.587", "0"),
        CASE(LowBoundary, "-1.58799999", "-1.587", "8"),
        CASE(LowBoundary, "-1.59", "-1.587", "2"),
        CASE(LowBoundary, "-2.0", "-1.587", "0"),
        CASE(HighBoundary, "@2014-12", "@2014", "6"),
        CASE(LowBoundary, "@2014-01", "@2014", "6"),
        CASE(HighBoundary, "@2014-02-28", "@2014-02", "8"),
        CASE(HighBoundary, "@2014-02-28", "@2014-02", "null"),
        CASE(HighBoundary, "@2014", "@2014-02", "4"),
        CASE(HighBoundary, "null", "@2014", "5"),
        CASE(HighBoundary, "null", "@2014", "17"),
        CASE(HighBoundary, "@2014-01-01T08:59:59.999", "@2014-01-01T08", "17"),
        CASE(LowBoundary, "@2014-01-01T08:00:00.000", "@2014-01-01T08", "17"),
        CASE(HighBoundary, "@T10:30:59.999", "@T10:30", "9"),
        CASE(LowBoundary, "@T10:30:00.000", "@T10:30", "9"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_steps(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Successor, "2", "1"),
        CASE(Successor, "null", "2147483647"),
        CASE(Successor, "null", "null"),
        CASE(Successor, "2L", "1L"),
        CASE(Successor, "null", "9223372036854775807L"),
        CASE(Successor, "1.00000001", "1.0"),
        CASE(Successor, "null", MAX_D),
        CASE(Successor, "1.00000001 'cm'", "1.0 'cm'"),
        CASE(Successor, "@2000-01-02T", "@2000-01-01T"),
        CASE(Successor, "@2000-03", "@2000-02"),
        CASE(Successor, "@2001", "@2000"),
        CASE(Successor, "@2000-03-01T00", "@2000-02-29T23"),
        CASE(Successor, "@T12:00:00.001", "@T12:00:00.000"),
        CASE(Successor, "null", "@T23:59:59.999"),
        CASE(Successor, "null", "@9999-12-31"),
        CASE(Successor, "null", "@9999"),
        CASE(Successor, "@T13", "@T12"),
        CASE(Successor, "null", "'a'"),
        CASE(Predecessor, "-1", "0"),
        CASE(Predecessor, "null", "-2147483648"),
        CASE(Predecessor, "0.99999999", "1.0"),
        CASE(Predecessor, "@1999-12-31T", "@2000-01-01T"),
        CASE(Predecessor, "null", "@0001-01-01T00:00:00.000"),
        CASE(Predecessor, "null", "@T00:00:00.000"),
        CASE(Predecessor, "@2012-02-29T23:59:59.999+02:00", "@2012-03-01T00:00:00.000+02:00"),
        CASE(Predecessor, "null", "-" MAX_D),
    };
    run_cases(cases, COUNT(cases));
}

static void test_ranges(void **state)
{
    (void)state;
    static const struct {
        const char *type, *min, *max;
    } cases[] = {
        {"Integer", "-2147483648", "2147483647"},
        {"System.Long", "-9223372036854775808L", "9223372036854775807L"},
        {"{urn:hl7-org:elm-types:r1}Decimal", "-" MAX_D, MAX_D},
        {"Quantity", "-" MAX_D " '1'", MAX_D " '1'"},
        {"Date", "@0001-01-01", "@9999-12-31"},
        {"DateTime", "@0001-01-01T00:00:00.000+00:00", "@9999-12-31T23:59:59.999+00:00"},
        {"Time", "@T00:00:00.000", "@T23:59:59.999"},
        {"Boolean", "null", "null"},
        {"", "null", "null"},
        {"integer", "null", "null"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[256];
        value_text(cql_min_value(og_str_of(cases[i].type)), text, sizeof text);
        assert_string_equal(text, cases[i].min);
        value_text(cql_max_value(og_str_of(cases[i].type)), text, sizeof text);
        assert_string_equal(text, cases[i].max);
    }
}

static void test_units(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Add, "110 'cm'", "1 'm'", "10 'cm'"),
        CASE(Add, "110 'cm'", "10 'cm'", "1 'm'"),
        CASE(Add, "null", "1 'cm'", "1 'cm2'"),
        CASE(Add, "null", "1 'cm'", "1 'kg'"),
        CASE(Subtract, "500 'mg'", "1 'g'", "500 'mg'"),
        CASE(Add, "13 months", "1 year", "1 month"),
        CASE(Add, "null", "1 year", "1 day"),
        CASE(Add, "25 hours", "1 day", "1 hour"),
        CASE(Add, "null", "1 month", "1 'mo'"),
        CASE(Add, "null", "1 'Cel'", "1 'K'"),
        CASE(Multiply, "2 'cm2'", "1.0 'cm'", "2.0 'cm'"),
        CASE(Multiply, "200 'cm2'", "1 'cm'", "2 'm'"),
        CASE(Divide, "1000 '1'", "1 'g'", "1 'mg'"),
        CASE(Divide, "4 'cm'", "12 'cm2'", "3 'cm'"),
        CASE(Divide, "5 'mg/mL'", "10 'mg'", "2 'mL'"),
        CASE(Modulo, "0.5 'cm'", "3.5 'cm'", "1 'cm'"),
        CASE(TruncatedDivide, "null", "3 'cm'", "1 'g'"),
    };
    run_cases(cases, COUNT(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),   cmocka_unit_test(test_powers),
        cmocka_unit_test(test_precision), cmocka_unit_test(test_steps),
        cmocka_unit_test(test_ranges),    cmocka_unit_test(test_units),
    };
    return cmocka_run_group_tests(tests, arena_setup, arena_teardown);
}
