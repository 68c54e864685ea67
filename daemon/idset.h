/* Which Type/ids have been recorded here: a set on disk that may say yes wrongly, once in some
 * hundred thousand times, but never no. A new version of a resource that no rule asks for is
 * recorded all the same where an older one was (gather.h): one too many is a record, or a dead
 * letter, that nobody asked for; to leave the older one in force would do harm.
 *
 * Whatever else is known of a Type/id its place knows (place.h). An index that can be rebuilt:
 * gather adds what it records, the pipeline what the partitions of this instance hold and whose
 * places they are. A full one has 43 bits for each; it grows in steps of four times its size, in
 * one file. Ids are not removed. It has a name, another one each time it begins anew: who notes the
 * name beside what he has added knows whether it is all there.
 *
 * For any thread. */
#ifndef OG_DAEMON_IDSET_H
#define OG_DAEMON_IDSET_H

#include "fhir/base/text.h"

typedef struct idset idset;

/* Opens it in dir, which is made when missing; one that cannot be trusted begins anew. boot_id
 * NULL: the machine's. OG_IO, OG_LIMIT (the disk is full). Caller owns *ret. */
OG_MUSTCHECK og_status idset_open(const char *dir, const char *boot_id, idset **ret, og_error *err);
/* Lives as long as the set, until it is renewed. */
const char *idset_name(const idset *s);
void idset_close(idset *s); /* waits for the disk; accepts NULL */
/* As if the process had died; for tests. */
void idset_abandon(idset *s);

/* OG_OK: it may be in it. OG_NOTFOUND (err untouched): it is not. OG_CORRUPT: the set is damaged,
 * and nothing more is read or written; OG_IO: the disk. */
OG_MUSTCHECK og_status idset_has(idset *s, og_str type, og_str id, og_error *err);
OG_MUSTCHECK og_status idset_add(idset *s, og_str type, og_str id, og_error *err);

/* Waits for the disk. OG_CORRUPT: it did not take what was written, and nobody knows what it holds.
 */
OG_MUSTCHECK og_status idset_sync(idset *s, og_error *err);
/* Gives the pages that were read back to the page cache (kv_trim). */
void idset_trim(idset *s);

/* There was no room on the disk when it was to grow: it says yes more often. It is tried again. */
bool idset_is_too_small(idset *s);
/* True from the first OG_CORRUPT on. */
bool idset_is_broken(const idset *s);
/* From now on it is broken: what it has cannot be completed. */
void idset_distrust(idset *s);
/* Throws away what it has and begins anew. Nobody else may be using it. On an error it stays
 * broken, and can be renewed later. */
OG_MUSTCHECK og_status idset_renew(idset *s, og_error *err);

#endif
