/* The FHIR servers of the configuration: a client and, with SMART Backend Services, tokens for
 * each; which of them a call may name, and with which token it is asked. Counts and logs what
 * became of reads; neither tokens nor addresses of resources are logged. Loop thread only. */
#ifndef OG_DAEMON_FHIR_SERVERS_H
#define OG_DAEMON_FHIR_SERVERS_H

#include "connectors/fhir_client.h"
#include "daemon/config.h"
#include "daemon/hook_request.h"

typedef struct fhir_servers fhir_servers;

#define FHIR_NO_SERVER SIZE_MAX

/* config and client outlive it. OG_INVALID, OG_NOMEM. Caller owns *ret. */
OG_MUSTCHECK og_status fhir_servers_new(uv_loop_t *loop, http_client *client, const config *c,
                                        uint64_t seed, fhir_servers **ret, og_error *err);
/* Cancels what is under way, then calls on_closed (may be NULL), from the loop or at once. Accepts
 * NULL. */
void fhir_servers_close(fhir_servers *fs, void (*on_closed)(void *ctx), void *ctx);

fhir_client *fhir_servers_client(fhir_servers *fs, size_t i);
/* Its tokens by Backend Services; NULL: none are configured. */
smart *fhir_servers_tokens(fhir_servers *fs, size_t i);
/* By base URL; FHIR_NO_SERVER. */
size_t fhir_servers_find(const fhir_servers *fs, const char *url);

/* The server that may be asked for this call. who: its caller; NULL: nobody is asked who he is, and
 * every configured server may be named. FHIR_NO_SERVER: none; *ret_why is "foreign-server" when it
 * names one that is not allowed, "no-server" when it names none and none is there for such calls.
 */
size_t fhir_servers_for(const fhir_servers *fs, const config_client *who, const hook_request *q,
                        const char **ret_why);

typedef enum fhir_access {
    FHIR_ACCESS_OWN,  /* with the token of the call */
    FHIR_ACCESS_OURS, /* with one by Backend Services */
    FHIR_ACCESS_NEITHER
} fhir_access;
/* With which token resources of this type ("": a page of something) can be read for the call. Its
 * own must not have expired, and its scopes must cover the type, for this patient. */
fhir_access fhir_servers_access(const fhir_servers *fs, size_t i, const hook_request *q,
                                const char *type);

/* What became of a read: counts it, and logs a failure. */
void fhir_servers_note(const fhir_servers *fs, size_t i, const fhir_result *r);

/* What became of a trial: good or not, and one sentence. */
typedef void fhir_servers_tried(void *ctx, const config_fhir_server *server, bool good,
                                const char *text);
/* Tries the server: asks it who it is (its CapabilityStatement), with a token when ours are
 * configured. fn comes once, from the loop, unless all is closed before. One trial of a server at a
 * time. */
OG_MUSTCHECK og_status fhir_servers_try(fhir_servers *fs, size_t i, fhir_servers_tried *fn,
                                        void *ctx, og_error *err);

/* fhir_envelope_fn: reads the outside of a body. */
og_status fhir_servers_envelope(og_str body, fhir_envelope *ret);

#endif
