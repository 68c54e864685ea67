/* The Kafka producer on the loop.
 *
 * Every record that was accepted has a `pending` in one list until its delivery report arrives, and
 * is reported exactly once: from the report, or as CONN_AGAIN when its producer is taken down
 * first. librdkafka never gives a record up by time; when to stop waiting is the caller's decision.
 *
 * The idempotent producer of librdkafka 2.0.2 can stop for good ("rewound" or "desynchronised"
 * sequence numbers after a broker's failure). Then: purge, hear the reports, and start a new
 * producer. What was in flight may be in the log already; its keys make a repetition harmless. */
#include "connectors/kafka.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "connectors/kafka_private.h"

enum {
    DRAIN_LIMIT = 1000, /* events per turn; a delivery report event holds a batch */
    TICK_MS = 1000,
    CLOSING_TICK_MS = 20,
    PURGE_WAIT_MS = 2000,
    DESTROY_WAIT_MS = 5000,
    RENEW_PAUSE_MS = 1000,
};

typedef struct pending {
    struct pending *prev, *next;
    kafka_report_fn *cb;
    void *ctx;
} pending;

struct kafka_sink {
    uv_loop_t *loop;
    kafka_sink_options o;
    rd_kafka_conf_t *conf; /* what every new producer is made of */
    rd_kafka_t *rk;        /* NULL while none could be made */
    rd_kafka_queue_t *queue;
    kafka__wake wake;
    uv_timer_t tick;
    int handles;
    int reaping; /* producers that are being destroyed */

    char **topics; /* to be known to every producer */
    rd_kafka_topic_t **known;
    size_t topic_count;

    pending head; /* circular */
    size_t outstanding;
    bool draining, room_wanted;

    bool renewing; /* a fatal error came: purge, report, replace */
    uint64_t renew_until, renew_at;

    uint64_t flush_until;
    void (*flush_cb)(void *ctx, size_t remaining);
    void *flush_ctx;

    bool closing, purged, closed;
    uint64_t close_until;
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

/* ---- pending records ---- */

static void pending_remove(kafka_sink *k, pending *p)
{
    p->prev->next = p->next;
    p->next->prev = p->prev;
    k->outstanding--;
}

static void pending_report(kafka_sink *k, pending *p, conn_verdict verdict, int32_t partition,
                           int64_t offset, const kafka_error *error)
{
    pending_remove(k, p);
    if (p->cb != NULL)
        p->cb(p->ctx, verdict, partition, offset, error);
    free(p);
}

/* Reports the first n that still wait; records that the callbacks send anew are not among them. */
static void pending_abandon(kafka_sink *k, size_t n)
{
    kafka_error e = kafka__error(RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, "the producer was taken down");
    while (n-- > 0 && k->head.next != &k->head)
        pending_report(k, k->head.next, CONN_AGAIN, -1, -1, &e);
}

/* ---- events ---- */

/* The broker will refuse it again; everything else may come right. */
static bool refused_for_good(rd_kafka_resp_err_t err)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE: return true;
    default: return false;
    }
}

static void sink_report(kafka_sink *k, const rd_kafka_message_t *m)
{
    pending *p = m->_private;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        pending_report(k, p, CONN_DONE, m->partition, m->offset >= 0 ? m->offset : -1, NULL);
        return;
    }
    kafka_error e = kafka__error(m->err, rd_kafka_err2str(m->err));
    e.topic = rd_kafka_topic_name(m->rkt);
    e.partition = m->partition;
    pending_report(k, p, refused_for_good(m->err) ? CONN_NEVER : CONN_AGAIN, m->partition, -1, &e);
}

static void sink_error_event(kafka_sink *k, rd_kafka_event_t *ev)
{
    char text[512];
    rd_kafka_resp_err_t code = rd_kafka_event_error(ev);
    kafka_error e = kafka__error(code, rd_kafka_event_error_string(ev));
    if (code == RD_KAFKA_RESP_ERR__FATAL || rd_kafka_event_error_is_fatal(ev) ||
        kafka__lacks_thread(code)) {
        rd_kafka_resp_err_t cause = rd_kafka_fatal_error(k->rk, text, sizeof(text));
        if (cause != RD_KAFKA_RESP_ERR_NO_ERROR)
            e = kafka__error(cause, text);
        e.fatal = true;
        if (!k->renewing) {
            k->renewing = true;
            k->renew_until = uv_now(k->loop) + PURGE_WAIT_MS;
            k->renew_at = 0;
            (void)rd_kafka_purge(k->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        }
    }
    if (k->o.on_error != NULL)
        k->o.on_error(k->o.ctx, &e);
}

static void sink_event(kafka_sink *k, rd_kafka_event_t *ev)
{
    const rd_kafka_message_t *m;
    switch (rd_kafka_event_type(ev)) {
    case RD_KAFKA_EVENT_DR:
        while ((m = rd_kafka_event_message_next(ev)) != NULL)
            sink_report(k, m);
        break;
    case RD_KAFKA_EVENT_ERROR: sink_error_event(k, ev); break;
    case RD_KAFKA_EVENT_LOG: kafka__log_event(ev, k->o.on_log, k->o.ctx); break;
    default: break;
    }
}

/* ---- the producer's life ---- */

/* librdkafka asks for the metadata of a new topic once a second only: a topic that the first record
 * makes known lets it wait that long. */
static void producer_know(kafka_sink *k)
{
    for (size_t i = 0; k->rk != NULL && i < k->topic_count; i++)
        if (k->known[i] == NULL)
            k->known[i] = rd_kafka_topic_new(k->rk, k->topics[i], NULL);
}

static void producer_forget(kafka_sink *k)
{
    for (size_t i = 0; i < k->topic_count; i++) {
        if (k->known[i] != NULL)
            rd_kafka_topic_destroy(k->known[i]);
        k->known[i] = NULL;
    }
}

static og_status producer_start(kafka_sink *k, og_error *err)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_dup(k->conf);
    og_status st = kafka__handle_new(RD_KAFKA_PRODUCER, conf, &k->rk, err);
    if (st != OG_OK)
        return st;
    rd_kafka_set_log_queue(k->rk, NULL);
    k->queue = rd_kafka_queue_get_main(k->rk);
    kafka__wake_watch(&k->wake, k->queue);
    kafka__wake_again(&k->wake); /* something may have come before the queue was watched */
    producer_know(k);
    return OG_OK;
}

static void sink_close_step(kafka_sink *k);

static void producer_reaped(void *ctx)
{
    kafka_sink *k = ctx;
    k->reaping--;
    if (k->closing)
        sink_close_step(k);
}

static void producer_stop(kafka_sink *k)
{
    if (k->rk == NULL)
        return;
    kafka__wake_unwatch(k->queue);
    rd_kafka_queue_destroy(k->queue);
    producer_forget(k);
    rd_kafka_t *rk = k->rk;
    k->queue = NULL;
    k->rk = NULL;
    k->reaping++;
    kafka__destroy(k->loop, rk, DESTROY_WAIT_MS, producer_reaped, k);
}

static void sink_room(kafka_sink *k)
{
    if (!k->room_wanted || k->renewing || k->closing)
        return;
    k->room_wanted = false;
    if (k->o.on_room != NULL)
        k->o.on_room(k->o.ctx);
}

/* After a fatal error: when the purged records have been reported (or the wait is over), a new
 * producer takes over. */
static void renew_step(kafka_sink *k)
{
    const uint64_t now = uv_now(k->loop);
    if (!k->renewing || k->closing || now < k->renew_at ||
        (k->outstanding > 0 && now < k->renew_until))
        return;
    producer_stop(k);
    pending_abandon(k, k->outstanding);
    if (k->closing)
        return;
    og_error err;
    og_error_init(&err);
    if (producer_start(k, &err) == OG_OK) {
        k->renewing = false;
        sink_room(k);
        return;
    }
    kafka_error e = {.name = "RENEW", .text = err.text, .partition = -1, .offset = -1};
    k->renew_at = now + RENEW_PAUSE_MS;
    if (k->o.on_error != NULL)
        k->o.on_error(k->o.ctx, &e);
}

static void flush_step(kafka_sink *k)
{
    if (k->flush_cb == NULL || (k->outstanding > 0 && uv_now(k->loop) < k->flush_until))
        return;
    void (*cb)(void *, size_t) = k->flush_cb;
    k->flush_cb = NULL;
    cb(k->flush_ctx, k->outstanding);
}

static void sink_step(kafka_sink *k)
{
    flush_step(k);
    renew_step(k);
    if (k->closing)
        sink_close_step(k);
}

static void sink_drain(kafka_sink *k)
{
    if (k->draining || k->closed)
        return;
    k->draining = true;
    kafka__wake_read(&k->wake);
    int n = 0;
    for (; k->queue != NULL && n < DRAIN_LIMIT; n++) {
        rd_kafka_event_t *ev = rd_kafka_queue_poll(k->queue, 0);
        if (ev == NULL)
            break;
        sink_event(k, ev);
        rd_kafka_event_destroy(ev);
    }
    if (n == DRAIN_LIMIT)
        kafka__wake_again(&k->wake);
    k->draining = false;
    if (n > 0)
        sink_room(k);
    sink_step(k);
}

static void sink_wake(uv_poll_t *h, int status, int events)
{
    (void)status;
    (void)events;
    sink_drain(h->data);
}

static void sink_tick(uv_timer_t *t)
{
    sink_drain(t->data);
    sink_room(t->data);
}

/* Fast ticks only while a deadline runs. */
static void tick_every(kafka_sink *k, uint64_t ms)
{
    uv_timer_start(&k->tick, sink_tick, ms, ms);
}

/* ---- closing ---- */

static void sink_handle_closed(uv_handle_t *h)
{
    kafka_sink *k = h->data;
    if (h == (uv_handle_t *)&k->wake.poll)
        close(k->wake.fd);
    if (--k->handles > 0)
        return;
    void (*on_closed)(void *) = k->on_closed;
    void *ctx = k->close_ctx;
    rd_kafka_conf_destroy(k->conf);
    for (size_t i = 0; i < k->topic_count; i++)
        free(k->topics[i]);
    free(k->topics);
    free(k->known);
    free(k);
    if (on_closed != NULL)
        on_closed(ctx);
}

static void sink_close_step(kafka_sink *k)
{
    if (k->closed || k->draining)
        return;
    const uint64_t now = uv_now(k->loop);
    if (k->outstanding > 0 && k->rk != NULL) {
        if (now < k->close_until)
            return;
        if (!k->purged) { /* the reports of what is purged come through the queue, shortly */
            k->purged = true;
            k->close_until = now + PURGE_WAIT_MS;
            (void)rd_kafka_purge(k->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
            return;
        }
    }
    producer_stop(k);
    pending_abandon(k, k->outstanding);
    flush_step(k);
    if (k->reaping > 0 || k->closed)
        return;
    k->closed = true;
    uv_close((uv_handle_t *)&k->wake.poll, sink_handle_closed);
    uv_close((uv_handle_t *)&k->tick, sink_handle_closed);
}

void kafka_sink_close(kafka_sink *k, int timeout_ms, void (*on_closed)(void *ctx), void *ctx)
{
    if (k == NULL) {
        if (on_closed != NULL)
            on_closed(ctx);
        return;
    }
    if (k->closing)
        return;
    k->closing = true;
    k->on_closed = on_closed;
    k->close_ctx = ctx;
    k->close_until = uv_now(k->loop) + (uint64_t)(timeout_ms > 0 ? timeout_ms : 5000);
    uv_timer_start(&k->tick, sink_tick, 0, CLOSING_TICK_MS);
}

/* ---- making one, sending ---- */

static og_status sink_conf(const kafka_sink_options *o, rd_kafka_conf_t **ret, og_error *err)
{
    char linger[16];
    snprintf(linger, sizeof(linger), "%d",
             o->linger_ms == 0  ? 5
             : o->linger_ms < 0 ? 0
                                : o->linger_ms);
    rd_kafka_conf_t *conf;
    kafka_property *all = calloc(o->property_count + 1, sizeof(*all));
    if (all == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    all[0] = (kafka_property){"linger.ms", linger}; /* first, so that the caller's own wins */
    if (o->property_count > 0)
        memcpy(all + 1, o->properties, o->property_count * sizeof(*all));
    og_status st = kafka__conf_new(false, all, o->property_count + 1, NULL, &conf, err);
    free(all);
    if (st != OG_OK)
        return st;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
    *ret = conf;
    return OG_OK;
}

og_status kafka_sink_new(uv_loop_t *loop, const kafka_sink_options *options, kafka_sink **ret,
                         og_error *err)
{
    kafka_sink *k = calloc(1, sizeof(*k));
    if (k == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    k->loop = loop;
    k->o = *options;
    k->o.properties = NULL;
    k->head.prev = k->head.next = &k->head;
    og_status st = sink_conf(options, &k->conf, err);
    if (st != OG_OK)
        goto fail;
    st = kafka__wake_start(&k->wake, loop, sink_wake, err);
    if (st != OG_OK)
        goto fail;
    k->wake.poll.data = k;
    uv_timer_init(loop, &k->tick);
    k->tick.data = k;
    k->handles = 2;
    tick_every(k, TICK_MS);
    st = producer_start(k, err);
    if (st != OG_OK) {
        kafka_sink_close(k, 0, NULL, NULL);
        return st;
    }
    *ret = k;
    return OG_OK;
fail:
    if (k->conf != NULL)
        rd_kafka_conf_destroy(k->conf);
    free(k);
    return st;
}

static rd_kafka_headers_t *headers_new(const kafka_record *r)
{
    if (r->header_count == 0)
        return NULL;
    rd_kafka_headers_t *h = rd_kafka_headers_new(r->header_count);
    for (size_t i = 0; i < r->header_count; i++) {
        const conn_header *c = &r->headers[i];
        ssize_t size = c->value.p != NULL ? (ssize_t)c->value.n : 0;
        rd_kafka_header_add(h, c->name, -1, c->value.p, size);
    }
    return h;
}

/* rd_kafka_produceva takes the topic by name and copies key, value and headers' ownership. */
static rd_kafka_error_t *produce(kafka_sink *k, const kafka_record *r, rd_kafka_headers_t *headers,
                                 pending *p)
{
    rd_kafka_vu_t vus[8];
    size_t n = 0;
    vus[n].vtype = RD_KAFKA_VTYPE_TOPIC;
    vus[n++].u.cstr = r->topic;
    vus[n].vtype = RD_KAFKA_VTYPE_PARTITION;
    vus[n++].u.i32 = r->partition < 0 ? RD_KAFKA_PARTITION_UA : r->partition;
    vus[n].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
    vus[n++].u.i = RD_KAFKA_MSG_F_COPY;
    vus[n].vtype = RD_KAFKA_VTYPE_KEY;
    vus[n].u.mem.ptr = (void *)r->key.p;
    vus[n++].u.mem.size = r->key.p != NULL ? r->key.n : 0;
    vus[n].vtype = RD_KAFKA_VTYPE_VALUE;
    vus[n].u.mem.ptr = (void *)r->value.p;
    vus[n++].u.mem.size = r->value.p != NULL ? r->value.n : 0;
    vus[n].vtype = RD_KAFKA_VTYPE_OPAQUE;
    vus[n++].u.ptr = p;
    if (r->timestamp_ms > 0) {
        vus[n].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
        vus[n++].u.i64 = r->timestamp_ms;
    }
    if (headers != NULL) {
        vus[n].vtype = RD_KAFKA_VTYPE_HEADERS;
        vus[n++].u.headers = headers;
    }
    return rd_kafka_produceva(k->rk, vus, n);
}

/* What the client knows of the topic is what a broker said last: one that has just started may not
 * know it, or who may write to it, yet. */
static bool is_of_the_moment(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
           code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
           code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
}

/* Once before there is room again: not for every record that waits for it. */
static void tell_moment(kafka_sink *k, const kafka_record *r, rd_kafka_resp_err_t code)
{
    kafka_error e = kafka__error(code, NULL);
    e.topic = r->topic;
    e.partition = r->partition;
    if (!k->room_wanted && k->o.on_error != NULL)
        k->o.on_error(k->o.ctx, &e);
}

/* A record that was not accepted: is it the moment or the record? */
static conn_verdict refusal(kafka_sink *k, const kafka_record *r, rd_kafka_error_t *error,
                            og_error *err)
{
    rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    og_status status = code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ? OG_LIMIT : OG_INVALID;
    conn_verdict verdict = CONN_NEVER;
    bool moment = k->o.waits_for_topics && is_of_the_moment(code);
    if (moment)
        tell_moment(k, r, code);
    /* An empty queue that has no room never will. While its report is handled a record is in it. */
    bool full = code == RD_KAFKA_RESP_ERR__QUEUE_FULL && rd_kafka_outq_len(k->rk) > 0;
    if (full || moment || code == RD_KAFKA_RESP_ERR__FATAL ||
        rd_kafka_fatal_error(k->rk, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        verdict = CONN_AGAIN;
        status = OG_AGAIN;
        k->room_wanted = true;
    }
    (void)!og_fail(err, status, "Kafka takes no record: %s", rd_kafka_err2str(code));
    rd_kafka_error_destroy(error);
    return verdict;
}

og_status kafka_sink_know(kafka_sink *k, const char *topic, og_error *err)
{
    size_t n = k->topic_count;
    char *name = strdup(topic);
    char **topics = realloc(k->topics, (n + 1) * sizeof *topics);
    if (topics != NULL)
        k->topics = topics;
    rd_kafka_topic_t **known = realloc(k->known, (n + 1) * sizeof *known);
    if (known != NULL)
        k->known = known;
    if (name == NULL || topics == NULL || known == NULL) {
        free(name);
        return og_fail(err, OG_NOMEM, "out of memory");
    }
    k->topics[n] = name;
    k->known[n] = NULL;
    k->topic_count++;
    producer_know(k);
    return OG_OK;
}

conn_verdict kafka_sink_send(kafka_sink *k, const kafka_record *record, kafka_report_fn *cb,
                             void *ctx, og_error *err)
{
    if (record->topic == NULL || *record->topic == '\0') {
        (void)!og_fail(err, OG_INVALID, "a record without a topic");
        return CONN_NEVER;
    }
    if (k->rk == NULL || k->renewing || k->closing) {
        k->room_wanted = true;
        (void)!og_fail(err, OG_AGAIN, "the producer is being replaced");
        return CONN_AGAIN;
    }
    pending *p = malloc(sizeof(*p));
    if (p == NULL) {
        (void)!og_fail(err, OG_NOMEM, "out of memory");
        return CONN_AGAIN;
    }
    rd_kafka_headers_t *headers = headers_new(record);
    rd_kafka_error_t *error = produce(k, record, headers, p);
    if (error != NULL) {
        if (headers != NULL)
            rd_kafka_headers_destroy(headers);
        free(p);
        return refusal(k, record, error, err);
    }
    *p = (pending){.prev = k->head.prev, .next = &k->head, .cb = cb, .ctx = ctx};
    p->prev->next = p;
    k->head.prev = p;
    k->outstanding++;
    return CONN_DONE;
}

size_t kafka_sink_outstanding(const kafka_sink *k)
{
    return k->outstanding;
}

static void flush_tick(uv_timer_t *t)
{
    kafka_sink *k = t->data;
    sink_drain(k);
    if (k->flush_cb == NULL && !k->closing && !k->closed)
        tick_every(k, TICK_MS);
}

og_status kafka_sink_flush(kafka_sink *k, int timeout_ms, void (*cb)(void *ctx, size_t remaining),
                           void *ctx)
{
    if (k->flush_cb != NULL || k->closing)
        return OG_AGAIN;
    k->flush_cb = cb;
    k->flush_ctx = ctx;
    k->flush_until = uv_now(k->loop) + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0);
    uv_timer_start(&k->tick, flush_tick, 0, CLOSING_TICK_MS);
    return OG_OK;
}
