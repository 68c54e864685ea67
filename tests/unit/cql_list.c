/* List operators against CQL 1.5 Appendix B.10 and the public suite's expectations, and clinical
 * operators on codes against B.12. Rows are literal text. */
#include "cql_ops.h"

#include <stdlib.h>

#include "fhir/terminology.h"
#include "rules/cql/op_list.h"

static void membership(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(In, "true", "1", "{1, 2}"),
        CASE(In, "false", "3", "{1, 2}"),
        CASE(In, "false", "null", "{}"),
        CASE(In, "true", "null", "{1, null}"),
        CASE(In, "false", "null", "{1, 2}"),
        CASE(In, "true", "@T15:59:59.999", "{@T02:29:15.156, @T15:59:59.999}"),
        CASE(In, "null", "@2012-01", "{@2012-01-05}"),
        CASE(In, "true", "@2012-01", "{@2012-01-05, @2012-01}"),
        CASE(Contains, "true", "{'a', 'b', null}", "null"),
        CASE(Contains, "false", "{null, 'b', 'c'}", "'a'"),
        CASE(Contains, "true", "{'a', 'b'}", "'a'"),
        CASE(Contains, "true", "{1 'g'}", "1000 'mg'"),
        CASE(ProperContains, "false", "{}", "'a'"),
        CASE(ProperContains, "false", "{'a'}", "'a'"),
        CASE(ProperContains, "false", "{null}", "null"),
        CASE(ProperContains, "false", "{null, null}", "null"),
        CASE(ProperContains, "false", "{'s', 'u', 'n'}", "null"),
        CASE(ProperContains, "true", "{'s', 'u', 'n', null}", "null"),
        CASE(ProperContains, "true", "{'a', 'b'}", "'a'"),
        CASE(ProperContains, "false", "{'a', 'a'}", "'a'"),
        CASE(ProperContains, "false", "{'a', 'b'}", "'c'"),
        CASE(ProperContains, "null", "{'a', null}", "'a'"),
        CASE(ProperContains, "true", "{'a', 'b', null}", "'a'"),
        CASE(ProperIn, "true", "'a'", "{'a', 'b'}"),
        CASE(ProperIn, "null", "'a'", "{'a', null}"),
        CASE(ProperIn, "false", "'c'", "{'a', 'b'}"),
        CASE(Includes, "true", "{}", "{}"),
        CASE(Includes, "true", "{null}", "{null}"),
        CASE(Includes, "true", "{1, 2, 3}", "{}"),
        CASE(Includes, "true", "{1, 2, 3}", "{2}"),
        CASE(Includes, "false", "{1, 2, 3}", "{4}"),
        CASE(Includes, "false", "{1, 2, 3}", "{2, 4}"),
        CASE(Includes, "null", "null", "{2}"),
        CASE(Includes, "null", "{@2012-01-05}", "{@2012-01}"),
        CASE(Includes, "false", "{@2012-01-05}", "{@2012-01, @2013}"),
        CASE(IncludedIn, "true", "{2}", "{1, 2, 3}"),
        CASE(IncludedIn, "false", "{4}", "{1, 2, 3}"),
        CASE(IncludedIn, "null", "{'s'}", "null"),
        CASE(ProperIncludes, "false", "{}", "{}"),
        CASE(ProperIncludes, "false", "{null}", "{null}"),
        CASE(ProperIncludes, "true", "{1, 2, 3}", "{}"),
        CASE(ProperIncludes, "true", "{1, 2, 3}", "{2}"),
        CASE(ProperIncludes, "false", "{1, 2, 3}", "{3, 2, 1}"),
        CASE(ProperIncludes, "false", "{1, 2, 3}", "{4}"),
        CASE(ProperIncludes, "null", "null", "{2}"),
        CASE(ProperIncludedIn, "true", "{}", "{1, 2, 3}"),
        CASE(ProperIncludedIn, "false", "{1, 1}", "{1}"),
        CASE(ProperIncludedIn, "null", "{'s'}", "null"),
    };
    run_cases(cases, COUNT(cases));
}

static void sets(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Union, "{ }", "{}", "{}"),
        CASE(Union, "{ null }", "{null}", "{null}"),
        CASE(Union, "{ 1, 2, 3 }", "{1, 2, 3}", "{2}"),
        CASE(Union, "{ 1, 2, 3, 4 }", "{1, 2, 3}", "{4}"),
        CASE(Union, "{ 1, 2 }", "{1, 2}", "null"),
        CASE(Union, "{ 1, 2 }", "null", "{1, 2, 1}"),
        CASE(Union, "null", "null", "null"),
        CASE(Intersect, "{ }", "{}", "{}"),
        CASE(Intersect, "{ 2, 3 }", "{1, 2, 2, 3, 4}", "{2, 3}"),
        CASE(Intersect, "{ null }", "{null, 1}", "{2, null}"),
        CASE(Intersect, "null", "{1}", "null"),
        CASE(Except, "{ 1, 4 }", "{1, 2, 3, 4, 1}", "{2, 3}"),
        CASE(Except, "{ }", "{2, 3}", "{1, 2, 3, 4}"),
        CASE(Except, "{ 1, 4 }", "{1, 4}", "null"),
        CASE(Except, "null", "null", "{1}"),
        CASE(Except, "{ 1 }", "{1, null}", "{null}"),
        CASE(Distinct, "{ }", "{}"),
        CASE(Distinct, "{ null }", "{null, null, null}"),
        CASE(Distinct, "{ 'a', null }", "{'a', null, 'a', null}"),
        CASE(Distinct, "{ 1, 2, 3 }", "{1, 1, 2, 2, 3, 3}"),
        CASE(Distinct, "{ 1 'g', 2 'g' }", "{1 'g', 1000 'mg', 2 'g'}"),
        CASE(Distinct, "{ 1 'g', 2 'g', 3 'g' }",
             "{1 'g', 2 'g', 3 'g', 2 'g', 1000 'mg', 3000 'mg', 3 'g'}"),
        CASE(Distinct, "{ 1 day, 2 days }", "{1 day, 2 days, 1 'd', 48 'h'}"),
        CASE(Distinct, "{ Tuple { a: 1 'g' }, Tuple { a: 2 'g' } }",
             "{Tuple { a: 1 'g' }, Tuple { a: 2 'g' }, Tuple { a: 2000 'mg' }}"),
        CASE(Intersect, "{ 2 'g' }", "{1 'g', 2 'g', 3 'g'}", "{4 'g', 2000 'mg'}"),
        CASE(Except, "{ 1 'g' }", "{1 'g', 2 'g', 3 'g'}", "{3 'g', 2 'g'}"),
        CASE(Distinct, "{ Interval[1 'g', 2 'g'] }",
             "{Interval[1 'g', 2 'g'], Interval[1000 'mg', 2000 'mg']}"),
        CASE(Distinct, "{ Interval[1, null] }", "{Interval[1, null], Interval[1, 2147483647]}"),
        CASE(Distinct, "{ Interval[1, null), Interval[1, null) }",
             "{Interval[1, null), Interval[1, null)}"),
        CASE(Distinct, "{ 1.0 }", "{1.0, 1.00}"),
        CASE(Distinct, "{ @2012-01-01T10:00:00.000+01:00 }",
             "{@2012-01-01T10:00:00.000+01:00, @2012-01-01T09:00:00.000Z}"),
        CASE(Distinct, "{ @2012-01, @2012-01-01 }", "{@2012-01, @2012-01-01, @2012-01}"),
        CASE(Distinct, "{ Tuple { a: 1, b: 'x' }, Tuple { a: 2, b: 'x' } }",
             "{Tuple {a: 1, b: 'x'}, Tuple {a: 2, b: 'x'}, Tuple {b: 'x', a: 1}}"),
        CASE(Distinct, "{ { 1, 2 }, { 2, 1 } }", "{{1, 2}, {2, 1}, {1, 2}}"),
        CASE(Distinct, "{ Interval[1, 5] }", "{Interval[1, 5], Interval[1, 6), Interval(0, 5]}"),
        CASE(Distinct, "null", "null"),
    };
    run_cases(cases, COUNT(cases));
}

static void parts(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE(Exists, "false", "{}"),
        CASE(Exists, "false", "{null}"),
        CASE(Exists, "true", "{null, 1}"),
        CASE(Exists, "false", "null"),
        CASE(First, "null", "{}"),
        CASE(First, "null", "{null, 1}"),
        CASE(First, "1", "{1, null}"),
        CASE(First, "null", "null"),
        CASE(Last, "null", "{}"),
        CASE(Last, "1", "{null, 1}"),
        CASE(Last, "null", "{1, null}"),
        CASE(SingletonFrom, "null", "{}"),
        CASE(SingletonFrom, "null", "{null}"),
        CASE(SingletonFrom, "1", "{1}"),
        CASE(SingletonFrom, "error", "{1, 2}"),
        CASE(SingletonFrom, "null", "null"),
        CASE(IndexOf, "null", "{}", "null"),
        CASE(IndexOf, "null", "null", "{}"),
        CASE(IndexOf, "null", "{1, null}", "null"),
        CASE(IndexOf, "0", "{1, 2}", "1"),
        CASE(IndexOf, "1", "{null, 2, 2}", "2"),
        CASE(IndexOf, "-1", "{1, 2}", "3"),
        CASE(Flatten, "{ }", "{{}, {}}"),
        CASE(Flatten, "{ null, null }", "{{null}, {null}}"),
        CASE(Flatten, "{ 1, 2, 3, 4 }", "{{1, 2}, {3, 4}}"),
        CASE(Flatten, "{ 1, { 2 } }", "{null, {1, {2}}}"),
        CASE(Flatten, "null", "null"),
        CASE(Slice, "{ 3, 4 }", "{1, 2, 3, 4}", "2", "null"),
        CASE(Slice, "{ 1, 2 }", "{1, 2, 3}", "null", "2"),
        CASE(Slice, "{ }", "{1, 2, 3}", "0", "0"),
        CASE(Slice, "{ }", "{1, 2, 3}", "3", "5"),
        CASE(Slice, "{ 3 }", "{1, 2, 3}", "2", "5"),
        CASE(Slice, "{ }", "{1, 2, 3}", "2", "1"),
        CASE(Slice, "{ }", "{1, 2, 3}", "-1", "2"),
        CASE(Slice, "{ 1 }", "{1}"),
        CASE(Slice, "null", "null", "1", "2"),
        CASE(Times, "{ Tuple { a: 1, b: 3 }, Tuple { a: 2, b: 3 } }",
             "{Tuple {a: 1}, Tuple {a: 2}}", "{Tuple {b: 3}, null}"),
        CASE(Times, "null", "null", "{Tuple {b: 3}}"),
    };
    run_cases(cases, COUNT(cases));
}

static void ages(void **state)
{
    (void)state;
    static const op_case cases[] = {
        CASE_AT(CalculateAgeAt, OG_YEAR, "50", "@1970-03-01", "@2020-03-01"),
        CASE_AT(CalculateAgeAt, OG_YEAR, "49", "@1970-03-02", "@2020-03-01"),
        CASE_AT(CalculateAgeAt, OG_YEAR, "~Interval[40, 41]", "@1979", "@2020-06-01"),
        CASE_AT(CalculateAgeAt, OG_MONTH, "1", "@2020-01-31", "@2020-02-29"),
        CASE_AT(CalculateAgeAt, OG_DAY, "29", "@2020-01-31", "@2020-02-29"),
        CASE_AT(CalculateAgeAt, WEEK, "4", "@2020-01-31", "@2020-02-29"),
        CASE_AT(CalculateAgeAt, OG_YEAR, "50", "@1970-03-01", "@2020-03-01T00:00:00.000"),
        CASE_AT(CalculateAgeAt, OG_YEAR, "null", "null", "@2020-03-01"),
        CASE_AT(CalculateAgeAt, OG_YEAR, "null", "@1970-03-01", "null"),
        CASE_AT(CalculateAge, OG_YEAR, "54", "@1970-03-10"),
        CASE_AT(CalculateAge, OG_YEAR, "53", "@1970-03-11"),
        CASE_AT(CalculateAge, OG_YEAR, "null", "null"),
    };
    run_cases(cases, COUNT(cases));
}

/* A long list must not cost the square of its length: with a comparison of all pairs this would
 * take hours, so finishing is the test. */
static void long_lists(void **state)
{
    (void)state;
    enum { N = 60000 };
    og_error err;
    cql_op_context c = test_context(&err);
    cql_value *items = calloc(N, sizeof(*items));
    assert_non_null(items);
    for (int32_t i = 0; i < N; i++)
        items[i] = cql_integer(i % (N / 2));
    cql_value all = cql__list(&c, items, N);
    cql_value distinct = cql_op_Distinct(&c, &all, 1);
    assert_int_equal(distinct.kind, CQL_LIST);
    assert_int_equal(distinct.list->count, N / 2);
    for (int32_t i = 0; i < N / 2; i++)
        assert_int_equal(distinct.list->items[i].integer, i);
    const cql_value both[2] = {all, distinct};
    assert_true(cql_op_Includes(&c, both, 2).boolean);
    assert_int_equal(cql_op_Intersect(&c, both, 2).list->count, N / 2);
    assert_int_equal(cql_op_Except(&c, both, 2).list->count, 0);
    free(items);
}

/* Two values that are equal must never have different hashes: every pair of a mixed lot. */
static void equal_values_are_found(void **state)
{
    (void)state;
    static const char *const lot[] = {"1",
                                      "1.0",
                                      "1L",
                                      "2",
                                      "null",
                                      "true",
                                      "'a'",
                                      "'A'",
                                      "@2012",
                                      "@2012-01",
                                      "@2012-01-01",
                                      "@2012-01-01T",
                                      "@2012-01-01T00:00:00.000",
                                      "@2012-01-01T00:00:00",
                                      "@2011-12-31T23:00:00.000-01:00",
                                      "@T10:00",
                                      "@T10:00:00",
                                      "@T10:00:00.000",
                                      "5 'g'",
                                      "5000 'mg'",
                                      "0.005 'kg'",
                                      "Interval[1, 3]",
                                      "Interval(0, 4)",
                                      "{1, 2}",
                                      "{1.0, 2}",
                                      "Tuple {a: 1, b: null}",
                                      "Tuple {b: null, a: 1.0}",
                                      "1 week",
                                      "7 days",
                                      "1 'wk'",
                                      "1 'mg':2 'dL'"};
    og_error err;
    cql_op_context c = test_context(&err);
    for (size_t i = 0; i < COUNT(lot); i++)
        for (size_t j = 0; j < COUNT(lot); j++) {
            cql__set s;
            uint32_t number;
            cql_value a = literal(lot[i]), b = literal(lot[j]);
            cql__set_init(&s, &c);
            assert_true(cql__set_add(&s, a, &number));
            bool equal = cql_is_null(a) ? cql_is_null(b) : cql_equal(&c, a, b) == CQL_TRUE;
            if ((cql__set_find(&s, b) >= 0) != equal)
                fail_msg("%s and %s: equal %d, but found %d", lot[i], lot[j], equal, !equal);
        }
}

/* Memory runs out at every point in turn: an operator then gives null and the arena says so, and
 * with enough memory the result is what it was. */
static void memory_runs_out(void **state)
{
    (void)state;
    enum { N = 3000 };
    static const cql_op ops[] = {
        cql_op_Distinct, cql_op_Flatten, cql_op_Union,  cql_op_Intersect, cql_op_Except,
        cql_op_Includes, cql_op_Mode,    cql_op_Median, cql_op_Variance,  cql_op_ProperIncludes};
    og_error err;
    cql_op_context c = test_context(&err);
    cql_value *items = og_arena_zalloc(test_arena, N, sizeof(*items));
    assert_non_null(items);
    for (int32_t i = 0; i < N; i++)
        items[i] = i % 7 == 3 ? CQL_NULL_VALUE : cql_integer(i % (N / 2));
    const cql_value args[2] = {cql__list(&c, items, N), cql__list(&c, items + 1, N - 2)};
    for (size_t o = 0; o < COUNT(ops); o++) {
        cql_value whole = ops[o](&c, args, 2);
        assert_false(cql_is_null(whole));
        bool done = false;
        for (size_t limit = 0; limit < (size_t)8 << 20 && !done; limit += 20000) {
            cql_op_context small = c;
            small.arena = og_arena_new(limit);
            assert_non_null(small.arena);
            cql_value v = ops[o](&small, args, 2);
            done = !og_arena_failed(small.arena);
            if (done)
                assert_int_equal(cql_equal(&c, v, whole), CQL_TRUE);
            og_arena_free(small.arena);
        }
        assert_true(done);
    }
    assert_int_equal(err.status, OG_OK);
}

/* --- codes in sets --- */

static const char bone[] =
    "{\"resourceType\":\"ValueSet\",\"url\":\"http://x/bone\",\"compose\":{\"include\":["
    "{\"system\":\"http://snomed.info/"
    "sct\",\"concept\":[{\"code\":\"94222008\"},{\"code\":\"1\"}]},"
    "{\"system\":\"http://fhir.de/CodeSystem/bfarm/icd-10-gm\",\"concept\":[{\"code\":\"C79.5\"},"
    "{\"code\":\"1\"}]}]}}";
static const char colours[] =
    "{\"resourceType\":\"CodeSystem\",\"url\":\"http://x/colours\",\"content\":\"complete\","
    "\"concept\":[{\"code\":\"red\",\"concept\":[{\"code\":\"pink\"}]}]}";
static const char partial[] =
    "{\"resourceType\":\"CodeSystem\",\"url\":\"http://x/partial\",\"content\":\"fragment\","
    "\"concept\":[{\"code\":\"red\"}]}";

static void add(fhir_terminology *t, const char *text)
{
    fhir_doc doc;
    og_error err;
    og_error_init(&err);
    assert_int_equal(fhir_decode(test_arena, og_str_of(text), NULL, &doc, &err), OG_OK);
    assert_int_equal(fhir_terminology_add(t, fhir_root(&doc), "test", NULL), OG_OK);
}

static cql_value code(const char *system, const char *c)
{
    cql_code *made = og_arena_zalloc(test_arena, 1, sizeof(*made));
    *made = (cql_code){.code = og_str_of(c), .system = og_str_of(system)};
    return (cql_value){.kind = CQL_CODE, .code = made};
}

static cql_value concept(const cql_value *codes, size_t n)
{
    cql_concept *made = og_arena_zalloc(test_arena, 1, sizeof(*made));
    cql_code *copy = og_arena_zalloc(test_arena, n, sizeof(*copy));
    for (size_t i = 0; i < n; i++)
        copy[i] = *codes[i].code;
    *made = (cql_concept){copy, n, {NULL, 0}};
    return (cql_value){.kind = CQL_CONCEPT, .concept = made};
}

static cql_value setref(cql_kind kind, const char *id, const void *resolved)
{
    cql_setref *made = og_arena_zalloc(test_arena, 1, sizeof(*made));
    *made = (cql_setref){.id = og_str_of(id), .resolved = resolved};
    return (cql_value){.kind = (uint8_t)kind, .setref = made};
}

/* 't', 'f', 'n' for the value, 'e' for a run-time error. */
static char asked(cql_op op, cql_value v, cql_value set)
{
    og_error err;
    cql_op_context c = test_context(&err);
    const cql_value args[2] = {v, set};
    cql_value r = op(&c, args, 2);
    if (err.status != OG_OK)
        return 'e';
    return cql_is_null(r) ? 'n' : r.boolean ? 't' : 'f';
}

static void codes_in_sets(void **state)
{
    (void)state;
    fhir_terminology *t = fhir_terminology_new();
    add(t, bone);
    add(t, colours);
    add(t, partial);
    assert_int_equal(fhir_terminology_link(t, NULL), OG_OK);
    cql_value vs = setref(CQL_VALUESET, "http://x/bone",
                          fhir_valueset_find(t, OG_STR("http://x/bone"), (og_str){NULL, 0}));
    cql_value missing = setref(CQL_VALUESET, "http://x/none", NULL);
    cql_value sct = code("http://snomed.info/sct", "94222008");
    cql_value oid = code("urn:oid:2.16.840.1.113883.6.96", "94222008");
    cql_value other = code("http://loinc.org", "94222008");
    cql_value bare = code("", "94222008");
    cql_value nodot = code("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "C795");
    cql_op in = cql_op_InValueSet, any = cql_op_AnyInValueSet;

    assert_int_equal(asked(in, sct, vs), 't');
    assert_int_equal(asked(in, oid, vs), 't');
    assert_int_equal(asked(in, nodot, vs), 't');
    assert_int_equal(asked(in, other, vs), 'f');
    assert_int_equal(asked(in, bare, vs), 'f');
    assert_int_equal(asked(in, CQL_NULL_VALUE, vs), 'f');
    assert_int_equal(asked(in, sct, CQL_NULL_VALUE), 'n');
    assert_int_equal(asked(in, sct, missing), 'e');
    assert_int_equal(asked(in, sct, sct), 'e');
    assert_int_equal(asked(in, cql_integer(1), vs), 'e');
    assert_int_equal(asked(in, literal("'C79.5'"), vs), 't');
    assert_int_equal(asked(in, literal("'nothing'"), vs), 'f');
    assert_int_equal(asked(in, literal("'1'"), vs), 'e'); /* two systems have it */

    const cql_value codes[2] = {other, nodot};
    assert_int_equal(asked(in, concept(codes, 2), vs), 't');
    assert_int_equal(asked(in, concept(codes, 1), vs), 'f');
    assert_int_equal(asked(in, concept(codes, 0), vs), 'f');
    og_error err;
    cql_op_context c = test_context(&err);
    const cql_value list[3] = {CQL_NULL_VALUE, other, concept(codes, 2)};
    assert_int_equal(asked(any, cql__list(&c, list, 3), vs), 't');
    assert_int_equal(asked(any, cql__list(&c, list, 2), vs), 'f');
    assert_int_equal(asked(any, cql__list(&c, NULL, 0), vs), 'f');
    assert_int_equal(asked(any, CQL_NULL_VALUE, vs), 'f');
    assert_int_equal(asked(any, cql__list(&c, list, 3), missing), 'e');

    cql_value cs = setref(CQL_CODESYSTEM, "http://x/colours",
                          fhir_codesystem_find(t, OG_STR("http://x/colours")));
    cql_value part = setref(CQL_CODESYSTEM, "http://x/partial",
                            fhir_codesystem_find(t, OG_STR("http://x/partial")));
    in = cql_op_InCodeSystem;
    assert_int_equal(asked(in, code("http://x/colours", "pink"), cs), 't');
    assert_int_equal(asked(in, code("http://x/colours", "blue"), cs), 'f');
    assert_int_equal(asked(in, code("http://x/partial", "red"), cs), 'f');
    assert_int_equal(asked(in, literal("'red'"), cs), 't');
    assert_int_equal(asked(in, CQL_NULL_VALUE, cs), 'f');
    assert_int_equal(asked(in, code("http://x/partial", "red"), part), 't');
    assert_int_equal(asked(in, code("http://x/partial", "blue"), part), 'e');
    assert_int_equal(asked(in, sct, setref(CQL_CODESYSTEM, "http://y", NULL)), 'e');
    fhir_terminology_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(membership, arena_setup, arena_teardown),
        cmocka_unit_test_setup_teardown(sets, arena_setup, arena_teardown),
        cmocka_unit_test_setup_teardown(parts, arena_setup, arena_teardown),
        cmocka_unit_test_setup_teardown(ages, arena_setup, arena_teardown),
        cmocka_unit_test_setup_teardown(long_lists, arena_setup, arena_teardown),
        cmocka_unit_test_setup_teardown(equal_values_are_found, arena_setup, arena_teardown),
        cmocka_unit_test_setup_teardown(memory_runs_out, arena_setup, arena_teardown),
        cmocka_unit_test_setup_teardown(codes_in_sets, arena_setup, arena_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
