/* A locator whose rows are damaged: it says so, and is renewed while it is in use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/file.h"
#include "daemon/locator.h"

typedef struct place {
    char dir[64], path[128];
    og_arena *a;
} place;

static void place_init(place *p)
{
    strcpy(p->dir, "/tmp/og-locator-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->path, sizeof p->path, "%s/locator", p->dir);
    p->a = og_arena_new((size_t)1 << 20);
    assert_non_null(p->a);
}

static void place_done(place *p)
{
    og_arena_free(p->a);
    assert_int_equal(file_remove_tree(p->dir, NULL), OG_OK);
}

static locator *must_open(const place *p, bool is_new)
{
    locator *l;
    bool empty;
    og_error err;
    og_error_init(&err);
    if (locator_open(p->path, 64u << 20, NULL, &l, &empty, &err) != OG_OK)
        fail_msg("%s", err.text);
    assert_int_equal(empty, is_new);
    return l;
}

static const locator_entry entry = {
    .type_id = {"Observation/1", 13}, .patient = {"the-patient", 11}, .order = {.time_us = 5}};

static void note(locator *l)
{
    assert_int_equal(locator_put(l, &entry, NULL), OG_OK);
    assert_int_equal(locator_flush(l, NULL), OG_OK);
}

/* One bit of every row's patient: LMDB does not see that. */
static void flip_bits(const place *p)
{
    char file[160];
    struct stat st;
    size_t flipped = 0;
    snprintf(file, sizeof file, "%s/data.mdb", p->path);
    int fd = open(file, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    char *bytes = malloc((size_t)st.st_size);
    assert_non_null(bytes);
    assert_int_equal(pread(fd, bytes, (size_t)st.st_size, 0), st.st_size);
    for (char *at = bytes, *end = bytes + st.st_size;
         (at = memmem(at, (size_t)(end - at), "the-patient", 11)) != NULL; at++, flipped++)
        at[4] ^= 1;
    assert_int_equal(pwrite(fd, bytes, (size_t)st.st_size, 0), st.st_size);
    close(fd);
    free(bytes);
    assert_true(flipped > 0);
}

static void a_damaged_one_is_renewed(void **state)
{
    place p;
    locator_entry found;
    og_error err;
    (void)state;
    place_init(&p);
    locator *l = must_open(&p, true);
    note(l);
    locator_close(l);
    flip_bits(&p);
    l = must_open(&p, false);
    assert_false(locator_is_broken(l));
    og_error_init(&err);
    assert_int_equal(locator_get(l, p.a, entry.type_id, &found, &err), OG_CORRUPT);
    assert_true(err.text[0] != '\0');
    assert_true(locator_is_broken(l));
    assert_int_equal(locator_put(l, &entry, NULL), OG_CORRUPT);
    assert_int_equal(locator_ensure(l, &entry, 1, NULL), OG_CORRUPT);

    assert_int_equal(locator_renew(l, NULL), OG_OK);
    assert_false(locator_is_broken(l));
    assert_int_equal(locator_get(l, p.a, entry.type_id, &found, NULL), OG_NOTFOUND);
    assert_int_equal(locator_ensure(l, &entry, 1, NULL), OG_OK);
    assert_int_equal(locator_get(l, p.a, entry.type_id, &found, NULL), OG_OK);
    assert_true(og_str_eq(found.patient, entry.patient));
    locator_close(l);
    locator_close(must_open(&p, false));
    place_done(&p);
}

/* What was collected for the next flush goes with the rest. */
static void one_is_renewed_between_put_and_flush(void **state)
{
    place p;
    locator_entry found;
    (void)state;
    place_init(&p);
    locator *l = must_open(&p, true);
    assert_int_equal(locator_put(l, &entry, NULL), OG_OK);
    assert_int_equal(locator_renew(l, NULL), OG_OK);
    assert_int_equal(locator_flush(l, NULL), OG_OK);
    assert_int_equal(locator_get(l, p.a, entry.type_id, &found, NULL), OG_NOTFOUND);
    note(l);
    assert_int_equal(locator_get(l, p.a, entry.type_id, &found, NULL), OG_OK);
    locator_close(l);
    place_done(&p);
}

/* Where the folder around it should be is a file: nothing can be made there. */
static void one_that_cannot_be_renewed_stays_broken(void **state)
{
    place p;
    char around[96];
    locator_entry found;
    (void)state;
    place_init(&p);
    snprintf(around, sizeof around, "%s/around", p.dir);
    snprintf(p.path, sizeof p.path, "%s/locator", around);
    locator *l = must_open(&p, true);
    note(l);
    assert_int_equal(file_remove_tree(around, NULL), OG_OK);
    assert_int_equal(file_write(around, OG_STR("a file"), NULL), OG_OK);
    assert_true(locator_renew(l, NULL) != OG_OK);
    assert_true(locator_is_broken(l));
    assert_int_equal(locator_get(l, p.a, entry.type_id, &found, NULL), OG_CORRUPT);
    assert_int_equal(locator_put(l, &entry, NULL), OG_CORRUPT);
    assert_int_equal(unlink(around), 0);
    assert_int_equal(locator_renew(l, NULL), OG_OK);
    note(l);
    locator_close(l);
    place_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_damaged_one_is_renewed),
        cmocka_unit_test(one_is_renewed_between_put_and_flush),
        cmocka_unit_test(one_that_cannot_be_renewed_stays_broken),
    };
    return cmocka_run_group_tests_name("daemon/locator", tests, NULL, NULL);
}
