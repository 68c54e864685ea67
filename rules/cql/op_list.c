/* List operators: CQL 1.5 Appendix B.10. A list is never changed: an operator makes a new one in
 * the arena, whose items are the same values. Duplicates are found by hash: two values that are
 * equal have the same hash, whatever their units, offsets and precision, so a hash may be coarse
 * but never finer than =. */
#include "rules/cql/op_list.h"

#define MAX_HASH_DEPTH 8 /* of values inside values; below it all hash alike */

/* --- hashing --- */

static uint32_t mix(uint32_t a, uint32_t b)
{
    return (a ^ b) * 0x9e3779b1u + (a >> 15);
}

/* Eight bytes at a time. */
static uint32_t hash_text(og_str s)
{
    uint64_t h = s.n;
    for (size_t i = 0; i < s.n; i += sizeof(uint64_t)) {
        uint64_t part = 0;
        memcpy(&part, s.p + i, s.n - i < sizeof part ? s.n - i : sizeof part);
        h = (h ^ part) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    return (uint32_t)(h ^ h >> 29);
}

static uint32_t hash_number(og_decimal d)
{
    return mix(mix((uint32_t)d, (uint32_t)(d >> 32)), (uint32_t)(d >> 64));
}

/* Without an hour nothing has to do with offsets: equal values have the same precision then, and
 * the same year, month and day as far as it goes. */
static uint32_t hash_temporal(cql_op_context *c, cql_value v)
{
    og_temporal t = v.temporal;
    if (v.kind == CQL_TIME)
        return (uint32_t)(((t.hour * 60 + t.minute) * 60 + t.second) * 1000 + t.ms);
    if (t.precision < OG_HOUR)
        return mix(t.precision, (uint32_t)t.year * 512 +
                                    (t.precision > OG_YEAR ? t.month * 32 : 0) +
                                    (t.precision > OG_MONTH ? t.day : 0));
    return hash_number(og_temporal_earliest_ms(&t, c->offset_min));
}

static uint32_t hash_value(cql__set *s, cql_value v, int depth);

/* Resources are told apart by type and id; other elements only by their type. */
static uint32_t hash_element(cql__set *s, cql_value v, int depth)
{
    const cql_element *e = v.element;
    if (fhir_type_is_primitive(e->type))
        return hash_value(s, cql_element_value(s->c->arena, v), depth + 1);
    if (!fhir_type_is_resource(e->type))
        return 11;
    return mix(e->type, hash_text(fhir_raw(fhir_get(e->at, "id"))));
}

/* The order of elements in a tuple does not matter, so it must not in the sum. A type name may be
 * absent. */
static uint32_t hash_tuple(cql__set *s, const cql_tuple *t, int depth)
{
    uint32_t sum = 13;
    for (size_t i = 0; i < t->count; i++)
        if (!cql_is_null(t->items[i]))
            sum += mix(hash_text(t->names[i]), hash_value(s, t->items[i], depth + 1));
    return sum;
}

static uint32_t hash_list(cql__set *s, const cql_list *l, int depth)
{
    uint32_t sum = 17;
    for (size_t i = 0; i < l->count; i++)
        sum = mix(sum, hash_value(s, l->items[i], depth + 1));
    return sum;
}

/* 1 'g' equals 1000 'mg': as long as all have one unit the value tells them apart. */
static uint32_t hash_quantity(cql__set *s, const cql_quantity *q)
{
    if (s->unit == NULL)
        s->unit = q;
    if (q->calendar != s->unit->calendar || !og_str_eq(q->unit, s->unit->unit))
        s->units_differ = true;
    return s->units_differ ? CQL_QUANTITY : mix(CQL_QUANTITY, hash_number(q->value));
}

/* (1, 5) equals [2, 4]: by start and end. An open end that is null is equal to none. */
static uint32_t hash_interval(cql__set *s, cql_value v, int depth)
{
    if (v.interval->uncertain)
        return CQL_INTERVAL;
    return mix(hash_value(s, cql_interval_start(s->c, v), depth + 1),
               hash_value(s, cql_interval_end(s->c, v), depth + 1));
}

static uint32_t hash_value(cql__set *s, cql_value v, int depth)
{
    og_decimal number;
    int scale;
    if (depth > MAX_HASH_DEPTH)
        return 1;
    if (cql__number(v, &number, &scale))
        return hash_number(number);
    switch ((cql_kind)v.kind) {
    case CQL_NULL: return 0;
    case CQL_BOOLEAN: return v.boolean ? 3 : 2;
    case CQL_STRING: return hash_text(cql_str(v));
    case CQL_DATE:
    case CQL_DATETIME:
    case CQL_TIME: return hash_temporal(s->c, v);
    case CQL_QUANTITY: return hash_quantity(s, v.quantity);
    case CQL_INTERVAL: return hash_interval(s, v, depth);
    case CQL_CODE: return hash_text(v.code->code);
    case CQL_VALUESET:
    case CQL_CODESYSTEM: return hash_text(v.setref->id);
    case CQL_TUPLE: return hash_tuple(s, v.tuple, depth);
    case CQL_LIST: return hash_list(s, v.list, depth);
    case CQL_ELEMENT: return hash_element(s, v, depth);
    default: return v.kind; /* ratios, concepts: = looks past how they are written */
    }
}

/* --- sets --- */

void cql__set_init(cql__set *s, cql_op_context *c)
{
    *s = (cql__set){.c = c};
}

static bool same(cql_op_context *c, cql_value a, cql_value b)
{
    if (cql_is_null(a) || cql_is_null(b))
        return cql_is_null(a) && cql_is_null(b);
    return cql_equal(c, a, b) == CQL_TRUE;
}

static void put_slot(cql__set *s, uint32_t number)
{
    uint32_t mask = s->cap * 2 - 1, i = s->hashes[number] & mask;
    while (s->slots[i] != 0)
        i = (i + 1) & mask;
    s->slots[i] = number + 1;
}

/* The hash of v; all hashes change when v is the first to bring another unit. */
static uint32_t hash_of(cql__set *s, cql_value v)
{
    bool differed = s->units_differ;
    uint32_t hash = hash_value(s, v, 0);
    if (differed == s->units_differ)
        return hash;
    if (s->cap != 0)
        memset(s->slots, 0, (size_t)s->cap * 2 * sizeof(*s->slots));
    for (uint32_t i = 0; i < s->count; i++) {
        s->hashes[i] = hash_value(s, s->items[i], 0);
        put_slot(s, i);
    }
    return hash_value(s, v, 0);
}

static int64_t find_hashed(const cql__set *s, cql_value v, uint32_t hash)
{
    if (s->cap == 0)
        return -1;
    uint32_t mask = s->cap * 2 - 1;
    for (uint32_t i = hash & mask; s->slots[i] != 0; i = (i + 1) & mask) {
        uint32_t number = s->slots[i] - 1;
        if (s->hashes[number] == hash && same(s->c, s->items[number], v))
            return number;
    }
    return -1;
}

int64_t cql__set_find(cql__set *s, cql_value v)
{
    uint32_t hash = hash_of(s, v);
    return find_hashed(s, v, hash);
}

static bool grow(cql__set *s)
{
    og_arena *a = s->c->arena;
    uint32_t cap = s->cap != 0 ? s->cap * 2 : 8;
    cql_value *items = og_arena_grow(a, s->items, s->cap * sizeof(*items), cap * sizeof(*items));
    uint32_t *hashes = og_arena_grow(a, s->hashes, s->cap * sizeof(*hashes), cap * sizeof(*hashes));
    uint32_t *slots = og_arena_zalloc(a, (size_t)cap * 2, sizeof(*slots));
    if (items == NULL || hashes == NULL || slots == NULL)
        return false;
    s->items = items;
    s->hashes = hashes;
    s->slots = slots;
    s->cap = cap;
    for (uint32_t i = 0; i < s->count; i++)
        put_slot(s, i);
    return true;
}

bool cql__set_add(cql__set *s, cql_value v, uint32_t *ret_number)
{
    uint32_t hash = hash_of(s, v);
    int64_t found = find_hashed(s, v, hash);
    *ret_number = found >= 0 ? (uint32_t)found : s->count;
    if (found >= 0)
        return true;
    if (s->count == s->cap && !grow(s))
        return false;
    s->items[s->count] = v;
    s->hashes[s->count] = hash;
    put_slot(s, s->count++);
    return true;
}

bool cql__set_add_list(cql__set *s, const cql_list *list)
{
    uint32_t number;
    for (size_t i = 0; i < list->count; i++)
        if (!cql__set_add(s, list->items[i], &number))
            return false;
    return true;
}

cql_value cql__set_list(const cql__set *s)
{
    return cql__list(s->c, s->items, s->count);
}

/* --- membership --- */

/* Equality of list members: null equals null and nothing else. */
static cql_tri member_equal(cql_op_context *c, cql_value a, cql_value b)
{
    if (cql_is_null(a) || cql_is_null(b))
        return cql_is_null(a) && cql_is_null(b) ? CQL_TRUE : CQL_FALSE;
    return cql_equal(c, a, b);
}

/* Texts among texts, as most are that rules look for in a list; false when there are others. */
static bool has_text(const cql_list *list, og_str text, cql_tri *ret)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].kind != CQL_STRING)
            return false;
        if (og_str_eq(cql_str(list->items[i]), text)) {
            *ret = CQL_TRUE;
            return true;
        }
    }
    *ret = CQL_FALSE;
    return true;
}

cql_tri cql__list_has(cql_op_context *c, const cql_list *list, cql_value v)
{
    cql_tri found;
    if (v.kind == CQL_STRING && has_text(list, cql_str(v), &found))
        return found;
    cql_tri any = CQL_FALSE;
    for (size_t i = 0; i < list->count && any != CQL_TRUE; i++)
        any = cql__or(any, member_equal(c, list->items[i], v));
    return any;
}

static bool is_list(cql_value v)
{
    return v.kind == CQL_LIST;
}

/* list contains element. A null list has no element (B.10 Contains: false). */
static cql_tri contains(cql_op_context *c, cql_value list, cql_value element)
{
    return is_list(list) ? cql__list_has(c, list.list, element) : CQL_FALSE;
}

/* Is there a member beside the element? Whether an unknown member is the element is unknown. */
static cql_tri has_other(cql_op_context *c, const cql_list *list, cql_value element)
{
    cql_tri any = CQL_FALSE;
    for (size_t i = 0; i < list->count && any != CQL_TRUE; i++) {
        cql_value item = list->items[i];
        cql_tri equal = cql_is_null(item) && !cql_is_null(element) ? CQL_UNKNOWN
                                                                   : member_equal(c, item, element);
        any = cql__or(any, cql__not(equal));
    }
    return any;
}

static cql_tri proper_contains(cql_op_context *c, cql_value list, cql_value element)
{
    if (!is_list(list))
        return CQL_FALSE;
    cql_tri in = cql__list_has(c, list.list, element);
    return in == CQL_FALSE ? CQL_FALSE : cql__and(in, has_other(c, list.list, element));
}

/* Is every member of part a member of whole? */
static cql_tri includes(cql_op_context *c, const cql_list *whole, const cql_list *part)
{
    cql__set members;
    cql_tri all = CQL_TRUE;
    cql__set_init(&members, c);
    if (!cql__set_add_list(&members, whole))
        return CQL_UNKNOWN;
    for (size_t i = 0; i < part->count && all != CQL_FALSE; i++)
        if (cql__set_find(&members, part->items[i]) < 0)
            all = cql__and(all, cql__list_has(c, whole, part->items[i]));
    return all;
}

/* Both are lists, or the answer is null (B.10 Includes). */
static cql_value includes_value(cql_op_context *c, cql_value whole, cql_value part)
{
    if (!is_list(whole) || !is_list(part))
        return CQL_NULL_VALUE;
    return cql_tri_value(includes(c, whole.list, part.list));
}

/* whole includes part and has something that part has not. */
static cql_value proper_includes_value(cql_op_context *c, cql_value whole, cql_value part)
{
    if (!is_list(whole) || !is_list(part))
        return CQL_NULL_VALUE;
    cql_tri all = includes(c, whole.list, part.list);
    if (all == CQL_FALSE)
        return cql_bool(false);
    return cql_tri_value(cql__and(all, cql__not(includes(c, part.list, whole.list))));
}

/* in(element T, list List<T>) Boolean */
cql_value cql__list_In(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return cql_tri_value(contains(c, args[1], args[0]));
}

/* contains(list List<T>, element T) Boolean */
cql_value cql__list_Contains(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return cql_tri_value(contains(c, args[0], args[1]));
}

/* properly included in(element T, list List<T>) Boolean */
cql_value cql__list_ProperIn(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return cql_tri_value(proper_contains(c, args[1], args[0]));
}

/* properly includes(list List<T>, element T) Boolean */
cql_value cql__list_ProperContains(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return cql_tri_value(proper_contains(c, args[0], args[1]));
}

/* includes(left List<T>, right List<T>) Boolean */
cql_value cql__list_Includes(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return includes_value(c, args[0], args[1]);
}

/* included in(left List<T>, right List<T>) Boolean */
cql_value cql__list_IncludedIn(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return includes_value(c, args[1], args[0]);
}

/* properly includes(left List<T>, right List<T>) Boolean */
cql_value cql__list_ProperIncludes(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return proper_includes_value(c, args[0], args[1]);
}

/* properly included in(left List<T>, right List<T>) Boolean */
cql_value cql__list_ProperIncludedIn(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    return proper_includes_value(c, args[1], args[0]);
}

/* --- union, intersect, except --- */

/* union(List<T>, List<T> ...) List<T>: a null list is empty. */
cql_value cql__list_Union(cql_op_context *c, const cql_value *args, size_t count)
{
    cql__set all;
    cql__set_init(&all, c);
    for (size_t i = 0; i < count; i++)
        if (is_list(args[i]) && !cql__set_add_list(&all, args[i].list))
            return CQL_NULL_VALUE;
    return cql__set_list(&all);
}

/* The members of left that are (wanted) or are not in right, each once. */
static cql_value filtered(cql_op_context *c, cql_value left, cql_value right, bool wanted)
{
    cql__set other, result;
    uint32_t number;
    cql__set_init(&other, c);
    cql__set_init(&result, c);
    if (is_list(right) && !cql__set_add_list(&other, right.list))
        return CQL_NULL_VALUE;
    for (size_t i = 0; i < left.list->count; i++) {
        cql_value item = left.list->items[i];
        if ((cql__set_find(&other, item) >= 0) == wanted && !cql__set_add(&result, item, &number))
            return CQL_NULL_VALUE;
    }
    return cql__set_list(&result);
}

/* intersect(List<T>, List<T> ...) List<T>: null when one of them is null. */
cql_value cql__list_Intersect(cql_op_context *c, const cql_value *args, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!is_list(args[i]))
            return CQL_NULL_VALUE;
    cql_value left = filtered(c, args[0], args[0], true);
    for (size_t i = 1; i < count && is_list(left); i++)
        left = filtered(c, left, args[i], true);
    return left;
}

/* except(List<T>, List<T> ...) List<T>: null when the first is null; another that is null is empty.
 */
cql_value cql__list_Except(cql_op_context *c, const cql_value *args, size_t count)
{
    cql_value left = args[0];
    if (!is_list(left))
        return CQL_NULL_VALUE;
    if (count == 1)
        return filtered(c, left, CQL_NULL_VALUE, false);
    for (size_t i = 1; i < count && is_list(left); i++)
        left = filtered(c, left, args[i], false);
    return left;
}

/* --- the rest of the chapter --- */

/* distinct(List<T>) List<T> */
cql_value cql_op_Distinct(cql_op_context *c, const cql_value *args, size_t count)
{
    return is_list(args[0]) ? cql__list_Union(c, args, count) : CQL_NULL_VALUE;
}

/* exists(List<T>) Boolean: is there an element that is not null? */
cql_value cql_op_Exists(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c;
    (void)count;
    bool found = false;
    if (is_list(args[0]))
        for (size_t i = 0; i < args[0].list->count && !found; i++)
            found = !cql_is_null(args[0].list->items[i]);
    return cql_bool(found);
}

/* First(List<T>) T */
cql_value cql_op_First(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c;
    (void)count;
    return is_list(args[0]) && args[0].list->count != 0 ? args[0].list->items[0] : CQL_NULL_VALUE;
}

/* Last(List<T>) T */
cql_value cql_op_Last(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)c;
    (void)count;
    if (!is_list(args[0]) || args[0].list->count == 0)
        return CQL_NULL_VALUE;
    return args[0].list->items[args[0].list->count - 1];
}

/* singleton from(List<T>) T: a run-time error when there is more than one. */
cql_value cql_op_SingletonFrom(cql_op_context *c, const cql_value *args, size_t count)
{
    if (is_list(args[0]) && args[0].list->count > 1)
        return cql_op_fail(c, "singleton from: the list has %zu elements", args[0].list->count);
    return cql_op_First(c, args, count);
}

/* IndexOf(List<T>, T) Integer: null when either is null, -1 when there is none. */
cql_value cql_op_IndexOf(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (!is_list(args[0]) || cql_is_null(args[1]))
        return CQL_NULL_VALUE;
    for (size_t i = 0; i < args[0].list->count; i++)
        if (same(c, args[0].list->items[i], args[1]))
            return cql_integer((int32_t)i);
    return cql_integer(-1);
}

/* flatten(List<List<T>>) List<T>: one level. */
cql_value cql_op_Flatten(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (!is_list(args[0]))
        return CQL_NULL_VALUE;
    const cql_list *outer = args[0].list;
    size_t n = 0;
    for (size_t i = 0; i < outer->count; i++)
        n += is_list(outer->items[i]) ? outer->items[i].list->count : !cql_is_null(outer->items[i]);
    if (c->max_list != 0 && n > c->max_list)
        return cql_op_fail(c, "flatten makes %zu elements, more than %u", n, c->max_list);
    cql_value *items = og_arena_zalloc(c->arena, n, sizeof(*items));
    if (items == NULL)
        return CQL_NULL_VALUE;
    n = 0;
    for (size_t i = 0; i < outer->count; i++) {
        cql_value inner = outer->items[i];
        if (!is_list(inner)) {
            if (!cql_is_null(inner))
                items[n++] = inner;
            continue;
        }
        for (size_t j = 0; j < inner.list->count; j++)
            items[n++] = inner.list->items[j];
    }
    return cql__list(c, items, n);
}

/* Slice(source List<T>, startIndex Integer, endIndex Integer) List<T> (ELM): from startIndex (null:
 * the first) to before endIndex (null: the end). A negative index, or an end before the start:
 * empty. */
cql_value cql_op_Slice(cql_op_context *c, const cql_value *args, size_t count)
{
    if (!is_list(args[0]))
        return CQL_NULL_VALUE;
    int64_t length = (int64_t)args[0].list->count, start = 0, end = length;
    if (count > 1 && args[1].kind == CQL_INTEGER)
        start = args[1].integer;
    if (count > 2 && args[2].kind == CQL_INTEGER)
        end = args[2].integer;
    end = end > length ? length : end;
    if (start < 0 || end < 0 || start >= end)
        return cql__list(c, NULL, 0);
    return cql__list(c, args[0].list->items + start, (size_t)(end - start));
}

/* One row of the product: the elements of both tuples. */
static cql_value joined(cql_op_context *c, const cql_tuple *a, const cql_tuple *b)
{
    size_t n = a->count + b->count;
    cql_tuple *t = og_arena_alloc(c->arena, sizeof(*t));
    og_str *names = og_arena_zalloc(c->arena, n, sizeof(*names));
    cql_value *items = og_arena_zalloc(c->arena, n, sizeof(*items));
    if (t == NULL || names == NULL || items == NULL)
        return CQL_NULL_VALUE;
    for (size_t i = 0; i < n; i++) {
        const cql_tuple *from = i < a->count ? a : b;
        size_t at = i < a->count ? i : i - a->count;
        names[i] = from->names[at];
        items[i] = from->items[at];
    }
    *t = (cql_tuple){.names = names, .items = items, .count = n};
    return (cql_value){.kind = CQL_TUPLE, .tuple = t};
}

/* Times(List<Tuple>, List<Tuple>) List<Tuple> (ELM): the cartesian product. Null members have no
 * row. */
cql_value cql_op_Times(cql_op_context *c, const cql_value *args, size_t count)
{
    (void)count;
    if (!is_list(args[0]) || !is_list(args[1]))
        return CQL_NULL_VALUE;
    const cql_list *a = args[0].list, *b = args[1].list;
    size_t n = 0;
    if (c->max_list != 0 && a->count != 0 && b->count > c->max_list / a->count)
        return cql_op_fail(c, "Times: the product of %zu and %zu elements is over the limit of %u",
                           a->count, b->count, c->max_list);
    cql_value *items = og_arena_zalloc(c->arena, a->count * b->count, sizeof(*items));
    if (items == NULL)
        return CQL_NULL_VALUE;
    for (size_t i = 0; i < a->count; i++)
        for (size_t j = 0; j < b->count; j++)
            if (a->items[i].kind == CQL_TUPLE && b->items[j].kind == CQL_TUPLE)
                items[n++] = joined(c, a->items[i].tuple, b->items[j].tuple);
    return cql__list(c, items, n);
}
