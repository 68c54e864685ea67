/* Which rules answer when an EHR asks, and what it should send along (CDS Hooks 2.0). */
#include "rules/plan/plan_private.h"

bool plan__rule_on_hook(const plan__rule *r, og_str hook)
{
    for (size_t i = 0; i < r->hook_count; i++)
        if (og_str_eq(r->hooks[i], hook))
            return true;
    return false;
}

bool plan_content_on_hook(const plan_content *c, og_str rule, og_str hook)
{
    for (size_t i = 0; i < c->rule_count; i++)
        if (og_str_eq(c->rules[i].id, rule))
            return plan__rule_on_hook(&c->rules[i], hook);
    return false;
}

size_t plan_content_hook_rules(const plan_content *c, og_str hook, size_t *ret_only)
{
    size_t count = 0;

    *ret_only = 0;
    for (size_t i = 0; i < c->rule_count; i++) {
        const plan__rule *r = &c->rules[i];
        if (!plan__rule_on_hook(r, hook))
            continue;
        count++;
        *ret_only += !r->on_data && !r->on_clock;
    }
    return count;
}

void plan_content_each_want(const plan_content *c, plan_want_fn *fn, void *ctx)
{
    for (uint32_t i = 0; i < c->wants.count; i++) {
        const plan__want *w = c->wants.entries[i].value;
        if (w->all || w->filters == NULL) {
            fn(ctx, w->type, (og_str){0}, NULL);
            continue;
        }
        for (const plan__filter *f = w->filters; f != NULL; f = f->next)
            fn(ctx, w->type, f->path, f->codes);
    }
}
