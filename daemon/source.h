/* Where a record came from, as rows of the store keep it: its order, time and entry, the name of
 * the source topic, the way of a copy. */
#ifndef OG_DAEMON_SOURCE_H
#define OG_DAEMON_SOURCE_H

#include "daemon/record.h"

/* Bytes that it may need. */
size_t source_most(const record *r);
/* Writes it to `to`, which has room for source_most. Returns the bytes written. */
size_t source_put(char *to, const record *r);
/* Takes away what s begins with, and sets these members of *ret; its names are borrowed. False:
 * there is none. */
bool source_take(og_str *s, record *ret);

#endif
