/* Bundles: what an entry means, who is meant inside, what leaves. */
#include "tests/unit/fhir_files.h"

#include "fhir/bundle.h"

#define ROOM ((size_t)512 << 20)

static og_arena *arena;

static int make_arena(void **state)
{
    (void)state;
    arena = og_arena_new(ROOM);
    return arena != NULL ? 0 : -1;
}

static int free_arena(void **state)
{
    (void)state;
    og_arena_free(arena);
    return 0;
}

static fhir_resource resource_in(og_str text)
{
    fhir_doc *d = og_arena_zalloc(arena, 1, sizeof *d);
    fhir_resource r = {0};
    og_error err;
    og_error_init(&err);
    if (fhir_decode(arena, text, NULL, d, &err) != OG_OK ||
        fhir_resource_of(fhir_root(d), &r, &err) != OG_OK)
        fail_msg("%.*s: %s", OG_STR_ARG(text), err.text);
    return r;
}

static fhir_bundle *opened(const char *text)
{
    fhir_resource r = resource_in(og_str_of(text));
    fhir_bundle *b = NULL;
    og_error err;
    og_error_init(&err);
    if (fhir_bundle_open(arena, &r, &b, &err) != OG_OK)
        fail_msg("%s: %s", text, err.text);
    return b;
}

static fhir_entry entry(const fhir_bundle *b, uint32_t i)
{
    fhir_entry e;
    og_error err;
    og_error_init(&err);
    if (fhir_bundle_entry(b, i, &e, &err) != OG_OK)
        fail_msg("entry %u: %s at %s", i, err.text, err.path);
    assert_int_equal(e.number, i);
    return e;
}

#define BUNDLE(type, entries)                                                                      \
    "{\"resourceType\":\"Bundle\",\"type\":\"" type "\",\"entry\":[" entries "]}"
#define PATIENT(members) "{\"resourceType\":\"Patient\"" members "}"

static void opens_what_carries_current_state(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *path; /* NULL: opened */
    } cases[] = {
        {BUNDLE("transaction", ""), NULL},
        {BUNDLE("batch", ""), NULL},
        {BUNDLE("collection", ""), NULL},
        {BUNDLE("history", ""), NULL},
        {BUNDLE("searchset", ""), NULL},
        {"{\"resourceType\":\"Bundle\",\"type\":\"bat\\u0063h\"}", NULL},
        {"{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":null}", NULL},
        {BUNDLE("document", ""), "Bundle.type"},
        {BUNDLE("message", ""), "Bundle.type"},
        {BUNDLE("transaction-response", ""), "Bundle.type"},
        {BUNDLE("Batch", ""), "Bundle.type"},
        {"{\"resourceType\":\"Bundle\"}", "Bundle.type"},
        {"{\"resourceType\":\"Bundle\",\"type\":[\"batch\"]}", "Bundle.type"},
        {"{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":{}}", "Bundle.entry"},
        {"{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":\"x\"}", "Bundle.entry"},
        {"{\"resourceType\":\"Patient\",\"type\":\"batch\"}", "resourceType"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fhir_resource r = resource_in(og_str_of(cases[i].text));
        fhir_bundle *b = NULL;
        og_error err;
        og_error_init(&err);
        og_status st = fhir_bundle_open(arena, &r, &b, &err);
        if (cases[i].path == NULL
                ? st != OG_OK || fhir_bundle_count(b) != 0
                : st != OG_INVALID || b != NULL || strcmp(err.path, cases[i].path) != 0)
            fail_msg("%s: %s at %s", cases[i].text, og_status_name(st), err.path);
    }
}

/* --- entries --- */

#define UUID "538a9a4e-8437-47d3-8c01-1a17dca8f0be"

static const struct {
    const char *text;
    int verb; /* -1: refused at path */
    const char *type, *id, *path;
} entries[] = {
    {"{\"resource\":" PATIENT(",\"id\":\"1\"") "}", FHIR_PUT, "Patient", "1", NULL},
    {"{\"resource\":" PATIENT(
         ",\"id\":\"1\"") ",\"request\":{\"method\":\"PUT\",\"url\":\"Patient/1\"}}",
     FHIR_PUT, "Patient", "1", NULL},
    {"{\"resource\":" PATIENT(
         ",\"id\":\"1\"") ",\"request\":{\"method\":\"POST\",\"url\":\"Patient\"}}",
     FHIR_PUT, "Patient", "1", NULL},
    {"{\"resource\":" PATIENT(",\"id\":\"1\"") ",\"search\":{\"mode\":\"match\"}}", FHIR_PUT,
     "Patient", "1", NULL},
    {"{\"resource\":" PATIENT(",\"id\":\"1\"") ",\"search\":{\"mode\":\"include\"}}", FHIR_PUT,
     "Patient", "1", NULL},
    /* ids from outside */
    {"{\"fullUrl\":\"urn:uuid:" UUID "\",\"resource\":" PATIENT("") "}", FHIR_PUT, "Patient", UUID,
     NULL},
    {"{\"fullUrl\":\"urn:uuid:" UUID "\",\"resource\":" PATIENT(",\"id\":\"1\"") "}", FHIR_PUT,
     "Patient", "1", NULL},
    {"{\"fullUrl\":\"urn:uuid:" UUID "\",\"resource\":" PATIENT(",\"id\":null") "}", FHIR_PUT,
     "Patient", UUID, NULL},
    {"{\"fullUrl\":\"http:\\/\\/h\\/Patient\\/7\",\"resource\":" PATIENT("") "}", FHIR_PUT,
     "Patient", "7", NULL},
    {"{\"fullUrl\":\"Patient/7\",\"resource\":" PATIENT("") "}", FHIR_PUT, "Patient", "7", NULL},
    {"{\"resource\":" PATIENT("") ",\"request\":{\"method\":\"PUT\",\"url\":\"Patient/8\"}}",
     FHIR_PUT, "Patient", "8", NULL},
    {"{\"resource\":" PATIENT("") ",\"request\":{\"method\":\"PUT\",\"url\":\"/Patient/8\"}}",
     FHIR_PUT, "Patient", "8", NULL},
    {"{\"fullUrl\":\"http://h/Group/7\",\"resource\":" PATIENT("") "}", -1, NULL, NULL,
     "Bundle.entry[0].resource.id"},
    {"{\"resource\":" PATIENT("") ",\"request\":{\"method\":\"POST\",\"url\":\"Patient/8\"}}", -1,
     NULL, NULL, "Bundle.entry[0].resource.id"},
    {"{\"resource\":" PATIENT(
         "") ",\"request\":{\"method\":\"PUT\",\"url\":\"Patient?identifier=1\"}}",
     -1, NULL, NULL, "Bundle.entry[0].resource.id"},
    {"{\"fullUrl\":\"urn:uuid:a b\",\"resource\":" PATIENT("") "}", -1, NULL, NULL,
     "Bundle.entry[0].resource.id"},
    {"{\"resource\":" PATIENT("") "}", -1, NULL, NULL, "Bundle.entry[0].resource.id"},
    /* deletes */
    {"{\"request\":{\"method\":\"DELETE\",\"url\":\"Patient/pid.999\"}}", FHIR_DELETE, "Patient",
     "pid.999", NULL},
    {"{\"request\":{\"method\":\"DELETE\",\"url\":\"\\/Patient\\/1\"}}", FHIR_DELETE, "Patient",
     "1", NULL},
    {"{\"request\":{\"method\":\"DELETE\",\"url\":\"https://h/fhir/Observation/1\"}}", FHIR_DELETE,
     "Observation", "1", NULL},
    {"{\"fullUrl\":\"http://h/Patient/1\",\"request\":{\"method\":\"DELETE\"}}", FHIR_DELETE,
     "Patient", "1", NULL},
    {"{\"request\":{\"method\":\"DELETE\",\"url\":\"Patient?identifier=s|1\"}}", -1, NULL, NULL,
     "Bundle.entry[0].request.url"},
    {"{\"request\":{\"method\":\"DELETE\",\"url\":\"Patient/1/_history/2\"}}", -1, NULL, NULL,
     "Bundle.entry[0].request.url"},
    {"{\"request\":{\"method\":\"DELETE\",\"url\":\"Nothing/1\"}}", -1, NULL, NULL,
     "Bundle.entry[0].request.url"},
    {"{\"request\":{\"method\":\"DELETE\",\"url\":\"Patient\"}}", -1, NULL, NULL,
     "Bundle.entry[0].request.url"},
    {"{\"request\":{\"method\":\"DELETE\"}}", -1, NULL, NULL, "Bundle.entry[0].request.url"},
    {"{\"request\":{\"method\":\"DELETE\",\"url\":5}}", -1, NULL, NULL,
     "Bundle.entry[0].request.url"},
    /* skipped */
    {"{\"request\":{\"method\":\"GET\",\"url\":\"Patient/1\"}}", FHIR_SKIP, "", "", NULL},
    {"{\"request\":{\"method\":\"HEAD\",\"url\":\"Patient/1\"}}", FHIR_SKIP, "", "", NULL},
    {"{\"search\":{\"mode\":\"outcome\"},\"resource\":{\"resourceType\":\"OperationOutcome\"}}",
     FHIR_SKIP, "", "", NULL},
    /* refused */
    {"{}", -1, NULL, NULL, "Bundle.entry[0]"},
    {"null", -1, NULL, NULL, "Bundle.entry[0]"},
    {"[]", -1, NULL, NULL, "Bundle.entry[0]"},
    {"{\"resource\":null}", -1, NULL, NULL, "Bundle.entry[0]"},
    {"{\"request\":{\"method\":\"POST\",\"url\":\"Patient\"}}", -1, NULL, NULL, "Bundle.entry[0]"},
    {"{\"resource\":[]}", -1, NULL, NULL, "Bundle.entry[0].resource"},
    {"{\"resource\":{}}", -1, NULL, NULL, "Bundle.entry[0].resource.resourceType"},
    {"{\"resource\":{\"resourceType\":\"No\"}}", -1, NULL, NULL,
     "Bundle.entry[0].resource.resourceType"},
    {"{\"resource\":" PATIENT(",\"id\":\"a b\"") "}", -1, NULL, NULL,
     "Bundle.entry[0].resource.id"},
    {"{\"resource\":{\"resourceType\":\"Bundle\",\"id\":\"1\",\"type\":\"batch\"}}", -1, NULL, NULL,
     "Bundle.entry[0].resource"},
    {"{\"resource\":" PATIENT(
         ",\"id\":\"1\"") ",\"request\":{\"method\":\"PATCH\",\"url\":\"Patient/1\"}}",
     -1, NULL, NULL, "Bundle.entry[0].request.method"},
    {"{\"resource\":" PATIENT(",\"id\":\"1\"") ",\"request\":{\"method\":\"delete\"}}", -1, NULL,
     NULL, "Bundle.entry[0].request.method"},
    {"{\"resource\":" PATIENT(",\"id\":\"1\"") ",\"request\":{\"method\":1}}", -1, NULL, NULL,
     "Bundle.entry[0].request.method"},
    {"{\"fullUrl\":1,\"resource\":" PATIENT(",\"id\":\"1\"") "}", -1, NULL, NULL,
     "Bundle.entry[0].fullUrl"},
};

static void reads_entries(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        og_str text = og_arena_printf(
            arena, BUNDLE("batch", "%s,{\"resource\":" PATIENT(",\"id\":\"other\"") "}"),
            entries[i].text);
        fhir_bundle *b = opened(text.p);
        fhir_entry e = {.number = 77};
        og_error err;
        og_error_init(&err);
        og_status st = fhir_bundle_entry(b, 0, &e, &err);
        if (entries[i].verb >= 0) {
            if (st != OG_OK || (int)e.verb != entries[i].verb ||
                !og_str_is(e.type, entries[i].type) || !og_str_is(e.id, entries[i].id) ||
                (e.verb == FHIR_PUT && !og_str_eq(e.resource.id, e.id)))
                fail_msg("%s: %s at %s", entries[i].text, err.text, err.path);
        } else if (st != OG_INVALID || strcmp(err.path, entries[i].path) != 0 ||
                   err.text[0] == '\0' || e.number != 77) {
            fail_msg("%s: %s at %s", entries[i].text, og_status_name(st), err.path);
        }
        assert_int_equal(fhir_bundle_count(b), 2);
        assert_true(og_str_is(entry(b, 1).id, "other")); /* one bad entry spoils no other */
        assert_int_equal(fhir_bundle_entry(b, 2, &e, NULL), OG_INVALID);
    }
}

static void keeps_the_order_of_a_history(void **state)
{
    (void)state;
    fhir_bundle *b = opened(BUNDLE(
        "history",
        "{\"fullUrl\":\"http://h/Patient/1\",\"request\":{\"method\":\"DELETE\",\"url\":\"Patient/"
        "1\"},\"response\":{\"status\":\"204\"}},"
        "{\"fullUrl\":\"http://h/Patient/1\",\"resource\":" PATIENT(
            ",\"id\":\"1\",\"meta\":{\"versionId\":\"2\"}") ",\"request\":{\"method\":\"PUT\","
                                                            "\"url\":\"Patient/1\"}},"
                                                            "{\"fullUrl\":\"http://h/Patient/"
                                                            "1\",\"resource\":" PATIENT(
                                                                ",\"id\":\"1\",\"meta\":{"
                                                                "\"versionId\":\"1\"}") ",\"request"
                                                                                        "\":{"
                                                                                        "\"method\""
                                                                                        ":\"POST\","
                                                                                        "\"url\":"
                                                                                        "\"Patient"
                                                                                        "\"}}"));
    assert_int_equal(entry(b, 0).verb, FHIR_DELETE);
    fhir_entry second = entry(b, 1), third = entry(b, 2);
    assert_true(og_str_is(fhir_meta_version(&second.resource), "2"));
    assert_true(og_str_is(fhir_meta_version(&third.resource), "1"));
    assert_int_equal(fhir_bundle_resolve(b, OG_STR("http://h/Patient/1"))->number,
                     1); /* the first with a resource */
}

static void resolves_names(void **state)
{
    (void)state;
    fhir_bundle *b = opened(
        BUNDLE("transaction", "{\"fullUrl\":\"urn:uuid:a\",\"resource\":" PATIENT(
                                  ",\"id\":\"1\",\"identifier\":[{\"system\":\"s\",\"value\":\"5\"}"
                                  "]") "},"
                                       "{\"fullUrl\":\"http://h/Observation/"
                                       "2\",\"resource\":{\"resourceType\":\"Observation\",\"id\":"
                                       "\"2\",\"identifier\":[{\"value\":\"5\"}]}},"
                                       "{\"fullUrl\":\"urn:uuid:gone\",\"request\":{\"method\":"
                                       "\"DELETE\",\"url\":\"Patient/3\"}}"));
    static const struct {
        const char *reference;
        int number; /* -1: none */
    } cases[] = {{"urn:uuid:a", 0},
                 {"Patient/1", 0},
                 {"Patient/1/_history/9", 0},
                 {"http://h/Observation/2", 1},
                 {"http://h/Observation/2/_history/1", 1},
                 {"Observation/2", 1},
                 {"http://other/Observation/2", -1},
                 {"urn:uuid:b", -1},
                 {"urn:uuid:gone", -1},
                 {"Patient/3", -1},
                 {"", -1},
                 {"1", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const fhir_entry *e = fhir_bundle_resolve(b, og_str_of(cases[i].reference));
        if ((e != NULL ? (int)e->number : -1) != cases[i].number)
            fail_msg("%s", cases[i].reference);
    }
    assert_int_equal(fhir_bundle_patient_with(b, OG_STR("s"), OG_STR("5"))->number, 0);
    assert_null(fhir_bundle_patient_with(b, OG_STR(""), OG_STR("5"))); /* an Observation's */
    assert_null(fhir_bundle_patient_with(b, OG_STR("s"), OG_STR("")));
}

/* --- extraction --- */

static const struct {
    const char *resource, *out;
} extracts[] = {
    {"{\"resourceType\":\"Observation\",\"id\":\"o\",\"subject\":{\"reference\":\"urn:uuid:p\"}}",
     "{\"resourceType\":\"Observation\",\"id\":\"o\",\"subject\":{\"reference\":\"Patient/"
     "real\"}}"},
    {"{ \"valueQuantity\" : {\"value\": 1.00e0 }, \"subject\":{\"reference\" : "
     "\"urn:uu\\u0069d:p\" } ,\"resourceType\":\"Observation\",\"id\":\"o\" }",
     "{ \"valueQuantity\" : {\"value\": 1.00e0 }, \"subject\":{\"reference\" : \"Patient/real\" } "
     ",\"resourceType\":\"Observation\",\"id\":\"o\" }"},
    {"{\"resourceType\":\"MedicationStatement\",\"id\":\"o\",\"medicationReference\":{"
     "\"reference\":\"urn:uuid:m\"},\"subject\":{\"reference\":\"resource:r\"}}",
     "{\"resourceType\":\"MedicationStatement\",\"id\":\"o\",\"medicationReference\":{"
     "\"reference\":\"Medication/m\"},\"subject\":{\"reference\":\"Patient/r\"}}"},
    {"{\"resourceType\":\"Observation\",\"id\":\"o\",\"subject\":{\"reference\":\"urn:uuid:"
     "elsewhere\"},\"focus\":[{\"reference\":\"http://h/Patient/"
     "9\"},{\"reference\":\"#c\"},{\"reference\":\"Patient/real\"}]}",
     "{\"resourceType\":\"Observation\",\"id\":\"o\",\"subject\":{\"reference\":\"urn:uuid:"
     "elsewhere\"},\"focus\":[{\"reference\":\"http://h/Patient/"
     "9\"},{\"reference\":\"#c\"},{\"reference\":\"Patient/real\"}]}"},
    {"{\"resourceType\":\"Observation\",\"id\":\"o\",\"contained\":[{\"resourceType\":\"Device\","
     "\"patient\":{\"referenc\\u0065\":\"urn:uuid:p\"}}],\"extension\":[{\"url\":\"urn:uuid:p\","
     "\"valueReference\":{\"reference\":\"urn:uuid:p\"}},{\"url\":\"x\",\"valueUri\":\"urn:uuid:"
     "p\"}]}",
     "{\"resourceType\":\"Observation\",\"id\":\"o\",\"contained\":[{\"resourceType\":\"Device\","
     "\"patient\":{\"referenc\\u0065\":\"Patient/"
     "real\"}}],\"extension\":[{\"url\":\"urn:uuid:p\",\"valueReference\":{\"reference\":\"Patient/"
     "real\"}},{\"url\":\"x\",\"valueUri\":\"urn:uuid:p\"}]}"},
    {"{\"resourceType\":\"Observation\",\"subject\":{\"reference\":\"urn:uuid:p\"}}",
     "{\"id\":\"self\",\"resourceType\":\"Observation\",\"subject\":{\"reference\":\"Patient/"
     "real\"}}"},
    {"{\"resourceType\":\"Observation\",\"id\": null "
     ",\"hasMember\":[{\"reference\":\"urn:uuid:self\"}]}",
     "{\"resourceType\":\"Observation\",\"id\": \"self\" "
     ",\"hasMember\":[{\"reference\":\"Observation/self\"}]}"},
    {"{\"resourceType\":\"Observation\",\"id\":\"o\",\"reference\":[\"urn:uuid:p\",{\"reference\":{"
     "\"reference\":5}}],\"text\":{\"div\":\"\"}}",
     "{\"resourceType\":\"Observation\",\"id\":\"o\",\"reference\":[\"urn:uuid:p\",{\"reference\":{"
     "\"reference\":5}}],\"text\":{\"div\":\"\"}}"},
};

static void extracts_with_references_resolved(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof extracts / sizeof extracts[0]; i++) {
        og_str text = og_arena_printf(
            arena,
            BUNDLE("transaction",
                   "{\"fullUrl\":\"urn:uuid:p\",\"resource\":" PATIENT(
                       ",\"id\":\"real\"") "},"
                                           "{\"fullUrl\":\"urn:uuid:m\",\"resource\":{"
                                           "\"resourceType\":\"Medication\"}},"
                                           "{\"fullUrl\":\"resource:r\",\"resource\":" PATIENT(
                                               ",\"id\":\"r\"") "},"
                                                                "{\"fullUrl\":\"urn:uuid:self\","
                                                                "\"resource\":%s}"),
            extracts[i].resource);
        fhir_bundle *b = opened(text.p);
        fhir_entry e = entry(b, 3);
        og_buf out;
        og_buf_init(&out, 4096);
        assert_int_equal(fhir_bundle_extract(b, &e, &out, NULL), OG_OK);
        if (!og_str_is(og_buf_str(&out), extracts[i].out))
            fail_msg("%s\n%s", extracts[i].resource, og_buf_str(&out).p);
        resource_in(og_buf_str(&out));
        og_buf_done(&out);
        og_buf_init(&out, 20);
        assert_int_equal(fhir_bundle_extract(b, &e, &out, NULL), OG_LIMIT);
        og_buf_done(&out);
    }
}

static void extracts_resources_only(void **state)
{
    (void)state;
    fhir_bundle *b =
        opened(BUNDLE("batch", "{\"request\":{\"method\":\"DELETE\",\"url\":\"Patient/1\"}}"));
    fhir_entry e = entry(b, 0);
    og_buf out;
    og_buf_init(&out, 4096);
    assert_int_equal(fhir_bundle_extract(b, &e, &out, NULL), OG_INVALID);
    assert_int_equal(out.n, 0);
    og_buf_done(&out);
}

/* Fifty thousand entries whose names differ in little, each referring to all that went before by
 * the worst name: sorted indexes, so it ends. */
static void survives_very_large_bundles(void **state)
{
    (void)state;
    og_buf b;
    og_buf_init(&b, 64 << 20);
    og_buf_addz(&b, "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[");
    for (int i = 0; i < 50000; i++)
        og_buf_addf(&b,
                    "%s{\"fullUrl\":\"urn:uuid:%08d\",\"resource\":{\"resourceType\":\"Patient\","
                    "\"identifier\":[{\"value\":\"same\"}],"
                    "\"link\":[{\"other\":{\"reference\":\"urn:uuid:%08d\"}}]}}",
                    i != 0 ? "," : "", i / 2, i / 3);
    og_buf_addz(&b, "]}");
    fhir_bundle *bundle = opened(og_buf_str(&b).p);
    assert_int_equal(fhir_bundle_count(bundle), 50000);
    assert_int_equal(fhir_bundle_resolve(bundle, OG_STR("urn:uuid:00024999"))->number, 49998);
    assert_int_equal(fhir_bundle_patient_with(bundle, OG_STR(""), OG_STR("same"))->number, 0);
    og_buf out;
    og_buf_init(&out, 64 << 20);
    for (uint32_t i = 0; i < 50000; i++) {
        fhir_entry e = entry(bundle, i);
        assert_int_equal(fhir_bundle_extract(bundle, &e, &out, NULL), OG_OK);
    }
    og_buf_done(&out);
    og_buf_done(&b);
}

/* An arena that grows by little until it is enough. */
static void survives_every_lack_of_memory(void **state)
{
    (void)state;
    static const char text[] =
        BUNDLE("batch", "{\"fullUrl\":\"urn:u\\u0075id:p\",\"resource\":" PATIENT(
                            ",\"identifier\":[{\"system\":\"\\u0073\",\"value\":"
                            "\"5\"}]") "},"
                                       "{\"fullUrl\":\"urn:uuid:o\",\"resource\":{"
                                       "\"resourceType\":\"Observation\",\"subject\":"
                                       "{\"reference\":\"Patient?identifier=s|5\"}}"
                                       "}");
    fhir_resource r = resource_in(OG_STR(text));
    size_t failures = 0;
    for (size_t limit = 0;; limit += 16) {
        og_arena *a = og_arena_new(limit);
        fhir_bundle *b = NULL;
        fhir_entry e;
        og_str id = {0};
        og_error err;
        og_error_init(&err);
        og_status st = fhir_bundle_open(a, &r, &b, &err);
        if (st == OG_OK)
            st = fhir_bundle_entry(b, 1, &e, &err);
        if (st == OG_OK)
            st = fhir_patient_of(a, &e.resource, b, &id, &err);
        if (st == OG_OK)
            assert_true(og_str_is(id, "p"));
        og_arena_free(a);
        if (st == OG_OK)
            break;
        assert_int_equal(st, OG_NOMEM);
        failures++;
        assert_true(limit < 65536);
    }
    assert_true(failures > 3);
}

/* --- what is on Kafka in the wild --- */

static struct {
    size_t puts, deletes, skips, refused, owned, orphans, rewritten;
} seen;

/* All of a Bundle: every entry read, extracted, decoded again, and its patient known before and
 * after. */
static void work_off(const fhir_resource *r)
{
    fhir_bundle *b = NULL;
    og_buf out;
    og_buf_init(&out, 64 << 20);
    if (fhir_bundle_open(arena, r, &b, NULL) != OG_OK) {
        seen.refused++;
        return;
    }
    for (uint32_t i = 0; i < fhir_bundle_count(b); i++) {
        fhir_entry e;
        og_error err;
        og_error_init(&err);
        if (fhir_bundle_entry(b, i, &e, &err) != OG_OK) {
            assert_true(strstr(err.path, "Bundle.entry[") == err.path);
            seen.refused++;
            continue;
        }
        seen.deletes += e.verb == FHIR_DELETE;
        seen.skips += e.verb == FHIR_SKIP;
        if (e.verb != FHIR_PUT)
            continue;
        seen.puts++;
        og_buf_clear(&out);
        assert_int_equal(fhir_bundle_extract(b, &e, &out, &err), OG_OK);
        fhir_resource alone = resource_in(og_buf_str(&out));
        assert_true(og_str_eq(alone.id, e.id) && og_str_eq(alone.type, e.type));
        seen.rewritten += !og_str_eq(og_buf_str(&out), fhir_raw(e.resource.root));
        if (!fhir_in_patient_compartment(e.type))
            continue;
        og_str before = {0}, after = {0};
        bool known = fhir_patient_of(arena, &e.resource, b, &before, &err) == OG_OK;
        seen.owned += known;
        seen.orphans += !known;
        bool again = fhir_patient_of(arena, &alone, b, &after, NULL) == OG_OK;
        assert_int_equal(known, again);
        assert_true(og_str_eq(before, after));
    }
    og_buf_done(&out);
}

static void works_off_the_bundles_of_the_corpus(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof seen);
    og_str all = files_read(OG_SHARED_DATA "/fhir/bundles-dev.ndjson.gz"), rest = all, line;
    while (files_line(&rest, &line)) {
        fhir_doc d;
        fhir_resource r;
        og_arena_reset(arena);
        assert_int_equal(fhir_decode(arena, line, NULL, &d, NULL), OG_OK);
        if (fhir_resource_of(fhir_root(&d), &r, NULL) == OG_OK)
            work_off(&r);
    }
    free((char *)all.p);
    assert_true(seen.puts > 23000);
    assert_true(seen.rewritten > 10000);
    assert_int_equal(seen.orphans, 0);
    assert_int_equal(seen.refused, 2); /* transaction-response */
}

static void work_off_file(const char *path, const char *name)
{
    og_str all = files_read(path), rest = all, line;
    bool lines = strstr(name, ".ndjson") != NULL;
    og_arena_reset(arena);
    while (rest.n != 0) {
        if (!lines) {
            line = rest;
            rest.n = 0;
        } else if (!files_line(&rest, &line)) {
            break;
        }
        ptrdiff_t brace = og_str_find(line, '{'); /* `key:value` lines */
        fhir_doc d;
        fhir_resource r;
        if (strncmp(line.p, "Struct{", 7) ==
            0) /* a Kafka Connect envelope behind a key with braces */
            brace = og_str_find(line, ':') + 1;
        if (brace < 0 || fhir_decode(arena, lines ? og_str_from(line, (size_t)brace) : line, NULL,
                                     &d, NULL) != OG_OK) {
            fail_msg("%s is no JSON", name);
        }
        if (fhir_resource_of(fhir_root(&d), &r, NULL) != OG_OK) {
            seen.refused++; /* envelopes, a bare array */
            continue;
        }
        if (og_str_is(r.type, "Bundle")) {
            work_off(&r);
            continue;
        }
        og_str id;
        if (fhir_patient_of(arena, &r, NULL, &id, NULL) != OG_OK)
            fail_msg("%s: a %.*s without patient", name, OG_STR_ARG(r.type));
        seen.owned++;
    }
    free((char *)all.p);
}

static void works_off_the_kafka_fixtures(void **state)
{
    (void)state;
    memset(&seen, 0, sizeof seen);
    assert_true(files_each(OG_SHARED_DATA "/fhir/kafka-fixtures", work_off_file) > 30);
    assert_int_equal(seen.deletes, 6);
    assert_int_equal(seen.orphans, 0);
    assert_true(seen.puts > 300 && seen.owned > 300);
    print_message("kafka-fixtures: %zu puts, %zu deletes, %zu refused, %zu owned\n", seen.puts,
                  seen.deletes, seen.refused, seen.owned);
}

static void work_off_anything(const char *path, const char *name)
{
    (void)name;
    og_str all = files_read(path);
    fhir_doc d;
    fhir_resource r;
    og_arena_reset(arena);
    if (fhir_decode(arena, all, NULL, &d, NULL) == OG_OK &&
        fhir_resource_of(fhir_root(&d), &r, NULL) == OG_OK) {
        og_str id;
        if (og_str_is(r.type, "Bundle"))
            work_off(&r);
        else if (fhir_patient_of(arena, &r, NULL, &id, NULL) == OG_OK)
            assert_true(id.n != 0 && id.n <= FHIR_PATIENT_ID_MAX);
    }
    free((char *)all.p);
}

static void survives_examples_and_malformed_samples(void **state)
{
    (void)state;
    assert_true(files_each(OG_SHARED_DATA "/fhir/examples-r4", work_off_anything) > 500);
    assert_true(files_each(OG_SHARED_DATA "/fhir/malformed", work_off_anything) >= 600);
}

/* The status of a subscription comes first and is no event; what the notification names without
 * bringing it is said. */
static void notifications_are_read(void **state)
{
    static const char *const texts[] = {
        BUNDLE("history", "{\"resource\":{\"resourceType\":\"Parameters\"}},{\"resource\":" PATIENT(
                              ",\"id\":\"a\"") "},{\"fullUrl\":\"https://e/Patient/b\"}"),
        BUNDLE("subscription-notification",
               "{\"resource\":{\"resourceType\":\"SubscriptionStatus\",\"type\":\"event-"
               "notification\"}},{\"resource\":" PATIENT(
                   ",\"id\":\"a\"") "},{\"fullUrl\":\"https://e/Patient/b\"}"),
    };
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const fhir_bundle *b = opened(texts[i]);
        fhir_entry e;
        og_error err;
        og_error_init(&err);
        assert_int_equal(entry(b, 0).verb, FHIR_SKIP);
        assert_int_equal(entry(b, 1).verb, FHIR_PUT);
        assert_int_equal(fhir_bundle_entry(b, 2, &e, &err), OG_INVALID);
        assert_string_equal(err.text, "the entry names a resource but does not bring it");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_carries_current_state),
        cmocka_unit_test(reads_entries),
        cmocka_unit_test(keeps_the_order_of_a_history),
        cmocka_unit_test(resolves_names),
        cmocka_unit_test(extracts_with_references_resolved),
        cmocka_unit_test(extracts_resources_only),
        cmocka_unit_test(survives_very_large_bundles),
        cmocka_unit_test(survives_every_lack_of_memory),
        cmocka_unit_test(works_off_the_bundles_of_the_corpus),
        cmocka_unit_test(works_off_the_kafka_fixtures),
        cmocka_unit_test(survives_examples_and_malformed_samples),
        cmocka_unit_test(notifications_are_read),
    };
    return cmocka_run_group_tests(tests, make_arena, free_arena);
}
