/* What rules said of a patient last time, so that only those are asked again that can say something
 * else now: a note, some bytes that stand for themselves. Never needed: without one, all are asked.
 *
 * A rule that did not fire does not fire now either, as long as the day, the offset of the time
 * zone and the content are the same, the clock has not come to a moment that it looks at, and none
 * of the resources has come, changed or gone that the retrieves find which it came to: what it
 * would have read behind a condition that did not hold does not count. That is found out by
 * comparing the patient's view with the one of that time, so it does not matter on which way a view
 * came to be another one (events, merges, a shared Medication, a store that was lost), nor how old
 * a note is: it says what holds of a view, not of a patient.
 *
 * Rules that fired come out as they did when nothing has changed that their cards rest on either
 * and no other rule fires: all together, for what suppresses, merges and forbids sees all of them.
 * No card is kept for that, only which they were (plan_result.brief): who needs its words evaluates
 * once more without plan_patient.held.
 *
 * Who asks often about nearly the same view (plan_patient.keeps: the hooks) also gets the values of
 * definitions that none of what has changed matters to, from the second evaluation on.
 *
 * A note is believed by the program that wrote it alone, with the same content and for the same
 * tenant; nor does it leave the machine: numbers lie in it as they do in memory. What was evaluated
 * for a hook may be compared with what was evaluated for nobody, and the other way round. */
#ifndef OG_DAEMON_NOTE_H
#define OG_DAEMON_NOTE_H

#include "rules/plan/plan.h"

#define NOTE_MAX_BYTES 16384 /* without kept values; beyond it nothing is noted */

/* One evaluation, between look and write; lives in its arena. */
typedef struct note_view {
    const plan_content *content;
    uint64_t mark;          /* of who believes it */
    og_str before;          /* what was looked at; empty: nothing to be believed */
    const uint64_t *hashes; /* of the resources, store_view_hashed */
    size_t count;
    og_str kept;    /* values that still hold */
    uint64_t *sets; /* of retrieves, one behind the other; by number */
    size_t set_count;
    uint8_t *finders; /* of each resource: the number of its set; NULL: nothing can be noted */
    bool holds;       /* before does, of what was spared */
    int64_t as_of_ms, until_ms; /* until_ms: of what was spared */
    int offset_min;
} note_view;

/* Sets what p, whose resources have these hashes, may spare at as_of, what is held, and where p
 * keeps values, those that hold, or that they are not to be kept yet, by what was noted before (any
 * bytes, aligned to 8; borrowed as long as *ret); *ret is for note_make. program names what
 * evaluates; NULL: nothing is spared or noted. */
void note_look(og_arena *a, const char *program, const plan_content *c, plan_patient *p,
               const uint64_t *hashes, og_str before, int64_t as_of_ms, int offset_min,
               note_view *ret);
/* The note of what came of it, in a; v->before itself where that says the same. {NULL,0}: nothing
 * can be noted, and what was before does no harm. Of somebody of whom there is nothing only what
 * is the same of all of those: then no rule fires. Where it would be larger than room, the values
 * are the first that it does without. */
og_str note_make(og_arena *a, const note_view *v, const plan_result *result, size_t room);

#endif
