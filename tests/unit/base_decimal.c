/* Decimals: text both ways, the four operations at the edges of the range, rounding. */
#include "fhir/base/decimal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
/* The longest number that can be written, and the greatest result, one step behind it. */
#define MAX_TEXT   "9999999999999999999999999999.99999999"
#define LIMIT_TEXT "10000000000000000000000000000"

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
        {LIMIT_TEXT, false, NULL, 0},
        {"-" LIMIT_TEXT, false, NULL, 0},
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
        {"1e27", false, "1000000000000000000000000000", 0},
        {"1e28", false, NULL, 0},
        {"0.1e29", false, NULL, 0},
        {"0.01e29", false, "1000000000000000000000000000", 0},
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
        {'+', MAX_TEXT, "0.00000001", LIMIT_TEXT},
        {'+', MAX_TEXT, "0.00000002", NULL},
        {'+', MAX_TEXT, "-" MAX_TEXT, "0"},
        {'-', "-" MAX_TEXT, "0.00000001", "-" LIMIT_TEXT},
        {'-', "-" MAX_TEXT, "0.00000002", NULL},
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
        {'*', "99999999999999.99999999", "99999999999999.99999999", "9999999999999999999998000000"},
        {'*', MAX_TEXT, "0.5", "5000000000000000000000000000"},
        {'*', "9999999999999999999999999999", "0.00000001", "99999999999999999999.99999999"},
        {'*', "10", "1000000000000000000000000000", LIMIT_TEXT},
        {'*', "10.00000001", "1000000000000000000000000000", NULL},
        {'/', "10", "3", "3.33333333"},
        {'/', "2", "3", "0.66666667"},
        {'/', "-2", "3", "-0.66666667"},
        {'/', "2", "-3", "-0.66666667"},
        {'/', "-2", "-3", "0.66666667"},
        {'/', "1", "0", NULL},
        {'/', "0", "7", "0"},
        {'/', "1000000000000000000000000000", "0.1", LIMIT_TEXT},
        {'/', MAX_TEXT, "0.99999999", NULL},
        {'/', MAX_TEXT, "7", "1428571428571428571428571428.57142857"},
        {'/', MAX_TEXT, "-9999999999999999999999999999.99999998", "-1"},
        {'/', "7777777777777777777777777777.77777777", "8888888888888888888888888888.88888888",
         "0.875"},
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
            int length = 1 + (int)(seed % 36);
            for (int i = 0; i < length; i++) {
                seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
                x = x * 10 + (int)(seed % 10);
            }
            v[k] = x;
        }
        int digit[80] = {0}; /* the product's decimal digits, lowest first */
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
        for (int i = 79; i >= 8; i--) {
            fits = fits && want <= OG_DECIMAL_LIMIT / 10;
            want = fits ? want * 10 + digit[i] : want;
        }
        want += digit[7] >= 5;
        fits = fits && want <= OG_DECIMAL_LIMIT;
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
    assert_string_equal(text(og_decimal_round(dec("9999999999999999999999999999.5"), 0), 0),
                        LIMIT_TEXT);
    assert_string_equal(text(og_decimal_round(dec(MAX_TEXT), -28), 0), LIMIT_TEXT);
    assert_string_equal(text(og_decimal_round(dec("-5000000000000000000000000000"), -28), 0),
                        "-" LIMIT_TEXT);
    assert_true(og_decimal_round(dec(MAX_TEXT), -29) == 0);
    assert_string_equal(text(og_decimal_truncate(dec("-1.99999999")), 0), "-1");
    assert_string_equal(text(og_decimal_truncate(dec("1.99999999")), 0), "1");
}

/* a / b, multiplied back, is within half a step times b of a. */
static void test_division_against_multiplication(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252u;
    for (int round = 0; round < 20000; round++) {
        og_int128 v[2];
        for (int k = 0; k < 2; k++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            og_int128 wide = (og_int128)(seed >> 8) << 64;
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            v[k] = (wide | seed) >> seed % 120; /* below 2^120 */
            v[k] = seed % 3 == 0 ? -v[k] : v[k];
        }
        og_decimal q;
        if (v[0] > OG_DECIMAL_LIMIT || v[0] < -OG_DECIMAL_LIMIT || v[1] > OG_DECIMAL_LIMIT ||
            v[1] < -OG_DECIMAL_LIMIT || !og_decimal_div(v[0], v[1], &q))
            continue;
        /* q * b - a * 10^8 modulo 2^128; its true value is small enough for that. */
        unsigned __int128 rest = (unsigned __int128)q * (unsigned __int128)v[1] -
                                 (unsigned __int128)v[0] * OG_DECIMAL_SCALE;
        og_int128 off = (og_int128)rest;
        og_int128 size = v[1] < 0 ? -v[1] : v[1];
        if (off < 0)
            off = -off;
        assert_true(off * 2 <= size);
    }
}

/* Results of either length; the long ones are beyond a long double. NULL: not defined or too large.
 */
static void test_real_functions(void **state)
{
    (void)state;
    static const struct {
        char fn; /* exp, ln, log, power, root of a product */
        const char *a, *b, *out;
    } cases[] = {
        {'e', "0", "0", "1"},
        {'e', "1", "0", "2.71828183"},
        {'e', "-1", "0", "0.36787944"},
        {'e', "30", "0", "10686474581524.46214699"},
        {'e', "64", "0", "6235149080811616882909238708.92846974"},
        {'e', "64.48", "0", NULL},
        {'e', "200", "0", NULL},
        {'e', MAX_TEXT, "0", NULL},
        {'e', "-19.1", "0", "0.00000001"},
        {'e', "-19.2", "0", "0"},
        {'e', "-200", "0", "0"},
        {'e', "-" MAX_TEXT, "0", "0"},
        {'l', "1", "0", "0"},
        {'l', "2", "0", "0.69314718"},
        {'l', "0.5", "0", "-0.69314718"},
        {'l', "0.00000001", "0", "-18.42068074"},
        {'l', "1.00000001", "0", "0.00000001"},
        {'l', "0.99999999", "0", "-0.00000001"},
        {'l', MAX_TEXT, "0", "64.4723826"},
        {'l', "0", "0", NULL},
        {'l', "-1", "0", NULL},
        {'g', "1000", "10", "3"},
        {'g', "1024", "0.5", "-10"},
        {'g', "0.25", "0.5", "2"},
        {'g', "9999999999999999999999999999", "1.00000001", "6447238292.61951916"},
        {'g', "9999999999999999999999999999", "0.99999999", "-6447238228.14713656"},
        {'g', "1", "7", "0"},
        {'g', "2", "1", NULL},
        {'g', "2", "0", NULL},
        {'g', "2", "-2", NULL},
        {'g', "0", "2", NULL},
        {'p', "2", "10", "1024"},
        {'p', "10", "28", LIMIT_TEXT},
        {'p', "10", "29", NULL},
        {'p', "10", "-8", "0.00000001"},
        {'p', "10", "-9", "0"},
        {'p', "1.5", "150", "259232147948794494594485446.81804825"},
        {'p', "-1.5", "151", "-388848221923191741891728170.22707238"},
        {'p', "2", "90.5", "1750711592962066872460373069.60806787"},
        {'p', "1.00000001", "6000000000", "114200704721352101329915205.41158038"},
        {'p', "1.00000001", MAX_TEXT, NULL},
        {'p', "0.99999999", MAX_TEXT, "0"},
        {'p', "0.99999999", "-" MAX_TEXT, NULL},
        {'p', MAX_TEXT, "1", MAX_TEXT},
        {'p', MAX_TEXT, "-1", "0"},
        {'p', "0.5", "9", "0.00195313"}, /* exactly a half */
        {'p', "-0.5", "9", "-0.00195313"},
        {'p', "6.25", "0.5", "2.5"},
        {'p', "-1", MAX_TEXT, NULL},
        {'p', "-1", "9999999999999999999999999999", "-1"},
        {'p', "-2", "0.5", NULL},
        {'p', "0", "0", "1"},
        {'p', "0", "2.5", "0"},
        {'p', "0", "-1", NULL},
        {'m', "4", "9", "6"},
        {'m', "-4", "-9", "6"},
        {'m', "4", "0", "0"},
        {'m', "0.00000001", "0.00000001", "0.00000001"},
        {'m', MAX_TEXT, MAX_TEXT, MAX_TEXT},
        {'m', "9999999999999999999999999999", "9999999999999999999999999998",
         "9999999999999999999999999998.5"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        og_decimal v[2] = {dec(cases[i].a), dec(cases[i].b)}, r = 77;
        bool ok = false;
        switch (cases[i].fn) {
        case 'e': ok = og_decimal_exp(v[0], &r); break;
        case 'l': ok = og_decimal_ln(v[0], &r); break;
        case 'g': ok = og_decimal_log(v[0], v[1], &r); break;
        case 'p': ok = og_decimal_power(v[0], v[1], &r); break;
        default: ok = og_decimal_geometric_mean(v, 2, &r); break;
        }
        if (ok != (cases[i].out != NULL))
            fail_msg("%c %s %s: %d", cases[i].fn, cases[i].a, cases[i].b, ok);
        if (!ok)
            assert_true(r == 77);
        else if (strcmp(text(r, 0), cases[i].out) != 0)
            fail_msg("%c %s %s: %s", cases[i].fn, cases[i].a, cases[i].b, text(r, 0));
    }
    og_decimal none = 77;
    assert_false(og_decimal_geometric_mean(NULL, 0, &none));
    assert_true(none == 77);
}

/* e^(ln x) is x again, to as many digits as the rounding of ln x leaves: for results of every
 * length, computed in either way. */
static void test_powers_undo_logarithms(void **state)
{
    (void)state;
    og_decimal x = OG_DECIMAL_SCALE + 12345;
    for (int i = 0; i < 90; i++, x = x * 2 + i) {
        og_decimal ln, back;
        assert_true(og_decimal_ln(x, &ln));
        assert_true(og_decimal_exp(ln, &back));
        og_decimal off = back > x ? back - x : x - back;
        if (off > x / OG_DECIMAL_SCALE + 1)
            fail_msg("%s: %s", text(x, 0), text(back, 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_format_keeps_places),
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_multiplication_against_long_hand),
        cmocka_unit_test(test_round),
        cmocka_unit_test(test_division_against_multiplication),
        cmocka_unit_test(test_real_functions),
        cmocka_unit_test(test_powers_undo_logarithms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
