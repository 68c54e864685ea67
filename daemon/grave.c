/* One table, two kinds of rows: moment (8 bytes, big-endian) and key on the topic → version, what
 * is to be removed one day; OPENED and key → version, what is being removed. */
#include "daemon/grave.h"

#include <inttypes.h>

#include "daemon/errand.h"
#include "daemon/place.h"

#define OPENED "opened " /* behind every moment until the year 250 million */

typedef struct version {
    char text[96];
} version;

static og_str version_of(const record_order *o, version *room)
{
    int n = snprintf(room->text, sizeof room->text, "%" PRId64 " %" PRId64 " %" PRId64 " %" PRIu32,
                     o->round, o->time_us, o->offset, o->entry);
    return (og_str){room->text, (size_t)n};
}

static og_status put(store_txn *t, const og_buf *key, og_str value, og_error *err)
{
    return og_buf_failed(key) ? og_fail(err, OG_NOMEM, "no memory for a tombstone")
                              : kv_put(t, STORE_GRAVE, og_buf_str(key), value, err);
}

static void add_moment(og_buf *out, int64_t ms)
{
    uint64_t moment = ms > 0 ? (uint64_t)ms : 0;
    for (int i = 0; i < 8; i++)
        og_buf_addc(out, (char)(unsigned char)(moment >> (56 - 8 * i)));
}

static int64_t moment_of(og_str row)
{
    uint64_t moment = 0;
    for (size_t i = 0; i < 8 && i < row.n; i++)
        moment = moment << 8 | (unsigned char)row.p[i];
    return moment > INT64_MAX ? INT64_MAX : (int64_t)moment;
}

static og_status note(store_txn *t, const record *r, int64_t logged_ms, bool place, og_error *err)
{
    og_buf key;
    version room;
    og_buf_init(&key, 4096);
    add_moment(&key, logged_ms);
    if (place)
        record_write_place_key(&key, r->type, r->id);
    else
        record_write_key(&key, r);
    og_status status = put(t, &key, version_of(&r->order, &room), err);
    og_buf_done(&key);
    return status;
}

og_status grave_note_record(store_txn *t, const record *r, int64_t logged_ms, og_error *err)
{
    return note(t, r, logged_ms, false, err);
}

og_status grave_note_place(store_txn *t, const record *r, int64_t logged_ms, og_error *err)
{
    return note(t, r, logged_ms, true, err);
}

/* The row of a record's key, tenant|patient|Type/id. A patient may hold '|' itself. */
static void row_of(og_str key, store_key *out)
{
    og_str rest = og_str_from(key, (size_t)(og_str_find(key, '|') + 1));
    size_t bar = 0;
    for (size_t i = 0; i < rest.n; i++)
        if (rest.p[i] == '|')
            bar = i;
    store_row_key(out, (og_str){rest.p, bar}, og_str_from(rest, bar + 1));
}

static og_status version_now(store_txn *t, og_arena *scratch, og_str key, version *room,
                             og_str *ret, bool *ret_deleted, og_error *err)
{
    record_order order;
    store_key row;
    og_status status;
    row_of(key, &row);
    if (record_is_place(key))
        status = place_version(t, scratch, key, &order, ret_deleted, err);
    else
        status = store_version(t, (og_str){row.p, row.n}, &order, ret_deleted, err);
    if (status == OG_OK)
        *ret = version_of(&order, room);
    return status;
}

typedef struct due {
    og_arena *a;
    og_str *rows, *versions;
    size_t count, max;
    int64_t before_ms;
} due;

static og_status add_due(void *ctx, og_str k, og_str value, og_error *err)
{
    due *d = ctx;
    if (d->count == d->max || k.n <= 8 || moment_of(k) >= d->before_ms)
        return OG_AGAIN;
    d->rows[d->count] = og_arena_str(d->a, k);
    d->versions[d->count] = og_arena_str(d->a, value);
    if (d->rows[d->count].p == NULL || d->versions[d->count].p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for tombstones");
    d->count++;
    return OG_OK;
}

static og_status opened_key(og_arena *a, og_str key, og_str *ret, og_error *err)
{
    *ret = og_arena_printf(a, OPENED "%.*s", OG_STR_ARG(key));
    return ret->p != NULL ? OG_OK : og_fail(err, OG_NOMEM, "no memory for a tombstone");
}

/* What is no longer as it was noted has a note of its own, or lives. */
static og_status open_one(store_txn *t, og_arena *a, og_str row, og_str noted, og_error *err)
{
    version room;
    og_str now = {NULL, 0}, key = og_str_from(row, 8), opened;
    bool deleted = false;
    og_status status = version_now(t, a, key, &room, &now, &deleted, err);
    if (status == OG_NOTFOUND || (status == OG_OK && (!deleted || !og_str_eq(now, noted))))
        return kv_delete(t, STORE_GRAVE, row, err);
    if (status == OG_OK)
        status = opened_key(a, key, &opened, err);
    if (status == OG_OK)
        status = kv_put(t, STORE_GRAVE, opened, noted, err);
    if (status == OG_OK)
        status = errand_removal(t, key, err);
    return status == OG_OK ? kv_delete(t, STORE_GRAVE, row, err) : status;
}

og_status grave_open(store_txn *t, og_arena *a, int64_t before_ms, size_t max, og_error *err)
{
    due d = {.a = a,
             .rows = og_arena_zalloc(a, max, sizeof(og_str)),
             .versions = og_arena_zalloc(a, max, sizeof(og_str)),
             .max = max,
             .before_ms = before_ms};
    if (d.rows == NULL || d.versions == NULL)
        return og_fail(err, OG_NOMEM, "no memory for tombstones");
    og_status status =
        kv_scan(t, STORE_GRAVE, (og_str){NULL, 0}, (og_str){NULL, 0}, add_due, &d, err);
    for (size_t i = 0; status == OG_OK && i < d.count; i++)
        status = open_one(t, a, d.rows[i], d.versions[i], err);
    return status;
}

static og_status write_again(store_txn *t, og_arena *scratch, og_str key, int64_t offset,
                             og_error *err)
{
    store_key row;
    if (record_is_place(key))
        return place_reassert(t, scratch, key, err);
    row_of(key, &row);
    return store_reassert(t, (og_str){row.p, row.n}, offset, err);
}

static og_status remove_row(store_txn *t, og_str key, og_error *err)
{
    store_key row;
    if (record_is_place(key))
        return place_remove(t, key, err);
    row_of(key, &row);
    og_status status = kv_delete(t, STORE_OUTGOING, (og_str){row.p, row.n}, err);
    return status == OG_OK ? kv_delete(t, STORE_PATIENT, (og_str){row.p, row.n}, err) : status;
}

/* Not ours: of an owner before us, who has not read it back. What lives here is newer than what was
 * to be removed, and stands before the removal, which compaction would let outlive it. What is
 * deleted here has a note, and its own removal one day. */
static og_status spare_living(store_txn *t, og_arena *scratch, og_str key, int64_t offset,
                              og_error *err)
{
    version room;
    og_str now;
    bool deleted = false;
    og_status status = version_now(t, scratch, key, &room, &now, &deleted, err);
    if (status != OG_OK)
        return status == OG_NOTFOUND ? OG_OK : status;
    return deleted ? OG_OK : write_again(t, scratch, key, offset, err);
}

og_status grave_close(store_txn *t, og_arena *scratch, og_str key, int64_t offset, bool decided,
                      bool *ret_gone, og_error *err)
{
    version room;
    og_str opened, value, now = {NULL, 0};
    bool deleted = false;
    og_status status = opened_key(scratch, key, &opened, err);
    if (status == OG_OK)
        status = kv_get(t, STORE_GRAVE, opened, &value, err);
    if (status == OG_NOTFOUND)
        return decided ? spare_living(t, scratch, key, offset, err) : OG_OK;
    if (status != OG_OK)
        return status;
    status = version_now(t, scratch, key, &room, &now, &deleted, err);
    if (status == OG_OK) {
        *ret_gone = deleted && og_str_eq(now, value);
        status = *ret_gone ? remove_row(t, key, err) : write_again(t, scratch, key, offset, err);
    }
    return status == OG_OK || status == OG_NOTFOUND ? kv_delete(t, STORE_GRAVE, opened, err)
                                                    : status;
}
