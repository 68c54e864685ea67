/* Values as literal text and type names; what is written can be read again. */
#include "tests/unit/cql_ops.h"

static const struct {
    const char *literal, *type;
} values[] = {
    {"null", "System.Any"},
    {"true", "System.Boolean"},
    {"-2147483648", "System.Integer"},
    {"5L", "System.Long"},
    {"-0.00000001", "System.Decimal"},
    {"2.50", "System.Decimal"},
    {"1.0", "System.Decimal"},
    {"''", "System.String"},
    {"'it\\'s \\\\ \\n\\r\\t\\f \"x\" \\u0001'", "System.String"},
    {"'\xc3\xa4\xf0\x9f\x98\x80'", "System.String"},
    {"@2012", "System.Date"},
    {"@2012-01-31", "System.Date"},
    {"@2012T", "System.DateTime"},
    {"@2012-01-31T", "System.DateTime"},
    {"@2012-01-31T10+05:30", "System.DateTime"},
    {"@2012-01-31T10:20:30.456-11:00", "System.DateTime"},
    {"@T10", "System.Time"},
    {"@T10:20:30.456", "System.Time"},
    {"5.0 'mg'", "System.Quantity"},
    {"5 '1'", "System.Quantity"},
    {"1 year", "System.Quantity"},
    {"4 days", "System.Quantity"},
    {"0.5 weeks", "System.Quantity"},
    {"1 'mg':2 'mL'", "System.Ratio"},
    {"Code {:}", "System.Code"},
    {"Code { code: 'x', system: 'http://s', version: '1', display: 'it\\'s' }", "System.Code"},
    {"Concept { codes: { } }", "System.Concept"},
    {"Concept { codes: { Code { code: 'x' }, Code { code: 'y' } }, display: 'both' }",
     "System.Concept"},
    {"Interval[1, 5)", "Interval<System.Integer>"},
    {"Interval(null, @2012-01-01]", "Interval<System.Date>"},
    {"Interval[null, null]", "Interval<System.Any>"},
    {"{ }", "List<System.Any>"},
    {"{ 1, null, 2 }", "List<System.Integer>"},
    {"{ 1, 'a' }", "List<System.Any>"},
    {"{ { 1 }, { 2 } }", "List<List<System.Integer>>"},
    {"{ null }", "List<System.Any>"},
    {"Tuple { a: 1, \"odd name\": 'x' }",
     "Tuple { a: System.Integer, \"odd name\": System.String }"},
    {"Tuple {:}", "Tuple { }"},
};

static void test_round_trip(void **state)
{
    (void)state;
    og_buf out;
    og_buf_init(&out, 1 << 16);
    for (size_t i = 0; i < COUNT(values); i++) {
        cql_value v = literal(values[i].literal);
        og_buf_clear(&out);
        cql_value_format(&out, v);
        assert_string_equal(out.p, values[i].literal);
        og_buf_clear(&out);
        cql_value_type(&out, v);
        assert_string_equal(out.p, values[i].type);
    }
    og_buf_done(&out);
}

/* Other ways to write a value lead to the same text. */
static void test_other_forms(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {" 007 ", "7"},
        {"+5", "5"},
        {"5 year", "5 years"},
        {"1 days", "1 day"},
        {"1 'day'", "1 day"},
        {"@2012-01-01T10:00Z", "@2012-01-01T10:00+00:00"},
        {"@T10:00:00.5", "@T10:00:00.500"},
        {"@T10:00:00.12345", "@T10:00:00.123"},
        {"1 : 8", "1 '1':8 '1'"},
        {"5.999999999 'g'", "6.00000000 'g'"},
        {"'\\u0048\\u0069'", "'Hi'"},
        {"'\\ud83d\\ude00'", "'\xf0\x9f\x98\x80'"},
        {"'\\/\\`\\\"'", "'/`\"'"},
        {"{1,2}", "{ 1, 2 }"},
        {"Tuple{a:1}", "Tuple { a: 1 }"},
        {"28 days", "28 days"},
        {"35.5", "35.5"},
        {"Interval[1,2]", "Interval[1, 2]"},
        {"-1.5 'mg'", "-1.5 'mg'"},
        {"Concept { codes: Code { code: 'x' } }", "Concept { codes: { Code { code: 'x' } } }"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[512];
        value_text(literal(cases[i][0]), text, sizeof text);
        assert_string_equal(text, cases[i][1]);
    }
}

static void test_instances(void **state)
{
    (void)state;
    static const og_str names[] = {{"value", 5}};
    cql_value item = cql_integer(1);
    cql_tuple t = {{"{http://hl7.org/fhir}Quantity", 29}, names, &item, 1};
    cql_value v = {.kind = CQL_TUPLE, .tuple = &t};
    og_buf out;
    og_buf_init(&out, 1 << 16);
    cql_value_format(&out, v);
    assert_string_equal(out.p, "FHIR.Quantity { value: 1 }");
    og_buf_clear(&out);
    cql_value_type(&out, v);
    assert_string_equal(out.p, "FHIR.Quantity");
    t.type_name = OG_STR("{urn:hl7-org:elm-types:r1}Quantity");
    og_buf_clear(&out);
    cql_value_type(&out, v);
    assert_string_equal(out.p, "System.Quantity");
    cql_setref set = {OG_STR("http://v"), OG_STR("1"), OG_STR("V"), NULL};
    v = (cql_value){.kind = CQL_VALUESET, .setref = &set};
    og_buf_clear(&out);
    cql_value_format(&out, v);
    assert_string_equal(out.p, "ValueSet { id: 'http://v', version: '1', name: 'V' }");
    og_buf_done(&out);
}

static void test_elements(void **state)
{
    (void)state;
    static const char json[] = "{\"resourceType\":\"Observation\",\"id\":\"o1\",\"status\":"
                               "\"final\",\"valueDecimal\":1.50}";
    fhir_doc doc;
    fhir_resource r;
    assert_int_equal(fhir_decode(test_arena, OG_STR(json), NULL, &doc, NULL), OG_OK);
    assert_int_equal(fhir_resource_of(fhir_root(&doc), &r, NULL), OG_OK);
    cql_value root = cql_element_root(test_arena, &r);
    og_buf out;
    og_buf_init(&out, 1 << 16);
    cql_value_format(&out, root);
    assert_string_equal(out.p, json);
    og_buf_clear(&out);
    cql_value_type(&out, root);
    assert_string_equal(out.p, "FHIR.Observation");
    og_buf_clear(&out);
    cql_value_format(&out, cql_element_step(test_arena, root, OG_STR("status")));
    assert_string_equal(out.p, "\"final\"");
    og_buf_done(&out);
}

/* A buffer that is too small fails, and nothing else happens. */
static void test_small_buffer(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(values); i++) {
        cql_value v = literal(values[i].literal);
        og_buf out;
        for (size_t max = 0; max < strlen(values[i].literal); max++) {
            og_buf_init(&out, max);
            cql_value_format(&out, v);
            assert_true(og_buf_failed(&out));
            og_buf_done(&out);
        }
    }
}

/* Every operator survives any one kind of argument, whatever its number of arguments. */
static void test_every_operator_takes_every_kind(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t min, max;
        cql_op op;
    } ops[] = {
#define OP(node, least, most, function) {#node, least, most, function},
#include "rules/cql/operators.def"
#undef OP
    };
    for (size_t k = 0; k < COUNT(ops); k++)
        for (size_t i = 0; i < COUNT(values); i++)
            for (size_t j = 0; j<COUNT(values); j += ops[k].max> 1 ? 1 : COUNT(values))
                for (int p = 0; p <= OG_MILLISECOND; p += OG_DAY) {
                    og_error err;
                    cql_op_context c = test_context(&err);
                    c.precision = (uint8_t)p;
                    cql_value args[8];
                    size_t n = ops[k].min > 2 ? ops[k].min : ops[k].max < 2 ? ops[k].max : 2;
                    for (size_t a = 0; a < 8; a++)
                        args[a] = literal(a == 1 ? values[j].literal : values[i].literal);
                    cql_value v = ops[k].op(&c, args, n);
                    if (err.status != OG_OK && !cql_is_null(v))
                        fail_msg("%s: an error and a value", ops[k].name);
                    og_arena_reset(test_arena);
                }
}

/* Memory runs out at every possible point: the result is null, and nothing else happens. */
static void test_every_operator_without_memory(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        cql_op op;
        const char *args[3];
    } cases[] = {
#define WITHOUT_MEMORY(op, ...)                                                                    \
    {                                                                                              \
#op, cql_op_##op,                                                                          \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
        WITHOUT_MEMORY(Add, "1 'g'", "1 'mg'"),
        WITHOUT_MEMORY(Multiply, "1 'g'", "2 'cm'"),
        WITHOUT_MEMORY(Divide, "1 'g'", "2 'cm'"),
        WITHOUT_MEMORY(Negate, "1 'g'"),
        WITHOUT_MEMORY(DurationBetween, "@2012", "@2014"),
        WITHOUT_MEMORY(Equal, "Interval(1, null)", "Interval[2, 7)"),
        WITHOUT_MEMORY(Equivalent, "1:100", "10:1000"),
        WITHOUT_MEMORY(Union, "Interval[1 'g', 5 'g')", "Interval(3 'g', 7 'g']"),
        WITHOUT_MEMORY(Except, "Interval[1 'g', 5 'g')", "Interval(3 'g', 7 'g']"),
        WITHOUT_MEMORY(Overlaps, "Interval(1, null)", "Interval(null, 7)"),
        WITHOUT_MEMORY(Collapse, "{ Interval[1, 4], Interval(2, 6), Interval[9, 12] }", "1 '1'"),
        WITHOUT_MEMORY(Expand, "{ Interval[1, 40], Interval[20, 60] }", "1 '1'"),
        WITHOUT_MEMORY(Expand, "Interval[@2012, @2040]"),
        WITHOUT_MEMORY(Split, "'a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p'", "','"),
        WITHOUT_MEMORY(SplitOnMatches, "'a1b2c3d4e5f6g7h8i9j0k'", "'[0-9]'"),
        WITHOUT_MEMORY(ReplaceMatches, "'aaaa'", "'a'", "'$0$0'"),
        WITHOUT_MEMORY(Combine, "{ 'a', 'b', 'c' }", "', '"),
        WITHOUT_MEMORY(Upper, "'abc'"),
        WITHOUT_MEMORY(ToString, "1 'g':2 'mL'"),
        WITHOUT_MEMORY(ToRatio, "'1:2'"),
        WITHOUT_MEMORY(ToConcept, "{ Code { code: 'x' }, Code { code: 'y' } }"),
        WITHOUT_MEMORY(ToList, "1"),
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        cql_value args[3] = {CQL_NULL_VALUE};
        size_t n = 0;
        for (; n < 3 && cases[i].args[n] != NULL; n++)
            args[n] = literal(cases[i].args[n]);
        for (size_t limit = 0; limit < 20000; limit += limit < 1000 ? 16 : 500) {
            og_arena *small = og_arena_new(limit);
            og_error err;
            cql_op_context c = test_context(&err);
            c.arena = small;
            c.precision = OG_DAY;
            cql_value v = cases[i].op(&c, args, n);
            if (og_arena_failed(small) && cases[i].op != cql_op_Equal &&
                cases[i].op != cql_op_Equivalent && !cql_is_null(v))
                fail_msg("%s: a value in spite of no memory (%zu bytes)", cases[i].name, limit);
            og_arena_free(small);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_other_forms),
        cmocka_unit_test(test_instances),
        cmocka_unit_test(test_elements),
        cmocka_unit_test(test_small_buffer),
        cmocka_unit_test(test_every_operator_takes_every_kind),
        cmocka_unit_test(test_every_operator_without_memory),
    };
    return cmocka_run_group_tests(tests, arena_setup, arena_teardown);
}
