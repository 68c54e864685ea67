/* Cards that a call alone has shown: noted once, heard, and forgotten. */
#include "daemon_talk.h"

#include "daemon/shown.h"

#define DAY 86400000LL
#define DELETED                                                                                    \
    "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{\"request\":{\"method\":"   \
    "\"DELETE\",\"url\":\"%s\"}}]}"

static void take_away(world *w, const char *type_id)
{
    char text[512];
    snprintf(text, sizeof text, DELETED, type_id);
    world_event(w, text);
    world_settle_down(w);
}

/* The patient of a case, with nothing ordered. */
static world *world_without_order(const char *name, const char *order)
{
    world *w = world_with(name);
    w->setup.feedback.shown_days = 30;
    take_away(w, order);
    return w;
}

/* The first thing that the last call wants noted comes from the alerts topic. */
static void take_noted(world *w)
{
    assert_true(noted_count > 0);
    world_said(w, noted[0][0], noted[0][1]);
    world_settle_down(w);
}

/* What the store has shown of a patient, and how many alerts. */
static size_t shown_in(world *w, const char *patient, plan_alert *ret, size_t *ret_alerts)
{
    store_txn *t;
    const plan_alert *list;
    size_t n, alerts;
    assert_int_equal(
        store_begin(w->stores[world_partition_of(og_str_of(patient))], false, &t, NULL), OG_OK);
    assert_int_equal(store_shown(t, w->arena, og_str_of(patient), &list, &n, NULL), OG_OK);
    if (n > 0 && ret != NULL)
        *ret = list[0];
    assert_int_equal(store_alerts(t, w->arena, og_str_of(patient), &list, &alerts, NULL), OG_OK);
    if (ret_alerts != NULL)
        *ret_alerts = alerts;
    store_abort(t);
    return n;
}

static const char *last_saying(const world *w, const char *key)
{
    for (size_t i = w->saying_count; i > 0; i--)
        if (strcmp(w->sayings[i - 1].key, key) == 0)
            return w->sayings[i - 1].body;
    return NULL;
}

static void only_what_no_alert_says_is_noted(void **state)
{
    world *w = world_without_order("V2", "MedicationRequest/v2-order");
    char uuid[UUID_TEXT];
    (void)state;
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", uuid, NULL));
    assert_int_equal(noted_count, 1);
    assert_true(strncmp(noted[0][0], "t|v2|", 5) == 0);
    assert_string_equal(noted[0][0] + 5, uuid);
    json_t *r = json_loads(noted[0][1], JSON_REJECT_DUPLICATES, NULL);
    assert_string_equal(text(r, "id"), uuid);
    assert_string_equal(text(r, "uuid"), uuid);
    assert_string_equal(text(r, "state"), "shown");
    assert_string_equal(text(r, "rule"), "C1");
    assert_string_equal(text(r, "hook"), "order-sign");
    assert_string_equal(text(r, "digest"), plan_content_digest(w->content));
    assert_true(json_integer_value(json_object_get(r, "opened")) == NOW_MS);
    json_t *card = json_object_get(r, "card");
    assert_int_equal(json_object_size(card), 2); /* what it rests on stays with the patient */
    assert_string_equal(text(card, "uuid"), uuid);
    assert_non_null(strstr(text(card, "summary"), "4 mg"));
    json_decref(r);
    world_free(w);
    w = world_with("V5"); /* an open alert has a record of its own */
    assert_true(is_told(w, "v5", "patient-view", "", "D3", NULL, NULL));
    assert_int_equal(noted_count, 0);
    world_free(w);
}

static void it_is_noted_once_and_nobody_is_told(void **state)
{
    world *w = world_without_order("V2", "MedicationRequest/v2-order");
    char uuid[UUID_TEXT], again[UUID_TEXT];
    plan_alert shown;
    size_t before, alerts;
    (void)state;
    assert_int_equal(shown_in(w, "v2", NULL, &before), 0);
    size_t posts = w->post_count, published = w->alert_count, sayings = w->saying_count;
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", uuid, NULL));
    take_noted(w);
    assert_int_equal(shown_in(w, "v2", &shown, &alerts), 1);
    assert_int_equal(alerts, before);
    assert_string_equal(shown.id, uuid);
    assert_true(og_str_is(shown.hook, "order-sign"));
    assert_int_equal(w->post_count, posts);
    assert_int_equal(w->alert_count, published);
    assert_int_equal(w->saying_count, sayings);
    /* the same draft again: the card comes, the record is there; another dose is another finding */
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", again, NULL));
    assert_string_equal(again, uuid);
    assert_int_equal(noted_count, 0);
    assert_true(is_told(w, "v2", "order-sign", DOSE("3.9"), "C1", again, NULL));
    assert_int_equal(noted_count, 1);
    assert_string_not_equal(again, uuid);
    /* an evaluation for another reason leaves it alone */
    world_event(w, "{\"resourceType\":\"Observation\",\"id\":\"v2-pain\",\"status\":\"final\","
                   "\"code\":{\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"72514-3\"}]},"
                   "\"subject\":{\"reference\":\"Patient/v2\"},\"effectiveDateTime\":"
                   "\"2026-02-28\",\"valueInteger\":3}");
    world_settle_down(w);
    assert_int_equal(shown_in(w, "v2", NULL, &alerts), 1);
    assert_int_equal(w->saying_count, sayings);
    world_free(w);
}

static bool counted(const world *w, plan_change_kind kind, bool shown, plan_answer answer)
{
    for (size_t i = 0; i < w->batch.event_count; i++) {
        const pipeline_event *e = &w->batch.events[i];
        if (e->kind == kind && e->shown == shown && e->answer == answer && og_str_is(e->rule, "C1"))
            return true;
    }
    return false;
}

static void people_are_heard(void **state)
{
    world *w = world_without_order("V2", "MedicationRequest/v2-order");
    char uuid[UUID_TEXT];
    (void)state;
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", uuid, NULL));
    world_said(w, noted[0][0], noted[0][1]);
    assert_true(counted(w, PLAN_OPENED, true, PLAN_UNANSWERED));
    world_said(w, noted[0][0], noted[0][1]); /* once more does not count */
    assert_false(counted(w, PLAN_OPENED, true, PLAN_UNANSWERED));
    world_settle_down(w);
    size_t posts = w->post_count, published = w->alert_count;
    w->now_ms += 60000;
    say(w, uuid, OVERRIDDEN, "2026-03-01T08:01:00Z");
    assert_int_equal(w->post_count, posts);
    assert_int_equal(w->alert_count, published + 1);
    assert_string_equal(w->alerts[published].key, noted[0][0]);
    json_t *r = alert_of(w, "C1"), *feedback = json_object_get(r, "feedback");
    assert_string_equal(text(r, "state"), "shown");
    assert_string_equal(text(r, "uuid"), uuid);
    assert_string_equal(text(feedback, "answer"), "overridden");
    assert_string_equal(text(feedback, "code"), "patient-refuses");
    assert_true(json_integer_value(json_object_get(feedback, "at")) -
                    json_integer_value(json_object_get(feedback, "shown")) ==
                60000);
    json_decref(r);
    assert_false(is_told(w, "v2", "order-sign", DOSE("4"), "C1", NULL, NULL));
    assert_int_equal(noted_count, 0);
    /* a newer word: the card comes again under the same name */
    w->now_ms += 1000;
    say(w, uuid, ACCEPTED, "2026-03-01T08:01:01Z");
    r = alert_of(w, "C1");
    assert_string_equal(text(json_object_get(r, "feedback"), "answer"), "accepted");
    assert_string_equal(text(r, "uuid"), uuid);
    assert_int_equal(json_integer_value(json_object_get(r, "revision")), 1);
    json_decref(r);
    assert_int_equal(w->post_count, posts);
    world_free(w);
}

static void nobody_says_a_word(void **state)
{
    world *w = world_without_order("V2", "MedicationRequest/v2-order");
    (void)state;
    w->setup.feedback.ignored_days = 7;
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", NULL, NULL));
    take_noted(w);
    size_t published = w->alert_count;
    w->now_ms += 7 * DAY - 1;
    world_settle_down(w);
    for (size_t i = published; i < w->alert_count; i++)
        assert_string_not_equal(w->alerts[i].key, noted[0][0]);
    w->now_ms++;
    world_settle_down(w);
    json_t *r = alert_of(w, "C1");
    assert_string_equal(text(r, "state"), "shown");
    assert_string_equal(text(json_object_get(r, "feedback"), "answer"), "ignored");
    json_decref(r);
    world_free(w);
}

static void its_time_ends(void **state)
{
    world *w = world_without_order("V2", "MedicationRequest/v2-order");
    (void)state;
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", NULL, NULL));
    take_noted(w);
    w->now_ms += 30 * DAY - 1;
    world_settle_down(w);
    assert_int_equal(shown_in(w, "v2", NULL, NULL), 1);
    assert_null(last_saying(w, noted[0][0]));
    w->now_ms++; /* the clock alone wakes the patient */
    world_settle_down(w);
    assert_int_equal(shown_in(w, "v2", NULL, NULL), 0);
    assert_string_equal(last_saying(w, noted[0][0]), "");
    world_free(w);
}

static void sign_draft(world *w)
{
    world_event(w, "{\"resourceType\":\"MedicationRequest\",\"id\":\"d1\",\"status\":"
                   "\"active\",\"intent\":\"order\",\"medicationCodeableConcept\":{\"coding\":[{"
                   "\"system\":\"http://www.whocc.no/atc\",\"code\":\"M05BA08\"}]},\"subject\":{"
                   "\"reference\":\"Patient/v2\"},\"dosageInstruction\":[{\"doseAndRate\":[{"
                   "\"doseQuantity\":{\"value\":4,\"unit\":\"mg\",\"system\":"
                   "\"http://unitsofmeasure.org\",\"code\":\"mg\"}}]}]}");
    world_settle_down(w);
}

/* The draft is signed and comes as an event: from now on the alert counts. */
static void an_alert_takes_its_place(void **state)
{
    world *w = world_without_order("V2", "MedicationRequest/v2-order");
    char uuid[UUID_TEXT], finding[UUID_TEXT];
    char key[256], value[4096];
    (void)state;
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", uuid, NULL));
    snprintf(key, sizeof key, "%s", noted[0][0]);
    snprintf(value, sizeof value, "%s", noted[0][1]);
    take_noted(w);
    say(w, uuid, OVERRIDDEN, "2026-03-01T07:59:00Z");
    sign_draft(w);
    json_t *r = alert_of(w, "C1");
    assert_string_equal(text(r, "state"), "active");
    store_finding_uuid(text(r, "id"), strtoull(text(r, "material"), NULL, 16), finding);
    assert_string_equal(finding, uuid);
    assert_string_equal(text(json_object_get(r, "feedback"), "answer"), "overridden");
    json_decref(r);
    assert_int_equal(shown_in(w, "v2", NULL, NULL), 0);
    assert_string_equal(last_saying(w, key), "");
    /* an instance that does not know the alert notes it once more: the topic is put right */
    size_t sayings = w->saying_count;
    world_said(w, key, value);
    assert_int_equal(w->saying_count, sayings + 1);
    assert_string_equal(w->sayings[sayings].key, key);
    assert_string_equal(w->sayings[sayings].body, "");
    assert_int_equal(shown_in(w, "v2", NULL, NULL), 0);
    world_free(w);
}

static void rename_in(char *text, const char *from, const char *to)
{
    for (char *at = text; (at = strstr(at, from)) != NULL; at += strlen(to))
        memcpy(at, to, strlen(to));
}

/* What an older version has noted under its own name is the same finding. */
static void a_former_name_is_known(void **state)
{
    char uuid[UUID_TEXT], former[UUID_TEXT], key[256], value[4096];
    (void)state;
    world *w = world_without_order("V2", "MedicationRequest/v2-order");
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", uuid, NULL));
    snprintf(key, sizeof key, "%s", noted[0][0]);
    snprintf(value, sizeof value, "%s", noted[0][1]);
    sign_draft(w);
    json_t *r = alert_of(w, "C1");
    store_former_finding_uuid(text(r, "id"), strtoull(text(r, "material"), NULL, 16), former);
    json_decref(r);
    world_free(w);
    assert_string_not_equal(former, uuid);
    rename_in(key, uuid, former);
    rename_in(value, uuid, former);

    w = world_without_order("V2", "MedicationRequest/v2-order");
    world_said(w, key, value);
    world_settle_down(w);
    assert_int_equal(shown_in(w, "v2", NULL, NULL), 1);
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", NULL, NULL));
    assert_int_equal(noted_count, 0);
    sign_draft(w);
    assert_int_equal(shown_in(w, "v2", NULL, NULL), 0);
    assert_string_equal(last_saying(w, key), "");
    world_free(w);
}

/* Who notes it a second time cannot know what has become of it. */
static void a_second_note_changes_nothing(void **state)
{
    world *w = world_without_order("V2", "MedicationRequest/v2-order");
    char uuid[UUID_TEXT];
    plan_alert shown;
    (void)state;
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", uuid, NULL));
    take_noted(w);
    char key[256], value[4096];
    snprintf(key, sizeof key, "%s", noted[0][0]);
    snprintf(value, sizeof value, "%s", noted[0][1]);
    say(w, uuid, ACCEPTED, "2026-03-01T07:59:00Z");
    world_said(w, key, value);
    assert_string_equal(last_saying(w, key), w->alerts[w->alert_count - 1].body);
    assert_int_equal(shown_in(w, "v2", &shown, NULL), 1);
    assert_int_equal(shown.feedback.answer, PLAN_ACCEPTED);
    world_free(w);
}

/* What was there before is there after a restart, and in a store that is filled from the topics. */
static void it_outlives_the_process_and_the_store(void **state)
{
    world *w = world_without_order("V2", "MedicationRequest/v2-order"), *other = world_new();
    char uuid[UUID_TEXT], key[256];
    plan_alert shown;
    (void)state;
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", uuid, NULL));
    take_noted(w);
    snprintf(key, sizeof key, "%s", noted[0][0]);
    world_restart(w, false);
    say(w, uuid, OVERRIDDEN, "2026-03-01T07:59:00Z");
    assert_int_equal(shown_in(w, "v2", &shown, NULL), 1);
    assert_int_equal(shown.feedback.answer, PLAN_OVERRIDDEN);
    const char *last = w->alerts[w->alert_count - 1].body;

    other->now_ms = w->now_ms;
    other->setup.feedback.shown_days = 30;
    other->restoring = true;
    world_said(other, key, last);
    assert_int_equal(other->batch.event_count, 0); /* it was counted long ago */
    assert_int_equal(other->batch.counts.taken_over, 1);
    other->restoring = false;
    world_settle_down(other);
    assert_int_equal(shown_in(other, "v2", &shown, NULL), 1);
    assert_int_equal(shown.feedback.answer, PLAN_OVERRIDDEN);
    assert_int_equal(other->total.withheld, 0); /* no alert has lost its records */
    assert_int_equal(other->total.opened, 0);
    /* the end comes from the record, not from when it was taken over */
    other->now_ms = NOW_MS + 30 * DAY;
    world_settle_down(other);
    assert_int_equal(shown_in(other, "v2", NULL, NULL), 0);
    /* and what another owner has taken back is gone */
    world_said(other, key, last);
    assert_int_equal(shown_in(other, "v2", NULL, NULL), 0);
    world_free(w);
    world_free(other);
}

static void what_was_taken_back_is_gone(void **state)
{
    world *w = world_without_order("V2", "MedicationRequest/v2-order");
    (void)state;
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", NULL, NULL));
    take_noted(w);
    assert_int_equal(shown_in(w, "v2", NULL, NULL), 1);
    world_said(w, noted[0][0], NULL);
    assert_int_equal(shown_in(w, "v2", NULL, NULL), 0);
    world_free(w);
}

#define SOON DRAFT("4", "\"timing\":{\"event\":[\"2026-03-02\"]},")

/* A critical one comes back after feedback.critical_hours, and says so. */
static void a_critical_draft_comes_back_soon(void **state)
{
    world *w = world_without_order("C2-dialysis", "MedicationRequest/dia-order");
    char uuid[UUID_TEXT], detail[8192];
    (void)state;
    take_away(w, "Condition/dia-dia");
    assert_true(is_told(w, "dia", "order-sign", SOON, "C2", uuid, NULL));
    for (size_t i = 0; i < noted_count; i++) /* other cards came with it */
        world_said(w, noted[i][0], noted[i][1]);
    world_settle_down(w);
    assert_true(shown_in(w, "dia", NULL, NULL) > 0);
    say(w, uuid, OVERRIDDEN, "2026-03-01T08:00:00Z");
    w->now_ms = NOW_MS + DAY - 1;
    assert_false(is_told(w, "dia", "order-sign", SOON, "C2", NULL, NULL));
    w->now_ms++;
    assert_true(is_told(w, "dia", "order-sign", SOON, "C2", NULL, detail));
    assert_non_null(strstr(detail, "Overridden by ehr (patient-refuses)"));
    assert_int_equal(noted_count, 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_no_alert_says_is_noted),
        cmocka_unit_test(it_is_noted_once_and_nobody_is_told),
        cmocka_unit_test(people_are_heard),
        cmocka_unit_test(nobody_says_a_word),
        cmocka_unit_test(its_time_ends),
        cmocka_unit_test(an_alert_takes_its_place),
        cmocka_unit_test(a_former_name_is_known),
        cmocka_unit_test(a_second_note_changes_nothing),
        cmocka_unit_test(it_outlives_the_process_and_the_store),
        cmocka_unit_test(what_was_taken_back_is_gone),
        cmocka_unit_test(a_critical_draft_comes_back_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
