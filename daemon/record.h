/* Records: what stands on the records topic and on the shared topic (STREAM 3.1, 3.2), and the
 * places between them.
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
 * other. `"untimed":true`: the delete did not say when it was; its time is that of its arrival.
 *
 * What a merged patient has is also its survivor's (merge.h). Key of such a copy:
 * `tenant|survivor|Type/id`, a unit separator (0x1f) and 16 hex digits that stand for the way it
 * came; its line says the way, `"via":"first\nsecond"`, and `"round"`, which orders the copies that
 * came on one way.
 *
 * A place says whose a resource is. Key: `place|Type/id`, which is also what routes it: whatever
 * names a resource without its patient meets all that is known of it in one partition. Value: the
 * same line, and behind it the id of the patient; a delete may have none. */
#ifndef OG_DAEMON_RECORD_H
#define OG_DAEMON_RECORD_H

#include "fhir/resource.h"

/* Longest id of a patient, in bytes: store keys (LMDB: 511 bytes) hold it together with two
 * Type/id. */
#define RECORD_MAX_PATIENT 160

/* Where two senders give the same ids, those of one have its name and this character in front
 * (kafka.senders): in keys and stores, never in the resources themselves. No id of FHIR has it. */
#define RECORD_SENDER     '~'
#define RECORD_MAX_SENDER 8 /* characters of a sender's name */
/* `lab~` of `lab~5`, also for a patient; empty when there is none. */
og_str record_sender(og_str id);
/* `5` of `lab~5`: as the sender writes it. */
og_str record_plain_id(og_str id);
/* 1 to RECORD_MAX_SENDER letters, digits, '-', '.'. */
bool record_sender_valid(og_str name);

/* Which of two versions of a resource is the newer one (STREAM 3.2). */
typedef struct record_order {
    int64_t round;   /* of a copy; 0 for all others */
    uint32_t epoch;  /* site.source_epoch */
    int64_t time_us; /* meta.lastUpdated, or the broker's timestamp when there is none */
    uint32_t topic; /* CRC-32C of the source topic's name: any fixed order between topics will do */
    int32_t partition;
    int64_t offset;
    uint32_t entry; /* place within a Bundle; of a history Bundle counted from its end */
} record_order;

/* <0, 0, >0. */
int record_order_cmp(const record_order *a, const record_order *b);
/* Compares what the sender said (round, epoch and time) and leaves out where it was read. */
int record_order_cmp_version(const record_order *a, const record_order *b);
typedef struct record {
    og_str tenant, patient; /* patient is empty on the shared topic */
    og_str type, id;
    og_str
        via; /* of a copy: the merged patients that it came from and through, between them '\n' */
    record_order order;
    og_str topic;         /* source topic */
    int64_t timestamp_ms; /* of the source message; -1 unknown */
    uint32_t entry, of;   /* entry n of m in its Bundle; 0 of 1 for a bare resource */
    bool deleted;
    bool untimed; /* a delete that does not say when it was */
    og_str body;  /* the resource's bytes; empty when deleted */
} record;

/* A delete that does not say when it was is newer than what arrived before it, also when the
 * sender's clock was ahead of the broker's then; a message that is read again takes nothing away
 * that came after it. gone gets a version behind had's where that is so. */
void record_outdo(record *gone, const record *had);

/* Appends key and value. Everything is the caller's to have checked (record_patient_valid, ids of
 * FHIR). */
void record_write_key(og_buf *out, const record *r);
void record_write_value(og_buf *out, const record *r);
/* Reads both; slices borrow from key and value, or live in a. OG_SYNTAX or OG_INVALID when they are
 * no record. */
OG_MUSTCHECK og_status record_read(og_arena *a, og_str key, og_str value, record *ret,
                                   og_error *err);

/* Places: key and value of r without its body. */
#define RECORD_PLACE "place|"
bool record_is_place(og_str key);
void record_write_place_key(og_buf *out, og_str type, og_str id);
void record_write_place_value(og_buf *out, const record *r);
/* As record_read; tenant and body stay empty. */
OG_MUSTCHECK og_status record_read_place(og_arena *a, og_str key, og_str value, record *ret,
                                         og_error *err);

/* Between the records stand the heartbeats of the instances (serve_beat.c): they are no records. */
#define RECORD_BEAT "beat|"
bool record_is_beat(og_str key);
/* Among these, on the shared topic: where an instance can be reached (forward.h); its id follows.
 */
#define RECORD_INSTANCE RECORD_BEAT "instance."

/* The end of the key of a copy: RECORD_VIA_TEXT bytes with the separator. Copies have it in stores,
 * too. */
#define RECORD_VIA      '\x1f'
#define RECORD_VIA_TEXT 17
void record_via_text(og_str via, char out[RECORD_VIA_TEXT]);

/* True when a patient's id can be part of keys: 1 to RECORD_MAX_PATIENT bytes without control
 * characters, and without 0xfe and 0xff, which no text has. */
bool record_patient_valid(og_str patient);
/* The text that routes: `tenant|patient`, for murmur2. */
void record_write_route(og_buf *out, og_str tenant, og_str patient);

/* Microseconds since 1970 of an instant with as many digits as it has (meta.lastUpdated); a value
 * without offset is taken as UTC. false when it is none or coarser than a second. */
bool record_instant_us(og_str text, int64_t *ret);

#endif
