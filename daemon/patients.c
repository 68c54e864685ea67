/* Resources from files, brought together by patient.
 *
 * The same questions as on the way of an event (whose is it, which version counts, what belongs to
 * no patient but is referred to), answered in memory for as long as a command runs. */
#include "daemon/patients.h"

#include <stdlib.h>

#include "fhir/base/table.h"
#include "fhir/base/temporal.h"

#define MAX_BYTES ((size_t)8 << 30)

typedef struct person person;

typedef struct record {
    fhir_resource resource;
    person *owner; /* NULL: shared */
    bool gone;
    struct record *next; /* of the same owner */
} record;

struct person {
    og_str id;
    record *first, **end;
};

struct patients {
    og_arena *arena;
    og_table people;  /* id → person */
    og_table records; /* Type/id → record */
    uint32_t nameless;
};

typedef struct input { /* where a value comes from, for messages */
    const char *origin;
    uint32_t first_line;
    og_str text;
    og_report *report;
} input;

patients *patients_new(void)
{
    patients *p = calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    p->arena = og_arena_new(MAX_BYTES);
    if (p->arena == NULL) {
        free(p);
        return NULL;
    }
    og_table_init(&p->people, p->arena);
    og_table_init(&p->records, p->arena);
    return p;
}

void patients_free(patients *p)
{
    if (p == NULL)
        return;
    og_arena_free(p->arena);
    free(p);
}

/* ---- storing ---- */

static person *person_of(patients *p, og_str id)
{
    person *x = og_table_get(&p->people, id);
    if (x != NULL)
        return x;
    x = og_arena_zalloc(p->arena, 1, sizeof *x);
    if (x == NULL)
        return NULL;
    x->id = og_arena_str(p->arena, id);
    x->end = &x->first;
    return og_table_put(&p->people, x->id, x) ? x : NULL;
}

static og_str key_of(patients *p, const fhir_resource *r)
{
    if (r->id.n == 0)
        return og_arena_printf(p->arena, "%.*s/#%u", OG_STR_ARG(r->type), p->nameless++);
    return og_arena_printf(p->arena, "%.*s/%.*s", OG_STR_ARG(r->type), OG_STR_ARG(r->id));
}

/* True when both say when they were written and `fresh` is the older one. */
static bool is_older(const fhir_resource *fresh, const fhir_resource *have)
{
    og_temporal a, b;
    return og_temporal_parse_fhir(fhir_meta_last_updated(fresh), &a) &&
           og_temporal_parse_fhir(fhir_meta_last_updated(have), &b) &&
           og_temporal_earliest_ms(&a, 0) < og_temporal_earliest_ms(&b, 0);
}

static og_status keep(patients *p, const fhir_resource *r, person *owner, og_str key, og_error *err)
{
    record *x = og_table_get(&p->records, key);

    if (x != NULL && x->owner == owner) {
        x->resource = *r;
        x->gone = false;
        return OG_OK;
    }
    if (x != NULL)
        x->gone = true; /* it has another patient now */
    x = og_arena_zalloc(p->arena, 1, sizeof *x);
    if (x == NULL || !og_table_put(&p->records, key, x))
        return og_fail(err, OG_NOMEM, "no memory for a resource");
    x->resource = *r;
    x->owner = owner;
    if (owner != NULL) {
        *owner->end = x;
        owner->end = &x->next;
    }
    return OG_OK;
}

/* Resources outside the Patient compartment belong to nobody and are there for who refers to them.
 */
static bool is_shared(const fhir_resource *r)
{
    return !fhir_in_patient_compartment(r->type);
}

static og_status put(patients *p, const fhir_resource *r, const fhir_bundle *bundle,
                     bool by_version, og_error *err)
{
    person *owner = NULL;
    og_str id;
    og_status s = fhir_resource_check(r, err);

    if (s != OG_OK)
        return s;
    if (!is_shared(r)) {
        s = fhir_patient_of(p->arena, r, bundle, &id, err);
        if (s != OG_OK)
            return s;
        owner = person_of(p, id);
        if (owner == NULL)
            return og_fail(err, OG_NOMEM, "no memory for a patient");
    }
    og_str key = key_of(p, r);
    record *have = key.p != NULL ? og_table_get(&p->records, key) : NULL;
    if (by_version && have != NULL && !have->gone && is_older(r, &have->resource))
        return OG_OK;
    return keep(p, r, owner, key, err);
}

og_status patients_put(patients *p, const fhir_resource *r, og_error *err)
{
    return put(p, r, NULL, false, err);
}

bool patients_remove(patients *p, og_str reference)
{
    record *x = og_table_get(&p->records, reference);
    if (x == NULL || x->gone)
        return false;
    x->gone = true;
    return true;
}

/* ---- reading ---- */

static void complain(const input *in, const og_error *from, int64_t at)
{
    og_error err = *from;

    og_error_origin(&err, in->origin);
    if (err.byte >= 0)
        at = err.byte;
    if (at >= 0) {
        og_text_place(in->text, (size_t)at, &err.line, &err.column);
        err.line += in->first_line - 1;
    }
    og_report_add(in->report, &err);
}

static int64_t byte_of(fhir_elem e)
{
    og_str raw = fhir_raw(e);
    return fhir_exists(e) && raw.p != NULL ? raw.p - e.doc->text : -1;
}

/* An entry's resource with the Bundle's own references resolved, as a document of its own. */
static og_status extract(patients *p, const fhir_bundle *b, const fhir_entry *e, fhir_resource *ret,
                         og_error *err)
{
    og_buf text;
    fhir_doc *doc = og_arena_zalloc(p->arena, 1, sizeof *doc);
    og_status s;

    og_buf_init(&text, (size_t)256 << 20);
    s = fhir_bundle_extract(b, e, &text, err);
    if (s != OG_OK)
        goto out;
    og_str own = og_arena_str(p->arena, og_buf_str(&text));
    if (doc == NULL || own.p == NULL) {
        s = og_fail(err, OG_NOMEM, "no memory for a resource");
        goto out;
    }
    s = fhir_decode(p->arena, own, NULL, doc, err);
    if (s == OG_OK)
        s = fhir_resource_of(fhir_root(doc), ret, err);
out:
    if (err != NULL)
        err->byte = -1; /* of the copy, which nobody can see */
    og_buf_done(&text);
    return s;
}

static void add_entry(patients *p, const fhir_bundle *b, uint32_t i, const input *in, int64_t at)
{
    fhir_entry e;
    fhir_resource r = {0};
    og_error err;
    char path[64];

    og_error_init(&err);
    og_status s = fhir_bundle_entry(b, i, &e, &err);
    if (s == OG_OK && e.verb == FHIR_SKIP)
        return;
    if (s == OG_OK && e.verb == FHIR_DELETE) {
        patients_remove(
            p, og_arena_printf(p->arena, "%.*s/%.*s", OG_STR_ARG(e.type), OG_STR_ARG(e.id)));
        return;
    }
    if (s == OG_OK) {
        at = byte_of(e.resource.root);
        s = extract(p, b, &e, &r, &err);
    }
    if (s == OG_OK)
        s = put(p, &r, b, true, &err);
    if (s == OG_OK)
        return;
    snprintf(path, sizeof path, "Bundle.entry[%u]", i);
    og_error_path(&err, path);
    complain(in, &err, at);
}

static void add_bundle(patients *p, const fhir_resource *r, const input *in)
{
    fhir_bundle *b;
    og_error err;

    og_error_init(&err);
    if (fhir_bundle_open(p->arena, r, &b, &err) != OG_OK) {
        complain(in, &err, byte_of(r->root));
        return;
    }
    /* A history stands newest first: the last word is said last. */
    bool history = fhir_is(fhir_get(r->root, "type"), "history");
    fhir_elem entries = fhir_get(r->root, "entry");
    uint32_t count = fhir_bundle_count(b);
    for (uint32_t i = 0; i < count; i++)
        add_entry(p, b, history ? count - 1 - i : i, in, byte_of(entries));
}

void patients_add(patients *p, og_str text, const char *origin, uint32_t first_line,
                  og_report *report)
{
    input in = {origin, first_line, og_arena_str(p->arena, text), report};
    fhir_doc *doc = og_arena_zalloc(p->arena, 1, sizeof *doc);
    fhir_limits limits = {.max_bytes = (256u << 20) - 1, .max_depth = 128};
    fhir_resource r;
    og_error err;

    og_error_init(&err);
    if (doc == NULL || in.text.p == NULL) {
        og_fail(&err, OG_NOMEM, "no memory for the input");
        complain(&in, &err, -1);
        return;
    }
    if (fhir_decode(p->arena, in.text, &limits, doc, &err) != OG_OK) {
        complain(&in, &err, 0);
        return;
    }
    if (fhir_resource_of(fhir_root(doc), &r, &err) != OG_OK) {
        complain(&in, &err, 0);
        return;
    }
    if (og_str_is(r.type, "Bundle"))
        add_bundle(p, &r, &in);
    else if (put(p, &r, NULL, true, &err) != OG_OK)
        complain(&in, &err, 0);
}

/* ---- views ---- */

size_t patients_count(const patients *p)
{
    return p->people.count;
}

og_str patients_id(const patients *p, size_t i)
{
    return p->people.entries[i].key;
}

typedef struct view {
    const patients *p;
    og_arena *arena;
    fhir_resource *list;
    size_t count, cap;
    og_table seen; /* shared records */
} view;

static void add_to_view(view *v, const fhir_resource *r)
{
    if (v->count == v->cap) {
        size_t cap = v->cap != 0 ? v->cap * 2 : 64;
        fhir_resource *grown =
            og_arena_grow(v->arena, v->list, v->cap * sizeof *grown, cap * sizeof *grown);
        if (grown == NULL)
            return;
        v->list = grown;
        v->cap = cap;
    }
    v->list[v->count++] = *r;
}

static void follow(view *v, fhir_elem reference)
{
    fhir_reference ref = fhir_reference_parse(fhir_string(v->arena, reference));
    if (ref.type.n == 0 || ref.id.n == 0)
        return;
    og_str key = og_arena_printf(v->arena, "%.*s/%.*s", OG_STR_ARG(ref.type), OG_STR_ARG(ref.id));
    record *x = key.p != NULL ? og_table_get(&v->p->records, key) : NULL;
    if (x == NULL || x->gone || x->owner != NULL || og_table_get(&v->seen, key) != NULL)
        return;
    if (og_table_put(&v->seen, key, x))
        add_to_view(v, &x->resource);
}

/* Every Reference below e; depth is bounded by the decoder. */
static void follow_all(view *v, fhir_elem e)
{
    bool object = fhir_kind_of(e) == FHIR_OBJECT;

    if (!object && fhir_kind_of(e) != FHIR_ARRAY)
        return;
    for (fhir_elem c = fhir_first(e); fhir_exists(c); c = fhir_next(e, c)) {
        if (object && fhir_kind_of(c) == FHIR_STRING && og_str_is(fhir_key_of(c), "reference"))
            follow(v, c);
        else
            follow_all(v, c);
    }
}

og_status patients_view(const patients *p, size_t i, og_arena *a, const fhir_resource **ret,
                        size_t *ret_count, og_error *err)
{
    const person *x = p->people.entries[i].value;
    view v = {.p = p, .arena = a};

    og_table_init(&v.seen, a);
    for (const record *r = x->first; r != NULL; r = r->next)
        if (!r->gone)
            add_to_view(&v, &r->resource);
    for (size_t k = 0; k < v.count; k++)
        follow_all(&v, v.list[k].root);
    if (og_arena_failed(a))
        return og_fail(err, OG_NOMEM, "no memory for a patient's resources");
    *ret = v.list;
    *ret_count = v.count;
    return OG_OK;
}
