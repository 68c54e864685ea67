/* Deletes that name no patient, corrected subjects, and what comes before what it follows from:
 * over several gatherers that know nothing of each other, in any order, and after a rebuild. */
#include "daemon_pair.h"

/* ---- events ---- */

typedef struct event {
    int source; /* partition of the source topic */
    int64_t offset, minute;
    bool timed;               /* a delete says when it was */
    const char *id, *patient; /* patient NULL: a delete */
} event;

static void give(pair *p, bool second, const event *e)
{
    char text[600], key[64];
    const bool null = e->patient == NULL && !e->timed;
    snprintf(key, sizeof key, "MedicationRequest/%s", e->id);
    int n = e->patient != NULL ? write_order(text, sizeof text, e->id, (int)e->minute, e->patient)
                               : write_delete(text, sizeof text, e->id, (int)e->minute);
    assert_true(n > 0 && (size_t)n < sizeof text);
    conn_message m = {.origin = {"fhir.test", e->source, e->offset, MS(e->minute) + 1},
                      .key = og_str_of(key),
                      .value = null ? (og_str){NULL, 0} : og_str_of(text)};
    gather_message(second ? p->second : p->w->gather, &m);
}

/* ---- what is known in the end ---- */

typedef struct dump {
    char at[256][100];
    size_t count;
} dump;

static og_status dump_one(void *ctx, og_str patient, og_str type_id, const record_order *order,
                          bool deleted, og_error *err)
{
    dump *d = ctx;
    (void)err;
    if (deleted)
        return OG_OK;
    assert_true(d->count < 256);
    snprintf(d->at[d->count++], sizeof d->at[0], "%.*s %.*s %lld", OG_STR_ARG(patient),
             OG_STR_ARG(type_id), (long long)(order->time_us / 60000000 - MS(0) / 60000));
    return OG_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static dump dump_of(pair *p)
{
    dump d = {.count = 0};
    pair_settle(p);
    for (int i = 0; i < WORLD_PARTITIONS; i++) {
        store_txn *t;
        assert_int_equal(store_begin(p->w->stores[i], false, &t, NULL), OG_OK);
        assert_int_equal(store_each_resource(t, dump_one, &d, NULL), OG_OK);
        store_abort(t);
    }
    qsort(d.at, d.count, sizeof d.at[0], by_text);
    return d;
}

static void assert_dump(pair *p, const char *only)
{
    dump d = dump_of(p);
    if (only == NULL) {
        if (d.count > 0)
            print_error("%s\n", d.at[0]);
        assert_int_equal(d.count, 0);
        return;
    }
    assert_int_equal(d.count, 1);
    assert_string_equal(d.at[0], only);
}

/* ---- one case after the other ---- */

static void a_delete_finds_what_another_instance_gathered(void **state)
{
    (void)state;
    for (int timed = 0; timed < 2; timed++) {
        pair p = pair_new();
        give(&p, false, &(event){0, 0, 1, false, "r", "A"});
        assert_dump(&p, "A MedicationRequest/r 1");
        give(&p, true, &(event){1, 0, 2, timed, "r", NULL});
        assert_dump(&p, NULL);
        assert_int_equal(p.w->total.placed, 1);
        assert_int_equal(p.w->dead.count, 0);
        pair_free(&p);
    }
}

static void a_delete_before_its_create_keeps_it_away(void **state)
{
    (void)state;
    for (int timed = 0; timed < 2; timed++) {
        pair p = pair_new();
        give(&p, false, &(event){0, 0, 5, timed, "r", NULL});
        assert_dump(&p, NULL);
        assert_int_equal(p.w->total.unplaced, 1);
        give(&p, true, &(event){1, 0, 4, false, "r", "A"});
        assert_dump(&p, NULL);
        give(&p, false, &(event){1, 1, 6, false, "r", "A"}); /* created anew after the delete */
        assert_dump(&p, "A MedicationRequest/r 6");
        pair_free(&p);
    }
}

static void a_corrected_subject_leaves_the_old_patient(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        pair p = pair_new();
        give(&p, late, &(event){0, late, late ? 2 : 1, false, "r", late ? "B" : "A"});
        pair_settle(&p);
        give(&p, !late, &(event){0, !late, late ? 1 : 2, false, "r", late ? "A" : "B"});
        assert_dump(&p, "B MedicationRequest/r 2");
        pair_free(&p);
    }
}

/* One version, of which the sender says now one patient, now another: the last word counts, though
 * the tombstone that followed from the one between comes to the patient behind it. */
static void the_last_word_counts_of_one_version(void **state)
{
    (void)state;
    pair p = pair_new();
    give(&p, false, &(event){0, 0, 1, false, "r", "A"});
    pair_settle(&p);
    give(&p, false, &(event){0, 1, 1, false, "r", "B"});
    give(&p, false, &(event){0, 2, 1, false, "r", "A"});
    assert_dump(&p, "A MedicationRequest/r 1");
    lose_disks(&p);
    assert_dump(&p, "A MedicationRequest/r 1");
    pair_free(&p);
}

/* The sender's clock is ahead when it writes this version, which a delete of minute 3 means. */
static void give_ahead(pair *p)
{
    char text[600];
    (void)write_order(text, sizeof text, "r", 6, "A");
    conn_message put = {.origin = {"fhir.test", 0, 0, MS(2)}, .value = og_str_of(text)};
    gather_message(p->w->gather, &put);
}

static void a_delete_without_a_time_outdoes_a_fast_clock(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        pair p = pair_new();
        event delete = {1, 0, 3, false, "r", NULL};
        if (late)
            give(&p, true, &delete);
        give_ahead(&p);
        if (!late) {
            assert_dump(&p, "A MedicationRequest/r 6");
            give(&p, true, &delete);
        }
        assert_dump(&p, NULL);
        pair_free(&p);
    }
}

/* What comes late from elsewhere stands between two versions, and gather may know of the first one
 * alone. */
static void a_late_word_between_two_versions_changes_nothing(void **state)
{
    (void)state;
    for (int moved = 0; moved < 2; moved++) {
        pair p = pair_new();
        give(&p, false, &(event){0, 0, 1, false, "r", "A"});
        assert_dump(&p, "A MedicationRequest/r 1");
        give(&p, false, &(event){0, 1, 3, false, "r", "A"});
        assert_dump(&p, "A MedicationRequest/r 3");
        give(&p, true, &(event){1, 0, 2, true, "r", moved ? "B" : NULL});
        assert_dump(&p, "A MedicationRequest/r 3");
        give(&p, true, &(event){1, 1, 4, false, "r", NULL});
        assert_dump(&p, NULL);
        pair_free(&p);
    }
}

/* Compaction keeps the last message of a place: it has to say all that the ones before it said. */
static void places_come_back_from_a_compacted_topic(void **state)
{
    pair p = pair_new();
    (void)state;
    give(&p, false, &(event){0, 0, 1, false, "kept", "A"});
    give(&p, false, &(event){0, 1, 1, false, "again", "A"});
    give(&p, true, &(event){0, 2, 2, false, "again", NULL});
    pair_settle(&p);
    give(&p, false, &(event){0, 3, 3, false, "never", NULL});
    pair_settle(&p);
    lose_disks(&p);
    assert_dump(&p, "A MedicationRequest/kept 1");
    give(&p, true, &(event){0, 4, 4, true, "kept", NULL});
    give(&p, true, &(event){1, 0, 2, true, "never", "A"}); /* older than its delete */
    assert_dump(&p, NULL);
    /* created anew, and the message of its place is lost with all that came after the delete */
    give(&p, false, &(event){0, 5, 5, false, "again", "A"});
    assert_dump(&p, "A MedicationRequest/again 5");
    lose_disks(&p);
    give(&p, true, &(event){0, 6, 6, false, "again", NULL});
    assert_dump(&p, NULL);
    pair_free(&p);
}

/* ---- not for ever ---- */

#define DAY ((int64_t)86400000)

typedef struct left {
    size_t deleted, places, graves;
} left;

static og_status count_row(void *ctx, og_str key, og_str value, og_error *err)
{
    (void)key;
    (void)value;
    (void)err;
    ++*(size_t *)ctx;
    return OG_OK;
}

static og_status count_deleted(void *ctx, og_str patient, og_str type_id, const record_order *order,
                               bool deleted, og_error *err)
{
    (void)patient;
    (void)type_id;
    (void)order;
    (void)err;
    *(size_t *)ctx += deleted;
    return OG_OK;
}

static left left_in(pair *p)
{
    const og_str all = {NULL, 0};
    left l = {0};
    pair_settle(p);
    for (int i = 0; i < WORLD_PARTITIONS; i++) {
        store_txn *t;
        assert_int_equal(store_begin(p->w->stores[i], false, &t, NULL), OG_OK);
        assert_int_equal(store_each_resource(t, count_deleted, &l.deleted, NULL), OG_OK);
        assert_int_equal(kv_scan(t, STORE_PLACE, all, all, count_row, &l.places, NULL), OG_OK);
        assert_int_equal(kv_scan(t, STORE_GRAVE, all, all, count_row, &l.graves, NULL), OG_OK);
        store_abort(t);
    }
    return l;
}

static void deletes_are_forgotten_one_day(void **state)
{
    pair p = pair_new();
    (void)state;
    p.w->setup.tombstone_ms = 30 * DAY;
    p.w->real_ms = 100 * DAY;
    give(&p, false, &(event){0, 0, 1, false, "kept", "A"});
    give(&p, false, &(event){0, 1, 1, false, "gone", "A"});
    give(&p, true, &(event){0, 2, 2, false, "gone", NULL});
    give(&p, true, &(event){0, 3, 9, false, "never", NULL});
    left l = left_in(&p);
    assert_int_equal(l.deleted, 1);
    assert_int_equal(l.places, 3);
    p.w->real_ms += 30 * DAY; /* not more than that */
    give(&p, true, &(event){1, 0, 8, true, "never", "A"});
    l = left_in(&p);
    assert_int_equal(l.deleted, 2);
    assert_int_equal(l.places, 3);
    p.w->real_ms += DAY; /* the tombstone of "never" at A is a day old */
    l = left_in(&p);
    assert_int_equal(l.deleted, 1);
    assert_int_equal(l.places, 1);
    assert_int_equal(p.w->total.forgotten, 3);
    p.w->real_ms += 30 * DAY;
    l = left_in(&p);
    assert_int_equal(l.deleted + l.graves, 0);
    assert_dump(&p, "A MedicationRequest/kept 1");
    lose_disks(&p); /* nothing of it is left in the topic */
    l = left_in(&p);
    assert_int_equal(l.deleted + l.graves, 0);
    assert_int_equal(l.places, 1);
    pair_free(&p);
}

/* Its place has a version that no message has. */
static void a_delete_that_outdid_is_forgotten_too(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        pair p = pair_new();
        event delete = {1, 0, 3, false, "r", NULL};
        p.w->setup.tombstone_ms = 30 * DAY;
        p.w->real_ms = 100 * DAY;
        if (late)
            give(&p, true, &delete);
        give_ahead(&p);
        assert_int_equal(left_in(&p).places, 1);
        if (!late)
            give(&p, true, &delete);
        assert_int_equal(left_in(&p).deleted, 1);
        p.w->real_ms += 31 * DAY;
        (void)left_in(&p);
        left l = left_in(&p);
        assert_int_equal(l.deleted + l.places + l.graves, 0);
        pair_free(&p);
    }
}

/* A resource is deleted, and 31 days later recorded anew; its removal stands behind that. */
static void remove_behind_a_newer(pair *p)
{
    world *w = p->w;
    w->setup.tombstone_ms = 30 * DAY;
    w->real_ms = 100 * DAY;
    give(p, false, &(event){0, 0, 1, false, "r", "A"});
    give(p, true, &(event){0, 1, 2, false, "r", NULL});
    (void)left_in(p);
    w->real_ms += 31 * DAY;
    give(p, false, &(event){0, 2, 3, false, "r", "A"});
    for (int i = 0; i < WORLD_PARTITIONS; i++)
        world_run_partition(w, i, NULL, 0, w->records.next);
    assert_false(w->records.at[w->records.count - 1].has_value);
    assert_false(w->places.at[w->places.count - 1].has_value);
}

/* Something newer was written before the removal, and is read only after that was decided. */
static void a_removal_spares_what_came_meanwhile(void **state)
{
    pair p = pair_new();
    (void)state;
    remove_behind_a_newer(&p);
    assert_dump(&p, "A MedicationRequest/r 3");
    assert_int_equal(p.w->total.forgotten, 0);
    lose_disks(&p); /* the topic has it last */
    assert_dump(&p, "A MedicationRequest/r 3");
    give(&p, true, &(event){0, 3, 4, false, "r", NULL});
    assert_dump(&p, NULL);
    pair_free(&p);
}

/* Who decided the removal is gone before it is read back: who takes over knows nothing of it. */
static void a_removal_of_another_owner_spares_it_too(void **state)
{
    pair p = pair_new();
    (void)state;
    remove_behind_a_newer(&p);
    lose_stores(&p); /* behind the new version the log has the removal */
    assert_dump(&p, "A MedicationRequest/r 3");
    lose_disks(&p);
    assert_dump(&p, "A MedicationRequest/r 3");
    give(&p, true, &(event){0, 3, 4, false, "r", NULL}); /* its place is there as well */
    assert_dump(&p, NULL);
    pair_free(&p);
}

static void remove_last(world *w, world_list *l, bool decided)
{
    const world_message *m = &l->at[l->count - 1];
    kafka_record r = {.partition = m->partition, .key = {m->key, m->key_n}};
    if (decided)
        world_mark_removal(&r);
    world_keep(w, l, &r);
}

/* The owner before wrote it while the new one was already further. Erased by somebody else, it
 * stays erased. */
static void a_late_removal_of_another_owner_spares_it_too(void **state)
{
    (void)state;
    for (int decided = 0; decided < 2; decided++) {
        pair p = pair_new();
        give(&p, false, &(event){0, 0, 1, false, "r", "A"});
        give(&p, true, &(event){0, 1, 2, false, "r", NULL});
        give(&p, false, &(event){0, 2, 3, false, "r", "A"});
        assert_dump(&p, "A MedicationRequest/r 3");
        remove_last(p.w, &p.w->records, decided);
        remove_last(p.w, &p.w->places, decided);
        assert_dump(&p, "A MedicationRequest/r 3");
        lose_disks(&p);
        assert_dump(&p, decided ? "A MedicationRequest/r 3" : NULL);
        give(&p, true, &(event){0, 3, 4, false, "r", NULL});
        assert_dump(&p, NULL);
        pair_free(&p);
    }
}

/* ---- any order ---- */

#define RESOURCES 6
#define EVENTS    40

static size_t make_history(event *out)
{
    static const char *const ids[RESOURCES] = {"r0", "r1", "r2", "r3", "r4", "r5"};
    static const char *const patients[] = {"A", "B", "C", NULL};
    int64_t next[3] = {0};
    for (size_t i = 0; i < EVENTS; i++) {
        int source = (int)dice(3);
        out[i] = (event){.source = source,
                         .offset = next[source]++,
                         .minute = (int64_t)i + 1,
                         .id = ids[dice(RESOURCES)],
                         .patient = patients[dice(4)],
                         .timed = dice(2)};
        if (i == 0 || dice(3) == 0)
            continue;
        /* a version that its sender sends once more; not all of them say the same patient then */
        const event *once = &out[i - 1 - dice(i < 4 ? (uint32_t)i : 4)];
        if (once->patient == NULL)
            continue;
        out[i].minute = once->minute;
        out[i].id = once->id;
        out[i].patient = dice(2) ? once->patient : patients[dice(3)];
    }
    return EVENTS;
}

static void any_order_ends_as_the_right_one(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 12; round++) {
        event list[2 * EVENTS];
        seed = 77 + round;
        size_t n = make_history(list);
        pair p = pair_new();
        for (size_t i = 0; i < n; i++) {
            give(&p, dice(2), &list[i]);
            pair_settle(&p);
        }
        dump right = dump_of(&p);
        pair_free(&p);
        for (; n < 2 * EVENTS - 10; n++)
            list[n] = list[dice(EVENTS)];
        shuffle(list, n, sizeof list[0]);
        p = pair_new();
        for (size_t i = 0; i < n; i++) {
            give(&p, dice(2), &list[i]);
            pair_chance(&p);
        }
        dump other = dump_of(&p);
        bool equal = right.count == other.count &&
                     memcmp(right.at, other.at, right.count * sizeof right.at[0]) == 0;
        lose_disks(&p);
        dump rebuilt = dump_of(&p);
        bool same = rebuilt.count == other.count &&
                    memcmp(rebuilt.at, other.at, other.count * sizeof other.at[0]) == 0;
        if (!equal || !same)
            print_error("seed %u: in order, any order, rebuilt\n", 77 + round);
        for (size_t i = 0; (!equal || !same) && i < 10; i++)
            print_error("%-30s %-30s %s\n", right.at[i], other.at[i], rebuilt.at[i]);
        assert_true(equal);
        assert_true(same);
        pair_free(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_delete_finds_what_another_instance_gathered),
        cmocka_unit_test(a_delete_before_its_create_keeps_it_away),
        cmocka_unit_test(a_corrected_subject_leaves_the_old_patient),
        cmocka_unit_test(the_last_word_counts_of_one_version),
        cmocka_unit_test(a_delete_without_a_time_outdoes_a_fast_clock),
        cmocka_unit_test(a_late_word_between_two_versions_changes_nothing),
        cmocka_unit_test(places_come_back_from_a_compacted_topic),
        cmocka_unit_test(deletes_are_forgotten_one_day),
        cmocka_unit_test(a_delete_that_outdid_is_forgotten_too),
        cmocka_unit_test(a_removal_spares_what_came_meanwhile),
        cmocka_unit_test(a_removal_of_another_owner_spares_it_too),
        cmocka_unit_test(a_late_removal_of_another_owner_spares_it_too),
        cmocka_unit_test(any_order_ends_as_the_right_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
