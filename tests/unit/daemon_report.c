/* Reports: what counts, how often, and for how long, from messages of an alerts topic. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/report.h"
#include "daemon/said.h"

#define HOUR 3600000LL

typedef struct scene {
    report *report;
    og_arena *arena;
    int64_t offset;
} scene;

static scene open_scene(int64_t since_ms, int64_t until_ms)
{
    report_options o = {
        .tenant = "t", .since_ms = since_ms, .until_ms = until_ms, .max_bytes = 1 << 24};
    scene s = {report_new(&o), og_arena_new(1 << 24), 0};
    assert_non_null(s.report);
    return s;
}

static void close_scene(scene *s)
{
    report_free(s->report);
    og_arena_free(s->arena);
}

static void take(scene *s, og_str key, og_str value, int64_t epoch)
{
    report_message m = {
        .partition = 0, .offset = s->offset++, .epoch = epoch, .key = key, .value = value};
    assert_true(report_take(s->report, &m));
}

/* The alert with this number says this now. */
static plan_alert alert_of(unsigned number, const char *rule, int64_t opened_ms)
{
    plan_alert x = {.rule = og_str_of(rule),
                    .slot = OG_STR("s"),
                    .revision = 1,
                    .opened_ms = opened_ms,
                    .changed_ms = opened_ms,
                    .digest = OG_STR("d"),
                    .card = OG_STR("{\"summary\":\"secret of Anna\"}")};
    snprintf(x.id, sizeof x.id, "00000000-0000-5000-8000-%012u", number);
    snprintf(x.card_uuid, sizeof x.card_uuid, "%s", x.id);
    return x;
}

static void say(scene *s, const char *tenant, const plan_alert *x, int64_t epoch)
{
    take(s, said_alert_key(s->arena, og_str_of(tenant), OG_STR("anna"), x->id),
         plan_alert_write(s->arena, x), epoch);
}

static plan_alert answered(plan_alert x, plan_answer answer, const char *code, int64_t took_ms)
{
    x.feedback = (plan_feedback){.answer = answer,
                                 .code = og_str_of(code),
                                 .shown_ms = x.opened_ms,
                                 .at_ms = x.opened_ms + took_ms};
    return x;
}

static void wants(scene *s, const char *text)
{
    og_buf b;
    og_buf_init(&b, 1 << 16);
    assert_true(report_write_json(s->report, &b));
    og_buf_addc(&b, '\0');
    assert_string_equal(b.p, text);
    og_buf_done(&b);
}

#define NOTHING                                                                                    \
    "\"fired\":0,\"inCalls\":0,\"accepted\":0,\"overridden\":0,\"ignored\":0,\"waiting\":0,"       \
    "\"resolved\":0,"                                                                              \
    "\"reasons\":{}"

static void nothing_is_a_report_too(void **state)
{
    scene s = open_scene(0, 0);
    (void)state;
    wants(&s, "{\"tenant\":\"t\",\"rules\":[],\"all\":{" NOTHING "}}\n");
    close_scene(&s);
}

/* One of each kind; ten that were accepted after 1 to 10 hours. */
static void each_alert_counts_once(void **state)
{
    scene s = open_scene(0, 0);
    plan_alert x;
    (void)state;
    for (unsigned i = 1; i <= 10; i++) {
        x = alert_of(i, "C1", HOUR);
        say(&s, "t", &x, INT64_MAX); /* what was said before does not count */
        x = answered(x, PLAN_ACCEPTED, "", i * HOUR);
        say(&s, "t", &x, INT64_MAX);
    }
    x = answered(alert_of(11, "B1", HOUR), PLAN_OVERRIDDEN, "limited-time", HOUR);
    say(&s, "t", &x, INT64_MAX);
    x = answered(alert_of(12, "B1", HOUR), PLAN_LAPSED, "limited-time", HOUR);
    say(&s, "t", &x, INT64_MAX);
    x = answered(alert_of(13, "B1", HOUR), PLAN_OVERRIDDEN, "", -HOUR); /* a clock that is behind */
    say(&s, "t", &x, INT64_MAX);
    x = answered(alert_of(14, "B1", HOUR), PLAN_OVERRIDDEN, "because of Anna", HOUR);
    say(&s, "t", &x, INT64_MAX);
    x = answered(alert_of(15, "B1", HOUR), PLAN_IGNORED, "", 168 * HOUR);
    say(&s, "t", &x, INT64_MAX);
    x = alert_of(16, "B1", HOUR);
    say(&s, "t", &x, INT64_MAX);
    x.id[35] = '9'; /* another one */
    x.state = PLAN_ALERT_RESOLVED;
    say(&s, "t", &x, INT64_MAX);
    x = answered(alert_of(18, "B1", HOUR), PLAN_OVERRIDDEN, "limited-time", HOUR);
    x.state = PLAN_ALERT_SHOWN;
    x.hook = OG_STR("order-sign");
    say(&s, "t", &x, INT64_MAX);
    assert_int_equal(report_alerts(s.report), 18);
    wants(
        &s,
        "{\"tenant\":\"t\",\"rules\":["
        "{\"rule\":\"B1\",\"fired\":8,\"inCalls\":1,\"accepted\":0,\"overridden\":5,\"ignored\":1,"
        "\"waiting\":1,\"resolved\":1,\"reasons\":{\"limited-time\":3,\"none\":1,\"other\":1}"
        ",\"timeToAction\":{\"count\":5,\"medianSeconds\":3600,\"p90Seconds\":3600}},"
        "{\"rule\":\"C1\",\"fired\":10,\"inCalls\":0,\"accepted\":10,\"overridden\":0,\"ignored\":"
        "0,"
        "\"waiting\":0,\"resolved\":0,\"reasons\":{},"
        "\"timeToAction\":{\"count\":10,\"medianSeconds\":18000,\"p90Seconds\":32400}}],"
        "\"all\":{\"fired\":18,\"inCalls\":1,\"accepted\":10,\"overridden\":5,\"ignored\":1,"
        "\"waiting\":1,\"resolved\":1,\"reasons\":{\"limited-time\":3,\"none\":1,\"other\":1}"
        ",\"timeToAction\":{\"count\":15,\"medianSeconds\":10800,\"p90Seconds\":32400}}}\n");
    og_buf b;
    og_buf_init(&b, 1 << 16);
    assert_true(report_write_text(s.report, &b));
    og_buf_addc(&b, '\0');
    assert_non_null(strstr(b.p, "18 alerts of 2 rules came up\n"));
    assert_non_null(
        strstr(b.p, "\nC1         10        0        10           0        0        0         0"
                    "    5 h 0 min    9 h 0 min\n"));
    assert_non_null(strstr(b.p, "  limited-time 3, none 1, other 1\n"));
    assert_null(strstr(b.p, "nna"));
    og_buf_done(&b);
    close_scene(&s);
}

static void a_period_has_ends(void **state)
{
    scene s = open_scene(2 * HOUR, 4 * HOUR);
    (void)state;
    for (unsigned i = 1; i <= 5; i++) {
        plan_alert x = alert_of(i, "C1", i * HOUR);
        say(&s, "t", &x, INT64_MAX);
    }
    assert_int_equal(report_alerts(s.report), 2); /* came up at 2 and 3 */
    wants(&s, "{\"tenant\":\"t\",\"since\":\"1970-01-01T02:00:00+00:00\",\"until\":"
              "\"1970-01-01T04:00:00+00:00\",\"rules\":[{\"rule\":\"C1\",\"fired\":2,\"inCalls\":0,"
              "\"accepted\":0,\"overridden\":0,\"ignored\":0,\"waiting\":2,\"resolved\":0,"
              "\"reasons\":{}}],\"all\":{\"fired\":2,\"inCalls\":0,\"accepted\":0,\"overridden\":0,"
              "\"ignored\":0,"
              "\"waiting\":2,\"resolved\":0,\"reasons\":{}}}\n");
    close_scene(&s);
}

/* Another tenant's, erased ones, deliveries, garbage, and the words of one who had lost the
 * partition. */
static void other_things_do_not_count(void **state)
{
    scene s = open_scene(0, 0);
    plan_alert x = alert_of(1, "C1", HOUR);
    (void)state;
    say(&s, "other", &x, INT64_MAX);
    assert_int_equal(report_alerts(s.report), 0);
    og_str key = said_alert_key(s.arena, OG_STR("t"), OG_STR("anna"), x.id);
    take(&s, og_arena_printf(s.arena, "%.*s|ehr", OG_STR_ARG(key)), OG_STR("{}"), INT64_MAX);
    take(&s, OG_STR("what is this"), OG_STR("{}"), INT64_MAX);
    take(&s, key, OG_STR("{\"no\":\"alert\"}"), INT64_MAX);
    assert_int_equal(report_alerts(s.report), 0);
    take(&s, OG_STR("claim"), OG_STR("{}"), INT64_MAX); /* at offset 4 */
    say(&s, "t", &x, 3);
    assert_int_equal(report_alerts(s.report), 0);
    say(&s, "t", &x, 4);
    assert_int_equal(report_alerts(s.report), 1);
    take(&s, key, (og_str){NULL, 0}, 4);
    assert_int_equal(report_alerts(s.report), 0);
    close_scene(&s);
}

static void memory_may_run_out(void **state)
{
    bool good = true;
    (void)state;
    report_options o = {.tenant = "t", .max_bytes = 1 << 16};
    scene s = {report_new(&o), og_arena_new(1 << 26), 0};
    for (unsigned i = 0; i < 100000 && good; i++) {
        plan_alert x = alert_of(i, "C1", HOUR);
        report_message m = {.epoch = INT64_MAX,
                            .key = said_alert_key(s.arena, OG_STR("t"), OG_STR("a"), x.id),
                            .value = plan_alert_write(s.arena, &x)};
        good = report_take(s.report, &m);
    }
    assert_false(good);
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_a_report_too), cmocka_unit_test(each_alert_counts_once),
        cmocka_unit_test(a_period_has_ends),       cmocka_unit_test(other_things_do_not_count),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
