/* A small ordered store of bytes under keys, in transactions: LMDB behind six verbs, so that
 * another store can take its place.
 *
 * LMDB does not notice damage (STREAM 0.7): every value carries a CRC-32C over key and value,
 * checked on each read. A kv knows from its own head row whether it can be trusted at all; when
 * not, kv_open says OG_CORRUPT, and the caller throws it away (kv_discard) and rebuilds it. Nothing
 * in it is the only copy of anything.
 *
 * One write transaction at a time per kv; a kv may be used by several threads, a transaction by
 * one. */
#ifndef OG_DAEMON_KV_H
#define OG_DAEMON_KV_H

#include "fhir/base/arena.h"

typedef struct kv kv;
typedef struct kv_txn kv_txn;

#define KV_MAX_KEY    511
#define KV_MAX_TABLES 16

typedef struct kv_options {
    const char *dir;           /* made when missing */
    const char *const *tables; /* names; a table's number is its place here */
    size_t table_count;
    size_t map_bytes;    /* the most that it can hold */
    bool sync_each;      /* every commit waits for the disk; else kv_sync does */
    const char *schema;  /* of what is in it: another one is not trusted */
    const char *boot_id; /* NULL: ask the kernel; for tests */
    size_t keep_bytes;   /* kv_trim; 0: half of the memory that this process may use */
} kv_options;

/* Opens it. OG_CORRUPT: not to be trusted, err says why (damaged, torn, of another schema, or not
 * closed before the machine stopped). OG_IO: the directory or the disk. Caller owns *ret. */
OG_MUSTCHECK og_status kv_open(const kv_options *options, kv **ret, og_error *err);
/* Opens what another process may be writing, to read it: only dir, tables and schema of the options
 * count, no file is changed, and kv_close only frees. OG_NOTFOUND (err untouched): nothing is
 * there. OG_CORRUPT as above. A file that was cut can kill the reader (SIGBUS). A read transaction
 * keeps the writer from using pages again: it is to be short. */
OG_MUSTCHECK og_status kv_open_to_read(const kv_options *options, kv **ret, og_error *err);
/* Marks it as closed well, writes everything out, frees. Accepts NULL. Errors cannot be told: the
 * next open finds out. */
void kv_close(kv *k);
/* Frees without marking it as closed well, as if the process had died; for tests and after an
 * error. */
void kv_abandon(kv *k);
/* Removes what kv_open made in dir. It must not be open. */
OG_MUSTCHECK og_status kv_discard(const char *dir, og_error *err);
/* Waits until everything that was committed is on the disk. OG_CORRUPT: the disk did not take it,
 * and nobody knows what it holds; the store is to be thrown away, also by the next kv_open. */
OG_MUSTCHECK og_status kv_sync(kv *k, og_error *err);
/* Gives back the pages of its file that were read, when this process has more than keep_bytes of
 * files mapped: they stay in the page cache, but no longer count as its memory. Each page that is
 * needed again costs a fault. True when it did. For any thread, at any time. */
bool kv_trim(const kv *k);
/* True when an error that was made here is about this one. */
bool kv_is_about(const kv *k, const og_error *err);

OG_MUSTCHECK og_status kv_begin(kv *k, bool write, kv_txn **ret, og_error *err);
/* All or nothing; the transaction is gone afterwards, also on failure. OG_LIMIT: the store is full;
 * OG_IO; OG_CORRUPT with sync_each, as kv_sync. */
OG_MUSTCHECK og_status kv_commit(kv_txn *t, og_error *err);
void kv_abort(kv_txn *t); /* accepts NULL */

/* The value at key, borrowed until the next put or delete in this transaction, or its end.
 * OG_NOTFOUND (err untouched) when there is none, OG_CORRUPT when it is damaged. */
OG_MUSTCHECK og_status kv_get(kv_txn *t, int table, og_str key, og_str *ret, og_error *err);
/* Sets it. OG_LIMIT: the key is empty or too long, or the store is full. */
OG_MUSTCHECK og_status kv_put(kv_txn *t, int table, og_str key, og_str value, og_error *err);
/* Removes it; no error when there is none. */
OG_MUSTCHECK og_status kv_delete(kv_txn *t, int table, og_str key, og_error *err);

/* Visits keys from `from` on, as long as they begin with prefix, which must not end within what may
 * be a UUID. In byte order, but that a UUID comes behind whatever else stands at its place
 * (kv_key.h). fn answers OG_OK to go on, OG_AGAIN to end it well, anything else to end it with this
 * status. The key is borrowed until it returns, the value as kv_get's. Nothing may be written from
 * inside fn. OG_LIMIT: from is too long. */
typedef og_status kv_visit(void *ctx, og_str key, og_str value, og_error *err);
OG_MUSTCHECK og_status kv_scan(kv_txn *t, int table, og_str from, og_str prefix, kv_visit *fn,
                               void *ctx, og_error *err);
/* Number of rows of a table. */
OG_MUSTCHECK og_status kv_count(kv_txn *t, int table, uint64_t *ret, og_error *err);

#endif
