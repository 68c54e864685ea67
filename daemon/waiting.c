/* Who waits, as rows of the dirty table. */
#include "daemon/waiting.h"

#include <inttypes.h>

typedef struct row {
    int64_t offset, first_ms, last_ms, cause_ms;
    bool waits; /* false: to be evaluated at once */
} row;

static og_status row_read(og_str value, row *ret, og_error *err)
{
    int64_t numbers[4];
    size_t n = 0;
    while (value.n > 0 && n < 4) {
        ptrdiff_t space = og_str_find(value, ' ');
        og_str word = space < 0 ? value : (og_str){value.p, (size_t)space};
        if (!og_str_int(word, INT64_MIN, INT64_MAX, &numbers[n++]))
            break;
        value = og_str_from(value, space < 0 ? value.n : word.n + 1);
    }
    if (value.n > 0 || (n != 1 && n != 4))
        return og_fail(err, OG_CORRUPT, "a row of a patient that waits cannot be read");
    *ret = (row){.offset = numbers[0], .waits = n == 4};
    if (ret->waits) {
        ret->first_ms = numbers[1];
        ret->last_ms = numbers[2];
        ret->cause_ms = numbers[3];
    }
    return OG_OK;
}

og_status waiting_note(store_txn *t, og_str patient, int64_t offset, int64_t cause_ms,
                       int64_t steady_ms, bool *ret_joined, og_error *err)
{
    og_str value;
    char text[128];
    row r = {.offset = offset, .first_ms = steady_ms, .cause_ms = cause_ms};
    og_status status = kv_get(t, STORE_DIRTY, patient, &value, err);
    *ret_joined = status == OG_OK;
    if (status == OG_OK)
        status = row_read(value, &r, err);
    else if (status == OG_NOTFOUND)
        status = OG_OK;
    if (status != OG_OK)
        return status;
    if (*ret_joined && !r.waits)
        return OG_OK; /* at once is sooner */
    if (r.first_ms > steady_ms)
        r.first_ms = steady_ms; /* of a boot before */
    if (cause_ms > 0 && (r.cause_ms == 0 || cause_ms < r.cause_ms))
        r.cause_ms = cause_ms;
    int n = snprintf(text, sizeof text, "%" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, r.offset,
                     r.first_ms, steady_ms, r.cause_ms);
    return kv_put(t, STORE_DIRTY, patient, (og_str){text, (size_t)n}, err);
}

typedef struct search {
    og_arena *a;
    const waiting_policy *policy;
    int64_t steady_ms;
    waiting_patient *at;
    size_t count, max;
    waiting_rest rest;
} search;

/* When it has waited long enough. */
static int64_t ripe_at(const search *s, const row *r)
{
    int64_t quiet = r->last_ms + s->policy->quiet_ms, longest = r->first_ms + s->policy->longest_ms;
    if (!r->waits || s->policy->quiet_ms == 0 || r->last_ms > s->steady_ms)
        return s->steady_ms;
    return quiet < longest ? quiet : longest;
}

static og_status visit(void *ctx, og_str key, og_str value, og_error *err)
{
    search *s = ctx;
    row r = {0};
    og_status status = row_read(value, &r, err);
    if (status != OG_OK)
        return status;
    int64_t at = ripe_at(s, &r);
    if (at > s->steady_ms) {
        s->rest.count++;
        s->rest.ripe_ms = at < s->rest.ripe_ms ? at : s->rest.ripe_ms;
        s->rest.offset = r.offset < s->rest.offset ? r.offset : s->rest.offset;
        return OG_OK;
    }
    s->at[s->count] = (waiting_patient){og_arena_str(s->a, key), r.cause_ms};
    if (s->at[s->count].id.p == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a list of patients");
    return ++s->count < s->max ? OG_OK : OG_AGAIN;
}

og_status waiting_ripe(store_txn *t, og_arena *a, const waiting_policy *policy, int64_t steady_ms,
                       size_t max, const waiting_patient **ret, size_t *ret_count,
                       waiting_rest *ret_rest, og_error *err)
{
    const waiting_rest nobody = {.ripe_ms = INT64_MAX, .offset = INT64_MAX};
    search s = {.a = a,
                .policy = policy,
                .steady_ms = steady_ms,
                .at = og_arena_zalloc(a, max, sizeof *s.at),
                .max = max,
                .rest = nobody};
    if (s.at == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a list of patients");
    og_status status =
        kv_scan(t, STORE_DIRTY, (og_str){NULL, 0}, (og_str){NULL, 0}, visit, &s, err);
    if (status != OG_OK)
        return status;
    *ret = s.at;
    *ret_count = s.count;
    *ret_rest = s.count < max ? s.rest : nobody;
    return OG_OK;
}
