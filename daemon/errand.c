/* One table: row → lengths, route, key, value. The row of most is a number (8 bytes, big-endian);
 * numbers only grow, so that errands leave in the order in which they were made. Of a place only
 * the newest has to be said: its row, behind the numbers, is PLACE_ROW and the place's Type/id. */
#include "daemon/errand.h"

#include <stdlib.h>

#define NEXT      "next_errand"
#define MAX_VALUE ((size_t)256 << 20)
#define PLACE_ROW '\xff'
#define MAX_ROW   (KV_MAX_KEY + sizeof(uint32_t))

typedef struct lengths {
    uint32_t route_n, key_n, removal;
    uint32_t number; /* of a place: which errand of this row it is */
} lengths;

static og_status next_row(store_txn *t, char ret[8], og_error *err)
{
    int64_t next = 0;
    og_status status = store_meta_int(t, NEXT, &next, err);
    if (status != OG_OK && status != OG_NOTFOUND)
        return status;
    for (int i = 0; i < 8; i++)
        ret[i] = (char)(unsigned char)((uint64_t)next >> (56 - 8 * i));
    return store_set_meta_int(t, NEXT, next + 1, err);
}

/* PLACE_ROW and Type/id of its key on the topic; ret has room for MAX_ROW. */
static og_str place_row(og_str key, char *ret)
{
    size_t lead = sizeof RECORD_PLACE - 1, n = key.n - lead;
    if (n > KV_MAX_KEY - 1) /* no Type/id that is recorded is as long as that */
        n = KV_MAX_KEY - 1;
    ret[0] = PLACE_ROW;
    memcpy(ret + 1, key.p + lead, n);
    return (og_str){ret, n + 1};
}

static uint32_t number_of(const char row[8])
{
    uint32_t n = 0;
    for (int i = 4; i < 8; i++)
        n = n << 8 | (unsigned char)row[i];
    return n;
}

static og_status add(store_txn *t, const og_buf *route, const og_buf *key, const og_buf *value,
                     bool removal, bool place, og_error *err)
{
    char row[8], named[MAX_ROW];
    og_buf all;
    lengths n = {(uint32_t)route->n, (uint32_t)key->n, removal, 0};
    og_str at = {row, sizeof row};
    if (og_buf_failed(route) || og_buf_failed(key) || og_buf_failed(value))
        return og_fail(err, OG_NOMEM, "no memory for an errand");
    og_status status = next_row(t, row, err);
    if (status != OG_OK)
        return status;
    if (place) {
        at = place_row(og_buf_str(key), named);
        n.number = number_of(row);
    }
    og_buf_init(&all, MAX_VALUE);
    og_buf_adds(&all, (og_str){(const char *)&n, sizeof n});
    og_buf_adds(&all, og_buf_str(route));
    og_buf_adds(&all, og_buf_str(key));
    og_buf_adds(&all, og_buf_str(value));
    status = og_buf_failed(&all) ? og_fail(err, OG_NOMEM, "no memory for an errand")
                                 : kv_put(t, STORE_ERRAND, at, og_buf_str(&all), err);
    og_buf_done(&all);
    return status;
}

typedef struct buffers {
    og_buf route, key, value;
} buffers;

static void buffers_init(buffers *b)
{
    og_buf_init(&b->route, 2048);
    og_buf_init(&b->key, 2048);
    og_buf_init(&b->value, MAX_VALUE);
}

static og_status add_and_done(store_txn *t, buffers *b, bool removal, bool place, og_error *err)
{
    og_status status = add(t, &b->route, &b->key, &b->value, removal, place, err);
    og_buf_done(&b->route);
    og_buf_done(&b->key);
    og_buf_done(&b->value);
    return status;
}

og_status errand_record(store_txn *t, const record *r, og_error *err)
{
    buffers b;
    buffers_init(&b);
    record_write_route(&b.route, r->tenant, r->patient);
    record_write_key(&b.key, r);
    record_write_value(&b.value, r);
    return add_and_done(t, &b, false, false, err);
}

og_status errand_place(store_txn *t, const record *r, og_error *err)
{
    buffers b;
    buffers_init(&b);
    record_write_place_key(&b.route, r->type, r->id);
    record_write_place_key(&b.key, r->type, r->id);
    record_write_place_value(&b.value, r);
    return add_and_done(t, &b, false, true, err);
}

og_status errand_place_said(store_txn *t, og_str key, og_error *err)
{
    char row[MAX_ROW];
    return kv_delete(t, STORE_ERRAND, place_row(key, row), err);
}

og_status errand_removal(store_txn *t, og_str key, og_error *err)
{
    buffers b;
    buffers_init(&b);
    og_buf_adds(&b.key, key);
    return add_and_done(t, &b, true, false, err);
}

typedef struct collect {
    og_arena *a;
    errand *at;
    size_t count, max, bytes;
} collect;

static og_status collect_row(void *ctx, og_str k, og_str value, og_error *err)
{
    collect *c = ctx;
    lengths n;
    if (c->count == c->max || c->bytes > STORE_SEND_BYTES)
        return OG_AGAIN;
    c->bytes += value.n;
    if (value.n < sizeof n)
        return og_fail(err, OG_CORRUPT, "a stored errand is too short");
    memcpy(&n, value.p, sizeof n);
    if (value.n - sizeof n < (size_t)n.route_n + n.key_n)
        return og_fail(err, OG_CORRUPT, "a stored errand is too short");
    char named[MAX_ROW];
    if (k.p[0] == PLACE_ROW) {
        memcpy(named, k.p, k.n);
        memcpy(named + k.n, &n.number, sizeof n.number);
        k = (og_str){named, k.n + sizeof n.number};
    }
    og_str row = og_arena_str(c->a, k), all = og_arena_str(c->a, og_str_from(value, sizeof n));
    if (row.p == NULL || all.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for errands");
    errand *e = &c->at[c->count++];
    *e = (errand){.row = row, .route = {all.p, n.route_n}, .key = {all.p + n.route_n, n.key_n}};
    if (!n.removal)
        e->value = og_str_from(all, (size_t)n.route_n + n.key_n);
    return OG_OK;
}

og_status errand_list(store_txn *t, og_arena *a, size_t max, errand **ret, size_t *ret_count,
                      og_error *err)
{
    collect c = {.a = a, .at = og_arena_zalloc(a, max + 1, sizeof *c.at), .max = max};
    if (c.at == NULL)
        return og_fail(err, OG_NOMEM, "no memory for errands");
    og_status status =
        kv_scan(t, STORE_ERRAND, (og_str){NULL, 0}, (og_str){NULL, 0}, collect_row, &c, err);
    if (status != OG_OK)
        return status;
    *ret = c.at;
    *ret_count = c.count;
    return OG_OK;
}

og_status errand_done(store_txn *t, og_str row, og_error *err)
{
    lengths n;
    og_str value;
    if (row.n <= sizeof n.number || row.p[0] != PLACE_ROW)
        return kv_delete(t, STORE_ERRAND, row, err);
    og_str place = {row.p, row.n - sizeof n.number};
    og_status status = kv_get(t, STORE_ERRAND, place, &value, err);
    if (status != OG_OK)
        return status == OG_NOTFOUND ? OG_OK : status;
    if (value.n < sizeof n)
        return og_fail(err, OG_CORRUPT, "a stored errand is too short");
    memcpy(&n, value.p, sizeof n);
    bool same = memcmp(&n.number, row.p + place.n, sizeof n.number) == 0;
    return same ? kv_delete(t, STORE_ERRAND, place, err) : OG_OK; /* else there is more to say */
}

og_status errand_count(store_txn *t, uint64_t *ret, og_error *err)
{
    return kv_count(t, STORE_ERRAND, ret, err);
}
