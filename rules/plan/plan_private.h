/* Shared between the files of this room, not outside it. */
#ifndef OG_PLAN_PRIVATE_H
#define OG_PLAN_PRIVATE_H

#include "fhir/base/table.h"
#include "fhir/model.h"
#include "rules/plan/plan.h"

/* ---- json.c: a small JSON tree, for what is built rather than read ---- */

typedef struct plan__json plan__json;

/* All of these live in a, accept NULL nodes (memory was out: og_arena_failed says so at the end)
 * and borrow the slices that they are given. */
plan__json *plan__json_object(og_arena *a);
plan__json *plan__json_array(og_arena *a);
plan__json *plan__json_string(og_arena *a, og_str text); /* not yet escaped */
plan__json *plan__json_raw(og_arena *a, og_str json);    /* a text as it stands */
plan__json *plan__json_copy(og_arena *a,
                            fhir_elem e); /* number lexemes are kept; NULL when absent */
plan__json *plan__json_clone(og_arena *a, const plan__json *j);
/* Sets a member, in place of one that has this name. A NULL value removes it. */
void plan__json_set(plan__json *object, og_str name, plan__json *value);
void plan__json_set_string(og_arena *a, plan__json *object, const char *name, og_str text);
void plan__json_add(plan__json *array, plan__json *value);
plan__json *plan__json_get(const plan__json *object, og_str name);
/* Element i of an array; count: NULL. */
plan__json *plan__json_at(const plan__json *array, size_t i);
/* Puts value in the place of element i, or behind the last one when i is the count; NULL takes the
 * element away. False when i is beyond. */
bool plan__json_put(plan__json *array, size_t i, plan__json *value);
bool plan__json_is_object(const plan__json *j);
bool plan__json_is_array(const plan__json *j);
size_t plan__json_length(const plan__json *array);
/* Text of a string; empty for anything else. */
og_str plan__json_text_of(const plan__json *j);
/* Appends the tree as one line. null, "", [] and {} are left out at every level, as CDS Hooks wants
 * it (HTTP response, "no null, empty string, array or object"). */
void plan__json_write(og_buf *out, const plan__json *j);
/* The same as text in a; {NULL,0} when memory is out. */
og_str plan__json_text(og_arena *a, const plan__json *j);

/* ---- definition.c: one PlanDefinition, checked ---- */

#define PLAN__MAX_SUMMARY 140 /* CDS Hooks: fewer characters than this */

/* Code points of valid UTF-8. */
size_t plan__characters(og_str s);

typedef struct plan__expr {
    og_str text;  /* as the rule names it */
    og_str words; /* Expression.description in the configured language: what it says, for people */
    const cql_library *library;
    const cql_define *define; /* NULL: no expression */
} plan__expr;

typedef struct plan__step { /* of an element path */
    og_str name;
    int64_t index; /* -1: none given */
    uint16_t type; /* FHIR type behind this step */
    bool is_list;  /* the element repeats */
} plan__step;

typedef struct plan__dynamic {
    const plan__step *steps;
    size_t step_count;
    og_str path;
    plan__expr value;
} plan__dynamic;

typedef struct plan__draft { /* an ActivityDefinition */
    og_str kind;
    uint16_t type;
    const plan__json *resource; /* static part, without subject */
    og_str description;
    plan__expr dynamic_description;
    const plan__dynamic *dynamics;
    size_t dynamic_count;
    const plan__expr *conditions; /* of a further action of the same suggestion */
    size_t condition_count;
} plan__draft;

typedef struct plan__suggestion {
    og_str key; /* element id or number: part of the suggestion's uuid */
    og_str label;
    plan__expr dynamic_label;
    const plan__expr *conditions;
    size_t condition_count;
    const plan__draft *drafts;
    size_t draft_count;
    bool recommended;
} plan__suggestion;

typedef struct plan__coding {
    og_str system, code, display;
    int64_t days; /* override reasons: how long it holds; -1: not said */
} plan__coding;

typedef struct plan__link {
    og_str label, url;
} plan__link;

typedef struct plan__mention { /* of another rule */
    og_str id;
    uint32_t at; /* byte position, for messages */
} plan__mention;

typedef struct plan__mentions {
    const plan__mention *at;
    size_t count;
} plan__mentions;

typedef struct plan__rule {
    og_str id, title, url, version;
    const char *file;
    const fhir_doc *doc;
    og_str source_label, source_url;
    const plan__link *links;
    size_t link_count;
    const plan__coding *override_reasons;
    size_t override_reason_count;
    plan__mentions suppresses, merge_into;
    const fhir_valueset **forbids; /* medicines that no card of the run may offer */
    size_t forbid_count;
    bool on_data, on_clock; /* triggers */
    bool on_absence;        /* it fires because something is not there */
    const og_str *hooks;    /* named events */
    size_t hook_count;
    bool off;      /* retired or disabled */
    bool worklist; /* its alerts interrupt nobody */
    const plan__expr *conditions;
    size_t condition_count;
    og_str summary, detail;
    plan_indicator indicator;
    plan__expr dynamic_summary, dynamic_detail, dynamic_indicator;
    plan__expr evidence, slot, next_review, material;
    og_str static_slot;
    bool at_most_one;
    const plan__suggestion *suggestions;
    size_t suggestion_count;
    const plan__expr *all; /* every expression of the rule, once */
    size_t all_count;
    uint64_t *reads;      /* plan_content_rule_reads: what its firing and next review may rest on */
    uint64_t *card_reads; /* and its card */
} plan__rule;

/* ---- hook.c ---- */

bool plan__rule_on_hook(const plan__rule *r, og_str hook);

/* ---- content.c ---- */

typedef struct plan__filter { /* all codes that rules ask for at one element */
    og_str path;
    const cql_requirement **parts;
    size_t part_count, part_cap;
    const fhir_valueset *codes; /* of all parts together: one look for a coding */
    struct plan__filter *next;
} plan__filter;

typedef struct plan__want { /* what rules read of one resource type */
    og_str type;
    bool all; /* some retrieve has no filter that can be judged here */
    plan__filter *filters;
} plan__want;

typedef struct plan__reading { /* one code filter and the retrieves that have it */
    const cql_requirement *what;
    const fhir_code_key *keys;  /* of its direct codes */
    uint64_t *finders;          /* as plan_content_finders */
    struct plan__reading *next; /* at the same path */
} plan__reading;

typedef struct plan__place { /* where filters look */
    og_str path;
    plan__reading *readings;
    uint64_t *finders; /* all of them */
    struct plan__place *next;
} plan__place;

typedef struct plan__reads { /* what can find resources of a type */
    og_str type;
    uint64_t *finders; /* without a filter that can be judged here */
    plan__place *places;
} plan__reads;

struct plan_content {
    og_arena *arena;
    fhir_terminology *terms;
    cql_set *cql;
    char digest[33];
    bool translates; /* there is a ConceptMap */
    og_str language;
    plan__rule *rules; /* those that are on, by id */
    size_t rule_count;
    const uint32_t *order;             /* rules, suppressors before what they suppress */
    const uint32_t *const *suppressed; /* per rule: numbers of the rules that it suppresses */
    const uint32_t *const *hosts; /* per rule: those that it merges into, the first choice first */
    const cql_parameter *parameters;
    size_t parameter_count;
    cql_limits limits;
    og_table wants;               /* type → plan__want */
    bool wants_whatever;          /* some retrieve of Resource or DomainResource finds everything */
    fhir_terminology *want_terms; /* the value sets of the filters */
    og_table reads;               /* type → plan__reads */
    uint64_t *find_all;           /* retrieves that find whatever there is */
};

typedef struct plan__source { /* a JSON file of the folder, while it is being loaded */
    const char *name;
    og_str text;
    fhir_doc doc;
    bool decoded;
    bool used, faulty; /* an ActivityDefinition: a rule names it; its problems have been told */
} plan__source;

/* What loading carries around. */
typedef struct plan__load {
    plan_content *content;
    og_arena *scratch; /* until loading ends */
    const plan_options *options;
    plan__source *sources; /* JSON files in byte order of their names */
    size_t source_count;
    og_report *report; /* the caller's */
    unsigned count;    /* problems so far */
    og_status status;  /* of the first one */
    bool linked;       /* names of CQL defines can be resolved */
} plan__load;

/* Reports a problem at a byte of a file's text (at -1: no place). */
void plan__problem(plan__load *l, const char *file, og_str text, int64_t at, const char *fmt, ...)
    OG_PRINTF(5, 6);
/* Reports a problem with its element. */
void plan__problem_at(plan__load *l, const char *file, fhir_elem e, const char *fmt, ...)
    OG_PRINTF(4, 5);
/* Gives err the place of an element. */
void plan__place_at(const char *file, fhir_elem e, og_error *err);
/* The place of a JSON or FHIR path in a document: of its deepest part that exists. */
int64_t plan__path_byte(const fhir_doc *doc, og_str path);
/* Position of an element in its text. */
uint32_t plan__elem_byte(fhir_elem e);

/* The rule with this id; NULL: none. */
const plan__rule *plan__rule_find(const plan__rule *rules, size_t count, og_str id);

/* Checks every element of a resource against the model: unknown names, wrong JSON types, null. */
void plan__check_elements(plan__load *l, const char *file, fhir_elem resource);

/* Reports every code of a value set that stands also in one that its extension disjoint-with names.
 * Needs linked terminology. */
void plan__check_disjoint(plan__load *l, const char *file, fhir_elem value_set);

/* The ActivityDefinition file with this canonical (url, or url|version); NULL: none. */
plan__source *plan__activity_find(const plan__load *l, og_str canonical);

/* Reads one PlanDefinition; all its problems are reported. False when it has any. */
bool plan__definition_read(plan__load *l, const plan__source *file, plan__rule *ret);

/* want.c */
bool plan__wants_build(plan_content *c, og_error *err);

/* What is known of the codings at one place. */
typedef enum plan__verdict {
    PLAN__NOTHING, /* no coding that could be judged */
    PLAN__OTHER,   /* codings, and none is asked for */
    PLAN__ASKED_FOR
} plan__verdict;
/* Is this code asked for? */
typedef bool plan__asks(void *ctx, const fhir_code_key *key);
/* Asks for every coding at path of a resource, and for what it translates to. */
plan__verdict plan__judge(const plan_content *c, og_arena *a, const fhir_resource *r, og_str path,
                          plan__asks *asks, void *ctx);

/* readers.c */
bool plan__readers_build(plan_content *c, og_error *err);
/* Completes what was noted while rule r was asked. all: also what its expressions might have read.
 */
void plan__reads_end(const plan_content *c, const plan__rule *r, bool all, uint64_t *reads);

/* translate.c: the resource with the codings that ConceptMaps add; r itself when there are none. */
OG_MUSTCHECK og_status plan__translate(const plan_content *c, og_arena *a, const fhir_resource *r,
                                       fhir_resource *ret, og_error *err);

/* ---- draft.c ---- */

/* A CQL value as JSON of a FHIR type. A value that does not fit gives OG_EVAL; null gives NULL. */
OG_MUSTCHECK og_status plan__value_json(og_arena *a, cql_value v, uint16_t type, plan__json **ret,
                                        og_error *err);
/* Takes a dotted path apart and checks it against the model, beginning at type. */
bool plan__path_read(og_arena *a, og_str path, uint16_t type, const plan__step **ret,
                     size_t *ret_count, og_error *err);
/* A copy of the draft's resource with its computed elements. */
OG_MUSTCHECK og_status plan__draft_build(og_arena *a, cql_run *run, const plan__draft *d,
                                         og_str patient, plan__json **ret, og_error *err);

/* ---- plan.c and card.c ---- */

typedef struct plan__eval {
    const plan_content *content;
    og_arena *arena;
    cql_run *run;
    const plan_patient *patient;
    cql_request request;
    og_table parts; /* of definitions that were explained: see plan__parts_of */
    size_t asked, spared;
    uint64_t *reads; /* plan_result.reads */
    bool brief;
    int64_t holds_until_ms;
} plan__eval;

/* Value of an expression; an error says which. */
OG_MUSTCHECK og_status plan__expr_value(cql_run *run, const plan__expr *x, cql_value *ret,
                                        og_error *err);
/* The same for one that must be a String; null is an empty one. */
OG_MUSTCHECK og_status plan__expr_text(cql_run *run, const plan__expr *x, og_str *ret,
                                       og_error *err);
/* True when all are true; null and false are not. */
OG_MUSTCHECK og_status plan__expr_all(cql_run *run, const plan__expr *x, size_t count, bool *ret,
                                      og_error *err);
/* OG_EVAL: "X must be ..., is System.Integer". */
og_status plan__expr_kind(const plan__expr *x, cql_value v, const char *must, og_error *err);

/* A card's parts, until it is known which rules of the run belong together. */
typedef struct plan__made {
    const plan__rule *rule;
    plan_card card;          /* slot, alert_id, indicator, summary, evidence: its own */
    og_str text, anchor;     /* detail before the table; what is material beside the drafts */
    plan__json *suggestions; /* objects of the card */
    og_str *withheld;        /* a line each: what is not offered, and which rule forbids it */
    size_t withheld_count;
    const struct plan__made **guests; /* cards that this one takes in */
    size_t guest_count;
} plan__made;

/* Makes the parts of the card of a rule whose conditions hold: everything that can fail for other
 * reasons than memory. *ret_note is not empty when something had to be mended (a summary that was
 * cut). */
OG_MUSTCHECK og_status plan__card_build(plan__eval *e, const plan__rule *rule, plan__made *ret,
                                        og_str *ret_note, og_error *err);
/* The whole card, with its guests'. OG_NOMEM. */
OG_MUSTCHECK og_status plan__card_finish(plan__eval *e, const plan__made *made, plan_card *ret,
                                         og_error *err);

/* ---- relation.c: what rules of one run mean for each other ---- */

/* Resolves what the rules say of each other, c->rules being those that are on; circles are
 * problems. False: no memory. */
bool plan__relations_resolve(plan__load *l);
/* A firing rule that is not itself suppressed suppresses. */
void plan__relations_suppress(const plan_content *c, plan_outcome *outcomes);
/* Takes away every suggestion whose drafts hold a medicine that a rule which fires, is suppressed
 * or merged forbids. False: no memory. */
bool plan__relations_forbid(plan__eval *e, plan__made *made, const plan_outcome *outcomes);
/* Gives every guest to its host. False: no memory. */
bool plan__relations_merge(plan__eval *e, plan__made *made, plan_outcome *outcomes);

/* explain.c: why the rule came out as it did, as the JSON of plan_outcome.explain. */
og_str plan__explain_rule(plan__eval *e, const plan__rule *r, const plan_outcome *o);

typedef struct plan__part { /* of a define, as cql_explain tells it */
    og_str place, name, library, value;
    unsigned line, column, end_line, end_column;
    bool row;       /* belongs to the rows of a query */
    bool is_ref;    /* a definition or parameter */
    fhir_elem uses; /* of a function: the definitions that it looks at, {name, library} each */
} plan__part;

typedef struct plan__parts {
    og_str place;           /* of the define itself */
    const plan__part *list; /* in source order: what lies inside part i follows it */
    size_t count;
} plan__parts;

/* What a define is made of, kept for the run; empty when it cannot be told. */
const plan__parts *plan__parts_of(plan__eval *e, const cql_define *d);

/* ---- facts.c: the same for people who do not read CQL ---- */

/* The rule's conditions in words, with the values and records that they rest on, as JSON. */
og_str plan__conditions_json(plan__eval *e, const plan__rule *r, const plan_outcome *o);
/* One sentence in the content's language. */
og_str plan__because(plan__eval *e, const plan__rule *r, const plan_outcome *o);
/* "Calcium 2.35 mmol/L, 2026-02-20"; what a person calls this record. */
og_str plan__record_words(const plan__eval *e, og_arena *a, const fhir_resource *r);

/* Text of a String, Date, DateTime, Time, Integer, Long, Decimal, Boolean or Code; empty for null.
 * False for any other kind. */
bool plan__value_text(og_arena *a, cql_value v, og_str *ret);

/* UUIDv5 in the project's namespace of parts joined by '|'; in a part '\' and '|' are escaped by
 * '\'. */
void plan__uuid(og_arena *a, const og_str *parts, size_t count, char ret[37]);
const char *plan__indicator_name(plan_indicator i);

#endif
