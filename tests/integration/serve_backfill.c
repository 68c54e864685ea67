/* The daemon fetches what an EHR's FHIR server has of patients of whom something comes for the
 * first time, whatever stops it in between. */
#include <sys/prctl.h>
#include <sys/wait.h>

#include "fhir_stage.h"

#include "daemon/topic_reader.h"

#define API_PRODUCE 0 /* of the protocol */
#define BACKFILL    ", backfill: true, backfill_per_minute: 60000"

static bool is_backfilled(stage *s)
{
    return metric_says("osteoguard_backfills_total{result=\"done\"} 1\n") && has_issue(s);
}

/* One record is enough: the rest is fetched, and goes the way of every event. */
static void a_new_patient_is_backfilled(void **state)
{
    static const char first[] = "{\"resourceType\":\"Patient\",\"id\":\"v5\"}";
    static const int broken[] = {500, 500, 500, 500, 500, 500, 403};
    stage *s = stage_new(BACKFILL);
    (void)state;
    s->ehr->per_page = 2;
    s->ehr->script = broken; /* in passing; and one that costs a second attempt */
    s->ehr->script_count = 7;
    s->ehr->retry_after = "0";
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, "Patient/v5", first, strlen(first));
    wait_until(s, "backfill", is_backfilled);
    assert_true(metric_says("osteoguard_backfills_total{result=\"again\"} 1\n"));
    assert_true(metric_says("osteoguard_backfill_resources_total{result=\"good\"}"));
    assert_true(metric_says("osteoguard_backfills_waiting 0\n"));
    assert_int_equal(metric_value(METRIC_DEAD_LETTERS), 0);
    assert_string_equal(status_of(s, "Flag"), "active");
    stage_free(s);
}

/* What a call brought to light is known to the next one without asking. */
static bool has_failed_often(stage *s)
{
    (void)s;
    return metric_says("osteoguard_backfills_total{result=\"again\"} 4\n");
}

static void a_backfill_waits_for_a_server_that_is_down(void **state)
{
    static const char first[] = "{\"resourceType\":\"Patient\",\"id\":\"v5\"}";
    stage *s = stage_new(BACKFILL);
    (void)state;
    s->ehr->closed_to_all = true;
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, "Patient/v5", first, strlen(first));
    wait_until(s, "attempts", has_failed_often);
    s->ehr->closed_to_all = false;
    wait_until(s, "backfill", is_backfilled);
    assert_true(metric_says("osteoguard_backfills_waiting 0\n"));
    stage_free(s);
}

/* Nobody's turn comes while no partition is ours: the loop goes on. */
static void a_backfill_waits_while_stores_are_rebuilt(void **state)
{
    static const char first[] = "{\"resourceType\":\"Patient\",\"id\":\"v5\"}";
    stage *s = stage_new(BACKFILL);
    (void)state;
    s->ehr->closed_to_all = true;
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, "Patient/v5", first, strlen(first));
    wait_until(s, "attempts", has_failed_often);
    for (int i = 0; i < s->serve->count; i++)
        s->serve->partitions[i].rebuild = true;
    s->ehr->closed_to_all = false;
    wait_until(s, "backfill", is_backfilled);
    stage_free(s);
}

static void a_call_for_a_new_patient_backfills_him(void **state)
{
    stage *s = stage_new(BACKFILL);
    (void)state;
    assert_int_equal(ask_with(s, "fhir", 300, ""), 200);
    says(s, "\"fetched\":true");
    wait_until(s, "backfill", is_backfilled);
    s->ehr->records = (json_decref(s->ehr->records), json_object());
    assert_int_equal(ask(s, ""), 200);
    says(s, "\"code\":\"D3\"");
    says(s, "\"fetched\":false");
    assert_true(metric_says("osteoguard_cds_fetches_total{result=\"complete\"} 1\n"));
    assert_true(metric_says("osteoguard_backfills_total{result=\"done\"} 1\n"));
    stage_free(s);
}

static bool is_unnoted(stage *s)
{
    (void)s;
    return metric_value(METRIC_HOOK_UNNOTED) > 0;
}

/* The brokers do not take that he is to be backfilled: the next call says it again. */
static void a_wish_that_was_refused_is_said_again(void **state)
{
    stage *s = stage_new(BACKFILL);
    (void)state;
    for (int i = 0; i < 50; i++)
        rd_kafka_mock_push_request_errors(s->kafka.cluster, API_PRODUCE, 1,
                                          RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    assert_int_equal(ask_with(s, "fhir", 300, ""), 200);
    says(s, "\"fetched\":true");
    wait_until(s, "that nothing is taken", is_unnoted);
    rd_kafka_mock_clear_request_errors(s->kafka.cluster, API_PRODUCE);
    for (int i = 0; i < 100 && !is_backfilled(s); i++)
        assert_int_equal(ask_with(s, "fhir", 300, ""), 200);
    wait_until(s, "backfill", is_backfilled);
    stage_free(s);
}

/* ---- what a restart knows ---- */

static const char *const first_of[] = {"{\"resourceType\":\"Patient\",\"id\":\"v5\"}",
                                       "{\"resourceType\":\"Patient\",\"id\":\"v6\"}"};

static void first_event(stage *s, int i)
{
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, first_of[i], strlen(first_of[i]));
}

static bool was_tried(stage *s)
{
    (void)s;
    return metric_says("osteoguard_backfills_total{result=\"again\"}");
}

static bool one_is_done(stage *s)
{
    (void)s;
    return metric_says("osteoguard_backfills_total{result=\"done\"} 1\n") &&
           metric_says("osteoguard_backfills_waiting 0\n");
}

static void forget_disk(stage *s)
{
    char dir[96];
    snprintf(dir, sizeof dir, "%s/store", s->dir);
    assert_int_equal(file_remove_tree(dir, NULL), OG_OK);
}

/* As take-over by an instance that has never seen the partition: what is done is not done again,
 * what is not is. */
static void an_empty_disk_knows_who_is_still_to_be_fetched(void **state)
{
    stage *s = stage_new(BACKFILL);
    (void)state;
    first_event(s, 0);
    wait_until(s, "backfill", is_backfilled);
    s->ehr->closed_to_all = true;
    first_event(s, 1);
    wait_until(s, "an attempt", was_tried);
    assert_true(metric_says("osteoguard_backfills_waiting 1\n"));
    stage_stop(s);
    forget_disk(s);
    s->ehr->closed_to_all = false;
    s->ehr->asked = 0;
    standin_page *v5 = standin_put(s->ehr, "Patient/v5", 200, first_of[0]);
    standin_page *v6 = standin_put(s->ehr, "Patient/v6", 200, first_of[1]);
    fhir_stage_start(s, BACKFILL);
    wait_until(s, "backfill of the other one", one_is_done);
    assert_int_equal(v5->asked, 0);
    assert_int_equal(v6->asked, 1);
    stage_free(s);
}

static bool was_refused(stage *s)
{
    return s->ehr->refused > 0;
}

/* A daemon of its own, with the store and the topics of the stage. */
static int spawn(const stage *s)
{
    char more[2048], text[8192], path[128];
    fhir_stage_config(s, BACKFILL, more, sizeof more);
    stage_config(s, more, text, sizeof text - 64);
    strcat(text, "clock: {start: \"2026-03-01T09:00:00+01:00\"}\n");
    snprintf(path, sizeof path, "%s/daemon.yaml", s->dir);
    assert_int_equal(file_write(path, og_str_of(text), NULL), OG_OK);
    fflush(NULL);
    int pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(OG_BINARY_DIR "/daemon/osteoguard", "osteoguard", "serve", "-c", path, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void who_waits_when_the_daemon_is_killed_is_fetched(void **state)
{
    int status;
    stage *s = fhir_stage_open();
    (void)state;
    if (!file_exists(OG_BINARY_DIR "/daemon/osteoguard")) {
        print_message("skipped: the program is not built\n");
        skip();
    }
    s->ehr->closed_to_all = true;
    first_event(s, 0);
    int pid = spawn(s);
    wait_until(s, "an attempt", was_refused);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    s->ehr->closed_to_all = false;
    fhir_stage_start(s, BACKFILL);
    wait_until(s, "backfill", is_backfilled);
    stage_free(s);
}

/* ---- what comes ---- */

static void add_condition(stage *s, const char *id, size_t bytes)
{
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    memset(text, 'x', bytes);
    text[bytes] = '\0';
    json_array_append_new(json_object_get(s->ehr->records, "entry"),
                          json_pack("{s:{s:s,s:s,s:{s:s},s:{s:s},s:[{s:s}]}}", "resource",
                                    "resourceType", "Condition", "id", id, "subject", "reference",
                                    "Patient/v5", "code", "text", "a note", "note", "text", text));
    free(text);
}

typedef struct letters { /* of the dead-letter topic */
    size_t count, bytes;
    char reason[32], server[32], resource[64], topic[32], whole[32];
} letters;

static void keep_header(const conn_message *m, const char *name, char *out, size_t size)
{
    og_str value = {NULL, 0};
    (void)kafka_message_header(m, name, &value);
    snprintf(out, size, "%.*s", OG_STR_ARG(value));
}

static bool on_letter(void *ctx, const conn_message *m)
{
    letters *l = ctx;
    l->count++;
    l->bytes = m->value.n;
    keep_header(m, "reason", l->reason, sizeof l->reason);
    keep_header(m, "fhir-server", l->server, sizeof l->server);
    keep_header(m, "resource", l->resource, sizeof l->resource);
    keep_header(m, "source-topic", l->topic, sizeof l->topic);
    keep_header(m, "bytes", l->whole, sizeof l->whole);
    return true;
}

static letters read_letters(stage *s)
{
    uv_loop_t loop;
    topic_reader *reader;
    letters l = {0};
    kafka_property properties[] = {{"bootstrap.servers", s->kafka.bootstrap}};
    uv_loop_init(&loop);
    assert_int_equal(topic_reader_new(&loop, properties, 1, &reader, NULL), OG_OK);
    assert_int_equal(topic_reader_scan(reader, "osteoguard.dead-letters", on_letter, &l, NULL),
                     OG_OK);
    topic_reader_free(reader);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return l;
}

/* A page may be larger than what the topics take, and one of its resources as well: a dead letter;
 * of its bytes what the configuration says, or none where the brokers do not take these either. */
static void take_apart(int64_t letter_bytes, size_t expected)
{
    stage *s = fhir_stage_open();
    char id[16];
    s->sources = "sources: [fhir.bundle]\n  properties: {message.max.bytes: 20000}";
    for (int i = 0; i < 12; i++) {
        snprintf(id, sizeof id, "c%d", i);
        add_condition(s, id, 4000);
    }
    add_condition(s, "huge", 40000);
    fhir_stage_start(s, BACKFILL);
    s->config->dead_letter_bytes = letter_bytes;
    first_event(s, 0);
    wait_until(s, "backfill", is_backfilled);
    assert_true(metric_says("osteoguard_backfill_resources_total{result=\"refused\"} 1\n"));
    assert_true(metric_says("osteoguard_backfills_waiting 0\n"));
    assert_true(metric_says("osteoguard_dead_letters_total{reason=\"too-large\"} 1\n"));
    letters l = read_letters(s);
    assert_int_equal(l.count, 1);
    assert_string_equal(l.reason, "too-large");
    assert_string_equal(l.server, "ours");
    assert_string_equal(l.resource, "Condition/huge");
    assert_string_equal(l.topic, "fhir.bundle");
    assert_int_equal(l.bytes, expected);
    assert_true(atol(l.whole) > 40000);
    stage_free(s);
}

static void a_page_is_taken_apart(void **state)
{
    (void)state;
    take_apart(5000, 5000);
    take_apart(900000, 0);
}

/* ---- senders ---- */

static bool lab_is_done(stage *s)
{
    (void)s;
    return metric_says("osteoguard_backfills_total{result=\"done\"} 1\n") &&
           metric_value(METRIC_ALERTS_OPENED) > 0;
}

/* The server of a sender has its patients, and nobody else's; what it says goes their way. */
static void a_sender_has_a_server_of_its_own(void **state)
{
    stage *s = fhir_stage_open();
    (void)state;
    s->sources = "sources: [fhir.bundle, fhir.lab]\n  senders: {fhir.lab: lab}";
    mock_kafka_topic(&s->kafka, "fhir.lab", 1);
    fhir_stage_start(s, BACKFILL ", sender: lab");
    first_event(s, 0); /* another v5 */
    mock_kafka_put(&s->kafka, "fhir.lab", 0, NULL, first_of[0], strlen(first_of[0]));
    wait_until(s, "backfill", lab_is_done);
    assert_true(metric_says("osteoguard_backfills_waiting 0\n"));
    for (int i = 0; i < s->serve->count; i++) {
        store_txn *t;
        backfill_state state_of;
        assert_int_equal(store_begin(s->serve->partitions[i].store, false, &t, NULL), OG_OK);
        assert_int_equal(backfill_state_of(t, OG_STR("v5"), &state_of, NULL), OG_OK);
        assert_int_equal(state_of, BACKFILL_UNKNOWN);
        store_abort(t);
    }
    stage_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_patient_is_backfilled),
        cmocka_unit_test(a_backfill_waits_for_a_server_that_is_down),
        cmocka_unit_test(a_backfill_waits_while_stores_are_rebuilt),
        cmocka_unit_test(a_wish_that_was_refused_is_said_again),
        cmocka_unit_test(a_call_for_a_new_patient_backfills_him),
        cmocka_unit_test(an_empty_disk_knows_who_is_still_to_be_fetched),
        cmocka_unit_test(who_waits_when_the_daemon_is_killed_is_fetched),
        cmocka_unit_test(a_page_is_taken_apart),
        cmocka_unit_test(a_sender_has_a_server_of_its_own),
    };
    cmocka_set_test_filter(getenv("OG_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
