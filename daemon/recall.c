/* Notes of patients: a hash table whose buckets are as many as it is born with, and a list by last
 * use from which the oldest goes when the bytes run out. A note is one block: the rules that did
 * not fire and those that did, reviews, then for each resource of the view its hash and what can
 * find it, and for each rule what it has read. Both are sets of retrieves, of which there are few
 * different ones: a note has their numbers in a list that all notes share.
 *
 * A note is looked at and replaced under the lock alone: what is spared is copied out of it.
 *
 * The resources that two views have in common, in the same order, are the same for every rule; all
 * others, of either view, wake the rules that read what can find them. */
#include "daemon/recall.h"

#include <stdlib.h>
#include <uv.h>

#include "rules/cql/kept.h"

#define MEAN_BYTES 512 /* of a note: so many buckets */
#define LARGEST    16  /* one of so many parts of the memory is the largest note */
#define FOR_SETS   32  /* one of so many parts is for the sets; about as much again finds them */
#define MOST_SETS  UINT16_MAX
#define ANYTHING   0  /* number of the set that has everything: stands for what has no room */
#define LOOK_AHEAD 64 /* resources that may have come or gone in one place to be recognised */

typedef struct note {
    struct note *next;          /* in its bucket */
    struct note *older, *newer; /* in the list by last use */
    uint64_t hash;              /* of the key */
    size_t bytes;
    int64_t since_ms, until_ms;
    int offset_min;
    uint32_t key_n, count, review_count, loud_count, kept_n;
    uint64_t words[]; /* silent, dated: sets; reviews of the dated; hashes; loud; reads; finders;
                       * key; kept */
} note;

typedef struct loud { /* a rule that fired, was suppressed or merged */
    uint64_t material;
    uint32_t rule, by; /* by: number of a rule */
    uint32_t kind;     /* plan_outcome_kind */
    uint32_t place;    /* PLAN_FIRED: of its card among the others */
    char alert_id[40];
} loud;

struct recall {
    uv_mutex_t lock; /* of all that follows */
    size_t max_bytes, bytes;
    note **buckets;
    size_t mask;
    note *oldest, *newest;
    char digest[40]; /* of the content that the notes are about */
    uint64_t round;  /* how many contents there were */
    size_t rules, rule_words, set_words;
    uint64_t *sets; /* one behind the other; by number */
    size_t set_count, set_cap, set_bytes;
    uint16_t *slots; /* number of a set by its hash; ANYTHING: none */
    size_t slot_mask;
};

/* ---- one note ---- */

typedef struct parts {
    uint64_t *silent, *dated, *reviews, *hashes;
    loud *loud;
    uint16_t *reads, *finders;
    char *key, *kept;
} parts;

static size_t words_for(size_t rules)
{
    return (rules + 63) / 64;
}

static parts parts_of(note *n, size_t rules)
{
    parts p = {.silent = n->words, .dated = n->words + words_for(rules)};
    p.reviews = p.dated + words_for(rules);
    p.hashes = p.reviews + n->review_count;
    p.loud = (loud *)(p.hashes + n->count);
    p.reads = (uint16_t *)(p.loud + n->loud_count);
    p.finders = p.reads + rules;
    p.key = (char *)(p.finders + n->count);
    p.kept = p.key + n->key_n;
    return p;
}

static size_t size_of(const note *n, size_t rules)
{
    return sizeof *n + n->key_n + n->kept_n + n->loud_count * sizeof(loud) +
           sizeof(uint16_t) * (rules + n->count) +
           sizeof(uint64_t) * (2 * words_for(rules) + n->review_count + n->count);
}

static void include(uint64_t *set, size_t rule)
{
    set[rule / 64] |= (uint64_t)1 << rule % 64;
}

/* ---- sets of retrieves ---- */

static const uint64_t *set_at(const recall *m, uint16_t number)
{
    return m->sets + number * m->set_words;
}

static uint64_t hash_of(const recall *m, const uint64_t *set)
{
    return og_str_hash((og_str){(const char *)set, m->set_words * sizeof *set});
}

/* The number of a set, which is new or not. */
static uint16_t number_of_set(recall *m, const uint64_t *set)
{
    size_t bytes = m->set_words * sizeof *set, i = hash_of(m, set) & m->slot_mask;
    for (; m->slots[i] != ANYTHING; i = (i + 1) & m->slot_mask)
        if (memcmp(set_at(m, m->slots[i]), set, bytes) == 0)
            return m->slots[i];
    if (m->set_count == m->set_cap)
        return ANYTHING;
    memcpy(m->sets + m->set_count * m->set_words, set, bytes);
    m->slots[i] = (uint16_t)m->set_count;
    return (uint16_t)m->set_count++;
}

static void join(const recall *m, uint64_t *set, const uint64_t *other)
{
    for (size_t w = 0; w < m->set_words; w++)
        set[w] |= other[w];
}

static bool meet(const recall *m, const uint64_t *a, const uint64_t *b)
{
    for (size_t w = 0; w < m->set_words; w++)
        if ((a[w] & b[w]) != 0)
            return true;
    return false;
}

static void free_sets(recall *m)
{
    free(m->sets);
    free(m->slots);
    m->bytes -= m->set_bytes;
    m->sets = NULL;
    m->slots = NULL;
    m->set_cap = m->set_count = m->set_bytes = 0;
}

/* False: there is no memory, and nothing can be kept. */
static bool make_sets(recall *m)
{
    size_t bytes = m->set_words * sizeof *m->sets, cap = m->max_bytes / FOR_SETS / bytes + 1;
    size_t slots = 4;
    if (cap > MOST_SETS)
        cap = MOST_SETS;
    while (slots < 2 * cap)
        slots *= 2;
    m->sets = malloc(cap * bytes);
    m->slots = calloc(slots, sizeof *m->slots);
    if (m->sets == NULL || m->slots == NULL) {
        free_sets(m);
        return false;
    }
    m->set_cap = cap;
    m->slot_mask = slots - 1;
    m->set_bytes = cap * bytes + slots * sizeof *m->slots;
    m->bytes += m->set_bytes;
    memset(m->sets, 0xff, bytes);
    m->set_count = 1;
    return true;
}

/* ---- table and list ---- */

static note **bucket_of(recall *m, uint64_t hash)
{
    return &m->buckets[hash & m->mask];
}

static note *find(recall *m, og_str key)
{
    uint64_t hash = og_str_hash(key);
    for (note *n = *bucket_of(m, hash); n != NULL; n = n->next)
        if (n->hash == hash && og_str_eq(key, (og_str){parts_of(n, m->rules).key, n->key_n}))
            return n;
    return NULL;
}

static void unlist(recall *m, note *n)
{
    if (m->oldest == n)
        m->oldest = n->newer;
    else
        n->older->newer = n->newer;
    if (m->newest == n)
        m->newest = n->older;
    else
        n->newer->older = n->older;
}

static void list_newest(recall *m, note *n)
{
    n->older = m->newest;
    n->newer = NULL;
    if (m->newest != NULL)
        m->newest->newer = n;
    else
        m->oldest = n;
    m->newest = n;
}

static void forget(recall *m, note *n)
{
    note **at = bucket_of(m, n->hash);
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    unlist(m, n);
    m->bytes -= n->bytes;
    free(n);
}

static void insert(recall *m, note *n)
{
    note **at = bucket_of(m, n->hash);
    while (m->oldest != NULL && m->bytes + n->bytes > m->max_bytes)
        forget(m, m->oldest);
    n->next = *at;
    *at = n;
    list_newest(m, n);
    m->bytes += n->bytes;
}

static void forget_all(recall *m)
{
    for (note *n = m->oldest, *newer; n != NULL; n = newer) {
        newer = n->newer;
        m->bytes -= n->bytes;
        free(n);
    }
    m->oldest = m->newest = NULL;
    memset((void *)m->buckets, 0, (m->mask + 1) * sizeof(note *));
}

/* Numbers of rules and retrieves mean those of one content. */
static bool be_about(recall *m, const plan_content *c)
{
    const char *digest = plan_content_digest(c);
    if (strcmp(m->digest, digest) == 0)
        return true;
    forget_all(m);
    free_sets(m);
    m->round++;
    m->digest[0] = '\0';
    m->rules = plan_content_rule_count(c);
    m->rule_words = plan_content_rule_words(c);
    m->set_words = plan_content_read_words(c);
    if (!make_sets(m))
        return false;
    snprintf(m->digest, sizeof m->digest, "%s", digest);
    return true;
}

/* ---- what has changed ---- */

typedef struct comparison {
    recall *m;
    og_arena *a;
    const plan_content *c;
    const fhir_resource *resources;
    recall_view *now;
    const note *before; /* NULL: nothing */
    parts was;
    uint64_t *moved; /* what can find what is not in both */
    uint64_t *set;   /* room for one */
} comparison;

static void gone(comparison *x, size_t at, size_t count)
{
    for (size_t i = at; i < at + count; i++)
        join(x->m, x->moved, set_at(x->m, x->was.finders[i]));
}

static void come(comparison *x, size_t at, size_t count)
{
    for (size_t i = at; i < at + count; i++) {
        plan_content_finders(x->c, x->a, &x->resources[i], x->set);
        join(x->m, x->moved, x->set);
        x->now->finders[i] = number_of_set(x->m, x->set);
    }
}

static void stayed(comparison *x, size_t was, size_t is)
{
    x->now->finders[is] = x->was.finders[was];
}

static bool is_woken(const comparison *x, size_t rule)
{
    return meet(x->m, x->moved, set_at(x->m, x->was.reads[rule]));
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
    size_t n = x->before != NULL ? x->before->count : 0, i = 0, k = 0;

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

/* How those came out that fired: together, or not at all. */
static void hold(const comparison *x, plan_patient *p)
{
    size_t rules = x->m->rules, cards = 0;
    plan_held *held = og_arena_zalloc(x->a, 1, sizeof *held);
    uint64_t *set = og_arena_zalloc(x->a, x->m->rule_words + 1, sizeof *set);
    plan_outcome *outcomes = og_arena_zalloc(x->a, rules + 1, sizeof *outcomes);
    plan_card *list = og_arena_zalloc(x->a, x->before->loud_count + 1, sizeof *list);

    if (held == NULL || set == NULL || outcomes == NULL || list == NULL)
        return;
    for (uint32_t i = 0; i < x->before->loud_count; i++) {
        const loud *l = &x->was.loud[i];
        if (is_woken(x, l->rule))
            return;
        include(set, l->rule);
        outcomes[l->rule].kind = (plan_outcome_kind)l->kind;
        if (l->kind != PLAN_FIRED) {
            outcomes[l->rule].by = og_str_of(plan_content_rule_id(x->c, l->by));
            continue;
        }
        plan_card *card = &list[l->place];
        card->rule = og_str_of(plan_content_rule_id(x->c, l->rule));
        card->material = l->material;
        memcpy(card->alert_id, l->alert_id, sizeof card->alert_id);
        cards++;
    }
    *held = (plan_held){set, outcomes, list, cards};
    p->held = cards > 0 ? held : NULL;
}

/* What did not fire, and rests on nothing that has moved. */
static void spare(const comparison *x, plan_patient *p)
{
    uint64_t *spared = og_arena_zalloc(x->a, x->m->rule_words + 1, sizeof *spared);
    size_t rules = x->m->rules, next = 0;
    int64_t *reviews = og_arena_zalloc(x->a, rules + 1, sizeof *reviews);

    if (spared == NULL || reviews == NULL)
        return;
    for (size_t i = 0; i < rules; i++)
        if (plan_rules_has(x->was.silent, i) && !is_woken(x, i))
            include(spared, i);
    memcpy(x->now->reads, x->was.reads, rules * sizeof *x->was.reads);
    for (size_t i = 0; i < rules; i++)
        if (plan_rules_has(x->was.dated, i))
            reviews[i] = (int64_t)x->was.reviews[next++];
    p->spared = spared;
    p->spared_reviews = reviews;
    if (p->keeps)
        x->now->kept = p->kept =
            cql_kept_without(x->a, (og_str){x->was.kept, x->before->kept_n}, x->moved);
    hold(x, p);
}

/* Those of whom there is nothing are all the same to rules that do not fire. */
static og_str name_of(const plan_patient *p)
{
    return p->resource_count > 0 ? p->id : OG_STR("");
}

/* No id has a line break in it, nor has the name of a hook. */
static og_str key_of(og_arena *a, const plan_patient *p)
{
    og_str name = name_of(p);
    return p->hook.n == 0 ? name
                          : og_arena_printf(a, "%.*s\n%.*s", OG_STR_ARG(p->hook), OG_STR_ARG(name));
}

static note *note_of(recall *m, const recall_view *v, og_str patient)
{
    note *n = find(m, v->key);
    return n != NULL || og_str_eq(v->key, patient) ? n : find(m, patient);
}

static void look(recall *m, comparison *x, plan_patient *p, bool keeps)
{
    recall_view *v = x->now;
    note *n = note_of(m, v, name_of(p));
    v->round = m->round;
    p->keeps = keeps && n != NULL;
    if (n != NULL) {
        x->before = n;
        x->was = parts_of(n, m->rules);
    }
    compare(x);
    if (n == NULL || n->offset_min != v->offset_min || v->as_of_ms < n->since_ms ||
        v->as_of_ms >= n->until_ms)
        return;
    v->until_ms = n->until_ms;
    spare(x, p);
}

void recall_look(recall *m, og_arena *a, const plan_content *c, plan_patient *p,
                 const uint64_t *hashes, int64_t as_of_ms, int offset_min, recall_view *ret)
{
    *ret = (recall_view){.key = key_of(a, p),
                         .hashes = hashes,
                         .count = p->resource_count,
                         .as_of_ms = as_of_ms,
                         .until_ms = INT64_MAX,
                         .offset_min = offset_min};
    bool keeps = p->keeps;
    p->keeps = false; /* unless the patient is found */
    if (m == NULL || ret->key.p == NULL)
        return;
    size_t words = plan_content_read_words(c), rules = plan_content_rule_count(c);
    ret->reads = og_arena_zalloc(a, rules + 1, sizeof *ret->reads);
    ret->finders = og_arena_zalloc(a, ret->count + 1, sizeof *ret->finders);
    comparison x = {.m = m,
                    .a = a,
                    .c = c,
                    .resources = p->resources,
                    .now = ret,
                    .moved = og_arena_zalloc(a, words, sizeof *x.moved),
                    .set = og_arena_zalloc(a, words, sizeof *x.set)};
    bool good = ret->reads != NULL && ret->finders != NULL && x.moved != NULL && x.set != NULL;
    uv_mutex_lock(&m->lock);
    if (good && be_about(m, c))
        look(m, &x, p, keeps);
    else
        ret->finders = NULL;
    uv_mutex_unlock(&m->lock);
}

static bool is_loud(const plan_outcome *o)
{
    return o->kind == PLAN_FIRED || o->kind == PLAN_SUPPRESSED || o->kind == PLAN_MERGED;
}

static bool is_dated(const plan_result *r, size_t rule)
{
    return (r->outcomes[rule].kind == PLAN_NOT_FIRED || is_loud(&r->outcomes[rule])) &&
           r->reviews[rule] != 0;
}

static uint32_t number_of(const plan_result *r, og_str rule)
{
    uint32_t i = 0;
    while (i < r->outcome_count && !og_str_eq(r->outcomes[i].rule, rule))
        i++;
    return i;
}

static loud loud_of(const plan_result *r, uint32_t rule)
{
    const plan_outcome *o = &r->outcomes[rule];
    loud l = {.rule = rule, .by = number_of(r, o->by), .kind = o->kind};
    for (uint32_t i = 0; o->kind == PLAN_FIRED && i < r->card_count; i++) {
        if (!og_str_eq(r->cards[i].rule, o->rule))
            continue;
        l.place = i;
        l.material = r->cards[i].material;
        memcpy(l.alert_id, r->cards[i].alert_id, sizeof r->cards[i].alert_id);
    }
    return l;
}

static void write_rules(const plan_result *r, const parts *p)
{
    size_t dated = 0, louds = 0;
    for (uint32_t i = 0; i < r->outcome_count; i++) {
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

/* Whoever was asked rests on something, and be it the Patient (plan_content_read_words). */
static bool was_asked(const recall *m, const uint64_t *set)
{
    return meet(m, set, set);
}

/* As it was asked now, or as it was spared. */
static void write_reads(recall *m, const recall_view *v, const plan_result *r, const parts *p)
{
    for (size_t i = 0; i < m->rules; i++) {
        const uint64_t *set = r->reads + i * m->set_words;
        p->reads[i] = was_asked(m, set) ? number_of_set(m, set) : v->reads[i];
    }
}

static og_str kept_of(const recall_view *v, const plan_result *r)
{
    return r->kept.n > 0 ? r->kept : v->kept;
}

static void write_note(recall *m, note *n, const recall_view *v, const plan_result *r)
{
    parts p = parts_of(n, m->rules);
    memset(p.silent, 0, 2 * m->rule_words * sizeof *p.silent);
    write_rules(r, &p);
    write_reads(m, v, r, &p);
    if (v->count > 0) {
        memcpy(p.hashes, v->hashes, v->count * sizeof *p.hashes);
        memcpy(p.finders, v->finders, v->count * sizeof *p.finders);
    }
    memcpy(p.key, v->key.p, v->key.n);
    if (n->kept_n > 0)
        memcpy(p.kept, kept_of(v, r).p, n->kept_n);
}

/* In place of what stands there; where n is NULL that is only taken away. What is about rules that
 * nobody asks for any more is not kept. */
static void replace(recall *m, const recall_view *v, note *n, const plan_result *result)
{
    bool ours = m->round == v->round && m->sets != NULL;
    note *old = ours ? find(m, v->key) : NULL;
    if (old != NULL)
        forget(m, old);
    if (n == NULL || !ours) {
        free(n);
        return;
    }
    write_note(m, n, v, result);
    insert(m, n);
}

void recall_keep(recall *m, const plan_content *c, const recall_view *v, const plan_result *result)
{
    note *n, head = {.since_ms = v->as_of_ms,
                     .until_ms = result->holds_until_ms,
                     .offset_min = v->offset_min,
                     .key_n = (uint32_t)v->key.n,
                     .kept_n = (uint32_t)kept_of(v, result).n,
                     .count = (uint32_t)v->count};
    if (m == NULL || v->finders == NULL)
        return;
    head.hash = og_str_hash(v->key);
    if (v->until_ms < head.until_ms)
        head.until_ms = v->until_ms;
    for (size_t i = 0; i < result->outcome_count; i++) {
        head.review_count += is_dated(result, i);
        head.loud_count += is_loud(&result->outcomes[i]);
    }
    head.bytes = size_of(&head, plan_content_rule_count(c));
    bool keeps = v->count > 0 || head.loud_count == 0; /* who fires has the patient's name */
    n = keeps && head.bytes <= m->max_bytes / LARGEST ? malloc(head.bytes) : NULL;
    if (n != NULL)
        *n = head;
    uv_mutex_lock(&m->lock);
    replace(m, v, n, result);
    uv_mutex_unlock(&m->lock);
}

/* ---- life ---- */

size_t recall_bytes(recall *m)
{
    uv_mutex_lock(&m->lock);
    size_t bytes = m->bytes;
    uv_mutex_unlock(&m->lock);
    return bytes;
}

recall *recall_new(size_t max_bytes)
{
    recall *m = calloc(1, sizeof *m);
    size_t buckets = 16;
    if (m == NULL)
        return NULL;
    while (buckets < max_bytes / MEAN_BYTES)
        buckets *= 2;
    m->buckets = calloc(buckets, sizeof(note *));
    m->mask = buckets - 1;
    m->max_bytes = max_bytes;
    m->bytes = sizeof *m + buckets * sizeof(note *);
    if (m->buckets == NULL || uv_mutex_init(&m->lock) != 0) {
        free((void *)m->buckets);
        free(m);
        return NULL;
    }
    return m;
}

void recall_free(recall *m)
{
    if (m == NULL)
        return;
    forget_all(m);
    free_sets(m);
    uv_mutex_destroy(&m->lock);
    free((void *)m->buckets);
    free(m);
}
