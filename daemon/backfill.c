/* Rows and marks of patients whose data are fetched. Keys of both tables are the patient's id
 * behind its sender, which nobody's ids lack here: `lab~5` and `~5`. */
#include "daemon/backfill.h"

#include <inttypes.h>

#define WANTED BACKFILL_MARK "wanted|"
#define DONE   BACKFILL_MARK "done|"

/* ---- marks ---- */

bool backfill_is_mark(og_str key)
{
    return og_str_starts(key, OG_STR(BACKFILL_MARK));
}

void backfill_write_mark(og_buf *key, og_buf *value, bool done, og_str tenant, og_str patient,
                         int64_t now_ms)
{
    og_buf_addz(key, done ? DONE : WANTED);
    record_write_route(key, tenant, patient);
    og_buf_addf(value, "{\"osteoguard\":1,\"at\":%" PRId64 "}", now_ms);
}

bool backfill_read_mark(og_str key, backfill_mark *ret)
{
    bool done = og_str_starts(key, OG_STR(DONE));
    if (!done && !og_str_starts(key, OG_STR(WANTED)))
        return false;
    og_str route = og_str_from(key, done ? sizeof DONE - 1 : sizeof WANTED - 1);
    ptrdiff_t bar = og_str_find(route, '|');
    if (bar < 0)
        return false;
    *ret = (backfill_mark){done, {route.p, (size_t)bar}, og_str_from(route, (size_t)bar + 1)};
    return record_patient_valid(ret->patient);
}

/* ---- rows ---- */

bool backfill_serves(const char *const *senders, size_t count, og_str patient)
{
    og_str sender = record_sender(patient);
    og_str name = {sender.p, sender.n > 0 ? sender.n - 1 : 0};
    if (count == 0 || patient.n > RECORD_MAX_PATIENT || !fhir_id_usable(record_plain_id(patient)))
        return false;
    for (size_t i = 0; i < count; i++)
        if (og_str_is(name, senders[i]))
            return true;
    return false;
}

static og_str row_key(og_str patient, char out[RECORD_MAX_PATIENT + 2])
{
    size_t n = record_sender(patient).n > 0 ? 0 : 1;
    size_t room = patient.n <= RECORD_MAX_PATIENT ? patient.n : RECORD_MAX_PATIENT;
    out[0] = RECORD_SENDER;
    memcpy(out + n, patient.p, room);
    return (og_str){out, n + room};
}

static og_status has(store_txn *t, int table, og_str key, bool *ret, og_error *err)
{
    og_str value;
    og_status status = kv_get(t, table, key, &value, err);
    *ret = status == OG_OK;
    return status == OG_NOTFOUND ? OG_OK : status;
}

og_status backfill_state_of(store_txn *t, og_str patient, backfill_state *ret, og_error *err)
{
    char text[RECORD_MAX_PATIENT + 2];
    og_str key = row_key(patient, text);
    bool wanted, fetched;
    og_status status = has(t, STORE_FETCHED, key, &fetched, err);
    if (status == OG_OK)
        status = has(t, STORE_WANTED, key, &wanted, err);
    if (status == OG_OK)
        *ret = fetched ? BACKFILL_FETCHED : wanted ? BACKFILL_WANTED : BACKFILL_UNKNOWN;
    return status;
}

og_status backfill_want(store_txn *t, og_str patient, bool *ret_new, og_error *err)
{
    char text[RECORD_MAX_PATIENT + 2];
    backfill_state state;
    og_status status = backfill_state_of(t, patient, &state, err);
    if (status != OG_OK)
        return status;
    *ret_new = state == BACKFILL_UNKNOWN;
    return *ret_new ? kv_put(t, STORE_WANTED, row_key(patient, text), OG_STR("1"), err) : OG_OK;
}

og_status backfill_done(store_txn *t, og_str patient, og_error *err)
{
    char text[RECORD_MAX_PATIENT + 2];
    og_str key = row_key(patient, text);
    og_status status = kv_put(t, STORE_FETCHED, key, OG_STR("1"), err);
    return status == OG_OK ? kv_delete(t, STORE_WANTED, key, err) : status;
}

og_status backfill_forget(store_txn *t, const backfill_mark *m, og_error *err)
{
    char text[RECORD_MAX_PATIENT + 2];
    return kv_delete(t, m->done ? STORE_FETCHED : STORE_WANTED, row_key(m->patient, text), err);
}

typedef struct listing {
    og_arena *a;
    og_str after; /* a row's key */
    og_str *at;
    size_t count, max;
} listing;

static og_status visit(void *ctx, og_str key, og_str value, og_error *err)
{
    listing *l = ctx;
    (void)value;
    if (og_str_eq(key, l->after))
        return OG_OK;
    l->at[l->count] = og_arena_str(l->a, og_str_from(key, key.p[0] == RECORD_SENDER));
    if (l->at[l->count].p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a list of patients");
    return ++l->count < l->max ? OG_OK : OG_AGAIN;
}

og_status backfill_list(store_txn *t, og_arena *a, const char *sender, og_str after, size_t max,
                        const og_str **ret, size_t *ret_count, og_error *err)
{
    char text[RECORD_MAX_PATIENT + 2], prefix[RECORD_MAX_SENDER + 2];
    listing l = {.a = a, .at = og_arena_zalloc(a, max + 1, sizeof *l.at), .max = max};
    int n = snprintf(prefix, sizeof prefix, "%s%c", sender, RECORD_SENDER);
    if (l.at == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a list of patients");
    if (after.n > 0)
        l.after = row_key(after, text);
    og_status status =
        max > 0 ? kv_scan(t, STORE_WANTED, l.after, (og_str){prefix, (size_t)n}, visit, &l, err)
                : OG_OK;
    if (status != OG_OK)
        return status;
    *ret = l.at;
    *ret_count = l.count;
    return OG_OK;
}

og_status backfill_count(store_txn *t, uint64_t *ret, og_error *err)
{
    return kv_count(t, STORE_WANTED, ret, err);
}
