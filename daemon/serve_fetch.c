/* Calls of CDS services that lack data: what neither the call nor the store has is read from the
 * EHR's FHIR server, all of it at once and within hooks.fetch_budget_ms, then the call is answered
 * from what there is. The call's own token lives as long as its reads and is told to nobody but the
 * server that the configuration lets its client name. */
#include <stdlib.h>

#include "daemon/hooks.h"
#include "daemon/metrics.h"
#include "daemon/serve_private.h"

/* Calls that wait at the same time; more are answered from what there is. */
#define MAX_FETCHES 64

typedef struct serve_fetch fetch;

typedef struct part { /* one read of a fetch */
    fetch *fetch;
    fhir_read *read; /* NULL: it has ended, or did not begin */
    bool patient;    /* the patient itself: that there is none is an answer */
} part;

struct serve_fetch {
    fetch *next, **link;
    serve *s;
    http_exchange *exchange;
    const config_client *who;
    og_arena *arena; /* holds the request and what came */
    hook_request request;
    size_t server;
    part *parts;
    size_t part_count, left; /* left: reads under way */
    og_str *bodies;
    size_t body_count, body_cap, bytes, kept; /* kept: of the room */
    bool complete, ready; /* ready: all has come, and no worker is free for so much */
    int64_t began_us;
};

static void fetch_free(fetch *f)
{
    *f->link = f->next;
    if (f->next != NULL)
        f->next->link = f->link;
    f->s->fetch_count--;
    f->s->fetch_room.used -= f->kept;
    og_arena_free(f->arena);
    free(f);
}

static void count(const char *result)
{
    metric_add_label(METRIC_FETCHES, result, NULL, 1);
}

static void answer(fetch *f)
{
    serve *s = f->s;
    serve_fetched got = {f->bodies, f->body_count, f->complete};
    s->caller = f->who;
    if (serve__answer_call(s, f->exchange, f->arena, &f->request, &got))
        f->arena = NULL; /* a worker has it now */
    s->caller = NULL;
    fetch_free(f);
}

static void finish(fetch *f)
{
    serve_fetched got = {f->bodies, f->body_count, f->complete};
    metric_observe_us(METRIC_FETCH_TIME, clock_monotonic_us() - f->began_us);
    count(f->body_count == 0 ? "none" : f->complete ? "complete" : "partial");
    f->ready = serve__is_bulk(f->exchange, &got) && !serve__bulk_has_room(f->s);
    if (!f->ready)
        answer(f);
}

/* The one that has waited longest for a worker; NULL. */
static fetch *first_ready(const serve *s)
{
    fetch *first = NULL;
    for (fetch *f = s->fetches; f != NULL; f = f->next) /* newer ones come first */
        first = f->ready ? f : first;
    return first;
}

void serve__resume_fetches(serve *s)
{
    fetch *f;
    while (!serve__stopping(s) && serve__bulk_has_room(s) && (f = first_ready(s)) != NULL)
        answer(f);
}

/* ---- what comes ---- */

static bool keep(fetch *f, og_str body)
{
    if (f->body_count == f->body_cap) {
        size_t cap = f->body_cap != 0 ? 2 * f->body_cap : 32;
        void *grown = og_arena_grow(f->arena, f->bodies, f->body_cap * sizeof *f->bodies,
                                    cap * sizeof *f->bodies);
        if (grown == NULL)
            return false;
        f->bodies = grown;
        f->body_cap = cap;
    }
    og_str copy = og_arena_str(f->arena, body);
    if (copy.p == NULL)
        return false;
    f->bodies[f->body_count++] = copy;
    return true;
}

/* As much as a request may bring along, and all calls together no more than there is room. */
static bool on_page(void *ctx, og_str body)
{
    fetch *f = ((part *)ctx)->fetch;
    http_room *room = &f->s->fetch_room;
    f->bytes += body.n;
    if (f->bytes > (size_t)f->s->config->hooks_body_bytes || body.n > room->max - room->used ||
        !keep(f, body))
        return false;
    room->used += body.n;
    f->kept += body.n;
    return true;
}

static void on_done(void *ctx, const fhir_result *r)
{
    part *p = ctx;
    fetch *f = p->fetch;
    p->read = NULL;
    fhir_servers_note(f->s->fhir, f->server, r);
    if (r->outcome != FHIR_READ_DONE && !(p->patient && r->outcome == FHIR_READ_NONE))
        f->complete = false;
    if (--f->left == 0)
        finish(f);
}

/* ---- beginning ---- */

static void begin_part(fetch *f, part *p, const prefetch_need *need)
{
    serve *s = f->s;
    og_error err;
    og_error_init(&err);
    fhir_access access = fhir_servers_access(s->fhir, f->server, &f->request, need->type);
    fhir_query q = {.path = need->path,
                    .budget_ms = serve__fetch_budget(s, f->exchange),
                    .room = &s->fetch_room,
                    .on_page = on_page,
                    .on_done = on_done,
                    .ctx = p};
    *p = (part){.fetch = f, .patient = strcmp(need->type, "Patient") == 0};
    if (access == FHIR_ACCESS_OWN)
        q.bearer = fhir_string(f->arena, fhir_get(f->request.authorization, "access_token"));
    if (access == FHIR_ACCESS_NEITHER) {
        f->complete = false;
    } else if (fhir_client_read(fhir_servers_client(s->fhir, f->server), &q, &p->read, &err) ==
               OG_OK) {
        f->left++;
    } else { /* a page elsewhere */
        fhir_result r = {.outcome = FHIR_READ_FOREIGN, .text = err.text};
        fhir_servers_note(s->fhir, f->server, &r);
        f->complete = false;
    }
}

/* The request is read anew into memory that lasts; its body stays until it is answered. */
static fetch *fetch_new(serve *s, http_exchange *x, const hooks_call *call, size_t part_count)
{
    fetch *f = calloc(1, sizeof *f);
    og_arena *a = og_arena_new((size_t)s->config->arena_mb << 20);
    part *parts = a != NULL ? og_arena_zalloc(a, part_count, sizeof *parts) : NULL;
    if (f == NULL || parts == NULL ||
        hook_request_read(a, http_exchange_body(x), call->request->kind, &f->request, NULL) !=
            OG_OK) {
        og_arena_free(a);
        free(f);
        return NULL;
    }
    f->request.patient = og_arena_str(a, call->request->patient); /* it may name its sender */
    if (f->request.patient.p == NULL) {
        og_arena_free(a);
        free(f);
        return NULL;
    }
    f->s = s;
    f->exchange = x;
    f->who = s->caller;
    f->arena = a;
    f->parts = parts;
    f->part_count = part_count;
    f->complete = true;
    f->began_us = clock_monotonic_us();
    f->link = &s->fetches;
    f->next = s->fetches;
    if (f->next != NULL)
        f->next->link = &f->next;
    s->fetches = f;
    s->fetch_count++;
    return f;
}

static bool begin(serve *s, http_exchange *x, const hooks_call *call, size_t server,
                  const prefetch_need *needs, size_t n)
{
    fetch *f = s->fetch_count < MAX_FETCHES ? fetch_new(s, x, call, n) : NULL;
    if (f == NULL) {
        count("busy");
        return false;
    }
    f->server = server;
    for (size_t i = 0; i < n; i++)
        begin_part(f, &f->parts[i], &needs[i]);
    if (f->left > 0)
        return true;
    count("no-token");
    fetch_free(f);
    return false;
}

bool serve__fetch(serve *s, http_exchange *x, hooks_call *call)
{
    const prefetch_need *needs;
    const char *why;
    size_t n = 0;
    if (s->config->fhir_server_count == 0 || s->config->hooks_fetch_budget_ms == 0 ||
        s->fhir == NULL || serve__stopping(s))
        return false;
    if (hooks_lacks(call, &needs, &n, NULL) != OG_OK || n == 0)
        return false;   /* what is wrong will be said with the answer */
    call->tried = true; /* what cannot be asked for is lacking, too */
    size_t server = fhir_servers_for(s->fhir, s->caller, call->request, &why);
    if (server != FHIR_NO_SERVER && !call->known)
        serve__want_backfill(s, server, call->request->patient);
    if (server != FHIR_NO_SERVER)
        return begin(s, x, call, server, needs, n);
    count(why);
    if (strcmp(why, "foreign-server") == 0) {
        log_field fields[] = {{"client", og_str_of(s->caller != NULL ? s->caller->name : "")}};
        log_line(LOG_LEVEL_WARN,
                 "a call names a FHIR server that is not configured for its client: not asked",
                 fields, 1);
    }
    return false;
}

/* ---- life ---- */

og_status serve__open_fhir(serve *s, og_error *err)
{
    s->fetch_room.max = (size_t)s->config->hooks_fetch_bytes;
    uint64_t seed = s->options.seed != 0 ? s->options.seed : (uint64_t)clock_wall_ms();
    return fhir_servers_new(s->loop, s->client, s->config, seed, &s->fhir, err);
}

void serve__close_fetches(serve *s)
{
    while (s->fetches != NULL) {
        fetch *f = s->fetches;
        for (size_t i = 0; i < f->part_count; i++)
            if (f->parts[i].read != NULL)
                fhir_read_cancel(f->parts[i].read);
        s->caller = f->who;
        serve__refuse_call(s, f->exchange, f->request.kind->name, 503, "transient",
                           "the service is stopping", "");
        s->caller = NULL;
        fetch_free(f);
    }
}
