/* A daemon on a machine of its own, whose power can be cut: a guest of QEMU, with its stores on a
 * disk of its own, while broker and EHR stay on the host.
 *
 * What a cut takes: the guest's memory with its page cache (QEMU is killed with SIGKILL), and what
 * the disk has not taken for good. The disk (disk_cache.c) has a cache as real ones have: only what
 * a flush has followed stays for certain; of the pages that were written since then none, any or
 * all are there afterwards, also of one write. What it does not do: tear a page of 4096 bytes, lie
 * about a flush, or spoil what lies there already. */
#ifndef OG_TESTS_GUEST_H
#define OG_TESTS_GUEST_H

#include "faults.h"

/* ---- the disk ---- */

/* Which of the pages that no flush has followed are there after the cut. */
typedef enum disk_keeps { KEEPS_NONE, KEEPS_SOME, KEEPS_ALL } disk_keeps;

/* Shared with the process that is the disk. */
typedef struct disk_state {
    _Atomic uint64_t stop_at; /* the flush of this connection that is never done, nor anything after
                                 it; 0: none */
    _Atomic uint64_t flushes; /* of this connection */
    _Atomic bool stopped;
    _Atomic int keeps;     /* disk_keeps */
    _Atomic uint64_t ends; /* connections that have ended; of the last one: */
    _Atomic uint64_t late; /* pages that no flush had followed, */
    _Atomic uint64_t lost; /* and those that are gone */
} disk_state;

/* Serves the file image by the NBD protocol on a socket of this name, one connection after the
 * other; the end of each is a cut. Never returns. */
void disk_serve(const char *socket_path, const char *image, disk_state *state)
    __attribute__((noreturn));

/* ---- the machine ---- */

/* Makes the machine, with an empty file system of the kind (ext4, xfs) and these mount options;
 * cannot_play when there is nothing to make it of. From now on life_begin(s, 0) switches it on. */
void guest_new(stage *s, const char *fs, const char *mount_options);
/* What its disk does at the next cut. */
disk_state *guest_disk(void);
/* Asks the daemon to stop, and waits until it has; the machine stays on. Its status. */
int guest_stop_daemon(stage *s, life *l);
/* Puts an empty file system on the disk of a machine that is off. */
void guest_new_disk(const stage *s);
/* Cuts the power. */
void guest_cut(stage *s, life *l);
/* What this machine's console has said since it was switched on. */
bool guest_has_said(const char *text);
/* Brings the stores, as they lie on the disk, to the place where a daemon on the host has its. */
void guest_give_stores(stage *s);
/* From now on life_begin begins daemons on the host again. */
void guest_free(stage *s);

#endif
