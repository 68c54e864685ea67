/* The daemon's life: serve_new opens everything in order, serve__advance goes through the steps
 * that need Kafka, turn() is what happens once per turn of the loop, and closing is the opening
 * backwards. */
#include "daemon/serve.h"

#include <stdlib.h>
#include <unistd.h>

#include "daemon/content_dir.h"
#include "daemon/crash.h"
#include "daemon/file.h"
#include "daemon/metrics.h"
#include "daemon/program.h"
#include "daemon/serve_private.h"
#include "daemon/wants.h"

#define TICK_MS     1000
#define GRACE_MS    5000  /* for what is under way when we stop */
#define MAX_BATCHES 4     /* unless the configuration says more */
#define WATCHDOG_MS 15000 /* then we go: a crash loses nothing, a hang helps nobody */

bool serve__stopping(const serve *s)
{
    return s->step == SERVE_STOPPING;
}

bool serve_ready(const serve *s)
{
    return s->step == SERVE_WORKING && s->gathering && !serve__has_nothing(s) &&
           serve__kafka_answers(s) && serve__disk_is_good(s);
}

void serve__failed(serve *s, const char *what, const og_error *err)
{
    log_failure(LOG_LEVEL_ERROR, what, err);
    serve_stop(s, 1);
}

/* ---- starting ---- */

void serve__advance(serve *s, serve_step step)
{
    s->step = step;
    switch (step) {
    case SERVE_TOPICS: serve__check_topics(s); break;
    case SERVE_ENDS: serve__ask_ends(s); break;
    case SERVE_RESTORE:
        serve__read_records(s);
        serve__read_sources(s); /* joins its group now, reads when the records are restored */
        break;
    case SERVE_WORKING:
        log_info("ready: %zu rules in force", plan_content_rule_count(s->content));
        serve__tend_sources(s);
        break;
    case SERVE_STOPPING: break;
    }
}

/* ---- one turn of the loop ---- */

static void renew_recorded(serve *s)
{
    og_error err;
    og_error_init(&err);
    s->recorded_retry_ms = clock_monotonic_ms() + TICK_MS;
    if (serve__renew_recorded(s, &err) != OG_OK) {
        log_failure(LOG_LEVEL_ERROR,
                    "the index of recorded ids is damaged and cannot be renewed yet", &err);
        return;
    }
    metric_add(METRIC_IDS_RENEWED, 1);
    log_warn("the index of recorded ids was damaged; it has been filled again from the stores");
}

static bool is_to_be_rebuilt(const serve *s, int i)
{
    const serve_partition *p = &s->partitions[i];
    bool landed = i == s->count || p->posting + p->publishing == 0; /* what is under way */
    return p->rebuild && landed && !serve__bulk_uses(s, p->store) && !serve__stopping(s);
}

static bool is_to_be_renewed(const serve *s)
{
    return idset_is_broken(s->recorded) && clock_monotonic_ms() >= s->recorded_retry_ms;
}

/* Stopping has taken so long that what is left stays for the next start. */
static bool is_late(const serve *s)
{
    return serve__stopping(s) && clock_monotonic_ms() > s->sources_not_before_ms;
}

/* Something waits for a moment without any batch, which under load might never come. */
static bool needs_rest(const serve *s)
{
    bool needed = is_to_be_renewed(s) || is_late(s);
    for (int i = 0; i <= s->count && !needed; i++)
        needed = is_to_be_rebuilt(s, i);
    return needed;
}

/* Nobody may be using what is replaced, and one store is read by all. */
static void rebuild_damaged(serve *s)
{
    bool any = false;
    if (owner_busy(s->owner) || s->sync_busy)
        return;
    if (is_to_be_renewed(s))
        renew_recorded(s);
    for (int i = 0; i <= s->count; i++) {
        og_error err;
        og_error_init(&err);
        if (!is_to_be_rebuilt(s, i))
            continue;
        any = true;
        s->partitions[i].end = INT64_MAX; /* it has moved since: reading it will find out */
        if (serve__rebuild(s, &s->partitions[i], &err) != OG_OK)
            serve__failed(s, "a store cannot be rebuilt", &err);
    }
    if (!any || serve__stopping(s))
        return;
    if (s->shared != NULL && owner_get(s->owner, OWNER_SHARED).next_offset < 0)
        serve__read_shared(s);
    serve__restart_records(s);
}

static void on_wake(uv_timer_t *t)
{
    (void)t; /* the turn does the rest */
}

static void arm_wake(serve *s)
{
    int64_t steady = clock_monotonic_ms(), wall = clock_wall_ms();
    int64_t owner_at = owner_next_ms(s->owner), wait = TICK_MS;
    int64_t outbox_at = s->step == SERVE_WORKING ? outbox_next_ms(s->outbox) : INT64_MAX;
    if (outbox_at != INT64_MAX && outbox_at - wall < wait)
        wait = outbox_at - wall;
    if (owner_at != INT64_MAX && owner_at - steady < wait)
        wait = owner_at - steady;
    if (wait < TICK_MS)
        uv_timer_start(&s->wake, on_wake, wait > 0 ? (uint64_t)wait : 0, 0);
}

static void close_everything(serve *s);
static void close_when_quiet(serve *s);

/* What the loop did since it was here before, but for waiting: for so long nobody else was served.
 */
static void measure_turn(serve *s)
{
    uint64_t now = uv_hrtime(), idle = uv_metrics_idle_time(s->loop);
    uint64_t all = now - s->turn_ns, waited = idle - s->turn_idle_ns;
    if (s->turn_ns != 0)
        metric_observe_us(METRIC_LOOP_TURN, all > waited ? (int64_t)((all - waited) / 1000) : 0);
    s->turn_ns = now;
    s->turn_idle_ns = idle;
}

static void turn(uv_prepare_t *h)
{
    serve *s = h->data;
    if (s->posted) /* the bytes leave in the turn that follows */
        crash_point(CRASH_POSTED);
    s->posted = false;
    serve__breathe(s);
    rebuild_damaged(s);
    serve__tend_said(s);
    serve__tend_revoke(s);
    serve__close_foreign(s);
    if (s->step == SERVE_RESTORE && serve__is_assigned(s) && owner_restored(s->owner))
        serve__advance(s, SERVE_WORKING);
    serve__tend_sources(s);
    if (s->step == SERVE_WORKING)
        outbox_deliver(s->outbox, clock_wall_ms());
    owner_rest(s->owner, needs_rest(s));
    owner_run(s->owner);
    if (serve__stopping(s))
        close_when_quiet(s);
    else
        arm_wake(s);
    measure_turn(s);
}

/* Due reviews: the clock wakes patients up without any event. */
static void tick(uv_timer_t *t)
{
    serve *s = t->data;
    log_tick(clock_monotonic_ms());
    serve__ask_ends_again(s);
    serve__tell_progress(s);
    serve__tell_sweep(s);
    serve__tend_beat(s);
    serve__tend_forwards(s);
    serve__tend_audit(s);
    if (s->reload_wanted)
        serve_reload(s);
    int64_t now = clock_now(&s->clock);
    serve__end_reread(s);
    for (int i = 0; i < s->count; i++) {
        schedule_set(s->schedule, (size_t)i, owner_get(s->owner, i).next_due_ms);
        if (schedule_is_due(s->schedule, (size_t)i, now) && serve__is_current(s, i))
            owner_wake(s->owner, i);
    }
    serve__tend_lost(s);
}

static void sync_tick(uv_timer_t *t)
{
    serve__sync(t->data);
}

/* ---- callbacks of the owner and of gather ---- */

static void on_pause(void *ctx, int partition, bool pause)
{
    serve *s = ctx;
    kafka_source *source = partition == OWNER_SHARED ? s->shared : s->records;
    const char *topic =
        partition == OWNER_SHARED ? s->config->kafka_shared : s->config->kafka_records;
    int32_t number = partition == OWNER_SHARED ? 0 : partition;
    if (source == NULL)
        return;
    if (pause)
        kafka_source_pause(source, topic, number);
    else
        kafka_source_resume(source, topic, number);
}

static void on_damaged(void *ctx, int partition, const og_error *err)
{
    serve *s = ctx;
    log_failure(LOG_LEVEL_ERROR, "a store is damaged; it will be rebuilt from its topic", err);
    s->partitions[partition == OWNER_SHARED ? s->count : partition].rebuild = true;
}

/* The brokers live in real time, also when our clock is simulated. */
static int64_t latest_now(void *ctx)
{
    const serve *s = ctx;
    int64_t ours = clock_now(&s->clock), real = clock_wall_ms();
    return ours > real ? ours : real;
}

static conn_verdict gather_send(void *ctx, const kafka_record *record, kafka_report_fn *report,
                                void *report_ctx, og_error *err)
{
    serve *s = ctx;
    return kafka_sink_send(s->sink, record, report, report_ctx, err);
}

static void gather_done(void *ctx, const char *topic, int32_t partition, int64_t offset)
{
    serve *s = ctx;
    if (s->sources != NULL)
        (void)kafka_source_done(s->sources, topic, partition, offset);
}

static void gather_pause(void *ctx, bool pause)
{
    serve *s = ctx;
    s->gather_paused = pause;
    serve__tend_sources(s);
}

static void gather_reread(void *ctx)
{
    serve *s = ctx;
    if (serve__stopping(s))
        return;
    log_warn("messages were under way when the producer was replaced; they are read again");
    serve__restart_sources(s, false);
}

/* ---- what is wanted ---- */

static char *wants_path(const serve *s)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/wants", s->config->store_dir);
    return strdup(path);
}

void serve__note_wants(serve *s)
{
    og_error err;
    og_buf text;
    char *path = wants_path(s);
    og_error_init(&err);
    og_buf_init(&text, (size_t)16 << 20);
    wants_write(s->content, &text);
    if (path == NULL || og_buf_failed(&text) || file_write(path, og_buf_str(&text), &err) != OG_OK)
        log_failure(LOG_LEVEL_WARN, "cannot note what the rules ask for", &err);
    og_buf_done(&text);
    free(path);
}

void serve__want_reread(serve *s)
{
    og_error err;
    char *path = wants_path(s);
    og_error_init(&err);
    s->reread_all = s->wants_pending = true;
    if (path == NULL || file_write(path, OG_STR(""), &err) != OG_OK) /* covers nothing */
        log_failure(LOG_LEVEL_WARN, "cannot note that the sources are to be read again", &err);
    free(path);
}

/* New content that asks for more than the old did: what gather dropped is read again, from the
 * beginning. */
static void reread_if_wanted(serve *s)
{
    og_buf old;
    char *path = wants_path(s);
    og_buf_init(&old, (size_t)16 << 20);
    og_status status = path != NULL ? file_read(path, (size_t)16 << 20, &old, NULL) : OG_NOMEM;
    bool covered = status != OG_OK || wants_covered(s->content, og_buf_str(&old));
    serve__set_wants(s, covered);
    if (!covered) {
        log_info("the content asks for more than before: the source topics are read again from the "
                 "beginning");
        s->wants_pending = true;
        s->reread_all = true;
        serve__restart_sources(s, true);
    } else {
        serve__note_wants(s);
    }
    og_buf_done(&old);
    free(path);
}

/* ---- opening ---- */

static og_status load_content(const config *c, plan_content **ret, og_report *report, og_arena *a)
{
    plan_options options;
    og_status status = config_rules(c, a, &options, NULL);
    return status == OG_OK ? content_dir_load(c->content_dir, &options, ret, report) : status;
}

static og_status open_clock(serve *s, og_error *err)
{
    og_status status = clock_set_zone(s->config->timezone, err);
    if (status != OG_OK)
        return status;
    if (s->options.clock != NULL)
        s->clock = *s->options.clock;
    else
        config_clock(s->config, &s->clock);
    if (s->config->clock_simulated)
        log_warn("THE CLOCK IS SIMULATED: it begins at %s and runs at speed %s; for "
                 "demonstrations, shadow runs and "
                 "tests only",
                 s->config->clock_start, s->config->clock_speed);
    return OG_OK;
}

int serve_batches(const config *c)
{
    int processors = (int)uv_available_parallelism();
    return c->batches > 0 ? (int)c->batches : processors < MAX_BATCHES ? processors : MAX_BATCHES;
}

/* What evaluates: also where a rule fails for its length. */
static bool name_program(serve *s)
{
    const config *c = s->config;
    char id[PROGRAM_ID_TEXT];
    if (!program_id(id))
        return false;
    snprintf(s->program, sizeof s->program, "%s %lld %lld %lld %lld", id,
             (long long)c->evaluation_steps, (long long)c->evaluation_depth,
             (long long)c->evaluation_list, (long long)c->arena_mb);
    return true;
}

static og_status open_workers(serve *s, og_error *err)
{
    const config *c = s->config;
    s->setup.tenant = c->tenant;
    s->setup.max_depth = (uint32_t)c->max_depth;
    s->setup.feedback = (feedback_policy){.days = c->override_days,
                                          .critical_hours = c->override_critical_hours,
                                          .ignored_days = c->ignored_days,
                                          .shown_days = c->shown_days};
    s->setup.waiting = (waiting_policy){c->evaluation_quiet_ms, c->evaluation_wait_ms};
    s->setup.offset_at = clock_offset_min;
    s->setup.tombstone_ms = c->tombstone_days * 86400000;
    if (c->recall_mb > 0) {
        s->setup.program = name_program(s) ? s->program : NULL;
        if (s->setup.program == NULL)
            log_warn("this program was linked without a build id: nothing is noted, and all rules "
                     "are run each time");
        s->recall = recall_new((size_t)c->recall_mb << 20);
    }
    owner_options oo = {.loop = s->loop,
                        .setup = &s->setup,
                        .clock = &s->clock,
                        .batches = serve_batches(c),
                        .batch_records = (size_t)c->batch_records,
                        .batch_wait_ms = c->batch_wait_ms,
                        .arena_bytes =
                            ((size_t)c->arena_mb << 20) + 16 * (size_t)c->max_record_bytes,
                        .evaluation_bytes = (size_t)c->arena_mb << 20,
                        .partitions = s->count,
                        .ctx = s,
                        .room = serve__room,
                        .on_delivery = serve__on_delivery,
                        .more = serve__more,
                        .on_stored = serve__on_stored,
                        .on_prepared = serve__on_prepared,
                        .on_saying = serve__on_saying,
                        .on_outgoing = serve__on_outgoing,
                        .is_current = serve__is_current,
                        .on_lost = serve__on_lost,
                        .losses = serve__losses,
                        .on_backfill = serve__on_backfill,
                        .on_settled = serve__on_settled,
                        .on_swept = serve__on_swept,
                        .on_said_pause = serve__on_said_pause,
                        .on_pause = on_pause,
                        .on_damaged = on_damaged};
    s->beat_arena = og_arena_new(SERVE_BEAT_BYTES);
    s->owner = owner_new(&oo, s->content);
    s->schedule = schedule_new((size_t)s->count);
    s->partitions = calloc((size_t)s->count + 1, sizeof *s->partitions);
    s->silence = og_arena_zalloc(c->arena, c->kafka_sources.count + 1, sizeof *s->silence);
    return s->owner != NULL && s->schedule != NULL && s->partitions != NULL && s->silence != NULL &&
                   (s->recall != NULL || c->recall_mb == 0)
               ? OG_OK
               : og_fail(err, OG_NOMEM, "out of memory");
}

static og_status open_gather(serve *s, og_error *err)
{
    const config *c = s->config;
    gather_options go = {.tenant = c->tenant,
                         .envelopes = c->kafka_envelopes.at,
                         .envelope_count = c->kafka_envelopes.count,
                         .senders = c->kafka_senders.at,
                         .sender_count = c->kafka_senders.count,
                         .source_epoch = (uint32_t)c->source_epoch,
                         .records_topic = c->kafka_records,
                         .shared_topic = c->kafka_shared,
                         .dead_letters_topic = c->kafka_dead_letters,
                         .partitions = (int32_t)c->kafka_partitions,
                         .max_message_bytes = (size_t)c->max_message_bytes,
                         .max_record_bytes = (size_t)c->max_record_bytes,
                         .dead_letter_bytes = (size_t)c->dead_letter_bytes,
                         .arena_bytes =
                             ((size_t)c->arena_mb << 20) + 16 * (size_t)c->max_message_bytes,
                         .max_depth = (uint32_t)c->max_depth,
                         .max_in_flight = (size_t)c->max_in_flight,
                         .ctx = s,
                         .now_ms = latest_now,
                         .send = gather_send,
                         .done = gather_done,
                         .pause = gather_pause,
                         .reread = gather_reread};
    s->gather = gather_new(&go, s->content, s->recorded);
    return s->gather != NULL ? OG_OK : og_fail(err, OG_NOMEM, "out of memory");
}

static void start_handles(serve *s)
{
    uv_timer_t *timers[] = {&s->tick, &s->wake, &s->sync, &s->retry, &s->watchdog};
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        uv_timer_init(s->loop, timers[i]);
        timers[i]->data = s;
    }
    uv_prepare_init(s->loop, &s->turn);
    s->turn.data = s;
    uv_prepare_start(&s->turn, turn);
    uv_timer_start(&s->tick, tick, TICK_MS, TICK_MS);
    uint64_t every = (uint64_t)s->config->store_sync_interval_ms;
    uv_timer_start(&s->sync, sync_tick, every, every);
}

static void abandoned(void *ctx, int status)
{
    (void)status;
    *(bool *)ctx = true;
}

og_status serve_new(uv_loop_t *loop, config *c, const serve_options *options, serve **ret,
                    og_report *report, og_error *err)
{
    serve *s = calloc(1, sizeof *s);
    if (s == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    s->loop = loop;
    (void)uv_loop_configure(loop, UV_METRICS_IDLE_TIME); /* measure_turn; cannot fail */
    s->config = c;
    s->options = *options;
    s->count = (int)c->kafka_partitions;
    s->share_unread = true;
    s->started_ms = clock_wall_ms();
    start_handles(s);
    log_info("osteoguard %s, librdkafka %s, content %s, store %s", OG_VERSION, kafka_version(),
             c->content_dir, c->store_dir);
    metric_set(METRIC_START_TIME, s->started_ms / 1000);

    og_status status = load_content(c, &s->content, report, c->arena);
    if (status != OG_OK)
        status = og_fail(err, status, "the content in %s cannot be used", c->content_dir);
    if (status == OG_OK && plan_content_rule_count(s->content) == 0)
        status = og_fail(err, OG_INVALID, "there is no rule in %s, or none is switched on",
                         c->content_dir);
    if (status == OG_OK)
        status = open_clock(s, err);
    if (status == OG_OK)
        status = open_workers(s, err);
    if (status == OG_OK)
        status = serve__open_outbox(s, err);
    if (status == OG_OK)
        status = serve__open_stores(s, err);
    if (status == OG_OK)
        status = open_gather(s, err);
    if (status == OG_OK)
        status = serve__open_sink(s, err);
    if (status == OG_OK)
        status = serve__listen(s, err);
    if (status == OG_OK)
        status = serve__listen_hooks(s, err);
    if (status == OG_OK) {
        *ret = s;
        reread_if_wanted(s);
        serve__advance(s, SERVE_TOPICS);
        return OG_OK;
    }
    bool gone = false; /* the handles' memory is the loop's until they are closed */
    s->options.on_stopped = abandoned;
    s->options.ctx = &gone;
    s->step = SERVE_STOPPING;
    close_everything(s);
    while (!gone)
        uv_run(loop, UV_RUN_ONCE);
    return status;
}

/* ---- reloading ---- */

#define MAX_NAMES 800 /* bytes of names in a line of the log */

typedef struct problems {
    unsigned count;
} problems;

static void log_problem(void *ctx, const og_error *err)
{
    problems *p = ctx;
    p->count++;
    log_failure(LOG_LEVEL_ERROR, "reload", err);
}

static void add_name(void *ctx, const char *name)
{
    og_buf *names = ctx;
    og_buf_addf(names, "%s%s", names->n > 0 ? ", " : "", name);
}

/* What the configuration says of the content is read anew; the rest of it needs a restart, and goes
 * on as it was: also what the content is read with. NULL: the file has an error. */
static const config *read_again(const config *old, config **fresh, og_report *report)
{
    og_buf names;
    if (!old->from_file)
        return old;
    if (config_load(old->origin, fresh, report, NULL) != OG_OK)
        return NULL;
    og_buf_init(&names, MAX_NAMES);
    config_compare(old, *fresh, "content", add_name, &names);
    if (names.n > 0)
        log_warn("%s: what has changed here needs a restart: %.*s%s", old->origin,
                 OG_STR_ARG(og_buf_str(&names)), og_buf_failed(&names) ? ", and more" : "");
    og_buf_done(&names);
    (*fresh)->language = old->language;
    (*fresh)->evaluation_steps = old->evaluation_steps;
    (*fresh)->evaluation_depth = old->evaluation_depth;
    (*fresh)->evaluation_list = old->evaluation_list;
    return *fresh;
}

static void reload_work(uv_work_t *w)
{
    serve *s = w->data;
    problems p = {0};
    og_report report = {.fn = log_problem, .ctx = &p};
    og_arena *a = og_arena_new((size_t)1 << 20);
    config *fresh = NULL;
    const config *c = read_again(s->config, &fresh, &report);
    s->reloaded = NULL;
    if (a != NULL && c != NULL && load_content(c, &s->reloaded, &report, a) != OG_OK)
        s->reloaded = NULL;
    if (s->reloaded != NULL && plan_content_rule_count(s->reloaded) == 0) {
        log_error("content: there is no rule in %s", c->content_dir);
        plan_content_free(s->reloaded);
        s->reloaded = NULL;
    }
    config_free(fresh);
    og_arena_free(a);
}

static void content_released(void *ctx, const plan_content *old)
{
    serve *s = ctx;
    serve__bulk_release(s, old);
}

static void reload_done(uv_work_t *w, int status)
{
    serve *s = w->data;
    (void)status;
    s->reload_busy = false;
    s->open_things--;
    if (serve__stopping(s) || s->reloaded == NULL) {
        if (!serve__stopping(s))
            log_error("the content was not reloaded; the old one stays in force");
        metric_add_label(METRIC_RELOADS, "failed", NULL, 1);
        plan_content_free(s->reloaded);
        return;
    }
    bool same = strcmp(plan_content_digest(s->reloaded), plan_content_digest(s->content)) == 0;
    metric_add_label(METRIC_RELOADS, "ok", NULL, 1);
    log_info("content reloaded: %zu rules, %s", plan_content_rule_count(s->reloaded),
             same ? "unchanged" : "changed");
    s->content = s->reloaded;
    s->swap_pending = true;
    gather_set_content(s->gather, s->content);
    owner_set_content(s->owner, s->content, content_released, s);
    if (!same)
        reread_if_wanted(s);
}

void serve_reload(serve *s)
{
    if (serve__stopping(s))
        return;
    s->reload_wanted = s->reload_busy || s->swap_pending; /* one more when this one is through */
    if (s->reload_wanted)
        return;
    s->reload_work.data = s;
    if (uv_queue_work(s->loop, &s->reload_work, reload_work, reload_done) != 0)
        return;
    s->reload_busy = true;
    s->open_things++;
}

/* ---- stopping ---- */

static void finish(serve *s)
{
    void (*on_stopped)(void *, int) = s->options.on_stopped;
    void *ctx = s->options.ctx;
    int status = s->status;
    gather_free(s->gather);
    serve__free_sayings(s);
    outbox_free(s->outbox);
    owner_free(s->owner);
    recall_free(s->recall);
    schedule_free(s->schedule);
    serve__close_stores(s);
    plan_content_free(s->content);
    plan_content_free((plan_content *)(uintptr_t)s->retired);
    og_arena_free(s->hook_arena);
    audit_close(s->audit);
    og_arena_free(s->beat_arena);
    free(s->read_by);
    serve__free_forwards(s);
    free(s);
    if (on_stopped != NULL)
        on_stopped(ctx, status);
}

static void closed(void *ctx)
{
    serve *s = ctx;
    if (--s->open_things == 0)
        finish(s);
}

static void handle_closed(uv_handle_t *h)
{
    closed(h->data);
}

static void close_server(serve *s, http_server **server, int grace_ms)
{
    http_server *closing = *server;
    *server = NULL;
    if (closing == NULL)
        return;
    s->open_things++;
    http_server_close(closing, grace_ms, closed, s);
}

static void close_handle(serve *s, uv_handle_t *h)
{
    s->open_things++;
    uv_close(h, handle_closed);
}

static void source_gone(void *ctx)
{
    closed(ctx);
}

static void close_source(serve *s, kafka_source **source)
{
    kafka_source *closing = *source;
    *source = NULL;
    if (closing == NULL)
        return;
    s->open_things++;
    kafka_source_close(closing, GRACE_MS, source_gone, s);
}

/* What is left when nothing is under way any more: connectors, then handles. `closed` ends it. */
static void close_everything(serve *s)
{
    if (s->closing_handles)
        return;
    s->closing_handles = true;
    s->open_things++; /* so that it does not end before all have begun to close */
    serve__commit_records(s);
    close_source(s, &s->sources);
    close_source(s, &s->records);
    close_source(s, &s->shared);
    close_source(s, &s->said);
    serve__close_hooks(s);
    serve__close_fetches(s);
    serve__close_forwards(s);
    s->open_things += serve__close_backfills(s, closed);
    if (s->fhir != NULL) { /* before the client that it uses */
        s->open_things++;
        fhir_servers_close(s->fhir, closed, s);
        s->fhir = NULL;
    }
    if (s->trust != NULL) { /* before the client that fetches its keys */
        s->open_things++;
        trust_close(s->trust, closed, s);
        s->trust = NULL;
    }
    if (s->client != NULL) {
        s->open_things++;
        http_client_close(s->client, closed, s);
    }
    if (s->sink != NULL) {
        kafka_sink *sink = s->sink;
        s->open_things++;
        s->sink = NULL;
        kafka_sink_close(sink, GRACE_MS, closed, s);
    }
    close_server(s, &s->server, 0);
    close_server(s, &s->hook_server, 0);
    uv_handle_t *handles[] = {(uv_handle_t *)&s->turn,  (uv_handle_t *)&s->tick,
                              (uv_handle_t *)&s->wake,  (uv_handle_t *)&s->sync,
                              (uv_handle_t *)&s->retry, (uv_handle_t *)&s->watchdog};
    for (size_t i = 0; i < sizeof handles / sizeof handles[0]; i++)
        close_handle(s, handles[i]);
    closed(s);
}

static void on_watchdog(uv_timer_t *t)
{
    const serve *s = t->data;
    log_warn("stopping takes too long; going now, the next start repeats what was under way");
    _exit(s->status);
}

/* Called once per turn while we stop: when gather, deliveries and batches have landed, everything
 * is closed. */
static void close_when_quiet(serve *s)
{
    bool quiet =
        gather_in_flight(s->gather) == 0 && outbox_sending(s->outbox) == 0 && owner_idle(s->owner);
    bool safe = !owner_busy(s->owner) && !s->sync_busy && !s->topics_busy && !s->reload_busy &&
                !s->audit_busy && !serve__bulk_busy(s) && !s->records_closing &&
                !s->sources_closing;
    if (safe && (quiet || is_late(s)))
        close_everything(s);
}

void serve_stop(serve *s, int status)
{
    if (serve__stopping(s))
        return;
    log_info("stopping");
    s->step = SERVE_STOPPING;
    s->status = status;
    uv_timer_stop(&s->retry);
    owner_stop(s->owner);
    outbox_stop(s->outbox);
    if (s->sources != NULL)
        kafka_source_pause(s->sources, NULL, 0);
    s->sources_not_before_ms = clock_monotonic_ms() + GRACE_MS;
    uv_timer_start(&s->watchdog, on_watchdog, WATCHDOG_MS, 0);
    uv_timer_start(&s->wake, on_wake, 10, 10); /* the turns that it takes */
}
