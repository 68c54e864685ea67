/* Reads what a topic holds, for commands: each call runs the caller's loop until it is done.
 *
 * The daemon itself follows topics without an end (serve_kafka.c); a command asks once and goes. */
#ifndef OG_DAEMON_TOPIC_READER_H
#define OG_DAEMON_TOPIC_READER_H

#include "connectors/kafka.h"

typedef struct topic_reader topic_reader;

/* One message; borrowed for the call. false: enough, the call ends with OG_OK. */
typedef bool topic_reader_fn(void *ctx, const conn_message *message);

/* A reader on a loop that nobody else runs meanwhile. Properties as for a consumer, borrowed for
 * the reader's life. Caller owns *ret. OG_INVALID: a bad property; OG_NOMEM. */
OG_MUSTCHECK og_status topic_reader_new(uv_loop_t *loop, const kafka_property *properties,
                                        size_t count, topic_reader **ret, og_error *err);
/* Closes the consumer and runs the loop until that is done. Accepts NULL. */
void topic_reader_free(topic_reader *r);

/* Every message that the topic holds at the time of the call, each partition in order. OG_NOTFOUND:
 * there is no such topic; OG_IO: the brokers do not answer. */
OG_MUSTCHECK og_status topic_reader_scan(topic_reader *r, const char *topic, topic_reader_fn *fn,
                                         void *ctx, og_error *err);

typedef struct topic_place { /* a message that is wanted */
    const char *topic;       /* borrowed */
    int32_t partition;
    int64_t offset;
    void *what; /* the caller's */
    bool found;
} topic_place;

/* fn for each wanted message; found says which are still there. Sorts places by topic, partition
 * and offset. A message that is gone (retention, compaction, deleted topic) is no error. OG_IO: the
 * brokers do not answer. */
OG_MUSTCHECK og_status topic_reader_fetch(topic_reader *r, topic_place *places, size_t count,
                                          void (*fn)(void *ctx, const topic_place *place,
                                                     const conn_message *message),
                                          void *ctx, og_error *err);

#endif
