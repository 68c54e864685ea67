/* Rules: PlanDefinition in, cards and alerts out (FHIR R4 Clinical Reasoning, CDS on FHIR; the
 * mapping is described in rules/content/README.md).
 *
 * plan_content is a folder's worth of knowledge, checked as a whole, then immutable. No files here:
 * the caller hands the bytes of each file in. */
#ifndef OG_PLAN_PLAN_H
#define OG_PLAN_PLAN_H

#include "rules/cql/cql.h"

typedef struct plan_content plan_content;

typedef struct plan_file {
    const char
        *name; /* relative to the content folder: "PlanDefinition-D3.json", "elm/Schedule.json" */
    og_str text;
} plan_file;

typedef struct plan_setting { /* a CQL parameter that the configuration sets */
    const char *name;         /* "Overdue Warn" or "Schedule.Overdue Warn" */
    const char *value;        /* CQL literal */
} plan_setting;

typedef struct plan_options {
    const plan_setting *settings;
    size_t setting_count;
    const char *const *disabled; /* rule ids that are switched off */
    size_t disabled_count;
    const char *language;    /* "en" (default), "de": FHIR translation extensions choose */
    og_report *untranslated; /* texts of rules that language lacks, by their place; or NULL */
    og_report
        *warnings;     /* what is odd and does no harm: a definition that no rule names; or NULL */
    cql_limits limits; /* of one patient's evaluation; 0 in each: the engine's default */
} plan_options;

/* Loads and checks everything; every problem goes to report with file, line and column where it has
 * them. On any error returns its status and leaves *ret alone. The files' bytes are copied where
 * needed. Names that are no part of the knowledge (README.md, cases/, scripts) are passed over.
 * Caller owns *ret. */
OG_MUSTCHECK og_status plan_content_load(const plan_file *files, size_t count,
                                         const plan_options *options, plan_content **ret,
                                         og_report *report);
void plan_content_free(plan_content *c);
/* Hex digest over all files and settings: the rule set's version, stored with every alert. */
const char *plan_content_digest(const plan_content *c);
const cql_set *plan_content_cql(const plan_content *c);
const fhir_terminology *plan_content_terminology(const plan_content *c);
size_t plan_content_rule_count(const plan_content *c);
const char *plan_content_rule_id(const plan_content *c, size_t i);

/* The rule says of itself that it fires because something is not there (extension absence): while
 * data may be on their way, its alerts are not to be opened. false for a rule that is not there. */
bool plan_content_rests_on_absence(const plan_content *c, og_str rule);

/* What any rule can ever ask for (DESIGN 5.4): false means that gather may drop the resource. A
 * type that rules read with a code filter is dropped when it has codings and none matches; Patient
 * and types read without filter always pass. */
bool plan_content_wants(const plan_content *c, const fhir_resource *r);
bool plan_content_wants_type(const plan_content *c, og_str type);

/* Sets of rules have a bit for each, rule i at bit i % 64 of word i / 64; so many words. */
size_t plan_content_rule_words(const plan_content *c);
static inline bool plan_rules_has(const uint64_t *rules, size_t i)
{
    return rules != NULL && (rules[i / 64] >> i % 64 & 1) != 0;
}
/* Sets of retrieves, in the same way, and how many words they have. Behind the last retrieve stands
 * a bit that every rule's set has and every Patient's: a Patient matters to all. */
size_t plan_content_read_words(const plan_content *c);
/* The retrieves that can find this resource, judged on the safe side, as plan_content_wants is. ret
 * has room for a set; a is for the call. */
void plan_content_finders(const plan_content *c, og_arena *a, const fhir_resource *r,
                          uint64_t *ret);
/* The retrieves on which it can ever depend whether rule i fires and when it is looked at again;
 * with its card, on which that can depend too. */
const uint64_t *plan_content_rule_reads(const plan_content *c, size_t i, bool card);

/* ---- CDS Hooks: who answers, and what is to be sent along ---- */

/* Does the rule with this id answer on this hook (a named-event trigger)? */
bool plan_content_on_hook(const plan_content *c, og_str rule, og_str hook);
/* How many rules answer on a hook; *ret_only: those that run on hooks only. */
size_t plan_content_hook_rules(const plan_content *c, og_str hook, size_t *ret_only);
/* What rules read, one call per resource type and code element: those with one of these codes;
 * path empty: all of that type (codes NULL). Patient is not among them. */
typedef void plan_want_fn(void *ctx, og_str type, og_str path, const fhir_valueset *codes);
void plan_content_each_want(const plan_content *c, plan_want_fn *fn, void *ctx);

/* ---- evaluation ---- */

typedef struct plan_patient {
    og_str tenant, id;              /* id as used for routing (logical id without "Patient/") */
    og_str plain_id;                /* as the resources name it; empty: id */
    const fhir_resource *resources; /* see cql_request */
    size_t resource_count;
    og_str hook; /* CDS Hooks: the hook that asks; its own rules run too. Empty: nobody asks */
    const uint64_t *spared; /* rules that are known not to fire: they are not asked. NULL: none */
    const int64_t *spared_reviews; /* plan_result.reviews of last time, of those held too */
    const struct plan_held
        *held;   /* rules that are known to come out so as long as no other one fires:
                  * they are not asked either, unless one does. NULL: none */
    og_str kept; /* plan_result.kept of before, without what does not hold any more: values of
                  * definitions that need not be worked out. PLAN_CARDS and PLAN_CONDITIONS only */
    bool keeps;  /* plan_result.kept is wanted */
} plan_patient;

typedef enum plan_indicator { PLAN_INFO, PLAN_WARNING, PLAN_CRITICAL } plan_indicator;

typedef struct plan_evidence {
    og_str label, value, date,
        reference; /* "Creatinine", "124 umol/L", "2026-02-27", "Observation/1" */
} plan_evidence;

typedef struct plan_card {
    og_str rule;       /* "D3" */
    og_str slot;       /* declared by the rule, part of the alert's identity */
    char alert_id[37]; /* UUIDv5 of tenant|patient|rule|slot (STREAM 3.5) in the namespace
                        * 708a4554-1036-5919-b098-c0259720327c, which is the UUIDv5 of
                        * https://osteoguard.org/fhir in the URL namespace */
    plan_indicator indicator;
    og_str summary, detail; /* detail: GitHub-flavoured markdown with the evidence */
    const plan_evidence *evidence;
    size_t evidence_count;
    og_str json;       /* the CDS Hooks card without uuid, one line, RFC 8259 */
    bool worklist;     /* for a worklist: it interrupts nobody (its indicator is info) */
    uint64_t material; /* hash of what is material: indicator, suggestions, and the rule's
                        * `material` expression or else the summary (STREAM 3.5) */
} plan_card;

typedef enum plan_outcome_kind {
    PLAN_FIRED,
    PLAN_NOT_FIRED,
    PLAN_SUPPRESSED, /* it would fire, but a firing rule that is not itself suppressed suppresses it
                      */
    PLAN_MERGED,     /* it fires, and what it says stands on the card of another rule */
    PLAN_FAILED,     /* an expression failed: it neither fires nor suppresses */
    PLAN_GATED       /* not run here: it answers to other hooks only */
} plan_outcome_kind;

/* Three-valued, as CQL is. PLAN_UNKNOWN: null, or it failed. */
typedef enum plan_truth { PLAN_FALSE, PLAN_TRUE, PLAN_UNKNOWN } plan_truth;

typedef struct plan_condition {
    og_str words; /* what it says, in the content's language; empty when the rule has no words */
    og_str expression; /* as the rule names it */
    og_str offer; /* the label of the suggestion or draft that it decides of; empty: the rule */
    bool asked;   /* false: of a suggestion, and the rule does not fire */
    plan_truth holds;
} plan_condition;

/* How much is told beside the cards. */
typedef enum plan_depth {
    PLAN_CARDS,      /* nothing; conditions are asked up to the first that is not true */
    PLAN_CONDITIONS, /* what each condition comes out as: all are asked */
    PLAN_REASONS     /* and why: plan_outcome.explain */
} plan_depth;

typedef struct plan_outcome { /* one per rule */
    og_str rule;
    plan_outcome_kind kind;
    og_str by;      /* PLAN_SUPPRESSED: the rule that does; PLAN_MERGED: the one with the card */
    og_error error; /* PLAN_FAILED: origin is the library, path the define that failed */
    og_str note;    /* what had to be mended (a summary that was cut), else empty */
    const plan_condition *conditions; /* the rule's, then its suggestions'; NULL unless asked for */
    size_t condition_count;
    og_str
        explain; /* JSON object text; empty unless asked for:
                  *   {"title","because","conditions":[{"text","holds","values":[{"name","value","reference",
                  *    "setting"}],"resources":[{"reference","shown","named"}]}],
                  *    "expressions":[{"role","library","expression","value" or "error","place",
                  *    "parts":[PART]}],"resources":["Observation/1"]}
                  *   PART: {"name","library","place","value" or "error","parts":[PART]}
                  * because is one sentence in the content's language, holds true, false or null,
                  * setting true for a parameter, named true for a record that a value names. place
                  * is line:column-line:column in the library's CQL, of a part in the library of the
                  * definition that it is part of. A part without name is a test or a step of the
                  * definition; one with a name is shown with its own parts where it first occurs.
                  * Conditions alone have parts. */
} plan_outcome;

/* How rules came out last time that fired, were suppressed or merged. */
typedef struct plan_held {
    const uint64_t *rules;
    const plan_outcome *outcomes; /* of each of the content's rules: kind and by */
    const plan_card *cards;       /* rule, alert_id and material, in their order */
    size_t card_count;
} plan_held;

typedef struct plan_result {
    const plan_card *cards;
    size_t card_count;
    const plan_outcome *outcomes;
    size_t outcome_count;
    int64_t next_review_ms; /* when the result can change without new data; 0: never, or a hook
                             * asks: it asks again when it wants to know */
    const int64_t *reviews; /* the same of each rule */
    size_t asked;           /* rules that were evaluated; neither spared nor PLAN_GATED */
    size_t spared;
    const uint64_t *reads; /* a set for each rule that was asked, of the retrieves on which it rests
                            * how it came out (for one that did not fire those that it came to:
                            * what stands behind a condition that does not hold may change);
                            * empty: it was not asked */
    og_str kept; /* values of definitions for a later evaluation of nearly the same resources with
                  * this content (rules/cql/kept.h), in place of those that the patient came
                  * with; empty: it was not worth it. They hold as the rest does */
    uint64_t steps;         /* nodes evaluated */
    bool brief;             /* those held were not asked: the cards are theirs, without words */
    int64_t holds_until_ms; /* every rule that was asked and did not fail comes out so again, with
                             * the same review, before this as-of time, with the same offset, as
                             * long as no resource comes, changes or goes that its reads can find;
                             * of rules that fired that is true together: as long as none else
                             * does */
} plan_result;

/* Evaluates all rules for one patient at as_of. Resources are seen with the codings that
 * ConceptMaps add; the caller's stay as they are. offset_min is the site's at as_of: it makes
 * Today() and the next local midnight. A failing rule costs that rule only (PLAN_FAILED). Same
 * input and as_of give the same result, whichever rules are spared; but for a rule that fails
 * because those before it have used up the steps. Everything lives in a and borrows the patient's
 * documents.
 */
OG_MUSTCHECK og_status plan_content_evaluate(const plan_content *c, og_arena *a,
                                             const plan_patient *patient, int64_t as_of_ms,
                                             int offset_min, plan_depth depth, plan_result *ret,
                                             og_error *err);

/* ---- alerts: what we believe ---- */

typedef enum plan_alert_state {
    PLAN_ALERT_ACTIVE,
    PLAN_ALERT_RESOLVED,
    PLAN_ALERT_SHOWN /* no alert: a card that a call alone was answered with. Its id is the card's;
                      * it is never delivered, resolved or shown again, only answered */
} plan_alert_state;

/* What somebody has answered to an alert's card. */
typedef enum plan_answer {
    PLAN_UNANSWERED,
    PLAN_ACCEPTED,   /* it stays until the data resolve it */
    PLAN_OVERRIDDEN, /* not shown until until_ms, or until something material changes */
    PLAN_LAPSED,     /* was overridden; that time is over, it is shown again */
    PLAN_IGNORED     /* nobody has said anything for long; it is shown as before */
} plan_answer;

typedef struct plan_feedback {
    plan_answer answer;
    og_str who, system, code; /* the client; the override's reason; may be empty */
    int64_t shown_ms;         /* when the card came up that it is about */
    int64_t at_ms, until_ms;  /* until_ms: of an override */
} plan_feedback;

typedef struct plan_alert {
    char id[37];
    og_str rule, slot;
    plan_alert_state state;
    uint32_t revision; /* from 1, rises only when something material changes or it re-opens */
    uint64_t material;
    plan_indicator indicator;
    bool worklist; /* for a worklist, never an interrupting card */
    int64_t opened_ms, changed_ms, resolved_ms;
    char card_uuid[37]; /* of alert id and revision (plan_alert_mark_name) */
    og_str card;        /* the CDS Hooks card with its uuid, one line */
    og_str digest;      /* rule set that made it */
    og_str hook;        /* PLAN_ALERT_SHOWN: the hook that was called; else empty */
    int64_t lost_ms; /* the loss that took its patient's records, and they are not back; 0: none */
    plan_feedback feedback;
} plan_alert;

typedef enum plan_change_kind {
    PLAN_OPENED,
    PLAN_CHANGED,
    PLAN_RESOLVED,
    PLAN_ANSWERED /* the same finding, but somebody has answered, or an override is over */
} plan_change_kind;

typedef struct plan_change {
    plan_change_kind kind;
    plan_alert alert;  /* the new state */
    char retracts[37]; /* CHANGED, RESOLVED: uuid of the card that no longer holds; else empty */
} plan_change;

/* Compares a result with the patient's stored alerts, resolved ones among them (they carry the
 * revision on when the alert opens again): only differences come out, in the result's order,
 * resolved ones last. The same result twice gives no change. A rule with PLAN_FAILED or PLAN_GATED
 * leaves its alerts as they are; the alerts of a rule that is no longer in the content are
 * resolved. Changes live in a and borrow from the result and from open. OG_NOMEM. */
OG_MUSTCHECK og_status plan_alert_compare(og_arena *a, const plan_content *c,
                                          const plan_alert *open, size_t open_count,
                                          const plan_result *result, int64_t now_ms,
                                          const plan_change **ret, size_t *ret_count,
                                          og_error *err);
/* True when the alerts say what the result's cards say: comparing them needs none of their words,
 * so the result may be brief. A brief one must not be compared otherwise. */
bool plan_alert_is_said(const plan_alert *open, size_t open_count, const plan_result *result);
/* Whatever is shown of an alert has a uuid that begins as the alert's id does: who hears of the one
 * finds the other. */
#define PLAN_ALERT_MARK 8
/* Makes a UUIDv5 such a one: of version 8, as it is no hash any more (RFC 9562, 5.8). */
void plan_alert_mark_name(const char *alert_id, char uuid[37]);
/* True when nobody is to be interrupted with it for now. */
static inline bool plan_alert_is_silent(const plan_alert *alert)
{
    return alert->feedback.answer == PLAN_OVERRIDDEN;
}
/* What was said about this alert's card, if it is news (an older word, or an override that is over
 * already, is none), and the end of an override. True: *ret is the alert from now on, which borrows
 * from both. An alert that is shown again has a new revision, and thus a card with a new uuid, that
 * says who had overridden it until when. */
bool plan_alert_answer(og_arena *a, const plan_content *c, const plan_alert *alert,
                       const plan_feedback *said, int64_t now_ms, plan_alert *ret);
bool plan_alert_lapse(og_arena *a, const plan_content *c, const plan_alert *alert, int64_t now_ms,
                      plan_alert *ret);
/* When an alert counts as ignored: after_ms without a word from when it came up or changed; 0: it
 * does not, or no more. Nothing but what is said of it depends on that. */
int64_t plan_alert_ignored_ms(const plan_alert *alert, int64_t after_ms);
/* True: it does now, *ret is the alert from now on and borrows from it. */
bool plan_alert_ignore(const plan_alert *alert, int64_t after_ms, int64_t now_ms, plan_alert *ret);
/* For a card: who overrode it until when. Needs no escapes in JSON. */
og_str plan_feedback_note(og_arena *a, const plan_content *c, const plan_feedback *feedback);
/* For how many days an override with this reason holds, as the rule declares it (the extension
 * override-days of the reason's Coding); -1: it does not. */
int64_t plan_content_override_days(const plan_content *c, og_str rule, og_str system, og_str code);

/* An alert as it is stored: one line of JSON, and back. Lives in a ({NULL,0}: no memory); a read
 * alert borrows from text. OG_SYNTAX, OG_INVALID with path, OG_NOMEM. */
og_str plan_alert_write(og_arena *a, const plan_alert *alert);
OG_MUSTCHECK og_status plan_alert_read(og_arena *a, og_str text, plan_alert *ret, og_error *err);

#endif
