/* One table: number (8 bytes, big-endian) → lengths, route, key, value. Numbers only grow, so that
 * errands leave in the order in which they were made. */
#include "daemon/errand.h"

#include <stdlib.h>

#define NEXT      "next_errand"
#define MAX_VALUE ((size_t)256 << 20)

typedef struct lengths {
    uint32_t route_n, key_n, removal, unused;
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

static og_status add(store_txn *t, const og_buf *route, const og_buf *key, const og_buf *value,
                     bool removal, og_error *err)
{
    char row[8];
    og_buf all;
    lengths n = {(uint32_t)route->n, (uint32_t)key->n, removal, 0};
    og_buf_init(&all, MAX_VALUE);
    og_buf_adds(&all, (og_str){(const char *)&n, sizeof n});
    og_buf_adds(&all, og_buf_str(route));
    og_buf_adds(&all, og_buf_str(key));
    og_buf_adds(&all, og_buf_str(value));
    og_status status =
        og_buf_failed(route) || og_buf_failed(key) || og_buf_failed(value) || og_buf_failed(&all)
            ? og_fail(err, OG_NOMEM, "no memory for an errand")
            : next_row(t, row, err);
    if (status == OG_OK)
        status = kv_put(t, STORE_ERRAND, (og_str){row, sizeof row}, og_buf_str(&all), err);
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

static og_status add_and_done(store_txn *t, buffers *b, bool removal, og_error *err)
{
    og_status status = add(t, &b->route, &b->key, &b->value, removal, err);
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
    return add_and_done(t, &b, false, err);
}

og_status errand_place(store_txn *t, const record *r, og_error *err)
{
    buffers b;
    buffers_init(&b);
    record_write_place_key(&b.route, r->type, r->id);
    record_write_place_key(&b.key, r->type, r->id);
    record_write_place_value(&b.value, r);
    return add_and_done(t, &b, false, err);
}

og_status errand_removal(store_txn *t, og_str key, og_error *err)
{
    buffers b;
    buffers_init(&b);
    og_buf_adds(&b.key, key);
    return add_and_done(t, &b, true, err);
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
    return kv_delete(t, STORE_ERRAND, row, err);
}

og_status errand_count(store_txn *t, uint64_t *ret, og_error *err)
{
    return kv_count(t, STORE_ERRAND, ret, err);
}
