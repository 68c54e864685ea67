/* A FHIR server for tests, in the test's own loop and on a free port: SMART token endpoint that
 * verifies the assertion with the public key, and resources that a test names. */
#ifndef OG_TESTS_FHIR_STANDIN_H
#define OG_TESTS_FHIR_STANDIN_H

#include "jwt_fixture.h"

#include <time.h>

#include "connectors/http_server.h"
#include "connectors/jwt.h"

#define STANDIN_CLIENT "osteoguard-test"
#define STANDIN_PAGES  64

typedef struct standin_page { /* what is answered to a path; with a query when that is part of it */
    const char *path;         /* behind /fhir/; "Observation?patient=p1", "Patient/p1" */
    int status;
    char *body;
    int asked;
} standin_page;

typedef struct standin {
    http_server *http;
    json_t *key; /* the client's, with its private half */
    jwks *keys;
    int64_t now_ms; /* for the assertion's times; 0: the real clock, as the daemon's */
    /* tokens */
    int tokens_given, token_status, good_token; /* good_token: number of the one that is taken */
    int expires_in;
    bool closed_to_all; /* no token is good */
    char scope[200];
    char jti[80];
    int configurations; /* asked for */
    /* resources */
    standin_page pages[STANDIN_PAGES];
    size_t page_count;
    json_t *records;   /* a Bundle: what is read and searched by patient beside the pages */
    json_t *written;   /* by transactions: url and resource of each */
    size_t updates;    /* of something that was there already */
    size_t per_page;   /* of a search in it; 0: all */
    const char *slow;  /* this type is not answered */
    const int *script; /* statuses that are answered before anything else */
    size_t script_count, script_at;
    const char *retry_after;
    int asked, refused;
    char last_bearer[200], last_method[16], form[8192];
    http_exchange *held[64]; /* paths that begin with Slow are not answered */
    size_t held_count;
    bool closed;
} standin;

static inline int standin_port(const standin *s)
{
    return http_server_port(s->http);
}

static inline void standin_base(const standin *s, char out[64])
{
    snprintf(out, 64, "http://127.0.0.1:%d/fhir", standin_port(s));
}

/* ---- tokens ---- */

/* The value of a member of a form, decoded. */
static inline bool standin_form(const char *form, const char *name, char *out, size_t size)
{
    char want[64];
    size_t n = 0;
    snprintf(want, sizeof want, "%s=", name);
    const char *p = form;
    while (p != NULL && strncmp(p, want, strlen(want)) != 0) {
        p = strchr(p, '&');
        p = p != NULL ? p + 1 : NULL;
    }
    if (p == NULL)
        return false;
    for (p += strlen(want); *p != '\0' && *p != '&' && n + 1 < size; p++) {
        unsigned code;
        if (*p == '%' && sscanf(p + 1, "%2x", &code) == 1) {
            out[n++] = (char)code;
            p += 2;
        } else {
            out[n++] = *p;
        }
    }
    out[n] = '\0';
    return true;
}

/* The assertion is signed by the client's key and says what it should. */
static inline bool standin_assertion_good(standin *s, const char *form)
{
    char assertion[8192], aud[80], type[128];
    const char *const audiences[] = {aud};
    jwt *t = NULL;
    og_error err;
    og_error_init(&err);
    snprintf(aud, sizeof aud, "http://127.0.0.1:%d/token", standin_port(s));
    jwt_policy policy = {.issuer = STANDIN_CLIENT,
                         .audiences = audiences,
                         .audience_count = 1,
                         .url = "",
                         .now_s = s->now_ms != 0 ? s->now_ms / 1000 : (int64_t)time(NULL),
                         .skew_s = 5,
                         .max_life_s = 300};
    if (!standin_form(form, "client_assertion", assertion, sizeof assertion) ||
        !standin_form(form, "client_assertion_type", type, sizeof type) ||
        strcmp(type, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer") != 0)
        return false;
    bool good = jwt_parse(og_str_of(assertion), &t, &err) == OG_OK &&
                jwt_verify(t, s->keys, &err) == OG_OK && jwt_check(t, &policy, &err) == OG_OK &&
                og_str_is(jwt_claim(t, "sub"), STANDIN_CLIENT);
    if (!good)
        print_error("the assertion is refused: %s %s\n", err.path, err.text);
    if (good) { /* a jti is good once */
        og_str jti = jwt_claim(t, "jti");
        good = !og_str_is(jti, s->jti);
        snprintf(s->jti, sizeof s->jti, "%.*s", OG_STR_ARG(jti));
    }
    jwt_free(t);
    return good;
}

static inline void standin_token(void *ctx, http_exchange *x)
{
    standin *s = ctx;
    char form[16384], body[400], grant[64];
    snprintf(form, sizeof form, "%.*s", OG_STR_ARG(http_exchange_body(x)));
    if (s->token_status != 0) {
        http_exchange_answer(x, s->token_status, "application/json",
                             OG_STR("{\"error\":\"invalid_client\",\"error_description\":\"secret "
                                    "story\"}"));
        return;
    }
    if (!standin_form(form, "grant_type", grant, sizeof grant) ||
        strcmp(grant, "client_credentials") != 0 ||
        !standin_form(form, "scope", s->scope, sizeof s->scope) ||
        !standin_assertion_good(s, form)) {
        http_exchange_answer(x, 400, "application/json", OG_STR("{\"error\":\"invalid_client\"}"));
        return;
    }
    s->good_token = ++s->tokens_given;
    snprintf(body, sizeof body,
             "{\"access_token\":\"token-%d\",\"token_type\":\"bearer\",\"expires_in\":%d,"
             "\"scope\":\"system/*.rs\"}",
             s->good_token, s->expires_in);
    http_exchange_answer(x, 200, "application/json", og_str_of(body));
}

static inline void standin_configuration(void *ctx, http_exchange *x)
{
    standin *s = ctx;
    char body[200];
    s->configurations++;
    snprintf(body, sizeof body, "{\"token_endpoint\":\"http://127.0.0.1:%d/token\"}",
             standin_port(s));
    http_exchange_answer(x, 200, "application/json", og_str_of(body));
}

/* ---- resources ---- */

/* body may name %d once: the port. Without a query the path stands for every query. */
static inline standin_page *standin_put(standin *s, const char *path, int status, const char *body)
{
    for (size_t i = 0; i < s->page_count; i++) {
        if (strcmp(s->pages[i].path, path) == 0) {
            free(s->pages[i].body);
            s->pages[i].body = strdup(body);
            s->pages[i].status = status;
            return &s->pages[i];
        }
    }
    assert_true(s->page_count < STANDIN_PAGES);
    s->pages[s->page_count] = (standin_page){path, status, strdup(body), 0};
    return &s->pages[s->page_count++];
}

static inline bool standin_lets_in(const standin *s, const char *bearer)
{
    char good[64];
    snprintf(good, sizeof good, "Bearer token-%d", s->good_token);
    return !s->closed_to_all && (strcmp(bearer, good) == 0 || strcmp(bearer, "Bearer own") == 0);
}

static inline bool standin_is_of(json_t *r, const char *patient)
{
    static const char *const names[] = {"subject", "patient"};
    char want[200];
    snprintf(want, sizeof want, "Patient/%s", patient);
    for (size_t i = 0; i < 2; i++) {
        const char *ref =
            json_string_value(json_object_get(json_object_get(r, names[i]), "reference"));
        if (ref != NULL && strcmp(ref, want) == 0)
            return true;
    }
    return false;
}

/* A read (Type/id) or a search (Type, by patient, from entry `from` on) in the records. Caller
 * frees. */
static inline char *standin_records(const standin *s, const char *path, const char *patient,
                                    size_t from)
{
    json_t *entries = json_array(), *entry;
    size_t i, n = 0;
    char *text = NULL, key[200], next[200];
    json_array_foreach(json_object_get(s->records, "entry"), i, entry)
    {
        json_t *r = json_object_get(entry, "resource");
        const char *type = json_string_value(json_object_get(r, "resourceType"));
        snprintf(key, sizeof key, "%s/%s", type, json_string_value(json_object_get(r, "id")));
        if (strcmp(key, path) == 0)
            text = json_dumps(r, JSON_COMPACT);
        if (strcmp(type, path) == 0 && standin_is_of(r, patient) && n++ >= from &&
            (s->per_page == 0 || n <= from + s->per_page))
            json_array_append_new(entries, json_pack("{s:O}", "resource", r));
    }
    json_t *bundle =
        json_pack("{s:s,s:s,s:O}", "resourceType", "Bundle", "type", "searchset", "entry", entries);
    snprintf(next, sizeof next, "http://127.0.0.1:%d/fhir/%s?patient=%s&from=%zu", standin_port(s),
             path, patient, from + s->per_page);
    if (s->per_page != 0 && n > from + s->per_page)
        json_object_set_new(bundle, "link",
                            json_pack("[{s:s,s:s}]", "relation", "next", "url", next));
    if (text == NULL && strchr(path, '/') == NULL)
        text = json_dumps(bundle, JSON_COMPACT);
    json_decref(bundle);
    json_decref(entries);
    return text;
}

/* What the records say; false: nothing. */
static inline bool standin_answer_records(standin *s, http_exchange *x, char *path)
{
    char patient[100] = "", from[16] = "";
    og_str q = http_exchange_query(x, "patient"), at = http_exchange_query(x, "from");
    char *search = strstr(path, "/_search");
    if (search != NULL)
        *search = '\0';
    snprintf(patient, sizeof patient, "%.*s", OG_STR_ARG(q));
    snprintf(from, sizeof from, "%.*s", OG_STR_ARG(at));
    if (search != NULL)
        (void)standin_form(s->form, "patient", patient, sizeof patient);
    char *text = s->records != NULL
                     ? standin_records(s, path, patient, (size_t)strtoul(from, NULL, 10))
                     : NULL;
    if (text != NULL)
        http_exchange_answer(x, 200, "application/fhir+json", og_str_of(text));
    free(text);
    return text != NULL;
}

static inline void standin_resource(void *ctx, http_exchange *x)
{
    standin *s = ctx;
    char path[200], with[600];
    og_str patient = http_exchange_query(x, "patient");
    snprintf(path, sizeof path, "%.*s", OG_STR_ARG(http_exchange_rest(x)));
    snprintf(with, sizeof with, "%s?patient=%.*s", path, OG_STR_ARG(patient));
    snprintf(s->last_method, sizeof s->last_method, "%.*s", OG_STR_ARG(http_exchange_method(x)));
    snprintf(s->last_bearer, sizeof s->last_bearer, "%.*s",
             OG_STR_ARG(http_exchange_header(x, "Authorization")));
    snprintf(s->form, sizeof s->form, "%.*s", OG_STR_ARG(http_exchange_body(x)));
    s->asked++;
    if (!standin_lets_in(s, s->last_bearer)) {
        s->refused++;
        http_exchange_answer(x, 401, NULL, OG_STR(""));
        return;
    }
    if (s->script_at < s->script_count) {
        int status = s->script[s->script_at++];
        if (s->retry_after != NULL)
            assert_true(http_exchange_add_header(x, "Retry-After", s->retry_after));
        http_exchange_answer(x, status, NULL, OG_STR(""));
        return;
    }
    if (strncmp(path, "Slow", 4) == 0 ||
        (s->slow != NULL && strncmp(path, s->slow, strlen(s->slow)) == 0)) {
        assert_true(s->held_count < 64);
        s->held[s->held_count++] = x;
        return;
    }
    for (size_t i = 0; i < s->page_count; i++) {
        standin_page *p = &s->pages[i];
        if (strcmp(p->path, path) != 0 && strcmp(p->path, with) != 0)
            continue;
        p->asked++;
        http_exchange_answer(x, p->status, "application/fhir+json", og_str_of(p->body));
        return;
    }
    if (standin_answer_records(s, x, path))
        return;
    http_exchange_answer(x, 404, "application/fhir+json",
                         OG_STR("{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"severity\":"
                                "\"error\",\"code\":\"not-found\",\"diagnostics\":\"secret\"}]}"));
}

/* ---- transactions ---- */

/* Conditional updates by identifier, as R4 has them: what is there is replaced, what is not is
 * made. A status of the script is answered after that, as a gateway does whose answer got lost. */
static inline void standin_transaction(void *ctx, http_exchange *x)
{
    standin *s = ctx;
    size_t i, k;
    json_t *entry, *known;
    og_str body = http_exchange_body(x);
    snprintf(s->last_bearer, sizeof s->last_bearer, "%.*s",
             OG_STR_ARG(http_exchange_header(x, "Authorization")));
    s->asked++;
    if (!standin_lets_in(s, s->last_bearer)) {
        s->refused++;
        http_exchange_answer(x, 401, NULL, OG_STR(""));
        return;
    }
    json_t *bundle = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(bundle);
    assert_true(og_str_is(http_exchange_header(x, "Content-Type"), "application/fhir+json"));
    assert_string_equal(json_string_value(json_object_get(bundle, "type")), "transaction");
    if (s->written == NULL)
        s->written = json_array();
    json_array_foreach(json_object_get(bundle, "entry"), i, entry)
    {
        const json_t *request = json_object_get(entry, "request");
        json_t *resource = json_object_get(entry, "resource");
        const char *url = json_string_value(json_object_get(request, "url"));
        bool found = false;
        assert_string_equal(json_string_value(json_object_get(request, "method")), "PUT");
        assert_non_null(strstr(url, "?identifier="));
        json_array_foreach(s->written, k, known)
        {
            if (strcmp(json_string_value(json_object_get(known, "url")), url) == 0) {
                json_object_set(known, "resource", resource);
                found = true;
                s->updates++;
            }
        }
        if (!found)
            json_array_append_new(s->written,
                                  json_pack("{s:s,s:O}", "url", url, "resource", resource));
    }
    json_decref(bundle);
    http_exchange_answer(x, s->script_at < s->script_count ? s->script[s->script_at++] : 200,
                         "application/fhir+json",
                         OG_STR("{\"resourceType\":\"Bundle\",\"type\":\"transaction-response\"}"));
}

/* What was written of this type for the rule; NULL. */
static inline json_t *standin_written(const standin *s, const char *type, const char *rule)
{
    size_t i;
    json_t *one;
    json_array_foreach(s->written, i, one)
    {
        json_t *r = json_object_get(one, "resource");
        json_t *coding = json_array_get(json_object_get(json_object_get(r, "code"), "coding"), 0);
        if (strcmp(json_string_value(json_object_get(r, "resourceType")), type) == 0 &&
            strcmp(json_string_value(json_object_get(coding, "code")), rule) == 0)
            return r;
    }
    return NULL;
}

/* ---- life ---- */

/* recipe: of the client's key, see key_new. */
static inline standin *standin_new(uv_loop_t *loop, const char *recipe, int64_t now_ms)
{
    standin *s = calloc(1, sizeof *s);
    og_error err;
    og_error_init(&err);
    assert_non_null(s);
    const http_route routes[] = {
        {"GET", "/fhir/.well-known/smart-configuration", standin_configuration, s, 0},
        {"POST", "/token", standin_token, s, 0},
        {"POST", "/fhir", standin_transaction, s, 0},
        {"GET", "/fhir/*", standin_resource, s, 0},
        {"POST", "/fhir/*", standin_resource, s, 0},
        {"GET", "/open/*", standin_resource, s, 0}, /* the same, under another base */
        {"POST", "/open/*", standin_resource, s, 0}};
    http_server_options o = {.routes = routes, .route_count = 7, .deadline_ms = 60000};
    s->now_ms = now_ms;
    s->expires_in = 300;
    s->key = key_new(recipe, "k1");
    char *set = set_of(&s->key, 1);
    assert_int_equal(jwks_parse(og_str_of(set), &s->keys, &err), OG_OK);
    free(set);
    assert_int_equal(http_server_new(loop, &o, &s->http, &err), OG_OK);
    return s;
}

static inline void standin_write_key(const standin *s, const char *path)
{
    assert_int_equal(json_dump_file(s->key, path, JSON_COMPACT), 0);
}

static inline void standin_closed(void *ctx)
{
    ((standin *)ctx)->closed = true;
}

static inline void standin_free(standin *s, uv_loop_t *loop)
{
    for (size_t i = 0; i < s->held_count; i++)
        http_exchange_answer(s->held[i], 503, NULL, OG_STR(""));
    http_server_close(s->http, 0, standin_closed, s);
    while (!s->closed)
        uv_run(loop, UV_RUN_ONCE);
    for (size_t i = 0; i < s->page_count; i++)
        free(s->pages[i].body);
    json_decref(s->key);
    json_decref(s->records);
    json_decref(s->written);
    jwks_free(s->keys);
    free(s);
}

#endif
