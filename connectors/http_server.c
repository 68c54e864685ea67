/* libmicrohttpd on a libuv loop, without a thread of its own.
 *
 *     its epoll descriptor ──► uv_poll ──► MHD_run ──► on_request ──► route ──► handler
 *     uv_timer: its time-outs and our deadlines
 *
 * libmicrohttpd times silence, not slowness: every connection has a deadline here, and who is over
 * it is answered 503 (when we are late) or cut off by shutdown(2) (when the client is). An exchange
 * that a handler holds is suspended in libmicrohttpd; suspended ones know no time-out at all and
 * must be resumed before the daemon stops.
 *
 * Lifetime of an exchange: it is freed when neither its handler (until it answers) nor
 * libmicrohttpd (until the answer is out or the connection gone) holds it. What it tells about the
 * request is its own copy. */
#include "connectors/http_server.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <strings.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fhir/base/arena.h"

enum {
    DEFAULT_CONNECTIONS = 256,
    DEFAULT_DEADLINE_MS = 10000,
    DEFAULT_IDLE_MS = 30000,
    LAST_WORDS_MS = 500, /* for writing an answer after a deadline */
    SLACK_MS = 20,       /* a deadline may be overdue by as much */
    /* Memory of one connection: over 32 KB libmicrohttpd maps it, and a crowd that has gone leaves
     * none of it behind. */
    POOL_BYTES = 40 * 1024,
    MAX_SPINS = 4,           /* then it waits for the client although it says that it need not */
    COPY_LIMIT = 256 * 1024, /* headers and query of one request; libmicrohttpd holds less */
};

#define TLS_PRIORITIES "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

typedef struct pair {
    struct pair *next;
    const char *name;
    og_str value;
} pair;

typedef struct peer { /* one connection */
    struct peer *prev, *next;
    http_server *server;
    int fd;
    uint64_t deadline;
    http_exchange *x; /* the request at hand */
} peer;

typedef enum exchange_state {
    EXCHANGE_READING,
    EXCHANGE_HANDLED,
    EXCHANGE_ANSWERED
} exchange_state;

struct http_exchange {
    http_server *server; /* NULL when libmicrohttpd does not hold it any more */
    peer *peer;
    struct MHD_Connection *mc;
    const http_route *route;
    exchange_state state;
    bool suspended, handler_holds, mhd_holds, too_large;
    og_arena *arena;
    og_str method, path, rest;
    pair *headers, *query, *answer_headers;
    og_buf body;
    size_t swallowed; /* bytes over the limit */
    int status;
    struct MHD_Response *response;
};

struct http_server {
    uv_loop_t *loop;
    struct MHD_Daemon *daemon;
    http_server_options o;
    http_route *routes;
    char *cert_pem, *key_pem, *client_ca_pem;
    int port;
    uv_poll_t poll;
    uv_timer_t timer;
    uv_idle_t again; /* active: libmicrohttpd has more to do at once */
    int spins;       /* how often in a row it said so */
    int handles;
    peer head; /* circular */
    size_t peers, exchanges;
    uint64_t first_deadline; /* no peer's is before it */
    bool running;            /* inside MHD_run */
    bool resumed; /* MHD_run has to come once more; libmicrohttpd does not tell by itself */
    bool closing, quiet, late;
    uint64_t close_until;
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

/* ---- exchanges ---- */

static void exchange_release(http_exchange *x)
{
    if (x->handler_holds || x->mhd_holds)
        return;
    if (x->response != NULL)
        MHD_destroy_response(x->response);
    og_buf_done(&x->body);
    og_arena_free(x->arena);
    free(x);
}

static void pair_add(og_arena *a, pair **list, const char *name, og_str value)
{
    pair *p = og_arena_alloc(a, sizeof(*p));
    og_str n = og_arena_str(a, og_str_of(name));
    og_str v = og_arena_str(a, value);
    if (p == NULL || n.p == NULL || v.p == NULL)
        return;
    *p = (pair){*list, n.p, v};
    *list = p;
}

typedef struct copying {
    og_arena *arena;
    pair **list;
} copying;

static enum MHD_Result copy_value(void *ctx, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    copying *c = ctx;
    (void)kind;
    pair_add(c->arena, c->list, name, og_str_of(value != NULL ? value : ""));
    return MHD_YES;
}

static og_str pair_get(const pair *list, const char *name, bool any_case)
{
    for (; list != NULL; list = list->next) {
        if ((any_case ? strcasecmp(list->name, name) : strcmp(list->name, name)) == 0)
            return list->value;
    }
    return (og_str){NULL, 0};
}

static http_exchange *exchange_new(http_server *s, struct MHD_Connection *mc, peer *p,
                                   const char *method, const char *path)
{
    http_exchange *x = calloc(1, sizeof(*x));
    if (x == NULL)
        return NULL;
    x->arena = og_arena_new(COPY_LIMIT);
    if (x->arena == NULL) {
        free(x);
        return NULL;
    }
    x->server = s;
    x->peer = p;
    x->mc = mc;
    x->mhd_holds = true;
    x->method = og_arena_str(x->arena, og_str_of(method));
    x->path = og_arena_str(x->arena, og_str_of(path));
    copying headers = {x->arena, &x->headers}, query = {x->arena, &x->query};
    MHD_get_connection_values(mc, MHD_HEADER_KIND, copy_value, &headers);
    MHD_get_connection_values(mc, MHD_GET_ARGUMENT_KIND, copy_value, &query);
    if (og_arena_failed(x->arena)) {
        x->mhd_holds = false;
        exchange_release(x);
        return NULL;
    }
    s->exchanges++;
    p->x = x;
    return x;
}

/* libmicrohttpd lets go: the answer is out, or the connection is gone. */
static void exchange_detach(http_exchange *x)
{
    x->server->exchanges--;
    if (x->peer != NULL && x->peer->x == x)
        x->peer->x = NULL;
    x->server = NULL;
    x->peer = NULL;
    x->mc = NULL;
    x->mhd_holds = false;
    exchange_release(x);
}

static struct MHD_Response *response_new(og_str body, const char *content_type, const pair *extra)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(
        body.n, (void *)(body.n > 0 ? body.p : ""), MHD_RESPMEM_MUST_COPY);
    if (r == NULL)
        return NULL;
    if (content_type != NULL)
        MHD_add_response_header(r, "Content-Type", content_type);
    for (; extra != NULL; extra = extra->next)
        MHD_add_response_header(r, extra->name, extra->value.p);
    return r;
}

static void wake(http_server *s);

/* Sets the answer unless there is one; a suspended connection goes on. */
static void exchange_set(http_exchange *x, int status, const char *content_type, og_str body)
{
    if (!x->mhd_holds || x->state == EXCHANGE_ANSWERED)
        return;
    x->state = EXCHANGE_ANSWERED;
    x->status = status;
    x->response = response_new(body, content_type, x->answer_headers);
    if (x->suspended) {
        x->suspended = false;
        MHD_resume_connection(x->mc);
        x->server->resumed = true;
        wake(x->server);
    }
}

static enum MHD_Result exchange_queue(http_exchange *x)
{
    if (x->response == NULL)
        return MHD_NO; /* no memory: the connection is closed */
    return MHD_queue_response(x->mc, (unsigned)x->status, x->response);
}

/* ---- requests ---- */

static bool path_matches(const http_route *r, const char *path, const char **ret_rest)
{
    size_t n = strlen(r->path);
    *ret_rest = "";
    if (n >= 2 && strcmp(r->path + n - 2, "/*") == 0) {
        *ret_rest = path + n - 1;
        return strncmp(r->path, path, n - 1) == 0 && path[n - 1] != '\0';
    }
    return strcmp(r->path, path) == 0;
}

static bool method_matches(const http_route *r, const char *method)
{
    return strcmp(r->method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(r->method, "GET") == 0);
}

static enum MHD_Result answer_now(http_exchange *x, int status, const char *text)
{
    exchange_set(x, status, "text/plain; charset=utf-8", og_str_of(text));
    return exchange_queue(x);
}

/* Finds the route; otherwise says 404 or 405 with the methods that there are. */
static const http_route *route_find(http_exchange *x, const char *method, const char *path,
                                    char *allow, size_t size)
{
    http_server *s = x->server;
    const char *rest;
    size_t used = 0;
    allow[0] = '\0';
    for (size_t i = 0; i < s->o.route_count; i++) {
        const http_route *r = &s->routes[i];
        if (!path_matches(r, path, &rest))
            continue;
        if (method_matches(r, method)) {
            x->rest = og_arena_str(x->arena, og_str_of(rest));
            return r;
        }
        int n = snprintf(allow + used, size - used, "%s%s", used > 0 ? ", " : "", r->method);
        used += n > 0 && (size_t)n < size - used ? (size_t)n : 0;
    }
    return NULL;
}

static size_t body_limit(const http_exchange *x)
{
    return x->route->max_body_bytes > 0 ? x->route->max_body_bytes : x->server->o.max_body_bytes;
}

static bool announces_too_much(const http_exchange *x)
{
    og_str v = pair_get(x->headers, "Content-Length", true);
    return v.p != NULL && strtoull(v.p, NULL, 10) > body_limit(x);
}

static void set_deadline(peer *p, uint64_t deadline)
{
    http_server *s = p->server;
    p->deadline = deadline;
    s->first_deadline = deadline < s->first_deadline ? deadline : s->first_deadline;
}

/* The head of a request is here. Answering now, before the body, makes libmicrohttpd close the
 * connection afterwards. */
static enum MHD_Result request_begin(http_server *s, struct MHD_Connection *mc, const char *path,
                                     const char *method, void **request)
{
    char allow[128];
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mc, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    peer *p = info != NULL ? info->socket_context : NULL;
    http_exchange *x = p != NULL ? exchange_new(s, mc, p, method, path) : NULL;
    if (x == NULL)
        return MHD_NO;
    *request = x;
    uint64_t until = uv_now(s->loop) + (uint64_t)s->o.deadline_ms;
    set_deadline(p, until < p->deadline ? until : p->deadline);
    x->route = route_find(x, method, path, allow, sizeof(allow));
    if (x->route == NULL && allow[0] == '\0')
        return answer_now(x, 404, "there is nothing here\n");
    if (x->route == NULL) {
        pair_add(x->arena, &x->answer_headers, "Allow", og_str_of(allow));
        return answer_now(x, 405, "not with this method\n");
    }
    if (announces_too_much(x))
        return answer_now(x, 413, "the body is longer than allowed\n");
    og_buf_init(&x->body, body_limit(x));
    return MHD_YES;
}

static enum MHD_Result request_body(http_exchange *x, const char *p, size_t *n)
{
    if (x->state ==
        EXCHANGE_ANSWERED) { /* answered before its body: what still comes is thrown away */
        *n = 0;
        return MHD_YES;
    }
    if (!x->too_large) {
        og_buf_add(&x->body, p, *n);
        x->too_large = og_buf_failed(&x->body);
    }
    if (x->too_large)
        x->swallowed += *n;
    *n = 0;
    /* Hear a sender out for a while, so that it reads our answer; then cut it off. */
    return x->swallowed > body_limit(x) + ((size_t)1 << 20) ? MHD_NO : MHD_YES;
}

static enum MHD_Result request_complete(http_exchange *x)
{
    if (x->state == EXCHANGE_ANSWERED)
        return exchange_queue(x);
    if (x->state == EXCHANGE_HANDLED) /* woken without an answer: sleep again */
        goto wait;
    if (x->too_large)
        return answer_now(x, 413, "the body is longer than allowed\n");
    x->state = EXCHANGE_HANDLED;
    x->handler_holds = true;
    x->route->fn(x->route->ctx, x);
    if (x->state == EXCHANGE_ANSWERED)
        return exchange_queue(x);
wait:
    MHD_suspend_connection(x->mc);
    x->suspended = true;
    return MHD_YES;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *mc, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **request)
{
    (void)version;
    if (*request == NULL)
        return request_begin(ctx, mc, path, method, request);
    if (*size > 0)
        return request_body(*request, data, size);
    return request_complete(*request);
}

static void on_completed(void *ctx, struct MHD_Connection *mc, void **request,
                         enum MHD_RequestTerminationCode code)
{
    http_server *s = ctx;
    http_exchange *x = *request;
    (void)mc;
    (void)code;
    *request = NULL;
    if (x == NULL)
        return;
    set_deadline(x->peer, uv_now(s->loop) + (uint64_t)(s->o.idle_ms + s->o.deadline_ms));
    exchange_detach(x);
}

static void on_connection(void *ctx, struct MHD_Connection *mc, void **socket_ctx,
                          enum MHD_ConnectionNotificationCode code)
{
    http_server *s = ctx;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CONNECTION_FD);
        peer *p = calloc(1, sizeof(*p));
        *socket_ctx = p;
        if (p == NULL)
            return; /* request_begin closes it */
        *p = (peer){.prev = s->head.prev,
                    .next = &s->head,
                    .server = s,
                    .fd = info != NULL ? info->connect_fd : -1};
        set_deadline(p, uv_now(s->loop) + (uint64_t)s->o.deadline_ms);
        p->prev->next = p->next->prev = p;
        s->peers++;
        return;
    }
    peer *p = *socket_ctx;
    *socket_ctx = NULL;
    if (p == NULL)
        return;
    p->prev->next = p->next;
    p->next->prev = p->prev;
    s->peers--;
    free(p);
}

/* ---- the loop's side ---- */

static void peer_overdue(http_server *s, peer *p)
{
    http_exchange *x = p->x;
    if (x != NULL && x->suspended) { /* we are late, not the client */
        exchange_set(x, 503, "text/plain; charset=utf-8", OG_STR("no answer in time\n"));
        set_deadline(p, uv_now(s->loop) + LAST_WORDS_MS);
        return;
    }
    p->deadline = UINT64_MAX;
    shutdown(p->fd, SHUT_RDWR);
}

/* All connections are only looked at when one may be overdue, and not more often than every
 * SLACK_MS: with ten thousand of them each look costs. */
static void deadlines(http_server *s)
{
    uint64_t now = uv_now(s->loop), first = UINT64_MAX;
    if (s->first_deadline > now)
        return;
    for (peer *p = s->head.next; p != &s->head; p = p->next) {
        if (p->deadline <= now)
            peer_overdue(s, p);
        first = p->deadline < first ? p->deadline : first;
    }
    s->first_deadline = first < now + SLACK_MS ? now + SLACK_MS : first;
}

static void server_step(http_server *s);

static void timer_fired(uv_timer_t *t)
{
    server_step(t->data);
}

static void run_again(uv_idle_t *i)
{
    server_step(i->data);
}

/* Something happened outside: libmicrohttpd is to run in the next turn of the loop. */
static void wake(http_server *s)
{
    s->spins = 0;
    if (!s->running)
        uv_idle_start(&s->again, run_again);
}

static uint64_t next_timeout(http_server *s)
{
    uint64_t now = uv_now(s->loop), first = s->closing ? s->close_until : UINT64_MAX;
    MHD_UNSIGNED_LONG_LONG mhd;
    first = s->first_deadline < first ? s->first_deadline : first;
    uint64_t ms = first == UINT64_MAX ? UINT64_MAX : first > now ? first - now : 0;
    if (s->resumed)
        return 0;
    if (MHD_get_timeout(s->daemon, &mhd) == MHD_YES && mhd < ms)
        ms = mhd;
    return ms;
}

static void close_step(http_server *s);

/* When libmicrohttpd is to run next. Not by a timer of 0 ms: libuv 1.44 would run it again and
 * again within one pass of its timers, and no descriptor would be looked at meanwhile. During a TLS
 * handshake it always says 0, although only the client can go on: every millisecond then. */
static void plan_next(http_server *s)
{
    uint64_t ms = next_timeout(s);
    if (ms > 0)
        s->spins = 0;
    if (ms == 0 && s->spins++ < MAX_SPINS) {
        uv_timer_stop(&s->timer);
        uv_idle_start(&s->again, run_again);
        return;
    }
    uv_idle_stop(&s->again);
    if (ms == UINT64_MAX)
        uv_timer_stop(&s->timer);
    else
        uv_timer_start(&s->timer, timer_fired, ms > 0 ? ms : 1, 0);
}

static void server_step(http_server *s)
{
    if (s->running || s->daemon == NULL)
        return;
    s->running = true;
    deadlines(s);
    s->resumed = false;
    MHD_run(s->daemon);
    s->running = false;
    if (s->closing)
        close_step(s);
    if (s->daemon != NULL)
        plan_next(s);
}

static void poll_ready(uv_poll_t *p, int status, int events)
{
    http_server *s = p->data;
    (void)status;
    (void)events;
    s->spins = 0;
    server_step(s);
}

/* ---- closing ---- */

static void server_free(http_server *s)
{
    for (size_t i = 0; s->routes != NULL && i < s->o.route_count; i++) {
        free((char *)s->routes[i].method);
        free((char *)s->routes[i].path);
    }
    free(s->routes);
    free(s->cert_pem);
    if (s->key_pem != NULL)
        explicit_bzero(s->key_pem, strlen(s->key_pem));
    free(s->key_pem);
    free(s->client_ca_pem);
    free(s);
}

static void handle_closed(uv_handle_t *h)
{
    http_server *s = h->data;
    if (--s->handles > 0)
        return;
    void (*on_closed)(void *) = s->on_closed;
    void *ctx = s->close_ctx;
    server_free(s);
    if (on_closed != NULL)
        on_closed(ctx);
}

static void answer_for_handlers(http_server *s)
{
    for (peer *p = s->head.next; p != &s->head; p = p->next) {
        if (p->x != NULL && p->x->suspended)
            exchange_set(p->x, 503, "text/plain; charset=utf-8",
                         OG_STR("the server is stopping\n"));
    }
}

static void close_step(http_server *s)
{
    const uint64_t now = uv_now(s->loop);
    if (!s->quiet) {
        s->quiet = true;
        int fd = MHD_quiesce_daemon(s->daemon);
        if (fd >= 0)
            close(fd);
    }
    if (s->exchanges > 0 && !s->late && now >= s->close_until) {
        s->late = true;
        s->close_until = now + LAST_WORDS_MS;
        answer_for_handlers(s);
        return;
    }
    if (s->exchanges > 0 && now < s->close_until)
        return;
    uv_poll_stop(&s->poll);
    s->running = true; /* its callbacks come from here too */
    answer_for_handlers(s);
    MHD_stop_daemon(s->daemon);
    s->daemon = NULL;
    uv_close((uv_handle_t *)&s->poll, handle_closed);
    uv_close((uv_handle_t *)&s->timer, handle_closed);
    uv_close((uv_handle_t *)&s->again, handle_closed);
}

void http_server_close(http_server *s, int grace_ms, void (*on_closed)(void *ctx), void *ctx)
{
    if (s == NULL) {
        if (on_closed != NULL)
            on_closed(ctx);
        return;
    }
    if (s->closing)
        return;
    s->closing = true;
    s->on_closed = on_closed;
    s->close_ctx = ctx;
    s->close_until = uv_now(s->loop) + (uint64_t)(grace_ms > 0 ? grace_ms : 0);
    wake(s);
}

/* ---- making one ---- */

static og_status listen_on(const char *address, int port, int *ret_fd, int *ret_port, og_error *err)
{
    char service[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *ai = NULL;
    snprintf(service, sizeof(service), "%d", port);
    if (port < 0 || port > 65535 || getaddrinfo(address, service, &hints, &ai) != 0)
        return og_fail(err, OG_INVALID, "%s port %d is not an address to listen on", address, port);
    const int on = 1;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool good = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0;
    int why = errno;
    freeaddrinfo(ai);
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound = {0};
    socklen_t size = sizeof(bound);
    if (!good || getsockname(fd, &bound.any, &size) != 0) {
        if (fd >= 0)
            close(fd);
        return og_fail(err, OG_IO, "cannot listen on %s port %d: %s", address, port, strerror(why));
    }
    *ret_fd = fd;
    *ret_port = ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
    return OG_OK;
}

static og_status routes_copy(http_server *s, const http_route *routes, size_t count, og_error *err)
{
    s->routes = calloc(count + 1, sizeof(*s->routes));
    if (s->routes == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    s->o.route_count = count;
    for (size_t i = 0; i < count; i++) {
        s->routes[i] = routes[i];
        s->routes[i].method = strdup(routes[i].method);
        s->routes[i].path = strdup(routes[i].path);
        if (s->routes[i].method == NULL || s->routes[i].path == NULL)
            return og_fail(err, OG_NOMEM, "out of memory");
    }
    return OG_OK;
}

static og_status daemon_start(http_server *s, int fd, og_error *err)
{
    unsigned idle_s = s->o.idle_ms >= 1000 ? (unsigned)s->o.idle_ms / 1000 : 1;
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
    struct MHD_OptionItem tls[5] = {{MHD_OPTION_END, 0, NULL}};
    size_t n = 0;
    if (s->o.cert_pem != NULL) {
        flags |= MHD_USE_TLS;
        tls[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, s->cert_pem};
        tls[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, s->key_pem};
        tls[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0,
                                           (void *)(uintptr_t)TLS_PRIORITIES};
        if (s->client_ca_pem != NULL)
            tls[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, s->client_ca_pem};
        tls[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    }
    s->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->o.max_connections, MHD_OPTION_CONNECTION_TIMEOUT,
        idle_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_ARRAY, tls,
        MHD_OPTION_END);
    if (s->daemon == NULL)
        return og_fail(err, OG_IO, "the HTTP server cannot start");
    return OG_OK;
}

/* What libmicrohttpd would only say as "cannot start". */
static og_status try_certificate(const char *cert, const char *key, og_error *err)
{
    gnutls_certificate_credentials_t c;
    if (gnutls_certificate_allocate_credentials(&c) != 0)
        return og_fail(err, OG_NOMEM, "out of memory");
    const gnutls_datum_t chain = {(unsigned char *)(uintptr_t)cert, (unsigned)strlen(cert)};
    const gnutls_datum_t secret = {(unsigned char *)(uintptr_t)key, (unsigned)strlen(key)};
    int rc = gnutls_certificate_set_x509_key_mem(c, &chain, &secret, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(c);
    return rc < 0 ? og_fail(err, OG_INVALID, "certificate and key cannot be used: %s",
                            gnutls_strerror(rc))
                  : OG_OK;
}

static og_status try_authority(const char *ca, og_error *err)
{
    gnutls_certificate_credentials_t c;
    if (gnutls_certificate_allocate_credentials(&c) != 0)
        return og_fail(err, OG_NOMEM, "out of memory");
    const gnutls_datum_t trusted = {(unsigned char *)(uintptr_t)ca, (unsigned)strlen(ca)};
    int rc = gnutls_certificate_set_x509_trust_mem(c, &trusted, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(c);
    if (rc > 0)
        return OG_OK;
    return og_fail(err, OG_INVALID, "whose certificates clients show cannot be used: %s",
                   rc < 0 ? gnutls_strerror(rc) : "there is no certificate");
}

og_status http_server_try_tls(const http_server_options *o, og_error *err)
{
    if (o->cert_pem == NULL)
        return OG_OK;
    if (o->key_pem == NULL)
        return og_fail(err, OG_INVALID, "a certificate needs its key");
    og_status status = try_certificate(o->cert_pem, o->key_pem, err);
    return status == OG_OK && o->client_ca_pem != NULL ? try_authority(o->client_ca_pem, err)
                                                       : status;
}

/* libmicrohttpd keeps the pointers that it is given. */
static og_status pems_copy(http_server *s, const http_server_options *o, og_error *err)
{
    const char *const from[] = {o->cert_pem, o->key_pem, o->client_ca_pem};
    char **const to[] = {&s->cert_pem, &s->key_pem, &s->client_ca_pem};
    for (int i = 0; i < 3; i++)
        if (from[i] != NULL && (*to[i] = strdup(from[i])) == NULL)
            return og_fail(err, OG_NOMEM, "out of memory");
    return http_server_try_tls(o, err);
}

og_status http_server_new(uv_loop_t *loop, const http_server_options *options, http_server **ret,
                          og_error *err)
{
    http_server *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    int fd = -1;
    s->loop = loop;
    s->head.prev = s->head.next = &s->head;
    s->o = *options;
    s->o.routes = NULL;
    s->o.route_count = 0;
    s->o.max_connections =
        options->max_connections > 0 ? options->max_connections : DEFAULT_CONNECTIONS;
    s->o.max_body_bytes = options->max_body_bytes > 0 ? options->max_body_bytes : (size_t)1 << 20;
    s->o.deadline_ms = options->deadline_ms > 0 ? options->deadline_ms : DEFAULT_DEADLINE_MS;
    s->o.idle_ms = options->idle_ms > 0 ? options->idle_ms : DEFAULT_IDLE_MS;
    og_status st = routes_copy(s, options->routes, options->route_count, err);
    if (st == OG_OK)
        st = pems_copy(s, options, err);
    if (st != OG_OK)
        goto fail;
    st = listen_on(options->address != NULL ? options->address : "127.0.0.1", options->port, &fd,
                   &s->port, err);
    if (st != OG_OK)
        goto fail;
    st = daemon_start(s, fd, err);
    if (st != OG_OK)
        goto fail;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL || uv_poll_init(loop, &s->poll, info->epoll_fd) != 0) {
        MHD_stop_daemon(s->daemon);
        st = og_fail(err, OG_IO, "the HTTP server cannot be watched");
        goto fail;
    }
    uv_timer_init(loop, &s->timer);
    uv_idle_init(loop, &s->again);
    s->poll.data = s->timer.data = s->again.data = s;
    s->handles = 3;
    uv_poll_start(&s->poll, UV_READABLE, poll_ready);
    *ret = s;
    return OG_OK;
fail:
    server_free(s);
    return st;
}

int http_server_port(const http_server *s)
{
    return s->port;
}

size_t http_server_connections(const http_server *s)
{
    return s->peers;
}

/* ---- what handlers see ---- */

og_str http_exchange_method(const http_exchange *x)
{
    return x->method;
}

og_str http_exchange_path(const http_exchange *x)
{
    return x->path;
}

og_str http_exchange_rest(const http_exchange *x)
{
    return x->rest;
}

og_str http_exchange_body(const http_exchange *x)
{
    return og_buf_str(&x->body);
}

og_str http_exchange_header(const http_exchange *x, const char *name)
{
    return pair_get(x->headers, name, true);
}

og_str http_exchange_query(const http_exchange *x, const char *name)
{
    return pair_get(x->query, name, false);
}

int64_t http_exchange_left_ms(const http_exchange *x)
{
    if (x->server == NULL || x->peer == NULL)
        return 0;
    uint64_t now = uv_now(x->server->loop);
    return x->peer->deadline > now ? (int64_t)(x->peer->deadline - now) : 0;
}

/* ---- client certificates ---- */

static bool names_certificate(gnutls_x509_crt_t crt, const char *name)
{
    char text[256];
    size_t size = sizeof text;
    if (gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, text, &size) == 0 &&
        size == strlen(name) && memcmp(text, name, size) == 0)
        return true;
    for (unsigned i = 0;; i++) {
        size = sizeof text;
        int type = gnutls_x509_crt_get_subject_alt_name(crt, i, text, &size, NULL);
        if (type < 0 && type != GNUTLS_E_SHORT_MEMORY_BUFFER)
            return false; /* no more, or not to be read */
        if (type == GNUTLS_SAN_DNSNAME && size == strlen(name) && memcmp(text, name, size) == 0)
            return true;
    }
}

static bool is_signed_for_clients(gnutls_session_t session)
{
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                     .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT};
    unsigned status = ~0u;
    return gnutls_certificate_type_get2(session, GNUTLS_CTYPE_CLIENT) == GNUTLS_CRT_X509 &&
           gnutls_certificate_verify_peers(session, &purpose, 1, &status) == 0 && status == 0;
}

bool http_exchange_certified(const http_exchange *x, const char *name)
{
    unsigned count = 0;
    gnutls_x509_crt_t crt;
    if (!x->mhd_holds || x->server->client_ca_pem == NULL)
        return false;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->mc, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (info == NULL || info->tls_session == NULL)
        return false;
    gnutls_session_t session = info->tls_session;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
    if (chain == NULL || count == 0 || !is_signed_for_clients(session) ||
        gnutls_x509_crt_init(&crt) != 0)
        return false;
    bool good = gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER) == 0 &&
                names_certificate(crt, name);
    gnutls_x509_crt_deinit(crt);
    return good;
}

static bool plain(const char *s)
{
    for (; *s != '\0'; s++) {
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
            return false;
    }
    return true;
}

bool http_exchange_add_header(http_exchange *x, const char *name, const char *value)
{
    if (*name == '\0' || !plain(name) || !plain(value) || strpbrk(name, " \t:") != NULL)
        return false;
    pair_add(x->arena, &x->answer_headers, name, og_str_of(value));
    return !og_arena_failed(x->arena);
}

void http_exchange_answer(http_exchange *x, int status, const char *content_type, og_str body)
{
    exchange_set(x, status, content_type, body);
    x->handler_holds = false;
    exchange_release(x);
}
