/* All rules for one patient: conditions, cards, the next moment to look again.
 *
 * Every rule that fires builds its card before suppression is decided. A rule whose card cannot be
 * built has failed, and a failed rule suppresses nobody: a fault in one rule never silences
 * another. Rules are visited in the order of their ids, suppression in an order fixed when the
 * content was loaded, so the result does not depend on the order of files. */
#include "rules/plan/plan_private.h"

#include <stdlib.h>
#include <uuid/uuid.h>

#include "rules/cql/kept.h"

#define DAY_MS 86400000LL

#define KEEP_STEPS       1000 /* of an evaluation of which values are kept */
#define KEEP_VALUE_STEPS 64   /* of a definition whose value is */
#define KEEP_BYTES       ((size_t)128 << 10)

/* ---- expressions ---- */

/* The expression's place as the engine gives it (library, define), for an error that has none. */
static void place(const plan__expr *x, og_error *err)
{
    char name[256];

    if (err == NULL || x->library == NULL)
        return;
    snprintf(name, sizeof name, "%.*s", OG_STR_ARG(cql_library_name(x->library)));
    og_error_origin(err, name);
    snprintf(name, sizeof name, "%.*s", OG_STR_ARG(cql_define_name(x->define)));
    og_error_path(err, name);
}

og_status plan__expr_value(cql_run *run, const plan__expr *x, cql_value *ret, og_error *err)
{
    *ret = CQL_NULL_VALUE;
    if (x->define == NULL)
        return OG_OK;
    og_status s = cql_run_define(run, x->define, ret, err);
    if (s != OG_OK)
        place(x, err);
    return s;
}

og_status plan__expr_kind(const plan__expr *x, cql_value v, const char *must, og_error *err)
{
    og_buf name;

    og_buf_init(&name, 400);
    cql_value_type(&name, v);
    og_fail(err, OG_EVAL, "'%.*s' must %s, is %.*s", OG_STR_ARG(x->text), must,
            OG_STR_ARG(og_buf_str(&name)));
    og_buf_done(&name);
    place(x, err);
    return OG_EVAL;
}

og_status plan__expr_text(cql_run *run, const plan__expr *x, og_str *ret, og_error *err)
{
    cql_value v;
    og_status s = plan__expr_value(run, x, &v, err);

    *ret = (og_str){0};
    if (s != OG_OK || cql_is_null(v))
        return s;
    if (v.kind != CQL_STRING)
        return plan__expr_kind(x, v, "be a String", err);
    *ret = cql_str(v);
    return OG_OK;
}

og_status plan__expr_all(cql_run *run, const plan__expr *x, size_t count, bool *ret, og_error *err)
{
    *ret = true;
    for (size_t i = 0; i < count && *ret; i++) {
        cql_value v;
        og_status s = plan__expr_value(run, &x[i], &v, err);
        if (s != OG_OK)
            return s;
        if (v.kind != CQL_BOOLEAN && v.kind != CQL_NULL)
            return plan__expr_kind(&x[i], v, "be a Boolean", err);
        *ret = v.kind == CQL_BOOLEAN && v.boolean;
    }
    return OG_OK;
}

bool plan__value_text(og_arena *a, cql_value v, og_str *ret)
{
    char text[64];

    switch ((cql_kind)v.kind) {
    case CQL_NULL: *ret = (og_str){0}; return true;
    case CQL_STRING: *ret = cql_str(v); return true;
    case CQL_BOOLEAN: *ret = v.boolean ? OG_STR("true") : OG_STR("false"); return true;
    case CQL_INTEGER: *ret = og_arena_printf(a, "%d", v.integer); return true;
    case CQL_LONG: *ret = og_arena_printf(a, "%lld", (long long)v.long_); return true;
    case CQL_DECIMAL:
        *ret = og_arena_str(a, (og_str){text, og_decimal_format(v.decimal, v.scale, text)});
        return true;
    case CQL_DATE:
    case CQL_DATETIME:
    case CQL_TIME:
        *ret = og_arena_str(a, (og_str){text, og_temporal_format(&v.temporal, text)});
        return true;
    case CQL_CODE:
        *ret =
            og_arena_printf(a, "%.*s|%.*s", OG_STR_ARG(v.code->system), OG_STR_ARG(v.code->code));
        return true;
    default: return false;
    }
}

/* ---- identities ---- */

void plan__uuid(og_arena *a, const og_str *parts, size_t count, char ret[37])
{
    static const uuid_t name_space = {0x70, 0x8a, 0x45, 0x54, 0x10, 0x36, 0x59, 0x19,
                                      0xb0, 0x98, 0xc0, 0x25, 0x97, 0x20, 0x32, 0x7c};
    size_t size = 1, n = 0;
    uuid_t id;

    ret[0] = '\0';
    for (size_t i = 0; i < count; i++)
        size += 2 * parts[i].n + 1;
    char *name = og_arena_alloc(a, size);
    if (name == NULL)
        return;
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            name[n++] = '|';
        for (size_t k = 0; k < parts[i].n; k++) {
            if (parts[i].p[k] == '|' || parts[i].p[k] == '\\')
                name[n++] = '\\';
            name[n++] = parts[i].p[k];
        }
    }
    uuid_generate_sha1(id, name_space, name, n);
    uuid_unparse_lower(id, ret);
}

/* ---- the next look ---- */

static int64_t next_midnight(const cql_request *q)
{
    int64_t local = q->as_of_ms + (int64_t)q->offset_min * 60000;
    int64_t day = local >= 0 ? local / DAY_MS : -((-local + DAY_MS - 1) / DAY_MS);
    return (day + 1) * DAY_MS - (int64_t)q->offset_min * 60000;
}

static void look_again(int64_t *next, int64_t at)
{
    if (*next == 0 || at < *next)
        *next = at;
}

static og_status review(plan__eval *e, const plan__rule *r, int64_t *next, og_error *err)
{
    cql_value v;
    og_status s = plan__expr_value(e->run, &r->next_review, &v, err);

    if (s != OG_OK)
        return s;
    if (r->next_review.define == NULL) {
        if (r->on_clock)
            look_again(next, next_midnight(&e->request));
        return OG_OK;
    }
    if (cql_is_null(v))
        return OG_OK;
    if (v.kind != CQL_DATE && v.kind != CQL_DATETIME)
        return plan__expr_kind(&r->next_review, v, "be a Date or a DateTime", err);
    int64_t at = og_temporal_earliest_ms(&v.temporal, e->request.offset_min);
    look_again(next, at > e->request.as_of_ms ? at : next_midnight(&e->request));
    return OG_OK;
}

/* ---- one rule, all rules ---- */

/* Nothing that was evaluated comes out otherwise before then. */
static void hold_until(plan__eval *e, int64_t at)
{
    if (at < e->holds_until_ms)
        e->holds_until_ms = at;
}

static og_status begin(plan__eval *e, og_error *err)
{
    if (e->run != NULL)
        hold_until(e, cql_run_changes_ms(e->run));
    e->run = cql_run_begin(e->arena, e->content->cql, &e->request);
    if (e->run == NULL)
        return og_fail(err, OG_NOMEM, "no memory to evaluate");
    cql_run_remember(e->run, e->patient->kept);
    return OG_OK;
}

/* Not for the little that was left to be worked out: to gather the values costs as much as some
 * hundred steps. */
static og_str keep(const plan__eval *e)
{
    uint64_t least = cql_kept_steps(e->patient->kept) / 2;
    if (!e->patient->keeps || cql_run_steps(e->run) < (least > KEEP_STEPS ? least : KEEP_STEPS))
        return (og_str){NULL, 0};
    return cql_run_keep(e->run, e->arena, KEEP_VALUE_STEPS, KEEP_BYTES);
}

static og_status evaluate_rule(plan__eval *e, const plan__rule *r, plan__made *made,
                               plan_outcome *outcome, int64_t *next)
{
    og_error *err = &outcome->error;
    bool applies;
    og_status s = plan__expr_all(e->run, r->conditions, r->condition_count, &applies, err);

    if (s == OG_OK && e->patient->hook.n == 0)
        s = review(e, r, next, err);
    if (s == OG_OK && applies)
        s = plan__card_build(e, r, made, &outcome->note, err);
    if (s == OG_OK)
        outcome->kind = applies ? PLAN_FIRED : PLAN_NOT_FIRED;
    return s;
}

/* OG_NOMEM only: everything else is the rule's own misfortune. */
static og_status ask_rule(plan__eval *e, const plan__rule *r, plan__made *made,
                          plan_outcome *outcome, int64_t *next, og_error *err)
{
    size_t words = plan_content_read_words(e->content);
    uint64_t *reads = e->reads + (size_t)(r - e->content->rules) * words;
    e->asked++;
    cql_run_note_reads(e->run, reads);
    og_status s = evaluate_rule(e, r, made, outcome, next);
    plan__reads_end(e->content, r, outcome->kind != PLAN_NOT_FIRED, reads);
    if (og_arena_failed(e->arena))
        return og_fail(err, OG_NOMEM, "no memory to evaluate rule %.*s", OG_STR_ARG(r->id));
    if (s == OG_OK)
        return OG_OK;
    outcome->kind = PLAN_FAILED;
    if (e->patient->hook.n == 0)
        look_again(next, next_midnight(&e->request)); /* tomorrow may know better */
    return s == OG_LIMIT ? begin(e, err) : OG_OK;     /* the limits are per run */
}

static bool is_held(const plan__eval *e, size_t rule)
{
    return e->patient->held != NULL && plan_rules_has(e->patient->held->rules, rule);
}

static void spare_rule(plan__eval *e, size_t rule, const plan_outcome *as, plan_outcome *outcome,
                       int64_t *next)
{
    outcome->kind = as->kind;
    outcome->by = as->by;
    *next = e->patient->spared_reviews[rule];
    e->spared++;
}

/* Those who fired last time come out as they did when nobody else fires. */
static og_status evaluate_held(plan__eval *e, plan__made *made, plan_outcome *outcomes,
                               int64_t *reviews, og_error *err)
{
    bool others = false;
    og_status s = OG_OK;

    if (e->patient->held == NULL)
        return OG_OK;
    for (size_t i = 0; i < e->content->rule_count; i++)
        others |= outcomes[i].kind == PLAN_FIRED;
    e->brief = !others;
    for (size_t i = 0; i < e->content->rule_count && s == OG_OK; i++) {
        if (!is_held(e, i))
            continue;
        if (others)
            s = ask_rule(e, &e->content->rules[i], &made[i], &outcomes[i], &reviews[i], err);
        else
            spare_rule(e, i, &e->patient->held->outcomes[i], &outcomes[i], &reviews[i]);
    }
    return s;
}

/* Member by member: the texts of the error are long, and almost no rule fails. */
static void begin_outcome(plan_outcome *o, og_str rule)
{
    o->rule = rule;
    o->kind = PLAN_GATED;
    o->by = o->note = o->explain = (og_str){0};
    o->conditions = NULL;
    o->condition_count = 0;
    og_error_init(&o->error);
}

static og_status evaluate_rules(plan__eval *e, plan__made *made, plan_outcome *outcomes,
                                int64_t *reviews, og_error *err)
{
    static const plan_outcome silent = {.kind = PLAN_NOT_FIRED};

    for (size_t i = 0; i < e->content->rule_count; i++) {
        const plan__rule *r = &e->content->rules[i];
        begin_outcome(&outcomes[i], r->id);
        bool runs = r->on_data || r->on_clock || plan__rule_on_hook(r, e->patient->hook);
        if (!runs || is_held(e, i))
            continue;
        if (plan_rules_has(e->patient->spared, i)) {
            spare_rule(e, i, &silent, &outcomes[i], &reviews[i]);
            continue;
        }
        og_status s = ask_rule(e, r, &made[i], &outcomes[i], &reviews[i], err);
        if (s != OG_OK)
            return s;
    }
    return evaluate_held(e, made, outcomes, reviews, err);
}

static int by_weight(const void *a, const void *b)
{
    const plan_card *x = a, *y = b;
    if (x->indicator != y->indicator)
        return x->indicator > y->indicator ? -1 : 1;
    return og_str_cmp(x->rule, y->rule);
}

/* The cards of rules that fired, heaviest first. */
static og_status finish_cards(plan__eval *e, const plan__made *made, const plan_outcome *outcomes,
                              plan_card *cards, size_t *ret_count, og_error *err)
{
    size_t n = 0;

    for (size_t i = 0; i < e->content->rule_count; i++) {
        if (outcomes[i].kind != PLAN_FIRED)
            continue;
        og_status s = plan__card_finish(e, &made[i], &cards[n++], err);
        if (s != OG_OK)
            return s;
    }
    qsort(cards, n, sizeof *cards, by_weight);
    *ret_count = n;
    return OG_OK;
}

/* What the rules' cards are when all are known: some are suppressed, some stand on another's. */
static og_status put_together(plan__eval *e, plan__made *made, plan_outcome *outcomes,
                              plan_card *cards, size_t *ret_count, og_error *err)
{
    if (e->brief) {
        *ret_count = e->patient->held->card_count;
        memcpy(cards, e->patient->held->cards, *ret_count * sizeof *cards);
        return OG_OK;
    }
    plan__relations_suppress(e->content, outcomes);
    if (!plan__relations_merge(e, made, outcomes) || !plan__relations_forbid(e, made, outcomes))
        return og_fail(err, OG_NOMEM, "no memory to evaluate");
    return finish_cards(e, made, outcomes, cards, ret_count, err);
}

/* ---- what each condition comes out as ---- */

static bool fires(const plan_outcome *o)
{
    return o->kind == PLAN_FIRED || o->kind == PLAN_SUPPRESSED || o->kind == PLAN_MERGED;
}

static plan_truth truth_of(plan__eval *e, const plan__expr *x)
{
    cql_value v;
    og_error err;

    og_error_init(&err);
    if (plan__expr_value(e->run, x, &v, &err) != OG_OK || v.kind != CQL_BOOLEAN)
        return PLAN_UNKNOWN;
    return v.boolean ? PLAN_TRUE : PLAN_FALSE;
}

static void tell(plan__eval *e, const plan__expr *x, size_t count, og_str offer, bool asked,
                 plan_condition **to)
{
    for (size_t i = 0; i < count; i++)
        *(*to)++ = (plan_condition){.words = x[i].words,
                                    .expression = x[i].text,
                                    .offer = offer,
                                    .asked = asked,
                                    .holds = asked ? truth_of(e, &x[i]) : PLAN_UNKNOWN};
}

static size_t count_conditions(const plan__rule *r)
{
    size_t n = r->condition_count;

    for (size_t i = 0; i < r->suggestion_count; i++) {
        n += r->suggestions[i].condition_count;
        for (size_t k = 0; k < r->suggestions[i].draft_count; k++)
            n += r->suggestions[i].drafts[k].condition_count;
    }
    return n;
}

static void tell_conditions(plan__eval *e, const plan__rule *r, plan_outcome *o)
{
    size_t count = count_conditions(r);
    plan_condition *list = og_arena_zalloc(e->arena, count + 1, sizeof *list), *to = list;

    if (list == NULL)
        return;
    tell(e, r->conditions, r->condition_count, (og_str){0}, o->kind != PLAN_GATED, &to);
    for (size_t i = 0; i < r->suggestion_count; i++) {
        const plan__suggestion *s = &r->suggestions[i];
        tell(e, s->conditions, s->condition_count, s->label, fires(o), &to);
        for (size_t k = 0; k < s->draft_count; k++)
            tell(e, s->drafts[k].conditions, s->drafts[k].condition_count, s->drafts[k].description,
                 fires(o), &to);
    }
    o->conditions = list;
    o->condition_count = count;
}

static og_status translate_all(plan__eval *e, og_error *err)
{
    const plan_patient *p = e->patient;
    fhir_resource *list;

    if (!e->content->translates || p->resource_count == 0)
        return OG_OK;
    list = og_arena_zalloc(e->arena, p->resource_count, sizeof *list);
    if (list == NULL)
        return og_fail(err, OG_NOMEM, "no memory to evaluate");
    for (size_t i = 0; i < p->resource_count; i++) {
        og_status s = plan__translate(e->content, e->arena, &p->resources[i], &list[i], err);
        if (s != OG_OK)
            return s;
    }
    e->request.resources = list;
    return OG_OK;
}

og_status plan_content_evaluate(const plan_content *c, og_arena *a, const plan_patient *patient,
                                int64_t as_of_ms, int offset_min, plan_depth depth,
                                plan_result *ret, og_error *err)
{
    plan__eval e = {.content = c, .arena = a, .patient = patient, .holds_until_ms = INT64_MAX};
    plan_card *cards = og_arena_zalloc(a, c->rule_count + 1, sizeof *cards);
    plan__made *made = og_arena_zalloc(a, c->rule_count + 1, sizeof *made);
    plan_outcome *outcomes = og_arena_alloc(a, (c->rule_count + 1) * sizeof *outcomes);
    int64_t *reviews = og_arena_zalloc(a, c->rule_count + 1, sizeof *reviews), next = 0;
    size_t count = 0;
    og_status s;

    e.reads = og_arena_zalloc(a, c->rule_count * plan_content_read_words(c) + 1, sizeof *e.reads);
    if (cards == NULL || made == NULL || outcomes == NULL || reviews == NULL || e.reads == NULL)
        return og_fail(err, OG_NOMEM, "no memory to evaluate");
    e.request = (cql_request){.resources = patient->resources,
                              .resource_count = patient->resource_count,
                              .as_of_ms = as_of_ms,
                              .offset_min = offset_min,
                              .parameters = c->parameters,
                              .parameter_count = c->parameter_count,
                              .limits = c->limits,
                              .sourceless = depth < PLAN_REASONS};
    og_table_init(&e.parts, a);
    if ((s = translate_all(&e, err)) != OG_OK || (s = begin(&e, err)) != OG_OK ||
        (s = evaluate_rules(&e, made, outcomes, reviews, err)) != OG_OK ||
        (s = put_together(&e, made, outcomes, cards, &count, err)) != OG_OK)
        return s;
    for (size_t i = 0; i < c->rule_count; i++)
        if (reviews[i] != 0)
            look_again(&next, reviews[i]);
    hold_until(&e, next_midnight(&e.request));
    if (next != 0)
        hold_until(&e, next);
    for (size_t i = 0; depth >= PLAN_CONDITIONS && i < c->rule_count; i++)
        tell_conditions(&e, &c->rules[i], &outcomes[i]);
    for (size_t i = 0; depth >= PLAN_REASONS && i < c->rule_count; i++)
        outcomes[i].explain = plan__explain_rule(&e, &c->rules[i], &outcomes[i]);
    hold_until(&e, cql_run_changes_ms(e.run));
    if (og_arena_failed(a))
        return og_fail(err, OG_NOMEM, "no memory to evaluate");
    *ret = (plan_result){.cards = cards,
                         .card_count = count,
                         .outcomes = outcomes,
                         .outcome_count = c->rule_count,
                         .next_review_ms = next,
                         .reviews = reviews,
                         .asked = e.asked,
                         .spared = e.spared,
                         .reads = e.reads,
                         .kept = keep(&e),
                         .steps = cql_run_steps(e.run),
                         .brief = e.brief,
                         .holds_until_ms = e.holds_until_ms};
    return OG_OK;
}
