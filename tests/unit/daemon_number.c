/* Numbers as the store writes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/number.h"

static void check(int64_t n, size_t bytes)
{
    char room[NUMBER_MOST];
    og_str s = {room, number_put(room, n)};
    int64_t back = ~n;
    assert_int_equal(s.n, bytes);
    for (size_t i = 0; i < s.n; i++) { /* cut, it is none */
        og_str cut = {room, i};
        assert_false(number_take(&cut, &back));
    }
    assert_true(number_take(&s, &back));
    assert_true(back == n);
    assert_int_equal(s.n, 0);
}

static void test_numbers_come_back(void **state)
{
    (void)state;
    check(0, 1);
    check(-1, 1);
    check(63, 1);
    check(-64, 1);
    check(64, 2);
    check(-65, 2);
    check(1795000000000, 6);
    check(1795000000000000, 8);
    check(INT64_MAX, 10);
    check(INT64_MIN, 10);
    for (int i = 0; i < 63; i++) {
        int64_t n = (int64_t)1 << i;
        check(n, (size_t)(i + 1) / 7 + 1);
        check(-n, (size_t)i / 7 + 1);
    }
}

static void test_several_in_a_row(void **state)
{
    static const int64_t all[] = {5, -1795000000000, 0, INT64_MAX};
    char room[4 * NUMBER_MOST + 1];
    int64_t back[4];
    (void)state;
    og_str s = {room, numbers_put(room, all, 4)};
    room[s.n++] = 'x';
    assert_true(numbers_take(&s, back, 4));
    assert_memory_equal(back, all, sizeof all);
    assert_true(og_str_is(s, "x"));
    assert_true(number_take(&s, back));
    assert_false(number_take(&s, back));
}

static void test_what_does_not_end_is_none(void **state)
{
    char room[NUMBER_MOST + 1];
    int64_t back;
    (void)state;
    memset(room, 0xff, sizeof room);
    og_str s = {room, sizeof room};
    assert_false(number_take(&s, &back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_come_back),
        cmocka_unit_test(test_several_in_a_row),
        cmocka_unit_test(test_what_does_not_end_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
