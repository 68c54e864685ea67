/* The FHIR client and its tokens, against a server in the same loop. */
#include "fhir_standin.h"

#include <signal.h>
#include <unistd.h>

#include "connectors/fhir_client.h"

#define NOW_MS 1772352000000
enum { GUARD_MS = 30000 };

typedef struct scene {
    uv_loop_t loop;
    uv_timer_t guard;
    http_client *http;
    standin *server;
    smart *tokens;
    fhir_client *client;
    char dir[64], key_path[96];
    int64_t steady_ms;
    size_t closed, done, asked_tokens;
    char why[400];
    /* of the last read */
    fhir_outcome outcome;
    int status;
    int64_t retry_after_ms;
    unsigned repeats, pages;
    char text[400], bodies[4096];
    bool enough;
    fhir_read *read;
} scene;

static void guard_fired(uv_timer_t *t)
{
    (void)t;
    fail_msg("nothing happened for %d ms", GUARD_MS);
}

static void note_closed(void *ctx)
{
    ++*(size_t *)ctx;
}

static int64_t now_ms(void *ctx)
{
    (void)ctx;
    return NOW_MS;
}

static int64_t steady_ms(void *ctx)
{
    return ((scene *)ctx)->steady_ms;
}

static void on_asked(void *ctx, const char *why)
{
    scene *s = ctx;
    s->asked_tokens++;
    snprintf(s->why, sizeof s->why, "%s", why != NULL ? why : "");
}

/* The envelope as a test reads it: the daemon has its own. */
static og_status read_envelope(og_str body, fhir_envelope *ret)
{
    json_t *root = json_loadb(body.p != NULL ? body.p : "", body.n, 0, NULL), *link;
    const char *type = json_string_value(json_object_get(root, "resourceType"));
    size_t i;
    if (type == NULL) {
        json_decref(root);
        return OG_SYNTAX;
    }
    ret->is_bundle = strcmp(type, "Bundle") == 0;
    ret->is_outcome = strcmp(type, "OperationOutcome") == 0;
    json_array_foreach(json_object_get(root, "link"), i, link)
    {
        const char *relation = json_string_value(json_object_get(link, "relation"));
        const char *url = json_string_value(json_object_get(link, "url"));
        if (relation != NULL && strcmp(relation, "next") == 0)
            snprintf(ret->next, sizeof ret->next, "%s", url);
    }
    const char *code = json_string_value(
        json_object_get(json_array_get(json_object_get(root, "issue"), 0), "code"));
    snprintf(ret->issue, sizeof ret->issue, "%s", code != NULL ? code : "");
    json_decref(root);
    return OG_OK;
}

static void open_client(scene *s, const char *token_url, size_t max_bytes)
{
    char base[64], url[80];
    og_error err;
    og_error_init(&err);
    standin_base(s->server, base);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/token", standin_port(s->server));
    smart_options so = {.base_url = base,
                        .token_url = strcmp(token_url, "given") == 0 ? url : token_url,
                        .client_id = STANDIN_CLIENT,
                        .key_file = s->key_path,
                        .scope = "system/*.rs",
                        .now_ms = now_ms,
                        .steady_ms = steady_ms,
                        .ctx = s,
                        .on_asked = on_asked};
    assert_int_equal(smart_new(&s->loop, s->http, &so, &s->tokens, &err), OG_OK);
    fhir_client_options co = {.name = "ehr",
                              .base_url = base,
                              .tokens = s->tokens,
                              .max_bytes = max_bytes,
                              .max_pages = 3,
                              .retry_min_ms = 1,
                              .retry_max_ms = 4,
                              .seed = 7,
                              .envelope = read_envelope};
    assert_int_equal(fhir_client_new(&s->loop, s->http, &co, &s->client, &err), OG_OK);
}

static void close_client(scene *s)
{
    size_t want = s->closed + 2;
    fhir_client_close(s->client, note_closed, &s->closed);
    smart_close(s->tokens, note_closed, &s->closed);
    while (s->closed < want)
        uv_run(&s->loop, UV_RUN_ONCE);
}

static scene *scene_new(const char *recipe)
{
    scene *s = calloc(1, sizeof *s);
    og_error err;
    og_error_init(&err);
    assert_non_null(s);
    signal(SIGPIPE, SIG_IGN);
    strcpy(s->dir, "/tmp/og-fhir-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->key_path, sizeof s->key_path, "%s/key.jwk", s->dir);
    s->steady_ms = 1000000;
    uv_loop_init(&s->loop);
    uv_timer_init(&s->loop, &s->guard);
    uv_timer_start(&s->guard, guard_fired, GUARD_MS, 0);
    assert_int_equal(http_client_new(&s->loop, NULL, &s->http, &err), OG_OK);
    s->server = standin_new(&s->loop, recipe, NOW_MS);
    standin_write_key(s->server, s->key_path);
    return s;
}

static void scene_free(scene *s)
{
    size_t want;
    close_client(s);
    standin_free(s->server, &s->loop);
    want = s->closed + 1;
    http_client_close(s->http, note_closed, &s->closed);
    while (s->closed < want)
        uv_run(&s->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&s->guard, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    unlink(s->key_path);
    rmdir(s->dir);
    free(s);
}

/* ---- reading ---- */

static bool on_page(void *ctx, og_str body)
{
    scene *s = ctx;
    size_t n = strlen(s->bodies);
    snprintf(s->bodies + n, sizeof s->bodies - n, "%.*s|", OG_STR_ARG(body));
    return !s->enough;
}

static void on_done(void *ctx, const fhir_result *r)
{
    scene *s = ctx;
    s->done++;
    s->outcome = r->outcome;
    s->status = r->status;
    s->retry_after_ms = r->retry_after_ms;
    s->repeats = r->repeats;
    s->pages = r->pages;
    snprintf(s->text, sizeof s->text, "%s", r->text);
}

static og_status begin_read(scene *s, const char *path, const char *bearer, int64_t budget_ms)
{
    og_error err;
    og_error_init(&err);
    fhir_query q = {.path = path,
                    .bearer = og_str_of(bearer),
                    .budget_ms = budget_ms,
                    .on_page = on_page,
                    .on_done = on_done,
                    .ctx = s};
    s->bodies[0] = '\0';
    return fhir_client_read(s->client, &q, &s->read, &err);
}

static fhir_outcome read_one(scene *s, const char *path, const char *bearer, int64_t budget_ms)
{
    size_t want = s->done + 1;
    assert_int_equal(begin_read(s, path, bearer, budget_ms), OG_OK);
    assert_int_equal(s->done, want - 1); /* not from inside */
    while (s->done < want)
        uv_run(&s->loop, UV_RUN_ONCE);
    return s->outcome;
}

#define PATIENT "{\"resourceType\":\"Patient\",\"id\":\"p1\"}"
#define LONG    20000 /* ms: never used up */

/* ---- tests ---- */

static void a_token_is_asked_for_once_and_kept(void **state)
{
    static const char *const recipes[] = {"{\"alg\":\"ES384\"}",
                                          "{\"alg\":\"RS384\",\"bits\":2048}"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        scene *s = scene_new(recipes[i]);
        standin_put(s->server, "Patient/p1", 200, PATIENT);
        open_client(s, i == 0 ? "given" : "", 0); /* the second looks it up */
        assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_DONE);
        assert_string_equal(s->bodies, PATIENT "|");
        assert_string_equal(s->server->last_bearer, "Bearer token-1");
        assert_string_equal(s->server->scope, "system/*.rs");
        assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_DONE);
        assert_int_equal(s->server->tokens_given, 1);
        assert_int_equal(s->server->configurations, i);
        s->steady_ms += 269 * 1000; /* it lives 300 s, of which the last 30 are not used */
        assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_DONE);
        assert_int_equal(s->server->tokens_given, 1);
        s->steady_ms += 2000;
        assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_DONE);
        assert_int_equal(s->server->tokens_given, 2);
        assert_string_equal(s->server->last_bearer, "Bearer token-2");
        scene_free(s);
    }
}

static void many_reads_wait_for_one_token(void **state)
{
    scene *s = scene_new("{\"alg\":\"ES384\"}");
    (void)state;
    standin_put(s->server, "Patient/p1", 200, PATIENT);
    open_client(s, "given", 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(begin_read(s, "Patient/p1", NULL, LONG), OG_OK);
    while (s->done < 5)
        uv_run(&s->loop, UV_RUN_ONCE);
    assert_int_equal(s->server->tokens_given, 1);
    assert_int_equal(s->outcome, FHIR_READ_DONE);
    scene_free(s);
}

static void a_refused_token_is_renewed_once(void **state)
{
    scene *s = scene_new("{\"alg\":\"ES384\"}");
    (void)state;
    standin_put(s->server, "Patient/p1", 200, PATIENT);
    open_client(s, "given", 0);
    assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_DONE);
    s->server->good_token = 99; /* revoked */
    assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_DONE);
    assert_int_equal(s->server->tokens_given, 2);
    assert_int_equal(s->server->refused, 1);
    s->server->closed_to_all = true;
    assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_REFUSED);
    assert_int_equal(s->server->tokens_given, 3);
    assert_int_equal(s->server->refused, 3);
    assert_string_equal(s->text, "ehr: answers 401");
    /* A token of the call's own is not replaced by ours. */
    assert_int_equal(read_one(s, "Patient/p1", "other", LONG), FHIR_READ_REFUSED);
    assert_int_equal(s->server->tokens_given, 3);
    scene_free(s);
}

static void a_broken_token_endpoint_lets_nothing_through(void **state)
{
    static const int broken[] = {500, 503, 401};
    scene *s = scene_new("{\"alg\":\"ES384\"}");
    char text[64];
    (void)state;
    standin_put(s->server, "Patient/p1", 200, PATIENT);
    open_client(s, "given", 0);
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        s->server->token_status = broken[i];
        assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_NO_TOKEN);
        snprintf(text, sizeof text, "the token endpoint answers %d", broken[i]);
        assert_non_null(strstr(s->text, text));
        s->steady_ms += 60000; /* longer than it waits before it asks again */
    }
    s->server->token_status = 0;
    assert_int_equal(s->server->tokens_given, 0);
    assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_DONE);
    scene_free(s);
}

static void no_token_is_said_and_not_asked_for_at_once_again(void **state)
{
    scene *s = scene_new("{\"alg\":\"ES384\"}");
    (void)state;
    standin_put(s->server, "Patient/p1", 200, PATIENT);
    open_client(s, "given", 0);
    s->server->token_status = 400;
    assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_NO_TOKEN);
    assert_string_equal(s->text, "ehr: the token endpoint answers 400 (invalid_client)");
    assert_string_equal(s->why, "the token endpoint answers 400 (invalid_client)");
    s->server->token_status = 0;
    assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_NO_TOKEN);
    assert_int_equal(s->server->tokens_given, 0);
    /* With a token of its own a read needs none of ours. */
    assert_int_equal(read_one(s, "Patient/p1", "own", LONG), FHIR_READ_DONE);
    s->steady_ms += 1001;
    assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_DONE);
    assert_int_equal(unlink(s->key_path), 0); /* no key, no token; the one at hand stays good */
    assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_DONE);
    s->steady_ms += 400 * 1000;
    assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_NO_TOKEN);
    assert_string_equal(s->text, "ehr: the private key's file cannot be read");
    scene_free(s);
}

static void pages_are_followed(void **state)
{
    scene *s = scene_new("{\"alg\":\"ES384\"}");
    char page[400];
    (void)state;
    open_client(s, "given", 0);
    snprintf(page, sizeof page,
             "{\"resourceType\":\"Bundle\",\"link\":[{\"relation\":\"self\",\"url\":\"x\"},{"
             "\"relation\":\"next\",\"url\":\"http://127.0.0.1:%d/fhir/page?patient=2\"}]}",
             standin_port(s->server));
    standin_put(s->server, "Observation?patient=p1", 200, page);
    standin_put(s->server, "page?patient=2", 200,
                "{\"resourceType\":\"Bundle\",\"link\":[{\"relation\":\"next\",\"url\":"
                "\"page?patient=3\"}]}"); /* relative */
    standin_put(s->server, "page?patient=3", 200, "{\"resourceType\":\"Bundle\",\"id\":\"last\"}");
    assert_int_equal(read_one(s, "Observation?patient=p1", NULL, LONG), FHIR_READ_DONE);
    assert_int_equal(s->pages, 3);
    assert_non_null(strstr(s->bodies, "\"id\":\"last\""));
    /* A whole URL of the same origin is as good: the rest of what a prefetch began. */
    snprintf(page, sizeof page, "http://127.0.0.1:%d/fhir/page?patient=3", standin_port(s->server));
    assert_int_equal(read_one(s, page, NULL, LONG), FHIR_READ_DONE);
    assert_int_equal(s->pages, 1);
    /* A server that never ends is left. */
    standin_put(s->server, "page?patient=3", 200,
                "{\"resourceType\":\"Bundle\",\"link\":[{\"relation\":\"next\",\"url\":"
                "\"page?patient=3\"}]}");
    assert_int_equal(read_one(s, "page?patient=3", NULL, LONG), FHIR_READ_TOO_LARGE);
    assert_int_equal(s->pages, 3);
    scene_free(s);
}

static void a_token_never_goes_elsewhere(void **state)
{
    static const char *const links[] = {"http://evil.example/fhir/page",
                                        "https://127.0.0.1/fhir/page",
                                        "//127.0.0.1:1/fhir/page",
                                        "http://127.0.0.1:1/fhir/page",
                                        "http://127.0.0.1@evil.example/fhir/page",
                                        "ftp://127.0.0.1/page",
                                        "file:///etc/passwd"};
    static const char *const outside[] = {
        "/admin",           "/fhir-admin/x",    "/fhir/../admin",           "/fhir/%2e%2e/admin",
        "/fhir/%2E./admin", "/fhir/..%5Cadmin", "/fhir/x%2f..%2f..%2fadmin"};
    scene *s = scene_new("{\"alg\":\"ES384\"}");
    char page[400];
    (void)state;
    open_client(s, "given", 0);
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        snprintf(page, sizeof page,
                 "{\"resourceType\":\"Bundle\",\"link\":[{\"relation\":\"next\",\"url\":\"%s\"}]}",
                 links[i]);
        standin_put(s->server, "Observation?patient=p1", 200, page);
        if (read_one(s, "Observation?patient=p1", NULL, LONG) != FHIR_READ_FOREIGN)
            fail_msg("%s: %s", links[i], s->text);
        assert_int_equal(s->pages, 1); /* what came before is not lost */
        assert_null(strstr(s->text, "evil"));
        if (strncmp(links[i], "//", 2) != 0)
            assert_int_equal(begin_read(s, links[i], NULL, LONG), OG_INVALID);
    }
    snprintf(page, sizeof page,
             "{\"resourceType\":\"Bundle\",\"link\":[{\"relation\":\"next\",\"url\":"
             "\"http://user:word@127.0.0.1:%d/fhir/page\"}]}",
             standin_port(s->server));
    standin_put(s->server, "Observation?patient=p1", 200, page);
    assert_int_equal(read_one(s, "Observation?patient=p1", NULL, LONG), FHIR_READ_FOREIGN);
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        char url[200];
        snprintf(url, sizeof url, "http://127.0.0.1:%d%s", standin_port(s->server), outside[i]);
        assert_int_equal(begin_read(s, url, NULL, LONG), OG_INVALID);
        snprintf(page, sizeof page,
                 "{\"resourceType\":\"Bundle\",\"link\":[{\"relation\":\"next\",\"url\":\"%s\"}]}",
                 i % 2 == 0 ? outside[i] : url);
        standin_put(s->server, "Observation?patient=p1", 200, page);
        assert_int_equal(read_one(s, "Observation?patient=p1", NULL, LONG), FHIR_READ_FOREIGN);
        assert_string_equal(s->text, "ehr: the link leads out of the server's base URL");
    }
    static const char *const paths[] = {"", "/Patient/p1", "../admin", "Patient/p1#x",
                                        "%2e%2e/admin"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        assert_int_equal(begin_read(s, paths[i], NULL, LONG), OG_INVALID);
    scene_free(s);
}

static void what_fails_in_passing_is_repeated(void **state)
{
    static const int twice[] = {503, 429}, always[] = {500, 502, 503, 504, 429, 408, 500, 500},
                     wait[] = {429};
    scene *s = scene_new("{\"alg\":\"ES384\"}");
    (void)state;
    open_client(s, "given", 0);
    standin_put(s->server, "Patient/p1", 200, PATIENT);
    s->server->script = twice;
    s->server->script_count = 2;
    s->server->retry_after = "0";
    assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_DONE);
    assert_int_equal(s->repeats, 2);
    s->server->script = always;
    s->server->script_count = 8;
    s->server->script_at = 0;
    assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_DOWN);
    assert_int_equal(s->repeats, 5);
    assert_int_equal(s->status, 408);
    assert_string_equal(s->text, "ehr: answers 408");
    /* Not sooner than it wants, and not at all when that is too late. */
    s->server->script = wait;
    s->server->script_count = 1;
    s->server->script_at = 0;
    s->server->retry_after = "30";
    assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_DOWN);
    assert_int_equal(s->repeats, 0);
    assert_int_equal(s->retry_after_ms, 30000);
    scene_free(s);
}

static void a_slow_server_costs_the_budget_and_no_more(void **state)
{
    scene *s = scene_new("{\"alg\":\"ES384\"}");
    (void)state;
    open_client(s, "given", 0);
    assert_int_equal(read_one(s, "Slow/1", "own", 40), FHIR_READ_LATE);
    assert_string_equal(s->text, "ehr: no time is left");
    assert_int_equal(read_one(s, "Slow/1", "own", 0), FHIR_READ_LATE);
    assert_int_equal(s->server->held_count, 1);
    scene_free(s);
}

static void what_is_no_answer_is_said(void **state)
{
    scene *s = scene_new("{\"alg\":\"ES384\"}");
    og_buf huge;
    (void)state;
    open_client(s, "given", 10000);
    og_buf_init(&huge, 1 << 20);
    og_buf_addz(&huge, "{\"resourceType\":\"Bundle\",\"id\":\"");
    for (int i = 0; i < 2000; i++)
        og_buf_addz(&huge, "aaaaaaaaaa");
    og_buf_addz(&huge, "\"}");
    standin_put(s->server, "Huge", 200, og_buf_str(&huge).p);
    og_buf_done(&huge);
    standin_put(s->server, "Bad", 200, "{\"resourceType\":\"Bundle\"");
    standin_put(s->server, "Html", 200, "<html>secret</html>");
    standin_put(s->server, "Outcome", 200,
                "{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"code\":\"processing\"}]}");
    standin_put(s->server, "Forbidden", 403,
                "{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"code\":\"forbidden\","
                "\"diagnostics\":\"Patient/p1\"}]}");
    standin_put(s->server, "Odd", 400,
                "{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"code\":\"Patient p1\"}]}");
    static const struct {
        const char *path;
        fhir_outcome outcome;
        const char *text;
    } table[] = {{"Huge", FHIR_READ_TOO_LARGE, "ehr: the answer is larger than allowed"},
                 {"Bad", FHIR_READ_MALFORMED, "ehr: the answer is no FHIR resource"},
                 {"Html", FHIR_READ_MALFORMED, "ehr: the answer is no FHIR resource"},
                 {"Outcome", FHIR_READ_FAILED, "ehr: answers 200 (processing)"},
                 {"Forbidden", FHIR_READ_REFUSED, "ehr: answers 403 (forbidden)"},
                 {"Odd", FHIR_READ_FAILED, "ehr: answers 400"},
                 {"Patient/p2", FHIR_READ_NONE, "ehr: answers 404 (not-found)"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (read_one(s, table[i].path, NULL, LONG) != table[i].outcome)
            fail_msg("%s: %s", table[i].path, s->text);
        assert_string_equal(s->text, table[i].text);
    }
    s->enough = true;
    standin_put(s->server, "Patient/p1", 200, PATIENT);
    assert_int_equal(read_one(s, "Patient/p1", NULL, LONG), FHIR_READ_TOO_LARGE);
    scene_free(s);
}

static void a_long_search_goes_by_post(void **state)
{
    scene *s = scene_new("{\"alg\":\"ES384\"}");
    char path[4096];
    (void)state;
    open_client(s, "given", 0);
    standin_put(s->server, "Observation/_search", 200, "{\"resourceType\":\"Bundle\"}");
    memset(path, 0, sizeof path);
    snprintf(path, sizeof path, "Observation?patient=p1&code=");
    memset(path + strlen(path), 'a', 3000);
    assert_int_equal(read_one(s, path, NULL, LONG), FHIR_READ_DONE);
    assert_string_equal(s->server->last_method, "POST");
    assert_string_equal(s->server->form, strchr(path, '?') + 1);
    scene_free(s);
}

static void a_read_can_be_cancelled_anywhere(void **state)
{
    scene *s = scene_new("{\"alg\":\"ES384\"}");
    (void)state;
    open_client(s, "given", 0);
    assert_int_equal(begin_read(s, "Slow/1", NULL, LONG), OG_OK);
    fhir_read_cancel(s->read); /* before anything */
    assert_int_equal(begin_read(s, "Slow/1", NULL, LONG), OG_OK);
    uv_run(&s->loop, UV_RUN_ONCE);
    fhir_read_cancel(s->read); /* most likely while a token is asked for */
    assert_int_equal(begin_read(s, "Slow/1", "own", LONG), OG_OK);
    while (s->server->held_count == 0)
        uv_run(&s->loop, UV_RUN_ONCE);
    fhir_read_cancel(s->read);
    assert_int_equal(begin_read(s, "Slow/1", "own", LONG), OG_OK);
    while (s->server->held_count < 2)
        uv_run(&s->loop, UV_RUN_ONCE);
    scene_free(s); /* with one under way */
}

static void scopes_are_understood(void **state)
{
    (void)state;
    assert_true(smart_scope_covers(OG_STR("user/*.read"), "Patient", false));
    assert_true(smart_scope_covers(OG_STR("openid system/Patient.rs"), "Patient", false));
    assert_true(smart_scope_covers(OG_STR("user/Patient.cruds"), "Patient", false));
    assert_true(smart_scope_covers(OG_STR("patient/*.*"), "Patient", true));
    assert_false(smart_scope_covers(OG_STR("patient/*.*"), "Patient", false));
    assert_false(smart_scope_covers(OG_STR("user/Patient.r"), "Patient", false));
    assert_false(smart_scope_covers(OG_STR("user/Patient.write"), "Patient", false));
    assert_false(smart_scope_covers(OG_STR("user/Patient.rs?category=x"), "Patient", false));
    assert_false(smart_scope_covers(OG_STR("user/Condition.rs launch"), "Patient", false));
    assert_false(smart_scope_covers(OG_STR("root/*.*"), "Patient", true));
    assert_false(smart_scope_covers(OG_STR(""), "Patient", true));
    assert_false(smart_scope_covers(OG_STR("user/Patients.rs"), "Patient", true));
}

static void addresses_are_compared(void **state)
{
    (void)state;
    assert_true(http_url_same("https://EHR.example.org/fhir", "https://ehr.example.org:443/fhir/"));
    assert_true(http_url_same("http://e:80", "http://e/"));
    assert_false(http_url_same("https://e/fhir", "http://e/fhir"));
    assert_false(http_url_same("https://e/fhir", "https://e/FHIR"));
    assert_false(http_url_same("https://e/fhir", "https://e/fhir/r4"));
    assert_false(http_url_same("https://e/fhir", "https://e:444/fhir"));
    assert_false(http_url_same("https://e/fhir", "https://e@evil/fhir"));
    assert_false(http_url_same("https://e/fhir", "https://e/fhir?x=1"));
    assert_false(http_url_same("https://e/fhir", "https://x@e/fhir"));
    assert_false(http_url_same("https://e/fhir", "nonsense"));
    assert_true(http_url_same("https://e/a/../fhir", "https://e/fhir")); /* as it would be asked */
    assert_true(http_url_below("https://e/fhir/", "https://e:443/fhir?_getpages=1&page=..%2f2"));
    assert_true(http_url_below("https://e/fhir", "https://e/fhir/Observation?page=2"));
    assert_true(http_url_below("https://e", "https://e/Patient/a.b"));
    assert_false(http_url_below("https://e/fhir", "https://e/fhir2/Patient"));
    assert_false(http_url_below("https://e/fhir", "https://e/"));
    assert_false(http_url_below("https://e/fhir", "https://x@e/fhir/Patient"));
    assert_false(http_url_below("https://e/fhir", "http://e/fhir/Patient"));
    assert_false(http_url_below("https://e/fhir", "https://e/fhir/../admin"));
    assert_false(http_url_below("https://e/fhir", "nonsense"));
    assert_true(http_url_keeps_secrets("https://e/token"));
    assert_true(http_url_keeps_secrets("http://127.0.0.1:8080/token"));
    assert_false(http_url_keeps_secrets("http://e/token"));
    assert_false(http_url_keeps_secrets("http://127.0.0.1:1@evil.example/token"));
    assert_false(http_url_keeps_secrets("https://"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_asked_for_once_and_kept),
        cmocka_unit_test(many_reads_wait_for_one_token),
        cmocka_unit_test(a_refused_token_is_renewed_once),
        cmocka_unit_test(a_broken_token_endpoint_lets_nothing_through),
        cmocka_unit_test(no_token_is_said_and_not_asked_for_at_once_again),
        cmocka_unit_test(pages_are_followed),
        cmocka_unit_test(a_token_never_goes_elsewhere),
        cmocka_unit_test(what_fails_in_passing_is_repeated),
        cmocka_unit_test(a_slow_server_costs_the_budget_and_no_more),
        cmocka_unit_test(what_is_no_answer_is_said),
        cmocka_unit_test(a_long_search_goes_by_post),
        cmocka_unit_test(a_read_can_be_cancelled_anywhere),
        cmocka_unit_test(scopes_are_understood),
        cmocka_unit_test(addresses_are_compared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
