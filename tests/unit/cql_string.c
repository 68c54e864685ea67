/* String operators (CQL 1.5 B.7), by table. */
#include "tests/unit/cql_ops.h"

static void test_pieces(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Length, "5", "'ABCDE'"),
        CASE(Length, "0", "''"),
        CASE(Length, "null", "null"),
        CASE(Length, "2", "{ 1, null }"),
        CASE(Length, "2", "'\\u00e9\\ud83d\\ude00'"),
        CASE(Length, "null", "5"),
        CASE(Indexer, "'b'", "'ab'", "1"),
        CASE(Indexer, "null", "'ab'", "2"),
        CASE(Indexer, "null", "'ab'", "-1"),
        CASE(Indexer, "'\xc3\xa9'", "'\xf0\x9f\x98\x80\xc3\xa9'", "1"),
        CASE(Indexer, "null", "'ab'", "null"),
        CASE(Indexer, "2", "{ 1, 2 }", "1"),
        CASE(Indexer, "null", "{ 1, 2 }", "2"),
        CASE(Indexer, "null", "null", "1"),
        CASE(Substring, "'CDE'", "'ABCDE'", "2"),
        CASE(Substring, "'C'", "'ABCDE'", "2", "1"),
        CASE(Substring, "null", "'ab'", "2"),
        CASE(Substring, "null", "'ab'", "-1"),
        CASE(Substring, "''", "''", "0"),
        CASE(Substring, "'ab'", "'ab'", "0", "3"),
        CASE(Substring, "''", "'ab'", "0", "0"),
        CASE(Substring, "''", "'ab'", "0", "-5"),
        CASE(Substring, "'b'", "'ab'", "1", "null"),
        CASE(Substring, "null", "null", "1"),
        CASE(Substring, "null", "'a'", "null"),
        CASE(Substring, "'\xc3\xa9'", "'\xf0\x9f\x98\x80\xc3\xa9x'", "1", "1"),
        CASE(Substring, "null", "'ab'", "2147483647"),
        CASE(StartsWith, "true", "'ABCDE'", "'ABC'"),
        CASE(StartsWith, "true", "'A'", "''"),
        CASE(StartsWith, "false", "'Breathe'", "'bre'"),
        CASE(StartsWith, "null", "'hi'", "null"),
        CASE(EndsWith, "true", "'man!!'", "'n!!'"),
        CASE(EndsWith, "false", "'man!!'", "'n!'"),
        CASE(EndsWith, "null", "null", "'x'"),
        CASE(EndsWith, "false", "'x'", "'xx'"),
        CASE(PositionOf, "1", "'B'", "'ABCDEDCBA'"),
        CASE(PositionOf, "-1", "'Z'", "'ABCDE'"),
        CASE(PositionOf, "0", "''", "'ABCDE'"),
        CASE(PositionOf, "null", "'a'", "null"),
        CASE(PositionOf, "2", "'x'", "'\xc3\xa9\xf0\x9f\x98\x80x'"),
        CASE(LastPositionOf, "7", "'B'", "'ABCDEDCBA'"),
        CASE(LastPositionOf, "-1", "'XYZ'", "'ABCDE'"),
        CASE(LastPositionOf, "5", "''", "'ABCDE'"),
        CASE(LastPositionOf, "11", "'hi'", "'Say hi to Ohio!'"),
        CASE(LastPositionOf, "null", "null", "'hi'"),
        CASE(LastPositionOf, "0", "''", "''"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_making(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Concatenate, "'ab'", "'a'", "'b'"),
        CASE(Concatenate, "null", "'a'", "null"),
        CASE(Concatenate, "'abc'", "'a'", "'b'", "'c'"),
        CASE(Concatenate, "''", "''", "''"),
        CASE(Combine, "'abc'", "{ 'a', 'b', 'c' }"),
        CASE(Combine, "'a-b-c'", "{ 'a', null, 'b', 'c' }", "'-'"),
        CASE(Combine, "null", "null"),
        CASE(Combine, "null", "{ }"),
        CASE(Combine, "null", "{ null }", "'-'"),
        CASE(Combine, "'ab'", "{ 'a', 'b' }", "null"),
        CASE(Combine, "'-'", "{ '', '' }", "'-'"),
        CASE(Split, "{ 'a', 'b' }", "'a,b'", "','"),
        CASE(Split, "{ 'a,b' }", "'a,b'", "'-'"),
        CASE(Split, "{ 'a,b' }", "'a,b'", "null"),
        CASE(Split, "null", "null", "','"),
        CASE(Split, "{ '', 'a', '' }", "',a,'", "','"),
        CASE(Split, "{ '' }", "''", "','"),
        CASE(Split, "{ 'a', 'b' }", "'ab'", "''"),
        CASE(Split, "{ 'a', 'b', 'c' }", "'a--b--c'", "'--'"),
        CASE(ToChars, "{ 'a', '\xc3\xa9' }", "'a\xc3\xa9'"),
        CASE(ToChars, "{ }", "''"),
        CASE(ToChars, "null", "null"),
        CASE(Upper, "'ABC1'", "'aBc1'"),
        CASE(Lower, "'abc1'", "'aBc1'"),
        CASE(Upper, "null", "null"),
        CASE(Lower, "''", "''"),
        CASE(Upper, "'\xc3\x84\xce\xa3\xd0\x96'", "'\xc3\xa4\xcf\x83\xd0\xb6'"),
        CASE(Lower, "'\xc3\xa4\xcf\x83\xd0\xb6'", "'\xc3\x84\xce\xa3\xd0\x96'"),
        CASE(Upper,
             "'STRA\xc3\x9f"
             "E'",
             "'stra\xc3\x9f"
             "e'"),
        CASE(Upper, "'\xc5\xb8'", "'\xc3\xbf'"),
        CASE(Lower, "'\xc3\xbf'", "'\xc5\xb8'"),
        CASE(Lower, "'\xf0\x90\x90\xa8'", "'\xf0\x90\x90\x80'"),
    };
    run_cases(cases, COUNT(cases));
}

static void test_patterns(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Matches, "null", "'a'", "null"),
        CASE(Matches, "false", "'Not all who wander are lost'", "'.*\\\\d+'"),
        CASE(Matches, "true", "'lost - circa 2017'", "'.*\\\\d+'"),
        CASE(Matches, "false", "'circa 2017!'", "'.*\\\\d+'"),
        CASE(Matches, "false", "'abc'", "'b'"),
        CASE(Matches, "true", "'   '", "'\\\\W+'"),
        CASE(Matches, "true", "'a\\nb'", "'a.b'"),
        CASE(Matches, "true", "'ab'", "'a|ab'"),
        CASE(Matches, "true", "'\xc3\xa9'", "'.'"),
        CASE(Matches, "true", "''", "''"),
        CASE(Matches, "true", "'abc'", "'^abc$'"),
        CASE(Matches, "false", "'abc\\n'", "'^abc$'"),
        CASE(Matches, "error", "'a'", "'('"),
        CASE(Matches, "error", "'a'", "'[z-a]'"),
        CASE(Matches, "error", "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaX'",
             "'(a|a+)+[cd]'"),
        CASE(ReplaceMatches, "'ABXYZDE'", "'ABCDE'", "'C'", "'XYZ'"),
        CASE(ReplaceMatches, "'ABCDE'", "'ABCDE'", "'XYZ'", "'123'"),
        CASE(ReplaceMatches, "null", "'ABCDE'", "'C'", "null"),
        CASE(ReplaceMatches, "'a$b'", "'a b'", "'\\\\s'", "'\\\\$'"),
        CASE(ReplaceMatches, "'b=a'", "'a=b'", "'(.)=(.)'", "'$2=$1'"),
        CASE(ReplaceMatches, "'a0'", "'a'", "'(a)'", "'$10'"),
        CASE(ReplaceMatches, "'[a][b]'", "'ab'", "'.'", "'[$0]'"),
        CASE(ReplaceMatches, "'-a-\xc3\xa9-'", "'a\xc3\xa9'", "''", "'-'"),
        CASE(ReplaceMatches, "'x'", "'a'", "'(?<n>a)'", "'x'"),
        CASE(ReplaceMatches, "'aa'", "'a'", "'(?<n>a)'", "'${n}${n}'"),
        CASE(ReplaceMatches, "error", "'a'", "'a'", "'$1'"),
        CASE(ReplaceMatches, "error", "'a'", "'a'", "'$'"),
        CASE(ReplaceMatches, "error", "'a'", "'a'", "'${n}'"),
        CASE(ReplaceMatches, "error", "'a'", "'*'", "'x'"),
        CASE(ReplaceMatches, "''", "''", "'a'", "'b'"),
        CASE(ReplaceMatches, "'b'", "''", "'a*'", "'b'"),
        CASE(ReplaceMatches, "'\\\\n'", "'n'", "'^'", "'\\\\\\\\'"),
        CASE(SplitOnMatches, "{ 'a', 'b', 'c' }", "'a1b22c'", "'\\\\d+'"),
        CASE(SplitOnMatches, "{ 'abc' }", "'abc'", "'\\\\d+'"),
        CASE(SplitOnMatches, "null", "null", "'x'"),
        CASE(SplitOnMatches, "{ 'abc' }", "'abc'", "'x*'"),
        CASE(SplitOnMatches, "{ '', '' }", "'1'", "'\\\\d'"),
        CASE(SplitOnMatches, "error", "'abc'", "'('"),
        CASE(SplitOnMatches, "{ 'abc' }", "'abc'", "null"),
    };
    run_cases(cases, COUNT(cases));
}

/* Upper and lower case lead back to each other for every letter that has both. */
static void test_case_tables(void **state)
{
    (void)state;
    int pairs = 0;
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        uint32_t low = cql__lower(cp);
        if (low == cp)
            continue;
        pairs++;
        assert_int_equal(cql__lower(low), low);
    }
    assert_true(pairs > 1300);
    for (uint32_t cp = 0x410; cp < 0x430; cp++)
        assert_int_equal(cql__upper(cql__lower(cp)), cp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_making),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_case_tables),
    };
    return cmocka_run_group_tests(tests, arena_setup, arena_teardown);
}
