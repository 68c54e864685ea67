/* Messages into the store: each is a record, the place of one, a mark, a removal, or none of
 * these, and then it is counted and passed over. */
#include "daemon/pipeline_private.h"

#include "daemon/grave.h"
#include "daemon/place.h"

/* A message that is no record must not stop the partition: counted, logged, passed over. */
static og_status bad_record(run *r, const pipeline_message *m, const og_error *why)
{
    og_error error = *why;
    r->b->counts.bad++;
    error.offset = m->offset;
    pipeline__note_failure(r->b, OG_STR(""), OG_STR(""), &error);
    return OG_OK;
}

/* An id without its record does no harm, should the batch fail. A damaged index is no damage of
 * this store: it is renewed, and the batch repeated. */
static og_status note_recorded(const run *r, const record *rec, og_error *err)
{
    idset *recorded = r->b->setup->recorded;
    if (recorded == NULL || rec->via.n > 0)
        return OG_OK;
    og_status status = idset_add(recorded, rec->type, rec->id, err);
    if (status != OG_CORRUPT)
        return status;
    err->status = OG_IO;
    return OG_IO;
}

static og_status read_message(run *r, const pipeline_message *m, record *ret,
                              const fhir_doc **ret_doc, og_error *why)
{
    og_arena *a = r->b->scratch;
    fhir_limits limits = {.max_bytes = (256u << 20) - 1, .max_depth = r->b->setup->max_depth};
    fhir_doc *doc = og_arena_zalloc(a, 1, sizeof *doc);
    if (doc == NULL)
        return pipeline__no_memory(why);
    TRY(record_read(a, m->key, m->value, ret, why));
    if (!og_str_is(ret->tenant, r->b->setup->tenant))
        return og_fail(why, OG_INVALID, "the record belongs to another tenant");
    if (!ret->deleted)
        TRY(fhir_decode(a, ret->body, &limits, doc, why));
    *ret_doc = ret->deleted ? NULL : doc;
    return OG_OK;
}

/* When the log got it. */
static int64_t logged_ms(const run *r, const pipeline_message *m)
{
    return m->timestamp_ms > 0 ? m->timestamp_ms : r->b->real_ms;
}

/* A removal of our own comes back, or compaction has left a tombstone: its soft tombstone came
 * before. */
static og_status apply_removal(run *r, const pipeline_message *m, og_error *err)
{
    bool gone = false;
    TRY(grave_close(r->txn, r->b->scratch, m->key, m->offset, m->removal, &gone, err));
    r->b->counts.forgotten += gone;
    return OG_OK;
}

static og_status apply_place(run *r, const pipeline_message *m, og_error *err)
{
    pipeline_counts *c = &r->b->counts;
    record rec = {0};
    place_applied applied = PLACE_NOTED;
    og_error why;
    og_error_init(&why);
    if (record_read_place(r->b->scratch, m->key, m->value, &rec, &why) != OG_OK)
        return bad_record(r, m, &why);
    TRY(place_apply(r->txn, r->b->scratch, og_str_of(r->b->setup->tenant), &rec, &applied, err));
    c->placed += applied == PLACE_SENT;
    c->unplaced += applied == PLACE_WAITING;
    if (!rec.deleted)
        return note_recorded(r, &rec, err);
    /* As it is now: it may have outdone the version of its message, or be outlived. */
    TRY(place_version(r->txn, r->b->scratch, m->key, &rec.order, &rec.deleted, err));
    return rec.deleted ? grave_note_place(r->txn, &rec, logged_ms(r, m), err) : OG_OK;
}

static og_status apply_backfill_mark(run *r, const pipeline_message *m, og_error *err)
{
    backfill_mark mark;
    bool fresh;
    og_error why;
    og_error_init(&why);
    if (!backfill_read_mark(m->key, &mark) || !og_str_is(mark.tenant, r->b->setup->tenant)) {
        (void)og_fail(&why, OG_INVALID, "the mark of a backfill is none of ours");
        return bad_record(r, m, &why);
    }
    r->b->counts.backfills++;
    if (m->value.p == NULL)
        return backfill_forget(r->txn, &mark, err);
    return mark.done ? backfill_done(r->txn, mark.patient, err)
                     : backfill_want(r->txn, mark.patient, &fresh, err);
}

/* Of a patient of whom something comes for the first time, everything is wanted. */
static og_status want_all_of(run *r, og_str patient, og_error *err)
{
    const pipeline_setup *setup = r->b->setup;
    bool fresh = false;
    if (!backfill_serves(setup->backfill_senders, setup->backfill_sender_count, patient) ||
        og_table_get(&r->touched, patient) != NULL)
        return OG_OK;
    TRY(backfill_want(r->txn, patient, &fresh, err));
    r->b->counts.backfills += fresh;
    return OG_OK;
}

static og_status note_change(run *r, const record *rec, int64_t offset, og_error *err)
{
    og_str type_id =
        og_arena_printf(r->b->scratch, "%.*s/%.*s", OG_STR_ARG(rec->type), OG_STR_ARG(rec->id));
    if (type_id.p == NULL)
        return pipeline__no_memory(err);
    r->b->counts.shared_changed++;
    return store_note_change(r->txn, type_id, offset + 1, err);
}

static og_status apply_message(run *r, const pipeline_message *m, og_error *err)
{
    record rec = {0};
    const fhir_doc *doc = NULL;
    store_applied applied = STORE_STALE;
    og_error why;
    og_error_init(&why);
    og_arena_reset(r->b->scratch);
    if (record_is_beat(m->key))
        return OG_OK;
    if (backfill_is_mark(m->key))
        return apply_backfill_mark(r, m, err);
    if (m->value.p == NULL)
        return apply_removal(r, m, err);
    if (record_is_place(m->key))
        return apply_place(r, m, err);
    if (read_message(r, m, &rec, &doc, &why) != OG_OK)
        return bad_record(r, m, &why);
    TRY(store_apply(r->txn, r->b->scratch, &rec, doc, m->offset, &applied, err));
    if (applied == STORE_STALE || applied == STORE_OUTDATED) {
        r->b->counts.stale++;
        r->b->counts.outdated += applied == STORE_OUTDATED;
        return OG_OK;
    }
    r->b->counts.applied++;
    if (rec.deleted && rec.patient.n > 0)
        TRY(grave_note_record(r->txn, &rec, logged_ms(r, m), err));
    TRY(note_recorded(r, &rec, err));
    if (applied == STORE_SAME)
        return OG_OK;
    if (r->of_shared)
        return note_change(r, &rec, m->offset, err);
    if (rec.patient.n == 0)
        return OG_OK;
    TRY(merge_apply(r->txn, r->b->results, r->b->scratch, &rec, m->offset, &r->b->counts.merges,
                    err));
    r->b->counts.joined += og_table_get(&r->touched, rec.patient) != NULL;
    TRY(want_all_of(r, rec.patient, err));
    return pipeline__touch(r, rec.patient, rec.timestamp_ms, false, err);
}

og_status pipeline__apply_all(run *r, og_error *err)
{
    const pipeline_batch *b = r->b;
    for (size_t i = 0; i < b->message_count; i++)
        TRY(apply_message(r, &b->messages[i], err));
    return b->next_offset >= 0 ? store_set_meta_int(r->txn, STORE_NEXT_OFFSET, b->next_offset, err)
                               : OG_OK;
}
