/* Notes of patients: a hash table whose buckets are as many as it is born with, and a list by last
 * use from which the oldest goes when the bytes run out. A note is one block: the rules that did
 * not fire, their reviews, then for each resource of the view its hash and the rules that read it.
 *
 * The resources that two views have in common, in the same order, are the same for every rule; all
 * others, of either view, wake the rules that read them. */
#include "daemon/recall.h"

#include <stdlib.h>

#define MEAN_BYTES 512 /* of a note: so many buckets */
#define LARGEST    16  /* one of so many parts of the memory is the largest note */
#define LOOK_AHEAD 64  /* resources that may have come or gone in one place to be recognised */

typedef struct note {
    struct note *next;          /* in its bucket */
    struct note *older, *newer; /* in the list by last use */
    uint64_t hash;              /* of the patient's id */
    size_t bytes;
    int64_t since_ms, until_ms;
    int offset_min;
    uint32_t id_n, count, review_count;
    uint64_t words[]; /* silent, dated: sets; reviews of the dated; hashes; readers; the id */
} note;

struct recall {
    size_t max_bytes, bytes;
    note **buckets;
    size_t mask;
    note *oldest, *newest;
    char digest[40]; /* of the content that the notes are about */
};

/* ---- one note ---- */

typedef struct parts {
    uint64_t *silent, *dated, *reviews, *hashes, *readers;
    char *id;
} parts;

static parts parts_of(note *n, size_t rule_words)
{
    parts p = {.silent = n->words, .dated = n->words + rule_words};
    p.reviews = p.dated + rule_words;
    p.hashes = p.reviews + n->review_count;
    p.readers = p.hashes + n->count;
    p.id = (char *)(p.readers + (size_t)n->count * rule_words);
    return p;
}

static size_t size_of(const note *n, size_t rule_words)
{
    return sizeof *n + n->id_n +
           sizeof(uint64_t) *
               (2 * rule_words + n->review_count + (size_t)n->count * (1 + rule_words));
}

static void include(uint64_t *set, size_t rule)
{
    set[rule / 64] |= (uint64_t)1 << rule % 64;
}

static void join(uint64_t *set, const uint64_t *sets, size_t rule_words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t w = 0; w < rule_words; w++)
            set[w] |= sets[i * rule_words + w];
}

/* ---- table and list ---- */

static note **bucket_of(recall *m, uint64_t hash)
{
    return &m->buckets[hash & m->mask];
}

static note *find(recall *m, og_str patient, uint64_t hash, size_t rule_words)
{
    for (note *n = *bucket_of(m, hash); n != NULL; n = n->next)
        if (n->hash == hash && og_str_eq(patient, (og_str){parts_of(n, rule_words).id, n->id_n}))
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

/* Sets of rules mean those of one content. */
static void be_about(recall *m, const plan_content *c)
{
    const char *digest = plan_content_digest(c);
    if (strcmp(m->digest, digest) == 0)
        return;
    forget_all(m);
    snprintf(m->digest, sizeof m->digest, "%s", digest);
}

/* ---- what has changed ---- */

typedef struct comparison {
    og_arena *a;
    const plan_content *c;
    const fhir_resource *resources;
    recall_view *now;
    const note *before; /* NULL: nothing */
    parts was;
    size_t rule_words;
    uint64_t *woken; /* rules that read what is not in both */
} comparison;

static void gone(comparison *x, size_t at, size_t count)
{
    join(x->woken, x->was.readers + at * x->rule_words, x->rule_words, count);
}

static void come(comparison *x, size_t at, size_t count)
{
    for (size_t i = at; i < at + count; i++)
        plan_content_readers(x->c, x->a, &x->resources[i], x->now->readers + i * x->rule_words);
    join(x->woken, x->now->readers + at * x->rule_words, x->rule_words, count);
}

static void stayed(comparison *x, size_t was, size_t is)
{
    memcpy(x->now->readers + is * x->rule_words, x->was.readers + was * x->rule_words,
           x->rule_words * sizeof(uint64_t));
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

/* What did not fire, and is read by nobody who was woken. */
static void spare(const comparison *x, plan_patient *p)
{
    uint64_t *spared = og_arena_alloc(x->a, (x->rule_words + 1) * sizeof *spared);
    size_t rules = plan_content_rule_count(x->c), next = 0;
    int64_t *reviews = og_arena_zalloc(x->a, rules + 1, sizeof *reviews);

    if (spared == NULL || reviews == NULL)
        return;
    for (size_t w = 0; w < x->rule_words; w++)
        spared[w] = x->was.silent[w] & ~x->woken[w];
    for (size_t i = 0; i < rules; i++)
        if (plan_rules_has(x->was.dated, i))
            reviews[i] = (int64_t)x->was.reviews[next++];
    p->spared = spared;
    p->spared_reviews = reviews;
}

void recall_look(recall *m, og_arena *a, const plan_content *c, plan_patient *p,
                 const uint64_t *hashes, int64_t as_of_ms, int offset_min, recall_view *ret)
{
    *ret = (recall_view){.patient = p->id,
                         .hashes = hashes,
                         .count = p->resource_count,
                         .as_of_ms = as_of_ms,
                         .until_ms = INT64_MAX,
                         .offset_min = offset_min};
    if (m == NULL)
        return;
    size_t rule_words = plan_content_rule_words(c);
    be_about(m, c);
    ret->readers = og_arena_alloc(a, (ret->count * rule_words + 1) * sizeof *ret->readers);
    comparison x = {.a = a,
                    .c = c,
                    .resources = p->resources,
                    .now = ret,
                    .rule_words = rule_words,
                    .woken = og_arena_zalloc(a, rule_words + 1, sizeof *x.woken)};
    if (ret->readers == NULL || x.woken == NULL) {
        ret->readers = NULL;
        return;
    }
    note *n = find(m, p->id, og_str_hash(p->id), rule_words);
    if (n != NULL) {
        x.before = n;
        x.was = parts_of(n, rule_words);
    }
    compare(&x);
    if (n == NULL || n->offset_min != offset_min || as_of_ms < n->since_ms ||
        as_of_ms >= n->until_ms)
        return;
    ret->until_ms = n->until_ms;
    spare(&x, p);
}

void recall_keep(recall *m, const plan_content *c, const recall_view *v, const plan_result *result)
{
    size_t rule_words = plan_content_rule_words(c);
    note *n, head = {.hash = og_str_hash(v->patient),
                     .since_ms = v->as_of_ms,
                     .until_ms = result->holds_until_ms,
                     .offset_min = v->offset_min,
                     .id_n = (uint32_t)v->patient.n,
                     .count = (uint32_t)v->count};
    if (m == NULL || v->readers == NULL)
        return;
    if (v->until_ms < head.until_ms)
        head.until_ms = v->until_ms;
    for (size_t i = 0; i < result->outcome_count; i++)
        head.review_count += result->outcomes[i].kind == PLAN_NOT_FIRED && result->reviews[i] != 0;
    head.bytes = size_of(&head, rule_words);
    if ((n = find(m, v->patient, head.hash, rule_words)) != NULL)
        forget(m, n);
    n = head.bytes <= m->max_bytes / LARGEST ? malloc(head.bytes) : NULL;
    if (n == NULL)
        return;
    *n = head;
    parts p = parts_of(n, rule_words);
    memset(p.silent, 0, 2 * rule_words * sizeof *p.silent);
    for (size_t i = 0, next = 0; i < result->outcome_count; i++) {
        if (result->outcomes[i].kind != PLAN_NOT_FIRED)
            continue;
        include(p.silent, i);
        if (result->reviews[i] == 0)
            continue;
        include(p.dated, i);
        p.reviews[next++] = (uint64_t)result->reviews[i];
    }
    if (v->count > 0) {
        memcpy(p.hashes, v->hashes, v->count * sizeof *p.hashes);
        memcpy(p.readers, v->readers, v->count * rule_words * sizeof *p.readers);
    }
    memcpy(p.id, v->patient.p, v->patient.n);
    insert(m, n);
}

/* ---- life ---- */

size_t recall_bytes(const recall *m)
{
    return m->bytes;
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
    if (m->buckets == NULL) {
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
    free((void *)m->buckets);
    free(m);
}
