/* A Bloom filter in blocks of 64 bytes (Putze, Sanders and Singler 2007): an id has its bits in one
 * block, so that it is one read and one write, and each block proves itself by its last four bytes.
 * It grows as scalable filters do (Almeida and others 2007): when a layer has as many ids as it is
 * good for, one of four times its size follows, behind it in the file; what is asked for is looked
 * up in all of them.
 *
 * Blocks are read from a map of the file, for most of what is asked is not there and has to be
 * looked for in all layers, and written with write calls: a disk that fails is an error then, not a
 * signal. */
#include "daemon/idset.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/damage.h"
#include "daemon/file.h"
#include "daemon/log.h"
#include "daemon/unsynced.h"
#include "daemon/uuid.h"

#define MAGIC        "osteoguard-ids-1"
#define BLOCK        64
#define BLOCK_BITS   480 /* the rest is its CRC-32C */
#define ID_BITS      12  /* of those, for each id */
#define BLOCK_IDS    12  /* on average in a full layer: one id in a million is taken for another */
#define FIRST_BLOCKS ((uint64_t)4096)
#define MAX_LAYERS   10
#define HEAD_BYTES   65536 /* the largest page of any machine: what follows can be mapped */
#define NOTE_EVERY   256   /* ids after which the head says how many there are */
#define TRIES        16    /* to grow, before a layer has twice what it is good for */

typedef struct head {
    char magic[24], name[40]; /* the name is a uuid */
    uint64_t layers, ids;     /* ids: in the last layer; after a kill a few too few */
    uint32_t crc;
} head;

typedef struct block {
    uint32_t bits[BLOCK_BITS / 32], crc;
} block;

_Static_assert(sizeof(block) == BLOCK, "a block is one line of the cache");

struct idset {
    char dir[512], boot_id[BOOT_ID_BYTES];
    pthread_mutex_t lock; /* of what follows */
    int fd;               /* -1: it could not be renewed */
    head head;
    uint64_t grow_at; /* ids in the last layer when it is tried again; 0: when it is full */
    damage_watch maps[MAX_LAYERS];
    uint32_t empty_crc; /* taken out of each, so that a block of nothing but zeros proves itself */
    atomic_bool broken;
};

/* ---- where an id is ---- */

static uint64_t blocks_of(uint64_t layer)
{
    return FIRST_BLOCKS << (2 * layer);
}

/* Where the layer begins; of the layer behind the last one: where the file ends. */
static uint64_t begin_of(uint64_t layer)
{
    uint64_t blocks = 0;
    for (uint64_t i = 0; i < layer; i++)
        blocks += blocks_of(i);
    return HEAD_BYTES + blocks * BLOCK;
}

/* The finaliser of MurmurHash3: every bit of h decides over every bit of the result. */
static uint64_t mix(uint64_t h)
{
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
    return h ^ (h >> 33);
}

typedef struct spot {
    uint64_t block; /* of its upper half: which part of a layer */
    uint32_t bits[BLOCK_BITS / 32];
} spot;

static spot spot_of(og_str type, og_str id)
{
    spot s = {.block = mix(og_str_hash(type) * 31 + og_str_hash(id))};
    uint64_t h = s.block;
    for (int i = 0; i < ID_BITS; i++, h >>= 16) {
        if (i % 4 == 0)
            h = mix(s.block + (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u);
        uint32_t bit = (uint32_t)(h & 0xffff) * BLOCK_BITS >> 16;
        s.bits[bit / 32] |= 1u << bit % 32;
    }
    return s;
}

/* Where its block is, from the beginning of the layer. */
static uint64_t offset_in(const spot *s, uint64_t layer)
{
    return (((s->block >> 32) * blocks_of(layer)) >> 32) * BLOCK;
}

static bool is_in(const block *b, const spot *s)
{
    uint32_t missing = 0;
    for (size_t i = 0; i < sizeof s->bits / sizeof s->bits[0]; i++)
        missing |= s->bits[i] & ~b->bits[i];
    return missing == 0;
}

/* ---- the file ---- */

static og_status fail(const idset *s, og_error *err, og_status status, const char *what, int number)
{
    status = og_fail(err, status, "%s: %s", what, strerror(number));
    og_error_origin(err, s->dir);
    return status;
}

static og_status damaged(idset *s, og_error *err)
{
    og_status status = og_fail(err, OG_CORRUPT, "the index of recorded ids is damaged");
    og_error_origin(err, s->dir);
    s->broken = true;
    return status;
}

static void path_of(const idset *s, char out[640])
{
    snprintf(out, 640, "%s/data", s->dir);
}

static og_status write_at(const idset *s, const void *from, size_t n, uint64_t at, og_error *err)
{
    ssize_t done = pwrite(s->fd, from, n, (off_t)at);
    if (done == (ssize_t)n)
        return OG_OK;
    int number = done < 0 ? errno : ENOSPC;
    return fail(s, err, number == ENOSPC ? OG_LIMIT : OG_IO, "cannot write", number);
}

static uint32_t crc_of_head(const head *h)
{
    return og_crc32c(0, h, offsetof(head, crc));
}

static og_status write_head(const idset *s, head *h, og_error *err)
{
    h->crc = crc_of_head(h);
    return write_at(s, h, sizeof *h, 0, err);
}

static og_status map_layer(idset *s, uint64_t layer, og_error *err)
{
    damage_watch *w = &s->maps[layer];
    size_t n = blocks_of(layer) * BLOCK;
    void *at = mmap(NULL, n, PROT_READ, MAP_SHARED, s->fd, (off_t)begin_of(layer));
    if (at == MAP_FAILED)
        return fail(s, err, OG_IO, "cannot map", errno);
    (void)madvise(at, n, MADV_RANDOM);
    *w = (damage_watch){.map = at, .bytes = n, .dir = s->dir};
    damage_watch_map(w);
    return OG_OK;
}

static uint64_t last_layer(const idset *s)
{
    return s->head.layers > 0 ? s->head.layers - 1 : 0;
}

/* What is left of a disk is not taken for this. */
static bool has_room(const idset *s, uint64_t bytes)
{
    struct statvfs st;
    return fstatvfs(s->fd, &st) == 0 && (uint64_t)st.f_bavail * st.f_frsize / 4 >= bytes;
}

/* The bytes must be there before they are written: a disk that is full shows itself here. */
static og_status make_room(idset *s, uint64_t from, uint64_t to, og_error *err)
{
    int number = from > begin_of(0) && !has_room(s, to - from)
                     ? ENOSPC
                     : posix_fallocate(s->fd, (off_t)from, (off_t)(to - from));
    if (number == 0)
        return OG_OK;
    if (ftruncate(s->fd, (off_t)from) != 0) /* it may have got a part of it */
        number = errno;
    return fail(s, err, number == ENOSPC ? OG_LIMIT : OG_IO, "no room for more ids", number);
}

/* The head first: a layer that it does not name is not looked into after the next start. */
static og_status add_layer(idset *s, og_error *err)
{
    head next = s->head;
    uint64_t layer = next.layers++;
    next.ids = 0;
    og_status status = make_room(s, begin_of(layer), begin_of(layer + 1), err);
    if (status == OG_OK)
        status = write_head(s, &next, err);
    if (status == OG_OK)
        status = map_layer(s, layer, err);
    if (status == OG_OK)
        s->head = next;
    return status;
}

static bool read_head(idset *s)
{
    head h;
    struct stat st;
    if (pread(s->fd, &h, sizeof h, 0) != sizeof h || h.crc != crc_of_head(&h) ||
        memcmp(h.magic, MAGIC, sizeof MAGIC) != 0 || h.layers == 0 || h.layers > MAX_LAYERS ||
        fstat(s->fd, &st) != 0 || (uint64_t)st.st_size < begin_of(h.layers))
        return false;
    s->head = h;
    for (uint64_t i = 0; i < h.layers; i++)
        if (map_layer(s, i, NULL) != OG_OK)
            return false;
    return true;
}

static og_status open_file(idset *s, int flags, og_error *err)
{
    char path[640];
    path_of(s, path);
    s->fd = open(path, flags | O_RDWR | O_CLOEXEC, 0640);
    return s->fd >= 0 ? OG_OK : fail(s, err, OG_IO, "cannot open", errno);
}

static void close_file(idset *s)
{
    for (size_t i = 0; i < MAX_LAYERS; i++) {
        damage_watch *w = &s->maps[i];
        damage_unwatch(w);
        if (w->map != NULL)
            (void)munmap((void *)(uintptr_t)w->map, w->bytes);
        *w = (damage_watch){.map = NULL};
    }
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

static og_status mark(const idset *s, og_error *err)
{
    return unsynced_mark(s->dir, s->boot_id) ? OG_OK : fail(s, err, OG_IO, "cannot mark", errno);
}

/* What is there goes, on the disk before its mark. */
static og_status begin_anew(idset *s, og_error *err)
{
    char path[640];
    path_of(s, path);
    if (unlink(path) == 0)
        unsynced_sync_folder(s->dir);
    og_status status = file_remove_tree(s->dir, err);
    if (status == OG_OK)
        status = file_make_dirs(s->dir, err);
    if (status != OG_OK)
        return status;
    status = mark(s, err);
    if (status == OG_OK)
        status = open_file(s, O_CREAT | O_TRUNC, err);
    memset(&s->head, 0, sizeof s->head);
    memcpy(s->head.magic, MAGIC, sizeof MAGIC);
    uuid_random(s->head.name);
    s->grow_at = 0;
    if (status == OG_OK)
        status = add_layer(s, err);
    if (status != OG_OK)
        close_file(s);
    return status;
}

og_status idset_open(const char *dir, const char *boot_id, idset **ret, og_error *err)
{
    static const block empty = {.crc = 0};
    idset *s = calloc(1, sizeof *s);
    if (s == NULL)
        return og_fail(err, OG_NOMEM, "no memory for the index of recorded ids");
    s->fd = -1;
    s->empty_crc = og_crc32c(0, empty.bits, sizeof empty.bits);
    snprintf(s->dir, sizeof s->dir, "%s", dir);
    if (boot_id != NULL)
        snprintf(s->boot_id, sizeof s->boot_id, "%s", boot_id);
    else
        unsynced_boot_id(s->boot_id);
    pthread_mutex_init(&s->lock, NULL);
    bool believed = !damage_is_noted(dir) && !unsynced_machine_stopped(dir, s->boot_id) &&
                    open_file(s, 0, NULL) == OG_OK && read_head(s);
    if (!believed)
        close_file(s);
    og_status status = believed ? mark(s, err) : begin_anew(s, err);
    if (status != OG_OK) {
        idset_abandon(s);
        return status;
    }
    *ret = s;
    return OG_OK;
}

const char *idset_name(const idset *s)
{
    return s->head.name;
}

void idset_abandon(idset *s)
{
    if (s == NULL)
        return;
    close_file(s);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* The kernel tells of pages that it could not write once (kv.c). */
static og_status sync_file(idset *s, og_error *err)
{
    if (fdatasync(s->fd) == 0)
        return OG_OK;
    damage_note(s->dir);
    s->broken = true;
    return fail(s, err, OG_CORRUPT, "the disk has not taken what was written", errno);
}

/* Ids that come meanwhile are for the next one. */
og_status idset_sync(idset *s, og_error *err)
{
    return s->broken || s->fd < 0 ? OG_OK : sync_file(s, err);
}

void idset_trim(idset *s)
{
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < MAX_LAYERS; i++)
        if (s->maps[i].map != NULL)
            (void)madvise((void *)(uintptr_t)s->maps[i].map, s->maps[i].bytes, MADV_DONTNEED);
    pthread_mutex_unlock(&s->lock);
}

void idset_close(idset *s)
{
    if (s == NULL)
        return;
    if (!s->broken && s->fd >= 0 && write_head(s, &s->head, NULL) == OG_OK &&
        sync_file(s, NULL) == OG_OK)
        unsynced_clear(s->dir);
    idset_abandon(s);
}

void idset_distrust(idset *s)
{
    s->broken = true;
}

bool idset_is_too_small(idset *s)
{
    pthread_mutex_lock(&s->lock);
    bool too_small = s->grow_at > 0;
    pthread_mutex_unlock(&s->lock);
    return too_small;
}

bool idset_is_broken(const idset *s)
{
    return s->broken;
}

og_status idset_renew(idset *s, og_error *err)
{
    close_file(s);
    og_status status = begin_anew(s, err);
    s->broken = status != OG_OK;
    return status;
}

/* ---- ids ---- */

static bool is_proven(const idset *s, const block *b)
{
    return b->crc == (og_crc32c(0, b->bits, sizeof b->bits) ^ s->empty_crc);
}

/* *ret: the spot's block of the last layer, unless the id is in it or in another one. */
static og_status look(idset *s, const spot *where, block *ret, og_error *err)
{
    block b;
    if (s->broken || s->head.layers == 0)
        return damaged(s, err);
    for (uint64_t layer = s->head.layers; layer-- > 0;) {
        memcpy(&b, s->maps[layer].map + offset_in(where, layer), sizeof b);
        if (!is_proven(s, &b))
            return damaged(s, err);
        if (is_in(&b, where))
            return OG_OK;
        if (layer == last_layer(s))
            *ret = b;
    }
    return OG_NOTFOUND;
}

static og_status insert(idset *s, const spot *where, block *b, og_error *err)
{
    for (size_t i = 0; i < sizeof where->bits / sizeof where->bits[0]; i++)
        b->bits[i] |= where->bits[i];
    b->crc = og_crc32c(0, b->bits, sizeof b->bits) ^ s->empty_crc;
    uint64_t last = last_layer(s);
    og_status status = write_at(s, b, sizeof *b, begin_of(last) + offset_in(where, last), err);
    if (status == OG_OK && ++s->head.ids % NOTE_EVERY == 0)
        status = write_head(s, &s->head, err);
    return status;
}

/* Where there is no room for another layer the last one takes more than it is good for: it says yes
 * more often. Tried again from time to time. */
static bool has_grown(idset *s)
{
    uint64_t full = blocks_of(last_layer(s)) * BLOCK_IDS;
    og_error err;
    og_error_init(&err);
    if (s->head.layers == MAX_LAYERS || s->head.ids < (s->grow_at > full ? s->grow_at : full))
        return false;
    bool grown = add_layer(s, &err) == OG_OK;
    if (!grown)
        log_failure(LOG_LEVEL_WARN, "the index of recorded ids is too small, and cannot grow yet",
                    &err);
    s->grow_at = grown ? 0 : s->head.ids + full / TRIES;
    return grown;
}

og_status idset_has(idset *s, og_str type, og_str id, og_error *err)
{
    const spot where = spot_of(type, id);
    block b;
    pthread_mutex_lock(&s->lock);
    og_status status = look(s, &where, &b, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

og_status idset_add(idset *s, og_str type, og_str id, og_error *err)
{
    const spot where = spot_of(type, id);
    block b = {.crc = 0};
    pthread_mutex_lock(&s->lock);
    og_status status = look(s, &where, &b, err);
    if (status == OG_NOTFOUND) {
        if (has_grown(s))
            b = (block){.crc = 0};
        status = insert(s, &where, &b, err);
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}
