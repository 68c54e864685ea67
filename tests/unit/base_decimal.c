/* Decimals: text both ways, the four operations at the edges of the range, rounding. */
#include "fhir/base/decimal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define MAX_TEXT "99999999999999999999.99999999"

/* The text of d with at least min_places places, in one of two static buffers. */
static const char *text(og_decimal d, int min_places)
{
    static char buf[2][48];
    static int turn;
    turn = !turn;
    size_t n = og_decimal_format(d, min_places, buf[turn]);
    assert_int_equal(n, strlen(buf[turn]));
    assert_true(n < 40);
    return buf[turn];
}

static og_decimal dec(const char *s)
{
    og_decimal d = 0;
    if (!og_decimal_parse(og_str_of(s), false, &d, NULL))
        fail_msg("not a decimal: %s", s);
    return d;
}

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        bool round;
        const char *out; /* NULL: refused */
        int scale;
    } cases[] = {
        {"0", false, "0", 0},
        {"-0", false, "0", 0},
        {"+1", false, "1", 0},
        {"007", false, "7", 0},
        {"1.00", false, "1", 2},
        {"1.58700", false, "1.587", 5},
        {"0.00000001", false, "0.00000001", 8},
        {"-0.00000001", false, "-0.00000001", 8},
        {"0.000000001", false, NULL, 0},
        {"0.000000000", false, NULL, 0},
        {"0.000000001", true, "0", 8},
        {"0.000000005", true, "0.00000001", 8},
        {"-0.000000005", true, "-0.00000001", 8},
        {"0.0000000049999999999999999999999999999", true, "0", 8},
        {"1.999999999999", true, "2", 8},
        {MAX_TEXT, false, MAX_TEXT, 8},
        {"-" MAX_TEXT, false, "-" MAX_TEXT, 8},
        {MAX_TEXT "4", true, MAX_TEXT, 8},
        {MAX_TEXT "5", true, NULL, 0},
        {"100000000000000000000", false, NULL, 0},
        {"00000000000000000000000000000000000000000001", false, "1", 0},
        {"1e2", false, "100", 0},
        {"1E+2", false, "100", 0},
        {"1.5e1", false, "15", 0},
        {"1.25e1", false, "12.5", 1},
        {"12.5e-1", false, "1.25", 2},
        {"1e-8", false, "0.00000001", 8},
        {"1e-9", false, NULL, 0},
        {"1e-9", true, "0", 8},
        {"5e-9", true, "0.00000001", 8},
        {"1e19", false, "10000000000000000000", 0},
        {"1e20", false, NULL, 0},
        {"0e99999999999999999999999", false, "0", 0},
        {"1e99999999999999999999999", false, NULL, 0},
        {"1e-99999999999999999999999", true, "0", 8},
        {"0.00000000000000000001e20", false, "1", 0},
        {"", false, NULL, 0},
        {"-", false, NULL, 0},
        {".5", false, NULL, 0},
        {"5.", false, NULL, 0},
        {"5.e1", false, NULL, 0},
        {"1e", false, NULL, 0},
        {"1e+", false, NULL, 0},
        {"1x", false, NULL, 0},
        {"1.0x", false, NULL, 0},
        {"1e1x", false, NULL, 0},
        {" 1", false, NULL, 0},
        {"--1", false, NULL, 0},
        {"NaN", false, NULL, 0},
        {"0x1", false, NULL, 0},
        {"1.2.3", false, NULL, 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        og_decimal d = 12345;
        int scale = -1;
        bool ok = og_decimal_parse(og_str_of(cases[i].in), cases[i].round, &d, &scale);
        if (ok != (cases[i].out != NULL))
            fail_msg("%s: accepted %d", cases[i].in, ok);
        if (!ok) {
            assert_true(d == 12345 && scale == -1);
            continue;
        }
        assert_string_equal(text(d, 0), cases[i].out);
        assert_int_equal(scale, cases[i].scale);
    }
}

static void test_format_keeps_places(void **state)
{
    (void)state;
    assert_string_equal(text(dec("2.5"), 2), "2.50");
    assert_string_equal(text(dec("2.5"), 0), "2.5");
    assert_string_equal(text(dec("2"), 1), "2.0");
    assert_string_equal(text(dec("2"), 8), "2.00000000");
    assert_string_equal(text(dec("2"), 99), "2.00000000");
    assert_string_equal(text(dec("-0.5"), 0), "-0.5");
    assert_string_equal(text(0, 0), "0");
}

static void test_arithmetic(void **state)
{
    (void)state;
    static const struct {
        char op;
        const char *a, *b, *out;
    } cases[] = {
        {'+', "0.1", "0.2", "0.3"},
        {'+', MAX_TEXT, "0.00000001", NULL},
        {'+', MAX_TEXT, "-" MAX_TEXT, "0"},
        {'-', "-" MAX_TEXT, "0.00000001", NULL},
        {'-', "2", "1.1", "0.9"},
        {'*', "1.1", "1.1", "1.21"},
        {'*', "-1.5", "2", "-3"},
        {'*', "0.00000001", "0.5", "0.00000001"},
        {'*', "-0.00000001", "0.5", "-0.00000001"},
        {'*', "0.00000001", "0.49999999", "0"},
        {'*', MAX_TEXT, "1", MAX_TEXT},
        {'*', MAX_TEXT, "-1", "-" MAX_TEXT},
        {'*', "1", MAX_TEXT, MAX_TEXT},
        {'*', MAX_TEXT, "1.00000001", NULL},
        {'*', MAX_TEXT, MAX_TEXT, NULL},
        {'*', "-" MAX_TEXT, MAX_TEXT, NULL},
        {'*', "9999999999.99999999", "9999999999.99999999", "99999999999999999800"},
        {'*', MAX_TEXT, "0.5", "50000000000000000000"},
        {'*', "99999999999999999999", "0.00000001", "999999999999.99999999"},
        {'/', "10", "3", "3.33333333"},
        {'/', "2", "3", "0.66666667"},
        {'/', "-2", "3", "-0.66666667"},
        {'/', "2", "-3", "-0.66666667"},
        {'/', "-2", "-3", "0.66666667"},
        {'/', "1", "0", NULL},
        {'/', "0", "7", "0"},
        {'/', MAX_TEXT, "0.99999999", NULL},
        {'/', MAX_TEXT, "0.00000001", NULL},
        {'/', MAX_TEXT, MAX_TEXT, "1"},
        {'/', "0.00000001", "2", "0.00000001"},
        {'/', "0.00000001", "3", "0"},
        {'/', "0.00000001", MAX_TEXT, "0"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        og_decimal a = dec(cases[i].a), b = dec(cases[i].b), r = 77;
        bool ok = false;
        switch (cases[i].op) {
        case '+': ok = og_decimal_add(a, b, &r); break;
        case '-': ok = og_decimal_sub(a, b, &r); break;
        case '*': ok = og_decimal_mul(a, b, &r); break;
        default: ok = og_decimal_div(a, b, &r); break;
        }
        if (ok != (cases[i].out != NULL))
            fail_msg("%s %c %s: %d", cases[i].a, cases[i].op, cases[i].b, ok);
        if (ok)
            assert_string_equal(text(r, 0), cases[i].out);
        else
            assert_true(r == 77);
    }
}

/* a * b computed digit by digit agrees with og_decimal_mul on numbers of every length. */
static void test_multiplication_against_long_hand(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252u;
    for (int round = 0; round < 20000; round++) {
        og_int128 v[2];
        for (int k = 0; k < 2; k++) {
            og_int128 x = 0;
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            int length = 1 + (int)(seed % 28);
            for (int i = 0; i < length; i++) {
                seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
                x = x * 10 + (int)(seed % 10);
            }
            v[k] = x;
        }
        int digit[64] = {0}; /* the product's decimal digits, lowest first */
        og_int128 a = v[0], b;
        for (int i = 0; a != 0; i++, a /= 10) {
            int carry = 0, j = 0;
            for (b = v[1]; b != 0 || carry != 0; b /= 10, j++) {
                int d = digit[i + j] + (int)(a % 10) * (int)(b % 10) + carry;
                digit[i + j] = d % 10;
                carry = d / 10;
            }
        }
        bool fits = true;
        og_int128 want = 0;
        for (int i = 63; i >= 8; i--) {
            fits = fits && want <= og_decimal_max / 10;
            want = fits ? want * 10 + digit[i] : want;
        }
        want += digit[7] >= 5;
        fits = fits && want <= og_decimal_max;
        og_decimal got = 0;
        assert_int_equal(og_decimal_mul(v[0], v[1], &got), fits);
        if (fits)
            assert_true(got == want);
    }
}

static void test_round(void **state)
{
    (void)state;
    assert_string_equal(text(og_decimal_round(dec("0.5"), 0), 0), "1");
    assert_string_equal(text(og_decimal_round(dec("-0.5"), 0), 0), "-1");
    assert_string_equal(text(og_decimal_round(dec("-0.49999999"), 0), 0), "0");
    assert_string_equal(text(og_decimal_round(dec("3.14159"), 2), 0), "3.14");
    assert_string_equal(text(og_decimal_round(dec("3.145"), 2), 0), "3.15");
    assert_string_equal(text(og_decimal_round(dec("3.14159"), 8), 0), "3.14159");
    assert_string_equal(text(og_decimal_round(dec("3.14159"), 20), 0), "3.14159");
    assert_string_equal(text(og_decimal_round(dec("1250"), -2), 0), "1300");
    assert_string_equal(text(og_decimal_round(dec("1250"), -30), 0), "0");
    assert_true(og_decimal_round(og_decimal_max, 0) > og_decimal_max);
    assert_true(og_decimal_round(og_decimal_max, -21) == 0);
    assert_true(og_decimal_round(og_decimal_max, -20) > og_decimal_max);
    assert_string_equal(text(og_decimal_truncate(dec("-1.99999999")), 0), "-1");
    assert_string_equal(text(og_decimal_truncate(dec("1.99999999")), 0), "1");
}

static void test_doubles(void **state)
{
    (void)state;
    og_decimal d = 5;
    assert_false(og_decimal_from_double(0.0 / 0.0, &d));
    assert_false(og_decimal_from_double(1e300, &d));
    assert_false(og_decimal_from_double(-1e20, &d));
    assert_false(og_decimal_from_double(1.0 / 0.0, &d));
    assert_true(d == 5);
    assert_true(og_decimal_from_double(2.5, &d));
    assert_string_equal(text(d, 0), "2.5");
    assert_true(og_decimal_from_double(-1e-9, &d) && d == 0);
    assert_true(og_decimal_from_double(0.1, &d));
    assert_string_equal(text(d, 0), "0.1");
    assert_true(og_decimal_to_double(dec("-0.25")) == -0.25);
    assert_true(og_decimal_to_long_double(dec("1234567.5")) == 1234567.5L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),      cmocka_unit_test(test_format_keeps_places),
        cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_multiplication_against_long_hand),
        cmocka_unit_test(test_round),      cmocka_unit_test(test_doubles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
