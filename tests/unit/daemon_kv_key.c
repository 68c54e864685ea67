/* Keys as the store packs them: nothing is lost, and what is looked for together lies together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/kv_key.h"

#define UUID "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
#define MOST 400

typedef struct bytes {
    char p[2 * MOST];
    size_t n;
} bytes;

static og_str str_of(const bytes *b)
{
    return (og_str){b->p, b->n};
}

static bytes pack(og_str key)
{
    bytes b;
    b.n = kv_key_pack(key, b.p);
    assert_true(b.n <= 2 * key.n);
    return b;
}

static void check_packs(og_str key, og_str packed)
{
    char room[MOST];
    bytes b = pack(key);
    assert_int_equal(b.n, packed.n);
    assert_memory_equal(b.p, packed.p, packed.n);
    og_str back = kv_key_unpack(str_of(&b), room, sizeof room);
    assert_true(og_str_eq(back, key));
}

#define PACKS(key, packed)                                                                         \
    check_packs((og_str){key, sizeof(key) - 1}, (og_str){packed, sizeof(packed) - 1})
#define STAYS(key) PACKS(key, key)
#define PACKED     "\xfe\x0f\x1e\x2d\x3c\x4b\x5a\x69\x78\x87\x96\xa5\xb4\xc3\xd2\xe1\xf0"

static void test_packs_uuids(void **state)
{
    (void)state;
    PACKS(UUID, PACKED);
    PACKS("Patient/" UUID, "Patient/" PACKED);
    PACKS(UUID "\0Observation/" UUID, PACKED "\0Observation/" PACKED);
    PACKS("lab~" UUID "\1x", "lab~" PACKED "\1x");
    PACKS("urn:id|" UUID, "urn:id|" PACKED);
    PACKS("Observation/" UUID "\x1f"
          "12ab",
          "Observation/" PACKED "\x1f"
          "12ab");
}

static void test_leaves_what_is_none(void **state)
{
    (void)state;
    STAYS("");
    STAYS("12345");
    STAYS("Observation/lab-2024-000117");
    STAYS("x" UUID);
    STAYS(UUID "0");
    STAYS("-" UUID);
    STAYS(UUID "-");
    STAYS(UUID UUID);
    STAYS("0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0");
    STAYS("0f1e2d3g-4b5a-6978-8796-a5b4c3d2e1f0");
    STAYS("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f");
    STAYS("0f1e2d3c04b5a-6978-8796-a5b4c3d2e1f0");
    STAYS("Pati\xc3\xabnt/\xf0\x9f\xa6\xb4");
}

static void test_marks_what_looks_like_a_mark(void **state)
{
    (void)state;
    PACKS("\xfd\xfe\xff", "\xfd\xff\xfe\xff\xff");
    PACKS("\x80\0\0\x01\x8f\xfe\xff\x10" UUID, "\x80\0\0\x01\x8f\xff\xfe\xff\xff\x10" PACKED);
}

static void refused(og_str packed, size_t room)
{
    char to[MOST];
    assert_null(kv_key_unpack(packed, to, room).p);
}

static void test_notices_damage(void **state)
{
    (void)state;
    refused(OG_STR("a\xff"), MOST);
    refused(OG_STR("a\xfe"), MOST);
    refused((og_str){PACKED, sizeof PACKED - 2}, MOST);
    refused(OG_STR("plain"), 4);
    refused(OG_STR(PACKED), 35);
    refused(OG_STR("a" PACKED), 36);
    refused(OG_STR(PACKED "a"), 36);
}

/* Of the bytes that decide: words, ends of words, marks, UUIDs whole and cut. */
static og_str random_key(unsigned *seed, char *room)
{
    static const char *const parts[] = {"a",    "7",
                                        "-",    "/",
                                        "~",    "|",
                                        "\xff", "\xfe",
                                        "\xfd", "Observation/",
                                        UUID,   "0f1e2d3c-4b5a-6978-8796-"};
    size_t n = 0, count = (size_t)rand_r(seed) % 8;
    for (size_t i = 0; i < count; i++) {
        size_t which = (size_t)rand_r(seed) % (sizeof parts / sizeof parts[0] + 2);
        if (which >= sizeof parts / sizeof parts[0]) {
            room[n++] = (char)(which % 2);
            continue;
        }
        memcpy(room + n, parts[which], strlen(parts[which]));
        n += strlen(parts[which]);
    }
    return (og_str){room, n};
}

static int sign(int n)
{
    return (n > 0) - (n < 0);
}

static void test_keeps_together_what_begins_alike(void **state)
{
    unsigned seed = 7, found = 0;
    (void)state;
    for (int i = 0; i < 200000; i++) {
        char one[MOST], two[MOST], back[MOST];
        og_str a = random_key(&seed, one), b = random_key(&seed, two);
        bytes pa = pack(a), pb = pack(b);
        assert_true(og_str_eq(kv_key_unpack(str_of(&pa), back, sizeof back), a));
        assert_true(og_str_eq(a, b) == og_str_eq(str_of(&pa), str_of(&pb)));
        if (a.n == 0 || (unsigned char)a.p[a.n - 1] > 1)
            continue;
        /* a ends where no word goes on: as a beginning it is the same in both forms */
        char whole[2 * MOST];
        memcpy(whole, a.p, a.n);
        if (b.n > 0)
            memcpy(whole + a.n, b.p, b.n);
        bytes pw = {.n = 0};
        pw.n = kv_key_pack((og_str){whole, a.n + b.n}, pw.p);
        assert_true(og_str_starts(str_of(&pw), str_of(&pa)));
        assert_true(!og_str_starts(str_of(&pb), str_of(&pa)) || og_str_starts(b, a));
        found++;
    }
    assert_true(found > 10000);
}

/* Numbers before a key, as the timer index has them, keep their order. */
static void test_keeps_the_order_of_numbers(void **state)
{
    unsigned seed = 11;
    (void)state;
    for (int i = 0; i < 100000; i++) {
        char one[8 + 36], two[8 + 36];
        for (int j = 0; j < 8; j++) {
            one[j] = (char)(rand_r(&seed) % 2 ? 0xfc + rand_r(&seed) % 4 : rand_r(&seed) % 256);
            two[j] = (char)(rand_r(&seed) % 2 ? one[j] : rand_r(&seed) % 256);
        }
        memcpy(one + 8, UUID, 36);
        memcpy(two + 8, UUID, 36);
        if (memcmp(one, two, 8) == 0)
            continue;
        bytes a = pack((og_str){one, sizeof one}), b = pack((og_str){two, sizeof two});
        assert_int_equal(sign(og_str_cmp(str_of(&a), str_of(&b))), sign(memcmp(one, two, 8)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packs_uuids),
        cmocka_unit_test(test_leaves_what_is_none),
        cmocka_unit_test(test_marks_what_looks_like_a_mark),
        cmocka_unit_test(test_notices_damage),
        cmocka_unit_test(test_keeps_together_what_begins_alike),
        cmocka_unit_test(test_keeps_the_order_of_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
