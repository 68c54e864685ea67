/* Cards that a call of the CDS services was answered with and no alert stands behind: a draft's, or
 * of data that the call brought. So that they count in reports and metrics, each finding is written
 * once to the alerts topic, as an alert with the state PLAN_ALERT_SHOWN whose id is the card's uuid
 * (store_finding_uuid). Any instance writes it, without an epoch; the owner of the partition takes
 * it over (said.h), hears what people say about it, and forgets it when its time is over or an
 * alert opens with the same finding. No endpoint is told of it. */
#ifndef OG_DAEMON_SHOWN_H
#define OG_DAEMON_SHOWN_H

#include "daemon/feedback.h"

/* The card of a call, under this uuid: of the words only the summary. Borrows; the rest lives in a,
 * where no memory shows (og_arena_failed). */
plan_alert shown_of(og_arena *a, const plan_content *c, const plan_card *card, const char *uuid,
                    og_str hook, int64_t now_ms);

/* Is one of these alerts open with the finding that a card with this uuid shows? */
bool shown_is_alert(const plan_alert *alerts, size_t count, const char *uuid);

/* All of a patient's, at an evaluation. */
typedef struct shown_list {
    const plan_alert *heard; /* the alerts, and behind them what still counts */
    size_t heard_count;
    const plan_alert *over; /* to be forgotten */
    size_t over_count;
    int64_t end_ms; /* when the next one is over; 0: none is there */
} shown_list;

/* open: the stored alerts; changes: what becomes of them. Lives in a, borrows from open. OG_NOMEM,
 * or what the store says. */
OG_MUSTCHECK og_status shown_sort(store_txn *t, og_arena *a, const feedback_policy *policy,
                                  int64_t now_ms, og_str patient, const plan_alert *open,
                                  size_t open_count, const plan_change *changes,
                                  size_t change_count, shown_list *ret, og_error *err);

#endif
