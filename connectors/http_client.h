/* HTTP requests out, on a libuv loop (libcurl's multi interface). Kept-alive connections, HTTP/2
 * over TLS where the server offers it, no redirects, http and https only, TLS 1.2 or later with
 * verification.
 *
 * Loop thread only. No callback comes from inside a call of this file. Header values, bodies and
 * tokens are never put into an error text. */
#ifndef OG_CONNECTORS_HTTP_CLIENT_H
#define OG_CONNECTORS_HTTP_CLIENT_H

#include <uv.h>

#include "connectors/connector.h"

typedef struct http_client http_client;
typedef struct http_call http_call;

typedef struct http_client_options {
    int max_connections;       /* in all; 0: 64 */
    int max_per_host;          /* 0: 16; more requests than that wait their turn */
    size_t max_response_bytes; /* 0: 1 MiB; a longer body is HTTP_FAILURE_TOO_LARGE */
    const char *user_agent;    /* NULL: osteoguard/VERSION */
} http_client_options;

typedef struct http_tls {
    const char *ca_file;   /* PEM; NULL: the system's */
    const char *cert_file; /* PEM; NULL: no client certificate */
    const char *key_file;  /* PEM; NULL: in cert_file */
    bool no_verify;        /* accepts any certificate: for tests and laboratories only */
} http_tls;

/* Bytes of answers that several calls may hold together; the caller's, outlives them. What would go
 * over it is HTTP_FAILURE_TOO_LARGE. */
typedef struct http_room {
    size_t used, max;
} http_room;

typedef struct http_request {
    const char *method; /* NULL: GET without body, POST with one */
    const char *url;
    const conn_header *headers;
    size_t header_count;
    og_str body;               /* .p NULL: none */
    og_str bearer;             /* sent as Authorization: Bearer; .p NULL: none */
    int connect_timeout_ms;    /* DNS, TCP and TLS; 0: 5000 */
    int timeout_ms;            /* the whole call, waiting for a connection included; 0: 30000 */
    const http_tls *tls;       /* NULL: defaults */
    size_t max_response_bytes; /* of this one; 0: the client's */
    http_room *room;           /* NULL: none */
    const char *wanted;        /* name of a header of the answer; NULL: none */
} http_request;

/* Why there is no usable answer. */
typedef enum http_failure {
    HTTP_FAILURE_NONE,    /* there is one, whatever its status */
    HTTP_FAILURE_CONNECT, /* no such host, refused, unreachable */
    HTTP_FAILURE_TIMEOUT,
    HTTP_FAILURE_TLS,       /* handshake, certificate, or a certificate file that cannot be used */
    HTTP_FAILURE_TOO_LARGE, /* the body went over the limit, or its room; status is set */
    HTTP_FAILURE_BROKEN,    /* connection lost or not HTTP, after it was made */
    HTTP_FAILURE_OTHER      /* out of memory, internal */
} http_failure;

typedef struct http_response { /* borrowed for the callback */
    http_failure failure;
    const char
        *error; /* one sentence for HTTP_FAILURE_*, else NULL; holds no header, body or query */
    int status; /* 0 when none came */
    og_str content_type; /* .p NULL when absent, and so the next three */
    og_str retry_after;
    og_str date;
    og_str wanted; /* what http_request.wanted names */
    og_str body;
    bool sent; /* bytes of the request left this machine: the other side may have acted on it */
    int64_t duration_ms;
} http_response;

typedef void http_response_fn(void *ctx, const http_response *response);

OG_MUSTCHECK og_status http_client_new(uv_loop_t *loop, const http_client_options *options,
                                       http_client **ret, og_error *err);
/* Starts a request. Everything in it is copied but the name `wanted`, which stays the caller's. cb
 * is called exactly once, from the loop, unless the call is cancelled. *ret_call (may be NULL) is
 * valid until then. OG_INVALID: not an http or https URL, a header that would split the request, or
 * a method that is none. */
OG_MUSTCHECK og_status http_client_send(http_client *h, const http_request *request,
                                        http_response_fn *cb, void *ctx, http_call **ret_call,
                                        og_error *err);
/* Ends a call; its callback does not come any more. */
void http_call_cancel(http_call *call);
/* Requests without an answer yet. */
size_t http_client_pending(const http_client *h);
/* Cancels what is pending, closes the connections and frees; on_closed (may be NULL) comes from the
 * loop. Accepts NULL. */
void http_client_close(http_client *h, void (*on_closed)(void *ctx), void *ctx);

/* OG_INVALID when url is not an http or https URL with a host. */
OG_MUSTCHECK og_status http_url_check(const char *url, og_error *err);

/* May tokens and keys go there: over TLS (https), or inside this machine (http://127.0.0.1)? A URL
 * with credentials may not. */
bool http_url_keeps_secrets(const char *url);

/* Do both name the same place: scheme, host and port without regard to case and to a default that
 * is left out, and the same path but for a slash at its end? A URL with credentials, a query or a
 * fragment is the same as none. */
bool http_url_same(const char *a, const char *b);
/* Is url base itself or something below it: of the same origin, and behind base's path? One with
 * credentials is not, nor one whose path could be read as leading out again ("..", also hidden in
 * escapes). */
bool http_url_below(const char *base, const char *url);
/* link, absolute or relative to base, as absolute URL; appended to ret. OG_INVALID: no http or
 * https URL, not of base's origin (scheme, host, port), or with credentials. The error does not
 * repeat it.
 */
OG_MUSTCHECK og_status http_url_join(const char *base, const char *link, og_buf *ret,
                                     og_error *err);
/* Appends s percent-encoded: all but the unreserved characters (RFC 3986 2.3) and those in `keep`.
 */
void http_url_encode(og_buf *b, og_str s, const char *keep);

/* What a Retry-After header asks for (RFC 9110 10.2.3: seconds or a date), in ms from now, clamped
 * to 0..3600000; -1 when it is absent or neither. date is the same response's Date header; without
 * one a date is measured against now_ms (Unix time). */
int64_t http_retry_after_ms(og_str retry_after, og_str date, int64_t now_ms);

#endif
