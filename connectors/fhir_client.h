/* Reads from one FHIR server: a resource, or a search with all its pages.
 *
 * Each read has a budget in time and in bytes. What fails in passing (429, 5xx, a lost connection)
 * is repeated with back-off, not sooner than Retry-After says, as long as the budget lasts. A link
 * to the next page is followed only below the server's base URL: nobody else ever gets a token.
 * Carries bytes: what a body says is read by a function of the caller's. Loop thread only. No
 * token, no query and nothing of a body but codes gets into an error text. */
#ifndef OG_CONNECTORS_FHIR_CLIENT_H
#define OG_CONNECTORS_FHIR_CLIENT_H

#include "connectors/smart.h"

typedef struct fhir_client fhir_client;
typedef struct fhir_read fhir_read;

/* The outside of a body. */
typedef struct fhir_envelope {
    bool is_bundle, is_outcome; /* resourceType Bundle, OperationOutcome */
    char next[4096];            /* Bundle: the link to the next page; "" when there is none */
    char issue[40];             /* OperationOutcome: code of the first issue; "" when it has none */
} fhir_envelope;
/* *ret is zeroed before. OG_LIMIT: the link is too long; anything else: no FHIR resource. */
typedef og_status fhir_envelope_fn(og_str body, fhir_envelope *ret);

typedef struct fhir_client_options { /* strings are copied */
    const char *name;                /* for texts */
    const char *base_url;
    smart *tokens; /* for reads without a token of their own; NULL: none. Outlives the client */
    http_tls tls;
    int connect_timeout_ms, timeout_ms; /* of one request; 0: http_client's */
    size_t max_bytes;                   /* of one read, all pages together; 0: 32 MiB */
    unsigned max_pages;                 /* 0: 100 */
    int retry_min_ms, retry_max_ms; /* 0: 50, 5000; the first wait is doubled with each further */
    uint64_t seed;                  /* of the jitter */
    fhir_envelope_fn *envelope;
} fhir_client_options;

/* What became of a read. */
typedef enum fhir_outcome {
    FHIR_READ_DONE,
    FHIR_READ_NONE,      /* 404, 410: there is no such resource */
    FHIR_READ_REFUSED,   /* 401, 403 */
    FHIR_READ_NO_TOKEN,  /* none could be had */
    FHIR_READ_LATE,      /* the budget is used up */
    FHIR_READ_DOWN,      /* 429, 5xx or no connection, and no time or no try left */
    FHIR_READ_TOO_LARGE, /* more bytes or pages than allowed */
    FHIR_READ_MALFORMED, /* no FHIR */
    FHIR_READ_FOREIGN,   /* the link to the next page leads out of the base URL */
    FHIR_READ_FAILED     /* any other answer */
} fhir_outcome;
/* done, none, refused, no-token, late, down, too-large, malformed, foreign-link, failed. */
const char *fhir_outcome_name(fhir_outcome outcome);

typedef struct fhir_result { /* borrowed for the callback */
    fhir_outcome outcome;
    int status;             /* of the last answer; 0: none */
    const char *text;       /* one sentence; "" when done */
    int64_t retry_after_ms; /* FHIR_READ_DOWN: what was asked for; -1: nothing */
    unsigned pages;         /* that were handed over */
    unsigned repeats;       /* requests that were repeated */
    int64_t duration_ms;
} fhir_result;

typedef struct fhir_query {
    const char *path;  /* behind the base URL: "Patient/1", "Observation?patient=1&code=a|b"
                          (encoded);  or a whole URL, which must be below the base URL */
    og_str bearer;     /* a token of its own, which is copied and wiped; .p NULL: the client's */
    int64_t budget_ms; /* for everything */
    http_room *room;   /* for its answers, together with other reads'; NULL: none */
    /* A page, or the resource, borrowed; false: no more is wanted (FHIR_READ_TOO_LARGE). */
    bool (*on_page)(void *ctx, og_str body);
    void (*on_done)(void *ctx, const fhir_result *result);
    void *ctx;
} fhir_query;

/* client outlives it. OG_INVALID: base_url is none. Caller owns *ret. */
OG_MUSTCHECK og_status fhir_client_new(uv_loop_t *loop, http_client *client,
                                       const fhir_client_options *options, fhir_client **ret,
                                       og_error *err);
/* Cancels what is under way, frees and calls on_closed (may be NULL) from the loop or at once.
 * Accepts NULL. Before its tokens and the HTTP client are closed. */
void fhir_client_close(fhir_client *c, void (*on_closed)(void *ctx), void *ctx);

/* Begins a read; a search whose query is long goes by POST to _search. The callbacks come from the
 * loop, on_done once and last. *ret (may be NULL) is valid until then. OG_INVALID: the path is
 * none, or leads out of the base URL. */
OG_MUSTCHECK og_status fhir_client_read(fhir_client *c, const fhir_query *q, fhir_read **ret,
                                        og_error *err);
/* Its callbacks do not come any more. */
void fhir_read_cancel(fhir_read *r);

#endif
