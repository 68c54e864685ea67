/* What became of the alerts of each rule, and of the cards that calls alone have shown (shown.h),
 * from what the alerts topic says (said.h): how many came up, were accepted, overridden and why,
 * ignored, and how long people took.
 *
 * Every alert counts once, when it came up in the period, with what has become of its newest card;
 * no patient is kept or told. Not for two threads. */
#ifndef OG_DAEMON_REPORT_H
#define OG_DAEMON_REPORT_H

#include "fhir/base/text.h"

typedef struct report report;

typedef struct report_options {
    const char *tenant;
    int64_t since_ms, until_ms; /* since <= came up < until; 0: open */
    size_t max_bytes;           /* memory for all alerts */
} report_options;

/* Caller owns it; NULL: no memory. tenant is copied. */
report *report_new(const report_options *o);
void report_free(report *r); /* accepts NULL */

typedef struct report_message { /* of the alerts topic */
    int32_t partition;
    int64_t offset, epoch; /* epoch: of its header; INT64_MAX: none */
    og_str key, value;     /* value.p NULL: nothing is said any more */
} report_message;

/* Takes the next message, each partition in order. What is no alert of the tenant, or was written
 * behind a newer claim than its epoch, does not count. False: no memory. */
bool report_take(report *r, const report_message *m);

/* Alerts that count. */
uint64_t report_alerts(const report *r);
/* A table for people, and one line of JSON. False: no memory. */
bool report_write_text(report *r, og_buf *out);
bool report_write_json(report *r, og_buf *out);

#endif
