/* The model tables against facts of the R4 specification, and against themselves: every element
 * that the tables list must be found by its name, every branch of a choice by its JSON name. */
#include "fhir/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static uint16_t type(const char *name)
{
    uint16_t t = fhir_type_of(og_str_of(name));
    if (t == 0)
        fail_msg("no type %s", name);
    return t;
}

static void assert_name(uint16_t t, const char *name)
{
    og_str found = fhir_type_name(t);
    if (!og_str_is(found, name))
        fail_msg("type is \"%.*s\", expected \"%s\"", OG_STR_ARG(found), name);
}

static void types_have_numbers_and_names(void **state)
{
    (void)state;
    assert_true(fhir_type_count() > 900);
    for (uint16_t t = 1; t <= fhir_type_count(); t++)
        assert_int_equal(fhir_type_of(fhir_type_name(t)), t);
    assert_name(0, "");
    assert_name(UINT16_MAX, "");
    assert_int_equal(fhir_type_of(OG_STR("")), 0);
    assert_int_equal(fhir_type_of(OG_STR("Observatio")), 0);
    assert_int_equal(fhir_type_of(OG_STR("Observations")), 0);
    assert_int_equal(fhir_type_of(OG_STR("observation")), 0);
    assert_int_equal(fhir_type_of(OG_STR("~")), 0);
}

static void elm_forms_of_names(void **state)
{
    (void)state;
    uint16_t observation = type("Observation");
    assert_int_equal(fhir_type_of_qualified(OG_STR("{http://hl7.org/fhir}Observation")),
                     observation);
    assert_int_equal(fhir_type_of_qualified(OG_STR("FHIR.Observation")), observation);
    assert_int_equal(fhir_type_of_qualified(OG_STR("{http://hl7.org/fhir}Observation.Component")),
                     type("Observation.Component"));
    assert_int_equal(fhir_type_of_qualified(OG_STR("{urn:hl7-org:elm-types:r1}String")),
                     type("System.String"));
    assert_int_equal(fhir_type_of_qualified(OG_STR("System.DateTime")), type("System.DateTime"));
    assert_int_equal(fhir_type_of_qualified(OG_STR("Observation")), 0);
    assert_int_equal(fhir_type_of_qualified(OG_STR("FHIR.System.String")), 0);
    assert_int_equal(fhir_type_of_qualified(OG_STR("{urn:hl7-org:elm-types:r1}")), 0);
    assert_int_equal(fhir_type_of_qualified(OG_STR("{urn:hl7-org:elm-types:r1}"
                                                   "AnExtremelyLongNameThatIsNoTypeAtAll")),
                     0);
    assert_int_equal(fhir_type_of_qualified((og_str){NULL, 0}), 0);
}

static void what_derives_from_what(void **state)
{
    (void)state;
    assert_name(fhir_type_base(type("Observation")), "DomainResource");
    assert_name(fhir_type_base(type("Observation.Component")), "BackboneElement");
    assert_name(fhir_type_base(type("Age")), "Quantity");
    assert_true(fhir_type_is(type("Observation"), type("Resource")));
    assert_true(fhir_type_is(type("Age"), type("Quantity")));
    assert_true(fhir_type_is(type("SimpleQuantity"), type("Quantity")));
    assert_true(fhir_type_is(type("id"), type("string")));
    assert_true(fhir_type_is(type("positiveInt"), type("integer")));
    assert_true(fhir_type_is(type("Observation"), type("System.Any")));
    assert_false(fhir_type_is(type("Quantity"), type("Age")));
    assert_false(fhir_type_is(type("instant"), type("dateTime")));
    assert_false(fhir_type_is(0, 0));
    assert_false(fhir_type_is(type("Observation"), 0));
    assert_false(fhir_type_is(0, type("Observation")));
}

static void resources_and_primitives(void **state)
{
    (void)state;
    int resources = 0;
    for (uint16_t t = 1; t <= fhir_type_count(); t++)
        resources += fhir_type_is_concrete_resource(t);
    assert_int_equal(resources, 146); /* + Resource, DomainResource: the 148 of R4 */
    assert_true(fhir_type_is_concrete_resource(type("Bundle")));
    assert_true(fhir_type_is_resource(type("Resource")));
    assert_false(fhir_type_is_concrete_resource(type("DomainResource")));
    assert_false(fhir_type_is_resource(type("Observation.Component")));
    assert_false(fhir_type_is_resource(type("Reference")));
    assert_false(fhir_type_is_resource(0));

    static const struct {
        const char *type;
        fhir_primitive form;
        const char *value;
    } rows[] = {{"boolean", FHIR_PRIMITIVE_BOOLEAN, "System.Boolean"},
                {"integer", FHIR_PRIMITIVE_INTEGER, "System.Integer"},
                {"unsignedInt", FHIR_PRIMITIVE_UNSIGNED_INT, "System.Integer"},
                {"positiveInt", FHIR_PRIMITIVE_POSITIVE_INT, "System.Integer"},
                {"decimal", FHIR_PRIMITIVE_DECIMAL, "System.Decimal"},
                {"string", FHIR_PRIMITIVE_STRING, "System.String"},
                {"markdown", FHIR_PRIMITIVE_MARKDOWN, "System.String"},
                {"uri", FHIR_PRIMITIVE_URI, "System.String"},
                {"url", FHIR_PRIMITIVE_URL, "System.String"},
                {"canonical", FHIR_PRIMITIVE_CANONICAL, "System.String"},
                {"oid", FHIR_PRIMITIVE_OID, "System.String"},
                {"uuid", FHIR_PRIMITIVE_UUID, "System.String"},
                {"id", FHIR_PRIMITIVE_ID, "System.String"},
                {"code", FHIR_PRIMITIVE_CODE, "System.String"},
                {"ObservationStatus", FHIR_PRIMITIVE_CODE, "System.String"},
                {"date", FHIR_PRIMITIVE_DATE, "System.Date"},
                {"dateTime", FHIR_PRIMITIVE_DATETIME, "System.DateTime"},
                {"instant", FHIR_PRIMITIVE_INSTANT, "System.DateTime"},
                {"time", FHIR_PRIMITIVE_TIME, "System.Time"},
                {"base64Binary", FHIR_PRIMITIVE_BASE64BINARY, "System.String"},
                {"xhtml", FHIR_PRIMITIVE_XHTML, "System.String"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(fhir_type_primitive(type(rows[i].type)), rows[i].form);
        assert_true(fhir_type_is_primitive(type(rows[i].type)));
        assert_name(fhir_type_value(type(rows[i].type)), rows[i].value);
    }
    assert_int_equal(fhir_type_primitive(type("Quantity")), FHIR_PRIMITIVE_NONE);
    assert_int_equal(fhir_type_value(type("Quantity")), 0);
    assert_int_equal(fhir_type_primitive(type("System.String")), FHIR_PRIMITIVE_STRING);
    assert_false(fhir_type_is_primitive(type("System.String")));
    assert_false(fhir_type_is_primitive(type("Extension")));
}

static void every_element_is_found(void **state)
{
    (void)state;
    size_t seen = 0;
    for (uint16_t t = 1; t <= fhir_type_count(); t++) {
        size_t count;
        const fhir_model_element *e = fhir_model_elements(t, &count);
        for (size_t i = 0; i < count; i++, seen++) {
            og_str name = fhir_model_element_name(&e[i]);
            assert_ptr_equal(fhir_model_element_of(t, name), &e[i]);
            uint16_t found = 0;
            if (e[i].choice_count == 0) {
                assert_ptr_equal(fhir_model_member(t, name, &found), &e[i]);
                assert_int_equal(found, e[i].type);
                assert_true(found != 0);
                continue;
            }
            assert_int_equal(e[i].type, 0);
            assert_null(fhir_model_member(t, name, &found));
            for (size_t c = 0; c < e[i].choice_count; c++) {
                uint16_t branch = fhir_model_choice(&e[i], c);
                og_str of = fhir_type_name(branch);
                if (og_str_is(of, "SimpleQuantity"))
                    of = OG_STR("Quantity");
                char member[80];
                int n = snprintf(member, sizeof(member), "%.*s%c%.*s", OG_STR_ARG(name),
                                 of.p[0] & ~0x20, OG_STR_ARG(og_str_from(of, 1)));
                assert_ptr_equal(fhir_model_member(t, (og_str){member, (size_t)n}, &found), &e[i]);
                assert_int_equal(found, branch);
            }
            assert_int_equal(fhir_model_choice(&e[i], e[i].choice_count), 0);
        }
    }
    assert_int_equal(seen, 5000);
}

static void elements_of_types(void **state)
{
    (void)state;
    static const struct {
        const char *owner, *member, *element, *type; /* element NULL: there is none */
        bool is_list;
    } rows[] = {
        {"Observation", "valueQuantity", "value", "Quantity", false},
        {"Observation", "valueDateTime", "value", "dateTime", false},
        {"Observation", "valueCode", NULL, NULL, false},
        {"Observation", "value", NULL, NULL, false},
        {"Observation", "value[x]", NULL, NULL, false},
        {"Observation", "status", "status", "ObservationStatus", false},
        {"Observation", "category", "category", "CodeableConcept", true},
        {"Observation", "component", "component", "Observation.Component", true},
        {"Observation.Component", "referenceRange", "referenceRange", "Observation.ReferenceRange",
         true},
        {"Observation.Component", "modifierExtension", "modifierExtension", "Extension", true},
        {"Observation", "id", "id", "id", false},
        {"Observation", "contained", "contained", "Resource", true},
        {"Observation", "text", "text", "Narrative", false},
        {"Bundle", "text", NULL, NULL, false},
        {"Bundle.Entry", "resource", "resource", "Resource", false},
        {"dateTime", "id", "id", "System.String", false},
        {"dateTime", "extension", "extension", "Extension", true},
        {"Dosage.DoseAndRate", "doseQuantity", "dose", "SimpleQuantity", false},
        {"Dosage.DoseAndRate", "doseSimpleQuantity", NULL, NULL, false},
        {"Condition", "onsetAge", "onset", "Age", false},
        {"Age", "value", "value", "decimal", false},
        {"Patient", "birthDate", "birthDate", "date", false},
        {"Patient", "deceasedBoolean", "deceased", "boolean", false},
        {"Extension", "valueUrl", "value", "url", false},
        {"MedicationRequest", "performed", NULL, NULL, false},
        {"Timing.Repeat", "boundsPeriod", "bounds", "Period", false},
        {"Observation", "", NULL, NULL, false}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint16_t found = 0;
        const fhir_model_element *e =
            fhir_model_member(type(rows[i].owner), og_str_of(rows[i].member), &found);
        if (rows[i].element == NULL) {
            if (e != NULL)
                fail_msg("%s.%s should not be there", rows[i].owner, rows[i].member);
            continue;
        }
        if (e == NULL)
            fail_msg("%s.%s not found", rows[i].owner, rows[i].member);
        assert_true(og_str_is(fhir_model_element_name(e), rows[i].element));
        assert_name(found, rows[i].type);
        assert_int_equal(e->is_list, rows[i].is_list);
    }
    uint16_t none;
    assert_null(fhir_model_member(0, OG_STR("id"), &none));
    assert_null(fhir_model_element_of(0, OG_STR("id")));
    assert_null(fhir_model_element_of(type("Observation"), OG_STR("valueQuantity")));
    assert_int_equal(fhir_model_element_of(type("Observation"), OG_STR("value"))->choice_count, 11);
    assert_int_equal(fhir_model_element_of(type("Extension"), OG_STR("value"))->choice_count, 50);
}

static void paths_and_conversions(void **state)
{
    (void)state;
    assert_true(og_str_is(fhir_type_primary_code_path(type("Observation")), "code"));
    assert_true(og_str_is(fhir_type_primary_code_path(type("MedicationRequest")), "medication"));
    assert_true(og_str_is(fhir_type_primary_code_path(type("Patient")), ""));
    assert_true(og_str_is(fhir_type_primary_code_path(0), ""));
    assert_true(og_str_is(fhir_type_patient_paths(type("Observation")), "subject performer"));
    assert_true(og_str_is(fhir_type_patient_paths(type("Condition")), "subject asserter"));
    assert_true(og_str_is(fhir_type_patient_paths(type("Encounter")), "subject"));
    assert_true(og_str_is(fhir_type_patient_paths(type("Appointment")), "participant.actor"));
    assert_true(og_str_is(fhir_type_patient_paths(type("Medication")), ""));
    assert_true(og_str_is(fhir_type_conversion(type("Coding")), "ToCode"));
    assert_true(og_str_is(fhir_type_conversion(type("CodeableConcept")), "ToConcept"));
    assert_true(og_str_is(fhir_type_conversion(type("Period")), "ToInterval"));
    assert_true(og_str_is(fhir_type_conversion(type("instant")), "ToDateTime"));
    assert_true(og_str_is(fhir_type_conversion(type("ObservationStatus")), "ToString"));
    assert_true(og_str_is(fhir_type_conversion(type("Observation")), ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_have_numbers_and_names), cmocka_unit_test(elm_forms_of_names),
        cmocka_unit_test(what_derives_from_what),       cmocka_unit_test(resources_and_primitives),
        cmocka_unit_test(every_element_is_found),       cmocka_unit_test(elements_of_types),
        cmocka_unit_test(paths_and_conversions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
