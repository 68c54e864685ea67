/* Kafka on a libuv loop: a source (consumer), a sink (idempotent producer), and topics (admin).
 *
 * Everything here is called on the loop thread and calls back on the loop thread; librdkafka's own
 * threads do the network. Nothing blocks the loop: what librdkafka only offers as a blocking call
 * runs in the loop's worker pool. No callback comes from inside a _new function.
 *
 * Built for and tested with librdkafka 2.0.2 (Debian 12); the choices that its defects force are
 * named where they are made in kafka.c. */
#ifndef OG_CONNECTORS_KAFKA_H
#define OG_CONNECTORS_KAFKA_H

#include <uv.h>

#include "connectors/connector.h"

/* A librdkafka property, passed through. Both strings are borrowed for the call. */
typedef struct kafka_property {
    const char *name, *value;
} kafka_property;

typedef struct kafka_partition {
    const char *topic; /* borrowed for the call, unless said otherwise */
    int32_t partition;
    int64_t offset;
} kafka_partition;

/* Something to log, count or act on. All text is borrowed for the call; it never holds message
 * data. */
typedef struct kafka_error {
    int code;         /* rd_kafka_resp_err_t; 0 when the error is our own */
    const char *name; /* "_ALL_BROKERS_DOWN", "OFFSET_OUT_OF_RANGE" */
    const char *text;
    const char *topic; /* NULL when the error is not about one partition */
    int32_t partition;
    int64_t offset; /* -1 when unknown */
    bool fatal; /* this source or sink cannot go on: close it (a sink recovers by itself, see there)
                 */
} kafka_error;

typedef void kafka_error_fn(void *ctx, const kafka_error *error);
/* A line of librdkafka's own log. level as in syslog: 3 error, 4 warning, 6 info, 7 debug. */
typedef void kafka_log_fn(void *ctx, int level, const char *facility, const char *text);

/* The version of the librdkafka that runs, "2.0.2". Static string. */
const char *kafka_version(void);
/* The partition of a key: murmur2(key) & 0x7fffffff modulo count, as Kafka's Java clients compute
 * it. count > 0. */
int32_t kafka_partition_for(og_str key, int32_t count);
/* Checks librdkafka properties without connecting: OG_INVALID with the property's name for an
 * unknown one, a bad value, or one that would break a promise of this file (acks, offsets,
 * assignor). */
OG_MUSTCHECK og_status kafka_properties_check(const kafka_property *properties, size_t count,
                                              bool consumer, og_error *err);

/* ---- source ---- */

typedef struct kafka_source kafka_source;

typedef enum kafka_source_mode {
    /* A group member whose position is the group's committed offset. The caller says
     * kafka_source_done() for every message; the contiguous prefix is committed. Without a
     * committed offset a partition starts at its beginning. */
    KAFKA_SOURCE_GROUP,
    /* A group member whose position is the caller's: on_assign says where a partition starts. The
     * group's offset is only what kafka_source_commit() was told. */
    KAFKA_SOURCE_STORE,
    /* No member of a group: reads what kafka_source_assign() says, commits nothing. */
    KAFKA_SOURCE_READER
} kafka_source_mode;

/* What on_assign may answer besides an offset. */
#define KAFKA_OFFSET_BEGINNING (-2)
#define KAFKA_OFFSET_END       (-1)
#define KAFKA_OFFSET_COMMITTED (-3) /* the group's committed offset, else the beginning */

typedef struct kafka_source_options {
    kafka_source_mode mode;
    const char *group;         /* group.id; in READER mode only a name for logs and quotas */
    const char *const *topics; /* what to subscribe to; ignored in READER mode */
    size_t topic_count;
    const kafka_property *properties; /* "bootstrap.servers" and whatever else */
    size_t property_count;
    int commit_interval_ms; /* 0: 1000 */
    int drain_limit;        /* messages per turn of the loop; 0: 1000 */

    void *ctx; /* first argument of all callbacks; on_message is required, the others may be NULL */
    /* One message; borrowed for the call. */
    void (*on_message)(void *ctx, const conn_message *message);
    /* STORE mode: where to start a partition that was just assigned. NULL: KAFKA_OFFSET_COMMITTED.
     * Also called in GROUP mode when set; answer KAFKA_OFFSET_COMMITTED there unless a re-read is
     * wanted. */
    int64_t (*on_assign)(void *ctx, const char *topic, int32_t partition);
    /* The partitions are ours; offsets are the starting positions (or KAFKA_OFFSET_BEGINNING,
     * _END). */
    void (*on_assigned)(void *ctx, const kafka_partition *partitions, size_t count);
    /* The partitions go. Unless lost, what the caller marks done or commits inside the callback is
     * still committed, synchronously, before they go; offsets are the positions reached. When lost,
     * another member may already own them: send nothing more on their behalf. */
    void (*on_revoke)(void *ctx, const kafka_partition *partitions, size_t count, bool lost);
    /* The end of a partition was reached; offset is the next one to come. Comes again after each
     * catch-up. */
    void (*on_end)(void *ctx, const char *topic, int32_t partition, int64_t offset);
    /* A commit went through or failed (error NULL: through). A failed one is repeated with the
     * next. */
    void (*on_commit)(void *ctx, const kafka_error *error);
    kafka_error_fn *on_error;
    kafka_log_fn *on_log;
} kafka_source_options;

/* A new source that begins to consume when the loop runs. Options and their strings are copied.
 * OG_INVALID: a bad property or option, named in err. Caller owns *ret and gives it to
 * kafka_source_close(). */
OG_MUSTCHECK og_status kafka_source_new(uv_loop_t *loop, const kafka_source_options *options,
                                        kafka_source **ret, og_error *err);

/* Leaves the group (after a last on_revoke and a synchronous commit), frees everything and calls
 * on_closed (may be NULL) from the loop. Takes at most timeout_ms (0: 5000); what librdkafka still
 * holds then is given up to a thread of its own. The source must not be used afterwards; on_revoke,
 * on_commit, on_error and on_log may still be called until on_closed is, on_message is not. Accepts
 * NULL (on_closed is then called at once). */
void kafka_source_close(kafka_source *s, int timeout_ms, void (*on_closed)(void *ctx), void *ctx);

/* Takes what is there, up to the drain limit. The loop calls it when librdkafka signals; callers
 * need not. */
void kafka_source_drain(kafka_source *s);

/* GROUP mode: the message at offset is worked off and its effects are safe. Any order; the offset
 * stored for the group is the one after the contiguous prefix of delivered messages that are done.
 * A message of a partition that is no longer ours is ignored (false). */
bool kafka_source_done(kafka_source *s, const char *topic, int32_t partition, int64_t offset);
/* STORE mode: everything before next_offset is safe; committed at the next interval, at revoke and
 * at close. Never goes back. false: not ours. */
bool kafka_source_commit(kafka_source *s, const char *topic, int32_t partition,
                         int64_t next_offset);

/* Inside on_revoke (not when lost): the partitions stay ours until kafka_source_release_revoke(),
 * for work that is under way; what is marked done meanwhile is still committed. After 5 s the group
 * is not kept waiting any longer. */
void kafka_source_hold_revoke(kafka_source *s);
void kafka_source_release_revoke(kafka_source *s);

/* READER mode: read exactly these partitions from these offsets (count 0: none), instead of what
 * was read before. */
OG_MUSTCHECK og_status kafka_source_assign(kafka_source *s, const kafka_partition *partitions,
                                           size_t count, og_error *err);

/* Back-pressure: no message of this partition (topic NULL: of any, now or assigned later) is
 * delivered until it is resumed. Prefetched messages are thrown away and fetched again, so use
 * hysteresis. A partition that goes and comes back is not paused, unless everything is. */
void kafka_source_pause(kafka_source *s, const char *topic, int32_t partition);
void kafka_source_resume(kafka_source *s, const char *topic, int32_t partition);

typedef struct kafka_position {
    const char *topic; /* borrowed until the partition goes */
    int32_t partition;
    int64_t next;      /* offset of the next message to be delivered; -1: not known yet */
    int64_t done;      /* offset stored for the group; -1: none yet */
    int64_t committed; /* what the group acknowledged of it; -1: nothing yet */
    int64_t high;      /* the broker's end offset as last seen in a fetch since; -1 unknown */
    int64_t low;       /* -1 unknown */
    size_t waiting;    /* GROUP mode: messages delivered and not yet done */
    bool at_end;       /* the end was reached since the assignment */
    bool paused;
} kafka_position;

/* Fills out with up to max assigned partitions, returns how many are assigned. Asks no broker. */
size_t kafka_source_positions(kafka_source *s, kafka_position *out, size_t max);
/* Messages between what was delivered and what the brokers hold, over all partitions; -1 while one
 * is unknown. */
int64_t kafka_source_lag(kafka_source *s);

/* Asks the brokers for the low and end offset of a partition, assigned or not; cb comes from the
 * loop, with error NULL when it worked. Not called after kafka_source_close() has called on_closed.
 */
typedef void kafka_watermarks_fn(void *ctx, const char *topic, int32_t partition, int64_t low,
                                 int64_t high, const kafka_error *error);
OG_MUSTCHECK og_status kafka_source_query(kafka_source *s, const char *topic, int32_t partition,
                                          int timeout_ms, kafka_watermarks_fn *cb, void *ctx,
                                          og_error *err);

/* Asks the brokers where these partitions end, all at once; for what has come by the time of the
 * call. cb comes from the loop: ends are those of the partitions in their order, borrowed for the
 * call; when one of them could not be told there is an error, and ends are not to be used. Lifetime
 * as above. */
typedef void kafka_ends_fn(void *ctx, const int64_t *ends, size_t count, const kafka_error *error);
OG_MUSTCHECK og_status kafka_source_ends(kafka_source *s, const kafka_partition *partitions,
                                         size_t count, int timeout_ms, kafka_ends_fn *cb, void *ctx,
                                         og_error *err);

/* The header of a message by its name (the last one when it repeats); false when there is none or
 * its value is null. *ret is borrowed as the message is. */
bool kafka_message_header(const conn_message *message, const char *name, og_str *ret);

/* ---- sink ---- */

typedef struct kafka_sink kafka_sink;

#define KAFKA_PARTITION_BY_KEY (-1) /* murmur2 of the key as Java clients do; without key: any */

typedef struct kafka_record {
    const char *topic;
    int32_t partition;          /* or KAFKA_PARTITION_BY_KEY */
    og_str key;                 /* .p NULL: no key */
    og_str value;               /* .p NULL: a null value */
    const conn_header *headers; /* a header value with .p NULL is null */
    size_t header_count;
    int64_t timestamp_ms; /* 0: now */
} kafka_record;

typedef struct kafka_sink_options {
    const kafka_property *properties;
    size_t property_count;
    int linger_ms; /* 0: 5; -1: none. The property linger.ms overrides it */
    /* A topic or partition that the brokers do not know, or do not let us write to, may come right:
     * CONN_AGAIN, with on_room a second later. Otherwise it is CONN_NEVER. */
    bool waits_for_topics;
    void *ctx;
    kafka_error_fn *on_error; /* may be NULL. fatal: the producer is being replaced, see below */
    /* The queue has room again after a CONN_AGAIN; may be NULL. */
    void (*on_room)(void *ctx);
    kafka_log_fn *on_log;
} kafka_sink_options;

/* What became of a record: CONN_DONE it is in the log (at partition and offset, -1 when unknown),
 * CONN_AGAIN it may or may not be there and must be sent again, CONN_NEVER the broker refuses it
 * (too large, invalid). error is NULL for CONN_DONE. Called from the loop exactly once for each
 * accepted record; sending from inside it is allowed. */
typedef void kafka_report_fn(void *ctx, conn_verdict verdict, int32_t partition, int64_t offset,
                             const kafka_error *error);

/* A topic must take batches of the property batch.size (1,000,000 bytes unless set), otherwise
 * small records are refused together. A new idempotent producer (acks=all). After a fatal producer
 * error every record in flight is reported as CONN_AGAIN and the producer is replaced; sends answer
 * CONN_AGAIN until that is done. Caller owns *ret. */
OG_MUSTCHECK og_status kafka_sink_new(uv_loop_t *loop, const kafka_sink_options *options,
                                      kafka_sink **ret, og_error *err);
/* Asks for the metadata of a topic that will be written, in this producer and in those that replace
 * it: the first record of a topic that was not asked for waits up to a second. Not before the topic
 * exists: a broker may create it as it likes. OG_NOMEM. */
OG_MUSTCHECK og_status kafka_sink_know(kafka_sink *k, const char *topic, og_error *err);
/* Hands a record over; everything is copied. CONN_DONE: accepted, cb (may be NULL) will be called.
 * CONN_AGAIN: the queue is full, or the producer is being replaced: on_room tells when. CONN_NEVER:
 * it can never be sent, err says why. */
OG_MUSTCHECK conn_verdict kafka_sink_send(kafka_sink *k, const kafka_record *record,
                                          kafka_report_fn *cb, void *ctx, og_error *err);
/* Accepted records without a report yet. */
size_t kafka_sink_outstanding(const kafka_sink *k);
/* Calls cb from the loop when nothing is outstanding any more, or after timeout_ms with the number
 * that remains. One flush at a time: a second call answers OG_AGAIN. */
OG_MUSTCHECK og_status kafka_sink_flush(kafka_sink *k, int timeout_ms,
                                        void (*cb)(void *ctx, size_t remaining), void *ctx);
/* Waits up to timeout_ms (0: 5000) for what is outstanding, reports the rest as CONN_AGAIN, frees
 * everything and calls on_closed (may be NULL). The sink must not be used afterwards. Accepts NULL.
 */
void kafka_sink_close(kafka_sink *k, int timeout_ms, void (*on_closed)(void *ctx), void *ctx);

/* ---- topics ---- */

typedef struct kafka_topic_spec {
    const char *name;
    int32_t partitions;           /* 0: any number, and 1 if it is created */
    bool exact;                   /* an existing topic must have exactly this many partitions */
    bool create;                  /* create it when it is missing */
    int replication;              /* for creation; 0: the broker's default */
    const kafka_property *config; /* topic configuration for creation */
    size_t config_count;
} kafka_topic_spec;

typedef struct kafka_topic_state {
    og_status status;   /* OG_OK: there and as wanted */
    bool created;       /* we made it */
    int32_t partitions; /* 0 when it is not there */
    char text[256];     /* what is wrong, or empty */
} kafka_topic_state;

/* Checks the topics and creates the missing ones. Blocks up to timeout_ms: for start-up, before the
 * loop runs, or from a worker. states has count places. Returns OG_OK when all are as wanted;
 * otherwise the first topic's status and err: OG_IO no broker reachable, OG_NOTFOUND missing,
 * OG_INVALID wrong number of partitions, OG_UNSUPPORTED the brokers refuse to create topics (and do
 * not create them by themselves either). */
OG_MUSTCHECK og_status kafka_topics_ensure(const kafka_property *properties, size_t property_count,
                                           const kafka_topic_spec *specs, size_t count,
                                           int timeout_ms, kafka_topic_state *states,
                                           og_error *err);

#endif
