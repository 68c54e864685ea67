/* Feedback: what is refused, and what it changes for the one who overrode a card. */
#include "daemon_talk.h"

#define CARD        "\"card\":\"D1577C69-dfbe-44ad-ba6d-3e05e953b2ea\","
#define AT          "\"outcomeTimestamp\":\"2026-03-01T08:00:00Z\""
#define OVER        CARD "\"outcome\":\"overridden\"," AT
#define LIST(entry) "{\"feedback\":[{" entry "}]}"

/* ---- reading ---- */

static og_status reads(const char *body, const hook_feedback **list, size_t *n, og_arena *a,
                       og_error *err)
{
    og_error_init(err);
    return hook_feedback_read(a, og_str_of(body), list, n, err);
}

static void every_field_is_checked(void **state)
{
    static const struct {
        const char *body, *path;
    } table[] = {
        {"[]", ""},
        {"7", ""},
        {"{}", "feedback"},
        {"{\"feedback\":null}", "feedback"},
        {"{\"feedback\":{}}", "feedback"},
        {"{\"feedback\":[]}", "feedback"},
        {"{\"feedback\":[7]}", "feedback[0]"},
        {"{\"feedback\":[null]}", "feedback[0]"},
        {LIST(""), "feedback[0].card"},
        {LIST("\"card\":null"), "feedback[0].card"},
        {LIST("\"card\":7"), "feedback[0].card"},
        {LIST("\"card\":\"\""), "feedback[0].card"},
        {LIST("\"card\":\"d1577c69\""), "feedback[0].card"},
        {LIST("\"card\":\"d1577c69-dfbe-44ad-ba6d-3e05e953b2eaa\""), "feedback[0].card"},
        {LIST(CARD AT), "feedback[0].outcome"},
        {LIST(CARD AT ",\"outcome\":null"), "feedback[0].outcome"},
        {LIST(CARD AT ",\"outcome\":true"), "feedback[0].outcome"},
        {LIST(CARD AT ",\"outcome\":\"\""), "feedback[0].outcome"},
        {LIST(CARD AT ",\"outcome\":\"BANANA\""), "feedback[0].outcome"},
        {LIST(CARD AT ",\"outcome\":\"Accepted\""), "feedback[0].outcome"},
        {LIST(CARD AT ",\"outcome\":\"accepted\""), "feedback[0].acceptedSuggestions"},
        {LIST(CARD AT ",\"outcome\":\"accepted\",\"acceptedSuggestions\":null"),
         "feedback[0].acceptedSuggestions"},
        {LIST(CARD AT ",\"outcome\":\"accepted\",\"acceptedSuggestions\":[]"),
         "feedback[0].acceptedSuggestions"},
        {LIST(CARD AT ",\"outcome\":\"accepted\",\"acceptedSuggestions\":{}"),
         "feedback[0].acceptedSuggestions"},
        {LIST(CARD AT ",\"outcome\":\"accepted\",\"acceptedSuggestions\":[\"a\"]"),
         "feedback[0].acceptedSuggestions"},
        {LIST(CARD AT ",\"outcome\":\"accepted\",\"acceptedSuggestions\":[{}]"),
         "feedback[0].acceptedSuggestions.id"},
        {LIST(CARD AT ",\"outcome\":\"accepted\",\"acceptedSuggestions\":[{\"id\":\"\"}]"),
         "feedback[0].acceptedSuggestions.id"},
        {LIST(CARD AT ",\"outcome\":\"accepted\",\"acceptedSuggestions\":[{\"id\":7}]"),
         "feedback[0].acceptedSuggestions.id"},
        {LIST(OVER ",\"acceptedSuggestions\":7"), "feedback[0].acceptedSuggestions"},
        {LIST(OVER ",\"overrideReason\":7"), "feedback[0].overrideReason"},
        {LIST(OVER ",\"overrideReason\":[]"), "feedback[0].overrideReason"},
        {LIST(OVER ",\"overrideReason\":{}"), "feedback[0].overrideReason"},
        {LIST(OVER ",\"overrideReason\":{\"reason\":7}"), "feedback[0].overrideReason.reason"},
        {LIST(OVER ",\"overrideReason\":{\"reason\":{}}"),
         "feedback[0].overrideReason.reason.code"},
        {LIST(OVER ",\"overrideReason\":{\"reason\":{\"code\":\"\"}}"),
         "feedback[0].overrideReason.reason.code"},
        {LIST(OVER ",\"overrideReason\":{\"reason\":{\"code\":7}}"),
         "feedback[0].overrideReason.reason.code"},
        {LIST(OVER ",\"overrideReason\":{\"reason\":{\"code\":\"a\"}}"),
         "feedback[0].overrideReason.reason.system"},
        {LIST(OVER ",\"overrideReason\":{\"reason\":{\"code\":\"a\",\"system\":[]}}"),
         "feedback[0].overrideReason.reason.system"},
        {LIST(OVER ",\"overrideReason\":{\"reason\":{\"code\":\"a\",\"system\":\"b\",\"display\":"
                   "7}}"),
         "feedback[0].overrideReason.reason.display"},
        {LIST(OVER ",\"overrideReason\":{\"userComment\":7}"),
         "feedback[0].overrideReason.userComment"},
        {LIST(OVER ",\"overrideReason\":{\"userComment\":\"\"}"),
         "feedback[0].overrideReason.userComment"},
        {LIST(CARD "\"outcome\":\"overridden\""), "feedback[0].outcomeTimestamp"},
        {LIST(CARD "\"outcome\":\"overridden\",\"outcomeTimestamp\":null"),
         "feedback[0].outcomeTimestamp"},
        {LIST(CARD "\"outcome\":\"overridden\",\"outcomeTimestamp\":17"),
         "feedback[0].outcomeTimestamp"},
        {LIST(CARD "\"outcome\":\"overridden\",\"outcomeTimestamp\":\"\""),
         "feedback[0].outcomeTimestamp"},
        {LIST(CARD "\"outcome\":\"overridden\",\"outcomeTimestamp\":\"2026-03-01\""),
         "feedback[0].outcomeTimestamp"},
        {LIST(CARD "\"outcome\":\"overridden\",\"outcomeTimestamp\":\"2026-03-01T08:00:00\""),
         "feedback[0].outcomeTimestamp"},
        {LIST(CARD "\"outcome\":\"overridden\",\"outcomeTimestamp\":\"2026-02-30T08:00:00Z\""),
         "feedback[0].outcomeTimestamp"},
        {"{\"feedback\":[{" OVER "},{" CARD AT "}]}", "feedback[1].outcome"},
    };
    og_arena *a = og_arena_new((size_t)1 << 24);
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const hook_feedback *list;
        size_t n;
        og_error err;
        og_status s = reads(table[i].body, &list, &n, a, &err);
        if (s != OG_INVALID || strcmp(err.path, table[i].path) != 0)
            fail_msg("row %zu: %s at '%s', not '%s'", i, og_status_name(s), err.path,
                     table[i].path);
    }
    og_arena_free(a);
}

static void what_is_huge_is_refused(void **state)
{
    static const char *const form[][2] = {
        {LIST(OVER ",\"overrideReason\":{\"userComment\":\"%s\"}"),
         "feedback[0].overrideReason.userComment"},
        {LIST(OVER ",\"overrideReason\":{\"reason\":{\"system\":\"x\",\"code\":\"%s\"}}"),
         "feedback[0].overrideReason.reason.code"},
        {LIST(OVER ",\"overrideReason\":{\"reason\":{\"code\":\"x\",\"system\":\"%s\"}}"),
         "feedback[0].overrideReason.reason.system"},
        {LIST(CARD AT ",\"outcome\":\"accepted\",\"acceptedSuggestions\":[{\"id\":\"%s\"}]"),
         "feedback[0].acceptedSuggestions.id"},
        {LIST(CARD AT ",\"outcome\":\"%s\""), "feedback[0].outcome"},
        {LIST("\"card\":\"%s\""), "feedback[0].card"},
    };
    og_arena *a = og_arena_new((size_t)1 << 26);
    char *many = calloc(1, 5000), *body = calloc(1, 200000);
    const hook_feedback *list;
    size_t n;
    og_error err;
    (void)state;
    memset(many, 'a', 4999);
    for (size_t i = 0; i < sizeof form / sizeof form[0]; i++) {
        const char *at = strstr(form[i][0], "%s");
        snprintf(body, 200000, "%.*s%s%s", (int)(at - form[i][0]), form[i][0], many, at + 2);
        assert_int_equal(reads(body, &list, &n, a, &err), OG_INVALID);
        assert_string_equal(err.path, form[i][1]);
    }
    size_t used = (size_t)sprintf(body, "{\"feedback\":[{" OVER "}");
    for (int i = 0; i < HOOK_MAX_FEEDBACK; i++)
        used += (size_t)sprintf(body + used, ",{" OVER "}");
    sprintf(body + used, "]}");
    assert_int_equal(reads(body, &list, &n, a, &err), OG_INVALID);
    assert_string_equal(err.path, "feedback");
    free(body);
    free(many);
    og_arena_free(a);
}

static void good_feedback_is_read(void **state)
{
    og_arena *a = og_arena_new((size_t)1 << 24);
    const hook_feedback *list;
    size_t n;
    og_error err;
    (void)state;
    assert_int_equal(
        reads("{\"more\":1,\"feedback\":[{\"extension\":{\"a\":{}}," OVER
              ",\"overrideReason\":{" REASON ",\"userComment\":\"no\"}},{" CARD AT
              ",\"outcome\":\"accepted\",\"acceptedSuggestions\":[{\"id\":\"s\"}]},{" OVER "}]}",
              &list, &n, a, &err),
        OG_OK);
    assert_int_equal(n, 3);
    assert_string_equal(list[0].card, "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea");
    assert_false(list[0].accepted);
    assert_true(og_str_is(list[0].code, "patient-refuses"));
    assert_true(og_str_is(list[0].comment, "no"));
    assert_true(list[0].at_us == 1772352000000000);
    assert_true(list[1].accepted);
    og_arena_free(a);
}

/* ---- what it changes ---- */

static void an_overridden_alert_is_not_shown(void **state)
{
    world *w = world_with("V5");
    char uuid[UUID_TEXT], part[256];
    (void)state;
    assert_true(is_told(w, "v5", "patient-view", "", "D3", uuid, NULL));
    size_t posts = w->post_count;
    say(w, uuid, OVERRIDDEN, "2026-03-01T07:59:00Z");
    assert_false(is_told(w, "v5", "patient-view", "", "D3", NULL, NULL));
    assert_int_equal(w->post_count, posts + 1);
    snprintf(part, sizeof part, "\"retracts\":[{\"uuid\":\"%s\",\"reason\":\"overridden\"}]", uuid);
    assert_non_null(strstr(w->posts[posts].body, part));
    assert_non_null(strstr(w->posts[posts].body, "\"cards\":[]"));
    json_t *alert = alert_of(w, "D3"), *feedback = json_object_get(alert, "feedback");
    assert_string_equal(text(alert, "state"), "active");
    assert_string_equal(text(feedback, "answer"), "overridden");
    assert_string_equal(text(feedback, "who"), "ehr");
    assert_string_equal(text(feedback, "code"), "patient-refuses");
    assert_int_equal(json_integer_value(json_object_get(feedback, "until")) -
                         json_integer_value(json_object_get(feedback, "at")),
                     90 * 86400000LL);
    for (size_t i = 0; i < w->alert_count; i++) /* what people write stays on the shared topic */
        assert_null(strstr(w->alerts[i].body, "secret"));
    json_decref(alert);
    /* said again, or an older word: nothing happens */
    size_t alerts = w->alert_count;
    say(w, uuid, OVERRIDDEN, "2026-03-01T07:59:00Z");
    say(w, uuid, ACCEPTED, "2026-03-01T07:58:00Z");
    assert_int_equal(w->alert_count, alerts);
    assert_int_equal(w->post_count, posts + 1);
    /* a newer word: it is shown again, with another uuid */
    say(w, uuid, ACCEPTED, "2026-03-01T07:59:30Z");
    char again[UUID_TEXT];
    assert_true(is_told(w, "v5", "patient-view", "", "D3", again, NULL));
    assert_string_not_equal(again, uuid);
    assert_int_equal(w->post_count, posts + 2);
    world_free(w);
}

static void an_accepted_alert_stays(void **state)
{
    world *w = world_with("V5");
    char uuid[UUID_TEXT];
    (void)state;
    assert_true(is_told(w, "v5", "patient-view", "", "D3", uuid, NULL));
    size_t posts = w->post_count;
    say(w, uuid, ACCEPTED, "2026-03-01T07:59:00Z");
    assert_true(is_told(w, "v5", "patient-view", "", "D3", NULL, NULL));
    assert_int_equal(w->post_count, posts);
    json_t *alert = alert_of(w, "D3");
    assert_string_equal(text(json_object_get(alert, "feedback"), "answer"), "accepted");
    json_decref(alert);
    world_free(w);
}

static void an_override_ends_and_says_so(void **state)
{
    world *w = world_with("V5");
    char uuid[UUID_TEXT], again[UUID_TEXT], detail[8192];
    (void)state;
    w->setup.feedback.days = 1;
    assert_true(is_told(w, "v5", "patient-view", "", "D3", uuid, NULL));
    say(w, uuid, OVERRIDDEN, "2026-03-01T07:00:00Z");
    size_t posts = w->post_count;
    w->now_ms = 1772434800000 - 1; /* 2026-03-02T07:00Z */
    world_settle_down(w);
    assert_false(is_told(w, "v5", "patient-view", "", "D3", NULL, NULL));
    w->now_ms++;
    world_settle_down(w);
    assert_true(is_told(w, "v5", "patient-view", "", "D3", again, detail));
    assert_string_not_equal(again, uuid);
    assert_non_null(strstr(detail, "Overridden by ehr (patient-refuses) on 2026-03-01 07:00 UTC; "
                                   "that held until 2026-03-02 07:00 UTC"));
    assert_int_equal(w->post_count, posts + 1);
    assert_non_null(strstr(w->posts[posts].body, again));
    world_settle_down(w);
    assert_int_equal(w->post_count, posts + 1); /* once */
    world_free(w);
}

/* Another store, filled from the topics alone, comes to the same. */
static void a_rebuild_knows_it_too(void **state)
{
    world *w = world_with("V5");
    char uuid[UUID_TEXT];
    (void)state;
    assert_true(is_told(w, "v5", "patient-view", "", "D3", uuid, NULL));
    say(w, uuid, OVERRIDDEN, "2026-03-01T07:59:00Z");
    json_t *before = alert_of(w, "D3");
    for (int order = 0; order < 2; order++) {
        world *other = world_new();
        other->now_ms = NOW_MS;
        world_list *from[] = {&w->shared, &w->records}, *to[] = {&other->shared, &other->records};
        for (int k = 0; k < 2; k++) {
            const world_list *l = from[order == 0 ? k : 1 - k];
            for (size_t i = 0; i < l->count; i++) {
                kafka_record r = {.key = {l->at[i].key, l->at[i].key_n},
                                  .value = {l->at[i].value, l->at[i].value_n},
                                  .partition = l->at[i].partition};
                world_push(to[order == 0 ? k : 1 - k], &r);
            }
            world_settle_down(other);
        }
        json_t *after = alert_of(other, "D3");
        assert_true(
            json_equal(json_object_get(before, "feedback"), json_object_get(after, "feedback")));
        assert_string_equal(text(before, "uuid"), text(after, "uuid"));
        assert_false(is_told(other, "v5", "patient-view", "", "D3", NULL, NULL));
        json_decref(after);
        world_free(other);
    }
    json_decref(before);
    world_free(w);
}

#define NEW_VERSION "\"meta\":{\"versionId\":\"2\",\"lastUpdated\":\"2026-03-01T08:30:00Z\"},"
#define LAST_DOSE_AGAIN                                                                            \
    "{\"resourceType\":\"MedicationAdministration\",\"id\":\"v5-a30\"," NEW_VERSION                \
    "\"status\":\"completed\",\"subject\":{\"reference\":\"Patient/v5\"},\"effectiveDateTime\":"   \
    "\"2025-11-03\",\"medicationCodeableConcept\":{\"coding\":[{\"system\":"                       \
    "\"http://fhir.de/CodeSystem/bfarm/atc\",\"code\":\"M05BX04\",\"display\":\"Denosumab\"}]},"   \
    "\"dosage\":{\"dose\":{\"value\":120,\"unit\":\"mg\",\"system\":"                              \
    "\"http://unitsofmeasure.org\",\"code\":\"mg\"}}}"
#define FRACTURE                                                                                   \
    "{\"resourceType\":\"Condition\",\"id\":\"v5-fx\",\"clinicalStatus\":{\"coding\":[{"           \
    "\"system\":"                                                                                  \
    "\"http://terminology.hl7.org/CodeSystem/condition-clinical\",\"code\":\"active\"}]},"         \
    "\"verificationStatus\":{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"     \
    "condition-ver-status\",\"code\":\"confirmed\"}]},\"code\":{\"coding\":[{\"system\":"          \
    "\"http://snomed.info/sct\",\"code\":\"42942008\"}]},\"subject\":{\"reference\":\"Patient/"    \
    "v5\"},"                                                                                       \
    "\"onsetDateTime\":\"2026-01-20\"}"

/* Nobody says a word for a week: that is noted, and nothing else happens. */
static void what_nobody_answers_is_ignored(void **state)
{
    world *w = world_new();
    char uuid[UUID_TEXT], still[UUID_TEXT];
    (void)state;
    w->now_ms = NOW_MS;
    w->setup.feedback.ignored_days = 7;
    world_take_case(w, "V5");
    assert_true(is_told(w, "v5", "patient-view", "", "D3", uuid, NULL));
    size_t posts = w->post_count;
    w->now_ms += 7 * 86400000LL - 1;
    world_settle_down(w);
    json_t *alert = alert_of(w, "D3");
    assert_null(json_object_get(alert, "feedback"));
    json_decref(alert);
    w->now_ms++;
    world_settle_down(w);
    alert = alert_of(w, "D3");
    json_t *feedback = json_object_get(alert, "feedback");
    assert_string_equal(text(alert, "state"), "active");
    assert_string_equal(text(alert, "uuid"), uuid);
    assert_string_equal(text(feedback, "answer"), "ignored");
    assert_int_equal(json_integer_value(json_object_get(feedback, "shown")), NOW_MS);
    json_decref(alert);
    assert_true(is_told(w, "v5", "patient-view", "", "D3", still, NULL));
    assert_string_equal(still, uuid);
    assert_int_equal(w->post_count, posts);
    /* a word that was on its way is late, but it is the first one */
    say(w, uuid, ACCEPTED, "2026-03-02T08:00:00Z");
    alert = alert_of(w, "D3");
    feedback = json_object_get(alert, "feedback");
    assert_string_equal(text(feedback, "answer"), "accepted");
    assert_int_equal(json_integer_value(json_object_get(feedback, "at")) -
                         json_integer_value(json_object_get(feedback, "shown")),
                     86400000);
    json_decref(alert);
    world_free(w);
}

/* While it is not known that all data are here, a word may be on its way. */
static void nothing_is_ignored_behind_the_gate(void **state)
{
    world *w = world_new();
    (void)state;
    w->now_ms = NOW_MS;
    w->setup.feedback.ignored_days = 7;
    world_take_case(w, "V5");
    w->batch.gated = true;
    w->now_ms += 8 * 86400000LL;
    world_event(w, LAST_DOSE_AGAIN);
    world_settle_down(w);
    json_t *alert = alert_of(w, "D3");
    assert_null(json_object_get(alert, "feedback"));
    json_decref(alert);
    w->batch.gated = false;
    world_settle_down(w);
    alert = alert_of(w, "D3");
    assert_string_equal(text(json_object_get(alert, "feedback"), "answer"), "ignored");
    json_decref(alert);
    world_free(w);
}

/* The same facts in a newer version change nothing; a fracture does. */
static void an_override_ends_when_it_gets_worse(void **state)
{
    world *w = world_with("V5");
    char uuid[UUID_TEXT];
    (void)state;
    assert_true(is_told(w, "v5", "patient-view", "", "D3", uuid, NULL));
    say(w, uuid, OVERRIDDEN, "2026-03-01T07:59:00Z");
    size_t posts = w->post_count;
    world_event(w, LAST_DOSE_AGAIN);
    world_settle_down(w);
    assert_false(is_told(w, "v5", "patient-view", "", "D3", NULL, NULL));
    assert_int_equal(w->post_count, posts);
    world_event(w, FRACTURE);
    world_settle_down(w);
    assert_true(is_told(w, "v5", "patient-view", "", "D3", NULL, NULL));
    assert_true(w->post_count > posts);
    json_t *alert = alert_of(w, "D3");
    assert_string_equal(text(alert, "indicator"), "critical");
    assert_null(json_object_get(alert, "feedback"));
    json_decref(alert);
    world_free(w);
}

/* A card that only a call has seen: the override finds the same finding, not another dose. */
static void an_overridden_draft_is_not_questioned_twice(void **state)
{
    world *w = world_with("V2");
    char uuid[UUID_TEXT], detail[8192];
    (void)state;
    world_event(w, "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{\"request\":{"
                   "\"method\":\"DELETE\",\"url\":\"MedicationRequest/v2-order\"}}]}");
    world_settle_down(w);
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", uuid, NULL));
    say(w, uuid, OVERRIDDEN, "2026-03-01T07:59:00Z");
    assert_false(is_told(w, "v2", "order-sign", DOSE("4"), "C1", NULL, NULL));
    assert_true(is_told(w, "v2", "order-sign", DOSE("3.9"), "C1", NULL, NULL));
    w->now_ms += 2 * 86400000LL;
    w->setup.feedback.days = 1;
    assert_true(is_told(w, "v2", "order-sign", DOSE("4"), "C1", NULL, detail));
    assert_non_null(strstr(detail, "Overridden by ehr (patient-refuses)"));
    world_free(w);
}

static void a_critical_alert_comes_back_soon(void **state)
{
    world *w = world_new();
    (void)state;
    og_arena *a = og_arena_new(1 << 20);
    feedback_about about = {OG_STR("B1"), "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea", "", 7,
                            PLAN_WARNING};
    feedback_policy policy = {.days = 90, .critical_hours = 24};
    plan_feedback f;
    store_txn *t;
    char uuid[UUID_TEXT];
    store_finding_uuid(about.alert_id, about.material, uuid);
    w->now_ms = NOW_MS;
    say(w, uuid, OVERRIDDEN, "2026-03-01T08:00:00Z");
    assert_int_equal(store_begin(w->shared_store, false, &t, NULL), OG_OK);
    assert_int_equal(feedback_find(t, a, &policy, w->content, &about, &f, NULL), OG_OK);
    assert_true(f.until_ms - f.at_ms == 90 * 86400000LL);
    about.indicator = PLAN_CRITICAL;
    assert_int_equal(feedback_find(t, a, &policy, w->content, &about, &f, NULL), OG_OK);
    assert_true(f.until_ms - f.at_ms == 86400000LL);
    about.material++;
    assert_int_equal(feedback_find(t, a, &policy, w->content, &about, &f, NULL), OG_NOTFOUND);
    store_abort(t);
    /* said of a card that an older version has shown */
    store_former_finding_uuid(about.alert_id, about.material, uuid);
    say(w, uuid, OVERRIDDEN, "2026-03-01T08:00:00Z");
    assert_int_equal(store_begin(w->shared_store, false, &t, NULL), OG_OK);
    assert_int_equal(feedback_find(t, a, &policy, w->content, &about, &f, NULL), OG_OK);
    store_abort(t);
    og_arena_free(a);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_is_checked),
        cmocka_unit_test(what_is_huge_is_refused),
        cmocka_unit_test(good_feedback_is_read),
        cmocka_unit_test(an_overridden_alert_is_not_shown),
        cmocka_unit_test(an_accepted_alert_stays),
        cmocka_unit_test(an_override_ends_and_says_so),
        cmocka_unit_test(an_override_ends_when_it_gets_worse),
        cmocka_unit_test(what_nobody_answers_is_ignored),
        cmocka_unit_test(nothing_is_ignored_behind_the_gate),
        cmocka_unit_test(a_rebuild_knows_it_too),
        cmocka_unit_test(an_overridden_draft_is_not_questioned_twice),
        cmocka_unit_test(a_critical_alert_comes_back_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
