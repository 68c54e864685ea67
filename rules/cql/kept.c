/* A block is a head, then a cell for each definition, then the sets of retrieves that they rest on,
 * then what the values point to, last the places of all pointers. In the block a pointer is the
 * distance from its beginning. What values share is there once. */
#include "rules/cql/kept.h"

#include <string.h>

#include "rules/cql/run.h"

#define MAX_DEPTH 32   /* of values inside values */
#define SLOTS     4096 /* of what was put already; a power of two */

typedef struct head {
    _Alignas(16) uint64_t steps; /* cells follow */
    uint32_t count, read_words, reads_at;
    uint32_t place_count, places_at;
} head;

#define NOBODY UINT32_MAX /* the definition of a value that does not hold any more */

typedef struct cell {
    cql_value value;
    uint32_t define, cost;
} cell;

typedef struct put_before {
    const void *what;
    uint32_t size, at;
} put_before;

typedef struct keeper {
    char *bytes;
    uint32_t used, max;
    uint32_t *places; /* of pointers */
    uint32_t place_count, place_max;
    put_before *slots;
    uint16_t *order; /* of the slots that are used, as they came */
    uint32_t slots_used;
} keeper;

static uint32_t rounded(size_t n)
{
    return (uint32_t)((n + 15) & ~(size_t)15);
}

/* ---- what can be kept ---- */

static bool is_data(const cql_value *v, int depth);

static bool are_data(const cql_value *v, size_t count, int depth)
{
    for (size_t i = 0; i < count; i++)
        if (!is_data(&v[i], depth))
            return false;
    return true;
}

static bool is_data(const cql_value *v, int depth)
{
    if (v->from != NULL || depth == 0)
        return false;
    switch ((cql_kind)v->kind) {
    case CQL_VALUESET:
    case CQL_CODESYSTEM:
    case CQL_ELEMENT: return false;
    case CQL_INTERVAL:
        return is_data(&v->interval->low, depth - 1) && is_data(&v->interval->high, depth - 1);
    case CQL_LIST: return are_data(v->list->items, v->list->count, depth - 1);
    case CQL_TUPLE: return are_data(v->tuple->items, v->tuple->count, depth - 1);
    case CQL_NULL:
    case CQL_BOOLEAN:
    case CQL_INTEGER:
    case CQL_LONG:
    case CQL_DECIMAL:
    case CQL_STRING:
    case CQL_DATE:
    case CQL_DATETIME:
    case CQL_TIME:
    case CQL_QUANTITY:
    case CQL_RATIO:
    case CQL_CODE:
    case CQL_CONCEPT: return true;
    }
    return false;
}

/* ---- putting into the block ---- */

static put_before *slot_of(keeper *k, const void *what, size_t size)
{
    uint64_t hash = ((uintptr_t)what + size) * 0x9e3779b97f4a7c15u;
    size_t i = hash >> 32 & (SLOTS - 1);
    while (k->slots[i].what != NULL && (k->slots[i].what != what || k->slots[i].size != size))
        i = (i + 1) & (SLOTS - 1);
    return &k->slots[i];
}

/* Copies size bytes to *ret_at; false when they were there already, or there is no room: then
 * *ret_at is 0. */
static bool put_new(keeper *k, const void *what, size_t size, uint32_t *ret_at)
{
    put_before *s = slot_of(k, what, size);
    *ret_at = s->at;
    if (s->what != NULL || size > k->max - k->used || k->slots_used == SLOTS / 2)
        return false;
    *s = (put_before){what, (uint32_t)size, k->used};
    k->order[k->slots_used++] = (uint16_t)(s - k->slots);
    *ret_at = k->used;
    memcpy(k->bytes + k->used, what, size);
    k->used += rounded(size);
    return true;
}

/* What stands at `at` points to `to`; false: there is no room for one of them. */
static bool point(keeper *k, uint32_t at, uint32_t to)
{
    uintptr_t distance = to;
    if (to == 0 || k->place_count == k->place_max)
        return false;
    memcpy(k->bytes + at, &distance, sizeof distance);
    k->places[k->place_count++] = at;
    return true;
}

static bool put_text(keeper *k, uint32_t at, const char *p, size_t n)
{
    uint32_t to;
    if (n == 0) {
        memset(k->bytes + at, 0, sizeof p);
        return true;
    }
    (void)put_new(k, p, n, &to);
    return point(k, at, to);
}

static bool put_str(keeper *k, uint32_t at, og_str s)
{
    return put_text(k, at + offsetof(og_str, p), s.p, s.n);
}

static bool put_inside(keeper *k, uint32_t at, const cql_value *v);

static bool put_value(keeper *k, uint32_t at, const void *v)
{
    return put_inside(k, at, v);
}

static bool put_name(keeper *k, uint32_t at, const void *name)
{
    const og_str *s = name;
    return put_str(k, at, *s);
}

static bool put_code(keeper *k, uint32_t at, const void *code)
{
    const cql_code *c = code;
    return put_str(k, at + offsetof(cql_code, code), c->code) &&
           put_str(k, at + offsetof(cql_code, system), c->system) &&
           put_str(k, at + offsetof(cql_code, version), c->version) &&
           put_str(k, at + offsetof(cql_code, display), c->display);
}

/* The pointer at `at` to count things of this size; put is for what each of them points to. */
static bool put_all(keeper *k, uint32_t at, const void *things, size_t count, size_t size,
                    bool (*put)(keeper *k, uint32_t at, const void *thing))
{
    uint32_t to;
    if (count == 0) {
        memset(k->bytes + at, 0, sizeof things);
        return true;
    }
    if (put_new(k, things, count * size, &to))
        for (size_t i = 0; i < count; i++)
            if (!put(k, to + (uint32_t)(i * size), (const char *)things + i * size))
                return false;
    return point(k, at, to);
}

static bool put_parts(keeper *k, uint32_t at, const cql_value *v)
{
    switch ((cql_kind)v->kind) {
    case CQL_QUANTITY: return put_str(k, at + offsetof(cql_quantity, unit), v->quantity->unit);
    case CQL_RATIO:
        return put_str(k, at + offsetof(cql_ratio, numerator.unit), v->ratio->numerator.unit) &&
               put_str(k, at + offsetof(cql_ratio, denominator.unit), v->ratio->denominator.unit);
    case CQL_CODE: return put_code(k, at, v->code);
    case CQL_CONCEPT:
        return put_all(k, at + offsetof(cql_concept, codes), v->concept->codes, v->concept->count,
                       sizeof *v->concept->codes, put_code) &&
               put_str(k, at + offsetof(cql_concept, display), v->concept->display);
    case CQL_INTERVAL:
        return put_inside(k, at + offsetof(cql_interval, low), &v->interval->low) &&
               put_inside(k, at + offsetof(cql_interval, high), &v->interval->high);
    case CQL_LIST:
        return put_all(k, at + offsetof(cql_list, items), v->list->items, v->list->count,
                       sizeof *v->list->items, put_value);
    case CQL_TUPLE:
        return put_str(k, at + offsetof(cql_tuple, type_name), v->tuple->type_name) &&
               put_all(k, at + offsetof(cql_tuple, names), v->tuple->names, v->tuple->count,
                       sizeof *v->tuple->names, put_name) &&
               put_all(k, at + offsetof(cql_tuple, items), v->tuple->items, v->tuple->count,
                       sizeof *v->tuple->items, put_value);
    default: return true;
    }
}

static size_t size_behind(const cql_value *v)
{
    switch ((cql_kind)v->kind) {
    case CQL_QUANTITY: return sizeof *v->quantity;
    case CQL_RATIO: return sizeof *v->ratio;
    case CQL_CODE: return sizeof *v->code;
    case CQL_CONCEPT: return sizeof(cql_concept);
    case CQL_INTERVAL: return sizeof *v->interval;
    case CQL_LIST: return sizeof *v->list;
    case CQL_TUPLE: return sizeof *v->tuple;
    default: return 0;
    }
}

/* What v, which has been copied to `at`, points to. */
static bool put_inside(keeper *k, uint32_t at, const cql_value *v)
{
    uint32_t to, pointer = at + offsetof(cql_value, quantity);
    size_t size = size_behind(v);
    if (v->kind == CQL_STRING)
        return put_text(k, at + offsetof(cql_value, string), v->string, v->length);
    if (size == 0)
        return true;
    if (put_new(k, v->quantity, size, &to) && !put_parts(k, to, v))
        return false;
    return point(k, pointer, to);
}

/* ---- the block ---- */

static bool is_worth(const cql_run *run, uint32_t define, uint32_t least_steps)
{
    return run->states[define] == CQL__DONE && run->costs[define] > 0 &&
           run->costs[define] >= least_steps && is_data(&run->cells[define].value, MAX_DEPTH);
}

/* As if nothing of what was put since had been: it was put last, so that nobody points to it. */
static void take_back(keeper *k, const keeper *before)
{
    while (k->slots_used > before->slots_used)
        k->slots[k->order[--k->slots_used]] = (put_before){NULL, 0, 0};
    k->used = before->used;
    k->place_count = before->place_count;
}

/* The next cell; false: it has no room. */
static bool put_cell(keeper *k, const head *h, const cql_run *run, uint32_t define)
{
    keeper before = *k;
    size_t bytes = h->read_words * sizeof *run->own_reads;
    uint32_t at = (uint32_t)(sizeof *h + h->count * sizeof(cell));
    cell c = {.value = run->cells[define].value, .define = define, .cost = run->costs[define]};
    memcpy(k->bytes + at, &c, sizeof c);
    memcpy(k->bytes + h->reads_at + h->count * bytes,
           run->own_reads + (size_t)define * h->read_words, bytes);
    if (put_inside(k, at + (uint32_t)offsetof(cell, value), &c.value))
        return true;
    take_back(k, &before);
    return false;
}

/* Which definitions, in list; returns how many. */
static uint32_t choose(const cql_run *run, uint32_t least_steps, uint32_t *list)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < run->set->define_count; i++)
        if (is_worth(run, i, least_steps))
            list[n++] = i;
    return n;
}

og_str cql_run_keep(cql_run *run, og_arena *a, uint32_t least_steps, size_t max_bytes)
{
    uint32_t *list = og_arena_alloc(a, run->set->define_count * sizeof *list);
    head h = {.steps = run->steps, .read_words = run->read_words};
    keeper k = {.place_max = (uint32_t)(max_bytes / 16)};
    if (!run->sourceless || list == NULL || max_bytes > UINT32_MAX / 2)
        return (og_str){NULL, 0};
    uint32_t count = choose(run, least_steps, list);
    h.reads_at = rounded(sizeof h + count * sizeof(cell));
    k.used = rounded(h.reads_at + count * h.read_words * sizeof(uint64_t));
    k.max = ((uint32_t)max_bytes - k.place_max * (uint32_t)sizeof *k.places) & ~15u;
    k.bytes = og_arena_alloc(a, max_bytes);
    k.places = og_arena_alloc(a, k.place_max * sizeof *k.places);
    k.slots = og_arena_zalloc(a, SLOTS, sizeof *k.slots);
    k.order = og_arena_alloc(a, SLOTS / 2 * sizeof *k.order);
    if (count == 0 || k.bytes == NULL || k.places == NULL || k.slots == NULL || k.order == NULL ||
        k.used > k.max)
        return (og_str){NULL, 0};
    memset(k.bytes, 0, k.used);
    for (uint32_t i = 0; i < count; i++)
        h.count += put_cell(&k, &h, run, list[i]);
    h.place_count = k.place_count;
    h.places_at = k.used;
    memcpy(k.bytes, &h, sizeof h);
    memcpy(k.bytes + k.used, k.places, k.place_count * sizeof *k.places);
    return h.count > 0 ? (og_str){k.bytes, k.used + k.place_count * sizeof *k.places}
                       : (og_str){NULL, 0};
}

static head head_of(og_str kept)
{
    head h;
    memcpy(&h, kept.p, sizeof h);
    return h;
}

static bool meet(const char *reads, const uint64_t *moved, uint32_t words)
{
    for (uint32_t w = 0; w < words; w++) {
        uint64_t word;
        memcpy(&word, reads + w * sizeof word, sizeof word);
        if ((word & moved[w]) != 0)
            return true;
    }
    return false;
}

og_str cql_kept_without(og_arena *a, og_str kept, const uint64_t *moved)
{
    uint32_t left = 0;
    if (kept.n == 0)
        return kept;
    head h = head_of(kept);
    char *copy = og_arena_alloc(a, kept.n);
    if (copy == NULL)
        return (og_str){NULL, 0};
    memcpy(copy, kept.p, kept.n);
    cell *cells = (cell *)(copy + sizeof h);
    for (uint32_t i = 0; i < h.count; i++) {
        if (meet(copy + h.reads_at + i * h.read_words * sizeof *moved, moved, h.read_words))
            cells[i].define = NOBODY;
        left += cells[i].define != NOBODY;
    }
    return left > 0 ? (og_str){copy, kept.n} : (og_str){NULL, 0};
}

uint64_t cql_kept_steps(og_str kept)
{
    return kept.n > 0 ? head_of(kept).steps : 0;
}

void cql_run_remember(cql_run *run, og_str kept)
{
    char *copy = kept.n > 0 && run->sourceless ? og_arena_alloc(run->arena, kept.n) : NULL;
    if (copy == NULL)
        return;
    memcpy(copy, kept.p, kept.n);
    head h = head_of(kept);
    const uint32_t *places = (const uint32_t *)(copy + h.places_at);
    for (uint32_t i = 0; i < h.place_count; i++) {
        uintptr_t distance;
        memcpy(&distance, copy + places[i], sizeof distance);
        char *to = copy + distance;
        memcpy(copy + places[i], &to, sizeof to);
    }
    const cell *cells = (const cell *)(copy + sizeof h);
    for (uint32_t i = 0; i < h.count; i++) {
        if (cells[i].define == NOBODY)
            continue;
        run->cells[cells[i].define].value = cells[i].value;
        run->costs[cells[i].define] = cells[i].cost;
        run->states[cells[i].define] = CQL__DONE;
        memcpy(run->own_reads + (size_t)cells[i].define * run->read_words,
               copy + h.reads_at + i * h.read_words * sizeof *run->own_reads,
               h.read_words * sizeof *run->own_reads);
    }
}
