/* JSON Web Tokens (RFC 7519, RFC 7515 compact form) with libjose: those that others signed, checked
 * against their public keys (RFC 7517 JWK Set), and our own.
 *
 * A token is trusted in two steps: jwt_verify says that the owner of a key signed it, jwt_check
 * that what it says fits. Neither the token nor a claim is ever put into an error text. Pure: any
 * thread, no clock. */
#ifndef OG_CONNECTORS_JWT_H
#define OG_CONNECTORS_JWT_H

#include "connectors/connector.h"

#define JWT_MAX_BYTES 16384

typedef struct jwt jwt;
typedef struct jwks jwks;

/* A set of public keys. Symmetric keys are passed over: a token must never be signed with what we
 * know. OG_SYNTAX, OG_INVALID: no JWK Set. Caller owns *ret. */
OG_MUSTCHECK og_status jwks_parse(og_str text, jwks **ret, og_error *err);
void jwks_free(jwks *k); /* accepts NULL */
size_t jwks_count(const jwks *k);
bool jwks_has(const jwks *k, og_str kid);

/* Takes a token apart; nothing of it is to be believed before jwt_verify. OG_SYNTAX: not the form
 * header.payload.signature with JSON objects; OG_LIMIT: longer than JWT_MAX_BYTES. Caller owns
 * *ret. */
OG_MUSTCHECK og_status jwt_parse(og_str compact, jwt **ret, og_error *err);
void jwt_free(jwt *t); /* accepts NULL */
/* A text of the header (kid, alg, typ, jku) or of the claims (iss, sub, tenant, jti); empty when it
 * is absent or no text. Borrowed from t. */
og_str jwt_header(const jwt *t, const char *name);
og_str jwt_claim(const jwt *t, const char *name);
/* exp, in seconds since 1970; 0 when absent. */
int64_t jwt_expires(const jwt *t);

/* Is the signature good? ES384 (a P-384 key) and RS384 (an RSA key of at least 2048 bits) only,
 * with the key that kid names; no other algorithm, no `none`, no crit. OG_NOTFOUND: the set has no
 * such key; OG_INVALID: everything else. */
OG_MUSTCHECK og_status jwt_verify(const jwt *t, const jwks *keys, og_error *err);

typedef struct jwt_policy {
    const char *issuer;
    const char *const *audiences; /* one must be the token's, or its beginning up to '/' */
    size_t audience_count;
    const char *url;    /* the path that is being called: aud may be audience and path */
    const char *tenant; /* NULL or "": any */
    int64_t now_s, skew_s, max_life_s;
} jwt_policy;

/* Do the claims fit (CDS Hooks 2.0 "Trusting CDS Clients")? iss, aud, exp, iat and jti must be
 * there; nbf is kept to when it is. OG_INVALID with the claim's name as path. */
OG_MUSTCHECK og_status jwt_check(const jwt *t, const jwt_policy *policy, og_error *err);

/* Signs claims (the text of a JSON object) with a private key: a JWK with kid, EC on P-384 (ES384)
 * or RSA of at least 2048 bits (RS384). The token in compact form is appended to out. OG_SYNTAX,
 * OG_INVALID: no such key; no error says anything of the key or the claims. Takes milliseconds. */
OG_MUSTCHECK og_status jwt_sign(og_str key, og_str claims, og_buf *out, og_error *err);

#endif
