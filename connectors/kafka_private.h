/* What the Kafka files share: configuration, wake-ups, logs, and taking a handle down without
 * blocking the loop. */
#ifndef OG_CONNECTORS_KAFKA_PRIVATE_H
#define OG_CONNECTORS_KAFKA_PRIVATE_H

#include <librdkafka/rdkafka.h>

#include "connectors/kafka.h"

/* A configuration from our defaults and the caller's properties. extra is a NULL-terminated list of
 * name, value pairs that the caller cannot override. Caller owns *ret until rd_kafka_new takes it.
 */
OG_MUSTCHECK og_status kafka__conf_new(bool consumer, const kafka_property *properties,
                                       size_t count, const char *const *extra,
                                       rd_kafka_conf_t **ret, og_error *err);

/* The machine gave no thread: what librdkafka wanted it for is never tried again. */
bool kafka__lacks_thread(rd_kafka_resp_err_t code);

/* rd_kafka_new with an og_error; takes conf, also on failure. OG_IO: there is no thread for it. */
OG_MUSTCHECK og_status kafka__handle_new(rd_kafka_type_t type, rd_kafka_conf_t *conf,
                                         rd_kafka_t **ret, og_error *err);

/* A descriptor that librdkafka writes to and the loop waits for. */
typedef struct kafka__wake {
    int fd;
    uv_poll_t poll;
} kafka__wake;

/* Opens the descriptor and starts waiting; cb's handle->data is what the caller set on
 * w->poll.data. */
OG_MUSTCHECK og_status kafka__wake_start(kafka__wake *w, uv_loop_t *loop, uv_poll_cb cb,
                                         og_error *err);
void kafka__wake_read(kafka__wake *w);  /* forgets earlier signals: call before draining */
void kafka__wake_again(kafka__wake *w); /* signals ourselves: there is more than one turn's worth */
void kafka__wake_watch(kafka__wake *w, rd_kafka_queue_t *queue);
void kafka__wake_unwatch(rd_kafka_queue_t *queue);

/* Destroys rk in a thread of its own and calls cb (may be NULL) from the loop when that is done, or
 * after timeout_ms, whichever is first. librdkafka's destroy can block for as long as a broker
 * keeps silent. A consumer that should leave its group has done so before. */
void kafka__destroy(uv_loop_t *loop, rd_kafka_t *rk, uint64_t timeout_ms, void (*cb)(void *ctx),
                    void *ctx);

/* Hands a log event to fn. */
void kafka__log_event(rd_kafka_event_t *ev, kafka_log_fn *fn, void *ctx);

/* An error of librdkafka as ours; text is borrowed. */
kafka_error kafka__error(rd_kafka_resp_err_t code, const char *text);

#endif
