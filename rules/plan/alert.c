/* What we believe about a patient against what we said before.
 *
 *            card, none stored ─► OPENED revision 1
 *   ACTIVE   same material     ─► nothing leaves the house
 *   ACTIVE   other material    ─► CHANGED revision + 1, the old card is retracted
 *   ACTIVE   no card           ─► RESOLVED, the card is retracted
 *   RESOLVED card              ─► OPENED revision + 1
 *   ACTIVE   overridden        ─► ANSWERED, the card is retracted until the override is over
 *   ACTIVE   override is over  ─► ANSWERED revision + 1
 *   ACTIVE   no word for long  ─► ANSWERED (ignored), nothing leaves the house
 *   SHOWN    a word, or none   ─► ANSWERED, nothing leaves the house; results do not touch it
 *
 * An override outlives a gap: the same material that comes back is silent still.
 * A rule that failed, or was not run, says nothing: its alerts stay as they are. */
#include "rules/plan/plan_private.h"

#include <stdlib.h>

/* Put together by hand: formatting would go over these kilobytes twice, one by one. */
static og_str with_uuid(og_arena *a, og_str json, const char *uuid)
{
    char head[64];
    size_t n = (size_t)snprintf(head, sizeof head, "{\"uuid\":\"%s\",", uuid);
    size_t all = n + json.n - 1; /* without the brace that head has */
    char *text = og_arena_alloc(a, all + 1);
    if (text == NULL)
        return (og_str){0};
    memcpy(text, head, n);
    memcpy(text + n, json.p + 1, json.n - 1);
    text[all] = '\0';
    return (og_str){text, all};
}

void plan_alert_mark_name(const char *alert_id, char uuid[37])
{
    memcpy(uuid, alert_id, PLAN_ALERT_MARK);
    uuid[14] = '8';
}

static void name_card(og_arena *a, plan_alert *alert)
{
    og_str parts[] = {og_str_of(alert->id), og_arena_printf(a, "%u", alert->revision)};
    plan__uuid(a, parts, 2, alert->card_uuid);
    if (alert->card_uuid[0] != '\0')
        plan_alert_mark_name(alert->id, alert->card_uuid);
}

static void make_card(og_arena *a, const plan_card *card, plan_alert *alert)
{
    name_card(a, alert);
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
    if (stored != NULL && stored->material == card->material && plan_alert_is_silent(stored) &&
        stored->feedback.until_ms > now_ms)
        alert.feedback = stored->feedback;
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

static bool says(const plan_alert *stored, const plan_card *card)
{
    return stored != NULL && stored->state == PLAN_ALERT_ACTIVE &&
           stored->material == card->material;
}

static void compare_card(og_arena *a, const plan_content *c, const plan_card *card,
                         const plan_alert *stored, int64_t now_ms, plan_change *list, size_t *count)
{
    bool active = stored != NULL && stored->state == PLAN_ALERT_ACTIVE;
    plan_change *change = &list[*count];

    if (says(stored, card))
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

bool plan_alert_is_said(const plan_alert *open, size_t open_count, const plan_result *result)
{
    for (size_t i = 0; i < result->card_count; i++)
        if (!says(find_alert(open, open_count, result->cards[i].alert_id), &result->cards[i]))
            return false;
    return true;
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

/* ---- what people say about it ---- */

static void add_moment(og_buf *b, int64_t ms)
{
    int year, month, day;
    int64_t days = ms / 86400000 - (ms % 86400000 < 0), minutes = (ms - days * 86400000) / 60000;
    og_civil_from_days(days, &year, &month, &day);
    og_buf_addf(b, "%04d-%02d-%02d %02d:%02d UTC", year, month, day, (int)(minutes / 60),
                (int)(minutes % 60));
}

/* Codes and names of clients are plain words; anything else is left out. */
static void add_plain(og_buf *b, const char *before, og_str s, const char *after)
{
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
                     (ch >= '0' && ch <= '9') || ch == '-' || ch == '_' || ch == '.';
        if (!plain || i > 63)
            return;
    }
    if (s.n > 0)
        og_buf_addf(b, "%s%.*s%s", before, OG_STR_ARG(s), after);
}

og_str plan_feedback_note(og_arena *a, const plan_content *c, const plan_feedback *feedback)
{
    bool german = og_str_starts(c->language, OG_STR("de"));
    og_buf b;
    og_buf_init(&b, 1024);
    og_buf_addz(&b, german ? "Übergangen" : "Overridden");
    add_plain(&b, german ? " von " : " by ", feedback->who, "");
    add_plain(&b, " (", feedback->code, ")");
    og_buf_addz(&b, german ? " am " : " on ");
    add_moment(&b, feedback->at_ms);
    og_buf_addz(&b, german ? "; galt bis " : "; that held until ");
    add_moment(&b, feedback->until_ms);
    og_str text = og_buf_failed(&b) ? (og_str){NULL, 0} : og_arena_str(a, og_buf_str(&b));
    og_buf_done(&b);
    return text;
}

/* The stored card with the alert's uuid, and the note at the end of its detail. */
static og_str noted_card(og_arena *a, const plan_alert *alert, og_str note)
{
    fhir_doc doc;
    og_str card = alert->card;
    size_t head = sizeof "{\"uuid\":\"" - 1 + 36;
    if (fhir_decode(a, card, NULL, &doc, NULL) != OG_OK || card.n < head)
        return card;
    og_str rest = og_str_from(card, head);
    og_str detail = fhir_raw(fhir_get(fhir_root(&doc), "detail"));
    if (detail.p == NULL)
        return og_arena_printf(a, "{\"uuid\":\"%s\",\"detail\":\"%.*s%.*s", alert->card_uuid,
                               OG_STR_ARG(note), OG_STR_ARG(rest));
    size_t before = (size_t)(detail.p + detail.n - rest.p);
    return og_arena_printf(a, "{\"uuid\":\"%s%.*s\\n\\n%.*s%.*s", alert->card_uuid, (int)before,
                           rest.p, OG_STR_ARG(note), OG_STR_ARG(og_str_from(rest, before)));
}

/* What is shown again is said anew: a receiver would take the old revision for a repeat. */
static void show_again(og_arena *a, const plan_content *c, plan_alert *alert)
{
    plan_feedback *f = &alert->feedback;
    alert->revision++;
    name_card(a, alert);
    if (f->answer == PLAN_LAPSED)
        alert->card = noted_card(a, alert, plan_feedback_note(a, c, f));
    else
        alert->card = with_uuid(a, og_str_from(alert->card, sizeof "{\"uuid\":\"" - 1 + 36 + 1),
                                alert->card_uuid);
}

/* Has anybody said so? */
static bool is_word(plan_answer answer)
{
    return answer != PLAN_UNANSWERED && answer != PLAN_IGNORED;
}

bool plan_alert_answer(og_arena *a, const plan_content *c, const plan_alert *alert,
                       const plan_feedback *said, int64_t now_ms, plan_alert *ret)
{
    const plan_feedback *had = &alert->feedback;
    if (alert->state == PLAN_ALERT_RESOLVED ||
        (is_word(had->answer) && said->at_ms <= had->at_ms) ||
        (said->answer == PLAN_OVERRIDDEN && said->until_ms <= now_ms))
        return false;
    bool anew = had->answer == PLAN_UNANSWERED || had->answer == PLAN_LAPSED;
    *ret = *alert;
    ret->feedback = *said;
    ret->feedback.shown_ms = anew ? alert->changed_ms : had->shown_ms;
    ret->changed_ms = now_ms;
    if (alert->state == PLAN_ALERT_ACTIVE && plan_alert_is_silent(alert) &&
        !plan_alert_is_silent(ret))
        show_again(a, c, ret);
    return true;
}

bool plan_alert_lapse(og_arena *a, const plan_content *c, const plan_alert *alert, int64_t now_ms,
                      plan_alert *ret)
{
    if (alert->state != PLAN_ALERT_ACTIVE || !plan_alert_is_silent(alert) ||
        alert->feedback.until_ms > now_ms)
        return false;
    *ret = *alert;
    ret->feedback.answer = PLAN_LAPSED;
    ret->changed_ms = now_ms;
    show_again(a, c, ret);
    return true;
}

int64_t plan_alert_ignored_ms(const plan_alert *alert, int64_t after_ms)
{
    bool waits = alert->state != PLAN_ALERT_RESOLVED && alert->feedback.answer == PLAN_UNANSWERED;
    return waits && after_ms > 0 ? alert->changed_ms + after_ms : 0;
}

bool plan_alert_ignore(const plan_alert *alert, int64_t after_ms, int64_t now_ms, plan_alert *ret)
{
    int64_t at_ms = plan_alert_ignored_ms(alert, after_ms);
    if (at_ms == 0 || at_ms > now_ms)
        return false;
    *ret = *alert;
    ret->feedback =
        (plan_feedback){.answer = PLAN_IGNORED, .shown_ms = alert->changed_ms, .at_ms = at_ms};
    return true;
}

int64_t plan_content_override_days(const plan_content *c, og_str rule, og_str system, og_str code)
{
    for (size_t i = 0; i < c->rule_count; i++) {
        const plan__rule *r = &c->rules[i];
        for (size_t k = 0; og_str_eq(r->id, rule) && k < r->override_reason_count; k++)
            if (og_str_eq(r->override_reasons[k].code, code) &&
                og_str_eq(r->override_reasons[k].system, system))
                return r->override_reasons[k].days;
    }
    return -1;
}

/* ---- as text ---- */

static const char *const answer_names[] = {"", "accepted", "overridden", "lapsed", "ignored"};

static const char *const state_names[] = {"active", "resolved", "shown"};

static void write_feedback(og_buf *b, const plan_feedback *f)
{
    if (f->answer == PLAN_UNANSWERED)
        return;
    og_buf_addf(
        b, ",\"feedback\":{\"answer\":\"%s\",\"shown\":%lld,\"at\":%lld,\"until\":%lld,\"who\":",
        answer_names[f->answer], (long long)f->shown_ms, (long long)f->at_ms,
        (long long)f->until_ms);
    og_buf_add_json(b, f->who);
    og_buf_addz(b, ",\"system\":");
    og_buf_add_json(b, f->system);
    og_buf_addz(b, ",\"code\":");
    og_buf_add_json(b, f->code);
    og_buf_addc(b, '}');
}

#define HEAD_BYTES 1024 /* what stands before the card, mostly */

og_str plan_alert_write(og_arena *a, const plan_alert *alert)
{
    og_buf b;
    og_str text = {0};

    og_buf_init(&b, (size_t)64 << 20);
    og_buf_reserve(&b, alert->card.n + HEAD_BYTES);
    og_buf_addf(&b, "{\"id\":\"%s\",\"rule\":", alert->id);
    og_buf_add_json(&b, alert->rule);
    og_buf_addz(&b, ",\"slot\":");
    og_buf_add_json(&b, alert->slot);
    og_buf_addf(&b,
                ",\"state\":\"%s\",\"revision\":%u,\"material\":\"%016llx\",\"indicator\":\"%s\","
                "\"opened\":%lld,\"changed\":%lld,\"resolved\":%lld,\"uuid\":\"%s\",\"digest\":",
                state_names[alert->state], alert->revision, (unsigned long long)alert->material,
                plan__indicator_name(alert->indicator), (long long)alert->opened_ms,
                (long long)alert->changed_ms, (long long)alert->resolved_ms, alert->card_uuid);
    og_buf_add_json(&b, alert->digest);
    if (alert->worklist)
        og_buf_addz(&b, ",\"channel\":\"worklist\"");
    if (alert->hook.n > 0) {
        og_buf_addz(&b, ",\"hook\":");
        og_buf_add_json(&b, alert->hook);
    }
    if (alert->lost_ms != 0)
        og_buf_addf(&b, ",\"lost\":%lld", (long long)alert->lost_ms);
    write_feedback(&b, &alert->feedback);
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
    if (fhir_kind_of(e) != FHIR_STRING || !og_str_is_uuid(raw, false))
        return false;
    memcpy(ret, raw.p, 36);
    ret[36] = '\0';
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
    for (int i = PLAN_ALERT_ACTIVE; i <= PLAN_ALERT_SHOWN; i++)
        if (fhir_is(e, state_names[i])) {
            *ret = (plan_alert_state)i;
            return true;
        }
    return false;
}

static bool read_text(og_arena *a, fhir_elem e, og_str *ret)
{
    if (fhir_kind_of(e) != FHIR_STRING)
        return false;
    *ret = fhir_string(a, e);
    return true;
}

/* Absent: nobody has answered. */
static bool read_feedback(og_arena *a, fhir_elem o, plan_feedback *ret)
{
    if (!fhir_exists(o))
        return true;
    for (int i = PLAN_ACCEPTED; i <= PLAN_IGNORED; i++)
        if (fhir_is(fhir_get(o, "answer"), answer_names[i]))
            ret->answer = (plan_answer)i;
    fhir_elem shown = fhir_get(o, "shown"); /* was not written at first */
    return ret->answer != PLAN_UNANSWERED &&
           (!fhir_exists(shown) || fhir_int(shown, INT64_MIN, INT64_MAX, &ret->shown_ms)) &&
           fhir_int(fhir_get(o, "at"), INT64_MIN, INT64_MAX, &ret->at_ms) &&
           fhir_int(fhir_get(o, "until"), INT64_MIN, INT64_MAX, &ret->until_ms) &&
           read_text(a, fhir_get(o, "who"), &ret->who) &&
           read_text(a, fhir_get(o, "system"), &ret->system) &&
           read_text(a, fhir_get(o, "code"), &ret->code);
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
    if (!fhir_int(fhir_get(o, "revision"), 1, UINT32_MAX, &revision))
        return misread(err, "revision");
    if (!read_material(fhir_get(o, "material"), &x.material))
        return misread(err, "material");
    if (!read_indicator(fhir_get(o, "indicator"), &x.indicator))
        return misread(err, "indicator");
    x.worklist = fhir_is(fhir_get(o, "channel"), "worklist");
    if (x.state == PLAN_ALERT_SHOWN && !read_text(a, fhir_get(o, "hook"), &x.hook))
        return misread(err, "hook");
    if (!fhir_int(fhir_get(o, "opened"), INT64_MIN, INT64_MAX, &x.opened_ms))
        return misread(err, "opened");
    if (!fhir_int(fhir_get(o, "changed"), INT64_MIN, INT64_MAX, &x.changed_ms))
        return misread(err, "changed");
    if (!fhir_int(fhir_get(o, "resolved"), INT64_MIN, INT64_MAX, &x.resolved_ms))
        return misread(err, "resolved");
    if (!read_uuid(fhir_get(o, "uuid"), x.card_uuid))
        return misread(err, "uuid");
    if (!read_text(a, fhir_get(o, "digest"), &x.digest))
        return misread(err, "digest");
    if (fhir_exists(fhir_get(o, "lost")) &&
        !fhir_int(fhir_get(o, "lost"), 0, INT64_MAX, &x.lost_ms))
        return misread(err, "lost");
    if (!read_feedback(a, fhir_get(o, "feedback"), &x.feedback))
        return misread(err, "feedback");
    if (fhir_kind_of(fhir_get(o, "card")) != FHIR_OBJECT)
        return misread(err, "card");
    x.card = fhir_raw(fhir_get(o, "card"));
    x.revision = (uint32_t)revision;
    *ret = x;
    return OG_OK;
}
