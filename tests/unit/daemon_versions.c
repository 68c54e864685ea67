/* Which version counts when they come late, twice, or from clocks that differ, and whose it is; and
 * how much one bad message may cost. */
#include "daemon_world.h"

#define MS(minute) (1767312000000 + (minute)*60000) /* 2026-01-02T00:00Z */
#define REQUEST_OF(id, patient, time)                                                              \
    "{\"resourceType\":\"MedicationRequest\",\"id\":\"" id                                         \
    "\",\"status\":\"active\",\"intent\":\"order\",\"meta\":{\"lastUpdated\":\"" time              \
    "\"},\"subject\":{\"reference\":\"Patient/" patient                                            \
    "\"},\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"http://www.whocc.no/atc\","      \
    "\"code\":\"M05BX04\"}]}}"

static void put_again_at(world *w, int64_t offset, int64_t ms, const char *key, const char *value,
                         int64_t first_offset)
{
    conn_message m = {.origin = {"fhir.test", 0, offset, ms},
                      .key = key != NULL ? og_str_of(key) : (og_str){NULL, 0},
                      .value = value != NULL ? og_str_of(value) : (og_str){NULL, 0}};
    gather_message_again(w->gather, &m, first_offset);
}

static void put_at(world *w, int64_t offset, int64_t ms, const char *key, const char *value)
{
    put_again_at(w, offset, ms, key, value, -1);
}

/* What the stores say in the end: has the patient this resource? */
static bool has(world *w, const char *patient, const char *type_id)
{
    bool found = false;
    world_settle_down(w);
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        const fhir_resource *list;
        size_t count;
        store_txn *t;
        og_arena_reset(w->arena);
        assert_int_equal(store_begin(w->stores[p], false, &t, NULL), OG_OK);
        assert_int_equal(store_view(t, NULL, w->arena, og_str_of(patient), &list, &count, NULL),
                         OG_OK);
        for (size_t i = 0; i < count; i++) {
            char text[300];
            snprintf(text, sizeof text, "%.*s/%.*s", OG_STR_ARG(list[i].type),
                     OG_STR_ARG(list[i].id));
            found |= strcmp(text, type_id) == 0;
        }
        store_abort(t);
    }
    return found;
}

/* A delete without a time is newer than what it found. Sent again with a dead letter, it has found
 * nothing that came after its first time. */
static void a_letter_sent_again_spares_what_followed(void **state)
{
    static const char bundle[] =
        "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["
        "{\"request\":{\"method\":\"DELETE\",\"url\":\"MedicationRequest/r\"}},"
        "{\"resource\":{\"resourceType\":\"MedicationRequest\",\"id\":\"other\",\"status\":"
        "\"active\",\"intent\":\"order\",\"medicationCodeableConcept\":{\"coding\":[{\"system\":"
        "\"http://www.whocc.no/atc\",\"code\":\"M05BX04\"}]}},\"request\":{\"method\":\"PUT\","
        "\"url\":\"MedicationRequest/other\"}}]}";
    world *w = world_new();
    (void)state;
    put_at(w, 0, MS(0), NULL, REQUEST_OF("r", "A", "2026-01-02T00:00:00Z"));
    assert_true(has(w, "A", "MedicationRequest/r"));
    put_at(w, 1, MS(1), NULL, bundle);
    assert_false(has(w, "A", "MedicationRequest/r"));
    assert_int_equal(w->dead.count, 1); /* the other has no patient */
    put_at(w, 2, MS(2), NULL, REQUEST_OF("r", "A", "2026-01-02T00:02:00Z"));
    assert_true(has(w, "A", "MedicationRequest/r"));
    put_again_at(w, 3, MS(1), NULL, bundle, 1);
    assert_true(has(w, "A", "MedicationRequest/r"));
    assert_int_equal(w->dead.count, 2);
    assert_non_null(strstr(w->dead.at[1].headers, "source-offset=3"));
    assert_non_null(
        strstr(w->dead.at[1].headers, GATHER_RETRY_HEADER "=1")); /* for the next time */
    put_again_at(w, 4, MS(1), NULL, bundle, 9); /* it did not stand behind itself */
    assert_false(has(w, "A", "MedicationRequest/r"));
    world_free(w);
}

static void a_late_version_of_another_patient_stays_away(void **state)
{
    world *w = world_new();
    (void)state;
    put_at(w, 0, MS(1), NULL, REQUEST_OF("r", "B", "2026-01-02T00:01:00Z"));
    put_at(w, 1, MS(2), NULL, REQUEST_OF("r", "A", "2026-01-02T00:00:00Z"));
    assert_true(has(w, "B", "MedicationRequest/r"));
    assert_false(has(w, "A", "MedicationRequest/r"));
    assert_int_equal(metric_value(METRIC_RECORDED), 2);
    /* and read again from the beginning */
    put_at(w, 0, MS(1), NULL, REQUEST_OF("r", "B", "2026-01-02T00:01:00Z"));
    put_at(w, 1, MS(2), NULL, REQUEST_OF("r", "A", "2026-01-02T00:00:00Z"));
    assert_true(has(w, "B", "MedicationRequest/r"));
    assert_false(has(w, "A", "MedicationRequest/r"));
    /* a delete goes to whom it belongs */
    put_at(w, 2, MS(3), "MedicationRequest/r", NULL);
    assert_false(has(w, "B", "MedicationRequest/r"));
    world_free(w);
}

static void a_corrected_subject_has_one_place(void **state)
{
    world *w = world_new();
    (void)state;
    put_at(w, 0, MS(0), NULL, REQUEST_OF("r", "A", "2026-01-02T00:00:00Z"));
    put_at(w, 1, MS(1), NULL, REQUEST_OF("r", "B", "2026-01-02T00:01:00Z"));
    assert_true(has(w, "B", "MedicationRequest/r")); /* both partitions have noted what they saw */
    assert_false(has(w, "A", "MedicationRequest/r"));
    put_at(w, 2, MS(2), "MedicationRequest/r", NULL);
    assert_false(has(w, "B", "MedicationRequest/r"));
    world_free(w);
}

/* The sender's clock is a minute ahead of the broker's; the delete says no time of its own. */
static void a_delete_outdoes_a_clock_that_is_ahead(void **state)
{
    world *w = world_new();
    (void)state;
    put_at(w, 0, MS(0), NULL, REQUEST_OF("r", "A", "2026-01-02T00:01:00Z"));
    put_at(w, 1, MS(0) + 10000, "MedicationRequest/r", NULL);
    assert_false(has(w, "A", "MedicationRequest/r"));
    put_at(w, 2, MS(0), NULL,
           "{\"resourceType\":\"Patient\",\"id\":\"A\",\"meta\":{\"lastUpdated\":"
           "\"2026-01-02T00:01:00Z\"}}");
    assert_true(has(w, "A", "Patient/A"));
    put_at(w, 3, MS(0) + 10000, "Patient/A", NULL);
    assert_false(has(w, "A", "Patient/A"));
    world_free(w);
}

/* A delete that is read again must not take away what came after it. */
static void a_delete_read_again_spares_what_followed(void **state)
{
    world *w = world_new();
    (void)state;
    for (int round = 0; round < 2; round++) {
        put_at(w, 0, MS(0), NULL, REQUEST_OF("r", "A", "2026-01-02T00:00:00Z"));
        put_at(w, 1, MS(1), "MedicationRequest/r", NULL);
        put_at(w, 2, MS(2), NULL, REQUEST_OF("r", "A", "2026-01-02T00:02:30Z"));
        assert_true(has(w, "A", "MedicationRequest/r"));
    }
    put_at(w, 1, MS(1), "MedicationRequest/r", NULL);
    assert_true(has(w, "A", "MedicationRequest/r"));
    world_free(w);
}

/* In a history the older delete stands behind the newer version, and says when it was; and a time
 * of a delete in the far future does not lock out what comes later. */
static void a_delete_with_a_time_keeps_to_it(void **state)
{
    world *w = world_new();
    (void)state;
    put_at(w, 0, MS(2), NULL, REQUEST_OF("r", "A", "2026-01-02T00:01:00Z"));
    put_at(w, 1, MS(3), NULL,
           "{\"resourceType\":\"Bundle\",\"type\":\"history\",\"entry\":[{\"request\":{\"method\":"
           "\"DELETE\",\"url\":\"MedicationRequest/r\"},\"response\":{\"status\":\"204\","
           "\"lastModified\":\"2026-01-02T00:00:30Z\"}}]}");
    assert_true(has(w, "A", "MedicationRequest/r"));
    put_at(w, 2, MS(4), NULL,
           "{\"resourceType\":\"Bundle\",\"type\":\"history\",\"entry\":[{\"request\":{\"method\":"
           "\"DELETE\",\"url\":\"MedicationRequest/r\"},\"response\":{\"status\":\"204\","
           "\"lastModified\":\"2036-01-02T00:00:30Z\"}}]}");
    assert_false(has(w, "A", "MedicationRequest/r"));
    put_at(w, 3, MS(5), NULL, REQUEST_OF("r", "A", "2026-01-02T00:05:00Z"));
    assert_true(has(w, "A", "MedicationRequest/r"));
    world_free(w);
}

#define LONG_ID                                                                                    \
    "123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890_"  \
    "23456789012345678901234567890123456.8"

static void long_ids_come_and_go(void **state)
{
    world *w = world_new();
    (void)state;
    assert_int_equal(strlen(LONG_ID), FHIR_ID_MAX);
    put_at(w, 0, MS(0), NULL, REQUEST_OF(LONG_ID, LONG_ID, "2026-01-02T00:00:00Z"));
    assert_true(has(w, LONG_ID, "MedicationRequest/" LONG_ID));
    put_at(w, 1, MS(1), "MedicationRequest/" LONG_ID, NULL);
    assert_false(has(w, LONG_ID, "MedicationRequest/" LONG_ID));
    assert_int_equal(w->total.bad, 0);
    assert_int_equal(w->dead.count, 0);
    /* the longest key of a reference: a patient's id, and two long Type/id */
    put_at(w, 2, MS(2), NULL,
           "{\"resourceType\":\"MedicationAdministration\",\"id\":\"" LONG_ID
           "\",\"status\":\"completed\",\"subject\":{\"reference\":\"Patient/" LONG_ID
           "\"},\"effectiveDateTime\":\"2026-01-01\",\"medicationReference\":{\"reference\":"
           "\"Medication/" LONG_ID "\"}}");
    assert_true(has(w, LONG_ID, "MedicationAdministration/" LONG_ID));
    world_free(w);
}

static void strange_timestamps_are_set_right(void **state)
{
    static const int64_t times[] = {INT64_MAX, INT64_MAX / 1000, 1767312000000000000, INT64_MIN,
                                    -1};
    world *w = world_new();
    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        put_at(w, (int64_t)i * 3, times[i], NULL, REQUEST_OF("r", "A", "2026-01-02T00:00:00Z"));
        put_at(w, (int64_t)i * 3 + 1, times[i], NULL,
               "{\"resourceType\":\"Patient\",\"id\":\"A\"}");
        put_at(w, (int64_t)i * 3 + 2, times[i], "MedicationRequest/r", NULL);
    }
    assert_int_equal(metric_value(METRIC_RECORDED), 15);
    (void)has(w, "A", "Patient/A");
    assert_int_equal(w->total.bad, 0);
    world_free(w);
}

static size_t lines;

static void count_line(void *ctx, og_str line)
{
    (void)ctx;
    (void)line;
    lines++;
}

/* 50,000 entries that are nothing: a bounded number of letters, one that sums up, few lines. */
static void one_bundle_cannot_flood(void **state)
{
    world *w = world_new();
    og_buf text;
    (void)state;
    og_buf_init(&text, 1 << 20);
    og_buf_addz(&text, "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[{}");
    for (int i = 1; i < 50000; i++)
        og_buf_addz(&text, ",{}");
    og_buf_addz(&text, "]}");
    log_sink(count_line, NULL);
    lines = 0;
    w->again_after = 10; /* the rest waits for room */
    world_put(w, "fhir.test", (og_str){NULL, 0}, og_buf_str(&text));
    assert_true(lines <= 2);
    assert_int_equal(w->done, 0);
    w->again_after = -1;
    gather_room(w->gather);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->dead.count, GATHER_MAX_LETTERS + 1);
    const world_message *last = &w->dead.at[GATHER_MAX_LETTERS];
    assert_non_null(strstr(last->headers, "reason=entry\n"));
    assert_non_null(strstr(last->headers, "more=49000\n"));
    assert_non_null(strstr(last->headers, "source-offset="));
    assert_true(strncmp(last->value, "{\"resourceType\":\"Bundle\"", 24) == 0);
    assert_int_equal(metric_value(METRIC_INPUTS), 50000);
    assert_int_equal(metric_value(METRIC_DEAD_LETTERS), 50000);
    og_buf_done(&text);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_letter_sent_again_spares_what_followed),
        cmocka_unit_test(a_late_version_of_another_patient_stays_away),
        cmocka_unit_test(a_corrected_subject_has_one_place),
        cmocka_unit_test(a_delete_outdoes_a_clock_that_is_ahead),
        cmocka_unit_test(a_delete_read_again_spares_what_followed),
        cmocka_unit_test(a_delete_with_a_time_keeps_to_it),
        cmocka_unit_test(long_ids_come_and_go),
        cmocka_unit_test(strange_timestamps_are_set_right),
        cmocka_unit_test(one_bundle_cannot_flood),
    };
    return cmocka_run_group_tests_name("daemon/versions", tests, NULL, NULL);
}
