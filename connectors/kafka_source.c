/* The Kafka consumer on the loop.
 *
 *     librdkafka's threads ──► queue ──► eventfd ──► uv_poll ──► kafka_source_drain ──► on_message
 *                                                     uv_timer (the net, commits, deadlines)
 *
 * Messages are taken one by one: the batch call of librdkafka 2.0.2 can lose some across a
 * rebalance. The descriptor is signalled once per period in which the queue was not served, so it
 * is read first and then the queue is emptied; a turn that ends at its limit signals itself.
 *
 * Invariant: a partition is in `parts` exactly while it is ours and its messages may be delivered.
 * It enters with rd_kafka_assign and leaves before the rd_kafka_assign(NULL) that answers a revoke.
 * The answer may come later than the question: an assignment waits for the committed offsets
 * (looked up in a worker), a revoke for the caller's last work and for the commit. librdkafka keeps
 * the group's state until it is answered.
 *
 * Offsets are committed by us and never by librdkafka: at an interval, at revoke, at close. */
#include "connectors/kafka.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "connectors/kafka_private.h"

enum {
    TICK_MS = 250,
    CLOSING_TICK_MS = 20,
    REVOKE_HOLD_MS = 5000,
    COMMIT_WAIT_MS = 5000,
    COMMIT_STUCK_MS = 60000, /* an answer that never came does not stop committing for good */
    LOOKUP_TIMEOUT_MS = 3000,
    LOOKUP_PAUSE_MS = 500,
    QUERY_MAX_MS = 10000,
};

typedef struct slot { /* a message that was delivered and is not part of the done prefix yet */
    int64_t offset;
    bool done;
} slot;

typedef struct part {
    char *topic;
    int32_t partition;
    int64_t next; /* see kafka_position */
    int64_t done;
    int64_t committed; /* acknowledged by the group; -1 none */
    slot *slots;       /* ascending offsets, [head, tail) in use */
    size_t head, tail, cap;
    bool at_end, paused;
} part;

typedef enum revoke_state { REVOKE_NONE, REVOKE_HELD, REVOKE_COMMITTING } revoke_state;

struct kafka_source {
    uv_loop_t *loop;
    kafka_source_options o;
    char *group;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue, *close_queue;
    kafka__wake wake;
    uv_timer_t tick;
    int handles; /* uv handles not closed yet */

    part *parts;
    size_t part_count, last; /* last: where the search begins */
    bool all_paused, draining;

    uint64_t epoch; /* of the assignment: an answer to an older question is dropped */
    rd_kafka_topic_partition_list_t *assigning; /* waits for committed offsets */
    bool looking_up;
    uint64_t lookup_at; /* when to ask again */
    int works;          /* workers that use rk */

    revoke_state revoke;
    bool hold_asked;
    uint64_t revoke_until;

    uintptr_t commit_number; /* of the newest commit; also its opaque */
    bool committing;
    uint64_t commit_at, commit_since;

    bool closing, closed, destroyed;
    uint64_t close_until;
    void (*on_closed)(void *ctx);
    void *close_ctx;
};

/* ---- reporting ---- */

static void source_error(kafka_source *s, const kafka_error *e)
{
    if (s->o.on_error != NULL)
        s->o.on_error(s->o.ctx, e);
}

static void source_fail(kafka_source *s, rd_kafka_resp_err_t code, const char *text, bool fatal)
{
    kafka_error e = kafka__error(code, text);
    e.fatal = fatal;
    source_error(s, &e);
}

static void source_nomem(kafka_source *s)
{
    kafka_error e = {
        .name = "NOMEM", .text = "out of memory", .partition = -1, .offset = -1, .fatal = true};
    source_error(s, &e);
}

/* ---- partitions ---- */

static part *part_find(kafka_source *s, const char *topic, int32_t partition)
{
    for (size_t n = 0; n < s->part_count; n++) {
        size_t i = (s->last + n) % s->part_count;
        part *p = &s->parts[i];
        if (p->partition == partition && strcmp(p->topic, topic) == 0) {
            s->last = i;
            return p;
        }
    }
    return NULL;
}

static void parts_clear(kafka_source *s)
{
    for (size_t i = 0; i < s->part_count; i++) {
        free(s->parts[i].topic);
        free(s->parts[i].slots);
    }
    free(s->parts);
    s->parts = NULL;
    s->part_count = s->last = 0;
}

static bool parts_set(kafka_source *s, const rd_kafka_topic_partition_list_t *list)
{
    parts_clear(s);
    if (list->cnt == 0)
        return true;
    s->parts = calloc((size_t)list->cnt, sizeof(part));
    if (s->parts == NULL)
        return false;
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *e = &list->elems[i];
        part *p = &s->parts[i];
        s->part_count++;
        *p = (part){.topic = strdup(e->topic),
                    .partition = e->partition,
                    .next = e->offset >= 0 ? e->offset : -1,
                    .done = -1,
                    .committed = -1};
        if (p->topic == NULL)
            return false;
    }
    return true;
}

/* Fills places with the partitions; offset is next, or what was asked for while nothing came.
 * Caller frees. */
static kafka_partition *parts_view(const kafka_source *s)
{
    kafka_partition *v = calloc(s->part_count + 1, sizeof(*v));
    for (size_t i = 0; v != NULL && i < s->part_count; i++)
        v[i] = (kafka_partition){s->parts[i].topic, s->parts[i].partition,
                                 s->parts[i].next >= 0 ? s->parts[i].next : KAFKA_OFFSET_BEGINNING};
    return v;
}

static bool slot_push(part *p, int64_t offset)
{
    if (p->head > 0 && p->head == p->tail)
        p->head = p->tail = 0;
    if (p->tail == p->cap && p->head >= p->cap / 2 && p->head > 0) {
        memmove(p->slots, p->slots + p->head, (p->tail - p->head) * sizeof(slot));
        p->tail -= p->head;
        p->head = 0;
    }
    if (p->tail == p->cap) {
        size_t cap = p->cap != 0 ? p->cap * 2 : 64;
        slot *grown = realloc(p->slots, cap * sizeof(slot));
        if (grown == NULL)
            return false;
        p->slots = grown;
        p->cap = cap;
    }
    p->slots[p->tail++] = (slot){offset, false};
    return true;
}

static slot *slot_find(part *p, int64_t offset)
{
    size_t lo = p->head, hi = p->tail;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (p->slots[mid].offset < offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < p->tail && p->slots[lo].offset == offset ? &p->slots[lo] : NULL;
}

/* ---- commits ---- */

static rd_kafka_topic_partition_list_t *commit_list(const kafka_source *s)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    for (size_t i = 0; i < s->part_count; i++) {
        const part *p = &s->parts[i];
        if (p->done < 0 || p->done == p->committed)
            continue;
        if (list == NULL)
            list = rd_kafka_topic_partition_list_new((int)s->part_count);
        rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = p->done;
    }
    return list;
}

/* Starts a commit of what is done; false when there is nothing to commit. */
static bool commit_start(kafka_source *s)
{
    rd_kafka_topic_partition_list_t *list = commit_list(s);
    if (list == NULL)
        return false;
    rd_kafka_queue_t *q = s->close_queue != NULL ? s->close_queue : s->queue;
    s->commit_number++;
    rd_kafka_resp_err_t err = rd_kafka_commit_queue(
        s->rk, list, q, NULL, (void *)s->commit_number); /* NOLINT(performance-no-int-to-ptr) */
    rd_kafka_topic_partition_list_destroy(list);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_error e = kafka__error(err, NULL);
        if (s->o.on_commit != NULL)
            s->o.on_commit(s->o.ctx, &e);
        return false;
    }
    s->committing = true;
    s->commit_since = uv_now(s->loop);
    return true;
}

/* Notes what the group acknowledged; answers the first error among the partitions. */
static rd_kafka_resp_err_t commit_note(kafka_source *s, const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_resp_err_t first = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; list != NULL && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *e = &list->elems[i];
        part *p = part_find(s, e->topic, e->partition);
        if (e->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            first = first != RD_KAFKA_RESP_ERR_NO_ERROR ? first : e->err;
        else if (p != NULL && e->offset > p->committed)
            p->committed = e->offset;
    }
    return first;
}

static void revoke_finish(kafka_source *s);

static void source_commit_event(kafka_source *s, rd_kafka_event_t *ev)
{
    rd_kafka_resp_err_t err = rd_kafka_event_error(ev);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
        err = commit_note(s, rd_kafka_event_topic_partition_list(ev));
    bool newest = (uintptr_t)rd_kafka_event_opaque(ev) == s->commit_number;
    if (newest)
        s->committing = false;
    if (s->o.on_commit != NULL) {
        kafka_error e = kafka__error(err, NULL);
        s->o.on_commit(s->o.ctx, err != RD_KAFKA_RESP_ERR_NO_ERROR ? &e : NULL);
    }
    if (newest && s->revoke == REVOKE_COMMITTING)
        revoke_finish(s);
}

/* ---- rebalance: partitions go ---- */

static void assignment_clear(kafka_source *s)
{
    rd_kafka_resp_err_t err = rd_kafka_assign(s->rk, NULL);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR && !s->closing)
        source_fail(s, err, NULL, true);
}

static void revoke_finish(kafka_source *s)
{
    s->revoke = REVOKE_NONE;
    parts_clear(s);
    assignment_clear(s);
}

static void revoke_commit(kafka_source *s)
{
    s->revoke = REVOKE_COMMITTING;
    s->revoke_until = uv_now(s->loop) + COMMIT_WAIT_MS;
    if (!commit_start(s))
        revoke_finish(s);
}

static void assigning_drop(kafka_source *s)
{
    s->epoch++;
    if (s->assigning != NULL)
        rd_kafka_topic_partition_list_destroy(s->assigning);
    s->assigning = NULL;
    s->lookup_at = 0;
}

static void source_revoke(kafka_source *s)
{
    bool lost = rd_kafka_assignment_lost(s->rk) != 0;
    assigning_drop(s);
    s->hold_asked = false;
    if (s->part_count > 0 && s->o.on_revoke != NULL && s->o.mode != KAFKA_SOURCE_READER) {
        kafka_partition *view = parts_view(s);
        if (view == NULL)
            source_nomem(s);
        else
            s->o.on_revoke(s->o.ctx, view, s->part_count, lost);
        free(view);
    }
    if (lost || s->part_count == 0) {
        revoke_finish(s);
    } else if (s->hold_asked) {
        s->revoke = REVOKE_HELD;
        s->revoke_until = uv_now(s->loop) + REVOKE_HOLD_MS;
    } else {
        revoke_commit(s);
    }
}

/* ---- rebalance: partitions come ---- */

static void assign_finish(kafka_source *s)
{
    rd_kafka_topic_partition_list_t *list = s->assigning;
    s->assigning = NULL;
    rd_kafka_resp_err_t err = rd_kafka_assign(s->rk, list);
    if (err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        source_fail(s, err, NULL, true);
    } else if (!parts_set(s, list)) {
        parts_clear(s);
        source_nomem(s);
    } else {
        if (s->all_paused)
            (void)rd_kafka_pause_partitions(s->rk, list);
        kafka_partition *view = calloc((size_t)list->cnt + 1, sizeof(*view));
        for (int i = 0; view != NULL && i < list->cnt; i++)
            view[i] = (kafka_partition){list->elems[i].topic, list->elems[i].partition,
                                        list->elems[i].offset};
        if (view == NULL)
            source_nomem(s);
        else if (s->o.on_assigned != NULL)
            s->o.on_assigned(s->o.ctx, view, (size_t)list->cnt);
        free(view);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

typedef struct lookup {
    uv_work_t work;
    kafka_source *source;
    uint64_t epoch;
    rd_kafka_topic_partition_list_t *list;
    rd_kafka_resp_err_t err;
} lookup;

static void source_close_step(kafka_source *s);

static void lookup_run(uv_work_t *w)
{
    lookup *l = w->data;
    l->err = rd_kafka_committed(l->source->rk, l->list, LOOKUP_TIMEOUT_MS);
    for (int i = 0; l->err == RD_KAFKA_RESP_ERR_NO_ERROR && i < l->list->cnt; i++)
        l->err = l->list->elems[i].err;
}

/* The offsets that were looked up go into the waiting assignment; none committed means the
 * beginning. */
static void lookup_apply(kafka_source *s, const rd_kafka_topic_partition_list_t *found)
{
    for (int i = 0; i < found->cnt; i++) {
        const rd_kafka_topic_partition_t *f = &found->elems[i];
        rd_kafka_topic_partition_t *e =
            rd_kafka_topic_partition_list_find(s->assigning, f->topic, f->partition);
        if (e != NULL)
            e->offset = f->offset >= 0 ? f->offset : RD_KAFKA_OFFSET_BEGINNING;
    }
}

static void lookup_done(uv_work_t *w, int status)
{
    lookup *l = w->data;
    kafka_source *s = l->source;
    s->works--;
    s->looking_up = false;
    if (s->assigning == NULL || s->closing) {
        /* answered otherwise meanwhile */
    } else if (l->epoch != s->epoch) {
        s->lookup_at = uv_now(s->loop); /* a newer assignment waits for its own */
    } else if (status == 0 && l->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        lookup_apply(s, l->list);
        assign_finish(s);
    } else {
        source_fail(s, l->err, "the group's committed offsets cannot be read; asking again", false);
        s->lookup_at = uv_now(s->loop) + LOOKUP_PAUSE_MS;
    }
    rd_kafka_topic_partition_list_destroy(l->list);
    free(l);
    if (s->closing)
        source_close_step(s);
}

static void lookup_start(kafka_source *s)
{
    s->lookup_at = 0;
    if (s->looking_up) /* the running one sees that its epoch is over and asks again */
        return;
    lookup *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        source_nomem(s);
        return;
    }
    *l = (lookup){.source = s, .epoch = s->epoch};
    l->work.data = l;
    l->list = rd_kafka_topic_partition_list_new(s->assigning->cnt);
    for (int i = 0; i < s->assigning->cnt; i++) {
        const rd_kafka_topic_partition_t *e = &s->assigning->elems[i];
        if (e->offset == RD_KAFKA_OFFSET_INVALID)
            rd_kafka_topic_partition_list_add(l->list, e->topic, e->partition);
    }
    s->looking_up = true;
    s->works++;
    uv_queue_work(s->loop, &l->work, lookup_run, lookup_done);
}

/* RD_KAFKA_OFFSET_INVALID stands for "as committed" until it is looked up. */
static int64_t start_offset(kafka_source *s, const char *topic, int32_t partition)
{
    int64_t at = s->o.on_assign != NULL ? s->o.on_assign(s->o.ctx, topic, partition)
                                        : KAFKA_OFFSET_COMMITTED;
    if (at >= 0)
        return at;
    if (at == KAFKA_OFFSET_BEGINNING)
        return RD_KAFKA_OFFSET_BEGINNING;
    return at == KAFKA_OFFSET_END ? RD_KAFKA_OFFSET_END : RD_KAFKA_OFFSET_INVALID;
}

static void source_assigned(kafka_source *s, const rd_kafka_topic_partition_list_t *list)
{
    bool ask = false;
    assigning_drop(s);
    s->assigning = rd_kafka_topic_partition_list_copy(list);
    for (int i = 0; i < s->assigning->cnt; i++) {
        rd_kafka_topic_partition_t *e = &s->assigning->elems[i];
        e->offset = start_offset(s, e->topic, e->partition);
        ask = ask || e->offset == RD_KAFKA_OFFSET_INVALID;
    }
    if (ask)
        lookup_start(s);
    else
        assign_finish(s);
}

static void source_rebalance(kafka_source *s, rd_kafka_event_t *ev)
{
    rd_kafka_resp_err_t what = rd_kafka_event_error(ev);
    if (what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS && !s->closing) {
        source_assigned(s, rd_kafka_event_topic_partition_list(ev));
    } else if (what == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
        source_revoke(s);
    } else {
        if (what != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
            source_fail(s, what, "rebalance failed", false);
        assigning_drop(s);
        revoke_finish(s);
    }
}

/* ---- events ---- */

static void source_message(kafka_source *s, rd_kafka_event_t *ev)
{
    const rd_kafka_message_t *m = rd_kafka_event_message_next(ev);
    if (m == NULL || s->closing || s->revoke == REVOKE_COMMITTING)
        return;
    const char *topic = rd_kafka_topic_name(m->rkt);
    part *p = part_find(s, topic, m->partition);
    if (p == NULL)
        return;
    if (m->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kafka_error e = kafka__error(m->err, rd_kafka_message_errstr(m));
        e.topic = topic;
        e.partition = m->partition;
        e.offset = m->offset;
        source_error(s, &e);
        return;
    }
    if (p->next >= 0 && m->offset < p->next)
        return; /* librdkafka went back (seen after resume before 2.4): it was delivered already */
    if (s->o.mode == KAFKA_SOURCE_GROUP && !slot_push(p, m->offset)) {
        source_nomem(s);
        return;
    }
    p->next = m->offset + 1;
    rd_kafka_timestamp_type_t type;
    int64_t when = rd_kafka_message_timestamp(m, &type);
    conn_message out = {
        .origin = {.topic = p->topic,
                   .partition = m->partition,
                   .offset = m->offset,
                   .timestamp_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? -1 : when},
        .key = {m->key, m->key != NULL ? m->key_len : 0},
        .value = {m->payload, m->payload != NULL ? m->len : 0},
        .native = (void *)m};
    s->o.on_message(s->o.ctx, &out);
}

static void source_end(kafka_source *s, const rd_kafka_topic_partition_t *at)
{
    part *p = at != NULL ? part_find(s, at->topic, at->partition) : NULL;
    if (p == NULL || s->closing)
        return;
    p->at_end = true;
    if (at->offset > p->next)
        p->next = at->offset;
    if (s->o.on_end != NULL)
        s->o.on_end(s->o.ctx, p->topic, p->partition, p->next);
}

static void source_error_event(kafka_source *s, rd_kafka_event_t *ev)
{
    rd_kafka_resp_err_t code = rd_kafka_event_error(ev);
    rd_kafka_topic_partition_t *at = rd_kafka_event_topic_partition(ev);
    if (code == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        source_end(s, at);
        goto out;
    }
    char fatal_text[512];
    kafka_error e = kafka__error(code, rd_kafka_event_error_string(ev));
    if (at != NULL) {
        e.topic = at->topic;
        e.partition = at->partition;
        e.offset = at->offset >= 0 ? at->offset : -1;
    }
    /* A position that the brokers do not have: the partition stands still until a person decides.
     */
    e.fatal = code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || kafka__lacks_thread(code);
    if (code == RD_KAFKA_RESP_ERR__FATAL || rd_kafka_event_error_is_fatal(ev)) {
        rd_kafka_resp_err_t cause = rd_kafka_fatal_error(s->rk, fatal_text, sizeof(fatal_text));
        e.fatal = true;
        if (cause != RD_KAFKA_RESP_ERR_NO_ERROR) {
            e.code = cause;
            e.name = rd_kafka_err2name(cause);
            e.text = fatal_text;
        }
    }
    source_error(s, &e);
out:
    if (at != NULL)
        rd_kafka_topic_partition_destroy(at);
}

static void source_event(kafka_source *s, rd_kafka_event_t *ev)
{
    switch (rd_kafka_event_type(ev)) {
    case RD_KAFKA_EVENT_FETCH: source_message(s, ev); break;
    case RD_KAFKA_EVENT_REBALANCE: source_rebalance(s, ev); break;
    case RD_KAFKA_EVENT_OFFSET_COMMIT: source_commit_event(s, ev); break;
    case RD_KAFKA_EVENT_ERROR: source_error_event(s, ev); break;
    case RD_KAFKA_EVENT_LOG: kafka__log_event(ev, s->o.on_log, s->o.ctx); break;
    default: break;
    }
}

void kafka_source_drain(kafka_source *s)
{
    if (s->closed || s->draining)
        return;
    s->draining = true;
    kafka__wake_read(&s->wake);
    int n = 0;
    for (; n < s->o.drain_limit; n++) {
        rd_kafka_event_t *ev =
            rd_kafka_queue_poll(s->close_queue != NULL ? s->close_queue : s->queue, 0);
        if (ev == NULL)
            break;
        source_event(s, ev);
        rd_kafka_event_destroy(ev);
    }
    if (n == s->o.drain_limit)
        kafka__wake_again(&s->wake);
    s->draining = false;
    if (s->closing)
        source_close_step(s);
}

static void source_wake(uv_poll_t *h, int status, int events)
{
    (void)status;
    (void)events;
    kafka_source_drain(h->data);
}

static void source_tick(uv_timer_t *t)
{
    kafka_source *s = t->data;
    const uint64_t now = uv_now(s->loop);
    kafka_source_drain(s);
    if (s->closed)
        return;
    if (s->revoke == REVOKE_HELD && now >= s->revoke_until)
        revoke_commit(s);
    else if (s->revoke == REVOKE_COMMITTING && now >= s->revoke_until)
        revoke_finish(s);
    if (s->lookup_at != 0 && now >= s->lookup_at && s->assigning != NULL && !s->closing)
        lookup_start(s);
    if (s->committing && now >= s->commit_since + COMMIT_STUCK_MS)
        s->committing = false;
    if (now >= s->commit_at && s->o.mode != KAFKA_SOURCE_READER && s->revoke == REVOKE_NONE &&
        !s->closing) {
        s->commit_at = now + (uint64_t)s->o.commit_interval_ms;
        if (!s->committing)
            (void)commit_start(s);
    }
    if (s->closing)
        source_close_step(s);
}

/* ---- closing ---- */

static void source_free(kafka_source *s)
{
    if (s == NULL)
        return;
    parts_clear(s);
    assigning_drop(s);
    free(s->group);
    free(s);
}

static void source_gone(kafka_source *s)
{
    void (*on_closed)(void *) = s->on_closed;
    void *ctx = s->close_ctx;
    source_free(s);
    if (on_closed != NULL)
        on_closed(ctx);
}

static void source_handle_closed(uv_handle_t *h)
{
    kafka_source *s = h->data;
    if (h == (uv_handle_t *)&s->wake.poll)
        close(s->wake.fd);
    if (--s->handles == 0)
        source_gone(s);
}

static void source_destroyed(void *ctx)
{
    kafka_source *s = ctx;
    uv_close((uv_handle_t *)&s->wake.poll, source_handle_closed);
    uv_close((uv_handle_t *)&s->tick, source_handle_closed);
}

/* Goes on when the group is left (or the time is over) and no worker uses the handle. */
static void source_close_step(kafka_source *s)
{
    if (s->closed || s->draining)
        return;
    const uint64_t now = uv_now(s->loop);
    bool left = s->close_queue == NULL || rd_kafka_consumer_closed(s->rk);
    if ((!left && now < s->close_until) || s->works > 0)
        return;
    s->closed = true;
    parts_clear(s);
    uv_timer_stop(&s->tick);
    uv_poll_stop(&s->wake.poll);
    kafka__wake_unwatch(s->queue);
    if (s->close_queue != NULL) {
        kafka__wake_unwatch(s->close_queue);
        rd_kafka_queue_destroy(s->close_queue);
    }
    rd_kafka_queue_destroy(s->queue);
    kafka__destroy(s->loop, s->rk, now < s->close_until ? s->close_until - now : 0,
                   source_destroyed, s);
}

void kafka_source_close(kafka_source *s, int timeout_ms, void (*on_closed)(void *ctx), void *ctx)
{
    if (s == NULL) {
        if (on_closed != NULL)
            on_closed(ctx);
        return;
    }
    if (s->closing)
        return;
    s->on_closed = on_closed;
    s->close_ctx = ctx;
    s->close_until = uv_now(s->loop) + (uint64_t)(timeout_ms > 0 ? timeout_ms : 5000);
    /* What comes now (the last revoke, the last commit's answer) arrives on a queue of its own. */
    s->close_queue = rd_kafka_queue_new(s->rk);
    kafka__wake_watch(&s->wake, s->close_queue);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(s->rk, s->close_queue);
    s->closing = true;
    if (error != NULL) { /* a fatal error came before: there is no group to leave */
        rd_kafka_error_destroy(error);
        kafka__wake_unwatch(s->close_queue);
        rd_kafka_queue_destroy(s->close_queue);
        s->close_queue = NULL;
    }
    if (s->assigning != NULL) { /* librdkafka waits for the answer to its last assignment */
        assigning_drop(s);
        assignment_clear(s);
    }
    uv_timer_start(&s->tick, source_tick, 0, CLOSING_TICK_MS);
}

/* ---- making one ---- */

static og_status source_subscribe(kafka_source *s, og_error *err)
{
    if (s->o.mode == KAFKA_SOURCE_READER)
        return OG_OK;
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)s->o.topic_count);
    for (size_t i = 0; i < s->o.topic_count; i++)
        rd_kafka_topic_partition_list_add(list, s->o.topics[i], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t rc = rd_kafka_subscribe(s->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR)
        return og_fail(err, OG_INVALID, "Kafka subscription: %s", rd_kafka_err2str(rc));
    return OG_OK;
}

static og_status source_handle(kafka_source *s, og_error *err)
{
    const char *const extra[] = {"group.id", s->group, NULL};
    rd_kafka_conf_t *conf;
    og_status st = kafka__conf_new(true, s->o.properties, s->o.property_count, extra, &conf, err);
    if (st != OG_OK)
        return st;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_FETCH | RD_KAFKA_EVENT_REBALANCE |
                                       RD_KAFKA_EVENT_OFFSET_COMMIT | RD_KAFKA_EVENT_ERROR |
                                       RD_KAFKA_EVENT_LOG);
    st = kafka__handle_new(RD_KAFKA_CONSUMER, conf, &s->rk, err);
    if (st != OG_OK)
        return st;
    rd_kafka_set_log_queue(s->rk, NULL);
    rd_kafka_poll_set_consumer(s->rk); /* errors and logs on the same queue as messages */
    return OG_OK;
}

static og_status source_options_check(const kafka_source_options *o, og_error *err)
{
    if (o->group == NULL || *o->group == '\0')
        return og_fail(err, OG_INVALID, "a Kafka source needs a group name");
    if (o->mode != KAFKA_SOURCE_READER && o->topic_count == 0)
        return og_fail(err, OG_INVALID, "a Kafka source needs a topic");
    for (size_t i = 0; i < o->topic_count; i++) {
        if (o->topics[i] == NULL || *o->topics[i] == '\0')
            return og_fail(err, OG_INVALID, "a Kafka source has a topic without a name");
    }
    return OG_OK;
}

og_status kafka_source_new(uv_loop_t *loop, const kafka_source_options *options, kafka_source **ret,
                           og_error *err)
{
    og_status st = source_options_check(options, err);
    if (st != OG_OK)
        return st;
    kafka_source *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    s->loop = loop;
    s->o = *options;
    s->o.commit_interval_ms = options->commit_interval_ms > 0 ? options->commit_interval_ms : 1000;
    s->o.drain_limit = options->drain_limit > 0 ? options->drain_limit : 1000;
    s->group = strdup(options->group);
    if (s->group == NULL) {
        st = og_fail(err, OG_NOMEM, "out of memory");
        goto fail;
    }
    st = source_handle(s, err);
    if (st != OG_OK)
        goto fail;
    st = kafka__wake_start(&s->wake, loop, source_wake, err);
    if (st != OG_OK)
        goto fail;
    s->wake.poll.data = s;
    s->queue = rd_kafka_queue_get_consumer(s->rk);
    kafka__wake_watch(&s->wake, s->queue);
    uv_timer_init(loop, &s->tick);
    s->tick.data = s;
    s->handles = 2;
    int tick = s->o.commit_interval_ms < TICK_MS ? s->o.commit_interval_ms : TICK_MS;
    uv_timer_start(&s->tick, source_tick, (uint64_t)tick, (uint64_t)tick);
    st = source_subscribe(s, err);
    /* Only valid during this call. */
    s->o.topics = NULL;
    s->o.properties = NULL;
    s->o.group = s->group;
    if (st != OG_OK) {
        kafka_source_close(s, 0, NULL, NULL);
        return st;
    }
    kafka__wake_again(&s->wake); /* something may have come before the queue was watched */
    *ret = s;
    return OG_OK;
fail:
    if (s->rk != NULL)
        rd_kafka_destroy_flags(s->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    source_free(s);
    return st;
}

/* ---- what the caller says ---- */

bool kafka_source_done(kafka_source *s, const char *topic, int32_t partition, int64_t offset)
{
    part *p = part_find(s, topic, partition);
    slot *at = p != NULL ? slot_find(p, offset) : NULL;
    if (at == NULL)
        return false;
    at->done = true;
    while (p->head < p->tail && p->slots[p->head].done)
        p->done = p->slots[p->head++].offset + 1;
    return true;
}

bool kafka_source_commit(kafka_source *s, const char *topic, int32_t partition, int64_t next_offset)
{
    part *p = s->o.mode == KAFKA_SOURCE_STORE ? part_find(s, topic, partition) : NULL;
    if (p == NULL)
        return false;
    if (next_offset > p->done)
        p->done = next_offset;
    return true;
}

void kafka_source_hold_revoke(kafka_source *s)
{
    s->hold_asked = true;
}

void kafka_source_release_revoke(kafka_source *s)
{
    s->hold_asked = false; /* also from inside on_revoke */
    if (s->revoke == REVOKE_HELD)
        revoke_commit(s);
}

og_status kafka_source_assign(kafka_source *s, const kafka_partition *partitions, size_t count,
                              og_error *err)
{
    if (s->o.mode != KAFKA_SOURCE_READER)
        return og_fail(err, OG_INVALID, "only a reader is told what to read");
    if (s->closing)
        return og_fail(err, OG_INVALID, "the reader is closing");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    og_status st = OG_OK;
    for (size_t i = 0; i < count; i++) {
        const kafka_partition *p = &partitions[i];
        if (p->offset < 0 && p->offset != KAFKA_OFFSET_BEGINNING && p->offset != KAFKA_OFFSET_END) {
            st = og_fail(err, OG_INVALID,
                         "a reader has no committed offset to start %s[%" PRId32 "] from", p->topic,
                         p->partition);
            goto out;
        }
        rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = p->offset;
    }
    rd_kafka_resp_err_t rc = rd_kafka_assign(s->rk, list);
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR) {
        st = og_fail(err, OG_INVALID, "Kafka assignment: %s", rd_kafka_err2str(rc));
        goto out;
    }
    if (!parts_set(s, list)) {
        parts_clear(s);
        st = og_fail(err, OG_NOMEM, "out of memory");
        goto out;
    }
    if (s->all_paused)
        (void)rd_kafka_pause_partitions(s->rk, list);
out:
    rd_kafka_topic_partition_list_destroy(list);
    return st;
}

/* Pauses or resumes those of the partitions whose state changes. */
static void flow_set(kafka_source *s, const char *topic, int32_t partition, bool pause)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    bool was_all = s->all_paused;
    if (topic == NULL)
        s->all_paused = pause;
    for (size_t i = 0; i < s->part_count; i++) {
        part *p = &s->parts[i];
        if (topic != NULL && (p->partition != partition || strcmp(p->topic, topic) != 0))
            continue;
        bool before = p->paused || was_all;
        if (topic != NULL)
            p->paused = pause;
        bool after = p->paused || s->all_paused;
        if (before != after)
            rd_kafka_topic_partition_list_add(list, p->topic, p->partition);
    }
    if (list->cnt > 0) {
        if (pause)
            (void)rd_kafka_pause_partitions(s->rk, list);
        else
            (void)rd_kafka_resume_partitions(s->rk, list);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

void kafka_source_pause(kafka_source *s, const char *topic, int32_t partition)
{
    if (!s->closing)
        flow_set(s, topic, partition, true);
}

void kafka_source_resume(kafka_source *s, const char *topic, int32_t partition)
{
    if (!s->closing)
        flow_set(s, topic, partition, false);
}

/* ---- what the caller asks ---- */

static kafka_position part_position(kafka_source *s, const part *p)
{
    int64_t low = -1, high = -1;
    if (rd_kafka_get_watermark_offsets(s->rk, p->topic, p->partition, &low, &high) !=
        RD_KAFKA_RESP_ERR_NO_ERROR)
        low = high = -1;
    if (p->next < 0) /* what the library remembers is of an earlier assignment */
        high = -1;
    return (kafka_position){.topic = p->topic,
                            .partition = p->partition,
                            .next = p->next,
                            .done = p->done,
                            .committed = p->committed,
                            .high = high >= 0 ? high : -1,
                            .low = low >= 0 ? low : -1,
                            .waiting = p->tail - p->head,
                            .at_end = p->at_end,
                            .paused = p->paused || s->all_paused};
}

size_t kafka_source_positions(kafka_source *s, kafka_position *out, size_t max)
{
    if (s->closed)
        return 0;
    for (size_t i = 0; i < s->part_count && i < max; i++)
        out[i] = part_position(s, &s->parts[i]);
    return s->part_count;
}

int64_t kafka_source_lag(kafka_source *s)
{
    int64_t lag = 0;
    for (size_t i = 0; !s->closed && i < s->part_count; i++) {
        kafka_position p = part_position(s, &s->parts[i]);
        int64_t from = p.next >= 0 ? p.next : p.low;
        if (p.at_end && p.high < 0)
            continue;
        if (from < 0 || p.high < 0)
            return -1;
        lag += p.high > from ? p.high - from : 0;
    }
    return lag;
}

typedef struct query {
    uv_work_t work;
    kafka_source *source;
    char *topic;
    int32_t partition;
    int timeout_ms;
    int64_t low, high;
    rd_kafka_resp_err_t err;
    kafka_watermarks_fn *cb;
    void *ctx;
} query;

static void query_run(uv_work_t *w)
{
    query *q = w->data;
    q->err = rd_kafka_query_watermark_offsets(q->source->rk, q->topic, q->partition, &q->low,
                                              &q->high, q->timeout_ms);
}

static void query_done(uv_work_t *w, int status)
{
    query *q = w->data;
    kafka_source *s = q->source;
    if (status != 0)
        q->err = RD_KAFKA_RESP_ERR__DESTROY;
    s->works--;
    kafka_error e = kafka__error(q->err, NULL);
    e.topic = q->topic;
    e.partition = q->partition;
    q->cb(q->ctx, q->topic, q->partition, q->low, q->high,
          q->err != RD_KAFKA_RESP_ERR_NO_ERROR ? &e : NULL);
    free(q->topic);
    free(q);
    if (s->closing)
        source_close_step(s);
}

og_status kafka_source_query(kafka_source *s, const char *topic, int32_t partition, int timeout_ms,
                             kafka_watermarks_fn *cb, void *ctx, og_error *err)
{
    if (s->closing)
        return og_fail(err, OG_INVALID, "the source is closing");
    query *q = calloc(1, sizeof(*q));
    char *name = strdup(topic);
    if (q == NULL || name == NULL) {
        free(q);
        free(name);
        return og_fail(err, OG_NOMEM, "out of memory");
    }
    *q = (query){.source = s,
                 .topic = name,
                 .partition = partition,
                 .low = -1,
                 .high = -1,
                 .cb = cb,
                 .ctx = ctx};
    q->timeout_ms = timeout_ms > 0 && timeout_ms < QUERY_MAX_MS ? timeout_ms : QUERY_MAX_MS;
    q->work.data = q;
    s->works++;
    uv_queue_work(s->loop, &q->work, query_run, query_done);
    return OG_OK;
}

typedef struct ends {
    uv_work_t work;
    kafka_source *source;
    rd_kafka_topic_partition_list_t *list;
    int timeout_ms;
    rd_kafka_resp_err_t err;
    kafka_ends_fn *cb;
    void *ctx;
    int64_t at[]; /* of each partition of the list */
} ends;

static void ends_run(uv_work_t *w)
{
    ends *q = w->data;
    q->err = rd_kafka_offsets_for_times(q->source->rk, q->list, q->timeout_ms);
}

/* The first partition whose end nobody told; NULL: there is none. */
static const rd_kafka_topic_partition_t *ends_take(ends *q)
{
    for (int i = 0; i < q->list->cnt; i++) {
        const rd_kafka_topic_partition_t *p = &q->list->elems[i];
        q->at[i] = p->offset;
        if (p->offset < 0 || p->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return p;
    }
    return NULL;
}

static void ends_done(uv_work_t *w, int status)
{
    ends *q = w->data;
    kafka_source *s = q->source;
    const rd_kafka_topic_partition_t *missing = NULL; /* when it is known which */
    rd_kafka_resp_err_t err = status != 0 ? RD_KAFKA_RESP_ERR__DESTROY : q->err;
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR && (missing = ends_take(q)) != NULL)
        err = missing->err != RD_KAFKA_RESP_ERR_NO_ERROR ? missing->err
                                                         : RD_KAFKA_RESP_ERR__NO_OFFSET;
    s->works--;
    kafka_error e = kafka__error(err, NULL);
    if (missing != NULL) {
        e.topic = missing->topic;
        e.partition = missing->partition;
    }
    q->cb(q->ctx, q->at, (size_t)q->list->cnt, err != RD_KAFKA_RESP_ERR_NO_ERROR ? &e : NULL);
    rd_kafka_topic_partition_list_destroy(q->list);
    free(q);
    if (s->closing)
        source_close_step(s);
}

og_status kafka_source_ends(kafka_source *s, const kafka_partition *partitions, size_t count,
                            int timeout_ms, kafka_ends_fn *cb, void *ctx, og_error *err)
{
    if (s->closing)
        return og_fail(err, OG_INVALID, "the source is closing");
    ends *q = calloc(1, sizeof *q + count * sizeof q->at[0]);
    if (q == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    *q = (ends){.source = s, .cb = cb, .ctx = ctx, .work = {.data = q}};
    q->timeout_ms = timeout_ms > 0 && timeout_ms < QUERY_MAX_MS ? timeout_ms : QUERY_MAX_MS;
    q->list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++)
        rd_kafka_topic_partition_list_add(q->list, partitions[i].topic, partitions[i].partition)
            ->offset = RD_KAFKA_OFFSET_END; /* as a time: Kafka's ListOffsets, the latest */
    s->works++;
    uv_queue_work(s->loop, &q->work, ends_run, ends_done);
    return OG_OK;
}
