#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fhir/base/arena.h"

static void hands_out_aligned_memory(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(1 << 20);
    char *last = NULL;
    for (size_t n = 0; n < 200; n++) {
        char *p = og_arena_alloc(a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        assert_ptr_not_equal(p, last);
        memset(p, 0xA5, n);
        last = p;
    }
    assert_false(og_arena_failed(a));
    og_arena_free(a);
    og_arena_free(NULL);
}

static void zeroes_and_refuses_overflow(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(1 << 20);
    memset(og_arena_alloc(a, 4096), 0xFF, 4096);
    og_arena_reset(a);
    const unsigned char *p = og_arena_zalloc(a, 64, 64);
    assert_non_null(p);
    for (size_t i = 0; i < 4096; i++)
        assert_int_equal(p[i], 0);
    assert_null(og_arena_zalloc(a, SIZE_MAX / 2, 3));
    assert_true(og_arena_failed(a));
    assert_null(og_arena_alloc(a, 1)); /* stays failed */
    og_arena_reset(a);
    assert_false(og_arena_failed(a));
    assert_non_null(og_arena_alloc(a, 1));
    volatile size_t everything = SIZE_MAX;
    assert_null(og_arena_alloc(a, everything));
    assert_true(og_arena_failed(a));
    og_arena_free(a);
}

static void keeps_its_ceiling(void **state)
{
    (void)state;
    static const size_t limits[] = {0, 1, 16, 100, 16384, 100000, 1 << 20};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        og_arena *a = og_arena_new(limits[i]);
        size_t got = 0;
        while (og_arena_alloc(a, 48) != NULL)
            got += 48;
        assert_true(got <= limits[i]);
        assert_true(limits[i] < 48 || got != 0);
        assert_true(limits[i] - got < 48 + 16384); /* little is left unused */
        assert_true(og_arena_failed(a));
        assert_int_equal(og_arena_used(a), got);
        og_arena_reset(a);
        assert_int_equal(og_arena_used(a), 0);
        assert_true(og_arena_peak(a) >= got);
        og_arena_free(a);
    }
}

static void takes_no_block_in_a_steady_state(void **state)
{
    (void)state;
    og_arena *a = og_arena_new((size_t)64 << 20);
    size_t blocks = 0;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 3000; i++)
            assert_non_null(og_arena_alloc(a, (size_t)(i * 37 % 700)));
        if (round == 1)
            blocks = og_arena_blocks(a);
        og_arena_reset(a);
    }
    assert_int_equal(og_arena_blocks(a), blocks);
    og_arena_free(a);
}

static void a_round(og_arena *a, size_t allocations)
{
    og_arena_reset(a);
    for (size_t i = 0; i < allocations; i++)
        assert_non_null(og_arena_alloc(a, 1000));
}

/* One large round among many small ones is not remembered for good; one that comes often is. */
static void gives_back_what_is_not_needed(void **state)
{
    og_arena *a = og_arena_new((size_t)64 << 20);
    (void)state;
    a_round(a, 2000);
    size_t blocks = og_arena_blocks(a);
    assert_true(blocks > 4);
    for (int i = 0; i < 5000; i++)
        a_round(a, i % 500 == 0 ? 2000 : 10);
    assert_int_equal(og_arena_blocks(a), blocks);
    for (int i = 0; i < 2100; i++)
        a_round(a, 10);
    assert_int_equal(og_arena_blocks(a), blocks);
    a_round(a, 10);
    a_round(a, 2000);
    assert_true(og_arena_blocks(a) > blocks + 2);
    og_arena_free(a);
}

/* Many small blocks of one round must not make a large allocation of the next impossible. */
static void gives_the_whole_ceiling_after_a_reset(void **state)
{
    (void)state;
    const size_t limit = 1 << 20;
    og_arena *a = og_arena_new(limit);
    while (og_arena_alloc(a, 512) != NULL)
        ;
    og_arena_reset(a);
    char *p = og_arena_alloc(a, limit);
    assert_non_null(p);
    memset(p, 1, limit);
    og_arena_reset(a);
    for (size_t n = 0; n < limit / 512; n++)
        assert_non_null(og_arena_alloc(a, 512));
    og_arena_reset(a);
    assert_non_null(og_arena_alloc(a, 512));
    p = og_arena_alloc(a, limit / 2);
    assert_non_null(p);
    memset(p, 1, limit / 2);
    og_arena_free(a);
}

static void finds_a_kept_block_that_is_large_enough(void **state)
{
    (void)state;
    og_arena *a = og_arena_new((size_t)64 << 20);
    for (int i = 0; i < 40; i++)
        assert_non_null(og_arena_alloc(a, 10000));
    assert_non_null(og_arena_alloc(a, 2000000));
    size_t blocks = og_arena_blocks(a);
    og_arena_reset(a);
    assert_non_null(og_arena_alloc(a, 2000000)); /* stands behind smaller ones */
    for (int i = 0; i < 40; i++)
        assert_non_null(og_arena_alloc(a, 10000));
    assert_int_equal(og_arena_blocks(a), blocks);
    og_arena_free(a);
}

static void grows_in_place_or_moves(void **state)
{
    (void)state;
    og_arena *a = og_arena_new((size_t)8 << 20);
    unsigned char *p = og_arena_grow(a, NULL, 0, 10);
    assert_non_null(p);
    for (int i = 0; i < 10; i++)
        p[i] = (unsigned char)i;
    unsigned char *q = og_arena_grow(a, p, 10, 1000);
    assert_ptr_equal(q, p); /* the most recent one */
    assert_int_equal(og_arena_used(a), 1008);
    assert_ptr_equal(og_arena_grow(a, q, 1000, 1001), q); /* inside what it has */
    assert_non_null(og_arena_alloc(a, 1));
    unsigned char *r = og_arena_grow(a, q, 1000, 5000);
    assert_ptr_not_equal(r, q);
    for (int i = 0; i < 10; i++)
        assert_int_equal(r[i], i);
    unsigned char *s = og_arena_grow(a, r, 5000, 3000000); /* into another block */
    assert_non_null(s);
    for (int i = 0; i < 10; i++)
        assert_int_equal(s[i], i);
    memset(s, 0, 3000000);
    assert_null(og_arena_grow(a, s, 3000000, (size_t)9 << 20));
    assert_true(og_arena_failed(a));
    assert_null(og_arena_grow(a, s, 3000000, 3000100));
    og_arena_free(a);
}

static void gives_back_the_end(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(1 << 20);
    char *p = og_arena_alloc(a, 1000);
    og_arena_shrink(a, p, 1000, 10);
    assert_int_equal(og_arena_used(a), 16);
    char *q = og_arena_alloc(a, 16);
    assert_ptr_equal(q, p + 16);
    og_arena_shrink(a, p, 10, 0); /* not the most recent one */
    assert_int_equal(og_arena_used(a), 32);
    og_arena_shrink(a, q, 16, 100); /* no growth */
    og_arena_shrink(a, NULL, 0, 0);
    assert_int_equal(og_arena_used(a), 32);
    assert_int_equal(og_arena_peak(a), 1008);
    og_arena_free(a);
}

static void copies_and_prints(void **state)
{
    (void)state;
    og_arena *a = og_arena_new(1 << 20);
    og_str s = og_arena_str(a, OG_STR("abc"));
    assert_string_equal(s.p, "abc");
    assert_int_equal(s.n, 3);
    s = og_arena_str(a, (og_str){0});
    assert_string_equal(s.p, "");
    assert_int_equal(s.n, 0);
    s = og_arena_printf(a, "%d-%s", 42, "x");
    assert_string_equal(s.p, "42-x");
    assert_int_equal(s.n, 4);
    for (int width = 254; width < 259; width++) {
        s = og_arena_printf(a, "%0*d", width, 7);
        assert_int_equal(s.n, width);
        assert_int_equal(strspn(s.p, "0"), width - 1);
        assert_string_equal(s.p + width - 1, "7");
    }
    og_arena_free(a);
    a = og_arena_new(8);
    assert_null(og_arena_str(a, OG_STR("0123456789abcdef")).p);
    assert_null(og_arena_printf(a, "%s", "0123456789abcdef").p);
    assert_true(og_arena_failed(a));
    og_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hands_out_aligned_memory),
        cmocka_unit_test(zeroes_and_refuses_overflow),
        cmocka_unit_test(keeps_its_ceiling),
        cmocka_unit_test(takes_no_block_in_a_steady_state),
        cmocka_unit_test(gives_back_what_is_not_needed),
        cmocka_unit_test(gives_the_whole_ceiling_after_a_reset),
        cmocka_unit_test(finds_a_kept_block_that_is_large_enough),
        cmocka_unit_test(grows_in_place_or_moves),
        cmocka_unit_test(gives_back_the_end),
        cmocka_unit_test(copies_and_prints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
