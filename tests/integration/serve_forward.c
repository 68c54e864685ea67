/* A call of a CDS service that reaches an instance which does not own the patient, and is handed to
 * the one that does: over two instances, with a third that only pretends to be one. */
#include "../unit/fhir_standin.h"

#include "asking_stage.h"
#include "metric_says.h"

#include "daemon/forward.h"

#define SECRET  "a secret of these two instances, and of the test"
#define FAKE_ID "ffffffff-0000-4000-8000-00000000000f"

/* ---- two instances ---- */

/* Each writes an audit log of its own. more: further lines for both. */
static void start_two(stage *s, const char *more)
{
    static char text[2][2048];
    char path[128];
    snprintf(path, sizeof path, "%s/secret", s->dir);
    assert_int_equal(file_write(path, OG_STR(SECRET "\n"), NULL), OG_OK);
    metrics_reset();
    for (int i = 0; i < 2; i++) {
        snprintf(text[i], sizeof text[i],
                 "hooks: {listen: \"127.0.0.1:0\", instance_url: \"http://127.0.0.1:0/\", "
                 "instance_secret_file: %s/secret, forward_budget_ms: 20000, "
                 "fetch_budget_ms: 20000, deadline_ms: 60000}\n"
                 "audit: {file: %s/audit-%d}\n%s",
                 s->dir, s->dir, i, more);
        s->more = text[i];
        start_member(s, i);
    }
    wait_until(s, "both own partitions", both_own_some);
}

static size_t audited(const stage *s, int number, const char *needle)
{
    char path[128];
    size_t lines = 0;
    og_buf text;
    og_buf_init(&text, 4 << 20);
    snprintf(path, sizeof path, "%s/audit-%d", s->dir, number);
    assert_int_equal(file_read(path, 4 << 20, &text, NULL), OG_OK);
    og_buf_addc(&text, '\0');
    for (const char *at = strstr(text.p, needle); at != NULL; at = strstr(at + 1, needle))
        lines++;
    og_buf_done(&text);
    return lines;
}

/* Its patient has been evaluated. */
static bool owner_has_cards(stage *s)
{
    return ask(s, owner_of(s, "v5"), "") == 200 && strstr(call.body, "\"uuid\"") != NULL;
}

static bool other_passes_on(stage *s)
{
    return ask(s, 1 - owner_of(s, "v5"), "") == 200;
}

/* A patient of this one whom nobody knows. */
static void stranger_of(const stage *s, int number, char out[16])
{
    for (int i = 0; i < 1000; i++) {
        snprintf(out, 16, "nobody-%d", i);
        if (owner_of(s, out) == number)
            return;
    }
    fail_msg("no patient for %d", number);
}

static void a_call_reaches_the_owner_wherever_it_comes(void **state)
{
    char from_owner[sizeof call.body], nobody[16];
    stage *s = stage_new();
    json_t *records = records_of_v5();
    (void)state;
    open_client(s);
    start_two(s, "");
    send_records(s, records);
    wait_until(s, "the owner has cards", owner_has_cards);
    wait_until(s, "the other one passes the call on", other_passes_on);
    int owner = owner_of(s, "v5"), other = 1 - owner;
    assert_int_equal(ask(s, owner, ""), 200);
    assert_non_null(strstr(call.body, "\"uuid\""));
    memcpy(from_owner, call.body, sizeof from_owner);

    int64_t calls = metric_value(METRIC_HOOK_CALLS), taken = metric_value(METRIC_FORWARDED);
    size_t lines[] = {audited(s, 0, "\"seq\":"), audited(s, 1, "\"seq\":")};
    size_t cards = audited(s, other, "\"type\":\"card\"");
    assert_int_equal(ask(s, other, ""), 200);
    assert_string_equal(call.body, from_owner);
    /* counted as one call, and in one audit log: that of who was asked */
    assert_int_equal(metric_value(METRIC_HOOK_CALLS), calls + 1);
    assert_int_equal(metric_value(METRIC_FORWARDED), taken + 1);
    assert_int_equal(audited(s, owner, "\"seq\":"), lines[owner]);
    assert_int_equal(audited(s, other, "\"seq\":"), lines[other] + 1);
    assert_true(audited(s, other, "\"type\":\"card\"") > cards);
    assert_true(metric_says("osteoguard_cds_forwards_total{result=\"relayed\"}"));

    /* That nothing is known is an answer, too. */
    stranger_of(s, owner, nobody);
    assert_int_equal(ask_with(s, other, call_body(nobody, ""), (conn_header){NULL, {NULL, 0}}),
                     412);
    assert_non_null(strstr(call.body, "nothing is known of this patient"));
    assert_true(
        metric_says("osteoguard_cds_forwarded_total{hook=\"patient-view\",status=\"412\"} 1"));

    json_decref(records);
    close_client(s);
    stage_free(s);
}

/* ---- an instance that only pretends ---- */

typedef enum fake_mode { HANGS, LIES, FAILS, IS_BUSY, HAS_MOVED, ANSWERS } fake_mode;

typedef struct fake {
    forward *forward;
    http_server *server;
    http_exchange *held[64];
    size_t held_count;
    fake_mode mode;
    int asked;
    bool closed;
} fake;

static void answer_sealed(const fake *f, http_exchange *x, int status, const char *text)
{
    char seal[FORWARD_MARK];
    forward_visit v;
    assert_string_equal(forward_verify(f->forward, http_exchange_header(x, FORWARD_HEADER),
                                       http_exchange_path(x), http_exchange_body(x),
                                       clock_wall_ms(), &v),
                        "");
    assert_string_equal(v.client, "");
    assert_true(v.budget_ms > 0 && v.budget_ms <= 20000);
    forward_seal(f->forward, v.nonce, status, og_str_of(text), seal);
    http_exchange_add_header(x, FORWARD_SEAL, seal);
    http_exchange_answer(x, status, "application/json", og_str_of(text));
}

static void on_fake_call(void *ctx, http_exchange *x)
{
    fake *f = ctx;
    f->asked++;
    if (f->mode == HANGS) {
        assert_true(f->held_count < 64);
        f->held[f->held_count++] = x;
    } else if (f->mode == LIES) {
        http_exchange_answer(x, 200, "application/json", OG_STR("{\"cards\":[]}"));
    } else {
        answer_sealed(f, x,
                      f->mode == FAILS     ? 500
                      : f->mode == IS_BUSY ? 503
                      : f->mode == ANSWERS ? 200
                                           : 421,
                      "{\"cards\":[], \"who\":\"another one\"}");
    }
}

static void answer_what_is_held(fake *f)
{
    f->mode = ANSWERS;
    while (f->held_count > 0)
        answer_sealed(f, f->held[--f->held_count], 200, "{\"cards\":[]}");
}

/* Says in its name that it has all partitions; newer than what its owners say for a while. */
static void announce_fake(stage *s, const fake *f)
{
    og_buf word;
    og_buf_init(&word, 4096);
    forward_announce(f->forward, OG_STR("0,1,2"), false, clock_wall_ms() + 25000, &word);
    mock_kafka_put(&s->kafka, "osteoguard.shared", 0, RECORD_INSTANCE FAKE_ID, word.p, word.n);
    og_buf_done(&word);
}

static fake *fake_new(stage *s)
{
    char url[64];
    fake *f = calloc(1, sizeof *f);
    assert_non_null(f);
    const http_route routes[] = {{"POST", "/cds-services/*", on_fake_call, f, 0}};
    http_server_options o = {.routes = routes, .route_count = 1};
    assert_int_equal(http_server_new(&s->loop, &o, &f->server, NULL), OG_OK);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", http_server_port(f->server));
    assert_int_equal(forward_new(OG_STR(SECRET), FAKE_ID, url, &f->forward, NULL), OG_OK);
    return f;
}

static fake *pretender;

static bool fake_is_closed(stage *s)
{
    (void)s;
    return pretender->closed;
}

static void fake_free(stage *s, fake *f)
{
    http_server_close(f->server, 0, on_closed, &f->closed);
    wait_until(s, "the pretender closed", fake_is_closed);
    forward_free(f->forward);
    free(f);
}

static bool fake_is_asked(stage *s)
{
    int before = pretender->asked;
    (void)ask(s, 1 - owner_of(s, "v5"), "");
    return pretender->asked > before;
}

/* Waits until it is asked, also because it was left alone for a moment; then it is as mode says. */
static void pretend(stage *s, fake_mode mode)
{
    pretender->mode = ANSWERS;
    announce_fake(s, pretender);
    wait_until(s, "the pretender is asked", fake_is_asked);
    pretender->mode = mode;
}

static void whoever_does_not_answer_is_passed_over(void **state)
{
    char with[512], more[256];
    stage *s = stage_new();
    standin *ehr = standin_new(&s->loop, "{\"alg\":\"ES384\"}", 0);
    fake *f = fake_new(s);
    (void)state;
    pretender = f;
    ehr->records = records_of_v5();
    snprintf(more, sizeof more, "fhir_servers: {theirs: {url: \"http://127.0.0.1:%d/open\"}}\n",
             standin_port(ehr));
    snprintf(with, sizeof with,
             ",\"fhirServer\":\"http://127.0.0.1:%d/open\",\"fhirAuthorization\":{\"access_token\":"
             "\"own\",\"token_type\":\"Bearer\",\"expires_in\":300,\"scope\":\"patient/*.rs\","
             "\"subject\":\"us\",\"patient\":\"v5\"}",
             standin_port(ehr));
    open_client(s);
    start_two(s, more);
    send_records(s, ehr->records);
    wait_until(s, "the owner has cards", owner_has_cards);
    wait_until(s, "the other one passes the call on", other_passes_on);
    int other = 1 - owner_of(s, "v5");

    /* Its answer is taken byte for byte, when its mark is there. */
    pretend(s, ANSWERS);
    assert_int_equal(ask(s, other, ""), 200);
    assert_string_equal(call.body, "{\"cards\":[], \"who\":\"another one\"}");

    static const struct {
        fake_mode mode;
        const char *result;
    } ways[] = {{LIES, "unsealed"}, {FAILS, "failed"}, {IS_BUSY, "busy"}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        char line[96];
        pretend(s, ways[i].mode);
        assert_int_equal(ask(s, other, ""), 503);
        assert_string_equal(call.retry_after, "1");
        assert_non_null(strstr(call.body, "another instance has the records of this patient"));
        snprintf(line, sizeof line, "osteoguard_cds_forwards_total{result=\"%s\"} 1",
                 ways[i].result);
        assert_true(metric_says(line));
    }

    /* What it has not answered in time is answered from the EHR's server. */
    pretend(s, HANGS);
    s->at[other].config->hooks_forward_budget_ms = 50;
    assert_int_equal(ask(s, other, with), 200);
    assert_non_null(strstr(call.body, "\"fetched\":true"));
    assert_int_equal(f->held_count, 1);
    assert_true(metric_says("osteoguard_cds_forwards_total{result=\"timeout\"} 1"));
    http_exchange_answer(f->held[--f->held_count], 200, NULL, OG_STR(""));

    /* It does not have the partition: the next call goes to who has. */
    s->at[other].config->hooks_forward_budget_ms = 20000;
    pretend(s, HAS_MOVED);
    assert_int_equal(ask(s, other, ""), 503);
    assert_true(metric_says("osteoguard_cds_forwards_total{result=\"moved\"} 1"));
    assert_int_equal(ask(s, other, ""), 200);
    assert_null(strstr(call.body, "another one"));
    assert_non_null(strstr(call.body, "\"uuid\""));

    close_client(s);
    for (int i = 0; i < 2; i++)
        stop_member(s, i);
    fake_free(s, f);
    standin_free(ehr, &s->loop);
    stage_free(s);
}

/* ---- many at once ---- */

enum { AT_ONCE = 64 }; /* calls that one instance has on their way */

static int answers[600]; /* by status */

static void on_one_of_many(void *ctx, const http_response *r)
{
    (void)ctx;
    assert_in_range(r->status, 1, 599);
    answers[r->status]++;
}

static bool fake_holds_one(stage *s)
{
    (void)s;
    return pretender->held_count == 1;
}

static bool one_is_answered(stage *s)
{
    (void)s;
    return answers[503] + answers[200] > 0;
}

static bool all_are_answered(stage *s)
{
    (void)s;
    return answers[503] + answers[200] == AT_ONCE + 1;
}

static void no_more_than_some_are_on_their_way(void **state)
{
    char url[128];
    stage *s = stage_new();
    fake *f = fake_new(s);
    (void)state;
    pretender = f;
    open_client(s);
    start_two(s, "");
    int other = 1 - owner_of(s, "v5");
    pretend(s, HANGS);
    memset(answers, 0, sizeof answers);
    snprintf(url, sizeof url, "http://127.0.0.1:%d" PATIENT_VIEW,
             serve_hooks_port(s->at[other].serve));
    conn_header header = {"Content-Type", OG_STR("application/json")};
    http_request q = {
        .url = url, .headers = &header, .header_count = 1, .body = call_body("v5", "")};
    for (int i = 0; i < AT_ONCE + 1; i++)
        assert_int_equal(http_client_send(call.client, &q, on_one_of_many, NULL, NULL, NULL),
                         OG_OK);
    wait_until(s, "the one that is too much", one_is_answered);
    assert_int_equal(answers[503], 1);
    assert_true(metric_says("osteoguard_cds_forwards_total{result=\"full\"} 1"));
    answer_what_is_held(f);
    wait_until(s, "the others", all_are_answered);
    assert_int_equal(answers[200], AT_ONCE);
    assert_int_equal(ask(s, other, ""), 200); /* there is room again */

    /* Whoever stops answers those that wait. */
    pretend(s, HANGS);
    memset(answers, 0, sizeof answers);
    assert_int_equal(http_client_send(call.client, &q, on_one_of_many, NULL, NULL, NULL), OG_OK);
    wait_until(s, "the call has come", fake_holds_one);
    stop_member(s, other);
    wait_until(s, "the last answer", one_is_answered);
    assert_int_equal(answers[503], 1);
    answer_what_is_held(f);

    close_client(s);
    stop_member(s, 1 - other);
    fake_free(s, f);
    stage_free(s);
}

/* ---- who calls ---- */

/* Its token is judged where the call comes; the owner knows whose call it is. */
static int ask_with_token(stage *s, int number, const json_t *key)
{
    static unsigned count;
    char claims[512], header[4096];
    long long now_s = (long long)(clock_wall_ms() / 1000);
    snprintf(claims, sizeof claims,
             "{\"iss\":\"https://ehr\",\"aud\":\"https://cds\",\"iat\":%lld,\"exp\":%lld,\"jti\":"
             "\"t-%u\"}",
             now_s, now_s + 300, count++);
    char *token = token_of("{\"alg\":\"ES384\",\"kid\":\"k\",\"typ\":\"JWT\"}", claims, key);
    snprintf(header, sizeof header, "Bearer %s", token);
    free(token);
    return ask_with(s, number, call_body("v5", ""),
                    (conn_header){"Authorization", og_str_of(header)});
}

static json_t *ehr_key;

static bool owner_has_cards_for_the_ehr(stage *s)
{
    return ask_with_token(s, owner_of(s, "v5"), ehr_key) == 200 &&
           strstr(call.body, "\"uuid\"") != NULL;
}

static bool other_passes_on_for_the_ehr(stage *s)
{
    return ask_with_token(s, 1 - owner_of(s, "v5"), ehr_key) == 200;
}

static void the_client_is_let_in_once_and_named_once(void **state)
{
    char more[512], path[128], from_owner[sizeof call.body];
    stage *s = stage_new();
    json_t *records = records_of_v5();
    (void)state;
    ehr_key = key_new("{\"alg\":\"ES384\"}", "k");
    char *keys = set_of(&ehr_key, 1);
    snprintf(path, sizeof path, "%s/keys", s->dir);
    assert_int_equal(file_write(path, og_str_of(keys), NULL), OG_OK);
    free(keys);
    snprintf(
        more, sizeof more,
        "clients: {the-ehr: {issuer: \"https://ehr\", audiences: [\"https://cds\"], jwks_file: "
        "%s/keys}}\n",
        s->dir);
    open_client(s);
    start_two(s, more);
    send_records(s, records);
    wait_until(s, "the owner has cards", owner_has_cards_for_the_ehr);
    memcpy(from_owner, call.body, sizeof from_owner);
    wait_until(s, "the other one passes the call on", other_passes_on_for_the_ehr);
    int owner = owner_of(s, "v5"), other = 1 - owner;
    size_t before[] = {audited(s, 0, "\"display\":\"the-ehr\""),
                       audited(s, 1, "\"display\":\"the-ehr\"")};
    assert_int_equal(ask_with_token(s, other, ehr_key), 200);
    assert_string_equal(call.body, from_owner);
    assert_int_equal(audited(s, other, "\"display\":\"the-ehr\""), before[other] + 1);
    assert_int_equal(audited(s, owner, "\"display\":\"the-ehr\""), before[owner]);
    /* A stranger gets nowhere, and nobody is asked for him. */
    int64_t forwards = metric_value(METRIC_FORWARDS);
    assert_int_equal(ask(s, other, ""), 401);
    assert_int_equal(metric_value(METRIC_FORWARDS), forwards);

    json_decref(ehr_key);
    json_decref(records);
    close_client(s);
    stage_free(s);
}

/* ---- forged calls ---- */

/* A call to `number` in the name of the pretender. */
static int ask_signed(stage *s, int number, og_str secret, const char *client, const char *patient)
{
    static char header[1024];
    forward *f;
    og_buf b;
    forward_call c = {.to = SERVE_SHARED(s->at[number].serve)->id,
                      .client = client,
                      .path = OG_STR(PATIENT_VIEW),
                      .body = call_body(patient, ""),
                      .budget_ms = 20000};
    assert_int_equal(forward_new(secret, FAKE_ID, "http://127.0.0.1", &f, NULL), OG_OK);
    uuid_random(c.nonce);
    og_buf_init(&b, sizeof header);
    forward_sign(f, &c, clock_wall_ms(), &b);
    snprintf(header, sizeof header, "%.*s", OG_STR_ARG(og_buf_str(&b)));
    og_buf_done(&b);
    forward_free(f);
    return ask_with(s, number, c.body, (conn_header){FORWARD_HEADER, og_str_of(header)});
}

static bool signed_call_is_answered(stage *s)
{
    return ask_signed(s, owner_of(s, "v5"), OG_STR(SECRET), "ehr", "v5") == 200 &&
           strstr(call.body, "\"uuid\"") != NULL;
}

static void a_forged_call_is_refused_and_none_goes_on(void **state)
{
    char more[512], path[128];
    stage *s = stage_new();
    json_t *records = records_of_v5();
    (void)state;
    snprintf(path, sizeof path, "%s/keys", s->dir);
    assert_int_equal(file_write(path, OG_STR("{\"keys\":[]}"), NULL), OG_OK);
    snprintf(more, sizeof more,
             "clients: {ehr: {issuer: \"https://ehr\", audiences: [\"https://cds\"], jwks_file: "
             "%s/keys}, narrow: {issuer: \"https://n\", audiences: [\"https://cds\"], jwks_file: "
             "%s/keys, services: [osteoguard-order-sign]}}\n",
             s->dir, s->dir);
    open_client(s);
    start_two(s, more);
    send_records(s, records);
    wait_until(s, "a call in another one's name is answered", signed_call_is_answered);
    int owner = owner_of(s, "v5"), other = 1 - owner;
    assert_non_null(strstr(call.body, "\"uuid\""));
    assert_int_equal(audited(s, owner, "\"seq\":"), 0); /* who was asked audits it */

    /* Who is not who it says: no client, one that nobody knows, one that may not. */
    assert_int_equal(ask_signed(s, owner, OG_STR(SECRET), "", "v5"), 401);
    assert_int_equal(ask_signed(s, owner, OG_STR(SECRET), "nobody", "v5"), 401);
    assert_int_equal(ask_signed(s, owner, OG_STR(SECRET), "narrow", "v5"), 403);
    /* Another secret, a word that is none, one that was good once. */
    og_str guess = OG_STR("a secret of somebody else who would like to know");
    assert_int_equal(ask_signed(s, owner, guess, "ehr", "v5"), 401);
    assert_string_equal(call.body, "");
    conn_header nonsense = {FORWARD_HEADER, OG_STR("yes")};
    assert_int_equal(ask_with(s, owner, call_body("v5", ""), nonsense), 401);
    assert_int_equal(audited(s, owner, "\"seq\":"), 4); /* the attempts */
    assert_true(metric_says("osteoguard_cds_refused_total{why=\"forward\"} 4"));
    assert_int_equal(ask(s, owner, ""), 401); /* without a word in whose name, as ever */

    /* Who does not have the patient says so, and asks nobody. */
    int64_t forwards = metric_value(METRIC_FORWARDS);
    assert_int_equal(ask_signed(s, other, OG_STR(SECRET), "ehr", "v5"), 421);
    assert_int_equal(metric_value(METRIC_FORWARDS), forwards);

    json_decref(records);
    close_client(s);
    stage_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_reaches_the_owner_wherever_it_comes),
        cmocka_unit_test(whoever_does_not_answer_is_passed_over),
        cmocka_unit_test(no_more_than_some_are_on_their_way),
        cmocka_unit_test(the_client_is_let_in_once_and_named_once),
        cmocka_unit_test(a_forged_call_is_refused_and_none_goes_on),
    };
    cmocka_set_test_filter(getenv("OG_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
