/* Beginning and end of an evaluation: limits, clock, memory of definitions, evidence.
 *
 * A definition is evaluated when it is first asked for and remembered, its error too: whoever asks
 * again gets the same. All memory comes from the caller's arena. */
#include "rules/cql/run.h"

#include <stdarg.h>

#include "fhir/model.h"

#define DEFAULT_DEPTH       1500
#define DEFAULT_LIST        100000
#define DEFAULT_STEPS       10000000
#define DEFAULT_MATCH_LIMIT 100000
#define CHUNK_VALUES        512u

cql_value cql__fail(cql_run *run, og_status status, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)og_fail(&run->err, status, "%s", text);
    return CQL_NULL_VALUE;
}

cql_value cql__no_memory(cql_run *run)
{
    return cql__fail(run, OG_NOMEM, "the evaluation needs more memory than it may have");
}

/* ---- frames ---- */

cql_value *cql__push_more(cql_run *run, uint32_t n)
{
    cql__chunk *c = run->stack;
    while (c->next != NULL && c->next->cap < n)
        c = c->next; /* a smaller one stays unused until this activation is over */
    if (c->next == NULL) {
        uint32_t cap = n > CHUNK_VALUES ? n : CHUNK_VALUES;
        cql__chunk *more = og_arena_alloc(run->arena, sizeof *more + cap * sizeof(cql_value));
        if (more == NULL) {
            (void)cql__no_memory(run);
            return NULL;
        }
        *more = (cql__chunk){.cap = cap};
        c->next = more;
    }
    c = c->next;
    c->used = n;
    run->stack = c;
    return c->values;
}

/* ---- evidence ---- */

static cql__join *new_join(cql_run *run, cql__join join)
{
    cql__join *j = og_arena_alloc(run->arena, sizeof *j);
    if (j != NULL)
        *j = join;
    return j;
}

const cql_source *cql__join_sources(cql_run *run, const cql_source *a, const cql_source *b)
{
    if (a == NULL || a == b)
        return b;
    if (b == NULL)
        return a;
    cql__join *j = new_join(run, (cql__join){.left = a, .right = b});
    return j != NULL ? &j->head : a; /* the arena has failed; the evaluation ends with that */
}

/* A loop where a recursion would read better: a value may be nested as deep as an evaluation has
 * steps. */
const cql_source *cql__sources_of(cql_run *run, const cql_value *v)
{
    const cql_value *items = v;
    size_t count = 1;
    while (count == 1 && items->from == NULL) {
        v = items;
        if (v->kind == CQL_INTERVAL)
            return cql__join_sources(run, v->interval->low.from, v->interval->high.from);
        count = v->kind == CQL_LIST ? v->list->count : v->kind == CQL_TUPLE ? v->tuple->count : 0;
        items = v->kind == CQL_LIST ? v->list->items : v->kind == CQL_TUPLE ? v->tuple->items : v;
    }
    if (count == 1)
        return items->from;
    if (count == 0)
        return NULL;
    cql__join *j = new_join(run, (cql__join){.items = items, .count = count});
    return j != NULL ? &j->head : NULL;
}

typedef struct collector {
    cql_run *run;
    const fhir_resource **found;
    size_t count, cap;
    const cql_source **todo; /* stack */
    size_t todo_count, todo_cap;
    bool failed;
} collector;

static void *grown(cql_run *run, void *old, size_t count, size_t *cap)
{
    if (count < *cap)
        return old;
    size_t to = *cap != 0 ? *cap * 2 : 16;
    void *p = og_arena_grow(run->arena, old, *cap * sizeof(void *), to * sizeof(void *));
    if (p != NULL)
        *cap = to;
    return p;
}

static void push_source(collector *c, const cql_source *s)
{
    if (s == NULL)
        return;
    const cql_source **p = grown(c->run, (void *)c->todo, c->todo_count, &c->todo_cap);
    if (p == NULL) {
        c->failed = true;
        return;
    }
    c->todo = p;
    c->todo[c->todo_count++] = s;
}

static void found_resource(collector *c, const fhir_resource *r)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->found[i] == r)
            return;
    const fhir_resource **p = grown(c->run, (void *)c->found, c->count, &c->cap);
    if (p == NULL) {
        c->failed = true;
        return;
    }
    c->found = p;
    c->found[c->count++] = r;
}

/* A stack and not recursion: joins of a long aggregate are as deep as it is long. */
static void collect(collector *c, const cql_source *from)
{
    push_source(c, from);
    while (c->todo_count != 0 && !c->failed) {
        const cql_source *s = c->todo[--c->todo_count];
        if (s->resource != NULL) {
            found_resource(c, s->resource);
            push_source(c, s->next);
            continue;
        }
        cql__join *j = (cql__join *)s;
        if (j->mark == c->run->collections)
            continue;
        j->mark = c->run->collections;
        for (size_t i = j->count; i-- > 0;)
            push_source(c, cql__sources_of(c->run, &j->items[i]));
        push_source(c, j->right);
        push_source(c, j->left);
    }
}

size_t cql_run_sources(cql_run *run, const cql_define *d, const fhir_resource *const **ret)
{
    collector c = {.run = run};
    *ret = NULL;
    if (d->kind == CQL__FUNCTION_DEF || run->states[d->index] != CQL__DONE)
        return 0;
    run->collections++;
    collect(&c, cql__sources_of(run, &run->cells[d->index].value));
    *ret = c.found;
    return c.failed ? 0 : c.count;
}

/* ---- definitions ---- */

static bool fit_parameter(cql_run *run, const cql__type *t, cql_value *v);

static bool fit_interval(cql_run *run, const cql__type *t, cql_value *v)
{
    cql_value low = v->interval->low, high = v->interval->high;
    if (!fit_parameter(run, t->parts[0], &low) || !fit_parameter(run, t->parts[0], &high))
        return false;
    *v = cql_interval_make(&run->c, low, high, v->interval->low_closed, v->interval->high_closed,
                           t->parts[0]->kind == CQL__TYPE_SYSTEM ? (cql_kind)t->parts[0]->system
                                                                 : CQL_NULL);
    return true;
}

static bool fit_list(cql_run *run, const cql__type *t, cql_value *v)
{
    cql_value *items = og_arena_alloc(run->arena, v->list->count * sizeof *items);
    if (items == NULL)
        return false;
    for (size_t i = 0; i < v->list->count; i++) {
        items[i] = v->list->items[i];
        if (!fit_parameter(run, t->parts[0], &items[i]))
            return false;
    }
    *v = cql__list_of(run, items, v->list->count);
    return true;
}

/* A configured value may be written more simply than the declared type: 28 for a Decimal, dates for
 * an interval of DateTimes. What CQL converts implicitly is converted (CQL 1.5 "Implicit
 * Conversions"). */
static bool fit_parameter(cql_run *run, const cql__type *t, cql_value *v)
{
    cql_op widen = NULL;
    if (t == NULL || cql_is_null(*v) || cql__type_has(t, *v))
        return true;
    if (t->kind == CQL__TYPE_INTERVAL && v->kind == CQL_INTERVAL)
        return fit_interval(run, t, v);
    if (t->kind == CQL__TYPE_LIST && v->kind == CQL_LIST)
        return fit_list(run, t, v);
    if (t->kind != CQL__TYPE_SYSTEM)
        return false;
    if (t->system == CQL_LONG && v->kind == CQL_INTEGER)
        widen = cql_op_ToLong;
    else if (t->system == CQL_DECIMAL && (v->kind == CQL_INTEGER || v->kind == CQL_LONG))
        widen = cql_op_ToDecimal;
    else if (t->system == CQL_DATETIME && v->kind == CQL_DATE)
        widen = cql_op_ToDateTime;
    else if (t->system == CQL_QUANTITY && (v->kind == CQL_INTEGER || v->kind == CQL_DECIMAL))
        widen = cql_op_ToQuantity;
    else if (t->system == CQL_CONCEPT && v->kind == CQL_CODE)
        widen = cql_op_ToConcept;
    if (widen == NULL)
        return false;
    *v = widen(&run->c, v, 1);
    return cql__type_has(t, *v);
}

/* The value that the request gives to a parameter; one with the library's name goes first. */
static const cql_value *given(const cql_run *run, const cql_define *d)
{
    const cql_value *found = NULL;
    for (size_t i = 0; i < run->request->parameter_count; i++) {
        const cql_parameter *p = &run->request->parameters[i];
        if (!og_str_eq(p->name, d->name))
            continue;
        if (og_str_eq(p->library, d->library->name))
            return &p->value;
        if (p->library.n == 0)
            found = &p->value;
    }
    return found;
}

static cql_value eval_body(cql_run *run, const cql_define *d)
{
    const cql_value *v = d->kind == CQL__PARAMETER_DEF ? given(run, d) : NULL;
    if (v != NULL) {
        cql_value fitted = *v;
        if (!fit_parameter(run, d->result, &fitted))
            return cql__fail(run, OG_EVAL, "the value given for parameter %.*s has another type",
                             OG_STR_ARG(d->name));
        return fitted;
    }
    return d->body != NULL ? cql__eval(run, d->body) : CQL_NULL_VALUE;
}

static cql_value evaluate_body(cql_run *run, const cql_define *d)
{
    cql__mark mark;
    cql_value *frame = cql__push(run, d->slots, &mark);
    if (frame == NULL)
        return CQL_NULL_VALUE;
    cql_value *caller_frame = run->frame;
    const cql_define *caller = run->current;
    run->frame = frame;
    run->current = d;
    cql_value v = eval_body(run, d);
    run->frame = caller_frame;
    run->current = caller;
    cql__pop(run, mark);
    return v;
}

/* What it reads is noted for itself, and then for whoever asked for it. */
static cql_value evaluate(cql_run *run, const cql_define *d)
{
    if (d->requirement_count == 0)
        return evaluate_body(run, d);
    uint64_t *readers = run->reads;
    run->reads = run->own_reads + (size_t)d->index * run->read_words;
    memset(run->reads, 0, run->read_words * sizeof *run->reads);
    cql_value v = evaluate_body(run, d);
    run->reads = readers;
    cql__read_again(run, d);
    return v;
}

static void keep_error(cql_run *run, const cql_define *d)
{
    og_error_at(&run->err, d->place.line, d->place.column);
    og_error_origin(&run->err, d->library->name.p);
    og_error_path(&run->err, d->name.p);
    og_error *copy = og_arena_alloc(run->arena, sizeof *copy);
    if (copy != NULL)
        *copy = run->err;
    run->cells[d->index].err = copy;
    run->states[d->index] = CQL__FAILED;
}

static const cql_value *first_value(cql_run *run, const cql_define *d)
{
    cql__cell *cell = &run->cells[d->index];
    switch ((cql__state)run->states[d->index]) {
    case CQL__FAILED:
        if (cell->err != NULL)
            run->err = *cell->err;
        else
            (void)cql__no_memory(run);
        return NULL;
    case CQL__RUNNING:
        (void)cql__fail(run, OG_EVAL, "%.*s refers to itself", OG_STR_ARG(d->name));
        return NULL;
    case CQL__DONE:
    case CQL__FRESH: break;
    }
    run->states[d->index] = CQL__RUNNING;
    cql__trace *trace = run->trace;
    run->trace = NULL;
    uint64_t before = run->steps;
    cell->value = evaluate(run, d);
    run->trace = trace;
    if (cql__failed(run)) {
        keep_error(run, d);
        return NULL;
    }
    uint64_t cost = d->requirement_count > 0 ? run->steps - before : 0;
    run->costs[d->index] = cost < UINT32_MAX ? (uint32_t)cost : UINT32_MAX;
    run->states[d->index] = CQL__DONE;
    return &cell->value;
}

const cql_value *cql__eval_define(cql_run *run, const cql_define *d)
{
    if (run->states[d->index] != CQL__DONE)
        return first_value(run, d);
    cql__read_again(run, d);
    return &run->cells[d->index].value;
}

/* ---- the run ---- */

/* Sorts the resources by type, each type's in the order of the request. */
static bool prepare_kin(cql_run *run)
{
    size_t n = run->request->resource_count;
    const fhir_resource *all = run->request->resources;
    uint16_t *types = og_arena_alloc(run->arena, n * sizeof *types);
    uint32_t *at = og_arena_alloc(run->arena, n * sizeof *at);
    uint32_t *ranks = og_arena_alloc(run->arena, n * sizeof *ranks);
    cql__kin *kin = og_arena_alloc(run->arena, n * sizeof *kin);
    uint32_t used = 0;
    if (types == NULL || at == NULL || ranks == NULL || kin == NULL)
        return false;
    for (size_t i = 0; i < n; i++) {
        bool again = i != 0 && og_str_eq(all[i].type, all[i - 1].type);
        types[i] = again ? types[i - 1] : fhir_type_of(all[i].type);
        uint32_t k = 0;
        while (k < used && kin[k].type != types[i])
            k++;
        if (k == used)
            kin[used++] = (cql__kin){.type = types[i]};
        kin[k].count++;
    }
    for (uint32_t k = 0; k < used; at += kin[k++].count)
        kin[k].at = at;
    for (uint32_t k = 0; k < used; k++)
        kin[k].count = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t k = 0;
        while (kin[k].type != types[i])
            k++;
        ranks[i] = kin[k].count++;
        kin[k].at[ranks[i]] = (uint32_t)i;
    }
    run->ranks = ranks;
    run->types = types;
    run->kin = kin;
    run->kin_count = used;
    return true;
}

static bool prepare_memory(cql_run *run)
{
    og_arena *a = run->arena;
    const cql_set *set = run->set;
    size_t n = run->request->resource_count;
    run->cells = og_arena_alloc(a, set->define_count * sizeof *run->cells);
    run->states = og_arena_zalloc(a, set->define_count, sizeof *run->states);
    run->costs = og_arena_alloc(a, set->define_count * sizeof *run->costs);
    run->read_words = (uint32_t)cql_set_read_words(set);
    run->reads = og_arena_zalloc(a, run->read_words, sizeof *run->reads);
    run->own_reads =
        og_arena_alloc(a, (size_t)set->define_count * run->read_words * sizeof *run->own_reads);
    run->retrieved = og_arena_zalloc(a, set->retrieves.count, sizeof *run->retrieved);
    run->roots = og_arena_zalloc(a, n, sizeof *run->roots);
    run->codings = og_arena_zalloc(a, set->codings.count, sizeof *run->codings);
    run->places = og_arena_zalloc(a, set->path_count, sizeof *run->places);
    run->memos = og_arena_zalloc(a, set->memo_count, sizeof *run->memos);
    run->c.keys = cql__keys_new(a);
    run->stack = og_arena_alloc(a, sizeof *run->stack + CHUNK_VALUES * sizeof(cql_value));
    if (run->cells == NULL || run->states == NULL || run->costs == NULL || run->reads == NULL ||
        run->own_reads == NULL || run->retrieved == NULL || run->roots == NULL ||
        run->codings == NULL || run->places == NULL || run->memos == NULL || run->stack == NULL ||
        run->c.keys == NULL)
        return false;
    *run->stack = (cql__chunk){.cap = CHUNK_VALUES};
    return prepare_kin(run);
}

cql_run *cql_run_begin(og_arena *a, const cql_set *set, const cql_request *request)
{
    const cql_limits *lim = &request->limits;
    cql_run *run = og_arena_zalloc(a, 1, sizeof *run);
    if (run == NULL)
        return NULL;
    run->set = set;
    run->request = request;
    run->arena = a;
    run->sourceless = request->sourceless;
    run->max_depth = lim->max_depth != 0 ? lim->max_depth : DEFAULT_DEPTH;
    run->max_list = lim->max_list != 0 ? lim->max_list : DEFAULT_LIST;
    run->max_steps = lim->max_steps != 0 ? lim->max_steps : DEFAULT_STEPS;
    og_error_init(&run->err);
    run->c = (cql_op_context){
        .arena = a,
        .now = og_temporal_at(request->as_of_ms, request->offset_min),
        .offset_min = request->offset_min,
        .err = &run->err,
        .max_list = run->max_list,
        .match_limit = lim->match_limit != 0 ? lim->match_limit : DEFAULT_MATCH_LIMIT,
        .user = run,
    };
    run->today = cql_op_Today(&run->c, NULL, 0);
    run->now = cql_op_Now(&run->c, NULL, 0);
    run->c.changes_ms = INT64_MAX; /* nobody has asked yet */
    return prepare_memory(run) ? run : NULL;
}

og_status cql_run_define(cql_run *run, const cql_define *d, cql_value *ret, og_error *err)
{
    og_error_init(&run->err);
    run->depth = 0;
    if (d->kind == CQL__FUNCTION_DEF)
        return og_fail(err, OG_INVALID, "%.*s is a function", OG_STR_ARG(d->name));
    const cql_value *v = cql__eval_define(run, d);
    if (!cql__failed(run) && og_arena_failed(run->arena))
        (void)cql__no_memory(run);
    if (cql__failed(run)) {
        if (err != NULL && err->status == OG_OK)
            *err = run->err;
        return run->err.status;
    }
    *ret = *v;
    return OG_OK;
}

void cql_run_note_reads(cql_run *run, uint64_t *to)
{
    run->reads = to;
}

uint64_t cql_run_steps(const cql_run *run)
{
    return run->steps;
}

int64_t cql_run_changes_ms(const cql_run *run)
{
    return run->c.changes_ms;
}
