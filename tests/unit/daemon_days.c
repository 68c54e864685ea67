/* Days as a hospital in Europe/Berlin has them: of 23 and 25 hours, and clocks that are set or
 * stand still. Time is what the test says. */
#include "daemon_world.h"

#include "connectors/ndjson.h"
#include "fhir/base/temporal.h"

#define STREAM OG_SOURCE_DIR "/tests/fixtures/sample/stream.ndjson"
#define HOUR   3600000LL
#define DAY    86400000LL
/* The midnight at which sample-11's denosumab has been missing for 85 days (rule D3). */
#define MISSED 1772319600000 /* 2026-03-01T00:00+01:00 */

/* ---- the patient of D3, on other days ---- */

static bool is_date(const char *p)
{
    return strspn(p, "0123456789") == 4 && p[4] == '-' && strspn(p + 5, "0123456789") == 2 &&
           p[7] == '-' && strspn(p + 8, "0123456789") == 2;
}

/* Every date of the text, days later; the patient gets another number. */
static void later(og_buf *out, const char *text, int days, const char *id, const char *time)
{
    og_buf_clear(out);
    for (const char *p = text; *p != '\0';) {
        int year, month, day;
        if (strncmp(p, "sample-11", 9) == 0) {
            og_buf_addz(out, id);
            p += 9;
        } else if (p > text && p[-1] == '"' && is_date(p)) {
            assert_int_equal(sscanf(p, "%4d-%2d-%2d", &year, &month, &day), 3);
            og_civil_from_days(og_days_from_civil(year, month, day) + days, &year, &month, &day);
            og_buf_addf(out, "%04d-%02d-%02d", year, month, day);
            p += 10;
            if (*p == '"' && time != NULL)
                og_buf_addz(out, time);
        } else {
            og_buf_addc(out, *p++);
        }
    }
    assert_false(og_buf_failed(out));
}

static char *sample_11(void)
{
    ndjson_reader *r;
    ndjson_item item;
    og_error err;
    char *text = NULL;
    og_error_init(&err);
    assert_int_equal(ndjson_open(STREAM, 0, 0, 0, &r, &err), OG_OK);
    while (text == NULL && ndjson_next(r, &item, &err) == OG_OK)
        if (memmem(item.text.p, item.text.n, "Patient/sample-11", 17) != NULL)
            text = world_copy(item.text);
    ndjson_close(r);
    assert_non_null(text);
    return text;
}

static void arrives(world *w, int days, const char *id, const char *time)
{
    char *text = sample_11();
    og_buf out;
    og_buf_init(&out, 1u << 20);
    later(&out, text, days, id, time);
    world_put(w, "fhir.bundle", (og_str){NULL, 0}, og_buf_str(&out));
    world_settle_down(w);
    og_buf_done(&out);
    free(text);
}

/* The open alert of a rule, or none; lives in the world's arena. */
static bool open_alert(world *w, const char *id, const char *rule, plan_alert *ret)
{
    og_str patient = og_str_of(id);
    bool found = false;
    og_error err;
    og_error_init(&err);
    for (int p = 0; p < WORLD_PARTITIONS; p++) {
        const plan_alert *alerts;
        size_t n;
        store_txn *t;
        assert_int_equal(store_begin(w->stores[p], false, &t, &err), OG_OK);
        assert_int_equal(store_alerts(t, w->arena, patient, &alerts, &n, &err), OG_OK);
        for (size_t i = 0; i < n; i++)
            if (og_str_is(alerts[i].rule, rule) && alerts[i].state == PLAN_ALERT_ACTIVE) {
                *ret = alerts[i];
                found = true;
            }
        store_abort(t);
    }
    return found;
}

static bool is_missed(world *w, const char *id)
{
    plan_alert alert;
    return open_alert(w, id, "D3", &alert);
}

/* ---- days of 23 and 25 hours ---- */

typedef struct day {
    int later;        /* days after 2026-03-01 */
    int64_t midnight; /* at which it is missed */
} day;

static const day days[] = {
    {0, MISSED},
    {28, 1774738800000},  /* 2026-03-29T00:00+01:00: clocks go forward two hours later */
    {29, 1774821600000},  /* 2026-03-30T00:00+02:00: 23 hours after that */
    {30, 1774908000000},  /* 2026-03-31T00:00+02:00 */
    {238, 1792879200000}, /* 2026-10-25T00:00+02:00: clocks go back three hours later */
    {239, 1792969200000}, /* 2026-10-26T00:00+01:00: 25 hours after that */
    {240, 1793055600000}, /* 2026-10-27T00:00+01:00 */
};

/* Looked at last a good day before, when the offset was still the other one; then hour by hour. */
static void what_is_missed_is_missed_at_local_midnight(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof days / sizeof days[0]; i++) {
        world *w = world_new();
        plan_alert alert;
        w->now_ms = days[i].midnight - 37 * HOUR;
        arrives(w, days[i].later, "sample-11", NULL);
        uint64_t evaluations = w->total.evaluations;
        for (int64_t to = 36; to > 0; to--) {
            w->now_ms = days[i].midnight - to * HOUR;
            world_settle_down(w);
            assert_false(is_missed(w, "sample-11"));
        }
        w->now_ms = days[i].midnight - 1;
        world_settle_down(w);
        assert_false(is_missed(w, "sample-11"));
        w->now_ms = days[i].midnight;
        world_settle_down(w);
        assert_true(open_alert(w, "sample-11", "D3", &alert));
        /* a midnight between and the one at hand, and each perhaps an hour too early once */
        assert_in_range(w->total.evaluations - evaluations, 1, 4);
        /* the day is counted as any other */
        if (memmem(alert.card.p, alert.card.n, "for 85 days", 11) == NULL)
            fail_msg("%d days later: %.*s", days[i].later, OG_STR_ARG(alert.card));
        world_free(w);
    }
}

/* Doses given at night, written with the offset of their own time, in winter and in summer: the day
 * is that of the hospital, not the one that it would be with today's offset. */
static void a_dose_at_night_belongs_to_its_day(void **state)
{
    static const struct {
        int later;
        int64_t midnight;
        const char *time;
    } nights[] = {{30, 1774908000000, "T23:30:00+01:00"}, /* seen in summer, given in winter */
                  {30, 1774908000000, "T00:15:00+01:00"},
                  {240, 1793055600000, "T23:30:00+02:00"}, /* the other way round */
                  {240, 1793055600000, "T00:15:00+02:00"}};
    (void)state;
    for (size_t i = 0; i < sizeof nights / sizeof nights[0]; i++) {
        world *w = world_new();
        w->now_ms = nights[i].midnight - 10 * HOUR;
        arrives(w, nights[i].later, "sample-11", nights[i].time);
        w->now_ms = nights[i].midnight - 1;
        world_settle_down(w);
        assert_false(is_missed(w, "sample-11"));
        w->now_ms = nights[i].midnight;
        world_settle_down(w);
        assert_true(is_missed(w, "sample-11"));
        world_free(w);
    }
}

static int standing(int64_t ms)
{
    (void)ms;
    return 60;
}

static void a_midnight_that_comes_earlier_is_looked_for(void **state)
{
    og_error err;
    (void)state;
    og_error_init(&err);
    assert_int_equal(clock_set_zone("Europe/Berlin", &err), OG_OK);
    int64_t noon = 1774695600000; /* 2026-03-28T12:00+01:00 */
    /* midnight of the 30th as it would be without summer time, and as it is */
    assert_int_equal(clock_review_ms(1774825200000, noon, clock_offset_min), 1774821600000);
    assert_int_equal(clock_review_ms(1774825200000, noon, standing), 1774825200000);
    /* before the change nothing moves, and none is nothing */
    assert_int_equal(clock_review_ms(1774738800000, noon, clock_offset_min), 1774738800000);
    assert_int_equal(clock_review_ms(0, noon, clock_offset_min), 0);
    assert_int_equal(clock_review_ms(1, noon, clock_offset_min), 1);
    /* never back to now or before it: that would turn for ever */
    int64_t night = 1774744200000; /* 2026-03-29T01:30+01:00 */
    assert_int_equal(clock_review_ms(night + 40 * 60000, night, clock_offset_min),
                     night + 40 * 60000);
    /* where clocks go back, too early is early enough */
    int64_t autumn = 1792843200000; /* 2026-10-24T14:00+02:00 */
    assert_int_equal(clock_review_ms(1792965600000, autumn, clock_offset_min), 1792965600000);
    /* 45 minutes are offsets too */
    assert_int_equal(clock_set_zone("Pacific/Chatham", &err), OG_OK);
    assert_int_equal(clock_offset_min(1792965600000) % 60, 45);
}

/* ---- clocks that are set ---- */

/* Back by two days: what was found is not found twice, what is due waits, and nothing turns in
 * vain. Forward again: all is as it was. */
static void set_back_and_forward(void **state)
{
    world *w = world_new();
    (void)state;
    w->now_ms = MISSED - DAY;
    arrives(w, 0, "sample-11", NULL);
    arrives(w, 3, "later-11", NULL);
    w->now_ms = MISSED;
    world_settle_down(w);
    assert_true(is_missed(w, "sample-11"));
    uint64_t evaluations = w->total.evaluations, opened = w->total.opened;
    size_t posts = w->post_count;
    w->now_ms = MISSED - 2 * DAY;
    for (int i = 0; i < 5; i++)
        world_settle_down(w);
    assert_int_equal(w->total.evaluations, evaluations);
    assert_true(is_missed(w, "sample-11"));
    w->now_ms = MISSED + 3 * DAY - 1;
    w->batch.gated = true; /* as after every jump (serve_beat.c) */
    world_settle_down(w);
    assert_false(is_missed(w, "later-11"));
    assert_int_equal(w->total.opened, opened);
    w->batch.gated = false;
    world_settle_down(w);
    assert_false(is_missed(w, "later-11"));
    w->now_ms++;
    world_settle_down(w);
    assert_true(is_missed(w, "later-11"));
    assert_true(is_missed(w, "sample-11"));
    assert_true(w->post_count > posts);
    world_free(w);
}

/* Far ahead by mistake: nothing opens while the jump is not believed, and when the clock is right
 * again nothing was said. */
static void ahead_by_mistake(void **state)
{
    world *w = world_new();
    (void)state;
    w->now_ms = MISSED - 5 * DAY;
    arrives(w, 0, "sample-11", NULL);
    size_t posts = w->post_count;
    uint64_t opened = w->total.opened;
    w->now_ms = MISSED + 400 * DAY;
    w->batch.gated = true;
    world_settle_down(w);
    world_event(w,
                "{\"resourceType\":\"Observation\",\"id\":\"sample-11-creatinine\",\"meta\":{"
                "\"lastUpdated\":\"2026-02-28T09:00:00Z\"},\"status\":\"final\",\"code\":{"
                "\"coding\":[{\"system\":\"http://loinc.org\",\"code\":\"2160-0\"}]},\"subject\":"
                "{\"reference\":\"Patient/sample-11\"},\"effectiveDateTime\":\"2026-02-20\","
                "\"valueQuantity\":{\"value\":0.9,\"unit\":\"mg/dL\",\"system\":"
                "\"http://unitsofmeasure.org\",\"code\":\"mg/dL\"}}");
    world_settle_down(w);
    assert_false(is_missed(w, "sample-11"));
    w->now_ms = MISSED - 5 * DAY + 1000;
    w->batch.gated = false;
    world_settle_down(w);
    assert_false(is_missed(w, "sample-11"));
    for (size_t i = posts; i < w->post_count; i++)
        assert_null(strstr(w->posts[i].body, "No denosumab documented"));
    assert_true(w->total.opened >= opened);
    w->now_ms = MISSED;
    world_settle_down(w);
    assert_true(is_missed(w, "sample-11"));
    world_free(w);
}

/* ---- days without us ---- */

/* Reviews of a week come at once: slice by slice, each patient once, each alert once. */
static void a_week_of_downtime(void **state)
{
    enum { PEOPLE = 700 };
    world *w = world_new();
    char id[16];
    (void)state;
    w->now_ms = MISSED - DAY;
    for (int i = 0; i < PEOPLE; i++) {
        snprintf(id, sizeof id, "p-%d", i);
        arrives(w, i % 7, id, NULL);
    }
    size_t posts = w->post_count;
    world_restart(w, false);
    memset(&w->total, 0, sizeof w->total);
    w->now_ms = MISSED + 7 * DAY;
    for (int turn = 0; turn < 10 || outbox_pending(w->outbox, SIZE_MAX) > 0; turn++) {
        assert_true(turn < 5000);
        for (int p = 0; p < WORLD_PARTITIONS; p++) {
            world_run_partition(w, p, NULL, 0, -1);
            assert_true(w->batch.counts.evaluations <= PIPELINE_MAX_PATIENTS);
        }
        outbox_deliver(w->outbox, w->real_ms);
    }
    world_settle_down(w);
    assert_int_equal(w->total.evaluations, PEOPLE); /* not once for every day that passed */
    assert_int_equal(w->total.reviews, PEOPLE);
    size_t missed = 0;
    for (size_t i = posts; i < w->post_count; i++) {
        missed += strstr(w->posts[i].body, "No denosumab documented") != NULL;
        for (size_t k = posts; k < i; k++)
            assert_string_not_equal(w->posts[i].key, w->posts[k].key);
    }
    assert_int_equal(missed, PEOPLE);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_missed_is_missed_at_local_midnight),
        cmocka_unit_test(a_dose_at_night_belongs_to_its_day),
        cmocka_unit_test(a_midnight_that_comes_earlier_is_looked_for),
        cmocka_unit_test(set_back_and_forward),
        cmocka_unit_test(ahead_by_mistake),
        cmocka_unit_test(a_week_of_downtime),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
