/* The form of a note: a head; the rules that did not fire, those that have a review, and the
 * reviews; of each resource of the view its hash; sets of retrieves, for many resources have the
 * same finders; the rules that fired, were suppressed or merged; what each rule has read, as a bit
 * for each of the retrieves that it can reach; of each resource the number of its set; values that
 * were kept.
 *
 * The resources that two views have in common, in the same order, are the same for every rule; all
 * others, of either view, wake the rules that read what can find them. */
#include "daemon/note.h"

#include <assert.h>

#include "rules/cql/kept.h"

#define FORM       "osteoguard-note-1"
#define LOOK_AHEAD 64 /* resources that may have come or gone in one place to be recognised */
#define NO_SET     UINT8_MAX /* so many sets have numbers */

typedef struct head {
    int64_t since_ms; /* what stands behind it says what the note says */
    int64_t until_ms;
    uint64_t mark;
    int32_t offset_min;
    uint32_t count, kept_n;
    uint16_t set_count, review_count, loud_count, unused[3];
} head;

typedef struct loud { /* a rule that fired, was suppressed or merged */
    uint64_t material;
    uint16_t rule, by; /* by: number of a rule */
    uint16_t place;    /* PLAN_FIRED: of its card among the others */
    uint8_t kind;      /* plan_outcome_kind */
    char alert_id[41];
} loud;

typedef struct parts {
    head *head;
    uint64_t *silent, *dated, *reviews, *hashes, *sets;
    loud *loud;
    uint8_t *reads, *finders;
    char *kept;
} parts;

/* ---- sets ---- */

static void include(uint64_t *set, size_t i)
{
    set[i / 64] |= (uint64_t)1 << i % 64;
}

static void join(uint64_t *set, const uint64_t *other, size_t words)
{
    for (size_t w = 0; w < words; w++)
        set[w] |= other[w];
}

static size_t size_of_set(const uint64_t *set, size_t words)
{
    size_t n = 0;
    for (size_t w = 0; w < words; w++)
        n += (size_t)__builtin_popcountll(set[w]);
    return n;
}

/* ---- what a rule has read ---- */

static const uint64_t *reach_of(const plan_content *c, size_t rule)
{
    return plan_content_rule_reads(c, rule, true);
}

static size_t read_bytes(const plan_content *c, size_t rule)
{
    return (size_of_set(reach_of(c, rule), plan_content_read_words(c)) + 7) / 8;
}

/* False: it has read what it cannot reach. */
static bool pack(const plan_content *c, size_t rule, const uint64_t *set, uint8_t *out)
{
    const uint64_t *reach = reach_of(c, rule);
    size_t n = 0;
    for (size_t w = 0; w < plan_content_read_words(c); w++) {
        if ((set[w] & ~reach[w]) != 0)
            return false;
        for (uint64_t left = reach[w]; left != 0; left &= left - 1, n++)
            if ((set[w] & left & -left) != 0)
                out[n / 8] |= (uint8_t)(1u << n % 8);
    }
    return true;
}

static bool has_read_any(const plan_content *c, size_t rule, const uint8_t *reads,
                         const uint64_t *of)
{
    const uint64_t *reach = reach_of(c, rule);
    size_t before = 0;
    for (size_t w = 0; w < plan_content_read_words(c); w++) {
        for (uint64_t left = reach[w] & of[w]; left != 0; left &= left - 1) {
            uint64_t below = (left & -left) - 1;
            size_t n = before + (size_t)__builtin_popcountll(reach[w] & below);
            if ((reads[n / 8] >> n % 8 & 1) != 0)
                return true;
        }
        before += (size_t)__builtin_popcountll(reach[w]);
    }
    return false;
}

/* ---- one note ---- */

static size_t all_read_bytes(const plan_content *c)
{
    size_t n = 0;
    for (size_t i = 0; i < plan_content_rule_count(c); i++)
        n += read_bytes(c, i);
    return n;
}

static size_t bytes_of(const head *h, const plan_content *c, size_t reads)
{
    size_t words = 2 * plan_content_rule_words(c) + h->review_count + h->count +
                   h->set_count * plan_content_read_words(c);
    return sizeof *h + words * sizeof(uint64_t) + h->loud_count * sizeof(loud) + reads + h->count +
           h->kept_n;
}

static parts parts_of(char *note, const head *h, const plan_content *c, size_t reads)
{
    parts p = {.head = (head *)note, .silent = (uint64_t *)(note + sizeof *h)};
    p.dated = p.silent + plan_content_rule_words(c);
    p.reviews = p.dated + plan_content_rule_words(c);
    p.hashes = p.reviews + h->review_count;
    p.sets = p.hashes + h->count;
    p.loud = (loud *)(p.sets + h->set_count * plan_content_read_words(c));
    p.reads = (uint8_t *)(p.loud + h->loud_count);
    p.finders = p.reads + reads;
    p.kept = (char *)(p.finders + h->count);
    return p;
}

static bool is_loud_kind(unsigned kind)
{
    return kind == PLAN_FIRED || kind == PLAN_SUPPRESSED || kind == PLAN_MERGED;
}

/* Whatever bytes they are, nothing outside of them is touched, and no rule that is not there. */
static bool is_whole(const parts *p, const plan_content *c)
{
    size_t rules = plan_content_rule_count(c);
    const head *h = p->head;
    if (h->set_count > NO_SET ||
        size_of_set(p->dated, plan_content_rule_words(c)) != h->review_count)
        return false;
    for (size_t i = 0; i < h->count; i++)
        if (p->finders[i] >= h->set_count)
            return false;
    for (size_t i = 0; i < h->loud_count; i++) {
        const loud *l = &p->loud[i];
        if (l->rule >= rules || l->by >= rules || !is_loud_kind(l->kind) ||
            l->place >= h->loud_count || l->alert_id[36] != '\0')
            return false;
    }
    return true;
}

/* False: nobody knows what it says. */
static bool read_note(og_str note, uint64_t mark, const plan_content *c, parts *ret)
{
    head h;
    if (note.n < sizeof h)
        return false;
    memcpy(&h, note.p, sizeof h);
    if (h.mark != mark)
        return false;
    size_t reads = all_read_bytes(c);
    if (bytes_of(&h, c, reads) != note.n)
        return false;
    assert((uintptr_t)note.p % 8 == 0);
    *ret = parts_of((char *)(uintptr_t)note.p, &h, c, reads);
    return is_whole(ret, c);
}

/* ---- what has changed ---- */

typedef struct comparison {
    og_arena *a;
    const plan_content *c;
    const fhir_resource *resources;
    note_view *now;
    bool known; /* was says something */
    parts was;
    uint64_t *moved;         /* what can find what is not in both */
    uint64_t *set;           /* room for one */
    size_t words;            /* of a set */
    bool full;               /* there were more sets than numbers */
    uint8_t numbers[NO_SET]; /* now, of the sets that were */
} comparison;

/* The number of a set, which is new or not. */
static uint8_t number_of_set(comparison *x, const uint64_t *set)
{
    note_view *v = x->now;
    for (size_t i = 0; i < v->set_count; i++)
        if (memcmp(v->sets + i * x->words, set, x->words * sizeof *set) == 0)
            return (uint8_t)i;
    if (v->set_count == NO_SET) {
        x->full = true;
        return NO_SET;
    }
    memcpy(v->sets + v->set_count * x->words, set, x->words * sizeof *set);
    return (uint8_t)v->set_count++;
}

static const uint64_t *set_that_was(const comparison *x, size_t resource)
{
    return x->was.sets + x->was.finders[resource] * x->words;
}

static void gone(comparison *x, size_t at, size_t count)
{
    for (size_t i = at; i < at + count; i++)
        join(x->moved, set_that_was(x, i), x->words);
}

static void come(comparison *x, size_t at, size_t count)
{
    for (size_t i = at; i < at + count; i++) {
        plan_content_finders(x->c, x->a, &x->resources[i], x->set);
        join(x->moved, x->set, x->words);
        x->now->finders[i] = number_of_set(x, x->set);
    }
}

static void stayed(comparison *x, size_t was, size_t is)
{
    uint8_t *number = &x->numbers[x->was.finders[was]];
    if (*number == NO_SET)
        *number = number_of_set(x, set_that_was(x, was));
    x->now->finders[is] = *number;
}

/* How many places behind the first of list something stands; 0: not near. */
static size_t ahead(const uint64_t *list, size_t count, uint64_t hash)
{
    for (size_t i = 1; i < count && i <= LOOK_AHEAD; i++)
        if (list[i] == hash)
            return i;
    return 0;
}

/* Both in the order of their views. What is passed over on either side is not taken for the same,
 * even if it is: then a rule is asked that need not be. */
static void compare(comparison *x)
{
    const uint64_t *was = x->was.hashes, *is = x->now->hashes;
    size_t n = x->known ? x->was.head->count : 0, i = 0, k = 0;

    while (i < n && k < x->now->count) {
        size_t step;
        if (was[i] == is[k]) {
            stayed(x, i++, k++);
        } else if ((step = ahead(is + k, x->now->count - k, was[i])) > 0) {
            come(x, k, step);
            k += step;
        } else if ((step = ahead(was + i, n - i, is[k])) > 0) {
            gone(x, i, step);
            i += step;
        } else {
            gone(x, i++, 1);
            come(x, k++, 1);
        }
    }
    gone(x, i, n - i);
    come(x, k, x->now->count - k);
}

/* ---- what need not be asked ---- */

static og_str rule_id(const plan_content *c, size_t rule)
{
    return og_str_of(plan_content_rule_id(c, rule));
}

/* How those came out that fired: together, or not at all. */
static void hold(const comparison *x, const uint64_t *woken, plan_patient *p)
{
    size_t louds = x->was.head->loud_count, cards = 0, told = 0;
    plan_held *held = og_arena_zalloc(x->a, 1, sizeof *held);
    uint64_t *set = og_arena_zalloc(x->a, plan_content_rule_words(x->c) + 1, sizeof *set);
    plan_outcome *outcomes =
        og_arena_zalloc(x->a, plan_content_rule_count(x->c) + 1, sizeof *outcomes);
    plan_card *list = og_arena_zalloc(x->a, louds + 1, sizeof *list);

    if (held == NULL || set == NULL || outcomes == NULL || list == NULL)
        return;
    for (size_t i = 0; i < louds; i++) {
        const loud *l = &x->was.loud[i];
        if (plan_rules_has(woken, l->rule))
            return;
        include(set, l->rule);
        outcomes[l->rule].kind = (plan_outcome_kind)l->kind;
        if (l->kind != PLAN_FIRED) {
            outcomes[l->rule].by = rule_id(x->c, l->by);
            continue;
        }
        plan_card *card = &list[l->place];
        card->rule = rule_id(x->c, l->rule);
        card->material = l->material;
        memcpy(card->alert_id, l->alert_id, sizeof card->alert_id);
        cards++;
    }
    while (told < cards && list[told].rule.p != NULL)
        told++;
    *held = (plan_held){set, outcomes, list, cards};
    p->held = cards > 0 && told == cards ? held : NULL;
}

static void wake(const comparison *x, uint64_t *woken)
{
    const uint8_t *reads = x->was.reads;
    for (size_t i = 0; i < plan_content_rule_count(x->c); i++) {
        if (has_read_any(x->c, i, reads, x->moved))
            include(woken, i);
        reads += read_bytes(x->c, i);
    }
}

/* What did not fire, and rests on nothing that has moved. */
static void spare(const comparison *x, plan_patient *p)
{
    size_t rules = plan_content_rule_count(x->c), words = plan_content_rule_words(x->c), next = 0;
    uint64_t *spared = og_arena_zalloc(x->a, words + 1, sizeof *spared);
    uint64_t *woken = og_arena_zalloc(x->a, words + 1, sizeof *woken);
    int64_t *reviews = og_arena_zalloc(x->a, rules + 1, sizeof *reviews);

    if (spared == NULL || woken == NULL || reviews == NULL)
        return;
    wake(x, woken);
    for (size_t w = 0; w < words; w++)
        spared[w] = x->was.silent[w] & ~woken[w];
    for (size_t i = 0; i < rules; i++)
        if (plan_rules_has(x->was.dated, i))
            reviews[i] = (int64_t)x->was.reviews[next++];
    p->spared = spared;
    p->spared_reviews = reviews;
    if (p->keeps)
        x->now->kept = p->kept =
            cql_kept_without(x->a, (og_str){x->was.kept, x->was.head->kept_n}, x->moved);
    hold(x, woken, p);
}

static void look(comparison *x, plan_patient *p)
{
    note_view *v = x->now;
    compare(x);
    if (x->full)
        v->finders = NULL;
    if (!x->known)
        return;
    const head *h = x->was.head;
    v->holds =
        h->offset_min == v->offset_min && v->as_of_ms >= h->since_ms && v->as_of_ms < h->until_ms;
    if (!v->holds)
        return;
    v->until_ms = h->until_ms;
    spare(x, p);
}

/* Who believes a note: 0 is nobody. */
static uint64_t mark_of(og_arena *a, const char *program, const plan_content *c, og_str tenant)
{
    if (program == NULL)
        return 0;
    og_str text = og_arena_printf(a, FORM "\n%s\n%s\n%.*s", program, plan_content_digest(c),
                                  OG_STR_ARG(tenant));
    return text.p != NULL ? og_str_hash(text) : 0;
}

void note_look(og_arena *a, const char *program, const plan_content *c, plan_patient *p,
               const uint64_t *hashes, og_str before, int64_t as_of_ms, int offset_min,
               note_view *ret)
{
    *ret = (note_view){.content = c,
                       .mark = mark_of(a, program, c, p->tenant),
                       .hashes = hashes,
                       .count = p->resource_count,
                       .as_of_ms = as_of_ms,
                       .until_ms = INT64_MAX,
                       .offset_min = offset_min};
    bool keeps = p->keeps;
    p->keeps = false; /* unless the patient is known */
    if (ret->mark == 0)
        return;
    size_t words = plan_content_read_words(c);
    ret->sets = og_arena_alloc(a, NO_SET * words * sizeof *ret->sets);
    ret->finders = og_arena_alloc(a, ret->count + 1);
    comparison x = {.a = a,
                    .c = c,
                    .resources = p->resources,
                    .now = ret,
                    .words = words,
                    .moved = og_arena_zalloc(a, words, sizeof *x.moved),
                    .set = og_arena_zalloc(a, words, sizeof *x.set)};
    if (ret->sets == NULL || ret->finders == NULL || x.moved == NULL || x.set == NULL) {
        ret->finders = NULL;
        return;
    }
    memset(x.numbers, NO_SET, sizeof x.numbers);
    x.known = read_note(before, ret->mark, c, &x.was);
    if (x.known)
        ret->before = before;
    p->keeps = keeps && x.known;
    look(&x, p);
}

/* ---- what is noted ---- */

static bool is_loud(const plan_outcome *o)
{
    return is_loud_kind(o->kind);
}

static bool is_dated(const plan_result *r, size_t rule)
{
    return (r->outcomes[rule].kind == PLAN_NOT_FIRED || is_loud(&r->outcomes[rule])) &&
           r->reviews[rule] != 0;
}

static uint16_t number_of(const plan_result *r, og_str rule)
{
    size_t i = 0;
    while (i + 1 < r->outcome_count && !og_str_eq(r->outcomes[i].rule, rule))
        i++;
    return (uint16_t)i;
}

static loud loud_of(const plan_result *r, size_t rule)
{
    const plan_outcome *o = &r->outcomes[rule];
    loud l = {.rule = (uint16_t)rule, .kind = (uint8_t)o->kind};
    if (o->kind != PLAN_FIRED)
        l.by = number_of(r, o->by);
    for (size_t i = 0; o->kind == PLAN_FIRED && i < r->card_count; i++) {
        if (!og_str_eq(r->cards[i].rule, o->rule))
            continue;
        l.place = (uint16_t)i;
        l.material = r->cards[i].material;
        memcpy(l.alert_id, r->cards[i].alert_id, sizeof r->cards[i].alert_id);
    }
    return l;
}

static void write_rules(const plan_result *r, const parts *p)
{
    size_t dated = 0, louds = 0;
    for (size_t i = 0; i < r->outcome_count; i++) {
        if (r->outcomes[i].kind == PLAN_NOT_FIRED)
            include(p->silent, i);
        else if (is_loud(&r->outcomes[i]))
            p->loud[louds++] = loud_of(r, i);
        if (!is_dated(r, i))
            continue;
        include(p->dated, i);
        p->reviews[dated++] = (uint64_t)r->reviews[i];
    }
}

/* Whoever was asked rests on something, and be it the Patient (plan_content_read_words). What was
 * spared rests on what it did. */
static bool write_reads(const note_view *v, const plan_result *r, uint8_t *out)
{
    const plan_content *c = v->content;
    size_t words = plan_content_read_words(c);
    const uint8_t *was = NULL;
    parts before;
    if (v->holds && read_note(v->before, v->mark, c, &before))
        was = before.reads;
    for (size_t i = 0; i < r->outcome_count; i++) {
        const uint64_t *set = r->reads + i * words;
        size_t n = read_bytes(c, i);
        bool asked = size_of_set(set, words) > 0;
        if (asked && !pack(c, i, set, out))
            return false;
        if (!asked && was != NULL)
            memcpy(out, was, n);
        out += n;
        was = was != NULL ? was + n : NULL;
    }
    return true;
}

static og_str kept_of(const note_view *v, const plan_result *r)
{
    return r->kept.n > 0 ? r->kept : v->kept;
}

static head head_for(const note_view *v, const plan_result *r)
{
    head h = {.since_ms = v->as_of_ms,
              .until_ms = r->holds_until_ms < v->until_ms ? r->holds_until_ms : v->until_ms,
              .mark = v->mark,
              .offset_min = v->offset_min,
              .count = (uint32_t)v->count,
              .kept_n = (uint32_t)kept_of(v, r).n,
              .set_count = (uint16_t)v->set_count};
    for (size_t i = 0; i < r->outcome_count; i++) {
        h.review_count += is_dated(r, i);
        h.loud_count += is_loud(&r->outcomes[i]);
    }
    return h;
}

/* But for since when: it held all the time. */
static bool says_the_same(const note_view *v, const char *note, size_t n)
{
    const size_t from = sizeof(int64_t);
    int64_t since_ms;
    if (v->before.n != n || memcmp(v->before.p + from, note + from, n - from) != 0)
        return false;
    memcpy(&since_ms, v->before.p, sizeof since_ms);
    return since_ms <= v->as_of_ms;
}

og_str note_make(og_arena *a, const note_view *v, const plan_result *result, size_t room)
{
    const og_str nothing = {NULL, 0};
    const plan_content *c = v->content;
    if (v->finders == NULL || result->outcome_count > UINT16_MAX || v->count > NOTE_MAX_BYTES)
        return nothing;
    head h = head_for(v, result);
    size_t reads = all_read_bytes(c), n = bytes_of(&h, c, reads);
    if (n > room) {
        n -= h.kept_n;
        h.kept_n = 0;
    }
    if (n - h.kept_n > NOTE_MAX_BYTES || (v->count == 0 && h.loud_count > 0))
        return nothing;
    char *note = og_arena_zalloc(a, 1, n);
    if (note == NULL)
        return nothing;
    parts p = parts_of(note, &h, c, reads);
    *p.head = h;
    write_rules(result, &p);
    if (!write_reads(v, result, p.reads))
        return nothing;
    memcpy(p.sets, v->sets, v->set_count * plan_content_read_words(c) * sizeof *v->sets);
    if (v->count > 0) {
        memcpy(p.hashes, v->hashes, v->count * sizeof *v->hashes);
        memcpy(p.finders, v->finders, v->count);
    }
    if (h.kept_n > 0)
        memcpy(p.kept, kept_of(v, result).p, h.kept_n);
    return says_the_same(v, note, n) ? v->before : (og_str){note, n};
}
