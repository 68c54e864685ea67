/* Bundles: what each entry means, and who is meant by a reference inside.
 *
 * Opening reads every entry once. Names (fullUrl, Type/id) and the identifiers of Patients are two
 * sorted indexes: whatever a sender chooses as names, finding one costs a binary search. */
#include "fhir/bundle.h"

#include <stdlib.h>

#include "fhir/fhir_private.h"

/* What the entry called name is; several may have the same name. */
typedef struct index_row {
    og_str name;
    uint32_t entry;
} index_row;

typedef struct name_index {
    index_row *rows;
    uint32_t count, cap;
} name_index;

struct fhir_bundle {
    og_arena *a;
    uint32_t count;
    fhir_elem *elems;    /* of each entry */
    fhir_entry *entries; /* meaningful where usable */
    bool *usable;
    name_index names, identifiers;
};

/* --- indexes --- */

static void index_add(og_arena *a, name_index *x, og_str name, uint32_t entry)
{
    if (x->count == x->cap) {
        uint32_t cap = x->cap != 0 ? x->cap * 2 : 16;
        index_row *rows = og_arena_grow(a, x->rows, x->cap * sizeof *rows, cap * sizeof *rows);
        if (rows == NULL)
            return; /* the arena remembers */
        x->rows = rows;
        x->cap = cap;
    }
    x->rows[x->count++] = (index_row){name, entry};
}

static int row_cmp(const void *a, const void *b)
{
    const index_row *x = a, *y = b;
    int c = og_str_cmp(x->name, y->name);
    return c != 0 ? c : (x->entry > y->entry) - (x->entry < y->entry);
}

static void index_sort(name_index *x)
{
    if (x->count > 1)
        qsort(x->rows, x->count, sizeof *x->rows, row_cmp);
}

/* The first entry called name, or NULL. */
static const fhir_entry *index_find(const fhir_bundle *b, const name_index *x, og_str name)
{
    uint32_t low = 0, high = x->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (og_str_cmp(x->rows[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low < x->count && og_str_eq(x->rows[low].name, name) ? &b->entries[x->rows[low].entry]
                                                                : NULL;
}

/* --- one entry --- */

static og_status refuse(og_error *err, uint32_t number, const char *below, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "Bundle.entry[%u]%s%s", number, *below != '\0' ? "." : "", below);
    og_fail(err, OG_INVALID, "%s", text);
    og_error_path(err, path);
    return OG_INVALID;
}

/* A member that is a string or not there at all; null is not there. */
static bool text_member(og_arena *a, fhir_elem object, const char *name, og_str *ret)
{
    fhir_elem e = fhir_get(object, name);
    fhir_kind k = fhir_kind_of(e);
    if (k != FHIR_NONE && k != FHIR_NULL && k != FHIR_STRING)
        return false;
    *ret = fhir_string(a, e);
    return true;
}

/* `Type/id` at the end of a relative or absolute URL of one resource, not of one of its versions.
 */
static bool url_names(og_str url, og_str *ret_type, og_str *ret_id)
{
    if (url.n != 0 && url.p[0] == '/')
        url = og_str_from(url, 1);
    fhir_reference ref = fhir_reference_parse(url);
    if ((ref.kind != FHIR_REF_RELATIVE && ref.kind != FHIR_REF_ABSOLUTE) || ref.version.n != 0 ||
        !fhir_type_is_concrete_resource(fhir_type_of(ref.type)))
        return false;
    *ret_type = ref.type;
    *ret_id = ref.id;
    return true;
}

/* What a resource without id is called by what stands around it; empty when by nothing. */
static og_str id_from_outside(og_str type, og_str full_url, og_str put_url)
{
    fhir_reference ref = fhir_reference_parse(full_url);
    if (ref.kind == FHIR_REF_URN && fhir_id_usable(ref.id))
        return ref.id;
    og_str named, id;
    if (url_names(full_url, &named, &id) && og_str_eq(named, type))
        return id;
    if (url_names(put_url, &named, &id) && og_str_eq(named, type))
        return id;
    return (og_str){0};
}

static og_status read_delete(og_str url, fhir_entry *e, og_error *err)
{
    if (!url_names(url.n != 0 ? url : e->full_url, &e->type, &e->id))
        return refuse(err, e->number, "request.url", "a delete must name one resource as Type/id");
    e->verb = FHIR_DELETE;
    return OG_OK;
}

static og_status read_resource(fhir_elem resource, og_str put_url, fhir_entry *e, og_error *err)
{
    og_error inner;
    og_error_init(&inner);
    if (fhir_resource_of(resource, &e->resource, &inner) != OG_OK) {
        char below[64];
        snprintf(below, sizeof below, "resource%s%.40s", inner.path[0] != '\0' ? "." : "",
                 inner.path);
        return refuse(err, e->number, below, inner.text);
    }
    if (og_str_is(e->resource.type, "Bundle"))
        return refuse(err, e->number, "resource", "a Bundle inside a Bundle is not read");
    if (e->resource.id.n == 0)
        e->resource.id = id_from_outside(e->resource.type, e->full_url, put_url);
    if (e->resource.id.n == 0)
        return refuse(err, e->number, "resource.id",
                      "the resource has no id, and the entry gives it none");
    e->verb = FHIR_PUT;
    e->type = e->resource.type;
    e->id = e->resource.id;
    return OG_OK;
}

/* The status of a subscription, which comes first in a notification: Parameters in the R4 backport,
 * SubscriptionStatus in R4B and R5. Neither is ever stored. */
static bool is_status(fhir_elem resource)
{
    fhir_elem type = fhir_get(resource, "resourceType");
    return fhir_is(type, "SubscriptionStatus") || fhir_is(type, "Parameters");
}

static og_status read_entry(og_arena *a, fhir_elem entry, fhir_entry *e, og_error *err)
{
    og_str method, url;
    fhir_elem request = fhir_get(entry, "request"), resource = fhir_get(entry, "resource");
    if (fhir_kind_of(entry) != FHIR_OBJECT)
        return refuse(err, e->number, "", "an entry must be an object");
    if (!text_member(a, entry, "fullUrl", &e->full_url))
        return refuse(err, e->number, "fullUrl", "must be a string");
    if (!text_member(a, request, "method", &method))
        return refuse(err, e->number, "request.method", "must be a string");
    if (!text_member(a, request, "url", &url))
        return refuse(err, e->number, "request.url", "must be a string");
    if (og_str_is(method, "DELETE"))
        return read_delete(url, e, err);
    if (og_str_is(method, "GET") || og_str_is(method, "HEAD") ||
        fhir_is(fhir_path(entry, "search.mode"), "outcome") || is_status(resource))
        return OG_OK; /* skipped */
    bool put = og_str_is(method, "PUT");
    if (method.n != 0 && !put && !og_str_is(method, "POST"))
        return refuse(err, e->number, "request.method",
                      "only POST, PUT, DELETE, GET and HEAD are read");
    if (!fhir_exists(resource) || fhir_kind_of(resource) == FHIR_NULL)
        return refuse(err, e->number, "",
                      method.n != 0 || e->full_url.n != 0
                          ? "the entry names a resource but does not bring it"
                          : "the entry is neither a resource nor a delete");
    return read_resource(resource, put ? url : (og_str){0}, e, err);
}

/* --- the Bundle --- */

static og_status fail(og_error *err, const char *path, const char *text)
{
    og_fail(err, OG_INVALID, "%s", text);
    og_error_path(err, path);
    return OG_INVALID;
}

static og_status check_type(const fhir_resource *bundle, og_error *err)
{
    static const char *const read[] = {"transaction", "batch",     "collection",
                                       "history",     "searchset", "subscription-notification"};
    if (!og_str_is(bundle->type, "Bundle"))
        return fail(err, "resourceType", "the resource is no Bundle");
    fhir_elem type = fhir_get(bundle->root, "type");
    for (size_t i = 0; i < sizeof read / sizeof read[0]; i++)
        if (fhir_is(type, read[i]))
            return OG_OK;
    return fail(err, "Bundle.type",
                "only transaction, batch, collection, history, searchset and "
                "subscription-notification are read");
}

static void index_patient(fhir_bundle *b, uint32_t i)
{
    fhir_elem all = fhir_get(b->entries[i].resource.root, "identifier");
    for (fhir_elem e = fhir_each_first(all); fhir_exists(e); e = fhir_each_next(all, e)) {
        og_str system = fhir_string(b->a, fhir_get(e, "system"));
        og_str value = fhir_string(b->a, fhir_get(e, "value"));
        if (value.n != 0)
            index_add(b->a, &b->identifiers, fhir__identifier_name(b->a, system, value), i);
    }
}

static void index_entry(fhir_bundle *b, uint32_t i)
{
    const fhir_entry *e = &b->entries[i];
    if (e->full_url.n != 0)
        index_add(b->a, &b->names, e->full_url, i);
    index_add(b->a, &b->names,
              og_arena_printf(b->a, "%.*s/%.*s", OG_STR_ARG(e->type), OG_STR_ARG(e->id)), i);
    if (og_str_is(e->type, "Patient"))
        index_patient(b, i);
}

static fhir_bundle *make_room(og_arena *a, uint32_t count)
{
    fhir_bundle *b = og_arena_zalloc(a, 1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->a = a;
    b->count = count;
    b->elems = og_arena_zalloc(a, count, sizeof *b->elems);
    b->entries = og_arena_zalloc(a, count, sizeof *b->entries);
    b->usable = og_arena_zalloc(a, count, sizeof *b->usable);
    return b->elems != NULL && b->entries != NULL && b->usable != NULL ? b : NULL;
}

og_status fhir_bundle_open(og_arena *a, const fhir_resource *bundle, fhir_bundle **ret,
                           og_error *err)
{
    og_status st = check_type(bundle, err);
    if (st != OG_OK)
        return st;
    fhir_elem all = fhir_get(bundle->root, "entry");
    fhir_kind k = fhir_kind_of(all);
    if (k != FHIR_NONE && k != FHIR_NULL && k != FHIR_ARRAY)
        return fail(err, "Bundle.entry", "must be an array");
    fhir_bundle *b = make_room(a, fhir_length(all));
    if (b == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the Bundle");
    uint32_t i = 0;
    for (fhir_elem e = fhir_first(all); fhir_exists(e); e = fhir_next(all, e), i++) {
        b->elems[i] = e;
        b->entries[i] = (fhir_entry){.verb = FHIR_SKIP, .number = i};
        b->usable[i] = read_entry(a, e, &b->entries[i], NULL) == OG_OK;
        if (b->usable[i] && b->entries[i].verb == FHIR_PUT)
            index_entry(b, i);
    }
    if (og_arena_failed(a))
        return og_fail(err, OG_NOMEM, "no memory for the Bundle");
    index_sort(&b->names);
    index_sort(&b->identifiers);
    *ret = b;
    return OG_OK;
}

uint32_t fhir_bundle_count(const fhir_bundle *b)
{
    return b->count;
}

og_status fhir_bundle_entry(const fhir_bundle *b, uint32_t i, fhir_entry *ret, og_error *err)
{
    if (i >= b->count)
        return og_fail(err, OG_INVALID, "the Bundle has no entry %u", i);
    if (!b->usable[i]) { /* once more, for the words */
        fhir_entry again = {.number = i};
        og_status st = read_entry(b->a, b->elems[i], &again, err);
        return st != OG_OK ? st : og_fail(err, OG_NOMEM, "no memory for the Bundle");
    }
    *ret = b->entries[i];
    return OG_OK;
}

const fhir_entry *fhir_bundle_resolve(const fhir_bundle *b, og_str reference)
{
    if (reference.n == 0)
        return NULL;
    const fhir_entry *e = index_find(b, &b->names, reference);
    if (e != NULL)
        return e;
    fhir_reference ref = fhir_reference_parse(reference);
    if (ref.version.n == 0 || (ref.kind != FHIR_REF_RELATIVE && ref.kind != FHIR_REF_ABSOLUTE))
        return NULL;
    og_str current = {reference.p, (size_t)(ref.id.p + ref.id.n - reference.p)};
    return index_find(b, &b->names, current);
}

const fhir_entry *fhir_bundle_patient_with(const fhir_bundle *b, og_str system, og_str value)
{
    if (b->identifiers.count == 0 || value.n == 0)
        return NULL;
    og_str name = fhir__identifier_name(b->a, system, value);
    return name.n != 0 ? index_find(b, &b->identifiers, name) : NULL;
}

/* --- extraction --- */

/* The entry that a Reference.reference e must be rewritten to, or NULL when it stays. */
static const fhir_entry *rewritten(const fhir_bundle *b, fhir_elem e)
{
    char buf[16];
    if (fhir_kind_of(e) != FHIR_STRING ||
        !og_str_is(fhir__short_text(fhir_key_of(e), buf, sizeof buf), "reference"))
        return NULL;
    fhir_reference ref = fhir_reference_parse(fhir_string(b->a, e));
    if (ref.kind != FHIR_REF_URN && ref.kind != FHIR_REF_OTHER)
        return NULL;
    return fhir_bundle_resolve(b, ref.text);
}

og_status fhir_bundle_extract(const fhir_bundle *b, const fhir_entry *e, og_buf *out, og_error *err)
{
    fhir_elem root = e->resource.root;
    if (e->verb != FHIR_PUT || fhir_kind_of(root) != FHIR_OBJECT)
        return og_fail(err, OG_INVALID, "the entry has no resource");
    og_str raw = fhir_raw(root);
    const char *from = raw.p; /* copied so far */
    fhir_elem id = fhir_get(root, "id");
    if (!fhir_exists(id)) {
        og_buf_addf(out, "{\"id\":\"%.*s\",", OG_STR_ARG(e->id));
        from++;
    }
    uint32_t end = fhir__behind(root);
    for (fhir_elem at = {root.doc, root.at + 1}; at.at < end; at.at++) {
        const fhir_entry *target = rewritten(b, at);
        bool null_id = at.at == id.at && fhir_kind_of(id) == FHIR_NULL;
        if (target == NULL && !null_id)
            continue;
        og_str old = fhir_raw(at);
        og_buf_add(out, from, (size_t)(old.p - from));
        if (null_id)
            og_buf_addf(out, "\"%.*s\"", OG_STR_ARG(e->id));
        else
            og_buf_addf(out, "%.*s/%.*s", OG_STR_ARG(target->type), OG_STR_ARG(target->id));
        from = old.p + old.n;
    }
    og_buf_add(out, from, (size_t)(raw.p + raw.n - from));
    if (out->full)
        return og_fail(err, OG_LIMIT, "a resource of the Bundle is larger than %zu bytes",
                       out->max);
    if (og_buf_failed(out) || og_arena_failed(b->a))
        return og_fail(err, OG_NOMEM, "no memory for a resource of the Bundle");
    return OG_OK;
}
