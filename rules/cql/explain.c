/* Why a define has its value: the values of its sub-expressions, each with its place in the CQL
 * source, and the resources that the result rests on. The definition's own expression is evaluated
 * once more with a trace on; what it refers to keeps its remembered value and is explained by
 * itself. */
#include "rules/cql/run.h"

#include <stdlib.h>

#include "rules/cql/element.h"

#define MAX_ENTRIES 1000
#define MAX_VALUE   300 /* bytes of a value's text */
#define MAX_USES    32
#define MAX_CALLS   4 /* functions in functions */

static void add_reference(og_buf *out, const fhir_resource *r)
{
    og_buf_adds(out, r->type);
    og_buf_addc(out, '/');
    og_buf_adds(out, r->id);
}

static void add_brief(og_buf *out, cql_value v);

static void add_brief_list(og_buf *out, const cql_list *l)
{
    og_buf_addz(out, "{ ");
    for (size_t i = 0; i < l->count && out->n < MAX_VALUE; i++) {
        if (i != 0)
            og_buf_addz(out, ", ");
        add_brief(out, l->items[i]);
    }
    og_buf_addz(out, " }");
}

/* Resources by reference, everything else as literal. */
static void add_brief(og_buf *out, cql_value v)
{
    if (v.kind == CQL_ELEMENT && v.element->resource != NULL &&
        v.element->at.at == v.element->resource->root.at &&
        v.element->at.doc == v.element->resource->root.doc)
        add_reference(out, v.element->resource);
    else if (v.kind == CQL_LIST)
        add_brief_list(out, v.list);
    else
        cql_value_format(out, v);
}

/* As JSON string; a long one is cut at a character's end and says so. */
static void add_shortened(og_buf *out, og_str s)
{
    static const char mark[] = "\xe2\x80\xa6";
    char cut[MAX_VALUE + sizeof mark];
    size_t n = MAX_VALUE;

    if (s.n <= MAX_VALUE) {
        og_buf_add_json(out, s);
        return;
    }
    while (n > 0 && ((unsigned char)s.p[n] & 0xC0) == 0x80)
        n--;
    memcpy(cut, s.p, n);
    memcpy(cut + n, mark, sizeof mark - 1);
    og_buf_add_json(out, (og_str){cut, n + sizeof mark - 1});
}

static void add_value(og_buf *out, cql_value v)
{
    og_buf text;
    og_buf_init(&text, (size_t)64 << 20);
    add_brief(&text, v);
    og_str s = og_buf_str(&text);
    if (og_buf_failed(
            &text)) /* too long to be written out: then its beginning is not known either */
        s = OG_STR("...");
    add_shortened(out, s);
    og_buf_done(&text);
}

/* What the author reads at this place: a name, with its library when it is a definition's or a
 * parameter's; nothing for operators, which the source shows. */
static void add_name(og_buf *out, const cql__node *n)
{
    if (n->kind == CQL__DEFINE || n->kind == CQL__PARAMETER) {
        og_buf_addz(out, ",\"name\":");
        og_buf_add_json(out, n->ref.define->name);
        og_buf_addz(out, ",\"library\":");
        og_buf_add_json(out, n->ref.define->library->name);
    } else if (n->kind == CQL__CALL) {
        og_buf_addz(out, ",\"name\":");
        og_buf_add_json(out, n->call->name);
    }
}

/* ---- what a function looks at beside its operands ---- */

typedef struct uses {
    const cql_define *at[MAX_USES];
    size_t count;
    unsigned depth;
} uses;

static void find_uses(uses *u, const cql__node *n);

static void find_uses_of_query(uses *u, const cql__query *q)
{
    for (uint32_t i = 0; i < q->source_count; i++)
        find_uses(u, q->sources[i].expression);
    for (uint32_t i = 0; i < q->let_count; i++)
        find_uses(u, q->lets[i].expression);
    for (uint32_t i = 0; i < q->relation_count; i++) {
        find_uses(u, q->relations[i].expression);
        find_uses(u, q->relations[i].such_that);
    }
    find_uses(u, q->where);
    find_uses(u, q->ret);
    find_uses(u, q->starting);
    find_uses(u, q->aggregate);
}

static void add_use(uses *u, const cql_define *d)
{
    for (size_t i = 0; i < u->count; i++)
        if (u->at[i] == d)
            return;
    if (u->count < MAX_USES)
        u->at[u->count++] = d;
}

static void find_uses(uses *u, const cql__node *n)
{
    if (n == NULL)
        return;
    for (uint32_t i = 0; i < n->argc; i++)
        find_uses(u, n->args[i]);
    if (n->kind == CQL__QUERY)
        find_uses_of_query(u, n->query);
    else if (n->kind == CQL__DEFINE)
        add_use(u, n->ref.define);
    else if (n->kind == CQL__CALL && u->depth < MAX_CALLS) {
        u->depth++;
        for (uint32_t i = 0; i < n->call->count; i++)
            find_uses(u, n->call->targets[i]->body);
        u->depth--;
    }
}

static void add_uses(og_buf *out, const cql__node *n)
{
    uses u = {.count = 0};

    if (n->kind != CQL__CALL)
        return;
    for (uint32_t i = 0; i < n->call->count; i++)
        find_uses(&u, n->call->targets[i]->body);
    for (size_t i = 0; i < u.count; i++) {
        og_buf_addz(out, i == 0 ? ",\"uses\":[{\"name\":" : ",{\"name\":");
        og_buf_add_json(out, u.at[i]->name);
        og_buf_addz(out, ",\"library\":");
        og_buf_add_json(out, u.at[i]->library->name);
        og_buf_addc(out, '}');
    }
    if (u.count != 0)
        og_buf_addc(out, ']');
}

static void add_place(og_buf *out, cql__place p)
{
    og_buf_addf(out, "\"%u:%u-%u:%u\"", p.line, p.column, p.end_line, p.end_column);
}

static int by_place(const void *a, const void *b)
{
    const cql__place *x = &((const cql__trace_entry *)a)->node->place;
    const cql__place *y = &((const cql__trace_entry *)b)->node->place;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    if (x->column != y->column)
        return x->column < y->column ? -1 : 1;
    if (x->end_line != y->end_line) /* the whole before its parts */
        return x->end_line > y->end_line ? -1 : 1;
    return x->end_column == y->end_column ? 0 : x->end_column > y->end_column ? -1 : 1;
}

/* The entries in the order of the source; of what was evaluated for many elements, how often, and
 * the last value. */
static void add_parts(og_buf *out, cql__trace *t)
{
    bool first = true;
    qsort(t->entries, t->count, sizeof *t->entries, by_place);
    og_buf_addz(out, ",\"parts\":[");
    for (uint32_t i = 0; i < t->count; i++) {
        const cql__trace_entry *e = &t->entries[i];
        og_buf_addz(out, first ? "{\"place\":" : ",{\"place\":");
        first = false;
        add_place(out, e->node->place);
        add_name(out, e->node);
        add_uses(out, e->node);
        if (e->in_row)
            og_buf_addz(out, ",\"row\":true");
        if (e->times > 1)
            og_buf_addf(out, ",\"times\":%u", e->times);
        og_buf_addz(out, ",\"value\":");
        add_value(out, e->value);
        og_buf_addc(out, '}');
    }
    og_buf_addc(out, ']');
}

static void add_sources(og_buf *out, cql_run *run, const cql_define *d)
{
    const fhir_resource *const *r;
    size_t n = cql_run_sources(run, d, &r);
    og_buf_addz(out, ",\"sources\":[");
    for (size_t i = 0; i < n; i++) {
        og_buf ref;
        og_buf_init(&ref, 1024);
        add_reference(&ref, r[i]);
        if (i != 0)
            og_buf_addc(out, ',');
        og_buf_add_json(out, og_buf_str(&ref));
        og_buf_done(&ref);
    }
    og_buf_addc(out, ']');
}

void cql__trace_value(cql_run *run, const cql__node *n, cql_value v)
{
    cql__trace *t = run->trace;
    if (t->frame != run->frame || n->place.line == 0 || n->kind == CQL__CONSTANT)
        return; /* of a constant the source says it all */
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->entries[i].node == n) {
            t->entries[i].value = v;
            t->entries[i].times++;
            return;
        }
    }
    if (t->count < t->cap)
        t->entries[t->count++] = (cql__trace_entry){.node = n, .value = v, .times = 1};
}

/* ---- what belongs to a row ---- */

static void mark_rows(cql__trace *t, const cql__node *n, bool in_row);

static void mark_query(cql__trace *t, const cql__query *q, bool in_row)
{
    for (uint32_t i = 0; i < q->source_count; i++)
        mark_rows(t, q->sources[i].expression, in_row);
    for (uint32_t i = 0; i < q->let_count; i++)
        mark_rows(t, q->lets[i].expression, true);
    for (uint32_t i = 0; i < q->relation_count; i++) {
        mark_rows(t, q->relations[i].expression, in_row || !q->relations[i].constant);
        mark_rows(t, q->relations[i].such_that, true);
    }
    mark_rows(t, q->where, true);
    mark_rows(t, q->ret, true);
    mark_rows(t, q->starting, in_row);
    mark_rows(t, q->aggregate, true);
    for (uint32_t i = 0; q->sort != NULL && i < q->sort->count; i++)
        mark_rows(t, q->sort->keys[i].expression, true);
}

/* Marks the entries that are worked out for each element of a list rather than once. */
static void mark_rows(cql__trace *t, const cql__node *n, bool in_row)
{
    if (n == NULL)
        return;
    for (uint32_t i = 0; in_row && i < t->count; i++)
        if (t->entries[i].node == n)
            t->entries[i].in_row = true;
    bool loop = n->kind == CQL__FOREACH || n->kind == CQL__FILTER || n->kind == CQL__REPEAT ||
                n->kind == CQL__FOLD;
    for (uint32_t i = 0; i < n->argc; i++)
        mark_rows(t, n->args[i], in_row || (loop && i == 1));
    if (n->kind == CQL__QUERY)
        mark_query(t, n->query, in_row);
    for (uint32_t i = 0; n->kind == CQL__SORT && i < n->sort->count; i++)
        mark_rows(t, n->sort->keys[i].expression, true);
}

/* Evaluates the body once more into the trace. An error is the define's own, told already. */
static void trace_body(cql_run *run, const cql_define *d, cql__trace *t)
{
    cql__mark mark;
    cql_value *frame =
        cql__push(run, d->slots + 1, &mark); /* never empty: it marks the activation */
    if (frame == NULL)
        return;
    cql_value *caller_frame = run->frame;
    const cql_define *caller = run->current;
    t->frame = frame;
    run->frame = frame;
    run->current = d;
    run->trace = t;
    (void)cql__eval(run, d->body);
    run->trace = NULL;
    run->frame = caller_frame;
    run->current = caller;
    cql__pop(run, mark);
}

og_status cql_explain(cql_run *run, const cql_define *d, og_buf *out, og_error *err)
{
    cql_value v;
    og_error own;
    og_error_init(&own);
    cql__trace trace = {.cap = MAX_ENTRIES};
    if (run->trace_entries == NULL)
        run->trace_entries = og_arena_alloc(run->arena, MAX_ENTRIES * sizeof *trace.entries);
    trace.entries = run->trace_entries;
    if (trace.entries == NULL)
        return og_fail(err, OG_NOMEM, "out of memory");
    og_status status = cql_run_define(run, d, &v, &own);
    og_buf_addz(out, "{\"name\":");
    og_buf_add_json(out, d->name);
    og_buf_addz(out, ",\"library\":");
    og_buf_add_json(out, d->library->name);
    if (d->place.line != 0) {
        og_buf_addz(out, ",\"place\":");
        add_place(out, d->place);
    }
    if (status == OG_OK) {
        og_buf_addz(out, ",\"value\":");
        add_value(out, v);
    } else {
        char line[1400];
        og_error_format(&own, line, sizeof line);
        og_buf_addz(out, ",\"error\":");
        og_buf_add_json(out, og_str_of(line));
    }
    if (d->body != NULL && d->kind != CQL__FUNCTION_DEF) {
        og_error_init(&run->err);
        run->depth = 0;
        trace_body(run, d, &trace);
        mark_rows(&trace, d->body, false);
        og_error_init(&run->err);
    }
    add_sources(out, run, d);
    add_parts(out, &trace);
    og_buf_addc(out, '}');
    return og_buf_failed(out) ? og_fail(err, OG_NOMEM, "the explanation is too long") : OG_OK;
}
