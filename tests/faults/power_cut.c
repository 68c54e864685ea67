/* The power goes, and this time really: power.c plays it write by write, here a machine is switched
 * off (guest.h) under load at any moment, in its first opening, while it rebuilds, and right after
 * a clean stop; then it comes back with what its disk has. */
#include "guest.h"
#include "invariants.h"

#define COPIES   2    /* of the sample stream, each with patients of its own */
#define LOAD_MS  50   /* from one message to the next while it works */
#define FLOW_MS  400  /* the same while it may be at anything */
#define FIRST_MS 2000 /* so long, before the first openings */
#define STORES   (PARTITIONS + 1)

static og_arena *texts;
static sent_list load;
static size_t next; /* over and over again: the later rounds are repeats */
static uint64_t chance = 77;

static struct {
    size_t cuts, thrown_away;
    uint64_t late, lost; /* pages that no flush had followed */
} all;

static uint32_t draw(uint32_t below)
{
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(chance >> 33) % below;
}

static int64_t steady_ms(void)
{
    return clock_monotonic_us() / 1000;
}

/* ---- load ---- */

static og_str with_other_patients(og_str text, int copy)
{
    static const char name[] = "sample-";
    const size_t n = strlen(name);
    og_buf out;
    og_buf_init(&out, (size_t)16 << 20);
    const char *at;
    while ((at = memmem(text.p, text.n, name, n)) != NULL) {
        og_buf_addf(&out, "%.*ss%d-%s", (int)(at - text.p), text.p, copy, name);
        text = og_str_from(text, (size_t)(at - text.p) + n);
    }
    og_buf_adds(&out, text);
    og_str made = og_arena_str(texts, og_buf_str(&out));
    og_buf_done(&out);
    return made;
}

static void make_load(void)
{
    texts = og_arena_new((size_t)256 << 20);
    sent_list sample;
    sent_sample(texts, &sample);
    load.count = 0;
    load.at = og_arena_zalloc(texts, COPIES * sample.count, sizeof *load.at);
    for (int copy = 1; copy <= COPIES; copy++)
        for (size_t i = 0; i < sample.count; i++)
            load.at[load.count++].value = with_other_patients(sample.at[i].value, copy);
    assert_false(og_arena_failed(texts));
    next = 0;
}

static void send_next(stage *s)
{
    og_str text = load.at[next++ % load.count].value;
    mock_kafka_put(&s->kafka, "fhir.bundle", 0, NULL, text.p, text.n);
    s->sent++;
}

static int64_t between_ms, sent_ms, until_ms;

static bool is_time(stage *s)
{
    if (steady_ms() - sent_ms >= between_ms) {
        sent_ms = steady_ms();
        send_next(s);
    }
    return steady_ms() >= until_ms;
}

static void work_for(stage *s, life *l, int64_t ms, int64_t between)
{
    between_ms = between;
    until_ms = steady_ms() + ms;
    life_wait(s, l, "the moment", is_time);
}

/* ---- from switching it on to cutting the power ---- */

static bool has_begun(stage *s)
{
    (void)s;
    return guest_has_said("guest: begins");
}

static bool is_up(stage *s)
{
    return has_begun(s) && life_is_up(s);
}

static bool is_up_or_stopped(stage *s)
{
    return guest_disk()->stopped || is_up(s);
}

static void cut(stage *s, life *l, const char *when)
{
    disk_state *disk = guest_disk();
    disk->keeps = (int)draw(3);
    guest_cut(s, l);
    printf("cut %zu %s; pages that no flush had followed: %llu, of these gone: %llu\n", ++all.cuts,
           when, (unsigned long long)disk->late, (unsigned long long)disk->lost);
    fflush(stdout);
    all.late += disk->late;
    all.lost += disk->lost;
}

typedef enum belief { BELIEVED, NOT_BELIEVED, EITHER } belief;

static double discarded;

static bool tells_discarded(stage *s) /* a machine that is busy may take its time */
{
    discarded = life_metric(s, 0, "osteoguard_store_discarded_total");
    return discarded >= 0;
}

/* Runs, and its log agrees with what it counts. */
static life come_up(stage *s, belief expected)
{
    life l = life_begin(s, 0);
    int64_t begun_ms = steady_ms();
    life_wait(s, &l, "that it runs", is_up);
    life_wait(s, &l, "how many stores are thrown away", tells_discarded);
    bool told = guest_has_said("a store is thrown away");
    printf("up after %lld ms, %g stores thrown away\n", (long long)(steady_ms() - begun_ms),
           discarded);
    check(told == (discarded > 0), "the log says whether a store is thrown away");
    check(expected == EITHER || discarded == (expected == BELIEVED ? 0 : STORES),
          "stores are %s: %g thrown away", expected == BELIEVED ? "believed" : "not believed",
          discarded);
    all.thrown_away += (size_t)discarded;
    return l;
}

static void cut_under_load(stage *s, belief expected, int64_t ms)
{
    life l = come_up(s, expected);
    work_for(s, &l, ms, LOAD_MS);
    cut(s, &l, "under load");
}

/* Opening, joining the group, reading back or working: whatever it is at then. */
static void cut_at_any_time(stage *s)
{
    life l = life_begin(s, 0);
    life_wait(s, &l, "that the machine is there", has_begun);
    work_for(s, &l, draw(12000), FLOW_MS);
    cut(s, &l, "at any time");
}

/* At a flush that is never done. false: so many never came. */
static bool cut_at_flush(stage *s, uint64_t number)
{
    char when[64];
    guest_disk()->stop_at = number;
    life l = life_begin(s, 0);
    life_wait(s, &l, "the flush", is_up_or_stopped);
    bool reached = guest_disk()->stopped;
    guest_disk()->stop_at = 0;
    snprintf(when, sizeof when, reached ? "at flush %llu" : "after %llu flushes",
             (unsigned long long)(reached ? number : guest_disk()->flushes));
    cut(s, &l, when);
    return reached;
}

static void cut_after_clean_stop(stage *s, belief expected)
{
    life l = come_up(s, expected);
    work_for(s, &l, draw(1500), LOAD_MS);
    check(guest_stop_daemon(s, &l) == 0, "asked to stop, the daemon ends well");
    cut(s, &l, "right after a clean stop");
}

/* ---- whole runs ---- */

static stage *begin(const char *fs, const char *mount_options, const char *sync)
{
    stage *s = stage_new();
    make_load();
    s->sync = sync;
    guest_new(s, fs, mount_options);
    return s;
}

/* Everything has been sent and nothing waits. */
static life come_to_rest(stage *s, belief expected)
{
    while (next < load.count)
        send_next(s);
    life l = come_up(s, expected);
    check(life_comes_to_rest(s, &l), "it comes to rest");
    return l;
}

/* By what lies on the disk after the last cut: a daemon here goes on with it. */
static void judge_disk(stage *s)
{
    guest_give_stores(s);
    guest_free(s);
    start_and_wait(s);
    check(metric_value(METRIC_STORE_DISCARDED) == 0, "the stores are believed (%lld thrown away)",
          (long long)metric_value(METRIC_STORE_DISCARDED));
    judge(s, NULL);
    stage_free(s);
    og_arena_free(texts);
}

/* A disk on which nothing was, cut at each of so many flushes; the next one goes on with it. All of
 * them read back the same, so that the flushes have an end. */
static void first_openings(stage *s, uint64_t step)
{
    bool reached = true;
    cut_under_load(s, EITHER, FIRST_MS);
    for (uint64_t n = 2; reached; n += step) {
        guest_new_disk(s);
        reached = cut_at_flush(s, n);
        life l = come_up(s, EITHER);
        cut(s, &l, "when it is up");
    }
}

/* Every commit waits for the disk: what was committed is there after each cut. */
static void every_commit_waits(const char *fs, const char *mount_options, int rounds, uint64_t step)
{
    stage *s = begin(fs, mount_options, "sync: batch");
    first_openings(s, step);
    for (int i = 0; i < rounds; i++) {
        cut_under_load(s, BELIEVED, draw(1500));
        cut_at_any_time(s);
        (void)cut_at_flush(s, 1 + draw(40));
    }
    cut_after_clean_stop(s, BELIEVED);
    life l = come_to_rest(s, BELIEVED);
    cut(s, &l, "at rest");
    cut_under_load(s, BELIEVED, draw(1500));
    judge_disk(s);
}

/* Nobody waits: a store in use when the power went is thrown away, whatever it looks like; one that
 * was closed well is believed. */
static void nobody_waits(const char *fs, const char *mount_options, int rounds, uint64_t step)
{
    stage *s = begin(fs, mount_options, "sync_interval_ms: 2000");
    first_openings(s, step);
    for (int i = 0; i < rounds; i++) {
        cut_under_load(s, NOT_BELIEVED, draw(1500));
        cut_at_any_time(s); /* most of these are in the rebuild */
        (void)cut_at_flush(s, 1 + draw(40));
        cut_after_clean_stop(s, EITHER);
        cut_under_load(s, BELIEVED, draw(1500));
    }
    life l = come_to_rest(s, NOT_BELIEVED);
    check(guest_stop_daemon(s, &l) == 0, "asked to stop, the daemon ends well");
    cut(s, &l, "right after a clean stop");
    judge_disk(s);
}

static void note_all(void)
{
    check(all.lost > 0, "the cuts have cost something: %llu pages", (unsigned long long)all.lost);
    note("%zu cuts, %llu of %llu late pages gone, %zu stores thrown away", all.cuts,
         (unsigned long long)all.lost, (unsigned long long)all.late, all.thrown_away);
}

void power_is_cut_synced(void)
{
    every_commit_waits("ext4", "rw", 10, 9);
    note_all();
}

void power_is_cut_unsynced(void)
{
    nobody_waits("ext4", "rw", 6, 5);
    note_all();
}

void power_is_cut_writeback(void)
{
    every_commit_waits("ext4", "data=writeback", 3, 25);
    nobody_waits("ext4", "data=writeback", 3, 9);
    note_all();
}

void power_is_cut_xfs(void)
{
    every_commit_waits("xfs", "rw", 3, 25);
    nobody_waits("xfs", "rw", 3, 9);
    note_all();
}
