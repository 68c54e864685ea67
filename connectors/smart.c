/* SMART Backend Services.
 *
 *   ask ─► (discover ─►) sign, in a worker ─► token endpoint ─► kept until shortly before its end
 *
 * However many wait, one token is asked for. What goes wrong is told to all who wait and not tried
 * again for a while: a server that refuses a client is not asked a thousand times a second. */
#include "connectors/smart.h"

#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "connectors/jwt.h"

enum {
    MAX_TOKEN = 65536,
    MAX_KEY = 65536,
    ASSERTION_LIFE_S = 240, /* the specification's most is five minutes */
    DEFAULT_LIFE_S = 300,
    MARGIN_S = 30, /* before its end, at most a quarter of its life */
    AGAIN_MS = 1000,
    AGAIN_MAX_MS = 60000,
};

typedef enum step { STEP_IDLE, STEP_DISCOVER, STEP_SIGN, STEP_ASK } step;

struct smart {
    uv_loop_t *loop;
    http_client *client;
    char *base_url, *token_url, *client_id, *key_file, *scope, *ca_file, *cert_file, *tls_key_file;
    char *discovered; /* the token endpoint; NULL: not known yet */
    http_tls tls;
    smart_options options;
    og_buf token;
    uint64_t version;
    int64_t good_until_ms, not_before_ms, wait_ms; /* steady */
    step step;
    http_call *call;
    uv_work_t work;
    og_buf claims, assertion; /* of the work */
    og_status signed_status;
    og_error signed_error;
    smart_wait *waiting;
    bool closing;
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

static int64_t now_ms(const smart *s)
{
    struct timespec t;
    if (s->options.now_ms != NULL)
        return s->options.now_ms(s->options.ctx);
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t steady_ms(const smart *s)
{
    return s->options.steady_ms != NULL ? s->options.steady_ms(s->options.ctx)
                                        : (int64_t)(uv_hrtime() / 1000000);
}

static void wipe(og_buf *b)
{
    if (b->p != NULL)
        explicit_bzero(b->p, b->cap);
    og_buf_done(b);
}

/* ---- the end of asking ---- */

static void tell(smart *s, const char *why)
{
    smart_wait *list = s->waiting;
    s->step = STEP_IDLE;
    s->waiting = NULL;
    if (list != NULL)
        list->link = &list;
    if (s->options.on_asked != NULL)
        s->options.on_asked(s->options.ctx, why);
    while (list != NULL) { /* one may leave while another one is told */
        smart_wait *w = list;
        smart_leave(w);
        w->fn(w->ctx, why);
    }
}

static void failed(smart *s, const char *why)
{
    s->wait_ms = s->wait_ms == 0 ? AGAIN_MS : 2 * s->wait_ms;
    if (s->wait_ms > AGAIN_MAX_MS)
        s->wait_ms = AGAIN_MAX_MS;
    s->not_before_ms = steady_ms(s) + s->wait_ms;
    free(s->discovered); /* it may have moved */
    s->discovered = NULL;
    tell(s, why);
}

/* ---- the token endpoint ---- */

/* An OAuth error code (RFC 6749 5.2) may be told; nothing else of the body is. */
static void add_error_code(char *text, size_t size, og_str body)
{
    json_t *root = json_loadb(body.p != NULL ? body.p : "", body.n, 0, NULL);
    const char *code = json_string_value(json_object_get(root, "error"));
    size_t n = strlen(text);
    bool good = code != NULL && code[0] != '\0' && strlen(code) <= 40;
    for (const char *c = code; good && *c != '\0'; c++)
        good = islower((unsigned char)*c) || *c == '_';
    if (good && n < size)
        snprintf(text + n, size - n, " (%s)", code);
    json_decref(root);
}

/* NULL: it is taken. */
static const char *take_token(smart *s, og_str body)
{
    json_t *root = json_loadb(body.p != NULL ? body.p : "", body.n, JSON_REJECT_DUPLICATES, NULL);
    const json_t *token = json_object_get(root, "access_token"),
                 *life = json_object_get(root, "expires_in");
    const char *type = json_string_value(json_object_get(root, "token_type"));
    int64_t seconds = json_is_integer(life) ? json_integer_value(life) : DEFAULT_LIFE_S;
    const char *why = NULL;
    if (!json_is_string(token) || json_string_length(token) == 0 ||
        json_string_length(token) > MAX_TOKEN)
        why = "the token endpoint's answer has no access_token";
    else if (type == NULL || !og_str_ieq(og_str_of(type), OG_STR("bearer")))
        why = "the token endpoint gives a token that is no bearer token";
    else if (seconds <= 0)
        why = "the token endpoint gives a token that has expired already";
    if (why == NULL) {
        int64_t margin = seconds / 4 < MARGIN_S ? seconds / 4 : MARGIN_S;
        seconds = seconds > 86400 ? 86400 : seconds;
        if (s->token.p != NULL)
            explicit_bzero(s->token.p, s->token.cap);
        og_buf_clear(&s->token);
        og_buf_add(&s->token, json_string_value(token), json_string_length(token));
        s->version++;
        s->good_until_ms = steady_ms(s) + (seconds - margin) * 1000;
        s->wait_ms = 0;
        if (og_buf_failed(&s->token)) {
            og_buf_clear(&s->token);
            why = "out of memory";
        }
    }
    json_decref(root);
    return why;
}

static void on_token(void *ctx, const http_response *r)
{
    smart *s = ctx;
    char text[400];
    s->call = NULL;
    if (r->failure != HTTP_FAILURE_NONE) {
        snprintf(text, sizeof text, "the token endpoint: %s",
                 r->error != NULL ? r->error : "no answer");
        failed(s, text);
    } else if (r->status != 200) {
        snprintf(text, sizeof text, "the token endpoint answers %d", r->status);
        add_error_code(text, sizeof text, r->body);
        failed(s, text);
    } else {
        const char *why = take_token(s, r->body);
        if (why != NULL)
            failed(s, why);
        else
            tell(s, NULL);
    }
}

static const char *token_url(const smart *s)
{
    return s->token_url[0] != '\0' ? s->token_url : s->discovered;
}

static void exchange(smart *s)
{
    og_buf form;
    og_error err;
    og_error_init(&err);
    og_buf_init(&form, MAX_TOKEN + MAX_KEY);
    og_buf_addz(&form, "grant_type=client_credentials&scope=");
    http_url_encode(&form, og_str_of(s->scope), "");
    og_buf_addz(&form, "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type"
                       "%3Ajwt-bearer&client_assertion=");
    http_url_encode(&form, og_buf_str(&s->assertion), "");
    const conn_header headers[] = {{"Content-Type", OG_STR("application/x-www-form-urlencoded")},
                                   {"Accept", OG_STR("application/json")}};
    const http_request q = {.method = "POST",
                            .url = token_url(s),
                            .headers = headers,
                            .header_count = 2,
                            .body = og_buf_str(&form),
                            .connect_timeout_ms = s->options.connect_timeout_ms,
                            .timeout_ms = s->options.timeout_ms,
                            .tls = &s->tls,
                            .max_response_bytes = 2 * (size_t)MAX_TOKEN};
    s->step = STEP_ASK;
    og_status status = og_buf_failed(&form)
                           ? og_fail(&err, OG_NOMEM, "out of memory")
                           : http_client_send(s->client, &q, on_token, s, &s->call, &err);
    wipe(&form);
    wipe(&s->assertion);
    if (status != OG_OK)
        failed(s, err.text);
}

/* ---- the assertion ---- */

static void finish_close(smart *s);

static og_status read_key(const char *path, og_buf *ret, og_error *err)
{
    char chunk[4096];
    size_t n;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return og_fail(err, OG_IO, "the private key's file cannot be read");
    setvbuf(f, NULL, _IONBF, 0); /* no copy of it stays behind */
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0)
        og_buf_add(ret, chunk, n);
    bool bad = ferror(f) != 0;
    fclose(f);
    explicit_bzero(chunk, sizeof chunk);
    return bad || og_buf_failed(ret) ? og_fail(err, OG_IO, "the private key's file cannot be read")
                                     : OG_OK;
}

og_status smart_try_key(const char *path, og_error *err)
{
    og_buf key, token;
    og_buf_init(&key, MAX_KEY);
    og_buf_init(&token, MAX_TOKEN);
    og_status status = read_key(path, &key, err);
    if (status == OG_OK)
        status = jwt_sign(og_buf_str(&key), OG_STR("{}"), &token, err);
    wipe(&key);
    wipe(&token);
    return status;
}

static void sign(uv_work_t *w)
{
    smart *s = w->data;
    og_buf key;
    og_buf_init(&key, MAX_KEY);
    s->signed_status = read_key(s->key_file, &key, &s->signed_error);
    if (s->signed_status == OG_OK)
        s->signed_status =
            jwt_sign(og_buf_str(&key), og_buf_str(&s->claims), &s->assertion, &s->signed_error);
    wipe(&key);
}

static void signed_(uv_work_t *w, int status)
{
    smart *s = w->data;
    og_buf_done(&s->claims);
    if (s->closing) {
        finish_close(s);
    } else if (status != 0 || s->signed_status != OG_OK) {
        wipe(&s->assertion);
        failed(s, status != 0 ? "the assertion was not signed" : s->signed_error.text);
    } else {
        exchange(s);
    }
}

static void write_claims(smart *s)
{
    unsigned char noise[16];
    int64_t now_s = now_ms(s) / 1000;
    if (getrandom(noise, sizeof noise, 0) != (ssize_t)sizeof noise)
        memset(noise, 0, sizeof noise); /* never: it is short and the pool is filled */
    og_buf_init(&s->claims, MAX_KEY);
    og_buf_addz(&s->claims, "{\"iss\":");
    og_buf_add_json(&s->claims, og_str_of(s->client_id));
    og_buf_addz(&s->claims, ",\"sub\":");
    og_buf_add_json(&s->claims, og_str_of(s->client_id));
    og_buf_addz(&s->claims, ",\"aud\":");
    og_buf_add_json(&s->claims, og_str_of(token_url(s)));
    og_buf_addf(&s->claims, ",\"iat\":%" PRId64 ",\"exp\":%" PRId64 ",\"jti\":\"", now_s,
                now_s + ASSERTION_LIFE_S);
    for (size_t i = 0; i < sizeof noise; i++)
        og_buf_addf(&s->claims, "%02x", noise[i]);
    og_buf_addz(&s->claims, "\"}");
}

static void begin_sign(smart *s)
{
    write_claims(s);
    og_buf_init(&s->assertion, MAX_TOKEN);
    og_error_init(&s->signed_error);
    s->work.data = s;
    s->step = STEP_SIGN;
    if (!og_buf_failed(&s->claims) && uv_queue_work(s->loop, &s->work, sign, signed_) == 0)
        return;
    og_buf_done(&s->claims);
    failed(s, "out of memory");
}

/* ---- where the token endpoint is ---- */

static void on_configuration(void *ctx, const http_response *r)
{
    smart *s = ctx;
    char text[400];
    s->call = NULL;
    if (r->failure != HTTP_FAILURE_NONE || r->status != 200) {
        if (r->failure != HTTP_FAILURE_NONE)
            snprintf(text, sizeof text, "the SMART configuration: %s",
                     r->error != NULL ? r->error : "no answer");
        else
            snprintf(text, sizeof text, "the SMART configuration: status %d", r->status);
        failed(s, text);
        return;
    }
    json_t *root = json_loadb(r->body.p != NULL ? r->body.p : "", r->body.n, 0, NULL);
    const char *url = json_string_value(json_object_get(root, "token_endpoint"));
    if (url != NULL && http_url_keeps_secrets(url))
        s->discovered = strdup(url);
    json_decref(root);
    if (s->discovered == NULL)
        failed(s, "the SMART configuration names no token_endpoint with https");
    else
        begin_sign(s);
}

static void discover(smart *s)
{
    og_buf url;
    og_error err;
    size_t n = strlen(s->base_url);
    og_error_init(&err);
    og_buf_init(&url, 8192);
    og_buf_addf(&url, "%s%s.well-known/smart-configuration", s->base_url,
                n > 0 && s->base_url[n - 1] == '/' ? "" : "/");
    const conn_header headers[] = {{"Accept", OG_STR("application/json")}};
    const http_request q = {.url = og_buf_str(&url).p,
                            .headers = headers,
                            .header_count = 1,
                            .connect_timeout_ms = s->options.connect_timeout_ms,
                            .timeout_ms = s->options.timeout_ms,
                            .tls = &s->tls};
    s->step = STEP_DISCOVER;
    og_status status = og_buf_failed(&url)
                           ? og_fail(&err, OG_NOMEM, "out of memory")
                           : http_client_send(s->client, &q, on_configuration, s, &s->call, &err);
    og_buf_done(&url);
    if (status != OG_OK)
        failed(s, err.text);
}

/* ---- asking ---- */

bool smart_token(const smart *s, og_str *ret, uint64_t *ret_version)
{
    if (s->token.n == 0 || steady_ms(s) >= s->good_until_ms)
        return false;
    *ret = og_buf_str(&s->token);
    *ret_version = s->version;
    return true;
}

void smart_refused(smart *s, uint64_t version)
{
    if (version == s->version)
        s->good_until_ms = 0;
}

void smart_leave(smart_wait *w)
{
    if (w->link == NULL)
        return;
    *w->link = w->next;
    if (w->next != NULL)
        w->next->link = w->link;
    w->link = NULL;
    w->next = NULL;
}

void smart_ask(smart *s, smart_wait *w)
{
    w->next = s->waiting;
    w->link = &s->waiting;
    if (w->next != NULL)
        w->next->link = &w->next;
    s->waiting = w;
    if (s->step != STEP_IDLE)
        return;
    if (steady_ms(s) < s->not_before_ms) {
        smart_leave(w);
        w->fn(w->ctx, "no token could be had a moment ago; not asked again yet");
    } else if (token_url(s) == NULL) {
        discover(s);
    } else {
        begin_sign(s);
    }
}

/* ---- life ---- */

static bool set_text(char **to, const char *from)
{
    *to = strdup(from != NULL ? from : "");
    return *to != NULL;
}

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static void smart_free(smart *s)
{
    char *texts[] = {s->base_url, s->token_url, s->client_id,    s->key_file,  s->scope,
                     s->ca_file,  s->cert_file, s->tls_key_file, s->discovered};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        free(texts[i]);
    wipe(&s->token);
    wipe(&s->assertion);
    free(s);
}

static void finish_close(smart *s)
{
    void (*on_closed)(void *) = s->on_closed;
    void *ctx = s->close_ctx;
    smart_free(s);
    if (on_closed != NULL)
        on_closed(ctx);
}

og_status smart_new(uv_loop_t *loop, http_client *client, const smart_options *o, smart **ret,
                    og_error *err)
{
    og_status status = http_url_check(o->base_url, err);
    if (status == OG_OK && o->token_url != NULL && o->token_url[0] != '\0')
        status = http_url_check(o->token_url, err);
    if (status != OG_OK)
        return status;
    smart *s = calloc(1, sizeof *s);
    if (s == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    s->loop = loop;
    s->client = client;
    s->options = *o;
    og_buf_init(&s->token, MAX_TOKEN);
    if (!set_text(&s->base_url, o->base_url) || !set_text(&s->token_url, o->token_url) ||
        !set_text(&s->client_id, o->client_id) || !set_text(&s->key_file, o->key_file) ||
        !set_text(&s->scope, o->scope) || !set_text(&s->ca_file, o->tls.ca_file) ||
        !set_text(&s->cert_file, o->tls.cert_file) ||
        !set_text(&s->tls_key_file, o->tls.key_file)) {
        smart_free(s);
        return og_fail(err, OG_NOMEM, "out of memory");
    }
    s->tls = (http_tls){or_null(s->ca_file), or_null(s->cert_file), or_null(s->tls_key_file),
                        o->tls.no_verify};
    *ret = s;
    return OG_OK;
}

void smart_close(smart *s, void (*on_closed)(void *ctx), void *ctx)
{
    if (s == NULL) {
        if (on_closed != NULL)
            on_closed(ctx);
        return;
    }
    s->closing = true;
    s->on_closed = on_closed;
    s->close_ctx = ctx;
    while (s->waiting != NULL)
        smart_leave(s->waiting);
    if (s->call != NULL)
        http_call_cancel(s->call);
    if (s->step != STEP_SIGN) /* the worker has it: its end frees */
        finish_close(s);
}

/* ---- scopes ---- */

/* SMART 1: read or *; SMART 2: some of cruds in this order, of which r and s are needed. */
static bool may_read(og_str what)
{
    bool read = false, search = false;
    if (og_str_is(what, "read") || og_str_is(what, "*"))
        return true;
    for (size_t i = 0; i < what.n; i++) {
        if (strchr("cruds", what.p[i]) == NULL)
            return false;
        read |= what.p[i] == 'r';
        search |= what.p[i] == 's';
    }
    return read && search;
}

static bool scope_covers(og_str scope, const char *type, bool patient_bound)
{
    ptrdiff_t slash = og_str_find(scope, '/'), dot = og_str_find(scope, '.');
    if (slash <= 0 || dot <= slash)
        return false;
    og_str context = {scope.p, (size_t)slash};
    og_str of = {scope.p + slash + 1, (size_t)(dot - slash) - 1};
    if (!og_str_is(context, "user") && !og_str_is(context, "system") &&
        !(patient_bound && og_str_is(context, "patient")))
        return false;
    return (og_str_is(of, "*") || og_str_is(of, type)) &&
           may_read(og_str_from(scope, (size_t)dot + 1));
}

bool smart_scope_covers(og_str scopes, const char *type, bool patient_bound)
{
    while (scopes.n > 0) {
        ptrdiff_t space = og_str_find(scopes, ' ');
        og_str one = {scopes.p, space >= 0 ? (size_t)space : scopes.n};
        if (scope_covers(one, type, patient_bound))
            return true;
        scopes = space >= 0 ? og_str_from(scopes, (size_t)space + 1) : (og_str){NULL, 0};
    }
    return false;
}
