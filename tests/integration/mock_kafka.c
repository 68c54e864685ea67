/* See mock_kafka.h. The cluster lives in a producer handle, which also writes the tests' messages.
 */
#include "mock_kafka.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "mock_kafka: %s failed\n", what);
    abort();
}

void mock_kafka_start(mock_kafka *m)
{
    char text[256], brokers[16];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    snprintf(brokers, sizeof brokers, "%d", m->brokers > 0 ? m->brokers : 1);
    must(rd_kafka_conf_set(conf, "test.mock.num.brokers", brokers, text, sizeof(text)) ==
             RD_KAFKA_CONF_OK,
         text);
    must(rd_kafka_conf_set(conf, "log_level", "0", text, sizeof(text)) == RD_KAFKA_CONF_OK, text);
    must(rd_kafka_conf_set(conf, "message.max.bytes", "100000000", text, sizeof(text)) ==
             RD_KAFKA_CONF_OK,
         text);
    m->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    must(m->rk != NULL, "rd_kafka_new");
    m->cluster = rd_kafka_handle_mock_cluster(m->rk);
    must(m->cluster != NULL, "the mock cluster");
    m->bootstrap = rd_kafka_mock_cluster_bootstraps(m->cluster);
}

void mock_kafka_topic(mock_kafka *m, const char *topic, int partitions)
{
    must(rd_kafka_mock_topic_create(m->cluster, topic, partitions, 1) == RD_KAFKA_RESP_ERR_NO_ERROR,
         topic);
}

void mock_kafka_put_at(mock_kafka *m, const char *topic, int32_t partition, const char *key,
                       size_t key_size, const char *value, size_t size, int64_t timestamp_ms)
{
    rd_kafka_resp_err_t err = rd_kafka_producev(
        m->rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, key_size),
        RD_KAFKA_V_VALUE((void *)value, size), RD_KAFKA_V_TIMESTAMP(timestamp_ms), RD_KAFKA_V_END);
    must(err == RD_KAFKA_RESP_ERR_NO_ERROR, rd_kafka_err2str(err));
}

void mock_kafka_put(mock_kafka *m, const char *topic, int32_t partition, const char *key,
                    const char *value, size_t size)
{
    mock_kafka_put_at(m, topic, partition, key, key != NULL ? strlen(key) : 0, value, size, 0);
    must(rd_kafka_flush(m->rk, 30000) == RD_KAFKA_RESP_ERR_NO_ERROR, "flush");
}

void mock_kafka_stop(mock_kafka *m)
{
    rd_kafka_destroy(m->rk);
    memset(m, 0, sizeof(*m));
}
