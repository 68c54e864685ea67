/* Every form of reference that occurs in the wild, and whose a resource is. */
#include "tests/unit/fhir_files.h"

#include "fhir/bundle.h"
#include "fhir/reference.h"

static og_arena *arena;

static int make_arena(void **state)
{
    (void)state;
    arena = og_arena_new((size_t)256 << 20);
    return arena != NULL ? 0 : -1;
}

static int free_arena(void **state)
{
    (void)state;
    og_arena_free(arena);
    return 0;
}

static fhir_elem parsed(const char *text)
{
    fhir_doc *d = og_arena_zalloc(arena, 1, sizeof *d);
    og_error err;
    og_error_init(&err);
    if (fhir_decode(arena, og_str_of(text), NULL, d, &err) != OG_OK)
        fail_msg("%s: %s", text, err.text);
    return fhir_root(d);
}

static fhir_resource resource(const char *text)
{
    fhir_resource r;
    og_error err;
    og_error_init(&err);
    if (fhir_resource_of(parsed(text), &r, &err) != OG_OK)
        fail_msg("%s: %s", text, err.text);
    return r;
}

/* --- reference strings --- */

static const struct {
    const char *text;
    fhir_reference_kind kind;
    const char *base, *type, *id, *version;
} forms[] = {
    {"", FHIR_REF_NONE, "", "", "", ""},
    {"Patient/1", FHIR_REF_RELATIVE, "", "Patient", "1", ""},
    {"Patient/pid.999", FHIR_REF_RELATIVE, "", "Patient", "pid.999", ""},
    {"Patient/1/_history/2", FHIR_REF_RELATIVE, "", "Patient", "1", "2"},
    {"http://h/fhir/Patient/1", FHIR_REF_ABSOLUTE, "http://h/fhir", "Patient", "1", ""},
    {"https://h:8080/a/b/Patient/1/_history/v2", FHIR_REF_ABSOLUTE, "https://h:8080/a/b", "Patient",
     "1", "v2"},
    {"urn:uuid:538a9a4e-8437-47d3-8c01-1a17dca8f0be", FHIR_REF_URN, "", "",
     "538a9a4e-8437-47d3-8c01-1a17dca8f0be", ""},
    {"urn:uuid:mCODEPatientExample01", FHIR_REF_URN, "", "", "mCODEPatientExample01", ""},
    {"urn:oid:1.2.3", FHIR_REF_URN, "", "", "1.2.3", ""},
    {"#p1", FHIR_REF_CONTAINED, "", "", "p1", ""},
    {"Patient?identifier=http://x|1", FHIR_REF_CONDITIONAL, "", "Patient", "identifier=http://x|1",
     ""},
    {"4dee068c-5ffe-4977-8677-4ff9b518e763x", FHIR_REF_BARE, "", "",
     "4dee068c-5ffe-4977-8677-4ff9b518e763x", ""},
    {"AbrechnungsfallAmbulant", FHIR_REF_BARE, "", "", "AbrechnungsfallAmbulant", ""},
    {"resource:mCODEPatientExample01", FHIR_REF_OTHER, "", "", "", ""},
    {"#", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"urn:uuid:", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"urn:isbn:1", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"http://", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"http://h/x", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"http://h/Patient/", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"Patient/", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"/1", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"/", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"/Patient/1", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"fhir/Patient/1", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"patient/1", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"Patient/P_0000000", FHIR_REF_RELATIVE, "", "Patient", "P_0000000", ""},
    {"Patient/a:b", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"Patient/1/_history/", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"_history/1", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"Patient/1#x", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"?identifier=1", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
    {"Max Mustermann", FHIR_REF_OTHER, NULL, NULL, NULL, NULL},
};

static void takes_strings_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        fhir_reference r = fhir_reference_parse(og_str_of(forms[i].text));
        if (r.kind != forms[i].kind || !og_str_is(r.text, forms[i].text))
            fail_msg("%s: kind %d", forms[i].text, (int)r.kind);
        if (forms[i].type != NULL &&
            (!og_str_is(r.base, forms[i].base) || !og_str_is(r.type, forms[i].type) ||
             !og_str_is(r.id, forms[i].id) || !og_str_is(r.version, forms[i].version)))
            fail_msg("%s: %.*s, %.*s, %.*s, %.*s", forms[i].text, OG_STR_ARG(r.base),
                     OG_STR_ARG(r.type), OG_STR_ARG(r.id), OG_STR_ARG(r.version));
    }
}

static void takes_elements_apart(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        fhir_reference_kind kind;
        const char *type, *id_system, *id_value;
    } cases[] = {
        {"{}", FHIR_REF_NONE, "", "", ""},
        {"null", FHIR_REF_NONE, "", "", ""},
        {"{\"display\":\"x\"}", FHIR_REF_NONE, "", "", ""},
        {"{\"extension\":[{\"url\":\"http://x\",\"valueCode\":\"unknown\"}]}", FHIR_REF_NONE, "",
         "", ""},
        {"{\"reference\":\"\"}", FHIR_REF_NONE, "", "", ""},
        {"{\"reference\":\"Patient\\/1\"}", FHIR_REF_RELATIVE, "Patient", "", ""},
        {"{\"reference\":\"Patient/1\",\"type\":\"Group\",\"identifier\":{\"value\":\"5\"}}",
         FHIR_REF_RELATIVE, "Patient", "", "5"},
        {"{\"type\":\"Patient\",\"identifier\":{\"system\":\"http://s\",\"value\":\"5\"}}",
         FHIR_REF_LOGICAL, "Patient", "http://s", "5"},
        {"{\"type\":\"http://hl7.org/fhir/StructureDefinition/"
         "Patient\",\"identifier\":{\"value\":\"5\"}}",
         FHIR_REF_LOGICAL, "Patient", "", "5"},
        {"{\"identifier\":{\"system\":\"http://s\"}}", FHIR_REF_NONE, "", "http://s", ""},
        {"{\"reference\":5}", FHIR_REF_OTHER, "", "", ""},
        {"\"Patient/1\"", FHIR_REF_OTHER, "", "", ""},
        {"[{\"reference\":\"Patient/1\"}]", FHIR_REF_OTHER, "", "", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fhir_reference r = fhir_reference_of(arena, parsed(cases[i].json));
        if (r.kind != cases[i].kind || !og_str_is(r.type, cases[i].type) ||
            !og_str_is(r.id_system, cases[i].id_system) ||
            !og_str_is(r.id_value, cases[i].id_value))
            fail_msg("%s: kind %d", cases[i].json, (int)r.kind);
    }
    assert_int_equal(fhir_reference_of(arena, FHIR_ABSENT).kind, FHIR_REF_NONE);
}

static void reads_google_fhirs_references(void **state)
{
    (void)state;
    og_str all =
        files_read(OG_SHARED_DATA "/fhir/malformed/google-fhir-primitives/reference.valid.ndjson");
    og_str rest = all, line;
    size_t n = 0;
    while (files_line(&rest, &line)) {
        fhir_doc d;
        assert_int_equal(fhir_decode(arena, line, NULL, &d, NULL), OG_OK);
        fhir_reference r = fhir_reference_of(arena, fhir_root(&d));
        if (fhir_exists(fhir_get(fhir_root(&d), "reference")))
            assert_true(r.kind != FHIR_REF_NONE && r.kind != FHIR_REF_OTHER);
        else
            assert_int_equal(r.kind, FHIR_REF_NONE);
        n++;
    }
    assert_int_equal(n, 8);
    free((char *)all.p);
}

/* --- whose it is --- */

#define OBS(members)  "{\"resourceType\":\"Observation\"," members "}"
#define SUBJECT(text) OBS("\"subject\":{\"reference\":\"" text "\"}")
#define UUID          "538a9a4e-8437-47d3-8c01-1a17dca8f0be"

static const struct {
    const char *text, *id; /* id NULL: none, for this reason at this path */
    og_status status;
    const char *path, *words;
} owners[] = {
    {"{\"resourceType\":\"Patient\",\"id\":\"1\"}", "1", OG_OK, NULL, NULL},
    {"{\"resourceType\":\"Patient\",\"identifier\":[{\"value\":\"a\"},{\"system\":\"s\",\"value\":"
     "\"b\"}]}",
     "s|b", OG_OK, NULL, NULL},
    {"{\"resourceType\":\"Patient\",\"identifier\":[{\"value\":\"a\"}]}", "|a", OG_OK, NULL, NULL},
    {"{\"resourceType\":\"Patient\"}", NULL, OG_NOTFOUND, "Patient", "neither id nor identifier"},
    {SUBJECT("Patient/1"), "1", OG_OK, NULL, NULL},
    {SUBJECT("Patient\\/pid.999"), "pid.999", OG_OK, NULL, NULL},
    {SUBJECT("Patient/1/_history/4"), "1", OG_OK, NULL, NULL},
    {SUBJECT("http://h/fhir/Patient/1"), "1", OG_OK, NULL, NULL},
    {SUBJECT("https://h/fhir/Patient/1/_history/3"), "1", OG_OK, NULL, NULL},
    {SUBJECT("urn:uuid:" UUID), UUID, OG_OK, NULL, NULL},
    {SUBJECT("4dee068c-5ffe"), "4dee068c-5ffe", OG_OK, NULL, NULL},
    {SUBJECT("Patient?identifier=http://h/ids|12%7C3&active=true"), "http://h/ids|12|3", OG_OK,
     NULL, NULL},
    {SUBJECT("Patient?identifier=http%3A%2F%2Fh%2Fids%7C12"), "http://h/ids|12", OG_OK, NULL, NULL},
    {SUBJECT("Patient?active=true&identifier=|12"), "|12", OG_OK, NULL, NULL},
    {SUBJECT("Patient?_id=p1"), "p1", OG_OK, NULL, NULL},
    {SUBJECT("Patient?identifier=12"), NULL, OG_NOTFOUND, "Observation.subject",
     "identifier=system|value"},
    {SUBJECT("Patient?identifier=s|"), NULL, OG_NOTFOUND, "Observation.subject",
     "identifier=system|value"},
    {SUBJECT("Patient?identifier=s|1,s|2"), NULL, OG_NOTFOUND, "Observation.subject",
     "one of several"},
    {SUBJECT("Patient?name=x"), NULL, OG_NOTFOUND, "Observation.subject",
     "identifier=system|value"},
    {SUBJECT("Patient?identifier=s|%FF"), NULL, OG_INVALID, "Observation.subject", "UTF-8"},
    {SUBJECT("Patient?identifier=s|%00"), NULL, OG_INVALID, "Observation.subject",
     "control character"},
    {SUBJECT("Group?identifier=s|1"), NULL, OG_NOTFOUND, "Observation.subject", "refers to Group"},
    {SUBJECT("Group/1"), NULL, OG_NOTFOUND, "Observation.subject",
     "refers to Group, not to a Patient"},
    {SUBJECT("Anna/1"), NULL, OG_NOTFOUND, "Observation.subject", "something unknown"},
    {SUBJECT("http://h/Device/1"), NULL, OG_NOTFOUND, "Observation.subject", "refers to Device"},
    {SUBJECT("resource:x"), NULL, OG_NOTFOUND, "Observation.subject", "names no patient"},
    {SUBJECT("http://h/x"), NULL, OG_NOTFOUND, "Observation.subject", "names no patient"},
    {OBS("\"subject\":{\"reference\":\"resource:x\",\"identifier\":{\"system\":\"s\",\"value\":"
         "\"1\"}}"),
     "s|1", OG_OK, NULL, NULL},
    {OBS("\"subject\":{\"type\":\"Patient\",\"identifier\":{\"system\":\"s\",\"value\":\"1\"}}"),
     "s|1", OG_OK, NULL, NULL},
    {OBS("\"subject\":{\"identifier\":{\"value\":\"1\"}}"), "|1", OG_OK, NULL, NULL},
    {OBS("\"subject\":{\"type\":\"Group\",\"identifier\":{\"value\":\"1\"}}"), NULL, OG_NOTFOUND,
     "Observation.subject", "refers to Group"},
    {OBS("\"subject\":{\"type\":\"Device\",\"reference\":\"urn:uuid:x\"}"), NULL, OG_NOTFOUND,
     "Observation.subject", "refers to Device"},
    {OBS("\"subject\":{\"display\":\"Anna\"}"), NULL, OG_NOTFOUND, "Observation.subject",
     "names no patient"},
    {OBS("\"subject\":{\"extension\":[{\"url\":\"http://x\",\"valueCode\":\"masked\"}]}"), NULL,
     OG_NOTFOUND, "Observation.subject", "names no patient"},
    {OBS("\"subject\":null"), NULL, OG_NOTFOUND, "Observation.subject", "names no patient"},
    {OBS("\"status\":\"final\""), NULL, OG_NOTFOUND, "Observation.subject", "names no patient"},
    {OBS("\"subject\":\"Patient/1\""), NULL, OG_INVALID, "Observation.subject",
     "must be a Reference object"},
    {OBS("\"subject\":{\"reference\":{}}"), NULL, OG_NOTFOUND, "Observation.subject",
     "names no patient"},
    {SUBJECT("a\\u0000b"), NULL, OG_NOTFOUND, "Observation.subject", "names no patient"},
    {SUBJECT("urn:uuid:a\\u0000b"), NULL, OG_INVALID, "Observation.subject", "control character"},
    /* contained */
    {OBS("\"subject\":{\"reference\":\"#p\"},\"contained\":[{\"resourceType\":\"Patient\",\"id\":"
         "\"p\",\"identifier\":[{\"value\":\"599999\"}]}]"),
     "|599999", OG_OK, NULL, NULL},
    {OBS("\"subject\":{\"reference\":\"#p\"},\"contained\":[{\"resourceType\":\"Patient\",\"id\":"
         "\"#p\",\"identifier\":[{\"system\":\"s\",\"value\":\"5\"}]}]"),
     "s|5", OG_OK, NULL, NULL},
    {OBS("\"subject\":{\"reference\":\"#p\"},\"contained\":[{\"resourceType\":\"Patient\","
         "\"identifier\":[{\"system\":\"s\",\"value\":\"5\"}]}]"),
     "s|5", OG_OK, NULL, NULL},
    {OBS("\"contained\":[{\"resourceType\":\"Device\"},{\"resourceType\":\"Patient\","
         "\"identifier\":[{\"system\":\"s\",\"value\":\"5\"}]}]"),
     "s|5", OG_OK, NULL, NULL},
    {OBS("\"contained\":[{\"resourceType\":\"Patient\",\"identifier\":[{\"value\":\"4\"}]},{"
         "\"resourceType\":\"Patient\",\"identifier\":[{\"value\":\"5\"}]}]"),
     NULL, OG_NOTFOUND, "Observation.subject", "names no patient"},
    {OBS("\"subject\":{\"reference\":\"#p\"},\"contained\":[{\"resourceType\":\"Patient\",\"id\":"
         "\"p\"}]"),
     NULL, OG_NOTFOUND, "Observation.subject", "neither id nor identifier"},
    {OBS("\"subject\":{\"reference\":\"#p\"},\"contained\":[{\"resourceType\":\"Group\",\"id\":"
         "\"p\"}]"),
     NULL, OG_NOTFOUND, "Observation.subject", "contained resource that is no Patient"},
    {OBS("\"subject\":{\"reference\":\"#q\"},\"contained\":[{\"resourceType\":\"Patient\",\"id\":"
         "\"p\"}]"),
     NULL, OG_NOTFOUND, "Observation.subject", "not there"},
    {SUBJECT("#p"), NULL, OG_NOTFOUND, "Observation.subject", "not there"},
    /* the subject decides; others count only where they name a Patient */
    {OBS("\"subject\":{\"reference\":\"Patient/1\"},\"performer\":[{\"reference\":\"Patient/2\"}]"),
     "1", OG_OK, NULL, NULL},
    {OBS("\"subject\":{\"reference\":\"Group/1\"},\"performer\":[{\"reference\":\"Patient/2\"}]"),
     NULL, OG_NOTFOUND, "Observation.subject", "refers to Group"},
    {OBS("\"performer\":[{\"reference\":\"Practitioner/1\"},{\"reference\":\"Patient\\/2\"}]"), "2",
     OG_OK, NULL, NULL},
    {OBS("\"performer\":[{\"reference\":\"urn:uuid:x\"}]"), NULL, OG_NOTFOUND,
     "Observation.subject", "names no patient"},
    {OBS("\"performer\":[{\"reference\":\"urn:uuid:x\",\"type\":\"Patient\"}]"), "x", OG_OK, NULL,
     NULL},
    /* one of each column of the compartment */
    {"{\"resourceType\":\"Condition\",\"subject\":{\"reference\":\"Patient/1\"}}", "1", OG_OK, NULL,
     NULL},
    {"{\"resourceType\":\"MedicationStatement\",\"subject\":{\"reference\":\"Patient/1\"}}", "1",
     OG_OK, NULL, NULL},
    {"{\"resourceType\":\"MedicationRequest\",\"subject\":{\"reference\":\"Patient/1\"}}", "1",
     OG_OK, NULL, NULL},
    {"{\"resourceType\":\"MedicationAdministration\",\"subject\":{\"reference\":\"Patient/1\"}}",
     "1", OG_OK, NULL, NULL},
    {"{\"resourceType\":\"MedicationDispense\",\"subject\":{\"reference\":\"Patient/1\"}}", "1",
     OG_OK, NULL, NULL},
    {"{\"resourceType\":\"Procedure\",\"performer\":[{\"actor\":{\"reference\":\"Patient/1\"}}]}",
     "1", OG_OK, NULL, NULL},
    {"{\"resourceType\":\"AllergyIntolerance\",\"patient\":{\"reference\":\"Patient/1\"}}", "1",
     OG_OK, NULL, NULL},
    {"{\"resourceType\":\"Immunization\",\"patient\":{\"reference\":\"urn:uuid:x\"}}", "x", OG_OK,
     NULL, NULL},
    {"{\"resourceType\":\"Coverage\",\"beneficiary\":{\"reference\":\"Patient/"
     "1\"},\"subscriber\":{\"reference\":\"Patient/2\"}}",
     "1", OG_OK, NULL, NULL},
    {"{\"resourceType\":\"Appointment\",\"participant\":[{\"actor\":{\"reference\":\"Practitioner/"
     "1\"}},{},{\"actor\":{\"reference\":\"Patient/1\"}}]}",
     "1", OG_OK, NULL, NULL},
    {"{\"resourceType\":\"Provenance\",\"target\":[{\"reference\":\"Observation/"
     "1\"},{\"reference\":\"Patient/1\"}]}",
     "1", OG_OK, NULL, NULL},
    {"{\"resourceType\":\"Provenance\",\"target\":[{\"reference\":\"Observation/1\"}]}", NULL,
     OG_NOTFOUND, "Provenance.target", "names no patient"},
    {"{\"resourceType\":\"EnrollmentRequest\",\"candidate\":{\"reference\":\"Patient/1\"}}", "1",
     OG_OK, NULL, NULL},
    {"{\"resourceType\":\"ResearchSubject\",\"individual\":{\"reference\":\"Patient/1\"}}", "1",
     OG_OK, NULL, NULL},
    {"{\"resourceType\":\"VisionPrescription\",\"patient\":{\"reference\":\"Patient/1\"}}", "1",
     OG_OK, NULL, NULL},
    {"{\"resourceType\":\"Medication\"}", NULL, OG_NOTFOUND, "Medication", "belongs to no patient"},
    {"{\"resourceType\":\"Bundle\"}", NULL, OG_NOTFOUND, "Bundle", "belongs to no patient"},
};

static void knows_the_patient(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof owners / sizeof owners[0]; i++) {
        fhir_resource r = resource(owners[i].text);
        og_str id = OG_STR("untouched");
        og_error err;
        og_error_init(&err);
        og_status st = fhir_patient_of(arena, &r, NULL, &id, &err);
        if (st != owners[i].status)
            fail_msg("%s: %s %s", owners[i].text, og_status_name(st), err.text);
        if (st == OG_OK && !og_str_is(id, owners[i].id))
            fail_msg("%s: %.*s", owners[i].text, OG_STR_ARG(id));
        if (st != OG_OK &&
            (strcmp(err.path, owners[i].path) != 0 || strstr(err.text, owners[i].words) == NULL ||
             !og_str_is(id, "untouched")))
            fail_msg("%s: %s at %s", owners[i].text, err.text, err.path);
        assert_int_equal(fhir_patient_of(arena, &r, NULL, &id, NULL), owners[i].status);
    }
}

static void limits_the_length_of_an_id(void **state)
{
    (void)state;
    for (size_t n = 250; n < 260; n++) {
        og_buf b;
        og_buf_init(&b, 4096);
        og_buf_addz(&b,
                    "{\"resourceType\":\"Observation\",\"subject\":{\"identifier\":{\"value\":\"");
        for (size_t i = 0; i < n; i++)
            og_buf_addc(&b, 'x');
        og_buf_addz(&b, "\"}}}");
        fhir_resource r = resource(og_buf_str(&b).p);
        og_str id = {0};
        assert_int_equal(fhir_patient_of(arena, &r, NULL, &id, NULL),
                         n + 1 <= FHIR_PATIENT_ID_MAX ? OG_OK : OG_INVALID);
        og_buf_done(&b);
    }
}

static void finds_the_element(void **state)
{
    (void)state;
    bool self = true;
    fhir_resource r = resource(SUBJECT("Group/1"));
    assert_true(fhir_is(fhir_get(fhir_patient_element(&r, &self), "reference"), "Group/1"));
    assert_false(self);
    r = resource(
        "{\"resourceType\":\"Patient\",\"link\":[{\"other\":{\"reference\":\"Patient/2\"}}]}");
    assert_false(fhir_exists(fhir_patient_element(&r, &self)));
    assert_true(self);
    r = resource("{\"resourceType\":\"Medication\"}");
    assert_false(fhir_exists(fhir_patient_element(&r, &self)));
    assert_false(self);
    assert_true(fhir_in_patient_compartment(OG_STR("Account")));
    assert_true(fhir_in_patient_compartment(OG_STR("VisionPrescription")));
    assert_false(fhir_in_patient_compartment(OG_STR("Medication")));
    assert_false(fhir_in_patient_compartment(OG_STR("")));
}

/* --- with a Bundle --- */

static void resolves_inside_the_bundle(void **state)
{
    (void)state;
    fhir_resource b = resource(
        "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["
        "{\"fullUrl\":\"urn:uuid:p\",\"resource\":{\"resourceType\":\"Patient\",\"id\":\"real\","
        "\"identifier\":[{\"system\":\"s\",\"value\":\"1\"},{\"value\":\"2\"}]}},"
        "{\"fullUrl\":\"urn:uuid:q\",\"resource\":{\"resourceType\":\"Patient\"}},"
        "{\"fullUrl\":\"resource:r\",\"resource\":{\"resourceType\":\"Patient\",\"id\":\"r1\"}},"
        "{\"fullUrl\":\"urn:uuid:g\",\"resource\":{\"resourceType\":\"Group\",\"id\":\"g\"}},"
        "{\"fullUrl\":\"http://h/Patient/"
        "9\",\"resource\":{\"resourceType\":\"Patient\",\"id\":\"nine\"}}]}");
    fhir_bundle *bundle;
    assert_int_equal(fhir_bundle_open(arena, &b, &bundle, NULL), OG_OK);
    static const struct {
        const char *text, *id;
    } cases[] = {
        {SUBJECT("urn:uuid:p"), "real"},
        {SUBJECT("urn:uuid:q"), "q"},
        {SUBJECT("urn:uuid:elsewhere"), "elsewhere"},
        {SUBJECT("resource:r"), "r1"},
        {SUBJECT("urn:uuid:g"), NULL},
        {SUBJECT("Patient/real"), "real"},
        {SUBJECT("Patient/elsewhere"), "elsewhere"},
        {SUBJECT("http://h/Patient/9"), "nine"},
        {SUBJECT("http://h/Patient/9/_history/1"), "nine"},
        {SUBJECT("Patient?identifier=s|1"), "real"},
        {SUBJECT("Patient?identifier=|2"), "real"},
        {SUBJECT("Patient?identifier=s|2"), "s|2"},
        {OBS("\"subject\":{\"identifier\":{\"system\":\"s\",\"value\":\"1\"}}"), "real"},
        {OBS("\"performer\":[{\"reference\":\"urn:uuid:g\"},{\"reference\":\"urn:uuid:p\"}]"),
         "real"},
        {OBS("\"subject\":{\"reference\":\"#c\"},\"contained\":[{\"resourceType\":\"Patient\","
             "\"id\":\"c\",\"identifier\":[{\"system\":\"t\",\"value\":\"7\"},{\"system\":\"s\","
             "\"value\":\"1\"}]}]"),
         "real"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fhir_resource r = resource(cases[i].text);
        og_str id = {0};
        og_status st = fhir_patient_of(arena, &r, bundle, &id, NULL);
        if ((cases[i].id != NULL) != (st == OG_OK) || (st == OG_OK && !og_str_is(id, cases[i].id)))
            fail_msg("%s: %s %.*s", cases[i].text, og_status_name(st), OG_STR_ARG(id));
    }
}

/* --- real data --- */

static size_t owned, orphans;

static void own_lines(const char *path)
{
    og_str all = files_read(path), rest = all, line;
    while (files_line(&rest, &line)) {
        fhir_doc d;
        fhir_resource r;
        og_str id;
        og_error err;
        og_arena_reset(arena);
        og_error_init(&err);
        if (fhir_decode(arena, line, NULL, &d, &err) != OG_OK ||
            fhir_resource_of(fhir_root(&d), &r, &err) != OG_OK ||
            !fhir_in_patient_compartment(r.type))
            continue;
        if (fhir_patient_of(arena, &r, NULL, &id, &err) == OG_OK) {
            owned++;
            continue;
        }
        assert_int_equal(err.status, OG_NOTFOUND);
        assert_string_equal(err.path,
                            "Observation.subject"); /* resource:mCODEPatientExample01, loose */
        orphans++;
    }
    free((char *)all.p);
}

static void knows_the_patients_of_the_corpora(void **state)
{
    (void)state;
    owned = orphans = 0;
    own_lines(OG_SHARED_DATA "/fhir/corpus-dev.ndjson.gz");
    own_lines(OG_SHARED_DATA "/fhir/corpus-dev-mimic.ndjson.gz");
    assert_true(owned > 100000);
    assert_true(orphans <= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_strings_apart),
        cmocka_unit_test(takes_elements_apart),
        cmocka_unit_test(reads_google_fhirs_references),
        cmocka_unit_test(knows_the_patient),
        cmocka_unit_test(limits_the_length_of_an_id),
        cmocka_unit_test(finds_the_element),
        cmocka_unit_test(resolves_inside_the_bundle),
        cmocka_unit_test(knows_the_patients_of_the_corpora),
    };
    return cmocka_run_group_tests(tests, make_arena, free_arena);
}
