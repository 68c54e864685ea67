/* Data requirements: what a define can read follows from its tree, through references, functions
 * and includes. */
#include "elm.h"

static const char *requirements(fixture *f, const char *define)
{
    const cql_library *lib = cql_set_at(f->set, 0);
    const cql_define *d = define != NULL ? cql_library_define(lib, og_str_of(define)) : NULL;
    const cql_requirement *r;
    size_t n = cql_requirements(lib, d, &r), at = 0;
    f->text[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        at += (size_t)snprintf(f->text + at, sizeof f->text - at, "%s%.*s", i != 0 ? ", " : "",
                               OG_STR_ARG(r[i].type));
        if (r[i].code_path.n != 0)
            at += (size_t)snprintf(f->text + at, sizeof f->text - at, " %.*s",
                                   OG_STR_ARG(r[i].code_path));
        if (r[i].valueset != NULL)
            at += (size_t)snprintf(f->text + at, sizeof f->text - at, " in %.*s",
                                   OG_STR_ARG(fhir_valueset_url(r[i].valueset)));
        for (size_t k = 0; k < r[i].code_count; k++)
            at += (size_t)snprintf(f->text + at, sizeof f->text - at, " ~ %.*s",
                                   OG_STR_ARG(r[i].codes[k].code));
    }
    return f->text;
}

#define RETRIEVE(type, filter) "{'type':'Retrieve','dataType':$F(" type ")" filter "}"
#define CODES(codes)           ",'codeProperty':'code','codes':" codes
#define DEFINE(name, body)     "{'name':'" name "','context':'Patient','expression':" body "}"
#define IN_SET                 CODES("{'type':'ValueSetRef','name':'V','preserve':true}")
#define CODE                   "{'type':'CodeRef','name':'C'}"
#define CHOSEN                 "{'type':'If','condition':$B(true),'then':" CODE ",'else':{'type':'Null'}}"
#define CALL_F                 "{'type':'FunctionRef','name':'f','libraryName':'L','operand':[]}"

/* Of the define Plain, through a relationship, a condition and a sort key. */
#define QUERY(related, exists, counted)                                                            \
    "{'type':'Query','source':[{'alias':'A','expression':$R(Plain)}],'relationship':[{"            \
    "'type':'With','alias':'B','suchThat':$B(true),'expression':" related                          \
    "}],'where':{'type':'Exists','operand':" exists                                                \
    "},'sort':{'by':[{'type':'ByExpression','direction':'asc','expression':{"                      \
    "'type':'Count','source':" counted "}}]}}"

static const char terms[] = "'includes':{'def':[{'localIdentifier':'L','path':'Lib'}]},"
                            "'codeSystems':{'def':[{'name':'S','id':'urn:s'}]},"
                            "'valueSets':{'def':[{'name':'V','id':'urn:v'}]},"
                            "'codes':{'def':[{'name':'C','id':'c','codeSystem':{'name':'S'}}]},";

static const char *const defines[] = {
    DEFINE("Plain", RETRIEVE("Condition", "")),
    DEFINE("Set", RETRIEVE("Observation", IN_SET)),
    DEFINE("Again", "{'type':'Union','operand':[$R(Set)," RETRIEVE("Observation", IN_SET) "]}"),
    DEFINE("Code", RETRIEVE("Procedure", CODES("{'type':'ToList','operand':" CODE "}"))),
    DEFINE("Wrapped",
           RETRIEVE("Goal",
                    CODES("{'type':'ToList','operand':{'type':'List','element':[" CODE "]}}"))),
    DEFINE("Dynamic", RETRIEVE("Procedure", CODES("{'type':'List','element':[" CHOSEN "]}"))),
    DEFINE("Query", QUERY(RETRIEVE("Encounter", ""), CALL_F, RETRIEVE("Goal", ""))),
    DEFINE("Nothing", "$I(1)"),
};

static void add_defines(fixture *f, const char *const *list, size_t count, problems *p)
{
    og_buf b;
    og_buf_init(&b, (size_t)1 << 20);
    og_buf_addz(&b, terms);
    og_buf_addz(&b, "'statements':{'def':[");
    for (size_t i = 0; i < count; i++) {
        og_buf_addz(&b, i != 0 ? "," : "");
        og_buf_addz(&b, list[i]);
    }
    og_buf_addz(&b, "]}");
    og_buf_addc(&b, '\0');
    if (add_library(f->set, b.p, p) != OG_OK)
        fail_msg("%s (at %s)", p->first.text, p->first.path);
    og_buf_done(&b);
}

/* What `terms` speaks of. */
static void add_surroundings(fixture *f, problems *p)
{
    assert_int_equal(
        add_elm(
            f->set,
            "{'library':{'identifier':{'id':'Lib'},'statements':{'def':[{'name':'f',"
            "'type':'FunctionDef','operand':[],'expression':" RETRIEVE("Immunization", "") "}]}}}",
            p),
        OG_OK);
    put_terms(f, "{'resourceType':'ValueSet','url':'urn:v','compose':{'include':[{"
                 "'system':'urn:s','concept':[{'code':'a'}]}]}}");
}

static void requirements_follow_from_the_tree(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
    add_defines(f, defines, sizeof defines / sizeof defines[0], &p);
    add_surroundings(f, &p);
    start(f);
    assert_string_equal(requirements(f, "Plain"), "Condition");
    assert_string_equal(requirements(f, "Set"), "Observation code in urn:v");
    assert_string_equal(requirements(f, "Again"), "Observation code in urn:v");
    assert_string_equal(requirements(f, "Code"), "Procedure code ~ c");
    assert_string_equal(requirements(f, "Wrapped"), "Goal code ~ c");
    assert_string_equal(requirements(f, "Dynamic"), "Procedure");
    assert_string_equal(requirements(f, "Query"), "Condition, Encounter, Immunization, Goal");
    assert_string_equal(requirements(f, "Nothing"), "");
    assert_string_equal(requirements(f, NULL),
                        "Condition, Observation code in urn:v, Procedure code ~ c, "
                        "Goal code ~ c, Procedure, Encounter, Immunization, Goal");
    fixture_free(f);
}

/* ---- elements ---- */

#define PATH(alias, path) "{'type':'Property','path':'" path "','scope':'" alias "'}"
#define OF(path, source)  "{'type':'Property','path':'" path "','source':" source "}"
#define FROM(source, rest)                                                                         \
    "{'type':'Query','relationship':[],'source':[{'alias':'A','expression':" source "}]" rest "}"
#define NOT_NULL(e)     "{'type':'Not','operand':{'type':'IsNull','operand':" e "}}"
#define EXISTS(e)       "{'type':'Exists','operand':" e "}"
#define OPERAND(name)   "{'type':'OperandRef','name':'" name "'}"
#define CALL(name, arg) "{'type':'FunctionRef','name':'" name "','operand':[" arg "]}"
#define FUNCTION(name, operand, body)                                                              \
    "{'name':'" name "','type':'FunctionDef','context':'Patient','operand':[{'name':'" operand     \
    "','operandTypeSpecifier':{'type':'NamedTypeSpecifier','name':'{urn:hl7-org:elm-types:r1}Any'" \
    "}}],'expression':" body "}"

static const char *const readers[] = {
    DEFINE("Plain", RETRIEVE("Condition", "")),
    DEFINE("There", EXISTS(RETRIEVE("Condition", ""))),
    /* an alias, through other definitions, First and a sort */
    DEFINE("Where", EXISTS(FROM("$R(Plain)", ",'where':" NOT_NULL(PATH("A", "onset"))))),
    DEFINE("Last", "{'type':'First','source':" FROM(
                       "$R(Plain)", ",'sort':{'by':[{'type':'ByExpression','direction':'asc',"
                                    "'expression':{'type':'IdentifierRef','name':'recordedDate'}}]"
                                    "}") "}"),
    DEFINE("Status", OF("clinicalStatus.coding", "$R(Last)")),
    /* a function, and one that calls itself */
    FUNCTION("code", "c", OF("code", OPERAND("c"))),
    FUNCTION("again", "c",
             "{'type':'If','condition':" NOT_NULL(OF("severity", OPERAND("c"))) ",'then':" OPERAND(
                 "c") ",'else':" CALL("again", OPERAND("c")) "}"),
    DEFINE("Called", CALL("code", "{'type':'SingletonFrom','operand':$R(Plain)}")),
    DEFINE("Recursive", OF("stage", CALL("again", "{'type':'SingletonFrom','operand':$R(Plain)}"))),
    /* two types in one list, each with its own elements */
    DEFINE("Two", "{'type':'Count','source':" FROM(
                      "{'type':'Union','operand':[$R(Plain)," RETRIEVE("Procedure", "") "]}",
                      ",'where':{'type':'And','operand':[" NOT_NULL(
                          PATH("A", "onset")) "," NOT_NULL(PATH("A", "performed")) "]}") "}"),
    /* what the filter reads */
    DEFINE("Filtered",
           EXISTS(RETRIEVE("Procedure", CODES("{'type':'ToList','operand':" CODE "}")))),
    /* whole resources go somewhere */
    DEFINE("Tuple", OF("c", "{'type':'Tuple','element':[{'name':'c','value':$R(Last)}]}")),
    DEFINE("Equal", "{'type':'Equal','operand':[$R(Last),$R(Last)]}"),
    DEFINE("Both", "{'type':'And','operand':[$R(Where),$R(Equal)]}"),
    DEFINE("Returned",
           FROM("$R(Plain)", ",'return':{'distinct':false,'expression':" PATH("A", "code") "}")),
    DEFINE("Itself", FROM("$R(Plain)", ",'where':" NOT_NULL(PATH("A", "onset")))),
};

static const char *elements(fixture *f, const char *define, const char *type)
{
    const cql_library *lib = cql_set_at(f->set, 0);
    const cql_define *d = define != NULL ? cql_library_define(lib, og_str_of(define)) : NULL;
    const og_str *names;
    og_arena *a = og_arena_new((size_t)1 << 24);
    assert_non_null(a);
    size_t n = cql_elements_read(a, lib, d, og_str_of(type), &names), at = 0;
    f->text[0] = '\0';
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(f->text + at, sizeof f->text - at, "%s%.*s", i != 0 ? " " : "",
                               OG_STR_ARG(names[i]));
    og_arena_free(a);
    return f->text;
}

static void elements_follow_the_resources(void **state)
{
    fixture *f = fixture_new();
    problems p = {0};
    (void)state;
    add_defines(f, readers, sizeof readers / sizeof readers[0], &p);
    add_surroundings(f, &p);
    start(f);
    assert_string_equal(elements(f, "Where", "Condition"), "onset");
    assert_string_equal(elements(f, "Status", "Condition"), "clinicalStatus recordedDate");
    assert_string_equal(elements(f, "Called", "Condition"), "code");
    assert_string_equal(elements(f, "Recursive", "Condition"), "severity stage");
    assert_string_equal(elements(f, "Two", "Condition"), "id onset");
    assert_string_equal(elements(f, "Two", "Procedure"), "id performed");
    assert_string_equal(elements(f, "Filtered", "Procedure"), "code");
    assert_string_equal(elements(f, "Returned", "Condition"), "code");
    /* all of it, or nothing that could be named */
    assert_string_equal(elements(f, "There", "Condition"), "");
    assert_string_equal(elements(f, "Plain", "Condition"), "");
    assert_string_equal(elements(f, "Last", "Condition"), "");
    assert_string_equal(elements(f, "Itself", "Condition"), "");
    assert_string_equal(elements(f, "Tuple", "Condition"), "");
    assert_string_equal(elements(f, "Equal", "Condition"), "");
    assert_string_equal(elements(f, "Both", "Condition"), "");
    assert_string_equal(elements(f, "Where", "Procedure"), "");
    assert_string_equal(elements(f, "Where", "Nonsense"), "");
    /* of a library: what all its definitions read */
    assert_string_equal(elements(f, NULL, "Condition"), "");
    assert_string_equal(elements(f, NULL, "Procedure"), "code id performed");
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_follow_the_resources),
        cmocka_unit_test(requirements_follow_from_the_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
