/* What the outbox wants sent: to the EHR's webhooks by HTTP, to the alerts topic by Kafka. What the
 * answer means is the connector's word; what follows is the outbox'.
 *
 * What goes to a webhook is an intent on the alerts topic first: it leaves when that is safe and
 * the partition is still ours, so that whoever owns the partition next knows what may have arrived.
 */
#include <stdlib.h>

#include "daemon/crash.h"
#include "daemon/metrics.h"
#include "daemon/serve_private.h"

#define OTHER_CONNECTIONS 64 /* for all that is no delivery */
#define OTHERS_OF_HOST    16

/* One delivery under way; in a list, because a webhook that is closed does not answer any more. */
typedef struct serve_sending {
    struct serve_sending *next, **link;
    serve *s;
    uint64_t ticket;
    size_t endpoint;
    int partition;
    int64_t cause_ms;
    bool resolved, posted;
    char alert_id[UUID_TEXT], key[UUID_TEXT];
    size_t body_n;
    char body[]; /* of a webhook's */
} sending;

static bool is_topic(const serve *s, size_t endpoint)
{
    return s->endpoints[endpoint].is_topic;
}

static sending *sending_new(serve *s, const outbox_item *item, og_str body, og_str key)
{
    bool topic = is_topic(s, item->endpoint);
    size_t body_n = topic ? 0 : body.n;
    sending *it = calloc(1, sizeof *it + body_n);
    if (it == NULL)
        return NULL;
    it->s = s;
    it->partition = item->partition;
    it->body_n = body_n;
    if (body_n > 0)
        memcpy(it->body, body.p, body_n);
    if (!topic && key.n < sizeof it->key)
        memcpy(it->key, key.p, key.n);
    s->partitions[it->partition].posting++;
    it->ticket = item->ticket;
    it->endpoint = item->endpoint;
    it->cause_ms = item->cause_ms;
    it->resolved = item->resolved;
    memcpy(it->alert_id, item->alert_id, sizeof it->alert_id);
    it->link = &s->sendings;
    it->next = s->sendings;
    if (it->next != NULL)
        it->next->link = &it->next;
    s->sendings = it;
    return it;
}

static void sending_free(sending *it)
{
    *it->link = it->next;
    if (it->next != NULL)
        it->next->link = it->link;
    it->s->partitions[it->partition].posting--;
    free(it);
}

static const char *verdict_name(conn_verdict v)
{
    return v == CONN_DONE ? "done" : v == CONN_AGAIN ? "again" : "never";
}

/* ---- the pipeline's side ---- */

static pipeline_task task_of(const outbox_item *item)
{
    pipeline_task t = {.ticket = item->ticket,
                       .endpoint = item->endpoint,
                       .patient = item->patient,
                       .sequence = item->sequence,
                       .given_up = item->given_up};
    memcpy(t.alert_id, item->alert_id, sizeof t.alert_id);
    return t;
}

static bool prepare(void *ctx, const outbox_item *item)
{
    serve *s = ctx;
    pipeline_task t = task_of(item);
    if (owner_task(s->owner, item->partition, &t))
        return true;
    log_error("out of memory while preparing a delivery to %s; it is tried again",
              s->endpoints[item->endpoint].name);
    return false;
}

static void settle(void *ctx, const outbox_item *item, const delivery_outcome *outcome)
{
    serve *s = ctx;
    pipeline_task t = task_of(item);
    t.settle = true;
    t.outcome = *outcome;
    if (outcome->verdict == CONN_NEVER && !outcome->renewed)
        s->partitions[item->partition].parked++;
    if (!owner_task(s->owner, item->partition, &t)) /* its row still says that it is under way */
        log_error("out of memory while noting what became of a delivery to %s; if it has ended, it "
                  "is sent once more later, under the same key",
                  s->endpoints[item->endpoint].name);
}

static outbox_message message_of(const pipeline_sendable *m)
{
    return (outbox_message){m->body, m->key, m->said_key, m->said_value};
}

void serve__on_delivery(void *ctx, int partition, const pipeline_delivery *d)
{
    serve *s = ctx;
    const char *name = s->endpoints[d->endpoint].name;
    if (d->was_parked && s->partitions[partition].parked > 0)
        s->partitions[partition].parked--;
    if (d->dropped) {
        outbox_drop(s->outbox, d->endpoint, d->row.patient, d->row.alert_id);
        metric_add_label(METRIC_NOT_SENT, name, NULL, 1);
        return;
    }
    outbox_message m = message_of(&d->message);
    bool noted = d->prepared ? outbox_add_prepared(s->outbox, d->endpoint, partition, &d->row, &m)
                             : outbox_add(s->outbox, d->endpoint, partition, &d->row);
    if (!noted)
        log_error("out of memory while noting a delivery to %s; it is read from the store", name);
}

size_t serve__room(void *ctx, int partition)
{
    const serve *s = ctx;
    const serve_partition *p = &s->partitions[partition];
    bool may = s->step == SERVE_WORKING && p->assigned && p->epoch >= 0;
    return may ? outbox_room(s->outbox, s->endpoint_count - 1, partition) : 0;
}

bool serve__more(void *ctx, int partition, delivery_more *ret)
{
    const serve *s = ctx;
    const serve_partition *p = &s->partitions[partition];
    return s->step == SERVE_WORKING && p->assigned && p->epoch >= 0 && !p->rebuild &&
           outbox_wants(s->outbox, partition, ret);
}

bool serve__on_stored(void *ctx, int partition, const pipeline_batch *b)
{
    serve *s = ctx;
    if (outbox_take(s->outbox, partition, &b->more, b->stored, b->stored_count, b->stored_last,
                    b->stored_end))
        return true;
    log_error("out of memory while reading what waits for %s; it is read again",
              s->endpoints[b->more.endpoint].name);
    return false;
}

void serve__on_prepared(void *ctx, int partition, const pipeline_prepared *p)
{
    serve *s = ctx;
    if (p->parked) {
        s->partitions[partition].parked++;
        log_error("a delivery to %.*s is given up: %.*s", OG_STR_ARG(p->row.endpoint),
                  OG_STR_ARG(p->row.reason));
    }
    outbox_message m = message_of(&p->message);
    outbox_prepared(s->outbox, p->ticket, p->gone ? NULL : &p->row, &m, clock_wall_ms());
}

/* Tells the outbox, and the operator whether the endpoint has begun to fail, or takes again. */
static void answered(sending *it, const outbox_answer *answer)
{
    serve *s = it->s;
    bool *failing = &s->failing[it->endpoint];
    const char *name = s->endpoints[it->endpoint].name;
    outbox_answered(s->outbox, it->ticket, answer, clock_wall_ms());
    bool is_down = outbox_is_down(s->outbox, it->endpoint);
    if (is_down && !*failing)
        log_warn("the endpoint %s is failing: one delivery at a time tries, the others wait", name);
    else if (*failing && !is_down)
        log_warn("the endpoint %s takes deliveries again", name);
    *failing = is_down;
    sending_free(it);
}

/* ---- webhooks ---- */

/* It would not go better with another card now. */
static bool endpoint_is_down(const ehr_result *r)
{
    return r->failure != HTTP_FAILURE_NONE || (r->status >= 300 && r->status < 400) ||
           r->status == 401 || r->status == 403 || r->status == 404 || r->status == 405 ||
           r->status == 407 || r->status == 410 || r->status == 429 || r->status == 503;
}

static void log_result(const serve *s, const sending *it, const ehr_result *r)
{
    char status[32], text[64];
    snprintf(status, sizeof status, "%d", r->status);
    snprintf(text, sizeof text, "a delivery failed and %s",
             r->verdict == CONN_AGAIN ? "will be repeated" : "is given up");
    log_field fields[] = {{"endpoint", og_str_of(s->endpoints[it->endpoint].name)},
                          {"status", og_str_of(status)},
                          {"error", og_str_of(r->text)},
                          {"alert", og_str_of(it->alert_id)}}; /* a UUID that names nobody */
    log_line(r->verdict == CONN_AGAIN ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, text, fields, 4);
}

static void on_result(void *ctx, const ehr_result *r)
{
    sending *it = ctx;
    serve *s = it->s;
    const char *name = s->endpoints[it->endpoint].name;
    outbox_answer answer = {.verdict = r->verdict,
                            .retry_after_ms = r->retry_after_ms,
                            .in_doubt = r->sent,
                            .endpoint_down = endpoint_is_down(r),
                            .reason = r->text};
    if (r->verdict == CONN_DONE)
        crash_point(CRASH_ANSWERED);
    metric_add_label(METRIC_DELIVERIES, name, verdict_name(r->verdict), 1);
    if (r->verdict != CONN_DONE)
        log_result(s, it, r);
    else if (it->resolved)
        metric_add_label(METRIC_RETRACTIONS, name, NULL, 1);
    if (r->verdict == CONN_DONE && it->cause_ms > 0)
        metric_observe_us(METRIC_EVENT_TO_CARD, (clock_wall_ms() - it->cause_ms) * 1000);
    answered(it, &answer);
}

/* ---- the alerts topic ---- */

static void on_published(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                         const kafka_error *error)
{
    sending *it = ctx;
    outbox_answer answer = {.verdict = verdict,
                            .retry_after_ms = -1,
                            .endpoint_down = verdict == CONN_AGAIN,
                            .reason = error != NULL ? error->text : NULL};
    (void)partition;
    (void)offset;
    if (verdict == CONN_DONE)
        crash_point(CRASH_ALERT_THERE);
    if (verdict == CONN_DONE)
        metric_add(METRIC_ALERTS_PUBLISHED, 1);
    else
        log_warn("an alert could not be written to its topic: %s",
                 error != NULL ? error->text : "");
    answered(it, &answer);
}

static conn_verdict publish(serve *s, int partition, sending *it, og_str body, og_str key,
                            kafka_report_fn *report, og_error *err)
{
    serve_record r;
    if (s->sink == NULL)
        return CONN_AGAIN;
    serve__said_record(s, partition, key, body, &r);
    return kafka_sink_send(s->sink, &r.record, report, it, err);
}

/* Not even begun, or not ours any more: answered here, as the connector would. */
static void answer_at_once(serve *s, uint64_t ticket, conn_verdict verdict, const char *reason)
{
    outbox_answer answer = {
        .verdict = verdict, .retry_after_ms = -1, .endpoint_down = true, .reason = reason};
    outbox_answered(s->outbox, ticket, &answer, clock_wall_ms());
}

static void give_up(sending *it, conn_verdict verdict, const char *reason)
{
    serve *s = it->s;
    uint64_t ticket = it->ticket;
    sending_free(it);
    answer_at_once(s, ticket, verdict, reason);
}

/* The intent is on the alerts topic, or cannot get there. */
static void on_intent(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                      const kafka_error *error)
{
    sending *it = ctx;
    serve *s = it->s;
    og_error err;
    og_error_init(&err);
    (void)partition;
    (void)offset;
    if (s->hooks_closed) {
        sending_free(it);
    } else if (verdict != CONN_DONE) {
        log_warn("an intent could not be written: %s", error != NULL ? error->text : "");
        give_up(it, CONN_AGAIN, "the intent could not be written to the alerts topic");
    } else if (!serve__may_act(s, it->partition)) {
        give_up(it, CONN_AGAIN, "the partition is not ours any more");
    } else {
        crash_point(CRASH_INTENT);
        it->posted = true;
        if (ehr_webhook_post(s->hooks[it->endpoint], (og_str){it->body, it->body_n},
                             og_str_of(it->key), on_result, it, &err) == OG_OK) {
            s->posted = true;
            return;
        }
        log_failure(LOG_LEVEL_WARN, "a delivery could not begin", &err);
        give_up(it, CONN_AGAIN, err.text);
    }
}

static void send_item(void *ctx, const outbox_item *item, const outbox_message *m)
{
    serve *s = ctx;
    conn_verdict verdict = CONN_AGAIN;
    uint64_t ticket = item->ticket;
    og_error err;
    og_error_init(&err);
    if (!serve__may_act(s, item->partition)) {
        answer_at_once(s, ticket, CONN_AGAIN, "the partition is not ours any more");
        return;
    }
    sending *it = sending_new(s, item, m->body, m->key);
    if (it == NULL) {
        answer_at_once(s, ticket, CONN_AGAIN, "out of memory");
        return;
    }
    if (is_topic(s, item->endpoint))
        verdict = publish(s, item->partition, it, m->body, m->key, on_published, &err);
    else
        verdict = publish(s, item->partition, it, m->said_value, m->said_key, on_intent, &err);
    if (verdict == CONN_DONE && is_topic(s, item->endpoint))
        crash_point(CRASH_ALERT_SENT);
    if (verdict == CONN_DONE)
        return;
    log_failure(LOG_LEVEL_WARN, "a delivery could not begin", &err);
    give_up(it, verdict, err.text);
}

/* ---- opening ---- */

static og_status open_hook(serve *s, size_t i, og_error *err)
{
    const config_endpoint *c = &s->config->endpoints[i];
    bool fhir = c->format == CONFIG_FORMAT_FHIR;
    size_t server = fhir ? fhir_servers_find(s->fhir, c->url) : FHIR_NO_SERVER;
    ehr_webhook_options o = {
        .name = c->name,
        .url = c->url,
        .content_type = fhir ? "application/fhir+json" : NULL,
        .tokens = server != FHIR_NO_SERVER ? fhir_servers_tokens(s->fhir, server) : NULL,
        .bearer_token_file = c->bearer_token_file[0] != '\0' ? c->bearer_token_file : NULL,
        .connect_timeout_ms = (int)c->connect_timeout_ms,
        .timeout_ms = (int)c->timeout_ms,
        .tls = {.ca_file = c->ca_file[0] != '\0' ? c->ca_file : NULL,
                .cert_file = c->cert_file[0] != '\0' ? c->cert_file : NULL,
                .key_file = c->key_file[0] != '\0' ? c->key_file : NULL}};
    s->endpoints[i] = (delivery_endpoint){.name = c->name,
                                          .fhir_server = c->fhir_server,
                                          .service = c->service,
                                          .worklist = c->worklist,
                                          .sender = c->sender,
                                          .fhir = fhir,
                                          .flag = c->flag,
                                          .task = c->task};
    return ehr_webhook_new(s->client, &o, &s->hooks[i], err);
}

/* Each delivery that may be under way has a connection: one that had to wait for another one's
 * would fail with that. Many endpoints may stand on one host. */
static http_client_options connections(const config *c)
{
    int deliveries = 0;
    for (size_t i = 0; i < c->endpoint_count; i++)
        deliveries += (int)c->endpoints[i].max_in_flight;
    return (http_client_options){.max_connections = OTHER_CONNECTIONS + deliveries,
                                 .max_per_host = OTHERS_OF_HOST + deliveries};
}

og_status serve__open_outbox(serve *s, og_error *err)
{
    config *c = s->config;
    http_client_options http = connections(c);
    s->endpoint_count = c->endpoint_count + 1;
    s->endpoints = og_arena_zalloc(c->arena, s->endpoint_count, sizeof *s->endpoints);
    s->hooks = og_arena_zalloc(c->arena, s->endpoint_count, sizeof(ehr_webhook *));
    s->failing = og_arena_zalloc(c->arena, s->endpoint_count, sizeof *s->failing);
    outbox_endpoint *queues = og_arena_zalloc(c->arena, s->endpoint_count, sizeof *queues);
    if (s->endpoints == NULL || s->hooks == NULL || s->failing == NULL || queues == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the endpoints");
    og_status status = http_client_new(s->loop, &http, &s->client, err);
    if (status == OG_OK)
        status = serve__open_fhir(s, err);
    if (status == OG_OK)
        status = serve__open_backfills(s, err);
    for (size_t i = 0; status == OG_OK && i < c->endpoint_count; i++) {
        status = open_hook(s, i, err);
        queues[i] = (outbox_endpoint){c->endpoints[i].name, (int)c->endpoints[i].max_in_flight};
    }
    if (status != OG_OK)
        return status;
    s->endpoints[c->endpoint_count] = (delivery_endpoint){"@alerts", true, "", "", true};
    queues[c->endpoint_count] = (outbox_endpoint){"@alerts", 256};
    outbox_options o = {.endpoints = queues,
                        .endpoint_count = s->endpoint_count,
                        .partitions = s->count,
                        .max_patients = s->options.outbox_patients,
                        .backoff_min_ms = c->backoff_min_ms,
                        .backoff_max_ms = c->backoff_max_ms,
                        .seed = s->options.seed != 0 ? s->options.seed : (uint64_t)clock_wall_ms(),
                        .ctx = s,
                        .prepare = prepare,
                        .send = send_item,
                        .settle = settle};
    s->outbox = outbox_new(&o);
    s->setup.endpoints = s->endpoints;
    s->setup.endpoint_count = s->endpoint_count;
    return s->outbox != NULL ? OG_OK : og_fail(err, OG_NOMEM, "no memory for the outbox");
}

void serve__close_hooks(serve *s)
{
    s->hooks_closed = true;
    for (size_t i = 0; s->hooks != NULL && i < s->endpoint_count; i++) {
        ehr_webhook_free(s->hooks[i]);
        s->hooks[i] = NULL;
    }
    for (sending *it = s->sendings, *next; it != NULL; it = next) {
        next = it->next;
        if (it->posted) /* the sink reports what it has */
            sending_free(it);
    }
}
