/* FHIR over HTTP: what an EHR that has no Kafka sends (rest-hook subscriptions, notifications of
 * the subscriptions backport, Bundles) is put on the source topics, so that it goes the same way as
 * every event. The sender hears 200 when the brokers have it, and where it stands.
 *
 *   POST /fhir            a resource or a Bundle
 *   PUT  /fhir/Type/id    a rest-hook with payload (FHIR R4 subscription.html)
 *   DELETE /fhir/Type/id  the resource is gone */
#include <stdlib.h>

#include "daemon/cmd_replay.h"
#include "daemon/metrics.h"
#include "daemon/serve_private.h"
#include "fhir/model.h"

#define JSON "application/fhir+json"

typedef struct inbound { /* waits for the brokers' word */
    serve *serve;
    http_exchange *exchange;
    char topic[256];
} inbound;

static void count(int status)
{
    char code[16];
    snprintf(code, sizeof code, "%d", status);
    metric_add_label(METRIC_INBOUND, code, NULL, 1);
}

static void refuse(const serve *s, http_exchange *x, int status, const char *code, const char *text,
                   const char *path)
{
    count(status);
    serve__refuse(s, x, status, JSON, code, text, path);
}

static void accepted(const serve *s, http_exchange *x, const char *text)
{
    og_buf b;
    og_buf_init(&b, 1024);
    og_buf_addz(&b,
                "{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"severity\":\"information\","
                "\"code\":\"informational\",\"diagnostics\":");
    og_buf_add_json(&b, og_str_of(text));
    og_buf_addz(&b, "}]}");
    count(200);
    serve__answer_json(s, x, 200, JSON, og_buf_str(&b));
    og_buf_done(&b);
}

static void on_report(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                      const kafka_error *error)
{
    inbound in = *(inbound *)ctx;
    char text[400];
    free(ctx);
    if (verdict == CONN_AGAIN) {
        refuse(in.serve, in.exchange, 503, "transient", "the brokers do not answer", "");
    } else if (verdict == CONN_NEVER) {
        refuse(in.serve, in.exchange, 422, "too-long",
               error != NULL && error->text != NULL ? error->text : "the brokers refuse it", "");
    } else {
        snprintf(text, sizeof text, "taken as %s[%d]@%lld", in.topic, (int)partition,
                 (long long)offset);
        accepted(in.serve, in.exchange, text);
    }
}

/* value.p NULL: a delete. */
static void put_on_topic(serve *s, http_exchange *x, og_str type, og_str id, og_str value)
{
    char key[400], name[64];
    og_error err;
    const conn_header own = {GATHER_OWN_HEADER, OG_STR("inbound")};
    inbound *in = calloc(1, sizeof *in);
    snprintf(name, sizeof name, "%.*s", OG_STR_ARG(type));
    const char *topic =
        replay_topic(s->config->kafka_sources.at, (unsigned)s->config->kafka_sources.count, name);
    int n = snprintf(key, sizeof key, "%.*s/%.*s", OG_STR_ARG(type), OG_STR_ARG(id));
    bool keyed = id.n != 0 && n > 0 && (size_t)n < sizeof key;
    if (in == NULL || s->sink == NULL || topic == NULL) {
        free(in);
        refuse(s, x, 503, "transient", "events cannot be taken now", "");
        return;
    }
    *in = (inbound){.serve = s, .exchange = x};
    snprintf(in->topic, sizeof in->topic, "%s", topic);
    kafka_record r = {.topic = topic,
                      .partition = KAFKA_PARTITION_BY_KEY,
                      .key = keyed ? (og_str){key, (size_t)n} : (og_str){NULL, 0},
                      .value = value,
                      .headers = &own,
                      .header_count = 1};
    og_error_init(&err);
    conn_verdict v = kafka_sink_send(s->sink, &r, on_report, in, &err);
    if (v == CONN_DONE)
        return;
    free(in);
    if (v == CONN_AGAIN)
        refuse(s, x, 503, "transient", "too much is on its way already", "");
    else
        refuse(s, x, 422, "too-long", err.text, "");
}

/* ---- what came ---- */

/* A notification that only says that the subscription is alive. */
static bool is_sign_of_life(fhir_elem bundle)
{
    fhir_elem status = fhir_get(fhir_first(fhir_get(bundle, "entry")), "resource");
    fhir_elem type = fhir_get(status, "type");
    if (fhir_is(fhir_get(status, "resourceType"), "Parameters")) {
        fhir_elem list = fhir_get(status, "parameter");
        for (fhir_elem p = fhir_first(list); fhir_exists(p); p = fhir_next(list, p))
            if (fhir_is(fhir_get(p, "name"), "type"))
                type = fhir_get(p, "valueCode");
    } else if (!fhir_is(fhir_get(status, "resourceType"), "SubscriptionStatus")) {
        return false;
    }
    return fhir_is(type, "handshake") || fhir_is(type, "heartbeat");
}

static void take_resource(serve *s, http_exchange *x, fhir_elem root, og_str want_type,
                          og_str want_id)
{
    fhir_resource r;
    og_error err;
    og_error_init(&err);
    if (fhir_resource_of(root, &r, &err) != OG_OK)
        refuse(s, x, 400, "structure", err.text, err.path);
    else if (want_type.n != 0 && (!og_str_eq(r.type, want_type) || !og_str_eq(r.id, want_id)))
        refuse(s, x, 400, "invalid", "the resource is not the one that the address names", "id");
    else if (og_str_is(r.type, "Bundle") && is_sign_of_life(root))
        accepted(s, x, "the subscription is alive");
    else
        put_on_topic(s, x, r.type, r.id, http_exchange_body(x));
}

static void read_body(serve *s, http_exchange *x, og_str want_type, og_str want_id)
{
    fhir_limits limits = {.max_bytes = (uint32_t)s->config->max_message_bytes,
                          .max_depth = (uint32_t)s->config->max_depth};
    fhir_doc doc;
    og_error err;
    og_error_init(&err);
    if (!serve__says_json(x))
        refuse(s, x, 415, "not-supported", "the body must be application/fhir+json", "");
    else if (fhir_decode(s->hook_arena, http_exchange_body(x), &limits, &doc, &err) == OG_OK)
        take_resource(s, x, fhir_root(&doc), want_type, want_id);
    else {
        char text[600];
        snprintf(text, sizeof text, "%s (byte %lld)", err.text, (long long)err.byte);
        refuse(s, x, err.status == OG_LIMIT ? 413 : 400, "structure", text, "");
    }
    og_arena_reset(s->hook_arena);
}

/* Type/id behind /fhir/. */
static bool read_address(const http_exchange *x, og_str *ret_type, og_str *ret_id)
{
    og_str rest = http_exchange_rest(x);
    ptrdiff_t slash = og_str_find(rest, '/');
    if (slash < 0)
        return false;
    *ret_type = (og_str){rest.p, (size_t)slash};
    *ret_id = og_str_from(rest, (size_t)slash + 1);
    return fhir_type_is_concrete_resource(fhir_type_of(*ret_type)) && fhir_id_usable(*ret_id);
}

/* ---- the three verbs ---- */

static bool may_send(serve *s, http_exchange *x, const config_client *who)
{
    if (trust_may_call(who, OG_STR("fhir")))
        return true;
    refuse(s, x, 403, "forbidden", "this client may not send resources", "");
    return false;
}

static void post(serve *s, http_exchange *x, const config_client *who)
{
    if (may_send(s, x, who))
        read_body(s, x, (og_str){NULL, 0}, (og_str){NULL, 0});
}

static void put(serve *s, http_exchange *x, const config_client *who)
{
    og_str type, id;
    if (!may_send(s, x, who))
        return;
    if (read_address(x, &type, &id))
        read_body(s, x, type, id);
    else
        refuse(s, x, 404, "not-found", "the address must name one resource as Type/id", "");
}

static void delete_one(serve *s, http_exchange *x, const config_client *who)
{
    og_str type, id;
    if (!may_send(s, x, who))
        return;
    if (read_address(x, &type, &id))
        put_on_topic(s, x, type, id, (og_str){NULL, 0});
    else
        refuse(s, x, 404, "not-found", "the address must name one resource as Type/id", "");
}

void serve__inbound_post(void *ctx, http_exchange *x)
{
    serve__admit(ctx, x, post);
}

void serve__inbound_put(void *ctx, http_exchange *x)
{
    serve__admit(ctx, x, put);
}

void serve__inbound_delete(void *ctx, http_exchange *x)
{
    serve__admit(ctx, x, delete_one);
}
