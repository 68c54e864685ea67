/* Reads from a FHIR server.
 *
 *   token ─► request ─► page ─► next page …                         done
 *     ▲         │401 once (a token of ours)
 *     └─────────┤
 *     ▲         │429, 5xx, no connection
 *     └─ wait ──┘
 *
 * A read is in exactly one of these places: waiting for a token, waiting for its time, or with a
 * request under way. Its one timer ends the first two. */
#include "connectors/fhir_client.h"

#include <ctype.h>
#include <stdlib.h>
#include <time.h>

enum {
    MAX_URL = 65536,
    MAX_GET = 2000, /* a longer address is more than some servers and proxies take */
    MAX_TRIES = 6,  /* of one page */
    MAX_BEARER = 65536,
    DEFAULT_PAGES = 100,
    DEFAULT_RETRY_MIN_MS = 50,
    DEFAULT_RETRY_MAX_MS = 5000,
};
#define DEFAULT_BYTES ((size_t)32 << 20)

struct fhir_read {
    fhir_read *prev, *next;
    fhir_client *client;
    uv_timer_t timer;
    char *url, *form; /* of the page that is being read; form NULL: GET */
    og_buf bearer;    /* its own token */
    bool own, renewed, ended;
    uint64_t token_version;
    http_call *call;
    smart_wait wait;
    unsigned tries, repeats, pages;
    size_t bytes;
    uint64_t began, deadline; /* of the loop */
    int status;
    fhir_query query; /* callbacks only */
};

struct fhir_client {
    uv_loop_t *loop;
    http_client *http;
    fhir_client_options options;
    char *name, *base_url, *ca_file, *cert_file, *key_file;
    http_tls tls;
    uint64_t random;
    fhir_read head; /* circular */
    size_t handles; /* timers not closed yet */
    bool closing;
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

const char *fhir_outcome_name(fhir_outcome outcome)
{
    static const char *const names[] = {"done", "none",      "refused",   "no-token",     "late",
                                        "down", "too-large", "malformed", "foreign-link", "failed"};
    return names[outcome];
}

/* ---- the end of a read ---- */

static void client_free(fhir_client *c)
{
    void (*on_closed)(void *) = c->on_closed;
    void *ctx = c->close_ctx;
    free(c->name);
    free(c->base_url);
    free(c->ca_file);
    free(c->cert_file);
    free(c->key_file);
    free(c);
    if (on_closed != NULL)
        on_closed(ctx);
}

static void timer_closed(uv_handle_t *h)
{
    fhir_read *r = h->data;
    fhir_client *c = r->client;
    free(r);
    if (--c->handles == 0 && c->closing)
        client_free(c);
}

/* Out of everything; its memory goes when the loop has let go of its timer. */
static void read_release(fhir_read *r)
{
    r->ended = true;
    r->prev->next = r->next;
    r->next->prev = r->prev;
    if (r->call != NULL)
        http_call_cancel(r->call);
    smart_leave(&r->wait);
    if (r->bearer.p != NULL)
        explicit_bzero(r->bearer.p, r->bearer.cap);
    og_buf_done(&r->bearer);
    free(r->url);
    free(r->form);
    uv_close((uv_handle_t *)&r->timer, timer_closed);
}

static void read_end(fhir_read *r, fhir_outcome outcome, int64_t retry_after_ms, const char *what)
{
    char text[400] = "";
    if (outcome != FHIR_READ_DONE)
        snprintf(text, sizeof text, "%s: %s", r->client->name, what);
    fhir_result out = {.outcome = outcome,
                       .status = r->status,
                       .text = text,
                       .retry_after_ms = retry_after_ms,
                       .pages = r->pages,
                       .repeats = r->repeats,
                       .duration_ms = (int64_t)(uv_now(r->client->loop) - r->began)};
    void (*on_done)(void *, const fhir_result *) = r->query.on_done;
    void *ctx = r->query.ctx;
    read_release(r); /* before the callback, which may close the client */
    on_done(ctx, &out);
}

/* ---- trying again ---- */

static void read_begin(fhir_read *r);

static void on_time(uv_timer_t *t)
{
    fhir_read *r = t->data;
    if (uv_now(r->client->loop) >= r->deadline)
        read_end(r, FHIR_READ_LATE, -1, "no time is left");
    else
        read_begin(r);
}

static uint64_t draw(fhir_client *c, uint64_t below)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return below > 0 ? c->random % below : 0;
}

/* Between half and all of the wait, which doubles; never before the server wants it. */
static int64_t wait_of(fhir_read *r, int64_t retry_after_ms)
{
    const fhir_client_options *o = &r->client->options;
    int64_t most = o->retry_min_ms;
    for (unsigned i = 1; i < r->tries && most < o->retry_max_ms; i++)
        most *= 2;
    most = most > o->retry_max_ms ? o->retry_max_ms : most;
    int64_t wait = most / 2 + (int64_t)draw(r->client, (uint64_t)(most - most / 2 + 1));
    return retry_after_ms > wait ? retry_after_ms : wait;
}

static void try_again(fhir_read *r, int64_t retry_after_ms, const char *what)
{
    int64_t wait = wait_of(r, retry_after_ms);
    uv_update_time(r->client->loop);
    int64_t left = (int64_t)r->deadline - (int64_t)uv_now(r->client->loop);
    if (r->tries >= MAX_TRIES || wait >= left) {
        read_end(r, FHIR_READ_DOWN, retry_after_ms, what);
        return;
    }
    r->repeats++;
    uv_timer_start(&r->timer, on_time, (uint64_t)wait, 0);
}

static bool in_passing(const http_response *r)
{
    switch (r->failure) {
    case HTTP_FAILURE_CONNECT:
    case HTTP_FAILURE_TIMEOUT:
    case HTTP_FAILURE_BROKEN: return true;
    case HTTP_FAILURE_NONE: break;
    default: return false;
    }
    switch (r->status) {
    case 408:
    case 425:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504: return true;
    default: return false;
    }
}

/* ---- answers ---- */

static int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The address may hold a patient's id, and so may what curl says of it: kinds only. */
static const char *failure_text(http_failure f)
{
    switch (f) {
    case HTTP_FAILURE_CONNECT: return "cannot be reached";
    case HTTP_FAILURE_TIMEOUT: return "does not answer in time";
    case HTTP_FAILURE_TLS: return "TLS fails (certificate or handshake)";
    case HTTP_FAILURE_TOO_LARGE: return "the answer is larger than allowed";
    case HTTP_FAILURE_BROKEN: return "the connection was lost";
    default: return "the request could not be made";
    }
}

/* What an error answer says: its status, and the code of its OperationOutcome. */
static void describe(const fhir_read *r, const http_response *h, char *out, size_t size)
{
    fhir_envelope e = {0};
    if (h->failure != HTTP_FAILURE_NONE) {
        snprintf(out, size, "%s", failure_text(h->failure));
        return;
    }
    bool outcome = h->body.n > 0 && r->client->options.envelope(h->body, &e) == OG_OK &&
                   e.is_outcome && e.issue[0] != '\0';
    for (const char *c = e.issue; outcome && *c != '\0'; c++)
        outcome = islower((unsigned char)*c) || *c == '-';
    snprintf(out, size, "answers %d%s%s%s", h->status, outcome ? " (" : "", outcome ? e.issue : "",
             outcome ? ")" : "");
}

/* What a server keeps beside its FHIR resources gets no token either. */
static og_status stay_below(const fhir_client *c, og_status status, const og_buf *url,
                            og_error *err)
{
    if (status != OG_OK || og_buf_failed(url) || http_url_below(c->base_url, url->p))
        return status;
    return og_fail(err, OG_INVALID, "the link leads out of the server's base URL");
}

static void next_page(fhir_read *r, const char *link)
{
    og_buf url;
    og_error err;
    og_error_init(&err);
    if (r->pages >= r->client->options.max_pages) {
        read_end(r, FHIR_READ_TOO_LARGE, -1, "more pages than allowed");
        return;
    }
    og_buf_init(&url, MAX_URL);
    og_status status = http_url_join(r->url, link, &url, &err);
    status = stay_below(r->client, status, &url, &err);
    char *copy = status == OG_OK && !og_buf_failed(&url) ? strdup(url.p) : NULL;
    og_buf_done(&url);
    if (copy == NULL) {
        read_end(r, status == OG_INVALID ? FHIR_READ_FOREIGN : FHIR_READ_FAILED, -1,
                 status == OG_INVALID ? err.text : "out of memory");
        return;
    }
    free(r->url);
    free(r->form);
    r->url = copy;
    r->form = NULL;
    r->tries = 0;
    read_begin(r);
}

static void take_page(fhir_read *r, const http_response *h)
{
    fhir_envelope e = {0};
    og_status status = r->client->options.envelope(h->body, &e);
    char text[120];
    r->bytes += h->body.n;
    if (status == OG_LIMIT) {
        read_end(r, FHIR_READ_TOO_LARGE, -1, "a link that is longer than allowed");
    } else if (status != OG_OK) {
        read_end(r, FHIR_READ_MALFORMED, -1, "the answer is no FHIR resource");
    } else if (e.is_outcome) {
        describe(r, h, text, sizeof text);
        read_end(r, FHIR_READ_FAILED, -1, text);
    } else {
        r->pages++;
        bool more = r->query.on_page(r->query.ctx, h->body);
        if (r->ended)
            return; /* cancelled from inside: timer_closed frees it in a later turn */
        if (!more)
            read_end(r, FHIR_READ_TOO_LARGE, -1, "more than can be kept");
        else if (e.next[0] != '\0')
            next_page(r, e.next);
        else
            read_end(r, FHIR_READ_DONE, -1, "");
    }
}

static void refused(fhir_read *r, const http_response *h)
{
    smart *tokens = r->client->options.tokens;
    char text[120];
    if (h->status == 401 && !r->own && tokens != NULL && !r->renewed) {
        r->renewed = true;
        smart_refused(tokens, r->token_version);
        read_begin(r);
        return;
    }
    describe(r, h, text, sizeof text);
    read_end(r, FHIR_READ_REFUSED, -1, text);
}

static void on_answer(void *ctx, const http_response *h)
{
    fhir_read *r = ctx;
    char text[120];
    r->call = NULL;
    r->status = h->status;
    if (h->failure == HTTP_FAILURE_NONE && h->status == 200) {
        take_page(r, h);
    } else if (h->failure == HTTP_FAILURE_TOO_LARGE) {
        read_end(r, FHIR_READ_TOO_LARGE, -1, failure_text(h->failure));
    } else if (h->failure == HTTP_FAILURE_NONE && (h->status == 401 || h->status == 403)) {
        refused(r, h);
    } else if (h->failure == HTTP_FAILURE_NONE && (h->status == 404 || h->status == 410)) {
        describe(r, h, text, sizeof text);
        read_end(r, FHIR_READ_NONE, -1, text);
    } else if (h->failure == HTTP_FAILURE_TIMEOUT && uv_now(r->client->loop) >= r->deadline) {
        read_end(r, FHIR_READ_LATE, -1, "no time is left");
    } else {
        describe(r, h, text, sizeof text);
        if (in_passing(h))
            try_again(r, http_retry_after_ms(h->retry_after, h->date, wall_ms()), text);
        else
            read_end(r, FHIR_READ_FAILED, -1, text);
    }
}

/* ---- requests ---- */

static void read_send(fhir_read *r, og_str bearer)
{
    fhir_client *c = r->client;
    og_error err;
    const conn_header headers[] = {{"Accept", OG_STR("application/fhir+json")},
                                   {"Content-Type", OG_STR("application/x-www-form-urlencoded")}};
    uv_update_time(c->loop);
    int64_t left = (int64_t)r->deadline - (int64_t)uv_now(c->loop);
    int64_t most = c->options.timeout_ms > 0 ? c->options.timeout_ms : 30000;
    if (left <= 0) {
        read_end(r, FHIR_READ_LATE, -1, "no time is left");
        return;
    }
    http_request q = {.method = r->form != NULL ? "POST" : "GET",
                      .url = r->url,
                      .headers = headers,
                      .header_count = r->form != NULL ? 2 : 1,
                      .body = r->form != NULL ? og_str_of(r->form) : (og_str){NULL, 0},
                      .bearer = bearer,
                      .connect_timeout_ms = c->options.connect_timeout_ms,
                      .timeout_ms = (int)(left < most ? left : most),
                      .tls = &c->tls,
                      .room = r->query.room,
                      .max_response_bytes =
                          r->bytes < c->options.max_bytes ? c->options.max_bytes - r->bytes : 1};
    og_error_init(&err);
    r->tries++;
    if (http_client_send(c->http, &q, on_answer, r, &r->call, &err) != OG_OK) {
        r->call = NULL;
        read_end(r, FHIR_READ_FAILED, -1, "the request could not be made");
    }
}

static void on_token(void *ctx, const char *why)
{
    fhir_read *r = ctx;
    uv_timer_stop(&r->timer);
    if (why != NULL)
        read_end(r, FHIR_READ_NO_TOKEN, -1, why);
    else
        read_begin(r);
}

static void read_begin(fhir_read *r)
{
    smart *tokens = r->client->options.tokens;
    og_str bearer = {NULL, 0};
    if (r->own) {
        bearer = og_buf_str(&r->bearer);
    } else if (tokens != NULL && !smart_token(tokens, &bearer, &r->token_version)) {
        uint64_t now = uv_now(r->client->loop);
        uv_timer_start(&r->timer, on_time, r->deadline > now ? r->deadline - now : 0, 0);
        r->wait = (smart_wait){.fn = on_token, .ctx = r};
        smart_ask(tokens, &r->wait);
        return;
    }
    read_send(r, bearer);
}

/* From the loop, so that no callback comes from inside fhir_client_read. */
static void on_start(uv_timer_t *t)
{
    read_begin(t->data);
}

/* ---- asking ---- */

static bool is_whole_url(const char *path)
{
    return strncmp(path, "http://", 7) == 0 || strncmp(path, "https://", 8) == 0;
}

static og_status make_url(const fhir_client *c, const char *path, og_buf *ret, og_error *err)
{
    og_str base = og_str_of(c->base_url);
    if (is_whole_url(path))
        return http_url_join(c->base_url, path, ret, err);
    const char *query = path + strcspn(path, "?"), *up = strstr(path, "..");
    const char *colon = strchr(path, ':'); /* of another scheme */
    if (path[0] == '\0' || path[0] == '/' || (up != NULL && up < query) ||
        strchr(path, '#') != NULL || (colon != NULL && colon < query))
        return og_fail(err, OG_INVALID, "the path is none");
    while (base.n > 0 && base.p[base.n - 1] == '/')
        base.n--;
    og_buf_addf(ret, "%.*s/%s", OG_STR_ARG(base), path);
    return OG_OK;
}

/* A search whose address would be too long: Type/_search with the query as a form (R4 http.html
 * "search"). */
static og_status set_address(fhir_read *r, const char *path, og_error *err)
{
    og_buf url;
    og_buf_init(&url, MAX_URL);
    og_status status = make_url(r->client, path, &url, err);
    status = stay_below(r->client, status, &url, err);
    char *question =
        status == OG_OK && url.n > MAX_GET && !is_whole_url(path) ? strchr(url.p, '?') : NULL;
    if (question != NULL) {
        r->form = strdup(question + 1);
        *question = '\0';
        r->url = malloc(strlen(url.p) + sizeof "/_search");
        if (r->url != NULL)
            snprintf(r->url, strlen(url.p) + sizeof "/_search", "%s/_search", url.p);
    } else if (status == OG_OK && !og_buf_failed(&url)) {
        r->url = strdup(url.p);
    }
    bool good = r->url != NULL && (question == NULL || r->form != NULL);
    if (status == OG_OK && !good)
        status = og_buf_failed(&url) ? og_fail(err, OG_INVALID, "the path is too long")
                                     : og_fail(err, OG_NOMEM, "out of memory");
    og_buf_done(&url);
    return status;
}

og_status fhir_client_read(fhir_client *c, const fhir_query *q, fhir_read **ret, og_error *err)
{
    if (c->closing)
        return og_fail(err, OG_INVALID, "the FHIR client is closing");
    fhir_read *r = calloc(1, sizeof *r);
    if (r == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    r->client = c;
    r->query = *q;
    r->own = q->bearer.p != NULL;
    og_buf_init(&r->bearer, MAX_BEARER);
    og_buf_adds(&r->bearer, q->bearer);
    og_status status = og_buf_failed(&r->bearer) ? og_fail(err, OG_INVALID, "the token is too long")
                                                 : set_address(r, q->path, err);
    if (status != OG_OK) {
        if (r->bearer.p != NULL)
            explicit_bzero(r->bearer.p, r->bearer.cap);
        og_buf_done(&r->bearer);
        free(r->url);
        free(r->form);
        free(r);
        return status;
    }
    uv_update_time(c->loop);
    r->began = uv_now(c->loop);
    r->deadline = r->began + (uint64_t)(q->budget_ms > 0 ? q->budget_ms : 0);
    r->prev = c->head.prev;
    r->next = &c->head;
    r->prev->next = r->next->prev = r;
    uv_timer_init(c->loop, &r->timer);
    r->timer.data = r;
    c->handles++;
    uv_timer_start(&r->timer, on_start, 0, 0);
    if (ret != NULL)
        *ret = r;
    return OG_OK;
}

void fhir_read_cancel(fhir_read *r)
{
    read_release(r);
}

/* ---- the client ---- */

static bool set_text(char **to, const char *from)
{
    if (from == NULL)
        return true;
    *to = strdup(from);
    return *to != NULL;
}

og_status fhir_client_new(uv_loop_t *loop, http_client *client, const fhir_client_options *o,
                          fhir_client **ret, og_error *err)
{
    og_status status = http_url_check(o->base_url, err);
    if (status != OG_OK)
        return status;
    fhir_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    c->loop = loop;
    c->http = client;
    c->options = *o;
    c->head.prev = c->head.next = &c->head;
    c->random = o->seed != 0 ? o->seed : uv_hrtime() | 1;
    if (c->options.max_bytes == 0)
        c->options.max_bytes = DEFAULT_BYTES;
    if (c->options.max_pages == 0)
        c->options.max_pages = DEFAULT_PAGES;
    if (c->options.retry_min_ms <= 0)
        c->options.retry_min_ms = DEFAULT_RETRY_MIN_MS;
    if (c->options.retry_max_ms <= 0)
        c->options.retry_max_ms = DEFAULT_RETRY_MAX_MS;
    if (!set_text(&c->name, o->name != NULL ? o->name : "the FHIR server") ||
        !set_text(&c->base_url, o->base_url) || !set_text(&c->ca_file, o->tls.ca_file) ||
        !set_text(&c->cert_file, o->tls.cert_file) || !set_text(&c->key_file, o->tls.key_file)) {
        client_free(c);
        return og_fail(err, OG_NOMEM, "out of memory");
    }
    c->tls = (http_tls){c->ca_file, c->cert_file, c->key_file, o->tls.no_verify};
    *ret = c;
    return OG_OK;
}

void fhir_client_close(fhir_client *c, void (*on_closed)(void *ctx), void *ctx)
{
    if (c == NULL) {
        if (on_closed != NULL)
            on_closed(ctx);
        return;
    }
    c->closing = true;
    c->on_closed = on_closed;
    c->close_ctx = ctx;
    while (c->head.next != &c->head)
        read_release(c->head.next);
    if (c->handles == 0)
        client_free(c);
}
