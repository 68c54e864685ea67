/* Keys as they lie in the store: a UUID takes 17 bytes there instead of 36. FHIR ids are UUIDs more
 * often than not, two or three of them make a key, and what LMDB finds its way by are whole keys:
 * half as long, twice as many fit a page, and an event among many patients touches fewer.
 *
 * A UUID is packed where it stands alone, in lower case: no letter, digit or hyphen before or
 * behind it. All other bytes stay as they are, but for the two that mark something, which get a
 * mark before them. Packed keys have an order of their own: that of the keys, except that a UUID
 * comes behind all other text at its place. What stands before a byte that is none of an id's is
 * packed the same whatever follows, so keys with the same beginning up to there lie together. */
#ifndef OG_DAEMON_KV_KEY_H
#define OG_DAEMON_KV_KEY_H

#include "fhir/base/text.h"

/* Writes the packed key to `to`, which has room for 2 * key.n. Returns the bytes written. */
size_t kv_key_pack(og_str key, char *to);
/* The key again: packed itself where there is nothing to unpack, else in `to`, which has room for
 * `room` bytes. {NULL, 0}: it is damaged, or longer. */
og_str kv_key_unpack(og_str packed, char *to, size_t room);

#endif
