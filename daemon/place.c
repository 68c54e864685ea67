/* One row for each Type/id: the value that its place has on the topic. The row is the greatest of
 * what was said, whatever the order in which it came. */
#include "daemon/place.h"

#include "daemon/errand.h"

static og_status write_row(store_txn *t, const record *r, bool tell, og_error *err)
{
    og_buf key, value;
    og_buf_init(&key, 2048);
    og_buf_init(&value, 8192);
    record_write_place_key(&key, r->type, r->id);
    record_write_place_value(&value, r);
    og_status status = og_buf_failed(&key) || og_buf_failed(&value)
                           ? og_fail(err, OG_NOMEM, "no memory for a place")
                           : kv_put(t, STORE_PLACE, og_buf_str(&key), og_buf_str(&value), err);
    og_buf_done(&key);
    og_buf_done(&value);
    return status == OG_OK && tell ? errand_place(t, r, err) : status;
}

static og_status read_row(store_txn *t, og_arena *a, og_str key, record *ret, og_error *err)
{
    og_str value;
    og_status status = kv_get(t, STORE_PLACE, key, &value, err);
    if (status != OG_OK)
        return status;
    value = og_arena_str(a, value);
    if (value.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a place");
    status = record_read_place(a, key, value, ret, err);
    return status == OG_SYNTAX || status == OG_INVALID
               ? og_fail(err, OG_CORRUPT, "a stored place is none")
               : status;
}

/* A delete without a time of its own is newer than what arrived before it, also when the sender's
 * clock was ahead. */
static void outdo(record *gone, const record *had)
{
    if (gone->untimed && !had->deleted && gone->order.epoch == had->order.epoch &&
        gone->order.time_us <= had->order.time_us && had->order.time_us < INT64_MAX &&
        record_came_before(&had->order, had->timestamp_ms, &gone->order, gone->timestamp_ms))
        gone->order.time_us = had->order.time_us + 1;
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
static og_status replace(store_txn *t, og_str tenant, const record *had, const record *r,
                         place_applied *ret, og_error *err)
{
    og_status status = OG_OK;
    if (!had->deleted && (r->deleted || !og_str_eq(had->patient, r->patient)))
        status = send_tombstone(t, tenant, had->patient, r, ret, err);
    return status == OG_OK ? write_row(t, r, false, err) : status;
}

/* r is older than had, and stands behind it in the topic. */
static og_status outlive(store_txn *t, og_str tenant, const record *had, const record *r,
                         place_applied *ret, og_error *err)
{
    og_status status = OG_OK;
    if (!r->deleted && (had->deleted || !og_str_eq(had->patient, r->patient)))
        status = send_tombstone(t, tenant, r->patient, had, ret, err);
    return status == OG_OK ? write_row(t, had, true, err) : status;
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
        if (r->deleted) /* whoever said so may not have been able to tell the patient */
            status = send_tombstone(t, tenant, r->patient, r, &applied, err);
        else
            status = OG_OK;
        if (status == OG_OK)
            status = write_row(t, &now, false, err);
    } else if (status == OG_OK && is_same(r, &had)) {
        status = errand_place_said(t, key, err);
    } else if (status == OG_OK) {
        if (now.deleted)
            outdo(&now, &had);
        else if (had.deleted)
            outdo(&had, &now);
        if (record_order_cmp(&now.order, &had.order) < 0) {
            status = outlive(t, tenant, &had, &now, &applied, err);
        } else {
            status = errand_place_said(t, key, err);
            if (status == OG_OK)
                status = replace(t, tenant, &had, &now, &applied, err);
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

og_status place_reassert(store_txn *t, og_arena *scratch, og_str key, og_error *err)
{
    record had = {0};
    og_status status = read_row(t, scratch, key, &had, err);
    return status == OG_OK ? errand_place(t, &had, err) : status;
}
