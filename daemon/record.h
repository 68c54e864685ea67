/* Records: what stands on the records topic and on the shared topic (STREAM 3.1, 3.2).
 *
 * Key: `tenant|patient|Type/id`; on the shared topic `tenant||Type/id`.
 * Value: one line of JSON that says what this is and in which order it belongs, a line feed, then
 * the bytes of the resource as they came:
 *
 *   {"osteoguard":1,"epoch":0,"time":1772366400000000,"topic":"fhir.condition","partition":0,"offset":12,
 *    "timestamp":1772366400123,"order":0,"entry":0,"of":1}
 *   {"resourceType":"Condition", ...}
 *
 * With `"deleted":true` nothing follows the line: a soft tombstone that has a version like any
 * other. */
#ifndef OG_DAEMON_RECORD_H
#define OG_DAEMON_RECORD_H

#include "fhir/resource.h"

/* Longest id of a patient, in bytes: store keys (LMDB: 511 bytes) hold it together with two
 * Type/id. */
#define RECORD_MAX_PATIENT 160

/* Which of two versions of a resource is the newer one (STREAM 3.2). */
typedef struct record_order {
    uint32_t epoch;  /* site.source_epoch */
    int64_t time_us; /* meta.lastUpdated, or the broker's timestamp when there is none */
    uint32_t topic; /* CRC-32C of the source topic's name: any fixed order between topics will do */
    int32_t partition;
    int64_t offset;
    uint32_t entry; /* place within a Bundle; of a history Bundle counted from its end */
} record_order;

/* <0, 0, >0. */
int record_order_cmp(const record_order *a, const record_order *b);
/* Compares what the sender said (epoch and time) and leaves out where it was read. */
int record_order_cmp_version(const record_order *a, const record_order *b);

typedef struct record {
    og_str tenant, patient; /* patient is empty on the shared topic */
    og_str type, id;
    record_order order;
    og_str topic;         /* source topic */
    int64_t timestamp_ms; /* of the source message; -1 unknown */
    uint32_t entry, of;   /* entry n of m in its Bundle; 0 of 1 for a bare resource */
    bool deleted;
    og_str body; /* the resource's bytes; empty when deleted */
} record;

/* Appends key and value. Everything is the caller's to have checked (record_patient_valid, ids of
 * FHIR). */
void record_write_key(og_buf *out, const record *r);
void record_write_value(og_buf *out, const record *r);
/* Reads both; slices borrow from key and value, or live in a. OG_SYNTAX or OG_INVALID when they are
 * no record. */
OG_MUSTCHECK og_status record_read(og_arena *a, og_str key, og_str value, record *ret,
                                   og_error *err);

/* Between the records stand the heartbeats of the instances (serve_beat.c): they are no records. */
#define RECORD_BEAT "beat|"
bool record_is_beat(og_str key);

/* True when a patient's id can be part of keys: 1 to RECORD_MAX_PATIENT bytes without control
 * characters. */
bool record_patient_valid(og_str patient);
/* The text that routes: `tenant|patient`, for murmur2. */
void record_write_route(og_buf *out, og_str tenant, og_str patient);

/* Microseconds since 1970 of an instant with as many digits as it has (meta.lastUpdated); a value
 * without offset is taken as UTC. false when it is none or coarser than a second. */
bool record_instant_us(og_str text, int64_t *ret);

#endif
