/* POSTs CDS Hooks bodies to one EHR endpoint and says what became of them.
 *
 * The only thing that is repeated here is a request that was refused for its token (401, 403),
 * once, and only when the token file holds another token by then: tokens are rotated under a
 * running daemon. Everything else is the caller's decision. No patient data and no token ever gets
 * into a result's text. */
#include "connectors/ehr_webhook.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TOKEN_MAX = 65536, DEFAULT_TIMEOUT_MS = 30000 };

typedef struct post {
    struct post *prev, *next;
    ehr_webhook *ep;
    http_call *call;
    char *body, *key;
    size_t body_n, key_n;
    uint64_t token_version; /* of the token that it was sent with */
    int64_t until_ms;       /* steady; whatever it waits for, and however often it is sent */
    bool repeated;
    smart_wait wait; /* for a token */
    ehr_result_fn *cb;
    void *ctx;
} post;

struct ehr_webhook {
    http_client *client;
    char *name, *url, *content_type, *token_file, *ca_file, *cert_file, *key_file;
    int connect_timeout_ms, timeout_ms;
    http_tls tls;
    og_buf token;
    uint64_t token_version; /* rises when the file's content changes */
    smart *tokens;          /* NULL: the file's, or none */
    struct stat token_seen;
    post head; /* circular */
};

/* ---- the token ---- */

static og_status token_load(ehr_webhook *ep, og_error *err)
{
    int fd = open(ep->token_file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return og_fail(err, OG_IO, "token file %s: %s", ep->token_file, strerror(errno));
    og_buf b;
    og_buf_init(&b, TOKEN_MAX);
    char chunk[4096];
    ssize_t n;
    (void)fstat(fd, &ep->token_seen);
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        og_buf_add(&b, chunk, (size_t)n);
    int failed = n < 0 ? errno : 0;
    close(fd);
    while (b.n > 0 && strchr(" \t\r\n", b.p[b.n - 1]) != NULL)
        b.n--;
    explicit_bzero(chunk, sizeof(chunk));
    if (failed != 0 || og_buf_failed(&b) || b.n == 0) {
        og_buf_done(&b);
        return og_fail(err, OG_IO, "token file %s: %s", ep->token_file,
                       failed != 0 ? strerror(failed) : "empty or too long");
    }
    if (!og_str_eq(og_buf_str(&b), og_buf_str(&ep->token)))
        ep->token_version++;
    og_buf_done(&ep->token);
    ep->token = b;
    return OG_OK;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Reads the file again when it looks different. While it is being replaced the old token stays in
 * use. */
static void token_refresh(ehr_webhook *ep, bool force)
{
    struct stat now;
    if (ep->token_file == NULL)
        return;
    if (!force && stat(ep->token_file, &now) == 0 && same_file(&now, &ep->token_seen))
        return;
    og_status st = token_load(ep, NULL);
    (void)st; /* the server says whether the old one still holds */
}

/* ---- one post ---- */

static void post_free(post *p)
{
    smart_leave(&p->wait);
    p->prev->next = p->next;
    p->next->prev = p->prev;
    free(p->body);
    free(p->key);
    free(p);
}

static int64_t ms_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t wall_ms(void)
{
    return ms_of(CLOCK_REALTIME);
}

conn_verdict ehr_webhook_verdict(http_failure failure, int status)
{
    if (failure == HTTP_FAILURE_TOO_LARGE && status >= 200 && status < 300)
        return CONN_DONE; /* accepted, with a long story that nobody reads */
    if (failure != HTTP_FAILURE_NONE && failure != HTTP_FAILURE_TOO_LARGE)
        return CONN_AGAIN;
    if (status >= 200 && status < 300)
        return CONN_DONE;
    switch (status) {
    case 401:
    case 403:
    case 404: /* the address is the endpoint's, not the card's: a wrong one is not the card's end */
    case 405:
    case 407:
    case 408:
    case 409:
    case 410:
    case 421:
    case 425:
    case 429: return CONN_AGAIN;
    case 501:
    case 505: return CONN_NEVER;
    default: /* a redirect is of the address too: a maintenance page, a login */
        return (status >= 300 && status < 400) || (status >= 500 && status < 600) ? CONN_AGAIN
                                                                                  : CONN_NEVER;
    }
}

/* It is to come again, and yet it may have been taken: no status came, or one that does not refuse
 * and then broke off, or one of a server that does not know how far it or the one behind it got. */
static bool may_be_there(int status)
{
    return status < 400 || status == 408 || (status >= 500 && status != 503);
}

static og_status post_begin(post *p, og_error *err);

static bool refused_token(const http_response *r)
{
    return r->failure == HTTP_FAILURE_NONE && (r->status == 401 || r->status == 403);
}

static bool is_of_address(int status)
{
    return (status >= 300 && status < 400) || status == 404 || status == 405 || status == 410;
}

static void post_answered(void *ctx, const http_response *r)
{
    post *p = ctx;
    ehr_webhook *ep = p->ep;
    p->call = NULL;
    if (refused_token(r) && !p->repeated && ep->tokens != NULL && r->status == 401) {
        p->repeated = true;
        smart_refused(ep->tokens, p->token_version);
        if (post_begin(p, NULL) == OG_OK)
            return;
    } else if (refused_token(r) && !p->repeated && ep->token_file != NULL) {
        p->repeated = true;
        token_refresh(ep, true);
        if (ep->token_version != p->token_version && post_begin(p, NULL) == OG_OK)
            return;
    }
    char text[400] = "";
    ehr_result out = {.verdict = ehr_webhook_verdict(r->failure, r->status),
                      .retry_after_ms = -1,
                      .status = r->status,
                      .failure = r->failure,
                      .duration_ms = r->duration_ms,
                      .text = text};
    if (out.verdict == CONN_AGAIN) {
        out.sent = r->sent && may_be_there(r->status);
        out.retry_after_ms = http_retry_after_ms(r->retry_after, r->date, wall_ms());
    }
    if (out.verdict != CONN_DONE && r->error != NULL)
        snprintf(text, sizeof(text), "%s: %s", ep->name, r->error);
    else if (out.verdict != CONN_DONE)
        snprintf(text, sizeof(text), "%s answers %d%s", ep->name, r->status,
                 refused_token(r)           ? " (the token or certificate is refused)"
                 : is_of_address(r->status) ? " (is its URL right?)"
                                            : "");
    ehr_result_fn *cb = p->cb;
    void *cb_ctx = p->ctx;
    post_free(p); /* before the callback, which may free the endpoint */
    cb(cb_ctx, &out);
}

static og_status post_send(post *p, og_str bearer, og_error *err)
{
    ehr_webhook *ep = p->ep;
    int64_t left_ms = p->until_ms - ms_of(CLOCK_MONOTONIC);
    if (left_ms <= 0)
        return og_fail(err, OG_IO, "no time is left to send it");
    const conn_header headers[] = {{"Content-Type", og_str_of(ep->content_type)},
                                   {"Accept", og_str_of(ep->content_type)},
                                   {"Idempotency-Key", {p->key, p->key_n}}};
    const http_request request = {.method = "POST",
                                  .url = ep->url,
                                  .headers = headers,
                                  .header_count = sizeof(headers) / sizeof(headers[0]),
                                  .body = {p->body, p->body_n},
                                  .bearer = bearer,
                                  .connect_timeout_ms = ep->connect_timeout_ms,
                                  .timeout_ms = (int)left_ms,
                                  .tls = &ep->tls};
    return http_client_send(ep->client, &request, post_answered, p, &p->call, err);
}

/* No token, no post: the caller tries again. */
static void post_without_token(post *p, const char *why)
{
    char text[400];
    snprintf(text, sizeof text, "%s: %s", p->ep->name, why);
    ehr_result out = {
        .verdict = CONN_AGAIN, .retry_after_ms = -1, .failure = HTTP_FAILURE_OTHER, .text = text};
    ehr_result_fn *cb = p->cb;
    void *cb_ctx = p->ctx;
    post_free(p);
    cb(cb_ctx, &out);
}

static void post_token(void *ctx, const char *why)
{
    post *p = ctx;
    og_error err;
    og_error_init(&err);
    if (why == NULL && post_begin(p, &err) == OG_OK)
        return;
    post_without_token(p, why != NULL ? why : err.text);
}

/* Sends it with the token at hand, or asks for one first. */
static og_status post_begin(post *p, og_error *err)
{
    ehr_webhook *ep = p->ep;
    og_str bearer = {NULL, 0};
    if (ep->tokens != NULL) {
        if (!smart_token(ep->tokens, &bearer, &p->token_version)) {
            p->wait = (smart_wait){.fn = post_token, .ctx = p};
            smart_ask(ep->tokens, &p->wait);
            return OG_OK;
        }
    } else if (ep->token_file != NULL) {
        bearer = og_buf_str(&ep->token);
        p->token_version = ep->token_version;
    }
    return post_send(p, bearer, err);
}

static char *copy(og_str s)
{
    char *c = malloc(s.n + 1);
    if (c == NULL)
        return NULL;
    if (s.n > 0)
        memcpy(c, s.p, s.n);
    c[s.n] = '\0';
    return c;
}

og_status ehr_webhook_post(ehr_webhook *ep, og_str body, og_str key, ehr_result_fn *cb, void *ctx,
                           og_error *err)
{
    post *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    p->prev = ep->head.prev;
    p->next = &ep->head;
    p->prev->next = p->next->prev = p;
    p->ep = ep;
    p->cb = cb;
    p->ctx = ctx;
    p->until_ms = ms_of(CLOCK_MONOTONIC) + ep->timeout_ms;
    p->body_n = body.n;
    p->key_n = key.n;
    p->body = copy(body);
    p->key = copy(key);
    og_status st =
        p->body != NULL && p->key != NULL ? OG_OK : og_fail(err, OG_NOMEM, "out of memory");
    if (st == OG_OK) {
        token_refresh(ep, false);
        st = post_begin(p, err);
    }
    if (st != OG_OK)
        post_free(p);
    return st;
}

/* ---- the endpoint ---- */

static bool set_text(char **to, const char *from)
{
    if (from == NULL)
        return true;
    *to = strdup(from);
    return *to != NULL;
}

static og_status endpoint_copy(ehr_webhook *ep, const ehr_webhook_options *o, og_error *err)
{
    if (!set_text(&ep->name, o->name != NULL ? o->name : o->url) || !set_text(&ep->url, o->url) ||
        !set_text(&ep->content_type,
                  o->content_type != NULL ? o->content_type : "application/json") ||
        !set_text(&ep->token_file, o->bearer_token_file) ||
        !set_text(&ep->ca_file, o->tls.ca_file) || !set_text(&ep->cert_file, o->tls.cert_file) ||
        !set_text(&ep->key_file, o->tls.key_file))
        return og_fail(err, OG_NOMEM, "out of memory");
    ep->connect_timeout_ms = o->connect_timeout_ms;
    ep->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : DEFAULT_TIMEOUT_MS;
    ep->tls = (http_tls){ep->ca_file, ep->cert_file, ep->key_file, o->tls.no_verify};
    return OG_OK;
}

static og_status readable(const char *path, const char *what, og_error *err)
{
    if (path == NULL || access(path, R_OK) == 0)
        return OG_OK;
    return og_fail(err, OG_IO, "%s file %s: %s", what, path, strerror(errno));
}

og_status ehr_webhook_new(http_client *client, const ehr_webhook_options *options,
                          ehr_webhook **ret, og_error *err)
{
    og_status st = http_url_check(options->url, err);
    if (st != OG_OK)
        return st;
    ehr_webhook *ep = calloc(1, sizeof(*ep));
    if (ep == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    ep->client = client;
    ep->tokens = options->bearer_token_file == NULL ? options->tokens : NULL;
    ep->head.prev = ep->head.next = &ep->head;
    og_buf_init(&ep->token, TOKEN_MAX);
    st = endpoint_copy(ep, options, err);
    if (st == OG_OK)
        st = readable(ep->ca_file, "CA", err);
    if (st == OG_OK)
        st = readable(ep->cert_file, "certificate", err);
    if (st == OG_OK)
        st = readable(ep->key_file, "key", err);
    if (st == OG_OK && ep->token_file != NULL)
        st = token_load(ep, err);
    if (st != OG_OK) {
        ehr_webhook_free(ep);
        return st;
    }
    *ret = ep;
    return OG_OK;
}

void ehr_webhook_free(ehr_webhook *ep)
{
    if (ep == NULL)
        return;
    for (post *p = ep->head.next, *next; p != &ep->head; p = next) {
        next = p->next;
        if (p->call != NULL)
            http_call_cancel(p->call);
        post_free(p);
    }
    if (ep->token.p != NULL)
        explicit_bzero(ep->token.p, ep->token.cap);
    og_buf_done(&ep->token);
    free(ep->name);
    free(ep->url);
    free(ep->content_type);
    free(ep->token_file);
    free(ep->ca_file);
    free(ep->cert_file);
    free(ep->key_file);
    free(ep);
}
