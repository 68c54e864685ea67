/* A hash table whose buckets are as many as it is born with, and a list by last use from which the
 * oldest note goes when the bytes run out. What a note says is note.h's business; it is copied
 * under the lock for whoever asks. */
#include "daemon/recall.h"

#include <stdlib.h>
#include <uv.h>

#define MEAN_BYTES 512 /* of a note: so many buckets */
#define LARGEST    16  /* one of so many parts of the memory is the largest note */

typedef struct entry {
    struct entry *next;          /* in its bucket */
    struct entry *older, *newer; /* in the list by last use */
    uint64_t hash;
    size_t hook_n, patient_n, note_n;
    char bytes[]; /* hook, patient, note */
} entry;

struct recall {
    uv_mutex_t lock; /* of all that follows */
    size_t max_bytes, bytes;
    entry **buckets;
    size_t mask;
    entry *oldest, *newest;
};

/* ---- table and list ---- */

/* Those of whom there is nothing are all the same to rules that do not fire. */
static og_str name_of(const plan_patient *p)
{
    return p->resource_count > 0 ? p->id : OG_STR("");
}

static uint64_t hash_of(const plan_patient *p)
{
    return og_str_hash(p->hook) * 31 + og_str_hash(name_of(p));
}

static size_t size_of(const entry *e)
{
    return sizeof *e + e->hook_n + e->patient_n + e->note_n;
}

static entry **bucket_of(recall *m, uint64_t hash)
{
    return &m->buckets[hash & m->mask];
}

static bool is_of(const entry *e, const plan_patient *p)
{
    return og_str_eq((og_str){e->bytes, e->hook_n}, p->hook) &&
           og_str_eq((og_str){e->bytes + e->hook_n, e->patient_n}, name_of(p));
}

static entry *find(recall *m, const plan_patient *p)
{
    uint64_t hash = hash_of(p);
    entry *e = *bucket_of(m, hash);
    while (e != NULL && !(e->hash == hash && is_of(e, p)))
        e = e->next;
    return e;
}

static void unlist(recall *m, entry *e)
{
    if (m->oldest == e)
        m->oldest = e->newer;
    else
        e->older->newer = e->newer;
    if (m->newest == e)
        m->newest = e->older;
    else
        e->newer->older = e->older;
}

static void list_newest(recall *m, entry *e)
{
    e->older = m->newest;
    e->newer = NULL;
    if (m->newest != NULL)
        m->newest->newer = e;
    else
        m->oldest = e;
    m->newest = e;
}

static void forget(recall *m, entry *e)
{
    entry **at = bucket_of(m, e->hash);
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    unlist(m, e);
    m->bytes -= size_of(e);
    free(e);
}

static void insert(recall *m, entry *e)
{
    entry **at = bucket_of(m, e->hash);
    while (m->oldest != NULL && m->bytes + size_of(e) > m->max_bytes)
        forget(m, m->oldest);
    e->next = *at;
    *at = e;
    list_newest(m, e);
    m->bytes += size_of(e);
}

size_t recall_room(const recall *m)
{
    return m != NULL ? m->max_bytes / LARGEST : 0;
}

/* NULL: it is empty or too large, or there is no memory. */
static entry *new_entry(const recall *m, const plan_patient *p, og_str note)
{
    entry head = {
        .hash = hash_of(p), .hook_n = p->hook.n, .patient_n = name_of(p).n, .note_n = note.n};
    entry *e = note.n > 0 && note.n <= recall_room(m) ? malloc(size_of(&head)) : NULL;
    if (e == NULL)
        return NULL;
    *e = head;
    if (e->hook_n > 0)
        memcpy(e->bytes, p->hook.p, e->hook_n);
    if (e->patient_n > 0)
        memcpy(e->bytes + e->hook_n, name_of(p).p, e->patient_n);
    memcpy(e->bytes + e->hook_n + e->patient_n, note.p, note.n);
    return e;
}

/* ---- what is asked of it ---- */

og_str recall_find(recall *m, og_arena *a, const plan_patient *p)
{
    og_str note = {NULL, 0};
    if (m == NULL)
        return note;
    uv_mutex_lock(&m->lock);
    const entry *e = find(m, p);
    if (e != NULL)
        note = og_arena_str(a, (og_str){e->bytes + e->hook_n + e->patient_n, e->note_n});
    uv_mutex_unlock(&m->lock);
    return note;
}

void recall_keep(recall *m, const plan_patient *p, og_str note)
{
    if (m == NULL)
        return;
    entry *e = new_entry(m, p, note);
    uv_mutex_lock(&m->lock);
    entry *old = find(m, p);
    if (old != NULL)
        forget(m, old);
    if (e != NULL)
        insert(m, e);
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
    m->buckets = calloc(buckets, sizeof(entry *));
    m->mask = buckets - 1;
    m->max_bytes = max_bytes;
    m->bytes = sizeof *m + buckets * sizeof(entry *);
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
    for (entry *e = m->oldest, *newer; e != NULL; e = newer) {
        newer = e->newer;
        free(e);
    }
    uv_mutex_destroy(&m->lock);
    free((void *)m->buckets);
    free(m);
}
