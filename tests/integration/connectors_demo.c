/* The parts of the demonstration that other tests lean on: the EHR stand-in must be as strict and
 * as idempotent as it says, and show what a pharmacist needs to see. */
#include "connectors/http_client.h"
#include "tests/demo/broker.h"
#include "tests/demo/card_text.h"
#include "tests/demo/child.h"
#include "tests/demo/metrics_page.h"
#include "tests/demo/standin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { GUARD_MS = 30000 };

typedef struct scene {
    uv_loop_t loop;
    uv_timer_t guard;
    http_client *client;
    standin *ehr;
    size_t closed, answers;
    int status;
    char retry_after[20], body[400];
} scene;

static void guard_fired(uv_timer_t *t)
{
    (void)t;
    fail_msg("nothing happened for %d ms", GUARD_MS);
}

static void note(void *ctx)
{
    ++*(size_t *)ctx;
}

static void run_until(scene *s, const size_t *flag, size_t want)
{
    while (*flag < want)
        uv_run(&s->loop, UV_RUN_ONCE);
}

static void begin(scene *s)
{
    memset(s, 0, sizeof(*s));
    uv_loop_init(&s->loop);
    uv_timer_init(&s->loop, &s->guard);
    uv_timer_start(&s->guard, guard_fired, GUARD_MS, 0);
    assert_int_equal(http_client_new(&s->loop, NULL, &s->client, NULL), OG_OK);
}

static void end(scene *s)
{
    http_client_close(s->client, note, &s->closed);
    standin_close(s->ehr, note, &s->closed);
    run_until(s, &s->closed, 2);
    uv_close((uv_handle_t *)&s->guard, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

static void on_answer(void *ctx, const http_response *r)
{
    scene *s = ctx;
    s->answers++;
    s->status = r->status;
    snprintf(s->retry_after, sizeof(s->retry_after), "%.*s", OG_STR_ARG(r->retry_after));
    snprintf(s->body, sizeof(s->body), "%.*s", OG_STR_ARG(r->body));
}

static int send_to(scene *s, const char *path, const char *key, const char *body)
{
    char url[100];
    size_t want = s->answers + 1;
    const conn_header headers[] = {{"Idempotency-Key", og_str_of(key)}};
    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", standin_port(s->ehr), path);
    const http_request r = {
        .url = url, .headers = headers, .header_count = key != NULL, .body = og_str_of(body)};
    assert_int_equal(http_client_send(s->client, &r, on_answer, s, NULL, NULL), OG_OK);
    run_until(s, &s->answers, want);
    return s->status;
}

static int post(scene *s, const char *key, const char *body)
{
    return send_to(s, "/cards", key, body);
}

static const char card_body[] =
    "{\"cards\":[{\"uuid\":\"u1\",\"summary\":\"S\",\"indicator\":\"info\",\"source\":{\"label\":"
    "\"L\"}}],"
    "\"extension\":{\"org.osteoguard.delivery\":{\"patientId\":\"p\"}}}";
static const char gone_body[] =
    "{\"cards\":[],\"extension\":{\"org.osteoguard.delivery\":{\"patientId\":\"p\",\"retracts\":"
    "[{\"uuid\":\"u1\",\"reason\":\"resolved\"},{\"uuid\":\"u0\",\"reason\":\"superseded\"}]}}}";

static void test_standin_is_idempotent(void **state)
{
    (void)state;
    scene s;
    char path[] = "/tmp/og-standin-XXXXXX", text[2000] = "";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    begin(&s);
    const standin_options o = {.quiet = true, .ndjson = path};
    assert_int_equal(standin_new(&s.loop, &o, &s.ehr, NULL), OG_OK);
    assert_int_equal(post(&s, "k1", card_body), 200);
    assert_int_equal(post(&s, "k1", card_body), 200);
    assert_int_equal(post(&s, "k1", gone_body), 422);
    assert_int_equal(post(&s, "k2", gone_body), 200);
    assert_int_equal(post(&s, NULL, card_body), 400);
    assert_int_equal(post(&s, "k3", "{\"cards\":"), 400);
    assert_int_equal(post(&s, "k3", "[]"), 400);
    assert_int_equal(post(&s, "k3", "{\"cards\":1}"), 400);
    standin_counts n = standin_count(s.ehr);
    assert_int_equal(n.posts, 8);
    assert_int_equal(n.cards, 1);
    assert_int_equal(n.repeats, 1);
    assert_int_equal(n.withdrawn, 1);
    assert_int_equal(n.replaced, 1);
    assert_int_equal(n.refused, 5);
    assert_int_equal(send_to(&s, "/stats", NULL, NULL), 200);
    assert_string_equal(s.body, "{\"posts\":8,\"cards\":1,\"withdrawn\":1,\"replaced\":1,"
                                "\"repeats\":1,\"failed\":0,\"refused\":5}\n");
    end(&s);
    ssize_t got = read(fd, text, sizeof(text) - 1);
    assert_true(got > 0);
    assert_memory_equal(text, "{\"key\":\"k1\",\"body\":{\"cards\":[{\"uuid\":\"u1\"", 41);
    assert_non_null(strstr(text, "\n{\"key\":\"k2\""));
    close(fd);
    unlink(path);
}

static void test_standin_fails_as_told(void **state)
{
    (void)state;
    scene s;
    og_error err;
    begin(&s);
    og_error_init(&err);
    assert_int_equal(standin_new(&s.loop, &(standin_options){.fail = "503,none"}, &s.ehr, &err),
                     OG_INVALID);
    assert_non_null(strstr(err.text, "none"));
    const standin_options o = {.quiet = true, .fail = "503,429:7,200,410"};
    assert_int_equal(standin_new(&s.loop, &o, &s.ehr, NULL), OG_OK);
    assert_int_equal(post(&s, "k", card_body), 503);
    assert_string_equal(s.retry_after, "");
    assert_int_equal(post(&s, "k", card_body), 429);
    assert_string_equal(s.retry_after, "7");
    assert_int_equal(standin_count(s.ehr).cards, 0);
    assert_int_equal(post(&s, "k", card_body), 200);
    assert_int_equal(standin_count(s.ehr).cards, 1);
    assert_int_equal(post(&s, "k2", card_body), 410);
    assert_int_equal(post(&s, "k2", card_body), 200);
    assert_int_equal(standin_count(s.ehr).failed, 3);
    end(&s);
}

static void test_card_as_text(void **state)
{
    (void)state;
    static const char card[] =
        "{\"summary\":\"No denosumab for 118 days\",\"indicator\":\"critical\","
        "\"detail\":\"The **last** dose was long ago, see [label](https://x.test/l). 1 \\\\* 2 "
        "&lt; 3\\n\\n- one\\n- two\\n\\n"
        "| Finding | Value |\\n|---|:--|\\n| Calcium | 2.3 |\\n| a\\\\|b | \\u00e4 |\\n\","
        "\"suggestions\":[{\"label\":\"Give it\"},{\"label\":\"Ask\\u001b[31m\"}],"
        "\"source\":{\"label\":\"Review\",\"url\":\"https://"
        "x.test\",\"topic\":{\"code\":\"D3\",\"display\":\"Rebound\"}}}";
    static const char want[] = "\n[ !!! CRITICAL ] patient p-1  rule D3, Rebound\n"
                               "No denosumab for 118 days\n"
                               "    The last dose was long ago, see\n"
                               "    label (https://x.test/l). 1 * 2 < 3\n"
                               "\n"
                               "    - one\n"
                               "    - two\n"
                               "\n"
                               "      Finding  Value\n"
                               "      Calcium  2.3\n"
                               "      a|b      \xc3\xa4\n"
                               "    offer 1: Give it\n"
                               "    offer 2: Ask [31m\n"
                               "    source: Review <https://x.test>\n";
    const card_style style = {.colour = false, .width = 40};
    json_t *c = json_loads(card, 0, NULL), *d = json_pack("{s:s}", "patientId", "p-1");
    og_buf b;
    assert_non_null(c);
    og_buf_init(&b, 100000);
    card_text_add(&b, c, d, &style);
    assert_string_equal(b.p, want);
    og_buf_clear(&b);
    /* Whatever comes: no crash, no empty pointer. */
    json_t *odd = json_loads(
        "{\"cards\":1,\"detail\":\"|\\n||\\n|a\\n[x](\\n\\\\\",\"suggestions\":{\"a\":1}}", 0,
        NULL);
    card_text_add(&b, odd, NULL, &(card_style){.colour = true, .width = 60});
    card_text_add_withdrawn(&b, "p", "s", "resolved", &style);
    assert_non_null(strstr(b.p, "withdrawn: patient p: s (resolved)\n"));
    og_buf_done(&b);
    json_decref(c);
    json_decref(d);
    json_decref(odd);
}

static void test_metrics_page(void **state)
{
    (void)state;
    const og_str page =
        OG_STR("# HELP a_total x\n# TYPE a_total counter\na_total 3\na_total_more 100\n"
               "b_total{reason=\"x} 5\",q=\"\\\"\"} 4\nb_total{reason=\"y\"} 1.5e1\nlast 7");
    assert_true(metrics_page_sum(page, "a_total") == 3);
    assert_true(metrics_page_sum(page, "b_total") == 19);
    assert_true(metrics_page_sum(page, "last") == 7);
    assert_true(metrics_page_sum(page, "none") == -1);
    assert_true(metrics_page_sum((og_str){NULL, 0}, "a") == -1);
}

typedef struct run {
    char lines[300];
    size_t over;
    int64_t status;
    int signal;
} run;

static void on_line(void *ctx, og_str line)
{
    run *r = ctx;
    size_t n = strlen(r->lines);
    snprintf(r->lines + n, sizeof(r->lines) - n, "%.*s|", OG_STR_ARG(line));
}

static void on_exit_of_child(void *ctx, int64_t status, int signal)
{
    run *r = ctx;
    r->over++;
    r->status = status;
    r->signal = signal;
}

static void test_child(void **state)
{
    (void)state;
    scene s;
    run r = {0};
    child *c = NULL;
    og_error err;
    begin(&s);
    assert_int_equal(setenv("OG_TEST_A", "ours", 1), 0);
    const char *const argv[] = {
        "sh", "-c", "printf 'one\\n\\n%s\\nno end' \"$OG_TEST_A$OG_TEST_B\" >&2; exit 3", NULL};
    const char *const environment[] = {"OG_TEST_A=theirs", "OG_TEST_B=!", NULL};
    const child_options o = {.argv = argv,
                             .environment = environment,
                             .ctx = &r,
                             .on_line = on_line,
                             .on_exit = on_exit_of_child};
    assert_int_equal(child_start(&s.loop, &o, &c, NULL), OG_OK);
    run_until(&s, &r.over, 1);
    assert_string_equal(r.lines, "one|theirs!|no end|");
    assert_int_equal(r.status, 3);
    const char *const sleeping[] = {"sleep", "1000", NULL};
    const child_options o2 = {.argv = sleeping,
                              .environment = environment,
                              .ctx = &r,
                              .on_line = on_line,
                              .on_exit = on_exit_of_child};
    assert_int_equal(child_start(&s.loop, &o2, &c, NULL), OG_OK);
    child_signal(c, SIGTERM);
    run_until(&s, &r.over, 2);
    assert_int_equal(r.signal, SIGTERM);
    const char *const none[] = {"/no/such/program", NULL};
    const child_options o3 = {.argv = none,
                              .environment = environment,
                              .ctx = &r,
                              .on_line = on_line,
                              .on_exit = on_exit_of_child};
    og_error_init(&err);
    assert_int_equal(child_start(&s.loop, &o3, &c, &err), OG_IO);
    assert_non_null(strstr(err.text, "/no/such/program"));
    assert_int_equal(r.over, 2);
    standin_close(NULL, note, &s.closed);
    http_client_close(s.client, note, &s.closed);
    run_until(&s, &s.closed, 2);
    uv_close((uv_handle_t *)&s.guard, NULL);
    uv_run(&s.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s.loop), 0);
}

static void test_broker_topics(void **state)
{
    (void)state;
    static const char *const bad[] = {"a:0", "a:x", "a:", ",", "a:1,,b"};
    broker *b = NULL;
    og_error err;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        og_error_init(&err);
        assert_int_equal(broker_new(bad[i], 4, &b, &err), OG_INVALID);
        assert_true(err.text[0] != '\0');
    }
    assert_int_equal(broker_new("a:3,b", 2, &b, NULL), OG_OK);
    assert_non_null(strstr(broker_bootstrap(b), "127.0.0.1:"));
    broker_free(b);
    broker_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standin_is_idempotent),
        cmocka_unit_test(test_standin_fails_as_told),
        cmocka_unit_test(test_card_as_text),
        cmocka_unit_test(test_metrics_page),
        cmocka_unit_test(test_child),
        cmocka_unit_test(test_broker_topics),
    };
    return cmocka_run_group_tests_name("connectors_demo", tests, NULL, NULL);
}
