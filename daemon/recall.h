/* What rules said of patients last time, so that only those are asked again that can say something
 * else now. In memory alone, and never needed: what is forgotten is asked again.
 *
 * A rule that did not fire does not fire now either, as long as the day, the offset of the time
 * zone and the content are the same, the clock has not come to a moment that it looks at, and none
 * of the resources has come, changed or gone that the retrieves find which it came to: what it
 * would have read behind a condition that did not hold does not count. That is found out by
 * comparing the patient's view with the one of that time, so it does not matter on which way a view
 * came to be another one (events, merges, a shared Medication, a store that was lost), nor whether
 * the batch that asked was committed: a note says what holds of a view, not of a patient.
 *
 * Rules that fired come out as they did when nothing has changed that their cards rest on either
 * and no other rule fires: all together, for what suppresses, merges and forbids sees all of them.
 * No card is kept for that, only which they were (plan_result.brief): who needs its words evaluates
 * once more without plan_patient.held.
 *
 * Patients of whom nothing is there share a note when no rule fires: one for whom a call has shown
 * a card, for instance, and who is not otherwise known.
 *
 * Who asks often about nearly the same view (plan_patient.keeps: the hooks) also gets the values of
 * definitions that none of what has changed matters to, from the second evaluation on.
 *
 * What was evaluated for a hook (plan_patient.hook) is noted beside what was evaluated for nobody:
 * the view of a call has what was sent along. The first call for a hook is compared with the
 * patient's own view, which it mostly resembles. For any thread, several at once. */
#ifndef OG_DAEMON_RECALL_H
#define OG_DAEMON_RECALL_H

#include "rules/plan/plan.h"

typedef struct recall recall;

recall *recall_new(size_t max_bytes); /* caller owns; NULL: no memory */
void recall_free(recall *m);          /* accepts NULL */

/* One evaluation, between look and keep; lives in its arena. */
typedef struct recall_view {
    og_str key;             /* of the patient, or of the hook and the patient */
    const uint64_t *hashes; /* of the resources, store_view_hashed */
    uint16_t *finders;      /* of each resource: a number for its set; NULL: nothing can be kept */
    uint16_t *reads;        /* of each rule, as it was spared: a number for its set */
    og_str kept;            /* values that still hold */
    size_t count;
    uint64_t round;             /* of the content, which the numbers belong to */
    int64_t as_of_ms, until_ms; /* until_ms: of what was spared */
    int offset_min;
} recall_view;

/* Sets what p, whose resources have these hashes, may spare at as_of, what is held, and where p
 * keeps values, those that hold, or that they are not to be kept yet; *ret is for recall_keep. m
 * may be NULL: then nothing is spared or kept. Lives in a. */
void recall_look(recall *m, og_arena *a, const plan_content *c, plan_patient *p,
                 const uint64_t *hashes, int64_t as_of_ms, int offset_min, recall_view *ret);
/* Notes what came of it, in place of what was noted of this patient; where there is no room, what
 * was not looked at for longest is forgotten. */
void recall_keep(recall *m, const plan_content *c, const recall_view *v, const plan_result *result);

/* Memory in use; not more than max_bytes. */
size_t recall_bytes(recall *m);

#endif
