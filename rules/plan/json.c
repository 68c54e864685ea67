/* A small JSON tree in an arena, for cards and draft resources: what is built, changed in places,
 * and written once. Reading is fhir_decode's; numbers are text here, so that 4.0 stays 4.0.
 *
 * Members and elements are singly linked in their order. The writer leaves out what CDS Hooks
 * forbids (null and everything empty), so that nobody who builds a card needs to think of it. */
#include "rules/plan/plan_private.h"

typedef enum plan__json_kind {
    PLAN__JSON_RAW,
    PLAN__JSON_STRING,
    PLAN__JSON_OBJECT,
    PLAN__JSON_ARRAY
} plan__json_kind;

struct plan__json {
    plan__json_kind kind;
    og_str text; /* RAW, STRING */
    og_str name; /* as a member of an object */
    plan__json *first, *last, *next;
};

static plan__json *node(og_arena *a, plan__json_kind kind, og_str text)
{
    plan__json *j = og_arena_zalloc(a, 1, sizeof *j);
    if (j == NULL)
        return NULL;
    j->kind = kind;
    j->text = text;
    return j;
}

plan__json *plan__json_object(og_arena *a)
{
    return node(a, PLAN__JSON_OBJECT, (og_str){0});
}

plan__json *plan__json_array(og_arena *a)
{
    return node(a, PLAN__JSON_ARRAY, (og_str){0});
}

plan__json *plan__json_string(og_arena *a, og_str text)
{
    return node(a, PLAN__JSON_STRING, text);
}

plan__json *plan__json_raw(og_arena *a, og_str json)
{
    return node(a, PLAN__JSON_RAW, json);
}

static void append(plan__json *container, plan__json *child)
{
    child->next = NULL;
    if (container->last != NULL)
        container->last->next = child;
    else
        container->first = child;
    container->last = child;
}

/* A member's name without escapes; almost none has any. */
static og_str name_of(og_arena *a, fhir_elem member)
{
    og_str key = fhir_key_of(member);
    fhir_doc *doc;

    if (og_str_find(key, '\\') < 0)
        return og_arena_str(a, key);
    og_str quoted = og_arena_printf(a, "\"%.*s\"", OG_STR_ARG(key));
    doc = og_arena_zalloc(a, 1, sizeof *doc);
    if (doc == NULL || quoted.p == NULL || fhir_decode(a, quoted, NULL, doc, NULL) != OG_OK)
        return key;
    return fhir_string(a, fhir_root(doc));
}

/* Depth is bounded by what fhir_decode lets through. */
plan__json *plan__json_copy(og_arena *a, fhir_elem e)
{
    plan__json *j;

    switch (fhir_kind_of(e)) {
    case FHIR_NONE: return NULL;
    case FHIR_STRING:
    case FHIR_STRING_ESCAPED: return plan__json_string(a, fhir_string(a, e));
    case FHIR_OBJECT: j = plan__json_object(a); break;
    case FHIR_ARRAY: j = plan__json_array(a); break;
    default: return plan__json_raw(a, fhir_raw(e));
    }
    for (fhir_elem c = fhir_first(e); j != NULL && fhir_exists(c); c = fhir_next(e, c)) {
        plan__json *child = plan__json_copy(a, c);
        if (child == NULL)
            return NULL;
        if (j->kind == PLAN__JSON_OBJECT)
            child->name = name_of(a, c);
        append(j, child);
    }
    return j;
}

plan__json *plan__json_clone(og_arena *a, const plan__json *j)
{
    if (j == NULL)
        return NULL;
    plan__json *copy = node(a, j->kind, j->text);
    if (copy == NULL)
        return NULL;
    copy->name = j->name;
    for (const plan__json *c = j->first; c != NULL; c = c->next) {
        plan__json *child = plan__json_clone(a, c);
        if (child == NULL)
            return NULL;
        append(copy, child);
    }
    return copy;
}

/* Takes `old` out (when given) and puts `fresh` in its place (when given). */
static void exchange(plan__json *container, plan__json *old, plan__json *fresh)
{
    plan__json *before = NULL;
    for (plan__json *c = container->first; c != old; c = c->next)
        before = c;
    plan__json *after = old->next;
    if (fresh != NULL) {
        fresh->next = after;
        after = fresh;
    }
    if (before != NULL)
        before->next = after;
    else
        container->first = after;
    if (container->last == old)
        container->last = fresh != NULL ? fresh : before;
}

void plan__json_set(plan__json *object, og_str name, plan__json *value)
{
    if (object == NULL)
        return;
    if (value != NULL)
        value->name = name;
    plan__json *old = plan__json_get(object, name);
    if (old != NULL)
        exchange(object, old, value);
    else if (value != NULL)
        append(object, value);
}

void plan__json_set_string(og_arena *a, plan__json *object, const char *name, og_str text)
{
    plan__json_set(object, og_str_of(name), plan__json_string(a, text));
}

void plan__json_add(plan__json *array, plan__json *value)
{
    if (array != NULL && value != NULL)
        append(array, value);
}

plan__json *plan__json_get(const plan__json *object, og_str name)
{
    if (object == NULL || object->kind != PLAN__JSON_OBJECT)
        return NULL;
    for (plan__json *c = object->first; c != NULL; c = c->next)
        if (og_str_eq(c->name, name))
            return c;
    return NULL;
}

plan__json *plan__json_at(const plan__json *array, size_t i)
{
    if (array == NULL || array->kind != PLAN__JSON_ARRAY)
        return NULL;
    plan__json *c = array->first;
    while (c != NULL && i-- > 0)
        c = c->next;
    return c;
}

bool plan__json_put(plan__json *array, size_t i, plan__json *value)
{
    plan__json *old = plan__json_at(array, i);
    if (old != NULL) {
        exchange(array, old, value);
        return true;
    }
    if (i != plan__json_length(array))
        return false;
    plan__json_add(array, value);
    return true;
}

bool plan__json_is_object(const plan__json *j)
{
    return j != NULL && j->kind == PLAN__JSON_OBJECT;
}

bool plan__json_is_array(const plan__json *j)
{
    return j != NULL && j->kind == PLAN__JSON_ARRAY;
}

size_t plan__json_length(const plan__json *array)
{
    size_t n = 0;
    if (array != NULL)
        for (const plan__json *c = array->first; c != NULL; c = c->next)
            n++;
    return n;
}

og_str plan__json_text_of(const plan__json *j)
{
    return j != NULL && j->kind == PLAN__JSON_STRING ? j->text : (og_str){0};
}

static bool empty(const plan__json *j)
{
    if (j->kind == PLAN__JSON_RAW)
        return j->text.n == 0 || og_str_is(j->text, "null");
    if (j->kind == PLAN__JSON_STRING)
        return j->text.n == 0;
    for (const plan__json *c = j->first; c != NULL; c = c->next)
        if (!empty(c))
            return false;
    return true;
}

void plan__json_write(og_buf *out, const plan__json *j)
{
    if (j == NULL)
        return;
    if (j->kind == PLAN__JSON_RAW) {
        og_buf_adds(out, j->text);
        return;
    }
    if (j->kind == PLAN__JSON_STRING) {
        og_buf_add_json(out, j->text);
        return;
    }
    bool object = j->kind == PLAN__JSON_OBJECT;
    const char *comma = "";
    og_buf_addc(out, object ? '{' : '[');
    for (const plan__json *c = j->first; c != NULL; c = c->next) {
        if (empty(c))
            continue;
        og_buf_addz(out, comma);
        comma = ",";
        if (object) {
            og_buf_add_json(out, c->name);
            og_buf_addc(out, ':');
        }
        plan__json_write(out, c);
    }
    og_buf_addc(out, object ? '}' : ']');
}

og_str plan__json_text(og_arena *a, const plan__json *j)
{
    og_buf b;
    og_str text = {0};

    if (j == NULL)
        return text;
    og_buf_init(&b, (size_t)64 << 20);
    plan__json_write(&b, j);
    if (!og_buf_failed(&b))
        text = og_arena_str(a, og_buf_str(&b));
    og_buf_done(&b);
    return text;
}
