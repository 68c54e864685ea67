/* Counts over the clinical cases: a condition that no case has seen true and false is one whose
 * mistake no case would notice. "Alone" is stronger: how often a condition, and nothing else, kept
 * its rule from firing. */
#include "daemon/coverage.h"

#include <stdlib.h>

#define ARENA_BYTES ((size_t)64 << 20)

typedef struct seen { /* a condition */
    og_str text, offer;
    unsigned is_true, is_false, is_unknown;
    unsigned alone; /* the only one of its rule that was not true */
} seen;

typedef struct rule {
    og_str id;
    unsigned fired, suppressed, merged;
    seen *conditions;
    size_t count;
} rule;

struct coverage {
    og_arena *arena;
    rule *rules;
    size_t count;
};

coverage *coverage_new(void)
{
    coverage *c = calloc(1, sizeof *c);

    if (c != NULL)
        c->arena = og_arena_new(ARENA_BYTES);
    if (c != NULL && c->arena == NULL) {
        free(c);
        return NULL;
    }
    return c;
}

void coverage_free(coverage *c)
{
    if (c == NULL)
        return;
    og_arena_free(c->arena);
    free(c);
}

static bool name_conditions(coverage *c, rule *r, const plan_outcome *o)
{
    r->id = og_arena_str(c->arena, o->rule);
    r->count = o->condition_count;
    r->conditions = og_arena_zalloc(c->arena, r->count + 1, sizeof *r->conditions);
    for (size_t i = 0; r->conditions != NULL && i < r->count; i++) {
        const plan_condition *from = &o->conditions[i];
        r->conditions[i].text =
            og_arena_str(c->arena, from->words.n != 0 ? from->words : from->expression);
        r->conditions[i].offer = og_arena_str(c->arena, from->offer);
    }
    return !og_arena_failed(c->arena);
}

/* All rules, as the first result has them. */
static bool name_rules(coverage *c, const plan_result *result)
{
    c->rules = og_arena_zalloc(c->arena, result->outcome_count + 1, sizeof *c->rules);
    if (c->rules == NULL)
        return false;
    c->count = result->outcome_count;
    for (size_t i = 0; i < c->count; i++)
        if (!name_conditions(c, &c->rules[i], &result->outcomes[i]))
            return false;
    return true;
}

static void count_conditions(rule *r, const plan_outcome *o)
{
    size_t untrue = 0, last = 0;

    for (size_t i = 0; i < r->count; i++) {
        const plan_condition *from = &o->conditions[i];
        if (!from->asked)
            continue;
        r->conditions[i].is_true += from->holds == PLAN_TRUE;
        r->conditions[i].is_false += from->holds == PLAN_FALSE;
        r->conditions[i].is_unknown += from->holds == PLAN_UNKNOWN;
        if (from->offer.n == 0 && from->holds != PLAN_TRUE) {
            untrue++;
            last = i;
        }
    }
    if (untrue == 1)
        r->conditions[last].alone++;
}

bool coverage_add(coverage *c, const plan_result *result, bool (*speaks_of)(void *ctx, og_str rule),
                  void *ctx)
{
    if (c->rules == NULL && !name_rules(c, result))
        return false;
    for (size_t i = 0; i < c->count; i++) {
        const plan_outcome *o = &result->outcomes[i];
        if (!speaks_of(ctx, o->rule))
            continue;
        c->rules[i].fired += o->kind == PLAN_FIRED;
        c->rules[i].suppressed += o->kind == PLAN_SUPPRESSED;
        c->rules[i].merged += o->kind == PLAN_MERGED;
        count_conditions(&c->rules[i], o);
    }
    return true;
}

static const char *gap_of(const seen *s)
{
    if (s->is_true == 0 && s->is_false == 0)
        return "  <- NEVER ASKED";
    if (s->is_true == 0)
        return "  <- NEVER TRUE";
    return s->is_false == 0 ? "  <- NEVER FALSE" : "";
}

static unsigned print_conditions(const rule *r, FILE *to)
{
    unsigned gaps = 0;
    og_str offer = {0};

    fprintf(to, "      true  false   null  alone\n");
    for (size_t i = 0; i < r->count; i++) {
        const seen *s = &r->conditions[i];
        const char *gap = gap_of(s);
        if (s->offer.n != 0 && !og_str_eq(s->offer, offer))
            fprintf(to, "    offers \"%.*s\" when\n", OG_STR_ARG(s->offer));
        offer = s->offer;
        fprintf(to, "    %6u %6u %6u ", s->is_true, s->is_false, s->is_unknown);
        if (s->offer.n == 0)
            fprintf(to, "%6u  ", s->alone);
        else
            fprintf(to, "%6s  ", "");
        fprintf(to, "%.*s%s\n", OG_STR_ARG(s->text), gap);
        gaps += *gap != '\0';
    }
    return gaps;
}

unsigned coverage_print(const coverage *c, FILE *to)
{
    unsigned gaps = 0;
    size_t conditions = 0;

    for (size_t i = 0; i < c->count; i++) {
        const rule *r = &c->rules[i];
        bool silent = r->fired + r->suppressed + r->merged == 0;
        fprintf(to, "%.*s  fired %u, suppressed %u, merged %u%s\n", OG_STR_ARG(r->id), r->fired,
                r->suppressed, r->merged, silent ? "  <- NEVER FIRED" : "");
        gaps += silent + print_conditions(r, to);
        conditions += r->count;
    }
    fprintf(to, "coverage: %zu rules, %zu conditions, %u gap%s\n", c->count, conditions, gaps,
            gaps == 1 ? "" : "s");
    return gaps;
}
