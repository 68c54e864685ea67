/* Calls of CDS services that bring much along are evaluated by a worker, so that nobody else waits
 * for them. Everything that a worker looks at stays as it is until it is back: its stores are not
 * closed, and content that was replaced meanwhile is freed by the last one that uses it. */
#include <stdlib.h>

#include "daemon/metrics.h"
#include "daemon/serve_private.h"

struct serve_bulk {
    uv_work_t work;
    serve *s;
    http_exchange *exchange;
    const config_client *who;
    og_arena *arena;
    hooks_call call;
    int64_t began_us;
};

static struct serve_bulk **free_place(serve *s)
{
    for (size_t i = 0; i < SERVE_BULKS; i++)
        if (s->bulks[i] == NULL)
            return &s->bulks[i];
    return NULL;
}

bool serve__bulk_has_room(const serve *s)
{
    return free_place((serve *)(uintptr_t)s) != NULL;
}

bool serve__bulk_uses(const serve *s, const void *thing)
{
    for (size_t i = 0; i < SERVE_BULKS; i++) {
        const struct serve_bulk *b = s->bulks[i];
        if (b != NULL && thing != NULL &&
            (b->call.store == thing || b->call.shared == thing || b->call.content == thing))
            return true;
    }
    return false;
}

bool serve__bulk_busy(const serve *s)
{
    for (size_t i = 0; i < SERVE_BULKS; i++)
        if (s->bulks[i] != NULL)
            return true;
    return false;
}

void serve__bulk_release(serve *s, const plan_content *old)
{
    s->retired = old;
    if (old == NULL || serve__bulk_uses(s, old))
        return;
    s->retired = NULL;
    s->swap_pending = false;
    plan_content_free((plan_content *)(uintptr_t)old);
}

static void answer(uv_work_t *w)
{
    struct serve_bulk *b = w->data;
    hooks_answer(&b->call);
}

static void answered(uv_work_t *w, int status)
{
    struct serve_bulk *b = w->data;
    serve *s = b->s;
    (void)status;
    for (size_t i = 0; i < SERVE_BULKS; i++)
        if (s->bulks[i] == b)
            s->bulks[i] = NULL;
    s->caller = b->who;
    serve__finish_call(s, b->exchange, &b->call, b->began_us);
    s->caller = NULL;
    serve__bulk_release(s, s->retired);
    og_arena_free(b->arena);
    free(b);
    serve__resume_fetches(s);
}

bool serve__bulk_run(serve *s, http_exchange *x, og_arena *a, const hooks_call *call,
                     int64_t began_us)
{
    struct serve_bulk **place = free_place(s), *b = malloc(sizeof *b);
    hook_request *q = og_arena_alloc(a, sizeof *q);
    if (place == NULL || b == NULL || q == NULL) {
        free(b);
        return false;
    }
    *q = *call->request;
    *b = (struct serve_bulk){
        .s = s, .exchange = x, .who = s->caller, .arena = a, .call = *call, .began_us = began_us};
    b->call.request = q;
    b->work.data = b;
    if (uv_queue_work(s->loop, &b->work, answer, answered) != 0) {
        free(b);
        return false;
    }
    *place = b;
    metric_add(METRIC_HOOK_BULKS, 1);
    return true;
}
