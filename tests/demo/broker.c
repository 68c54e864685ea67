/* The mock cluster lives inside a producer handle that produces nothing. It has no topic
 * administration, so the topics are made here. */
#include "tests/demo/broker.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdlib.h>

static const char default_topics[] =
    "fhir.patient,fhir.condition,fhir.observation,fhir.medication,fhir.medicationstatement,"
    "fhir.medicationrequest,fhir.medicationadministration,fhir.procedure,fhir.bundle,"
    "osteoguard.records,osteoguard.alerts,osteoguard.shared:1,osteoguard.dead-letters:1";

struct broker {
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *cluster;
};

/* Makes the topic that text[0..n) describes. */
static og_status topic_new(broker *b, const char *text, size_t n, int partitions, og_error *err)
{
    char name[256], *colon, *end;
    if (n == 0 || n >= sizeof(name))
        return og_fail(err, OG_INVALID, "not a list of topics: a name is empty or too long");
    memcpy(name, text, n);
    name[n] = '\0';
    colon = strrchr(name, ':');
    if (colon != NULL) {
        long count = strtol(colon + 1, &end, 10);
        if (colon[1] == '\0' || *end != '\0' || count < 1 || count > 10000)
            return og_fail(err, OG_INVALID, "\"%s\" is not NAME:PARTITIONS", name);
        partitions = (int)count;
        *colon = '\0';
    }
    rd_kafka_resp_err_t rc = rd_kafka_mock_topic_create(b->cluster, name, partitions, 1);
    if (rc != RD_KAFKA_RESP_ERR_NO_ERROR)
        return og_fail(err, OG_INVALID, "topic %s: %s", name, rd_kafka_err2str(rc));
    return OG_OK;
}

static og_status topics_new(broker *b, const char *topics, int partitions, og_error *err)
{
    while (*topics != '\0') {
        size_t n = strcspn(topics, ",");
        og_status st = topic_new(b, topics, n, partitions, err);
        if (st != OG_OK)
            return st;
        topics += n + (topics[n] == ',');
    }
    return OG_OK;
}

og_status broker_new(const char *topics, int partitions, broker **ret, og_error *err)
{
    char text[256];
    broker *b = calloc(1, sizeof(*b));
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (b == NULL ||
        rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", text, sizeof(text)) !=
            RD_KAFKA_CONF_OK ||
        rd_kafka_conf_set(conf, "log_level", "2", text, sizeof(text)) != RD_KAFKA_CONF_OK) {
        rd_kafka_conf_destroy(conf);
        free(b);
        return og_fail(err, OG_UNSUPPORTED, "this librdkafka has no mock cluster");
    }
    b->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    b->cluster = b->rk != NULL ? rd_kafka_handle_mock_cluster(b->rk) : NULL;
    if (b->cluster == NULL) {
        if (b->rk == NULL)
            rd_kafka_conf_destroy(conf);
        broker_free(b);
        return og_fail(err, OG_UNSUPPORTED, "the mock cluster does not start");
    }
    og_status st = topics_new(b, topics != NULL ? topics : default_topics, partitions, err);
    if (st != OG_OK) {
        broker_free(b);
        return st;
    }
    *ret = b;
    return OG_OK;
}

const char *broker_bootstrap(const broker *b)
{
    return rd_kafka_mock_cluster_bootstraps(b->cluster);
}

void broker_free(broker *b)
{
    if (b == NULL)
        return;
    if (b->rk != NULL)
        rd_kafka_destroy(b->rk);
    free(b);
}
