/* Tokens of callers: forms, algorithms, keys, claims; what must never be accepted. */
#include "jwt_fixture.h"

#include "connectors/jwt.h"

#define NOW 1772352000
#define ES  "{\"alg\":\"ES384\",\"typ\":\"JWT\",\"kid\":\"k1\"}"
#define RS  "{\"alg\":\"RS384\",\"typ\":\"JWT\",\"kid\":\"k2\"}"
#define CLAIMS                                                                                     \
    "{\"iss\":\"https://ehr\",\"aud\":\"https://cds/cds-services/a\",\"exp\":1772352300,"          \
    "\"iat\":1772352000,\"jti\":\"1\"}"

typedef struct keys {
    json_t *ec, *rsa, *small, *p256, *oct;
    jwks *set;
} keys;

static int begin(void **state)
{
    keys *k = calloc(1, sizeof *k);
    og_error err;
    og_error_init(&err);
    if (k == NULL)
        return 1;
    k->ec = key_new("{\"alg\":\"ES384\"}", "k1");
    k->rsa = key_new("{\"alg\":\"RS384\",\"bits\":2048}", "k2");
    k->small = json_deep_copy(k->rsa); /* half of its modulus */
    json_object_set_new(k->small, "kid", json_string("small"));
    char half[172];
    snprintf(half, sizeof half, "%s", json_string_value(json_object_get(k->rsa, "n")));
    json_object_set_new(k->small, "n", json_string(half));
    k->p256 = key_new("{\"alg\":\"ES256\"}", "p256");
    k->oct = key_new("{\"alg\":\"HS384\"}", "oct");
    json_t *const all[] = {k->ec, k->rsa, k->small, k->p256};
    char *text = set_of(all, 4);
    int status = jwks_parse(og_str_of(text), &k->set, &err) != OG_OK;
    free(text);
    *state = k;
    return status;
}

static int end(void **state)
{
    keys *k = *state;
    jwks_free(k->set);
    json_decref(k->ec);
    json_decref(k->rsa);
    json_decref(k->small);
    json_decref(k->p256);
    json_decref(k->oct);
    free(k);
    return 0;
}

static og_status verify(const keys *k, char *token)
{
    jwt *t;
    og_error err;
    og_error_init(&err);
    og_status s = jwt_parse(og_str_of(token), &t, &err);
    if (s == OG_OK) {
        s = jwt_verify(t, k->set, &err);
        jwt_free(t);
    }
    if (strlen(token) > 16)
        assert_null(strstr(err.text, token)); /* never in an error text */
    free(token);
    return s;
}

static void good_signatures_are_known(void **state)
{
    keys *k = *state;
    assert_int_equal(verify(k, token_of(ES, CLAIMS, k->ec)), OG_OK);
    assert_int_equal(verify(k, token_of(RS, CLAIMS, k->rsa)), OG_OK);
}

static void a_changed_token_is_refused(void **state)
{
    keys *k = *state;
    char *token = token_of(ES, CLAIMS, k->ec);
    char *claims = strchr(token, '.') + 1;
    claims[4] = claims[4] == 'A' ? 'B' : 'A';
    assert_int_not_equal(verify(k, token), OG_OK);
    token = token_of(ES, CLAIMS, k->ec);
    char *signature = strrchr(token, '.') + 1;
    signature[5] = signature[5] == 'A' ? 'B' : 'A';
    assert_int_equal(verify(k, token), OG_INVALID);
    /* another's header over this signature */
    token = token_of(RS, CLAIMS, k->rsa);
    memcpy(token, "eyJ9", 4);
    assert_int_not_equal(verify(k, token), OG_OK);
}

static void other_algorithms_are_refused(void **state)
{
    keys *k = *state;
    assert_int_equal(
        verify(k, unsigned_token("{\"alg\":\"none\",\"typ\":\"JWT\",\"kid\":\"k1\"}", CLAIMS)),
        OG_INVALID);
    assert_int_equal(verify(k, unsigned_token("{\"typ\":\"JWT\",\"kid\":\"k1\"}", CLAIMS)),
                     OG_INVALID);
    assert_int_equal(verify(k, token_of("{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"p256\"}",
                                        CLAIMS, k->p256)),
                     OG_INVALID);
    assert_int_equal(
        verify(k, token_of("{\"alg\":\"HS384\",\"typ\":\"JWT\",\"kid\":\"k2\"}", CLAIMS, k->oct)),
        OG_INVALID);
    json_object_del(k->rsa, "alg"); /* the key would do, the algorithm does not */
    assert_int_equal(
        verify(k, token_of("{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"k2\"}", CLAIMS, k->rsa)),
        OG_INVALID);
    json_object_set_new(k->rsa, "alg", json_string("RS384"));
}

/* The header names an algorithm that the key does not belong to. */
static void keys_and_algorithms_belong_together(void **state)
{
    keys *k = *state;
    assert_int_equal(
        verify(k, token_of("{\"alg\":\"ES384\",\"typ\":\"JWT\",\"kid\":\"k2\"}", CLAIMS, k->ec)),
        OG_INVALID);
    assert_int_equal(
        verify(k, token_of("{\"alg\":\"RS384\",\"typ\":\"JWT\",\"kid\":\"k1\"}", CLAIMS, k->rsa)),
        OG_INVALID);
    assert_int_equal(verify(k, token_of("{\"alg\":\"RS384\",\"typ\":\"JWT\",\"kid\":\"small\"}",
                                        CLAIMS, k->rsa)),
                     OG_INVALID); /* too short a key */
    assert_int_equal(
        verify(k, token_of("{\"alg\":\"ES384\",\"typ\":\"JWT\",\"kid\":\"k9\"}", CLAIMS, k->ec)),
        OG_NOTFOUND);
}

static void headers_must_be_complete(void **state)
{
    keys *k = *state;
    assert_int_equal(verify(k, token_of("{\"alg\":\"ES384\",\"typ\":\"JWT\"}", CLAIMS, k->ec)),
                     OG_INVALID);
    assert_int_equal(verify(k, token_of("{\"alg\":\"ES384\",\"kid\":\"k1\"}", CLAIMS, k->ec)),
                     OG_INVALID);
    assert_int_equal(
        verify(k, token_of("{\"alg\":\"ES384\",\"typ\":\"JWT\",\"kid\":\"k1\",\"crit\":[\"exp\"]}",
                           CLAIMS, k->ec)),
        OG_INVALID);
}

static void broken_tokens_are_refused(void **state)
{
    static const char *const tokens[] = {"",           ".",          "..",         "...",
                                         "a.b.c",      "e30.e30",    "e30.e30.",   ".e30.x",
                                         "e30.e30.e.", "eyJh.e30.x", "W10.W10.AA", "bnVsbA.e30.AA",
                                         "e30.%%%.AA"};
    keys *k = *state;
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
        if (verify(k, strdup(tokens[i])) == OG_OK)
            fail_msg("%s", tokens[i]);
    char *large = malloc(JWT_MAX_BYTES + 2);
    memset(large, 'a', JWT_MAX_BYTES + 1);
    large[JWT_MAX_BYTES + 1] = '\0';
    assert_int_equal(verify(k, large), OG_LIMIT);
}

static void claims_are_checked(void **state)
{
#define T(rest) "{\"iss\":\"https://ehr\",\"jti\":\"1\"," rest "}"
#define TIMES   "\"exp\":1772352300,\"iat\":1772352000"
#define AUD     "\"aud\":\"https://cds\","
    static const struct {
        const char *claims, *wrong;
    } table[] = {
        {CLAIMS, NULL},
        {T(AUD TIMES), NULL},
        {T("\"aud\":\"https://cds/\"," TIMES), NULL},
        {T("\"aud\":[\"x\",\"https://cds\"]," TIMES), NULL},
        {T("\"aud\":\"https://cds/cds-services/b\"," TIMES), "aud"},
        {T("\"aud\":\"https://cds.evil.org\"," TIMES), "aud"},
        {T("\"aud\":\"https://cdsx\"," TIMES), "aud"},
        {T("\"aud\":7," TIMES), "aud"},
        {T("\"aud\":[]," TIMES), "aud"},
        {T(TIMES), "aud"},
        {"{\"iss\":\"https://other\",\"jti\":\"1\"," AUD TIMES "}", "iss"},
        {"{\"jti\":\"1\"," AUD TIMES "}", "iss"},
        {"{\"iss\":\"https://ehr\"," AUD TIMES "}", "jti"},
        {"{\"iss\":\"https://ehr\",\"jti\":\"\"," AUD TIMES "}", "jti"},
        {T(AUD "\"iat\":1772352000"), "exp"},
        {T(AUD "\"exp\":\"1772352300\",\"iat\":1772352000"), "exp"},
        {T(AUD "\"exp\":1772351940,\"iat\":1772351900"), "exp"}, /* 60 s of skew are used up */
        {T(AUD "\"exp\":1772351941,\"iat\":1772351900"), NULL},
        {T(AUD "\"exp\":1772352300"), "iat"},
        {T(AUD "\"exp\":1772352300,\"iat\":1772352060"), NULL},
        {T(AUD "\"exp\":1772352300,\"iat\":1772352061"), "iat"},
        {T(AUD "\"exp\":1772355600,\"iat\":1772352000"), NULL},
        {T(AUD "\"exp\":1772355601,\"iat\":1772352000"), "exp"}, /* lives too long */
        {T(AUD TIMES ",\"nbf\":1772351700"), NULL},
        {T(AUD TIMES ",\"nbf\":1772352061"), "nbf"},
        {T(AUD TIMES ",\"nbf\":\"x\""), "nbf"},
        {T(AUD "\"exp\":1772352300.5,\"iat\":1772352000.25"), NULL},
        {T(AUD "\"exp\":1e300,\"iat\":1772352000"), "exp"},
    };
    static const char *const audiences[] = {"https://cds"};
    keys *k = *state;
    jwt_policy p = {.issuer = "https://ehr",
                    .audiences = audiences,
                    .audience_count = 1,
                    .url = "/cds-services/a",
                    .now_s = NOW,
                    .skew_s = 60,
                    .max_life_s = 3600};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        jwt *t;
        og_error err;
        og_error_init(&err);
        char *token = token_of(ES, table[i].claims, k->ec);
        assert_int_equal(jwt_parse(og_str_of(token), &t, &err), OG_OK);
        og_status s = jwt_check(t, &p, &err);
        if ((table[i].wrong == NULL) != (s == OG_OK) ||
            (s != OG_OK && strcmp(err.path, table[i].wrong) != 0))
            fail_msg("row %zu: %s %s", i, err.path, err.text);
        jwt_free(t);
        free(token);
    }
}

static void a_tenant_can_be_asked_for(void **state)
{
    static const char *const audiences[] = {"https://cds"};
    keys *k = *state;
    jwt_policy p = {.issuer = "https://ehr",
                    .audiences = audiences,
                    .audience_count = 1,
                    .url = "/cds-services/a",
                    .tenant = "north",
                    .now_s = NOW,
                    .skew_s = 0,
                    .max_life_s = 3600};
    static const struct {
        const char *claims;
        bool good;
    } table[] = {{T(AUD TIMES ",\"tenant\":\"north\""), true},
                 {T(AUD TIMES ",\"tenant\":\"south\""), false},
                 {T(AUD TIMES), false}};
    for (size_t i = 0; i < 3; i++) {
        jwt *t;
        char *token = token_of(ES, table[i].claims, k->ec);
        assert_int_equal(jwt_parse(og_str_of(token), &t, NULL), OG_OK);
        assert_int_equal(jwt_check(t, &p, NULL) == OG_OK, table[i].good);
        jwt_free(t);
        free(token);
    }
}

static void key_sets_are_checked(void **state)
{
    static const struct {
        const char *text;
        og_status status;
        size_t count;
    } table[] = {
        {"{\"keys\":[]}", OG_OK, 0},
        {"{}", OG_INVALID, 0},
        {"[]", OG_INVALID, 0},
        {"{\"keys\":{}}", OG_INVALID, 0},
        {"{", OG_SYNTAX, 0},
        {"", OG_SYNTAX, 0},
        {"{\"keys\":[7,{\"kty\":\"oct\",\"kid\":\"a\",\"k\":\"AA\"},{\"kty\":\"RSA\"}]}", OG_OK, 0},
        {"{\"keys\":[{\"kty\":\"EC\",\"kid\":\"a\"}]}", OG_OK, 1}};
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        jwks *set = NULL;
        assert_int_equal(jwks_parse(og_str_of(table[i].text), &set, NULL), table[i].status);
        if (set != NULL)
            assert_int_equal(jwks_count(set), table[i].count);
        jwks_free(set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_signatures_are_known),
        cmocka_unit_test(a_changed_token_is_refused),
        cmocka_unit_test(other_algorithms_are_refused),
        cmocka_unit_test(keys_and_algorithms_belong_together),
        cmocka_unit_test(headers_must_be_complete),
        cmocka_unit_test(broken_tokens_are_refused),
        cmocka_unit_test(claims_are_checked),
        cmocka_unit_test(a_tenant_can_be_asked_for),
        cmocka_unit_test(key_sets_are_checked),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
