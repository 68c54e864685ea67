/* CDS services over HTTP, asked as an EHR asks: discovery, calls, preflight, refusals. */
#include "hooks_stage.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <sys/socket.h>

#include "connectors/http_server.h"

static void wait_until_ready(stage *s)
{
    int64_t begin = clock_monotonic_us() / 1000;
    while (!serve_ready(s->serve) || metric_value(METRIC_EVALUATIONS) == 0)
        wait_a_turn(s, "ready", begin);
}

static void wait_for_metric(stage *s, metric id, const char *what, int64_t count)
{
    int64_t begin = clock_monotonic_us() / 1000;
    while (metric_value(id) < count)
        wait_a_turn(s, what, begin);
}

/* ---- asking ---- */

static int ask(stage *s, const char *method, const char *path, const char *type, const char *body)
{
    char url[256];
    og_error err;
    og_error_init(&err);
    conn_header headers[] = {{"Content-Type", og_str_of(type)},
                             {"Origin", OG_STR("https://ehr.example.org")}};
    char ca[96], cert[96], key[96];
    snprintf(url, sizeof url, "%s://127.0.0.1:%d%s", s->tls ? "https" : "http",
             serve_hooks_port(s->serve), path);
    snprintf(ca, sizeof ca, "%s/ca.pem", s->dir);
    snprintf(cert, sizeof cert, "%s/%s.pem", s->dir, s->certificate != NULL ? s->certificate : "");
    snprintf(key, sizeof key, "%s/%s.key", s->dir, s->certificate != NULL ? s->certificate : "");
    http_tls tls = {.ca_file = ca,
                    .cert_file = s->certificate != NULL ? cert : NULL,
                    .key_file = s->certificate != NULL ? key : NULL};
    http_request q = {.method = method,
                      .url = url,
                      .headers = headers,
                      .header_count = 2,
                      .tls = s->tls ? &tls : NULL,
                      .body = body != NULL ? og_str_of(body) : (og_str){NULL, 0}};
    s->answered = false;
    assert_int_equal(http_client_send(s->client, &q, on_answer, s, NULL, &err), OG_OK);
    wait_for(s, path, &s->answered);
    return s->status;
}

/* ---- the daemon ---- */

/* The patient of the case V5 is on the source topic before the daemon starts. */
static void send_case(stage *s)
{
    og_buf text;
    og_arena *a = og_arena_new((size_t)1 << 24);
    fhir_doc doc;
    og_buf_init(&text, 1 << 20);
    assert_int_equal(file_read(OG_SOURCE_DIR "/rules/content/cases/V5.json", 1 << 20, &text, NULL),
                     OG_OK);
    assert_int_equal(fhir_decode(a, og_buf_str(&text), NULL, &doc, NULL), OG_OK);
    og_str bundle = fhir_raw(fhir_get(fhir_root(&doc), "bundle"));
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, "Patient/v5", bundle.p, bundle.n);
    og_arena_free(a);
    og_buf_done(&text);
}

/* A certificate authority, and what it signs for the server and for a client; a stranger signs for
 * himself. */
static void make_certificates(const stage *s)
{
    char command[4096];
    snprintf(
        command, sizeof command,
        "cd %s && exec >/dev/null 2>&1 && k='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-days 2' &&"
        "openssl req -x509 $k -subj /CN=ca -keyout ca.key -out ca.pem &&"
        "openssl req $k -subj /CN=server -keyout server.key -out server.csr &&"
        "echo subjectAltName=IP:127.0.0.1 >server.ext &&"
        "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
        "-extfile server.ext -out server.pem &&"
        "openssl req $k -subj /CN=ehr -keyout client.key -out client.csr &&"
        "echo extendedKeyUsage=clientAuth >client.ext &&"
        "openssl x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
        "-extfile client.ext -out client.pem &&"
        "openssl req -x509 $k -subj /CN=ehr -keyout stranger.key -out stranger.pem",
        s->dir);
    assert_int_equal(system(command), 0);
}

static int begin_with(void **state, bool tls)
{
    char text[2048], hooks[1024] = "", clients[128] = "";
    stage *s = stage_open("/tmp/og-cds-XXXXXX");
    s->tls = tls;
    if (tls) {
        make_certificates(s);
        snprintf(hooks, sizeof hooks,
                 ", cert_file: %s/server.pem, key_file: %s/server.key, client_ca_file: %s/ca.pem",
                 s->dir, s->dir, s->dir);
        snprintf(clients, sizeof clients, "clients: {ehr: {certificate: ehr}}\n");
    }
    send_case(s);
    snprintf(text, sizeof text,
             "hooks: {listen: \"127.0.0.1:0\", cors_origins: [\"https://ehr.example.org\"],"
             " body_bytes: 1000000%s}\n%s"
             "audit: {file: %s/audit.jsonl}\n"
             "endpoints: {ehr: {url: \"http://127.0.0.1:9/\"}}\n",
             hooks, clients, s->dir);
    stage_start(s, text, LOG_LEVEL_DEBUG, true);
    wait_until_ready(s);
    *state = s;
    return 0;
}

static int begin(void **state)
{
    return begin_with(state, false);
}

static int begin_tls(void **state)
{
    return begin_with(state, true);
}

static int end(void **state)
{
    stage *s = *state;
    stage_stop(s);
    stage_close(s);
    return 0;
}

/* ---- tests ---- */

#define VIEW                                                                                       \
    "{\"hook\":\"patient-view\",\"hookInstance\":\"" UUID                                          \
    "\",\"context\":{\"userId\":\"Practitioner/1\",\"patientId\":\"v5\"}}"

/* The records of a patient can come in several batches: what they say together is there after the
 * last of them. */
static void ask_until(stage *s, const char *part)
{
    int64_t begin = clock_monotonic_us() / 1000;
    do {
        assert_int_equal(ask(s, "POST", PATIENT_VIEW, "application/json", VIEW), 200);
    } while (strstr(s->body, part) == NULL && clock_monotonic_us() / 1000 - begin < PATIENCE_MS);
    says(s, part);
}

static void an_ehr_asks_and_is_answered(void **state)
{
    stage *s = *state;
    assert_int_equal(ask(s, "GET", "/cds-services", "text/plain", NULL), 200);
    says(s, "\"id\":\"osteoguard-patient-view\"");
    ask_until(s, "\"code\":\"D3\"");
    ask_until(s, "\"knownUntil\":\"20"); /* when the heartbeats have told */
    assert_int_equal(ask(s, "POST", PATIENT_VIEW, "application/json; charset=utf-8", VIEW), 200);
    assert_int_equal(ask(s, "OPTIONS", PATIENT_VIEW, "text/plain", NULL), 204);
}

/* The bytes of an answer, its headers with it. */
typedef struct raw {
    uv_poll_t poll;
    int fd;
    bool over, closed;
    char text[65536];
    size_t n;
} raw;

static void raw_ready(uv_poll_t *p, int status, int events)
{
    raw *r = p->data;
    (void)status;
    (void)events;
    ssize_t n = read(r->fd, r->text + r->n, sizeof r->text - 1 - r->n);
    r->n += n > 0 ? (size_t)n : 0;
    r->over = n <= 0 || r->n == sizeof r->text - 1;
    if (r->over)
        uv_poll_stop(p);
}

static void raw_closed(uv_handle_t *h)
{
    ((raw *)h->data)->closed = true;
}

static void ask_raw(stage *s, raw *r, const char *text)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)serve_hooks_port(s->serve)),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    memset(r, 0, sizeof *r);
    r->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(r->fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(write(r->fd, text, strlen(text)), strlen(text));
    assert_int_equal(uv_poll_init(&s->loop, &r->poll, r->fd), 0);
    r->poll.data = r;
    uv_poll_start(&r->poll, UV_READABLE, raw_ready);
    wait_for(s, "raw answer", &r->over);
    uv_close((uv_handle_t *)&r->poll, raw_closed);
    wait_for(s, "raw close", &r->closed);
    close(r->fd);
}

/* A browser asks first, and shows what it gets only to a page whose origin is named. */
static void browsers_may_call(void **state)
{
    stage *s = *state;
    raw r;
    ask_raw(s, &r,
            "OPTIONS " PATIENT_VIEW " HTTP/1.1\r\nHost: x\r\nConnection: "
            "close\r\nOrigin: https://ehr.example.org\r\nAccess-Control-Request-Method: POST\r\n"
            "Access-Control-Request-Headers: authorization, content-type\r\n\r\n");
    assert_non_null(strstr(r.text, "HTTP/1.1 204"));
    assert_non_null(strstr(r.text, "Access-Control-Allow-Origin: https://ehr.example.org\r\n"));
    assert_non_null(strstr(r.text, "Access-Control-Allow-Methods: GET, POST"));
    assert_non_null(strstr(r.text, "Access-Control-Allow-Headers: Authorization, Content-Type"));
    ask_raw(s, &r,
            "GET /cds-services HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            "Origin: https://ehr.example.org\r\n\r\n");
    assert_non_null(strstr(r.text, "HTTP/1.1 200"));
    assert_non_null(strstr(r.text, "Content-Type: application/json"));
    assert_non_null(strstr(r.text, "Access-Control-Allow-Origin: https://ehr.example.org\r\n"));
    ask_raw(s, &r,
            "GET /cds-services HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            "Origin: https://elsewhere.example.org\r\n\r\n");
    assert_non_null(strstr(r.text, "HTTP/1.1 200"));
    assert_null(strstr(r.text, "Access-Control-Allow-Origin"));
}

static void what_is_wrong_is_said(void **state)
{
    stage *s = *state;
    assert_int_equal(ask(s, "POST", "/cds-services/none", "application/json", VIEW), 404);
    says(s, "\"resourceType\":\"OperationOutcome\"");
    assert_int_equal(ask(s, "POST", PATIENT_VIEW, "text/plain", VIEW), 415);
    assert_int_equal(ask(s, "POST", PATIENT_VIEW, "application/json", "{"), 400);
    says(s, "\"code\":\"structure\"");
    assert_int_equal(
        ask(s, "POST", PATIENT_VIEW, "application/json", "{\"hook\":\"patient-view\"}"), 400);
    says(s, "hookInstance is required");
    says(s, "\"expression\":[\"hookInstance\"]");
    assert_int_equal(ask(s, "GET", PATIENT_VIEW, "text/plain", NULL), 405);
    assert_int_equal(
        ask(s, "POST", PATIENT_VIEW, "application/json",
            "{\"hook\":\"patient-view\",\"hookInstance\":\"" UUID
            "\",\"context\":{\"userId\":\"Practitioner/1\",\"patientId\":\"nobody\"}}"),
        412);
}

#define OTHER                                                                                      \
    "{\"resource\":{\"resourceType\":\"Observation\",\"id\":\"o%d\",\"status\":\"final\","         \
    "\"code\":{"                                                                                   \
    "\"text\":\"x\"},\"subject\":{\"reference\":\"Patient/"                                        \
    "v5\"},\"note\":[{\"text\":\"%0100d\"}]}}"

/* A request of more than 256 KB. */
static char *bulk_body(const char *patient)
{
    og_buf b;
    og_buf_init(&b, 1 << 20);
    og_buf_addf(&b,
                "{\"hook\":\"patient-view\",\"hookInstance\":\"" UUID "\",\"context\":{\"userId\":"
                "\"Practitioner/1\",\"patientId\":\"%s\"},\"prefetch\":{\"all\":{\"resourceType\":"
                "\"Bundle\",\"type\":\"searchset\",\"entry\":[",
                patient);
    for (int i = 0; i < 1500; i++) {
        og_buf_addz(&b, i > 0 ? "," : "");
        og_buf_addf(&b, OTHER, i, i);
    }
    og_buf_addz(&b, "]}}}");
    og_buf_addc(&b, '\0');
    assert_false(og_buf_failed(&b));
    return b.p;
}

typedef struct reply {
    bool answered;
    int status;
    bool has_card;
} reply;

static void on_reply(void *ctx, const http_response *r)
{
    reply *a = ctx;
    a->answered = true;
    a->status = r->status;
    a->has_card = r->body.n > 0 && memmem(r->body.p, r->body.n, "\"code\":\"D3\"", 11) != NULL;
}

static void send_view(stage *s, const char *body, reply *ret)
{
    char url[128];
    og_error err;
    og_error_init(&err);
    conn_header headers[] = {{"Content-Type", OG_STR("application/json")}};
    snprintf(url, sizeof url, "http://127.0.0.1:%d" PATIENT_VIEW, serve_hooks_port(s->serve));
    http_request q = {.method = "POST",
                      .url = url,
                      .headers = headers,
                      .header_count = 1,
                      .body = og_str_of(body)};
    *ret = (reply){false, 0, false};
    assert_int_equal(http_client_send(s->client, &q, on_reply, ret, NULL, &err), OG_OK);
}

/* A worker answers what brings much, while the loop goes on and content is replaced. */
static void what_brings_much_holds_nobody(void **state)
{
    stage *s = *state;
    char *body = bulk_body("v5");
    reply large[2], small;
    ask_until(s, "\"code\":\"D3\"");
    int64_t before = metric_value(METRIC_HOOK_BULKS), reloads = metric_value(METRIC_RELOADS);
    send_view(s, body, &large[0]);
    send_view(s, body, &large[1]);
    send_view(s, VIEW, &small);
    serve_reload(s->serve);
    wait_for(s, "small", &small.answered);
    wait_for(s, "large", &large[0].answered);
    wait_for(s, "large", &large[1].answered);
    assert_int_equal(small.status, 200);
    for (int i = 0; i < 2; i++)
        assert_true(large[i].status == 200 && large[i].has_card);
    assert_true(metric_value(METRIC_HOOK_BULKS) > before);
    wait_for_metric(s, METRIC_RELOADS, "reload", reloads + 1);
    free(body);
    body = bulk_body("nobody"); /* the resources are another patient's */
    send_view(s, body, &large[0]);
    wait_for(s, "unknown", &large[0].answered);
    assert_int_equal(large[0].status, 412);
    free(body);
}

/* Mutual TLS: who shows no certificate, or one that another authority signed, is nobody. */
static void a_certificate_lets_in(void **state)
{
    stage *s = *state;
    s->certificate = "client";
    assert_int_equal(ask(s, "POST", PATIENT_VIEW, "application/json", VIEW), 200);
    assert_int_equal(ask(s, "GET", "/cds-services", "text/plain", NULL), 200);
    s->certificate = NULL;
    assert_int_equal(ask(s, "POST", PATIENT_VIEW, "application/json", VIEW), 401);
    assert_string_equal(s->body, "");
    assert_int_equal(ask(s, "GET", "/cds-services", "text/plain", NULL), 401);
    s->certificate = "stranger";
    assert_int_not_equal(ask(s, "POST", PATIENT_VIEW, "application/json", VIEW), 200);
}

/* What is posted goes the way of every event: over the source topic. */
static void resources_come_over_http_too(void **state)
{
    stage *s = *state;
    const char *const json = "application/fhir+json";
    int64_t messages = metric_value(METRIC_MESSAGES);
    assert_int_equal(ask(s, "POST", "/fhir", json, "{\"resourceType\":\"Patient\",\"id\":\"p9\"}"),
                     200);
    says(s, "taken as fhir.bundle[0]@1");
    assert_int_equal(ask(s, "PUT", "/fhir/Patient/p9", json,
                         "{\"resourceType\":\"Patient\",\"id\":\"p9\",\"active\":true}"),
                     200);
    assert_int_equal(ask(s, "DELETE", "/fhir/Patient/p9", json, NULL), 200);
    assert_int_equal(
        ask(s, "POST", "/fhir", json,
            "{\"resourceType\":\"Bundle\",\"type\":\"history\",\"entry\":[{\"resource\":{"
            "\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"type\",\"valueCode\":"
            "\"event-notification\"}]}},{\"fullUrl\":\"https://e/Patient/p9\",\"resource\":{"
            "\"resourceType\":\"Patient\",\"id\":\"p9\"},\"request\":{\"method\":\"PUT\",\"url\":"
            "\"Patient/p9\"}}]}"),
        200);
    wait_for_metric(s, METRIC_MESSAGES, "messages", messages + 4);
    assert_int_equal(metric_value(METRIC_DEAD_LETTERS), 0);
}

static void what_is_no_resource_is_refused(void **state)
{
    stage *s = *state;
    const char *const json = "application/fhir+json";
    static const struct {
        const char *method, *path, *body;
        int status;
    } table[] = {
        {"POST", "/fhir", "{", 400},
        {"POST", "/fhir", "{\"resourceType\":\"Nothing\"}", 400},
        {"POST", "/fhir", "[]", 400},
        {"PUT", "/fhir/Patient/a", "{\"resourceType\":\"Patient\",\"id\":\"b\"}", 400},
        {"PUT", "/fhir/Patient/a", "{\"resourceType\":\"Condition\",\"id\":\"a\"}", 400},
        {"PUT", "/fhir/Patient", "{\"resourceType\":\"Patient\",\"id\":\"b\"}", 404},
        {"DELETE", "/fhir/Nothing/a", NULL, 404},
        {"GET", "/fhir", NULL, 405},
        {"POST", "/fhir",
         "{\"resourceType\":\"Bundle\",\"type\":\"subscription-notification\",\"entry\":[{"
         "\"resource\":{\"resourceType\":\"SubscriptionStatus\",\"type\":\"heartbeat\"}}]}",
         200},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (ask(s, table[i].method, table[i].path, json, table[i].body) != table[i].status)
            fail_msg("row %zu: %d\n%s", i, s->status, s->body);
    assert_int_equal(
        ask(s, "POST", "/fhir", "text/plain", "{\"resourceType\":\"Patient\",\"id\":\"b\"}"), 415);
}

#define FEEDBACK PATIENT_VIEW "/feedback"

/* The card of rule D3 in the last answer. */
static void copy_uuid(const stage *s, char out[64])
{
    const char *card = strstr(s->body, "{\"uuid\":\"");
    const char *rule = strstr(s->body, "\"code\":\"D3\"");
    assert_non_null(rule);
    for (const char *next = card; next != NULL && next < rule;
         next = strstr(next + 1, "{\"uuid\":\""))
        card = next;
    assert_non_null(card);
    snprintf(out, 37, "%s", card + strlen("{\"uuid\":\""));
}

static void what_is_overridden_is_not_answered_again(void **state)
{
    stage *s = *state;
    char uuid[64], body[1024];
    ask_until(s, "\"code\":\"D3\"");
    copy_uuid(s, uuid);
    snprintf(body, sizeof body,
             "{\"feedback\":[{\"card\":\"%s\",\"outcome\":\"overridden\",\"outcomeTimestamp\":"
             "\"2026-03-01T07:59:00Z\"}]}",
             uuid);
    for (int i = 0; i < 2; i++) { /* a repeat is as good as the first */
        assert_int_equal(ask(s, "POST", FEEDBACK, "application/json", body), 200);
        assert_string_equal(s->body, "");
    }
    int64_t begin = clock_monotonic_us() / 1000;
    do {
        assert_int_equal(ask(s, "POST", PATIENT_VIEW, "application/json", VIEW), 200);
    } while (strstr(s->body, "\"code\":\"D3\"") != NULL &&
             clock_monotonic_us() / 1000 - begin < PATIENCE_MS);
    assert_null(strstr(s->body, "\"code\":\"D3\""));
    wait_for_metric(s, METRIC_OVERRIDES, "override", 1); /* counted after the store has it */
    assert_int_equal(metric_value(METRIC_OVERRIDES), 1); /* the repeat does not count */
    assert_true(metric_says("osteoguard_overrides_total{rule=\"D3\",reason=\"none\"} 1"));
    assert_true(metric_says("osteoguard_rule_alerts_total{rule=\"D3\",event=\"overridden\"} 1"));
}

static void bad_feedback_is_refused(void **state)
{
    stage *s = *state;
    assert_int_equal(ask(s, "POST", FEEDBACK, "application/json",
                         "{\"feedback\":[{\"card\":\"" UUID "\",\"outcome\":\"BANANA\"}]}"),
                     400);
    says(s, "\"resourceType\":\"OperationOutcome\"");
    says(s, "\"expression\":[\"feedback[0].outcome\"]");
    assert_int_equal(ask(s, "POST", FEEDBACK, "application/json", "{"), 400);
    assert_int_equal(ask(s, "POST", FEEDBACK, "text/plain", "{}"), 415);
    assert_int_equal(ask(s, "POST", "/cds-services/none/feedback", "application/json", "{}"), 404);
    assert_int_equal(ask(s, "GET", FEEDBACK, "text/plain", NULL), 405);
}

/* What the tests before have asked and said stands in the audit log. */
static void it_stands_in_the_audit_log(void **state)
{
    static const char *const parts[] = {
        "\"reference\":\"Patient/v5\"",
        "\"reference\":\"Practitioner/1\"",
        "\"type\":\"card\",\"valueString\":\"D3 ",
        "\"outcomeDesc\":\"400\"",
        "\"type\":\"feedback\",\"valueString\":\"",
        " overridden ",
    };
    const stage *s = *state;
    char path[128];
    audit_chain chain;
    og_error err;
    snprintf(path, sizeof path, "%s/audit.jsonl", s->dir);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(audit_chain_begin(&chain, NULL));
    assert_int_equal(audit_verify(&chain, file, path, &err), OG_OK);
    assert_true(chain.last > 0);
    rewind(file);
    /* line by line: the tests above ask until they are answered, so how long it is nobody knows */
    bool found[sizeof parts / sizeof parts[0]] = {false};
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, file) != -1)
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
            found[i] = found[i] || strstr(line, parts[i]) != NULL;
    free(line);
    fclose(file);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!found[i])
            fail_msg("\"%s\" is not in the audit log", parts[i]);
}

/* The patient of the case V2 with nothing ordered. */
static void send_without_order(stage *s)
{
    size_t i;
    json_t *entry, *root = json_load_file(OG_SOURCE_DIR "/rules/content/cases/V2.json", 0, NULL);
    json_t *entries = json_object_get(json_object_get(root, "bundle"), "entry");
    json_array_foreach(entries, i, entry)
    {
        const json_t *id = json_object_get(json_object_get(entry, "resource"), "id");
        if (strcmp(json_string_value(id), "v2-order") == 0)
            json_array_remove(entries, i--);
    }
    char *text = json_dumps(json_object_get(root, "bundle"), JSON_COMPACT);
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, "Patient/v2", text, strlen(text));
    free(text);
    json_decref(root);
}

#define ORDER_SIGN "/cds-services/osteoguard-order-sign"
#define SIGN                                                                                       \
    "{\"hook\":\"order-sign\",\"hookInstance\":\"" UUID                                            \
    "\",\"context\":{\"userId\":\"Practitioner/1\",\"patientId\":\"v2\",\"draftOrders\":{"         \
    "\"resourceType\":\"Bundle\",\"entry\":[{\"resource\":{\"resourceType\":"                      \
    "\"MedicationRequest\",\"id\":\"d1\",\"status\":\"draft\",\"intent\":\"order\","               \
    "\"medicationCodeableConcept\":{\"coding\":[{\"system\":\"http://www.whocc.no/atc\",\"code\":" \
    "\"M05BA08\"}]},\"dosageInstruction\":[{\"doseAndRate\":[{\"doseQuantity\":{\"value\":4,"      \
    "\"unit\":\"mg\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mg\"}}]}]}}]}}}"

/* No alert stands behind the card of a draft, and yet it counts: once, with what is said of it. */
static void a_drafts_card_counts(void **state)
{
    stage *s = *state;
    char body[1024], uuid[37];
    int64_t begin = clock_monotonic_us() / 1000, overrides = metric_value(METRIC_OVERRIDES);
    send_without_order(s);
    while (ask(s, "POST", ORDER_SIGN, "application/json", SIGN) != 200 ||
           strstr(s->body, "\"code\":\"C1\"") == NULL)
        wait_a_turn(s, "card of the draft", begin);
    snprintf(uuid, sizeof uuid, "%s", strstr(s->body, "\"uuid\":\"") + strlen("\"uuid\":\""));
    begin = clock_monotonic_us() / 1000;
    while (!metric_says("osteoguard_rule_alerts_total{rule=\"C1\",event=\"shown\"} 1"))
        wait_a_turn(s, "count of the card", begin);
    assert_int_equal(ask(s, "POST", ORDER_SIGN, "application/json", SIGN), 200);
    says(s, uuid);
    snprintf(body, sizeof body,
             "{\"feedback\":[{\"card\":\"%s\",\"outcome\":\"overridden\",\"overrideReason\":{"
             "\"reason\":{\"code\":\"benefit\",\"system\":\"https://osteoguard.org/fhir/CodeSystem/"
             "override-reason\"}},\"outcomeTimestamp\":\"2026-03-01T08:00:00Z\"}]}",
             uuid);
    assert_int_equal(ask(s, "POST", ORDER_SIGN "/feedback", "application/json", body), 200);
    wait_for_metric(s, METRIC_OVERRIDES, "override", overrides + 1);
    assert_true(metric_says("osteoguard_overrides_total{rule=\"C1\",reason=\"benefit\"} 1"));
    assert_true(metric_says("osteoguard_rule_alerts_total{rule=\"C1\",event=\"shown\"} 1"));
    assert_false(metric_says("osteoguard_rule_alerts_total{rule=\"C1\",event=\"opened\"}"));
    assert_int_equal(metric_value(METRIC_HOOK_UNNOTED), 0);
    assert_int_equal(ask(s, "POST", ORDER_SIGN, "application/json", SIGN), 200);
    assert_null(strstr(s->body, uuid));
}

int main(void)
{
    const struct CMUnitTest plain[] = {
        cmocka_unit_test(an_ehr_asks_and_is_answered),
        cmocka_unit_test(browsers_may_call),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(what_brings_much_holds_nobody),
        cmocka_unit_test(bad_feedback_is_refused),
        cmocka_unit_test(what_is_overridden_is_not_answered_again),
        cmocka_unit_test(it_stands_in_the_audit_log),
        cmocka_unit_test(resources_come_over_http_too),
        cmocka_unit_test(what_is_no_resource_is_refused),
        cmocka_unit_test(a_drafts_card_counts),
    };
    const struct CMUnitTest tls[] = {
        cmocka_unit_test(a_certificate_lets_in),
    };
    int failed = cmocka_run_group_tests(plain, begin, end);
    return failed + cmocka_run_group_tests(tls, begin_tls, end);
}
