/* See batch_count.h. */
#include "daemon/batch_count.h"

#include "daemon/log.h"
#include "daemon/metrics.h"

static void log_failures(const pipeline_batch *b)
{
    for (size_t i = 0; i < b->failure_count; i++) {
        const pipeline_failure *f = &b->failures[i];
        char what[1200];
        og_error_format(&f->error, what, sizeof what);
        bool with_ids = log_identifiers();
        log_field fields[] = {
            {"rule", f->rule}, {"error", og_str_of(what)}, {"patient", f->patient}};
        log_line(LOG_LEVEL_ERROR,
                 f->patient.n == 0 ? "a message on our topic is no record"
                 : f->rule.n == 0  ? "a patient could not be evaluated"
                                   : "a rule failed for a patient",
                 fields, with_ids ? 3 : 2);
        if (f->rule.n > 0) {
            char rule[64];
            snprintf(rule, sizeof rule, "%.*s", OG_STR_ARG(f->rule));
            metric_add_label(METRIC_RULE_FAILURES, rule, NULL, 1);
        }
    }
}

static void count_event(const pipeline_event *e)
{
    static const char *const kinds[] = {"opened", "changed", "resolved", ""};
    static const char *const answers[] = {"", "accepted", "overridden", "lapsed", "ignored"};
    char rule[64], reason[64];
    bool answered = e->kind == PLAN_ANSWERED;
    snprintf(rule, sizeof rule, "%.*s", OG_STR_ARG(e->rule));
    snprintf(reason, sizeof reason, "%.*s", OG_STR_ARG(e->reason));
    metric_add_label(METRIC_RULE_ALERTS, rule,
                     answered   ? answers[e->answer]
                     : e->shown ? "shown"
                                : kinds[e->kind],
                     1);
    if (answered && e->answer == PLAN_OVERRIDDEN)
        metric_add_label(METRIC_OVERRIDES, rule, reason[0] != '\0' ? reason : "none", 1);
    if (e->action_us >= 0)
        metric_observe_us(METRIC_ACTION_TIME, e->action_us);
}

/* Links that go in a circle, or too far, are for people to mend. */
static void count_merges(const merge_counts *c)
{
    if (c->merged > 0)
        metric_add_label(METRIC_MERGES, "merged", NULL, c->merged);
    if (c->separated > 0)
        metric_add_label(METRIC_MERGES, "separated", NULL, c->separated);
    if (c->circles > 0)
        metric_add_label(METRIC_MERGES, "circle", NULL, c->circles);
    metric_add(METRIC_COPIES, c->copies);
    metric_add(METRIC_COPIES_STOPPED, c->too_far);
    if (c->circles > 0)
        log_warn("links between merged patients go in a circle: the one with the first id stays");
    if (c->too_far > 0)
        log_warn("resources of merged patients are not passed on: more than %d patients in a row",
                 MERGE_MAX_WAY);
}

void batch_count(const pipeline_batch *b, bool shared, int64_t took_us)
{
    const pipeline_counts *c = &b->counts;
    metric_add(METRIC_BATCHES, 1);
    metric_observe_us(METRIC_BATCH_TIME, took_us);
    metric_add(shared ? METRIC_SHARED_APPLIED : METRIC_APPLIED, c->applied);
    metric_add(METRIC_STALE, c->stale);
    metric_add(METRIC_OUTDATED, c->outdated);
    metric_add(METRIC_BAD_RECORDS, c->bad);
    metric_add(METRIC_EVALUATIONS, c->evaluations);
    metric_add(METRIC_RULES_ASKED, c->rules_asked);
    metric_add(METRIC_RULES_SPARED, c->rules_spared);
    metric_add(METRIC_EVALUATION_FAILURES, c->evaluation_failures);
    metric_add(METRIC_ALERTS_OPENED, c->opened);
    metric_add(METRIC_ALERTS_CHANGED, c->changed);
    metric_add(METRIC_ALERTS_RESOLVED, c->resolved);
    metric_add(METRIC_REVIEWS_DUE, c->reviews);
    metric_add(METRIC_TAKEN_OVER, c->taken_over);
    metric_add(METRIC_DEFERRED, c->deferred);
    metric_add(METRIC_WITHHELD, c->withheld);
    metric_add(METRIC_SHARED_LOST, c->shared_lost);
    metric_add(METRIC_PLACED, c->placed);
    metric_add(METRIC_UNPLACED, c->unplaced);
    metric_add(METRIC_FORGOTTEN, c->forgotten);
    count_merges(&c->merges);
    metric_add(METRIC_JOINED, c->joined);
    for (size_t i = 0; i < b->event_count; i++)
        count_event(&b->events[i]);
    for (uint64_t i = 0; i < c->evaluations; i++)
        metric_observe_us(METRIC_EVALUATION_TIME, b->evaluation_us[i]);
    log_failures(b);
}
