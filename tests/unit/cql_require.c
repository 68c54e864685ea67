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

static void requirements_follow_from_the_tree(void **state)
{
    (void)state;
    fixture *f = fixture_new();
    problems p = {0};
#define RETRIEVE(type, filter) "{'type':'Retrieve','dataType':$F(" type ")" filter "}"
    assert_int_equal(
        add_library(
            f->set,
            "'includes':{'def':[{'localIdentifier':'L','path':'Lib'}]},"
            "'codeSystems':{'def':[{'name':'S','id':'urn:s'}]},"
            "'valueSets':{'def':[{'name':'V','id':'urn:v'}]},"
            "'codes':{'def':[{'name':'C','id':'c','codeSystem':{'name':'S'}}]},"
            "'statements':{'def':["
            "{'name':'Plain','context':'Patient','expression':" RETRIEVE(
                "Condition",
                "") "},"
                    "{'name':'Set','context':'Patient','expression':" RETRIEVE("Observation", ",'"
                                                                                              "code"
                                                                                              "Prop"
                                                                                              "erty"
                                                                                              "':'"
                                                                                              "code"
                                                                                              "','"
                                                                                              "code"
                                                                                              "s':{"
                                                                                              "'typ"
                                                                                              "e':'"
                                                                                              "Valu"
                                                                                              "eSet"
                                                                                              "Ref'"
                                                                                              ",'"
                                                                                              "name"
                                                                                              "':'"
                                                                                              "V','"
                                                                                              "pres"
                                                                                              "erve"
                                                                                              "':"
                                                                                              "true"
                                                                                              "}") "},{'name':'Again','context':'Patient','expression':{'type':'Union','operand':[$R(Set)," RETRIEVE("Observation", ",'codeProperty':'code','codes':{'type':'ValueSetRef','name':'V','preserve':true}") "]}},{'name':'Code','context':'Patient','expression':" RETRIEVE(
                        "Procedure",
                        ",'codeProperty':'code','codeComparator':'~','codes':{'type':'ToList','"
                        "operand':"
                        "{'type':'CodeRef','name':'C'}}") "},{'name':'Dynamic','context':'Patient',"
                                                          "'expression':" RETRIEVE("Procedure",
                                                                                   ",'codeProperty'"
                                                                                   ":'code','codes'"
                                                                                   ":{'type':'List'"
                                                                                   ",'element':[{'"
                                                                                   "type':'If','"
                                                                                   "condition':"
                                                                                   "$B(true),'then'"
                                                                                   ":{'type':'"
                                                                                   "CodeRef','name'"
                                                                                   ":'C'},'else':{'"
                                                                                   "type':'Null'}}]"
                                                                                   "}") "},{'name':"
                                                                                        "'Query','"
                                                                                        "context':'"
                                                                                        "Patient','"
                                                                                        "expression"
                                                                                        "':{'type':"
                                                                                        "'Query','"
                                                                                        "source':[{"
                                                                                        "'alias':'"
                                                                                        "A','"
                                                                                        "expression"
                                                                                        "':"
                                                                                        "$R(Plain)}"
                                                                                        "],'"
                                                                                        "relationsh"
                                                                                        "ip':[{'"
                                                                                        "type':'"
                                                                                        "With','"
                                                                                        "alias':'B'"
                                                                                        ",'"
                                                                                        "expression"
                                                                                        "'"
                                                                                        ":" RETRIEVE(
                                                                                            "Encoun"
                                                                                            "ter",
                                                                                            "") ",'"
                                                                                                "su"
                                                                                                "ch"
                                                                                                "Th"
                                                                                                "at"
                                                                                                "':"
                                                                                                "$B"
                                                                                                "(t"
                                                                                                "ru"
                                                                                                "e)"
                                                                                                "}]"
                                                                                                ",'"
                                                                                                "wh"
                                                                                                "er"
                                                                                                "e'"
                                                                                                ":{"
                                                                                                "'t"
                                                                                                "yp"
                                                                                                "e'"
                                                                                                ":'"
                                                                                                "Ex"
                                                                                                "is"
                                                                                                "ts"
                                                                                                "',"
                                                                                                "'o"
                                                                                                "pe"
                                                                                                "ra"
                                                                                                "nd"
                                                                                                "':"
                                                                                                "{'"
                                                                                                "ty"
                                                                                                "pe"
                                                                                                "':"
                                                                                                "'F"
                                                                                                "un"
                                                                                                "ct"
                                                                                                "io"
                                                                                                "nR"
                                                                                                "ef"
                                                                                                "',"
                                                                                                "'n"
                                                                                                "am"
                                                                                                "e'"
                                                                                                ":'"
                                                                                                "f'"
                                                                                                ",'"
                                                                                                "li"
                                                                                                "br"
                                                                                                "ar"
                                                                                                "yN"
                                                                                                "am"
                                                                                                "e'"
                                                                                                ":"
                                                                                                "'L"
                                                                                                "',"
                                                                                                "'o"
                                                                                                "pe"
                                                                                                "ra"
                                                                                                "nd"
                                                                                                "':"
                                                                                                "[]"
                                                                                                "}}"
                                                                                                ",'"
                                                                                                "so"
                                                                                                "rt"
                                                                                                "':"
                                                                                                "{'"
                                                                                                "by"
                                                                                                "':"
                                                                                                "[{"
                                                                                                "'t"
                                                                                                "yp"
                                                                                                "e'"
                                                                                                ":'"
                                                                                                "By"
                                                                                                "Ex"
                                                                                                "pr"
                                                                                                "es"
                                                                                                "si"
                                                                                                "on"
                                                                                                "',"
                                                                                                "'d"
                                                                                                "ir"
                                                                                                "ec"
                                                                                                "ti"
                                                                                                "on"
                                                                                                "':"
                                                                                                "'a"
                                                                                                "sc"
                                                                                                "',"
                                                                                                "'e"
                                                                                                "xp"
                                                                                                "re"
                                                                                                "ss"
                                                                                                "io"
                                                                                                "n'"
                                                                                                ":{"
                                                                                                "'t"
                                                                                                "yp"
                                                                                                "e'"
                                                                                                ":'"
                                                                                                "Co"
                                                                                                "un"
                                                                                                "t'"
                                                                                                ","
                                                                                                "'s"
                                                                                                "ou"
                                                                                                "rc"
                                                                                                "e'"
                                                                                                ":" RETRIEVE(
                                                                                                    "Goal",
                                                                                                    "") "}}]}}},"
                                                                                                        "{'name':'Nothing','context':'Patient','expression':$I(1)}]}",
            &p),
        OG_OK);
    assert_int_equal(
        add_elm(f->set,
                "{'library':{'identifier':{'id':'Lib'},'statements':{'def':[{'name':'f','type':"
                "'FunctionDef','operand':[],'expression':" RETRIEVE("Immunization", "") "}]}}}",
                &p),
        OG_OK);
    put_terms(f, "{'resourceType':'ValueSet','url':'urn:v','compose':{'include':[{'system':'urn:s',"
                 "'concept':"
                 "[{'code':'a'}]}]}}");
    start(f);
    assert_string_equal(requirements(f, "Plain"), "Condition");
    assert_string_equal(requirements(f, "Set"), "Observation code in urn:v");
    assert_string_equal(requirements(f, "Again"), "Observation code in urn:v");
    assert_string_equal(requirements(f, "Code"), "Procedure code ~ c");
    assert_string_equal(requirements(f, "Dynamic"), "Procedure");
    assert_string_equal(requirements(f, "Query"), "Condition, Encounter, Immunization, Goal");
    assert_string_equal(requirements(f, "Nothing"), "");
    assert_string_equal(
        requirements(f, NULL),
        "Condition, Observation code in urn:v, Procedure code ~ c, Procedure, Encounter, "
        "Immunization, Goal");
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requirements_follow_from_the_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
