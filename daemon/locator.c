/* One table: Type/id → epoch, time, patient. The write transaction of the loop thread stays open
 * between puts and flush, within one turn of the loop; another thread that writes waits for it that
 * long. */
#include "daemon/locator.h"

#include <stdlib.h>

#define SCHEMA "osteoguard-locator-1"

struct locator {
    kv *kv;
    kv_txn *writing; /* of the loop thread */
};

typedef struct row_head {
    uint32_t epoch, unused;
    int64_t time_us;
} row_head;

static const char *const tables[] = {"patient"};

og_status locator_open(const char *dir, size_t map_bytes, const char *boot_id, locator **ret,
                       bool *ret_new, og_error *err)
{
    kv_options options = {.dir = dir,
                          .tables = tables,
                          .table_count = 1,
                          .map_bytes = map_bytes,
                          .schema = SCHEMA,
                          .boot_id = boot_id};
    og_error first;
    locator *l = calloc(1, sizeof *l);
    if (l == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the locator");
    og_error_init(&first);
    og_status status = kv_open(&options, &l->kv, &first);
    if (status == OG_CORRUPT) { /* it is only an index: begin anew */
        status = kv_discard(dir, err);
        if (status == OG_OK)
            status = kv_open(&options, &l->kv, err);
    } else if (status != OG_OK && err != NULL) {
        *err = first;
    }
    if (status != OG_OK) {
        free(l);
        return status;
    }
    *ret_new = kv_is_new(l->kv);
    *ret = l;
    return OG_OK;
}

void locator_close(locator *l)
{
    if (l == NULL)
        return;
    if (locator_flush(l, NULL) == OG_OK)
        kv_close(l->kv);
    else
        kv_abandon(l->kv); /* not closed well: the next open decides */
    free(l);
}

void locator_abandon(locator *l)
{
    if (l == NULL)
        return;
    kv_abort(l->writing);
    kv_abandon(l->kv);
    free(l);
}

static og_status get_row(kv_txn *t, og_str type_id, row_head *ret_head, og_str *ret_patient,
                         og_error *err)
{
    og_str value;
    og_status status = kv_get(t, 0, type_id, &value, err);
    if (status != OG_OK)
        return status;
    if (value.n <= sizeof *ret_head)
        return og_fail(err, OG_CORRUPT, "a row of the locator is too short");
    memcpy(ret_head, value.p, sizeof *ret_head);
    *ret_patient = og_str_from(value, sizeof *ret_head);
    return OG_OK;
}

/* OG_NOTFOUND: it is missing, or there with an older version and another patient. */
static og_status stands(kv_txn *t, og_str type_id, og_str patient, const record_order *order,
                        og_error *err)
{
    row_head head;
    og_str known;
    og_status status = get_row(t, type_id, &head, &known, err);
    if (status != OG_OK)
        return status;
    record_order had = {.epoch = head.epoch, .time_us = head.time_us};
    bool older = record_order_cmp_version(&had, order) <= 0;
    return older && !og_str_eq(known, patient) ? OG_NOTFOUND : OG_OK;
}

static og_status put_row(kv_txn *t, og_str type_id, og_str patient, const record_order *order,
                         og_error *err)
{
    char value[sizeof(row_head) + RECORD_MAX_PATIENT];
    row_head head = {.epoch = order->epoch, .time_us = order->time_us};
    if (patient.n > RECORD_MAX_PATIENT)
        return og_fail(err, OG_LIMIT, "the id of the patient is too long");
    memcpy(value, &head, sizeof head);
    memcpy(value + sizeof head, patient.p, patient.n);
    return kv_put(t, 0, type_id, (og_str){value, sizeof head + patient.n}, err);
}

og_status locator_get(locator *l, og_arena *a, og_str type_id, og_str *ret_patient, og_error *err)
{
    kv_txn *t = l->writing;
    row_head head;
    og_str patient;
    og_status status = t == NULL ? kv_begin(l->kv, false, &t, err) : OG_OK;
    if (status != OG_OK)
        return status;
    status = get_row(t, type_id, &head, &patient, err);
    if (status == OG_OK) {
        patient = og_arena_str(a, patient);
        if (patient.p == NULL)
            status = og_fail(err, OG_NOMEM, "no memory for the id of a patient");
    }
    if (l->writing == NULL)
        kv_abort(t);
    if (status == OG_OK)
        *ret_patient = patient;
    return status;
}

og_status locator_put(locator *l, og_str type_id, og_str patient, const record_order *order,
                      og_error *err)
{
    kv_txn *t = l->writing;
    og_status status = t == NULL ? kv_begin(l->kv, false, &t, err) : OG_OK;
    if (status != OG_OK)
        return status;
    status = stands(t, type_id, patient, order, err);
    if (l->writing == NULL)
        kv_abort(t);
    if (status != OG_NOTFOUND)
        return status;
    if (l->writing == NULL) {
        status = kv_begin(l->kv, true, &l->writing, err);
        if (status != OG_OK)
            return status;
    }
    return put_row(l->writing, type_id, patient, order, err);
}

og_status locator_flush(locator *l, og_error *err)
{
    kv_txn *t = l->writing;
    l->writing = NULL;
    return t != NULL ? kv_commit(t, err) : OG_OK;
}

og_status locator_ensure(locator *l, const locator_entry *entries, size_t count, og_error *err)
{
    kv_txn *reading = NULL, *writing = NULL;
    og_status status = kv_begin(l->kv, false, &reading, err);
    for (size_t i = 0; status == OG_OK && i < count; i++) {
        const locator_entry *e = &entries[i];
        status =
            stands(writing != NULL ? writing : reading, e->type_id, e->patient, &e->order, err);
        if (status == OG_NOTFOUND)
            status = writing == NULL ? kv_begin(l->kv, true, &writing, err) : OG_OK;
        else
            continue;
        if (status == OG_OK)
            status = put_row(writing, e->type_id, e->patient, &e->order, err);
    }
    kv_abort(reading);
    if (status != OG_OK || writing == NULL) {
        kv_abort(writing);
        return status;
    }
    return kv_commit(writing, err);
}
