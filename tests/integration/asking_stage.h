/* On the stage of whole daemons: two that share the partitions, and calls of a CDS service to one
 * or the other. */
#ifndef OG_TESTS_ASKING_STAGE_H
#define OG_TESTS_ASKING_STAGE_H

#include "serve_stage.h"

#define PATIENT_VIEW "/cds-services/osteoguard-patient-view"

typedef struct asking { /* one call */
    http_client *client;
    bool answered, closed;
    int status;
    char body[131072], retry_after[32];
} asking;

static asking call;

static inline void on_answer(void *ctx, const http_response *r)
{
    asking *a = ctx;
    a->answered = true;
    a->status = r->status;
    snprintf(a->body, sizeof a->body, "%.*s", OG_STR_ARG(r->body));
    snprintf(a->retry_after, sizeof a->retry_after, "%.*s", OG_STR_ARG(r->retry_after));
}

static inline bool is_answered(stage *s)
{
    (void)s;
    return call.answered;
}

/* The body of a call; rest: further members. */
static inline og_str call_body(const char *patient, const char *rest)
{
    static char body[2048];
    int n = snprintf(body, sizeof body,
                     "{\"hook\":\"patient-view\",\"hookInstance\":\"d1577c69-dfbe-44ad-ba6d-"
                     "3e05e953b2ea\",\"context\":{\"userId\":\"Practitioner/1\",\"patientId\":"
                     "\"%s\"}%s}",
                     patient, rest);
    assert_true(n > 0 && (size_t)n < sizeof body);
    return (og_str){body, (size_t)n};
}

/* The status; header: one more, name NULL: none. */
static inline int ask_with(stage *s, int number, og_str body, conn_header header)
{
    char url[128];
    conn_header headers[] = {{"Content-Type", OG_STR("application/json")}, header};
    snprintf(url, sizeof url, "http://127.0.0.1:%d" PATIENT_VIEW,
             serve_hooks_port(s->at[number].serve));
    http_request q = {
        .url = url, .headers = headers, .header_count = header.name != NULL ? 2 : 1, .body = body};
    call.answered = false;
    assert_int_equal(http_client_send(call.client, &q, on_answer, &call, NULL, NULL), OG_OK);
    wait_until(s, "answer", is_answered);
    return call.status;
}

static inline int ask(stage *s, int number, const char *rest)
{
    return ask_with(s, number, call_body("v5", rest), (conn_header){NULL, {NULL, 0}});
}

static inline bool both_own_some(stage *s)
{
    int settled[2] = {0, 0};
    for (int m = 0; m < 2; m++)
        for (int i = 0; i < PARTITIONS; i++)
            settled[m] += s->at[m].serve->partitions[i].assigned &&
                          owner_get(s->at[m].serve->owner, i).settled;
    return settled[0] > 0 && settled[1] > 0 && settled[0] + settled[1] == PARTITIONS &&
           serve_ready(s->at[1].serve);
}

static inline int owner_of(const stage *s, const char *patient)
{
    int partition = serve__partition_of(s->at[0].serve, og_str_of(patient));
    return s->at[0].serve->partitions[partition].assigned ? 0 : 1;
}

/* What the clinical case says of its patient v5. Caller owns it. */
static inline json_t *records_of_v5(void)
{
    json_t *file = json_load_file(OG_SOURCE_DIR "/rules/content/cases/V5.json", 0, NULL);
    json_t *bundle = json_incref(json_object_get(file, "bundle"));
    json_decref(file);
    return bundle;
}

static inline void send_records(stage *s, const json_t *bundle)
{
    char *events = json_dumps(bundle, JSON_COMPACT);
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, events, strlen(events));
    free(events);
}

static inline void open_client(stage *s)
{
    http_client_options options = {.max_connections = 256, .max_per_host = 256};
    memset(&call, 0, sizeof call);
    assert_int_equal(http_client_new(&s->loop, &options, &call.client, NULL), OG_OK);
}

static inline void on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

static inline bool client_is_closed(stage *s)
{
    (void)s;
    return call.closed;
}

static inline void close_client(stage *s)
{
    http_client_close(call.client, on_closed, &call.closed);
    wait_until(s, "client closed", client_is_closed);
}

#endif
