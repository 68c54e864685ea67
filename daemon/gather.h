/* Gather: source messages in, records out (DESIGN 2.1, STREAM 3.3). Nothing vanishes: every input
 * (a resource, an entry of a Bundle, a delete, or a message that cannot be read) is counted once,
 * as recorded, irrelevant or dead.
 *
 *   message ─► (envelope) ─► decode ─► resource, or each entry of a Bundle ─► wanted by any rule?
 * ─► patient ─► record └────────────── cannot be used ──────────────────────────────────────────►
 * dead letter
 *
 * Beside each record of a patient goes its place (record.h), and a delete is a place alone, for it
 * names no patient: who owns the places brings them together (place.h), whichever instance gathers,
 * in whatever order. A version that no rule asks for is recorded when an older one was, so that it
 * takes its place (idset.h).
 *
 * One message makes at most GATHER_MAX_LETTERS dead letters, and one more that says how many inputs
 * were left unsaid.
 *
 * A message is done (its offset may be committed) when every record and dead letter that came from
 * it has been acknowledged. When the producer had to be replaced meanwhile, it is not done, not
 * counted, and has to be read again.
 *
 * Loop thread only. What leaves goes through the functions of gather_options: no Kafka in here. */
#ifndef OG_DAEMON_GATHER_H
#define OG_DAEMON_GATHER_H

#include "connectors/kafka.h"
#include "daemon/idset.h"
#include "rules/plan/plan.h"

typedef struct gather gather;

#define GATHER_MAX_LETTERS 1000

/* Of a message that `dead-letters retry` has sent again: the offset at which it stood first. */
#define GATHER_RETRY_HEADER "osteoguard-retry-of"

/* Of a message that the daemon has put on a source topic: `inbound` what an EHR sent it, `backfill`
 * what it has fetched itself. */
#define GATHER_OWN_HEADER "osteoguard-own"

/* Why an input is dead: the header `reason` and the label of the metric. */
#define GATHER_REASON_MAP(X)                                                                       \
    X(SYNTAX, "syntax") /* not JSON, or not UTF-8 */                                               \
    X(DUPLICATE_KEY, "duplicate-key")                                                              \
    X(LIMIT, "limit") /* too deep, or too much for the memory limit */                             \
    X(TOO_LARGE, "too-large")                                                                      \
    X(NOT_A_RESOURCE, "not-a-resource") /* no or unknown resourceType, id that is none */          \
    X(INVALID, "invalid")               /* an element of the wrong type or form */                 \
    X(BUNDLE, "bundle") /* a Bundle of a kind that carries no events, or no entries */             \
    X(ENTRY, "entry")   /* an entry that is neither a resource nor a delete */                     \
    X(NO_PATIENT, "no-patient")                                                                    \
    X(NO_ID, "no-id")                                                                              \
    X(NO_KEY, "no-key")     /* a null value whose key names no resource */                         \
    X(REFUSED, "refused")   /* the broker does not take the record */                              \
    X(ENVELOPE, "envelope") /* what the topic's envelope should hold is not there */

typedef enum gather_reason {
#define X(id, name) GATHER_##id,
    GATHER_REASON_MAP(X)
#undef X
        GATHER_REASONS
} gather_reason;

/* Static string. */
const char *gather_reason_name(gather_reason reason);

typedef struct gather_options {
    const char *tenant;
    uint32_t source_epoch;
    const char *records_topic, *shared_topic, *dead_letters_topic;
    int32_t partitions; /* of the records topic */
    size_t max_message_bytes, max_record_bytes, dead_letter_bytes, arena_bytes;
    uint32_t max_depth;
    size_t max_in_flight;            /* messages not done before the sources are paused */
    const kafka_property *envelopes; /* topic, and the form of its values (envelope.h) */
    size_t envelope_count;
    const kafka_property *senders; /* topic, and the name of its sender (record.h) */
    size_t sender_count;
    void *ctx;
    /* The clock: nothing has arrived later than a day from now. NULL: there is none. */
    int64_t (*now_ms)(void *ctx);
    conn_verdict (*send)(void *ctx, const kafka_record *record, kafka_report_fn *report,
                         void *report_ctx, og_error *err);
    void (*done)(void *ctx, const char *topic, int32_t partition, int64_t offset);
    /* The sources are to be paused, or may go on. */
    void (*pause)(void *ctx, bool pause);
    /* A message was not done and must be read again. */
    void (*reread)(void *ctx);
} gather_options;

/* options' strings, content and the index of what was recorded are borrowed for gather's life.
 * NULL: no memory. */
gather *gather_new(const gather_options *options, const plan_content *content, idset *recorded);
/* Forgets what is under way. No report may come afterwards. Accepts NULL. */
void gather_free(gather *g);
/* From the next message on this content decides what is wanted. */
void gather_set_content(gather *g, const plan_content *content);

/* One message; borrowed for the call. Never fails: what cannot be used is a dead letter. */
void gather_message(gather *g, const conn_message *message);
/* The same of one that stood at first_offset of its partition before (negative: it did not), which
 * gather_message finds in its header: what followed it then is still newer. */
void gather_message_again(gather *g, const conn_message *message, int64_t first_offset);
/* The sink has room again. */
void gather_room(gather *g);
/* Messages that are not done. */
size_t gather_in_flight(const gather *g);

#endif
