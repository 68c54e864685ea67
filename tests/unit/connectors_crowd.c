/* The server under ten thousand connections that say nothing, or too little: who asks properly is
 * answered meanwhile, memory stays where it is, and the deadline clears the hall. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "connectors/http_client.h"
#include "connectors/http_server.h"

#define WANTED      10000
#define ASKS        200
#define ROUNDS      6
#define DEADLINE_MS 20000
#define GUARD_MS    240000

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

typedef struct scene {
    uv_loop_t loop;
    uv_timer_t guard, beat;
    http_server *server;
    http_client *client;
    int *crowd;
    size_t count;
    size_t answers, closed;
    int status;
} scene;

static void guard_fired(uv_timer_t *t)
{
    (void)t;
    fail_msg("waited too long");
}

static void on_beat(uv_timer_t *t)
{
    (void)t; /* so that the loop comes round */
}

static void say_hello(void *ctx, http_exchange *x)
{
    (void)ctx;
    http_exchange_answer(x, 200, "text/plain", OG_STR("hello"));
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

/* Both ends of a connection are in this process. */
static size_t crowd_size(void)
{
    struct rlimit most;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &most), 0);
    most.rlim_cur = most.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &most), 0);
    size_t n = most.rlim_cur > 200 ? ((size_t)most.rlim_cur - 200) / 2 : 0;
    return n < WANTED ? n : WANTED;
}

static void scene_begin(scene *s)
{
    const http_route routes[] = {{"GET", "/hello", say_hello, NULL, 0},
                                 {"POST", "/hello", say_hello, NULL, 0}};
    http_server_options o = {.deadline_ms = DEADLINE_MS,
                             .max_connections = WANTED + 10,
                             .routes = routes,
                             .route_count = 2};
    http_client_options c = {.max_per_host = 1};
    memset(s, 0, sizeof *s);
    signal(SIGPIPE, SIG_IGN);
    s->count = crowd_size();
    s->crowd = calloc(s->count, sizeof *s->crowd);
    uv_loop_init(&s->loop);
    uv_timer_init(&s->loop, &s->guard);
    uv_timer_start(&s->guard, guard_fired, GUARD_MS, 0);
    uv_timer_init(&s->loop, &s->beat);
    uv_timer_start(&s->beat, on_beat, 5, 5);
    assert_int_equal(http_server_new(&s->loop, &o, &s->server, NULL), OG_OK);
    assert_int_equal(http_client_new(&s->loop, &c, &s->client, NULL), OG_OK);
}

static void scene_end(scene *s)
{
    size_t closed = 0;
    http_client_close(s->client, note_closed, &closed);
    http_server_close(s->server, 0, note_closed, &closed);
    run_until(s, &closed, 2);
    uv_close((uv_handle_t *)&s->guard, NULL);
    uv_close((uv_handle_t *)&s->beat, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    free(s->crowd);
}

static double resident_mb(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*s %ld", &pages), 1);
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

/* What is allocated and not freed; how the allocator cuts its pages is its own affair. */
static double held_mb(void)
{
    struct mallinfo2 m = mallinfo2();
    return (double)(m.uordblks + m.hblkhd) / 1e6;
}

/* A third says nothing, a third half a head, a third a head and half a body. */
static void come_in(scene *s)
{
    static const char *const says[] = {
        "", "GET /hello HTTP/1.1\r\nHost: x\r\nX-",
        "POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"};
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)http_server_port(s->server)),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    for (size_t i = 0; i < s->count; i++) {
        s->crowd[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_true(s->crowd[i] >= 0);
        assert_int_equal(connect(s->crowd[i], (struct sockaddr *)&a, sizeof a), 0);
        assert_int_equal(write(s->crowd[i], says[i % 3], strlen(says[i % 3])), strlen(says[i % 3]));
        while (i % 50 == 49 && http_server_connections(s->server) < i + 1)
            uv_run(&s->loop, UV_RUN_ONCE);
    }
}

static void go_out(scene *s)
{
    for (size_t i = 0; i < s->count; i++)
        close(s->crowd[i]);
    while (http_server_connections(s->server) > 1) /* the client may keep its own */
        uv_run(&s->loop, UV_RUN_ONCE);
}

static void on_answer(void *ctx, const http_response *r)
{
    scene *s = ctx;
    s->status = r->status;
    s->answers++;
}

static double ask(scene *s)
{
    char url[64];
    uint64_t began = uv_hrtime();
    snprintf(url, sizeof url, "http://127.0.0.1:%d/hello", http_server_port(s->server));
    for (size_t i = 0; i < ASKS; i++) {
        http_request q = {.method = "GET", .url = url};
        size_t want = s->answers + 1;
        assert_int_equal(http_client_send(s->client, &q, on_answer, s, NULL, NULL), OG_OK);
        run_until(s, &s->answers, want);
        assert_int_equal(s->status, 200);
    }
    return (double)(uv_hrtime() - began) / 1e6 / ASKS;
}

static void a_crowd_holds_nobody_up(void **state)
{
    scene s;
    double mb[ROUNDS + 1], held[ROUNDS + 1], ms[ROUNDS + 1];
    (void)state;
    scene_begin(&s);
    ms[0] = ask(&s);
    mb[0] = resident_mb();
    for (int round = 1; round <= ROUNDS; round++) {
        come_in(&s);
        ms[round] = ask(&s);
        mb[round] = resident_mb();
        held[round] = held_mb();
        if (round < ROUNDS)
            go_out(&s);
    }
    print_message(
        "%zu connections: %.1f MB alone, %.1f with them, %.1f the last time (%.1f and %.1f held); "
        "an answer in %.3f ms alone, %.3f with them\n",
        s.count, mb[0], mb[1], mb[ROUNDS], held[1], held[ROUNDS], ms[0], ms[ROUNDS]);
    assert_true((mb[ROUNDS] - mb[0]) * 1e6 / (double)s.count < 64e3); /* each */
    if (!SANITIZED) /* a sanitizer has its own allocator */
        assert_true(held[ROUNDS] < 1.1 * held[1]);
    /* nobody who stays in the hall is waited for */
    while (http_server_connections(s.server) > 1)
        uv_run(&s.loop, UV_RUN_ONCE);
    (void)ask(&s);
    for (size_t i = 0; i < s.count; i++)
        close(s.crowd[i]);
    scene_end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crowd_holds_nobody_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
