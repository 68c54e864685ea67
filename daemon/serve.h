/* The daemon: everything wired together on one loop. `osteoguard serve` is this and signals. */
#ifndef OG_DAEMON_SERVE_H
#define OG_DAEMON_SERVE_H

#include <uv.h>

#include "daemon/config.h"

typedef struct serve serve;

typedef struct serve_options {
    const og_clock *clock;  /* tests: instead of the configuration's; copied */
    uint64_t seed;          /* of the delivery's jitter; 0: from the real clock */
    size_t outbox_patients; /* outbox_options.max_patients; for tests */
    /* Everything is closed; status is the exit status. The serve is gone when this returns. */
    void (*on_stopped)(void *ctx, int status);
    void *ctx;
} serve_options;

/* Loads the content, opens the stores, listens on HTTP and begins to connect when the loop runs.
 * config is borrowed until on_stopped. Problems of the content go to report. OG_INVALID: the
 * content; OG_IO, OG_NOTFOUND: the disk, the address. After an error nothing is left open. */
OG_MUSTCHECK og_status serve_new(uv_loop_t *loop, config *c, const serve_options *options,
                                 serve **ret, og_report *report, og_error *err);
/* Batches that run at once with this configuration, each on a thread of libuv's pool. */
int serve_batches(const config *c);
/* Finishes what is under way (batch, deliveries, commits), leaves the groups, closes the stores;
 * then on_stopped. Takes at most about 15 s. Further calls do nothing. */
void serve_stop(serve *s, int status);
/* Loads the content again in the background; on any error the old one stays in force. */
void serve_reload(serve *s);
/* Connected and working; of the partitions that are ours at least one is restored; Kafka answers
 * and the disk takes what is written. */
bool serve_ready(const serve *s);
/* The bound port; 0 without HTTP. */
int serve_port(const serve *s);
/* The bound port of the CDS services; 0 without them. */
int serve_hooks_port(const serve *s);

#endif
