/* The whole daemon over an embedded broker: source topics in, cards at a scripted EHR out. */
#include "serve_stage.h"

#include "daemon/place.h"

/* ---- tests ---- */

static void cards_come_from_sources_and_from_the_clock(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, SIZE_MAX);
    wait_until(s, "the stream worked off", all_worked_off);
    wait_until(s, "the alerts topic", nothing_waits);
    assert_int_equal(metric_value(METRIC_INPUTS), metric_value(METRIC_RECORDED) +
                                                      metric_value(METRIC_IRRELEVANT) +
                                                      metric_value(METRIC_DEAD_LETTERS));
    assert_int_equal(metric_value(METRIC_DEAD_LETTERS), 4);
    assert_int_equal(metric_value(METRIC_EVALUATION_FAILURES), 0);
    assert_false(has_d3_by_clock(s));
    s->now_ms = BEFORE_MIDNIGHT + 21000;
    wait_until(s, "D3 by the clock alone", has_d3_by_clock);
    assert_true(metric_value(METRIC_LOOP_TURN) > 0);
    assert_true(metric_value(METRIC_REVIEWS_DUE) > 0);
    assert_int_equal(metric_value(METRIC_MESSAGES), expected_messages);
    assert_int_equal(s->repeats, 0);
    assert_true(count_posts(s, "\"cards\":[{\"uuid\":") > 10);
    stage_free(s);
}

static void a_restart_goes_on_where_it_was(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 30);
    wait_until(s, "the first part worked off", all_worked_off);
    stop(s);
    size_t sent = send_stream(s, 30, SIZE_MAX); /* while nobody is there */
    start_and_wait(s);
    expected_messages = (int64_t)sent;
    wait_until(s, "the second part worked off", all_worked_off);
    s->now_ms = BEFORE_MIDNIGHT + 21000;
    wait_until(s, "D3 by the clock alone", has_d3_by_clock);
    assert_int_equal(metric_value(METRIC_MESSAGES), expected_messages); /* nothing was read twice */
    assert_int_equal(s->repeats, 0);
    stage_free(s);
}

static void an_ehr_that_is_down_gets_its_cards_later(void **state)
{
    static const int script[] = {503, 503};
    stage *s = stage_new();
    (void)state;
    s->script = script;
    s->script_count = 2;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 12);
    wait_until(s, "the stream worked off", all_worked_off);
    wait_until(s, "the alerts topic", nothing_waits);
    stop(s); /* what waits is in the store */
    start_and_wait(s);
    s->now_ms = BEFORE_MIDNIGHT + 21000;
    wait_until(s, "D3 by the clock alone", has_d3_by_clock);
    assert_int_equal(s->refused, 2);
    assert_int_equal(s->repeats, 0);
    stage_free(s);
}

static http_exchange *held_back[64];
static size_t held_back_count;

static void hold_back(void *ctx, http_exchange *x)
{
    (void)ctx;
    assert_true(held_back_count < 64);
    held_back[held_back_count++] = x;
}

static void note_closed(void *ctx)
{
    *(bool *)ctx = true;
}

enum { QUICK = 0 };

static bool is_told_or_fails(stage *s)
{
    const serve *d = s->at[0].serve;
    return d->failing[QUICK] || (is_gathered(s) && is_applied(s) && s->post_count > 0 &&
                                 outbox_pending(d->outbox, QUICK) == 0);
}

/* One machine often stands for many endpoints: an interface engine, or a proxy. Those that hang
 * take nothing from the one that does not. */
static void who_hangs_delays_no_other(void **state)
{
    char endpoints[1024];
    bool closed = false;
    http_server *slow;
    stage *s = stage_new();
    const http_route routes[] = {{"POST", "/cards", on_cards, s, 0},
                                 {"POST", "/slow", hold_back, s, 0}};
    http_server_options o = {.routes = routes, .route_count = 2};
    (void)state;
    held_back_count = 0;
    assert_int_equal(http_server_new(&s->loop, &o, &slow, NULL), OG_OK);
    int port = http_server_port(slow);
    int n = snprintf(endpoints, sizeof endpoints,
                     "quick: {url: \"http://127.0.0.1:%d/cards\", timeout_ms: 5000}", port);
    for (int i = 0; i < 4; i++)
        n += snprintf(endpoints + n, sizeof endpoints - (size_t)n,
                      ", slow%d: {url: \"http://127.0.0.1:%d/slow\", timeout_ms: 600000}", i, port);
    s->endpoints = endpoints;
    s->outbox_patients = 100;
    start_and_wait(s);
    (void)send_stream(s, 0, SIZE_MAX);
    wait_until(s, "all is said where nothing hangs", is_told_or_fails);
    assert_false(s->at[0].serve->failing[QUICK]);
    assert_true(held_back_count > 16);
    for (size_t i = 0; i < held_back_count; i++)
        http_exchange_answer(held_back[i], 503, NULL, OG_STR(""));
    stop(s);
    http_server_close(slow, 0, note_closed, &closed);
    while (!closed)
        uv_run(&s->loop, UV_RUN_ONCE);
    stage_free(s);
}

static bool was_refused(stage *s)
{
    return s->refused > 0;
}

static bool was_given_back(stage *s)
{
    return s->at[0].serve->records == NULL;
}

/* Partitions go and come back (a rebalance, or a store that is rebuilt) while the EHR is down: what
 * waits for it is sent all the same. */
static void deliveries_outlive_a_rebalance(void **state)
{
    static int script[100000];
    stage *s = stage_new();
    (void)state;
    for (size_t i = 0; i < sizeof script / sizeof script[0]; i++)
        script[i] = 503;
    s->script = script;
    s->script_count = sizeof script / sizeof script[0];
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 12);
    wait_until(s, "the stream worked off", all_worked_off);
    wait_until(s, "a refusal", was_refused);
    assert_true(metric_value(METRIC_ALERTS_OPENED) > 0);
    serve__restart_records(s->at[0].serve);
    wait_until(s, "the partitions given back", was_given_back);
    s->script_count = 0; /* the EHR is there again */
    wait_until(s, "every card", nothing_waits);
    assert_int_equal(s->repeats, 0);
    stage_free(s);
}

static bool both_reasserted(stage *s)
{
    return metric_value(METRIC_REASSERTED) >= 2 && is_quiet(s);
}

/* An older version comes late, of a patient's resource and of a shared one: the newer one is
 * written behind it, so that compaction keeps that. */
static void the_newest_version_stands_last(void **state)
{
    static const char *const types[] = {"Patient", "Medication"};
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    (void)send_stream(s, 0, 8);
    for (int i = 0; i < 4; i++) {
        char text[256];
        int n = snprintf(text, sizeof text,
                         "{\"resourceType\":\"%s\",\"id\":\"late\",\"meta\":{\"lastUpdated\":"
                         "\"2026-01-0%dT00:00:00Z\"}}",
                         types[i / 2], 2 - i % 2);
        mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, text, (size_t)n);
        s->sent++;
    }
    wait_until(s, "the newer ones written again", both_reasserted);
    assert_int_equal(metric_value(METRIC_OUTDATED), 2);
    assert_int_equal(metric_value(METRIC_REASSERTED), 2);
    stage_free(s);
}

static int64_t beats_seen;

static bool a_beat_later(stage *s)
{
    return s->at[0].serve->beat_there_ms > beats_seen;
}

static const char unread[] = "{\"resourceType\":\"Slot\",\"id\":\"s\",\"status\":\"free\"}";

static bool is_paused(stage *s)
{
    return s->at[0].serve->sources_paused;
}

/* Something waits in the sources while a review falls due: it may be what is missing. */
static void nothing_is_overdue_while_sources_stand_still(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    (void)send_stream(s, 0, SIZE_MAX);
    s->at[0].config->freshness_ms = 3000;
    wait_until(s, "the stream worked off", is_quiet);
    wait_until(s, "the sources read", is_current);
    s->at[0].serve->gather_paused = true;
    wait_until(s, "paused", is_paused);
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, unread, strlen(unread));
    s->sent++;
    wait_until(s, "not current", nothing_is_current);
    int64_t reviews = metric_value(METRIC_REVIEWS_DUE);
    s->now_ms = BEFORE_MIDNIGHT + 21000;
    for (int i = 0; i < 3; i++) { /* ticks in which the review is due */
        beats_seen = s->at[0].serve->beat_there_ms;
        s->at[0].serve->beat_ms = 0;
        wait_until(s, "a tick", a_beat_later);
    }
    assert_int_equal(metric_value(METRIC_REVIEWS_DUE), reviews);
    assert_false(has_d3_by_clock(s));
    s->at[0].serve->gather_paused = false;
    wait_until(s, "D3 by the clock alone", has_d3_by_clock);
    stage_free(s);
}

static bool is_unready(stage *s)
{
    return !is_ready(s);
}

/* Readiness follows what the daemon needs. */
static void readiness_follows_kafka_and_disk(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    wait_until(s, "a heartbeat", is_current);
    s->at[0].serve->beat_there_ms -= 31000; /* none for half a minute */
    assert_true(is_unready(s));
    assert_false(serve__kafka_answers(s->at[0].serve));
    s->at[0].serve->beat_ms = 0;
    wait_until(s, "the next heartbeat", is_ready);
    s->at[0].serve->sync_failed = true;
    assert_true(is_unready(s));
    wait_until(s, "the next write", is_ready);
    stage_free(s);
}

/* A damaged store is thrown away while the daemon runs: its topic is read from the beginning. */
static bool is_rebuilt(stage *s)
{
    return metric_value(METRIC_STORE_DISCARDED) > 0 && s->at[0].serve->records != NULL &&
           owner_restored(s->at[0].serve->owner) && owner_get(s->at[0].serve->owner, 0).assigned;
}

/* From the moment in which a store is thrown away nobody may take the instance for one at rest. */
static bool is_rebuilt_and_says_so(stage *s)
{
    bool rebuilt = is_rebuilt(s);
    serve__set_gauges(s->at[0].serve);
    bool ours =
        false; /* the group may give us none for a moment, while the one before still leaves */
    bool any = false;
    for (int i = 0; i < PARTITIONS; i++) {
        ours |= !s->at[0].serve->partitions[i].foreign;
        any |= owner_get(s->at[0].serve->owner, i).restored;
    }
    if (metric_value(METRIC_STORE_DISCARDED) > 0 && !rebuilt && ours)
        assert_true(metric_value(METRIC_RESTORING) > 0);
    if (metric_value(METRIC_STORE_DISCARDED) == PARTITIONS && ours && !any)
        assert_false(serve_ready(s->at[0].serve));
    return rebuilt;
}

static size_t patients_in(stage *s, int partition)
{
    const og_str *list;
    size_t count;
    store_txn *t;
    og_arena *a = og_arena_new(1 << 20);
    assert_int_equal(store_begin(s->at[0].serve->partitions[partition].store, false, &t, NULL),
                     OG_OK);
    assert_int_equal(store_patients(t, a, (og_str){NULL, 0}, SIZE_MAX, &list, &count, NULL), OG_OK);
    store_abort(t);
    og_arena_free(a);
    return count;
}

/* Words of our own that are read back while the store is being thrown away. */
static void say_much(stage *s, int partition)
{
    for (int i = 0; i < 50; i++) {
        char key[80];
        int n = snprintf(key, sizeof key, "t|nobody|00000000-0000-5000-8000-%012d", i);
        serve__say(s->at[0].serve, partition, (og_str){key, (size_t)n}, (og_str){NULL, 0});
    }
}

/* What it knew of alerts and deliveries comes from the beginning of their topic, or all would be
 * said again. */
static void a_damaged_store_comes_back_whole(void **state)
{
    stage *s = stage_new();
    size_t before[PARTITIONS];
    (void)state;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 40);
    wait_until(s, "the stream worked off", all_worked_off);
    wait_until(s, "every card", nothing_waits);
    for (int i = 0; i < PARTITIONS; i++) {
        before[i] = patients_in(s, i);
        say_much(s, i);
        s->at[0].serve->partitions[i].rebuild = true;
    }
    wait_until(s, "the stores rebuilt", is_rebuilt_and_says_so);
    wait_until(s, "every card", nothing_waits);
    for (int i = 0; i < PARTITIONS; i++)
        assert_int_equal(patients_in(s, i), before[i]);
    assert_int_equal(metric_value(METRIC_STORE_DISCARDED), PARTITIONS);
    assert_int_equal(s->repeats, 0);
    stage_free(s);
}

static bool is_ready_and_has_all(stage *s)
{
    bool ready = serve_ready(s->at[0].serve);
    serve__set_gauges(s->at[0].serve);
    if (ready) {
        assert_int_equal(metric_value(METRIC_PARTITIONS), PARTITIONS);
        assert_true(owner_restored(s->at[0].serve->owner));
    }
    return ready;
}

/* While it starts, stores are found that are not of this topic: it is ready when it has them again,
 * not while the group has taken them. */
static void stores_of_another_topic_are_no_readiness(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 5);
    wait_until(s, "the stream worked off", all_worked_off);
    stop(s);
    for (int i = 0; i < PARTITIONS; i++)
        set_in_stopped_store(s, i, STORE_NEXT_OFFSET, 1000000);
    start(s);
    wait_until(s, "that it is ready", is_ready_and_has_all);
    assert_int_equal(metric_value(METRIC_STORE_DISCARDED), PARTITIONS);
    stage_free(s);
}

static og_status look_up(void *ctx, og_str type, og_str id, og_error *err)
{
    serve *daemon = ctx;
    return idset_has(daemon->recorded, type, id, err);
}

/* The index of recorded ids has all whose places are here. */
static void assert_indexed(const stage *s)
{
    serve *daemon = s->at[0].serve;
    uint64_t places = 0;
    for (int i = 0; i < PARTITIONS; i++) {
        store_txn *t;
        uint64_t n;
        assert_int_equal(store_begin(daemon->partitions[i].store, false, &t, NULL), OG_OK);
        assert_int_equal(kv_count(t, STORE_PLACE, &n, NULL), OG_OK);
        assert_int_equal(place_each(t, look_up, daemon, NULL), OG_OK);
        places += n;
        store_abort(t);
    }
    assert_true(places > 50);
}

static bool is_renewed(stage *s)
{
    (void)s;
    return metric_value(METRIC_IDS_RENEWED) == 1;
}

/* Broken under it, lost, or another one that nobody has filled: stores know which index has their
 * ids. */
static void the_index_of_ids_is_filled_again(void **state)
{
    char path[160];
    idset *other;
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 20);
    wait_until(s, "the stream worked off", all_worked_off);
    assert_indexed(s);
    idset_distrust(s->at[0].serve->recorded);
    wait_until(s, "the index renewed", is_renewed);
    assert_indexed(s);
    stop(s);
    snprintf(path, sizeof path, "%s/store/1-%d/ids", s->dir, PARTITIONS);
    assert_int_equal(file_remove_tree(path, NULL), OG_OK);
    start_and_wait(s);
    assert_indexed(s);
    stop(s);
    assert_int_equal(file_remove_tree(path, NULL), OG_OK);
    assert_int_equal(idset_open(path, NULL, &other, NULL), OG_OK);
    idset_close(other); /* whole, and empty */
    start_and_wait(s);
    assert_indexed(s);
    stage_free(s);
}

static bool was_read_again(stage *s)
{
    return metric_value(METRIC_MESSAGES) >= expected_messages && !s->at[0].serve->wants_pending;
}

/* The content asks for more than what was noted: the sources are read again, also those partitions
 * that are empty end it, and the next start goes on where it was. */
static void more_is_wanted(void **state)
{
    char path[160];
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 10);
    wait_until(s, "the stream worked off", all_worked_off);
    stop(s);
    snprintf(path, sizeof path, "%s/store/wants", s->dir);
    assert_true(file_exists(path));
    assert_int_equal(file_write(path, OG_STR("nothing\n"), NULL), OG_OK);
    start(s);
    assert_true(s->at[0].serve->wants_pending);
    wait_until(s, "ready", is_ready);
    wait_until(s, "the sources read again", was_read_again);
    assert_false(s->at[0].serve->reread_all);
    stop(s);
    start_and_wait(s);
    assert_false(s->at[0].serve->wants_pending);
    expected_messages = (int64_t)send_stream(s, 10, 12);
    wait_until(s, "the rest", was_read_again);
    assert_int_equal(metric_value(METRIC_MESSAGES), expected_messages);
    stage_free(s);
}

static bool ended_early; /* anything might be withdrawn before all was read again */

static bool is_refilled(stage *s)
{
    for (int i = 0; i < PARTITIONS; i++)
        if (owner_get(s->at[0].serve->owner, i).lost)
            return false;
    ended_early |=
        metric_value(METRIC_SHARED_LOST) > 0 && metric_value(METRIC_MESSAGES) < expected_messages;
    return metric_value(METRIC_SHARED_LOST) > 0 && s->at[0].serve->lost_ms == 0 &&
           was_read_again(s);
}

/* What alerts may rest on is gone: the sources are read again, and when they are, all goes on. */
static void fill_again(const char *limits)
{
    stage *s = stage_new();
    s->limits = limits;
    ended_early = false;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 10);
    wait_until(s, "the stream worked off", all_worked_off);
    stop(s);
    set_in_stopped_store(s, 1, STORE_SHARED_SEEN, 1000000); /* as if the topic had been longer */
    start_and_wait(s);
    wait_until(s, "the sources read again", is_refilled);
    assert_false(ended_early);
    assert_int_equal(metric_value(METRIC_SHARED_LOST), 1);
    assert_int_equal(metric_value(METRIC_MESSAGES), expected_messages); /* once */
    assert_int_equal(metric_value(METRIC_ALERTS_RESOLVED), 0);
    wait_until(s, "every card", nothing_waits);
    assert_int_equal(s->repeats, 0);
    stage_free(s);
}

static void a_lost_topic_is_filled_again(void **state)
{
    (void)state;
    fill_again("freshness_ms: 3000");
}

/* Whoever wants no gate for the clock still wants no card withdrawn for what is lost. */
static void it_is_so_without_the_freshness_gate(void **state)
{
    (void)state;
    fill_again("freshness_ms: 0");
}

static bool reloaded(stage *s)
{
    (void)s;
    return metric_value(METRIC_RELOADS) >= 1;
}

static int64_t expected_evaluations;

static bool all_evaluated(stage *s)
{
    (void)s;
    return metric_value(METRIC_EVALUATIONS) >= expected_evaluations;
}

/* HUP: the same content is no change; nothing is evaluated again. */
static void a_reload_keeps_what_is_good(void **state)
{
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    expected_messages = (int64_t)send_stream(s, 0, 5);
    wait_until(s, "the stream worked off", all_worked_off);
    expected_evaluations = metric_value(METRIC_EVALUATIONS) + 3;
    serve_reload(s->at[0].serve);
    wait_until(s, "the reload", reloaded);
    expected_messages += (int64_t)send_stream(s, 5, 8);
    wait_until(s, "the rest worked off", all_worked_off);
    wait_until(s, "their evaluation", all_evaluated);
    assert_true(serve_ready(s->at[0].serve));
    stage_free(s);
}

static char logged[8192];

static void keep_log(void *ctx, og_str line)
{
    quiet(ctx, line);
    if (strlen(logged) + line.n < sizeof logged)
        strncat(logged, line.p, line.n);
}

/* An operator who changes more than the content is told that this waits for a restart; also the
 * language of the content is that of everything else. */
static void a_reload_says_what_it_cannot_do(void **state)
{
    char text[4096], path[128];
    stage *s = stage_new();
    (void)state;
    start_and_wait(s);
    (void)config_text(s, text, sizeof text);
    memcpy(strstr(text, "backoff_min_ms: 20"), "backoff_min_ms: 30", 18);
    snprintf(path, sizeof path, "%s/osteoguard.yaml", s->dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%s", text);
    assert_int_equal(fclose(f), 0);
    setenv("OSTEOGUARD_SITE_LANGUAGE", "de", 1);
    s->at[0].config->origin = path;
    s->at[0].config->from_file = true;
    log_sink(keep_log, NULL);
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON, true);
    serve_reload(s->at[0].serve);
    wait_until(s, "the reload", reloaded);
    unsetenv("OSTEOGUARD_SITE_LANGUAGE");
    assert_non_null(strstr(logged, "needs a restart: site.language, delivery.backoff_min_ms\""));
    assert_non_null(strstr(logged, "rules, unchanged"));
    stage_free(s);
}

/* Two on one store: the second one says so and goes. */
static void a_store_has_one_user(void **state)
{
    stage *s = stage_new();
    serve *second = NULL;
    char text[4096];
    config *other = NULL;
    og_error err;
    og_report report = {.fn = print_problem};
    serve_options options = {0};
    (void)state;
    start_and_wait(s);
    og_error_init(&err);
    assert_int_equal(
        config_parse(config_text(s, text, sizeof text), "other.yaml", NULL, &other, &report, NULL),
        OG_OK);
    assert_int_equal(serve_new(&s->loop, other, &options, &second, &report, &err), OG_IO);
    assert_non_null(strstr(err.text, "another osteoguard uses the store"));
    assert_null(second);
    config_free(other);
    assert_true(serve_ready(s->at[0].serve));
    stage_free(s);
}

/* Nothing to judge by is no content. */
static void a_folder_without_rules_is_refused(void **state)
{
    stage *s = stage_new();
    serve *none = NULL;
    char text[4096], dir[96];
    config *c = NULL;
    og_error err;
    og_report report = {.fn = print_problem};
    serve_options options = {0};
    (void)state;
    og_error_init(&err);
    assert_int_equal(
        config_parse(config_text(s, text, sizeof text), "x.yaml", NULL, &c, &report, NULL), OG_OK);
    snprintf(dir, sizeof dir, "%s/empty", s->dir);
    assert_int_equal(file_make_dirs(dir, NULL), OG_OK);
    c->content_dir = dir;
    assert_int_equal(serve_new(&s->loop, c, &options, &none, &report, &err), OG_INVALID);
    assert_non_null(strstr(err.text, "there is no rule"));
    config_free(c);
    stage_free(s);
}

/* ---- the real process, killed ---- */

static bool some_cards(stage *s)
{
    return s->post_count >= 4;
}

/* kill -9 at an arbitrary moment: the next process goes on; every card comes, a repeat has its old
 * key. */
static void a_killed_process_loses_nothing(void **state)
{
    stage *s = stage_new();
    int status;
    (void)state;
    if (!file_exists(OG_BINARY_DIR "/daemon/osteoguard")) {
        print_message("skipped: the program is not built\n");
        skip();
    }
    (void)send_stream(s, 0, SIZE_MAX);
    int pid = spawn_member(s, 0);
    wait_until(s, "some cards", some_cards);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    size_t sent = s->post_count + SENDING; /* what was on the wire is still to be read */
    pid = spawn_member(s, 0);
    wait_until(s, "D3 by the clock alone", has_d3_by_clock);
    kill(pid, SIGTERM);
    while (waitpid(pid, &status, WNOHANG) == 0)
        uv_run(&s->loop, UV_RUN_ONCE); /* the EHR answers what is under way */
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_true(s->repeats <= sent); /* what was not noted yet comes again, and only once */
    stage_free(s);
}

#define SLOW_FILE "ActivityDefinition-dxa.json"

static int slow_pipe = -1;
static char slow_path[160];

static bool is_being_read(stage *s)
{
    (void)s;
    slow_pipe = open(slow_path, O_WRONLY | O_NONBLOCK | O_CLOEXEC); /* somebody has to read */
    return slow_pipe >= 0;
}

/* The content, of which one file comes when the test gives it. */
static void make_slow_content(stage *s, char dir[128])
{
    char from[256], to[256];
    const char *const *names;
    size_t n;
    og_arena *a = og_arena_new((size_t)1 << 20);
    snprintf(dir, 128, "%s/slow", s->dir);
    assert_int_equal(file_make_dirs(dir, NULL), OG_OK);
    assert_int_equal(file_list(a, OG_SOURCE_DIR "/rules/content", &names, &n, NULL), OG_OK);
    for (size_t i = 0; i < n; i++) {
        snprintf(from, sizeof from, OG_SOURCE_DIR "/rules/content/%s", names[i]);
        snprintf(to, sizeof to, "%s/%s", dir, names[i]);
        assert_int_equal(strcmp(names[i], SLOW_FILE) == 0 ? mkfifo(to, 0600) : symlink(from, to),
                         0);
    }
    snprintf(slow_path, sizeof slow_path, "%s/" SLOW_FILE, dir);
    og_arena_free(a);
}

static void give_slow_file(void)
{
    og_buf text;
    og_buf_init(&text, 60000); /* no more than a pipe takes at once */
    assert_int_equal(file_read(OG_SOURCE_DIR "/rules/content/" SLOW_FILE, 60000, &text, NULL),
                     OG_OK);
    assert_int_equal(write(slow_pipe, text.p, text.n), text.n);
    close(slow_pipe);
    og_buf_done(&text);
}

/* Whoever sends signals need not know how far it is. */
static void signals_are_minded_while_it_starts(void **state)
{
    stage *s = stage_new();
    char dir[128];
    int status;
    (void)state;
    if (!file_exists(OG_BINARY_DIR "/daemon/osteoguard")) {
        print_message("skipped: the program is not built\n");
        skip();
    }
    make_slow_content(s, dir);
    s->content_dir = dir;
    int pid = spawn_member(s, 0);
    wait_until(s, "that the content is read", is_being_read);
    kill(pid, SIGHUP);
    kill(pid, SIGTERM);
    give_slow_file();
    assert_int_equal(unlink(slow_path), 0); /* should it be loaded once more */
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    stage_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cards_come_from_sources_and_from_the_clock),
        cmocka_unit_test(a_restart_goes_on_where_it_was),
        cmocka_unit_test(an_ehr_that_is_down_gets_its_cards_later),
        cmocka_unit_test(who_hangs_delays_no_other),
        cmocka_unit_test(deliveries_outlive_a_rebalance),
        cmocka_unit_test(the_newest_version_stands_last),
        cmocka_unit_test(nothing_is_overdue_while_sources_stand_still),
        cmocka_unit_test(readiness_follows_kafka_and_disk),
        cmocka_unit_test(a_damaged_store_comes_back_whole),
        cmocka_unit_test(stores_of_another_topic_are_no_readiness),
        cmocka_unit_test(the_index_of_ids_is_filled_again),
        cmocka_unit_test(more_is_wanted),
        cmocka_unit_test(a_lost_topic_is_filled_again),
        cmocka_unit_test(it_is_so_without_the_freshness_gate),
        cmocka_unit_test(a_reload_keeps_what_is_good),
        cmocka_unit_test(a_reload_says_what_it_cannot_do),
        cmocka_unit_test(a_store_has_one_user),
        cmocka_unit_test(a_folder_without_rules_is_refused),
        cmocka_unit_test(a_killed_process_loses_nothing),
        cmocka_unit_test(signals_are_minded_while_it_starts),
    };
    cmocka_set_test_filter(getenv("OG_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
