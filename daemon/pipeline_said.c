/* The alerts topic in a batch: what others have said is taken over, and what is to be said. */
#include "daemon/pipeline_private.h"

og_status pipeline__say(run *r, og_str key, og_str value, og_error *err)
{
    pipeline_batch *b = r->b;
    if (key.p == NULL)
        return pipeline__no_memory(err);
    if (b->saying_count == r->saying_cap) {
        size_t cap = r->saying_cap == 0 ? 16 : r->saying_cap * 2;
        r->sayings = og_arena_grow(b->results, r->sayings, r->saying_cap * sizeof *r->sayings,
                                   cap * sizeof *r->sayings);
        if (r->sayings == NULL)
            return pipeline__no_memory(err);
        r->saying_cap = cap;
    }
    r->sayings[b->saying_count++] = (pipeline_saying){key, value};
    b->sayings = r->sayings;
    return OG_OK;
}

/* What the topic says behind our own word, and what does not count, gets it once more. */
static og_status say_own(run *r, og_str key, og_error *err)
{
    og_str own;
    TRY(said_own(r->txn, r->b->results, key, &own, err));
    return pipeline__say(r, og_arena_str(r->b->results, key), own, err); /* key goes before that */
}

/* Another owner's word is taken over, and what calls have shown; ours stands behind what one said
 * who was no owner any more. */
static og_status take_over(run *r, const said_message *m, og_error *err)
{
    said_taken taken;
    plan_change shown = {.kind = PLAN_OPENED};
    og_error why;
    og_error_init(&why);
    og_arena_reset(r->b->scratch);
    og_status status = said_apply(r->txn, r->b->scratch, og_str_of(r->b->setup->tenant), m, &taken,
                                  &shown.alert, &why);
    if (status == OG_INVALID || status == OG_SYNTAX) {
        r->b->counts.bad++;
        pipeline__note_failure(r->b, OG_STR(""), OG_STR(""), &why);
        return OG_OK;
    }
    if (status != OG_OK) {
        if (err != NULL)
            *err = why;
        return status;
    }
    if (taken == SAID_PASSED)
        return say_own(r, m->key, err);
    r->b->counts.taken_over += taken == SAID_TAKEN || r->b->restoring;
    return taken == SAID_SHOWN && !r->b->restoring
               ? pipeline__note_event(r, &shown, PLAN_UNANSWERED, err)
               : OG_OK;
}

og_status pipeline__take_over_all(run *r, og_error *err)
{
    const pipeline_batch *b = r->b;
    for (size_t i = 0; i < b->said_count; i++)
        TRY(take_over(r, &b->said[i], err));
    if (b->said_offset <= 0)
        return OG_OK;
    TRY(store_set_meta_int(r->txn, STORE_SAID_CLAIM, b->said_claim, err));
    return store_set_meta_int(r->txn, STORE_SAID_OFFSET, b->said_offset, err);
}

/* Its time is over, or it is an alert now: nothing is said of it on the topic any more. */
og_status pipeline__forget_shown(run *r, og_str patient, const shown_list *shown, og_error *err)
{
    for (size_t i = 0; i < shown->over_count; i++) {
        const char *id = shown->over[i].id;
        og_arena_reset(r->b->scratch);
        TRY(store_forget_shown(r->txn, r->b->scratch, patient, id, err));
        TRY(pipeline__say(
            r, said_alert_key(r->b->results, og_str_of(r->b->setup->tenant), patient, id),
            (og_str){NULL, 0}, err));
    }
    return OG_OK;
}
