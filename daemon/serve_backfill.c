/* Backfill: of a patient of whom something comes for the first time, everything that the rules read
 * is fetched from his sender's FHIR server, in the background, and put on the source topics, so
 * that it goes the way of every event and the store stays an image of the records topic.
 *
 *   first record or call ─► wanted (backfill.h) ─► so many a minute: read all ─► source topics
 *                                                  all acknowledged ─► mark `done` ─► fetched
 *
 * Who is wanted stands in the stores of the partitions; here is only a window of them, and one
 * patient at a time of each server. Whatever goes wrong in between is begun anew: what was put on
 * the topics twice is recognised there. */
#include <stdlib.h>

#include "daemon/cmd_replay.h"
#include "daemon/metrics.h"
#include "daemon/prefetch.h"
#include "daemon/serve_private.h"
#include "fhir/bundle.h"

#define WINDOW    256
#define REMEMBERS 4096  /* patients that calls have made wanted, or that were given up, by hash */
#define MAX_TRIES 10    /* by default waits of 1 s to 256 s lie between them */
#define BUDGET_MS 60000 /* of one patient */

typedef struct serve_backfill backfill;

typedef struct wish { /* a patient in the window */
    struct wish *next;
    int partition;
    unsigned tries;
    bool marked;         /* fetched; until the store has read the mark */
    uint64_t not_before; /* of the loop */
    char patient[RECORD_MAX_PATIENT + 1];
} wish;

typedef struct fetching fetching;

typedef struct part { /* one read of the patient at hand */
    fetching *fetching;
    fhir_read *read; /* NULL: it has ended */
    bool patient;    /* the Patient himself: that there is none is an answer */
} part;

struct fetching {       /* one patient, until the last message of his has been reported */
    backfill *backfill; /* NULL: closed meanwhile */
    wish *wish;
    size_t left; /* reads and messages under way */
    bool complete, down, marking;
    size_t part_count;
    part parts[];
};

struct serve_backfill {
    backfill *next;
    serve *s;
    size_t server;
    const config_fhir_server *config;
    const char **topics; /* the sender's sources */
    unsigned topic_count;
    uv_timer_t timer;
    wish *first, **end;
    size_t count;
    fetching *now;
    og_arena *arena;
    bool more; /* in the stores, perhaps, from here on: */
    int partition;
    char after[RECORD_MAX_PATIENT + 1];
    uint64_t began, every_ms; /* began: the last one, of the loop */
    uint64_t not_before;      /* the server was down */
    unsigned downs;
    uint64_t called[REMEMBERS], given_up[REMEMBERS];
};

static void count(const char *result)
{
    metric_add_label(METRIC_BACKFILLS, result, NULL, 1);
}

/* False: it was there already. Newer ones win. */
static bool remember(uint64_t *set, og_str patient)
{
    uint64_t hash = og_str_hash(patient) | 1, *slot = &set[(hash >> 1) % REMEMBERS];
    bool fresh = *slot != hash;
    *slot = hash;
    return fresh;
}

static bool remembers(const uint64_t *set, og_str patient)
{
    uint64_t hash = og_str_hash(patient) | 1;
    return set[(hash >> 1) % REMEMBERS] == hash;
}

/* ---- the window ---- */

static bool is_ours(const serve *s, int partition)
{
    const serve_partition *p = &s->partitions[partition];
    return p->assigned && p->store != NULL && !p->rebuild && owner_get(s->owner, partition).settled;
}

/* Has the store read that he was fetched? */
static bool is_over(const serve *s, const wish *w)
{
    store_txn *t = NULL;
    backfill_state state = BACKFILL_WANTED;
    if (store_begin(s->partitions[w->partition].store, false, &t, NULL) != OG_OK)
        return false;
    og_status status = backfill_state_of(t, og_str_of(w->patient), &state, NULL);
    store_abort(t);
    return status == OG_OK && state != BACKFILL_WANTED;
}

static void take_out(backfill *b, wish **link)
{
    wish *w = *link;
    *link = w->next;
    if (w->next == NULL)
        b->end = link;
    b->count--;
}

static void append(backfill *b, wish *w)
{
    w->next = NULL;
    *b->end = w;
    b->end = &w->next;
    b->count++;
}

static wish **link_of(backfill *b, const wish *w)
{
    wish **link = &b->first;
    while (*link != w)
        link = &(*link)->next;
    return link;
}

/* Those that are through, and those that are another one's now. */
static void prune(backfill *b)
{
    for (wish **link = &b->first; *link != NULL;) {
        wish *w = *link;
        bool busy = b->now != NULL && b->now->wish == w;
        if (!busy && (!is_ours(b->s, w->partition) || (w->marked && is_over(b->s, w)))) {
            take_out(b, link);
            free(w);
        } else {
            link = &w->next;
        }
    }
}

static void add(backfill *b, og_str patient)
{
    for (const wish *w = b->first; w != NULL; w = w->next)
        if (og_str_is(patient, w->patient))
            return;
    wish *w = patient.n <= RECORD_MAX_PATIENT && !remembers(b->given_up, patient)
                  ? calloc(1, sizeof *w)
                  : NULL;
    if (w == NULL)
        return;
    w->partition = b->partition;
    memcpy(w->patient, patient.p, patient.n);
    append(b, w);
}

/* The next ones of the partition at hand. False: there are none. */
static bool load_some(backfill *b, og_arena *a)
{
    store_txn *t = NULL;
    const og_str *list;
    size_t n = 0, max = WINDOW - b->count;
    if (!is_ours(b->s, b->partition) ||
        store_begin(b->s->partitions[b->partition].store, false, &t, NULL) != OG_OK)
        return false;
    og_arena_reset(a);
    /* a store that cannot be read is its owner's to find out */
    if (backfill_list(t, a, b->config->sender, og_str_of(b->after), max, &list, &n, NULL) != OG_OK)
        n = 0;
    store_abort(t);
    for (size_t i = 0; i < n; i++)
        add(b, list[i]);
    if (n > 0)
        snprintf(b->after, sizeof b->after, "%.*s", OG_STR_ARG(list[n - 1]));
    return n == max;
}

/* Fills the window from where it ended the last time, once round. */
static void load(backfill *b)
{
    og_arena *a = og_arena_new((size_t)1 << 18);
    prune(b);
    if (a == NULL)
        return;
    b->more = false;
    for (int left = b->s->count; left >= 0 && !b->more;) {
        if (b->count == WINDOW) {
            b->more = true;
        } else if (!load_some(b, a)) {
            b->partition = (b->partition + 1) % b->s->count;
            b->after[0] = '\0';
            left--;
        }
    }
    og_arena_free(a);
}

/* ---- whose turn it is ---- */

static void on_time(uv_timer_t *t);

/* Not sooner than this, than the rate allows and than the server may be asked again. */
static void arm(backfill *b, uint64_t at)
{
    uint64_t now = uv_now(b->s->loop), rate = b->began + b->every_ms;
    at = at > rate ? at : rate;
    at = at > b->not_before ? at : b->not_before;
    if (b->now == NULL && !uv_is_closing((uv_handle_t *)&b->timer))
        uv_timer_start(&b->timer, on_time, at > now ? at - now : 0, 0);
}

/* Of those that are ours: whose partition comes back is heard of (serve__on_settled). */
static void arm_for_first(backfill *b)
{
    uint64_t first = UINT64_MAX;
    for (const wish *w = b->first; w != NULL; w = w->next)
        if (!w->marked && w->not_before < first && is_ours(b->s, w->partition))
            first = w->not_before;
    if (first != UINT64_MAX)
        arm(b, first);
}

static wish *first_due(const backfill *b)
{
    for (wish *w = b->first; w != NULL; w = w->next)
        if (!w->marked && w->not_before <= uv_now(b->s->loop) && is_ours(b->s, w->partition))
            return w;
    return NULL;
}

/* Doubled with each attempt, as between deliveries. */
static uint64_t wait_of(const serve *s, unsigned tries)
{
    int64_t ms = s->config->backoff_min_ms;
    for (unsigned i = 1; i < tries && ms < s->config->backoff_max_ms; i++)
        ms *= 2;
    return (uint64_t)(ms < s->config->backoff_max_ms ? ms : s->config->backoff_max_ms);
}

/* ---- the end of one ---- */

/* Behind the others: what is wrong with one does not hold them up. */
static void once_more(backfill *b, wish *w, bool down)
{
    uint64_t now = uv_now(b->s->loop);
    take_out(b, link_of(b, w));
    if (down) {
        b->not_before = now + wait_of(b->s, ++b->downs);
    } else if (++w->tries < MAX_TRIES) {
        w->not_before = now + wait_of(b->s, w->tries);
    } else {
        count("failed");
        log_error("a backfill is given up after %d attempts, until the next start", MAX_TRIES);
        (void)remember(b->given_up, og_str_of(w->patient));
        free(w);
        return;
    }
    count("again");
    append(b, w);
}

static void finish(fetching *f)
{
    backfill *b = f->backfill;
    b->now = NULL;
    og_arena_reset(b->arena);
    if (f->complete) {
        count("done");
        f->wish->marked = true;
        b->downs = 0;
    } else {
        once_more(b, f->wish, f->down);
    }
    free(f);
    if (b->more)
        arm(b, 0);
    else
        arm_for_first(b);
}

static void one_less(fetching *f);

static void on_marked(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                      const kafka_error *error)
{
    fetching *f = ctx;
    (void)partition;
    (void)offset;
    (void)error;
    f->complete &= verdict == CONN_DONE;
    one_less(f);
}

static bool send_mark(serve *s, bool done, og_str patient, kafka_report_fn *fn, void *ctx)
{
    og_buf key, value, route;
    og_str tenant = og_str_of(s->config->tenant);
    og_buf_init(&key, 512);
    og_buf_init(&value, 128);
    og_buf_init(&route, 512);
    backfill_write_mark(&key, &value, done, tenant, patient, clock_now(&s->clock));
    record_write_route(&route, tenant, patient);
    kafka_record r = {.topic = s->config->kafka_records,
                      .partition = kafka_partition_for(og_buf_str(&route), (int32_t)s->count),
                      .key = og_buf_str(&key),
                      .value = og_buf_str(&value)};
    bool good = s->sink != NULL && !og_buf_failed(&key) && !og_buf_failed(&route) &&
                kafka_sink_send(s->sink, &r, fn, ctx, NULL) == CONN_DONE;
    og_buf_done(&key);
    og_buf_done(&value);
    og_buf_done(&route);
    return good;
}

/* All that was fetched is on the source topics: now it may be said. */
static void mark(fetching *f)
{
    f->marking = true;
    f->left = 1;
    if (send_mark(f->backfill->s, true, og_str_of(f->wish->patient), on_marked, f))
        return;
    f->complete = false;
    one_less(f);
}

static void one_less(fetching *f)
{
    if (--f->left > 0)
        return;
    if (f->backfill == NULL)
        free(f);
    else if (f->complete && !f->marking)
        mark(f);
    else
        finish(f);
}

/* ---- what comes ---- */

typedef struct message { /* a resource on its way to a source topic, or its dead letter */
    fetching *fetching;
    const char *topic, *reason; /* reason: of a letter */
    char name[256];             /* Type/id; empty: too long to be a key */
} message;

static void on_buried(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                      const kafka_error *error)
{
    message *m = ctx;
    fetching *f = m->fetching;
    (void)partition;
    (void)offset;
    if (verdict == CONN_DONE) {
        metric_add_label(METRIC_DEAD_LETTERS, m->reason, NULL, 1);
        metric_add(METRIC_INPUTS, 1);
    } else if (verdict == CONN_NEVER) {
        log_error("the brokers refuse a dead letter of a backfill: %s",
                  error != NULL && error->text != NULL ? error->text : "");
    }
    f->complete &= verdict != CONN_AGAIN;
    free(m);
    one_less(f);
}

/* It would be refused again: a dead letter takes its place, the others are worth having. Takes m.
 * False: the brokers take nothing more now. */
static bool bury(message *m, gather_reason reason, const char *why, og_str json)
{
    fetching *f = m->fetching;
    backfill *b = f->backfill;
    m->reason = gather_reason_name(reason);
    metric_add_label(METRIC_BACKFILL_RESOURCES, "refused", NULL, 1);
    serve_letter letter = {.topic = m->topic,
                           .server = b != NULL ? b->config->name : "",
                           .resource = m->name,
                           .reason = m->reason,
                           .detail = why,
                           .json = json};
    log_field fields[] = {{"reason", og_str_of(m->reason)},
                          {"source", og_str_of(letter.server)},
                          {"detail", og_str_of(why)}};
    log_line(LOG_LEVEL_WARN, "dead letter of a backfill", fields, 3);
    conn_verdict verdict = b != NULL ? serve__send_letter(b->s, &letter, on_buried, m) : CONN_AGAIN;
    f->left += verdict == CONN_DONE;
    f->complete &= verdict != CONN_AGAIN;
    if (verdict != CONN_DONE)
        free(m);
    return verdict != CONN_AGAIN;
}

static void on_report(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                      const kafka_error *error)
{
    message *m = ctx;
    fetching *f = m->fetching;
    (void)partition;
    (void)offset;
    if (verdict == CONN_NEVER) { /* its bytes are gone by now; the server has them */
        (void)bury(m, GATHER_REFUSED,
                   error != NULL && error->text != NULL ? error->text : "the brokers refuse it",
                   (og_str){NULL, 0});
    } else {
        metric_add_label(METRIC_BACKFILL_RESOURCES, verdict == CONN_DONE ? "good" : "again", NULL,
                         1);
        free(m);
    }
    f->complete &= verdict != CONN_AGAIN;
    one_less(f);
}

/* False: the brokers take nothing more now. */
static bool put(fetching *f, og_str type, og_str id, og_str json)
{
    const backfill *b = f->backfill;
    char name[80];
    og_error err;
    const conn_header own = {GATHER_OWN_HEADER, OG_STR("backfill")};
    og_error_init(&err);
    message *m = calloc(1, sizeof *m);
    if (m == NULL)
        return false;
    snprintf(name, sizeof name, "%.*s", OG_STR_ARG(type));
    m->fetching = f;
    m->topic = replay_topic(b->topics, b->topic_count, name);
    int n = snprintf(m->name, sizeof m->name, "%.*s/%.*s", OG_STR_ARG(type), OG_STR_ARG(id));
    bool keyed = n > 0 && (size_t)n < sizeof m->name;
    if (!keyed)
        m->name[0] = '\0';
    kafka_record r = {.topic = m->topic,
                      .partition = KAFKA_PARTITION_BY_KEY,
                      .key = {keyed ? m->name : NULL, keyed ? (size_t)n : 0},
                      .value = json,
                      .headers = &own,
                      .header_count = 1};
    conn_verdict verdict =
        b->s->sink != NULL ? kafka_sink_send(b->s->sink, &r, on_report, m, &err) : CONN_AGAIN;
    if (verdict == CONN_NEVER)
        return bury(m, GATHER_TOO_LARGE, err.text, json);
    f->left += verdict == CONN_DONE;
    if (verdict != CONN_DONE)
        free(m);
    return verdict != CONN_AGAIN;
}

static bool put_entry(fetching *f, const fhir_bundle *bundle, uint32_t i)
{
    fhir_entry e;
    og_buf json;
    bool good = true;
    if (fhir_bundle_entry(bundle, i, &e, NULL) != OG_OK || e.verb != FHIR_PUT)
        return true; /* nothing that could be an event */
    og_buf_init(&json, (size_t)256 << 20);
    if (fhir_bundle_extract(bundle, &e, &json, NULL) == OG_OK)
        good = put(f, e.type, e.id, og_buf_str(&json));
    og_buf_done(&json);
    return good;
}

/* Each resource for itself: a page may be larger than what a topic takes. */
static bool put_page(fetching *f, og_arena *a, og_str body)
{
    fhir_doc doc;
    fhir_resource r;
    fhir_bundle *bundle;
    bool good = true;
    if (fhir_decode(a, body, NULL, &doc, NULL) != OG_OK ||
        fhir_resource_of(fhir_root(&doc), &r, NULL) != OG_OK)
        return false;
    if (!og_str_is(r.type, "Bundle"))
        return put(f, r.type, r.id, body);
    if (fhir_bundle_open(a, &r, &bundle, NULL) != OG_OK)
        return false;
    for (uint32_t i = 0; i < fhir_bundle_count(bundle) && good; i++)
        good = put_entry(f, bundle, i);
    return good;
}

static bool on_page(void *ctx, og_str body)
{
    fetching *f = ((part *)ctx)->fetching;
    og_arena *a = og_arena_new(32 * body.n + ((size_t)1 << 20));
    bool good = a != NULL && put_page(f, a, body);
    og_arena_free(a);
    return good;
}

/* Is it the server, and not this patient? */
static bool is_down(const fhir_result *r)
{
    return r->outcome == FHIR_READ_NO_TOKEN ||
           (r->outcome == FHIR_READ_REFUSED && r->status == 401) ||
           (r->outcome == FHIR_READ_DOWN && r->status != 500);
}

static void on_done(void *ctx, const fhir_result *r)
{
    part *p = ctx;
    fetching *f = p->fetching;
    p->read = NULL;
    fhir_servers_note(f->backfill->s->fhir, f->backfill->server, r);
    f->complete &= r->outcome == FHIR_READ_DONE || (p->patient && r->outcome == FHIR_READ_NONE);
    f->down |= is_down(r);
    one_less(f);
}

/* ---- the beginning of one ---- */

static void begin_part(fetching *f, part *p, const prefetch_need *need)
{
    backfill *b = f->backfill;
    fhir_query q = {.path = need->path,
                    .budget_ms = BUDGET_MS,
                    .on_page = on_page,
                    .on_done = on_done,
                    .ctx = p};
    *p = (part){.fetching = f, .patient = strcmp(need->type, "Patient") == 0};
    bool good =
        fhir_client_read(fhir_servers_client(b->s->fhir, b->server), &q, &p->read, NULL) == OG_OK;
    f->left += good;
    f->complete &= good;
}

static void begin(backfill *b, wish *w)
{
    const prefetch_need *needs = NULL;
    size_t n = 0;
    bool good = prefetch_all(b->s->content, b->arena, record_plain_id(og_str_of(w->patient)),
                             &needs, &n, NULL) == OG_OK;
    fetching *f = good ? calloc(1, sizeof *f + n * sizeof f->parts[0]) : NULL;
    if (f == NULL) {
        og_arena_reset(b->arena);
        once_more(b, w, true);
        arm_for_first(b);
        return;
    }
    *f = (fetching){.backfill = b, .wish = w, .left = 1, .complete = true, .part_count = n};
    b->now = f;
    b->began = uv_now(b->s->loop);
    for (size_t i = 0; i < n; i++)
        begin_part(f, &f->parts[i], &needs[i]);
    one_less(f);
}

static void on_time(uv_timer_t *t)
{
    backfill *b = t->data;
    if (b->now != NULL || serve__stopping(b->s))
        return;
    if (b->more)
        load(b);
    wish *w = first_due(b);
    if (w != NULL)
        begin(b, w);
    else
        arm_for_first(b);
}

/* ---- who is wanted ---- */

static void tell_count(serve *s)
{
    uint64_t all = 0;
    for (int i = 0; i < s->count; i++) {
        store_txn *t = NULL;
        uint64_t n = 0;
        if (!is_ours(s, i) || store_begin(s->partitions[i].store, false, &t, NULL) != OG_OK)
            continue;
        if (backfill_count(t, &n, NULL) == OG_OK)
            all += n;
        store_abort(t);
    }
    metric_set(METRIC_BACKFILL_WAITING, (int64_t)all);
}

void serve__on_backfill(void *ctx, int partition)
{
    serve *s = ctx;
    if (s->backfills == NULL || serve__stopping(s) || !is_ours(s, partition))
        return;
    tell_count(s);
    for (backfill *b = s->backfills; b != NULL; b = b->next) {
        b->more = true;
        arm(b, 0);
    }
}

/* Does its partition's store say already what became of him? */
static bool is_known(const serve *s, og_str patient)
{
    int partition = serve__partition_of(s, patient);
    store_txn *t = NULL;
    backfill_state state = BACKFILL_UNKNOWN;
    if (s->partitions[partition].store == NULL ||
        store_begin(s->partitions[partition].store, false, &t, NULL) != OG_OK)
        return false;
    og_status status = backfill_state_of(t, patient, &state, NULL);
    store_abort(t);
    return status == OG_OK && state != BACKFILL_UNKNOWN;
}

/* What the brokers did not take is said again with his next call. */
static void on_called(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                      const kafka_error *error)
{
    serve *s = ctx;
    (void)partition;
    (void)offset;
    (void)error;
    if (verdict == CONN_DONE || serve__stopping(s))
        return;
    for (backfill *b = s->backfills; b != NULL; b = b->next)
        memset(b->called, 0, sizeof b->called);
}

void serve__want_backfill(serve *s, size_t server, og_str patient)
{
    backfill *b = s->backfills;
    while (b != NULL && b->server != server)
        b = b->next;
    if (b == NULL || serve__stopping(s) || !backfill_serves(&b->config->sender, 1, patient) ||
        is_known(s, patient) || !remember(b->called, patient))
        return;
    if (!send_mark(s, false, patient, on_called, s))
        memset(b->called, 0, sizeof b->called);
}

/* ---- life ---- */

static bool choose_topics(backfill *b)
{
    const config_list *sources = &b->s->config->kafka_sources;
    b->topics = calloc(sources->count + 1, sizeof *b->topics);
    for (size_t i = 0; b->topics != NULL && i < sources->count; i++)
        if (strcmp(config_sender_of(b->s->config, sources->at[i]), b->config->sender) == 0)
            b->topics[b->topic_count++] = sources->at[i];
    return b->topics != NULL;
}

static void backfill_free(backfill *b)
{
    for (wish *w = b->first, *next; w != NULL; w = next) {
        next = w->next;
        free(w);
    }
    og_arena_free(b->arena);
    free(b->topics);
    free(b);
}

static bool open_one(serve *s, size_t server)
{
    backfill *b = calloc(1, sizeof *b);
    if (b == NULL)
        return false;
    b->s = s;
    b->server = server;
    b->config = &s->config->fhir_servers[server];
    b->end = &b->first;
    b->every_ms = (uint64_t)(60000 / b->config->backfill_per_minute);
    b->began = uv_now(s->loop);
    b->arena = og_arena_new((size_t)16 << 20);
    if (b->arena == NULL || !choose_topics(b)) {
        backfill_free(b);
        return false;
    }
    uv_timer_init(s->loop, &b->timer);
    b->timer.data = b;
    b->next = s->backfills;
    s->backfills = b;
    return true;
}

og_status serve__open_backfills(serve *s, og_error *err)
{
    const config *c = s->config;
    const char **senders = og_arena_zalloc(c->arena, c->fhir_server_count + 1, sizeof *senders);
    size_t n = 0;
    bool good = senders != NULL;
    for (size_t i = 0; i < c->fhir_server_count && good; i++) {
        if (!c->fhir_servers[i].backfill)
            continue;
        senders[n++] = c->fhir_servers[i].sender;
        good = open_one(s, i);
    }
    s->setup.backfill_senders = senders;
    s->setup.backfill_sender_count = n;
    return good ? OG_OK : og_fail(err, OG_NOMEM, "no memory for the backfill");
}

static void timer_closed(uv_handle_t *h)
{
    backfill *b = h->data;
    serve *s = b->s;
    backfill_free(b);
    s->backfill_closed(s);
}

/* What is under way to the brokers is reported later, to nobody. */
static void let_go(fetching *f)
{
    for (size_t i = 0; i < f->part_count; i++)
        if (f->parts[i].read != NULL) {
            fhir_read_cancel(f->parts[i].read);
            f->left--;
        }
    f->backfill = NULL;
    if (f->left == 0)
        free(f);
}

size_t serve__close_backfills(serve *s, void (*on_closed)(void *ctx))
{
    size_t n = 0;
    s->backfill_closed = on_closed;
    for (backfill *b = s->backfills, *next; b != NULL; b = next, n++) {
        next = b->next;
        if (b->now != NULL)
            let_go(b->now);
        uv_close((uv_handle_t *)&b->timer, timer_closed);
    }
    s->backfills = NULL;
    return n;
}
