/* Calls of CDS services for patients of another instance: handed to it, and its answer passed on
 * (forward.h).
 *
 *   who calls is let in ─► another instance has the patient ─► handed to it ─► 200, 412: passed on
 *                                     │                           └─► anything else, or too late
 *                                     └─► nobody knows which, or too many at once      │
 *                                                        answered from here (serve_hooks.c) ◄─┘
 *
 * A call that was handed to us is answered from what is here or refused, never handed on. Who was
 * asked first counts, audits and limits it; who answers it here does neither. Whatever is told
 * about others may be wrong or out of date: then the call is answered as if it had not been told.
 */
#include <stdlib.h>

#include "daemon/file.h"
#include "daemon/forward.h"
#include "daemon/metrics.h"
#include "daemon/serve_private.h"

#define MAX_SECRET   4096
#define MAX_CALLS    64                 /* on their way at once */
#define MAX_BYTES    ((size_t)64 << 20) /* of their bodies */
#define MAX_ANSWER   ((size_t)16 << 20)
#define ANSWER_MS    100   /* for our own answer, when the other one gives none */
#define LEAST_MS     10    /* less is not worth the way */
#define ANNOUNCE_MS  10000 /* or when something has changed */
#define REST_MS      1000  /* for one who does not answer */
#define SERVICE_PATH "/cds-services/" HOOKS_SERVICE_PREFIX

typedef struct handed { /* a call on its way */
    struct handed *next, **link;
    serve *s;
    http_exchange *exchange;
    const config_client *who;
    const hook_kind *kind;
    http_call *call;
    serve_asked asked; /* points into texts */
    char peer[UUID_TEXT], nonce[UUID_TEXT], url[512];
    int partition;
    int64_t began_us;
    char texts[];
} handed;

struct serve_forwards {
    forward *forward;
    char id[UUID_TEXT];
    handed *first;
    size_t count, bytes;
    og_buf owns;          /* what we have told of ourselves */
    int64_t announced_ms; /* 0: not yet, or there is news */
    bool told;            /* since the start */
};

/* ---- where we are ---- */

static void write_owns(const serve *s, og_buf *out)
{
    for (int i = 0; i < s->count && i < FORWARD_MAX_PARTITIONS; i++) {
        const serve_partition *p = &s->partitions[i];
        if (p->assigned && p->epoch >= 0 && p->store != NULL && owner_get(s->owner, i).restored)
            og_buf_addf(out, "%s%d", out->n > 0 ? "," : "", i);
    }
}

static void on_announced(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                         const kafka_error *error)
{
    (void)ctx; /* what is not there is said again soon */
    (void)verdict;
    (void)partition;
    (void)offset;
    (void)error;
}

static void announce(serve *s)
{
    struct serve_forwards *w = s->forwards;
    og_buf key, value;
    og_error err;
    og_error_init(&err);
    og_buf_init(&key, 128);
    og_buf_init(&value, (size_t)1 << 14);
    og_buf_addf(&key, RECORD_INSTANCE "%s", w->id);
    forward_announce(w->forward, og_buf_str(&w->owns), !w->told, clock_wall_ms(), &value);
    kafka_record r = {.topic = s->config->kafka_shared,
                      .partition = 0,
                      .key = og_buf_str(&key),
                      .value = og_buf_str(&value)};
    if (s->sink != NULL && !og_buf_failed(&key) && !og_buf_failed(&value) &&
        kafka_sink_send(s->sink, &r, on_announced, NULL, &err) == CONN_DONE) {
        w->announced_ms = clock_monotonic_ms();
        w->told = true;
    }
    og_buf_done(&key);
    og_buf_done(&value);
}

void serve__tend_forwards(serve *s)
{
    struct serve_forwards *w = s->forwards;
    og_buf owns;
    if (w == NULL || s->step != SERVE_WORKING)
        return;
    og_buf_init(&owns, (size_t)1 << 13);
    write_owns(s, &owns);
    bool news = w->announced_ms == 0 || !og_str_eq(og_buf_str(&owns), og_buf_str(&w->owns));
    og_buf_done(&w->owns);
    w->owns = owns;
    if (news || clock_monotonic_ms() - w->announced_ms >= ANNOUNCE_MS)
        announce(s);
}

/* ---- where others are ---- */

static void tell_word(const struct serve_forwards *w, og_str id, forward_word word)
{
    const char *url = forward_url(w->forward, id);
    log_field fields[] = {{"id", id}, {"instance", og_str_of(url != NULL ? url : "")}};
    if (word == FORWARD_NEW)
        log_line(LOG_LEVEL_INFO, "another instance can be reached for calls of its patients",
                 fields, 2);
    else if (word == FORWARD_UNMARKED)
        log_line(LOG_LEVEL_WARN,
                 "somebody with another hooks.instance_secret_file calls itself an instance: no "
                 "calls go there",
                 fields, 1);
    else if (word == FORWARD_FULL)
        log_line(LOG_LEVEL_WARN, "there are too many instances: no calls go to this one", fields,
                 1);
}

bool serve__hear_instance(serve *s, const conn_message *m)
{
    struct serve_forwards *w = s->forwards;
    if (!og_str_starts(m->key, OG_STR(RECORD_INSTANCE)))
        return false;
    if (w == NULL || s->beat_arena == NULL)
        return true;
    og_str id = og_str_from(m->key, strlen(RECORD_INSTANCE));
    og_arena_reset(s->beat_arena);
    forward_word word = forward_hear(w->forward, id, m->value, s->beat_arena, clock_wall_ms());
    if (word == FORWARD_NEW)
        w->announced_ms = 0; /* so that it soon knows us, too */
    tell_word(w, id, word);
    return true;
}

/* ---- a call that another instance hands to us ---- */

bool serve__is_forwarded(const http_exchange *x)
{
    return http_exchange_header(x, FORWARD_HEADER).p != NULL;
}

static const config_client *client_of(const config *c, const char *name)
{
    for (size_t i = 0; i < c->client_count; i++)
        if (strcmp(c->clients[i].name, name) == 0)
            return &c->clients[i];
    return NULL;
}

/* What is wrong with it; "": nothing. */
static const char *judge_visit(serve *s, const http_exchange *x, const config_client **ret)
{
    forward_visit v;
    if (s->forwards == NULL)
        return "none are taken here";
    const char *why =
        forward_verify(s->forwards->forward, http_exchange_header(x, FORWARD_HEADER),
                       http_exchange_path(x), http_exchange_body(x), clock_wall_ms(), &v);
    if (why[0] != '\0')
        return why;
    *ret = client_of(s->config, v.client);
    return *ret == NULL && (v.client[0] != '\0' || trust_asks(s->trust)) ? "client" : "";
}

void serve__admit_forwarded(serve *s, http_exchange *x, serve_visit_fn *fn)
{
    const config_client *who = NULL;
    const char *why = s->trust != NULL ? judge_visit(s, x, &who) : "stopping";
    if (why[0] == '\0') {
        fn(s, x, who);
        return;
    }
    metric_add_label(METRIC_HOOK_REFUSED, "forward", NULL, 1);
    log_field fields[] = {{"why", og_str_of(why)}};
    log_line(LOG_LEVEL_WARN,
             "a call in the name of another instance was refused: it is forged, or the instances' "
             "secrets, clocks or clients differ",
             fields, 1);
    serve__refuse_caller(s, x, NULL, false);
}

void serve__seal(const serve *s, http_exchange *x, int status, og_str body)
{
    forward_visit v;
    char seal[FORWARD_MARK];
    if (s->forwards == NULL || !forward_read(http_exchange_header(x, FORWARD_HEADER), &v))
        return;
    forward_seal(s->forwards->forward, v.nonce, status, body, seal);
    http_exchange_add_header(x, FORWARD_SEAL, seal);
}

int64_t serve__fetch_budget(const serve *s, const http_exchange *x)
{
    forward_visit v;
    int64_t own = s->config->hooks_fetch_budget_ms;
    if (!forward_read(http_exchange_header(x, FORWARD_HEADER), &v))
        return own;
    return v.budget_ms / 2 < own ? v.budget_ms / 2 : own; /* the rest is for the answer */
}

/* ---- a call that we hand to another instance ---- */

static void count(const char *result)
{
    metric_add_label(METRIC_FORWARDS, result, NULL, 1);
}

static void let_go(handed *h)
{
    struct serve_forwards *w = h->s->forwards;
    *h->link = h->next;
    if (h->next != NULL)
        h->next->link = h->link;
    w->count--;
    w->bytes -= http_exchange_body(h->exchange).n;
    h->exchange = NULL;
}

/* As in the metric's help. */
static const char *judge_answer(const handed *h, const http_response *r)
{
    if (r->failure == HTTP_FAILURE_TIMEOUT)
        return "timeout";
    if (r->failure == HTTP_FAILURE_CONNECT || r->failure == HTTP_FAILURE_TLS)
        return "unreachable";
    if (r->failure != HTTP_FAILURE_NONE)
        return "broken";
    if (r->status == 401)
        return "refused";
    if (r->status == 503)
        return "busy";
    if (!forward_is_sealed(h->s->forwards->forward, h->nonce, r->status, r->body, r->wanted))
        return "unsealed";
    if (r->status == 200 || r->status == 412)
        return "relayed";
    return r->status == 421 ? "moved" : "failed";
}

static void tell(const char *url, const char *why, const char *detail)
{
    log_field fields[] = {{"instance", og_str_of(url)},
                          {"why", og_str_of(why)},
                          {"detail", og_str_of(detail != NULL ? detail : "")}};
    log_line(LOG_LEVEL_WARN,
             "a call got no answer from the instance that has its patient; it is answered from "
             "here as far as possible",
             fields, 3);
}

/* What it means for the calls that follow. */
static void learn(const handed *h, const char *result, const http_response *r)
{
    forward *f = h->s->forwards->forward;
    if (strcmp(result, "moved") == 0)
        forward_disown(f, h->peer, h->partition);
    if (strcmp(result, "timeout") == 0 || strcmp(result, "unreachable") == 0)
        forward_rest(f, h->peer, clock_monotonic_ms() + REST_MS);
    if (strcmp(result, "moved") != 0 && strcmp(result, "busy") != 0)
        tell(h->url, result, r->error);
}

static void on_answer(void *ctx, const http_response *r)
{
    handed *h = ctx;
    serve *s = h->s;
    http_exchange *x = h->exchange;
    const char *result = judge_answer(h, r);
    metric_observe_us(METRIC_FORWARD_TIME, clock_monotonic_us() - h->began_us);
    count(result);
    let_go(h);
    s->caller = h->who;
    if (strcmp(result, "relayed") == 0) {
        serve__relay(s, x, h->kind, &h->asked, r->status, r->body);
    } else {
        learn(h, result, r);
        serve__call_again(s, x, h->kind);
    }
    s->caller = NULL;
    free(h);
}

static og_str keep(char **at, og_str text)
{
    og_str kept = {*at, text.n};
    if (text.n > 0)
        memcpy(*at, text.p, text.n);
    *at += text.n;
    return kept;
}

static handed *handed_new(serve *s, http_exchange *x, const hook_request *q,
                          const forward_peer *peer)
{
    struct serve_forwards *w = s->forwards;
    handed *h = malloc(sizeof *h + q->user_id.n + q->patient_id.n + q->instance.n);
    if (h == NULL)
        return NULL;
    *h = (handed){.s = s, .exchange = x, .who = s->caller, .kind = q->kind};
    char *at = h->texts;
    h->asked.user = keep(&at, q->user_id);
    h->asked.patient = keep(&at, q->patient_id);
    h->asked.instance = keep(&at, q->instance);
    h->began_us = clock_monotonic_us();
    uuid_random(h->nonce);
    memcpy(h->peer, peer->id, sizeof h->peer);
    snprintf(h->url, sizeof h->url, "%s", peer->url);
    h->link = &w->first;
    h->next = w->first;
    if (h->next != NULL)
        h->next->link = &h->next;
    w->first = h;
    w->count++;
    w->bytes += http_exchange_body(x).n;
    return h;
}

static bool send_call(handed *h, int64_t budget_ms, og_error *err)
{
    const serve *s = h->s;
    char path[256], url[sizeof h->url + sizeof path];
    og_buf header;
    snprintf(path, sizeof path, SERVICE_PATH "%s", h->kind->name);
    snprintf(url, sizeof url, "%s%s", h->url, path);
    forward_call c = {.to = h->peer,
                      .client = h->who != NULL ? h->who->name : "",
                      .path = og_str_of(path),
                      .body = http_exchange_body(h->exchange),
                      .budget_ms = budget_ms};
    memcpy(c.nonce, h->nonce, sizeof c.nonce);
    og_buf_init(&header, 2048);
    forward_sign(s->forwards->forward, &c, clock_wall_ms(), &header);
    conn_header headers[] = {{"Content-Type", OG_STR("application/json")},
                             {FORWARD_HEADER, og_buf_str(&header)}};
    http_tls tls = {.ca_file = s->config->hooks_instance_ca_file[0] != '\0'
                                   ? s->config->hooks_instance_ca_file
                                   : NULL};
    http_request r = {.url = url,
                      .headers = headers,
                      .header_count = 2,
                      .body = c.body,
                      .connect_timeout_ms = (int)(budget_ms + 1) / 2,
                      .timeout_ms = (int)budget_ms,
                      .tls = &tls,
                      .max_response_bytes = MAX_ANSWER,
                      .wanted = FORWARD_SEAL};
    bool sent = !og_buf_failed(&header) &&
                http_client_send(s->client, &r, on_answer, h, &h->call, err) == OG_OK;
    og_buf_done(&header);
    return sent;
}

/* How long we may wait, so that an answer of our own is still possible afterwards. */
static int64_t budget_of(const serve *s, const http_exchange *x)
{
    int64_t left = http_exchange_left_ms(x) - s->config->hooks_fetch_budget_ms - ANSWER_MS;
    return left < s->config->hooks_forward_budget_ms ? left : s->config->hooks_forward_budget_ms;
}

/* Why it goes nowhere; NULL: nothing speaks against it. */
static const char *obstacle(const serve *s, const http_exchange *x, const forward_peer *peer)
{
    const struct serve_forwards *w = s->forwards;
    if (peer == NULL)
        return "unknown";
    if (peer->rest_until_ms > clock_monotonic_ms())
        return "resting";
    if (w->count >= MAX_CALLS || http_exchange_body(x).n > MAX_BYTES - w->bytes)
        return "full";
    return budget_of(s, x) < LEAST_MS ? "late" : NULL;
}

bool serve__forward(serve *s, http_exchange *x, const hook_request *q, int partition)
{
    og_error err;
    if (s->forwards == NULL || serve__stopping(s))
        return false;
    const forward_peer *peer = forward_owner(s->forwards->forward, partition, clock_wall_ms());
    const char *why = obstacle(s, x, peer);
    og_error_init(&err);
    if (why != NULL) {
        count(why);
        if (peer == NULL)
            tell("", why, "no instance with an instance_url says that it has this partition");
        return false;
    }
    handed *h = handed_new(s, x, q, peer);
    if (h == NULL)
        return false;
    h->partition = partition;
    if (send_call(h, budget_of(s, x), &err))
        return true;
    count("broken");
    tell(h->url, "broken", err.text);
    let_go(h);
    free(h);
    return false;
}

/* ---- life ---- */

/* The URL as others are to use it: without a slash at its end, and with the port that was bound
 * where it says 0. */
static void own_url(const serve *s, char *out, size_t size)
{
    og_str url = og_str_of(s->config->hooks_instance_url);
    while (og_str_ends(url, OG_STR("/")))
        url.n--;
    const char *scheme = strstr(url.p, "://");
    og_str rest = og_str_from(url, scheme != NULL ? (size_t)(scheme - url.p) + 3 : 0);
    ptrdiff_t slash = og_str_find(rest, '/');
    og_str host = slash >= 0 ? (og_str){rest.p, (size_t)slash} : rest;
    og_str path = og_str_from(rest, host.n);
    if (og_str_ends(host, OG_STR(":0")))
        snprintf(out, size, "%.*s%d%.*s", (int)(host.p + host.n - 1 - url.p), url.p,
                 serve_hooks_port(s), OG_STR_ARG(path));
    else
        snprintf(out, size, "%.*s", OG_STR_ARG(url));
}

static og_status read_secret(const serve *s, og_buf *secret, og_error *err)
{
    const char *path = s->config->hooks_instance_secret_file;
    og_status status = file_read(path, MAX_SECRET, secret, err);
    while (status == OG_OK && secret->n > 0 && strchr("\r\n", secret->p[secret->n - 1]) != NULL)
        secret->n--;
    return status;
}

og_status serve__open_forwards(serve *s, og_error *err)
{
    char url[512];
    og_buf secret;
    if (s->config->hooks_instance_url[0] == '\0')
        return OG_OK;
    struct serve_forwards *w = calloc(1, sizeof *w);
    if (w == NULL)
        return og_fail(err, OG_NOMEM, "no memory for other instances");
    own_url(s, url, sizeof url);
    memcpy(w->id, SERVE_SHARED(s)->id, sizeof w->id);
    og_buf_init(&secret, MAX_SECRET + 1);
    og_status status = read_secret(s, &secret, err);
    if (status == OG_OK)
        status = forward_new(og_buf_str(&secret), w->id, url, &w->forward, err);
    if (status != OG_OK)
        og_error_origin(err, s->config->hooks_instance_secret_file);
    if (secret.p != NULL)
        explicit_bzero(secret.p, secret.n);
    og_buf_done(&secret);
    if (status != OG_OK) {
        free(w);
        return status;
    }
    s->forwards = w;
    return OG_OK;
}

void serve__close_forwards(serve *s)
{
    handed *h;
    while (s->forwards != NULL && (h = s->forwards->first) != NULL) {
        http_exchange *x = h->exchange;
        http_call_cancel(h->call);
        let_go(h);
        s->caller = h->who;
        serve__refuse_call(s, x, h->kind->name, 503, "transient", "the service is stopping", "");
        s->caller = NULL;
        free(h);
    }
}

void serve__free_forwards(serve *s)
{
    if (s->forwards == NULL)
        return;
    og_buf_done(&s->forwards->owns);
    forward_free(s->forwards->forward);
    free(s->forwards);
    s->forwards = NULL;
}
