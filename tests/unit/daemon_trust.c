/* Callers of the CDS services: who is let in, once, how often, and where keys come from. */
#include "jwt_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connectors/http_server.h"
#include "daemon/clock.h"
#include "daemon/file.h"
#include "daemon/log.h"
#include "daemon/metrics.h"
#include "daemon/trust.h"

#define NOW_MS      1772352000000
#define PATIENCE_MS 30000

typedef struct stage {
    uv_loop_t loop;
    char dir[64], keys_path[96];
    config *config;
    http_client *client;
    http_server *server;
    trust *trust;
    json_t *k1, *k2;
    char *served; /* what the key server answers */
    int served_status, fetches;
    int64_t now_ms, steady_ms;
    bool answered, closed;
    trust_verdict verdict;
    const config_client *who;
    const char *certificate; /* the caller shows one for this name */
    unsigned next_jti;
} stage;

static int64_t now_ms(void *ctx)
{
    return ((stage *)ctx)->now_ms;
}

static int64_t steady_ms(void *ctx)
{
    return ((stage *)ctx)->steady_ms;
}

static void on_keys_asked(void *ctx, http_exchange *x)
{
    stage *s = ctx;
    s->fetches++;
    http_exchange_answer(x, s->served_status, "application/json", og_str_of(s->served));
}

static void quiet(void *ctx, og_str line)
{
    (void)ctx;
    (void)line;
}

static void print_problem(void *ctx, const og_error *err)
{
    (void)ctx;
    print_error("%s:%u: %s\n", err->origin, err->line, err->text);
}

static void write_keys(stage *s, json_t *const *keys, size_t count)
{
    char *text = set_of(keys, count);
    assert_int_equal(file_write(s->keys_path, og_str_of(text), NULL), OG_OK);
    free(text);
}

static void on_closed(void *ctx)
{
    ((stage *)ctx)->closed = true;
}

static void turn(stage *s, const bool *flag)
{
    int64_t begin = clock_monotonic_us() / 1000;
    while (!*flag) {
        if (clock_monotonic_us() / 1000 - begin > PATIENCE_MS)
            fail_msg("waited too long");
        uv_run(&s->loop, UV_RUN_ONCE);
    }
}

static void open_trust(stage *s)
{
    char text[2048];
    og_report report = {.fn = print_problem};
    trust_options o = {
        .loop = &s->loop, .client = s->client, .now_ms = now_ms, .steady_ms = steady_ms, .ctx = s};
    snprintf(text, sizeof text,
             "hooks: {cert_file: %s, key_file: %s, client_ca_file: %s}\n"
             "endpoints: {out: {url: \"http://127.0.0.1:9/\"}}\n"
             "clients:\n"
             "  file: {issuer: \"https://a\", audiences: [\"https://cds\"], jwks_file: %s,"
             " jku: \"https://a/keys\"}\n"
             "  net: {issuer: \"https://b\", audiences: [\"https://cds\"], jwks_url: "
             "\"http://127.0.0.1:%d/keys\", services: [x, y], calls_per_second: 1}\n"
             "  card: {certificate: ehr.example.org}\n",
             s->keys_path, s->keys_path, s->keys_path, s->keys_path, http_server_port(s->server));
    assert_int_equal(config_parse(og_str_of(text), "test.yaml", NULL, &s->config, &report, NULL),
                     OG_OK);
    o.config = s->config;
    s->trust = trust_new(&o);
    assert_non_null(s->trust);
}

static int begin(void **state)
{
    stage *s = calloc(1, sizeof *s);
    og_error err;
    const http_route routes[] = {{"GET", "/keys", on_keys_asked, s, 0}};
    http_server_options server = {.routes = routes, .route_count = 1};
    http_client_options client = {0};
    og_error_init(&err);
    if (s == NULL)
        return 1;
    metrics_reset();
    log_sink(quiet, NULL);
    strcpy(s->dir, "/tmp/og-trust-XXXXXX");
    if (mkdtemp(s->dir) == NULL)
        return 1;
    snprintf(s->keys_path, sizeof s->keys_path, "%s/keys.json", s->dir);
    s->now_ms = NOW_MS;
    s->steady_ms = 1000000;
    uv_loop_init(&s->loop);
    s->k1 = key_new("{\"alg\":\"ES384\"}", "k1");
    s->k2 = key_new("{\"alg\":\"ES384\"}", "k2");
    s->served = set_of(&s->k1, 1);
    s->served_status = 200;
    write_keys(s, &s->k1, 1);
    assert_int_equal(http_server_new(&s->loop, &server, &s->server, &err), OG_OK);
    assert_int_equal(http_client_new(&s->loop, &client, &s->client, &err), OG_OK);
    open_trust(s);
    *state = s;
    return 0;
}

static int end(void **state)
{
    stage *s = *state;
    trust_close(s->trust, on_closed, s);
    turn(s, &s->closed);
    s->closed = false;
    http_client_close(s->client, on_closed, s);
    turn(s, &s->closed);
    s->closed = false;
    http_server_close(s->server, 0, on_closed, s);
    turn(s, &s->closed);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    config_free(s->config);
    json_decref(s->k1);
    json_decref(s->k2);
    free(s->served);
    assert_int_equal(file_remove_tree(s->dir, NULL), OG_OK);
    free(s);
    return 0;
}

/* ---- asking ---- */

static void on_verdict(void *ctx, trust_verdict verdict, const config_client *who)
{
    stage *s = ctx;
    assert_false(s->answered);
    s->answered = true;
    s->verdict = verdict;
    s->who = who;
}

static bool certified(void *ctx, const char *name)
{
    const stage *s = ctx;
    return s->certificate != NULL && strcmp(s->certificate, name) == 0;
}

static trust_verdict ask(stage *s, const char *header)
{
    trust_caller caller = {.authorization = og_str_of(header),
                           .path = "/cds-services/x",
                           .certified = certified,
                           .certified_ctx = s};
    s->answered = false;
    trust_ask(s->trust, &caller, on_verdict, s);
    turn(s, &s->answered);
    return s->verdict;
}

/* Bearer and a fresh token of this issuer, signed with key; extra goes into the header. */
static char *fresh(stage *s, const char *issuer, const json_t *key, const char *extra)
{
    static char out[8192];
    char header[512], claims[512];
    snprintf(header, sizeof header, "{\"alg\":\"ES384\",\"typ\":\"JWT\",\"kid\":\"%s\"%s}",
             json_string_value(json_object_get(key, "kid")), extra);
    snprintf(claims, sizeof claims,
             "{\"iss\":\"%s\",\"aud\":\"https://cds/cds-services/x\",\"exp\":%lld,\"iat\":%lld,"
             "\"jti\":\"%u\"}",
             issuer, (long long)(s->now_ms / 1000 + 300), (long long)(s->now_ms / 1000),
             s->next_jti++);
    char *token = token_of(header, claims, key);
    snprintf(out, sizeof out, "Bearer %s", token);
    free(token);
    return out;
}

/* ---- tests ---- */

static uint64_t place_of(unsigned jti)
{
    char text[64];
    int n = snprintf(text, sizeof text, "file|%u", jti);
    return (og_str_hash((og_str){text, (size_t)n}) | 1) & ((1u << 20) - 1);
}

/* Two tokens that fall on one place of the memory: what the first one leaves behind must not make
 * the second one look new. */
static void an_expired_neighbour_hides_no_token(void **state)
{
    stage *s = *state;
    char second[8192];
    unsigned twin = 1;
    while (place_of(twin) != place_of(0))
        twin++;
    s->next_jti = 0;
    assert_int_equal(ask(s, fresh(s, "https://a", s->k1, "")), TRUST_GOOD);
    s->now_ms += 200000;
    s->next_jti = twin;
    snprintf(second, sizeof second, "%s", fresh(s, "https://a", s->k1, ""));
    assert_int_equal(ask(s, second), TRUST_GOOD);
    s->now_ms += 200000; /* the first one has expired, the second has not */
    assert_int_equal(ask(s, second), TRUST_REFUSED);
}

static void a_token_is_good_once(void **state)
{
    stage *s = *state;
    char *token = fresh(s, "https://a", s->k1, "");
    assert_int_equal(ask(s, token), TRUST_GOOD);
    assert_string_equal(s->who->name, "file");
    assert_int_equal(ask(s, token), TRUST_REFUSED);
    assert_null(s->who);
    assert_int_equal(ask(s, fresh(s, "https://a", s->k1, "")), TRUST_GOOD);
}

static void strangers_are_refused(void **state)
{
    stage *s = *state;
    assert_int_equal(ask(s, NULL), TRUST_REFUSED);
    assert_int_equal(ask(s, ""), TRUST_REFUSED);
    assert_int_equal(ask(s, "Bearer"), TRUST_REFUSED);
    assert_int_equal(ask(s, "Bearer    "), TRUST_REFUSED);
    assert_int_equal(ask(s, "Basic YTpi"), TRUST_REFUSED);
    assert_int_equal(ask(s, "Bearer a.b.c"), TRUST_REFUSED);
    assert_int_equal(ask(s, fresh(s, "https://c", s->k1, "")), TRUST_REFUSED);
    assert_int_equal(ask(s, fresh(s, "https://a", s->k2, "")), TRUST_REFUSED); /* no such key */
    /* signed by a stranger who names a known key */
    json_t *forged = json_deep_copy(s->k2);
    json_object_set_new(forged, "kid", json_string("k1"));
    assert_int_equal(ask(s, fresh(s, "https://a", forged, "")), TRUST_REFUSED);
    json_decref(forged);
    char *late = fresh(s, "https://a", s->k1, "");
    s->now_ms += 361000;
    assert_int_equal(ask(s, late), TRUST_REFUSED);
}

static void who_vouches_is_not_the_callers_choice(void **state)
{
    stage *s = *state;
    char jku[128];
    assert_int_equal(ask(s, fresh(s, "https://a", s->k1, ",\"jku\":\"https://evil/keys\"")),
                     TRUST_REFUSED);
    assert_int_equal(ask(s, fresh(s, "https://a", s->k1, ",\"jku\":\"https://a/keys\"")),
                     TRUST_GOOD); /* named, never fetched */
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, ",\"jku\":\"https://a/keys\"")),
                     TRUST_REFUSED);
    snprintf(jku, sizeof jku, ",\"jku\":\"http://127.0.0.1:%d/keys\"", http_server_port(s->server));
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, jku)), TRUST_GOOD);
}

/* A file that is written twice within a tick of the file system's clock looks the same. */
static void set_file_time(const stage *s, time_t seconds)
{
    const struct timespec times[] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    assert_int_equal(utimensat(AT_FDCWD, s->keys_path, times, 0), 0);
}

static void a_changed_file_brings_its_keys(void **state)
{
    stage *s = *state;
    assert_int_equal(ask(s, fresh(s, "https://a", s->k2, "")), TRUST_REFUSED);
    write_keys(s, &s->k2, 1);
    set_file_time(s, 1000);
    assert_int_equal(ask(s, fresh(s, "https://a", s->k2, "")), TRUST_GOOD);
    assert_int_equal(ask(s, fresh(s, "https://a", s->k1, "")), TRUST_REFUSED); /* withdrawn */
    assert_int_equal(file_write(s->keys_path, OG_STR("rubbish"), NULL), OG_OK);
    assert_int_equal(ask(s, fresh(s, "https://a", s->k2, "")), TRUST_GOOD); /* the last good ones */
}

static void count_line(void *ctx, og_str line)
{
    (void)line;
    ++*(unsigned *)ctx;
}

/* Whoever calls must not fill the log of a daemon whose key file is bad. */
static void a_bad_file_is_complained_of_in_time(void **state)
{
    stage *s = *state;
    unsigned lines = 0;
    char *token;
    assert_int_equal(file_write(s->keys_path, OG_STR("rubbish"), NULL), OG_OK);
    set_file_time(s, 1000);
    log_sink(count_line, &lines);
    for (int i = 0; i < 20; i++) {
        token = fresh(s, "https://a", s->k1, "");
        assert_int_equal(ask(s, token), TRUST_GOOD); /* the last good ones */
    }
    assert_int_equal(lines, 1);
    write_keys(s, &s->k2, 1);
    set_file_time(s, 2000);
    s->steady_ms += 1000;
    assert_int_equal(ask(s, fresh(s, "https://a", s->k2, "")), TRUST_GOOD);
    log_sink(quiet, NULL);
}

static void keys_are_fetched_and_rotate(void **state)
{
    stage *s = *state;
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, "")), TRUST_GOOD);
    assert_int_equal(s->fetches, 1);
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, "")), TRUST_GOOD);
    assert_int_equal(s->fetches, 1); /* kept */
    s->steady_ms += 5000;
    free(s->served);
    s->served = set_of(&s->k2, 1);
    assert_int_equal(ask(s, fresh(s, "https://b", s->k2, "")), TRUST_REFUSED);
    assert_int_equal(s->fetches, 1); /* strangers cannot make us ask again and again */
    s->steady_ms += 5000;
    assert_int_equal(ask(s, fresh(s, "https://b", s->k2, "")), TRUST_GOOD);
    assert_int_equal(s->fetches, 2);
    s->steady_ms += 3600001; /* a set lives an hour */
    assert_int_equal(ask(s, fresh(s, "https://b", s->k2, "")), TRUST_GOOD);
    assert_int_equal(s->fetches, 3);
}

static void a_key_server_that_is_down_is_left_alone(void **state)
{
    stage *s = *state;
    s->served_status = 500;
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, "")), TRUST_REFUSED);
    assert_int_equal(s->fetches, 1);
    s->steady_ms += 9999;
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, "")), TRUST_REFUSED);
    assert_int_equal(s->fetches, 1);
    s->steady_ms += 1;
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, "")), TRUST_REFUSED);
    assert_int_equal(s->fetches, 2);
    s->steady_ms += 19999; /* twice as long */
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, "")), TRUST_REFUSED);
    assert_int_equal(s->fetches, 2);
    s->steady_ms += 1;
    s->served_status = 200;
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, "")), TRUST_GOOD);
}

static void too_often_is_told(void **state)
{
    stage *s = *state;
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, "")), TRUST_GOOD);
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, "")), TRUST_GOOD);
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, "")), TRUST_BUSY);
    assert_string_equal(s->who->name, "net");
    assert_int_equal(ask(s, fresh(s, "https://a", s->k1, "")), TRUST_GOOD); /* another's business */
    s->steady_ms += 1000;
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, "")), TRUST_GOOD);
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, "")), TRUST_BUSY);
}

static void a_certificate_stands_for_a_token(void **state)
{
    stage *s = *state;
    s->certificate = "ehr.example.org";
    assert_int_equal(ask(s, NULL), TRUST_GOOD);
    assert_string_equal(s->who->name, "card");
    assert_int_equal(ask(s, NULL), TRUST_GOOD);
    s->certificate = "other.example.org";
    assert_int_equal(ask(s, NULL), TRUST_REFUSED);
}

static void services_can_be_named(void **state)
{
    stage *s = *state;
    assert_int_equal(ask(s, fresh(s, "https://b", s->k1, "")), TRUST_GOOD);
    assert_true(trust_may_call(s->who, OG_STR("x")));
    assert_false(trust_may_call(s->who, OG_STR("z")));
    assert_int_equal(ask(s, fresh(s, "https://a", s->k1, "")), TRUST_GOOD);
    assert_true(trust_may_call(s->who, OG_STR("z")));
    assert_true(trust_may_call(NULL, OG_STR("z")));
}

/* What waits for keys is answered when the daemon stops. */
static void stopping_answers_everybody(void **state)
{
    stage *s = *state;
    trust_caller caller = {.authorization = og_str_of(fresh(s, "https://b", s->k1, "")),
                           .path = "/cds-services/x"};
    s->answered = false;
    trust_ask(s->trust, &caller, on_verdict, s);
    assert_false(s->answered);
    trust_close(s->trust, on_closed, s);
    turn(s, &s->answered);
    assert_int_equal(s->verdict, TRUST_REFUSED);
    turn(s, &s->closed);
    s->closed = false;
    config_free(s->config);
    open_trust(s);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(a_token_is_good_once),
        TEST(an_expired_neighbour_hides_no_token),
        TEST(strangers_are_refused),
        TEST(who_vouches_is_not_the_callers_choice),
        TEST(a_changed_file_brings_its_keys),
        TEST(a_bad_file_is_complained_of_in_time),
        TEST(keys_are_fetched_and_rotate),
        TEST(a_key_server_that_is_down_is_left_alone),
        TEST(too_often_is_told),
        TEST(a_certificate_stands_for_a_token),
        TEST(services_can_be_named),
        TEST(stopping_answers_everybody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
