/* Access tokens by SMART Backend Services (SMART App Launch 2, "Client Authentication: Asymmetric"
 * and "Backend Services"): a signed assertion is exchanged for a token, which is kept in memory
 * until shortly before it expires.
 *
 * Loop thread only; the assertion is signed in the worker pool. Neither a token nor an assertion is
 * ever put into an error text. */
#ifndef OG_CONNECTORS_SMART_H
#define OG_CONNECTORS_SMART_H

#include "connectors/http_client.h"

typedef struct smart smart;

typedef struct smart_options { /* strings are copied; NULL is as good as "" */
    const char *base_url;      /* of the FHIR server */
    const char *token_url; /* "": what base_url/.well-known/smart-configuration says. https only,
                              but for 127.0.0.1 */
    const char *client_id;
    const char *key_file; /* the private key as JWK, see jwt_sign; read for every assertion */
    const char *scope;
    http_tls tls;                       /* for the token server, which is also base_url's */
    int connect_timeout_ms, timeout_ms; /* 0: http_client's */
    int64_t (*now_ms)(void *ctx);       /* Unix time; NULL: the real clock */
    int64_t (*steady_ms)(void *ctx);    /* NULL: the monotonic clock */
    void *ctx;
    /* What came of asking for a token: why NULL: there is a new one. May be NULL. */
    void (*on_asked)(void *ctx, const char *why);
} smart_options;

/* client outlives it. OG_INVALID: a URL that is none. Caller owns *ret. */
OG_MUSTCHECK og_status smart_new(uv_loop_t *loop, http_client *client, const smart_options *options,
                                 smart **ret, og_error *err);
/* Those that wait are forgotten; then frees and calls on_closed (may be NULL), from the loop or at
 * once. Accepts NULL. Before the client is closed. */
void smart_close(smart *s, void (*on_closed)(void *ctx), void *ctx);

/* The token at hand, borrowed until the loop turns; false: none, or it is about to expire.
 * *ret_version names it. */
bool smart_token(const smart *s, og_str *ret, uint64_t *ret_version);
/* The server does not take this token (any more). */
void smart_refused(smart *s, uint64_t version);

/* One who waits for a token; its memory is the caller's until fn came or smart_leave. */
typedef struct smart_wait {
    struct smart_wait *next, **link;
    void (*fn)(void *ctx, const char *why); /* why NULL: there is a token; else one sentence */
    void *ctx;
} smart_wait;
/* Asks for a token, unless that is under way already. fn comes once, at once or from the loop.
 * After a failure nothing is asked for a while (doubled each time, up to a minute): then fn says
 * so. */
void smart_ask(smart *s, smart_wait *wait);
void smart_leave(smart_wait *wait); /* does not wait any more; harmless when it does not */

/* Whether an assertion could be signed with the key in this file (smart_options.key_file). OG_IO,
 * OG_SYNTAX, OG_INVALID; no error says anything of the key. Takes milliseconds. */
OG_MUSTCHECK og_status smart_try_key(const char *path, og_error *err);

/* Do these scopes (SMART 1 and 2: context/Type.read, context/Type.rs?query) let their bearer read
 * and search resources of this type? patient_bound: scopes of context patient count too. A scope
 * with a query is narrower than what is asked for and does not count. */
bool smart_scope_covers(og_str scopes, const char *type, bool patient_bound);

#endif
