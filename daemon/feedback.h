/* What people say about cards (CDS Hooks feedback): one record per card on the shared topic, which
 * every instance reads, since feedback names no patient. Key `tenant||Feedback/card uuid`, value as
 * of any record, with this resource:
 *
 *   {"resourceType":"Feedback","id":"…","outcome":"overridden","at":1772352000000,"who":"ehr",
 *    "system":"…","code":"…","comment":"…"}
 *
 * Its version is the outcome's time: said twice counts once, and the newest word counts. An alert
 * refers to the feedback on its card (store_put_alert), so that it wakes the patient. */
#ifndef OG_DAEMON_FEEDBACK_H
#define OG_DAEMON_FEEDBACK_H

#include "daemon/hook_request.h"
#include "daemon/store.h"

typedef struct feedback_policy {
    int64_t days;           /* an override holds, unless the rule says otherwise for its reason */
    int64_t critical_hours; /* but of a critical card never longer than this */
    int64_t ignored_days;   /* without a word an alert counts as ignored after this; 0: never */
    int64_t shown_days;     /* what a call alone has shown is remembered so long (shown.h) */
} feedback_policy;

/* Appends the record of one entry. who: the client, may be empty. A time in the future becomes
 * now_ms, when it came. */
void feedback_write(og_buf *key, og_buf *value, og_str tenant, uint32_t source_epoch, og_str who,
                    const hook_feedback *f, int64_t now_ms);

typedef struct feedback_about { /* a finding that has a card */
    og_str rule;
    const char *alert_id, *card_uuid; /* card_uuid "": it is not stored */
    uint64_t material;
    plan_indicator indicator;
} feedback_about;

/* The newest word about it, with the end of an override. OG_NOTFOUND: there is none. Lives in a. */
OG_MUSTCHECK og_status feedback_find(store_txn *shared, og_arena *a, const feedback_policy *policy,
                                     const plan_content *c, const feedback_about *about,
                                     plan_feedback *ret, og_error *err);

/* What a comparison found (plan_alert_compare), with what people have said in it: *list becomes the
 * changes with their feedback, behind them alerts, or what a call has shown among `open`, that
 * feedback alone changes (PLAN_ANSWERED). An
 * override that ends earlier, or patience that does, moves *review_ms. gated: a word may be on its
 * way, so nothing counts as ignored. shared may be NULL: nothing was said. Lives in a.
 * OG_NOMEM, or what the store says. */
OG_MUSTCHECK og_status feedback_hear(store_txn *shared, og_arena *a, const feedback_policy *policy,
                                     const plan_content *c, int64_t now_ms, bool gated,
                                     const plan_alert *open, size_t open_count,
                                     const plan_change **list, size_t *count, int64_t *review_ms,
                                     og_error *err);

#endif
