/* Alerts as DetectedIssue, Flag and Task (FHIR R4). What a card says for people becomes text, what
 * it rests on becomes references. */
#include "daemon/delivery_fhir.h"

#include "daemon/moment.h"
#include "daemon/record.h"
#include "fhir/reference.h"

typedef struct writer {
    og_buf b;
    const delivery *d;
    const plan_alert *alert;
    fhir_elem card;
    og_arena *arena;
    size_t entries;
} writer;

/* ---- pieces ---- */

static void add_text(writer *w, const char *name, og_str value)
{
    if (value.n == 0)
        return; /* FHIR knows no empty strings */
    og_buf_addf(&w->b, ",\"%s\":", name);
    og_buf_add_json(&w->b, value);
}

static void add_time(writer *w, const char *name, int64_t ms)
{
    char text[48];
    moment m = {ms, 0};
    if (ms > 0 && moment_format(&m, text) > 0)
        og_buf_addf(&w->b, "%s\"%s\":\"%s\"",
                    og_str_ends(og_buf_str(&w->b), OG_STR("{")) ? "" : ",", name, text);
}

static og_str card_text(const writer *w, const char *name)
{
    return fhir_string(w->arena, fhir_get(w->card, name));
}

static void add_patient(writer *w, const char *name)
{
    og_buf_addf(&w->b, ",\"%s\":{\"reference\":\"Patient/%.*s\"}", name,
                OG_STR_ARG(record_plain_id(w->d->patient)));
}

/* The rule, and what it found in words. */
static void add_code(writer *w)
{
    fhir_elem topic = fhir_get(fhir_get(w->card, "source"), "topic");
    og_buf_addz(&w->b, ",\"code\":{\"coding\":[{\"system\":\"https://osteoguard.org/rule\"");
    add_text(w, "code", w->alert->rule);
    add_text(w, "display", fhir_string(w->arena, fhir_get(topic, "display")));
    og_buf_addz(&w->b, "}]");
    add_text(w, "text", card_text(w, "summary"));
    og_buf_addc(&w->b, '}');
}

static void begin_entry(writer *w, const char *type, const char *status)
{
    char uuid[UUID_TEXT], name[96];
    snprintf(name, sizeof name, "%s|%s", w->d->alert_id, type);
    uuid_of_name(og_str_of(name), uuid);
    og_buf_addf(&w->b,
                "%s{\"fullUrl\":\"urn:uuid:%s\",\"resource\":{\"resourceType\":\"%s\","
                "\"identifier\":[{\"system\":\"" DELIVERY_FHIR_SYSTEM
                "\",\"value\":\"%s\"}],\"status\":\"%s\"",
                w->entries++ > 0 ? "," : "", uuid, type, w->d->alert_id, status);
}

static void end_entry(writer *w, const char *type)
{
    og_buf_addf(&w->b,
                "},\"request\":{\"method\":\"PUT\",\"url\":\"%s?identifier=" DELIVERY_FHIR_SYSTEM
                "%%7C%s\"}}",
                type, w->d->alert_id);
}

/* ---- DetectedIssue ---- */

static void add_evidence(writer *w)
{
    fhir_elem list = fhir_get(fhir_get(w->card, "extension"), "org.osteoguard.evidence");
    size_t n = 0;
    for (fhir_elem e = fhir_first(list); fhir_exists(e); e = fhir_next(list, e)) {
        og_str reference = fhir_string(w->arena, fhir_get(e, "reference"));
        og_str label = fhir_string(w->arena, fhir_get(e, "label"));
        og_str value = fhir_string(w->arena, fhir_get(e, "value"));
        if (fhir_reference_parse(reference).kind != FHIR_REF_RELATIVE)
            continue;
        og_buf_addz(&w->b, n++ == 0 ? ",\"evidence\":[{\"detail\":[{\"reference\":"
                                    : ",{\"detail\":[{\"reference\":");
        og_buf_add_json(&w->b, reference);
        if (label.n > 0)
            add_text(w, "display",
                     og_arena_printf(w->arena, "%.*s%s%.*s", OG_STR_ARG(label),
                                     value.n > 0 ? ": " : "", OG_STR_ARG(value)));
        og_buf_addz(&w->b, "}]}");
    }
    if (n > 0)
        og_buf_addc(&w->b, ']');
}

/* Why it is over: the data resolved it, somebody overrode it, or it went to the worklist. */
static void add_mitigation(writer *w)
{
    const plan_alert *alert = w->alert;
    bool overridden = alert->state != PLAN_ALERT_RESOLVED && plan_alert_is_silent(alert);
    og_buf_addz(&w->b, ",\"mitigation\":[{\"action\":{");
    if (overridden && alert->feedback.code.n > 0) {
        og_buf_addz(&w->b, "\"coding\":[{\"code\":");
        og_buf_add_json(&w->b, alert->feedback.code);
        add_text(w, "system", alert->feedback.system);
        og_buf_addz(&w->b, "}],");
    }
    og_buf_addf(&w->b, "\"text\":\"%s\"}",
                overridden                            ? "overridden"
                : alert->state == PLAN_ALERT_RESOLVED ? "resolved by the data"
                                                      : "withdrawn");
    add_time(w, "date", overridden ? alert->feedback.at_ms : alert->resolved_ms);
    og_buf_addz(&w->b, "}]");
}

static void add_issue(writer *w)
{
    static const char *const severities[] = {"low", "moderate", "high"};
    begin_entry(w, "DetectedIssue",
                w->d->resolved       ? "cancelled"
                : w->d->revision > 1 ? "amended"
                                     : "final");
    add_code(w);
    og_buf_addf(&w->b, ",\"severity\":\"%s\"", severities[w->alert->indicator]);
    add_patient(w, "patient");
    add_time(w, "identifiedDateTime", w->alert->opened_ms);
    og_buf_addz(&w->b, ",\"author\":{\"display\":\"Osteoguard\"}");
    add_evidence(w);
    add_text(w, "detail", card_text(w, "detail"));
    add_text(w, "reference", fhir_string(w->arena, fhir_get(fhir_get(w->card, "source"), "url")));
    if (w->d->resolved)
        add_mitigation(w);
    end_entry(w, "DetectedIssue");
}

/* ---- Flag and Task ---- */

static void add_flag(writer *w)
{
    begin_entry(w, "Flag", w->d->resolved ? "inactive" : "active");
    og_buf_addz(&w->b,
                ",\"category\":[{\"coding\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
                "flag-category\",\"code\":\"drug\"}]}]");
    add_code(w);
    add_patient(w, "subject");
    og_buf_addz(&w->b, ",\"period\":{");
    add_time(w, "start", w->alert->opened_ms);
    if (w->d->resolved)
        add_time(w, "end", w->alert->resolved_ms);
    og_buf_addz(&w->b, "},\"author\":{\"display\":\"Osteoguard\"}");
    end_entry(w, "Flag");
}

static void add_task(writer *w)
{
    static const char *const priorities[] = {"routine", "urgent", "asap"};
    char issue[UUID_TEXT], name[96];
    snprintf(name, sizeof name, "%s|DetectedIssue", w->d->alert_id);
    uuid_of_name(og_str_of(name), issue);
    begin_entry(w, "Task",
                !w->d->resolved                          ? "requested"
                : w->alert->state == PLAN_ALERT_RESOLVED ? "completed"
                                                         : "cancelled");
    og_buf_addf(&w->b, ",\"intent\":\"proposal\",\"priority\":\"%s\"",
                priorities[w->alert->indicator]);
    add_code(w);
    add_text(w, "description", card_text(w, "summary"));
    og_buf_addf(&w->b, ",\"focus\":{\"reference\":\"urn:uuid:%s\"}", issue);
    add_patient(w, "for");
    add_time(w, "authoredOn", w->alert->opened_ms);
    add_time(w, "lastModified",
             w->alert->state == PLAN_ALERT_RESOLVED ? w->alert->resolved_ms : w->alert->changed_ms);
    end_entry(w, "Task");
}

og_status delivery_fhir_body(og_arena *a, const delivery_endpoint *ep, const delivery *d,
                             const plan_alert *alert, size_t max_bytes, og_str *ret)
{
    fhir_doc card;
    writer w = {.d = d, .alert = alert, .arena = a};
    if (alert->card.n > 0 && fhir_decode(a, alert->card, NULL, &card, NULL) == OG_OK)
        w.card = fhir_root(&card);
    og_buf_init(&w.b, max_bytes);
    og_buf_addz(&w.b, "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[");
    add_issue(&w);
    if (ep->flag)
        add_flag(&w);
    if (ep->task)
        add_task(&w);
    og_buf_addz(&w.b, "]}");
    og_status status = w.b.full ? OG_LIMIT : og_buf_failed(&w.b) ? OG_NOMEM : OG_OK;
    if (status == OG_OK) {
        *ret = og_arena_str(a, og_buf_str(&w.b));
        status = ret->p != NULL ? OG_OK : OG_NOMEM;
    }
    og_buf_done(&w.b);
    return status;
}
