/* Tokens of callers. libjose knows the mathematics; what it would accept too readily (any algorithm
 * that the header names, any key that fits it) is narrowed here before it is asked. */
#include "connectors/jwt.h"

#include <jansson.h>
#include <jose/b64.h>
#include <jose/jws.h>
#include <stdlib.h>

enum { MIN_RSA_BYTES = 256, MAX_JWKS_BYTES = 1 << 20 };

struct jwks {
    json_t *keys; /* array */
};

struct jwt {
    json_t *header, *claims;
    json_t *jws; /* flattened JSON form: payload, protected, signature */
};

/* ---- keys ---- */

static const char *text_at(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static bool is_public(const json_t *key)
{
    const char *kty = text_at(key, "kty");
    return json_is_object(key) && (strcmp(kty, "EC") == 0 || strcmp(kty, "RSA") == 0) &&
           text_at(key, "kid")[0] != '\0';
}

og_status jwks_parse(og_str text, jwks **ret, og_error *err)
{
    json_error_t why;
    size_t i;
    json_t *key;
    if (text.n > MAX_JWKS_BYTES)
        return og_fail(err, OG_LIMIT, "the key set is longer than %d bytes", MAX_JWKS_BYTES);
    json_t *root = json_loadb(text.p != NULL ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &why);
    if (root == NULL)
        return og_fail(err, OG_SYNTAX, "the key set is not JSON: %s", why.text);
    const json_t *list = json_object_get(root, "keys");
    jwks *k = calloc(1, sizeof *k);
    if (!json_is_array(list) || k == NULL || (k->keys = json_array()) == NULL) {
        free(k);
        json_decref(root);
        return og_fail(err, OG_INVALID, "the key set has no array of keys");
    }
    json_array_foreach(list, i, key) if (is_public(key)) json_array_append(k->keys, key);
    json_decref(root);
    *ret = k;
    return OG_OK;
}

void jwks_free(jwks *k)
{
    if (k == NULL)
        return;
    json_decref(k->keys);
    free(k);
}

size_t jwks_count(const jwks *k)
{
    return json_array_size(k->keys);
}

static json_t *find_key(const jwks *k, const char *kid)
{
    size_t i;
    json_t *key;
    json_array_foreach(k->keys, i, key) if (strcmp(text_at(key, "kid"), kid) == 0) return key;
    return NULL;
}

bool jwks_has(const jwks *k, og_str kid)
{
    size_t i;
    json_t *key;
    json_array_foreach(k->keys, i, key) if (og_str_is(kid, text_at(key, "kid"))) return true;
    return false;
}

/* ---- tokens ---- */

/* An object out of base64url; NULL when it is none. */
static json_t *decode_object(og_str part)
{
    size_t size = jose_b64_dec_buf(NULL, part.n, NULL, 0);
    char *text = size != SIZE_MAX ? malloc(size + 1) : NULL;
    json_t *object = NULL;
    if (text != NULL && jose_b64_dec_buf(part.p, part.n, text, size) == size)
        object = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    if (!json_is_object(object)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static bool split(og_str compact, og_str parts[3])
{
    for (int i = 0; i < 3; i++) {
        ptrdiff_t dot = og_str_find(compact, '.');
        if ((i < 2) != (dot >= 0))
            return false;
        parts[i] = (og_str){compact.p, dot >= 0 ? (size_t)dot : compact.n};
        compact = dot >= 0 ? og_str_from(compact, (size_t)dot + 1) : (og_str){NULL, 0};
        if (parts[i].n == 0)
            return false;
    }
    return true;
}

og_status jwt_parse(og_str compact, jwt **ret, og_error *err)
{
    og_str parts[3];
    if (compact.n > JWT_MAX_BYTES)
        return og_fail(err, OG_LIMIT, "the token is longer than %d bytes", JWT_MAX_BYTES);
    if (!split(compact, parts))
        return og_fail(err, OG_SYNTAX, "the token does not have three parts");
    jwt *t = calloc(1, sizeof *t);
    if (t == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    t->header = decode_object(parts[0]);
    t->claims = decode_object(parts[1]);
    t->jws = json_pack("{s:s%,s:s%,s:s%}", "protected", parts[0].p, parts[0].n, "payload",
                       parts[1].p, parts[1].n, "signature", parts[2].p, parts[2].n);
    if (t->header == NULL || t->claims == NULL || t->jws == NULL) {
        jwt_free(t);
        return og_fail(err, OG_SYNTAX, "the token's header and claims are not JSON objects");
    }
    *ret = t;
    return OG_OK;
}

void jwt_free(jwt *t)
{
    if (t == NULL)
        return;
    json_decref(t->header);
    json_decref(t->claims);
    json_decref(t->jws);
    free(t);
}

og_str jwt_header(const jwt *t, const char *name)
{
    return og_str_of(text_at(t->header, name));
}

og_str jwt_claim(const jwt *t, const char *name)
{
    return og_str_of(text_at(t->claims, name));
}

/* ---- the signature ---- */

/* Bytes of a base64url number. */
static size_t number_bytes(const json_t *key, const char *name)
{
    const char *text = text_at(key, name);
    size_t size = jose_b64_dec_buf(NULL, strlen(text), NULL, 0);
    return size != SIZE_MAX ? size : 0;
}

/* May this key have signed with this algorithm (RFC 7518 3.1)? */
static bool fits(const json_t *key, const char *alg)
{
    const char *use = text_at(key, "use"), *own = text_at(key, "alg");
    if ((use[0] != '\0' && strcmp(use, "sig") != 0) || (own[0] != '\0' && strcmp(own, alg) != 0))
        return false;
    if (strcmp(alg, "ES384") == 0)
        return strcmp(text_at(key, "kty"), "EC") == 0 && strcmp(text_at(key, "crv"), "P-384") == 0;
    if (strcmp(alg, "RS384") == 0)
        return strcmp(text_at(key, "kty"), "RSA") == 0 && number_bytes(key, "n") >= MIN_RSA_BYTES;
    return false;
}

og_status jwt_verify(const jwt *t, const jwks *keys, og_error *err)
{
    const char *alg = text_at(t->header, "alg"), *kid = text_at(t->header, "kid"),
               *typ = text_at(t->header, "typ");
    if (strcmp(alg, "ES384") != 0 && strcmp(alg, "RS384") != 0)
        return og_fail(err, OG_INVALID, "the algorithm is neither ES384 nor RS384");
    if (kid[0] == '\0')
        return og_fail(err, OG_INVALID, "the header has no kid");
    if (!og_str_ieq(og_str_of(typ), OG_STR("JWT")))
        return og_fail(err, OG_INVALID, "the header's typ is not JWT");
    if (json_object_get(t->header, "crit") != NULL)
        return og_fail(err, OG_INVALID, "the header wants an extension that is not known");
    json_t *key = find_key(keys, kid);
    if (key == NULL)
        return og_fail(err, OG_NOTFOUND, "no key has this kid");
    if (!fits(key, alg))
        return og_fail(err, OG_INVALID, "the key does not belong to the algorithm");
    json_t *own = json_deep_copy(t->jws), *copy = json_deep_copy(key);
    bool good = own != NULL && copy != NULL && jose_jws_ver(NULL, own, NULL, copy, false);
    json_decref(own);
    json_decref(copy);
    return good ? OG_OK : og_fail(err, OG_INVALID, "the signature is not good");
}

/* ---- the claims ---- */

static og_status refuse(og_error *err, const char *claim, const char *why)
{
    og_status status = og_fail(err, OG_INVALID, "%s", why);
    og_error_path(err, claim);
    return status;
}

/* NumericDate: seconds, with or without a fraction. */
static bool number_of(const json_t *claims, const char *name, int64_t *ret)
{
    const json_t *v = json_object_get(claims, name);
    if (json_is_integer(v))
        *ret = json_integer_value(v);
    else if (json_is_real(v) && json_real_value(v) > -1e15 && json_real_value(v) < 1e15)
        *ret = (int64_t)json_real_value(v);
    else
        return false;
    return *ret > -1000000000000000 && *ret < 1000000000000000;
}

int64_t jwt_expires(const jwt *t)
{
    int64_t exp = 0;
    return number_of(t->claims, "exp", &exp) ? exp : 0;
}

/* The audience itself, with the path that is called, or its beginning: reverse proxies know other
 * hosts and prefixes than we do, so the configured text decides. */
static bool is_audience(const char *aud, const jwt_policy *p)
{
    for (size_t i = 0; i < p->audience_count; i++) {
        const char *ours = p->audiences[i];
        size_t n = strlen(ours);
        while (n > 0 && ours[n - 1] == '/')
            n--;
        if (n == 0 || strncmp(aud, ours, n) != 0)
            continue;
        if (aud[n] == '\0' || strcmp(aud + n, "/") == 0 || strcmp(aud + n, p->url) == 0)
            return true;
    }
    return false;
}

static bool has_audience(const json_t *claims, const jwt_policy *p)
{
    const json_t *aud = json_object_get(claims, "aud");
    size_t i;
    json_t *one;
    if (json_is_string(aud))
        return is_audience(json_string_value(aud), p);
    json_array_foreach(aud, i, one) if (json_is_string(one) &&
                                        is_audience(json_string_value(one), p)) return true;
    return false;
}

static og_status check_times(const json_t *claims, const jwt_policy *p, og_error *err)
{
    int64_t exp, iat, nbf;
    if (!number_of(claims, "exp", &exp))
        return refuse(err, "exp", "is missing");
    if (!number_of(claims, "iat", &iat))
        return refuse(err, "iat", "is missing");
    if (exp + p->skew_s <= p->now_s)
        return refuse(err, "exp", "has passed");
    if (iat - p->skew_s > p->now_s)
        return refuse(err, "iat", "lies ahead");
    if (exp - iat > p->max_life_s)
        return refuse(err, "exp", "is too far from iat");
    if (json_object_get(claims, "nbf") == NULL)
        return OG_OK;
    if (!number_of(claims, "nbf", &nbf))
        return refuse(err, "nbf", "is no time");
    return nbf - p->skew_s > p->now_s ? refuse(err, "nbf", "lies ahead") : OG_OK;
}

og_status jwt_check(const jwt *t, const jwt_policy *p, og_error *err)
{
    og_str jti = jwt_claim(t, "jti");
    if (!og_str_is(jwt_claim(t, "iss"), p->issuer))
        return refuse(err, "iss", "is another one");
    if (!has_audience(t->claims, p))
        return refuse(err, "aud", "is another one");
    if (jti.n == 0 || jti.n > 256)
        return refuse(err, "jti", "is missing");
    if (p->tenant != NULL && p->tenant[0] != '\0' && !og_str_is(jwt_claim(t, "tenant"), p->tenant))
        return refuse(err, "tenant", "is another one");
    return check_times(t->claims, p, err);
}

/* ---- our own ---- */

/* ES384 or RS384, by what the key is; NULL: neither. */
static const char *algorithm_of(const json_t *key)
{
    return fits(key, "ES384") ? "ES384" : fits(key, "RS384") ? "RS384" : NULL;
}

static void add_compact(const json_t *jws, og_buf *out)
{
    og_buf_addf(out, "%s.%s.%s", text_at(jws, "protected"), text_at(jws, "payload"),
                text_at(jws, "signature"));
}

og_status jwt_sign(og_str key, og_str claims, og_buf *out, og_error *err)
{
    json_t *jwk = json_loadb(key.p != NULL ? key.p : "", key.n, JSON_REJECT_DUPLICATES, NULL);
    json_t *jws = NULL, *signature = NULL;
    og_status status = OG_OK;
    const char *alg = json_is_object(jwk) ? algorithm_of(jwk) : NULL;
    if (!json_is_object(jwk)) {
        status = og_fail(err, OG_SYNTAX, "the private key is no JWK (a JSON object)");
    } else if (alg == NULL || text_at(jwk, "d")[0] == '\0') {
        status =
            og_fail(err, OG_INVALID,
                    "the key is no private key for ES384 (EC, P-384) or RS384 (RSA, 2048 bits)");
    } else if (text_at(jwk, "kid")[0] == '\0') {
        status = og_fail(err, OG_INVALID, "the private key has no kid");
    } else {
        jws = json_pack("{s:o}", "payload", jose_b64_enc(claims.p, claims.n));
        signature = json_pack("{s:{s:s,s:s,s:s}}", "protected", "alg", alg, "kid",
                              text_at(jwk, "kid"), "typ", "JWT");
        if (jws != NULL && signature != NULL && jose_jws_sig(NULL, jws, signature, jwk))
            add_compact(jws, out);
        else
            status = og_fail(err, OG_INVALID, "the private key cannot sign");
    }
    json_decref(jwk);
    json_decref(jws);
    json_decref(signature);
    return status == OG_OK && og_buf_failed(out) ? og_fail(err, OG_NOMEM, "out of memory") : status;
}
