/* Linking: every name in the trees becomes a pointer or a slot, and what evaluation may then assume
 * is decided here. Includes are resolved first, then each definition is bound when it is first
 * needed, so that a reference knows of its target whether it can fail.
 *
 * An activation of a definition has a frame of values; aliases, lets, operands and loop variables
 * are slots in it, handed out like a stack while the tree is walked. The tree is only written to
 * here. */
#include "rules/cql/tree.h"

#include <stdarg.h>

#include "fhir/model.h"
#include "rules/cql/ops_private.h"

#define MAX_BIND_DEPTH 12000 /* of nodes, across references; bounds the C stack */

typedef enum scope_kind {
    SCOPE_NAME, /* alias, let, operand, accumulator */
    SCOPE_LOOP, /* slot: item, slot + 1: index, slot + 2: total */
    SCOPE_SORT  /* the item that is being sorted */
} scope_kind;

typedef struct scope {
    const struct scope *up;
    scope_kind kind;
    og_str name;
    uint32_t slot;
    const cql__type *type;
} scope;

/* Notices whether an expression looks at the slots from first to before end. */
typedef struct watch {
    struct watch *up;
    uint32_t first, end;
    bool hit;
} watch;

typedef struct linker { /* one cql_set_link */
    cql_set *set;
    og_report *report;
    og_status status;
    unsigned errors;
    uint32_t depth;
} linker;

typedef struct binder { /* one definition */
    linker *link;
    cql_library *lib;
    cql_define *def;
    const scope *scope;
    watch *watches;
    uint32_t slots;
} binder;

static bool bind_define(linker *l, cql_define *d);
static bool bind(binder *b, const cql__node *n);

/* ---- errors ---- */

static void report_error(linker *l, const cql_library *lib, const cql_define *d, cql__place at,
                         og_status status, const char *text)
{
    og_error err;
    char path[200];
    if (l->status == OG_OK)
        l->status = status;
    if (l->errors++ >= 100)
        return;
    og_error_init(&err);
    if (at.line != 0)
        (void)og_fail(&err, status, "%s (CQL %u:%u)", text, at.line, at.column);
    else
        (void)og_fail(&err, status, "%s", text);
    og_error_origin(&err, lib->origin);
    if (d != NULL) {
        snprintf(path, sizeof path, "%.*s", OG_STR_ARG(d->name));
        og_error_path(&err, path);
    }
    og_report_add(l->report, &err);
}

static bool fail(binder *b, const cql__node *n, og_status status, const char *fmt, ...)
    OG_PRINTF(4, 5);

static bool fail(binder *b, const cql__node *n, og_status status, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    report_error(b->link, b->lib, b->def, n->place.line != 0 ? n->place : b->def->place, status,
                 text);
    return false;
}

/* ---- libraries and terms ---- */

/* The library that an alias means; the own one for an empty alias. */
static cql_library *library_of(cql_library *lib, og_str alias)
{
    if (alias.n == 0 || og_str_eq(alias, lib->name))
        return lib;
    const cql__include *i = og_table_get(&lib->includes, alias);
    return i != NULL ? i->library : NULL;
}

typedef enum term_kind { TERM_CODESYSTEM, TERM_VALUESET, TERM_CODE, TERM_CONCEPT } term_kind;

static const char *const term_names[] = {"codesystem", "valueset", "code", "concept"};

static cql__term *find_term(cql_library *lib, term_kind kind, og_str name)
{
    og_table *const tables[] = {&lib->codesystems, &lib->valuesets, &lib->codes, &lib->concepts};
    return og_table_get(tables[kind], name);
}

static bool resolve_term(linker *l, cql_library *lib, term_kind kind, cql__term *t);

/* The term that a reference inside a term names. */
static cql__term *part_of(linker *l, cql_library *lib, const cql__term *t, uint32_t i,
                          term_kind kind)
{
    char text[300];
    cql_library *of = library_of(lib, t->parts[i].library);
    cql__term *part = of != NULL ? find_term(of, kind, t->parts[i].name) : NULL;
    if (part != NULL && resolve_term(l, of, kind, part))
        return part;
    if (part == NULL) {
        snprintf(text, sizeof text, "%.*s names an unknown %s %.*s", OG_STR_ARG(t->name),
                 term_names[kind], OG_STR_ARG(t->parts[i].name));
        report_error(l, lib, NULL, (cql__place){0}, OG_NOTFOUND, text);
    }
    return NULL;
}

static bool resolve_setref(linker *l, cql_library *lib, term_kind kind, cql__term *t)
{
    char text[600];
    cql_setref *s = og_arena_zalloc(l->set->arena, 1, sizeof *s);
    if (s == NULL)
        return false;
    *s = (cql_setref){.id = t->id, .version = t->version, .name = t->name};
    t->value =
        (cql_value){.kind = kind == TERM_VALUESET ? CQL_VALUESET : CQL_CODESYSTEM, .setref = s};
    if (kind !=
        TERM_VALUESET) { /* mostly named for its codes only: needed where membership is asked */
        if (l->set->terms != NULL)
            s->resolved = fhir_codesystem_find(l->set->terms, t->id);
        return true;
    }
    if (l->set->terms != NULL)
        s->resolved = fhir_valueset_find(l->set->terms, t->id, t->version);
    if (s->resolved != NULL || l->set->allow_missing)
        return true;
    snprintf(text, sizeof text, "value set %.*s (%.*s%s%.*s) is not there", OG_STR_ARG(t->name),
             OG_STR_ARG(t->id), t->version.n != 0 ? "|" : "", OG_STR_ARG(t->version));
    report_error(l, lib, NULL, (cql__place){0}, OG_NOTFOUND, text);
    return true; /* said once is enough */
}

static bool resolve_code(linker *l, cql_library *lib, cql__term *t)
{
    cql_code *c = og_arena_zalloc(l->set->arena, 1, sizeof *c);
    if (c == NULL)
        return false;
    c->code = t->id;
    c->display = t->display;
    if (t->part_count != 0) {
        const cql__term *system = part_of(l, lib, t, 0, TERM_CODESYSTEM);
        if (system == NULL)
            return false;
        c->system = system->id;
        c->version = system->version;
    }
    t->value = (cql_value){.kind = CQL_CODE, .code = c};
    return true;
}

static bool resolve_concept(linker *l, cql_library *lib, cql__term *t)
{
    cql_concept *c = og_arena_zalloc(l->set->arena, 1, sizeof *c);
    cql_code *codes = og_arena_zalloc(l->set->arena, t->part_count + 1, sizeof *codes);
    if (c == NULL || codes == NULL)
        return false;
    for (uint32_t i = 0; i < t->part_count; i++) {
        const cql__term *code = part_of(l, lib, t, i, TERM_CODE);
        if (code == NULL)
            return false;
        codes[i] = *code->value.code;
    }
    *c = (cql_concept){.codes = codes, .count = t->part_count, .display = t->display};
    t->value = (cql_value){.kind = CQL_CONCEPT, .concept = c};
    return true;
}

/* Terms refer in one direction only (concept → code → code system), so this cannot go in circles.
 */
static bool resolve_term(linker *l, cql_library *lib, term_kind kind, cql__term *t)
{
    if (t->state != 0)
        return t->state == 2;
    t->state = 1;
    bool ok = kind == TERM_CODE      ? resolve_code(l, lib, t)
              : kind == TERM_CONCEPT ? resolve_concept(l, lib, t)
                                     : resolve_setref(l, lib, kind, t);
    t->state = ok ? 2 : 1;
    return ok;
}

static cql__term *bind_term(binder *b, const cql__node *n, term_kind kind)
{
    cql_library *of = library_of(b->lib, n->ref.library);
    cql__term *t = of != NULL ? find_term(of, kind, n->ref.name) : NULL;
    if (t == NULL || (t->is_private && of != b->lib)) {
        fail(b, n, OG_NOTFOUND, "%s %s \"%.*s%s%.*s\"", t != NULL ? "private" : "unknown",
             term_names[kind], OG_STR_ARG(n->ref.library), n->ref.library.n != 0 ? "." : "",
             OG_STR_ARG(n->ref.name));
        return NULL;
    }
    unsigned before = b->link->errors;
    if (resolve_term(b->link, of, kind, t))
        return t;
    if (b->link->errors == before)
        fail(b, n, OG_NOTFOUND, "%s %.*s cannot be resolved", term_names[kind],
             OG_STR_ARG(n->ref.name));
    return NULL;
}

/* ---- scopes ---- */

static uint32_t take_slots(binder *b, uint32_t count)
{
    uint32_t first = b->slots;
    b->slots += count;
    if (b->slots > b->def->slots)
        b->def->slots = b->slots;
    return first;
}

static const scope *find_scope(const binder *b, scope_kind kind, og_str name)
{
    for (const scope *s = b->scope; s != NULL; s = s->up)
        if (s->kind == kind && (name.n == 0 || og_str_eq(s->name, name)))
            return s;
    return NULL;
}

/* Every reference to a slot passes here. */
static void use_slot(binder *b, cql__node *n, uint32_t slot)
{
    n->slot = slot;
    for (watch *w = b->watches; w != NULL; w = w->up)
        w->hit |= slot >= w->first && slot < w->end;
}

static void become_constant(cql__node *n, cql_value v)
{
    n->kind = CQL__CONSTANT;
    n->argc = 0;
    n->may_fail = false;
    n->value = v;
}

static bool bind_slot(binder *b, cql__node *n)
{
    const scope *s = find_scope(b, SCOPE_NAME, n->ref.name);
    if (s == NULL)
        return fail(b, n, OG_NOTFOUND, "unknown name %.*s", OG_STR_ARG(n->ref.name));
    use_slot(b, n, s->slot);
    if (n->result == NULL)
        n->result = s->type;
    return true;
}

static bool bind_loop_variable(binder *b, cql__node *n)
{
    const scope *s = find_scope(b, SCOPE_LOOP, n->loop.scope);
    if (s == NULL)
        return fail(b, n, OG_NOTFOUND, "no loop to refer to");
    n->kind = CQL__SLOT;
    use_slot(b, n, s->slot + n->slot);
    return true;
}

/* ---- references to definitions ---- */

static bool bind_define_ref(binder *b, cql__node *n, bool parameter)
{
    cql_library *of = library_of(b->lib, n->ref.library);
    cql_define *d = NULL;
    if (of != NULL)
        d = og_table_get(parameter ? &of->parameters : &of->expressions, n->ref.name);
    if (d == NULL || (d->is_private && of != b->lib))
        return fail(b, n, OG_NOTFOUND, "%s %s \"%.*s%s%.*s\"", d != NULL ? "private" : "unknown",
                    parameter ? "parameter" : "define", OG_STR_ARG(n->ref.library),
                    n->ref.library.n != 0 ? "." : "", OG_STR_ARG(n->ref.name));
    if (d->bound == 1)
        return fail(b, n, OG_INVALID, "%.*s refers to itself", OG_STR_ARG(d->name));
    if (!bind_define(b->link, d))
        return false; /* its own error has been reported */
    n->ref.define = d;
    n->may_fail = d->body != NULL && d->body->may_fail;
    if (n->result == NULL)
        n->result = d->result != NULL ? d->result : d->body != NULL ? d->body->result : NULL;
    /* What a patient context says becomes a list of it where all patients are looked at. */
    n->flag = !parameter && b->def->unfiltered && !d->unfiltered;
    if (n->flag)
        n->result = NULL;
    return true;
}

/* `A.code.value` is a property of a property: one path, walked at once. */
static bool join_paths(binder *b, cql__node *n)
{
    const cql__node *from = n->argc != 0 ? n->args[0] : NULL;
    n->path.number = b->link->set->path_count++;
    n->path.all = n->path.steps;
    n->path.all_count = n->path.count;
    n->path.base = from;
    if (from == NULL || from->kind != CQL__PROPERTY)
        return true;
    uint32_t inner = from->path.all_count;
    cql__step *all = og_arena_alloc(b->link->set->arena, (inner + n->path.count) * sizeof *all);
    if (all == NULL)
        return false;
    memcpy(all, from->path.all, inner * sizeof *all);
    memcpy(all + inner, n->path.steps, n->path.count * sizeof *all);
    n->path.all = all;
    n->path.all_count = inner + n->path.count;
    n->path.base = from->path.base;
    n->slot = from->slot;
    return true;
}

/* IdentifierRef: inside a sort it is an element of the item, elsewhere whatever has this name. */
static bool bind_name(binder *b, cql__node *n)
{
    const scope *sort = find_scope(b, SCOPE_SORT, (og_str){NULL, 0});
    const scope *loop = find_scope(b, SCOPE_LOOP, (og_str){NULL, 0});
    og_str name = n->ref.name;
    bool self = og_str_is(name, "$this");
    if (self && (sort != NULL || loop != NULL)) {
        n->kind = CQL__SLOT;
        use_slot(b, n, sort != NULL ? sort->slot : loop->slot);
        return true;
    }
    if ((og_str_is(name, "$index") || og_str_is(name, "$total")) && loop != NULL) {
        n->kind = CQL__SLOT;
        use_slot(b, n, loop->slot + (og_str_is(name, "$index") ? 1 : 2));
        return true;
    }
    if (sort != NULL && n->ref.library.n == 0) {
        cql__step *step = og_arena_zalloc(b->link->set->arena, 1, sizeof *step);
        if (step == NULL || !cql__make_step(b->link->set, name, step))
            return false;
        n->kind = CQL__PROPERTY;
        use_slot(b, n, sort->slot);
        n->path.steps = step;
        n->path.count = 1;
        return join_paths(b, n);
    }
    if (find_scope(b, SCOPE_NAME, name) != NULL) {
        n->kind = CQL__SLOT;
        return bind_slot(b, n);
    }
    cql_library *of = library_of(b->lib, n->ref.library);
    n->kind = CQL__DEFINE;
    if (of != NULL && og_table_get(&of->expressions, name) == NULL &&
        og_table_get(&of->parameters, name) != NULL)
        n->kind = CQL__PARAMETER;
    return bind_define_ref(b, n, n->kind == CQL__PARAMETER);
}

/* ---- calls ---- */

typedef struct candidates {
    const cql_define **items;
    uint32_t count;
} candidates;

static uint32_t count_overloads(const cql_define *d)
{
    uint32_t n = 0;
    for (; d != NULL; d = d->overload)
        n++;
    return n;
}

static void add_candidates(candidates *c, const cql_define *d, uint32_t argc, bool foreign)
{
    for (; d != NULL; d = d->overload)
        if (d->operand_count == argc && !(d->is_private && foreign))
            c->items[c->count++] = d;
}

/* The first function of this name in the library's include number i, NULL when there is none. */
static const cql_define *included_function(const cql_library *lib, uint32_t i, og_str name)
{
    const cql__include *inc = lib->includes.entries != NULL ? lib->includes.entries[i].value : NULL;
    return inc != NULL && inc->library != NULL ? og_table_get(&inc->library->functions, name)
                                               : NULL;
}

/* Functions of this name and arity. A fluent function may come from any included library: ELM names
 * the library, but not every translator does. */
static bool find_candidates(binder *b, const cql__node *n, candidates *c)
{
    const cql__call *call = n->call;
    cql_library *of = library_of(b->lib, call->library);
    const cql_define *first = of != NULL ? og_table_get(&of->functions, call->name) : NULL;
    uint32_t included =
        of != NULL && first == NULL && call->library.n == 0 ? of->includes.count : 0;
    uint32_t max = count_overloads(first);
    for (uint32_t i = 0; i < included; i++)
        max += count_overloads(included_function(b->lib, i, call->name));
    c->items = og_arena_zalloc(b->link->set->arena, max + 1, sizeof *c->items);
    if (c->items == NULL)
        return false;
    add_candidates(c, first, n->argc, of != b->lib);
    for (uint32_t i = 0; i < included; i++) {
        const cql_define *d = included_function(b->lib, i, call->name);
        if (d != NULL && d->fluent)
            add_candidates(c, d, n->argc, true);
    }
    return true;
}

typedef bool (*type_test)(const cql__type *wanted, const cql__type *given);

/* Keeps the candidates whose operand types pass the test, unless none does. types[i] may be NULL:
 * unknown. */
static void narrow(candidates *c, const cql__type *const *types, uint32_t argc, type_test test)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t k = 0;
        while (k < argc && (types[k] == NULL || test(c->items[i]->operand_types[k], types[k])))
            k++;
        if (k < argc)
            continue;
        const cql_define *d = c->items[i];
        c->items[i] = c->items[kept];
        c->items[kept++] = d;
    }
    if (kept != 0)
        c->count = kept;
}

static bool narrow_by_arguments(binder *b, const cql__node *n, candidates *c)
{
    const cql__type **types = og_arena_zalloc(b->link->set->arena, n->argc + 1, sizeof *types);
    if (types == NULL)
        return false;
    for (uint32_t i = 0; i < n->argc; i++)
        types[i] = n->args[i]->result;
    narrow(c, types, n->argc, cql__type_equal);
    narrow(c, types, n->argc, cql__type_accepts);
    return true;
}

static bool all_the_same(const candidates *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (!c->items[i]->external || c->items[i]->native == NULL ||
            c->items[i]->native != c->items[0]->native)
            return false;
    return c->count != 0;
}

static bool bind_targets(binder *b, cql__node *n, const candidates *c)
{
    for (uint32_t i = 0; i < c->count; i++) {
        cql_define *d = (cql_define *)c->items[i];
        if (d->external && d->native == NULL)
            return fail(b, n, OG_UNSUPPORTED, "external function %.*s.%.*s is not known",
                        OG_STR_ARG(d->library->name), OG_STR_ARG(d->name));
        if (d->bound == 1) { /* recursion: what it can do is not known yet */
            n->may_fail = true;
            continue;
        }
        if (!bind_define(b->link, d))
            return false;
        n->may_fail |= d->body == NULL || d->body->may_fail;
    }
    return true;
}

static bool bind_call(binder *b, cql__node *n)
{
    candidates c = {0};
    cql__call *call = n->call;
    if (!find_candidates(b, n, &c))
        return false;
    if (c.count == 0)
        return fail(b, n, OG_NOTFOUND, "unknown function %.*s%s%.*s with %u arguments",
                    OG_STR_ARG(call->library), call->library.n != 0 ? "." : "",
                    OG_STR_ARG(call->name), n->argc);
    if (c.count > 1 && call->signature != NULL) {
        narrow(&c, call->signature, n->argc, cql__type_equal);
        if (c.count > 1)
            narrow(&c, call->signature, n->argc, cql__type_accepts);
    }
    if (c.count > 1 && !all_the_same(&c) && !narrow_by_arguments(b, n, &c))
        return false;
    if (all_the_same(&c))
        c.count = 1;
    call->targets = c.items;
    call->count = c.count;
    if (!bind_targets(b, n, &c))
        return false;
    if (n->result == NULL && c.count == 1)
        n->result = c.items[0]->result != NULL ? c.items[0]->result
                    : c.items[0]->body != NULL ? c.items[0]->body->result
                                               : NULL;
    return true;
}

/* ---- sets ---- */

/* Before ELM had `preserve`, a reference to a value set was the list of its codes. */
static bool expand_term(binder *b, const cql__node *n, cql__term *t, cql_value *ret)
{
    og_arena *a = b->link->set->arena;
    const fhir_valueset *vs = t->value.setref->resolved;
    if (t->expansion == NULL) {
        size_t count = fhir_valueset_count(vs);
        cql_list *list = og_arena_zalloc(a, 1, sizeof *list);
        cql_value *items = og_arena_zalloc(a, count + 1, sizeof *items);
        cql_code *codes = og_arena_zalloc(a, count + 1, sizeof *codes);
        if (list == NULL || items == NULL || codes == NULL)
            return fail(b, n, OG_NOMEM, "out of memory");
        for (size_t i = 0; i < count; i++) {
            fhir_valueset_code(vs, i, &codes[i].system, &codes[i].code, &codes[i].display);
            items[i] = (cql_value){.kind = CQL_CODE, .code = &codes[i]};
        }
        *list = (cql_list){.items = items, .count = count};
        t->expansion = list;
    }
    *ret = (cql_value){.kind = CQL_LIST, .list = t->expansion};
    return true;
}

static bool bind_setref(binder *b, cql__node *n)
{
    cql__term *t = bind_term(b, n, n->slot != 0 ? TERM_CODESYSTEM : TERM_VALUESET);
    cql_value v;
    if (t == NULL)
        return false;
    v = t->value;
    if (!n->flag && t->value.setref->resolved != NULL && !expand_term(b, n, t, &v))
        return false;
    become_constant(n, v);
    return true;
}

static bool bind_coderef(binder *b, cql__node *n)
{
    const cql__term *t = bind_term(b, n, n->flag ? TERM_CONCEPT : TERM_CODE);
    if (t == NULL)
        return false;
    become_constant(n, t->value);
    return true;
}

/* ---- queries, loops ---- */

static const cql__type *element_type(const cql__type *t)
{
    return t != NULL && t->kind == CQL__TYPE_LIST ? t->parts[0] : t;
}

static const cql__type *list_type(binder *b, const cql__type *of)
{
    cql__type *t = og_arena_zalloc(b->link->set->arena, 1, sizeof *t);
    const cql__type **parts = og_arena_alloc(b->link->set->arena, sizeof *parts);
    if (t == NULL || parts == NULL || of == NULL)
        return NULL;
    parts[0] = of;
    *t = (cql__type){.kind = CQL__TYPE_LIST, .count = 1, .parts = parts};
    return t;
}

static bool bind_part(binder *b, cql__node *n, const cql__node *part)
{
    if (part == NULL)
        return true;
    if (!bind(b, part))
        return false;
    n->may_fail |= part->may_fail;
    return true;
}

/* Sort keys see the item and what is visible outside of the query, not its aliases. */
static bool bind_sort(binder *b, cql__node *n, cql__sort *sort)
{
    bool ok = true;
    const scope *outer = b->scope;
    scope item = {outer, SCOPE_SORT, {NULL, 0}, take_slots(b, 1), NULL};
    sort->slot = item.slot;
    b->scope = &item;
    for (uint32_t i = 0; i < sort->count; i++)
        ok &= bind_part(b, n, sort->keys[i].expression);
    b->scope = outer;
    b->slots = item.slot;
    return ok;
}

/* Opens the scopes of aliases or lets one after the other; storage is the caller's. */
static void open_name(binder *b, scope *s, cql__binding *binding, const cql__type *type)
{
    binding->slot = take_slots(b, 1);
    *s = (scope){b->scope, SCOPE_NAME, binding->name, binding->slot, type};
    b->scope = s;
}

/* first_slot: of the query's aliases and lets, which reach up to here. */
static bool bind_relation(binder *b, cql__node *n, cql__binding *r, uint32_t first_slot)
{
    const scope *outer = b->scope;
    uint32_t slots = b->slots;
    scope s;
    watch row = {b->watches, first_slot, slots, false};
    b->watches = &row;
    bool bound = bind_part(b, n, r->expression);
    b->watches = row.up;
    if (!bound)
        return false;
    r->constant = !row.hit;
    open_name(b, &s, r, element_type(r->expression->result));
    bool ok = bind_part(b, n, r->such_that);
    b->scope = outer;
    b->slots = slots;
    return ok;
}

static bool bind_aggregate(binder *b, cql__node *n, cql__query *q)
{
    const scope *outer = b->scope;
    uint32_t slots = b->slots;
    if (!bind_part(b, n, q->starting))
        return false;
    q->aggregate_slot = take_slots(b, 1);
    scope s = {outer, SCOPE_NAME, q->aggregate_name, q->aggregate_slot, NULL};
    b->scope = &s;
    bool ok = bind_part(b, n, q->aggregate);
    b->scope = outer;
    b->slots = slots;
    return ok;
}

static void type_query(binder *b, cql__node *n)
{
    const cql__query *q = n->query;
    if (n->result != NULL || q->has_aggregate || q->source_count != 1)
        return;
    const cql__type *source = q->sources[0].expression->result;
    if (q->ret == NULL)
        n->result = source;
    else if (source != NULL && source->kind == CQL__TYPE_LIST)
        n->result = list_type(b, q->ret->result);
    else if (source != NULL)
        n->result = q->ret->result;
}

static bool bind_query_body(binder *b, cql__node *n, cql__query *q, scope *scopes)
{
    bool ok = true;
    uint32_t used = 0, first_slot = b->slots;
    for (uint32_t i = 0; i < q->source_count; i++)
        open_name(b, &scopes[used++], &q->sources[i],
                  element_type(q->sources[i].expression->result));
    for (uint32_t i = 0; i < q->let_count; i++) {
        ok &= bind_part(b, n, q->lets[i].expression);
        open_name(b, &scopes[used++], &q->lets[i], q->lets[i].expression->result);
    }
    for (uint32_t i = 0; i < q->relation_count; i++)
        ok &= bind_relation(b, n, &q->relations[i], first_slot);
    ok &= bind_part(b, n, q->where);
    ok &= bind_part(b, n, q->ret);
    if (q->has_aggregate)
        ok &= bind_aggregate(b, n, q);
    return ok;
}

static bool bind_query(binder *b, cql__node *n)
{
    cql__query *q = n->query;
    const scope *outer = b->scope;
    uint32_t slots = b->slots;
    bool ok = true;
    for (uint32_t i = 0; i < q->source_count; i++)
        ok &= bind_part(b, n, q->sources[i].expression);
    scope *scopes =
        og_arena_zalloc(b->link->set->arena, q->source_count + q->let_count, sizeof *scopes);
    if (scopes == NULL)
        return fail(b, n, OG_NOMEM, "out of memory");
    ok = ok && bind_query_body(b, n, q, scopes);
    b->scope = outer;
    b->slots = slots;
    if (ok && q->sort != NULL)
        ok = bind_sort(b, n, q->sort);
    if (ok)
        type_query(b, n);
    return ok;
}

/* ForEach, Filter, Repeat, Aggregate: item, index and total. */
static bool bind_loop(binder *b, cql__node *n)
{
    const scope *outer = b->scope;
    uint32_t slots = b->slots;
    bool ok = bind_part(b, n, n->args[0]);
    if (n->argc > 2)
        ok &= bind_part(b, n, n->args[2]);
    n->slot = take_slots(b, 3);
    scope s = {outer, SCOPE_LOOP, n->loop.scope, n->slot, NULL};
    b->scope = &s;
    ok &= bind_part(b, n, n->args[1]);
    b->scope = outer;
    b->slots = slots;
    return ok;
}

/* ---- retrieves ---- */

static void describe_value(og_buf *key, cql_value v)
{
    if (v.kind == CQL_VALUESET) {
        og_buf_adds(key, v.setref->id);
        og_buf_addc(key, '|');
        og_buf_adds(key, v.setref->version);
        return;
    }
    cql_value_format(key, v);
}

/* Two retrieves of the same type with the same constant filters are one. */
static bool unify_retrieve(binder *b, cql__node *n)
{
    cql__retrieve *q = n->retrieve;
    cql_set *set = b->link->set;
    q->constant = q->id == NULL;
    for (uint32_t i = 0; i < q->filter_count; i++)
        q->constant &= q->filters[i].value->kind == CQL__CONSTANT;
    q->number = set->retrieve_count;
    if (!q->constant) {
        set->retrieve_count++;
        return true;
    }
    og_buf key;
    og_buf_init(&key, (size_t)16 << 20);
    og_buf_addf(&key, "%u %.*s", q->type, OG_STR_ARG(q->profile));
    for (uint32_t i = 0; i < q->filter_count; i++) {
        const cql__filter *f = &q->filters[i];
        og_buf_addf(&key, "\n%d %.*s %.*s ", f->kind, OG_STR_ARG(f->path_text),
                    OG_STR_ARG(f->comparator));
        for (uint32_t k = 0; k < f->low_count; k++)
            og_buf_addf(&key, "l%.*s ", OG_STR_ARG(f->low_path[k].name));
        for (uint32_t k = 0; k < f->high_count; k++)
            og_buf_addf(&key, "h%.*s ", OG_STR_ARG(f->high_path[k].name));
        describe_value(&key, f->value->value);
    }
    bool ok = !og_buf_failed(&key);
    const cql__retrieve *known = ok ? og_table_get(&set->retrieves, og_buf_str(&key)) : NULL;
    if (known != NULL) {
        q->number = known->number;
        q->index = known->index;
    } else if (ok) {
        set->retrieve_count++;
        q->index = set->retrieves.count;
        ok = og_table_put(&set->retrieves, cql__intern(set, og_buf_str(&key)), q);
    }
    og_buf_done(&key);
    return ok || fail(b, n, OG_NOMEM, "out of memory");
}

/* The codes of a retrieve are mostly a code in a list, or the codes of a concept: a constant. */
static void fold_codes(binder *b, cql__node *n)
{
    og_arena *a = b->link->set->arena;
    bool list = (n->kind == CQL__OP && n->op == cql_op_ToList) || n->kind == CQL__LIST_OF;
    bool codes = n->kind == CQL__PROPERTY && n->argc == 1 && n->path.count == 1 &&
                 og_str_is(n->path.steps[0].name, "codes");
    for (uint32_t i = 0; i < n->argc; i++)
        if (n->args[i]->kind != CQL__CONSTANT)
            return;
    if (codes && n->args[0]->value.kind == CQL_CODE) { /* a code is its own only code */
        become_constant(n, n->args[0]->value);
        return;
    }
    if (codes && n->args[0]->value.kind == CQL_CONCEPT) {
        become_constant(n, n->args[0]->value);
        return;
    }
    if (!list || n->argc == 0)
        return;
    cql_value *items = og_arena_zalloc(a, n->argc, sizeof *items);
    cql_list *l = og_arena_zalloc(a, 1, sizeof *l);
    if (items == NULL || l == NULL)
        return;
    for (uint32_t i = 0; i < n->argc; i++)
        items[i] = n->args[i]->value;
    *l = (cql_list){.items = items, .count = n->argc};
    become_constant(n, (cql_value){.kind = CQL_LIST, .list = l});
}

/* `[Observation: code in { "A", "B" }]` reaches us as ToList of a list: the list alone is meant. */
static cql__node *codes_meant(cql__node *n)
{
    if (n->kind != CQL__OP || n->op != cql_op_ToList || n->argc != 1)
        return n;
    const cql__node *inner = n->args[0];
    bool list = inner->kind == CQL__CONSTANT
                    ? inner->value.kind == CQL_LIST
                    : inner->result != NULL && inner->result->kind == CQL__TYPE_LIST;
    return list ? (cql__node *)inner : n;
}

/* Filters that look at the same place of the same type share what a run finds there. */
static bool number_codings(binder *b, const cql__retrieve *q, cql__filter *f)
{
    cql_set *set = b->link->set;
    og_str key = og_arena_printf(set->arena, "%u %.*s", q->type, OG_STR_ARG(f->path_text));
    const void *known = og_table_get(&set->codings, key);
    f->codings = known != NULL ? (uint32_t)(uintptr_t)known - 1 : set->codings.count;
    return known != NULL ||
           (key.p != NULL && og_table_put(&set->codings, key, (void *)(uintptr_t)(f->codings + 1)));
}

static bool missing_set(cql_value v)
{
    return v.kind == CQL_VALUESET && v.setref->resolved == NULL;
}

static bool bind_retrieve(binder *b, cql__node *n)
{
    cql__retrieve *q = n->retrieve;
    if (!bind_part(b, n, q->id))
        return false;
    for (uint32_t i = 0; i < q->filter_count; i++) {
        cql__node *value = (cql__node *)q->filters[i].value;
        if (value->kind == CQL__SETREF)
            value->flag =
                true; /* the set, not the list of its codes: it is looked up, not searched */
        if (!bind_part(b, n, value))
            return false;
        if (q->filters[i].kind == CQL__FILTER_CODE) {
            value = codes_meant(value);
            q->filters[i].value = value;
            fold_codes(b, value);
            if (!number_codings(b, q, &q->filters[i]))
                return fail(b, n, OG_NOMEM, "out of memory");
        }
        n->may_fail |= value->kind == CQL__CONSTANT && missing_set(value->value);
    }
    if (n->result == NULL) {
        cql__type *t = og_arena_zalloc(b->link->set->arena, 1, sizeof *t);
        if (t == NULL)
            return false;
        *t = (cql__type){.kind = CQL__TYPE_FHIR, .fhir = q->type};
        n->result = list_type(b, t);
    }
    return unify_retrieve(b, n);
}

/* ---- every node ---- */

static bool bind_property(binder *b, cql__node *n)
{
    if (n->argc != 0)
        return join_paths(b, n);
    /* Older translators leave the scope out where an author left the alias out: the nearest one. */
    const scope *s = n->flag ? find_scope(b, SCOPE_SORT, (og_str){NULL, 0})
                             : find_scope(b, SCOPE_NAME, n->path.scope);
    if (s == NULL && n->path.scope.n == 0)
        return fail(b, n, OG_INVALID, "Property without source or scope");
    if (s == NULL)
        return fail(b, n, OG_NOTFOUND, "unknown name %.*s", OG_STR_ARG(n->path.scope));
    use_slot(b, n, s->slot);
    return join_paths(b, n);
}

static bool type_constant(binder *b, cql__node *n)
{
    if (n->result != NULL || n->value.kind == CQL_NULL || n->value.kind >= CQL_INTERVAL)
        return true;
    cql__type *t = og_arena_zalloc(b->link->set->arena, 1, sizeof *t);
    if (t == NULL)
        return false;
    *t = (cql__type){.kind = CQL__TYPE_SYSTEM, .system = n->value.kind};
    n->result = t;
    return true;
}

/* Length of a null list is 0, of a null string null (B.10, B.7): only the static type can tell. The
 * node becomes Coalesce(Length(list), 0). */
static bool type_length(binder *b, cql__node *n)
{
    og_arena *a = b->link->set->arena;
    if (n->op != cql_op_Length || n->argc != 1 || n->args[0]->result == NULL ||
        n->args[0]->result->kind != CQL__TYPE_LIST)
        return true;
    cql__node *length = og_arena_alloc(a, sizeof *length);
    cql__node *zero = og_arena_zalloc(a, 1, sizeof *zero);
    const cql__node **args = og_arena_alloc(a, 2 * sizeof *args);
    if (length == NULL || zero == NULL || args == NULL)
        return false;
    *length = *n;
    zero->kind = CQL__CONSTANT;
    zero->value = cql_integer(0);
    args[0] = length;
    args[1] = zero;
    n->kind = CQL__COALESCE;
    n->args = args;
    n->argc = 2;
    return true;
}

static bool is_now(const cql__node *n)
{
    return n->kind == CQL__CLOCK && n->flag;
}

/* A comparison with Now(), or no more of it than its offset. */
static bool is_by_clock(const cql__node *n)
{
    if (n->argc == 1)
        return n->op == cql_op_TimezoneOffsetFrom && is_now(n->args[0]);
    return n->argc == 2 && (is_now(n->args[0]) || is_now(n->args[1])) &&
           (n->op == cql_op_Less || n->op == cql_op_LessOrEqual || n->op == cql_op_Greater ||
            n->op == cql_op_GreaterOrEqual);
}

/* The operators that rules use most have kinds of their own. */
static bool name_operator(cql__node *n)
{
    if (n->op == cql_op_Not && n->argc == 1)
        n->kind = CQL__NOT;
    else if (n->op == cql_op_IsNull && n->argc == 1)
        n->kind = CQL__IS_NULL;
    else if ((n->op == cql_op_Today || n->op == cql_op_Now) && n->argc == 0) {
        n->flag = n->op == cql_op_Now;
        n->kind = CQL__CLOCK;
    } else if (is_by_clock(n)) {
        n->kind = CQL__BY_CLOCK;
    }
    return true;
}

/* A list of constants is one. */
static bool fold_list(binder *b, cql__node *n)
{
    for (uint32_t i = 0; i < n->argc; i++)
        if (n->args[i]->kind != CQL__CONSTANT)
            return true;
    cql_list *list = og_arena_zalloc(b->link->set->arena, 1, sizeof *list);
    cql_value *items = og_arena_alloc(b->link->set->arena, n->argc * sizeof *items);
    if (list == NULL || items == NULL)
        return false;
    for (uint32_t i = 0; i < n->argc; i++)
        items[i] = n->args[i]->value;
    *list = (cql_list){.items = items, .count = n->argc};
    become_constant(n, (cql_value){.kind = CQL_LIST, .list = list});
    return true;
}

static bool bind_args(binder *b, cql__node *n)
{
    bool ok = true;
    for (uint32_t i = 0; i < n->argc; i++)
        ok &= bind_part(b, n, n->args[i]);
    return ok;
}

static bool bind_node(binder *b, cql__node *n)
{
    switch ((cql__kind)n->kind) {
    case CQL__SLOT: return bind_slot(b, n);
    case CQL__LOOPVAR: return bind_loop_variable(b, n);
    case CQL__NAME: return bind_name(b, n);
    case CQL__SETREF: return bind_setref(b, n);
    case CQL__CODEREF: return bind_coderef(b, n) && type_constant(b, n);
    case CQL__DEFINE: return bind_define_ref(b, n, false);
    case CQL__PARAMETER: return bind_define_ref(b, n, true);
    case CQL__QUERY: return bind_query(b, n);
    case CQL__RETRIEVE: return bind_retrieve(b, n);
    case CQL__FOREACH:
    case CQL__FILTER:
    case CQL__REPEAT:
    case CQL__FOLD: return bind_loop(b, n);
    default: break;
    }
    n->fails = n->may_fail; /* so far nobody but its reader has said so */
    if (!bind_args(b, n))
        return false;
    switch ((cql__kind)n->kind) {
    case CQL__CONSTANT: return type_constant(b, n);
    case CQL__OP: return name_operator(n) && type_length(b, n);
    case CQL__LIST_OF: return fold_list(b, n);
    case CQL__PROPERTY: return bind_property(b, n);
    case CQL__CALL: return bind_call(b, n);
    case CQL__SORT: return bind_sort(b, n, n->sort);
    case CQL__AS:
        if (n->result == NULL)
            n->result = n->type;
        return true;
    case CQL__EXPAND: n->may_fail = true; return true;
    default: return true;
    }
}

static bool bind(binder *b, const cql__node *n)
{
    if (b->link->depth >= MAX_BIND_DEPTH)
        return fail(b, n, OG_LIMIT, "definitions are nested too deeply");
    b->link->depth++;
    /* Linking completes the nodes that reading made; from then on they are constant. */
    bool ok = bind_node(b, (cql__node *)n);
    b->link->depth--;
    return ok;
}

static bool bind_define(linker *l, cql_define *d)
{
    if (d->bound == 2)
        return true;
    if (d->bound != 0)
        return false; /* failed before, or on the way: the caller knows */
    d->bound = 1;
    binder b = {.link = l, .lib = d->library, .def = d};
    bool ok = true;
    if (d->body != NULL) {
        scope *scopes = og_arena_zalloc(l->set->arena, d->operand_count + 1, sizeof *scopes);
        if (scopes == NULL)
            return false;
        for (uint32_t i = 0; i < d->operand_count; i++) {
            scopes[i] = (scope){b.scope, SCOPE_NAME, d->operand_names[i], take_slots(&b, 1),
                                d->operand_types[i]};
            b.scope = &scopes[i];
        }
        ok = bind(&b, d->body);
    }
    if (ok && cql__memo_serves(d))
        d->memo = ++l->set->memo_count;
    d->bound = ok ? 2 : 3;
    return ok;
}

static void link_includes(linker *l, cql_library *lib)
{
    char text[400];
    for (uint32_t i = 0; i < lib->includes.count; i++) {
        cql__include *inc = lib->includes.entries[i].value;
        inc->library = cql__find_library(l->set, inc->path, inc->version);
        if (inc->library != NULL)
            continue;
        const cql_library *other = cql__find_library(l->set, inc->path, (og_str){NULL, 0});
        og_str have = other != NULL ? other->version : (og_str){NULL, 0};
        snprintf(text, sizeof text, "included library %.*s%s%.*s is not there%s%.*s",
                 OG_STR_ARG(inc->path), inc->version.n != 0 ? " version " : "",
                 OG_STR_ARG(inc->version), other != NULL ? ", only version " : "",
                 OG_STR_ARG(have));
        report_error(l, lib, NULL, (cql__place){0}, OG_NOTFOUND, text);
    }
}

/* The table of a name that some type has as an element. */
static uint16_t *elements_of(cql_set *set, og_str name)
{
    cql__member *m = og_table_get(&set->members, name);
    if (m == NULL)
        return NULL;
    if (m->elements == NULL)
        m->elements = og_arena_zalloc(set->arena, fhir_type_count() + 1u, sizeof *m->elements);
    return (uint16_t *)m->elements;
}

/* What the names in paths mean for each type of the model, inherited elements included. */
static void link_members(cql_set *set)
{
    uint16_t types = fhir_type_count();
    for (uint16_t t = 1; t <= types; t++) {
        size_t count;
        const fhir_model_element *e = fhir_model_elements(t, &count);
        for (size_t k = 0; k < count; k++) {
            uint16_t *of = elements_of(set, fhir_model_element_name(&e[k]));
            if (of != NULL)
                of[t] = fhir_model_number(&e[k]);
        }
    }
    for (uint32_t i = 0; i < set->members.count; i++) {
        const cql__member *m = set->members.entries[i].value;
        uint16_t *of = (uint16_t *)m->elements;
        for (uint16_t t = 1; of != NULL && t <= types; t++)
            for (uint16_t up = t; of[t] == 0 && up != 0; up = fhir_type_base(up))
                of[t] = of[up];
    }
}

og_status cql_set_link(cql_set *set, const fhir_terminology *terms, og_report *report)
{
    linker l = {.set = set, .report = report};
    if (set->linked)
        return OG_OK;
    set->terms = terms;
    for (size_t i = 0; i < set->count; i++)
        link_includes(&l, set->libraries[i]);
    if (l.status != OG_OK)
        return l.status; /* everything else would be errors about what is missing */
    for (size_t i = 0; i < set->count; i++)
        for (size_t k = 0; k < set->libraries[i]->all_count; k++)
            (void)bind_define(&l, (cql_define *)set->libraries[i]->all[k]);
    if (l.status == OG_OK)
        link_members(set);
    if (l.status == OG_OK && (og_arena_failed(set->arena) || !cql__require_all(set)))
        l.status = OG_NOMEM;
    set->linked = l.status == OG_OK;
    return l.status;
}
