/* Dead letters of what never was a message: a resource that a backfill has fetched and no source
 * topic takes. Headers as gather writes them (gather.c), but in place of an offset the FHIR server
 * and the resource's name. */
#include "daemon/serve_private.h"

#define KEY_BYTES 400

conn_verdict serve__send_letter(serve *s, const serve_letter *l, kafka_report_fn *fn, void *ctx)
{
    size_t most = (size_t)s->config->dead_letter_bytes, n = l->json.n < most ? l->json.n : most;
    char key[KEY_BYTES], bytes[32];
    og_error err;
    og_error_init(&err);
    snprintf(key, sizeof key, "%s/%s/%s", l->topic, l->server, l->resource);
    snprintf(bytes, sizeof bytes, "%zu", l->json.n);
    conn_header headers[] = {
        {"reason", og_str_of(l->reason)},      {"detail", og_str_of(l->detail)},
        {"source-topic", og_str_of(l->topic)}, {"fhir-server", og_str_of(l->server)},
        {"resource", og_str_of(l->resource)},  {"bytes", og_str_of(bytes)}};
    kafka_record r = {.topic = s->config->kafka_dead_letters,
                      .partition = KAFKA_PARTITION_BY_KEY,
                      .key = og_str_of(key),
                      .value = {l->json.p, n},
                      .headers = headers,
                      .header_count = l->json.n > n ? 6 : 5};
    if (s->sink == NULL)
        return CONN_AGAIN;
    conn_verdict verdict = kafka_sink_send(s->sink, &r, fn, ctx, &err);
    if (verdict == CONN_NEVER && n > 0) { /* the reason alone fits in */
        r.value.n = 0;
        r.header_count = 6;
        og_error_init(&err);
        verdict = kafka_sink_send(s->sink, &r, fn, ctx, &err);
    }
    if (verdict == CONN_NEVER)
        log_failure(LOG_LEVEL_ERROR, "a dead letter of a backfill cannot be written", &err);
    return verdict;
}
