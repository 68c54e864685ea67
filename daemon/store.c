/* Rows of a partition's store: their keys, their heads, and the rules that keep them in step (an
 * alert's review has one index row, a resource's references have theirs). No function commits: the
 * pipeline does. */
#include "daemon/store.h"

#include <inttypes.h>

#include "daemon/note.h"
#include "daemon/packed.h"
#include "daemon/source.h"
#include "fhir/model.h"
#include "fhir/reference.h"

#define SCHEMA          "osteoguard-store-11"
#define GENERATION      "1" /* of the records topic's partitioning: other partitions, other stores */
#define MAX_SHARED_HOPS 3
#define MAX_SHARED      256 /* shared resources in one patient's view */

static const char *const table_names[STORE_TABLES] = {
    "patient", "delivery", "due",    "reference", "dirty",   "outgoing", "place",
    "merge",   "grave",    "errand", "wanted",    "fetched", "meta"};

bool store_path(const char *root, int64_t partitions, const char *name, char *out, size_t size)
{
    int n = snprintf(out, size, "%s/" GENERATION "-%" PRId64 "/%s", root, partitions, name);
    return n > 0 && (size_t)n < size;
}

og_status store_open(const char *dir, size_t map_bytes, bool sync_each, const char *boot_id,
                     store **ret, og_error *err)
{
    kv_options options = {.dir = dir,
                          .tables = table_names,
                          .table_count = STORE_TABLES,
                          .map_bytes = map_bytes,
                          .sync_each = sync_each,
                          .schema = SCHEMA,
                          .boot_id = boot_id};
    return kv_open(&options, ret, err);
}

og_status store_open_to_read(const char *dir, store **ret, og_error *err)
{
    kv_options options = {
        .dir = dir, .tables = table_names, .table_count = STORE_TABLES, .schema = SCHEMA};
    return kv_open_to_read(&options, ret, err);
}

/* ---- keys ---- */

typedef store_key key;

/* What does not fit makes a key longer than KV_MAX_KEY, which the store refuses. */
static void key_add(key *k, og_str s)
{
    size_t room = sizeof k->p - k->n;
    size_t n = s.n < room ? s.n : room;
    if (n > 0)
        memcpy(k->p + k->n, s.p, n);
    k->n += n;
}

static void key_zero(key *k)
{
    key_add(k, (og_str){"", 1});
}

static og_str key_str(const key *k)
{
    return (og_str){k->p, k->n};
}

static void key_resource(key *k, og_str patient, og_str type, og_str id)
{
    k->n = 0;
    key_add(k, patient);
    key_zero(k);
    key_add(k, type);
    key_add(k, OG_STR("/"));
    key_add(k, id);
}

/* A copy has its way behind the Type/id. */
static void key_record(key *k, const record *r)
{
    char via[RECORD_VIA_TEXT];
    key_resource(k, r->patient, r->type, r->id);
    if (r->via.n == 0)
        return;
    record_via_text(r->via, via);
    key_add(k, (og_str){via, sizeof via});
}

void store_row_key(store_key *out, og_str patient, og_str name)
{
    out->n = 0;
    key_add(out, patient);
    key_zero(out);
    key_add(out, name);
}

/* All rows of one kind begin with it. */
static void key_rows(key *k, og_str patient, store_row kind)
{
    char byte = (char)kind;
    k->n = 0;
    key_add(k, patient);
    key_add(k, (og_str){&byte, 1});
}

static void key_alert(key *k, og_str patient, const char *alert_id)
{
    key_rows(k, patient, STORE_ROW_ALERT);
    key_add(k, og_str_of(alert_id));
}

/* What calls have shown stands beside the alerts, not among them: whoever reads a patient's alerts
 * does not come across it. */
static void key_shown(key *k, og_str patient, const char *id)
{
    key_rows(k, patient, STORE_ROW_SHOWN);
    key_add(k, og_str_of(id));
}

void store_told_key(store_key *out, og_str patient, const char *alert_id, og_str endpoint)
{
    key_rows(out, patient, STORE_ROW_TOLD);
    key_add(out, og_str_of(alert_id));
    key_zero(out);
    key_add(out, endpoint);
}

static void key_due(key *k, int64_t due_ms, og_str patient)
{
    uint64_t ordered =
        (uint64_t)due_ms ^ ((uint64_t)1 << 63); /* byte order = numerical order, also before 1970 */
    char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(unsigned char)(ordered >> (56 - 8 * i));
    k->n = 0;
    key_add(k, (og_str){bytes, 8});
    key_add(k, patient);
}

static int64_t due_of_key(og_str k)
{
    uint64_t ordered = 0;
    for (size_t i = 0; i < 8; i++)
        ordered = ordered << 8 | (unsigned char)k.p[i];
    return (int64_t)(ordered ^ ((uint64_t)1 << 63));
}

og_str store_patient_of(og_str row)
{
    size_t n = 0;
    while (n < row.n && (unsigned char)row.p[n] >= STORE_ROWS)
        n++;
    return (og_str){row.p, n};
}

bool store_row_is(og_str row, store_row kind)
{
    og_str patient = store_patient_of(row);
    return patient.n < row.n && (store_row)row.p[patient.n] == kind;
}

static og_str until_zero(og_str s)
{
    ptrdiff_t zero = og_str_find(s, '\0');
    return zero < 0 ? s : (og_str){s.p, (size_t)zero};
}

/* ---- numbers as text ---- */

static og_status put_int(store_txn *t, int table, og_str k, int64_t value, og_error *err)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%" PRId64, value);
    return kv_put(t, table, k, (og_str){text, (size_t)n}, err);
}

static og_status read_int(og_str value, int64_t *ret, og_error *err)
{
    return og_str_int(value, INT64_MIN, INT64_MAX, ret)
               ? OG_OK
               : og_fail(err, OG_CORRUPT, "a stored number is not one");
}

static og_status get_int(store_txn *t, int table, og_str k, int64_t *ret, og_error *err)
{
    og_str value;
    og_status status = kv_get(t, table, k, &value, err);
    return status == OG_OK ? read_int(value, ret, err) : status;
}

/* ---- resources ---- */

/* The head of a resource row. In the store: form, whether it is deleted and untimed, hash, source
 * (source.h); then the image. */
typedef struct head {
    bool deleted;
    uint64_t hash;
    record source;
} head;
#define HEAD_FORM    4
#define HEAD_DELETED 1
#define HEAD_UNTIMED 2
#define HEAD_FIXED   (2 + sizeof(uint64_t)) /* before the source */

/* Returns where the image goes; there is room for HEAD_FIXED and the source. */
static char *write_head(const record *r, char *at)
{
    uint64_t hash = og_str_hash(r->body);
    at[0] = HEAD_FORM;
    at[1] = (char)((r->deleted ? HEAD_DELETED : 0) | (r->untimed ? HEAD_UNTIMED : 0));
    memcpy(at + 2, &hash, sizeof hash);
    return at + HEAD_FIXED + source_put(at + HEAD_FIXED, r);
}

/* The names of the source are borrowed, as the image. */
static bool read_head(og_str value, head *ret, og_str *ret_image)
{
    if (value.n < HEAD_FIXED || value.p[0] != HEAD_FORM)
        return false;
    ret->deleted = (value.p[1] & HEAD_DELETED) != 0;
    memcpy(&ret->hash, value.p + 2, sizeof ret->hash);
    *ret_image = og_str_from(value, HEAD_FIXED);
    ret->source.deleted = ret->deleted;
    ret->source.untimed = (value.p[1] & HEAD_UNTIMED) != 0;
    return source_take(ret_image, &ret->source);
}

/* The image is packed (packed.h). */
static og_status read_image(og_arena *a, og_str packed, fhir_doc *ret, og_error *err)
{
    og_str image;
    og_status status = packed_read(a, packed, &image, err);
    return status == OG_OK ? fhir_image_read(a, image, ret, err) : status;
}

bool store_is_shared_type(og_str type)
{
    uint16_t number = fhir_type_of(type);
    return fhir_type_is_concrete_resource(number) && !og_str_is(type, "Patient") &&
           fhir_type_patient_paths(number).n == 0;
}

/* Calls fn with every Type/id of a shared type that doc refers to; its sender's ids are meant. Flat
 * over the tape: a member called `reference` is a KEY node and the node behind it. */
typedef og_status reference_fn(void *ctx, og_str type_id, og_error *err);

static og_status each_shared_reference(og_arena *a, const fhir_doc *doc, og_str sender,
                                       reference_fn *fn, void *ctx, og_error *err)
{
    for (uint32_t i = 0; i + 1 < doc->count; i++) {
        og_str name = {doc->text + doc->nodes[i].pos, doc->nodes[i].info >> 4};
        if ((doc->nodes[i].info & 15u) != FHIR_KEY || !og_str_is(name, "reference"))
            continue;
        fhir_reference ref = fhir_reference_parse(fhir_string(a, (fhir_elem){doc, i + 1}));
        if ((ref.kind != FHIR_REF_RELATIVE && ref.kind != FHIR_REF_ABSOLUTE) ||
            !store_is_shared_type(ref.type))
            continue;
        og_str type_id = og_arena_printf(a, "%.*s/%.*s%.*s", OG_STR_ARG(ref.type),
                                         OG_STR_ARG(sender), OG_STR_ARG(ref.id));
        og_status status =
            type_id.p != NULL ? fn(ctx, type_id, err) : og_fail(err, OG_NOMEM, "no memory");
        if (status != OG_OK)
            return status;
    }
    return OG_OK;
}

typedef struct reference_row {
    store_txn *t;
    og_str patient, type, id;
    bool remove;
} reference_row;

/* The key must hold two Type/id: a copy is named there by a number of its own. */
static void name_copy(const record *r, char via[RECORD_VIA_TEXT], reference_row *row)
{
    key k;
    if (r->via.n == 0)
        return;
    key_record(&k, r);
    record_via_text(key_str(&k), via);
    row->type = OG_STR("via");
    row->id = (og_str){via, RECORD_VIA_TEXT};
}

static og_status change_reference_row(void *ctx, og_str type_id, og_error *err)
{
    const reference_row *row = ctx;
    key k = {.n = 0};
    key_add(&k, type_id);
    key_zero(&k);
    key_add(&k, row->patient);
    key_zero(&k);
    key_add(&k, row->type);
    key_add(&k, OG_STR("/"));
    key_add(&k, row->id);
    return row->remove ? kv_delete(row->t, STORE_REFERENCE, key_str(&k), err)
                       : kv_put(row->t, STORE_REFERENCE, key_str(&k), OG_STR(""), err);
}

/* The index rows of the old document go, those of the new one come. */
static og_status change_references(store_txn *t, og_arena *a, const record *r, og_str old_image,
                                   const fhir_doc *doc, og_error *err)
{
    reference_row row = {t, r->patient, r->type, r->id, true};
    char via[RECORD_VIA_TEXT];
    fhir_doc old;
    og_status status = OG_OK;
    name_copy(r, via, &row);
    if (old_image.n > 0) {
        status = read_image(a, old_image, &old, err);
        if (status == OG_OK)
            status = each_shared_reference(a, &old, record_sender(r->id), change_reference_row,
                                           &row, err);
    }
    row.remove = false;
    if (status == OG_OK && doc != NULL)
        status =
            each_shared_reference(a, doc, record_sender(r->id), change_reference_row, &row, err);
    return status;
}

static og_status put_resource(store_txn *t, og_arena *a, og_str k, const record *r,
                              const fhir_doc *doc, og_error *err)
{
    size_t image = doc != NULL ? fhir_image_size(doc) : 0;
    char *plain = og_arena_alloc(a, image);
    char *value = og_arena_alloc(a, HEAD_FIXED + source_most(r) + packed_most(image));
    if (plain == NULL || value == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a resource");
    char *end = write_head(r, value);
    if (doc != NULL) {
        fhir_image_write(doc, plain);
        end += packed_write((og_str){plain, image}, end);
    }
    return kv_put(t, STORE_PATIENT, k, (og_str){value, (size_t)(end - value)}, err);
}

/* Whether the record stands behind what the store has, and is to be outdone by it. Of what was sent
 * twice the later one counts: between them something else may have been said of the same version.
 */
static store_applied against(const record *r, const head *had, bool same)
{
    int cmp = record_order_cmp(&r->order, &had->source.order);
    bool repeated = same && record_order_cmp_version(&r->order, &had->source.order) == 0;
    if (cmp == 0 || (cmp < 0 && repeated))
        return STORE_STALE;
    return cmp < 0 ? STORE_OUTDATED : STORE_APPLIED;
}

/* Of a shared resource; what is a patient's has a place, which sees to it (place.h). Whichever of
 * the two is a delete that says no time of its own may get a newer version. *ret_had: what the
 * store has did, and is written. */
static og_status outdo(store_txn *t, og_arena *a, og_str k, record *now, head *old, bool *ret_had,
                       og_error *err)
{
    int64_t had_us = old->source.order.time_us;
    *ret_had = false;
    if (now->patient.n > 0)
        return OG_OK;
    if (now->deleted)
        record_outdo(now, &old->source);
    else if (old->deleted)
        record_outdo(&old->source, now);
    if (old->source.order.time_us == had_us)
        return OG_OK;
    record had = old->source; /* its names lie in the row that is written */
    had.topic = og_arena_str(a, had.topic);
    had.via = og_arena_str(a, had.via);
    *ret_had = true;
    return put_resource(t, a, k, &had, NULL, err);
}

og_status store_apply(store_txn *t, og_arena *scratch, const record *r, const fhir_doc *doc,
                      int64_t mark, store_applied *ret, og_error *err)
{
    key k;
    head old = {.deleted = false};
    record now = *r;
    og_str value, old_image = {NULL, 0};
    store_applied applied = STORE_APPLIED;
    key_record(&k, r);
    og_status status = kv_get(t, STORE_PATIENT, key_str(&k), &value, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    bool known = status == OG_OK, same = !known && r->deleted, had_outdid = false;
    status = OG_OK;
    if (known) {
        if (!read_head(value, &old, &old_image))
            return og_fail(err, OG_CORRUPT, "a stored resource has an unknown form");
        same = old.hash == og_str_hash(r->body) && old.deleted == r->deleted;
        status = outdo(t, scratch, key_str(&k), &now, &old, &had_outdid, err);
        applied = against(&now, &old, same);
    }
    if (status == OG_OK && applied == STORE_APPLIED && !same)
        status = change_references(t, scratch, r, old_image, doc, err); /* old_image is borrowed: */
    if (status == OG_OK && applied == STORE_APPLIED)                    /* before the put */
        status = put_resource(t, scratch, key_str(&k), &now, doc, err);
    bool outdid =
        now.order.time_us != r->order.time_us || had_outdid; /* the topic does not say so */
    if (status == OG_OK && (applied == STORE_OUTDATED || outdid))
        status = put_int(t, STORE_OUTGOING, key_str(&k), mark, err);
    else if (status == OG_OK && known) /* what stands last is what the store has */
        status = kv_delete(t, STORE_OUTGOING, key_str(&k), err);
    if (applied == STORE_APPLIED && same)
        applied = STORE_SAME;
    if (status == OG_OK)
        *ret = applied;
    return status;
}

og_status store_version(store_txn *t, og_str row, record_order *ret, bool *ret_deleted,
                        og_error *err)
{
    og_str value, image;
    head h;
    og_status status = kv_get(t, STORE_PATIENT, row, &value, err);
    if (status != OG_OK)
        return status;
    if (!read_head(value, &h, &image))
        return og_fail(err, OG_CORRUPT, "a stored resource has an unknown form");
    *ret = h.source.order;
    *ret_deleted = h.deleted;
    return OG_OK;
}

/* ---- what is to be written again ---- */

og_status store_reassert(store_txn *t, og_str row, int64_t mark, og_error *err)
{
    return put_int(t, STORE_OUTGOING, row, mark, err);
}

typedef struct collect {
    og_arena *a;
    store_outgoing *at;
    size_t count, max;
} collect;

static og_status collect_row(void *ctx, og_str k, og_str value, og_error *err)
{
    collect *c = ctx;
    og_status status = read_int(value, &c->at[c->count].mark, err);
    if (status != OG_OK)
        return status;
    c->at[c->count].row = og_arena_str(c->a, k);
    if (c->at[c->count].row.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for what is to be written again");
    return ++c->count < c->max ? OG_OK : OG_AGAIN;
}

static og_str until_via(og_str type_id)
{
    ptrdiff_t via = og_str_find(type_id, RECORD_VIA);
    return via < 0 ? type_id : (og_str){type_id.p, (size_t)via};
}

static og_status read_record(store_txn *t, og_arena *a, og_str row, record *ret, og_error *err)
{
    og_str value, image, patient = store_patient_of(row);
    head h;
    fhir_doc doc;
    og_status status = kv_get(t, STORE_PATIENT, row, &value, err);
    if (status != OG_OK)
        return status;
    if (!read_head(value, &h, &image))
        return og_fail(err, OG_CORRUPT, "a stored resource has an unknown form");
    og_str type_id = until_via(og_str_from(row, patient.n + 1));
    ptrdiff_t slash = og_str_find(type_id, '/');
    if (slash < 0)
        return og_fail(err, OG_CORRUPT, "a stored resource has no Type/id");
    *ret = (record){.patient = patient,
                    .type = {type_id.p, (size_t)slash},
                    .id = og_str_from(type_id, (size_t)slash + 1),
                    .via = og_arena_str(a, h.source.via),
                    .order = h.source.order,
                    .topic = og_arena_str(a, h.source.topic),
                    .timestamp_ms = h.source.timestamp_ms,
                    .entry = h.source.entry,
                    .of = h.source.of,
                    .deleted = h.deleted,
                    .untimed = h.source.untimed};
    if (h.deleted)
        return OG_OK;
    status = read_image(a, image, &doc, err);
    if (status == OG_OK)
        ret->body = (og_str){doc.text, doc.size};
    return status;
}

og_status store_to_send(store_txn *t, og_arena *a, og_str tenant, size_t max, store_outgoing **ret,
                        size_t *ret_count, og_error *err)
{
    collect c = {.a = a, .at = og_arena_zalloc(a, max, sizeof *c.at), .max = max};
    if (c.at == NULL)
        return og_fail(err, OG_NOMEM, "no memory for what is to be written again");
    og_status status =
        kv_scan(t, STORE_OUTGOING, (og_str){NULL, 0}, (og_str){NULL, 0}, collect_row, &c, err);
    size_t bytes = 0;
    for (size_t i = 0; status == OG_OK && i < c.count; i++) {
        status = read_record(t, a, c.at[i].row, &c.at[i].record, err);
        c.at[i].record.tenant = tenant;
        bytes += c.at[i].record.body.n;
        if (bytes > STORE_SEND_BYTES)
            c.count = i + 1;
    }
    if (status == OG_OK && og_arena_failed(a))
        status = og_fail(err, OG_NOMEM, "no memory for what is to be written again");
    if (status != OG_OK)
        return status;
    *ret = c.at;
    *ret_count = c.count;
    return OG_OK;
}

og_status store_sent(store_txn *t, og_str row, int64_t mark, og_error *err)
{
    int64_t now = 0;
    og_status status = get_int(t, STORE_OUTGOING, row, &now, err);
    if (status == OG_NOTFOUND)
        return OG_OK;
    return status == OG_OK && now == mark ? kv_delete(t, STORE_OUTGOING, row, err) : status;
}

typedef struct row_names {
    og_arena *a;
    og_str *at;
    size_t count, cap;
} row_names;

static og_status add_row_name(void *ctx, og_str k, og_str value, og_error *err)
{
    row_names *l = ctx;
    (void)value;
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 64 : l->cap * 2;
        l->at = og_arena_grow(l->a, l->at, l->cap * sizeof *l->at, cap * sizeof *l->at);
        if (l->at == NULL)
            return og_fail(err, OG_NOMEM, "no memory for a patient's rows");
        l->cap = cap;
    }
    og_str copy = og_arena_str(l->a, k);
    if (copy.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a patient's rows");
    l->at[l->count++] = copy;
    return OG_OK;
}

og_status store_each_record(store_txn *t, og_arena *a, og_arena *scratch, og_str tenant,
                            og_str patient, og_str type, store_record_fn *fn, void *ctx,
                            og_error *err)
{
    row_names l = {.a = a};
    key k;
    key_rows(&k, patient, STORE_ROW_RESOURCE);
    key_add(&k, type);
    og_status status = kv_scan(t, STORE_PATIENT, key_str(&k), key_str(&k), add_row_name, &l, err);
    for (size_t i = 0; status == OG_OK && i < l.count; i++) {
        record r;
        og_arena_reset(scratch);
        status = read_record(t, scratch, l.at[i], &r, err);
        if (status != OG_OK)
            break;
        r.tenant = tenant;
        status = og_arena_failed(scratch) ? og_fail(err, OG_NOMEM, "no memory for a record")
                                          : fn(ctx, &r, err);
    }
    return status;
}

og_status store_outgoing_count(store_txn *t, uint64_t *ret, og_error *err)
{
    return kv_count(t, STORE_OUTGOING, ret, err);
}

/* ---- the view ---- */

typedef struct view {
    og_arena *a;
    fhir_resource *at;
    og_str *senders;  /* of each */
    uint64_t *hashes; /* of each one's text */
    size_t count, cap;
    size_t shared_first; /* at[shared_first..count) are shared resources */
    store_txn *shared;
    key last; /* Type/id of at[count - 1], while the patient's rows are visited */
    record_order last_order;
} view;

static og_str behind_slash(og_str type_id)
{
    return og_str_from(type_id, (size_t)(og_str_find(type_id, '/') + 1));
}

static og_status view_add(view *v, og_str type_id, const head *h, og_str image, og_error *err)
{
    if (v->count == v->cap) {
        size_t cap = v->cap == 0 ? 64 : v->cap * 2;
        v->at = og_arena_grow(v->a, v->at, v->cap * sizeof *v->at, cap * sizeof *v->at);
        v->senders =
            og_arena_grow(v->a, v->senders, v->cap * sizeof *v->senders, cap * sizeof *v->senders);
        v->hashes =
            og_arena_grow(v->a, v->hashes, v->cap * sizeof *v->hashes, cap * sizeof *v->hashes);
        if (v->at == NULL || v->senders == NULL || v->hashes == NULL)
            return og_fail(err, OG_NOMEM, "no memory for the patient's resources");
        v->cap = cap;
    }
    fhir_doc *doc = og_arena_alloc(v->a, sizeof *doc);
    if (doc == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the patient's resources");
    og_status status = read_image(v->a, image, doc, err);
    if (status == OG_OK)
        status = fhir_resource_of(fhir_root(doc), &v->at[v->count], err);
    if (status != OG_OK)
        return status;
    og_str sender = og_arena_str(v->a, record_sender(behind_slash(type_id)));
    if (sender.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the patient's resources");
    v->hashes[v->count] = h->hash;
    v->senders[v->count++] = sender;
    return OG_OK;
}

/* Of a merged patient the survivor sees the resources, neither the Patient nor what merging needs.
 */
static bool is_copied_type(og_str type_id)
{
    ptrdiff_t slash = og_str_find(type_id, '/');
    og_str type = {type_id.p, slash < 0 ? 0 : (size_t)slash};
    return !og_str_is(type, "Patient") && fhir_type_is_concrete_resource(fhir_type_of(type));
}

static og_status view_visit(void *ctx, og_str k, og_str value, og_error *err)
{
    view *v = ctx;
    head h;
    og_str image, name = og_str_from(k, store_patient_of(k).n + 1), type_id = until_via(name);
    if (!read_head(value, &h, &image))
        return og_fail(err, OG_CORRUPT, "a stored resource has an unknown form");
    if (h.deleted || (name.n > type_id.n && !is_copied_type(type_id)))
        return OG_OK;
    record_order order = h.source.order;
    order.round = 0;
    if (v->last.n > 0 &&
        og_str_eq(key_str(&v->last), type_id)) { /* it stands directly before its copies */
        if (record_order_cmp(&order, &v->last_order) <= 0)
            return OG_OK;
        v->count--;
    }
    v->last.n = 0;
    key_add(&v->last, type_id);
    v->last_order = order;
    return view_add(v, type_id, &h, image, err);
}

static bool view_has_shared(const view *v, og_str type_id)
{
    for (size_t i = v->shared_first; i < v->count; i++) {
        const fhir_resource *r = &v->at[i];
        og_str id = behind_slash(type_id), sender = v->senders[i];
        if (type_id.n == r->type.n + 1 + id.n && og_str_starts(type_id, r->type) &&
            id.n == sender.n + r->id.n && og_str_starts(id, sender) && og_str_ends(id, r->id))
            return true;
    }
    return false;
}

static og_status view_refer(void *ctx, og_str type_id, og_error *err)
{
    view *v = ctx;
    key k = {.n = 0};
    og_str value, image;
    head h;
    if (view_has_shared(v, type_id) || v->count - v->shared_first >= MAX_SHARED)
        return OG_OK;
    key_zero(&k);
    key_add(&k, type_id);
    og_status status = kv_get(v->shared, STORE_PATIENT, key_str(&k), &value, err);
    if (status != OG_OK)
        return status == OG_NOTFOUND ? OG_OK : status; /* it may come later, or never */
    if (!read_head(value, &h, &image))
        return og_fail(err, OG_CORRUPT, "a stored resource has an unknown form");
    return h.deleted ? OG_OK : view_add(v, type_id, &h, image, err);
}

og_status store_view_hashed(store_txn *t, store_txn *shared, og_arena *a, og_str patient,
                            const fhir_resource **ret, const uint64_t **ret_hashes,
                            size_t *ret_count, og_error *err)
{
    view v = {.a = a, .shared = shared};
    key k;
    key_rows(&k, patient, STORE_ROW_RESOURCE);
    og_status status = store_is_merged(t, patient, err);
    if (status == OG_NOTFOUND)
        status = kv_scan(t, STORE_PATIENT, key_str(&k), key_str(&k), view_visit, &v, err);
    v.shared_first = v.count;
    size_t first = 0;
    for (int hop = 0; status == OG_OK && shared != NULL && hop < MAX_SHARED_HOPS; hop++) {
        size_t end = v.count;
        for (; status == OG_OK && first < end; first++)
            status = each_shared_reference(a, v.at[first].root.doc, v.senders[first], view_refer,
                                           &v, err);
    }
    if (status == OG_OK && og_arena_failed(a))
        status = og_fail(err, OG_LIMIT, "the patient's resources do not fit the memory limit");
    if (status != OG_OK)
        return status;
    *ret = v.at;
    *ret_hashes = v.hashes;
    *ret_count = v.count;
    return OG_OK;
}

og_status store_view(store_txn *t, store_txn *shared, og_arena *a, og_str patient,
                     const fhir_resource **ret, size_t *ret_count, og_error *err)
{
    const uint64_t *hashes;
    return store_view_hashed(t, shared, a, patient, ret, &hashes, ret_count, err);
}

static og_status first_row(void *ctx, og_str k, og_str value, og_error *err)
{
    (void)k;
    (void)value;
    (void)err;
    *(bool *)ctx = true;
    return OG_AGAIN; /* one is enough */
}

og_status store_knows(store_txn *t, og_str patient, bool *ret, og_error *err)
{
    key k;
    key_rows(&k, patient, STORE_ROW_RESOURCE);
    *ret = false;
    return kv_scan(t, STORE_PATIENT, key_str(&k), key_str(&k), first_row, ret, err);
}

og_status store_resource(store_txn *t, og_arena *a, og_str patient, og_str type, og_str id,
                         fhir_doc *ret, og_error *err)
{
    key k;
    head h;
    og_str value, image;
    key_resource(&k, patient, type, id);
    og_status status = kv_get(t, STORE_PATIENT, key_str(&k), &value, err);
    if (status != OG_OK)
        return status;
    if (!read_head(value, &h, &image))
        return og_fail(err, OG_CORRUPT, "a stored resource has an unknown form");
    return h.deleted ? OG_NOTFOUND : read_image(a, image, ret, err);
}

/* ---- merged patients ---- */

og_status store_merge(store_txn *t, og_arena *a, og_str patient, store_merged *ret, og_error *err)
{
    og_str value;
    og_status status = kv_get(t, STORE_MERGE, patient, &value, err);
    if (status != OG_OK)
        return status;
    if (value.n < 2)
        return og_fail(err, OG_CORRUPT, "a stored merge names no patient");
    og_str survivor = og_arena_str(a, og_str_from(value, 1));
    if (survivor.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the id of a patient");
    *ret = (store_merged){.into = survivor, .stays = value.p[0] == '='};
    return OG_OK;
}

og_status store_set_merge(store_txn *t, og_str patient, const store_merged *m, og_error *err)
{
    key k = {.n = 0};
    if (m->into.n == 0)
        return kv_delete(t, STORE_MERGE, patient, err);
    key_add(&k, m->stays ? OG_STR("=") : OG_STR(">"));
    key_add(&k, m->into);
    return kv_put(t, STORE_MERGE, patient, key_str(&k), err);
}

og_status store_is_merged(store_txn *t, og_str patient, og_error *err)
{
    og_str value;
    og_status status = patient.n > 0 ? kv_get(t, STORE_MERGE, patient, &value, err) : OG_NOTFOUND;
    return status == OG_OK && value.n > 0 && value.p[0] == '=' ? OG_NOTFOUND : status;
}

/* ---- lists of patients ---- */

typedef struct names {
    og_arena *a;
    og_str *at;
    size_t count, cap, max;
    int64_t now_ms;
    size_t prefix;
} names;

static og_status names_add(names *l, og_str name, og_error *err)
{
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 16 : l->cap * 2;
        l->at = og_arena_grow(l->a, l->at, l->cap * sizeof *l->at, cap * sizeof *l->at);
        if (l->at == NULL)
            return og_fail(err, OG_NOMEM, "no memory for a list of patients");
        l->cap = cap;
    }
    og_str copy = og_arena_str(l->a, name);
    if (copy.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a list of patients");
    l->at[l->count++] = copy;
    return l->count >= l->max ? OG_AGAIN : OG_OK;
}

typedef struct next_patient {
    key id;
    bool found, has_resources; /* they are its first rows */
} next_patient;

static og_status first_patient(void *ctx, og_str k, og_str value, og_error *err)
{
    next_patient *p = ctx;
    (void)value;
    (void)err;
    p->id.n = 0;
    key_add(&p->id, store_patient_of(k));
    p->found = true;
    p->has_resources = store_row_is(k, STORE_ROW_RESOURCE);
    return OG_AGAIN;
}

static og_status has_alerts(store_txn *t, og_str patient, bool *ret, og_error *err)
{
    key k;
    key_rows(&k, patient, STORE_ROW_ALERT);
    return kv_scan(t, STORE_PATIENT, key_str(&k), key_str(&k), first_row, ret, err);
}

static og_status list_patients(store_txn *t, og_arena *a, og_str after, size_t max, bool alerts,
                               const og_str **ret, size_t *ret_count, og_error *err)
{
    names l = {.a = a, .max = SIZE_MAX};
    key from = {.n = 0};
    if (after.n > 0)
        key_rows(&from, after, STORE_ROWS);
    while (l.count < max) { /* one seek for each patient: its rows are not read */
        next_patient next = {.found = false};
        og_status status =
            kv_scan(t, STORE_PATIENT, key_str(&from), (og_str){NULL, 0}, first_patient, &next, err);
        bool wanted = next.has_resources;
        if (status == OG_OK && next.found && !wanted && alerts)
            status = has_alerts(t, key_str(&next.id), &wanted, err);
        if (status == OG_OK && wanted)
            status = names_add(&l, key_str(&next.id), err);
        if (status != OG_OK)
            return status;
        if (!next.found)
            break;
        key_rows(&from, key_str(&next.id), STORE_ROWS);
    }
    *ret = l.at;
    *ret_count = l.count;
    return OG_OK;
}

og_status store_patients(store_txn *t, og_arena *a, og_str after, size_t max, const og_str **ret,
                         size_t *ret_count, og_error *err)
{
    return list_patients(t, a, after, max, false, ret, ret_count, err);
}

og_status store_all_patients(store_txn *t, og_arena *a, og_str after, size_t max,
                             const og_str **ret, size_t *ret_count, og_error *err)
{
    return list_patients(t, a, after, max, true, ret, ret_count, err);
}

static og_status add_referrer(void *ctx, og_str k, og_str value, og_error *err)
{
    names *l = ctx;
    (void)value;
    og_str patient = until_zero(og_str_from(k, l->prefix));
    if (l->count > 0 && og_str_eq(l->at[l->count - 1], patient))
        return OG_OK;
    return names_add(l, patient, err);
}

/* Of feedback: the beginning of the card's name. */
static og_str name_in_index(og_str type_id)
{
    size_t n = sizeof STORE_FEEDBACK "/" - 1 + PLAN_ALERT_MARK;
    bool cut = og_str_starts(type_id, OG_STR(STORE_FEEDBACK "/")) && type_id.n > n;
    return cut ? (og_str){type_id.p, n} : type_id;
}

og_status store_referrers(store_txn *t, og_arena *a, og_str type_id, og_str after, size_t max,
                          const og_str **ret, size_t *ret_count, og_error *err)
{
    names l = {.a = a, .max = max};
    key k = {.n = 0};
    key_add(&k, name_in_index(type_id));
    key_zero(&k);
    l.prefix = k.n;
    key from = k;
    key_add(&from, after);
    if (after.n > 0)
        key_add(&from, OG_STR("\1")); /* behind every row of `after` */
    og_status status =
        kv_scan(t, STORE_REFERENCE, key_str(&from), key_str(&k), add_referrer, &l, err);
    if (status != OG_OK)
        return status;
    *ret = l.at;
    *ret_count = l.count;
    return OG_OK;
}

typedef struct each_ctx {
    store_visit *fn;
    void *ctx;
} each_ctx;

static og_status visit_resource(void *ctx, og_str k, og_str value, og_error *err)
{
    const each_ctx *e = ctx;
    head h;
    og_str image, patient = store_patient_of(k);
    if (!store_row_is(k, STORE_ROW_RESOURCE))
        return OG_OK;
    if (!read_head(value, &h, &image))
        return og_fail(err, OG_CORRUPT, "a stored resource has an unknown form");
    return e->fn(e->ctx, patient, og_str_from(k, patient.n + 1), &h.source.order, h.deleted, err);
}

og_status store_each_resource(store_txn *t, store_visit *fn, void *ctx, og_error *err)
{
    each_ctx e = {fn, ctx};
    return kv_scan(t, STORE_PATIENT, (og_str){NULL, 0}, (og_str){NULL, 0}, visit_resource, &e, err);
}

/* ---- alerts ---- */

typedef struct alerts {
    og_arena *a;
    plan_alert *at;
    size_t count, cap;
} alerts;

static og_status read_alert(og_arena *a, og_str packed, plan_alert *ret, og_error *err)
{
    og_str text;
    og_status status = packed_read(a, packed, &text, err);
    return status == OG_OK ? plan_alert_read(a, text, ret, err) : status;
}

static og_status add_alert(void *ctx, og_str k, og_str value, og_error *err)
{
    alerts *l = ctx;
    (void)k;
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 8 : l->cap * 2;
        l->at = og_arena_grow(l->a, l->at, l->cap * sizeof *l->at, cap * sizeof *l->at);
        if (l->at == NULL)
            return og_fail(err, OG_NOMEM, "no memory for the patient's alerts");
        l->cap = cap;
    }
    og_status status = read_alert(l->a, value, &l->at[l->count], err);
    if (status == OG_OK)
        l->count++;
    return status;
}

static og_status read_alerts(store_txn *t, og_arena *a, const key *prefix, const plan_alert **ret,
                             size_t *ret_count, og_error *err)
{
    alerts l = {.a = a};
    og_status status =
        kv_scan(t, STORE_PATIENT, key_str(prefix), key_str(prefix), add_alert, &l, err);
    if (status != OG_OK)
        return status;
    *ret = l.at;
    *ret_count = l.count;
    return OG_OK;
}

og_status store_alerts(store_txn *t, og_arena *a, og_str patient, const plan_alert **ret,
                       size_t *ret_count, og_error *err)
{
    key k;
    key_rows(&k, patient, STORE_ROW_ALERT);
    return read_alerts(t, a, &k, ret, ret_count, err);
}

og_status store_shown(store_txn *t, og_arena *a, og_str patient, const plan_alert **ret,
                      size_t *ret_count, og_error *err)
{
    key k;
    key_rows(&k, patient, STORE_ROW_SHOWN);
    return read_alerts(t, a, &k, ret, ret_count, err);
}

og_status store_alert(store_txn *t, og_arena *a, og_str patient, const char *alert_id,
                      plan_alert *ret, og_error *err)
{
    key k;
    og_str value;
    key_alert(&k, patient, alert_id);
    og_status status = kv_get(t, STORE_PATIENT, key_str(&k), &value, err);
    if (status == OG_NOTFOUND) {
        key_shown(&k, patient, alert_id);
        status = kv_get(t, STORE_PATIENT, key_str(&k), &value, err);
    }
    return status == OG_OK ? read_alert(a, value, ret, err) : status;
}

void store_former_finding_uuid(const char *alert_id, uint64_t material, char out[UUID_TEXT])
{
    char name[80];
    int n = snprintf(name, sizeof name, "%s|hook|%016llx", alert_id, (unsigned long long)material);
    uuid_of_name((og_str){name, (size_t)n}, out);
}

void store_finding_uuid(const char *alert_id, uint64_t material, char out[UUID_TEXT])
{
    store_former_finding_uuid(alert_id, material, out);
    plan_alert_mark_name(alert_id, out);
}

/* All cards of a name's beginning have one row in the index: it stays from revision to revision. */
static og_status change_feedback_row(store_txn *t, og_str patient, const plan_alert *alert,
                                     const char *name, bool remove, og_error *err)
{
    char text[sizeof STORE_FEEDBACK "/" + PLAN_ALERT_MARK];
    reference_row row = {t, patient, OG_STR("Alert"), og_str_of(alert->id), remove};
    int n = snprintf(text, sizeof text, STORE_FEEDBACK "/%.*s", PLAN_ALERT_MARK, name);
    return change_reference_row(&row, (og_str){text, (size_t)n}, err);
}

static bool begin_alike(const char *a, const char *b)
{
    return og_str_eq((og_str){a, PLAN_ALERT_MARK}, (og_str){b, PLAN_ALERT_MARK});
}

/* A card that an older version named begins as it likes. */
static og_status keep_feedback_rows(store_txn *t, og_str patient, bool known, const plan_alert *old,
                                    const plan_alert *alert, og_error *err)
{
    og_status status = OG_OK;
    if (!known)
        status = change_feedback_row(t, patient, alert, alert->id, false, err);
    else if (begin_alike(old->card_uuid, alert->card_uuid))
        return OG_OK;
    else if (!begin_alike(old->card_uuid, old->id))
        status = change_feedback_row(t, patient, old, old->card_uuid, true, err);
    if (status == OG_OK && !begin_alike(alert->card_uuid, alert->id))
        status = change_feedback_row(t, patient, alert, alert->card_uuid, false, err);
    return status;
}

og_status store_put_alert_text(store_txn *t, og_arena *a, og_str patient, const plan_alert *alert,
                               og_str text, og_error *err)
{
    key k;
    plan_alert old = {0};
    bool shown = alert->state == PLAN_ALERT_SHOWN;
    og_status status = store_alert(t, a, patient, alert->id, &old, err);
    if (status == OG_OK || status == OG_NOTFOUND)
        status = keep_feedback_rows(t, patient, status == OG_OK, &old, alert, err);
    if (status != OG_OK)
        return status;
    if (shown)
        key_shown(&k, patient, alert->id);
    else
        key_alert(&k, patient, alert->id);
    char *packed = og_arena_alloc(a, packed_most(text.n));
    if (packed == NULL)
        return og_fail(err, OG_NOMEM, "no memory for an alert");
    return kv_put(t, STORE_PATIENT, key_str(&k), (og_str){packed, packed_write(text, packed)}, err);
}

og_status store_put_alert(store_txn *t, og_arena *a, og_str patient, const plan_alert *alert,
                          og_error *err)
{
    og_str text = plan_alert_write(a, alert);
    return text.p != NULL ? store_put_alert_text(t, a, patient, alert, text, err)
                          : og_fail(err, OG_NOMEM, "no memory for an alert");
}

og_status store_forget_shown(store_txn *t, og_arena *a, og_str patient, const char *id,
                             og_error *err)
{
    key k;
    plan_alert shown = {.state = PLAN_ALERT_ACTIVE};
    og_status status = store_alert(t, a, patient, id, &shown, err);
    if (status != OG_OK || shown.state != PLAN_ALERT_SHOWN)
        return status == OG_NOTFOUND ? OG_OK : status;
    status = change_feedback_row(t, patient, &shown, id, true, err);
    key_shown(&k, patient, id);
    return status == OG_OK ? kv_delete(t, STORE_PATIENT, key_str(&k), err) : status;
}

/* ---- notes ---- */

/* A note lies beside the patient's alerts, mostly on a page that an evaluation writes anyway. In
 * parts, because a row that is longer would have pages of its own; all are full but the last. */
#define NOTE_PART  1024
#define NOTE_PARTS (NOTE_MAX_BYTES / NOTE_PART)

static void key_note(key *k, og_str patient, size_t part)
{
    char number = (char)part;
    key_rows(k, patient, STORE_ROW_NOTE);
    key_add(k, (og_str){&number, 1});
}

static og_status add_note_part(store_txn *t, og_arena *a, og_str patient, size_t part, og_str *note,
                               og_error *err)
{
    key k;
    og_str value;
    key_note(&k, patient, part);
    og_status status = kv_get(t, STORE_PATIENT, key_str(&k), &value, err);
    if (status != OG_OK)
        return status;
    char *all = og_arena_grow(a, (void *)(uintptr_t)note->p, note->n, note->n + value.n);
    if (all == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a note");
    memcpy(all + note->n, value.p, value.n);
    *note = (og_str){all, note->n + value.n};
    return value.n < NOTE_PART ? OG_NOTFOUND : OG_OK;
}

og_status store_get_note(store_txn *t, og_arena *a, og_str patient, og_str *ret, og_error *err)
{
    og_str note = {NULL, 0};
    og_error why;
    og_error_init(&why);
    og_status status = OG_OK;
    for (size_t part = 0; status == OG_OK && part < NOTE_PARTS; part++)
        status = add_note_part(t, a, patient, part, &note, &why);
    if (status == OG_CORRUPT)
        note.n = 0;
    else if (status != OG_OK && status != OG_NOTFOUND) {
        *err = why;
        return status;
    }
    *ret = note;
    return OG_OK;
}

og_status store_put_note(store_txn *t, og_str patient, og_str note, og_error *err)
{
    key k;
    og_str value;
    size_t part = 0;
    og_status status = OG_OK;
    if (note.n > NOTE_MAX_BYTES)
        return og_fail(err, OG_LIMIT, "a note has %zu bytes", note.n);
    for (; status == OG_OK && part * NOTE_PART < note.n; part++) {
        og_str rest = og_str_from(note, part * NOTE_PART);
        key_note(&k, patient, part);
        if (rest.n > NOTE_PART)
            rest.n = NOTE_PART;
        status = kv_put(t, STORE_PATIENT, key_str(&k), rest, err);
    }
    for (; status == OG_OK && part < NOTE_PARTS; part++) { /* of a longer one before */
        key_note(&k, patient, part);
        status = kv_get(t, STORE_PATIENT, key_str(&k), &value, NULL);
        if (status == OG_OK || status == OG_CORRUPT)
            status = kv_delete(t, STORE_PATIENT, key_str(&k), err);
    }
    return status == OG_NOTFOUND ? OG_OK : status;
}

/* ---- dirty, due ---- */

og_status store_mark_dirty(store_txn *t, og_str patient, int64_t offset, og_error *err)
{
    og_str row;
    og_status status = kv_get(t, STORE_DIRTY, patient, &row, err);
    if (status == OG_OK)
        return OG_OK; /* the first offset stands */
    return status == OG_NOTFOUND ? put_int(t, STORE_DIRTY, patient, offset, err) : status;
}

og_status store_clear_dirty(store_txn *t, og_str patient, bool *ret_was, og_error *err)
{
    og_str row;
    og_status status = kv_get(t, STORE_DIRTY, patient, &row, err);
    *ret_was = status == OG_OK;
    if (status != OG_OK)
        return status == OG_NOTFOUND ? OG_OK : status;
    return kv_delete(t, STORE_DIRTY, patient, err);
}

og_status store_dirty_count(store_txn *t, uint64_t *ret, og_error *err)
{
    return kv_count(t, STORE_DIRTY, ret, err);
}

og_status store_set_review(store_txn *t, og_str patient, int64_t due_ms, og_error *err)
{
    key k, row;
    int64_t old = 0;
    key_rows(&row, patient, STORE_ROW_REVIEW);
    og_status status = get_int(t, STORE_PATIENT, key_str(&row), &old, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    if (status == OG_NOTFOUND && due_ms == 0)
        return OG_OK;
    if (status == OG_OK) {
        if (old == due_ms)
            return OG_OK;
        key_due(&k, old, patient);
        status = kv_delete(t, STORE_DUE, key_str(&k), err);
        if (status != OG_OK)
            return status;
    }
    if (due_ms == 0)
        return kv_delete(t, STORE_PATIENT, key_str(&row), err);
    key_due(&k, due_ms, patient);
    status = kv_put(t, STORE_DUE, key_str(&k), OG_STR(""), err);
    return status == OG_OK ? put_int(t, STORE_PATIENT, key_str(&row), due_ms, err) : status;
}

static og_status add_due(void *ctx, og_str k, og_str value, og_error *err)
{
    names *l = ctx;
    (void)value;
    if (k.n <= 8)
        return og_fail(err, OG_CORRUPT, "a row of the timer index has no patient");
    if (due_of_key(k) > l->now_ms)
        return OG_AGAIN;
    return names_add(l, og_str_from(k, 8), err);
}

og_status store_due(store_txn *t, og_arena *a, int64_t now_ms, size_t max, const og_str **ret,
                    size_t *ret_count, og_error *err)
{
    names l = {.a = a, .max = max, .now_ms = now_ms};
    og_status status =
        kv_scan(t, STORE_DUE, (og_str){NULL, 0}, (og_str){NULL, 0}, add_due, &l, err);
    if (status != OG_OK)
        return status;
    *ret = l.at;
    *ret_count = l.count;
    return OG_OK;
}

static og_status first_due(void *ctx, og_str k, og_str value, og_error *err)
{
    int64_t *ret = ctx;
    (void)value;
    if (k.n <= 8)
        return og_fail(err, OG_CORRUPT, "a row of the timer index has no patient");
    *ret = due_of_key(k);
    return OG_AGAIN;
}

og_status store_next_due(store_txn *t, int64_t *ret, og_error *err)
{
    int64_t due = 0;
    og_status status =
        kv_scan(t, STORE_DUE, (og_str){NULL, 0}, (og_str){NULL, 0}, first_due, &due, err);
    if (status == OG_OK)
        *ret = due;
    return status;
}

/* ---- what changed on the shared topic ---- */

og_status store_note_change(store_txn *t, og_str type_id, int64_t next, og_error *err)
{
    return store_set_review(t, type_id, next, err);
}

og_status store_changes(store_txn *t, og_arena *a, int64_t after, size_t max, const og_str **ret,
                        size_t *ret_count, int64_t *ret_last, og_error *err)
{
    names l = {.a = a, .max = max, .now_ms = INT64_MAX};
    key from;
    key_due(&from, after + 1, OG_STR(""));
    og_status status = kv_scan(t, STORE_DUE, key_str(&from), (og_str){NULL, 0}, add_due, &l, err);
    if (status != OG_OK)
        return status;
    *ret = l.at;
    *ret_count = l.count;
    *ret_last = after;
    if (l.count == 0)
        return OG_OK;
    key row;
    key_rows(&row, l.at[l.count - 1], STORE_ROW_REVIEW);
    return get_int(t, STORE_PATIENT, key_str(&row), ret_last, err);
}

/* ---- the rest ---- */

og_status store_meta_int(store_txn *t, const char *name, int64_t *ret, og_error *err)
{
    return get_int(t, STORE_META, og_str_of(name), ret, err);
}

og_status store_set_meta_int(store_txn *t, const char *name, int64_t value, og_error *err)
{
    return put_int(t, STORE_META, og_str_of(name), value, err);
}

og_status store_meta(store_txn *t, const char *name, og_str *ret, og_error *err)
{
    return kv_get(t, STORE_META, og_str_of(name), ret, err);
}

og_status store_set_meta(store_txn *t, const char *name, og_str value, og_error *err)
{
    return kv_put(t, STORE_META, og_str_of(name), value, err);
}

static key sequence_key(og_str endpoint, og_str patient)
{
    key k;
    key_rows(&k, patient, STORE_ROW_SEQUENCE);
    key_add(&k, endpoint);
    return k;
}

og_status store_next_sequence(store_txn *t, const char *endpoint, og_str patient, int64_t *ret,
                              og_error *err)
{
    key k = sequence_key(og_str_of(endpoint), patient);
    int64_t last = 0;
    og_status status = get_int(t, STORE_PATIENT, key_str(&k), &last, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    status = put_int(t, STORE_PATIENT, key_str(&k), last + 1, err);
    if (status == OG_OK)
        *ret = last + 1;
    return status;
}

og_status store_raise_sequence(store_txn *t, og_str endpoint, og_str patient, int64_t last,
                               og_error *err)
{
    key k = sequence_key(endpoint, patient);
    int64_t had = 0;
    og_status status = get_int(t, STORE_PATIENT, key_str(&k), &had, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    return had >= last ? OG_OK : put_int(t, STORE_PATIENT, key_str(&k), last, err);
}
