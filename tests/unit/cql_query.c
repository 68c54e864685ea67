/* Queries and retrieves: sources, relationships, duplicates, aggregates, order; filters by code and
 * date, FHIR elements and FHIRHelpers on the way. */
#include "elm.h"

#define LIST(items)  "{'type':'List','element':[" items "]}"
#define SOURCE(a, e) "{'alias':'" a "','expression':" e "}"

static void a_missing_return_keeps_duplicates(void **state)
{
    (void)state;
    check_expression("{'type':'Query','source':[" SOURCE("A", LIST("$I(2),$I(1),$I(2)")) "]}",
                     "{ 2, 1, 2 }");
    /* A return clause is distinct unless it says otherwise (ELM ReturnClause). */
    check_expression(
        "{'type':'Query','source':[" SOURCE("A", LIST("$I(2),$I(1),$I(2)")) "],'return':{"
                                                                            "'expression':$A(A)}}",
        "{ 2, 1 }");
    check_expression("{'type':'Query','source':[" SOURCE(
                         "A", LIST("$I(2),$I(1),$I(2)")) "],'return':{"
                                                         "'distinct':false,'expression':$A(A)}}",
                     "{ 2, 1, 2 }");
}

static void sources_are_combined(void **state)
{
    (void)state;
    check_expression("{'type':'Query','source':[" SOURCE("A", LIST("$I(1),$I(2)")) "," SOURCE(
                         "B", LIST("$S(x),$S(y)")) "]}",
                     "{ Tuple { A: 1, B: 'x' }, Tuple { A: 1, B: 'y' }, Tuple { A: 2, B: 'x' }, "
                     "Tuple { A: 2, B: 'y' } }");
    check_expression(
        "{'type':'Query','source':[" SOURCE("A", LIST("$I(1),$I(2)")) "," SOURCE(
            "B", "$I(10)") "],'return':{'expression':{'type':'Add','operand':[$A(A),$A(B)]}}}",
        "{ 11, 12 }");
    /* Single sources give a single result. */
    check_expression(
        "{'type':'Query','source':[" SOURCE("A", "$I(1)") "],'return':{'expression':{'type':"
                                                          "'Add','operand':[$A(A),$I(1)]}}}",
        "2");
    check_expression("{'type':'Query','source':[" SOURCE("A", "$I(1)") "],'where':$B(false)}",
                     "null");
    check_expression("{'type':'Query','source':[" SOURCE("A", "{'type':'Null'}") "]}", "null");
    check_expression("{'type':'Query','source':[" SOURCE("A", LIST("$I(1)")) "," SOURCE(
                         "B", "{'type':'Null'}") "]}",
                     "null");
    check_expression("{'type':'Query','source':[" SOURCE("A", LIST("{'type':'Null'},$I(1)")) "]}",
                     "{ null, 1 }");
}

static void where_takes_what_is_true(void **state)
{
    (void)state;
    check_expression("{'type':'Query','source':[" SOURCE(
                         "A", LIST("$I(1),{'type':'Null'},$I(3)")) "],'where':{'type':'Greater','"
                                                                   "operand':[$A(A),$I(1)]}}",
                     "{ 3 }");
}

static void lets_see_what_stands_before(void **state)
{
    (void)state;
    check_expression(
        "{'type':'Query','source':[" SOURCE(
            "A", LIST("$I(1),$I(2)")) "],'let':[{'identifier':"
                                      "'x','expression':{'type':'Add','operand':[$A(A),$I(10)]}},{'"
                                      "identifier':'y',"
                                      "'expression':{'type':'Multiply','operand':[{'type':'"
                                      "QueryLetRef','name':'x'},$I(2)]}}],"
                                      "'return':{'expression':{'type':'QueryLetRef','name':'y'}}}",
        "{ 22, 24 }");
}

static void relationships_filter(void **state)
{
    (void)state;
#define RELATED(kind)                                                                              \
    "{'type':'Query','source':[" SOURCE(                                                           \
        "A", LIST("$I(1),$I(2),$I(3)")) "],'relationship':[{'type':'" kind                         \
                                        "','alias':'B','expression':" LIST(                        \
                                            "$I(2),$I(3)") ",'suchThat':{'type':'Equal','operand'" \
                                                           ":[$A(A),$A(B)]}}]}"
    check_expression(RELATED("With"), "{ 2, 3 }");
    check_expression(RELATED("Without"), "{ 1 }");
    check_expression(
        "{'type':'Query','source':[" SOURCE(
            "A",
            LIST("$I(1)")) "],'relationship':[{'type':"
                           "'With','alias':'B','expression':{'type':'Null'},'suchThat':$B(true)}]}",
        "{ }");
}

/* What a relationship looks at decides how often it is evaluated, and never what comes out. */
static void relationships_see_the_row(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
#define NEXT(e) "{'type':'List','element':[{'type':'Add','operand':[" e ",$I(1)]}]}"
#define ROWS(name, related)                                                                        \
    "{'name':'" name "','expression':{'type':'Query','source':[" SOURCE(                           \
        "A", LIST("$I(1),$I(2),$I(3)")) "],'let':[{'identifier':'l','expression':{'type':'"        \
                                        "Multiply','operand':[$A(A),$I(1)]}}],'relationship':[{"   \
                                        "'type':'With','alias':'B','expression':" related          \
                                        ",'suchThat':{'type':'Equal','operand':[{'type':'Add','"   \
                                        "operand':[$A(A),$I(1)]},$A(B)]}}]}}"
    assert_int_equal(
        add_defs(
            f->set,
            ROWS("Same", NEXT("$I(2)")) "," ROWS("Alias", NEXT("$A(A)")) "," ROWS(
                "Let",
                NEXT(
                    "{'type':'QueryLetRef','name':'l'}")) "," ROWS("Inner",
                                                                   "{'type':'Query','source':"
                                                                   "[" SOURCE(
                                                                       "C",
                                                                       LIST(
                                                                           "$I(1)")) "],'return':{'"
                                                                                     "expression':{"
                                                                                     "'type':'Add',"
                                                                                     "'operand':[$"
                                                                                     "A(A),$A(C)]}}"
                                                                                     "}"),
            &p),
        OG_OK);
    start(f);
    assert_string_equal(value_of(f, "Same"), "{ 2 }");
    assert_string_equal(value_of(f, "Alias"), "{ 1, 2, 3 }");
    assert_string_equal(value_of(f, "Let"), "{ 1, 2, 3 }");
    assert_string_equal(value_of(f, "Inner"), "{ 1, 2, 3 }");
    fixture_free(f);
}

static void aggregates_run_over_rows(void **state)
{
    (void)state;
#define SUM(extra, items)                                                                          \
    "{'type':'Query','source':[" SOURCE(                                                           \
        "A",                                                                                       \
        LIST(items)) "],'relationship':[{'type':'With','alias':'B',"                               \
                     "'expression':" LIST(                                                         \
                         "$I(1)") ",'suchThat':$B(true)}],'aggregate':{'identifier':'R'" extra     \
                                  ",'expression':{'type':'Add','operand':[{'type':'QueryLetRef','" \
                                  "name':'R'},$A(A)]}}}"
    check_expression(SUM(",'starting':$I(100)", "$I(1),$I(2),$I(2)"), "105");
    check_expression(SUM(",'starting':$I(100),'distinct':true", "$I(1),$I(2),$I(2)"), "103");
    check_expression(SUM("", "$I(1),$I(2)"), "null"); /* starts with null */
    check_expression(
        "{'type':'Query','source':[" SOURCE("A", LIST("$I(1),$I(2)")) "," SOURCE(
            "B", LIST("$I(10),$I(10)")) "],'aggregate':{'identifier':'R','distinct':true,"
                                        "'starting':$I(0),'expression':{'type':'Add','operand':[{'"
                                        "type':'QueryLetRef','name':'R'},"
                                        "{'type':'Multiply','operand':[$A(A),$A(B)]}]}}}",
        "30");
}

#define PAIR(a, b)                                                                                 \
    "{'type':'Tuple','element':[{'name':'a','value':" a "},{'name':'b','value':" b "}]}"
#define SORTED(items, by)                                                                          \
    "{'type':'Query','source':[" SOURCE("A", LIST(items)) "],'sort':{'by':[" by "]}}"

static void sorting_is_stable_and_puts_nulls_first(void **state)
{
    (void)state;
    check_expression(
        SORTED("$I(3),{'type':'Null'},$I(1),$I(2)", "{'type':'ByDirection','direction':'asc'}"),
        "{ null, 1, 2, 3 }");
    check_expression(
        SORTED("$I(3),{'type':'Null'},$I(1)", "{'type':'ByDirection','direction':'descending'}"),
        "{ 3, 1, null }");
    check_expression(
        SORTED(PAIR("$I(1)", "$S(x)") "," PAIR("$I(0)", "$S(y)") "," PAIR("$I(1)", "$S(a)"),
               "{'type':'ByColumn','path':'a','direction':'desc'}"),
        "{ Tuple { a: 1, b: 'x' }, Tuple { a: 1, b: 'a' }, Tuple { a: 0, b: 'y' } }");
    check_expression(
        SORTED(PAIR("$I(1)", "$S(x)") "," PAIR("$I(0)", "$S(y)") "," PAIR("$I(1)", "$S(a)"),
               "{'type':'ByColumn','path':'a','direction':'asc'},{'type':'ByExpression',"
               "'direction':'asc','expression':{'type':'IdentifierRef','name':'b'}}"),
        "{ Tuple { a: 0, b: 'y' }, Tuple { a: 1, b: 'a' }, Tuple { a: 1, b: 'x' } }");
    check_expression(SORTED("$I(1),$I(-5),$I(3)",
                            "{'type':'ByExpression','direction':'asc','expression':{"
                            "'type':'Abs','operand':{'type':'IdentifierRef','name':'$this'}}}"),
                     "{ 1, 3, -5 }");
    /* Unequal precision: what is missing counts as null. */
#define DATE2(y, m) "{'type':'Date','year':$I(" y "),'month':$I(" m ")}"
#define DATE1(y)    "{'type':'Date','year':$I(" y ")}"
    check_expression(SORTED(DATE2("2012", "3") "," DATE1("2012") "," DATE2("2011", "1"),
                            "{'type':'ByDirection','direction':'asc'}"),
                     "{ @2011-01, @2012, @2012-03 }");
}

static void long_lists_are_sorted(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
    /* The list of i * 7919 mod 1000 for i in 1..1000, sorted, is 0..999: its sum of |item - index|
     * is 0. */
    assert_int_equal(
        add_defs(
            f->set,
            "{'name':'L','expression':{'type':'Query','source':[" SOURCE(
                "A",
                "{'type':'Expand','operand':[{'type':'Interval','low':$I(1),'high':$I(1000)},"
                "{'type':'Quantity','value':1,'unit':'1'}]}") "],'return':{'distinct':false,'"
                                                              "expression':{'type':'Modulo','"
                                                              "operand':[{'type':'Multiply',"
                                                              "'operand':[$A(A),$I(7919)]},$I(1000)"
                                                              "]}},'sort':{'by':[{'type':'"
                                                              "ByDirection','direction':'asc'}]}}},"
                                                              "{'name':'Off','expression':{'type':'"
                                                              "Sum','source':{'type':'ForEach','"
                                                              "source':$R(L),'element':"
                                                              "{'type':'Abs','operand':{'type':'"
                                                              "Subtract','operand':[{'type':'"
                                                              "Current'},{'type':'Iteration'}]}}}}"
                                                              "}",
            &p),
        OG_OK);
    start(f);
    assert_string_equal(value_of(f, "Off"), "0");
    fixture_free(f);
}

/* ---- retrieves ---- */

#define OBSERVATIONS(filter) "{'type':'Retrieve','dataType':$F(Observation)" filter "}"
#define IDS(retrieve)                                                                              \
    "{'type':'Query','source':[" SOURCE(                                                           \
        "O", retrieve) "],'return':{'distinct':false,'expression':{'type':"                        \
                       "'Property','path':'id.value','scope':'O'}}}"

static fixture *patient_fixture(const char *defs)
{
    fixture *f = fixture_new();
    problems p = {0};
    og_buf b;
    og_buf_init(&b, (size_t)16 << 20);
    og_buf_addz(&b,
                "'usings':{'def':[{'localIdentifier':'FHIR','uri':'http://hl7.org/"
                "fhir','version':'4.0.1'}]},"
                "'codeSystems':{'def':[{'name':'LOINC','id':'http://loinc.org'}]},"
                "'valueSets':{'def':[{'name':'Creatinine','id':'urn:crea'},{'name':'Gone','id':'"
                "urn:gone'}]},"
                "'codes':{'def':[{'name':'EGFR','id':'98979-8','codeSystem':{'name':'LOINC'}},"
                "{'name':'CREA','id':'2160-0','codeSystem':{'name':'LOINC'}}]},"
                "'concepts':{'def':[{'name':'Kidney','code':[{'name':'EGFR'},{'name':'CREA'}]}]},"
                "'statements':{'def':[");
    og_buf_addz(&b, defs);
    og_buf_addz(&b, "]}");
    og_buf_addc(&b, '\0');
    if (add_library(f->set, b.p, &p) != OG_OK)
        fail_msg("%s (at %s)", p.first.text, p.first.path);
    og_buf_done(&b);
    put_terms(
        f, "{'resourceType':'ValueSet','url':'urn:crea','status':'active','compose':{'include':[{"
           "'system':'http://loinc.org','concept':[{'code':'2160-0'},{'code':'14682-9'}]}]}}");
    put(f, "{'resourceType':'Patient','id':'p','birthDate':'1950-03-14','gender':'female'}");
    put(f,
        "{'resourceType':'Observation','id':'o1','status':'final','code':{'coding':[{'system':"
        "'http://loinc.org','code':'2160-0'}]},'effectiveDateTime':'2024-02-01','valueQuantity':{"
        "'value':1.10,'unit':'mg/dL','system':'http://unitsofmeasure.org','code':'mg/dL'}}");
    put(f, "{'resourceType':'Observation','id':'o2','status':'final','code':{'coding':[{'system':"
           "'http://"
           "other.org','code':'2160-0'},{'code':'2160-0'}]},'effectiveDateTime':'2023-02-01'}");
    put(f, "{'resourceType':'Observation','id':'o3','status':'final','code':{'coding':[{'system':"
           "'urn:local','code':'x'},{'system':'http://"
           "loinc.org','code':'98979-8'}]},'effectivePeriod':{"
           "'start':'2024-01-01','end':'2024-01-31'},'valueQuantity':{'unit':'mL/min'}}");
    put(f, "{'resourceType':'Condition','id':'c1','code':{'text':'only words'}}");
    cql_set_allow_missing_valuesets(f->set, true);
    start(f);
    return f;
}

static void retrieves_filter_by_code(void **state)
{
    (void)state;
    fixture *f = patient_fixture("{'name':'All','context':'Patient','expression':" IDS(OBSERVATIONS(
        "")) "},"
             "{'name':'Set','context':'Patient','expression':" IDS(OBSERVATIONS(
                 ",'codeProperty':'code','codeComparator':'in','codes':{'type':'"
                 "ValueSetRef','name':'Creatinine',"
                 "'preserve':true}")) "},"
                                      "{'name':'Old','context':'Patient','expression':" IDS(OBSERVATIONS(
                                          ",'codeProperty':'code','codes':{'"
                                          "type':'ValueSetRef','name':'"
                                          "Creatinine'}")) "},"
                                                           "{'name':'Code','"
                                                           "context':'Patient'"
                                                           ",'expression'"
                                                           ":" IDS(OBSERVATIONS(
                                                               ",'"
                                                               "codeProperty':"
                                                               "'code','"
                                                               "codeComparator"
                                                               "':'~','codes':"
                                                               "{'type':'"
                                                               "ToList','"
                                                               "operand':{'"
                                                               "type':'"
                                                               "CodeRef',"
                                                               "'name':'EGFR'}"
                                                               "}")) "},"
                                                                     "{'name':"
                                                                     "'Concept"
                                                                     "','"
                                                                     "context'"
                                                                     ":'"
                                                                     "Patient'"
                                                                     ",'"
                                                                     "expressi"
                                                                     "on'"
                                                                     ":" IDS(OBSERVATIONS(
                                                                         ",'"
                                                                         "code"
                                                                         "Prop"
                                                                         "erty"
                                                                         "':'"
                                                                         "code"
                                                                         "','"
                                                                         "code"
                                                                         "Comp"
                                                                         "arat"
                                                                         "or':"
                                                                         "'~',"
                                                                         "'cod"
                                                                         "es':"
                                                                         "{'"
                                                                         "type"
                                                                         "':'"
                                                                         "Prop"
                                                                         "erty"
                                                                         "','"
                                                                         "path"
                                                                         "':'"
                                                                         "code"
                                                                         "s','"
                                                                         "sour"
                                                                         "ce':"
                                                                         "{'"
                                                                         "type"
                                                                         "':'"
                                                                         "Conc"
                                                                         "eptR"
                                                                         "ef',"
                                                                         "'nam"
                                                                         "e':'"
                                                                         "Kidn"
                                                                         "ey'}"
                                                                         "}")) "},"
                                                                               "{'name':'Gone','"
                                                                               "context':'Patient',"
                                                                               "'expression':" IDS(OBSERVATIONS(
                                                                                   ",'codeProperty'"
                                                                                   ":'code','codes'"
                                                                                   ":{'type':'"
                                                                                   "ValueSetRef','"
                                                                                   "name':'Gone','"
                                                                                   "preserve':"
                                                                                   "true}")) "},"
                                                                                             "{'"
                                                                                             "name'"
                                                                                             ":'"
                                                                                             "Null'"
                                                                                             ",'"
                                                                                             "conte"
                                                                                             "xt':'"
                                                                                             "Patie"
                                                                                             "nt','"
                                                                                             "expre"
                                                                                             "ssion"
                                                                                             "'"
                                                                                             ":" IDS(OBSERVATIONS(
                                                                                                 ","
                                                                                                 "'"
                                                                                                 "c"
                                                                                                 "o"
                                                                                                 "d"
                                                                                                 "e"
                                                                                                 "P"
                                                                                                 "r"
                                                                                                 "o"
                                                                                                 "p"
                                                                                                 "e"
                                                                                                 "r"
                                                                                                 "t"
                                                                                                 "y"
                                                                                                 "'"
                                                                                                 ":"
                                                                                                 "'"
                                                                                                 "c"
                                                                                                 "o"
                                                                                                 "d"
                                                                                                 "e"
                                                                                                 "'"
                                                                                                 ","
                                                                                                 "'"
                                                                                                 "c"
                                                                                                 "o"
                                                                                                 "d"
                                                                                                 "e"
                                                                                                 "s"
                                                                                                 "'"
                                                                                                 ":"
                                                                                                 "{"
                                                                                                 "'"
                                                                                                 "t"
                                                                                                 "y"
                                                                                                 "p"
                                                                                                 "e"
                                                                                                 "'"
                                                                                                 ":"
                                                                                                 "'"
                                                                                                 "N"
                                                                                                 "u"
                                                                                                 "l"
                                                                                                 "l"
                                                                                                 "'"
                                                                                                 "}")) "},"
                                                                                                       "{'name':'Status','context':'Patient','expression':" IDS(
                                                                                                           OBSERVATIONS(
                                                                                                               ",'codeProperty':'status','codes':{'type':'List','element':[$S(final)]}")) "},"
                                                                                                                                                                                          "{'name':'Text','context':'Patient','expression':{'type':'Count','source':{'type':'Retrieve','dataType':"
                                                                                                                                                                                          "$F(Condition),'codeProperty':'code','codes':{'type':'ValueSetRef','name':'Creatinine','preserve':true}}}},"
                                                                                                                                                                                          "{'name':'Any','context':'Patient','expression':{'type':'Count','source':{'type':'Retrieve','dataType':"
                                                                                                                                                                                          "$F(Resource)}}},"
                                                                                                                                                                                          "{'name':'In','context':'Patient','expression':{'type':'InValueSet','code':{'type':'CodeRef','name':'CREA'},"
                                                                                                                                                                                          "'valueset':{'name':'Creatinine'}}},"
                                                                                                                                                                                          "{'name':'NotIn','context':'Patient','expression':{'type':'InValueSet','code':{'type':'CodeRef','name':"
                                                                                                                                                                                          "'EGFR'},'valueset':{'name':'Creatinine'}}},"
                                                                                                                                                                                          "{'name':'Codes','context':'Patient','expression':{'type':'Count','source':{'type':'ExpandValueSet',"
                                                                                                                                                                                          "'operand':{'type':'ValueSetRef','name':'Creatinine','preserve':true}}}},"
                                                                                                                                                                                          "{'name':'Listed','context':'Patient','expression':{'type':'Count','source':{'type':'ValueSetRef','name':"
                                                                                                                                                                                          "'Creatinine'}}}");
    assert_string_equal(value_of(f, "All"), "{ 'o1', 'o2', 'o3' }");
    assert_string_equal(value_of(f, "Set"), "{ 'o1' }");
    assert_string_equal(value_of(f, "Old"), "{ 'o1' }");
    assert_string_equal(value_of(f, "Code"), "{ 'o3' }");
    assert_string_equal(value_of(f, "Concept"), "{ 'o1', 'o3' }");
    assert_string_equal(value_of(f, "Gone"), "!value set urn:gone is not known");
    assert_string_equal(value_of(f, "Null"), "{ }");
    assert_string_equal(value_of(f, "Status"), "{ 'o1', 'o2', 'o3' }");
    assert_string_equal(value_of(f, "Text"), "0");
    assert_string_equal(value_of(f, "Any"), "5");
    assert_string_equal(value_of(f, "In"), "true");
    assert_string_equal(value_of(f, "NotIn"), "false");
    assert_string_equal(value_of(f, "Codes"), "2");
    assert_string_equal(value_of(f, "Listed"), "2");
    fixture_free(f);
}

/* From 2023-12-15 to the end of 2024; a bound of the same day as the data would be uncertain. */
#define YEAR2024                                                                                   \
    "{'type':'Interval','low':{'type':'DateTime','year':$I(2023),'month':$I(12),'day':$I(15)},"    \
    "'high':{'type':'DateTime','year':$I(2025),'month':$I(1),'day':$I(1)},'highClosed':false}"

static void retrieves_filter_by_date_and_id(void **state)
{
    (void)state;
    fixture *f = patient_fixture("{'name':'Date','context':'Patient','expression':" IDS(OBSERVATIONS(
        ",'dateProperty':'effective','dateRange':" YEAR2024)) "},"
                                                              "{'name':'Null','context':'Patient','"
                                                              "expression':" IDS(OBSERVATIONS(
                                                                  ",'dateProperty':'effective',"
                                                                  "'dateRange':{'type':'Null'"
                                                                  "}")) "},"
                                                                        "{'name':'Filter','"
                                                                        "context':'Patient','"
                                                                        "expression':" IDS(OBSERVATIONS(
                                                                            ",'dateFilter':[{'"
                                                                            "property':'"
                                                                            "effective','value'"
                                                                            ":" YEAR2024
                                                                            "}]")) "},"
                                                                                   "{'name':'"
                                                                                   "Id','"
                                                                                   "context':'"
                                                                                   "Patient','"
                                                                                   "expression'"
                                                                                   ":" IDS(OBSERVATIONS(
                                                                                       ",'"
                                                                                       "id'"
                                                                                       ":$"
                                                                                       "S("
                                                                                       "o2"
                                                                                       ")")) "},"
                                                                                             "{'"
                                                                                             "name'"
                                                                                             ":'"
                                                                                             "Other"
                                                                                             "','"
                                                                                             "conte"
                                                                                             "xt':'"
                                                                                             "Patie"
                                                                                             "nt','"
                                                                                             "expre"
                                                                                             "ssion"
                                                                                             "'"
                                                                                             ":" IDS(OBSERVATIONS(
                                                                                                 ","
                                                                                                 "'"
                                                                                                 "o"
                                                                                                 "t"
                                                                                                 "h"
                                                                                                 "e"
                                                                                                 "r"
                                                                                                 "F"
                                                                                                 "i"
                                                                                                 "l"
                                                                                                 "t"
                                                                                                 "e"
                                                                                                 "r"
                                                                                                 "'"
                                                                                                 ":"
                                                                                                 "["
                                                                                                 "{"
                                                                                                 "'"
                                                                                                 "p"
                                                                                                 "r"
                                                                                                 "o"
                                                                                                 "p"
                                                                                                 "e"
                                                                                                 "r"
                                                                                                 "t"
                                                                                                 "y"
                                                                                                 "'"
                                                                                                 ":"
                                                                                                 "'"
                                                                                                 "s"
                                                                                                 "t"
                                                                                                 "a"
                                                                                                 "t"
                                                                                                 "u"
                                                                                                 "s"
                                                                                                 "'"
                                                                                                 ","
                                                                                                 "'"
                                                                                                 "c"
                                                                                                 "o"
                                                                                                 "m"
                                                                                                 "p"
                                                                                                 "a"
                                                                                                 "r"
                                                                                                 "a"
                                                                                                 "t"
                                                                                                 "o"
                                                                                                 "r"
                                                                                                 "'"
                                                                                                 ":"
                                                                                                 "'"
                                                                                                 "="
                                                                                                 "'"
                                                                                                 ","
                                                                                                 "'"
                                                                                                 "v"
                                                                                                 "a"
                                                                                                 "l"
                                                                                                 "u"
                                                                                                 "e"
                                                                                                 "'"
                                                                                                 ":"
                                                                                                 "$"
                                                                                                 "S"
                                                                                                 "("
                                                                                                 "f"
                                                                                                 "i"
                                                                                                 "n"
                                                                                                 "a"
                                                                                                 "l"
                                                                                                 ")"
                                                                                                 "}"
                                                                                                 "]")) "}");
    assert_string_equal(value_of(f, "Date"), "{ 'o1', 'o3' }");
    assert_string_equal(value_of(f, "Null"), "{ }");
    assert_string_equal(value_of(f, "Filter"), "{ 'o1', 'o3' }");
    assert_string_equal(value_of(f, "Id"), "{ 'o2' }");
    assert_string_equal(value_of(f, "Other"), "{ 'o1', 'o2', 'o3' }");
    fixture_free(f);
}

/* ELM paths lead through repeating elements: component.code is each component's code. */
static void a_code_path_leads_through_lists(void **state)
{
    (void)state;
    fixture *f = patient_fixture("{'name':'Part','context':'Patient','expression':" IDS(
        OBSERVATIONS(",'codeProperty':'component.code','codes':{'type':'ValueSetRef','name':'"
                     "Creatinine','preserve':true}")) "}");
    put(f,
        "{'resourceType':'Observation','id':'panel','code':{'text':'panel'},'component':[{'code':{"
        "'text':'x'}},{'code':{'coding':[{'system':'http://loinc.org','code':'2160-0'}]}}]}");
    f->run = cql_run_begin(f->arena, f->set, &f->request);
    assert_string_equal(value_of(f, "Part"), "{ 'panel' }");
    fixture_free(f);
}

/* Most data declare no profile; a caller whose data do can ask for it. */
static void profiles_count_where_the_request_says_so(void **state)
{
    (void)state;
    fixture *f = patient_fixture("{'name':'Base','context':'Patient','expression':" IDS(
        OBSERVATIONS(",'templateId':'http://hl7.org/fhir/StructureDefinition/"
                     "Observation'")) "},"
                                      "{'name':'Profile','context':'Patient','"
                                      "expression':" IDS(
                                          OBSERVATIONS(",'templateId':'urn:example:lab'")) "}");
    put(f, "{'resourceType':'Observation','id':'o4','meta':{'profile':['urn:other','urn:example:"
           "lab|2']}}");
    f->run = cql_run_begin(f->arena, f->set, &f->request);
    assert_string_equal(value_of(f, "Base"), "{ 'o1', 'o2', 'o3', 'o4' }");
    assert_string_equal(value_of(f, "Profile"), "{ 'o1', 'o2', 'o3', 'o4' }");
    f->request.by_profile = true;
    f->run = cql_run_begin(f->arena, f->set, &f->request);
    assert_string_equal(value_of(f, "Base"), "{ 'o1', 'o2', 'o3', 'o4' }");
    assert_string_equal(value_of(f, "Profile"), "{ 'o4' }");
    fixture_free(f);
}

/* A translator of 3.10 leaves the scope out where the author left the alias out. */
static void a_property_without_scope_is_of_the_nearest_alias(void **state)
{
    (void)state;
    check_expression(
        "{'type':'Query','source':[" SOURCE(
            "A",
            LIST("{'type':'Tuple','element':[{'name':'n',"
                 "'value':$I(4)}]}")) "],'return':{'expression':{'type':'Property','path':'n'}}}",
        "{ 4 }");
}

static void fhir_data_are_read_where_they_stand(void **state)
{
    (void)state;
    fixture *f = patient_fixture(
        "{'name':'Patient','context':'Patient','expression':{'type':'SingletonFrom','operand':{'"
        "type':'Retrieve',"
        "'dataType':$F(Patient)}}},"
        "{'name':'Born','context':'Patient','expression':{'type':'Property','path':'birthDate."
        "value','source':"
        "$R(Patient)}},"
        "{'name':'Age','context':'Patient','expression':{'type':'CalculateAge','precision':'Year','"
        "operand':"
        "$R(Born)}},"
        "{'name':'Choice','context':'Patient','expression':{'type':'Query','source':[" SOURCE(
            "O", OBSERVATIONS(
                     "")) "],'return':{'distinct':false,'expression':{'type':'Is','isType':$F("
                          "Period),'operand':{'type':'Property',"
                          "'path':'effective','scope':'O'}}}}},"
                          "{'name':'Values','context':'Patient','expression':{'type':'Query','"
                          "source':[" SOURCE(
                              "O",
                              OBSERVATIONS(
                                  "")) "],'return':{'distinct':false,'expression':{'type':'"
                                       "Property','path':'value.value.value','scope':'O'}}}},"
                                       "{'name':'Absent','context':'Patient','expression':{'type':'"
                                       "Property','path':'deceased.value','source':"
                                       "$R(Patient)}},"
                                       "{'name':'Sorted','context':'Patient','expression':{'type':'"
                                       "Query','source':[" SOURCE(
                                           "O",
                                           OBSERVATIONS(
                                               "")) "],'return':{'distinct':false,'expression':$A("
                                                    "O)},'sort':{'by':[{'type':'ByExpression','"
                                                    "direction':'desc',"
                                                    "'expression':{'type':'As','asType':$F("
                                                    "dateTime),'operand':{'type':'IdentifierRef','"
                                                    "name':'effective'}}}]}}},"
                                                    "{'name':'Order','context':'Patient','"
                                                    "expression':{'type':'Query','source':[" SOURCE(
                                                        "O",
                                                        "$R(Sorted)") "],'return':{'distinct':"
                                                                      "false,'expression':{'type':'"
                                                                      "Property','path':'id.value',"
                                                                      "'scope':'O'}}}}");
    assert_string_equal(value_of(f, "Born"), "@1950-03-14");
    assert_string_equal(value_of(f, "Age"), "73"); /* at the run's date, not today */
    assert_string_equal(value_of(f, "Choice"), "{ false, false, true }");
    assert_string_equal(value_of(f, "Values"), "{ 1.10, null, null }");
    assert_string_equal(value_of(f, "Absent"), "null");
    assert_string_equal(value_of(f, "Order"), "{ 'o1', 'o2', 'o3' }");
    fixture_free(f);
}

static void fhir_helpers_are_native_when_external(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
    assert_int_equal(
        add_library(
            f->set,
            "'usings':{'def':[{'localIdentifier':'FHIR','uri':'http://hl7.org/"
            "fhir','version':'4.0.1'}]},"
            "'includes':{'def':[{'localIdentifier':'FHIRHelpers','path':'FHIRHelpers','version':'4."
            "0.1'}]},"
            "'statements':{'def':[{'name':'Q','context':'Patient','expression':{'type':'Query','"
            "source':[" SOURCE(
                "O", OBSERVATIONS(
                         "")) "],'return':{'distinct':false,'expression':{'type':'FunctionRef',"
                              "'name':'ToQuantity','libraryName':'FHIRHelpers','operand':[{'type':'"
                              "As','asType':$F(Quantity),"
                              "'operand':{'type':'Property','path':'value','scope':'O'}}]}}}}]}",
            &p),
        OG_OK);
    assert_int_equal(
        add_elm(
            f->set,
            "{'library':{'identifier':{'id':'FHIRHelpers','version':'4.0.1'},'statements':{'def':["
            "{'name':'ToQuantity','type':'FunctionDef','external':true,'operand':[{'name':'value',"
            "'operandTypeSpecifier':{'type':'NamedTypeSpecifier','name':$F(Quantity)}}]}]}}}",
            &p),
        OG_OK);
    put(f, "{'resourceType':'Observation','id':'a','valueQuantity':{'value':1.5,'code':'mg/"
           "dL','system':"
           "'http://unitsofmeasure.org'}}");
    put(f, "{'resourceType':'Observation','id':'b','valueQuantity':{'code':'mg/dL'}}");
    put(f, "{'resourceType':'Observation','id':'c','valueString':'none'}");
    start(f);
    assert_string_equal(value_of(f, "Q"), "{ 1.5 'mg/dL', null, null }");
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_return_keeps_duplicates),
        cmocka_unit_test(sources_are_combined),
        cmocka_unit_test(where_takes_what_is_true),
        cmocka_unit_test(lets_see_what_stands_before),
        cmocka_unit_test(relationships_filter),
        cmocka_unit_test(relationships_see_the_row),
        cmocka_unit_test(aggregates_run_over_rows),
        cmocka_unit_test(sorting_is_stable_and_puts_nulls_first),
        cmocka_unit_test(long_lists_are_sorted),
        cmocka_unit_test(retrieves_filter_by_code),
        cmocka_unit_test(retrieves_filter_by_date_and_id),
        cmocka_unit_test(a_code_path_leads_through_lists),
        cmocka_unit_test(profiles_count_where_the_request_says_so),
        cmocka_unit_test(a_property_without_scope_is_of_the_nearest_alias),
        cmocka_unit_test(fhir_data_are_read_where_they_stand),
        cmocka_unit_test(fhir_helpers_are_native_when_external),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
