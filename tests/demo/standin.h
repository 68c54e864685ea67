/* An EHR stand-in: takes pushed cards (POST /cards), prints them for a pharmacist, keeps what it
 * got as NDJSON, and fails on request. GET /stats tells its counts. */
#ifndef OG_DEMO_STANDIN_H
#define OG_DEMO_STANDIN_H

#include <stdio.h>
#include <uv.h>

#include "fhir/base/text.h"

typedef struct standin standin;

typedef struct standin_counts {
    uint64_t posts;     /* requests in all */
    uint64_t cards;     /* cards taken */
    uint64_t withdrawn; /* cards that no longer hold, with none in their place */
    uint64_t replaced;  /* cards with another in their place */
    uint64_t
        repeats; /* requests with a key that was taken before; answered 200 and not shown again */
    uint64_t failed;  /* answered with an error because we were told to */
    uint64_t refused; /* bad requests: no key, no CDS Hooks body, a key with another body */
} standin_counts;

typedef struct standin_options {
    const char *listen; /* NULL: 127.0.0.1 */
    int port;           /* 0: any free one */
    bool quiet;         /* print no cards */
    const char *ndjson; /* file that gets one line for each body taken; NULL: none */
    const char *fail; /* answers to begin with, "503,503:7,200": a status, with :N a Retry-After of
                         N seconds; "hang" gives none at all; 2xx takes the card. NULL: none */
    void (*before_print)(void *ctx); /* may be NULL: a progress line makes room and comes back */
    void (*after_print)(void *ctx);
    void *ctx;
} standin_options;

OG_MUSTCHECK og_status standin_new(uv_loop_t *loop, const standin_options *options, standin **ret,
                                   og_error *err);
int standin_port(const standin *s);
standin_counts standin_count(const standin *s);
/* Stops and frees; on_closed (may be NULL) comes from the loop. Accepts NULL. */
void standin_close(standin *s, void (*on_closed)(void *ctx), void *ctx);

#endif
