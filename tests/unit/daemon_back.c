/* A partition comes back to an instance that had it before: what the owner between has ended and
 * not told is told, also when the patient's review is due just then. */
#include "daemon_world.h"

static void dose(world *w)
{
    world_event(
        w,
        "{\"resourceType\":\"MedicationAdministration\",\"id\":\"dose-1\",\"meta\":{"
        "\"lastUpdated\":\"2026-02-28T10:00:00Z\"},\"status\":\"completed\","
        "\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"http://www.whocc.no/atc\","
        "\"code\":\"M05BX04\"}]},\"subject\":{\"reference\":\"Patient/p-1\"},"
        "\"effectiveDateTime\":\"2026-02-12T09:00:00+01:00\",\"dosage\":{\"dose\":{\"value\":120,"
        "\"unit\":\"mg\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mg\"}}}");
    world_settle_down(w);
}

static void gone(world *w)
{
    world_put(w, "fhir.test", OG_STR("MedicationAdministration/dose-1"), (og_str){NULL, 0});
}

/* Another patient of the same partition, whose row stands before. */
static void other(world *w, int version)
{
    char text[300], id[32];
    int p = world_partition_of(OG_STR("p-1")), n = 0;
    do
        snprintf(id, sizeof id, "a-%d", n++);
    while (world_partition_of(og_str_of(id)) != p);
    snprintf(text, sizeof text,
             "{\"resourceType\":\"Patient\",\"id\":\"%s\",\"meta\":{\"lastUpdated\":"
             "\"2026-02-28T1%d:00:00Z\"},\"birthDate\":\"196%d-01-01\"}",
             id, version, version);
    world_event(w, text);
}

static void come_back(size_t max_patients)
{
    world *a = world_new(), *b = world_new();
    int p = world_partition_of(OG_STR("p-1"));
    world *both[] = {a, b};
    for (int i = 0; i < 2; i++) {
        dose(both[i]);
        other(both[i], 1);
        world_settle_down(both[i]);
    }
    assert_true(a->post_count > 0); /* the card is shown */
    int64_t due = a->next_due_ms[p];
    assert_true(due > a->now_ms);
    size_t posts = a->post_count, said = b->alert_count;
    /* b has the partition now: it resolves the alert, says so on the topic, and dies before the
     * endpoint has heard it */
    gone(b);
    other(b, 2);
    b->ehr_silent = true;
    world_settle_down(b);
    assert_true(b->alert_count > said);
    assert_non_null(strstr(b->alerts[said].body, "resolved"));
    /* a reads on where it was */
    a->restoring = true;
    gone(a);
    other(a, 2);
    for (int turn = 0; turn < 5; turn++)
        world_apply_records(a);
    for (size_t i = said; i < b->alert_count; i++)
        world_said(a, b->alerts[i].key, b->alerts[i].body);
    a->restoring = false;
    a->now_ms = due;
    a->batch.max_patients = max_patients;
    world_settle_down(a);
    size_t withdrawn = 0;
    for (size_t i = posts; i < a->post_count; i++)
        withdrawn += strstr(a->posts[i].body, "\"retracts\":[") != NULL;
    assert_int_equal(withdrawn, posts); /* as many as cards were shown */
    world_free(a);
    world_free(b);
}

static void when_all_fit_into_a_batch(void **state)
{
    (void)state;
    come_back(0);
}

static void when_many_wait(void **state)
{
    (void)state;
    come_back(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(when_all_fit_into_a_batch),
        cmocka_unit_test(when_many_wait),
    };
    return cmocka_run_group_tests_name("daemon/back", tests, NULL, NULL);
}
