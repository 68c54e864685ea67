/* Metrics in Prometheus' text format (version 0.0.4). The list stands in metrics.def and nowhere
 * else.
 *
 * One set per process, used on the loop thread only: the worker hands its counts back with its
 * result. */
#ifndef OG_DAEMON_METRICS_H
#define OG_DAEMON_METRICS_H

#include "fhir/base/text.h"

typedef enum metric {
#define METRIC(id, kind, name, labels, help) METRIC_##id,
#include "daemon/metrics.def"
#undef METRIC
    METRIC_COUNT
} metric;

/* Counters without labels. */
void metric_add(metric m, uint64_t n);
/* Counters with one or two labels; b is NULL for one. Label values should come from a small set:
 * after 256 different ones the rest is counted as "other". */
void metric_add_label(metric m, const char *a, const char *b, uint64_t n);
/* Gauges; with one label, not below 0. */
void metric_set(metric m, int64_t value);
void metric_set_label(metric m, const char *label, int64_t value);
/* Histograms: one observation in microseconds; negative ones count as 0. */
void metric_observe_us(metric m, int64_t us);

/* Counter or gauge (all its series together), or a histogram's number of observations. */
int64_t metric_value(metric m);
/* Writes everything to out. */
void metrics_write(og_buf *out);
/* Everything back to zero; for tests. */
void metrics_reset(void);

#endif
