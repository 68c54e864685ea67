/* The certificate with which the CDS services are offered, its key, and whose certificates clients
 * show: read from the files of the configuration. */
#ifndef OG_DAEMON_HOOKS_TLS_H
#define OG_DAEMON_HOOKS_TLS_H

#include "connectors/http_server.h"
#include "daemon/config.h"

typedef struct hooks_tls {
    og_buf cert, key, ca;
} hooks_tls;

/* Fills the PEM texts of o; they are borrowed from ret until it is forgotten (always to be done).
 * Without files nothing is set. OG_NOTFOUND, OG_IO, OG_LIMIT with the path as origin. */
OG_MUSTCHECK og_status hooks_tls_read(const config *c, hooks_tls *ret, http_server_options *o,
                                      og_error *err);
/* The key's bytes are overwritten. */
void hooks_tls_forget(hooks_tls *t);

#endif
