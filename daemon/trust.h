/* Who calls the CDS services: tokens or client certificates of the configured clients (CDS Hooks
 * 2.0 "Trusting CDS Clients"), each with its keys, its services and its rate.
 *
 * Loop thread only; signatures are verified in the worker pool. A token is good once: its jti is
 * remembered until it has expired. */
#ifndef OG_DAEMON_TRUST_H
#define OG_DAEMON_TRUST_H

#include "connectors/http_client.h"
#include "daemon/config.h"

typedef struct trust trust;

typedef struct trust_options {
    uv_loop_t *loop;
    const config *config;            /* borrowed */
    http_client *client;             /* for jwks_url; borrowed */
    int64_t (*now_ms)(void *ctx);    /* Unix time; NULL: the real clock */
    int64_t (*steady_ms)(void *ctx); /* for rates and back-off; NULL: the monotonic clock */
    void *ctx;
} trust_options;

typedef enum trust_verdict {
    TRUST_GOOD,
    TRUST_REFUSED, /* no client, or not this one: 401 and no detail */
    TRUST_BUSY     /* a known client, but too often: 429 */
} trust_verdict;

/* What a caller shows: all borrowed for the call of trust_ask. */
typedef struct trust_caller {
    og_str authorization;                           /* the header; .p NULL: none */
    const char *path;                               /* that is called: /cds-services/... */
    bool (*certified)(void *ctx, const char *name); /* did it show a certificate for this name? */
    void *certified_ctx;
} trust_caller;

/* who is NULL unless the verdict is TRUST_GOOD or TRUST_BUSY; borrowed from the configuration. */
typedef void trust_fn(void *ctx, trust_verdict verdict, const config_client *who);

trust *trust_new(const trust_options *options); /* NULL: no memory. Caller owns it */
/* Calls under way are answered TRUST_REFUSED; then frees and calls on_closed (may be NULL). */
void trust_close(trust *t, void (*on_closed)(void *ctx), void *ctx);

/* False when no client is configured: everybody who can reach the listener may call. */
bool trust_asks(const trust *t);
/* Judges a caller; fn comes exactly once, at once or later from the loop. */
void trust_ask(trust *t, const trust_caller *caller, trust_fn *fn, void *ctx);
/* May it call this service? */
bool trust_may_call(const config_client *who, og_str service);

#endif
