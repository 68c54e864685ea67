/* HTTP requests in, on a libuv loop (libmicrohttpd with its epoll descriptor in a uv_poll). A table
 * of routes; a handler answers at once or later. HTTP/1.1, plain or over TLS 1.2 and 1.3 (GnuTLS);
 * HTTP/2 is an ingress' business.
 *
 * Every request has an absolute deadline from its first byte to the last byte of its answer
 * (libmicrohttpd's own time-out counts silence only), a body limit, and the server a connection
 * limit. Loop thread only. */
#ifndef OG_CONNECTORS_HTTP_SERVER_H
#define OG_CONNECTORS_HTTP_SERVER_H

#include <uv.h>

#include "connectors/connector.h"

typedef struct http_server http_server;
typedef struct http_exchange http_exchange; /* one request that waits for its answer */

typedef void http_handler_fn(void *ctx, http_exchange *x);

typedef struct http_route {
    const char *method; /* "GET" (answers HEAD too), "POST" */
    const char *path;   /* exact: "/metrics"; a last segment "*" takes any one or more:
                           "/cds-services/" "*" */
    http_handler_fn *fn;
    void *ctx;
    size_t max_body_bytes; /* 0: the server's */
} http_route;

typedef struct http_server_options {
    const char *address;       /* NULL: 127.0.0.1; "::", "0.0.0.0" */
    int port;                  /* 0: any free one, see http_server_port */
    int max_connections;       /* 0: 256 */
    size_t max_body_bytes;     /* 0: 1 MiB */
    int deadline_ms;           /* of one request; 0: 10000 */
    int idle_ms;               /* a kept connection without a request; 0: 30000 */
    const char *cert_pem;      /* certificate chain: TLS; NULL: plain HTTP. All three are copied */
    const char *key_pem;       /* its private key */
    const char *client_ca_pem; /* clients are asked for a certificate of these; NULL: not asked */
    const http_route *routes;  /* copied, and their strings */
    size_t route_count;
} http_server_options;

/* Binds and listens; serves when the loop runs. OG_IO with address and reason when it cannot;
 * OG_INVALID: the certificates or the key cannot be used.
 * Caller owns *ret. */
OG_MUSTCHECK og_status http_server_new(uv_loop_t *loop, const http_server_options *options,
                                       http_server **ret, og_error *err);
/* Whether it could use the certificates and the key of options; OG_INVALID says why not. */
OG_MUSTCHECK og_status http_server_try_tls(const http_server_options *options, og_error *err);
int http_server_port(const http_server *s);
/* Open connections. */
size_t http_server_connections(const http_server *s);
/* Accepts no more, gives requests at hand up to grace_ms (0: none) to be answered, then answers 503
 * for the handlers, closes, frees and calls on_closed (may be NULL) from the loop. An exchange that
 * its handler still holds stays valid until it is answered. Accepts NULL. */
void http_server_close(http_server *s, int grace_ms, void (*on_closed)(void *ctx), void *ctx);

/* The request; all borrowed until it is answered. */
og_str http_exchange_method(const http_exchange *x);
og_str http_exchange_path(const http_exchange *x); /* decoded, without query */
og_str http_exchange_rest(const http_exchange *x); /* what "*" took; empty for an exact route */
og_str http_exchange_body(const http_exchange *x);
/* By name without regard to case; .p NULL when absent. */
og_str http_exchange_header(const http_exchange *x, const char *name);
og_str http_exchange_query(const http_exchange *x, const char *name);

/* How much of its deadline is left, in ms; 0: nothing, or the client is gone. */
int64_t http_exchange_left_ms(const http_exchange *x);

/* Mutual TLS: did the client show a certificate that one of client_ca_pem signed for a client, and
 * that is for `name` (a DNS name in it, or its common name)? Before it is answered only. */
bool http_exchange_certified(const http_exchange *x, const char *name);

/* Adds a header to the answer, before it is given. Copied. false: bytes that no header may hold, or
 * no memory. */
bool http_exchange_add_header(http_exchange *x, const char *name, const char *value);
/* Answers; body is copied, content_type may be NULL for none. Must be called exactly once for every
 * exchange, in the handler or later from the loop; x must not be used afterwards. When the client
 * is gone or the deadline has passed, nothing is sent. */
void http_exchange_answer(http_exchange *x, int status, const char *content_type, og_str body);

#endif
