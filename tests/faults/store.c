/* The disk: damaged, full, read-only; and a process that may open nothing more. */
#include "invariants.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define PAGE 4096

/* ---- damage while nobody looks ---- */

typedef void damage_fn(const char *path, off_t size);

static void cut(const char *path, off_t size)
{
    assert_int_equal(truncate(path, size / 2 / PAGE * PAGE), 0);
}

static void empty(const char *path, off_t size)
{
    (void)size;
    assert_int_equal(truncate(path, 0), 0);
}

static void overwrite(const char *path, off_t from, off_t n)
{
    unsigned char bytes[PAGE];
    uint64_t random = (uint64_t)from * 2654435761u + 1;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (off_t at = from; at < from + n; at += PAGE) {
        for (size_t i = 0; i < PAGE; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = (unsigned char)(random >> 40);
        }
        assert_true(pwrite(fd, bytes, PAGE, at) == PAGE);
    }
    close(fd);
}

static void spoil_heads(const char *path, off_t size)
{
    (void)size;
    overwrite(path, 0, (off_t)2 * PAGE);
}

static void spoil_pages(const char *path, off_t size)
{
    overwrite(path, (off_t)2 * PAGE, size - (off_t)2 * PAGE);
}

static void take_away(const char *path, off_t size)
{
    (void)size;
    assert_int_equal(unlink(path), 0);
}

static void put_something_else(const char *path, off_t size)
{
    (void)size;
    assert_int_equal(file_write(path, OG_STR("this is no database\n"), NULL), OG_OK);
}

static const struct {
    const char *what;
    damage_fn *fn;
} damages[] = {
    {"cut in half", cut},
    {"emptied", empty},
    {"heads spoiled", spoil_heads},
    {"pages spoiled", spoil_pages},

    {"gone", take_away},
    {"another file", put_something_else},
};
#define DAMAGES (sizeof damages / sizeof damages[0])

static const char *const store_files[] = {"0/data.mdb", "1/data.mdb", "2/data.mdb",
                                          "shared/data.mdb", "ids/data"};
#define STORES (sizeof store_files / sizeof store_files[0])
#define IDS    (STORES - 1) /* the index of recorded ids */

static void store_file(const stage *s, size_t which, char out[200])
{
    snprintf(out, 200, "%s/store/1-%d/%s", s->dir, PARTITIONS, store_files[which]);
}

static void damage(const stage *s, size_t which, damage_fn *fn)
{
    char path[200];
    struct stat st;
    store_file(s, which, path);
    assert_int_equal(stat(path, &st), 0);
    fn(path, st.st_size);
}

/* A daemon as a process: a damaged map may kill it. It is begun again as its supervisor would. */
static void live_through(stage *s, const char *what)
{
    for (int deaths = 0;; deaths++) {
        life l = life_begin(s, 0);
        if (life_comes_to_rest(s, &l)) {
            check(true, "%s: after %d deaths all is well", what, deaths);
            life_stop(s, &l);
            return;
        }
        printf("%s: died (%x)\n", what, (unsigned)l.status);
        if (deaths == 8) {
            check(false, "%s: it dies again and again", what);
            return;
        }
    }
}

static bool is_full_of_cards(stage *s)
{
    return has_d3_by_clock(s) && life_is_quiet(s);
}

/* A daemon has worked off the whole stream, and is gone. */
static stage *stage_full(void)
{
    stage *s = stage_new();
    s->later = true;
    life l = life_begin(s, 0);
    (void)send_stream(s, 0, SIZE_MAX);
    life_wait(s, &l, "everything", is_full_of_cards);
    life_stop(s, &l);
    return s;
}

void store_is_damaged(void)
{
    stage *s = stage_full();
    size_t said = s->post_count;
    for (size_t i = 0; i < DAMAGES; i++) {
        for (size_t k = 0; k < STORES; k++)
            damage(s, k, damages[i].fn);
        live_through(s, damages[i].what);
        check(s->post_count == said, "%s: nothing new is said (%zu)", damages[i].what,
              s->post_count - said);
    }
    judge(s, NULL);
    note("%zu ways", DAMAGES);
    stage_free(s);
}

/* ---- damage under a running daemon ---- */

void store_is_damaged_under_it(void)
{
    static const size_t ways[] = {0, 1}; /* those that a map can see */
    stage *s = stage_new();
    size_t next = 0;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        life l = life_begin(s, 0);
        next += send_stream(s, next, next + 16);
        if (!life_comes_to_rest(s, &l))
            fail_msg("it died before anything was done to it");
        for (size_t k = 0; k < PARTITIONS; k++)
            damage(s, (k + i) % IDS, damages[ways[i]].fn);
        damage(s, IDS, damages[ways[i]].fn);
        next += send_stream(s, next, next + 4);
        bool lived = life_comes_to_rest(s, &l);
        printf("%s under it: %s\n", damages[ways[i]].what, lived ? "lives on" : "dies");
        if (lived)
            life_stop(s, &l);
        else
            live_through(s, damages[ways[i]].what);
    }
    (void)send_stream(s, next, SIZE_MAX);
    judge(s, NULL);
    note("%zu ways", sizeof ways / sizeof ways[0]);
    stage_free(s);
}

/* ---- values that are not what was written ---- */

/* One bit in values, wherever one begins with these bytes: what LMDB does not see. */
static void flip_bits(const char *path, off_t size)
{
    static const char *const words[] = {"lastUpdated", "revision", "Type", "subject"};
    char *bytes = malloc((size_t)size);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && bytes != NULL && pread(fd, bytes, (size_t)size, 0) == size);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        for (char *at = bytes, *end = bytes + size;
             (at = memmem(at, (size_t)(end - at), words[i], strlen(words[i]))) != NULL; at++)
            at[2] ^= 4;
    assert_true(pwrite(fd, bytes, (size_t)size, 0) == size);
    close(fd);
    free(bytes);
}

/* In every partition: each has such values, and all its patients are looked at. */
static bool was_noticed(stage *s)
{
    return life_metric(s, 0, "osteoguard_store_discarded_total") >= PARTITIONS && life_is_quiet(s);
}

void store_has_wrong_values(void)
{
    stage *s = stage_full();
    for (size_t k = 0; k <= PARTITIONS; k++) /* and the shared one */
        damage(s, k, flip_bits);
    damage(s, IDS, take_away); /* some of it shows when the index is filled again */
    /* Other content: every patient is looked at before a partition is done with starting. */
    s->content_dir = OG_SOURCE_DIR "/rules/content, disabled: [A7]";
    life l = life_begin(s, 0);
    life_wait(s, &l, "that it is noticed", was_noticed);
    double discarded = life_metric(s, 0, "osteoguard_store_discarded_total");
    check(discarded >= PARTITIONS, "wrong values were noticed, and their stores rebuilt: %g",
          discarded);
    life_stop(s, &l);
    s->content_dir = NULL;
    judge(s, NULL);
    note("%g stores rebuilt", discarded);
    stage_free(s);
}

/* ---- a full disk ---- */

static life limited;

static void limit(int what, rlim_t to)
{
    struct rlimit now;
    assert_int_equal(prlimit(limited.pid, (__rlimit_resource_t)what, NULL, &now), 0);
    now.rlim_cur = to < now.rlim_max ? to : now.rlim_max;
    assert_int_equal(prlimit(limited.pid, (__rlimit_resource_t)what, &now, NULL), 0);
}

static bool is_failing(stage *s)
{
    return life_metric(s, 0, "osteoguard_ready") == 0;
}

static int64_t committed_of_owner(stage *s)
{
    return committed(s, "osteoguard-owner", "osteoguard.records", PARTITIONS);
}

/* No file may be written behind its first page: as if the disk were full. */
void disk_is_full(void)
{
    stage *s = stage_new();
    limited = life_begin(s, 0);
    (void)send_stream(s, 0, 20);
    if (!life_comes_to_rest(s, &limited))
        fail_msg("it died before the disk was full");
    size_t said = s->post_count;
    limit(RLIMIT_FSIZE, (rlim_t)PAGE);
    (void)send_stream(s, 20, SIZE_MAX);
    life_wait(s, &limited, "that it says so", is_failing);
    int64_t committed = committed_of_owner(s);
    let_pass(s, 3000); /* it tries again and again */
    check(committed_of_owner(s) == committed, "no offset moves while nothing can be stored");
    check(s->post_count == said, "nothing is said that is not stored");
    limit(RLIMIT_FSIZE, RLIM_INFINITY);
    check(life_comes_to_rest(s, &limited), "with room again it goes on");
    check(s->post_count > said, "what waited comes");
    life_stop(s, &limited);
    judge(s, NULL);
    stage_free(s);
}

/* ---- a store that cannot be written ---- */

static void set_modes(const char *dir, mode_t dirs, mode_t files)
{
    DIR *d = opendir(dir);
    const struct dirent *e;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        char path[512];
        struct stat st;
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        assert_int_equal(stat(path, &st), 0);
        if (S_ISDIR(st.st_mode))
            set_modes(path, dirs, files);
        else
            assert_int_equal(chmod(path, files), 0);
    }
    closedir(d);
    assert_int_equal(chmod(dir, dirs), 0);
}

/* The superuser may write everywhere; this one not. */
static void drop_override(void)
{
    (void)prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE);
}

void store_is_read_only(void)
{
    char path[160];
    stage *s = stage_new();
    if (geteuid() == 0 && prctl(PR_CAPBSET_READ, CAP_SETPCAP) != 1 &&
        prctl(PR_CAPBSET_READ, CAP_DAC_OVERRIDE) == 1)
        cannot_play("the superuser cannot be kept from writing here");
    life l = life_begin(s, 0);
    size_t next = send_stream(s, 0, 30);
    if (!life_comes_to_rest(s, &l))
        fail_msg("it died before");
    life_stop(s, &l);
    size_t said = s->post_count;
    int64_t committed = committed_of_owner(s);
    set_modes(stage_path(s, "store", path), 0555, 0444);
    (void)send_stream(s, next, SIZE_MAX);
    s->before_exec = drop_override;
    l = life_begin(s, 0);
    check(life_end(s, &l, 30000), "it does not start on a store that it cannot write");
    check(WIFEXITED(l.status) && WEXITSTATUS(l.status) == 1, "it says so and goes: status %x",
          (unsigned)l.status);
    check(s->post_count == said && committed_of_owner(s) == committed, "nothing has happened");
    set_modes(path, 0755, 0640);
    s->before_exec = NULL;
    judge(s, NULL);
    stage_free(s);
}

/* ---- a disk that fails ---- */

static const stage *failing;

static void let_disk_fail(void)
{
    put_before("failing_disk");
    setenv("FAILING_DISK", failing->dir, 1);
}

static bool is_not_ready(stage *s)
{
    return life_metric(s, 0, "osteoguard_ready") == 0;
}

static double discarded_before;
static bool was_rebuilt(stage *s)
{
    return life_metric(s, 0, "osteoguard_store_discarded_total") > discarded_before;
}

static int64_t committed_before;
static bool has_moved(stage *s)
{
    return committed_of_owner(s) > committed_before;
}

/* What the disk did not take once is not believed to be there later: the store is thrown away. What
 * could not even be written is tried again. */
void disk_has_errors(void)
{
    static const char *const ways[] = {"sync", "write", "short"};
    char path[160];
    size_t next = 0;
    stage *s = stage_new();
    failing = s;
    s->later = true;
    s->before_exec = let_disk_fail;
    for (size_t i = 0; i < 3; i++) {
        life l = life_begin(s, 0);
        next += send_stream(s, next, next + 10);
        if (!life_comes_to_rest(s, &l))
            fail_msg("it died before the disk failed");
        discarded_before = life_metric(s, 0, "osteoguard_store_discarded_total");
        committed_before = committed_of_owner(s);
        assert_int_equal(file_write(stage_path(s, "fails", path), og_str_of(ways[i]), NULL), OG_OK);
        next += send_stream(s, next, next + 10);
        life_wait(s, &l, "that it says so", is_not_ready);
        if (i == 0)
            life_wait(s, &l, "that it is thrown away", was_rebuilt);
        check(committed_of_owner(s) == committed_before, "%s: no offset moves while the disk fails",
              ways[i]);
        assert_int_equal(unlink(path), 0);
        check(life_comes_to_rest(s, &l), "%s: with a good disk it goes on", ways[i]);
        life_wait(s, &l, "that offsets move again", has_moved);
        life_stop(s, &l);
    }
    s->before_exec = NULL;
    judge(s, NULL);
    note("3 ways");
    stage_free(s);
}

/* ---- no more descriptors ---- */

static void allow_few(void)
{
    struct rlimit few = {12, 4096};
    (void)setrlimit(RLIMIT_NOFILE, &few);
}

static bool was_refused(stage *s)
{
    return s->refused > 0;
}

/* Everything that it holds stays open; what it would open anew (connections to the EHR, and those
 * that the brokers close) it may not. Then a process that never may. */
void descriptors_run_out(void)
{
    static int refuse_all[100000];
    stage *s = stage_new();
    for (size_t i = 0; i < sizeof refuse_all / sizeof refuse_all[0]; i++)
        refuse_all[i] = 503;
    s->script = refuse_all;
    s->script_count = sizeof refuse_all / sizeof refuse_all[0];
    limited = life_begin(s, 0);
    (void)send_stream(s, 0, 20);
    life_wait(s, &limited, "a refusal", was_refused);
    limit(RLIMIT_NOFILE, 4); /* lower than what is open: nothing new */
    size_t open = life_count(limited.pid, "fd");
    (void)send_stream(s, 20, SIZE_MAX);
    let_pass(s, 5000);
    check(life_count(limited.pid, "fd") <= open, "nothing more is open");
    check(!life_is_gone(&limited), "it lives");
    s->script_count = 0; /* the EHR would take it */
    limit(RLIMIT_NOFILE, 4096);
    check(life_comes_to_rest(s, &limited), "with descriptors again it goes on");
    life_stop(s, &limited);
    s->before_exec = allow_few;
    life l = life_begin(s, 0);
    check(life_end(s, &l, 30000) && WIFEXITED(l.status) && WEXITSTATUS(l.status) == 1,
          "with hardly any it does not start, and says so: status %x", (unsigned)l.status);
    s->before_exec = NULL;
    judge(s, NULL);
    note("%llu were open", (unsigned long long)open);
    stage_free(s);
}
