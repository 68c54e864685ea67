/* Feedback over HTTP: read and checked as a whole, then put on the shared topic. 200 means that the
 * brokers have all of it. What people write is patient data: it goes to the topic and nowhere else.
 */
#include <stdlib.h>

#include "daemon/serve_private.h"

typedef struct answering { /* waits for the brokers' word on every entry */
    serve *serve;
    http_exchange *exchange;
    size_t left;
    conn_verdict worst;
    const config_client *who;
    og_buf details; /* for the audit log: who said what, without what people wrote */
} answering;

static void refuse(serve *s, http_exchange *x, int status, const char *code, const char *text,
                   const char *path)
{
    serve__refuse_call(s, x, "feedback", status, code, text, path);
}

static void accepted(answering *w)
{
    audit_event e = {.status = 200, .details = og_buf_str(&w->details)};
    serve__audit(w->serve, w->exchange, &e);
    serve__count_call(w->exchange, "feedback", 200);
    serve__answer_json(w->serve, w->exchange, 200, "application/json", OG_STR(""));
}

static void one_less(answering *w)
{
    if (--w->left > 0)
        return;
    w->serve->caller = w->who;
    if (w->worst == CONN_AGAIN)
        refuse(w->serve, w->exchange, 503, "transient", "the brokers do not answer", "");
    else if (w->worst == CONN_NEVER)
        refuse(w->serve, w->exchange, 422, "too-long", "the brokers refuse it", "");
    else
        accepted(w);
    w->serve->caller = NULL;
    og_buf_done(&w->details);
    free(w);
}

static void note(answering *w, conn_verdict verdict)
{
    if (verdict == CONN_AGAIN || (verdict == CONN_NEVER && w->worst == CONN_DONE))
        w->worst = verdict;
}

static void on_report(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                      const kafka_error *error)
{
    (void)partition;
    (void)offset;
    (void)error;
    note(ctx, verdict);
    one_less(ctx);
}

static conn_verdict put(serve *s, answering *w, const hook_feedback *f, const config_client *who)
{
    og_buf key, value;
    og_error err;
    og_error_init(&err);
    og_buf_init(&key, 1024);
    og_buf_init(&value, (size_t)1 << 16);
    feedback_write(&key, &value, og_str_of(s->config->tenant), (uint32_t)s->config->source_epoch,
                   og_str_of(who != NULL ? who->name : ""), f, clock_now(&s->clock));
    kafka_record r = {.topic = s->config->kafka_shared,
                      .partition = 0,
                      .key = og_buf_str(&key),
                      .value = og_buf_str(&value)};
    conn_verdict v = og_buf_failed(&key) || og_buf_failed(&value)
                         ? CONN_AGAIN
                         : kafka_sink_send(s->sink, &r, on_report, w, &err);
    og_buf_done(&key);
    og_buf_done(&value);
    return v;
}

static void put_all(serve *s, http_exchange *x, const hook_feedback *list, size_t count,
                    const config_client *who)
{
    answering *w = s->sink != NULL && s->step == SERVE_WORKING ? calloc(1, sizeof *w) : NULL;
    if (w == NULL) {
        refuse(s, x, 503, "transient", "feedback cannot be taken now", "");
        return;
    }
    *w = (answering){s, x, count + 1, CONN_DONE, who, {0}}; /* one more: reports may come at once */
    og_buf_init(&w->details, (size_t)1 << 19);
    for (size_t i = 0; i < count; i++) {
        og_str text =
            og_arena_printf(s->hook_arena, "%s %s %.*s", list[i].card,
                            list[i].accepted ? "accepted" : "overridden", OG_STR_ARG(list[i].code));
        audit_add_detail(&w->details, "feedback", text);
        conn_verdict v = w->worst == CONN_DONE ? put(s, w, &list[i], who) : w->worst;
        if (v != CONN_DONE) {
            note(w, v);
            w->left--;
        }
    }
    one_less(w);
}

void serve__take_feedback(serve *s, http_exchange *x, const config_client *who)
{
    const hook_feedback *list;
    size_t count;
    og_error err;
    og_error_init(&err);
    if (!serve__says_json(x))
        refuse(s, x, 415, "not-supported", "the body must be application/json", "");
    else if (hook_feedback_read(s->hook_arena, http_exchange_body(x), &list, &count, &err) == OG_OK)
        put_all(s, x, list, count, who);
    else if (err.status == OG_NOMEM)
        refuse(s, x, 500, "exception", "the feedback could not be read", "");
    else
        refuse(s, x, 400, err.status == OG_INVALID ? "invalid" : "structure", err.text, err.path);
}
