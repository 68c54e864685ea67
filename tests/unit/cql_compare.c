/* Logic, equality, equivalence and order (CQL 1.5 B.2, B.4, B.5), by table. */
#include "tests/unit/cql_ops.h"

static void test_logic(void **state)
{
    (void)state;
    static const char *const t[] = {"true", "false", "null"};
    static const struct {
        cql_op op;
        const char *want[9]; /* left true, false, null; right likewise within */
    } tables[] = {
        {cql_op_And, {"true", "false", "null", "false", "false", "false", "null", "false", "null"}},
        {cql_op_Or, {"true", "true", "true", "true", "false", "null", "true", "null", "null"}},
        {cql_op_Xor, {"false", "true", "null", "true", "false", "null", "null", "null", "null"}},
        {cql_op_Implies, {"true", "false", "null", "true", "true", "true", "true", "null", "null"}},
    };
    for (size_t k = 0; k < COUNT(tables); k++)
        for (int i = 0; i < 9; i++) {
            op_case one = {"logic", tables[k].op, 0, {t[i / 3], t[i % 3]}, tables[k].want[i]};
            run_cases(&one, 1);
        }
    static const op_case cases[] = {
        CASE(Not, "false", "true"),
        CASE(Not, "true", "false"),
        CASE(Not, "null", "null"),
        CASE(IsNull, "true", "null"),
        CASE(IsNull, "false", "{}"),
        CASE(IsTrue, "false", "null"),
        CASE(IsTrue, "true", "true"),
        CASE(IsFalse, "true", "false"),
        CASE(IsFalse, "false", "null"),
        CASE(Coalesce, "1", "null", "1", "2"),
        CASE(Coalesce, "null", "null", "null"),
        CASE(Coalesce, "'a'", "{ null, 'a', 'b' }"),
        CASE(Coalesce, "null", "{ }"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_equal(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Equal, "null", "null", "null"),
        CASE(Equal, "null", "1", "null"),
        CASE(Equal, "true", "1", "1"),
        CASE(Equal, "true", "1", "1.0"),
        CASE(Equal, "true", "1L", "1"),
        CASE(Equal, "false", "1", "'1'"),
        CASE(Equal, "true", "1.0", "1.00"),
        CASE(Equal, "false", "'a'", "'A'"),
        CASE(Equal, "true", "''", "''"),
        CASE(Equal, "true", "true", "true"),
        CASE(Equal, "false", "true", "false"),
        CASE(Equal, "true", "{ }", "{ }"),
        CASE(Equal, "true", "{ null }", "{ null }"),
        CASE(Equal, "false", "{ 1 }", "{ 1, 2 }"),
        CASE(Equal, "null", "{ 1, null }", "{ 1, 2 }"),
        CASE(Equal, "false", "{ null, 1 }", "{ 1, 2 }"),
        CASE(Equal, "false", "{ 1, 2 }", "{ 'a', 'b' }"),
        CASE(Equal, "true", "Tuple { a: 1, b: null }", "Tuple { b: null, a: 1 }"),
        CASE(Equal, "false", "Tuple { a: 1 }", "Tuple { b: 1 }"),
        CASE(Equal, "false", "Tuple { a: 1 }", "Tuple { a: 1, b: 1 }"),
        CASE(Equal, "null", "Tuple { a: 1, b: 'x' }", "Tuple { a: 1, b: null }"),
        CASE(Equal, "false", "Tuple { a: 1, b: 'x' }", "Tuple { a: 2, b: null }"),
        CASE(Equal, "null", "Tuple { a: null, b: 'x' }", "Tuple { a: 1, b: 'y' }"),
        CASE(Equal, "true", "Code { code: 'x', system: 's' }", "Code { code: 'x', system: 's' }"),
        CASE(Equal, "null", "Code { code: 'x', system: 's' }",
             "Code { code: 'x', system: 's', display: 'X' }"),
        CASE(Equal, "false", "Code { code: 'x', system: 's' }",
             "Code { code: 'y', system: 's', display: 'X' }"),
        CASE(Equal, "true", "1 'cm':2 'cm'", "1 'cm':2 'cm'"),
        CASE(Equal, "false", "1:8", "2:16"),
        CASE(Equal, "true", "Interval[1, 5]", "Interval(0, 6)"),
        CASE(Equal, "false", "Interval[1, 5]", "Interval[1, 6]"),
        CASE(Equal, "null", "Interval[1, 10]", "Interval(null, null)"),
        CASE(Equal, "true", "Interval[1, null]", "Interval[1, 2147483647]"),
        CASE(Equal, "null", "Interval[1, null)", "Interval[1, 5]"),
        CASE(Equal, "false", "Interval[1, null)", "Interval[2, 5]"),
        CASE(Equal, "false", "uncertain 1 5", "6"),
        CASE(Equal, "null", "uncertain 1 5", "5"),
        CASE(Equal, "null", "uncertain 1 5", "uncertain 1 5"),
        CASE(NotEqual, "true", "1", "2"),
        CASE(NotEqual, "null", "1", "null"),
        CASE(NotEqual, "false", "'a'", "'a'"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_equal_calendar(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Equal, "true", "@2012-01-01", "@2012-01-01"),
        CASE(Equal, "null", "@2012-01", "@2012-01-01"),
        CASE(Equal, "false", "@2012-02", "@2012-01-01"),
        CASE(Equal, "null", "@2012-01-01", "@2012-01-01T12"),
        CASE(Equal, "true", "@2001-01-01T", "@2001-01-01T"),
        CASE(Equal, "true", "@2024-11-15T12:30:00.0", "@2024-11-15T12:30:00"),
        CASE(Equal, "false", "@2024-11-15T12:30:00.5", "@2024-11-15T12:30:00"),
        CASE(Equal, "null", "@2024-11-15T12:30:00.5", "@2024-11-15T12:30"),
        CASE(Equal, "true", "@2014-01-25T14:30:14.559+01:00", "@2014-01-25T13:30:14.559Z"),
        CASE(Equal, "true", "@2014-01-25T14:30:14.559+01:00", "@2014-01-25T13:30:14.559"),
        CASE(Equal, "true", "@2014-01-25T14:30+01:00", "@2014-01-25T13:30Z"),
        CASE(Equal, "null", "@2014-01-25T14+01:30", "@2014-01-25T12Z"),
        CASE(Equal, "false", "@2014-01-25T14+01:30", "@2014-01-26T12Z"),
        CASE(Equal, "true", "@T10:00:00.000", "@T10:00:00"),
        CASE(Equal, "false", "@T10:00", "@T11"),
        CASE(Equal, "false", "@T10:00", "@2012-01-01"),
        CASE(Equivalent, "false", "@2012-01", "@2012-01-01"),
        CASE(Equivalent, "true", "@2012-01", "@2012-01"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_equivalent(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Equivalent, "true", "null", "null"),
        CASE(Equivalent, "false", "1", "null"),
        CASE(Equivalent, "true", "'Abel'", "'aBEL'"),
        CASE(Equivalent, "true", "'a\\tb'", "'a b'"),
        CASE(Equivalent, "false", "'a  b'", "'a b'"),
        CASE(Equivalent, "false", "''", "null"),
        CASE(Equivalent, "true", "'\\u00c4\\u03a3'", "'\\u00e4\\u03c2'"),
        CASE(Equivalent, "false", "'ab'", "'a'"),
        CASE(Equivalent, "true", "1.001", "1.000"),
        CASE(Equivalent, "false", "1.5", "1.55"),
        CASE(Equivalent, "true", "1.56", "1.6"),
        CASE(Equivalent, "true", "1", "1.0"),
        CASE(Equivalent, "true", "{ null, 'A' }", "{ null, 'a' }"),
        CASE(Equivalent, "false", "{ 1 }", "{ 1, null }"),
        CASE(Equivalent, "true", "Tuple { a: null }", "Tuple { a: null }"),
        CASE(Equivalent, "false", "Tuple { a: 1 }", "Tuple { a: 1, b: null }"),
        CASE(Equivalent, "true", "1:100", "10:1000"),
        CASE(Equivalent, "false", "1:100", "1:10"),
        CASE(Equivalent, "true", "Code { code: 'x', system: 's', version: '1' }",
             "Code { code: 'x', system: 's', display: 'X' }"),
        CASE(Equivalent, "false", "Code { code: 'x', system: 's' }",
             "Code { code: 'x', system: 't' }"),
        CASE(Equivalent, "true", "Concept { codes: { Code { code: 'x' }, Code { code: 'y' } } }",
             "Concept { codes: { Code { code: 'y' } } }"),
        CASE(Equivalent, "true", "Code { code: 'y' }",
             "Concept { codes: { Code { code: 'x' }, Code { code: 'y' } } }"),
        CASE(Equivalent, "false", "Concept { codes: { Code { code: 'x' } } }",
             "Concept { codes: { Code { code: 'y' } } }"),
        CASE(Equivalent, "true", "Interval[1, null]", "Interval[1, null]"),
        CASE(Equivalent, "true", "Interval[1, null)", "Interval[1, null)"),
        CASE(Equivalent, "false", "Interval[1, null)", "Interval[1, 3]"),
        CASE(Equivalent, "false", "Interval[-1, 7]", "Interval[0, 7]"),
        CASE(Equivalent, "true", "Interval(0, 6)", "Interval[1, 5]"),
        CASE(Equivalent, "false", "1", "'1'"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_quantities(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Equal, "true", "1 'cm'", "0.01 'm'"),
        CASE(Equal, "null", "3.5 'cm2'", "3.5 'cm'"),
        CASE(Equal, "true", "2.0 'cm'", "2.00 'cm'"),
        CASE(Equal, "true", "1 '{eskimo_kisses}'", "1 '{eskimo_kisses}'"),
        CASE(Equal, "true", "1 second", "1 's'"),
        CASE(Equal, "true", "1 week", "1 'wk'"),
        CASE(Equal, "null", "1 month", "1 'mo'"),
        CASE(NotEqual, "null", "1 months", "1 'mo'"),
        CASE(Equal, "true", "12 months", "1 year"),
        CASE(Equal, "null", "1 year", "365 days"),
        CASE(Equal, "true", "1 week", "7 days"),
        CASE(Equal, "true", "1 day", "24 hours"),
        CASE(Equal, "true", "1 second", "1000 milliseconds"),
        CASE(Equal, "null", "1 year", "365 'd'"),
        CASE(Equivalent, "true", "1 month", "1 'mo'"),
        CASE(Equivalent, "true", "1 year", "1 'a'"),
        CASE(Equivalent, "true", "1 year", "12 months"),
        CASE(Equivalent, "true", "1 year", "365 days"),
        CASE(Equivalent, "true", "1 month", "30 days"),
        CASE(Equivalent, "false", "1 month", "31 days"),
        CASE(Equivalent, "true", "1 'cm'", "0.01 'm'"),
        CASE(Equivalent, "false", "3.5 'cm2'", "3.5 'cm'"),
        CASE(Equivalent, "true", "100 'cm'", "1 'm'"),
        CASE(Equivalent, "false", "1 month", "1 'cm'"),
        CASE(Greater, "true", "1 'm'", "1 'cm'"),
        CASE(Greater, "null", "3.6 'cm2'", "3.5 'cm'"),
        CASE(Less, "null", "1 year", "1 day"),
        CASE(Less, "true", "1 day", "1 week"),
        CASE(Less, "true", "1 day", "25 'h'"),
        CASE(Less, "true", "13 months", "2 years"),
        CASE(Less, "true", "1", "2 '1'"),
        CASE(LessOrEqual, "true", "0.3 'umol/L'", "300 'nmol/L'"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_order(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Less, "null", "null", "1"),
        CASE(Less, "true", "1", "2"),
        CASE(Less, "false", "2", "2"),
        CASE(LessOrEqual, "true", "2", "2.0"),
        CASE(Greater, "true", "2L", "1"),
        CASE(GreaterOrEqual, "true", "2", "2"),
        CASE(Less, "true", "'a'", "'aa'"),
        CASE(Less, "true", "'Z'", "'a'"),
        CASE(Less, "null", "'1'", "2"),
        CASE(Less, "true", "'\\ue000'", "'\\ud83d\\ude00'"),
        CASE(Greater, "null", "@2014T", "@2014-02-15T"),
        CASE(Greater, "true", "@2015T", "@2014-02-15T"),
        CASE(GreaterOrEqual, "null", "@2012-01-01", "@2012-01-01T12"),
        CASE(Greater, "true", "@2024-11-15T12:30:00.5", "@2024-11-15T12:30:00"),
        CASE(Greater, "false", "@2024-11-15T12:30:00.0", "@2024-11-15T12:30:00"),
        CASE(Greater, "true", "@2024-11-15T12:30:00.5", "@2024-11-14T12:30"),
        CASE(Greater, "true", "uncertain 6 18", "5"),
        CASE(Greater, "null", "uncertain 1 13", "5"),
        CASE(Less, "true", "uncertain 6 18", "24"),
        CASE(GreaterOrEqual, "true", "uncertain 5 18", "5"),
        CASE(LessOrEqual, "true", "uncertain 5 18", "18.0"),
        CASE(Greater, "false", "uncertain 5 18", "18"),
    };
    run_cases(cases, COUNT(cases));
    og_error err;
    cql_op_context c = test_context(&err);
    int r = 9;
    assert_true(cql_compare(&c, literal("1"), literal("2"), &r) && r == -1);
    assert_true(cql_compare(&c, literal("2"), literal("2.0"), &r) && r == 0);
    assert_true(cql_compare(&c, literal("@T12"), literal("@T10"), &r) && r == 1);
    assert_false(cql_compare(&c, literal("@T12"), literal("@T12:30"), &r));
    assert_false(cql_compare(&c, literal("null"), literal("1"), &r));
    assert_false(cql_compare(&c, literal("true"), literal("false"), &r));
}

/* A list in a list in a list ... is refused, not followed into the end of the stack. */
static void test_depth(void **state)
{
    (void)state;
    og_error err;
    cql_op_context c = test_context(&err);
    cql_value v = cql_integer(1), *item = NULL;
    for (int i = 0; i < 100000; i++) {
        item = og_arena_alloc(test_arena, sizeof *item);
        *item = v;
        v = cql__list(&c, item, 1);
    }
    assert_int_equal(cql_equal(&c, v, v), CQL_UNKNOWN);
    assert_int_equal(err.status, OG_EVAL);
    assert_int_equal(c.depth, 0);
    og_error_init(&err);
    assert_false(cql_equivalent(&c, v, v));
    assert_int_equal(err.status, OG_EVAL);
    og_buf b;
    og_buf_init(&b, 1 << 20);
    cql_value_format(&b, v);
    assert_true(og_buf_failed(&b));
    og_buf_clear(&b);
    cql_value_type(&b, v);
    assert_true(og_buf_failed(&b));
    og_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logic),          cmocka_unit_test(test_equal),
        cmocka_unit_test(test_equal_calendar), cmocka_unit_test(test_equivalent),
        cmocka_unit_test(test_quantities),     cmocka_unit_test(test_order),
        cmocka_unit_test(test_depth),
    };
    return cmocka_run_group_tests(tests, arena_setup, arena_teardown);
}
