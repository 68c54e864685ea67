/* CDS services: what an EHR is told when it asks (CDS Hooks 2.0).
 *
 * The rules that answer on a hook are those whose PlanDefinition has a named-event trigger with its
 * name. Without anything sent along the answer is what the store already holds: the patient's open
 * alerts, evaluated when the data came. With prefetch or drafts the same rules run on the patient's
 * record, what was sent, and the drafts as if they were ordered; rules that read nothing of what is
 * new since they were asked last are spared (note.h): by a call, or else when the data came. What
 * was overridden is not told while it stays the same.
 *
 * No globals, no clock, no loop: a call is all it gets and all it gives; for any thread. */
#ifndef OG_DAEMON_HOOKS_H
#define OG_DAEMON_HOOKS_H

#include "daemon/feedback.h"
#include "daemon/prefetch.h"
#include "daemon/note.h"
#include "daemon/recall.h"
#include "daemon/store.h"

#define HOOKS_SERVICE_PREFIX "osteoguard-" /* a service's id: this and the hook's name */

/* The hook of a service id; NULL: there is no such service, or no rule answers on its hook. */
const hook_kind *hooks_service(const plan_content *c, og_str id);

/* The body of GET cds-services (2.0 "Discovery"), with prefetch templates from what rules read. */
void hooks_discovery(const plan_content *c, og_buf *out);

typedef struct hooks_call {
    /* in; all borrowed */
    const plan_content *content;
    const char *tenant, *language;
    /* Of the patient's partition. store NULL: another instance has it; then the call is answered
     * when it brings all that the rules need, or all of it was fetched, else with 503. */
    store *store, *shared;
    const hook_request *request;
    const feedback_policy *feedback;
    const char *program; /* what evaluates (note.h); NULL: nothing is noted, all rules are asked */
    recall *recall;      /* of what calls have evaluated; may be NULL */
    int64_t now_ms;
    int offset_min;
    int64_t known_ms;      /* until when the store has what the sources say; -1: not known */
    og_arena *arena;       /* the answer lives here */
    const og_str *fetched; /* bodies from the EHR's FHIR server: resources and pages */
    size_t fetched_count;
    bool tried, complete; /* hooks_lacks has named something; all of it came */
    /* out */
    bool known;    /* of hooks_lacks: the store has something of the patient */
    int status;    /* HTTP */
    og_str answer; /* JSON; an OperationOutcome unless status is 200 */
    size_t cards;
    plan_alert *shown; /* cards that no alert stands behind, if they are not noted yet (shown.h) */
    size_t shown_count;
    bool evaluated;               /* the rules ran for this call */
    const plan_outcome *outcomes; /* then: what became of each rule, for the log; lives in arena */
    size_t outcome_count;
    size_t asked, spared;   /* rules that ran, and that were known to come out as last time */
    size_t misread;         /* resources with elements of the wrong form, which were left out */
    char misread_path[256]; /* of the first of them */
    og_error error;         /* status 500: what happened, for the log */
} hooks_call;

/* What the call needs and neither it nor the store has (prefetch.h); nothing when no rule speaks
 * about its drafts. content, store, request and arena of the call are used; *ret lives in the
 * arena. */
OG_MUSTCHECK og_status hooks_lacks(hooks_call *c, const prefetch_need **ret, size_t *ret_count,
                                   og_error *err);

/* Answers a request that hook_request_read accepted. */
void hooks_answer(hooks_call *c);

/* An OperationOutcome (R4) with one issue, as text in a: code is one of issue-type. path may be
 * empty. */
og_str hooks_outcome(og_arena *a, const char *code, const char *text, const char *path);

#endif
