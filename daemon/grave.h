/* What is deleted is remembered for a while, so that an older version that comes late stays
 * deleted; not for ever (STREAM 3.1). Each tombstone, of a resource or a place, is noted with the
 * moment at which the log got it. When that is long enough ago, the topic gets a tombstone of
 * Kafka's for the key, and the row goes when this is read back: something newer that was written
 * meanwhile stands before it in the log, and is written behind it again, by whoever owns the
 * partition then: who decided the removal may be gone before it is read back. */
#ifndef OG_DAEMON_GRAVE_H
#define OG_DAEMON_GRAVE_H

#include "daemon/store.h"

/* The header of a removal that a daemon has decided on. Whoever else writes a null value may mean
 * something that lives, as when a patient's data are erased. */
#define GRAVE_HEADER "osteoguard-removal"

/* The store has just taken this tombstone. logged_ms: timestamp of its message. */
OG_MUSTCHECK og_status grave_note_record(store_txn *t, const record *r, int64_t logged_ms,
                                         og_error *err);
OG_MUSTCHECK og_status grave_note_place(store_txn *t, const record *r, int64_t logged_ms,
                                        og_error *err);
/* Up to max of those that the log got before before_ms: their removal becomes an errand. */
OG_MUSTCHECK og_status grave_open(store_txn *t, og_arena *a, int64_t before_ms, size_t max,
                                  og_error *err);
/* A message without value was read: if it is a removal of ours, the row goes (*ret_gone) or is
 * written again. If it is another owner's (decided), what lives is written again. Any other is
 * passed over. */
OG_MUSTCHECK og_status grave_close(store_txn *t, og_arena *scratch, og_str key, int64_t offset,
                                   bool decided, bool *ret_gone, og_error *err);

#endif
