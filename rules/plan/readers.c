/* Which rules a resource can matter to. Two steps: which retrieves can find it, and which of those
 * a rule rests on. The second is known best by the evaluation itself (plan_result.reads); of a rule
 * that fires, whose card is put together with those of others, all are taken that its expressions
 * reach.
 *
 * Judged on the side of asking, with the same eyes as want.c: a retrieve is left out only when it
 * is for another type, or only by codes, and the resource has codes of which it asks for none.
 */
#include "rules/plan/plan_private.h"

#include "fhir/model.h"

typedef struct builder {
    plan_content *c;
    bool failed;
} builder;

size_t plan_content_rule_words(const plan_content *c)
{
    return (c->rule_count + 63) / 64;
}

size_t plan_content_read_words(const plan_content *c)
{
    return cql_set_read_words(c->cql);
}

static void put(uint64_t *set, size_t i)
{
    set[i / 64] |= (uint64_t)1 << i % 64;
}

static void put_everybody(const plan_content *c, uint64_t *set)
{
    put(set, cql_set_retrieve_count(c->cql));
}

static void join(const plan_content *c, uint64_t *set, const uint64_t *other)
{
    for (size_t i = 0; i < plan_content_read_words(c); i++)
        set[i] |= other[i];
}

static uint64_t *new_set(builder *b)
{
    uint64_t *set = og_arena_zalloc(b->c->arena, plan_content_read_words(b->c), sizeof *set);
    b->failed |= set == NULL;
    return set;
}

static plan__reads *reads_of(builder *b, og_str type)
{
    plan__reads *r = og_table_get(&b->c->reads, type);
    if (r != NULL)
        return r;
    r = og_arena_zalloc(b->c->arena, 1, sizeof *r);
    if (r != NULL) {
        r->type = type;
        r->finders = new_set(b);
    }
    b->failed |= r == NULL || !og_table_put(&b->c->reads, type, r);
    return b->failed ? NULL : r;
}

static plan__place *place_of(builder *b, plan__reads *r, og_str path)
{
    for (plan__place *p = r->places; p != NULL; p = p->next)
        if (og_str_eq(p->path, path))
            return p;
    plan__place *p = og_arena_zalloc(b->c->arena, 1, sizeof *p);
    b->failed |= p == NULL;
    if (b->failed)
        return NULL;
    *p = (plan__place){.path = path, .finders = new_set(b), .next = r->places};
    r->places = p;
    return b->failed ? NULL : p;
}

static bool is_same(const cql_requirement *a, const cql_requirement *b)
{
    if (a->valueset != NULL || b->valueset != NULL)
        return a->valueset == b->valueset;
    bool same = a->code_count == b->code_count;
    for (size_t i = 0; same && i < a->code_count; i++)
        same = og_str_eq(a->codes[i].system, b->codes[i].system) &&
               og_str_eq(a->codes[i].code, b->codes[i].code);
    return same;
}

static plan__reading *reading_of(builder *b, plan__place *p, const cql_requirement *q)
{
    for (plan__reading *r = p->readings; r != NULL; r = r->next)
        if (is_same(r->what, q))
            return r;
    plan__reading *r = og_arena_zalloc(b->c->arena, 1, sizeof *r);
    fhir_code_key *keys = og_arena_zalloc(b->c->arena, q->code_count + 1, sizeof *keys);
    b->failed |= r == NULL || keys == NULL;
    if (b->failed)
        return NULL;
    for (size_t i = 0; i < q->code_count; i++)
        keys[i] = fhir_code_key_of(q->codes[i].system, q->codes[i].code);
    *r = (plan__reading){.what = q, .keys = keys, .finders = new_set(b), .next = p->readings};
    p->readings = r;
    return b->failed ? NULL : r;
}

static void add_requirement(builder *b, const cql_requirement *q)
{
    if (!fhir_type_is_concrete_resource(fhir_type_of(q->type))) {
        put(b->c->find_all, q->number);
        return;
    }
    plan__reads *r = reads_of(b, q->type);
    if (r == NULL)
        return;
    if (q->code_path.n == 0 || (q->valueset == NULL && q->code_count == 0)) {
        put(r->finders, q->number);
        return;
    }
    plan__place *p = place_of(b, r, q->code_path);
    plan__reading *reading = p != NULL ? reading_of(b, p, q) : NULL;
    if (reading == NULL)
        return;
    put(p->finders, q->number);
    put(reading->finders, q->number);
}

static void add_expression(builder *b, const plan__expr *x, uint64_t *reads)
{
    const cql_requirement *list;
    size_t count = x->define != NULL ? cql_requirements(x->library, x->define, &list) : 0;

    for (size_t i = 0; i < count && !b->failed; i++) {
        put(reads, list[i].number);
        add_requirement(b, &list[i]);
    }
}

static void add_rule(builder *b, plan__rule *r)
{
    r->reads = new_set(b);
    r->card_reads = new_set(b);
    if (b->failed)
        return;
    put_everybody(b->c, r->reads);
    for (size_t i = 0; i < r->condition_count; i++)
        add_expression(b, &r->conditions[i], r->reads);
    add_expression(b, &r->next_review, r->reads);
    join(b->c, r->card_reads, r->reads);
    for (size_t i = 0; i < r->all_count; i++)
        add_expression(b, &r->all[i], r->card_reads);
}

bool plan__readers_build(plan_content *c, og_error *err)
{
    builder b = {.c = c};

    og_table_init(&c->reads, c->arena);
    c->find_all = new_set(&b);
    for (size_t i = 0; i < c->rule_count && !b.failed; i++)
        add_rule(&b, &c->rules[i]);
    if (b.failed)
        og_fail(err, OG_NOMEM, "no memory for the data requirements");
    return err->status == OG_OK;
}

const uint64_t *plan_content_rule_reads(const plan_content *c, size_t i, bool card)
{
    return card ? c->rules[i].card_reads : c->rules[i].reads;
}

void plan__reads_end(const plan_content *c, const plan__rule *r, bool all, uint64_t *reads)
{
    put_everybody(c, reads);
    if (all)
        join(c, reads, r->card_reads);
}

/* ---- a resource ---- */

typedef struct asking {
    const plan_content *c;
    const plan__place *place;
    uint64_t *finders;
} asking;

static bool asks_for(const plan__reading *r, const fhir_code_key *key)
{
    if (r->what->valueset != NULL)
        return fhir_valueset_has_key(r->what->valueset, key);
    for (size_t i = 0; i < r->what->code_count; i++)
        if (fhir_code_key_equal(key, &r->keys[i]))
            return true;
    return false;
}

static bool who_asks(void *ctx, const fhir_code_key *key)
{
    const asking *s = ctx;
    bool any = false;

    for (const plan__reading *r = s->place->readings; r != NULL; r = r->next)
        if (asks_for(r, key)) {
            join(s->c, s->finders, r->finders);
            any = true;
        }
    return any;
}

void plan_content_finders(const plan_content *c, og_arena *a, const fhir_resource *r, uint64_t *ret)
{
    const plan__reads *reads = og_table_get(&c->reads, r->type);
    bool is_patient = og_str_is(r->type, "Patient");

    for (size_t i = 0; i < plan_content_read_words(c); i++)
        ret[i] = is_patient ? UINT64_MAX : c->find_all[i];
    if (reads == NULL || is_patient)
        return;
    join(c, ret, reads->finders);
    for (const plan__place *p = reads->places; p != NULL; p = p->next) {
        asking s = {c, p, ret};
        if (plan__judge(c, a, r, p->path, who_asks, &s) == PLAN__NOTHING)
            join(c, ret, p->finders);
    }
}
