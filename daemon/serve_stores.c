/* Stores of a daemon: STORE_DIR/GENERATION/PARTITION/, one more for the shared topic, and the
 * index of recorded ids. Whatever cannot be trusted is thrown away here and comes back from the
 * topics. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "daemon/file.h"
#include "daemon/heap.h"
#include "daemon/metrics.h"
#include "daemon/place.h"
#include "daemon/serve_private.h"

#define DAY_MS       86400000
#define SEEN_MS      3600000 /* how often it is noted that a store is followed */
#define GIVE_BACK_MS 10000   /* how often the allocator is asked for what lies idle */
#define SYNC_IDS_MS  30000   /* how often the index of recorded ids is */

static size_t map_bytes(const serve *s)
{
    return (size_t)s->config->store_map_size_mb << 20;
}

static char *path_of(const serve *s, const char *name)
{
    char path[1024];
    return store_path(s->config->store_dir, s->config->kafka_partitions, name, path, sizeof path)
               ? strdup(path)
               : NULL;
}

/* Deletes that came while nobody followed the topic with this store may have left it by now: what
 * they were of would live on here for ever. A time to come is not believed either. */
static og_status judge_age(store_txn *t, const char *dir, og_error *err)
{
    int64_t seen_ms, now_ms = clock_wall_ms();
    og_status status = store_meta_int(t, STORE_SEEN, &seen_ms, err);
    if (status == OG_NOTFOUND)
        return OG_OK; /* new, or written by a version that did not note it */
    if (status != OG_OK)
        return status;
    if (seen_ms > now_ms - STORE_KEPT_MS && seen_ms < now_ms + STORE_KEPT_MS)
        return OG_OK;
    status = og_fail(err, OG_CORRUPT,
                     "it was last used %lld days ago, and the topics keep deletes for %d",
                     (long long)((now_ms - seen_ms) / DAY_MS), (int)(STORE_KEPT_MS / DAY_MS));
    og_error_origin(err, dir);
    return status;
}

/* What the store knows of itself; a new one gets its name. */
static og_status read_self(serve_partition *p, int64_t *ret_offset, og_error *err)
{
    store_txn *t;
    og_str id;
    og_status status = store_begin(p->store, true, &t, err);
    if (status != OG_OK)
        return status;
    *ret_offset = -1;
    p->said_next = 0;
    p->said_claim = -1;
    status = judge_age(t, p->dir, err);
    if (status == OG_OK) {
        p->seen_ms = clock_wall_ms();
        status = store_set_meta_int(t, STORE_SEEN, p->seen_ms, err);
    }
    if (status == OG_OK)
        status = store_meta_int(t, STORE_NEXT_OFFSET, ret_offset, err);
    if (status == OG_OK || status == OG_NOTFOUND)
        status = store_meta_int(t, STORE_SAID_OFFSET, &p->said_next, err);
    if (status == OG_OK)
        status = store_meta_int(t, STORE_SAID_CLAIM, &p->said_claim, err);
    p->filled_ms = 0;
    if (status == OG_OK || status == OG_NOTFOUND)
        status = store_meta_int(t, STORE_FILLED, &p->filled_ms, err);
    if (status == OG_OK || status == OG_NOTFOUND)
        status = store_meta(t, STORE_ID, &id, err);
    if (status == OG_OK && id.n == UUID_TEXT - 1) {
        memcpy(p->id, id.p, id.n);
        p->id[id.n] = '\0';
    } else if (status == OG_OK || status == OG_NOTFOUND) {
        uuid_random(p->id);
        status = store_set_meta(t, STORE_ID, og_str_of(p->id), err);
    }
    if (status == OG_OK)
        return store_commit(t, err);
    store_abort(t);
    return status;
}

static og_status open_once(serve *s, serve_partition *p, int64_t *ret_offset, og_error *err)
{
    og_status status = store_open(p->dir, map_bytes(s), s->config->store_sync == CONFIG_SYNC_BATCH,
                                  NULL, &p->store, err);
    if (status != OG_OK)
        return status;
    status = read_self(p, ret_offset, err);
    if (status != OG_OK) {
        kv_abandon(p->store);
        p->store = NULL;
    }
    return status;
}

static og_status discard(const serve_partition *p, const og_error *why, og_error *err)
{
    log_failure(LOG_LEVEL_WARN, "a store is thrown away; it will be rebuilt from its topic", why);
    metric_add(METRIC_STORE_DISCARDED, 1);
    return kv_discard(p->dir, err);
}

static og_status open_store(serve *s, serve_partition *p, int number, og_error *err)
{
    int64_t offset = -1;
    og_error why;
    og_error_init(&why);
    og_status status = open_once(s, p, &offset, &why);
    if (status == OG_CORRUPT) {
        status = discard(p, &why, err);
        if (status == OG_OK)
            status = open_once(s, p, &offset, err);
    } else if (status != OG_OK && err != NULL) {
        *err = why;
    }
    if (status != OG_OK)
        return status;
    p->synced_offset = p->syncing_offset = offset;
    p->epoch = -1;
    if (p->filled_ms > s->filled_ms)
        s->filled_ms = p->filled_ms;
    SERVE_SHARED(s)->filled_ms = s->filled_ms; /* what was over was over there as well */
    owner_set_store(s->owner, number, p->store, offset);
    return OG_OK;
}

static og_status index_store(const serve *s, serve_partition *p, og_error *err);

og_status serve__open_partition(serve *s, int partition, og_error *err)
{
    serve_partition *p = &s->partitions[partition];
    if (p->store != NULL)
        return OG_OK;
    og_status status = open_store(s, p, partition, err);
    return status == OG_OK ? index_store(s, p, err) : status;
}

void serve__close_foreign(serve *s)
{
    if (s->revoking || s->sync_busy)
        return;
    for (int i = 0; i < s->count; i++) {
        serve_partition *p = &s->partitions[i];
        if (p->store == NULL || p->assigned || !p->foreign || p->posting > 0 || p->publishing > 0 ||
            serve__bulk_uses(s, p->store))
            continue;
        owner_state state = owner_get(s->owner, i);
        if (state.running || state.tasks > 0)
            continue;
        owner_set_store(s->owner, i, NULL, -1);
        kv_close(p->store);
        p->store = NULL;
        p->parked = 0;
        p->was_restored = false;
    }
}

og_status serve__rebuild(serve *s, serve_partition *p, og_error *err)
{
    int number = p == SERVE_SHARED(s) ? OWNER_SHARED : (int)(p - s->partitions);
    metric_add(METRIC_STORE_DISCARDED, 1);
    owner_set_store(s->owner, number, NULL, -1);
    if (number != OWNER_SHARED)
        outbox_forget_partition(s->outbox, number);
    kv_abandon(p->store);
    p->store = NULL;
    p->parked = 0;
    p->rebuild = p->was_restored = false;
    /* Until it is assigned anew: words that still come from the alerts topic are not for it, which
     * begins to read that topic at its beginning. */
    p->assigned = false;
    og_status status = kv_discard(p->dir, err);
    if (status == OG_OK)
        status = open_store(s, p, number, err);
    return status == OG_OK ? index_store(s, p, err) : status;
}

/* ---- the index of recorded ids ---- */

static og_status add_place(void *ctx, og_str type, og_str id, og_error *err)
{
    return idset_add(ctx, type, id, err);
}

static og_status add_resource(void *ctx, og_str patient, og_str type_id, const record_order *order,
                              bool deleted, og_error *err)
{
    ptrdiff_t slash = og_str_find(type_id, '/');
    (void)patient;
    (void)order;
    (void)deleted;
    if (slash < 0 || og_str_find(type_id, RECORD_VIA) >= 0)
        return OG_OK; /* a copy */
    return idset_add(ctx, (og_str){type_id.p, (size_t)slash},
                     og_str_from(type_id, (size_t)slash + 1), err);
}

static og_status add_all(const serve *s, store *st, og_error *err)
{
    store_txn *t;
    og_status status = store_begin(st, false, &t, err);
    if (status != OG_OK)
        return status;
    status = store_each_resource(t, add_resource, s->recorded, err);
    if (status == OG_OK)
        status = place_each(t, add_place, s->recorded, err);
    store_abort(t);
    return status;
}

static og_status is_indexed(const serve *s, store *st, bool *ret, og_error *err)
{
    store_txn *t;
    og_str name;
    og_status status = store_begin(st, false, &t, err);
    if (status != OG_OK)
        return status;
    status = store_meta(t, STORE_INDEXED, &name, err);
    *ret = status == OG_OK && og_str_is(name, idset_name(s->recorded));
    store_abort(t);
    return status == OG_NOTFOUND ? OG_OK : status;
}

static og_status note_indexed(const serve *s, store *st, og_error *err)
{
    store_txn *t;
    og_status status = store_begin(st, true, &t, err);
    if (status != OG_OK)
        return status;
    status = store_set_meta(t, STORE_INDEXED, og_str_of(idset_name(s->recorded)), err);
    if (status == OG_OK)
        return store_commit(t, err);
    store_abort(t);
    return status;
}

/* The index has all ids of the store; nobody else may be writing to it. A damaged store is thrown
 * away, and what it will read again comes into the index too; a damaged index is renewed, and then
 * all stores are looked at. */
static og_status index_store(const serve *s, serve_partition *p, og_error *err)
{
    bool indexed = false;
    og_status status = is_indexed(s, p->store, &indexed, err);
    if (status == OG_OK && !indexed)
        status = add_all(s, p->store, err);
    if (status == OG_OK && !indexed)
        status = note_indexed(s, p->store, err);
    if (status != OG_CORRUPT)
        return status;
    if (!idset_is_broken(s->recorded)) {
        log_failure(LOG_LEVEL_ERROR, "a store will be rebuilt from its topic", err);
        p->rebuild = true;
    }
    og_error_init(err);
    return OG_OK;
}

/* Versions before this index had another one beside the stores. */
static void forget_former_index(const serve *s)
{
    char *dir = path_of(s, "locator");
    if (dir != NULL && file_remove_tree(dir, NULL) != OG_OK)
        log_warn("cannot remove %s, which is not used any more", dir);
    free(dir);
}

static og_status open_recorded(serve *s, og_error *err)
{
    char *dir = path_of(s, "ids");
    if (dir == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the index of recorded ids");
    forget_former_index(s);
    og_status status = idset_open(dir, NULL, &s->recorded, err);
    free(dir);
    s->setup.recorded = s->recorded;
    return status == OG_OK ? index_store(s, SERVE_SHARED(s), err) : status;
}

og_status serve__renew_recorded(serve *s, og_error *err)
{
    og_status status = idset_renew(s->recorded, err);
    for (int i = 0; status == OG_OK && i <= s->count; i++) {
        serve_partition *p = &s->partitions[i];
        if (p->store != NULL && !p->rebuild)
            status = index_store(s, p, err);
    }
    if (status != OG_OK)
        idset_distrust(s->recorded);
    else if (idset_is_broken(s->recorded))
        status = og_fail(err, OG_CORRUPT, "it is damaged again");
    return status;
}

/* Two processes on one store would each believe to be alone. The kernel lets the lock go when the
 * process dies, however it dies. */
static og_status lock_store(serve *s, og_error *err)
{
    char path[1024];
    og_status status = file_make_dirs(s->config->store_dir, err);
    if (status != OG_OK)
        return status;
    snprintf(path, sizeof path, "%s/lock", s->config->store_dir);
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0640);
    if (fd < 0)
        return og_fail(err, OG_IO, "%s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int reason = errno;
        close(fd);
        return reason == EWOULDBLOCK
                   ? og_fail(err, OG_IO, "another osteoguard uses the store in %s",
                             s->config->store_dir)
                   : og_fail(err, OG_IO, "cannot lock %s: %s", path, strerror(reason));
    }
    s->lock = fd;
    return OG_OK;
}

og_status serve__open_stores(serve *s, og_error *err)
{
    og_status status = lock_store(s, err);
    for (int i = 0; i <= s->count && status == OG_OK; i++) {
        char name[32];
        serve_partition *p = &s->partitions[i];
        snprintf(name, sizeof name, i == s->count ? "shared" : "%d", i);
        p->dir = path_of(s, name);
        p->epoch = -1;
        if (p->dir == NULL)
            return og_fail(err, OG_NOMEM, "no memory for the path of a store");
    }
    if (status == OG_OK)
        status = open_store(s, SERVE_SHARED(s), OWNER_SHARED, err);
    return status == OG_OK ? open_recorded(s, err) : status;
}

void serve__close_stores(serve *s)
{
    for (int i = 0; s->partitions != NULL && i <= s->count; i++) {
        kv_close(s->partitions[i].store);
        free(s->partitions[i].dir);
        free(s->partitions[i].again);
        serve__forget_beats(&s->partitions[i]);
    }
    free(s->partitions);
    s->partitions = NULL;
    idset_close(s->recorded);
    s->recorded = NULL;
    if (s->lock > 0)
        close(s->lock);
    s->lock = 0;
}

/* ---- to the disk ---- */

/* A failure is noted by the next one, or by whoever really writes. */
static void note_seen(serve_partition *p)
{
    store_txn *t;
    int64_t now_ms = clock_wall_ms();
    if (now_ms - p->seen_ms < SEEN_MS && now_ms >= p->seen_ms)
        return;
    if (store_begin(p->syncing, true, &t, NULL) != OG_OK)
        return;
    if (store_set_meta_int(t, STORE_SEEN, now_ms, NULL) != OG_OK)
        store_abort(t);
    else if (store_commit(t, NULL) == OG_OK)
        p->seen_ms = now_ms;
}

/* What a backlog took and gave back lies in the arenas of many threads, and stays there. */
static void give_back_memory(serve *s)
{
    int64_t now = clock_monotonic_ms();
    if (now < s->gave_back_ms + GIVE_BACK_MS)
        return;
    s->gave_back_ms = now;
    heap_give_back();
}

/* Losing what is written there since then would only mean to begin it anew. */
static void sync_recorded(serve *s)
{
    int64_t now = clock_monotonic_ms();
    og_error err;
    if (now < s->recorded_sync_ms + SYNC_IDS_MS)
        return;
    s->recorded_sync_ms = now;
    og_error_init(&err);
    if (idset_sync(s->recorded, &err) != OG_OK)
        log_failure(LOG_LEVEL_ERROR, "the index of recorded ids will be filled anew", &err);
}

static void sync_work(uv_work_t *w)
{
    serve *s = w->data;
    bool trimmed = false;
    s->sync_failed = false;
    give_back_memory(s);
    sync_recorded(s);
    for (int i = 0; i <= s->count; i++) {
        serve_partition *p = &s->partitions[i];
        og_error err;
        og_error_init(&err);
        if (p->syncing == NULL)
            continue;
        if (p->syncing_ours)
            note_seen(p);
        trimmed |= kv_trim(p->syncing);
        if (p->syncing_offset == p->synced_offset)
            continue;
        if (kv_sync(p->syncing, &err) != OG_OK) {
            log_failure(LOG_LEVEL_ERROR, "a store will be rebuilt from its topic", &err);
            s->sync_failed = true;
            p->not_on_disk = true;
            p->syncing_offset = p->synced_offset; /* no commit says more than the disk holds */
        }
    }
    if (trimmed)
        idset_trim(s->recorded);
}

static void sync_done(uv_work_t *w, int status)
{
    serve *s = w->data;
    (void)status;
    s->sync_busy = false;
    s->open_things--;
    for (int i = 0; i <= s->count; i++) {
        serve_partition *p = &s->partitions[i];
        p->synced_offset = p->syncing_offset;
        p->rebuild |= p->not_on_disk;
        p->not_on_disk = false;
    }
    serve__commit_records(s);
}

/* What a group's offset promises: the effects up to there are out. Patients that are to be
 * evaluated and alerts that are not published yet keep it where it is. */
static bool may_commit(const serve *s, int partition)
{
    owner_state state = owner_get(s->owner, partition);
    return state.dirty == state.ceasing && !state.sweeping &&
           outbox_pending(s->outbox, s->endpoint_count - 1) == 0;
}

void serve__sync(serve *s)
{
    if (s->sync_busy || s->step < SERVE_RESTORE)
        return; /* before that a store may still be thrown away at any time */
    for (int i = 0; i <= s->count; i++) {
        serve_partition *p = &s->partitions[i];
        bool shared = i == s->count;
        p->syncing_offset = p->synced_offset;
        p->syncing_ours = shared || p->assigned;
        p->syncing = p->store; /* one that is opened meanwhile is the loop's alone */
        if (p->store == NULL || p->rebuild || (!shared && !may_commit(s, i)))
            continue;
        owner_state state = owner_get(s->owner, shared ? OWNER_SHARED : i);
        /* Patients that wait until their events cease hold it back by as much. */
        int64_t finished =
            state.next_offset < state.ceasing_offset ? state.next_offset : state.ceasing_offset;
        if (finished > p->syncing_offset)
            p->syncing_offset = finished;
    }
    s->sync_work.data = s;
    if (uv_queue_work(s->loop, &s->sync_work, sync_work, sync_done) != 0)
        return;
    s->sync_busy = true;
    s->open_things++;
}
