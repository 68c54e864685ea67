/* What `check --online` says of FHIR servers. */
#include "fhir_standin.h"

#include <signal.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/fhir_servers.h"
#include "daemon/log.h"

#define GUARD_MS 60000
#define STATEMENT(version)                                                                         \
    "{\"resourceType\":\"CapabilityStatement\",\"fhirVersion\":\"" version "\"}"

typedef struct scene {
    uv_loop_t loop;
    uv_timer_t guard;
    http_client *http;
    standin *ehr;
    config *config;
    fhir_servers *servers;
    char key_path[64], text[400], name[16];
    bool told, good, closed;
} scene;

static void guard_fired(uv_timer_t *t)
{
    (void)t;
    fail_msg("the test hangs");
}

static void on_closed(void *ctx)
{
    *(bool *)ctx = true;
}

static void drop_line(void *ctx, og_str line)
{
    (void)ctx;
    (void)line;
}

static void on_problem(void *ctx, const og_error *err)
{
    (void)ctx;
    fail_msg("%s", err->text);
}

/* ours: with an id at the token server; theirs: without. */
static scene *scene_new(void)
{
    scene *s = calloc(1, sizeof *s);
    char text[1000];
    og_error err;
    og_report report = {.fn = on_problem};
    og_error_init(&err);
    assert_non_null(s);
    signal(SIGPIPE, SIG_IGN);
    log_sink(drop_line, NULL);
    uv_loop_init(&s->loop);
    uv_timer_init(&s->loop, &s->guard);
    uv_timer_start(&s->guard, guard_fired, GUARD_MS, 0);
    s->ehr = standin_new(&s->loop, "{\"alg\":\"ES384\"}", 0);
    strcpy(s->key_path, "/tmp/og-trial-XXXXXX");
    int fd = mkstemp(s->key_path);
    assert_true(fd >= 0);
    close(fd);
    standin_write_key(s->ehr, s->key_path);
    snprintf(text, sizeof text,
             "fhir_servers:\n"
             "  ours: {url: \"http://127.0.0.1:%d/fhir\", client_id: " STANDIN_CLIENT
             ", private_jwk_file: %s}\n"
             "  theirs: {url: \"http://127.0.0.1:%d/open\"}\n",
             standin_port(s->ehr), s->key_path, standin_port(s->ehr));
    assert_int_equal(config_parse(og_str_of(text), "test", NULL, &s->config, &report, NULL), OG_OK);
    assert_int_equal(http_client_new(&s->loop, NULL, &s->http, &err), OG_OK);
    assert_int_equal(fhir_servers_new(&s->loop, s->http, s->config, 1, &s->servers, &err), OG_OK);
    return s;
}

static void wait_for(scene *s, bool *what)
{
    while (!*what)
        uv_run(&s->loop, UV_RUN_ONCE);
    *what = false;
}

static void scene_free(scene *s)
{
    fhir_servers_close(s->servers, on_closed, &s->closed);
    wait_for(s, &s->closed);
    standin_free(s->ehr, &s->loop);
    http_client_close(s->http, on_closed, &s->closed);
    wait_for(s, &s->closed);
    uv_close((uv_handle_t *)&s->guard, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    config_free(s->config);
    unlink(s->key_path);
    log_sink(NULL, NULL);
    free(s);
}

static void on_tried(void *ctx, const config_fhir_server *server, bool good, const char *text)
{
    scene *s = ctx;
    s->told = true;
    s->good = good;
    snprintf(s->name, sizeof s->name, "%s", server->name);
    snprintf(s->text, sizeof s->text, "%s", text);
}

static const char *try(scene *s, const char *name)
{
    og_error err;
    og_error_init(&err);
    size_t i = strcmp(s->config->fhir_servers[0].name, name) == 0 ? 0 : 1;
    assert_int_equal(fhir_servers_try(s->servers, i, on_tried, s, &err), OG_OK);
    wait_for(s, &s->told);
    assert_string_equal(s->name, name);
    return s->text;
}

static void a_server_says_who_it_is(void **state)
{
    scene *s = scene_new();
    (void)state;
    standin_put(s->ehr, "metadata", 200, STATEMENT("4.0.1"));
    assert_string_equal(try(s, "ours"), "serves FHIR 4.0.1, and gives us a token");
    assert_true(s->good);
    assert_int_equal(s->ehr->tokens_given, 1);
    assert_string_equal(try(s, "theirs"), "answers, and wants a token (HTTP 401)");
    assert_true(s->good);
    scene_free(s);
}

static void what_is_wrong_is_said(void **state)
{
    scene *s = scene_new();
    (void)state;
    standin_put(s->ehr, "metadata", 200, STATEMENT("5.0.0"));
    assert_string_equal(try(s, "ours"), "serves FHIR 5.0.0, and gives us a token; it should be R4");
    assert_false(s->good);
    standin_put(s->ehr, "metadata", 200, "{\"resourceType\":\"Bundle\"}");
    assert_string_equal(try(s, "ours"), "ours: metadata is no CapabilityStatement");
    assert_false(s->good);
    standin_put(s->ehr, "metadata", 404, "");
    assert_string_equal(try(s, "ours"), "ours: answers 404");
    assert_false(s->good);
    s->ehr->closed_to_all = true; /* a token of ours, and it is not taken */
    assert_string_equal(try(s, "ours"), "ours: answers 401");
    assert_false(s->good);
    scene_free(s);
    s = scene_new();
    s->ehr->token_status = 400;
    assert_string_equal(try(s, "ours"), "ours: the token endpoint answers 400 (invalid_client)");
    assert_false(s->good);
    scene_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_says_who_it_is),
        cmocka_unit_test(what_is_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
