/* The tree walk. Every node is evaluated by one function of this file, of query.c or of retrieve.c;
 * operators get their arguments as an array and know nothing of the tree.
 *
 * Three-valued logic is cut short, and of the operand that decides nothing only what can raise an
 * error (may_fail, worked out by bind.c) is looked at (all of it when a trace is wanted): an error
 * does not depend on the order in which an author wrote the operands. */
#include "rules/cql/run.h"

#include "fhir/model.h"
#include "rules/cql/element.h"

#define FEW_ARGS 8u

/* ---- lists, properties ---- */

cql_value cql__list_of(cql_run *run, const cql_value *items, size_t count)
{
    cql_list *l = og_arena_alloc(run->arena, sizeof *l);
    if (l == NULL)
        return cql__no_memory(run);
    *l = (cql_list){.items = items, .count = count};
    return (cql_value){.kind = CQL_LIST, .list = l};
}

static cql_value text_or_null(og_str s)
{
    return s.p != NULL && s.n != 0 ? cql_string(s) : CQL_NULL_VALUE;
}

static cql_value quantity_at(const cql_quantity *q)
{
    return (cql_value){.kind = CQL_QUANTITY, .quantity = q};
}

static cql_value code_property(const cql_code *c, og_str name)
{
    if (og_str_is(name, "code"))
        return text_or_null(c->code);
    if (og_str_is(name, "system"))
        return text_or_null(c->system);
    if (og_str_is(name, "version"))
        return text_or_null(c->version);
    if (og_str_is(name, "display"))
        return text_or_null(c->display);
    return CQL_NULL_VALUE;
}

static cql_value concept_codes(cql_run *run, const cql_concept *c)
{
    cql_value *items = og_arena_alloc(run->arena, c->count * sizeof *items);
    if (items == NULL)
        return cql__no_memory(run);
    for (size_t i = 0; i < c->count; i++)
        items[i] = (cql_value){.kind = CQL_CODE, .code = &c->codes[i]};
    return cql__list_of(run, items, c->count);
}

static cql_value interval_property(const cql_interval *i, og_str name)
{
    if (og_str_is(name, "low"))
        return i->low;
    if (og_str_is(name, "high"))
        return i->high;
    if (og_str_is(name, "lowClosed"))
        return cql_bool(i->low_closed);
    if (og_str_is(name, "highClosed"))
        return cql_bool(i->high_closed);
    return CQL_NULL_VALUE;
}

/* Names of one set are stored once, so most are told by their place. */
static cql_value tuple_property(const cql_tuple *t, og_str name)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->names[i].p == name.p)
            return t->items[i];
    for (size_t i = 0; i < t->count; i++)
        if (og_str_eq(t->names[i], name))
            return t->items[i];
    return CQL_NULL_VALUE;
}

/* The rows of a query are mostly alike: where the name stood last time it stands again. */
static inline cql_value tuple_property_again(const cql_tuple *t, og_str name, uint8_t *place)
{
    if (*place < t->count && t->names[*place].p == name.p)
        return t->items[*place];
    for (size_t i = 0; i < t->count && i <= UINT8_MAX; i++)
        if (t->names[i].p == name.p) {
            *place = (uint8_t)i;
            return t->items[i];
        }
    return tuple_property(t, name);
}

static cql_value setref_property(const cql_setref *s, og_str name)
{
    if (og_str_is(name, "id"))
        return text_or_null(s->id);
    if (og_str_is(name, "version"))
        return text_or_null(s->version);
    if (og_str_is(name, "name"))
        return text_or_null(s->name);
    return CQL_NULL_VALUE;
}

static cql_value system_property(cql_run *run, cql_value v, og_str name)
{
    switch ((cql_kind)v.kind) {
    case CQL_TUPLE: return tuple_property(v.tuple, name);
    case CQL_INTERVAL: return interval_property(v.interval, name);
    case CQL_CODE: return code_property(v.code, name);
    case CQL_CONCEPT:
        if (og_str_is(name, "codes"))
            return concept_codes(run, v.concept);
        return og_str_is(name, "display") ? text_or_null(v.concept->display) : CQL_NULL_VALUE;
    case CQL_QUANTITY:
        if (og_str_is(name, "value"))
            return cql_decimal(v.quantity->value, v.quantity->scale);
        return og_str_is(name, "unit") ? text_or_null(v.quantity->unit) : CQL_NULL_VALUE;
    case CQL_RATIO:
        if (og_str_is(name, "numerator"))
            return quantity_at(&v.ratio->numerator);
        return og_str_is(name, "denominator") ? quantity_at(&v.ratio->denominator) : CQL_NULL_VALUE;
    case CQL_VALUESET:
    case CQL_CODESYSTEM: return setref_property(v.setref, name);
    default: return CQL_NULL_VALUE;
    }
}

/* The item that an index names; a single value is its own first. */
static void take_indexed(cql_value *v, size_t at)
{
    if (v->kind == CQL_LIST)
        *v = at < v->list->count ? v->list->items[at] : CQL_NULL_VALUE;
    else if (at != 0)
        *v = CQL_NULL_VALUE;
}

void cql__property_to(cql_run *run, const cql_value *of, const cql__step *steps, uint32_t count,
                      cql_value *ret)
{
    cql_value v[2]; /* what a step was taken from stays while its result is made */
    const cql_value *at = of;
    for (uint32_t i = 0; i < count && at->kind != CQL_NULL; i++) {
        cql_value *made = &v[i & 1];
        if (at->kind == CQL_ELEMENT) {
            /* `.value` behind a name: the primitive's value without an element for the primitive */
            if (i + 1 < count && steps[i].index < 0 && steps[i + 1].index < 0 &&
                steps[i + 1].is_value &&
                cql__element_member_value(run->arena, at, &steps[i], made)) {
                at = made;
                i++;
                continue;
            }
            cql__element_member(run->arena, at, &steps[i], made);
        } else {
            *made = system_property(run, *at, steps[i].name);
            if (at->from != NULL)
                cql__rest_on(run, made, at, 1);
        }
        if (steps[i].index >= 0)
            take_indexed(made, (size_t)steps[i].index);
        at = made;
    }
    *ret = *at;
}

/* What one name means in a tuple, which most paths ask. */
static inline bool plain_property(cql_run *run, const cql_value *of, const cql__node *n,
                                  cql_value *ret)
{
    if (of->kind != CQL_TUPLE || n->path.all_count != 1 || n->path.all->index >= 0)
        return false;
    const cql_source *from = of->from;
    *ret = tuple_property_again(of->tuple, n->path.all->name, &run->places[n->path.number]);
    if (from != NULL && ret->from == NULL)
        cql__rest_on(run, ret, of, 1);
    return true;
}

static void eval_property(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value v;
    if (run->trace != NULL && n->argc != 0) { /* step by step, for who wants to see each */
        cql__eval_to(run, n->args[0], &v);
        cql__property_to(run, &v, n->path.steps, n->path.count, ret);
        return;
    }
    const cql_value *of = &run->frame[n->slot];
    if (n->path.base != NULL) {
        cql__eval_to(run, n->path.base, &v);
        of = &v;
    }
    if (!plain_property(run, of, n, ret))
        cql__property_to(run, of, n->path.all, n->path.all_count, ret);
}

static void eval_each(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value v = cql__eval(run, n->args[0]);
    *ret = v;
    if (v.kind != CQL_LIST)
        return;
    cql_value *items = og_arena_alloc(run->arena, v.list->count * sizeof *items);
    if (items == NULL) {
        *ret = cql__no_memory(run);
        return;
    }
    for (size_t i = 0; i < v.list->count; i++)
        cql__property_to(run, &v.list->items[i], n->path.steps, n->path.count, &items[i]);
    *ret = cql__list_of(run, items, v.list->count);
}

/* ---- operators ---- */

static inline void call_op(cql_run *run, const cql__node *n, const cql_value *args, cql_value *ret)
{
    if (cql__failed(run)) {
        *ret = CQL_NULL_VALUE;
        return;
    }
    run->c.precision = n->precision;
    run->c.weeks = n->weeks;
    *ret = n->op(&run->c, args, n->argc);
    cql__rest_on(run, ret, args, n->argc);
}

static void eval_op(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value args[FEW_ARGS];
    for (uint32_t i = 0; i < n->argc; i++)
        cql__eval_to(run, n->args[i], &args[i]);
    call_op(run, n, args, ret);
}

static void eval_wide_op(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql__mark mark;
    cql_value *args = cql__push(run, n->argc, &mark);
    if (args == NULL) {
        *ret = CQL_NULL_VALUE;
        return;
    }
    for (uint32_t i = 0; i < n->argc; i++)
        cql__eval_to(run, n->args[i], &args[i]);
    call_op(run, n, args, ret);
    cql__pop(run, mark);
}

static void eval_any_op(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value args[2];
    if (n->argc == 2 || n->argc == 1) { /* most */
        cql__eval_to(run, n->args[0], &args[0]);
        if (n->argc == 2)
            cql__eval_to(run, n->args[1], &args[1]);
        call_op(run, n, args, ret);
    } else if (n->argc <= FEW_ARGS)
        eval_op(run, n, ret);
    else
        eval_wide_op(run, n, ret);
}

static inline cql_tri tri_of(const cql_value *v)
{
    if (v->kind != CQL_BOOLEAN)
        return CQL_UNKNOWN;
    return v->boolean ? CQL_TRUE : CQL_FALSE;
}

/* Both operands of the same connective: `decisive` is the value of one that decides alone. */
static inline void connect(cql_run *run, const cql__node *n, cql_tri decisive, bool negate_left,
                           cql_value *ret)
{
    cql_value l, r;
    cql__eval_to(run, n->args[0], &l);
    cql_tri a = tri_of(&l);
    if (negate_left && a != CQL_UNKNOWN)
        a = a == CQL_TRUE ? CQL_FALSE : CQL_TRUE;
    if (a == decisive && (run->trace == NULL || !n->args[1]->may_fail)) {
        cql__check(run, n->args[1]);
        *ret = cql__failed(run) ? CQL_NULL_VALUE : cql_bool(decisive == CQL_TRUE);
        ret->from = l.from;
        return;
    }
    cql__eval_to(run, n->args[1], &r);
    cql_tri b = tri_of(&r);
    if (cql__failed(run)) {
        *ret = CQL_NULL_VALUE;
    } else if (a == decisive || b == decisive) {
        *ret = cql_bool(decisive == CQL_TRUE);
        ret->from = a == decisive ? l.from : r.from;
    } else {
        *ret =
            a != CQL_UNKNOWN && b != CQL_UNKNOWN ? cql_bool(decisive != CQL_TRUE) : CQL_NULL_VALUE;
        ret->from = cql__join_sources(run, l.from, r.from);
    }
}

static void eval_and(cql_run *run, const cql__node *n, cql_value *ret)
{
    connect(run, n, CQL_FALSE, false, ret);
}

static void eval_or(cql_run *run, const cql__node *n, cql_value *ret)
{
    connect(run, n, CQL_TRUE, false, ret);
}

static void eval_implies(cql_run *run, const cql__node *n, cql_value *ret)
{
    connect(run, n, CQL_TRUE, true, ret);
}

static void eval_not(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value v;
    cql__eval_to(run, n->args[0], &v);
    cql_tri a = tri_of(&v);
    *ret = a == CQL_UNKNOWN ? CQL_NULL_VALUE : cql_bool(a == CQL_FALSE);
    cql__rest_on(run, ret, &v, 1);
}

static void eval_is_null(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value v;
    cql__eval_to(run, n->args[0], &v);
    *ret = cql_bool(cql_is_null(v));
    cql__rest_on(run, ret, &v, 1);
}

/* The first member that is not null. */
static cql_value first_known(const cql_list *l)
{
    for (size_t k = 0; k < l->count; k++)
        if (!cql_is_null(l->items[k]))
            return l->items[k];
    return CQL_NULL_VALUE;
}

/* A single list is looked through; several arguments are evaluated as far as needed. */
static void eval_coalesce(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value v = CQL_NULL_VALUE;
    for (uint32_t i = 0; i < n->argc && v.kind == CQL_NULL; i++)
        cql__eval_to(run, n->args[i], &v);
    *ret = n->argc == 1 && v.kind == CQL_LIST ? first_known(v.list) : v;
}

/* ---- conditions ---- */

static inline bool is_true(const cql_value *v)
{
    return v->kind == CQL_BOOLEAN && v->boolean;
}

static void eval_if(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value condition;
    cql__eval_to(run, n->args[0], &condition);
    cql__eval_to(run, n->args[is_true(&condition) ? 1 : 2], ret);
    cql__rest_on(run, ret, &condition, 1);
}

static void eval_case(cql_run *run, const cql__node *n, cql_value *ret)
{
    uint32_t i = n->flag, chosen = n->argc - 1;
    cql_value comparand = CQL_NULL_VALUE, when;
    if (n->flag)
        cql__eval_to(run, n->args[0], &comparand);
    cql_value seen = comparand;
    for (; i + 1 < n->argc && !cql__failed(run); i += 2) {
        cql__eval_to(run, n->args[i], &when);
        bool hit = n->flag ? cql_equal(&run->c, comparand, when) == CQL_TRUE : is_true(&when);
        seen.from = cql__join_sources(run, seen.from, when.from);
        if (hit) {
            chosen = i + 1;
            break;
        }
    }
    cql__eval_to(run, n->args[chosen], ret);
    cql__rest_on(run, ret, &seen, 1);
}

/* ---- types ---- */

static void eval_is(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value v;
    cql__eval_to(run, n->args[0], &v);
    *ret = cql_bool(cql__type_has(n->type, v));
    cql__rest_on(run, ret, &v, 1);
}

/* An interval with two unknown ends learns its point type from the cast. */
static cql_value with_point_type(cql_run *run, cql_value v, const cql__type *t)
{
    if (v.kind != CQL_INTERVAL || v.interval->point != CQL_NULL || t->kind != CQL__TYPE_INTERVAL ||
        t->parts[0]->kind != CQL__TYPE_SYSTEM)
        return v;
    cql_interval *i = og_arena_alloc(run->arena, sizeof *i);
    if (i == NULL)
        return cql__no_memory(run);
    *i = *v.interval;
    i->point = t->parts[0]->system;
    v.interval = i;
    return v;
}

static void fail_cast(cql_run *run, const cql__type *to)
{
    og_buf b;
    og_buf_init(&b, 1024);
    cql__type_format(&b, to);
    (void)cql__fail(run, OG_EVAL, "the value cannot be cast to %.*s", OG_STR_ARG(og_buf_str(&b)));
    og_buf_done(&b);
}

static void eval_as(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value v;
    cql__eval_to(run, n->args[0], &v);
    if (!cql_is_null(v) && !cql__type_has(n->type, v)) {
        if (n->flag)
            fail_cast(run, n->type);
        v = CQL_NULL_VALUE;
    }
    *ret = v.kind == CQL_INTERVAL ? with_point_type(run, v, n->type) : v;
}

/* ---- selectors ---- */

/* The kind of an interval's points as far as the tree tells it: from a cast of either end. */
static cql_kind point_kind(const cql__node *n)
{
    for (int i = 0; i < 2; i++) {
        const cql__type *t = n->args[i]->kind == CQL__AS ? n->args[i]->type : n->args[i]->result;
        if (t != NULL && t->kind == CQL__TYPE_SYSTEM)
            return (cql_kind)t->system;
    }
    if (n->result != NULL && n->result->kind == CQL__TYPE_INTERVAL &&
        n->result->parts[0]->kind == CQL__TYPE_SYSTEM)
        return (cql_kind)n->result->parts[0]->system;
    return CQL_NULL;
}

static void eval_interval(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value part[4];
    for (int i = 0; i < 4; i++)
        cql__eval_to(run, n->args[i], &part[i]);
    *ret = CQL_NULL_VALUE;
    if (cql__failed(run))
        return;
    cql_kind point = point_kind(n);
    /* An interval without any end is the null interval unless something says of what it is one. */
    *ret =
        cql_interval_make(&run->c, part[0], part[1], is_true(&part[2]), is_true(&part[3]), point);
}

static cql_value *eval_args(cql_run *run, const cql__node *n)
{
    cql_value *items = og_arena_alloc(run->arena, n->argc * sizeof *items);
    if (items == NULL) {
        (void)cql__no_memory(run);
        return NULL;
    }
    for (uint32_t i = 0; i < n->argc; i++)
        cql__eval_to(run, n->args[i], &items[i]);
    return cql__failed(run) ? NULL : items;
}

static void eval_list(cql_run *run, const cql__node *n, cql_value *ret)
{
    const cql_value *items = eval_args(run, n);
    *ret = items != NULL ? cql__list_of(run, items, n->argc) : CQL_NULL_VALUE;
}

static cql_value make_tuple(cql_run *run, const cql__node *n, const cql_value *items,
                            og_str type_name)
{
    cql_tuple *t = og_arena_alloc(run->arena, sizeof *t);
    if (t == NULL)
        return cql__no_memory(run);
    *t = (cql_tuple){type_name, n->tuple.names, items, n->argc};
    return (cql_value){.kind = CQL_TUPLE, .tuple = t};
}

static void eval_tuple(cql_run *run, const cql__node *n, cql_value *ret)
{
    const cql_value *items = eval_args(run, n);
    *ret = items != NULL ? make_tuple(run, n, items, (og_str){NULL, 0}) : CQL_NULL_VALUE;
}

/* The element of an instance, FHIR primitives as System values. */
static cql_value instance_item(cql_run *run, const cql__node *n, const cql_value *items,
                               const char *name)
{
    for (uint32_t i = 0; i < n->argc; i++) {
        if (!og_str_is(n->tuple.names[i], name))
            continue;
        if (items[i].kind == CQL_ELEMENT)
            return cql_element_value(run->arena, items[i]);
        return items[i];
    }
    return CQL_NULL_VALUE;
}

static og_str instance_text(cql_run *run, const cql__node *n, const cql_value *items,
                            const char *name)
{
    cql_value v = instance_item(run, n, items, name);
    return v.kind == CQL_STRING ? cql_str(v) : (og_str){NULL, 0};
}

static cql_value make_code(cql_run *run, const cql__node *n, const cql_value *items)
{
    cql_code *c = og_arena_zalloc(run->arena, 1, sizeof *c);
    if (c == NULL)
        return cql__no_memory(run);
    c->code = instance_text(run, n, items, "code");
    c->display = instance_text(run, n, items, "display");
    c->version = instance_text(run, n, items, "version");
    cql_value system = instance_item(run, n, items, "system");
    if (system.kind == CQL_CODESYSTEM) {
        c->system = system.setref->id;
        if (c->version.n == 0)
            c->version = system.setref->version;
    } else if (system.kind == CQL_STRING) {
        c->system = cql_str(system);
    }
    return (cql_value){.kind = CQL_CODE, .code = c};
}

static cql_value make_concept(cql_run *run, const cql__node *n, const cql_value *items)
{
    cql_value codes = instance_item(run, n, items, "codes");
    size_t max = codes.kind == CQL_LIST ? codes.list->count : codes.kind == CQL_CODE;
    const cql_value *from = codes.kind == CQL_LIST ? codes.list->items : &codes;
    cql_concept *c = og_arena_zalloc(run->arena, 1, sizeof *c);
    cql_code *copy = og_arena_zalloc(run->arena, max, sizeof *copy);
    if (c == NULL || copy == NULL)
        return cql__no_memory(run);
    for (size_t i = 0; i < max; i++)
        if (from[i].kind == CQL_CODE)
            copy[c->count++] = *from[i].code;
    c->codes = copy;
    c->display = instance_text(run, n, items, "display");
    return (cql_value){.kind = CQL_CONCEPT, .concept = c};
}

/* A quantity without a value is null (CQL.md 13): nothing can be said of it. */
static cql_value make_quantity(cql_run *run, const cql__node *n, const cql_value *items)
{
    cql_value value = instance_item(run, n, items, "value");
    og_str unit = instance_text(run, n, items, "unit");
    if (value.kind == CQL_INTEGER)
        value = cql_decimal(og_decimal_of(value.integer), 0);
    if (value.kind != CQL_DECIMAL)
        return CQL_NULL_VALUE;
    return cql_quantity_make(&run->c, value.decimal, value.scale, unit);
}

static cql_value make_ratio(cql_run *run, const cql__node *n, const cql_value *items)
{
    cql_value numerator = instance_item(run, n, items, "numerator");
    cql_value denominator = instance_item(run, n, items, "denominator");
    if (numerator.kind != CQL_QUANTITY || denominator.kind != CQL_QUANTITY)
        return CQL_NULL_VALUE;
    cql_ratio *r = og_arena_zalloc(run->arena, 1, sizeof *r);
    if (r == NULL)
        return cql__no_memory(run);
    *r = (cql_ratio){*numerator.quantity, *denominator.quantity};
    return (cql_value){.kind = CQL_RATIO, .ratio = r};
}

static cql_value make_setref(cql_run *run, const cql__node *n, const cql_value *items,
                             cql_kind kind)
{
    cql_setref *s = og_arena_zalloc(run->arena, 1, sizeof *s);
    if (s == NULL)
        return cql__no_memory(run);
    s->id = instance_text(run, n, items, "id");
    s->version = instance_text(run, n, items, "version");
    s->name = instance_text(run, n, items, "name");
    if (kind == CQL_VALUESET && run->set->terms != NULL)
        s->resolved = fhir_valueset_find(run->set->terms, s->id, s->version);
    if (kind == CQL_CODESYSTEM && run->set->terms != NULL)
        s->resolved = fhir_codesystem_find(run->set->terms, s->id);
    return (cql_value){.kind = (uint8_t)kind, .setref = s};
}

static cql_value instance_of(cql_run *run, const cql__node *n, const cql_value *items)
{
    cql_value v;
    if (n->type->kind != CQL__TYPE_SYSTEM)
        return make_tuple(run, n, items, n->tuple.class_name);
    switch (n->type->system) {
    case CQL_CODE: v = make_code(run, n, items); break;
    case CQL_CONCEPT: v = make_concept(run, n, items); break;
    case CQL_QUANTITY: v = make_quantity(run, n, items); break;
    case CQL_RATIO: v = make_ratio(run, n, items); break;
    case CQL_VALUESET:
    case CQL_CODESYSTEM: v = make_setref(run, n, items, (cql_kind)n->type->system); break;
    default: /* Integer { value: 1 } and the like: the value itself */
        v = instance_item(run, n, items, "value");
    }
    cql__rest_on(run, &v, items, n->argc);
    return v;
}

static void eval_instance(cql_run *run, const cql__node *n, cql_value *ret)
{
    const cql_value *items = eval_args(run, n);
    *ret = items != NULL ? instance_of(run, n, items) : CQL_NULL_VALUE;
}

/* ---- references, calls ---- */

static void eval_slot(cql_run *run, const cql__node *n, cql_value *ret)
{
    *ret = run->frame[n->slot];
}

static void eval_clock(cql_run *run, const cql__node *n, cql_value *ret)
{
    *ret = n->flag ? run->now : run->today;
    if (n->flag)
        run->c.changes_ms = INT64_MIN;
}

/* Now() changes its side of a moment when it comes to it, or has just passed it. */
static void note_moment(cql_run *run, int64_t at_ms)
{
    int64_t now_ms = run->request->as_of_ms;
    if (at_ms == now_ms)
        at_ms++;
    if (at_ms > now_ms && at_ms < run->c.changes_ms)
        run->c.changes_ms = at_ms;
}

/* On which side of v Now() is. What knows no time of day is compared by the day; an hour may be
 * parts of two where Now() is (cql__at_offset). */
static void note_compared(cql_run *run, const cql_value *v)
{
    if (cql_is_null(*v) || (v->kind == CQL_DATETIME && v->temporal.precision < OG_HOUR))
        return;
    if (v->kind != CQL_DATETIME || v->temporal.precision == OG_HOUR) {
        run->c.changes_ms = INT64_MIN;
        return;
    }
    note_moment(run, og_temporal_earliest_ms(&v->temporal, run->c.offset_min));
    note_moment(run, og_temporal_latest_ms(&v->temporal, run->c.offset_min));
}

static void eval_by_clock(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value args[2];
    for (uint32_t i = 0; i < n->argc; i++) {
        const cql__node *arg = n->args[i];
        int64_t before_ms = run->c.changes_ms;
        cql__eval_to(run, arg, &args[i]);
        if (arg->kind == CQL__CLOCK && arg->flag)
            run->c.changes_ms = before_ms;
        else
            note_compared(run, &args[i]);
    }
    call_op(run, n, args, ret);
}

static void eval_define_ref(cql_run *run, const cql__node *n, cql_value *ret)
{
    uint32_t index = n->ref.define->index;
    if (run->states[index] == CQL__DONE && !n->flag) {
        cql__read_again(run, n->ref.define);
        *ret = run->cells[index].value;
        return;
    }
    const cql_value *v = cql__eval_define(run, n->ref.define);
    *ret = v != NULL ? *v : CQL_NULL_VALUE;
    /* Outside of the patient's context what is a patient's becomes a list, of one here. */
    if (n->flag && v != NULL)
        *ret = cql__list_of(run, v, 1);
}

/* The overload whose operand types the arguments have; what is null fits everywhere. */
static const cql_define *choose(cql_run *run, const cql__call *call, const cql_value *args)
{
    if (call->count == 1)
        return call->targets[0];
    for (uint32_t i = 0; i < call->count; i++) {
        const cql_define *d = call->targets[i];
        uint32_t k = 0;
        while (k < d->operand_count &&
               (cql_is_null(args[k]) || cql__type_has(d->operand_types[k], args[k])))
            k++;
        if (k == d->operand_count)
            return d;
    }
    (void)cql__fail(run, OG_EVAL, "no overload of %.*s takes these arguments",
                    OG_STR_ARG(call->name));
    return NULL;
}

static void call_function(cql_run *run, const cql_define *d, cql_value *frame, cql_value *ret)
{
    cql_value *caller_frame = run->frame;
    const cql_define *caller = run->current;
    run->frame = frame;
    run->current = d;
    cql__eval_to(run, d->body, ret);
    run->frame = caller_frame;
    run->current = caller;
}

/* Says in an error that has no origin yet where it happened. */
static void blame(cql_run *run, const cql_define *d)
{
    if (run->err.origin[0] != '\0' || d->body == NULL)
        return;
    og_error_origin(&run->err, d->library->name.p);
    og_error_path(&run->err, d->name.p);
}

/* A function of one resource: what it said before, else what it says. */
static void eval_remembered(cql_run *run, const cql__node *n, cql_value *ret)
{
    const cql_define *d = n->call->targets[0];
    cql_value arg;
    cql__mark mark;
    cql__eval_to(run, n->args[0], &arg);
    const cql_value **place = cql__failed(run) ? NULL : cql__memo(run, d, &arg);
    if (place != NULL && *place != NULL) {
        for (size_t i = 0; i < d->requirement_count; i++) /* all that it can have read */
            cql__has_read(run, d->requirements[i].number);
        *ret = **place;
        return;
    }
    cql_value *frame = cql__failed(run) ? NULL : cql__push(run, d->slots, &mark);
    if (frame == NULL) {
        *ret = CQL_NULL_VALUE;
        return;
    }
    frame[0] = arg;
    call_function(run, d, frame, ret);
    cql__pop(run, mark);
    if (cql__failed(run)) {
        blame(run, d);
        return;
    }
    cql_value *kept = place != NULL ? og_arena_alloc(run->arena, sizeof *kept) : NULL;
    if (kept != NULL) {
        *kept = *ret;
        *place = kept;
    }
}

static uint32_t slots_of_call(const cql__node *n)
{
    uint32_t slots = n->argc;
    for (uint32_t i = 0; i < n->call->count; i++)
        if (n->call->targets[i]->slots > slots)
            slots = n->call->targets[i]->slots;
    return slots;
}

static void eval_call(cql_run *run, const cql__node *n, cql_value *ret)
{
    if (n->call->count == 1 && n->call->targets[0]->memo != 0) {
        eval_remembered(run, n, ret);
        return;
    }
    cql__mark mark;
    cql_value v = CQL_NULL_VALUE;
    cql_value *frame = cql__push(run, slots_of_call(n), &mark);
    if (frame == NULL) {
        *ret = v;
        return;
    }
    for (uint32_t i = 0; i < n->argc; i++)
        cql__eval_to(run, n->args[i], &frame[i]);
    const cql_define *d = cql__failed(run) ? NULL : choose(run, n->call, frame);
    /* A known body still serves for what a selector made (FHIR.Quantity { ... }). */
    bool native = d != NULL && d->native != NULL &&
                  (d->body == NULL || (n->argc != 0 && frame[0].kind == CQL_ELEMENT));
    if (native) {
        v = d->native(&run->c, frame, n->argc);
        cql__rest_on(run, &v, frame, n->argc);
    } else if (d != NULL) {
        call_function(run, d, frame, &v);
    }
    if (cql__failed(run) && d != NULL)
        blame(run, d);
    cql__pop(run, mark);
    *ret = v;
}

/* ---- value sets, messages, children ---- */

cql_value cql__expand(cql_run *run, cql_value set)
{
    if (set.kind != CQL_VALUESET)
        return set.kind == CQL_LIST ? set : CQL_NULL_VALUE;
    const fhir_valueset *vs = set.setref->resolved;
    if (vs == NULL)
        return cql__fail(run, OG_EVAL, "value set %.*s is not known", OG_STR_ARG(set.setref->id));
    size_t count = fhir_valueset_count(vs);
    if (count > run->max_list)
        return cql__fail(run, OG_LIMIT, "value set %.*s has more than %u codes",
                         OG_STR_ARG(set.setref->id), run->max_list);
    cql_value *items = og_arena_alloc(run->arena, count * sizeof *items);
    cql_code *codes = og_arena_zalloc(run->arena, count, sizeof *codes);
    if (items == NULL || codes == NULL)
        return cql__no_memory(run);
    for (size_t i = 0; i < count; i++) {
        fhir_valueset_code(vs, i, &codes[i].system, &codes[i].code, &codes[i].display);
        items[i] = (cql_value){.kind = CQL_CODE, .code = &codes[i]};
    }
    return cql__list_of(run, items, count);
}

/* Message(source, condition, code, severity, message): severity Error stops the evaluation,
 * everything else passes the source on. The message's text is told only when the author wrote it:
 * what is put together from data may speak of the patient. */
static void eval_message(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value part[5];
    for (int i = 0; i < 5; i++)
        part[i] = n->args[i] != NULL ? cql__eval(run, n->args[i]) : CQL_NULL_VALUE;
    *ret = part[0];
    if (cql__failed(run))
        return;
    bool error = part[3].kind == CQL_STRING && og_str_is(cql_str(part[3]), "Error");
    if (!error || (n->args[1] != NULL && !is_true(&part[1])))
        return;
    og_str code = part[2].kind == CQL_STRING ? cql_str(part[2]) : (og_str){NULL, 0};
    og_str text = {NULL, 0};
    if (part[4].kind == CQL_STRING && n->args[4]->kind == CQL__CONSTANT)
        text = cql_str(part[4]);
    if (code.n == 0 && text.n == 0)
        text = OG_STR("a Message of severity Error, without a code");
    *ret = cql__fail(run, OG_EVAL, "%.*s%s%.*s", OG_STR_ARG(code),
                     code.n != 0 && text.n != 0 ? ": " : "", OG_STR_ARG(text));
}

static void add_children(cql_run *run, cql__items *out, cql_value v, bool deep);

/* A value, or the elements of a list; with what is in it when all descendents are wanted. */
static void add_child(cql_run *run, cql__items *out, cql_value v, bool deep)
{
    if (cql_is_null(v) || cql__failed(run))
        return;
    if (run->depth >= run->max_depth) {
        (void)cql__fail(run, OG_LIMIT, "nested deeper than %u", run->max_depth);
        return;
    }
    if (out->count >= run->max_list) {
        (void)cql__fail(run, OG_LIMIT, "more than %u descendents", run->max_list);
        return;
    }
    run->depth++;
    if (v.kind == CQL_LIST) {
        for (size_t i = 0; i < v.list->count; i++)
            add_child(run, out, v.list->items[i], deep);
    } else if (cql__items_add(run, out, v) && deep) {
        add_children(run, out, v, deep);
    }
    run->depth--;
}

static void add_element_children(cql_run *run, cql__items *out, cql_value v, bool deep)
{
    fhir_elem at = v.element->at;
    if (fhir_kind_of(at) != FHIR_OBJECT) {
        add_child(run, out, cql_element_value(run->arena, v), deep);
        return;
    }
    for (fhir_elem m = fhir_first(at); fhir_exists(m); m = fhir_next(at, m)) {
        uint16_t type;
        const fhir_model_element *e = fhir_model_member(v.element->type, fhir_key_of(m), &type);
        if (e != NULL)
            add_child(run, out, cql_element_step(run->arena, v, fhir_model_element_name(e)), deep);
    }
}

static void add_children(cql_run *run, cql__items *out, cql_value v, bool deep)
{
    static const char *const names[] = {"code",      "system", "version",   "display",     "codes",
                                        "value",     "unit",   "numerator", "denominator", "low",
                                        "lowClosed", "high",   "highClosed"};
    if (v.kind == CQL_LIST)
        add_child(run, out, v, deep);
    else if (v.kind == CQL_TUPLE)
        for (size_t i = 0; i < v.tuple->count; i++)
            add_child(run, out, v.tuple->items[i], deep);
    else if (v.kind == CQL_ELEMENT)
        add_element_children(run, out, v, deep);
    else
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
            add_child(run, out, system_property(run, v, og_str_of(names[i])), deep);
}

static void eval_children(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql__items out = {0};
    cql_value v = cql__eval(run, n->args[0]);
    *ret = CQL_NULL_VALUE;
    if (cql_is_null(v))
        return;
    add_children(run, &out, v, n->flag);
    if (!cql__failed(run))
        *ret = cql__list_of(run, out.items, out.count);
}

static void eval_subsumes(cql_run *run, const cql__node *n, cql_value *ret)
{
    cql_value a = cql__eval(run, n->args[0]), b = cql__eval(run, n->args[1]);
    *ret = CQL_NULL_VALUE;
    if (!cql__failed(run)) /* SubsumedBy has its operands the other way round */
        *ret = cql__subsumes(&run->c, run->set->terms, n->flag ? b : a, n->flag ? a : b);
}

static void eval_expand(cql_run *run, const cql__node *n, cql_value *ret)
{
    *ret = cql__expand(run, cql__eval(run, n->args[0]));
}

/* ---- every node ---- */

/* What linking must have replaced. */
static void eval_unlinked(cql_run *run, const cql__node *n, cql_value *ret)
{
    *ret = cql__fail(run, OG_INTERNAL, "node of kind %u was not linked", n->kind);
}

static void eval_constant(cql_run *run, const cql__node *n, cql_value *ret)
{
    (void)run;
    *ret = n->value;
}

static const cql__evaluator evaluators[] = {
    [CQL__CONSTANT] = eval_constant,
    [CQL__OP] = eval_any_op,
    [CQL__AND] = eval_and,
    [CQL__OR] = eval_or,
    [CQL__IMPLIES] = eval_implies,
    [CQL__COALESCE] = eval_coalesce,
    [CQL__NOT] = eval_not,
    [CQL__IS_NULL] = eval_is_null,
    [CQL__CLOCK] = eval_clock,
    [CQL__BY_CLOCK] = eval_by_clock,
    [CQL__IF] = eval_if,
    [CQL__CASE] = eval_case,
    [CQL__IS] = eval_is,
    [CQL__AS] = eval_as,
    [CQL__INTERVAL] = eval_interval,
    [CQL__LIST_OF] = eval_list,
    [CQL__TUPLE_OF] = eval_tuple,
    [CQL__INSTANCE] = eval_instance,
    [CQL__SLOT] = eval_slot,
    [CQL__NAME] = eval_unlinked,
    [CQL__LOOPVAR] = eval_unlinked,
    [CQL__PROPERTY] = eval_property,
    [CQL__DEFINE] = eval_define_ref,
    [CQL__CALL] = eval_call,
    [CQL__PARAMETER] = eval_define_ref,
    [CQL__SETREF] = eval_unlinked,
    [CQL__CODEREF] = eval_unlinked,
    [CQL__EXPAND] = eval_expand,
    [CQL__QUERY] = cql__eval_query,
    [CQL__RETRIEVE] = cql__eval_retrieve,
    [CQL__FOREACH] = cql__eval_foreach,
    [CQL__FILTER] = cql__eval_filter,
    [CQL__REPEAT] = cql__eval_repeat,
    [CQL__FOLD] = cql__eval_fold,
    [CQL__SORT] = cql__eval_sort,
    [CQL__EACH] = eval_each,
    [CQL__MESSAGE] = eval_message,
    [CQL__CHILDREN] = eval_children,
    [CQL__SUBSUMES] = eval_subsumes,
};

/* The run has failed, or fails now: it has gone on for too long or too deep. */
static __attribute__((noinline)) void refuse(cql_run *run, cql_value *ret)
{
    if (!cql__failed(run) && run->steps >= run->max_steps)
        (void)cql__fail(run, OG_LIMIT, "more than %llu steps", (unsigned long long)run->max_steps);
    else if (!cql__failed(run))
        (void)cql__fail(run, OG_LIMIT, "nested deeper than %u", run->max_depth);
    *ret = CQL_NULL_VALUE;
}

/* After a node that failed, or while somebody wants to see each value. */
static __attribute__((noinline)) void conclude(cql_run *run, const cql__node *n, cql_value *ret)
{
    if (!cql__failed(run)) {
        cql__trace_value(run, n, *ret);
        return;
    }
    if (n->place.line != 0) /* the innermost place is told first, and stays */
        og_error_at(&run->err, n->place.line, n->place.column);
    *ret = CQL_NULL_VALUE;
}

/* Values are built where the caller wants them: copying them once more made a third of the time of
 * an evaluation. */
void cql__eval_node(cql_run *run, const cql__node *n, cql_value *ret)
{
    if (cql__failed(run) || run->steps >= run->max_steps || run->depth >= run->max_depth) {
        refuse(run, ret);
        return;
    }
    run->steps++;
    run->depth++;
    evaluators[n->kind](run, n, ret);
    run->depth--;
    if (cql__failed(run) || run->trace != NULL)
        conclude(run, n, ret);
}
