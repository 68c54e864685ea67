#include "daemon/hooks_tls.h"

#include <string.h>

#include "daemon/file.h"

#define MAX_PEM ((size_t)1 << 20)

static og_status read_pem(const char *path, og_buf *ret, const char **text, og_error *err)
{
    if (path[0] == '\0')
        return OG_OK;
    og_status status = file_read(path, MAX_PEM - 1, ret, err);
    og_buf_addc(ret, '\0');
    *text = ret->p;
    return status;
}

og_status hooks_tls_read(const config *c, hooks_tls *ret, http_server_options *o, og_error *err)
{
    og_buf_init(&ret->cert, MAX_PEM);
    og_buf_init(&ret->key, MAX_PEM);
    og_buf_init(&ret->ca, MAX_PEM);
    og_status status = read_pem(c->hooks_cert_file, &ret->cert, &o->cert_pem, err);
    if (status == OG_OK)
        status = read_pem(c->hooks_key_file, &ret->key, &o->key_pem, err);
    if (status == OG_OK)
        status = read_pem(c->hooks_client_ca_file, &ret->ca, &o->client_ca_pem, err);
    return status;
}

void hooks_tls_forget(hooks_tls *t)
{
    if (t->key.p != NULL)
        explicit_bzero(t->key.p, t->key.n);
    og_buf_done(&t->cert);
    og_buf_done(&t->key);
    og_buf_done(&t->ca);
}
