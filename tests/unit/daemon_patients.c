/* Resources from files, grouped by patient. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/clock.h"
#include "daemon/moment.h"
#include "daemon/patients.h"

typedef struct heard {
    char text[4096];
    unsigned count;
} heard;

static void hear(void *ctx, const og_error *err)
{
    heard *h = ctx;
    size_t n = strlen(h->text);
    char line[1400];
    og_error_format(err, line, sizeof line);
    snprintf(h->text + n, sizeof h->text - n, "%s\n", line);
    h->count++;
}

static unsigned add(patients *p, heard *h, const char *json)
{
    og_report report = {.fn = hear, .ctx = h};
    unsigned before = h->count;
    patients_add(p, og_str_of(json), "in.json", 7, &report);
    return h->count - before;
}

/* "Type/id Type/id ..." of a patient's view; a resource without id is "Type/". */
static void view_is(const patients *p, const char *id, const char *want)
{
    og_arena *a = og_arena_new(1 << 20);
    const fhir_resource *list;
    size_t count = 0;
    char have[1024] = "";
    bool found = false;

    for (size_t i = 0; i < patients_count(p); i++) {
        if (!og_str_is(patients_id(p, i), id))
            continue;
        found = true;
        assert_int_equal(patients_view(p, i, a, &list, &count, NULL), OG_OK);
        for (size_t k = 0; k < count; k++)
            snprintf(have + strlen(have), sizeof have - strlen(have), "%s%.*s/%.*s",
                     k > 0 ? " " : "", OG_STR_ARG(list[k].type), OG_STR_ARG(list[k].id));
    }
    og_arena_free(a);
    if (!found || strcmp(have, want) != 0)
        fail_msg("patient %s: have \"%s\", want \"%s\"", id, found ? have : "(no such patient)",
                 want);
}

#define OF(p)       "\"subject\":{\"reference\":\"Patient/" p "\"}"
#define COND(id, p) "{\"resourceType\":\"Condition\",\"id\":\"" id "\"," OF(p) "}"
#define PATIENT(id) "{\"resourceType\":\"Patient\",\"id\":\"" id "\"}"

static void resources_go_to_their_patient(void **state)
{
    heard h = {0};
    patients *p = patients_new();
    (void)state;
    assert_int_equal(add(p, &h, COND("c1", "a")), 0);
    assert_int_equal(add(p, &h, PATIENT("b")), 0);
    assert_int_equal(add(p, &h, PATIENT("a")), 0);
    assert_int_equal(add(p, &h, COND("c2", "b")), 0);
    assert_int_equal(add(p, &h, "{\"resourceType\":\"Condition\"," OF("b") "}"), 0);
    assert_int_equal(add(p, &h, "{\"resourceType\":\"Condition\"," OF("b") "}"), 0);
    assert_int_equal(patients_count(p), 2);
    assert_true(og_str_is(patients_id(p, 0), "a"));
    view_is(p, "a", "Condition/c1 Patient/a");
    view_is(p, "b", "Patient/b Condition/c2 Condition/ Condition/");
    patients_free(p);
}

/* The newer version stays, whichever comes first; without dates the later one. */
static void versions_replace_each_other(void **state)
{
    static const char old[] = "{\"resourceType\":\"Condition\",\"id\":\"c\",\"meta\":{"
                              "\"lastUpdated\":\"2026-01-01T00:00:00Z\"}," OF("old") "}";
    static const char new[] = "{\"resourceType\":\"Condition\",\"id\":\"c\",\"meta\":{"
                              "\"lastUpdated\":\"2026-02-01T00:00:00+01:00\"}," OF("new") "}";
    heard h = {0};
    (void)state;
    for (int k = 0; k < 2; k++) {
        patients *p = patients_new();
        add(p, &h, k == 0 ? old : new);
        add(p, &h, k == 0 ? new : old);
        view_is(p, "new", "Condition/c");
        if (patients_count(p) == 2)
            view_is(p, "old", "");
        patients_free(p);
    }
    patients *p = patients_new();
    add(p, &h, COND("c", "a"));
    add(p, &h, COND("c", "b"));
    view_is(p, "a", "");
    view_is(p, "b", "Condition/c");
    patients_free(p);
    assert_int_equal(h.count, 0);
}

static void bundles_are_taken_apart(void **state)
{
    heard h = {0};
    patients *p = patients_new();
    (void)state;
    assert_int_equal(add(p, &h,
                         "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["
                         "{\"fullUrl\":\"urn:uuid:11111111-1111-4111-8111-111111111111\","
                         "\"resource\":{\"resourceType\":\"Patient\",\"id\":\"a\"},\"request\":{"
                         "\"method\":\"PUT\",\"url\":\"Patient/a\"}},"
                         "{\"resource\":{\"resourceType\":\"Condition\",\"id\":\"c\",\"subject\":{"
                         "\"reference\":\"urn:uuid:11111111-1111-4111-8111-111111111111\"}},"
                         "\"request\":{\"method\":\"PUT\",\"url\":\"Condition/c\"}},"
                         "{\"resource\":{\"resourceType\":\"Condition\",\"id\":\"d\"},\"request\":{"
                         "\"method\":\"PUT\",\"url\":\"Condition/d\"}},"
                         "{\"request\":{\"method\":\"DELETE\",\"url\":\"Condition/gone\"}}]}"),
                     1);
    assert_non_null(strstr(h.text, "in.json:7:"));
    view_is(p, "a", "Patient/a Condition/c");
    add(p, &h, COND("gone", "a"));
    view_is(p, "a", "Patient/a Condition/c Condition/gone");
    add(p, &h,
        "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[{\"request\":{\"method\":"
        "\"DELETE\",\"url\":\"Condition/gone\"}}]}");
    view_is(p, "a", "Patient/a Condition/c");
    /* newest first in a history: what was deleted last stays deleted */
    add(p, &h,
        "{\"resourceType\":\"Bundle\",\"type\":\"history\",\"entry\":[{\"request\":{\"method\":"
        "\"DELETE\",\"url\":\"Condition/h\"},\"response\":{\"status\":\"204\"}},"
        "{\"resource\":" COND("h", "a") ",\"request\":{\"method\":\"PUT\",\"url\":\"Condition/"
                                        "h\"},\"response\":{\"status\":\"201\"}}]}");
    view_is(p, "a", "Patient/a Condition/c");
    patients_free(p);
}

/* Medications are there for those who refer to them, through others too, once, early or late. */
static void shared_resources_follow_references(void **state)
{
    heard h = {0};
    patients *p = patients_new();
    (void)state;
    add(p, &h,
        "{\"resourceType\":\"MedicationStatement\",\"id\":\"s\",\"status\":\"active\"," OF(
            "a") ",\"medicationReference\":{\"reference\":\"Medication/m1\"}}");
    add(p, &h,
        "{\"resourceType\":\"MedicationRequest\",\"id\":\"r\",\"status\":\"active\",\"intent\":"
        "\"order\"," OF(
            "a") ",\"medicationReference\":{\"reference\":\"https://x.org/fhir/Medication/m1\"}}");
    add(p, &h,
        "{\"resourceType\":\"Medication\",\"id\":\"m1\",\"ingredient\":[{\"itemReference\":{"
        "\"reference\":\"Medication/m2\"}}]}");
    add(p, &h,
        "{\"resourceType\":\"Medication\",\"id\":\"m2\",\"ingredient\":[{\"itemReference\":{"
        "\"reference\":\"Medication/m1\"}}]}");
    add(p, &h, "{\"resourceType\":\"Medication\",\"id\":\"m3\"}");
    add(p, &h, COND("c", "b"));
    assert_int_equal(h.count, 0);
    assert_int_equal(patients_count(p), 2);
    view_is(p, "a", "MedicationStatement/s MedicationRequest/r Medication/m1 Medication/m2");
    view_is(p, "b", "Condition/c");
    patients_free(p);
}

static void bad_input_is_told_with_its_place(void **state)
{
    static const char *const table[][2] = {
        {"{\"resourceType\":\"Condition\",\n \"id\":}", "in.json:8:"},
        {"[]", "in.json:7:"},
        {"", "in.json:7:"},
        {"{\"resourceType\":\"Nonsense\"}", "in.json:7:"},
        {"{\"resourceType\":\"Condition\",\"id\":\"c\"}", "in.json:7:"},
        {"{\"resourceType\":\"Bundle\",\"type\":\"message\"}", "in.json:7:"},
        {"{\"a\":1,\"a\":2}", "in.json:7:"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        heard h = {0};
        patients *p = patients_new();
        assert_int_equal(add(p, &h, table[i][0]), 1);
        if (strncmp(h.text, table[i][1], strlen(table[i][1])) != 0)
            fail_msg("%s: %s", table[i][0], h.text);
        patients_free(p);
    }
}

static void resources_are_put_and_removed(void **state)
{
    heard h = {0};
    patients *p = patients_new();
    og_arena *a = og_arena_new(1 << 16);
    fhir_doc doc;
    fhir_resource r;
    (void)state;
    add(p, &h,
        "{\"resourceType\":\"Condition\",\"id\":\"c\",\"meta\":{\"lastUpdated\":\"2026-02-01T00:00:"
        "00Z\"}," OF("a") "}");
    assert_true(patients_remove(p, OG_STR("Condition/c")));
    assert_false(patients_remove(p, OG_STR("Condition/c")));
    assert_false(patients_remove(p, OG_STR("Condition/d")));
    view_is(p, "a", "");
    assert_int_equal(fhir_decode(a,
                                 OG_STR("{\"resourceType\":\"Condition\",\"id\":\"c\",\"meta\":{"
                                        "\"lastUpdated\":\"2020-02-01T00:00:00Z\"}," OF("a") "}"),
                                 NULL, &doc, NULL),
                     OG_OK);
    assert_int_equal(fhir_resource_of(fhir_root(&doc), &r, NULL), OG_OK);
    assert_int_equal(patients_put(p, &r, NULL), OG_OK);
    view_is(p, "a", "Condition/c");
    og_arena_free(a);
    patients_free(p);
}

static void moments_are_local_where_nothing_is_said(void **state)
{
    static const struct {
        const char *text;
        bool use_zone;
        const char *want; /* NULL: not a moment */
    } table[] = {
        {"2026-03-01T09:00:00+01:00", false, "2026-03-01T09:00:00+01:00"},
        {"2026-03-01T09:00:00Z", false, "2026-03-01T09:00:00+00:00"},
        {"2026-03-01T09:00:00Z", true, "2026-03-01T10:00:00+01:00"},
        {"2026-03-01", false, "2026-03-01T00:00:00+01:00"},
        {"2026-07-01", false, "2026-07-01T00:00:00+02:00"},
        {"2026-07", false, "2026-07-01T00:00:00+02:00"},
        /* the day on which the clock goes forward, and the one behind it */
        {"2026-03-29", false, "2026-03-29T00:00:00+01:00"},
        {"2026-03-30", false, "2026-03-30T00:00:00+02:00"},
        {"2026-13-01", false, NULL},
        {"yesterday", false, NULL},
        {"", false, NULL},
    };
    og_error err;
    (void)state;
    og_error_init(&err);
    if (clock_set_zone("Europe/Berlin", &err) != OG_OK)
        skip(); /* no zone database here */
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        moment m;
        char text[48];
        bool good = moment_parse(og_str_of(table[i].text), table[i].use_zone, &m);
        assert_int_equal(good, table[i].want != NULL);
        if (!good)
            continue;
        text[moment_format(&m, text)] = '\0';
        if (strcmp(text, table[i].want) != 0 &&
            !(strstr(table[i].want, "+00:00") != NULL && strstr(text, "Z") != NULL))
            fail_msg("%s: %s", table[i].text, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resources_go_to_their_patient),
        cmocka_unit_test(versions_replace_each_other),
        cmocka_unit_test(bundles_are_taken_apart),
        cmocka_unit_test(shared_resources_follow_references),
        cmocka_unit_test(bad_input_is_told_with_its_place),
        cmocka_unit_test(resources_are_put_and_removed),
        cmocka_unit_test(moments_are_local_where_nothing_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
