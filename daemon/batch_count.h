/* What a batch has done, as metrics and log lines tell it. Loop thread only. */
#ifndef OG_DAEMON_BATCH_COUNT_H
#define OG_DAEMON_BATCH_COUNT_H

#include "daemon/pipeline.h"

/* Of a batch that ended well; shared: of the shared topic. */
void batch_count(const pipeline_batch *b, bool shared, int64_t took_us);

#endif
