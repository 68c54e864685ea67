/* Values as the store keeps them where they are long: LZ4, with a dictionary of what FHIR resources
 * and cards say again and again. Names of members and systems are most of a resource, and an
 * Observation alone is too short to repeat itself. A store's pages hold two to three times as much
 * then, and so does the page cache.
 *
 * The words of the dictionary belong to the form of the store: who changes one changes the schema
 * (store.c). */
#ifndef OG_DAEMON_PACKED_H
#define OG_DAEMON_PACKED_H

#include "fhir/base/arena.h"

/* Bytes that n bytes may need. */
size_t packed_most(size_t n);
/* Writes plain to `to`, which has room for packed_most(plain.n). Returns the bytes written. */
size_t packed_write(og_str plain, char *to);
/* The plain bytes, NUL-terminated, in a. OG_CORRUPT: they are not what packed_write writes. */
OG_MUSTCHECK og_status packed_read(og_arena *a, og_str packed, og_str *ret, og_error *err);

#endif
