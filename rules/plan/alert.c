/* What we believe about a patient against what we said before.
 *
 *            card, none stored ─► OPENED revision 1
 *   ACTIVE   same material     ─► nothing leaves the house
 *   ACTIVE   other material    ─► CHANGED revision + 1, the old card is retracted
 *   ACTIVE   no card           ─► RESOLVED, the card is retracted
 *   RESOLVED card              ─► OPENED revision + 1
 *
 * A rule that failed, or was not run, says nothing: its alerts stay as they are. */
#include "rules/plan/plan_private.h"

#include <stdlib.h>

static og_str with_uuid(og_arena *a, og_str json, const char *uuid)
{
    return og_arena_printf(a, "{\"uuid\":\"%s\",%.*s", uuid, (int)json.n - 1, json.p + 1);
}

static void make_card(og_arena *a, const plan_card *card, plan_alert *alert)
{
    og_str parts[] = {og_str_of(alert->id), og_arena_printf(a, "%u", alert->revision)};
    plan__uuid(a, parts, 2, alert->card_uuid);
    alert->card = with_uuid(a, card->json, alert->card_uuid);
}

/* The alert as a card makes it, on top of what is stored (NULL: nothing). */
static plan_alert alert_of(og_arena *a, const plan_content *c, const plan_card *card,
                           const plan_alert *stored, int64_t now_ms)
{
    plan_alert alert = {.rule = card->rule,
                        .slot = card->slot,
                        .state = PLAN_ALERT_ACTIVE,
                        .revision = stored != NULL ? stored->revision + 1 : 1,
                        .material = card->material,
                        .indicator = card->indicator,
                        .worklist = card->worklist,
                        .opened_ms = now_ms,
                        .changed_ms = now_ms};
    memcpy(alert.id, card->alert_id, sizeof alert.id);
    if (stored != NULL && stored->state == PLAN_ALERT_ACTIVE)
        alert.opened_ms = stored->opened_ms;
    alert.digest = og_arena_str(a, og_str_of(c->digest));
    make_card(a, card, &alert);
    return alert;
}

static const plan_alert *find_alert(const plan_alert *list, size_t count, const char *id)
{
    const plan_alert *best = NULL;
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].id, id) == 0 && (best == NULL || list[i].revision > best->revision))
            best = &list[i];
    return best;
}

static bool has_card(const plan_result *r, const char *id)
{
    for (size_t i = 0; i < r->card_count; i++)
        if (strcmp(r->cards[i].alert_id, id) == 0)
            return true;
    return false;
}

static bool is_silent(const plan_result *r, og_str rule)
{
    for (size_t i = 0; i < r->outcome_count; i++)
        if (og_str_eq(r->outcomes[i].rule, rule))
            return r->outcomes[i].kind == PLAN_FAILED || r->outcomes[i].kind == PLAN_GATED;
    return false; /* the rule is no longer there: what it said does not hold */
}

static void compare_card(og_arena *a, const plan_content *c, const plan_card *card,
                         const plan_alert *stored, int64_t now_ms, plan_change *list, size_t *count)
{
    bool active = stored != NULL && stored->state == PLAN_ALERT_ACTIVE;
    plan_change *change = &list[*count];

    if (active && stored->material == card->material)
        return;
    *change = (plan_change){.kind = active ? PLAN_CHANGED : PLAN_OPENED};
    change->alert = alert_of(a, c, card, stored, now_ms);
    if (active)
        memcpy(change->retracts, stored->card_uuid, sizeof change->retracts);
    (*count)++;
}

static void compare_stored(const plan_alert *stored, const plan_result *result, int64_t now_ms,
                           plan_change *list, size_t *count)
{
    plan_change *change = &list[*count];

    if (stored->state != PLAN_ALERT_ACTIVE || has_card(result, stored->id) ||
        is_silent(result, stored->rule))
        return;
    *change = (plan_change){.kind = PLAN_RESOLVED, .alert = *stored};
    change->alert.state = PLAN_ALERT_RESOLVED;
    change->alert.changed_ms = now_ms;
    change->alert.resolved_ms = now_ms;
    memcpy(change->retracts, stored->card_uuid, sizeof change->retracts);
    (*count)++;
}

og_status plan_alert_compare(og_arena *a, const plan_content *c, const plan_alert *open,
                             size_t open_count, const plan_result *result, int64_t now_ms,
                             const plan_change **ret, size_t *ret_count, og_error *err)
{
    plan_change *list = og_arena_zalloc(a, result->card_count + open_count + 1, sizeof *list);
    size_t count = 0;

    if (list == NULL)
        return og_fail(err, OG_NOMEM, "no memory to compare alerts");
    for (size_t i = 0; i < result->card_count; i++) {
        const plan_card *card = &result->cards[i];
        compare_card(a, c, card, find_alert(open, open_count, card->alert_id), now_ms, list,
                     &count);
    }
    for (size_t i = 0; i < open_count; i++)
        if (find_alert(open, open_count, open[i].id) == &open[i])
            compare_stored(&open[i], result, now_ms, list, &count);
    if (og_arena_failed(a))
        return og_fail(err, OG_NOMEM, "no memory to compare alerts");
    *ret = list;
    *ret_count = count;
    return OG_OK;
}

/* ---- as text ---- */

static const char *state_name(plan_alert_state s)
{
    return s == PLAN_ALERT_ACTIVE ? "active" : "resolved";
}

og_str plan_alert_write(og_arena *a, const plan_alert *alert)
{
    og_buf b;
    og_str text = {0};

    og_buf_init(&b, (size_t)64 << 20);
    og_buf_addf(&b, "{\"id\":\"%s\",\"rule\":", alert->id);
    og_buf_add_json(&b, alert->rule);
    og_buf_addz(&b, ",\"slot\":");
    og_buf_add_json(&b, alert->slot);
    og_buf_addf(&b,
                ",\"state\":\"%s\",\"revision\":%u,\"material\":\"%016llx\",\"indicator\":\"%s\","
                "\"opened\":%lld,\"changed\":%lld,\"resolved\":%lld,\"uuid\":\"%s\",\"digest\":",
                state_name(alert->state), alert->revision, (unsigned long long)alert->material,
                plan__indicator_name(alert->indicator), (long long)alert->opened_ms,
                (long long)alert->changed_ms, (long long)alert->resolved_ms, alert->card_uuid);
    og_buf_add_json(&b, alert->digest);
    if (alert->worklist)
        og_buf_addz(&b, ",\"channel\":\"worklist\"");
    og_buf_addz(&b, ",\"card\":");
    og_buf_adds(&b, alert->card);
    og_buf_addc(&b, '}');
    if (!og_buf_failed(&b))
        text = og_arena_str(a, og_buf_str(&b));
    og_buf_done(&b);
    return text;
}

static bool read_uuid(fhir_elem e, char ret[37])
{
    og_str raw = fhir_raw(e);
    if (fhir_kind_of(e) != FHIR_STRING || raw.n != 36)
        return false;
    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = raw.p[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (dash ? c != '-' : !hex)
            return false;
    }
    memcpy(ret, raw.p, 36);
    ret[36] = '\0';
    return true;
}

static bool read_integer(fhir_elem e, int64_t *ret)
{
    og_decimal d;
    int scale;

    if (fhir_kind_of(e) != FHIR_NUMBER || !og_decimal_parse(fhir_raw(e), false, &d, &scale) ||
        d % OG_DECIMAL_SCALE != 0)
        return false;
    d /= OG_DECIMAL_SCALE;
    if (d > INT64_MAX || d < INT64_MIN)
        return false;
    *ret = (int64_t)d;
    return true;
}

static bool read_material(fhir_elem e, uint64_t *ret)
{
    og_str raw = fhir_raw(e);
    uint64_t v = 0;

    if (fhir_kind_of(e) != FHIR_STRING || raw.n != 16)
        return false;
    for (size_t i = 0; i < 16; i++) {
        char c = raw.p[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *ret = v;
    return true;
}

static bool read_indicator(fhir_elem e, plan_indicator *ret)
{
    for (int i = PLAN_INFO; i <= PLAN_CRITICAL; i++)
        if (fhir_is(e, plan__indicator_name((plan_indicator)i))) {
            *ret = (plan_indicator)i;
            return true;
        }
    return false;
}

static bool read_state(fhir_elem e, plan_alert_state *ret)
{
    *ret = fhir_is(e, "active") ? PLAN_ALERT_ACTIVE : PLAN_ALERT_RESOLVED;
    return fhir_is(e, "active") || fhir_is(e, "resolved");
}

static bool read_text(og_arena *a, fhir_elem e, og_str *ret)
{
    if (fhir_kind_of(e) != FHIR_STRING)
        return false;
    *ret = fhir_string(a, e);
    return true;
}

static og_status misread(og_error *err, const char *path)
{
    og_fail(err, OG_INVALID, "an alert's %s is missing or has the wrong form", path);
    og_error_path(err, path);
    return OG_INVALID;
}

og_status plan_alert_read(og_arena *a, og_str text, plan_alert *ret, og_error *err)
{
    plan_alert x = {0};
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    int64_t revision = 0;

    if (doc == NULL)
        return og_fail(err, OG_NOMEM, "no memory for an alert");
    og_status s = fhir_decode(a, text, NULL, doc, err);
    if (s != OG_OK)
        return s;
    fhir_elem o = fhir_root(doc);
    if (!read_uuid(fhir_get(o, "id"), x.id))
        return misread(err, "id");
    if (!read_text(a, fhir_get(o, "rule"), &x.rule))
        return misread(err, "rule");
    if (!read_text(a, fhir_get(o, "slot"), &x.slot))
        return misread(err, "slot");
    if (!read_state(fhir_get(o, "state"), &x.state))
        return misread(err, "state");
    if (!read_integer(fhir_get(o, "revision"), &revision) || revision < 1 || revision > UINT32_MAX)
        return misread(err, "revision");
    if (!read_material(fhir_get(o, "material"), &x.material))
        return misread(err, "material");
    if (!read_indicator(fhir_get(o, "indicator"), &x.indicator))
        return misread(err, "indicator");
    x.worklist = fhir_is(fhir_get(o, "channel"), "worklist");
    if (!read_integer(fhir_get(o, "opened"), &x.opened_ms))
        return misread(err, "opened");
    if (!read_integer(fhir_get(o, "changed"), &x.changed_ms))
        return misread(err, "changed");
    if (!read_integer(fhir_get(o, "resolved"), &x.resolved_ms))
        return misread(err, "resolved");
    if (!read_uuid(fhir_get(o, "uuid"), x.card_uuid))
        return misread(err, "uuid");
    if (!read_text(a, fhir_get(o, "digest"), &x.digest))
        return misread(err, "digest");
    if (fhir_kind_of(fhir_get(o, "card")) != FHIR_OBJECT)
        return misread(err, "card");
    x.card = fhir_raw(fhir_get(o, "card"));
    x.revision = (uint32_t)revision;
    *ret = x;
    return OG_OK;
}
