/* libcurl's multi interface on a libuv loop.
 *
 *     curl says which sockets and when ──► uv_poll, uv_timer ──► curl_multi_socket_action ──►
 * finished calls
 *
 * One multi handle keeps the connections. Every call has its own deadline here: libcurl does not
 * time a request that still waits for a free connection. Invariant: a call is in the client's list
 * exactly while its callback is owed, and callbacks are made only from the loop, outside of
 * libcurl. */
#include "connectors/http_client.h"

#include <ctype.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>

enum {
    DEFAULT_CONNECTIONS = 64,
    DEFAULT_PER_HOST = 16,
    DEFAULT_CONNECT_MS = 5000,
    DEFAULT_TIMEOUT_MS = 30000,
    HEADER_MAX = 1024,
    RETRY_MAX_MS = 3600000,
};

#define LAST_SECOND 253402300799 /* of the year 9999: HTTP has no later one */

struct http_call {
    http_call *prev, *next;
    http_client *client;
    CURL *easy;
    struct curl_slist *headers;
    char error[CURL_ERROR_SIZE];
    og_buf body, content_type, retry_after, date, wanted;
    const char *wanted_name;
    http_room *room;
    uint64_t started, deadline;
    http_response_fn *cb;
    void *ctx;
};

typedef struct watch { /* one socket of libcurl's */
    uv_poll_t poll;
    http_client *client;
    curl_socket_t fd;
} watch;

struct http_client {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer;    /* libcurl's */
    uv_timer_t deadline; /* ours: the earliest of the calls */
    int handles;         /* uv handles not closed yet, sockets included */
    http_call head;      /* circular */
    size_t pending, max_response;
    char *user_agent, *no_proxy;
    bool closing;
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

/* ---- finishing a call ---- */

static void call_free(http_call *c)
{
    if (c->easy != NULL)
        curl_easy_cleanup(c->easy);
    curl_slist_free_all(c->headers);
    if (c->room != NULL)
        c->room->used -= c->body.n;
    og_buf_done(&c->body);
    og_buf_done(&c->content_type);
    og_buf_done(&c->retry_after);
    og_buf_done(&c->date);
    og_buf_done(&c->wanted);
    free(c);
}

static void call_detach(http_call *c)
{
    curl_multi_remove_handle(c->client->multi, c->easy);
    c->prev->next = c->next;
    c->next->prev = c->prev;
    c->client->pending--;
}

static http_failure failure_of(CURLcode code, const char *text)
{
    switch (code) {
    case CURLE_OK: return HTTP_FAILURE_NONE;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT: return HTTP_FAILURE_CONNECT;
    case CURLE_OPERATION_TIMEDOUT: return HTTP_FAILURE_TIMEOUT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
    case CURLE_USE_SSL_FAILED: return HTTP_FAILURE_TLS;
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        /* TLS 1.3 refuses a client certificate only after the handshake. */
        return strstr(text, "SSL") != NULL && strstr(text, "alert") != NULL ? HTTP_FAILURE_TLS
                                                                            : HTTP_FAILURE_BROKEN;
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_SSL_SHUTDOWN_FAILED: return HTTP_FAILURE_BROKEN;
    default: return HTTP_FAILURE_OTHER;
    }
}

static og_str header_value(const og_buf *b)
{
    return b->n != 0 ? og_buf_str(b) : (og_str){NULL, 0};
}

static bool call_sent(const http_call *c)
{
    long size = 0;
    curl_off_t ready = 0;
    curl_easy_getinfo(c->easy, CURLINFO_REQUEST_SIZE, &size);
    curl_easy_getinfo(c->easy, CURLINFO_PRETRANSFER_TIME_T, &ready);
    return size > 0 || ready > 0;
}

/* Takes the call out and tells its owner. */
static void call_finish(http_call *c, CURLcode code)
{
    long status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    http_response r = {.failure = failure_of(code, c->error),
                       .status = (int)status,
                       .content_type = header_value(&c->content_type),
                       .retry_after = header_value(&c->retry_after),
                       .date = header_value(&c->date),
                       .wanted = header_value(&c->wanted),
                       .body = og_buf_str(&c->body),
                       .sent = call_sent(c),
                       .duration_ms = (int64_t)(uv_now(c->client->loop) - c->started)};
    if (r.failure != HTTP_FAILURE_NONE)
        r.error = c->error[0] != '\0' ? c->error : curl_easy_strerror(code);
    if (og_buf_failed(&c->body)) {
        r.failure = HTTP_FAILURE_TOO_LARGE;
        r.error = "the response is longer than allowed";
    }
    call_detach(c);
    if (c->cb != NULL)
        c->cb(c->ctx, &r);
    call_free(c);
}

static void finished_calls(http_client *h)
{
    CURLMsg *m;
    int left;
    while (!h->closing && (m = curl_multi_info_read(h->multi, &left)) != NULL) {
        http_call *c = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result; /* m is gone once the handle is removed */
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
        call_finish(c, code);
    }
}

/* ---- the loop's side ---- */

static void client_handle_closed(uv_handle_t *handle);

static void client_gone(http_client *h)
{
    if (--h->handles > 0)
        return;
    void (*on_closed)(void *) = h->on_closed;
    void *ctx = h->close_ctx;
    free(h->user_agent);
    free(h->no_proxy);
    free(h);
    if (on_closed != NULL)
        on_closed(ctx);
}

static void client_handle_closed(uv_handle_t *handle)
{
    client_gone(handle->data);
}

static void watch_closed(uv_handle_t *handle)
{
    watch *w = handle->data;
    client_gone(w->client);
    free(w);
}

static void socket_ready(uv_poll_t *p, int status, int events)
{
    watch *w = p->data;
    http_client *h = w->client;
    int what = 0, running;
    if (status < 0)
        what = CURL_CSELECT_ERR;
    if (events & UV_READABLE)
        what |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        what |= CURL_CSELECT_OUT;
    curl_multi_socket_action(h->multi, w->fd, what, &running);
    finished_calls(h);
}

static watch *watch_new(http_client *h, curl_socket_t fd)
{
    watch *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return NULL;
    w->client = h;
    w->fd = fd;
    if (uv_poll_init_socket(h->loop, &w->poll, fd) != 0) {
        free(w);
        return NULL;
    }
    w->poll.data = w;
    h->handles++;
    return w;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    http_client *h = ctx;
    watch *w = socket_ctx;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w != NULL) {
            uv_poll_stop(&w->poll);
            uv_close((uv_handle_t *)&w->poll, watch_closed);
            curl_multi_assign(h->multi, fd, NULL);
        }
        return 0;
    }
    if (w == NULL) {
        w = watch_new(h, fd);
        if (w == NULL)
            return -1;
        curl_multi_assign(h->multi, fd, w);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&w->poll, events, socket_ready);
}

static void timer_fired(uv_timer_t *t)
{
    http_client *h = t->data;
    int running;
    curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    finished_calls(h);
}

static int on_timer(CURLM *multi, long ms, void *ctx)
{
    http_client *h = ctx;
    (void)multi;
    if (h->closing)
        return 0;
    if (ms < 0)
        uv_timer_stop(&h->timer);
    else
        uv_timer_start(&h->timer, timer_fired, (uint64_t)ms, 0);
    return 0;
}

static void deadline_fired(uv_timer_t *t);

static void deadline_arm(http_client *h)
{
    uint64_t first = UINT64_MAX, now = uv_now(h->loop);
    for (http_call *c = h->head.next; c != &h->head; c = c->next)
        first = c->deadline < first ? c->deadline : first;
    if (first == UINT64_MAX)
        uv_timer_stop(&h->deadline);
    else
        uv_timer_start(&h->deadline, deadline_fired, first > now ? first - now : 0, 0);
}

/* Asked anew after each: a callback may have cancelled any other. */
static http_call *overdue(http_client *h)
{
    for (http_call *c = h->head.next; c != &h->head; c = c->next) {
        if (c->deadline <= uv_now(h->loop)) /* NOLINT(clang-analyzer-unix.Malloc): a finished call
                                               is not in the list */
            return c;
    }
    return NULL;
}

static void deadline_fired(uv_timer_t *t)
{
    http_client *h = t->data;
    http_call *c;
    while (!h->closing && (c = overdue(h)) != NULL) {
        snprintf(c->error, sizeof(c->error), "no answer within %" PRIu64 " ms",
                 c->deadline - c->started);
        /* HTTP/2 would keep the connection for the next one, and it may be dead. */
        curl_easy_setopt(c->easy, CURLOPT_FORBID_REUSE, 1L);
        call_finish(c, CURLE_OPERATION_TIMEDOUT);
    }
    if (!h->closing)
        deadline_arm(h);
}

/* ---- what comes back ---- */

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    http_call *c = ctx;
    size_t before = c->body.n;
    if (c->room != NULL && size * n > c->room->max - c->room->used)
        c->body.failed = true;
    og_buf_add(&c->body, p, size * n);
    if (c->room != NULL)
        c->room->used += c->body.n - before;
    return og_buf_failed(&c->body) ? 0 : size * n;
}

static void keep_header(og_buf *b, og_str line, const char *name)
{
    size_t n = strlen(name);
    if (line.n <= n || line.p[n] != ':' || strncasecmp(line.p, name, n) != 0)
        return;
    og_str v = og_str_from(line, n + 1);
    while (v.n > 0 && isspace((unsigned char)v.p[0]))
        v = og_str_from(v, 1);
    while (v.n > 0 && isspace((unsigned char)v.p[v.n - 1]))
        v.n--;
    og_buf_clear(b);
    og_buf_adds(b, v);
    if (og_buf_failed(b))
        og_buf_clear(b);
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
    http_call *c = ctx;
    og_str line = {p, size * n};
    if (og_str_starts(line, OG_STR("HTTP/"))) { /* a final response follows an interim one */
        og_buf_clear(&c->content_type);
        og_buf_clear(&c->retry_after);
        og_buf_clear(&c->date);
        og_buf_clear(&c->wanted);
        return line.n;
    }
    keep_header(&c->content_type, line, "Content-Type");
    keep_header(&c->retry_after, line, "Retry-After");
    keep_header(&c->date, line, "Date");
    if (c->wanted_name != NULL)
        keep_header(&c->wanted, line, c->wanted_name);
    return line.n;
}

/* ---- starting a call ---- */

static bool is_token(const char *s, size_t n) /* RFC 9110 5.6.2 */
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (!isalnum(c) && (c == 0 || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return n > 0;
}

static bool is_field_value(og_str v)
{
    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static og_status add_header(http_call *c, const char *name, og_str prefix, og_str value,
                            og_error *err)
{
    if (!is_token(name, strlen(name)) || !is_field_value(value))
        return og_fail(err, OG_INVALID, "a header that HTTP does not allow: %.64s", name);
    og_buf line;
    og_buf_init(&line, (size_t)1 << 20);
    /* libcurl wants a semicolon for an empty value. */
    if (prefix.n + value.n == 0)
        og_buf_addf(&line, "%s;", name);
    else
        og_buf_addf(&line, "%s: %.*s%.*s", name, OG_STR_ARG(prefix), OG_STR_ARG(value));
    struct curl_slist *grown =
        og_buf_failed(&line) ? NULL : curl_slist_append(c->headers, og_buf_str(&line).p);
    og_buf_done(&line);
    if (grown == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    c->headers = grown;
    return OG_OK;
}

static og_status add_headers(http_call *c, const http_request *r, og_error *err)
{
    /* Do not wait for a 100; a body without a type is not a form. */
    og_status st = OG_OK;
    bool typed = false;
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    if (list == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    c->headers = list;
    for (size_t i = 0; st == OG_OK && i < r->header_count; i++) {
        typed = typed || strcasecmp(r->headers[i].name, "Content-Type") == 0;
        st = add_header(c, r->headers[i].name, OG_STR(""), r->headers[i].value, err);
    }
    if (st == OG_OK && r->bearer.p != NULL)
        st = add_header(c, "Authorization", OG_STR("Bearer "), r->bearer, err);
    if (st == OG_OK && r->body.p != NULL && !typed)
        st = add_header(c, "Content-Type", OG_STR(""), OG_STR("application/octet-stream"), err);
    return st;
}

static void set_method(http_call *c, const http_request *r)
{
    const char *method = r->method != NULL ? r->method : r->body.p != NULL ? "POST" : "GET";
    if (r->body.p != NULL) {
        curl_easy_setopt(c->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.n);
        curl_easy_setopt(c->easy, CURLOPT_COPYPOSTFIELDS, r->body.n > 0 ? r->body.p : "");
    } else if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(c->easy, CURLOPT_NOBODY, 1L);
    } else if (strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) {
        curl_easy_setopt(c->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)0);
        curl_easy_setopt(c->easy, CURLOPT_COPYPOSTFIELDS, "");
    } else {
        curl_easy_setopt(c->easy, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, strcmp(method, "HEAD") == 0 ? NULL : method);
}

static void set_tls(http_call *c, const http_tls *tls)
{
    curl_easy_setopt(c->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (tls == NULL)
        return;
    if (tls->ca_file != NULL) { /* that one alone, not the system's as well */
        curl_easy_setopt(c->easy, CURLOPT_CAINFO, tls->ca_file);
        curl_easy_setopt(c->easy, CURLOPT_CAPATH, NULL);
    }
    if (tls->cert_file != NULL) {
        curl_easy_setopt(c->easy, CURLOPT_SSLCERT, tls->cert_file);
        curl_easy_setopt(c->easy, CURLOPT_SSLKEY,
                         tls->key_file != NULL ? tls->key_file : tls->cert_file);
    }
    if (tls->no_verify) {
        curl_easy_setopt(c->easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(c->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static void set_common(http_call *c, const http_request *r)
{
    CURL *e = c->easy;
    curl_easy_setopt(e, CURLOPT_PRIVATE, c);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->error);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT,
                     1L); /* a name lookup that hangs does not hold the loop */
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(
        e, CURLOPT_CONNECTTIMEOUT_MS,
        (long)(r->connect_timeout_ms > 0 ? r->connect_timeout_ms : DEFAULT_CONNECT_MS));
    curl_easy_setopt(e, CURLOPT_USERAGENT, c->client->user_agent);
    curl_easy_setopt(e, CURLOPT_NOPROXY, c->client->no_proxy);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
}

og_status http_client_send(http_client *h, const http_request *r, http_response_fn *cb, void *ctx,
                           http_call **ret_call, og_error *err)
{
    og_status st = h->closing ? og_fail(err, OG_INVALID, "the HTTP client is closing")
                              : http_url_check(r->url, err);
    if (st == OG_OK && r->method != NULL && !is_token(r->method, strlen(r->method)))
        st = og_fail(err, OG_INVALID, "not an HTTP method");
    if (st != OG_OK)
        return st;
    http_call *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    og_buf_init(&c->body, r->max_response_bytes > 0 ? r->max_response_bytes : h->max_response);
    og_buf_init(&c->content_type, HEADER_MAX);
    og_buf_init(&c->retry_after, HEADER_MAX);
    og_buf_init(&c->date, HEADER_MAX);
    og_buf_init(&c->wanted, HEADER_MAX);
    c->wanted_name = r->wanted;
    c->room = r->room;
    c->client = h;
    c->cb = cb;
    c->ctx = ctx;
    uv_update_time(h->loop);
    c->started = uv_now(h->loop);
    c->deadline = c->started + (uint64_t)(r->timeout_ms > 0 ? r->timeout_ms : DEFAULT_TIMEOUT_MS);
    st = add_headers(c, r, err);
    if (st != OG_OK)
        goto fail;
    c->easy = curl_easy_init();
    if (c->easy == NULL || curl_easy_setopt(c->easy, CURLOPT_URL, r->url) != CURLE_OK) {
        st = og_fail(err, OG_NOMEM, "out of memory");
        goto fail;
    }
    set_common(c, r);
    set_method(c, r);
    set_tls(c, r->tls);
    CURLMcode rc = curl_multi_add_handle(h->multi, c->easy);
    if (rc != CURLM_OK) {
        st = og_fail(err, OG_INTERNAL, "HTTP request: %s", curl_multi_strerror(rc));
        goto fail;
    }
    c->prev = h->head.prev;
    c->next = &h->head;
    c->prev->next = c->next->prev = c;
    h->pending++;
    deadline_arm(h);
    if (ret_call != NULL)
        *ret_call = c;
    return OG_OK;
fail:
    call_free(c);
    return st;
}

void http_call_cancel(http_call *c)
{
    call_detach(c);
    call_free(c);
}

size_t http_client_pending(const http_client *h)
{
    return h->pending;
}

/* ---- the client ---- */

/* The environment's exceptions, and this machine: a site's proxy is for the world outside. */
static char *no_proxy_list(void)
{
    const char *env = getenv("no_proxy");
    if (env == NULL)
        env = getenv("NO_PROXY");
    og_buf b;
    og_buf_init(&b, 65536);
    og_buf_addz(&b, env != NULL ? env : "");
    og_buf_addz(&b, env != NULL && *env != '\0' ? ",localhost,127.0.0.1,::1"
                                                : "localhost,127.0.0.1,::1");
    char *list = og_buf_failed(&b)
                     ? NULL
                     : strdup(og_str_is(og_buf_str(&b), "*,localhost,127.0.0.1,::1") ? "*" : b.p);
    og_buf_done(&b);
    return list;
}

static void multi_setup(http_client *h, const http_client_options *o)
{
    long total = o != NULL && o->max_connections > 0 ? o->max_connections : DEFAULT_CONNECTIONS;
    long per_host = o != NULL && o->max_per_host > 0 ? o->max_per_host : DEFAULT_PER_HOST;
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, total);
    curl_multi_setopt(h->multi, CURLMOPT_MAX_HOST_CONNECTIONS, per_host);
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, total);
    /* One call on a connection: others would keep it alive for the next when it is dead. */
    curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
}

og_status http_client_new(uv_loop_t *loop, const http_client_options *options, http_client **ret,
                          og_error *err)
{
    static bool ready; /* libcurl wants this once per process; the loop thread is the only caller */
    if (!ready && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return og_fail(err, OG_INTERNAL, "libcurl cannot be initialised");
    ready = true;
    http_client *h = calloc(1, sizeof(*h));
    if (h == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    h->loop = loop;
    h->head.prev = h->head.next = &h->head;
    h->max_response = options != NULL && options->max_response_bytes > 0
                          ? options->max_response_bytes
                          : (size_t)1 << 20;
    h->user_agent =
        strdup(options != NULL && options->user_agent != NULL ? options->user_agent
                                                              : "osteoguard/" OG_VERSION);
    h->no_proxy = no_proxy_list();
    h->multi = curl_multi_init();
    if (h->user_agent == NULL || h->no_proxy == NULL || h->multi == NULL) {
        if (h->multi != NULL)
            curl_multi_cleanup(h->multi);
        free(h->user_agent);
        free(h->no_proxy);
        free(h);
        return og_fail(err, OG_NOMEM, "out of memory");
    }
    uv_timer_init(loop, &h->timer);
    uv_timer_init(loop, &h->deadline);
    h->timer.data = h->deadline.data = h;
    h->handles = 2;
    multi_setup(h, options);
    *ret = h;
    return OG_OK;
}

void http_client_close(http_client *h, void (*on_closed)(void *ctx), void *ctx)
{
    if (h == NULL) {
        if (on_closed != NULL)
            on_closed(ctx);
        return;
    }
    if (h->closing)
        return;
    h->closing = true;
    h->on_closed = on_closed;
    h->close_ctx = ctx;
    for (http_call *c = h->head.next, *next; c != &h->head; c = next) {
        next = c->next;
        http_call_cancel(c);
    }
    curl_multi_cleanup(
        h->multi); /* closes the kept connections, which takes their sockets off the loop */
    uv_close((uv_handle_t *)&h->timer, client_handle_closed);
    uv_close((uv_handle_t *)&h->deadline, client_handle_closed);
}

/* ---- Retry-After ---- */

static og_str trim(og_str v)
{
    while (v.n > 0 && isspace((unsigned char)v.p[0]))
        v = og_str_from(v, 1);
    while (v.n > 0 && isspace((unsigned char)v.p[v.n - 1]))
        v.n--;
    return v;
}

static bool parse_date(og_str v, int64_t *ret_ms)
{
    char text[64];
    v = trim(v);
    if (v.n == 0 || v.n >= sizeof(text) || !isalpha((unsigned char)v.p[0]))
        return false;
    memcpy(text, v.p, v.n);
    text[v.n] = '\0';
    time_t t = curl_getdate(text, NULL);
    if (t == (time_t)-1)
        return false;
    *ret_ms = (t < LAST_SECOND ? (int64_t)t : LAST_SECOND) * 1000;
    return true;
}

static int64_t clamp_retry(int64_t ms)
{
    if (ms < 0)
        return 0;
    return ms > RETRY_MAX_MS ? RETRY_MAX_MS : ms;
}

int64_t http_retry_after_ms(og_str retry_after, og_str date, int64_t now_ms)
{
    og_str v = trim(retry_after);
    if (v.n == 0)
        return -1;
    int64_t seconds = 0, at;
    size_t i = 0;
    for (; i < v.n && v.p[i] >= '0' && v.p[i] <= '9'; i++) {
        if (seconds <= RETRY_MAX_MS)
            seconds = seconds * 10 + (v.p[i] - '0');
    }
    if (i == v.n)
        return clamp_retry(seconds * 1000);
    if (!parse_date(v, &at))
        return -1;
    (void)parse_date(date, &now_ms);
    return clamp_retry(at - now_ms);
}
