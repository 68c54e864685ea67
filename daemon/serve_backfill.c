/* Backfill: of a patient whom the store does not know when his first record or call comes,
 * everything that the rules read is fetched from the FHIR server, in the background, and put on the
 * source topics, so that it goes the way of every event and the store stays an image of the records
 * topic.
 *
 *   first record or call ─► queue ─► (so many a minute) read all ─► source topics ─► gather …
 *
 * What waits is in memory: a patient who waits when the daemon ends is not known any more. */
#include <stdlib.h>

#include "daemon/cmd_replay.h"
#include "daemon/metrics.h"
#include "daemon/prefetch.h"
#include "daemon/serve_private.h"

#define MAX_WAITING 10000
#define MAX_SEEN    65536 /* patients that are not asked for again; by hash, newer ones win */
#define MAX_TRIES   10    /* by default waits of 1 s to 256 s lie between them */
#define BUDGET_MS   60000 /* of one patient */

typedef struct waiting {
    struct waiting *next;
    unsigned tries;
    uint64_t not_before; /* of the loop */
    char patient[RECORD_MAX_PATIENT + 1];
} waiting;

typedef struct part { /* one read of the patient at hand */
    struct serve_backfill *backfill;
    fhir_read *read; /* NULL: it has ended */
    bool patient;    /* the Patient itself: that there is none is an answer */
} part;

struct serve_backfill {
    serve *s;
    size_t server;
    uv_timer_t timer;
    waiting *first, **end, *now; /* now: being read */
    size_t count, left;
    part *parts;
    size_t part_count;
    og_arena *arena;
    bool complete;
    uint64_t began, every_ms; /* began: the last one, of the loop */
    uint64_t seen[MAX_SEEN];
};
typedef struct serve_backfill backfill;

static void count(const char *result)
{
    metric_add_label(METRIC_BACKFILLS, result, NULL, 1);
}

/* ---- one patient ---- */

static void on_time(uv_timer_t *t);

/* The next one, not sooner than this and not sooner than the rate allows. */
static void arm(backfill *b, uint64_t not_before)
{
    uint64_t now = uv_now(b->s->loop), rate = b->began + b->every_ms;
    uint64_t at = not_before > rate ? not_before : rate;
    if (b->first != NULL && b->now == NULL)
        uv_timer_start(&b->timer, on_time, at > now ? at - now : 0, 0);
}

static void arm_for_first(backfill *b)
{
    uint64_t first = UINT64_MAX;
    for (const waiting *w = b->first; w != NULL; w = w->next)
        first = w->not_before < first ? w->not_before : first;
    arm(b, first);
}

/* Behind the others. */
static void append(backfill *b, waiting *w)
{
    w->next = NULL;
    *b->end = w;
    b->end = &w->next;
    b->count++;
}

/* The first one whose time has come; NULL. */
static waiting *take_due(backfill *b)
{
    waiting **link = &b->first, *w;
    while (*link != NULL && (*link)->not_before > uv_now(b->s->loop))
        link = &(*link)->next;
    w = *link;
    if (w == NULL)
        return NULL;
    *link = w->next;
    if (w->next == NULL)
        b->end = link;
    b->count--;
    return w;
}

/* Doubled with each attempt, as between deliveries: a server that is down is not there a second
 * later. */
static uint64_t wait_of(const serve *s, unsigned tries)
{
    int64_t ms = s->config->backoff_min_ms;
    for (unsigned i = 1; i < tries && ms < s->config->backoff_max_ms; i++)
        ms *= 2;
    return (uint64_t)(ms < s->config->backoff_max_ms ? ms : s->config->backoff_max_ms);
}

static void finish(backfill *b)
{
    waiting *w = b->now;
    b->now = NULL;
    og_arena_reset(b->arena);
    if (b->complete) {
        count("done");
        free(w);
    } else if (++w->tries < MAX_TRIES) {
        count("again");
        w->not_before = uv_now(b->s->loop) + wait_of(b->s, w->tries);
        append(b, w);
    } else {
        count("failed");
        log_error("a backfill is given up after %d attempts", MAX_TRIES);
        free(w);
    }
    metric_set(METRIC_BACKFILL_WAITING, (int64_t)b->count);
    arm_for_first(b);
}

static void on_report(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                      const kafka_error *error)
{
    (void)ctx;
    (void)partition;
    (void)offset;
    (void)error;
    metric_add_label(METRIC_BACKFILL_PAGES, verdict == CONN_DONE ? "good" : "failed", NULL, 1);
    if (verdict != CONN_DONE)
        log_warn("a page of a backfill could not be written to its source topic");
}

/* A page goes as it came: gather takes Bundles apart. */
static bool on_page(void *ctx, og_str body)
{
    backfill *b = ((part *)ctx)->backfill;
    serve *s = b->s;
    char key[RECORD_MAX_PATIENT + 16];
    const char *topic =
        replay_topic(s->config->kafka_sources.at, (unsigned)s->config->kafka_sources.count,
                     ((part *)ctx)->patient ? "Patient" : "Bundle");
    int n = snprintf(key, sizeof key, "Patient/%s", b->now->patient);
    kafka_record r = {.topic = topic,
                      .partition = KAFKA_PARTITION_BY_KEY,
                      .key = {key, (size_t)n},
                      .value = body};
    return s->sink != NULL && topic != NULL &&
           kafka_sink_send(s->sink, &r, on_report, NULL, NULL) == CONN_DONE;
}

static void on_done(void *ctx, const fhir_result *r)
{
    part *p = ctx;
    backfill *b = p->backfill;
    p->read = NULL;
    fhir_servers_note(b->s->fhir, b->server, r);
    if (r->outcome != FHIR_READ_DONE && !(p->patient && r->outcome == FHIR_READ_NONE))
        b->complete = false;
    if (--b->left == 0)
        finish(b);
}

static void begin(backfill *b)
{
    serve *s = b->s;
    const prefetch_need *needs;
    size_t n = 0;
    b->complete =
        prefetch_all(s->content, b->arena, og_str_of(b->now->patient), &needs, &n, NULL) == OG_OK;
    b->parts = b->complete ? og_arena_zalloc(b->arena, n, sizeof *b->parts) : NULL;
    b->complete &= b->parts != NULL;
    b->part_count = b->complete ? n : 0;
    for (size_t i = 0; i < b->part_count; i++) {
        part *p = &b->parts[i];
        fhir_query q = {.path = needs[i].path,
                        .budget_ms = BUDGET_MS,
                        .on_page = on_page,
                        .on_done = on_done,
                        .ctx = p};
        *p = (part){.backfill = b, .patient = strcmp(needs[i].type, "Patient") == 0};
        if (fhir_client_read(fhir_servers_client(s->fhir, b->server), &q, &p->read, NULL) == OG_OK)
            b->left++;
        else
            b->complete = false;
    }
    if (b->left == 0)
        finish(b);
}

static void on_time(uv_timer_t *t)
{
    backfill *b = t->data;
    if (b->now != NULL || serve__stopping(b->s))
        return;
    b->now = take_due(b);
    if (b->now == NULL) {
        arm_for_first(b);
        return;
    }
    b->began = uv_now(b->s->loop);
    begin(b);
}

/* ---- who is new ---- */

void serve__backfill(serve *s, og_str patient)
{
    backfill *b = s->backfill;
    if (b == NULL || serve__stopping(s) || patient.n == 0 || patient.n > RECORD_MAX_PATIENT ||
        record_sender(patient).n > 0 || !fhir_id_usable(patient))
        return;
    uint64_t hash = og_str_hash(patient) | 1;
    uint64_t *slot = &b->seen[(hash >> 1) % MAX_SEEN];
    if (*slot == hash)
        return;
    waiting *w = b->count < MAX_WAITING ? calloc(1, sizeof *w) : NULL;
    if (w == NULL) {
        count("dropped");
        return;
    }
    *slot = hash;
    memcpy(w->patient, patient.p, patient.n);
    append(b, w);
    metric_set(METRIC_BACKFILL_WAITING, (int64_t)b->count);
    arm(b, 0);
}

void serve__note_record(serve *s, int partition, og_str key)
{
    store_txn *t = NULL;
    bool known = true;
    if (s->backfill == NULL || s->step != SERVE_WORKING || record_is_beat(key) ||
        record_is_place(key) || !owner_get(s->owner, partition).restored)
        return;
    ptrdiff_t bar = og_str_find(key, '|');
    og_str patient = bar >= 0 ? og_str_from(key, (size_t)bar + 1) : (og_str){NULL, 0};
    bar = og_str_find(patient, '|');
    if (bar <= 0)
        return;
    patient.n = (size_t)bar;
    store *st = s->partitions[partition].store;
    if (st == NULL || store_begin(st, false, &t, NULL) != OG_OK)
        return;
    og_status status = store_knows(t, patient, &known, NULL);
    store_abort(t);
    if (status == OG_OK && !known)
        serve__backfill(s, patient);
}

size_t serve__backfill_server(const serve *s)
{
    return s->backfill != NULL ? s->backfill->server : FHIR_NO_SERVER;
}

/* ---- life ---- */

og_status serve__open_backfill(serve *s, og_error *err)
{
    for (size_t i = 0; i < s->config->fhir_server_count; i++) {
        const config_fhir_server *c = &s->config->fhir_servers[i];
        if (!c->backfill)
            continue;
        backfill *b = calloc(1, sizeof *b);
        if (b == NULL || (b->arena = og_arena_new((size_t)16 << 20)) == NULL) {
            free(b);
            return og_fail(err, OG_NOMEM, "no memory for the backfill");
        }
        b->s = s;
        b->server = i;
        b->end = &b->first;
        b->every_ms = (uint64_t)(60000 / c->backfill_per_minute);
        b->began = uv_now(s->loop);
        uv_timer_init(s->loop, &b->timer);
        b->timer.data = b;
        s->backfill = b;
        return OG_OK;
    }
    return OG_OK;
}

static void timer_closed(uv_handle_t *h)
{
    backfill *b = h->data;
    void (*on_closed)(void *) = b->s->backfill_closed;
    serve *s = b->s;
    for (waiting *w = b->first, *next; w != NULL; w = next) {
        next = w->next;
        free(w);
    }
    free(b->now);
    og_arena_free(b->arena);
    free(b);
    on_closed(s);
}

bool serve__close_backfill(serve *s, void (*on_closed)(void *ctx))
{
    backfill *b = s->backfill;
    s->backfill = NULL;
    s->backfill_closed = on_closed;
    if (b == NULL)
        return false;
    for (size_t i = 0; b->now != NULL && i < b->part_count; i++)
        if (b->parts[i].read != NULL)
            fhir_read_cancel(b->parts[i].read);
    uv_close((uv_handle_t *)&b->timer, timer_closed);
    return true;
}
