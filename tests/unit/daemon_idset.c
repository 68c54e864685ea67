/* The index of recorded ids: never a wrong no, seldom a wrong yes, whatever happens to its file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/damage.h"
#include "daemon/file.h"
#include "daemon/idset.h"

#define FIRST_LAYER 49152 /* ids */
#define HEAD_END    65536
#define FIRST_END   (HEAD_END + 4096 * 64)
#define SECOND_END  (FIRST_END + 4 * 4096 * 64)

typedef struct place {
    char around[64], dir[96], file[128], name[40];
    idset *set;
} place;

static void open_set(place *p, const char *boot, bool anew)
{
    og_error err;
    og_error_init(&err);
    if (idset_open(p->dir, boot, &p->set, &err) != OG_OK)
        fail_msg("%s", err.text);
    assert_int_equal(strcmp(p->name, idset_name(p->set)) != 0, anew);
    snprintf(p->name, sizeof p->name, "%s", idset_name(p->set));
}

static place place_new(void)
{
    place p = {.name = ""};
    strcpy(p.around, "/tmp/og-idset-XXXXXX");
    assert_non_null(mkdtemp(p.around));
    snprintf(p.dir, sizeof p.dir, "%s/ids", p.around);
    snprintf(p.file, sizeof p.file, "%s/data", p.dir);
    open_set(&p, "one", true);
    return p;
}

static void place_done(place *p)
{
    idset_close(p->set);
    assert_int_equal(file_remove_tree(p->around, NULL), OG_OK);
}

static const og_str type = {"Observation", 11};

static og_str id_of(char out[32], uint32_t n)
{
    return (og_str){out, (size_t)snprintf(out, 32, "%08x-lab", n * 2654435761u)};
}

static void add(const place *p, uint32_t n)
{
    char text[32];
    assert_int_equal(idset_add(p->set, type, id_of(text, n), NULL), OG_OK);
}

static bool has(const place *p, uint32_t n)
{
    char text[32];
    og_status status = idset_has(p->set, type, id_of(text, n), NULL);
    assert_true(status == OG_OK || status == OG_NOTFOUND);
    return status == OG_OK;
}

static void assert_has(const place *p, uint32_t from, uint32_t to)
{
    for (uint32_t n = from; n < to; n++)
        if (!has(p, n))
            fail_msg("%u is not in it", n);
}

static off_t size_of(const place *p)
{
    struct stat st;
    assert_int_equal(stat(p->file, &st), 0);
    return st.st_size;
}

static void it_has_what_was_added(void **state)
{
    place p = place_new();
    (void)state;
    assert_false(has(&p, 1));
    add(&p, 1);
    assert_true(has(&p, 1));
    assert_false(has(&p, 2));
    /* the type belongs to it */
    char text[32];
    assert_int_equal(idset_has(p.set, OG_STR("Condition"), id_of(text, 1), NULL), OG_NOTFOUND);
    assert_int_equal(idset_has(p.set, type, OG_STR(""), NULL), OG_NOTFOUND);
    place_done(&p);
}

static void it_is_kept_unless_the_machine_stopped(void **state)
{
    place p = place_new();
    (void)state;
    add(&p, 1);
    idset_abandon(p.set); /* kill -9 */
    open_set(&p, "one", false);
    assert_true(has(&p, 1));
    idset_close(p.set);
    open_set(&p, "two", false); /* closed well before */
    assert_true(has(&p, 1));
    add(&p, 2);
    idset_abandon(p.set);
    open_set(&p, "three", true);
    assert_false(has(&p, 1));
    assert_false(has(&p, 2));
    place_done(&p);
}

/* 200,000 ids need two layers; of as many others a few are taken for one of them. */
static void it_grows_and_stays_selective(void **state)
{
    place p = place_new();
    uint32_t wrong = 0;
    (void)state;
    for (uint32_t n = 0; n < FIRST_LAYER; n++)
        add(&p, n);
    assert_int_equal(size_of(&p), FIRST_END); /* some were taken for others, and not counted */
    for (uint32_t n = FIRST_LAYER; n < 200000; n++)
        add(&p, n);
    assert_int_equal(size_of(&p), SECOND_END);
    assert_has(&p, 0, 200000);
    for (uint32_t n = 200000; n < 1200000; n++)
        wrong += has(&p, n);
    assert_true(wrong < 20); /* of a million; it is 4 */
    idset_abandon(p.set);
    open_set(&p, "one", false);
    assert_has(&p, 0, 200000);
    for (uint32_t n = 0; n < 200000; n++) /* again: nothing grows */
        add(&p, n);
    assert_int_equal(size_of(&p), SECOND_END);
    place_done(&p);
}

static void flip(const place *p, off_t at)
{
    char c;
    int fd = open(p->file, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &c, 1, at), 1);
    c ^= 4;
    assert_int_equal(pwrite(fd, &c, 1, at), 1);
    close(fd);
}

static void damage_shows_and_it_is_renewed(void **state)
{
    place p = place_new();
    og_error err;
    char text[32];
    (void)state;
    og_error_init(&err);
    add(&p, 1);
    for (off_t block = HEAD_END; block < FIRST_END; block += 64)
        flip(&p, block + block / 64 % 64); /* bits and checksums */
    assert_false(idset_is_broken(p.set));
    assert_int_equal(idset_has(p.set, type, id_of(text, 1), &err), OG_CORRUPT);
    assert_string_equal(err.origin, p.dir);
    assert_true(idset_is_broken(p.set));
    assert_int_equal(idset_add(p.set, type, id_of(text, 2), NULL), OG_CORRUPT);
    assert_int_equal(idset_renew(p.set, NULL), OG_OK);
    assert_false(idset_is_broken(p.set));
    assert_string_not_equal(idset_name(p.set), p.name);
    snprintf(p.name, sizeof p.name, "%s", idset_name(p.set));
    assert_false(has(&p, 1));
    add(&p, 2);
    idset_abandon(p.set);
    open_set(&p, "one", false);
    assert_true(has(&p, 2));
    place_done(&p);
}

static void one_that_cannot_be_renewed_stays_broken(void **state)
{
    place p = place_new();
    char aside[128];
    (void)state;
    add(&p, 1);
    snprintf(aside, sizeof aside, "%s-aside", p.around);
    assert_int_equal(rename(p.around, aside), 0);
    assert_int_equal(file_write(p.around, OG_STR("no folder"), NULL), OG_OK);
    assert_true(idset_renew(p.set, NULL) != OG_OK);
    assert_true(idset_is_broken(p.set));
    assert_int_equal(idset_has(p.set, type, OG_STR("x"), NULL), OG_CORRUPT);
    assert_int_equal(unlink(p.around), 0);
    assert_int_equal(rename(aside, p.around), 0);
    assert_int_equal(idset_renew(p.set, NULL), OG_OK);
    assert_false(has(&p, 1));
    place_done(&p);
}

static void cut(const place *p)
{
    assert_int_equal(truncate(p->file, FIRST_END), 0); /* where a layer ends */
}

static void empty(const place *p)
{
    assert_int_equal(truncate(p->file, 0), 0);
}

static void spoil_head(const place *p)
{
    flip(p, 30);
}

static void put_something_else(const place *p)
{
    assert_int_equal(file_write(p->file, OG_STR("this is no set\n"), NULL), OG_OK);
}

static void what_cannot_be_believed_is_emptied(void **state)
{
    static void (*const damages[])(const place *) = {cut, empty, spoil_head, put_something_else};
    place p = place_new();
    (void)state;
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        for (uint32_t n = 0; n < 100000; n++)
            add(&p, n);
        assert_int_equal(size_of(&p), SECOND_END);
        idset_close(p.set);
        damages[i](&p);
        open_set(&p, "one", true);
        assert_false(has(&p, 1));
        assert_int_equal(size_of(&p), FIRST_END);
    }
    place_done(&p);
}

/* As a daemon of which nobody else hears a signal. */
_Noreturn static void look_behind_the_end(const place *p)
{
    char text[32];
    signal(SIGBUS, SIG_DFL);
    damage_on_fatal_signals();
    if (truncate(p->file, HEAD_END) != 0)
        _exit(2);
    _exit(idset_has(p->set, type, id_of(text, 1), NULL) == OG_OK ? 3 : 4);
}

static void a_file_that_is_cut_in_use_kills_once(void **state)
{
    place p = place_new();
    int status;
    (void)state;
    add(&p, 1);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        look_behind_the_end(&p);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
    assert_int_equal(truncate(p.file, FIRST_END), 0); /* it would look whole */
    idset_abandon(p.set);
    open_set(&p, "one", true);
    assert_false(has(&p, 1));
    place_done(&p);
}

/* Whoever cannot complete it may say so; then nobody believes it. */
static void one_that_is_distrusted_is_broken(void **state)
{
    place p = place_new();
    (void)state;
    add(&p, 1);
    assert_int_equal(idset_sync(p.set, NULL), OG_OK);
    idset_trim(p.set);
    assert_true(has(&p, 1));
    idset_distrust(p.set);
    assert_int_equal(idset_has(p.set, type, OG_STR("x"), NULL), OG_CORRUPT);
    assert_int_equal(idset_sync(p.set, NULL), OG_OK); /* there is nothing to be kept */
    assert_int_equal(idset_renew(p.set, NULL), OG_OK);
    assert_false(has(&p, 1));
    place_done(&p);
}

/* No room for a second layer: the first one takes all. */
static void a_full_disk_costs_no_id(void **state)
{
    struct rlimit before, small = {FIRST_END, FIRST_END};
    place p = place_new();
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_false(idset_is_too_small(p.set));
    for (uint32_t n = 0; n < 150000; n++)
        add(&p, n);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(size_of(&p), FIRST_END);
    assert_true(idset_is_too_small(p.set));
    assert_has(&p, 0, 150000);
    add(&p, 150000); /* there is room again */
    for (uint32_t n = 150001; n < 160000; n++)
        add(&p, n);
    assert_int_equal(size_of(&p), SECOND_END);
    assert_false(idset_is_too_small(p.set));
    assert_has(&p, 0, 160000);
    place_done(&p);
}

typedef struct share {
    const place *p;
    uint32_t from;
} share;

static void *add_share(void *ctx)
{
    const share *s = ctx;
    for (uint32_t n = 0; n < 30000; n++)
        add(s->p, s->from + n * 4);
    return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
    place p = place_new();
    pthread_t threads[4];
    share shares[4];
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        shares[i] = (share){&p, i};
        assert_int_equal(pthread_create(&threads[i], NULL, add_share, &shares[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_has(&p, 0, 120000);
    place_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_what_was_added),
        cmocka_unit_test(it_is_kept_unless_the_machine_stopped),
        cmocka_unit_test(it_grows_and_stays_selective),
        cmocka_unit_test(damage_shows_and_it_is_renewed),
        cmocka_unit_test(one_that_cannot_be_renewed_stays_broken),
        cmocka_unit_test(what_cannot_be_believed_is_emptied),
        cmocka_unit_test(a_file_that_is_cut_in_use_kills_once),
        cmocka_unit_test(one_that_is_distrusted_is_broken),
        cmocka_unit_test(a_full_disk_costs_no_id),
        cmocka_unit_test(threads_do_not_disturb_each_other),
    };
    return cmocka_run_group_tests_name("daemon/idset", tests, NULL, NULL);
}
