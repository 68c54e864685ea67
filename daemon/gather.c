/* Gather. One struct input per source message counts what has left for it and what has been
 * acknowledged; its tally goes to the metrics when all is safe, so that a message that must be read
 * again is not counted twice. */
#include "daemon/gather.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "daemon/crash.h"
#include "daemon/envelope.h"
#include "daemon/log.h"
#include "daemon/metrics.h"
#include "daemon/store.h"
#include "fhir/bundle.h"
#include "fhir/model.h"

#define FUTURE_US   ((int64_t)5 * 60 * 1000000)
#define DAY_MS      ((int64_t)86400000)
#define LATEST_MS   ((int64_t)253402300799000) /* the end of 9999 */
#define KEEP_BUFFER ((size_t)1 << 20)
#define MAX_HEADERS 12
#define HEADER_ROOM 1024

typedef struct input {
    gather *g;
    char *topic;
    int32_t partition;
    int64_t offset, timestamp_ms;
    int64_t first_offset; /* where it stood when it came first; else offset */
    size_t unreported;    /* sent or queued, without a report */
    bool sealed;          /* all that it makes has been made */
    bool failed;          /* something may be lost: read it again */
    bool hopeless;        /* its own dead letter was refused */
    uint32_t recorded, irrelevant, no_version, future_version;
    uint32_t dead[GATHER_REASONS];
    uint32_t letters, unsaid;    /* dead letters; dead inputs that were too many to have one */
    gather_reason unsaid_reason; /* of the first of these */
} input;

typedef enum outgoing_kind {
    OUT_RECORD, /* an input's record */
    OUT_BESIDE, /* its place */
    OUT_DEAD_LETTER
} outgoing_kind;

/* Something on its way to the sink: the report's context, and a copy of it while it waits for room.
 */
typedef struct outgoing {
    struct outgoing *next;
    input *in;
    outgoing_kind kind;
    /* only while it waits */
    const char *topic;
    int32_t partition;
    og_str key, value;
    conn_header *headers;
    size_t header_count;
    og_buf copy; /* owns key, value and header values */
} outgoing;

/* Where we are in the message. */
typedef struct place {
    input *in;
    const fhir_bundle *bundle; /* NULL: a bare resource */
    uint32_t entry, of, order;
    int64_t default_us; /* time of what has no version of its own */
    bool timed;         /* a delete says when it was */
    og_str original;    /* bytes for the dead letter */
} place;

struct gather {
    gather_options options;
    const plan_content *content;
    idset *recorded;
    og_arena *arena;
    og_buf key, value, body;
    outgoing *queue, **queue_end; /* waits for room */
    size_t in_flight;
    bool paused;
};

static const char *const reason_names[] = {
#define X(id, name) name,
    GATHER_REASON_MAP(X)
#undef X
};

const char *gather_reason_name(gather_reason reason)
{
    return reason_names[reason];
}

/* ---- the end of an input ---- */

static void count_input(const input *in)
{
    uint64_t dead = 0;
    for (int i = 0; i < GATHER_REASONS; i++) {
        dead += in->dead[i];
        if (in->dead[i] > 0)
            metric_add_label(METRIC_DEAD_LETTERS, reason_names[i], NULL, in->dead[i]);
    }
    metric_add(METRIC_MESSAGES, 1);
    metric_add(METRIC_INPUTS, in->recorded + in->irrelevant + dead);
    metric_add(METRIC_RECORDED, in->recorded);
    metric_add(METRIC_IRRELEVANT, in->irrelevant);
    metric_add(METRIC_NO_VERSION, in->no_version);
    metric_add(METRIC_FUTURE_VERSION, in->future_version);
}

static void set_pause(gather *g)
{
    bool full = g->queue != NULL || g->in_flight > g->options.max_in_flight;
    bool empty = g->queue == NULL && g->in_flight <= g->options.max_in_flight / 2;
    if (!g->paused && full) {
        g->paused = true;
        g->options.pause(g->options.ctx, true);
    } else if (g->paused && empty) {
        g->paused = false;
        g->options.pause(g->options.ctx, false);
    }
}

static void sum_up(gather *g, input *in, og_str original);

static void finish_if_complete(input *in)
{
    gather *g = in->g;
    if (!in->sealed || in->unreported > 0)
        return;
    if (in->unsaid > 0 && !in->failed && !in->hopeless) { /* refused after it was summed up */
        in->sealed = false;
        sum_up(g, in, (og_str){NULL, 0});
        in->sealed = true;
        finish_if_complete(in);
        return;
    }
    if (in->failed) {
        g->options.reread(g->options.ctx);
    } else {
        crash_point(CRASH_ALL_THERE);
        count_input(in);
        g->options.done(g->options.ctx, in->topic, in->partition, in->offset);
    }
    g->in_flight--;
    set_pause(g);
    free(in->topic);
    free(in);
}

/* ---- sending ---- */

static void send_dead_letter(gather *g, place *at, gather_reason reason, const og_error *err);

static void free_outgoing(outgoing *o)
{
    og_buf_done(&o->copy);
    free(o->headers);
    free(o);
}

static void on_report(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                      const kafka_error *error)
{
    outgoing *o = ctx;
    input *in = o->in;
    outgoing_kind kind = o->kind;
    (void)partition;
    (void)offset;
    free_outgoing(o);
    if (verdict == CONN_AGAIN) {
        in->failed = true;
    } else if (verdict == CONN_NEVER && kind == OUT_DEAD_LETTER && in->hopeless) {
        /* said once */
    } else if (verdict == CONN_NEVER && kind == OUT_DEAD_LETTER) {
        in->hopeless = true;
        log_error("the brokers refuse a dead letter of %s[%d]@%lld: %s", in->topic, in->partition,
                  (long long)in->offset, error != NULL ? error->text : "");
    } else if (verdict == CONN_NEVER) {
        /* Its bytes are gone by now; the source's coordinates say where they are. */
        og_error why;
        place at = {.in = in, .of = 1};
        og_error_init(&why);
        (void)og_fail(&why, OG_INVALID, "%s",
                      error != NULL ? error->text : "the brokers refuse the record");
        if (kind == OUT_RECORD)
            in->recorded--;
        send_dead_letter(in->g, &at, GATHER_REFUSED, &why);
    }
    in->unreported--;
    finish_if_complete(in);
}

static og_str keep(og_buf *copy, og_str s)
{
    size_t at = copy->n;
    if (s.p == NULL)
        return s;
    og_buf_adds(copy, s);
    return (og_str){(const char *)(uintptr_t)at, s.n}; /* an offset until keep_all is done */
}

static og_str kept(const og_buf *copy, og_str s)
{
    return s.p == NULL && s.n == 0 ? s : (og_str){copy->p + (uintptr_t)s.p, s.n};
}

/* The message waits for room with a copy of its bytes. */
static void enqueue(gather *g, outgoing *o, const kafka_record *r)
{
    bool no_key = r->key.p == NULL, no_value = r->value.p == NULL;
    og_buf_init(&o->copy, (size_t)1 << 30);
    o->topic = r->topic; /* ours: lives as long as the options */
    o->partition = r->partition;
    o->headers = r->header_count > 0 ? calloc(r->header_count, sizeof *o->headers) : NULL;
    o->header_count = o->headers != NULL ? r->header_count : 0;
    og_str key = keep(&o->copy, r->key), value = keep(&o->copy, r->value);
    for (size_t i = 0; i < o->header_count; i++) {
        o->headers[i].name = r->headers[i].name;
        o->headers[i].value = keep(&o->copy, r->headers[i].value);
    }
    if (og_buf_failed(&o->copy) ||
        o->header_count <
            r->header_count) { /* no memory for it now: let the source have it read again */
        input *in = o->in;
        in->failed = true;
        in->unreported--;
        free_outgoing(o);
        return;
    }
    o->key = no_key ? (og_str){NULL, 0} : kept(&o->copy, key);
    o->value = no_value ? (og_str){NULL, 0} : kept(&o->copy, value);
    for (size_t i = 0; i < o->header_count; i++)
        o->headers[i].value =
            (og_str){o->copy.p + (uintptr_t)o->headers[i].value.p, o->headers[i].value.n};
    *g->queue_end = o;
    g->queue_end = &o->next;
}

/* Answers for a message that can never be sent: the sink says so before it has taken it. */
static void refused_at_once(outgoing *o, const og_error *err)
{
    kafka_error error = {.text = err->text, .offset = -1};
    on_report(o, CONN_NEVER, -1, -1, &error);
}

static void send_out(gather *g, input *in, outgoing_kind kind, const kafka_record *r)
{
    og_error err;
    outgoing *o = calloc(1, sizeof *o);
    in->unreported++;
    if (o == NULL) {
        in->failed = true;
        in->unreported--;
        return;
    }
    o->in = in;
    o->kind = kind;
    og_error_init(&err);
    if (in->unreported > 1)
        crash_point(CRASH_PART_SENT);
    conn_verdict verdict =
        g->queue != NULL ? CONN_AGAIN : g->options.send(g->options.ctx, r, on_report, o, &err);
    if (verdict == CONN_AGAIN)
        enqueue(g, o, r);
    else if (verdict == CONN_NEVER)
        refused_at_once(o, &err);
}

void gather_room(gather *g)
{
    while (g->queue != NULL) {
        outgoing *o = g->queue;
        og_error err;
        kafka_record r = {.topic = o->topic,
                          .partition = o->partition,
                          .key = o->key,
                          .value = o->value,
                          .headers = o->headers,
                          .header_count = o->header_count};
        og_error_init(&err);
        g->queue = o->next; /* first: the report may come at once, and o is gone then */
        if (g->queue == NULL)
            g->queue_end = &g->queue;
        conn_verdict verdict = g->options.send(g->options.ctx, &r, on_report, o, &err);
        if (verdict == CONN_AGAIN) {
            o->next = g->queue;
            g->queue = o;
            if (o->next == NULL)
                g->queue_end = &o->next;
            return;
        }
        if (verdict == CONN_NEVER)
            refused_at_once(o, &err);
    }
    set_pause(g);
}

/* ---- dead letters ---- */

typedef struct headers {
    conn_header at[MAX_HEADERS];
    size_t count;
    char room[MAX_HEADERS][HEADER_ROOM];
} headers;

static void add_header(headers *h, const char *name, const char *fmt, ...) OG_PRINTF(3, 4);

static void add_header(headers *h, const char *name, const char *fmt, ...)
{
    va_list ap;
    char *room = h->room[h->count];
    va_start(ap, fmt);
    int n = vsnprintf(room, HEADER_ROOM, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    h->at[h->count].name = name;
    h->at[h->count++].value = (og_str){room, (size_t)n < HEADER_ROOM ? (size_t)n : HEADER_ROOM - 1};
}

static void fill_headers(headers *h, const place *at, gather_reason reason, const og_error *err,
                         size_t sent)
{
    const input *in = at->in;
    h->count = 0;
    add_header(h, "reason", "%s", reason_names[reason]);
    add_header(h, "detail", "%s", err->text);
    add_header(h, "source-topic", "%s", in->topic);
    add_header(h, "source-partition", "%" PRId32, in->partition);
    add_header(h, "source-offset", "%" PRId64, in->offset);
    if (at->bundle != NULL)
        add_header(h, "entry", "%" PRIu32, at->entry);
    if (err->byte >= 0)
        add_header(h, "position", "%" PRId64, err->byte);
    if (err->path[0] != '\0')
        add_header(h, "path", "%s", err->path);
    if (at->original.n > sent)
        add_header(h, "bytes", "%zu", at->original.n);
    if (in->first_offset != in->offset)
        add_header(h, GATHER_RETRY_HEADER, "%" PRId64, in->first_offset);
}

static void log_dead_letter(const place *at, gather_reason reason, const og_error *err)
{
    char where[300];
    const char *detail =
        log_identifiers() || log_on(LOG_LEVEL_DEBUG) ? err->text : "see the dead letter's header";
    snprintf(where, sizeof where, "%s[%" PRId32 "]@%" PRId64, at->in->topic, at->in->partition,
             at->in->offset);
    log_field fields[] = {{"reason", og_str_of(reason_names[reason])},
                          {"source", og_str_of(where)},
                          {"path", og_str_of(err->path)},
                          {"detail", og_str_of(detail)}};
    log_line(LOG_LEVEL_WARN, "dead letter", fields, 4);
}

static void write_letter(gather *g, const place *at, gather_reason reason, const og_error *err,
                         uint32_t more)
{
    headers h;
    char key[400], last[16] = "more";
    input *in = at->in;
    size_t n = at->original.n < g->options.dead_letter_bytes ? at->original.n
                                                             : g->options.dead_letter_bytes;
    fill_headers(&h, at, reason, err, n);
    if (more > 0)
        add_header(&h, "more", "%" PRIu32, more);
    else
        snprintf(last, sizeof last, "%" PRIu32, at->entry);
    int key_n = snprintf(key, sizeof key, "%s/%" PRId32 "/%" PRId64 "/%s", in->topic, in->partition,
                         in->offset, last);
    kafka_record r = {.topic = g->options.dead_letters_topic,
                      .partition = KAFKA_PARTITION_BY_KEY,
                      .key = {key, (size_t)key_n < sizeof key ? (size_t)key_n : sizeof key - 1},
                      .value = {at->original.p, at->original.p != NULL ? n : 0},
                      .headers = h.at,
                      .header_count = h.count};
    send_out(g, in, OUT_DEAD_LETTER, &r);
    crash_point(CRASH_POISON);
}

static void send_dead_letter(gather *g, place *at, gather_reason reason, const og_error *err)
{
    input *in = at->in;
    in->dead[reason]++;
    if (in->hopeless)
        return;
    if (in->letters == GATHER_MAX_LETTERS) {
        if (in->unsaid++ == 0)
            in->unsaid_reason = reason;
        return;
    }
    if (in->letters++ == 0) /* one line per message: a Bundle can have millions of entries */
        log_dead_letter(at, reason, err);
    write_letter(g, at, reason, err, 0);
}

/* One letter for all that were too many. */
static void sum_up(gather *g, input *in, og_str original)
{
    place at = {.in = in, .of = 1, .original = original};
    uint32_t more = in->unsaid;
    og_error err;
    if (more == 0 || in->hopeless)
        return;
    og_error_init(&err);
    (void)og_fail(&err, OG_LIMIT, "%" PRIu32 " more inputs of this message cannot be used", more);
    in->unsaid = 0;
    log_warn("a message gave more than %d dead letters; one more stands for the other %" PRIu32,
             GATHER_MAX_LETTERS, more);
    write_letter(g, &at, in->unsaid_reason, &err, more);
}

static void dead(gather *g, place *at, gather_reason reason, og_status status, const char *fmt, ...)
    OG_PRINTF(5, 6);

static void dead(gather *g, place *at, gather_reason reason, og_status status, const char *fmt, ...)
{
    og_error err;
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    og_error_init(&err);
    (void)og_fail(&err, status, "%s", text);
    send_dead_letter(g, at, reason, &err);
}

/* ---- records ---- */

/* The id of a resource or patient as records are keyed: with its sender's name where the topic has
 * one. An identifier (system|value) is the same from every sender. */
static og_str of_sender(gather *g, place *at, og_str id)
{
    const char *sender = NULL;
    for (size_t i = 0; i < g->options.sender_count && sender == NULL; i++)
        if (strcmp(g->options.senders[i].name, at->in->topic) == 0)
            sender = g->options.senders[i].value;
    if (sender == NULL || id.n == 0 || og_str_find(id, '|') >= 0)
        return id;
    og_str full = og_arena_printf(g->arena, "%s%c%.*s", sender, RECORD_SENDER, OG_STR_ARG(id));
    if (full.p == NULL)
        at->in->failed = true;
    return full.p != NULL ? full : id;
}

static record_order order_of(const gather *g, const place *at, int64_t time_us)
{
    const input *in = at->in;
    return (record_order){.epoch = g->options.source_epoch,
                          .time_us = time_us,
                          .topic = og_crc32c(0, in->topic, strlen(in->topic)),
                          .partition = in->partition,
                          .offset = in->first_offset,
                          .entry = at->order};
}

/* A sender's clock that runs ahead must not lock out all later versions: its times are set back to
 * the broker's. */
static int64_t not_in_future(input *in, int64_t us)
{
    if (in->timestamp_ms < 0 || us <= in->timestamp_ms * 1000 + FUTURE_US)
        return us;
    in->future_version++;
    return in->timestamp_ms * 1000;
}

/* meta.lastUpdated, or the time of arrival. */
static int64_t version_time(place *at, og_str last_updated)
{
    int64_t us;
    input *in = at->in;
    if (last_updated.n == 0 || !record_instant_us(last_updated, &us)) {
        in->no_version++;
        return at->default_us;
    }
    return not_in_future(in, us);
}

static void produce(gather *g, place *at, const record *r)
{
    bool shared = r->patient.n == 0;
    int32_t partition = 0;
    og_buf_clear(&g->key);
    if (!shared) {
        record_write_route(&g->key, r->tenant, r->patient);
        partition = kafka_partition_for(og_buf_str(&g->key), g->options.partitions);
        og_buf_clear(&g->key);
    }
    og_buf_clear(&g->value);
    record_write_key(&g->key, r);
    record_write_value(&g->value, r);
    if (og_buf_failed(&g->key) || og_buf_failed(&g->value)) {
        at->in->failed = true;
        return;
    }
    kafka_record out = {.topic = shared ? g->options.shared_topic : g->options.records_topic,
                        .partition = partition,
                        .key = og_buf_str(&g->key),
                        .value = og_buf_str(&g->value)};
    send_out(g, at->in, OUT_RECORD, &out);
}

/* Whose r is, or that it is deleted. */
static void produce_place(gather *g, place *at, const record *r, outgoing_kind kind)
{
    og_buf_clear(&g->key);
    og_buf_clear(&g->value);
    record_write_place_key(&g->key, r->type, r->id);
    record_write_place_value(&g->value, r);
    if (og_buf_failed(&g->key) || og_buf_failed(&g->value)) {
        at->in->failed = true;
        return;
    }
    kafka_record out = {.topic = g->options.records_topic,
                        .partition =
                            kafka_partition_for(og_buf_str(&g->key), g->options.partitions),
                        .key = og_buf_str(&g->key),
                        .value = og_buf_str(&g->value)};
    send_out(g, at->in, kind, &out);
}

static record record_of(const gather *g, const place *at, og_str type, og_str id, int64_t time_us)
{
    return (record){.tenant = og_str_of(g->options.tenant),
                    .type = type,
                    .id = id,
                    .order = order_of(g, at, time_us),
                    .topic = og_str_of(at->in->topic),
                    .timestamp_ms = at->in->timestamp_ms,
                    .entry = at->entry,
                    .of = at->of};
}

/* An error of the index is one of our disk: the message is not lost, it is read again. */
static void index_failed(place *at, const og_error *why)
{
    log_failure(LOG_LEVEL_ERROR,
                "cannot use the index of recorded ids; the message will be read again", why);
    at->in->failed = true;
}

static void note_recorded(gather *g, place *at, const record *r)
{
    og_error err;
    og_error_init(&err);
    if (idset_add(g->recorded, r->type, r->id, &err) != OG_OK)
        index_failed(at, &err);
}

static void record_resource(gather *g, place *at, const fhir_resource *res, og_str patient,
                            og_str body)
{
    record r = record_of(g, at, res->type, res->id, version_time(at, fhir_meta_last_updated(res)));
    r.patient = patient;
    r.body = body;
    note_recorded(g, at, &r);
    at->in->recorded++;
    produce(g, at, &r);
    if (patient.n > 0)
        produce_place(g, at, &r, OUT_BESIDE);
}

/* ---- one resource ---- */

/* Not wanted by its codes; but an older version may have been, and must not stay. */
static bool was_wanted(gather *g, place *at, const fhir_resource *res)
{
    og_error err;
    if (res->id.n == 0)
        return false;
    og_error_init(&err);
    og_status status = idset_has(g->recorded, res->type, of_sender(g, at, res->id), &err);
    if (status != OG_OK && status != OG_NOTFOUND)
        index_failed(at, &err);
    return status == OG_OK;
}

/* The bytes that are recorded: as they came, or out of their Bundle with its references resolved.
 */
static og_status bytes_of(gather *g, const place *at, const fhir_entry *entry, og_str *ret,
                          og_error *err)
{
    if (at->bundle == NULL) {
        *ret = at->original;
        return OG_OK;
    }
    og_buf_clear(&g->body);
    og_status status = fhir_bundle_extract(at->bundle, entry, &g->body, err);
    if (status == OG_OK && og_buf_failed(&g->body))
        status = og_fail(err, OG_LIMIT, "the resource is larger than %zu bytes",
                         g->options.max_record_bytes);
    *ret = og_buf_str(&g->body);
    return status;
}

/* An extracted resource may have got its id from the entry's fullUrl. */
static og_status read_extracted(gather *g, og_str body, fhir_resource *ret, og_error *err)
{
    fhir_doc *doc = og_arena_alloc(g->arena, sizeof *doc);
    fhir_limits limits = {.max_bytes = (uint32_t)g->options.max_message_bytes,
                          .max_depth = g->options.max_depth};
    if (doc == NULL)
        return og_fail(err, OG_LIMIT, "no memory for the resource");
    og_status status = fhir_decode(g->arena, body, &limits, doc, err);
    return status == OG_OK ? fhir_resource_of(fhir_root(doc), ret, err) : status;
}

static void take_resource(gather *g, place *at, const fhir_entry *entry)
{
    fhir_resource res = entry->resource;
    og_str patient = {NULL, 0}, body;
    og_error err;
    og_error_init(&err);
    if (!plan_content_wants_type(g->content, res.type) ||
        (!plan_content_wants(g->content, &res) && !was_wanted(g, at, &res))) {
        at->in->irrelevant++;
        return;
    }
    if (fhir_resource_check(&res, &err) != OG_OK) {
        send_dead_letter(g, at, GATHER_INVALID, &err);
        return;
    }
    og_status status = bytes_of(g, at, entry, &body, &err);
    if (status == OG_OK && at->bundle != NULL && res.id.n == 0)
        status = read_extracted(g, body, &res, &err);
    if (status != OG_OK) {
        send_dead_letter(g, at, status == OG_LIMIT ? GATHER_TOO_LARGE : GATHER_ENTRY, &err);
        return;
    }
    if (res.id.n == 0) {
        dead(g, at, GATHER_NO_ID, OG_INVALID,
             "the resource has no id, so no later version could be told from it");
        return;
    }
    if (body.n > g->options.max_record_bytes) {
        dead(g, at, GATHER_TOO_LARGE, OG_LIMIT,
             "the resource has %zu bytes; at most %zu are recorded", body.n,
             g->options.max_record_bytes);
        return;
    }
    if (!store_is_shared_type(res.type)) {
        if (fhir_patient_of(g->arena, &res, at->bundle, &patient, &err) != OG_OK) {
            send_dead_letter(g, at, GATHER_NO_PATIENT, &err);
            return;
        }
        patient = of_sender(g, at, patient);
        if (!record_patient_valid(patient)) {
            dead(g, at, GATHER_NO_PATIENT, OG_INVALID,
                 "the id of the patient is empty, longer than %d bytes, or has control characters",
                 RECORD_MAX_PATIENT);
            return;
        }
    }
    res.id = of_sender(g, at, res.id);
    record_resource(g, at, &res, patient, body);
}

/* ---- deletes ---- */

/* It names no patient, but for one of a Patient: whose the resource is its place knows (place.h).
 */
static void take_delete(gather *g, place *at, og_str type, og_str id)
{
    if (!plan_content_wants_type(g->content, type)) {
        at->in->irrelevant++;
        return;
    }
    record r = record_of(g, at, type, of_sender(g, at, id), at->default_us);
    if (og_str_is(type, "Patient"))
        r.patient = r.id;
    r.deleted = true;
    r.untimed = !at->timed;
    at->in->recorded++;
    if (store_is_shared_type(type))
        produce(g, at, &r);
    else
        produce_place(g, at, &r, OUT_RECORD);
}

/* A null value: the key has to say what is deleted, as `Type/id`. */
static void take_null(gather *g, place *at, og_str key)
{
    ptrdiff_t slash = og_str_find(key, '/');
    og_str type = {key.p, slash < 0 ? 0 : (size_t)slash};
    og_str id = slash < 0 ? type : og_str_from(key, (size_t)slash + 1);
    at->original = key;
    if (!fhir_type_is_concrete_resource(fhir_type_of(type)) || !fhir_id_usable(id))
        dead(g, at, GATHER_NO_KEY, OG_INVALID, "a null value, and its key is not Type/id");
    else
        take_delete(g, at, type, id);
}

/* ---- Bundles ---- */

static bool read_time(fhir_elem e, int64_t *ret)
{
    return fhir_kind_of(e) == FHIR_STRING && record_instant_us(fhir_raw(e), ret);
}

static int64_t time_of(fhir_elem e, int64_t otherwise)
{
    int64_t us;
    return read_time(e, &us) ? us : otherwise;
}

static void take_entry(gather *g, place *at, fhir_elem raw)
{
    fhir_entry entry;
    og_error err;
    int64_t modified;
    og_error_init(&err);
    og_status status = fhir_bundle_entry(at->bundle, at->entry, &entry, &err);
    if (status != OG_OK) {
        at->original = fhir_raw(raw);
        send_dead_letter(g, at, GATHER_ENTRY, &err);
        return;
    }
    switch (entry.verb) {
    case FHIR_SKIP: at->in->irrelevant++; return;
    case FHIR_PUT:
        at->original = fhir_raw(entry.resource.root);
        take_resource(g, at, &entry);
        return;
    case FHIR_DELETE:
        at->original = fhir_raw(raw);
        at->timed = read_time(fhir_path(raw, "response.lastModified"), &modified);
        if (at->timed)
            at->default_us = not_in_future(at->in, modified);
        take_delete(g, at, entry.type, entry.id);
        return;
    }
}

static void take_bundle(gather *g, place *at, const fhir_resource *res)
{
    fhir_bundle *bundle;
    og_error err;
    og_error_init(&err);
    if (fhir_bundle_open(g->arena, res, &bundle, &err) != OG_OK) {
        send_dead_letter(g, at, GATHER_BUNDLE, &err);
        return;
    }
    fhir_elem list = fhir_get(res->root, "entry"), raw = fhir_first(list);
    bool newest_first =
        fhir_is(fhir_get(res->root, "type"), "history"); /* FHIR R4 http.html#history */
    uint32_t count = fhir_bundle_count(bundle);
    int64_t bundle_us = time_of(fhir_path(res->root, "meta.lastUpdated"),
                                time_of(fhir_get(res->root, "timestamp"), at->default_us));
    if (at->default_us < bundle_us)
        bundle_us = at->default_us; /* a Bundle cannot be newer than its arrival */
    if (count == 0)
        at->in->irrelevant++; /* an empty Bundle is an input too */
    for (uint32_t i = 0; i < count; i++, raw = fhir_next(list, raw)) {
        place one = {.in = at->in,
                     .bundle = bundle,
                     .entry = i,
                     .of = count,
                     .order = newest_first ? count - 1 - i : i,
                     .default_us = bundle_us};
        take_entry(g, &one, raw);
    }
}

/* ---- messages ---- */

static gather_reason decode_reason(og_status status)
{
    return status == OG_INVALID  ? GATHER_DUPLICATE_KEY
           : status == OG_SYNTAX ? GATHER_SYNTAX
                                 : GATHER_LIMIT;
}

static const char *envelope_of(const gather *g, const char *topic)
{
    for (size_t i = 0; i < g->options.envelope_count; i++)
        if (strcmp(g->options.envelopes[i].name, topic) == 0)
            return g->options.envelopes[i].value;
    return NULL;
}

/* What the topic's envelope holds; its letter has all of the message, so that it can be sent again.
 */
static bool open_envelope(gather *g, place *at, const fhir_limits *limits, og_str *value)
{
    const char *form = envelope_of(g, at->in->topic);
    og_error err;
    og_error_init(&err);
    if (form == NULL)
        return true;
    og_status status = envelope_open(g->arena, form, limits, *value, value, &err);
    if (status == OG_OK)
        return true;
    bool around = status == OG_NOTFOUND || status == OG_UNSUPPORTED;
    send_dead_letter(g, at, around ? GATHER_ENVELOPE : decode_reason(status), &err);
    return false;
}

static void take_value(gather *g, place *at, og_str value)
{
    fhir_limits limits = {.max_bytes = (uint32_t)g->options.max_message_bytes,
                          .max_depth = g->options.max_depth};
    fhir_doc doc;
    fhir_entry entry = {.verb = FHIR_PUT};
    og_error err;
    og_error_init(&err);
    at->original = value;
    if (value.n > g->options.max_message_bytes) {
        dead(g, at, GATHER_TOO_LARGE, OG_LIMIT, "the message has %zu bytes; at most %zu are read",
             value.n, g->options.max_message_bytes);
        return;
    }
    if (!open_envelope(g, at, &limits, &value))
        return;
    og_status status = fhir_decode(g->arena, value, &limits, &doc, &err);
    if (status != OG_OK) {
        if (value.p != at->original.p) /* the position is one inside */
            og_error_path(&err, envelope_of(g, at->in->topic));
        send_dead_letter(g, at, decode_reason(status), &err);
        return;
    }
    if (fhir_resource_of(fhir_root(&doc), &entry.resource, &err) != OG_OK) {
        send_dead_letter(g, at, GATHER_NOT_A_RESOURCE, &err);
        return;
    }
    if (og_str_is(entry.resource.type, "Bundle"))
        take_bundle(g, at, &entry.resource);
    else
        take_resource(g, at, &entry);
}

/* The producer's clock may be in nanoseconds, or anything. */
static int64_t plausible_ms(const gather *g, int64_t ms)
{
    int64_t latest =
        g->options.now_ms != NULL ? g->options.now_ms(g->options.ctx) + DAY_MS : LATEST_MS;
    return ms < 0 ? -1 : ms > latest ? latest : ms;
}

static input *input_new(gather *g, const conn_origin *origin, int64_t first_offset)
{
    input *in = calloc(1, sizeof *in);
    if (in == NULL)
        return NULL;
    in->topic = strdup(origin->topic);
    if (in->topic == NULL) {
        free(in);
        return NULL;
    }
    in->g = g;
    in->partition = origin->partition;
    in->offset = origin->offset;
    in->first_offset =
        first_offset >= 0 && first_offset < origin->offset ? first_offset : origin->offset;
    in->timestamp_ms = plausible_ms(g, origin->timestamp_ms);
    return in;
}

static void shrink(og_buf *b, size_t max)
{
    if (b->cap > KEEP_BUFFER) {
        og_buf_done(b);
        og_buf_init(b, max);
    }
}

void gather_message(gather *g, const conn_message *m)
{
    og_str text;
    int64_t first = -1;
    if (kafka_message_header(m, GATHER_RETRY_HEADER, &text))
        (void)og_str_int(text, 0, INT64_MAX, &first);
    gather_message_again(g, m, first);
}

void gather_message_again(gather *g, const conn_message *m, int64_t first_offset)
{
    input *in = input_new(g, &m->origin, first_offset);
    crash_point(CRASH_POLLED);
    if (in == NULL) { /* not done: it is read again after a restart */
        log_error("out of memory while taking a message");
        g->options.reread(g->options.ctx);
        return;
    }
    g->in_flight++;
    place at = {
        .in = in, .of = 1, .default_us = (in->timestamp_ms >= 0 ? in->timestamp_ms : 0) * 1000};
    og_arena_reset(g->arena);
    if (m->value.p == NULL)
        take_null(g, &at, m->key);
    else
        take_value(g, &at, m->value);
    sum_up(g, in, m->value);
    if (og_arena_failed(g->arena))
        og_arena_reset(g->arena);
    shrink(&g->value, g->options.max_record_bytes + 4096);
    shrink(&g->body, g->options.max_record_bytes + 1);
    in->sealed = true;
    finish_if_complete(in);
    set_pause(g);
}

size_t gather_in_flight(const gather *g)
{
    return g->in_flight;
}

void gather_set_content(gather *g, const plan_content *content)
{
    g->content = content;
}

gather *gather_new(const gather_options *options, const plan_content *content, idset *recorded)
{
    gather *g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->options = *options;
    g->content = content;
    g->recorded = recorded;
    g->queue_end = &g->queue;
    g->arena = og_arena_new(options->arena_bytes);
    og_buf_init(&g->key, 1024);
    og_buf_init(&g->value, options->max_record_bytes + 4096);
    og_buf_init(&g->body, options->max_record_bytes + 1);
    if (g->arena == NULL) {
        free(g);
        return NULL;
    }
    return g;
}

void gather_free(gather *g)
{
    if (g == NULL)
        return;
    for (outgoing *o = g->queue, *next; o != NULL; o = next) {
        next = o->next;
        free_outgoing(o);
    }
    og_arena_free(g->arena);
    og_buf_done(&g->key);
    og_buf_done(&g->value);
    og_buf_done(&g->body);
    free(g);
}
