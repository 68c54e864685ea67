/* Whose data are to be fetched from a FHIR server, because a first event or call of theirs has
 * come, and whose have been: rows of a partition's store, and marks on the records topic that they
 * come back from.
 *
 *   first record applied ─► wanted ─► all fetched and acknowledged ─► mark `done` ─► fetched
 *   first call           ─► mark `wanted` ─►
 *
 * Both marks of a patient are kept by compaction, so that `done` holds in whatever order they are
 * read. A store that is rebuilt from the topic wants again who has no mark `done`. */
#ifndef OG_DAEMON_BACKFILL_H
#define OG_DAEMON_BACKFILL_H

#include "daemon/store.h"

/* ---- marks: `backfill|wanted|tenant|patient`, `backfill|done|tenant|patient` ---- */

#define BACKFILL_MARK "backfill|"
bool backfill_is_mark(og_str key);
/* Key and value of a mark; the patient's route leads it to its partition. */
void backfill_write_mark(og_buf *key, og_buf *value, bool done, og_str tenant, og_str patient,
                         int64_t now_ms);
typedef struct backfill_mark {
    bool done; /* else: wanted */
    og_str tenant, patient;
} backfill_mark;
/* Slices borrow from key. False: it is none. */
bool backfill_read_mark(og_str key, backfill_mark *ret);

/* ---- rows ---- */

/* Is the patient, of one of these senders (names; "": of none), one that a server can be asked for?
 */
bool backfill_serves(const char *const *senders, size_t count, og_str patient);
/* Wants the patient's data unless they are wanted or fetched already; *ret_new: they were not. */
OG_MUSTCHECK og_status backfill_want(store_txn *t, og_str patient, bool *ret_new, og_error *err);
OG_MUSTCHECK og_status backfill_done(store_txn *t, og_str patient, og_error *err);
/* A mark was erased. */
OG_MUSTCHECK og_status backfill_forget(store_txn *t, const backfill_mark *m, og_error *err);
typedef enum backfill_state { BACKFILL_UNKNOWN, BACKFILL_WANTED, BACKFILL_FETCHED } backfill_state;
OG_MUSTCHECK og_status backfill_state_of(store_txn *t, og_str patient, backfill_state *ret,
                                         og_error *err);
/* Patients of one sender ("": of none) whose data are wanted, in byte order behind `after` (empty:
 * from the first), at most max. They live in a. */
OG_MUSTCHECK og_status backfill_list(store_txn *t, og_arena *a, const char *sender, og_str after,
                                     size_t max, const og_str **ret, size_t *ret_count,
                                     og_error *err);
/* Whose data are wanted, of all senders. */
OG_MUSTCHECK og_status backfill_count(store_txn *t, uint64_t *ret, og_error *err);

#endif
