/* Evaluation: logic and its errors, conditions, types, selectors, references, calls, memory of
 * definitions, limits, parameters, evidence. Operators have tests of their own. */
#include "elm.h"

#define NULL_B "{'type':'As','asType':$T(Boolean),'operand':{'type':'Null'}}"
#define FAILS  "{'type':'SingletonFrom','operand':{'type':'List','element':[$B(true),$B(true)]}}"
#define BOOM   "!singleton from: the list has 2 elements"

static void logic_has_three_values(void **state)
{
    (void)state;
    static const char *const operands[] = {"$B(true)", "$B(false)", NULL_B};
    static const struct {
        const char *op, *result[9]; /* rows true, false, null; columns true, false, null */
    } tables[] = {
        {"And", {"true", "false", "null", "false", "false", "false", "null", "false", "null"}},
        {"Or", {"true", "true", "true", "true", "false", "null", "true", "null", "null"}},
        {"Xor", {"false", "true", "null", "true", "false", "null", "null", "null", "null"}},
        {"Implies", {"true", "false", "null", "true", "true", "true", "true", "null", "null"}},
    };
    for (size_t t = 0; t < 4; t++) {
        for (int i = 0; i < 9; i++) {
            char elm[600];
            snprintf(elm, sizeof elm, "{'type':'%s','operand':[%s,%s]}", tables[t].op,
                     operands[i / 3], operands[i % 3]);
            check_expression(elm, tables[t].result[i]);
        }
    }
}

/* CQL 1.5, Author's Guide: implementations must not change semantics with short-circuit evaluation.
 */
static void order_of_operands_does_not_hide_errors(void **state)
{
    (void)state;
    check_expression("{'type':'And','operand':[$B(false)," FAILS "]}", BOOM);
    check_expression("{'type':'And','operand':[" FAILS ",$B(false)]}", BOOM);
    check_expression("{'type':'Or','operand':[$B(true)," FAILS "]}", BOOM);
    check_expression("{'type':'Or','operand':[" FAILS ",$B(true)]}", BOOM);
    check_expression("{'type':'Implies','operand':[$B(false)," FAILS "]}", BOOM);
    /* Conditions are evaluated one branch only. */
    check_expression("{'type':'If','condition':$B(true),'then':$I(1),'else':" FAILS "}", "1");
    check_expression("{'type':'If','condition':" NULL_B ",'then':" FAILS ",'else':$I(2)}", "2");
    check_expression("{'type':'Coalesce','operand':[$B(true)," FAILS "]}", "true");
}

/* Of an operand that decides nothing only what may fail is evaluated, wherever in it that stands,
 * and as it would be: of a condition one branch, of a function its arguments. */
static void what_decides_nothing_is_asked_for_errors(void **state)
{
    static const char safe[] = "{'type':'Equal','operand':[$I(1),$I(2)]}";
    static const char *const around[] = {
        "%s",
        "{'type':'Not','operand':%s}",
        "{'type':'IsNull','operand':%s}",
        "{'type':'Or','operand':[$B(true),%s]}",
        "{'type':'And','operand':[%s,$B(false)]}",
        "{'type':'Implies','operand':[$B(false),%s]}",
        "{'type':'Equal','operand':[$B(true),%s]}",
        "{'type':'Is','isType':$T(Integer),'operand':%s}",
        "{'type':'As','asType':$T(Boolean),'operand':%s}",
        "{'type':'Exists','operand':{'type':'List','element':[$B(true),%s]}}",
        ("{'type':'Property','path':'a','source':{'type':'Tuple','element':[{'name':'a','value':%s}"
         "]}}"),
        "{'type':'If','condition':$B(true),'then':%s,'else':$B(true)}",
        "{'type':'If','condition':%s,'then':$B(true),'else':$B(true)}",
        "{'type':'FunctionRef','name':'Same','operand':[%s]}",
        "{'type':'FunctionRef','name':'Only','operand':[{'type':'List','element':[$B(true),%s]}]}",
        "{'type':'Coalesce','operand':[%s,$B(true)]}",
    };
    static const char defs[] =
        "{'name':'Same','type':'FunctionDef','context':'Patient','operand':[{'name':'x',"
        "'operandTypeSpecifier':{'type':'NamedTypeSpecifier','name':$T(Boolean)}}],'expression':"
        "$O(x)},"
        "{'name':'Only','type':'FunctionDef','context':'Patient','operand':[{'name':'x',"
        "'operandTypeSpecifier':{'type':'ListTypeSpecifier','elementType':{'type':"
        "'NamedTypeSpecifier','name':$T(Boolean)}}}],'expression':{'type':'SingletonFrom',"
        "'operand':$O(x)}},"
        "{'name':'Good','context':'Patient','expression':{'type':'And','operand':[$B(false),{"
        "'type':'Or','operand':[{'type':'SingletonFrom','operand':{'type':'List','element':[%s]}},"
        "%s]}]}},"
        "{'name':'X','context':'Patient','expression':{'type':'And','operand':[$B(false),%s]}}";
    (void)state;
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        fixture *f = fixture_new();
        problems p = {0};
        char part[1000], text[4000];
        snprintf(part, sizeof part, around[i], FAILS);
        snprintf(text, sizeof text, defs, safe, safe, part);
        assert_int_equal(add_defs(f->set, text, &p), OG_OK);
        start(f);
        assert_string_equal(value_of(f, "X"), BOOM);
        uint64_t before = cql_run_steps(f->run);
        assert_string_equal(value_of(f, "Good"), "false");
        assert_int_equal(cql_run_steps(f->run) - before, 4); /* and, singleton, list, equal */
        fixture_free(f);
    }
    check_expression("{'type':'And','operand':[$B(false),{'type':'If','condition':$B(true),'then':"
                     "$B(true),'else':" FAILS "}]}",
                     "false");
}

/* 0: no other value on this day; -1: nobody can say. */
static void it_is_known_when_now_gives_another_value(void **state)
{
#define NOW           "{'type':'Now'}"
#define AT(moment)    "{'type':'ToDateTime','operand':$S(" moment ")}"
#define CMP(op, a, b) "{'type':'" op "','operand':[" a "," b "]}"
    static const struct {
        const char *elm, *value;
        int64_t after_ms;
    } table[] = {
        {"{'type':'Today'}", "@2024-03-01", 0},
        {CMP("Greater", AT("2024-03-01T12:00:00.001Z"), NOW), "true", 1},
        {CMP("Greater", NOW, AT("2024-03-01T14:30:00+01:00")), "false", 5400000},
        {CMP("Less", NOW, AT("2024-03-01T13:30:00Z")), "true", 5400000},
        {CMP("LessOrEqual", NOW, AT("2024-03-01T13:30:00Z")), "true", 5400000},
        {CMP("LessOrEqual", NOW, AT("2024-03-01T12:00:00.000Z")), "true", 1},
        {CMP("GreaterOrEqual", AT("2024-03-01T12:00:00Z"), NOW), "true", 1},
        {CMP("Greater", AT("2024-03-01T11:59:59.999Z"), NOW), "false", 0},
        {CMP("Less", AT("2024-03-01"), NOW), "null", 0},
        {CMP("Less", AT("2024-02"), NOW), "true", 0},
        {CMP("Less", "{'type':'Null'}", NOW), "null", 0},
        {"{'type':'TimezoneOffsetFrom','operand':" NOW "}", "0.0", 0},
        /* both are asked */
        {"{'type':'Or','operand':[" CMP("Less", NOW, AT("2024-03-01T13:00:00Z")) "," CMP(
             "Less", NOW, AT("2024-03-01T12:00:01Z")) "]}",
         "true", 3600000},
        {"{'type':'And','operand':[" CMP("Less", NOW, AT("2024-03-01T13:00:00Z")) "," CMP(
             "Less", NOW, AT("2024-03-01T12:00:01Z")) "]}",
         "true", 1000},
        {NOW, "@2024-03-01T12:00:00.000+00:00", -1},
        {"{'type':'TimeOfDay'}", "@T12:00:00.000", -1},
        {"{'type':'DateFrom','operand':" NOW "}", "@2024-03-01", -1},
        {CMP("Greater", NOW, CMP("Subtract", NOW, "{'type':'Quantity','value':1,'unit':'day'}")),
         "true", -1},
        {CMP("Equal", NOW, AT("2024-03-01T13:30:00Z")), "false", -1},
        {"{'type':'CalculateAge','precision':'Year','operand':" AT("2000-03-01T13:00:00Z") "}",
         "23", -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        fixture *f = fixture_new();
        problems p = {0};
        char defs[2000];
        snprintf(defs, sizeof defs, "{'name':'X','context':'Patient','expression':%s}",
                 table[i].elm);
        assert_int_equal(add_defs(f->set, defs, &p), OG_OK);
        start(f);
        assert_true(cql_run_changes_ms(f->run) == INT64_MAX);
        assert_string_equal(value_of(f, "X"), table[i].value);
        int64_t want = table[i].after_ms > 0    ? AS_OF_MS + table[i].after_ms
                       : table[i].after_ms == 0 ? INT64_MAX
                                                : INT64_MIN;
        if (cql_run_changes_ms(f->run) != want)
            fail_msg("%s: %lld", table[i].elm, (long long)(cql_run_changes_ms(f->run) - AS_OF_MS));
        fixture_free(f);
    }
}

static void case_compares_or_tests(void **state)
{
    (void)state;
    check_expression("{'type':'Case','caseItem':[{'when':$B(false),'then':$I(1)},{'when':" NULL_B
                     ",'then':$I(2)},{'when':$B(true),'then':$I(3)}],'else':$I(4)}",
                     "3");
    check_expression("{'type':'Case','comparand':$S(b),'caseItem':[{'when':$S(a),'then':$I(1)},"
                     "{'when':$S(b),'then':$I(2)}],'else':$I(4)}",
                     "2");
    check_expression(
        "{'type':'Case','comparand':{'type':'Null'},'caseItem':[{'when':{'type':'Null'},"
        "'then':$I(1)}],'else':$I(4)}",
        "4");
    check_expression(
        "{'type':'Coalesce','operand':[{'type':'List','element':[{'type':'Null'},$I(7)]}]}", "7");
}

static void types_are_tested_and_cast(void **state)
{
    (void)state;
    check_expression("{'type':'Is','isType':$T(Integer),'operand':$I(1)}", "true");
    check_expression("{'type':'Is','isType':$T(Decimal),'operand':$I(1)}", "false");
    check_expression("{'type':'Is','isType':$T(Any),'operand':{'type':'Null'}}", "false");
    check_expression("{'type':'As','asType':$T(Decimal),'operand':$I(1)}", "null");
    check_expression("{'type':'As','asType':$T(Decimal),'strict':true,'operand':$I(1)}",
                     "!the value cannot be cast to System.Decimal");
    check_expression("{'type':'As','asType':$T(Decimal),'strict':true,'operand':{'type':'Null'}}",
                     "null");
    check_expression("{'type':'Is','isTypeSpecifier':{'type':'ListTypeSpecifier','elementType':"
                     "{'type':'NamedTypeSpecifier','name':$T(Integer)}},'operand':{'type':'List',"
                     "'element':[$I(1),{'type':'Null'}]}}",
                     "true");
    check_expression("{'type':'Is','isTypeSpecifier':{'type':'ChoiceTypeSpecifier','choice':["
                     "{'type':'NamedTypeSpecifier','name':$T(String)},"
                     "{'type':'NamedTypeSpecifier','name':$T(Integer)}]},'operand':$I(1)}",
                     "true");
    check_expression("{'type':'Convert','toType':$T(Decimal),'operand':$I(1)}", "1.0");
    check_expression("{'type':'Convert','toType':$T(Integer),'operand':$S(x)}", "null");
    check_expression("{'type':'CanConvert','toType':$T(Integer),'operand':$S(12)}", "true");
}

static void selectors_make_values(void **state)
{
    (void)state;
    check_expression(
        "{'type':'Interval','low':$I(1),'high':$I(5),'lowClosed':true,'highClosed':false}",
        "Interval[1, 5)");
    check_expression("{'type':'Interval','low':$I(1),'high':$I(5)}", "Interval[1, 5]");
    check_expression("{'type':'Interval','low':$I(5),'high':$I(3)}",
                     "!an interval ends before it starts");
    check_expression("{'type':'End','operand':{'type':'Interval','low':$I(1),'high':{'type':'As',"
                     "'asType':$T(Integer),'operand':{'type':'Null'}},'highClosed':true}}",
                     "2147483647");
    check_expression(
        "{'type':'Start','operand':{'type':'Interval','low':{'type':'As','asType':$T(Integer),"
        "'operand':{'type':'Null'}},'high':{'type':'As','asType':$T(Integer),'operand':"
        "{'type':'Null'}}}}",
        "-2147483648");
    check_expression("{'type':'Tuple','element':[{'name':'a','value':$I(1)},{'name':'b','value':"
                     "{'type':'Null'}}]}",
                     "Tuple { a: 1, b: null }");
    check_expression(
        "{'type':'Instance','classType':$T(Quantity),'element':[{'name':'value','value':"
        "$D(2.5)},{'name':'unit','value':$S(mg)}]}",
        "2.5 'mg'");
    check_expression(
        "{'type':'Instance','classType':$T(Quantity),'element':[{'name':'value','value':"
        "{'type':'Null'}},{'name':'unit','value':$S(mg)}]}",
        "null");
    check_expression(
        "{'type':'Property','path':'code','source':{'type':'Instance','classType':$T(Code),"
        "'element':[{'name':'code','value':$S(c)},{'name':'system','value':$S(s)}]}}",
        "'c'");
    check_expression(
        "{'type':'Property','path':'numerator.value','source':{'type':'Ratio','numerator':"
        "{'value':1,'unit':'mg'},'denominator':{'value':2,'unit':'mL'}}}",
        "1.0");
    check_expression(
        "{'type':'Property','path':'l[1]','source':{'type':'Tuple','element':[{'name':'l',"
        "'value':{'type':'List','element':[$I(4),$I(5)]}}]}}",
        "5");
    check_expression(
        "{'type':'Property','path':'l[2].x','source':{'type':'Tuple','element':[{'name':'l',"
        "'value':{'type':'List','element':[$I(4)]}}]}}",
        "null");
    check_expression("{'type':'Property','path':'nothing','source':$I(4)}", "null");
    check_expression(
        "{'type':'Length','operand':{'type':'As','asTypeSpecifier':{'type':"
        "'ListTypeSpecifier','elementType':{'type':'NamedTypeSpecifier','name':$T(Any)}},"
        "'operand':{'type':'Null'}}}",
        "0");
    check_expression("{'type':'Length','operand':{'type':'As','asType':$T(String),'operand':"
                     "{'type':'Null'}}}",
                     "null");
}

static void loops_have_item_index_and_total(void **state)
{
    (void)state;
#define LIST123 "{'type':'List','element':[$I(1),$I(2),$I(3)]}"
    check_expression("{'type':'ForEach','source':" LIST123
                     ",'element':{'type':'Multiply','operand':["
                     "{'type':'Current'},{'type':'Iteration'}]}}",
                     "{ 0, 2, 6 }");
    check_expression("{'type':'Filter','source':" LIST123
                     ",'condition':{'type':'Greater','operand':["
                     "{'type':'Current'},$I(1)]}}",
                     "{ 2, 3 }");
    check_expression("{'type':'Aggregate','source':" LIST123
                     ",'initialValue':$I(10),'iteration':{'type':"
                     "'Add','operand':[{'type':'Total'},{'type':'Current'}]}}",
                     "16");
    check_expression(
        "{'type':'Repeat','source':{'type':'List','element':[$I(1)]},'element':{'type':'If',"
        "'condition':{'type':'Less','operand':[{'type':'Current'},$I(4)]},'then':{'type':'List',"
        "'element':[{'type':'Add','operand':[{'type':'Current'},$I(1)]}]},'else':{'type':'Null'}}}",
        "{ 2, 3, 4 }");
    check_expression(
        "{'type':'ForEach','scope':'a','source':" LIST123 ",'element':{'type':'ForEach',"
        "'scope':'b','source':{'type':'List','element':[$I(10)]},'element':{'type':'Add',"
        "'operand':[{'type':'Current','scope':'a'},{'type':'Current','scope':'b'}]}}}",
        "{ { 11 }, { 12 }, { 13 } }");
    check_expression(
        "{'type':'Sum','path':'v','source':{'type':'List','element':[{'type':'Tuple','element':"
        "[{'name':'v','value':$I(2)}]},{'type':'Tuple','element':[{'name':'v','value':$I(3)}]}]}}",
        "5");
    check_expression(
        "{'type':'Descendents','source':{'type':'Tuple','element':[{'name':'a','value':{'type':"
        "'List','element':[$I(1),$I(2)]}}]}}",
        "{ 1, 2 }");
}

static void functions_are_chosen_by_type(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
#define OVERLOAD(type, text)                                                                       \
    "{'type':'FunctionDef','name':'f','operand':[{'name':'x','operandTypeSpecifier':{'type':"      \
    "'NamedTypeSpecifier','name':$T(" type ")}}],'expression':$S(" text ")}"
    assert_int_equal(
        add_defs(
            f->set,
            OVERLOAD("Integer", "integer") "," OVERLOAD("String", "string") "," OVERLOAD(
                "Any",
                "any") ","
                       "{'name':'S','expression':{'type':'FunctionRef','name':'f','signature':[{'"
                       "type':"
                       "'NamedTypeSpecifier','name':$T(String)}],'operand':[{'type':'Null'}]}},"
                       "{'name':'I','expression':{'type':'FunctionRef','name':'f','operand':[$I(1)]"
                       "}},"
                       "{'name':'D','expression':{'type':'FunctionRef','name':'f','operand':[{'"
                       "type':'First',"
                       "'source':{'type':'List','element':[$S(x)]}}]}},"
                       "{'name':'A','expression':{'type':'FunctionRef','name':'f','operand':[{'"
                       "type':'First',"
                       "'source':{'type':'List','element':[$B(true)]}}]}},"
                       /* recursion: 5! */
                       "{'type':'FunctionDef','name':'fact','operand':[{'name':'n','"
                       "operandTypeSpecifier':"
                       "{'type':'NamedTypeSpecifier','name':$T(Integer)}}],'expression':{'type':'"
                       "If','condition':"
                       "{'type':'Less','operand':[$O(n),$I(2)]},'then':$I(1),'else':{'type':'"
                       "Multiply','operand':"
                       "[$O(n),{'type':'FunctionRef','name':'fact','operand':[{'type':'Subtract','"
                       "operand':"
                       "[$O(n),$I(1)]}]}]}}},"
                       "{'name':'R','expression':{'type':'FunctionRef','name':'fact','operand':[$I("
                       "5)]}},"
                       "{'type':'FunctionDef','name':'forever','operand':[],'expression':{'type':'"
                       "FunctionRef',"
                       "'name':'forever','operand':[]}},"
                       "{'name':'Deep','locator':'9:1-9:20','expression':{'type':'FunctionRef','"
                       "name':'forever',"
                       "'operand':[]}}",
            &p),
        OG_OK);
    start(f);
    assert_string_equal(value_of(f, "S"), "'string'");
    assert_string_equal(value_of(f, "I"), "'integer'");
    assert_string_equal(value_of(f, "D"), "'string'");
    assert_string_equal(value_of(f, "A"), "'any'");
    assert_string_equal(value_of(f, "R"), "120");
    assert_string_equal(value_of(f, "Deep"), "!nested deeper than 1500");
    assert_int_equal(f->err.status, OG_LIMIT);
    assert_string_equal(f->err.origin, "T");
    assert_int_equal(f->err.line, 9);
    /* An error costs the define that has it, nothing else. */
    assert_string_equal(value_of(f, "R"), "120");
    fixture_free(f);
}

static void errors_name_library_define_and_place(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
    assert_int_equal(add_defs(f->set,
                              "{'name':'Uses','locator':'3:1-3:9','expression':$R(Bad)},"
                              "{'name':'Bad','locator':'5:1-6:20','expression':{'type':'"
                              "SingletonFrom','locator':'6:3-6:19',"
                              "'operand':{'type':'List','element':[$I(1),$I(2)]}}}",
                              &p),
                     OG_OK);
    start(f);
    for (int i = 0; i < 2; i++) { /* remembered: the same again */
        char line[400];
        assert_string_equal(value_of(f, "Uses"), BOOM);
        og_error_format(&f->err, line, sizeof line);
        assert_string_equal(line, "T:6:3: error: singleton from: the list has 2 elements (at Bad)");
    }
    fixture_free(f);
}

static void defines_are_evaluated_once(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
    assert_int_equal(add_defs(f->set,
                              "{'name':'A','expression':{'type':'Add','operand':[$I(1),$I(2)]}},"
                              "{'name':'B','expression':{'type':'Add','operand':[$R(A),$R(A)]}}",
                              &p),
                     OG_OK);
    start(f);
    assert_string_equal(value_of(f, "B"), "6");
    uint64_t steps = cql_run_steps(f->run);
    assert_string_equal(value_of(f, "A"), "3");
    assert_string_equal(value_of(f, "B"), "6");
    assert_int_equal(cql_run_steps(f->run), steps);
    fixture_free(f);
}

static void limits_stop_an_evaluation(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
    assert_int_equal(
        add_defs(
            f->set,
            "{'name':'Loop','expression':{'type':'Count','source':{'type':'ForEach','source':{'"
            "type':"
            "'Expand','operand':[{'type':'Interval','low':$I(1),'high':$I(500)},{'type':'Quantity',"
            "'value':1,'unit':'1'}]},'element':{'type':'Add','operand':[{'type':'Current'},$I(1)]}}"
            "}},"
            "{'name':'Long','expression':{'type':'Count','source':{'type':'Expand','operand':[{'"
            "type':"
            "'Interval','low':$I(1),'high':$I(2000000000)},{'type':'Quantity','value':1,'unit':'1'}"
            "]}}},"
            "{'name':'Fine','expression':$I(1)}",
            &p),
        OG_OK);
    f->request.limits = (cql_limits){.max_steps = 300, .max_list = 1000};
    start(f);
    assert_string_equal(value_of(f, "Loop"), "!more than 300 steps");
    assert_int_equal(f->err.status, OG_LIMIT);
    fixture_free(f);

    f = fixture_new();
    assert_int_equal(add_defs(f->set,
                              "{'name':'Long','expression':{'type':'Count','source':{'type':'"
                              "Expand','operand':[{'type':"
                              "'Interval','low':$I(1),'high':$I(2000000000)},{'type':'Quantity','"
                              "value':1,'unit':'1'}]}}}",
                              &p),
                     OG_OK);
    start(f);
    assert_int_equal(value_of(f, "Long")[0], '!');
    fixture_free(f);
}

/* Lists that grow by themselves stop long before memory does, so that they cost one definition. */
static void lists_have_a_longest(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
#define MANY(high)                                                                                 \
    "{'type':'Expand','operand':[{'type':'Interval','low':$I(1),'high':$I(" #high                  \
    ")},{'type':'Quantity','value':1,'unit':'1'}]}"
#define PAIRS(a, b)                                                                                \
    "{'type':'Query','source':[{'alias':'A','expression':" a "},{'alias':'B','expression':" b      \
    "}],'relationship':[]}"
    assert_int_equal(
        add_defs(
            f->set,
            "{'name':'Rows','expression':{'type':'Count','source':" PAIRS(
                MANY(40),
                MANY(
                    30)) "}},"
                         "{'name':'Fewer','expression':{'type':'Count','source':" PAIRS(
                             MANY(40),
                             MANY(
                                 25)) "}},"
                                      "{'name':'Flat','expression':{'type':'Flatten','operand':{'"
                                      "type':'List','element':[" MANY(600) "," MANY(
                                          600) "]}}},"
                                               "{'name':'Text','expression':{'type':'Combine','"
                                               "source':{'type':'Flatten',"
                                               "'operand':{'type':'List','element':[{'type':'"
                                               "ForEach','source':" MANY(
                                                   900) ",'element':{'type':'ExpressionRef','name':"
                                                        "'Page'}}]}}}},"
                                                        "{'name':'Page','expression':{'type':'"
                                                        "Combine','source':{'type':'ForEach','"
                                                        "source':" MANY(
                                                            900) ",'element':{'type':'Literal','"
                                                                 "valueType':"
                                                                 "'{urn:hl7-org:elm-types:r1}"
                                                                 "String','value':'0123456789'}}}},"
                                                                 "{'name':'Fine','expression':$I(1)"
                                                                 "}",
            &p),
        OG_OK);
    f->request.limits = (cql_limits){.max_list = 1000};
    start(f);
    assert_string_equal(value_of(f, "Rows"), "!a query of 2 sources makes more than 1000 rows");
    assert_int_equal(f->err.status, OG_LIMIT);
    assert_string_equal(value_of(f, "Fewer"), "1000");
    assert_string_equal(value_of(f, "Flat"), "!flatten makes 1200 elements, more than 1000");
    assert_string_equal(value_of(f, "Text"), "!a string would be longer than 4194304 bytes");
    assert_string_equal(value_of(f, "Fine"), "1");
    fixture_free(f);
}

static void memory_ends_an_evaluation_with_an_error(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
    assert_int_equal(
        add_defs(
            f->set,
            "{'name':'Big','expression':{'type':'ForEach','source':{'type':'Expand','operand':[{'"
            "type':"
            "'Interval','low':$I(1),'high':$I(50000)},{'type':'Quantity','value':1,'unit':'1'}]},"
            "'element':{'type':'List','element':[{'type':'Current'},{'type':'Current'}]}}},"
            "{'name':'Small','expression':{'type':'Add','operand':[$I(1),$I(1)]}}",
            &p),
        OG_OK);
    start(f);
    /* Every size of arena, from one that cannot begin to one that is enough. */
    bool finished = false;
    for (size_t limit = 1024; !finished; limit *= 2) {
        og_arena *a = og_arena_new(limit);
        cql_value v;
        og_error err;
        og_error_init(&err);
        cql_run *run = cql_run_begin(a, f->set, &f->request);
        if (run != NULL) {
            const cql_define *d = cql_library_define(cql_set_at(f->set, 0), OG_STR("Big"));
            og_status s = cql_run_define(run, d, &v, &err);
            finished = s == OG_OK;
            assert_true(finished || s == OG_NOMEM || s == OG_EVAL || s == OG_LIMIT);
            assert_true(finished || err.text[0] != '\0');
        }
        og_arena_free(a);
        assert_true(limit < (size_t)1 << 30);
    }
    fixture_free(f);
}

static cql_value literal(fixture *f, const char *text)
{
    cql_value v = CQL_NULL_VALUE;
    assert_int_equal(cql_literal(f->arena, og_str_of(text), &v, NULL), OG_OK);
    return v;
}

static void parameters_have_defaults_and_values(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
    assert_int_equal(
        add_library(
            f->set,
            "'parameters':{'def':[{'name':'days','default':$I(28),'parameterTypeSpecifier':{'type':"
            "'NamedTypeSpecifier','name':$T(Integer)}},"
            "{'name':'factor','parameterTypeSpecifier':{'type':'NamedTypeSpecifier','name':$T("
            "Decimal)}},"
            "{'name':'text','default':$S(a),'parameterTypeSpecifier':{'type':'NamedTypeSpecifier',"
            "'name':$T(String)}},{'name':'period','parameterTypeSpecifier':{'type':'"
            "IntervalTypeSpecifier',"
            "'pointType':{'type':'NamedTypeSpecifier','name':$T(DateTime)}}},{'name':'list',"
            "'parameterTypeSpecifier':{'type':'ListTypeSpecifier','elementType':{'type':"
            "'NamedTypeSpecifier','name':$T(Decimal)}}}]},'statements':{'def':["
            "{'name':'P','expression':{'type':'ParameterRef','name':'period'}},"
            "{'name':'L','expression':{'type':'ParameterRef','name':'list'}},"
            "{'name':'D','expression':{'type':'ParameterRef','name':'days'}},"
            "{'name':'F','expression':{'type':'ParameterRef','name':'factor'}},"
            "{'name':'S','expression':{'type':'ParameterRef','name':'text'}}]}",
            &p),
        OG_OK);
    start(f);
    assert_string_equal(value_of(f, "D"), "28");
    assert_string_equal(value_of(f, "F"), "null");
    const cql_parameter given[] = {
        {.name = OG_STR("days"), .value = cql_integer(1)},
        {.library = OG_STR("T"), .name = OG_STR("days"), .value = cql_integer(90)},
        {.library = OG_STR("Other"), .name = OG_STR("days"), .value = cql_integer(7)},
        {.name = OG_STR("factor"), .value = cql_integer(3)},
        {.name = OG_STR("text"), .value = cql_integer(3)},
        {.name = OG_STR("period"), .value = literal(f, "Interval[@2025-01-01, @2025-12-31]")},
        {.name = OG_STR("list"), .value = literal(f, "{ 1, 2.5 }")},
    };
    f->request.parameters = given;
    f->request.parameter_count = sizeof given / sizeof given[0];
    f->run = cql_run_begin(f->arena, f->set, &f->request);
    assert_string_equal(value_of(f, "D"), "90");
    assert_string_equal(value_of(f, "F"), "3.0");
    assert_string_equal(value_of(f, "S"), "!the value given for parameter text has another type");
    assert_string_equal(value_of(f, "P"), "Interval[@2025-01-01T, @2025-12-31T]");
    assert_string_equal(value_of(f, "L"), "{ 1.0, 2.5 }");
    fixture_free(f);
}

static void messages_raise_errors(void **state)
{
    (void)state;
#define MESSAGE(condition, severity)                                                               \
    "{'type':'Message','source':$I(4),'condition':" condition                                      \
    ",'code':$S(C1),'severity':$S(" severity "),'message':$S(said so)}"
    check_expression(MESSAGE("$B(true)", "Error"), "!C1: said so");
    check_expression(MESSAGE("$B(false)", "Error"), "4");
    check_expression(MESSAGE(NULL_B, "Error"), "4");
    check_expression(MESSAGE("$B(true)", "Warning"), "4");
    /* A text made of data may speak of the patient: it is not told. */
    check_expression(
        "{'type':'Message','source':$I(4),'condition':$B(true),'code':$S(C1),'severity':"
        "$S(Error),'message':{'type':'Concatenate','operand':[$S(name ),$S(Smith)]}}",
        "!C1");
    check_expression("{'type':'Message','source':$I(4),'severity':$S(Error)}",
                     "!a Message of severity Error, without a code");
}

static void the_clock_is_given(void **state)
{
    (void)state;
    check_expression("{'type':'Today'}", "@2024-03-01");
    check_expression("{'type':'Now'}", "@2024-03-01T12:00:00.000+00:00");
    check_expression("{'type':'TimeOfDay'}", "@T12:00:00.000");
}

static void context_unfiltered_sees_a_list(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
    assert_int_equal(add_defs(f->set,
                              "{'name':'P','context':'Patient','expression':$I(1)},"
                              "{'name':'U','context':'Unfiltered','expression':$R(P)},"
                              "{'name':'Q','context':'Patient','expression':$R(P)}",
                              &p),
                     OG_OK);
    start(f);
    assert_string_equal(value_of(f, "U"), "{ 1 }");
    assert_string_equal(value_of(f, "Q"), "1");
    fixture_free(f);
}

static const char *sources_of(fixture *f, const char *define)
{
    const fhir_resource *const *r;
    size_t n =
        cql_run_sources(f->run, cql_library_define(cql_set_at(f->set, 0), og_str_of(define)), &r);
    size_t at = 0;
    f->text[0] = '\0';
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(f->text + at, sizeof f->text - at, "%s%.*s", i != 0 ? " " : "",
                               OG_STR_ARG(r[i]->id));
    return f->text;
}

static void results_remember_their_resources(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
#define OBS   "{'type':'Retrieve','dataType':$F(Observation)}"
#define VALUE "{'type':'Property','path':'value.value.value','scope':'O'}"
    assert_int_equal(
        add_defs(
            f->set,
            "{'name':'High','context':'Patient','expression':{'type':'Query','source':[{'alias':'O'"
            ","
            "'expression':" OBS "}],'where':{'type':'Greater','operand':[" VALUE ",$D(5.0)]}}},"
            "{'name':'Any','context':'Patient','expression':{'type':'Exists','operand':$R(High)}},"
            "{'name':'Values','context':'Patient','expression':{'type':'Query','source':[{'alias':'"
            "O',"
            "'expression':" OBS "}],'return':{'distinct':false,'expression':" VALUE "}}},"
            "{'name':'Max','context':'Patient','expression':{'type':'Max','source':$R(Values)}},"
            "{'name':'Text','context':'Patient','expression':{'type':'If','condition':$R(Any),'"
            "then':"
            "$S(yes),'else':$S(no)}},"
            "{'name':'Row','context':'Patient','expression':{'type':'First','source':{'type':'"
            "Query',"
            "'source':[{'alias':'O','expression':" OBS "}],'return':{'expression':{'type':'Tuple',"
            "'element':[{'name':'v','value':" VALUE "}]}}}}},"
            "{'name':'None','context':'Patient','expression':$I(1)}",
            &p),
        OG_OK);
    put(f, "{'resourceType':'Observation','id':'a','valueQuantity':{'value':3.5}}");
    put(f, "{'resourceType':'Observation','id':'b','valueQuantity':{'value':7.5}}");
    put(f, "{'resourceType':'Observation','id':'c','valueQuantity':{'value':9.25}}");
    start(f);
    assert_string_equal(value_of(f, "Any"), "true");
    assert_string_equal(sources_of(f, "Any"), "b c");
    assert_string_equal(sources_of(f, "High"), "b c");
    assert_string_equal(value_of(f, "Max"), "9.25");
    assert_non_null(strstr(sources_of(f, "Max"), "c"));
    assert_string_equal(value_of(f, "Text"), "'yes'");
    assert_string_equal(sources_of(f, "Text"), "b c");
    assert_string_equal(value_of(f, "Row"), "Tuple { v: 3.5 }");
    assert_string_equal(sources_of(f, "Row"), "a");
    assert_string_equal(value_of(f, "None"), "1");
    assert_string_equal(sources_of(f, "None"), "");
    f->request.sourceless = true; /* the same values, and nobody wants to know */
    f->run = cql_run_begin(f->arena, f->set, &f->request);
    assert_string_equal(value_of(f, "Any"), "true");
    assert_string_equal(value_of(f, "Max"), "9.25");
    assert_string_equal(value_of(f, "Row"), "Tuple { v: 3.5 }");
    assert_string_equal(sources_of(f, "Any"), "");
    assert_string_equal(sources_of(f, "Max"), "");
    assert_string_equal(sources_of(f, "Row"), "");
    fixture_free(f);
}

/* Functions of one resource answer once in a run; what only looks like a resource of the request is
 * asked anew. */
static void functions_of_a_resource_answer_once(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
#define ASK(function, of) "{'type':'FunctionRef','name':'" function "','operand':[" of "]}"
#define OF_ALL(name, function)                                                                     \
    "{'name':'" name                                                                               \
    "','context':'Patient','expression':{'type':'Query','source':[{'alias':'O','expression':" OBS  \
    "}],'return':{'distinct':false,'expression':" ASK(function, "$A(O)") "}}},"
#define TAKES_OBSERVATION                                                                          \
    "'operand':[{'name':'o','operandTypeSpecifier':{'type':'NamedTypeSpecifier','name':$F("        \
    "Observation)}}]"
#define MADE(value)                                                                                \
    ASK("Reading", "{'type':'Instance','classType':$F(Observation),'element':[{'name':'value',"    \
                   "'value':$D(" value ")}]}")
    static const char defs[] =
        "{'name':'Reading','type':'FunctionDef','context':'Patient'," TAKES_OBSERVATION
        ",'expression':{'type':'Coalesce','operand':[{'type':'Property','path':"
        "'value.value.value','source':$O(o)},{'type':'As','asType':$T(Decimal),'operand':"
        "{'type':'Property','path':'value','source':$O(o)}}]}},"
        "{'name':'Fail','type':'FunctionDef','context':'Patient'," TAKES_OBSERVATION
        ",'expression':" FAILS
        "}," OF_ALL("Once", "Reading") OF_ALL("Again", "Reading") OF_ALL("Bad", "Fail")
            OF_ALL("Bad again",
                   "Fail") "{'name':'Inner','context':'Patient','expression':{'type':'Query','"
                           "source':[{'alias':"
                           "'O','expression':" OBS
                           "}],'return':{'distinct':false,'expression':{'type':'Query',"
                           "'source':[{'alias':'C','expression':{'type':'Property','path':'"
                           "contained','scope':"
                           "'O'}}],'return':{'distinct':false,'expression':" ASK(
                               "Reading",
                               "$A(C)") "}}}}},"
                                        "{'name':'Made','context':'Patient','expression':{'type':'"
                                        "List','element':[" MADE("1.5") "," MADE("2.5") "]}}";
    assert_int_equal(add_defs(f->set, defs, &p), OG_OK);
    put(f, "{'resourceType':'Observation','id':'a','valueQuantity':{'value':3.5},'contained':[{"
           "'resourceType':'Observation','id':'x','valueQuantity':{'value':4.5}},{'resourceType':"
           "'Observation','id':'y','valueQuantity':{'value':5.5}}]}");
    put(f, "{'resourceType':'Patient','id':'p'}");
    put(f, "{'resourceType':'Observation','id':'b'}");
    start(f);
    assert_string_equal(value_of(f, "Once"), "{ 3.5, null }");
    uint64_t first = cql_run_steps(f->run);
    assert_string_equal(value_of(f, "Again"), "{ 3.5, null }");
    assert_true(cql_run_steps(f->run) - first < first);
    assert_string_equal(sources_of(f, "Again"), "a b");
    assert_string_equal(sources_of(f, "Once"), "a b");
    assert_string_equal(value_of(f, "Inner"), "{ { 4.5, 5.5 }, null }");
    assert_string_equal(value_of(f, "Made"), "{ 1.5, 2.5 }");
    assert_string_equal(value_of(f, "Bad"), BOOM);
    assert_string_equal(value_of(f, "Bad again"), BOOM);
    fixture_free(f);
}

/* { { { ... } } }, as deep as the list is long: nothing that walks it may recurse on it. */
static void deep_values_do_no_harm(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
    assert_int_equal(
        add_defs(
            f->set,
            "{'name':'Deep','expression':{'type':'Aggregate','source':{'type':'Expand','operand':[{"
            "'type':"
            "'Interval','low':$I(1),'high':$I(90000)},{'type':'Quantity','value':1,'unit':'1'}]},"
            "'initialValue':$I(0),'iteration':{'type':'List','element':[{'type':'Total'}]}}},"
            "{'name':'Exists','expression':{'type':'Exists','operand':$R(Deep)}},"
            "{'name':'Same','expression':{'type':'Equal','operand':[$R(Deep),$R(Deep)]}},"
            "{'name':'Down','expression':{'type':'Count','source':{'type':'Descendents','source':$"
            "R(Deep)}}}",
            &p),
        OG_OK);
    start(f);
    (void)value_of(f, "Deep");
    assert_string_equal(value_of(f, "Exists"), "true");
    assert_string_equal(sources_of(f, "Deep"), "");
    assert_int_equal(value_of(f, "Same")[0], '!');
    (void)value_of(f, "Down");
    fixture_free(f);
}

static void explanations_show_places_and_values(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
    og_buf out;
    og_error err;
    assert_int_equal(
        add_defs(f->set,
                 "{'name':'Old','context':'Patient','locator':'3:1-4:30','expression':{'type':'"
                 "Greater','locator':"
                 "'4:3-4:30','operand':[{'type':'Count','locator':'4:3-4:20','source':{'type':'"
                 "Query','locator':"
                 "'4:9-4:19','source':[{'alias':'O','expression':" OBS
                 "}],'where':{'type':'Equal','locator':"
                 "'4:12-4:18','operand':[{'type':'Property','locator':'4:12-4:13','path':'status."
                 "value','scope':'O'},"
                 "$S(final)]}}},{'type':'ExpressionRef','name':'Limit','locator':'4:24-4:30'}]}},"
                 "{'name':'Limit','expression':{'type':'Negate','operand':$I(1)}},"
                 "{'name':'Bad','expression':" FAILS "}",
                 &p),
        OG_OK);
    put(f, "{'resourceType':'Observation','id':'a','status':'final'}");
    put(f, "{'resourceType':'Observation','id':'b','status':'amended'}");
    start(f);
    og_error_init(&err);
    og_buf_init(&out, (size_t)1 << 20);
    assert_int_equal(
        cql_explain(f->run, cql_library_define(cql_set_at(f->set, 0), OG_STR("Old")), &out, &err),
        OG_OK);
    og_buf_addc(&out, '\0');
    assert_string_equal(
        out.p, "{\"name\":\"Old\",\"library\":\"T\",\"place\":\"3:1-4:30\",\"value\":\"true\","
               "\"sources\":[\"Observation/a\"],\"parts\":["
               "{\"place\":\"4:3-4:30\",\"value\":\"true\"},"
               "{\"place\":\"4:3-4:20\",\"value\":\"1\"},"
               "{\"place\":\"4:9-4:19\",\"value\":\"{ Observation/a }\"},"
               "{\"place\":\"4:12-4:18\",\"row\":true,\"times\":2,\"value\":\"false\"},"
               "{\"place\":\"4:12-4:13\",\"row\":true,\"times\":2,\"value\":\"'amended'\"},"
               "{\"place\":\"4:24-4:30\",\"name\":\"Limit\",\"library\":\"T\",\"value\":\"-1\"}]}");
    og_buf_clear(&out);
    assert_int_equal(
        cql_explain(f->run, cql_library_define(cql_set_at(f->set, 0), OG_STR("Bad")), &out, &err),
        OG_OK);
    assert_non_null(strstr(out.p, "\"error\":\"T: error: singleton from: the list has 2 elements"));
    og_buf_done(&out);
    assert_string_equal(value_of(f, "Old"), "true");
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logic_has_three_values),
        cmocka_unit_test(order_of_operands_does_not_hide_errors),
        cmocka_unit_test(what_decides_nothing_is_asked_for_errors),
        cmocka_unit_test(it_is_known_when_now_gives_another_value),
        cmocka_unit_test(case_compares_or_tests),
        cmocka_unit_test(types_are_tested_and_cast),
        cmocka_unit_test(selectors_make_values),
        cmocka_unit_test(loops_have_item_index_and_total),
        cmocka_unit_test(functions_are_chosen_by_type),
        cmocka_unit_test(errors_name_library_define_and_place),
        cmocka_unit_test(defines_are_evaluated_once),
        cmocka_unit_test(limits_stop_an_evaluation),
        cmocka_unit_test(lists_have_a_longest),
        cmocka_unit_test(memory_ends_an_evaluation_with_an_error),
        cmocka_unit_test(parameters_have_defaults_and_values),
        cmocka_unit_test(messages_raise_errors),
        cmocka_unit_test(the_clock_is_given),
        cmocka_unit_test(context_unfiltered_sees_a_list),
        cmocka_unit_test(results_remember_their_resources),
        cmocka_unit_test(functions_of_a_resource_answer_once),
        cmocka_unit_test(deep_values_do_no_harm),
        cmocka_unit_test(explanations_show_places_and_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
