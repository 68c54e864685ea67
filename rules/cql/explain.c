/* Why a define has its value: the values of its sub-expressions, each with its place in the CQL
 * source, and the resources that the result rests on. The definition's own expression is evaluated
 * once more with a trace on; what it refers to keeps its remembered value and is explained by
 * itself. */
#include "rules/cql/run.h"

#include <stdlib.h>

#include "rules/cql/element.h"

#define MAX_ENTRIES 1000
#define MAX_VALUE   300 /* bytes of a value's text */

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

/* Cut at a character's end. */
static og_str shortened(og_str s)
{
    if (s.n <= MAX_VALUE)
        return s;
    size_t n = MAX_VALUE;
    while (n > 0 && ((unsigned char)s.p[n] & 0xC0) == 0x80)
        n--;
    return (og_str){s.p, n};
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
    og_buf_add_json(out, shortened(s));
    og_buf_done(&text);
}

/* What the author reads at this place: a name or a path; nothing for operators, which the source
 * shows. */
static void add_name(og_buf *out, const cql__node *n)
{
    if (n->kind == CQL__DEFINE || n->kind == CQL__PARAMETER) {
        og_buf_addz(out, ",\"name\":");
        og_buf_add_json(out, n->ref.define->name);
    } else if (n->kind == CQL__CALL) {
        og_buf_addz(out, ",\"name\":");
        og_buf_add_json(out, n->call->name);
    }
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
    if (t->frame != run->frame || n->place.line == 0)
        return;
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->entries[i].node == n) {
            t->entries[i].value = v;
            t->entries[i].times++;
            return;
        }
    }
    if (t->count < t->cap)
        t->entries[t->count++] = (cql__trace_entry){n, v, 1};
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
    trace.entries = og_arena_alloc(run->arena, MAX_ENTRIES * sizeof *trace.entries);
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
        og_error_init(&run->err);
    }
    add_sources(out, run, d);
    add_parts(out, &trace);
    og_buf_addc(out, '}');
    return og_buf_failed(out) ? og_fail(err, OG_NOMEM, "the explanation is too long") : OG_OK;
}
