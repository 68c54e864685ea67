/* CDS services on a listener of their own: discovery, calls, and what a browser asks first (CORS).
 *
 * A call is answered within its turn of the loop: most come out of the store in some 50 us, and one
 * evaluation is bounded by the limits of the rules. One that lacks data may wait for a FHIR server
 * first (serve_fetch.c); one that brings much goes to a worker (serve_bulk.c); one for a patient of
 * another instance goes there (serve_forward.c). */
#include <stdlib.h>

#include "daemon/file.h"
#include "daemon/hooks.h"
#include "daemon/hooks_tls.h"
#include "daemon/metrics.h"
#include "daemon/said.h"
#include "daemon/serve_private.h"

#define MAX_DISCOVERY ((size_t)4 << 20)
#define JSON          "application/json"

/* ---- CORS (Fetch standard) ---- */

static bool allows_origin(const config *c, og_str origin)
{
    for (size_t i = 0; i < c->hooks_cors_origins.count; i++)
        if (og_str_is(origin, c->hooks_cors_origins.at[i]) ||
            strcmp(c->hooks_cors_origins.at[i], "*") == 0)
            return true;
    return false;
}

/* The origin is named, never `*` together with credentials; the answer differs by origin. */
static bool add_cors(const serve *s, http_exchange *x)
{
    char text[512];
    og_str origin = http_exchange_header(x, "Origin");
    if (s->config->hooks_cors_origins.count == 0)
        return false;
    http_exchange_add_header(x, "Vary", "Origin");
    if (origin.n == 0 || origin.n >= sizeof text || !allows_origin(s->config, origin))
        return false;
    snprintf(text, sizeof text, "%.*s", OG_STR_ARG(origin));
    return http_exchange_add_header(x, "Access-Control-Allow-Origin", text);
}

static void preflight(void *ctx, http_exchange *x)
{
    const serve *s = ctx;
    if (add_cors(s, x)) {
        http_exchange_add_header(x, "Access-Control-Allow-Methods", "GET, POST, OPTIONS");
        http_exchange_add_header(x, "Access-Control-Allow-Headers", "Authorization, Content-Type");
        http_exchange_add_header(x, "Access-Control-Max-Age", "600");
    }
    http_exchange_answer(x, 204, NULL, OG_STR(""));
}

/* ---- answers ---- */

/* Who handed it to us counts it as a call. */
void serve__count_call(const http_exchange *x, const char *hook, int status)
{
    char code[16];
    bool ours = status == 401 || !serve__is_forwarded(x);
    snprintf(code, sizeof code, "%d", status);
    metric_add_label(ours ? METRIC_HOOK_CALLS : METRIC_FORWARDED, hook, code, 1);
}

void serve__answer_json(const serve *s, http_exchange *x, int status, const char *type, og_str json)
{
    (void)add_cors(s, x);
    serve__seal(s, x, status, json);
    http_exchange_answer(x, status, type, json);
}

void serve__refuse(const serve *s, http_exchange *x, int status, const char *type, const char *code,
                   const char *text, const char *path)
{
    og_arena *a = og_arena_new((size_t)1 << 16);
    if (status == 503)
        http_exchange_add_header(x, "Retry-After", "5");
    serve__answer_json(s, x, status, type,
                       a != NULL ? hooks_outcome(a, code, text, path) : OG_STR(""));
    og_arena_free(a);
}

void serve__refuse_call(serve *s, http_exchange *x, const char *hook, int status, const char *code,
                        const char *text, const char *path)
{
    audit_event e = {.status = status};
    serve__audit(s, x, &e);
    serve__count_call(x, hook, status);
    serve__refuse(s, x, status, JSON, code, text, path);
}

/* ---- who calls ---- */

typedef struct visit { /* a request whose caller is being judged */
    serve *serve;
    http_exchange *exchange;
    serve_visit_fn *fn;
} visit;

static bool certified(void *ctx, const char *name)
{
    return http_exchange_certified(ctx, name);
}

/* Whoever is refused learns nothing about why (CDS Hooks best practices). */
void serve__refuse_caller(serve *s, http_exchange *x, const config_client *who, bool busy)
{
    int status = busy ? 429 : 401;
    audit_event e = {.status = status, .client = og_str_of(who != NULL ? who->name : "")};
    http_exchange_add_header(x, busy ? "Retry-After" : "WWW-Authenticate", busy ? "1" : "Bearer");
    (void)add_cors(s, x);
    serve__audit(s, x, &e);
    serve__count_call(x, "refused", status);
    http_exchange_answer(x, status, NULL, OG_STR(""));
}

static void on_verdict(void *ctx, trust_verdict verdict, const config_client *who)
{
    visit v = *(visit *)ctx;
    free(ctx);
    if (verdict == TRUST_GOOD)
        v.fn(v.serve, v.exchange, who);
    else
        serve__refuse_caller(v.serve, v.exchange, who, verdict == TRUST_BUSY);
}

void serve__admit(serve *s, http_exchange *x, serve_visit_fn *fn)
{
    char path[1024];
    og_str given = http_exchange_path(x);
    if (serve__is_forwarded(x)) {
        serve__admit_forwarded(s, x, fn);
        return;
    }
    if (s->trust != NULL && !trust_asks(s->trust)) {
        fn(s, x, NULL);
        return;
    }
    visit *v = s->trust != NULL ? malloc(sizeof *v) : NULL; /* NULL: we are stopping */
    if (v == NULL || given.n >= sizeof path) {
        free(v);
        http_exchange_answer(x, 503, NULL, OG_STR(""));
        return;
    }
    *v = (visit){s, x, fn};
    memcpy(path, given.p, given.n);
    path[given.n] = '\0';
    trust_caller caller = {.authorization = http_exchange_header(x, "Authorization"),
                           .path = path,
                           .certified = certified,
                           .certified_ctx = x};
    trust_ask(s->trust, &caller, on_verdict, v);
}

/* ---- discovery ---- */

static void discover(serve *s, http_exchange *x, const config_client *who)
{
    og_buf page;
    (void)who;
    og_buf_init(&page, MAX_DISCOVERY);
    hooks_discovery(s->content, &page);
    if (og_buf_failed(&page))
        serve__answer_json(s, x, 500, JSON, OG_STR(""));
    else
        serve__answer_json(s, x, 200, JSON, og_buf_str(&page));
    serve__count_call(x, "discovery", og_buf_failed(&page) ? 500 : 200);
    og_buf_done(&page);
}

static void discovery(void *ctx, http_exchange *x)
{
    serve__admit(ctx, x, discover);
}

/* ---- calls ---- */

/* Is it JSON that was announced? Parameters (charset) are passed over. */
bool serve__says_json(const http_exchange *x)
{
    og_str type = http_exchange_header(x, "Content-Type");
    ptrdiff_t semicolon = og_str_find(type, ';');
    if (semicolon >= 0)
        type.n = (size_t)semicolon;
    while (type.n > 0 && (type.p[type.n - 1] == ' ' || type.p[type.n - 1] == '\t'))
        type.n--;
    return og_str_ieq(type, OG_STR(JSON)) || og_str_ieq(type, OG_STR("application/fhir+json"));
}

int serve__partition_of(const serve *s, og_str patient)
{
    og_buf route;
    og_buf_init(&route, 1024);
    record_write_route(&route, og_str_of(s->config->tenant), patient);
    int partition = (int)kafka_partition_for(og_buf_str(&route), s->count);
    og_buf_done(&route);
    return partition;
}

/* A rule that failed is missing in the answer; who asked cannot see it. */
static void log_failed_rules(const hooks_call *call)
{
    for (size_t i = 0; i < call->outcome_count; i++) {
        const plan_outcome *o = &call->outcomes[i];
        char what[1200], rule[64];
        if (o->kind != PLAN_FAILED)
            continue;
        og_error_format(&o->error, what, sizeof what);
        log_field fields[] = {
            {"rule", o->rule}, {"error", og_str_of(what)}, {"patient", call->request->patient_id}};
        log_line(LOG_LEVEL_ERROR, "a rule failed in a call of a CDS service", fields,
                 log_identifiers() ? 3 : 2);
        snprintf(rule, sizeof rule, "%.*s", OG_STR_ARG(o->rule));
        metric_add_label(METRIC_RULE_FAILURES, rule, NULL, 1);
    }
}

/* The rules and the uuids of the cards that are told. */
static void audit_cards(og_arena *a, og_str answer, og_buf *details)
{
    fhir_doc doc;
    if (fhir_decode(a, answer, NULL, &doc, NULL) != OG_OK)
        return;
    fhir_elem cards = fhir_get(fhir_root(&doc), "cards");
    for (fhir_elem c = fhir_each_first(cards); fhir_exists(c); c = fhir_each_next(cards, c)) {
        og_str rule = fhir_raw(fhir_get(fhir_get(fhir_get(c, "source"), "topic"), "code"));
        og_str uuid = fhir_raw(fhir_get(c, "uuid"));
        audit_add_detail(details, "card",
                         og_arena_printf(a, "%.*s %.*s", OG_STR_ARG(rule), OG_STR_ARG(uuid)));
    }
}

static void audit_call(serve *s, const http_exchange *x, og_arena *a, const serve_asked *asked,
                       int status, og_str answer)
{
    og_buf details;
    if (s->audit == NULL)
        return;
    og_buf_init(&details, (size_t)1 << 18);
    audit_add_detail(&details, "hookInstance", asked->instance);
    if (status == 200)
        audit_cards(a, answer, &details);
    audit_event e = {.user = asked->user,
                     .patient = asked->patient,
                     .status = status,
                     .details = og_buf_str(&details)};
    serve__audit(s, x, &e);
    og_buf_done(&details);
}

static void log_misread(const hooks_call *call)
{
    if (call->misread == 0)
        return;
    log_field fields[] = {{"hook", og_str_of(call->request->kind->name)},
                          {"path", og_str_of(call->misread_path)}};
    log_line(LOG_LEVEL_WARN, "a call brought an element of another type than FHIR says", fields, 2);
    metric_add_label(METRIC_HOOK_MISREAD, call->request->kind->name, NULL, call->misread);
}

static void on_noted(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                     const kafka_error *error)
{
    (void)ctx;
    (void)partition;
    (void)offset;
    (void)error;
    metric_add(METRIC_HOOK_UNNOTED, verdict != CONN_DONE);
}

/* To the alerts topic, whoever owns the partition. Who asked does not wait for it, and what the
 * brokers do not take now is let go: it would have to be kept without end. */
static void note_shown(serve *s, const hooks_call *call)
{
    const hook_request *q = call->request;
    for (size_t i = 0; i < call->shown_count; i++) {
        og_error err;
        og_error_init(&err);
        kafka_record r = {.topic = s->config->kafka_alerts,
                          .partition = serve__partition_of(s, q->patient),
                          .key = said_alert_key(call->arena, og_str_of(call->tenant), q->patient,
                                                call->shown[i].id),
                          .value = plan_alert_write(call->arena, &call->shown[i])};
        bool sent = !og_arena_failed(call->arena) && s->sink != NULL &&
                    kafka_sink_send(s->sink, &r, on_noted, NULL, &err) == CONN_DONE;
        metric_add(METRIC_HOOK_UNNOTED, !sent);
    }
}

void serve__finish_call(serve *s, http_exchange *x, const hooks_call *call, int64_t began_us)
{
    const hook_request *q = call->request;
    if (call->error.status != OG_OK)
        log_failure(LOG_LEVEL_ERROR, "a call of a CDS service failed", &call->error);
    log_failed_rules(call);
    log_misread(call);
    metric_observe_us(METRIC_HOOK_TIME, clock_monotonic_us() - began_us);
    metric_add(METRIC_RULES_ASKED, call->asked);
    metric_add(METRIC_RULES_SPARED, call->spared);
    metric_add_label(METRIC_HOOK_CARDS, q->kind->name, NULL, call->cards);
    serve_asked asked = {q->user_id, q->patient_id, q->instance};
    audit_call(s, x, call->arena, &asked, call->status, call->answer);
    serve__count_call(x, q->kind->name, call->status);
    if (call->status == 503)
        http_exchange_add_header(x, "Retry-After", "1");
    serve__answer_json(s, x, call->status, JSON, call->answer);
    if (call->status == 200)
        note_shown(s, call);
}

void serve__relay(serve *s, http_exchange *x, const hook_kind *kind, const serve_asked *asked,
                  int status, og_str json)
{
    audit_call(s, x, s->hook_arena, asked, status, json);
    og_arena_reset(s->hook_arena);
    serve__count_call(x, kind->name, status);
    serve__answer_json(s, x, status, JSON, json);
}

/* Another instance has the patient's partition. */
static bool is_elsewhere(const serve *s, int partition)
{
    return s->step == SERVE_WORKING && !s->partitions[partition].assigned;
}

bool serve__is_bulk(const http_exchange *x, const serve_fetched *fetched)
{
    size_t n = http_exchange_body(x).n;
    for (size_t i = 0; fetched != NULL && i < fetched->count; i++)
        n += fetched->bodies[i].n;
    return n >= SERVE_BULK_BYTES;
}

bool serve__answer_call(serve *s, http_exchange *x, og_arena *a, const hook_request *q,
                        const serve_fetched *fetched)
{
    int partition = serve__partition_of(s, q->patient);
    int64_t began = clock_monotonic_us();
    hooks_call call = {.content = s->content,
                       .tenant = s->config->tenant,
                       .language = s->config->language,
                       .store = s->partitions[partition].store,
                       .shared = SERVE_SHARED(s)->store,
                       .request = q,
                       .feedback = &s->setup.feedback,
                       .program = s->setup.program,
                       .recall = s->recall,
                       .now_ms = clock_now(&s->clock),
                       .arena = a};
    bool elsewhere = is_elsewhere(s, partition);
    if (elsewhere && serve__is_forwarded(x)) { /* it is no business of ours any more */
        serve__refuse_call(s, x, q->kind->name, 421, "transient",
                           "the records of this patient are not here", "");
        return false;
    }
    if (elsewhere)
        call.store = NULL;
    if (call.shared == NULL ||
        (!elsewhere && (!owner_get(s->owner, partition).restored || call.store == NULL))) {
        serve__refuse_call(s, x, q->kind->name, 503, "transient",
                           "the records of this patient are not at hand yet", "");
        return false;
    }
    if (fetched == NULL && serve__fetch(s, x, &call))
        return false;
    if (fetched != NULL) {
        call.fetched = fetched->bodies;
        call.fetched_count = fetched->count;
        call.tried = true;
        call.complete = fetched->complete;
    }
    call.offset_min = clock_offset_min(call.now_ms);
    call.known_ms = elsewhere ? -1 : serve__stored_until(s, partition);
    if (a != s->hook_arena && serve__is_bulk(x, fetched) && serve__bulk_run(s, x, a, &call, began))
        return true;
    hooks_answer(&call);
    serve__finish_call(s, x, &call, began);
    return false;
}

/* Whose patients the calls mean, where several senders give the same ids. */
static og_status name_sender(const serve *s, og_arena *a, hook_request *q, og_error *err)
{
    const char *sender = s->config->hooks_sender;
    if (sender[0] == '\0')
        return OG_OK;
    q->patient = og_arena_printf(a, "%s%c%.*s", sender, RECORD_SENDER, OG_STR_ARG(q->patient_id));
    return q->patient.p != NULL ? OG_OK : og_fail(err, OG_NOMEM, "no memory for the call");
}

static bool hand_on(serve *s, http_exchange *x, const hook_request *q)
{
    int partition = serve__partition_of(s, q->patient);
    return is_elsewhere(s, partition) && !serve__is_forwarded(x) &&
           serve__forward(s, x, q, partition);
}

/* True: a worker has it, and the arena. first: no other instance has been asked yet. */
static bool read_call(serve *s, http_exchange *x, og_arena *a, const hook_kind *kind, bool first)
{
    hook_request q;
    og_error err;
    og_error_init(&err);
    if (!serve__says_json(x))
        serve__refuse_call(s, x, kind->name, 415, "not-supported",
                           "the body must be application/json", "");
    else if (hook_request_read(a, http_exchange_body(x), kind, &q, &err) == OG_OK &&
             name_sender(s, a, &q, &err) == OG_OK)
        return (!first || !hand_on(s, x, &q)) && serve__answer_call(s, x, a, &q, NULL);
    else if (err.status == OG_NOMEM)
        serve__refuse_call(s, x, kind->name, 500, "exception", "the call could not be answered",
                           "");
    else
        serve__refuse_call(s, x, kind->name, 400,
                           err.status == OG_INVALID ? "invalid" : "structure", err.text, err.path);
    return false;
}

/* What brings much has an arena of its own: a worker takes it along. */
static void take_bulk(serve *s, http_exchange *x, const hook_kind *kind, bool first)
{
    og_arena *a = serve__bulk_has_room(s) ? og_arena_new((size_t)s->config->arena_mb << 20) : NULL;
    if (a == NULL)
        serve__refuse_call(s, x, kind->name, 503, "throttled", "too many large calls at once", "");
    else if (!read_call(s, x, a, kind, first))
        og_arena_free(a);
}

static void take_body(serve *s, http_exchange *x, const hook_kind *kind, bool first)
{
    if (http_exchange_body(x).n >= SERVE_BULK_BYTES)
        take_bulk(s, x, kind, first);
    else
        (void)read_call(s, x, s->hook_arena, kind, first);
    og_arena_reset(s->hook_arena);
}

void serve__call_again(serve *s, http_exchange *x, const hook_kind *kind)
{
    take_body(s, x, kind, false);
}

static void take_call(serve *s, http_exchange *x, const config_client *who)
{
    og_str service = http_exchange_rest(x), tail = OG_STR("/feedback");
    bool feedback = og_str_ends(service, tail);
    if (feedback)
        service.n -= tail.n;
    const hook_kind *kind = hooks_service(s->content, service);
    s->caller = who;
    if (kind == NULL)
        serve__refuse_call(s, x, "unknown", 404, "not-found", "there is no such service", "");
    else if (!trust_may_call(who, service))
        serve__refuse_call(s, x, kind->name, 403, "forbidden",
                           "this client may not call this service", "");
    else if (feedback)
        serve__take_feedback(s, x, who);
    else
        take_body(s, x, kind, true);
    s->caller = NULL;
    og_arena_reset(s->hook_arena);
}

static void call(void *ctx, http_exchange *x)
{
    serve__admit(ctx, x, take_call);
}

/* ---- the listener ---- */

static og_status open_server(serve *s, og_error *err)
{
    const config *c = s->config;
    hooks_tls tls;
    const http_route routes[] = {{"GET", "/cds-services", discovery, s, 0},
                                 {"OPTIONS", "/cds-services", preflight, s, 0},
                                 {"POST", "/cds-services/*", call, s, 0},
                                 {"OPTIONS", "/cds-services/*", preflight, s, 0},
                                 {"POST", "/fhir", serve__inbound_post, s, 0},
                                 {"PUT", "/fhir/*", serve__inbound_put, s, 0},
                                 {"DELETE", "/fhir/*", serve__inbound_delete, s, 0}};
    http_server_options o = {.address = c->hooks_host,
                             .port = c->hooks_port,
                             .max_connections = (int)c->hooks_max_connections,
                             .max_body_bytes = (size_t)c->hooks_body_bytes,
                             .deadline_ms = (int)c->hooks_deadline_ms,
                             .routes = routes,
                             .route_count = sizeof routes / sizeof routes[0]};
    og_status status = hooks_tls_read(c, &tls, &o, err);
    if (status == OG_OK)
        status = http_server_new(s->loop, &o, &s->hook_server, err);
    hooks_tls_forget(&tls);
    return status;
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

og_status serve__listen_hooks(serve *s, og_error *err)
{
    const config *c = s->config;
    char text[32];
    trust_options trust = {.loop = s->loop, .config = c, .client = s->client};
    if (c->hooks_host[0] == '\0')
        return OG_OK;
    s->hook_arena = og_arena_new((size_t)c->arena_mb << 20);
    s->trust = trust_new(&trust);
    if (s->hook_arena == NULL || s->trust == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the CDS services");
    og_status status = open_server(s, err);
    if (status != OG_OK)
        return status;
    status = serve__open_audit(s, err);
    if (status == OG_OK)
        status = serve__open_forwards(s, err);
    if (status != OG_OK)
        return status;
    if (c->hooks_cert_file[0] == '\0' && !is_loopback(c->hooks_host))
        log_warn("the CDS services listen without TLS: something in front of them has to do it");
    if (!trust_asks(s->trust))
        log_warn("the CDS services ask nobody who calls: no clients are configured");
    if (c->hooks_port_file[0] == '\0')
        return OG_OK;
    snprintf(text, sizeof text, "%d\n", http_server_port(s->hook_server));
    return file_write(c->hooks_port_file, og_str_of(text), err);
}

int serve_hooks_port(const serve *s)
{
    return s->hook_server != NULL ? http_server_port(s->hook_server) : 0;
}
