#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fhir/base/text.h"

static void compares_slices(void **state)
{
    (void)state;
    assert_true(og_str_eq((og_str){0}, OG_STR("")));
    assert_false(og_str_eq(OG_STR("a"), OG_STR("ab")));
    assert_true(og_str_is(OG_STR("ab"), "ab"));
    assert_true(og_str_is((og_str){0}, ""));
    assert_int_equal(og_str_of(NULL).n, 0);
    assert_true(og_str_cmp(OG_STR("a"), OG_STR("b")) < 0);
    assert_true(og_str_cmp(OG_STR("b"), OG_STR("a")) > 0);
    assert_true(og_str_cmp(OG_STR("a"), OG_STR("ab")) < 0);
    assert_true(og_str_cmp(OG_STR("ab"), OG_STR("a")) > 0);
    assert_int_equal(og_str_cmp(OG_STR("ab"), OG_STR("ab")), 0);
    assert_int_equal(og_str_cmp((og_str){0}, (og_str){0}), 0);
    assert_true(og_str_cmp(OG_STR("\xFF"), OG_STR("a")) > 0); /* bytes, not signed characters */
    assert_true(og_str_ieq(OG_STR("AbZ"), OG_STR("aBz")));
    assert_false(og_str_ieq(OG_STR("@["), OG_STR("`{")));
    assert_false(og_str_ieq(OG_STR("a"), OG_STR("aa")));
    assert_true(og_str_starts(OG_STR("abc"), OG_STR("ab")));
    assert_true(og_str_starts(OG_STR("abc"), (og_str){0}));
    assert_false(og_str_starts(OG_STR("a"), OG_STR("ab")));
    assert_true(og_str_ends(OG_STR("abc"), OG_STR("bc")));
    assert_true(og_str_ends((og_str){0}, (og_str){0}));
    assert_false(og_str_ends(OG_STR("c"), OG_STR("bc")));
    assert_true(og_str_is(og_str_from(OG_STR("abc"), 1), "bc"));
    assert_true(og_str_is(og_str_from(OG_STR("abc"), 3), ""));
    assert_true(og_str_is(og_str_from(OG_STR("abc"), 9), ""));
    assert_true(og_str_is(og_str_from((og_str){0}, 9), ""));
    assert_int_equal(og_str_find(OG_STR("abc"), 'c'), 2);
    assert_int_equal(og_str_find(OG_STR("abc"), 'd'), -1);
    assert_int_equal(og_str_find((og_str){0}, 'd'), -1);
    assert_true(og_str_hash(OG_STR("ab")) != og_str_hash(OG_STR("ba")));
    assert_true(og_str_hash((og_str){0}) == og_str_hash(OG_STR("")));
}

static void buffer_grows_to_its_maximum(void **state)
{
    (void)state;
    og_buf b;
    og_buf_init(&b, 1000);
    assert_true(og_str_is(og_buf_str(&b), ""));
    for (int i = 0; i < 1000; i++) {
        og_buf_addc(&b, 'x');
        assert_false(og_buf_failed(&b));
        assert_int_equal(strlen(b.p), i + 1); /* a NUL behind it, always */
    }
    og_buf_add(&b, "", 0);
    assert_false(og_buf_failed(&b));
    og_buf_addc(&b, 'y');
    assert_true(og_buf_failed(&b) && b.full);
    assert_int_equal(b.n, 1000);
    og_buf_addz(&b, "");
    assert_true(og_buf_failed(&b)); /* stays failed */
    og_buf_clear(&b);
    assert_false(og_buf_failed(&b) || b.full);
    og_buf_addz(&b, "again");
    assert_true(og_str_is(og_buf_str(&b), "again"));
    og_buf_done(&b);
    og_buf_done(&b);
    og_buf_addc(&b, 'x'); /* a finished one has no room */
    assert_true(og_buf_failed(&b));
    og_buf_done(&b);
}

static void buffer_refuses_what_cannot_fit(void **state)
{
    (void)state;
    og_buf b;
    og_buf_init(&b, 10);
    og_buf_add(&b, "0123456789a", 11);
    assert_true(og_buf_failed(&b));
    assert_int_equal(b.n, 0);
    og_buf_clear(&b);
    og_buf_addf(&b, "%d", 1234567890);
    assert_false(og_buf_failed(&b));
    og_buf_addf(&b, "%d", 1);
    assert_true(og_buf_failed(&b));
    assert_true(og_str_is(og_buf_str(&b), "1234567890"));
    og_buf_done(&b);
    og_buf_init(&b, SIZE_MAX);
    og_buf_addz(&b, "abc");
    og_buf_adds(&b, OG_STR("def"));
    og_buf_adds(&b, (og_str){0});
    assert_true(og_str_is(og_buf_str(&b), "abcdef"));
    og_buf_done(&b);
}

/* What was asked for is there in one piece, and the maximum stays what it is. */
static void room_is_reserved_up_to_the_maximum(void **state)
{
    og_buf b;
    (void)state;
    og_buf_init(&b, 1000);
    og_buf_addz(&b, "ab");
    og_buf_reserve(&b, 500);
    const char *at = b.p;
    assert_true(b.cap > 502);
    for (int i = 0; i < 500; i++)
        og_buf_addc(&b, 'x');
    assert_ptr_equal(b.p, at);
    og_buf_reserve(&b, 5000);
    assert_false(og_buf_failed(&b));
    for (int i = 0; i < 498; i++)
        og_buf_addc(&b, 'x');
    assert_false(og_buf_failed(&b));
    assert_int_equal(og_buf_str(&b).n, 1000);
    og_buf_reserve(&b, 1);
    assert_false(og_buf_failed(&b));
    og_buf_addc(&b, 'x');
    assert_true(b.full);
    og_buf_done(&b);
}

static void buffer_formats_whatever_the_room(void **state)
{
    (void)state;
    og_buf b;
    char expected[1024] = "";
    og_buf_init(&b, sizeof expected);
    for (int width = 0; width < 40; width++) { /* through its growth, below and beyond the room */
        og_buf_addf(&b, "%0*d|", width, 7);
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%0*d|", width,
                 7);
        assert_string_equal(b.p, expected);
        assert_int_equal(b.n, strlen(expected));
    }
    og_buf_addf(&b, "%0*d", 1000, 7); /* neither room nor leave */
    assert_true(og_buf_failed(&b));
    assert_string_equal(b.p, expected);
    og_buf_done(&b);
    og_buf_init(&b, 12);
    og_buf_addz(&b, "0123456789");
    og_buf_addf(&b, "%s", "abc"); /* room, but no leave */
    assert_true(b.full);
    assert_string_equal(b.p, "0123456789");
    og_buf_done(&b);
}

/* Wherever in a longer text a byte stands, it is written as it is alone. */
static void every_byte_is_escaped_at_every_place(void **state)
{
    char alone[32], text[24], want[64];
    og_buf b;
    (void)state;
    og_buf_init(&b, 1000);
    for (int c = 0; c < 256; c++) {
        const char *letter = memchr("\"\\\n\r\t", c, 6);
        if (c == '"' || c == '\\')
            snprintf(alone, sizeof alone, "\\%c", c);
        else if (letter != NULL && c != 0)
            snprintf(alone, sizeof alone, "\\%c", "\"\\nrt"[letter - "\"\\\n\r\t"]);
        else if (c < 0x20)
            snprintf(alone, sizeof alone, "\\u%04x", (unsigned)c);
        else
            snprintf(alone, sizeof alone, "%c", c);
        for (size_t at = 0; at < sizeof text; at++) {
            memset(text, at % 2 == 0 ? 'x' : 0xE4, sizeof text);
            snprintf(want, sizeof want, "\"%.*s%s%.*s\"", (int)at, text, alone,
                     (int)(sizeof text - 1 - at), text);
            text[at] = (char)c;
            og_buf_clear(&b);
            og_buf_add_json(&b, (og_str){text, sizeof text});
            assert_string_equal(og_buf_str(&b).p, want);
        }
    }
    og_buf_done(&b);
}

static void buffer_writes_json_strings(void **state)
{
    (void)state;
    og_buf b;
    og_buf_init(&b, 1000);
    og_buf_add_json(&b, (og_str){"a\"\\\n\r\t\b\x1F\0\xC3\xA4/", 12});
    assert_true(og_str_is(og_buf_str(&b), "\"a\\\"\\\\\\n\\r\\t\\u0008\\u001f\\u0000\xC3\xA4/\""));
    og_buf_clear(&b);
    og_buf_add_json(&b, (og_str){0});
    assert_true(og_str_is(og_buf_str(&b), "\"\""));
    og_buf_done(&b);
}

/* A decoder written another way, from the table in RFC 3629 section 4, to compare with. */
static bool well_formed(const unsigned char *p, size_t n)
{
    static const struct {
        unsigned char low[4], high[4];
        size_t n;
    } rows[] = {
        {{0x00}, {0x7F}, 1},
        {{0xC2, 0x80}, {0xDF, 0xBF}, 2},
        {{0xE0, 0xA0, 0x80}, {0xE0, 0xBF, 0xBF}, 3},
        {{0xE1, 0x80, 0x80}, {0xEC, 0xBF, 0xBF}, 3},
        {{0xED, 0x80, 0x80}, {0xED, 0x9F, 0xBF}, 3},
        {{0xEE, 0x80, 0x80}, {0xEF, 0xBF, 0xBF}, 3},
        {{0xF0, 0x90, 0x80, 0x80}, {0xF0, 0xBF, 0xBF, 0xBF}, 4},
        {{0xF1, 0x80, 0x80, 0x80}, {0xF3, 0xBF, 0xBF, 0xBF}, 4},
        {{0xF4, 0x80, 0x80, 0x80}, {0xF4, 0x8F, 0xBF, 0xBF}, 4},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        bool fits = n == rows[r].n;
        for (size_t i = 0; fits && i < n; i++)
            fits = p[i] >= rows[r].low[i] && p[i] <= rows[r].high[i];
        if (fits)
            return true;
    }
    return false;
}

static void checks_utf8_like_the_rfc(void **state)
{
    (void)state;
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++) {
            static const unsigned char ends[] = {0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF};
            unsigned char p[4] = {(unsigned char)a, (unsigned char)b};
            assert_int_equal(og_utf8_length((char *)p, 1) == 1, well_formed(p, 1));
            assert_int_equal(og_utf8_length((char *)p, 2) == 2, well_formed(p, 2));
            for (size_t i = 0; i < sizeof ends; i++)
                for (size_t k = 0; k < sizeof ends; k++) {
                    p[2] = ends[i];
                    p[3] = ends[k];
                    assert_int_equal(og_utf8_length((char *)p, 3) == 3, well_formed(p, 3));
                    assert_int_equal(og_utf8_length((char *)p, 4) == 4, well_formed(p, 4));
                }
        }
}

static void reads_what_it_writes(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        char out[4];
        size_t at = 0, n = og_utf8_put(cp, out);
        bool surrogate = cp >= 0xD800 && cp <= 0xDFFF;
        if (og_utf8_next((og_str){out, n}, &at) != (surrogate ? 0xFFFD : cp) ||
            at != (surrogate ? 1 : n))
            fail_msg("U+%04X", cp);
    }
}

static void finds_the_first_bad_byte(void **state)
{
    (void)state;
    char text[64];
    for (size_t n = 0; n <= 40; n++)
        for (size_t bad = 0; bad <= n; bad++) {
            memset(text, 'a', sizeof text);
            if (n > 10)
                memcpy(text + 4, "\xE2\x82\xAC", 3);
            if (bad < n && (bad < 4 || bad > 6))
                text[bad] = (char)0x80;
            size_t want = bad < n && (bad < 4 || bad > 6) ? bad : n;
            char *exact = malloc(n != 0 ? n : 1);
            assert_non_null(exact);
            memcpy(exact, text, n);
            assert_int_equal(og_utf8_check((og_str){exact, n}), want);
            free(exact);
        }
    assert_int_equal(og_utf8_check(OG_STR("abc\xE2\x82")), 3); /* cut short */
}

/* RFC 3720 B.4 and the check value of the CRC catalogue. */
static void sums_like_the_rfc(void **state)
{
    (void)state;
    unsigned char zeros[32] = {0}, ones[32], up[32], down[32];
    for (int i = 0; i < 32; i++) {
        ones[i] = 0xFF;
        up[i] = (unsigned char)i;
        down[i] = (unsigned char)(31 - i);
    }
    uint32_t (*const sums[])(uint32_t, const void *, size_t) = {og_crc32c, og__crc32c_portable};
    for (size_t k = 0; k < 2; k++) {
        assert_int_equal(sums[k](0, "123456789", 9), 0xE3069283);
        assert_int_equal(sums[k](0, zeros, 32), 0x8A9136AA);
        assert_int_equal(sums[k](0, ones, 32), 0x62A8AB43);
        assert_int_equal(sums[k](0, up, 32), 0x46DD794E);
        assert_int_equal(sums[k](0, down, 32), 0x113FDB5C);
        assert_int_equal(sums[k](0, "", 0), 0);
        assert_int_equal(sums[k](0, NULL, 0), 0);
    }
}

static void sums_piece_by_piece(void **state)
{
    (void)state;
    unsigned char p[300];
    for (size_t i = 0; i < sizeof p; i++)
        p[i] = (unsigned char)(i * 7 + i / 3);
    for (size_t n = 0; n <= sizeof p; n++) {
        uint32_t whole = og_crc32c(0, p, n);
        assert_int_equal(og__crc32c_portable(0, p, n), whole);
        for (size_t cut = 0; cut <= n; cut += 13)
            assert_int_equal(og_crc32c(og_crc32c(0, p, cut), p + cut, n - cut), whole);
        assert_int_equal(
            og__crc32c_portable(og__crc32c_portable(0, p, n / 3), p + n / 3, n - n / 3), whole);
    }
}

/* Values that Kafka's own tests state (org.apache.kafka.common.utils.UtilsTest). */
static void hashes_like_kafka(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t hash;
    } cases[] = {
        {"21", -973932308},
        {"foobar", -790332482},
        {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829},
        {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
        {"abc", 479470107},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal((int32_t)og_murmur2(cases[i].text, strlen(cases[i].text)), cases[i].hash);
}

static void tells_line_and_column(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint32_t line, column;
    } cases[] = {{0, 1, 1}, {1, 1, 2}, {2, 1, 3}, {3, 2, 1}, {4, 3, 1}, {6, 3, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t line, column;
        og_text_place(OG_STR("ab\n\ncd"), cases[i].at, &line, &column);
        assert_int_equal(line, cases[i].line);
        assert_int_equal(column, cases[i].column);
    }
}

static void knows_uuids(void **state)
{
    (void)state;
    assert_true(og_str_is_uuid(OG_STR("d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"), false));
    assert_true(og_str_is_uuid(OG_STR("d1577c69-dfbe-44ad-ba6d-3e05e953b2ea"), true));
    assert_true(og_str_is_uuid(OG_STR("D1577C69-DFBE-44AD-BA6D-3E05E953B2EA"), true));
    assert_false(og_str_is_uuid(OG_STR("D1577C69-DFBE-44AD-BA6D-3E05E953B2EA"), false));
    assert_false(og_str_is_uuid(OG_STR("d1577c69-dfbe-44ad-ba6d-3e05e953b2e"), true));
    assert_false(og_str_is_uuid(OG_STR("d1577c69-dfbe-44ad-ba6d-3e05e953b2ea0"), true));
    assert_false(og_str_is_uuid(OG_STR("d1577c69-dfbe-44ad-ba6d-3e05e953b2eg"), true));
    assert_false(og_str_is_uuid(OG_STR("d1577c69xdfbe-44ad-ba6d-3e05e953b2ea"), true));
    assert_false(og_str_is_uuid((og_str){0}, true));
}

static void reads_whole_numbers(void **state)
{
    static const struct {
        const char *text;
        int64_t number;
    } good[] = {{"0", 0},
                {"-0", 0},
                {"007", 7},
                {"-12", -12},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN}};
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "1e3",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999"};
    int64_t n;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(og_str_int(og_str_of(good[i].text), INT64_MIN, INT64_MAX, &n));
        assert_int_equal(n, good[i].number);
    }
    n = 42;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(og_str_int(og_str_of(bad[i]), INT64_MIN, INT64_MAX, &n));
    assert_false(og_str_int(OG_STR("4"), 1, 3, &n));
    assert_false(og_str_int(OG_STR("0"), 1, 3, &n));
    assert_int_equal(n, 42);
    assert_true(og_str_int(OG_STR("3"), 1, 3, &n));
    assert_int_equal(n, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares_slices),
        cmocka_unit_test(buffer_grows_to_its_maximum),
        cmocka_unit_test(buffer_refuses_what_cannot_fit),
        cmocka_unit_test(room_is_reserved_up_to_the_maximum),
        cmocka_unit_test(buffer_formats_whatever_the_room),
        cmocka_unit_test(buffer_writes_json_strings),
        cmocka_unit_test(every_byte_is_escaped_at_every_place),
        cmocka_unit_test(checks_utf8_like_the_rfc),
        cmocka_unit_test(reads_what_it_writes),
        cmocka_unit_test(finds_the_first_bad_byte),
        cmocka_unit_test(sums_like_the_rfc),
        cmocka_unit_test(sums_piece_by_piece),
        cmocka_unit_test(hashes_like_kafka),
        cmocka_unit_test(tells_line_and_column),
        cmocka_unit_test(knows_uuids),
        cmocka_unit_test(reads_whole_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
