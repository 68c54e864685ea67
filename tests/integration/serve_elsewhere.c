/* A call of a CDS service that reaches an instance which does not own the patient: over two
 * instances, with an EHR's FHIR server and without. */
#include "../unit/fhir_standin.h"

#include "asking_stage.h"

static bool owner_knows(stage *s)
{
    return ask(s, owner_of(s, "v5"), "") == 200;
}

static void who_does_not_own_the_patient_asks_the_ehr(void **state)
{
    char more[512], with[512];
    stage *s = stage_new();
    standin *ehr = standin_new(&s->loop, "{\"alg\":\"ES384\"}", 0);
    (void)state;
    ehr->records = records_of_v5();
    snprintf(more, sizeof more,
             "hooks: {listen: \"127.0.0.1:0\", fetch_budget_ms: 20000, deadline_ms: 60000}\n"
             "fhir_servers: {theirs: {url: \"http://127.0.0.1:%d/open\"}}\n",
             standin_port(ehr));
    s->more = more;
    open_client(s);
    start_and_wait(s);
    start_member(s, 1);
    wait_until(s, "both own partitions", both_own_some);
    send_records(s, ehr->records);
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

    close_client(s);
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
