/* The power goes: what the disk has afterwards is what was synced, and of the writes since then
 * any. power_disk.c has noted them. */
#include "invariants.h"

#include <fcntl.h>

#define PAGE  4096
#define HEADS ((off_t)2 * PAGE) /* LMDB says there which of its pages count */

typedef enum late_writes { SOME, HEADS_ONLY, ALL_BUT_HEADS, WAYS, NONE } late_writes;

static const char *const ways[] = {"some", "heads only", "all but heads"};

static const stage *powered;
static uint64_t chance = 17;

static void let_power_go(void)
{
    put_before("power_disk");
    setenv("POWER_DISK", powered->dir, 1);
}

static bool is_there(late_writes way, off_t at)
{
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return way == HEADS_ONLY      ? at < HEADS
           : way == ALL_BUT_HEADS ? at >= HEADS
           : way == SOME          ? chance >> 63 != 0
                                  : false;
}

/* A write of several pages may come in part; a page comes whole. */
static size_t write_late(int late, int disk, late_writes way)
{
    int64_t head[2];
    size_t writes = 0;
    while (read(late, head, sizeof head) == (ssize_t)sizeof head) {
        for (int64_t done = 0; done < head[1]; writes++) {
            char page[PAGE];
            off_t at = head[0] + done;
            size_t n = (size_t)(PAGE - at % PAGE);
            n = (int64_t)n < head[1] - done ? n : (size_t)(head[1] - done);
            assert_true(read(late, page, n) == (ssize_t)n);
            if (is_there(way, at))
                assert_true(pwrite(disk, page, n, at) == (ssize_t)n);
            done += (int64_t)n;
        }
    }
    return writes;
}

/* The file is what the disk has; from now on that is synced. */
static size_t power_back(const char *dir, const char *name, late_writes way)
{
    char file[200], on_disk[220], late_writes_path[220], command[480];
    snprintf(file, sizeof file, "%s/%s", dir, name);
    snprintf(on_disk, sizeof on_disk, "%s.disk", file);
    snprintf(late_writes_path, sizeof late_writes_path, "%s.late", file);
    int late = open(late_writes_path, O_RDONLY | O_CLOEXEC);
    int disk = open(on_disk, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    assert_true(disk >= 0);
    size_t writes = late >= 0 ? write_late(late, disk, way) : 0;
    if (late >= 0)
        close(late);
    close(disk);
    (void)unlink(late_writes_path);
    snprintf(command, sizeof command, "cp %s %s", on_disk, file);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): a test's own files
    return writes;
}

/* What was done to the file last, and not followed by a sync of its folder, has not happened:
 * `how` begins the line that tells of it. */
static bool is_undone(const char *told, const char *how, const char *file, const char *end,
                      const char *folder)
{
    char line[400];
    int n = snprintf(line, sizeof line, "\n%s%s%s", how, file, end);
    const char *last = NULL;
    for (const char *at = told; (at = strstr(at, line)) != NULL; at += n - 1)
        last = at;
    return last != NULL && strstr(last, folder) == NULL;
}

/* Names are the folder's: one that nobody synced, under the name that file_write gives it first, or
 * whose folder was not, is gone; one that was removed is back. */
static void forget_names(const stage *s, const char *dir, const char *name)
{
    char path[160], file[320], folder[320];
    og_buf told;
    og_buf_init(&told, (size_t)1 << 20);
    og_buf_addc(&told, '\n');
    if (file_read(stage_path(s, "synced", path), (size_t)1 << 20, &told, NULL) != OG_OK)
        og_buf_adds(&told, OG_STR("\n")); /* nothing was */
    og_buf_addc(&told, '\0');
    snprintf(file, sizeof file, "%s/%s", dir, name);
    snprintf(folder, sizeof folder, "\n%s\n", dir);
    bool removed = is_undone(told.p, "-", file, "\n", folder);
    if (!file_exists(file) && removed)
        assert_int_equal(file_write(file, OG_STR("an earlier boot"), NULL), OG_OK);
    else if (is_undone(told.p, "", file, ".", folder) || strstr(told.p, file) == NULL)
        (void)unlink(file);
    og_buf_done(&told);
}

static size_t power_fails(const stage *s, late_writes way)
{
    static const struct {
        const char *dir, *file;
    } stores[] = {{"0", "data.mdb"},
                  {"1", "data.mdb"},
                  {"2", "data.mdb"},
                  {"shared", "data.mdb"},
                  {"ids", "data"}};
    static int boots;
    char dir[160], path[160], boot[32];
    size_t writes = 0;
    for (size_t i = 0; i < sizeof stores / sizeof stores[0]; i++) {
        snprintf(dir, sizeof dir, "%s/store/1-%d/%s", s->dir, PARTITIONS, stores[i].dir);
        writes += power_back(dir, stores[i].file, way);
        forget_names(s, dir, "unsynced");
    }
    (void)unlink(stage_path(s, "synced", path));
    snprintf(boot, sizeof boot, "boot-%d\n", ++boots);
    assert_int_equal(file_write(stage_path(s, "boot_id", path), og_str_of(boot), NULL), OG_OK);
    return writes;
}

/* ---- lives between two losses of power ---- */

static bool has_applied(stage *s)
{
    return life_metric(s, 0, "osteoguard_applied_total") > 0;
}

static size_t next;

/* It works on something, and is in the middle of it or just done. */
static life work(stage *s, bool trusts)
{
    life l = life_begin(s, 0);
    life_wait(s, &l, "that it runs", life_is_up);
    double discarded = life_metric(s, 0, "osteoguard_store_discarded_total");
    check((discarded == 0) == trusts, "its stores are %s: %g thrown away",
          trusts ? "believed" : "not believed", discarded);
    next += send_stream(s, next, next + 4);
    life_wait(s, &l, "that something is stored", has_applied);
    return l;
}

/* Every batch is synced: what was committed is there, whatever of the last one is. */
static size_t with_every_batch(stage *s)
{
    size_t writes = 0;
    s->sync = "sync: batch";
    for (late_writes way = SOME; way < ALL_BUT_HEADS; way++) { /* heads are synced there */
        life l = work(s, true);
        (void)life_end(s, &l, 0);
        size_t late = power_fails(s, way);
        check(late > 0, "there were late writes: %zu", late);
        writes += late;
    }
    return writes;
}

/* Nothing is synced while it works: who was closed well is believed, whoever was in use is not. */
static size_t without_syncs(stage *s)
{
    size_t writes = 0;
    s->sync = "sync_interval_ms: 60000";
    for (late_writes way = SOME; way < WAYS; way++) {
        printf("the power goes, of late writes are there: %s\n", ways[way]);
        life l = work(s, way == SOME);
        life_stop(s, &l);
        check(power_fails(s, NONE) == 0, "closed well, nothing is left to be synced");
        l = work(s, true);
        (void)life_end(s, &l, 0);
        size_t late = power_fails(s, way);
        check(late > 20, "there were late writes: %zu", late);
        writes += late;
    }
    return writes;
}

void power_goes(void)
{
    char path[160];
    stage *s = stage_new();
    powered = s;
    s->before_exec = let_power_go;
    assert_int_equal(file_write(stage_path(s, "boot_id", path), OG_STR("boot-0\n"), NULL), OG_OK);
    size_t writes = with_every_batch(s);
    writes += without_syncs(s);
    s->before_exec = NULL;
    s->sync = NULL;
    (void)send_stream(s, next, SIZE_MAX);
    judge(s, NULL);
    note("%zu pages were on their way", writes);
    stage_free(s);
}
