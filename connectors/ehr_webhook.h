/* One EHR endpoint that takes CDS Hooks bodies by POST. Carries bytes; when to repeat is the
 * caller's decision, what the answer means is decided here (STREAM 3.6). Loop thread only. */
#ifndef OG_CONNECTORS_EHR_WEBHOOK_H
#define OG_CONNECTORS_EHR_WEBHOOK_H

#include "connectors/smart.h"

typedef struct ehr_webhook ehr_webhook;

typedef struct ehr_webhook_options {
    const char *name; /* for error texts */
    const char *url;
    const char *content_type;      /* NULL: application/json */
    const char *bearer_token_file; /* NULL: none. Read again when the file changes, and after a 401
                                      or 403 */
    smart *tokens; /* instead of the file; NULL: none. A refused one is renewed once. Outlives it */
    int connect_timeout_ms, timeout_ms; /* 0: 5000, 30000 */
    http_tls tls;                       /* zero: system CA, no client certificate */
} ehr_webhook_options;

typedef struct ehr_result { /* borrowed for the callback */
    conn_verdict verdict;
    int64_t retry_after_ms; /* what the other side asked for, 0..3600000; -1: nothing */
    int status;             /* HTTP status; 0: none */
    http_failure failure; /* HTTP_FAILURE_TLS and a refused token (status 401, 403): stop at once, a
                             person is needed */
    bool sent;            /* CONN_AGAIN only: the body may have arrived all the same (in doubt) */
    int64_t duration_ms;
    const char *text; /* one sentence; empty for CONN_DONE. No patient data, no token */
} ehr_result;

typedef void ehr_result_fn(void *ctx, const ehr_result *result);

/* A new endpoint over a client that outlives it. Strings are copied. OG_INVALID: bad URL; OG_IO:
 * the token file cannot be read (text names the file). Caller owns *ret. */
OG_MUSTCHECK og_status ehr_webhook_new(http_client *client, const ehr_webhook_options *options,
                                       ehr_webhook **ret, og_error *err);
/* POSTs body with `Idempotency-Key: key`. Copies both. cb exactly once, from the loop (or at
 * once when no token can be had), unless the endpoint is freed before. Any number may be in flight.
 * OG_INVALID: the key has bytes that no header may hold. */
OG_MUSTCHECK og_status ehr_webhook_post(ehr_webhook *ep, og_str body, og_str key, ehr_result_fn *cb,
                                        void *ctx, og_error *err);
/* Frees it; cancels what is in flight. Accepts NULL. */
void ehr_webhook_free(ehr_webhook *ep);

/* What a response means: 2xx CONN_DONE; 408, 409 (the same key is being worked on), 421, 425, 429,
 * 5xx (but 501, 505) and transport failures CONN_AGAIN; 401, 403, 407 CONN_AGAIN (the token may
 * come right), and so 404, 405, 410: the URL is the endpoint's and says nothing about this card;
 * every other status CONN_NEVER. */
conn_verdict ehr_webhook_verdict(http_failure failure, int status);

#endif
