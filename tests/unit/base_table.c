#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fhir/base/table.h"

static void finds_what_was_put(void **state)
{
    (void)state;
    og_arena *a = og_arena_new((size_t)64 << 20);
    og_table t;
    og_table_init(&t, a);
    assert_null(og_table_get(&t, OG_STR("x")));
    int one = 1, two = 2;
    assert_true(og_table_put(&t, OG_STR("x"), &one));
    assert_true(og_table_put(&t, (og_str){0}, &two)); /* the empty key is one */
    assert_ptr_equal(og_table_get(&t, OG_STR("x")), &one);
    assert_ptr_equal(og_table_get(&t, OG_STR("")), &two);
    assert_null(og_table_get(&t, OG_STR("y")));
    assert_true(og_table_put(&t, OG_STR("x"), &two));
    assert_ptr_equal(og_table_get(&t, OG_STR("x")), &two);
    assert_int_equal(t.count, 2);
    og_arena_free(a);
}

static void keeps_the_order_and_grows(void **state)
{
    (void)state;
    og_arena *a = og_arena_new((size_t)256 << 20);
    og_table t;
    og_table_init(&t, a);
    for (uintptr_t i = 1; i <= 100000; i++)
        assert_true(og_table_put(&t, og_arena_printf(a, "key %lu", (unsigned long)i), (void *)i));
    assert_int_equal(t.count, 100000);
    for (uintptr_t i = 1; i <= 100000; i++) {
        char key[32];
        snprintf(key, sizeof key, "key %lu", (unsigned long)i);
        assert_ptr_equal(og_table_get(&t, og_str_of(key)), (void *)i);
        assert_true(og_str_is(t.entries[i - 1].key, key));
    }
    assert_null(og_table_get(&t, OG_STR("key 100001")));
    og_arena_free(a);
}

/* Keys whose hashes agree in the low bits, as a sender could choose them: they still end in slots
 * apart, which shows in the time that this takes and, without the seed, would be a run of
 * thousands. */
static void survives_chosen_keys(void **state)
{
    (void)state;
    enum { CHOSEN = 3000 };
    og_arena *a = og_arena_new((size_t)64 << 20);
    og_table t;
    og_table_init(&t, a);
    size_t chosen = 0;
    for (unsigned long i = 0; chosen < CHOSEN; i++) {
        char key[32];
        int n = snprintf(key, sizeof key, "%lu", i);
        if ((og_str_hash((og_str){key, (size_t)n}) & 0xFF) != 0)
            continue;
        assert_true(og_table_put(&t, og_arena_str(a, (og_str){key, (size_t)n}), &t));
        chosen++;
    }
    assert_int_equal(t.count, CHOSEN);
    size_t run = 0, longest = 0;
    for (uint32_t i = 0; i < t.slot_count; i++) {
        run = t.slots[i] != 0 ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    assert_true(longest < CHOSEN / 4);
    og_arena_free(a);
}

/* A put that fails leaves the table as it was. */
static void survives_every_lack_of_memory(void **state)
{
    (void)state;
    for (size_t limit = 0; limit < 20000; limit += 64) {
        og_arena *a = og_arena_new(limit);
        static char keys[200][8];
        og_table t;
        uint32_t put = 0;
        og_table_init(&t, a);
        for (int i = 0; i < 200; i++) {
            snprintf(keys[i], sizeof keys[i], "%d", i);
            if (!og_table_put(&t, og_str_of(keys[i]), keys[i]))
                break;
            put++;
        }
        assert_int_equal(t.count, put);
        for (uint32_t i = 0; i < 200; i++)
            assert_ptr_equal(og_table_get(&t, og_str_of(keys[i])), i < put ? keys[i] : NULL);
        og_arena_free(a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_put),
        cmocka_unit_test(keeps_the_order_and_grows),
        cmocka_unit_test(survives_chosen_keys),
        cmocka_unit_test(survives_every_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
