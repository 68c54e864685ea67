/* Types, ids, shapes, primitives. The primitive lists of google/fhir are tables from outside; where
 * we differ, the line stands here with its reason. */
#include "tests/unit/fhir_files.h"

#include "fhir/resource.h"

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

/* --- fhir_resource_of --- */

#define LONG_ID                                                                                    \
    "1234567890123456789012345678901234567890123456789012345678901234" /* as long as R4 allows */

static const struct {
    const char *text, *type, *id, *path; /* type NULL: refused at path */
} resources[] = {
    {"{\"resourceType\":\"Patient\"}", "Patient", "", NULL},
    {"{\"id\":\"a-1.B\",\"x\":[{}],\"resourceType\":\"Patient\"}", "Patient", "a-1.B", NULL},
    {"{\"resourceType\":\"Pat\\u0069ent\",\"id\":\"1\"}", "Patient", "1", NULL},
    {"{\"resource\\u0054ype\":\"Patient\",\"\\u0069d\":\"1\"}", "Patient", "1", NULL},
    {"{\"resourceType\":\"Patient\",\"id\":null}", "Patient", "", NULL},
    {"{\"resourceType\":\"Patient\",\"id\":"
     "\"1234567890123456789012345678901234567890123456789012345678901234\"}",
     "Patient", "1234567890123456789012345678901234567890123456789012345678901234", NULL},
    {"[]", NULL, NULL, ""},
    {"\"Patient\"", NULL, NULL, ""},
    {"null", NULL, NULL, ""},
    {"{}", NULL, NULL, "resourceType"},
    {"{\"resourceType\":null}", NULL, NULL, "resourceType"},
    {"{\"resourceType\":1}", NULL, NULL, "resourceType"},
    {"{\"resourceType\":[\"Patient\"]}", NULL, NULL, "resourceType"},
    {"{\"resourceType\":\"\"}", NULL, NULL, "resourceType"},
    {"{\"resourceType\":\"patient\"}", NULL, NULL, "resourceType"},
    {"{\"resourceType\":\"Patient \"}", NULL, NULL, "resourceType"},
    {"{\"resourceType\":\"Resource\"}", NULL, NULL, "resourceType"},
    {"{\"resourceType\":\"DomainResource\"}", NULL, NULL, "resourceType"},
    {"{\"resourceType\":\"Quantity\"}", NULL, NULL, "resourceType"},
    {"{\"resourceType\":\"Observation.Component\"}", NULL, NULL, "resourceType"},
    {"{\"resourceType\":\"true\"}", NULL, NULL, "resourceType"},
    {"{\"resourceType\":\"Patient\",\"id\":\"\"}", NULL, NULL, "id"},
    {"{\"resourceType\":\"Patient\",\"id\":1}", NULL, NULL, "id"},
    {"{\"resourceType\":\"Patient\",\"id\":\"a:b\"}", NULL, NULL, "id"},
    {"{\"resourceType\":\"Patient\",\"id\":\"\\u0061\"}", NULL, NULL, "id"},
    {"{\"resourceType\":\"Patient\",\"id\":\"P_0\"}", "Patient", "P_0", NULL},
    {"{\"resourceType\":\"Patient\",\"id\":\"" LONG_ID "5\"}", "Patient", LONG_ID "5", NULL},
    {"{\"resourceType\":\"Patient\",\"id\":\"" LONG_ID LONG_ID "\"}", "Patient", LONG_ID LONG_ID,
     NULL},
    {"{\"resourceType\":\"Patient\",\"id\":\"" LONG_ID LONG_ID "5\"}", NULL, NULL, "id"},
};

static void knows_a_resource(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof resources / sizeof resources[0]; i++) {
        fhir_resource r = {.type = OG_STR("untouched")};
        og_error err;
        og_error_init(&err);
        og_status st = fhir_resource_of(parsed(resources[i].text), &r, &err);
        if (resources[i].type != NULL) {
            if (st != OG_OK || !og_str_is(r.type, resources[i].type) ||
                !og_str_is(r.id, resources[i].id))
                fail_msg("%s: %s", resources[i].text, err.text);
        } else if (st != OG_INVALID || strcmp(err.path, resources[i].path) != 0 ||
                   !og_str_is(r.type, "untouched")) {
            fail_msg("%s: %s at %s", resources[i].text, og_status_name(st), err.path);
        }
    }
    fhir_resource r;
    assert_int_equal(fhir_resource_of(FHIR_ABSENT, &r, NULL), OG_INVALID);
}

/* --- fhir_resource_check --- */

#define OBSERVATION(members) "{\"resourceType\":\"Observation\"," members "}"

static const struct {
    const char *text;
    bool good, strictly_good;
    const char *path; /* of the strict error */
} checks[] = {
    {OBSERVATION("\"status\":\"final\",\"valueQuantity\":{\"value\":1.10,\"unit\":\"mg/dL\"}"),
     true, true, NULL},
    {OBSERVATION("\"component\":[{\"valueInteger\":1},{\"valueInteger\":\"1\"}]"), false, false,
     "Observation.component[1].valueInteger"},
    {OBSERVATION("\"status\":1"), false, false, "Observation.status"},
    {OBSERVATION("\"status\":[\"final\"]"), false, false, "Observation.status"},
    {OBSERVATION("\"identifier\":{}"), false, false, "Observation.identifier"},
    {OBSERVATION("\"category\":[1]"), false, false, "Observation.category[0]"},
    {OBSERVATION("\"subject\":\"Patient/1\""), false, false, "Observation.subject"},
    {OBSERVATION("\"subject\":[{\"reference\":\"Patient/1\"}]"), false, false,
     "Observation.subject"},
    {OBSERVATION("\"subject\":{\"reference\":5}"), false, false, "Observation.subject.reference"},
    {OBSERVATION("\"valueBoolean\":\"true\""), false, false, "Observation.valueBoolean"},
    {OBSERVATION("\"valueQuantity\":{\"value\":\"1.0\"}"), false, false,
     "Observation.valueQuantity.value"},
    {OBSERVATION("\"value\\u0051uantity\":{\"value\":\"1.0\"}"), false, false,
     "Observation.valueQuantity.value"},
    {OBSERVATION("\"contained\":[{\"resourceType\":\"Patient\",\"active\":1}]"), false, false,
     "Observation.contained[0].active"},
    {OBSERVATION("\"contained\":[{\"resourceType\":\"Nothing\"}]"), false, false,
     "Observation.contained[0]"},
    {OBSERVATION("\"contained\":[{\"id\":\"x\"}]"), false, false, "Observation.contained[0]"},
    {OBSERVATION("\"contained\":[{\"resourceType\":\"Patient\",\"id\":\"#x\"}]"), true, false,
     "Observation.contained[0].id"},
    {OBSERVATION("\"extension\":[{\"url\":\"http://x\",\"valueCode\":true}]"), false, false,
     "Observation.extension[0].valueCode"},
    {OBSERVATION("\"_status\":[]"), false, false, "Observation._status"},
    {OBSERVATION("\"_status\":{\"extension\":{}}"), false, false, "Observation._status.extension"},
    {"{\"resourceType\":\"Patient\",\"name\":[{\"_given\":{}}]}", false, false,
     "Patient.name[0]._given"},
    {"{\"resourceType\":\"Patient\",\"name\":[{\"given\":[\"A\",null],\"_given\":[null,{\"id\":"
     "\"x\"}]}]}",
     true, true, NULL},
    {"{\"resourceType\":\"Patient\",\"name\":[{\"_given\":[1]}]}", false, false,
     "Patient.name[0]._given[0]"},
    /* what real senders write */
    {OBSERVATION("\"effectiveDateTime\":\"2023-05\""), true, true, NULL},
    {OBSERVATION("\"effectiveDateTime\":\"2023-05-01T10:00:00.1234567+02:00\""), true, true, NULL},
    {OBSERVATION("\"effectiveDateTime\":\"2023-05-01T10:00:00\""), true, false,
     "Observation.effectiveDateTime"},
    {OBSERVATION("\"effectiveDateTime\":\"2023-05-01T10:00:00-0400\""), true, false,
     "Observation.effectiveDateTime"},
    {OBSERVATION("\"_effectiveDateTime\":{\"extension\":[{\"url\":\"http://"
                 "x\",\"valueCode\":\"unknown\"}]}"),
     true, true, NULL},
    {OBSERVATION("\"status\":\"completed\""), true, true, NULL}, /* the binding is not looked at */
    {OBSERVATION("\"status\":\" final\""), true, false, "Observation.status"},
    {OBSERVATION("\"status\":\"\""), true, false, "Observation.status"},
    {OBSERVATION("\"issued\":null"), true, false, "Observation.issued"},
    {OBSERVATION("\"category\":[]"), true, false, "Observation.category"},
    {OBSERVATION("\"category\":[null]"), true, false, "Observation.category[0]"},
    {OBSERVATION("\"code\":{}"), true, false, "Observation.code"},
    {OBSERVATION("\"profession\":{\"a\":[1,[2]]},\"valueNothing\":1,\"value\":1,\"_\":1,\"\":1"),
     true, true, NULL},
    {OBSERVATION("\"fhir_comments\":[\"old\"]"), true, true, NULL},
    {OBSERVATION("\"valueInteger\":99999999999"), true, false, "Observation.valueInteger"},
    /* entries of a Bundle are looked at one by one, elsewhere */
    {"{\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":{\"resourceType\":\"No\"}}]}", true,
     false, "Bundle.entry[0].resource"},
    {"{\"resourceType\":\"Bundle\",\"entry\":{}}", false, false, "Bundle.entry"},
    {"{\"resourceType\":\"Parameters\",\"parameter\":[{\"resource\":{\"resourceType\":\"Patient\","
     "\"id\":5}}]}",
     false, false, "Parameters.parameter[0].resource.id"},
};

static void checks_shapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        fhir_resource r = resource(checks[i].text);
        og_error err;
        og_error_init(&err);
        og_status st = fhir_resource_check(&r, &err);
        if (st != (checks[i].good ? OG_OK : OG_INVALID) ||
            (st != OG_OK && strcmp(err.path, checks[i].path) != 0))
            fail_msg("%s: %s at %s", checks[i].text, og_status_name(st), err.path);
        og_error_init(&err);
        st = fhir_resource_check_strict(&r, &err);
        if (st != (checks[i].strictly_good ? OG_OK : OG_INVALID) ||
            (st != OG_OK && strcmp(err.path, checks[i].path) != 0))
            fail_msg("%s: strictly %s at %s", checks[i].text, og_status_name(st), err.path);
        assert_int_equal(fhir_resource_check(&r, NULL), checks[i].good ? OG_OK : OG_INVALID);
    }
}

static void limits_nesting(void **state)
{
    (void)state;
    og_buf b;
    og_buf_init(&b, 1 << 20);
    og_buf_addz(&b, "{\"resourceType\":\"Patient\"");
    for (int i = 0; i < 600; i++)
        og_buf_addz(&b, ",\"extension\":[{\"url\":\"http://x\"");
    for (int i = 0; i < 600; i++)
        og_buf_addz(&b, "}]");
    og_buf_addz(&b, "}");
    fhir_doc d;
    fhir_resource r;
    og_error err;
    fhir_limits deep = {.max_bytes = 1 << 20, .max_depth = 5000};
    og_error_init(&err);
    assert_int_equal(fhir_decode(arena, og_buf_str(&b), &deep, &d, &err), OG_OK);
    assert_int_equal(fhir_resource_of(fhir_root(&d), &r, &err), OG_OK);
    assert_int_equal(fhir_resource_check(&r, &err), OG_LIMIT);
    og_buf_done(&b);
}

static void long_paths_are_cut(void **state)
{
    (void)state;
    og_buf b;
    og_buf_init(&b, 1 << 20);
    og_buf_addz(&b, "{\"resourceType\":\"Patient\"");
    for (int i = 0; i < 50; i++)
        og_buf_addz(&b, ",\"extension\":[{\"url\":\"http://x\"");
    og_buf_addz(&b, ",\"valueCode\":1");
    for (int i = 0; i < 50; i++)
        og_buf_addz(&b, "}]");
    og_buf_addz(&b, "}");
    fhir_resource r = resource(og_buf_str(&b).p);
    og_error err;
    og_error_init(&err);
    assert_int_equal(fhir_resource_check(&r, &err), OG_INVALID);
    assert_true(strlen(err.path) > 200 && strlen(err.path) < sizeof err.path);
    assert_int_equal(strncmp(err.path, "Patient.extension[0].extension[0].", 34), 0);
    og_buf_done(&b);
}

/* --- primitives --- */

static const struct {
    const char *type, *json;
    bool good;
} primitives[] = {
    {"boolean", "true", true},
    {"boolean", "\"true\"", false},
    {"boolean", "0", false},
    {"integer", "0", true},
    {"integer", "-1", true},
    {"integer", "-0", false},
    {"integer", "2147483647", true},
    {"integer", "2147483648", false},
    {"integer", "-2147483648", true},
    {"integer", "-2147483649", false},
    {"integer", "1e3", false},
    {"integer", "1.0", false},
    {"integer", "99999999999999999999", false},
    {"unsignedInt", "0", true},
    {"unsignedInt", "-1", false},
    {"unsignedInt", "2147483647", true},
    {"unsignedInt", "2147483648", false},
    {"positiveInt", "0", false},
    {"positiveInt", "1", true},
    {"decimal", "-0.010", true},
    {"decimal", "1e-5", true},
    {"decimal", "\"1.0\"", false},
    {"string", "\" \"", true},
    {"string", "\"\"", false},
    {"string", "\"a\\tb\\r\\n\"", true},
    {"string", "\"a\\u0000\"", false},
    {"string", "\"a\\b\"", false},
    {"markdown", "\"# x\\n\"", true},
    {"uri", "\"http://x y\"", false},
    {"uri", "\"http:\\/\\/x\"", true},
    {"uri", "\"a\\nb\"", false},
    {"uri", "\"\"", false},
    {"url", "\"http://\xC3\xA4\"", true},
    {"canonical", "\"http://x|1\"", true},
    {"oid", "\"urn:oid:1.2.3\"", true},
    {"oid", "\"urn:oid:1\"", false},
    {"oid", "\"urn:oid:3.1\"", false},
    {"oid", "\"urn:oid:1.02\"", false},
    {"oid", "\"urn:oid:1.0\"", true},
    {"oid", "\"urn:oid:1.2.\"", false},
    {"oid", "\"1.2.3\"", false},
    {"uuid", "\"urn:uuid:c757873d-ec9a-4326-a141-556f43239520\"", true},
    {"uuid", "\"urn:uuid:C757873D-ec9a-4326-a141-556f43239520\"", false},
    {"uuid", "\"urn:uuid:c757873d-ec9a-4326-a141-556f4323952\"", false},
    {"uuid", "\"urn:uuid:c757873d0ec9a-4326-a141-556f43239520\"", false},
    {"id", "\"a.b-C\"", true},
    {"id", "\"\\u0061\"", true},
    {"id", "\"a/b\"", false},
    {"code", "\"a b\"", true},
    {"code", "\"a  b\"", false},
    {"code", "\" a\"", false},
    {"code", "\"a \"", false},
    {"code", "\"a\\tb\"", true},
    {"code", "\"\"", false},
    {"ObservationStatus", "\"final\"", true},
    {"date", "\"2024-02-29\"", true},
    {"date", "\"2023-02-29\"", false},
    {"date", "\"1900-02-29\"", false},
    {"date", "\"2023-04-31\"", false},
    {"date", "\"2023-13\"", false},
    {"date", "\"2023-00\"", false},
    {"date", "\"2023-1-1\"", false},
    {"date", "\"0000\"", false},
    {"date", "\"23\"", false},
    {"date", "\"2023-01-01T00:00:00Z\"", false},
    {"date", "\"\\u0032023\"", true},
    {"dateTime", "\"2023\"", true},
    {"dateTime", "\"2023-01-01T10:00Z\"", false},
    {"dateTime", "\"2023-01-01T10:00:00Z\"", true},
    {"dateTime", "\"2023-01-01T10:00:00.1234567+14:00\"", true},
    {"dateTime", "\"2023-01-01T10:00:00+14:01\"", false},
    {"dateTime", "\"2023-01-01T10:00:00-0400\"", false},
    {"dateTime", "\"2023-01-01T24:00:00Z\"", false},
    {"dateTime", "\"2023-01-01 10:00:00Z\"", false},
    {"dateTime", "\"2023-01-01T10:00:00\"", false},
    {"instant", "\"2023-01-01T10:00:00.1Z\"", true},
    {"instant", "\"2023-01-01\"", false},
    {"time", "\"23:59:59\"", true},
    {"time", "\"23:59:59.999\"", true},
    {"time", "\"23:59\"", false},
    {"time", "\"24:00:00\"", false},
    {"time", "\"10:00:00Z\"", false},
    {"base64Binary", "\"QQ==\"", true},
    {"base64Binary", "\"QUI=\"", true},
    {"base64Binary", "\"QU JD\\n\"", true},
    {"base64Binary", "\"QUJ\"", false},
    {"base64Binary", "\"Q===\"", false},
    {"base64Binary", "\"QQ=A\"", false},
    {"base64Binary", "\"\"", false},
    {"xhtml", "\"<div/>\"", true},
    {"date", "null", false},
    {"Quantity", "{}", false},
    {"Nothing", "1", false},
    {"", "1", false},
};

static void checks_primitives(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof primitives / sizeof primitives[0]; i++)
        if (fhir_primitive_valid(og_str_of(primitives[i].type), parsed(primitives[i].json)) !=
            primitives[i].good)
            fail_msg("%s: %s", primitives[i].type, primitives[i].json);
    assert_false(fhir_primitive_valid(OG_STR("date"), FHIR_ABSENT));
}

static void limits_strings_to_a_million_characters(void **state)
{
    (void)state;
    og_buf b;
    og_buf_init(&b, 4 << 20);
    og_buf_addc(&b, '"');
    for (size_t i = 0; i < 1024u * 1024u; i++)
        og_buf_addz(&b, "\xC3\xA4");
    og_buf_addc(&b, '"');
    assert_true(fhir_primitive_valid(OG_STR("string"), parsed(og_buf_str(&b).p)));
    b.n--;
    og_buf_addz(&b, "x\"");
    assert_false(fhir_primitive_valid(OG_STR("string"), parsed(og_buf_str(&b).p)));
    og_buf_done(&b);
}

/* google/fhir's name of a type, ours, and lines that we judge otherwise. */
static const struct {
    const char *file, *type;
} lists[] = {
    {"base64_binary", "base64Binary"},
    {"boolean", "boolean"},
    {"canonical", "canonical"},
    {"code", "code"},
    {"date", "date"},
    {"date_time", "dateTime"},
    {"decimal", "decimal"},
    {"id", "id"},
    {"instant", "instant"},
    {"integer", "integer"},
    {"markdown", "markdown"},
    {"oid", "oid"},
    {"positive_int", "positiveInt"},
    {"string", "string"},
    {"time", "time"},
    {"unsigned_int", "unsignedInt"},
    {"uri", "uri"},
    {"url", "url"},
    {"uuid", "uuid"},
    {"xhtml", "xhtml"},
};
static const struct {
    const char *file, *line, *why;
} otherwise[] = {
    {"*", "null", "there it means a primitive with extensions only; here null is no value"},
    {"xhtml", "\"\"", "R4 narrative.html: the div SHALL have some non-whitespace content"},
};

static bool judged_otherwise(const char *file, og_str line)
{
    for (size_t i = 0; i < sizeof otherwise / sizeof otherwise[0]; i++)
        if ((otherwise[i].file[0] == '*' || strcmp(otherwise[i].file, file) == 0) &&
            og_str_is(line, otherwise[i].line))
            return true;
    return false;
}

static size_t judge_list(const char *file, const char *type, bool good)
{
    char path[512];
    size_t n = 0;
    snprintf(path, sizeof path,
             OG_SHARED_DATA "/fhir/malformed/google-fhir-primitives/%s.%s.ndjson", file,
             good ? "valid" : "invalid");
    og_str all = files_read(path), rest = all, line;
    while (files_line(&rest, &line)) {
        fhir_doc d;
        bool valid = fhir_decode(arena, line, NULL, &d, NULL) == OG_OK &&
                     fhir_primitive_valid(og_str_of(type), fhir_root(&d));
        if (valid != (good && !judged_otherwise(file, line)))
            fail_msg("%s: %.*s", file, OG_STR_ARG(line));
        n++;
    }
    free((char *)all.p);
    return n;
}

static void agrees_with_google_fhir(void **state)
{
    (void)state;
    size_t n = 0;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        n += judge_list(lists[i].file, lists[i].type, true) +
             judge_list(lists[i].file, lists[i].type, false);
    assert_true(n > 100);
}

/* --- access --- */

static void reads_meta(void **state)
{
    (void)state;
    fhir_resource r = resource(
        "{\"resourceType\":\"Patient\",\"meta\":{\"versionId\":\"3\",\"lastUpdated\":\"2023\"}}");
    assert_true(og_str_is(fhir_meta_version(&r), "3"));
    assert_true(og_str_is(fhir_meta_last_updated(&r), "2023"));
    r = resource("{\"resourceType\":\"Patient\",\"meta\":{\"versionId\":3}}");
    assert_int_equal(fhir_meta_version(&r).n, 0);
    assert_int_equal(fhir_meta_last_updated(&r).n, 0);
    r = resource("{\"resourceType\":\"Patient\",\"meta\":[]}");
    assert_int_equal(fhir_meta_version(&r).n, 0);
}

static void finds_codings(void **state)
{
    (void)state;
    fhir_elem c =
        parsed("{\"coding\":[5,{\"code\":\"0\"},{\"system\":\"http:\\/\\/a\",\"code\":\"1\"},"
               "{\"system\":\"http://a\",\"code\":\"2\"}]}");
    assert_true(fhir_is(fhir_get(fhir_coding_in(c, "http://a"), "code"), "1"));
    assert_true(fhir_is(fhir_get(fhir_coding_in(c, NULL), "code"), "0"));
    assert_false(fhir_exists(fhir_coding_in(c, "http://b")));
    assert_false(fhir_exists(fhir_coding_in(FHIR_ABSENT, NULL)));
    assert_false(fhir_exists(fhir_coding_in(parsed("{\"text\":\"x\"}"), NULL)));
}

static void finds_choices(void **state)
{
    (void)state;
    og_str type = {0};
    fhir_elem e = parsed(
        "{\"_valueString\":{},\"valueSet\":1,\"value\":2,\"valueFoo\":3,\"valueDateTime\":\"2023\","
        "\"onsetAge\":{},\"effectivePeriod\":{}}");
    assert_true(fhir_is(fhir_choice(e, "value", &type), "2023"));
    assert_true(og_str_is(type, "DateTime"));
    assert_int_equal(fhir_kind_of(fhir_choice(e, "onset", &type)), FHIR_OBJECT);
    assert_true(og_str_is(type, "Age"));
    assert_true(fhir_exists(fhir_choice(e, "effective", NULL)));
    assert_false(fhir_exists(fhir_choice(e, "deceased", &type)));
    assert_false(fhir_exists(fhir_choice(FHIR_ABSENT, "value", &type)));
    assert_false(fhir_exists(fhir_choice(parsed("[]"), "value", &type)));
}

/* --- real data --- */

static void check_lines(const char *path)
{
    og_str all = files_read(path), rest = all, line;
    size_t n = 0;
    while (files_line(&rest, &line)) {
        fhir_doc d;
        fhir_resource r;
        og_error err;
        og_arena_reset(arena);
        og_error_init(&err);
        assert_int_equal(fhir_decode(arena, line, NULL, &d, &err), OG_OK);
        n++;
        if (fhir_resource_of(fhir_root(&d), &r, &err) != OG_OK ||
            fhir_resource_check(&r, &err) != OG_OK)
            fail_msg("line %zu: %s (%s)", n, err.text, err.path);
    }
    assert_true(n > 0);
    free((char *)all.p);
}

/* Nothing that senders publish is refused. */
static void accepts_real_data(void **state)
{
    (void)state;
    check_lines(OG_SHARED_DATA "/fhir/corpus-dev.ndjson.gz");
    check_lines(OG_SHARED_DATA "/fhir/corpus-dev-mimic.ndjson.gz");
    check_lines(OG_SHARED_DATA "/fhir/bundles-dev.ndjson.gz");
}

static size_t examples_strictly_good;

static void check_example(const char *path, const char *name)
{
    og_str all = files_read(path);
    fhir_doc d;
    fhir_resource r;
    og_error err;
    og_arena_reset(arena);
    og_error_init(&err);
    if (fhir_decode(arena, all, NULL, &d, &err) != OG_OK ||
        fhir_resource_of(fhir_root(&d), &r, &err) != OG_OK ||
        fhir_resource_check(&r, &err) != OG_OK)
        fail_msg("%s: %s (%s)", name, err.text, err.path);
    if (fhir_resource_check_strict(&r, &err) == OG_OK)
        examples_strictly_good++;
    else
        print_message("%s is not strictly good: %s (%s)\n", name, err.text, err.path);
    free((char *)all.p);
}

static void accepts_the_official_examples(void **state)
{
    (void)state;
    examples_strictly_good = 0;
    size_t n = files_each(OG_SHARED_DATA "/fhir/examples-r4", check_example);
    assert_true(n > 500);
    assert_true(n - examples_strictly_good < 10);
}

static void check_malformed(const char *path, const char *name)
{
    (void)name;
    og_str all = files_read(path);
    fhir_doc d;
    fhir_resource r;
    og_error err;
    og_arena_reset(arena);
    og_error_init(&err);
    if (fhir_decode(arena, all, NULL, &d, &err) == OG_OK &&
        fhir_resource_of(fhir_root(&d), &r, &err) == OG_OK &&
        fhir_resource_check(&r, &err) == OG_OK)
        assert_int_equal(err.status, OG_OK);
    else
        assert_true(err.text[0] != '\0');
    free((char *)all.p);
}

static void survives_all_malformed_samples(void **state)
{
    (void)state;
    assert_true(files_each(OG_SHARED_DATA "/fhir/malformed", check_malformed) >= 600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_a_resource),
        cmocka_unit_test(checks_shapes),
        cmocka_unit_test(limits_nesting),
        cmocka_unit_test(long_paths_are_cut),
        cmocka_unit_test(checks_primitives),
        cmocka_unit_test(limits_strings_to_a_million_characters),
        cmocka_unit_test(agrees_with_google_fhir),
        cmocka_unit_test(reads_meta),
        cmocka_unit_test(finds_codings),
        cmocka_unit_test(finds_choices),
        cmocka_unit_test(accepts_real_data),
        cmocka_unit_test(accepts_the_official_examples),
        cmocka_unit_test(survives_all_malformed_samples),
    };
    return cmocka_run_group_tests(tests, make_arena, free_arena);
}
