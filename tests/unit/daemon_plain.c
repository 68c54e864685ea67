/* The small parts: records, log lines, metrics, clock, schedule, files, names, and what content
 * wants. */
#include "daemon_world.h"

#include <sys/stat.h>

#include "daemon/log_limit.h"
#include "daemon/schedule.h"
#include "daemon/uuid.h"
#include "daemon/wants.h"

static void records_are_read_as_they_were_written(void **state)
{
    og_buf key, value;
    og_arena *a = og_arena_new(1 << 20);
    record back;
    (void)state;
    const record r = {.tenant = OG_STR("t"),
                      .patient = OG_STR("http://kis|7"),
                      .type = OG_STR("Condition"),
                      .id = OG_STR("c.1-2_3"),
                      .order = {.epoch = 4000000000u,
                                .time_us = -5,
                                .topic = og_crc32c(0, "a\"b", 3),
                                .partition = 7,
                                .offset = 123456789012,
                                .entry = 9},
                      .topic = OG_STR("a\"b"),
                      .timestamp_ms = -1,
                      .entry = 2,
                      .of = 3,
                      .body = OG_STR("{\"x\":\n1}")};
    og_buf_init(&key, 1000);
    og_buf_init(&value, 1000);
    record_write_key(&key, &r);
    record_write_value(&value, &r);
    assert_int_equal(record_read(a, og_buf_str(&key), og_buf_str(&value), &back, NULL), OG_OK);
    assert_true(og_str_eq(back.patient, r.patient) && og_str_eq(back.id, r.id) &&
                og_str_eq(back.body, r.body) && og_str_eq(back.topic, r.topic));
    assert_int_equal(record_order_cmp(&back.order, &r.order), 0);
    assert_int_equal(back.timestamp_ms, -1);
    assert_int_equal(back.entry, 2);
    assert_int_equal(back.of, 3);
    assert_false(back.deleted);
    og_buf_done(&key);
    og_buf_done(&value);
    og_arena_free(a);
}

#define HEAD                                                                                       \
    "{\"osteoguard\":1,\"epoch\":0,\"time\":1,\"topic\":\"x\",\"partition\":0,\"offset\":1,"       \
    "\"timestamp\":1,\"order\":0,\"entry\":0,\"of\":1"

static void what_is_no_record_is_refused(void **state)
{
    static const struct {
        const char *key, *value;
    } bad[] = {
        {"", HEAD "}\n{}"},
        {"t|p", HEAD "}\n{}"},
        {"t|p|Patient", HEAD "}\n{}"},
        {"t|p|Patient/", HEAD "}\n{}"},
        {"t|p|Patient/a b", HEAD "}\n{}"},
        {"t|p|/x", HEAD "}\n{}"},
        {"t|p|Patient/x", ""},
        {"t|p|Patient/x", HEAD "}"},
        {"t|p|Patient/x", HEAD "}\n"},
        {"t|p|Patient/x", HEAD ",\"deleted\":true}\n{}"},
        {"t|p|Patient/x", "{}\n{}"},
        {"t|p|Patient/x", "[]\n{}"},
        {"t|p|Patient/x", "{\"osteoguard\":2,\"epoch\":0}\n{}"},
        {"t|p|Patient/x", "{\"osteoguard\":1,\"epoch\":-1,\"time\":1,\"partition\":0,\"offset\":1,"
                          "\"timestamp\":1,\"order\":0,"
                          "\"entry\":0,\"of\":1}\n{}"},
        {"t|p|Patient/x", "{\"osteoguard\":1,\"epoch\":0,\"time\":1.5,\"partition\":0,\"offset\":1,"
                          "\"timestamp\":1,\"order\":0,"
                          "\"entry\":0,\"of\":1}\n{}"},
        {"t|p|Patient/x",
         "{\"osteoguard\":1,\"epoch\":0,\"time\":99999999999999999999,\"partition\":0,\"offset\":1,"
         "\"timestamp\":1,\"order\":0,\"entry\":0,\"of\":1}\n{}"},
    };
    og_arena *a = og_arena_new(1 << 20);
    record r;
    (void)state;
    assert_int_equal(record_read(a, OG_STR("t|p|Patient/x"), OG_STR(HEAD "}\n{}"), &r, NULL),
                     OG_OK);
    assert_int_equal(
        record_read(a, OG_STR("t|p|Patient/x"), OG_STR(HEAD ",\"deleted\":true}\n"), &r, NULL),
        OG_OK);
    assert_true(r.deleted);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_not_equal(
            record_read(a, og_str_of(bad[i].key), og_str_of(bad[i].value), &r, NULL), OG_OK);
    og_arena_free(a);
}

static void instants_keep_their_microseconds(void **state)
{
    int64_t us, other;
    (void)state;
    assert_true(record_instant_us(OG_STR("1970-01-01T00:00:00Z"), &us));
    assert_int_equal(us, 0);
    assert_true(record_instant_us(OG_STR("1970-01-01T01:00:00.1234567+01:00"), &us));
    assert_int_equal(us, 123456);
    assert_true(record_instant_us(OG_STR("1970-01-01T00:00:00.12Z"), &us));
    assert_int_equal(us, 120000);
    assert_true(record_instant_us(OG_STR("1970-01-01T00:00:00.1234Z"), &us));
    assert_int_equal(us, 123400);
    assert_true(record_instant_us(OG_STR("2201-12-31T23:59:59.999999Z"), &us));
    assert_true(record_instant_us(OG_STR("9999-12-31T23:59:59Z"), &other));
    assert_true(other > us);
    assert_false(record_instant_us(OG_STR("2026-01-01"), &us));
    assert_false(record_instant_us(OG_STR("now"), &us));
    assert_false(record_instant_us(OG_STR(""), &us));
}

/* ---- log ---- */

static char last_line[16384];

static void keep_line(void *ctx, og_str line)
{
    (void)ctx;
    snprintf(last_line, sizeof last_line, "%.*s", OG_STR_ARG(line));
}

static void log_lines_are_json(void **state)
{
    char huge[5000];
    fhir_doc doc;
    og_arena *a = og_arena_new(1 << 20);
    (void)state;
    log_sink(keep_line, NULL);
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, false);
    memset(huge, '"', sizeof huge);
    const log_field fields[] = {{"one", OG_STR("a \"quoted\"\n\x01 line \xc3\xa4")},
                                {"huge", {huge, sizeof huge}}};
    log_line(LOG_LEVEL_WARN, "something", fields, 2);
    assert_int_equal(fhir_decode(a, (og_str){last_line, strlen(last_line) - 1}, NULL, &doc, NULL),
                     OG_OK);
    assert_true(fhir_is(fhir_get(fhir_root(&doc), "level"), "warn"));
    assert_true(fhir_is(fhir_get(fhir_root(&doc), "one"), "a \"quoted\"\n\x01 line \xc3\xa4"));
    last_line[0] = '\0';
    log_debug("not to be seen %d", 1);
    assert_string_equal(last_line, "");
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, true);
    log_info("nor this");
    assert_string_equal(last_line, "");
    assert_true(log_identifiers());
    const log_field evil[] = {{"name", OG_STR("x\n\x1b[31my")}};
    log_line(LOG_LEVEL_ERROR, "text", evil, 1);
    assert_null(strchr(last_line, 0x1b));
    assert_true(strchr(last_line, '\n') == last_line + strlen(last_line) - 1);
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, false);
    og_arena_free(a);
}

static unsigned lines_seen;

static void count_lines(void *ctx, og_str line)
{
    lines_seen++;
    keep_line(ctx, line);
}

/* A fault that comes with every message neither fills the disk nor hides what else is said. */
static void a_flood_is_counted(void **state)
{
    const int64_t start = 1000000;
    const log_field one[] = {{"endpoint", OG_STR("one")}}, two[] = {{"endpoint", OG_STR("two")}};
    (void)state;
    log_sink(count_lines, NULL);
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, false);
    lines_seen = 0;
    for (int i = 0; i < 3 * LOG_LIMIT_LINES; i++)
        log_warn("before the first tick %d", i);
    assert_int_equal(lines_seen, 3 * LOG_LIMIT_LINES);
    log_tick(start);
    lines_seen = 0;
    for (int i = 0; i < LOG_LIMIT_LINES + 7; i++)
        log_warn("offset %d is refused", i);
    assert_int_equal(lines_seen, LOG_LIMIT_LINES);
    log_info("what tells of progress is not limited");
    log_error("another fault");
    log_line(LOG_LEVEL_WARN, "down", one, 1);
    assert_int_equal(lines_seen, LOG_LIMIT_LINES + 3);
    for (int i = 0; i < LOG_LIMIT_LINES; i++)
        log_line(LOG_LEVEL_WARN, "down", one, 1); /* the last one is too much */
    log_line(LOG_LEVEL_WARN, "down", two, 1);
    assert_non_null(strstr(last_line, "two"));
    assert_int_equal(lines_seen, 2 * LOG_LIMIT_LINES + 3);
    log_tick(start + LOG_LIMIT_WINDOW_MS - 1);
    assert_int_equal(lines_seen, 2 * LOG_LIMIT_LINES + 3);
    lines_seen = 0;
    log_sink(count_lines, NULL);
    log_tick(start + LOG_LIMIT_WINDOW_MS);
    assert_int_equal(lines_seen, 2); /* of the offsets and of "down" */
    lines_seen = 0;
    log_tick(start + LOG_LIMIT_WINDOW_MS);
    assert_int_equal(lines_seen, 0); /* told once */
    log_warn("offset %d is refused", 99);
    assert_int_equal(lines_seen, 1); /* a new window */
    for (int i = 0; i < LOG_LIMIT_LINES + 7; i++)
        log_warn("offset %d is refused", i);
    log_tick(start + 3 * LOG_LIMIT_WINDOW_MS);
    assert_non_null(strstr(last_line, "\"left_out\":\"8\""));
    assert_non_null(strstr(last_line, "offset 26 is refused"));
    assert_non_null(strstr(last_line, "\"level\":\"warn\""));
}

/* More kinds than are watched: everything is said rather than something lost. */
static void too_many_kinds_are_all_said(void **state)
{
    static log_limit l;
    log_limit_kind ended;
    (void)state;
    memset(&l, 0, sizeof l);
    for (uint64_t kind = 1; kind <= LOG_LIMIT_KINDS; kind++)
        for (int i = 0; i <= LOG_LIMIT_LINES; i++)
            assert_true(log_limit_take(&l, kind, 0, "x", 5) == (i < LOG_LIMIT_LINES));
    for (int i = 0; i < 3 * LOG_LIMIT_LINES; i++)
        assert_true(log_limit_take(&l, LOG_LIMIT_KINDS + 1, 0, "y", 5));
    assert_false(log_limit_ended(&l, 5, &ended));
    for (int i = 0; i < LOG_LIMIT_KINDS; i++) {
        assert_true(log_limit_ended(&l, 5 + LOG_LIMIT_WINDOW_MS, &ended));
        assert_int_equal(ended.lines, LOG_LIMIT_LINES + 1);
    }
    assert_false(log_limit_ended(&l, 5 + LOG_LIMIT_WINDOW_MS, &ended));
}

/* ---- metrics ---- */

static const char *page(og_buf *b)
{
    og_buf_clear(b);
    metrics_write(b);
    return og_buf_str(b).p;
}

static void metrics_are_prometheus_text(void **state)
{
    og_buf b;
    (void)state;
    og_buf_init(&b, 1 << 22);
    metrics_reset();
    metric_add(METRIC_INPUTS, 3);
    metric_set(METRIC_READY, 1);
    metric_add_label(METRIC_DELIVERIES, "e\"h\\r", "done", 2);
    metric_add_label(METRIC_DEAD_LETTERS, "syntax", NULL, 5);
    metric_set_label(METRIC_ENDPOINT_FAILING, "one", 1);
    metric_set_label(METRIC_ENDPOINT_FAILING, "two", 1);
    metric_set_label(METRIC_ENDPOINT_FAILING, "one", 0);
    metric_observe_us(METRIC_EVENT_TO_CARD, 1500);
    metric_observe_us(METRIC_EVENT_TO_CARD, -5);
    metric_observe_us(METRIC_EVENT_TO_CARD, INT64_C(1) << 40);
    const char *text = page(&b);
    assert_non_null(
        strstr(text, "# TYPE osteoguard_inputs_total counter\nosteoguard_inputs_total 3\n"));
    assert_non_null(strstr(text, "osteoguard_ready 1\n"));
    assert_non_null(
        strstr(text, "osteoguard_deliveries_total{endpoint=\"e\\\"h\\\\r\",verdict=\"done\"} 2\n"));
    assert_non_null(strstr(text, "osteoguard_dead_letters_total{reason=\"syntax\"} 5\n"));
    assert_non_null(strstr(text, "osteoguard_event_to_card_seconds_bucket{le=\"0.001000\"} 1\n"));
    assert_non_null(strstr(text, "osteoguard_event_to_card_seconds_bucket{le=\"0.002000\"} 2\n"));
    assert_non_null(strstr(text, "osteoguard_event_to_card_seconds_bucket{le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(text, "osteoguard_event_to_card_seconds_sum 1099511.629276\n"));
    assert_non_null(strstr(text, "osteoguard_event_to_card_seconds_count 3\n"));
    assert_non_null(strstr(text, "osteoguard_endpoint_failing{endpoint=\"one\"} 0\n"));
    assert_non_null(strstr(text, "osteoguard_endpoint_failing{endpoint=\"two\"} 1\n"));
    assert_int_equal(metric_value(METRIC_DEAD_LETTERS), 5);
    assert_int_equal(metric_value(METRIC_ENDPOINT_FAILING), 1);
    og_buf_done(&b);
}

static void too_many_labels_become_other(void **state)
{
    og_buf b;
    (void)state;
    og_buf_init(&b, 1 << 22);
    metrics_reset();
    for (int i = 0; i < 300; i++) {
        char name[16];
        snprintf(name, sizeof name, "r%d", i);
        metric_add_label(METRIC_RULE_FAILURES, name, NULL, 1);
    }
    assert_int_equal(metric_value(METRIC_RULE_FAILURES), 300);
    assert_non_null(strstr(page(&b), "osteoguard_rule_failures_total{rule=\"other\"} 44\n"));
    assert_null(strstr(og_buf_str(&b).p, "\"r256\""));
    metrics_reset();
    og_buf_done(&b);
}

/* ---- clock, schedule ---- */

static int64_t seven(void *ctx)
{
    return *(int64_t *)ctx;
}

static void clocks(void **state)
{
    og_clock c;
    int64_t fixed = 7;
    (void)state;
    clock_real(&c);
    int64_t before = clock_wall_ms(), now = clock_now(&c), after = clock_wall_ms();
    assert_true(before <= now && now <= after);
    clock_simulate(&c, 1000, 0);
    assert_int_equal(clock_now(&c), 1000); /* stands still */
    clock_simulate(&c, 1000, 1000);
    assert_true(clock_now(&c) >= 1000);
    c.started_us -= INT64_C(86400) * 1000000; /* a day has passed */
    assert_true(clock_now(&c) >= 1000 + 86400000 && clock_now(&c) < 1000 + 86400000 + 60000);
    clock_simulate(&c, 0, 100000000); /* 100,000 times, for ten years */
    c.started_us -= INT64_C(315360000) * 1000000;
    assert_true(clock_now(&c) >= INT64_C(31536000000000000));
    c = (og_clock){.fixed = seven, .ctx = &fixed};
    assert_int_equal(clock_now(&c), 7);
}

static void zones(void **state)
{
    og_error err;
    (void)state;
    og_error_init(&err);
    assert_int_equal(clock_set_zone("Europe/Berlin", &err), OG_OK);
    assert_int_equal(clock_offset_min(1772319600000), 60);  /* 2026-03-01 */
    assert_int_equal(clock_offset_min(1782856800000), 120); /* 2026-07-01 */
    assert_int_equal(clock_offset_min(-1), 60);
    assert_int_equal(clock_set_zone("Mars/Olympus", &err), OG_NOTFOUND);
    static const char *const bad[] = {"", "/etc/passwd", "../../etc/passwd", "Europe/Ber lin",
                                      "x;y"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        og_error_init(&err);
        assert_int_equal(clock_set_zone(bad[i], &err), OG_INVALID);
    }
    og_error_init(&err);
    assert_int_equal(clock_set_zone("UTC", &err), OG_OK);
    assert_int_equal(clock_offset_min(1782856800000), 0);
}

static void schedules(void **state)
{
    schedule *s = schedule_new(3);
    (void)state;
    assert_int_equal(schedule_next(s), 0);
    assert_false(schedule_is_due(s, 0, INT64_MAX));
    schedule_set(s, 0, 500);
    schedule_set(s, 2, 300);
    schedule_set(s, 99, 1); /* nobody */
    assert_int_equal(schedule_next(s), 300);
    assert_false(schedule_is_due(s, 2, 299));
    assert_true(schedule_is_due(s, 2, 300));
    assert_false(schedule_is_due(s, 99, 300));
    schedule_set(s, 2, 0);
    assert_int_equal(schedule_next(s), 500);
    schedule_free(s);
}

/* ---- files, names ---- */

static void files(void **state)
{
    char dir[] = "/tmp/og-files-XXXXXX", path[128], deep[160];
    og_buf b;
    og_error err;
    og_arena *a = og_arena_new(1 << 20);
    const char *const *names;
    size_t n;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/b", dir);
    og_buf_init(&b, 1000);
    og_error_init(&err);
    assert_int_equal(file_read(path, 100, &b, &err), OG_NOTFOUND);
    assert_string_equal(err.origin, path);
    assert_int_equal(file_write(path, OG_STR("12345"), NULL), OG_OK);
    assert_int_equal(file_write(path, OG_STR("123"), NULL), OG_OK); /* in its place */
    assert_int_equal(file_read(path, 3, &b, NULL), OG_OK);
    assert_true(og_str_is(og_buf_str(&b), "123"));
    og_error_init(&err);
    assert_int_equal(file_read(path, 2, &b, &err), OG_LIMIT);
    snprintf(deep, sizeof deep, "%s/a/x/y", dir);
    assert_int_equal(file_make_dirs(deep, NULL), OG_OK);
    assert_int_equal(file_make_dirs(deep, NULL), OG_OK);
    assert_true(file_is_dir(deep));
    assert_int_not_equal(file_make_dirs(path, NULL), OG_OK); /* a file is in the way */
    assert_int_equal(file_list(a, dir, &names, &n, NULL), OG_OK);
    assert_int_equal(n, 2);
    assert_string_equal(names[0], "a");
    assert_int_equal(file_list(a, path, &names, &n, NULL), OG_NOTFOUND);
    assert_int_equal(file_remove_tree(dir, NULL), OG_OK);
    assert_int_equal(file_remove_tree(dir, NULL), OG_OK);
    assert_false(file_exists(dir));
    og_buf_done(&b);
    og_arena_free(a);
}

static void names_are_stable(void **state)
{
    char a[UUID_TEXT], b[UUID_TEXT];
    (void)state;
    uuid_of_name(OG_STR("alert|1"), a);
    uuid_of_name(OG_STR("alert|1"), b);
    assert_string_equal(a, b);
    assert_int_equal(strlen(a), 36);
    assert_int_equal(a[14], '5'); /* version */
    uuid_of_name(OG_STR("alert|2"), b);
    assert_string_not_equal(a, b);
}

/* ---- wants ---- */

static void more_wishes_mean_reading_again(void **state)
{
    og_buf all, less;
    plan_content *c = world_content(NULL, 0);
    (void)state;
    og_buf_init(&all, 1 << 24);
    og_buf_init(&less, 1 << 24);
    wants_write(c, &all);
    assert_true(all.n > 17 * 10);
    assert_true(wants_covered(c, og_buf_str(&all)));
    assert_true(wants_digest(c) > 0);
    assert_true(wants_digest(c) == wants_digest(c));
    assert_false(wants_covered(c, OG_STR("")));
    /* one wish fewer than now */
    og_buf_add(&less, all.p + 17, all.n - 17);
    bool repeated = false; /* the first may stand again further down */
    for (size_t at = 17; at + 17 <= all.n; at += 17)
        repeated |= memcmp(all.p, all.p + at, 17) == 0;
    assert_int_equal(wants_covered(c, og_buf_str(&less)), repeated);
    /* more than now: nothing is missing */
    og_buf_addz(&all, "0123456789abcdef\n");
    assert_true(wants_covered(c, og_buf_str(&all)));
    og_buf_done(&all);
    og_buf_done(&less);
    plan_content_free(c);
}

/* As a reload does that switches a rule on: what only it reads was dropped before. */
static void a_rule_switched_on_means_reading_again(void **state)
{
    static const struct {
        const char *rule;
        bool covered; /* others read the same */
    } cases[] = {{"E1", false}, {"H1", false}, {"B2", true}};
    plan_content *all = world_content(NULL, 0);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        plan_content *without = world_content_without(cases[i].rule);
        og_buf had;
        og_buf_init(&had, 1 << 24);
        wants_write(without, &had);
        assert_int_equal(wants_covered(all, og_buf_str(&had)), cases[i].covered);
        og_buf_clear(&had);
        wants_write(all, &had);
        assert_true(wants_covered(without, og_buf_str(&had)));
        og_buf_done(&had);
        plan_content_free(without);
    }
    plan_content_free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_read_as_they_were_written),
        cmocka_unit_test(what_is_no_record_is_refused),
        cmocka_unit_test(instants_keep_their_microseconds),
        cmocka_unit_test(log_lines_are_json),
        cmocka_unit_test(a_flood_is_counted),
        cmocka_unit_test(too_many_kinds_are_all_said),
        cmocka_unit_test(metrics_are_prometheus_text),
        cmocka_unit_test(too_many_labels_become_other),
        cmocka_unit_test(clocks),
        cmocka_unit_test(zones),
        cmocka_unit_test(schedules),
        cmocka_unit_test(files),
        cmocka_unit_test(names_are_stable),
        cmocka_unit_test(more_wishes_mean_reading_again),
        cmocka_unit_test(a_rule_switched_on_means_reading_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
