/* What a test's owner of partitions tells that the test does not want to know. */
#ifndef OG_TESTS_OWNER_IDLE_H
#define OG_TESTS_OWNER_IDLE_H

#include "daemon/owner.h"

static inline void ignore_delivery(void *ctx, int partition, const pipeline_delivery *d)
{
    (void)ctx;
    (void)partition;
    (void)d;
}

static inline void ignore_prepared(void *ctx, int partition, const pipeline_prepared *p)
{
    (void)ctx;
    (void)partition;
    (void)p;
}

static inline void ignore_pause(void *ctx, int partition, bool pause)
{
    (void)ctx;
    (void)partition;
    (void)pause;
}

#endif
