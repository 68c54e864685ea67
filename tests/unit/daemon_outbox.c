/* Deliveries and the outbox: one at a time and in order for each patient, back-off, Retry-After,
 * giving up, and what a receiver hears of an alert's life. Time and answers are the test's. */
#include "daemon_world.h"

/* ---- the queue alone: prepared at once, sent when the test looks ---- */

typedef struct rig {
    outbox *ob;
    outbox_item sent[256];
    char patients[256][16];
    size_t sent_count;
    delivery_outcome settled[256];
    size_t settled_count;
    bool prepare_later;
    int64_t now_ms; /* when messages are prepared */
    uint64_t asked[OUTBOX_AHEAD + 16];
    size_t asked_count;
} rig;

static delivery row_of(const char *patient, int alert, uint32_t revision, int64_t sequence)
{
    delivery d = {.patient = og_str_of(patient), .revision = revision, .sequence = sequence};
    snprintf(d.alert_id, sizeof d.alert_id, "alert-%d", alert);
    return d;
}

static const outbox_message a_message = {
    .body = {"body", 4}, .key = {"key", 3}, .said_value = {"said", 4}};

static bool prepare(void *ctx, const outbox_item *item)
{
    rig *r = ctx;
    delivery d = {.revision = item->revision,
                  .resolved = item->resolved,
                  .sequence = item->sequence,
                  .attempts = item->attempts + 1};
    if (r->prepare_later)
        r->asked[r->asked_count++] = item->ticket;
    else
        outbox_prepared(r->ob, item->ticket, &d, &a_message, r->now_ms);
    return true;
}

static void keep_sent(void *ctx, const outbox_item *item, const outbox_message *m)
{
    rig *r = ctx;
    assert_true(og_str_is(m->body, "body") && og_str_is(m->key, "key"));
    assert_true(og_str_is(m->said_key, "") && og_str_is(m->said_value, "said"));
    assert_true(r->sent_count < 256);
    snprintf(r->patients[r->sent_count], 16, "%.*s", OG_STR_ARG(item->patient));
    r->sent[r->sent_count++] = *item;
}

static void keep_settled(void *ctx, const outbox_item *item, const delivery_outcome *outcome)
{
    rig *r = ctx;
    (void)item;
    r->settled[r->settled_count++] = *outcome;
}

static rig *rig_new(int max_in_flight)
{
    static outbox_endpoint endpoints[2];
    rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    endpoints[0] = (outbox_endpoint){"one", max_in_flight};
    endpoints[1] = (outbox_endpoint){"two", max_in_flight};
    outbox_options o = {.endpoints = endpoints,
                        .endpoint_count = 2,
                        .partitions = 4,
                        .backoff_min_ms = 1000,
                        .backoff_max_ms = 60000,
                        .seed = 1,
                        .ctx = r,
                        .prepare = prepare,
                        .send = keep_sent,
                        .settle = keep_settled};
    r->ob = outbox_new(&o);
    assert_non_null(r->ob);
    return r;
}

static void rig_free(rig *r)
{
    outbox_free(r->ob);
    free(r);
}

static void add(rig *r, size_t endpoint, const char *patient, int alert, uint32_t revision,
                int64_t sequence)
{
    delivery d = row_of(patient, alert, revision, sequence);
    assert_true(outbox_add(r->ob, endpoint, 0, &d));
}

static void answer(rig *r, size_t i, conn_verdict verdict, int64_t retry_after_ms, bool down,
                   int64_t now_ms)
{
    outbox_answer a = {.verdict = verdict, .retry_after_ms = retry_after_ms, .endpoint_down = down};
    outbox_answered(r->ob, r->sent[i].ticket, &a, now_ms);
}

static void one_at_a_time_and_in_order_for_each_patient(void **state)
{
    rig *r = rig_new(10);
    (void)state;
    add(r, 0, "a", 2, 1, 2); /* out of order */
    add(r, 0, "a", 1, 1, 1);
    add(r, 0, "b", 3, 1, 1);
    add(r, 1, "a", 1, 1, 1); /* another endpoint is another queue */
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 3);
    assert_int_equal(outbox_pending(r->ob, 0), 3);
    size_t first = SIZE_MAX;
    for (size_t i = 0; i < 3; i++)
        if (r->sent[i].endpoint == 0 && strcmp(r->patients[i], "a") == 0)
            first = i;
    assert_true(first != SIZE_MAX);
    assert_int_equal(r->sent[first].sequence, 1);
    assert_int_equal(r->sent[0].endpoint, 1); /* the alerts topic is the last, and goes first */
    outbox_deliver(r->ob, 100000);
    assert_int_equal(r->sent_count, 3);
    answer(r, first, CONN_DONE, -1, false, 0);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 4);
    assert_int_equal(r->sent[3].sequence, 2);
    answer(r, 3, CONN_DONE, -1, false, 0);
    assert_int_equal(outbox_pending(r->ob, 0), 1);
    rig_free(r);
}

static void no_more_than_the_endpoint_allows(void **state)
{
    rig *r = rig_new(3);
    (void)state;
    for (int i = 0; i < 10; i++) {
        char patient[8];
        snprintf(patient, sizeof patient, "p%d", i);
        add(r, 0, patient, i, 1, 1);
    }
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 3);
    assert_int_equal(outbox_sending(r->ob), 3);
    assert_true(outbox_next_ms(r->ob) == INT64_MAX);
    answer(r, 1, CONN_DONE, -1, false, 0);
    assert_true(outbox_next_ms(r->ob) <= 0);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 4);
    rig_free(r);
}

static rig *rig_with_patients(int max_in_flight, int count)
{
    rig *r = rig_new(max_in_flight);
    for (int i = 0; i < count; i++) {
        char patient[8];
        snprintf(patient, sizeof patient, "p%d", i);
        add(r, 0, patient, i, 1, 1);
    }
    return r;
}

/* A batch prepares many; a receiver that answers at once does not wait for the next batch. */
static void more_are_prepared_than_are_sent(void **state)
{
    rig *r = rig_with_patients(2, OUTBOX_AHEAD + 10);
    (void)state;
    r->prepare_later = true;
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->asked_count, OUTBOX_AHEAD + 2);
    assert_int_equal(outbox_sending(r->ob), OUTBOX_AHEAD + 2);
    for (size_t i = 0; i < r->asked_count; i++) {
        delivery d = row_of("", (int)i, 1, 1);
        outbox_prepared(r->ob, r->asked[i], &d, &a_message, 0);
    }
    assert_int_equal(r->sent_count, 2);
    assert_int_equal(outbox_sending(r->ob), 2);
    assert_true(outbox_next_ms(r->ob) == INT64_MAX);
    for (size_t i = 0; i < 100; i++) {
        answer(r, i, CONN_DONE, -1, false, 0);
        assert_int_equal(outbox_next_ms(r->ob), 0);
        outbox_deliver(r->ob, 0);
        assert_int_equal(r->sent_count, i + 3);
        assert_true(r->sent[i + 2].ticket > r->sent[i + 1].ticket);
    }
    assert_int_equal(r->asked_count, OUTBOX_AHEAD + 10);
    rig_free(r);
}

static void what_is_ready_may_be_dropped_or_wanted_anew(void **state)
{
    rig *r = rig_with_patients(1, 4);
    (void)state;
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 1);
    outbox_drop(r->ob, 0, OG_STR("p1"), "alert-1");
    assert_int_equal(outbox_pending(r->ob, 0), 3);
    add(r, 0, "p2", 2, 2, 2);
    answer(r, 0, CONN_DONE, -1, false, 0);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 2);
    assert_string_equal(r->patients[1], "p3");
    answer(r, 1, CONN_DONE, -1, false, 0);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 3);
    assert_string_equal(r->patients[2], "p2");
    assert_int_equal(r->sent[2].revision, 2);
    answer(r, 2, CONN_DONE, -1, false, 0);
    assert_int_equal(outbox_pending(r->ob, 0), 0);
    assert_int_equal(r->settled_count, 4); /* of p2's first one: it was not sent */
    assert_true(r->settled[1].not_sent && r->settled[1].revision == 1);
    rig_free(r);
}

/* Its rows say again that nothing was sent, and it is probed by one that waits. */
static void what_is_ready_waits_when_the_endpoint_fails(void **state)
{
    rig *r = rig_with_patients(1, 5);
    (void)state;
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 1);
    answer(r, 0, CONN_AGAIN, 5000, true, 0);
    assert_int_equal(r->settled_count, 5);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(r->settled[i].verdict, CONN_AGAIN);
        assert_false(r->settled[i].in_doubt);
        assert_int_equal(r->settled[i].next_ms, 0);
        assert_int_equal(r->settled[i].revision, 1);
    }
    assert_int_equal(outbox_pending(r->ob, 0), 5);
    outbox_deliver(r->ob, 4999);
    assert_int_equal(r->sent_count, 1);
    r->now_ms = 100000;
    outbox_deliver(r->ob, 100000);
    assert_int_equal(r->sent_count, 2);
    for (size_t i = 1; i < 6; i++) {
        answer(r, i, CONN_DONE, -1, false, 100000);
        outbox_deliver(r->ob, 200000);
    }
    assert_int_equal(r->sent_count, 6);
    assert_int_equal(outbox_pending(r->ob, 0), 0);
    rig_free(r);
}

/* What is ready is not sent any more; its row comes with the next start. */
static void nothing_that_is_ready_is_sent_after_the_stop(void **state)
{
    rig *r = rig_with_patients(1, 3);
    (void)state;
    outbox_deliver(r->ob, 0);
    outbox_stop(r->ob);
    assert_int_equal(outbox_sending(r->ob), 1);
    answer(r, 0, CONN_DONE, -1, false, 0);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 1);
    assert_int_equal(outbox_sending(r->ob), 0);
    rig_free(r);
}

/* Full jitter: between nothing and a ceiling that doubles up to the maximum; never before
 * Retry-After. */
static void failures_wait_longer_and_longer(void **state)
{
    rig *r = rig_new(3);
    int64_t now = 0, ceiling = 1000;
    bool below_half = false, above_half = false;
    (void)state;
    add(r, 0, "a", 1, 1, 1);
    for (int attempt = 1; attempt <= 12; attempt++) {
        outbox_deliver(r->ob, now);
        assert_int_equal(r->sent_count, attempt);
        answer(r, (size_t)attempt - 1, CONN_AGAIN, -1, false, now);
        int64_t next = outbox_next_ms(r->ob);
        assert_true(next >= now && next <= now + ceiling);
        assert_int_equal(r->settled[attempt - 1].next_ms, next);
        below_half |= next - now < ceiling / 2;
        above_half |= next - now > ceiling / 2;
        if (next > now) {
            outbox_deliver(r->ob, next - 1);
            assert_int_equal(r->sent_count, attempt);
        }
        now = next;
        ceiling = ceiling * 2 > 60000 ? 60000 : ceiling * 2;
    }
    assert_true(below_half && above_half);
    outbox_deliver(r->ob, now);
    answer(r, r->sent_count - 1, CONN_AGAIN, 3600000, false, now);
    assert_int_equal(outbox_next_ms(r->ob), now + 3600000);
    rig_free(r);
}

/* While the endpoint itself is down, one delivery tries for all. */
static void a_dead_endpoint_is_probed_by_one(void **state)
{
    rig *r = rig_new(4);
    (void)state;
    for (int i = 0; i < 8; i++) {
        char patient[8];
        snprintf(patient, sizeof patient, "p%d", i);
        add(r, 0, patient, i, 1, 1);
        add(r, 1, patient, i, 1, 1);
    }
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 8);
    for (size_t i = 0; i < 8; i++)
        if (r->sent[i].endpoint == 0)
            answer(r, i, CONN_AGAIN, 5000, true, 0);
        else
            answer(r, i, CONN_DONE, -1, false, 0);
    outbox_deliver(r->ob, 4999); /* the other endpoint goes on */
    assert_int_equal(r->sent_count, 12);
    for (size_t i = 8; i < 12; i++)
        assert_int_equal(r->sent[i].endpoint, 1);
    r->now_ms = 100000;
    outbox_deliver(r->ob, 100000);
    assert_int_equal(r->sent_count, 13);
    answer(r, 12, CONN_DONE, -1, false, 100000);
    outbox_deliver(r->ob, 200000);
    assert_int_equal(r->sent_count, 15); /* it lives: two, then all four places */
    answer(r, 13, CONN_DONE, -1, false, 200000);
    outbox_deliver(r->ob, 200000);
    assert_int_equal(r->sent_count, 18);
    rig_free(r);
}

/* No wait is longer than an hour: what lies further ahead was reckoned by a clock that was wrong.
 */
static void a_clock_that_was_ahead_holds_nothing_back(void **state)
{
    enum { DAY_MS = 86400000 };
    rig *r = rig_new(1);
    (void)state;
    add(r, 0, "a", 1, 1, 1);
    outbox_deliver(r->ob, 2 * DAY_MS); /* the machine's clock is two days ahead */
    answer(r, 0, CONN_AGAIN, 5000, true, 2 * DAY_MS);
    outbox_deliver(r->ob, DAY_MS / 2); /* it is set right */
    assert_int_equal(r->sent_count, 2);
    answer(r, 1, CONN_AGAIN, 5000, true, DAY_MS / 2);
    outbox_deliver(r->ob, DAY_MS / 2 + 4999); /* the waits are good again */
    assert_int_equal(r->sent_count, 2);
    r->now_ms = DAY_MS / 2 + 5000 + 1000;
    outbox_deliver(r->ob, r->now_ms);
    assert_int_equal(r->sent_count, 3);
    answer(r, 2, CONN_DONE, -1, false, r->now_ms);
    delivery d = row_of("b", 2, 1, 1); /* its row says so */
    d.next_ms = 2 * DAY_MS;
    assert_true(outbox_add(r->ob, 0, 0, &d));
    outbox_deliver(r->ob, r->now_ms);
    assert_int_equal(r->sent_count, 4);
    rig_free(r);
}

/* A server that limits the rate still answers what it has let in: that does not take its word back.
 */
static void what_was_let_in_before_does_not_end_the_wait(void **state)
{
    rig *r = rig_with_patients(2, 4);
    (void)state;
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 2);
    answer(r, 1, CONN_AGAIN, 120000, true, 10); /* 429, Retry-After: 120 */
    answer(r, 0, CONN_DONE, -1, false, 20);
    outbox_deliver(r->ob, 20);
    outbox_deliver(r->ob, 120009);
    assert_int_equal(r->sent_count, 2);
    r->now_ms = 130000;
    outbox_deliver(r->ob, 130000);
    assert_int_equal(r->sent_count, 3);
    answer(r, 2, CONN_DONE, -1, false, 130000);
    outbox_deliver(r->ob, 130000);
    assert_int_equal(r->sent_count, 5);
    rig_free(r);
}

static void answer_all_from(rig *r, size_t first, int64_t now_ms)
{
    for (size_t i = first, count = r->sent_count; i < count; i++)
        answer(r, i, CONN_AGAIN, -1, false, now_ms);
}

/* An EHR that takes nobody's message is failing, whatever it answers: there is no use in trying
 * everybody's. */
static void who_takes_nothing_is_probed_by_one(void **state)
{
    rig *r = rig_with_patients(4, 100);
    (void)state;
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 4);
    answer_all_from(r, 0, 0);
    assert_false(outbox_is_down(r->ob, 0));
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 8);
    answer_all_from(r, 4, 0);
    assert_true(outbox_is_down(r->ob, 0));
    int64_t now = 0;
    for (size_t probe = 0; probe < 20; probe++) {
        int64_t next = outbox_next_ms(r->ob);
        assert_int_equal(next, now + (int64_t)probe * 10); /* ever more slowly */
        r->now_ms = now = next;
        outbox_deliver(r->ob, now);
        assert_int_equal(r->sent_count, 9 + probe);
        answer(r, 8 + probe, CONN_AGAIN, -1, false, now);
    }
    r->now_ms = now = outbox_next_ms(r->ob);
    outbox_deliver(r->ob, now);
    answer(r, 28, CONN_DONE, -1, false, now);
    assert_false(outbox_is_down(r->ob, 0));
    outbox_deliver(r->ob, now);
    assert_int_equal(r->sent_count, 31); /* it lives: two, and more with each that is taken */
    answer(r, 29, CONN_DONE, -1, false, now);
    outbox_deliver(r->ob, now);
    assert_int_equal(r->sent_count, 34);
    rig_free(r);
}

/* Nor does it matter how often one patient's message comes back, nor how many do while others are
 * taken. */
static void a_message_that_comes_back_is_not_the_endpoint(void **state)
{
    rig *r = rig_with_patients(1, 1);
    int64_t now = 0;
    (void)state;
    for (size_t i = 0; i < 100; i++) {
        now = outbox_next_ms(r->ob);
        outbox_deliver(r->ob, now);
        assert_int_equal(r->sent_count, i + 1);
        answer(r, i, CONN_AGAIN, -1, false, now);
        assert_false(outbox_is_down(r->ob, 0));
    }
    rig_free(r);
    r = rig_with_patients(1, 100);
    for (size_t i = 0; i < 100; i++) {
        outbox_deliver(r->ob, 0);
        assert_int_equal(r->sent_count, i + 1);
        answer(r, i, i % 8 == 7 ? CONN_NEVER : CONN_AGAIN, -1, false, 0);
        assert_false(outbox_is_down(r->ob, 0));
    }
    rig_free(r);
}

/* ---- some are taken, most come back ---- */

enum { CLINIC = 2000, ANSWER_MS = 20, PLACES = 8, HOUR_MS = 3600000 };

typedef struct clinic {
    outbox *ob;
    int64_t now_ms;
    size_t bad; /* patients of a hundred whose messages come back */
    struct {
        uint64_t ticket;
        int64_t at_ms;
        bool bad;
    } sent[PLACES];
    size_t sent_count, sends, most, good_left;
} clinic;

static bool comes_back(const clinic *c, int patient)
{
    return ((uint32_t)patient * 2654435761u >> 12) % 100 < c->bad;
}

static bool clinic_prepare(void *ctx, const outbox_item *item)
{
    clinic *c = ctx;
    delivery d = {.revision = 1, .sequence = item->sequence, .attempts = item->attempts + 1};
    outbox_prepared(c->ob, item->ticket, &d, &a_message, c->now_ms);
    return true;
}

static void clinic_send(void *ctx, const outbox_item *item, const outbox_message *m)
{
    clinic *c = ctx;
    (void)m;
    assert_true(c->sent_count < PLACES);
    c->sent[c->sent_count].ticket = item->ticket;
    c->sent[c->sent_count].at_ms = c->now_ms + ANSWER_MS;
    c->sent[c->sent_count++].bad = comes_back(c, atoi(item->patient.p + 1));
    c->sends++;
}

static void clinic_settle(void *ctx, const outbox_item *item, const delivery_outcome *outcome)
{
    (void)ctx;
    (void)item;
    (void)outcome;
}

static void clinic_begin(clinic *c, size_t bad)
{
    static const outbox_endpoint endpoints[] = {{"ehr", PLACES}, {"@alerts", 8}};
    *c = (clinic){.bad = bad};
    outbox_options o = {.endpoints = endpoints,
                        .endpoint_count = 2,
                        .partitions = 1,
                        .backoff_min_ms = 1000,
                        .backoff_max_ms = 300000,
                        .seed = 5,
                        .ctx = c,
                        .prepare = clinic_prepare,
                        .send = clinic_send,
                        .settle = clinic_settle};
    c->ob = outbox_new(&o);
    assert_non_null(c->ob);
    for (int i = 0; i < CLINIC; i++) {
        char patient[8];
        snprintf(patient, sizeof patient, "p%d", i);
        delivery d = row_of(patient, i, 1, 1);
        assert_true(outbox_add(c->ob, 0, 0, &d));
        c->good_left += !comes_back(c, i);
    }
}

/* What happens next: an answer, or something may be sent. */
static void clinic_step(clinic *c)
{
    size_t first = 0;
    int64_t next = outbox_next_ms(c->ob);
    for (size_t i = 1; i < c->sent_count; i++)
        if (c->sent[i].at_ms < c->sent[first].at_ms)
            first = i;
    if (c->sent_count > 0 && c->sent[first].at_ms <= next) {
        outbox_answer a = {.verdict = c->sent[first].bad ? CONN_AGAIN : CONN_DONE,
                           .retry_after_ms = -1};
        uint64_t ticket = c->sent[first].ticket;
        c->now_ms = c->sent[first].at_ms;
        c->good_left -= !c->sent[first].bad;
        c->sent[first] = c->sent[--c->sent_count];
        outbox_answered(c->ob, ticket, &a, c->now_ms);
    } else if (next > c->now_ms) {
        c->now_ms = next;
    }
    outbox_deliver(c->ob, c->now_ms);
}

/* An EHR of which a part is broken: the others' patients wait for minutes at most, though most
 * messages come back. */
static void who_can_be_told_is_told_though_most_cannot(void **state)
{
    static const struct {
        size_t bad;
        int64_t most_ms;
    } cases[] = {{0, 6000}, {40, 6000}, {80, 20000}, {90, 120000}, {95, 600000}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        clinic c;
        clinic_begin(&c, cases[i].bad);
        while (c.good_left > 0)
            clinic_step(&c);
        print_message("%zu %% come back: the others have theirs after %lld ms, %zu sent\n",
                      cases[i].bad, (long long)c.now_ms, c.sends);
        assert_true(c.now_ms < cases[i].most_ms);
        outbox_free(c.ob);
    }
}

/* An EHR that is broken altogether is asked less and less. */
static void who_takes_nothing_is_left_in_peace(void **state)
{
    clinic c;
    (void)state;
    clinic_begin(&c, 100);
    while (c.now_ms < HOUR_MS)
        clinic_step(&c);
    print_message("%zu sent in an hour\n", c.sends);
    assert_true(c.sends < 1000);
    outbox_free(c.ob);
}

static void a_final_refusal_is_given_up(void **state)
{
    rig *r = rig_new(1);
    (void)state;
    add(r, 0, "a", 1, 1, 1);
    outbox_deliver(r->ob, 0);
    answer(r, 0, CONN_NEVER, -1, false, 0);
    assert_int_equal(outbox_pending(r->ob, SIZE_MAX), 0);
    assert_int_equal(r->settled_count, 1);
    assert_int_equal(r->settled[0].verdict, CONN_NEVER);
    assert_true(outbox_next_ms(r->ob) == INT64_MAX);
    rig_free(r);
}

/* Only the latest revision is sent; what is under way finishes first. */
static void a_newer_revision_replaces_what_waits(void **state)
{
    rig *r = rig_new(2);
    (void)state;
    add(r, 0, "a", 1, 1, 1);
    add(r, 0, "a", 1, 2, 2);
    assert_int_equal(outbox_pending(r->ob, 0), 1);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 1);
    assert_int_equal(r->sent[0].revision, 2);
    add(r, 0, "a", 1, 3, 3);
    add(r, 0, "a", 1, 4, 4);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 1);
    answer(r, 0, CONN_AGAIN, -1, false,
           0); /* even when the old one failed, the new one takes its place */
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 2);
    assert_int_equal(r->sent[1].revision, 4);
    answer(r, 1, CONN_DONE, -1, false, 0);
    assert_int_equal(outbox_pending(r->ob, SIZE_MAX), 0);
    assert_true(r->settled[0].renewed && !r->settled[1].renewed);
    rig_free(r);
}

static void what_is_dropped_is_not_sent(void **state)
{
    rig *r = rig_new(2);
    (void)state;
    add(r, 0, "a", 1, 1, 1);
    outbox_drop(r->ob, 0, OG_STR("a"), "alert-1");
    outbox_drop(r->ob, 0, OG_STR("a"), "alert-1");
    outbox_drop(r->ob, 0, OG_STR("nobody"), "alert-1");
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 0);
    /* while it is being prepared */
    r->prepare_later = true;
    add(r, 0, "a", 1, 1, 1);
    outbox_deliver(r->ob, 0);
    outbox_drop(r->ob, 0, OG_STR("a"), "alert-1");
    delivery d = row_of("a", 1, 1, 1);
    outbox_prepared(r->ob, r->asked[0], &d, &a_message, 0);
    assert_int_equal(r->sent_count, 0);
    assert_int_equal(outbox_pending(r->ob, SIZE_MAX), 0);
    /* the row was gone */
    add(r, 0, "a", 1, 1, 1);
    outbox_deliver(r->ob, 0);
    outbox_prepared(r->ob, r->asked[1], NULL, &a_message, 0);
    outbox_prepared(r->ob, 999, &d, &a_message, 0); /* nobody's ticket */
    assert_int_equal(r->sent_count, 0);
    assert_int_equal(outbox_pending(r->ob, SIZE_MAX), 0);
    rig_free(r);
}

static void a_partition_that_goes_takes_its_deliveries_along(void **state)
{
    rig *r = rig_new(1);
    (void)state;
    for (int i = 0; i < 100; i++) {
        char patient[8];
        delivery d;
        snprintf(patient, sizeof patient, "p%d", i);
        d = row_of(patient, i, 1, 1);
        assert_true(outbox_add(r->ob, 0, i % 2, &d));
    }
    outbox_deliver(r->ob, 0);
    outbox_forget_partition(r->ob, 0);
    answer(r, 0, CONN_DONE, -1, false, 0);
    assert_int_equal(outbox_pending(r->ob, 0), 50);
    while (outbox_pending(r->ob, 0) > 0) {
        outbox_deliver(r->ob, 0);
        assert_int_equal(r->sent[r->sent_count - 1].partition, 1);
        answer(r, r->sent_count - 1, CONN_DONE, -1, false, 0);
    }
    outbox_stop(r->ob);
    add(r, 0, "late", 1, 1, 1);
    outbox_deliver(r->ob, 0);
    assert_int_equal(outbox_sending(r->ob), 0);
    rig_free(r);
}

/* What was on its way when the partition went is not sent (serve_deliver.c), which says nothing of
 * the endpoint. */
static void a_partition_that_goes_is_no_failure(void **state)
{
    rig *r = rig_new(2);
    (void)state;
    add(r, 0, "a", 1, 1, 1);
    outbox_deliver(r->ob, 0);
    outbox_forget_partition(r->ob, 0);
    answer(r, 0, CONN_AGAIN, -1, true, 0);
    assert_false(outbox_is_down(r->ob, 0));
    for (int i = 0; i < 2; i++) {
        char patient[8];
        snprintf(patient, sizeof patient, "p%d", i);
        delivery d = row_of(patient, i, 1, 1);
        assert_true(outbox_add(r->ob, 0, 1, &d));
    }
    outbox_deliver(r->ob, 0); /* what is of other partitions goes on */
    assert_int_equal(r->sent_count, 3);
    rig_free(r);
}

/* ---- the heap under load: a thousand patients with times in disorder ---- */

static void deliveries_begin_in_order_of_time(void **state)
{
    rig *r = rig_new(1);
    int64_t last = -1;
    uint32_t random = 12345;
    (void)state;
    for (int i = 0; i < 200; i++) {
        char patient[8];
        snprintf(patient, sizeof patient, "p%d", i);
        delivery d = row_of(patient, i, 1, 1);
        random = random * 1664525u + 1013904223u;
        d.next_ms = random % 100000;
        assert_true(outbox_add(r->ob, 0, 0, &d));
    }
    for (int i = 0; i < 200; i++) {
        int64_t at = outbox_next_ms(r->ob);
        if (at <= 0)
            at = last; /* it was due together with the one before, and is ready */
        assert_true(at >= last);
        last = at;
        outbox_deliver(r->ob, at);
        assert_int_equal(r->sent_count, i + 1);
        assert_int_equal(r->sent[i].not_before_ms, at);
        answer(r, (size_t)i, CONN_DONE, -1, false, at);
    }
    assert_int_equal(outbox_pending(r->ob, SIZE_MAX), 0);
    rig_free(r);
}

/* ---- prepared in the batch that found it ---- */

static void add_prepared(rig *r, size_t endpoint, const char *patient, int alert, uint32_t revision,
                         int64_t sequence)
{
    delivery d = row_of(patient, alert, revision, sequence);
    d.attempts = 1;
    assert_true(outbox_add_prepared(r->ob, endpoint, 0, &d, &a_message));
}

/* Nobody is asked to prepare it again, and its patient's are sent one after the other. */
static void what_is_prepared_already_is_sent_in_order(void **state)
{
    rig *r = rig_new(4);
    (void)state;
    r->prepare_later = true;
    add_prepared(r, 0, "a", 1, 1, 1);
    add_prepared(r, 0, "a", 2, 1, 2);
    add_prepared(r, 0, "b", 3, 1, 1);
    add_prepared(r, 0, "a", 4, 1, 3);
    assert_int_equal(r->sent_count, 0); /* not from inside: the alerts topic goes first */
    assert_int_equal(outbox_sending(r->ob), 0);
    assert_int_equal(outbox_pending(r->ob, 0), 4);
    assert_int_equal(outbox_next_ms(r->ob), 0);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 2);
    assert_string_equal(r->patients[0], "a");
    assert_string_equal(r->patients[1], "b");
    assert_int_equal(r->sent[0].attempts, 1);
    assert_int_equal(outbox_sending(r->ob), 2);
    assert_true(outbox_next_ms(r->ob) == INT64_MAX);
    answer(r, 0, CONN_DONE, -1, false, 0);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 3);
    assert_int_equal(r->sent[2].sequence, 2);
    answer(r, 2, CONN_NEVER, -1, false, 0); /* no reason for the next one to wait */
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent[3].sequence, 3);
    answer(r, 1, CONN_DONE, -1, false, 0);
    answer(r, 3, CONN_DONE, -1, false, 0);
    assert_int_equal(outbox_pending(r->ob, SIZE_MAX), 0);
    assert_int_equal(r->settled_count, 4);
    assert_int_equal(r->asked_count, 0);
    rig_free(r);
}

/* The first one has to be sent again: those behind it are not on their way. */
static void what_is_behind_waits_with_the_first(void **state)
{
    rig *r = rig_new(4);
    (void)state;
    add_prepared(r, 0, "a", 1, 1, 1);
    add_prepared(r, 0, "a", 2, 1, 2);
    add_prepared(r, 0, "a", 3, 1, 3);
    outbox_deliver(r->ob, 0);
    answer(r, 0, CONN_AGAIN, 5000, false, 0);
    assert_int_equal(r->settled_count, 3);
    for (size_t i = 1; i < 3; i++) {
        assert_int_equal(r->settled[i].verdict, CONN_AGAIN);
        assert_false(r->settled[i].in_doubt);
        assert_int_equal(r->settled[i].next_ms, 0);
    }
    outbox_deliver(r->ob, 4999);
    assert_int_equal(r->sent_count, 1);
    for (size_t i = 1; i < 4; i++) {
        outbox_deliver(r->ob, 5000);
        assert_int_equal(r->sent_count, i + 1);
        assert_int_equal(r->sent[i].sequence, i);
        answer(r, i, CONN_DONE, -1, false, 5000);
    }
    assert_int_equal(outbox_pending(r->ob, SIZE_MAX), 0);
    rig_free(r);
}

/* Its endpoint fails, something of the patient waits, its alert's last attempt has not ended: it is
 * prepared again when it is its turn. */
static void what_was_prepared_in_vain_waits(void **state)
{
    rig *r = rig_new(4);
    (void)state;
    add(r, 0, "a", 1, 1, 1);
    add_prepared(r, 0, "a", 2, 1, 2);
    assert_int_equal(r->settled_count, 1);
    outbox_deliver(r->ob, 0);
    add_prepared(r, 0, "a", 1, 2, 3);
    assert_int_equal(r->settled_count, 2);
    assert_int_equal(r->settled[1].revision, 2);
    assert_int_equal(r->sent[0].revision, 1);
    answer(r, 0, CONN_AGAIN, 5000, true, 0);
    add_prepared(r, 0, "b", 4, 1, 1);
    assert_int_equal(r->settled_count, 4);
    outbox_deliver(r->ob, 4999);
    assert_int_equal(r->sent_count, 1);
    for (size_t i = 1; i < 4; i++) {
        r->now_ms = 100000;
        outbox_deliver(r->ob, 100000);
        assert_true(r->sent_count > i);
        answer(r, i, CONN_DONE, -1, false, 100000);
    }
    assert_int_equal(r->sent_count, 4);
    assert_int_equal(outbox_pending(r->ob, SIZE_MAX), 0);
    size_t second = 0, third = 0;
    for (size_t i = 1; i < 4; i++) {
        second = r->sent[i].sequence == 2 ? i : second;
        third = r->sent[i].sequence == 3 ? i : third;
    }
    assert_true(second > 0 && second < third);
    assert_int_equal(r->sent[third].revision, 2);
    rig_free(r);
}

static void what_is_behind_may_be_dropped_or_wanted_anew(void **state)
{
    rig *r = rig_new(4);
    (void)state;
    for (int i = 1; i < 5; i++)
        add_prepared(r, 0, "a", i, 1, i);
    outbox_deliver(r->ob, 0);
    outbox_drop(r->ob, 0, OG_STR("a"), "alert-2");
    add(r, 0, "a", 3, 2, 5);
    assert_int_equal(outbox_pending(r->ob, 0), 3);
    assert_int_equal(r->settled_count, 0); /* who wants it anew has written its row */
    for (size_t i = 0; i < 3; i++) {
        static const int64_t expected[] = {1, 4, 5};
        assert_int_equal(r->sent_count, i + 1);
        assert_int_equal(r->sent[i].sequence, expected[i]);
        answer(r, i, CONN_DONE, -1, false, 0);
        outbox_deliver(r->ob, 0);
    }
    assert_int_equal(r->sent_count, 3);
    assert_int_equal(outbox_pending(r->ob, SIZE_MAX), 0);
    /* with its partition; and nothing is left to be waited for */
    add_prepared(r, 0, "a", 1, 3, 6);
    add_prepared(r, 0, "a", 2, 3, 7);
    outbox_deliver(r->ob, 0);
    outbox_forget_partition(r->ob, 0);
    assert_int_equal(outbox_sending(r->ob), 1);
    answer(r, 3, CONN_DONE, -1, false, 0);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 4);
    assert_int_equal(outbox_pending(r->ob, SIZE_MAX), 0);
    assert_int_equal(outbox_sending(r->ob), 0);
    rig_free(r);
}

/* The last endpoint is the alerts topic: a card is not sent before the record that was noted before
 * it. */
static void no_card_overtakes_its_record(void **state)
{
    rig *r = rig_new(1);
    (void)state;
    add_prepared(r, 1, "a", 1, 1, 1);
    add_prepared(r, 0, "a", 1, 1, 1);
    add_prepared(r, 1, "b", 2, 1, 1);
    add_prepared(r, 0, "b", 2, 1, 1);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 2);
    assert_int_equal(r->sent[0].endpoint, 1);
    assert_string_equal(r->patients[1], "a");
    answer(r, 1, CONN_DONE, -1, false, 0);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 2);
    assert_true(outbox_next_ms(r->ob) == INT64_MAX); /* until the topic has answered */
    answer(r, 0, CONN_DONE, -1, false, 0);
    assert_int_equal(outbox_next_ms(r->ob), 0);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 4);
    assert_int_equal(r->sent[2].endpoint, 1);
    assert_string_equal(r->patients[3], "b");
    rig_free(r);
}

/* Nor before one that stands behind another of its patient's. */
static void no_card_overtakes_a_record_that_is_behind(void **state)
{
    rig *r = rig_new(4);
    (void)state;
    add_prepared(r, 1, "a", 1, 1, 1); /* makes no card */
    add_prepared(r, 1, "a", 2, 1, 2);
    add_prepared(r, 0, "a", 2, 1, 1);
    add_prepared(r, 1, "b", 3, 1, 1);
    add_prepared(r, 0, "b", 3, 1, 1);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 3); /* a's first record, b's, b's card */
    for (int i = 0; i < 3; i++)
        assert_int_equal(r->sent[i].endpoint, i < 2 ? 1 : 0);
    assert_string_equal(r->patients[2], "b");
    assert_true(outbox_next_ms(r->ob) == INT64_MAX);
    answer(r, 0, CONN_DONE, -1, false, 0);
    outbox_deliver(r->ob, 0);
    assert_int_equal(r->sent_count, 5);
    assert_int_equal(r->sent[3].endpoint, 1);
    assert_int_equal(r->sent[4].endpoint, 0);
    assert_string_equal(r->patients[4], "a");
    rig_free(r);
}

static void room_is_what_nobody_waits_for(void **state)
{
    rig *r = rig_new(2);
    (void)state;
    assert_int_equal(outbox_room(r->ob, 0, 0), OUTBOX_AHEAD + 2);
    add_prepared(r, 0, "a", 1, 1, 1);
    add_prepared(r, 0, "a", 2, 1, 2);
    add(r, 0, "b", 3, 1, 1);
    assert_int_equal(outbox_room(r->ob, 0, 0), OUTBOX_AHEAD - 1);
    assert_int_equal(outbox_room(r->ob, 1, 0), OUTBOX_AHEAD + 2);
    r->prepare_later = true;
    outbox_deliver(r->ob, 0);
    for (int i = 0; i < OUTBOX_AHEAD + 9; i++) {
        char patient[8];
        snprintf(patient, sizeof patient, "p%d", i);
        add(r, 0, patient, 1, 1, 1);
    }
    assert_int_equal(outbox_room(r->ob, 0, 0), 0);
    answer(r, 0, CONN_AGAIN, -1, true, 0);
    assert_int_equal(outbox_room(r->ob, 0, 0), 0);
    assert_int_equal(outbox_room(r->ob, 1, 0), OUTBOX_AHEAD + 2);
    outbox_stop(r->ob);
    assert_int_equal(outbox_room(r->ob, 1, 0), 0);
    rig_free(r);
}

/* ---- rows: what a receiver is told ---- */

typedef struct rows {
    world *w;
    store_txn *t;
    plan_alert alert;
} rows;

static void rows_begin(rows *r)
{
    r->w = world_new();
    assert_int_equal(store_begin(r->w->stores[0], true, &r->t, NULL), OG_OK);
    r->alert = (plan_alert){.id = "11111111-1111-5111-8111-111111111111",
                            .rule = OG_STR("D3"),
                            .slot = OG_STR("s"),
                            .state = PLAN_ALERT_ACTIVE,
                            .revision = 1,
                            .card_uuid = "aaaaaaaa-0000-5000-8000-000000000001",
                            .card = OG_STR("{\"uuid\":\"aaaaaaaa-0000-5000-8000-000000000001\"}"),
                            .digest = OG_STR("d")};
}

static void rows_end(rows *r)
{
    store_abort(r->t);
    world_free(r->w);
}

static delivery_wanted want(rows *r, size_t endpoint, delivery *row)
{
    delivery_wanted wanted;
    delivery_state was;
    assert_int_equal(store_put_alert(r->t, r->w->arena, OG_STR("p"), &r->alert, NULL), OG_OK);
    assert_int_equal(delivery_want(r->t, r->w->arena, &r->w->endpoints[endpoint], OG_STR("p"),
                                   &r->alert, 5, &wanted, row, &was, NULL),
                     OG_OK);
    return wanted;
}

static og_str body_of(rows *r, size_t endpoint, og_str *ret_key)
{
    delivery row;
    delivery_message m;
    assert_int_equal(delivery_prepare(r->t, r->w->arena, &r->w->endpoints[endpoint], OG_STR("t"),
                                      OG_STR("p"), r->alert.id, &row, &m, NULL),
                     OG_OK);
    *ret_key = m.key;
    return og_arena_str(r->w->arena, m.body);
}

static void settle(rows *r, conn_verdict verdict, bool in_doubt)
{
    delivery_outcome o = {.verdict = verdict,
                          .in_doubt = in_doubt,
                          .next_ms = 77,
                          .revision = r->alert.revision,
                          .resolved = r->alert.state == PLAN_ALERT_RESOLVED,
                          .reason = "no"};
    og_str told;
    assert_int_equal(delivery_settle(r->t, r->w->arena, &r->w->endpoints[0], OG_STR("p"),
                                     r->alert.id, &o, &told, NULL),
                     OG_OK);
}

static void next_revision(rows *r, const char *uuid)
{
    static char card[64];
    r->alert.revision++;
    r->alert.state = PLAN_ALERT_ACTIVE;
    snprintf(r->alert.card_uuid, sizeof r->alert.card_uuid, "%s", uuid);
    snprintf(card, sizeof card, "{\"uuid\":\"%s\"}", uuid);
    r->alert.card = og_str_of(card);
}

static delivery_state state_of(rows *r)
{
    delivery row;
    assert_int_equal(
        delivery_get(r->t, r->w->arena, OG_STR("ehr"), OG_STR("p"), r->alert.id, &row, NULL),
        OG_OK);
    return row.state;
}

#define UUID1 "aaaaaaaa-0000-5000-8000-000000000001"
#define UUID2 "aaaaaaaa-0000-5000-8000-000000000002"

static void a_card_lives_and_is_withdrawn(void **state)
{
    rows r;
    delivery row;
    og_str key1, key2, key3;
    (void)state;
    rows_begin(&r);
    assert_int_equal(want(&r, 0, &row), DELIVERY_SEND);
    assert_int_equal(row.sequence, 1);
    og_str body = body_of(&r, 0, &key1);
    assert_non_null(strstr(body.p, "{\"cards\":[{\"uuid\":\"" UUID1
                                   "\"}],\"extension\":{\"org.osteoguard.delivery\":{\"id\":"));
    assert_non_null(strstr(body.p, "\"patientId\":\"p\""));
    assert_non_null(strstr(body.p, "\"fhirServer\":\"https://fhir.example.org\""));
    assert_non_null(strstr(body.p, "\"service\":\"osteoguard\""));
    assert_non_null(strstr(body.p, "\"sequence\":1"));
    assert_null(strstr(body.p, "retracts"));
    settle(&r, CONN_DONE, false);
    assert_int_equal(state_of(&r), DELIVERY_DELIVERED);
    /* changed: the new card, and the old one withdrawn */
    next_revision(&r, UUID2);
    assert_int_equal(want(&r, 0, &row), DELIVERY_SEND);
    body = body_of(&r, 0, &key2);
    assert_non_null(strstr(body.p, "\"cards\":[{\"uuid\":\"" UUID2 "\"}]"));
    assert_non_null(
        strstr(body.p, "\"retracts\":[{\"uuid\":\"" UUID1 "\",\"reason\":\"superseded\"}]"));
    settle(&r, CONN_DONE, false);
    /* resolved: no card, the last one withdrawn, the row gone */
    r.alert.state = PLAN_ALERT_RESOLVED;
    assert_int_equal(want(&r, 0, &row), DELIVERY_SEND);
    assert_int_equal(row.sequence, 3);
    body = body_of(&r, 0, &key3);
    assert_non_null(strstr(body.p, "{\"cards\":[],"));
    assert_non_null(
        strstr(body.p, "\"retracts\":[{\"uuid\":\"" UUID2 "\",\"reason\":\"resolved\"}]"));
    assert_null(strstr(body.p, UUID1));
    assert_false(og_str_eq(key1, key2));
    assert_false(og_str_eq(key2, key3));
    settle(&r, CONN_DONE, false);
    assert_int_equal(
        delivery_get(r.t, r.w->arena, OG_STR("ehr"), OG_STR("p"), r.alert.id, &row, NULL),
        OG_NOTFOUND);
    rows_end(&r);
}

static void the_same_attempt_has_the_same_bytes(void **state)
{
    rows r;
    delivery row;
    og_str key1, key2;
    (void)state;
    rows_begin(&r);
    assert_int_equal(want(&r, 0, &row), DELIVERY_SEND);
    og_str body1 = body_of(&r, 0, &key1);
    settle(&r, CONN_AGAIN, true);
    assert_int_equal(state_of(&r), DELIVERY_PENDING);
    og_str body2 = body_of(&r, 0, &key2);
    assert_true(og_str_eq(body1, body2));
    assert_true(og_str_eq(key1, key2));
    assert_int_equal(key1.n, 36);
    rows_end(&r);
}

/* Resolved before anything was sent: nothing to say. */
static void what_was_never_sent_is_not_withdrawn(void **state)
{
    rows r;
    delivery row;
    og_str key;
    (void)state;
    rows_begin(&r);
    (void)want(&r, 0, &row);
    r.alert.state = PLAN_ALERT_RESOLVED;
    assert_int_equal(want(&r, 0, &row), DELIVERY_DROPPED);
    /* an attempt that certainly did not arrive is as good as none, however often */
    next_revision(&r, UUID2);
    (void)want(&r, 0, &row);
    for (int i = 0; i < 3; i++) {
        (void)body_of(&r, 0, &key);
        settle(&r, CONN_AGAIN, false);
    }
    r.alert.state = PLAN_ALERT_RESOLVED;
    assert_int_equal(want(&r, 0, &row), DELIVERY_DROPPED);
    rows_end(&r);
}

/* An attempt of which nobody knows whether it arrived: its card is withdrawn to be sure. */
static void a_doubtful_card_is_withdrawn(void **state)
{
    rows r;
    delivery row;
    og_str key;
    (void)state;
    rows_begin(&r);
    (void)want(&r, 0, &row);
    (void)body_of(&r, 0, &key);
    settle(&r, CONN_AGAIN, true);
    (void)body_of(&r, 0, &key);
    settle(&r, CONN_AGAIN, false); /* this one did not arrive, but the one before may have */
    r.alert.state = PLAN_ALERT_RESOLVED;
    assert_int_equal(want(&r, 0, &row), DELIVERY_SEND);
    og_str body = body_of(&r, 0, &key);
    assert_non_null(strstr(body.p, "\"retracts\":[{\"uuid\":\"" UUID1 "\""));
    rows_end(&r);
}

/* The process died between the intent and the answer. */
static void an_intent_counts_as_doubt_after_a_crash(void **state)
{
    rows r;
    delivery row;
    og_str key;
    (void)state;
    rows_begin(&r);
    (void)want(&r, 0, &row);
    (void)body_of(&r, 0, &key); /* and no answer */
    next_revision(&r, UUID2);
    (void)want(&r, 0, &row);
    og_str body = body_of(&r, 0, &key);
    assert_non_null(strstr(body.p, "\"retracts\":[{\"uuid\":\"" UUID1 "\""));
    rows_end(&r);
}

static int64_t attempts_of(rows *r)
{
    delivery row;
    assert_int_equal(
        delivery_get(r->t, r->w->arena, OG_STR("ehr"), OG_STR("p"), r->alert.id, &row, NULL),
        OG_OK);
    return row.attempts;
}

/* The wait after the first real failure is that of the first. */
static void what_was_not_sent_is_no_attempt(void **state)
{
    rows r;
    delivery row;
    og_str key, told;
    (void)state;
    rows_begin(&r);
    (void)want(&r, 0, &row);
    delivery_outcome vain = {.verdict = CONN_AGAIN, .not_sent = true, .revision = 1, .reason = ""};
    for (int i = 0; i < 3; i++) {
        (void)body_of(&r, 0, &key);
        assert_int_equal(attempts_of(&r), 1);
        assert_int_equal(delivery_settle(r.t, r.w->arena, &r.w->endpoints[0], OG_STR("p"),
                                         r.alert.id, &vain, &told, NULL),
                         OG_OK);
        assert_int_equal(attempts_of(&r), 0);
        assert_int_equal(state_of(&r), DELIVERY_PENDING);
    }
    (void)body_of(&r, 0, &key);
    settle(&r, CONN_AGAIN, false);
    assert_int_equal(attempts_of(&r), 1);
    rows_end(&r);
}

static void a_refused_card_is_parked_until_something_changes(void **state)
{
    rows r;
    delivery row;
    og_str key, body;
    (void)state;
    rows_begin(&r);
    (void)want(&r, 0, &row);
    (void)body_of(&r, 0, &key);
    settle(&r, CONN_NEVER, false);
    assert_int_equal(state_of(&r), DELIVERY_PARKED);
    (void)body_of(&r, 0, &key); /* a new process tries once more what was given up */
    settle(&r, CONN_NEVER, false);
    assert_int_equal(state_of(&r), DELIVERY_PARKED);
    next_revision(&r, UUID2);
    assert_int_equal(want(&r, 0, &row), DELIVERY_SEND);
    body = body_of(&r, 0, &key);
    assert_null(strstr(body.p, "retracts")); /* the receiver refused it: it does not have it */
    rows_end(&r);
}

/* The answer of an old revision comes when a new one is wanted already. */
static void a_late_answer_does_not_settle_the_new_revision(void **state)
{
    rows r;
    delivery row;
    og_str key;
    (void)state;
    rows_begin(&r);
    (void)want(&r, 0, &row);
    (void)body_of(&r, 0, &key);
    next_revision(&r, UUID2);
    (void)want(&r, 0, &row);
    delivery_outcome late = {.verdict = CONN_DONE, .revision = 1, .resolved = false, .reason = ""};
    og_str told;
    assert_int_equal(delivery_settle(r.t, r.w->arena, &r.w->endpoints[0], OG_STR("p"), r.alert.id,
                                     &late, &told, NULL),
                     OG_OK);
    assert_int_equal(state_of(&r), DELIVERY_PENDING);
    og_str body = body_of(&r, 0, &key);
    assert_non_null(strstr(body.p, UUID2));
    assert_non_null(strstr(body.p, "\"retracts\":[{\"uuid\":\"" UUID1 "\""));
    rows_end(&r);
}

/* Empty: there is none. */
static og_str told_row(rows *r)
{
    store_key key;
    og_str value;
    store_told_key(&key, OG_STR("p"), r->alert.id, OG_STR("ehr"));
    og_status status = kv_get(r->t, STORE_PATIENT, (og_str){key.p, key.n}, &value, NULL);
    assert_true(status == OG_OK || status == OG_NOTFOUND);
    return status == OG_OK ? og_arena_str(r->w->arena, value) : OG_STR("");
}

/* The row beside the alert says from the beginning what will have been told, behind the one that
 * waits; an attempt that goes another way writes it again. */
static void what_is_told_is_written_when_it_is_wanted(void **state)
{
    rows r;
    delivery row;
    og_str key;
    (void)state;
    rows_begin(&r);
    (void)want(&r, 0, &row);
    og_str told = told_row(&r);
    assert_non_null(strstr(told.p, "\"state\":\"delivered\""));
    assert_non_null(strstr(told.p, "\"held\":[\"" UUID1 "\"]"));
    assert_int_equal(state_of(&r), DELIVERY_PENDING);
    (void)body_of(&r, 0, &key);
    assert_int_equal(state_of(&r), DELIVERY_INTENT);
    settle(&r, CONN_DONE, false);
    assert_int_equal(state_of(&r), DELIVERY_DELIVERED);
    assert_true(og_str_eq(told_row(&r), told));
    next_revision(&r, UUID2);
    (void)want(&r, 0, &row);
    (void)body_of(&r, 0, &key);
    settle(&r, CONN_AGAIN, false);
    assert_int_equal(state_of(&r), DELIVERY_PENDING);
    (void)body_of(&r, 0, &key);
    settle(&r, CONN_DONE, false);
    assert_int_equal(
        delivery_get(r.t, r.w->arena, OG_STR("ehr"), OG_STR("p"), r.alert.id, &row, NULL), OG_OK);
    assert_int_equal(row.state, DELIVERY_DELIVERED);
    assert_int_equal(row.attempts, 2);
    assert_int_equal(row.held_count, 1);
    assert_string_equal(row.held[0], UUID2);
    r.alert.state = PLAN_ALERT_RESOLVED;
    (void)want(&r, 0, &row);
    assert_int_equal(told_row(&r).n, 0);
    assert_int_equal(state_of(&r), DELIVERY_PENDING);
    rows_end(&r);
}

static void late(rows *r, conn_verdict verdict, bool in_doubt, og_str *ret_told)
{
    delivery_outcome o = {
        .verdict = verdict, .in_doubt = in_doubt, .revision = 1, .reason = "refused"};
    assert_int_equal(delivery_settle(r->t, r->w->arena, &r->w->endpoints[0], OG_STR("p"),
                                     r->alert.id, &o, ret_told, NULL),
                     OG_OK);
}

/* The alert ends, or changes, while its card is on its way: only where that may have arrived is
 * anything withdrawn. */
static void what_did_not_arrive_is_not_withdrawn(void **state)
{
    static const struct {
        conn_verdict verdict;
        bool in_doubt, cut_off; /* the process died with an earlier attempt under way */
        size_t held;
    } cases[] = {{CONN_AGAIN, false, false, 0},
                 {CONN_NEVER, false, false, 0},
                 {CONN_AGAIN, true, false, 1},
                 {CONN_DONE, false, false, 1},
                 {CONN_AGAIN, false, true, 1}};
    (void)state;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof cases[0]; i++) {
        bool ends = i % 2 == 0;
        rows r;
        delivery row;
        og_str key, told;
        rows_begin(&r);
        (void)want(&r, 0, &row);
        (void)body_of(&r, 0, &key);
        if (cases[i / 2].cut_off)
            (void)body_of(&r, 0, &key);
        if (ends)
            r.alert.state = PLAN_ALERT_RESOLVED;
        else
            next_revision(&r, UUID2);
        assert_int_equal(want(&r, 0, &row), DELIVERY_SEND);
        assert_int_equal(want(&r, 0, &row), DELIVERY_SEND); /* once more changes nothing */
        late(&r, cases[i / 2].verdict, cases[i / 2].in_doubt, &told);
        og_status there =
            delivery_get(r.t, r.w->arena, OG_STR("ehr"), OG_STR("p"), r.alert.id, &row, NULL);
        if (ends && cases[i / 2].held == 0) {
            assert_int_equal(there, OG_NOTFOUND);
            assert_non_null(strstr(told.p, "\"state\":\"delivered\"")); /* others hear of it */
            assert_non_null(strstr(told.p, "\"held\":[]"));
        } else {
            assert_int_equal(there, OG_OK);
            assert_int_equal(row.state, DELIVERY_PENDING);
            assert_int_equal(row.held_count, cases[i / 2].held);
            assert_string_equal(row.under_way, "");
            assert_int_equal(told.p == NULL, cases[i / 2].verdict == CONN_AGAIN);
        }
        rows_end(&r);
    }
}

static void the_alerts_topic_hears_every_state(void **state)
{
    rows r;
    delivery row;
    og_str key;
    (void)state;
    rows_begin(&r);
    (void)want(&r, 1, &row);
    r.alert.state = PLAN_ALERT_RESOLVED;
    assert_int_equal(want(&r, 1, &row), DELIVERY_SEND);
    og_str body = body_of(&r, 1, &key);
    assert_true(og_str_is(key, "t|p|11111111-1111-5111-8111-111111111111"));
    plan_alert read;
    assert_int_equal(plan_alert_read(r.w->arena, body, &read, NULL), OG_OK);
    assert_int_equal(read.state, PLAN_ALERT_RESOLVED);
    rows_end(&r);
}

static void note_wanted(rows *r, size_t endpoint)
{
    delivery row;
    assert_int_equal(want(r, endpoint, &row), DELIVERY_SEND);
    assert_int_equal(store_commit(r->t, NULL), OG_OK);
    row.patient = OG_STR("p");
    assert_true(outbox_add(r->w->outbox, endpoint, 0, &row));
    assert_int_equal(store_begin(r->w->stores[0], true, &r->t, NULL), OG_OK);
}

/* It is wanted anew while it is being prepared, and another card of the patient was wanted before
 * that: it waits for its new turn. */
static void what_is_wanted_anew_overtakes_nobody(void **state)
{
    rows r;
    (void)state;
    rows_begin(&r);
    world *w = r.w;
    note_wanted(&r, 0);
    outbox_deliver(w->outbox, w->real_ms);
    assert_int_equal(w->task_count[0], 1);
    plan_alert first = r.alert;
    memcpy(r.alert.id, "22222222-1111-5111-8111-111111111111", sizeof r.alert.id);
    next_revision(&r, UUID2);
    note_wanted(&r, 0);
    r.alert = first;
    next_revision(&r, "aaaaaaaa-0000-5000-8000-000000000003");
    note_wanted(&r, 0);
    store_abort(r.t);
    for (int turn = 0; turn < 8; turn++) {
        world_run_partition(w, 0, NULL, 0, -1);
        outbox_deliver(w->outbox, w->real_ms);
    }
    assert_int_equal(w->post_count, 2);
    assert_non_null(strstr(w->posts[0].body, UUID2));
    assert_non_null(strstr(w->posts[0].body, "\"sequence\":2"));
    assert_non_null(strstr(w->posts[1].body, "\"sequence\":3"));
    assert_int_equal(outbox_pending(w->outbox, 0), 0);
    r.t = NULL;
    rows_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_at_a_time_and_in_order_for_each_patient),
        cmocka_unit_test(no_more_than_the_endpoint_allows),
        cmocka_unit_test(more_are_prepared_than_are_sent),
        cmocka_unit_test(what_is_ready_may_be_dropped_or_wanted_anew),
        cmocka_unit_test(what_is_ready_waits_when_the_endpoint_fails),
        cmocka_unit_test(nothing_that_is_ready_is_sent_after_the_stop),
        cmocka_unit_test(failures_wait_longer_and_longer),
        cmocka_unit_test(a_dead_endpoint_is_probed_by_one),
        cmocka_unit_test(a_clock_that_was_ahead_holds_nothing_back),
        cmocka_unit_test(what_was_let_in_before_does_not_end_the_wait),
        cmocka_unit_test(who_takes_nothing_is_probed_by_one),
        cmocka_unit_test(a_message_that_comes_back_is_not_the_endpoint),
        cmocka_unit_test(who_can_be_told_is_told_though_most_cannot),
        cmocka_unit_test(who_takes_nothing_is_left_in_peace),
        cmocka_unit_test(a_final_refusal_is_given_up),
        cmocka_unit_test(a_newer_revision_replaces_what_waits),
        cmocka_unit_test(what_is_dropped_is_not_sent),
        cmocka_unit_test(a_partition_that_goes_takes_its_deliveries_along),
        cmocka_unit_test(a_partition_that_goes_is_no_failure),
        cmocka_unit_test(deliveries_begin_in_order_of_time),
        cmocka_unit_test(what_is_prepared_already_is_sent_in_order),
        cmocka_unit_test(what_is_behind_waits_with_the_first),
        cmocka_unit_test(what_was_prepared_in_vain_waits),
        cmocka_unit_test(what_is_behind_may_be_dropped_or_wanted_anew),
        cmocka_unit_test(no_card_overtakes_its_record),
        cmocka_unit_test(no_card_overtakes_a_record_that_is_behind),
        cmocka_unit_test(room_is_what_nobody_waits_for),
        cmocka_unit_test(a_card_lives_and_is_withdrawn),
        cmocka_unit_test(the_same_attempt_has_the_same_bytes),
        cmocka_unit_test(what_was_never_sent_is_not_withdrawn),
        cmocka_unit_test(a_doubtful_card_is_withdrawn),
        cmocka_unit_test(an_intent_counts_as_doubt_after_a_crash),
        cmocka_unit_test(what_was_not_sent_is_no_attempt),
        cmocka_unit_test(a_refused_card_is_parked_until_something_changes),
        cmocka_unit_test(a_late_answer_does_not_settle_the_new_revision),
        cmocka_unit_test(what_is_told_is_written_when_it_is_wanted),
        cmocka_unit_test(what_is_wanted_anew_overtakes_nobody),
        cmocka_unit_test(what_did_not_arrive_is_not_withdrawn),
        cmocka_unit_test(the_alerts_topic_hears_every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
