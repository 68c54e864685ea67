/* One row for each Type/id: what its place says on the topic. The row is the greatest of what was
 * said, whatever the order in which it came. */
#include "daemon/place.h"

#include "daemon/errand.h"
#include "daemon/kv_key.h"
#include "daemon/source.h"

/* A row: whether it is deleted and untimed, its source (source.h), the id of the patient as keys
 * are packed. */
#define ROW_DELETED 1
#define ROW_UNTIMED 2

/* Its key: Type/id out of the key on the topic. */
static og_str row_of(og_str key)
{
    return og_str_from(key, sizeof RECORD_PLACE - 1);
}

static og_status write_row(store_txn *t, og_arena *a, og_str key, const record *r, og_error *err)
{
    char *value = og_arena_alloc(a, 1 + source_most(r) + 2 * r->patient.n);
    if (value == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a place");
    value[0] = (char)((r->deleted ? ROW_DELETED : 0) | (r->untimed ? ROW_UNTIMED : 0));
    size_t n = 1 + source_put(value + 1, r);
    n += kv_key_pack(r->patient, value + n);
    return kv_put(t, STORE_PLACE, row_of(key), (og_str){value, n}, err);
}

static og_status read_row(store_txn *t, og_arena *a, og_str key, record *ret, og_error *err)
{
    og_str value, type_id = row_of(key);
    ptrdiff_t slash = og_str_find(type_id, '/');
    record r = {0};
    og_status status = kv_get(t, STORE_PLACE, type_id, &value, err);
    if (status != OG_OK)
        return status;
    og_str rest = og_arena_str(a, og_str_from(value, 1)); /* what it says outlives the row */
    char *room = og_arena_alloc(a, RECORD_MAX_PATIENT);
    if (rest.p == NULL || room == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a place");
    if (slash < 0 || value.n == 0 || !source_take(&rest, &r))
        return og_fail(err, OG_CORRUPT, "a stored place is none");
    r.type = (og_str){type_id.p, (size_t)slash};
    r.id = og_str_from(type_id, (size_t)slash + 1);
    r.patient = kv_key_unpack(rest, room, RECORD_MAX_PATIENT);
    if (r.patient.p == NULL)
        return og_fail(err, OG_CORRUPT, "a stored place is none");
    r.deleted = (value.p[0] & ROW_DELETED) != 0;
    r.untimed = (value.p[0] & ROW_UNTIMED) != 0;
    *ret = r;
    return OG_OK;
}

static og_status send_tombstone(store_txn *t, og_str tenant, og_str patient, const record *newer,
                                place_applied *ret, og_error *err)
{
    record gone = *newer;
    if (patient.n == 0)
        return OG_OK;
    gone.tenant = tenant;
    gone.patient = patient;
    gone.deleted = true;
    *ret = PLACE_SENT;
    return errand_record(t, &gone, err);
}

/* r is the newest, had was. */
static og_status replace(store_txn *t, og_arena *a, og_str tenant, og_str key, const record *had,
                         const record *r, place_applied *ret, og_error *err)
{
    og_status status = OG_OK;
    if (!had->deleted && (r->deleted || !og_str_eq(had->patient, r->patient)))
        status = send_tombstone(t, tenant, had->patient, r, ret, err);
    return status == OG_OK ? write_row(t, a, key, r, err) : status;
}

/* r is older than had, and stands behind it in the topic. */
static og_status outlive(store_txn *t, og_arena *a, og_str tenant, og_str key, const record *had,
                         const record *r, place_applied *ret, og_error *err)
{
    og_status status = OG_OK;
    if (!r->deleted && (had->deleted || !og_str_eq(had->patient, r->patient)))
        status = send_tombstone(t, tenant, r->patient, had, ret, err);
    if (status == OG_OK)
        status = write_row(t, a, key, had, err);
    return status == OG_OK ? errand_place(t, had, err) : status;
}

static bool is_same(const record *a, const record *b)
{
    return record_order_cmp(&a->order, &b->order) == 0 && a->deleted == b->deleted &&
           og_str_eq(a->patient, b->patient);
}

og_status place_apply(store_txn *t, og_arena *scratch, og_str tenant, const record *r,
                      place_applied *ret, og_error *err)
{
    record had = {0}, now = *r;
    place_applied applied = PLACE_NOTED;
    og_str key =
        og_arena_printf(scratch, RECORD_PLACE "%.*s/%.*s", OG_STR_ARG(r->type), OG_STR_ARG(r->id));
    og_status status = key.p != NULL ? read_row(t, scratch, key, &had, err)
                                     : og_fail(err, OG_NOMEM, "no memory for a place");
    if (status == OG_NOTFOUND) {
        applied = r->patient.n == 0 ? PLACE_WAITING : PLACE_NOTED;
        if (r->deleted) /* of a Patient, whom nobody else tells */
            status = send_tombstone(t, tenant, r->patient, r, &applied, err);
        else
            status = OG_OK;
        if (status == OG_OK)
            status = write_row(t, scratch, key, &now, err);
    } else if (status == OG_OK && is_same(r, &had)) {
        status = errand_place_said(t, key, err);
    } else if (status == OG_OK) {
        if (now.deleted)
            record_outdo(&now, &had);
        else if (had.deleted)
            record_outdo(&had, &now);
        if (record_order_cmp(&now.order, &had.order) < 0) {
            status = outlive(t, scratch, tenant, key, &had, &now, &applied, err);
        } else {
            status = errand_place_said(t, key, err);
            if (status == OG_OK)
                status = replace(t, scratch, tenant, key, &had, &now, &applied, err);
        }
    }
    if (status == OG_OK)
        *ret = applied;
    return status;
}

og_status place_version(store_txn *t, og_arena *scratch, og_str key, record_order *ret,
                        bool *ret_deleted, og_error *err)
{
    record had = {0};
    og_status status = read_row(t, scratch, key, &had, err);
    if (status != OG_OK)
        return status;
    *ret = had.order;
    *ret_deleted = had.deleted;
    return OG_OK;
}

og_status place_remove(store_txn *t, og_str key, og_error *err)
{
    return kv_delete(t, STORE_PLACE, row_of(key), err);
}

og_status place_reassert(store_txn *t, og_arena *scratch, og_str key, og_error *err)
{
    record had = {0};
    og_status status = read_row(t, scratch, key, &had, err);
    return status == OG_OK ? errand_place(t, &had, err) : status;
}

typedef struct each {
    place_visit *fn;
    void *ctx;
} each;

static og_status visit_row(void *ctx, og_str key, og_str value, og_error *err)
{
    const each *e = ctx;
    ptrdiff_t slash = og_str_find(key, '/');
    if (slash < 0 || value.n == 0)
        return og_fail(err, OG_CORRUPT, "a stored place is none");
    if ((value.p[0] & ROW_DELETED) != 0)
        return OG_OK;
    return e->fn(e->ctx, (og_str){key.p, (size_t)slash}, og_str_from(key, (size_t)slash + 1), err);
}

og_status place_each(store_txn *t, place_visit *fn, void *ctx, og_error *err)
{
    each e = {fn, ctx};
    return kv_scan(t, STORE_PLACE, (og_str){NULL, 0}, (og_str){NULL, 0}, visit_row, &e, err);
}
