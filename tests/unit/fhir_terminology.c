/* Value sets, code systems and concept maps: what is read, what is refused and where, what matches.
 */
#include "fhir/terminology.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NONE         ((og_str){NULL, 0})

/* --- fixture: a terminology, and the errors that it reported --- */

typedef struct fixture {
    fhir_terminology *t;
    og_arena *arena;
    og_error errors[8];
    og_report report;
} fixture;

static void collect(void *ctx, const og_error *err)
{
    fixture *f = ctx;
    if (f->report.count <= COUNT(f->errors))
        f->errors[f->report.count - 1] = *err;
}

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return 1;
    f->t = fhir_terminology_new();
    f->arena = og_arena_new((size_t)64 << 20);
    f->report = (og_report){.fn = collect, .ctx = f};
    *state = f;
    return f->t == NULL || f->arena == NULL;
}

static int teardown(void **state)
{
    fixture *f = *state;
    fhir_terminology_free(f->t);
    og_arena_free(f->arena);
    free(f);
    return 0;
}

static og_status add_text(fixture *f, og_str text)
{
    fhir_doc doc;
    og_error err;
    og_error_init(&err);
    if (fhir_decode(f->arena, text, NULL, &doc, &err) != OG_OK)
        fail_msg("the test's own JSON: %s", err.text);
    og_status status = fhir_terminology_add(f->t, fhir_root(&doc), "file.json", &f->report);
    og_arena_reset(f->arena); /* nothing may be borrowed from the document */
    return status;
}

/* Single quotes stand for double ones. */
static og_status add(fixture *f, const char *text)
{
    char buffer[8192];
    size_t n = strlen(text);
    assert_true(n < sizeof(buffer));
    for (size_t i = 0; i < n; i++)
        buffer[i] = text[i] == '\'' ? '"' : text[i];
    return add_text(f, (og_str){buffer, n});
}

static void link_up(fixture *f)
{
    if (fhir_terminology_link(f->t, &f->report) != OG_OK)
        fail_msg("%s (%s)", f->errors[0].text, f->errors[0].path);
}

static const fhir_valueset *find(fixture *f, const char *url)
{
    return fhir_valueset_find(f->t, og_str_of(url), NONE);
}

static bool has(fixture *f, const char *url, const char *system, const char *code)
{
    const fhir_valueset *vs = find(f, url);
    if (vs == NULL)
        fail_msg("no value set %s", url);
    return fhir_valueset_has(vs, og_str_of(system), og_str_of(code));
}

#define SCT "http://snomed.info/sct"
#define GM  "http://fhir.de/CodeSystem/bfarm/icd-10-gm"

/* --- systems and codes --- */

static void aliases_of_systems(void **state)
{
    (void)state;
    static const struct {
        const char *name, *canonical;
    } rows[] = {{"http://snomed.info/sct", SCT},
                {"https://snomed.info/sct", SCT},
                {"http://snomed.info/sct/", SCT},
                {"urn:oid:2.16.840.1.113883.6.96", SCT},
                {"2.16.840.1.113883.6.96", SCT},
                {"urn:oid:2.16.840.1.113883.6.1", "http://loinc.org"},
                {"https://loinc.org", "http://loinc.org"},
                {"urn:oid:2.16.840.1.113883.6.88", "http://www.nlm.nih.gov/research/umls/rxnorm"},
                {"urn:oid:2.16.840.1.113883.6.90", "http://hl7.org/fhir/sid/icd-10-cm"},
                {"urn:oid:1.2.276.0.76.5.311", "http://fhir.de/CodeSystem/bfarm/icd-10-gm"},
                {"1.2.276.0.76.5.417", "http://fhir.de/CodeSystem/bfarm/icd-10-gm"},
                {"urn:oid:2.16.840.1.113883.6.3", "http://hl7.org/fhir/sid/icd-10"},
                {"http://fhir.de/CodeSystem/dimdi/icd-10-gm", GM},
                {"urn:oid:1.2.276.0.76.5.409", GM},
                {"http://fhir.de/CodeSystem/dimdi/atc", "http://fhir.de/CodeSystem/bfarm/atc"},
                {"urn:oid:2.16.840.1.113883.6.73", "http://www.whocc.no/atc"},
                {"http://fhir.de/CodeSystem/dimdi/ops", "http://fhir.de/CodeSystem/bfarm/ops"},
                {"urn:oid:2.16.840.1.113883.6.8", "http://unitsofmeasure.org"},
                {"http://hospital.example/codes", "http://hospital.example/codes"},
                {"urn:oid:1.2.3", "urn:oid:1.2.3"},
                {"", ""}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        og_str got = fhir_system_canonical(og_str_of(rows[i].name));
        if (!og_str_is(got, rows[i].canonical))
            fail_msg("%s became %.*s", rows[i].name, OG_STR_ARG(got));
    }
}

static void equal_codes(void **state)
{
    (void)state;
    assert_true(fhir_code_equal(OG_STR(GM), OG_STR("C79.5"), OG_STR("C795")));
    assert_true(fhir_code_equal(OG_STR("urn:oid:2.16.840.1.113883.6.90"), OG_STR("C7951"),
                                OG_STR("C79.51")));
    assert_true(fhir_code_equal(OG_STR(GM), OG_STR("M90.70*"), OG_STR("M90.70")));
    /* the letter of certainty is no part of the code; nothing else may stand there */
    assert_true(fhir_code_equal(OG_STR(GM), OG_STR("C79.5"), OG_STR("C79.5 G")));
    assert_true(fhir_code_equal(OG_STR(GM), OG_STR("C795+ V"), OG_STR("C79.5")));
    assert_false(fhir_code_equal(OG_STR(GM), OG_STR("C79.5"), OG_STR("C79.5 B")));
    assert_false(fhir_code_equal(OG_STR(GM), OG_STR("C79.5"), OG_STR("C79.5 G G")));
    assert_false(fhir_code_equal(OG_STR(GM), OG_STR("C79.5"), OG_STR("C79.5 ")));
    assert_false(fhir_code_equal(OG_STR("http://snomed.info/sct"), OG_STR("1"), OG_STR("1 G")));
    assert_false(fhir_code_equal(OG_STR(GM), OG_STR("C79.5"), OG_STR("C79.51")));
    assert_false(fhir_code_equal(OG_STR(GM), OG_STR("C79"), OG_STR("C79.5")));
    assert_false(fhir_code_equal(OG_STR("http://loinc.org"), OG_STR("1.2"), OG_STR("12")));
    assert_true(fhir_code_equal(OG_STR("http://loinc.org"), OG_STR("1989-3"), OG_STR("1989-3")));
}

/* --- value sets --- */

static void listed_codes(void **state)
{
    fixture *f = *state;
    assert_int_equal(
        add(f, "{'resourceType':'ValueSet','url':'http://x/bone','version':'1','compose':{"
               "'include':[{'system':'urn:oid:2.16.840.1.113883.6.96','concept':["
               "{'code':'94222008','display':'Bone'},{'code':'2'},{'code':'94222008'}]},"
               "{'system':'" GM "','concept':[{'code':'C79.5'},{'code':'C795'}]}],"
               "'exclude':[{'system':'" SCT "','concept':[{'code':'2'}]}]}}"),
        OG_OK);
    link_up(f);
    const fhir_valueset *vs = find(f, "http://x/bone");
    assert_int_equal(fhir_valueset_count(vs), 2);
    og_str system, code, display;
    fhir_valueset_code(vs, 0, &system, &code, &display);
    assert_true(og_str_is(system, SCT) && og_str_is(code, "94222008") &&
                og_str_is(display, "Bone"));
    fhir_valueset_code(vs, 1, &system, &code, &display);
    assert_true(og_str_is(system, GM) && og_str_is(code, "C79.5") && display.n == 0);
    assert_true(og_str_is(fhir_valueset_url(vs), "http://x/bone"));
    assert_true(has(f, "http://x/bone", SCT, "94222008"));
    assert_true(has(f, "http://x/bone|1", "https://snomed.info/sct", "94222008"));
    assert_true(has(f, "http://x/bone", GM, "C795"));
    assert_true(has(f, "http://x/bone", "http://fhir.de/CodeSystem/dimdi/icd-10-gm", "C79.5!"));
    assert_false(has(f, "http://x/bone", SCT, "2"));
    assert_false(has(f, "http://x/bone", "", "94222008"));
    assert_false(has(f, "http://x/bone", SCT, ""));
    assert_false(has(f, "http://x/bone", "http://hl7.org/fhir/sid/icd-10", "C79.5"));
    assert_null(find(f, "http://x/other"));
    assert_null(find(f, "http://x/bone|2"));
    assert_null(find(f, ""));
}

static void expansions(void **state)
{
    fixture *f = *state;
    /* an expansion with codes wins over compose, here with a filter that nobody could work out */
    assert_int_equal(
        add(f,
            "{'resourceType':'ValueSet','url':'http://x/e','compose':{'include':[{'system':'" SCT
            "','filter':[{'property':'concept','op':'is-a','value':'1'}]}]},'expansion':{'total':4,"
            "'contains':[{'abstract':true,'system':'" SCT "','code':'1','contains':[{'system':'" SCT
            "','code':'2','contains':[{'system':'" SCT "','code':'3'}]}]},"
            "{'display':'group','contains':[]}]}}"),
        OG_OK);
    assert_int_equal(add(f, "{'resourceType':'ValueSet','url':'http://x/none','expansion':{}}"),
                     OG_OK);
    assert_int_equal(add(f,
                         "{'resourceType':'ValueSet','url':'http://x/c','expansion':{},'compose':{"
                         "'include':[{'system':'" SCT "','concept':[{'code':'7'}]}]}}"),
                     OG_OK);
    link_up(f);
    assert_false(has(f, "http://x/e", SCT, "1"));
    assert_true(has(f, "http://x/e", SCT, "2"));
    assert_true(has(f, "http://x/e", SCT, "3"));
    assert_int_equal(fhir_valueset_count(find(f, "http://x/none")), 0);
    assert_false(has(f, "http://x/none", SCT, "1"));
    assert_true(has(f, "http://x/c", SCT, "7"));
}

static void sets_of_sets(void **state)
{
    fixture *f = *state;
    assert_int_equal(add(f, "{'resourceType':'ValueSet','url':'http://x/all','compose':{'include':["
                            "{'valueSet':['http://x/a']},{'valueSet':['http://x/b|2']}],"
                            "'exclude':[{'valueSet':['http://x/c']}]}}"),
                     OG_OK);
    assert_int_equal(add(f,
                         "{'resourceType':'ValueSet','url':'http://x/both','compose':{'include':["
                         "{'valueSet':['http://x/a','http://x/b|2']}]}}"),
                     OG_OK);
    assert_int_equal(add(f,
                         "{'resourceType':'ValueSet','url':'http://x/part','compose':{'include':["
                         "{'system':'http://s/2','valueSet':['http://x/all']}]}}"),
                     OG_OK);
    assert_int_equal(add(f,
                         "{'resourceType':'ValueSet','url':'http://x/listed','compose':{'include':["
                         "{'system':'http://s/1','concept':[{'code':'2'},{'code':'9'}],"
                         "'valueSet':['http://x/a']}]}}"),
                     OG_OK);
    assert_int_equal(
        add(f, "{'resourceType':'ValueSet','url':'http://x/a','compose':{'include':["
               "{'system':'http://s/1','concept':[{'code':'1'},{'code':'2'},{'code':'3'}]}"
               "]}}"),
        OG_OK);
    assert_int_equal(add(f,
                         "{'resourceType':'ValueSet','url':'http://x/b','version':'2','compose':{"
                         "'include':[{'system':'http://s/1','concept':[{'code':'2'},{'code':'4'}]},"
                         "{'system':'http://s/2','concept':[{'code':'2'}]}]}}"),
                     OG_OK);
    assert_int_equal(add(f, "{'resourceType':'ValueSet','url':'http://x/c','compose':{'include':["
                            "{'system':'http://s/1','concept':[{'code':'3'}]}]}}"),
                     OG_OK);
    link_up(f);
    assert_int_equal(fhir_valueset_count(find(f, "http://x/all")), 4);
    assert_true(has(f, "http://x/all", "http://s/1", "1"));
    assert_true(has(f, "http://x/all", "http://s/1", "4"));
    assert_false(has(f, "http://x/all", "http://s/1", "3"));
    assert_int_equal(fhir_valueset_count(find(f, "http://x/both")), 1);
    assert_true(has(f, "http://x/both", "http://s/1", "2"));
    assert_int_equal(fhir_valueset_count(find(f, "http://x/part")), 1);
    assert_true(has(f, "http://x/part", "http://s/2", "2"));
    assert_int_equal(fhir_valueset_count(find(f, "http://x/listed")), 1);
    assert_int_equal(fhir_terminology_link(f->t, NULL), OG_OK); /* again: nothing changes */
    assert_int_equal(fhir_valueset_count(find(f, "http://x/all")), 4);
}

static void whole_code_systems(void **state)
{
    fixture *f = *state;
    assert_int_equal(
        add(f, "{'resourceType':'CodeSystem','url':'http://s','content':'complete','concept':["
               "{'code':'a','concept':[{'code':'b'}]},{'code':'c'}]}"),
        OG_OK);
    assert_int_equal(add(f, "{'resourceType':'ValueSet','url':'http://x/s','compose':{'include':["
                            "{'system':'http://s'}],'exclude':[{'system':'http://s','concept':["
                            "{'code':'c'}]}]}}"),
                     OG_OK);
    link_up(f);
    assert_int_equal(fhir_valueset_count(find(f, "http://x/s")), 2);
    assert_true(has(f, "http://x/s", "http://s", "b"));
    const fhir_codesystem *cs = fhir_codesystem_find(f->t, OG_STR("http://s"));
    assert_true(fhir_codesystem_complete(cs) && fhir_codesystem_has(cs, OG_STR("c")));
    assert_false(fhir_codesystem_has(cs, OG_STR("d")));
    assert_null(fhir_codesystem_find(f->t, OG_STR("http://t")));
}

/* Nested concepts and the properties parent and child say what is a kind of what. */
static void hierarchies_are_walked(void **state)
{
    static const struct {
        const char *system, *wider, *narrower;
        fhir_subsumption want;
    } table[] = {
        {"http://k", "a", "a", FHIR_SUBSUMES},
        {"http://k", "a", "b", FHIR_SUBSUMES},
        {"http://k", "a", "c", FHIR_SUBSUMES},
        {"http://k", "c", "a", FHIR_SUBSUMES_NOT},
        {"http://k", "a", "d", FHIR_SUBSUMES_NOT},
        {"http://k", "d", "c", FHIR_SUBSUMES},
        {"http://k", "e", "b", FHIR_SUBSUMES},
        {"http://k", "x", "y", FHIR_SUBSUMES},
        {"http://k", "y", "x", FHIR_SUBSUMES},
        {"http://k", "a", "x", FHIR_SUBSUMES_NOT},
        {"http://k", "a", "?", FHIR_SUBSUMES_UNKNOWN},
        {"http://part", "a", "b", FHIR_SUBSUMES},
        {"http://part", "b", "a", FHIR_SUBSUMES_UNKNOWN},
        {"http://flat", "a", "a", FHIR_SUBSUMES},
        {"http://flat", "a", "b", FHIR_SUBSUMES_UNKNOWN},
    };
    fixture *f = *state;
    assert_int_equal(
        add(f, "{'resourceType':'CodeSystem','url':'http://k','content':'complete',"
               "'hierarchyMeaning':'is-a','concept':[{'code':'a','concept':[{'code':'b','concept':["
               "{'code':'c','property':[{'code':'parent','valueCode':'d'}]}]}]},{'code':'d'},"
               "{'code':'e','property':[{'code':'child','valueCode':'b'}]},"
               "{'code':'x','property':[{'code':'parent','valueCode':'y'}]},"
               "{'code':'y','property':[{'code':'parent','valueCode':'x'}]}]}"),
        OG_OK);
    assert_int_equal(add(f, "{'resourceType':'CodeSystem','url':'http://part','content':'fragment',"
                            "'hierarchyMeaning':'is-a','concept':[{'code':'a','concept':[{'code':"
                            "'b'}]}]}"),
                     OG_OK);
    assert_int_equal(add(f, "{'resourceType':'CodeSystem','url':'http://flat','content':'complete',"
                            "'concept':[{'code':'a','concept':[{'code':'b'}]}]}"),
                     OG_OK);
    link_up(f);
    for (size_t i = 0; i < COUNT(table); i++) {
        const fhir_codesystem *cs = fhir_codesystem_find(f->t, og_str_of(table[i].system));
        if (fhir_codesystem_subsumes(cs, og_str_of(table[i].wider), og_str_of(table[i].narrower)) !=
            table[i].want)
            fail_msg("%s: %s over %s", table[i].system, table[i].wider, table[i].narrower);
    }
}

static void versions_and_oids(void **state)
{
    fixture *f = *state;
    static const char *const versions[] = {"1.9", "1.10", "1.2"};
    for (size_t i = 0; i < COUNT(versions); i++) {
        char text[400];
        snprintf(
            text, sizeof(text),
            "{'resourceType':'ValueSet','url':'http://cts.nlm.nih.gov/fhir/ValueSet/2.16.840.1.5',"
            "'version':'%s','identifier':[{'system':'urn:ietf:rfc:3986',"
            "'value':'urn:oid:2.16.840.1.6'}],'compose':{'include':[{'system':'http://s',"
            "'concept':[{'code':'%s'}]}]}}",
            versions[i], versions[i]);
        assert_int_equal(add(f, text), OG_OK);
    }
    link_up(f);
    const char *url = "http://cts.nlm.nih.gov/fhir/ValueSet/2.16.840.1.5";
    assert_true(has(f, url, "http://s", "1.10"));
    assert_false(has(f, url, "http://s", "1.9"));
    assert_true(has(f, "urn:oid:2.16.840.1.5", "http://s", "1.10"));
    assert_true(has(f, "2.16.840.1.6", "http://s", "1.10"));
    assert_null(find(f, "urn:oid:2.16.840.1.7"));
    const fhir_valueset *old = fhir_valueset_find(f->t, og_str_of(url), OG_STR("1.2"));
    assert_true(fhir_valueset_has(old, OG_STR("http://s"), OG_STR("1.2")));
    assert_null(fhir_valueset_find(f->t, og_str_of(url), OG_STR("3")));
}

static void list_translation(void *ctx, og_str system, og_str code, og_str to_system,
                             og_str to_code)
{
    og_buf_addf(ctx, "%.*s|%.*s %.*s|%.*s\n", OG_STR_ARG(system), OG_STR_ARG(code),
                OG_STR_ARG(to_system), OG_STR_ARG(to_code));
}

static void concept_maps(void **state)
{
    fixture *f = *state;
    og_buf list;
    assert_int_equal(
        add(f, "{'resourceType':'ConceptMap','group':[{'source':'http://lab','target':'http://"
               "loinc.org',"
               "'element':[{'code':'CREA','target':[{'code':'n','equivalence':'narrower'},"
               "{'code':'w','equivalence':'wider'},{'code':'2160-0','equivalence':'equivalent'},"
               "{'code':'late','equivalence':'equal'}]},"
               "{'code':'NONE','target':[{'equivalence':'unmatched'}]},"
               "{'code':'REL','target':[{'code':'x','equivalence':'relatedto'}]},"
               "{'code':'W','target':[{'code':'n','equivalence':'specializes'},"
               "{'code':'w','equivalence':'subsumes'}]}]},"
               "{'source':'http://keep','target':'http://kept','unmapped':{'mode':'provided'}},"
               "{'source':'http://fix','target':'http://"
               "fixed','unmapped':{'mode':'fixed','code':'z'}}]}"),
        OG_OK);
    og_str system, code;
    assert_true(fhir_translate(f->t, OG_STR("http://lab"), OG_STR("CREA"), &system, &code));
    assert_true(og_str_is(system, "http://loinc.org") && og_str_is(code, "2160-0"));
    assert_true(fhir_translate(f->t, OG_STR("http://lab"), OG_STR("W"), &system, &code));
    assert_true(og_str_is(code, "w"));
    assert_false(fhir_translate(f->t, OG_STR("http://lab"), OG_STR("NONE"), &system, &code));
    assert_false(fhir_translate(f->t, OG_STR("http://lab"), OG_STR("REL"), &system, &code));
    assert_false(fhir_translate(f->t, OG_STR("http://lab"), OG_STR("?"), &system, &code));
    assert_false(fhir_translate(f->t, NONE, OG_STR("CREA"), &system, &code));
    assert_true(fhir_translate(f->t, OG_STR("http://keep"), OG_STR("k"), &system, &code));
    assert_true(og_str_is(system, "http://kept") && og_str_is(code, "k"));
    assert_true(fhir_translate(f->t, OG_STR("http://fix"), OG_STR("k"), &system, &code));
    assert_true(og_str_is(system, "http://fixed") && og_str_is(code, "z"));
    assert_true(fhir_translates(f->t, OG_STR("http://lab")));
    assert_true(fhir_translates(f->t, OG_STR("http://fix")));
    assert_false(fhir_translates(f->t, OG_STR("http://fixed")));
    assert_false(fhir_translates(f->t, OG_STR("http://la")));
    og_buf_init(&list, 4096);
    fhir_each_translation(f->t, list_translation, &list);
    assert_true(og_str_is(og_buf_str(&list), "http://lab|CREA http://loinc.org|2160-0\n"
                                             "http://lab|W http://loinc.org|w\n"
                                             "http://keep| http://kept|\n"
                                             "http://fix| http://fixed|z\n"));
    og_buf_done(&list);
}

/* --- bad input --- */

#define VS(rest)      "{'resourceType':'ValueSet','url':'http://x'," rest "}"
#define INCLUDE(rest) VS("'compose':{'include':[" rest "]}")
#define MAP(rest)     "{'resourceType':'ConceptMap','group':[" rest "]}"

static void refused(void **state)
{
    static const struct {
        const char *text;
        og_status status;
        const char *path, *says;
    } rows[] = {
        {"{'resourceType':'Patient'}", OG_INVALID, "resourceType", "neither a ValueSet"},
        {"{}", OG_INVALID, "resourceType", "neither a ValueSet"},
        {"[]", OG_INVALID, "resourceType", "neither a ValueSet"},
        {"{'resourceType':'ValueSet','compose':{'include':[{'system':'s','concept':[]}]}}",
         OG_INVALID, "ValueSet", "url is missing"},
        {"{'resourceType':'ValueSet','url':5,'expansion':{}}", OG_INVALID, "ValueSet",
         "url is not a string"},
        {"{'resourceType':'ValueSet','url':'','expansion':{}}", OG_INVALID, "ValueSet",
         "url is empty"},
        {VS("'status':'active'"), OG_INVALID, "ValueSet", "neither compose nor expansion"},
        {VS("'compose':[]"), OG_INVALID, "ValueSet.compose", "an object"},
        {VS("'compose':{}"), OG_INVALID, "ValueSet.compose", "nothing is included"},
        {VS("'compose':{'include':{}}"), OG_INVALID, "ValueSet.compose", "include is not an array"},
        {INCLUDE("7"), OG_INVALID, "ValueSet.compose.include[0]", "an object"},
        {INCLUDE("{}"), OG_INVALID, "ValueSet.compose.include[0]", "neither system nor valueSet"},
        {INCLUDE("{'concept':[{'code':'1'}]}"), OG_INVALID, "ValueSet.compose.include[0]",
         "concepts need a system"},
        {INCLUDE("{'system':'s','concept':[{'code':'1'},{'display':'x'}]}"), OG_INVALID,
         "ValueSet.compose.include[0].concept[1]", "code is missing"},
        {INCLUDE("{'system':'s','concept':[{'code':1}]}"), OG_INVALID,
         "ValueSet.compose.include[0].concept[0]", "code is not a string"},
        {INCLUDE("{'system':'s','filter':[{'property':'p','op':'=','value':'v'}]}"), OG_UNSUPPORTED,
         "ValueSet.compose.include[0]", "filter"},
        {INCLUDE("{'valueSet':[1]}"), OG_INVALID, "ValueSet.compose.include[0].valueSet[0]",
         "a canonical url"},
        {VS("'expansion':{'contains':[{'code':'1'}]}"), OG_INVALID,
         "ValueSet.expansion.contains[0] at depth 0", "system is missing"},
        {VS("'expansion':{'contains':[{'contains':[3]}]}"), OG_INVALID,
         "ValueSet.expansion.contains[0] at depth 1", "an object"},
        {VS("'expansion':{'total':900,'contains':[{'system':'s','code':'1'}]}"), OG_INVALID,
         "ValueSet.expansion.total", "a part only"},
        {"{'resourceType':'CodeSystem','content':'complete'}", OG_INVALID, "CodeSystem",
         "url is missing"},
        {"{'resourceType':'CodeSystem','url':'s','concept':[{'concept':[]}]}", OG_INVALID,
         "CodeSystem.concept[0] at depth 0", "code is missing"},
        {MAP("{'target':'t'}"), OG_INVALID, "ConceptMap.group[0]", "source is missing"},
        {MAP("{'source':'s','element':[{'code':'1','target':[{'code':'2'}]}]}"), OG_INVALID,
         "ConceptMap.group[0].element[0].target[0]", "equivalence"},
        {MAP("{'source':'s','element':[{'code':'1','target':[{'code':'2','equivalence':'same'}]}]"
             "}"),
         OG_INVALID, "ConceptMap.group[0].element[0].target[0]", "equivalence"},
        {MAP("{'source':'s','element':[{'code':'1','target':[{'code':'2','equivalence':'equal'}]}]"
             "}"),
         OG_INVALID, "ConceptMap.group[0].element[0].target[0]", "no target system"},
        {MAP("{'source':'s','target':'t','element':[{'code':'1','target':[{'equivalence':'equal'}]}"
             "]}"),
         OG_INVALID, "ConceptMap.group[0].element[0].target[0]", "code is missing"},
        {MAP("{'source':'s','target':'t','unmapped':{'mode':'other-map','url':'u'}}"),
         OG_UNSUPPORTED, "ConceptMap.group[0]", "unmapped.mode"},
    };
    fixture *f = *state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        f->report.count = 0;
        og_status status = add(f, rows[i].text);
        if (status != rows[i].status || f->report.count == 0)
            fail_msg("row %zu: status %s", i, og_status_name(status));
        const og_error *e = &f->errors[0];
        if (strcmp(e->path, rows[i].path) != 0 || strstr(e->text, rows[i].says) == NULL)
            fail_msg("row %zu: %s (at %s)", i, e->text, e->path);
        assert_string_equal(e->origin, "file.json");
        assert_int_equal(e->line, 1);
        assert_true(e->column != 0);
    }
    assert_null(find(f, "http://x")); /* nothing of them is left behind */
    og_str system, code;
    assert_false(fhir_translate(f->t, OG_STR("s"), OG_STR("1"), &system, &code));
    link_up(f);
}

static void said_twice(void **state)
{
    fixture *f = *state;
    assert_int_equal(add(f, VS("'version':'1','expansion':{}")), OG_OK);
    assert_int_equal(add(f, VS("'version':'1','expansion':{}")), OG_INVALID);
    assert_non_null(strstr(f->errors[0].text, "there already, from file.json"));
    assert_int_equal(add(f, VS("'version':'2','expansion':{}")), OG_OK);
    assert_int_equal(add(f, "{'resourceType':'CodeSystem','url':'" SCT "'}"), OG_OK);
    assert_int_equal(add(f, "{'resourceType':'CodeSystem','url':'urn:oid:2.16.840.1.113883.6.96'}"),
                     OG_INVALID);
}

static void every_error_of_a_resource(void **state)
{
    fixture *f = *state;
    assert_int_equal(add(f, INCLUDE("{'system':'s','concept':[{},{}]},{}")), OG_INVALID);
    assert_int_equal(f->report.count, 3);
}

/* Links what was added; the first error must be as given. */
static void link_fails(fixture *f, og_status status, const char *path, const char *says)
{
    f->report.count = 0;
    assert_int_equal(fhir_terminology_link(f->t, &f->report), status);
    assert_string_equal(f->errors[0].path, path);
    assert_string_equal(f->errors[0].origin, "file.json");
    if (strstr(f->errors[0].text, says) == NULL)
        fail_msg("%s", f->errors[0].text);
}

static void missing_set(void **state)
{
    fixture *f = *state;
    assert_int_equal(add(f, INCLUDE("{'valueSet':['http://y|7']}")), OG_OK);
    link_fails(f, OG_NOTFOUND, "ValueSet.compose.include[0].valueSet[0]",
               "no value set http://y|7");
}

static void missing_system(void **state)
{
    fixture *f = *state;
    assert_int_equal(add(f, INCLUDE("{'system':'http://y'}")), OG_OK);
    link_fails(f, OG_NOTFOUND, "ValueSet.compose.include[0]", "this code system is not there");
}

static void incomplete_system(void **state)
{
    fixture *f = *state;
    assert_int_equal(add(f, INCLUDE("{'system':'http://y'}")), OG_OK);
    assert_int_equal(add(f, "{'resourceType':'CodeSystem','url':'http://y','content':'example'}"),
                     OG_OK);
    link_fails(f, OG_NOTFOUND, "ValueSet.compose.include[0]", "not complete");
}

static void cycle(void **state)
{
    fixture *f = *state;
    assert_int_equal(add(f, INCLUDE("{'valueSet':['http://y']}")), OG_OK);
    assert_int_equal(add(f, "{'resourceType':'ValueSet','url':'http://y','compose':{'include':["
                            "{'valueSet':['http://x']}]}}"),
                     OG_OK);
    link_fails(f, OG_INVALID, "ValueSet.compose.include[0].valueSet[0]", "includes itself");
}

static void deep_chain(void **state)
{
    fixture *f = *state;
    for (int i = 100; i >= 0; i--) { /* the last added is linked first: it needs all the others */
        char text[256];
        snprintf(text, sizeof(text),
                 "{'resourceType':'ValueSet','url':'http://x/%d','compose':{'include':["
                 "{'valueSet':['http://x/%d']}]}}",
                 i, i + 1);
        assert_int_equal(add(f, text), OG_OK);
    }
    assert_int_equal(add(f, "{'resourceType':'ValueSet','url':'http://x/101','expansion':{}}"),
                     OG_OK);
    assert_int_equal(add(f, "{'resourceType':'ValueSet','url':'http://x/top','compose':{'include':["
                            "{'valueSet':['http://x/0']}]}}"),
                     OG_OK);
    link_fails(f, OG_LIMIT, "ValueSet.compose", "too deeply");
}

/* Every code of a large set is found, and nothing else. */
static void many_codes(void **state)
{
    enum { N = 20000 };
    fixture *f = *state;
    og_buf b;
    og_buf_init(&b, 4 << 20);
    og_buf_addz(
        &b, "{\"resourceType\":\"ValueSet\",\"url\":\"http://x\",\"expansion\":{\"contains\":[");
    for (int i = 0; i < N; i++)
        og_buf_addf(&b, "%s{\"system\":\"http://s/%d\",\"code\":\"%d\"}", i != 0 ? "," : "", i % 3,
                    i);
    og_buf_addz(&b, "]}}");
    assert_int_equal(add_text(f, og_buf_str(&b)), OG_OK);
    og_buf_done(&b);
    link_up(f);
    const fhir_valueset *vs = find(f, "http://x");
    assert_int_equal(fhir_valueset_count(vs), N);
    for (int i = 0; i < N + 10; i++) {
        char system[32], code[32];
        snprintf(code, sizeof(code), "%d", i);
        snprintf(system, sizeof(system), "http://s/%d", i % 3);
        assert_int_equal(fhir_valueset_has(vs, og_str_of(system), og_str_of(code)), i < N);
        snprintf(system, sizeof(system), "http://s/%d", (i + 1) % 3);
        assert_false(fhir_valueset_has(vs, og_str_of(system), og_str_of(code)));
    }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aliases_of_systems),
        cmocka_unit_test(equal_codes),
        TEST(listed_codes),
        TEST(expansions),
        TEST(sets_of_sets),
        TEST(whole_code_systems),
        TEST(hierarchies_are_walked),
        TEST(versions_and_oids),
        TEST(concept_maps),
        TEST(refused),
        TEST(said_twice),
        TEST(every_error_of_a_resource),
        TEST(missing_set),
        TEST(missing_system),
        TEST(incomplete_system),
        TEST(cycle),
        TEST(deep_chain),
        TEST(many_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
