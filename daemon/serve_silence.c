/* Sources that have fallen silent: that nothing is missing is only known while whoever feeds a
 * source is alive (STREAM 3.8, c). Nobody tells us that; for how long nothing may come while all is
 * well is a figure that the site knows (kafka.silence_minutes).
 *
 * What is heard of a source through any instance's share stands in the heartbeats. After a silence
 * what the sender had kept comes first, so the gate stays shut for as long again. */
#include <inttypes.h>

#include "daemon/metrics.h"
#include "daemon/serve_private.h"

static bool is_watched(const serve *s)
{
    return s->config->kafka_silence_ms != NULL;
}

static void note(serve *s, size_t source, int64_t at_ms)
{
    int64_t now_ms = clock_wall_ms();
    at_ms = at_ms < now_ms ? at_ms : now_ms; /* others' clocks */
    if (at_ms > s->silence[source].heard_ms)
        s->silence[source].heard_ms = at_ms;
}

/* By the time of the message: a backlog that is read today says nothing of today. What we have put
 * there bears the time of our clock, and what we have fetched is no sign of its sender. */
void serve__heard(serve *s, const conn_message *m)
{
    const config_list *sources = &s->config->kafka_sources;
    og_str own = {NULL, 0};
    if (!s->clock_doubted && !is_watched(s))
        return;
    if (!kafka_message_header(m, GATHER_OWN_HEADER, &own))
        serve__compare_clock(s, m->origin.timestamp_ms);
    if (og_str_is(own, "backfill"))
        return;
    for (size_t i = 0; is_watched(s) && i < sources->count; i++)
        if (strcmp(sources->at[i], m->origin.topic) == 0)
            note(s, i, m->origin.timestamp_ms >= 0 ? m->origin.timestamp_ms : clock_wall_ms());
}

void serve__say_heard(const serve *s, og_buf *out)
{
    const char *sep = ",\"heard\":{";
    for (size_t i = 0; is_watched(s) && i < s->config->kafka_sources.count; i++) {
        if (s->silence[i].heard_ms == 0)
            continue;
        og_buf_addf(out, "%s\"%s\":%" PRId64, sep, s->config->kafka_sources.at[i],
                    s->silence[i].heard_ms);
        sep = ",";
    }
    og_buf_addz(out, sep[1] == '\0' ? "}" : "");
}

void serve__hear_heard(serve *s, fhir_elem said)
{
    fhir_elem heard = fhir_get(said, "heard");
    int64_t at_ms;
    if (!is_watched(s) || fhir_kind_of(heard) != FHIR_OBJECT)
        return;
    for (size_t i = 0; i < s->config->kafka_sources.count; i++)
        if (fhir_int(fhir_get(heard, s->config->kafka_sources.at[i]), 1, INT64_MAX, &at_ms))
            note(s, i, at_ms);
}

bool serve__is_silent(const serve *s, size_t source)
{
    int64_t allowed_ms = is_watched(s) ? s->config->kafka_silence_ms[source] : 0;
    if (allowed_ms == 0)
        return false;
    const serve_silence *l = &s->silence[source];
    return l->fell_silent || l->hold_until_ms > clock_monotonic_ms() ||
           clock_wall_ms() - l->heard_ms > allowed_ms;
}

bool serve__any_silent(const serve *s)
{
    for (size_t i = 0; is_watched(s) && i < s->config->kafka_sources.count; i++)
        if (serve__is_silent(s, i))
            return true;
    return false;
}

static void tend(serve *s, size_t source, int64_t allowed_ms)
{
    serve_silence *l = &s->silence[source];
    const char *topic = s->config->kafka_sources.at[source];
    int64_t since_ms = l->heard_ms > s->started_ms ? l->heard_ms : s->started_ms;
    int64_t now_ms = clock_wall_ms();
    if (!l->fell_silent && now_ms - since_ms > allowed_ms) {
        l->fell_silent = true;
        log_warn("nothing has come on %s for more than %lld minutes (kafka.silence_minutes): "
                 "nothing counts as overdue until it does, and for as long again",
                 topic, (long long)allowed_ms / 60000);
    } else if (l->fell_silent && now_ms - l->heard_ms <= allowed_ms) {
        l->fell_silent = false;
        l->hold_until_ms = clock_monotonic_ms() + allowed_ms;
        log_info("%s is heard again; what its sender had kept has %lld minutes to come", topic,
                 (long long)allowed_ms / 60000);
    }
    metric_set_label(METRIC_SOURCE_SILENT, topic, serve__is_silent(s, source));
}

void serve__tend_silence(serve *s)
{
    for (size_t i = 0; is_watched(s) && i < s->config->kafka_sources.count; i++)
        if (s->config->kafka_silence_ms[i] > 0)
            tend(s, i, s->config->kafka_silence_ms[i]);
}
