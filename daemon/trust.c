/* Callers of the CDS services.
 *
 *   certificate ─► client                                              ┌─► claims, jti, rate ─► fn
 *   token ─► iss ─► client ─► its keys (file, or fetched and kept) ─► signature (worker)
 *
 * What was refused and why is counted, and said in the log without the token: at most one line a
 * second, since anybody can make us refuse. Keys are counted references: a set that is replaced
 * lives until the last signature was checked with it. */
#include "daemon/trust.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "connectors/jwt.h"
#include "daemon/clock.h"
#include "daemon/file.h"
#include "daemon/log.h"
#include "daemon/metrics.h"
#include "daemon/seen.h"

enum {
    MAX_KEYS_BYTES = 1 << 20,
    FILE_AGAIN_MS = 1000, /* callers must not make us read a bad one again and again */
    FETCH_TIMEOUT_MS = 5000,
    FETCH_AGAIN_MS = 10000, /* not sooner for another unknown kid */
    FETCH_MAX_WAIT_MS = 600000,
    KEYS_LIFE_MS = 3600000 /* fetched again after this, so that a withdrawn key goes */
};

typedef struct keyring { /* a key set and who uses it */
    jwks *keys;
    size_t users;
} keyring;

typedef struct client {
    trust *trust;
    const config_client *config;
    keyring *ring;
    struct timespec file_time;
    int64_t file_not_before_ms; /* after one that could not be used */
    int64_t fetched_ms, fetch_not_before_ms, fetch_wait_ms;
    http_call *fetching;      /* NULL: none is under way */
    struct question *waiting; /* for it */
    double tokens;            /* of the rate: the bucket */
    int64_t tokens_ms;
} client;

typedef struct question { /* one caller that is being judged */
    struct question *next;
    trust *trust;
    client *client;
    jwt *token;
    char *path;
    bool fetched; /* keys were fetched for it already */
    keyring *ring;
    uv_work_t work;
    og_status verified;
    og_error error;
    trust_fn *fn;
    void *ctx;
} question;

struct trust {
    trust_options options;
    client *clients;
    size_t count;
    seen *seen;
    size_t open; /* questions */
    int64_t said_ms;
    bool closing;
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

static int64_t now_ms(const trust *t)
{
    return t->options.now_ms != NULL ? t->options.now_ms(t->options.ctx) : clock_wall_ms();
}

static int64_t steady_ms(const trust *t)
{
    return t->options.steady_ms != NULL ? t->options.steady_ms(t->options.ctx)
                                        : clock_monotonic_ms();
}

/* ---- keys ---- */

static void ring_release(keyring *r)
{
    if (r == NULL || --r->users > 0)
        return;
    jwks_free(r->keys);
    free(r);
}

/* False: no memory; the old ones stay. */
static bool ring_set(client *c, jwks *keys)
{
    keyring *r = malloc(sizeof *r);
    if (r == NULL) {
        jwks_free(keys);
        return false;
    }
    *r = (keyring){keys, 1};
    ring_release(c->ring);
    c->ring = r;
    return true;
}

/* Keys that cannot be read leave the ones that were there. */
static bool take_keys(client *c, og_str text, const char *origin)
{
    jwks *keys;
    og_error err;
    og_error_init(&err);
    if (jwks_parse(text, &keys, &err) != OG_OK) {
        og_error_origin(&err, origin);
        log_failure(LOG_LEVEL_ERROR, "the public keys of a client cannot be used", &err);
        return false;
    }
    if (jwks_count(keys) == 0)
        log_warn("%s has no public key of kind EC or RSA with a kid", origin);
    return ring_set(c, keys);
}

static void look_at_file(client *c)
{
    struct stat st;
    og_buf text;
    og_error err;
    if (c->config->jwks_file[0] == '\0' || steady_ms(c->trust) < c->file_not_before_ms ||
        stat(c->config->jwks_file, &st) != 0 ||
        (c->ring != NULL && st.st_mtim.tv_sec == c->file_time.tv_sec &&
         st.st_mtim.tv_nsec == c->file_time.tv_nsec))
        return;
    og_error_init(&err);
    og_buf_init(&text, MAX_KEYS_BYTES);
    if (file_read(c->config->jwks_file, MAX_KEYS_BYTES, &text, &err) == OG_OK &&
        take_keys(c, og_buf_str(&text), c->config->jwks_file))
        c->file_time = st.st_mtim;
    else if (err.status != OG_OK)
        log_failure(LOG_LEVEL_ERROR, "the public keys of a client cannot be read", &err);
    if (c->file_time.tv_sec != st.st_mtim.tv_sec || c->file_time.tv_nsec != st.st_mtim.tv_nsec)
        c->file_not_before_ms = steady_ms(c->trust) + FILE_AGAIN_MS;
    og_buf_done(&text);
}

/* ---- the end of a question ---- */

static void free_trust(trust *t)
{
    void (*on_closed)(void *) = t->on_closed;
    void *ctx = t->close_ctx;
    for (size_t i = 0; i < t->count; i++)
        ring_release(t->clients[i].ring);
    free(t->clients);
    seen_free(t->seen);
    free(t);
    if (on_closed != NULL)
        on_closed(ctx);
}

static void end_question(question *q, trust_verdict verdict)
{
    trust *t = q->trust;
    const config_client *who =
        verdict != TRUST_REFUSED && q->client != NULL ? q->client->config : NULL;
    q->fn(q->ctx, verdict, who);
    ring_release(q->ring);
    jwt_free(q->token);
    free(q->path);
    free(q);
    if (--t->open == 0 && t->closing)
        free_trust(t);
}

/* why: a label of the metric. */
static void refuse(question *q, const char *why, const og_error *err)
{
    trust *t = q->trust;
    metric_add_label(METRIC_HOOK_REFUSED, why, NULL, 1);
    if (steady_ms(t) - t->said_ms >= 1000 || t->said_ms == 0) {
        t->said_ms = steady_ms(t);
        log_field fields[] = {
            {"why", og_str_of(why)},
            {"client", og_str_of(q->client != NULL ? q->client->config->name : "")},
            {"claim", og_str_of(err != NULL ? err->path : "")},
            {"detail", og_str_of(err != NULL ? err->text : "")}};
        log_line(LOG_LEVEL_WARN, "a caller of the CDS services was refused", fields, 4);
    }
    end_question(q, TRUST_REFUSED);
}

/* ---- rate: a bucket that fills at calls_per_second and holds two seconds' worth ---- */

static bool within_rate(trust *t, client *c)
{
    int64_t now = steady_ms(t);
    double rate = (double)c->config->calls_per_second;
    c->tokens += (double)(now - c->tokens_ms) * rate / 1000.0;
    c->tokens = c->tokens > 2 * rate ? 2 * rate : c->tokens;
    c->tokens_ms = now;
    if (c->tokens < 1)
        return false;
    c->tokens -= 1;
    return true;
}

static void let_in(question *q)
{
    if (within_rate(q->trust, q->client)) {
        end_question(q, TRUST_GOOD);
        return;
    }
    metric_add_label(METRIC_HOOK_REFUSED, "rate", NULL, 1);
    end_question(q, TRUST_BUSY);
}

/* ---- a token is good once ---- */

static seen_verdict remember(trust *t, const question *q, int64_t now_s)
{
    char room[600];
    og_str jti = jwt_claim(q->token, "jti");
    int64_t until = jwt_expires(q->token) + t->options.config->hooks_clock_skew_s + 1;
    int n = snprintf(room, sizeof room, "%s|%.*s", q->client->config->name, OG_STR_ARG(jti));
    return seen_take(t->seen, (og_str){room, (size_t)n}, now_s, until);
}

/* ---- a token's way ---- */

static void judge_claims(question *q)
{
    trust *t = q->trust;
    const config *c = t->options.config;
    const config_client *who = q->client->config;
    int64_t now_s = now_ms(t) / 1000;
    jwt_policy policy = {.issuer = who->issuer,
                         .audiences = who->audiences.at,
                         .audience_count = who->audiences.count,
                         .url = q->path,
                         .tenant = who->tenant,
                         .now_s = now_s,
                         .skew_s = c->hooks_clock_skew_s,
                         .max_life_s = c->hooks_token_life_s};
    if (jwt_check(q->token, &policy, &q->error) != OG_OK) {
        refuse(q, "claims", &q->error);
        return;
    }
    seen_verdict m = remember(t, q, now_s);
    if (m == SEEN_NEW)
        let_in(q);
    else
        refuse(q, m == SEEN_BEFORE ? "replay" : "memory", NULL);
}

static void verify(uv_work_t *w)
{
    question *q = w->data;
    q->verified = jwt_verify(q->token, q->ring->keys, &q->error);
}

static void verified(uv_work_t *w, int status)
{
    question *q = w->data;
    if (status != 0 || q->trust->closing)
        end_question(q, TRUST_REFUSED);
    else if (q->verified != OG_OK)
        refuse(q, "signature", &q->error);
    else
        judge_claims(q);
}

static void begin_verify(question *q)
{
    q->ring = q->client->ring;
    q->ring->users++;
    q->work.data = q;
    og_error_init(&q->error);
    if (uv_queue_work(q->trust->options.loop, &q->work, verify, verified) != 0)
        refuse(q, "busy", NULL);
}

static void find_keys(question *q);

/* ---- fetching keys ---- */

static void go_on(client *c)
{
    question *list = c->waiting;
    c->waiting = NULL;
    while (list != NULL) {
        question *q = list;
        list = q->next;
        q->fetched = true;
        if (q->trust->closing)
            end_question(q, TRUST_REFUSED);
        else
            find_keys(q);
    }
}

static void fetch_failed(const trust *t, client *c, const char *why)
{
    c->fetch_wait_ms = c->fetch_wait_ms == 0 ? FETCH_AGAIN_MS : 2 * c->fetch_wait_ms;
    if (c->fetch_wait_ms > FETCH_MAX_WAIT_MS)
        c->fetch_wait_ms = FETCH_MAX_WAIT_MS;
    c->fetch_not_before_ms = steady_ms(t) + c->fetch_wait_ms;
    log_field fields[] = {{"client", og_str_of(c->config->name)}, {"why", og_str_of(why)}};
    log_line(LOG_LEVEL_ERROR, "the public keys of a client cannot be fetched", fields, 2);
}

static void on_keys(void *ctx, const http_response *r)
{
    client *c = ctx;
    const trust *t = c->trust;
    char why[64];
    c->fetching = NULL;
    if (r->failure != HTTP_FAILURE_NONE) {
        fetch_failed(t, c, r->error != NULL ? r->error : "no answer");
    } else if (r->status != 200) {
        snprintf(why, sizeof why, "status %d", r->status);
        fetch_failed(t, c, why);
    } else if (!take_keys(c, r->body, c->config->jwks_url)) {
        fetch_failed(t, c, "no key set");
    } else {
        c->fetched_ms = steady_ms(t);
        c->fetch_wait_ms = 0;
        c->fetch_not_before_ms = c->fetched_ms + FETCH_AGAIN_MS;
    }
    go_on(c);
}

/* False when keys cannot be fetched now. */
static bool begin_fetch(trust *t, client *c)
{
    og_error err;
    if (c->fetching != NULL)
        return true;
    if (c->config->jwks_url[0] == '\0' || t->options.client == NULL ||
        steady_ms(t) < c->fetch_not_before_ms)
        return false;
    og_error_init(&err);
    http_request q = {.url = c->config->jwks_url,
                      .connect_timeout_ms = FETCH_TIMEOUT_MS,
                      .timeout_ms = FETCH_TIMEOUT_MS};
    if (http_client_send(t->options.client, &q, on_keys, c, &c->fetching, &err) == OG_OK)
        return true;
    c->fetching = NULL;
    fetch_failed(t, c, err.text);
    return false;
}

static void find_keys(question *q)
{
    client *c = q->client;
    trust *t = q->trust;
    look_at_file(c);
    bool known = c->ring != NULL && jwks_has(c->ring->keys, jwt_header(q->token, "kid"));
    bool old = c->config->jwks_url[0] != '\0' && c->fetched_ms != 0 &&
               steady_ms(t) - c->fetched_ms > KEYS_LIFE_MS;
    if ((!known || old) && !q->fetched && begin_fetch(t, c)) {
        q->next = c->waiting;
        c->waiting = q;
        return;
    }
    if (known)
        begin_verify(q);
    else
        refuse(q, "key", NULL);
}

/* ---- asking ---- */

static og_str bearer_of(og_str header)
{
    og_str scheme = OG_STR("Bearer ");
    if (header.n <= scheme.n || !og_str_ieq((og_str){header.p, scheme.n}, scheme))
        return (og_str){NULL, 0};
    og_str token = og_str_from(header, scheme.n);
    while (token.n > 0 && token.p[0] == ' ')
        token = og_str_from(token, 1);
    while (token.n > 0 && token.p[token.n - 1] == ' ')
        token.n--;
    return token;
}

static client *by_issuer(trust *t, og_str issuer)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->clients[i].config->issuer[0] != '\0' &&
            og_str_is(issuer, t->clients[i].config->issuer))
            return &t->clients[i];
    return NULL;
}

static client *by_certificate(trust *t, const trust_caller *caller)
{
    for (size_t i = 0; caller->certified != NULL && i < t->count; i++)
        if (t->clients[i].config->certificate[0] != '\0' &&
            caller->certified(caller->certified_ctx, t->clients[i].config->certificate))
            return &t->clients[i];
    return NULL;
}

/* A jku that is given must be one that is configured: a caller does not choose who vouches for it.
 */
static bool jku_fits(const question *q)
{
    og_str jku = jwt_header(q->token, "jku");
    return jku.n == 0 || og_str_is(jku, q->client->config->jwks_url) ||
           og_str_is(jku, q->client->config->jku);
}

static void judge_token(question *q, og_str compact)
{
    og_error err;
    og_error_init(&err);
    if (compact.n == 0)
        refuse(q, "nothing", NULL);
    else if (jwt_parse(compact, &q->token, &err) != OG_OK)
        refuse(q, "token", &err);
    else if ((q->client = by_issuer(q->trust, jwt_claim(q->token, "iss"))) == NULL)
        refuse(q, "issuer", NULL);
    else if (!jku_fits(q))
        refuse(q, "jku", NULL);
    else
        find_keys(q);
}

bool trust_asks(const trust *t)
{
    return t->count > 0;
}

void trust_ask(trust *t, const trust_caller *caller, trust_fn *fn, void *ctx)
{
    question *q = calloc(1, sizeof *q);
    char *path = strdup(caller->path);
    if (q == NULL || path == NULL || t->closing) {
        free(q);
        free(path);
        fn(ctx, TRUST_REFUSED, NULL);
        return;
    }
    *q = (question){.trust = t, .path = path, .fn = fn, .ctx = ctx};
    t->open++;
    q->client = by_certificate(t, caller);
    if (q->client != NULL)
        let_in(q);
    else
        judge_token(q, bearer_of(caller->authorization));
}

bool trust_may_call(const config_client *who, og_str service)
{
    if (who == NULL || who->services.count == 0)
        return true;
    for (size_t i = 0; i < who->services.count; i++)
        if (og_str_is(service, who->services.at[i]))
            return true;
    return false;
}

/* ---- life ---- */

trust *trust_new(const trust_options *options)
{
    trust *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->options = *options;
    t->count = options->config->client_count;
    t->clients = calloc(t->count + 1, sizeof *t->clients);
    t->seen = t->count > 0 ? seen_new() : NULL;
    if (t->clients == NULL || (t->count > 0 && t->seen == NULL)) {
        free(t->clients);
        seen_free(t->seen);
        free(t);
        return NULL;
    }
    for (size_t i = 0; i < t->count; i++) {
        client *c = &t->clients[i];
        c->trust = t;
        c->config = &options->config->clients[i];
        c->tokens = 2 * (double)c->config->calls_per_second;
        c->tokens_ms = steady_ms(t);
        look_at_file(c);
    }
    return t;
}

void trust_close(trust *t, void (*on_closed)(void *ctx), void *ctx)
{
    if (t == NULL) {
        if (on_closed != NULL)
            on_closed(ctx);
        return;
    }
    t->open++; /* so that it does not end before all have been told */
    t->closing = true;
    t->on_closed = on_closed;
    t->close_ctx = ctx;
    for (size_t i = 0; i < t->count; i++) {
        if (t->clients[i].fetching != NULL)
            http_call_cancel(t->clients[i].fetching);
        t->clients[i].fetching = NULL;
        go_on(&t->clients[i]);
    }
    if (--t->open == 0)
        free_trust(t);
}
