/* Calls handed from one instance to another: who is believed, how long, and how often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/forward.h"

#define NOW    1772352000000
#define SECRET OG_STR("a secret that all instances share")
#define A_ID   "aaaaaaaa-0000-4000-8000-000000000001"
#define B_ID   "bbbbbbbb-0000-4000-8000-000000000002"
#define PATH   OG_STR("/cds-services/osteoguard-patient-view")
#define BODY   OG_STR("{\"hook\":\"patient-view\"}")

static forward *instance(og_str secret, const char *id, const char *url)
{
    forward *f;
    assert_int_equal(forward_new(secret, id, url, &f, NULL), OG_OK);
    return f;
}

typedef struct pair {
    forward *a, *b;
    og_arena *arena;
    char header[1024];
} pair;

static int begin(void **state)
{
    pair *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->a = instance(SECRET, A_ID, "https://a.example:1");
    p->b = instance(SECRET, B_ID, "https://b.example:1");
    p->arena = og_arena_new((size_t)1 << 20);
    *state = p;
    return 0;
}

static int end(void **state)
{
    pair *p = *state;
    forward_free(p->a);
    forward_free(p->b);
    og_arena_free(p->arena);
    free(p);
    return 0;
}

/* ---- who is where ---- */

static char *word_of(const forward *f, const char *owns, bool first, int64_t now_ms)
{
    og_buf b;
    og_buf_init(&b, (size_t)1 << 14);
    forward_announce(f, og_str_of(owns), first, now_ms, &b);
    assert_false(og_buf_failed(&b));
    char *text = strndup(b.p, b.n);
    og_buf_done(&b);
    return text;
}

static forward_word hear(pair *p, const char *id, const char *word, int64_t now_ms)
{
    return forward_hear(p->a, og_str_of(id), og_str_of(word), p->arena, now_ms);
}

static forward_word hear_b(pair *p, const char *owns, bool first, int64_t said_ms, int64_t now_ms)
{
    char *word = word_of(p->b, owns, first, said_ms);
    forward_word heard = hear(p, B_ID, word, now_ms);
    free(word);
    return heard;
}

static const char *owner(const pair *p, int partition, int64_t now_ms)
{
    const forward_peer *peer = forward_owner(p->a, partition, now_ms);
    return peer != NULL ? peer->url : "nobody";
}

static void an_announcement_holds_for_a_while(void **state)
{
    pair *p = *state;
    assert_string_equal(owner(p, 0, NOW), "nobody");
    assert_int_equal(hear_b(p, "0,7,1023", true, NOW, NOW), FORWARD_NEW);
    assert_string_equal(owner(p, 0, NOW), "https://b.example:1");
    assert_string_equal(owner(p, 1023, NOW), "https://b.example:1");
    assert_string_equal(owner(p, 1, NOW), "nobody");
    assert_string_equal(owner(p, 1024, NOW), "nobody");
    assert_string_equal(owner(p, -1, NOW), "nobody");
    assert_string_equal(owner(p, 7, NOW + 30000), "https://b.example:1");
    assert_string_equal(owner(p, 7, NOW + 30001), "nobody"); /* silent */
    assert_int_equal(hear_b(p, "7", false, NOW + 10000, NOW + 10000), FORWARD_HEARD);
    assert_string_equal(owner(p, 0, NOW + 10000), "nobody"); /* it has let it go */
    assert_int_equal(hear_b(p, "0", false, NOW, NOW + 10000), FORWARD_PASSED); /* in disorder */
    assert_string_equal(owner(p, 0, NOW + 10000), "nobody");
    assert_int_equal(hear_b(p, "", true, NOW + 10000, NOW + 10000), FORWARD_NEW); /* restarted */
    assert_string_equal(owner(p, 7, NOW + 10000), "nobody");
}

static void what_the_topic_has_kept_for_long_is_passed_over(void **state)
{
    pair *p = *state;
    assert_int_equal(hear_b(p, "0", true, NOW - 30001, NOW), FORWARD_PASSED);
    assert_int_equal(hear_b(p, "0", true, NOW + 30001, NOW), FORWARD_PASSED); /* a clock is wrong */
    assert_string_equal(owner(p, 0, NOW), "nobody");
}

static void only_who_has_the_secret_is_believed(void **state)
{
    pair *p = *state;
    forward *stranger = instance(OG_STR("another secret, of the same length"), B_ID, "https://e");
    char *forged = word_of(stranger, "0", true, NOW), *good = word_of(p->b, "0", true, NOW);
    assert_int_equal(hear(p, B_ID, forged, NOW), FORWARD_UNMARKED);
    assert_int_equal(hear(p, "somebody-else", good, NOW), FORWARD_UNMARKED);
    char *owns = strstr(good, "\"0\"");
    assert_non_null(owns);
    owns[1] = '1';
    assert_int_equal(hear(p, B_ID, good, NOW), FORWARD_UNMARKED);
    owns[1] = '0';
    char *url = strstr(good, "https://b");
    assert_non_null(url);
    url[8] = 'c';
    assert_int_equal(hear(p, B_ID, good, NOW), FORWARD_UNMARKED);
    assert_string_equal(owner(p, 0, NOW), "nobody");
    url[8] = 'b';
    assert_int_equal(hear(p, B_ID, good, NOW), FORWARD_NEW);
    free(forged);
    free(good);
    forward_free(stranger);
}

static void what_means_nothing_is_passed_over(void **state)
{
    static const char *const texts[] = {
        "", "{", "[]", "{}", "{\"url\":1,\"at\":1}", "{\"url\":\"x\",\"at\":\"1\",\"owns\":\"0\"}"};
    pair *p = *state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_int_equal(hear(p, B_ID, texts[i], NOW), FORWARD_PASSED);
    char *own = word_of(p->a, "0", true, NOW);
    assert_int_equal(hear(p, A_ID, own, NOW), FORWARD_PASSED);
    assert_int_equal(hear(p, "", own, NOW), FORWARD_PASSED);
    free(own);
    assert_int_equal(forward_hear(p->a, OG_STR(B_ID), (og_str){NULL, 0}, p->arena, NOW),
                     FORWARD_PASSED);
    assert_string_equal(owner(p, 0, NOW), "nobody");
}

/* While a partition moves two may name it. */
static void the_newest_word_counts(void **state)
{
    pair *p = *state;
    forward *c = instance(SECRET, "c", "https://c");
    char *word = word_of(c, "0,1", true, NOW + 1);
    assert_int_equal(hear(p, "c", word, NOW), FORWARD_NEW);
    assert_int_equal(hear_b(p, "0", true, NOW, NOW), FORWARD_NEW);
    assert_string_equal(owner(p, 0, NOW), "https://c");
    forward_disown(p->a, "c", 0); /* it has said so itself */
    assert_string_equal(owner(p, 0, NOW), "https://b.example:1");
    assert_string_equal(owner(p, 1, NOW), "https://c");
    forward_rest(p->a, "c", 77);
    assert_int_equal(forward_owner(p->a, 1, NOW)->rest_until_ms, 77);
    free(word);
    forward_free(c);
}

static void more_instances_than_places_wait_for_a_free_one(void **state)
{
    pair *p = *state;
    char id[16];
    for (int i = 0; i < 66; i++) {
        snprintf(id, sizeof id, "m%d", i);
        forward *m = instance(SECRET, id, "https://m");
        char *word = word_of(m, "3", true, NOW);
        assert_int_equal(hear(p, id, word, NOW), i < 64 ? FORWARD_NEW : FORWARD_FULL);
        free(word);
        forward_free(m);
    }
    assert_int_equal(hear_b(p, "0", true, NOW + 40000, NOW + 40000), FORWARD_NEW);
    assert_string_equal(owner(p, 0, NOW + 40000), "https://b.example:1");
}

/* ---- a call ---- */

static og_str sign(pair *p, const char *nonce, const char *client)
{
    og_buf b;
    forward_call c = {.to = B_ID, .client = client, .path = PATH, .body = BODY, .budget_ms = 480};
    snprintf(c.nonce, sizeof c.nonce, "%s", nonce);
    og_buf_init(&b, sizeof p->header);
    forward_sign(p->a, &c, NOW, &b);
    assert_false(og_buf_failed(&b));
    snprintf(p->header, sizeof p->header, "%.*s", OG_STR_ARG(og_buf_str(&b)));
    og_buf_done(&b);
    return og_str_of(p->header);
}

static const char *verify(pair *p, og_str header, int64_t now_ms)
{
    forward_visit v;
    return forward_verify(p->b, header, PATH, BODY, now_ms, &v);
}

/* What is kept as a C string would be another one. */
static void a_header_has_no_zero_byte(void **state)
{
    pair *p = *state;
    forward_visit v;
    static const char *const places[] = {"nonce=n", "client=the"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        og_str header = sign(p, "n1", "the ehr");
        char *at = strstr((char *)(uintptr_t)header.p, places[i]);
        assert_non_null(at);
        at[strlen(places[i]) - 1] = '\0';
        assert_false(forward_read(header, &v));
        assert_string_equal(verify(p, header, NOW), "form");
    }
}

static void a_call_is_believed_once(void **state)
{
    pair *p = *state;
    forward_visit v;
    og_str header = sign(p, "n1", "the ehr");
    assert_string_equal(forward_verify(p->b, header, PATH, BODY, NOW + 100, &v), "");
    assert_string_equal(v.client, "the ehr");
    assert_string_equal(v.nonce, "n1");
    assert_int_equal(v.budget_ms, 480);
    assert_string_equal(verify(p, header, NOW + 200), "repeat");
    assert_string_equal(verify(p, header, NOW + 30000), "repeat");
    assert_true(forward_read(header, &v));
    assert_string_equal(v.client, "the ehr");
    assert_string_equal(verify(p, sign(p, "n2", ""), NOW), ""); /* nobody is asked who calls */
}

static void a_call_is_good_for_half_a_minute(void **state)
{
    pair *p = *state;
    og_str header = sign(p, "n", "ehr");
    assert_string_equal(verify(p, header, NOW + 30001), "time");
    assert_string_equal(verify(p, header, NOW - 30001), "time");
    assert_string_equal(verify(p, header, NOW - 30000), "");
    assert_string_equal(verify(p, header, NOW + 30000), "repeat");
}

static void a_changed_call_is_refused(void **state)
{
    pair *p = *state;
    forward_visit v;
    og_str header = sign(p, "n", "ehr");
    assert_string_equal(
        forward_verify(p->b, header, OG_STR("/cds-services/osteoguard-order-sign"), BODY, NOW, &v),
        "mark");
    assert_string_equal(forward_verify(p->b, header, PATH, OG_STR("{}"), NOW, &v), "mark");
    for (size_t i = 0; i < header.n; i++) { /* whichever byte it is */
        p->header[i] ^= 1;
        assert_string_not_equal(verify(p, header, NOW), "");
        p->header[i] ^= 1;
    }
    for (size_t n = 0; n < header.n; n++)
        assert_string_not_equal(verify(p, (og_str){header.p, n}, NOW), "");
    assert_string_equal(verify(p, (og_str){NULL, 0}, NOW), "form");
    assert_string_equal(verify(p, OG_STR("yes"), NOW), "form");
    assert_string_equal(verify(p, header, NOW), "");
}

static void a_call_to_another_instance_is_refused(void **state)
{
    pair *p = *state;
    forward *c = instance(SECRET, "c", "https://c");
    forward *stranger = instance(OG_STR("another secret, of the same length"), B_ID, "https://e");
    forward_visit v;
    og_str header = sign(p, "n", "ehr");
    assert_string_equal(forward_verify(c, header, PATH, BODY, NOW, &v), "receiver");
    assert_string_equal(forward_verify(stranger, header, PATH, BODY, NOW, &v), "mark");
    forward_free(c);
    forward_free(stranger);
}

static void an_answer_is_its_calls_only(void **state)
{
    pair *p = *state;
    char seal[FORWARD_MARK];
    og_str cards = OG_STR("{\"cards\":[]}");
    forward_seal(p->b, "n1", 200, cards, seal);
    og_str mark = og_str_of(seal);
    assert_true(forward_is_sealed(p->a, "n1", 200, cards, mark));
    assert_false(forward_is_sealed(p->a, "n2", 200, cards, mark));
    assert_false(forward_is_sealed(p->a, "n1", 412, cards, mark));
    assert_false(forward_is_sealed(p->a, "n1", 200, OG_STR("{\"cards\": []}"), mark));
    assert_false(forward_is_sealed(p->a, "n1", 200, cards, (og_str){NULL, 0}));
    assert_false(forward_is_sealed(p->a, "n1", 200, cards, (og_str){mark.p, mark.n - 1}));
}

static void a_short_secret_is_none(void **state)
{
    forward *f;
    og_error err;
    (void)state;
    og_error_init(&err);
    assert_int_equal(forward_new(OG_STR("0123456789012345678901234567890"), A_ID, "u", &f, &err),
                     OG_INVALID);
    assert_string_equal(err.text, "the secret has fewer than 32 bytes");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_announcement_holds_for_a_while),
        TEST(what_the_topic_has_kept_for_long_is_passed_over),
        TEST(only_who_has_the_secret_is_believed),
        TEST(what_means_nothing_is_passed_over),
        TEST(the_newest_word_counts),
        TEST(more_instances_than_places_wait_for_a_free_one),
        TEST(a_header_has_no_zero_byte),
        TEST(a_call_is_believed_once),
        TEST(a_call_is_good_for_half_a_minute),
        TEST(a_changed_call_is_refused),
        TEST(a_call_to_another_instance_is_refused),
        TEST(an_answer_is_its_calls_only),
        TEST(a_short_secret_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
