/* Alerts as resources of a FHIR server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <jansson.h>

#include "daemon/delivery_fhir.h"

#define ALERT "dbecb398-5f93-593c-9aaa-9a44e275f5ea"
#define CARD                                                                                       \
    "{\"uuid\":\"94e4ac5c-8369-5256-844d-334f0ebde09b\",\"summary\":\"Too \\\"much\\\"\","         \
    "\"detail\":\"a\\nb\",\"indicator\":\"critical\",\"source\":{\"label\":\"x\",\"url\":"         \
    "\"https://e/r\",\"topic\":{\"code\":\"C1\",\"display\":\"Dose\"}},\"extension\":{"            \
    "\"org.osteoguard.evidence\":[{\"label\":\"Creatinine\",\"value\":\"1 mg/dL\",\"reference\":"  \
    "\"Observation/1\"},{\"label\":\"Nothing\"},{\"label\":\"Odd\",\"reference\":\"urn:x\"}]}}"

static plan_alert alert_of(void)
{
    plan_alert a = {.id = ALERT,
                    .rule = OG_STR("C1"),
                    .state = PLAN_ALERT_ACTIVE,
                    .revision = 1,
                    .indicator = PLAN_CRITICAL,
                    .opened_ms = 1772352000000,
                    .changed_ms = 1772352000000,
                    .card = OG_STR(CARD)};
    return a;
}

static json_t *bundle_of(const delivery_endpoint *ep, const plan_alert *alert, bool resolved)
{
    og_arena *a = og_arena_new(1 << 20);
    og_str text, again;
    delivery d = {.patient = OG_STR("p1"), .revision = alert->revision, .resolved = resolved};
    memcpy(d.alert_id, ALERT, sizeof ALERT);
    assert_int_equal(delivery_fhir_body(a, ep, &d, alert, 1 << 20, &text), OG_OK);
    assert_int_equal(delivery_fhir_body(a, ep, &d, alert, 1 << 20, &again), OG_OK);
    assert_true(og_str_eq(text, again));
    assert_int_equal(delivery_fhir_body(a, ep, &d, alert, 100, &again), OG_LIMIT);
    assert_int_equal(delivery_fhir_body(a, ep, &d, alert, 10, &again), OG_LIMIT);
    fhir_doc doc; /* each resource is one that R4 allows */
    assert_int_equal(fhir_decode(a, text, NULL, &doc, NULL), OG_OK);
    fhir_elem entries = fhir_get(fhir_root(&doc), "entry");
    for (fhir_elem e = fhir_first(entries); fhir_exists(e); e = fhir_next(entries, e)) {
        fhir_resource r;
        og_error err;
        og_error_init(&err);
        if (fhir_resource_of(fhir_get(e, "resource"), &r, &err) != OG_OK ||
            fhir_resource_check_strict(&r, &err) != OG_OK)
            fail_msg("%s: %s", err.path, err.text);
    }
    json_t *root = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    og_arena_free(a);
    return root;
}

static json_t *entry_of(json_t *bundle, size_t i)
{
    return json_array_get(json_object_get(bundle, "entry"), i);
}

static const char *text_at(json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

static void an_open_alert_is_an_issue(void **state)
{
    delivery_endpoint ep = {.name = "ehr", .fhir = true};
    plan_alert alert = alert_of();
    (void)state;
    json_t *b = bundle_of(&ep, &alert, false);
    json_t *e = entry_of(b, 0), *issue = json_object_get(e, "resource");
    assert_string_equal(text_at(b, "type"), "transaction");
    assert_int_equal(json_array_size(json_object_get(b, "entry")), 1);
    assert_string_equal(text_at(json_object_get(e, "request"), "url"),
                        "DetectedIssue?identifier=https://osteoguard.org/alert%7C" ALERT);
    assert_string_equal(text_at(issue, "status"), "final");
    assert_string_equal(text_at(issue, "severity"), "high");
    assert_string_equal(text_at(issue, "detail"), "a\nb");
    assert_string_equal(text_at(json_object_get(issue, "code"), "text"), "Too \"much\"");
    assert_string_equal(text_at(json_array_get(json_object_get(issue, "identifier"), 0), "value"),
                        ALERT);
    json_t *evidence = json_object_get(issue, "evidence");
    assert_int_equal(json_array_size(evidence), 1); /* what refers to something */
    json_t *detail = json_array_get(json_object_get(json_array_get(evidence, 0), "detail"), 0);
    assert_string_equal(text_at(detail, "reference"), "Observation/1");
    assert_string_equal(text_at(detail, "display"), "Creatinine: 1 mg/dL");
    assert_null(json_object_get(issue, "mitigation"));
    json_decref(b);
    alert.revision = 2;
    b = bundle_of(&ep, &alert, false);
    assert_string_equal(text_at(json_object_get(entry_of(b, 0), "resource"), "status"), "amended");
    json_decref(b);
}

static void what_is_over_is_closed(void **state)
{
    static const struct {
        plan_alert_state state;
        plan_answer answer;
        const char *task, *mitigation;
    } table[] = {{PLAN_ALERT_RESOLVED, PLAN_UNANSWERED, "completed", "resolved by the data"},
                 {PLAN_ALERT_ACTIVE, PLAN_OVERRIDDEN, "cancelled", "overridden"},
                 {PLAN_ALERT_ACTIVE, PLAN_UNANSWERED, "cancelled", "withdrawn"}};
    delivery_endpoint ep = {.name = "ehr", .fhir = true, .flag = true, .task = true};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        plan_alert alert = alert_of();
        alert.state = table[i].state;
        alert.resolved_ms = table[i].state == PLAN_ALERT_RESOLVED ? 1772438400000 : 0;
        alert.feedback.answer = table[i].answer;
        alert.feedback.at_ms = 1772438400000;
        alert.feedback.code = OG_STR("planned");
        alert.feedback.system = OG_STR("https://e/reasons");
        json_t *b = bundle_of(&ep, &alert, true);
        json_t *issue = json_object_get(entry_of(b, 0), "resource");
        json_t *flag = json_object_get(entry_of(b, 1), "resource");
        json_t *task = json_object_get(entry_of(b, 2), "resource");
        json_t *action =
            json_object_get(json_array_get(json_object_get(issue, "mitigation"), 0), "action");
        assert_string_equal(text_at(issue, "status"), "cancelled");
        assert_string_equal(text_at(action, "text"), table[i].mitigation);
        assert_int_equal(json_object_get(action, "coding") != NULL, i == 1);
        assert_string_equal(text_at(flag, "status"), "inactive");
        assert_string_equal(text_at(task, "status"), table[i].task);
        assert_string_equal(text_at(json_object_get(task, "focus"), "reference"),
                            text_at(entry_of(b, 0), "fullUrl"));
        json_decref(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_open_alert_is_an_issue),
        cmocka_unit_test(what_is_over_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
