/* An embedded Kafka for tests: librdkafka's mock cluster with one broker on a port of its own. */
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
} mock_kafka;

/* Starts it; asserts that it works. */
void mock_kafka_start(mock_kafka *m);
void mock_kafka_topic(mock_kafka *m, const char *topic, int partitions);
/* Writes one message and waits until it is in the log. NULL key or value: none. */
void mock_kafka_put(mock_kafka *m, const char *topic, int32_t partition, const char *key,
                    const char *value, size_t size);
void mock_kafka_stop(mock_kafka *m);

#endif
