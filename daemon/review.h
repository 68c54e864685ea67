/* What would open, change and close at another time or with other content, compared with what the
 * stores of a daemon hold as open now. Reads only; a running daemon may have the stores open.
 *
 * Nothing is delivered and nothing is remembered: the same evaluation and the same comparison as in
 * a batch (pipeline.c), without its end. */
#ifndef OG_DAEMON_REVIEW_H
#define OG_DAEMON_REVIEW_H

#include "daemon/feedback.h"

typedef struct review_setup {
    const char *store_dir, *tenant;
    int64_t partitions;
    const plan_content *content;
    feedback_policy feedback;
    int64_t as_of_ms;
    int offset_min;      /* of the site at that time */
    size_t memory_bytes; /* that one patient's evaluation may take */
    const char *patient; /* this one alone; NULL: all */
} review_setup;

typedef struct review_patient { /* lives until fn returns */
    og_str id;
    const plan_change *changes;
    size_t change_count;
    const plan_result *result;
} review_patient;

typedef struct review_rule {
    og_str id;
    uint64_t open; /* now */
    uint64_t opens, changes, closes;
    uint64_t absence; /* of those that open: they rest on something that is not there */
} review_rule;

typedef struct review_totals {
    uint64_t patients, differ; /* differ: with any change */
    uint64_t failed;           /* patients and rules that could not be evaluated */
    uint64_t waiting;          /* patients that the daemon has still to evaluate anew */
    uint64_t stores, missing;  /* partitions with and without a store here */
    review_rule all;
    const review_rule *const *rules; /* with anything open or changed, in order of their ids */
    size_t rule_count;
} review_totals;

typedef struct review_sink {
    void *ctx;
    void (*differs)(void *ctx, const review_patient *p); /* with any change */
    /* The patient, or (rule not empty) one of its rules, could not be evaluated. */
    void (*failed)(void *ctx, og_str patient, og_str rule, const og_error *why);
} review_sink;

/* Partition by partition, patients in byte order of their ids. *ret lives in a. OG_NOTFOUND: there
 * is no store at all; OG_CORRUPT, OG_IO: one cannot be read (a daemon that starts rebuilds it). */
OG_MUSTCHECK og_status review_run(const review_setup *setup, const review_sink *sink, og_arena *a,
                                  review_totals *ret, og_error *err);

#endif
