/* One table: Type/id → version, place of its message, patient. The write transaction of the loop
 * thread stays open between puts and flush, within one turn of the loop; another thread that writes
 * waits for it that long. */
#include "daemon/locator.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "daemon/kv_key.h"
#include "daemon/number.h"

#define SCHEMA "osteoguard-locator-3"
/* In one transaction: LMDB keeps the pages of the largest one for good. */
#define MOST_PUTS   64
#define MOST_FILLED 4096

struct locator {
    kv *kv;
    kv_txn *writing; /* of the loop thread */
    size_t puts;     /* in it */
    char dir[512];
    kv_options options;
    atomic_bool broken;
};

/* A row: numbers (number.h), then the id of the patient as keys are packed. */
#define ROW_NUMBERS 7
#define ROW_MOST    (ROW_NUMBERS * NUMBER_MOST + 2 * RECORD_MAX_PATIENT)

static const char *const tables[] = {"patient"};

og_status locator_open(const char *dir, size_t map_bytes, const char *boot_id, locator **ret,
                       bool *ret_new, og_error *err)
{
    og_error first;
    locator *l = calloc(1, sizeof *l);
    if (l == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the locator");
    og_error_init(&first);
    snprintf(l->dir, sizeof l->dir, "%s", dir);
    l->options = (kv_options){.dir = l->dir,
                              .tables = tables,
                              .table_count = 1,
                              .map_bytes = map_bytes,
                              .schema = SCHEMA,
                              .boot_id = boot_id};
    og_status status = kv_open(&l->options, &l->kv, &first);
    if (status == OG_CORRUPT) { /* it is only an index: begin anew */
        status = kv_discard(dir, err);
        if (status == OG_OK)
            status = kv_open(&l->options, &l->kv, err);
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
    if (locator_flush(l, NULL) == OG_OK && !l->broken)
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

/* ---- when it is damaged ---- */

static og_status noted(locator *l, og_status status)
{
    if (status == OG_CORRUPT)
        l->broken = true;
    return status;
}

bool locator_is_broken(const locator *l)
{
    return l->broken;
}

og_status locator_renew(locator *l, og_error *err)
{
    kv_abort(l->writing);
    kv_abandon(l->kv);
    l->writing = NULL;
    l->puts = 0;
    l->kv = NULL;
    l->broken = true;
    og_status status = kv_discard(l->dir, err);
    if (status == OG_OK)
        status = kv_open(&l->options, &l->kv, err);
    l->broken = status != OG_OK;
    return status;
}

/* One that could not be renewed has no store. */
static og_status begin(locator *l, bool write, kv_txn **ret, og_error *err)
{
    if (l->kv == NULL)
        return og_fail(err, OG_CORRUPT, "the locator could not be renewed");
    return kv_begin(l->kv, write, ret, err);
}

/* ---- rows ---- */

/* The id of the patient lies in room or in the row. */
static og_status get_row(kv_txn *t, og_str type_id, locator_entry *ret,
                         char room[RECORD_MAX_PATIENT], og_error *err)
{
    og_str rest;
    int64_t n[ROW_NUMBERS];
    og_status status = kv_get(t, 0, type_id, &rest, err);
    if (status != OG_OK)
        return status;
    if (!numbers_take(&rest, n, ROW_NUMBERS))
        return og_fail(err, OG_CORRUPT, "a row of the locator is too short");
    og_str patient = kv_key_unpack(rest, room, RECORD_MAX_PATIENT);
    if (patient.p == NULL)
        return og_fail(err, OG_CORRUPT, "a row of the locator names no patient");
    *ret = (locator_entry){.type_id = type_id,
                           .patient = patient,
                           .order = {.epoch = (uint32_t)n[0],
                                     .time_us = n[1],
                                     .topic = (uint32_t)n[2],
                                     .partition = (int32_t)n[3],
                                     .offset = n[4],
                                     .entry = (uint32_t)n[5]},
                           .arrived_ms = n[6]};
    return OG_OK;
}

/* OG_OK: what is noted stands. OG_NOTFOUND: e is to be written. */
static og_status stands(kv_txn *t, const locator_entry *e, og_error *err)
{
    locator_entry had = {0};
    char room[RECORD_MAX_PATIENT];
    og_status status = get_row(t, e->type_id, &had, room, err);
    if (status != OG_OK)
        return status;
    int cmp = record_order_cmp_version(&had.order, &e->order);
    if (cmp == 0 && !e->deleted && !og_str_eq(had.patient, e->patient))
        return OG_NOTFOUND;
    return cmp < 0 ? OG_NOTFOUND : OG_OK;
}

static og_status put_row(kv_txn *t, const locator_entry *e, og_error *err)
{
    char value[ROW_MOST];
    const record_order *o = &e->order;
    const int64_t numbers[ROW_NUMBERS] = {o->epoch,  o->time_us, o->topic,     o->partition,
                                          o->offset, o->entry,   e->arrived_ms};
    if (e->patient.n > RECORD_MAX_PATIENT)
        return og_fail(err, OG_LIMIT, "the id of the patient is too long");
    size_t n = numbers_put(value, numbers, ROW_NUMBERS);
    n += kv_key_pack(e->patient, value + n);
    return kv_put(t, 0, e->type_id, (og_str){value, n}, err);
}

og_status locator_get(locator *l, og_arena *a, og_str type_id, locator_entry *ret, og_error *err)
{
    kv_txn *t = l->writing;
    locator_entry e = {0};
    char room[RECORD_MAX_PATIENT];
    og_status status = t == NULL ? begin(l, false, &t, err) : OG_OK;
    if (status != OG_OK)
        return noted(l, status);
    status = get_row(t, type_id, &e, room, err);
    if (status == OG_OK) {
        e.patient = og_arena_str(a, e.patient);
        if (e.patient.p == NULL)
            status = og_fail(err, OG_NOMEM, "no memory for the id of a patient");
    }
    if (l->writing == NULL)
        kv_abort(t);
    if (status == OG_OK)
        *ret = e;
    return noted(l, status);
}

/* Writes it where it is to be, and flushes after so many. */
static og_status put(locator *l, const locator_entry *e, size_t most, og_error *err)
{
    og_status status = OG_NOTFOUND;
    if (l->writing == NULL) {
        kv_txn *t = NULL;
        status = begin(l, false, &t, err);
        if (status != OG_OK)
            return status;
        status = stands(t, e, err);
        kv_abort(t);
        if (status != OG_NOTFOUND)
            return status;
        status = begin(l, true, &l->writing, err);
        if (status != OG_OK)
            return status;
    }
    status = stands(l->writing, e, err); /* a batch may have noted something meanwhile */
    if (status == OG_NOTFOUND)
        status = put_row(l->writing, e, err);
    return status == OG_OK && ++l->puts >= most ? locator_flush(l, err) : status;
}

og_status locator_put(locator *l, const locator_entry *e, og_error *err)
{
    return noted(l, put(l, e, MOST_PUTS, err));
}

og_status locator_fill(locator *l, const locator_entry *e, og_error *err)
{
    return noted(l, put(l, e, MOST_FILLED, err));
}

og_status locator_flush(locator *l, og_error *err)
{
    kv_txn *t = l->writing;
    l->writing = NULL;
    l->puts = 0;
    return t != NULL ? noted(l, kv_commit(t, err)) : OG_OK;
}

void locator_trim(const locator *l)
{
    if (l != NULL && l->kv != NULL)
        kv_trim(l->kv);
}

og_status locator_ensure(locator *l, const locator_entry *entries, size_t count, og_error *err)
{
    kv_txn *reading = NULL, *writing = NULL;
    og_status status = begin(l, false, &reading, err);
    for (size_t i = 0; status == OG_OK && i < count; i++) {
        status = stands(writing != NULL ? writing : reading, &entries[i], err);
        if (status == OG_NOTFOUND && writing == NULL) {
            status = begin(l, true, &writing, err);
            if (status == OG_OK) /* gather may have noted something meanwhile */
                status = stands(writing, &entries[i], err);
        }
        if (status == OG_NOTFOUND)
            status = put_row(writing, &entries[i], err);
    }
    kv_abort(reading);
    if (status != OG_OK || writing == NULL) {
        kv_abort(writing);
        return noted(l, status);
    }
    return noted(l, kv_commit(writing, err));
}
