/* One row for each Type/id: what its place says on the topic. The row is the greatest of what was
 * said, whatever the order in which it came. */
#include "daemon/place.h"

#include "daemon/errand.h"

/* A row as it lies in the store (this machine's byte order: the store never travels); the name of
 * the source topic follows, the way of a copy, then the id of the patient. */
typedef struct row_head {
    int64_t round, time_us, offset, timestamp_ms;
    uint32_t epoch, order, entry, of;
    int32_t partition;
    uint16_t topic_n, via_n;
    uint8_t deleted, untimed, unused[6];
} row_head;

static og_status write_row(store_txn *t, const record *r, bool tell, og_error *err)
{
    row_head h = {.round = r->order.round,
                  .time_us = r->order.time_us,
                  .offset = r->order.offset,
                  .timestamp_ms = r->timestamp_ms,
                  .epoch = r->order.epoch,
                  .order = r->order.entry,
                  .entry = r->entry,
                  .of = r->of,
                  .partition = r->order.partition,
                  .topic_n = (uint16_t)r->topic.n,
                  .via_n = (uint16_t)r->via.n,
                  .deleted = r->deleted,
                  .untimed = r->untimed};
    og_buf key, value;
    if (r->topic.n > UINT16_MAX || r->via.n > UINT16_MAX)
        return og_fail(err, OG_LIMIT, "the source topic of a place has a name that is too long");
    og_buf_init(&key, 2048);
    og_buf_init(&value, sizeof h + (size_t)3 * UINT16_MAX);
    record_write_place_key(&key, r->type, r->id);
    og_buf_add(&value, &h, sizeof h);
    og_buf_adds(&value, r->topic);
    og_buf_adds(&value, r->via);
    og_buf_adds(&value, r->patient);
    og_status status = og_buf_failed(&key) || og_buf_failed(&value)
                           ? og_fail(err, OG_NOMEM, "no memory for a place")
                           : kv_put(t, STORE_PLACE, og_buf_str(&key), og_buf_str(&value), err);
    og_buf_done(&key);
    og_buf_done(&value);
    return status == OG_OK && tell ? errand_place(t, r, err) : status;
}

static og_status read_row(store_txn *t, og_arena *a, og_str key, record *ret, og_error *err)
{
    og_str value, type_id = og_str_from(key, strlen(RECORD_PLACE));
    ptrdiff_t slash = og_str_find(type_id, '/');
    row_head h = {0};
    og_status status = kv_get(t, STORE_PLACE, key, &value, err);
    if (status != OG_OK)
        return status;
    if (value.n >= sizeof h)
        memcpy(&h, value.p, sizeof h);
    if (slash < 0 || value.n < sizeof h + h.topic_n + h.via_n)
        return og_fail(err, OG_CORRUPT, "a stored place is none");
    og_str rest = og_arena_str(a, og_str_from(value, sizeof h));
    if (rest.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a place");
    *ret = (record){.patient = og_str_from(rest, (size_t)h.topic_n + h.via_n),
                    .type = {type_id.p, (size_t)slash},
                    .id = og_str_from(type_id, (size_t)slash + 1),
                    .via = {rest.p + h.topic_n, h.via_n},
                    .order = {.round = h.round,
                              .epoch = h.epoch,
                              .time_us = h.time_us,
                              .topic = og_crc32c(0, rest.p, h.topic_n),
                              .partition = h.partition,
                              .offset = h.offset,
                              .entry = h.order},
                    .topic = {rest.p, h.topic_n},
                    .timestamp_ms = h.timestamp_ms,
                    .entry = h.entry,
                    .of = h.of,
                    .deleted = h.deleted,
                    .untimed = h.untimed};
    return OG_OK;
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
