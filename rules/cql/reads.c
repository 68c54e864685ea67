/* Which elements of a resource type a definition can read, for FHIR's DataRequirement.mustSupport.
 *
 * The trees are walked with one question: of which types can this expression give whole resources?
 * The answer is a set of types that goes from retrieves through aliases, lets, operands of
 * functions, definitions and those operators that hand resources on unread. A property of such an
 * expression is an element read. Wherever else whole resources go (the result itself, a comparison,
 * a tuple, a native function) nobody can say what is read of them, so everything is: the answer
 * may be too much and is never too little. Functions take the union of what their calls give them;
 * the walk is repeated until nothing grows any more. */
#include "rules/cql/tree.h"

#include <stdlib.h>

#include "fhir/model.h"
#include "rules/cql/ops.h"

typedef uint64_t types; /* a bit for each type in `found` order */

#define MAX_TYPES 64 /* of what comes later all is read */

typedef struct read_type {
    uint16_t type;
    bool all;
    og_str *names;
    uint32_t count, cap;
} read_type;

typedef struct activation { /* of a definition, all its calls together */
    const cql_define *define;
    types *slots;
    types *operands;
    types result;
    unsigned round; /* of the last visit */
} activation;

typedef struct reader {
    og_arena *arena;
    og_table activations; /* address of the definition -> activation */
    read_type found[MAX_TYPES];
    uint32_t count;
    bool too_many; /* types */
    bool failed;
    bool changed;
    unsigned round;
} reader;

/* ---- what has been read ---- */

static bool has_element(uint16_t type, og_str name)
{
    uint16_t branch; /* of a choice under its JSON name */
    return fhir_model_element_of(type, name) != NULL ||
           fhir_model_member(type, name, &branch) != NULL;
}

static void add_name(reader *r, read_type *t, og_str name)
{
    if (!has_element(t->type, name))
        return; /* then the value is null */
    for (uint32_t i = 0; i < t->count; i++)
        if (og_str_eq(t->names[i], name))
            return;
    if (t->count == t->cap) {
        uint32_t cap = t->cap != 0 ? t->cap * 2 : 8;
        og_str *names =
            og_arena_grow(r->arena, t->names, t->cap * sizeof *names, cap * sizeof *names);
        if (names == NULL) {
            r->failed = true;
            return;
        }
        t->names = names;
        t->cap = cap;
    }
    t->names[t->count++] = name;
}

static void read_element(reader *r, types of, og_str name)
{
    for (uint32_t i = 0; i < r->count; i++)
        if ((of & (types)1 << i) != 0)
            add_name(r, &r->found[i], name);
}

static void read_path(reader *r, types of, const cql__step *steps, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (steps[i].name.n != 0) {
            read_element(r, of, steps[i].name);
            return;
        }
    }
}

static void read_all(reader *r, types of)
{
    for (uint32_t i = 0; i < r->count; i++)
        if ((of & (types)1 << i) != 0)
            r->found[i].all = true;
}

static types bit_of(reader *r, uint16_t type)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (r->found[i].type == type)
            return (types)1 << i;
    if (r->count == MAX_TYPES) {
        r->too_many = true;
        return 0;
    }
    r->found[r->count] = (read_type){.type = type};
    return (types)1 << r->count++;
}

/* ---- the walk ---- */

static types walk(reader *r, activation *a, const cql__node *n);

/* Goes where nobody knows what is read of it. */
static void escape(reader *r, activation *a, const cql__node *n)
{
    read_all(r, walk(r, a, n));
}

static activation *activation_of(reader *r, const cql_define *d)
{
    og_str key = {(const char *)&d, sizeof d};
    activation *a = og_table_get(&r->activations, key);
    if (a != NULL)
        return a;
    a = og_arena_zalloc(r->arena, 1, sizeof *a);
    if (a != NULL) {
        a->define = d;
        a->slots = og_arena_zalloc(r->arena, (size_t)d->slots + 1, sizeof *a->slots);
        a->operands = og_arena_zalloc(r->arena, (size_t)d->operand_count + 1, sizeof *a->operands);
        key.p = (const char *)&a->define;
    }
    if (a == NULL || a->slots == NULL || a->operands == NULL ||
        !og_table_put(&r->activations, key, a)) {
        r->failed = true;
        return NULL;
    }
    return a;
}

/* Once in a round; in a recursion what is known so far. */
static types visit_define(reader *r, const cql_define *d)
{
    activation *a = activation_of(r, d);
    if (a == NULL)
        return 0;
    if (a->round == r->round)
        return a->result;
    a->round = r->round;
    for (uint32_t i = 0; i < d->operand_count && i < d->slots; i++)
        a->slots[i] = a->operands[i];
    types result = a->result | walk(r, a, d->body);
    r->changed |= result != a->result;
    a->result = result;
    return result;
}

static types visit_call(reader *r, activation *a, const cql__node *n)
{
    types result = 0;
    for (uint32_t i = 0; i < n->argc; i++) {
        types given = walk(r, a, n->args[i]);
        for (uint32_t k = 0; k < n->call->count; k++) {
            const cql_define *d = n->call->targets[k];
            activation *callee = d->body != NULL && d->native == NULL ? activation_of(r, d) : NULL;
            if (callee == NULL || i >= d->operand_count) {
                read_all(r, given);
            } else if ((given & ~callee->operands[i]) != 0) {
                callee->operands[i] |= given;
                r->changed = true;
            }
        }
    }
    for (uint32_t k = 0; k < n->call->count; k++)
        result |= visit_define(r, n->call->targets[k]);
    return result;
}

static types visit_retrieve(reader *r, activation *a, const cql__retrieve *q)
{
    types own = bit_of(r, q->type);
    escape(r, a, q->id);
    if (q->id != NULL)
        read_element(r, own, OG_STR("id"));
    for (uint32_t i = 0; i < q->filter_count; i++) {
        const cql__filter *f = &q->filters[i];
        read_path(r, own, f->path, f->path_count);
        read_path(r, own, f->low_path, f->low_count);
        read_path(r, own, f->high_path, f->high_count);
        escape(r, a, f->value);
    }
    return own;
}

static void visit_sort(reader *r, activation *a, const cql__sort *s, types items)
{
    a->slots[s->slot] = items;
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->keys[i].expression == NULL)
            read_all(r, items);
        escape(r, a, s->keys[i].expression);
    }
}

/* What the expression adds to its own running total would have to be walked again: everything. */
static types visit_aggregate(reader *r, activation *a, const cql__query *q)
{
    types total = walk(r, a, q->starting);
    a->slots[q->aggregate_slot] = total;
    types added = walk(r, a, q->aggregate);
    read_all(r, added & ~total);
    return total | added;
}

static types visit_query(reader *r, activation *a, const cql__query *q)
{
    types row = 0;
    for (uint32_t i = 0; i < q->source_count; i++) {
        types items = walk(r, a, q->sources[i].expression);
        a->slots[q->sources[i].slot] = items;
        row |= items;
    }
    for (uint32_t i = 0; i < q->let_count; i++)
        a->slots[q->lets[i].slot] = walk(r, a, q->lets[i].expression);
    for (uint32_t i = 0; i < q->relation_count; i++) {
        a->slots[q->relations[i].slot] = walk(r, a, q->relations[i].expression);
        escape(r, a, q->relations[i].such_that);
    }
    escape(r, a, q->where);
    if (q->has_aggregate) {
        row = visit_aggregate(r, a, q);
    } else if (q->ret != NULL) {
        row = walk(r, a, q->ret);
        if (q->distinct)
            read_element(r, row, OG_STR("id"));
    } else if (q->source_count > 1) {
        read_all(r, row); /* the rows are tuples */
        row = 0;
    }
    if (q->sort != NULL)
        visit_sort(r, a, q->sort, row);
    return row;
}

static types walk_args(reader *r, activation *a, const cql__node *n)
{
    types all = 0;
    for (uint32_t i = 0; i < n->argc; i++)
        all |= walk(r, a, n->args[i]);
    return all;
}

/* Operators that hand their operand's resources on, or only ask whether there are any. Two
 * resources of a type are the same when their ids are. */
static types visit_op(reader *r, activation *a, const cql__node *n)
{
    types given = walk_args(r, a, n);
    cql_op op = n->op;
    if (op == cql_op_First || op == cql_op_Last || op == cql_op_SingletonFrom ||
        op == cql_op_ToList || op == cql_op_Flatten || op == cql_op_Slice || op == cql_op_Indexer)
        return given;
    if (op == cql_op_Union || op == cql_op_Intersect || op == cql_op_Except ||
        op == cql_op_Distinct) {
        read_element(r, given, OG_STR("id"));
        return given;
    }
    if (op != cql_op_Exists && op != cql_op_Count)
        read_all(r, given);
    return 0;
}

static types visit_loop(reader *r, activation *a, const cql__node *n)
{
    types items = walk(r, a, n->args[0]);
    bool known = n->kind == CQL__FOREACH || n->kind == CQL__FILTER;
    if (!known)
        read_all(r, items);
    a->slots[n->slot] = items;
    a->slots[n->slot + 1] = 0;
    a->slots[n->slot + 2] = 0;
    for (uint32_t i = 2; i < n->argc; i++)
        escape(r, a, n->args[i]);
    types made = walk(r, a, n->args[1]);
    if (n->kind == CQL__FOREACH)
        return made;
    read_all(r, made);
    return n->kind == CQL__FILTER ? items : 0;
}

/* If: condition, then, else. Case: (comparand,) when, then, ..., else. */
static types visit_branches(reader *r, activation *a, const cql__node *n)
{
    bool comparand = n->kind == CQL__CASE && n->flag;
    uint32_t first = comparand ? 1 : 0;
    types result = 0;
    if (comparand)
        escape(r, a, n->args[0]);
    for (uint32_t i = first; i < n->argc; i++) {
        types given = walk(r, a, n->args[i]);
        if ((i - first) % 2 == 1 || i + 1 == n->argc)
            result |= given;
        else
            read_all(r, given);
    }
    return result;
}

static types walk(reader *r, activation *a, const cql__node *n)
{
    if (n == NULL)
        return 0;
    switch ((cql__kind)n->kind) {
    case CQL__CONSTANT:
    case CQL__CLOCK: return 0;
    case CQL__SLOT: return a->slots[n->slot];
    case CQL__PROPERTY:
        read_path(r, n->argc != 0 ? walk(r, a, n->args[0]) : a->slots[n->slot], n->path.steps,
                  n->path.count);
        return 0;
    case CQL__EACH: read_path(r, walk_args(r, a, n), n->path.steps, n->path.count); return 0;
    case CQL__DEFINE:
    case CQL__PARAMETER: return visit_define(r, n->ref.define);
    case CQL__CALL: return visit_call(r, a, n);
    case CQL__RETRIEVE: return visit_retrieve(r, a, n->retrieve);
    case CQL__QUERY: return visit_query(r, a, n->query);
    case CQL__OP:
    case CQL__BY_CLOCK: return visit_op(r, a, n);
    case CQL__IS:
    case CQL__IS_NULL: walk_args(r, a, n); return 0;
    case CQL__AS:
    case CQL__COALESCE:
    case CQL__LIST_OF: return walk_args(r, a, n);
    case CQL__IF:
    case CQL__CASE: return visit_branches(r, a, n);
    case CQL__FOREACH:
    case CQL__FILTER:
    case CQL__REPEAT:
    case CQL__FOLD: return visit_loop(r, a, n);
    case CQL__SORT: {
        types items = walk_args(r, a, n);
        visit_sort(r, a, n->sort, items);
        return items;
    }
    default: read_all(r, walk_args(r, a, n)); return 0;
    }
}

static int by_text(const void *a, const void *b)
{
    return og_str_cmp(*(const og_str *)a, *(const og_str *)b);
}

static void read_results(reader *r, const cql_library *lib, const cql_define *d)
{
    if (d != NULL)
        read_all(r, visit_define(r, d));
    for (size_t i = 0; d == NULL && i < lib->define_count; i++)
        read_all(r, visit_define(r, lib->defines[i]));
}

size_t cql_elements_read(og_arena *a, const cql_library *lib, const cql_define *d, og_str type,
                         const og_str **ret)
{
    reader *r = og_arena_zalloc(a, 1, sizeof *r);
    uint16_t number = fhir_type_of(type);

    *ret = NULL;
    if (r == NULL)
        return 0;
    r->arena = a;
    og_table_init(&r->activations, a);
    do {
        r->changed = false;
        r->round++;
        read_results(r, lib, d);
    } while (r->changed && !r->failed);
    for (uint32_t i = 0; i < r->count && !r->failed && !r->too_many; i++) {
        read_type *t = &r->found[i];
        if (t->type != number || t->all || t->count == 0)
            continue;
        qsort(t->names, t->count, sizeof *t->names, by_text);
        *ret = t->names;
        return t->count;
    }
    return 0;
}
