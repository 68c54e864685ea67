/* An embedded Kafka for tests: librdkafka's mock cluster on ports of its own. */
#ifndef OG_TESTS_MOCK_KAFKA_H
#define OG_TESTS_MOCK_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mock_kafka {
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *cluster;
    const char *bootstrap; /* "127.0.0.1:PORT", valid until stop */
    int brokers;           /* set before start; 0: one */
} mock_kafka;

/* Starts it; asserts that it works. */
void mock_kafka_start(mock_kafka *m);
void mock_kafka_topic(mock_kafka *m, const char *topic, int partitions);
/* Writes one message and waits until it is in the log. NULL key or value: none. */
void mock_kafka_put(mock_kafka *m, const char *topic, int32_t partition, const char *key,
                    const char *value, size_t size);
/* The same with a key of any bytes and a timestamp; it is there after the next mock_kafka_put,
 * or a flush of m->rk. */
void mock_kafka_put_at(mock_kafka *m, const char *topic, int32_t partition, const char *key,
                       size_t key_size, const char *value, size_t size, int64_t timestamp_ms);
void mock_kafka_stop(mock_kafka *m);

#endif
