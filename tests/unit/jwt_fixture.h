/* Keys and tokens for tests, made with libjose. */
#ifndef OG_TESTS_JWT_FIXTURE_H
#define OG_TESTS_JWT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <jose/b64.h>
#include <jose/jwk.h>
#include <jose/jws.h>

/* A private key, for example "{\"alg\":\"ES384\"}", with its kid. Caller owns it. */
static inline json_t *key_new(const char *recipe, const char *kid)
{
    json_t *key = json_loads(recipe, 0, NULL);
    assert_non_null(key);
    assert_true(jose_jwk_gen(NULL, key));
    json_object_del(key, "key_ops");
    json_object_set_new(key, "kid", json_string(kid));
    return key;
}

/* A JWK Set with the public halves; caller frees the text. */
static inline char *set_of(json_t *const *keys, size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *copy = json_deep_copy(keys[i]);
        assert_true(jose_jwk_pub(NULL, copy));
        json_object_set(copy, "kid", json_object_get(keys[i], "kid"));
        json_array_append_new(list, copy);
    }
    json_t *root = json_pack("{s:o}", "keys", list);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

/* A signed token in compact form; caller frees it. header is the protected one. */
static inline char *token_of(const char *header, const char *claims, const json_t *key)
{
    char *text = NULL;
    json_t *copy = json_deep_copy(key);
    json_t *jws = json_pack("{s:o}", "payload", jose_b64_enc(claims, strlen(claims)));
    json_t *sig = json_pack("{s:o}", "protected", json_loads(header, 0, NULL));
    assert_non_null(jws);
    assert_non_null(sig);
    assert_true(jose_jws_sig(NULL, jws, sig, copy));
    const char *p = json_string_value(json_object_get(jws, "protected"));
    const char *c = json_string_value(json_object_get(jws, "payload"));
    const char *s = json_string_value(json_object_get(jws, "signature"));
    size_t n = strlen(p) + strlen(c) + strlen(s) + 3;
    text = malloc(n);
    assert_non_null(text);
    snprintf(text, n, "%s.%s.%s", p, c, s);
    json_decref(jws);
    json_decref(sig);
    json_decref(copy);
    return text;
}

/* header.claims. without a signature, as `alg: none` would have it (and a bit of rubbish behind the
 * last dot). */
static inline char *unsigned_token(const char *header, const char *claims)
{
    json_t *h = jose_b64_enc(header, strlen(header)), *c = jose_b64_enc(claims, strlen(claims));
    char *text = malloc(4096);
    assert_non_null(text);
    snprintf(text, 4096, "%s.%s.AAAA", json_string_value(h), json_string_value(c));
    json_decref(h);
    json_decref(c);
    return text;
}

#endif
