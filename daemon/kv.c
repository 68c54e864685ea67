/* LMDB with the two things that it lacks: values that prove themselves, and a judgement at opening
 * whether the files can be believed.
 *
 * The head row (table `head`) says: which schema, whether it was closed well, on which boot of the
 * machine it was last used, and whether commits waited for the disk. Without waiting, a kill -9
 * loses nothing (the pages are the kernel's), but a stop of the machine may leave a mixture; then
 * boot_id differs and `clean` is false, and the store is not believed (STREAM 3.9, 17 and 18). The
 * head row is one of the pages of which some may be there and some not; so before the first commit
 * that does not wait, the file `unsynced` with the boot_id is on the disk, and goes when all is. A
 * damaged map can also kill the process: the file `opening` counts those that died while they
 * opened it. What kills a process later says nothing about the store (kill -9, out of memory), but
 * for a SIGBUS inside its map, and for a signal while LMDB reads its pages, which it trusts:
 * damage.h leaves the file `damaged`. */
#include "daemon/kv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <lmdb.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/damage.h"
#include "daemon/file.h"
#include "daemon/kv_key.h"
#include "daemon/unsynced.h"

#define CRC_BYTES  4u
#define MAX_DEATHS 2
#define MIN_AHEAD  ((size_t)64 << 10)
#define MAX_AHEAD  ((size_t)8 << 20)
#define FREE_LIST  0 /* LMDB's own table; can be read, and only in a read transaction */

struct kv {
    MDB_env *env;
    MDB_dbi head;
    MDB_dbi tables[KV_MAX_TABLES];
    size_t table_count;
    char dir[512], schema[64], boot_id[BOOT_ID_BYTES];
    bool sync_each, is_new, read_only;
    char *map; /* where LMDB has mapped the file; NULL when that is not known */
    size_t map_bytes, keep_bytes;
    size_t end, room, ahead; /* make_room; of the thread whose write transaction is open */
    damage_watch watch;
};

/* LMDB follows its pages: what kills us then is their damage. */
#define LMDB(k, call) (damage_reading = (k)->dir, leave_lmdb(call))

static int leave_lmdb(int rc)
{
    damage_reading = NULL;
    return rc;
}

struct kv_txn {
    kv *k;
    MDB_txn *txn;
    bool writes;
};

/* LMDB calls it an input/output error when the disk takes half of a page. */
static bool is_full(const kv *k)
{
    struct statvfs fs;
    return statvfs(k->dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < 64u << 10;
}

static og_status fail_mdb(og_error *err, const kv *k, const char *what, int rc)
{
    if (rc == EIO && is_full(k))
        rc = ENOSPC;
    og_status status = rc == MDB_MAP_FULL || rc == ENOSPC || rc == MDB_BAD_VALSIZE ? OG_LIMIT
                       : rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID ||
                               rc == MDB_VERSION_MISMATCH || rc == MDB_PANIC
                           ? OG_CORRUPT
                       : rc == ENOMEM ? OG_NOMEM
                                      : OG_IO;
    status = og_fail(err, status, "%s: %s", what,
                     rc == MDB_MAP_FULL ? "the store is as large as it may get (store.map_size_mb)"
                                        : mdb_strerror(rc));
    og_error_origin(err, k->dir);
    return status;
}

static og_status distrust(og_error *err, const kv *k, const char *why)
{
    og_status status = og_fail(err, OG_CORRUPT, "%s", why);
    og_error_origin(err, k->dir);
    return status;
}

/* ---- values that prove themselves ---- */

static uint32_t checksum(og_str key, og_str value)
{
    return og_crc32c(og_crc32c(0, key.p, key.n), value.p, value.n);
}

static bool checked(og_str key, MDB_val v, og_str *ret)
{
    uint32_t stored;
    if (v.mv_size < CRC_BYTES)
        return false;
    memcpy(&stored, v.mv_data, CRC_BYTES);
    og_str value = {(const char *)v.mv_data + CRC_BYTES, v.mv_size - CRC_BYTES};
    if (stored != checksum(key, value))
        return false;
    *ret = value;
    return true;
}

static int put_checked(MDB_txn *txn, MDB_dbi dbi, og_str key, og_str value)
{
    MDB_val k = {key.n, (void *)(uintptr_t)key.p};
    MDB_val v = {value.n + CRC_BYTES, NULL};
    uint32_t crc = checksum(key, value); /* before the put: value may lie in a page that it moves */
    int rc = mdb_put(txn, dbi, &k, &v, MDB_RESERVE);
    if (rc != 0)
        return rc;
    memcpy(v.mv_data, &crc, CRC_BYTES);
    if (value.n > 0)
        memcpy((char *)v.mv_data + CRC_BYTES, value.p, value.n);
    return 0;
}

/* ---- can it be believed? ---- */

static void data_path(const kv *k, char out[640])
{
    snprintf(out, 640, "%s/data.mdb", k->dir);
}

/* Bytes that LMDB may touch, and bytes that the file has. */
static bool sizes(const kv *k, uint64_t *ret_wanted, uint64_t *ret_real)
{
    char path[640];
    struct stat st;
    MDB_envinfo info;
    MDB_stat ms;
    data_path(k, path);
    if (stat(path, &st) != 0 || mdb_env_info(k->env, &info) != 0 || mdb_env_stat(k->env, &ms) != 0)
        return false;
    *ret_wanted = ((uint64_t)info.me_last_pgno + 1) * ms.ms_psize;
    *ret_real = (uint64_t)st.st_size;
    return true;
}

/* Reads one table to its end; named tables are rows of the main one, without a checksum. */
static int read_all(MDB_txn *txn, MDB_dbi dbi, bool proven)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    og_str value;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    while ((rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == 0)
        if (proven && !checked((og_str){k.mv_data, k.mv_size}, v, &value)) {
            rc = MDB_CORRUPTED;
            break;
        }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* All tables, the list of free pages (LMDB's table 0) too. */
static int read_everything(const kv *k, const kv_options *options)
{
    MDB_txn *txn;
    MDB_dbi dbi;
    int rc = mdb_txn_begin(k->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return rc;
    rc = read_all(txn, FREE_LIST, false);
    if (rc == 0)
        rc = mdb_dbi_open(txn, NULL, 0, &dbi);
    if (rc == 0)
        rc = read_all(txn, dbi, false);
    for (size_t i = 0; rc == 0 && i <= options->table_count; i++) {
        rc = mdb_dbi_open(txn, i < options->table_count ? options->tables[i] : "head", 0, &dbi);
        if (rc == 0)
            rc = read_all(txn, dbi, true);
        else if (rc == MDB_NOTFOUND)
            rc = 0; /* the process died before it was made */
    }
    mdb_txn_abort(txn);
    return rc;
}

/* A file shorter than LMDB believes it to be would kill us with SIGBUS on a read behind its end.
 * Pages that one transaction took and gave back are never written, so a short file may be whole: it
 * gets its length, and every row has to prove itself once. */
static og_status judge_length(kv *k, const kv_options *options, og_error *err)
{
    char path[640];
    uint64_t wanted, real;
    data_path(k, path);
    if (!sizes(k, &wanted, &real))
        return distrust(err, k, "the file cannot be looked at");
    if (real >= wanted)
        return OG_OK;
    if (truncate(path, (off_t)wanted) != 0)
        return fail_mdb(err, k, "cannot lengthen the file", errno);
    int rc = read_everything(k, options);
    if (rc != 0)
        return distrust(err, k, "the file is shorter than it should be, and rows are missing");
    return OG_OK;
}

/* data.mdb that exists but is empty opens as a valid new database. */
static bool file_is_emptied(const kv *k)
{
    char path[640];
    struct stat st;
    data_path(k, path);
    return stat(path, &st) == 0 && st.st_size == 0;
}

static void opening_path(const kv *k, char out[640])
{
    snprintf(out, 640, "%s/opening", k->dir);
}

/* Counts the processes that died while they opened it; true when they were too many. */
static bool died_too_often(const kv *k)
{
    char path[640];
    og_buf text;
    int deaths = 0;
    opening_path(k, path);
    og_buf_init(&text, 64);
    if (file_read(path, 64, &text, NULL) == OG_OK)
        deaths = atoi(og_buf_str(&text).p != NULL ? og_buf_str(&text).p : "0") + 1;
    og_buf_clear(&text);
    og_buf_addf(&text, "%d", deaths);
    if (file_write(path, og_buf_str(&text), NULL) != OG_OK)
        deaths = 0; /* a read-only disk shows itself soon enough */
    og_buf_done(&text);
    return deaths > MAX_DEATHS;
}

/* It waits for the disk: after a power cut those who died before it was opened would count again.
 */
static void forget_opening(const kv *k)
{
    char path[640];
    opening_path(k, path);
    if (unlink(path) != 0)
        return;
    int fd = open(k->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

static void write_head_text(const kv *k, bool clean, char out[256])
{
    snprintf(out, 256, "%s\n%s\n%s\n%s\n", k->schema, clean ? "clean" : "in use", k->boot_id,
             k->sync_each ? "synced" : "unsynced");
}

static og_status judge_head(kv *k, og_str head, og_error *err)
{
    char schema[64], state[16], boot[BOOT_ID_BYTES], mode[16];
    char text[256];
    if (head.n >= sizeof text)
        return distrust(err, k, "the head row is too long");
    memcpy(text, head.p, head.n);
    text[head.n] = '\0';
    if (sscanf(text, "%63[^\n]\n%15[^\n]\n%63[^\n]\n%15[^\n]\n", schema, state, boot, mode) != 4)
        return distrust(err, k, "the head row is damaged");
    if (strcmp(schema, k->schema) != 0)
        return distrust(err, k, "it was written by a version with another schema");
    if (strcmp(state, "clean") != 0 && strcmp(mode, "synced") != 0 && strcmp(boot, k->boot_id) != 0)
        return distrust(err, k, "it was in use when the machine stopped");
    return OG_OK;
}

static og_status write_head(kv *k, bool clean, og_error *err)
{
    char text[256];
    MDB_txn *txn;
    int rc = mdb_txn_begin(k->env, NULL, 0, &txn);
    if (rc != 0)
        return fail_mdb(err, k, "cannot begin", rc);
    write_head_text(k, clean, text);
    rc = put_checked(txn, k->head, OG_STR("head"), og_str_of(text));
    if (rc != 0) {
        mdb_txn_abort(txn);
        return fail_mdb(err, k, "cannot write", rc);
    }
    rc = mdb_txn_commit(txn);
    return rc == 0 ? OG_OK : fail_mdb(err, k, "cannot commit", rc);
}

static og_status open_tables(kv *k, MDB_txn *txn, const kv_options *options, og_error *err)
{
    unsigned flags = k->read_only ? 0 : MDB_CREATE;
    int rc = mdb_dbi_open(txn, "head", flags, &k->head);
    for (size_t i = 0; rc == 0 && i < options->table_count; i++)
        rc = mdb_dbi_open(txn, options->tables[i], flags, &k->tables[i]);
    if (rc == MDB_NOTFOUND)
        return distrust(err, k, "a table is missing");
    return rc == 0 ? OG_OK : fail_mdb(err, k, "cannot open a table", rc);
}

/* Opens the tables and reads the head row. A store without a head row is new only when it has no
 * table. */
static og_status open_head(kv *k, const kv_options *options, og_error *err)
{
    MDB_txn *txn;
    MDB_stat main_stat = {0};
    MDB_val key = {4, (void *)(uintptr_t) "head"}, v;
    og_str head;
    MDB_dbi main_dbi;
    int rc = mdb_txn_begin(k->env, NULL, k->read_only ? MDB_RDONLY : 0, &txn);
    if (rc != 0)
        return fail_mdb(err, k, "cannot begin", rc);
    og_status status = OG_OK;
    rc = mdb_dbi_open(txn, NULL, 0, &main_dbi);
    if (rc == 0)
        rc = mdb_stat(txn, main_dbi, &main_stat);
    if (rc != 0)
        status = fail_mdb(err, k, "cannot read", rc);
    else
        status = open_tables(k, txn, options, err);
    if (status == OG_OK) {
        rc = mdb_get(txn, k->head, &key, &v);
        k->is_new = rc == MDB_NOTFOUND && main_stat.ms_entries == 0;
        if (rc == 0 && checked(OG_STR("head"), v, &head))
            status = judge_head(k, head, err);
        else if (!k->is_new)
            status = distrust(err, k, "the head row is missing or damaged");
    }
    if (status != OG_OK) {
        mdb_txn_abort(txn);
        return status;
    }
    rc = mdb_txn_commit(txn);
    return rc == 0 ? OG_OK : fail_mdb(err, k, "cannot commit", rc);
}

/* Where the file is mapped, from /proc/self/maps: LMDB does not tell. */
static void find_map(kv *k)
{
    char line[PATH_MAX + 256], ours[640], path[PATH_MAX];
    data_path(k, ours);
    if (realpath(ours, path) == NULL)
        return;
    FILE *f = fopen("/proc/self/maps", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        uintptr_t from, to;
        line[strcspn(line, "\n")] = '\0';
        const char *name = strchr(line, '/');
        if (name == NULL || strcmp(name, path) != 0 ||
            sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &from, &to) != 2)
            continue;
        k->map = (char *)from; // NOLINT(performance-no-int-to-ptr)
        k->map_bytes = to - from;
        break;
    }
    if (f != NULL)
        fclose(f);
}

static og_status open_env(kv *k, const kv_options *options, og_error *err)
{
    unsigned flags =
        MDB_NOTLS | MDB_NORDAHEAD | (options->sync_each ? 0 : MDB_NOSYNC | MDB_NOMETASYNC);
    int rc = mdb_env_create(&k->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(k->env, options->map_bytes & ~(size_t)0xffff);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(k->env, (MDB_dbi)options->table_count + 1);
    if (rc != 0)
        return fail_mdb(err, k, "cannot prepare", rc);
    if (file_is_emptied(k))
        return distrust(err, k, "the file is empty");
    rc = mdb_env_open(k->env, k->dir, flags, 0640);
    if (rc != 0)
        return fail_mdb(err, k, "cannot open", rc);
    return judge_length(k, options, err);
}

/* What the group of processes may use that the kernel counts us to, or the machine has. */
static size_t memory_bytes(void)
{
    int64_t all = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE), most = all;
    og_buf text;
    og_buf_init(&text, 64);
    if (file_read("/sys/fs/cgroup/memory.max", 63, &text, NULL) == OG_OK) {
        og_str line = og_buf_str(&text);
        line.n -= line.n > 0 && line.p[line.n - 1] == '\n';
        if (!og_str_int(line, 1, all, &most)) /* "max" */
            most = all;
    }
    og_buf_done(&text);
    return (size_t)most;
}

/* NULL: *ret_status says why. */
static kv *new_kv(const kv_options *options, og_status *ret_status, og_error *err)
{
    kv *k = calloc(1, sizeof *k);
    *ret_status = OG_OK;
    if (k == NULL) {
        *ret_status = og_fail(err, OG_NOMEM, "no memory for a store");
        return NULL;
    }
    if (options->table_count > KV_MAX_TABLES || strlen(options->dir) >= sizeof k->dir) {
        *ret_status = og_fail(err, OG_INVALID, "too many tables, or the path is too long");
        free(k);
        return NULL;
    }
    snprintf(k->dir, sizeof k->dir, "%s", options->dir);
    snprintf(k->schema, sizeof k->schema, "%s", options->schema);
    if (options->boot_id != NULL)
        snprintf(k->boot_id, sizeof k->boot_id, "%s", options->boot_id);
    else
        unsynced_boot_id(k->boot_id);
    k->sync_each = options->sync_each;
    k->table_count = options->table_count;
    k->ahead = MIN_AHEAD;
    k->keep_bytes = options->keep_bytes > 0 ? options->keep_bytes : memory_bytes() / 2;
    return k;
}

/* The map is as large as its writer has made it. */
static og_status open_env_to_read(kv *k, const kv_options *options, og_error *err)
{
    int rc = mdb_env_create(&k->env);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(k->env, (MDB_dbi)options->table_count + 1);
    if (rc == 0)
        rc = mdb_env_open(k->env, k->dir, MDB_RDONLY | MDB_NOTLS | MDB_NORDAHEAD, 0640);
    return rc == 0 ? OG_OK : fail_mdb(err, k, "cannot open", rc);
}

og_status kv_open_to_read(const kv_options *options, kv **ret, og_error *err)
{
    char path[640];
    og_status status;
    kv *k = new_kv(options, &status, err);
    if (k == NULL)
        return status;
    k->read_only = true;
    data_path(k, path);
    if (access(path, F_OK) != 0) {
        kv_abandon(k);
        return OG_NOTFOUND;
    }
    if (file_is_emptied(k) || damage_is_noted(k->dir) ||
        unsynced_machine_stopped(k->dir, k->boot_id))
        status = distrust(err, k, "it is damaged, or was in use when the machine stopped");
    if (status == OG_OK)
        status = open_env_to_read(k, options, err);
    if (status == OG_OK)
        status = open_head(k, options, err);
    if (status != OG_OK) {
        kv_abandon(k);
        return status;
    }
    *ret = k;
    return OG_OK;
}

og_status kv_open(const kv_options *options, kv **ret, og_error *err)
{
    bool marked = false;
    og_status status;
    kv *k = new_kv(options, &status, err);
    if (k == NULL)
        return status;
    status = file_make_dirs(k->dir, err);
    if (status != OG_OK)
        goto fail;
    if (damage_is_noted(k->dir)) {
        status = distrust(err, k, "a process died over its pages, or the disk did not take them");
        goto fail;
    }
    if (unsynced_machine_stopped(k->dir, k->boot_id)) {
        status = distrust(err, k, "it was in use when the machine stopped");
        goto fail;
    }
    marked = true;
    if (!k->sync_each)
        (void)unsynced_mark(k->dir, k->boot_id); /* the first sync shows what the disk is like */
    if (died_too_often(k)) {
        status = distrust(err, k, "processes died while they opened it");
        goto fail;
    }
    damage_reading = k->dir;
    status = open_env(k, options, err);
    if (status == OG_OK)
        status = open_head(k, options, err);
    if (status == OG_OK)
        status = write_head(k, false, err);
    damage_reading = NULL;
    if (status != OG_OK)
        goto fail;
    if (k->sync_each)
        unsynced_clear(k->dir); /* that commit has waited, for all that there was */
    forget_opening(k);
    find_map(k);
    if (k->map != NULL) {
        k->watch = (damage_watch){.map = k->map, .bytes = k->map_bytes, .dir = k->dir};
        damage_watch_map(&k->watch);
    }
    *ret = k;
    return OG_OK;

fail:
    if (marked)
        forget_opening(k); /* it failed, but nobody died */
    kv_abandon(k);
    return status;
}

void kv_abandon(kv *k)
{
    if (k == NULL)
        return;
    damage_unwatch(&k->watch);
    if (k->env != NULL)
        mdb_env_close(k->env);
    free(k);
}

void kv_close(kv *k)
{
    if (k == NULL)
        return;
    if (k->read_only) {
        kv_abandon(k);
        return;
    }
    /* What it says about itself must not reach the disk before what it speaks of. */
    damage_reading = k->dir;
    int rc = mdb_env_sync(k->env, 1);
    if (rc == 0)
        rc = write_head(k, true, NULL) == OG_OK ? mdb_env_sync(k->env, 1) : EIO;
    damage_reading = NULL;
    if (rc == 0)
        unsynced_clear(k->dir);
    else
        damage_note(k->dir);
    kv_abandon(k);
}

/* The rows go before the files that say why they are not to be believed, also on the disk. */
og_status kv_discard(const char *dir, og_error *err)
{
    char path[640];
    snprintf(path, sizeof path, "%s/data.mdb", dir);
    if (unlink(path) == 0)
        unsynced_sync_folder(dir);
    return file_remove_tree(dir, err);
}

/* The kernel tells of pages that it could not write once, and takes them for written from then on:
 * to sync again would succeed and prove nothing. */
static og_status not_on_disk(const kv *k, int rc, og_error *err)
{
    og_status status =
        og_fail(err, OG_CORRUPT, "the disk has not taken what was written: %s", mdb_strerror(rc));
    og_error_origin(err, k->dir);
    damage_note(k->dir);
    return status;
}

og_status kv_sync(kv *k, og_error *err)
{
    int dead;
    int rc = mdb_env_sync(k->env, 1);
    (void)mdb_reader_check(k->env, &dead); /* a reader that was killed would keep its pages */
    return rc == 0 ? OG_OK : not_on_disk(k, rc, err);
}

static size_t mapped_bytes(void)
{
    size_t shared = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f != NULL) {
        if (fscanf(f, "%*u %*u %zu", &shared) != 1)
            shared = 0;
        fclose(f);
    }
    return shared * (size_t)sysconf(_SC_PAGESIZE);
}

/* Pages of the map that were touched count as ours, up to the whole file. They are the page cache's
 * in truth: given back here, the next read finds them there. But to find one costs 3 us, and an
 * event among many patients needs ten. */
bool kv_trim(const kv *k)
{
    if (k->map == NULL || mapped_bytes() <= k->keep_bytes)
        return false;
    (void)madvise(k->map, k->map_bytes, MADV_DONTNEED);
    return true;
}

bool kv_is_about(const kv *k, const og_error *err)
{
    return strncmp(err->origin, k->dir, sizeof err->origin - 1) == 0;
}

/* ---- room at the end of the file ---- */

/* What one call writes behind the end of a file the kernel keeps as one piece of its cache, up to
 * megabytes, and ext4 goes through the blocks of a piece whenever one of its pages is written
 * again: in a file of 3 GB such a page costs 11 us (pieces of 256 KB) to 33 us (1 MB), and 3 us
 * where each piece is a page. So the pages that commits will take at the end are there before LMDB
 * writes them, as holes that were read one by one; they need no space on the disk. Where this
 * cannot be done, commits are slower, and that is all. */
static size_t bytes_taken(const kv *k)
{
    MDB_envinfo info;
    MDB_stat ms;
    bool known = mdb_env_info(k->env, &info) == 0 && mdb_env_stat(k->env, &ms) == 0;
    return known ? (info.me_last_pgno + 1) * ms.ms_psize : 0;
}

/* From an open write transaction. */
static void make_room(kv *k)
{
    size_t end = bytes_taken(k), grown = k->end > 0 ? end - k->end : 0;
    struct stat st;
    int fd;
    k->end = end;
    while (k->ahead < 2 * grown && k->ahead < MAX_AHEAD)
        k->ahead *= 2;
    if (k->map == NULL || end == 0 || end + k->ahead / 2 <= k->room)
        return;
    size_t from = k->room > end ? k->room : end, to = end + k->ahead;
    if (to > k->map_bytes || mdb_env_get_fd(k->env, &fd) != 0 || fstat(fd, &st) != 0 ||
        ((size_t)st.st_size < to && ftruncate(fd, (off_t)to) != 0))
        return;
    (void)madvise(k->map + from, to - from, MADV_POPULATE_READ);
    (void)madvise(k->map + from, to - from, MADV_DONTNEED);
    k->room = to;
}

og_status kv_begin(kv *k, bool write, kv_txn **ret, og_error *err)
{
    kv_txn *t = calloc(1, sizeof *t);
    if (t == NULL)
        return og_fail(err, OG_NOMEM, "no memory for a transaction");
    int rc = LMDB(k, mdb_txn_begin(k->env, NULL, write ? 0 : MDB_RDONLY, &t->txn));
    if (rc != 0) {
        free(t);
        return fail_mdb(err, k, "cannot begin", rc);
    }
    t->k = k;
    t->writes = write;
    *ret = t;
    return OG_OK;
}

og_status kv_commit(kv_txn *t, og_error *err)
{
    kv *k = t->k;
    if (t->writes)
        make_room(k);
    int rc = LMDB(k, mdb_txn_commit(t->txn));
    free(t);
    if (rc == EIO && k->sync_each)
        return not_on_disk(k, rc, err);
    return rc == 0 ? OG_OK : fail_mdb(err, k, "cannot commit", rc);
}

void kv_abort(kv_txn *t)
{
    if (t == NULL)
        return;
    mdb_txn_abort(t->txn);
    free(t);
}

static og_status damaged(const kv_txn *t, int table, og_error *err)
{
    og_status status =
        og_fail(err, OG_CORRUPT, "a value of table %d is damaged (its checksum is wrong)", table);
    og_error_origin(err, t->k->dir);
    return status;
}

/* A key as it lies there; its bytes are in room. What is empty or too long is nowhere: no bytes. */
static MDB_val packed_key(og_str key, char room[2 * KV_MAX_KEY])
{
    size_t n = key.n <= KV_MAX_KEY ? kv_key_pack(key, room) : 0;
    return (MDB_val){n <= KV_MAX_KEY ? n : 0, room};
}

static og_str str_of(MDB_val v)
{
    return (og_str){v.mv_data, v.mv_size};
}

og_status kv_get(kv_txn *t, int table, og_str key, og_str *ret, og_error *err)
{
    char room[2 * KV_MAX_KEY];
    MDB_val k = packed_key(key, room), v;
    if (k.mv_size == 0)
        return OG_NOTFOUND;
    int rc = LMDB(t->k, mdb_get(t->txn, t->k->tables[table], &k, &v));
    if (rc == MDB_NOTFOUND)
        return OG_NOTFOUND;
    if (rc != 0)
        return fail_mdb(err, t->k, "cannot read", rc);
    return checked(str_of(k), v, ret) ? OG_OK : damaged(t, table, err);
}

og_status kv_put(kv_txn *t, int table, og_str key, og_str value, og_error *err)
{
    char room[2 * KV_MAX_KEY];
    MDB_val k = packed_key(key, room);
    if (k.mv_size == 0)
        return og_fail(err, OG_LIMIT, "a key has %zu bytes; 1 to %d are possible", key.n,
                       KV_MAX_KEY);
    int rc = LMDB(t->k, put_checked(t->txn, t->k->tables[table], str_of(k), value));
    return rc == 0 ? OG_OK : fail_mdb(err, t->k, "cannot write", rc);
}

og_status kv_delete(kv_txn *t, int table, og_str key, og_error *err)
{
    char room[2 * KV_MAX_KEY];
    MDB_val k = packed_key(key, room);
    if (k.mv_size == 0)
        return OG_OK;
    int rc = LMDB(t->k, mdb_del(t->txn, t->k->tables[table], &k, NULL));
    return rc == 0 || rc == MDB_NOTFOUND ? OG_OK : fail_mdb(err, t->k, "cannot delete", rc);
}

static og_status visit_all(kv_txn *t, MDB_cursor *cursor, int table, og_str from, og_str prefix,
                           kv_visit *fn, void *ctx, og_error *err)
{
    char first[2 * KV_MAX_KEY], room[KV_MAX_KEY];
    MDB_val k = packed_key(from, first), v;
    if (from.n > 0 && k.mv_size == 0)
        return og_fail(err, OG_LIMIT, "what is looked for has %zu bytes; 1 to %d are possible",
                       from.n, KV_MAX_KEY);
    int rc = LMDB(t->k, mdb_cursor_get(cursor, &k, &v, from.n > 0 ? MDB_SET_RANGE : MDB_FIRST));
    for (; rc == 0; rc = LMDB(t->k, mdb_cursor_get(cursor, &k, &v, MDB_NEXT))) {
        og_str key = kv_key_unpack(str_of(k), room, sizeof room), value;
        if (key.p == NULL)
            return damaged(t, table, err);
        if (!og_str_starts(key, prefix))
            return OG_OK;
        if (!checked(str_of(k), v, &value))
            return damaged(t, table, err);
        og_status status = fn(ctx, key, value, err);
        if (status != OG_OK)
            return status == OG_AGAIN ? OG_OK : status;
    }
    return rc == MDB_NOTFOUND ? OG_OK : fail_mdb(err, t->k, "cannot read", rc);
}

og_status kv_scan(kv_txn *t, int table, og_str from, og_str prefix, kv_visit *fn, void *ctx,
                  og_error *err)
{
    MDB_cursor *cursor;
    if (from.n == 0)
        from = prefix;
    int rc = LMDB(t->k, mdb_cursor_open(t->txn, t->k->tables[table], &cursor));
    if (rc != 0)
        return fail_mdb(err, t->k, "cannot read", rc);
    og_status status = visit_all(t, cursor, table, from, prefix, fn, ctx, err);
    mdb_cursor_close(cursor);
    return status;
}

og_status kv_count(kv_txn *t, int table, uint64_t *ret, og_error *err)
{
    MDB_stat st;
    int rc = LMDB(t->k, mdb_stat(t->txn, t->k->tables[table], &st));
    if (rc != 0)
        return fail_mdb(err, t->k, "cannot count", rc);
    *ret = st.ms_entries;
    return OG_OK;
}
