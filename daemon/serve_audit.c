/* The audit log beside the loop: opened, filled, and brought to the disk by a worker. */
#include <unistd.h>

#include "daemon/metrics.h"
#include "daemon/serve_private.h"

og_status serve__open_audit(serve *s, og_error *err)
{
    const config *c = s->config;
    size_t torn = 0;
    audit_options o = {.rotate_bytes = c->audit_rotate_mb << 20,
                       .sync_each = c->audit_sync == CONFIG_AUDIT_LINE};
    if (c->audit_file[0] == '\0')
        return OG_OK;
    og_status status = audit_open(c->audit_file, &o, &s->audit, &torn, err);
    if (status == OG_OK && torn > 0)
        log_warn("the audit log ended in a torn line of %zu bytes: it was cut off", torn);
    return status;
}

static void tell_problem(serve *s)
{
    const char *problem = audit_problem(s->audit);
    if (problem == NULL)
        return;
    metric_add(METRIC_AUDIT_FAILURES, 1);
    log_error("%s", problem);
}

void serve__audit(serve *s, const http_exchange *x, audit_event *e)
{
    if (s->audit == NULL || (x != NULL && e->status != 401 && serve__is_forwarded(x)))
        return; /* who handed it to us audits what he answers */
    if (s->caller != NULL)
        e->client = og_str_of(s->caller->name);
    if (e->path.n == 0)
        e->path = http_exchange_path(x);
    if (!audit_write(s->audit, e, clock_now(&s->clock))) {
        metric_add(METRIC_AUDIT_FAILURES, 1);
        log_error("the audit log cannot be written: a call is missing in it");
    }
    tell_problem(s);
}

/* ---- to the disk ---- */

static void sync_audit(uv_work_t *w)
{
    serve *s = w->data;
    s->audit_sync_failed = fdatasync(s->audit_fd) != 0;
    close(s->audit_fd);
}

static void audit_synced(uv_work_t *w, int status)
{
    serve *s = w->data;
    (void)status;
    s->audit_busy = false;
    if (!s->audit_sync_failed)
        return;
    metric_add(METRIC_AUDIT_FAILURES, 1);
    log_error("the audit log cannot be synced: a crash of this machine may lose its last lines");
}

void serve__tend_audit(serve *s)
{
    if (s->audit == NULL || s->audit_busy || s->config->audit_sync == CONFIG_AUDIT_LINE ||
        serve__stopping(s))
        return;
    s->audit_fd = audit_sync_fd(s->audit);
    if (s->audit_fd < 0)
        return;
    s->audit_work.data = s;
    s->audit_busy = uv_queue_work(s->loop, &s->audit_work, sync_audit, audit_synced) == 0;
    if (!s->audit_busy)
        close(s->audit_fd);
}
