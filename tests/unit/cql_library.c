/* Loading and linking: what is refused, with which place; names, includes, versions, overloads. */
#include "elm.h"
#include "rules/cql/tree.h"

/* Loads and links a library; the first problem must be this text at this path. */
static void refused(const char *members, const char *text, const char *path)
{
    problems p = {0};
    cql_set *set = cql_set_new();
    og_report report = {.fn = keep_problem, .ctx = &p};
    og_status s = add_library(set, members, &p);
    if (s == OG_OK)
        s = cql_set_link(set, NULL, &report);
    assert_int_not_equal(s, OG_OK);
    assert_true(p.count > 0);
    if (strstr(p.first.text, text) == NULL)
        fail_msg("got \"%s\", not \"%s\"", p.first.text, text);
    assert_string_equal(p.first.path, path);
    cql_set_free(set);
}

static void refused_expression(const char *elm, const char *text, const char *path)
{
    og_buf b;
    og_buf_init(&b, (size_t)16 << 20);
    og_buf_addf(&b, "'statements':{'def':[{'name':'X','context':'Patient','expression':%s}]}", elm);
    og_buf_addc(&b, '\0');
    refused(b.p, text, path);
    og_buf_done(&b);
}

#define EXPRESSION "library.statements.def[0].expression"

static void malformed_elm_names_its_place(void **state)
{
    (void)state;
    refused_expression("5", "expression expected", EXPRESSION);
    refused_expression("{}", "expression without a type", EXPRESSION);
    refused_expression("{'type':'Frobnicate'}", "unknown ELM node Frobnicate", EXPRESSION);
    refused_expression("{'type':'Not','operand':{'type':'Frob'}}", "unknown ELM node Frob",
                       EXPRESSION ".operand");
    refused_expression("{'type':'Add','operand':[$I(1),{'type':'Frob'}]}", "unknown ELM node Frob",
                       EXPRESSION ".operand[1]");
    refused_expression("{'type':'Add','operand':[$I(1)]}", "Add has 1 operands", EXPRESSION);
    refused_expression("{'type':'And','operand':[$B(true)]}", "And has 1 operands", EXPRESSION);
    refused_expression("{'type':'If','condition':$B(true),'then':$I(1)}", "else is missing",
                       EXPRESSION ".else");
    refused_expression("{'type':'Property','source':$I(1)}", "Property without a path", EXPRESSION);
    refused_expression("{'type':'Property','source':$I(1),'path':'a..b'}", "'a..b' is no path",
                       EXPRESSION);
    refused_expression("{'type':'Property','source':$I(1),'path':'a[x]'}", "'a[x]' is no path",
                       EXPRESSION);
    refused_expression("{'type':'Query','source':[]}", "query without a source", EXPRESSION);
    refused_expression("{'type':'As','operand':$I(1)}", "As without a type", EXPRESSION);
    refused_expression("{'type':'As','operand':$I(1),'asType':'{x}Y'}", "unknown type {x}Y",
                       EXPRESSION ".asType");
    refused_expression("{'type':'Retrieve','dataType':$F(Nothing)}", "is no FHIR R4 resource type",
                       EXPRESSION);
    refused_expression("{'type':'Retrieve','dataType':$F(Quantity)}", "is no FHIR R4 resource type",
                       EXPRESSION);
    refused_expression("{'type':'DurationBetween','precision':'Eon','operand':[$I(1),$I(2)]}",
                       "unknown precision Eon", EXPRESSION ".precision");
    refused_expression("{'type':'ExpressionRef'}", "ExpressionRef without a name", EXPRESSION);
    refused_expression("{'type':'ExpressionRef','name':7}", "text expected", EXPRESSION ".name");
    refused("'statements':{'def':[{'context':'Patient','expression':$I(1)}]}",
            "definition without a name", "library.statements.def[0]");
    refused("'statements':{'def':[{'name':'X'}]}", "expression is missing",
            "library.statements.def[0].expression");
    refused(
        "'statements':{'def':[{'name':'X','expression':$I(1)},{'name':'X','expression':$I(2)}]}",
        "X is defined twice", "library.statements.def[1]");
    refused("'usings':{'def':[{'localIdentifier':'Q','uri':'urn:other'}]}",
            "data model urn:other is not supported", "library.usings.def[0]");
    refused("'usings':{'def':[{'localIdentifier':'FHIR','uri':'http://hl7.org/"
            "fhir','version':'3.0.0'}]}",
            "FHIR 3.0.0 is not supported", "library.usings.def[0]");
    refused(
        "'annotation':[{'type':'CqlToElmError','message':'no such thing','errorSeverity':'error'}]",
        "the translator reported: no such thing", "library.annotation[0]");
}

static void literals_are_checked_when_loaded(void **state)
{
    (void)state;
    refused_expression("$I(2147483648)", "'2147483648' is no Integer", EXPRESSION);
    refused_expression("$I(-2147483649)", "is no Integer", EXPRESSION);
    refused_expression("$I(1.0)", "is no Integer", EXPRESSION);
    refused_expression("$I()", "is no Integer", EXPRESSION);
    refused_expression("$D(0.000000001)", "is no Decimal", EXPRESSION);
    refused_expression("$D(10000000000000000000000000000)", "is no Decimal", EXPRESSION);
    refused_expression("$B(yes)", "is no Boolean", EXPRESSION);
    refused_expression("{'type':'Literal','valueType':'x','value':'1'}",
                       "literal of unknown type x", EXPRESSION);
    refused_expression("{'type':'Quantity','unit':'mg'}", "quantity without a number", EXPRESSION);
    check_expression("$I(2147483647)", "2147483647");
    check_expression("$I(-2147483648)", "-2147483648");
    check_expression("{'type':'Negate','operand':$I(2147483648)}", "-2147483648");
    check_expression("$D(9999999999999999999999999999.99999999)",
                     "9999999999999999999999999999.99999999");
    check_expression("$D(1.10)", "1.10");
    /* Exact, although a JSON reader that makes a double of it would say 0.1000000000000000055. */
    check_expression("{'type':'Quantity','value':0.1,'unit':'mg'}", "0.1 'mg'");
    check_expression("{'type':'Quantity','value':28,'unit':'days'}", "28 days");
}

static void unknown_names_are_link_errors(void **state)
{
    (void)state;
    refused_expression("$R(Y)", "unknown define \"Y\"", "X");
    refused_expression("{'type':'ExpressionRef','name':'Y','libraryName':'L'}",
                       "unknown define \"L.Y\"", "X");
    refused_expression("$R(X)", "X refers to itself", "X");
    refused_expression("$A(a)", "unknown name a", "X");
    refused_expression("$O(a)", "unknown name a", "X");
    refused_expression("{'type':'ParameterRef','name':'p'}", "unknown parameter \"p\"", "X");
    refused_expression("{'type':'ValueSetRef','name':'v'}", "unknown valueset \"v\"", "X");
    refused_expression("{'type':'CodeRef','name':'c'}", "unknown code \"c\"", "X");
    refused_expression("{'type':'FunctionRef','name':'f','operand':[$I(1)]}",
                       "unknown function f with 1 arguments", "X");
    refused_expression("{'type':'Current'}", "no loop to refer to", "X");
    refused_expression("{'type':'Property','path':'a'}", "Property without source or scope", "X");
    refused(
        "'statements':{'def':[{'name':'X','expression':$R(Y)},{'name':'Y','expression':$R(X)}]}",
        "X refers to itself", "Y");
    refused("'includes':{'def':[{'localIdentifier':'L','path':'Other','version':'2'}]}",
            "included library Other version 2 is not there", "");
    refused("'valueSets':{'def':[{'name':'v','id':'urn:v'}]},'statements':{'def':[{'name':'X',"
            "'expression':{'type':'ValueSetRef','name':'v','preserve':true}}]}",
            "value set v (urn:v) is not there", "");
}

static void errors_are_all_reported(void **state)
{
    (void)state;
    problems p = {0};
    cql_set *set = cql_set_new();
    assert_int_equal(
        add_library(
            set,
            "'statements':{'def':[{'name':'A','expression':{'type':'Q1'}},"
            "{'name':'B','expression':{'type':'Add','operand':[{'type':'Q2'},{'type':'Q3'}]}}]}",
            &p),
        OG_UNSUPPORTED);
    assert_int_equal(p.count, 3);
    assert_int_equal(cql_set_count(set), 0);
    cql_set_free(set);
}

static void broken_json_has_line_and_column(void **state)
{
    (void)state;
    problems p = {0};
    og_report report = {.fn = keep_problem, .ctx = &p};
    cql_set *set = cql_set_new();
    assert_int_equal(
        cql_set_add(set, OG_STR("{\"library\":\n  {\"x\": }}"), "broken.json", &report), OG_SYNTAX);
    assert_int_equal(p.first.line, 2);
    assert_int_equal(p.first.column, 9);
    assert_string_equal(p.first.origin, "broken.json");
    p = (problems){0};
    assert_int_equal(cql_set_add(set, OG_STR("{\"resourceType\":\"Patient\"}"), "p.json", &report),
                     OG_INVALID);
    assert_int_equal(p.count, 1);
    p = (problems){0};
    assert_int_not_equal(cql_set_add(set, OG_STR("[]"), "p.json", &report), OG_OK);
    assert_int_not_equal(cql_set_add(set, OG_STR(""), "p.json", &report), OG_OK);
    assert_int_not_equal(cql_set_add(set, OG_STR("{\"library\":7}"), "p.json", &report), OG_OK);
    cql_set_free(set);
}

static void deep_nesting_is_an_error(void **state)
{
    (void)state;
    problems p = {0};
    cql_set *set = cql_set_new();
    og_buf b;
    og_buf_init(&b, (size_t)16 << 20);
    og_buf_addz(&b, "{'name':'X','expression':");
    for (int i = 0; i < 1500; i++)
        og_buf_addz(&b, "{'type':'Not','operand':");
    og_buf_addz(&b, "$B(true)");
    for (int i = 0; i < 1500; i++)
        og_buf_addz(&b, "}");
    og_buf_addz(&b, "}");
    og_buf_addc(&b, '\0');
    assert_int_equal(add_defs(set, b.p, &p), OG_LIMIT);
    assert_non_null(strstr(p.first.text, "nested deeper than 1000"));
    og_buf_done(&b);
    cql_set_free(set);
}

static void includes_go_by_name_and_version(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
    assert_int_equal(
        add_elm(
            f->set,
            "{'library':{'identifier':{'id':'Main','version':'1'},'includes':{'def':["
            "{'localIdentifier':'Old','path':'Lib','version':'2.9.0'},"
            "{'localIdentifier':'New','path':'Lib'},"
            "{'localIdentifier':'Far','path':'urn:ns/Lib','version':'1'}]},"
            "'statements':{'def':[{'name':'O','expression':{'type':'ExpressionRef','name':'V','"
            "libraryName':'Old'}},"
            "{'name':'N','expression':{'type':'ExpressionRef','name':'V','libraryName':'New'}},"
            "{'name':'F','expression':{'type':'ExpressionRef','name':'V','libraryName':'Far'}}]}}}",
            &p),
        OG_OK);
    static const char *const versions[] = {"2.9.0", "2.10.0", "2.9.11"};
    for (int i = 0; i < 3; i++) {
        char text[300];
        snprintf(text, sizeof text,
                 "{'library':{'identifier':{'id':'Lib','version':'%s'},'statements':{'def':["
                 "{'name':'V','expression':$S(%s)}]}}}",
                 versions[i], versions[i]);
        assert_int_equal(add_elm(f->set, text, &p), OG_OK);
    }
    assert_int_equal(
        add_elm(f->set,
                "{'library':{'identifier':{'id':'Lib','system':'urn:ns','version':'1'},"
                "'statements':{'def':[{'name':'V','expression':$S(far)}]}}}",
                &p),
        OG_OK);
    /* The same library once more is an error. */
    assert_int_equal(
        add_elm(f->set, "{'library':{'identifier':{'id':'Lib','version':'2.9.0'}}}", &p),
        OG_INVALID);
    start(f);
    assert_string_equal(value_of(f, "O"), "'2.9.0'");
    assert_string_equal(value_of(f, "N"), "'2.10.0'");
    assert_string_equal(value_of(f, "F"), "'far'");
    fixture_free(f);
}

static void private_definitions_stay_inside(void **state)
{
    (void)state;
    problems p = {0};
    og_report report = {.fn = keep_problem, .ctx = &p};
    cql_set *set = cql_set_new();
    assert_int_equal(
        add_library(
            set,
            "'includes':{'def':[{'localIdentifier':'L','path':'Lib'}]},'statements':{'def':["
            "{'name':'X','expression':{'type':'ExpressionRef','name':'P','libraryName':'L'}}]}",
            &p),
        OG_OK);
    assert_int_equal(
        add_elm(set,
                "{'library':{'identifier':{'id':'Lib'},'statements':{'def':[{'name':'P',"
                "'accessLevel':'Private','expression':$I(1)}]}}}",
                &p),
        OG_OK);
    assert_int_equal(cql_set_link(set, NULL, &report), OG_NOTFOUND);
    assert_non_null(strstr(p.first.text, "private define \"L.P\""));
    cql_set_free(set);
}

static void defines_come_in_source_order(void **state)
{
    (void)state;
    problems p = {0};
    cql_set *set = cql_set_new();
    assert_int_equal(
        add_defs(
            set,
            "{'name':'Patient','expression':$I(0)},"
            "{'name':'C','locator':'30:1-31:4','expression':$I(1)},"
            "{'name':'A','locator':'5:1-5:9','expression':$I(1)},"
            "{'name':'F','type':'FunctionDef','locator':'6:1-6:2','operand':[],'expression':$I(1)},"
            "{'name':'B','locator':'5:10-6:2','expression':$I(1)}",
            &p),
        OG_OK);
    const cql_library *lib = cql_set_at(set, 0);
    char order[20] = "";
    for (size_t i = 0; i < cql_library_define_count(lib); i++)
        strncat(order, cql_define_name(cql_library_define_at(lib, i)).p, 1);
    assert_string_equal(order, "PABC");
    cql_set_free(set);
}

static void fhir_library_carries_elm(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
    og_report report = {.fn = keep_problem, .ctx = &p};
    /* {"library":{"identifier":{"id":"T"},"statements":{"def":[{"name":"X","expression":{"type":"Null"}}]}}}
     */
    static const char text[] =
        "{\"resourceType\":\"Library\",\"content\":[{\"contentType\":\"text/"
        "cql\",\"data\":\"eA==\"},"
        "{\"contentType\":\"application/elm+json\",\"data\":\""
        "eyJsaWJyYXJ5Ijp7ImlkZW50aWZpZXIiOnsiaWQiOiJUIn0sInN0YXRlbWVudHMiOnsiZGVmIjpbeyJu"
        "YW1lIjoiWCIsImV4cHJlc3Npb24iOnsidHlwZSI6Ik51bGwifX1dfX19\"}]}";
    assert_int_equal(cql_set_add(f->set, og_str_of(text), "lib.json", &report), OG_OK);
    start(f);
    assert_string_equal(value_of(f, "X"), "null");
    fixture_free(f);

    cql_set *set = cql_set_new();
    assert_int_equal(
        cql_set_add(set,
                    OG_STR("{\"resourceType\":\"Library\",\"content\":[{\"contentType\":"
                           "\"application/elm+json\",\"data\":\"*\"}]}"),
                    "lib.json", &report),
        OG_INVALID);
    assert_string_equal(p.first.path, "content[0].data");
    p = (problems){0};
    assert_int_equal(cql_set_add(set, OG_STR("{\"resourceType\":\"Library\",\"content\":[]}"),
                                 "lib.json", &report),
                     OG_UNSUPPORTED);
    cql_set_free(set);
}

static void dialects_are_understood(void **state)
{
    (void)state;
    /* Empty arrays present (older translators) or absent, operand for source. */
    check_expression("{'type':'Query','source':[{'alias':'A','expression':{'type':'List','element':"
                     "[$I(1),$I(1)]}}],'let':[],'relationship':[],'annotation':[],'signature':[]}",
                     "{ 1, 1 }");
    check_expression("{'type':'Query','source':[{'alias':'A','expression':{'type':'List','element':"
                     "[$I(1),$I(1)]}}]}",
                     "{ 1, 1 }");
    check_expression("{'type':'Count','operand':{'type':'List','element':[$I(1)]}}", "1");
    check_expression("{'type':'Count','source':{'type':'List','element':[$I(1),{'type':'Null'}]}}",
                     "1");
    check_expression("{'type':'As','asType':$T(Integer),'operand':$I(1)}", "1");
    check_expression(
        "{'type':'As','asTypeSpecifier':{'type':'NamedTypeSpecifier','name':$T(Integer)},"
        "'operand':$I(1)}",
        "1");
    check_expression(
        "{'type':'Is','operand':{'type':'Tuple','element':[{'name':'a','value':$I(1)}]},"
        "'isTypeSpecifier':{'type':'TupleTypeSpecifier','element':[{'name':'a','type':"
        "{'type':'NamedTypeSpecifier','name':$T(Integer)}}]}}",
        "true");
}

static char *read_shared(const char *path, size_t *ret_size)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return NULL;
    char *text = malloc((size_t)8 << 20);
    assert_non_null(text);
    *ret_size = fread(text, 1, (size_t)8 << 20, f);
    fclose(f);
    return text;
}

/* How many functions of the published FHIRHelpers are carried out natively, after from has become
 * to. */
static unsigned native_functions(const char *elm, size_t size, const char *from, const char *to)
{
    problems p = {0};
    og_report report = {.fn = keep_problem, .ctx = &p};
    cql_set *set = cql_set_new();
    unsigned n = 0;
    char *copy = malloc(size + 1);
    assert_non_null(copy);
    memcpy(copy, elm, size);
    copy[size] = '\0';
    for (char *at = strstr(copy, from); at != NULL; at = strstr(at + 1, from))
        memcpy(at, to, strlen(to));
    assert_int_equal(cql_set_add(set, (og_str){copy, size}, "FHIRHelpers.json", &report), OG_OK);
    const cql_library *lib = cql_set_at(set, 0);
    for (size_t i = 0; i < lib->all_count; i++)
        n += lib->all[i]->native != NULL;
    cql_set_free(set);
    free(copy);
    return n;
}

static void published_helpers_are_recognised_by_their_bodies(void **state)
{
    static const char path[] = OG_SHARED_DATA "/cql/statin-use/libraries/FHIRHelpers.json";
    size_t size = 0;
    char *elm = read_shared(path, &size);
    (void)state;
    if (elm == NULL) {
        print_message("skipped: %s is not there\n", path);
        skip();
    }
    assert_int_equal(native_functions(elm, size, "\"x\"", "\"x\""), 8);
    /* A body that says anything else is nobody's, and so is a library of another name. */
    assert_int_equal(native_functions(elm, size, "\"numerator\"", "\"numerat0r\""), 7);
    assert_int_equal(native_functions(elm, size, "\"FHIRHelpers\"", "\"MyOwnHelper\""), 0);
    free(elm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_elm_names_its_place),
        cmocka_unit_test(literals_are_checked_when_loaded),
        cmocka_unit_test(unknown_names_are_link_errors),
        cmocka_unit_test(errors_are_all_reported),
        cmocka_unit_test(broken_json_has_line_and_column),
        cmocka_unit_test(deep_nesting_is_an_error),
        cmocka_unit_test(includes_go_by_name_and_version),
        cmocka_unit_test(private_definitions_stay_inside),
        cmocka_unit_test(defines_come_in_source_order),
        cmocka_unit_test(fhir_library_carries_elm),
        cmocka_unit_test(dialects_are_understood),
        cmocka_unit_test(published_helpers_are_recognised_by_their_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
