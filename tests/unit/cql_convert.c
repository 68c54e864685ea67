/* Conversions (CQL 1.5 B.3) and literals, by table. */
#include "tests/unit/cql_ops.h"

static void test_numbers(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(ToInteger, "-25", "'-25'"),
        CASE(ToInteger, "25", "'+025'"),
        CASE(ToInteger, "null", "'one'"),
        CASE(ToInteger, "null", "''"),
        CASE(ToInteger, "null", "'-'"),
        CASE(ToInteger, "null", "'2147483648'"),
        CASE(ToInteger, "-2147483648", "'-2147483648'"),
        CASE(ToInteger, "null", "'1.0'"),
        CASE(ToInteger, "1", "true"),
        CASE(ToInteger, "5", "5L"),
        CASE(ToInteger, "null", "2147483648L"),
        CASE(ToInteger, "null", "null"),
        CASE(ToInteger, "null", "'99999999999999999999999999999'"),
        CASE(ToLong, "9223372036854775807L", "'9223372036854775807'"),
        CASE(ToLong, "null", "'9223372036854775808'"),
        CASE(ToLong, "-9223372036854775808L", "'-9223372036854775808'"),
        CASE(ToLong, "5L", "5"),
        CASE(ToLong, "0L", "false"),
        CASE(ToDecimal, "25.5", "'+25.5'"),
        CASE(ToDecimal, "-0.1", "'-0.1'"),
        CASE(ToDecimal, "null", "'+-0.1'"),
        CASE(ToDecimal, "null", "'1e2'"),
        CASE(ToDecimal, "null", "'.5'"),
        CASE(ToDecimal, "0.33333333", "'0.333333333333'"),
        CASE(ToDecimal, "null", "'10000000000000000000000000000'"),
        CASE(ToDecimal, "1.0", "true"),
        CASE(ToDecimal, "5.0", "5"),
        CASE(ToDecimal, "~Interval[1.0, 5.0]", "uncertain 1 5"),
        CASE(ToBoolean, "true", "'Y'"),
        CASE(ToBoolean, "false", "'NO'"),
        CASE(ToBoolean, "null", "'falsetto'"),
        CASE(ToBoolean, "true", "1"),
        CASE(ToBoolean, "null", "2"),
        CASE(ToBoolean, "false", "0.0"),
        CASE(ToBoolean, "true", "1.0"),
        CASE(ToBoolean, "null", "1.5"),
        CASE(ToBoolean, "true", "1L"),
        CASE(ToBoolean, "null", "null"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_quantities(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(ToQuantity, "5.5 'cm'", "'5.5 \\'cm\\''"),
        CASE(ToQuantity, "-0.1 'mg'", "'-0.1\\'mg\\''"),
        CASE(ToQuantity, "4 days", "'4 days'"),
        CASE(ToQuantity, "1 year", "'1 years'"),
        CASE(ToQuantity, "null", "'444 \\'cm'"),
        CASE(ToQuantity, "null", "'444 cm'"),
        CASE(ToQuantity, "null", "'444 \\'not a unit\\''"),
        CASE(ToQuantity, "null", "'x'"),
        CASE(ToQuantity, "5 '1'", "'5'"),
        CASE(ToQuantity, "13 '1'", "13"),
        CASE(ToQuantity, "0.1 '1'", "0.1"),
        CASE(ToQuantity, "2 '1'", "10 'mg':5 'mg'"),
        CASE(ToQuantity, "null", "10 'mg':0 'mg'"),
        CASE(ToQuantity, "~Interval[1 '1', 5 '1']", "uncertain 1 5"),
        CASE(ToRatio, "1.0 'mg':2.0 'mL'", "'1.0 \\'mg\\':2.0 \\'mL\\''"),
        CASE(ToRatio, "null", "'1.0 \\'mg\\';2.0 \\'mg\\''"),
        CASE(ToRatio, "1 '1':8 '1'", "'1:8'"),
        CASE(ToRatio, "null", "'1:'"),
        CASE(ToRatio, "null", "'1'"),
        CASE(ConvertQuantity, "0.005 'g'", "5 'mg'", "'g'"),
        CASE(ConvertQuantity, "null", "5 'mg'", "'m'"),
        CASE(ConvertQuantity, "null", "5 'mg'", "null"),
        CASE(ConvertQuantity, "24 months", "2 years", "'month'"),
        CASE(ConvertQuantity, "null", "2 years", "'d'"),
        CASE(ConvertQuantity, "48 'h'", "2 days", "'h'"),
        CASE(ConvertQuantity, "37 'Cel'", "98.6 '[degF]'", "'Cel'"),
        CASE(CanConvertQuantity, "true", "5 'mg'", "'g'"),
        CASE(CanConvertQuantity, "false", "5 'mg'", "'m'"),
        CASE(CanConvertQuantity, "null", "null", "'m'"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_calendar(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(ToDate, "@2014-01", "'2014-01'"),
        CASE(ToDate, "@2014-01-01", "'2014-01-01T12:30:00'"),
        CASE(ToDate, "null", "'2014/01/01'"),
        CASE(ToDate, "@2014-01-01", "@2014-01-01T12:30:00.0+01:00"),
        CASE(ToDate, "null", "'2014-02-30'"),
        CASE(ToDate, "null", "20140101"),
        CASE(ToDateTime, "@2014-01-01T", "'2014-01-01'"),
        CASE(ToDateTime, "@2014-01-01T12:05:05.955+01:30", "'2014-01-01T12:05:05.955+01:30'"),
        CASE(ToDateTime, "@2014-01-01T12:05:05.955+00:00", "'2014-01-01T12:05:05.955Z'"),
        CASE(ToDateTime, "@2014-01-01T12:05", "'2014-01-01T12:05'"),
        CASE(ToDateTime, "null", "'2014/01/01T12:05:05.955Z'"),
        CASE(ToDateTime, "null", "'2014-01-01T24:00'"),
        CASE(ToDateTime, "null", "'2014-01T10'"),
        CASE(ToDateTime, "null", "'2014-01-01T12:05+1:30'"),
        CASE(ToDateTime, "null", "'2014-01-01T12:05+15:00'"),
        CASE(ToDateTime, "null", "''"),
        CASE(ToDateTime, "@2014-01-01T", "@2014-01-01"),
        CASE(ToDateTime, "null", "'0000'"),
        CASE(ToTime, "@T14:30:00.000", "'T14:30:00.0'"),
        CASE(ToTime, "@T14:30:00.000", "'14:30:00.0'"),
        CASE(ToTime, "@T14:30:00.000", "'T14:30:00.0+05:30'"),
        CASE(ToTime, "@T14:30:00.000", "'T14:30:00.0Z'"),
        CASE(ToTime, "null", "'T14-30-00.0'"),
        CASE(ToTime, "@T14", "'14'"),
        CASE(ToTime, "null", "'24:00'"),
        CASE(ToTime, "null", "'14:30Zx'"),
        CASE(ToTime, "null", "''"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_text(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(ToString, "'-5'", "-5"),
        CASE(ToString, "'5'", "5L"),
        CASE(ToString, "'18.55'", "18.55"),
        CASE(ToString, "'18.0'", "18.0"),
        CASE(ToString, "'1.50'", "1.50"),
        CASE(ToString, "'5.5 \\'cm\\''", "5.5 'cm'"),
        CASE(ToString, "'125 \\'cm\\''", "125 'cm'"),
        CASE(ToString, "'4 days'", "4 days"),
        CASE(ToString, "'1 day'", "1 day"),
        CASE(ToString, "'1 \\'mg\\':2 \\'mL\\''", "1 'mg':2 'mL'"),
        CASE(ToString, "'true'", "true"),
        CASE(ToString, "'2000-01-01'", "@2000-01-01"),
        CASE(ToString, "'2000-01-01'", "@2000-01-01T"),
        CASE(ToString, "'2000-01-01T08:25:25.300-07:00'", "@2000-01-01T08:25:25.300-07:00"),
        CASE(ToString, "'09:30:01.003'", "@T09:30:01.003"),
        CASE(ToString, "null", "null"),
        CASE(ToString, "null", "{ 1 }"),
        CASE(ToString, "'x'", "'x'"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_structures(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(ToConcept, "Concept { codes: { Code { code: 'x', display: 'X' } }, display: 'X' }",
             "Code { code: 'x', display: 'X' }"),
        CASE(ToConcept, "Concept { codes: { Code { code: 'x', display: 'X' } } }",
             "{ null, Code { code: 'x', display: 'X' } }"),
        CASE(ToConcept, "null", "null"),
        CASE(ToList, "{ 1 }", "1"),
        CASE(ToList, "{ }", "null"),
        CASE(ToConcept, "null", "5"),
        CASE(Ratio, "1 'mg':2 'mL'", "1 'mg'", "2 'mL'"),
        CASE(Ratio, "null", "null", "2 'mL'"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_converts(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(ConvertsToBoolean, "true", "'y'"),
        CASE(ConvertsToBoolean, "false", "'foo'"),
        CASE(ConvertsToBoolean, "null", "null"),
        CASE(ConvertsToDate, "true", "'2014-01'"),
        CASE(ConvertsToDate, "false", "'2014-13'"),
        CASE(ConvertsToDateTime, "true", "'2014'"),
        CASE(ConvertsToDateTime, "false", "'x'"),
        CASE(ConvertsToDecimal, "true", "'1.5'"),
        CASE(ConvertsToDecimal, "false", "'1,5'"),
        CASE(ConvertsToInteger, "true", "'15'"),
        CASE(ConvertsToInteger, "false", "2147483648L"),
        CASE(ConvertsToLong, "true", "'2147483648'"),
        CASE(ConvertsToLong, "false", "'x'"),
        CASE(ConvertsToQuantity, "true", "'1 \\'mg\\''"),
        CASE(ConvertsToQuantity, "false", "'1 mg'"),
        CASE(ConvertsToRatio, "true", "'1:2'"),
        CASE(ConvertsToRatio, "false", "'1/2'"),
        CASE(ConvertsToString, "true", "5"),
        CASE(ConvertsToString, "false", "{ 5 }"),
        CASE(ConvertsToTime, "true", "'T10'"),
        CASE(ConvertsToTime, "false", "'T25'"),
    };
    run_cases(cases, COUNT(cases));
}

/* What cannot be read: a status, a sentence, the position; and the result is left alone. */
static void test_bad_literals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        og_status status;
    } cases[] = {
        {"", OG_SYNTAX},
        {" ", OG_SYNTAX},
        {"nul", OG_SYNTAX},
        {"1 2", OG_SYNTAX},
        {"2147483648", OG_SYNTAX},
        {"9223372036854775808L", OG_SYNTAX},
        {"0.000000001", OG_SYNTAX},
        {"10000000000000000000000000000.0", OG_SYNTAX},
        {"'a", OG_SYNTAX},
        {"'\\x'", OG_SYNTAX},
        {"'\\u12'", OG_SYNTAX},
        {"'\\ud800'", OG_SYNTAX},
        {"'\\udc00\\ud800'", OG_SYNTAX},
        {"@2012-13", OG_SYNTAX},
        {"@T24", OG_SYNTAX},
        {"@T06Z", OG_SYNTAX},
        {"@", OG_SYNTAX},
        {"1 mg", OG_SYNTAX},
        {"1 'mg", OG_SYNTAX},
        {"1:", OG_SYNTAX},
        {"Interval[1, 2", OG_SYNTAX},
        {"Interval 1", OG_SYNTAX},
        {"Interval[3, 2]", OG_EVAL},
        {"{ 1, }", OG_SYNTAX},
        {"{ 1", OG_SYNTAX},
        {"Tuple { 1 }", OG_SYNTAX},
        {"Tuple { a 1 }", OG_SYNTAX},
        {"Tuple { }", OG_SYNTAX},
        {"Concept { display: 'x' }", OG_SYNTAX},
        {"-", OG_SYNTAX},
        {"- 1", OG_SYNTAX},
        {"1.", OG_SYNTAX},
        {"truee", OG_SYNTAX},
        {"'\xff'", OG_SYNTAX},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        og_error err;
        og_error_init(&err);
        cql_value v = cql_integer(77);
        og_status status = cql_literal(test_arena, og_str_of(cases[i].text), &v, &err);
        if (status != cases[i].status || err.status != status || err.text[0] == '\0')
            fail_msg("'%s': %d, '%s'", cases[i].text, status, err.text);
        assert_true(v.kind == CQL_INTEGER && v.integer == 77);
    }
    static char deep[1000];
    memset(deep, '{', sizeof deep);
    cql_value v;
    assert_int_equal(cql_literal(test_arena, (og_str){deep, sizeof deep}, &v, NULL), OG_SYNTAX);
    og_arena *small = og_arena_new(16);
    assert_int_equal(cql_literal(small, OG_STR("'a string that needs more'"), &v, NULL), OG_NOMEM);
    og_arena_free(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),      cmocka_unit_test(test_quantities),
        cmocka_unit_test(test_calendar),     cmocka_unit_test(test_text),
        cmocka_unit_test(test_structures),   cmocka_unit_test(test_converts),
        cmocka_unit_test(test_bad_literals),
    };
    return cmocka_run_group_tests(tests, arena_setup, arena_teardown);
}
