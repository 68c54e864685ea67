/* The store: what one partition of the records topic says, as evaluation wants it. An image of the
 * log, never the only copy (STREAM 3.4): it may be thrown away at any time and is rebuilt from the
 * topic.
 *
 * One kv per partition. Rows (\0 to \6 are bytes that no id of a patient holds; what is read and
 * written for an event of a patient lies on few pages so):
 *
 *   patient    patient \0 Type/id                 a resource: head (order, deleted, hash, source),
 *                                                image (packed.h);
 *                                                a copy (merge.h): Type/id and its way (record.h)
 *              patient \1 card uuid               of what only calls have shown: as an alert
 *              patient \2 endpoint                number (text) of the last delivery
 *              patient \3 alert id \0 endpoint    delivery.h: the endpoint has been told
 *              patient \4 number (1 byte)         a part of the patient's note (note.h)
 *              patient \5 alert id                an alert: plan_alert_write (packed.h)
 *              patient \6                         due (text), to find the old index row
 *   delivery   endpoint \0 patient \0 alert id    delivery.h: it is to be told; empty as a rule
 *   due        due (8 bytes, big-endian) patient  - (timer index, for the sweep)
 *   reference  Type/id \0 patient \0 Type/id      - (shared resource: who refers to it; an alert
 *                                                refers to the feedback on its cards: that
 *                                                row's Type/id ends with their first 8 digits)
 *   dirty      patient                            offset (text), or waiting.h: to be evaluated
 *   outgoing   patient \0 Type/id                 mark (text): to be written to the topic again
 *   place      Type/id                            place.h
 *   merge      patient; patient \0 other          merge.h
 *   grave      moment, row                        grave.h
 *   errand     number                             errand.h
 *   wanted     sender ~ patient                   backfill.h
 *   fetched    sender ~ patient                   backfill.h
 *   meta       name                               text
 *
 * The store of the shared topic has the same tables; its resources have the empty patient, and due
 * and \6 say for Type/id where on the topic it last changed. */
#ifndef OG_DAEMON_STORE_H
#define OG_DAEMON_STORE_H

#include "daemon/kv.h"
#include "daemon/record.h"
#include "daemon/uuid.h"
#include "rules/plan/plan.h"

typedef kv store;
typedef kv_txn store_txn;

typedef enum store_table {
    STORE_PATIENT,
    STORE_DELIVERY,
    STORE_DUE,
    STORE_REFERENCE,
    STORE_DIRTY,
    STORE_OUTGOING,
    STORE_PLACE,
    STORE_MERGE,
    STORE_GRAVE,
    STORE_ERRAND,
    STORE_WANTED,
    STORE_FETCHED,
    STORE_META,
    STORE_TABLES
} store_table;

/* The kinds of a patient's rows: the byte behind its id in the key. */
typedef enum store_row {
    STORE_ROW_RESOURCE,
    STORE_ROW_SHOWN,
    STORE_ROW_SEQUENCE,
    STORE_ROW_TOLD,
    STORE_ROW_NOTE,
    STORE_ROW_ALERT,
    STORE_ROW_REVIEW,
    STORE_ROWS /* a byte behind all of them */
} store_row;

/* The folder of one store below a daemon's store directory: name is the partition's number,
 * "shared" or "ids". False: too long. */
bool store_path(const char *root, int64_t partitions, const char *name, char *out, size_t size);

/* Opens the store in dir. OG_CORRUPT: discard it and open again. map_bytes: kv_options. boot_id
 * NULL: the machine's. */
OG_MUSTCHECK og_status store_open(const char *dir, size_t map_bytes, bool sync_each,
                                  const char *boot_id, store **ret, og_error *err);

/* As kv_open_to_read. */
OG_MUSTCHECK og_status store_open_to_read(const char *dir, store **ret, og_error *err);

static inline og_status store_begin(store *s, bool write, store_txn **ret, og_error *err)
{
    return kv_begin(s, write, ret, err);
}
/* Records, alerts, deliveries, due reviews and the offset: all or none. */
static inline og_status store_commit(store_txn *t, og_error *err)
{
    return kv_commit(t, err);
}
static inline void store_abort(store_txn *t)
{
    kv_abort(t);
}

/* ---- resources ---- */

/* The row that a record of this patient has; name is `Type/id`, of a copy with its way behind it.
 */
typedef struct store_key {
    char p[KV_MAX_KEY + 1];
    size_t n;
} store_key;
void store_row_key(store_key *out, og_str patient, og_str name);
/* Of a row of the patient table: whose it is, and whether it is of this kind. */
og_str store_patient_of(og_str row);
bool store_row_is(og_str row, store_row kind);
/* Of a resource's row: its version, and whether it is deleted. OG_NOTFOUND. */
OG_MUSTCHECK og_status store_version(store_txn *t, og_str row, record_order *ret, bool *ret_deleted,
                                     og_error *err);
/* What the store has is to be written to the topic again. */
OG_MUSTCHECK og_status store_reassert(store_txn *t, og_str row, int64_t mark, og_error *err);

typedef enum store_applied {
    STORE_APPLIED, /* written; evaluation can see a difference */
    STORE_SAME,    /* written, but only the version is newer: nothing to evaluate */
    STORE_STALE,   /* the store has this version */
    STORE_OUTDATED /* the store has a newer version */
} store_applied;

/* Writes a record unless the store has it in the same or a newer version (STREAM 3.2). doc is the
 * decoded body, NULL when the record is deleted (a tombstone with its version stays). scratch is
 * for the call.
 *
 * Compaction keeps the last record of a key, not the newest: whoever finds an outdated one behind a
 * newer one has to write the newer one again (the outgoing table), until it stands last. The same
 * where the delete of a shared resource has outdone (record_outdo) what the topic says. mark is
 * where the record stood. */
OG_MUSTCHECK og_status store_apply(store_txn *t, og_arena *scratch, const record *r,
                                   const fhir_doc *doc, int64_t mark, store_applied *ret,
                                   og_error *err);

/* What is listed to be written at a time: it ends with what passes this. */
#define STORE_SEND_BYTES ((size_t)4 << 20)

/* Something to be written to the topic; lives in the arena. */
typedef struct store_outgoing {
    og_str row;   /* its key in the outgoing table */
    int64_t mark; /* store_sent takes the row away when it still has this */
    record record;
} store_outgoing;
/* Up to max of them, or STORE_SEND_BYTES, in order of their keys. tenant is that of the records. */
OG_MUSTCHECK og_status store_to_send(store_txn *t, og_arena *a, og_str tenant, size_t max,
                                     store_outgoing **ret, size_t *ret_count, og_error *err);
OG_MUSTCHECK og_status store_sent(store_txn *t, og_str row, int64_t mark, og_error *err);
OG_MUSTCHECK og_status store_outgoing_count(store_txn *t, uint64_t *ret, og_error *err);

/* All that is known of a patient and not deleted, by Type/id in order (kv_key.h), then the shared
 * resources that it refers to, also indirectly (shared may be NULL). Nothing of a patient who was
 * merged into another; of a resource that came in copies, too, the newest. Documents live in a. */
OG_MUSTCHECK og_status store_view(store_txn *t, store_txn *shared, og_arena *a, og_str patient,
                                  const fhir_resource **ret, size_t *ret_count, og_error *err);
/* The same with a hash of each one's text: where it is the same, so is the resource. */
OG_MUSTCHECK og_status store_view_hashed(store_txn *t, store_txn *shared, og_arena *a,
                                         og_str patient, const fhir_resource **ret,
                                         const uint64_t **ret_hashes, size_t *ret_count,
                                         og_error *err);

/* Whether there is any row of a resource of this patient, a deleted one's too. */
OG_MUSTCHECK og_status store_knows(store_txn *t, og_str patient, bool *ret, og_error *err);

/* One resource that is not deleted; patient is empty in the shared store. As store_view's.
 * OG_NOTFOUND.
 */
OG_MUSTCHECK og_status store_resource(store_txn *t, og_arena *a, og_str patient, og_str type,
                                      og_str id, fhir_doc *ret, og_error *err);

/* Ids of patients that have any row of a resource, in order (kv_key.h), behind `after` (empty: from
 * the first), at most max; one seek for each patient, also of those who have other rows only. */
OG_MUSTCHECK og_status store_patients(store_txn *t, og_arena *a, og_str after, size_t max,
                                      const og_str **ret, size_t *ret_count, og_error *err);

/* The same, and those who have alerts but nothing else: all they had was deleted long ago. */
OG_MUSTCHECK og_status store_all_patients(store_txn *t, og_arena *a, og_str after, size_t max,
                                          const og_str **ret, size_t *ret_count, og_error *err);

/* Patients whose resources refer to this shared resource, in order (kv_key.h), behind `after`
 * (empty: from the first), at most max. Of feedback: whose alerts it may be about; among very many
 * alerts some begin alike. */
OG_MUSTCHECK og_status store_referrers(store_txn *t, og_arena *a, og_str type_id, og_str after,
                                       size_t max, const og_str **ret, size_t *ret_count,
                                       og_error *err);

/* In the store of the shared topic: a resource is another one since the topic's offset before
 * `next`. */
OG_MUSTCHECK og_status store_note_change(store_txn *t, og_str type_id, int64_t next, og_error *err);
/* Up to max Type/ids of those that changed behind the offset `after` (as a next offset; 0: all), in
 * order. *ret_last: the last one's next offset. */
OG_MUSTCHECK og_status store_changes(store_txn *t, og_arena *a, int64_t after, size_t max,
                                     const og_str **ret, size_t *ret_count, int64_t *ret_last,
                                     og_error *err);

/* Visits patient and Type/id of every resource, deleted ones too. */
typedef og_status store_visit(void *ctx, og_str patient, og_str type_id, const record_order *order,
                              bool deleted, og_error *err);
OG_MUSTCHECK og_status store_each_resource(store_txn *t, store_visit *fn, void *ctx, og_error *err);

/* Visits a patient's rows whose Type/id begins with type as records, deleted ones and copies too;
 * fn may write to the store. Keys live in a; scratch is reset before each visit and holds the
 * record. */
typedef og_status store_record_fn(void *ctx, const record *r, og_error *err);
OG_MUSTCHECK og_status store_each_record(store_txn *t, og_arena *a, og_arena *scratch,
                                         og_str tenant, og_str patient, og_str type,
                                         store_record_fn *fn, void *ctx, og_error *err);

/* True for a type that belongs to no patient compartment but that a patient's resources may refer
 * to. */
bool store_is_shared_type(og_str type);

/* ---- merged patients: merge.h says what it means ---- */

typedef struct store_merged {
    og_str into; /* the survivor; empty: it is not merged */
    bool stays;  /* it survives itself, because the links go in a circle */
} store_merged;
/* Lives in a. OG_NOTFOUND: the patient is not merged. */
OG_MUSTCHECK og_status store_merge(store_txn *t, og_arena *a, og_str patient, store_merged *ret,
                                   og_error *err);
OG_MUSTCHECK og_status store_set_merge(store_txn *t, og_str patient, const store_merged *m,
                                       og_error *err);
/* OG_OK: what it had is another's now. OG_NOTFOUND: it is nobody's but its own. */
OG_MUSTCHECK og_status store_is_merged(store_txn *t, og_str patient, og_error *err);

/* ---- alerts ---- */

/* All alerts of a patient, resolved ones too, but none that a call has shown. They live in a. */
OG_MUSTCHECK og_status store_alerts(store_txn *t, og_arena *a, og_str patient,
                                    const plan_alert **ret, size_t *ret_count, og_error *err);
/* All that calls alone have shown of a patient (PLAN_ALERT_SHOWN). Likewise. */
OG_MUSTCHECK og_status store_shown(store_txn *t, og_arena *a, og_str patient,
                                   const plan_alert **ret, size_t *ret_count, og_error *err);
/* One alert, or one that a call has shown; OG_NOTFOUND. */
OG_MUSTCHECK og_status store_alert(store_txn *t, og_arena *a, og_str patient, const char *alert_id,
                                   plan_alert *ret, og_error *err);
/* Feedback on its cards wakes the patient from now on (store_referrers), whatever their revision.
 */
OG_MUSTCHECK og_status store_put_alert(store_txn *t, og_arena *a, og_str patient,
                                       const plan_alert *alert, og_error *err);
/* The same for whoever has its text (plan_alert_write) already. */
OG_MUSTCHECK og_status store_put_alert_text(store_txn *t, og_arena *a, og_str patient,
                                            const plan_alert *alert, og_str text, og_error *err);
/* One that a call has shown is forgotten; nothing happens when it is not there. a is for the call.
 */
OG_MUSTCHECK og_status store_forget_shown(store_txn *t, og_arena *a, og_str patient, const char *id,
                                          og_error *err);
/* The uuid of a card that a call is answered with, where the finding differs from what is stored:
 * the same for the same finding (plan_alert_mark_name). */
void store_finding_uuid(const char *alert_id, uint64_t material, char out[UUID_TEXT]);
/* As versions before osteoguard-store-7 named it: their overrides still hold. */
void store_former_finding_uuid(const char *alert_id, uint64_t material, char out[UUID_TEXT]);

/* The row that says what an endpoint has been told of an alert, beside the alert: what belongs to a
 * patient's alerts lies on one page, if it can. */
void store_told_key(store_key *out, og_str patient, const char *alert_id, og_str endpoint);

/* ---- what the last evaluation said (note.h) ---- */

/* Lives in a, aligned to 8; empty: there is none, or it is damaged. It is true of the state that it
 * was put with, or of none: it is never needed. */
OG_MUSTCHECK og_status store_get_note(store_txn *t, og_arena *a, og_str patient, og_str *ret,
                                      og_error *err);
/* In place of the one before; empty: none. At most NOTE_MAX_BYTES. */
OG_MUSTCHECK og_status store_put_note(store_txn *t, og_str patient, og_str note, og_error *err);

/* ---- who is to be evaluated, and when ---- */

/* To be evaluated at once, unless it waits already (waiting.h); until store_clear_dirty. */
OG_MUSTCHECK og_status store_mark_dirty(store_txn *t, og_str patient, int64_t offset,
                                        og_error *err);
OG_MUSTCHECK og_status store_clear_dirty(store_txn *t, og_str patient, bool *ret_was,
                                         og_error *err);
OG_MUSTCHECK og_status store_dirty_count(store_txn *t, uint64_t *ret, og_error *err);

/* The patient's next review at due_ms; 0: none. Replaces the one before. */
OG_MUSTCHECK og_status store_set_review(store_txn *t, og_str patient, int64_t due_ms,
                                        og_error *err);
/* Up to max patients whose review is due at now_ms, the longest overdue first. */
OG_MUSTCHECK og_status store_due(store_txn *t, og_arena *a, int64_t now_ms, size_t max,
                                 const og_str **ret, size_t *ret_count, og_error *err);
/* When the next review is due; 0: none is. */
OG_MUSTCHECK og_status store_next_due(store_txn *t, int64_t *ret, og_error *err);

/* ---- the rest ---- */

/* OG_NOTFOUND when it is not set. */
OG_MUSTCHECK og_status store_meta_int(store_txn *t, const char *name, int64_t *ret, og_error *err);
OG_MUSTCHECK og_status store_set_meta_int(store_txn *t, const char *name, int64_t value,
                                          og_error *err);
OG_MUSTCHECK og_status store_meta(store_txn *t, const char *name, og_str *ret, og_error *err);
OG_MUSTCHECK og_status store_set_meta(store_txn *t, const char *name, og_str value, og_error *err);
/* The next number of a patient's deliveries to an endpoint, from 1. */
OG_MUSTCHECK og_status store_next_sequence(store_txn *t, const char *endpoint, og_str patient,
                                           int64_t *ret, og_error *err);
/* The last number was at least this: another owner gave it. */
OG_MUSTCHECK og_status store_raise_sequence(store_txn *t, og_str endpoint, og_str patient,
                                            int64_t last, og_error *err);

#define STORE_FEEDBACK "Feedback" /* type of what is said about cards; ids are the cards' uuids */

/* For how long our topics keep deletes, and whatever else before they compact it. */
#define STORE_KEPT_MS 1209600000 /* 14 d */

#define STORE_ID          "id" /* a random name: what this store's owner wrote to the alerts topic */
#define STORE_SAID_OFFSET "said_offset" /* of the alerts topic's partition */
#define STORE_SAID_CLAIM  "said_claim"  /* the newest claim before that offset */
#define STORE_INDEXED     "indexed"     /* name of the index (idset.h) that has all of its ids */
#define STORE_SEEN                                                                                 \
    "seen" /* real time at which it was last known to follow its topic: an hour old at most */
#define STORE_NEXT_OFFSET "next_offset" /* of the topic's partition */
#define STORE_SHARED_SEEN                                                                          \
    "shared_seen" /* next offset of the shared topic: who refers to what came before is marked */
#define STORE_LOST       "lost"       /* records are gone that alerts rest on */
#define STORE_LOST_SINCE "lost_since" /* the newest loss that it is a mark of (pipeline_batch) */
#define STORE_FILLED     "filled"     /* up to this loss the sources have been read again */
#define STORE_DIGEST     "digest" /* content and endpoints that all patients have been seen with */
#define STORE_SWEEP      "sweep"  /* where the evaluation of all patients with new ones stands */
#define STORE_SWEPT      "swept"  /* patients that it has seen; when it is over: of all */

#endif
