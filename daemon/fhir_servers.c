/* FHIR servers: opened from the configuration, and who may be asked with what. */
#include "daemon/fhir_servers.h"

#include <stdlib.h>

#include "daemon/log.h"
#include "daemon/metrics.h"
#include "daemon/prefetch.h"

typedef struct server {
    const config_fhir_server *config;
    smart *tokens; /* NULL: none by Backend Services */
    fhir_client *client;
    struct {
        fhir_servers_tried *fn;
        void *ctx;
        bool described;   /* a CapabilityStatement came */
        char version[24]; /* of FHIR */
    } trial;
} server;

struct fhir_servers {
    const config *config;
    server *list;
    size_t count, open; /* open: that still have to say that they are closed */
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

/* ---- the outside of a body ---- */

static og_status read_outside(og_arena *a, og_str body, fhir_envelope *ret)
{
    fhir_doc doc;
    fhir_resource r;
    og_status status = fhir_decode(a, body, NULL, &doc, NULL);
    if (status == OG_OK)
        status = fhir_resource_of(fhir_root(&doc), &r, NULL);
    if (status != OG_OK)
        return status == OG_LIMIT ? OG_SYNTAX
                                  : status; /* nested too deep: nothing to do with links */
    ret->is_bundle = og_str_is(r.type, "Bundle");
    ret->is_outcome = og_str_is(r.type, "OperationOutcome");
    if (ret->is_bundle) {
        og_str next = fhir_string(a, prefetch_next_page(r.root));
        if (next.n >= sizeof ret->next)
            return OG_LIMIT;
        if (next.n > 0)
            memcpy(ret->next, next.p, next.n);
    }
    if (ret->is_outcome) {
        og_str code = fhir_raw(fhir_get(fhir_each_first(fhir_get(r.root, "issue")), "code"));
        if (code.n > 0 && code.n < sizeof ret->issue)
            memcpy(ret->issue, code.p, code.n);
    }
    return OG_OK;
}

og_status fhir_servers_envelope(og_str body, fhir_envelope *ret)
{
    og_arena *a = og_arena_new(32 * body.n + ((size_t)1 << 20));
    og_status status = a != NULL ? read_outside(a, body, ret) : OG_NOMEM;
    og_arena_free(a);
    return status;
}

/* ---- notes ---- */

static void on_asked(void *ctx, const char *why)
{
    const server *s = ctx;
    metric_add_label(METRIC_FHIR_TOKENS, s->config->name, why == NULL ? "good" : "failed", 1);
    if (why == NULL)
        return;
    log_field fields[] = {{"server", og_str_of(s->config->name)}, {"why", og_str_of(why)}};
    log_line(LOG_LEVEL_ERROR, "no token can be had for a FHIR server", fields, 2);
}

void fhir_servers_note(const fhir_servers *fs, size_t i, const fhir_result *r)
{
    const char *name = fs->list[i].config->name, *outcome = fhir_outcome_name(r->outcome);
    metric_add_label(METRIC_FHIR_READS, name, outcome, 1);
    if (r->outcome == FHIR_READ_DONE || r->outcome == FHIR_READ_NONE)
        return;
    log_field fields[] = {
        {"server", og_str_of(name)}, {"result", og_str_of(outcome)}, {"error", og_str_of(r->text)}};
    log_line(LOG_LEVEL_WARN, "a read from a FHIR server failed", fields, 3);
}

/* ---- which, and with what ---- */

size_t fhir_servers_find(const fhir_servers *fs, const char *url)
{
    for (size_t i = 0; i < fs->count; i++)
        if (http_url_same(fs->list[i].config->url, url))
            return i;
    return FHIR_NO_SERVER;
}

static bool allows(const config_client *who, const server *s)
{
    if (who == NULL)
        return true;
    for (size_t i = 0; i < who->fhir_servers.count; i++)
        if (strcmp(who->fhir_servers.at[i], s->config->name) == 0)
            return true;
    return false;
}

size_t fhir_servers_for(const fhir_servers *fs, const config_client *who, const hook_request *q,
                        const char **ret_why)
{
    char url[2048];
    *ret_why = "no-server";
    if (q->fhir_server.n == 0) {
        for (size_t i = 0; i < fs->count; i++)
            if (fs->list[i].tokens != NULL && allows(who, &fs->list[i]))
                return i;
        return FHIR_NO_SERVER;
    }
    *ret_why = "foreign-server";
    if (q->fhir_server.n >= sizeof url || memchr(q->fhir_server.p, '\\', q->fhir_server.n) != NULL)
        return FHIR_NO_SERVER; /* parsers disagree about backslashes */
    snprintf(url, sizeof url, "%.*s", OG_STR_ARG(q->fhir_server));
    size_t i = fhir_servers_find(fs, url);
    return i != FHIR_NO_SERVER && allows(who, &fs->list[i]) ? i : FHIR_NO_SERVER;
}

/* Is the token of the call still good, and for this? */
static bool own_token_serves(const hook_request *q, const char *type)
{
    if (!q->authorized)
        return false;
    og_str expires = fhir_raw(fhir_get(q->authorization, "expires_in"));
    og_str scope = fhir_raw(fhir_get(q->authorization, "scope"));
    og_str patient = fhir_raw(fhir_get(q->authorization, "patient"));
    bool ours = patient.n == 0 || og_str_eq(patient, q->patient_id);
    if (expires.n == 0 || expires.p[0] == '-' || og_str_is(expires, "0"))
        return false;
    return type[0] == '\0' || smart_scope_covers(scope, type, ours);
}

fhir_access fhir_servers_access(const fhir_servers *fs, size_t i, const hook_request *q,
                                const char *type)
{
    if (own_token_serves(q, type))
        return FHIR_ACCESS_OWN;
    return fs->list[i].tokens != NULL ? FHIR_ACCESS_OURS : FHIR_ACCESS_NEITHER;
}

fhir_client *fhir_servers_client(fhir_servers *fs, size_t i)
{
    return fs->list[i].client;
}

smart *fhir_servers_tokens(fhir_servers *fs, size_t i)
{
    return fs->list[i].tokens;
}

/* ---- trials ---- */

static bool on_statement(void *ctx, og_str body)
{
    server *s = ctx;
    fhir_doc doc;
    og_arena *a = og_arena_new(32 * body.n + ((size_t)1 << 20));
    if (a != NULL && fhir_decode(a, body, NULL, &doc, NULL) == OG_OK &&
        fhir_is(fhir_get(fhir_root(&doc), "resourceType"), "CapabilityStatement")) {
        og_str version = fhir_raw(fhir_get(fhir_root(&doc), "fhirVersion"));
        s->trial.described = true;
        snprintf(s->trial.version, sizeof s->trial.version, "%.*s", OG_STR_ARG(version));
    }
    og_arena_free(a);
    return true;
}

static void on_tried(void *ctx, const fhir_result *r)
{
    const server *s = ctx;
    bool good = false;
    char text[400];
    if (r->outcome == FHIR_READ_REFUSED && s->tokens == NULL) {
        good = true;
        snprintf(text, sizeof text, "answers, and wants a token (HTTP %d)", r->status);
    } else if (r->outcome != FHIR_READ_DONE) {
        snprintf(text, sizeof text, "%s", r->text);
    } else if (!s->trial.described) {
        snprintf(text, sizeof text, "%s: metadata is no CapabilityStatement", s->config->name);
    } else {
        good = strncmp(s->trial.version, "4.", 2) == 0;
        snprintf(text, sizeof text, "serves FHIR %s%s%s", s->trial.version,
                 s->tokens != NULL ? ", and gives us a token" : "",
                 good ? "" : "; it should be R4");
    }
    s->trial.fn(s->trial.ctx, s->config, good, text);
}

og_status fhir_servers_try(fhir_servers *fs, size_t i, fhir_servers_tried *fn, void *ctx,
                           og_error *err)
{
    server *s = &fs->list[i];
    s->trial.fn = fn;
    s->trial.ctx = ctx;
    s->trial.described = false;
    const fhir_query q = {.path = "metadata",
                          .budget_ms = 3 * s->config->timeout_ms, /* two may go for a token */
                          .on_page = on_statement,
                          .on_done = on_tried,
                          .ctx = s};
    return fhir_client_read(s->client, &q, NULL, err);
}

/* ---- life ---- */

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static og_status open_server(uv_loop_t *loop, http_client *http, server *s, uint64_t seed,
                             og_error *err)
{
    const config_fhir_server *c = s->config;
    http_tls tls = {.ca_file = or_null(c->ca_file),
                    .cert_file = or_null(c->cert_file),
                    .key_file = or_null(c->key_file)};
    smart_options so = {.base_url = c->url,
                        .token_url = c->token_url,
                        .client_id = c->client_id,
                        .key_file = c->private_jwk_file,
                        .scope = c->scope,
                        .tls = tls,
                        .connect_timeout_ms = (int)c->connect_timeout_ms,
                        .timeout_ms = (int)c->timeout_ms,
                        .ctx = s,
                        .on_asked = on_asked};
    og_status status = OG_OK;
    if (c->client_id[0] != '\0')
        status = smart_new(loop, http, &so, &s->tokens, err);
    fhir_client_options co = {.name = c->name,
                              .base_url = c->url,
                              .tokens = s->tokens,
                              .tls = tls,
                              .connect_timeout_ms = (int)c->connect_timeout_ms,
                              .timeout_ms = (int)c->timeout_ms,
                              .max_bytes = (size_t)c->max_bytes,
                              .seed = seed,
                              .envelope = fhir_servers_envelope};
    return status == OG_OK ? fhir_client_new(loop, http, &co, &s->client, err) : status;
}

og_status fhir_servers_new(uv_loop_t *loop, http_client *client, const config *c, uint64_t seed,
                           fhir_servers **ret, og_error *err)
{
    fhir_servers *fs = calloc(1, sizeof *fs);
    server *list = calloc(c->fhir_server_count + 1, sizeof *list);
    if (fs == NULL || list == NULL) {
        free(fs);
        free(list);
        return og_fail(err, OG_NOMEM, "no memory for the FHIR servers");
    }
    fs->config = c;
    fs->list = list;
    og_status status = OG_OK;
    for (size_t i = 0; i < c->fhir_server_count && status == OG_OK; i++) {
        list[i].config = &c->fhir_servers[i];
        fs->count++;
        status = open_server(loop, client, &list[i], seed + i, err);
    }
    if (status != OG_OK)
        fhir_servers_close(fs, NULL, NULL);
    else
        *ret = fs;
    return status;
}

static void one_closed(void *ctx)
{
    fhir_servers *fs = ctx;
    if (--fs->open > 0)
        return;
    void (*on_closed)(void *) = fs->on_closed;
    void *close_ctx = fs->close_ctx;
    free(fs->list);
    free(fs);
    if (on_closed != NULL)
        on_closed(close_ctx);
}

void fhir_servers_close(fhir_servers *fs, void (*on_closed)(void *ctx), void *ctx)
{
    if (fs == NULL) {
        if (on_closed != NULL)
            on_closed(ctx);
        return;
    }
    fs->on_closed = on_closed;
    fs->close_ctx = ctx;
    fs->open = 2 * fs->count + 1;
    for (size_t i = 0; i < fs->count; i++) {
        fhir_client_close(fs->list[i].client, one_closed, fs);
        smart_close(fs->list[i].tokens, one_closed, fs);
    }
    one_closed(fs);
}
