/* When a store is believed and when it is not: short files, deaths, damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/damage.h"
#include "daemon/file.h"
#include "daemon/kv.h"

static const char *const tables[] = {"a", "b"};

typedef struct place {
    char dir[64], path[128];
} place;

static void place_init(place *p)
{
    strcpy(p->dir, "/tmp/og-kv-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->path, sizeof p->path, "%s/store", p->dir);
}

static void place_done(const place *p)
{
    assert_int_equal(file_remove_tree(p->dir, NULL), OG_OK);
}

static og_status open_at(const place *p, const char *boot_id, kv **ret, og_error *err)
{
    kv_options o = {.dir = p->path,
                    .tables = tables,
                    .table_count = 2,
                    .map_bytes = 64u << 20,
                    .schema = "test-1",
                    .boot_id = boot_id};
    og_error_init(err);
    return kv_open(&o, ret, err);
}

static kv *must_open(const place *p)
{
    kv *k;
    og_error err;
    if (open_at(p, NULL, &k, &err) != OG_OK)
        fail_msg("%s", err.text);
    return k;
}

static void put(kv *k, const char *key, size_t n)
{
    kv_txn *t;
    char *value = calloc(1, n + 1);
    assert_non_null(value);
    assert_int_equal(kv_begin(k, true, &t, NULL), OG_OK);
    assert_int_equal(kv_put(t, 0, og_str_of(key), (og_str){value, n}, NULL), OG_OK);
    assert_int_equal(kv_commit(t, NULL), OG_OK);
    free(value);
}

static unsigned long next_random(unsigned long *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

/* Large values put and taken away in one transaction leave pages that LMDB counts and never writes:
 * the file is short and whole. */
static void a_short_file_may_be_whole(void **state)
{
    static char value[60000];
    size_t shorter = 0;
    (void)state;
    for (unsigned long seed = 1; seed <= 60; seed++) {
        unsigned long random = seed;
        place p;
        place_init(&p);
        for (int round = 0; round < 6; round++) {
            kv *k = must_open(&p);
            for (unsigned long t = 1 + next_random(&random) % 4; t > 0; t--) {
                kv_txn *x;
                assert_int_equal(kv_begin(k, true, &x, NULL), OG_OK);
                for (unsigned long i = 1 + next_random(&random) % 6; i > 0; i--) {
                    char key[16];
                    int n = snprintf(key, sizeof key, "k%lu", next_random(&random) % 5);
                    size_t size = next_random(&random) % 3 == 0
                                      ? 10
                                      : (size_t)(next_random(&random) % sizeof value);
                    og_str name = {key, (size_t)n};
                    if (next_random(&random) % 5 == 0)
                        assert_int_equal(kv_delete(x, 0, name, NULL), OG_OK);
                    else
                        assert_int_equal(kv_put(x, 0, name, (og_str){value, size}, NULL), OG_OK);
                }
                assert_int_equal(kv_commit(x, NULL), OG_OK);
            }
            struct stat before, after;
            char file[160];
            if (next_random(&random) % 2 == 0)
                kv_close(k);
            else
                kv_abandon(k);
            snprintf(file, sizeof file, "%s/data.mdb", p.path);
            assert_int_equal(stat(file, &before), 0);
            kv_close(must_open(&p));
            assert_int_equal(stat(file, &after), 0);
            shorter += after.st_size > before.st_size;
        }
        place_done(&p);
    }
    assert_true(shorter > 0); /* or this has tested nothing */
}

static off_t file_size(const place *p)
{
    char file[160];
    struct stat st;
    snprintf(file, sizeof file, "%s/data.mdb", p->path);
    assert_int_equal(stat(file, &st), 0);
    return st.st_size;
}

/* The file has its pages before they are written, some commits ahead. */
static void commits_find_room_at_the_end(void **state)
{
    place p;
    size_t longer = 0;
    (void)state;
    place_init(&p);
    kv *k = must_open(&p);
    for (int i = 0; i < 200; i++) {
        char key[16];
        off_t before = file_size(&p);
        snprintf(key, sizeof key, "k%03d", i);
        put(k, key, 9000);
        longer += file_size(&p) > before;
    }
    assert_true(file_size(&p) > 200 * 9000);
    assert_in_range(longer, 2, 100);
    kv_close(k);
    k = must_open(&p);
    put(k, "large", (size_t)3 << 20); /* more than there is room for */
    kv_close(k);
    kv_close(must_open(&p));
    place_done(&p);
}

static long mapped_pages(void)
{
    long shared = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*d %*d %ld", &shared), 1);
    assert_int_equal(fclose(f), 0);
    return shared;
}

/* What was read counts as ours until it is much, and is read again after that as before. */
static void pages_go_when_they_are_many(void **state)
{
    static const size_t keep[] = {SIZE_MAX, 1};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        place p;
        kv *k;
        kv_txn *t;
        og_str value;
        place_init(&p);
        kv_options o = {.dir = p.path,
                        .tables = tables,
                        .table_count = 2,
                        .map_bytes = 64u << 20,
                        .schema = "test-1",
                        .keep_bytes = keep[i]};
        assert_int_equal(kv_open(&o, &k, NULL), OG_OK);
        put(k, "large", (size_t)16 << 20);
        assert_int_equal(kv_begin(k, false, &t, NULL), OG_OK);
        assert_int_equal(kv_get(t, 0, OG_STR("large"), &value, NULL), OG_OK);
        long before = mapped_pages();
        (void)kv_trim(k);
        long given_back = before - mapped_pages();
        if (i == 0)
            assert_in_range(given_back + 100, 0, 200);
        else
            assert_true(given_back > 2000); /* of 4,096 */
        assert_int_equal(kv_get(t, 0, OG_STR("large"), &value, NULL), OG_OK);
        kv_abort(t);
        kv_close(k);
        place_done(&p);
    }
}

static void a_torn_file_is_not_believed(void **state)
{
    place p;
    char file[160];
    struct stat st;
    kv *k;
    og_error err;
    (void)state;
    place_init(&p);
    k = must_open(&p);
    put(k, "small", 10);
    put(k, "large", 500000);
    kv_close(k);
    snprintf(file, sizeof file, "%s/data.mdb", p.path);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(truncate(file, st.st_size - 100000), 0);
    assert_int_equal(open_at(&p, NULL, &k, &err), OG_CORRUPT);
    assert_non_null(strstr(err.text, "shorter"));
    assert_int_equal(kv_discard(p.path, &err), OG_OK);
    k = must_open(&p);
    kv_close(k);
    place_done(&p);
}

typedef void deed(const place *p);

static int in_a_child(deed *fn, const place *p)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        fn(p);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void open_and_die(const place *p)
{
    kv *k;
    og_error err;
    _exit(open_at(p, NULL, &k, &err) == OG_OK ? 7 : 8);
}

static void kills_after_opening_do_not_count(void **state)
{
    place p;
    og_str value;
    kv_txn *t;
    (void)state;
    place_init(&p);
    kv *k = must_open(&p);
    put(k, "alert", 5);
    kv_close(k);
    for (int i = 0; i < 6; i++)
        assert_int_equal(WEXITSTATUS(in_a_child(open_and_die, &p)), 7);
    k = must_open(&p);
    assert_int_equal(kv_begin(k, false, &t, NULL), OG_OK);
    assert_int_equal(kv_get(t, 0, OG_STR("alert"), &value, NULL), OG_OK);
    kv_abort(t);
    kv_close(k);
    place_done(&p);
}

/* The file `opening` stands for processes that died while they opened it. */
static void deaths_while_opening_count(void **state)
{
    place p;
    char file[160];
    kv *k;
    og_error err;
    (void)state;
    place_init(&p);
    kv_close(must_open(&p));
    snprintf(file, sizeof file, "%s/opening", p.path);
    assert_false(file_exists(file));
    assert_int_equal(file_write(file, OG_STR("1"), NULL), OG_OK);
    kv_close(must_open(&p));
    assert_false(file_exists(file));
    assert_int_equal(file_write(file, OG_STR("2"), NULL), OG_OK);
    assert_int_equal(open_at(&p, NULL, &k, &err), OG_CORRUPT);
    place_done(&p);
}

/* As in a daemon: nobody else has a word when a signal comes, no test library, no sanitizer. */
static void watch_for_deaths(void)
{
    signal(SIGBUS, SIG_DFL);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    damage_on_fatal_signals();
}

/* The file is cut while it is open, and a row behind its end is read. */
static void read_behind_the_end(const place *p)
{
    char file[160];
    kv_txn *t;
    og_str value;
    watch_for_deaths();
    kv *k = must_open(p);
    snprintf(file, sizeof file, "%s/data.mdb", p->path);
    if (truncate(file, 8192) != 0 || kv_begin(k, false, &t, NULL) != OG_OK)
        _exit(4);
    _exit(kv_get(t, 0, OG_STR("large"), &value, NULL) == OG_OK ? 2 : 3);
}

static void a_bus_error_is_remembered(void **state)
{
    place p;
    kv *k;
    og_error err;
    (void)state;
    place_init(&p);
    k = must_open(&p);
    put(k, "large", 500000);
    kv_close(k);
    int status = in_a_child(read_behind_the_end, &p);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(open_at(&p, NULL, &k, &err), OG_CORRUPT);
    assert_non_null(strstr(err.text, "over its pages"));
    place_done(&p);
}

static og_status pass_over(void *ctx, og_str key, og_str value, og_error *err)
{
    (void)key;
    (void)value;
    (void)err;
    ++*(size_t *)ctx;
    return OG_OK;
}

/* What a daemon does with a store; dies, or hears what is wrong, or hears nothing. */
static void use(const place *p)
{
    kv *k;
    kv_txn *t;
    og_error err;
    size_t n = 0;
    watch_for_deaths();
    if (freopen("/dev/null", "w", stderr) == NULL || open_at(p, NULL, &k, &err) != OG_OK ||
        kv_begin(k, true, &t, &err) != OG_OK)
        _exit(2);
    bool good = kv_scan(t, 0, (og_str){NULL, 0}, (og_str){NULL, 0}, pass_over, &n, &err) == OG_OK;
    for (int i = 0; good && i < 40; i++) {
        char key[16];
        og_str name = {key, (size_t)snprintf(key, sizeof key, "row-%d", i * 11)};
        good = kv_put(t, 0, name, OG_STR("another value"), &err) == OG_OK;
    }
    good = good && kv_commit(t, &err) == OG_OK;
    _exit(good ? 0 : 2);
}

/* LMDB follows what a page says without asking; a page of noise leads it anywhere. The process may
 * die of it once, and no second one. */
static void a_death_over_its_pages_is_remembered(void **state)
{
    int deaths = 0;
    (void)state;
    for (unsigned long seed = 1; seed <= 40; seed++) {
        unsigned long random = seed;
        place p;
        struct stat st;
        char file[160];
        unsigned char page[4096];
        kv *k;
        og_error err;
        place_init(&p);
        k = must_open(&p);
        for (int i = 0; i < 500; i++) {
            char key[16];
            snprintf(key, sizeof key, "row-%d", i);
            put(k, key, 60);
        }
        kv_close(k);
        snprintf(file, sizeof file, "%s/data.mdb", p.path);
        assert_int_equal(stat(file, &st), 0);
        for (size_t i = 0; i < sizeof page; i++)
            page[i] = (unsigned char)next_random(&random);
        int fd = open(file, O_RDWR | O_CLOEXEC);
        off_t at = 2 + (off_t)(next_random(&random) % (unsigned long)(st.st_size / 4096 - 2));
        assert_int_equal(pwrite(fd, page, sizeof page, at * 4096), sizeof page);
        close(fd);
        if (WIFSIGNALED(in_a_child(use, &p))) {
            deaths++;
            assert_int_equal(open_at(&p, NULL, &k, &err), OG_CORRUPT);
            assert_non_null(strstr(err.text, "over its pages"));
        }
        place_done(&p);
    }
    assert_true(deaths > 0); /* or this has tested nothing */
}

static void a_stopped_machine_is_not_believed(void **state)
{
    place p;
    kv *k;
    og_error err;
    (void)state;
    place_init(&p);
    assert_int_equal(open_at(&p, "boot-1", &k, &err), OG_OK);
    put(k, "x", 5);
    kv_abandon(k);
    assert_int_equal(open_at(&p, "boot-1", &k, &err), OG_OK); /* only the process died */
    kv_abandon(k);
    assert_int_equal(open_at(&p, "boot-2", &k, &err), OG_CORRUPT);
    place_done(&p);
}

static void copy_file(const place *p, const char *from, const char *to)
{
    char command[600];
    snprintf(command, sizeof command, "cp %s/%s %s/%s", p->path, from, p->path, to);
    assert_int_equal(system(command), 0); // NOLINT(cert-env33-c): a test's own files
}

/* The head row may be the page that did not come to the disk: it says "closed well" still. */
static void a_stopped_machine_shows_without_the_head_row(void **state)
{
    place p;
    kv *k;
    og_error err;
    (void)state;
    place_init(&p);
    assert_int_equal(open_at(&p, "boot-1", &k, &err), OG_OK);
    put(k, "x", 5);
    kv_close(k);
    copy_file(&p, "data.mdb", "closed");
    assert_int_equal(open_at(&p, "boot-2", &k, &err), OG_OK); /* closed well: any boot will do */
    put(k, "y", 5);
    kv_abandon(k);
    copy_file(&p, "closed", "data.mdb"); /* of what was written since, nothing has come */
    assert_int_equal(open_at(&p, "boot-2", &k, &err), OG_OK);
    kv_abandon(k);
    copy_file(&p, "closed", "data.mdb");
    assert_int_equal(open_at(&p, "boot-3", &k, &err), OG_CORRUPT);
    assert_non_null(strstr(err.text, "machine stopped"));
    place_done(&p);
}

/* Names in the order in which they went from the folder. */
static size_t names_removed(int watch, char names[][32], size_t most)
{
    char bytes[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t got = read(watch, bytes, sizeof bytes);
    size_t count = 0;
    assert_true(got > 0);
    for (const char *at = bytes; at < bytes + got && count < most;) {
        const struct inotify_event *e = (const void *)at;
        if ((e->mask & IN_DELETE) != 0)
            snprintf(names[count++], 32, "%s", e->name);
        at += sizeof *e + e->len;
    }
    return count;
}

/* The machine may stop in the midst of it: rows without the file that says why they are not to be
 * believed would be believed. */
static void rows_are_discarded_first(void **state)
{
    place p;
    kv *k;
    og_error err;
    char names[8][32];
    (void)state;
    place_init(&p);
    assert_int_equal(open_at(&p, "boot-1", &k, &err), OG_OK);
    put(k, "x", 5);
    kv_abandon(k);
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    assert_true(watch >= 0 && inotify_add_watch(watch, p.path, IN_DELETE) >= 0);
    assert_int_equal(kv_discard(p.path, &err), OG_OK);
    size_t n = names_removed(watch, names, 8);
    assert_true(n >= 2);
    assert_string_equal(names[0], "data.mdb");
    bool marked = false;
    for (size_t i = 1; i < n; i++)
        marked |= strcmp(names[i], "unsynced") == 0;
    assert_true(marked);
    assert_false(file_exists(p.path));
    assert_int_equal(kv_discard(p.path, &err), OG_OK); /* nothing is there any more */
    close(watch);
    place_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_file_may_be_whole),
        cmocka_unit_test(commits_find_room_at_the_end),
        cmocka_unit_test(pages_go_when_they_are_many),
        cmocka_unit_test(a_torn_file_is_not_believed),
        cmocka_unit_test(kills_after_opening_do_not_count),
        cmocka_unit_test(deaths_while_opening_count),
        cmocka_unit_test(a_bus_error_is_remembered),
        cmocka_unit_test(a_death_over_its_pages_is_remembered),
        cmocka_unit_test(a_stopped_machine_is_not_believed),
        cmocka_unit_test(a_stopped_machine_shows_without_the_head_row),
        cmocka_unit_test(rows_are_discarded_first),
    };
    return cmocka_run_group_tests_name("daemon/kv", tests, NULL, NULL);
}
