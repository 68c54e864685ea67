/* Notes (note.h) of what CDS Hooks calls have evaluated, in memory alone: what was sent along is in
 * no store. Each for a hook and a patient, with the values that were kept; what was not looked at
 * for longest is forgotten.
 *
 * Patients of whom nothing is there share a note: one for whom a call has shown a card, for
 * instance, and who is not otherwise known. For any thread, several at once. */
#ifndef OG_DAEMON_RECALL_H
#define OG_DAEMON_RECALL_H

#include "rules/plan/plan.h"

typedef struct recall recall;

recall *recall_new(size_t max_bytes); /* caller owns; NULL: no memory */
void recall_free(recall *m);          /* accepts NULL */

/* What was noted for this hook and patient, in a; empty: nothing, or m is NULL. */
og_str recall_find(recall *m, og_arena *a, const plan_patient *p);
/* Notes it in place of what was noted before; an empty one, and one larger than recall_room, only
 * takes that away. m may be NULL. */
void recall_keep(recall *m, const plan_patient *p, og_str note);

/* Bytes of the largest note; 0: m is NULL. */
size_t recall_room(const recall *m);
/* Memory in use; not more than max_bytes. */
size_t recall_bytes(recall *m);

#endif
