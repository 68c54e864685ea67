/* Partitions, their queues, and the lanes in which batches run: one of a partition at a time, and
 * one of the shared topic alone, because all the others read its store. Results are published on
 * the loop thread in `done`: metrics and log first, then deliveries to the outbox. A batch that
 * failed for lack of disk or memory is repeated, with fewer records and after a pause; its messages
 * stay at the head of the queue until they are in the store. */
#include "daemon/owner.h"

#include <stdlib.h>

#include "connectors/kafka.h"
#include "daemon/batch_count.h"
#include "daemon/crash.h"
#include "daemon/grave.h"
#include "daemon/log.h"
#include "daemon/metrics.h"

#define HIGH_BYTES  ((size_t)8 << 20) /* waiting in one partition before it is paused */
#define BATCH_BYTES ((size_t)8 << 20)
#define RETRY_MS    1000
#define MAX_TASKS   64
#define ALL_TASKS   1024 /* where the store is to be read for the outbox, see fill_more */
#define MAX_SAID    100
#define LATE_MS     600000 /* who starts at the same time as we do has not been there before */
#define BATCH_US    2500   /* that a batch takes, more or less: deliveries wait for it */
#define LEAST       8      /* records or patients of a batch, however long it takes */
#define SETTLE_MS   20     /* nobody waits for it to be written back that a delivery was taken */

typedef struct message {
    struct message *next;
    int64_t offset, timestamp_ms;
    size_t key_n, value_n;
    bool has_key, has_value, removal;
    char bytes[];
} message;

typedef struct task {
    struct task *next;
    int64_t since_ms;
    pipeline_task t; /* patient and reason point into bytes */
    char bytes[];
} task;

typedef struct saying { /* of another owner */
    struct saying *next;
    said_message m; /* points into bytes */
    int64_t next_offset, claim;
    char bytes[];
} saying;

typedef struct sent { /* an outgoing record under way, or there */
    int64_t mark;
    og_str row; /* points into bytes */
    bool answered, there;
    char bytes[KV_MAX_KEY + 1];
} sent;

typedef struct part {
    int number;
    store *store;
    struct lane *lane; /* in which a batch of it runs; NULL: none does */
    message *first, **end;
    size_t waiting, waiting_bytes;
    task *first_task, **task_end;
    size_t tasks, urgent; /* urgent: of the tasks */
    saying *first_said, **said_end;
    size_t said_bytes;
    int64_t said_offset, said_claim; /* how far the alerts topic was read; 0: not at all */
    bool said_paused, claimed, settled;
    sent *sents; /* of the outgoing that are under way */
    size_t sent_count, sent_open;
    uint64_t sent_first; /* number of the first of them */
    uint64_t outgoing;   /* that are to be written */
    bool assigned, restored, at_end, paused, woken, damaged;
    int64_t next_offset, end_offset, last_offset; /* last_offset: of the newest that waits */
    int64_t next_due_ms, retry_ms, waiting_since_ms;
    waiting_rest ceasing; /* patients whose events have not ceased */
    owner_sweep sweep;    /* that is under way, or the last one */
    uint64_t dirty, rows;
    bool sweeping, failing, lost;
    bool long_ago, of_late, unread; /* ages of what was read since it was assigned */
    size_t most; /* records of the next batch; halved after a failure for lack of memory */
} part;

typedef struct lane { /* room for a batch */
    owner *owner;
    part *part; /* whose batch runs; NULL: none does */
    uv_work_t work;
    pipeline_batch batch;
    pipeline_message *messages;
    pipeline_task *tasks;
    said_message *said;
    pipeline_sent *sent;
    char after[KV_MAX_KEY]; /* of batch.more */
    int64_t took_us;
} lane;

struct owner {
    owner_options options;
    const plan_content *content;
    part *parts; /* [0] is the shared topic, [n+1] is partition n */
    size_t count, turn;
    lane *lanes;
    size_t lane_count, running;
    bool stopped, resting;
    int64_t record_us, evaluation_us; /* what one costs, a moving mean; 0: not known */
    /* content that waits for its last user */
    const plan_content *old;
    void (*released)(void *ctx, const plan_content *old);
    void *released_ctx;
};

static part *part_of(const owner *o, int partition)
{
    return &o->parts[partition + 1];
}

/* ---- queues ---- */

static void drop_messages(part *p, size_t count)
{
    for (; count > 0 && p->first != NULL; count--) {
        message *m = p->first;
        p->first = m->next;
        p->waiting--;
        p->waiting_bytes -= m->key_n + m->value_n;
        free(m);
    }
    if (p->first == NULL)
        p->end = &p->first;
}

/* What is to be sent, and what was not taken: until that is written back, an alert that ends is
 * withdrawn, for it might have been told. */
static bool is_urgent(const pipeline_task *t)
{
    return !t->settle || t->outcome.verdict != CONN_DONE;
}

static void drop_tasks(part *p, size_t count)
{
    for (; count > 0 && p->first_task != NULL; count--) {
        task *t = p->first_task;
        p->first_task = t->next;
        p->tasks--;
        p->urgent -= is_urgent(&t->t);
        free(t);
    }
    if (p->first_task == NULL)
        p->task_end = &p->first_task;
}

static void drop_said(part *p, size_t count)
{
    for (; count > 0 && p->first_said != NULL; count--) {
        saying *s = p->first_said;
        p->first_said = s->next;
        p->said_bytes -= s->m.key.n + s->m.value.n;
        free(s);
    }
    if (p->first_said == NULL)
        p->said_end = &p->first_said;
}

static void set_said_pause(owner *o, part *p)
{
    bool pause = p->said_bytes > HIGH_BYTES;
    if (p->said_paused == pause || (p->said_paused && p->said_bytes > HIGH_BYTES / 2) ||
        o->options.on_said_pause == NULL)
        return;
    p->said_paused = pause;
    o->options.on_said_pause(o->options.ctx, p->number, pause);
}

static void set_pause(owner *o, part *p)
{
    bool pause = p->waiting_bytes > HIGH_BYTES;
    if (p->paused == pause || (p->paused && p->waiting_bytes > HIGH_BYTES / 2))
        return;
    p->paused = pause;
    o->options.on_pause(o->options.ctx, p->number, pause);
}

/* Whoever lives writes to every partition all the time, and for STORE_KEPT_MS it stays there. */
static void note_age(part *p, int64_t logged_ms)
{
    int64_t age_ms = clock_wall_ms() - logged_ms;
    if (p->restored || p->number == OWNER_SHARED || logged_ms <= 0)
        return;
    p->long_ago |= age_ms > STORE_KEPT_MS;
    p->of_late |= age_ms > LATE_MS && age_ms <= STORE_KEPT_MS;
}

void owner_message(owner *o, int partition, const conn_message *m)
{
    part *p = part_of(o, partition);
    size_t key_n = m->key.p != NULL ? m->key.n : 0, value_n = m->value.p != NULL ? m->value.n : 0;
    message *copy = malloc(sizeof *copy + key_n + value_n);
    if (copy == NULL) { /* a gap in the partition would be a loss: stop, the topic still has it */
        log_error("out of memory while taking a record; the process stops and starts again from "
                  "its store");
        abort();
    }
    *copy = (message){.offset = m->origin.offset,
                      .timestamp_ms = m->origin.timestamp_ms,
                      .key_n = key_n,
                      .value_n = value_n,
                      .has_key = m->key.p != NULL,
                      .has_value = m->value.p != NULL};
    og_str removal;
    copy->removal = !copy->has_value && kafka_message_header(m, GRAVE_HEADER, &removal);
    if (key_n > 0)
        memcpy(copy->bytes, m->key.p, key_n);
    if (value_n > 0)
        memcpy(copy->bytes + key_n, m->value.p, value_n);
    note_age(p, copy->timestamp_ms);
    if (p->first == NULL)
        p->waiting_since_ms = clock_monotonic_ms();
    *p->end = copy;
    p->end = &copy->next;
    p->waiting++;
    p->waiting_bytes += key_n + value_n;
    p->last_offset = m->origin.offset;
    p->at_end = false;
    set_pause(o, p);
}

void owner_said(owner *o, int partition, const said_message *m, int64_t next_offset, int64_t claim)
{
    part *p = part_of(o, partition);
    size_t value_n = m->value.p != NULL ? m->value.n : 0;
    saying *copy = malloc(sizeof *copy + m->key.n + value_n);
    if (copy == NULL) { /* what is not taken over might be said twice */
        log_error("out of memory while taking over what was said; the process stops and starts "
                  "again from its store");
        abort();
    }
    *copy = (saying){.m = *m, .next_offset = next_offset, .claim = claim};
    memcpy(copy->bytes, m->key.p, m->key.n);
    if (value_n > 0)
        memcpy(copy->bytes + m->key.n, m->value.p, value_n);
    copy->m.key.p = copy->bytes;
    if (m->value.p != NULL)
        copy->m.value = (og_str){copy->bytes + m->key.n, value_n};
    owner_said_nothing(o, partition, next_offset, claim); /* once all of it has been taken over */
    *p->said_end = copy;
    p->said_end = &copy->next;
    p->said_bytes += m->key.n + value_n;
    set_said_pause(o, p);
}

void owner_said_nothing(owner *o, int partition, int64_t next_offset, int64_t claim)
{
    part *p = part_of(o, partition);
    p->said_offset = next_offset;
    p->said_claim = claim;
}

/* ---- outgoing ---- */

static bool has_claim(const owner *o, const part *p);

static bool sents_are_answered(const part *p)
{
    return p->sent_count > 0 && p->sent_open == 0;
}

void owner_sent(owner *o, int partition, uint64_t number, bool there)
{
    part *p = part_of(o, partition);
    if (number < p->sent_first || number >= p->sent_first + p->sent_count)
        return; /* of an assignment before */
    sent *s = &p->sents[number - p->sent_first];
    if (s->answered)
        return;
    s->answered = true;
    s->there = there;
    p->sent_open--;
    if (!there)
        p->retry_ms = clock_monotonic_ms() + RETRY_MS;
}

static void forget_sents(part *p)
{
    p->sent_first += p->sent_count;
    p->sent_count = p->sent_open = 0;
}

/* The shared topic is everybody's; the owner of the first partition answers for it. */
static bool may_send(const owner *o, const part *p)
{
    const part *judge = p->number == OWNER_SHARED ? part_of(o, 0) : p;
    return o->options.on_outgoing != NULL && !o->stopped && p->restored && judge->assigned &&
           judge->restored && has_claim(o, judge);
}

static bool has_outgoing(const owner *o, const part *p)
{
    return sents_are_answered(p) || (p->outgoing > 0 && p->sent_count == 0 && may_send(o, p));
}

static void take_outgoing(owner *o, part *p, const pipeline_batch *b)
{
    if (b->sent_count > 0)
        forget_sents(p);
    p->outgoing = b->outgoing_left;
    if (b->outgoing_count == 0)
        return;
    p->sent_count = p->sent_open = b->outgoing_count;
    for (size_t i = 0; i < b->outgoing_count; i++) {
        sent *s = &p->sents[i];
        size_t n = b->outgoing[i].row.n < KV_MAX_KEY ? b->outgoing[i].row.n : KV_MAX_KEY;
        *s = (sent){.mark = b->outgoing[i].mark};
        memcpy(s->bytes, b->outgoing[i].row.p, n);
        s->row = (og_str){s->bytes, n};
    }
    uint64_t first = p->sent_first;
    for (size_t i = 0; i < b->outgoing_count; i++)
        o->options.on_outgoing(o->options.ctx, p->number, first + i, &b->outgoing[i]);
}

bool owner_task(owner *o, int partition, const pipeline_task *t)
{
    part *p = part_of(o, partition);
    const char *reason = t->outcome.reason != NULL ? t->outcome.reason : "";
    size_t reason_n = strlen(reason) + 1;
    task *copy = malloc(sizeof *copy + t->patient.n + reason_n);
    if (copy == NULL)
        return false;
    copy->next = NULL;
    copy->since_ms = clock_monotonic_ms();
    copy->t = *t;
    memcpy(copy->bytes, t->patient.p, t->patient.n);
    memcpy(copy->bytes + t->patient.n, reason, reason_n);
    copy->t.patient = (og_str){copy->bytes, t->patient.n};
    copy->t.outcome.reason = copy->bytes + t->patient.n;
    *p->task_end = copy;
    p->task_end = &copy->next;
    p->tasks++;
    p->urgent += is_urgent(t);
    return true;
}

/* ---- which partition is next ---- */

static void end_restoring(owner *o, part *p)
{
    bool there = p->next_offset >= p->end_offset || (p->at_end && p->first == NULL);
    if (p->restored || !p->assigned || p->store == NULL || !there)
        return;
    p->restored = true;
    p->unread |= p->long_ago && !p->of_late;
    if (p->number == OWNER_SHARED)
        owner_wake_all(o);
    else
        p->woken = true;
}

/* What owners before have said has to be known first. Once the partition is settled nobody says
 * anything but what calls have shown: every batch takes that over before it evaluates. */
static bool has_claim(const owner *o, const part *p)
{
    return o->options.on_settled == NULL || (p->claimed && (p->settled || p->first_said == NULL));
}

static bool may_evaluate(const owner *o, const part *p)
{
    return p->restored && part_of(o, OWNER_SHARED)->restored && has_claim(o, p);
}

static bool has_said(const owner *o, const part *p)
{
    return p->first_said != NULL && !o->stopped && p->assigned;
}

/* What the store has for the outbox; before the partition is settled that is not known. */
static bool wants_more(const owner *o, const part *p, delivery_more *ret)
{
    bool told = o->options.on_settled == NULL || p->settled;
    return o->options.more != NULL && p->number != OWNER_SHARED && !o->stopped && p->assigned &&
           told && o->options.more(o->options.ctx, p->number, ret);
}

static bool has_more(const owner *o, const part *p)
{
    delivery_more more;
    return wants_more(o, p, &more);
}

static bool has_messages(const owner *o, const part *p, int64_t now_ms)
{
    if (p->first == NULL || o->stopped || !p->assigned)
        return false;
    return p->waiting >= p->most || now_ms - p->waiting_since_ms >= o->options.batch_wait_ms ||
           !p->restored;
}

/* When patients of it may be evaluated that no message wakes: 0: now; INT64_MAX: never. */
static int64_t evaluation_at(const owner *o, const part *p)
{
    if (o->stopped || !p->assigned || p->number == OWNER_SHARED || !may_evaluate(o, p))
        return INT64_MAX;
    return p->woken ? 0 : p->ceasing.ripe_ms;
}

/* When its tasks are worked off, if no batch takes them along before. */
static int64_t tasks_at(const owner *o, const part *p)
{
    if (p->first_task == NULL)
        return INT64_MAX;
    bool now = o->stopped || !p->assigned || p->urgent > 0 || p->tasks >= MAX_TASKS;
    return now ? 0 : p->first_task->since_ms + SETTLE_MS;
}

static bool has_work(const owner *o, const part *p, int64_t now_ms)
{
    if (p->store == NULL || p->damaged || p->lane != NULL || p->retry_ms > now_ms)
        return false;
    return tasks_at(o, p) <= now_ms || has_said(o, p) || has_outgoing(o, p) || has_more(o, p) ||
           has_messages(o, p, now_ms) || evaluation_at(o, p) <= now_ms;
}

/* When has_work becomes true for this partition if nothing else happens; 0: it is. */
static int64_t work_at(const owner *o, const part *p)
{
    int64_t at = INT64_MAX;
    if (p->store == NULL || p->damaged || p->lane != NULL)
        return INT64_MAX;
    if (has_said(o, p) || has_outgoing(o, p) || has_more(o, p))
        at = 0;
    else if (has_messages(o, p, INT64_MAX / 2))
        at = has_messages(o, p, p->waiting_since_ms)
                 ? 0
                 : p->waiting_since_ms + o->options.batch_wait_ms;
    if (tasks_at(o, p) < at)
        at = tasks_at(o, p);
    if (evaluation_at(o, p) < at)
        at = evaluation_at(o, p);
    return at > p->retry_ms ? at : p->retry_ms;
}

/* The end of a batch is a turn of the loop as well: whoever waits for one needs no timer. */
static bool has_room(const owner *o)
{
    return !o->resting && o->running < o->lane_count && o->parts[0].lane == NULL;
}

/* The shared topic has work, and has to wait until the batches that run have ended. */
static bool has_to_end(const owner *o, int64_t now_ms)
{
    return o->running > 0 && has_work(o, &o->parts[0], now_ms);
}

int64_t owner_next_ms(const owner *o)
{
    int64_t next = INT64_MAX;
    if (!has_room(o) || has_to_end(o, clock_monotonic_ms()))
        return INT64_MAX;
    for (size_t i = 0; i < o->count; i++) {
        int64_t at = work_at(o, &o->parts[i]);
        next = at < next ? at : next;
    }
    return next;
}

/* ---- the batch ---- */

/* So many that the batch takes BATCH_US: what is on its way to somebody moves on with every batch,
 * and with a long one everything would be begun and nothing finished. */
static size_t at_once(int64_t each_us, size_t most)
{
    size_t n = each_us > 0 ? (size_t)(BATCH_US / each_us) : most;
    n = n > LEAST ? n : LEAST;
    return n < most ? n : most;
}

/* What a record costs beside the evaluation that may follow at once. */
static size_t most_records(const owner *o, const part *p, bool restoring)
{
    const waiting_policy *waiting = &o->options.setup->waiting;
    if (restoring)
        return p->most;
    return at_once(waiting->quiet_ms > 0 ? o->record_us : o->record_us + o->evaluation_us, p->most);
}

static void learn(int64_t *mean, int64_t sum_us, uint64_t count)
{
    if (count == 0 || sum_us < 0)
        return;
    int64_t each = sum_us / (int64_t)count;
    *mean += *mean == 0 ? each : (each - *mean) / 8;
}

static void learn_costs(owner *o, const lane *l)
{
    const pipeline_batch *b = &l->batch;
    int64_t evaluations_us = 0;
    if (b->restoring)
        return;
    for (uint64_t i = 0; i < b->counts.evaluations; i++)
        evaluations_us += b->evaluation_us[i];
    learn(&o->evaluation_us, evaluations_us, b->counts.evaluations);
    learn(&o->record_us, l->took_us - evaluations_us, b->message_count);
}

static void fill_messages(const owner *o, lane *l, const part *p)
{
    pipeline_batch *b = &l->batch;
    size_t bytes = 0, most = most_records(o, p, b->restoring);
    b->message_count = 0;
    b->next_offset = -1;
    if (!has_messages(o, p, INT64_MAX / 2))
        return;
    for (message *m = p->first; m != NULL && b->message_count < most && bytes < BATCH_BYTES;
         m = m->next) {
        pipeline_message *out = &l->messages[b->message_count++];
        *out = (pipeline_message){
            .offset = m->offset, .timestamp_ms = m->timestamp_ms, .removal = m->removal};
        if (m->has_key)
            out->key = (og_str){m->bytes, m->key_n};
        if (m->has_value)
            out->value = (og_str){m->bytes + m->key_n, m->value_n};
        bytes += m->key_n + m->value_n;
        b->next_offset = m->offset + 1;
    }
}

static void fill_tasks(const owner *o, lane *l, const part *p)
{
    size_t most = has_more(o, p) ? ALL_TASKS : MAX_TASKS;
    l->batch.task_count = 0;
    for (const task *t = p->first_task; t != NULL && l->batch.task_count < most; t = t->next)
        l->tasks[l->batch.task_count++] = t->t;
}

/* Not while tasks are left: what became of a delivery is to be in its row before that is read. */
static void fill_more(const owner *o, lane *l, const part *p)
{
    pipeline_batch *b = &l->batch;
    delivery_more more;
    b->more = (delivery_more){.patients = 0};
    if (p->tasks > b->task_count || p->failing || !wants_more(o, p, &more) ||
        more.after.n > sizeof l->after)
        return;
    if (more.after.n > 0)
        memcpy(l->after, more.after.p, more.after.n);
    more.after.p = l->after;
    b->more = more;
}

/* Also how far the topic was read without a word that matters is noted, with the next batch. */
static void fill_said(const owner *o, lane *l, const part *p)
{
    pipeline_batch *b = &l->batch;
    b->said = l->said;
    b->said_count = 0;
    b->said_offset = p->first_said == NULL ? p->said_offset : 0;
    b->said_claim = p->said_claim;
    if (!has_said(o, p))
        return;
    for (const saying *s = p->first_said; s != NULL && b->said_count < MAX_SAID; s = s->next) {
        l->said[b->said_count++] = s->m;
        b->said_offset = s->next_offset;
        b->said_claim = s->claim;
    }
}

static void fill_sent(const owner *o, lane *l, part *p)
{
    pipeline_batch *b = &l->batch;
    b->sent = l->sent;
    b->sent_count = 0;
    b->send = may_send(o, p) && (p->sent_count == 0 || sents_are_answered(p));
    if (!sents_are_answered(p))
        return;
    for (size_t i = 0; i < p->sent_count; i++)
        if (p->sents[i].there)
            l->sent[b->sent_count++] = (pipeline_sent){p->sents[i].row, p->sents[i].mark};
    if (b->sent_count == 0)
        forget_sents(p); /* none got there: all over again */
}

/* Before the partition is settled what it wants told stays pending: it is read from the store with
 * the rest. */
static size_t room_for(const owner *o, const part *p)
{
    bool told = o->options.on_settled == NULL || p->settled;
    if (o->options.room == NULL || p->number == OWNER_SHARED || !told || p->failing)
        return 0; /* failing: perhaps for memory, and what is prepared takes more */
    return o->options.room(o->options.ctx, p->number);
}

static void work(uv_work_t *w)
{
    lane *l = w->data;
    int64_t began = clock_monotonic_us();
    if (l->part->number == OWNER_SHARED)
        pipeline_run_shared(&l->batch);
    else
        pipeline_run(&l->batch);
    l->took_us = clock_monotonic_us() - began;
}

static void done(uv_work_t *w, int status);

static lane *free_lane(const owner *o)
{
    lane *l = o->lanes;
    while (l->part != NULL)
        l++;
    return l;
}

static void begin(owner *o, part *p)
{
    lane *l = free_lane(o);
    pipeline_batch *b = &l->batch;
    b->setup = o->options.setup;
    b->content = o->content;
    b->store = p->store;
    b->shared = part_of(o, OWNER_SHARED)->store;
    b->messages = l->messages;
    b->tasks = l->tasks;
    b->now_ms = clock_now(o->options.clock);
    b->real_ms = clock_wall_ms();
    b->offset_min = clock_offset_min(b->now_ms);
    b->steady_ms = clock_monotonic_ms();
    b->restoring = !may_evaluate(o, p);
    b->max_patients = at_once(o->evaluation_us, PIPELINE_MAX_PATIENTS);
    fill_messages(o, l, p);
    b->gated = o->options.is_current != NULL && p->number != OWNER_SHARED &&
               (p->waiting > b->message_count || !o->options.is_current(o->options.ctx, p->number));
    b->unread = p->unread;
    b->behind = p->waiting > b->message_count || part_of(o, OWNER_SHARED)->waiting > 0;
    b->losses = (pipeline_losses){.new_ms = b->real_ms};
    if (o->options.losses != NULL && p->number != OWNER_SHARED && !b->restoring)
        b->losses = o->options.losses(o->options.ctx, p->number);
    fill_tasks(o, l, p);
    fill_more(o, l, p);
    fill_said(o, l, p);
    fill_sent(o, l, p);
    b->room = room_for(o, p);
    p->woken = false;
    p->retry_ms = 0;
    l->part = p;
    l->work.data = l;
    int rc = uv_queue_work(o->options.loop, &l->work, work, done);
    if (rc != 0) {
        log_error("cannot start a worker: %s", uv_strerror(rc));
        l->part = NULL;
        p->woken = true;
        p->retry_ms = clock_monotonic_ms() + RETRY_MS;
        return;
    }
    p->lane = l;
    o->running++;
}

void owner_run(owner *o)
{
    int64_t now_ms = clock_monotonic_ms();
    for (size_t i = 0; i < o->count; i++)
        if (o->parts[i].lane == NULL)
            end_restoring(o, &o->parts[i]);
    size_t turn = o->turn;
    for (size_t i = 0; i < o->count && has_room(o); i++) {
        size_t at = (turn + i) % o->count;
        if (!has_work(o, &o->parts[at], now_ms))
            continue;
        if (at == 0 && o->running > 0)
            return;       /* nothing else begins until it had its turn */
        o->turn = at + 1; /* the next one has the next turn */
        begin(o, &o->parts[at]);
    }
}

/* ---- what came of it ---- */

static void follow_sweep(owner *o, part *p, const pipeline_batch *b)
{
    if (!p->sweeping && b->swept_now > 0)
        p->sweep = (owner_sweep){0};
    p->sweeping = b->sweeping;
    if (b->swept_now == 0 && b->swept == 0)
        return;
    metric_add(METRIC_SWEPT, b->swept_now);
    p->sweep.patients = b->swept;
    p->sweep.opened += b->counts.opened;
    p->sweep.changed += b->counts.changed;
    p->sweep.resolved += b->counts.resolved;
    if (!b->sweeping && o->options.on_swept != NULL)
        o->options.on_swept(o->options.ctx, p->number, &p->sweep);
}

static void publish(owner *o, part *p, const lane *l)
{
    const pipeline_batch *b = &l->batch;
    if (b->restoring && b->message_count > 0)
        crash_point(CRASH_CAUGHT_UP);
    if (!b->restoring && b->delivery_count > 0)
        crash_point(CRASH_COMMITTED);
    batch_count(b, p->number == OWNER_SHARED, l->took_us);
    learn_costs(o, l);
    if (b->next_offset >= 0)
        p->next_offset = b->next_offset;
    p->most = o->options.batch_records;
    p->failing = false;
    drop_messages(p, b->message_count);
    drop_tasks(p, b->task_count);
    drop_said(p, b->said_count);
    set_pause(o, p);
    set_said_pause(o, p);
    take_outgoing(o, p, b);
    if (p->number == OWNER_SHARED) {
        if (b->counts.shared_changed > 0)
            owner_wake_all(o);
        return;
    }
    p->next_due_ms = b->next_due_ms;
    p->dirty = b->dirty;
    p->rows = b->rows;
    p->ceasing = b->waiting;
    follow_sweep(o, p, b);
    p->lost = b->lost != PIPELINE_LOST_NOTHING;
    metric_add(METRIC_UNREAD, b->unread);
    p->unread = p->unread && !b->unread;
    if (b->lost && !b->restoring && o->options.on_lost != NULL)
        o->options.on_lost(o->options.ctx, p->number, b->lost, b->lost_since_ms);
    if (b->counts.backfills > 0 && o->options.on_backfill != NULL)
        o->options.on_backfill(o->options.ctx, p->number);
    uint64_t ready = b->dirty - b->waiting.count;
    /* More were due than a batch takes. Who is lost stays due, and is asked about with the tick. */
    bool more_due =
        b->counts.reviews > 0 && !b->lost && b->next_due_ms > 0 && b->next_due_ms <= b->now_ms;
    /* After a batch that only caught up, the first that may evaluate is still to come. */
    if (b->restoring || ready > 0 || b->sweeping || more_due)
        p->woken = true;
    bool told = o->options.on_settled == NULL || p->settled;
    if (!told && !b->restoring && ready == 0 && p->assigned && may_evaluate(o, p)) {
        p->settled = true; /* what this batch wants told is in the store with the rest */
        o->options.on_settled(o->options.ctx, p->number);
    }
    for (size_t i = 0; told && i < b->delivery_count; i++)
        o->options.on_delivery(o->options.ctx, p->number, &b->deliveries[i]);
    if (b->more.patients > 0 && o->options.on_stored != NULL &&
        !o->options.on_stored(o->options.ctx, p->number, b))
        p->retry_ms = clock_monotonic_ms() + RETRY_MS;
    /* What became of a delivery is told before the next intent of its alert: whoever takes over
     * believes the last word. */
    for (size_t i = 0; i < b->saying_count && o->options.on_saying != NULL; i++)
        o->options.on_saying(o->options.ctx, p->number, &b->sayings[i]);
    for (size_t i = 0; i < b->prepared_count; i++)
        o->options.on_prepared(o->options.ctx, p->number, &b->prepared[i]);
}

/* Whose fault is it? A damaged store is rebuilt; for the rest the work is kept and tried again. */
static void failed(owner *o, part *p, const pipeline_batch *b)
{
    if (b->status == OG_CORRUPT) {
        bool shared = p->number != OWNER_SHARED && b->shared_damaged;
        part *broken = shared ? part_of(o, OWNER_SHARED) : p;
        if (!broken->damaged)
            o->options.on_damaged(o->options.ctx, broken->number, &b->error);
        broken->damaged = true;
        if (broken == p)
            return;
    } else {
        log_failure(LOG_LEVEL_ERROR, "a batch failed and will be repeated", &b->error);
    }
    if (b->status == OG_NOMEM && p->most > 1)
        p->most /= 2;
    p->woken = true;
    p->retry_ms = clock_monotonic_ms() + RETRY_MS;
    p->failing = true;
}

static bool is_used(const owner *o, const plan_content *content)
{
    for (size_t i = 0; i < o->lane_count; i++)
        if (o->lanes[i].part != NULL && o->lanes[i].batch.content == content)
            return true;
    return false;
}

static void release_content(owner *o)
{
    const plan_content *old = o->old;
    if (old == NULL || is_used(o, old))
        return;
    void (*released)(void *, const plan_content *) = o->released;
    o->old = NULL;
    o->released = NULL;
    if (released != NULL)
        released(o->released_ctx, old);
}

static void done(uv_work_t *w, int status)
{
    lane *l = w->data;
    owner *o = l->owner;
    part *p = l->part;
    (void)status; /* nobody cancels */
    p->lane = NULL;
    l->part = NULL;
    o->running--;
    if (l->batch.status == OG_OK)
        publish(o, p, l);
    else
        failed(o, p, &l->batch);
    release_content(o);
    end_restoring(o, p);
}

/* ---- life ---- */

void owner_set_store(owner *o, int partition, store *s, int64_t next_offset)
{
    part *p = part_of(o, partition);
    /* What waits belongs behind what the store before held. On another store it would leave a gap
     * that the offset hides for ever, so nothing runs before the partition is assigned anew. */
    drop_messages(p, SIZE_MAX);
    drop_said(p, SIZE_MAX);
    forget_sents(p);
    p->outgoing = 0;
    p->said_offset = p->said_claim = 0;
    p->claimed = p->settled = false;
    p->assigned = p->restored = p->at_end = p->woken = false;
    p->dirty = p->rows = 0;
    p->ceasing = (waiting_rest){.ripe_ms = INT64_MAX, .offset = INT64_MAX};
    p->sweeping = p->lost = p->unread = false;
    p->next_due_ms = 0;
    set_pause(o, p);
    p->store = s;
    p->next_offset = next_offset;
    p->damaged = false;
    p->retry_ms = 0;
}

void owner_set_content(owner *o, const plan_content *content,
                       void (*released)(void *ctx, const plan_content *old), void *ctx)
{
    o->old = o->content;
    o->released = released;
    o->released_ctx = ctx;
    o->content = content;
    owner_wake_all(o);
    release_content(o);
}

void owner_assign(owner *o, int partition, int64_t end_offset)
{
    part *p = part_of(o, partition);
    p->assigned = true;
    p->restored = p->long_ago = p->of_late = false;
    p->at_end = false;
    p->claimed = p->settled = false;
    p->end_offset = end_offset;
    p->woken = true;
}

void owner_set_end(owner *o, int partition, int64_t end_offset)
{
    part *p = part_of(o, partition);
    if (!p->restored && end_offset < p->end_offset)
        p->end_offset = end_offset;
}

void owner_claimed(owner *o, int partition)
{
    part *p = part_of(o, partition);
    p->claimed = true;
    p->woken = true;
}

void owner_unclaim(owner *o, int partition)
{
    part *p = part_of(o, partition);
    p->claimed = p->settled = false;
}

void owner_revoke(owner *o, int partition)
{
    part *p = part_of(o, partition);
    p->assigned = false;
    p->restored = false;
    p->paused = p->said_paused = false;
    p->claimed = p->settled = false;
    p->rows = 0;
    forget_sents(p);
    /* What others said stays: it is read on from there, not again. Of the messages a running batch
     * still holds the first ones. */
    if (p->lane == NULL) {
        drop_messages(p, SIZE_MAX);
    } else {
        message *m = p->first;
        for (size_t i = 1; m != NULL && i < p->lane->batch.message_count; i++)
            m = m->next;
        if (m != NULL && p->lane->batch.message_count > 0) {
            message *rest = m->next;
            m->next = NULL;
            p->end = &m->next;
            while (rest != NULL) {
                message *next = rest->next;
                p->waiting--;
                p->waiting_bytes -= rest->key_n + rest->value_n;
                free(rest);
                rest = next;
            }
        }
    }
}

void owner_end(owner *o, int partition)
{
    part *p = part_of(o, partition);
    p->at_end = true;
    if (p->first != NULL && p->last_offset + 1 < p->end_offset)
        p->end_offset = p->last_offset + 1; /* also while more comes than is ever worked off */
}

void owner_wake(owner *o, int partition)
{
    part_of(o, partition)->woken = true;
}

void owner_wake_all(owner *o)
{
    for (int i = 0; i < o->options.partitions; i++)
        owner_wake(o, i);
}

bool owner_busy(const owner *o)
{
    return o->running > 0;
}

void owner_rest(owner *o, bool rest)
{
    o->resting = rest;
}

void owner_stop(owner *o)
{
    o->stopped = true;
}

bool owner_idle(const owner *o)
{
    if (o->running > 0)
        return false;
    for (size_t i = 0; i < o->count; i++)
        if (has_work(o, &o->parts[i], INT64_MAX / 2))
            return false;
    return true;
}

owner_state owner_get(const owner *o, int partition)
{
    const part *p = part_of(o, partition);
    return (owner_state){.assigned = p->assigned,
                         .restored = p->restored,
                         .claimed = p->claimed,
                         .settled = p->settled,
                         .running = p->lane != NULL || o->parts[0].lane != NULL,
                         .end_offset = p->end_offset,
                         .next_offset = p->next_offset,
                         .next_due_ms = p->next_due_ms,
                         .dirty = p->dirty,
                         .ceasing = p->ceasing.count,
                         .ceasing_offset = p->ceasing.offset,
                         .sweeping = p->sweeping,
                         .swept = p->sweep.patients,
                         .failing = p->failing,
                         .lost = p->lost,
                         .waiting = p->waiting,
                         .tasks = p->tasks,
                         .rows = p->rows};
}

bool owner_restored(const owner *o)
{
    for (size_t i = 0; i < o->count; i++)
        if (o->parts[i].assigned ? !o->parts[i].restored || (i > 0 && !has_claim(o, &o->parts[i]))
                                 : i == 0)
            return false;
    return true;
}

static bool lane_init(lane *l, owner *o)
{
    size_t bytes = o->options.arena_bytes;
    l->owner = o;
    l->messages = calloc(o->options.batch_records, sizeof *l->messages);
    l->tasks = calloc(ALL_TASKS, sizeof *l->tasks);
    l->said = calloc(MAX_SAID, sizeof *l->said);
    l->sent = calloc(PIPELINE_MAX_OUTGOING, sizeof *l->sent);
    l->batch.results = og_arena_new(bytes);
    l->batch.scratch = og_arena_new(bytes);
    l->batch.patient = og_arena_new(o->options.evaluation_bytes);
    return l->messages != NULL && l->tasks != NULL && l->said != NULL && l->sent != NULL &&
           l->batch.results != NULL && l->batch.scratch != NULL && l->batch.patient != NULL;
}

static void lane_done(lane *l)
{
    free(l->messages);
    free(l->tasks);
    free(l->said);
    free(l->sent);
    og_arena_free(l->batch.results);
    og_arena_free(l->batch.scratch);
    og_arena_free(l->batch.patient);
}

static bool part_init(part *p, int number, size_t batch_records)
{
    p->number = number;
    p->end = &p->first;
    p->task_end = &p->first_task;
    p->said_end = &p->first_said;
    p->sents = calloc(PIPELINE_MAX_OUTGOING, sizeof *p->sents);
    p->most = batch_records;
    p->ceasing = (waiting_rest){.ripe_ms = INT64_MAX, .offset = INT64_MAX};
    p->next_offset = -1;
    return p->sents != NULL;
}

owner *owner_new(const owner_options *options, const plan_content *content)
{
    owner *o = calloc(1, sizeof *o);
    if (o == NULL)
        return NULL;
    o->options = *options;
    o->content = content;
    o->count = (size_t)options->partitions + 1;
    o->parts = calloc(o->count, sizeof *o->parts);
    o->lane_count = options->batches > 1 ? (size_t)options->batches : 1;
    o->lanes = calloc(o->lane_count, sizeof *o->lanes);
    bool whole = o->parts != NULL && o->lanes != NULL;
    for (size_t i = 0; whole && i < o->count; i++)
        whole = part_init(&o->parts[i], (int)i - 1, options->batch_records);
    for (size_t i = 0; whole && i < o->lane_count; i++)
        whole = lane_init(&o->lanes[i], o);
    if (whole)
        return o;
    owner_free(o);
    return NULL;
}

void owner_free(owner *o)
{
    if (o == NULL)
        return;
    for (size_t i = 0; o->parts != NULL && i < o->count; i++) {
        drop_messages(&o->parts[i], SIZE_MAX);
        drop_tasks(&o->parts[i], SIZE_MAX);
        drop_said(&o->parts[i], SIZE_MAX);
        free(o->parts[i].sents);
    }
    for (size_t i = 0; o->lanes != NULL && i < o->lane_count; i++)
        lane_done(&o->lanes[i]);
    free(o->parts);
    free(o->lanes);
    free(o);
}
