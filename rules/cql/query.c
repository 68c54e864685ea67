/* Queries (CQL 1.5 "Queries", ELM Query) and the loops that ELM has as operators. Aliases, lets and
 * loop variables are slots of the current frame.
 *
 * Order of work for each combination of source elements: lets, relationships, where; what passes
 * goes to the return clause or to the aggregate; duplicates go when the return clause says so (a
 * query without one keeps them); sorting is last and stable. */
#include "rules/cql/op_list.h"
#include "rules/cql/run.h"

cql_value *cql__items_room(cql_run *run, cql__items *l)
{
    if (l->count == l->cap) {
        size_t cap = l->cap != 0 ? l->cap * 2 : 8;
        cql_value *items =
            og_arena_grow(run->arena, l->items, l->cap * sizeof *items, cap * sizeof *items);
        if (items == NULL) {
            (void)cql__no_memory(run);
            return NULL;
        }
        l->items = items;
        l->cap = cap;
    }
    return &l->items[l->count];
}

bool cql__items_add(cql_run *run, cql__items *l, cql_value v)
{
    cql_value *room = cql__items_room(run, l);
    if (room == NULL)
        return false;
    *room = v;
    l->count++;
    return true;
}

/* Is the expression true for the row at hand? */
static bool holds(cql_run *run, const cql__node *n)
{
    cql_value v;
    cql__eval_to(run, n, &v);
    return v.kind == CQL_BOOLEAN && v.boolean;
}

/* The elements of a value: of a list, or the single value itself. */
static const cql_value *elements(const cql_value *v, size_t *ret_count)
{
    if (v->kind == CQL_LIST) {
        *ret_count = v->list->count;
        return v->list->items;
    }
    *ret_count = !cql_is_null(*v);
    return v;
}

static cql_value distinct(cql_run *run, cql_value list)
{
    run->c.precision = 0;
    run->c.weeks = false;
    return cql_op_Distinct(&run->c, &list, 1);
}

/* ---- sorting ---- */

typedef struct sorter {
    cql_run *run;
    const cql__sort *sort;
    const cql_value *keys; /* sort->count for each item */
} sorter;

static bool is_temporal(cql_value v)
{
    return v.kind == CQL_DATE || v.kind == CQL_DATETIME || v.kind == CQL_TIME;
}

/* Calendar values whose order is unknown because one is less precise: components that are missing
 * count as null and stand first, so that a list has one order whatever it was before. */
static int order_of_uncertain(const cql_op_context *c, cql_value x, cql_value y)
{
    if (!is_temporal(x) || !is_temporal(y) || (x.kind == CQL_TIME) != (y.kind == CQL_TIME))
        return 0;
    og_temporal a = x.temporal, b = y.temporal;
    if (x.kind == CQL_TIME) { /* any one day serves */
        a.year = b.year = 2000;
        a.month = a.day = b.month = b.day = 1;
    }
    int64_t first_a = og_temporal_earliest_ms(&a, c->offset_min);
    int64_t first_b = og_temporal_earliest_ms(&b, c->offset_min);
    if (first_a != first_b)
        return first_a < first_b ? -1 : 1;
    return (a.precision > b.precision) - (a.precision < b.precision);
}

/* Nulls are lowest (CQL 1.5 "Sorting"). What cannot be compared keeps its order. */
static int compare_keys(const sorter *s, uint32_t a, uint32_t b)
{
    const cql__sort *sort = s->sort;
    for (uint32_t i = 0; i < sort->count; i++) {
        cql_value x = s->keys[(size_t)a * sort->count + i];
        cql_value y = s->keys[(size_t)b * sort->count + i];
        int order = 0;
        if (cql_is_null(x) || cql_is_null(y))
            order = cql_is_null(y) - cql_is_null(x);
        else if (!cql_compare(&s->run->c, x, y, &order))
            order = order_of_uncertain(&s->run->c, x, y);
        if (order != 0)
            return sort->keys[i].descending ? -order : order;
    }
    return 0;
}

/* Stable, n log n: runs of growing width are merged from `from` to `to`, which change places. */
static uint32_t *merge_sort(const sorter *s, uint32_t *from, uint32_t *to, uint32_t count)
{
    for (uint32_t width = 1; width < count; width *= 2) {
        for (uint32_t start = 0; start < count; start += 2 * width) {
            uint32_t mid = start + width < count ? start + width : count;
            uint32_t end = mid + width < count ? mid + width : count;
            uint32_t a = start, b = mid;
            for (uint32_t out = start; out < end; out++) {
                bool left = a < mid && (b >= end || compare_keys(s, from[a], from[b]) <= 0);
                to[out] = left ? from[a++] : from[b++];
            }
        }
        uint32_t *t = from;
        from = to;
        to = t;
    }
    return from;
}

static cql_value key_of(cql_run *run, const cql__sort *sort, uint32_t i, cql_value item)
{
    cql_value v = item;
    if (sort->keys[i].expression != NULL) {
        run->frame[sort->slot] = item;
        v = cql__eval(run, sort->keys[i].expression);
    }
    return v.kind == CQL_ELEMENT ? cql_element_value(run->arena, v) : v;
}

static cql_value sort_list(cql_run *run, const cql__sort *sort, cql_value list)
{
    if (list.kind != CQL_LIST || list.list->count < 2 || cql__failed(run))
        return list;
    if (list.list->count > UINT32_MAX / 4)
        return cql__fail(run, OG_LIMIT, "list is too long to be sorted");
    uint32_t count = (uint32_t)list.list->count;
    cql_value *keys = og_arena_alloc(run->arena, (size_t)count * sort->count * sizeof *keys);
    uint32_t *order = og_arena_alloc(run->arena, (size_t)count * 2 * sizeof *order);
    cql_value *items = og_arena_alloc(run->arena, (size_t)count * sizeof *items);
    if (keys == NULL || order == NULL || items == NULL)
        return cql__no_memory(run);
    for (uint32_t i = 0; i < count; i++) {
        order[i] = i;
        for (uint32_t k = 0; k < sort->count; k++)
            keys[(size_t)i * sort->count + k] = key_of(run, sort, k, list.list->items[i]);
    }
    if (cql__failed(run))
        return CQL_NULL_VALUE;
    sorter s = {run, sort, keys};
    const uint32_t *sorted = merge_sort(&s, order, order + count, count);
    for (uint32_t i = 0; i < count; i++)
        items[i] = list.list->items[sorted[i]];
    cql_value v = cql__list_of(run, items, count);
    v.from = list.from;
    return v;
}

void cql__eval_sort(cql_run *run, const cql__node *n, cql_value *ret)
{
    *ret = sort_list(run, n->sort, cql__eval(run, n->args[0]));
}

/* ---- queries ---- */

typedef struct query {
    cql_run *run;
    const cql__query *q;
    const cql_value *sources; /* evaluated */
    cql_value *relations; /* those that are the same for every row, once they have been evaluated */
    bool *related;        /* which have */
    cql__items out;
    cql_value total; /* of the aggregate */
} query;

/* True when some (With) or no (Without) element of the relationship satisfies its condition. */
static bool related(query *s, uint32_t which)
{
    cql_run *run = s->run;
    const cql__binding *r = &s->q->relations[which];
    cql_value v;
    size_t count;
    if (r->constant && s->related[which]) {
        v = s->relations[which];
    } else {
        v = cql__eval(run, r->expression);
        s->relations[which] = v;
        s->related[which] = true;
    }
    const cql_value *items = elements(&v, &count);
    for (size_t i = 0; i < count && !cql__failed(run); i++) {
        run->frame[r->slot] = items[i];
        if (r->such_that == NULL || holds(run, r->such_that))
            return !r->without;
    }
    return r->without;
}

static bool accepted(query *s)
{
    const cql__query *q = s->q;
    for (uint32_t i = 0; i < q->relation_count; i++)
        if (!related(s, i) || cql__failed(s->run))
            return false;
    return q->where == NULL || holds(s->run, q->where);
}

static void set_lets(query *s)
{
    for (uint32_t i = 0; i < s->q->let_count; i++) {
        cql_value v = cql__eval(s->run, s->q->lets[i].expression);
        s->run->frame[s->q->lets[i].slot] = v;
    }
}

/* The row as a value: the element of the only source, or a tuple of all aliases. */
static cql_value row_value(query *s)
{
    const cql__query *q = s->q;
    cql_run *run = s->run;
    if (q->source_count == 1)
        return run->frame[q->sources[0].slot];
    cql_tuple *t = og_arena_alloc(run->arena, sizeof *t);
    cql_value *items = og_arena_alloc(run->arena, q->source_count * sizeof *items);
    og_str *names = og_arena_alloc(run->arena, q->source_count * sizeof *names);
    if (t == NULL || items == NULL || names == NULL)
        return cql__no_memory(run);
    for (uint32_t i = 0; i < q->source_count; i++) {
        names[i] = q->sources[i].name;
        items[i] = run->frame[q->sources[i].slot];
    }
    *t = (cql_tuple){{NULL, 0}, names, items, q->source_count};
    return (cql_value){.kind = CQL_TUPLE, .tuple = t};
}

static void accumulate(query *s)
{
    /* The accumulator's slot serves relationships too: it holds the total only from here on. */
    s->run->frame[s->q->aggregate_slot] = s->total;
    s->total = cql__eval(s->run, s->q->aggregate);
}

static void take_row(query *s)
{
    cql_run *run = s->run;
    const cql__query *q = s->q;
    set_lets(s);
    if (cql__failed(run) || !accepted(s) || cql__failed(run))
        return;
    if (q->has_aggregate && !q->aggregate_distinct) {
        accumulate(s);
        return;
    }
    if (q->source_count > 1 && s->out.count >= run->max_list) {
        (void)cql__fail(run, OG_LIMIT, "a query of %u sources makes more than %u rows",
                        q->source_count, run->max_list);
        return;
    }
    cql_value *v = cql__items_room(run, &s->out);
    if (v == NULL)
        return;
    if (q->ret != NULL && !q->has_aggregate) {
        cql__eval_to(run, q->ret, v);
        /* A return that says nothing of the row still rests on it. */
        for (uint32_t i = 0; v->from == NULL && v->kind != CQL_ELEMENT && i < q->source_count; i++)
            cql__rest_on(run, v, &run->frame[q->sources[i].slot], 1);
    } else {
        *v = row_value(s);
    }
    s->out.count++;
}

/* All combinations of the elements of sources i and following. */
static void combine(query *s, uint32_t i)
{
    if (i == s->q->source_count) {
        take_row(s);
        return;
    }
    size_t count;
    const cql_value *items = elements(&s->sources[i], &count);
    for (size_t k = 0; k < count && !cql__failed(s->run); k++) {
        s->run->frame[s->q->sources[i].slot] = items[k];
        combine(s, i + 1);
    }
}

/* aggregate distinct: the rows without duplicates, put back into their slots one after the other.
 */
static void accumulate_distinct(query *s)
{
    cql_run *run = s->run;
    cql_value rows = distinct(run, cql__list_of(run, s->out.items, s->out.count));
    for (size_t i = 0; rows.kind == CQL_LIST && i < rows.list->count && !cql__failed(run); i++) {
        cql_value row = rows.list->items[i];
        for (uint32_t k = 0; k < s->q->source_count; k++)
            run->frame[s->q->sources[k].slot] = s->q->source_count == 1 ? row : row.tuple->items[k];
        set_lets(s);
        accumulate(s);
    }
}

static cql_value finish(query *s, bool list)
{
    cql_run *run = s->run;
    const cql__query *q = s->q;
    if (cql__failed(run))
        return CQL_NULL_VALUE;
    if (q->has_aggregate) {
        if (q->aggregate_distinct)
            accumulate_distinct(s);
        return s->total;
    }
    if (!list)
        return s->out.count != 0 ? s->out.items[0] : CQL_NULL_VALUE;
    cql_value v = cql__list_of(run, s->out.items, s->out.count);
    if (q->ret != NULL && q->distinct && s->out.count > 1)
        v = distinct(run, v);
    return q->sort != NULL ? sort_list(run, q->sort, v) : v;
}

static cql_value query_value(cql_run *run, const cql__query *q)
{
    query s = {.run = run, .q = q, .total = CQL_NULL_VALUE};
    cql_value few[4];
    cql_value *sources = few;
    bool list = false;
    if (q->source_count > 4)
        sources = og_arena_alloc(run->arena, q->source_count * sizeof *sources);
    if (sources == NULL)
        return cql__no_memory(run);
    for (uint32_t i = 0; i < q->source_count; i++) {
        sources[i] = cql__eval(run, q->sources[i].expression);
        if (sources[i].kind == CQL_VALUESET)
            sources[i] = cql__expand(run, sources[i]);
        if (cql_is_null(sources[i]))
            return CQL_NULL_VALUE; /* a query over null is null */
        list |= sources[i].kind == CQL_LIST;
    }
    s.sources = sources;
    if (q->relation_count != 0) {
        s.relations = og_arena_alloc(run->arena, q->relation_count * sizeof *s.relations);
        s.related = og_arena_zalloc(run->arena, q->relation_count, sizeof *s.related);
        if (s.relations == NULL || s.related == NULL)
            return cql__no_memory(run);
    }
    if (q->has_aggregate)
        s.total = cql__eval(run, q->starting);
    combine(&s, 0);
    return finish(&s, list);
}

void cql__eval_query(cql_run *run, const cql__node *n, cql_value *ret)
{
    *ret = query_value(run, n->query);
}

/* ---- loops ---- */

static void set_loop(cql_run *run, const cql__node *n, cql_value item, size_t index)
{
    run->frame[n->slot] = item;
    run->frame[n->slot + 1] = cql_integer((int32_t)index);
}

static cql_value foreach_value(cql_run *run, const cql__node *n)
{
    cql_value v = cql__eval(run, n->args[0]);
    size_t count;
    cql__items out = {0};
    const cql_value *items = elements(&v, &count);
    if (cql_is_null(v))
        return v;
    run->frame[n->slot + 2] = CQL_NULL_VALUE;
    for (size_t i = 0; i < count && !cql__failed(run); i++) {
        set_loop(run, n, items[i], i);
        (void)cql__items_add(run, &out, cql__eval(run, n->args[1]));
    }
    return cql__list_of(run, out.items, out.count);
}

static cql_value filter_value(cql_run *run, const cql__node *n)
{
    cql_value v = cql__eval(run, n->args[0]);
    size_t count;
    cql__items out = {0};
    const cql_value *items = elements(&v, &count);
    if (cql_is_null(v))
        return v;
    run->frame[n->slot + 2] = CQL_NULL_VALUE;
    for (size_t i = 0; i < count && !cql__failed(run); i++) {
        set_loop(run, n, items[i], i);
        if (holds(run, n->args[1]))
            (void)cql__items_add(run, &out, items[i]);
    }
    return cql__list_of(run, out.items, out.count);
}

/* Applies the element expression to what it made before, until nothing new comes (B.10 Repeat). */
static cql_value repeat_value(cql_run *run, const cql__node *n)
{
    cql_value v = cql__eval(run, n->args[0]);
    size_t count;
    cql__set made;
    cql__set_init(&made, &run->c);
    const cql_value *items = elements(&v, &count);
    if (cql_is_null(v))
        return v;
    run->frame[n->slot + 2] = CQL_NULL_VALUE;
    for (size_t i = 0; i < count + made.count && !cql__failed(run); i++) {
        set_loop(run, n, i < count ? items[i] : made.items[i - count], i);
        cql_value next = cql__eval(run, n->args[1]);
        size_t next_count;
        const cql_value *each = elements(&next, &next_count);
        uint32_t number;
        run->c.precision = 0;
        run->c.weeks = false;
        for (size_t k = 0; k < next_count; k++)
            if (!cql__set_add(&made, each[k], &number))
                return cql__no_memory(run);
        if (made.count > run->max_list)
            return cql__fail(run, OG_LIMIT, "repeat makes more than %u elements", run->max_list);
    }
    return cql__list_of(run, made.items, made.count);
}

static cql_value fold_value(cql_run *run, const cql__node *n)
{
    cql_value v = cql__eval(run, n->args[0]);
    size_t count;
    const cql_value *items = elements(&v, &count);
    if (cql_is_null(v))
        return v;
    cql_value total = cql__eval(run, n->args[2]);
    for (size_t i = 0; i < count && !cql__failed(run); i++) {
        set_loop(run, n, items[i], i);
        run->frame[n->slot + 2] = total;
        total = cql__eval(run, n->args[1]);
    }
    return total;
}

void cql__eval_foreach(cql_run *run, const cql__node *n, cql_value *ret)
{
    *ret = foreach_value(run, n);
}

void cql__eval_filter(cql_run *run, const cql__node *n, cql_value *ret)
{
    *ret = filter_value(run, n);
}

void cql__eval_repeat(cql_run *run, const cql__node *n, cql_value *ret)
{
    *ret = repeat_value(run, n);
}

void cql__eval_fold(cql_run *run, const cql__node *n, cql_value *ret)
{
    *ret = fold_value(run, n);
}
