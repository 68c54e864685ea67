/* Merged patients (Patient.link): the survivor has all, the other none (STREAM 3.7).
 *
 * A patient keeps its own rows, whichever partition it is on, and sends the survivor copies of them
 * (record.h), of every change as well, as long as the link stands:
 *
 *   Patient/old, link replaced-by new     old's owner sends every row to new
 *   Patient/new, link replaces old        new's owner says so to old; then the same
 *   the link is gone                      tombstones of all copies
 *
 * Copies are sent on where the survivor is merged itself, and carry the way that they came, so that
 * no row comes twice and none goes in circles. Beside the rows goes a mark: who gets its own back
 * knows that the links go in a circle, and the one with the first id in it stays.
 *
 * All of it is derived from the records alone, in the order of the partition's log; what it derives
 * becomes errands. A rebuild derives the same again, and who has it already finds it stale: a
 * copy's round is the offset of the record that it follows from. */
#ifndef OG_DAEMON_MERGE_H
#define OG_DAEMON_MERGE_H

#include "daemon/store.h"

#define MERGE_MAX_WAY 8 /* patients that a copy goes through */

typedef struct merge_counts {
    uint64_t merged, separated; /* patients */
    uint64_t circles;           /* patients that stay because their links go in a circle */
    uint64_t copies;            /* sent, tombstones too */
    uint64_t too_far;           /* not sent: through too many patients */
} merge_counts;

/* Takes a record that store_apply has just found to be news. offset: where it stands. a
 * grows; scratch is reset: r is not to be used afterwards. */
OG_MUSTCHECK og_status merge_apply(store_txn *t, og_arena *a, og_arena *scratch, const record *r,
                                   int64_t offset, merge_counts *counts, og_error *err);

#endif
