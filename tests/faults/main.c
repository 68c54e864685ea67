/* The table of faults, and who runs it: each scenario in a process of its own, several at a time,
 * because they mostly wait for time to pass.
 *
 *   faults [--long] [--log DIR] [NAME...]   all scenarios, or those whose name begins so
 *
 * Prints the table and what did not hold; the last line is "N passed, N failed, N skipped". */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define MOST_MS      600000  /* a scenario that takes longer is stuck */
#define MOST_LONG_MS 7200000 /* the same in a long run */

typedef struct scenario {
    const char *name, *what;
    void (*run)(void);
    bool long_only;
} scenario;

static const scenario scenarios[] = {
    {"crash-early", "dies at crash points: gathering, applying, evaluating", crash_early, false},
    {"crash-middle", "dies at crash points: saying, posting, answered", crash_middle, false},
    {"crash-no-disk", "dies at crash points, and the disk with it", crash_without_disk, false},
    {"ehr-fails", "EHR: 5xx, 401, 404, 408, 429, closed, half, hanging", ehr_fails_in_every_way,
     false},
    {"ehr-broken", "EHR: 500 for every card, for a while", ehr_takes_nothing, false},
    {"ehr-half", "EHR: takes a card, and its answer breaks off", ehr_breaks_off, false},
    {"ehr-refuses", "EHR: 400, 413, 422 for a card", ehr_refuses_a_card, false},
    {"ehr-away", "EHR: one of two away for an hour", ehr_is_away_for_an_hour, false},
    {"ehr-endless", "EHR: hangs, a byte now and then, a body without end", ehr_answers_without_end,
     false},
    {"ehr-no-name", "EHR: its name cannot be resolved", ehr_has_no_name, false},
    {"input-poison", "poison among good messages, and on our own topics", input_is_poisoned, false},
    {"input-huge", "ten thousand entries in a Bundle, boundless numbers", input_is_a_huge_bundle,
     false},
    {"input-order", "every message one to three times, in any order",
     input_comes_twice_and_reordered, false},
    {"content-storm", "SIGHUP without end while the content changes", content_storm, false},
    {"other-version", "stores, records and content of another version", other_versions, false},
    {"clock", "the clock goes forward and back", clock_goes_forward_and_back, false},
    {"store-damaged", "stores cut, emptied, spoiled, gone while stopped", store_is_damaged, false},
    {"store-under-it", "stores cut and emptied under a running daemon", store_is_damaged_under_it,
     false},
    {"store-bits", "bits flipped in the stores' values", store_has_wrong_values, false},
    {"disk-full", "no file may grow", disk_is_full, false},
    {"store-readonly", "the store cannot be written", store_is_read_only, false},
    {"disk-errors", "the disk fails to sync, to write, to write all", disk_has_errors, false},
    {"power", "the power goes: of late writes any are there", power_goes, false},
    {"descriptors", "nothing more can be opened", descriptors_run_out, false},
    {"store-away", "a store was away for longer than deletes are kept", store_was_away, false},
    {"owners-away", "nobody was there for longer than compaction waits", owners_were_away, false},
    {"threads", "no more threads, at the start and later", threads_run_out, false},
    {"broker-away", "the broker goes for longer than a session", broker_is_away, false},
    {"broker-errors", "errors in answers to produce, fetch, commit, heartbeat",
     broker_answers_with_errors, false},
    {"stopped", "TERM under load", stopped_under_load, false},
    {"frozen", "stands still, is replaced, wakes up", frozen_and_replaced, false},
    {"members", "members join, leave and die", members_come_and_go, true},
    {"cut-synced", "a machine's power is cut; commits wait for its disk", power_is_cut_synced,
     true},
    {"cut-unsynced", "a machine's power is cut; commits do not wait", power_is_cut_unsynced, true},
    {"cut-writeback", "both, on ext4 with data=writeback", power_is_cut_writeback, true},
    {"cut-xfs", "both, on XFS", power_is_cut_xfs, true},
    {"crash-random", "200 kills at random moments", crash_at_random, true},
};

#define SCENARIOS (sizeof scenarios / sizeof scenarios[0])

/* ---- what a scenario says; shared with the parent ---- */

typedef struct result {
    int passed, failed;
    bool skipped, ended;
    char note[160];
} result;

static result *results, *mine;
static bool long_run;

bool is_long(void)
{
    return long_run;
}

void check(bool good, const char *fmt, ...)
{
    va_list ap;
    mine->passed += good;
    mine->failed += !good;
    if (good)
        return;
    va_start(ap, fmt);
    printf("FAILED: ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
    fflush(stdout);
}

void note(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(mine->note, sizeof mine->note, fmt, ap);
    va_end(ap);
}

void cannot_play(const char *why)
{
    mine->skipped = true;
    note("%s", why);
    fflush(NULL);
    _exit(0);
}

/* ---- processes ---- */

typedef struct running {
    size_t at; /* of scenarios */
    int pid;   /* 0: free */
    int64_t begun_ms;
} running;

static int64_t steady_ms(void)
{
    return clock_monotonic_us() / 1000;
}

static void log_path(const char *dir, const scenario *sc, char out[512])
{
    snprintf(out, 512, "%s/%s.log", dir, sc->name);
}

static int begin_scenario(size_t at, const char *dir)
{
    char path[512];
    log_path(dir, &scenarios[at], path);
    fflush(NULL);
    int pid = fork();
    if (pid != 0)
        return pid;
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0640);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
        _exit(126);
    close(fd);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0);                       /* with the daemons that it begins */
    setenv("CMOCKA_TEST_ABORT", "1", 1); /* an assertion that fails tells nothing outside a test */
    mine = &results[at];
    scenarios[at].run();
    mine->ended = true;
    exit(0);
}

static void print_breaks(const char *dir, const scenario *sc)
{
    char path[512], line[2048];
    log_path(dir, sc, path);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "FAILED", 6) == 0 || strncmp(line, "    ", 4) == 0 ||
            strstr(line, "ERROR") != NULL)
            printf("    | %s", line);
    if (f != NULL)
        fclose(f);
    printf("    | (all of it: %s)\n", path);
}

/* One line of the table. */
static void end_scenario(const running *r, int status, const char *dir)
{
    const scenario *sc = &scenarios[r->at];
    result *was = &results[r->at];
    int64_t took_ms = steady_ms() - r->begun_ms;
    bool died = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    if (died) {
        was->failed++;
        snprintf(was->note, sizeof was->note, "ended with status %d%s",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
                 WIFSIGNALED(status) ? " (signal)" : "");
    } else if (!was->skipped && !was->ended) { /* a daemon that stops too slowly ends its process */
        was->failed++;
        snprintf(was->note, sizeof was->note, "left before its end");
    }
    printf("%-15s | %-52s | %-7s | %3lld s | %d checks%s%s\n", sc->name, sc->what,
           was->skipped       ? "skipped"
           : was->failed == 0 ? "held"
                              : "FAILED",
           (long long)took_ms / 1000, was->passed + was->failed, was->note[0] != '\0' ? "; " : "",
           was->note);
    if (was->failed > 0)
        print_breaks(dir, sc);
    fflush(stdout);
    kill(-r->pid, SIGKILL); /* what it has left behind */
}

static void wait_for_one(running *slots, size_t count, const char *dir)
{
    int status;
    int64_t most_ms = long_run ? MOST_LONG_MS : MOST_MS;
    for (;;) {
        for (size_t i = 0; i < count; i++) {
            if (slots[i].pid == 0)
                continue;
            if (steady_ms() - slots[i].begun_ms > most_ms)
                kill(-slots[i].pid, SIGKILL);
            if (waitpid(slots[i].pid, &status, WNOHANG) != slots[i].pid)
                continue;
            end_scenario(&slots[i], status, dir);
            slots[i].pid = 0;
            return;
        }
        usleep(20000); /* the children have clocks of their own */
    }
}

static bool is_wanted(const scenario *sc, char **names, int count)
{
    if (count == 0)
        return long_run || !sc->long_only;
    for (int i = 0; i < count; i++)
        if (strncmp(sc->name, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

static int run_all(char **names, int count, size_t at_once, const char *dir)
{
    running slots[16] = {0};
    size_t busy = 0;
    int passed = 0, failed = 0, skipped = 0;
    for (size_t i = 0; i < SCENARIOS; i++) {
        if (!is_wanted(&scenarios[i], names, count))
            continue;
        if (busy == at_once) {
            wait_for_one(slots, 16, dir);
            busy--;
        }
        for (size_t k = 0; k < 16; k++) {
            if (slots[k].pid != 0)
                continue;
            slots[k] = (running){i, begin_scenario(i, dir), steady_ms()};
            busy++;
            break;
        }
    }
    for (; busy > 0; busy--)
        wait_for_one(slots, 16, dir);
    for (size_t i = 0; i < SCENARIOS; i++) {
        passed += results[i].passed;
        failed += results[i].failed;
        skipped += results[i].skipped;
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *dir = ".", *jobs = getenv("OG_FAULTS_JOBS");
    int at = 1;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--long") == 0) {
            long_run = true;
        } else if (strcmp(argv[at], "--log") == 0 && at + 1 < argc) {
            dir = argv[++at];
        } else {
            fprintf(stderr, "usage: faults [--long] [--log DIR] [NAME...]\n");
            return 2;
        }
    }
    size_t at_once = jobs != NULL ? (size_t)atoi(jobs) : 6;
    results = mmap(NULL, SCENARIOS * sizeof *results, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (results == MAP_FAILED || file_make_dirs(dir, NULL) != OG_OK)
        return 1;
    printf("%-15s | %-52s | %-7s | time  | what was checked\n", "fault", "what happens", "result");
    return run_all(argv + at, argc - at, at_once < 1 ? 1 : at_once > 16 ? 16 : at_once, dir);
}
