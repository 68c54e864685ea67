/* A call of a CDS service that reaches an instance which does not own the patient: over two
 * instances, with an EHR's FHIR server and without. */
#include "serve_stage.h"

#include "../unit/fhir_standin.h"

typedef struct asking { /* one call */
    http_client *client;
    bool answered, closed;
    int status;
    char body[131072], retry_after[32];
} asking;

static asking call;

static void on_answer(void *ctx, const http_response *r)
{
    asking *a = ctx;
    a->answered = true;
    a->status = r->status;
    snprintf(a->body, sizeof a->body, "%.*s", OG_STR_ARG(r->body));
    snprintf(a->retry_after, sizeof a->retry_after, "%.*s", OG_STR_ARG(r->retry_after));
}

static bool is_answered(stage *s)
{
    (void)s;
    return call.answered;
}

static int ask(stage *s, int number, const char *rest)
{
    char url[128], body[1024];
    conn_header headers[] = {{"Content-Type", OG_STR("application/json")}};
    snprintf(url, sizeof url, "http://127.0.0.1:%d/cds-services/osteoguard-patient-view",
             serve_hooks_port(s->at[number].serve));
    snprintf(body, sizeof body,
             "{\"hook\":\"patient-view\",\"hookInstance\":\"d1577c69-dfbe-44ad-ba6d-3e05e953b2ea\","
             "\"context\":{\"userId\":\"Practitioner/1\",\"patientId\":\"v5\"}%s}",
             rest);
    http_request q = {.url = url, .headers = headers, .header_count = 1, .body = og_str_of(body)};
    call.answered = false;
    assert_int_equal(http_client_send(call.client, &q, on_answer, &call, NULL, NULL), OG_OK);
    wait_until(s, "answer", is_answered);
    return call.status;
}

static bool both_own_some(stage *s)
{
    int settled[2] = {0, 0};
    for (int m = 0; m < 2; m++)
        for (int i = 0; i < PARTITIONS; i++)
            settled[m] += s->at[m].serve->partitions[i].assigned &&
                          owner_get(s->at[m].serve->owner, i).settled;
    return settled[0] > 0 && settled[1] > 0 && settled[0] + settled[1] == PARTITIONS &&
           serve_ready(s->at[1].serve);
}

static int owner_of(const stage *s, const char *patient)
{
    int partition = serve__partition_of(s->at[0].serve, og_str_of(patient));
    return s->at[0].serve->partitions[partition].assigned ? 0 : 1;
}

static bool owner_knows(stage *s)
{
    return ask(s, owner_of(s, "v5"), "") == 200;
}

static void on_closed(void *ctx)
{
    ((asking *)ctx)->closed = true;
}

static bool client_is_closed(stage *s)
{
    (void)s;
    return call.closed;
}

static void who_does_not_own_the_patient_asks_the_ehr(void **state)
{
    char more[512], with[512];
    http_client_options options = {0};
    stage *s = stage_new();
    standin *ehr = standin_new(&s->loop, "{\"alg\":\"ES384\"}", 0);
    json_t *file = json_load_file(OG_SOURCE_DIR "/rules/content/cases/V5.json", 0, NULL);
    (void)state;
    ehr->records = json_incref(json_object_get(file, "bundle"));
    json_decref(file);
    snprintf(more, sizeof more,
             "hooks: {listen: \"127.0.0.1:0\", fetch_budget_ms: 20000, deadline_ms: 60000}\n"
             "fhir_servers: {theirs: {url: \"http://127.0.0.1:%d/open\"}}\n",
             standin_port(ehr));
    s->more = more;
    assert_int_equal(http_client_new(&s->loop, &options, &call.client, NULL), OG_OK);
    start_and_wait(s);
    start_member(s, 1);
    wait_until(s, "both own partitions", both_own_some);
    char *events = json_dumps(ehr->records, JSON_COMPACT);
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, events, strlen(events));
    free(events);
    wait_until(s, "the owner knows the patient", owner_knows);
    assert_int_equal(ehr->asked, 0);

    /* Nothing comes along, and nobody may be asked: the caller is sent to another one. */
    int other = 1 - owner_of(s, "v5");
    assert_int_equal(ask(s, other, ""), 503);
    assert_string_equal(call.retry_after, "1");
    assert_non_null(strstr(call.body, "\"resourceType\":\"OperationOutcome\""));
    assert_non_null(strstr(call.body, "another instance has the records of this patient"));

    /* With the EHR's server: answered from there, and the cards say so. */
    snprintf(with, sizeof with,
             ",\"fhirServer\":\"http://127.0.0.1:%d/open\",\"fhirAuthorization\":{\"access_token\":"
             "\"own\",\"token_type\":\"Bearer\",\"expires_in\":300,\"scope\":\"patient/*.rs\","
             "\"subject\":\"us\",\"patient\":\"v5\"}",
             standin_port(ehr));
    assert_int_equal(ask(s, other, with), 200);
    assert_true(ehr->asked > 0);
    assert_non_null(strstr(call.body, "\"fetched\":true,\"partial\":false"));
    assert_non_null(strstr(call.body, "How current the data are is not known, with data fetched"));

    /* It gives a part only: what rests on the rest is not said, and neither is anything made up. */
    standin_put(ehr, "Condition", 500, "");
    assert_int_equal(ask(s, other, with), 503);
    assert_non_null(strstr(call.body, "another instance has the records of this patient"));

    http_client_close(call.client, on_closed, &call);
    wait_until(s, "client closed", client_is_closed);
    for (int i = 0; i < 2; i++)
        stop_member(s, i);
    standin_free(ehr, &s->loop);
    stage_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_does_not_own_the_patient_asks_the_ehr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
