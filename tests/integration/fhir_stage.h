/* A stage for the daemon and an EHR's FHIR server, which has the records of one patient, v5. */
#ifndef OG_TESTS_FHIR_STAGE_H
#define OG_TESTS_FHIR_STAGE_H

#include "../unit/fhir_standin.h"

#include "hooks_stage.h"

typedef bool condition(stage *s);

static inline void wait_until(stage *s, const char *what, condition *fn)
{
    int64_t begin = clock_monotonic_us() / 1000;
    while (!fn(s))
        wait_a_turn(s, what, begin);
}

static inline bool is_ready(stage *s)
{
    return serve_ready(s->serve);
}

/* ---- asking ---- */

/* rest: further members of the request. */
static inline void begin_ask(stage *s, const char *rest)
{
    char url[256], body[65536];
    og_error err;
    og_error_init(&err);
    conn_header headers[] = {{"Content-Type", OG_STR("application/json")}};
    snprintf(url, sizeof url, "http://127.0.0.1:%d" PATIENT_VIEW, serve_hooks_port(s->serve));
    snprintf(body, sizeof body,
             "{\"hook\":\"patient-view\",\"hookInstance\":\"" UUID
             "\",\"context\":{\"userId\":\"Practitioner/1\",\"patientId\":\"v5\"}%s}",
             rest);
    http_request q = {.method = "POST",
                      .url = url,
                      .headers = headers,
                      .header_count = 1,
                      .body = og_str_of(body)};
    s->answered = false;
    assert_int_equal(http_client_send(s->client, &q, on_answer, s, NULL, &err), OG_OK);
}

static inline int ask(stage *s, const char *rest)
{
    begin_ask(s, rest);
    wait_for(s, "answer", &s->answered);
    return s->status;
}

/* With the server under this base, and a token of the call's own when it lives (seconds). */
static inline int ask_with(stage *s, const char *base, int expires, const char *rest)
{
    char all[57344], token[512] = "";
    if (expires >= 0)
        snprintf(token, sizeof token,
                 ",\"fhirAuthorization\":{\"access_token\":\"own\",\"token_type\":\"Bearer\","
                 "\"expires_in\":%d,\"scope\":\"patient/*.rs\",\"subject\":\"us\",\"patient\":"
                 "\"v5\"}",
                 expires);
    snprintf(all, sizeof all, ",\"fhirServer\":\"http://127.0.0.1:%d/%s\"%s%s",
             standin_port(s->ehr), base, token, rest);
    return ask(s, all);
}

/* ---- the daemon ---- */

static inline json_t *records_of(const char *id)
{
    char path[512];
    snprintf(path, sizeof path, "%s/rules/content/cases/%s.json", OG_SOURCE_DIR, id);
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    json_t *bundle = json_incref(json_object_get(root, "bundle"));
    json_decref(root);
    return bundle;
}

/* Further members of the server that is ours, behind the id that we have there. */
static inline void fhir_stage_config(const stage *s, const char *more, char *out, size_t size)
{
    int n = snprintf(
        out, size,
        "hooks: {listen: \"127.0.0.1:0\", fetch_budget_ms: 20000, deadline_ms: 60000}\n"
        "delivery: {backoff_min_ms: 20, backoff_max_ms: 100}\n"
        "fhir_servers:\n"
        "  ours: {url: \"http://127.0.0.1:%d/fhir\", client_id: " STANDIN_CLIENT
        ", private_jwk_file: %s%s}\n"
        "  theirs: {url: \"http://127.0.0.1:%d/open\"}\n"
        "endpoints: {ehr: {url: \"http://127.0.0.1:%d/fhir\", format: fhir, flag: true, "
        "task: true}}\n",
        standin_port(s->ehr), s->key_path, more, standin_port(s->ehr), standin_port(s->ehr));
    assert_true(n > 0 && (size_t)n < size);
}

/* The daemon, as in production, until it is ready. */
static inline void fhir_stage_start(stage *s, const char *more)
{
    char text[2048];
    fhir_stage_config(s, more, text, sizeof text);
    stage_start(s, text, LOG_LEVEL_INFO, false);
    wait_until(s, "ready", is_ready);
}

/* All but the daemon. */
static inline stage *fhir_stage_open(void)
{
    stage *s = stage_open("/tmp/og-fhir-XXXXXX");
    snprintf(s->key_path, sizeof s->key_path, "%s/key.jwk", s->dir);
    s->ehr = standin_new(&s->loop, "{\"alg\":\"ES384\"}", 0);
    s->ehr->records = records_of("V5");
    standin_write_key(s->ehr, s->key_path);
    return s;
}

static inline stage *stage_new(const char *more)
{
    stage *s = fhir_stage_open();
    fhir_stage_start(s, more);
    return s;
}

/* Whatever a test did: no token and nothing that names the patient is in the log. */
static inline void stage_free(stage *s)
{
    static const char *const secrets[] = {"Bearer", "token-", "\"own\"", "v5", "patient=", "eyJ"};
    stage_stop(s);
    standin_free(s->ehr, &s->loop);
    og_buf_addc(&s->log, '\0');
    for (char *at = s->log.p; (at = strstr(at, s->dir)) != NULL;)
        memset(at, '-', strlen(s->dir)); /* its name is drawn, and may be anything */
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
        if (strstr(s->log.p, secrets[i]) != NULL)
            fail_msg("\"%s\" is in the log:\n%s", secrets[i], s->log.p);
    stage_close(s);
}

/* ---- what it was told ---- */

static inline const char *status_of(const stage *s, const char *type)
{
    const char *status =
        json_string_value(json_object_get(standin_written(s->ehr, type, "D3"), "status"));
    return status != NULL ? status : "";
}

static inline bool has_issue(stage *s)
{
    return strcmp(status_of(s, "DetectedIssue"), "") != 0 && metric_says("verdict=\"done\"");
}

#endif
