/* An embedded Kafka broker: librdkafka's mock cluster. It speaks the real protocol on 127.0.0.1 and
 * forgets all when it ends; a partition keeps 5 MB. For demonstrations and tests only. */
#ifndef OG_DEMO_BROKER_H
#define OG_DEMO_BROKER_H

#include "fhir/base/text.h"

typedef struct broker broker;

/* Starts one with topics "name:partitions,name:partitions"; a topic without a number gets
 * `partitions`. NULL topics: those of the daemon's default configuration. Caller owns *ret. */
OG_MUSTCHECK og_status broker_new(const char *topics, int partitions, broker **ret, og_error *err);
const char *broker_bootstrap(const broker *b); /* "127.0.0.1:PORT", lives as long as the broker */
void broker_free(broker *b);                   /* accepts NULL */

#endif
