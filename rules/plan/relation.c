/* What rules mean for each other: one suppresses another, one's words stand on another's card, one
 * forbids the medicines that others would offer (rules/content/README.md).
 *
 * When the content is loaded, names become numbers and circles are refused. In a run the order is:
 * suppression, decided by the conditions alone; merging, among the cards that are left; forbidding,
 * over all of these. A rule that is suppressed or merged still forbids, for what makes it fire is
 * true; a rule that failed says nothing. */
#include "rules/plan/plan_private.h"

#include <stdlib.h>

/* ---- loading ---- */

/* The numbers of the rules that are mentioned, in this order; those that are off are passed over.
 */
static const uint32_t *numbers_of(plan_content *c, const plan__mentions *mentions)
{
    uint32_t *list = og_arena_zalloc(c->arena, mentions->count + 1, sizeof *list);
    size_t n = 0;

    if (list == NULL)
        return NULL;
    for (size_t k = 0; k < mentions->count; k++) {
        const plan__rule *other = plan__rule_find(c->rules, c->rule_count, mentions->at[k].id);
        if (other != NULL)
            list[n++] = (uint32_t)(other - c->rules);
    }
    list[n] = UINT32_MAX;
    return list;
}

/* Rules before those that their lists name. What a circle leaves over is reported. */
static const uint32_t *order_by(plan__load *l, const uint32_t *const *lists, const char *what)
{
    plan_content *c = l->content;
    uint32_t *order = og_arena_zalloc(c->arena, c->rule_count + 1, sizeof *order);
    uint32_t *above = og_arena_zalloc(l->scratch, c->rule_count + 1, sizeof *above);
    size_t n = 0;

    if (order == NULL || above == NULL)
        return NULL;
    for (size_t i = 0; i < c->rule_count; i++)
        for (const uint32_t *k = lists[i]; *k != UINT32_MAX; k++)
            above[*k]++;
    for (size_t i = 0; i < c->rule_count; i++)
        if (above[i] == 0)
            order[n++] = (uint32_t)i;
    for (size_t i = 0; i < n; i++)
        for (const uint32_t *k = lists[order[i]]; *k != UINT32_MAX; k++)
            if (--above[*k] == 0)
                order[n++] = *k;
    for (size_t i = 0; n < c->rule_count && i < c->rule_count; i++)
        if (above[i] != 0)
            plan__problem(
                l, c->rules[i].file, (og_str){c->rules[i].doc->text, c->rules[i].doc->size}, 0,
                "rule %.*s takes part in a circle of %s", OG_STR_ARG(c->rules[i].id), what);
    return order;
}

/* What interrupts must not end in a worklist. */
static void check_channels(plan__load *l, const plan__rule *r)
{
    for (size_t k = 0; !r->worklist && k < r->merge_into.count; k++) {
        const plan__mention *m = &r->merge_into.at[k];
        const plan__rule *host = plan__rule_find(l->content->rules, l->content->rule_count, m->id);
        if (host != NULL && host->worklist)
            plan__problem(l, r->file, (og_str){r->doc->text, r->doc->size}, m->at,
                          "rule %.*s is for a worklist, this one interrupts: it cannot merge there",
                          OG_STR_ARG(m->id));
    }
}

bool plan__relations_resolve(plan__load *l)
{
    plan_content *c = l->content;
    const uint32_t **suppressed = og_arena_zalloc(c->arena, c->rule_count + 1, sizeof *suppressed);
    const uint32_t **hosts = og_arena_zalloc(c->arena, c->rule_count + 1, sizeof *hosts);

    if (suppressed == NULL || hosts == NULL)
        return false;
    for (size_t i = 0; i < c->rule_count; i++) {
        check_channels(l, &c->rules[i]);
        suppressed[i] = numbers_of(c, &c->rules[i].suppresses);
        hosts[i] = numbers_of(c, &c->rules[i].merge_into);
        if (suppressed[i] == NULL || hosts[i] == NULL)
            return false;
    }
    c->suppressed = suppressed;
    c->hosts = hosts;
    c->order = order_by(l, suppressed, "suppression");
    return c->order != NULL && order_by(l, hosts, "merging") != NULL;
}

/* ---- suppression ---- */

void plan__relations_suppress(const plan_content *c, plan_outcome *outcomes)
{
    for (size_t i = 0; i < c->rule_count; i++) {
        uint32_t rule = c->order[i]; /* suppressors first: its own fate is known */
        if (outcomes[rule].kind != PLAN_FIRED)
            continue;
        for (const uint32_t *k = c->suppressed[rule]; *k != UINT32_MAX; k++) {
            plan_outcome *o = &outcomes[*k];
            bool first = o->kind == PLAN_SUPPRESSED && og_str_cmp(c->rules[rule].id, o->by) < 0;
            if (o->kind != PLAN_FIRED && !first)
                continue;
            o->kind = PLAN_SUPPRESSED;
            o->by = c->rules[rule].id;
        }
    }
}

/* ---- merging ---- */

/* The first host that has a card; UINT32_MAX: none. */
static uint32_t host_of(const plan_content *c, const plan_outcome *outcomes, uint32_t rule)
{
    for (const uint32_t *k = c->hosts[rule]; *k != UINT32_MAX; k++)
        if (outcomes[*k].kind == PLAN_FIRED)
            return *k;
    return UINT32_MAX;
}

static int by_weight(const void *a, const void *b)
{
    const plan__made *x = *(const plan__made *const *)a, *y = *(const plan__made *const *)b;
    if (x->card.indicator != y->card.indicator)
        return x->card.indicator > y->card.indicator ? -1 : 1;
    return og_str_cmp(x->rule->id, y->rule->id);
}

static bool add_guest(plan__eval *e, plan__made *host, const plan__made *guest)
{
    if (host->guests == NULL) {
        void *list = og_arena_alloc(e->arena, e->content->rule_count * sizeof *host->guests);
        if (list == NULL)
            return false;
        host->guests = list;
    }
    host->guests[host->guest_count++] = guest;
    return true;
}

bool plan__relations_merge(plan__eval *e, plan__made *made, plan_outcome *outcomes)
{
    const plan_content *c = e->content;
    uint32_t *last = og_arena_zalloc(e->arena, c->rule_count + 1, sizeof *last);

    if (last == NULL)
        return false;
    for (uint32_t i = 0; i < c->rule_count; i++) { /* before any outcome changes */
        last[i] = i;
        for (uint32_t h = i; outcomes[i].kind == PLAN_FIRED && h != UINT32_MAX;
             h = host_of(c, outcomes, h))
            last[i] = h;
    }
    for (uint32_t i = 0; i < c->rule_count; i++) {
        if (last[i] == i)
            continue;
        outcomes[i].kind = PLAN_MERGED;
        outcomes[i].by = c->rules[last[i]].id;
        if (!add_guest(e, &made[last[i]], &made[i]))
            return false;
    }
    for (uint32_t i = 0; i < c->rule_count; i++)
        if (made[i].guest_count > 1)
            qsort(made[i].guests, made[i].guest_count, sizeof *made[i].guests, by_weight);
    return true;
}

/* ---- forbidding ---- */

static bool forbids(const plan__rule *r, og_str system, og_str code)
{
    for (size_t i = 0; i < r->forbid_count; i++)
        if (fhir_valueset_has(r->forbids[i], system, code))
            return true;
    return false;
}

/* Whether a draft of the suggestion holds a medicine that the rule forbids. */
static bool forbids_suggestion(const plan__rule *r, const plan__json *suggestion)
{
    const plan__json *actions = plan__json_get(suggestion, OG_STR("actions")), *action;

    for (size_t i = 0; (action = plan__json_at(actions, i)) != NULL; i++) {
        const plan__json *resource = plan__json_get(action, OG_STR("resource")), *coding;
        const plan__json *codings = plan__json_get(
            plan__json_get(resource, OG_STR("medicationCodeableConcept")), OG_STR("coding"));
        for (size_t k = 0; (coding = plan__json_at(codings, k)) != NULL; k++)
            if (forbids(r, plan__json_text_of(plan__json_get(coding, OG_STR("system"))),
                        plan__json_text_of(plan__json_get(coding, OG_STR("code")))))
                return true;
    }
    return false;
}

/* "Zoledronic acid 4 mg i.v. (C2: Title; F1: Title)"; empty when no rule forbids it. */
static og_str forbidden_by(plan__eval *e, const plan_outcome *outcomes,
                           const plan__json *suggestion)
{
    og_str label = plan__json_text_of(plan__json_get(suggestion, OG_STR("label"))), line = {0};

    for (size_t i = 0; i < e->content->rule_count; i++) {
        const plan__rule *r = &e->content->rules[i];
        bool holds = outcomes[i].kind == PLAN_FIRED || outcomes[i].kind == PLAN_SUPPRESSED ||
                     outcomes[i].kind == PLAN_MERGED;
        if (!holds || r->forbid_count == 0 || !forbids_suggestion(r, suggestion))
            continue;
        if (line.n == 0)
            line = og_arena_printf(e->arena, "%.*s (%.*s: %.*s", OG_STR_ARG(label),
                                   OG_STR_ARG(r->id), OG_STR_ARG(r->title));
        else
            line = og_arena_printf(e->arena, "%.*s; %.*s: %.*s", OG_STR_ARG(line),
                                   OG_STR_ARG(r->id), OG_STR_ARG(r->title));
    }
    return line.n != 0 ? og_arena_printf(e->arena, "%.*s)", OG_STR_ARG(line)) : line;
}

static bool withhold(plan__eval *e, plan__made *m, const plan_outcome *outcomes)
{
    size_t count = plan__json_length(m->suggestions);

    m->withheld = og_arena_zalloc(e->arena, count + 1, sizeof *m->withheld);
    if (m->withheld == NULL)
        return false;
    for (size_t i = 0; i < plan__json_length(m->suggestions);) {
        og_str line = forbidden_by(e, outcomes, plan__json_at(m->suggestions, i));
        if (line.n == 0) {
            i++;
            continue;
        }
        plan__json_put(m->suggestions, i, NULL);
        m->withheld[m->withheld_count++] = line;
    }
    return !og_arena_failed(e->arena);
}

bool plan__relations_forbid(plan__eval *e, plan__made *made, const plan_outcome *outcomes)
{
    for (size_t i = 0; i < e->content->rule_count; i++)
        if ((outcomes[i].kind == PLAN_FIRED || outcomes[i].kind == PLAN_MERGED) &&
            !withhold(e, &made[i], outcomes))
            return false;
    return true;
}
