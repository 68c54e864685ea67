/* More deliveries wait than the outbox holds: what is in the store alone comes when there is room,
 * in order for each patient, once, and all of it; also when there is no memory now and then. Played
 * at random against a list of rows that stands for the store, with batches that take their time as
 * the owner's do; then with a store. */
#include "daemon_world.h"

/* The linker puts these before the C library's. */
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *old, size_t n);
void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *old, size_t n);

static uint64_t meagre; /* one in so many allocations fails; 0: none */
static uint64_t allocations, failures;

static bool fails(void)
{
    if (meagre == 0)
        return false;
    allocations = allocations * 6364136223846793005u + 1442695040888963407u;
    bool none = (allocations >> 33) % meagre == 0;
    failures += none;
    return none;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t n)
{
    return fails() ? NULL : __real_calloc(count, n);
}

void *__wrap_realloc(void *old, size_t n)
{
    return fails() ? NULL : __real_realloc(old, n);
}

enum { PATIENTS = 40, ALERTS = 3, ENDPOINTS = 2, PARTITIONS = 2, ROOM = 5, MAX_TASKS = 4096 };

typedef struct row {
    bool there, parked;
    int64_t sequence, next_ms;
    int64_t told;  /* the outbox knows of this one */
    bool to_retry; /* it was given up, and is to be tried once more */
} row;

typedef struct sending {
    uint64_t ticket;
    size_t endpoint, patient, alert;
    int64_t sequence;
} sending;

/* One side of the play: the rows, the tasks of each partition, and the batch that runs. */
typedef struct crowd {
    outbox *ob;
    char names[PATIENTS][UUID_TEXT];
    row rows[ENDPOINTS][PATIENTS][ALERTS];
    int64_t sequences[ENDPOINTS][PATIENTS];
    pipeline_task tasks[PARTITIONS][MAX_TASKS];
    size_t task_count[PARTITIONS];
    sending sent[1024];
    size_t sent_count;
    bool sending[ENDPOINTS][PATIENTS]; /* something of it is on its way */
    uint64_t random;
    int64_t now_ms;
    uint64_t meagre;
    uint64_t wants; /* of a batch, below that */
    uint64_t sends, taken, passes;
} crowd;

static uint64_t some(crowd *c, uint64_t below)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return c->random % below;
}

static size_t patient_of(const crowd *c, og_str name)
{
    size_t i = 0;
    while (i < PATIENTS && !og_str_is(name, c->names[i]))
        i++;
    assert_true(i < PATIENTS);
    return i;
}

static size_t alert_of(const char *id)
{
    return (size_t)(id[strlen(id) - 1] - '0');
}

static int partition_of(size_t patient)
{
    return (int)(patient % PARTITIONS);
}

static void add_task(crowd *c, const outbox_item *item, const delivery_outcome *outcome)
{
    assert_true(c->task_count[item->partition] < MAX_TASKS);
    pipeline_task *t = &c->tasks[item->partition][c->task_count[item->partition]++];
    *t = (pipeline_task){.ticket = item->ticket,
                         .endpoint = item->endpoint,
                         .patient = og_str_of(c->names[patient_of(c, item->patient)]),
                         .sequence = item->sequence,
                         .given_up = item->given_up,
                         .settle = outcome != NULL};
    memcpy(t->alert_id, item->alert_id, sizeof t->alert_id);
    if (outcome != NULL)
        t->outcome = *outcome;
}

static bool on_prepare(void *ctx, const outbox_item *item)
{
    if (fails())
        return false;
    add_task(ctx, item, NULL);
    return true;
}

static void on_settle(void *ctx, const outbox_item *item, const delivery_outcome *outcome)
{
    add_task(ctx, item, outcome);
}

/* Nothing else of the patient is on its way, and nothing that waits was to be sent before. */
static void on_send(void *ctx, const outbox_item *item, const outbox_message *m)
{
    crowd *c = ctx;
    size_t p = patient_of(c, item->patient), e = item->endpoint;
    (void)m;
    assert_false(c->sending[e][p]);
    assert_true(item->not_before_ms <= c->now_ms);
    for (size_t a = 0; a < ALERTS; a++) {
        const row *r = &c->rows[e][p][a];
        assert_false(r->there && !r->parked && r->sequence < item->sequence);
    }
    row *this = &c->rows[e][p][alert_of(item->alert_id)];
    assert_true(item->sequence >= this->told);
    this->to_retry = false;
    assert_true(c->sent_count < 1024);
    c->sent[c->sent_count++] =
        (sending){item->ticket, e, p, alert_of(item->alert_id), item->sequence};
    c->sending[e][p] = true;
    c->sends++;
}

static crowd *crowd_new(uint64_t seed, size_t room)
{
    static const outbox_endpoint endpoints[] = {{"ehr", 3}, {"@alerts", 8}};
    crowd *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->wants = seed % 2 == 0 ? 8 : 2;
    c->random = seed * 0x9E3779B97F4A7C15u + 1;
    for (size_t i = 0; i < PATIENTS; i++)
        if (i % 3 == 0)
            snprintf(c->names[i], UUID_TEXT, "%08x-1111-4111-8111-111111111111",
                     (unsigned)(i * 2654435761u));
        else
            snprintf(c->names[i], UUID_TEXT, i % 3 == 1 ? "p%zu" : "p1%zu", i);
    outbox_options o = {.endpoints = endpoints,
                        .endpoint_count = ENDPOINTS,
                        .partitions = PARTITIONS,
                        .max_patients = room,
                        .backoff_min_ms = 10,
                        .backoff_max_ms = 100,
                        .seed = seed,
                        .ctx = c,
                        .prepare = on_prepare,
                        .send = on_send,
                        .settle = on_settle};
    c->ob = outbox_new(&o);
    assert_non_null(c->ob);
    return c;
}

static delivery as_delivery(const crowd *c, size_t e, size_t p, size_t a)
{
    const row *r = &c->rows[e][p][a];
    delivery d = {.patient = og_str_of(c->names[p]),
                  .state = r->parked ? DELIVERY_PARKED : DELIVERY_PENDING,
                  .revision = (uint32_t)r->sequence,
                  .sequence = r->sequence,
                  .next_ms = r->next_ms};
    snprintf(d.alert_id, sizeof d.alert_id, "alert-%zu", a);
    return d;
}

/* ---- a batch: what it does to the rows, and what the loop hears of it later ---- */

typedef struct batch {
    bool runs;
    int partition;
    delivery wanted[8];
    size_t wanted_endpoint[8], wanted_count;
    struct {
        uint64_t ticket;
        bool gone;
        delivery row;
    } prepared[MAX_TASKS];
    size_t prepared_count;
    bool more;
    delivery_more want;
    char after[UUID_TEXT];
    delivery stored[PATIENTS * ALERTS];
    size_t stored_count;
    og_str last;
    bool end;
} batch;

static void want_some(crowd *c, batch *b)
{
    b->wanted_count = 0;
    for (size_t n = some(c, c->wants); n > 0; n--) {
        size_t e = some(c, ENDPOINTS), a = some(c, ALERTS);
        size_t p = some(c, PATIENTS / PARTITIONS) * PARTITIONS + (size_t)b->partition;
        row *r = &c->rows[e][p][a];
        *r = (row){.there = true, .sequence = ++c->sequences[e][p], .told = r->told};
        b->wanted_endpoint[b->wanted_count] = e;
        b->wanted[b->wanted_count++] = as_delivery(c, e, p, a);
    }
}

static void settle(row *r, const pipeline_task *t)
{
    if (!r->there || r->sequence != t->outcome.revision)
        return;
    r->there = t->outcome.verdict != CONN_DONE;
    r->parked = t->outcome.verdict == CONN_NEVER;
    r->next_ms = t->outcome.next_ms;
}

static void do_tasks(crowd *c, batch *b)
{
    b->prepared_count = 0;
    for (size_t i = 0; i < c->task_count[b->partition]; i++) {
        const pipeline_task *t = &c->tasks[b->partition][i];
        size_t p = patient_of(c, t->patient), a = alert_of(t->alert_id);
        row *r = &c->rows[t->endpoint][p][a];
        if (t->settle) {
            settle(r, t);
            continue;
        }
        b->prepared[b->prepared_count].ticket = t->ticket;
        b->prepared[b->prepared_count].gone =
            !r->there || r->sequence != t->sequence || (r->parked && !t->given_up);
        r->parked = r->parked && !t->given_up;
        b->prepared[b->prepared_count++].row = as_delivery(c, t->endpoint, p, a);
    }
    c->task_count[b->partition] = 0;
}

/* In the order of the store, which its own test holds against a store. */
static void read_stored(const crowd *c, batch *b)
{
    size_t order[PATIENTS], n = 0, patients = 0;
    for (size_t p = 0; p < PATIENTS; p++) {
        size_t at = n++;
        for (; at > 0 &&
               delivery_is_before(og_str_of(c->names[p]), og_str_of(c->names[order[at - 1]]));
             at--)
            order[at] = order[at - 1];
        order[at] = p;
    }
    b->stored_count = 0;
    b->end = true;
    b->last = (og_str){NULL, 0};
    for (size_t i = 0; i < n; i++) {
        size_t p = order[i], e = b->want.endpoint;
        bool any = false;
        if (partition_of(p) != b->partition ||
            (b->after[0] != '\0' &&
             delivery_is_before(og_str_of(c->names[p]), og_str_of(b->after))))
            continue;
        for (size_t a = 0; a < ALERTS; a++)
            any |= c->rows[e][p][a].there;
        if (any && patients++ == b->want.patients) {
            b->end = false;
            return;
        }
        for (size_t a = 0; a < ALERTS; a++)
            if (c->rows[e][p][a].there && (!c->rows[e][p][a].parked || b->want.given_up))
                b->stored[b->stored_count++] = as_delivery(c, e, p, a);
        if (any)
            b->last = og_str_of(c->names[p]);
    }
}

static void begin(crowd *c, batch *b, int partition)
{
    b->runs = true;
    b->partition = partition;
    b->more = outbox_wants(c->ob, partition, &b->want);
    if (b->more)
        snprintf(b->after, sizeof b->after, "%.*s", OG_STR_ARG(b->want.after));
    want_some(c, b);
    do_tasks(c, b);
    if (b->more)
        read_stored(c, b);
}

static void end(crowd *c, batch *b)
{
    static const outbox_message m = {.body = {"body", 4}, .key = {"key", 3}};
    b->runs = false;
    meagre = c->meagre;
    for (size_t i = 0; i < b->wanted_count; i++) {
        const delivery *d = &b->wanted[i];
        c->rows[b->wanted_endpoint[i]][patient_of(c, d->patient)][alert_of(d->alert_id)].told =
            d->sequence;
        assert_true(outbox_add(c->ob, b->wanted_endpoint[i], b->partition, d) || c->meagre > 0);
    }
    if (b->more) {
        c->taken += b->stored_count;
        c->passes += b->end;
        assert_true(outbox_take(c->ob, b->partition, &b->want, b->stored, b->stored_count, b->last,
                                b->end) ||
                    c->meagre > 0);
    }
    for (size_t i = 0; i < b->prepared_count; i++)
        outbox_prepared(c->ob, b->prepared[i].ticket,
                        b->prepared[i].gone ? NULL : &b->prepared[i].row, &m, c->now_ms);
    meagre = 0;
}

/* ---- the EHR ---- */

static void answer_one(crowd *c, bool good)
{
    if (c->sent_count == 0)
        return;
    size_t i = some(c, c->sent_count), kind = good ? 3 : some(c, 8);
    sending s = c->sent[i];
    c->sent[i] = c->sent[--c->sent_count];
    c->sending[s.endpoint][s.patient] = false;
    outbox_answer a = {.verdict = kind == 0   ? CONN_NEVER
                                  : kind <= 2 ? CONN_AGAIN
                                              : CONN_DONE,
                       .retry_after_ms = -1,
                       .endpoint_down = kind == 2};
    outbox_answered(c->ob, s.ticket, &a, c->now_ms);
}

/* The partition is another's and ours again; the answers of what is on its way still come. */
static void take_over(crowd *c, int partition)
{
    for (size_t e = 0; e < ENDPOINTS; e++)
        for (size_t p = (size_t)partition; p < PATIENTS; p += PARTITIONS)
            for (size_t a = 0; a < ALERTS; a++)
                c->rows[e][p][a].to_retry = c->rows[e][p][a].parked;
    outbox_forget_partition(c->ob, partition);
    outbox_read_store(c->ob, partition, true);
}

static size_t rows_left(const crowd *c)
{
    size_t n = 0;
    for (size_t e = 0; e < ENDPOINTS; e++)
        for (size_t p = 0; p < PATIENTS; p++)
            for (size_t a = 0; a < ALERTS; a++)
                n += c->rows[e][p][a].there &&
                     (!c->rows[e][p][a].parked || c->rows[e][p][a].to_retry);
    return n;
}

static void turn(crowd *c, batch *b, bool busy)
{
    c->now_ms += (int64_t)some(c, 20);
    for (int p = 0; p < PARTITIONS; p++) {
        if (!b[p].runs)
            begin(c, &b[p], p);
        else if (some(c, 2) == 0)
            end(c, &b[p]);
        answer_one(c, !busy);
    }
    for (size_t n = busy ? some(c, 3) : c->sent_count; n > 0; n--)
        answer_one(c, !busy);
    if (busy && some(c, 150) == 0)
        take_over(c, (int)some(c, PARTITIONS));
    meagre = c->meagre;
    outbox_deliver(c->ob, c->now_ms);
    meagre = 0;
}

static void play(crowd *c)
{
    static batch b[PARTITIONS];
    memset(b, 0, sizeof b);
    for (int i = 0; i < 600; i++)
        turn(c, b, true);
    c->wants = 1;
    for (int i = 0;
         i < 4000 && (rows_left(c) > 0 || outbox_pending(c->ob, SIZE_MAX) > 0 || c->sent_count > 0);
         i++)
        turn(c, b, false);
    assert_int_equal(rows_left(c), 0);
    assert_int_equal(outbox_pending(c->ob, SIZE_MAX), 0);
    assert_true(c->sends > 100);
}

static void all_is_sent_in_order_however_little_room(void **state)
{
    uint64_t taken = 0, passes = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        crowd *c = crowd_new(seed, ROOM);
        play(c);
        taken += c->taken;
        passes += c->passes;
        outbox_free(c->ob);
        free(c);
    }
    assert_true(taken > 5000 && passes > 500);
}

/* What is not noted for lack of memory is read from the store, and nothing overtakes it. */
static void all_is_sent_in_order_however_little_memory(void **state)
{
    uint64_t before = failures;
    (void)state;
    for (uint64_t seed = 1; seed <= 120; seed++) {
        crowd *c = crowd_new(seed, seed % 3 == 0 ? PATIENTS : ROOM);
        c->meagre = 3 + seed % 40;
        play(c);
        outbox_free(c->ob);
        free(c);
    }
    assert_true(failures - before > 10000);
}

/* Cards are not to overtake their records. */
static void the_alerts_topic_is_read_first(void **state)
{
    crowd *c = crowd_new(1, ROOM);
    delivery_more want;
    (void)state;
    assert_false(outbox_wants(c->ob, 0, &want));
    outbox_read_store(c->ob, 0, true);
    for (size_t e = ENDPOINTS; e-- > 0;) {
        assert_true(outbox_wants(c->ob, 0, &want));
        assert_int_equal(want.endpoint, e);
        assert_true(want.given_up && want.after.n == 0 && want.patients > 0);
        assert_true(outbox_take(c->ob, 0, &want, NULL, 0, (og_str){NULL, 0}, true));
    }
    assert_false(outbox_wants(c->ob, 0, &want));
    outbox_free(c->ob);
    free(c);
}

static void want(crowd *c, size_t e, size_t p)
{
    c->rows[e][p][0] = (row){.there = true, .sequence = ++c->sequences[e][p]};
    delivery d = as_delivery(c, e, p, 0);
    assert_true(outbox_add(c->ob, e, 0, &d));
}

/* All that is here is on its way: the next one is read as soon as there is a place, though as a
 * rule several are read at once. */
static void nobody_waits_in_the_store_while_a_place_is_free(void **state)
{
    static batch b;
    crowd *c = crowd_new(1, ROOM);
    delivery_more more;
    (void)state;
    for (size_t p = 0; p < ROOM + 2; p++)
        want(c, 1, p * PARTITIONS);
    outbox_deliver(c->ob, 0);
    b.partition = 0;
    do_tasks(c, &b);
    end(c, &b);
    assert_int_equal(c->sent_count, ROOM);
    assert_false(outbox_wants(c->ob, 0, &more));
    answer_one(c, true);
    assert_true(outbox_wants(c->ob, 0, &more));
    assert_int_equal(more.patients, 1);
    outbox_free(c->ob);
    free(c);
}

/* ---- with a store ---- */

static const char *const odd[] = {"p1",
                                  "p10",
                                  "p1-",
                                  "p1.x",
                                  "p",
                                  "P1",
                                  "lab~p1",
                                  "lab~3f2504e0-4f89-11d3-9a0c-0305e82c3301",
                                  "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
                                  "3f2504e0-4f89-11d3-9a0c-0305e82c33011",
                                  "3f2504e0-4f89-11d3-9a0c-0305e82c3301x",
                                  "3F2504E0-4F89-11D3-9A0C-0305E82C3301",
                                  "ffffffff-ffff-ffff-ffff-ffffffffffff",
                                  "00000000-0000-0000-0000-000000000000",
                                  "http://example.org/mrn|0815",
                                  "http://example.org/mrn|08150",
                                  "z",
                                  "Z",
                                  "\xc3\xa4",
                                  "~",
                                  "!"};

enum { ODD = sizeof odd / sizeof odd[0] };

static void put_rows(store_txn *t, og_arena *a, const char *endpoint, const char *patient,
                     int count)
{
    for (int i = 0; i < count; i++) {
        delivery d = {.endpoint = og_str_of(endpoint),
                      .patient = og_str_of(patient),
                      .state = DELIVERY_PENDING,
                      .revision = 1,
                      .sequence = i + 1};
        snprintf(d.alert_id, sizeof d.alert_id, "alert-%d", i);
        assert_int_equal(delivery_put(t, a, &d, NULL), OG_OK);
    }
}

typedef struct visited {
    char patients[128][UUID_TEXT * 2];
    size_t count, rows;
    bool one; /* patient at a time */
} visited;

static og_status visit(void *ctx, const delivery *d, og_error *err)
{
    visited *v = ctx;
    (void)err;
    assert_true(og_str_is(d->endpoint, "ehr"));
    if (v->count == 0 || !og_str_is(d->patient, v->patients[v->count - 1])) {
        if (v->one && v->rows > 0)
            return OG_AGAIN;
        snprintf(v->patients[v->count++], sizeof v->patients[0], "%.*s", OG_STR_ARG(d->patient));
    }
    v->rows++;
    return OG_OK;
}

/* Read on behind any patient nothing is left out and nothing comes twice, and delivery_is_before
 * knows the order. */
static void rows_are_read_on_behind_any_patient(void **state)
{
    world *w = world_new();
    store_txn *t;
    (void)state;
    assert_int_equal(store_begin(w->stores[0], true, &t, NULL), OG_OK);
    for (size_t i = 0; i < ODD; i++) {
        put_rows(t, w->arena, "ehr", odd[i], 1 + (int)(i % 3));
        put_rows(t, w->arena, "eh", odd[i], 1); /* others have theirs before and behind */
        put_rows(t, w->arena, "ehr2", odd[i], 1);
    }
    static visited all;
    all = (visited){.count = 0};
    og_str none = {NULL, 0};
    assert_int_equal(delivery_each_after(t, w->arena, OG_STR("ehr"), none, visit, &all, NULL),
                     OG_OK);
    assert_int_equal(all.count, ODD);
    for (size_t i = 0; i < all.count; i++) {
        og_str a = og_str_of(all.patients[i]);
        for (size_t k = 0; k < all.count; k++)
            assert_int_equal(delivery_is_before(a, og_str_of(all.patients[k])), i <= k);
        static visited next;
        next = (visited){.one = true};
        assert_int_equal(delivery_each_after(t, w->arena, OG_STR("ehr"), a, visit, &next, NULL),
                         OG_OK);
        assert_int_equal(next.count, i + 1 < all.count ? 1 : 0);
        if (next.count > 0)
            assert_string_equal(next.patients[0], all.patients[i + 1]);
    }
    store_abort(t);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_sent_in_order_however_little_room),
        cmocka_unit_test(all_is_sent_in_order_however_little_memory),
        cmocka_unit_test(the_alerts_topic_is_read_first),
        cmocka_unit_test(nobody_waits_in_the_store_while_a_place_is_free),
        cmocka_unit_test(rows_are_read_on_behind_any_patient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
