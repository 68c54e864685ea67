/* The daemon and an EHR's FHIR server: calls of CDS services that lack data, and alerts that are
 * written there. */
#include "fhir_stage.h"

#define OWN "Bearer own"

/* ---- tests ---- */

static void what_is_lacking_is_fetched(void **state)
{
    stage *s = stage_new("");
    (void)state;
    assert_int_equal(ask_with(s, "fhir", 300, ""), 200);
    says(s, "\"code\":\"D3\"");
    says(s, "\"fetched\":true,\"partial\":false");
    says(s, ", with data fetched from the FHIR server");
    assert_string_equal(s->ehr->last_bearer, OWN);
    assert_int_equal(s->ehr->tokens_given, 0);
    assert_true(metric_says("osteoguard_cds_fetches_total{result=\"complete\"} 1\n"));
    assert_true(metric_says("osteoguard_fhir_reads_total{server=\"ours\",result=\"done\"}"));
    /* Nothing of it is kept: the next call without data knows nothing. */
    s->ehr->records = (json_decref(s->ehr->records), json_object());
    assert_int_equal(ask_with(s, "fhir", 300, ""), 412);
    stage_free(s);
}

static void without_a_token_of_its_own_ours_is_used(void **state)
{
    stage *s = stage_new("");
    (void)state;
    s->ehr->per_page = 1; /* and many pages are followed */
    assert_int_equal(ask_with(s, "fhir", -1, ""), 200);
    says(s, "\"code\":\"D3\"");
    assert_string_equal(s->ehr->last_bearer, "Bearer token-1");
    assert_string_equal(s->ehr->scope, "system/*.rs");
    assert_int_equal(s->ehr->tokens_given, 1);
    assert_int_equal(ask_with(s, "fhir", 0, ""), 200); /* its own has expired */
    assert_string_equal(s->ehr->last_bearer, "Bearer token-1");
    assert_int_equal(ask(s, ""), 200); /* no server named: the one that is ours */
    s->ehr->good_token = 99;           /* revoked: a new one, once for all reads */
    assert_int_equal(ask(s, ""), 200);
    assert_string_equal(s->ehr->last_bearer, "Bearer token-2");
    assert_int_equal(s->ehr->tokens_given, 2);
    assert_true(metric_says("osteoguard_fhir_tokens_total{server=\"ours\",result=\"good\"} 2\n"));
    stage_free(s);
}

static void no_server_but_the_configured_is_asked(void **state)
{
    stage *s = stage_new("");
    (void)state;
    assert_int_equal(ask_with(s, "other", 300, ""), 412);
    assert_int_equal(ask(s, ",\"fhirServer\":\"http://169.254.169.254/latest\""), 412);
    assert_int_equal(s->ehr->asked, 0);
    assert_int_equal(s->ehr->tokens_given, 0);
    assert_true(metric_says("osteoguard_cds_fetches_total{result=\"foreign-server\"} 2\n"));
    assert_non_null(strstr(og_buf_str(&s->log).p, "not configured for its client"));
    /* One without tokens of ours, and none of the call's that is good. */
    assert_int_equal(ask_with(s, "open", 0, ""), 412);
    assert_int_equal(s->ehr->asked, 0);
    assert_true(metric_says("osteoguard_cds_fetches_total{result=\"no-token\"} 1\n"));
    assert_int_equal(ask_with(s, "open", 300, ""), 200);
    stage_free(s);
}

/* Whoever cannot be asked leaves as much out as who does not answer. */
static void what_nobody_can_be_asked_for_is_lacking_too(void **state)
{
    static const struct {
        const char *base;
        int expires;
        const char *why;
    } table[] = {{"other", 300, "foreign-server"}, {"open", 0, "no-token"}};
    char rest[49152], line[120];
    stage *s = stage_new("");
    char *text = json_dumps(s->ehr->records, JSON_COMPACT);
    (void)state;
    assert_true(strlen(text) < sizeof rest - 100);
    snprintf(rest, sizeof rest, ",\"prefetch\":{\"medicationAdministration\":%s}", text);
    free(text);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_int_equal(ask_with(s, table[i].base, table[i].expires, rest), 200);
        says(s, "\"fetched\":false,\"partial\":true");
        assert_null(strstr(s->body, "\"code\":\"D3\"")); /* it rests on a dose that is not there */
        snprintf(line, sizeof line, "osteoguard_cds_fetches_total{result=\"%s\"} 1\n",
                 table[i].why);
        assert_true(metric_says(line));
    }
    assert_int_equal(s->ehr->asked, 0);
    assert_int_equal(ask_with(s, "fhir", 300, rest), 200); /* the rest is had: it is said */
    says(s, "\"code\":\"D3\"");
    stage_free(s);
}

static void what_was_sent_in_part_is_completed(void **state)
{
    char rest[2048];
    stage *s = stage_new("");
    (void)state;
    snprintf(rest, sizeof rest,
             ",\"prefetch\":{\"patient\":{\"resourceType\":\"Patient\",\"id\":\"v5\",\"birthDate\":"
             "\"1950-01-01\"},\"condition\":{\"resourceType\":\"Bundle\",\"type\":\"searchset\","
             "\"link\":[{\"relation\":\"next\",\"url\":\"http://127.0.0.1:%d/fhir/"
             "Condition?patient=v5\"}]}}",
             standin_port(s->ehr));
    assert_int_equal(ask_with(s, "fhir", 300, rest), 200);
    says(s, "\"code\":\"D3\"");
    says(s, "\"request\":true,\"fetched\":true,\"partial\":false");
    /* A page that leads elsewhere is not asked for, with any token. */
    assert_int_equal(
        ask_with(s, "fhir", 300,
                 ",\"prefetch\":{\"condition\":{\"resourceType\":\"Bundle\",\"type\":\"searchset\","
                 "\"link\":[{\"relation\":\"next\",\"url\":\"https://evil.example/p2\"}]}}"),
        200);
    says(s, "\"partial\":true");
    assert_true(metric_says("result=\"foreign-link\"} 1\n"));
    stage_free(s);
}

/* An answer comes when the time is over, from what there is. */
static void a_slow_server_does_not_hold_the_call(void **state)
{
    stage *s = stage_new("");
    (void)state;
    s->config->hooks_fetch_budget_ms = 200;
    s->ehr->slow = "Condition";
    assert_int_equal(ask_with(s, "fhir", 300, ""), 200);
    says(s, "\"extension\":{\"org.osteoguard.freshness\":{");
    says(s, "\"partial\":true");
    assert_true(metric_says("osteoguard_cds_fetches_total{result=\"partial\"} 1\n"));
    assert_true(metric_says("result=\"late\"} 1\n"));
    s->ehr->slow = ""; /* everything */
    assert_int_equal(ask_with(s, "fhir", 300, ""), 412);
    says(s, "none came from a FHIR server");
    stage_free(s);
}

static void what_the_server_does_wrong_is_counted(void **state)
{
    static const int busy[] = {429, 503};
    stage *s = stage_new(", max_bytes: 20000");
    og_buf huge;
    (void)state;
    s->ehr->script = busy;
    s->ehr->script_count = 2;
    s->ehr->retry_after = "0";
    assert_int_equal(ask_with(s, "fhir", 300, ""), 200); /* in passing: repeated */
    says(s, "\"partial\":false");
    standin_put(s->ehr, "Condition", 200, "{\"resourceType\":");
    standin_put(s->ehr, "Procedure", 403, "");
    og_buf_init(&huge, 1 << 20);
    og_buf_addz(&huge, "{\"resourceType\":\"Bundle\",\"id\":\"");
    for (int i = 0; i < 3000; i++)
        og_buf_addz(&huge, "0123456789");
    og_buf_addz(&huge, "\"}");
    standin_put(s->ehr, "MedicationAdministration", 200, og_buf_str(&huge).p);
    standin_put(s->ehr, "MedicationAdministration/_search", 200, og_buf_str(&huge).p);
    og_buf_done(&huge);
    assert_int_equal(ask_with(s, "fhir", 300, ""), 200);
    says(s, "\"partial\":true");
    assert_true(metric_says("server=\"ours\",result=\"malformed\"}"));
    assert_true(metric_says("server=\"ours\",result=\"refused\"}"));
    assert_true(metric_says("server=\"ours\",result=\"too-large\"}"));
    assert_non_null(strstr(og_buf_str(&s->log).p, "a read from a FHIR server failed"));
    s->ehr->token_status = 401; /* nobody gets in */
    assert_int_equal(ask_with(s, "fhir", -1, ""), 412);
    assert_true(metric_says("osteoguard_fhir_tokens_total{server=\"ours\",result=\"failed\"} 1\n"));
    assert_true(metric_says("osteoguard_cds_fetches_total{result=\"none\"} 1\n"));
    assert_non_null(strstr(og_buf_str(&s->log).p, "no token can be had for a FHIR server"));
    stage_free(s);
}

/* All calls together have so much room; what one took is given back. */
static void what_is_fetched_has_a_limit_for_all(void **state)
{
    stage *s = stage_new("");
    (void)state;
    size_t max = s->serve->fetch_room.max;
    assert_int_equal(max, 128 << 20);
    assert_int_equal(ask_with(s, "fhir", 300, ""), 200);
    says(s, "\"partial\":false");
    assert_int_equal(s->serve->fetch_room.used, 0);
    s->serve->fetch_room.max = 1;
    assert_int_equal(ask_with(s, "fhir", 300, ""), 412);
    says(s, "none came from a FHIR server");
    assert_true(metric_says("server=\"ours\",result=\"too-large\"}"));
    assert_int_equal(s->serve->fetch_room.used, 0);
    s->serve->fetch_room.max = max;
    assert_int_equal(ask_with(s, "fhir", 300, ""), 200);
    says(s, "\"partial\":false");
    stage_free(s);
}

/* ---- pushed alerts ---- */

static bool issue_is_over(stage *s)
{
    return strcmp(status_of(s, "DetectedIssue"), "cancelled") == 0;
}

static void alerts_are_resources_of_the_ehr(void **state)
{
    static const int lost[] = {502, 503};
    stage *s = stage_new("");
    (void)state;
    s->ehr->script = lost; /* it was taken, but nobody heard of it */
    s->ehr->script_count = 2;
    char *events = json_dumps(s->ehr->records, JSON_COMPACT);
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, "Patient/v5", events, strlen(events));
    free(events);
    wait_until(s, "DetectedIssue", has_issue);
    assert_true(metric_says("verdict=\"again\"} 2"));
    const json_t *issue = standin_written(s->ehr, "DetectedIssue", "D3");
    const json_t *patient = json_object_get(issue, "patient");
    assert_string_equal(status_of(s, "Flag"), "active");
    assert_string_equal(status_of(s, "Task"), "requested");
    assert_string_equal(json_string_value(json_object_get(patient, "reference")), "Patient/v5");
    assert_string_equal(json_string_value(json_object_get(issue, "severity")), "moderate");
    assert_true(json_array_size(json_object_get(issue, "evidence")) > 1);
    assert_true(s->ehr->updates > 0); /* the repeats changed what was there */
    assert_string_equal(s->ehr->last_bearer, "Bearer token-1");
    s->ehr->good_token = 99; /* revoked: a new one */
    static const char given[] =
        "{\"resourceType\":\"MedicationAdministration\",\"id\":\"z1\",\"status\":\"completed\","
        "\"subject\":{\"reference\":\"Patient/v5\"},\"effectiveDateTime\":\"2026-02-20\","
        "\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"http://www.whocc.no/atc\","
        "\"code\":\"M05BA08\"}]}}";
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, "MedicationAdministration/z1", given,
                   strlen(given));
    wait_until(s, "the end of it", issue_is_over);
    assert_string_equal(status_of(s, "Flag"), "inactive");
    assert_string_equal(status_of(s, "Task"), "completed");
    assert_non_null(json_object_get(standin_written(s->ehr, "DetectedIssue", "D3"), "mitigation"));
    assert_string_equal(s->ehr->last_bearer, "Bearer token-2");
    size_t i, same = 0; /* one resource, however often it was told */
    json_t *one;
    json_array_foreach(s->ehr->written, i, one) same +=
        json_object_get(one, "resource") == standin_written(s->ehr, "DetectedIssue", "D3");
    assert_int_equal(same, 1);
    stage_free(s);
}

/* ---- much at once ---- */

#define CROWD 6

static bool holds_a_crowd(stage *s)
{
    return s->ehr->held_count == CROWD;
}

static bool crowd_is_answered(stage *s)
{
    return s->answers == CROWD;
}

/* More calls with much to look at than there are workers for it: none is evaluated on the loop. */
static void who_fetched_much_waits_for_a_worker(void **state)
{
    stage *s = stage_new("");
    char rest[200];
    og_buf much;
    (void)state;
    og_buf_init(&much, 4 << 20);
    og_buf_addz(&much, "{\"resourceType\":\"Bundle\",\"type\":\"searchset\",\"entry\":[");
    for (int i = 0; i < 4000; i++)
        og_buf_addf(&much,
                    "%s{\"resource\":{\"resourceType\":\"Condition\",\"id\":\"c%d\",\"subject\":{"
                    "\"reference\":\"Patient/v5\"},\"code\":{\"text\":\"x\"}}}",
                    i > 0 ? "," : "", i);
    og_buf_addz(&much, "]}");
    s->ehr->slow = "Condition";
    snprintf(rest, sizeof rest, ",\"fhirServer\":\"http://127.0.0.1:%d/fhir\"",
             standin_port(s->ehr));
    for (int i = 0; i < CROWD; i++)
        begin_ask(s, rest);
    wait_until(s, "asked", holds_a_crowd);
    for (size_t i = 0; i < s->ehr->held_count; i++)
        http_exchange_answer(s->ehr->held[i], 200, "application/fhir+json", og_buf_str(&much));
    s->ehr->held_count = 0;
    og_buf_done(&much);
    wait_until(s, "answers", crowd_is_answered);
    assert_int_equal(s->status, 200);
    says(s, "\"fetched\":true,\"partial\":false");
    assert_int_equal(metric_value(METRIC_HOOK_BULKS), CROWD);
    stage_free(s);
}

/* ---- the end ---- */

static bool holds_one(stage *s)
{
    return s->ehr->held_count > 0;
}

static void stopping_answers_who_waits(void **state)
{
    stage *s = stage_new("");
    char rest[200];
    (void)state;
    s->ehr->slow = "";
    snprintf(rest, sizeof rest, ",\"fhirServer\":\"http://127.0.0.1:%d/fhir\"",
             standin_port(s->ehr));
    begin_ask(s, rest);
    wait_until(s, "asked", holds_one);
    serve_stop(s->serve, 0);
    wait_for(s, "answer", &s->answered);
    assert_int_equal(s->status, 503);
    stage_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_lacking_is_fetched),
        cmocka_unit_test(without_a_token_of_its_own_ours_is_used),
        cmocka_unit_test(no_server_but_the_configured_is_asked),
        cmocka_unit_test(what_nobody_can_be_asked_for_is_lacking_too),
        cmocka_unit_test(what_was_sent_in_part_is_completed),
        cmocka_unit_test(a_slow_server_does_not_hold_the_call),
        cmocka_unit_test(what_the_server_does_wrong_is_counted),
        cmocka_unit_test(what_is_fetched_has_a_limit_for_all),
        cmocka_unit_test(alerts_are_resources_of_the_ehr),
        cmocka_unit_test(who_fetched_much_waits_for_a_worker),
        cmocka_unit_test(stopping_answers_who_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
