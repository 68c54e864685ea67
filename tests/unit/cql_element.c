/* FHIR elements as CQL values: properties, primitives, what data that are not as the model says
 * come to, and the conversions of FHIRHelpers. */
#include "cql_ops.h"

#include <dirent.h>
#include <stdlib.h>

#include "rules/cql/element.h"
#include "rules/cql/helpers.h"

/* --- fixture --- */

/* A resource from JSON with single quotes for double ones. Lives in the test's arena. */
static cql_value resource(const char *text)
{
    size_t n = strlen(text);
    char *json = og_arena_alloc(test_arena, n);
    fhir_doc *doc = og_arena_alloc(test_arena, sizeof(*doc));
    fhir_resource *r = og_arena_alloc(test_arena, sizeof(*r));
    og_error err;
    og_error_init(&err);
    assert_true(json != NULL && doc != NULL && r != NULL);
    for (size_t i = 0; i < n; i++)
        json[i] = text[i] == '\'' ? '"' : text[i];
    if (fhir_decode(test_arena, (og_str){json, n}, NULL, doc, &err) != OG_OK ||
        fhir_resource_of(fhir_root(doc), r, &err) != OG_OK)
        fail_msg("the test's own JSON: %s", err.text);
    return cql_element_root(test_arena, r);
}

static cql_value at(cql_value v, const char *path)
{
    return cql_element_property(test_arena, v, og_str_of(path));
}

static void assert_value(cql_value v, const char *what, const char *expected)
{
    char got[2048];
    value_text(v, got, sizeof(got));
    if (strcmp(got, expected) != 0)
        fail_msg("%s: got %s, expected %s", what, got, expected);
}

static void assert_at(cql_value v, const char *path, const char *expected)
{
    assert_value(at(v, path), path, expected);
}

static void assert_type(cql_value v, const char *type)
{
    assert_int_equal(v.kind, CQL_ELEMENT);
    og_str got = fhir_type_name(v.element->type);
    if (!og_str_is(got, type))
        fail_msg("type is %.*s, expected %s", OG_STR_ARG(got), type);
}

static const char patient[] =
    "{'resourceType':'Patient','id':'p1','meta':{'versionId':'3'},'active':true,"
    "'name':[{'family':'M\\u00fcller','given':['Anna','Eva']},"
    "{'given':['Ada',null,'Cy'],'_given':[null,{'id':'g2'},{'extension':[{'url':'http://x',"
    "'valueString':'s'}]}]}],"
    "'birthDate':'1956-03','_birthDate':{'extension':[{'url':'http://t','valueDateTime':"
    "'1956-03-05T10:00:00Z'}]},'gender':'female','multipleBirthInteger':2,"
    "'_deceasedDateTime':{'extension':[{'url':'http://a','valueCode':'unknown'}]},"
    "'contained':[{'resourceType':'Organization','id':'o','name':'Org'},{'resourceType':'Nope'}],"
    "'managingOrganization':{'reference':'#o'}}";

/* --- properties --- */

static void paths(void **state)
{
    (void)state;
    cql_value p = resource(patient);
    assert_type(p, "Patient");
    assert_at(p, "id.value", "'p1'");
    assert_at(p, "active.value", "true");
    assert_at(p, "gender.value", "'female'");
    assert_at(p, "meta.versionId.value", "'3'");
    assert_at(p, "name[0].family.value", "'M\303\274ller'");
    assert_at(p, "name[0].given[1].value", "'Eva'");
    assert_at(p, "name[1].given[0].value", "'Ada'");
    assert_at(p, "birthDate.value", "@1956-03");
    assert_at(p, "managingOrganization.reference.value", "'#o'");
    assert_type(at(p, "gender"), "AdministrativeGender");
    assert_type(at(p, "birthDate"), "date");
    assert_type(at(p, "name[0]"), "HumanName");
    assert_int_equal(at(p, "name").kind, CQL_LIST);
    assert_int_equal(at(p, "name").list->count, 2);
    static const char *const nothing[] = {"telecom",
                                          "photo",
                                          "name[2]",
                                          "name[0].suffix",
                                          "name.family",
                                          "name.given.value",
                                          "nonsense",
                                          "active.nonsense",
                                          "active.value.value",
                                          "birthDate[0]",
                                          "maritalStatus.coding",
                                          "",
                                          ".",
                                          "id.",
                                          ".id",
                                          "name[",
                                          "name[]",
                                          "name[x]",
                                          "name[-1]",
                                          "name[0]x",
                                          "name[99999999999]",
                                          "id..value",
                                          "resourceType",
                                          "gender.id",
                                          "gender.extension",
                                          "name[0].id"};
    for (size_t i = 0; i < COUNT(nothing); i++)
        assert_at(p, nothing[i], "null");
}

static void choices(void **state)
{
    (void)state;
    cql_value p = resource(patient);
    assert_type(at(p, "multipleBirth"), "integer");
    assert_at(p, "multipleBirth.value", "2");
    assert_at(p, "multipleBirthInteger", "null"); /* the model's name is without the type */
    cql_value deceased = at(p, "deceased");
    assert_type(deceased, "dateTime");
    assert_value(at(deceased, "value"), "value", "null");
    assert_at(deceased, "extension[0].value.value", "'unknown'");

    cql_value o =
        resource("{'resourceType':'Observation','valueQuantity':{'value':7.50,'unit':'mg/dL'},"
                 "'component':[{'valueString':'x'},{}]}");
    assert_type(at(o, "value"), "Quantity");
    assert_at(o, "value.value.value", "7.50");
    assert_at(o, "effective", "null");
    assert_type(at(o, "component[0]"), "Observation.Component");
    assert_at(o, "component[0].value.value", "'x'");
    assert_at(o, "component[1].value", "null");
    assert_true(cql_element_is_type(at(o, "value"), fhir_type_of(OG_STR("Quantity"))));
    assert_true(cql_element_is_type(at(o, "value"), fhir_type_of(OG_STR("Element"))));
    assert_false(cql_element_is_type(at(o, "value"), fhir_type_of(OG_STR("string"))));
    assert_false(cql_element_is_type(CQL_NULL_VALUE, fhir_type_of(OG_STR("Element"))));
    assert_false(cql_element_is_type(cql_integer(1), fhir_type_of(OG_STR("Element"))));

    /* no such branch, an escaped name, a branch that only looks alike */
    assert_at(resource("{'resourceType':'MedicationRequest'}"), "performed", "null");
    assert_at(resource("{'resourceType':'Observation','value\\u0051uantity':{'value':1}}"),
              "value.value.value", "1.0");
    assert_at(resource("{'resourceType':'Observation','valuesome':1,'value':2,'valueMoney':{}}"),
              "value", "null");
    cql_value d =
        resource("{'resourceType':'MedicationRequest','dosageInstruction':[{'doseAndRate':["
                 "{'doseQuantity':{'value':4,'code':'mg'}}]}]}");
    assert_type(at(d, "dosageInstruction[0].doseAndRate[0].dose"), "SimpleQuantity");
}

static void extensions(void **state)
{
    (void)state;
    cql_value p = resource(patient);
    assert_at(p, "birthDate.extension[0].url.value", "'http://t'");
    assert_at(p, "birthDate.extension[0].value.value", "@1956-03-05T10:00:00+00:00");
    cql_value given = at(p, "name[1].given");
    assert_int_equal(given.list->count, 3);
    assert_value(at(given.list->items[1], "value"), "second", "null");
    assert_value(at(given.list->items[1], "id"), "id", "'g2'");
    assert_value(at(given.list->items[2], "value"), "third", "'Cy'");
    assert_value(at(given.list->items[2], "extension[0].value.value"), "extension", "'s'");
    /* siblings that are longer or shorter than the values, and nulls in both */
    cql_value q = resource(
        "{'resourceType':'Patient','name':[{'given':['A'],'_given':[null,{'id':'b'},null]},"
        "{'_given':[{'id':'c'}]}]}");
    assert_int_equal(at(q, "name[0].given").list->count, 3);
    assert_value(at(q, "name[0].given").list->items[2], "null item", "null");
    assert_at(q, "name[0].given[1].id", "'b'");
    assert_at(q, "name[1].given[0].id", "'c'");
}

static void contained(void **state)
{
    (void)state;
    cql_value p = resource(patient);
    assert_type(at(p, "contained[0]"), "Organization");
    assert_at(p, "contained[0].name.value", "'Org'");
    assert_type(at(p, "contained[1]"), "Resource");
    assert_ptr_equal(at(p, "contained[0]").element->resource, p.element->resource);
    cql_value b =
        resource("{'resourceType':'Bundle','entry':[{'resource':{'resourceType':'Patient',"
                 "'gender':'male'}}]}");
    assert_type(at(b, "entry[0].resource"), "Patient");
    assert_at(b, "entry[0].resource.gender.value", "'male'");
}

static void evidence(void **state)
{
    (void)state;
    cql_value p = resource(patient);
    assert_non_null(p.from);
    assert_ptr_equal(p.from->resource, p.element->resource);
    assert_null(p.from->next);
    assert_ptr_equal(at(p, "birthDate.value").from, p.from);
    assert_ptr_equal(at(p, "name").list->items[0].from, p.from);
    assert_ptr_equal(at(p, "name[0].given[0].value").from, p.from);
}

static void json_that_does_not_fit(void **state)
{
    (void)state;
    cql_value p =
        resource("{'resourceType':'Patient','birthDate':1956,'active':'true','name':{'family':'x'},"
                 "'gender':['male'],'maritalStatus':'M','contact':[1,null,{'name':{}}],"
                 "'deceasedBoolean':'false','telecom':[],'id':null}");
    static const char *const nothing[] = {"birthDate", "active",        "name",
                                          "gender",    "maritalStatus", "deceased",
                                          "id",        "contact[0]",    "contact[1]"};
    for (size_t i = 0; i < COUNT(nothing); i++)
        assert_at(p, nothing[i], "null");
    assert_int_equal(at(p, "contact").list->count, 3);
    assert_type(at(p, "contact[2].name"), "HumanName");
    assert_int_equal(at(p, "telecom").list->count, 0);
    assert_value(cql_element_property(test_arena, cql_integer(1), OG_STR("x")), "of an integer",
                 "null");
    assert_value(cql_element_property(test_arena, CQL_NULL_VALUE, OG_STR("x")), "of null", "null");
    assert_value(cql_element_value(test_arena, p), "value of a resource", "null");
    assert_value(cql_element_step(test_arena, CQL_NULL_VALUE, OG_STR("x")), "step of null", "null");
}

/* --- primitives --- */

static void primitives(void **state)
{
    (void)state;
    static const struct {
        const char *member, *json, *expected; /* of Extension.value[x] */
    } rows[] = {
        {"Boolean", "false", "false"},
        {"Integer", "-2147483648", "-2147483648"},
        {"Integer", "2147483647", "2147483647"},
        {"Integer", "2147483648", "null"},
        {"Integer", "-2147483649", "null"},
        {"Integer", "99999999999999999999999999", "null"},
        {"Integer", "1.0", "null"},
        {"Integer", "1e2", "null"},
        {"Integer", "0", "0"},
        {"PositiveInt", "7", "7"},
        {"UnsignedInt", "0", "0"},
        {"Decimal", "1.00", "1.00"},
        {"Decimal", "-0.5", "-0.5"},
        {"Decimal", "12", "12.0"},
        {"Decimal", "1e2", "100.0"},
        {"Decimal", "1.5e-3", "0.0015"},
        {"Decimal", "97.063547629341234567", "97.06354763"},
        {"Decimal", "0.000000005", "0.00000001"},
        {"Decimal", "1e30", "null"},
        {"Decimal", "99999999999999999999.99999999", "99999999999999999999.99999999"},
        {"String", "'a \\\"b\\\" \\n'", "'a \"b\" \\n'"},
        {"String", "''", "''"},
        {"Uri", "'http:\\/\\/x'", "'http://x'"},
        {"Base64Binary", "'YWJj'", "'YWJj'"},
        {"Code", "'x'", "'x'"},
        {"Id", "'x-1'", "'x-1'"},
        {"Uuid", "'urn:uuid:c757873d-ec9a-4326-a141-556f43239520'",
         "'urn:uuid:c757873d-ec9a-4326-a141-556f43239520'"},
        {"Date", "'1979'", "@1979"},
        {"Date", "'1979-05'", "@1979-05"},
        {"Date", "'1979-05-31'", "@1979-05-31"},
        {"Date", "'1979-05-32'", "null"},
        {"Date", "'1979-05-31T10:00:00Z'", "null"},
        {"Date", "'31.05.1979'", "null"},
        {"Date", "''", "null"},
        {"DateTime", "'2020'", "@2020T"},
        {"DateTime", "'2020-02-29'", "@2020-02-29T"},
        {"DateTime", "'2020-02-30'", "null"},
        {"DateTime", "'2020-02-29T10:11:12Z'", "@2020-02-29T10:11:12+00:00"},
        {"DateTime", "'2020-02-29T10:11:12+01:00'", "@2020-02-29T10:11:12+01:00"},
        {"DateTime", "'2020-02-29T10:11:12.5-04:30'", "@2020-02-29T10:11:12.500-04:30"},
        {"DateTime", "'2020-02-29T10:11:12.1234567Z'", "@2020-02-29T10:11:12.123+00:00"},
        {"DateTime", "'2020-02-29T10:11:12'", "@2020-02-29T10:11:12"},
        {"DateTime", "'2020-02-29T10:11:12.250'", "@2020-02-29T10:11:12.250"},
        {"DateTime", "'2020-02-29T10:11'", "@2020-02-29T10:11"},
        {"DateTime", "'2020-02-29T10:11Z'", "@2020-02-29T10:11+00:00"},
        {"DateTime", "'2020-02-29T10:11:12-0400'", "@2020-02-29T10:11:12-04:00"},
        {"DateTime", "'2020-02-29T10:11:12.250+0530'", "@2020-02-29T10:11:12.250+05:30"},
        {"DateTime", "'2020-02-29T10:11-0400'", "@2020-02-29T10:11-04:00"},
        {"DateTime", "'2020-02-29T10:11:12-04'", "null"},
        {"DateTime", "'2020-02-29T10:11:12-040'", "null"},
        {"DateTime", "'2020-02-29T10:11:12-04000'", "null"},
        {"DateTime", "'2020-02-29T1:11:12Z'", "null"},
        {"DateTime", "'2020-02-29T10'", "null"},
        {"DateTime", "'2020-02-29 10:11:12'", "null"},
        {"DateTime", "'2020-02-29T24:00:00Z'", "null"},
        {"DateTime", "'2020-02-29T10:11:12ZZ'", "null"},
        {"DateTime", "'2020-02-29T10:11:12+99:99'", "null"},
        {"DateTime", "'2020-02-29T10:11:12.12345678901234567890123456789012345678901234567890Z'",
         "@2020-02-29T10:11:12.123+00:00"},
        {"DateTime", "'garbage'", "null"},
        {"DateTime", "''", "null"},
        {"Instant", "'2020-02-29T10:11:12.250Z'", "@2020-02-29T10:11:12.250+00:00"},
        {"Time", "'10:11:12'", "@T10:11:12"},
        {"Time", "'10:11:12.5'", "@T10:11:12.500"},
        {"Time", "'25:00:00'", "null"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[256];
        snprintf(text, sizeof(text),
                 "{'resourceType':'Basic','extension':[{'url':'u','value%s':%s}]}", rows[i].member,
                 rows[i].json);
        /* quotes inside a string would be taken for the end: the backslash before them stays */
        assert_value(at(resource(text), "extension[0].value.value"), text, rows[i].expected);
    }
}

/* --- FHIRHelpers --- */

/* The result of a helper over Extension.value[x], "error" for a run-time error. */
static void assert_helper(const char *function, const char *member, const char *json,
                          const char *expected)
{
    char text[512];
    og_error err;
    cql_op_context c = test_context(&err);
    snprintf(text, sizeof(text), "{'resourceType':'Basic','extension':[{'url':'u','value%s':%s}]}",
             member, json);
    cql_value arg = at(resource(text), "extension[0].value"), v;
    if (!cql_helpers_call(&c, og_str_of(function), &arg, 1, &v))
        fail_msg("no helper %s", function);
    if (err.status != OG_OK) {
        assert_true(cql_is_null(v));
        assert_string_equal("error", expected);
        return;
    }
    assert_value(v, text, expected);
    if (!cql_is_null(v))
        assert_ptr_equal(v.from, arg.from);
}

static void helpers(void **state)
{
    (void)state;
    static const struct {
        const char *function, *member, *json, *expected;
    } rows[] = {
        {"ToString", "String", "'x'", "'x'"},
        {"ToString", "Uri", "'x'", "'x'"},
        {"ToString", "Integer", "1", "error"},
        {"ToBoolean", "Boolean", "true", "true"},
        {"ToInteger", "Integer", "5", "5"},
        {"ToDecimal", "Decimal", "5.0", "5.0"},
        {"ToDate", "Date", "'2020-01'", "@2020-01"},
        {"ToDateTime", "DateTime", "'2020-01'", "@2020-01T"},
        {"ToDateTime", "Instant", "'2020-02-29T10:11:12Z'", "@2020-02-29T10:11:12+00:00"},
        {"ToTime", "Time", "'10:00:00'", "@T10:00:00"},
        {"ToDate", "Date", "'x'", "null"},
        {"ToQuantity", "Quantity",
         "{'value':1.50,'code':'mg/dL','system':'http://unitsofmeasure.org'}", "1.50 'mg/dL'"},
        {"ToQuantity", "Quantity", "{'value':1,'unit':'mg'}", "1 'mg'"},
        {"ToQuantity", "Quantity", "{'value':1,'unit':'Milligramm','code':'mg'}", "1 'mg'"},
        {"ToQuantity", "Quantity", "{'value':1}", "1 '1'"},
        {"ToQuantity", "Quantity", "{'value':1,'code':'a'}", "1 year"},
        {"ToQuantity", "Quantity", "{'value':2,'code':'d'}", "2 days"},
        {"ToQuantity", "Quantity", "{'value':2,'unit':'weeks'}", "2 weeks"},
        {"ToQuantity", "Quantity",
         "{'value':3,'code':'mo','system':'http://hl7.org/fhirpath/CodeSystem/calendar-units'}",
         "3 months"},
        {"ToQuantity", "Quantity", "{'code':'mg'}", "null"},
        {"ToQuantity", "Quantity", "{'code':'mg','comparator':'<'}", "null"},
        {"ToQuantity", "Quantity", "{'_value':{'id':'x'},'code':'mg'}", "null"},
        {"ToQuantity", "Quantity", "{'value':1e40,'code':'mg'}", "null"},
        {"ToQuantity", "Quantity", "{'value':60,'comparator':'>','code':'mL/min'}", "error"},
        {"ToQuantity", "Quantity", "{'value':1,'code':'x','system':'http://local'}", "error"},
        {"ToQuantity", "Age", "{'value':60,'code':'a'}", "60 years"},
        {"ToQuantity", "String", "'x'", "error"},
        {"ToQuantityIgnoringComparator", "Quantity",
         "{'value':60,'comparator':'>','code':'mL/min'}", "60 'mL/min'"},
        {"ToInterval", "Quantity", "{'value':6,'code':'g'}", "Interval[6 'g', 6 'g']"},
        {"ToInterval", "Quantity", "{'value':6,'comparator':'<','code':'g'}",
         "Interval[null, 6 'g')"},
        {"ToInterval", "Quantity", "{'value':6,'comparator':'<=','code':'g'}",
         "Interval[null, 6 'g']"},
        {"ToInterval", "Quantity", "{'value':6,'comparator':'>','code':'g'}",
         "Interval(6 'g', null]"},
        {"ToInterval", "Quantity", "{'value':6,'comparator':'>=','code':'g'}",
         "Interval[6 'g', null]"},
        {"ToInterval", "Period", "{'start':'2020-01-01','end':'2020-02-01'}",
         "Interval[@2020-01-01T, @2020-02-01T]"},
        {"ToInterval", "Period", "{'start':'2020-01-01'}", "Interval[@2020-01-01T, null]"},
        {"ToInterval", "Period", "{'end':'2020-01-01'}", "Interval(null, @2020-01-01T]"},
        {"ToInterval", "Period", "{'start':'2020-02-01','end':'2020-01-01'}", "error"},
        {"ToInterval", "Range", "{'low':{'value':1,'code':'g'},'high':{'value':2,'code':'g'}}",
         "Interval[1 'g', 2 'g']"},
        {"ToInterval", "Range", "{'low':{'value':1,'code':'g'}}", "Interval[1 'g', null]"},
        {"ToInterval", "String", "'x'", "error"},
        {"ToRatio", "Ratio",
         "{'numerator':{'value':1,'code':'mg'},'denominator':{'value':2,'code':'mL'}}",
         "1 'mg':2 'mL'"},
        {"ToRatio", "Ratio", "{'numerator':{'value':1,'code':'mg'}}", "null"},
        {"ToCode", "Coding", "{'system':'http://s','code':'c','display':'D','version':'1'}",
         "Code { code: 'c', system: 'http://s', version: '1', display: 'D' }"},
        {"ToCode", "String", "'x'", "error"},
        {"ToValue", "Integer", "5", "5"},
        {"ToValue", "Quantity", "{'value':1,'code':'g'}", "1 'g'"},
        {"ToValue", "Period", "{'start':'2020','end':'2021'}", "Interval[@2020T, @2021T]"},
        {"hasValue", "Integer", "5", "true"},
        {"getValue", "Integer", "5", "5"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        assert_helper(rows[i].function, rows[i].member, rows[i].json, rows[i].expected);
}

static void helpers_of_concepts(void **state)
{
    (void)state;
    og_error err;
    cql_op_context c = test_context(&err);
    cql_value o =
        resource("{'resourceType':'Observation','code':{'text':'T','coding':[{'system':'s1','code':"
                 "'c1'},null,{'code':'c2'},{}]},'extension':[{'url':'a','valueInteger':1},"
                 "{'url':'b','valueInteger':2},{'url':'a','valueInteger':3}]}");
    cql_value v, arg = at(o, "code");
    assert_true(cql_helpers_call(&c, OG_STR("ToConcept"), &arg, 1, &v));
    assert_int_equal(v.kind, CQL_CONCEPT);
    assert_int_equal(v.concept->count, 3);
    assert_true(og_str_is(v.concept->codes[0].code, "c1") &&
                og_str_is(v.concept->codes[0].system, "s1"));
    assert_true(v.concept->codes[1].system.n == 0 && og_str_is(v.concept->display, "T"));
    cql_value again;
    assert_true(cql_helpers_call(&c, OG_STR("ToConcept"), &v, 1, &again));
    assert_ptr_equal(again.concept, v.concept);

    cql_value two[2] = {o, literal("'a'")};
    assert_true(cql_helpers_call(&c, OG_STR("extension"), two, 2, &v));
    assert_int_equal(v.list->count, 2);
    assert_value(at(v.list->items[1], "value.value"), "second", "3");
    assert_false(cql_helpers_call(&c, OG_STR("extension"), two, 1, &v));
    assert_false(cql_helpers_call(&c, OG_STR("resolve"), two, 1, &v));
    assert_null(cql_helpers_find(OG_STR("conformsTo")));

    arg = literal("'http://v'");
    assert_true(cql_helpers_call(&c, OG_STR("ToValueSet"), &arg, 1, &v));
    assert_int_equal(v.kind, CQL_VALUESET);
    assert_true(og_str_is(v.setref->id, "http://v"));
    assert_true(cql_helpers_call(&c, OG_STR("reference"), &arg, 1, &v));
    assert_true(og_str_is(v.tuple->type_name, "{http://hl7.org/fhir}Reference"));

    static const struct {
        const char *in, *out;
    } units[] = {{"'a'", "'year'"},     {"'mo'", "'month'"},       {"'wk'", "'week'"},
                 {"'d'", "'day'"},      {"'h'", "'hour'"},         {"'s'", "'second'"},
                 {"'min'", "'minute'"}, {"'ms'", "'millisecond'"}, {"'g'", "'g'"},
                 {"'days'", "'days'"},  {"null", "null"}};
    for (size_t i = 0; i < COUNT(units); i++) {
        arg = literal(units[i].in);
        assert_true(cql_helpers_call(&c, OG_STR("ToCalendarUnit"), &arg, 1, &v));
        assert_value(v, units[i].in, units[i].out);
    }
    static const char *const all[] = {
        "ToString",   "ToBoolean",  "ToInteger", "ToDecimal",
        "ToDate",     "ToDateTime", "ToTime",    "ToQuantity",
        "ToInterval", "ToRatio",    "ToCode",    "ToConcept",
        "ToValueSet", "ToValue",    "reference", "ToQuantityIgnoringComparator",
        "getValue"};
    arg = CQL_NULL_VALUE;
    for (size_t i = 0; i < COUNT(all); i++) {
        assert_true(cql_helpers_call(&c, og_str_of(all[i]), &arg, 1, &v));
        assert_value(v, all[i], "null");
    }
    assert_int_equal(err.status, OG_OK);
}

/* --- equality --- */

static void equality(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b; /* JSON of Extension.value[x] with its name */
        cql_tri equal;
        bool equivalent;
    } rows[] = {
        {"'valueString':'a'", "'valueString':'a'", CQL_TRUE, true},
        {"'valueString':'a'", "'valueString':'A'", CQL_FALSE, true},
        {"'valueString':'\\u0061'", "'valueString':'a'", CQL_TRUE, true},
        {"'valueDecimal':1.0", "'valueDecimal':1.00", CQL_TRUE, true},
        {"'valueDateTime':'2020-01'", "'valueDateTime':'2020-01-05'", CQL_UNKNOWN, false},
        {"'valueDateTime':'2020-01-01T10:00:00Z'", "'valueDateTime':'2020-01-01T11:00:00+01:00'",
         CQL_TRUE, true},
        {"'valueString':'1'", "'valueInteger':1", CQL_FALSE, false},
        {"'valueCoding':{'code':'a','system':'s'}", "'valueCoding':{'system':'s','code':'a'}",
         CQL_TRUE, true},
        {"'valueCoding':{'code':'a','system':'s'}", "'valueCoding':{'code':'a'}", CQL_UNKNOWN,
         false},
        {"'valueCoding':{'code':'a'}", "'valueCoding':{'code':'a','system':'s'}", CQL_UNKNOWN,
         false},
        {"'valueCoding':{'code':'b','system':'s'}", "'valueCoding':{'code':'a'}", CQL_FALSE, false},
        {"'valueCodeableConcept':{'coding':[{'code':'a'}]}",
         "'valueCodeableConcept':{'coding':[{'code':'a'},{'code':'b'}]}", CQL_FALSE, false},
        {"'valueCodeableConcept':{'coding':[{'code':'a'},{'code':'b'}]}",
         "'valueCodeableConcept':{'coding':[{'code':'a'},{'code':'b'}]}", CQL_TRUE, true},
        {"'valueQuantity':{'value':1.0,'code':'g'}", "'valueQuantity':{'value':1,'code':'g'}",
         CQL_TRUE, true},
        {"'valueQuantity':{'value':1}", "'valueCoding':{'code':'a'}", CQL_FALSE, false},
        {"'valueQuantity':{'value':1}", "'valueInteger':1", CQL_FALSE, false},
        {"'valueCoding':{'x':true}", "'valueCoding':{'x':true}", CQL_TRUE, true},
        {"'valueCoding':{'x':[1]}", "'valueCoding':{'x':{}}", CQL_FALSE, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[512];
        og_error err;
        cql_op_context c = test_context(&err);
        snprintf(text, sizeof(text), "{'resourceType':'Basic','extension':[{%s},{%s}]}", rows[i].a,
                 rows[i].b);
        cql_value basic = resource(text);
        cql_value a = at(basic, "extension[0].value"), b = at(basic, "extension[1].value");
        if (cql_equal(&c, a, b) != rows[i].equal || cql_equal(&c, b, a) != rows[i].equal)
            fail_msg("%s = %s: %d, expected %d", rows[i].a, rows[i].b, cql_equal(&c, a, b),
                     rows[i].equal);
        if (cql_equivalent(&c, a, b) != rows[i].equivalent)
            fail_msg("%s ~ %s should be %d", rows[i].a, rows[i].b, rows[i].equivalent);
    }
    og_error err;
    cql_op_context c = test_context(&err);
    cql_value p = resource(patient), q = resource(patient);
    assert_int_equal(cql_equal(&c, p, p), CQL_TRUE);
    assert_int_equal(cql_equal(&c, p, q), CQL_TRUE);
    cql_value other = resource("{'resourceType':'Patient','id':'p2'}");
    assert_int_equal(cql_equal(&c, p, other), CQL_FALSE);
    assert_int_equal(cql_equal(&c, at(p, "gender"), literal("'female'")), CQL_TRUE);
    assert_int_equal(cql_equal(&c, p, resource("{'resourceType':'Group','id':'p1'}")), CQL_FALSE);
}

/* --- official examples --- */

/* Values met on the way down, and JSON leaves that should be met. */
typedef struct tally {
    long values, leaves;
} tally;

static void visit(cql_value v, tally *t)
{
    if (v.kind == CQL_LIST) {
        for (size_t i = 0; i < v.list->count; i++)
            visit(v.list->items[i], t);
        return;
    }
    if (v.kind != CQL_ELEMENT) {
        t->values += v.kind != CQL_NULL;
        return;
    }
    uint16_t type = v.element->type;
    bool primitive = fhir_type_is_primitive(type);
    t->values += primitive && fhir_exists(v.element->at);
    for (uint16_t base = type; base != 0; base = fhir_type_base(base)) {
        size_t n;
        const fhir_model_element *e = fhir_model_elements(base, &n);
        for (size_t i = 0; i < n; i++) {
            og_str name = fhir_model_element_name(&e[i]);
            if (!primitive || !og_str_is(name, "value"))
                visit(cql_element_step(test_arena, v, name), t);
        }
    }
}

static void count_leaves(fhir_elem e, tally *t)
{
    fhir_kind kind = fhir_kind_of(e);
    if (kind != FHIR_OBJECT && kind != FHIR_ARRAY) {
        t->leaves += kind != FHIR_NULL;
        return;
    }
    for (fhir_elem c = fhir_first(e); fhir_exists(c); c = fhir_next(e, c))
        if (kind == FHIR_ARRAY || !og_str_is(fhir_key_of(c), "resourceType"))
            count_leaves(c, t);
}

static void visit_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("cannot open %s", path);
    og_buf b;
    og_buf_init(&b, (size_t)64 << 20);
    char part[65536];
    for (size_t n; (n = fread(part, 1, sizeof(part), file)) > 0;)
        og_buf_add(&b, part, n);
    fclose(file);
    fhir_doc doc;
    fhir_resource r;
    tally t = {0, 0};
    og_error err;
    og_error_init(&err);
    og_arena_reset(test_arena);
    if (fhir_decode(test_arena, og_buf_str(&b), NULL, &doc, &err) != OG_OK ||
        fhir_resource_of(fhir_root(&doc), &r, &err) != OG_OK)
        fail_msg("%s: %s", path, err.text);
    visit(cql_element_root(test_arena, &r), &t);
    count_leaves(r.root, &t);
    if (t.values != t.leaves || og_arena_failed(test_arena))
        fail_msg("%s: %ld values of %ld", path, t.values, t.leaves);
    og_buf_done(&b);
}

/* Walking an example by the model's elements must come by every string, number and boolean in it.
 */
static void every_leaf_is_reached(void **state)
{
    (void)state;
    DIR *dir = opendir(OG_SHARED_DATA "/fhir/examples-r4");
    if (dir == NULL) {
        print_message("skipped: no " OG_SHARED_DATA "/fhir/examples-r4\n");
        skip();
    }
    int files = 0;
    for (const struct dirent *d; (d = readdir(dir)) != NULL;) {
        char path[1024];
        if (!og_str_ends(og_str_of(d->d_name), OG_STR(".json")))
            continue;
        snprintf(path, sizeof(path), "%s/%s", OG_SHARED_DATA "/fhir/examples-r4", d->d_name);
        visit_file(path);
        files++;
    }
    closedir(dir);
    assert_true(files > 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, arena_setup, arena_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(paths),
        TEST(choices),
        TEST(extensions),
        TEST(contained),
        TEST(evidence),
        TEST(json_that_does_not_fit),
        TEST(primitives),
        TEST(helpers),
        TEST(helpers_of_concepts),
        TEST(equality),
        TEST(every_leaf_is_reached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
