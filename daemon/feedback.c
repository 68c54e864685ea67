/* Feedback as a record, and back. */
#include "daemon/feedback.h"

#include <inttypes.h>

#define DAY_MS  ((int64_t)86400000)
#define HOUR_MS ((int64_t)3600000)

static void add_text(og_buf *b, const char *name, og_str s)
{
    if (s.n == 0)
        return;
    og_buf_addf(b, ",\"%s\":", name);
    og_buf_add_json(b, s);
}

void feedback_write(og_buf *key, og_buf *value, og_str tenant, uint32_t source_epoch, og_str who,
                    const hook_feedback *f, int64_t now_ms)
{
    int64_t at_ms = f->at_us / 1000 > now_ms ? now_ms : f->at_us / 1000;
    og_buf body;
    og_buf_init(&body, (size_t)1 << 16);
    og_buf_addf(&body,
                "{\"resourceType\":\"" STORE_FEEDBACK
                "\",\"id\":\"%s\",\"outcome\":\"%s\",\"at\":%" PRId64,
                f->card, f->accepted ? "accepted" : "overridden", at_ms);
    add_text(&body, "who", who);
    add_text(&body, "system", f->system);
    add_text(&body, "code", f->code);
    add_text(&body, "comment", f->comment);
    og_buf_addc(&body, '}');
    /* offset: of two words with the same time the one that came later counts */
    record r = {.tenant = tenant,
                .type = OG_STR(STORE_FEEDBACK),
                .id = og_str_of(f->card),
                .order = {.epoch = source_epoch, .time_us = at_ms * 1000, .offset = now_ms},
                .topic = OG_STR("feedback"),
                .timestamp_ms = now_ms,
                .of = 1,
                .body = og_buf_str(&body)};
    r.order.topic = og_crc32c(0, r.topic.p, r.topic.n);
    record_write_key(key, &r);
    record_write_value(value, &r);
    if (og_buf_failed(&body))
        value->failed = true;
    og_buf_done(&body);
}

static og_status find_one(store_txn *shared, og_arena *a, const char *uuid, plan_feedback *ret,
                          og_error *err)
{
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    if (doc == NULL)
        return og_fail(err, OG_NOMEM, "no memory for feedback");
    og_status status = store_resource(shared, a, (og_str){NULL, 0}, OG_STR(STORE_FEEDBACK),
                                      og_str_of(uuid), doc, err);
    if (status != OG_OK)
        return status;
    fhir_elem o = fhir_root(doc);
    int64_t at = 0;
    (void)fhir_int(fhir_get(o, "at"), INT64_MIN, INT64_MAX, &at);
    plan_feedback f = {.answer = fhir_is(fhir_get(o, "outcome"), "accepted") ? PLAN_ACCEPTED
                                                                             : PLAN_OVERRIDDEN,
                       .who = og_arena_str(a, fhir_string(a, fhir_get(o, "who"))),
                       .system = og_arena_str(a, fhir_string(a, fhir_get(o, "system"))),
                       .code = og_arena_str(a, fhir_string(a, fhir_get(o, "code"))),
                       .at_ms = at};
    *ret = f;
    return OG_OK;
}

static int64_t end_of(const feedback_policy *policy, const plan_content *c,
                      const feedback_about *about, const plan_feedback *f)
{
    int64_t days =
        f->code.n > 0 ? plan_content_override_days(c, about->rule, f->system, f->code) : -1;
    int64_t ms = (days >= 0 ? days : policy->days) * DAY_MS;
    int64_t most = policy->critical_hours * HOUR_MS;
    return f->at_ms + (about->indicator == PLAN_CRITICAL && ms > most ? most : ms);
}

og_status feedback_find(store_txn *shared, og_arena *a, const feedback_policy *policy,
                        const plan_content *c, const feedback_about *about, plan_feedback *ret,
                        og_error *err)
{
    char names[3][UUID_TEXT];
    plan_feedback f = {0}, one = {0};
    bool found = false;
    store_finding_uuid(about->alert_id, about->material, names[0]);
    store_former_finding_uuid(about->alert_id, about->material, names[1]);
    snprintf(names[2], sizeof names[2], "%s", about->card_uuid);
    for (int i = 0; i < 3; i++) {
        og_status status =
            names[i][0] != '\0' ? find_one(shared, a, names[i], &one, err) : OG_NOTFOUND;
        if (status != OG_OK && status != OG_NOTFOUND)
            return status;
        if (status == OG_OK && (!found || one.at_ms >= f.at_ms))
            f = one;
        found |= status == OG_OK;
    }
    if (!found)
        return OG_NOTFOUND;
    if (f.answer == PLAN_OVERRIDDEN)
        f.until_ms = end_of(policy, c, about, &f);
    *ret = f;
    return OG_OK;
}

/* ---- what it makes of alerts ---- */

typedef struct hearing {
    store_txn *shared;
    og_arena *a;
    const feedback_policy *policy;
    const plan_content *content;
    int64_t now_ms;
    bool gated;
    int64_t *review_ms;
} hearing;

static int64_t ignored_after_ms(const hearing *h)
{
    return h->policy->ignored_days * DAY_MS;
}

/* The alert with what has been said about its card; *ret_news: it is another one now. */
static og_status hear(const hearing *h, const plan_alert *alert, plan_alert *ret, bool *ret_news,
                      og_error *err)
{
    plan_feedback said;
    plan_alert answered;
    *ret = *alert;
    *ret_news = false;
    if (h->shared == NULL || alert->state == PLAN_ALERT_RESOLVED)
        return OG_OK;
    feedback_about about = {alert->rule, alert->id, alert->card_uuid, alert->material,
                            alert->indicator};
    og_status status = feedback_find(h->shared, h->a, h->policy, h->content, &about, &said, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    if (status == OG_OK && plan_alert_answer(h->a, h->content, ret, &said, h->now_ms, &answered)) {
        *ret = answered;
        *ret_news = true;
    }
    if (plan_alert_lapse(h->a, h->content, ret, h->now_ms, &answered)) {
        *ret = answered;
        *ret_news = true;
    }
    if (!h->gated && plan_alert_ignore(ret, ignored_after_ms(h), h->now_ms, &answered)) {
        *ret = answered;
        *ret_news = true;
    }
    return OG_OK;
}

static const plan_change *change_of(const plan_change *list, size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i].alert.id, id) == 0)
            return &list[i];
    return NULL;
}

static void look_again(const hearing *h, const plan_alert *alert)
{
    bool silent = alert->state == PLAN_ALERT_ACTIVE && plan_alert_is_silent(alert);
    int64_t at =
        silent ? alert->feedback.until_ms : plan_alert_ignored_ms(alert, ignored_after_ms(h));
    if (at > 0 && (*h->review_ms == 0 || at < *h->review_ms))
        *h->review_ms = at;
}

og_status feedback_hear(store_txn *shared, og_arena *a, const feedback_policy *policy,
                        const plan_content *c, int64_t now_ms, bool gated, const plan_alert *open,
                        size_t open_count, const plan_change **list, size_t *count,
                        int64_t *review_ms, og_error *err)
{
    const hearing h = {shared, a, policy, c, now_ms, gated, review_ms};
    plan_change *all = og_arena_zalloc(a, *count + open_count + 1, sizeof *all);
    og_status status = OG_OK;
    size_t n = 0;
    bool news;
    if (all == NULL)
        return og_fail(err, OG_NOMEM, "no memory for what was said about alerts");
    for (; status == OG_OK && n < *count; n++) {
        all[n] = (*list)[n];
        status = hear(&h, &(*list)[n].alert, &all[n].alert, &news, err);
        look_again(&h, &all[n].alert);
    }
    for (size_t i = 0; status == OG_OK && i < open_count; i++) {
        if (change_of(*list, *count, open[i].id) != NULL)
            continue;
        all[n].kind = PLAN_ANSWERED;
        status = hear(&h, &open[i], &all[n].alert, &news, err);
        look_again(&h, &all[n].alert);
        n += status == OG_OK && news;
    }
    if (status == OG_OK && og_arena_failed(a))
        status = og_fail(err, OG_NOMEM, "no memory for what was said about alerts");
    if (status != OG_OK)
        return status;
    *list = all;
    *count = n;
    return OG_OK;
}
