/* See rough_ehr.h. */
#include "rough_ehr.h"

#include <arpa/inet.h>

#define MAX_REQUEST ((size_t)16 << 20)
#define DRIP_MS     200

struct rough_ehr {
    uv_loop_t *loop;
    uv_tcp_t listener;
    rough_take_fn *take;
    void *ctx;
    int port;
    const rough_step *steps;
    size_t step_count, step_at;
    rough_step always;
    rough_request *requests;
    size_t request_count, request_cap;
    struct caller *callers;
    uv_timer_t drip;
    size_t open; /* handles */
    size_t endless_bytes;
};

typedef struct caller {
    struct caller *next;
    uv_tcp_t tcp;
    rough_ehr *e;
    og_buf in;
    bool closing, drips;
    size_t endless; /* bytes of its body so far */
} caller;

typedef struct writing {
    uv_write_t req;
    caller *c;
    bool close_after;
    char text[512];
} writing;

static void caller_closed(uv_handle_t *h)
{
    caller *c = h->data, **link = &c->e->callers;
    while (*link != c)
        link = &(*link)->next;
    *link = c->next;
    c->e->open--;
    c->e->endless_bytes += c->endless;
    og_buf_done(&c->in);
    free(c);
}

static void hang_up(caller *c)
{
    if (c->closing)
        return;
    c->closing = true;
    uv_close((uv_handle_t *)&c->tcp, caller_closed);
}

static void written(uv_write_t *req, int status)
{
    writing *w = req->data;
    if (status != 0 || w->close_after)
        hang_up(w->c);
    free(w);
}

static void say(caller *c, bool close_after, const char *fmt, ...) OG_PRINTF(3, 4);

static void say(caller *c, bool close_after, const char *fmt, ...)
{
    writing *w = calloc(1, sizeof *w);
    va_list ap;
    assert_non_null(w);
    w->c = c;
    w->close_after = close_after;
    va_start(ap, fmt);
    int n = vsnprintf(w->text, sizeof w->text, fmt, ap);
    va_end(ap);
    w->req.data = w;
    uv_buf_t b = uv_buf_init(w->text, (unsigned)n);
    if (uv_write(&w->req, (uv_stream_t *)&c->tcp, &b, 1, written) != 0) {
        free(w);
        hang_up(c);
    }
}

static void drip(uv_timer_t *t)
{
    const rough_ehr *e = t->data;
    for (caller *c = e->callers; c != NULL; c = c->next)
        if (c->drips && !c->closing)
            say(c, false, " ");
}

static void go_on(uv_write_t *req, int status)
{
    static char spaces[65536];
    caller *c = req->data;
    uv_buf_t b = uv_buf_init(spaces, sizeof spaces);
    memset(spaces, ' ', sizeof spaces);
    c->endless += status == 0 ? sizeof spaces : 0;
    if (status == 0 && !c->closing && uv_write(req, (uv_stream_t *)&c->tcp, &b, 1, go_on) == 0)
        return;
    free(req);
    hang_up(c);
}

static void say_without_end(caller *c)
{
    uv_write_t *req = calloc(1, sizeof *req);
    assert_non_null(req);
    req->data = c;
    say(c, false, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
    go_on(req, 0);
    c->endless = 0;
}

static void answer(caller *c, const rough_step *step)
{
    static const char nothing[] = "";
    const char *more = step->header != NULL ? step->header : nothing;
    switch (step->act) {
    case ROUGH_TAKE: say(c, false, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"); break;
    case ROUGH_ANSWER:
        say(c, false, "HTTP/1.1 %d As told\r\n%s%sContent-Length: 0\r\n\r\n", step->status, more,
            more[0] != '\0' ? "\r\n" : "");
        break;
    case ROUGH_HANG: break;
    case ROUGH_DRIP:
        say(c, false, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        c->drips = true;
        break;
    case ROUGH_ENDLESS: say_without_end(c); break;
    case ROUGH_CLOSE:
    case ROUGH_TAKE_CLOSE: hang_up(c); break;
    case ROUGH_HALF:
    case ROUGH_TAKE_HALF:
        say(c, true, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half");
        break;
    }
}

static bool takes(rough_act act)
{
    return act == ROUGH_TAKE || act == ROUGH_ENDLESS || act == ROUGH_TAKE_CLOSE ||
           act == ROUGH_TAKE_HALF;
}

static rough_step next_step(rough_ehr *e, og_str body)
{
    static const rough_step take = {.act = ROUGH_TAKE};
    rough_step step = e->step_at < e->step_count ? e->steps[e->step_at] : e->always;
    if (step.only != NULL && memmem(body.p, body.n, step.only, strlen(step.only)) == NULL)
        return take;
    e->step_at += e->step_at < e->step_count;
    return step;
}

static void take_request(caller *c, og_str head, og_str body)
{
    static const char name[] = "\r\nIdempotency-Key: ";
    rough_ehr *e = c->e;
    const char *key = memmem(head.p, head.n, name, strlen(name));
    if (e->request_count == e->request_cap) {
        e->request_cap = e->request_cap == 0 ? 256 : e->request_cap * 2;
        e->requests = realloc(e->requests, e->request_cap * sizeof *e->requests);
        assert_non_null(e->requests);
    }
    assert_non_null(key);
    rough_step step = next_step(e, body);
    rough_request *r = &e->requests[e->request_count++];
    *r = (rough_request){.at_ms = clock_monotonic_us() / 1000, .taken = takes(step.act)};
    key += strlen(name);
    snprintf(r->key, sizeof r->key, "%.*s", (int)strcspn(key, "\r"), key);
    if (r->taken)
        e->take(e->ctx, r->key, body);
    answer(c, &step);
}

/* Whole requests in what has come; curl sends one after the other. */
static void look(caller *c)
{
    static const char length[] = "\r\nContent-Length: ";
    for (;;) {
        og_str in = og_buf_str(&c->in);
        const char *end = in.n > 0 ? memmem(in.p, in.n, "\r\n\r\n", 4) : NULL;
        if (end == NULL || c->closing)
            return;
        og_str head = {in.p, (size_t)(end - in.p) + 2};
        const char *at = memmem(head.p, head.n, length, strlen(length));
        size_t n = at != NULL ? strtoul(at + strlen(length), NULL, 10) : 0;
        og_str body = og_str_from(in, head.n + 2);
        if (body.n < n)
            return;
        take_request(c, head, (og_str){body.p, n});
        og_str rest = og_str_from(in, head.n + 2 + n);
        memmove(c->in.p, rest.p, rest.n);
        c->in.n = rest.n;
    }
}

static void give_room(uv_handle_t *h, size_t wanted, uv_buf_t *out)
{
    static char room[65536];
    (void)h;
    (void)wanted;
    *out = uv_buf_init(room, sizeof room);
}

static void came(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    caller *c = stream->data;
    if (n < 0) {
        hang_up(c);
        return;
    }
    og_buf_add(&c->in, b->base, (size_t)n);
    assert_false(og_buf_failed(&c->in));
    look(c);
}

static void on_caller(uv_stream_t *listener, int status)
{
    rough_ehr *e = listener->data;
    caller *c = calloc(1, sizeof *c);
    assert_int_equal(status, 0);
    assert_non_null(c);
    c->e = e;
    og_buf_init(&c->in, MAX_REQUEST);
    c->next = e->callers;
    e->callers = c;
    e->open++;
    uv_tcp_init(e->loop, &c->tcp);
    c->tcp.data = c;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&c->tcp), 0);
    uv_read_start((uv_stream_t *)&c->tcp, give_room, came);
}

rough_ehr *rough_new(uv_loop_t *loop, rough_take_fn *take, void *ctx)
{
    struct sockaddr_in at;
    int n = sizeof at;
    rough_ehr *e = calloc(1, sizeof *e);
    assert_non_null(e);
    e->loop = loop;
    e->take = take;
    e->ctx = ctx;
    e->open = 2;
    uv_timer_init(loop, &e->drip);
    e->drip.data = e;
    uv_timer_start(&e->drip, drip, DRIP_MS, DRIP_MS);
    uv_tcp_init(loop, &e->listener);
    e->listener.data = e;
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &at), 0);
    assert_int_equal(uv_tcp_bind(&e->listener, (struct sockaddr *)&at, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&e->listener, 64, on_caller), 0);
    assert_int_equal(uv_tcp_getsockname(&e->listener, (struct sockaddr *)&at, &n), 0);
    e->port = ntohs(at.sin_port);
    return e;
}

int rough_port(const rough_ehr *e)
{
    return e->port;
}

void rough_play(rough_ehr *e, const rough_step *steps, size_t count, rough_step always)
{
    e->steps = steps;
    e->step_count = count;
    e->step_at = 0;
    e->always = always;
}

const rough_request *rough_requests(const rough_ehr *e, size_t *ret_count)
{
    *ret_count = e->request_count;
    return e->requests;
}

size_t rough_callers(const rough_ehr *e)
{
    size_t n = 0;
    for (const caller *c = e->callers; c != NULL; c = c->next)
        n += !c->closing;
    return n;
}

size_t rough_endless_bytes(const rough_ehr *e)
{
    return e->endless_bytes;
}

void rough_hang_up(rough_ehr *e)
{
    for (caller *c = e->callers; c != NULL; c = c->next)
        hang_up(c);
}

static void listener_closed(uv_handle_t *h)
{
    rough_ehr *e = h->data;
    e->open--;
}

static rough_ehr *going;

static bool is_closed(stage *s)
{
    (void)s;
    return going->open == 0;
}

void rough_free(rough_ehr *e, stage *s)
{
    rough_hang_up(e);
    uv_close((uv_handle_t *)&e->listener, listener_closed);
    uv_close((uv_handle_t *)&e->drip, listener_closed);
    going = e;
    wait_until(s, "the EHR closed", is_closed);
    free(e->requests);
    free(e);
}
