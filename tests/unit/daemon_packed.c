/* Packed values: what goes in comes out, whatever it is, and what is damaged is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/packed.h"

#define MOST  ((size_t)1 << 20)
#define WORDS 0xe2344060u /* CRC-32C, of osteoguard-store-10 and 11 */

typedef struct bench {
    og_arena *a;
    char *packed;
} bench;

static bench begin(void)
{
    bench b = {og_arena_new((size_t)8 << 20), malloc(packed_most(MOST))};
    assert_true(b.a != NULL && b.packed != NULL);
    return b;
}

static void end(bench *b)
{
    og_arena_free(b->a);
    free(b->packed);
}

/* Bytes that it takes. */
static size_t round_trip(bench *b, og_str plain)
{
    og_str back;
    size_t n = packed_write(plain, b->packed);
    assert_true(n <= packed_most(plain.n));
    og_arena_reset(b->a);
    assert_int_equal(packed_read(b->a, (og_str){b->packed, n}, &back, NULL), OG_OK);
    assert_true(og_str_eq(back, plain));
    assert_int_equal(back.p[back.n], '\0');
    return n;
}

static const char observation[] =
    "{\"resourceType\":\"Observation\",\"id\":\"c-17\",\"status\":\"final\",\"code\":{\"coding\":["
    "{\"system\":\"http://loinc.org\",\"code\":\"17861-6\"}]},\"subject\":{\"reference\":"
    "\"Patient/p-4\"},\"effectiveDateTime\":\"2026-02-28\",\"valueQuantity\":{\"value\":2.31,"
    "\"unit\":\"mmol/L\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mmol/L\"}}";

static void test_what_goes_in_comes_out(void **state)
{
    bench b = begin();
    char *text = malloc(MOST);
    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < MOST; i++)
        text[i] = observation[i % 97];
    for (size_t n = 0; n < 600; n++)
        (void)round_trip(&b, (og_str){text, n});
    assert_true(round_trip(&b, (og_str){text, MOST}) < MOST / 50);
    uint32_t random = 1;
    for (size_t i = 0; i < MOST; i++) {
        random = random * 1664525u + 1013904223u;
        text[i] = (char)(random >> 24);
    }
    for (size_t n = 1; n < 600; n++) /* nothing can be won: four bytes more */
        assert_int_equal(round_trip(&b, (og_str){text, n}), n + 4);
    assert_int_equal(round_trip(&b, (og_str){text, MOST}), MOST + 4);
    free(text);
    end(&b);
}

static void test_a_short_resource_is_known_by_its_words(void **state)
{
    bench b = begin();
    (void)state;
    assert_true(round_trip(&b, og_str_of(observation)) < strlen(observation) / 2);
    end(&b);
}

/* Stores hold what was packed with these words. Who changes them changes the store's SCHEMA, then
 * this number. */
static void test_the_words_are_those_of_the_schema(void **state)
{
    static const char words[] =
#include "daemon/packed_words.inc"
        ;
    (void)state;
    assert_int_equal(og_crc32c(0, words, sizeof words - 1), WORDS);
}

static void test_what_is_damaged_is_found(void **state)
{
    bench b = begin();
    og_str back;
    og_error err;
    (void)state;
    size_t n = packed_write(og_str_of(observation), b.packed);
    og_error_init(&err);
    for (size_t cut = 0; cut < n; cut++) {
        char *copy = malloc(cut + 1); /* so that a read behind its end is seen */
        assert_non_null(copy);
        memcpy(copy, b.packed, cut);
        og_arena_reset(b.a);
        assert_int_equal(packed_read(b.a, (og_str){copy, cut}, &back, &err), OG_CORRUPT);
        free(copy);
    }
    for (size_t i = 0; i < n * 8; i++) { /* the store's checksum finds these; here nobody dies */
        char *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, b.packed, n);
        copy[i / 8] ^= (char)(1 << i % 8);
        og_arena_reset(b.a);
        og_status status = packed_read(b.a, (og_str){copy, n}, &back, &err);
        assert_true(status == OG_CORRUPT || status == OG_NOMEM ||
                    (status == OG_OK && back.n == strlen(observation)));
        free(copy);
    }
    static const char wrong[] = {0, 0, 0, (char)0x80,
                                 'x'}; /* as it is, of no bytes, and one more */
    assert_int_equal(packed_read(b.a, (og_str){wrong, sizeof wrong}, &back, &err), OG_CORRUPT);
    end(&b);
}

static void test_memory_has_an_end(void **state)
{
    bench b = begin();
    og_arena *small = og_arena_new(4096);
    og_str back;
    char *text = calloc(1, MOST);
    (void)state;
    assert_true(small != NULL && text != NULL);
    size_t n = packed_write((og_str){text, MOST}, b.packed);
    assert_int_equal(packed_read(small, (og_str){b.packed, n}, &back, NULL), OG_NOMEM);
    og_arena_free(small);
    free(text);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_goes_in_comes_out),
        cmocka_unit_test(test_a_short_resource_is_known_by_its_words),
        cmocka_unit_test(test_the_words_are_those_of_the_schema),
        cmocka_unit_test(test_what_is_damaged_is_found),
        cmocka_unit_test(test_memory_has_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
