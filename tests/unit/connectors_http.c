/* HTTP in, HTTP out and the webhook, against each other and against raw sockets that behave badly.
 */
#include "connectors/ehr_webhook.h"
#include "connectors/http_client.h"
#include "connectors/http_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { GUARD_MS = 30000 };

typedef struct got { /* one answer */
    size_t count;
    http_failure failure;
    int status;
    bool sent;
    char body[256], type[64], error[300], wanted[64];
} got;

typedef struct scene {
    uv_loop_t loop;
    uv_timer_t guard;
    http_server *server;
    http_client *client;
    http_exchange *held; /* by the handler of /later */
    size_t closed, holds, posts;
    char key[64], type[64], auth[64];
    const char *want_token, *rotate_to, *token_file;
    int answer;
    const char *retry_after;
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

static void run_until(scene *s, const size_t *flag, size_t want)
{
    while (*flag < want)
        uv_run(&s->loop, UV_RUN_ONCE);
}

/* ---- handlers ---- */

static void say_hello(void *ctx, http_exchange *x)
{
    char text[200];
    og_str q = http_exchange_query(x, "name");
    (void)ctx;
    snprintf(text, sizeof(text), "hello %.*s from %.*s", OG_STR_ARG(q),
             OG_STR_ARG(http_exchange_rest(x)));
    assert_true(http_exchange_add_header(x, "X-Extra", "1"));
    assert_false(http_exchange_add_header(x, "X-Split", "1\r\nEvil: 1"));
    http_exchange_answer(x, 200, "text/plain", og_str_of(text));
}

static void echo(void *ctx, http_exchange *x)
{
    (void)ctx;
    http_exchange_answer(x, 200, "application/octet-stream", http_exchange_body(x));
}

static void hold(void *ctx, http_exchange *x)
{
    scene *s = ctx;
    s->held = x;
    s->holds++;
}

static void redirect(void *ctx, http_exchange *x)
{
    (void)ctx;
    assert_true(http_exchange_add_header(x, "Location", "/hello/there"));
    http_exchange_answer(x, 302, NULL, OG_STR(""));
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* An EHR: checks the token, answers what the test wants. */
static void ehr(void *ctx, http_exchange *x)
{
    scene *s = ctx;
    s->posts++;
    snprintf(s->key, sizeof(s->key), "%.*s",
             OG_STR_ARG(http_exchange_header(x, "idempotency-key")));
    snprintf(s->type, sizeof(s->type), "%.*s", OG_STR_ARG(http_exchange_header(x, "Content-Type")));
    snprintf(s->auth, sizeof(s->auth), "%.*s",
             OG_STR_ARG(http_exchange_header(x, "Authorization")));
    if (s->want_token != NULL && strcmp(s->auth, s->want_token) != 0) {
        if (s->rotate_to != NULL)
            put_file(s->token_file, s->rotate_to);
        http_exchange_answer(x, 401, NULL, OG_STR("secret detail"));
        return;
    }
    if (s->retry_after != NULL)
        assert_true(http_exchange_add_header(x, "Retry-After", s->retry_after));
    http_exchange_answer(x, s->answer, "application/json", OG_STR("{}"));
}

static void big(void *ctx, http_exchange *x)
{
    static char zeros[100000];
    (void)ctx;
    http_exchange_answer(x, 200, "text/plain", (og_str){zeros, sizeof(zeros)});
}

static void scene_begin(scene *s, int deadline_ms)
{
    memset(s, 0, sizeof(*s));
    s->answer = 200;
    assert_int_equal(uv_loop_init(&s->loop), 0);
    uv_timer_init(&s->loop, &s->guard);
    uv_timer_start(&s->guard, guard_fired, GUARD_MS, 0);
    const http_route routes[] = {{"GET", "/hello/*", say_hello, NULL, 0},
                                 {"POST", "/echo", echo, NULL, 0},
                                 {"POST", "/small", echo, NULL, 100},
                                 {"GET", "/later", hold, s, 0},
                                 {"GET", "/redirect", redirect, NULL, 0},
                                 {"POST", "/cards", ehr, s, 0},
                                 {"GET", "/big", big, NULL, 0}};
    http_server_options o = {.deadline_ms = deadline_ms,
                             .routes = routes,
                             .route_count = sizeof(routes) / sizeof(routes[0])};
    og_error err;
    og_error_init(&err);
    if (http_server_new(&s->loop, &o, &s->server, &err) != OG_OK)
        fail_msg("%s", err.text);
    http_client_options c = {.max_per_host = 2, .max_response_bytes = 10000};
    assert_int_equal(http_client_new(&s->loop, &c, &s->client, NULL), OG_OK);
}

static void scene_end(scene *s)
{
    size_t want = s->closed + 2;
    http_client_close(s->client, note_closed, &s->closed);
    http_server_close(s->server, 0, note_closed, &s->closed);
    run_until(s, &s->closed, want);
    uv_close((uv_handle_t *)&s->guard, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
}

/* ---- requests ---- */

static void on_answer(void *ctx, const http_response *r)
{
    got *g = ctx;
    g->count++;
    g->failure = r->failure;
    g->status = r->status;
    g->sent = r->sent;
    snprintf(g->body, sizeof(g->body), "%.*s", r->body.n < 200 ? (int)r->body.n : 200,
             r->body.p != NULL ? r->body.p : "");
    snprintf(g->type, sizeof(g->type), "%.*s", OG_STR_ARG(r->content_type));
    snprintf(g->wanted, sizeof(g->wanted), "%.*s", OG_STR_ARG(r->wanted));
    snprintf(g->error, sizeof(g->error), "%s", r->error != NULL ? r->error : "");
    assert_true((r->error == NULL) == (r->failure == HTTP_FAILURE_NONE));
}

static void request(scene *s, got *g, http_request r, const char *path, int port, http_call **call)
{
    char url[200];
    og_error err;
    og_error_init(&err);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d%s",
             port != 0 ? port : http_server_port(s->server), path);
    r.url = url;
    if (http_client_send(s->client, &r, on_answer, g, call, &err) != OG_OK)
        fail_msg("%s", err.text);
}

static got ask(scene *s, http_request r, const char *path)
{
    got g = {0};
    request(s, &g, r, path, 0, NULL);
    run_until(s, &g.count, 1);
    return g;
}

static void test_routes(void **state)
{
    (void)state;
    scene s;
    scene_begin(&s, 0);
    got g = ask(&s, (http_request){0}, "/hello/a/b%20c?name=J%C3%BCrg");
    assert_int_equal(g.status, 200);
    assert_string_equal(g.body, "hello J\xc3\xbcrg from a/b c");
    assert_string_equal(g.type, "text/plain");
    assert_string_equal(g.wanted, "");
    assert_string_equal(ask(&s, (http_request){.wanted = "x-extra"}, "/hello/x").wanted, "1");
    assert_string_equal(ask(&s, (http_request){.wanted = "X-Split"}, "/hello/x").wanted, "");
    assert_int_equal(ask(&s, (http_request){0}, "/hello/").status, 404);
    assert_int_equal(ask(&s, (http_request){0}, "/nothing").status, 404);
    assert_int_equal(ask(&s, (http_request){0}, "/echo").status, 405);
    g = ask(&s, (http_request){.method = "HEAD"}, "/hello/x");
    assert_int_equal(g.status, 200);
    assert_string_equal(g.body, "");
    g = ask(&s, (http_request){.method = "DELETE"}, "/hello/x");
    assert_int_equal(g.status, 405);
    /* A redirect is an answer, not an errand. */
    assert_int_equal(ask(&s, (http_request){0}, "/redirect").status, 302);
    scene_end(&s);
}

static void test_bodies_and_limits(void **state)
{
    (void)state;
    scene s;
    char body[101];
    memset(body, 'x', sizeof(body));
    scene_begin(&s, 0);
    got g = ask(&s, (http_request){.body = OG_STR("a\0b")}, "/echo");
    assert_int_equal(g.status, 200);
    assert_memory_equal(g.body, "a\0b", 1);
    assert_int_equal(ask(&s, (http_request){.body = {body, 0}}, "/echo").status, 200);
    assert_int_equal(ask(&s, (http_request){.body = {body, 100}}, "/small").status, 200);
    assert_int_equal(ask(&s, (http_request){.body = {body, 101}}, "/small").status, 413);
    const conn_header chunked[] = {{"Transfer-Encoding", OG_STR("chunked")}};
    http_request r = {.body = {body, 101}, .headers = chunked, .header_count = 1};
    assert_int_equal(ask(&s, r, "/small").status, 413);
    g = ask(&s, (http_request){0}, "/big");
    assert_int_equal(g.failure, HTTP_FAILURE_TOO_LARGE);
    assert_int_equal(g.status, 200);
    scene_end(&s);
}

static void test_answer_later(void **state)
{
    (void)state;
    scene s;
    scene_begin(&s, 0);
    got g = {0};
    request(&s, &g, (http_request){0}, "/later", 0, NULL);
    run_until(&s, &s.holds, 1);
    assert_int_equal(g.count, 0);
    assert_in_range(http_exchange_left_ms(s.held), 1, 10000);
    http_exchange_answer(s.held, 200, "text/plain", OG_STR("at last"));
    run_until(&s, &g.count, 1);
    assert_string_equal(g.body, "at last");
    /* The client goes away first. */
    http_call *call = NULL;
    got none = {0};
    request(&s, &none, (http_request){0}, "/later", 0, &call);
    run_until(&s, &s.holds, 2);
    http_call_cancel(call);
    assert_int_equal(http_client_pending(s.client), 0);
    http_exchange_answer(s.held, 200, NULL, OG_STR("to nobody"));
    assert_int_equal(ask(&s, (http_request){0}, "/hello/x").status, 200);
    assert_int_equal(none.count, 0);
    scene_end(&s);
}

static void test_late_handler_and_stop(void **state)
{
    (void)state;
    scene s;
    scene_begin(&s, 100);
    got g = {0};
    request(&s, &g, (http_request){0}, "/later", 0, NULL);
    run_until(&s, &g.count, 1);
    assert_int_equal(g.status, 503);
    http_exchange_answer(s.held, 200, NULL, OG_STR("too late"));
    /* Stopping answers for the handler that still holds one, and the handler may answer afterwards.
     */
    got h = {0};
    request(&s, &h, (http_request){0}, "/later", 0, NULL);
    run_until(&s, &s.holds, 2);
    http_server_close(s.server, 0, note_closed, &s.closed);
    run_until(&s, &h.count, 1);
    assert_int_equal(h.status, 503);
    run_until(&s, &s.closed, 1);
    s.server = NULL;
    assert_string_equal(http_exchange_path(s.held).p, "/later");
    assert_int_equal(http_exchange_left_ms(s.held), 0);
    http_exchange_answer(s.held, 200, NULL, OG_STR("even later"));
    scene_end(&s);
}

/* ---- raw sockets ---- */

typedef struct raw {
    uv_poll_t poll;
    int fd;
    size_t over;
    char text[1000];
    size_t n;
} raw;

static void raw_ready(uv_poll_t *p, int status, int events)
{
    raw *r = p->data;
    (void)status;
    (void)events;
    ssize_t n = read(r->fd, r->text + r->n, sizeof(r->text) - 1 - r->n);
    if (n > 0) {
        r->n += (size_t)n;
        return;
    }
    uv_poll_stop(p);
    r->over = 1;
}

static void raw_connect(scene *s, raw *r, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    memset(r, 0, sizeof(*r));
    r->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(r->fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(uv_poll_init(&s->loop, &r->poll, r->fd), 0);
    r->poll.data = r;
    uv_poll_start(&r->poll, UV_READABLE, raw_ready);
}

static void raw_say(raw *r, const char *text)
{
    assert_int_equal(write(r->fd, text, strlen(text)), strlen(text));
}

static void raw_end(scene *s, raw *r)
{
    uv_close((uv_handle_t *)&r->poll, NULL);
    uv_run(&s->loop, UV_RUN_NOWAIT);
    close(r->fd);
}

static void drip(uv_timer_t *t)
{
    raw *r = t->data;
    ssize_t n = write(r->fd, "a", 1);
    (void)n;
}

static void test_slow_sender_is_cut_off(void **state)
{
    (void)state;
    scene s;
    uv_timer_t timer;
    raw head, body;
    signal(SIGPIPE, SIG_IGN);
    scene_begin(&s, 200);
    raw_connect(&s, &head, http_server_port(s.server));
    raw_say(&head, "GET /hello/");
    uv_timer_init(&s.loop, &timer);
    timer.data = &head; /* a byte every 20 ms is no silence, and never a request */
    uv_timer_start(&timer, drip, 20, 20);
    run_until(&s, &head.over, 1);
    assert_int_equal(head.n, 0);
    raw_connect(&s, &body, http_server_port(s.server));
    raw_say(&body, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    timer.data = &body;
    run_until(&s, &body.over, 1);
    assert_int_equal(body.n, 0);
    uv_close((uv_handle_t *)&timer, NULL);
    raw_end(&s, &head);
    raw_end(&s, &body);
    assert_int_equal(http_server_connections(s.server), 0);
    scene_end(&s);
}

static void test_garbage_is_refused(void **state)
{
    (void)state;
    scene s;
    raw r;
    scene_begin(&s, 1000);
    raw_connect(&s, &r, http_server_port(s.server));
    raw_say(&r, "\x16\x03\x01 this is not HTTP\r\n\r\n");
    run_until(&s, &r.over, 1);
    raw_end(&s, &r);
    assert_int_equal(ask(&s, (http_request){0}, "/hello/x").status, 200);
    scene_end(&s);
}

/* A listener that the test plays by hand; it says `text` to the first that connects and hangs up,
 * or says nothing. */
typedef struct bad_server {
    uv_poll_t poll, conn_poll;
    uv_loop_t *loop;
    int fd, conn, port;
    const char *text;
} bad_server;

static void bad_request(uv_poll_t *p, int status, int events)
{
    bad_server *b = p->data;
    char ignored[4096];
    (void)status;
    (void)events;
    assert_true(read(b->conn, ignored, sizeof(ignored)) > 0);
    assert_int_equal(write(b->conn, b->text, strlen(b->text)), strlen(b->text));
    uv_poll_stop(p);
    close(b->conn);
    b->conn = -1;
    uv_close((uv_handle_t *)p, NULL);
}

static void bad_ready(uv_poll_t *p, int status, int events)
{
    bad_server *b = p->data;
    (void)status;
    (void)events;
    b->conn = accept(b->fd, NULL, NULL);
    assert_true(b->conn >= 0);
    uv_poll_init(b->loop, &b->conn_poll, b->conn);
    b->conn_poll.data = b;
    uv_poll_start(&b->conn_poll, UV_READABLE, bad_request);
}

static void bad_begin(scene *s, bad_server *b, const char *text)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof(a);
    *b = (bad_server){.loop = &s->loop, .conn = -1, .text = text};
    b->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(b->fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(b->fd, 16), 0);
    assert_int_equal(getsockname(b->fd, (struct sockaddr *)&a, &n), 0);
    b->port = ntohs(a.sin_port);
    uv_poll_init(&s->loop, &b->poll, b->fd);
    b->poll.data = b;
}

static void bad_end(scene *s, bad_server *b)
{
    uv_close((uv_handle_t *)&b->poll, NULL);
    uv_run(&s->loop, UV_RUN_NOWAIT);
    if (b->conn >= 0)
        close(b->conn);
    close(b->fd);
}

static void test_client_times_out(void **state)
{
    (void)state;
    scene s;
    bad_server b;
    got g[3] = {0};
    scene_begin(&s, 0);
    bad_begin(&s, &b, NULL); /* connects by backlog, never answers */
    /* The third waits for a connection, two per host, and gives up long before one is free. */
    for (int i = 0; i < 3; i++)
        request(&s, &g[i], (http_request){.timeout_ms = i < 2 ? 1000 : 50}, "/", b.port, NULL);
    for (int i = 2; i >= 0; i--) {
        run_until(&s, &g[i].count, 1);
        assert_int_equal(g[i].failure, HTTP_FAILURE_TIMEOUT);
        assert_int_equal(g[i].sent, i < 2);
        assert_non_null(strstr(g[i].error, i < 2 ? "1000 ms" : "50 ms"));
    }
    bad_end(&s, &b);
    scene_end(&s);
}

static void test_client_tells_failures_apart(void **state)
{
    (void)state;
    scene s;
    bad_server b;
    got g = {0};
    scene_begin(&s, 0);
    bad_begin(&s, &b, NULL);
    int port = b.port;
    bad_end(&s, &b); /* nobody listens there now */
    request(&s, &g, (http_request){0}, "/", port, NULL);
    run_until(&s, &g.count, 1);
    assert_int_equal(g.failure, HTTP_FAILURE_CONNECT);
    assert_false(g.sent);
    const char *const broken[] = {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
                                  "not HTTP at all\r\n\r\n", ""};
    for (size_t i = 0; i < 3; i++) {
        got h = {0};
        bad_begin(&s, &b, broken[i]);
        uv_poll_start(&b.poll, UV_READABLE, bad_ready);
        request(&s, &h, (http_request){0}, "/", b.port, NULL);
        run_until(&s, &h.count, 1);
        assert_int_equal(h.failure, HTTP_FAILURE_BROKEN);
        assert_true(h.sent);
        bad_end(&s, &b);
    }
    scene_end(&s);
}

static void test_client_refuses_bad_requests(void **state)
{
    (void)state;
    scene s;
    og_error err;
    scene_begin(&s, 0);
    const char *const urls[] = {NULL,       "",       "ftp://host/x", "file:///etc/passwd",
                                "nonsense", "http://"};
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        og_error_init(&err);
        assert_int_equal(http_client_send(s.client, &(http_request){.url = urls[i]}, on_answer,
                                          NULL, NULL, &err),
                         OG_INVALID);
    }
    const conn_header evil[][1] = {{{"X", OG_STR("a\r\nY: b")}},
                                   {{"X Y", OG_STR("a")}},
                                   {{"", OG_STR("a")}},
                                   {{"X:", OG_STR("a")}}};
    for (size_t i = 0; i < 4; i++) {
        http_request r = {.url = "http://127.0.0.1:1/", .headers = evil[i], .header_count = 1};
        og_error_init(&err);
        assert_int_equal(http_client_send(s.client, &r, on_answer, NULL, NULL, &err), OG_INVALID);
    }
    http_request r = {.url = "http://127.0.0.1:1/", .bearer = OG_STR("a\nb")};
    og_error_init(&err);
    assert_int_equal(http_client_send(s.client, &r, on_answer, NULL, NULL, &err), OG_INVALID);
    assert_null(strstr(err.text, "a\nb"));
    r = (http_request){.url = "http://127.0.0.1:1/", .method = "GE T"};
    assert_int_equal(http_client_send(s.client, &r, on_answer, NULL, NULL, NULL), OG_INVALID);
    assert_int_equal(http_client_pending(s.client), 0);
    scene_end(&s);
}

static void test_retry_after(void **state)
{
    (void)state;
    const og_str none = {NULL, 0}, date = OG_STR("Sun, 06 Nov 1994 08:49:37 GMT");
    const int64_t now = 784111777000; /* that instant */
    static const struct {
        const char *text;
        int64_t want;
    } cases[] = {{"0", 0},
                 {"7", 7000},
                 {" 120 ", 120000},
                 {"3601", 3600000},
                 {"99999999999999999999999", 3600000},
                 {"Sun, 06 Nov 1994 08:50:07 GMT", 30000},
                 {"Sunday, 06-Nov-94 08:50:07 GMT", 30000},
                 {"Sun Nov  6 08:50:07 1994", 30000},
                 {"Sun, 06 Nov 1994 08:00:00 GMT", 0},
                 {"Mon, 06 Nov 2034 08:00:00 GMT", 3600000},
                 {"Mon, 06 Nov 9999 08:00:00 GMT", 3600000},
                 {"Mon, 06 Nov 2000000000 08:00:00 GMT", 3600000},
                 {"Mon, 06 Nov 300000000 08:00:00 GMT", 3600000},
                 {"", -1},
                 {"-5", -1},
                 {"soon", -1},
                 {"1.5", -1},
                 {"7s", -1}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(http_retry_after_ms(og_str_of(cases[i].text), none, now), cases[i].want);
        /* The server's own clock counts where it is told. */
        assert_int_equal(http_retry_after_ms(og_str_of(cases[i].text), date, 0), cases[i].want);
    }
    assert_int_equal(http_retry_after_ms(none, none, now), -1);
}

/* ---- webhook ---- */

typedef struct outcome {
    size_t count;
    conn_verdict verdict;
    int64_t retry_after_ms;
    int status;
    http_failure failure;
    bool sent;
    char text[400];
} outcome;

static void on_result(void *ctx, const ehr_result *r)
{
    outcome *o = ctx;
    o->count++;
    o->verdict = r->verdict;
    o->retry_after_ms = r->retry_after_ms;
    o->status = r->status;
    o->failure = r->failure;
    o->sent = r->sent;
    snprintf(o->text, sizeof(o->text), "%s", r->text);
}

static ehr_webhook *endpoint_at(scene *s, int port, const char *token_file)
{
    char url[100];
    og_error err;
    og_error_init(&err);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/cards", port);
    ehr_webhook_options o = {.name = "ward", .url = url, .bearer_token_file = token_file};
    ehr_webhook *ep = NULL;
    if (ehr_webhook_new(s->client, &o, &ep, &err) != OG_OK)
        fail_msg("%s", err.text);
    return ep;
}

static ehr_webhook *endpoint(scene *s, const char *token_file)
{
    return endpoint_at(s, http_server_port(s->server), token_file);
}

static outcome post(scene *s, ehr_webhook *ep)
{
    outcome o = {0};
    assert_int_equal(
        ehr_webhook_post(ep, OG_STR("{\"cards\":[]}"), OG_STR("key-1"), on_result, &o, NULL),
        OG_OK);
    run_until(s, &o.count, 1);
    return o;
}

/* A head that says "taken" and then breaks off: the card may be there. One that refuses has not
 * taken it, however it ends. */
static void test_webhook_doubts_what_breaks_off(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        bool sent;
    } cases[] = {{"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", true},
                 {"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n", true},
                 {"HTTP/1.1 100 Continue\r\n\r\n", true},
                 {"HTTP/1.1 307 There\r\nContent-Length: 100\r\n\r\nshort", true},
                 {"not HTTP at all\r\n\r\n", true},
                 {"", true},
                 {"HTTP/1.1 522 Nobody\r\nContent-Length: 100\r\n\r\nshort", true},
                 {"HTTP/1.1 504 Late\r\nContent-Length: 100\r\n\r\nshort", true},
                 {"HTTP/1.1 503 Away\r\nContent-Length: 100\r\n\r\nshort", false},
                 {"HTTP/1.1 429 Slower\r\nContent-Length: 100\r\n\r\n", false}};
    scene s;
    bad_server b;
    scene_begin(&s, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bad_begin(&s, &b, cases[i].answer);
        uv_poll_start(&b.poll, UV_READABLE, bad_ready);
        ehr_webhook *ep = endpoint_at(&s, b.port, NULL);
        outcome o = post(&s, ep);
        assert_int_equal(o.failure, HTTP_FAILURE_BROKEN);
        assert_int_equal(o.verdict, CONN_AGAIN);
        assert_int_equal(o.sent, cases[i].sent);
        ehr_webhook_free(ep);
        bad_end(&s, &b);
    }
    scene_end(&s);
}

static void test_webhook_maps_answers(void **state)
{
    (void)state;
    static const struct {
        int status;
        conn_verdict want;
    } cases[] = {{200, CONN_DONE},  {201, CONN_DONE},  {202, CONN_DONE},  {204, CONN_DONE},
                 {400, CONN_NEVER}, {401, CONN_AGAIN}, {403, CONN_AGAIN}, {404, CONN_AGAIN},
                 {408, CONN_AGAIN}, {409, CONN_AGAIN}, {410, CONN_AGAIN}, {413, CONN_NEVER},
                 {422, CONN_NEVER}, {425, CONN_AGAIN}, {429, CONN_AGAIN}, {500, CONN_AGAIN},
                 {501, CONN_NEVER}, {502, CONN_AGAIN}, {503, CONN_AGAIN}, {504, CONN_AGAIN},
                 {302, CONN_AGAIN}, {307, CONN_AGAIN}, {304, CONN_AGAIN}, {418, CONN_NEVER}};
    scene s;
    scene_begin(&s, 0);
    ehr_webhook *ep = endpoint(&s, NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        s.answer = cases[i].status;
        outcome o = post(&s, ep);
        assert_int_equal(o.status, cases[i].status);
        assert_int_equal(o.verdict, cases[i].want);
        assert_int_equal(o.retry_after_ms, -1);
        assert_true((o.text[0] == '\0') == (o.verdict == CONN_DONE));
        assert_true(o.sent == (o.status / 100 == 3 || o.status == 408 || o.status == 500 ||
                               o.status == 502 || o.status == 504));
    }
    assert_string_equal(s.key, "key-1");
    assert_string_equal(s.type, "application/json");
    assert_string_equal(s.auth, "");
    s.answer = 503;
    s.retry_after = "7";
    outcome o = post(&s, ep);
    assert_int_equal(o.retry_after_ms, 7000);
    for (int f = HTTP_FAILURE_CONNECT; f <= HTTP_FAILURE_OTHER; f++) {
        if (f != HTTP_FAILURE_TOO_LARGE)
            assert_int_equal(ehr_webhook_verdict((http_failure)f, 0), CONN_AGAIN);
    }
    assert_int_equal(ehr_webhook_verdict(HTTP_FAILURE_TOO_LARGE, 200), CONN_DONE);
    og_error err;
    og_error_init(&err);
    assert_int_equal(ehr_webhook_post(ep, OG_STR("{}"), OG_STR("a\r\nb"), on_result, &o, &err),
                     OG_INVALID);
    /* Freed with a request under way: its callback does not come. */
    outcome none = {0};
    assert_int_equal(ehr_webhook_post(ep, OG_STR("{}"), OG_STR("k"), on_result, &none, NULL),
                     OG_OK);
    ehr_webhook_free(ep);
    assert_int_equal(http_client_pending(s.client), 0);
    assert_int_equal(none.count, 0);
    scene_end(&s);
}

static void test_webhook_token(void **state)
{
    (void)state;
    scene s;
    char path[] = "/tmp/og-token-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    scene_begin(&s, 0);
    og_error err;
    og_error_init(&err);
    ehr_webhook *ep = NULL;
    ehr_webhook_options o = {.url = "http://127.0.0.1:1/", .bearer_token_file = path};
    assert_int_equal(ehr_webhook_new(s.client, &o, &ep, &err), OG_IO); /* empty */
    assert_non_null(strstr(err.text, path));
    put_file(path, "first\n");
    s.token_file = path;
    ep = endpoint(&s, path);
    s.want_token = "Bearer first";
    assert_int_equal(post(&s, ep).verdict, CONN_DONE);
    /* Replaced between two posts. */
    put_file(path, "second, longer\n");
    s.want_token = "Bearer second, longer";
    assert_int_equal(post(&s, ep).verdict, CONN_DONE);
    assert_int_equal(s.posts, 2);
    /* Refused, and the file has another token by then: one more try. */
    s.want_token = "Bearer third";
    s.rotate_to = "third";
    assert_int_equal(post(&s, ep).verdict, CONN_DONE);
    assert_int_equal(s.posts, 4);
    /* Refused for good. */
    s.rotate_to = NULL;
    s.want_token = "Bearer fourth";
    outcome r = post(&s, ep);
    assert_int_equal(r.verdict, CONN_AGAIN);
    assert_int_equal(r.status, 401);
    assert_null(strstr(r.text, "third"));
    assert_null(strstr(r.text, "secret"));
    assert_int_equal(s.posts, 5);
    ehr_webhook_free(ep);
    unlink(path);
    scene_end(&s);
}

typedef struct sluggish { /* refuses the first token after a while, and then says nothing more */
    uv_timer_t timer, end;
    bool ended; /* its time, and a second */
    http_exchange *first;
    const char *token_file;
    http_exchange *second;
} sluggish;

static void refuse_late(uv_timer_t *t)
{
    sluggish *b = t->data;
    put_file(b->token_file, "second");
    http_exchange_answer(b->first, 401, NULL, OG_STR(""));
}

static void note_end(uv_timer_t *t)
{
    ((sluggish *)t->data)->ended = true;
}

static void take_late(void *ctx, http_exchange *x)
{
    sluggish *b = ctx;
    if (b->first != NULL) {
        b->second = x;
        return;
    }
    b->first = x;
    uv_timer_start(&b->timer, refuse_late, 1500, 0);
    uv_timer_start(&b->end, note_end, 3000, 0);
}

/* Whoever takes over waits for the call's timeout and a second: then it cannot be under way any
 * more, whatever became of its token. */
static void test_webhook_ends_in_time(void **state)
{
    (void)state;
    scene s;
    sluggish b = {.token_file = NULL};
    http_server *slow;
    size_t closed = 0;
    char path[] = "/tmp/og-token-XXXXXX", url[100];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    put_file(path, "first");
    scene_begin(&s, 0);
    const http_route routes[] = {{"POST", "/cards", take_late, &b, 0}};
    http_server_options so = {.routes = routes, .route_count = 1};
    assert_int_equal(http_server_new(&s.loop, &so, &slow, NULL), OG_OK);
    b.token_file = path;
    b.timer.data = b.end.data = &b;
    uv_timer_init(&s.loop, &b.timer);
    uv_timer_init(&s.loop, &b.end);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/cards", http_server_port(slow));
    ehr_webhook_options o = {.url = url, .bearer_token_file = path, .timeout_ms = 2000};
    ehr_webhook *ep = NULL;
    outcome r = {0};
    assert_int_equal(ehr_webhook_new(s.client, &o, &ep, NULL), OG_OK);
    assert_int_equal(ehr_webhook_post(ep, OG_STR("{}"), OG_STR("k"), on_result, &r, NULL), OG_OK);
    run_until(&s, &r.count, 1);
    assert_false(b.ended);
    assert_int_equal(r.verdict, CONN_AGAIN);
    ehr_webhook_free(ep);
    if (b.second != NULL)
        http_exchange_answer(b.second, 200, NULL, OG_STR(""));
    uv_close((uv_handle_t *)&b.timer, NULL);
    uv_close((uv_handle_t *)&b.end, NULL);
    http_server_close(slow, 0, note_closed, &closed);
    run_until(&s, &closed, 1);
    unlink(path);
    scene_end(&s);
}

/* ---- TLS: openssl is the other side ---- */

typedef struct tls_server {
    pid_t pid;
    int port;
    FILE *out;
    int in;
} tls_server;

static char tls_dir[] = "/tmp/og-tls-XXXXXX";

static bool tls_run(tls_server *t, const char *cert, const char *more)
{
    char command[800], line[300];
    int to[2], from[2];
    assert_int_equal(pipe(to), 0);
    assert_int_equal(pipe(from), 0);
    snprintf(command, sizeof(command),
             "cd %s && exec openssl s_server -accept 127.0.0.1:0 -cert %s.pem -key %s.key %s 2>&1",
             tls_dir, cert, cert, more);
    t->pid = fork();
    assert_true(t->pid >= 0);
    if (t->pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        close(to[1]);
        close(from[0]);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    t->in = to[1];
    t->out = fdopen(from[0], "r");
    t->port = 0;
    while (t->port == 0 && fgets(line, sizeof(line), t->out) != NULL)
        sscanf(line, "ACCEPT 127.0.0.1:%d", &t->port);
    return t->port != 0;
}

static bool tls_begin(tls_server *t, const char *cert, const char *more)
{
    char all[200];
    snprintf(all, sizeof(all), "-www %s", more);
    return tls_run(t, cert, all);
}

static void tls_end(tls_server *t)
{
    kill(t->pid, SIGKILL);
    waitpid(t->pid, NULL, 0);
    close(t->in);
    fclose(t->out);
}

static got tls_get(scene *s, int port, const http_tls *tls)
{
    char url[100];
    got g = {0};
    snprintf(url, sizeof(url), "https://localhost:%d/", port);
    http_request r = {.url = url, .tls = tls, .timeout_ms = 10000};
    assert_int_equal(http_client_send(s->client, &r, on_answer, &g, NULL, NULL), OG_OK);
    run_until(s, &g.count, 1);
    return g;
}

static void test_tls(void **state)
{
    (void)state;
    char command[1500], good[200], other[200], key[200], cert[200], path[200];
    tls_server t;
    scene s;
    assert_non_null(mkdtemp(tls_dir));
    snprintf(command, sizeof(command),
             "cd %s && for n in localhost other client; do openssl req -x509 -newkey ec -pkeyopt "
             "ec_paramgen_curve:P-256 "
             "-nodes -keyout $n.key -out $n.pem -days 2 -subj /CN=$n -addext subjectAltName=DNS:$n "
             ">/dev/null 2>&1 || exit 1; done; "
             "for n in localhost client; do openssl x509 -in $n.pem -signkey $n.key -days -1 "
             "-out expired-$n.pem && cp $n.key expired-$n.key || exit 1; done 2>/dev/null; "
             "cat client.pem expired-client.pem >clients.pem",
             tls_dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): fixed text */
    snprintf(good, sizeof(good), "%s/localhost.pem", tls_dir);
    snprintf(other, sizeof(other), "%s/other.pem", tls_dir);
    snprintf(cert, sizeof(cert), "%s/client.pem", tls_dir);
    snprintf(key, sizeof(key), "%s/client.key", tls_dir);
    scene_begin(&s, 0);

    assert_true(tls_begin(&t, "localhost", ""));
    got g = tls_get(&s, t.port, NULL); /* nobody that we know has signed it */
    assert_int_equal(g.failure, HTTP_FAILURE_TLS);
    assert_false(g.sent);
    assert_int_equal(tls_get(&s, t.port, &(http_tls){.ca_file = good}).status, 200);
    assert_int_equal(tls_get(&s, t.port, &(http_tls){.ca_file = other}).failure, HTTP_FAILURE_TLS);
    assert_int_equal(tls_get(&s, t.port, &(http_tls){.ca_file = "/nonexistent"}).failure,
                     HTTP_FAILURE_TLS);
    assert_int_equal(tls_get(&s, t.port, &(http_tls){.no_verify = true}).status, 200);
    tls_end(&t);

    assert_true(tls_begin(&t, "other", "")); /* a good signature on another name */
    assert_int_equal(tls_get(&s, t.port, &(http_tls){.ca_file = other}).failure, HTTP_FAILURE_TLS);
    tls_end(&t);

    static const char *const old[] = {"-tls1_1 -cipher DEFAULT@SECLEVEL=0",
                                      "-tls1 -cipher DEFAULT@SECLEVEL=0"};
    for (size_t i = 0; i < 2; i++) {
        assert_true(tls_begin(&t, "localhost", old[i]));
        assert_int_equal(tls_get(&s, t.port, &(http_tls){.ca_file = good}).failure,
                         HTTP_FAILURE_TLS);
        tls_end(&t);
    }

    assert_true(tls_begin(&t, "expired-localhost", "")); /* known, the right name, but too old */
    snprintf(path, sizeof(path), "%s/expired-localhost.pem", tls_dir);
    g = tls_get(&s, t.port, &(http_tls){.ca_file = path});
    assert_int_equal(g.failure, HTTP_FAILURE_TLS);
    assert_false(g.sent);
    assert_int_equal(tls_get(&s, t.port, &(http_tls){.no_verify = true}).status, 200);
    tls_end(&t);

    for (int v = 0; v < 2; v++) { /* TLS 1.3 refuses after the handshake, 1.2 during it */
        assert_true(tls_begin(&t, "localhost",
                              v == 0
                                  ? "-tls1_2 -Verify 1 -CAfile client.pem -verify_return_error"
                                  : "-tls1_3 -Verify 1 -CAfile client.pem -verify_return_error"));
        assert_int_equal(tls_get(&s, t.port, &(http_tls){.ca_file = good}).failure,
                         HTTP_FAILURE_TLS);
        assert_int_equal(tls_get(&s, t.port, &(http_tls){good, cert, key, false}).status, 200);
        tls_end(&t);
        /* ours is too old: the same key and name, and the other side knows it */
        assert_true(tls_begin(&t, "localhost",
                              v == 0
                                  ? "-tls1_2 -Verify 1 -CAfile clients.pem -verify_return_error"
                                  : "-tls1_3 -Verify 1 -CAfile clients.pem -verify_return_error"));
        snprintf(path, sizeof(path), "%s/expired-client.pem", tls_dir);
        assert_int_equal(tls_get(&s, t.port, &(http_tls){good, path, key, false}).failure,
                         HTTP_FAILURE_TLS);
        assert_int_equal(tls_get(&s, t.port, &(http_tls){good, cert, key, false}).status, 200);
        tls_end(&t);
    }
    scene_end(&s);
    snprintf(command, sizeof(command), "rm -r %s", tls_dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): fixed text */
}

/* A balancer or firewall that dropped the connection, or a worker behind it that hangs: HTTP/2
 * shares one connection, and what got no answer on it will get none there the next time. */
static void test_no_answer_is_not_asked_for_on_the_same_connection(void **state)
{
    (void)state;
    char command[500], url[100], line[300];
    int connections = 0;
    tls_server t;
    scene s;
    strcpy(tls_dir, "/tmp/og-tls-XXXXXX");
    assert_non_null(mkdtemp(tls_dir));
    snprintf(command, sizeof(command),
             "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
             "-keyout localhost.key -out localhost.pem -days 2 -subj /CN=localhost >/dev/null 2>&1",
             tls_dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): fixed text */
    scene_begin(&s, 0);
    assert_true(tls_run(&t, "localhost", "-alpn h2"));
    snprintf(url, sizeof(url), "https://localhost:%d/", t.port);
    for (int i = 0; i < 2; i++) {
        got g = {0};
        http_request r = {.url = url, .tls = &(http_tls){.no_verify = true}, .timeout_ms = 2000};
        assert_int_equal(http_client_send(s.client, &r, on_answer, &g, NULL, NULL), OG_OK);
        run_until(&s, &g.count, 1);
        assert_int_equal(g.failure, HTTP_FAILURE_TIMEOUT);
        assert_true(g.sent);
    }
    kill(t.pid, SIGKILL);
    while (fgets(line, sizeof(line), t.out) != NULL)
        connections += strstr(line, "ALPN protocols selected: h2") != NULL;
    assert_int_equal(connections, 2);
    tls_end(&t);
    scene_end(&s);
    snprintf(command, sizeof(command), "rm -r %s", tls_dir);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c): fixed text */
}

static void test_port_in_use(void **state)
{
    (void)state;
    scene s;
    og_error err;
    http_server *second = NULL;
    scene_begin(&s, 0);
    og_error_init(&err);
    http_server_options o = {.port = http_server_port(s.server)};
    assert_int_equal(http_server_new(&s.loop, &o, &second, &err), OG_IO);
    assert_non_null(strstr(err.text, "in use"));
    og_error_init(&err);
    assert_int_equal(
        http_server_new(&s.loop, &(http_server_options){.address = "no address"}, &second, &err),
        OG_INVALID);
    scene_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_bodies_and_limits),
        cmocka_unit_test(test_answer_later),
        cmocka_unit_test(test_late_handler_and_stop),
        cmocka_unit_test(test_slow_sender_is_cut_off),
        cmocka_unit_test(test_garbage_is_refused),
        cmocka_unit_test(test_port_in_use),
        cmocka_unit_test(test_client_times_out),
        cmocka_unit_test(test_client_tells_failures_apart),
        cmocka_unit_test(test_client_refuses_bad_requests),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_webhook_maps_answers),
        cmocka_unit_test(test_webhook_doubts_what_breaks_off),
        cmocka_unit_test(test_webhook_token),
        cmocka_unit_test(test_webhook_ends_in_time),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_no_answer_is_not_asked_for_on_the_same_connection),
    };
    return cmocka_run_group_tests_name("connectors_http", tests, NULL, NULL);
}
