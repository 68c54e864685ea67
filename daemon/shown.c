/* What only calls have shown: made of a card, and sorted by whether it still counts. */
#include "daemon/shown.h"

#define DAY_MS ((int64_t)86400000)

plan_alert shown_of(og_arena *a, const plan_content *c, const plan_card *card, const char *uuid,
                    og_str hook, int64_t now_ms)
{
    fhir_doc doc;
    og_str summary = {NULL, 0};
    if (fhir_decode(a, card->json, NULL, &doc, NULL) == OG_OK)
        summary = fhir_raw(fhir_get(fhir_root(&doc), "summary"));
    plan_alert shown = {.rule = card->rule,
                        .slot = card->slot,
                        .state = PLAN_ALERT_SHOWN,
                        .revision = 1,
                        .material = card->material,
                        .indicator = card->indicator,
                        .worklist = card->worklist,
                        .opened_ms = now_ms,
                        .changed_ms = now_ms,
                        .card = og_arena_printf(a, "{\"uuid\":\"%s\",\"summary\":\"%.*s\"}", uuid,
                                                OG_STR_ARG(summary)),
                        .digest = og_str_of(plan_content_digest(c)),
                        .hook = hook};
    memcpy(shown.id, uuid, sizeof shown.id);
    memcpy(shown.card_uuid, uuid, sizeof shown.card_uuid);
    return shown;
}

static bool is_finding(const plan_alert *alert, const char *uuid)
{
    char finding[UUID_TEXT];
    if (alert->state != PLAN_ALERT_ACTIVE)
        return false;
    store_finding_uuid(alert->id, alert->material, finding);
    if (strcmp(finding, uuid) == 0)
        return true;
    store_former_finding_uuid(alert->id, alert->material, finding);
    return strcmp(finding, uuid) == 0;
}

bool shown_is_alert(const plan_alert *alerts, size_t count, const char *uuid)
{
    for (size_t i = 0; i < count; i++)
        if (is_finding(&alerts[i], uuid))
            return true;
    return false;
}

static bool becomes_alert(const plan_change *changes, size_t count, const char *uuid)
{
    for (size_t i = 0; i < count; i++)
        if (is_finding(&changes[i].alert, uuid))
            return true;
    return false;
}

og_status shown_sort(store_txn *t, og_arena *a, const feedback_policy *policy, int64_t now_ms,
                     og_str patient, const plan_alert *open, size_t open_count,
                     const plan_change *changes, size_t change_count, shown_list *ret,
                     og_error *err)
{
    shown_list l = {.heard = open, .heard_count = open_count};
    const plan_alert *all;
    size_t count;
    og_status status = store_shown(t, a, patient, &all, &count, err);
    if (status == OG_OK && count > 0) {
        plan_alert *heard = og_arena_zalloc(a, open_count + count, sizeof *heard);
        plan_alert *over = og_arena_zalloc(a, count, sizeof *over);
        if (heard == NULL || over == NULL)
            return og_fail(err, OG_NOMEM, "no memory for what calls have shown");
        if (open_count > 0)
            memcpy(heard, open, open_count * sizeof *open);
        for (size_t i = 0; i < count; i++) {
            int64_t end_ms = all[i].opened_ms + policy->shown_days * DAY_MS;
            if (end_ms <= now_ms || shown_is_alert(open, open_count, all[i].id) ||
                becomes_alert(changes, change_count, all[i].id)) {
                over[l.over_count++] = all[i];
                continue;
            }
            heard[l.heard_count++] = all[i];
            if (l.end_ms == 0 || end_ms < l.end_ms)
                l.end_ms = end_ms;
        }
        l.heard = heard;
        l.over = over;
    }
    if (status == OG_OK)
        *ret = l;
    return status;
}
