/* The daemon dies at every place of the table of crash points (STREAM 3.9), one after the other, on
 * one broker and one store, while events come; then at random moments. After each death the next
 * one takes over. In the end:
 *
 *   I1  every input is in the state or a dead letter: the alerts are those of a run without a fault
 *   I3  the EHR has exactly the cards of the alerts that are believed
 *   I4  a card has one Idempotency-Key; a request comes twice only where that cannot be known
 *   I9  the state that is read back from the topics alone is the state that was there
 *
 * Prints one line for each point: died there or not reached, and how often a request came again. */
#include "serve_stage.h"

#include "daemon/crash.h"

#define RUNS 200 /* random ones of a long run */

static const char *const names[] = {
#define X(id, name) name,
    CRASH_MAP(X)
#undef X
};

/* A second request with the same key may come only when the first one was under way. */
static bool may_repeat(crash_place place)
{
    return place == CRASH_POSTED || place == CRASH_ANSWERED || place == CRASH_RECEIPT;
}

static int passed, failed;

static void check(bool good, const char *what, const char *where)
{
    passed += good;
    failed += !good;
    if (!good)
        printf("FAILED: %s (%s)\n", what, where);
}

/* ---- one life of a daemon ---- */

typedef struct life {
    int pid;
    bool gone;
    int status;
} life;

static life now;

static bool is_gone(stage *s)
{
    (void)s;
    if (!now.gone && waitpid(now.pid, &now.status, WNOHANG) == now.pid)
        now.gone = true;
    return now.gone;
}

static int64_t until_ms;

static bool is_gone_or_late(stage *s)
{
    return is_gone(s) || clock_monotonic_us() / 1000 > until_ms;
}

static void begin_life(stage *s)
{
    now = (life){.pid = spawn_member(s, 0)};
}

/* Ends by itself, or is killed when the time is over. true: it died by itself. */
static bool end_life(stage *s, int64_t most_ms)
{
    until_ms = clock_monotonic_us() / 1000 + most_ms;
    wait_until(s, "an end", is_gone_or_late);
    bool by_itself = now.gone;
    if (!now.gone)
        kill(now.pid, SIGKILL);
    wait_until(s, "its end", is_gone);
    return by_itself && WIFEXITED(now.status) && WEXITSTATUS(now.status) == CRASH_STATUS;
}

/* ---- what is there in the end ---- */

typedef struct image { /* patient, alert, revision, state, card of every alert; sorted by patient */
    og_buf text;
} image;

static void draw(const serve *s, image *out)
{
    og_buf_init(&out->text, (size_t)64 << 20);
    og_arena *a = og_arena_new((size_t)256 << 20);
    for (int p = 0; p < PARTITIONS; p++) {
        store_txn *t;
        const og_str *patients;
        const plan_alert *alerts;
        size_t n, count;
        assert_int_equal(store_begin(s->partitions[p].store, false, &t, NULL), OG_OK);
        assert_int_equal(store_patients(t, a, (og_str){NULL, 0}, SIZE_MAX, &patients, &n, NULL),
                         OG_OK);
        for (size_t i = 0; i < n; i++) {
            const fhir_resource *list;
            size_t resources;
            assert_int_equal(store_view(t, NULL, a, patients[i], &list, &resources, NULL), OG_OK);
            og_buf_addf(&out->text, "%.*s %zu\n", OG_STR_ARG(patients[i]), resources);
            for (size_t k = 0; k < resources; k++)
                og_buf_adds(&out->text, fhir_raw(list[k].root));
            assert_int_equal(store_alerts(t, a, patients[i], &alerts, &count, NULL), OG_OK);
            for (size_t k = 0; k < count; k++)
                og_buf_addf(&out->text, "%s %u %d %s\n", alerts[k].id, alerts[k].revision,
                            (int)alerts[k].state, alerts[k].card_uuid);
        }
        store_abort(t);
    }
    og_arena_free(a);
    assert_false(og_buf_failed(&out->text));
}

static bool settled_and_quiet(stage *s)
{
    return is_quiet(s);
}

static void remove_store(const stage *s)
{
    char path[96];
    snprintf(path, sizeof path, "%s/store", s->dir);
    assert_int_equal(file_remove_tree(path, NULL), OG_OK);
}

/* The alerts that are open, one a line: patient, rule, id. Not their revisions, which differ when
 * events were seen one by one. */
static void list_open(const serve *s, og_buf *out)
{
    og_buf_init(out, (size_t)1 << 20);
    og_arena *a = og_arena_new((size_t)64 << 20);
    for (int p = 0; p < PARTITIONS; p++) {
        store_txn *t;
        const og_str *patients;
        const plan_alert *alerts;
        size_t n, count;
        assert_int_equal(store_begin(s->partitions[p].store, false, &t, NULL), OG_OK);
        assert_int_equal(store_patients(t, a, (og_str){NULL, 0}, SIZE_MAX, &patients, &n, NULL),
                         OG_OK);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(store_alerts(t, a, patients[i], &alerts, &count, NULL), OG_OK);
            for (size_t k = 0; k < count; k++)
                if (alerts[k].state == PLAN_ALERT_ACTIVE)
                    og_buf_addf(out, "%.*s %.*s %s\n", OG_STR_ARG(patients[i]),
                                OG_STR_ARG(alerts[k].rule), alerts[k].id);
        }
        store_abort(t);
    }
    og_arena_free(a);
    assert_false(og_buf_failed(out));
}

static void print_lines_only_in(const og_buf *one, const og_buf *other, const char *what)
{
    og_str rest = og_buf_str(one), there = og_buf_str(other);
    while (rest.n > 0) {
        size_t n = (size_t)((const char *)memchr(rest.p, '\n', rest.n) - rest.p) + 1;
        if (memmem(there.p, there.n, rest.p, n) == NULL)
            printf("    %s: %.*s", what, (int)n, rest.p);
        rest = og_str_from(rest, n);
    }
}

/* Where the daemon stands: why it may not have come to something. */
static void print_state(const stage *s)
{
    const serve *d = s->at[0].serve;
    for (int p = 0; p < PARTITIONS; p++) {
        owner_state at = owner_get(d->owner, p);
        printf("    partition %d: offset %lld of %lld, %llu dirty, %s, next review in %lld ms\n", p,
               (long long)at.next_offset, (long long)at.end_offset, (unsigned long long)at.dirty,
               serve__is_current((void *)d, p) ? "current" : "gated",
               at.next_due_ms == 0 ? -1LL : (long long)(at.next_due_ms - s->now_ms));
    }
}

/* The same events without any fault. */
static void open_without_faults(og_buf *out)
{
    stage *s = stage_new();
    start_and_wait(s);
    (void)send_stream(s, 0, SIZE_MAX);
    s->now_ms = BEFORE_MIDNIGHT + 21000;
    wait_until(s, "everything", settled_and_quiet);
    wait_until(s, "D3 by the clock", has_d3_by_clock);
    wait_until(s, "everything", settled_and_quiet);
    list_open(s->at[0].serve, out);
    stage_free(s);
}

static bool has_the_alerts(const stage *s, const og_buf *expected)
{
    og_buf got;
    list_open(s->at[0].serve, &got);
    bool same = og_str_eq(og_buf_str(expected), og_buf_str(&got));
    if (!same) {
        print_lines_only_in(expected, &got, "missing");
        print_lines_only_in(&got, expected, "too much");
        print_state(s);
    }
    og_buf_done(&got);
    return same;
}

static void judge(stage *s, const og_buf *expected, const char *where)
{
    image live, rebuilt;
    s->now_ms = BEFORE_MIDNIGHT + 21000;
    start_and_wait(s);
    wait_until(s, "everything", settled_and_quiet);
    wait_until(s, "D3 by the clock", has_d3_by_clock);
    wait_until(s, "everything", settled_and_quiet);
    check(has_the_alerts(s, expected), "I1: the alerts of a run without faults", where);
    ehr_has_what_is_believed(s);
    check(true, "I3: the EHR has what is believed", where);
    no_card_came_under_two_keys(s);
    check(true, "I4: one key for a card", where);
    draw(s->at[0].serve, &live);
    size_t said = s->post_count - s->repeats; /* a receipt that was not in the log is a repeat */
    stop(s);
    remove_store(s);
    start_and_wait(s);
    wait_until(s, "everything", settled_and_quiet);
    draw(s->at[0].serve, &rebuilt);
    check(og_str_eq(og_buf_str(&live.text), og_buf_str(&rebuilt.text)),
          "I9: what the topics say is what was there", where);
    check(s->post_count - s->repeats == said, "a rebuilt store says nothing new", where);
    og_buf_done(&live.text);
    og_buf_done(&rebuilt.text);
}

/* ---- the loops ---- */

static const char late_one[] =
    "{\"resourceType\":\"Patient\",\"id\":\"late\",\"meta\":{\"lastUpdated\":"
    "\"2026-01-0%dT00:00:00Z\"},\"gender\":\"male\"}";

/* The newer version first: the owner has to write it again. */
static void send_out_of_order(stage *s)
{
    for (int day = 2; day >= 1; day--) {
        char text[256];
        int n = snprintf(text, sizeof text, late_one, day);
        mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, text, (size_t)n);
        s->sent++;
    }
}

static void die_at(stage *s, crash_place place, int pass, size_t *next)
{
    char at[64];
    size_t repeats = s->repeats;
    snprintf(at, sizeof at, "%s:%d", names[place], pass);
    setenv("CRASH_AT", at, 1);
    begin_life(s);
    *next += send_stream(s, *next, *next + 4);
    if (place == CRASH_SWEPT)
        s->later = true;
    if (place == CRASH_POISON) {
        mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, "{", 1);
        s->sent++;
    }
    if (place == CRASH_REASSERTED)
        send_out_of_order(s);
    bool died = end_life(s, 15000);
    unsetenv("CRASH_AT");
    printf("%-12s pass %-2d %s, %zu requests again\n", names[place], pass,
           died ? "died there" : "not reached", s->repeats - repeats);
    fflush(stdout);
    if (!may_repeat(place) && pass == 1 && place != CRASH_POLLED)
        /* Of each delivery under way (at most 8) the request may be out, or its receipt not yet on
         * the topic while the next request is out already. */
        check(s->repeats - repeats <= 16, "I4: nothing was under way but the other deliveries", at);
    check(died || pass > 1, "the point is reached", at);
}

static void every_point(const og_buf *expected, bool long_run)
{
    stage *s = stage_new();
    size_t next = 0;
    (void)send_stream(s, 0, 6);
    next = 6;
    for (int pass = 1; pass <= (long_run ? 10 : 1); pass += 9)
        for (int place = 0; place < CRASH_PLACES; place++)
            die_at(s, (crash_place)place, pass, &next);
    (void)send_stream(s, next, SIZE_MAX);
    judge(s, expected, "all points");
    stage_free(s);
}

static void random_moments(const og_buf *expected)
{
    uint64_t seed = 20260301;
    stage *s = stage_new();
    size_t next = 0;
    for (int run = 0; run < RUNS; run++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        begin_life(s);
        if (run % 3 == 0)
            next += send_stream(s, next, next + 1);
        (void)end_life(s, 50 + (int64_t)(seed >> 33) % 6000);
    }
    printf("%d kills at random moments, %zu requests came again\n", RUNS, s->repeats);
    (void)send_stream(s, next, SIZE_MAX);
    judge(s, expected, "random kills");
    stage_free(s);
}

int main(void)
{
    bool long_run = getenv("OG_FAULTS_LONG") != NULL;
    og_buf expected;
    open_without_faults(&expected);
    every_point(&expected, long_run);
    if (long_run)
        random_moments(&expected);
    og_buf_done(&expected);
    printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
